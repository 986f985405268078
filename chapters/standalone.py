# %% [markdown]
# # A whole language model in the Python standard library
#
# Take away PyTorch, NumPy, the tokenizer, the safetensors package.
# What is left of a language model?

# %%
import subprocess
import sys
import textwrap
from pathlib import Path

file = Path("../tinyllm/standalone.py").resolve()
bare = [sys.executable, "-I", "-S", str(file)]  # a Python that finds no installed package
options = ["Once there was a cat who", "--temperature", "0", "--tokens", "40"]
told = subprocess.run([*bare, *options], capture_output=True, encoding="utf-8")
assert told.returncode == 0 and told.stderr == ""
print(textwrap.fill(told.stdout.strip(), 80), "...")
print(len(file.read_text(encoding="utf-8").splitlines()), "lines")

# %% [markdown]
# All of it is left, and it fits into one file: reading the weights, cutting a text into tokens, the transformer with its cache, drawing from the probabilities, the gradient, the training.
# This page walks through that file from top to bottom.
# After each piece comes the library call that does the same, and a cell that asserts that the results are equal.
# (What is left out handles options and damaged files.)
#
# :::{admonition} You will be able to
# :class: tip
# - read the weights of a model out of its file, with nothing but a format string;
# - say, for the library calls of earlier chapters, which loops they hide;
# - write the backward pass of attention by hand, and find the covariance of chapter 04 in it.
#
# Reading: 35 minutes. Running: a minute.
# You have read chapters 04 and 07, and know from [Gradients](gradients.ipynb) what a slope is.
# :::
#
# The file is `tinyllm/standalone.py`.
# It asks for Python 3.6, of 2016, or any later one.
# Copy it beside the folder of a model, or name the folder with `--model`, and it works where nothing can be installed.

# %%
import json
import math
import random
import re
import struct
import unicodedata
from collections import Counter, namedtuple
from operator import mul

# %% [markdown]
# The model needs no other modules than these, and all of them come with Python.
# What is imported next is here to compare with: PyTorch, `regex` and `safetensors`, which cut a text and read a file of weights, and the book's own library.

# %%
import regex
import safetensors.torch
import torch
from torch.nn import functional as F

from course.data import tales
from course.data.tales import floor
from course.figures import loss_plot
from tinyllm.attention import attention
from tinyllm.generation import generate as generate_by_the_library
from tinyllm.loss import cross_entropy
from tinyllm.model import find
from tinyllm.model import load as load_by_the_library
from tinyllm.model import load_tokenizer
from tinyllm.smoothing import nadaraya_watson

folder, library = find("taleteller"), load_by_the_library("taleteller")


def near(ours, theirs, atol=2e-5):
    """Whether nested lists and a tensor hold the same numbers."""
    return torch.allclose(torch.tensor(ours, dtype=theirs.dtype), theirs, rtol=0, atol=atol)


# %% [markdown]
# ## Weights from bytes
#
# A `safetensors` file is eight bytes that say how long its header is, the header in JSON, and numbers.
# The header names each tensor, its kind of number, its shape, and where its bytes begin and end, counted from the end of the header.
#
# Taleteller's numbers are **half floats**, two bytes each: a sign, five bits of exponent and ten bits of fraction.
# With $s$, $e$ and $f$ for the three, read as whole numbers, the value is $(-1)^s \cdot 2^{e-15} \cdot (1 + f/1024)$ for $e$ from 1 to 30.
# ($e = 0$ is for zero and the very smallest numbers, $e = 31$ for infinity and for what is no number.)
# Try it by hand on the bytes `00 3e`.
# The first byte is the *lower* one, so the bits are those of `3e00`, that is `0 01111 1000000000`: $s = 0$, $e = 15$, $f = 512$, and the value is $2^0 \cdot 1.5$; with `00 be` only the sign is another.
# The module `struct` knows them by the letter `e`.

# %%
struct.unpack("<2e", bytes([0x00, 0x3E, 0x00, 0xBE]))

# %% [markdown]
# The sign `<` says that the lower byte comes first, on every machine.
# One call takes all numbers of a tensor; a matrix is then a list of rows.

# %% tags=["quote"]
from tinyllm.standalone import read_tensors

