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
# You looked at the points beside the line, paid little attention to the others, and took something like a mean.
# Nadaraya and Watson wrote down in 1964, each without the other, what your eye did {cite}`nadaraya1964,watson1964`.
# What they wrote down is chapter 04.
#
# :::{admonition} You will be able to
# :class: tip
# - get from the nearest neighbor to a kernel smoother in three steps, and from there to attention in one;
# - say *which* smoother softmax attention is, and what goes wrong if the lengths of the keys are forgotten;
# - let the data choose the width of the kernel, and name what no smoother of this kind can do.
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
# **The nearer, the louder.**
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
[f"{answer[120, 0]:.3f}" for answer in answers]

# %% [markdown]
# At one place they hardly differ.
# Ask at 401 places.

# %% tags=["hide-input"] alt="Three panels over the same points: the nearest neighbor's answer is a staircase with high steps, the moving average has many small steps, the bell gives a smooth curve close to the true one"
fig, axes = figure(rows=3, height=6.6)
titles = (
    "The nearest: a staircase",
    "All within reach: more steps, smaller ones",
    "The nearer, the louder: a curve",
)
for ax, answer, title in zip(axes, answers, titles):
    ax.plot(x, y, "o", color=COLORS["QUIET"], markersize=4)
    ax.plot(at, curve(at), color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
    ax.plot(at, answer, color=COLORS["SMOOTHER"])
    ax.set(title=title, ylabel="y", ylim=(-1.9, 1.9))
axes[-1].set_xlabel("x; the dashed curve is the one that was measured")
steps = [answer.diff(dim=0).abs().nan_to_num(0).max().item() for answer in answers]
assert steps[0] > steps[1] > 3 * steps[2] and answers[1][0].isnan()
fig

# %% [markdown]
# Compare chapter 04: exact match, best match, weighted match.
# There the first two could not be trained, because a step has no useful slope.
# Here they jump, for the same reason.
# And the moving average has a hole at the left end: nobody is within reach, $0/0$, and the `KeyError` is back under the name of `nan`.
# The bell has an answer everywhere.
#
# ## A kernel and a width
#
# The bell is a **kernel** $K$, and the number 0.04 its **bandwidth** $h$: how far "near" reaches, in the units of $x$.
# The estimate of Nadaraya and Watson is a mean of the values, weighted by the kernel:
#
# $$ \hat y(x) = \frac{\sum_j K\!\left(\frac{|x - x_j|}{h}\right) y_j}{\sum_j K\!\left(\frac{|x - x_j|}{h}\right)} $$
#
# The library writes $K$ by its logarithm: then the kernels are scores, and the division by the sum is the softmax of chapter 04.

# %%
from torch import Tensor

from tinyllm.attention import check_shapes

# %% tags=["quote"]
from tinyllm.smoothing import LOG_KERNELS

# %% [markdown]
# First the logarithm of each weight, which is a score as in chapter 04: the distance, and its kernel.
# The rest is checks and two options, which will be used one after the other.

# %% tags=["quote"]
from tinyllm.smoothing import kernel_scores

# %% [markdown]
# Then the smoother itself: scores, weights, a mean of the values.

# %% tags=["quote"]
from tinyllm.smoothing import nadaraya_watson

# %% [markdown]
# By hand: three measurements, at 0, 1 and 3, with the values 0, 6 and 3 that chapter 04 used, and $h = 1$.
# At $x = 1$ the weights are $e^{-1/2} : 1 : e^{-2}$, that is 0.607, 1 and 0.135, with the sum 1.742.
# The answer is $(0.607 \cdot 0 + 1 \cdot 6 + 0.135 \cdot 3) / 1.742$, about 3.68.

# %%
places = torch.tensor([[0.0], [1.0], [3.0]])
measured = torch.tensor([[0.0], [6.0], [3.0]])
nadaraya_watson(torch.tensor([[1.0], [2.0]]), places, measured, bandwidth=1.0)

# %% [markdown]
# Which kernel?
# Epanechnikov worked out, for estimating densities, which is best: not a bell but an arch, $\frac34(1-u^2)$ up to $u=1$ and zero beyond {cite}`epanechnikov1969`.
# (At least one much-read course prints the tent $1-|u|$ under his name; that is the triangular kernel.)
# What is the best shape worth?
# Give each kernel the bandwidth that suits it best, and measure the error against the true curve, on five sets of a hundred points.

# %%
widths = torch.logspace(-2.2, -0.7, 30, dtype=torch.float64).tolist()


def test_error(x, y, h, kernel="gaussian", smoother=nadaraya_watson):
    wrong_by = smoother(at, x, y, h, kernel) - curve(at)
    return wrong_by.square().mean().nan_to_num(torch.inf).item()


five = [measure(100, seed) for seed in range(5)]
for kernel in LOG_KERNELS:
    least = [min(test_error(x, y, h, kernel) for h in widths) for x, y in five]
    best = torch.tensor(least)
    print(f"{kernel:12} {best.mean():.3f} ± {best.std():.3f}")
wide, narrow = (sum(test_error(x, y, h) for x, y in five) / 5 for h in (0.1, 0.01))
print(f"gaussian, three times too wide {wide:.3f}, three times too narrow {narrow:.3f}")
assert wide > 4 * 0.013 and narrow > 2 * 0.013

# %% [markdown]
# The shape hardly matters, the width does.
# So we keep the Gaussian, which has one more virtue that nobody asked of it in 1964.
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
"chapter 04's attention draws the third panel"

# %% [markdown]
# Every Gaussian smoother is an attention head with one more channel.
# And the other way around: is every attention head a Gaussian smoother?
# Solve the same line for the dot product, with $h^2 = \sqrt d$:
#
# $$ e^{q \cdot k / \sqrt d} = \underbrace{e^{|q|^2/2h^2}}_{\text{cancels}} \cdot \underbrace{e^{-|q-k|^2/2h^2}}_{\text{the Gaussian}} \cdot \underbrace{e^{|k|^2/2h^2}}_{\text{does not cancel}} $$
#
# **Softmax attention is Nadaraya-Watson with a Gaussian kernel of bandwidth $d^{1/4}$, in which key $j$ counts $e^{|k_j|^2/2\sqrt d}$ times.**
# That is not an analogy and not an approximation.
# Here is chapter 04's example, which you can still do by hand: its scores are 2, 0 and 2, and $h = 1$.
# The squared distances from the first query to the keys are 1, 5 and 2, the squared lengths of the keys 1, 1 and 2; half of the one minus the other is 0, $-2$ and 0.
# (The scores, less $\frac12|q|^2 = 2$, which cancels.)

# %%
q = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # (T_q=2, d=2)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # (T_k=3, d=2)
v = torch.tensor([[0.0], [6.0], [3.0]])
counts = torch.exp(k.square().sum(-1) / 2)
nadaraya_watson(q, k, v, bandwidth=1.0, key_weights=counts, return_weights=True)

# %% [markdown]
# The same numbers as there, to the last digit.
#
# :::{two-views}
# - **As a lookup.**
#   $w_j \propto e^{q \cdot k_j/\sqrt d}$.
#   A long key is loud: it raises its score with every query that points its way at all.
# - **As a smoother.**
#   $w_j \propto c_j\, e^{-|q-k_j|^2/2\sqrt d}$ with $c_j = e^{|k_j|^2/2\sqrt d}$.
#   Place $k_j$ was measured $c_j$ times, so its value counts $c_j$ times.
# :::
#
# One sentence with two sides, so a machine can check it: against ours and against PyTorch's, on three seeds.

# %%
def counts_of(keys):
    """How many times softmax attention, read as a Gaussian smoother, counts each key."""
    return torch.exp(keys.square().sum(-1) / (2 * math.sqrt(keys.shape[-1])))


for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, 64, 16, dtype=torch.float64, generator=generator)
    for mask in (None, causal_mask(64)):
        smoothed = nadaraya_watson(
            q, k, v, bandwidth=16**0.25, key_weights=counts_of(k), mask=mask
        )
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        assert torch.allclose(smoothed, attention(q, k, v, mask), rtol=0, atol=1e-12)
        assert torch.allclose(smoothed, theirs, rtol=0, atol=1e-12)
