"""The model in the page: it goes on with what is typed, and shows its heads as the library computes them."""

import io
import json
import math
import re
from base64 import b64decode
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect

from browser import PATIENCE, ROOT, follow, open_widget, quantized, reached_by_everybody, reading
from course.data import tales
from course.export import script
from tinyllm.generation import stream, visible_from
from tinyllm.model import GPT, Config, save
from tinyllm.tokens import Tokenizer

BETWEEN = "\n\n"  # stands before every text
PROMPT = "Once there was a stubborn bear"
DESK = {"viewport": {"width": 1280, "height": 1000}}
PHONE = {"viewport": {"width": 375, "height": 800}, "has_touch": True, "is_mobile": True}

expect.set_options(timeout=PATIENCE)


def toy_model(tokenizer: Tokenizer) -> GPT:
    """A small model of decided opinions, all of them random, that writes nothing but printable ASCII."""
    torch.manual_seed(0)
    model = GPT(Config(300, 24, n_layer=2, n_head=2, d_model=16))
    plain = [token.isascii() and token.decode().isprintable() for token in tokenizer.vocab.values()]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.copy_(torch.randn_like(p) * 0.5)
        model.head.weight.mul_(3 * torch.tensor(plain)[:, None])
    return quantized(model)


@pytest.fixture(scope="module")
def model(tokenizer) -> GPT:
    return toy_model(tokenizer)


def publish(model: GPT, tokenizer: Tokenizer, book: Path, folder: Path) -> Path:
    """Give the book a model to speak with."""
    save(model, folder)
    tokenizer.save(folder / "tokenizer.json")
    file = book / "_static/live/taleteller.js"
    file.write_text(script(folder, "taleteller"), encoding="utf8")
    return file


@pytest.fixture(scope="module")
def book(live_book, model, tokenizer, tmp_path_factory) -> Path:
    publish(model, tokenizer, live_book, tmp_path_factory.mktemp("toy"))
    return live_book


@pytest.fixture
def visit(browser, book):
    """A function that opens the widget in a state; its page must have no complaint in the end."""
    with reading(browser, **DESK) as page:
        def visit(**state):
            open_widget(page, book, "speak", urlencode(state))
            return page
        yield visit


def tokens(page: Page):
    return page.locator(".live-speak-strip > span")


def text(page: Page) -> str:
    return page.get_by_label("Your text").input_value()


def address(page: Page) -> dict[str, str]:
    page.evaluate("new Promise((done) => setTimeout(done, 400))")  # behind whatever the page has put off till then
    query = parse_qs(page.url.partition("?")[2], keep_blank_values=True)
    return {key: values[0] for key, values in query.items()}


def caption(page: Page) -> str:
    return page.locator(".live-speak-caption").text_content()


# --- loading ----------------------------------------------------------------------------------------------


SCRIPTS = "[...document.scripts].map(one => one.src.split('/').at(-1))"


def test_the_model_comes_when_the_page_is_idle_and_the_picture_stays_until_then(visit):
    page = visit()
    expect(page.locator(".live-picture")).to_be_hidden()
    assert page.locator(".live-speak-next > button").count() and not page.url.partition("?")[2]
    assert {"gpt.js", "taleteller.js"} <= set(page.evaluate(SCRIPTS))


def test_for_a_reader_who_saves_data_nothing_is_loaded_until_somebody_types(browser, book):
    page = browser.new_page(**DESK)
    page.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    open_widget(page, book, "speak")
    assert not {"gpt.js", "taleteller.js"} & set(page.evaluate(SCRIPTS))
    expect(page.get_by_role("status")).to_contain_text("loads the model")
    page.get_by_label("Your text").press_sequentially("O")
    expect(tokens(page)).to_have_text(["⏎", "⏎", "O"])
    assert {"gpt.js", "taleteller.js"} <= set(page.evaluate(SCRIPTS))
    page.close()


def test_a_model_that_does_not_come_is_named_and_asked_for_again(browser, book):
    file = book / "_static/live/taleteller.js"
    kept = file.read_bytes()
    file.unlink()
    page = browser.new_page(**DESK)  # a missing file is in the console, too
    page.set_default_timeout(PATIENCE)
    try:
        open_widget(page, book, "speak")
        page.get_by_label("Your text").press_sequentially("On")
        expect(page.get_by_role("status")).to_contain_text("taleteller.js, which this needs, could not be")
        page.get_by_label("Your text").press_sequentially("ce")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("status")).to_contain_text("“Go on” tries again")
        assert text(page) == "Once"
        file.write_bytes(kept)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(tokens(page).nth(8)).to_be_attached()
    finally:
        file.write_bytes(kept)
        page.close()


# --- writing ----------------------------------------------------------------------------------------------


