import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tinyllm.attention import MultiHeadAttention, attend, attention, causal_mask, softmax

TOLERANCE = {torch.float32: dict(rtol=1e-5, atol=2e-6), torch.float64: dict(rtol=1e-12, atol=1e-12)}


def random_qkv(*leading, T_q=5, T_k=7, d=8, d_v=3, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*leading, T_q, d, dtype=dtype, generator=g),
        torch.randn(*leading, T_k, d, dtype=dtype, generator=g),
        torch.randn(*leading, T_k, d_v, dtype=dtype, generator=g),
    )


@settings(max_examples=60, deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    T_q=st.integers(1, 6),
    T_k=st.integers(1, 6),
    d=st.integers(1, 9),
    d_v=st.integers(1, 4),
    masked=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**16),
)
def test_attention_equals_torch(leading, T_q, T_k, d, d_v, masked, dtype, seed):
    q, k, v = random_qkv(*leading, T_q=T_q, T_k=T_k, d=d, d_v=d_v, dtype=dtype, seed=seed)
    mask = torch.rand(T_q, T_k, generator=torch.Generator().manual_seed(seed)) < 0.5 if masked else None
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attention(q, k, v, mask), theirs, **TOLERANCE[dtype])


@pytest.mark.parametrize("size", [1e-3, 30.0, 300.0])
def test_attention_equals_torch_for_logits_of_any_size(size):
    q, k, v = random_qkv(2)
    theirs = F.scaled_dot_product_attention(size * q, size * k, v)
    torch.testing.assert_close(attention(size * q, size * k, v), theirs, rtol=1e-9, atol=1e-9)


def test_attention_equals_a_sum_over_keys_written_out():
    q, k, v = random_qkv(T_q=2, T_k=3)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for i in range(2):
        scores = [float(q[i] @ k[j]) / math.sqrt(8) for j in range(3)]
        total = sum(math.exp(s) for s in scores)
        for j in range(3):
            expected[i] += math.exp(scores[j]) / total * v[j]
    torch.testing.assert_close(attention(q, k, v), expected, **TOLERANCE[torch.float64])


def test_leading_dimensions_broadcast():
    q, k, v = random_qkv()
    many = torch.stack([q, 2 * q])[:, None]  # (2, 1, T_q, d)
    masks = torch.rand(4, 5, 7) < 0.7  # (4, T_q, T_k)
    out = attention(many, k, v, masks)
    assert out.shape == (2, 4, 5, 3)
    torch.testing.assert_close(out[1, 3], attention(2 * q, k, v, masks[3]))


def test_the_weights_of_each_query_are_positive_and_sum_to_one():
    _, weights = attention(*random_qkv(2, 3), return_weights=True)
    assert weights.shape == (2, 3, 5, 7) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))


def test_the_returned_weights_are_the_ones_that_average_the_values():
    q, k, v = random_qkv()
    out, weights = attention(q, k, v, return_weights=True)
    torch.testing.assert_close(weights @ v, out)


def test_the_order_of_the_keys_does_not_matter():
    q, k, v = random_qkv()
    order = torch.tensor([3, 1, 0, 6, 2, 5, 4])
    torch.testing.assert_close(attention(q, k[order], v[order]), attention(q, k, v))


def test_scale_replaces_one_over_root_d():
    q, k, v = random_qkv()
    torch.testing.assert_close(attention(q, k, v, scale=0.25), attention(q * 0.25 * math.sqrt(8), k, v))
    torch.testing.assert_close(attention(q, k, v, scale=0.0), v.mean(0).expand(5, 3))