"the lookup and the smoother agree to 1e-12, with and without the causal mask"

# %% [markdown]
# (forget-the-lengths)=
# ## Forget the lengths, and see
#
# "Attention is a Gaussian kernel" is said often, and without the counts.
# Is that a detail?
# Take the smoother of the third panel and leave out the extra channel, so that places are compared by dot product alone.

# %% alt="The same points: with the extra channel attention follows the wiggle, without it the answer is nearly everywhere one constant, the value of the rightmost point"
q, k = as_lookup(at, x)
with_channel = attention(q, k, y, scale=1 / h**2)
without = attention(at, x, y, scale=1 / h**2)
assert (without[80:] - y[x.argmax()]).abs().max() < 0.01
fig, ax = figure()
ax.plot(x, y, "o", color=COLORS["QUIET"], markersize=4)
ax.plot(at, with_channel, color=COLORS["SMOOTHER"], label="distances")
ax.plot(at, without, color=COLORS["LOOKUP"], label="dot products")
ax.set(title="By dot product, the longest key answers for all", xlabel="x", ylabel="y")
ax.legend()
fig

# %% [markdown]
# The key at the far right is the longest, so it counts $e^{294}$ times, and nobody else is heard.
# In one dimension with a narrow kernel it could not be worse.
# What about ordinary keys, of many channels, with entries of variance 1?
# Their squared length is $d$, give or take $\sqrt{2d}$.
# So the logarithm of the count, $|k|^2/2\sqrt d$, varies by $\sqrt{2d}\,/\,2\sqrt d = 0.707$: by the same amount at *every* width.
# Before you run it: is 0.707 little or much?

