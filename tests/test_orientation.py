"""Chapters have the numbers of their files, in every build."""

from types import SimpleNamespace

from docutils import nodes

from course.orientation import give_back_numbers, number_chapters

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


def test_figures_have_the_number_of_their_chapter_and_a_second_build_writes_nothing_anew():
    env, _ = built(nodes.title(secnumber=("04",)))
    env.toc_fignumbers = {PAGE: {"figure": {"first": (7,), "second": (8,)}}}
    assert number_chapters(None, env) == [PAGE]
    assert env.toc_fignumbers[PAGE]["figure"] == {"first": (4, 1), "second": (4, 2)}
    give_back_numbers(None, env, [])
    assert env.toc_fignumbers[PAGE]["figure"] == {"first": (7,), "second": (8,)}  # what Sphinx has found, and will find
    assert number_chapters(None, env) == []
    assert env.toc_fignumbers[PAGE]["figure"]["second"] == (4, 2)
