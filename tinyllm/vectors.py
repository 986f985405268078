"""Vectors: how near two of them are, and vectors that say where a token stands."""

import torch
from torch import Tensor
from torch.nn import functional as F


def similarity(queries: Tensor, keys: Tensor, by: str = "dot") -> Tensor:
    r"""Compare each query with each key; the larger, the nearer.

        dot        q·k
        cosine     q·k / (|q| |k|), in [-1, 1]; 0 where one of them is the zero vector
        distance   -|q - k|, the Euclidean distance with its sign turned

    queries is (..., T_q, d), keys is (..., T_k, d); leading dimensions broadcast.
    Returns (..., T_q, T_k).

    >>> here, far = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0], [3.0, 2.0]])
    >>> [int(similarity(here, far, by).argmax()) for by in ("dot", "cosine", "distance")]
    [1, 0, 0]
    """
    if min(queries.ndim, keys.ndim) < 2 or queries.shape[-1] != keys.shape[-1]:
        shapes = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}"
        expected = "expected two dimensions or more each, the last one in common"
        raise ValueError(f"{expected}, got {shapes}")
    if by == "dot":
        return queries @ keys.transpose(-2, -1)
    if by == "cosine":
        return F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).transpose(-2, -1)
    if by == "distance":
        return -torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
    raise ValueError(f"unknown similarity {by!r}, expected dot, cosine or distance")


def canonical(E: Tensor, W: Tensor) -> Tensor:
    r"""Give embeddings the lengths and angles that the logits E Wᵀ have.

        canonical(E, W)_i · canonical(E, W)_j = z_i · z_j,   z = (E - mean)(W - mean)ᵀ

    E is (V, C), W is (V_next, C); the means are those of their rows. E A and W A⁻ᵀ make
    the same logits for every invertible A; a vector added to all rows of W is not seen by
    the softmax, and one added to all rows of E can be taken back by a bias. Lengths and
    angles here do not depend on any of these. Returns (V, C).
    """
    if E.ndim != 2 or W.ndim != 2 or E.shape[1] != W.shape[1]:
        shapes = f"E {tuple(E.shape)}, W {tuple(W.shape)}"
        raise ValueError(f"expected (V, C) and (V_next, C), got {shapes}")
    E, W = E - E.mean(dim=0), W - W.mean(dim=0)
    sizes, axes = torch.linalg.eigh(W.T @ W)  # (C,), (C, C)
    return E @ axes * sizes.clamp(min=0).sqrt()


def sinusoidal_positions(T: int, C: int) -> Tensor:
    r"""Give each position 0, ..., T-1 a fixed vector: the hands of C/2 clocks.

    Each clock is slower than the last (Vaswani et al. 2017):

        PE(t, 2i) = sin(t / 10000^(2i/C)),   PE(t, 2i+1) = cos(t / 10000^(2i/C))

    Returns (T, C). C has to be even.
    """
    if T < 1 or C < 2 or C % 2:
        raise ValueError(f"expected T >= 1 and an even C >= 2, got T {T} and C {C}")
    angles = torch.arange(T)[:, None] / 10000 ** (torch.arange(0, C, 2) / C)  # (T, C/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (T, C)
