"""Features: dot products against the kernels they stand for, exactly or in the mean over many draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.features import (
    data_aware,
    elu_plus_one,
    positive_features,
    power_features,
    random_projections,
    relu_squared,
    taylor_features,
    trigonometric_features,
)

EXACT = dict(rtol=1e-12, atol=1e-12)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------- exact


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.integers(1, 3), max_size=2), st.integers(0, 999))
def test_power_features_multiply_to_the_power_of_the_dot_product(d, p, leading, seed):
    q, k = randn(*leading, 4, d, seed=seed), randn(3, d, seed=seed + 1)
    features = power_features(q, p)
    assert features.shape == (*leading, 4, math.comb(d + p - 1, p))
    torch.testing.assert_close(features @ power_features(k, p).mT, (q @ k.mT) ** p, **EXACT)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 999))
def test_taylor_features_multiply_to_the_polynomial_written_out(d, degree, seed):
    q, k = randn(4, d, seed=seed), randn(3, d, seed=seed + 1)
    expected = sum((q @ k.mT) ** n / math.factorial(n) for n in range(degree + 1))
    torch.testing.assert_close(taylor_features(q, degree) @ taylor_features(k, degree).mT, expected, **EXACT)


def test_the_second_degree_has_561_features_for_32_channels_and_stays_positive():
    q, k = 3 * randn(50, 32), 3 * randn(60, 32, seed=1)
    assert taylor_features(q).shape == (50, 561)
    kernel = taylor_features(q) @ taylor_features(k).mT
    assert (kernel >= 0.5 - 1e-9).all() and (q @ k.mT < -1).any()


def test_one_vector_alone_has_features_too():
    x = torch.tensor([3.0, 2.0])
    torch.testing.assert_close(power_features(x, 2), torch.tensor([9.0, 6 * math.sqrt(2), 4.0]))


def test_exact_features_have_the_gradient_of_the_kernel_also_after_inference():
    with torch.inference_mode():
        power_features(torch.ones(7), 3)  # nothing that is kept from here may stand in the way
    q, k = randn(7).requires_grad_(), randn(7, seed=1)
    (power_features(q, 3) @ power_features(k, 3)).backward()
    torch.testing.assert_close(q.grad, 3 * (q.detach() @ k) ** 2 * k, **EXACT)


def test_positive_features_of_linear_attention_are_what_they_say():
    x = torch.tensor([-2.0, 0.0, 1.5], dtype=torch.float64)
    torch.testing.assert_close(elu_plus_one(x), torch.tensor([math.exp(-2), 1.0, 2.5], dtype=torch.float64))
    assert relu_squared(x).tolist() == [0.0, 0.0, 2.25]


# ---------------------------------------------------------------------------------------- random

Q, K = 0.4 * randn(3, 4, seed=5), 0.4 * randn(2, 4, seed=6)
KERNEL = (Q @ K.mT).exp()


def drawn(features_of, n=4000, m=6, orthogonal=True):
    """n estimates (n, 3, 2) of exp(q·k), each from other projections."""
    draws = (random_projections(m, 4, orthogonal, seeded(seed), torch.float64) for seed in range(n))
    return torch.stack([(lambda f: f(Q) @ f(K).mT)(features_of(w)) for w in draws])


def data_aware_of(w):
    projections, log_weights = data_aware(w, 3 * randn(50, 4, seed=7), 0.5 + randn(50, 4, seed=8))
    return lambda x: positive_features(x, projections, log_weights)


FAMILIES = {
    "trigonometric": lambda w: lambda x: trigonometric_features(x, w),
    "positive": lambda w: lambda x: positive_features(x, w),
    "data-aware": data_aware_of,
}


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_over_many_draws_is_the_kernel(family, orthogonal):
    estimates = drawn(FAMILIES[family], orthogonal=orthogonal)
    error, spread = estimates.mean(0) - KERNEL, estimates.std(0) / len(estimates) ** 0.5
    assert (error.abs() < 4 * spread).all() and (spread < 0.05 * KERNEL).all()


def test_the_variances_are_those_of_the_formulas():
    m = 6
    sums = (Q[:, None] + K).square().sum(-1)
    differences = (Q[:, None] - K).square().sum(-1)
    positive = KERNEL**2 * (sums.exp() - 1) / m
    trigonometric = sums.exp() / KERNEL**2 * (1 - (-differences).exp()) ** 2 / (2 * m)
    for family, expected in (("positive", positive), ("trigonometric", trigonometric)):
        measured = drawn(FAMILIES[family], orthogonal=False, n=10_000).var(0)
        torch.testing.assert_close(measured, expected, rtol=0.2, atol=0)


def test_data_aware_features_vary_less_where_the_sample_is_like_what_is_asked():
    q, k = 0.9 * randn(40, 4, seed=1), 0.9 * randn(40, 4, seed=2)
    errors = {"plain": 0.0, "aware": 0.0}
    for seed in range(300):
        w = random_projections(16, 4, generator=seeded(seed), dtype=torch.float64)
        stretched, log_weights = data_aware(w, q, k)
        for name, f in (
            ("plain", lambda x: positive_features(x, w)),
            ("aware", lambda x: positive_features(x, stretched, log_weights)),
        ):
            relative = f(q) @ f(k).mT / (q @ k.mT).exp() - 1
            errors[name] += relative.square().mean().item() / 300
    assert errors["aware"] < 0.2 * errors["plain"]


def test_data_aware_features_minimize_the_variance_that_their_stretching_is_derived_from():
    q, k = randn(30, 1, seed=1), 0.7 + randn(30, 1, seed=2)  # one axis: its mean square is s
    s = (q[:, None] + k).square().mean().item()
    stretch = data_aware(torch.ones(1, 1, dtype=torch.float64), q, k)[0].abs().item()
    u = 2 * stretch**2 - 1  # of √(1-4a) = √((1+u)/2)
    log_variance = lambda u: math.log((1 + u) / 2) - math.log(u) / 2 + s / u
    assert all(log_variance(u) < log_variance(other * u) for other in (0.9, 0.99, 1.01, 1.1))


def test_with_no_spread_data_aware_features_are_the_plain_ones():
    w, nothing = randn(5, 4), torch.zeros(3, 4, dtype=torch.float64)
    projections, log_weights = data_aware(w, nothing, nothing)
    torch.testing.assert_close(projections @ projections.mT, w @ w.mT, **EXACT)  # but for a rotation
    assert (log_weights == 0).all()


def test_each_head_may_have_its_own_projections_and_sample():
    q, k, w = randn(2, 3, 20, 4), randn(2, 3, 30, 4, seed=1), randn(6, 4, seed=2)
    projections, log_weights = data_aware(w, q, k)
    assert projections.shape == (2, 3, 6, 4) and log_weights.shape == (2, 3, 1, 6)
    features = positive_features(q, projections, log_weights)
    alone = data_aware(w, q[1, 2], k[1, 2])
    kernel = features @ positive_features(k, projections, log_weights).mT
    expected = positive_features(q[1, 2], *alone) @ positive_features(k[1, 2], *alone).mT
    torch.testing.assert_close(kernel[1, 2], expected, **EXACT)  # eigenvectors have no sign


def test_positive_features_are_positive_and_trigonometric_estimates_are_not():
    w = random_projections(64, 8, generator=seeded(0), dtype=torch.float64)
    q, k = 1.5 * randn(30, 8), -1.5 * randn(30, 8)
    assert (positive_features(q, w) > 0).all()
    assert (trigonometric_features(q, w) @ trigonometric_features(k, w).mT < 0).any()


def test_a_number_for_each_query_cancels_in_a_weighted_mean_and_one_for_each_key_does_not():
    q, k, w = randn(5, 4), randn(7, 4, seed=1), randn(6, 4, seed=2)
    norm = lambda q, k: q @ k.mT / (q @ k.mT).sum(-1, keepdim=True)
    weights = norm(positive_features(q, w), positive_features(k, w))
    shifted_q = positive_features(q, w, -(q @ w.mT).amax(-1, keepdim=True))
    torch.testing.assert_close(norm(shifted_q, positive_features(k, w, -3.0)), weights, **EXACT)
    shifted_k = positive_features(k, w, -(k @ w.mT).amax(-1, keepdim=True))
    assert (norm(shifted_q, shifted_k) - weights).abs().max() > 0.01


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
def test_orthogonal_projections_are_orthogonal_within_each_block(m, d, seed):
    rows = random_projections(m, d, generator=seeded(seed), dtype=torch.float64)
    assert rows.shape == (m, d)
    for block in rows.split(d):
        products = block @ block.mT
        torch.testing.assert_close(products, products.diagonal().diag(), rtol=0, atol=1e-9)


def test_each_orthogonal_projection_alone_is_a_standard_normal_vector():
    rows = torch.cat([random_projections(3, 3, generator=seeded(s), dtype=torch.float64) for s in range(4000)])
    assert rows.mean(0).abs().max() < 0.04
    torch.testing.assert_close(rows.mT @ rows / len(rows), torch.eye(3, dtype=torch.float64), rtol=0, atol=0.05)
    torch.testing.assert_close(rows.norm(dim=-1).pow(4).mean(), torch.tensor(15.0).double(), rtol=0.05, atol=0)
    first = torch.stack(rows.split(3))[:, 0, 0]  # the first of each basis: QR alone leaves it one sign
    assert abs((first > 0).double().mean() - 0.5) < 0.04


def test_features_that_are_lost_are_an_error_and_not_an_answer_of_zero():
    w = random_projections(256, 32, generator=seeded(0))
    x = torch.randn(50, 32, generator=seeded(1))
    at_length = lambda squared: x * (squared**0.5 / x.norm(dim=-1, keepdim=True))
    assert (positive_features(at_length(136), w) > 0).any(-1).all()
    with pytest.raises(ValueError, match=r"x \(50, 32\), \|x\| up to 28.4, are all 0"):
        positive_features(at_length(804), w)
    kept = positive_features(at_length(804), w, 300.0)  # a number for all: cancels in a mean
    assert (kept > 0).any(-1).all()
    with pytest.raises(ValueError, match="are infinite"):
        positive_features(at_length(136), w, 300.0)


def test_the_same_generator_gives_the_same_projections():
    assert torch.equal(random_projections(9, 4, generator=seeded(1)), random_projections(9, 4, generator=seeded(1)))


def test_shapes_that_do_not_fit_are_named():
    for x, w in ((randn(3, 4), randn(6, 5)), (randn(4), randn(6, 4)), (randn(3, 4), randn(4))):
        for f in (positive_features, trigonometric_features):
            with pytest.raises(ValueError, match=rf"x \({x.shape[0]},.*projections \({w.shape[0]},"):
                f(x, w)
    with pytest.raises(ValueError, match="power p >= 0, got -1"):
        power_features(randn(3), -1)
    with pytest.raises(ValueError, match="degree >= 0, got -2"):
        taylor_features(randn(3), -2)
    with pytest.raises(ValueError, match=r"one channel, got \(3, 0\)"):
        power_features(randn(3, 0), 2)
    with pytest.raises(ValueError, match=r"got \(0, 4\)"):
        random_projections(0, 4)
    with pytest.raises(ValueError, match=r"projections \(6, 4\)"):
        data_aware(randn(6, 4), randn(5, 3), randn(5, 3))
