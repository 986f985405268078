# %% [markdown]
# # The block and the model
#
# Attention layers are good for something, chapter 06 says.
# So let us have more of them: none, two, six, each on top of the last, trained for sixty steps to predict the next letter of a tale.
# There are three texts: one to train on, one to choose learning rates and the like on (`development`), and one for the losses that we report (`test`).

# %%
import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from course.data import tales
from tinyllm.attention import MultiHeadAttention
from tinyllm.batches import get_batch

texts = tales(300_000, seed=0), tales(10_000, seed=1), tales(10_000, seed=2)
alphabet = sorted(set(texts[0]))
V, T, C = len(alphabet), 32, 32
id_of = {letter: n for n, letter in enumerate(alphabet)}
ids, development, test = (torch.tensor([id_of[c] for c in text]) for text in texts)

# %% [markdown]
# How `backward` and `step` make numbers learn is told in the chapter [Gradients](gradients.ipynb), and how AdamW chooses its steps in chapter 08.
# `flatten(0, 1)` makes one list of $B \cdot T$ rows out of a batch of $B$ texts.

# %%
def loss_on(model, ids):
    """Mean loss in nats on blocks of T letters, side by side; infinite if it overflows."""
    n = (len(ids) - 1) // T
    x, y = (ids[i : i + n * T].view(n, T) for i in (0, 1))
    with torch.no_grad():
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    return loss if math.isfinite(loss) else math.inf


def train(model, lr=1e-2, steps=60, seed=0, warmup=1, on=test):
    """AdamW on random blocks; the rate rises over `warmup` steps. The loss on new tales."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = lr * min(1, step / warmup)
        x, y = get_batch(ids, 8, T, generator)  # (B, T) each
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss_on(model, on)


# %% [markdown]
# Between embedding and head there is nothing but the layers.
# Their weights begin as random numbers, so small that what comes out of a matrix is about as large as what goes in.
# The learning rate is the best of three for each depth, chosen on the development text.

# %%
def stack(n_layer, seed, wrap=lambda layer: layer):
    torch.manual_seed(seed)
    layers = [wrap(MultiHeadAttention(C, n_head=4)) for _ in range(n_layer)]
    for layer in layers:
        for matrix in layer.parameters():
            nn.init.normal_(matrix, std=C**-0.5)
    return nn.Sequential(nn.Embedding(V, C), *layers, nn.Linear(C, V, bias=False))


def best_of_three(build):
    """Losses on the test text, three seeds, at the rate that did best on development."""
    rates = (0.003, 0.01, 0.03)
    lr = min(rates, key=lambda lr: train(build(seed=9), lr, seed=9, on=development))
    return torch.tensor([train(build(seed=seed), lr, seed=seed) for seed in range(3)])


unigram = -(torch.bincount(ids) / len(ids)).log()[test].mean().item()
print(f"without looking at the text at all: {unigram:.2f} nats")
stacked = {}
for n_layer in (0, 2, 6):
    runs = stacked[n_layer] = best_of_three(partial(stack, n_layer))
    print(f"{n_layer} layers: {runs.min():.2f} to {runs.max():.2f}")
assert stacked[0].max() < stacked[2].min() and stacked[2].max() < stacked[6].min()
assert stacked[6].min() > unigram - 0.1

# %% [markdown]
# After sixty steps more layers are worse.
# With no layer at all the model learns which letter follows which.
# Under six its loss is that of somebody who has never seen the text and was told how often each letter occurs, or higher.
#
# Is it the averaging, or would any six layers do that?
# The same six, but each token may look at itself alone: matrices are multiplied as before, and nothing is averaged.

# %%
class Alone(nn.Module):
    """A layer of attention in which each token sees nothing but itself."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, mask=torch.eye(x.shape[-2], dtype=torch.bool))


alone = best_of_three(partial(stack, 6, wrap=Alone))
print(f"6 layers, each token alone: {alone.min():.2f} to {alone.max():.2f}")
assert stacked[0].max() < alone.min() and alone.max() < stacked[6].min() - 0.2

# %% [markdown]
# Depth alone costs something, and averaging costs more.
#
# What is missing are residual connections, norms and MLPs, and with them most of a language model.
#
# :::{admonition} You will be able to
# :class: tip
# - assemble a GPT from attention, an MLP, norms and sums, and say of each what happens without it;
# - say in which sense an MLP is a memory, in which it is not, and why it is no smoother;
# - account for every parameter and every multiplication of a model before it runs.
#
# Reading: an hour. Running: under two minutes.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with norms, sums, MLP, the repeated block and the unembedding marked as this chapter's"
from course.figures import machine_map

machine_map(here="model")

# %% [markdown]
# From chapter 03 we take the dot product, from 04 to 06 attention in both views, from 02 the loss.

# %%
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice, product

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course.data.tales import SEPARATOR, floor, tell
from course.figures import COLORS, figure
from tinyllm.attention import attention, causal_mask
from tinyllm.layers import Parts, check_config, head_size, mlp_size
from tinyllm.layers import make_attention, make_mlp, make_norm, make_positions
from tinyllm.loss import cross_entropy
from tinyllm.model import block_matrices, check_ids, unwrap
from tinyllm.smoothing import nadaraya_watson
from tinyllm.vectors import similarity

# %% [markdown]
# (residual-stream)=
# ## Write beside it, not over it
#
# A layer of the stack hands on a mean of values and drops the token that asked for it.
# Chapter 06 measured where that leads: [averages of averages agree](#averages-of-averages).
# The cure is two characters long.
# Instead of replacing $x$ by the answer of layer $f_l$, add the answer to it, a **residual connection** {cite}`he2016`:
#
# $$ x_l = x_{l-1} + f_l(x_{l-1}), \qquad\text{so}\qquad x_L = x_0 + \sum_{l=1}^{L} f_l(x_{l-1}) . $$
#
# The second formula is the first, written out, and it is the one to remember.
# There is one vector per token that runs through the whole model, the **residual stream**.
# It begins as the token's embedding.
# A layer *reads* it, all that has been written so far, and *writes* by adding.
# Nothing is overwritten: a layer that is to remove something has to write its negative.
# At the end the head reads the sum.
#
# *In words:* [sums of layers](mathematics.ipynb#Sums-of-layers).
#
# :::{drawing}
# ![The streams of the tokens cat and sat as two arrows. At each, attention and MLP read beside it and add; only the attention of sat also reads the stream of cat](../pages/drawings/residual_stream.svg)
#
# Two streams through one block, without its norms. What comes from another token comes through attention.
# :::