# %%
for d in (4, 16, 64, 256):
    spread, moved, off, off_qk = [], [], [], []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        random = partial(torch.randn, dtype=torch.float64, generator=generator)
        q, k, v = random(64, d), random(256, d), random(256, d)
        exact, weights = attention(q, k, v, return_weights=True)
        plain, plain_weights = nadaraya_watson(q, k, v, d**0.25, return_weights=True)
        spread.append(counts_of(k).log().std())
        moved.append((weights - plain_weights).abs().sum(-1).mean() / 2)
        off.append((exact - plain).abs().max())
        q, k = (math.sqrt(d) * F.normalize(t, dim=-1) for t in (q, k))  # one length
        plain = nadaraya_watson(q, k, v, d**0.25)
        off_qk.append((attention(q, k, v) - plain).abs().max())
    spread, moved, off = (torch.stack(numbers) for numbers in (spread, moved, off))
    assert max(off_qk) < 1e-12
    print(f"d = {d:3}: log counts vary by {spread.mean():.3f}; without them", end=" ")
    print(f"{moved.mean():.3f} ± {moved.std():.3f} moves, worst off by {off.mean():.3f}")

# %% [markdown]
# What moves is the share of the weight that lies on other keys once the counts are left out; the last column is the mean over seeds of the worst error of any output.
# A quarter of the weight goes somewhere else, and it gets no better with more channels.
# The plain claim is false, by a measured amount.
#
# The last lines of the cell make it true.
# Where all keys have the same length, all counts are equal and cancel like $|q|$ did: with QK-norm as it was proposed {cite}`henry2020`, attention *is* a plain Gaussian smoother, and the assertion holds to $10^{-12}$.
# (Many models put a learned gain for each channel behind the norm; then the lengths differ again.)
# Whether a model wants the counts is another matter.
# They let a key say "listen to me" to all queries at once, and training may have a use for that.
#
# In the rendered book you can move what this picture shows: the three keys and the query of the example that you did by hand.
# The area of a disc is the weight of its key, the left half by softmax and the right half by the kernel, whose bandwidth draws the circles around $q$.
# Its keys are stretched to one length at first; their own lengths are a tick away.
#
# :::{live} smoother
# :picture: norms=own
#
# ![Three keys with their own lengths and a query in a plane. The halves of their discs differ: the longest key has the weight 0.468 by softmax and 0.348 by the kernel. Beside it all weights in numbers and as bars, and their difference: 0.120 of the weight.](../pages/live/smoother.png)
#
# With keys of one length the two halves are one disc wherever you put keys and query, and however wide the kernel; with their own lengths they part, and once the kernel counts the keys they are one again.
# :::
#
# (bandwidth-is-temperature)=
# ## How wide?
#
# Attention has no $h$ in its formula, and yet it has one: $h^2 = \sqrt d$, or, with chapter 04's word, $h^2 = T$.
# **The temperature is the square of the bandwidth.**
# Take keys of one length.
# Cold is narrow: at $T \to 0$ the nearest neighbor, which is the `dict`.
# Hot is wide: at $T \to \infty$ the mean of everything.
# Mind the square: a head four times as hot smooths twice as wide.
#
# Of course $h = d^{1/4}$ is no fit for our points: with $d = 1$ it is as wide as the whole picture.
# In a model nobody minds, because $W_Q$ and $W_K$ can shrink or stretch the space until $d^{1/4}$ is the right width in it.
# So the width is learned.
# From what?
#
# Not from how well the smoother explains the points that it has.
# At $h \to 0$ each point looks itself up, and the error is zero: a perfect memory that knows nothing in between.
# The question has to be asked without the answer in view: **leave one out**, predict it from the others, for each in turn.

