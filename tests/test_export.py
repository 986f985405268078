"""The model of the live pages: it runs in a browser, and computes there what torch computes here."""

import gzip
import json
import os
import random
import re
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from browser import ROOT, quantized, reading
from course.data import tales
from course.data.tales import tell
from course.export import DIGITS, LARGEST, MODEL, give_model, pack, quantize, script
from course.taleteller import story_score
from tinyllm.generation import next_token, visible_from
from tinyllm.model import GPT, Config, load, load_tokenizer, save
from tinyllm.smoothing import nadaraya_watson
from tinyllm.tokens import Tokenizer

LIVE = ROOT / "pages/live"


def random_model(seed: int, tie_weights: bool) -> GPT:
    """A model as it comes from no training: nothing in it is zero, and its heads have opinions."""
    torch.manual_seed(seed)
    model = GPT(Config(300, 16, n_layer=2, n_head=2, d_model=16, tie_weights=tie_weights))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * 0.3 + (p.ndim == 1))
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, GPT]:
    return {"untied": random_model(0, tie_weights=False), "tied": random_model(1, tie_weights=True)}


@pytest.fixture(scope="module")
def page(browser, tokenizer, models, tmp_path_factory):
    """A page that has the engine and both models, as `models`, and `run(name, ids)` to have one read."""
    folder = tmp_path_factory.mktemp("engine")
    for name, model in models.items():
        save(model, folder / name)
        tokenizer.save(folder / name / "tokenizer.json")
        (folder / f"{name}.js").write_text(script(folder / name, name), encoding="utf8")
    sources = [*(LIVE / name for name in ("live.js", "gpt.js")), *(folder / f"{name}.js" for name in models)]
    tags = "".join(f'<script src="{source.as_uri()}"></script>' for source in sources)
    (folder / "engine.html").write_text(f"<!doctype html><meta charset=utf8>{tags}", encoding="utf8")
    with reading(browser) as page:
        page.goto((folder / "engine.html").as_uri())
        page.evaluate(
            """async () => {
              globalThis.models = {};
              for (const name of ["untied", "tied"]) models[name] = GPT.load(await Live.need(name));
            }"""
        )
        yield page


def some_ids(n: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(300), k=n)


# ---------------------------------------------------------------------------------------- weights


def test_a_weight_is_off_by_at_most_half_a_step_of_its_row():
    weight = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    weight[7] = 0
    steps, scales = quantize(weight)
    assert np.all(np.abs(steps * scales[:, None] - weight) <= 0.5001 * scales[:, None])
    assert np.abs(steps).max() == LARGEST and not steps[7].any()


def test_every_digit_is_a_character_of_its_own_that_json_leaves_alone():
    assert len(set(DIGITS)) == 2 * LARGEST + 1
    assert json.dumps(DIGITS) == f'"{DIGITS}"'
    row = np.arange(-LARGEST, LARGEST + 1, dtype=np.float32)[None]
    assert pack(row)["digits"] == DIGITS


def test_a_model_that_the_page_could_not_run_is_refused(tokenizer, models, tmp_path):
    save(models["tied"], tmp_path)
    special = {**tokenizer.vocab, len(tokenizer.vocab): b"<end>"}
    Tokenizer(special, tokenizer.merges, ["<end>"]).save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="one for each merge"):
        script(tmp_path, "special")
    save(GPT(Config(300, 16, n_layer=1, n_head=1, d_model=6)), tmp_path)
    with pytest.raises(ValueError, match="d_model cannot be 6"):
        script(tmp_path, "narrow")


@pytest.mark.parametrize("parts", [dict(norm="rms"), dict(positions="rope"), dict(n_kv_head=1), dict(bias=True)])
def test_a_model_of_parts_that_the_page_does_not_run_is_refused(parts, tokenizer, tmp_path):
    save(GPT(Config(300, 16, n_layer=1, n_head=2, d_model=16, **parts)), tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=f"parts of chapter 07 only, and this model has another {[*parts][0]}"):
        script(tmp_path, "other")


# ---------------------------------------------------------------------------------------- tokens


def test_the_page_finds_the_same_tokens(page: Page, tokenizer):
    odd = [
        "", " ", "\n\nOnce", "a  b \n\n c\t", "don't we'll 'twas I'D", "naïve Ωmega 東京 🐉🏳️‍🌈", "3½ x² 2024",
        "\ufeffx\x85y\x1cz", "a" * 99, "»so« – “said” …", "e\u0301 \u3000 \u200b",
    ]
    alphabet = "aeinost .,\"'\n\t!?T1é—🐉\u00a0"
    chance = random.Random(0)
    odd += ["".join(chance.choices(alphabet, k=chance.randrange(60))) for _ in range(200)]
    odd.append(tales(3000, seed=9))
    found = page.evaluate("texts => texts.map(text => models.tied.encode(text))", odd)
    assert found == [tokenizer.encode(text) for text in odd]
    back = page.evaluate("texts => texts.map(text => models.tied.decode(models.tied.encode(text)))", odd)
    assert back == odd


