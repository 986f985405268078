"""Generating: which token is drawn, and that a cache changes nothing but the time it takes."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyllm.generation import Cache, WithoutOneDNN, generate, make_cache, new_ids, next_token, penalize, prepare, stream
from tinyllm.model import GPT, Config, load, save
from tinyllm.tokens import Tokenizer

TINY = Config(vocab_size=17, block_size=16, n_layer=2, n_head=2, d_model=12)


def random_gpt(config=TINY, dtype=torch.float64):
    """A model with strong and varied opinions."""
    model, generator = GPT(config).to(dtype), torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=dtype) + (p.ndim == 1)
    return model


MODEL = random_gpt()


def random_ids(*shape, seed=0):
    return torch.randint(TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------- the cache


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**16))
def test_a_text_read_in_pieces_has_the_logits_of_the_whole(B, pieces, seed):
    pieces = [min(piece, 16 - sum(pieces[:i])) for i, piece in enumerate(pieces) if sum(pieces[:i]) < 16]
    ids, cache = random_ids(B, sum(pieces), seed=seed), Cache(MODEL, B, slots=16)
    logits = torch.cat([MODEL(part, cache) for part in ids.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(logits, MODEL(ids), rtol=1e-12, atol=1e-12)
    assert cache.length == sum(pieces)


options = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0, 0.5, 1.0, 2.0])},
    optional={
        "top_k": st.integers(1, 20),
        "top_p": st.floats(0.1, 1.0),
        "min_p": st.floats(0.01, 1.0),
        "repetition_penalty": st.floats(0.5, 2.0),
        "slide": st.just(True),
        "stop": st.sets(st.integers(0, 16), max_size=2),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(0, 2**16), options)
def test_the_cache_changes_no_token(lengths, seed, options):
    prompts = [random_ids(n, seed=seed + n) for n in lengths]
    n = 40 if "slide" in options else 8
    cached, uncached = (
        generate(MODEL, prompts, n, cache=cache, generator=seeded(seed), **options) for cache in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(cached, uncached, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.booleans(), st.integers(0, 2**16))
def test_a_prompt_is_continued_in_company_as_it_is_alone(lengths, cache, seed):
    prompts = [random_ids(n, seed=seed + n) for n in lengths]
    together = generate(MODEL, prompts, 30, temperature=0, cache=cache, slide=True)
    alone = [generate(MODEL, p, 30, temperature=0, cache=cache, slide=True) for p in prompts]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_the_cache_is_allocated_once(monkeypatch):
    made = []
    init = Cache.__init__
    monkeypatch.setattr(Cache, "__init__", lambda self, *args: made.append(self) or init(self, *args))
    generate(MODEL, random_ids(3), 60, slide=True)
    assert len(made) == 1
    assert made[0].n_bytes == 2 * TINY.n_layer * 16 * TINY.d_model * 8  # keys and values, float64


def test_a_prepared_model_has_the_same_weights_in_long_rows():
    plain, prepared = random_gpt(), prepare(random_gpt())
    for p, q in zip(plain.parameters(), prepared.parameters()):
        assert torch.equal(p, q) and p.shape == q.shape
        tall = p.ndim == 2 and p.shape[0] > p.shape[1]
        assert q.stride(0 if tall else -1) == 1  # the longer dimension lies side by side
    ids = random_ids(2, 9)
    torch.testing.assert_close(prepared(ids), plain(ids))


def test_a_prepared_model_keeps_the_hooks_it_has_and_refuses_new_ones():
    model, seen = random_gpt(), []
    model.blocks[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    prepare(model)(torch.tensor([[1, 2]]))
    assert seen == [1]
    with pytest.raises(RuntimeError, match="register them before"):
        model.blocks[0].attention.register_forward_hook(print)


def test_a_prepared_model_calls_its_parts_without_looking_for_hooks():
    model = prepare(random_gpt())
    plain = nn.Module.__call__
    assert not [name for name, part in model.named_modules() if type(part).__call__ is plain and name != "blocks"]
    assert isinstance(model, GPT) and isinstance(model.norm, nn.LayerNorm)
    assert torch.equal(generate(model, [3, 1], 9, temperature=0), generate(MODEL, [3, 1], 9, temperature=0))


def test_a_norm_of_any_kind_is_the_same_when_prepared():
    for norm in (nn.LayerNorm(12), nn.LayerNorm(12, 1e-2, bias=False), nn.LayerNorm(12, elementwise_affine=False)):
        model, x = random_gpt(dtype=torch.float32), torch.randn(2, 5, 12, generator=seeded())
        model.norm = norm
        expected = norm(x)
        assert torch.equal(prepare(model).norm(x), expected)


class Watched(nn.Module):
    """Notes whether torch would go to oneDNN, and may fail."""

    def __init__(self, log, fails=False):
        super().__init__()
        self.log, self.fails = log, fails

    def forward(self, x):
        self.log.append(torch.backends.mkldnn.enabled)
        if self.fails and len(self.log) > 1:
            raise InterruptedError
        return x


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_token_of_32_bits_is_no_work_for_onednn_and_its_switch_is_put_back(enabled, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", enabled)
    for fails in (False, True):
        model, log = random_gpt(dtype=dtype), []
        model.blocks[1].mlp = Watched(log, fails)
        with pytest.raises(InterruptedError) if fails else nullcontext():
            generate(model, [3, 1], 4, temperature=0)
        steps = [enabled and dtype == torch.bfloat16] * (1 if fails else 3)
        assert log == [enabled, *steps], "the prompt, and then each token"
        assert torch.backends.mkldnn.enabled == enabled
    texts = new_ids(random_gpt(), [[3, 1]], 4, temperature=0)
    assert all(torch.backends.mkldnn.enabled == enabled for _ in texts), "between two tokens it is as it was"


def test_the_last_of_several_threads_puts_the_switch_back():
    before, contexts = torch.backends.mkldnn.enabled, [WithoutOneDNN() for _ in range(2)]
    for context in contexts:
        context.__enter__()
        assert not torch.backends.mkldnn.enabled
    contexts[0].__exit__()
    assert not torch.backends.mkldnn.enabled
    contexts[1].__exit__()
    assert torch.backends.mkldnn.enabled == before
    model, expected = random_gpt(), generate(MODEL, [3], 15, temperature=0)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: generate(model, [3], 15, temperature=0), range(40)))
    assert all(torch.equal(text, expected) for text in texts)
    assert torch.backends.mkldnn.enabled == before


def test_a_prepared_model_can_be_changed_copied_and_trained_like_any_other(tmp_path):
    ids = random_ids(2, 9)
    model = prepare(random_gpt(dtype=torch.float32))
    twin, before = copy.deepcopy(model), model(ids).detach()
    assert torch.equal(twin(ids), before)
    model(ids).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    after = model(ids).detach()
    assert not torch.allclose(after, before) and torch.equal(twin(ids), before)
    save(model, tmp_path)
    torch.testing.assert_close(load(tmp_path)(ids), after)
    assert model.double()(ids).dtype == torch.float64
    twin.head = torch.nn.Linear(12, 5)
    assert twin(ids).shape == (2, 9, 5)
    twin.head.weight = torch.nn.Parameter(torch.zeros(5, 12))
    assert (twin(ids) == twin.head.bias).all()
    twin.load_state_dict(twin.state_dict() | {"head.bias": torch.ones(5)})
    assert (twin(ids) == 1).all()


def test_greedy_decoding_always_takes_the_likeliest_token():
    text = generate(MODEL, random_ids(4), 12, temperature=0)
    for t in range(4, 16):
        assert text[t] == MODEL(text[:t])[-1].argmax()


def test_sampling_follows_the_models_probabilities():
    prompts = random_ids(3).expand(4000, 3)
    drawn = generate(MODEL, prompts, 1, generator=seeded())[:, -1]
    p = MODEL(prompts[0])[-1].softmax(-1)
    counts = drawn.bincount(minlength=17)
    assert ((counts - 4000 * p).abs() < 5 * (4000 * p * (1 - p)).sqrt() + 1).all()


def test_a_generator_makes_the_text_repeatable():
    a, b, c = (generate(MODEL, random_ids(3), 12, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_tensor_of_prompts_gives_a_tensor_and_a_list_gives_a_list():
    one = generate(MODEL, [3, 1, 4], 5, temperature=0)
    assert one.shape == (8,) and one[:3].tolist() == [3, 1, 4]
    batch = generate(MODEL, torch.tensor([[3, 1, 4], [1, 5, 9]]), 5, temperature=0)
    mixed = generate(MODEL, [[3, 1, 4], torch.tensor([2])], 5, temperature=0)
    assert isinstance(batch, torch.Tensor) and batch.shape == (2, 8)
    assert isinstance(mixed, list) and [len(text) for text in mixed] == [8, 6]
    assert torch.equal(batch[0], one) and torch.equal(mixed[0], one)
    assert generate(MODEL, [3], 0).tolist() == [3]
    assert generate(MODEL, torch.tensor([3, 1, 4]), 5, temperature=0).shape == (8,)
    assert generate(MODEL, torch.tensor([[3, 1, 4]]), 5, temperature=0).shape == (1, 8)


def test_a_text_ends_after_a_stop_id_and_others_go_on():
    free = generate(MODEL, [[3], [5]], 12, temperature=0)
    stop = int(free[0][4])
    at = [text.tolist().index(stop, 1) if stop in text[1:] else 12 for text in free]
    stopped = generate(MODEL, [[3], [5]], 12, temperature=0, stop={stop})
    for whole, part, end in zip(free, stopped, at):
        assert torch.equal(part, whole[: end + 1])
    assert len(stopped[0]) <= 5


def test_in_a_tensor_a_text_that_has_ended_repeats_its_last_id():
    prompts = torch.tensor([[3], [5], [8]])
    free = generate(MODEL, prompts, 12, temperature=0)
    stop = int(free[0, 4])
    stopped = generate(MODEL, prompts, 12, temperature=0, stop=stop)
    alone = generate(MODEL, prompts.tolist(), 12, temperature=0, stop=[stop])
    assert stopped.shape == (3, max(map(len, alone)))
    for row, text in zip(stopped, alone):
        assert torch.equal(row[: len(text)], text) and (row[len(text) :] == stop).all()


@pytest.mark.parametrize("stop", ["5", ["5"], [None], 1.5, [2.0]])
def test_a_stop_that_is_no_id_is_refused(stop):
    with pytest.raises(ValueError, match="stop must be an id or several"):
        generate(MODEL, [3], 2, stop=stop)


def test_a_model_whose_tokens_look_back_is_refused_by_the_cache_and_not_silently_wrong():
    class Pairs(torch.nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) + super().forward(ids.roll(1, -1))

    model = random_gpt()
    model.token = Pairs(17, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match="Pairs may look at earlier ids.*cache=False"):
        generate(model, [3, 1], 5)
    assert generate(model, [3, 1], 5, cache=False).shape == (7,)


def test_no_gradient_goes_through_a_cache():
    model = GPT(TINY)
    cache = Cache(model, 1, slots=8)
    assert not model(random_ids(1, 3), cache).requires_grad and not cache.keys.requires_grad
    assert not model(random_ids(1, 2), cache).requires_grad and model(random_ids(1, 2)).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_cache_has_the_type_of_the_model(dtype):
    model = random_gpt(dtype=dtype)
    assert Cache(model, 1, 4).keys.dtype == dtype
    cached, uncached = (generate(model, [3, 1], 8, temperature=0, cache=cache) for cache in (True, False))
    assert cached.shape == uncached.shape == (10,)
    if dtype == torch.float32:
        assert torch.equal(cached, uncached)


def test_a_text_that_slides_sees_the_last_part_of_itself():
    text = generate(MODEL, random_ids(5), 60, temperature=0, slide=True)
    for t in range(5, 65):
        seen = max(0, math.ceil((t - 16) / 8)) * 8  # it lets go of half a context at a time
        assert t - seen <= 16 and (t <= 16 or t - seen > 8)
        assert text[t] == MODEL(text[seen:t])[-1].argmax()


def test_a_context_of_one_token_slides_too():
    model = random_gpt(Config(vocab_size=5, block_size=1, n_layer=1, n_head=1, d_model=4))
    text = generate(model, [2], 6, temperature=0, slide=True)
    assert all(text[t + 1] == model(text[t : t + 1])[0].argmax() for t in range(6))


@pytest.mark.parametrize(
    ("ids", "n", "message"),
    [
        ([1] * 10, 7, "10 ids and 7 more exceed a context of 16; slide=True"),
        ([], 3, "at least one id"),
        ([[1], []], 3, "at least one id"),
        ([1, 17], 3, "id 17 is not in the vocabulary, 0 to 16"),
        ([1.5], 3, "whole numbers"),
        ([1], -1, "max_new_tokens must be at least 0, not -1"),
    ],
)
@pytest.mark.parametrize("cache", [False, True])
def test_what_cannot_be_continued_is_refused(ids, n, message, cache):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, ids, n, cache=cache)


def test_a_full_cache_is_refused():
    cache = Cache(MODEL, 1, slots=4)
    MODEL(random_ids(1, 3), cache)
    with pytest.raises(ValueError, match="2 ids more than the 3 in the cache exceed its 4 slots"):
        MODEL(random_ids(1, 2), cache)


# ---------------------------------------------------------------------------------------- the next token

logits_of = st.lists(st.floats(-20, 20), min_size=1, max_size=12).map(torch.tensor)


@given(logits_of, st.floats(0.05, 20))
def test_temperature_divides_the_logits(logits, temperature):
    torch.testing.assert_close(next_token(logits, temperature), (logits / temperature).softmax(-1))


def test_temperatures_at_the_ends():
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, -9.0, -3.0]])
    greedy = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.equal(next_token(logits, 0), greedy)
    assert torch.equal(next_token(logits, 1e-42), greedy)
    torch.testing.assert_close(next_token(logits, math.inf), torch.full((2, 3), 1 / 3))


@given(logits_of, st.integers(1, 15))
def test_top_k_keeps_the_k_likeliest(logits, k):
    p = next_token(logits, top_k=k)
    kept = p > 0
    k = min(k, len(logits))
    assert kept.sum() <= k and p.sum() == pytest.approx(1)
    torch.testing.assert_close(p.sort().values[-k:].log(), logits.sort().values[-k:].log_softmax(-1))


def test_of_equally_likely_tokens_the_first_are_kept():
    assert next_token(torch.zeros(1000), top_k=3).nonzero().flatten().tolist() == [0, 1, 2]


@given(logits_of, st.floats(0.01, 1))
def test_top_p_keeps_as_few_as_are_enough(logits, top_p):
    before, p = logits.double().softmax(-1), next_token(logits.double(), top_p=top_p)
    kept = p > 0
    assert before[kept].sum() >= top_p - 1e-9
    assert before[kept].sum() - before[kept].min() < top_p + 1e-12  # sums round
    assert kept.all() or before[kept].min() >= before[~kept].max()
    torch.testing.assert_close(p[kept], before[kept] / before[kept].sum())


@given(logits_of, st.floats(0.01, 1))
def test_min_p_keeps_what_is_likely_beside_the_likeliest(logits, min_p):
    before, p = logits.double().softmax(-1), next_token(logits.double(), min_p=min_p)
    assert torch.equal(p > 0, before >= min_p * before.max())


def test_of_equal_parts_top_p_keeps_as_many_as_are_needed():
    assert (next_token(torch.zeros(20), top_p=0.3) > 0).sum() == 6
    assert (next_token(torch.zeros(10), top_p=0.3) > 0).sum() == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sixteen_bits_are_enough_for_logits_but_not_for_sums_of_probabilities(dtype):
    logits = torch.randn(50_257, generator=seeded()).to(dtype)
    whole = next_token(logits)
    assert whole.dtype == torch.float32 and whole.sum() == pytest.approx(1, abs=1e-5)
    assert torch.equal(next_token(logits, top_p=1.0) > 0, whole > 0), "all of it is all of it"
    for top_p in (1e-8, 1e-3, 0.5, 0.999):
        p = next_token(logits, top_p=top_p)
        assert not p.isnan().any() and p[logits.argmax()] > 0
        assert whole[p > 0].sum() >= top_p - 1e-4


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_model_that_has_broken_down_says_so(temperature, wrong):
    model = random_gpt()
    model.head.weight.data[3] = wrong
    with pytest.raises(ValueError, match="no token can be drawn: the largest logit is"):
        generate(model, [3], 2, temperature=temperature)
    allowed = torch.tensor([0.0, -math.inf, 1.0])
    assert next_token(allowed, temperature)[1] == 0, "what is forbidden is not broken"


def test_several_cuts_keep_what_all_of_them_keep():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    torch.testing.assert_close(next_token(logits, top_k=3, top_p=0.6), torch.tensor([4 / 7, 3 / 7, 0, 0]))
    torch.testing.assert_close(next_token(logits, top_k=1, min_p=0.1), torch.tensor([1.0, 0, 0, 0]))


@given(logits_of, st.lists(st.integers(0, 11), min_size=1, max_size=8), st.floats(1, 5))
def test_a_penalty_makes_less_likely_what_the_text_has(logits, ids, penalty):
    ids = [i % len(logits) for i in ids]
    by_hand = logits.clone()
    for i in set(ids):  # once, however often the text has it
        by_hand[i] = logits[i] / penalty if logits[i] > 0 else logits[i] * penalty
    penalized = penalize(logits, torch.tensor(ids), penalty)
    torch.testing.assert_close(penalized, by_hand)
    before, after = (next_token(z.double())[list(set(ids))].sum() for z in (logits, penalized))
    assert after <= before + 1e-12
    rows = penalize(logits.expand(2, 3, -1), torch.tensor(ids).expand(2, 3, -1), penalty)
    assert torch.equal(rows, penalized.expand(2, 3, -1))


def test_generating_penalizes_the_prompt_and_what_came_after_it():
    prompts = [[3, 1, 4], [5]]
    texts = generate(MODEL, prompts, 12, temperature=0, repetition_penalty=1.5)
    for prompt, text in zip(prompts, texts):
        for t in range(len(prompt), len(text)):
            logits = MODEL(text[:t])[-1]
            for i in set(text[:t].tolist()):
                logits[i] = logits[i] / 1.5 if logits[i] > 0 else logits[i] * 1.5
            assert text[t] == logits.argmax()
    assert not torch.equal(texts[0], generate(MODEL, prompts[0], 12, temperature=0))


@pytest.mark.parametrize("penalty", [0, -1.5, math.nan, math.inf])
def test_a_penalty_that_is_none_is_refused(penalty):
    with pytest.raises(ValueError, match=f"a penalty must be a number above 0, not {penalty}"):
        generate(MODEL, [3], 2, repetition_penalty=penalty)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(temperature=-1), "temperature must be at least 0, not -1"),
        (dict(temperature=math.nan), "temperature .* not nan"),
        (dict(top_k=0), "top_k must be at least 1, not 0"),
        (dict(top_p=0.0), "top_p must be above 0 and at most 1, not 0.0"),
        (dict(min_p=1.5), "min_p must be above 0 and at most 1, not 1.5"),
    ],
)
def test_a_setting_that_leaves_no_token_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        next_token(torch.zeros(3), **setting)


# ---------------------------------------------------------------------------------------- streaming

BYTES = Tokenizer({i: bytes([i]) for i in range(256)}, [])


def recite(text, monkeypatch):
    """Stand in for a model that knows one text by heart, and writes a byte at a time."""
    ids = list(text.encode())
    monkeypatch.setattr("tinyllm.generation.new_ids", lambda *_, **__: ([i] for i in ids))


@given(st.text(max_size=20))
def test_a_stream_never_splits_a_character(text):
    with pytest.MonkeyPatch.context() as monkeypatch:
        recite(text, monkeypatch)
        parts = list(stream(None, BYTES, "x", 100))
    assert "".join(parts) == text
    assert all(len(part) <= 1 for part in parts)


def test_a_character_that_is_not_finished_is_marked(monkeypatch):
    monkeypatch.setattr("tinyllm.generation.new_ids", lambda *_, **__: ([i] for i in b"a\xc3"))
    assert list(stream(None, BYTES, "x", 2)) == ["a", "\ufffd"]


@given(st.text("abé", max_size=20), st.lists(st.text("abé", min_size=1, max_size=4), max_size=3))
def test_a_stream_ends_before_the_first_stop_text(text, stop):
    with pytest.MonkeyPatch.context() as monkeypatch:
        recite(text, monkeypatch)
        written = "".join(stream(None, BYTES, "x", 100, stop=stop))
    # It ends at the stop text that is whole first; of two, at the one that began first.
    ends = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]
    assert written == text[: min(ends)[1] if ends else None]


@pytest.mark.parametrize("stop", ["", [""], ["a", ""], [5], 5])
def test_a_stop_that_is_no_text_is_refused(stop):
    with pytest.raises(ValueError, match="stop must be a text or several"):
        next(stream(None, BYTES, "x", 5, stop=stop))


def test_one_stop_text_needs_no_list(monkeypatch):
    recite("a baab", monkeypatch)
    assert "".join(stream(None, BYTES, "x", 100, stop="ab")) == "a ba"


def test_a_stream_takes_ids_as_well(monkeypatch):
    config = Config(vocab_size=256, block_size=32, n_layer=1, n_head=1, d_model=8)
    model = random_gpt(config)
    texts = ["".join(stream(model, BYTES, prompt, 9, temperature=0)) for prompt in ("what", list(b"what"))]
    assert texts[0] == texts[1]


def test_a_stream_is_the_text_that_generate_writes():
    config = Config(vocab_size=256, block_size=32, n_layer=1, n_head=1, d_model=8)
    model, prompt = random_gpt(config), "what is"
    options = dict(temperature=0.7, repetition_penalty=1.2, slide=True)
    ids = generate(model, BYTES.encode(prompt), 40, generator=seeded(), **options)
    parts = stream(model, BYTES, prompt, 40, generator=seeded(), **options)
    assert prompt + "".join(parts) == BYTES.decode(ids.tolist())


@pytest.mark.parametrize("n_layer", [1, 3])
@pytest.mark.parametrize("mixer", ["softmax", "elu"])
def test_a_cache_of_a_model_with_other_layers_is_refused(n_layer, mixer):
    model, other = (random_gpt(replace(TINY, n_layer=n, mixer=mixer)) for n in (2, n_layer))
    with pytest.raises(ValueError, match="argument 2 is (shorter|longer)"):
        model(random_ids(1, 4), make_cache(other, 1, 16))


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_a_cache_does_not_reach_beyond_the_positions(positions):
    model = random_gpt(replace(TINY, positions=positions))
    cache = make_cache(model, 1, 30)
    model(random_ids(1, 16), cache)
    with pytest.raises(ValueError, match="17 ids are too many for a context of 16"):
        model(random_ids(1, 1), cache)


@pytest.mark.parametrize("form", [np.array, lambda prompts: [np.array(prompt) for prompt in prompts]])
def test_prompts_may_be_arrays(form):
    prompts = [[3, 1, 4], [1, 5, 9]]
    assert texts(generate(MODEL, form(prompts), 5, temperature=0)) == texts(generate(MODEL, prompts, 5, temperature=0))


def texts(found):
    return [text.tolist() for text in found]


@pytest.mark.parametrize("prompt", ["abc", b"abc", ["abc"], [1.0], [True], [[[1, 2]]], [1, [2]], [10**30], [None]])
def test_a_prompt_that_is_no_ids_is_named(prompt):
    with pytest.raises(ValueError, match="a prompt is ids, "):
        generate(MODEL, prompt, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(temperature=1e-46), "temperature must be 0, or at least 1e-45, not 1e-46"),
        (dict(top_k=2.5), "top_k must be a whole number, not 2.5"),
        (dict(stop=17), "no text ends with the id 17: the vocabulary is 0 to 16"),
        (dict(stop={3, -1}), "no text ends with the id -1"),
    ],
)
def test_a_setting_that_32_bits_or_the_vocabulary_cannot_hold_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, [3], 2, **setting)


def test_a_number_of_tokens_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match="max_new_tokens must be a whole number, not 2.0"):
        generate(MODEL, [3], 2.0)


def test_a_prompt_of_bytes_is_a_text():
    model = random_gpt(replace(TINY, vocab_size=257))
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
    told = ["".join(stream(model, tokenizer, prompt, 9, temperature=0)) for prompt in ("abab", b"abab")]
    assert told[0] == told[1]
