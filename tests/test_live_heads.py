"""The heads in the page: their measures, and what a text loses without one, are those of the library."""

import gzip
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest
import torch
from playwright.sync_api import Page, expect
from torch.nn import functional as F

from browser import PATIENCE, ROOT, follow, open_widget, reached_by_everybody, reading
from course.data import tales
from course.export import script
from test_live_speak import publish, toy_model
from tinyllm.generation import generate
from tinyllm.model import GPT, save

BETWEEN = "\n\n"  # stands before every text
PROMPT = "On a bus"
DESK = {"viewport": {"width": 1280, "height": 1000}}
PHONE = {"viewport": {"width": 375, "height": 800}, "has_touch": True, "is_mobile": True}
ALL = [(layer, head) for layer in (0, 1) for head in (0, 1)]
SEEN = torch.ones(60, 60, dtype=torch.bool).tril()  # the keys of each query

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def model(tokenizer) -> GPT:
    return toy_model(tokenizer)


@pytest.fixture(scope="module")
def book(live_book, model, tokenizer, tmp_path_factory) -> Path:
    publish(model, tokenizer, live_book, tmp_path_factory.mktemp("toy"))
    return live_book


@pytest.fixture
def visit(browser, book):
    """A function that opens the widget in a state; its page must have no complaint in the end."""
    with reading(browser, **DESK) as page:
        def visit(**state):
            open_widget(page, book, "heads", urlencode({"prompt": PROMPT} | state))
            return page
        yield visit


def ids_of(text, tokenizer):
    return tokenizer.encode(BETWEEN + text)


@torch.no_grad()
def without(model: GPT, ids: list[int], layer: int, head: int, removal: str) -> torch.Tensor:
    """Logits (T, V) where one head gives zero at every place, or the mean of its outputs over the text."""
    d = model.config.d_model // model.config.n_head
    part = slice(head * d, (head + 1) * d)

    def replace(module, args):
        outputs = args[0].clone()  # (T, C), all heads beside one another
        outputs[:, part] = 0 if removal == "zero" else outputs[:, part].mean(0)
        return (outputs,)

    hook = model.blocks[layer].attention.out.register_forward_pre_hook(replace)
    try:
        return model(torch.tensor(ids))
    finally:
        hook.remove()


@torch.no_grad()
def weights_of(model: GPT, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor(ids), return_attention=True)[1]  # (n_layer, n_head, T, T)


@torch.no_grad()
def mean_scores(model: GPT, ids: list[int]) -> torch.Tensor:
    """Log of the weights (n_layer, n_head, T, T) that the mean query of each head gives at every place."""
    found, T = [], len(ids)
    hooks = [block.attention.register_forward_pre_hook(
        lambda layer, args: found.append(layer.heads(args[0])[:2])) for block in model.blocks]
    model(torch.tensor(ids))
    for hook in hooks:
        hook.remove()
    q, k = (torch.stack(z).double() for z in zip(*found))  # (n_layer, n_head, T, d)
    scores = (q.mean(-2, keepdim=True) @ k.mT / q.shape[-1] ** 0.5).expand(-1, -1, T, -1)
    return scores.masked_fill(~SEEN[:T, :T], -torch.inf).log_softmax(-1)


def address(page: Page) -> dict[str, str]:
    page.wait_for_timeout(400)
    return {key: values[0] for key, values in parse_qs(page.url.partition("?")[2]).items()}


def head_button(page: Page, layer: int, head: int):
    return page.get_by_role("button", name=f"layer {layer}, head {head}:")


def settled(page: Page) -> Page:
    """The page, once the removal is computed."""
    expect(page.locator(".live-status")).not_to_contain_text("…")
    return page


# --- the engine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("removal", ["mean", "zero"])
def test_without_a_head_the_page_has_the_library_s_logits(visit, model, tokenizer, removal):
    ids = ids_of("Once there was a bear", tokenizer)[:24]
    found = visit().evaluate(
        """async ([ids, removal]) => {
          const model = (await Live.need("gpt")).load(await Live.need("taleteller"));
          const whole = model.remember();
          await model.read(whole, ids);
          const found = [];
          for (let layer = 0; layer < 2; layer++) for (let head = 0; head < 2; head++) {
            const output = removal === "zero" ? new Float32Array(8) : model.meanOutput(whole, layer, head);
            const less = model.remember({ layer, head, output });
            await model.read(less, ids);
            found.push(ids.map((_, t) => [...model.logits(less, t)]));
          }
          return found;
        }""", [ids, removal])
    expected = torch.stack([without(model, ids, layer, head, removal) for layer, head in ALL])
    intact = model(torch.tensor(ids)).detach()
    assert all((one - intact).abs().max() > 0.1 for one in expected)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-4)


