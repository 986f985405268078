"""Reading the rendered book: quieter code, the strip, ticks and minutes, the search, and pages that stand still."""

import gzip
import io
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from docutils import nodes
from playwright.sync_api import Page
from pypdf import PdfReader

from browser import ROOT, reading
from course.lighter import of_theme
from course.map import STOPS
from course.quiet import fold_from, is_lines, is_prose, is_verdict
from course.sections import readable
from course.strip import STATIONS
from test_book import book, pages_of  # noqa: F401 - the fixture is used by its name

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 800}
CHAPTER = "chapters/05_attention_as_smoothing.html"
ALONE = ("index.html", "404.html")  # one only leads on, the other has a style of its own

DRAWN = "x = measure()\ny = sort(x)\nassert len(y) == 3\nfig, ax = figure()\nax.plot(y)\nax.set(title='A line')\nfig"


@pytest.fixture(scope="module")
def shown(book) -> list[Path]:  # noqa: F811
    """Every page with a text."""
    return [page for page in pages_of(book) if page.name not in ALONE]


# What is folded, without a browser.


@pytest.mark.parametrize(("source", "line"), [
    (DRAWN, 3),                                                           # what is computed stays in sight
    (DRAWN.removeprefix("x = measure()\n"), 0),                           # two statements are not worth a block
    ("import torch\nNAMES = ['a', 'b']\nV = 1\n" + DRAWN[DRAWN.index("fig") :], 0),   # nor are names
    ("def f(x):\n    return x\n\n\n" + DRAWN[DRAWN.index("fig") :], 4),   # a function is, since one may need it later
    ("# The picture.\nfig, ax = figure()\nax.plot(y)\nax.set()\nfig", 0),
    ("x = 1\nfig", None),
    ("attention_map(weights)", None),                                     # a line is no wall
    ("x = measure()\nprint(x)", None),
    ("%matplotlib inline\nfig, ax = figure()", None),                     # not Python
])
def test_a_cell_is_folded_from_where_it_only_draws(source, line):
    assert fold_from(source) == line


def test_a_function_that_draws_is_drawing_too():
    assert fold_from("def dots(x):\n    fig, ax = figure()\n    ax.plot(x)\n    return fig\n\n\ndots(1)") == 0
    assert fold_from("a = f(1)\nb = f(2)\nc = f(3)\nshow_dots(\n    a,\n    b,\n    c,\n)", {"show_dots"}) == 3


@pytest.mark.parametrize(("text", "prose"), [
    ("Once there was a cat who lived in a narrow house with a navy gate in Duckworth, and sang.", True),
    ("short", False),
    ("Taleteller    0.154 nats per character, standard error 0.0025, which is not much at all", False),
    ("a │ b │ c, and so on for as long as one likes, up to the end of a line of a table", False),
])
def test_sentences_wrap_and_columns_do_not(text, prose):
    assert is_prose(text) is prose


@pytest.mark.parametrize(("text", "lines"), [
    ("median 0.120    of 20 seeds, standard error 0.013\n", True),       # one line: nothing stands below it
    ("the difference is 0.120\nits standard error is 0.013", True),
    ("loss     steps\n0.120    400", False),
    ("tensor([[0.1, 0.2],\n        [0.3, 0.4]])", False),
])
def test_lines_that_can_be_read_alone_wrap_on_a_phone(text, lines):
    assert is_lines(text) is lines


@pytest.mark.parametrize(("code", "said", "folded"), [
    ('check("q3")', "q3: 0 of 4 points\n  ✗ an open mask (0/2)", True),      # it would say where the bugs are
    ('check("q1")', "q1 (2 points): not attempted yet", False),
    ('print("✗")', "✗", False),
])
def test_what_the_check_says_of_code_to_be_repaired_is_folded(code, said, folded):
    cell = nodes.container("", nodes.literal_block("", code), nodes.literal_block("", said))
    assert is_verdict(cell) is folded


def test_the_strip_has_the_stations_of_the_map():
    assert {name: number for name, (number, _) in STATIONS.items()} == {name: f"{stop.number:02}" for name, stop in STOPS.items()}
    assert list(STATIONS) == list(STOPS)


