# %% [markdown]
# # The block and the model
#
# Attention layers are good for something, chapter 06 says.
# So let us have more of them: none, two, six, each on top of the last, trained for sixty steps to predict the next letter of a tale.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course.data import tales
from tinyllm.attention import MultiHeadAttention
from tinyllm.batches import batch

text = tales(300_000, seed=0)
alphabet = sorted(set(text))
V, T, C = len(alphabet), 32, 32
ids = torch.tensor([alphabet.index(letter) for letter in text])


def train(model, lr=1e-2, steps=60, seed=0):
    """Some steps of AdamW on blocks of letters; the mean of the last ten losses."""
    generator, losses = torch.Generator().manual_seed(seed), []
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for _ in range(steps):
        x, y = batch(ids, 8, T, generator)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


# %% [markdown]
# Between embedding and head there is nothing but the layers.

# %%
def stack(n_layer, seed, wrap=lambda layer: layer):
    torch.manual_seed(seed)
    layers = (wrap(MultiHeadAttention(C, n_head=4)) for _ in range(n_layer))
    return nn.Sequential(nn.Embedding(V, C), *layers, nn.Linear(C, V, bias=False))


share = torch.bincount(ids) / len(ids)
unigram = -(share * share.log()).sum().item()
print(f"without looking at the text at all: {unigram:.3f} nats")
stacked = {}
for n_layer in (0, 2, 6):
    runs = stacked[n_layer] = [train(stack(n_layer, seed), seed=seed) for seed in range(3)]
    print(f"{n_layer} layers: {min(runs):.2f} to {max(runs):.2f}")
assert max(stacked[0]) < min(stacked[2]) and max(stacked[2]) < min(stacked[6])
assert min(stacked[6]) > unigram - 0.1

# %% [markdown]
# More layers make it worse.
# With no layer at all the model learns which letter follows which.
# Under six of them it does not know which letter it is standing on: what is left is the loss of somebody who has never seen the text and was told how often each letter occurs.
#
# Something is missing around the layers, and most of a language model consists of it.
#
# :::{admonition} You will be able to
# :class: tip
# - assemble a GPT from attention, an MLP, norms and sums, and say of each what happens without it;
# - say in which sense an MLP is a memory, in which it is not, and why it is no smoother;
# - account for every parameter and every multiplication of a model before it runs.
#
# Reading: 40 minutes. Running: about a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with norms, sums, MLP, the repeated block and the unembedding marked as this chapter's"
from course.figures import machine_map

machine_map(here="model")

# %% [markdown]
# From chapter 03 we take the dot product, from 04 to 06 attention in both views, from 02 the loss.

# %%
import math
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from course.figures import COLORS, figure
from tinyllm.attention import attention, causal_mask
from tinyllm.loss import cross_entropy
from tinyllm.model import check_ids
from tinyllm.smoothing import nadaraya_watson
from tinyllm.vectors import similarity

# %% [markdown]
# (residual-stream)=
# ## Write beside it, not over it
#
# A layer of the stack hands on what it has heard and forgets who was asking.
# Chapter 06 measured where that leads: [averages of averages agree](#averages-of-averages).
# The cure is two characters long.
# Instead of replacing $x$ by the answer of layer $f_l$, add the answer to it {cite}`he2016`:
#
# $$ x_l = x_{l-1} + f_l(x_{l-1}), \qquad\text{so}\qquad x_L = x_0 + \sum_{l=1}^{L} f_l(x_{l-1}) . $$
#
# The second formula is the first, written out, and it is the one to remember.
# There is one vector per token that runs through the whole model, the **residual stream**.
# It begins as the token's embedding.
# A layer *reads* it, all that has been written so far, and *writes* by adding; nobody erases.
# At the end the head reads the sum.

