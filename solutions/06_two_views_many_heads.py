# %% [markdown]
# # Exercises: Two views, many heads
#
# Six questions on chapter 06: two to derive, one to guess, one to repair, one to measure, and one that goes further than the chapter did.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("06_two_views_many_heads")

# %% [markdown]
# {{q1}}
#
# One head that is asked for two values, with a linear read-out, has a mean squared error of at least ½.
# Now a query points to `lookups` different names, each with a value of `channels` uncorrelated numbers of mean 0 and variance 1, and all their values are wanted.
# The layer has `n_head` heads, which share `d_model` channels between them, and a matrix $W_O$ that reads them.
# Which mean squared error can no choice of weights and matrices beat?
# Derive it on paper; the proof in the chapter needs two changes.

# %% tags=["answer"]
def least_error(lookups: int, n_head: int, d_model: int, channels: int) -> float:
    """The lower bound on the mean squared error per number of the answer."""
    # A head lets through the rank of one mean, at most `channels`, and no more than its
    # own d_head channels.
    rank = n_head * min(channels, d_model // n_head)
    wanted = lookups * channels  # directions, each of variance 1
    return max(0.0, 1 - rank / wanted)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# What does a layer cost?
# Count the parameters of a `MultiHeadAttention(d_model, n_head, bias=bias)`, and the multiplications of one pass over a text of `T` tokens: in the four linear maps, in the scores, and in the weighted means.
# Leave out the softmax, the scale, the additions and the mask: all pairs of tokens are computed.

# %% tags=["answer"]
def cost(T: int, d_model: int, n_head: int, bias: bool) -> tuple[int, int]:
    """The numbers of parameters and multiplications of a multi-head attention layer."""
    parameters = 4 * d_model * d_model + 4 * d_model * bias
    d_head = d_model // n_head
    linear_maps = 4 * T * d_model * d_model
    scores_and_means = n_head * 2 * T * T * d_head  # n_head cancels
    return parameters, linear_maps + scores_and_means


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# With $2 d_\text{head} \le d_\text{model}$ the symmetric part of $W_Q W_K^{\mathsf T}$ has, for almost all matrices, $d_\text{head}$ positive and $d_\text{head}$ negative eigenvalues.
# These counts say nothing about what a head has learned; they follow from the sizes alone, and so can yours.
# How many **negative** ones does a head with random normal $W_Q, W_K$ have if $d_\text{model} = 64$ and $d_\text{head} = 48$?
# Write your guess down before you run anything; it is compared with five draws, and within 3 is good.

# %% tags=["answer"]
def guessed_negative() -> int:
    """Your guess: the number of negative eigenvalues at d_model = 64, d_head = 48."""
    # Two ranges of 48 dimensions in 64 must overlap, so there is no room for 48 of each.
    # There are 64 in all; W_K might as well be -W_K, so neither sign is preferred.
    return 32


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Causal attention with several heads, in one tensor program, with several bugs.
# It runs, and the shape is right.
# The check begins with a single head, which hides most of them; keep going.

# %% tags=["stub"]
def many_heads(
    x: torch.Tensor, W_qkv: torch.Tensor, W_o: torch.Tensor, n_head: int
) -> torch.Tensor:
    """Causal multi-head attention of x (T, C).

    W_qkv (C, 3C) holds W_Q, W_K, W_V side by side; W_o is (C, C).
    """
    T, C = x.shape
    q, k, v = (x @ W_qkv).chunk(3, dim=-1)  # each (T, C)
    q, k, v = (z.reshape(n_head, T, C // n_head) for z in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(C)  # (n_head, T, T)
    weights = torch.softmax(scores, dim=-1)
    weights = weights * torch.ones(T, T).triu()
    heads = weights @ v  # (n_head, T, d_head)
    return heads.mean(0).repeat(1, n_head) @ W_o  # (T, C)


# %% tags=["answer"]
def many_heads(
    x: torch.Tensor, W_qkv: torch.Tensor, W_o: torch.Tensor, n_head: int
) -> torch.Tensor:
    """Causal multi-head attention of x (T, C).

    W_qkv (C, 3C) holds W_Q, W_K, W_V side by side; W_o is (C, C).
    """
    T, C = x.shape
    q, k, v = (x @ W_qkv).chunk(3, dim=-1)  # each (T, C)
    split = (z.reshape(T, n_head, C // n_head) for z in (q, k, v))
    q, k, v = (z.transpose(0, 1) for z in split)  # (n_head, T, d_head)
    scores = q @ k.transpose(-2, -1) / math.sqrt(C // n_head)  # (n_head, T, T)
    allowed = torch.ones(T, T, dtype=torch.bool).tril()
    weights = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1)
    heads = weights @ v  # (n_head, T, d_head)
    return heads.transpose(0, 1).reshape(T, C) @ W_o  # side by side


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Is a head an induction head?
# At query $t$ it should look at the places *right after* earlier copies of token $t$.
# Measure the weight that it puts there: for each head the mean over those queries that have such a place at all.
# (Token $t$ itself is no earlier copy, but the place right after an earlier copy may be $t$.)

# %% tags=["answer"]
def induction_score(weights: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The induction score (n_head,) of causal weights (n_head, T, T) on ids (T,)."""
    T = len(ids)
    after_a_copy = torch.zeros(T, T, dtype=torch.bool)
    # Key j stands after a token like query t.
    after_a_copy[:, 1:] = ids[:, None] == ids[None, :-1]
    after_a_copy = after_a_copy.tril()  # j <= t, so the copy at j - 1 is earlier than t
    there = (weights * after_a_copy).sum(-1)  # (n_head, T)
    return there[:, after_a_copy.any(-1)].mean(-1)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Bandwidths $h$ and $\sqrt 2\,h$ with output weights $(2, -1)$ rid a smoother of its bias in $h^2$, where keys lie on both sides.
# Any two different bandwidths can do that, and $n$ of them can do more: a head of bandwidth $h_i$ has the bias $c_2 h_i^2 + c_4 h_i^4 + \dots$, with the same $c$ for all heads.
# Find the output weights, for any number of heads, that get a constant right and remove as many terms as $n$ heads can.
# Then the check fits a curve with them and looks at the bias.

# %% tags=["answer"]
def output_weights(bandwidths: list[float]) -> torch.Tensor:
    """One output weight (n_head,), float64, for each bandwidth; all of these differ."""
    h2 = torch.tensor(bandwidths, dtype=torch.float64) ** 2
    # Row p says what the weights do to the term h^(2p): keep the constant, remove the
    # others.
    powers = torch.stack([h2**p for p in range(len(h2))])
    right = torch.zeros(len(h2), dtype=torch.float64)
    right[0] = 1
    return torch.linalg.solve(powers, right)


# %%
check("q6")
