"""Windows, sinks, softmax₁ and ALiBi, and a softmax that goes block by block: each against its definition."""


import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tinyllm.attention import attention, causal_mask, softmax
from tinyllm.online_softmax import add_keys, online_attention
from tinyllm.windows import alibi_bias, alibi_slopes, biased_attention, softmax_one, window_attention, window_mask

EXACT = dict(rtol=1e-12, atol=1e-12)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 12), st.integers(0, 4))
def test_a_window_shows_the_last_tokens_and_the_first(T, more, window, sinks):
    mask = window_mask(T, window, sinks, T + more)
    assert mask.shape == (T, T + more) and mask.dtype == torch.bool
    for i in range(T):
        own = i + more
        for j in range(T + more):
            assert bool(mask[i, j]) == (j <= own and (own - j < window or j < sinks))


def test_a_wide_window_is_the_causal_mask():
    assert torch.equal(window_mask(7, 7), causal_mask(7))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(), (2,), (3, 2)]), st.integers(1, 20), st.integers(1, 9), st.integers(0, 99))
def test_attention_within_a_window_is_attention_with_its_mask(leading, T, window, seed):
    q, k, v = (randn(*leading, T, d, seed=seed + d) for d in (4, 4, 3)) if leading != (2,) else (
        randn(T, 4, seed=seed), randn(2, T, 4, seed=seed), randn(T, 3, seed=seed)
    )  # fmt: skip
    expected = attention(q, k, v, window_mask(T, window))
    torch.testing.assert_close(window_attention(q, k, v, window), expected, **EXACT)


def test_softmax_one_is_softmax_with_one_key_more_of_score_0():
    scores = 20 * randn(5, 7)
    scores[0], scores[1, 2:] = -torch.inf, -torch.inf
    more = softmax(F.pad(scores, (0, 1)))
    torch.testing.assert_close(softmax_one(scores), more[:, :-1], **EXACT)
    by_hand = (scores[2] / 20).exp() / (1 + (scores[2] / 20).exp().sum())
    torch.testing.assert_close(softmax_one(scores / 20)[2], by_hand, **EXACT)
    assert softmax_one(torch.tensor([900.0, 901.0])).isfinite().all()


def test_softmax_one_changes_when_all_scores_are_shifted_and_softmax_does_not():
    scores = randn(3, 5)
    torch.testing.assert_close(softmax(scores + 2), softmax(scores), **EXACT)
    assert (softmax_one(scores + 2).sum(-1) > softmax_one(scores).sum(-1) + 0.01).all()


def test_the_slopes_of_alibi_are_the_published_ones():
    assert alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]


def test_alibi_multiplies_each_weight_by_an_exponential_of_its_distance():
    q, k, v = randn(3, 6, 4), randn(3, 6, 4, seed=1), randn(3, 6, 2, seed=2)
    slopes = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    output, weights = biased_attention(q, k, v, alibi_bias(slopes, 6), return_weights=True)
    _, plain = attention(q, k, v, causal_mask(6), return_weights=True)
    distance = (torch.arange(6)[:, None] - torch.arange(6)).clamp(min=0)
    kernel = plain * torch.exp(-slopes[:, None, None] * distance)
    torch.testing.assert_close(weights, kernel / kernel.sum(-1, keepdim=True), **EXACT)
    torch.testing.assert_close(output, weights @ v, **EXACT)
    theirs = F.scaled_dot_product_attention(q, k, v, alibi_bias(slopes, 6))
    torch.testing.assert_close(output, theirs, **EXACT)
    assert torch.equal(alibi_bias(slopes, 2, 6), alibi_bias(slopes, 6)[:, -2:])