# %%
from collections.abc import Iterable

# %% tags=["quote"]
from tinyllm.smoothing import loocv

# %% [markdown]
# To a lookup, leaving one out is a mask with a hole for each query's own key: attention with the diagonal masked.
# And nothing has to be computed again for it: if $S_{ii}$ is the weight that point $i$ gives itself, its error without itself is $(y_i - \hat y_i)/(1 - S_{ii})$.

# %%
q, k = as_lookup(x, x)
left_out = nadaraya_watson(x, x, y, h, leave_one_out=True)
others_only = ~torch.eye(len(x), dtype=torch.bool)
looked_up = attention(q, k, y, others_only, scale=1 / h**2)
assert torch.allclose(looked_up, left_out, rtol=0, atol=1e-9)
fitted, S = nadaraya_watson(x, x, y, h, return_weights=True)
without_itself = (y - fitted) / (1 - S.diagonal()[:, None])
assert torch.allclose(without_itself, y - left_out, rtol=0, atol=1e-12)
with_itself, without = (y - fitted).square().mean(), without_itself.square().mean()
f"mean squared error with itself {with_itself:.3f}, without {without:.3f}"

# %% [markdown]
# Now let the bandwidth be learned as everything else in this book is learned: gradient descent, on $\ln h$, so that $h$ stays positive.
# Once with the diagonal masked and once without.

# %%
def learned_width(x, y, leave_one_out=True, steps=100):
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
for seed, (x, y) in enumerate(five):
    searched, learned = fine[loocv(x, y, fine).argmin()], learned_width(x, y)
    unmasked = learned_width(x, y, leave_one_out=False)
    error, least = test_error(x, y, learned), min(test_error(x, y, h) for h in fine)
    assert 0.95 < learned / searched < 1.05 and unmasked < 0.003 and error < 1.5 * least
    print(f"seed {seed}: h searched {searched:.3f}, learned {learned:.3f},", end=" ")
    print(f"unmasked {unmasked:.3f}; error {error:.3f}, least {least:.3f}")

# %% [markdown]
# The first of the five sets as a picture:

# %% tags=["hide-input"] alt="Error against bandwidth on a logarithmic axis: the error with each point in its own mean falls to zero on the left, the leave-one-out error and the error on new points have a common valley, where the learned width lies"
x, y = five[0]
fine = torch.logspace(-3, -0.7, 80, dtype=torch.float64).tolist()
with_itself = [(nadaraya_watson(x, x, y, h) - y).square().mean().item() for h in fine]
left_out = loocv(x, y, fine).tolist()
on_new = [test_error(x, y, h) + 0.3**2 for h in fine]  # new points are noisy, too
learned = learned_width(x, y)
assert with_itself[0] < 0.01
assert test_error(x, y, learned) < 1.5 * (min(on_new) - 0.3**2)
fig, ax = figure()
curves = {"with itself": with_itself, "left out": left_out, "on new points": on_new}
for (name, errors), color in zip(curves.items(), COLORS["CYCLE"][::2]):
    ax.semilogx(fine, errors, label=name, color=color)