def test_greedy_writing_is_that_of_the_library_beyond_the_context(visit, model, tokenizer):
    page = visit(prompt=PROMPT)
    page.get_by_label("temperature").press("Home")
    page.get_by_role("button", name="Go on").click()
    written = page.get_by_label("Your text")
    page.wait_for_function("() => document.querySelector('textarea').value.length > 180")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_contain_text("Stopped. The model sees the last")
    written = text(page)
    expected = "".join(stream(model, tokenizer, BETWEEN + PROMPT, 200, temperature=0, slide=True))
    assert len(tokenizer.encode(BETWEEN + PROMPT)) + 40 < visible_from(10**6, 24)
    assert written.startswith(PROMPT) and len(written) > 180 and (PROMPT + expected).startswith(written)
    assert address(page)["prompt"] == written and address(page)["temperature"] == "0"
    page.get_by_role("button", name="Another way").click()
    page.wait_for_function(f"() => document.querySelector('textarea').value.length < {len(written)}")
    page.get_by_role("button", name="Stop").click()
    assert written.startswith(text(page)) and text(page).startswith(PROMPT)


def test_a_story_ends_where_another_would_begin(browser, book, model, tokenizer, tmp_path):
    ender = toy_model(tokenizer)
    with torch.no_grad():
        ender.token.weight[:, 0] = 50  # a channel that is positive behind every norm
        ender.head.weight[10, 0] = 100  # leads to a line end
    file = book / "_static/live/taleteller.js"
    kept = file.read_bytes()
    publish(ender, tokenizer, book, tmp_path)
    try:
        with reading(browser, **DESK) as page:
            open_widget(page, book, "speak")
            page.get_by_label("Your text").fill("Short.")
            page.get_by_role("button", name="Go on").click()
            expect(page.get_by_role("status")).to_contain_text("The end.")
            assert text(page) == "Short.\n\n"
    finally:
        file.write_bytes(kept)


def test_a_click_takes_a_token_and_probabilities_follow_the_sliders(visit, model, tokenizer):
    page = visit(prompt=PROMPT)
    bars = page.locator(".live-speak-next > button")
    page.get_by_label("temperature").press("End")
    ids = tokenizer.encode(BETWEEN + PROMPT)
    with torch.no_grad():
        p, order = (model(torch.tensor(ids))[-1] / 2).softmax(-1).sort(descending=True)
    shown = [float(percent.split()[0]) for percent in bars.locator("span:last-child").all_text_contents()]
    assert shown == [pytest.approx(100 * one, abs=0.051) for one in p[:7].tolist()]
    taken = tokenizer.vocab[int(order[2])].decode()
    bars.nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your text")).to_have_value(PROMPT + taken)
    expect(tokens(page)).to_have_count(len(ids) + 1)
    expect(bars.nth(2)).to_be_focused()
    bars.nth(0).click()
    expect(tokens(page)).to_have_count(len(ids) + 2)
    page.get_by_label("top-k").press("Home")
    expect(bars).to_have_count(1)
    assert address(page)["topk"] == "1"


def test_a_keystroke_costs_one_token(visit):
    page = visit(prompt="")
    costs = []
    for letter in "On a bus":
        page.get_by_label("Your text").press(letter if letter != " " else "Space")
        if letter == " ":
            expect(page.get_by_role("status")).to_contain_text("waits for its word")
        else:
            expect(page.locator(".live-speak-strip")).to_have_text("⏎⏎" + text(page))
        costs.append(int(re.search(r"(\d+) of them", caption(page))[1]))
    assert max(costs) <= 2 and sum(costs) <= len(costs) + 1


# --- looking ----------------------------------------------------------------------------------------------


def test_every_head_of_the_library_is_found_on_the_tokens(visit, model, tokenizer):
    page = visit(prompt=PROMPT)
    ids = tokenizer.encode(BETWEEN + PROMPT)
    with torch.no_grad():
        attention = model(torch.tensor(ids), return_attention=True)[1]  # (n_layer, n_head, T, T)
    shade = "ws => ws.map(w => Live.shade(Math.round(255 * Math.sqrt(w)) / 255).replaceAll(' ', ''))"
    colors = "all => all.map(one => one.style.background.replaceAll(' ', ''))"
    page.get_by_role("option", name="layer 2, head 1").click()
    tokens(page).nth(5).click()
    for place, move in ((5, None), (6, "ArrowRight"), (5, "ArrowLeft"), (0, "Home")):
        if move:
            page.get_by_role("listbox", name="The tokens").press(move)
        weights = attention[1, 0, place, : place + 1]
        assert tokens(page).evaluate_all(colors)[: place + 1] == page.evaluate(shade, weights.tolist())
        assert tokens(page).evaluate_all(colors)[place + 1 :] == [""] * (len(ids) - place - 1)
        assert "Layer 2, head 1" in caption(page) and f"most weight, {weights.max():.2f}," in caption(page)
    page.get_by_role("listbox", name="The heads").press("ArrowDown")
    page.get_by_role("listbox", name="The heads").press("ArrowLeft")
    assert "Layer 1, head 2" in caption(page)
    shared = address(page)
    assert [shared[key] for key in ("layer", "head", "query")] == ["1", "2", "0"]


