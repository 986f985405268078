import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.attention import attention, causal_mask
from tinyllm.smoothing import LOG_KERNELS, local_linear, loocv, nadaraya_watson, smoothing_weights

EXACT = dict(rtol=1e-12, atol=1e-12)

KERNELS = {
    "gaussian": lambda u: math.exp(-u * u / 2) / math.sqrt(2 * math.pi),
    "exponential": lambda u: math.exp(-u) / 2,
    "epanechnikov": lambda u: 0.75 * max(0.0, 1 - u * u),
    "triangular": lambda u: max(0.0, 1 - u),
    "uniform": lambda u: 0.5 * (u <= 1),
}


def data(*leading: int, T_q: int = 5, T_k: int = 9, d: int = 2, d_v: int = 3, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*leading, T_q, d, dtype=torch.float64, generator=g),
        torch.randn(*leading, T_k, d, dtype=torch.float64, generator=g),
        torch.randn(*leading, T_k, d_v, dtype=torch.float64, generator=g),
    )


def written_out(query, keys, values, h, kernel, key_weights=None, leave_one_out=False):
    """Nadaraya-Watson with plain Python numbers, one query and one key at a time."""
    result = torch.full((len(query), values.shape[1]), torch.nan, dtype=torch.float64)
    for i, x in enumerate(query.tolist()):
        weights = []
        for j, key in enumerate(keys.tolist()):
            weight = KERNELS[kernel](math.dist(x, key) / h)
            weight *= 1 if key_weights is None else float(key_weights[j])
            weights.append(0.0 if leave_one_out and i == j else weight)
        if sum(weights) > 0:
            for c in range(values.shape[1]):
                total = math.fsum(w * y for w, y in zip(weights, values[:, c].tolist(), strict=True))
                result[i, c] = total / math.fsum(weights)
    return result


def test_every_kernel_is_compared_with_its_formula():
    assert KERNELS.keys() == LOG_KERNELS.keys()


@settings(max_examples=100, deadline=None)
@given(
    kernel=st.sampled_from(sorted(KERNELS)),
    h=st.floats(0.3, 5),
    d=st.integers(1, 3),
    T_k=st.integers(1, 8),
    weighted=st.booleans(),
    leave_one_out=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_nadaraya_watson_equals_the_sum_written_out(kernel, h, d, T_k, weighted, leave_one_out, seed):
    query, keys, values = data(T_q=T_k if leave_one_out else 4, T_k=T_k, d=d, seed=seed)
    key_weights = values[:, 0].abs() if weighted else None
    ours = nadaraya_watson(query, keys, values, h, kernel, key_weights, leave_one_out)
    theirs = written_out(query, keys, values, h, kernel, key_weights, leave_one_out)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(("smoother", "reg_type"), [(nadaraya_watson, "lc"), (local_linear, "ll")])
def test_the_smoothers_equal_statsmodels(smoother, reg_type, d):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.nonparametric.kernel_regression import KernelReg

        query, keys, values = data(T_q=20, T_k=60, d=d, d_v=1)
        theirs = KernelReg(values.numpy(), keys.numpy(), "c" * d, reg_type, bw=[0.7] * d, rng=0)
        expected = torch.tensor(theirs.fit(query.numpy())[0])
    torch.testing.assert_close(smoother(query, keys, values, 0.7).flatten(), expected, **EXACT)


def test_leading_dimensions_broadcast_and_each_head_may_have_its_own_bandwidth():
    query, keys, values = data(2, 1)
    h = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    out, weights = nadaraya_watson(query, keys, values, h, return_weights=True)
    assert out.shape == (2, 3, 5, 3) and weights.shape == (2, 3, 5, 9)
    torch.testing.assert_close(out[1, 2], nadaraya_watson(query[1, 0], keys[1, 0], values[1, 0], 2.0))
    lines = local_linear(query, keys, values, h)
    torch.testing.assert_close(lines[1, 2], local_linear(query[1, 0], keys[1, 0], values[1, 0], 2.0))


# Two views: the smoother is a lookup.


@pytest.mark.parametrize("d", [1, 4, 64])
def test_softmax_attention_is_a_gaussian_smoother_with_weighted_keys(d):
    q, k, v = data(2, 3, d=d)
    h = d**0.25  # h² = √d
    key_weights = torch.exp(k.square().sum(-1) / (2 * h**2))
    smoothed, kernel_weights = nadaraya_watson(q, k, v, h, key_weights=key_weights, return_weights=True)
    looked_up, weights = attention(q, k, v, return_weights=True)
    torch.testing.assert_close(smoothed, looked_up, **EXACT)
    torch.testing.assert_close(kernel_weights, weights, **EXACT)


def test_without_the_key_weights_they_differ():
    q, k, v = data(d=16, T_q=50, T_k=50)
    assert (nadaraya_watson(q, k, v, 2.0) - attention(q, k, v)).abs().max() > 0.1


def rewritten(q, k, how):
    """The same head with other queries and keys."""
    if how == "rescaled":
        return 5 * q, k / 5
    return q, k + 3 * data(T_q=1, d=16, seed=7)[0]  # one vector for all keys


@pytest.mark.parametrize("how", ["rescaled", "shifted"])
def test_how_much_the_key_weights_matter_depends_on_how_a_head_is_written(how):
    q, k, v = data(d=16, T_q=50, T_k=50)
    other_q, other_k = rewritten(q, k, how)
    torch.testing.assert_close(attention(other_q, other_k, v), attention(q, k, v), **EXACT)
    error, other = (
        (nadaraya_watson(*pair, v, 2.0) - attention(q, k, v)).abs().max() for pair in ((q, k), (other_q, other_k))
    )
    assert other < error / 10 if how == "rescaled" else other > 1.2 * error


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.float64, 1e-12)])
def test_every_head_is_a_plain_gaussian_smoother_in_one_more_dimension(dtype, tolerance):
    q, k, v = (t.to(dtype) for t in data(2, 3, d=16, T_q=9))
    squared = k.square().sum(-1, keepdim=True)
    height = (squared.amax(-2, keepdim=True) - squared).sqrt()
    places = torch.cat([q, torch.zeros_like(q[..., :1])], -1), torch.cat([k, height], -1)
    for mask in (None, causal_mask(9)):
        plain = nadaraya_watson(*places, v, 2.0, mask=mask)
        torch.testing.assert_close(plain, attention(q, k, v, mask), rtol=0, atol=tolerance)


