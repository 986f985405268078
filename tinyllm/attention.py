"""Attention: a lookup that answers with the weighted mean of all values instead of the one that matches."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def check_shapes(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> None:
    """Raise `ValueError` unless queries, keys and values fit together.

    queries is (..., T_q, d), keys is (..., T_k, d), values is (..., T_k, d_v); leading dimensions broadcast.
    mask is boolean and broadcasts to (..., T_q, T_k).
    """
    shapes = f"queries {tuple(queries.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}"
    if min(queries.ndim, keys.ndim, values.ndim) < 2:
        raise ValueError(f"expected (..., T, d) with at least two dimensions each, got {shapes}")
    if keys.dtype == torch.float16 and keys.shape[-2] > torch.finfo(torch.float16).max:
        raise ValueError(f"float16 cannot sum up the weights of so many keys: {shapes}; take bfloat16")
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
    scores = (q * scale) @ k.transpose(-2, -1)  # (..., T_q, T_k)
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


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False,
    weights: list | None = None,
) -> Tensor:
    """`attention` of many heads (..., n_head, T, d), by torch's own routine.

    Keys and values may have fewer heads (..., n_kv_head, T_k, d): each then serves
    several queries in a row. `causal`: the last query is the last key's, and no query may
    attend to keys after its own; `mask` hides others besides. With a list for the
    weights it is `attention` that runs, and appends them: (..., n_head, T, T_k).
    """
    if mask is not None:
        check_mask(mask, q)
    T = q.shape[-2]
    causal = causal and T > 1  # the newest token alone may attend to all keys
    if causal and (mask is not None or weights is not None or T < k.shape[-2]):
        before = causal_mask(k.shape[-2], q.device)[-T:]  # (T, T_k)
        mask, causal = before if mask is None else before & mask, False
    if weights is None:
        return fused_attention(q, k, v, mask, causal)
    k, v = (z.repeat_interleave(q.shape[-3] // k.shape[-3], -3) for z in (k, v))
    output, seen = attention(q, k, v, mask, return_weights=True)
    weights.append(seen)
    return output


def check_mask(mask: Tensor, q: Tensor) -> None:
    """Raise `ValueError` for a mask that would be added, or taken for one of other axes."""
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a boolean mask, True where a query may attend, got {mask.dtype}")
    if mask.ndim not in (2, q.ndim):
        axes = f"(T, T_k), or (..., n_head or 1, T, T_k) with the {q.ndim} axes of the queries"
        raise ValueError(f"expected a mask of {axes}, got {tuple(mask.shape)}")


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """What `attend` computes, without holding all weights at once.

    On a CPU it adds up in 32 bits under autocast, too, which is faster there.
    """
    if q.is_cpu and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return fused_attention(q.float(), k.float(), v.float(), mask, causal)
    fewer = k.shape[-3] != q.shape[-3]
    return F.scaled_dot_product_attention(
        q, k, v, mask, is_causal=causal, enable_gqa=fewer
    )


class MultiHeadAttention(nn.Module):
    r"""Self-attention with several heads, of d_head = d_model / n_head channels each.

        head_i = Attention(X W_Qⁱ, X W_Kⁱ, X W_Vⁱ)
        MultiHead(X) = Concat(head_1, ..., head_n) W_O             (Vaswani et al. 2017)

    `qkv` holds W_Q, W_K and W_V of all heads, `out` is W_O. Takes and returns
    (..., T, C). To see the weights (..., n_head, T, T) pass a list: it gets them.

    With n_kv_head, n_head / n_kv_head queries in a row share a key and a value (Ainslie
    et al. 2023). `past` is room for keys and values, each (..., n_kv_head, T_k, d_head):
    the last T are filled in here. `mask`, (T, T_k) or with all axes (..., 1, T, T_k), hides
    some, as padding. `places` is what `heads` has to know besides x.
    """

    def __init__(
        self, d_model: int, n_head: int, causal: bool = True, bias: bool = False,
        n_kv_head: int | None = None, d_head: int | None = None,
    ) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.causal = n_head, n_kv_head or n_head, causal
        d_head = size_of_heads(d_model, n_head, self.n_kv_head, d_head)
        self.qkv = nn.Linear(d_model, (n_head + 2 * self.n_kv_head) * d_head, bias=bias)
        self.out = nn.Linear(n_head * d_head, d_model, bias=bias)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all heads, each (..., heads, T, d_head)."""
        ends = self.n_head, self.n_head + self.n_kv_head  # of queries, and of keys
        qkv = self.qkv(x).unflatten(-1, (ends[1] + self.n_kv_head, -1))
        return qkv.transpose(-3, -2).tensor_split(ends, dim=-3)

    def forward(self, x: Tensor, mask=None, past=None, weights=None, **places) -> Tensor:
        check_stream(x, self.qkv.in_features)
        q, k, v = self.heads(x, **places)
        if past is not None:
            (keys, values), T = past, x.shape[-2]
            keys[..., -T:, :], values[..., -T:, :] = k, v
            k, v = past
        heads = attend(q, k, v, mask, self.causal, weights)  # (..., n_head, T, d_head)
        return self.out(heads.transpose(-3, -2).flatten(-2))  # (..., T, C)


def size_of_heads(d_model: int, n_head: int, n_kv_head: int, d_head: int | None) -> int:
    """Channels of each head, d_head. ValueError where something cannot be dealt out."""
    if n_head < 1 or d_head is None and d_model % n_head:
        raise ValueError(f"n_head must divide d_model, got {d_model} and {n_head}")
    if n_kv_head < 1 or n_head % n_kv_head:
        raise ValueError(f"n_kv_head must divide n_head, got {n_head} and {n_kv_head}")
    return d_model // n_head if d_head is None else d_head


def check_stream(x: Tensor, d_model: int) -> None:
    """Raise `ValueError` unless x is (..., T, d_model)."""
    if x.ndim < 2 or x.shape[-1] != d_model:
        expected = f"(..., T, {d_model})"
        raise ValueError(f"expected x of shape {expected}, got {tuple(x.shape)}")
