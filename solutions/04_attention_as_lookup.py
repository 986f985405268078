# %% [markdown]
# # Exercises: Attention I: a lookup
#
# Six questions on chapter 04: one to derive, one to guess, one to repair, one to extend, one to measure, one to think about for a while.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("04_attention_as_lookup")

# %% [markdown]
# {{q1}}
#
# Among $n$ keys one has a score that is larger than all the others by `gap`, and the others have equal scores.
# At temperature $\tau$ (scores are divided by it before the softmax), which weight does the best key get?
# Derive it on paper: nothing here needs a tensor, and the formula works for a million keys.


# %% tags=["answer"]
def weight_of_the_best(gap: float, n: int, temperature: float) -> float:
    """The softmax weight of one score that leads n - 1 equal ones by `gap`."""
    # Divide numerator and denominator by e^(s/τ): 1 for the best, e^(-gap/τ) for each of
    # the others.
    return 1 / (1 + (n - 1) * math.exp(-gap / temperature))


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# Of 2,000 random keys with 16 normal entries about three in four win their own lookup by dot product.
# What share do you expect with only **4** entries?
# Write down your guess before you run anything; it is compared with a measurement, and a guess that is right to a factor of four is a good one.
# Then look again at why keys lose.


# %% tags=["answer"]
def guessed_share() -> float:
    """Your guess: the share of random keys that win their own lookup by dot product.

    There are 2,000 keys in 4 dimensions.
    """
    # In few dimensions directions are crowded, so a longer key in nearly the same
    # direction is always at hand: only the keys on the outside of the cloud are safe.
    return 0.05


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# This function was written in a hurry.
# It returns something of the right shape, and it is wrong in four ways.
# The check names what it sees first; keep going.


# %% tags=["stub"]
def masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """softmax(q kᵀ / √d) v for q (T_q, d), k (T_k, d), v (T_k, d_v).

    mask (T_q, T_k) is True where a query may attend.
    """
    scores = q @ k.T / q.shape[-1]
    weights = torch.softmax(scores, dim=0)
    weights = weights.masked_fill(mask, 0.0)
    return weights @ v


# %% tags=["answer"]
def masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """softmax(q kᵀ / √d) v for q (T_q, d), k (T_k, d), v (T_k, d_v).

    mask (T_q, T_k) is True where a query may attend.
    """
    scores = q @ k.T / math.sqrt(q.shape[-1])
    # Before the softmax, so that the rest still sums to 1.
    scores = scores.masked_fill(~mask, -torch.inf)
    weights = torch.softmax(scores, dim=-1)  # over the keys
    return weights @ v


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# A key that is stored twice is averaged.
# Give the lookup a clock: add `slope` times the position of the key to its score, so that of two equal keys the later one has the larger weight.
# For a large slope a key that was bound again now answers like a `dict`.
# Large models have used this bias under the name *ALiBi* (Press et al. 2022): it adds `slope` times $j - i$ in row $i$, and the softmax does not see the $-i$.


# %% tags=["answer"]
def recall_latest(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, slope: float
) -> torch.Tensor:
    """Attention with scores `scale` * q·k_j + `slope` * j.

    q is (T_q, d), k (T_k, d), v (T_k, d_v).
    """
    scores = scale * q @ k.T + slope * torch.arange(len(k))  # (T_q, T_k) + (T_k,)
    return torch.softmax(scores, dim=-1) @ v


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# How many keys does a head look at?
# Counting weights above some threshold depends on the threshold.
# The exponential of the entropy does not: it is $n$ when $n$ keys share the weight equally, and 1 when one key has it all.
# It is called the number of *effective keys*.
# Compute $\exp\bigl(-\sum_j w_j \ln w_j\bigr)$ for each query, where $0 \ln 0 = 0$.


# %% tags=["answer"]
def keys_in_use(weights: torch.Tensor) -> torch.Tensor:
    """The effective number of keys (..., T_q) of each row of weights (..., T_q, T_k)."""
    surprise = torch.where(weights > 0, -weights.clamp(min=1e-30).log(), 0.0)
    return (weights * surprise).sum(-1).exp()


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# `attention` needs all scores of a row before it can divide by their sum.
# A row of a million keys does not fit where the fast memory is.
# Read the keys **one at a time** and keep only three things: the largest score so far, the sum of the exponentials so far, and the weighted sum of the values so far, the exponentials being taken of the score minus the largest so far.
# Write what happens when one more key is read, with its score and its value.
# If the new score is larger than all before, what you have kept was computed with the wrong maximum: repair it.
# Before the first key has been read, `largest` is `-math.inf` and the two sums are 0.
# Scores may be in the thousands.
# The answer of attention is `answer / total` after the last key.
# (This is the idea inside FlashAttention.)


# %% tags=["answer"]
def read_one(
    largest: float, total: float, answer: torch.Tensor, score: float, value: torch.Tensor
) -> tuple[float, float, torch.Tensor]:
    """(largest, total, answer) after one more key, with its `score` and `value` (d_v,).

    largest: max s_j; total: Σ exp(s_j - largest); answer (d_v,): Σ exp(s_j - largest) v_j.
    """
    new_largest = max(largest, score)
    repair = math.exp(largest - new_largest)  # exp(-inf) = 0 the first time
    weight = math.exp(score - new_largest)
    return new_largest, total * repair + weight, answer * repair + weight * value


# %%
check("q6")
