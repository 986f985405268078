"""The delta rule: an explicit loop, a step of gradient descent, and what it overwrites."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tinyllm.delta import delta_chunked, delta_recurrent
from tinyllm.linear_attention import linear_recurrent

CLOSE = dict(rtol=1e-10, atol=1e-10)
FORMS = [delta_recurrent, delta_chunked]
every_form = pytest.mark.parametrize("form", FORMS)


def data(*leading, T=11, d=4, d_v=3, seed=0, dtype=torch.float64):
    """Queries, keys of length 1, values, strengths and log gates."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(*leading, T, n, dtype=dtype, generator=g) for n in (d, d, d_v))
    beta, gates = (torch.rand(*leading, T, dtype=dtype, generator=g) for _ in range(2))
    return q, F.normalize(k, dim=-1), v, beta, -gates


def written_out(q, k, v, beta, gates, S, there=None):
    """One text, token by token: S is a list of rows, one for each channel of a key."""
    outputs = []
    for t in range(len(q)):
        if there is None or there[t]:
            S = S * float(gates[t].exp())
            read = sum(k[t][i] * S[i] for i in range(len(S)))
            S = torch.stack([S[i] + beta[t] * k[t][i] * (v[t] - read) for i in range(len(S))])
        outputs.append(sum(q[t][i] * S[i] for i in range(len(S))))
    return torch.stack(outputs), S


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.integers(1, 9), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 999))
def test_both_forms_are_the_loop_written_out(T, chunk_size, gated, padded, carried, seed):
    q, k, v, beta, gates = data(T=T, seed=seed)
    gates = gates if gated else None
    there = torch.rand(T, generator=torch.Generator().manual_seed(seed)) < 0.6 if padded else None
    S = v.new_ones(4, 3) if carried else None
    start = v.new_zeros(4, 3) if S is None else S
    expected, end = written_out(q, k, v, beta, beta * 0 if gates is None else gates, start, there)
    for form, more in ((delta_recurrent, {}), (delta_chunked, {"chunk_size": chunk_size})):
        output, state = form(q, k, v, beta, gates, S, there, **more)
        torch.testing.assert_close(output, expected, **CLOSE)
        torch.testing.assert_close(state, end, **CLOSE)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(), (2,), (3, 2)]), st.integers(1, 200), st.sampled_from([1, 5, 16, 64]), st.integers(0, 99)
)
def test_the_forms_agree_on_output_and_state(leading, T, chunk_size, seed):
    inputs = data(*leading, T=T, seed=seed)
    expected, state = delta_recurrent(*inputs)
    output, end = delta_chunked(*inputs, chunk_size=chunk_size)
    torch.testing.assert_close(output, expected, **CLOSE)
    torch.testing.assert_close(end, state, **CLOSE)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_a_text_read_in_pieces_gives_what_the_whole_gives(pieces, seed):
    inputs = data(2, T=sum(pieces), seed=seed)
    whole, end = delta_chunked(*inputs, chunk_size=4)
    state, outputs = None, []
    for n, part in enumerate(zip(*(x.split(pieces, 1) for x in inputs))):
        output, state = FORMS[(seed + n) % 2](*part, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, **CLOSE)
    torch.testing.assert_close(state, end, **CLOSE)


def test_a_write_is_a_step_of_gradient_descent_on_the_squared_error():
    q, k, v, beta, _ = data(T=1)
    S = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
    loss = (S.mT @ k[0] - v[0]).square().sum() / 2
    step = S - beta[0] * torch.autograd.grad(loss, S)[0]
    torch.testing.assert_close(delta_recurrent(q, k, v, beta, state=S)[1], step, **CLOSE)