# %%
class Adds(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


added = [train(stack(6, seed, wrap=Adds), seed=seed) for seed in range(3)]
assert max(added) < max(stacked[0]) + 0.1 and max(added) < min(stacked[6]) - 0.3
print(f"6 layers that add: {min(added):.2f} to {max(added):.2f}")

# %% [markdown]
# Six layers are no longer worse than none.
# (That they are hardly better either is the fault of sixty steps.)
#
# Is it attention alone that collapses?
# The other layer of the block, the MLP, works on each token by itself and does not average anything; perhaps it keeps the tokens apart.
# And does the sum stop the collapse, or delay it?
# Chapter 06 looked at eight layers, with the small weights that PyTorch begins with, and saw none.
# Thirty-two random tokens, thirty-two blocks of weights with variance 1/(channels read), and chapter 06's spread: how far the tokens are from their mean, relative to their size.
# (The last two kinds hold a norm: they belong to the next section.)

# %%
from tinyllm.model import MLP


def spreads(kind, with_mlp, seed, depth=32, C=64):
    """The relative spread of 32 tokens after each of so many new blocks."""
    torch.manual_seed(seed)
    x, found = torch.randn(32, C), []
    for _ in range(depth):
        for layer in (MultiHeadAttention(C, 4), MLP(C))[: 1 + with_mlp]:
            layer.requires_grad_(False)
            for p in layer.parameters():
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            read = F.layer_norm(x, (C,)) if kind == "norm before" else x
            x = layer(read) if kind == "no sum" else x + layer(read)
            x = F.layer_norm(x, (C,)) if kind == "norm after" else x
        found.append(((x - x.mean(0)).norm() / x.norm()).item())
        x = x if "norm" in kind else x / x.std()  # or it would overflow
    return found


# %% [markdown]
# The lines are means of three seeds, the bands reach from the lowest to the highest; dashed is attention without MLPs.

# %% alt="Spread of the tokens against the number of blocks on a logarithmic axis: without the sum it falls by seven orders of magnitude, with the sum by two or three, with the sum and a norm before each layer it ends between a third and a half"
fig, ax = figure()
for kind, number in {"no sum": 0, "sum": 4, "norm before": 2}.items():
    color = COLORS["CYCLE"][number]
    for with_mlp in (True, False):
        runs = torch.tensor([spreads(kind, with_mlp, seed) for seed in range(3)])
        blocks, style = range(1, 33), "-" if with_mlp else "--"
        ax.semilogy(blocks, runs.mean(0), color=color, linestyle=style)
        ax.fill_between(blocks, runs.amin(0), runs.amax(0), color=color, alpha=0.15)
        low, high = {"no sum": (0, 1e-5), "sum": (1e-4, 0.1), "norm before": (0.2, 1)}[kind]
        assert low < runs[:, -1].min() and runs[:, -1].max() < high
    ax.annotate(kind, (32.5, runs.mean(0)[-1]), color=color, va="center")
ax.set(xlabel="blocks", ylabel="spread of the tokens", xlim=(0, 42))
ax.set_xticks((1, 8, 16, 24, 32))
ax.set_title("The sum delays the collapse; with a norm it does not come")
fig

# %% [markdown]
# Without the sum tokens agree to four digits after twenty blocks, as the theory has it {cite}`dong2021`, and the MLP does not help.
# With the sum it takes much longer, and comes all the same.
# These layers write about as much as there is, so that half of every token is averages after one block, and more after the next.
# What is added has to become small *compared with the stream*, layer by layer.
# The third line shows that it can be done.
#
# :::{two-views}
#
# - **As a lookup.** What was found is written beside the question, into the same entry.
#   The next layer looks up in entries that know more than before, and still know who they are.
# - **As a smoother.** A mean of values is added to a token instead of taking its place.
#   Means of means agree, and a token plus a mean agrees with another as far as the means outweigh the tokens.
#
# :::
#
# (norm)=
# ## Read through a norm
#
# A stream to which everybody adds will grow.
# How fast depends on what a layer does with a large $x$: linear maps make a large answer of it, the answer is added, and the next layer reads something larger still.
# So the block does not let a layer read the stream itself.
# It reads a copy, brought to a standard size, channel mean 0 and variance 1 {cite}`ba2016`:
#
# $$ \operatorname{LayerNorm}(x) = g \odot \frac{x - \bar x}{\sqrt{\operatorname{var}(x) + \varepsilon}} $$
#
# Mean and variance are taken over the $C$ channels of one token; no token hears of another here.
# The gain $g$, one number for each channel, is learned and begins at 1.

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
# The first transformer put it on the stream, **after** the sum, $x \leftarrow \operatorname{LayerNorm}(x + f(x))$ {cite}`vaswani2017`.
# Today it stands **before** the layer, $x \leftarrow x + f(\operatorname{LayerNorm}(x))$, and once more before the head.
# Build all three, with none for comparison, from layers whose weights are normal with variance 1/(channels read).

# %%
class Tower(nn.Module):
    """Blocks of attention and MLP that add, with the norm before, after or nowhere."""

    def __init__(self, n_layer, norm, seed, silent=False):
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
            if silent and name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(p)  # nobody writes, to begin with
        nn.init.zeros_(self.head.weight)

    def forward(self, ids, watch=lambda x: None):
        x = self.token(ids)
        for layer, norm in zip(self.layers, self.norms):
            x = x + layer(norm(x) if self.norm == "before" else x)
            x = norm(x) if self.norm == "after" else x
            watch(x)
        return self.head(self.norms[-1](x) if self.norm == "before" else x)


# %% [markdown]
# First only look: how large is the stream in twelve new blocks?

# %% alt="Standard deviation of the stream against the layer on a logarithmic axis: without a norm it grows exponentially to hundreds, with the norm before the layers slowly to about three, with the norm after it stays at one"
fig, ax = figure()
CYCLE = COLORS["CYCLE"]
KINDS = {"none": CYCLE[4], "after": CYCLE[3], "before": CYCLE[2]}
letters = batch(ids, 8, T, torch.Generator().manual_seed(0))[0]
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
# With the norm before, every layer adds about the same amount, and variances add up: the size goes like the *root* of the depth.
# With the norm after it does not grow at all, which looks best.
# But the figure shows the whole stream, and not what is in it.
# A norm on the stream shrinks what a token has been along with what it hears, at every layer, and so the token's own part decays exponentially, as it does without a norm.
# Then it should not help against the collapse either.

# %%
ends = {}
for kind in ("sum", "norm after", "norm before"):
    ends[kind] = [spreads(kind, True, seed)[-1] for seed in range(3)]
    print(f"{kind:11} spread after 32 blocks {min(ends[kind]):.3f} to {max(ends[kind]):.3f}")
assert max(ends["norm after"]) < 0.02 < 0.3 < min(ends["norm before"])

# %% [markdown]
# It does not.
# Only the norm before leaves the stream a plain sum, in which what each layer adds becomes a smaller part.
#
# Does training care?
# This is worth an experiment with some care.
# Four blocks, two learning rates, three seeds; and a second start, *silent*: all matrices that write are zero, so that nothing can grow at first.
# Will a silent start do instead of a norm?

# %%
trials = {}
starts = [(norm, False) for norm in KINDS] + [("none", True), ("before", True)]
for norm, silent in starts:
    for lr in (0.01, 0.03):
        towers = (Tower(4, norm, seed, silent) for seed in range(3))
        runs = [train(tower, lr, 40, seed) for seed, tower in enumerate(towers)]
        trials[norm, silent, lr] = torch.tensor(runs).nan_to_num(math.inf)

# %% [markdown]
# A dot is a seed; the dashed line is the loss of the unigram.

# %% alt="Loss after forty steps, three dots for each of ten rows: norm before the layers lies left of the unigram line in all four rows; norm after lies on the line; without a norm one row of four does well, a silent start at the smaller rate"
fig, ax = figure(height=4.2)
edge = 4.2
for row, ((norm, silent, lr), runs) in enumerate(trials.items()):
    ax.plot(runs.clamp(max=edge), [row] * 3, "o", color=KINDS[norm], alpha=0.6)
    learns = norm == "before" or (norm, silent, lr) == ("none", True, 0.01)
    assert runs.max() < 2.85 if learns else runs.max() > 2.95
    if runs.max() > edge:
        far = "hundreds and more →"
        ax.annotate(far, (edge - 0.08, row), ha="right", va="center", size=10)
names = [f"{norm}, {'silent, ' * silent}{lr:g}" for norm, silent, lr in trials]
ax.set_yticks(range(len(names)), names, color=COLORS["INK"])
ax.axvline(unigram, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
ax.annotate("unigram", (unigram + 0.03, -0.7), color=COLORS["FLOOR"], size=10)
ax.set(xlabel="loss (nats per letter)", xlim=(2.4, edge + 0.1))
ax.set_ylim(len(names) - 0.4, -1.2)
title = "Only the norm before learns from both starts, at both rates"
fig.suptitle(title, x=0.012, ha="left")
fig

# %% [markdown]
# With the norm after, nothing is learned in forty steps but how often each letter occurs, and a smaller rate does not help (try 0.003).
# The first transformers had it there and could be trained, by raising the learning rate slowly from zero: it is this arrangement that cannot do without a warm-up {cite}`xiong2020`.
#
# Without a norm a normal start learns badly at one rate and is lost at the other.
# The silent start answers the question.
# At the smaller rate it does as well as any norm, and very deep networks have been trained from starts of this kind with no norm at all {cite}`zhang2019`.
# At three times the rate it is worth nothing: the first steps wake those who write, and then nobody holds the stream.
#
# So it is half true that the norm is needed to *begin*.
# With it, the learning rate is a matter of taste; without it, of survival.
# The model of this book takes both, the norm before and the silent start.
#
# (memory-with-learned-keys)=
# ## The other layer: a memory
#
# Attention looks up in the text.
# Where is everything that the text does not say: that after *Ottoline* comes *Vane*, that lemons are yellow?
#
# The second layer of the block is a small network of its own, the **MLP**, the same for each token and blind to all others.
# It maps $C$ channels to $4C$, bends them, and maps them back:
#
# $$ \operatorname{MLP}(x) = W_\text{down}\, \operatorname{GELU}(W_\text{up}\, x), \qquad \operatorname{GELU}(s) = s\, \Phi(s) , $$
#
# where $\Phi$ is the distribution function of the normal distribution {cite}`hendrycks2016`: large scores pass, very negative ones become 0, and in between the curve dips to $-0.17$.

# %% tags=["quote"]
from tinyllm.model import MLP

# %% [markdown]
# Now write the matrices as lists of vectors.
# Let $k_i$ be the rows of $W_\text{up}$ and $v_i$ the columns of $W_\text{down}$.
# Then
#
# $$ \operatorname{MLP}(x) = \sum_{i=1}^{4C} \operatorname{GELU}(x \cdot k_i)\; v_i , $$
#
# and that has a familiar look: a query, keys, a function of the scores, a sum of values {cite}`geva2021`.
# The keys and values are no longer made from the text; they are parameters, the same for every text.
# Put a softmax where the GELU stands, and it *is* attention, over a list of $4C$ learned entries (which has been tried, and works {cite}`sukhbaatar2019`).

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
"with GELU it is the MLP; with softmax attention, and so a smoother"

# %% [markdown]
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
# That was a new one; a [trained one](#opened) follows below, and is worse.
# So the MLP is a lookup that is no mean.
# It can double a value, subtract one, and answer nothing at all, and none of this a smoother can do.
#
# But is it a *memory*?
# The formula says that it has the form of one.
# Whether a neuron holds a fact, as an entry of a dictionary does, is another question, and it can be settled.
# Give the memory $N$ facts, random question vectors with random answer vectors, and train its 64 entries until it recalls them: the right answer must score higher than the other $N-1$.
# Then erase one entry, any one.
# If facts lived in entries, $N/64$ of them would be gone.

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
# The same with a softmax in place of the GELU, each at a learning rate that suits it.

# %%
memories = {"GELU": (F.gelu, 0.01), "softmax": (partial(F.softmax, dim=-1), 0.05)}
for n_facts in (64, 128, 256):
    for name, (weigh, lr) in memories.items():
        right, lost = memorize(weigh, n_facts, lr)
        found = f"recalls {right.min():.2f} to {right.max():.2f} of {n_facts} facts"
        print(f"{name:7} {found}; one entry less loses {lost.min():.1f} to {lost.max():.1f}")
        assert name == "softmax" or right.min() > 0.99
        assert n_facts > 64 or (lost.max() < 0.1 if name == "GELU" else lost.min() > 0.8)
assert name == "softmax" and right.max() < 0.9

# %% [markdown]
# With a softmax it is a filing cabinet, and one that fills up: 64 facts, 64 entries, and whoever erases an entry erases one fact.
# With the GELU it is not.
# It recalls everything, four times as many facts as it has entries.
# While there is room, an entry is hardly needed for anything: erase whichever you like, and the facts are still there, all but one in 192 tries (64 entries, three seeds).
# When it is crowded, an entry takes about an eighth of all facts with it, not a sixty-fourth.
# So no fact is *in* an entry; each is spread over many, and each entry is part of many.
#
# "Key-value memory" is right about the formula and about what the layer can do.
# "This neuron knows that fact" is a metaphor from the filing cabinet, and the filing cabinet is the other one.
#
# (block)=
# ## The block
#
# Two layers, two norms, two sums.

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
# The third is invisible to both layers, since its channels are equal.

# %%
block = Block(d_model=2, n_head=1).requires_grad_(False)
block.attention.qkv.weight.copy_(torch.cat([torch.zeros(4, 2), torch.eye(2)]))
block.attention.out.weight.copy_(torch.eye(2))
block.mlp.up.weight.zero_()[0] = torch.tensor([1.0, 0.0])
block.mlp.down.weight.zero_()[:, 0] = torch.tensor([0.0, 10.0])
block(torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 5.0]]))

