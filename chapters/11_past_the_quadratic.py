# %% [markdown]
# # Past the quadratic: kernels and memories of fixed size
#
# Multiply three matrices, and it does not matter where the brackets stand.

# %%
import torch

T, d = 16_384, 64
Q, K, V = torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0)).double()
assert torch.allclose((Q @ K.T) @ V, Q @ (K.T @ V))
for brackets, operations in ("(Q Kᵀ) V", 4 * T * T * d), ("Q (Kᵀ V)", 4 * T * d * d):
    print(f"{brackets}: {operations / 1e9:5.2f} billion operations, T = {T:,}, d = {d}")

# %% [markdown]
# With the brackets on the left a table of $T \times T$ numbers is computed, with those on the right one of $d \times d$, whose size does not depend on the length of the text.
# The answers are the same.
#
# Attention has a softmax between the first product and the second, so its brackets cannot move: each score goes through an exponential of its own.
# And a model that reads from left to right has a causal mask there, since $\mathbf Q\,(\mathbf K^{\mathsf T} \mathbf V)$ lets every query see all keys.
# The mask will turn out to be harmless: sums can be [carried along](#fixed-size).
# The softmax is what stands between attention and a cost in proportion to the text.
# Kernel smoothers compare all pairs, too, and statisticians have approximated their kernels for decades.
# Then why do models still pay for all pairs?
#
# :::{admonition} You will be able to
# :class: tip
# - write $e^{q \cdot k}$ as a dot product of features in three ways, and say how many of them a lookup would need;
# - build memories of fixed size that are written by sums, by decay and by the delta rule, and say what each holds and what it does with a key that is bound again;
# - say, with nats, names and ratios of time that were measured, what the quadratic cost buys.
#
# Reading: 75 minutes. Running: a minute and a half, since two small models are trained.
# Whoever is after the memories of fixed size alone can begin [there](#fixed-size): the first section says why they are wanted.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the attention layer and the weights of its several heads marked, the part that this chapter exchanges"
from course.figures import machine_map

machine_map(here="heads")

# %% [markdown]
# The place on the map is that of chapter 06: what is exchanged here is how a head mixes values.
# From there we take attention, from chapter 05 the smoothers, from chapter 07 the model that comes with the book.

# %%
import math
from functools import partial
from itertools import islice

from torch import Tensor
from torch.nn import functional as F

from course.data.tales import SEPARATOR, tell
from course.data.tales_world import BOYS, GIRLS
from course.figures import COLORS, figure
from tinyllm.attention import attention, causal_mask, softmax
from tinyllm.model import load, load_tokenizer
from tinyllm.smoothing import nadaraya_watson

CYCLE = COLORS["CYCLE"]

# %% [markdown]
# (exp-is-a-dot-product)=
# ## The exponential is a dot product
#
# If there were a map $\varphi$ to $m$ numbers with $e^{q \cdot k} = \varphi(q) \cdot \varphi(k)$, the brackets could move.
# The table of $e^{q_i \cdot k_j}$ would be $\varphi(\mathbf Q)\,\varphi(\mathbf K)^{\mathsf T}$, and softmax attention
#
# $$ \frac{\varphi(\mathbf Q)\,\bigl(\varphi(\mathbf K)^{\mathsf T}\,\mathbf V\bigr)}{\varphi(\mathbf Q)\,\bigl(\varphi(\mathbf K)^{\mathsf T}\,\mathbf 1\bigr)}, $$
#
# with a column of ones for the sum of the weights.
# (In this section $q$ and $k$ are divided by $d^{1/4}$ each, so that $q \cdot k$ is the score.)
# The $m$ numbers are called **features**, and there are several ways to get them.
#
# *In words:* [features of a kernel](mathematics.ipynb#Features-of-a-kernel).
#
# **Taylor.**
# $e^{q \cdot k} = 1 + q \cdot k + \tfrac12 (q \cdot k)^2 + \dots$, and each power is a dot product: $(q \cdot k)^2 = \sum_{a,b} (q_a q_b)(k_a k_b)$, so its features are all products of two channels.
# A product and its reverse are equal and can share a feature, with the factor $\sqrt 2$.

# %%
from tinyllm.features import check_channels, check_projections, products

# %% tags=["quote"]
from tinyllm.features import power_features, taylor_features

# %% [markdown]
# By hand: $q = (1, 2)$ and $k = (0.5, 0.25)$ have $q \cdot k = 1$, and $1 + 1 + \tfrac12 = 2.5$, for $e = 2.718$.

# %%
q, k = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.25]])
taylor_features(q), taylor_features(k), taylor_features(q) @ taylor_features(k).T

# %% [markdown]
# Up to the second power that is $1 + d + d(d+1)/2$ features, 561 at $d = 32$; the fourth alone takes 52,360.
#
# No finite number gives $e^{q \cdot k}$ exactly for all $q$ and $k$: a table of $N \times N$ dot products of $m$ features has at most the rank $m$, and that of $e^{q \cdot k}$ over $N$ different keys has the rank $N$.
#
# **Random.**
# Let $\omega$ be a vector of $d$ independent normal numbers.
# The mean of $e^{\omega \cdot x}$ over it is more than 1, since large draws add more than small ones take away:
#
# $$ \mathbb E\, e^{\omega \cdot x} = e^{|x|^2/2} . $$
#
# *In words:* [Gaussian integrals](mathematics.ipynb#Gaussian-integrals).
#
# Put $x = q + k$, and expand $|q + k|^2 = |q|^2 + 2\,q \cdot k + |k|^2$:
#
# $$ e^{q \cdot k} = \mathbb E \underbrace{e^{\omega \cdot q - |q|^2/2}}_{\text{of } q \text{ alone}} \; \underbrace{e^{\omega \cdot k - |k|^2/2}}_{\text{of } k \text{ alone}} $$
#
# Draw $m$ of these $\omega$ and take the mean over them in place of the expectation.
# Each draw gives one feature, which is **positive**; models with such features are called *Performers* {cite}`choromanski2021`.
# By hand, in one dimension: $q = k = 0.5$, so $e^{qk} = e^{0.25} = 1.284$.
# With $\omega = 1$ both have the feature $e^{0.5 - 0.125} = 1.455$, and the product is 2.117; with $\omega = -1$ it is $e^{-0.625} = 0.535$, and the product 0.287.
# The mean of these two draws is 1.202. Over many it is 1.284.
#
# There is an older way {cite}`rahimi2007`.
# The mean of $\cos(\omega \cdot x)$ is $e^{-|x|^2/2}$: waves of random lengths cancel, and the more so the longer $x$ is.
# Put $x = q - k$:
#
# $$ e^{q \cdot k} = e^{|q|^2/2}\, e^{|k|^2/2}\; \mathbb E \cos\bigl(\omega \cdot (q - k)\bigr) $$
#
# And the cosine of a difference is a dot product, $\cos(a - b) = \cos a \cos b + \sin a \sin b$.
# So each $\omega$ gives two **trigonometric** features of $q$, a cosine and a sine, and the same two of $k$.

# %% tags=["quote"]
from tinyllm.features import positive_features, trigonometric_features

# %% [markdown]
# Both estimates of $e^{q \cdot k}$ are right on average: **unbiased**.
# (The weights of a row are not quite: each is such an estimate divided by a sum of them.)
# How much do they vary?
# The square of a positive estimate from one $\omega$ has the mean $e^{-|q|^2-|k|^2}\, \mathbb E\, e^{2\omega \cdot (q+k)} = e^{2|q+k|^2-|q|^2-|k|^2}$.
# Divide by $e^{2 q \cdot k}$, the square of what is wanted: $e^{|q+k|^2}$ is left, and 1 less is the variance.
# For waves $\cos^2 = \tfrac12(1 + \cos 2\,\cdot)$ leads there.
# Relative to $e^{q \cdot k}$ the variance of the estimate from one $\omega$ is
#
# $$ \text{positive: } e^{|q+k|^2} - 1, \qquad \text{waves: } \tfrac12\, e^{|q-k|^2} \bigl(1 - e^{-|q-k|^2}\bigr)^2 . $$
#
# *In words:* [variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation).
#
# Check both, with vectors of length ½ in 16 dimensions that point the same way, at a right angle, and opposite ways.

# %%
def waves_and_positive(angle, m=400_000):
    """Estimates of e^(q·k) from one ω each, relative to it: two times (m,)."""
    q, k = torch.zeros(2, 1, 16, dtype=torch.float64)
    q[0, 0], k[0, 0], k[0, 1] = 0.5, 0.5 * math.cos(angle), 0.5 * math.sin(angle)
    w = torch.randn(m, 16, dtype=q.dtype, generator=torch.Generator().manual_seed(0))
    found = []
    for features in (trigonometric_features, positive_features):
        each = m * (features(q, w) * features(k, w)).view(-1, m).sum(0)
        found.append(each / (q @ k.T).exp().squeeze())
    return *found, (q - k).square().sum(), (q + k).square().sum()


print("            mean, standard error    variance, by the formula")
for name, angle in ("same way", 0), ("right angle", math.pi / 2), ("opposite", math.pi):
    waves, positive, minus, plus = waves_and_positive(angle)
    formulas = minus.exp() * (1 - (-minus).exp()) ** 2 / 2, plus.exp() - 1
    for kind, x, formula in zip(("waves", "positive"), (waves, positive), formulas):
        error = x.std() / math.sqrt(len(x))
        assert (x.mean() - 1).abs() <= 3 * error + 1e-9
        assert torch.allclose(x.var(), formula, rtol=0.05, atol=1e-9)
        variance = f"{x.var():14.3f} {formula:7.3f}"
        print(f"{name:11} {kind:8} {x.mean():.3f} {error:.4f} {variance}")

# %% [markdown]
# The two are opposites.
# Waves are exact where query and key are equal and have a large variance where they are opposed, positive features the reverse.
# Then why did positive ones win?
# Weights are compared *within a row*.
# For a key with a tiny weight the error of the waves is many times that weight, and can be negative.
# So the sum of a row may come out near 0 or below, and dividing by it gives huge weights.
# An estimate that is positive everywhere cannot do that.
# Here are random queries and keys as large as those of a fresh head with $d = 32$, 64 of each, and 256 draws of $\omega$: 256 positive features, or 512 waves.

# %%
def moved(estimate, weights):
    """The share of the weight that the estimate puts elsewhere, for each row."""
    return (estimate - weights).abs().sum(-1) / 2


def from_features(f_q, f_k, mask=1):
    """Weights (..., T_q, T_k) from features of queries and keys."""
    products = (f_q @ f_k.mT) * mask
    return products / products.sum(-1, keepdim=True)


