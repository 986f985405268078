"""The core of the live widgets and the directive that places them."""

import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree
from docutils.parsers.rst import directives
from docutils.utils import SystemMessage
from matplotlib.colors import to_rgb
from myst_parser.parsers.docutils_ import Parser
from PIL import Image

from browser import PATIENCE, ROOT, reading, unfit
from course.sphinx_ext import Live, live
from course.style import ATTENTION, COLORS

PLACE = """
:::{{live}} {name}
:id: {id}
:size: 3

![A picture of it.](picture.png)

A sentence.
:::
"""


# --- the directive ----------------------------------------------------------------------------------------


def parsed(text: str, folder: Path):
    """The document that a chapter's text gives, in a book whose one widget is `toy`."""
    (folder / "pages/live").mkdir(parents=True, exist_ok=True)
    (folder / "pages/live/toy.js").write_text('Live.widget("toy", () => {});')
    (folder / "pages/live/engine.js").write_text('Live.provide("engine", {});')
    directives.register_directive("live", Live)
    settings = {
        "env": SimpleNamespace(srcdir=folder, metadata={}, docname="a"), "halt_level": 3, "report_level": 5,
        "myst_enable_extensions": ["colon_fence"],
    }
    return publish_doctree(text, parser=Parser(), settings_overrides=settings)


def test_a_place_keeps_its_options_picture_and_sentence(tmp_path):
    (place,) = parsed(PLACE.format(name="toy", id="here"), tmp_path).findall(live)
    assert (place["widget"], place["ids"], place["options"]) == ("toy", ["here"], {"size": "3"})
    assert [part["classes"] for part in place.children] == [["live-picture"], ["live-sentence"]]


@pytest.mark.parametrize("text, complaint", [
    (PLACE.format(name="tay", id="here"), "no live widget 'tay'; there is toy"),
    (PLACE.format(name="engine", id="here"), "no live widget 'engine'"),
    (2 * PLACE.format(name="toy", id="here"), "the id 'here' is taken"),
    (PLACE.format(name="toy", id="here").replace("A picture of it.", ""), "alternative text"),
    (PLACE.format(name="toy", id="here").replace("A sentence.", ""), "and then a sentence"),
])
def test_a_place_that_would_lose_a_reader_does_not_build(text, complaint, tmp_path):
    with pytest.raises(SystemMessage, match=complaint):
        parsed(text, tmp_path)


def test_only_a_page_with_a_widget_loads_its_script_and_the_core(live_book):
    without, having = ((live_book / f"chapters/{name}.html").read_text() for name in ("root", "smoother"))
    assert "live/" not in without
    assert [having.count(f"live/{name}") for name in ("live.css", "live.js", "smoother.js")] == [1, 1, 1]
    assert "live/lookup.js" not in having


def test_the_pictures_in_the_chapters_are_small_and_real():
    sources = [path.read_text() for path in (*ROOT.glob("chapters/*.py"), ROOT / "intro.md")]
    pictures = [name for text in sources for name in re.findall(r"pages/live/(\w+\.png)\)", text)]
    assert len(pictures) >= 2
    for name in pictures:
        path = ROOT / "pages/live" / name
        assert 2_000 < path.stat().st_size <= 60_000, name
        assert Image.open(path).width >= 600, name


def test_the_engine_fits_into_15_kilobytes():
    engine = [(ROOT / "pages/live" / name).read_bytes() for name in ("live.js", "gpt.js")]
    assert len(gzip.compress(b"".join(engine))) <= 15_000


# --- the core, with a toy for a widget --------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(live_book):
    """A function that writes a page with a widget whose mount function has this body; returns its URL."""
    page = (live_book / "chapters/smoother.html").read_text()
    assert '<div class="live" data-options="{}" data-widget="smoother" id="smoother">' in page

    def write(body: str, above: str = "") -> str:
        mount = f'Live.widget("toy", async (stage, options, state) => {{ {body} }});'
        script = f'<script>addEventListener("DOMContentLoaded", () => {{ {mount} }});</script></head>'
        changed = page.replace("</head>", script)
        changed = changed.replace('<div class="live"', above + '<div class="live"')
        changed = changed.replace('data-widget="smoother" id="smoother"', 'data-widget="toy" id="toy"')
        path = live_book / "chapters/toy.html"
        path.write_text(changed)
        return path.as_uri()

    return write


def test_a_widget_takes_the_place_of_its_picture_and_leaves_the_sentence(browser, toy):
    with reading(browser) as page:
        page.goto(toy('stage.append("Alive.");'))
        page.get_by_text("Alive.").wait_for()
        page.locator(".live-picture").wait_for(state="hidden")
        assert page.get_by_text("A sentence.").is_visible()


