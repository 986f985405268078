"""Attention: a lookup that answers with the weighted mean of all values instead of the one that matches."""

import math

import torch
from torch import Tensor, nn


def check_shapes(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> None:
    """Raise `ValueError` unless queries, keys and values fit together.

    queries is (..., T_q, d), keys is (..., T_k, d), values is (..., T_k, d_v); leading dimensions broadcast.
    mask is boolean and broadcasts to (..., T_q, T_k).
    """
    shapes = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}"
    if min(queries.ndim, keys.ndim, values.ndim) < 2:
        raise ValueError(f"expected (..., T, d) with at least two dimensions each, got {shapes}")
    if 0 in keys.shape[-2:]:
        raise ValueError(f"expected at least one key of at least one channel, got {shapes}")
    if queries.shape[-1] != keys.shape[-1]:
        raise ValueError(f"queries and keys need the same last dimension, got {shapes}")
    if keys.shape[-2] != values.shape[-2]:
        raise ValueError(f"expected one value for each key, got {shapes}")
    try:
        leading = torch.broadcast_shapes(queries.shape[:-2], keys.shape[:-2], values.shape[:-2])
    except RuntimeError:
        raise ValueError(f"the leading dimensions do not broadcast: {shapes}") from None
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a boolean mask, True where a query may attend, got {mask.dtype}")
    scores = (*leading, queries.shape[-2], keys.shape[-2])
    try:
        fits = torch.broadcast_shapes(mask.shape, scores)[-2:] == scores[-2:]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"the mask {tuple(mask.shape)} does not broadcast to the scores {scores}")


def softmax(scores: Tensor) -> Tensor:
    r"""Turn each row of scores, the last dimension, into positive weights that sum to 1.

        softmax(s)_j = exp(s_j) / Σ_i exp(s_i)

    A score of -inf gets the weight 0. In a row of nothing else all weights are 0: there
    is no one to share.
    """
    # Subtracting the same number from every score changes nothing, except that exp can
    # no longer overflow: so no gradient has to pass through that number. (In a row of
    # -inf alone any finite one will do.)
    smallest = torch.finfo(scores.dtype).min
    largest = scores.detach().amax(dim=-1, keepdim=True).clamp(min=smallest)
    exps = torch.exp(scores - largest)
    # The largest score adds exp(0), so only a row of -inf alone can sum to less than 1.
    return exps / exps.sum(dim=-1, keepdim=True).clamp(min=1)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
    scale: float | None = None, return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Compare each query with every key, and answer with a weighted mean of the values.

        Attention(Q, K, V) = softmax(Q Kᵀ / √d) V                (Vaswani et al. 2017)

    q is (..., T_q, d), k is (..., T_k, d), v is (..., T_k, d_v); the leading dimensions
    broadcast. mask is boolean and broadcasts to (..., T_q, T_k): True means that this
    query may attend to this key. A query that may attend to nothing gets zeros.
    scale replaces 1/√d.
    Returns (..., T_q, d_v), and with `return_weights` also the weights (..., T_q, T_k).

    >>> keys, values = torch.eye(2), torch.tensor([[1.0], [3.0]])
    >>> attention(torch.tensor([[100.0, 0.0], [5.0, 5.0]]), keys, values)
    tensor([[1.],
            [2.]])
    """
    check_shapes(q, k, v, mask)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.transpose(-2, -1) * scale  # (..., T_q, T_k)
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    weights = softmax(scores)
    output = weights @ v  # (..., T_q, d_v)
    return (output, weights) if return_weights else output


def causal_mask(T: int, device: torch.device | None = None) -> Tensor:
    """Let each position attend to itself and to what came before it: boolean (T, T).

    True means attend.

    >>> causal_mask(3).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()


class MultiHeadAttention(nn.Module):
    r"""Self-attention with several heads, each of d_head = d_model / n_head channels.

        head_i = Attention(X W_Qⁱ, X W_Kⁱ, X W_Vⁱ)
        MultiHead(X) = Concat(head_1, ..., head_n) W_O             (Vaswani et al. 2017)

    `qkv` holds W_Q, W_K and W_V of all heads, `out` is W_O. Takes (..., T, C), returns
    (..., T, C), with `return_weights` also the weights (..., n_head, T, T).
    """

    def __init__(self, d_model: int, n_head: int, causal: bool = True, bias: bool = False):
        super().__init__()
        if n_head < 1 or d_model % n_head:
            raise ValueError(f"n_head must divide d_model, got {d_model} and {n_head}")
        self.n_head, self.causal = n_head, causal
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self, x: Tensor, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        if x.ndim < 2 or x.shape[-1] != self.qkv.in_features:
            expected = f"(..., T, {self.qkv.in_features})"
            raise ValueError(f"expected x of shape {expected}, got {tuple(x.shape)}")
        qkv = self.qkv(x).unflatten(-1, (3, self.n_head, -1))  # T, 3, n_head, d_head
        q, k, v = qkv.transpose(-4, -2).unbind(-3)  # each (..., n_head, T, d_head)
        mask = causal_mask(x.shape[-2], x.device) if self.causal else None
        heads, weights = attention(q, k, v, mask, return_weights=True)  # heads: like q
        output = self.out(heads.transpose(-3, -2).flatten(-2))  # (..., T, C)
        return (output, weights) if return_weights else output
