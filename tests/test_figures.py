"""The book's figures: readable by everybody, the same bytes every time, shown exactly once."""

import doctest
import io
import itertools
import re
import warnings
from base64 import b64decode
from xml.etree import ElementTree as ET

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyBboxPatch
from nbclient import NotebookClient
from PIL import Image

import course.figures
import course.style
from course import svg as scalable
from course.figures import (
    COLORS,
    attention_map,
    figure,
    ladder,
    loss_plot,
    machine_map,
    map_alt,
    token_strip,
    visible,
)
from course.build import ROOT
from course.map import STOPS
from course.style import ATTENTION, mix, png
from course.svg import NAMES, SHADES, caption, inline, svg, variable

PARTS = (None, *STOPS)
# Linear RGB as seen without one kind of cone: Machado, Oliveira and Fernandes (2009), severity 1.
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}


def linear(color):
    c = np.array(to_rgb(color))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(linear_rgb):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear_rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    dark, light = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


NIGHT = "#121212"  # the theme's dark page, and its colors of words
THEMES = {"--book-ink": "#ced6dd", "--book-quiet": "#9ca4af", "--fig-paper": NIGHT}


def at_night() -> dict[str, str]:
    """What pages/book.css makes of each color of a figure in a dark page."""
    css = (ROOT / "pages/book.css").read_text(encoding="utf8")
    rules = "".join(re.findall(r'html\[data-theme="dark"\] \{(.*?)\}', css, re.DOTALL))
    return THEMES | dict(re.findall(r"(--(?:book|fig)-[\w-]+): (#[0-9a-f]{6})", rules))


def by_day(name: str) -> str:
    return {variable: color for names in (NAMES, SHADES) for color, variable in names.items()}[name]


def drawn(fig):
    fig.draw_without_rendering()
    return fig


def pixels(fig):
    return np.asarray(Image.open(io.BytesIO(png(fig))).convert("RGB")).astype(int)


def picture(fig):
    raw = io.BytesIO()
    fig.savefig(raw, dpi=50)
    return raw.getvalue()


def texts(fig):
    unseen = set()  # the labels of ticks outside of the axes
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                unseen |= {tick.label1, tick.label2}
    return [t for t in fig.findobj(plt.Text) if t.get_text() and t.get_visible() and t not in unseen]


def overlap(a, b, slack=0.5):
    return min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack


def assert_texts_are_on_the_page_and_apart(fig):
    drawn(fig)
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(fig)]
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y0 >= 0 and box.y1 <= fig.bbox.y1, text
    for (text, box), (other_text, other_box) in itertools.combinations(boxes, 2):
        assert not overlap(box, other_box), (text, other_text)


def causal(n):
    return torch.ones(n, n).tril().bool()


def weights(n):
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    return torch.softmax(scores.masked_fill(~causal(n), -torch.inf), -1)


EXAMPLES = {
    "attention_map": lambda: attention_map(weights(4), list("abcd"), title="A finding", mask=causal(4)),
    "token_strip": lambda: token_strip(["The", " cat"], [464, 3797], title="A finding"),
    "loss_plot": lambda: loss_plot({"one": ([0, 9], [3, 2]), "two": ([0, 9], [3, 1])}, floor=0.9, title="A"),
    "ladder": lambda: ladder({"bigram": 2.2, "uniform": 4.4}, floor=0.6, title="A finding"),
    "machine_map": lambda: machine_map("tokens"),
}


# Colors


@pytest.mark.parametrize("sight", SIGHTS)
def test_colors_stay_apart_for_every_kind_of_sight(sight):
    colors = [COLORS["LOOKUP"], COLORS["SMOOTHER"], COLORS["FLOOR"], *COLORS["CYCLE"]]
    seen = [lab(SIGHTS[sight] @ linear(c)) for c in colors]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize("mode", [by_day, at_night().get])
def test_every_color_stands_out_from_the_paper_in_light_and_dark_mode(mode):
    paper, ink = mode("--fig-paper"), mode("--book-ink")
    for color in (COLORS["LOOKUP"], COLORS["SMOOTHER"], *COLORS["CYCLE"]):
        seen = mode(NAMES[color])
        assert contrast(seen, paper) >= 3, color
        assert contrast(mix(seen, ink, 0.65), paper) >= 4.5, f"a label of {color}"
    for name in ("INK", "QUIET", "FLOOR"):
        assert contrast(mode(NAMES[COLORS[name]]), paper) >= 4.5, name


def test_every_color_of_a_figure_has_one_for_the_night():
    assert {*NAMES.values(), *SHADES.values()} <= at_night().keys()