# %%
class Adds(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


added = best_of_three(partial(stack, 6, wrap=Adds))
print(f"6 layers that add: {added.min():.2f} to {added.max():.2f}")
assert stacked[0].max() < added.min() and added.max() < stacked[6].min() - 0.2
longer = [train(stack(n, 0, wrap=Adds), 0.01, steps=600) for n in (0, 6)]
print("600 steps, one seed: none {:.1f}, six that add {:.1f}".format(*longer))
assert longer[1] < longer[0] - 0.05

# %% [markdown]
# After sixty steps six layers that add are far ahead of six that replace, about where six layers were in which each token is alone, and still behind none.
# After six hundred they are ahead of none, which sees one letter only: whether it is the depth that pays or the context, this does not tell.
#
# ### How far does the sum carry?
#
# **The question.** In a real model an **MLP** stands after each attention layer; it works on each token by itself and averages nothing.
# In a new, untrained model of 32 blocks, what keeps the tokens apart: the sum, the MLP, or the norm of the next section?
#
# **The measure** is the spread of chapter 06, the distance of the tokens from their mean, relative to their size: near 1 for tokens that have nothing in common, 0 when all are the same vector.
#
# **The start.** 32 random tokens; each weight is random and so small that the numbers that come out of a matrix are about as large as those that go in (normal, variance 1/(channels read)).
# Two of the four kinds use the norm of the next section, which brings each token to a standard size: before each layer, or on the stream itself, after each sum.

# %%
from tinyllm.layers import MLP


def spreads(kind, with_mlp, seed, depth=32, C=64):
    """The relative spread of 32 tokens after each of so many new blocks."""
    torch.manual_seed(seed)
    x, found = torch.randn(32, C, dtype=torch.float64), []
    for _ in range(depth):
        for layer in (MultiHeadAttention(C, 4), MLP(C))[: 1 + with_mlp]:
            layer.requires_grad_(False).double()
            for p in layer.parameters():
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            read = F.layer_norm(x, (C,)) if kind == "norm before" else x
            x = layer(read) if kind == "no sum" else x + layer(read)
            x = F.layer_norm(x, (C,)) if kind == "norm after" else x
        found.append(((x - x.mean(0)).norm() / x.norm()).item())
    return found


# %% [markdown]
# **The picture.** Lines are means of three seeds, bands reach from the lowest to the highest, and dashed is attention without MLPs.

# %% alt="Spread of the tokens against the number of blocks on a logarithmic axis: without the sum it falls along nearly straight lines by eight orders of magnitude, with the sum and with a norm after each sum by one to three, with a norm before each layer it ends between a third and a half"
fig, ax = figure()
for kind, number in {"no sum": 0, "norm after": 3, "sum": 4, "norm before": 2}.items():
    color = COLORS["CYCLE"][number]
    for with_mlp in (True, False):
        runs = torch.tensor([spreads(kind, with_mlp, seed) for seed in range(3)])
        blocks, style = range(1, 33), "-" if with_mlp else "--"
        ax.semilogy(blocks, runs.mean(0), color=color, linestyle=style)
        ax.fill_between(blocks, runs.amin(0), runs.amax(0), color=color, alpha=0.15)
        bounds = {"no sum": (0, 1e-6), "sum": (2e-3, 0.2), "norm after": (3e-4, 0.03)}
        low, high = bounds.get(kind, (0.25, 1))
        assert low < runs[:, -1].min() and runs[:, -1].max() < high
    ax.annotate(kind, (32.5, runs.mean(0)[-1]), color=color, va="center")
ax.set(xlabel="blocks", ylabel="spread of the tokens", xlim=(0, 42))
ax.set_xticks((1, 8, 16, 24, 32))
ax.set_title("The sum slows the collapse; a norm before each layer, too")
fig

# %% [markdown]
# Without the sum the tokens agree to four digits or more after twenty blocks, and MLPs change little.
# With the sum it takes much longer, and at this start comes all the same: the more the tokens agree, the more a mean of them weighs against the token's own part.
# What is added has to become small *compared with the stream*.
# A norm before each layer does that, a norm on the stream does not; why, is the next section.
#
# All this is a property of the start.
# That pure attention makes tokens agree is proved under conditions on the matrices, also for masks, the causal one among them {cite}`dong2021,wu2024`, and so are exceptions: with suitable value matrices a norm alone can prevent it {cite}`wu2024`.
#
# :::{two-views}
#
# - **As a lookup.** What was found is written beside the query, into the same entry.
#   The next layer looks up in entries that hold more than before, and still hold the token itself.
# - **As a smoother.** A mean of values is added to a token instead of taking its place.
#   Means of means agree, and a token plus a mean agrees with another as far as the means outweigh the tokens.
#
# :::
#
# (norm)=
# ## Read through a norm
#
# In a new model, a stream to which every layer adds will grow.
# How fast depends on what a layer does with a large $x$.
# Linear maps make a large answer of it, the answer is added, and the next layer reads something larger still.
# So the block does not let a layer read the stream itself.
# The layer reads a copy, brought to a standard size, channel mean 0 and variance 1 {cite}`ba2016`:
#
# $$ \operatorname{LayerNorm}(x) = g \odot \frac{x - \bar x}{\sqrt{\operatorname{var}(x) + \varepsilon}} $$
#
# Mean and variance are taken over the $C$ channels of one token; tokens do not mix here.
# The gain $g$, one number for each channel, is learned and begins at 1.
#
# *In words:* [norms of a layer](mathematics.ipynb#Norms-of-a-layer), [vectors](mathematics.ipynb#Vectors).

# %%
def layer_norm(x, gain=1.0, epsilon=1e-5):
    centered = x - x.mean(-1, keepdim=True)
    variance = centered.square().mean(-1, keepdim=True)
    return gain * centered / (variance + epsilon).sqrt()


x = torch.randn(5, C, generator=torch.Generator().manual_seed(0))
assert torch.allclose(layer_norm(x), F.layer_norm(x, (C,)), rtol=0, atol=1e-6)
three, two = torch.tensor([[1.0, 2, 3], [10, 20, 30]]), torch.tensor([[3.0, 1], [0, 2]])
layer_norm(three), layer_norm(two)

# %% [markdown]
# By hand: $(1, 2, 3)$ has mean 2 and variance $\tfrac23$, so the first channel becomes $-1/\sqrt{2/3} = -1.225$.
# Ten times the vector gives the same answer.
# With two channels nothing is left but the sign of their difference, which we will use: such a model can be computed in the head.
#
# Where does the norm go?
# The first transformer put it on the stream, **after** the sum, $x \leftarrow \operatorname{LayerNorm}(x + f(x))$ {cite}`vaswani2017`, which is called post-norm.
# Today it mostly stands **before** the layer, $x \leftarrow x + f(\operatorname{LayerNorm}(x))$, and once more before the head: pre-norm.
# Build both, and none for comparison, from layers whose weights are normal with variance 1/(channels read).
# With `zero`, the matrices that write to the stream, $W_O$ and the second one of the MLP, begin at 0: **zero-initialized output projections**.

# %%
class Tower(nn.Module):
    """Blocks of attention and MLP that add, with the norm before, after or nowhere."""

    def __init__(self, n_layer, norm, seed, zero=False):
        super().__init__()
        torch.manual_seed(seed)
        self.norm, self.token = norm, nn.Embedding(V, C)
        blocks = ((MultiHeadAttention(C, 4), MLP(C)) for _ in range(n_layer))
        self.layers = nn.ModuleList(layer for block in blocks for layer in block)
        norms = (nn.LayerNorm(C, bias=False) for _ in range(2 * n_layer + 1))
        self.norms = nn.ModuleList(norms)
        self.head = nn.Linear(C, V, bias=False)
        for name, p in self.layers.named_parameters():
            nn.init.normal_(p, std=p.shape[1] ** -0.5)
            if zero and name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(p)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids, watch=lambda x: None):
        x = self.token(ids)
        for layer, norm in zip(self.layers, self.norms):
            x = x + layer(norm(x) if self.norm == "before" else x)
            x = norm(x) if self.norm == "after" else x
            watch(x)
        return self.head(self.norms[-1](x) if self.norm == "before" else x)


