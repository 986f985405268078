"""The heads of a model: measures that a re-parametrization leaves alone, and edits that change only what they say."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyllm.attention import causal_mask, softmax
from tinyllm.generation import generate
from tinyllm.heads import (
    by_content,
    by_key,
    by_offset,
    causal_weights,
    deviance_share,
    edited,
    effective_keys,
    put,
    record,
    scale_scores,
)
from tinyllm.layers import rotate
from tinyllm.model import GPT, Config

TINY = Config(vocab_size=17, block_size=12, n_layer=3, n_head=2, d_model=12)
MODERN = replace(TINY, positions="rope", norm="rms", mlp="swiglu", n_kv_head=1, qk_norm=True)
SEEDS = st.integers(0, 999)
CLOSE = dict(rtol=1e-9, atol=1e-9)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_gpt(config=TINY, seed=0):
    """A model in which every weight matters: a new one has many zeros."""
    model, generator = GPT(config).double(), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype) + (p.ndim == 1)
    return model.requires_grad_(False)


def random_ids(*shape, seed=0):
    return torch.randint(17, shape, generator=torch.Generator().manual_seed(seed))


def random_weights(*shape, seed=0):
    return causal_weights(2 * randn(*shape, 4, seed=seed), randn(*shape, 4, seed=seed + 1))


# ---------------------------------------------------------------------------------------- effective keys


@pytest.mark.parametrize("n", [1, 2, 7])
def test_n_keys_with_the_same_weight_are_n_effective_keys(n):
    weights = torch.zeros(3, 9)
    weights[:, :n] = 1 / n
    torch.testing.assert_close(effective_keys(weights), torch.full((3,), float(n)))


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_effective_keys_lie_between_one_and_all_and_do_not_depend_on_the_order(seed):
    weights = random_weights(2, 6, seed=seed)
    found = effective_keys(weights)
    assert found.shape == (2, 6) and (found[:, 0] == 1).all()
    assert (found >= 1 - 1e-12).all() and (found <= torch.arange(1, 7) + 1e-9).all()
    torch.testing.assert_close(effective_keys(weights.flip(-1)), found, **CLOSE)


# ---------------------------------------------------------------------------------------- shares


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_the_share_is_1_for_the_weights_themselves_and_0_for_the_uniform(seed):
    weights = random_weights(3, 2, 7, seed=seed)
    uniform = causal_weights(torch.zeros(7, 1).double(), torch.zeros(7, 1).double())
    torch.testing.assert_close(deviance_share(weights, weights), torch.ones(2).double(), **CLOSE)
    torch.testing.assert_close(deviance_share(weights, uniform), torch.zeros(2).double(), **CLOSE)


def test_the_share_is_a_ratio_of_sums_written_out():
    w, p = random_weights(3, 2, 5), random_weights(3, 2, 5, seed=5)
    near, far = torch.zeros(2, 2).double()
    for b in range(3):
        for head in range(2):
            for i in range(5):
                for j in range(i + 1):
                    near[head] += w[b, head, i, j] * (w[b, head, i, j] / p[b, head, i, j]).log()
                    far[head] += w[b, head, i, j] * (w[b, head, i, j] * (i + 1)).log()
    torch.testing.assert_close(deviance_share(w, p), 1 - near / far, **CLOSE)


def test_rows_that_do_not_count_may_hold_anything():
    w, p = random_weights(3, 2, 6), random_weights(2, 6, seed=3)
    mask = torch.arange(6) < torch.tensor([[6], [4], [3]])[..., None]  # (3, 1, 6)
    short = [deviance_share(w[i : i + 1, :, :n, :n], p[:, :n, :n]) for i, n in enumerate((6, 4, 3))]
    assert not torch.allclose(deviance_share(w, p, mask), deviance_share(w, p))
    torch.testing.assert_close(deviance_share(w[:1], p, mask[:1]), short[0], **CLOSE)
    other = torch.where(mask[..., None], w, random_weights(3, 2, 6, seed=8))
    torch.testing.assert_close(deviance_share(other, p, mask), deviance_share(w, p, mask), **CLOSE)
    torch.testing.assert_close(by_offset(other, mask), by_offset(w, mask), **CLOSE)


def test_a_mask_of_texts_is_not_taken_for_one_of_heads():
    """(B, T) would be read as (n_head, T) without a word if there are as many texts as heads."""
    w, p = random_weights(2, 2, 6), random_weights(2, 2, 6, seed=3)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    for function in (by_offset, lambda w, mask: deviance_share(w, p, mask)):
        with pytest.raises(ValueError, match=r"\(2, 6\) for weights \(2, 2, 6, 6\)"):
            function(w, mask)
        assert not torch.allclose(function(w, mask[:, None]), function(w, mask[None]))
        torch.testing.assert_close(function(w, mask[1]), function(w, mask[1].expand(2, 1, 6)), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_head_of_equal_weights_has_nothing_that_could_be_explained(dtype):
    w = random_weights(3, 2, 200).to(dtype)
    w[:, 0] = torch.tril(torch.ones(200, 200)) / torch.arange(1, 201)[:, None]
    for p in (w, by_offset(w), random_weights(3, 2, 200, seed=4)):
        share = deviance_share(w, p)
        assert share[0].isnan() and share[1].isfinite()
    w[0, 0, 1:, 1:] *= 0.99  # and with a little more on the first key there is something
    w[0, 0, :, 0] += 1 - w[0, 0].sum(-1)
    torch.testing.assert_close(deviance_share(w, w)[0].item(), 1.0, rtol=0, atol=1e-3)


def test_a_surrogate_that_excludes_a_key_of_the_head_is_infinitely_far_away():
    w = torch.tensor([[1.0, 0], [0.9, 0.1]])
    assert deviance_share(w, torch.tensor([[1.0, 0], [1, 0]])) == -torch.inf


def test_weights_that_look_ahead_are_refused():
    for function in (by_offset, lambda w: deviance_share(w, w)):
        with pytest.raises(ValueError, match="causal"):
            function(torch.full((1, 3, 3), 1 / 3))
        with pytest.raises(ValueError, match=r"\(1, 3, 4\)"):
            function(torch.ones(1, 3, 4))
        with pytest.raises(ValueError, match="sum to 1"):
            function(2 * torch.eye(3))
    with pytest.raises(ValueError, match="causal"):  # also of a surrogate
        deviance_share(torch.eye(3), torch.full((3, 3), 1 / 3))


# ---------------------------------------------------------------------------------------- by offset


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_by_offset_gives_weights_of_that_kind_back(seed):
    log_pi = 2 * randn(2, 8, seed=seed)
    offset = torch.arange(8)[:, None] - torch.arange(8)
    scores = torch.where(causal_mask(8), log_pi[:, offset.clamp(min=0)], -torch.inf)
    torch.testing.assert_close(by_offset(softmax(scores)), softmax(scores), **CLOSE)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_no_other_weights_by_offset_are_more_likely(seed):
    w = random_weights(3, 2, 7, seed=seed)
    p = by_offset(w)
    best = torch.xlogy(w, p).sum((0, -1, -2))
    offset = torch.arange(7)[:, None] - torch.arange(7)
    for other in range(20):
        step = 0.3 * randn(2, 7, seed=100 * seed + other)[:, offset.clamp(min=0)]
        moved = softmax(torch.where(causal_mask(7), p.log() + step, -torch.inf))
        assert (torch.xlogy(w, moved).sum((0, -1, -2)) <= best + 1e-9).all()
    for step in (1e-4, -1e-4):  # and at the best ones the slope is 0
        for o in range(7):
            moved = softmax(torch.where(causal_mask(7), p.log() + step * (offset == o), -torch.inf))
            change = torch.xlogy(w, moved).sum((0, -1, -2)) - best
            assert (change <= 1e-9).all() and (change > -1e-6).all()


def test_a_head_that_looks_exactly_one_back_is_explained_by_its_offset():
    w = torch.zeros(1, 5, 5).double()
    w[0, 0, 0] = 1
    w[0, range(1, 5), range(4)] = 1
    torch.testing.assert_close(by_offset(w), w, rtol=0, atol=1e-9)
    torch.testing.assert_close(deviance_share(w, by_offset(w)), torch.ones(1).double(), **CLOSE)


# ---------------------------------------------------------------------------------------- by key, by content


def measures(model, ids):
    """All that is measured of each layer of a model."""
    logits, seen = record(model, ids)
    found = [logits]
    for block, layer in zip(model.blocks, seen):
        surrogates = by_offset(layer.weights), by_key(layer.q, layer.k)
        surrogates += (by_content(block.attention, layer.x),)
        found += [effective_keys(layer.weights)]
        found += [deviance_share(layer.weights, surrogate) for surrogate in surrogates]
        found += list(surrogates)
    return found


def rewritten(model, how, seed):
    """The same function, written with other matrices."""
    config, d = model.config, model.config.d_model // model.config.n_head
    for block in model.blocks:
        qkv, out = block.attention.qkv.weight.data, block.attention.out.weight.data
        W = qkv.view(3, config.n_head, d, -1)
        A = torch.linalg.qr(randn(config.n_head, d, d, seed=seed)).Q * torch.linspace(0.3, 3, d).double()
        if how == "queries and keys":
            W[0], W[1] = A @ W[0], torch.linalg.inv(A).mT @ W[1]
        elif how == "values":
            W[2] = A @ W[2]
            W_O = out.view(-1, config.n_head, d)
            W_O.copy_(torch.einsum("chd,hde->che", W_O, torch.linalg.inv(A)))
        else:  # a vector that is added to all values, and taken off behind W_O
            shift = torch.zeros(3 * config.d_model).double()
            shift[2 * config.d_model :] = randn(config.d_model, seed=seed)
            block.attention.qkv.bias = nn.Parameter(shift, requires_grad=False)
            taken = -out @ shift[2 * config.d_model :]
            block.attention.out.bias = nn.Parameter(taken, requires_grad=False)
    return model


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(["queries and keys", "values", "a vector for all values"]))
def test_no_measure_changes_when_a_head_is_written_otherwise(seed, how):
    ids = random_ids(4, 9, seed=seed)
    before = measures(random_gpt(seed=seed), ids)
    after = measures(rewritten(random_gpt(seed=seed), how, seed), ids)
    for a, b in zip(before, after):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_a_vector_that_is_added_to_all_keys_changes_no_measure(seed):
    ids, model = random_ids(4, 9, seed=seed), random_gpt(seed=seed)
    before = measures(model, ids)
    for block in model.blocks:  # a bias of the keys alone
        old = block.attention.qkv.weight
        block.attention.qkv = nn.Linear(12, 36).double().requires_grad_(False)
        block.attention.qkv.weight, bias = old, block.attention.qkv.bias.data
        bias[:] = 0
        bias[12:24] = 3 * randn(12, seed=seed + 1)
    for a, b in zip(before, measures(model, ids)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_a_mean_or_resampled_output_costs_the_same_in_any_form_of_a_head_and_zero_does_not():
    ids, how = random_ids(4, 9), "a vector for all values"
    found = {}
    for form, model in ("plain", random_gpt()), ("other", rewritten(random_gpt(), how, 1)):
        z = record(model, ids)[1][1].output[:, 0]
        for kind, value in ("zero", 0.0), ("mean", z.mean((0, 1))), ("resample", z.roll(1, 0)):
            with edited(model, {(2, 1): put("output", value)}):
                found[kind, form] = model(ids)
    for kind in "mean", "resample":
        torch.testing.assert_close(found[kind, "plain"], found[kind, "other"], **CLOSE)
    assert not torch.allclose(found["zero", "plain"], found["zero", "other"], atol=0.1)


def test_what_does_not_stay_is_caught_by_the_same_test():
    """Key lengths change, and so do weights after the keys' lengths are taken away."""
    ids = random_ids(2, 9)
    before = record(random_gpt(), ids)[1][0].k.norm(dim=-1)
    after = record(rewritten(random_gpt(), "queries and keys", 1), ids)[1][0].k.norm(dim=-1)
    assert not torch.allclose(before, after, rtol=0.1)