# %% [markdown]
# ## The model
#
# What makes two models the same but for their weights is six numbers.

# %%
from dataclasses import dataclass

# %% tags=["quote"]
from tinyllm.model import Config

# %% [markdown]
# And what its matrices hold before it has read a word.
# Why these numbers and no others is measured below.

# %% tags=["quote"]
from tinyllm.model import initialize

# %% [markdown]
# The model is what the map says: a vector for each id and one for each position, the blocks, a last norm, and a head that compares what has come of each token with every token of the vocabulary.

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

# %%
smallest = Config(vocab_size=5, block_size=3, n_layer=1, n_head=1, d_model=2)
model = GPT(smallest)
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
# A model that knows nothing should say so: the loss of the shrug is $\ln V$.
# Chapter 04 met a head that began confidently wrong and had to be talked out of it first.
#
# Three ways to begin, twelve blocks of 64 channels each: as PyTorch fills its layers if nobody asks it otherwise; every matrix normal with standard deviation 0.02; and `initialize`.
# Look at the stream layer by layer, and at the first loss.

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
    model.blocks[0].register_forward_pre_hook(lambda _, x: stream.append(x[0].std()))
    for block in model.blocks:
        block.register_forward_hook(lambda block, _, x: stream.append(x[0].std()))
    x, y = batch(ids, 32, T, torch.Generator().manual_seed(0))
    loss = cross_entropy(model(x), y)
    levels = " ".join(f"{stream[n].item():6.3f}" for n in (0, 1, 6, 12))
    print(f"{begin.__name__:10} stream after 0, 1, 6, 12 blocks: {levels}; loss {loss:.3f}")
