# %% [markdown]
# # Attention II: a smoother
#
# Forty measurements, and a place where nobody measured.

# %% alt="Scatter plot of forty noisy points that wiggle up and down; a dashed line stands at x = 0.3, where there is no point, with a question mark"
import torch

from course.figures import COLORS, figure


def curve(x):
    return torch.sin(10 * x)


def measure(n, seed, noise=0.3):
    """Noisy values (n, 1) of the curve at n random places (n, 1) between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, dtype=torch.float64, generator=generator)
    errors = torch.randn(n, 1, dtype=torch.float64, generator=generator)
    return x, curve(x) + noise * errors


x, y = measure(40, seed=0)
assert (x - 0.3).abs().min() > 0.01
fig, ax = figure()
ax.plot(x, y, "o", color=COLORS["INK"])
ax.axvline(0.3, color=COLORS["SMOOTHER"], linestyle="--")
ax.annotate("y = ?", (0.315, 1.2), color=COLORS["SMOOTHER"])
ax.set(xlabel="x", ylabel="y", title="What is y at 0.3?")
fig

# %% [markdown]
# You have an answer already.
# You looked at the points beside the line and took something like a mean.
# Nadaraya and Watson wrote down in 1964, each without the other, what your eye did {cite}`nadaraya1964,watson1964`.
# What they wrote down is chapter 04.
#
# :::{admonition} You will be able to
# :class: tip
# - get from the nearest neighbor to a kernel smoother in three steps, and from there to attention in one;
# - say *which* smoother softmax attention is, and which of its numbers belong to the head and which to the way it is written;
# - let the data choose the bandwidth, and name what no smoother of this kind can do.
#
# Reading: 40 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the weighted average of the values marked as this chapter's"
from course.figures import machine_map

machine_map(here="smoothing")

# %% [markdown]
# From chapter 03 we take the distance, from chapter 04 attention, its softmax and its mask.

# %%
import math
from functools import partial

from torch.nn import functional as F

from tinyllm.attention import attention, causal_mask, softmax
from tinyllm.vectors import similarity

# %% [markdown]
# ## Ask the neighbors
#
# **The nearest.**
# The place nearest to the query has been measured, so take that.
# As a weight for each measurement: 1 for the nearest, 0 for all others.
#
# **The near ones.**
# One measurement is one accident.
# Take all that lie within reach and give each the same weight: a moving average.
#
# **The nearer, the heavier.**
# Why should a point at the rim count as much as one right here, and one a hair further not at all?
# Let the weight fall with the distance, along a bell.
#
# In all three the answer is `weights @ y`, and the weights of a query sum to 1.
# Here are the three answers at $x = 0.3$.

# %%
at = torch.linspace(0, 1, 401, dtype=torch.float64)[:, None]  # (T_q, 1): where we ask
distance = -similarity(at, x, "distance")  # (T_q, T_k)
nearest = F.one_hot(distance.argmin(-1), len(x)).double()
within_reach = (distance < 0.08).double()
bell = torch.exp(-((distance / 0.04) ** 2) / 2)
three_ways = nearest, within_reach, bell
answers = [weights / weights.sum(-1, keepdim=True) @ y for weights in three_ways]
print(*(f"{answer[120, 0]:.3f}" for answer in answers))

# %% [markdown]
# At one place they hardly differ.
# Ask at 401.

# %% tags=["hide-input"] alt="Three panels over the same points: the nearest neighbor's answer is a staircase with high steps, the moving average has many small steps, the bell gives a smooth curve close to the true one"
fig, axes = figure(rows=3, height=6.6)
titles = (
    "the nearest",
    "all within reach",
    "the nearer, the heavier",
)
for ax, answer, title in zip(axes, answers, titles):
    ax.plot(x, y, "o", color=COLORS["QUIET"], markersize=4)
    ax.plot(at, curve(at), color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
    ax.plot(at, answer, color=COLORS["SMOOTHER"])
    ax.set(title=title, ylabel="y", ylim=(-1.9, 1.9))
axes[-1].set_xlabel("x; the dashed curve is the one that was measured")
title = "When weights fall off smoothly, the staircase becomes a curve"
fig.suptitle(title, x=0.012, ha="left")
steps = [answer.diff(dim=0).abs().nan_to_num(0).max().item() for answer in answers]
assert steps[0] > steps[1] > 3 * steps[2] and answers[1][0].isnan()
fig

# %% [markdown]
# Compare chapter 04: exact match, best match, weighted match.
# There the first two could not be trained, because a step has no useful slope.
# Here they jump, for the same reason.
# And the moving average has a hole at the left end: no point is within reach, $0/0$, and the `KeyError` is back under the name of `nan`.
# The bell has an answer everywhere.
#
# ## A kernel and a bandwidth
#
# The bell is a **kernel** $K$ (not the $\mathbf K$ of the keys), and the number 0.04 its **bandwidth**, $h$, which says how far "near" reaches, in the units of $x$.
# The estimate of Nadaraya and Watson is a mean of the values, weighted by the kernel:
#
# $$ \hat y(x) = \frac{\sum_j K\!\left(\frac{|x - x_j|}{h}\right) y_j}{\sum_j K\!\left(\frac{|x - x_j|}{h}\right)} $$
#
# The library writes $K$ by its logarithm: then the kernels are scores, and the division by the sum is the softmax of chapter 04.
#
# *In words:* [kernels](mathematics.ipynb#Kernels).
#
# :::{drawing}
# ![Above, ten points with values, larger near the query; below, a bell around the query gives each point a weight. A bar marks the weighted mean of the values at the query](../pages/drawings/kernel_over_points.svg)
#
# A smoother at one query: the kernel weighs the keys, and the answer is the weighted mean of their values.
# :::

# %%
from torch import Tensor

from tinyllm.attention import check_shapes

# %% tags=["quote"]
from tinyllm.smoothing import LOG_KERNELS

# %% [markdown]
# First the logarithm of the kernel for each query and key: a score, as in chapter 04.

# %% tags=["quote"]
from tinyllm.smoothing import kernel_scores

# %% [markdown]
# Then the weights: the softmax of the scores.
# Some keys may be left out, and others may have a weight of their own; both will be used below.

# %% tags=["quote"]
from tinyllm.smoothing import smoothing_weights

# %% [markdown]
# And the smoother itself, the mean of the values with these weights.

# %% tags=["quote"]
from tinyllm.smoothing import nadaraya_watson

# %% [markdown]
# By hand: three measurements, at 0, 1 and 3, with the values 0, 6 and 3, and $h = 1$.
# At $x = 1$ the weights are $e^{-1/2} : 1 : e^{-2}$, that is 0.607, 1 and 0.135, with the sum 1.742.
# The answer is $(0.607 \cdot 0 + 1 \cdot 6 + 0.135 \cdot 3) / 1.742$, about 3.68.

# %%
places = torch.tensor([[0.0], [1.0], [3.0]])
measured = torch.tensor([[0.0], [6.0], [3.0]])
nadaraya_watson(torch.tensor([[1.0], [2.0]]), places, measured, bandwidth=1.0)

# %% [markdown]
# Which kernel?
# Epanechnikov worked out which is best for estimating densities from many points: not a bell but an arch, $\frac34(1-u^2)$ up to $u=1$ and zero beyond {cite}`epanechnikov1969`.
# What is the best shape worth?
# Give each kernel the bandwidth that suits it best, and measure the error against the true curve, on five sets of a hundred points.
# We compare on the same set: the difference, its mean over the sets, and the standard error of that mean.
# Then the Gaussian again, with three times its best bandwidth, and a third.

# %%
candidates = torch.logspace(-2.2, -0.7, 30, dtype=torch.float64).tolist()


def test_error(x, y, h, kernel="gaussian"):
    wrong_by = nadaraya_watson(at, x, y, h, kernel) - curve(at)
    return wrong_by.square().mean().nan_to_num(torch.inf).item()


def least_error(x, y, kernel):
    return min(test_error(x, y, h, kernel) for h in candidates)


def paired(differences):
    """The mean of differences on the same data, and the standard error of that mean."""
    differences = torch.as_tensor(differences)
    error = differences.std() / math.sqrt(len(differences))
    return f"{differences.mean():+.4f} (standard error {error:.4f})"


# %% [markdown]
# Five kernels on five sets:

# %%
five = [measure(100, seed) for seed in range(5)]
least = {k: torch.tensor([least_error(x, y, k) for x, y in five]) for k in LOG_KERNELS}
for kernel, errors in least.items():
    more = errors - least["gaussian"]
    print(f"{kernel:12} {errors.mean():.4f}; more than the gaussian {paired(more)}")
for factor in (3, 1 / 3):
    more = []
    for x, y in five:
        best = min(candidates, key=lambda h: test_error(x, y, h))
        more.append(test_error(x, y, factor * best) - test_error(x, y, best))
    assert min(more) > 0.5 * least["gaussian"].mean()  # more than any shape costs
    print(f"gaussian, h times {factor:.2f}: more than at its best h {paired(more)}")

# %% [markdown]
# The shape matters little, but for the uniform kernel, which costs a quarter more; the bandwidth matters much.
# So we keep the Gaussian, which has one more virtue that was not asked of it in 1964.
#
# ## We have written this before
#
# A query is a place, a key is a place where something was measured, a value is what was measured.
# Can the smoother be handed to chapter 04's `attention`, unchanged?
# Attention compares by dot products, the smoother by distances.
# School algebra goes between them:
#
# $$ -\frac{|q-k|^2}{2h^2} = \frac{q \cdot k}{h^2} - \frac{|q|^2}{2h^2} - \frac{|k|^2}{2h^2} $$
#
# The term with $|q|^2$ is the same for all keys of a query; the softmax does not see it.
# The term with $|k|^2$ is a number for each key.
# Give the key one more channel that holds $-\frac12|k|^2$, and the query one that holds 1, and the dot product brings it along.
#
# *In words:* [dot products and distances](mathematics.ipynb#Dot-products-and-distances).

# %%
def as_lookup(places, measured):
    """Queries and keys that score -|place - measured|²/2, but for a number per query."""
    q = torch.cat([places, torch.ones_like(places[:, :1])], -1)
    k = torch.cat([measured, -measured.square().sum(-1, keepdim=True) / 2], -1)
    return q, k


h = 0.04
x, y = measure(40, seed=0)
q, k = as_lookup(at, x)
looked_up, smoothed = attention(q, k, y, scale=1 / h**2), nadaraya_watson(at, x, y, h)
assert torch.allclose(looked_up, smoothed, rtol=0, atol=1e-9)
print("chapter 04's attention draws the third panel")

# %% [markdown]
# Every Gaussian smoother is an attention head with one more channel.
# And the other way around: is every attention head a Gaussian smoother?
# Solve the same line for the dot product, with $h^2 = \sqrt d$:
#
# $$ e^{q \cdot k / \sqrt d} = \underbrace{e^{|q|^2/2h^2}}_{\text{cancels}} \cdot \underbrace{e^{-|q-k|^2/2h^2}}_{\text{the Gaussian}} \cdot \underbrace{e^{|k|^2/2h^2}}_{\text{does not cancel}} $$
#
# **Softmax attention is Nadaraya-Watson with a Gaussian kernel, $h^2 = \sqrt d$, and the key weights $e^{|k_j|^2/2h^2}$.**
# Here is an example by hand, with the scale 1 in place of $1/\sqrt d$, so $h = 1$: the scores of its first query are 2, 0 and 2.
# The squared lengths of the keys are 1, 1 and 2, the squared distances from the first query 1, 5 and 2; half of the first minus the second is 0, $-2$ and 0.
# (These are the scores less $\frac12|q|^2 = 2$, which cancels.)

# %%
q = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # (T_q=2, d=2)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (T_k=3, d=2)
v = torch.tensor([[0.0], [6.0], [3.0]])
key_weights = torch.exp(k.square().sum(-1) / 2)
nadaraya_watson(q, k, v, bandwidth=1.0, key_weights=key_weights, return_weights=True)

# %% [markdown]
# The softmax of 2, 0 and 2 gives the same weights: $e^2 : 1 : e^2$ is 0.468, 0.063 and 0.468.
#
# :::{two-views}
# - **As a lookup.**
#   $w_j \propto e^{q \cdot k_j/\sqrt d}$.
#   A longer key scores higher with the queries on its side, and lower with those on the other side.
# - **As a smoother.**
#   $w_j \propto c_j\, e^{-|q-k_j|^2/2\sqrt d}$ with the key weight $c_j = e^{|k_j|^2/2\sqrt d}$.
#   A key that weighs $c_j$ stands for $c_j$ measurements at one place.
# :::
#
# Check it, on three seeds.

# %%
def key_weights_of(keys):
    """The weight of each key in softmax attention, read as a Gaussian smoother."""
    return torch.exp(keys.square().sum(-1) / (2 * math.sqrt(keys.shape[-1])))


for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, 64, 16, dtype=torch.float64, generator=generator)
    for mask in (None, causal_mask(64)):
        smoothed = nadaraya_watson(
            q, k, v, bandwidth=16**0.25, key_weights=key_weights_of(k), mask=mask
        )
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        assert torch.allclose(smoothed, attention(q, k, v, mask), rtol=0, atol=1e-12)
        assert torch.allclose(smoothed, theirs, rtol=0, atol=1e-12)
print("the lookup and the smoother agree to 1e-12, with and without the causal mask")

# %% [markdown]
# So the derivative is the same, too: that of the answer with respect to $q$ is the covariance of values and keys under the weights, divided by $h^2$, as chapter 04 derives.
# (And a smoother need not be Gaussian: an earlier attention scored with a small network {cite}`bahdanau2015`.)
#
# (forget-the-lengths)=
# (not-determined)=
# ## What the identity does not determine
#
# "Attention is a Gaussian kernel" is often said without the key weights.
# How wrong is that?
# It seems easy to measure: take a head, leave its key weights out, and see how much of the weight moves to other keys.
# Here is a head with random matrices over 64 random tokens, $q = x W_Q$ and $k = x W_K$.
# Then we multiply $W_Q$ by a number $s$ and divide $W_K$ by it, and measure again.
# Before you run it: what will that change?
#
# Two columns may be new.
# The **effective keys** of a query are $e^H$, with $H = -\sum_j w_j \ln w_j$ the entropy of its weights: between 1 (all on one key) and 64 (all alike); the table shows their mean.
# The **trace** of the **smoothing matrix** $S$, whose rows are the weights, is the sum of its diagonal: how much all tokens together attend to themselves.
#
# *In words:* [surprise and entropy](mathematics.ipynb#Surprise-and-entropy), [inverses and rank](mathematics.ipynb#Inverses-and-rank).

# %%
def facts(q, k, v):
    """The answers of a head, and the columns of the table."""
    answer, S = attention(q, k, v, return_weights=True)  # S is (T, T)
    plain = smoothing_weights(q, k, k.shape[-1] ** 0.25)  # without key weights
    c = key_weights_of(k)
    moved = (S - plain).abs().sum(-1).mean() / 2
    effective = torch.special.entr(S).sum(-1).exp().mean()  # entr(w) is -w ln w
    numbers = k.norm(dim=-1).mean(), c.max() / c.min(), moved, effective, S.trace()
    return answer, torch.stack(numbers)


generator = torch.Generator().manual_seed(0)
random = partial(torch.randn, dtype=torch.float64, generator=generator)
x, (W_Q, W_K, W_V) = random(64, 32), random(3, 32, 16) / math.sqrt(32)
v = x @ W_V
answer, numbers = facts(x @ W_Q, x @ W_K, v)
moved = {}
print("   s  key length  max/min key weight  moved  effective keys   trace")
for s in (0.5, 1, 2, 4, 10):
    same, now = facts(x @ (s * W_Q), x @ (W_K / s), v)
    assert torch.allclose(same, answer, rtol=0, atol=1e-12)
    assert torch.allclose(now[3:], numbers[3:], rtol=1e-9)
    moved[s] = now[2].item()
    length, ratio, gone, effective, trace = now.tolist()
    row = f"{length:10.3f}  {ratio:18.3g}  {gone:.3f}  {effective:14.3f}  {trace:6.3f}"
    print(f"{s:4}  {row}")
assert moved[0.5] > 100 * moved[10]
assert abs(math.log(moved[4] / moved[10]) / math.log(10 / 4) - 2) < 0.1

# %% [markdown]
# The answers are the same to the twelfth decimal in every row, because $s$ cancels in $q \cdot k$.
# Every row is the same head.
# And yet leaving out the key weights moves most of the weight to other keys or nearly none.
# The share that moves falls like $1/s^2$.
#
# So "without the key weights a quarter of the weight goes elsewhere" is a fact about a pair of matrices, not about the head that they make.
# A statistician says that such numbers are not **identified**: no text that the model reads, and no answer that it gives, could tell you them.
# Scaling is not the only freedom.

# %%
b, A = 2 * random(16), random(16, 16)
q, k = x @ W_Q, x @ W_K
written_otherwise = {
    "as it was": (q, k),
    "one vector added to all keys": (q, k + b),
    "W_Q A with W_K A⁻ᵀ": (x @ W_Q @ A, x @ W_K @ A.inverse().T),
}
for name, (q, k) in written_otherwise.items():
    same, now = facts(q, k, v)
    assert torch.allclose(same, answer, rtol=0, atol=1e-9)
    assert torch.allclose(now[3:], numbers[3:], rtol=1e-9)
    print(f"{name:28}  mean key length {now[0]:5.2f}, weight moved {now[2]:.3f}")
assert facts(x @ W_Q, x @ W_K + b, v)[1][2] > 1.5 * numbers[2]

# %% [markdown]
# A vector $b$ that is added to every key adds $q \cdot b$ to all scores of a query, and the softmax does not see what all scores of a row share.
# (So a bias in $W_K$ does nothing at all.)
# And any invertible matrix $A$ may stand between $W_Q$ and $W_K$.
# (Where positions rotate queries and keys, as in the models of Part II, fewer $b$ and $A$ are free; $s$ always is.)
#
# **A form that is free of all this.**
# Key weights are needed because keys differ in length, so make them equally long, without touching a score.
# Append $\sqrt{M^2 - |k|^2}$ to each key, with $M$ the length of the longest (masked ones included: any $M$ that is long enough will do), and 0 to each query.
# Dot products stay as they are, all keys have the length $M$, and the key weights cancel.

# %%
def on_a_sphere(q, k):
    """Queries and keys with one more channel: the same scores, and keys of one length."""
    squared = k.square().sum(-1, keepdim=True)  # (..., T, 1)
    height = (squared.amax(-2, keepdim=True) - squared).sqrt()
    return torch.cat([q, torch.zeros_like(q[..., :1])], -1), torch.cat([k, height], -1)


for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    for s in (0.5, 1, 4):
        for mask in (None, causal_mask(64)):
            q, k, v = x @ (s * W_Q), x @ (W_K / s), x @ W_V
            theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            places = (t.to(dtype) for t in on_a_sphere(q, k))
            plain = nadaraya_watson(*places, v.to(dtype), 16**0.25, mask=mask)
            assert torch.allclose(plain.double(), theirs, rtol=0, atol=tolerance)
print("attention over 16 channels is a plain Gaussian smoother over 17, mask or not")

# %% [markdown]
# **Every softmax head is a plain Gaussian smoother in $d + 1$ dimensions**: no key weights, no approximation, no condition on the keys.
# (The same step turns a search for the largest dot product into one for the nearest neighbor {cite}`bachrach2014`.)
#
# What can be said of a head, then, however its queries and keys are written?
#
# | the same in every writing | different in every writing |
# |---|---|
# | score differences $s_{ij} - s_{ij'}$ | length of a key, distance from a query to a key |
# | weights, and answers for given values | key weights |
# | effective keys of a query | the error of leaving key weights out |
# | trace of $S$ | how far $h = d^{1/4}$ reaches |
#
# Compare heads by the left column.
# ($W_V$ and $W_O$ have a freedom of their own: $W_V B$ with $B^{-1} W_O$ changes every answer and nothing that the head adds to the model.)
# Whoever needs the right column has to fix the writing first, and say how.
# Equal mean lengths of queries and keys fix $s$ and leave $A$ free.
# For given tokens this fixes all but a rotation, which changes no length (on other tokens the same head gets another writing): keys centered, and $\mathbf Q^{\mathsf T}\mathbf Q = \mathbf K^{\mathsf T}\mathbf K$.

# %%
def balanced(q, k):
    """The writing of a head in which k is centered and q.T @ q equals k.T @ k."""
    U, sizes, V_T = torch.linalg.svd(q @ (k - k.mean(0)).T)  # made of score differences
    root = sizes[: q.shape[-1]].sqrt()
    return U[:, : len(root)] * root, V_T[: len(root)].T * root


for name, (q, k) in written_otherwise.items():
    q, k = balanced(q, k)
    same, now = facts(q, k, x @ W_V)
    assert torch.allclose(same, answer, rtol=0, atol=1e-9)
    assert torch.allclose(q.T @ q, k.T @ k) and k.mean(0).abs().max() < 1e-9
    print(f"{name:28}  mean key length {now[0]:5.2f}, weight moved {now[2]:.3f}")

# %% [markdown]
# The three writings from above have become one.
# Models with QK-norm {cite}`henry2020` fix it themselves: all queries and keys have one length, $s$ has no effect, and attention is a plain Gaussian smoother in $d$ dimensions, whose bandwidth means something.
# (Many put a learned gain for each channel behind the norm; then the lengths differ again.)
#
# Move the three keys and the query that you did by hand (in a notebook they stand still).
# The area of a disc is the weight of its key, the left half by softmax, the right half by the kernel.
# The two rings around the query lie at the distances $h$ and $2h$ from it; the edge of the plane cuts off what reaches beyond.
# The handle *s* multiplies the query and divides the keys: the weights by softmax stay where they are, whatever you do to it.
#
# :::{live} smoother
# :picture: norms=own
#
# ![Three keys with their own lengths and a query in a plane. The halves of their discs differ: the longest key has the weight 0.468 by softmax and 0.348 by the kernel. Around the query two rings, at the distances h and 2h, run past the plane's right edge. Beside it all weights in numbers and as bars, and their difference: 0.120 of the weight. Above, sliders for the bandwidth h and for s.](../pages/live/smoother.png)
#
# With keys of one length, or with the key weights, the two halves are one disc for every query, bandwidth and *s*.
# :::
#
# (bandwidth-is-temperature)=
# ## Which bandwidth?
#
# Attention has an $h$, too: $h^2 = \sqrt d$, or, with chapter 04's word, $h^2 = \tau$.
# **The temperature is the square of the bandwidth**, and $\beta = 1/\tau = 1/h^2$ is what multiplies the scores.
# Take keys of one length.
# At $\tau \to 0$ the kernel is narrow and gives the nearest neighbor, which is the `dict`; at $\tau \to \infty$ it is wide and gives the mean of everything.
# Mind the square: four times the temperature is twice the bandwidth.
#
# For our points $d^{1/4} = 1$ would reach across the whole picture.
# In a model $W_Q$ and $W_K$ stretch the space until $d^{1/4}$ fits in it, so the bandwidth is learned.
# Learned from what?
# Not from how well the smoother explains the points that it has: at $h \to 0$ each point looks itself up, and the error is zero.
# So **leave one out**, predict it from the others, for each in turn.

# %%
from collections.abc import Iterable

# %% tags=["quote"]
from tinyllm.smoothing import loocv

# %% [markdown]
# To a lookup, leaving one out is attention with the diagonal masked.
# And nothing has to be computed again: if $S_{ii}$ is the weight that point $i$ gives itself, the others have $1 - S_{ii}$ to share, so without point $i$ the estimate and its error are
#
# $$ \hat y_{-i} = \frac{\hat y_i - S_{ii}\, y_i}{1 - S_{ii}}, \qquad y_i - \hat y_{-i} = \frac{y_i - \hat y_i}{1 - S_{ii}}. $$
#
# *In words:* [leaving one out](mathematics.ipynb#Leaving-one-out).

# %%
x, y = measure(40, seed=0)
q, k = as_lookup(x, x)
left_out = nadaraya_watson(x, x, y, h, leave_one_out=True)
others_only = ~torch.eye(len(x), dtype=torch.bool)
looked_up = attention(q, k, y, others_only, scale=1 / h**2)
assert torch.allclose(looked_up, left_out, rtol=0, atol=1e-9)
fitted, S = nadaraya_watson(x, x, y, h, return_weights=True)
own = S.diagonal()[:, None]
assert torch.allclose((fitted - own * y) / (1 - own), left_out, rtol=0, atol=1e-12)
with_itself, without = (y - fitted).square().mean(), (y - left_out).square().mean()
print(f"mean squared error with itself {with_itself:.3f}, without {without:.3f}")
print(f"trace of the smoothing matrix: {S.trace():.1f} of {len(x)}")

# %% [markdown]
# The trace adds up how much each point explains itself: 40 at $h \to 0$, 1 at $h \to \infty$.
# Statisticians call it the effective number of parameters {cite}`hastie2009`.
#
# Now let the bandwidth be learned as everything else in this book is learned: gradient descent, on $\ln h$, so that $h$ stays positive.
# Once with the diagonal masked and once without.

# %%
def learned_bandwidth(x, y, leave_one_out=True, steps=100):
    log_h = torch.tensor(math.log(0.1), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_h], lr=0.1)
    for _ in range(steps):
        estimate = nadaraya_watson(x, x, y, log_h.exp(), leave_one_out=leave_one_out)
        loss = (estimate - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_h.exp().item()


fine = torch.logspace(-2.2, -0.7, 60, dtype=torch.float64).tolist()
above = []
for seed, (x, y) in enumerate(five):
    searched, learned = fine[loocv(x, y, fine).argmin()], learned_bandwidth(x, y)
    unmasked = learned_bandwidth(x, y, leave_one_out=False)
    error, best = test_error(x, y, learned), min(test_error(x, y, h) for h in fine)
    assert 0.95 < learned / searched < 1.05 and unmasked < 0.003 and error < 1.5 * best
    above.append(error - best)
    print(f"seed {seed}: h searched {searched:.3f}, learned {learned:.3f},", end=" ")
    print(f"unmasked {unmasked:.3f}; error {error:.3f}, least {best:.3f}")
print(f"error above the least: {paired(above)}")

# %% [markdown]
# The first of the five sets as a picture:

# %% tags=["hide-input"] alt="Error against bandwidth on a logarithmic axis: the error with each point in its own mean falls to zero on the left, the leave-one-out error and the error on new points have a common valley, where the learned bandwidth lies"
x, y = five[0]
fine = torch.logspace(-3, -0.7, 80, dtype=torch.float64).tolist()
with_itself = [(nadaraya_watson(x, x, y, h) - y).square().mean().item() for h in fine]
left_out = loocv(x, y, fine).tolist()
on_new = [test_error(x, y, h) + 0.3**2 for h in fine]  # new points are noisy, too
learned = learned_bandwidth(x, y)
assert with_itself[0] < 0.01
assert test_error(x, y, learned) < 1.5 * (min(on_new) - 0.3**2)
fig, ax = figure()
curves = {"with itself": with_itself, "left out": left_out, "on new points": on_new}
for (name, errors), color in zip(curves.items(), COLORS["CYCLE"][::2]):
    ax.semilogx(fine, errors, label=name, color=color)
ax.axvline(learned, color=COLORS["SMOOTHER"], linestyle="--")
ax.annotate("learned", (1.08 * learned, 0.33), color=COLORS["SMOOTHER"])
ax.set(ylim=(0, 0.4), xlabel="bandwidth h", ylabel="mean squared error",
       title="With independent noise leaving one out is nearly best")
ax.legend()
fig

# %% [markdown]
# Masked, gradient descent finds what a search finds, to a few percent, and that costs little against the best that the true curve could have told us.
# Unmasked, it runs to zero, because each point predicts itself.
#
# (The noise here is independent from point to point. Where neighbors err alike, as in prices or in text, the others give the answer away, and the kernel that is chosen can be far too narrow {cite}`debrabanter2011`.)
#
# You have met that mask.
# A language model that predicts the next token must not see it, and the causal mask hides it.
# (It leaves the diagonal open, since a token is not its own answer: the next one is.)
#
# The weights also say how sure an answer is.
# With independent noise of variance $\sigma^2$ in each value, and weights that do not look at the values, $\sum_j w_j y_j$ has the variance $\sigma^2 \sum_j w_j^2$: averaging over $1/\sum_j w_j^2$ equal points would do as well.
# (Like the effective keys $e^H$ this counts the keys of *one* query, and is never more than $e^H$; the trace counts what *all* fits use up.)
# (A band of two such standard errors around the answer holds the mean of the smoother; the curve itself only where the bias is small.)
#
# *In words:* [variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation).
#
# (curse)=
# ## More points, more dimensions
#
# With more points one can afford a narrower kernel, but how much narrower?
# And is it the same in ten dimensions?
# Take a case that can be worked out.
# $n$ points lie evenly at random in a cube from $-1$ to 1 in $d$ dimensions, the curve is a bowl, $|x|^2/d$, and we ask at its bottom.
# Let $h$ be small against the cube.
# Then the bias, which is the mean of the bowl over the kernel, is $h^2$ in every dimension.
# The noise is averaged over $1/\sum_j w_j^2$ points, about $n\,(\sqrt\pi\, h)^d$ of them, so
#
# $$ \text{error} \approx h^4 + \frac{\sigma^2}{n\,(\sqrt\pi\, h)^d}. $$
#
# Set the slope in $h$ to zero: the error is smallest at $h \propto n^{-1/(4+d)}$, where it falls like $n^{-4/(4+d)}$.
# Then search the best $h$ for ten sets of points of each size.
#
# *In words:* [bias and variance](mathematics.ipynb#Bias-and-variance), [powers and roots](mathematics.ipynb#Powers-and-roots).

# %%
def best_by_formula(n, d, sigma=0.3):
    h = (d * sigma**2 / (4 * n * math.pi ** (d / 2))) ** (1 / (4 + d))
    return h, (1 + 4 / d) * h**4


def best_by_search(n, d, sigma=0.3):
    """The bandwidth of least error at the bottom of the bowl, and that error."""
    bandwidths = torch.logspace(-1.5, -0.2, 40)
    errors = torch.zeros(40)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        places = 2 * torch.rand(n, d, generator=generator) - 1
        bowl = places.square().sum(-1) / d
        for i, h in enumerate(bandwidths.tolist()):
            weights = smoothing_weights(torch.zeros(1, d), places, h)[0]
            errors[i] += (weights @ bowl) ** 2 + sigma**2 * weights.square().sum()
    return bandwidths[errors.argmin()].item(), errors.min().item() / 10


dimensions, sizes = (1, 2, 5, 10), (1000, 4000, 16_000, 64_000)
found = torch.tensor([[best_by_search(n, d) for n in sizes] for d in dimensions])

# %% [markdown]
# The lines are the formula, the dots what was found:

# %% tags=["hide-input"] alt="Two panels against the number of points, all axes logarithmic: the best bandwidth and the error at it, for 1, 2, 5 and 10 dimensions. Measured dots lie on the straight lines of the formula, which are steep for one dimension and nearly flat for ten"
fig, axes = figure(rows=2, height=6.0)
for d, dots in zip(dimensions, found):
    lines = torch.tensor([best_by_formula(n, d) for n in sizes])
    assert (dots / lines).log().abs().max() < 0.12
    slopes = (dots[-1] / dots[0]).log() / math.log(sizes[-1] / sizes[0])
    assert abs(slopes[0] + 1 / (4 + d)) < 0.025 and abs(slopes[1] + 4 / (4 + d)) < 0.025
    for i, ax in enumerate(axes):
        ax.loglog(sizes, lines[:, i], color=COLORS["SMOOTHER"], linewidth=1.2)
        ax.loglog(sizes, dots[:, i], "o", color=COLORS["INK"], markersize=4)
        ax.annotate(f"d = {d}", (70_000, lines[-1, i]), va="center")
axes[0].set(ylabel="best bandwidth", title="In ten dimensions more points help little")
axes[0].set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
axes[1].set(ylabel="mean squared error", xlabel="number of points n")
for ax in axes:
    ax.set_xlim(800, 140_000)
    ax.minorticks_off()
fig

# %% [markdown]
# This is the **curse of dimension**: with 64 times as many points the error falls 28-fold in one dimension, 3.3-fold in ten.
#
# It turns into a question for models.
# A trained head multiplies its scores by one $\beta$, for a context of ten tokens and for one of ten thousand (unless its queries grow longer).
# For a smoother the best bandwidth shrinks by $1000^{1/5} = 3.98$ between the two in one dimension, by $1000^{1/14} = 1.64$ in ten.
# (A ratio near 1 does not make one bandwidth right for both: the noise goes like $h^{-d}$.)
# For a lookup chapter 04 has the rule: all wrong keys together weigh about $N e^{\beta^2/2d}$, the right one $e^\beta$.

# %%
def weight_of_the_right_key(beta, N, d=64):
    return 1 / (1 + N * math.exp(beta**2 / (2 * d) - beta))


for N in (10, 10_000):
    beta = 64 - math.sqrt(64**2 - 2 * 64 * math.log(N))  # half of the weight
    weights = [weight_of_the_right_key(beta, keys) for keys in (10, 10_000)]
    print(f"β = {beta:.2f}: {weights[0]:.3f} among 10 keys, {weights[1]:.3f} among 10,000")

# %% [markdown]
# The $\beta$ that suits ten keys finds nothing among ten thousand: the right value is *diluted*, and $\beta$ has to grow about like $\ln N$.
# Scores multiplied by a number times $\ln n$ have been reported to help models in long contexts {cite}`nakanishi2025`.
#
# ## Only the past
#
# Put time on the $x$ axis, and let a smoother see only what has been: a **one-sided** kernel.
# That is what a causal mask does to a kernel whose coordinate is time.
#
# Take the exponential kernel, $e^{-(i-j)/h}$ for a value $i-j$ steps ago.
# As attention it needs a single channel: the query is 1, the key is the time $j$, and what depends on $i$ cancels.
# It is known under another name.
#
# *In words:* [running means](mathematics.ipynb#Running-means).

# %%
T, decay = 60, 0.8
time = torch.arange(T, dtype=torch.float64)[:, None]
generator = torch.Generator().manual_seed(0)
noise = torch.randn(T, 1, dtype=torch.float64, generator=generator)
series = time.clamp(20, 40) / 10 + 0.15 * noise
h = -1 / math.log(decay)  # a step back costs the factor 0.8
smoothed = nadaraya_watson(time, time, series, h, "exponential", mask=causal_mask(T))
looked_up = attention(torch.ones_like(time), time, series, causal_mask(T), scale=1 / h)

mean, weight, averaged = 0.0, 0.0, []
for value in series:
    mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
    averaged.append(mean / weight)  # the correction for a short past, Adam's too
assert torch.allclose(smoothed, torch.stack(averaged), rtol=0, atol=1e-12)
assert torch.allclose(smoothed, looked_up, rtol=0, atol=1e-12)
print("one-sided smoother = attention with a clock = exponential moving average")

# %% [markdown]
# :::{two-views}
# - **As a lookup.**
#   A key has a time on it, and the later it is, the higher its score.
# - **As a smoother.**
#   The kernel has one side: $e^{-(i-j)/h}$ for the past, 0 for the future.
# :::
#
# A position bias that falls in a straight line with the distance, as in ALiBi {cite}`press2022`, is this average with the content of the tokens put on top.

# %% tags=["hide-input"] alt="A noisy series that is flat, rises and is flat again: the one-sided moving average is smooth but runs to the right of the rise, late by about four steps"
both_sides = nadaraya_watson(time, time, series, h / 2, "exponential")
behind = (time.clamp(20, 40) / 10 - smoothed)[28:41].mean() * 10
assert 3 < behind < 4.5
fig, ax = figure()
ax.plot(time, series, "o", color=COLORS["QUIET"], markersize=4)
ax.plot(time, both_sides, color=COLORS["CYCLE"][2], label="past and future")
ax.plot(time, smoothed, color=COLORS["SMOOTHER"], label="only the past")
ax.set(title="A mean of the past is late", xlabel="time", ylabel="value")
ax.legend()
fig

# %% [markdown]
# On the slope the one-sided mean is behind by nearly four steps: it reports what was true at the mean age of what it averages.
#
# Most heads compare contents, though, and there the same mask is no side: it chooses *which* keys are seen, and what came earlier may lie all around the query.
#
# (at-the-edge)=
# ## At the edge
#
# Being late is one case of something general.
# Where all neighbors are on one side, the mean describes where the neighbors lie, and not $x$.
# In the middle of evenly spread data the errors of the left and the right cancel, and the bias is $\frac12 h^2 f''$ to leading order.
# (Where the density $p$ of the points changes, more neighbors lie on the denser side, which adds the *design bias* $h^2 f' p'/p$.)
# At the boundary nothing cancels, and for the Gaussian it is $\sqrt{2/\pi}\, h f'$: not $h^2$, but $h$.
#
# There is a cure.
# Instead of a weighted mean, the best constant nearby, take the best *line* nearby, and read it off at $x$ {cite}`fan1992`.
#
# *In words:* [orders of size](mathematics.ipynb#Orders-of-size), [least squares](mathematics.ipynb#Least-squares).

# %% tags=["quote"]
from tinyllm.smoothing import local_linear

# %% [markdown]
# Without noise, so that only the bias is left, on a curve with slope 3 at the edge:

# %% alt="Bias against bandwidth on two logarithmic axes: in the middle both smoothers fall with slope 2, at the edge the mean falls with slope 1 along its predicted line and the local line with slope 2"
def slanted(x):
    return torch.sin(2 * x) + x**2 + x


dense = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
hs = torch.tensor([0.01, 0.014, 0.02, 0.028, 0.04], dtype=torch.float64)
smoothers = (nadaraya_watson, "mean", "o-", 5), (local_linear, "line", "s--", 10)
fig, ax = figure()
for place, where in ((0.0, "edge"), (0.5, "middle")):
    query = torch.tensor([[place]], dtype=torch.float64)
    for smoother, name, marker, size in smoothers:
        estimates = [smoother(query, dense, slanted(dense), h) for h in hs]
        bias = (torch.stack(estimates) - slanted(query)).abs().flatten()
        slope = ((bias[-1] / bias[0]).log() / (hs[-1] / hs[0]).log()).item()
        assert abs(slope - (1 if (where, name) == ("edge", "mean") else 2)) < 0.1
        if (where, name) == ("edge", "mean"):
            assert torch.allclose(bias, math.sqrt(2 / math.pi) * hs * 3, rtol=0.02)
        color = COLORS["SMOOTHER"] if where == "edge" else COLORS["FLOOR"]
        label = f"{name}, {where}: slope {slope:.2f}"
        size = size + 4 if where == "edge" else size  # three of the four nearly coincide
        ax.loglog(hs, bias, marker, color=color, label=label, lw=1.4,
                  markersize=size, markerfacecolor="none", markeredgewidth=1.6)
ax.set(xlabel="bandwidth h", ylabel="bias",
       title="At the edge a mean is wrong like h, a line like h²")
ax.set_xticks(hs.tolist(), [f"{h:g}" for h in hs.tolist()])
ax.minorticks_off()
ax.legend()
fig

# %% [markdown]
# And with noise, each with its best bandwidth, on five sets of two hundred points:

# %%
def error_at_best(smoother, places, values):
    hs = (0.03, 0.05, 0.08, 0.13, 0.2, 0.3)
    wrong_by = (smoother(at, places, values, h) - slanted(at) for h in hs)
    return min(wrong.square().mean().item() for wrong in wrong_by)


saved = []
for seed in range(5):
    places, values = measure(200, seed)
    values = slanted(places) + (values - curve(places))  # same noise, other curve
    mean = error_at_best(nadaraya_watson, places, values)
    line = error_at_best(local_linear, places, values)
    assert line < mean
    saved.append(mean - line)
print(f"the mean's error is larger by {paired(saved)}")

# %% [markdown]
# Along time, *every* query of a causal model stands at the edge: all its keys are in its past.
# Then why is attention a mean and not a line?
# Look at the weights of the line.
# The estimate is linear in the values, so smoothing the identity matrix gives them away.

# %%
few = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
weights = local_linear(few[:1], few, torch.eye(21, dtype=torch.float64), 0.2)[0]
assert weights.min() < 0 and abs(weights.sum() - 1) < 1e-12
every_other = (f"{weight:.3f}" for weight in weights[:12:2].tolist())
print(f"sum {weights.sum():.3f}; every other weight:", *every_other)

# %% [markdown]
# To point at where the line goes, some measurements need a negative weight.
# No softmax gives one, so no single head is this smoother of its values, whatever its keys and queries are.
# Two heads and a minus sign can do more: chapter 06 takes twice the answer at bandwidth $h$ minus the answer at $\sqrt2\,h$, which cancels the bias $\frac12 h^2 f''$ of the middle.
# At an edge, where the bias goes like $h$, the same two leave $2 - \sqrt2$, or 58.6 %, of it.
# And people have begun to build attention that fits lines {cite}`zuo2025`.
#
# ## What counts as near
#
# So far distance was distance.
# Now let $x$ have ten channels, of which only the first has anything to do with $y$.
#
# Attention does not compare $x$ with $x_j$ but $x W_Q$ with $x_j W_K$.
# Grant the smoother the same, with one matrix for both: distances of $xW$, and $W$ learned by gradient descent on the leave-one-out error.
# Weinberger and Tesauro did that to kernel regression in 2007, ten years before the transformer {cite}`weinberger2007`.

# %%
def wave(x):
    return torch.sin(2 * x[:, :1])  # only the first channel matters


def learned_metric(x, y, h, steps=40):
    W = (torch.eye(x.shape[1], dtype=torch.float64) / h).requires_grad_()
    optimizer = torch.optim.Adam([W], lr=0.15)
    for _ in range(steps):
        estimate = nadaraya_watson(x @ W, x @ W, y, 1.0, leave_one_out=True)
        loss = (estimate - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return W.detach()


def two_smoothers(d, seed):
    """Test errors of one bandwidth and a learned metric, and its share of channel 0."""
    generator = torch.Generator().manual_seed(seed)
    random = partial(torch.randn, dtype=torch.float64, generator=generator)
    x, new = random(200, d), random(500, d)
    y = wave(x) + 0.1 * random(200, 1)
    bandwidths = torch.logspace(-1.3, 0.5, 30).tolist()
    h = bandwidths[loocv(x, y, bandwidths).argmin()]
    W = learned_metric(x, y, h)
    estimates = nadaraya_watson(new, x, y, h), nadaraya_watson(new @ W, x @ W, y, 1.0)
    errors = [(estimate - wave(new)).square().mean() for estimate in estimates]
    return [*errors, W[0].square().sum() / W.square().sum()]


# %% [markdown]
# The experiment: more and more useless channels, three seeds each.

# %% alt="Test error on a logarithmic axis against the number of channels: with one bandwidth it climbs by a factor of almost a hundred, with the learned metric it stays near 0.01"
channels = (1, 2, 4, 10)
runs = [[two_smoothers(d, seed) for seed in range(3)] for d in channels]
runs = torch.tensor(runs)  # (channels, seeds, 3)
fig, ax = figure()
colors = {"one bandwidth": COLORS["FLOOR"], "learned metric": COLORS["SMOOTHER"]}
for i, (name, color) in enumerate(colors.items()):
    low, middle, high = runs[..., i].sort(dim=1).values.unbind(1)  # three seeds
    reach = middle - low, high - middle
    ax.errorbar(channels, middle, reach, marker="o", color=color, label=name)
ax.set(yscale="log", xlabel="channels, of which one matters",
       ylabel="mean squared error on new points",
       title="Useless channels spoil a smoother of one bandwidth")
ax.set_xticks(channels)
ax.legend()
ratio = runs[-1, :, 0] / runs[-1, :, 1]
assert 20 < ratio.min() < ratio.max() < 32 and 0.85 < runs[-1, :, 2].min()
fig

# %% [markdown]
# In ten channels the smoother of one bandwidth is nearly useless: answering 0 has an error of 0.5.
# With a metric the error is some twenty-five times smaller, because the metric has put nine tenths of itself on the channel that matters, and nobody told it which.
#
# **This is what a learned $W$ adds.**
# Which differences count and which do not is in the matrix, and it is where the learning is.
# Here one matrix served queries and keys; what a second one adds this experiment does not show.
#
# ## Chapter 02 was a smoother
#
# The 5-gram of chapter 02 predicts by what came after the same four bytes elsewhere.
# Its contexts are keys, what followed are values, and its kernel is as hard as kernels get: 1 for an exact match, 0 for the rest.
# It mixes in the next shorter contexts, down to none, with what the discounts set aside: its neighborhoods are nested.
#
# Soften it.
# Let two contexts be the nearer, the more of their last bytes agree, and let each further byte that agrees multiply the weight by $e^\beta$.
# One number replaces the discount, and we choose it by leaving one out.

# %%
import numpy as np

from course.data import tales
from tinyllm.counting import NGram

LONGEST = 4


def contexts(text):
    """Each run of LONGEST bytes (N, LONGEST), and the byte that follows it (N,)."""
    text_bytes = torch.tensor(list(text.encode()), dtype=torch.uint8)
    windows = text_bytes.unfold(0, LONGEST + 1, 1)
    return windows[:, :-1], windows[:, -1].long()


def matches(these, those):
    """How many bytes two contexts have in common, counted from the end: (T_q, T_k)."""
    same = torch.ones(len(these), len(those), dtype=torch.bool)
    length = torch.zeros(len(these), len(those), dtype=torch.uint8)
    for i in range(1, LONGEST + 1):
        same &= these[:, None, -i] == those[None, :, -i]
        length += same
    return length.float()


# %% [markdown]
# Is that attention?
# Write a context as a row of ones and zeros, with a channel for every ending that occurs in the text: a one for *its* last byte, one for its last two, and so on.
# The dot product of two such rows is the number of endings they share, which is `matches`.
# And each row has exactly four ones, so all keys have the same length, and the plain Gaussian is exact.

# %%
keys, followers = contexts(tales(30_000, seed=10)[:300])
channels = []
for i in range(1, LONGEST + 1):
    _, ending = torch.unique(keys[:, -i:], dim=0, return_inverse=True)
    channels.append(F.one_hot(ending))
rows = torch.cat(channels, dim=-1).double()  # (T, number of endings)
values, beta = F.one_hot(followers, 256).double(), 2.0
assert torch.equal(rows @ rows.T, matches(keys, keys).double())
looked_up = attention(rows, rows, values, scale=beta)
smoothed = nadaraya_watson(rows, rows, values, bandwidth=beta**-0.5)
assert torch.allclose(looked_up, smoothed, rtol=0, atol=1e-12)
print(f"{rows.shape[1]} channels; lookup at temperature 1/β = smoother of bandwidth 1/√β")

# %% [markdown]
# Now the loss in nats per byte on text that it has not seen, beside models of chapter 02 that see the same four bytes: eight texts, and the differences on the same text.
# Since $\beta$ is chosen, let the 5-gram have the discount that turns out best on the *new* text, too, which is more than it could know.
# (One thousandth is set aside for bytes that never occurred.)

# %%
def context_loss(length, followed, wanted, beta, hidden=None):
    scores = beta * length
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    share = (softmax(scores) * (followed[None, :] == wanted[:, None])).sum(-1)
    return -(0.999 * share + 0.001 / 256).log().mean().item()


ahead = []
for seed in range(8):
    text = tales(30_000, seed=10 + seed)[:20_000]
    new_text = tales(5_000, seed=20 + seed)[:800]
    (keys, followed), (queries, wanted) = contexts(text), contexts(new_text)
    asked = torch.arange(0, len(keys), 200)  # every 200th place of the text itself
    own = asked[:, None] == torch.arange(len(keys))[None, :]
    among = matches(keys[asked], keys)
    beta = min(
        (2.0, 2.5, 3.0, 3.5),
        key=lambda beta: context_loss(among, followed, followed[asked], beta, own),
    )
    soft = context_loss(matches(queries, keys), followed, wanted, beta)
    ids, new_ids = (np.frombuffer(t.encode(), dtype=np.uint8) for t in (text, new_text))
    models = [NGram(ids, 5, 256, kneser_ney=True)]
    models += [NGram(ids, 5, 256, discount) for discount in (0.75, 0.6, 0.8, 0.85, 0.9)]
    losses = [-model.log_prob(new_ids)[LONGEST:].mean() for model in models]
    ahead.append([loss - soft for loss in (losses[1], min(losses[1:]), losses[0])])

# %% [markdown]
# The loss of each model minus that of the kernel:

# %%
ahead = torch.tensor(ahead)  # (texts, models)
names = "5-gram", "5-gram, best discount", "Kneser-Ney 5-gram"
for name, differences in zip(names, ahead.T):
    print(f"{name:21} minus one kernel: {paired(differences)}")
assert (ahead[:, :2] > 0).all() and (ahead[:, 2] < 0).all()  # on each text

# %% [markdown]
# With the same context one kernel is ahead of the 5-gram with one discount, on each of the texts.
# Kneser and Ney's 5-gram beats both, and in the smoother's words one can say what it does: it changes the key weights, so that in the fallback the hundredth copy of a run adds nothing.
# None of them, since all count equal bytes, can find out that `red` and `green` are near each other.
# For that the distance has to be learned, as in the last section: a smoother over millions of contexts, with a trained transformer's distance, improves the predictions of that transformer {cite}`khandelwal2020`.
#
# ## Where this view stops
#
# The identity holds for every head, so "attention is a smoother" is never false.
# It can be idle.
#
# *Nothing to smooth.*
# The theory of smoothing is about noise: average enough neighbors, and accidents cancel.
# The recall head of chapter 04 has nearly all its weight on one key and no noise in its values.
# It is a smoother with one neighbor, and "lookup" says more.
#
# *Two maps.*
# A distance is the same both ways.
# With $W_Q \neq W_K$ a token has one place as a query and another as a key, and *bracket looks for word* does not mean that word looks for bracket.
# The Gaussian is still there, between $xW_Q$ and $x'W_K$ and one channel more; a distance between tokens is not.
#
# *Made-up measurements.*
# In statistics the keys and values come from the world.
# In a model layers compute them, trained so that averaging them is useful.
# What $W_Q$, $W_K$ and $W_V$ should be the smoother takes as given, and that is most of the model.
#
# :::{why-it-works}
# All of this was shown.
# Softmax attention is a Gaussian smoother with key weights, exactly, for any mask; and a plain one in one more dimension.
# How much the key weights matter is no property of a head: rescaling and shifting change it and leave every answer alone.
# The bandwidth can be learned from the data if no point may see its own value, and the noise is independent.
# On a smooth curve the best one shrinks like $n^{-1/(4+d)}$.
# The bias is like $h$ where all neighbors are on one side.
# And a learned metric finds the channel that matters.
# :::
#
# :::{why-it-might}
# That trained heads *use* what a smoother is good at, averaging noise away, is a hypothesis about each head, and this chapter has tested none.
# Why a $\beta$ that grows with the context helps models may be the lookup's reason (dilution) or the smoother's (more points allow a narrower kernel); no experiment here separates them.
# :::
#
# ## What to take along
#
# | as a lookup (04) | as a smoother (05) |
# |---|---|
# | key, value | place, measurement |
# | score $q \cdot k$ | minus half the squared distance, plus half of $\lvert k\rvert^2$ |
# | temperature $\tau$ | squared bandwidth $h^2$ |
# | $\tau \to 0$: the `dict` | $h \to 0$: the nearest neighbor |
# | lengths of keys: part of the score | key weights, or one more channel |
# | causal mask: not there to be found | one-sided kernel, if the coordinate is time |
# | masked diagonal | leave one out |
# | $W_Q$, $W_K$: what counts as a match | which differences count as distance |
#
# Chapter 06 puts both views to work on what neither explains alone: several heads, and several layers.
#
# **Exercises.** [The sheet of this chapter](../exercises/05_attention_as_smoothing.ipynb) asks how late a moving average is, whether two heads are one, and more.
#
# **Further reading.** {cite}`hastie2009`, chapter 6, for smoothers; {cite}`tsai2019` and {cite}`shalizi2023` for attention read as one.