for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 64, 32, dtype=torch.float64, generator=generator) / 32**0.25
    w = torch.randn(256, 32, dtype=q.dtype, generator=generator)
    weights, shares = softmax(q @ k.T), []
    for features in (trigonometric_features, positive_features):
        row = moved(from_features(features(q, w), features(k, w)), weights)
        shares.append(row.median())
    negative = (trigonometric_features(q, w) @ trigonometric_features(k, w).T < 0).double()
    print(f"moved in a typical row: by waves {shares[0]:.1f} times all the weight, "
          f"by positive features {shares[1]:.2f}\n  of it; of the waves' weights "
          f"{negative.mean():.0%} are negative")
    assert shares[0] > 1 > shares[1]

# %% [markdown]
# *Moved* is chapter 05's word for the share of the weight that goes to other keys; with negative weights it can be more than 1.
# (The median over the rows. The mean over rows of something divided by what may be 0 says nothing.)
# Positive features do not explode.
# Neither are they good: they move two fifths of the weight.
#
# ### How many does it take?
#
# Look at the estimate of one weight, divided by that weight.
# It is a mean of $m$ numbers $e^{\omega \cdot (q+k) - |q+k|^2/2}$, and $\omega \cdot (q + k)$ is normal with the standard deviation $s = |q + k|$.
# So $s$ is all that matters, and one can simulate it without a single query.

# %% alt="Median relative error against the number of features on two logarithmic axes, for four sizes of q plus k squared. For one half and two the error falls along straight lines of slope nearly minus one half; for 8 it falls more slowly, and for 16 from near one to a third"
fig, ax = figure()
sizes, slopes = [2**n for n in range(4, 17, 2)], {}
for squared, color in zip((0.5, 2, 8, 16), CYCLE):
    generator = torch.Generator().manual_seed(0)
    s, errors = math.sqrt(squared), []
    for m in sizes:
        z = torch.randn(100, m, dtype=torch.float64, generator=generator)
        errors.append(((s * z - squared / 2).exp().mean(1) - 1).abs().median())
    slopes[squared] = (errors[-1] / errors[0]).log().item() / math.log(sizes[-1] / sizes[0])
    ax.loglog(sizes, errors, "o-", color=color, markersize=4)
    ax.annotate(f"{squared:g}, slope {slopes[squared]:.2f}", (90_000, errors[-1]),
                color=color, va="center")
ax.set(xlabel="features m", ylabel="median error, relative to the weight", xlim=(12, 3e6))
ax.set_xticks([16, 256, 4096, 65_536], ["16", "256", "4,096", "65,536"])
ax.minorticks_off()
ax.set_title("Errors fall like 1/√m once m is large against e^|q + k|²")
assert abs(slopes[0.5] + 0.5) < 0.05 and slopes[16] > -0.2
fig

# %% [markdown]
# At $|q+k|^2 = 16$ an estimate from 256 features is typically short of most of the weight, and one from 65,536 still misses it by a third.
# It is unbiased all the same: half of the mean comes from draws with $\omega \cdot (q+k) > 16$, four standard deviations out, and there is one of them in thirty thousand.
#
# What is $|q + k|^2$ in a head?
# With entries of variance 1, divided by $d^{1/4}$, and $q$ independent of $k$, it is about $2d/\sqrt d = 2\sqrt d$.
# The mean of $m$ draws has the relative variance $(e^{|q+k|^2} - 1)/m$; for an error of 10 % (root mean square) that must be 0.01, so $m = 100\,(e^{2\sqrt d} - 1)$.

# %%
for d in (16, 64, 128):
    needed = 100 * (math.exp(2 * math.sqrt(d)) - 1)
    print(f"d = {d:3}: |q+k|² about {2 * math.sqrt(d):4.1f}, "
          f"m = {needed:.0e} for an error of 10 %")

# %% [markdown]
# A billion features at $d = 64$, for one entry of a fresh head.
# In a row of weights the error that all entries share cancels when they are divided by their sum, so the weights need not be as bad as that; how bad they are has to be measured, and is, below.
# Where a key *matches*, $q$ and $k$ point the same way and $|q+k|$ is larger still.
# At given lengths the relative error is smallest for small weights and largest for the keys that match.
#
# :::{two-views}
#
# - **As a lookup.** Each $\omega$ is a question that all keys have answered beforehand; a query says how much each of the $m$ answers counts for it.
# - **As a smoother.** A Gaussian kernel, written as a mean over $m$ products of one factor for each of the two places.
#
# :::
#
# (That the means agree was asserted in the first table: within three standard errors.)
#
# (free-for-softmax)=
# ### Free for softmax, not for the estimate
#
# Chapter 05 found that the lengths of queries and keys [belong to the way a head is written](#not-determined), not to the head.
# Softmax gives the same weights
#
# - for $q A$ with $k A^{-\mathsf T}$, for any invertible $A$, since $A A^{-1}$ changes nothing;
# - for keys that are all shifted by $-c$: a constant in a row cancels;
# - for queries that are all shifted by $-a$, if each key is given the weight $e^{a \cdot k}$ in return, since $q \cdot k = (q - a) \cdot k + a \cdot k$.
#
# All of them (but for a rotation $A$) change $|q + k|^2$, and with it the variance.
# So the same head has another error for each way of writing it.
#
# Take Taleteller's twenty heads, and let `mix` say how they mix values.

# %%
taleteller = load("taleteller").requires_grad_(False)
tokenizer = load_tokenizer("taleteller")


def read(ids, mix):
    """Taleteller's logits (T, V) with `mix(layer, q, k, v)` in place of attention."""
    x, _ = taleteller.position(taleteller.token(ids), slice(len(ids)))
    for layer, block in enumerate(taleteller.blocks):
        heads = mix(layer, *block.attention.heads(block.norm_1(x)))  # (n_head, T, d)
        x = x + block.attention.out(heads.transpose(-3, -2).flatten(-2))
        x = x + block.mlp(block.norm_2(x))
    return taleteller.head(taleteller.norm(x))


def exact(layer, q, k, v):
    return attention(q, k, v, causal_mask(q.shape[-2]))


# %% [markdown]
# With `exact` it is Taleteller; and `mix` can as well look at what passes through it.

# %%
def queries_and_keys(seed, n):
    """Of n tales: for each layer q and k (n, n_head, 256, d), divided by d^(1/4) each."""
    seen = []

    def look(layer, q, k, v):
        seen.append(torch.stack([q, k]).double() / q.shape[-1] ** 0.25)
        return exact(layer, q, k, v)

    for tale in islice(tell(seed), n):
        ids = tokenizer.encode(SEPARATOR + 2 * tale.text)[:256]
        read(torch.tensor(ids), look)
    return torch.stack(seen).unflatten(0, (n, -1)).permute(1, 2, 0, 3, 4, 5)


heads, sample = queries_and_keys(seed=1, n=2), queries_and_keys(seed=2, n=6)
assert torch.allclose(read(torch.arange(90), exact), taleteller(torch.arange(90)), atol=1e-3)
heads.shape  # (layers, q or k, tales, heads, T, d)

# %% [markdown]
# The second sample, of other tales, is for choices; the first is to be estimated.
# Here is one head, the first of layer 3, written in four ways: 256 positive features, three draws.

# %%
def shares(q, k, key_weights=None, m=256, seeds=range(3), adapt=None, orthogonal=False):
    """What an estimate from m features moves, for each draw; q and k are (..., T, d)."""
    mask, found = causal_mask(q.shape[-2]), []
    log_c = 0 if key_weights is None else key_weights.log()[..., None, :]
    weights = softmax(torch.where(mask, q @ k.mT + log_c, -torch.inf))
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        w = random_projections(m, q.shape[-1], orthogonal, generator, q.dtype)
        w, log_weights = (w, 0.0) if adapt is None else data_aware(w, *adapt)
        f_q, f_k = positive_features(q, w, log_weights), positive_features(k, w, log_weights)
        f_k = f_k if key_weights is None else f_k * key_weights[..., None]
        found.append(moved(from_features(f_q, f_k, mask), weights).mean())
    return torch.tensor(found), weights


# %% [markdown]
# The mean query and the mean key come from the other tales.

# %%
from tinyllm.features import data_aware, random_projections

q, k = heads[2, :, :, 0]  # (tales, T, d)
a, c = sample[2, :, :, 0].mean((-3, -2))  # the mean query, the mean key
A = 2.0 * torch.eye(32, dtype=q.dtype)
writings = {
    "as it was": (q, k, None),
    "q A, k A⁻ᵀ with A = 2": (q @ A, k @ A.inverse().mT, None),
    "k - c": (q, k - c, None),
    "q - a, k - c, keys weigh e^(a·k)": (q - a, k - c, (k @ a).exp()),
}
first = shares(q, k)[1]
for name, (q, k, key_weights) in writings.items():
    share, weights = shares(q, k, key_weights)
    assert torch.allclose(weights, first, rtol=0, atol=1e-12)  # softmax: the same
    squared = (q[..., :, None, :] + k[..., None, :, :]).square().sum(-1)
    print(f"{name:33} moved {share.mean():.2f} ± {share.std():.2f}, "
          f"typical |q+k|² {squared[:, causal_mask(256)].median():.0f}")

# %% [markdown]
# Softmax gives the same weights to the twelfth decimal, four times.
# (With three draws of each the other differences between the rows are not beyond doubt; the table below has all heads.)
# In the second row $|q+k|^2$ has more than doubled, and yet no more weight is moved.
# So the formula, which is for one entry, is a guide and not the error of the weights.
#
# One can go further and fit the *draws* to the data.
# The variance comes from rare large $\omega \cdot (q+k)$.
# So draw such $\omega$ more often, from a wider normal distribution, and let each count less in return, by the ratio of the two densities: its square root in the feature of $q$, its square root in that of $k$.
# The mean stays what it was.
# How wide is best can be computed, for each principal direction of $q + k$ (an eigenvector) by itself.
# If $s^2$ is the mean square of $q + k$ along it, take the variance $\tfrac{1+u}{2}$ with $u^2 - (1 + 2s^2)\,u - 2s^2 = 0$: it makes the second moment of the estimate least, in the mean of its logarithm {cite}`likhosherstov2022,likhosherstov2023`.
# By hand: $s^2 = \tfrac34$ gives $u^2 - 2.5\,u - 1.5 = 0$, so $u = 3$, and the variance is 2.

# %% tags=["quote"]
from tinyllm.features import data_aware

# %% [markdown]
# All twenty heads, two tales, and one row more: directions drawn at right angles to each other, $d$ at a time, as Performers do.