f"ln V = {math.log(V):.3f}"

# %% [markdown]
# The shrug costs $\ln 62$.
# PyTorch's own choice begins with an opinion about every letter, and pays for it.
# With 0.02 everywhere the opinion is small.
# But look along the stream: after twelve blocks it has grown fourfold, so more than nine tenths of its variance are what untrained layers have written, and the token is the rest.
# GPT-2 makes what writes smaller the deeper the model is, by the root of the number of layers {cite}`radford2019`.
# `initialize` goes to the end of that road: what writes begins at zero, every block is the identity, and the token's vector reaches the head untouched.
#
# Zeros look dangerous.
# If what writes is zero, what gradient can reach what reads?
# None, at first.
# Watch three steps, and note the names of all parameters whose gradient is not zero.

# %%
torch.manual_seed(0)
model = GPT(Config(V, T, n_layer=2, n_head=4, d_model=C))
optimizer, woken = torch.optim.AdamW(model.parameters(), lr=1e-3), set()
x, y = batch(ids, 8, T, torch.Generator().manual_seed(0))
for step in (1, 2, 3):
    optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if p.grad.any()}
    new = {name.removesuffix(".weight").removeprefix("blocks.0.") for name in moved - woken}
    print(f"step {step}:", *sorted(name for name in new if "blocks" not in name))
    woken = moved
