"""The smoother in the page: its numbers are the library's, and hand, key and finger move what they should."""

import math
import random
from urllib.parse import parse_qs

import pytest
import torch
from torch.nn import functional as F

from browser import follow, open_widget, reading
from tinyllm.attention import attention
from tinyllm.smoothing import nadaraya_watson

VALUES = [0.0, 6.0, 3.0, 5.0, 1.0, 4.0, 2.0, 6.0]
DIGITS = 0.00051  # the page rounds to three decimals
DESK = {"viewport": {"width": 1280, "height": 1000}, "reduced_motion": "reduce"}


@pytest.fixture
def visit(browser, live_book):
    """A function that opens the widget in a state; its page must have no complaint in the end."""
    with reading(browser, **DESK) as page:
        def visit(fragment=""):
            open_widget(page, live_book, "smoother", fragment)
            return page
        yield visit


def shown(page):
    """What the page shows: softmax weights, kernel weights, the two answers, the difference."""
    bars = [float(text) for text in page.locator(".live-bar").all_text_contents()]
    answers = [float(text) for text in page.locator("tfoot .live-named").all_text_contents()]
    return bars[::2], bars[1::2], answers, float(page.locator(".live-difference strong").text_content())


def expected(keys, q, h, equal, weighted, s=1.0):
    """The same from the library."""
    query, keys = torch.tensor([q]), torch.tensor(keys)
    values = torch.tensor(VALUES[: len(keys)])[:, None]
    if equal:
        keys = math.sqrt(2) * F.normalize(keys, dim=-1)
    looked, softmax = attention(query, keys, values, scale=1 / h**2, return_weights=True)  # whatever s is
    query, keys = s * query, keys / s
    key_weights = torch.exp(keys.square().sum(-1) / (2 * h**2)) if weighted else None
    smoothed, kernel = nadaraya_watson(query, keys, values, h, key_weights=key_weights, return_weights=True)
    difference = (softmax - kernel).abs().sum().item() / 2
    return softmax[0].tolist(), kernel[0].tolist(), [looked.item(), smoothed.item()], difference


def address(page):
    """The state that the address holds, once it is written."""
    page.evaluate("() => new Promise(done => setTimeout(done, 400))")
    query = {key: values[0] for key, values in parse_qs(page.url.partition("?")[2]).items()}
    pairs = [[float(x) for x in pair.split(",")] for pair in query["keys"].split(";")]
    q = [float(x) for x in query["q"].split(",")]
    equal, weighted = query.get("norms") == "equal", query.get("weights") == "yes"
    return pairs, q, float(query["h"]), equal, weighted, float(query.get("s", 1))


def assert_true(page, state):
    for ours, theirs in zip(shown(page), expected(*state), strict=True):
        assert ours == pytest.approx(theirs, abs=DIGITS)


def test_the_numbers_of_the_page_are_the_librarys(visit):
    page = visit()
    chance = random.Random(0)
    for n in range(1, 9):
        for equal, weighted in ((True, False), (False, False), (False, True)):
            *keys, q = ([round(chance.uniform(-2, 2), 2) for _ in range(2)] for _ in range(n + 1))
            h = round(math.exp(chance.uniform(-1.2, 1)), 2)
            s = round(math.exp(chance.uniform(-0.6, 1)), 2)
            text = ";".join(f"{x},{y}" for x, y in keys)
            norms, weights = "&norms=equal" if equal else "", "&weights=yes" if weighted else ""
            follow(page, f"smoother?keys={text}&q={q[0]},{q[1]}&h={h}&s={s}{norms}{weights}")
            assert_true(page, (keys, q, h, equal, weighted, s))


def test_chapter_04s_example_is_the_start_and_the_two_agree_when_the_lengths_are_one(visit):
    page = visit()
    state = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [2.0, 0.0], 1.0, False, False, 1.0
    assert_true(page, state)
    assert shown(page)[0] == [0.468, 0.063, 0.468] and shown(page)[3] > 0.1
    page.get_by_label("equal key norms").check()
    assert shown(page)[3] == 0
    page.get_by_label("equal key norms").uncheck()
    page.get_by_label("the kernel has the key weights").check()
    assert shown(page)[3] == 0 and shown(page)[0] == shown(page)[1] == [0.468, 0.063, 0.468]
    assert address(page) == (*state[:4], True, 1.0)


