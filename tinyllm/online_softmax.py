"""Exact attention that holds few weights at once: a softmax put right as more keys come."""

import math

import torch
from torch import Tensor

from tinyllm.attention import check_shapes


def online_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False,
    scale: float | None = None, block_size: int = 256,
) -> Tensor:
    r"""`attention`, block by block: scores of block_size queries and keys at a time.

    The idea of FlashAttention (Milakov and Gimelshein 2018, Dao et al. 2022). Shapes, mask
    and scale are those of `attention`. `causal`: the last query is the last key's, and no
    query may attend to keys after its own; blocks that hold only such keys are left out.
    """
    check_shapes(q, k, v, mask)
    (T_q, T_k), outputs = (q.shape[-2], k.shape[-2]), []
    if block_size < 1 or causal and T_q > T_k:
        wanted, got = "a block_size >= 1 and a key for each query", (block_size, T_q, T_k)
        raise ValueError(f"expected {wanted}, got {got}")
    q = q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], T_q, T_k)
    for i in range(0, T_q, block_size):
        rows = slice(i, i + block_size)
        own = i + T_k - T_q if causal else T_k  # the first row's own key
        so_far = None
        for j in range(0, min(own + block_size, T_k), block_size):
            keys = slice(j, j + block_size)
            scores = q[..., rows, :] @ k[..., keys, :].mT
            if mask is not None:
                scores = torch.where(mask[..., rows, keys], scores, -torch.inf)
            if own < j + block_size - 1:
                later = torch.ones_like(scores, dtype=torch.bool).triu(own - j + 1)
                scores = scores.masked_fill(later, -torch.inf)
            so_far = add_keys(scores, v[..., keys, :], so_far)
        sums, total, _ = so_far
        outputs.append(sums / torch.where(total == 0, 1, total))
    return torch.cat(outputs, dim=-2)


def add_keys(
    scores: Tensor, v: Tensor, so_far: tuple[Tensor, Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Add more keys to a softmax that is on its way.

    scores are (..., T_q, T_k), v (..., T_k, d_v). Takes and returns what is known of each
    query: the weighted sum of the values (..., T_q, d_v), the sum of the weights and the
    largest score, each (..., T_q, 1). Both sums are relative to the largest score: when a
    larger one comes, they shrink. The first by the second is the output.
    """
    smallest = torch.finfo(scores.dtype).min  # finite, for a row of -inf alone
    largest = scores.detach().amax(-1, keepdim=True).clamp(min=smallest)
    if so_far is None:
        weights = torch.exp(scores - largest)
        return weights @ v, weights.sum(-1, keepdim=True), largest
    sums, total, before = so_far
    largest = torch.maximum(before, largest)
    weights, shrink = torch.exp(scores - largest), torch.exp(before - largest)
    total = total * shrink + weights.sum(-1, keepdim=True)
    return sums * shrink + weights @ v, total, largest
