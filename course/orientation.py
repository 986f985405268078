"""Where a reader is: chapters and figures have their numbers, and answers are not on the way.

The number of a chapter is that of its file, `04_attention_as_lookup`; a page without one has none.
From a sheet of exercises the next page is the next chapter, and no search finds the solutions.
"""

import re
from copy import deepcopy

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

SOLUTIONS = "solutions/"


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
    return changed


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
    app.connect("env-before-read-docs", give_back_numbers)
    app.connect("env-get-updated", number_chapters, priority=900)
    app.connect("env-check-consistency", lambda app, env: hide_solutions(app, env))
    app.connect("html-page-context", pass_solutions_by, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
