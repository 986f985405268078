# %% [markdown]
# # Two views, many heads
#
# Anna has 3 coins, Ben has 7, Cleo has 4.
# Ask one attention head for two of them in one question.

# %%
import math

import torch

from tinyllm.attention import attention

names = torch.eye(3)  # the keys of Anna, Ben and Cleo
coins = torch.tensor([[3.0], [7.0], [4.0]])
swapped = coins[[1, 0, 2]]
equal = torch.tensor([[50.0, 50.0, 0.0]])  # Anna's and Ben's score, far above Cleo's
ten_to_one = equal + torch.tensor([[math.log(10), 0.0, 0.0]])
for asks in (equal, ten_to_one):
    purses = [attention(asks, names, values, scale=1.0) for values in (coins, swapped)]
    print(*(f"{answer.item():.3f}" for answer in purses))

# %% [markdown]
# With equal weights the answer is 5, and nobody has 5.
# In the second column Anna and Ben have swapped purses, and the answer is 5 again: who has what is lost.
#
# With weights of 10 to 1 it is not.
# Multiply by 11, and the answers are 37 and 73: whoever knows that a purse holds a whole number below ten reads both off, digit by digit.
# So it depends on the reader.
# The reader in an attention layer is a matrix, $W_O$, and a matrix cannot take digits apart.
# This chapter's first result: **with a linear read-out, one head that is asked for two uncorrelated values of mean 0 and variance 1 has a mean squared error of at least ½**, whatever its weights; a reader that is not linear can do better.
#
# :::{admonition} You will be able to
# :class: tip
# - prove what one head with a linear read-out cannot answer, see which reader can, and break the bound with two heads and not one parameter more;
# - compute all heads of a layer in one tensor program that equals PyTorch's;
# - say which facts about attention the lookup explains, which the smoother, and which neither.
#
# Reading: 40 minutes. Running: one to two minutes.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the attention layer and the weights of its several heads marked as this chapter's"
from course.figures import machine_map

machine_map(here="heads")

# %% [markdown]
# [Chapter 04](04_attention_as_lookup.ipynb) built the lookup, [chapter 05](05_attention_as_smoothing.ipynb) showed that it is a kernel smoother.

# %%
from functools import partial
from itertools import product

from torch import Tensor, nn
from torch.nn import functional as F

from course.figures import COLORS, attention_map, figure
from tinyllm.attention import attend, causal_mask, check_stream, size_of_heads
from tinyllm.smoothing import nadaraya_watson

# %% [markdown]
# (one-head-is-dumb)=
# ## One head is dumb
#
# Let there be $N$ names, each with a value of $M$ numbers that are uncorrelated, with mean 0 and variance 1.
# A query points to two different names, and both values are wanted: $2M$ numbers.
# The weights come from query and names, never from the values; $W_V$ and $W_O$ are any matrices at all, and the error is squared.
# Then the mean squared error of one head is **at least ½**, half of what a head that always answers 0 would get.
#
# By hand, with $M = 1$ and $N = 2$: two numbers are wanted, Anna's $a$ and Ben's $b$, and the head passes on one.
# Answer both with $\tfrac12 (a + b)$, and both are wrong by $\tfrac12 (a - b)$, which squared is ½ on average.
# Answer $a$ and 0, and the squared errors are 0 and 1: on average ½ again.
# There are many compromises between the two, and they all cost the same.
#
# The proof has two lines.
# *Fix the query, and with it the weights: all that reaches the reader is one mean, $M$ numbers. A matrix turns $M$ numbers into answers that fill at most $M$ of the $2M$ dimensions (how many they fill is its rank), so there are $M$ directions, perpendicular to each other, in which every answer is 0.*
# *But of $2M$ uncorrelated numbers with variance 1 the part in any one direction has variance 1. In those $M$ directions all of it is missed: the squared errors of the $2M$ numbers sum to at least $M$.*
#
# *In words:* [variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation), [inverses and rank](mathematics.ipynb#Inverses-and-rank).
#
# The proof needs a linear reader for "at most $M$ dimensions".
# Here are two readers of a mean with the weights 0.7 and 0.3 that are not linear.
# Where values are +1 or −1, which meets every assumption above, the first takes the sign.
# Where they are *one-hot* (a 1 among ten numbers, all others 0), the second takes the place of the largest number.

# %%
N, M = 8, 4  # names, numbers in a value
generator = torch.Generator().manual_seed(0)
bits = 2.0 * torch.randint(2, (1000, 2, M), generator=generator) - 1  # mean 0, variance 1
mean = 0.7 * bits[:, 0] + 0.3 * bits[:, 1]
wanted = bits.flatten(1)
best_matrix = torch.linalg.lstsq(mean, wanted).solution  # no matrix reads these better
first = mean.sign()
read = torch.cat([first, (mean - 0.7 * first) / 0.3], dim=1)
for reader, answer in (("best matrix", mean @ best_matrix), ("signs", read)):
    print(f"{reader}: error {(answer - wanted).square().mean():.2f}")

digits = torch.randint(10, (1000, 2), generator=generator)
one_hot = torch.eye(10)[digits]
mean = 0.7 * one_hot[:, 0] + 0.3 * one_hot[:, 1]
first = mean.argmax(-1)
second = (mean - 0.7 * torch.eye(10)[first]).argmax(-1)
right = (torch.stack([first, second], dim=1) == digits).all(-1).sum()
print(f"argmax: {right} of 1000 pairs of digits are read exactly")

# %% [markdown]
# So the ½ is a statement about a head *and* the matrix behind it.
# (And about the values: normally distributed ones, as below, no reader takes apart better than a matrix, since their expectation given the mean is linear in it.)
# In a whole model chapter 07's MLP reads on, and it is not linear: it may take apart what a head with unequal weights has mixed.
#
# A proof about all matrices is worth a test with trained ones.
# A head is a slice of the channels, and it works alone until $W_O$ reads them all.

# %%
class Heads(nn.Module):
    """A query asks for the values of two of N names; all but the softmax is linear."""

    def __init__(self, n_head, d_model=16):
        super().__init__()
        self.n_head = n_head
        self.W_q = nn.Linear(2 * N, d_model, bias=False)
        self.W_k = nn.Linear(N, d_model, bias=False)
        self.W_v = nn.Linear(M, d_model, bias=False)
        self.W_o = nn.Linear(d_model, 2 * M, bias=False)

    def forward(self, query, names, values):
        projected = self.W_q(query), self.W_k(names), self.W_v(values)
        q_k_v = zip(*(z.chunk(self.n_head, dim=-1) for z in projected))  # of each head
        heads = [attention(q, k, v, return_weights=True) for q, k, v in q_k_v]
        answers, weights = zip(*heads)
        answer = self.W_o(torch.cat(answers, dim=-1))  # (B, 1, 2M)
        return answer, torch.cat(weights, dim=-2)  # (B, n_head, N)