def test_softmax_equals_torch_and_ignores_a_shift():
    scores = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(softmax(scores), scores.softmax(-1))
    torch.testing.assert_close(softmax(scores + 1e3), softmax(scores), rtol=1e-11, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_beyond_the_range_of_exp_do_not_overflow(dtype):
    weights = softmax(torch.tensor([[1e4, 1e4, -1e4], [-1e4, -1e4, 1e4]], dtype=dtype))
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_a_huge_query_looks_up_exactly_its_best_key():
    k, v = torch.eye(4), torch.arange(4.0)[:, None]
    assert attention(1e30 * k, k, v).flatten().tolist() == [0, 1, 2, 3]


def test_a_query_that_may_attend_to_nothing_gets_zeros_as_in_torch():
    q, k, v = random_qkv(2)
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[3] = False
    out, weights = attention(q, k, v, mask, return_weights=True)
    assert (out[:, 3] == 0).all() and (weights[:, 3] == 0).all()
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


def test_a_fully_masked_query_gives_and_takes_no_gradient():
    q, k, v = (z.requires_grad_() for z in random_qkv())
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[3] = False
    ours = torch.autograd.grad(attention(q, k, v, mask).square().sum(), (q, k, v))
    theirs = torch.autograd.grad(
        F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask).square().sum(), (q, k, v)
    )
    assert (ours[0][3] == 0).all()
    torch.testing.assert_close(ours, theirs, **TOLERANCE[torch.float64])


def test_nan_is_passed_on_not_hidden():
    q, k, v = random_qkv()
    q[2, 0] = torch.nan
    out = attention(q, k, v)
    assert out[2].isnan().all() and not out[[0, 1, 3, 4]].isnan().any()


def test_the_gradient_is_that_of_finite_differences():
    q, k, v = (z.requires_grad_() for z in random_qkv(T_q=3, T_k=3, d=2))
    assert torch.autograd.gradcheck(lambda *qkv: attention(*qkv, mask=causal_mask(3)), (q, k, v))


@pytest.mark.parametrize("key", range(7))
def test_a_masked_key_changes_nothing(key):
    q, k, v = random_qkv()
    mask = torch.ones(7, dtype=torch.bool)
    mask[key] = False
    before = attention(q, k, v, mask)
    k[key], v[key] = 1e6, -1e6
    assert torch.equal(attention(q, k, v, mask), before)


def test_the_causal_mask_hides_every_later_key():
    T = 6
    q, k, v = random_qkv(T_q=T, T_k=T)
    out, weights = attention(q, k, v, causal_mask(T), return_weights=True)
    assert all((weights[i, j] > 0) == (j <= i) for i in range(T) for j in range(T))
    for t in range(T):
        torch.testing.assert_close(out[t], attention(q[t : t + 1], k[: t + 1], v[: t + 1])[0])
    theirs = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)
    torch.testing.assert_close(out[None], theirs)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 8), (7, 9), (7, 3)), r"same last dimension.*\(5, 8\).*\(7, 9\)"),
        (((5, 8), (7, 8), (6, 3)), r"one value for each key.*\(7, 8\).*\(6, 3\)"),
        (((5, 8), (0, 8), (0, 3)), r"at least one key.*\(0, 8\)"),
        (((5, 0), (7, 0), (7, 3)), r"at least one key of at least one channel.*\(7, 0\)"),
        (((8,), (7, 8), (7, 3)), r"at least two dimensions.*\(8,\)"),
        (((2, 5, 8), (3, 7, 8), (3, 7, 3)), r"do not broadcast.*\(2, 5, 8\).*\(3, 7, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        attention(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(5, 7), "boolean mask.*float32"),
        (torch.ones(5, 7, dtype=torch.long), "boolean mask.*int64"),
        (torch.ones(7, 5, dtype=torch.bool), r"\(7, 5\) does not broadcast to the scores \(5, 7\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(mask, message):
    with pytest.raises(ValueError, match=message):
        attention(*random_qkv(), mask)


def test_a_mask_for_more_queries_than_there_are_is_refused():
    q, k, v = random_qkv(T_q=1, T_k=7)
    with pytest.raises(ValueError, match=r"\(7, 7\) does not broadcast to the scores \(1, 7\)"):
        attention(q, k, v, causal_mask(7))


def loop_over_heads(layer: MultiHeadAttention, x: torch.Tensor) -> torch.Tensor:
    """One head after the other, each with its own rows of the weight matrices."""
    d_head = x.shape[-1] // layer.n_head
    W_q, W_k, W_v = layer.qkv.weight.chunk(3)
    heads = []
    for i in range(layer.n_head):
        mine = slice(i * d_head, (i + 1) * d_head)
        mask = causal_mask(x.shape[-2]) if layer.causal else None
        heads.append(attention(x @ W_q[mine].T, x @ W_k[mine].T, x @ W_v[mine].T, mask))
    return torch.cat(heads, dim=-1) @ layer.out.weight.T


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n_head", [1, 2, 3, 12])
def test_many_heads_at_once_equal_a_loop_over_heads(n_head, causal):
    torch.manual_seed(n_head)
    layer = MultiHeadAttention(12, n_head, causal).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), loop_over_heads(layer, x), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_equals_torch_with_copied_weights(causal, bias):
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, causal, bias).double()
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True, dtype=torch.float64)
    theirs.in_proj_weight.data, theirs.out_proj.weight.data = ours.qkv.weight.data, ours.out.weight.data
    if bias:
        theirs.in_proj_bias.data, theirs.out_proj.bias.data = ours.qkv.bias.data, ours.out.bias.data
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    hidden = ~causal_mask(5) if causal else None  # torch's layer has True mean *do not* attend
    expected, expected_weights = theirs(x, x, x, attn_mask=hidden, average_attn_weights=False)
    weights = []
    for out in (ours(x), ours(x, weights=weights)):
        torch.testing.assert_close(out, expected, **TOLERANCE[torch.float64])
    [weights] = weights
    torch.testing.assert_close(weights, expected_weights, **TOLERANCE[torch.float64])