# %%
weights = read_tensors(folder / "model.safetensors")
theirs = safetensors.torch.load_file(folder / "model.safetensors")
assert weights.keys() == theirs.keys()
assert all(near(weights[name], torch.atleast_2d(theirs[name]), 0) for name in theirs)
n_numbers = sum(p.numel() for p in theirs.values())
print(f"{len(weights)} tensors, {n_numbers:,} numbers, all equal")

# %% [markdown]
# `library`: `safetensors.torch.load_file(path)`.
# A vector is stored as a matrix of one row here, so that later code need not treat it separately.
#
# ## Letters without a table
#
# The tokenizer cuts a text into pieces before it merges anything.
# The pattern of chapter 01 asks for *letters* (`\p{L}`) and *numbers* (`\p{N}`) of all scripts, which Python's own `re` does not know.
# `unicodedata` does: it gives each character a category of two letters, such as `Lu` for an uppercase letter or `No` for a number like ².
# So write the *kind* of each character under it, and run a simple pattern over the kinds.
# A letter is `L`, a number `N`, the space stays a space, any other white space is `S`, and all else is `O`.

# %% tags=["quote"]
from tinyllm.standalone import ENDINGS, RUNS, kind, split

# %%
text = "Léa's 2² cats,  she said."
print(text, "".join(map(kind, text)), sep="\n")
PATTERN = load_tokenizer("taleteller").pattern
assert split(text) == regex.findall(PATTERN, text)
split(text)

# %% [markdown]
# `library`: `regex.findall(pattern, text)`.
# The space keeps its own sign, since a piece may begin with one.
# Four control characters, `\x1c` to `\x1f`, are white space to Python and not to the pattern, hence the line that names them.
# Each character has one sign, so a boundary at place 5 of the kinds is a boundary at place 5 of the text.
# (The tables of `unicodedata` are as old as the Python: a letter that was added in 2020 is unknown to version 3.6.)
#
# Then byte-pair encoding: begin with single bytes, and merge the pair that was learned first, until no pair is known.

# %% tags=["quote"]
from tinyllm.standalone import Tokenizer

