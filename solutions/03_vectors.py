# %% [markdown]
# # Exercises: Vectors
#
# Six questions on chapter 03: one to derive, one to guess, two to repair, one to construct, one to measure with.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("03_vectors")

# %% [markdown]
# {{q1}}
#
# Somebody has measured two words for you: how long each of their vectors is, and how far the two are apart.
# The vectors themselves are lost.
# Derive the cosine of the angle between them.


# %% tags=["answer"]
def cosine_of(length_a: float, length_b: float, distance: float) -> float:
    """The cosine of the angle between a and b, from |a|, |b| and |a - b|."""
    # |a - b|² = |a|² + |b|² - 2 a·b, and a·b = |a| |b| cos θ.
    return (length_a**2 + length_b**2 - distance**2) / (2 * length_a * length_b)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# Two words have a cosine of 0.2. Is that a sign that they belong together?
# How large is a cosine by pure chance?
# Take pairs of random vectors with **64** normal entries.
# Their cosines are 0 on average; how large is their standard deviation?
# Write down your guess before you run anything; it is compared with a measurement, and a guess within 0.04 is a good one.


# %% tags=["answer"]
def guessed_spread() -> float:
    """Your guess: the standard deviation of the cosine of random vectors of 64 entries."""
    # 64 terms of either sign grow like √64, and are divided by two lengths of √64 each.
    return 0.125


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# This function runs, returns ids, and is wrong in four ways.
# The check goes from dot product to cosine to distance, and names what it sees first.


# %% tags=["stub"]
def nearest(vectors: torch.Tensor, i: int, n: int, by: str) -> list[int]:
    """Ids of the n vectors (V, C) nearest to vector i, nearest first, without i itself.

    `by` is "dot", "cosine" or "distance".
    """
    if by == "dot":
        scores = vectors @ vectors[i]
    elif by == "cosine":
        scores = vectors @ vectors[i] / vectors[i].norm()
    else:
        scores = (vectors - vectors[i]).norm(dim=0)
    return scores.argsort(descending=True)[:n].tolist()


# %% tags=["answer"]
def nearest(vectors: torch.Tensor, i: int, n: int, by: str) -> list[int]:
    """Ids of the n vectors (V, C) nearest to vector i, nearest first, without i itself.

    `by` is "dot", "cosine" or "distance".
    """
    if by == "dot":
        scores = vectors @ vectors[i]
    elif by == "cosine":
        lengths = vectors.norm(dim=-1)
        scores = vectors @ vectors[i] / (lengths * lengths[i])  # each by its own length
    else:
        # The norm runs over the channels, and the nearest has the largest score.
        scores = -(vectors - vectors[i]).norm(dim=-1)
    scores[i] = -torch.inf
    return scores.argsort(descending=True)[:n].tolist()


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# A head that wants to attend "to three places before me" has to turn the vector of a place into that of another, and all it has is a matrix.
# The chapter found it by least squares; derive it.
# Construct the matrix $R$ with `P[t] @ R` = `P[t + k]` for *every* $t$, where row $t$ of `P` is $\mathrm{PE}(t)$:
# channel $2m$ is $\sin(t\,\omega_m)$, channel $2m+1$ is $\cos(t\,\omega_m)$, with $\omega_m = 10000^{-2m/C}$.
# What happens to the hand of one clock when $k$ is added to $t$?


# %% tags=["answer"]
def shift_matrix(C: int, k: int) -> torch.Tensor:
    """The matrix (C, C) that turns each sinusoidal position t, a row, into t + k.

    k may be negative.
    """
    R = torch.zeros(C, C)
    for m in range(C // 2):
        angle = k / 10000 ** (2 * m / C)
        sin, cos = math.sin(angle), math.cos(angle)
        # sin(a + b) = sin a cos b + cos a sin b
        # cos(a + b) = cos a cos b - sin a sin b
        clock = slice(2 * m, 2 * m + 2)
        R[clock, clock] = torch.tensor([[cos, -sin], [sin, cos]])
    return R


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Here is a head that was meant to know where its tokens stand.
# Its loss is fine on some tasks, and *dog bites man* puzzles it to this day.
# Find out what it does with the positions, and repair it: they belong to what is compared *and* to what is handed out.


# %% tags=["stub"]
def head(
    x: torch.Tensor,
    positions: torch.Tensor,
    W_q: torch.Tensor,
    W_k: torch.Tensor,
    W_v: torch.Tensor,
) -> torch.Tensor:
    """One head of self-attention over x (B, T, C); each W is (C, C).

    Its tokens stand at the places 0 to T-1 of `positions` (N, C).
    """
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores, dim=-1)
    return weights @ v + positions[: x.shape[0], None]


# %% tags=["answer"]
def head(
    x: torch.Tensor,
    positions: torch.Tensor,
    W_q: torch.Tensor,
    W_k: torch.Tensor,
    W_v: torch.Tensor,
) -> torch.Tensor:
    """One head of self-attention over x (B, T, C); each W is (C, C).

    Its tokens stand at the places 0 to T-1 of `positions` (N, C).
    """
    # Before anything is compared; (T, C) is the same for all texts of the batch.
    x = x + positions[: x.shape[1]]
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores, dim=-1)
    return weights @ v


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# The vectors of some phrases, such as *very quiet*, are said to point where their words point.
# Write the test that the appendix [*very happy*](../chapters/very_happy.ipynb) puts to them, for use on any claim of the kind "these vectors belong together".
# The measure is the mean cosine of phrase $i$ with word $i$.
# The null is what the same measure gives when the words are dealt out anew: row $s$ of `shuffles` says which word each phrase gets.
# The p-value is the share of the deals that reach at least the measured mean, where the deal that we found counts as one of them: with 99 shuffles, none of which comes near, it is 1/100.


# %% tags=["answer"]
def shuffling_test(
    phrases: torch.Tensor, words: torch.Tensor, shuffles: torch.Tensor
) -> tuple[float, float]:
    """(mean cosine, p-value) of phrases (n, d) with words (n, d).

    `shuffles` (S, n) says which word each phrase gets in each of the S deals.
    """
    cosines = torch.cosine_similarity(phrases[:, None], words, dim=-1)  # (n, n)
    own = cosines.diagonal().mean()
    dealt = cosines[torch.arange(len(words)), shuffles].mean(dim=-1)  # (S,)
    return own.item(), (1 + (dealt >= own).sum().item()) / (1 + len(shuffles))


# %%
check("q6")
