"""Linear attention: three forms of one sum, against the sum written out; what a state keeps, and what it hides."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.attention import attention, causal_mask
from tinyllm.features import elu_plus_one, taylor_features
from tinyllm.linear_attention import (
    decay_matrix,
    linear_attention,
    linear_chunked,
    linear_recurrent,
    retention_gates,
)

CLOSE = dict(rtol=1e-10, atol=1e-10)
FORMS = [linear_recurrent, linear_chunked]
every_form = pytest.mark.parametrize("form", FORMS)


def data(*leading, T=11, d=4, d_v=3, seed=0, dtype=torch.float64):
    """Features q and k, positive, values and log gates."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(*leading, T, n, dtype=dtype, generator=g) for n in (d, d, d_v))
    gates = -torch.rand(*leading, T, dtype=dtype, generator=g)
    return elu_plus_one(q), elu_plus_one(k), v, gates


def written_out(q, k, v, gates, normalize, there=None):
    """One text: sums over earlier tokens, of plain Python numbers; fading step by step."""
    T, output = len(q), torch.zeros(len(q), v.shape[1], dtype=torch.float64)
    for i in range(T):
        weights = []
        for j in range(i + 1):
            left = math.prod(math.exp(gates[n]) for n in range(j + 1, i + 1) if there is None or there[n])
            seen = there is None or bool(there[j])
            weights.append(seen * left * sum(float(a * b) for a, b in zip(q[i], k[j])))
        total = sum(weights) if normalize else 1
        for j, weight in enumerate(weights):
            output[i] += weight / (total or 1) * v[j]
    return output


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 14), st.integers(1, 9), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 999)
)
def test_every_form_is_the_sum_written_out(T, chunk_size, normalize, gated, padded, seed):
    q, k, v, gates = data(T=T, seed=seed)
    gates = gates if gated else 0 * gates
    there = torch.rand(T, generator=torch.Generator().manual_seed(seed)) < 0.6 if padded else None
    expected = written_out(q, k, v, gates, normalize, there)
    for form, more in ((linear_recurrent, {}), (linear_chunked, {"chunk_size": chunk_size})):
        output, state = form(q, k, v, gates if gated else None, None, normalize, there, **more)
        torch.testing.assert_close(output, expected, **CLOSE)
        assert state.shape == (4, 4 if normalize else 3)
    if not padded:
        mask = None if gated else causal_mask(T)
        parallel = linear_attention(q, k, v, mask, gates if gated else None, normalize)
        torch.testing.assert_close(parallel, expected, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(), (2,), (3, 2)]), st.integers(1, 200), st.sampled_from([1, 5, 16, 64]), st.booleans(),
    st.integers(0, 99),
)
def test_the_forms_agree_on_output_and_state(leading, T, chunk_size, normalize, seed):
    q, k, v, gates = data(*leading, T=T, seed=seed)
    expected, state = linear_recurrent(q, k, v, gates, normalize=normalize)
    output, end = linear_chunked(q, k, v, gates, normalize=normalize, chunk_size=chunk_size)
    torch.testing.assert_close(output, expected, **CLOSE)
    torch.testing.assert_close(end, state, **CLOSE)
    torch.testing.assert_close(linear_attention(q, k, v, None, gates, normalize), expected, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans(), st.integers(0, 99))
def test_a_text_read_in_pieces_gives_what_the_whole_gives(pieces, normalize, seed):
    q, k, v, gates = data(2, T=sum(pieces), seed=seed)
    whole, end = linear_chunked(q, k, v, gates, normalize=normalize, chunk_size=4)
    state, outputs = None, []
    for n, (q, k, v, g) in enumerate(zip(*(x.split(pieces, 1) for x in (q, k, v, gates)))):
        form = FORMS[(seed + n) % 2]
        output, state = form(q, k, v, g, state, normalize)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, **CLOSE)
    torch.testing.assert_close(state, end, **CLOSE)


