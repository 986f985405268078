"""What softmax attention sees of the past: a window, the first tokens, less of what is far."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.attention import check_shapes, fused_attention, softmax
from tinyllm.linear_attention import cut


def window_mask(
    T: int, window: int, sinks: int = 0, T_k: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Let each position attend to the last `window`, itself included: boolean (T, T_k).

    And to the first `sinks` of the text, which trained heads may need to put weight on that
    is for no one else (attention sinks, Xiao et al. 2023). True means attend. The T queries
    are the last of T_k tokens, of T if not given.

    >>> window_mask(5, window=2, sinks=1).int()
    tensor([[1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 0, 1, 1, 0],
            [1, 0, 0, 1, 1]], dtype=torch.int32)
    """
    if window < 1 or sinks < 0:
        raise ValueError(f"expected a window >= 1 and sinks >= 0, got {window} and {sinks}")
    distance = distances(T, T_k, device)
    near = distance < window
    near[:, :sinks] = True
    return near & (distance >= 0)


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """`attention` with a `window_mask` that looks at 2 · window keys a query, not at all T.

    q and k are (..., T, d), v is (..., T, d_v); returns (..., T, d_v). Tokens are cut into
    chunks of the window's length: what a query sees is in its own chunk or the one before.
    Raises `ValueError` unless there is a query for each key.
    """
    check_shapes(q, k, v)
    if q.shape[-2] != k.shape[-2]:
        shapes = f"queries {tuple(q.shape)}, keys {tuple(k.shape)}"
        raise ValueError(f"expected one query for each key, got {shapes}")
    leading, T = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]), q.shape[-2]
    q, k, v = (x.expand(*leading, *x.shape[-2:]) for x in (q, k, v))
    chunks = (cut(x, window) for x in (q, k, v))  # (..., n, window, d)
    q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in chunks)  # (B, n, window, d)
    before = (F.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1] for x in (k, v))
    k, v = (torch.cat(pair, dim=-2) for pair in zip(before, (k, v)))  # (B, n, 2 window, d)
    mask = window_mask(window, window, 0, 2 * window, q.device).repeat(q.shape[1], 1, 1)
    mask[0, :, :window] = False  # before the first chunk there is nothing
    output = fused_attention(q, k, v, mask).flatten(1, 2)[:, :T]
    return output.reshape(*leading, T, -1)


def softmax_one(scores: Tensor) -> Tensor:
    r"""Weights that may sum to less than 1: a query can attend to nothing (Miller 2023).

        softmax₁(s)_j = exp(s_j) / (1 + Σ_i exp(s_i))

    That is softmax with one key more, of score 0 and value 0. scores are (..., T_k), and so
    are the weights; -inf gets 0. Unlike softmax's, these change when a number is added to
    all scores.
    """
    largest = scores.detach().amax(dim=-1, keepdim=True).clamp(min=0)  # 0: the key more
    exps = torch.exp(scores - largest)
    return exps / (exps.sum(dim=-1, keepdim=True) + torch.exp(-largest))


def alibi_slopes(n_head: int) -> Tensor:
    """How much a score loses with each token of distance, one number a head: (n_head,).

    2^(-8h/n) for heads h = 1, ..., n (Press et al. 2021).
    """
    if n_head < 1:
        raise ValueError(f"expected at least one head, got {n_head}")
    return 2.0 ** (-8 * torch.arange(1, n_head + 1) / n_head)


def alibi_bias(slopes: Tensor, T: int, T_k: int | None = None) -> Tensor:
    """Minus slope times distance, to be added to scores; -inf for later keys: (..., T, T_k).

    slopes are (...), one a head. The T queries are the last of T_k tokens, or of T.
    Weights become exp(score) times a one-sided exponential kernel of time.
    """
    distance = distances(T, T_k, slopes.device)
    return torch.where(distance >= 0, -slopes[..., None, None] * distance, -torch.inf)


def distances(T: int, T_k: int | None = None, device: torch.device | None = None) -> Tensor:
    """How many tokens back each of T_k keys is from the last T of them: (T, T_k)."""
    T_k = T if T_k is None else T_k
    if not 1 <= T <= T_k:
        raise ValueError(f"expected 1 <= T <= T_k, got {T} and {T_k}")
    places = torch.arange(T_k, device=device)
    return places[T_k - T :, None] - places


def biased_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None = None,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`attention` with numbers added to the scores, such as `alibi_bias`; -inf hides a key.

    bias broadcasts to (..., T_q, T_k); shapes are those of `attention`.
    """
    check_shapes(q, k, v, bias > -torch.inf)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    weights = softmax((q * scale) @ k.mT + bias)  # (..., T_q, T_k)
    output = weights @ v
    return (output, weights) if return_weights else output
