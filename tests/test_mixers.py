"""Blocks with other mixers: what they compute, remember, hide and cost, each by its name alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tinyllm.attention import MultiHeadAttention, attention, causal_mask
from tinyllm.features import elu_plus_one, positive_features, power_features, taylor_features
from tinyllm.generation import Cache, States, generate, make_cache, prepare
from tinyllm.layers import FIXED_STATE, SOFTMAX, make_attention
from tinyllm.linear_attention import linear_attention, linear_recurrent, retention_gates
from tinyllm.delta import delta_recurrent
from tinyllm.mixers import MIXERS, short_convolution
from tinyllm.model import GPT, Config, flops_per_token, from_dict, load, n_parameters, save
from tinyllm.windows import alibi_bias, alibi_slopes, biased_attention, softmax_one, window_mask

PLAIN = Config(17, 80, n_layer=2, n_head=2, d_model=12)
ALL = replace(PLAIN, window=5, sinks=2, n_features=7)
CLOSE = dict(rtol=1e-10, atol=1e-10)
every_mixer = pytest.mark.parametrize("mixer", MIXERS)
VARIANTS = {
    "plain": {},
    "smeared": {"conv": 2},
    "rope, shared keys": {"positions": "rope", "qk_norm": True, "n_kv_head": 1, "conv": 3, "bias": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lively(model):
    """A model, or a layer, with strong and varied opinions."""
    generator = torch.Generator().manual_seed(0)
    for p in model.double().parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=torch.float64) + (p.ndim == 1)
    return model


def random_ids(*shape, seed=0):
    return torch.randint(17, shape, generator=torch.Generator().manual_seed(seed))


def heads_of(layer, x):
    return [z.transpose(-3, -2).flatten(-2) for z in MultiHeadAttention.heads(layer, x)]


# ---------------------------------------------------------------------------------------- what each computes


def root_mean_square(layer, heads):
    return heads / (heads.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.head_norm.weight


def by_definition(layer, x, q, k, v):
    """The heads' answers in the parallel form, or one token after the other."""
    T, d, mixer, causal = x.shape[-2], 6, layer.config.mixer, causal_mask(x.shape[-2])
    linear = {
        "elu": elu_plus_one,
        "relu2": lambda x: x.clamp(min=0) ** 2,
        "power2": lambda x: power_features(x, 2),
        "power4": lambda x: power_features(x, 4),
        "taylor": lambda x: taylor_features(x / d**0.25),
    }
    if mixer in linear:
        return linear_attention(linear[mixer](q), linear[mixer](k), v, causal)
    if mixer == "softmax":
        return attention(q, k, v, causal)
    if mixer == "window":
        return attention(q, k, v, window_mask(T, 5, 2))
    if mixer == "softmax_one":
        return softmax_one((q @ k.mT / d**0.5).masked_fill(~causal, -torch.inf)) @ v
    gates = torch.zeros(2, 1, dtype=torch.float64)
    if mixer == "retention":
        gates = retention_gates(2).double()[:, None]
    if mixer.startswith("gated"):
        gates = (x @ layer.gate.token.weight.T + layer.gate.always).sigmoid().log().mT
    if mixer in ("identity", "retention", "gated"):
        return root_mean_square(layer, linear_recurrent(q, k, v, gates, normalize=False)[0])
    q, k = (z / z.norm(dim=-1, keepdim=True) for z in (q, k))
    beta = (x @ layer.strength.weight.T).sigmoid().mT
    return root_mean_square(layer, delta_recurrent(q, k, v, beta, gates)[0])


@pytest.mark.parametrize("mixer", [name for name in MIXERS if name != "favor"])
def test_a_mixer_is_its_definition(mixer):
    layer = lively(MIXERS[mixer](replace(ALL, mixer=mixer)))
    x = randn(3, 70, 12)
    q, k, v = MultiHeadAttention.heads(layer, x)
    expected = by_definition(layer, x, q, k, v)
    torch.testing.assert_close(layer(x), layer.out(expected.transpose(-3, -2).flatten(-2)), **CLOSE)