def in_a_page(color, mode):
    """The color that a page shows, as `mode` fills in what course/svg.py makes of it."""
    parts = re.findall(r"var\(([\w-]+),#\w+\)(?: ([\d.]+)%)?", variable(to_hex(color)))
    (first, share), *second = parts
    return mix(mode(first), mode(second[0][0]), float(share) / 100) if second else mode(first)


@pytest.mark.parametrize("mode", [by_day, at_night().get], ids=["day", "night"])
@pytest.mark.parametrize("vmax", [1.0, 0.5])
def test_the_numbers_in_a_map_can_be_read_on_every_shade_by_day_and_by_night(mode, vmax):
    edges = np.arange(ATTENTION.N + 1) / ATTENTION.N
    ends = np.stack([edges[:-1], np.nextafter(edges[1:], 0)], axis=1)  # the least and the largest weight of each shade
    for eight in vmax * ends.reshape(-1, 8, 8):
        ax = drawn(attention_map(eight, vmax=vmax)).axes[0]
        for text, cell in zip(ax.texts, ax.collections[0].get_facecolor(), strict=True):
            seen = contrast(in_a_page(text.get_color(), mode), in_a_page(cell, mode))
            assert seen >= 4.5, f"{seen:.2f} : 1 in a cell of weight {text.get_text()}"


def test_every_number_in_a_map_changes_its_color_at_night():
    page = ET.fromstring(inline(svg(attention_map(np.eye(2))), "fig-1-2", "Two."))
    looks = {text.text: text.get("style") for text in page.iter("{http://www.w3.org/2000/svg}text") if "." in text.text}
    assert "var(--book-on," in looks["1.00"] and "var(--fig-on-pale," in looks["0.00"]


def test_a_color_is_one_of_the_style_or_a_mixture_of_them_or_a_weights_or_nothing():
    assert variable(COLORS["LOOKUP"]) == "var(--book-lookup,#0072b2)"
    assert variable(to_hex(mix(COLORS["SMOOTHER"], COLORS["PAPER"], 0.25))) == \
        "color-mix(in srgb,var(--book-smoother,#d55e00) 25%,var(--fig-paper,#fdfcfa))"
    assert "--fig-weight-1" in variable(to_hex(ATTENTION(0.5))) and "--fig-weight-2" in variable(to_hex(ATTENTION(0.5)))
    assert variable("#00ff00") is None


def test_more_attention_is_always_darker_and_none_is_still_not_paper():
    lightness = [lab(linear(ATTENTION(w)))[0] for w in np.linspace(0, 1, 50)]
    assert (np.diff(lightness) < 0).all()
    nothing = pixels(attention_map(np.zeros((3, 3))))
    assert (np.abs(nothing - 255 * np.array(to_rgb(ATTENTION(0.0)))).max(-1) < 3).mean() > 0.05
    night = [lab(linear(at_night()[name]))[0] for name in SHADES.values()]
    assert (np.diff(night) > 10).all()
    seen = [lab(linear(in_a_page(ATTENTION(i), at_night().get)))[0] for i in range(ATTENTION.N)]
    assert (np.diff(seen) > -0.01).all()


# Every figure


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_has_the_same_few_bytes_every_time(name):
    for form, most in ((svg, 15_000), (png, 15_000)):
        fig = EXAMPLES[name]()
        one = form(fig)
        assert one == form(fig) == form(EXAMPLES[name]())
        assert len(one) <= (45_000 if name == "machine_map" else most)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_has_no_color_but_those_of_the_style_and_its_words_are_text(name):
    text = svg(EXAMPLES[name]())
    assert {color for color in re.findall(r"#[0-9a-f]{6}\b", text) if variable(color) is None} == set()
    assert text.count("<text") >= 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_in_a_page_a_figure_has_the_pages_colors_and_leaves_its_title_to_the_caption(name):
    text = svg(EXAMPLES[name]())
    page = inline(text, "fig-1-2", 'It says "so".')
    bare = re.sub(r"var\([\w-]+,#[0-9a-f]{6}\)", "", page)
    mixed = re.findall(r"([\w-]+):(#[0-9a-f]{6});\1:color-mix", bare)
    assert len(re.findall(r"#[0-9a-f]{6}", bare)) == len(mixed)
    assert 'role="img" aria-label="It says &quot;so&quot;."' in page and "<title" not in page
    assert {i[:8] for i in re.findall(r'(?: id="|href="#|url\(#)([^")]+)', page)} <= {"fig-1-2-"}
    words = "".join(ET.fromstring(page).itertext())
    assert "finding" not in words and caption(EXAMPLES[name]()) not in ("", words)
    height = [float(ET.fromstring(form).get("viewBox").split()[3]) for form in (text, page)]
    assert height[1] < height[0] - 10 or name == "machine_map"


