"""The book's three corpora, each a function that returns one string: `tales`, `manuals`, `shakespeare`.

`python -m course data tales` prints one.
"""

import argparse
import sys

from course.data.manuals import manuals
from course.data.shakespeare import shakespeare
from course.data.tales import tales

__all__ = ["manuals", "shakespeare", "tales"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    corpora = parser.add_subparsers(required=True, metavar="CORPUS")
    told = corpora.add_parser("tales", help="short stories, told from a seed")
    told.add_argument("--size", type=int, default=1_000_000, help="characters, at least; default %(default)s")
    told.add_argument("--seed", type=int, default=0, help="each tells other stories; default %(default)s")
    told.set_defaults(read=lambda args: tales(args.size, args.seed))
    read = corpora.add_parser("manuals", help="the docstrings of the installed torch, numpy and matplotlib")
    read.set_defaults(read=lambda _: manuals())
    fetched = corpora.add_parser("shakespeare", help="Tiny Shakespeare; fetched once, if it is not there")
    fetched.set_defaults(read=lambda _: shakespeare())


def run(args: argparse.Namespace) -> int:
    """Write the text to standard output: in UTF-8 on every system, and nothing else."""
    try:
        text = args.read(args)
    except (ConnectionError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        return 1
    return 0