def test_with_many_random_features_favor_is_nearly_softmax():
    x = 0.3 * randn(3, 20, 12)
    torch.manual_seed(0)
    softmax = make_attention(replace(PLAIN, mixer="softmax")).double()
    errors = []
    for m in (8, 8000):
        favor = make_attention(replace(PLAIN, mixer="favor", n_features=m)).double()
        favor.load_state_dict(softmax.state_dict())
        errors.append(((favor(x) - softmax(x)).norm() / softmax(x).norm()).item())
    assert errors[1] < 0.02 < errors[0]


def test_alibi_is_added_to_the_scores_of_every_softmax_mixer():
    x = randn(2, 9, 12)
    for mixer in SOFTMAX:
        layer = lively(make_attention(replace(ALL, mixer=mixer, positions="alibi")))
        q, k, v = MultiHeadAttention.heads(layer, x)
        bias = alibi_bias(alibi_slopes(2).double(), 9)
        if mixer == "window":
            bias = bias.masked_fill(~window_mask(9, 5, 2), -torch.inf)
        expected = biased_attention(q, k, v, bias)
        if mixer == "softmax_one":
            expected = softmax_one(q @ k.mT / 6**0.5 + bias) @ v
        torch.testing.assert_close(layer(x), layer.out(expected.transpose(-3, -2).flatten(-2)), **CLOSE)


def test_a_short_convolution_is_torchs():
    x, taps = randn(3, 9, 4), randn(3, 4, seed=1)
    theirs = F.conv1d(F.pad(x.mT, (2, 0)), taps.flip(0).T[:, None], groups=4).mT
    torch.testing.assert_close(short_convolution(x, taps)[0], theirs, **CLOSE)
    first, tail = short_convolution(x[:, :1], taps)
    second, _ = short_convolution(x[:, 1:], taps, tail)
    torch.testing.assert_close(torch.cat([first, second], 1), theirs, **CLOSE)


def test_two_taps_of_a_half_are_smeared_keys():
    layer = lively(make_attention(replace(PLAIN, conv=2)))
    layer.taps.data.fill_(0.5)
    x = randn(9, 12)
    q, k, v = MultiHeadAttention.heads(layer, x)
    k = (k + F.pad(k, (0, 0, 1, 0))[:, :-1]) / 2
    expected = attention(q, k, v, causal_mask(9))
    torch.testing.assert_close(layer(x), layer.out(expected.transpose(-3, -2).flatten(-2)), **CLOSE)
    fresh = make_attention(replace(PLAIN, conv=4))
    assert (fresh.taps == 0.25).all() and fresh.taps.shape == (2, 4, 6)


# ---------------------------------------------------------------------------------------- what each remembers


@pytest.mark.parametrize("n_kv_head", [1, 2])
def test_a_window_alone_is_what_it_is_with_a_mask(n_kv_head):
    layer = lively(make_attention(replace(ALL, mixer="window", sinks=0, n_kv_head=n_kv_head)))
    x = randn(2, 33, 12)
    torch.testing.assert_close(layer(x), layer(x, weights=[]), **CLOSE)
    for positions in ("rope", "alibi"):
        model = lively(GPT(replace(ALL, mixer="window", sinks=0, positions=positions)))
        ids, cache = random_ids(2, 60), make_cache(model, 2, 60)
        logits = torch.cat([model(part, cache) for part in ids.split([2, 38, 1, 19], 1)], 1)
        torch.testing.assert_close(logits, model(ids, return_attention=True)[0], **CLOSE)
        torch.testing.assert_close(logits, model(ids), **CLOSE)