def test_a_figure_of_very_many_points_stays_an_image():
    fig, ax = figure()
    ax.plot(*np.random.default_rng(0).random((2, 20_000)), ".")
    assert svg(fig) is None and png(fig)


def test_a_path_in_steps_leads_to_the_same_points():
    steps = scalable._path("M 1.004 2.006 L 1.004 5 L 3 5 Q 4 6 5.129 7 L 9 8 z M 0 0 L -1.5 0.25")
    assert steps == "M1 2.01v2.99h2q1 1 2.13 2l3.87 1zM0 0l-1.5 .25".replace(" .25", " 0.25")


def test_what_a_map_leaves_empty_above_and_below_is_taken_away():
    fig, axes = figure(1, 2, height=6)
    for ax in axes:
        attention_map(weights(12), ax=ax)
    text = svg(fig)
    assert 200 < float(ET.fromstring(text).get("height")) < 400


def test_panels_are_named_in_the_caption():
    fig, axes = figure(1, 2)
    axes[0].set_title("One")
    assert caption(fig) == "One"
    axes[1].set_title("Other")
    assert caption(fig) == "One · Other"
    fig.suptitle("Both")
    assert caption(fig) == "Both"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_is_closed_so_that_a_notebook_shows_it_only_as_a_value(name):
    fig = EXAMPLES[name]()
    assert plt.get_fignums() == []
    assert re.fullmatch(r"<Figure size 720x[\d.]+ with 1 Axes>", repr(fig))


@pytest.mark.parametrize("name", EXAMPLES)
def test_texts_are_on_the_page_and_apart(name):
    assert_texts_are_on_the_page_and_apart(EXAMPLES[name]())


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_word_has_nine_pixels_on_a_phone(name):
    small = {t.get_text(): t.get_size() for t in texts(EXAMPLES[name]()) if t.get_size() * 375 / (72 * course.style.WIDTH) < 9}
    assert small == {}


@pytest.mark.parametrize("low, high, numbers", [
    (0.002, 0.5, ["0.001", "0.01", "0.1", "1"]), (1, 1e6, ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"]),
    (0.3, 0.8, ["0.3", "0.4", "0.6"]), (1e-8, 1, ["1e-8", "1e-6", "1e-4", "1e-2", "1"]), (2**20, 2**30, ["1e7", "1e8", "1e9"]),
])
def test_the_numbers_of_a_logarithmic_axis_are_written_in_full_size(low, high, numbers):
    fig, ax = figure()
    ax.semilogy([0, 1], [low, high])
    svg(fig)
    ticks = zip(ax.get_yticks().tolist() + ax.get_yticks(minor=True).tolist(),
                ax.get_yticklabels() + ax.get_yticklabels(minor=True))
    shown = [label.get_text() for at, label in ticks if low * 0.4 < at < high * 2.1 and label.get_text()]
    assert [text for text in shown if text in numbers] == numbers
    assert not any("$" in text for text in shown)


def test_numbers_that_a_figure_chose_for_its_logarithmic_axis_stay():
    fig, ax = figure()
    ax.loglog([1, 64], [1, 64])
    ax.set_xticks([4, 16], ["four", "sixteen"])
    svg(fig)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["four", "sixteen"]


def test_a_notebook_shows_each_figure_once_in_the_small_form():
    sources = ["from course.figures import *",
               "machine_map()",
               "fig, axes = figure(1, 2)\nfor ax in axes:\n    attention_map([[1.0]], ax=ax)\nfig",
               "import matplotlib.pyplot as plt\nlines = plt.plot([1, 2])"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3").execute()
    outputs = [[o.data for o in cell.outputs] for cell in notebook.cells]
    assert [len(o) for o in outputs] == [0, 1, 1, 1]
    assert outputs[2][0]["text/plain"] == "<Figure size 720x432 with 2 Axes>"
    for (data,) in outputs[1:]:
        assert b"PLTE" in b64decode(data["image/png"]) and data["image/svg+xml"].startswith("<svg")


@pytest.mark.parametrize("module", [course.figures, course.style])
def test_the_docstrings_examples_run(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


# Tokens made visible


@given(st.one_of(st.text(), st.binary(), st.text(st.characters(categories=["Cs"]))))
def test_any_token_can_be_made_visible(token):
    assert all(c in "␣⏎⇥" or course.figures._drawable(c) for c in visible(token))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.binary(max_size=8)), min_size=1, max_size=5))