def test_the_pictures_of_the_heads_hold_their_weights(visit, model, tokenizer):
    page = visit(prompt=PROMPT)
    read = "all => all.map(one => one.toDataURL().split(',')[1])"
    shade = "ws => ws.map(w => Live.shade(Math.round(255 * Math.sqrt(w)) / 255).match(/\\d+/g).map(Number))"
    for prompt in (PROMPT, PROMPT[:-11], PROMPT[:-11] + "y"):  # what is gone is wiped out, and drawn over
        page.get_by_label("Your text").fill(prompt)
        ids = tokenizer.encode(BETWEEN + prompt)
        expect(tokens(page)).to_have_count(n := len(ids))
        with torch.no_grad():
            attention = model(torch.tensor(ids), return_attention=True)[1].flatten(0, 1)
        files = map(b64decode, page.locator(".live-speak-heads canvas").evaluate_all(read))
        pictures = torch.tensor(np.stack([Image.open(io.BytesIO(file)) for file in files]))  # (heads, T, T, 4)
        seen = torch.ones(n, n, dtype=torch.bool).tril()
        expected = page.evaluate(shade, attention[:, seen].flatten().tolist())
        assert pictures[:, :n, :n, :3][:, seen].flatten(0, 1).tolist() == expected
        assert not pictures[:, :n, :n, 3][:, ~seen].any() and not pictures[:, n:].any()


def test_hovering_looks_ahead_and_a_tap_chooses(browser, book, visit):
    page = visit(prompt=PROMPT)
    before = caption(page)
    tokens(page).nth(4).hover()
    assert caption(page) != before
    page.get_by_label("Your text").hover()
    assert caption(page) == before
    with reading(browser, **PHONE) as page:
        open_widget(page, book, "speak", urlencode({"prompt": PROMPT}))
        tokens(page).nth(4).tap()
        assert address(page)["query"] == "4"
        page.get_by_role("option", name="layer 2, head 2").tap()
        assert "Layer 2, head 2" in caption(page)


def test_both_views_show_the_same_weights(visit):
    page = visit(prompt=PROMPT, layer=2, head=2)
    page.get_by_role("button", name="Compare the two views").click()
    def numbers(name):
        cells = page.locator(f".live-speak-pairs [data-number={name}]").all_text_contents()
        return [math.inf if "·" in cell else float(cell) for cell in cells]

    lookup, smoother = (
        page.locator(f".live-speak-pairs td.live-of-{view} .live-speak-bar").all_text_contents()
        for view in ("lookup", "smoother")
    )
    assert len(lookup) == 6 and lookup == smoother
    for gaussian, count, weight in zip(numbers("gaussian"), numbers("count"), smoother):
        if gaussian * count < math.inf:
            rounding = 0.001 * (1 + count)
            assert gaussian * count == pytest.approx(float(weight), rel=0.05, abs=rounding)
    weights = [float(weight) for weight in lookup]
    ratios = torch.tensor(numbers("score")).softmax(-1) / torch.tensor(weights)
    assert torch.allclose(ratios / ratios[0], torch.ones(6), atol=0.05)
    assert re.search(r"by more than [\d.]+·10⁻[⁷⁸⁹¹]", page.locator(".live-speak-same").text_content())
    assert address(page)["compare"] == "yes"


# --- sharing, and what people do --------------------------------------------------------------------------


def test_a_link_shows_what_was_shared(visit):
    state = dict(prompt=PROMPT, layer="2", head="1", query="6", temperature="1.5", topk="10", compare="yes")
    page = visit(**state)
    assert text(page) == PROMPT and tokens(page).nth(6).get_attribute("aria-selected") == "true"
    assert page.get_by_role("option", name="layer 2, head 1").get_attribute("aria-selected") == "true"
    assert page.locator(".live-value").all_text_contents() == ["1.50", "10"]
    expect(page.locator(".live-speak-views")).to_be_visible()
    page.get_by_role("option", name="layer 1, head 1").click()
    assert address(page) == state | {"layer": "1"}
    follow(page, "#speak?prompt=Twice&layer=99&head=x&query=7000&temperature=hot&topk=3")
    expect(page.get_by_label("Your text")).to_have_value("Twice")
    expect(page.locator(".live-speak-caption")).to_contain_text("Layer 2, head 1")
    assert page.locator(".live-value").all_text_contents() == ["0.80", "all"]


