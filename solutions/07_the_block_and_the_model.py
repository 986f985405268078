# %% [markdown]
# # Exercises: The block and the model
#
# Six questions on chapter 07: one to derive, one to count, one to predict, one to repair, one to measure, and one to build.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch
from torch.nn import functional as F

from course.check import sheet

check = sheet("07_the_block_and_the_model")

# %% [markdown]
# {{q1}}
#
# A stream begins with variance 1, and `n_layer` layers add to it.
# What a layer writes is independent of what is there, and its variance is `a` times that of what the layer *reads*.
# With a norm before each layer it reads something of variance 1; without a norm it reads the stream itself.
# What is the **standard deviation** of the stream at the end, with the norm and without?

# %% tags=["answer"]
def stream_size(n_layer: int, a: float) -> tuple[float, float]:
    """The stream's standard deviation after n_layer layers: (norm before, no norm)."""
    # Variances of independent things add up: a each time, or a times what is there.
    return math.sqrt(1 + n_layer * a), math.sqrt((1 + a) ** n_layer)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# GPT-2 differs from our model in two things that cost parameters or save them: every linear map in a block and every norm has a **bias** vector as well, and the head uses the token embedding's matrix.
# (The head has no bias, and the embeddings have none.)
# How many parameters does a model of this kind have?
# For GPT-2 itself the answer is a number that you can look up.

# %% tags=["answer"]
def gpt2_parameters(V: int, T: int, n_layer: int, C: int) -> int:
    """All parameters of a GPT-2 with vocabulary V, context T and C channels."""
    attention = 4 * C * C + 3 * C + C  # W_Q, W_K, W_V and W_O, each with a bias
    mlp = 8 * C * C + 4 * C + C
    norms = 2 * 2 * C  # a gain and a bias each
    return V * C + T * C + n_layer * (attention + mlp + norms) + 2 * C


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# In the chapter the gradients of a new model arrived from its end: its head got one in step 1, `out` and `down` in step 2, `qkv` and `up` in step 3.
# Now tie the weights, so that the head is the token embedding, which does not begin at zero.
# In which step does each of the three parameters `token`, `down` and `up` get its first gradient that is not zero?
# Write your prediction down before you run anything; it is compared with a model.

# %% tags=["answer"]
def predicted_steps() -> tuple[int, int, int]:
    """Your prediction: the first step with a gradient for token, down and up."""
    # The head is not zero any more, so the stream has a gradient at once, and with it
    # whatever is written into the stream. `up` is read by `down`, which is zero in step 1.
    return 1, 1, 2


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# A block, norms before its layers, with five bugs.
# To keep it short, the attention weights are given as a table, there is one head, and norms have no gain.
# It runs, and the shape is right.
# (The check names one bug at a time.)

# %% tags=["stub"]
def block(
    x: torch.Tensor,
    weights: torch.Tensor,
    W_vo: torch.Tensor,
    W_up: torch.Tensor,
    W_down: torch.Tensor,
) -> torch.Tensor:
    """One block on x (T, C); weights (T, T), W_vo (C, C), W_up (C, 4C), W_down (4C, C)."""

    def norm(x):
        centered = x - x.mean(0)
        return centered / (centered.square().mean(0) + 1e-5).sqrt()

    attended = weights.T @ norm(x) @ W_vo
    recalled = F.gelu(norm(x) @ W_up @ W_down)
    x = norm(x) + attended
    return x + recalled


# %% tags=["answer"]
def block(
    x: torch.Tensor,
    weights: torch.Tensor,
    W_vo: torch.Tensor,
    W_up: torch.Tensor,
    W_down: torch.Tensor,
) -> torch.Tensor:
    """One block on x (T, C); weights (T, T), W_vo (C, C), W_up (C, 4C), W_down (4C, C)."""

    def norm(x):
        centered = x - x.mean(-1, keepdim=True)
        return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    x = x + weights @ norm(x) @ W_vo
    return x + F.gelu(norm(x) @ W_up) @ W_down


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Who wrote this logit?
# The stream at one place is the sum of what the layers have written there, the rows of `writes`.
# The model takes the norm of that sum, $\operatorname{LayerNorm}$ with the gain $g$, and its dot product with the head's row for a token.
# Take the logit apart into one number for each layer, so that the numbers sum to the logit.
# (The norm divides by a standard deviation, that of the whole stream: take it as given, and everything else is linear.)

# %% tags=["answer"]
def contributions(
    writes: torch.Tensor, gain: torch.Tensor, row: torch.Tensor
) -> torch.Tensor:
    """What each layer adds to a logit: (n,) from writes (n, C), gain (C,), row (C,)."""
    stream = writes.sum(0)
    deviation = (stream.var(correction=0) + 1e-5).sqrt()
    centered = writes - writes.mean(-1, keepdim=True)
    return centered / deviation * gain @ row


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Fill a memory without training it.
# There are $N$ facts, $N \le C$: the questions are linearly independent, but neither orthogonal nor of length 1.
# Find the matrices of $\operatorname{MLP}(x) = W_\text{down} \operatorname{GELU}(W_\text{up}\, x)$ with one neuron for each fact, so that each question gets exactly its answer.

# %% tags=["answer"]
def fill(
    questions: torch.Tensor, answers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """W_up (N, C) and W_down (C_out, N) from questions (N, C) and answers (N, C_out)."""
    # GELU(0) = 0, so an entry adds nothing to a question that scores exactly 0 with its key.
    # Keys that score 1 with their own question and 0 with all others: the pseudoinverse.
    W_up = torch.linalg.pinv(questions).T
    weight = F.gelu(torch.ones(1, dtype=questions.dtype))  # of a score of 1
    return W_up, answers.T / weight


# %%
check("q6")
