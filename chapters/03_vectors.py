# %% [markdown]
# # Vectors
#
# Give every word of the `tales` a number, the most frequent word first, and count what follows what.

# %%
import re
from collections import Counter

from course.data import tales


def words_of(text):
    return re.findall(r"[a-z]+(?:['-][a-z]+)*|[^\sa-z]", text.lower())


words = words_of(tales(1_000_000))
by_frequency = [word for word, _ in Counter(words).most_common()]
follows = Counter(zip(words, words[1:]))
place = by_frequency.index("lantern")
for word in (*by_frequency[place - 1 : place + 2], "lanterns"):
    number = by_frequency.index(word) if word in by_frequency else "no id"
    after = Counter({b: n for (a, b), n in follows.items() if a == word})
    likely = dict(after.most_common(3))
    print(f"{number} {word}: {after.total()} times, followed by {likely}")

# %% [markdown]
# The numbers before and after `lantern` have nothing to do with it: an id is a name.
# And `lanterns` never occurs in these stories.
# You can guess how a sentence goes on after `lanterns`.
# The table of chapter 02 cannot: two words have two rows, and nothing that is counted for one row reaches the other.
#
# What would a word have to be, instead of a name, so that what is learned about one helps with those like it?
# *Like* others, more or less.
#
# :::{admonition} You will be able to
# :class: tip
# - train vectors for words in a few seconds, and say after which words they predict better than counts;
# - choose between dot product, cosine and distance, and predict where they disagree;
# - show what attention cannot do without positions, and what a rotation has to do with them.
#
# Reading: 30 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the part that turns ids and positions into vectors marked as this chapter's"
from course.figures import machine_map

machine_map(here="vectors")

# %% [markdown]
# From chapter 02 we need the loss, the batches, and the model that counts.

# %%
import math
import textwrap

import torch
from torch import Tensor
from torch.nn import functional as F

from course.figures import COLORS, figure
from tinyllm.batches import get_batch
from tinyllm.counting import NGram
from tinyllm.loss import cross_entropy

# %% [markdown]
# The text is three million characters of stories; the vocabulary has the words that occur at least twenty times in them.

# %%
words, held_out_words = words_of(tales(3_000_000)), words_of(tales(300_000, seed=1))
kept = [word for word, n in Counter(words).most_common() if n >= 20]
vocabulary = kept + ["<rare>"]
index, V = {word: i for i, word in enumerate(vocabulary)}, len(vocabulary)


def encode(words):
    return torch.tensor([index.get(word, V - 1) for word in words])


ids, held_out = encode(words), encode(held_out_words)
print(f"{len(ids):,} words, {V:,} different ones")

# %% [markdown]
# ## A table with too few numbers
#
# The bigram of chapter 02 was a table of $V \times V$ logits.
# Here that would be millions of cells, nearly all of them empty.
# So do not store the table.
# Give each word a vector $e$ of $C = 32$ numbers for its use as the present word, and another, $w$, for its use as the next one, and let the logit be their dot product:
#
# $$ z_{ij} = e_i \cdot w_j + b_j $$
#
# The rows of $E$, of shape $(V, C)$, are the **embeddings**.
# A table $E W^{\mathsf T}$ has **rank** at most 32: all its rows are mixtures of the same 32 rows, the columns of $W$.
# Two words that are followed by the same words get similar mixtures, and what is learned about one serves the other.
# (Since the best $z_{ij}$ is $\ln p(j \mid i)$ up to a constant for each row, training looks for a table of low rank near $\ln \frac{p(j \mid i)}{p(j)}$, the *pointwise mutual information*, if $b_j$ takes the part $\ln p(j)$. For a close relative of this model, with vectors long enough to fit every cell, that is a theorem {cite}`levy2014`.)
#
# *In words:* [dot product](mathematics.ipynb#Dot-product), [matrix products](mathematics.ipynb#Matrix-products), [inverses and rank](mathematics.ipynb#Inverses-and-rank).
#
# A bigram can only be asked $V$ different questions.
# So there is no need to draw batches: ask all of them in each step (a **full batch**), each weighted by its share $p(i)$ of the text.
# The right answer to question $i$ is the row of shares $p(j \mid i)$ that was counted, and the mean surprise over the whole text is
#
# $$ L = -\sum_i p(i) \sum_j p(j \mid i) \, \ln \operatorname{softmax}(z_i)_j . $$
#
# *In words:* [cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence).


# %%
def table_of(pairs):
    """Pairs i·V + j, counted: shares p(j | i) of each row (V, V), share of each row (V,)."""
    counts = torch.bincount(pairs, minlength=V * V).view(V, V).float()
    rows = counts.sum(-1)
    return counts / rows[:, None].clamp(min=1), rows / rows.sum()