# %% [markdown]
# First only look, with the normal start: how large is the stream in twelve new blocks?

# %% alt="Standard deviation of the stream against the layer on a logarithmic axis: without a norm it grows exponentially to hundreds, with the norm before the layers slowly to about three, with the norm after it stays at one"
fig, ax = figure()
CYCLE = COLORS["CYCLE"]
KINDS = {"none": CYCLE[4], "after": CYCLE[3], "before": CYCLE[2]}
letters = get_batch(ids, 8, T, torch.Generator().manual_seed(0))[0]
size = {}
for norm, color in KINDS.items():
    runs = []
    for seed in range(3):
        found = []
        with torch.no_grad():
            Tower(12, norm, seed)(letters, watch=lambda x: found.append(x.std()))
        runs.append(torch.stack(found))
    size[norm] = torch.stack(runs)
    low, middle, high = size[norm].amin(0), size[norm].mean(0), size[norm].amax(0)
    ax.semilogy(range(1, 25), middle, color=color)
    ax.fill_between(range(1, 25), low, high, color=color, alpha=0.2)
    ax.annotate(norm, (24.4, middle[-1]), color=color, va="center")
assert size["none"][:, -1].min() > 50 and 2 < size["before"][:, -1].min()
assert size["before"].max() < 5 and (size["after"] - 1).abs().max() < 0.02
ax.set(xlabel="layer (attention, MLP, attention, …)", ylabel="size of the stream")
ax.set_xlim(0, 28.5)
ax.set_title("Without a norm the stream explodes")
fig

# %% [markdown]
# Without a norm the stream grows by a factor with each layer.
# With the norm before, every layer adds about the same amount, and variances add up: the size grows like the *root* of the depth.
# With the norm after it does not grow at all, which looks best.
# But the figure shows the whole stream, and not what is in it.
# Each time a norm on the stream divides, the token's own part is divided, too.
# After 64 divisions (32 without MLPs) little of it is left, and so the lines "norm after" in the figure of the *spread* fall.
# The norm before divides only what is read: the stream stays a plain sum, and what each layer adds becomes a smaller part of it.
#
# ### Does training care?
#
# A new model is not a trained one.
# **The question:** at which learning rates do four blocks learn, with the norm before, after, or nowhere?
# Each gets zero-initialized output projections, with which at first nothing can grow or collapse: this does not test the figures above, it asks what is left of them when the start is a good one.
# The towers are small and have no positions; 150 steps, one seed, the loss on the development text.
# Dashed lines have a **warm-up**, a rate that rises from zero over the first steps (here 30).

# %%
RATES = (0.001, 0.003, 0.01, 0.03)
sweep = {}
for norm, warmup in product(KINDS, (1, 30)):
    towers = (Tower(4, norm, 9, zero=True) for _ in RATES)
    tries = zip(towers, RATES)
    runs = [train(tower, lr, 150, 9, warmup, on=development) for tower, lr in tries]
    sweep[norm, warmup] = torch.tensor(runs)
between = {norm: [train(Tower(4, norm, seed, zero=True), 0.005, 150, seed)
                  for seed in range(3)] for norm in ("before", "after")}
gap = torch.tensor(between["after"]) - torch.tensor(between["before"])
assert gap.mean().abs() < 0.02

# %% [markdown]
# A line that leaves the figure has a loss of hundreds or no number at all.

# %% alt="Loss on the development text against the learning rate, between the loss of the unigram and the floor of the tales far below: the norm before stays near 2.5 from 0.003 to 0.03; at 0.03 no norm has left the figure, and the norm after lies on the unigram, with warm-up already at 0.01"
fig, ax = figure()
possible = floor(stories=500).nats_per_character
for (norm, warmup), losses in sweep.items():
    color, style = KINDS[norm], "-" if warmup == 1 else "--"
    ax.semilogx(RATES, losses.clamp(max=50), "o", linestyle=style, color=color)
    if warmup == 1:
        ax.plot([], [], color=color, label=norm)
for level, name in ((unigram, "unigram"), (possible, "best possible")):
    ax.axhline(level, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
    place = dict(xy=(0.00095, level + 0.05), color=COLORS["FLOOR"], size=10.4)
    ax.annotate(f"{name} {level:.2f}", **place)
ax.legend(title="norm", loc="center left", bbox_to_anchor=(0.02, 0.4))
ax.set(xlabel="learning rate", ylabel="loss (nats per letter)", ylim=(0, 4))
ax.set_title("All three learn; at rate 0.03 only the norm before does")
assert all(min(losses) < 2.7 for losses in sweep.values())
assert sweep["before", 1][1:].max() < 2.65
assert sweep["after", 1][3] > 2.95 and sweep["none", 1][3] > 2.95
fig

# %% [markdown]
# Each learns, and pre-norm is tolerant: it learns at 0.03 as well as at 0.01, where the others are lost.
# Which is *best* a grid as coarse as this cannot say.
# At a rate between its points, 0.005, post-norm comes within 0.02 nats of pre-norm (mean of three seeds, test text; asserted above).
#
# Post-norm is known to need a warm-up, since in a new model, started as usual, the gradients near its output are large {cite}`xiong2020`.
# Here, with four blocks that begin as the identity, a warm-up of 30 steps, a fifth of the run, does not help it.
# Models with no norm at all have been trained very deep from starts of this kind {cite}`zhang2019`.
#
# The model of this book takes both, the norm before and the zero-initialized output projections.
#
# (memory-with-learned-keys)=
# ## The other layer: a memory
#
# Attention looks up in the text.
# Where is everything that the text does not say: that after *Ottoline* comes *Vane*, that lemons are yellow?
#
# The second layer of the block is a small network of its own, the **MLP**, the same for each token; it sees one token at a time.
# It maps $C$ channels to $4C$, applies a curve to each, and maps them back:
#
# $$ \operatorname{MLP}(x) = W_\text{down}\, \operatorname{GELU}(W_\text{up}\, x), \qquad \operatorname{GELU}(s) = s\, \Phi(s) , $$
#
# where $\Phi(s)$ is the chance that a number from the normal distribution is below $s$, near 0 for very negative $s$, $\tfrac12$ at 0, near 1 for large $s$ {cite}`hendrycks2016`: large scores pass, very negative ones become 0, and in between the curve dips to $-0.17$.
#
# *In words:* [curves and gates](mathematics.ipynb#Curves-and-gates).

# %% tags=["quote"]
from tinyllm.layers import MLP

# %% [markdown]
# Now write the matrices as lists of vectors.
# Let $k_i$ be the rows of $W_\text{up}$ and $v_i$ the columns of $W_\text{down}$.
# Then
#
# $$ \operatorname{MLP}(x) = \sum_{i=1}^{4C} \operatorname{GELU}(x \cdot k_i)\; v_i , $$
#
# and that has a familiar look: a query, keys, a function of the scores, a sum of values {cite}`geva2021`.
# The keys and values are no longer made from the text; they are parameters, the same for every text.
# Put a softmax where the GELU stands, and it *is* attention, over a list of $4C$ learned entries (a relative of it, learned entries in one softmax with those of the text and no MLP at all, has been tried, and works {cite}`sukhbaatar2019`).

# %%
torch.manual_seed(0)
mlp, x = MLP(C).double().requires_grad_(False), torch.randn(100, C).double()
keys, values = mlp.up.weight, mlp.down.weight.T  # (4C, C) each
entries = F.gelu(similarity(x, keys)) @ values
assert torch.allclose(mlp(x), entries, rtol=0, atol=1e-12)

lookup = attention(x, keys, values, scale=1.0)
key_weights = (keys.square().sum(-1) / 2).exp()
smoother = nadaraya_watson(x, keys, values, bandwidth=1.0, key_weights=key_weights)
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-12)
print("with GELU it is the MLP; with softmax attention, and so a smoother")