def test_the_derivative_is_the_covariance_of_values_and_keys_under_the_weights():
    q, k, v = data(T_q=1)
    out, weights = nadaraya_watson(q.requires_grad_(), k, v, 0.8, return_weights=True)
    slopes = torch.stack([torch.autograd.grad(y, q, retain_graph=True)[0][0] for y in out[0]])  # (d_v, d)
    w = weights[0, :, None]
    covariance = (w * (v - (w * v).sum(0))).T @ (k - (w * k).sum(0))
    torch.testing.assert_close(slopes, covariance / 0.8**2, **EXACT)


def test_keys_of_equal_norm_need_no_weights():
    q, k, v = data(d=16)
    k = 3 * k / k.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(nadaraya_watson(q, k, v, 2.0), attention(q, k, v), **EXACT)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 7.0])
def test_the_squared_bandwidth_is_the_temperature(temperature):
    q, k, v = data(d=16)
    k = k / k.norm(dim=-1, keepdim=True)
    smoothed = nadaraya_watson(q, k, v, bandwidth=math.sqrt(temperature))
    torch.testing.assert_close(smoothed, attention(q, k, v, scale=1 / temperature), **EXACT)


def test_leaving_one_out_is_masking_the_diagonal():
    _, k, v = data()
    k = k / k.norm(dim=-1, keepdim=True)
    out = nadaraya_watson(k, k, v, 2**0.25, leave_one_out=True)
    torch.testing.assert_close(out, attention(k, k, v, mask=~torch.eye(9, dtype=torch.bool)), **EXACT)


def test_leaving_one_out_equals_the_shortcut_over_one_minus_the_own_weight():
    _, x, y = data()
    fitted, weights = nadaraya_watson(x, x, y, 0.8, return_weights=True)
    own = weights.diagonal(dim1=-2, dim2=-1)[:, None]
    left_out = nadaraya_watson(x, x, y, 0.8, leave_one_out=True)
    torch.testing.assert_close(y - left_out, (y - fitted) / (1 - own), **EXACT)


def test_the_causal_mask_is_a_smoother_of_the_past():
    T = 9
    q, k, v = data(T_q=T, T_k=T, d=16)
    k = k / k.norm(dim=-1, keepdim=True)
    out = nadaraya_watson(q, k, v, 2.0, mask=causal_mask(T))
    torch.testing.assert_close(out, attention(q, k, v, causal_mask(T)), **EXACT)
    for t in range(T):
        seen = nadaraya_watson(q[t : t + 1], k[: t + 1], v[: t + 1], 2.0)
        torch.testing.assert_close(out[t], seen[0], **EXACT)