def loss_of(z, p_next, p_word):
    return F.cross_entropy(z, p_next, reduction="none") @ p_word


torch.manual_seed(0)
z, some = torch.randn(V, V), ids[:2000]
in_one_go = loss_of(z, *table_of(some[:-1] * V + some[1:]))
assert torch.isclose(in_one_go, cross_entropy(z[some[:-1]], some[1:]), atol=1e-4)
p_next, p_word = table_of(ids[:-1] * V + ids[1:])
filled = (p_next > 0).sum().item()
print(f"{filled:,} of {V * V:,} cells of the table are not empty: {filled / V**2:.1%}")

# %% [markdown]
# It is the loss of chapter 02, as the assertion says, of the whole text in one step.
# Train from three random beginnings.


# %%
def new_vectors(seed, C=32):
    torch.manual_seed(seed)
    start = (0.1 * torch.randn(V, C), 0.1 * torch.randn(V, C), torch.zeros(V))
    return [x.requires_grad_() for x in start]


def train_vectors(seed, table, steps=40):
    E, W, b = new_vectors(seed)
    # Few steps, and none of them noisy: Adam may forget fast, and the steps shrink to 0.
    optimizer = torch.optim.Adam([E, W, b], lr=0.2, betas=(0.8, 0.9))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    for _ in range(steps):
        loss = loss_of(E @ W.T + b, *table)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return E.detach(), W.detach(), b.detach()


trained = [train_vectors(seed, (p_next, p_word)) for seed in range(3)]

# %% [markdown]
# Against it stands the best bigram that chapter 02 could count, on the same words, scored on the same held-out text.

# %%
x, y = held_out[:-1], held_out[1:]
bigram = NGram(ids.numpy(), 2, V, kneser_ney=True)
counted = -torch.from_numpy(bigram.log_prob(held_out.numpy()))[1:]  # (N,)
surprises = [-(E @ W.T + b).log_softmax(-1)[x, y] for E, W, b in trained]
learned = torch.stack(surprises)  # (seeds, N)
losses = learned.mean(-1)
assert losses.max() < counted.mean()
print(f"counted {counted.mean():.3f}, learned {losses.mean():.3f} ± {losses.std():.3f}")
paired = counted - learned.mean(0)  # of each held-out word, (N,)
pieces = torch.stack(paired.split(200)[:-1]).mean(-1)  # near words are not independent
error = pieces.std() / len(pieces) ** 0.5
print(f"difference {paired.mean():.3f}, standard error {error:.3f}")
n_numbers = sum(part.numel() for part in trained[0])
print(f"{n_numbers:,} numbers; the table has {V * V:,} cells, {filled:,} of them not empty")

# %% [markdown]
# A small gain.
# It does not come from storing less: 139 thousand numbers are a thirtieth of the whole table, but three times as many as its non-empty cells.
# Where does it come from?
# Sort the held-out words by how often the word before them was seen in training.

# %% alt="Nats gained by vectors over counts, against how often the word before was seen in training: about a seventh of a nat for words seen fewer than five hundred times, slightly less than nothing for the most frequent"
seen = torch.bincount(ids, minlength=V)
edges = torch.tensor([20, 50, 150, 500, 1500, 5000, 10**6])
middles, gains = [], []
for low, high in zip(edges, edges[1:]):
    inside = (seen[x] >= low) & (seen[x] < high) & (x < V - 1)
    middles.append(seen[x[inside]].double().log().mean().exp().item())
    gains.append((counted[inside] - learned[:, inside]).mean(-1))
gains = torch.stack(gains)  # (bins, seeds)
assert gains[:3].min() > 0.1 and -0.04 < gains[-1].min() and gains[-1].max() < 0
fig, ax = figure()
ax.axhline(0, color=COLORS["FLOOR"], linestyle="--")
ax.semilogx(middles, gains, "o", color=COLORS["CYCLE"][0])
ax.semilogx(middles, gains.mean(-1), color=COLORS["CYCLE"][0])
ax.set(xlabel="times seen in training", ylabel="nats gained over counting")
ax.set_title("After 40 steps rare words gain, frequent ones lose a little")
fig