@every_variant
@every_mixer
def test_a_text_read_in_pieces_has_the_logits_of_the_whole(mixer, variant):
    model = lively(GPT(replace(ALL, mixer=mixer, **VARIANTS[variant])))
    ids = random_ids(2, 78)
    whole = model(ids)
    for pieces in ([78], [70, 1, 1, 6], [1, 2, 64, 11], [33, 45], [1] * 5 + [73]):
        cache = make_cache(model, 2, 80)
        logits = torch.cat([model(part, cache) for part in ids.split(pieces, 1)], 1)
        torch.testing.assert_close(logits, whole, **CLOSE)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.sampled_from(sorted(MIXERS)), st.sampled_from(sorted(MIXERS))),
    st.sampled_from(sorted(VARIANTS)),
    st.lists(st.integers(1, 20), min_size=1, max_size=6),
    st.integers(0, 999),
)
def test_any_hybrid_goes_on_from_any_place(mixers, variant, pieces, seed):
    pieces = [min(n, 80 - sum(pieces[:i])) for i, n in enumerate(pieces) if sum(pieces[:i]) < 80]
    model = lively(GPT(replace(ALL, mixer=mixers, **VARIANTS[variant])))
    ids, cache = random_ids(2, sum(pieces), seed=seed), make_cache(model, 2, 80)
    logits = torch.cat([model(part, cache) for part in ids.split(pieces, 1)], 1)
    torch.testing.assert_close(logits, model(ids), **CLOSE)


@every_mixer
def test_alibi_goes_on_from_any_place(mixer):
    if mixer not in SOFTMAX:
        return
    model = lively(GPT(replace(ALL, mixer=(mixer, "softmax"), positions="alibi")))
    ids, cache = random_ids(2, 40), make_cache(model, 2, 40)
    logits = torch.cat([model(part, cache) for part in ids.split([9, 1, 30], 1)], 1)
    torch.testing.assert_close(logits, model(ids), **CLOSE)


@every_variant
@every_mixer
def test_prompts_of_unequal_length_are_continued_as_each_is_alone(mixer, variant):
    model = lively(GPT(replace(ALL, mixer=mixer, block_size=24, **VARIANTS[variant])))
    prompts = [random_ids(n, seed=n) for n in (3, 11, 7)]
    options = dict(max_new_tokens=20, temperature=0, slide=True)  # the longest outgrows the context
    together = generate(model, prompts, **options)
    uncached = generate(model, prompts, cache=False, **options)
    for b in range(3):
        assert torch.equal(together[b], uncached[b])
    assert torch.equal(together[0], generate(model, prompts[0], **options))


@every_variant
@every_mixer
def test_padding_on_the_left_changes_no_logit(mixer, variant):
    model = lively(GPT(replace(ALL, mixer=mixer, **VARIANTS[variant])))
    ids, cache = random_ids(2, 30), make_cache(model, 2, 40)
    cache.padding = torch.tensor([12, 0])
    logits = torch.cat([model(part, cache) for part in ids.split([20, 1, 9], 1)], 1)
    torch.testing.assert_close(logits[0, 12:], model(ids[0, 12:]), **CLOSE)
    torch.testing.assert_close(logits[1], model(ids[1]), **CLOSE)


@every_mixer
def test_no_logit_changes_when_a_later_token_changes(mixer):
    model = lively(GPT(replace(ALL, mixer=mixer, conv=2)))
    ids = random_ids(80)
    before = model(ids)
    for changed in (1, 37, 64, 65, 79):
        later = ids.clone()
        later[changed:] = (later[changed:] + 1) % 17
        after = model(later)
        torch.testing.assert_close(after[:changed], before[:changed], **CLOSE)
        assert not torch.allclose(after[changed], before[changed])


@pytest.mark.parametrize("mixer", FIXED_STATE)
def test_a_state_takes_as_much_memory_after_many_tokens_as_after_one(mixer):
    model = lively(GPT(replace(ALL, mixer=mixer, conv=2)))
    cache, sizes = make_cache(model, 1, 80), set()
    for part in random_ids(1, 80).split([1, 1, 60, 18], 1):
        model(part, cache)
        sizes.add(cache.n_bytes)
    assert len(sizes) == 1 and cache.keys.nbytes == 0
    d_f = {"power2": 21, "power4": 126, "taylor": 28, "favor": 7}.get(mixer, 6)
    mean = mixer in ("elu", "relu2", "power2", "power4", "taylor", "favor")
    assert sizes == {2 * 2 * (d_f * (6 + mean) + 6) * 8}  # layers, heads, state and the last key, float64