def test_the_past_is_one_side_in_time_and_none_in_content():
    T = 400
    time, content = torch.arange(T, dtype=torch.float64)[:, None], data(T_k=T, d=1)[1]
    late = nadaraya_watson(time, time, time, 4.0, mask=causal_mask(T)) - time
    assert (late[10:] < -2).all()
    beside = nadaraya_watson(content, content, content, 0.3, mask=causal_mask(T)) - content
    assert 0.4 < (beside[10:] < 0).double().mean() < 0.6


def test_an_exponential_kernel_of_the_past_is_an_exponential_moving_average():
    T, decay = 12, 0.7
    y = data(T_k=T)[2]
    time = torch.arange(T, dtype=torch.float64)[:, None]
    out = nadaraya_watson(time, time, y, -1 / math.log(decay), "exponential", mask=causal_mask(T))
    mean, weight = torch.zeros(3, dtype=torch.float64), 0.0
    for t in range(T):
        mean, weight = decay * mean + (1 - decay) * y[t], decay * weight + (1 - decay)
        torch.testing.assert_close(out[t], mean / weight, **EXACT)


def test_a_compact_kernel_is_a_mask():
    query, keys, values = data(T_q=30)
    near = torch.cdist(query, keys) <= 1.5
    some = near.any(-1)
    out = nadaraya_watson(query, keys, values, 1.5, "uniform")
    torch.testing.assert_close(out[some], attention(query, keys, values, near, scale=0.0)[some], **EXACT)
    assert out[~some].isnan().all() and not some.all()


# Bias, variance and how both go with the number of points.


def even(n, low=-1.0, high=1.0):
    return torch.linspace(low, high, n, dtype=torch.float64)[:, None]


ORIGIN = torch.zeros(1, 1, dtype=torch.float64)


def test_in_the_middle_the_bias_is_half_of_h2_times_the_curvature_and_at_the_edge_it_is_of_order_h():
    h, f = 0.02, lambda x: 3 * x + 5 * x**2
    middle = nadaraya_watson(ORIGIN, even(4001), f(even(4001)), h).item()
    assert middle == pytest.approx(h**2 * 10 / 2, rel=0.01)
    edge = nadaraya_watson(ORIGIN, even(4001, 0), f(even(4001, 0)), h).item()
    assert edge == pytest.approx(math.sqrt(2 / math.pi) * h * 3, rel=0.05)


def test_where_the_density_changes_the_mean_has_a_design_bias_and_the_line_has_not():
    u = even(8001)
    places = u - 0.4 * u**2  # at 0 the logarithm of their density has the slope 0.8
    h = 0.05
    mean = nadaraya_watson(ORIGIN, places, 3 * places, h).item()
    assert mean == pytest.approx(h**2 * 3 * 0.8, rel=0.02)
    assert abs(local_linear(ORIGIN, places, 3 * places, h).item()) < 1e-9


def test_two_and_minus_one_cancel_the_bias_in_the_middle_and_leave_most_of_it_at_an_edge():
    h = 0.02
    for low, left in ((-1.0, 0.0), (0.0, 2 - math.sqrt(2))):
        x = even(8001, low)
        f = x + x**2
        one, other = (nadaraya_watson(ORIGIN, x, f, h * r).item() for r in (1, math.sqrt(2)))
        assert (2 * one - other) / one == pytest.approx(left, abs=0.02)


@pytest.mark.parametrize("d", [1, 10])
def test_the_best_bandwidth_falls_like_n_to_minus_one_over_four_plus_d(d):
    bandwidths = torch.logspace(-1.5, -0.2, 40)
    best = []
    for n in (1000, 64_000):
        errors = torch.zeros(40)
        for seed in range(6):
            places = 2 * torch.rand(n, d, generator=torch.Generator().manual_seed(seed)) - 1
            for i, h in enumerate(bandwidths.tolist()):
                weights = smoothing_weights(torch.zeros(1, d), places, h)[0]
                bias = (weights @ places.square().sum(-1)) / d  # of a bowl, at its bottom
                errors[i] += bias**2 + 0.09 * weights.square().sum()
        best.append(bandwidths[errors.argmin()].item())
    assert math.log(best[1] / best[0]) / math.log(64) == pytest.approx(-1 / (4 + d), abs=0.025)


