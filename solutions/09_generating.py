# %% [markdown]
# # Exercises: Generating
#
# Six questions on chapter 09: one to derive, one to count, one to predict, one to repair, one to build, and one that measures.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch

from course.check import sheet

check = sheet("09_generating")

# %% [markdown]
# {{q1}}
#
# At temperature 1 the likeliest token has probability `first` and the next one `second`.
# At which temperature is the one `odds` times as likely as the other?
# Derive it; no search is needed.

# %% tags=["answer"]
def temperature_for(first: float, second: float, odds: float) -> float:
    """The temperature at which the odds of the two tokens are `odds`, above 1."""
    # Odds at τ are (first / second) ** (1 / τ): their logarithm is divided by τ.
    return math.log(first / second) / math.log(odds)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# A machine has `memory` bytes left for the cache.
# The model has `n_layer` layers with `n_head` queries each; they share the keys and values of `n_kv_head` heads, of `d_head` channels.
# (In Taleteller the two numbers of heads are the same.)
# `batch_size` texts of equal length are generated together, and a number takes `bytes_per_number`.
# How many tokens can each text have?

# %% tags=["answer"]
def longest_text(
    memory: int, n_layer: int, n_head: int, n_kv_head: int, d_head: int,
    batch_size: int, bytes_per_number: int,
) -> int:
    """Tokens in each text, at most."""
    numbers = 2 * n_layer * n_kv_head * d_head  # a key and a value, of one token
    return memory // (numbers * batch_size * bytes_per_number)


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# A random language: its vocabulary has 3 tokens, its texts have 8, and after each beginning the three probabilities are drawn anew, all mixtures being equally likely.
# There are 6561 texts.
# In which share of such languages does greedy decoding find the likeliest of them?
# Write your prediction down before you run anything; it is compared with 300 languages, and within 0.15 is good.

# %% tags=["answer"]
def predicted_share() -> float:
    """Your prediction: the share of languages in which greedy decoding finds it."""
    # With one token it is 1, and each further token is another chance to go wrong. With
    # probability 0.1 of that at each of 8 tokens, 0.43 is left.
    return 0.43


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# Top-p: keep as few of the likeliest tokens as have at least `top_p` together, and divide by their sum.
# This function runs and returns the right shape.
# Four things are wrong with it.

# %% tags=["stub"]
def nucleus(p: torch.Tensor, top_p: float) -> torch.Tensor:
    """Probabilities (B, V) with the tail of each row cut off; p is (B, V)."""
    ranked, order = p.sort(dim=-1)
    keep = ranked.cumsum(-1) < top_p
    kept = ranked * keep
    return kept.gather(-1, order)


# %% tags=["answer"]
def nucleus(p: torch.Tensor, top_p: float) -> torch.Tensor:
    """Probabilities (B, V) with the tail of each row cut off; p is (B, V)."""
    ranked, order = p.sort(dim=-1, descending=True)
    keep = ranked.cumsum(-1) - ranked < top_p  # what stands before it is not enough
    kept = ranked * keep
    kept = kept / kept.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, kept)


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Tokens arrive as bytes, and a character of UTF-8 may be spread over several of them.
# Say for each token which text can be shown once it is there: all that is complete, nothing that is not, and nothing twice.
# All tokens together are valid UTF-8.
# (In a real stream the next token does not exist yet: do not look ahead.)

# %% tags=["answer"]
def pieces(tokens: list[bytes]) -> list[str]:
    """The new text after each token, "" where no character was completed."""
    shown, waiting = [], b""
    for token in tokens:
        waiting += token
        try:
            complete = len(waiting.decode().encode())
        except UnicodeDecodeError as error:
            complete = error.start  # here begins the character that is not yet whole
        shown.append(waiting[:complete].decode())
        waiting = waiting[complete:]
    return shown


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Somebody has generated a text, and you have the model: the logits at each place, and the token that was drawn there.
# At which temperature was it written?
# Within 3 % of the maximum-likelihood estimate is good.

# %% tags=["answer"]
def temperature_of(logits: torch.Tensor, ids: torch.Tensor) -> float:
    """The temperature at which ids (N,) were drawn from logits (N, V)."""
    chosen = logits.gather(1, ids[:, None]).mean()
    low, high = 0.01, 100.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        # The higher the temperature, the lower the mean logit of a token that is drawn.
        expected = ((logits / middle).softmax(-1) * logits).sum(-1).mean()
        if expected > chosen:
            low = middle
        else:
            high = middle
    return middle


# %%
check("q6")
