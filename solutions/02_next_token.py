# %% [markdown]
# # Exercises: Predicting the next token
#
# Six questions on chapter 02: one to convert, one to predict, one to repair, one to derive, two to build.
# Write your answer into the function, run its cell, then run the check below it.
# A check tells you what is wrong, not what is right; `check.hint("q1")` opens one hint at a time.

# %%
import math

import numpy as np
import torch
from torch import Tensor

from course.check import sheet

check = sheet("02_next_token")

# %% [markdown]
# {{q1}}
#
# A model has scored a text: here are its tokens, as bytes, and the log-probability that it gave to each of them, in nats.
# Convert the score into the three units in which losses are quoted.

# %% tags=["answer"]
def three_units(
    log_probs: list[float], tokens: list[bytes]
) -> tuple[float, float, float]:
    """The loss as (nats per token, perplexity, bits per byte)."""
    loss = -sum(log_probs) / len(tokens)
    n_bytes = sum(len(token) for token in tokens)
    return loss, math.exp(loss), loss * len(tokens) / n_bytes / math.log(2)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# A source has four letters.
# With probability 0.9 it repeats its last letter; otherwise it moves on to one of the other three, each as likely as the next.
# A unigram and a bigram are fitted on 200,000 of its letters and scored on 200,000 more.
# Predict both perplexities, with pencil and paper.
# The check measures them and compares; 3 % is close enough.

# %% tags=["answer"]
def predict_perplexities() -> tuple[float, float]:
    """The perplexities of (the unigram, the bigram) on the sticky source."""
    # No letter is preferred in the long run: without memory all four are equally likely.
    # With memory: 0.9 stays, and each of three others has 0.1 / 3.
    loss = -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 3)
    return 4.0, math.exp(loss)


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# To score a model, a text is not sampled but cut into blocks one after another, so that each token is asked for once.
# This function did that for months.
# Then somebody noticed that the loss was always a little too high, and more so for short blocks; and somebody else that for texts of certain lengths the very last target was nonsense.
# Repair both.

# %% tags=["stub"]
def blocks(ids: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Cut a text (N,) into blocks, one after another: x and y, (n_blocks, block_size).

    `y` holds the token that follows each token of `x` in the text. There are as many
    blocks as the text can fill with questions and answers; the rest is left out.
    """
    n_blocks = len(ids) // block_size
    x = ids[: n_blocks * block_size].view(n_blocks, block_size)
    y = x.roll(-1, dims=1)
    return x, y


# %% tags=["answer"]
def blocks(ids: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Cut a text (N,) into blocks, one after another: x and y, (n_blocks, block_size).

    `y` holds the token that follows each token of `x` in the text. There are as many
    blocks as the text can fill with questions and answers; the rest is left out.
    """
    n_blocks = (len(ids) - 1) // block_size  # the last token is never a question
    used = n_blocks * block_size
    x = ids[:used].view(n_blocks, block_size)
    # `roll` gave each block its own first token as the last answer.
    y = ids[1 : used + 1].view(n_blocks, block_size)
    return x, y


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Gradient descent needs the slope of the loss in each logit.
# Start from $\ln \sum_w e^{z_w} - z_y$, differentiate it by each $z_w$ on paper, and write down what you get, for all positions at once.
# It is one line; summed over the places where one context stands, when is it zero?
# Do it without `backward` (the check cannot see how you did it); use it afterwards to see that you are right.

# %% tags=["answer"]
def slope(logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of `cross_entropy(logits, targets)` in the logits (..., V)."""
    # The first term gives the softmax, the second -1 at the target; the loss is a mean.
    # Summed over the places where one context stands it is zero when the softmax equals
    # the shares: that is why the learned bigram arrived at the counts.
    probabilities = logits.softmax(dim=-1)
    came = torch.nn.functional.one_hot(targets, logits.shape[-1])
    return (probabilities - came) / targets.numel()


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Build the interpolated bigram of the chapter as a table: row $h$ holds the probabilities of all tokens after $h$.
# The discount is taken at both levels, from the pairs and from the counts of all single tokens of `ids`, the first included; below the unigram is the uniform distribution.
# After a token that nothing followed, the table says what the unigram says.

# %% tags=["answer"]
def bigram(ids: np.ndarray, vocab_size: int, discount: float) -> np.ndarray:
    """Probabilities (V, V) of each next token (column) after each token (row)."""
    singles = np.bincount(ids, minlength=vocab_size)
    collected = discount * (singles > 0).sum()
    unigram = (np.maximum(singles - discount, 0) + collected / vocab_size) / len(ids)

    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    total = pairs.sum(axis=1, keepdims=True)
    collected = discount * (pairs > 0).sum(axis=1, keepdims=True)
    kept = np.maximum(pairs - discount, 0)
    table = (kept + collected * unigram) / np.maximum(total, 1)
    return np.where(total > 0, table, unigram)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Somebody hands you a text and a list of orders: which `NGram` should predict *more text of the same kind*?
# You get no held-out text, so make one.
# Use the default discount.

# %% tags=["answer"]
from tinyllm.counting import NGram


def choose_order(ids: np.ndarray, orders: list[int], vocab_size: int) -> int:
    """The order that predicts new text of the same source best."""
    learn, new = np.split(ids, [len(ids) * 9 // 10])
    models = {order: NGram(learn, order, vocab_size) for order in orders}
    return max(orders, key=lambda order: models[order].log_prob(new).mean())


# %%
check("q6")