def test_a_hybrid_keeps_keys_only_where_it_looks_them_up():
    model = GPT(replace(PLAIN, n_layer=3, mixer=("delta", "softmax", "delta")))
    assert [type(block.attention).__name__ for block in model.blocks] == [
        "DeltaMixer", "MultiHeadAttention", "DeltaMixer"
    ]  # fmt: skip
    cache = make_cache(model, 5, 80)
    assert cache.keys.shape == (1, 5, 2, 80, 6)


def test_a_cache_begins_anew_with_a_new_text():
    model = lively(GPT(replace(ALL, mixer=("gated_delta", "window"), conv=2)))
    cache = make_cache(model, 1, 80)
    model(random_ids(1, 9), cache)
    cache.length = 0  # as `generate` does when a text outgrows the context
    ids = random_ids(1, 20, seed=1)
    torch.testing.assert_close(model(ids, cache), model(ids), **CLOSE)


# ---------------------------------------------------------------------------------------- weights that it shows


@every_mixer
def test_the_weights_that_a_model_returns_are_those_of_its_answers(mixer):
    layer = lively(MIXERS[mixer](replace(ALL, mixer=mixer)))
    x, weights = randn(2, 20, 12), []
    output = layer(x, weights=weights)
    torch.testing.assert_close(output, layer(x), **CLOSE)
    S = weights[0]
    assert S.shape == (2, 2, 20, 20) and (S.triu(1) == 0).all()
    heads = S @ MultiHeadAttention.heads(layer, x)[2]
    heads = layer.head_norm(heads) if mixer in FIXED_STATE else heads
    torch.testing.assert_close(layer.out(heads.transpose(-3, -2).flatten(-2)), output, **CLOSE)
    model = lively(GPT(replace(ALL, mixer=(mixer, "softmax"))))
    assert model(random_ids(3, 20), return_attention=True)[1].shape == (2, 3, 2, 20, 20)


def test_a_window_gives_weight_to_the_last_tokens_and_the_first_that_are_there():
    model = lively(GPT(replace(ALL, mixer="window")))
    cache = make_cache(model, 2, 40)
    cache.padding = torch.tensor([3, 0])
    _, weights = model(random_ids(2, 20), cache, return_attention=True)
    for b, padding in ((0, 3), (1, 0)):
        expected = F.pad(window_mask(20 - padding, 5, 2), (padding, 0, padding, 0))
        assert ((weights[:, b] > 0) == expected).all()


# ---------------------------------------------------------------------------------------- by configuration


def test_by_default_nothing_has_changed():
    model = GPT(PLAIN)
    assert type(model.blocks[0].attention) is MultiHeadAttention
    assert type(make_cache(model, 1, 4)) is Cache and PLAIN.chosen() == {
        "vocab_size": 17, "block_size": 80, "n_layer": 2, "n_head": 2, "d_model": 12, "tie_weights": False,
    }  # fmt: skip
    assert PLAIN.layers() == [PLAIN, PLAIN] and PLAIN.mixer_weights() == 0 and PLAIN.keys_seen() == [80, 80]


def test_every_mixer_has_a_name_in_one_of_two_families():
    assert set(MIXERS) == set(SOFTMAX + FIXED_STATE)


@every_variant
@every_mixer
def test_the_weights_are_counted_and_saved(mixer, variant, tmp_path):
    model = GPT(replace(ALL, mixer=("softmax", mixer), **VARIANTS[variant]))
    assert n_parameters(model.config) == sum(p.numel() for p in model.parameters())
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.config == model.config and torch.equal(again(random_ids(20)), model(random_ids(20)))


@every_mixer
def test_a_new_model_has_no_opinion_and_can_be_trained(mixer):
    torch.manual_seed(0)
    model = GPT(replace(ALL, mixer=mixer, conv=2))
    ids = random_ids(4, 30)
    assert (model(ids) == 0).all()
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(30):
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in model.parameters())