def test_rescaling_queries_against_keys_moves_the_plain_kernel_and_not_the_softmax(visit):
    page = visit()
    softmax, kernel, answers, difference = shown(page)
    handle, key, query = (page.get_by_role("slider", name=name, exact=True) for name in ("s", "key 1", "query"))
    handle.focus()
    seen = [difference]
    for _ in range(3):
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        now = shown(page)
        assert now[0] == softmax and now[2][0] == answers[0] and now[1] != kernel
        seen.append(now[3])
    assert seen == sorted(seen, reverse=True) and seen[-1] < 0.05
    state = address(page)
    assert state[-1] == pytest.approx(10**0.3, abs=0.01) and state[0][0] == [1, 0]
    assert_true(page, state)
    assert key.get_attribute("aria-valuetext") == "x 0.50, y 0.00"
    assert query.get_attribute("aria-valuetext") == "x 3.99, y 0.00"
    page.get_by_label("the kernel has the key weights").check()
    assert shown(page)[3] == 0


def test_a_point_follows_the_mouse_however_queries_and_keys_are_scaled(visit):
    for s in (0.5, 2):
        page = visit(f"s={s}")
        for name in ("key 3", "query"):
            grip = page.get_by_role("slider", name=name).locator(".live-grip")
            box = grip.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x - 7, y + 5, steps=3)
            page.mouse.up()
            after = grip.bounding_box()
            assert (after["x"] - box["x"], after["y"] - box["y"]) == pytest.approx((-7, 5), abs=1.5)
        state = address(page)
        assert state[-1] == s
        visit(page.url.partition("?")[2])  # the address rounds, and s enlarges what it rounds off
        assert_true(page, state)


def test_a_finger_moves_the_factor(browser, live_book):
    with reading(browser, has_touch=True, viewport={"width": 375, "height": 800}) as page:
        open_widget(page, live_book, "smoother")
        before = shown(page)
        handle = page.get_by_role("slider", name="s", exact=True)
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        state = address(page)
        assert state[-1] > 2 and shown(page)[0] == before[0] and shown(page)[1] != before[1]
        assert_true(page, state)


def test_a_key_and_the_query_follow_the_mouse(visit):
    page = visit()
    for name, by in (("key 3", (30, -40)), ("query", (-80, 50))):
        box = page.get_by_role("slider", name=name).locator(".live-grip").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + by[0] / 2, y + by[1], steps=3)
        page.mouse.move(x + by[0], y + by[1], steps=3)
        page.mouse.up()
    keys, q, *_ = state = address(page)
    unit = 57
    assert keys[2] == pytest.approx([1 + 30 / unit, 1 + 40 / unit], abs=0.03)
    assert q == pytest.approx([2 - 80 / unit, -50 / unit], abs=0.03)
    assert keys[:2] == [[1, 0], [0, 1]]
    assert_true(page, state)


def test_with_equal_norms_a_dragged_key_stays_on_the_circle_and_keeps_its_own_length(visit):
    page = visit("norms=equal")
    key = page.get_by_role("slider", name="key 1")
    box = page.locator(".live-plane").bounding_box()
    key.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 10, steps=4)  # to the upper left, beyond the circle
    page.mouse.up()
    assert key.get_attribute("aria-valuetext") == "x -1.00, y 1.00"
    assert shown(page)[3] == 0
    keys, *_ = address(page)
    assert math.hypot(*keys[0]) == pytest.approx(1, abs=0.001)


def test_the_address_of_a_key_that_was_dragged_as_far_as_it_goes_is_sound(visit):
    page = visit("keys=2.4,2.4")
    box = page.locator(".live-plane").bounding_box()
    for to in ((0, 0), (0.5, 0.5)):  # shares of the plane: a corner, the origin
        page.get_by_role("slider", name="key 1").hover()
        page.mouse.down()
        page.mouse.move(box["x"] + to[0] * box["width"] + 1, box["y"] + to[1] * box["height"] + 3, steps=4)
        page.mouse.up()
        state = address(page)
        visit(page.url.partition("?")[2])
        assert page.get_by_text("this is the start instead").count() == 0
        assert_true(page, state)


