"""The strip at the top of a chapter's page: the stations of a text through the machine, and which of them one is at.

In a notebook `machine_map(here=...)` draws the whole map. The page has it once, in chapter 00; elsewhere a row of
links stands for it, in the order in which a text goes through the machine.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator

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


class strip(nodes.General, nodes.Element):
    """The place of the strip, with the name of the station that it marks."""


class Strip(SphinxTransform):
    """Put the strip where a page would have the map with a place marked on it."""

    default_priority = 200  # before figures are counted: the strip is none

    def apply(self, **kwargs) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and (here := self.station(cell)):
                cell.replace_self(strip("", here=here))

    def station(self, cell: nodes.container) -> str | None:
        """The station that the map of a cell marks, if it draws one and its code is not shown."""
        if "tag_remove-input" not in cell["classes"]:
            return None
        notebook = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf8")
        found = MAP.search("".join(json.loads(notebook)["cells"][cell["cell_index"]]["source"]))
        return found and found[1]


def visit(writer: HTML5Translator, node: strip) -> None:
    builder = writer.builder
    own = builder.current_docname
    pages = {number: page for page in builder.env.found_docs if (number := number_of(page))}
    items = []
    for name, (number, word) in {None: ("00", "Map"), **STATIONS}.items():
        text = f'<span class="strip-number">{number}</span> <span class="strip-word">{word}</span>'
        mark = ' aria-current="true"' if name == node["here"] else ""
        if (page := pages.get(number)) and page != own:
            text = f'<a href="{builder.get_relative_uri(own, page)}"{mark}>{text}</a>'
        else:
            text = f"<span{mark}>{text}</span>"
        items.append(f'<li class="station-{number}">{text}</li>')
    writer.body.append(f'<nav class="strip" aria-label="The way of a text through the machine"><ol>{"".join(items)}</ol></nav>\n')
    raise nodes.SkipNode


def pass_by(writer: nodes.NodeVisitor, node: strip) -> None:
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    others = dict.fromkeys(["latex", "text", "man", "texinfo"], (pass_by, None))
    app.add_node(strip, html=(visit, None), **others)
    app.add_transform(Strip)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