# ---------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("name", ["untied", "tied"])
def test_logits_and_attention_in_the_page_equal_torch(page: Page, models, name):
    ids = some_ids(16)
    read = """async ([name, ids]) => {
      const model = models[name], memory = model.remember();
      await model.read(memory, ids);
      const logits = ids.map((_, t) => [...model.logits(memory, t)]);
      return [logits, memory.weights.map((heads) => heads.map((weights) => [...weights]))];
    }"""
    logits, attention = page.evaluate(read, [name, ids])
    with torch.no_grad():
        expected, weights = quantized(models[name])(torch.tensor(ids), return_attention=True)
    assert expected.std() > 1
    torch.testing.assert_close(torch.tensor(logits), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(attention).view_as(weights), weights, rtol=0, atol=1e-6)


def test_gelu_is_exact(page: Page):
    # A model does not show its GELU, so the function is taken out of the source.
    source = (LIVE / "gpt.js").read_text(encoding="utf8")
    body = re.search(r"const ratios.*?const gelu[^\n]*\n", source, re.S)[0]
    x = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    found = page.evaluate(f"xs => {{ {body} return xs.map(gelu); }}", x.tolist())
    expected = torch.nn.functional.gelu(x)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=0, atol=1e-8)


def test_what_the_memory_holds_is_not_computed_again(page: Page):
    a, b = some_ids(12, seed=1), some_ids(12, seed=2)
    texts = [a[:5], a[:6], a[:6] + b[:3], a[:4] + b[:9], a[:4] + b[:8], a[:12], a[:1]]
    new = [5, 1, 3, 9, 0, 8, 0]
    read = """async (texts) => {
      const model = models.untied, memory = model.remember(), seen = [];
      for (const ids of texts) {
        const before = memory.work, fresh = model.remember();
        await model.read(memory, ids);
        await model.read(fresh, ids);
        const [logits, anew] = [memory, fresh].map((one) => [...model.logits(one)]);
        seen.push([memory.work - before, Math.max(...logits.map((z, i) => Math.abs(z - anew[i])))]);
      }
      return seen;
    }"""
    assert page.evaluate(read, texts) == [[n, 0] for n in new]


def test_a_keystroke_costs_about_one_token(page: Page, tokenizer):
    """A letter changes the last token, or the last two where it moves the border between them."""
    text = tales(2000, seed=3)[:40]
    read = """async (text) => {
      const model = models.tied, memory = model.remember(), costs = [];
      for (let n = 1; n <= text.length; n++) {
        const ids = model.encode(text.slice(0, n)).slice(0, 16), before = memory.work;
        await model.read(memory, ids);
        costs.push(memory.work - before);
      }
      return costs;
    }"""
    costs = page.evaluate(read, text)
    lengths = [len(tokenizer.encode(text[:n])) for n in range(1, len(text) + 1)]
    costs = costs[: sum(n <= 16 for n in lengths)]
    assert len(costs) > 20 and sum(costs) <= 1.2 * len(costs)


def test_a_page_goes_on_while_a_long_text_is_read_and_a_newer_text_overtakes_it(page: Page):
    read = """async (ids) => {
      const model = models.untied, memory = model.remember();
      const slow = performance.now.bind(performance);
      let clock = 0, ticks = 0;
      performance.now = () => clock += 6;  // a machine on which a token takes 6 ms
      const timer = setInterval(() => ticks++, 0);
      const whole = await model.read(memory, ids);
      clearInterval(timer);
      const overtaken = model.read(memory, ids.map((id) => id ^ 1));
      const newer = model.read(memory, ids.slice(0, 3));
      performance.now = slow;
      return [whole, ticks, await newer, await overtaken, memory.ids];
    }"""
    ids = some_ids(16)
    whole, ticks, newer, overtaken, left = page.evaluate(read, ids)
    assert whole and newer and not overtaken
    assert ticks >= 4
    assert left == ids[:3]


# ---------------------------------------------------------------------------------------- two views


