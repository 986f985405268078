"""What the heads of a trained model do: measures that no re-parametrization changes, and edits of a head.

Weights are causal, (..., n_head, T, T), rows that sum to 1. What is measured stays the same when
queries become A q and keys A⁻ᵀ k, when one vector is added to all keys, and when values are
multiplied by a matrix that W_O takes back: none of this changes what a model computes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from tinyllm.attention import MultiHeadAttention, attend, causal_mask, check_stream, softmax
from tinyllm.layers import rotate

# ---------------------------------------------------------------------------------------- measures


def effective_keys(weights: Tensor) -> Tensor:
    r"""How many keys share the weight of a row: e^H of its entropy H, 1 to T_k.

    Takes weights (..., T, T_k), returns (..., T). A weight of 0 adds nothing to the entropy.

    >>> effective_keys(torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
    tensor([1., 2.])
    """
    return torch.special.entr(weights).sum(-1).exp()  # entr(w) is -w ln w, and 0 at 0


def deviance_share(weights: Tensor, surrogate: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""How much of what sets a head apart from the plain mean its surrogate has, too: (n_head,).

        1 - Σ KL(w ‖ surrogate) / Σ KL(w ‖ uniform)       over all rows of all texts

    1: the same weights; 0: no nearer than the same weight on every key up to the query;
    below 0: further away, -inf where the surrogate gives 0 to a key that has weight; nan:
    the head is the plain mean, and nothing sets it apart. `mask` is boolean and says which
    rows count: (T,), or as many axes as weights (..., n_head, T, T) have without the keys'.
    Weights (T, T) of one head give one number.
    """
    check_causal(weights)
    check_rows(mask, weights)
    if surrogate.shape[-2:] != weights.shape[-2:]:
        shapes = f"{tuple(weights.shape)} and {tuple(surrogate.shape)}"
        raise ValueError(f"expected weights and a surrogate of as many tokens, not {shapes}")
    check_causal(surrogate)
    w, p = weights.double(), surrogate.double()
    n_keys = torch.arange(1, w.shape[-1] + 1, dtype=w.dtype, device=w.device)
    entropy = torch.special.entr(w).sum(-1)  # (..., T)
    near = -torch.xlogy(w, p).sum(-1) - entropy  # KL of each row
    far = n_keys.log() - entropy
    rounded = 10 * torch.finfo(weights.dtype).eps * torch.ones_like(far)  # what a row may err by
    if mask is not None:
        near, far, rounded = (torch.where(mask, z, 0.0) for z in (near, far, rounded))
    near, far, rounded = (sum_per_head(z, 1) for z in (near, far, rounded))
    return torch.where(far > rounded, 1 - near / far, torch.nan)


def by_offset(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""The best weights that depend on nothing but how far back a key is: (n_head, T, T).

        p_ij = π_(i-j) / (π_0 + ... + π_i)

    Of all π these have the highest likelihood, Σ w ln p over all texts and rows (of `mask`,
    as in `deviance_share`). A row cannot see offsets beyond its own beginning, they are
    truncated, and the estimate for truncated data is exact: of the weight at offsets up to
    o, in rows that reach as far as o, the share at o itself is π_o / (π_0 + ... + π_o)
    (Lynden-Bell 1971). Of few texts these numbers learn the contents, too, and explain more
    than of many.
    """
    check_causal(weights)
    check_rows(mask, weights)
    w = weights.double()
    if mask is not None:
        w = torch.where(mask.unsqueeze(-1), w, 0.0)
    total, T = sum_per_head(w, 2), w.shape[-1]
    place = torch.arange(T, device=w.device)
    offset = place[:, None] - place  # (T, T), negative above the diagonal
    back = total.gather(-1, offset.clamp(min=0).expand(total.shape))  # [i, o]: w[i, i - o]
    back = torch.where(offset >= 0, back, 0.0)
    reaches = offset >= 0  # row i reaches offset o
    at = back.sum(-2)  # (n_head, T), of each offset
    up_to = torch.where(reaches, back.cumsum(-1), 0.0).sum(-2)
    share = torch.where(up_to > 0, at / up_to, 0.0)
    left = torch.log1p(-share.clamp(max=1 - 1e-15))
    log_pi = share.log() - left.cumsum(-1)  # up to a constant
    scores = log_pi[..., offset.clamp(min=0)]  # (n_head, T, T)
    return softmax(torch.where(reaches, scores, -torch.inf)).to(weights.dtype)


def by_key(q: Tensor, k: Tensor, rope: Tensor | None = None) -> Tensor:
    r"""The weights if every query were the mean query: what keys alone say, (..., n_head, T, T).

        softmax_j (q̄ · k_j / √d),   q̄ the mean of q over all texts and rows

    q and k are (..., n_head, T, d). Of the scores q_i · k_j this is the main effect of the
    key, but for what depends on i alone and cancels in the softmax.

    A model that turns queries and keys by their positions has no such effect: which key the
    mean query likes depends on how far away it is. Pass them as they are before they turn,
    with the rows of `rope_table`, and the mean query turns to each place: what keys and
    distances say, without the query's content.
    """
    if q.ndim < 3 or q.shape[-3:] != k.shape[-3:]:
        shapes = f"{tuple(q.shape)} and {tuple(k.shape)}"
        raise ValueError(f"expected q and k of one shape (..., n_head, T, d), not {shapes}")
    n_texts = q[..., 0, 0, 0].numel()
    mean = sum_per_head(q, 2).mean(-2, keepdim=True) / n_texts  # (n_head, 1, d)
    mean = mean.expand(q.shape[-3:])
    if rope is not None:
        mean, k = rotate(mean, rope), rotate(k, rope)
    return causal_weights(mean, k)


def by_content(attention: MultiHeadAttention, x: Tensor) -> Tensor:
    """The weights after the mean at each position is taken out of what queries and keys are made of.

    x is (B, T, C), what the layer reads in B texts that begin alike: at position t the mean
    over the texts holds whatever position alone tells. What is left is content: neither
    positions nor a term of the key alone, since the mean query is 0. Nothing turns here.
    Returns (B, n_head, T, T).
    """
    check_stream(x, attention.qkv.in_features)
    if x.ndim != 3 or len(x) < 2:
        raise ValueError(f"expected x (B, T, C) of at least two texts, not {tuple(x.shape)}")
    q, k, _ = attention.heads(x - x.mean(0))
    q, k = q - q.mean(0), k - k.mean(0)  # biases, and norms of queries and keys, bring means back
    return causal_weights(q, per_query(k, q))


def causal_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q · k / √d) over the keys up to each query: (..., T, T)."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return softmax(torch.where(causal_mask(q.shape[-2], q.device), scores, -torch.inf))


def per_query(z: Tensor, q: Tensor) -> Tensor:
    """Keys or values (..., n_kv_head, T, d), once for each head of queries."""
    return z.repeat_interleave(q.shape[-3] // z.shape[-3], -3)


def sum_per_head(z: Tensor, n: int) -> Tensor:
    """The sum over all texts of numbers that have n axes a head; over rows, too, if n is 1."""
    texts = tuple(range(z.ndim - n - 1))
    z = z.sum(texts) if texts else z
    return z.sum(-1) if n == 1 else z


def check_causal(weights: Tensor) -> None:
    """Raise `ValueError` unless weights (..., T, T) are rows that sum to 1, up to the diagonal."""
    if weights.ndim < 2 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(f"expected weights (..., n_head, T, T), not {tuple(weights.shape)}")
    if weights.triu(1).count_nonzero():
        raise ValueError("weights must be causal: 0 above the diagonal")
    if not torch.allclose(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-3):
        raise ValueError("weights must be rows that sum to 1")


def check_rows(mask: Tensor | None, weights: Tensor) -> None:
    """Raise `ValueError` if it is not plain which rows of `weights` a mask means: (B, T) is not."""
    if mask is not None and mask.ndim not in (1, weights.ndim - 1):
        shapes = f"{tuple(mask.shape)} for weights {tuple(weights.shape)}"
        raise ValueError(f"expected a mask (T,) or (..., n_head or 1, T), not {shapes}")


# ---------------------------------------------------------------------------------------- edits


class Seen(NamedTuple):
    """What one layer reads and computes: x is (..., T, C), the rest (..., n_head, T, d or T)."""

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    weights: Tensor
    output: Tensor


STAGES = "q", "k", "v", "weights", "output"
Edit = Mapping[str, Callable[[Tensor], Tensor]]  # a stage of one head, and what becomes of it


def put(stage: str, value: Tensor | float, where: Tensor | None = None) -> Edit:
    """An edit of one head: where `where` is True, its q, k, v, weights or output is `value`.

    q, k, v and output are (..., T, d), weights (..., T, T); both arguments broadcast so.

    >>> silent = put("output", 0)                       # ablated with zero
    >>> edits = {(5, 3): put("v", torch.zeros(32), where=torch.tensor([[True], [False]]))}
    """
    value = torch.as_tensor(value)

    def change(z: Tensor) -> Tensor:
        try:
            new = value.to(z).expand(z.shape)
        except RuntimeError:
            shapes = f"{tuple(z.shape)}, {tuple(value.shape)} does not broadcast to it"
            raise ValueError(f"{stage} of a head is {shapes}") from None
        return new if where is None else torch.where(where, new, z)

    return {stage: change}


def scale_scores(s: float) -> Edit:
    """An edit of one head: all of its scores times s, so the temperature over s."""
    return {"q": lambda q: s * q}


@contextmanager
def edited(
    model, edits: Mapping[tuple[int, int], Edit] = {}, seen: list[Seen] | None = None
) -> Iterator[None]:
    """Inside `with`, the model computes with edits of some heads.

    `edits` maps (layer, head), both counted from 1, to an edit such as `put` gives; join
    two of one head with `|`. A list `seen` gets what each layer read and computed, edits
    included. The weights are whole texts': a cache cannot be used meanwhile.

    >>> # with edited(model, {(5, 3): scale_scores(2)}): logits = model(ids)
    """
    layers = [block.attention for block in model.blocks]
    for layer, attention in enumerate(layers, 1):
        if type(attention).forward is not MultiHeadAttention.forward:
            raise ValueError(f"layer {layer} is no softmax attention over all keys")
        if "forward" in vars(attention):
            raise ValueError(f"layer {layer} is edited already: give all edits at once")
    for (layer, head), edit in edits.items():
        if not (1 <= layer <= len(layers) and 1 <= head <= layers[layer - 1].n_head):
            raise ValueError(f"there is no head {head} in layer {layer}: both count from 1")
        if not edit.keys() <= set(STAGES):
            raise ValueError(f"an edit is of {', '.join(STAGES)}, not {', '.join(edit)}")
    changed = []
    try:
        for layer, attention in enumerate(layers, 1):
            own = {head - 1: edit for (at, head), edit in edits.items() if at == layer}
            if own or seen is not None:
                attention.forward = partial(edited_forward, attention, own, seen)
                changed.append(attention)
        yield
    finally:
        for attention in changed:
            del attention.forward  # the class has its own


def edited_forward(
    layer: MultiHeadAttention, edits: Mapping[int, Edit], seen: list[Seen] | None, x: Tensor,
    mask=None, past=None, weights=None, **places,
) -> Tensor:
    """`MultiHeadAttention.forward` with `edits` of heads, which are counted from 0 here."""
    if past is not None:
        raise ValueError("a model cannot be edited while it goes on from a cache")
    q, k, v = layer.heads(x, **places)
    q, k, v = apply(edits, q=q, k=per_query(k, q), v=per_query(v, q))
    if seen is None and weights is None and not any("weights" in edit for edit in edits.values()):
        z, w = attend(q, k, v, mask, layer.causal), None
    else:
        found: list[Tensor] = []
        attend(q, k, v, mask, layer.causal, found)
        w, = apply(edits, weights=found[0])
        z = w @ v
    z, = apply(edits, output=z)
    if weights is not None:
        weights.append(w)
    if seen is not None:
        seen.append(Seen(x, q, k, v, w, z))
    return layer.out(z.transpose(-3, -2).flatten(-2))


def apply(edits: Mapping[int, Edit], **stages: Tensor) -> list[Tensor]:
    """The stages (..., n_head, T, ·), with those of edited heads replaced."""
    found = []
    for stage, z in stages.items():
        for head, edit in edits.items():
            if stage in edit:
                new = edit[stage](z[..., head, :, :])
                if new.shape != z[..., head, :, :].shape:
                    shapes = f"{tuple(z[..., head, :, :].shape)}, not {tuple(new.shape)}"
                    raise ValueError(f"expected {stage} of a head to stay {shapes}")
                z = torch.cat([z[..., :head, :, :], new.unsqueeze(-3), z[..., head + 1:, :, :]], -3)
        found.append(z)
    return found


def record(model, ids: Tensor, edits: Mapping[tuple[int, int], Edit] = {}) -> tuple[Tensor, list[Seen]]:
    """The logits (..., T, V) and what each layer read and computed on the way."""
    seen: list[Seen] = []
    with edited(model, edits, seen):
        return model(ids), seen