MEASURE = """async (rows) => {
  const GPT = await Live.need("gpt"), typed = rows.map((row) => Float32Array.from(row));
  return [typed.map(GPT.effectiveKeys), GPT.explained(typed, GPT.byOffset(typed))];
}"""


def measured(page: Page, weights: torch.Tensor):
    """Effective keys of each row, and what the offset explains, of a head's weights (T, T)."""
    return page.evaluate(MEASURE, [row[: t + 1].tolist() for t, row in enumerate(weights)])


def deviance_share(weights: torch.Tensor, log_p: torch.Tensor) -> float:
    seen = SEEN[: len(weights), : len(weights)]
    n_keys = torch.arange(1.0, len(weights) + 1)[:, None]
    missed = torch.xlogy(weights, weights) - weights * log_p.masked_fill(~seen, 0)
    return 1 - float(missed.sum() / torch.xlogy(weights, weights * n_keys).sum())


def offset_share(weights: torch.Tensor) -> float:
    """What the page's closed form gives, with the numbers that predict each row found by a search."""
    T = len(weights)
    seen, offset = SEEN[:T, :T], (torch.arange(T)[:, None] - torch.arange(T)).clamp(min=0)
    found = []
    for t in range(T):
        numbers = torch.zeros(T, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([numbers], max_iter=1000, tolerance_grad=1e-10, tolerance_change=1e-14,
                                   line_search_fn="strong_wolfe")

        def loss():
            search.zero_grad()
            log = numbers[offset].masked_fill(~seen, -1e9).log_softmax(-1)
            # Besides the other rows, one of as many keys that have equal weights.
            nats = -(weights * log)[torch.arange(T) != t].sum() - log[t, seen[t]].mean()
            nats.backward()
            return nats

        search.step(loss)
        found.append(numbers.detach()[offset].masked_fill(~seen, -1e9).log_softmax(-1)[t])
    return deviance_share(weights, torch.stack(found))


def test_the_closed_form_gives_the_likeliest_numbers(visit):
    page = visit()
    torch.manual_seed(0)
    for T in (2, 3, 7):
        scores = 2 * torch.randn(T, T, dtype=torch.float64)
        weights = scores.masked_fill(~SEEN[:T, :T], -torch.inf).softmax(-1)
        keys, offset = measured(page, weights)
        entropy = torch.distributions.Categorical(weights).entropy()
        assert keys == pytest.approx(entropy.exp().tolist(), abs=1e-4)
        assert offset == pytest.approx(offset_share(weights), abs=1e-4)


def test_a_window_is_explained_by_the_offset_and_random_weights_are_not(visit):
    page = visit()
    torch.manual_seed(0)
    i, j = torch.arange(60)[:, None], torch.arange(60)
    window, chance = (scores.masked_fill(~SEEN, -torch.inf).softmax(-1)
                      for scores in (-0.3 * (i - j), 3 * torch.randn(60, 60)))
    assert measured(page, window)[1] > 0.95 and measured(page, chance)[1] < 0.05
    assert measured(page, torch.eye(3))[0] == [1, 1, 1]
    assert measured(page, torch.ones(1, 1)) == [[1], 0]


def test_the_place_of_a_head_is_that_of_every_parametrisation(visit, model, tokenizer, tmp_path):
    other, C, d = GPT(model.config), 16, 8
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for block in other.blocks:
            q, k, _ = block.attention.qkv.weight.split(C)
            for head in range(2):
                part = slice(head * d, (head + 1) * d)
                order = part.start + torch.randperm(d)
                q[part], k[part] = 4 * q[order], k[order] / 4
    ids = ids_of("Once there was a bear", tokenizer)[:24]
    torch.testing.assert_close(weights_of(other, ids), weights_of(model, ids), rtol=0, atol=1e-5)
    page, found = visit(), []
    for one in (model, other):
        save(one, tmp_path)
        tokenizer.save(tmp_path / "tokenizer.json")
        data = json.loads(script(tmp_path, "x").removeprefix('Live.provide("x", ').removesuffix(");\n"))
        found.append(page.evaluate(
            """async ([data, ids]) => {
              const GPT = await Live.need("gpt"), model = GPT.load(data), memory = model.remember();
              await model.read(memory, ids);
              return memory.weights.flat().flatMap((weights) => {
                const rows = ids.map((_, t) => model.rowOf(weights, t));
                return [GPT.explained(rows, GPT.byOffset(rows)), ...rows.map(GPT.effectiveKeys)];
              }).concat([0, 1].flatMap((layer) => [0, 1].map((h) => {
                const rows = ids.map((_, t) => model.rowOf(memory.weights[layer][h], t));
                return GPT.explained(rows, GPT.byKey(model.meanScores(memory, layer, h)));
              })));
            }""", [data, ids]))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


# --- places -----------------------------------------------------------------------------------------------


def test_a_head_stands_at_what_was_measured(visit, model, tokenizer):
    page, ids = visit(), ids_of(PROMPT, tokenizer)
    weights, scores = weights_of(model, ids).double(), mean_scores(model, ids)
    width = page.locator(".live-heads-lanes").evaluate("one => one.clientWidth")

    def assert_at(share_of, label):
        for layer, head in ALL:
            share, text = share_of(layer, head)
            expect(head_button(page, layer + 1, head + 1)).to_have_attribute(
                "aria-label", f"layer {layer + 1}, head {head + 1}: {label}, {text}")
            dots = page.locator(f".live-heads-lane[data-layer='{layer + 1}'] circle")
            places = dots.evaluate_all("all => all.map(one => Number(one.getAttribute('cx')))")
            assert any(place == pytest.approx(8 + share * (width - 16), abs=0.1) for place in places)

    def percent(x):
        return f"{'−' if x < -0.005 else ''}{abs(100 * x):.0f} %"

    def placed(share):
        return 1 - min(max(share, 0), 1), percent(share)

    assert_at(lambda layer, head: placed(offset_share(weights[layer, head])), "what the offset explains")
    page.get_by_label("Place the heads by").select_option("what the key explains")
    assert_at(lambda layer, head: placed(deviance_share(weights[layer, head], scores[layer, head])),
              "what the key explains")
    page.get_by_label("Place the heads by").select_option("effective keys")

    def spread(layer, head):
        keys = torch.distributions.Categorical(weights[layer, head]).entropy().exp().mean()
        return 1 - (keys.log() / torch.tensor(len(ids)).log()).item(), f"{keys:.1f}"

    assert_at(spread, "effective keys")
    assert address(page)["by"] == "spread"


def test_no_button_hides_another_even_where_heads_agree(visit):
    page = visit()
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        for layer in (1, 2):
            place = page.locator(f".live-heads-lane[data-layer='{layer}']")
            boxes, lane = [one.bounding_box() for one in place.locator("button").all()], place.bounding_box()
            (left, one), (right, other) = sorted((box["x"], box["width"]) for box in boxes)
            assert left >= lane["x"] and left + one <= right
            assert right + other <= lane["x"] + lane["width"]
            assert min(box[side] for box in boxes for side in ("width", "height")) >= 24


def test_heads_are_chosen_by_click_keys_and_touch(browser, book, visit):
    page = visit(layer=1, head=1)
    head_button(page, 2, 2).click()
    expect(page.locator("[aria-pressed=true]")).to_have_text("2.2")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent")[:2] == "1."
    before = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # the last in its lane stays
    page.keyboard.press("ArrowUp")
    last = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowLeft")
    assert {before, last} <= {"1.1", "1.2"} and page.evaluate("document.activeElement.textContent") != last
    expect(page.locator("[aria-pressed=true]")).to_have_text("2.2")
    chosen = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-pressed=true]")).to_have_text(chosen)
    assert address(page)["layer"] == "1" and address(page)["head"] == chosen[2]
    assert page.locator(".live-heads-lanes [tabindex='0']").count() == 1
    with reading(browser, **PHONE) as page:
        open_widget(page, book, "heads", urlencode({"prompt": PROMPT, "layer": 1, "head": 1}))
        head_button(page, 2, 1).tap()
        expect(page.locator("[aria-pressed=true]")).to_have_text("2.1")
        page.locator(".live-speak-strip").first.locator("span").nth(2).tap()
        assert address(page)["query"] == "2"