ax.axvline(learned, color=COLORS["SMOOTHER"], linestyle="--")
ax.annotate("learned", (1.08 * learned, 0.33), color=COLORS["SMOOTHER"])
ax.set(ylim=(0, 0.4), xlabel="bandwidth h", ylabel="mean squared error",
       title="Leave one out, and the points know how wide")
ax.legend()
fig

# %% [markdown]
# Masked, gradient descent finds what a search finds, to a few percent, and that costs little against the best that the true curve could have told us.
# Unmasked, it runs to zero: the smoother has discovered that the answer is in the room.
#
# You have met that mask.
# A language model that predicts the next token must not see it, and the causal mask is what keeps the answer out of the room.
# (It leaves the diagonal open, since a token is not its own answer: the next one is.)
#
# One more fact about widths, because it turns into a question for models.
# With more points one can afford to be narrower, but how much?
# Bias grows like $h^2$ and variance falls like $1/nh$; the best compromise is $h \propto n^{-1/5}$.
# No chance is needed to check it, since both parts of the error follow from the weights.

# %%
inside = torch.linspace(0.3, 0.7, 81, dtype=torch.float64)[:, None]
candidates = torch.logspace(-2.2, -1.2, 120, dtype=torch.float64).tolist()


def expected_error(n, h):
    """Bias² + variance of the smoother, for n evenly spaced points."""
    places = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    values = curve(places)
    estimate, weights = nadaraya_watson(inside, places, values, h, return_weights=True)
    squared_bias = (estimate - curve(inside)).square().mean()
    variance = 0.3**2 * weights.square().sum(-1).mean()
    return (squared_bias + variance).item()


sizes = (100, 400, 1600)
best = [min(candidates, key=lambda h: expected_error(n, h)) for n in sizes]
slope = math.log(best[-1] / best[0]) / math.log(sizes[-1] / sizes[0])
assert abs(slope + 0.2) < 0.02
f"best widths {[f'{h:.3f}' for h in best]}: they shrink like n to the power {slope:.2f}"

# %% [markdown]
# A trained head has one scale, for a context of ten tokens and for one of ten thousand.
# To a smoother that is a mistake in one of the two.
#
# ## Only the past
#
# Put time on the $x$ axis, and let a smoother see only what has been: a **one-sided** kernel.
# In the smoother's language the causal mask is that and nothing else.
#
# Take the exponential kernel, $e^{-(i-j)/h}$ for a value $i-j$ steps ago.
# As attention it needs a single channel: the query is 1, the key is the time $j$, and what depends on $i$ cancels.
# You have built it, if you gave chapter 04's lookup a clock in its exercises.
# And people who watch prices or losses have it under a third name.

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
"one-sided smoother = attention with a clock = exponential moving average"

# %% [markdown]
# Three programs, one average.
#
# :::{two-views}
# - **As a lookup.**
#   A key has a time on it, and a later one is heard better.
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
# The first exercise asks for the exact number.
#
# (at-the-edge)=
# ## At the edge
#
# Being late is one case of something general.
# Where all neighbors are on one side, their mean is their mean, and not the value here.
# In the middle of evenly spread data the errors of the left and the right cancel, and the bias is $\frac12 h^2 f''$.
# At the boundary nothing cancels, and for the Gaussian it is $\sqrt{2/\pi}\, h f'$: not $h^2$, but $h$.
#
# There is a cure.
# Instead of a weighted mean, the best constant nearby, take the best *line* nearby, and read it off at $x$ {cite}`fan1992`.

# %% tags=["quote"]
from tinyllm.smoothing import local_linear

# %% [markdown]
# Without noise, so that only the bias is left, on a curve with slope 3 at the edge:

# %% alt="Bias against bandwidth on two logarithmic axes: in the middle both smoothers fall with slope 2, at the edge the mean falls with slope 1 along its predicted line and the local line with slope 2"
def slanted(x):
    return torch.sin(2 * x) + x**2 + x