@every_form
def test_the_last_value_of_a_key_is_the_one_that_is_read(form):
    k = torch.eye(4, dtype=torch.float64)[[0, 1, 0, 2, 1]]
    v = torch.arange(5.0, dtype=torch.float64)[:, None]
    read, _ = form(k, k, v, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(read, v)  # each reads what it has just written
    keys = torch.eye(4, dtype=torch.float64)
    state = form(k, k, v, torch.ones(5, dtype=torch.float64))[1]
    assert (keys @ state).flatten().tolist() == [2.0, 4.0, 3.0, 0.0]
    piled = linear_recurrent(k, k, v, normalize=False)[1]
    assert (keys @ piled).flatten().tolist() == [2.0, 5.0, 3.0, 0.0]  # a sum adds 1 and 4


@every_form
def test_orthogonal_keys_make_it_linear_attention(form):
    k = torch.eye(6, dtype=torch.float64)
    q, v = data(T=6, d=6)[0], data(T=6)[2]
    expected, _ = linear_recurrent(q, k, v, normalize=False)
    torch.testing.assert_close(form(q, k, v, torch.ones(6, dtype=torch.float64))[0], expected, **CLOSE)


@every_form
@pytest.mark.parametrize("T", [7, 64, 65, 130])
def test_no_output_changes_when_a_later_input_changes(form, T):
    inputs = data(2, T=T)
    before, _ = form(*inputs)
    for changed in sorted({1, 5, T // 2 + 1, T - 1, min(64, T - 1)}):  # inside chunks, and at their borders
        later = [x.clone() for x in inputs]
        for x in later:
            x[:, changed:] *= 0.5
        after, _ = form(*later)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.allclose(after[:, changed:], before[:, changed:])


def test_the_gradients_of_both_forms_are_the_same():
    inputs = [x.requires_grad_() for x in data(2, T=70)]
    both = [torch.autograd.grad(form(*inputs)[0].sin().sum(), inputs) for form in FORMS]
    for mine, right in zip(*both):
        torch.testing.assert_close(mine, right, rtol=1e-8, atol=1e-8)


def test_gates_that_let_next_to_nothing_pass_have_finite_outputs_and_gradients():
    q, k, v, beta, gates = (x.requires_grad_() for x in data(T=200, dtype=torch.float32))
    output, _ = delta_chunked(q, k, v, beta, 40 * gates)
    output.sum().backward()
    assert output.isfinite().all() and all(x.grad.isfinite().all() for x in (q, k, v, beta, gates))


@every_form
def test_32_bits_are_enough_for_a_long_text(form):
    inputs = data(2, T=1000, d=16)
    exact, _ = form(*inputs)
    torch.testing.assert_close(form(*(x.float() for x in inputs))[0].double(), exact, rtol=1e-4, atol=1e-4)


@every_form
def test_leading_dimensions_broadcast(form):
    q, k, v, beta, gates = data(T=9)
    many_q, many_v = torch.stack([q, 2 * q])[:, None], torch.stack([v, v + 1, -v])
    strengths = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)[:, None]
    output, state = form(many_q, k, many_v, strengths, gates)
    assert output.shape == (2, 3, 9, 3) and state.shape == (2, 3, 4, 3)
    alone, end = form(2 * q, k, -v, torch.ones(9, dtype=torch.float64), gates)
    torch.testing.assert_close(output[1, 2], alone, **CLOSE)
    torch.testing.assert_close(state[1, 2], end, **CLOSE)


@every_form
def test_shapes_that_do_not_fit_are_named(form):
    q, k, v, beta, gates = data(2)
    wrong = [
        ((q[:, :5], k, v, beta), {}, r"one query for each key, got queries \(2, 5, 4\), keys \(2, 11, 4\)"),
        ((q, k, v[:, :5], beta), {}, "one value for each key"),
        ((q, k, v, beta[:, :5]), {}, r"beta \(2, 5\) does not broadcast to the tokens \(2, 11\)"),
        ((q, k, v, beta, gates[:, :5]), {}, r"log_gate \(2, 5\) does not broadcast"),
        ((q, k, v, beta), {"key_mask": beta}, "expected a boolean mask"),
        ((q, k, v, beta), {"state": torch.zeros(4, 3)}, r"expected a state \(2, 4, 3\), got \(4, 3\)"),
    ]
    for args, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            form(*args, **options)
