"""The strip at the top of a chapter's page: the stations of a text through the machine, and which of them one is at.

In a notebook `machine_map(here=...)` draws the whole map. The page has it once, in chapter 00; elsewhere a row of
links stands for it, in the order in which a text goes through the machine.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from course.orientation import number_of

# What course/map.py calls a station, the number of its chapter, and a word for it.
STATIONS = {
    "tokens": ("01", "Tokens"),
    "vectors": ("03", "Vectors"),
    "lookup": ("04", "Lookup"),
    "smoothing": ("05", "Smoother"),
    "heads": ("06", "Heads"),
    "model": ("07", "Block"),
    "prediction": ("02", "Prediction"),
    "training": ("08", "Training"),
    "generation": ("09", "Generation"),
}
MAP = re.compile(r"^machine_map\(here=[\"'](\w+)[\"']\)", re.MULTILINE)


class Strip(SphinxPostTransform):
    """Put the strip where a page would have the map with a place marked on it."""

    default_priority = 3  # before myst-nb chooses among the forms of an output
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and (here := self.station(cell)):
                cell.replace_self(nodes.raw("", self.strip(here), format="html"))

    def station(self, cell: nodes.container) -> str | None:
        """The station that the map of a cell marks, if it draws one and its code is not shown."""
        if "tag_remove-input" not in cell["classes"]:
            return None
        notebook = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf8")
        found = MAP.search("".join(json.loads(notebook)["cells"][cell["cell_index"]]["source"]))
        return found and found[1]

    def strip(self, here: str) -> str:
        pages = {number: page for page in self.env.found_docs if (number := number_of(page))}
        own = self.env.docname
        items = []
        for name, (number, word) in {None: ("00", "Map"), **STATIONS}.items():
            text = f'<span class="strip-number">{number}</span> <span class="strip-word">{word}</span>'
            mark = ' aria-current="true"' if name == here else ""
            if (page := pages.get(number)) and page != own:
                text = f'<a href="{self.app.builder.get_relative_uri(own, page)}"{mark}>{text}</a>'
            else:
                text = f"<span{mark}>{text}</span>"
            items.append(f'<li class="station-{number}">{text}</li>')
        return f'<nav class="strip" aria-label="The way of a text through the machine"><ol>{"".join(items)}</ol></nav>'


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Strip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