# %% [markdown]
# (`key_weights`: in the smoother of chapter 05 longer keys have to count more for the two to be equal.)
#
# :::{two-views}
#
# - **As a lookup.** Each of the $4C$ neurons is an entry, with a key that is compared with $x$ and a value that is written if it matches.
#   The entries do not compete: ten may match, or none.
# - **As a smoother.** With a softmax, yes, and here the analogy stops.
#   A smoother's weights are positive and sum to 1; these may be negative, and their sum is anything.
#
# The cell above asserts the first column for GELU, and both for softmax.
#
# :::
#
# How far from a smoother?
# The test is a constant: if all values are 1, a smoother of any kind answers 1.

# %%
weights = F.gelu(x @ keys.T)  # (100, 4C)
constant = torch.ones(4 * C, 1, dtype=torch.float64)
mean = attention(x, keys, constant, scale=1.0)
assert torch.allclose(mean, torch.ones_like(mean))
answers = weights @ constant
print(f"attention answers {mean.min():.3f} to {mean.max():.3f},", end=" ")
print(f"the MLP {answers.min():.3f} to {answers.max():.3f};", end=" ")
print(f"{(weights < 0).double().mean():.3f} of its weights are negative")

# %% [markdown]
# So the MLP is a lookup that is no mean.
# It can double a value, subtract one, and answer nothing at all, and none of this a smoother can do.
#
# But is it a *memory*?
# The formula says that it has the form of one.
# Whether a neuron holds a fact, as an entry of a dictionary does, is another question, and a toy shows that the form does not answer it.
# Give the memory $N$ facts, random question vectors with random answer vectors, and train its 64 entries until it recalls them: the right answer must score higher than the other $N-1$.
# Then erase one entry, and do so for each entry in turn.
# If each fact lived in one entry, $N/64$ of them would be gone on average.

# %%
def memorize(weigh, n_facts, lr, steps=200, C=16, seeds=3):
    """Train 4C entries: the share of facts recalled, and how many one entry less loses.

    Both are (seeds,); the second is the mean over all entries.
    """
    generator = torch.Generator().manual_seed(0)
    shape = 2, seeds, n_facts, C
    facts = F.normalize(torch.randn(shape, generator=generator), dim=-1) * math.sqrt(C)
    questions, answers = facts
    keys = torch.randn(seeds, 4 * C, C, generator=generator) / math.sqrt(C)
    values = torch.zeros_like(keys)
    optimizer = torch.optim.AdamW([keys.requires_grad_(), values.requires_grad_()], lr)

    def recalled(entries=torch.ones(4 * C)):
        weights = weigh(questions @ keys.mT) * entries  # (seeds, N, 4C)
        scores = weights @ values @ answers.mT / math.sqrt(C)  # (seeds, N, N)
        return scores, scores.argmax(-1) == torch.arange(n_facts)

    target = torch.arange(n_facts).repeat(seeds)
    for _ in range(steps):
        loss = F.cross_entropy(recalled()[0].flatten(0, 1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = recalled()[1]
        erased = [right & ~recalled(1 - entry)[1] for entry in torch.eye(4 * C)]
    return right.float().mean(1), torch.stack(erased).sum(-1).float().mean(0)


# %% [markdown]
# The same with a softmax in place of the GELU, and with no curve at all (each at a learning rate that works, not the best of many).
# The score of answer $j$ for question $i$ is the dot product of what the memory says to $i$ with $j$.

# %%
memories = {"GELU": (F.gelu, 0.01, (64, 128, 256))}
memories["softmax"] = partial(F.softmax, dim=-1), 0.05, (64,)
memories["linear"] = lambda scores: scores, 0.01, (64,)
for name, (weigh, lr, numbers) in memories.items():
    for n_facts in numbers:
        right, lost = memorize(weigh, n_facts, lr)
        found = f"recalls {right.min():.2f} to {right.max():.2f} of {n_facts} facts"
        print(f"{name:7} {found}; one entry less loses {lost.min():.1f} to {lost.max():.1f}")
        assert right.min() > {"GELU": 0.99, "softmax": 0.9, "linear": 0.85}[name]
        assert n_facts > 64 or (lost.max() < 0.1) == (name == "GELU")

# %% [markdown]
# With a softmax and 64 facts an entry is worth one fact, on average.
# With the GELU it is otherwise.
# The layer recalls four times as many facts as it has entries, and all of them.
# With 64 facts hardly any single entry is needed, and 64 are no hard test: a linear map recalls most of them, though it loses five to fifteen with each entry.
# When it is crowded, an entry takes about an eighth of all facts with it, not a sixty-fourth.
# So in this toy, with 256 facts, each entry is part of many.
# (Erasing one at a time cannot tell a fact that is spread from one that is kept twice.)
#
# "Key-value memory" is right about the formula and about what the layer can do.
# That a neuron of a real model "knows" a fact is a claim about that model, which the formula does not decide.
#
# (block)=
# ## The block
#
# What makes two models the same but for their weights is six values.
# (`Parts` adds the kinds of norm, MLP and attention, with this chapter's as defaults; the others come in chapter 10, *Modern blocks and real weights*.)

# %%
from dataclasses import dataclass

# %% tags=["quote"]
from tinyllm.model import Config

# %% [markdown]
# A block is two layers, two norms, two sums; `make_norm` and its kin build the kind that the configuration names.

# %% tags=["quote"]
from tinyllm.model import Block

# %% [markdown]
# With three tokens of two channels it can be done by hand.
# Let $W_Q = W_K = 0$, so that all scores are 0 and each token takes the plain mean of what it may see, and let $W_V$ and $W_O$ be the identity.
# Of the eight entries of the MLP one is in use, with the key $(1, 0)$ and the value $(0, 10)$.
#
# | | token 1 | token 2 | token 3 |
# |---|---|---|---|
# | $x$ | $(3, 1)$ | $(0, 2)$ | $(5, 5)$ |
# | read through the norm | $(1, -1)$ | $(-1, 1)$ | $(0, 0)$ |
# | mean of those so far | $(1, -1)$ | $(0, 0)$ | $(0, 0)$ |
# | $x$ + that | $(4, 0)$ | $(0, 2)$ | $(5, 5)$ |
# | read through the norm | $(1, -1)$ | $(-1, 1)$ | $(0, 0)$ |
# | score of the entry | $1$ | $-1$ | $0$ |
# | its weight, GELU | $0.841$ | $-0.159$ | $0$ |
# | $x$ + weight · value | $(4, 8.41)$ | $(0, 0.41)$ | $(5, 5)$ |
#
# The second token does not match the key, and the value is *subtracted* from it: a little of what is written there.
# The third has equal channels: its own reading is $(0, 0)$, and it gets nothing from attention only because tokens 1 and 2 happen to cancel.

# %%
tiny = Config(vocab_size=5, block_size=3, n_layer=1, n_head=1, d_model=2)
block = Block(tiny).requires_grad_(False)
block.attention.qkv.weight.copy_(torch.cat([torch.zeros(4, 2), torch.eye(2)]))
block.attention.out.weight.copy_(torch.eye(2))
block.mlp.up.weight.zero_()[0] = torch.tensor([1.0, 0.0])
block.mlp.down.weight.zero_()[:, 0] = torch.tensor([0.0, 10.0])
block(torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 5.0]]))