# %% [markdown]
# The values are drawn anew for each question, so nothing can be learned but how to look.

# %%
def two_questions(batch_size, generator):
    values = torch.randn(batch_size, N, M, generator=generator)
    shuffled = torch.rand(batch_size, N, generator=generator).argsort(-1)
    asked = shuffled[:, :2]  # two different names
    answers = values[torch.arange(batch_size)[:, None], asked]  # (B, 2, M)
    query = torch.eye(N)[asked].flatten(1)[:, None]  # (B, 1, 2N)
    return query, torch.eye(N), values, answers.flatten(1)[:, None]


def train_heads(n_head, seed, steps=300):
    torch.manual_seed(seed)
    model, generator = Heads(n_head), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    cooling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps)
    for _ in range(steps):
        *question, target = two_questions(128, generator)
        loss = (model(*question)[0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cooling.step()
    return model


# %% [markdown]
# The same 576 parameters serve one head of 16 channels or two heads of 8.
# Four seeds each; the two small marks are the errors of the first and of the second answer, the large one is their mean.

# %% alt="Mean squared error on a logarithmic axis for four seeds: one head lies on the line at one half with every seed, its two answers apart; two heads lie more than a hundred times lower"
*question, target = two_questions(20_000, torch.Generator().manual_seed(100))
errors, trained = {1: [], 2: []}, {}
fig, ax = figure()
for n_head, color in ((1, COLORS["CYCLE"][0]), (2, COLORS["CYCLE"][2])):
    for seed in range(4):
        model = trained[n_head, seed] = train_heads(n_head, seed)
        with torch.no_grad():
            squared = (model(*question)[0] - target).square()
        error = squared.unflatten(-1, (2, M)).mean((0, 1, 3))  # (2,)
        errors[n_head].append(error)
        ax.semilogy([seed] * 2, error, "_", color=color, markersize=14)
        ax.semilogy(seed, error.mean(), "o", color=color)
    label = "1 head" if n_head == 1 else "2 heads"
    ax.annotate(label, (3.2, 1.2 * error.mean()), color=color)
one, two = (torch.stack(errors[n_head]) for n_head in (1, 2))  # (seeds, answers)
assert ((0.49 < one.mean(1)) & (one.mean(1) < 0.52)).all()
assert (one.mean(1) / two.mean(1)).min() > 100
for model in trained.values():
    assert sum(p.numel() for p in model.parameters()) == 576
ax.axhline(0.5, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
ax.set(xlim=(-0.4, 3.9), xticks=range(4), xlabel="seed", ylabel="mean squared error",
       title="With a linear reader one head stops at ½; two do not")
fig

# %% [markdown]
# Every one-head run stops where the proof says, each with another compromise, up to one that has all but given up on one of the questions.
# Two heads are more than a hundred times better after these 300 steps, with every seed.
# Here is the most even of the four compromises, and two heads with the same seed:

# %% alt="Heat map of weights over eight names: the single head shares its weight between the two names asked for, of two heads each has nearly all its weight on one of them"
balanced = int((one[:, 0] - one[:, 1]).abs().argmin())  # the most even compromise
query = torch.eye(N)[[1, 4]].flatten()[None, None]
question = query, torch.eye(N), torch.zeros(1, N, M)
with torch.no_grad():
    weights = [trained[n_head, balanced](*question)[1][0] for n_head in (1, 2)]
assert weights[0].max() < 0.7 and (weights[1].max(-1).values > 0.8).all()
fig = attention_map(torch.cat(weights), queries=["only", "one", "other"],
                    keys=["Anna", "Ben", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal"],
                    title="Asked for Ben and Eve, this head mixes them, two do not")
heads = ["the only head", "head 1 of 2", "head 2 of 2"]
fig.axes[0].set(ylabel="", yticklabels=heads)
fig.axes[0].set_xlabel("keys", labelpad=7)
fig

# %% [markdown]
# Here is a head to train yourself (in a notebook you see it trained): eight names with digits are told, a name told twice counts as told last, and one is asked for.
# Without positions it cannot know which of two entries is the later one; without a mask it copies the answer during training and is at a loss when there is none; asked for two names, with a linear reader, it stops at ½, until it gets a second head.
#
# :::{live} recall
# :picture: steps=600
#
# ![A trained head in the page: four names that are asked for, down, eight entries, across, and the weight 1 on the last entry of each name; beside it the error falls to 0 and the right answers rise to all](../pages/live/recall.png)
#
# With positions, a mask and a head for each question it learns; take one away, and it stops short.
# :::
#
# (many-heads)=
# ## All heads in one tensor program
#
# Write it down for a whole text $X$, each token asking all tokens {cite}`vaswani2017`:
#
# $$ \begin{aligned}
# &\text{head}_i = \operatorname{Attention}(X W_Q^i,\, X W_K^i,\, X W_V^i) \\
# &\operatorname{MultiHead}(X) = {} \\
# &\qquad \operatorname{Concat}(\text{head}_1, \dots, \text{head}_n)\, W_O
# \end{aligned} $$
#
# Each head has $d_\text{head} = d_\text{model} / n_\text{head}$ channels, and divides its scores by the root of *that*.
# By this definition a layer is a loop over heads, one small matrix product after the other.
# `attention` works for any leading dimensions, so let the heads be one of them: one product makes all queries, keys and values, an axis is split in two, and an axis changes places.
#
# *In words:* [attention](mathematics.ipynb#Attention), [matrix products](mathematics.ipynb#Matrix-products).
#
# :::{drawing}
# ![Three tokens' vectors are cut in two halves; each half is smoothed by its own triangle of weights; the halves are joined, multiplied by W_O and added to the stream](../pages/drawings/heads_split_and_joined.svg)
#
# The channels are cut among the heads, and each has its own weights. Only $W_O$ mixes what they found.
# :::

# %% tags=["quote"]
from tinyllm.attention import MultiHeadAttention

# %% [markdown]
# Leaving a transpose out raises no error.
# A row of `q` holds the channels of head 1, then those of head 2: the channel axis is the one to split, `(T, C)` into `(T, n_head, d_head)`, and only then may `n_head` move to the front.
# `reshape(n_head, T, d_head)` has the right shape as well, and deals the first *tokens* to head 1.
#
# By hand: three tokens, two channels, two heads of one channel each, and all matrices the identity.
# Head 1 sees the first channel of $x$ only, which is 1, 0, 1.
# The last token has the scores 1, 0, 1 there, the weights $e : 1 : e$, and the answer $2e/(2e+1) = 0.845$.

# %%
layer = MultiHeadAttention(d_model=2, n_head=2).requires_grad_(False)
layer.qkv.weight.copy_(torch.eye(2).repeat(3, 1))  # W_Q, W_K, W_V
layer.out.weight.copy_(torch.eye(2))
x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (T=3, C=2)
layer(x)

# %% [markdown]
# The last row begins with 0.845.
#
# Is the tensor program the loop?
# Below is the loop; `mix`, the routine by which a head turns queries, keys and values into an answer, is left open.
# Instead of concatenating, it multiplies each head by its own rows of $W_O$ and adds, which is the same and says more: **a layer is the sum of its heads**.

# %%
def loop_over_heads(layer, x, mix):
    W_q, W_k, W_v = layer.qkv.weight.T.chunk(3, dim=-1)  # nn.Linear keeps the transpose
    columns = (W.chunk(layer.n_head, dim=-1) for W in (W_q, W_k, W_v))
    rows_of_W_o = layer.out.weight.T.chunk(layer.n_head)
    slices = zip(*columns, rows_of_W_o)  # of each head
    mask = causal_mask(x.shape[-2])
    return sum(mix(x @ Q, x @ K, x @ V, mask) @ O for Q, K, V, O in slices)


def attention_by_smoothing(q, k, v, mask):
    """Attention as in chapter 05: a Gaussian kernel, h² = √d, keys weighted by length."""
    h = q.shape[-1] ** 0.25
    key_weights = (k.square().sum(-1) / (2 * h**2)).exp()
    return nadaraya_watson(q, k, v, h, key_weights=key_weights, mask=mask)


torch.manual_seed(0)
layer = MultiHeadAttention(d_model=24, n_head=4).double().requires_grad_(False)
x = torch.randn(2, 7, 24, dtype=torch.float64)  # (B, T, C)
for mix in (attention, attention_by_smoothing):
    assert torch.allclose(layer(x), loop_over_heads(layer, x, mix), rtol=0, atol=1e-12)
print("one tensor program, a loop of lookups and a loop of smoothers: equal to 1e-12")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** A token asks $n_\text{head}$ questions at once, each in a language of its own: other channels of query, key and value.
#   The answers stand side by side, and $W_O$ reads them.
# - **As a smoother.** A token takes $n_\text{head}$ local means at once, each with a kernel of its own: another bilinear form $W_Q W_K^{\mathsf T}$ says what is near.
#   $W_O$ adds the means, with any sign.
#
# :::
#
# PyTorch has this layer, too; with our weights it should give our numbers.

# %%
theirs = nn.MultiheadAttention(24, 4, bias=False, batch_first=True, dtype=torch.float64)
theirs.requires_grad_(False)
theirs.in_proj_weight.copy_(layer.qkv.weight)
theirs.out_proj.weight.copy_(layer.out.weight)
not_allowed = ~causal_mask(7)  # in this class, True means do *not* attend
output, weights = theirs(x, x, x, attn_mask=not_allowed, average_attn_weights=False)
assert torch.allclose(layer(x), output, rtol=0, atol=1e-12)
tuple(weights.shape)  # (B, n_head, T, T)

# %% [markdown]
# Do more heads bring more parameters?

# %%
layers = {n_head: MultiHeadAttention(64, n_head) for n_head in (1, 4, 16)}
{n: sum(p.numel() for p in layer.parameters()) for n, layer in layers.items()}

# %% [markdown]
# Always $4 d_\text{model}^2$: heads are a way to *cut* the matrices, not to add any.
# (More heads of the *same* $d_\text{head}$ do bring more parameters: then the layer gets wider, and width is what costs.)
# What grows is the number of weights, $n_\text{head} T^2$, and what shrinks is the room in each head, $d_\text{head}$ channels.
#
# (two-kernels)=
# ## Two kernels cancel each other's error
#
# What can a smoother do with two heads that it cannot do with one?
# A local mean is wrong where the curve bends: in a valley all neighbors lie higher.
# With a symmetric kernel and evenly spaced points the bias (the answer minus the truth) is $c_2 h^2 + c_4 h^4 + \dots$: odd powers cancel between left and right, and the $c$ depend on curve and kernel, not on $h$.
# Take the same keys twice, with bandwidths $h$ and $\sqrt 2\,h$, and let $W_O$ be $(2, -1)$:
#
# $$ \begin{aligned}
# &2 \,(c_2 h^2 + c_4 h^4) - (c_2 \cdot 2h^2 + c_4 \cdot 4 h^4) \\
# &\qquad = -2\, c_4 h^4
# \end{aligned} $$
#
# The term in $h^2$ is gone.
# Statisticians call the result a kernel of *higher order* {cite}`wand1995`; its slope on logarithmic axes has to be 4 where that of one head is 2.
#
# *In words:* [orders of size](mathematics.ipynb#Orders-of-size).

# %%
x = torch.linspace(-4, 4, 8001, dtype=torch.float64)[:, None]
y, here = x.sin(), torch.ones(1, 1, dtype=torch.float64)
W_o = torch.tensor([2.0, -1.0], dtype=torch.float64)[:, None, None]


def both_heads(h):
    """Estimates (n_head, 1, 1) and weights (n_head, 1, T_k) of bandwidths h and √2 h."""
    bandwidths = torch.tensor([h, math.sqrt(2) * h], dtype=torch.float64)[:, None, None]
    return nadaraya_watson(here, x, y, bandwidths, return_weights=True)


for h in (0.1, 0.2, 0.4):
    estimates, _ = both_heads(h)
    one_head = (estimates[0] - here.sin()).item()
    two_heads = ((W_o * estimates).sum(0) - here.sin()).item()
    print(f"h = {h}: bias of one head {one_head:.7f}, of two {two_heads:.7f}")

# %% [markdown]
# Twice the bandwidth, four times the bias of one head and sixteen times that of two.
# Are these heads?
# Expand $-(x - x_j)^2 / 2h^2$, and with keys $(x_j, x_j^2)$ and the query $(x, -\tfrac12)/h^2$ the Gaussian smoother is plain dot-product attention, but for a term that is the same for all keys.

# %%
keys = torch.cat([x, x**2], dim=-1)
query = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
heads = [attention(query / h**2, keys, y, scale=1.0) for h in (0.2, math.sqrt(2) * 0.2)]
assert torch.allclose(torch.stack(heads), both_heads(0.2)[0], rtol=0, atol=1e-12)
print("the two smoothers are two heads")

# %% [markdown]
# So the picture below is one of a layer with two heads.

# %% alt="Two panels: the kernel of two heads is higher in the middle than that of one and dips below zero at its sides; the bias of one head falls with slope 2 on logarithmic axes, that of two with slope 4"
hs = [0.1, 0.14, 0.2, 0.28, 0.4]
estimates = [both_heads(h)[0] for h in hs]
answers = [torch.cat([e[0], (W_o * e).sum(0)]).flatten() for e in estimates]
bias = torch.stack(answers) - here.sin()  # (bandwidths, one head or two)
slopes = (bias[-1] / bias[0]).log() / math.log(hs[-1] / hs[0])
assert (slopes - torch.tensor([2.0, 4.0])).abs().max() < 0.1
weights = both_heads(1.0)[1]
kernels = {"one head": weights[0, 0], "two heads": (W_o * weights).sum(0)[0]}
assert kernels["one head"].min() >= 0 > kernels["two heads"].min()
fig, axes = figure(columns=2)
for i, (name, color) in enumerate(zip(kernels, COLORS["CYCLE"][:3:2])):
    kernel = kernels[name] / kernels["one head"].max()
    axes[0].plot(x[:, 0] - 1, kernel, color=color, label=name)
    label = f"{name}: slope {slopes[i]:.2f}"
    axes[1].loglog(hs, bias[:, i].abs(), "o-", color=color, label=label)
axes[0].axhline(0, color=COLORS["LINE"], linewidth=1)
axes[0].set(xlim=(-3, 3), xlabel="distance / h", ylabel="weight")
axes[0].set_title("the kernel")
axes[1].set(xlabel="bandwidth h", ylabel="size of the bias")
axes[1].set_title("the bias at x = 1")
axes[1].set_xticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"], minor=False)
axes[1].minorticks_off()
for ax in axes:
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
title = "Two heads have negative weights, and a bias of order h⁴"
fig.suptitle(title, x=0.012, ha="left")
fig

# %% [markdown]
# In the left picture distant neighbors count *against*.
# The weights of one softmax are never negative, so no single head over these values can be this smoother; the minus sign is in $W_O$.
# It has a price: with noisy values the variance of the answer is the sum of squared weights, and at the same $h$ that has grown.
# And it has a condition: the expansion needs neighbors on *both* sides.
# At an edge of the data the bias of one head is $\sqrt{2/\pi}\, h f'$ ([chapter 05](#at-the-edge)), of order $h$, and of that $(2, -1)$ leaves $2 - \sqrt 2$.

# %%
sharp, flat = both_heads(0.2)[1]  # two softmaxes over the same keys
differential = sharp - 0.5 * flat
price = (2 * differential).square().sum() / sharp.square().sum()
edge = torch.linspace(1, 2, 20_001, dtype=torch.float64)[:, None]  # no key on the left
hs = 0.01 * torch.tensor([1.0, 2.0], dtype=torch.float64).sqrt()[:, None, None]
bias = nadaraya_watson(here, edge, edge.sin(), hs) - here.sin()
remains = ((W_o * bias).sum(0) / bias[0]).item()
print(f"variance: {price:.3f} times that of the narrow head alone")
print(f"bias at an edge: {remains:.2f} of the narrow head's; 2 - √2 = {2 - 2**0.5:.2f}")

# %% [markdown]
# Nobody subtracts one dictionary entry from another, yet there are models built that way.
# In the Differential Transformer {cite}`ye2025` each head has two sets of queries and keys, and its weights are one softmax minus a learned multiple of another, so that what both spread over the text cancels.
# Our $(2, -1)$ has that form, as the cell shows: half of the second is taken off, and all doubled.
#
# (induction-heads)=
# ## What a second layer buys
#
# *Ottoline Vane kept the lighthouse. It was late when Ottoline …*
# You know how it goes on, because you have seen what followed the last time.
# Can attention do this?
#
# In its purest form: random tokens that repeat with a period of 6 to 16, another one in each row.
# (With one fixed period the answer would always stand equally far back, and a layer that counts places could cheat.)
# The answer stands at the position *after* the earlier copy of the current token.
# You stand on the second *Ottoline* and want *Vane*, the word with *Ottoline* before it.
# But in the first layer a key is made from one token and one position, $k_j = (e_{x_j} + p_j) W_K$: *Vane* does not know what stands before it, however many channels or heads there are.
#
# A second layer's keys are made from what the first has written: if layer 1 fetches the previous token, layer 2 finds it in the key.
# So argue people who took such models apart {cite}`elhage2021,olsson2022`.
# (A lower bound says that one layer can do without only if its size grows with the text {cite}`sanford2024`; at our 32 tokens it forbids nothing.)
# So what do models of this size learn?
#
# :::{drawing}
# ![Tokens Mr, Oak, saw, Mr and a question mark. Layer 1 writes into Oak that it stands after Mr; layer 2 lets the second Mr find this and take Oak as the prediction](../pages/drawings/induction.svg)
#
# Two lookups, one after the other: the first makes the key that the second needs.
# :::

# %%
V, T = 32, 32


def repeats(batch_size, generator):
    """Random tokens that repeat: inputs and targets, and where a target can be known."""
    periods = torch.randint(6, 17, (batch_size, 1), generator=generator)
    tokens = torch.rand(batch_size, V, generator=generator).argsort(-1)  # no token twice
    t = torch.arange(T + 1).expand(batch_size, T + 1)
    ids = tokens.gather(1, t % periods)
    return ids[:, :-1], ids[:, 1:], t[:, 1:] > periods  # (B, T) each


# %% [markdown]
# The model is chapter 04's head, stacked: nothing but attention, each layer added to what it has read.
# (`LayerNorm` brings the numbers of each token to mean 0 and variance 1; chapter 07 comes back to it.)


# %%
def own(q, k):
    return k


class Layers(nn.Module):
    """Layers of attention, each added to its input. `key_of` makes the keys of each."""

    def __init__(self, n_layer=2, n_head=1, C=32, d_head=16, key_of=(own, own)):
        super().__init__()
        self.n_head, self.key_of = n_head, key_of
        self.tokens = nn.Parameter(0.3 * torch.randn(V, C))
        self.positions = nn.Parameter(0.3 * torch.randn(T, C))
        linear, layers = partial(nn.Linear, bias=False), range(n_layer)
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(n_layer + 1))
        self.qkv = nn.ModuleList(linear(C, 3 * n_head * d_head) for _ in layers)
        self.W_o = nn.ModuleList(linear(n_head * d_head, C) for _ in layers)
        self.out = linear(C, V)

    def forward(self, ids, mix=attention):
        x = self.tokens[ids] + self.positions  # (B, T, C)
        for norm, qkv, W_o, key_of in zip(self.norms, self.qkv, self.W_o, self.key_of):
            split = qkv(norm(x)).unflatten(-1, (3, self.n_head, -1))  # T, 3, n_head, d_head
            q, k, v = split.transpose(-4, -2).unbind(-3)  # each (B, n_head, T, d_head)
            heads = mix(q, key_of(q, k), v, causal_mask(T))
            x = x + W_o(heads.transpose(-3, -2).flatten(-2))
        return self.out(self.norms[-1](x))  # (B, T, V)


# %% [markdown]
# Training is the usual loop, and the measure is the share of right answers where an answer can be known.
# One learning rate would favor the model that it suits, so each gets the best of three (but for the rows of 800 steps, which have 0.01), chosen on texts that the test does not use.

# %%
def train_layers(seed, lr, steps=200, **shape):
    torch.manual_seed(seed)
    model, generator = Layers(**shape), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.98))
    for _ in range(steps):
        ids, targets, known = repeats(32, generator)
        loss = F.cross_entropy(model(ids)[known], targets[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def accuracy(model, seed=100):
    ids, targets, known = repeats(1000, torch.Generator().manual_seed(seed))
    return (model(ids).argmax(-1) == targets)[known].float().mean().item()


def tuned(**shape):
    """Three seeds at each learning rate; the three models of the best one."""
    runs = {}
    for lr in (0.005, 0.01, 0.02):
        trained = [train_layers(seed, lr, **shape) for seed in range(3)]
        runs[sum(accuracy(m, seed=99) for m in trained)] = trained
    return runs[max(runs)]


def smear(q, k):
    return (k + F.pad(k, (0, 0, 1, 0))[..., :-1, :]) / 2  # a key and the one before it


# %% [markdown]
# Six contestants: two layers; one; one with four heads of that size; the same with four times the steps; one twice as wide; and one whose keys are *smeared*, $k_j$ averaged with $k_{j-1}$ by hand.
# Their numbers of parameters:

# %%
shapes = {
    "two layers": {},
    "one layer": {"n_layer": 1},
    "one layer, four heads": {"n_layer": 1, "n_head": 4},
    "one wide layer": {"n_layer": 1, "C": 64, "d_head": 32},
    "one layer, smeared keys": {"n_layer": 1, "key_of": (smear,)},
}
models = {name: tuned(**shape) for name, shape in shapes.items()}
longer = [train_layers(seed, 0.01, steps=800, n_layer=1, n_head=4) for seed in range(3)]
scores = {name: [accuracy(model) for model in models[name]] for name in models}
scores["four heads, 800 steps"] = [accuracy(model) for model in longer]
{name: sum(p.numel() for p in models[name][0].parameters()) for name in models}

# %% [markdown]
# And their accuracy.

# %% alt="Accuracy of six rows of models, three dots each: two layers and smeared keys are near one; one layer, with one head, four heads, more width or more steps, is below three tenths"
def dots(scores, title):
    fig, ax = figure(height=1.2 + 0.35 * len(scores))
    color = COLORS["CYCLE"][0]
    for row, accuracies in enumerate(scores.values()):
        ax.plot(accuracies, [row] * len(accuracies), "o", color=color, alpha=0.6)
        span = f"{min(accuracies):.2f} to {max(accuracies):.2f}"
        ax.annotate(span, (1.06, row), va="center_baseline", size=10.4)
    ax.set_yticks(range(len(scores)), scores, color=COLORS["INK"])
    ax.set(xlim=(0, 1.35), xticks=(0, 0.5, 1), xlabel="accuracy")
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.grid(axis="x")
    fig.suptitle(title, x=0.012, ha="left")
    return fig


for name, accuracies in scores.items():
    succeeds = name in ("two layers", "one layer, smeared keys")
    assert min(accuracies) > 0.9 if succeeds else max(accuracies) < 0.35
dots(scores, "Here smeared keys help one layer; heads, width or steps do not")

# %% [markdown]
# Two layers solve it.
# One does not: with up to four heads, twice the width or 800 steps it is right about one time in five (a random token of the text would be right once in ten).
# Smeared keys nearly solve it in one layer, without one parameter more: a key that knows its predecessor is enough.
# (That a much larger layer would find no other way is not shown.)
#
# Inside the two-layer model one can see the plan of the argument.

# %% alt="Two heat maps for a text that repeats after six tokens: in layer 1 the weights lie along the diagonal just below the main one, in layer 2 a dark stripe five places back marks the token after the earlier copy"
def weights_of(model, ids):
    """The weights of both layers, each (B, T, T): these have one head."""
    seen = []

    def look(q, k, v, mask):
        output, weights = attention(q, k, v, mask, return_weights=True)
        seen.append(weights[:, 0])
        return output

    model(ids, mix=look)
    return seen


ids = torch.arange(32)[None] % 6  # a b c d e f a b c …
letters = ["ABCDEF"[i] for i in ids[0, :12]]
fig, axes = figure(columns=2, height=3.1)
for i, weights in enumerate(weights_of(models["two layers"][0], ids)):
    weights, title = weights[0, :12, :12], f"layer {i + 1}"
    attention_map(weights, letters, ax=axes[i], title=title, mask=causal_mask(12))
axes[0].images[0].colorbar.remove()  # it is the same as the other one
title = "Layer 1 looks one back; layer 2 behind the earlier copy"
fig.suptitle(title, x=0.012, ha="left")
fig

# %% [markdown]
# How much of the weight goes there, over a thousand rows, with each seed?

# %%
ids, targets, known = repeats(1000, torch.Generator().manual_seed(101))
is_the_answer = ids[:, None, :] == targets[:, :, None]  # (B, T, T): what t should say
for model in models["two layers"]:
    first, second = weights_of(model, ids)
    back = first.diagonal(-1, -2, -1)  # the weight of each t on t - 1
    early, late = back[:, :16].mean(), back[:, 16:].mean()  # up to the 17th token, later
    answer = (second * is_the_answer).sum(-1)[known].mean()
    assert early > 0.8 and late < 0.1 and answer > 0.9
    print(f"layer 1: {early:.1f} one back, at first; layer 2: {answer:.1f} on the answer")

# %% [markdown]
# Layer 1 looks one back in the first 17 tokens, later with less than a tenth of its weight.
# No period is longer than 16, so each pair of neighbors has been there once by then.
#
# Weights alone do not show that layer 2 *uses* what layer 1 has written.
# So keep it from what the queries, the keys or the values of layer 2 see, one at a time:

# %%
def without_layer_1(model, part):
    """Accuracy if part 0, 1 or 2 (q, k, v) of layer 2 sees the embeddings alone."""
    x = model.tokens[ids] + model.positions
    bare = model.qkv[1](model.norms[1](x)).chunk(3, dim=-1)[part][:, None]
    layers = iter(range(2))

    def mix(*q_k_v):
        *seen, mask = q_k_v
        if next(layers) == 1:
            seen[part] = bare
        return attention(*seen, mask)

    return (model(ids, mix=mix).argmax(-1) == targets)[known].float().mean().item()


for part, name in enumerate(("queries", "keys", "values")):
    right = [without_layer_1(model, part) for model in models["two layers"]]
    assert max(right) < 0.2 if name == "keys" else min(right) > 0.95
    print(f"{name} without layer 1: {min(right):.1f} to {max(right):.1f}")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** Layer 1 looks up "what stands before me?" and writes it into the entry.
#   Layer 2 looks up "which entry stands after a token like me?".
#   The key that the second lookup needs was written by the first, as the ablation shows.
# - **As a smoother.** Layer 1 smooths over positions, with a kernel around $t - 1$.
#   Layer 2 smooths over what layer 1 has made: its scores compare *contexts*, no longer tokens.
#
# A two-layer model can be run in either column; the cell below does both, in 64 bits.
#
# :::

# %%
ids = ids[:100]
for model in models["two layers"]:
    model.double()
    as_lookups, as_smoothers = model(ids), model(ids, mix=attention_by_smoothing)
    assert torch.allclose(as_lookups, as_smoothers, rtol=0, atol=1e-9)
print("equal to 1e-9, in each of three trained models")

# %% [markdown]
# (signature-of-a-score)=
# ## A kernel, but not that kind of kernel
#
# "Attention is a kernel method" is half true, since two different things are called *kernel*.
# In machine learning it is usually a Mercer kernel: an inner product in some space, so that nothing scores below 0 with itself.
# (In matrices: a symmetric table stretches space along perpendicular axes, each by a factor, its *eigenvalue*. If none is negative, the table is *positive semidefinite*; a vector along an axis with a negative one has a score below 0 with itself.)
# In smoothing it is whatever gives weights: it should be non-negative (and two heads together, as we saw, are not even that), and dividing by the sum does the rest.
#
# Which of the two is attention's?
# The score of tokens $x$ and $y$ is $x\, W_{QK}\, y^{\mathsf T}$, a bilinear form with the matrix $W_{QK} = W_Q W_K^{\mathsf T}$ of rank $d_\text{head}$ (here $W_Q$ and $W_K$ are $d_\text{model} \times d_\text{head}$, and tokens are rows).
# Nothing makes it symmetric: what a token looks for is not what it is found by.
# And its symmetric part is one positive semidefinite matrix of rank $d_\text{head}$ minus another; multiply it out, it is a line:
#
# $$ \begin{aligned}
# \tfrac12 (W_{QK} + W_{QK}^{\mathsf T}) = {} &\tfrac14 (W_Q + W_K)(W_Q + W_K)^{\mathsf T} \\
# {} - {} &\tfrac14 (W_Q - W_K)(W_Q - W_K)^{\mathsf T}
# \end{aligned} $$
#
# For almost all matrices with $2 d_\text{head} \le d_\text{model}$ it has therefore $d_\text{head}$ positive and $d_\text{head}$ negative eigenvalues.
# That is algebra, and no evidence of anything that was learned: $W_K = W_Q$ plus a hundredth of noise has the same counts.
# What can tell heads apart is how *large* the negative ones are, their share of the sum of all sizes, $\sum |\lambda_-| / \sum |\lambda|$: 0 if there is no such axis, about ½ by chance.
#
# *In words:* [eigenvalues](mathematics.ipynb#Eigenvalues), [matrix products](mathematics.ipynb#Matrix-products), [features of a kernel](mathematics.ipynb#Features-of-a-kernel).
#
# A share of which matrix?
# Of the table of scores on a layer's real inputs: LayerNorm leaves them only 31 of 32 dimensions, not all equally used.
# What all scores of a row have in common does not change the softmax, and what all of a column have in common compares nothing, so both are taken out.
# What is left stays the same when queries are rescaled against keys, or one vector is added to all keys. (Its antisymmetric half is left out.)

# %%
def negative_share(q, k):
    """Σ|λ₋| / Σ|λ| and how many λ are > 0 and < 0, for the centered table of scores."""
    table = q @ k.T
    table = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    eigenvalues = torch.linalg.eigvalsh((table + table.T) / 2)
    size = eigenvalues.abs()
    share = size[eigenvalues < 0].sum() / size.sum()
    signs = eigenvalues.sign()[size > 1e-9 * size.max()]
    return share.item(), int((signs > 0).sum()), int((signs < 0).sum())


for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    x = F.layer_norm(torch.randn(300, 32, generator=generator).double(), (32,))
    W_q, other = torch.randn(2, 32, 16, generator=generator).double()
    q, shift = x @ W_q, torch.randn(16, generator=generator)
    pairs = {"random": other, "W_Q + 0.01 noise": W_q + 0.01 * other, "W_Q": W_q}
    found = {name: negative_share(q, x @ W_k) for name, W_k in pairs.items()}
    same = negative_share(10 * q, x @ other / 10 + shift)  # attention is the same, too
    assert abs(same[0] - found["random"][0]) < 1e-9
    cells = (f"{name}: {a:.5f} ({b}, {c})" for name, (a, b, c) in found.items())
    print("W_K =", *cells, sep="   ")

# %% [markdown]
# The counts of the first two are as good as equal (16 and 16 do not fit into 31 dimensions), their shares differ by a factor of more than ten thousand.
# Half is what random matrices have, since $-W_K$ is as random as $W_K$.
# And trained heads?
# Six of them, before and after training, on the same random texts:

# %%
def shares(model):
    """The negative share of each layer, with all inputs asking all inputs, no mask."""
    found = []

    def look(q, k, v, mask):
        found.append(negative_share(q.flatten(0, -2), k.flatten(0, -2))[0])
        return attention(q, k, v, mask)

    model.double()(ids[:10], mix=look)
    return torch.tensor(found)


before, after = [], []  # training
for seed, model in enumerate(models["two layers"]):
    torch.manual_seed(seed)
    before.append(shares(Layers().requires_grad_(False)))
    after.append(shares(model))
before, after = torch.stack(before), torch.stack(after)  # (seeds, layers)
change = after - before
assert change.mean() < 0.1 and after.max() < 0.7
print(f"mean share before {before.mean():.2f}; "
      f"after training {(change > 0).sum()} of 6 are larger")

# %% [markdown]
# All six have risen, on average by less than a tenth, and none is far from ½.
# (Their inputs have changed with their matrices, and six heads of one task say nothing about others.)
#
# The exponential of such a score is no Mercer kernel either: let $x$ be an input with the score $-a$ for itself, and $-x$ a second one.
# Between the two the score is $+a$, so the table of $e^s$ is
#
# $$ \begin{pmatrix} e^{-a} & e^{a} \\ e^{a} & e^{-a} \end{pmatrix} , $$
#
# and its eigenvalue $e^{-a} - e^{a}$ is negative.
# So attention is in general not a Mercer kernel of its inputs {cite}`wright2021`, and as a smoother it need not be one.
# Does a trained model use that freedom?
#
# Suppose $W_K = W_Q$ in a layer, so that every token has one vector $q$, both to ask and to be found: the scores are positive semidefinite.
# Multiply $\lvert q_i - q_j \rvert^2 \ge 0$ out, and $s_{ij} \le \tfrac12 (s_{ii} + s_{jj})$, hence
#
# $$ s_{t,t-1} - s_{t,t} \;\le\; \tfrac12 \bigl( s_{t-1,t-1} - s_{t,t} \bigr) . $$
#
# On the left is by how much token $t$ prefers its predecessor to itself.
# Add this up over three tokens, and $\tfrac12 (s_{11} - s_{22}) + \tfrac12 (s_{22} - s_{33}) = \tfrac12 (s_{11} - s_{33})$; over a text, and the *average* preference is at most $(s_{11} - s_{TT}) / 2(T - 1)$, where $s_{TT} \ge 0$ is a squared length.
# If scores have a bound, that goes to zero as the text gets longer.
# If they may grow, nothing is forbidden, but with 99 % of each row on $t - 1$ in a text of 32 tokens $s_{11}$ would have to be at least $2 \cdot 31 \ln 99 = 285$.
# Symmetry alone makes no such demand: with $k = q \operatorname{diag}(\pm 1)$, where half of the signs are negative, the score is symmetric and indefinite.
#
# So is it layer 1, which has to look one back, that suffers from $W_K = W_Q$?
# Tie one layer at a time, and both; three seeds, and again the copying task:

# %% alt="Accuracy of two-layer models with three seeds: free scores near one; symmetric indefinite scores near nine tenths; semidefinite scores in layer 1 above nine tenths, in layer 2 near a quarter, in both near two tenths, and between four and seven tenths after 800 steps"
def tied(q, k):
    return q


def flipped(q, k):
    return q * torch.cat([torch.ones(8), -torch.ones(8)])


longer = [train_layers(s, 0.01, steps=800, key_of=(tied, tied)) for s in range(3)]
kinds = {
    "free": models["two layers"],
    "both symmetric, indefinite": tuned(key_of=(flipped, flipped)),
    "semidefinite in layer 1": (tied_1 := tuned(key_of=(tied, own))),
    "semidefinite in layer 2": tuned(key_of=(own, tied)),
    "semidefinite in both": tuned(key_of=(tied, tied)),
    "both, 800 steps": longer,
}
kinds = {name: [accuracy(model) for model in trained] for name, trained in kinds.items()}
free, indefinite, layer_1, layer_2, both, later = kinds.values()
assert max(layer_2 + both) < 0.4 < 0.7 < min(indefinite) < max(indefinite) < min(layer_1)
assert max(layer_1) < min(free) and max(both) < min(later)
dots(kinds, "Semidefinite scores cost much in layer 2, little in layer 1")

# %% [markdown]
# No: tied in layer 1 alone, the model copies nearly as well as the free one.
# Does its layer 1 look one back?

# %%
for model in tied_1:
    first = weights_of(model, ids)[0]
    back, itself = first.diagonal(-1, -2, -1).mean(), first.diagonal(0, -2, -1).mean()
    assert back < itself
    print(f"layer 1: {back:.1f} one back, {itself:.1f} on itself")

# %% [markdown]
# It gives its predecessor less than itself, which the inequality suggests but does not demand, and layer 2 can work with that.
# The derivation is right, then, and does not explain the dots: the layer that suffers is layer 2, for a reason that this page does not know.
# Copying with both tied is not impossible, as the last row shows.
# Between the fifth row and the second only signs differ, so negative eigenvalues are what helps there.
#
# (averages-of-averages)=
# ## Averages of averages
#
# Without the `x +` in the code of the two-layer model, layer 2 would see *only* what layer 1 has averaged.
# For one head a smoother knows what that leads to: each mean lies between its values, a mean of means lies further inside, and in the end all tokens are alike.
# Several heads, with signs in $W_O$, need not do that: a difference of two means takes out what the tokens have in common.
# So measure it, from matrices as layers begin with: PyTorch's small ones, with which all scores are near 0 and each mean is nearly the mean of everything, and larger ones with variance $1/C$ (a product then keeps the size of what goes in); each with a LayerNorm before the layer and without.
# The *spread* of the tokens around their mean is taken relative to their size.

# %%
def spread(x):
    return ((x - x.mean(-2, keepdim=True)).norm() / x.norm()).item()


def after_layers(large, norm, residual, causal, seed):
    torch.manual_seed(seed)
    x, spreads = torch.randn(32, 64, dtype=torch.float64), []
    for _ in range(8):
        layer = MultiHeadAttention(64, 4, causal=causal).double().requires_grad_(False)
        if large:
            for W in layer.parameters():
                nn.init.normal_(W, std=64**-0.5)
        x = layer(F.layer_norm(x, (64,)) if norm else x) + (x if residual else 0)
        spreads.append(spread(x))
    return spreads


# %% [markdown]
# On the left nothing but attention, on the right with a residual; solid lines for full attention, dashed ones for causal, thick ones without a norm, each the mean of three seeds.

# %% alt="Two panels of spread against layers 1 to 8. Without a residual, on a logarithmic axis: with full attention it falls ever faster, below a thousandth by layer 4, with the causal mask along straight lines to a few hundredths. With a residual, on a linear axis: small matrices stay above 0.88, large ones fall to between a fifth and three quarters, the norm keeping more"
fig, axes = figure(columns=2, height=4.2)
settings = list(product((False, True), repeat=4))  # large, norm, residual, causal
found = {s: torch.tensor([after_layers(*s, seed) for seed in range(3)]) for s in settings}
for (large, norm, residual, causal), runs in found.items():
    label = ("small", "large")[large] + ", norm" * norm
    axes[int(residual)].plot(range(1, 9), runs.mean(0), "--" if causal else "-",
                             lw=1.2 if norm else 2.6,
                             color=COLORS["CYCLE"][large + 2 * norm],
                             label=None if residual or causal else label)
    end = runs[:, 7] if residual or causal else runs[:, 3]
    low, high = ((-1, 5e-4), (0.01, 0.04), (0.88, 1), (0.2, 0.75))[
        2 + large if residual else causal]
    assert low < end.min() and end.max() < high
axes[0].set(yscale="log", ylim=(1e-3, 1), ylabel="spread",
            title="no residual")
axes[1].set(ylim=(0, 1), title="with a residual")
for ax in axes:
    ax.set(xlabel="layers", xticks=(1, 2, 4, 8))
for style, label in (("-", "full attention"), ("--", "causal")):
    axes[0].plot([], [], style, color=COLORS["QUIET"], lw=1.5, label=label)
fig.legend(loc="outside lower center", ncols=3)
title = """Without a residual the tokens become alike,
and with one the size of the matrices decides"""
fig.suptitle(title, x=0.012, ha="left")
fig

# %% [markdown]
# With full attention and no residual all tokens are the same to three digits after four layers, from each of these starts.
# For full attention alone the collapse is known to be doubly exponential in depth {cite}`dong2021`.
# The causal mask makes it exponential, a straight line on this axis; that it still happens is known, too, and so is that with a norm it depends on the value matrices {cite}`wu2024`.
# With a residual the size of the matrices decides: small matrices add little to what is there; of large ones a quarter to a half of the spread is left without a norm, and half to three quarters behind one.
# [Chapter 07](07_the_block_and_the_model.ipynb) goes on to thirty-two, and builds its block around the answer.
#
# :::{why-it-works}
#
# Shown: one head is one mean, and with a linear reader it misses half of what two questions want; a second head takes the second mean, at no cost in parameters.
# $W_O$ adds means with any sign, so heads together are smoothers that none of them is.
# A first layer's keys know one token; a second layer's know what the first has fetched, and without it the model fails.
# Scores are indefinite by algebra; with $W_K = W_Q$ in layer 2 copying is hardly learned in 200 steps, in layer 1 nearly as well as without.
#
# :::
#
# :::{why-it-might}
#
# That real models copy names and phrases with *induction heads* like ours is well supported for small models and less directly for large ones; that these heads are the larger part of learning from context is a hypothesis {cite}`olsson2022`.
# Why models are given as many heads as they are is not known: in trained ones many can be removed with little harm {cite}`michel2019`, so perhaps they matter more during training than after it.
# A model whose heads subtract is reported to do better {cite}`ye2025`; that two ordinary heads of a trained model form the kernel of higher order is something we have not seen reported.
#
# :::
#
# ## What each view explains
#
# The two views are one formula; they differ in what they let us expect.
#
# | phenomenon | as a lookup | as a smoother | explained by neither |
# |---|---|---|---|
# | [a key that is not there still answers](#four-steps) | surprising: a `dict` raises `KeyError` | a local mean exists everywhere | |
# | [one head, read linearly, stops at ½](#one-head-is-dumb) | one question, one answer | one mean has $M$ numbers | what a reader that is not linear makes of it |
# | [bias of order $h^4$, negative weights](#two-kernels) | surprising: an answer is subtracted | a kernel of higher order | whether ordinary heads use it |
# | [two layers copy, one does not](#induction-heads) | the address was written by a lookup | the second kernel compares contexts | that gradient descent finds it |
# | [scores are asymmetric, indefinite](#signature-of-a-score) | natural: a question is not an entry | allowed: weights need only be non-negative | what the bilinear form compares: it is learned |
# | [tokens collapse without a residual](#averages-of-averages) | surprising: values are handed on | averages of averages agree | how fast: the start, the mask, the norm |
#
# "Attention is just a lookup" and "attention is just kernel smoothing" both leave out the same four things: a bilinear form that is *learned*, layers that work on each other's output, positions, and the MLP that stands between the layers.
# The last of these is chapter 07's.
#
# ## What to take along
#
# - A head is one mean per question. Read by a matrix, it misses at least half of two answers; other readers can take some means apart.
# - Heads cut the same matrices into more pieces: $4 d_\text{model}^2$ parameters for any number of them, and a layer is the sum of its heads.
# - A second layer looks up in what the first has written; at our sizes neither width nor heads replaced it.
# - The score is a learned bilinear form; the counts of its eigenvalues are algebra, their shares on real inputs can be compared.
#
# **Exercises.** [The sheet of this chapter](../exercises/06_two_views_many_heads.ipynb): a bound to derive, a bill to add up, a number of eigenvalues to guess, five bugs in ten lines, induction heads to measure, and a smoother with any number of heads.
#
# **Further reading.** {cite}`elhage2021` takes layers apart into sums of heads; {cite}`olsson2022` finds induction heads in real models; {cite}`wright2021` is the theory of kernels that are not Mercer's; {cite}`thomas2025` is a diary of how one comes to see that heads are dumb.