def test_a_widget_that_fails_leaves_the_picture_and_says_why(browser, toy):
    page = browser.new_page()  # its console holds the failure
    page.set_default_timeout(PATIENCE)
    page.goto(toy('stage.append("Half"); throw new Error("the moon is full.");'))
    page.get_by_text("This stays a picture: the moon is full.").wait_for()
    assert page.locator(".live-picture img").is_visible() and not page.get_by_text("Half").count()
    page.close()


def test_without_scripts_there_are_picture_and_sentence(browser, live_book):
    with reading(browser, java_script_enabled=False) as page:
        page.goto((live_book / "chapters/smoother.html").as_uri())
        assert page.get_by_alt_text("A picture of it.").is_visible()
        assert page.get_by_text("A sentence.").is_visible()


def test_a_widget_waits_until_the_reader_is_near_or_the_address_names_it(browser, toy):
    url = toy('stage.append("Alive.");', above='<div style="height: 5000px"></div>')
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto(url)
        page.wait_for_timeout(100)
        assert page.get_by_text("Alive.").count() == 0
        page.mouse.wheel(0, 4500)
        page.get_by_text("Alive.").wait_for()
        page.goto("about:blank")
        page.goto(f"{url}#toy?a=1")
        page.get_by_text("Alive.").wait_for()
        page.wait_for_function("scrollY > 4000")


def test_the_address_remembers_a_state_and_a_link_brings_it_back(browser, toy):
    url = toy("""
        const show = (values) => { stage.textContent = JSON.stringify(values); };
        show(state.get());
        state.watch(show);
        window.change = state.set;
    """)
    stage = ".live-stage"
    with reading(browser) as page:
        page.goto(url)
        page.locator(stage, has_text="{}").wait_for()
        page.evaluate("change({ text: 'a=b & c? 你#', h: 0.5 })")
        page.evaluate("change({ extra: 1 })")
        page.evaluate("change({ extra: null })")
        page.wait_for_function("location.hash.includes('h=0.5')")
        shared = page.url
        assert "extra" not in shared
        page.goto("about:blank")
        page.goto(shared)
        page.locator(stage, has_text='{"text":"a=b & c? 你#","h":"0.5"}').wait_for()
        page.evaluate("location.hash = '#toy?h=7'")
        page.locator(stage, has_text='{"h":"7"}').wait_for()
        page.evaluate("location.hash = '#elsewhere?h=8'")
        page.wait_for_timeout(50)
        assert page.locator(stage).text_content() == '{"h":"7"}'


def test_data_are_loaded_once_and_a_missing_file_is_named_and_asked_for_again(browser, toy, live_book):
    url = toy("""
        window.ask = () => Live.need("data").then((data) => data.join(" "), (error) => error.message);
        stage.append("Alive.");
    """)
    data = live_book / "_static/live/data.js"
    page = browser.new_page()  # a missing file is in the console, too
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.get_by_text("Alive.").wait_for()
    assert "the file data.js, which this needs, could not be loaded" in page.evaluate("ask()")
    data.write_text("a mistake")
    assert "the file data.js, which this needs, was loaded but is damaged" in page.evaluate("ask()")
    data.write_text('window.times = (window.times ?? 0) + 1; Live.provide("data", ["here", "I", "am"]);')
    assert page.evaluate("Promise.all([ask(), ask()])") == ["here I am", "here I am"]
    assert page.evaluate("ask()") == "here I am" and page.evaluate("times") == 1
    page.close()
    data.unlink()


def test_the_colors_are_those_of_the_figures_and_turn_with_the_theme(browser, toy):
    url = toy('const show = () => { stage.textContent = Live.shade(1); }; show(); Live.onTheme(show);')
    with reading(browser, color_scheme="light") as page:
        page.goto(url)
        colors = page.evaluate("Live.colors()")
        assert (colors["lookup"], colors["smoother"]) == (COLORS["LOOKUP"], COLORS["SMOOTHER"])
        for weight in (0.0, 1 / 3, 2 / 3, 1.0):
            red, green, blue = (round(255 * channel) for channel in ATTENTION(weight)[:3])
            assert page.evaluate(f"Live.shade({weight})") == f"rgb({red}, {green}, {blue})"
        light = page.locator(".live-stage").text_content()
        page.emulate_media(color_scheme="dark")
        page.locator("html[data-theme=dark]").wait_for()
        assert page.locator(".live-stage").text_content() != light
        assert sum(to_rgb(page.evaluate("Live.colors().paper"))) < 0.5


# --- all widgets ------------------------------------------------------------------------------------------


def test_every_widget_is_fit_for_all_readers_in_light_and_dark_and_on_a_phone(browser, live_book):
    pages = [path for path in (live_book / "chapters").glob("*.html") if path.stem not in ("root", "toy")]
    assert len(pages) >= 2
    faults = []
    with reading(browser, viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as page:
        for path in pages:
            page.goto(path.as_uri())
            page.locator(".live-mounted").wait_for()
            faults += unfit(page)
    assert faults == []
