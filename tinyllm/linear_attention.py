"""Linear attention: a kernel with features, so that a state of fixed size replaces all keys.

Three forms of the same sums: in parallel over all pairs, one token after the other, and in chunks.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.attention import check_shapes


def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
    log_gate: Tensor | None = None, normalize: bool = True, return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention whose scores become weights without exp: over all pairs, as `attention`.

        out_i = Σ_j w_ij v_j,    w_ij = φ(q_i)·φ(k_j)  [ / Σ_l φ(q_i)·φ(k_l) ]

    q and k are features (..., T_q, d), (..., T_k, d), v is (..., T_k, d_v), mask boolean
    (..., T_q, T_k). A log_gate (..., T) makes weights fade, and hides later keys; see
    `decay_matrix`. Without `normalize` the weights are not divided by their sum. With it
    they must not be negative, or the divisor may be near 0: not checked. A query that sees
    no key, or none it is like, gets zeros; so does one whose weights are all below the
    smallest number of their dtype, as after gates that add up to less than -103 in 32 bits.
    Returns (..., T_q, d_v), and with `return_weights` also the weights (..., T_q, T_k).
    """
    check_shapes(q, k, v, mask)
    weights = q @ k.mT  # (..., T_q, T_k)
    if log_gate is not None:
        weights = weights * decay_matrix(per_token("log_gate", log_gate, q, k, v))
    if mask is not None:
        weights = torch.where(mask, weights, 0.0)
    if normalize:
        total = weights.sum(-1, keepdim=True)
        weights = weights / torch.where(total == 0, 1, total)
    output = weights @ v
    return (output, weights) if return_weights else output