# --- what a head looks at, and what is lost without it ----------------------------------------------------


def test_the_row_of_the_chosen_token_is_the_library_s(visit, model, tokenizer):
    page, ids = visit(layer=2, head=1), ids_of(PROMPT, tokenizer)
    weights = weights_of(model, ids)[1, 0]
    shade = "ws => ws.map(w => Live.shade(Math.round(255 * Math.sqrt(w)) / 255).replaceAll(' ', ''))"
    colors = "all => all.map(one => one.style.background.replaceAll(' ', ''))"
    seen = page.get_by_role("listbox", name="weights of the chosen one")
    for place, key in ((len(ids) - 1, None), (0, "Home"), (1, "ArrowRight")):
        if key:
            seen.press(key)
        shown = seen.locator("span").evaluate_all(colors)
        later = [""] * (len(ids) - place - 1)
        assert shown == page.evaluate(shade, weights[place, : place + 1].tolist()) + later
    assert address(page)["query"] == "1"
    assert page.locator(".live-heads-map").evaluate("one => [one.width, one.height]") == [len(ids)] * 2
    page.locator(".live-heads-map").click(position={"x": 3, "y": 3})
    assert address(page)["query"] == "0"


@pytest.mark.parametrize("removal", ["mean", "zero"])
def test_the_loss_the_surprises_and_the_next_tokens_without_a_head_are_the_library_s(
    visit, model, tokenizer, removal
):
    ids = ids_of(PROMPT, tokenizer)
    first = len(ids_of("", tokenizer))
    page = settled(visit(layer=1, head=2, removal=removal, query=first + 1))
    logits = [model(torch.tensor(ids)).detach(), without(model, ids, 0, 1, removal)]
    told = torch.tensor(ids[first:])
    nats = [F.cross_entropy(one[first - 1 : -1], told, reduction="none") for one in logits]
    before, after = (one.sum() / len(PROMPT) for one in nats)
    costs = page.get_by_text("The loss of this text").text_content()
    assert f"{before:.3f} nats per character with all heads, {after:.3f} without" in costs
    assert f"per token {nats[0].mean():.2f} and {nats[1].mean():.2f}." in costs
    titles = page.get_by_role("listbox", name="adds to their surprise").locator("span").evaluate_all(
        "all => all.map(one => one.title)")
    assert titles == [""] * first + [f"{one:.2f} to {other:.2f} nats" for one, other in zip(*nats)]
    worst = int((nats[1] - nats[0]).argmax())
    grown = f"from {nats[0][worst]:.2f} to {nats[1][worst]:.2f}"
    expect(page.get_by_text("It grows most at")).to_contain_text(grown)
    p = torch.stack([one[first + 1].softmax(-1) for one in logits])
    rows = page.locator(".live-heads-next tbody tr").all()
    shown = [[float(cell.split()[0]) for cell in row.locator("td").all_text_contents()] for row in rows]
    order = [i for i in p.amax(0).argsort(descending=True)[:6].tolist() if p[:, i].max() > 0.0005]
    if ids[first + 2] not in order:
        order[5:] = [ids[first + 2]]
    assert shown == [[pytest.approx(100 * x, abs=0.051) for x in p[:, i].tolist()] for i in order]
    assert page.locator(".live-heads-next th", has_text="← stands there").count() == 1


