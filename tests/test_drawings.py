"""The drawings: the files are what the code draws, and no word lies on another or leaves the drawing."""

import re

import pytest
from playwright.sync_api import Browser

from course.drawing import WIDTH, Drawing
from course.drawings import DRAWINGS, FOLDER, ROOT

MEASURE = """() => [...document.querySelectorAll("svg text")].map(text => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom];
})"""


@pytest.fixture(scope="module")
def page(browser: Browser):
    page = browser.new_page(viewport={"width": WIDTH, "height": 400})
    yield page
    page.close()


def words(page, svg: str) -> list[tuple]:
    """Each text of a drawing with the edges of its box, in units. A margin of ½ is not counted."""
    page.set_content(f'<body style="margin:0">{svg}')
    return [(text, x + 0.5, y + 2, right - 0.5, bottom - 2) for text, x, y, right, bottom in page.evaluate(MEASURE)]


def meet(one: tuple, other: tuple) -> bool:
    return one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]


def faults(page, draw: Drawing) -> list[str]:
    found = words(page, draw.svg())
    outside = [w[0] for w in found if w[1] < 0 or w[2] < -2 or w[3] > WIDTH or w[4] > draw.height + 2]
    crossed = [f"{a[0]} / {b[0]}" for i, a in enumerate(found) for b in found[:i] if meet(a, b)]
    return outside + crossed


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_its_code_draws(name):
    drawn = (FOLDER / f"{name}.svg").read_text(encoding="utf8")
    assert drawn == DRAWINGS[name]().svg(), "run `python -m course.drawings`"


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_word_lies_on_another_or_leaves_its_drawing(page, name):
    assert faults(page, DRAWINGS[name]()) == []


def test_what_is_wrong_with_a_drawing_is_found(page):
    draw = Drawing(60)
    draw.words(180, 20, "one")
    draw.words(184, 22, "other")
    draw.words(350, 40, "over the edge")
    assert faults(page, draw) == ["over the edge", "other / one"]


def test_every_drawing_stands_in_one_chapter_and_every_one_that_stands_there_is_drawn():
    text = "".join(path.read_text(encoding="utf8") for path in sorted((ROOT / "chapters").glob("*.py")))
    used = re.findall(r"pages/drawings/(\w+)\.svg", text)
    assert sorted(used) == sorted(DRAWINGS) == sorted(path.stem for path in FOLDER.iterdir())


def test_the_same_drawing_twice_is_the_same_bytes():
    for draw in DRAWINGS.values():
        assert draw().svg() == draw().svg()
