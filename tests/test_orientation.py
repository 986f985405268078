"""Chapters have the numbers of their files, in every build."""

from types import SimpleNamespace

from docutils import nodes

from course.orientation import number_chapters

PAGE = "chapters/04_attention_as_lookup"


def built(title: nodes.title) -> tuple[SimpleNamespace, nodes.reference]:
    """What Sphinx knows of a book with one chapter before chapters are numbered."""
    link = nodes.reference(anchorname="")
    return SimpleNamespace(titles={PAGE: title}, tocs={PAGE: nodes.bullet_list("", link)}, toc_secnumbers={}, toc_fignumbers={}), link


def test_a_chapter_is_written_again_when_it_gets_its_number():
    env, _ = built(nodes.title())
    assert number_chapters(None, env) == [PAGE] and env.titles[PAGE]["secnumber"] == ("04",)


def test_a_chapter_keeps_its_number_in_a_build_that_does_not_read_it_again():
    env, link = built(nodes.title(secnumber=("04",)))
    assert number_chapters(None, env) == []
    assert env.toc_secnumbers[PAGE][""] == ("04",) == link["secnumber"]
