# %% [markdown]
# # Exercises: Scale
#
# Seven questions on chapter 13: the height of a step, a fair comparison, a fit that no model can reach, a roofline, a bill of bytes, a mean that goes wrong on several processes, and a lookup among experts.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math
import re

import torch

from course.check import sheet

check = sheet("13_scale")

# %% [markdown]
# {{q1}}
#
# How high is the step that a model takes when it learns to look names up?
# Compare two models that know everything else about a story.
# Where a name is said **again** in a story, the one looks it up and is certain; the other knows that a name comes and gives every one of `names` the same probability.
# The first mention of a name in a story neither of them can look up, so it costs both the same.
# By how many nats per character do their losses on these stories differ?
# (Nothing is added for the end of a story.)
# A name is a whole word: *Ann* is not said in *Anna*, and nobody is called *rose*.

# %% tags=["answer"]
def step_height(stories: list[str], names: list[str]) -> float:
    """Nats per character, over all characters of all stories, by which the losses differ."""
    again = 0
    for story in stories:
        said = [word for word in re.findall(r"\w+", story) if word in names]
        again += len(said) - len(set(said))
    return again * math.log(len(names)) / sum(len(story) for story in stories)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# The program that tells the stories knows the exact probability of each, so a model's loss can be compared with $-\ln p$ of the *same* stories.
# Compute the mean excess of the model, in nats per story, and the standard error of that mean.
# Then say what the pairing was worth: if the losses were those of some stories, and the exact values those of as many **others**, how many times as many stories of each would the same standard error take?

# %% tags=["answer"]
def paired(loss: torch.Tensor, exact: torch.Tensor) -> tuple[float, float, float]:
    """(mean excess, its standard error, times as many stories without the pairing).

    loss and exact are (n,), in nats: of the same n stories, in the same order.
    """
    excess = loss - exact
    error = excess.std() / math.sqrt(len(excess))
    times = (loss.var() + exact.var()) / excess.var()  # a variance of a mean falls like 1/n
    return float(excess.mean()), float(error), float(times)


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# Losses that fall with the number $D$ of tokens are often fitted by $L = E + B / D^b$, and $E$ is then called the irreducible loss.
# Three runs determine the three numbers.
# The second run had `times` as many tokens as the first, and the third `times` as many as the second.
# Find $E$ and $b$; on paper it takes four lines.
# The last part of the check applies your fit to runs of chapter 13, whose stories have an entropy of 0.136 nats per character, and tells you what it says.

# %% tags=["answer"]
def fitted(losses: list[float], times: float) -> tuple[float, float]:
    """(E, b) of the curve through three losses, each smaller than the one before by less."""
    first, second, third = losses
    # L1 - L2 = B/D^b (1 - 1/r), with r = times^b, and L2 - L3 is 1/r of it.
    r = (first - second) / (second - third)
    # What is still to come after the third run is (L2 - L3) (1/r + 1/r² + ...).
    return third - (second - third) / (r - 1), math.log(r) / math.log(times)


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Vectors of `d_in` numbers, one for each of `tokens` tokens, are multiplied by a matrix of `d_in` × `d_out` weights.
# A product of two numbers and its addition to a sum are two operations.
# Each number has `size` bytes; vectors and weights are read from memory once, and the results are written once.
# The machine does `peak` operations a second at most, and moves `bandwidth` bytes a second, both at the same time.
# How many operations are there for each byte, and how long does it take at best?

# %% tags=["answer"]
def at_best(
    tokens: int, d_in: int, d_out: int, size: int, peak: float, bandwidth: float
) -> tuple[float, float]:
    """(operations for each byte, seconds at best)."""
    operations = 2 * tokens * d_in * d_out
    moved = size * (tokens * d_in + d_in * d_out + tokens * d_out)
    return operations / moved, max(operations / peak, moved / bandwidth)


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# How much memory does training take, besides activations?
# In mixed precision the forward pass uses weights of 16 bits, and the backward pass leaves gradients of 16 bits.
# AdamW has its own in 32 bits: a copy of the weights, to which it adds steps that 16 bits would lose, and both of its running means.
# On `n` processes each may hold all of that (`stage` 0), or share it out evenly, in the stages of ZeRO: from stage 1 on what AdamW has, from stage 2 on the gradients, too, and at stage 3 the weights of the forward pass as well.
# (Stage 3 shares as torch's `fully_shard` does. What is gathered for the layer at work is not counted here.)

# %% tags=["answer"]
def held(n_params: int, n: int, stage: int) -> float:
    """Bytes in the memory of each of n processes; n divides n_params."""
    weights, gradients, adamw = 2, 2, 4 + 4 + 4
    adamw = adamw / n if stage >= 1 else adamw
    gradients = gradients / n if stage >= 2 else gradients
    weights = weights / n if stage >= 3 else weights
    return n_params * (weights + gradients + adamw)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Several processes have read different tokens.
# Each has the gradient of the mean loss over **its** tokens, and `counts` says how many these were.
# Together they should take the training step that one process would have taken with all tokens: the gradient of the mean loss over all of them, clipped to the length `limit`.
# The function does what is usual, an all-reduce that takes the mean, and it is wrong here.
# A process may have had no token that counts; a mean over nothing is not a number.

# %% tags=["stub"]
def all_reduced(
    gradients: list[torch.Tensor], counts: list[int], limit: float
) -> torch.Tensor:
    """The gradient (p,), at most `limit` long, from one (p,) per process."""
    clipped = [g * min(1.0, limit / float(g.norm())) for g in gradients]
    return torch.stack(clipped).mean(0)


# %% tags=["answer"]
def all_reduced(
    gradients: list[torch.Tensor], counts: list[int], limit: float
) -> torch.Tensor:
    """The gradient (p,), at most `limit` long, from one (p,) per process."""
    total = sum(n * g for n, g in zip(counts, gradients) if n > 0)  # 0 · nan is nan
    mean = total / sum(counts)
    return mean * min(1.0, limit / float(mean.norm()))  # the length of the mean


# %%
check("q6")

# %% [markdown]
# {{q7}}
#
# A mixture of experts is a lookup whose values are MLPs: a token has a score for each expert, and only the `k` best are asked.
# Their answers are added up with *gates*: each one's probability in the softmax over all scores, divided by the sum of these `k`; the gates of all other experts are 0.
# With `k` = 1 that would always be 1, and no gradient of the answer would reach the scores; then the gate is the probability itself.
# So that not all tokens ask the same experts, training adds a term, $n \sum_e f_e P_e$ for $n$ experts: $f_e$ is the share of all choices (`k` for each token) that fell on expert $e$, and $P_e$ is the mean of its probability over the tokens.
# It is 1 if every expert is asked equally often.

# %% tags=["answer"]
def routed(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(gates (T, n_experts), the balance term: one number), for scores (T, n_experts)."""
    p = scores.softmax(-1)
    best = scores.topk(k, dim=-1).indices
    asked = torch.zeros_like(scores).scatter(-1, best, 1.0)
    gates = asked * p
    if k > 1:
        gates = gates / gates.sum(-1, keepdim=True)
    f, P = asked.mean(0) / k, p.mean(0)
    return gates, len(f) * (f * P).sum()


# %%
check("q7")
