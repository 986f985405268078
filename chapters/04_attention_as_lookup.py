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
# - turn a `dict` into attention in four steps, turn it back by lowering a temperature, and do one row by hand;
# - derive how the answer changes with the query, and say what $\sqrt d$ does to that;
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
#
# :::{drawing}
# ![Left a dict: the query lemon meets the key lemon, whose value yellow is the answer. Right attention: the query lemons meets cherry, lemon and plum with weights 0.10, 0.78 and 0.13, and the answer is a mixture of their values](../pages/drawings/dict_and_soft_dict.svg)
#
# Where this section goes: from one key and its value to all of them, each by its weight.
# :::

# %%
keys = ["cherry", "lemon", "plum"]
values = torch.tensor(
    [[255.0, 0, 0], [255, 255, 0], [0, 0, 255]]
)  # red, yellow, blue: (T_k, d_v)
weights = torch.tensor([float(key == "lemon") for key in keys])  # (T_k,)
weights @ values

# %% [markdown]
# Nothing has been gained yet, but the values are now vectors, so a sum of them means something.
#
# **Best match.**
# Give every key a vector, here three numbers that we make up for *sour*, *round* and *long*, and compare by the dot product.
# The query `lemons` can now be near to a key without being equal to it.

# %%
K = torch.tensor(  # cherry, lemon, plum: (T_k, d)
    [[0.1, 0.9, 0.0], [1.0, 0.4, 0.5], [0.3, 0.7, 0.3]]
)
query = torch.tensor([[0.9, 0.5, 0.4]])  # lemons, (T_q, d)
scores = similarity(query, K)  # (T_q, T_k)
best = F.one_hot(scores.argmax(-1), len(keys)).float()
scores, best @ values

# %% [markdown]
# Every query gets an answer.
# But `argmax` is a step: move the query a little and the answer jumps, or does nothing at all.
# A function that is flat with jumps has derivative 0 or none, so gradient descent cannot improve what comes before it.
#
# **Weighted match.**
# So let every value into the answer, those of better matches with more weight.
# We want weights that are positive, sum to 1, and grow with the score.
# Many functions would do; attention takes the **softmax**:
#
# $$ w_j = \frac{e^{s_j}}{\sum_i e^{s_i}} $$
#
# *In words:* [softmax](mathematics.ipynb#Softmax).

# %% tags=["quote"]
from tinyllm.attention import softmax

# %%
soft = softmax(scores)
soft, soft @ values

# %% [markdown]
# The answer to `lemons` is now a mixture in which lemon has the largest weight, 0.49.
# Try it by hand: $e^{1.3} = 3.669$, $e^{0.54} = 1.716$ and $e^{0.74} = 2.096$ sum to 7.481.
#
# *Why the exponential?*
# Ask one thing more: that the ratio of two weights depends on the *difference* of their scores alone, so that a number added to all scores changes nothing.
# If $w_j$ is proportional to $f(s_j)$, this says that $f(s + c)/f(s)$ is the same for every $s$.
# The only continuous functions of that kind are $f(s) = a\,e^{\beta s}$: $a$ cancels, and $\beta > 0$ is left to choose.
# $\beta$ is the **inverse temperature**; so far it was 1.
#
# **Learned keys and queries.**
# Who says that fruit should be compared by sourness?
# In a model each token has one vector $x$, and three matrices make three things of it: the **query** $q = x W_Q$ that it asks with, the **key** $k = x W_K$ that it is found by, and the **value** $v = x W_V$ that goes into the answer.
# What counts as a match is learned.
#
# Put all queries into the rows of $\mathbf Q$, keys into $\mathbf K$, values into $\mathbf V$, and choose $\beta = 1/\sqrt d$, for a reason that has a section to itself below.
# That is all {cite}`vaswani2017`:
#
# $$
# \begin{aligned}
# &\operatorname{Attention}(\mathbf Q, \mathbf K, \mathbf V) \\
# &\qquad = \operatorname{softmax}\!\left(\frac{\mathbf Q \mathbf K^{\mathsf T}}{\sqrt d}\right) \mathbf V
# \end{aligned}
# $$
#
# *In words:* [attention](mathematics.ipynb#Attention), [matrix products](mathematics.ipynb#Matrix-products).

# %%
from tinyllm.attention import check_shapes

# %% tags=["quote"]
from tinyllm.attention import attention