# %% [markdown]
# ## The model
#
# This is what the matrices of a model hold before it has read a word.
# What the zeros are good for is shown below; the standard deviation of the embeddings is a common choice, 0.02, and was not tuned.
# (`unwrap` takes off what a compiler, or training on several machines, has put around a model.)

# %% tags=["quote"]
from tinyllm.model import initialize

# %% [markdown]
# The model is what the map says: a vector for each id and one for each position, the blocks, a last norm, and a head that compares what has come of each token with every token of the vocabulary.
# (`cache` is chapter 09's; without it `past` and `mask` are nothing, for each block.)

# %% tags=["quote"]
from tinyllm.model import GPT

# %% [markdown]
# (`check_ids` raises an error for ids that the model does not know.)
# Take the smallest that is not silly, five tokens, three places, one block with one head, two channels, and walk through.
#
# | | makes | shape | parameters | multiplications and additions |
# |---|---|---|---|---|
# | ids | | $(T) = (3)$ | | |
# | token + position | $x$ | $(T, C) = (3, 2)$ | $V C + T C = 10 + 6$ | none: rows are picked |
# | norm | | $(3, 2)$ | $C = 2$ | |
# | $W_Q, W_K, W_V$ | $q, k, v$ | $(T, 3C) = (3, 6)$ | $3C^2 = 12$ | $3 \cdot 2 \cdot 12 = 72$ |
# | $q\,k^{\mathsf T}$ | weights | $(n_\text{head}, T, T) = (1, 3, 3)$ | | $2 T^2 C = 36$ |
# | weights · $v$ | heads | $(3, 2)$ | | $2 T^2 C = 36$ |
# | $W_O$ | added to $x$ | $(3, 2)$ | $C^2 = 4$ | $3 \cdot 2 \cdot 4 = 24$ |
# | norm | | $(3, 2)$ | $C = 2$ | |
# | $W_\text{up}$ | matches | $(T, 4C) = (3, 8)$ | $4C^2 = 16$ | $3 \cdot 2 \cdot 16 = 96$ |
# | $W_\text{down}$ | added to $x$ | $(3, 2)$ | $4C^2 = 16$ | $96$ |
# | norm | | $(3, 2)$ | $C = 2$ | |
# | head | logits | $(T, V) = (3, 5)$ | $V C = 10$ | $3 \cdot 2 \cdot 10 = 60$ |
# | | | | **80** | **420** |
#
# A weight is used once per token, for one multiplication and one addition: that is the 2.
# The column leaves out what is not a matrix product: norms, softmax, GELU, sums.
#
# PyTorch can check the total: inside `with FlopCounterMode() as counter` each matrix product that runs is reported to the counter, which adds up $2 \cdot$ rows $\cdot$ columns $\cdot$ inner size.

# %%
model = GPT(tiny)
with FlopCounterMode(display=False) as counter:
    logits, weights = model(torch.tensor([4, 0, 2]), return_attention=True)
for name, p in model.named_parameters():
    print(f"{name:29} {str(tuple(p.shape)):8} {p.numel():3}")
print(sum(p.numel() for p in model.parameters()), counter.get_total_flops())
tuple(logits.shape), tuple(weights.shape)

# %% [markdown]
# (how-to-begin)=
# ## How to begin
#
# All logits of this model are 0, and that is intended.
# A model that knows nothing should say so: the loss of the uniform distribution is $\ln V$.
# Chapter 04 met a head that began confidently wrong and had to unlearn that first.
#
# Three ways to begin, twelve blocks of 64 channels each: as PyTorch fills its layers if nobody asks it otherwise; every matrix normal with standard deviation 0.02; and `initialize`.
# Look at the stream layer by layer, and at the first loss.
#
# To look inside a model without changing its code one hangs a **hook** on a module, a function that PyTorch calls whenever the module runs: a *forward pre-hook* with the module and its inputs, a *forward hook* with its output, too.

# %%
def by_default(model):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.reset_parameters()


def small(model):
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.normal_(p, std=0.02)


config = Config(V, T, n_layer=12, n_head=4, d_model=64)
for begin in (by_default, small, initialize):
    torch.manual_seed(0)
    model, stream = GPT(config).requires_grad_(False), []
    begin(model)
    first = model.blocks[0]
    first.register_forward_pre_hook(lambda block, inputs: stream.append(inputs[0].std()))
    for block in model.blocks:
        block.register_forward_hook(lambda block, inputs, x: stream.append(x.std()))
    x, y = get_batch(ids, 32, T, torch.Generator().manual_seed(0))
    loss = cross_entropy(model(x), y)
    levels = " ".join(f"{stream[n].item():6.3f}" for n in (0, 1, 6, 12))
    print(f"{begin.__name__:10} stream after 0, 1, 6, 12 blocks: {levels}; loss {loss:.3f}")
print(f"ln V = {math.log(V):.3f}")