dense = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
hs = torch.tensor([0.01, 0.014, 0.02, 0.028, 0.04], dtype=torch.float64)
smoothers = (nadaraya_watson, "mean", "o-"), (local_linear, "line", "s--")
fig, ax = figure()
for place, where in ((0.0, "edge"), (0.5, "middle")):
    query = torch.tensor([[place]], dtype=torch.float64)
    for smoother, name, marker in smoothers:
        estimates = [smoother(query, dense, slanted(dense), h) for h in hs]
        bias = (torch.stack(estimates) - slanted(query)).abs().flatten()
        slope = ((bias[-1] / bias[0]).log() / (hs[-1] / hs[0]).log()).item()
        assert abs(slope - (1 if (where, name) == ("edge", "mean") else 2)) < 0.1
        if (where, name) == ("edge", "mean"):
            assert torch.allclose(bias, math.sqrt(2 / math.pi) * hs * 3, rtol=0.02)
        color = COLORS["SMOOTHER"] if where == "edge" else COLORS["FLOOR"]
        label = f"{name}, {where}: slope {slope:.2f}"
        ax.loglog(hs, bias, marker, color=color, label=label)
ax.set(xlabel="bandwidth h", ylabel="bias",
       title="At the edge a mean is wrong like h, a line like h²")
ax.set_xticks(hs.tolist(), [f"{h:g}" for h in hs.tolist()])
ax.minorticks_off()
ax.legend()
fig

# %% [markdown]
# And with noise, each with its best bandwidth, on five sets of two hundred points:

# %%
def least_error(smoother, places, values):
    hs = (0.03, 0.05, 0.08, 0.13, 0.2, 0.3)
    wrong_by = (smoother(at, places, values, h) - slanted(at) for h in hs)
    return min(wrong.square().mean().item() for wrong in wrong_by)


for seed in range(5):
    places, values = measure(200, seed)
    values = slanted(places) + (values - curve(places))  # same noise, other curve
    mean = least_error(nadaraya_watson, places, values)
    line = least_error(local_linear, places, values)
    assert line < mean
    print(f"seed {seed}: mean {mean:.4f}, line {line:.4f}")

# %% [markdown]
# Along time, *every* query of a causal model stands at the edge: all its keys are in its past.
# Then why is attention a mean and not a line?
# Look at the weights of the line.
# The estimate is linear in the values, so smoothing the identity matrix gives them away.

# %%
few = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
weights = local_linear(few[:1], few, torch.eye(21, dtype=torch.float64), 0.2)[0]
assert weights.min() < 0 and abs(weights.sum() - 1) < 1e-12
print(f"sum {weights.sum():.3f}", [f"{w:.3f}" for w in weights[:12:2].tolist()])

# %% [markdown]
# To point at where the line goes, some measurements have to be counted *against*.
# No softmax gives a negative weight, so no single head is this smoother, whatever its keys and queries are.
# Chapter 06 needs two heads and a minus sign; and people have begun to build attention that fits lines {cite}`zuo2025`.
#
# ## What counts as near
#
# So far distance was distance.
# Now let $x$ have ten channels, of which only the first has anything to do with $y$.
# Two places that agree in the first channel are near in every sense that matters, and far apart in the other nine.
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
    """Test errors of one width and a learned metric, and its share of channel 0."""
    generator = torch.Generator().manual_seed(seed)
    random = partial(torch.randn, dtype=torch.float64, generator=generator)
    x, new = random(200, d), random(500, d)
    y = wave(x) + 0.1 * random(200, 1)
    widths = torch.logspace(-1.3, 0.5, 30).tolist()
    h = widths[loocv(x, y, widths).argmin()]
    W = learned_metric(x, y, h)
    estimates = nadaraya_watson(new, x, y, h), nadaraya_watson(new @ W, x @ W, y, 1.0)
    errors = [(estimate - wave(new)).square().mean() for estimate in estimates]
    return [*errors, W[0].square().sum() / W.square().sum()]


# %% [markdown]
# The experiment: more and more useless channels, three seeds each.