# %%
def all_heads(m, centered, fitted, orthogonal=False):
    """What is moved, the mean over layers, for each of two draws."""
    found = []
    for layer in range(5):
        (q, k), (q_s, k_s) = heads[layer], sample[layer].transpose(1, 2).flatten(2, 3)
        key_weights = None
        if centered:
            a, c = q_s.mean(-2, keepdim=True), k_s.mean(-2, keepdim=True)
            key_weights = (k * a).sum(-1).exp()
            q, k, q_s, k_s = q - a, k - c, q_s - a, k_s - c
        adapt = (q_s, k_s) if fitted else None
        found.append(shares(q, k, key_weights, m, range(2), adapt, orthogonal)[0])
    return torch.stack(found).mean(0)


ways = {"as they are": (False, False), "the same, orthogonal": (False, False, True),
        "centered": (True, False), "fitted": (False, True),
        "centered, fitted": (True, True)}
table = {name: [all_heads(m, *way) for m in (64, 256, 1024)] for name, way in ways.items()}
print(f"{'features':22}  64   256  1024")
for name, row in table.items():
    assert max(abs(x[0] - x[1]) for x in row) < 0.05
    print(f"{name:22}", "  ".join(f"{x.mean():.2f}" for x in row))

# %% [markdown]
# (The two draws are within 0.05 of each other everywhere.)
# Right angles bring next to nothing here.
# With 64 features, centered and fitted, as much is moved as with 1,024 of the heads as they are; and 1,024 of them still move more than a quarter of the weight, in heads of 32 channels.
#
# What does that do to the model?
# `bench/features.py` replaces all twenty heads at once, without retraining, with up to 65,536 features for each; this is what it wrote.

# %%
from pathlib import Path

from IPython.display import Markdown

recorded = Path("../bench/features.md").read_text(encoding="utf-8")
rows = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in recorded.splitlines() if line.startswith("|")][2:]
Markdown(recorded.split("\n", 1)[1])

# %% [markdown]
# How much of the rise of the loss with 256 features is left, on names said again and on all other tokens?
# Here it is for the two fitted ways of writing.

# %% tags=["hide-input"] alt="Two panels against the number of features, from 256 to 65,536. Above, on two logarithmic axes, what is left of the rise of the loss: at 4,096 and 16,384 features the lines for names lie clearly above those for other tokens, in both ways of writing, and at 65,536 all are below one tenth. Below, the probability of a name said again rises from near zero and is still below that of softmax at 65,536"
fig, axes = figure(rows=2, height=5.6)
softmax_name = float(recorded.split("said again ")[1].split(".\n")[0])
left_over = {}
for kind, color in ("as they are, fitted", CYCLE[1]), ("centered, fitted", CYCLE[3]):
    mine = [[float(cell.replace(",", "") or "nan") for cell in r[1:]] for r in rows
            if r[0] == kind]
    m, _, more, _, again, _, names, rest = zip(*mine)
    for style, what, y in ("o-", "other tokens", rest), ("s--", "names", names):
        share = [max(part / y[0], 1e-3) for part in y]
        left_over[kind, what] = dict(zip(m, share))
        axes[0].loglog(m, share, style, color=color, label=f"{kind}: {what}", markersize=4)
    axes[1].semilogx(m, again, "o-", color=color, markersize=4)
    assert more[-1] < 0.03 and again[-1] < softmax_name - 0.03
    assert left_over[kind, "names"][4096] > 1.3 * left_over[kind, "other tokens"][4096]
axes[0].set(ylabel="left of the rise at 256")
axes[0].set_title("The loss comes back more slowly on names")
axes[0].set_ylim(0.002, 1.3)
axes[0].set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
axes[0].legend(fontsize=10.4)
axes[1].axhline(softmax_name, color=COLORS["LOOKUP"], linestyle="--", linewidth=1.2)
axes[1].annotate("softmax", (260, softmax_name + 0.03), color=COLORS["LOOKUP"])
axes[1].set(xlabel="features for each head", ylabel="a name said again", ylim=(0, 1))
for ax in axes:
    ax.set_xticks([256, 1024, 4096, 16_384, 65_536],
                  ["256", "1,024", "4,096", "16,384", "65,536"])
    ax.minorticks_off()
fig

# %% [markdown]
# With 4,096 features more than a third of the rise on names is left, and some fifth of that on other tokens; with 65,536 it is two to three hundredths of both, and the mean probability of a name is still below that of softmax.
# **Some 60,000 features for each head come near softmax, on texts of 300 tokens.**
# Softmax itself compares with those 300 keys.
# For these trained heads the approximation is not a way to save anything.
# (Models that are *trained* with random features can keep $q$ and $k$ small, which is to say their kernels wide; that was not tried here.)
#
# Why is it slower on names?
# Sort all queries by how many keys share their weight, chapter 05's effective keys, and look at what 256 features move.

# %%
effective, lost = [], []
for layer in range(5):
    (q, k), mask = heads[layer], causal_mask(256)
    weights = softmax(torch.where(mask, q @ k.mT, -torch.inf))
    w = random_projections(256, 32, generator=torch.Generator().manual_seed(layer)).double()
    estimate = from_features(positive_features(q, w), positive_features(k, w), mask)
    lost.append((estimate - weights).abs().sum(-1)[..., 64:].flatten() / 2)
    effective.append(torch.special.entr(weights).sum(-1).exp()[..., 64:].flatten())
effective, lost = torch.cat(effective), torch.cat(lost)
ends, by_size = (1, 4, 16, 64, 256), []
for low, high in zip(ends, ends[1:]):
    here = (low <= effective) & (effective < high)
    by_size.append(lost[here].mean().item())
    print(f"{low:2} to {high:3} effective keys: {here.double().mean():4.0%} of the queries, "
          f"{by_size[-1]:.2f} moved")
assert by_size[0] > by_size[1] > by_size[2]

# %% [markdown]
# Most queries spread their weight over 16 keys and more, and half of it moves; of the few lookups, with their weight on one to four keys, four fifths.
# (Between heads the difference is smaller, since every head has queries of both kinds. And a mean over other keys may be nearly the same mean; another name is wrong.)
# Here the approximation is worst where a lookup is.
#
# (fixed-size)=
# ## A lookup of fixed size
#
# So give the exponential up.
# Take *any* features, a few of them, let $\varphi(q) \cdot \varphi(k)$ be the weight, and leave it to training to find queries and keys that suit it: **linear attention** {cite}`katharopoulos2020`.
# With a causal mask each token needs the sums over its own past.
# They are carried along, in a **state** $\mathbf M$ of $m \times d_v$ numbers and a vector $z$:
#
# $$ \mathbf M_t = \mathbf M_{t-1} + \varphi(k_t)\,v_t^{\mathsf T}, \qquad z_t = z_{t-1} + \varphi(k_t), \qquad \bar v_t = \frac{\mathbf M_t^{\mathsf T} \varphi(q_t)}{z_t \cdot \varphi(q_t)} $$
#
# *In words:* [outer products](mathematics.ipynb#Outer-products).
#
# :::{drawing}
# ![Above, a cache: each of five tokens adds a key and a value, and the query meets all keys. Below, a state: each token adds its outer product of key and value to the same table M, of which the query reads one mixture of rows](../pages/drawings/memory_of_fixed_size.svg)
#
# A cache grows with the text; a state stays as large as it is, whatever is added.
# :::
#
# (Papers call the state $S$, which in this book is the smoothing matrix.)
# By hand, chapter 05's three tokens, with $\varphi(x) = x$: keys $(1,0)$, $(0,1)$, $(1,1)$ and values 0, 6, 3.
# The first token adds nothing to $\mathbf M$, the second adds 6 to its second row, the third 3 to both: $\mathbf M = (3, 9)$, $z = (2, 2)$.
# The query $(2, 0)$ reads $2 \cdot 3 / (2 \cdot 2) = 1.5$: the weights are 2, 0, 2, and the mean of 0 and 3.

# %%
def one_by_one(q, k, v):
    """Linear attention of features q, k (T, m), one token after the other; v is (T, d_v)."""
    M, z, answers = torch.zeros(k.shape[-1], v.shape[-1]), torch.zeros(k.shape[-1]), []
    for q_t, k_t, v_t in zip(q, k, v):
        M = M + k_t[:, None] * v_t  # write: an outer product
        z = z + k_t
        answers.append(M.T @ q_t / (z @ q_t))  # read
    return torch.stack(answers), M, z


q = torch.tensor([[2.0, 0.0], [1.0, 1.0], [2.0, 0.0]])  # (T=3, m=2)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
v = torch.tensor([[0.0], [6.0], [3.0]])
one_by_one(q, k, v)

# %% [markdown]
# In parallel it is attention without `exp`, and the library's version differs from that of chapter 04 in just this.

# %%
from tinyllm.attention import check_shapes
from tinyllm.linear_attention import decay_matrix, per_token
from tinyllm.windows import distances

# %% tags=["quote"]
from tinyllm.linear_attention import linear_attention

# %% [markdown]
# What kernel is a plain dot product?
# Let queries and keys have length 1 and no negative channels.
# Then $q \cdot k = 1 - \tfrac12 |q - k|^2$, which is the arch of chapter 05, Epanechnikov's kernel $1 - u^2$, with $u = |q - k|/h$ and $h = \sqrt 2$.
# That is the distance of two vectors at a right angle, so no such key is out of reach.
# A power makes it narrower,
#
# $$ (q \cdot k)^p = \bigl(1 - \tfrac12 |q - k|^2\bigr)^p \approx e^{-p\,|q-k|^2/2}, $$
#
# nearly a Gaussian with $h = 1/\sqrt p$, that is $\beta = p$; and it has $\binom{d + p - 1}{p}$ features, about $d^p/p!$ while $p$ is small against $\sqrt d$.
# **Half the bandwidth takes four times the power: among the powers a narrow kernel has a large state.**
#
# *In words:* [kernels](mathematics.ipynb#Kernels), [powers and roots](mathematics.ipynb#Powers-and-roots).

# %%
def unit(n, seed, d=32, positive=False):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return F.normalize(x.abs() if positive else x, dim=-1)


q, k, v = unit(50, 0, 6, positive=True), unit(50, 1, 6, positive=True), unit(50, 2, 3)
mask = causal_mask(50)
smoothed = nadaraya_watson(q, k, v, math.sqrt(2), "epanechnikov", mask=mask)
assert torch.allclose(linear_attention(q, k, v, mask), smoothed, rtol=0, atol=1e-12)
for p in (1, 2, 4):
    f_q, f_k = power_features(q, p), power_features(k, p)
    looked_up = linear_attention(f_q, f_k, v, mask)
    kernel = (1 - torch.cdist(q, k).square() / 2) ** p * mask
    smoothed = kernel / kernel.sum(-1, keepdim=True) @ v
    assert torch.allclose(looked_up, smoothed, rtol=0, atol=1e-10)
    carried = one_by_one(f_q.float(), f_k.float(), v.float())[0]
    assert torch.allclose(carried.double(), looked_up, rtol=0, atol=1e-4)
    print(f"p = {p}: {f_k.shape[-1]:4} features at d = 6, "
          f"{math.comb(31 + p, p):6,} at d = 32")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** A table with $m$ rows, however many entries it gets.