def test_no_token_is_drawn_as_a_missing_glyph_or_taken_for_mathematics(tokens):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(token_strip({"$\\no$": [*tokens, "$\\no$"]}))
        drawn(attention_map(np.eye(2), ["$\\no$", tokens[0]]))


def test_spaces_line_ends_and_bytes_are_seen():
    assert visible(" a\n\t") == "␣a⏎⇥"
    assert visible("é") == visible("é".encode()) == "é"
    assert visible("猫") == "\\xe7\\x8c\\xab"
    assert visible(b"\xc3") == "\\xc3"
    assert visible("e\u0301") == "e\\xcc\\x81"


def test_boxes_of_a_strip_stay_on_the_page_and_apart():
    tokens = [" word" * (1 + i % 4) for i in range(40)] + ["x" * 500]
    fig = drawn(token_strip({"first": tokens, "second": tokens}, {"first": range(41), "second": range(41)}))
    boxes = [p.get_window_extent() for p in fig.findobj(FancyBboxPatch)]
    assert len(boxes) == 82
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert_texts_are_on_the_page_and_apart(fig)


def test_equal_ids_have_equal_colors_and_neighbors_differ():
    colors = [p.get_facecolor() for p in token_strip(list("abcab"), [5, 6, 7, 5, 6]).findobj(FancyBboxPatch)]
    assert colors[:2] == colors[3:]
    assert len(set(colors)) == 3


@pytest.mark.parametrize(("tokens", "ids", "said"), [
    (["a", "b"], [1], "2 tokens need as many ids, but there are 1"),
    ([], None, "no token"),
    ({"one": ["a"]}, [1], "same names"),
    ({"one": ["a"]}, {"two": [1]}, "same names"),
    (["a"], {"one": [1]}, "same names"),
])
def test_a_strip_that_does_not_fit_says_so(tokens, ids, said):
    with pytest.raises(ValueError, match=said):
        token_strip(tokens, ids)


# Attention


def test_queries_go_down_and_keys_across():
    fig = drawn(attention_map([[1, 0, 0], [0.25, 0.5, 0.25]], ["q0", "q1"], ["k0", "k1", "k2"]))
    ax = fig.axes[0]
    at = {t.get_text(): t.get_window_extent() for t in texts(fig)}
    assert at["q0"].y0 > at["q1"].y1
    assert at["k0"].x1 < at["k1"].x0
    assert at["1.00"].x0 < at["0.50"].x0 and at["1.00"].y0 > at["0.50"].y0
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("queries", "keys")


def test_keys_left_out_are_the_queries():
    shown = [t.get_text() for t in texts(attention_map(weights(9), list("abcdefghi")))]
    assert shown.count("a") == 2


def test_a_long_token_leaves_room_for_the_map():
    fig = drawn(attention_map(np.eye(2), ["x" * 500, "\U0001f9d9" * 20]))
    assert fig.axes[0].get_window_extent().width > 100
    assert_texts_are_on_the_page_and_apart(fig)


def test_tensors_and_arrays_draw_the_same():
    array = attention_map(weights(4).numpy(), mask=causal(4).numpy())
    assert picture(attention_map(weights(4), mask=causal(4))) == picture(array)


def test_a_masked_cell_is_empty_and_not_zero():
    w = np.array([[1.0, 0.0], [0.5, 0.5]])
    mask = np.array([[True, False], [True, True]])
    nan = np.where(mask, w, np.nan)
    assert [t.get_text() for t in attention_map(w, mask=mask).axes[0].texts] == ["1.00", "0.50", "0.50"]
    hidden = picture(attention_map(w, mask=mask))
    assert hidden == picture(attention_map(nan)) != picture(attention_map(w))


@pytest.mark.parametrize(("n", "written"), [(8, 64), (9, 0)])
def test_values_are_written_into_small_maps_only(n, written):
    assert len(attention_map(np.eye(n)).axes[0].texts) == written


@pytest.mark.parametrize("n", [3, 8, 20, 40, 128])
def test_the_tokens_of_a_map_do_not_run_into_each_other(n):
    fig = attention_map(weights(n), [" cat"] * n, title="What a head sees " * 5)
    assert_texts_are_on_the_page_and_apart(fig)


