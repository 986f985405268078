# %% [markdown]
# # Attention I: a lookup
#
# A dictionary answers or it does not.

# %% tags=["raises-exception"]
color = {"cherry": "red", "lemon": "yellow", "plum": "blue"}
color["lemons"]

# %% [markdown]
# `lemons` is one letter away from a key, and the answer is an exception.
# What would it take for a dictionary to answer *almost*?
#
# :::{admonition} You will be able to
# :class: tip
# - turn a `dict` into attention in four steps, and turn it back by lowering a temperature;
# - say why the scores are divided by $\sqrt d$, and which of the usual reasons are wrong;
# - compute how many entries such a memory holds, and check the formula by filling one.
#
# Reading: 35 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with queries, keys, scores and weights marked as this chapter's"
from course.figures import machine_map

machine_map(here="lookup")

# %% [markdown]
# Chapter 03 gave us vectors and three ways to compare them.
# That is all we need.

# %%
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course.figures import COLORS, attention_map, figure
from tinyllm.vectors import similarity

# %% [markdown]
# (four-steps)=
# ## From a dict to attention in four steps
#
# **Exact match.**
# A `dict` compares the query with its keys and takes the value of the one that is equal.
# Python hides the comparisons behind a hash; let us make them all.
# Each key gets a weight, 1 if it is equal and 0 if not, and the answer is the sum of the values, each times its weight.

# %%
keys = ["cherry", "lemon", "plum"]
values = torch.tensor(
    [[255.0, 0, 0], [255, 255, 0], [0, 0, 255]]
)  # red, yellow, blue: (T_k, d_v)
weights = torch.tensor([float(key == "lemon") for key in keys])  # (T_k,)
weights @ values

# %% [markdown]
# Nothing has been gained yet, but something has changed: the values are now vectors, so a sum of them means something.
#
# **Best match.**
# Give every key a place in space, here by three numbers for *sour*, *round* and *long*, and compare by the dot product.
# The query `lemons` can now be near to a key without being it.

# %%
K = torch.tensor([[0.1, 0.9, 0.0], [1.0, 0.4, 0.5], [0.3, 0.7, 0.3]])  # (T_k, d)
query = torch.tensor([[0.9, 0.5, 0.4]])  # lemons, (T_q, d)
scores = similarity(query, K)  # (T_q, T_k)
best = F.one_hot(scores.argmax(-1), len(keys)).float()
scores, best @ values

# %% [markdown]
# Every query gets an answer.
# But `argmax` is a step: move the query a little and the answer jumps, or does nothing at all.
# A function that is flat with jumps has no useful derivative, so nothing in front of it could ever learn.
#
# **Weighted match.**
# So let all values speak, the better match louder.
# We want weights that are positive, sum to 1, and grow with the score:
#
# $$ w_j = \frac{e^{s_j}}{\sum_i e^{s_i}} $$

# %% tags=["quote"]
from tinyllm.attention import softmax

# %%
soft = softmax(scores)
soft, soft @ values

# %% [markdown]
# The answer to `lemons` is now a muddy mixture with yellow on top: 0.49 of it is lemon.
# Try it by hand: $e^{1.3} = 3.669$, $e^{0.54} = 1.716$ and $e^{0.74} = 2.096$ sum to 7.481.
#
# **Learned keys and queries.**
# Who says that fruit should be compared by sourness?
# In a model each token has one vector $x$, and three matrices make three things of it: the **query** $q = x W_Q$ it asks with, the **key** $k = x W_K$ it is found by, and the **value** $v = x W_V$ it hands out.
# What counts as a match is learned.
#
# Put all queries into the rows of $Q$, keys into $K$, values into $V$, and divide the scores by $\sqrt d$, for a reason that has a section to itself below.
# That is all of it {cite}`vaswani2017`:
#
# $$ \operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^{\mathsf T}}{\sqrt d}\right) V $$

# %%
from tinyllm.attention import check_shapes

# %% tags=["quote"]
from tinyllm.attention import attention

# %% [markdown]
# Without the checks it is five lines.
# The example to do by hand has three keys in two dimensions and values that are plain numbers.
# With `scale=1` the scores of the first query are 2, 0 and 2, so its weights are $e^2 : 1 : e^2$.