def test_by_key_has_all_weights_of_a_head_whose_queries_are_one():
    q, k = randn(1, 2, 1, 4).expand(3, 2, 6, 4), randn(3, 2, 6, 4, seed=1)
    torch.testing.assert_close(by_key(q, k), causal_weights(q, k), **CLOSE)


def test_by_key_is_the_mean_score_of_all_queries():
    q, k = randn(3, 2, 6, 4), randn(3, 2, 6, 4, seed=1)
    scores = torch.einsum("bhid,chjd->bihcj", q, k).mean((0, 1)) / 2  # (n_head, texts, T)
    expected = softmax(torch.where(causal_mask(6), scores.transpose(0, 1)[..., None, :], -torch.inf))
    torch.testing.assert_close(by_key(q, k), expected, **CLOSE)


def test_with_rope_by_key_is_a_head_whose_queries_are_one_before_they_turn():
    model = random_gpt(MODERN)
    attention, rope = model.blocks[0].attention, model.position.table[:9].double()
    x = randn(3, 9, 12)
    q, k, _ = attention.heads(x)
    k = k.expand(q.shape)
    one, turned = q[:1, :, :1].expand(q.shape), attention.heads(x, rope=rope)[1].expand(q.shape)
    expected = causal_weights(rotate(one, rope), turned)
    torch.testing.assert_close(by_key(one, k, rope), expected, **CLOSE)