#   An entry adds a part of its value to every row, $\varphi(k)\,v^{\mathsf T}$, and a query takes of each row as much as its own $\varphi(q)$ says.
# - **As a smoother.** Nadaraya and Watson's mean with the kernel $\varphi(q) \cdot \varphi(k)$: $m$ sums are all that has to be kept of the data.
#   With $m$ features at most $m$ keys can be kept apart exactly.
#
# :::
#
# The cell asserts it, for three kernels and the causal mask, and that the sums carried along give the same.
# (A narrow kernel can do with few features: $\cos c\,(q - k)$ has two, a cosine and a sine, and is as narrow as $c$ is large. But it repeats itself, and takes keys for equal that are not.)
# Other choices are $\operatorname{elu}(x) + 1$, which is positive {cite}`katharopoulos2020`, the square of $\max(0, x)$, a second-order Taylor polynomial {cite}`arora2024based` and even powers {cite}`gelada2025`.
#
# (normalized-or-not)=
# ### Normalized, or not
#
# A kernel that can be negative, such as $q \cdot k$ itself, gives sums that may be near 0, and one does not divide by those.
# So a part of these mechanisms leaves the normalization out, and then an answer is a **sum** and no mean.
# Between the two is softmax₁, with $1 + \sum_j e^{s_j}$ in the denominator {cite}`miller2023`.
# Eight keys at right angles, each with the value 1 and $\beta = 6$; ask for one that is stored, for one that is stored twice, for one at a right angle to all, and for one that is opposed to all.

# %% tags=["quote"]
from tinyllm.windows import softmax_one

# %%
keys, one = torch.eye(9)[:8], torch.ones(9, 1)
twice, other = torch.cat([keys, keys[:1]]), torch.eye(9)[8:]
print("            once  twice  right angle  opposed")
WEIGH = {"softmax": softmax, "softmax₁": softmax_one, "sum": lambda s: s / 6}
for name, weigh in WEIGH.items():
    asked = (keys[:1], keys), (keys[:1], twice), (other, keys), (-keys.sum(0), keys)
    once, two, right, opposed = ((weigh(6 * q @ k.T) @ one[: len(k)]).item()
                                 for q, k in asked)
    print(f"{name:10} {once:5.2f}  {two:5.2f}  {right:11.2f}  {opposed:7.2f}")
scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
with_a_zero = torch.cat([scores, torch.zeros(5, 1)], -1)
assert torch.allclose(softmax_one(scores), softmax(with_a_zero)[:, :-1])
assert (softmax_one(scores + 5) - softmax_one(scores)).abs().max() > 0.01

# %% [markdown]
# A mean always returns a mixture of values, here 1.
# A sum returns 0 if the query is at a right angle to all keys, and counts a key twice that is stored twice.
# Softmax₁ is softmax with one key more, of score 0 and value 0, as the first assertion says.
# It returns nearly nothing if all scores are well below $-\log N$, as in the last column, and not yet if they are 0.
# There is a price, the second assertion: adding the same vector to all keys changed nothing in chapter 05; here it does, since the zero score does not move with them.
#
# (chunks)=
# ### Fast to train: chunks
#
# One token after the other is a slow way to train: thousands of small steps.
# All pairs at once are the quadratic cost again.
# Between the two, cut the text into chunks of 64.
# Inside a chunk take all pairs; what came before the chunk is in the state.
#
# The code also lets the state *fade* by a factor $e^{g_t}$ with each token, $g_t \le 0$.
# Such a factor is called a **gate**: old entries lose weight with each token.
# The next section needs it; for now $g = 0$.
#
# *In words:* [running means](mathematics.ipynb#Running-means).

# %%
from tinyllm.linear_attention import carry, check_tokens, cut, first_state, weighted_mean

# %% tags=["quote"]
from tinyllm.linear_attention import linear_chunked

# %% [markdown]
# Parallel, token by token, in chunks, and read in two parts with the state handed over: four ways to one result.

# %%
from tinyllm.linear_attention import linear_recurrent

generator = torch.Generator().manual_seed(0)
q, k = torch.rand(2, 2, 200, 16, dtype=torch.float64, generator=generator)  # 2 heads
v = torch.randn(2, 200, 8, dtype=torch.float64, generator=generator)
g = -0.1 * torch.rand(2, 200, dtype=torch.float64, generator=generator)
wanted = linear_attention(q, k, v, log_gate=g)
assert torch.allclose(linear_recurrent(q, k, v, g)[0], wanted, rtol=0, atol=1e-12)
assert torch.allclose(linear_chunked(q, k, v, g)[0], wanted, rtol=0, atol=1e-12)
(q_1, q_2), (k_1, k_2), (v_1, v_2) = (x.split([150, 50], -2) for x in (q, k, v))
_, state = linear_chunked(q_1, k_1, v_1, g[:, :150])
rest, _ = linear_recurrent(q_2, k_2, v_2, g[:, 150:], state)
assert torch.allclose(rest, wanted[:, 150:], rtol=0, atol=1e-12)
print(f"equal to 1e-12; the state has {state[0].numel()} numbers a head, for any length")

# %% [markdown]
# (how-much-it-holds)=
# ### How much it holds
#
# Chapter 04 filled a softmax memory.
# Fill these, with $N$ random unit keys in 32 dimensions, and ask for each: is the answer nearest to the right one of the $N$ values?
# In a sum with power $p$ the right value comes out with the weight 1.
# Each wrong one adds its $(q \cdot k)^p$, the power of the cosine of a random angle.
# The values are signs, so the wrong ones add up like independent errors: their variances add, to $N\,\mathbb E \cos^{2p}$.
# A random direction in $d$ dimensions has $\mathbb E \cos^2 = 1/d$.
# So in each channel the noise is as large as the answer at
#
# $$ N^* \approx \frac{1}{\mathbb E \cos^{2p}} = \frac{d\,(d+2) \cdots (d + 2p - 2)}{1 \cdot 3 \cdots (2p - 1)} . $$
#
# *In words:* [expectation](mathematics.ipynb#Expectation).
#
# By hand: $d = 32$ and $p = 2$ give $32 \cdot 34/3 = 363$, of 528 features.
# That is not yet where answers fail: with 32 channels to tell $N$ values apart the nearest is mostly right up to about twice $N^*$.

# %%
POWERS = {1: "q·k", 2: "(q·k)²", 4: "(q·k)⁴"}


def noise(p, d=32):
    """The mean of (q·k)^2p over random directions."""
    return math.prod((2 * i + 1) / (d + 2 * i) for i in range(p))


q, k = unit(4000, 0), unit(4000, 1)
for p, name in POWERS.items():
    measured = (q @ k.T).pow(2 * p).mean().item()
    assert abs(measured / noise(p) - 1) < 0.02
    m = math.comb(31 + p, p)
    print(f"{name:6} N* = {1 / noise(p):7,.0f}; state {32 * m:9,} numbers, "
          f"as many as a cache of {m // 2:6,} pairs")

# %% [markdown]
# $N^*$ is all of the features at $p = 1$, two thirds of them at $p = 2$ and a quarter at $p = 4$.
# A cache keeps a key and a value for each pair, 64 numbers here.
# *Constant size* is not *small*: the state of the fourth power is worth a cache of 26,180 pairs.
# Now fill them.

# %%
from tinyllm.features import elu_plus_one

SIZES = (8, 16, 32, 64, 128, 256, 512)
COLOR_OF = {"softmax": COLORS["LOOKUP"], "(q·k)⁴": CYCLE[0], "(q·k)²": CYCLE[1],
            "q·k": CYCLE[2], "sum": CYCLE[2], "elu + 1": CYCLE[3], "delta rule": CYCLE[4],
            "softmax, ALiBi": CYCLE[0], "fading sum": CYCLE[3],
            "fading least squares": CYCLE[1]}


def signs(n, seed, d_v=32):
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(n, d_v, dtype=torch.float64, generator=generator).sign()


def share_right(memory, N, seeds=range(8)):
    """How often the nearest of N values is the right one; memory(q, k, v) answers."""
    found = []
    for seed in seeds:
        k, v = unit(N, seed), signs(N, seed)
        nearest = torch.cdist(memory(k, k, v), v).argmin(-1)
        found.append((nearest == torch.arange(N)).double().mean())
    return torch.stack(found)


# %% [markdown]
# One more memory, and what it holds if the mean value is taken away at writing:

# %%
def elu_memory(q, k, v):
    q, k = (elu_plus_one(x * math.sqrt(x.shape[-1])) for x in (q, k))  # variance 1
    return linear_attention(q, k, v)


for N in (16, 32, 64):
    less = share_right(lambda q, k, v: elu_memory(q, k, v - v.mean(0)), N).mean()
    plain = share_right(elu_memory, N).mean()
    print(f"elu + 1, {N} pairs: right {plain:.2f}; without the mean value {less:.2f}")
    assert less > plain + 0.3

# %% [markdown]
# All of them, up to 512 pairs:

# %% tags=["hide-input"] alt="Share of right answers against the number of stored pairs, 8 to 512: softmax and the fourth power stay at one, the square falls a little after 256, the plain dot product falls from 64 on and is below one tenth at 512, elu plus one is at one fifth at 16 and near zero from 64 on"
MEMORIES = {
    "softmax": partial(attention, scale=math.sqrt(32)),
    "(q·k)⁴": lambda q, k, v: (q @ k.T) ** 4 @ v,
    "(q·k)²": lambda q, k, v: (q @ k.T) ** 2 @ v, "q·k": lambda q, k, v: q @ (k.T @ v),
    "elu + 1": elu_memory,
}
recall = {name: torch.stack([share_right(memory, N) for N in SIZES])
          for name, memory in MEMORIES.items()}
fig, ax = figure(height=3.9)
for name, shares_ in recall.items():
    look = dict(label=name, markersize=4, color=COLOR_OF[name])
    ax.plot(SIZES, shares_.mean(1), "o-", linewidth=5 if name == "softmax" else 2, **look)
    assert shares_.std(1).max() / math.sqrt(8) < 0.07  # the standard error
ax.set(xscale="log", xlabel="pairs stored, N", ylabel="right answers", ylim=(0, 1.05))
ax.set_xticks(SIZES, SIZES)
ax.minorticks_off()
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
ax.set_title("The smaller the state of a power, the sooner it fails")
at = {name: dict(zip(SIZES, shares_.mean(1).tolist())) for name, shares_ in recall.items()}
assert at["softmax"][512] > 0.99 and at["(q·k)⁴"][512] > 0.99 > at["(q·k)²"][512] > 0.5
assert at["q·k"][32] > 0.95 > 0.9 > at["q·k"][64] > 0.7 > at["q·k"][128] > 0.4
fig