def test_both_models_go_on_as_the_library_does(visit, model, tokenizer):
    page, ids = settled(visit(layer=2, head=2, removal="zero")), ids_of(PROMPT, tokenizer)
    room = min(16, model.config.block_size - len(ids))
    told = page.locator(".live-heads-ahead").all_text_contents()
    expected = tokenizer.decode(generate(model, [ids], room, temperature=0)[0][len(ids):].tolist())
    assert told[0] == "all heads" + expected.replace("\n", "⏎")
    for _ in range(room):
        ids.append(int(without(model, ids, 1, 1, "zero")[-1].argmax()))
    assert told[1] == "without 2.2" + tokenizer.decode(ids[-room:]).replace("\n", "⏎")


def test_each_head_in_turn_costs_what_the_library_says_and_another_text_starts_anew(visit, model, tokenizer):
    page, ids = settled(visit(layer=1, head=1)), ids_of(PROMPT, tokenizer)
    first = len(ids_of("", tokenizer))
    page.get_by_role("button", name="Remove each in turn").click()
    loss = lambda logits: F.cross_entropy(logits[first - 1 : -1], torch.tensor(ids[first:]), reduction="sum")
    intact = loss(model(torch.tensor(ids)).detach())
    for layer, head in ALL:
        cost = 1000 * (loss(without(model, ids, layer, head, "mean")) - intact) / len(PROMPT)
        costs = f"what removal costs, {'−' if cost < 0 else '+'}{abs(cost):.1f}"
        expect(head_button(page, layer + 1, head + 1)).to_have_attribute(
            "aria-label", f"layer {layer + 1}, head {head + 1}: {costs}")
    page.get_by_label("The text whose heads").press_sequentially("!")
    expect(page.get_by_label("Place the heads by")).to_have_value("offset")
    assert page.locator("option[value=cost]").is_disabled()
    settled(page).get_by_role("button", name="Remove each in turn").click()
    expect(page.get_by_label("Place the heads by")).to_have_value("cost")
    page.get_by_label("In place of the head's output").select_option("zero")
    expect(page.get_by_label("Place the heads by")).to_have_value("offset")
    assert address(page)["removal"] == "zero"


