"""What the rendered book needs beyond jupyter-book: boxes, links, and buttons that wait for a repository."""

import re

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.config import Config

BOXES = {"two-views": "Two views", "why-it-works": "Why it works", "why-it-might": "Why it might"}


class Box(Directive):
    """An admonition whose name is also its CSS class and gives its title: `:::{why-it-works}`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        box = nodes.admonition(classes=["book-box", self.name])
        box += nodes.title("", BOXES[self.name])
        self.state.nested_parse(self.content, self.content_offset, box)
        return [box]


def set_buttons(app: Sphinx, config: Config) -> None:
    """Show the buttons that lead to the repository if there is one; the theme fails on an empty address."""
    options = config.html_theme_options
    if options["repository_url"]:
        options["use_repository_button"] = True
    else:
        del options["launch_buttons"]


def link_pages(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Lead from page to page where a cell's output leads from notebook to notebook."""
    if "body" in context:
        context["body"] = re.sub(r'href="(\.\./[^":]+)\.ipynb"', r'href="\1.html"', context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    for name in BOXES:
        app.add_directive(name, Box)
    app.connect("config-inited", set_buttons)
    app.connect("html-page-context", link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