def test_any_mask_hides_keys_in_the_parallel_form():
    q, k, v, _ = data(2)
    mask = torch.rand(2, 11, 11, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[0, 3] = False
    output, weights = linear_attention(q, k, v, mask, return_weights=True)
    assert (weights[~mask] == 0).all() and (output[0, 3] == 0).all()
    seen = mask[1, 5]
    expected = linear_attention(q[1, 5:6], k[1, seen], v[1, seen])
    torch.testing.assert_close(output[1, 5:6], expected, **CLOSE)


def test_the_weights_are_those_of_a_mean_or_of_a_sum():
    q, k, v, gates = data(2)
    for normalize in (True, False):
        output, weights = linear_attention(q, k, v, None, gates, normalize, return_weights=True)
        torch.testing.assert_close(weights @ v, output, **CLOSE)
        sums = weights.sum(-1)
        assert torch.allclose(sums, torch.ones_like(sums)) == normalize


def test_with_enough_taylor_terms_it_is_softmax_attention():
    q, k, v = (0.5 * torch.randn(2, 9, 3, dtype=torch.float64) for _ in range(3))
    mask = causal_mask(9)
    features = [taylor_features(x * 3**-0.25, 12) for x in (q, k)]
    torch.testing.assert_close(linear_attention(*features, v, mask), attention(q, k, v, mask), **CLOSE)
    torch.testing.assert_close(linear_chunked(*features, v)[0], attention(q, k, v, mask), **CLOSE)


@every_form
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("T", [7, 64, 65, 130])
def test_no_output_changes_when_a_later_input_changes(form, T, gated):
    inputs = data(2, T=T)[: 3 + gated]
    before, _ = form(*inputs)
    for changed in sorted({1, 5, T // 2 + 1, T - 1, min(64, T - 1)}):  # inside chunks, and at their borders
        later = [x.clone() for x in inputs]
        for x in later:
            x[:, changed:] *= 3
        after, _ = form(*later)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.allclose(after[:, changed:], before[:, changed:])


@every_form
def test_the_gradients_are_those_of_the_parallel_form(form):
    inputs = [x.requires_grad_() for x in data(2, T=70)]
    expected = torch.autograd.grad(linear_attention(*inputs[:3], None, inputs[3]).sin().sum(), inputs)
    for mine, right in zip(torch.autograd.grad(form(*inputs)[0].sin().sum(), inputs), expected):
        torch.testing.assert_close(mine, right, rtol=1e-8, atol=1e-8)


def test_gates_that_let_next_to_nothing_pass_have_finite_outputs_and_gradients():
    q, k, v, gates = (x.requires_grad_() for x in data(T=200, dtype=torch.float32))
    output, _ = linear_chunked(q, k, v, 40 * gates, normalize=False)
    output.sum().backward()
    assert output.isfinite().all() and all(x.grad.isfinite().all() for x in (q, k, v, gates))


@every_form
def test_a_token_that_is_not_there_is_as_if_it_had_been_left_out(form):
    q, k, v, gates = data(2, 3, T=30)
    there = torch.rand(2, 1, 30, generator=torch.Generator().manual_seed(1)) < 0.5
    output, state = form(q, k, v, gates, key_mask=there)
    for b in range(2):
        left = [x[b][:, there[b, 0]] for x in (q, k, v, gates)]
        alone, end = form(*left)
        torch.testing.assert_close(output[b][:, there[b, 0]], alone, **CLOSE)
        torch.testing.assert_close(state[b], end, **CLOSE)


@every_form
def test_what_stands_in_a_token_that_is_not_there_does_not_matter(form):
    q, k, v, gates = data(T=6)
    there = torch.tensor([True, False, True, True, True, True])
    expected, _ = form(q, k, v, gates, key_mask=there)
    for x in (k, v, gates):
        x[1] = torch.nan
    output, state = form(q, k, v, gates, key_mask=there)
    assert torch.equal(output, expected) and state.isfinite().all()


@every_form
def test_a_gate_that_is_none_is_named(form):
    q, k, v, _ = data(T=6)
    for gate in (-torch.inf, 0.1):
        gates = torch.zeros(6).double()
        gates[2] = gate
        for call in (lambda: form(q, k, v, gates), lambda: decay_matrix(gates)):
            with pytest.raises(ValueError, match="log gates, finite and <= 0, got"):
                call()


@every_form
def test_where_nothing_was_written_yet_the_answer_is_zero(form):
    q, k, v, _ = data(T=5)
    output, _ = form(q, k, v, key_mask=torch.tensor([False, False, True, True, True]))
    assert (output[:2] == 0).all() and (output[2] == v[2]).all()


@every_form
def test_leading_dimensions_broadcast(form):
    q, k, v, gates = data(T=9)
    many_q, many_v = torch.stack([q, 2 * q])[:, None], torch.stack([v, v + 1, -v])
    heads = torch.tensor([-0.1, -0.5, -2.0])[:, None]  # one constant gate for each of three
    output, state = form(many_q, k, many_v, heads, normalize=False)
    assert output.shape == (2, 3, 9, 3) and state.shape == (2, 3, 4, 3)
    alone, _ = form(2 * q, k, -v, torch.full((9,), -2.0), normalize=False)
    torch.testing.assert_close(output[1, 2], alone, **CLOSE)
    again, _ = form(many_q, k, many_v, heads, state=state, normalize=False)
    assert again.shape == output.shape


def test_a_constant_gate_is_an_exponential_kernel_of_time():
    decay = decay_matrix(torch.full((6,), math.log(0.9)))
    for i in range(6):
        for j in range(6):
            assert float(decay[i, j]) == pytest.approx(0.9 ** (i - j) if j <= i else 0, abs=1e-6)
    assert torch.equal(decay_matrix(torch.zeros(4)), causal_mask(4).float())


def test_the_gates_of_retnet_are_the_published_ones():
    expected = torch.tensor([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128, 1 - 1 / 256])
    torch.testing.assert_close(retention_gates(4).exp(), expected)


@every_form
def test_the_state_does_not_grow(form):
    sizes = {form(*data(T=T)[:3])[1].shape for T in (1, 10, 100)}
    assert sizes == {(4, 4)}


@every_form
def test_shapes_that_do_not_fit_are_named(form):
    q, k, v, gates = data(2)
    wrong = [
        ((q[:, :5], k, v), {}, r"one query for each key, got queries \(2, 5, 4\), keys \(2, 11, 4\)"),
        ((q, k, v[:, :5]), {}, "one value for each key"),
        ((q, k[..., :2], v), {}, "same last dimension"),
        ((q, k, v, gates[:, :5]), {}, r"log_gate \(2, 5\) does not broadcast to the tokens \(2, 11\)"),
        ((q, k, v, gates[:, None]), {}, r"log_gate \(2, 1, 11\) does not broadcast to the tokens \(2, 11\)"),
        ((q, k, v), {"key_mask": gates}, "expected a boolean mask"),
        ((q, k, v), {"key_mask": gates[0, :3] < 0}, r"key_mask \(3,\) does not broadcast"),
        ((q, k, v), {"state": torch.zeros(2, 4, 3)}, r"expected a state \(2, 4, 4\), got \(2, 4, 3\)"),
    ]
    for args, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            form(*args, **options)


def test_the_other_forms_name_what_is_wrong_too():
    q, k, v, gates = data(2)
    with pytest.raises(ValueError, match="chunks of at least 1 token, got 0"):
        linear_chunked(q, k, v, chunk_size=0)
    with pytest.raises(ValueError, match=r"one query for each key, got queries \(2, 5, 4\)"):
        linear_attention(q[:, :5], k, v, None, gates)
    with pytest.raises(ValueError, match="boolean mask"):
        linear_attention(q, k, v, torch.ones(11, 11))
    with pytest.raises(ValueError, match="at least one head, got 0"):
        retention_gates(0)


@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_that_sixteen_bits_cannot_hold_are_refused(form, dtype):
    ones = torch.ones(1000, 2, dtype=dtype)  # in bfloat16 a sum of ones stops at 256
    with pytest.raises(ValueError, match=f"sums over tokens need 32 bits or more, not {dtype}"):
        form(ones, ones, ones, normalize=False)
