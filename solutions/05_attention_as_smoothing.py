# %% [markdown]
# # Exercises: Attention II: a smoother
#
# Seven questions on chapter 05: to derive, to guess, to build, to reconstruct, to tell apart, to repair, to train and measure.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("05_attention_as_smoothing")

# %% [markdown]
# {{q1}}
#
# A moving average of the past gives the value of $a$ steps ago the weight $r^a$, divided by the sum of all weights ($0 < r < 1$; now is $a = 0$; the past goes on forever).
# The series rises by 1 with every step.
# By how much is the average behind the present value?
# Derive it on paper; the answer is one short formula.

# %% tags=["answer"]
def behind(r: float) -> float:
    """How far a moving average lags behind a series of slope 1.

    The value of a steps ago has the weight r^a.
    """
    # It lags by the mean age, Σ a r^a / Σ r^a. The sums are r / (1-r)² and 1 / (1-r).
    return r / (1 - r)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# Many points are measured on a smooth curve, and a Gaussian smoother has the bandwidth that suits them best.
# Now the instrument gets worse: the standard deviation of its noise **doubles**, everything else stays.
# By which factor does the best bandwidth grow?
# Write down your guess before you calculate anything; it is compared with a measurement, and a guess within 0.08 is a good one.
# Then balance $\text{bias}^2 \propto h^4$ against $\text{variance} \propto \sigma^2/nh$.

# %% tags=["answer"]
def guessed_factor() -> float:
    """Your guess: by which factor the best bandwidth grows when the noise doubles."""
    # h⁴ against σ²/(n h): where they balance, h⁵ grows like σ², so h grows by 4^(1/5).
    return 4 ** (1 / 5)


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# Build the smoother's weights with Epanechnikov's kernel, $K(u) = \frac34 (1 - u^2)$ for $u \le 1$ and 0 beyond, with $u = |q - k| / h$.
# The weights of a query sum to 1.
# A query that has no key in reach has no weights: give it a row of zeros.

# %% tags=["answer"]
def epanechnikov_weights(
    query: torch.Tensor, keys: torch.Tensor, h: float
) -> torch.Tensor:
    """The weights (T_q, T_k) of an Epanechnikov smoother of bandwidth h.

    query is (T_q, d), keys is (T_k, d).
    """
    u = torch.cdist(query, keys) / h
    kernel = (1 - u**2).clamp(min=0)  # the factor ¾ cancels
    total = kernel.sum(-1, keepdim=True)
    return torch.where(total > 0, kernel / total, 0.0)


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Somebody has computed softmax attention, with scores $q \cdot k / \sqrt d$, and lost the queries and keys.
# What is left: the distances $|q_i - k_j|$, the lengths $|k_j|$ of the keys, the values, and $d$.
# Compute what attention had answered.
# (The lengths of the queries are lost, too.
# Why can you do without them?)

# %% tags=["answer"]
def attention_from_distances(
    distances: torch.Tensor, key_lengths: torch.Tensor, v: torch.Tensor, d: int
) -> torch.Tensor:
    """Softmax attention (T_q, d_v) over d channels.

    distances is (T_q, T_k), key_lengths (T_k,), v (T_k, d_v).
    """
    # q·k = (|q|² + |k|² - |q - k|²) / 2, and the softmax does not see what all keys of a
    # query share.
    scores = (key_lengths**2 - distances**2) / (2 * math.sqrt(d))
    return torch.softmax(scores, dim=-1) @ v


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Two people hand you the queries and keys of a softmax head, $q$ and $k$, for the same tokens.
# One of them may have rescaled queries against keys, moved all keys by one vector, or put an invertible matrix in between.
# Is it the same head: does it give every query the same weights, whatever the values?

# %% tags=["answer"]
def same_head(
    q: torch.Tensor, k: torch.Tensor, other_q: torch.Tensor, other_k: torch.Tensor
) -> bool:
    """Whether two softmax heads give the same weights, up to 1e-4.

    q and other_q are (T_q, d), k and other_k are (T_k, d).
    """
    # Scores may differ by a number for each query, which the softmax does not see.
    weights, other = (
        torch.softmax(queries @ keys.T / math.sqrt(keys.shape[-1]), dim=-1)
        for queries, keys in ((q, k), (other_q, other_k))
    )
    return torch.allclose(weights, other, rtol=0, atol=1e-4)


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# The error of leaving one out, for a Gaussian smoother: predict each value from the others, and take the mean of the squared errors.
# This version likes narrow kernels far too much, and that is not its only fault: it has four.
# The check names what it sees first; keep going.

# %% tags=["stub"]
def leave_one_out_error(x: torch.Tensor, y: torch.Tensor, h: float) -> float:
    """Mean squared error of predicting each y (T, 1) from the others, with bandwidth h.

    The places x are (T, d).
    """
    scores = -torch.cdist(x, x) ** 2 / (2 * h)
    scores.fill_diagonal_(0.0)
    weights = torch.exp(scores)
    weights = weights / weights.sum()
    return (weights @ y - y).abs().mean().item()


# %% tags=["answer"]
def leave_one_out_error(x: torch.Tensor, y: torch.Tensor, h: float) -> float:
    """Mean squared error of predicting each y (T, 1) from the others, with bandwidth h.

    The places x are (T, d).
    """
    scores = -torch.cdist(x, x) ** 2 / (2 * h**2)
    scores.fill_diagonal_(-torch.inf)  # a score of 0 is the highest there is
    # Each row by itself; narrow kernels do not underflow.
    weights = torch.softmax(scores, dim=-1)
    return (weights @ y - y).square().mean().item()


# %%
check("q6")

# %% [markdown]
# {{q7}}
#
# You get 150 noisy measurements at places with four channels.
# Some channels matter and some do not, and nobody says which.
# Find a bandwidth **for each channel**, so that a Gaussian smoother of $x_c / h_c$ predicts new points well.
# The check measures the error on points that you have not seen.
# Gradient descent on four logarithms will do, and 100 steps are enough.

# %% tags=["answer"]
def learn_bandwidths(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A bandwidth for each channel (d,), from places x (T, d) and values y (T, 1)."""
    itself = torch.eye(len(x), dtype=torch.bool)
    log_h = torch.zeros(x.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([log_h], lr=0.1)
    for _ in range(100):
        scaled = x / log_h.exp()
        squared = (scaled[:, None] - scaled[None]).square().sum(-1)  # (T, T)
        scores = (-squared / 2).masked_fill(itself, -torch.inf)
        loss = (torch.softmax(scores, dim=-1) @ y - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_h.detach().exp()


# %%
check("q7")