assert woken == {name for name, _ in model.named_parameters()}

# %% [markdown]
# The model wakes from its end: first the head, then everything that writes into the stream, and in the third step everything.
# (It would not have woken if *both* matrices of the MLP were zero: each waits for the other, forever.)
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
# What does it cost?
# The loss on letters after sixty steps, three seeds each:

# %%
costs = {"two matrices": [], "one matrix": []}
for name, runs in costs.items():
    for seed in range(3):
        torch.manual_seed(seed)
        model = GPT(replace(sizes["these letters"], tie_weights=name == "one matrix"))
        runs.append(train(model, seed=seed))
    print(f"{name:12}: {min(runs):.1f} to {max(runs):.1f}")
assert max(costs["two matrices"]) < min(costs["one matrix"])

# %% [markdown]
# One table for two jobs is behind, with every seed, but it is catching up: with `steps=100` the ranges overlap.
# Where the vocabulary is large and the text is not, one matrix has been reported to be the better choice {cite}`press2017`.
#
# There is one direction in which it matters a great deal, and it is the token's own.
# The stream begins as the token's embedding $e$ plus a position, and at the start no block has added anything.
# A tied head compares the normed stream with every row of the same table, and the row that it is most like is $e$ itself: the model's first prediction is *the same token again*.
# With embeddings of standard deviation $\sigma$ the logit of that prediction is about $\sigma C / \sqrt 2$, those of the others about $\sigma \sqrt{C}$ times a normal number.