# %% [markdown]
# Without the checks it is seven lines.
# In code $\beta$ is called `scale`.
#
# (one-sentence)=
# ### One sentence, every number
#
# In *self*-attention the queries, the keys and the values all come from the same tokens.
# Take the beginning of a sentence, *The fox says it*, and suppose that *it* has to find out what it stands for.
# A model would learn its vectors and matrices; here they are chosen so that a pencil is enough.
# A token has three channels: it names something, it says what is done, it points to something named before.
#
# :::{drawing}
# ![A vector x goes through the matrices W_Q, W_K and W_V and becomes a query, a key and a value](../pages/drawings/query_key_value.svg)
#
# What happens to each token's vector before anything is compared.
# :::

# %%
tokens = ["The", " fox", " says", " it"]
X = torch.tensor(  # (T=4, C=3)
    [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 1]]
)
W_Q = torch.tensor([[0.0, 2], [2, 0], [4, 0]])  # (C=3, d=2); a pointer asks for a name
W_K = torch.tensor([[1.0, 0], [0, 1], [0, 0]])  # channels of a key: a name, a deed
W_V = torch.tensor([[10.0, 0], [0, 10], [-5, 0]])  # what goes into the answer, (C, d_v=2)
Q, K, V = X @ W_Q, X @ W_K, X @ W_V  # (T, d), (T, d), (T, d_v)
print("Q", Q.tolist(), "\nK", K.tolist(), "\nV", V.tolist())

# %% [markdown]
# Row 4 is *it*: $q = 0.5 \cdot (0, 2) + (4, 0) = (4, 1)$.
# Its dot products with the four keys $(0,0)$, $(1,0)$, $(0,1)$ and $(0.5,0)$ are 0, 4, 1 and 2, and its scores are these divided by $\sqrt 2$: 0, 2.828, 0.707 and 1.414.

# %%
scores = Q @ K.T / math.sqrt(2)  # (T_q, T_k): row i holds what token i finds in each token
scores

# %% [markdown]
# The exponentials of the last row are 1, 16.92, 2.03 and 4.11, and their sum is 24.06.
# So its weights are 0.042, 0.703, 0.084 and 0.171.

# %%
weights = softmax(scores)
weights

# %% [markdown]
# Their mean of the values $(0,0)$, $(10,0)$, $(0,10)$ and $(0,0)$ is $(7.03, 0.84)$: *it* now carries most of what *fox* has to give.

# %%
by_hand = torch.tensor([0.703 * 10, 0.084 * 10])
assert torch.allclose(weights @ V, attention(Q, K, V)) and (weights[0] == 0.25).all()
assert torch.allclose((weights @ V)[3], by_hand, atol=0.01)
weights @ V

# %% [markdown]
# *The* asks with the zero vector: it matches no key better than another, and gets the plain mean of all values.
# And *fox* asks for a deed and finds *says*; every token asks at the same time, and no row knows of another.
#
# Is this the attention that everybody else computes?
# PyTorch has its own.

# %%
generator = torch.Generator().manual_seed(0)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    q, k, v = torch.randn(3, 2, 3, 5, 8, dtype=dtype, generator=generator)
    mask = torch.rand(5, 5, generator=generator) < 0.7
    mask[:, 0] = True  # everyone may attend to something
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(attention(q, k, v, mask), theirs, rtol=0, atol=tolerance)
    print(f"{str(dtype):14} {theirs.numel()} outputs differ by less than {tolerance:g}")

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
# If the second view is right, a routine from statistics must give the same numbers: chapter 05 writes it, with a Gaussian bell around each measurement.
# Here is its answer in advance, for keys of length 1.

# %%
from tinyllm.smoothing import nadaraya_watson

unit = F.normalize(torch.randn(10, 8, generator=generator).double(), dim=-1)
q, k = unit.split([4, 6])
v = torch.randn(6, 3, generator=generator).double()
lookup = attention(q, k, v, scale=1 / 0.1)
smoother = nadaraya_watson(q, k, v, bandwidth=math.sqrt(0.1))
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-12)
print("the lookup at temperature 0.1 is the smoother of bandwidth √0.1")

# %% [markdown]
# (temperature-to-zero)=
# ## Down to zero: the dict comes back
#
# Instead of multiplying scores by $\beta$ one can divide them by a **temperature** $\tau = 1/\beta$.
# Hot (large $\tau$): all scores look alike, and the answer is the mean of all values.
# Cold: the weight moves to the best score.
#
# How fast?
# Let the best score be $s_1$ and the second $s_2$.
# The weight of the second key is about $e^{-\beta (s_1 - s_2)}$, so the logarithm of the error, drawn against $\beta$, approaches a straight line whose slope is minus the *gap* between best and second best.