# %% [markdown]
# (Means of eight seeds, standard errors below 0.07; $\beta = \sqrt d$ for softmax.)
# Among the powers the order is that of the bandwidth and of the number of features: here one cannot have one without the other.
# The plain dot product is right for nearly all of 32 pairs, its $N^*$, for four fifths at twice that and for less than half at four times.
# $\operatorname{elu}(x) + 1$ does worst, with as many features: they are all positive, so no two keys are at a right angle, and every answer is mostly the mean of all values.
# Take that one vector away, as the cell before did, and most of the difference is gone.
# In this test queries and keys are random; a trained model can arrange for better ones, and the small models [below](#honest-table) will show how far that goes.
# Measured in trained language models, recall is most of what separates models without attention from those with it {cite}`arora2024zoology`, and it grows with the size of the state {cite}`arora2024based`.
#
# (overwriting)=
# ## Writing over what is there
#
# `d["a"] = 1; d["a"] = 2` leaves 2.
# Chapter 04's softmax answered with [the mean of both](#stored-twice); a sum answers $1 + 2 = 3$.
# What would it take for a memory to *over*write?
# It has to look before it writes.
# Read what stands under the key, and write only what is missing:
#
# $$ \mathbf M \leftarrow \mathbf M + \eta\, k\, (v - \mathbf M^{\mathsf T} k)^{\mathsf T} $$
#
# *In words:* [outer products](mathematics.ipynb#Outer-products), [a step downhill](mathematics.ipynb#A-step-downhill).
#
# This is the **delta rule** of Widrow and Hoff, and $v - \mathbf M^{\mathsf T}k$ is the error, the delta {cite}`schlag2021`.
# With $|k| = 1$ and $\eta = 1$ the same key reads exactly $v$ afterward, whatever stood there.
# (Papers write $\beta$ for $\eta$; in this book $\beta$ multiplies scores, and this is a step size.)
# Multiplied out, the old state becomes $\mathbf M - \eta\,k\,(k^{\mathsf T} \mathbf M)$: what stands in the direction of $k$ shrinks, and nothing else.
# After one step the error has the factor $1 - \eta |k|^2$, so for $\eta |k|^2 > 2$ it grows: longer keys need shorter steps.
#
# By hand: $k_1 = (1, 0)$ with the value 1, then $k_2 = (0.6, 0.8)$ with the value 2.
# After the first, $\mathbf M = (1, 0)$.
# Under $k_2$ stands $0.6$ already, so 1.4 is missing, and $\mathbf M = (1, 0) + 1.4 \cdot (0.6, 0.8) = (1.84, 1.12)$.
# Now $k_2$ reads $1.104 + 0.896 = 2$, exactly.
# And $k_1$, which it resembles, reads 1.84: writing disturbs what is near.

# %%
from tinyllm.delta import delta_recurrent

k = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
v, eta = torch.tensor([[1.0], [2.0]]), torch.ones(2)
_, M = delta_recurrent(k, k, v, eta)
before = M.clone().requires_grad_()
new_k, new_v = torch.tensor([0.0, 1.0]), torch.tensor([5.0])
loss = (before.T @ new_k - new_v).square().sum() / 2  # what the memory gets wrong
loss.backward()
_, after = delta_recurrent(new_k[None], new_k[None], new_v[None], 0.3 * eta[:1], state=M)
assert torch.allclose(after, M - 0.3 * before.grad)  # a step of gradient descent
M, k @ M

# %% [markdown]
# The assertion says where the rule comes from: it is **one step of gradient descent**, with learning rate $\eta$, on $\frac12 |\mathbf M^{\mathsf T} k - v|^2$.
# The memory is a linear model that is trained while it reads, and a token is one example.
#
# One formula holds this whole family.
# Let the state fade by $e^{g_t}$ with each token, $g_t \le 0$, and then write:
#
# | | what fades, $g_t$ | what is written |
# |---|---|---|
# | linear attention {cite}`katharopoulos2020` | nothing, 0 | $v_t$ |
# | RetNet {cite}`sun2023` | a constant for each head | $v_t$ |
# | Mamba-2 {cite}`dao2024` | depends on the token | $v_t$ |
# | DeltaNet {cite}`schlag2021,yang2024` | nothing, 0 | $\eta_t \times$ the error |
# | Gated DeltaNet {cite}`yang2025` | depends on the token | $\eta_t \times$ the error |
#
# (Each of these models has more parts than its row; GLA {cite}`yang2024gla` lets each channel fade by itself.)
# The delta rule looks as if it could only go token by token: each error depends on all that was written before.
# But inside a chunk errors depend on errors *linearly*, each on earlier ones only.
# By hand, with $\eta = 1$ and the state $\mathbf M_0$ before the chunk: the first error is $e_1 = v_1 - \mathbf M_0^{\mathsf T} k_1$; the second is $e_2 = v_2 - \mathbf M_0^{\mathsf T} k_2 - (k_1 \cdot k_2)\,e_1$, since the first write added $k_1 e_1^{\mathsf T}$.
# In the example that is $e_1 = 1$ and $e_2 = 2 - 0.6 \cdot 1 = 1.4$, as before.
# For 64 tokens it is a triangular system of 64 equations, which is solved at once {cite}`yang2024`.

# %% tags=["quote"]
from tinyllm.delta import delta_chunked

# %% [markdown]
# Against a loop that is written down from the formula:

# %%
generator = torch.Generator().manual_seed(0)
q, k = unit(2 * 200, 3, 16).view(2, 200, 16), unit(2 * 200, 4, 16).view(2, 200, 16)
v = torch.randn(2, 200, 8, dtype=torch.float64, generator=generator)
eta = torch.rand(2, 200, dtype=torch.float64, generator=generator)
g = -0.1 * torch.rand(2, 200, dtype=torch.float64, generator=generator)
for head in range(2):
    M = torch.zeros(16, 8, dtype=torch.float64)
    answers = []
    for t in range(200):
        M = g[head, t].exp() * M
        M = M + eta[head, t] * torch.outer(k[head, t], v[head, t] - M.T @ k[head, t])
        answers.append(M.T @ q[head, t])
    chunked, state = delta_chunked(q[head], k[head], v[head], eta[head], g[head])
    assert torch.allclose(chunked, torch.stack(answers), rtol=0, atol=1e-12)
    assert torch.allclose(state, M, rtol=0, atol=1e-12)
print("the loop and the chunks: equal to 1e-12")

# %% [markdown]
# ### Bound again
#
# Now the test that chapter 04 began.
# Bind $N$ keys, and then bind all of them again, in another order, to other values.
# Values are vectors of signs; what share of the signs of the *new* value is right?
# A memory that averages old and new is right where both agree, half of the time, and where they differ it guesses: $\tfrac12 + \tfrac14 = \tfrac34$.
#
# Four ways to prefer what came later: *ALiBi* subtracts from each score a number times the distance to the key, so that of two equal keys the later one wins {cite}`press2022`; a gate lets a sum fade, here by 3 % a token; the delta rule; and least squares in which older tokens count less.

# %%
def fading_least_squares(k, v, fade=0.97, ridge=1e-4):
    """M (m, d_v) with the least sum of fade^age |Mᵀk - v|², in closed form."""
    weight = fade ** torch.arange(len(k) - 1, -1, -1, dtype=k.dtype)[:, None]
    gram = (weight * k).T @ k + ridge * torch.eye(k.shape[1], dtype=k.dtype)
    return torch.linalg.solve(gram, (weight * k).T @ v)


def bound_twice(N, seed):
    """Keys (N, d), all that was stored (2N, d), values (2N, d_v), and the new ones."""
    keys, old, new = unit(N, seed), signs(N, seed), signs(N, seed + 500)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    return keys, torch.cat([keys, keys[order]]), torch.cat([old, new[order]]), new


def later_wins(q, k, v):
    scores = 32 * q @ k.T + torch.arange(len(k)) / 8  # ALiBi with the slope 1/8
    return softmax(scores) @ v


def gated_sum(q, k, v):
    fade = torch.full((len(k),), math.log(0.97), dtype=k.dtype)
    return q @ linear_recurrent(k, k, v, fade, normalize=False)[1]


def delta_memory(q, k, v, eta=1.0):
    return q @ delta_chunked(k, k, v, torch.full((len(k),), eta, dtype=k.dtype))[1]


# %% [markdown]
# (The least squares come [below](#fitted-as-it-reads).)

# %% tags=["hide-input"] alt="Share of right signs of the new value against the number of keys that were bound twice, 8 to 64: softmax and the sum stay near three quarters, softmax with ALiBi stays at one, the delta rule falls from 0.96 to below 0.7, a fading sum lies below it for few keys and meets it at 32, and least squares with fading memory stays near one until it falls at 64"
REBOUND = {
    "softmax": partial(attention, scale=32.0), "softmax, ALiBi": later_wins,
    "sum": MEMORIES["q·k"], "fading sum": gated_sum, "delta rule": delta_memory,
    "fading least squares": lambda q, k, v: q @ fading_least_squares(k, v),
}
fig, ax = figure(height=3.9)
rebound = {}
for name, memory in REBOUND.items():
    runs = torch.zeros(4, 8)
    for i, N in enumerate((8, 16, 32, 64)):
        for seed in range(8):
            keys, stored, values, new = bound_twice(N, seed)
            runs[i, seed] = (memory(keys, stored, values).sign() == new).double().mean()
    rebound[name] = runs.mean(1).tolist()
    assert runs.std(1).max() / math.sqrt(8) < 0.02  # the standard error
    look = dict(label=name, markersize=4, color=COLOR_OF[name])
    ax.plot((8, 16, 32, 64), rebound[name], "o-", **look)
ax.set(xscale="log", xlabel="keys bound twice, N", ylabel="right signs of the new value")
ax.set_xticks([8, 16, 32, 64], ["8", "16", "32", "64"])
ax.minorticks_off()
ax.set_ylim(0.6, 1.02)
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
ax.set_title("Softmax averages old and new, unless it is given positions")
fig

# %% [markdown]
# Softmax and the sum are at ¾, as expected of an average.
# With ALiBi, here a penalty of ⅛ per token, the later entry wins.
# The delta rule overwrites without any positions while the keys are few; at 32 keys in 32 dimensions it is no better than the fading sum, since each write disturbs its neighbors.
#
# How much depends on the step.
# Let $\eta$ be small, and old and new count nearly alike: divided by $\eta$, the state becomes the plain sum.
# Here is what each step size does, for pairs that are stored once (right answers, as [above](#how-much-it-holds)) and for keys that are bound twice (right signs).

