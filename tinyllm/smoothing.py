"""Kernel smoothing: what is y here? The mean of the known y, weighted by how near each of them lies."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tinyllm.attention import check_shapes, softmax

# log K(u) of the distance u = |x - x_j| / h, up to a constant, which the weights'
# normalization cancels. A kernel that reaches no further than u = 1 is -inf beyond it:
# to a lookup, those keys are masked.
LOG_KERNELS = {
    "gaussian": lambda u: -(u**2) / 2,  # K = exp(-u²/2)
    "exponential": lambda u: -u,  # K = exp(-u)
    "epanechnikov": lambda u: (1 - u**2).relu().log(),  # K = ¾ (1 - u²)
    "triangular": lambda u: (1 - u).relu().log(),  # K = 1 - u
    "uniform": lambda u: (u <= 1).to(u.dtype).log(),  # K = ½
}


def kernel_scores(
    query: Tensor, keys: Tensor, bandwidth: float | Tensor, kernel: str, visible: Tensor
) -> Tensor:
    """log K(|x - x_j| / h) for each query and key, (..., T_q, T_k); -inf if not visible."""
    if kernel not in LOG_KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}, expected {', '.join(LOG_KERNELS)}")
    h = torch.as_tensor(bandwidth, dtype=keys.dtype, device=keys.device)
    if not torch.all(h > 0):
        raise ValueError(f"expected a bandwidth > 0, got {bandwidth}")
    # The usual |x|² - 2 x·x_j + |x_j|² loses half the digits of a small distance.
    distance = torch.cdist(query, keys, compute_mode="donot_use_mm_for_euclid_dist")
    # So far below the nearest distance h changes no weight any more, but u² overflows.
    nearest = torch.where(visible, distance.detach(), torch.inf).amin(-1, keepdim=True)
    u = distance / h.maximum(1e-18 * nearest)
    return torch.where(visible, LOG_KERNELS[kernel](u), -torch.inf)


def smoothing_weights(
    query: Tensor, keys: Tensor, bandwidth: float | Tensor, kernel: str = "gaussian",
    key_weights: Tensor | None = None, leave_one_out: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """The weights (..., T_q, T_k) of `nadaraya_watson`; a row without a key is 0."""
    T_q, T_k = query.shape[-2], keys.shape[-2]
    visible = torch.ones((), dtype=torch.bool, device=keys.device) if mask is None else mask
    if leave_one_out:
        if T_q != T_k:
            raise ValueError(f"expected query i to be key i, got {T_q} and {T_k}")
        visible = visible & ~torch.eye(T_k, dtype=torch.bool, device=keys.device)
    if key_weights is None:
        return softmax(kernel_scores(query, keys, bandwidth, kernel, visible))
    if key_weights.shape[-1:] != (T_k,) or not torch.all(key_weights >= 0):
        raise ValueError(f"not {T_k} key weights >= 0: {tuple(key_weights.shape)}")
    log_weights = key_weights.log().unsqueeze(-2)  # (..., 1, T_k)
    visible = visible & (log_weights > -torch.inf)
    return softmax(kernel_scores(query, keys, bandwidth, kernel, visible) + log_weights)


def nadaraya_watson(
    query: Tensor, keys: Tensor, values: Tensor, bandwidth: float | Tensor,
    kernel: str = "gaussian", key_weights: Tensor | None = None,
    leave_one_out: bool = False, mask: Tensor | None = None, return_weights: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Estimate y at each query: a mean of the values, weighted by a kernel of distance.

        ŷ(x) = Σ_j w_j K(|x - x_j| / h) y_j  /  Σ_j w_j K(|x - x_j| / h)

    (Nadaraya 1964, Watson 1964.) query is (..., T_q, d), keys (..., T_k, d), values
    (..., T_k, d_v). The bandwidth h > 0 is in units of the keys: a number, or a tensor
    that broadcasts to (..., T_q, T_k). key_weights w_j >= 0 is (..., T_k), or all 1.
    leave_one_out hides key i from query i; mask is boolean, True where a query may use
    a key. Returns (..., T_q, d_v), and with `return_weights` the weights, which sum to
    1. Where no key is in reach y would be 0/0: it is nan, and the weights are 0.

    >>> x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [4.0]])
    >>> nadaraya_watson(torch.tensor([[0.5], [9.0]]), x, y, 1.0, kernel="uniform")
    tensor([[0.5000],
            [   nan]])
    """
    check_shapes(query, keys, values, mask)
    weights = smoothing_weights(
        query, keys, bandwidth, kernel, key_weights, leave_one_out, mask
    )
    in_reach = weights.sum(dim=-1, keepdim=True) > 0
    estimate = torch.where(in_reach, weights @ values, torch.nan)  # (..., T_q, d_v)
    return (estimate, weights) if return_weights else estimate


def local_linear(
    query: Tensor, keys: Tensor, values: Tensor, bandwidth: float | Tensor,
    kernel: str = "gaussian",
) -> Tensor:
    r"""Estimate y at each query by a line (a plane) fitted to the keys around it.

        ŷ(x) = a,  where (a, b) minimizes Σ_j K(|x - x_j| / h) (y_j - a - b·(x_j - x))²

    That is Nadaraya-Watson's mean of the values, moved along the fitted slope from the
    mean of the keys to x. The two differ wherever more keys lie on one side of x than on
    the other, as they do beside a boundary. Shapes, units and errors are those of
    `nadaraya_watson`. Where too few keys are in reach, the slope is 0.
    """
    value_mean, weights = nadaraya_watson(
        query, keys, values, bandwidth, kernel, return_weights=True
    )
    # Relative to the query: places far from 0 would lose the digits of their differences.
    offset = keys.unsqueeze(-3) - query.unsqueeze(-2)  # (..., T_q, T_k, d)
    mean_offset = weights.unsqueeze(-2) @ offset  # (..., T_q, 1, d)
    centered = offset - mean_offset
    weighted = (weights.unsqueeze(-1) * centered).transpose(-2, -1)  # (..., T_q, d, T_k)
    spread = weighted @ centered  # (..., T_q, d, d)
    inverse = torch.linalg.pinv(spread, hermitian=True)
    slope = inverse @ weighted @ values.unsqueeze(-3)  # (..., T_q, d, d_v)
    return value_mean - (mean_offset @ slope).squeeze(-2)  # (..., T_q, d_v)


def loocv(
    keys: Tensor, values: Tensor, bandwidths: Iterable[float], kernel: str = "gaussian"
) -> Tensor:
    """Mean squared error of predicting each value from the others, for each bandwidth.

    The predictions are those of `nadaraya_watson`; keys is (..., T_k, d), values is
    (..., T_k, d_v). Returns (n,), the error for each of the n bandwidths, in squared
    units of the values; it is inf where some key has no other one in reach.
    """
    estimates = [
        nadaraya_watson(keys, keys, values, h, kernel, leave_one_out=True)
        for h in bandwidths
    ]
    errors = torch.stack([(estimate - values).square().mean() for estimate in estimates])
    return torch.where(errors.isnan(), torch.inf, errors)