# %% alt="Error of the answer on a logarithmic axis against beta: straight lines, the slope of each as the gap between the two best scores predicts"
fig, ax = figure()
for seed in (1, 2, 0):  # the uppermost line first
    generator = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(20, 8, generator=generator).double(), dim=-1)
    values = torch.randn(20, 4, generator=generator).double()
    first, second = similarity(keys[:1], keys)[0].sort(descending=True).values[:2]
    betas = torch.arange(2.0, 51, 2, dtype=torch.float64)
    answers = [attention(keys[:1], keys, values, scale=beta) for beta in betas.tolist()]
    error = (torch.cat(answers) - values[0]).norm(dim=-1)  # (betas,)
    slope = (error[-1] / error[-5]).log() / (betas[-1] - betas[-5])
    assert abs(slope + (first - second)) < 0.02
    ax.semilogy(betas, error, label=f"gap {first - second:.3f}, slope {slope:.3f}")
ax.set(
    title="The dict comes back exponentially fast",
    xlabel="β = 1/τ",
    ylabel="distance to the dict's answer",
)
ax.legend()
fig

# %% [markdown]
# From β ≈ 20 on the lines are nearly straight, and each falls with the slope that its gap predicts.
# For keys of one length, all different, and a query that is one of them, a `dict` is attention at temperature 0.
# Attention is a `dict` that can be trained.
#
# Try it with words.
# Let the spelling give a word its vector: a channel for each pair of neighboring letters, where the beginning and the end count as letters, too.
# Scale all vectors to length 1; then the score $q \cdot k$ is a cosine, 1 for the same word and 0 for words without a common pair.
# Type into the picture, and move its slider (in a notebook it stands still).
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
# Many explanations say that the dot product measures how *similar* query and key are.
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
# The rest get somebody else's value, and it is easy to see whose: $q \cdot k = |q|\,|k| \cos\theta$ grows with the *length* of the key, as long as $\cos\theta > 0$.
# For the query $q$ the key $3q$ has three times the score of the key $q$ itself.
#
# *In words:* [angles and projections](mathematics.ipynb#Angles-and-projections).

# %%
won = wins_its_own_lookup(keys[0], "dot")
for name, which in {"win": won, "lose": ~won}.items():
    print(f"mean length of the keys that {name}: {keys[0][which].norm(dim=-1).mean():.3f}")

# %% [markdown]
# Does a long key get more weight, then?
# Lengthen one of 16 random keys threefold, or shrink it to a tenth, and ask 5,000 random queries.