# %%
q = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # (T_q=2, d=2)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (T_k=3, d=2)
v = torch.tensor([[0.0], [6.0], [3.0]])  # (T_k=3, d_v=1)
attention(q, k, v, scale=1.0, return_weights=True)

# %% [markdown]
# The second query is the zero vector: it matches nothing better than anything else, and gets the plain mean, 3.
#
# Is it the attention that everybody else computes?
# PyTorch has its own, written by other people and compiled for speed.

# %%
generator = torch.Generator().manual_seed(0)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    q, k, v = torch.randn(3, 2, 3, 5, 8, dtype=dtype, generator=generator)
    mask = torch.rand(5, 5, generator=generator) < 0.7
    mask[:, 0] = True  # everyone may attend to something
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(attention(q, k, v, mask), theirs, rtol=0, atol=tolerance)
"equal"

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** A query is compared with all keys.
#   The better a key matches, the more of its value is in the answer.
#   The weights say *where it was found*.
# - **As a smoother.** Keys are places where something was measured, values are the measurements.
#   The answer at a query is a local mean of them.
#   The weights say *how far "local" reaches*.
#
# :::
#
# Both columns describe `weights @ v`.
# If the second one is right, a routine that knows nothing of queries must give the same numbers: chapter 05 writes it, with a Gaussian bell around each measurement.
# Here is its answer in advance, for keys of length 1.

# %%
from tinyllm.smoothing import nadaraya_watson

unit = F.normalize(torch.randn(10, 8, generator=generator).double(), dim=-1)
q, k = unit.split([4, 6])
v = torch.randn(6, 3, generator=generator).double()
lookup = attention(q, k, v, scale=1 / 0.1)
smoother = nadaraya_watson(q, k, v, bandwidth=math.sqrt(0.1))
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-12)
"the lookup at temperature 0.1 is the smoother of bandwidth √0.1"

# %% [markdown]
# (temperature-to-zero)=
# ## Down to zero: the dict comes back
#
# Instead of multiplying scores by a scale, divide them by a **temperature** $T$.
# Hot: all scores look alike, and the answer is the mean of all values.
# Cold: the best score leaves the others behind.
#
# How fast?
# Let the best score be $s_1$ and the second $s_2$.
# The weight that goes to the wrong key is about $e^{(s_2 - s_1)/T}$, so the logarithm of the error, drawn against $1/T$, must fall on a straight line whose slope is the *gap* between best and second best.

# %% alt="Error of the answer on a logarithmic axis against 1 over temperature: straight lines, the slope of each as the gap between the two best scores predicts"
fig, ax = figure()
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(20, 8, generator=generator).double(), dim=-1)
    values = torch.randn(20, 4, generator=generator).double()
    first, second = similarity(keys[:1], keys)[0].sort(descending=True).values[:2]
    coldness = torch.arange(2.0, 51, 2, dtype=torch.float64)  # 1/T
    error = torch.stack(
        [
            (attention(keys[:1], keys, values, scale=c) - values[0]).norm()
            for c in coldness.tolist()
        ]
    )
    slope = (error[-1] / error[-5]).log() / (coldness[-1] - coldness[-5])
    assert abs(slope + (first - second)) < 0.02
    ax.semilogy(coldness, error, label=f"gap {first - second:.3f}, slope {slope:.3f}")
ax.set(
    title="The dict comes back exponentially fast",
    xlabel="1 / temperature",
    ylabel="distance to the dict's answer",
)
ax.legend()
fig