def test_both_views_of_a_query_give_its_weights(page: Page, models):
    ids, t = some_ids(14, seed=4), 12
    read = """async ([ids, t]) => {
      const model = models.untied, memory = model.remember();
      await model.read(memory, ids);
      const lists = Object.entries(model.views(memory, 1, 1, t)).map(([key, list]) => [key, [...list]]);
      const head = (all) => ids.map((_, j) => [...all[1].subarray(j * 16 + 8, j * 16 + 16)]);
      return [Object.fromEntries(lists), head(memory.q), head(memory.k)];
    }"""
    views, q, k = page.evaluate(read, [ids, t])
    views = {name: torch.tensor(numbers, dtype=torch.float64) for name, numbers in views.items()}
    q, k = torch.tensor(q, dtype=torch.float64)[t : t + 1], torch.tensor(k, dtype=torch.float64)[: t + 1]
    close = dict(rtol=0, atol=1e-6)
    scores = (q @ k.T / 8**0.5)[0]
    torch.testing.assert_close(views["scores"], scores, **close)
    torch.testing.assert_close(views["weights"], scores.softmax(-1), **close)
    torch.testing.assert_close(views["distances"], (q - k).norm(dim=-1), **close)
    smoother = dict(bandwidth=8**0.25, return_weights=True)
    torch.testing.assert_close(views["gaussians"], nadaraya_watson(q, k, k, **smoother)[1][0], **close)
    counts = (k.square().sum(-1) / 2 / 8**0.5).exp()
    _, counted = nadaraya_watson(q, k, k, key_weights=counts, **smoother)
    torch.testing.assert_close(views["products"], counted[0], **close)
    torch.testing.assert_close(views["products"], views["weights"], **close)
    torch.testing.assert_close(views["counts"] / views["counts"][0], counts / counts[0])
    assert counts.max() > 3 * counts.min()


# ---------------------------------------------------------------------------------------- generation


def test_probabilities_in_the_page_are_those_of_the_library(page: Page):
    logits = torch.randn(300, generator=torch.Generator().manual_seed(5)) * 3
    logits[7] = logits[9] = logits.max() + 1  # two likeliest: the first counts
    for temperature in (0, 0.1, 0.8, 2):
        for top_k in (1, 5, 300, 1000):
            found = page.evaluate(
                "([logits, ...settings]) => [...GPT.probabilities(Float32Array.from(logits), ...settings)]",
                [logits.tolist(), temperature, top_k],
            )
            expected = next_token(logits, temperature, top_k).float()
            torch.testing.assert_close(torch.tensor(found, dtype=torch.float32), expected, rtol=0, atol=1e-6)


def test_a_drawn_id_has_the_probability_that_it_should(page: Page):
    p = [0, 0.5, 0, 0.25, 0.25, 0]
    drawn = page.evaluate("p => Array.from({ length: 8 }, (_, i) => GPT.draw(p, i / 8))", p)
    assert drawn == [1, 1, 1, 1, 3, 3, 4, 4]
    assert page.evaluate("p => GPT.draw(p.map(one => one * 0.999999), 0.9999999)", p) in (1, 3, 4)


def test_the_page_lets_go_of_the_same_part_of_a_long_text(page: Page):
    lengths = list(range(40)) + [255, 256, 257, 384, 385, 5000]
    for block in (1, 2, 5, 16, 256):
        found = page.evaluate("([n, block]) => n.map((n) => GPT.visibleFrom(n, block))", [lengths, block])
        assert found == [visible_from(n, block) for n in lengths]


# ---------------------------------------------------------------------------------------- the book's own


def test_a_book_gets_its_model_once_and_again_when_it_changes(tmp_path, tokenizer, models):
    app = SimpleNamespace(
        srcdir=tmp_path / "book", outdir=tmp_path / "html", builder=SimpleNamespace(format="html")
    )
    page = tmp_path / "html/_static/live/taleteller.js"
    page.parent.mkdir(parents=True)
    give_model(app, None)  # a book without a model
    folder = tmp_path / "book" / MODEL
    save(models["tied"], folder)
    tokenizer.save(folder / "tokenizer.json")
    give_model(app, RuntimeError("a build that failed"))
    assert not page.exists()
    give_model(app, None)
    assert page.read_text(encoding="utf8") == script(folder, "taleteller")
    page.write_text("as it was")
    give_model(app, None)
    assert page.read_text() == "as it was"
    os.utime(folder / "model.json", (2**31, 2**31))
    give_model(app, None)
    assert page.read_text(encoding="utf8") == script(folder, "taleteller")


def test_the_engine_is_small():
    engine = b"".join((LIVE / name).read_bytes() for name in ("live.js", "gpt.js"))
    assert len(gzip.compress(engine)) <= 15_000


@pytest.fixture(scope="module")
def committed() -> Path:
    if not (ROOT / MODEL / "model.safetensors").exists():
        pytest.skip("the book's model is not trained yet: `make model`")
    return ROOT / MODEL


def test_the_weights_of_the_book_s_model_are_as_small_as_the_widget_says(committed):
    size = len(gzip.compress(script(committed, "taleteller").encode())) / 1e6
    assert size <= 1.5
    assert f"loads the model: {size:.1f} MB" in (LIVE / "speak.js").read_text(encoding="utf8")


def test_the_book_s_model_loses_next_to_nothing_in_the_page(committed):
    model, tokenizer = load(committed), load_tokenizer(committed)
    told = list(islice(tell(seed=5), 30))
    loss = story_score(model, tokenizer, told).loss
    assert abs(story_score(quantized(model), tokenizer, told).loss - loss) <= 0.002