@pytest.mark.parametrize("config", [replace(TINY, bias=True), replace(TINY, qk_norm=True)], ids=["bias", "qk_norm"])
def test_by_content_has_no_mean_query_left_by_biases_or_norms(config):
    """A term of the key alone would stay with it: the scores of a position have the mean 0 over texts."""
    attention, x = random_gpt(config).blocks[0].attention, 3 * randn(6, 8, 12)
    q, k, _ = attention.heads(x - x.mean(0))
    assert q.mean(0).norm(dim=-1).max() > 0.1
    expected = causal_weights(q - q.mean(0), k - k.mean(0))
    torch.testing.assert_close(by_content(attention, x), expected, **CLOSE)


def test_by_content_sees_nothing_of_what_all_texts_share():
    """Weights that come from positions alone become uniform; those of contents stay."""
    attention = random_gpt().blocks[0].attention
    position, content = randn(1, 8, 12), randn(5, 8, 12, seed=1)
    content -= content.mean(0)
    uniform = causal_weights(torch.zeros(8, 1).double(), torch.zeros(8, 1).double())
    found = by_content(attention, position.expand(5, 8, 12))
    torch.testing.assert_close(found, uniform.expand(5, 2, 8, 8), **CLOSE)
    q, k, _ = attention.heads(content)
    torch.testing.assert_close(by_content(attention, position + content), causal_weights(q, k), **CLOSE)


