# %% [markdown]
# # Exercises: Past the quadratic
#
# Six questions on chapter 11: one to derive, three to write, one to repair, and one that asks for a test instead of a program.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch
from torch.nn import functional as F

from course.check import sheet

check = sheet("11_past_the_quadratic")

# %% [markdown]
# {{q1}}
#
# Chapter 11 has positive random features of the kernel $\exp(q \cdot k)$.
# Attention's kernel is $\exp(q \cdot k / \sqrt d)$.
# Write its features: the rows of `projections` are $\omega_1, \ldots, \omega_m \sim N(0, I)$, all features are positive, and the mean of $\varphi(q) \cdot \varphi(k)$ over many draws is the kernel, with the same $\varphi$ for queries and for keys.

# %% tags=["answer"]
def attention_features(x: torch.Tensor, projections: torch.Tensor) -> torch.Tensor:
    """Features (T, m) of vectors x (T, d); projections is (m, d)."""
    m, d = projections.shape
    x = x / d**0.25  # each side brings half of 1/√d
    half = x.square().sum(-1, keepdim=True) / 2  # (T, 1)
    return torch.exp(x @ projections.T - half) / math.sqrt(m)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# What a query has to keep of a block of keys is three things: `m`, the largest of its scores; `l`, the sum of $e^{s_j - m}$; and `o`, the sum of $e^{s_j - m} v_j$.
# Two blocks have been read apart from each other.
# Merge what was kept of them, as if their keys had been one block.
# A block whose keys are all hidden by a mask has kept $m = -\infty$, $l = 0$ and $o = 0$; so may both.

# %% tags=["answer"]
def merge(left: tuple, right: tuple) -> tuple:
    """(m, l, o) of both blocks, each such a triple: m and l (T_q,), o (T_q, d_v)."""
    m = torch.maximum(left[0], right[0])
    base = torch.where(m == -torch.inf, 0.0, m)  # -inf minus -inf would be nan
    a, b = torch.exp(left[0] - base), torch.exp(right[0] - base)
    l = a * left[1] + b * right[1]
    o = a[:, None] * left[2] + b[:, None] * right[2]
    return m, l, o


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# Causal linear attention without a divisor, $o_i = \sum_{j \le i} (\varphi_i^q \cdot \varphi_j^k)\, v_j$, in chunks of `size` tokens: all pairs inside a chunk, and one state that is handed from chunk to chunk.
# `q` and `k` hold features already.
# The last chunk may be shorter.
# (A program that looks at all pairs of the whole text gives the same numbers, and is not what is asked.)

# %% tags=["answer"]
def chunked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, size: int) -> torch.Tensor:
    """Outputs (T, d_v) for features q, k (T, d) and values v (T, d_v)."""
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_c, k_c, v_c in zip(q.split(size), k.split(size), v.split(size)):
        inside = (q_c @ k_c.T).tril() @ v_c
        outputs.append(inside + q_c @ M)  # M holds the chunks before this one
        M = M + k_c.T @ v_c
    return torch.cat(outputs)


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# The delta rule, one token after the other.
# Before a token is written, its key is brought to length 1.
# The state then moves by the part $\beta_t$ of the way to answering $v_t$ when it is asked with $k_t$; after that, it is read with $q_t$.

# %% tags=["answer"]
def overwrite(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """Outputs (T, d_v) for q, k (T, d), v (T, d_v) and beta (T,), from an empty state."""
    k = F.normalize(k, dim=-1)
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_t, k_t, v_t, b in zip(q, k, v, beta):
        M = M + b * torch.outer(k_t, v_t - k_t @ M)
        outputs.append(q_t @ M)
    return torch.stack(outputs)


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# The gated delta rule, $\mathbf M \leftarrow e^{g_t} \mathbf M$ and then $\mathbf M \leftarrow \mathbf M + \beta_t k_t (v_t - \mathbf M^\top k_t)^\top$, for a whole text at once: what each token really writes, $u_t$, comes from one triangular system.
# The function also returns the gradient of the sum of all outputs with respect to `log_gate`, as training would need it.
# It runs, and there are several bugs.
# One of them does not show in any output.

# %% tags=["stub"]
def gated_delta(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
    beta: torch.Tensor, log_gate: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (T, d_v) and a gradient (T,).

    q, k are (T, d), keys of length 1; v is (T, d_v), beta and log_gate g <= 0 are (T,).
    """
    g = log_gate.clone().requires_grad_()
    since = g.cumsum(-1)
    left = (since[:, None] - since[None, :]).exp().tril()  # of token j at token i
    overlap = (k @ k.T * left * beta).tril(-1)
    u = torch.linalg.solve_triangular(
        overlap, beta[:, None] * v, upper=False, unitriangular=True
    )
    output = (q @ k.T * left).tril(-1) @ u
    (gradient,) = torch.autograd.grad(output.sum(), g)
    return output.detach(), gradient


# %% tags=["answer"]
def gated_delta(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
    beta: torch.Tensor, log_gate: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (T, d_v) and a gradient (T,).

    q, k are (T, d), keys of length 1; v is (T, d_v), beta and log_gate g <= 0 are (T,).
    """
    g = log_gate.clone().requires_grad_()
    since = g.cumsum(-1)
    # Above the diagonal exp would be infinite, and 0 times its gradient is nan.
    left = (since[:, None] - since[None, :]).tril().exp().tril()
    overlap = (beta[:, None] * (k @ k.T) * left).tril(-1)
    u = torch.linalg.solve_triangular(
        overlap, beta[:, None] * v, upper=False, unitriangular=True
    )
    output = (q @ k.T * left).tril() @ u
    (gradient,) = torch.autograd.grad(output.sum(), g)
    return output.detach(), gradient


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# A mixer is causal if no output depends on a later token.
# Here you write the test, not the mixer: an experiment that any causal mixer survives and that leaks do not.
# Change keys and values from some token `n` on, and leave all before it, and all queries, as they are.
# The check then runs several mixers on both texts and compares their first `n` outputs.
# Some of the mixers work in chunks of `chunk` tokens, counted from the first.
# Some use positive features with the given `projections`, without a scale: $\exp(\omega \cdot k - |k|^2/2 - c) + 10^{-6}$, where the stabilizer $c$ should be the same for all texts and may be something else.
# One experiment has to catch them all.

# %% tags=["answer"]
def experiment(
    k: torch.Tensor, v: torch.Tensor, projections: torch.Tensor, chunk: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Other keys (T, d), other values (T, d_v), and n: they are the same before token n.

    projections is (m, d); chunk is at least 3, and T at least three chunks.
    """
    n = 2 * chunk - 1  # inside a chunk, with tokens of that chunk on both sides
    k, v = k.clone(), v.clone()
    k[n:] = projections[0]  # where its feature is as large as it can be
    v[n:] = v[n:] + 3
    return k, v, n


# %%
check("q6")