# %%
print("          stored once             bound twice")
print("pairs       32    64   128          8    16    32")
trade = {}
for eta in ("sum", 0.1, 0.3, 0.5, 0.7, 1.0):
    way = MEMORIES["q·k"] if eta == "sum" else partial(delta_memory, eta=eta)
    held = torch.stack([share_right(way, N) for N in (32, 64, 128)])  # (3, seeds)
    signs_right = torch.zeros(3, 8)
    for i, N in enumerate((8, 16, 32)):
        for seed in range(8):
            keys, stored, values, new = bound_twice(N, seed)
            right = way(keys, stored, values).sign() == new
            signs_right[i, seed] = right.double().mean()
    trade[eta] = held, signs_right
    cells = ["  ".join(f"{x:.2f}" for x in part.mean(1)) for part in trade[eta]]
    print(f"{eta if eta == 'sum' else f'η = {eta}':9} {cells[0]}       {cells[1]}")
more = (trade[0.1][0] - trade["sum"][0]).mean(0)  # of each seed, over the three sizes
error = more.std() / math.sqrt(len(more))
print(f"η = 0.1 minus the sum, stored once: {more.mean():+.3f} (standard error {error:.3f})")
assert trade[0.1][0].mean() > trade["sum"][0].mean() > trade[1.0][0].mean() + 0.15
assert trade[0.7][1].mean() > trade[1.0][1].mean() > trade[0.1][1].mean() > 0.75

# %% [markdown]
# **Overwriting costs capacity with the full step; the step is the trade-off.**
# With $\eta = 0.1$ the rule holds no fewer pairs than the sum, and overwrites little; with $\eta = 1$ it overwrites and holds about half as many.
# For overwriting the full step is not the best either: as soon as keys disturb each other, 0.5 to 0.7 is better.
# In a layer the step is set by each token, $\eta_t$, so training can choose.
#
# (fitted-as-it-reads)=
# ### A smoother that is fitted as it reads
#
# The last line of the figure does not take one step but goes all the way: it is the linear model $\mathbf M$ with the smallest $\sum_j \lambda^{t-j} |\mathbf M^{\mathsf T} k_j - v_j|^2$ over the past.
# Here $\lambda$, a little below 1, is what an example keeps of its weight with each token.
# Statisticians know it as *exponentially weighted least squares*; besides $\mathbf M$ it has to keep a table of $d \times d$ numbers of the keys.
#
# *In words:* [least squares](mathematics.ipynb#Least-squares).
#
# From here all the memories of this chapter are one family {cite}`wang2025`:
#
# | memory | fitted to the past | how |
# |---|---|---|
# | softmax | a constant around the query | exactly |
# | local linear (chapter 05) | a line around the query | exactly |
# | sum | one linear map | as if the keys were at right angles |
# | delta rule | one linear map | one gradient step per token |
# | least squares | one linear map | exactly |
#
# A linear map is the same everywhere; a local mean can follow any curve, but is flat around each query.
# Which fits better is a matter of what is read.
#
# :::{two-views}
#
# - **As a lookup.** A write first reads.
#   A key that is bound again loses its old value, and its neighbors a part of theirs.
# - **As a smoother.** A linear regression that is updated with each example, by one gradient step.
#   It extrapolates with a slope, where a kernel smoother takes a local mean.
#
# :::
#
# That the write *is* the gradient step was asserted [above](#overwriting).
#
# (windows)=
# ## Windows and sinks
#
# There is a cheaper way to a cost that does not grow: look at the last $w$ tokens only.
# A sliding window is a kernel over time of width $w$, multiplied with the kernel over contents, and so are the other masks and biases of this section.
# What does it cost a model that was trained without?
# Read 30 tales with Taleteller, and look at two numbers, the loss and the probability of a **name said again**, where the text says a name that it has said before.

# %% tags=["quote"]
from tinyllm.windows import window_mask

# %%
NAMES = {ids[0] for name in GIRLS + BOYS if len(ids := tokenizer.encode(f" {name}")) == 1}
stories = [(torch.tensor(tokenizer.encode(SEPARATOR + tale.text + SEPARATOR))[:384],
            len(tale.text + SEPARATOR)) for tale in islice(tell(seed=1), 30)]


def judged(mix):
    """Nats per character of each story (30,), and how probable a name said again is."""
    losses, again = [], []
    for ids, size in stories:
        log_p = read(ids[:-1], mix).log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        told = ids.tolist()
        said = [i in NAMES and i in told[:t] for t, i in enumerate(told)][1:]
        losses.append(-log_p.sum() / size)
        again.append(log_p[torch.tensor(said)].exp())
    return torch.stack(losses), torch.cat(again).mean().item()


# %% [markdown]
# Windows of 8 to 256 tokens, in all five layers:

# %%
def masked(window, sinks=0, layers=range(5)):
    def mix(layer, q, k, v):
        T = q.shape[-2]
        near = window_mask(T, window, sinks) if layer in layers else causal_mask(T)
        return attention(q, k, v, near)

    return mix


base, name_again = judged(exact)
WINDOWS = (8, 16, 32, 64, 128, 256)
seen = [judged(masked(window)) for window in WINDOWS]
rise = torch.stack([losses - base for losses, _ in seen])  # (windows, stories)
for window, more, (_, again) in zip(WINDOWS, rise, seen):
    error = more.std() / math.sqrt(len(more))
    print(f"w = {window:3}: {more.mean():+.3f} nats per character (standard error "
          f"{error:.3f}), name {again:.2f}")
print(f"all:     name {name_again:.2f}")
assert rise[3].mean() < 0.05 and seen[3][1] < 0.6 < name_again

# %% [markdown]
# Look at the two columns together.
# A window of 128 tokens costs a hundredth of a nat per character and more than a quarter of the names.
# **A mean over all tokens hides what a lookup is for.**
# That is why the tables of this chapter have a column of names.
#
# Which layers need the whole text?
# First a window in layers 1 to 4 only, then in layer 5 only:

# %%
for name, mix in {"w = 64 in layers 1 to 4": masked(64, layers=range(4)),
                  "w = 64 in layer 5": masked(64, layers=[4]),
                  "w = 64, the first 4 tokens kept": masked(64, sinks=4)}.items():
    losses, again = judged(mix)
    more = losses - base
    error = more.std() / math.sqrt(len(more))
    print(f"{name:31} {more.mean():+.4f} (standard error {error:.4f}), name {again:.2f}")
    assert again > name_again - 0.02 if "1 to 4" in name else again < seen[3][1] + 0.03
on_first = []


def look(layer, q, k, v):
    answer, w = attention(q, k, v, causal_mask(q.shape[-2]), return_weights=True)
    on_first.append(w[:, 64:, :4].sum(-1).mean(-1))  # (n_head,), of queries after the 64th
    return answer


for story, _ in stories:
    read(story, look)
on_first = torch.stack(on_first).view(len(stories), 5, -1).mean(0)  # (layers, heads)
assert on_first.max() < 0.1
print(f"weight of the first 4 tokens: {on_first.max():.2f} at most, in any of the heads")

# %% [markdown]
# The window in layers 1 to 4 loses no names, and the one in layer 5 loses all that the window in every layer does: in this model names are fetched from far in the last layer.
# ([Chapter 12](12_reading_the_heads.ipynb) finds the two heads that do it, both in layer 5.)
# A model that mixes layers of both kinds is called a *hybrid*; models are usually trained as one.
# (Several large models of 2025 mix three layers of a fixed state with one of attention, as [a gallery of architectures](https://sebastianraschka.com/llm-architecture-gallery/hybrid-attention/) shows; in the table below small ones are trained.)
#
# Keeping the first tokens makes little difference here.
# Large models that were trained without a window fail under one until the first few tokens are kept in sight: many of their heads put weight on the first tokens whatever these say, an **attention sink** {cite}`xiao2024`.
# In none of Taleteller's heads do the first four tokens get more than a tenth of the weight: it has no sink there, and other places were not looked at.
# That is a fact about this model and no statement about larger ones.
#
# Now **ALiBi** as a kernel: it is $e^{-\text{slope} \cdot (i - j)}$, chapter 05's one-sided exponential, times the kernel of the contents.
# As a gate it is a constant $g$: RetNet's gate is that of ALiBi, without the softmax.

# %%
from tinyllm.windows import alibi_bias

T, slope = 40, 0.2
generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, T, 8, dtype=torch.float64, generator=generator)
scores = q @ k.T / math.sqrt(8) + alibi_bias(torch.tensor(slope), T).double()
in_time = decay_matrix(torch.full((T,), -slope, dtype=torch.float64))  # a kernel over time
product = (q @ k.T / math.sqrt(8)).exp() * in_time
smoothed = product / product.sum(-1, keepdim=True) @ v
assert torch.allclose(softmax(scores) @ v, smoothed, rtol=0, atol=1e-6)
print("ALiBi: a kernel of contents times a kernel of time")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** A window forgets every entry after $w$ tokens; a bias or a gate makes old entries cheaper to beat.
# - **As a smoother.** The kernel is a product, one factor of the contents and one of the distance in time: a step for a window, a falling exponential for ALiBi and for a constant gate, waves for [RoPE](#rope-kernel).
#
# :::
#
# What each does beyond the length of the training is in the table [below](#honest-table).
#
# (online)=
# ## Exact, and cheaper
#
# Before anything is given up: is the table of $T \times T$ weights ever needed?
# The answer of a query is a sum over keys divided by a sum over keys, and sums can be taken in pieces.
# Only the largest score, which is subtracted so that no exponential overflows, is known only at the end.
# So use the largest *so far*; when a larger one comes, both sums are multiplied by $e^{\text{old} - \text{new}}$: an **online softmax** {cite}`milakov2018`.
# By hand: scores 1, then 3. After the first the largest is 1 and the sum $e^0 = 1$. Then 3 comes: $1 \cdot e^{1-3} + e^0 = 0.135 + 1 = 1.135$, the sum relative to the score 3.

# %% tags=["quote"]
from tinyllm.online_softmax import add_keys

# %% [markdown]
# That is a state, too, of fixed size, for one query; and it is exact.
# Fifteen lines of it are attention over blocks:

# %%
def in_blocks(q, k, v, size=256):
    """Causal attention (..., T, d_v) that never holds more than size × size weights."""
    T, outputs, q = q.shape[-2], [], q / math.sqrt(q.shape[-1])
    for i in range(0, T, size):
        so_far = None
        for j in range(0, i + 1, size):
            scores = q[..., i : i + size, :] @ k[..., j : j + size, :].mT
            if j == i:  # the diagonal block
                n = scores.shape[-1]
                scores = torch.where(causal_mask(n), scores, -torch.inf)
            so_far = add_keys(scores, v[..., j : j + size, :], so_far)
        sums, total, _ = so_far
        outputs.append(sums / total)
    return torch.cat(outputs, -2)