def test_the_trace_counts_parameters_from_one_per_point_down_to_one():
    _, x, y = data()
    traces = [smoothing_weights(x, x, h).trace().item() for h in (1e-3, 0.5, 1.0, 1e6)]
    assert traces == sorted(traces, reverse=True)
    assert traces[0] == pytest.approx(9) and traces[-1] == pytest.approx(1)


# What a smoother does at its limits.


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("h", [1e-15, 1e-20, 1e-30, 1e-38])
def test_a_bandwidth_of_next_to_nothing_gives_the_nearest_value_in_single_precision(kernel, h):
    query, keys, values = (t.float() for t in data())
    nearest = torch.cdist(query, keys).argmin(-1)
    assert torch.equal(nadaraya_watson(query, keys, values, h, kernel), values[nearest])
    distances = torch.cdist(keys, keys).fill_diagonal_(torch.inf)
    left_out = nadaraya_watson(keys, keys, values, h, kernel, leave_one_out=True)
    assert torch.equal(left_out, values[distances.argmin(-1)])
    hidden = torch.ones(5, 9, dtype=torch.bool).scatter(-1, nearest[:, None], False)
    second = torch.where(hidden, torch.cdist(query, keys), torch.inf).argmin(-1)
    assert torch.equal(nadaraya_watson(query, keys, values, h, kernel, mask=hidden), values[second])


@pytest.mark.parametrize("smoother", [nadaraya_watson, local_linear])
def test_far_from_the_origin_single_precision_is_enough(smoother):
    generator = torch.Generator().manual_seed(0)
    keys = 1000 + 3 * torch.rand(200, 1, generator=generator)
    query, values = 1000 + 3 * torch.rand(50, 1, generator=generator), torch.sin(3 * keys)
    exact = smoother(query.double(), keys.double(), values.double(), 0.3)
    torch.testing.assert_close(smoother(query, keys, values, 0.3).double(), exact, rtol=0, atol=2e-6)


def test_a_key_at_the_very_edge_of_the_uniform_kernel_counts():
    keys, values = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [4.0]])
    assert nadaraya_watson(torch.zeros(1, 1), keys, values, 1.0, "uniform").item() == 3


def test_moving_queries_and_keys_together_changes_nothing():
    query, keys, values = data(T_q=50, T_k=50)
    far = nadaraya_watson(query + 2**20, keys + 2**20, values, 0.1)
    torch.testing.assert_close(far, nadaraya_watson(query, keys, values, 0.1), rtol=1e-6, atol=1e-6)


def test_a_wide_kernel_gives_the_mean_and_a_narrow_one_the_nearest_value():
    query, keys, values = data()
    torch.testing.assert_close(nadaraya_watson(query, keys, values, 1e9), values.mean(0).expand(5, 3))
    nearest = torch.cdist(query, keys).argmin(-1)
    for h in (1e-3, 1e-100):  # here every exp(-u²/2) underflows
        torch.testing.assert_close(nadaraya_watson(query, keys, values, h), values[nearest])


def test_the_estimate_stays_between_the_smallest_and_the_largest_value():
    query, keys, values = data(T_q=200)
    out = nadaraya_watson(3 * query, keys, values, 0.5)
    assert (out >= values.amin(0) - 1e-12).all() and (out <= values.amax(0) + 1e-12).all()


@pytest.mark.parametrize("smoother", [nadaraya_watson, local_linear])
@pytest.mark.parametrize("kernel", ["epanechnikov", "triangular", "uniform"])
def test_out_of_reach_of_every_key_there_is_no_estimate(kernel, smoother):
    _, keys, values = data()
    query = torch.tensor([[50.0, 0.0], keys[0].tolist()], dtype=torch.float64)
    out = smoother(query, keys, values, 1.0, kernel)
    assert out[0].isnan().all() and out[1].isfinite().all()


def test_a_key_of_weight_zero_is_not_there():
    query, keys, values = data()
    weights = torch.ones(9)
    weights[4] = 0
    kept = weights > 0
    out = nadaraya_watson(query, keys, values, 1.0, key_weights=weights)
    torch.testing.assert_close(out, nadaraya_watson(query, keys[kept], values[kept], 1.0), **EXACT)