# %% [markdown]
# A rare word can profit from what words with similar vectors have shown; a frequent one has counts enough of its own, and loses a hundredth or two of a nat.
# But stopping after 40 steps is itself a way to guess less boldly about rare words, and the picture does not separate the two.
# (Try `steps=120`: the whole gain stays, the rarest words lose most of theirs, and the most frequent gain a little.)
# Bengio and his colleagues proposed sharing in 2003, as a cure for tables that are always too empty {cite}`bengio2003`.
#
# And `lanterns`?
# It has no id, so it has no vector either: vectors share among words that were *seen*.
# What is known about a word that was never seen is its spelling, and the pieces of chapter 01 make use of it: `lantern`, then `s`.
# The model then asks what follows the piece `s`.
# Is that a good guess?
# Take the words that are another word and an `s`, one after the other treat each as unseen, and guess its next words in three ways: from all words, from all *other* words with an `s`, and from the words that these are without their `s`.

# %%
pairs = [(w[:-1], w) for w in kept if w.endswith("s") and w[:-1] in index and len(w) > 3]
i, j = (encode(column) for column in zip(*pairs))
anything = p_word @ p_next  # shares of all words, (V,)
without_s, with_s = (p_word[t, None] * p_next[t] for t in (i, j))  # (words, V)
guesses = {
    "all words": anything.expand(len(j), V),
    "same without s": F.normalize(without_s.sum(0) - without_s, p=1, dim=-1),
    "others with s": F.normalize(with_s.sum(0) - with_s, p=1, dim=-1),
}
surprise = {}
for name, guess in guesses.items():
    # A tenth of each guess is given to all words, so that nothing is impossible.
    surprise[name] = -(p_next[j] * (0.9 * guess + 0.1 * anything).log()).sum(-1)
    better = surprise["all words"] - surprise[name]
    error = better.std() / len(j) ** 0.5
    print(f"{name:14} {surprise[name].mean():.2f} nats, gain {better.mean():+.2f},", end=" ")
    print(f"standard error {error:.2f}")
ahead = surprise["same without s"] - surprise["others with s"]
assert ahead.mean() > 4 * ahead.std() / len(j) ** 0.5
print(f"{len(j)} words, such as {', '.join(vocabulary[t] for t in j[:4])}")

# %% [markdown]
# The row of the piece `s` is a better guess than knowing nothing, by half a nat, and most of that is lost when it is made of the same words without their `s`.
# So the pieces give `lanterns` neighbors.
#
# ## Who is near whom
#
# Vectors can be compared, and there are three usual ways to do it.
#
# :::{drawing}
# ![Three arrows from one origin. Happy and very happy point the same way, one twice as long as the other; lemon points elsewhere, and its tip is nearer to that of happy](../pages/drawings/words_on_a_plane.svg)
#
# Drawn, not measured: a longer vector of the same direction has a cosine of almost 1 and can be farther away than a vector of another direction.
# :::

# %% tags=["quote"]
from tinyllm.vectors import similarity

# %% [markdown]
# Three vectors in the plane show all that can happen.
# Compare $(2, 1)$ with $(6, 0)$, with $(4, 2)$ and with $(1, 1)$, by hand.

# %%
one = torch.tensor([[2.0, 1.0]])
others = torch.tensor([[6.0, 0.0], [4.0, 2.0], [1.0, 1.0]])
for by in ("dot", "cosine", "distance"):
    print(f"{by:9}", *(f"{score:6.3f}" for score in similarity(one, others, by)[0]))

# %% [markdown]
# Each ranks another vector first.
# The dot product ranks $(6, 0)$ first because it is long.
# The cosine ranks $(4, 2)$ first because it points the same way, however long it is.
# The distance ranks $(1, 1)$ first because it ends nearest, wherever it points.
# One line says how the three are related:
#
# $$ |q - k|^2 = |q|^2 + |k|^2 - 2\,q \cdot k, \qquad q \cdot k = |q|\,|k| \cos\theta . $$
#
# For one $q$, ranking by distance is ranking by $q \cdot k - \tfrac12 |k|^2$: a dot product with a penalty on length.
# If all $k$ have one length, all three rankings are the same.
#
# *In words:* [length and distance](mathematics.ipynb#Length-and-distance), [angles and projections](mathematics.ipynb#Angles-and-projections).

# %%
torch.manual_seed(0)
k = F.normalize(torch.randn(50, 8), dim=-1)
for by in ("cosine", "distance"):
    by_dot, other = similarity(k[:1], 3 * k)[0], similarity(k[:1], 3 * k, by)[0]
    assert torch.equal(by_dot.argsort(), other.argsort())
print("one length, one order")

# %% [markdown]
# Trained embeddings do not have one length.
# Five neighbors of a few words, three times.

# %%
E = trained[0][0][: V - 1]  # without <rare>


def neighbors(E, word, by, n=5):
    scores = similarity(E[index[word]][None], E, by)[0]
    scores[index[word]] = -torch.inf  # every word is nearest to itself
    return " ".join(vocabulary[j] for j in scores.topk(n).indices)