def linear_recurrent(
    q: Tensor, k: Tensor, v: Tensor, log_gate: Tensor | None = None,
    state: Tensor | None = None, normalize: bool = True, key_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""The same sums, causal, one token after the other, in a state of fixed size.

        S_t = e^(g_t) S_(t-1) + φ(k_t) v_tᵀ,       out_t = S_tᵀ φ(q_t)

    q and k are features (..., T, d), v is (..., T, d_v), log_gate g <= 0 is (..., T), or 0.
    key_mask (..., T) is False for tokens that are not there, such as padding. Returns the
    output (..., T, d_v) and the state (..., d, d_v), from which to go on. With `normalize`
    the state is (..., d, d_v + 1): its last column sums up the features, for the divisor.
    """
    k, v, log_gate = check_tokens(q, k, v, log_gate, key_mask)
    v = F.pad(v, (0, 1), value=1.0) if normalize else v
    S, outputs = first_state(k, v, state, q), []
    for q_t, k_t, v_t, g_t in zip(*(x.unbind(-2) for x in (q, k, v, log_gate[..., None]))):
        S = g_t[..., None].exp() * S + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    output = torch.stack(outputs, dim=-2)
    return weighted_mean(output) if normalize else output, S


def linear_chunked(
    q: Tensor, k: Tensor, v: Tensor, log_gate: Tensor | None = None,
    state: Tensor | None = None, normalize: bool = True, key_mask: Tensor | None = None,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    r"""`linear_recurrent`, faster: in parallel within chunks, a state from one to the next.

    Of pairs of tokens only those inside a chunk of C are looked at: T·C instead of T².
    """
    fades = log_gate is not None
    k, v, log_gate = check_tokens(q, k, v, log_gate, key_mask)
    v = F.pad(v, (0, 1), value=1.0) if normalize else v
    S, T = first_state(k, v, state, q), q.shape[-2]
    q, k, v = (cut(x, chunk_size) for x in (q, k, v))  # (..., n, C, d)
    inside, left = (q @ k.mT).tril(), k.new_ones(k.shape[-3], 1, 1)
    if fades:
        g = cut(log_gate.unsqueeze(-1), chunk_size)  # (..., n, C, 1)
        since = g.cumsum(-2)  # log of what is left of the state
        inside, q = inside * decay_matrix(g.squeeze(-1)), q * since.exp()
        k = k * (since[..., -1:, :] - since).exp()  # what is left of it at the chunk's end
        left = since[..., -1:, :].exp()
    states, S = carry(S, left, k.mT @ v)
    output = (inside @ v + q @ states).flatten(-3, -2)[..., :T, :]
    return weighted_mean(output) if normalize else output, S


def carry(S: Tensor, left: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """The state before each of n chunks, (..., n, d, d_v), and the one after the last.

    S is (..., d, d_v); left (..., n, 1, 1) is what a chunk leaves of the state, and writes
    (..., n, d, d_v) what it adds.
    """
    before = []
    # unbind, not an index: the gradient of each index is as large as all chunks together.
    for left_n, writes_n in zip(left.unbind(-3), writes.unbind(-3)):
        before.append(S)
        S = left_n * S + writes_n
    return torch.stack(before, dim=-3), S


def decay_matrix(log_gate: Tensor) -> Tensor:
    r"""What is left of token j at token i: e^(g_(j+1) + ... + g_i), and 0 where j > i.

    log_gate g <= 0 is (..., T), returns (..., T, T). Gates of 0 give the causal mask.

    >>> decay_matrix(torch.tensor([0.5, 0.5, 0.1]).log())
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 1.0000, 0.0000],
            [0.0500, 0.1000, 1.0000]])
    """
    check_gates(log_gate)
    since = log_gate.cumsum(-1)
    # Hidden before exp, too: what would be e^(+large) there has no finite gradient.
    return (since.unsqueeze(-1) - since.unsqueeze(-2)).tril().exp().tril()


def retention_gates(n_head: int) -> Tensor:
    """log(1 - 2^(-5-h)) for heads h = 0, 1, ...: the constant gates of RetNet, (n_head,).

    (Sun et al. 2023.) Head 0 remembers about 32 tokens, each other one twice as many.
    """
    if n_head < 1:
        raise ValueError(f"expected at least one head, got {n_head}")
    return torch.log1p(-(2.0 ** (-5 - torch.arange(n_head))))


def weighted_mean(sums: Tensor) -> Tensor:
    """Sums of weighted values (..., d_v) by the sum of the weights, the last of d_v + 1.

    Where that is 0 no key was alike, and the mean is 0.
    """
    total = sums[..., -1:]
    return sums[..., :-1] / torch.where(total == 0, 1, total)


def cut(x: Tensor, chunk_size: int) -> Tensor:
    """Cut tokens (..., T, d) into chunks (..., n, C, d); the last is filled up with zeros.

    A token of zeros, with a log gate of 0, leaves a state as it is.
    """
    if chunk_size < 1:
        raise ValueError(f"expected chunks of at least 1 token, got {chunk_size}")
    missing = -x.shape[-2] % chunk_size
    x = F.pad(x, (0, 0, 0, missing)) if missing else x  # to pad by nothing would copy
    return x.unflatten(-2, (-1, chunk_size))


def first_state(k: Tensor, v: Tensor, state: Tensor | None, *others: Tensor) -> Tensor:
    """Zeros (..., d, d_v), or the state to go on from. ValueError if it does not fit."""
    leading = torch.broadcast_shapes(*(x.shape[:-2] for x in (k, v, *others)))
    shape = *leading, k.shape[-1], v.shape[-1]
    if state is None:
        return k.new_zeros(shape)
    if state.shape != shape:
        raise ValueError(f"expected a state {tuple(shape)}, got {tuple(state.shape)}")
    return state


def check_tokens(
    q: Tensor, k: Tensor, v: Tensor, log_gate: Tensor | None, key_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and log gates in which a token that is not there changes nothing.

    Raises `ValueError` unless there is one query, one key and one value for each token.
    """
    check_shapes(q, k, v)
    if short := [x.dtype for x in (q, k, v) if x.dtype.itemsize < 4]:
        raise ValueError(f"sums over tokens need 32 bits or more, not {short[0]}: a state stops to grow")
    log_gate = k.new_zeros(()) if log_gate is None else log_gate
    log_gate = per_token("log_gate", log_gate, q, k, v)
    if key_mask is None:
        check_gates(log_gate)
        return k, v, log_gate
    if key_mask.dtype != torch.bool:
        wanted = "a boolean mask, True where there is a token"
        raise ValueError(f"expected {wanted}, got {key_mask.dtype}")
    key_mask = per_token("key_mask", key_mask, q, k, v)
    k, v = (torch.where(key_mask.unsqueeze(-1), x, 0) for x in (k, v))  # 0 · nan is nan
    log_gate = torch.where(key_mask, log_gate, 0)
    check_gates(log_gate)
    return k, v, log_gate


def check_gates(log_gate: Tensor) -> None:
    """Raise `ValueError` if a log gate is above 0, or -inf, of which sums have differences nan."""
    if (log_gate > 0).any() or (log_gate == -torch.inf).any():
        low, high = log_gate.min().item(), log_gate.max().item()
        raise ValueError(f"expected log gates, finite and <= 0, got {low:.3g} to {high:.3g}")


def per_token(name: str, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One number for each of T tokens, (..., T). ValueError unless x broadcasts to that."""
    if q.shape[-2] != k.shape[-2]:
        shapes = f"queries {tuple(q.shape)}, keys {tuple(k.shape)}"
        raise ValueError(f"expected one query for each key, got {shapes}")
    tokens = (*torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]), k.shape[-2])
    try:
        fits = torch.broadcast_shapes(x.shape, tokens) == tokens
    except RuntimeError:
        fits = False
    if not fits:
        shape = tuple(x.shape)
        raise ValueError(f"{name} {shape} does not broadcast to the tokens {tokens}")
    return x.expand(*x.shape[:-1], k.shape[-2])