def test_a_key_of_weight_two_counts_as_two_keys():
    query, keys, values = data()
    twice = torch.tensor([0, *range(9)])
    out = nadaraya_watson(query, keys, values, 1.0, key_weights=torch.tensor([2.0] + [1.0] * 8).double())
    torch.testing.assert_close(out, nadaraya_watson(query, keys[twice], values[twice], 1.0), **EXACT)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_local_linear_reproduces_every_plane(kernel):
    query, keys, _ = data(T_q=4, T_k=60)
    slope = torch.tensor([[2.0], [-3.0]], dtype=torch.float64)
    out = local_linear(query, keys, keys @ slope + 5, 2.0, kernel)
    torch.testing.assert_close(out, query @ slope + 5, rtol=0, atol=1e-9)


def test_local_linear_is_the_weighted_least_squares_fit():
    query, keys, values = data()
    for x, ours in zip(query, local_linear(query, keys, values, 0.9, "exponential"), strict=True):
        root = torch.exp(-torch.cdist(x[None], keys)[0] / 0.9).sqrt()[:, None]
        design = torch.cat([torch.ones(9, 1), keys - x], dim=-1)
        fit = torch.linalg.lstsq(root * design, root * values).solution
        torch.testing.assert_close(ours, fit[0], rtol=1e-10, atol=1e-10)


def test_with_a_single_key_in_reach_local_linear_answers_its_value():
    keys, values = torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [7.0]])
    out = local_linear(torch.tensor([[0.2]]), keys, values, 1.0, "uniform")
    assert out.tolist() == [[1.0]]


def test_loocv_is_the_mean_squared_error_of_refitting_without_each_point():
    _, x, y = data()
    error = 0.0
    for i in range(9):
        others = torch.arange(9) != i
        error += (nadaraya_watson(x[i : i + 1], x[others], y[others], 0.8) - y[i]).square().mean() / 9
    torch.testing.assert_close(loocv(x, y, [0.8])[0], error, **EXACT)


def test_loocv_never_prefers_a_bandwidth_that_leaves_a_point_alone():
    x = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    errors = loocv(x, x.square(), torch.tensor([1.5, 8.0]), "uniform")
    assert errors[0] == torch.inf and errors[1].isfinite() and errors.argmin() == 1


def test_the_bandwidth_can_be_learned_by_gradient_descent():
    _, x, y = data()
    log_h = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for kernel in LOG_KERNELS.keys() - {"uniform"}:  # which is flat wherever it has a slope at all
        error = (nadaraya_watson(x, x, y, log_h.exp() * 9, kernel, leave_one_out=True) - y).square().mean()
        (gradient,) = torch.autograd.grad(error, log_h)
        step = 1e-6
        up, down = loocv(x, y, [9 * math.exp(step), 9 * math.exp(-step)], kernel)
        torch.testing.assert_close(gradient, (up - down) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov", "triangular"])
def test_no_gradient_is_nan_at_a_key_or_at_the_edge_of_a_kernel(kernel):
    x = torch.arange(4.0)[:, None].requires_grad_()
    out = nadaraya_watson(x, x, torch.arange(4.0)[:, None], 2.0, kernel)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("h", [0, -1.0, float("nan"), torch.tensor([1.0, 0.0])[:, None, None]])
def test_a_bandwidth_that_is_not_positive_is_refused(h):
    for smoother in (nadaraya_watson, local_linear):
        with pytest.raises(ValueError, match="bandwidth > 0"):
            smoother(*data(), h)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(kernel="box"), "unknown kernel 'box'.*uniform"),
        (dict(keys=torch.zeros(9, 3)), r"same last dimension.*\(5, 2\).*\(9, 3\)"),
        (dict(values=torch.zeros(8, 3)), r"one value for each key.*\(9, 2\).*\(8, 3\)"),
        (dict(keys=torch.zeros(0, 2), values=torch.zeros(0, 3)), r"at least one key.*\(0, 2\)"),
        (dict(values=torch.zeros(9)), r"at least two dimensions.*\(9,\)"),
        (dict(key_weights=torch.ones(8)), r"9 key weights.*\(8,\)"),
        (dict(key_weights=-torch.ones(9)), "key weights >= 0"),
        (dict(leave_one_out=True), "query i to be key i, got 5 and 9"),
        (dict(mask=torch.ones(5, 9)), "boolean mask"),
        (dict(mask=causal_mask(9)[:, :5]), r"\(9, 5\) does not broadcast to the scores \(5, 9\)"),
    ],
)
def test_input_that_does_not_fit_is_named(change, message):
    query, keys, values = data()
    arguments = dict(query=query, keys=keys, values=values, bandwidth=1.0)
    with pytest.raises(ValueError, match=message):
        nadaraya_watson(**(arguments | change))