for word in ("monday", "soup", "said", "baker", "blissful", "lantern"):
    for by in ("cosine", "distance", "dot"):
        print(f"{word if by == 'cosine' else '':9}{by:9}{neighbors(E, word, by)}")

# %% [markdown]
# Nothing in the training says what a weekday, food or a trade is: words that can stand in each other's place have come to lie in the same direction.
#
# The three do not agree, though.
# Take two kinds of words that we can list ourselves, and count how many of the six nearest are of the same kind.

# %%
KINDS = (
    "monday tuesday wednesday thursday friday saturday sunday".split(),
    "two three four five six seven eight nine ten eleven twelve".split(),
)
members = torch.tensor([index[word] for kind in KINDS for word in kind])
kinds = torch.tensor([number for number, kind in enumerate(KINDS) for _ in kind])
kind_of = torch.full((V - 1,), -1).index_put((members,), kinds)


def of_one_kind(E, by):
    """The share of the six nearest that are of the same kind, and their relative length."""
    E = E[: V - 1]
    scores = similarity(E[members], E, by)
    scores[torch.arange(len(members)), members] = -torch.inf
    near = scores.topk(6).indices  # (members, 6)
    longer = E[near].norm(dim=-1).mean() / E[members].norm(dim=-1).mean()
    return torch.stack([(kind_of[near] == kinds[:, None]).float().mean(), longer])


for by in ("cosine", "distance", "dot"):
    same, longer = torch.stack([of_one_kind(E, by) for E, _, _ in trained]).unbind(-1)
    print(f"{by:9}{same.mean():.2f} ± {same.std():.2f} of the same kind", end=", ")
    print(f"{longer.mean():.2f} times as long")
    assert same.min() > 0.9 if by != "dot" else same.max() < 0.9

# %% [markdown]
# The last column is the reason.
# What the dot product finds is *longer* than the word it starts from: it mixes "points my way" with "is long".
# Cosine and distance hardly differ here, and what they find is about as long as the word.
#
# The dot product is no bad idea: the model was trained on dot products, but on $e_i \cdot w_j$, between a word and a word *to come*.
# The product $e_i \cdot e_j$ is in no loss.
# Used as it was trained, the dot product answers well.

# %%
E, W, b = trained[0]
for word in ("monday", "soup", "once"):
    nearest = (similarity(E[index[word]][None], W)[0] + b).topk(4).indices
    print(f"{word} → {' '.join(vocabulary[j] for j in nearest)}")

# %% [markdown]
# ### What belongs to the model
#
# There is a deeper reason to be careful.
# The model says $z = E W^{\mathsf T} + b$, and nothing else.
# Take any invertible matrix $A$: $E A$ and $W A^{-\mathsf T}$ have the same products, so they are *the same model*, with every probability unchanged.
# Lengths, angles and neighbors among the $e_i$ do change.
# (And a vector $u$ can be added to every $e_i$, if $u \cdot w_j$ is taken from every $b_j$.)
#
# *In words:* [inverses and rank](mathematics.ipynb#Inverses-and-rank).

# %%
def factored_anew(E, W, b):
    A = torch.diag(torch.logspace(-1, 1, 32))  # channels from a tenth to ten times as large
    return E @ A, W @ torch.linalg.inv(A).T, b


again = [factored_anew(*parts) for parts in trained]
for (E, W, b), (E_new, W_new, _) in zip(trained, again):
    assert torch.allclose(E @ W.T + b, E_new @ W_new.T + b, atol=1e-3)
for by in ("cosine", "distance", "dot"):
    before, after = (
        torch.stack([of_one_kind(E, by)[0] for E, _, _ in models])
        for models in (trained, again)
    )
    print(f"{by:9}{before.mean():.2f} ± {before.std():.2f}, factored anew", end=" ")
    print(f"{after.mean():.2f} ± {after.std():.2f}")

# %% [markdown]
# So what is read off the embeddings is partly a fact about how training happened to factor the logits.
# What belongs to the model are the logits.
# Compare two words by their *rows of logits*, after two means are taken out: that of each row, which the softmax does not see, and the mean of all rows, since a vector added to every $e_i$ can be taken back by $b$.
# (That is one choice; one could weight rows and columns by their shares.)
# No row has to be written down for this: a matrix of $C \times C$ gives the embeddings the rows' lengths and angles.

# %% tags=["quote"]
from tinyllm.vectors import canonical

# %%
for by in ("cosine", "distance", "dot"):
    one, other = (
        torch.stack([of_one_kind(canonical(E, W), by)[0] for E, W, _ in models])
        for models in (trained, again)
    )
    assert torch.allclose(one, other, atol=0.02)
    print(f"{by:9}{one.mean():.2f} ± {one.std():.2f}, factored anew {other.mean():.2f}")