def test_the_widget_is_small():
    assert len(gzip.compress((ROOT / "pages/live/heads.js").read_bytes())) <= 12_000


# --- what people do ---------------------------------------------------------------------------------------


def test_odd_texts_are_read_and_spoken_of(visit):
    page = settled(visit(prompt="", layer=1, head=1))
    expect(page.get_by_role("status")).to_contain_text("nothing to lose")
    box = page.get_by_label("The text whose heads")
    box.fill("A 🐉\x07")
    expect(page.get_by_role("status")).to_contain_text("try zero, or a longer text")
    expect(page.locator(".live-speak-strip").first).to_contain_text("\\x9f")
    box.fill(tales(3_000, seed=4))
    expect(page.get_by_role("status")).to_contain_text("The first 24 tokens are read")
    assert page.locator(".live-heads-ahead").all_text_contents() == ["all heads—", "without 1.1—"]
    follow(page, "#heads?prompt=Twice&layer=99&head=x&query=7000&by=nothing&removal=maybe")
    expect(box).to_have_value("Twice")
    expect(page.get_by_role("status")).to_contain_text("nearly the head's own")
    assert page.locator("[aria-pressed=true]").count() == 1
    assert "NaN" not in page.locator(".live-stage").text_content()


def test_a_chapter_chooses_text_and_head(browser, book):
    whole = (book / "chapters/heads.html").read_text(encoding="utf8")
    chosen = book / "chapters/chosen.html"
    for head in "12":
        options = f'{{"prompt": "{PROMPT}", "layer": "1", "head": "{head}"}}'.replace('"', "&quot;")
        chosen.write_text(re.sub(r'data-options="[^"]*"', f'data-options="{options}"', whole), encoding="utf8")
        with reading(browser, **DESK) as page:
            page.goto(chosen.as_uri())
            page.locator(".live-mounted").wait_for()
            expect(page.locator("[aria-pressed=true]")).to_have_text(f"1.{head}")
            assert page.get_by_label("The text whose heads").input_value() == PROMPT


def test_for_a_reader_who_saves_data_the_model_waits_and_a_missing_one_is_named(browser, book):
    page = browser.new_page(**DESK)  # a missing file is in the console, too
    page.set_default_timeout(PATIENCE)
    page.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    file = book / "_static/live/taleteller.js"
    kept = file.read_bytes()
    try:
        page.goto((book / "chapters/heads.html").as_uri())
        page.locator(".live-mounted").wait_for()
        expect(page.get_by_role("status")).to_contain_text("loads the model")
        assert "taleteller" not in page.evaluate("[...document.scripts].map(one => one.src).join()")
        file.unlink()
        page.get_by_label("The text whose heads").press_sequentially("On")
        expect(page.get_by_role("status")).to_contain_text("taleteller.js, which this needs, could not be")
        file.write_bytes(kept)
        page.get_by_role("button", name="Read it").click()
        expect(page.locator(".live-heads-lanes button")).to_have_count(4)
        assert page.get_by_label("The text whose heads").input_value() == "On"
    finally:
        file.write_bytes(kept)
        page.close()


def test_the_widget_is_for_everybody(browser, book):
    with reading(browser, reduced_motion="reduce", **DESK) as page:
        open_widget(page, book, "heads", urlencode({"prompt": PROMPT, "query": 3}))
        settled(page)
        reached = reached_by_everybody(page, "The text whose heads", 7)
        wanted = "Remove each in turn", "layer", "shaded by the weights", "adds to their surprise"
        assert all(any(name in one for one in reached) for name in wanted)