def test_a_sheet_without_scripts_has_the_colors_of_day_and_night():
    css = '@charset "utf-8"; /* { */ html[data-theme=dark] .k, html .n { color: red } @media print { html[data-theme="dark"] a { b: c } } p { d: e }'
    assert [*of_theme(css, "dark")] == ["html:not([data-theme]) .k{ color: red }", "@media print{html:not([data-theme]) a{ b: c }}"]
    assert [*of_theme(css, "light")] == []
    assert [*of_theme('html:is([data-theme="light"], [a="b"]) i { x: y }', "light")] == ['html:is(:not([data-theme]), [a="b"]) i{ x: y }']


def test_a_formula_in_a_result_is_one_that_can_be_read():
    assert readable(r"h^2 = \sqrt d") == "h² = √d"
    assert readable(r"\beta = 1/\tau") == "β = 1/τ"
    assert readable(r"\mathbf K") == "K"


# What a reader finds.


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")


def test_code_that_draws_is_folded_in_every_chapter(book):  # noqa: F811
    for path in sorted((book / "chapters").glob("[01g]*.html")):
        in_sight = [block.get_text() for block in soup(path).select("div.cell > div.cell_input pre")]
        assert in_sight and not [text for text in in_sight if re.search(r"^fig, ax\w* = figure\(", text, re.MULTILINE)], path