# %%
for width in (64, 256, 768):
    torch.manual_seed(0)
    model = GPT(Config(1000, 8, 1, 4, width, tie_weights=True)).requires_grad_(False)
    x, y = torch.randint(1000, (2, 64, 8))
    logits = model(x)
    own = logits.gather(-1, x[..., None])
    chance = logits.softmax(-1).gather(-1, x[..., None]).mean()
    predicted = 0.02 * width / math.sqrt(2)
    print(f"C = {width}: own logit {own.mean():.2f}, predicted {predicted:.2f};", end=" ")
    assert abs(own.mean() - predicted) < 0.02 * predicted
    print(f"chance of a repetition {chance:.3f}; loss {cross_entropy(logits, y):.2f}")
f"ln V = {math.log(1000):.2f}"

# %% [markdown]
# At the width of GPT-2 a new tied model is all but certain that every token will be said twice.
# Nothing but the width has changed between the lines: the same 0.02 that is harmless in a small model makes a large one confidently wrong.
# Training has to add to the stream what cancels the token, before anything else.
# This book's models have two matrices.
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

# %% tags=["quote"]
from tinyllm.model import flops_per_token, n_parameters

# %% [markdown]
# Formulas about code are worth what the code says to them.
# Count the parameters of real models, and let PyTorch count the FLOPs of every matrix product while they run, forward and backward.