# %%
def weight_of_one(factor):
    """The weights of the first of 16 keys, times `factor`, for 5,000 queries."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(5000, 1, 16, generator=generator)
    k = torch.randn(5000, 16, 16, generator=generator)
    k[:, 0] *= factor
    return attention(q, k, k, return_weights=True)[1][:, 0, 0]


tenths = torch.tensor([0.1, 0.5, 0.9])
before = weight_of_one(1)
print("as it is: ", *(f"{w:.3f}" for w in before.quantile(tenths)))
for factor in (3, 0.1):
    w = weight_of_one(factor)
    print(f"× {factor:3}:    ", *(f"{w:.3f}" for w in w.quantile(tenths)), end=", ")
    print(f"more than before for {(w > before).float().mean():.0%} of the queries")
    assert abs((w > before).float().mean() - 0.5) < 0.03

# %% [markdown]
# The three numbers are the weight that a tenth, half and nine tenths of the queries stay below.
# The long key gains weight for half of the queries and loses it for the other half, those at more than a right angle to it: $3\,q \cdot k$ is farther from 0 *on either side*.
# So its weight is often large and often nearly nothing, while a very short key has a score near 0, and much the same weight, for every query.
# *QK-norm* makes all keys equally long, up to a learned gain {cite}`henry2020`.
# (How long a head's keys are is not determined by what the head does: queries twice as long and keys half as long give the same weights. [Chapter 05](05_attention_as_smoothing.ipynb) takes this up.)
#
# ## Why divide by √d
#
# Let the entries of $q$ and $k$ be independent with mean 0 and variance 1.
# Then $q \cdot k$ is a sum of $d$ terms, its variance is $d$, and its standard deviation $\sqrt d$.
# With $d = 64$ scores of $\pm 8$ are ordinary, and $e^8 \approx 3000$.
# With $\beta = 1$ attention is therefore *cold*, and colder the more dimensions a head has; with $\beta = 1/\sqrt d$ the scores have variance 1 for every $d$.
# What does the cold do to learning?
#
# *In words:* [variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation).
#
# :::{drawing}
# ![Eight scores as ticks below a bell, and their weights as bars: in 4 dimensions the scores spread by 2, in 64 by 8 with one weight near 1, and divided by the root of d by 1 with weights that are alike](../pages/drawings/why_root_d.svg)
#
# The same eight random directions: only the number of dimensions changes.
# :::
#
# ### How the answer moves with the query
#
# Let $s_j = \beta\, q \cdot k_j$, let $w$ be their softmax, and let $\bar v = \sum_j w_j v_j$ be the answer.
# From $w_j = e^{s_j}/\sum_i e^{s_i}$ the quotient rule gives $\partial w_j/\partial s_i = w_j(\delta_{ij} - w_i)$, where $\delta_{ij}$ is 1 for $i = j$ and 0 otherwise.
# Write $\bar k = \sum_i w_i k_i$ for the weighted mean of the keys. Since $\partial s_i / \partial q = \beta k_i$,
#
# $$ \frac{\partial w_j}{\partial q} = \beta\, w_j (k_j - \bar k), $$
#
# and, because $\sum_j w_j (k_j - \bar k) = 0$, we may subtract $\bar v$ from every value in
#
# $$
# \begin{aligned}
# \frac{\partial \bar v}{\partial q} &= \beta \sum_j w_j\, v_j (k_j - \bar k)^{\mathsf T} \\
# &= \beta \sum_j w_j (v_j - \bar v)(k_j - \bar k)^{\mathsf T} \\
# &= \beta \operatorname{Cov}_w(v, k) .
# \end{aligned}
# $$
#
# The derivative of a lookup is $\beta$ times the **covariance** of values and keys under its weights.
# When one weight is 1 it is 0: nothing varies where there is a single point.
#
# *In words:* [chain rule](mathematics.ipynb#Chain-rule), [covariance](mathematics.ipynb#Covariance).

# %%
generator = torch.Generator().manual_seed(0)
q, k = torch.randn(8, generator=generator), torch.randn(6, 8, generator=generator)
v = torch.randn(6, 3, generator=generator)
for beta in (1 / math.sqrt(8), 1.0, 10.0):
    answer, w = attention(q[None], k, v, scale=beta, return_weights=True)
    w = w[0]
    covariance = ((v - w @ v) * w[:, None]).T @ (k - w @ k)  # (d_v, d)
    jacobian = torch.autograd.functional.jacobian(
        lambda q: attention(q[None], k, v, scale=beta)[0], q
    )  # (d_v, d), by PyTorch
    assert torch.allclose(jacobian, beta * covariance, atol=1e-5)
    print(f"β = {beta:6.3f}: largest weight {w.max():.3f}, |Cov| = {covariance.norm():.3f}")

# %% [markdown]
# The covariance does not shrink steadily with $\beta$; but once one key has all the weight, nothing is left of it.
#
# ### Do gradients vanish?
#
# The authors of the transformer suspected that without $\sqrt d$ they do {cite}`vaswani2017`, and textbooks repeat it.
# A gradient is a slope *with respect to something*, and the choice matters.
# The slope with respect to $q$ does not answer this question: $\partial L/\partial q$ has the factor $\beta$ in it, so halving all queries and doubling $\beta$, which changes no score and no loss, doubles it.
# So compare at the **scores**, the numbers that enter the softmax: $\partial L/\partial s$.
# Queries and keys are random, one of 16 keys holds the right one of 8 values, and both heads see the same ones.

# %%
N_VALUES = 8


def score_gradients(d, scale, seed, B=2000):
    """|∂loss/∂scores| of each of B random lookups (B,), and its largest weight (B,)."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(B, 1, d, generator=generator)
    k = torch.randn(B, 16, d, generator=generator)
    values = torch.randint(N_VALUES, (B, 16), generator=generator)
    scores = (scale * (q @ k.mT)[:, 0]).requires_grad_()  # (B, T_k)
    weights = softmax(scores)
    logits = (weights[:, None] @ (4 * F.one_hot(values, N_VALUES).float()))[:, 0]
    F.cross_entropy(logits, values[:, 0], reduction="sum").backward()
    return torch.stack([scores.grad.norm(dim=-1), weights.detach().amax(-1)])


for d in (16, 64, 256, 1024):
    cold = torch.stack([score_gradients(d, 1.0, seed) for seed in range(3)])
    warm = torch.stack([score_gradients(d, 1 / math.sqrt(d), seed) for seed in range(3)])
    means = cold[:, 0].mean(-1) / warm[:, 0].mean(-1)  # (seeds,)
    medians = cold[:, 0].median(-1).values / warm[:, 0].median(-1).values
    saturated = (cold[:, 1] > 0.99).float().mean()
    print(f"d = {d:4}: ratio of means {means.mean():.2f} ± {means.std():.2f}", end=", ")
    print(f"of medians {medians.mean():.3f}; saturated {saturated:.0%}")
    assert not (warm[:, 1] > 0.99).any()
    assert d < 64 or max(means.max(), medians.max()) < 0.8