# ---------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("config", [TINY, MODERN, replace(TINY, bias=True)], ids=["plain", "modern", "bias"])
def test_a_model_without_edits_computes_what_it_computes(config):
    model, ids = random_gpt(config), random_ids(2, 9)
    logits, seen = record(model, ids)
    torch.testing.assert_close(logits, model(ids), **CLOSE)
    _, weights = model(ids, return_attention=True)
    torch.testing.assert_close(torch.stack([layer.weights for layer in seen]), weights, **CLOSE)
    for layer in seen:
        torch.testing.assert_close(layer.weights @ layer.v, layer.output, **CLOSE)


@pytest.mark.parametrize("config", [TINY, MODERN], ids=["plain", "modern"])
@pytest.mark.parametrize("stage", ["q", "k", "v", "weights", "output"])
def test_putting_there_what_is_there_changes_nothing(config, stage):
    model, ids = random_gpt(config), random_ids(2, 9)
    logits, seen = record(model, ids)
    edits = {(i + 1, 2): put(stage, getattr(layer, stage)[..., 1, :, :]) for i, layer in enumerate(seen)}
    with edited(model, edits):
        torch.testing.assert_close(model(ids), logits, **CLOSE)


def test_a_head_that_is_put_to_zero_is_one_without_output_rows():
    model, ids = random_gpt(), random_ids(2, 9)
    with edited(model, {(2, 1): put("output", 0)}):
        logits = model(ids)
    assert not torch.allclose(logits, model(ids))
    model.blocks[1].attention.out.weight[:, :6] = 0
    torch.testing.assert_close(model(ids), logits, **CLOSE)