# %% [markdown]
# From 1/T ≈ 10 on the lines are straight, and each falls with the slope that its gap predicts.
# For keys of one length, a `dict` is attention at temperature 0.
# Attention is a `dict` that can be trained.
#
# Try it with words.
# Let the spelling give a word its place: a channel for each pair of neighboring letters, where the beginning and the end count as letters, too.
# Stretch all places to length 1; then the score $q \cdot k$ is a cosine, 1 for the same word and 0 for words without a common pair.
# In the rendered book you can type into the picture and move its slider, which lies on its own answers.
#
# :::{live} lookup
# ![The dict answers the query lemons with a KeyError. Attention at temperature 1 answers with brown, from the weights 0.240 on cherry, 0.520 on lemon and 0.240 on plum. The temperature's slider lies on a strip of colors that goes from the yellow of lemon at the cold end to the brown of the mean at the hot end.](../pages/live/lookup.png)
#
# Cold, attention answers like the `dict`, or with the best match where the `dict` has none; hot, it answers with the mean of all values.
# :::
#
# (not-a-similarity)=
# ## A dot product is not a similarity
#
# There is a catch, and most explanations step over it.
# They say that the dot product measures how *similar* query and key are.
# If so, nothing can be more similar to a key than itself, and each key must win its own lookup.
# Guess how many do, of 2,000 random keys in 16 dimensions.


# %%
def wins_its_own_lookup(keys, by):
    return similarity(keys, keys, by).argmax(-1) == torch.arange(len(keys))


for by in ("dot", "cosine", "distance"):
    keys = [
        torch.randn(2000, 16, generator=torch.Generator().manual_seed(seed))
        for seed in range(5)
    ]
    shares = torch.stack([wins_its_own_lookup(k, by).float().mean() for k in keys])
    print(f"{by:8} {shares.mean():.3f} ± {shares.std():.3f}")

# %% [markdown]
# About three in four.
# The rest ask for themselves and are handed somebody else, and it is easy to see who: $q \cdot k = |q|\,|k| \cos\theta$ rewards a key for being *long*.
# The key $3q$ beats the key $q$ itself, three to one.

# %%
won = wins_its_own_lookup(keys[0], "dot")
[f"{keys[0][which].norm(dim=-1).mean():.3f}" for which in (won, ~won)]

# %% [markdown]
# The mean length of the keys that win, and of those that lose.
# So a model has a second dial besides direction: a long key is heard by everyone, a short one only by those who ask for it precisely.
# Whether one wants that is a question of design; models with *QK-norm* switch it off by making all of them equally long {cite}`henry2020`.
# Chapter 05 says what the dial means to a smoother, and what is lost without it.
#
# ## Why divide by √d
#
# Let the entries of $q$ and $k$ be independent with mean 0 and variance 1.
# Then $q \cdot k$ is a sum of $d$ terms, its variance is $d$, and its typical size $\sqrt d$.
# With $d = 64$ scores of $\pm 8$ are ordinary, and $e^8 \approx 3000$.
# Unscaled attention is therefore *cold*: the wider the vectors, the colder.


# %%
def decided(d, scale, seed):
    """The share of random queries that put more than 0.9 on one of 16 keys."""
    generator = torch.Generator().manual_seed(seed)
    q, k = (
        torch.randn(1000, 1, d, generator=generator),
        torch.randn(1000, 16, d, generator=generator),
    )
    _, weights = attention(q, k, k, scale=scale, return_weights=True)
    return (weights.amax(-1) > 0.9).float().mean()


for d in (16, 64, 256, 1024):
    cold = torch.stack([decided(d, 1.0, seed) for seed in range(3)])
    warm = torch.stack([decided(d, None, seed) for seed in range(3)])
    spread = f"{cold.mean():.3f} ± {cold.std():.3f}"
    print(f"d = {d:4}: unscaled {spread}, scaled {warm.mean():.3f}")

# %% [markdown]
# That much is arithmetic.
# *Why it is bad* is where the stories begin, and two of them are in many textbooks.
# "It prevents vanishing gradients."
# "It keeps the computation stable."
# The second is quickly dealt with: `softmax` subtracts the largest score, so no score is too large for it.
# For the first, train a head and look.
#
# The task: 16 keys are shown, each with one of 8 values, and the query is one of the keys.
# We train the head scaled, unscaled, and unscaled but with the factor $1/\sqrt d$ moved into the first value of $W_Q$.

# %%
D, N_KEYS, N_VALUES = 64, 64, 8