# %% [markdown]
# The ratios are unscaled over scaled.
# Unscaled gradients do vanish as $d$ grows, and for most rows.
# A row is *saturated* when one key has more than 0.99 of its weight, and then hardly any gradient passes, as the covariance says.
# Unscaled, that is one row in twenty at $d = 16$, three in ten at $d = 64$, and three in four at $d = 1024$, where the typical gradient is gone; scaled, it is no row at any $d$.
# The mean falls more slowly than the median, since what is left comes from the few undecided rows.
#
# ### Confidently wrong
#
# But does it matter?
# Adam, the optimizer of most large models, divides each gradient by its typical size, so small gradients alone need not slow it down.
# Train a head and look.
# The task: 16 keys are shown, each with one of 8 values, and the query is one of the keys.
# We train the head scaled, unscaled, and unscaled but with the factor $1/\sqrt d$ moved into the first value of $W_Q$.

# %%
D, N_KEYS = 64, 64


def questions(symbols, generator, batch_size=64, n_pairs=16):
    """Random keys of `symbols` with random values; the query is one of the keys."""
    order = torch.rand(batch_size, N_KEYS, generator=generator).argsort(-1)
    which_keys = order[:, :n_pairs]  # (B, T)
    values = torch.randint(N_VALUES, (batch_size, n_pairs), generator=generator)
    asked = torch.randint(n_pairs, (batch_size,), generator=generator)
    rows = torch.arange(batch_size)
    v = F.one_hot(values, N_VALUES).float()
    return symbols[which_keys[rows, asked]], symbols[which_keys], v, values[rows, asked]


# %% [markdown]
# What is kept of a training: the loss of each step, and the gradient that reaches the queries in the first.

# %%
def first_steps(scale, shrink, seed, lr=1e-3, steps=150):
    """The losses (steps,), and the mean |∂loss/∂q| of the first step."""
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randn(N_KEYS, D, generator=generator)
    W_q, W_k = torch.randn(2, D, D, generator=generator) / math.sqrt(D)
    W_q, W_k = (shrink * W_q).requires_grad_(), W_k.requires_grad_()
    W_o = (4 * torch.eye(N_VALUES)).requires_grad_()
    optimizer, losses, sizes = torch.optim.Adam([W_q, W_k, W_o], lr=lr), [], []
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
    return torch.tensor(losses), sizes[0]


# %% [markdown]
# Three seeds of each: the first loss, the gradient, and the mean of the last ten losses.

# %%
variants = {
    "scaled": (None, 1),
    "unscaled": (1.0, 1),
    "unscaled, W_Q smaller": (1.0, 1 / math.sqrt(D)),
}
curves, begun = {}, {}
for name, variant in variants.items():
    losses, sizes = zip(*(first_steps(*variant, seed) for seed in range(3)))
    curves[name] = losses = torch.stack(losses)  # (seeds, steps)
    later, sizes = losses[:, -10:].mean(1), 1000 * torch.tensor(sizes)
    begun[name] = torch.stack([losses[:, 0], sizes, later], 1)
    mean, spread = begun[name].mean(0), begun[name].std(0)
    first, gradient = (f"{mean[i]:.2f} ± {spread[i]:.2f}" for i in (0, 1))
    start = f"first loss {first}, gradient {gradient} ·10⁻³"
    print(f"{name:22} {start}, later {mean[2]:.1f}")
scaled, unscaled, smaller = begun.values()
assert torch.allclose(smaller[:, 0], scaled[:, 0], rtol=1e-4)  # one function, one loss,
assert torch.allclose(smaller[:, 1], 8 * scaled[:, 1], rtol=1e-3)  # √64 times the gradient
assert unscaled[:, 0].min() > 0.5 + scaled[:, 0].max()  # the start is worse
assert unscaled[:, 2].min() > 1.5 * scaled[:, 2].max()  # and stays behind
assert smaller[:, 2].max() < scaled[:, 2].min()  # at this rate, but at 30 times the rate:
fast = [first_steps(*v, 0, lr=0.03)[0][-10:].mean() for v in ((None, 1), (1.0, 1 / 8))]
assert 20 * fast[0] < fast[1]

