# %% [markdown]
# # Exercises: The whole machine
#
# Six short questions on chapter 00: shapes, counts, a map to read, a guess, a loss, and a word that is changed.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("00_the_whole_machine")

# %% [markdown]
# {{q1}}
#
# A text of T tokens goes through a machine with C channels, V tokens in its vocabulary, and n_layer blocks of n_head heads.
# Which shapes do you meet on the way?


# %% tags=["answer"]
def shapes(T: int, C: int, V: int, n_layer: int, n_head: int) -> dict[str, tuple[int, ...]]:
    """Shapes of "vectors" (before the first block), "attention" (its weights), "logits"."""
    return {"vectors": (T, C), "attention": (n_layer, n_head, T, T), "logits": (T, V)}


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# The chapter has printed the bill of one model.
# Write it for any: from the four numbers below to the number of weights.
# The machine is ours: no biases, a head of its own, and a norm before attention, before the MLP, and before the head.


# %% tags=["answer"]
def n_weights(V: int, T: int, C: int, n_layer: int) -> int:
    """Weights of a model with V tokens, T positions, C channels and n_layer blocks."""
    embeddings = V * C + T * C
    block = 4 * C * C + 2 * 4 * C * C + 2 * C  # attention, MLP, two norms
    return embeddings + n_layer * block + C + V * C


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# Here is a map of attention weights, and the question who is looked at most.
# More exactly: a key's score is the mean weight that it gets from the tokens **after** it, and the last token, which has none, is left out.
# The function below gives an answer, and it is wrong in three ways.


# %% tags=["stub"]
def most_watched(weights: torch.Tensor) -> int:
    """The key with the largest mean weight from later queries.

    weights is (T, T), queries down, keys across.
    """
    return int(weights.mean(dim=1).argmax())


# %% tags=["answer"]
def most_watched(weights: torch.Tensor) -> int:
    """The key with the largest mean weight from later queries.

    weights is (T, T), queries down, keys across.
    """
    means = [weights[k + 1 :, k].mean() for k in range(len(weights) - 1)]
    return int(torch.stack(means).argmax())


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Taleteller reads
#
# > Everybody in Mudford knew Iris, the stubborn hedgehog. People said that
#
# and then the same with *Ralph* instead of *Iris*.
# How probable is the token `" she"` after each?
# Write both guesses down before you measure anything; within 0.2 they are good.


# %% tags=["answer"]
def guess_she() -> list[float]:
    """Your guesses: the probability of " she" after Iris, and after Ralph."""
    return [0.95, 0.02]


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# A model has read a text and gave each token, when it came, a probability.
# How large is its loss, in nats per character?
# That is the number in which this book compares models, whatever their tokens.


# %% tags=["answer"]
def nats_per_character(probabilities: list[float], pieces: list[str]) -> float:
    """Loss per character of a text: its tokens were `pieces`, with these probabilities."""
    nats = -sum(math.log(p) for p in probabilities)
    return nats / sum(len(piece) for piece in pieces)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# In a text of T tokens the one at place t (counted from 0) is replaced by another.
# The machine reads both texts; at which places do its logits differ?
# Your answer is compared with a machine of two blocks that does it.


# %% tags=["answer"]
def changed_places(T: int, t: int) -> list[int]:
    """The places, in order, at which logits change when the token at place t does."""
    return list(range(t, T))


# %%
check("q6")
