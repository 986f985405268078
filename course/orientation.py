"""Where a reader is: chapters and figures have their numbers, and answers are not on the way.

The number of a chapter is that of its file, `04_attention_as_lookup`; a page without one has none.
"Fig. 4.2" in a sentence is a link to that figure, and a warning of the build where there is none.
From a sheet of exercises the next page is the next chapter, and no search finds the solutions.
"""

import re
from collections.abc import Iterator
from copy import deepcopy

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

SOLUTIONS = "solutions/"

# Fig. 4.2; Figure 4.2; Figs. 4.1 and 4.2; and Fig. 2 for the second one of a page without a number.
FIGURES = re.compile(r"\b(?:Figs?\.|Figures?)\s\d+(?:\.\d+)?(?:(?:,|,?\sand|\sto)\s\d+\.\d+)*(?![\d])")
FIGURE = re.compile(r"(?:[A-Z]\w+\.?\s)?(\d+(?:\.\d+)?)")
UNLINKED = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.raw, nodes.reference, nodes.comment, nodes.title, addnodes.pending_xref)


def number_of(page: str) -> str | None:
    found = re.fullmatch(r"chapters/(\d\d)_\w+", page)
    return found and found[1]


def anchor(title: str) -> str:
    """The name of a section in a link, `page.ipynb#Name-of-the-section`: JupyterLab's, so that it holds there, too."""
    return title.replace(" ", "-")


def number_chapters(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give each chapter its number; the sections in it get none."""
    changed = []
    for page, title in env.titles.items():
        if not (number := number_of(page)):
            continue
        if title.get("secnumber") != (number,):
            title["secnumber"] = (number,)
            changed.append(page)
        # Sphinx forgets these numbers in each build, also for pages that it does not read again.
        links = list(env.tocs[page].findall(nodes.reference))
        env.toc_secnumbers[page] = {link["anchorname"]: () for link in links} | {"": (number,)}
        for link in links:
            if not link["anchorname"]:
                link["secnumber"] = (number,)
    return changed + number_figures(env)


def number_figures(env: BuildEnvironment) -> list[str]:
    """Figure 4.1 is the first of chapter 04; a page without a number counts its own from 1."""
    changed, before = [], getattr(env, "figures_of_chapters", {})
    env.figures_of_sphinx, env.figures_of_chapters = deepcopy(env.toc_fignumbers), {}
    for page, kinds in env.toc_fignumbers.items():
        chapter = (int(number),) if (number := number_of(page)) else ()
        figures = {name: (*chapter, i) for i, name in enumerate(kinds.get("figure", ()), start=1)}
        if figures != before.get(page, {}):
            changed.append(page)
        kinds["figure"] = env.figures_of_chapters[page] = figures
    if changed or before.keys() - env.figures_of_chapters.keys():  # who mentions a figure may have to name another place, or none
        changed += [page for page, known in env.metadata.items() if "mentions_figures" in known and page not in changed]
    return changed


class FigureLinks(SphinxTransform):
    """Make a link of each mention of a figure by its number; which figure has it is known when all pages are read."""

    default_priority = 210  # once captions are there, which may mention figures

    def apply(self, **kwargs) -> None:
        mentioned = False
        for text in list(self.document.findall(nodes.Text)):
            if not any(isinstance(node, UNLINKED) for node in around(text)):
                pieces = list(self.pieces(text.astext()))
                if len(pieces) > 1:
                    text.parent.replace(text, pieces)
                    mentioned = True
        if mentioned:
            self.env.metadata[self.env.docname]["mentions_figures"] = True

    def pieces(self, text: str) -> Iterator[nodes.Node]:
        end, page = 0, self.env.docname
        for run in FIGURES.finditer(text):
            for found in FIGURE.finditer(run[0]):
                if "." not in found[1] and (number_of(page) or not found[0].startswith("Fig. ")):
                    continue  # a figure of somebody else's
                start = run.start() + found.start()
                yield nodes.Text(text[end:start])
                yield addnodes.pending_xref(
                    "", nodes.inline("", found[0]), refdomain="", reftype="figure", reftarget=found[1], refdoc=page, refwarn=True,
                )
                end = start + len(found[0])
        yield nodes.Text(text[end:])


def around(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


def find_figure(env: BuildEnvironment, number: str, page: str) -> tuple[str, str] | None:
    """The page of a figure and its place there, for a mention of "4.2" in any page, or of "2" in its own."""
    wanted = tuple(int(part) for part in number.split("."))
    pages = [page] if len(wanted) == 1 else [other for other in env.figures_of_chapters if number_of(other)]
    for other in pages:
        for place, its in env.figures_of_chapters.get(other, {}).items():
            if its == wanted:
                return other, place
    return None


def link_figure(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, words: nodes.Element
) -> nodes.Node | None:
    """What stands for a mention of a figure: a link, or, with a warning, its words."""
    if node["reftype"] != "figure" or node["refdomain"]:
        return None
    found = find_figure(env, node["reftarget"], node["refdoc"])
    if not found:
        logger.warning("there is no Fig. %s", node["reftarget"], location=node, type="figure")
        return words
    page, place = found
    here = "" if page == node["refdoc"] else app.builder.get_relative_uri(node["refdoc"], page)
    return nodes.reference("", "", words, internal=True, refuri=f"{here}#{place}")


def give_back_numbers(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Let Sphinx compare its own numbers of figures with its own, so that no page is written anew without need."""
    env.toc_fignumbers = getattr(env, "figures_of_sphinx", env.toc_fignumbers)


def hide_solutions(app: Sphinx, env: BuildEnvironment) -> None:
    for page in env.found_docs:
        if page.startswith(SOLUTIONS):
            env.metadata[page]["nosearch"] = True


def pass_solutions_by(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Lead from page to page past the solutions, and from the solutions back to their sheet."""
    relations = app.env.collect_relations()
    if page not in relations:
        return
    for name, step in (("prev", 1), ("next", 2)):
        other = relations[page][step]
        while other and other.startswith(SOLUTIONS):
            other = relations[other][step]
        if page.startswith(SOLUTIONS) and name == "prev":
            other = page.replace(SOLUTIONS, "exercises/")
        context[name] = other and {
            "link": app.builder.get_relative_uri(page, other),
            "title": app.builder.render_partial(app.env.titles[other])["title"],
        }


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(FigureLinks)
    app.connect("missing-reference", link_figure)
    app.connect("env-before-read-docs", give_back_numbers)
    app.connect("env-get-updated", number_chapters, priority=900)
    app.connect("env-check-consistency", lambda app, env: hide_solutions(app, env))
    app.connect("html-page-context", pass_solutions_by, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