def test_a_finger_drags_too(browser, live_book):
    with reading(browser, has_touch=True, viewport={"width": 375, "height": 800}) as page:
        open_widget(page, live_book, "smoother", "q=1,-1")
        query = page.get_by_role("slider", name="query")
        query.scroll_into_view_if_needed()
        box = query.locator(".live-grip").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = page.evaluate("scrollY")
        touch = page.context.new_cdp_session(page)
        for kind, by in (("touchStart", 0), ("touchMove", 20), ("touchMove", 57)):
            points = [{"x": x - by, "y": y - by}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        _, q, *_ = address(page)
        assert q == pytest.approx([0, 0], abs=0.05)
        assert page.evaluate("scrollY") == before


def test_the_keyboard_reaches_and_moves_everything(visit):
    page = visit()
    page.get_by_label("equal key norms").focus()
    reached = []
    for _ in range(11):
        reached.append(page.evaluate(
            "document.activeElement.ariaLabel || document.activeElement.closest('label, button').innerText"
        ))
        page.keyboard.press("Tab")
    names = [name.split("\n")[0].strip() for name in reached]
    assert names == [
        "equal key norms", "the kernel has the key weights", "bandwidth h", "s", "key 1", "key 2", "key 3", "query",
        "Add a key", "Take one out", "Start again",
    ]
    page.get_by_role("slider", name="key 2").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    page.get_by_role("slider", name="query").focus()
    for key in ("ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    page.get_by_role("slider", name="bandwidth h").focus()
    page.keyboard.press("ArrowLeft")
    keys, q, h, *_ = state = address(page)
    assert (keys[1], q) == ([0.2, 1.1], [1.9, -0.1]) and h == pytest.approx(10**-0.01, abs=0.001)
    assert_true(page, state)
    page.get_by_label("equal key norms").check()
    page.get_by_role("slider", name="key 1").focus()
    for _ in range(9):
        page.keyboard.press("ArrowUp")  # nine times five degrees
    assert page.get_by_role("slider", name="key 1").get_attribute("aria-valuetext") == "x 1.00, y 1.00"


def test_keys_come_and_go_and_there_is_always_one(visit):
    page = visit()
    add, remove = (page.get_by_role("button", name=name) for name in ("Add a key", "Take one out"))
    while add.is_enabled():
        add.click()
    assert len(shown(page)[0]) == 8
    while remove.is_enabled():
        remove.click()
    assert shown(page)[0] == shown(page)[1] == [1.0]
    page.get_by_role("button", name="Start again").click()
    assert len(shown(page)[0]) == 3


def test_the_keys_glide_to_their_own_lengths_unless_the_reader_wants_nothing_to_move(browser, live_book):
    with reading(browser, viewport=DESK["viewport"], reduced_motion="no-preference") as page:
        open_widget(page, live_book, "smoother")
        page.get_by_label("equal key norms").check()
        page.locator(".live-difference strong", has_text="0.000").wait_for()
        page.get_by_label("equal key norms").uncheck()
        page.locator(".live-difference strong", has_text="0.120").wait_for()


def test_an_address_that_makes_no_sense_is_said_to_and_the_start_is_shown(visit):
    page = visit("h=0")
    page.get_by_text("this is the start instead").wait_for()
    for fragment in (
        "h=-1", "h=wide", "q=9,0", "q=1", "q=a,b", "keys=", "keys=0,0", "keys=1,2,3", "keys=1,1" + 8 * ";1,1",
        "s=0", "s=9", "s=much",
    ):
        follow(page, "smoother?norms=equal")
        assert page.get_by_text("this is the start instead").count() == 0
        follow(page, f"smoother?{fragment}")
        assert page.get_by_text("this is the start instead").count() == 1
        assert shown(page)[0] == [0.468, 0.063, 0.468]