# %% [markdown]
# The first and the third row begin as the *same function*, with the same loss, and their gradients at $q$ differ by $\sqrt{64} = 8$: that column compares nothing, as announced.
#
# The unscaled head starts worse than chance, which is $\ln 8 \approx 2.08$.
# It is **confidently wrong**: with random keys a cold lookup gives nearly all weight to one entry, mostly a wrong one.
# After 150 steps it is still behind.

# %% tags=["hide-input"] alt="Loss against step, as means of ten steps with bands over three seeds. Unscaled, it falls from 2.9, above the dashed line of chance at 2.08, to 1.2. Scaled, it falls from 1.9 to 0.1; unscaled with a smaller W_Q it is at 0.1 after 40 steps"
from course.figures import loss_plot

short = dict(zip(variants, ("scaled", "unscaled", "W_Q smaller")))
of_ten = {short[name]: losses.unfold(1, 10, 1).mean(-1) for name, losses in curves.items()}
chance = math.log(N_VALUES)
assert unscaled[:, 0].min() > chance
title = "Unscaled, a head starts worse than chance and stays behind"
fig = loss_plot(
    {name: (torch.arange(10, 151), losses) for name, losses in of_ten.items()},
    title=title,
    ylabel="loss, mean of ten steps (nats)",
)
ax = fig.axes[0]
ax.axhline(chance, color=COLORS["FLOOR"], linestyle=(0, (4, 3)), linewidth=1.5)
ax.annotate("chance, ln 8", (150, chance), (0, 4), textcoords="offset points",
            ha="right", size=10.5, color=COLORS["FLOOR"])
fig

# %% [markdown]
# The lines are means over the seeds, the bands reach from the lowest seed to the highest; *W_Q smaller* is the third row, and its line begins lower since its first point is already a mean of ten steps.
#
# The third row has no $1/\sqrt d$ in its formula, and at this learning rate it learns at least as fast as the first.
# So what helps is the temperature at which learning *starts*, and there is more than one place to put it.
# The place is not indifferent: without the factor in the formula a step of Adam in $W_Q$, whose size does not depend on the size of the gradient, moves the scores $\sqrt d$ times as far, and at thirty times this rate (one seed) the third row ends with more than twenty times the loss of the first.
# And later, when queries and their keys have become aligned, $q \cdot k$ grows like $d$ and not like $\sqrt d$; the *maximal update parametrization* (μP), made so that settings carry over from narrow to wide models, divides by $d$ for this reason {cite}`yang2022`.
#
# "It keeps the computation stable" is the other reason that one reads.
# What practitioners call instability is scores that *grow* in training until attention has no entropy left; a factor chosen at the start does not prevent it, and QK-norm was used to cure it in a vision model of 22 billion parameters {cite}`dehghani2023`.
#
# ## How much does it hold?
#
# A `dict` holds what fits into memory.
# A soft one loses a little of the right answer to every other key, so there must be a number of keys at which too much is lost.
#
# Take $N$ random directions in $d$ dimensions and scores $\beta\cos\theta$, and ask with one of the keys.
# The right key has score $\beta$.
# Each other one adds $e^{\beta\cos\theta}$ to the sum, whose mean over random directions is a known series, ${}_0F_1(;\tfrac d2;\tfrac{\beta^2}4)$: up to constants the normalizer of the *von Mises-Fisher distribution*, which is the Gaussian's counterpart on a sphere {cite}`mardia2000`.
# The right key keeps the weight $1-\varepsilon$ as long as all others together take no more than $\frac{\varepsilon}{1-\varepsilon}e^\beta$, that is, up to about
#
# $$
# \begin{aligned}
# N^* &= \frac{\varepsilon}{1-\varepsilon} \cdot \frac{e^{\beta}}{{}_0F_1(;\tfrac d2;\tfrac{\beta^2}4)} \\
# &\approx \frac{\varepsilon}{1-\varepsilon}\, e^{\beta - \beta^2/2d}
# \end{aligned}
# $$
#
# keys; the approximation takes $\cos\theta$ for normal with variance $1/d$, and is good while $\beta$ is small against $d^{3/4}$.
# Then fill a memory to half of the weight.
#
# *In words:* [the normal distribution](mathematics.ipynb#The-normal-distribution), [Gaussian integrals](mathematics.ipynb#Gaussian-integrals).


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
ax.set_title("Capacity grows exponentially, if β grows like d")
fig