# %%
tokenizer = Tokenizer(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
sample = tales(20_000, seed=3) + " Ünïcödé, 東京 ⅷ½ 👩‍🚀\t\r\n  \x1c\x85 don't"
ids = tokenizer.encode(sample)
assert ids == load_tokenizer("taleteller").encode(sample)
print(f"{len(sample):,} characters, {len(ids):,} tokens, the same ids")

# %% [markdown]
# `library`: `Tokenizer.from_file(path).encode(text)`.
# The library's is the same rule with a faster search for the pair.
#
# ## One line does the work
#
# A matrix product is dot products of rows and columns.
# Weights are stored as PyTorch stores them, one row for each *output*, so we need the dot product of each row of $A$ with each row of $B$, that is $A B^{\mathsf T}$.
#
# *In words:* [matrix products](mathematics.ipynb#Matrix-products).

# %% tags=["quote"]
from tinyllm.standalone import dot, products

# %%
generator = torch.Generator().manual_seed(0)
A, B = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
assert near(products(A.tolist(), B.tolist()), F.linear(A, B))
products([[1, 2], [3, 4], [5, 6]], [[10, 1], [0, 1]])

# %% [markdown]
# `library`: `F.linear(A, B)`, which is what `nn.Linear` calls.
# By hand: the first row is $1 \cdot 10 + 2 \cdot 1 = 12$ and $1 \cdot 0 + 2 \cdot 1 = 2$.
#
# The rest of the arithmetic is short.
# Each sum goes over one row.
# In GELU, $\Phi(s)$ is the chance that a draw from the standard normal distribution is below $s$.
#
# *In words:* [softmax](mathematics.ipynb#Softmax), [norms of a layer](mathematics.ipynb#Norms-of-a-layer), [curves and gates](mathematics.ipynb#Curves-and-gates).

# %% tags=["quote"]
from tinyllm.standalone import add, norm, phi, softmax, standardize, transpose

# %%
X = torch.randn(3, 8, generator=generator)
gain = torch.rand(8, generator=generator)
rows = X.tolist()
assert near([softmax(row) for row in rows], X.softmax(-1))
assert near(norm(rows, [gain.tolist()]), F.layer_norm(X, (8,), gain))
assert near([[s * phi(s) for s in row] for row in rows], F.gelu(X))
assert near(transpose(rows), X.T) and near(add(rows, rows), X + X)
softmax([0.0, math.log(2), math.log(5)])

# %% [markdown]
# `library`: `X.softmax(-1)`, `F.layer_norm(X, (C,), gain)`, `F.gelu(X)`, `X.T`, `X + X`.
# The last line is chapter 04's softmax by hand: $1 : 2 : 5$ are an eighth, two eighths, five eighths.
#
# ## The forward pass
#
# A **cache** holds, for each head of each layer, the keys and the values of all tokens so far: two lists that grow.

# %% tags=["quote"]
from tinyllm.standalone import GPT, new_cache, parts

# %% [markdown]
# `parts` cuts the rows that hold queries, keys and values of all heads side by side.
# Now attention.
# Read its inner loop aloud: the token puts its key and its value into the lists, compares its query with every key that is there, and takes the mean of the values with these weights.

# %% tags=["quote"]
from tinyllm.standalone import attend

# %% [markdown]
# There is no mask.
# A key that comes later is not in the list yet, so it cannot be attended to: what the library does with a causal mask, the order of the loop does here.
#
# `library`: `F.scaled_dot_product_attention(q, k, v, is_causal=True)`.
#
# :::{two-views}
#
# - **As a lookup.** `keys` and `values` are a dictionary with an entry for each token so far.
#   `dot(q, key)` says how well an entry matches, `softmax` makes weights of the matches, and the answer is the mixture of values that they give.
# - **As a smoother.** `keys` are the places where something was measured, `values` the measurements.
#   The answer is their local mean at $q$, and to append a key is to add a measurement: no parameter has to be computed again.
#
# :::
#
# Chapter 05's formula gives the same numbers: a Gaussian of bandwidth $h = d^{1/4}$ around each key, times $e^{|k|^2/2h^2}$ for the length of the key.
# The two exponents are added: $|k|^2 - |q - k|^2 = 2\,q \cdot k - |q|^2$, and the $|q|^2$ is the same for all keys and cancels.
# Here it is as a loop over lists, next to the library's smoother and lookup.
#
# *In words:* [dot products and distances](mathematics.ipynb#Dot-products-and-distances).

# %%
C, n_head = 8, 2
d = C // n_head
qkv = torch.randn(5, 3 * C, generator=generator, dtype=torch.float64)
answers, found = attend(qkv.tolist(), [([], []) for _ in range(n_head)])

h = d**0.25  # h² = 1/β = √d
for head, (Q, K, V) in enumerate(zip(*parts(qkv.tolist(), n_head))):
    for t, q in enumerate(Q):
        bells = [
            math.exp((dot(k, k) - sum((a - b) ** 2 for a, b in zip(q, k))) / (2 * h**2))
            for k in K[: t + 1]
        ]
        mean = [dot(bells, v[: t + 1]) / sum(bells) for v in transpose(V)]
        assert all(map(math.isclose, mean, answers[t][head * d : (head + 1) * d]))
    Q, K, V = (torch.tensor(rows, dtype=torch.float64) for rows in (Q, K, V))
    key_weights = (K.square().sum(-1) / (2 * h**2)).exp()
    last = nadaraya_watson(Q[-1:], K, V, h, key_weights=key_weights)
    assert near([answers[-1][head * d : (head + 1) * d]], last, 1e-12)
    assert near([found[head][-1]], attention(Q[-1:], K, V, return_weights=True)[1], 1e-12)
print("lookup and smoother, by loops and by the library: equal")

# %% [markdown]
# A block reads the residual stream and adds to it, twice: norm, queries with keys and values, attention, `out`, and the first sum; norm, `up`, GELU, `down`, and the second.
# The model is blocks between the embeddings and the head.
# Into `kept` goes what each part read, since its gradient needs it; that is for the backward pass (*the way back* in the code), and generating makes no use of it.

# %% tags=["quote"]
from tinyllm.standalone import block, forward

# %%
config = library.config
model = GPT(weights, config.n_layer, config.n_head)
ids = tokenizer.encode("\n\nOnce there was a cat who")
logits = forward(model, ids, new_cache(model))
with torch.no_grad():
    theirs = library(torch.tensor(ids))  # in 32 bits
    exact = load_by_the_library("taleteller").double()(torch.tensor(ids))
assert near(logits, exact, 1e-12) and near(logits, theirs, 1e-4)
print(f"{len(logits)} × {len(logits[0])} logits, the largest {max(logits[-1]):.3f}")

# %% [markdown]
# `library`: `GPT(config)(ids)`.
# In 64 bits, as Python's floats have them, the library's logits are the same to a trillionth; in its usual 32 bits, to 0.0001.
#
# Since `attend` appends, one more token costs one more row.
# Whether the tokens come at once or one by one makes no difference at all: each row is the same sums in the same order.

# %%
cache = new_cache(model)
one_by_one = [forward(model, [i], cache)[0] for i in ids]
assert one_by_one == logits
assert {len(keys) for heads in cache for keys, values in heads} == {len(ids)}
print(f"{config.n_layer} × {config.n_head} heads, {len(ids)} keys in each")

# %% [markdown]
# A text is written by a loop: read, draw, and read what was drawn.

# %% tags=["quote"]
from tinyllm.standalone import generate

# %%
greedy = list(generate(model, ids, 20, temperature=0))
theirs = generate_by_the_library(library, torch.tensor(ids), 20, temperature=0)
assert greedy == theirs[len(ids) :].tolist()
random.seed(1)
told = b"".join(tokenizer.vocab[i] for i in generate(model, ids, 40, 0.7)).decode()
print(textwrap.fill("Once there was a cat who" + told, 80), "...")

# %% [markdown]
# `library`: `generate(model, ids, 20, temperature=0)`.
# That was *inference*, half of the file.
#
# ## The backward pass
#
# Learning needs the gradient of the loss with respect to every weight.
# The library calls `loss.backward()`, and PyTorch remembers what was computed from what.
# Here the steps are known in advance, so their chain rule can be written down by hand, once: the lines of the forward pass, last line first.
#
# Three rules carry almost all of it.
# The first is that of a matrix: if $Y = X W^{\mathsf T}$ and $G$ is the gradient of the loss with respect to $Y$, then that with respect to $W$ is $G^{\mathsf T} X$, and that with respect to $X$ is $G W$.
# (This is the rule of [Gradients](gradients.ipynb#Many-numbers-at-once), with $W$ transposed.)
# By hand: $x = (1, 2)$ and the one row $(3, 4)$ make $y = 11$; for $G = 1$ the row gets $(1, 2)$, and $x$ gets $(3, 4)$.
# Both are `products` again, of transposed lists.
# The second is about sums: a sum passes its gradient on to each of its parts, unchanged, and where a value is used twice, the two gradients that come back are added.
# That is all that the residual stream needs.
# The third is [prediction minus truth](p-minus-one-hot): the gradient with respect to the logits is $p - \text{one-hot}$ (one-hot is 1 at the token that came, and else 0), divided by the number of predictions.
#
# *In words:* [the gradient of a matrix product](mathematics.ipynb#The-gradient-of-a-matrix-product), [the gradient of softmax and loss](mathematics.ipynb#The-gradient-of-softmax-and-loss).
#
# What remains is a rule for GELU, one for the norm, and one for attention.

# %% tags=["quote"]
from tinyllm.standalone import gelu_slope, norm_back

# %%
assert products(transpose([[1]]), transpose([[1, 2]])) == [[1, 2]]  # Gᵀ X
assert products([[1]], transpose([[3, 4]])) == [[3, 4]]  # G W

D = torch.randn(3, 8, generator=generator, dtype=torch.float64)
X = torch.randn(3, 8, generator=generator, dtype=torch.float64, requires_grad=True)
gain = torch.rand(8, generator=generator, dtype=torch.float64, requires_grad=True)
in_X, in_gain = torch.autograd.grad(F.layer_norm(X, (8,), gain), [X, gain], D)
back, d_gain = norm_back(X.tolist(), [gain.tolist()], D.tolist())
assert near(back, in_X, 1e-9) and near(d_gain[0], in_gain, 1e-9)
(in_X,) = torch.autograd.grad(F.gelu(X), X, torch.ones_like(X))
assert near([[gelu_slope(s) for s in row] for row in X.tolist()], in_X, 1e-9)
along = [sum(back[0]), dot(back[0], X[0].tolist())]
print(*(f"{abs(part):.3f}" for part in along))

# %% [markdown]
# `library`: `torch.autograd.grad(...)`.
# Add the same number to all channels, and the norm's answer stays the same, so the slopes of the channels have to add up to 0.
# Double the input, and the answer stays nearly the same (only the $\varepsilon$ under the root sees the length), so the dot product of the slopes with the input is nearly 0.
# Those are the two numbers above, and `norm_back` subtracts a term for each.
#
# The backward pass of attention is the product rule and the softmax.
# Let $w_j$ be the weights of one query, and $g_j$ the slope of the loss with respect to $w_j$, which is the dot product of the gradient of the answer with the value $v_j$.
# A score $s_j$ changes all weights, by $\partial w_i / \partial s_j = w_i (\delta_{ij} - w_j)$, and the loss changes with each weight at the rate $g_i$.
# Added up, the slope with respect to the score is
#
# $$ \sum_i g_i\, w_i (\delta_{ij} - w_j) = w_j \Bigl(g_j - \sum_i w_i g_i\Bigr) . $$
#
# That is the weight, times how far $g_j$ lies from its mean under the weights.
#
# *In words:* [chain rule](mathematics.ipynb#Chain-rule), [the gradient of softmax and loss](mathematics.ipynb#The-gradient-of-softmax-and-loss).
#
# By hand: the weights ¼ and ¾, the values 4 and 0, and the slope 1 with respect to the answer.
# Then $g = (4, 0)$, with the mean 1, and the slopes are $\tfrac14 \cdot 3 = 0.75$ and $\tfrac34 \cdot (-1) = -0.75$.
# Their sum is 0: adding the same number to all scores changes nothing.
# The loop below computes just that, then multiplies by $\beta$.

# %% tags=["quote"]
from tinyllm.standalone import attend_back

# %%
by_hand = attend_back([[0, 0, 4], [1, math.log(3), 0]], [[[1], [1 / 4, 3 / 4]]], [[0], [1]])
assert [key for query, key, value in by_hand] == [0.75, -0.75]  # since the last q is 1

T, C, n_head = 5, 8, 2
d = C // n_head
qkv = torch.randn(T, 3 * C, generator=generator, dtype=torch.float64, requires_grad=True)
D = torch.randn(T, C, generator=generator, dtype=torch.float64)
q, k, v = qkv.unflatten(-1, (3 * n_head, d)).transpose(0, 1).chunk(3)
theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (n_head, T, d)
(expected,) = torch.autograd.grad(theirs.transpose(0, 1).flatten(1), qkv, D)
answers, found = attend(qkv.tolist(), [([], []) for _ in range(n_head)])
assert near(attend_back(qkv.tolist(), found, D.tolist()), expected, 1e-12)

w = torch.tensor(found[0][-1], dtype=torch.float64)  # the last query of head 0
K, V, g = k[0].detach(), v[0].detach(), D[-1, :d]
covariance = ((V - w @ V) * w[:, None]).T @ (K - w @ K)  # (d_v, d), as in chapter 04
assert torch.allclose(expected[-1, :d], g @ covariance / math.sqrt(d))
print("equal to autograd, and to β times the covariance")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** A score has a slope if its value would change the loss by more, or by less, than the values do on average.
#   And a value gets the gradient of the answer times its weight.
# - **As a smoother.** The slope of the local mean with respect to the query is $\beta$ times the **covariance** of values and keys under the weights, as [chapter 04](04_attention_as_lookup.ipynb) derived.
#   It says how the local mean changes when the query moves.
#
# :::
#
# *In words:* [covariance](mathematics.ipynb#Covariance).
#
# The backward pass of a block applies these rules one after the other.
# Where the forward pass adds, the backward pass adds the gradients: that of the stream, and that which comes back through the part.

# %% tags=["quote"]
from tinyllm.standalone import block_back

# %% [markdown]
# The whole begins with the loss: the gradient of the logits, the head, blocks from last to first, and at the end the two tables.
# For a token that occurs twice in a text, the gradients of both places are added.

# %% tags=["quote"]
from tinyllm.standalone import loss_and_gradient

# %%
loss, gradient = loss_and_gradient(model, ids)
oracle = load_by_the_library("taleteller").double()
expected = cross_entropy(oracle(torch.tensor(ids[:-1])), torch.tensor(ids[1:]))
expected.backward()
assert abs(loss - expected.item()) < 1e-12
largest = 0.0
for name, p in oracle.named_parameters():
    ours = torch.tensor(gradient[name], dtype=torch.float64).view_as(p)
    largest = max(largest, (ours - p.grad).abs().max().item())
assert largest < 1e-9 and len(gradient) == len(list(oracle.parameters()))
print(f"loss {loss:.3f}; {len(gradient)} gradients, none off by more than a billionth")

# %% [markdown]
# `library`: `loss.backward()`.
# Those are the slopes with respect to all of Taleteller's 1.6 million weights, from lists alone.
#
# ## Learning
#
# A new model begins as in chapter 07: normal random numbers in the matrices that read the residual stream, zeros in those whose results are added to it.
# The head is zero, too, so that the first guess is uniform.

# %% tags=["quote"]
from tinyllm.standalone import new_model

# %% [markdown]
# `Adam` is chapter 08's AdamW without the weight decay.
# The weights of the blocks have a tenth of the learning rate of the others, which was found by trying (below).

# %% tags=["quote"]
from tinyllm.standalone import Adam

# %% [markdown]
# A step of training takes one random block of the text.
# The rate stays level for a third of the steps and then falls to zero, along a straight line.

# %% tags=["quote"]
from tinyllm.standalone import train

# %%
random.seed(0)
small = new_model(V=11, T=6, n_layer=2, n_head=2, C=4)
named = {name: torch.tensor(w, requires_grad=True) for name, w in small.weights.items()}
rates = [0.001 if name.startswith("blocks.") else 0.01 for name in named]
groups = [{"params": [p], "lr": lr} for p, lr in zip(named.values(), rates)]
theirs, ours = torch.optim.Adam(groups), Adam(small)
for _ in range(3):
    loss, gradient = loss_and_gradient(small, random.choices(range(11), k=7))
    for name, p in named.items():
        p.grad = torch.tensor(gradient[name])
    theirs.step()
    ours.step(gradient, lr=0.01)
assert all(near(small.weights[name], p.detach(), 1e-6) for name, p in named.items())
print("three steps, equal to torch.optim.Adam")

# %% [markdown]
# `library`: `torch.optim.Adam(groups).step()`.
#
# What should the tokens be?
# Lists are slow, so there will be few steps, and each should see much text.
# Let the tokens be the commonest *pieces* of the text, for the most part words with the space before them.
# Add the single characters, so that any other word can be spelled.
# Then every text of these characters has a probability, and a loss in nats *per character*, as in [chapter 02](02_next_token.ipynb#Different-cuts,-one-text), can be compared with that of models whose tokens are different.

# %% tags=["quote"]
from tinyllm.standalone import Words

# %%
text = tales(1_000_000, seed=0)
words = Words(text, 3000)
ids = words.encode(text)
per_character = len(ids) / len(text)
print(f"{len(words.vocab):,} tokens, of {1 / per_character:.2f} characters on average")
[words.vocab[i].decode() for i in words.encode("There was a gnat.")]

# %% [markdown]
# Fifty steps of a model of one block and 16 channels take about half a minute.
# (To see texts that it generates as it learns, run the file itself with `--train` and a text; `python -m course data tales` prints one.)
# The rate, 0.04 with a tenth of it in the blocks, was found by trying.
# An early trial had 600 words as tokens and 1,500 steps.
# The better of two rates for all weights alike (0.001 and 0.003) ended at 1.75 nats per character, and 0.02 with a tenth of it in the blocks at 1.53 (one seed).

# %%
random.seed(0)
small = new_model(V=len(words.vocab), T=64, n_layer=1, n_head=2, C=16)
losses = [loss * per_character for loss in train(small, ids, n_steps=50)]
sizes = {name: sum(map(len, matrix)) for name, matrix in small.weights.items()}
tables = (sizes["token.weight"] + sizes["head.weight"]) / sum(sizes.values())
print(f"{sum(sizes.values()):,} weights, {tables:.0%} of them in the tables of tokens")
print(f"the first loss is {losses[0]:.2f} nats per character")

# %% [markdown]
# The entropy of the tales is known, 0.136 nats per character, and on average no model can have a lower loss.

# %% alt="The loss of fifty steps falls from 1.9 to about 1.4 nats per character; a dashed line at 0.136 lies far below"
FLOOR = floor().nats_per_character
assert abs(FLOOR - 0.136) < 0.001
last_ten = [losses[max(0, i - 9) : i + 1] for i in range(50)]
smooth = [sum(ten) / len(ten) for ten in last_ten]
assert 0.2 < (losses[0] - smooth[-1]) / (losses[0] - FLOOR) < 0.3
title = "Fifty steps remove a quarter of the loss above the floor"
loss_plot({"mean of ten steps": (range(1, 51), smooth)}, FLOOR, title=title)

# %% [markdown]
# ## The slowest correct implementation of this book
#
# How slow is that, and how far does it get in five minutes of one core?
# `bench/standalone.py` measures it, and this is what it wrote when it was last recorded:

# %%
from IPython.display import Markdown

recorded = Path("../bench/standalone.md").read_text(encoding="utf-8")
rows = [line.strip("| ").split(" | ") for line in recorded.splitlines() if line[:1] == "|"]
ratios = [int(row[4]) for row in rows if len(row) == 5 and row[4].isdigit()]
learned = {row[0]: float(row[3].split()[0]) for row in rows if "±" in row[-1]}
assert 40 < ratios[0] < 100 and 70 < ratios[1] < 150 and 10 < ratios[2] < 30
assert 0.95 < learned["words"] < 1.15 and 1.9 < learned["characters"] < 2.3
Markdown(recorded.split("\n", 2)[2])

# %% [markdown]
# In lists, generating (*writing* in the table) takes some sixty times as long, and learning about a hundred times with the large tables of words.
# With the small tables of characters it is some twenty times: a library gains less where the matrix products are small.
#
# In five minutes words come from 1.85 nats per character to 1.01, nearly half of the way down to 0.136.
# What that model generates has the sound of tales and makes no sense.
# Characters come to 2.07 in the same time; each kind has the best rate that was tried for it.
# What a bigger model reaches with a library: Taleteller, with fifteen times as many weights and 300 million characters to learn from, has 0.139.
# (The best counting model that we found has 0.219 in the same text; see [Smoothing counts](smoothing_counts.ipynb).)
#
# Why is it slow?
# Not because it does more: the multiplications are the same ones.
# But to a processor a list is a row of addresses, each of which leads to an object somewhere else in memory.

# %%
pointer, number = struct.calcsize("P"), sys.getsizeof(1.0)
n = sum(len(row) for matrix in weights.values() for row in matrix)
print(f"a number in a list: {pointer} + {number} bytes, in the file 2;", end=" ")
print(f"Taleteller: {n * (pointer + number) / 1e6:.1f} million bytes, and {n * 2 / 1e6:.1f}")

# %% [markdown]
# For each product Python follows two addresses, looks up what kind of thing it found and how such things are multiplied, and makes a new object for the result.
# The library's numbers lie side by side, and one instruction of the processor multiplies several of them, on many machines eight or sixteen.
# In C the same loops would make no objects, and go over one block of memory for each matrix; the [sheet](../exercises/standalone.ipynb) lays such a block out.
#
# :::{why-it-works}
#
# Everything here was compared: each piece with the library's, the logits with its logits, the text with its text, all gradients with those of automatic differentiation.
# So a transformer needs dot products, exponentials, square roots and an error function, in loops; what a library adds is speed, and a backward pass that it finds by itself.
#
# :::
#
# :::{why-it-might}
#
# Why do the tables of tokens tolerate ten times the rate of the blocks?
# One guess is that the row of a token gets most of its gradient in the steps in which the token occurs, which for most tokens are few.
# Another is that a block, which works for every token, is disturbed by a step that suits only a few.
# We did not separate the two, nor look for a reason at all: we tried rates.
#
# :::
#
# ## What to take along
#
# | what | the library's line | here |
# |---|---|---|
# | weights | `safetensors.torch.load_file` | `struct`, letter `e` |
# | letters of all scripts | `regex`, `\p{L}` | `unicodedata.category` |
# | a matrix product | `F.linear` | `products`, one line |
# | attention | `F.scaled_dot_product_attention` | a loop over two lists that grow |
# | the causal mask | `is_causal=True` | the order of the loop |
# | the backward pass | `loss.backward()` | seventy lines by hand |
# | a step | `torch.optim.Adam` | three lines a row |
#
# **Exercises.** [The sheet of this appendix](../exercises/standalone.ipynb) has five questions: letters, half floats, a cache in C, a cache in two places, and the backward pass of another norm.
#
# **Further reading.** {cite}`llama2c` runs a small Llama from one file of C, and {cite}`llmc` trains GPT-2 in another, with a backward pass by hand.