def questions(symbols, generator, batch_size=64, n_pairs=16):
    """Random keys of `symbols` with random values; the query is one of the keys."""
    which_keys = torch.rand(batch_size, N_KEYS, generator=generator).argsort(-1)[
        :, :n_pairs
    ]  # (B, T)
    values = torch.randint(N_VALUES, (batch_size, n_pairs), generator=generator)
    asked, rows = (
        torch.randint(n_pairs, (batch_size,), generator=generator),
        torch.arange(batch_size),
    )
    return (
        symbols[which_keys[rows, asked]],
        symbols[which_keys],
        F.one_hot(values, N_VALUES).float(),
        values[rows, asked],
    )


# %% [markdown]
# Three numbers tell how a training begins: the first loss, the size of the gradient that reaches the queries, and the loss a little later.

# %%
def first_steps(scale, shrink, seed, steps=150):
    """The first loss, the first mean |∂loss/∂q|, the mean of the last ten losses."""
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randn(N_KEYS, D, generator=generator)
    W_q, W_k = torch.randn(2, D, D, generator=generator) / math.sqrt(D)
    W_q, W_k = (shrink * W_q).requires_grad_(), W_k.requires_grad_()
    W_o = (4 * torch.eye(N_VALUES)).requires_grad_()
    optimizer, losses, sizes = torch.optim.Adam([W_q, W_k, W_o], lr=1e-3), [], []
    for _ in range(steps):
        x_q, x_k, v, target = questions(symbols, generator)
        q = (x_q @ W_q)[:, None]  # (B, 1, d)
        q.retain_grad()
        logits = attention(q, x_k @ W_k, v, scale=scale)[:, 0] @ W_o
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        sizes.append(q.grad.abs().mean().item())
    return losses[0], 1000 * sizes[0], sum(losses[-10:]) / 10


# %% [markdown]
# Three seeds of each.
# Before you look: which of the three has the smallest gradient?

# %%
variants = {
    "scaled": (None, 1),
    "unscaled": (1.0, 1),
    "unscaled, W_Q smaller": (1.0, 1 / math.sqrt(D)),
}
begun = {}
for name, variant in variants.items():
    begun[name] = torch.tensor([first_steps(*variant, seed) for seed in range(3)])
    mean, spread = begun[name].mean(0), begun[name].std(0)
    first, gradient = (f"{mean[i]:.2f} ± {spread[i]:.2f}" for i in (0, 1))
    start = f"first loss {first}, gradient {gradient} ·10⁻³"
    print(f"{name:22} {start}, later {mean[2]:.1f}")
scaled, unscaled, smaller = begun.values()
assert unscaled[:, 1].min() > 3 * scaled[:, 1].max()  # the gradient has not vanished
assert unscaled[:, 0].min() > 0.5 + scaled[:, 0].max()  # the start is worse
assert unscaled[:, 2].min() > 1.5 * scaled[:, 2].max()  # and stays behind
assert smaller[:, 2].max() < scaled[:, 2].min()  # and √d is not what does it

# %% [markdown]
# The gradient at the unscaled head is not smaller, it is several times *larger*.
# But a mean can be carried by a few.
# Compare the gradient that the typical query gets, the median, with the mean, for wider and wider heads.

