"""Features of a kernel: vectors φ whose dot products φ(q)·φ(k) are the kernel, or nearly so."""

import functools
import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor
from torch.nn import functional as F

# ---------------------------------------------------------------------------------------- exact


def elu_plus_one(x: Tensor) -> Tensor:
    """Features that are positive: e^x below 0 and 1 + x above it; shapes stay (..., d).

    The first that linear attention was tried with (Katharopoulos et al. 2020).
    """
    return F.elu(x) + 1


def relu_squared(x: Tensor) -> Tensor:
    """Features that are 0 or positive: max(0, x)²; shapes stay (..., d)."""
    return x.relu().square()


def power_features(x: Tensor, p: int) -> Tensor:
    r"""Features of the kernel (q·k)^p: all products of p channels, each product once.

        (q·k)^p = Σ_n  p! / (n_1! ... n_d!) · Π_i q_i^(n_i) k_i^(n_i),    n_1 + ... + n_d = p

    Takes (..., d) and returns (..., (d + p - 1 choose p)); p = 0 gives one feature, 1.

    >>> power_features(torch.tensor([3.0, 2.0]), p=2)
    tensor([9.0000, 8.4853, 4.0000])
    """
    check_channels(x)
    if p < 0:
        raise ValueError(f"expected a power p >= 0, got {p} for x {tuple(x.shape)}")
    factors, orders = products(x.shape[-1], p)
    features = orders.to(x).sqrt().expand(*x.shape[:-1], -1)
    for channels in factors.to(x.device):  # the first of each product, then the second
        features = features * x.index_select(-1, channels)
    return features


@functools.cache
def products(d: int, p: int) -> tuple[Tensor, Tensor]:
    """All products of p of d channels: their factors (p, n), and how many orders each has."""
    factors = list(combinations_with_replacement(range(d), p))
    orders = [
        math.factorial(p) // math.prod(math.factorial(c.count(i)) for i in set(c))
        for c in factors
    ]
    with torch.inference_mode(False):  # they are kept, and may be needed for gradients
        columns = torch.tensor(factors, device="cpu").reshape(len(factors), p).T
        return columns, torch.tensor(orders, device="cpu")


def taylor_features(x: Tensor, degree: int = 2) -> Tensor:
    r"""Features of the Taylor polynomial of exp(q·k):  1 + q·k + (q·k)²/2 + ...

    Takes (..., d) and returns (..., m); degree 2 has m = 1 + d + d(d+1)/2 features.
    With an even degree the kernel is positive whatever q and k are.

    >>> q, k = torch.tensor([0.5, 0.2]), torch.tensor([0.4, 1.0])  # q·k = 0.4
    >>> taylor_features(q) @ taylor_features(k)
    tensor(1.4800)
    """
    if degree < 0:
        raise ValueError(f"expected a degree >= 0, got {degree} for x {tuple(x.shape)}")
    terms = [power_features(x, n) / math.sqrt(math.factorial(n)) for n in range(degree + 1)]
    return torch.cat(terms, dim=-1)


# ---------------------------------------------------------------------------------------- random