def test_multi_head_attention_takes_any_leading_dimensions():
    layer = MultiHeadAttention(8, 2)
    x = torch.randn(3, 2, 5, 8)
    out, weights = layer(x, weights=(seen := [])), seen[0]
    assert out.shape == x.shape and weights.shape == (3, 2, 2, 5, 5)
    torch.testing.assert_close(out[1, 1], layer(x[1, 1]))


def test_a_later_token_never_changes_an_earlier_output():
    layer = MultiHeadAttention(8, 2)
    x = torch.randn(1, 6, 8)
    before = layer(x)
    x[:, 4:] = 1e3
    assert torch.equal(layer(x)[:, :4], before[:, :4])


def test_more_heads_are_not_more_parameters():
    sizes = {sum(p.numel() for p in MultiHeadAttention(12, n_head).parameters()) for n_head in (1, 2, 6)}
    assert sizes == {4 * 12 * 12}


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="got 10 and 3"):
        MultiHeadAttention(10, 3)
    with pytest.raises(ValueError, match="got 10 and 0"):
        MultiHeadAttention(10, 0)
    with pytest.raises(ValueError, match=r"\(\.\.\., T, 8\), got \(5, 6\)"):
        MultiHeadAttention(8, 2)(torch.zeros(5, 6))


# ---------------------------------------------------------------------------------------- the fused routine


def test_in_sixteen_bits_large_scores_are_no_reason_for_nan():
    q = torch.full((1, 3, 64), 40.0, dtype=torch.float16)  # q·k is 102,400, more than 16 bits hold
    v = torch.ones(1, 3, 2, dtype=torch.float16)
    assert attention(q, q, v).tolist() == F.scaled_dot_product_attention(q, q, v).tolist() == v.tolist()


