# %% [markdown]
# # Exercises: Modern blocks and real weights
#
# Six questions on chapter 10: one to derive, two to count, one to permute, and two to repair.
# Write your answer into the function, run its cell, then run the check below it; `check.hint("q1")` opens a hint, and hints are free.

# %%
import math

import torch
from torch.nn import functional as F

from course.check import sheet

check = sheet("10_modern_blocks")

# %% [markdown]
# {{q1}}
#
# One plane of RoPE: the query $(q_1, q_2)$ stands `distance` tokens after the key $(k_1, k_2)$, and the plane turns by `omega` radians per token.
# Both have been turned by their own positions.
# Derive their score on paper, as a formula in which no position occurs, only the distance (which is negative for a key that comes later).

# %% tags=["answer"]
def offset_score(
    q: list[float], k: list[float], distance: int, omega: float
) -> float:
    """The dot product of q and k, each turned by its position times omega."""
    angle = distance * omega
    # (R_t q) · (R_s k) = (R_{t-s} q) · k
    dot = q[0] * k[0] + q[1] * k[1]
    cross = q[0] * k[1] - q[1] * k[0]
    return dot * math.cos(angle) + cross * math.sin(angle)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# How many bytes are the keys and values of `texts` texts of `tokens` tokens each, at `size` bytes per number?
# `config` holds what a `config.json` of the Llama family says: `hidden_size`, `num_hidden_layers`, `num_attention_heads`, and, where the file has them, `num_key_value_heads` and `head_dim`.

