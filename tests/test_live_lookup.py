"""The lookup in the page: between the dict's answer and the mean, by the library's numbers."""

from collections import Counter
from urllib.parse import parse_qs, quote

import pytest
import torch
from torch.nn import functional as F

from browser import follow, open_widget, reading
from tinyllm.attention import attention

RED, YELLOW, BLUE, GREEN = (255, 0, 0), (255, 255, 0), (0, 0, 255), (0, 128, 0)
FRUIT = [("cherry", RED), ("lemon", YELLOW), ("plum", BLUE)]  # chapter 04's


@pytest.fixture
def visit(browser, live_book):
    """A function that opens the widget in a state; its page must have no complaint in the end."""
    with reading(browser, viewport={"width": 1280, "height": 1000}) as page:
        def visit(fragment=""):
            open_widget(page, live_book, "lookup", fragment)
            return page
        yield visit


def places(words):
    """A channel for each pair of neighboring letters, ends included; rows (T, d) of length 1."""
    counts = [Counter(zip(["start", *word], [*word, "end"])) for word in words]
    channels = sorted({pair for count in counts for pair in count})
    return F.normalize(torch.tensor([[float(count[pair]) for pair in channels] for count in counts]), dim=-1)


def expected(query, entries, T):
    """Scores, weights and the answer of the library's attention."""
    q, k = places([query, *(key for key, _ in entries)]).split([1, len(entries)])
    v = torch.tensor([color for _, color in entries], dtype=torch.float32)
    answer, weights = attention(q, k, v, scale=1 / T, return_weights=True)
    return (q @ k.T)[0].tolist(), weights[0].tolist(), answer[0].tolist()


def shown(page):
    """What the page shows: scores, weights and the answer of attention."""
    cells = [row.locator("td").all_text_contents() for row in page.locator("tbody tr").all()]
    answer = reply(page, "attention").split(", ")
    return [float(cell[1]) for cell in cells], [float(cell[2]) for cell in cells], [float(x) for x in answer]


def reply(page, who):
    text = page.locator(".live-reply", has_text=who).text_content()
    return text.removeprefix(who)


def assert_true(page, query, entries, T):
    scores, weights, answer = expected(query, entries, T)
    assert shown(page)[0] == pytest.approx(scores, abs=0.00051)
    assert shown(page)[1] == pytest.approx(weights, abs=0.00051)
    assert shown(page)[2] == pytest.approx(answer, abs=0.51)


def ask(page, key):
    page.get_by_label("key to look up").fill("")
    page.get_by_label("key to look up").press_sequentially(key)


def store(page, key, color):
    page.get_by_label("key to store").fill(key)
    page.get_by_label("its color").fill("#" + bytes(color).hex())
    page.get_by_role("button", name="Store").click()


def heat(page, T_as_power_of_ten):
    page.get_by_label("temperature τ").fill(str(T_as_power_of_ten))


def test_the_numbers_of_the_page_are_those_of_attention(visit):
    page = visit()
    for query in ("lemons", "lemon", "plumcherry", "", "xyz", "PLUM", "банан", "l'été 🍋", "__proto__"):
        for T in (0.05, 0.3, 1, 20):
            follow(page, f"lookup?q={quote(query)}&T={T}")
            assert_true(page, query, FRUIT, T)
    words = ["aa", "aaa", "abab", "🍋🍋", "a:b,c", "constructor", "lemon", "lemon"]
    entries = [(word, (10 * i, 200, 255 - i)) for i, word in enumerate(words)]
    text = ",".join(f"{quote(word, safe='')}:{bytes(color).hex()}" for word, color in entries)
    for query in words[:-1]:
        follow(page, f"lookup?q={quote(query)}&T=0.4&entries={quote(text)}")
        assert_true(page, query, entries, 0.4)


def test_the_dict_answers_or_raises_and_attention_goes_from_its_answer_to_the_mean(visit):
    page = visit()
    assert reply(page, "dict") == "KeyError: 'lemons'"
    ask(page, "plum")
    assert reply(page, "dict") == "0, 0, 255"
    heat(page, -2)
    assert reply(page, "attention") == "0, 0, 255"
    assert page.get_by_text("the dict is back").is_visible()
    heat(page, 2)
    assert shown(page)[2] == pytest.approx([170, 85, 85], abs=2)
    assert page.get_by_text("the answer is the mean").is_visible()
    ask(page, "lemons")
    heat(page, -2)
    assert (reply(page, "dict"), reply(page, "attention")) == ("KeyError: 'lemons'", "255, 255, 0")
    ask(page, "o'x")
    assert reply(page, "dict") == """KeyError: "o'x\""""