# %% [markdown]
# Now the factoring makes no difference, and the finding stands: by cosine or distance nineteen of twenty neighbors are of the same kind.
#
# ### A map, with its error
#
# 32 dimensions cannot be seen.
# **Principal components** are the directions in which a set of vectors spreads most.
# Draw the words of our two kinds, and eight trades, along the first two of them.

# %% alt="Map of twenty-six words along two principal components: weekdays, numbers and trades form three separate groups, with their words written beside them; the title says which share of the spread the two axes hold"
from course.style import mix

TRADES = "baker innkeeper shepherd ferryman miller clockmaker potter gardener".split()
groups = dict(zip(("weekdays", "numbers", "trades"), (*KINDS, TRADES)))
listed = [index[word] for group in groups.values() for word in group]
E, W, _ = trained[0]
of_map = canonical(E, W)[listed]
of_map = of_map - of_map.mean(0)
_, spread, axes = torch.linalg.svd(of_map, full_matrices=False)
held = (spread[:2].square().sum() / spread.square().sum()).item()
flat = of_map @ axes[:2].T  # (words, 2)
flat = flat * flat[0].sign()  # the sign of an axis means nothing
near, on_map = (torch.cdist(m, m).argsort(-1)[:, 1:6] for m in (of_map, flat))
agree = (near[:, :, None] == on_map[:, None]).any(-1).float().mean().item()
fig, ax = figure()
marks = zip(groups.items(), COLORS["CYCLE"], flat.split([len(g) for g in groups.values()]))
for (name, group), color, points in marks:
    ax.plot(*points.T, "o", color=color)
    x, y = points.mean(0).tolist()
    words = f"{name}:\n" + textwrap.fill(", ".join(group), 28)
    ax.annotate(words, (x - 40 * (1 if x > 0 else -1), y), size=10.5, va="center",
                color=mix(color, COLORS["INK"], 0.65), ha="right" if x > 0 else "left")
ax.margins(0.15)
ax.set(xlabel="first principal component", ylabel="second principal component")
ax.set_title(f"Three kinds, three groups; two axes hold {held:.0%} of the spread")
print(f"of five neighbors in 32 dimensions, {agree:.0%} are neighbors on the map")
fig

# %% [markdown]
# That the kinds lie apart is true in 32 dimensions, too.
# Distances on the map are another matter: three groups that lie far apart spread most in the plane through their centers, and of the nearest neighbors one in five comes out wrong.
#
# ## What the length knows
#
# It is often said that the length of an embedding is its frequency in disguise.
# Measure it: the correlation of the length with the logarithm of the count, for $E$ as it is and in canonical form.
# And measure it for the *same* model, trained in the usual way with small random batches.
# Both get the same optimizer with the same rate, and are compared when the loss on the whole text has come down to the same value, 4.1, and once more at 3.7, after however many steps.
#
# *In words:* [covariance](mathematics.ipynb#Covariance).


# %%
log_count = seen[: V - 1].log()  # without <rare>


def correlations(E, W):
    """Of log count with the lengths of E, and with those of its canonical form, (2,)."""
    both = (E, canonical(E, W))
    lengths = torch.stack([vectors[: V - 1].norm(dim=-1) for vectors in both])
    return torch.corrcoef(torch.cat([log_count[None], lengths]))[0, 1:]


def train_until(targets, seed, full_batch):
    """(E, W) when the loss on the whole text first falls below each target."""
    E, W, b = new_vectors(seed)
    optimizer, reached = torch.optim.Adam([E, W, b], lr=0.03), []
    generator = torch.Generator().manual_seed(seed)
    for step in range(2000):
        if full_batch or step % 40 == 0:
            with torch.set_grad_enabled(full_batch):
                loss = whole = loss_of(E @ W.T + b, p_next, p_word)
            if whole < targets[len(reached)]:
                reached.append((E.detach().clone(), W.detach().clone()))
                if len(reached) == len(targets):
                    return reached
        if not full_batch:
            x_few, y_few = get_batch(ids, 16, 16, generator)
            loss = cross_entropy(E[x_few] @ W.T + b, y_few)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %% [markdown]
# Three seeds of each, and last the vectors from above, which were trained with a full batch and larger steps.

# %%
losses_at, measured = (4.1, 3.7), {}
for name, full in (("full batch", True), ("small batches", False)):
    runs = [train_until(losses_at, seed, full) for seed in range(3)]
    for at, models in zip(losses_at, zip(*runs)):
        measured[name, at] = torch.stack([correlations(*parts) for parts in models])