def test_a_fold_says_what_is_in_it_and_opens_by_a_key(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        fold = page.locator("details.above-input").first
        assert fold.locator("summary").inner_text() == "Show the code of the figure"
        assert not fold.locator(".cell_input").is_visible()
        fold.locator("summary").focus()
        page.keyboard.press("Enter")
        assert fold.locator(".cell_input").is_visible() and fold.locator("summary").inner_text() == "Hide the code"


def test_code_has_13_pixels_and_its_output_begins_where_it_ends(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        assert page.locator(".cell_input pre").first.evaluate("e => getComputedStyle(e).fontSize") == "13px"
        gaps = page.evaluate("""[...document.querySelectorAll('div.cell')]
            .map(cell => [cell.querySelector(':scope > .cell_input'), cell.querySelector(':scope > .cell_input + .cell_output > .output pre')])
            .filter(([a, b]) => a && b && a.nextElementSibling.contains(b) && a.nextElementSibling.querySelector('.output pre') === b)
            .map(([a, b]) => b.getBoundingClientRect().top - a.getBoundingClientRect().bottom)""")
        assert len(gaps) > 5 and max(gaps) < 2


def test_no_code_of_a_chapter_scrolls_on_a_laptop(browser, book):  # noqa: F811
    """Nor does a longest line, of 93 characters, where the window's own bar takes 15 pixels."""
    with reading(browser, viewport=DESKTOP) as page:
        wide = []
        for path in sorted((book / "chapters").glob("*.html")):
            page.goto(path.as_uri())
            wide += page.locator(".cell_input pre").evaluate_all(
                "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent.slice(0, 40))")
        assert wide == []
        page.set_viewport_size({"width": 1265, "height": 800})
        assert page.locator(".cell_input pre").first.evaluate("""one => {
            one.textContent = "x".repeat(93);
            return one.scrollWidth <= one.clientWidth;
        }""")


def test_a_sheet_has_what_the_check_says_of_its_bugs_in_a_fold(book):  # noqa: F811
    for path in sorted((book / "exercises").glob("*.html")):
        page = soup(path)
        folded = [fold.get_text() for fold in page.select("details.below-input")]
        assert all("Show what the check says of the code as it is" in text and "✗" in text for text in folded)
        assert page.get_text().count("✗") == sum(text.count("✗") for text in folded), path


def test_a_table_of_sentences_fits_a_phone_and_says_which_column_is_which(browser, book):  # noqa: F811
    with reading(browser, viewport=PHONE) as page:
        page.goto((book / "chapters/06_two_views_many_heads.html").as_uri())
        table = page.locator("table.stacks")
        assert table.count() == 1 and table.bounding_box()["width"] <= 375
        assert table.locator("tbody tr").first.inner_text().split()[8:11] == ["as", "a", "lookup:"]
        assert table.evaluate("e => [...e.querySelectorAll('td')].every(td => td.getBoundingClientRect().right <= innerWidth)")
        page.set_viewport_size(DESKTOP)
        assert "as a lookup: " not in table.inner_text()


def test_a_printed_story_wraps_on_a_phone(browser, book):  # noqa: F811
    with reading(browser, viewport=PHONE) as page:
        page.goto((book / "chapters/00_the_whole_machine.html").as_uri())
        wide = page.locator(".wraps pre").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
        assert len(wide) >= 2 and max(wide) <= 0


def contrast(one: str, other: str) -> float:
    """Of two colors as a browser names them."""
    lights = []
    for color in (one, other):
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_on_a_phone_what_goes_beyond_a_side_is_shaded_there_and_lines_wrap(browser, book):  # noqa: F811
    for scheme in ("light", "dark"):
        with reading(browser, viewport=PHONE, color_scheme=scheme) as page:
            page.goto((book / "chapters/06_two_views_many_heads.html").as_uri())
            wide = page.locator(".wraps-on-a-phone pre").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
            assert len(wide) >= 3 and max(wide) <= 0
            for place in (".cell_output .output pre", ".cell_input pre", "div.math"):
                shades = page.locator(place).first.evaluate("one => getComputedStyle(one).backgroundImage")
                attached = page.locator(place).first.evaluate("one => getComputedStyle(one).backgroundAttachment")
                assert shades.count("linear-gradient") == 4, place
                assert attached == "local, local, scroll, scroll", place
            page.set_viewport_size(DESKTOP)
            assert "gradient" not in page.locator("div.math").first.evaluate("one => getComputedStyle(one).backgroundImage")


def test_on_a_phone_a_formula_scrolls_to_its_end(browser, book):  # noqa: F811
    with reading(browser, viewport=PHONE) as page:
        page.goto((book / "chapters/06_two_views_many_heads.html").as_uri())
        hidden = page.locator("div.math").evaluate_all("""all => all.map(one => {
            one.scrollLeft = 9999;
            return one.querySelector('.katex-display').getBoundingClientRect().right - one.getBoundingClientRect().right;
        })""")
        assert len(hidden) > 3 and max(hidden) <= 1


def test_on_a_phone_a_figure_is_as_wide_as_it(browser, book):  # noqa: F811
    with reading(browser, viewport=PHONE) as page:
        for name in ("04_attention_as_lookup", "06_two_views_many_heads"):  # of both kinds
            page.goto((book / f"chapters/{name}.html").as_uri())
            places = page.locator("figure:is(.plot, .drawn) > svg").evaluate_all(
                "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])")
            assert len(places) > 3 and all(left >= -0.5 and left < 9 and right <= 375.5 and right > 366 for left, right in places)


def test_at_night_comments_are_quieter_than_numbers_and_can_be_read(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP, color_scheme="dark") as page:
        page.goto((book / CHAPTER).as_uri())
        color = {kind: page.locator(f".cell_input .highlight .{kind}").first.evaluate("one => getComputedStyle(one).color")
                 for kind in ("c1", "mi")}
        ground = page.locator(".cell_input .highlight pre").first.evaluate("""one => {
            while (/, 0\\)$/.test(getComputedStyle(one).backgroundColor)) one = one.parentElement;
            return getComputedStyle(one).backgroundColor; }""")
        assert 4.5 < contrast(color["c1"], ground) < contrast(color["mi"], ground)


def test_the_model_of_the_landing_page_is_in_sight_at_once(browser, book):  # noqa: F811
    for size, bars in ((DESKTOP, 7), ({"width": 375, "height": 667}, 1)):
        with reading(browser, viewport=size) as page:
            page.goto((book / "intro.html").as_uri())
            page.locator(".live-speak-next > button").nth(6).wait_for()
            tops = page.locator(".live-speak-next > button").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
            assert sum(top + 20 < size["height"] for top in tops) >= bars


@pytest.mark.parametrize(("name", "here"), [
    ("04_attention_as_lookup", "Lookup"), ("10_modern_blocks", "Block"), ("gradients", "Training"),
])
def test_the_strip_leads_to_each_station_and_marks_one(book, name, here):  # noqa: F811
    strip = soup(book / f"chapters/{name}.html").select_one("nav.strip")
    assert [one.get_text().split()[-1] for one in strip.select("[aria-current]")] == [here]
    assert len(strip.select("li")) == 10
    links = [link["href"] for link in strip.select("a")]
    assert len(links) == (9 if name[:2] == "04" else 10) and all((book / "chapters" / link).is_file() for link in links)


def test_the_strip_is_slim_and_fits_a_thumb(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        assert page.locator("nav.strip").bounding_box()["height"] < 60
        page.set_viewport_size(PHONE)
        assert page.locator("nav.strip").bounding_box()["height"] < 60
        assert min(page.locator("nav.strip a").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")) >= 24


def to_the_end(page: Page) -> None:
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")


def test_a_chapter_is_ticked_at_its_end_and_a_sheet_by_its_reader(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        ticks = page.locator(".bd-sidebar-primary .tick-mark")
        assert ticks.count() == 0 and not page.locator(".tick input").is_checked()
        to_the_end(page)
        ticks.first.wait_for()
        assert ticks.evaluate_all("all => all.map(one => [one.ariaLabel, one.parentElement.textContent])") == [
            ["read", page.locator(".bd-sidebar-primary a.current").first.text_content()]]
        page.goto((book / "exercises/05_attention_as_smoothing.html").as_uri())
        to_the_end(page)
        assert ticks.count() == 1 and not page.locator(".tick input").is_checked()
        page.get_by_label("I have solved this sheet.").check()
        assert ticks.evaluate_all("all => all.map(one => one.ariaLabel)") == ["read", "solved"]
        page.reload()
        assert ticks.count() == 2 and page.locator(".tick input").is_checked()
        page.goto((book / CHAPTER).as_uri())
        page.locator(".tick input").uncheck()
        assert ticks.evaluate_all("all => all.map(one => one.ariaLabel)") == ["solved"]
        to_the_end(page)
        assert ticks.count() == 1  # who takes a tick away keeps it away


def test_without_a_storage_pages_work_and_forget(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.add_init_script("""for (const name of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, name, { configurable: true, get() { throw new DOMException("denied", "SecurityError"); } });""")
        page.goto((book / "exercises/05_attention_as_smoothing.html").as_uri())
        page.locator("html[data-theme]").wait_for(state="attached")
        page.get_by_label("I have solved this sheet.").check()
        assert page.locator(".bd-sidebar-primary .tick-mark").count() == 1


def test_minutes_go_from_none_to_all_that_the_chapter_names(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        said = page.locator(".reading-minutes")
        assert said.inner_text() == "0 of 40 min"
        seen = []
        for part in (0.25, 0.5, 0.75, 1):
            page.evaluate("p => new Promise(done => { scrollTo(0, p * document.documentElement.scrollHeight); setTimeout(done, 100); })", part)
            seen.append(int(said.inner_text().split()[0]))
        assert seen == sorted(set(seen)) and seen[-1] == 40


def results(page: Page, book: Path, query: str) -> list[tuple[str, str]]:  # noqa: F811
    page.goto(f"{(book / 'search.html').as_uri()}?q={query}")
    page.locator(".search-summary").wait_for()
    return [(link, item) for link, item in page.locator("ul.search > li").evaluate_all(
        "all => all.map(one => [one.querySelector('a').getAttribute('href'), one.innerText])")]


def test_the_search_finds_sections_with_a_line_from_each(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        for word in ("bandwidth", "induction", "nadaraya_watson", "leave-one-out", "kv cache"):
            found = results(page, book, word)
            assert len(found) >= 2, word
            assert not [link for link, _ in found if link.startswith("solutions/")]
            for link, text in found:
                path, place = urlsplit(link).path, unquote(urlsplit(link).fragment)
                assert f'id="{place}"' in (book / path).read_text(encoding="utf8"), link
                assert any(part in text.lower() for part in word.split()), (word, text)
        assert results(page, book, "bandwidth")[0][0] == "glossary.html#term-bandwidth"
        page.locator("ul.search a").nth(1).click()
        page.wait_for_url("**/chapters/*#*")
        assert results(page, book, "xyzzyplugh") == []
        assert page.locator(".search-summary").inner_text() == "No section holds this word."
        page.locator("main input[type=search]").fill("rebinding")
        page.locator("ul.search > li").first.wait_for()
        assert results(page, book, "%3Cimg+src%3Dx+onerror%3Dalert(1)%3E(") == []


def test_no_page_loads_the_words_of_the_whole_book_but_the_search(shown):
    for path in shown:
        text = path.read_text(encoding="utf8")
        assert "searchtools" not in text and "searchindex" not in text, path
        assert ("sections.js" in text) == (path.name == "search.html"), path


def test_there_is_no_index_and_no_link_to_one(book, shown):  # noqa: F811
    assert not (book / "genindex.html").exists()
    assert [path for path in shown if "genindex" in path.read_text(encoding="utf8")] == []


def test_no_page_is_wider_than_its_window_and_none_jumps(browser, shown):
    """Layout shift as browsers count it, from opening a page to its end; 0.1 is what they call good."""
    faults = []
    for size in (DESKTOP, PHONE):
        with reading(browser, viewport=size) as page:
            page.add_init_script("""window.shift = 0; new PerformanceObserver(list => {
                for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
            }).observe({ type: "layout-shift", buffered: true });""")
            for path in shown:
                page.goto(path.as_uri())
                page.evaluate("""async () => { for (let y = 0; y < document.documentElement.scrollHeight; y += 4 * innerHeight) {
                    scrollTo(0, y); await new Promise(done => requestAnimationFrame(() => setTimeout(done))); } }""")
                shift = page.evaluate("shift")
                if shift > 0.05:
                    faults.append((path.name, size["width"], f"shifts by {shift:.3f}"))
                if (width := page.evaluate("document.documentElement.scrollWidth")) > size["width"]:
                    faults.append((path.name, size["width"], f"is {width} wide"))
    assert faults == []


def brightness(page: Page, place: str, what: str = "backgroundColor") -> float:
    return page.locator(place).first.evaluate(
        f"e => getComputedStyle(e).{what}.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765")


def test_without_scripts_formulas_and_colors_of_code_are_there_by_day_and_by_night(browser, book):  # noqa: F811
    for scheme in ("light", "dark"):
        with reading(browser, java_script_enabled=False, color_scheme=scheme, viewport=DESKTOP) as page:
            page.goto((book / CHAPTER).as_uri())
            assert page.locator(".math .katex-html").count() == page.locator(".math").count() > 20
            ground = brightness(page, "body")
            assert ground > 0.9 if scheme == "light" else ground < 0.2
            assert abs(brightness(page, "article p", "color") - ground) > 0.5
            code = {page.locator(f".highlight .{kind}").first.evaluate("e => getComputedStyle(e).color") for kind in ("k", "n", "s2", "c1")}
            assert len(code) >= 3, scheme
            assert page.locator("nav.strip [aria-current]").is_visible()


def test_with_forced_colors_what_is_drawn_by_shading_can_be_told(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP, forced_colors="active", color_scheme="dark") as page:
        page.goto((book / CHAPTER).as_uri())
        edges = page.locator("nav.strip li > *").evaluate_all("all => all.map(one => getComputedStyle(one).borderTopColor)")
        assert len(set(edges)) > 1
        icons = page.locator(".theme-switch-button .fa-solid").filter(visible=True).first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert icons != page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
        assert page.locator(".book-box").first.evaluate("e => getComputedStyle(e).borderLeftStyle") != "none"
        assert page.locator("figure.drawn > svg").first.evaluate("e => getComputedStyle(e).forcedColorAdjust") == "none"


def fills(pdf: bytes) -> list[float]:
    """How far down each sheet of a PDF stand words, pictures and lines, as a part of its height."""
    found = []
    for sheet in PdfReader(io.BytesIO(pdf)).pages:
        height, lowest = float(sheet.mediabox.height), [float(sheet.mediabox.height)]

        def see(operator: bytes, operands: list, matrix: list[float], text: list[float]) -> None:
            a, b, c, d, e, f = matrix
            if operator in (b"Tj", b"TJ"):
                lowest.append(b * text[4] + d * text[5] + f)
            elif operator == b"Do":
                lowest.append(min(f, f + d))
            elif operator in (b"l", b"c") and len(operands) >= 2:
                lowest.append(b * float(operands[-2]) + d * float(operands[-1]) + f)

        sheet.extract_text(visitor_operand_before=see)
        found.append(1 - max(0, min(lowest)) / height)
    return found


def test_a_chapter_on_paper_has_no_half_empty_sheets(browser, book):  # noqa: F811
    with reading(browser, viewport=DESKTOP) as page:
        page.goto((book / CHAPTER).as_uri())
        pdf = page.pdf(format="A4", print_background=True, margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm"))
    filled = fills(pdf)
    assert len(filled) > 8 and min(filled[:-1]) > 0.6, filled


def test_a_chapter_weighs_half_a_megabyte_at_most(browser, book):  # noqa: F811
    """Compressed, as servers send it: the page and all that it loads at once, but for the model."""
    heavy = []
    for path in sorted((book / "chapters").glob("*.html")):
        loaded = {path}
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.on("request", lambda sent: loaded.add(Path(unquote(urlsplit(sent.url).path))))
        page.goto(path.as_uri(), wait_until="load")
        context.close()
        weight = sum(len(gzip.compress(p.read_bytes())) for p in loaded if p.is_file() and "taleteller" not in p.name)
        if weight > 500_000:
            heavy.append((path.name, weight))
    assert heavy == []
