# %% [markdown]
# # Exercises: Training
#
# Six questions on chapter 08: one to guess, two to derive, one to repair, one to measure, and one on how small a step can be.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch
from torch.nn import functional as F

from course.check import sheet

check = sheet("08_training")

# %% [markdown]
# {{q1}}
#
# A weight has had the gradient 1 for a thousand steps of AdamW ($\beta_1 = 0.9$, $\beta_2 = 0.999$, no weight decay).
# From now on its gradient is −1.
# In which step from here, the first being 1, does the weight turn around?
# Write your guess down before you run anything; it is compared with a weight that goes through it, and within 2 is good.

# %% tags=["answer"]
def guessed_turn() -> int:
    """Your guess: the first step in which the weight moves the other way."""
    # m is 0.9^n - (1 - 0.9^n) after n such gradients, which is negative from
    # n = ln 2 / ln (1 / 0.9) = 6.6 on. The size of v does not matter for the sign.
    return 7


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# Why must the learning rate go down?
# Take the smallest model there is, one weight $\theta$ with the loss $\tfrac12 a \theta^2$.
# A batch gives its gradient with an error: $a\theta + \epsilon$, where the $\epsilon$ of different steps are independent, with mean 0 and variance $\sigma^2$.
# Plain gradient descent subtracts $\eta$ times that, with a constant $\eta$, for a long time.
# How large is the variance of $\theta$ in the end?
# Derive it: in the end one more step does not change the variance.
# Where there is no end, because each step makes it larger, the answer is `math.inf`.

# %% tags=["answer"]
def resting_variance(rate: float, curvature: float, noise: float) -> float:
    """The variance of the weight after many steps; `noise` is the variance of the errors."""
    # θ' = (1 - ηa) θ - η ε, so V = (1 - ηa)² V + η² σ².
    keeps = (1 - rate * curvature) ** 2
    return rate**2 * noise / (1 - keeps) if keeps < 1 else math.inf


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# The gradient of a batch, computed in parts to save memory and shortened to `max_norm` where it is longer.
# The model is one matrix, the loss the mean cross-entropy over the rows of the batch.
# The code runs, and it has four bugs.
# `chunk` makes parts of equal size, except for the last.

# %% tags=["stub"]
def clipped_gradient(
    W: torch.Tensor, x: torch.Tensor, y: torch.Tensor, n_parts: int, max_norm: float
) -> torch.Tensor:
    """The gradient (D, V) at W (D, V) of the loss on x (B, D), y (B,)."""
    W = W.clone().requires_grad_()
    for x_part, y_part in zip(x.chunk(n_parts), y.chunk(n_parts)):
        W.grad = None
        loss = F.cross_entropy(x_part @ W, y_part)
        loss.backward()
        W.grad *= max_norm / W.grad.norm()
    return W.grad


# %% tags=["answer"]
def clipped_gradient(
    W: torch.Tensor, x: torch.Tensor, y: torch.Tensor, n_parts: int, max_norm: float
) -> torch.Tensor:
    """The gradient (D, V) at W (D, V) of the loss on x (B, D), y (B,)."""
    W = W.clone().requires_grad_()
    for x_part, y_part in zip(x.chunk(n_parts), y.chunk(n_parts)):
        loss = F.cross_entropy(x_part @ W, y_part)
        (loss * len(x_part) / len(x)).backward()  # gradients of all parts add up
    return W.grad * min(1.0, max_norm / W.grad.norm())


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Two models were scored on the same blocks of one text.
# Measure what that says: the mean of B's losses minus that of A's; the standard error of this difference, without pretending that the two lists have nothing to do with each other; and how many blocks are needed for the difference to be at least two standard errors, if it stays as large as it is and so does the scatter.
# Standard deviations are those of `torch.std`.

# %% tags=["answer"]
def compare(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float, int]:
    """(difference, its standard error, blocks needed) from losses a and b, (n,) each."""
    # A hard block is hard for both, so the difference block by block scatters less.
    d = b - a
    difference, s = d.mean(), d.std()
    needed = math.ceil((2 * s / difference) ** 2)
    return float(difference), float(s / len(d) ** 0.5), needed


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# A weight $w > 0$ is kept in `bfloat16`: one sign bit, 8 bits of exponent, 7 bits behind the leading 1, as in $1.0100110 \cdot 2^{-3}$.
# The sum $w + u$ is rounded to the nearest such number.
# Below which update $u > 0$ does the weight not move at all?
# Use arithmetic, not `torch.bfloat16`; that is what the check measures with.

# %% tags=["answer"]
def lost_below(weight: float) -> float:
    """The bound under which an update to a bfloat16 weight is lost."""
    # From 2^e on, numbers are 2^(e - 7) apart, and half of that is rounded away.
    exponent = math.floor(math.log2(weight))
    return 2.0 ** (exponent - 8)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Which step lowers the loss most?
# For a small step $-\eta D$ it falls by $\eta \sum_{ij} G_{ij} D_{ij}$, so the longer $D$, the better; the question makes sense only with a bound on its length, and there are several kinds of length.
# Find the best $D$ for a gradient $G$ (of full rank, no entry 0) if
#
# - `"frobenius"`: $\sqrt{\sum_{ij} D_{ij}^2} \le 1$,
# - `"entry"`: no entry of $D$ is larger than 1, up to its sign,
# - `"spectral"`: no singular value of $D$ is larger than 1: no vector gets longer by $D$.
#
# You know all three optimizers.

# %% tags=["answer"]
def steepest(G: torch.Tensor, length: str) -> torch.Tensor:
    """The D, of G's shape and at most 1 long, with the largest sum of G * D."""
    if length == "frobenius":
        return G / G.norm()  # gradient descent
    if length == "entry":
        return G.sign()  # Adam, if gradients do not change
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    return U @ Vh  # Muon


# %%
check("q6")