def random_projections(
    m: int, d: int, orthogonal: bool = True, generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """m random directions ω in d dimensions, rows (m, d), each normal with variance 1.

    With `orthogonal`, d rows at a time are at right angles to each other, so that they do
    not tell the same twice; each alone is as random as before (Choromanski et al. 2020).
    """
    if m < 1 or d < 1:
        raise ValueError(f"expected at least one projection of one channel, got ({m}, {d})")
    rows = torch.randn(m, d, generator=generator, dtype=dtype)
    if not orthogonal:
        return rows
    squares = torch.randn(-(-m // d), d, d, generator=generator, dtype=dtype)
    bases, upper = torch.linalg.qr(squares)
    # Signs that make a basis as likely as any other; QR prefers some.
    bases = bases * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return bases.mT.flatten(0, 1)[:m] * rows.norm(dim=-1, keepdim=True)


def trigonometric_features(x: Tensor, projections: Tensor) -> Tensor:
    r"""Random features of exp(q·k), whose estimate may be negative (Rahimi and Recht 2007).

        exp(q·k) = e^(|q|²/2) e^(|k|²/2) · mean over ω of cos(ω·(q - k))

    x is (..., T, d), projections ω (..., m, d); returns (..., T, 2m), cosines, then sines.
    """
    check_projections(x, projections)
    angles = x @ projections.mT  # (..., T, m)
    size = (x.square().sum(-1, keepdim=True) / 2).exp() / math.sqrt(projections.shape[-2])
    return torch.cat([angles.cos(), angles.sin()], dim=-1) * size


def positive_features(
    x: Tensor, projections: Tensor, log_weights: Tensor | float = 0.0
) -> Tensor:
    r"""Random features of exp(q·k) that are positive: FAVOR+ (Choromanski et al. 2020).

        exp(q·k) = mean over ω of  exp(ω·q - |q|²/2) · exp(ω·k - |k|²/2)

    x is (..., T, d), projections ω (..., m, d); returns (..., T, m). log_weights is added
    to each exponent, and broadcasts to (..., T, m): see `data_aware`. A number for each
    query, (..., T, 1), cancels in a weighted mean. One for all keys does, too, but must
    not be taken from the keys themselves: it would tell early queries of later keys.

    Raises `ValueError` if all features of an x are 0 in its dtype, or one is infinite: the
    answers would be 0 or nan. Then shift the exponents, take 64 bits, or shorter x.
    """
    check_projections(x, projections)
    exponents = x @ projections.mT - x.square().sum(-1, keepdim=True) / 2  # (..., T, m)
    features = (exponents + log_weights).exp() / math.sqrt(projections.shape[-2])
    largest = features.detach().amax(-1)
    if (largest == 0).any() or largest.isinf().any():
        length = x.detach().norm(dim=-1).amax().item()
        wrong = "all 0" if (largest == 0).any() else "infinite"
        shape = tuple(x.shape)
        raise ValueError(f"features of x {shape}, |x| up to {length:.3g}, are {wrong}")
    return features


def data_aware(projections: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    r"""Stretch random directions so that `positive_features` of such q and k vary less.

    The estimate's variance grows with exp|q + k|². Along each principal axis of q + k, with
    mean square s, ω is drawn from a normal of another variance, and each feature carries
    the square root of how much likelier ω was before: the estimate stays unbiased. The
    logarithm of its second moment is the least possible, in the mean over such pairs.

        √(1-4a) ω  and  log √ratio = aω² + ¼ log(1-4a),     a = (1-u)/8,
        u = ½ (1 + 2s + √((1 + 2s)² + 8s))

    (Likhosherstov et al. 2022, 2023.) projections is (m, d), of samples q (..., N, d) and
    k (..., M, d) all pairs count, so that a causal model must take them from other texts
    than the one it reads. Returns projections (..., m, d) and log_weights (..., 1, m), both
    for `positive_features`.
    """
    check_projections(q, projections)
    check_projections(k, projections)
    mean_q, mean_k = q.mean(-2).unsqueeze(-1), k.mean(-2).unsqueeze(-1)  # (..., d, 1)
    moment = q.mT @ q / q.shape[-2] + k.mT @ k / k.shape[-2]
    moment = moment + mean_q @ mean_k.mT + mean_k @ mean_q.mT  # E (q+k)(q+k)ᵀ
    s, axes = torch.linalg.eigh(moment)  # (..., d) and columns (..., d, d)
    s = s.clamp(min=0)
    u = (1 + 2 * s + ((1 + 2 * s).square() + 8 * s).sqrt()) / 2  # 1 where s is 0
    a, stretch = (1 - u) / 8, ((1 + u) / 2).sqrt()  # √(1-4a)
    stretched = (projections * stretch.unsqueeze(-2)) @ axes.mT  # (..., m, d)
    log_ratio = projections.square() @ a.unsqueeze(-1)  # (..., m, 1)
    return stretched, log_ratio.mT + stretch.log().sum(-1)[..., None, None] / 2


def check_channels(x: Tensor) -> None:
    """Raise `ValueError` unless x is (..., d) with at least one channel."""
    if x.ndim < 1 or x.shape[-1] < 1:
        shape = tuple(x.shape)
        raise ValueError(f"expected x (..., d) with at least one channel, got {shape}")


def check_projections(x: Tensor, projections: Tensor) -> None:
    """Raise `ValueError` unless x (..., T, d) can be projected on rows (..., m, d)."""
    shapes = f"x {tuple(x.shape)} and projections {tuple(projections.shape)}"
    if min(x.ndim, projections.ndim) < 2 or 0 in (*x.shape[-2:], *projections.shape[-2:]):
        raise ValueError(f"expected x (..., T, d) and projections (..., m, d), got {shapes}")
    if x.shape[-1] != projections.shape[-1]:
        raise ValueError(f"x and projections need the same last dimension, got {shapes}")