# %%
another = Config(100, 20, n_layer=3, n_head=2, d_model=48, tie_weights=True)
for config in (smallest, another, sizes["these letters"], sizes["Taleteller"]):
    model, x = GPT(config), torch.zeros(2, config.block_size, dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        logits = model(x)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert n_parameters(config) == sum(p.numel() for p in model.parameters())
    assert forward.get_total_flops() == flops_per_token(config) * x.numel()
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
"parameters, forward and backward FLOPs: exactly those of the formulas"

# %% [markdown]
# The backward pass costs exactly twice the forward pass, since each product $Y = XW$ asks for two in return, one for the gradient of $X$ and one for that of $W$.
# So training takes $3 \times 2$ operations per weight and token, the rule of thumb $6N$ {cite}`kaplan2020`.
# How good is it, and where does the work go?

# %%
for name, config in sizes.items():
    N, flops, L = n_parameters(config), flops_per_token(config), config.n_layer
    width, seen = config.d_model, config.block_size
    parts = {"MLP": 16 * width**2 * L, "attention's matrices": 8 * width**2 * L,
             "scores and means": 4 * seen * width * L, "head": 2 * width * config.vocab_size}
    assert sum(parts.values()) == flops
    shares = ", ".join(f"{part} {work / flops:.0%}" for part, work in parts.items())
    print(f"{name}: {flops:,} per token, in training {3 * flops / N:.1f} N\n    {shares}")

# %% [markdown]
# $6N$ is right to within a fifth, for two errors of opposite sign: scores and means have no weights and are not in $N$, embeddings are in $N$ and multiply nothing.
# Attention's own work, $4TC$, is as large as that of all the block's matrices, $24C^2$, where $T = 6C$: at 768 tokens for Taleteller, 4,608 for GPT-2.
# Below that the largest part of the work is the MLP's.
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
# New tales, cut into texts of 100 tokens.

# %%
from tinyllm.model import load_tokenizer

tokenizer = load_tokenizer("taleteller")
story = torch.tensor(tokenizer.encode(tales(20_000, seed=100)))
n_texts = (len(story) - 1) // 100
x, y = (story[i : i + 100 * n_texts].view(n_texts, 100) for i in (0, 1))  # (B, T)

x, y = x[:8], y[:8]
theirs = F.embedding(x, taleteller.token.weight) + taleteller.position.weight[:100]
for block in taleteller.blocks:
    layer = torchs_layer(block, taleteller.config.n_head)
    theirs = layer(theirs, src_mask=~causal_mask(100))  # True means do *not* attend
theirs = F.layer_norm(theirs, theirs.shape[-1:], taleteller.norm.weight)
theirs = F.linear(theirs, taleteller.head.weight)

logits, weights = taleteller(x, return_attention=True)
assert torch.allclose(logits, theirs, rtol=0, atol=1e-9)
f"equal logits; loss {cross_entropy(logits, y):.2f}, attention {tuple(weights.shape)}"

# %% [markdown]
# The weights of all layers and heads come out with `return_attention`, as $(n_\text{layer}, B, n_\text{head}, T, T)$.
#
# One property is worth a test of its own, because a mistake in it raises no error and makes every loss *better*: no logit may depend on a later token.

# %%
changed = x.clone()
changed[:, 50:] = (x[:, 50:] + 1) % taleteller.config.vocab_size
after = taleteller(changed)
assert torch.equal(after[:, :50], logits[:, :50])
assert not torch.isclose(after[:, 50:], logits[:, 50:]).all(-1).any()
"fifty tokens changed: logits before them are the same to the last bit, all others differ"

# %% [markdown]
# (one-batch)=
# ## One batch, learned by heart
#
# Before a model is trained for hours, it should be trained for seconds, on one batch, over and over, until the loss is zero.
# If that fails, no amount of text will help.
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


x, y = batch(ids, 16, T, torch.Generator().manual_seed(0))
f"{least_loss(x, y):.4f} nats per letter"

# %% [markdown]
# Then learn it by heart.
# And once more with a planted bug, the mask left out.

# %% alt="Loss on one batch on a logarithmic axis over 200 steps: the causal model comes down to the floor of the batch and stays on it, the model without mask dives through it"
def by_heart(causal, steps=200):
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


floor, right, wrong = least_loss(x, y), by_heart(causal=True), by_heart(causal=False)
assert right.min() > floor - 1e-5 and right[-1] - floor < 0.005 and wrong[-1] < 0.8 * floor
fig, ax = figure()
for losses, name, color in ((right, "causal", 2), (wrong, "no mask", 4)):
    ax.semilogy(losses, color=COLORS["CYCLE"][color])
    ax.annotate(name, (202, losses[-1]), color=COLORS["CYCLE"][color], va="bottom")
ax.axhline(floor, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
ax.annotate("least loss of the batch", (5, 0.8 * floor), color=COLORS["FLOOR"], va="top")
ax.set(xlim=(0, 235), xlabel="step", ylabel="loss on the batch (nats per letter)")
ax.set_title("Down to the floor, and with a bug through it")
fig

# %% [markdown]
# The model reaches its floor to within a few thousandths, which is the zero that we can ask for.
# Everything is connected, gradients arrive everywhere, targets and inputs are lined up.
#
# The bug passes this test with flying colors if "the loss goes to zero" is the test: without a mask a token sees its own answer.
# What gives it away is the floor.
# A curve that dives below the best possible loss is not a discovery; chapter 02 said so, and here it would have saved somebody a week.
#
# (opened)=
# ## A trained one, opened
#
# Now the stream of a model that has learned something.
# Run Taleteller by hand and keep apart what each layer writes.

# %%
x, y = (story[i : i + 100 * n_texts].view(n_texts, 100) for i in (0, 1))
stream = taleteller.token(x) + taleteller.position.weight[:100]
writes, matches = {"embeddings": stream}, []
for n, block in enumerate(taleteller.blocks, 1):
    writes[f"attention {n}"] = heard = block.attention(block.norm_1(stream))
    stream = stream + heard
    matches.append(F.gelu(block.mlp.up(block.norm_2(stream))))  # (B, T, 4C)
    writes[f"MLP {n}"] = recalled = block.mlp.down(matches[-1])
    stream = stream + recalled
assert torch.allclose(sum(writes.values()), stream)
assert torch.allclose(taleteller.head(taleteller.norm(stream)), taleteller(x))
for name, written in writes.items():
    print(f"{name:12} writes {written.square().mean().sqrt():6.2f}")

# %% [markdown]
# Eleven things added, and the logits are those of the model.
# No layer is idle, and none has taken over.
# (How *much* a layer writes is not yet how much it matters: what it writes may be what the head does not read.)
#
# What do the MLPs' weights look like, after training?

# %%
for n, weight in enumerate(matches, 1):
    total = weight.sum(-1)
    sums = f"sum from {total.min():.0f} to {total.max():.0f}"
    print(f"MLP {n}: {(weight < 0).double().mean():.2f} of the weights negative, {sums}")
    assert (weight < 0).double().mean() > 0.3 and total.max() > 20

# %% [markdown]
# A smoother would say 0.00 and 1.
# For most tokens most keys do not match, and the left side of GELU gives these a small negative weight; the sums go from below zero into the hundreds.
#
# And do keys and values go together?
# Geva and others asked this of a large model {cite}`geva2021`, and it can be asked of any: collect the places in the text where a neuron matches best, and see what comes *next* there.
# Then hold the neuron's value against the head, as if it were all that had been written, and list the ten tokens that it favors most.
# If the neuron is an entry, "after this comes that", the two should agree more often than those of two different neurons.

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
    scatter = f"{others.mean():.3f} ± {others.std():.3f}"
    print(f"MLP {n}: own value {own:.3f}, another's {scatter}")
    assert own > 2 * others.max()

# %% [markdown]
# In every layer a neuron's value says what comes after the places where its key matches several times as often as another neuron's value does.
# That is evidence: keys and values belong together.
# And it is a small number.
# Nine times out of ten what comes next is not even among the ten tokens that the neuron favors: what comes next is said by the sum of them all.
#
# :::{why-it-works}
#
# Shown: without the sum, layers average the tokens into one, and training does not repair it; with the sum, the output is all that the layers wrote, added up.
# A norm before each layer keeps tokens apart at any depth we tried, lets the stream grow like the root of the depth, and lets learning begin from either start at either rate.
# The MLP has the form of a memory, is no smoother, and recalls more facts than it has entries.
# Zero where the model writes, and it begins as a shrug and wakes in three steps.
# Parameters and FLOPs are those of two short formulas, and the logits those of PyTorch's own layers.
#
# :::
#
# :::{why-it-might}
#
# "Facts are stored in the MLPs" is a metaphor that goes further than the evidence on this page: keys and values fit together more often than by chance, mostly they do not, and in our own memory of random facts no entry held one.
# That a model keeps many more features than it has neurons, each in a *direction*, is a hypothesis with good support in toy models and growing support in real ones {cite}`elhage2022`.
# Why the norm helps beyond the start is an open question: networks without any can be trained, with care {cite}`zhang2019`.
# "The residual stream is a channel by which layers talk" describes the sum; that a later layer *listens* for what an earlier one wrote has to be shown anew for each pair, as chapter 06 did for one.
#
# :::
#
# ## What to take along
#
# - One vector per token runs through the model; layers read it through a norm and add to it; the head reads the sum.
# - Take the sum away and tokens become one; take the norm away and the learning rate must be chosen with care; put it on the stream and learning stalls.
# - The MLP is a sum over $4C$ learned entries: a lookup by form, no smoother, and no filing cabinet either.
# - $12 C^2$ weights in a block, 2 operations for each and token, 6 in training; the rest is the head, and $4TC$ for attention.
# - Learn one batch by heart, and know its floor before you do.
#
# We have trained everything here with somebody else's optimizer and a learning rate out of a hat.
# Chapter 08 does it properly.
#
# **Exercises.** [The sheet of this chapter](../exercises/07_the_block_and_the_model.ipynb): a growth to derive, the bill of GPT-2, a model to wake in your head, a block to repair, a logit to take apart, and a memory to fill without any training.
#
# **Further reading.** {cite}`elhage2021` for the stream as a place where layers write, {cite}`geva2021` for the memory, {cite}`xiong2020` for the place of the norm, {cite}`radford2019` for the model that ours is a small copy of.