@pytest.mark.parametrize(("arguments", "said"), [
    ({"weights": np.ones((2, 3, 3))}, r"\(2, 3, 3\)"),
    ({"weights": np.ones((0, 3))}, r"\(0, 3\)"),
    ({"weights": np.ones((2, 3)), "queries": ["a"]}, r"\(2, 3\) need 2 queries, but there are 1"),
    ({"weights": np.ones((2, 3)), "keys": ["a", "b"]}, r"\(2, 3\) need 3 keys, but there are 2"),
    ({"weights": np.ones((2, 2)), "mask": np.ones((2, 2))}, "bool of shape"),
    ({"weights": np.ones((2, 2)), "mask": np.ones((2, 3), bool)}, r"\(2, 3\)"),
])
def test_a_map_that_does_not_fit_says_so(arguments, said):
    with pytest.raises(ValueError, match=said):
        attention_map(**arguments)


# Losses


def test_the_line_is_the_mean_of_the_seeds_and_the_band_holds_them_all():
    y = np.array([[3.0, 2.0], [4.0, 2.5], [3.5, 1.0]])
    ax = loss_plot({"model": ([0, 1], y)}).axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), y.mean(0))
    band = ax.collections[0].get_paths()[0].vertices
    for x in (0, 1):
        heights = band[band[:, 0] == x, 1]
        assert (heights.min(), heights.max()) == (y[:, x].min(), y[:, x].max())


def test_the_floor_is_drawn_below_the_curves_with_its_value():
    fig = loss_plot({"model": ([0, 1], [3.0, 2.0])}, floor=0.875, floor_label="entropy of the tales")
    assert "entropy of the tales 0.875" in [t.get_text() for t in texts(fig)]
    assert fig.axes[0].get_ylim()[0] < 0.875


def test_names_of_curves_that_end_together_are_moved_apart():
    names = ["one", "two", "three", "four", "five"]
    curves = {name: ([0, 1], [3, 1 + i / 500]) for i, name in enumerate(names)}
    assert_texts_are_on_the_page_and_apart(loss_plot(curves, floor=0.9))


def test_a_view_keeps_its_color():
    ax = loss_plot({"lookup": ([0, 1], [2, 1])}, colors={"lookup": COLORS["LOOKUP"]}).axes[0]
    assert ax.lines[0].get_color() == COLORS["LOOKUP"]


@pytest.mark.parametrize("curves", [
    {}, {"a": ([0, 1], [1.0])}, {"a": ([], [])}, {"a": ([0], np.ones((1, 1, 1)))},
])
def test_curves_that_do_not_fit_say_so(curves):
    with pytest.raises(ValueError, match="curve"):
        loss_plot(curves)


def test_a_ladder_goes_from_the_worst_down_to_the_floor():
    fig = drawn(ladder({"bigram": 2.2, "uniform": 4.4, "trigram": 1.6}, floor=0.6))
    at = {t.get_text(): t.get_window_extent().y0 for t in texts(fig)}
    names = ["uniform", "bigram", "trigram", "best possible"]
    assert sorted(names, key=lambda name: -at[name]) == names
    with pytest.raises(ValueError, match="no value"):
        ladder({})


# The map


@pytest.mark.parametrize("here", PARTS)
def test_the_map_marks_one_place_and_its_texts_are_readable(here):
    fig = machine_map(here)
    assert_texts_are_on_the_page_and_apart(fig)
    assert [t.get_text() for t in texts(fig)].count("you are here") == (here is not None)


def test_the_map_has_every_chapter_once():
    assert sorted(stop.number for stop in STOPS.values()) == list(range(1, 10))


@pytest.mark.parametrize(("here", "seen", "unseen"), [
    ("lookup", "LOOKUP", "SMOOTHER"), ("smoothing", "SMOOTHER", "LOOKUP"),
])
def test_on_the_map_a_view_has_its_color_and_the_other_is_quiet(here, seen, unseen):
    image = pixels(machine_map(here))
    distance = {name: np.abs(image - 255 * np.array(to_rgb(COLORS[name]))).max(-1) for name in (seen, unseen)}
    assert (distance[seen] < 8).sum() > 1000
    assert (distance[unseen] < 8).sum() == 0


@pytest.mark.parametrize("here", STOPS)
def test_the_map_in_words_says_where_the_reader_is(here):
    assert map_alt(here) == f"{map_alt()} You are here: chapter {STOPS[here].number}, {STOPS[here].title}."


def test_a_chapter_that_is_not_on_the_map_is_refused():
    for draw in (machine_map, map_alt):
        with pytest.raises(ValueError, match="'nowhere'.*tokens, vectors, lookup"):
            draw("nowhere")


def test_an_empty_figure_has_the_books_width():
    fig, axes = figure(2, 3, height=5)
    assert axes.shape == (2, 3)
    assert tuple(fig.get_size_inches()) == (6, 5)