# %% tags=["answer"]
def cache_bytes(config: dict, tokens: int, texts: int, size: int) -> int:
    """Bytes of a full cache."""
    n_head = config["num_attention_heads"]
    n_kv_head = config.get("num_key_value_heads", n_head)
    d_head = config.get("head_dim", config["hidden_size"] // n_head)
    per_token = 2 * config["num_hidden_layers"] * n_kv_head * d_head
    return per_token * tokens * texts * size


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# How many parameters has a model of the Llama family, by its `config.json`?
# There are no biases.
# `head_dim` may be missing; `tie_word_embeddings` and `num_key_value_heads` are there.
# The first one that is tried is Llama 3.2 1B.

# %% tags=["answer"]
def count_parameters(config: dict) -> int:
    """All weights of a model: embedding, blocks, last norm, head."""
    V, C = config["vocab_size"], config["hidden_size"]
    n_head, n_kv_head = config["num_attention_heads"], config["num_key_value_heads"]
    d_head = config.get("head_dim", C // n_head)
    attention = C * d_head * (2 * n_head + 2 * n_kv_head)  # W_Q and W_O, W_K and W_V
    mlp = 3 * C * config["intermediate_size"]
    block = attention + mlp + 2 * C  # two norms
    tables = 1 if config["tie_word_embeddings"] else 2
    return tables * V * C + config["num_hidden_layers"] * block + C


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# `W` holds the rows of $W_Q$ (or $W_K$) of all heads, one head below the other, `d` rows each, for planes of channels $(i, i + d/2)$.
# Put its rows into the order that a program needs whose planes are $(2i, 2i+1)$.
# `d` is even; the columns stay.

# %% tags=["answer"]
def to_neighbors(W: torch.Tensor, n_head: int) -> torch.Tensor:
    """The rows (n_head · d, C) for planes of channels 2i and 2i + 1."""
    halves = W.unflatten(0, (n_head, 2, -1))  # (n_head, 2, d/2, C)
    return halves.transpose(1, 2).flatten(0, 2)


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Causal attention as in Qwen 3, in one tensor program: grouped queries, QK-norm, RoPE.
# It runs, the shape is right and the numbers are wrong, since there are several bugs.
# `W_qkv` holds the rows of all queries, then of all keys, then of all values, as in chapter 10; planes are $(i, i + d/2)$; norms come before the rotation.

# %% tags=["stub"]
def modern_attention(
    x: torch.Tensor, W_qkv: torch.Tensor, W_o: torch.Tensor,
    n_head: int, n_kv_head: int, gains: torch.Tensor, rope: torch.Tensor,
) -> torch.Tensor:
    """Attention of x (T, C): (T, C).

    W_qkv is ((n_head + 2 n_kv_head) · d, C), W_o (C, n_head · d), as in nn.Linear.
    gains (2, d) are those of the norms of queries and keys; eps is 1e-6.
    rope (T, d) holds d/2 cosines and d/2 sines for each position.
    """
    T, d = rope.shape

    def norm(z, gain):
        return z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6) * gain

    def rotate(z):
        cos, sin = rope.chunk(2, dim=-1)
        a, b = z.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    heads = (x @ W_qkv.T).view(T, -1, d).transpose(0, 1)  # (heads, T, d)
    q, v, k = heads.split([n_head, n_kv_head, n_kv_head])
    q, k = norm(rotate(q), gains[0]), norm(k, gains[1])
    k, v = (z.repeat(n_head // n_kv_head, 1, 1) for z in (k, v))  # (n_head, T, d)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)
    return (weights @ v).transpose(0, 1).flatten(1) @ W_o.T


# %% tags=["answer"]
def modern_attention(
    x: torch.Tensor, W_qkv: torch.Tensor, W_o: torch.Tensor,
    n_head: int, n_kv_head: int, gains: torch.Tensor, rope: torch.Tensor,
) -> torch.Tensor:
    """Attention of x (T, C): (T, C).

    W_qkv is ((n_head + 2 n_kv_head) · d, C), W_o (C, n_head · d), as in nn.Linear.
    gains (2, d) are those of the norms of queries and keys; eps is 1e-6.
    rope (T, d) holds d/2 cosines and d/2 sines for each position.
    """
    T, d = rope.shape

    def norm(z, gain):
        return z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6) * gain

    def rotate(z):
        cos, sin = rope.chunk(2, dim=-1)
        a, b = z.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    heads = (x @ W_qkv.T).view(T, -1, d).transpose(0, 1)  # (heads, T, d)
    q, k, v = heads.split([n_head, n_kv_head, n_kv_head])
    q, k = rotate(norm(q, gains[0])), rotate(norm(k, gains[1]))
    k, v = (z.repeat_interleave(n_head // n_kv_head, 0) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)
    return (weights @ v).transpose(0, 1).flatten(1) @ W_o.T


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# The second half of a block, $x + \operatorname{MLP}(\operatorname{Norm}(x))$, for a block as it stands in a published file, of the Llama family or of GPT-2.
# `tensors` has the names of the file, `config` the lines of `config.json` that matter.
# Some of the bugs here move the numbers by very little.
# The check compares numbers, and sees them.

# %% tags=["stub"]
def half_block(x: torch.Tensor, tensors: dict, config: dict) -> torch.Tensor:
    """x (T, C) after the MLP of a block has been added: (T, C)."""
    C = x.shape[-1]
    if config["model_type"] == "llama":
        gain = tensors["post_attention_layernorm.weight"]
        gate, up = tensors["mlp.up_proj.weight"], tensors["mlp.gate_proj.weight"]
        y = F.rms_norm(x, (C,), gain, eps=1e-8)
        return x + (F.silu(y @ gate.T) * (y @ up.T)) @ tensors["mlp.down_proj.weight"].T
    gain, bias = tensors["ln_2.weight"], tensors["ln_2.bias"]
    y = F.layer_norm(x, (C,), gain, bias, eps=1e-8)
    y = F.gelu(y @ tensors["mlp.c_fc.weight"] + tensors["mlp.c_fc.bias"])
    down = tensors["mlp.c_proj.weight"]
    down = down.T if down.shape[0] == down.shape[1] else down
    return x + y @ down + tensors["mlp.c_proj.bias"]


# %% tags=["answer"]
def half_block(x: torch.Tensor, tensors: dict, config: dict) -> torch.Tensor:
    """x (T, C) after the MLP of a block has been added: (T, C)."""
    C = x.shape[-1]
    if config["model_type"] == "llama":
        gain = tensors["post_attention_layernorm.weight"]
        gate, up = tensors["mlp.gate_proj.weight"], tensors["mlp.up_proj.weight"]
        y = F.rms_norm(x, (C,), gain, eps=config["rms_norm_eps"])
        return x + (F.silu(y @ gate.T) * (y @ up.T)) @ tensors["mlp.down_proj.weight"].T
    gain, bias = tensors["ln_2.weight"], tensors["ln_2.bias"]
    y = F.layer_norm(x, (C,), gain, bias, eps=config["layer_norm_epsilon"])
    y = y @ tensors["mlp.c_fc.weight"] + tensors["mlp.c_fc.bias"]  # (in, out): no transpose
    y = F.gelu(y, approximate="tanh")  # gelu_new
    return x + y @ tensors["mlp.c_proj.weight"] + tensors["mlp.c_proj.bias"]


# %%
check("q6")