measured["full batch", 3.1] = torch.stack([correlations(E, W) for E, W, _ in trained])
for (name, at), r in measured.items():
    (raw, free), (raw_std, free_std) = r.mean(0).tolist(), r.std(0).tolist()
    print(f"{name:13} loss {at}: as it is {raw:+.2f} ± {raw_std:.2f},", end=" ")
    print(f"canonical {free:+.2f} ± {free_std:.2f}")
full, small = measured["full batch", 4.1][:, 0], measured["small batches", 4.1][:, 0]
assert full.max() < 0 < small.min()
assert (measured["full batch", 3.1].max(0).values < torch.tensor([-0.3, -0.15])).all()

# %% [markdown]
# At one loss of 4.1 the two trainings disagree about the *sign*, as far as $E$ itself is concerned.
# It is not the batch alone: the gradient at $e_i$ has the factor $p(i)$ in a full batch, too.
# But Adam divides each gradient by its usual size, as its first step shows:

# %%
E, W, b = new_vectors(seed=0)
loss_of(E @ W.T + b, p_next, p_word).backward()
pushes = E.grad[: V - 1].norm(dim=-1)
by_count = torch.corrcoef(torch.stack([log_count, pushes.log()]))[0, 1]
before = E.detach().clone()
torch.optim.Adam([E], lr=0.03).step()
moves = (E.detach() - before)[: V - 1].norm(dim=-1)
for name, x in (("gradient", pushes), ("Adam's step", moves)):
    print(f"{name:11} of E, largest over smallest row: {x.max() / x.min():.2g}")
assert by_count > 0.8 and moves.max() < 1.1 * moves.min()

# %% [markdown]
# In a full batch Adam moves rare words as far as frequent ones; in small batches a vector moves mostly when its word is drawn, so frequent words have moved farther from a beginning near 0.
# In canonical form the two differ less, and at 3.7 there is hardly any correlation in either.
# After the forty steps of above rarer words have somewhat longer rows, that is, logits farther from the average.
# So before you read anything off the length of an embedding, ask how it was trained, how far, and whether the model would notice another length.
#
# Two more claims about length are tested in [an appendix](very_happy.ipynb): that it tells how much a word says about its company {cite}`oyama2023`, which holds in this text for vectors trained on a word's company, in part by construction, and that it tells *strength*, so that *very happy* would be a longer *happy*, which finds no support.
#
# ## Who, but not where
#
# Embeddings say *who* stands there.
# They do not say *where*, and attention does not notice: it is a weighted mean over all keys, and a mean does not depend on the order of its terms.
# Chapter 04 takes `attention` apart.
# All we need here: it compares a **query** with each **key** by their dot product, and returns the mean of the **values**, one for each key, with more weight where the dot product is larger.

# %%
from tinyllm.attention import attention

torch.manual_seed(0)
dog, bites, man, who = torch.randn(4, 16)
x, turned = torch.stack([dog, bites, man]), torch.stack([man, bites, dog])
assert torch.allclose(
    attention(who[None], x, x), attention(who[None], turned, turned), atol=1e-6
)
print("dog bites man = man bites dog")

# %% [markdown]
# No choice of weights can repair that, unless a mask shows different keys to different queries.
# To see it fail, train it: three words and a question mark, such as *mole bites fox ?*, and the answer is who bites.
# A model that cannot see order knows both animals and has to toss a coin.

# %%
from torch import nn

from tinyllm.vectors import sinusoidal_positions

ANIMALS, VERBS, C = 12, 4, 16


class Who(nn.Module):
    """One head that reads animal, verb, animal, question mark, and says who acts."""

    def __init__(self, positions):
        super().__init__()
        self.tokens = nn.Embedding(ANIMALS + VERBS + 1, C)
        self.positions = positions  # (T, C)
        self.W_q, self.W_k, self.W_v = (nn.Linear(C, C, bias=False) for _ in "qkv")
        self.out = nn.Linear(C, ANIMALS)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions  # (B, T, C): who, plus where
        answer = attention(self.W_q(x[:, -1:]), self.W_k(x), self.W_v(x))  # (B, 1, C)
        return self.out(answer[:, 0])


# %% [markdown]
# The three models differ in one line: nothing is added to the tokens, or a table that is **learned** like the embeddings, or a fixed table that we look at below.


# %%
def sentences(n, generator):
    two = torch.rand(n, ANIMALS, generator=generator).argsort(-1)[:, :2]  # not the same
    verb = torch.randint(ANIMALS, ANIMALS + VERBS, (n, 1), generator=generator)
    question = torch.full((n, 1), ANIMALS + VERBS)
    return torch.cat([two[:, :1], verb, two[:, 1:], question], dim=1), two[:, 0]