def test_the_slider_lies_on_the_answers_that_it_leads_to(visit):
    page = visit("q=lemon")
    strip = page.locator(".live-heat").evaluate("one => one.style.getPropertyValue('--live-strip')")
    stops = strip.removeprefix("linear-gradient(to right, ").split("), ")
    assert stops[0] == "rgb(255, 255, 0" and len(stops) == 41
    assert stops[20] == "rgb(" + reply(page, "attention")


def test_a_key_that_is_stored_twice_is_overwritten_in_the_dict_and_averaged_by_attention(visit):
    page = visit()
    ask(page, "lemon")
    heat(page, -2)
    assert reply(page, "attention") == "255, 255, 0"
    page.get_by_role("button", name="Store").click()  # the form begins with a green lemon
    assert (reply(page, "dict"), reply(page, "attention")) == ("0, 128, 0", "128, 192, 0")
    assert page.get_by_text("attention averages, and the dict has kept the last").is_visible()
    assert_true(page, "lemon", [*FRUIT, ("lemon", GREEN)], 0.01)
    page.get_by_role("button", name="Take lemon out").first.click()
    assert (reply(page, "dict"), reply(page, "attention")) == ("0, 128, 0", "0, 128, 0")


def test_the_address_holds_everything(visit):
    page = visit()
    store(page, "a:b, & ?", (1, 2, 3))
    ask(page, "a=b#")
    heat(page, -0.5)
    before = shown(page)
    page.wait_for_function("location.hash.includes('T=0.316')")
    query = parse_qs(page.url.partition("?")[2])
    assert query["q"] == ["a=b#"] and len(query["entries"][0].split(",")) == 4
    visit(page.url.partition("?")[2])
    assert page.get_by_label("key to look up").input_value() == "a=b#"
    assert shown(page) == before
    page.get_by_role("button", name="Start again").click()
    assert_true(page, "lemons", FRUIT, 1)


def test_the_keyboard_alone_asks_heats_stores_and_takes_out(visit):
    page = visit()
    page.get_by_label("key to look up").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("plum")
    page.keyboard.press("Tab")
    for _ in range(100):
        page.keyboard.press("ArrowLeft")
    assert_true(page, "plum", FRUIT, 0.1)
    for _ in range(4):
        page.keyboard.press("Tab")  # over the three crosses to the form
    page.keyboard.press("Control+A")
    page.keyboard.type("plum")
    page.keyboard.press("Enter")
    assert_true(page, "plum", [*FRUIT, ("plum", GREEN)], 0.1)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert_true(page, "plum", FRUIT, 0.1)
    assert page.evaluate("document.activeElement.ariaLabel") == "key to store"


def test_what_cannot_be_is_said_in_words(visit):
    page = visit("T=0")
    assert page.get_by_text("this is the start instead").is_visible()
    for fragment in (
        "T=x", "T=1000", "entries=", "entries=a:red", "entries=%25E0%25A4%25A:ff0000", "entries=a",
        "entries=" + ",".join(["a:000000"] * 9),
    ):
        follow(page, "lookup?T=1")
        assert page.get_by_text("this is the start instead").count() == 0
        follow(page, f"lookup?{fragment}")
        assert page.get_by_text("this is the start instead").is_visible()
        assert_true(page, "lemons", FRUIT, 1)
    ask(page, "")
    assert page.get_by_text("the answer is the mean at every temperature").is_visible()
    page.get_by_label("key to look up").fill("lemon " * 2000)
    assert page.get_by_text("Only the first 40 letters are looked at").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    store(page, "", RED)
    assert page.get_by_text("Type a key to store").is_visible()
    store(page, "x" * 41, RED)
    assert page.get_by_text("A key may have 40 letters").is_visible()
    for _ in range(6):
        store(page, "x" * 40, RED)
    assert page.get_by_text("8 entries are enough").is_visible()
    assert len(shown(page)[1]) == 8
