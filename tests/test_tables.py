"""Tables of sentences can be read on a phone, and tables of numbers are left alone."""

from docutils import nodes
from docutils.core import publish_doctree

from course.tables import Stack, is_of_sentences, parts

SENTENCES = """
=================  ==============================  ===============================  ======
phenomenon         as a lookup                     as a smoother                    none
=================  ==============================  ===============================  ======
a key is missing   a dictionary raises an error    a local mean exists everywhere
two layers copy    the address was written before  the second compares contexts     *why it is found*
=================  ==============================  ===============================  ======
"""
NUMBERS = """
========  =====  =====  =====
head      keys   trace  loss
========  =====  =====  =====
1.1       13     0.76   0.3
========  =====  =====  =====
"""


def table(text: str) -> nodes.table:
    return publish_doctree(text).next_node(nodes.table)


def test_a_table_of_sentences_is_told_from_one_of_numbers():
    assert is_of_sentences(parts(table(SENTENCES))[1])
    assert not is_of_sentences(parts(table(NUMBERS))[1])
    two_columns = table("\n".join(line[:49] for line in SENTENCES.splitlines()))
    assert not is_of_sentences(parts(two_columns)[1])  # these have room


def test_each_cell_of_a_table_of_sentences_begins_with_the_head_of_its_column():
    document = publish_doctree(SENTENCES + NUMBERS)
    Stack(document).run()
    sentences, numbers = document.findall(nodes.table)
    assert sentences["classes"] == ["stacks"] and numbers["classes"] == []
    rows = [[cell.astext() for cell in row] for row in parts(sentences)[1]]
    assert rows == [
        ["a key is missing", "as a lookup: a dictionary raises an error", "as a smoother: a local mean exists everywhere", ""],
        ["two layers copy", "as a lookup: the address was written before", "as a smoother: the second compares contexts", "none: why it is found"],
    ]
    assert {node["classes"][0] for node in sentences.findall(nodes.inline)} == {"head-of-cell"}