def test_scaled_scores_are_those_of_scaled_queries():
    model, ids = random_gpt(), random_ids(2, 9)
    with edited(model, {(1, 2): scale_scores(1.7)}):
        logits = model(ids)
    model.blocks[0].attention.qkv.weight[6:12] *= 1.7
    torch.testing.assert_close(model(ids), logits, **CLOSE)


def test_an_edit_changes_its_head_and_what_is_computed_from_it_alone():
    model, ids = random_gpt(), random_ids(2, 9)
    _, before = record(model, ids)
    where = (torch.arange(9) == 4)[:, None]
    _, after = record(model, ids, {(2, 1): put("v", 1.5, where)})
    same = lambda a, b: torch.allclose(a, b, rtol=0, atol=1e-12)
    assert all(map(same, before[0], after[0])) and same(before[1].weights, after[1].weights)
    assert same(before[1].output[:, 1], after[1].output[:, 1])
    assert same(before[1].output[:, 0, :4], after[1].output[:, 0, :4])  # no earlier place sees it
    assert not same(before[1].output[:, 0, 4:], after[1].output[:, 0, 4:])
    assert (after[1].v[:, 0, 4] == 1.5).all() and same(after[1].v[:, 0, 5:], before[1].v[:, 0, 5:])
    assert not same(before[2].x[:, 4:], after[2].x[:, 4:])


def test_two_edits_of_a_head_are_joined():
    model, ids = random_gpt(), random_ids(1, 9)
    _, seen = record(model, ids, {(3, 2): scale_scores(0.0) | put("v", 2.0)})
    torch.testing.assert_close(seen[2].output[:, 1], torch.full((1, 9, 6), 2.0).double(), **CLOSE)
    torch.testing.assert_close(effective_keys(seen[2].weights[0, 1]), torch.arange(1.0, 10).double(), **CLOSE)


def test_after_an_edit_the_model_is_what_it_was_also_after_an_error():
    model, ids = random_gpt(), random_ids(2, 9)
    before = model(ids)
    with pytest.raises(ValueError, match="v of a head is .2, 9, 6., .5,. does not"):
        with edited(model, {(1, 1): put("v", torch.zeros(5))}):
            model(ids)
    torch.testing.assert_close(model(ids), before)
    assert not any("forward" in vars(block.attention) for block in model.blocks)


def test_weights_are_asked_for_as_from_any_model():
    model, ids = random_gpt(), random_ids(2, 9)
    uniform = causal_weights(torch.zeros(9, 1).double(), torch.zeros(9, 1).double())
    with edited(model, {(2, 2): put("weights", uniform)}):
        _, weights = model(ids, return_attention=True)
    assert weights.shape == (3, 2, 2, 9, 9)
    torch.testing.assert_close(weights[1, :, 1], uniform.expand(2, 9, 9))


@pytest.mark.parametrize(
    "edits, message",
    [
        ({(0, 1): put("v", 0)}, "count from 1"),
        ({(1, 3): put("v", 0)}, "no head 3 in layer 1"),
        ({(1, 1): put("scores", 0)}, "an edit is of q, k, v"),
        ({(1, 1): {"v": lambda v: v[:, :2]}}, "to stay"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_a_reason(edits, message):
    with pytest.raises(ValueError, match=message):
        record(random_gpt(), random_ids(2, 9), edits)


def test_a_model_of_other_mixers_and_one_with_a_cache_are_refused():
    with pytest.raises(ValueError, match="layer 2 is no softmax"):
        record(random_gpt(replace(TINY, mixer=("softmax", "elu", "softmax"))), random_ids(2, 9))
    model = random_gpt().float()
    with edited(model, {(1, 1): put("output", 0)}), pytest.raises(ValueError, match="cache"):
        generate(model, [[1, 2, 3]], 3)


def test_a_model_that_is_edited_is_not_edited_again():
    model, ids = random_gpt(), random_ids(2, 9)
    with edited(model, {(1, 1): put("output", 0)}):
        outer = model(ids)
        with pytest.raises(ValueError, match="layer 1 is edited already"):
            record(model, ids, {(1, 2): put("output", 0)})
        torch.testing.assert_close(model(ids), outer, rtol=0, atol=0)  # the edits of before are there still
