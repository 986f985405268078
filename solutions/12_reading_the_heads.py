# %% [markdown]
# # Exercises: Reading the heads
#
# Six questions on chapter 12: one to count, one that fools a measure, one that repairs another, two experiments on a head, and one that settles what a weight explains.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.
# No question needs a trained model: queries, keys and values of a few numbers show as much.

# %%
import math

import torch

from course.check import sheet

check = sheet("12_reading_the_heads")

# %% [markdown]
# {{q1}}
#
# The mean of a head's effective keys over all rows can hide two ways of reading: few keys where a name is due, many elsewhere.
# Count them apart.
# `due` says which rows are due.
# The effective keys of a row are $\exp\bigl(-\sum_j w_j \ln w_j\bigr)$; of several rows, take the mean of theirs.
# In a causal map a row has weight 0 on all later keys.

# %% tags=["answer"]
def effective_keys(weights: torch.Tensor, due: torch.Tensor) -> tuple[float, float]:
    """(mean over the rows that are due, mean over all others).

    weights (T_q, T_k), whose rows sum to 1; due (T_q,), True or False.
    """
    terms = torch.where(weights > 0, -weights * weights.log(), 0.0)  # 0 · ln 0 is 0
    keys = terms.sum(-1).exp()
    return float(keys[due].mean()), float(keys[~due].mean())


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# A colleague wants to know which keys of a head matter, and calls those important whose vectors are long.
# Told that one vector added to all keys changes no weight, he now takes the mean of the keys off first: a key is important if it is far from the mean of the keys.
# Fool this measure, too.
# Write the same head in another form: other queries and other keys whose weights are all as they were, and the key that was **farthest** from the mean of all keys is now the **nearest** to it.
# The weights are those of attention, $\operatorname{softmax}(q \cdot k / \sqrt d)$, and no key is hidden.

# %% tags=["answer"]
def other_form(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Other queries (T_q, d) and other keys (T_k, d) that give the same weights; d > 1."""
    from_mean = k - k.mean(0)
    far = from_mean[from_mean.norm(dim=-1).argmax()]
    along = torch.outer(far, far) / far.square().sum()  # takes the part along `far`
    # That part of a key is divided by 100, and that of a query multiplied by it.
    return q + 99 * q @ along, k - 0.99 * k @ along


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# A head is a *clock* if the part of its scores that belongs to the key alone rises with position in a straight line: $\bar q \cdot k_j / \sqrt d$, where $\bar q$ is the mean of the queries.
# A key that is one token older then has $e^{-\text{slope}}$ times the weight, so the head averages over about $1/\text{slope}$ tokens, its *lag*.
# This function should find the lag of any clock, by a line fitted to these scores by least squares.
# The lag must be the same however the head is written: $q \to \mathbf A q$ with $k \to \mathbf A^{-\top} k$, and $k \to k + c$.
# It runs, and there are several bugs.

# %% tags=["stub"]
def lag(q: torch.Tensor, k: torch.Tensor) -> float:
    """The lag of a clock in tokens, from queries and keys (T, d) of tokens 0 to T - 1."""
    score = k @ k.mean(0)
    t = torch.arange(len(k))
    slope = (t * score).sum() / (t * t).sum()
    return float(1 / slope)


# %% tags=["answer"]
def lag(q: torch.Tensor, k: torch.Tensor) -> float:
    """The lag of a clock in tokens, from queries and keys (T, d) of tokens 0 to T - 1."""
    score = k @ q.mean(0) / math.sqrt(k.shape[-1])
    t = torch.arange(len(k)) - (len(k) - 1) / 2  # its mean is 0, so a constant has no effect
    slope = (t * score).sum() / (t * t).sum()
    return float(1 / slope)


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# What does a layer write when one of its heads is switched off?
# Zero is an output that the layers above have seldom seen in training.
# So the head gives at every token what it gives on average: the mean of its outputs over many tokens of other texts, one number per channel.
# Heads are counted from 0 here; the output of the layer is the sum of what the heads write, with the rows of $W_O$ in the order of the heads.

# %% tags=["answer"]
def ablated(
    z: torch.Tensor, elsewhere: torch.Tensor, W_O: torch.Tensor, head: int
) -> torch.Tensor:
    """What the layer writes, (T, d_model), when `head` gives its mean at every token.

    z (n_head, T, d_head): outputs of the heads; elsewhere (n_head, N, d_head): on other
    texts; W_O (n_head * d_head, d_model): the outputs side by side times W_O are written.
    """
    z = z.clone()
    z[head] = elsewhere[head].mean(0)
    return z.transpose(0, 1).flatten(1) @ W_O


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Which part of a head holds the name: its keys or its values?
# Two runs of the same layer are given, on two texts of the same length that differ in a name.
# Let one head of the first run take its **values** from the other run, at some tokens only: those where `swap` is True.
# All else, its keys among it, stays that of the first run.
# Attention is causal.

# %% tags=["answer"]
def patched(run: tuple, other: tuple, head: int, swap: torch.Tensor) -> torch.Tensor:
    """Outputs (n_head, T, d_head) of all heads of `run`, with one head's values patched.

    run and other are (q, k, v), each (n_head, T, d_head); swap (T,) is True or False.
    """
    q, k, v = run
    v = v.clone()
    v[head, swap] = other[2][head, swap]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.softmax(scores.masked_fill(later, -torch.inf), -1) @ v


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Is a weight an explanation?
# Take one query of a head, with its scores and the values of all keys, and delete one key: the query then looks at all others, as if that key had never been there.
# By how much does the answer of attention change?
# Compute it exactly, for every key in turn.
# Several keys are visible; a score of $-\infty$ belongs to a key that is hidden, and deleting it changes nothing.
# One of the keys may have nearly all the weight.

# %% tags=["answer"]
def deletions(scores: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """(T_k, d_v): row j is the answer without key j minus the answer with all keys.

    scores (T_k,) are what goes into the softmax; v (T_k, d_v).
    """
    without = scores.expand(len(scores), -1).clone().fill_diagonal_(-torch.inf)
    # As w_j / (1 - w_j) (answer - v_j), whose 1 - w_j loses digits where w_j is near 1.
    return torch.softmax(without, -1) @ v - torch.softmax(scores, -1) @ v


# %%
check("q6")