# %% [markdown]
# The dots lie near the lines, and nothing was fitted.
# At $\beta = d$ each dimension is worth about 0.9 bits of address: twenty dimensions tell two hundred thousand keys apart.
#
# You will read that attention has *exponential capacity*, and cited for it the modern Hopfield network, whose update rule is one step of attention {cite}`ramsauer2021`.
# It holds if $\beta$ grows in proportion to $d$.
# At a fixed $\beta$ the dashed line levels off.
# More dimensions do help: they bring the cosines of wrong keys nearer to 0.
# But a wrong key with cosine 0 still adds $e^0 = 1$ to the sum, so no number of dimensions takes $N^*$ above $\frac{\varepsilon}{1-\varepsilon}e^\beta$, here 2,981.
#
# Where does an untrained head stand?
# With entries of variance 1 and $|q| \approx |k| \approx \sqrt d$ the scores $q \cdot k/\sqrt d$ are $\sqrt d\cos\theta$: dividing by $\sqrt d$ sets $\beta \approx \sqrt d$.

# %%
for d in (16, 64, 128):
    exact, near = capacity(math.sqrt(d), d), math.exp(math.sqrt(d) - 0.5)
    print(f"d = {d:3}: β = {math.sqrt(d):5.2f}, N* = {exact:6,.0f}, about {near:6,.0f}")
    assert abs(near / exact - 1) < 0.02
assert abs(capacity(8, 10**6) / math.exp(8) - 1) < 0.001  # where the dashed line ends
small, large = (capacity(b, 1000) / math.exp(b - b**2 / 2000) for b in (32, 178))
assert small < 1.001 and large > 1.2  # β = d^(1/2) is small enough, d^(3/4) is not

# %% [markdown]
# A head of 64 channels whose query *is* the right key tells some 1,800 random keys apart before it has learned anything.
# For more it has to raise $\beta$, which training can do by making $W_Q$ and $W_K$ larger: since $N^* \le \frac{\varepsilon}{1-\varepsilon} e^\beta$, half the weight among $N$ keys takes a $\beta$ of at least $\ln N$.
#
# ## Train one in front of us
#
# Let one head learn a lookup from examples alone: eight pairs of symbols are shown, one key is asked for, and the loss is on its value.
# Nothing but the loss says what a key is.
# And half of the 128 symbols never occur as keys in training.

# %%
from torch import nn


class Recall(nn.Module):
    """One head that is shown pairs of symbols and asked for the value of one key."""

    def __init__(self, n_keys=128, n_values=16, d_model=32):
        super().__init__()
        self.keys = nn.Embedding(n_keys, d_model)
        self.values = nn.Embedding(n_values, d_model)
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
# The questions are drawn anew for every batch, so there is no list of answers to memorize.

# %%
def pairs(batch_size, generator, symbols, n_values=16, n_pairs=8):
    order = torch.rand(batch_size, len(symbols), generator=generator).argsort(-1)
    keys = symbols[order[:, :n_pairs]]  # (B, T), no key twice
    values = torch.randint(n_values, (batch_size, n_pairs), generator=generator)
    asked = torch.randint(n_pairs, (batch_size,), generator=generator)
    rows = torch.arange(batch_size)
    return keys, values, keys[rows, asked], values[rows, asked], asked


SEEN, UNSEEN = torch.arange(64), torch.arange(64, 128)