def test_odd_texts_are_read_and_spoken_of(visit):
    page = visit(prompt="")
    status = page.get_by_role("status")
    expect(status).to_contain_text("Nothing is written yet")
    page.get_by_label("Your text").fill("A 🐉\x07")
    expect(status).to_contain_text("it reads their bytes")
    expect(tokens(page).nth(5)).to_have_text("\\x9f")
    page.get_by_label("Your text").fill(tales(10_000, seed=4))
    expect(status).to_contain_text(re.compile(r"The model sees the last (1[2-9]|2[0-4]) of [\d]{4} tokens"))
    assert tokens(page).count() <= 24
    page.get_by_label("Your text").fill("")
    expect(status).to_contain_text("Nothing is written yet")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_function("() => document.querySelector('textarea').value.length > 5")
    page.get_by_label("Your text").press("x")  # whoever types takes over
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_the_widget_is_for_everybody(browser, book):
    state = urlencode(dict(prompt=PROMPT, compare="yes", query=7))
    with reading(browser, reduced_motion="reduce", **DESK) as page:
        open_widget(page, book, "speak", state)
        reached = reached_by_everybody(page, "Your text", 16)
        wanted = "Go on", "The tokens", "The heads", "Compare the two views"
        assert all(any(name in one for one in reached) for name in wanted)


def test_the_smaller_widget_speaks_without_heads(browser, book, tmp_path):
    page_of = (book / "chapters/speak.html").read_text(encoding="utf8")
    small = book / "chapters/small.html"
    options = '{"show": "story", "prompt": "Once"}'.replace('"', "&quot;")
    small.write_text(re.sub(r'data-options="[^"]*"', f'data-options="{options}"', page_of), encoding="utf8")
    with reading(browser, **DESK) as page:
        page.goto(small.as_uri())
        page.get_by_role("button", name="Go on").click()
        page.wait_for_function("() => document.querySelector('textarea').value.length > 20")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".live-speak-next > button").first).to_be_visible()
        assert not page.locator(".live-speak-heads, .live-speak-strip").count()
        assert text(page).startswith("Once") and "layer" not in address(page)


def shown_with(book: Path, **options) -> Path:
    """A page whose place gives the widget some options."""
    page_of = (book / "chapters/speak.html").read_text(encoding="utf8")
    path = book / "chapters/options.html"
    quoted = json.dumps(options).replace('"', "&quot;")
    path.write_text(re.sub(r'data-options="[^"]*"', f'data-options="{quoted}"', page_of), encoding="utf8")
    return path


def test_a_place_chooses_layer_and_head_and_the_address_may_choose_others(browser, book):
    path = shown_with(book, prompt=PROMPT, layer="2", head="1")
    with reading(browser, **DESK) as page:
        page.goto(path.as_uri())
        expect(page.locator(".live-speak-caption")).to_contain_text("Layer 2, head 1: the query")
        page.goto("about:blank")
        page.goto(f"{path.as_uri()}#speak?{urlencode(dict(prompt=PROMPT, head=2))}")
        expect(page.locator(".live-speak-caption")).to_contain_text("Layer 2, head 2: the query")


def test_the_first_chapter_begins_with_the_head_of_its_figure():
    notebook = nbformat.read(ROOT / "chapters/00_the_whole_machine.ipynb", as_version=4)
    figure = re.search(r"Layer (\d), head (\d): “that” looks at Iris", json.dumps(notebook, ensure_ascii=False))
    place = re.search(r":::{live} speak\n(?:.*\n)*?:::", "\n".join(cell.source for cell in notebook.cells))[0]
    assert re.findall(r"^:(?:layer|head): (\d)$", place, re.MULTILINE) == list(figure.groups())
    assert f"&layer={figure[1]}&head={figure[2]}&" in place  # its picture, too


def test_however_sure_the_model_is_seven_tokens_stand_there_and_a_zero_is_none(visit):
    page = visit(prompt=PROMPT, temperature="0.5")
    bars = page.locator(".live-speak-next > button")
    expect(bars).to_have_count(7)
    percents = bars.locator("span:last-child").all_text_contents()
    assert "< 0.1 %" in percents and "0.0 %" not in percents
    page.get_by_label("temperature").press("Home")
    expect(bars).to_have_count(1)
    expect(page.locator(".live-speak-next")).to_contain_text("no other")


def test_the_smaller_widget_has_the_words_of_the_model_before_what_one_may_set(browser, book):
    with reading(browser, **PHONE) as page:
        page.goto(shown_with(book, show="story", prompt="Once").as_uri())
        bar = page.locator(".live-speak-next > button").last
        bar.wait_for()
        top = {name: place.bounding_box()["y"] for name, place in
               [("bar", bar), ("temperature", page.get_by_label("temperature")), ("top-k", page.get_by_label("top-k"))]}
        assert top["bar"] < top["temperature"] < top["top-k"]
        assert page.get_by_label("Your text").bounding_box()["height"] < 50  # a line
