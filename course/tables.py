"""Tables on a phone: one of sentences has its cells below each other there, each with the head of its column before it.

A table of numbers stays as it is and scrolls: its columns are what one compares.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

WORDY = 20  # letters of a cell, on average, from which a table of three columns or more is one of sentences


class Stack(SphinxPostTransform):
    """Give the cells of a table of sentences the heads of their columns, which only a phone shows."""

    default_priority = 160  # after links have their places
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for table in self.document.findall(nodes.table):
            heads, rows = parts(table)
            if is_of_sentences(rows) and len(heads) == len(rows[0]):
                table["classes"].append("stacks")
                for row in rows:
                    for head, cell in list(zip(heads, row))[1:]:  # the first cell is what its row is about
                        give_head(head, cell)


def parts(table: nodes.table) -> tuple[list[nodes.entry], list[list[nodes.entry]]]:
    """The heads of the columns and the rows of a table."""
    heads = [entry for head in table.findall(nodes.thead) for entry in head.findall(nodes.entry)]
    rows = [list(row.findall(nodes.entry)) for body in table.findall(nodes.tbody) for row in body.findall(nodes.row)]
    return heads, rows


def is_of_sentences(rows: list[list[nodes.entry]]) -> bool:
    """Whether a table is too wide for a phone since its cells hold words."""
    cells = [cell for row in rows for cell in row]
    return bool(rows) and len(rows[0]) >= 3 and sum(len(cell.astext()) for cell in cells) >= WORDY * len(cells)


def give_head(head: nodes.entry, cell: nodes.entry) -> None:
    words, place = head.next_node(nodes.paragraph), cell.next_node(nodes.paragraph)
    if words is not None and place is not None and words.astext().strip():
        place.insert(0, nodes.inline("", "", *(child.deepcopy() for child in words), nodes.Text(": "), classes=["head-of-cell"]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Stack)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