# %% alt="Test error on a logarithmic axis against the number of channels: with one width it climbs by a factor of almost a hundred, with the learned metric it stays near 0.01"
channels = (1, 2, 4, 10)
runs = [[two_smoothers(d, seed) for seed in range(3)] for d in channels]
runs = torch.tensor(runs)  # (channels, seeds, 3)
fig, ax = figure()
colors = {"one width": COLORS["FLOOR"], "learned metric": COLORS["SMOOTHER"]}
for i, (name, color) in enumerate(colors.items()):
    low, middle, high = runs[..., i].sort(dim=1).values.unbind(1)  # three seeds
    reach = middle - low, high - middle
    ax.errorbar(channels, middle, reach, marker="o", color=color, label=name)
ax.set(yscale="log", xlabel="channels, of which one matters",
       ylabel="mean squared error on new points",
       title="Useless channels blind a smoother of one width")
ax.set_xticks(channels)
ax.legend()
ratio = runs[-1, :, 0] / runs[-1, :, 1]
assert ratio.min() > 15 and runs[-1, :, 2].min() > 0.85
fig

# %% [markdown]
# The right end of the picture in numbers, and where the metric looks:

# %%
print("ten channels, one width:     ", [f"{e:.3f}" for e in runs[-1, :, 0]])
print("ten channels, learned metric:", [f"{e:.3f}" for e in runs[-1, :, 1]])
print("first channel's share in it: ", [f"{share:.2f}" for share in runs[-1, :, 2]])

# %% [markdown]
# In ten channels the smoother of one width is nearly useless: whoever answers 0 to everything has an error of 0.5.
# With a metric the error is some twenty-five times smaller, because the metric has put nine tenths of itself on the channel that matters, and nobody told it which.
#
# **This is what $W_Q$ and $W_K$ add.**
# A kernel and a bandwidth are a way to average.
# What to average *over*, which differences count and which do not, is in the matrices, and it is where the learning is.
#
# ## Chapter 02 was a smoother
#
# The 5-gram of chapter 02 predicts by what came after the same four bytes elsewhere.
# Its contexts are keys, what followed are values, and its kernel is as hard as kernels get: 1 for an exact match, 0 for the rest.
# When nobody is in reach it asks the next shorter context: its bandwidth widens until somebody is.
#
# Soften it.
# Let two contexts be the nearer, the more of their last bytes agree, and let each further byte that agrees multiply the weight by $e^\beta$.
# One number replaces all the discounts, and we choose it by leaving one out.

# %%
import numpy as np

from course.data import tales
from tinyllm.counting import NGram

LONGEST = 6


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
# And each row has exactly six ones, so all keys have the same length, and the plain Gaussian is exact.

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
f"{rows.shape[1]} channels; lookup at temperature 1/β = smoother of bandwidth 1/√β"

# %% [markdown]
# Now the loss on text that it has not seen, beside the models of chapter 02, on three texts.
# (One thousandth is set aside for bytes that never occurred.)

# %%
def context_loss(length, followed, wanted, beta, hidden=None):
    scores = beta * length
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    share = (softmax(scores) * (followed[None, :] == wanted[:, None])).sum(-1)
    return -(0.999 * share + 0.001 / 256).log().mean().item()


for seed in range(3):
    text = tales(30_000, seed=10 + seed)[:20_000]
    new_text = tales(5_000, seed=20 + seed)[:800]
    (keys, followed), (queries, wanted) = contexts(text), contexts(new_text)
    asked = torch.arange(0, len(keys), 100)  # every hundredth place of the text itself
    own = asked[:, None] == torch.arange(len(keys))[None, :]
    among = matches(keys[asked], keys)
    beta = min(
        (1.0, 1.5, 2.0, 2.5, 3.0),
        key=lambda beta: context_loss(among, followed, followed[asked], beta, own),
    )
    soft = context_loss(matches(queries, keys), followed, wanted, beta)
    ids, new_ids = (np.frombuffer(t.encode(), dtype=np.uint8) for t in (text, new_text))
    models = (
        NGram(ids, 3, 256), NGram(ids, 5, 256), NGram(ids, 5, 256, kneser_ney=True)
    )
    losses = (-model.log_prob(new_ids)[LONGEST:].mean() for model in models)
    trigram, fivegram, kneser_ney = losses
    assert soft < trigram and abs(soft - fivegram) < 0.1 and kneser_ney < soft
    print(f"text {seed}: trigram {trigram:.3f}, 5-gram {fivegram:.3f},", end=" ")
    print(f"Kneser-Ney {kneser_ney:.3f}; one kernel, β = {beta}: {soft:.3f}")