@every_mixer
def test_a_model_in_16_bits_stays_near_the_one_in_32(mixer):
    torch.manual_seed(0)
    model = GPT(replace(ALL, mixer=mixer))
    for block in model.blocks:
        nn.init.normal_(block.attention.out.weight, std=0.3)
    nn.init.normal_(model.head.weight, std=0.3)
    ids = random_ids(2, 70)
    exact = model(ids)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(ids) - exact).abs().max() < 0.1 * exact.abs().max()
    half = model.bfloat16()
    cache = make_cache(half, 2, 80)
    logits = torch.cat([half(part, cache) for part in ids.split([60, 1, 9], 1)], 1)
    assert logits.dtype == torch.bfloat16 and (logits - exact).abs().max() < 0.15 * exact.abs().max()


def test_the_products_that_a_token_takes_are_counted_by_mixer():
    def more(mixer, **parts):
        c = replace(PLAIN, mixer=mixer, **parts)
        return (flops_per_token(c) - flops_per_token(replace(c, mixer="softmax"))) / (4 * 12 * 2) + 80

    assert more("window", window=9, sinks=3) == 12 and more("window", window=99) == 80
    assert more("elu") == more("gated") == 6 and more("taylor") == 28 and more("power4") == 126
    assert more("favor", n_features=50) == 50 and more("delta") == 9
    assert more(("delta", "softmax")) == (9 + 80) / 2


def test_a_list_of_mixers_in_a_file_is_one_for_each_layer():
    config = from_dict(Config, PLAIN.chosen() | {"mixer": ["delta", "softmax"]})
    assert config.mixer == ("delta", "softmax")
    assert [layer.mixer for layer in config.layers()] == ["delta", "softmax"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mixer": "mamba"}, "a mixer must be one of 'softmax', .*'gated_delta', not 'mamba'"),
        ({"mixer": ("delta", "mamba")}, r"not \('delta', 'mamba'\)"),
        ({"mixer": ("delta",)}, r"2 layers need as many mixers, not \('delta',\)"),
        ({"mixer": 3}, "a mixer must be one of"),
        ({"mixer": "window"}, "the mixer 'window' needs a window, not None"),
        ({"mixer": "window", "window": 0}, "window must be a whole number above 0 or null, not 0"),
        ({"sinks": -1}, "sinks must be a whole number, not -1"),
        ({"conv": 0}, "conv must be a whole number above 0 or null, not 0"),
        ({"n_features": 1.5}, "n_features must be"),
        ({"mixer": ("softmax", "delta"), "positions": "alibi"}, "can fall with distance"),
    ],
)
def test_what_no_model_can_be_made_of_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **parts)


def test_what_a_state_cannot_do_is_refused():
    layer = make_attention(replace(PLAIN, mixer="delta"))
    with pytest.raises(ValueError, match=r"not by a mask \(9, 9\)"):
        layer(torch.zeros(9, 12), mask=causal_mask(9))
    model = GPT(replace(PLAIN, mixer="elu"))
    with pytest.raises(ValueError, match="see make_cache"):
        Cache(model, 1, 9)
    cache = make_cache(model, 1, 9)
    assert isinstance(cache, States)
    model(random_ids(1, 4), cache)
    with pytest.raises(ValueError, match="weights of tokens that came before"):
        model(random_ids(1, 4), cache, return_attention=True)
    with pytest.raises(ValueError, match="exceed its 9 slots"):
        model(random_ids(1, 6), cache)
    with pytest.raises(ValueError, match=r"shape \(..., T, 12\), got \(9, 11\)"):
        layer(torch.zeros(9, 11))


@every_mixer
def test_a_prepared_model_writes_the_same(mixer):
    model = lively(GPT(replace(ALL, mixer=(mixer, "softmax"), conv=2)))
    text = generate(model, random_ids(9), 6, temperature=0)
    assert torch.equal(generate(prepare(model), random_ids(9), 6, temperature=0), text)