# %% [markdown]
# The uniform distribution costs $\ln 62$.
# PyTorch's own choice gives every letter another probability, at random, and pays for it.
# With 0.02 everywhere the differences are small.
# (The embeddings differ, too, 1 for PyTorch and 0.02 for the others, so this is three starts and no experiment.)
# But look along the stream of the second: after twelve blocks it has grown fourfold, so more than nine tenths of its variance are what untrained layers have written, and the token is the rest.
# GPT-2 makes what writes smaller the deeper the model is, by the root of the number of layers {cite}`radford2019`.
# `initialize` goes to the end of that road: the output projections begin at zero, every block is the identity, and the token's vector reaches the head untouched.
#
# Zeros look dangerous.
# If $W_\text{down}$ is zero, what gradient can reach $W_\text{up}$, which comes before it?
# A gradient is a [product of slopes](#product-of-slopes) along the way from the loss, and one of them is zero: none, at first.
# Watch three steps, and note the names of all parameters whose gradient is not zero.

# %%
torch.manual_seed(0)
model = GPT(Config(V, T, n_layer=2, n_head=4, d_model=C))
optimizer, reached = torch.optim.AdamW(model.parameters(), lr=1e-3), set()
x, y = get_batch(ids, 8, T, torch.Generator().manual_seed(0))
for step in (1, 2, 3):
    optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if p.grad.any()}
    new = (name.removesuffix(".weight") for name in moved - reached)
    new = {name.removeprefix("blocks.0.") for name in new}
    print(f"step {step}:", *sorted(name for name in new if "blocks" not in name))
    reached = moved
assert reached == {name for name, _ in model.named_parameters()}

# %% [markdown]
# Gradients arrive from the end: first at the head, then at everything that writes into the stream, and in the third step everywhere.
# (They would never arrive if *both* matrices of the MLP were zero, since each makes the other's gradient zero.)
#
# (tying)=
# ## One matrix or two
#
# The model has two tables with a row of $C$ numbers for each token: one says what a token looks like coming in, the other what a vector must look like for the token to come out.
# Many models use the same table for both, `tie_weights=True` {cite}`press2017`.
# It saves $V C$ parameters, and not a single multiplication.
# How much is that?
# (`n_parameters` counts; its formula is the subject of the next section.
# Taleteller is the book's own model, which chapter 08 trains.)

# %%
from tinyllm.model import load, n_parameters

taleteller = load("taleteller").double().requires_grad_(False)
sizes = {
    "these letters": Config(V, T, 2, 4, C),
    "Taleteller": taleteller.config,
    "GPT-2": Config(50257, 1024, 12, 12, 768, tie_weights=True),
}
for name, config in sizes.items():
    pair = (replace(config, tie_weights=tied) for tied in (False, True))
    two, one = (n_parameters(config) for config in pair)
    print(f"{name:13} {two:11,} parameters, tied {one:11,}: {1 - one / two:.1%} less")

# %% [markdown]
# What it does to the loss is harder to say, since tied and untied models differ in their start, too: here an untied head begins at zero, a tied one with the embeddings.
# This page does not settle it; a lower loss from tying has been reported {cite}`press2017`.
#
# One thing about tying is certain before any training, and it is about the token itself.
# The stream begins as the token's embedding $e$ plus a position, and with `initialize` no block has added anything.
# A tied head compares the normed stream with every row of the same table, and the row that it is most like is $e$ itself: the model's first prediction is *the same token again*.
# With embeddings of standard deviation $\sigma$ a token's vector times itself is about $C \sigma^2$; with positions of the same size the norm divides by $\sigma \sqrt 2$; so the logit of that prediction is about $\sigma C / \sqrt 2$.
# Those of the others are chance, $\sigma \sqrt{C}$ times a normal number, and there are $V - 1$ of them.
# Take GPT-2's vocabulary, and $\sigma = 0.02$.

# %%
torch.manual_seed(0)
x, y = torch.randint(50257, (2, 16, 8))


def repeats(model):
    """The mean logit and probability of the token just read, and the loss."""
    logits = model.requires_grad_(False)(x)
    own, chance = (z.gather(-1, x[..., None]).mean() for z in (logits, logits.softmax(-1)))
    return own, chance, cross_entropy(logits, y)


for width in (64, 256, 768):
    config = Config(50257, 8, 1, 4, width, tie_weights=True)
    own, chance, loss = repeats(GPT(config))
    predicted = 0.02 * width / math.sqrt(2)
    assert abs(own - predicted) < 0.05 * predicted
    print(f"C = {width}: own logit {own:.2f}, predicted {predicted:.2f};", end=" ")
    print(f"chance of a repetition {chance:.3f}; loss {loss:.2f}")
print(f"ln V = {math.log(50257):.2f}")

# %% [markdown]
# At GPT-2's width such a model gives nearly one half to the repetition of each token, and its first loss is well above $\ln V$.
# So tying and blocks that begin as the identity begin badly together at $\sigma = 0.02$ and this width; what training makes of it is not shown here.
# GPT-2 is tied and was trained, from another start: in the published code positions have half the standard deviation, the blocks are not the identity, and the paper scales what writes to the stream by the root of the number of layers {cite}`radford2019`.
# This book's models have two matrices and begin with $\ln V$.
#
# (bill)=
# ## The bill
#
# The walk through the smallest model, with letters in place of numbers, is the whole account:
#
# $$ \underbrace{(V + T)\,C}_{\text{embeddings}} + n_\text{layer} \bigl( \underbrace{4C^2}_{\text{attention}} + \underbrace{8C^2}_{\text{MLP}} + \underbrace{2C}_{\text{norms}} \bigr) + \underbrace{C + VC}_{\text{norm, head}} $$
#
# parameters, and per token of a full block
#
# $$ n_\text{layer} \bigl( 2 \cdot 12 C^2 + \underbrace{4TC}_{\text{scores, means}} \bigr) + 2VC $$
#
# multiplications and additions for a prediction.
# Two thirds of a block's weights are the MLP's.
#
# *In words:* [sizes multiplied](mathematics.ipynb#Sizes-multiplied).
#
# :::{drawing}
# ![Areas for Taleteller's weights: MLPs 655 thousand, attention 328, token vectors and unembedding 262 each, positions 49; 1.56 million in all](../pages/drawings/parameter_bill.svg)
#
# Taleteller's bill as areas. A third of it is its vocabulary, at both ends.
# :::

# %% tags=["quote"]
from tinyllm.model import block_matrices, flops_per_token, n_parameters

# %% [markdown]
# (With the parts of this chapter `block_matrices` is $12C^2$; the other cases are chapter 10's.)
#
# Formulas about code are worth what the code says to them.
# Count the parameters of real models, and let PyTorch count the FLOPs of every matrix product while they run, forward and backward.
# (The counter does not know the CPU's fused attention, which makes scores and means in one routine; `SDPBackend.MATH` asks for the plain one.)