# ---------------------------------------------------------------------------------------- online


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(), (2,), (3, 2)]), st.integers(1, 9), st.integers(0, 5), st.integers(1, 12), st.booleans(),
    st.booleans(), st.sampled_from([None, 0.1, 30.0]), st.integers(0, 999),
)
def test_block_by_block_is_attention(leading, T, more, block_size, causal, masked, scale, seed):
    q, k, v = (randn(*leading, n, d, seed=seed + d) for n, d in ((T, 4), (T + more, 4), (T + more, 3)))
    mask = None
    if masked:
        mask = torch.rand(*leading, T, T + more, generator=torch.Generator().manual_seed(seed)) < 0.4
    visible = causal_mask(T + more)[-T:] if causal else torch.ones(T, T + more, dtype=torch.bool)
    expected = attention(q, k, v, visible if mask is None else visible & mask, scale)
    output = online_attention(q, k, v, mask, causal, scale, block_size)
    torch.testing.assert_close(output, expected, **EXACT)


def test_a_mask_may_have_one_row_for_all_queries():
    q, k, v = randn(2, 5, 4), randn(2, 7, 4, seed=1), randn(2, 7, 3, seed=2)
    mask = torch.arange(7) > 2
    torch.testing.assert_close(online_attention(q, k, v, mask[None], block_size=2), attention(q, k, v, mask), **EXACT)


def test_keys_may_come_in_any_portions_and_in_any_order():
    scores, v = 30 * randn(4, 9), randn(9, 3, seed=1)
    scores[0, :5] = -torch.inf  # a first portion of which query 0 sees nothing
    for portions in ([5, 4], [1] * 9, [9], [2, 3, 4]):
        for order in (torch.arange(9), torch.arange(9).flip(0)):
            so_far = None
            for keys in order.split(portions):
                so_far = add_keys(scores[:, keys], v[keys], so_far)
            sums, total, largest = so_far
            torch.testing.assert_close(sums / total, softmax(scores) @ v, **EXACT)
            torch.testing.assert_close(largest[:, 0], scores.amax(-1))


def test_block_by_block_has_the_gradients_of_attention():
    inputs = [x.requires_grad_() for x in (randn(2, 9, 4), randn(2, 9, 4, seed=1), randn(2, 9, 3, seed=2))]
    mine = torch.autograd.grad(online_attention(*inputs, causal=True, block_size=4).sin().sum(), inputs)
    right = torch.autograd.grad(attention(*inputs, causal_mask(9)).sin().sum(), inputs)
    for a, b in zip(mine, right):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("T", [5, 8, 13])
def test_causal_blocks_show_nothing_of_what_comes_later(T):
    q, k, v = randn(T, 4), randn(T, 4, seed=1), randn(T, 3, seed=2)
    before = online_attention(q, k, v, causal=True, block_size=4)
    for changed in range(1, T):
        later = [x.clone() for x in (q, k, v)]
        for x in later:
            x[changed:] += 1
        after = online_attention(*later, causal=True, block_size=4)
        assert torch.equal(after[:changed], before[:changed])
        assert not torch.allclose(after[changed:], before[changed:])


def test_what_does_not_fit_is_named():
    q, k, v = randn(2, 5, 4), randn(2, 3, 4), randn(2, 3, 3)
    with pytest.raises(ValueError, match=r"a key for each query, got \(256, 5, 3\)"):
        online_attention(q, k, v, causal=True)
    with pytest.raises(ValueError, match="block_size >= 1"):
        online_attention(q, k, v, block_size=0)
    with pytest.raises(ValueError, match=r"mask \(4, 3\) does not broadcast to the scores \(2, 5, 3\)"):
        online_attention(q, k, v, torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask \(4, 3\) does not broadcast"):
        biased_attention(q, k, v, torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"one query for each key, got queries \(2, 1, 4\), keys \(2, 3, 4\)"):
        window_attention(q[:, :1], k, v, window=2)
    for window, sinks in ((0, 0), (3, -1)):
        with pytest.raises(ValueError, match=f"got {window} and {sinks}"):
            window_mask(5, window, sinks)
    with pytest.raises(ValueError, match="1 <= T <= T_k, got 5 and 4"):
        alibi_bias(torch.ones(2), 5, 4)
    with pytest.raises(ValueError, match="got 0"):
        alibi_slopes(0)