def accuracy(make_positions, seed, steps=100):
    torch.manual_seed(seed)
    model, generator = Who(make_positions()), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        x, y = sentences(64, generator)
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = sentences(5000, torch.Generator().manual_seed(100))
    return (model(x).argmax(-1) == y).float().mean().item()


# %% [markdown]
# Three seeds of each, and 5,000 sentences that none of them has seen.

# %%
for name, make_positions in {
    "none": lambda: torch.zeros(4, C),
    "learned": lambda: nn.Parameter(0.1 * torch.randn(4, C)),
    "fixed": lambda: sinusoidal_positions(4, C),
}.items():
    right = torch.tensor([accuracy(make_positions, seed) for seed in range(3)])
    assert right.min() > 0.99 if name != "none" else (right - 0.5).abs().max() < 0.03
    print(f"{name:8} {right.mean():.3f} ± {right.std():.3f}")

# %% [markdown]
# Chance against no mistake at all.
# Adding was enough: the head reads *who* and *where* out of one sum.
# With $\mathrm{PE}(i)$ for the vector of position $i$, a dot product of two such sums has four terms,
#
# $$
# \begin{aligned}
# &(x_i + \mathrm{PE}(i)) \cdot (x_j + \mathrm{PE}(j)) \\
# &\quad = x_i \cdot x_j + x_i \cdot \mathrm{PE}(j) \\
# &\quad + \mathrm{PE}(i) \cdot x_j + \mathrm{PE}(i) \cdot \mathrm{PE}(j) ,
# \end{aligned}
# $$
#
# who with who, who with where, where with who, where with where, and $W_Q$ and $W_K$ learn how much each of them counts.
#
# *In words:* [dot product](mathematics.ipynb#Dot-product).
#
# ## Clocks
#
# A learned table ends where training has seen no more places.
# The first transformer used a formula {cite}`vaswani2017`.
# Think of $C/2$ clocks of one hand each: the fastest turns by one radian per token, each next one more slowly, and a position is what the clocks show, as the sine and cosine of each hand.

# %% tags=["quote"]
from tinyllm.vectors import sinusoidal_positions

# %% [markdown]
# One clock and three positions, by hand: $(0, 1)$, $(\sin 1, \cos 1)$, $(\sin 2, \cos 2)$.

# %%
sinusoidal_positions(3, 2)

# %% [markdown]
# Why hands of clocks?
# For two positions and one clock that turns by $\omega$ per token the dot product is $\sin \omega i \sin \omega j + \cos \omega i \cos \omega j = \cos \omega (i - j)$, so for all of them
#
# $$ \mathrm{PE}(i) \cdot \mathrm{PE}(j) = \sum_m \cos \omega_m (i - j) . $$
#
# It depends on *how far apart* the two are, and not on where they stand.
#
# *In words:* [rotations](mathematics.ipynb#Rotations).

# %% alt="Dot products of sinusoidal positions against the difference of the positions: the dots of four different queries lie on one common curve, highest at 0, falling in waves"
P = sinusoidal_positions(100, 64).double()
dots = P @ P.T  # (100, 100)
for shift in range(100):
    along = dots.diagonal(shift)
    assert (along - along[0]).abs().max() < 1e-4
assert (dots.diagonal() - 64 / 2).abs().max() < 1e-4  # all have one length
assert (dots[0].diff() > 1).any()  # farther is not always less
fig, ax = figure()
curve = torch.cat([dots[0].flip(0), dots[0, 1:]])
ax.plot(range(-99, 100), curve, color=COLORS["LINE"], linewidth=1.5)
for n, (i, marker) in enumerate(zip((0, 20, 50, 90), "osD^")):
    j = torch.arange((i + 2 * n) % 8, 100, 8)  # of each i other differences
    ax.plot(j - i, dots[i, j], marker, markersize=5, label=f"i = {i}")
ax.set(xlabel="j − i", ylabel="dot product of positions i and j")
ax.set_title("One curve for every i: only the difference counts")
ax.legend()
fig

# %% [markdown]
# Near places have near vectors.
# But the curve comes down in waves: farther is not always less.
# And the property holds for $\mathrm{PE}(i) \cdot \mathrm{PE}(j)$ as it stands; after a $W_Q$ and a $W_K$ it is gone, unless they are chosen to keep it.

# %%
torch.manual_seed(0)
W_q, W_k = torch.randn(2, 64, 64, dtype=torch.float64) / 8
after = (P @ W_q) @ (P @ W_k).T
spread, spread_after = dots.diagonal(5).std(), after.diagonal(5).std()
print(f"scores of places 5 apart vary by {spread:.3f} before, {spread_after:.3f} after")