def train_recall(seed, steps=200):
    torch.manual_seed(seed)
    model, generator = Recall(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        keys, values, query, target, _ = pairs(64, generator, SEEN)
        loss = F.cross_entropy(model(keys, values, query)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


# %% [markdown]
# Two hundred steps, three seeds, and 5,000 new questions: about the 64 symbols of the training, and about the 64 others.

# %%
for seed in range(3):
    model, found = train_recall(seed), []
    for symbols in (UNSEEN, SEEN):
        test = pairs(5000, torch.Generator().manual_seed(100), symbols)
        keys, values, query, target, asked = test
        with torch.no_grad():
            logits, weights = model(keys, values, query)
        right = (logits.argmax(-1) == target).float().mean()
        found = [right, weights.gather(1, asked[:, None]).mean(), *found]
    print(f"seed {seed}: seen {found[0]:.1%}, weight on the key {found[1]:.2f};", end=" ")
    print(f"unseen {found[2]:.0%}, weight {found[3]:.1f}")
    assert found[0] > 0.999 and found[2] > 0.96

# %% [markdown]
# All questions about seen symbols are answered, and nearly all about symbols that no training step has ever touched.
# So the head has not learned 64 keys; it has learned to *compare*: which of the keys is the one that I am asked for?
# That works for any vectors that look like the ones it was trained with.
# Where did the last head look, in the first eight questions about seen symbols?

# %% alt="Heat map of the weights of eight test questions over their eight keys: one dark cell in each row, on the key that was asked for"
assert (weights[:8].argmax(-1) == asked[:8]).all()
questions_asked = [f"k{key}?" for key in query[:8].tolist()]
places = [str(place) for place in range(1, 9)]
title = "Each question finds its key among eight"
attention_map(weights[:8], questions_asked, places, title)

# %% [markdown]
# Each row is another question over its own eight pairs.
# Training has also set the temperature: nearly all the weight is on one key.
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
# (Ask the [dictionary above](temperature-to-zero) for `lemon`, and store `lemon` once more; in a notebook it stands still.)
# A dictionary *overwrites*: what came later wins.
# Attention does not know what came later unless the time is put into the keys, which is one more thing that positions are for.
#
# ## Keys that may not be seen
#
# Sometimes a key must have no weight: a model that predicts the next token must not look it up.
# A **mask** says which query may attend to which key, `True` for yes.
# It sets the forbidden scores to $-\infty$ before the softmax.
# One can as well set the forbidden *weights* to zero afterwards, if one then divides each row by what is left of it: the sum in the denominator cancels, and the rows are the same.

# %% tags=["quote"]
from tinyllm.attention import causal_mask

# %% [markdown]
# Here is [the sentence from above](one-sentence) once more, as a model that reads from left to right has to read it.
# The first token attends only to itself, the last one to all.

# %% alt="Heat map of causal attention weights of the four tokens The fox says it: the upper triangle is hatched, each row sums to one, and the last row has 0.70 on fox"
_, weights = attention(Q, K, V, causal_mask(4), return_weights=True)
late = softmax(Q @ K.T / math.sqrt(2)) * causal_mask(4)  # masked after the softmax,
assert torch.allclose(weights, late / late.sum(-1, keepdim=True))  # renormalized: the same
assert torch.allclose(weights.sum(-1), torch.ones(4)) and weights.triu(1).eq(0).all()
title = "Every token looks back only; the last one still finds fox"
attention_map(weights, queries=tokens, mask=causal_mask(4), title=title)

# %% [markdown]
# Two corner cases remain.
# A query that may attend to *nothing* has no weights that sum to 1; our `attention` answers with zeros, "nothing found, nothing added", and so does the PyTorch that is installed here.
# And how large may scores be?
# `softmax` subtracts the largest score of a row first, so any *finite* scores are fine: the exponentials lie between 0 and 1.
# But $q \cdot k$ itself can overflow, above $3.4 \cdot 10^{38}$ in 32 bits, and then $\infty - \infty$ is not a number.

# %%
generator = torch.Generator().manual_seed(1)
nothing = torch.zeros(2, 3, dtype=torch.bool)
q, k = torch.randn(2, 4, generator=generator), torch.randn(3, 4, generator=generator)
v = torch.ones(3, 1)
theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=nothing)
assert torch.equal(attention(q, k, v, nothing), theirs)
assert attention(1e30 * q, k, v).isfinite().all()
assert attention(1e30 * q, 1e30 * k, v).isnan().all()
attention(q, k, v, nothing).flatten()

# %% [markdown]
# :::{why-it-works}
#
# All of this was shown.
# The weighted match is a smooth function of queries and keys, with a derivative that is $\beta$ times a covariance, so what is compared can be *learned* (the recall head), and what has been learned is a comparison, not a list.
# Lowering the temperature takes it to the `dict`, at a rate that the gap predicts.
# It holds exponentially many keys if $\beta$ grows in proportion to $d$.
# Without $\sqrt d$ the gradient at most scores vanishes as $d$ grows, and a head starts confidently wrong; with it, $\beta$ starts at a value that does not saturate.
#
# :::
#
# :::{why-it-might}
#
# That heads in large models *are* lookups, this one for subjects and that one for brackets, is an interpretation of their weights.
# Chapter 06 trains one that fits it, and meets some that do not.
# Why trained models give so much weight to keys that hold nothing useful, such as the first token, is measured better than it is understood {cite}`xiao2024`.
# Why the confidently wrong head stays behind we did not separate: saturated rows and a bad start come together.
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
# | any number of keys | about $2^{0.9\,d}$ at $\beta = d$, about $e^{\sqrt d}$ at the start |
# | cannot be trained | can be trained: what matches is learned |
#
# Statisticians have had such a mean since 1964, and call it *kernel regression*; chapter 05 says which kernel it is.
#
# **Exercises.** [The sheet of this chapter](../exercises/04_attention_as_lookup.ipynb) asks you to derive, predict, repair and measure.
#
# **Further reading.** {cite}`vaswani2017` for the formula, section 3.2.1 with its footnote on $\sqrt d$; {cite}`ramsauer2021` for the memory; {cite}`yang2022` for other ways to scale.
