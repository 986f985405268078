"""Chapters have the numbers of their files, in every build, and mentions of figures lead to them."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from course.orientation import give_back_numbers, number_chapters

PAGE = "chapters/04_attention_as_lookup"


def built(title: nodes.title) -> tuple[SimpleNamespace, nodes.reference]:
    """What Sphinx knows of a book with one chapter before chapters are numbered."""
    link = nodes.reference(anchorname="")
    return SimpleNamespace(titles={PAGE: title}, tocs={PAGE: nodes.bullet_list("", link)}, toc_secnumbers={}, toc_fignumbers={}, metadata={}), link


def test_a_chapter_is_written_again_when_it_gets_its_number():
    env, _ = built(nodes.title())
    assert number_chapters(None, env) == [PAGE] and env.titles[PAGE]["secnumber"] == ("04",)


def test_a_chapter_keeps_its_number_in_a_build_that_does_not_read_it_again():
    env, link = built(nodes.title(secnumber=("04",)))
    assert number_chapters(None, env) == []
    assert env.toc_secnumbers[PAGE][""] == ("04",) == link["secnumber"]


def test_figures_have_the_number_of_their_chapter_and_a_second_build_writes_nothing_anew():
    env, _ = built(nodes.title(secnumber=("04",)))
    env.toc_fignumbers = {PAGE: {"figure": {"first": (7,), "second": (8,)}}}
    assert number_chapters(None, env) == [PAGE]
    assert env.toc_fignumbers[PAGE]["figure"] == {"first": (4, 1), "second": (4, 2)}
    give_back_numbers(None, env, [])
    assert env.toc_fignumbers[PAGE]["figure"] == {"first": (7,), "second": (8,)}  # what Sphinx has found, and will find
    assert number_chapters(None, env) == []
    assert env.toc_fignumbers[PAGE]["figure"]["second"] == (4, 2)


FIGURE = ".. figure:: one.png\n   :name: {}\n\n   A caption.\n\n"


class Pages:
    """A book of a few pages, which can be built again after a change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "chapters").mkdir()
        self.write("index", "Book\n====\n\n.. toctree::\n   :glob:\n\n   chapters/*\n")

    def write(self, page: str, text: str) -> None:
        (self.folder / f"{page}.rst").write_text(text if text[:4] == "Book" else f"A page\n======\n\n{text}\n", encoding="utf8")

    def build(self) -> str:
        """Builds; returns the warnings."""
        said = io.StringIO()
        settings = {"extensions": ["course.orientation"], "numfig": True, "suppress_warnings": ["image.not_readable"], "html_theme": "basic"}
        out = self.folder / "out"
        with docutils_namespace():
            Sphinx(self.folder, None, out, out / "read", "html", settings, status=None, warning=said).build()
        return said.getvalue()

    def links(self, page: str) -> list[tuple[str, str]]:
        """Where the sentences of a page lead, and by which words."""
        html = (self.folder / f"out/{page}.html").read_text(encoding="utf8")
        return re.findall(r'<a class="reference internal" href="([^"]*)">(?:<span>)?(Fig[^<]*|[\d.]+)<', html)


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(tmp_path)


def test_a_mention_of_a_figure_leads_to_it_from_every_page(pages):
    pages.write("chapters/04_lookup", FIGURE.format("first") + FIGURE.format("second") + "See Fig. 4.2, not ``Fig. 4.1``.")
    pages.write("chapters/05_smoother", "As in Figure 4.1, Figs. 4.1 and 4.2; Figure 3 of somebody else, Fig. 3 too.")
    assert pages.build() == ""
    assert pages.links("chapters/04_lookup") == [("#second", "Fig. 4.2")]
    first, second = (f"04_lookup.html#{name}" for name in ("first", "second"))
    assert pages.links("chapters/05_smoother") == [(first, "Figure 4.1"), (first, "Figs. 4.1"), (second, "4.2")]


def test_a_page_without_a_number_counts_its_own_figures(pages):
    pages.write("chapters/appendix", FIGURE.format("first") + "See Fig. 1.")
    assert pages.build() == "" and pages.links("chapters/appendix") == [("#first", "Fig. 1")]


def test_a_mention_of_a_figure_that_is_none_is_a_warning_which_fails_the_build(pages):
    pages.write("chapters/04_lookup", FIGURE.format("first") + "See Fig. 4.2.")
    pages.write("chapters/appendix", "See Fig. 1.")
    said = pages.build()
    assert "04_lookup.rst" in said and "there is no Fig. 4.2" in said and "there is no Fig. 1\n" in re.sub(r"\x1b\[[\d;]+m", "", said)
    assert said.count("WARNING") == 2 and pages.links("chapters/04_lookup") == []


def test_a_mention_follows_its_figure_in_the_next_build(pages):
    pages.write("chapters/04_lookup", FIGURE.format("first"))
    pages.write("chapters/05_smoother", "See Fig. 4.1.")
    assert pages.build() == ""
    pages.write("chapters/04_lookup", FIGURE.format("another") + FIGURE.format("first"))
    assert pages.build() == "" and pages.links("chapters/05_smoother") == [("04_lookup.html#another", "Fig. 4.1")]
    pages.write("chapters/04_lookup", "None.")
    assert "there is no Fig. 4.1" in pages.build()