q, k, v = torch.randn(3, 2, 700, 16, generator=torch.Generator().manual_seed(0)).double()
v[..., 300, :] = 5.0
k[..., 500, :] *= 30  # a large score that comes late
assert torch.allclose(in_blocks(q, k, v), exact(0, q, k, v), rtol=0, atol=1e-12)
print("in blocks: equal to 1e-12")

# %% [markdown]
# FlashAttention does this inside a GPU's fast memory, and its backward pass computes the weights again instead of keeping them {cite}`dao2022`.
# PyTorch's `scaled_dot_product_attention` has such a routine for CPUs, too.
# So exact attention needs no table of all pairs, which for one head in 32 bits has 64 MiB at 4,096 tokens and 1 GiB at 16,384; a block of $256 \times 256$ weights has a quarter of a MiB.
# "Random features save memory" is true against the table only: 256 features of all keys are 4 MiB at 4,096 tokens, unless they are made block by block, too.
# What is left to be saved is *time*, and the cache.
#
# (honest-table)=
# ## The honest table
#
# ### Time
#
# `bench/long.py` has recorded how many times as fast as PyTorch's exact attention each is, forward / forward and backward, for four heads of 32 channels on one thread.

# %%
def sections(file):
    """What a benchmark has recorded, by its headings."""
    recorded = Path("../bench", file).read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in recorded.split("\n## ")[1:])
    return {heading: text.strip() for heading, _, text in parts}


def table_of(text):
    """Rows of the last table in a text: (first cell, {column: cell})."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")]
            for line in text.split("\n\n")[-1].splitlines()]
    return [(row[0].strip("| "), dict(zip(rows[0][1:], row[1:]))) for row in rows[2:]]


long = sections("long.md")
ratios = next(long[heading] for heading in long if heading.startswith("Time, d_head 32"))
ratios = ratios.split("\n\n")[-1]
longest = {name: float(cell.split("/")[0]) for name, cell in table_of(ratios)[-1][1].items()}
assert longest["linear, elu + 1"] > longest["delta"] > longest["FAVOR+, 256 features"]
Markdown(ratios)

# %% [markdown]
# The longer the text, the more a state is ahead, in proportion.
# Plain sums are the cheapest; a delta rule takes a few times as long, and 256 random features more than that.
# On short texts there is little to gain, or nothing: where a ratio passes 1 the table shows.
# What else is recorded there, one token more and the memory of a whole process:

# %%
rest = [f"**{heading}**\n\n{long[heading]}" for heading in long
        if heading.startswith(("A token more, d_head 64", "Memory"))]
Markdown("\n\n".join(rest) or "(Neither has been recorded yet.)")

# %% [markdown]
# The cache of keys and values grows with each token, and what a token takes to write grows with it; for a state neither does.
#
# ### Loss, and names
#
# Speed is worth something only if the model is as good.
# So train the same small model with each mixer, on texts in which what has to be looked up is known exactly.

# %%
from course.data import bindings

language = bindings.Language()
ids = bindings.tell(1, 42, seed=4).ids
print(*(language.text(part) for part in ids[0].split(14)), sep="\n")

# %% [markdown]
# A sentence names a role, then whoever has it, then says some words.
# A role keeps its name until a sentence with *now* gives it to somebody else.
# The generator knows the probability of every token, so the *floor*, the lowest loss that is possible, is known exactly; a name that is said again has the probability 1 for whoever looks it up.
# (Whoever guesses among the names that are in force, up to eight, has ⅛ or more.)
#
# Two layers of 64 channels and four heads, 300 steps of 2,048 tokens, Muon as in chapter 08.
# Each key is averaged with the key of the token before (chapter 06's smeared keys), so that a name can be found by the role in front of it.
# In the first half of the training names said again count ten times, so that 300 steps are enough to learn them.
# What is exchanged is the **mixer**, the part of a layer that mixes values; each has positions that we chose for it, ALiBi for softmax and none for the states.

# %%
from tinyllm.model import GPT, Config
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

AGAIN = [bindings.KINDS.index(kind) for kind in ("again", "rebound")]


def said_again(kinds):
    return (kinds == AGAIN[0]) | (kinds == AGAIN[1])


@torch.no_grad()
def scored(model, texts, places=slice(None)):
    """Nats per token above the floor, probability of unchanged names, of changed names."""
    x, y = texts.ids[:, :-1], texts.ids[:, 1:]
    log_p = model(x).log_softmax(-1).gather(-1, y[..., None])[..., 0][:, places]
    nats, kinds = texts.nats[:, 1:][:, places], texts.kinds[:, 1:][:, places]
    names = [log_p.exp()[kinds == kind].mean().item() for kind in AGAIN]
    return (-log_p - nats).mean().item(), *names


# %% [markdown]
# And the training:

# %%
def learn(seed=0, steps=300, batch=16, T=128, **parts):
    """A model with these parts, and what it scored on the way: rows of (step, *scores)."""
    torch.manual_seed(seed)
    size = dict(n_layer=2, n_head=4, d_model=64, conv=2)
    model, curve = GPT(Config(len(language.vocabulary), 4 * T, **size, **parts)), []
    how = TrainConfig(steps, batch, lr=0.03)
    optimizers = make_optimizers(model, how)
    learned, test = bindings.tell(batch * steps, T + 1, seed), bindings.tell(64, T + 1, 1000)
    for step in range(steps):
        ids, _, kinds = (z[batch * step : batch * (step + 1)] for z in learned)
        weights = 1 + 9.0 * said_again(kinds[:, 1:]) if step < steps / 2 else None
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how, weights)
        if (step + 1) % 25 == 0:
            curve.append([step + 1, *scored(model, test)])
    return model, torch.tensor(curve)


# %% [markdown]
# Here are two of them, live.
# Softmax gets ALiBi, so that it *can* know what is later; the delta rule with a gate gets no positions at all.

# %% tags=["hide-input"] alt="Probability of a name said again against the training step for softmax with ALiBi and for the gated delta rule, for roles that have kept their name and, with dashed lines, for roles that have changed it: all rise suddenly between steps 50 and 100; the two lines of the delta rule go to one together, softmax stays below, for long far below after a change"
PAIR = {"softmax, ALiBi": dict(mixer="softmax", positions="alibi"),
        "gated delta rule": dict(mixer="gated_delta", positions="none")}
trained = {name: learn(**parts) for name, parts in PAIR.items()}
fig, ax = figure()
for (name, (_, curve)), color in zip(trained.items(), (COLORS["LOOKUP"], CYCLE[4])):
    step, _, again, changed = curve.T
    ax.plot(step, again, color=color, label=f"{name}, role unchanged")
    ax.plot(step, changed, "--", color=color, label="… after a change")
ax.set(xlabel="step", ylabel="probability of a name said again", ylim=(0, 1.02))
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
ax.set_title("Both find names; after a change softmax lags behind")
middle = {name: curve[5] for name, (_, curve) in trained.items()}  # after 150 steps
assert all(row[2] > 0.9 for row in middle.values())
assert middle["gated delta rule"][3] > middle["softmax, ALiBi"][3] + 0.1
fig

# %% [markdown]
# The end of the training, and texts of 512 tokens, four times as long as any in it.
# (The losses are all within 0.05 nats of the floor.)

# %%
longer = bindings.tell(48, 513, 1000)


def above(p):
    """The largest of a few marks that p has passed."""
    return max(mark for mark in (0, 0.5, 0.8, 0.9, 0.97) if mark < p)


for name, (model, curve) in trained.items():
    far = scored(model, longer, slice(384, None))
    assert max(curve[-1, 1], far[0]) < 0.05  # nats per token above the floor
    for where, (again, changed) in ("1 to 128", curve[-1, 2:]), ("385 to 512", far[1:]):
        print(f"{name:17} at {where:10}: unchanged names above {above(again)}, "
              f"after a change above {above(changed)}")


# %% [markdown]
# Where does the rest of softmax's probability go, after a change?
# Look up which name the role had before.

# %%
def names_before(ids):
    """The name that each token's role had before its present one, or -1: like ids (n, T)."""
    found = torch.full_like(ids, -1)
    for text, row in zip(ids.tolist(), found):
        present, before, role = {}, {}, 0
        for t, id in enumerate(text):
            role = id if id in language.role_ids else role
            if id in language.name_ids:
                if present.get(role, id) != id:
                    before[role] = present[role]
                present[role] = id
                row[t] = before.get(role, -1)
    return found


test = bindings.tell(64, 129, 1000)
changed = test.kinds[:, 1:] == AGAIN[1]
old = names_before(test.ids)[:, 1:][changed]
with torch.no_grad():
    p = trained["softmax, ALiBi"][0](test.ids[:, :-1]).softmax(-1)[changed]  # (n, V)
new = test.ids[:, 1:][changed]
missing = 1 - p.gather(1, new[:, None]).mean()
to_old = p.gather(1, old[:, None]).mean() / missing
assert 0.2 < to_old < 0.6 and 0.03 < missing < 0.15
print("of what the new name lacks, between a fifth and three fifths is on the old one")

# %% [markdown]
# One seed each is an example and no comparison.
# `bench/mixers.py` trains more mixers, with the same texts for the same seed; these rows it has recorded.
# Its column "a name again" is over all names said again, and "after rebinding" over those of roles that have changed.
# (± is the standard deviation over seeds, of which the last column has the number; differences are paired by seed, and their standard error is in parentheses.)

# %%
def without(text, *columns):
    """A recorded section, its table without some of its columns."""
    *before, table = text.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name not in columns]
    lines = ("| " + " | ".join(row[i] for i in kept) + " |" for row in rows)
    return "\n\n".join([*before, "\n".join(lines)])


mixers = sections("mixers.md")
Markdown(without(mixers["Names, at equal tokens"], "weights", "on words"))

# %% [markdown]
# Look at the two rows that were trained here:

# %%
short = dict(table_of(mixers["Names, at equal tokens"]))
for name in "softmax, ALiBi", "gated delta":
    row = short[name]
    print(f"{name:15} after rebinding {row['after rebinding']}, excess {row['excess']}, "
          f"seeds {row['seeds']}")
for column, cell in short["gated delta"].items():
    if " − " in column:
        print(f"gated delta, {column}: {cell}")
found = {name: float(row["after rebinding"].split()[0]) for name, row in short.items()}
assert all(found[name] < found["gated delta"] - 0.03 for name in found if "gated," in name
           and "delta" not in name or name == "gated")
assert found["gated delta"] > found["softmax, ALiBi"] > found["elu+1"] + 0.1
other_rates = mixers["At other rates"]
Markdown(other_rates if table_of(other_rates) else "")

