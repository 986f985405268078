"""The delta rule: a memory that overwrites, since it reads a key before it writes to it."""

import torch
from torch import Tensor

from tinyllm.linear_attention import check_tokens, cut, decay_matrix, first_state, per_token


def delta_recurrent(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_gate: Tensor | None = None,
    state: Tensor | None = None, key_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Write v under k in place of what stands there, one token after the other.

        S ← e^(g_t) S
        S ← S + β_t k_t (v_t - Sᵀ k_t)ᵀ,        out_t = Sᵀ q_t

    (DeltaNet, Schlag et al. 2021; with a gate g, Yang et al. 2024.) The second line is a
    step of gradient descent on ½ |Sᵀk - v|²; with |k| = 1 and β = 1 it replaces all. Keys
    longer than √(2/β) diverge. q, k are (..., T, d), v (..., T, d_v), beta and log_gate
    g <= 0 (..., T); key_mask (..., T) is False for tokens that are not there. Returns
    (..., T, d_v) and the state (..., d, d_v), from which to go on.
    """
    k, v, log_gate = check_tokens(q, k, v, log_gate, key_mask)
    beta = per_token("beta", beta, q, k, v)
    S, outputs = first_state(k, v, state, q), []
    numbers = beta.unsqueeze(-1), log_gate.unsqueeze(-1)
    for q_t, k_t, v_t, b_t, g_t in zip(*(x.unbind(-2) for x in (q, k, v, *numbers))):
        S = g_t.unsqueeze(-1).exp() * S
        error = v_t - (k_t.unsqueeze(-2) @ S).squeeze(-2)
        S = S + k_t.unsqueeze(-1) * (b_t * error).unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(outputs, dim=-2), S


def delta_chunked(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_gate: Tensor | None = None,
    state: Tensor | None = None, key_mask: Tensor | None = None, chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    r"""`delta_recurrent`, faster: in parallel within chunks, a state from one to the next.

    A token's error depends on what the tokens before it in the chunk have written. For all
    of a chunk that is a triangular system, which is solved at once (Yang et al. 2024).
    """
    k, v, log_gate = check_tokens(q, k, v, log_gate, key_mask)
    beta = per_token("beta", beta, q, k, v)
    S, T = first_state(k, v, state, q), q.shape[-2]
    q, k, v = (cut(x, chunk_size) for x in (q, k, v))  # (..., n, C, d)
    b, g = (cut(x.unsqueeze(-1), chunk_size) for x in (beta, log_gate))  # (..., n, C, 1)
    since = g.cumsum(-2)  # log of what is left of the state
    decay = decay_matrix(g.squeeze(-1))  # (..., n, C, C)
    to_end = (since[..., -1:, :] - since).exp()  # what is left of a token at the end
    # errors = β (v - e^since k S) - β (k kᵀ * decay below the diagonal) errors
    system = (b * (k @ k.mT) * decay).tril(-1)
    own, read = (
        torch.linalg.solve_triangular(system, y, upper=False, unitriangular=True)
        for y in (b * v, b * since.exp() * k)
    )
    inside, from_state = q @ k.mT * decay, q * since.exp()
    parts = own, read, (k * to_end).mT, since[..., -1:, :].exp(), inside, from_state
    outputs = []
    # unbind, not an index: the gradient of each index is as large as all chunks together.
    for own_n, read_n, k_n, left_n, inside_n, q_n in zip(*(x.unbind(-3) for x in parts)):
        errors = own_n - read_n @ S  # (..., C, d_v)
        outputs.append(inside_n @ errors + q_n @ S)
        S = left_n * S + k_n @ errors
    return torch.cat(outputs, dim=-2)[..., :T, :], S