@settings(max_examples=40, deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    shared=st.integers(1, 3),
    n_kv_head=st.integers(1, 3),
    T=st.integers(1, 6),
    before=st.integers(0, 4),
    causal=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_routine_that_keeps_no_weights_computes_the_same(
    leading, shared, n_kv_head, T, before, causal, masked, seed
):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(*leading, shared * n_kv_head, T, 6, dtype=torch.float64, generator=g)
    k, v = torch.randn(2, *leading, n_kv_head, before + T, 6, dtype=torch.float64, generator=g)
    mask = torch.rand(T, before + T, generator=g) < 0.7 if masked else None
    weights = []
    fused, explicit = (attend(q, k, v, mask, causal, w) for w in (None, weights))
    torch.testing.assert_close(fused, explicit, rtol=1e-12, atol=1e-12)
    [weights] = weights
    for head in range(shared * n_kv_head):  # by hand: which keys a query may see, and whose keys these are
        seen = torch.ones(T, before + T, dtype=torch.bool) if mask is None else mask.clone()
        for t in range(T):
            seen[t, before + t + 1 :] &= not causal
        kv = (..., head // shared, slice(None), slice(None))
        out, w = attention(q[..., head, :, :], k[kv], v[kv], seen, return_weights=True)
        torch.testing.assert_close(fused[..., head, :, :], out, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(weights[..., head, :, :], w, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_both_routines_are_the_same():
    layer = MultiHeadAttention(12, 6, n_kv_head=2, d_head=4).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    grads = [
        torch.autograd.grad(layer(x, weights=weights).square().sum(), layer.parameters()) for weights in (None, [])
    ]
    torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-11)


def test_under_autocast_a_cpu_attends_in_32_bits():
    layer, x = MultiHeadAttention(32, 2), torch.randn(3, 64, 32)
    with torch.autocast("cpu", torch.bfloat16):
        q, k, v = layer.heads(x)
        out = attend(q, k, v, causal=True)
        assert q.dtype == torch.bfloat16 and layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(out, attend(q.float(), k.float(), v.float(), causal=True), rtol=0, atol=0)


def test_shared_keys_are_those_of_more_heads_that_are_equal():
    few, many = MultiHeadAttention(12, 6, n_kv_head=2), MultiHeadAttention(12, 6)
    assert few.qkv.weight.shape == (20, 12) and few.out.weight.shape == (12, 12)
    q, k, v = few.qkv.weight.data.split([12, 4, 4])
    k, v = (w.unflatten(0, (2, 2)).repeat_interleave(3, 0).flatten(0, 1) for w in (k, v))
    many.qkv.weight.data, many.out.weight.data = torch.cat([q, k, v]), few.out.weight.data
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(few(x), many(x))


def test_past_keys_are_used_and_new_ones_remembered():
    layer, x = MultiHeadAttention(8, 2).double().requires_grad_(False), torch.randn(3, 9, 8, dtype=torch.float64)
    keys, values = torch.zeros(2, 3, 2, 9, 4, dtype=torch.float64)
    parts = []
    for start, end in ((0, 4), (4, 5), (5, 9)):
        past = keys[..., :end, :], values[..., :end, :]
        parts.append(layer(x[:, start:end], past=past))
    torch.testing.assert_close(torch.cat(parts, 1), layer(x))
    torch.testing.assert_close((keys, values), layer.heads(x)[1:])


def test_keys_that_cannot_be_dealt_out_are_refused():
    with pytest.raises(ValueError, match="n_kv_head must divide n_head, got 6 and 4"):
        MultiHeadAttention(12, 6, n_kv_head=4)
    with pytest.raises(ValueError, match="n_kv_head must divide n_head, got 6 and 4"):
        MultiHeadAttention(12, 6, n_kv_head=4, d_head=4)


@pytest.mark.parametrize("weights", [None, []])
@pytest.mark.parametrize(
    "mask, message", [(torch.ones(2, 3, 3, dtype=torch.bool), "expected a mask of"), (torch.ones(3, 3), "boolean")]
)
def test_a_mask_that_could_be_taken_for_another_is_refused(mask, message, weights):
    layer = MultiHeadAttention(4, 2)  # as many heads as texts: (B, T, T) would broadcast
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(2, 3, 4), mask=mask, weights=weights)


def test_a_mask_for_each_text_hides_its_own_keys():
    torch.manual_seed(0)
    layer, x, mask = MultiHeadAttention(4, 2), torch.randn(2, 3, 4), torch.ones(2, 1, 3, 3, dtype=torch.bool)
    mask[1, :, 1:, 0] = False
    layer(x, mask=mask, weights=(seen := []))
    hidden = seen[0][..., 1:, 0] == 0
    assert hidden[1].all() and not hidden[0].any()
    torch.testing.assert_close(layer(x, mask=mask), layer(x, mask=mask, weights=[]))


def test_more_keys_than_float16_can_count_are_refused():
    k = torch.zeros(70_000, 1, dtype=torch.float16)
    with pytest.raises(ValueError, match="float16 cannot sum up the weights of so many keys"):
        attention(k[:1], k, k + 1)
    assert attention(k[:1].float(), k.float(), k.float() + 1).item() == pytest.approx(1, rel=1e-2)