# %% [markdown]
# **After a change of name the gated delta rule is ahead of softmax with ALiBi here.**
# In nats per token the two are within a few thousandths of each other, and how far apart is a matter of the seed and of the learning rate: at twice the rate one of three seeds has them level.
# With more steps softmax comes nearer after a change, too (the row of 600 steps below).
# So what is shown is that softmax learns this later, and not that it cannot.
#
# It is a comparison of two layers, too, and not of two rules.
# In the delta rule's layer queries and keys have length 1, the answer of each head is normed, a projection more gives the step $\eta_t$, and there are no positions; softmax has none of the norms, and ALiBi with slopes that are not trained.
# Rows of the table separate some of this, as far as they were run.
# "Gated" and "gated, QK-norm" have the gate, the norm of the answers and no positions, the second of them normed queries and keys as well, but add where the delta rule corrects.
# After a change they stay well below it, so among the states it is the correction that matters here.
#
# Is it that the delta rule learns sooner?
# At which step, seed by seed, was a name found again with a probability above ½?
# (Looked at every 25 steps.)

# %%
for name, row in table_of(mixers["When the step comes"]):
    if name in ("softmax, ALiBi", "gated delta", "delta", "elu+1"):
        found_by = row["above ½ by step (each seed)"]
        print(f"{name:15} {row['steps']} steps: found by {found_by}; at the end after "
              f"rebinding {row['after rebinding']}")

# %% [markdown]
# The first sight of a name comes at about the same time for softmax and for both delta rules, to one look or so.
# What differs is what comes after.
# For the delta rule changed and unchanged roles rise together: it has overwritten the old name.
# For softmax a role that has changed stays harder than others for long, as the curves above show, and a part of what it gets wrong is the old name.
# (These texts are in favor of overwriting: eight roles are fewer than the 16 channels of a head. With more keys than channels it [may lose](#how-much-it-holds).)
#
# Now the models whose positions have no end, at four times the length of the training:

# %%
far = mixers["At four times the length"]
Markdown(far)

# %% [markdown]
# Careful: at the end of a long text most roles have changed, so "a name again" is another mixture there.
# Take it apart, with the shares of the two kinds in such texts.

# %%
share_changed = {}
for where, places in ("1 to 128", slice(1, 129)), ("385 to 512", slice(385, 513)):
    kinds = longer.kinds[:, places]
    share_changed[where] = ((kinds == AGAIN[1]).sum() / said_again(kinds).sum()).item()
    print(f"{where:10}: {share_changed[where]:.0%} of names said again are of changed roles")
apart = {}
for name, row in table_of(far):
    if name in ("softmax, ALiBi", "gated delta", "elu+1"):
        for where, share in share_changed.items():
            all_, changed = (float(row[f"{what}, {where}"].split()[0])
                             for what in ("a name again", "after rebinding"))
            apart[name, where] = (all_ - share * changed) / (1 - share), changed
            print(f"{name:15} {where:10}: unchanged {apart[name, where][0]:.2f}, "
                  f"changed {changed:.2f}")
assert apart["elu+1", "385 to 512"][1] < apart["elu+1", "1 to 128"][1] < 0.7
assert apart["elu+1", "385 to 512"][0] > apart["elu+1", "385 to 512"][1] + 0.3
assert apart["gated delta", "385 to 512"][1] > 0.95

# %% [markdown]
# A sum that forgets nothing, $\operatorname{elu}(x) + 1$, has a loss on common words as low as the others', and loses names where the role has changed: most of them on short texts, and still more on long ones.
# Most of the drop of its "a name again" is the mixture: what was bound once it still finds.
# Softmax with ALiBi and the gated delta rule nearly keep what they have learned at that length.
#
# Texts that are made for a lookup are not stories.
# On the tales of this book two columns have to be read together again, as with the [windows](#windows): a mixer can have the lower loss and find fewer names.
# Few seeds, and small models that are stopped while names are just being found: this is an example, and no comparison.

# %%
Markdown(mixers.get("Tales", "(Tales were not run.)"))

# %% [markdown]
# The gated delta rule has the lowest loss of the table and has not learned to look a name up; softmax, with either kind of positions, has.
# Whether it would learn it later, and whether that is chance, these runs cannot say.

# %% [markdown]
# (leaks)=
# ## Leaks
#
# A causal model must not see the future, and softmax with its mask sees to that in one place.
# Sums, states, chunks and stabilizers offer more places to get it wrong, and the loss rewards each of them: it falls.
# The test is simple: change the last tokens, and look whether an earlier answer moves.
# Here are three ideas, each with a right and a wrong form.
#
# - Shift the exponents of positive features by the largest of all keys, a **stabilizer**, so that none overflows. Right: it is one factor for all keys, which cancels in the division. Wrong: then add a small number to each feature, as many implementations do. That does not cancel.
# - Chunks that read the state before them, and the pairs inside. Right: [above](#chunks). Wrong: a chunk adds its own tokens to the state *before* it reads.
# - Keys that are centered by the mean of the text. Right for softmax, for which shifts are free; wrong for a sum.

# %%
W = random_projections(64, 32, generator=torch.Generator().manual_seed(0)).double()


def stabilized(q, k, v, eps=0.0):
    f_q = positive_features(q, W)
    exponents = k @ W.T - k.square().sum(-1, keepdim=True) / 2
    f_k = (exponents - exponents.max()).exp() + eps  # the largest of all keys
    return linear_attention(f_q, f_k, v, causal_mask(len(k)))


def careless_chunks(q, k, v, size=64):
    state, outputs = 0, []
    for q_c, k_c, v_c in zip(q.split(size), k.split(size), v.split(size)):
        state = state + k_c.T @ v_c
        outputs.append((q_c @ k_c.T).tril() @ v_c + q_c @ state)
    return torch.cat(outputs)


def centered_sum(q, k, v):
    return linear_attention(q, k - k.mean(0), v, causal_mask(len(k)), normalize=False)


def centered_softmax(q, k, v):
    return attention(q, k - k.mean(0), v, causal_mask(len(k)))


# %% [markdown]
# And three tests: exchange everything from token 128 on; from token 100 on; and the last key alone, for one that has a very large feature.
# Each with twelve draws of the texts, since one draw can be lucky.

# %%
def change(way, t, seed, planted=False):
    """How far answers before token t move, relative to their size, if later ones do."""
    random = partial(torch.randn, dtype=torch.float64,
                     generator=torch.Generator().manual_seed(seed))
    q, k, v, other = random(4, 192, 32) / 32**0.25
    before = way(q, k, v)[:t]
    if planted:
        k[-1] = W[0] / 2
    else:
        k[t:], v[t:] = other[t:], q[t:]
    return ((way(q, k, v)[:t] - before).norm() / before.norm()).item()


caught = {}
print("draws of 12 that show it   from 128  from 100   planted")
for name, way in {"positive, stabilized": stabilized,
                  "... and 1e-6 added": partial(stabilized, eps=1e-6),
                  "chunks": lambda q, k, v: linear_chunked(q, k, v, normalize=False)[0],
                  "chunks, own tokens first": careless_chunks,
                  "keys centered, softmax": centered_softmax,
                  "keys centered, sum": centered_sum}.items():
    caught[name] = [sum(change(way, t, seed, planted) > 1e-10 for seed in range(12))
                    for t, planted in ((128, False), (100, False), (191, True))]
    print(f"{name:25}", *(f"{n:9}" for n in caught[name]))
assert all(sum(caught[name]) == 0 for name in list(caught)[::2])
assert caught["chunks, own tokens first"][0] == 0
assert 0 < caught["... and 1e-6 added"][0] < 12

# %% [markdown]
# (Below $10^{-10}$ it is rounding, and does not count.)
# **A wrong form can pass a test.**
# A cut at the border of a chunk does not find the chunk, in any draw.
# The stabilizer shows only if the largest exponent is among the tokens that were exchanged: with random keys in a part of the draws, with a planted key in all.
# So a test of causality has to cut at every place, repeat, and plant keys that are not typical.
# (Draws or settings that are fitted to the text that is being read leak in the same way: fit them to other texts.)
# (Prompts of unequal length are filled up on the left, and a filling token must add nothing. $\varphi(0) = 1$ for $\operatorname{elu}(x) + 1$, so zeros in place of a key are not nothing. The library's functions take a mask of the keys.)
#
# :::{why-it-works}
#
# Shown: $e^{q \cdot k}$ is a dot product of Taylor features exactly in the limit and of random features on average, with the variances of the formulas.
# A dot product of unit vectors without negative channels is Epanechnikov's kernel at the bandwidth $\sqrt 2$; its powers are narrower, $h = 1/\sqrt p$, and need $\binom{d+p-1}{p}$ features, so of these a narrow one has a large state.
# Linear attention is the same in parallel, token by token and in chunks.
# The delta rule is one gradient step on what the memory gets wrong; with the full step it overwrites and holds fewer pairs for it, with a small one it is nearly a sum.
# Softmax can be added up in blocks, exactly, without the table of all pairs.
#
# :::
#
# :::{why-it-might}
#
# Why the gated delta rule does so well in the small models is not settled by them.
# The texts suit it: a role gets a new name now and then, there are few roles at a time, and what is to be looked up stands beside its key.
# A mixer that overwrites has less to learn than one that has to find out which of two is the later.
# Large models of this kind, several of 2025, use three layers of it to one of softmax.
# That fits this chapter: averages can be kept in the state, exact lookups need the cache.
# Whether it is the reason no experiment here can say.
#
# :::
#
# ## What to take along
#
# | | as a lookup | as a smoother | numbers kept | a key bound again |
# |---|---|---|---|---|
# | softmax | all entries, each its own | Gaussian, as narrow as need be | $2 d\,T$, growing | the mean of both, unless it has positions |
# | random features | softmax, blurred | good where the kernel is wide | $m\,(d_v + 1)$ | the same |
# | power $p$ | a table of about $d^p/p!$ rows | $h = 1/\sqrt p$ | about $d^p/p! \cdot d_v$ | added in a sum, a mean if normalized |
# | a gate | old entries fade | times an exponential of time | $d\,d_v$ | the later weighs more |
# | delta rule | overwrites, by the step $\eta$ | regression, one step per token | $d\,d_v$ | the last, if $\eta\,\lvert k \rvert^2 = 1$ |
# | window | the last $w$ entries | times a step in time | $2d\,w$ | as softmax |
#
# - What a kernel approximation costs depends on how the head is written; what softmax does, does not.
# - The loss can be nearly right and the names all wrong: measure what a lookup is for.
# - Exact attention needs no table of all pairs. What a fixed state saves is time, and the cache.
#
# **Exercises.** [The sheet of this chapter](../exercises/11_past_the_quadratic.ipynb): a state carried from chunk to chunk, a rule that overwrites, a softmax in pieces, and a leak to find.
#
# **Further reading.** {cite}`katharopoulos2020` for the recurrence, {cite}`choromanski2021` for positive features, {cite}`yang2024` for the triangular system, {cite}`wang2025` for all memories as regressions, {cite}`arora2024based` for the trade between the size of a state and recall.