# %% [markdown]
# To add $k$ to a position is to turn every hand by its own fixed angle $k\omega_m$, wherever it stands.
# So one matrix moves *all* positions by $k$, and it is a **rotation**: it changes no length.
# Find it by least squares from the first half of a table, and try it on the second.

# %%
P, k = sinusoidal_positions(400, 8).double(), 3
R = torch.linalg.lstsq(P[:200], P[k : 200 + k]).solution  # PE(t) R = PE(t + k)
assert torch.allclose(P[200:-k] @ R, P[200 + k :], atol=1e-3)
assert torch.allclose(R @ R.T, torch.eye(8).double(), atol=1e-3)  # a rotation
off = (P[200:-k] @ R - P[200 + k :]).abs().max()
print(f"PE(t) R = PE(t + {k}) for all t, R Rᵀ = 1: {off < 1e-3}")

# %% [markdown]
# Later models rotate queries and keys themselves by such angles, instead of adding anything to the tokens, so that the property survives $W_Q$ and $W_K$.
# That is *rotary position embedding* (RoPE) {cite}`su2024`, and a later chapter builds it.
#
# All position vectors have one length, so the rankings by dot product, cosine and distance coincide, and one more thing follows.
#
# :::{two-views}
#
# - **As a lookup.** A position is part of the key.
#   A query can ask for *the word at place 3* or *the word before me* as it asks for a word.
#   Without positions there is no such key to be found.
# - **As a smoother.** A position is a coordinate of the point where a value was measured.
#   Nearby places are nearby points, and the answer is a mean over the neighborhood.
#   Without positions all points have the same coordinates in time.
#
# :::
#
# Take keys that are positions and nothing else.
# The lookup weights by $e^{\beta q \cdot k}$, where $\beta$ is a factor that chapter 04 explains (`scale` in code); the smoother of chapter 05 weights by a Gaussian bell $e^{-|q - k|^2/2h^2}$ of **bandwidth** $h$.
# $|\mathrm{PE}(i) - \mathrm{PE}(j)|^2 = C - 2\, \mathrm{PE}(i) \cdot \mathrm{PE}(j)$ says that the two must agree if $h^2 = 1/\beta$.

# %% alt="Heat map of weights among sixteen positions whose keys are positions alone: a dark band along the diagonal, fading with distance; the first and last rows, with neighbors on one side only, are darker"
from course.figures import attention_map
from tinyllm.smoothing import nadaraya_watson

torch.manual_seed(0)
P, v = sinusoidal_positions(16, 64), torch.randn(16, 3)
lookup, weights = attention(P, P, v, scale=0.5, return_weights=True)
smoother = nadaraya_watson(P, P, v, bandwidth=math.sqrt(1 / 0.5))  # h² = 1/β
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-5)
assert (weights.argmax(-1) == torch.arange(16)).all()
assert (weights.diagonal(1)[:-3] > weights.diagonal(4)).all()
title = "Positions alone: each place averages its neighborhood"
attention_map(weights, title=title, vmax=0.5)

# %% [markdown]
# :::{why-it-works}
#
# Shown on this page: after 40 steps, vectors of 32 numbers predict a little better on average than counts, most so after rare words, and slightly worse after the most frequent.
# Dot product, cosine and distance agree when the lengths do.
# Lengths and angles of embeddings are partly a matter of how the logits are factored; in a form that is free of this, words of one kind still lie together.
# Without positions or a mask attention cannot tell a sentence from its reverse.
# The dot product of sinusoidal positions depends on the difference of two places only, and a rotation moves all of them.
#
# :::
#
# :::{why-it-might}
#
# That directions in large models are *concepts* which can be added and scaled is a hypothesis, with examples for it and no proof; [our one test of a special case](very_happy.ipynb) failed.
# A model with a causal mask is not quite blind to order: the first token sees one key, the tenth sees ten.
# Deep models trained without any positions turn out to be competitive, and their authors conjecture that this counting is how they do it {cite}`haviv2022`.
#
# :::
#
# ## What to take along
#
# - An id is a name; an embedding is a place among others, and training puts together what is followed by the same.
# - Ask what a dot product was trained for before you read it as nearness.
# - What a re-factoring of the logits changes is not the model's. Compare rows of logits, or say which factors you compared.
# - Order is not in attention without a mask. It can be put into the vectors, and adding is enough.
#
# **Exercises.** [The sheet of this chapter](../exercises/03_vectors.ipynb) asks you to derive, predict, repair, rotate clocks, and write a shuffling test.
#
# **Further reading.** {cite}`bengio2003` is where word vectors and next-word prediction meet.
# {cite}`levy2014` says what table such vectors factor.