# %% [markdown]
# One kernel with one learned number is ahead of the trigram on every text, and side by side with the discounted 5-gram.
# Kneser and Ney's 5-gram beats both, and in smoother's words one can say by what: it changes how often a place *counts*, so that in the fallback the hundredth copy of a run adds nothing.
# Our kernel counts every place once.
# What none of them can do is what no metric on *bytes* can: find out that `red` and `green` are near each other.
# For that the distance has to be learned, as in the last section, and people have done so: a smoother over millions of contexts whose distance comes from a trained transformer, mixed into the predictions of that transformer, improves them {cite}`khandelwal2020`.
#
# ## Where this view stops
#
# The identity holds for every head, so "attention is a smoother" is never false.
# It can be idle, though.
#
# *Nothing to smooth.*
# The theory of smoothing is about noise: average enough neighbors, and accidents cancel.
# The recall head of chapter 04 has nearly all its weight on one key and no noise in its values.
# It is a smoother with one neighbor; the sentence is true, and "lookup" says more.
#
# *Two maps.*
# A smoother measures how far $x$ is from $x'$, the same both ways.
# With $W_Q \neq W_K$ a token has one place as a query and another as a key, and *bracket looks for word* does not mean that word looks for bracket.
# The Gaussian is still there, between $xW_Q$ and $x'W_K$; a distance between tokens is not.
# Chapter 06 shows how far from a distance trained heads are.
#
# *Made-up measurements.*
# In statistics the keys and values come from the world.
# In a model they are computed, by layers that were trained so that averaging them would be useful.
# Which values to hand out, what the next layer makes of the mean, what $W_Q$ and $W_K$ should be: the smoother takes them as given, and they are most of the model.
#
# :::{why-it-works}
# All of this was shown.
# Softmax attention is a Gaussian smoother with counted keys, exactly, for any mask and scale.
# Without the counts it is another smoother; with keys of one length, the plain one.
# Its width can be learned from the data if nobody may see his own answer.
# It is biased like $h$ where all its neighbors are on one side.
# And a learned metric rescues it from channels that do not matter.
# :::
#
# :::{why-it-might}
# That trained heads *use* what a smoother is good at, averaging noise away, is a hypothesis about each head, and this chapter has tested none.
# That one scale for all lengths of context hurts models follows from $n^{-1/5}$ only if their values are noisy samples of something smooth.
# That key lengths carry importance on purpose is likely, and not shown here.
# :::
#
# ## What to take along
#
# | as a lookup (04) | as a smoother (05) |
# |---|---|
# | key, value | place, measurement |
# | score $q \cdot k$ | minus half the squared distance, plus half of $\lvert k\rvert^2$ |
# | temperature $T$ | squared bandwidth $h^2$ |
# | $T \to 0$: the `dict` | $h \to 0$: the nearest neighbor |
# | length of a key: how loud it is | how often the place was measured |
# | causal mask: not there to be found | one-sided kernel: late on every slope |
# | masked diagonal | leave one out |
# | a key stored twice: averaged | two measurements at one place: averaged, of course |
# | $W_Q$, $W_K$: what counts as a match | which differences count as distance |
#
# Read the next-to-last row again.
# What surprised us in the lookup is the whole point of the smoother.
# Chapter 06 puts both views to work on what neither explains alone: several heads, and several layers.
#
# **Exercises.** [The sheet of this chapter](../exercises/05_attention_as_smoothing.ipynb) asks how late a moving average is, what happens when noise doubles, and more.
#
# **Further reading.** {cite}`hastie2009`, chapter 6, for smoothers; {cite}`tsai2019` for attention read as one.
