"""The book's three corpora, each a function that returns one string: `tales`, `manuals`, `shakespeare`."""

from course.data.manuals import manuals
from course.data.shakespeare import shakespeare
from course.data.tales import tales

__all__ = ["manuals", "shakespeare", "tales"]