# %%
def query_gradients(d, scale, seed, B=2000):
    """The sizes of ∂loss/∂q for random queries and keys; one key holds the answer."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(B, 1, d, generator=generator, requires_grad=True)
    k = torch.randn(B, 16, d, generator=generator)
    values = torch.randint(N_VALUES, (B, 16), generator=generator)
    logits = attention(q, k, 4 * F.one_hot(values, N_VALUES).float(), scale=scale)[:, 0]
    F.cross_entropy(logits, values[:, 0], reduction="sum").backward()
    return q.grad.norm(dim=-1)


for d in (16, 64, 256, 1024):
    unscaled = torch.stack([query_gradients(d, 1.0, seed) for seed in range(3)])
    scaled = torch.stack([query_gradients(d, None, seed) for seed in range(3)])
    means = unscaled.mean(1) / scaled.mean(1)
    medians = unscaled.median(1).values / scaled.median(1).values
    print(f"d = {d:4}: unscaled/scaled mean {means.mean():.1f},", end=" ")
    print(f"median {medians.mean():.1f}")
    assert means.min() > 3 and (medians.min() > 1) == (d <= 64) == (medians.max() > 1)

# %% [markdown]
# So the textbook is wrong for the widths that heads have, 64 or so, where even the typical query gets more.
# It is half right for very wide ones: there most queries are so decided that they learn nothing, and a few get everything.
#
# What is wrong is the start: chance alone scores ln 8 ≈ 2.08, and the unscaled head begins far above it.
# It is **confidently wrong**: a cold lookup with random keys takes one entry and bets on it, and training must first talk it out of that.
#
# The third row is the test of the explanation.
# It has no $1/\sqrt d$ in its formula, only a colder start made warm again, and it learns at least as fast as the first.
# So $\sqrt d$ is a way to choose the temperature at which learning begins, no more and no less: a good choice if the entries have variance 1, and unnecessary for whoever chooses the initial weights accordingly.
#
# ## How much does it hold?
#
# A `dict` holds whatever fits into memory.
# A soft one loses a little of the right answer to every other key, so there must be a number of keys at which too much is lost.
#
# Take $N$ random directions in $d$ dimensions and scores $\beta\cos\theta$.
# The right key has score $\beta$.
# Each other one takes $e^{\beta\cos\theta}$, whose mean over random directions is a known series, ${}_0F_1(;\tfrac d2;\tfrac{\beta^2}4)$.
# The right key keeps the weight $1-\varepsilon$ as long as all others together take no more than $\frac{\varepsilon}{1-\varepsilon}e^\beta$, that is, up to
#
# $$ N^* = \frac{\varepsilon}{1-\varepsilon} \cdot \frac{e^{\beta}}{{}_0F_1(;\tfrac d2;\tfrac{\beta^2}4)} $$
#
# keys.
# Then fill a memory until half of the weight is lost, and see.


# %%
def capacity(beta, d, epsilon=0.5):
    n = torch.arange(1, 400, dtype=torch.float64)
    series = torch.cumprod(beta**2 / 4 / (n * (d / 2 + n - 1)), 0)
    return epsilon / (1 - epsilon) * math.exp(beta) / (1 + series.sum().item())


def filled(beta, d, seed):
    """How many random unit keys leave the right one half of the weight."""
    generator = torch.Generator().manual_seed(seed)
    most = int(4 * capacity(beta, d)) + 50
    cosines = F.normalize(torch.randn(most, d, generator=generator), dim=-1)[:, 0]
    others = torch.cumsum(torch.exp(beta * (cosines.double() - 1)), 0)
    return int((others < 1).sum())


# %% [markdown]
# The fillings are the dots, nine for each, with their whole range; the formula draws the lines.

# %% alt="Number of keys at which half the weight is lost, on a logarithmic axis, against dimension: measured points lie on the predicted lines, straight and rising for beta proportional to d, flattening for constant beta"
fig, ax = figure()
dims = torch.arange(4, 33).tolist()
for c, tried, label_at in (
    (0.5, (8, 16, 24, 32), 26),
    (1.0, (8, 12, 16), 18),
    (2.0, (6, 8, 10), 12),
):
    ax.semilogy(dims, [capacity(c * d, d) for d in dims], color=COLORS["LOOKUP"])
    place = (label_at, capacity(c * label_at, label_at))
    ax.annotate(f"β = {c:g} d  ", place, ha="right", color=COLORS["LOOKUP"])
    runs = torch.tensor([[filled(c * d, d, seed) for seed in range(9)] for d in tried])
    low, middle, high = runs.min(1).values, runs.median(1).values, runs.max(1).values
    reach = middle - low, high - middle
    ax.errorbar(tried, middle, reach, fmt="o", color=COLORS["INK"])
    ratios = [m / capacity(c * d, d) for d, m in zip(tried, middle.tolist())]
    assert 0.7 < min(ratios) and max(ratios) < 1.4
ax.semilogy(dims, [capacity(8, d) for d in dims], color=COLORS["FLOOR"], linestyle="--")
ax.annotate("β = 8", (28, capacity(8, 28) / 3), color=COLORS["FLOOR"])
ax.set(ylim=(10, 1e6), xlabel="dimension d", ylabel="keys at half the weight")
ax.set_title("Capacity grows exponentially, if β grows with d")
fig

# %% [markdown]
# The dots lie on the lines, and nothing was fitted.
# At $\beta = d$ each dimension is worth about 0.9 bits of address: twenty dimensions tell two hundred thousand keys apart.
#
# You will read that attention has *exponential capacity*, and cited for it the modern Hopfield network, whose update rule is one step of attention {cite}`ramsauer2021`.
# Now you can see the small print: the dashed line.
# At a fixed $\beta$ more dimensions soon stop helping, because all of them together shrink the cosines of random directions while the scale of the scores stays.
# Exponential capacity is paid for with scores that grow in proportion to $d$, and training has to be willing to make them so.
#
# ## Train one in front of us
#
# Enough of random keys.
# Let one head learn a lookup from examples alone: eight pairs of symbols are shown, one key is asked for, and the loss is on its value.
# The embeddings start random, and nobody tells the head what a key is.

# %%
from torch import nn


class Recall(nn.Module):
    """One head that is shown pairs of symbols and asked for the value of one key."""

    def __init__(self, n_keys=32, n_values=16, d_model=32):
        super().__init__()
        self.keys, self.values = (
            nn.Embedding(n_keys, d_model),
            nn.Embedding(n_values, d_model),
        )
        self.W_q, self.W_k, self.W_v = (
            nn.Linear(d_model, d_model, bias=False) for _ in range(3)
        )
        self.out = nn.Linear(d_model, n_values, bias=False)

    def forward(self, keys, values, query):
        q = self.W_q(self.keys(query))[:, None]  # (B, 1, C)
        k, v = self.W_k(self.keys(keys)), self.W_v(self.values(values))  # (B, T, C)
        answer, weights = attention(q, k, v, return_weights=True)
        return self.out(answer[:, 0]), weights[:, 0]  # (B, n_values), (B, T)


# %% [markdown]
# The questions are drawn anew for every batch, so there is nothing to memorize.

# %%
def pairs(batch_size, generator, n_keys=32, n_values=16, n_pairs=8):
    order = torch.rand(batch_size, n_keys, generator=generator).argsort(-1)
    keys = order[:, :n_pairs]  # (B, T), no key twice
    values = torch.randint(n_values, (batch_size, n_pairs), generator=generator)
    asked = torch.randint(n_pairs, (batch_size,), generator=generator)
    rows = torch.arange(batch_size)
    return keys, values, keys[rows, asked], values[rows, asked], asked


def train_recall(seed, steps=200):
    torch.manual_seed(seed)
    model, generator = Recall(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        keys, values, query, target, _ = pairs(64, generator)
        loss = F.cross_entropy(model(keys, values, query)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


# %% [markdown]
# Two hundred steps, three seeds, and 5,000 questions that none of them has seen.

# %%
keys, values, query, target, asked = pairs(5000, torch.Generator().manual_seed(100))
for seed in range(3):
    model = train_recall(seed)
    with torch.no_grad():
        logits, weights = model(keys, values, query)
    correct = (logits.argmax(-1) == target).float().mean()
    found = weights.gather(1, asked[:, None]).mean()
    print(f"seed {seed}: {correct:.1%} right; weight on the right key {found:.2f}")
    assert correct > 0.999

# %% [markdown]
# All right, all three.
# Where did the last one look, in the first eight of its questions?

# %% alt="Heat map of the weights of eight test questions over their eight keys: one dark cell in each row, on the key that was asked for"
assert (weights[:8].argmax(-1) == asked[:8]).all()
questions_asked = [f"k{key}?" for key in query[:8].tolist()]
places = [str(place) for place in range(1, 9)]
title = "Each question finds its key among eight"
attention_map(weights[:8], questions_asked, places, title)

# %% [markdown]
# Each row of the picture is another question over its own eight pairs, and the dark cell stands where that question's key stands.
# The head has built a dictionary, and it has chosen its own temperature: nearly all the weight is on one key.
#
# (stored-twice)=
# ## A key that is stored twice
#
# `d["a"] = 1; d["a"] = 2` leaves 2.
# What does a soft dictionary do when a key is bound again?

# %%
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(8, 16, generator=generator), dim=-1)
    values = torch.randn(8, 1, generator=generator)
    stored, answers = torch.cat([keys, keys[:1]]), torch.cat([values, values[:1] + 2])
    answer = attention(keys[:1], stored, answers, scale=200.0).item()
    first, then = answers[0, 0], answers[-1, 0]
    print(f"first {first:.3f}, then {then:.3f}: the answer is {answer:.3f}")
    assert abs(answer - (first + then) / 2) < 1e-3

# %% [markdown]
# **It averages.**
# Two equal keys have equal scores at every temperature, so no temperature will decide between them.
# (In the rendered book, ask the [dictionary above](temperature-to-zero) for `lemon`, and store `lemon` once more.)
# A dictionary *overwrites* because it has a clock: what came later wins.
# Attention has no clock unless somebody puts the time into the keys, which is one more thing that positions are for.
#
# ## Keys that may not be seen
#
# Sometimes a key must not answer: a model that predicts the next token must not look it up.
# A **mask** says which query may attend to which key, `True` for yes, and its work is done on the scores, before the softmax.
# Setting *weights* to zero afterwards would leave rows that do not sum to 1.

# %% tags=["quote"]
from tinyllm.attention import causal_mask

# %% [markdown]
# The first token sees only itself, the last one sees them all.

# %% alt="Heat map of causal attention weights of four tokens: the upper triangle is hatched, each row sums to one"
generator = torch.Generator().manual_seed(1)
x = torch.randn(4, 8, generator=generator)
_, weights = attention(x, x, x, causal_mask(4), return_weights=True)
assert torch.allclose(weights.sum(-1), torch.ones(4)) and weights.triu(1).eq(0).all()
attention_map(
    weights,
    queries=["The", " lantern", " was", " lit"],
    mask=causal_mask(4),
    title="What comes later is not there to be found",
)

# %% [markdown]
# Two corner cases are worth an agreement.
# A query that may attend to *nothing* has no weights that sum to 1; our `attention` answers with zeros, "nothing found, nothing added", and so does PyTorch's.
# And scores may be huge, since only their differences matter.

# %%
nothing = torch.zeros(2, 3, dtype=torch.bool)
q, k, v = (
    torch.randn(2, 4, generator=generator),
    torch.randn(3, 4, generator=generator),
    torch.ones(3, 1),
)
assert torch.equal(
    attention(q, k, v, nothing),
    F.scaled_dot_product_attention(q, k, v, attn_mask=nothing),
)
assert attention(1e30 * q, k, v).isfinite().all()
attention(q, k, v, nothing).flatten()

# %% [markdown]
# :::{why-it-works}
#
# All of this was shown.
# The weighted match is a smooth function of queries and keys, so gradients flow into what is compared, and a lookup can be *learned* (the recall head).
# Lowering the temperature takes it to the `dict`, at a rate that the gap predicts.
# It holds exponentially many keys if the scores grow with $d$.
# And $\sqrt d$ sets the temperature at which learning starts.
#
# :::
#
# :::{why-it-might}
#
# That heads in large models *are* lookups, this one for subjects and that one for brackets, is an interpretation of their weights.
# Some heads fit it very well; chapter 06 trains one that does, and meets some that do not.
# Why trained models give so much weight to keys that hold nothing useful, such as the first token, is measured better than it is understood {cite}`xiao2024`.
#
# :::
#
# ## What to take along
#
# | a `dict` | attention |
# |---|---|
# | equal or not | more or less alike, as $q \cdot k$ |
# | one answer, or `KeyError` | always an answer: a weighted mean |
# | a key stored twice: the last one | the mean of both |
# | any number of keys | about $2^{0.9\,d}$ at $\beta = d$, fewer if the scores stay small |
# | cannot be trained | can be trained: what matches is learned |
#
# The weights are positive and sum to 1, and the answer is a mean of values near the query.
# People who had never heard of language models had a name for that since 1964, and chapter 05 is theirs.
#
# **Exercises.** [The sheet of this chapter](../exercises/04_attention_as_lookup.ipynb) asks you to derive, predict, repair and measure.
#
# **Further reading.** {cite}`vaswani2017` for the formula, section 3.2.1 with its footnote on $\sqrt d$; {cite}`ramsauer2021` for the memory.