# %%
another = Config(100, 20, n_layer=3, n_head=2, d_model=48, tie_weights=True)
for config in (tiny, another, sizes["these letters"], sizes["Taleteller"]):
    model, x = GPT(config), torch.zeros(2, config.block_size, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            logits = model(x)
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    assert n_parameters(config) == sum(p.numel() for p in model.parameters())
    assert forward.get_total_flops() == flops_per_token(config) * x.numel()
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
print("parameters, forward and backward FLOPs: exactly those of the formulas")

# %% [markdown]
# The backward pass costs exactly twice the forward pass, since each product $Y = XW$ asks for two in return, one for the gradient of $X$ and one for that of $W$.
# So training takes $3 \times 2$ operations per weight and token: 6 times the number of parameters, a rule of thumb {cite}`kaplan2020` (there without the embeddings; here divided by all parameters).
# How good is it, and where does the work go?

# %%
for name, config in sizes.items():
    parameters, flops, L = n_parameters(config), flops_per_token(config), config.n_layer
    width, seen = config.d_model, config.block_size
    parts = {"MLP": 16 * width**2 * L, "attention's matrices": 8 * width**2 * L,
             "scores and means": 4 * seen * width * L, "head": 2 * width * config.vocab_size}
    assert sum(parts.values()) == flops
    shares = ", ".join(f"{part} {work / flops:.0%}" for part, work in parts.items())
    print(f"{name}: {flops:,} per token, in training", end=" ")
    print(f"{3 * flops / parameters:.1f} × parameters\n    {shares}")

# %% [markdown]
# Six is right to within a fifth for these, since two errors have opposite signs: scores and means have no parameters, embeddings that are looked up have some and multiply nothing.
# (GPT-2 is tied, so its table does multiply, in the head.)
# Attention's own work, $4TC$, is as large as that of all the block's matrices, $24C^2$, where $T = 6C$: at 768 tokens for Taleteller, 4,608 for GPT-2.
# It overtakes the MLP, $16C^2$, at $T = 4C$; up to there the MLP's is the largest part of a *block's* work.
#
# (same-as-torch)=
# ## Is it the model that everybody else means?
#
# PyTorch has all the parts: embeddings, a transformer layer that can put its norm first, a layer norm.
# Assemble a model from them, copy Taleteller's weights into it, and compare.

# %%
def torchs_layer(block, n_head):
    """The same block from torch's own code, with copied weights."""
    parts = block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down
    parts += block.norm_1, block.norm_2
    C = block.mlp.up.in_features
    layer = nn.TransformerEncoderLayer(
        C, n_head, 4 * C, dropout=0, activation="gelu", batch_first=True,
        norm_first=True, bias=False, dtype=torch.float64,
    )
    for theirs, ours in zip(layer.requires_grad_(False).parameters(), parts, strict=True):
        theirs.copy_(ours.weight)
    return layer


# %% [markdown]
# The first 100 tokens of each of sixty new tales.

# %%
from tinyllm.model import load_tokenizer

tokenizer = load_tokenizer("taleteller")
stories = islice(tell(seed=100), 60)
begun = torch.tensor([tokenizer.encode(SEPARATOR + s.text)[:101] for s in stories])

x, y = begun[:8, :-1], begun[:8, 1:]  # (B, T) each
theirs = F.embedding(x, taleteller.token.weight) + taleteller.position.weight[:100]
for block in taleteller.blocks:
    layer = torchs_layer(block, taleteller.config.n_head)
    theirs = layer(theirs, src_mask=~causal_mask(100))  # True means do *not* attend
theirs = F.layer_norm(theirs, theirs.shape[-1:], taleteller.norm.weight)
theirs = F.linear(theirs, taleteller.head.weight)

logits, weights = taleteller(x, return_attention=True)
assert torch.allclose(logits, theirs, rtol=0, atol=1e-9)
print(f"equal logits; loss {cross_entropy(logits, y):.2f} nats per token")
tuple(weights.shape)

# %% [markdown]
# The weights of all layers and heads come out with `return_attention`, as $(n_\text{layer}, B, n_\text{head}, T, T)$.
#
# One property is worth a test of its own, because a mistake in it raises no error and makes every loss *better*: no logit may depend on a later token.

# %%
changed = x.clone()
changed[:, 50:] = (x[:, 50:] + 1) % taleteller.config.vocab_size
before, after = taleteller(x), taleteller(changed)
assert torch.equal(after[:, :50], before[:, :50])
assert not torch.isclose(after[:, 50:], before[:, 50:]).all(-1).any()
print("fifty tokens changed: logits before them stay to the last bit, all others differ")

# %% [markdown]
# (one-batch)=
# ## One batch, learned by heart
#
# Before a model is trained for hours, it should be trained for seconds, on one batch, over and over, until the loss is zero.
# If that fails, at a sensible rate and with enough steps, something is broken that no amount of text will repair.
#
# How near to zero, though?
# Two of our sixteen blocks may begin with the same letter and go on differently, and nobody who sees that letter can be right about both.
# So a batch has a floor of its own: count, for every beginning of a block, what followed it.

# %%
def least_loss(x, y):
    """What a model of the past can reach on a batch (B, T), in nats per token."""
    followers = defaultdict(Counter)
    for row, targets in zip(x.tolist(), y.tolist()):
        for t, target in enumerate(targets):
            followers[tuple(row[: t + 1])][target] += 1
    counts = [(n, c.total()) for c in followers.values() for n in c.values()]
    return -sum(n * math.log(n / total) for n, total in counts) / x.numel()


x, y = get_batch(ids, 16, T, torch.Generator().manual_seed(0))
print(f"{least_loss(x, y):.4f} nats per letter")

# %% [markdown]
# Then learn it by heart.
# And once more with a planted bug, the mask left out.

# %% alt="Loss on one batch on a logarithmic axis over 200 steps: the causal model comes down to the floor of the batch and stays on it, the model without mask dives through it"
def by_heart(causal, y=y, steps=200):
    torch.manual_seed(0)
    model = GPT(Config(V, T, n_layer=2, n_head=4, d_model=C))
    for block in model.blocks:
        block.attention.causal = causal
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(steps):
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


least, right, wrong = least_loss(x, y), by_heart(causal=True), by_heart(causal=False)
assert right.min() > least - 1e-5 and right[-1] - least < 0.005 and wrong[-1] < 0.8 * least
others = y.roll(1, dims=0)  # the targets of another row
assert by_heart(True, others)[-1] - least_loss(x, others) < 0.01  # learned, too
fig, ax = figure()
for losses, name, color in ((right, "causal", 2), (wrong, "no mask", 4)):
    ax.semilogy(losses, color=COLORS["CYCLE"][color])
    ax.annotate(name, (202, losses[-1]), color=COLORS["CYCLE"][color], va="bottom")
ax.axhline(least, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
ax.annotate("least loss of the batch", (5, 0.8 * least), color=COLORS["FLOOR"], va="top")
ax.set(xlim=(0, 235), xlabel="step", ylabel="loss on the batch (nats per letter)")
ax.set_title("Down to the floor, and with a bug through it")
fig

# %% [markdown]
# The model reaches its floor to within a few thousandths, which is the zero that we can ask for.
# So the model, the loss and the optimizer can learn, and no answer leaks in.
# That the targets are the *right* ones this does not show: a network learns random answers by heart, too {cite}`zhang2017`, and the last line before the figure gives each row the targets of another: they have a floor of their own, and the model reaches it.
# For that, print a pair of `x` and `y` and read it; for gradients and for later tokens the tests are those above.
#
# The bug passes this test with flying colors if "the loss goes to zero" is the test: without a mask a token sees its own answer.
# What gives it away is the floor.
# A curve below the best possible loss is no discovery: chapter 02 showed how a training loss gets there by reciting, and here it is the answer itself that is read.
#
# (opened)=
# ## A trained one, opened
#
# Now the stream of a model that has learned something.
# Run Taleteller by hand and keep apart what each layer writes.
# (The mean of the channels is taken out: every norm does so, and no layer sees it.)

# %%
x, y = begun[:, :-1], begun[:, 1:]
stream = taleteller.token(x) + taleteller.position.weight[:100]
writes, matches = {"embeddings": stream}, []
for n, block in enumerate(taleteller.blocks, 1):
    writes[f"attention {n}"] = attended = block.attention(block.norm_1(stream))
    stream = stream + attended
    matches.append(F.gelu(block.mlp.up(block.norm_2(stream))))  # (B, T, 4C)
    writes[f"MLP {n}"] = recalled = block.mlp.down(matches[-1])
    stream = stream + recalled
assert torch.allclose(sum(writes.values()), stream)
assert torch.allclose(taleteller.head(taleteller.norm(stream)), taleteller(x))
seen = {name: w - w.mean(-1, keepdim=True) for name, w in writes.items()}
squares = {name: written.square().mean() for name, written in seen.items()}
for name, square in squares.items():
    share = square / sum(squares.values())
    same = seen[name].mean((0, 1)).square().mean() / square
    assert (same > 0.5) == (name in {f"attention {n}" for n in (1, 2, 3, 5)})
    print(f"{name:12} writes {square.sqrt():5.2f}, {share:4.0%} of all squares;", end=" ")
    print(f"{same:4.0%} of that the same for every token")
assert max(squares, key=squares.get) == "MLP 5"

# %% [markdown]
# Eleven things added, and the logits are those of the model.
# The last MLP has the largest share: what it writes no later block reads, only the head.
# More than half of what attention writes in layers 1, 2, 3 and 5 is the same vector for every token, which says nothing about any of them.
# (And how *much* a layer writes is not yet how much it matters: writes may cancel each other, or be what the head does not read.)
#
# In the MLPs, do keys and values go together?
# Geva and others asked this of a large model {cite}`geva2021`, and it can be asked of any: collect the places in the text where a neuron matches best, and see what comes *next* there.
# Then hold the neuron's value against the head, as if it were all that had been written, and list the ten tokens that it favors most.
# If the neuron is an entry, "after this comes that", the two should agree more often than those of two different neurons.
# (`agreement` is the share, over all neurons and their 20 places, in which the token that came next is among the ten.)

# %%
following, generator = y.flatten(), torch.Generator().manual_seed(0)
head = taleteller.head.weight * taleteller.norm.weight  # (V, C)
for n, (block, weight) in enumerate(zip(taleteller.blocks, matches), 1):
    best = weight.flatten(0, 1).topk(20, dim=0).indices  # (20, 4C) places
    values = block.mlp.down.weight
    favored = (head @ (values - values.mean(0))).topk(10, dim=0).indices  # (10, 4C)

    def agreement(order):
        return (following[best][:, None] == favored[None, :, order]).any(1).double().mean()

    n_entries = weight.shape[-1]
    own = agreement(torch.arange(n_entries))
    orders = (torch.randperm(n_entries, generator=generator) for _ in range(20))
    others = torch.stack([agreement(order) for order in orders])
    scatter = f"{others.mean():.3f}, at most {others.max():.3f}"
    print(f"MLP {n}: own value {own:.3f}, another's {scatter}")
    assert own > 2 * others.max()

# %% [markdown]
# In every layer of this small model a neuron's value says what comes after the places where its key matches several times as often as another neuron's value does.
# (In the large model of {cite}`geva2021`, where only the top token counted, it was so in the upper layers.)
# That is evidence: keys and values belong together.
# And it is a small number.
# Nine times out of ten what comes next is not even among the ten tokens that the neuron favors: what comes next is said by the sum of them all.
#
# :::{why-it-works}
#
# Shown: without the sum, sixty steps of training at the best of three rates leave six layers of attention where counting letters would be, and six in which no token sees another much lower.
# With the sum, the output is all that the layers wrote, added up.
# In new models a norm before each layer keeps tokens apart down to the 32nd block, and lets the stream grow like the root of the depth.
# With output projections that begin at zero, four small blocks without positions learn with the norm before, after or nowhere; of the four rates that were tried the highest suits pre-norm alone (one seed, 150 steps).
# The MLP has the form of a memory, is no smoother, and a toy of it recalls more facts than it has entries.
# With output projections that begin at zero a model begins with the loss of the uniform distribution, and gradients reach every weight by the third step.
# Parameters and FLOPs are those of two short formulas, and the logits those of PyTorch's own layers.
#
# :::
#
# :::{why-it-might}
#
# "Facts are stored in the MLPs" goes further than the evidence on this page: keys and values fit together more often than by chance, and mostly they do not.
# That a model keeps many more features than it has neurons, each in a *direction*, is a hypothesis with good support in toy models and growing support in real ones {cite}`elhage2022`.
# Why the norm helps beyond the start is an open question: networks without any can be trained, with care {cite}`zhang2019`.
# "The residual stream is a channel by which layers talk" describes the sum; that a later layer *uses* what an earlier one wrote has to be shown anew for each pair, as chapter 06 did for one.
#
# :::
#
# ## What to take along
#
# - One vector per token runs through the model; layers read it through a norm and add to it; the head reads the sum.
# - Take the sum away and, at the usual random starts, tokens become one (from starts chosen with care deep transformers have been trained without it {cite}`he2023`); take the norm away, or put it on the stream, and the learning rate must be chosen with more care.
# - The MLP is a sum over $4C$ learned entries: a lookup by form, and no smoother.
# - $12 C^2$ weights in a block, 2 operations for each and token, 6 in training; the rest is the head, and $4TC$ for attention.
# - Learn one batch by heart, and know its floor before you do.
#
# We have trained everything here with somebody else's optimizer, at the best of a few rates or at a guess.
# Chapter 08 does it properly.
#
# **Exercises.** [The sheet of this chapter](../exercises/07_the_block_and_the_model.ipynb): a growth to derive, the bill of GPT-2, a first gradient to predict, a block to repair, a logit to take apart, and a memory to fill without any training.
#
# **Further reading.** {cite}`elhage2021` for the stream as a place where layers write, {cite}`geva2021` for the memory, {cite}`xiong2020` for the place of the norm, {cite}`radford2019` for the model that ours is a small copy of.
