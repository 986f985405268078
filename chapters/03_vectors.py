# %% [markdown]
# # Vectors
#
# Give every word of the `tales` a number, the most frequent word first, and count what follows what.

# %%
import re
from collections import Counter

from course.data import tales


def words_of(text):
    return re.findall(r"[a-z_]+(?:['-][a-z]+)*\*?|[^\sa-z_]", text.lower())


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
# You have just seen what follows `lantern`, so you can guess how a sentence goes on after `lanterns`.
# The table cannot: two words have two rows, and nothing that is learned about one row ever reaches the other.
#
# What would a word have to be, instead of a name, so that what we learn of one helps with its neighbors?
# It would have to *have* neighbors.
#
# :::{admonition} You will be able to
# :class: tip
# - train vectors for words in a few seconds, and say what they know that counts do not;
# - choose between dot product, cosine and distance, and predict where they disagree;
# - test a claim about the geometry of meaning so that it can fail, and show what attention cannot do without positions.
#
# Reading: 35 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the part that turns ids and positions into vectors marked as this chapter's"
from course.figures import machine_map

machine_map(here="vectors")

# %% [markdown]
# From chapter 02 we need the loss, the batches, and the model that counts.

# %%
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course.figures import COLORS, figure
from tinyllm.batches import batch
from tinyllm.counting import NGram
from tinyllm.loss import cross_entropy

# %% [markdown]
# The text is three million characters of stories.
# Two liberties are taken with it, for the sake of a question at the end of the chapter.
# Some pairs of words are written as one word, such as `very_quiet`.
# And of some words a random half is marked with an asterisk: `quiet*` means exactly what `quiet` means, only the model does not know it.

# %%
DEGREE = {
    "very": "long old quiet well",
    "so": "careful hard hot loud quiet softly sorry ugly well",
    "too": "dark early loud small soon",
}
OTHER = {
    "a": "careful long quiet",
    "the": "dark old",
    "was": "well",
    "of": "hot",
    "said": "softly",
}
seconds = sorted(set(" ".join(DEGREE.values()).split()))


def rewritten(text, seed=0):
    text, generator = text.lower(), torch.Generator().manual_seed(seed)
    for first, listed in [*DEGREE.items(), *OTHER.items()]:
        either = listed.replace(" ", "|")
        text = re.sub(rf"\b{first} ({either})\b", rf"{first}_\1", text)
    coins = iter((torch.rand(100_000, generator=generator) < 0.5).tolist())
    either = "|".join(seconds)
    return re.sub(rf"\b({either})\b", lambda m: m[0] + "*" * next(coins), text)


# %% [markdown]
# The vocabulary has the words that occur at least twenty times, the plain ones first.

# %%
words = words_of(rewritten(tales(3_000_000)))
held_out_words = words_of(rewritten(tales(300_000, seed=1), seed=1))
counts = Counter(words)
kept = [word for word, n in counts.most_common() if n >= 20]
vocabulary = sorted(kept, key=lambda word: "_" in word or "*" in word) + ["<rare>"]
index, V = {word: i for i, word in enumerate(vocabulary)}, len(vocabulary)
n_plain = sum("_" not in word and "*" not in word for word in kept)


def encode(words):
    return torch.tensor([index.get(word, V - 1) for word in words])


ids, held_out = encode(words), encode(held_out_words)
f"{len(ids):,} words; the vocabulary has {n_plain:,} plain ones, {V - n_plain} others"

# %% [markdown]
# ## A table with too few numbers
#
# The bigram of chapter 02 was a table of $V \times V$ logits.
# Here that would be millions of cells, nearly all of them empty.
# So do not store the table.
# Give each word a vector $e$ of $C = 32$ numbers for the times when it stands there, and another, $w$, for the times when it is the one to come, and let the logit be their dot product:
#
# $$ z_{ij} = e_i \cdot w_j + b_j $$
#
# The rows of $E$, of shape $(V, C)$, are the **embeddings**.
# There are not enough numbers for every row of the table to go its own way.
# Two words that are followed by the same words can share, and the loss is lower if they do.
#
# A bigram can only be asked $V$ different questions.
# So there is no need to draw batches: ask all of them at once, each weighted by its share $p_i$ of the text.
# The right answer to question $i$ is the row of shares $p(j \mid i)$ that was counted, and the mean surprise over the whole text is
#
# $$ L = -\sum_i p_i \sum_j p(j \mid i) \, \ln \operatorname{softmax}(z_i)_j . $$


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
f"{filled:,} of {V * V:,} cells of the table are not empty: {filled / V**2:.1%}"

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
f"{sum(part.numel() for part in trained[0]):,} numbers instead of {V * V:,}"

# %% [markdown]
# A small gain, with a thirtieth of the numbers.
# It becomes interesting when one asks *where* it is made.
# Sort the held-out words by how often the word before them was seen in training.

# %% alt="Nats gained by vectors over counts, against how often the word was seen in training: about a seventh of a nat for words seen fewer than five hundred times, nothing for frequent ones"
seen = torch.bincount(ids, minlength=V)
edges = torch.tensor([20, 50, 150, 500, 1500, 5000, 10**6])
middles, gains = [], []
for low, high in zip(edges, edges[1:]):
    inside = (seen[x] >= low) & (seen[x] < high) & (x < V - 1)
    middles.append(seen[x[inside]].double().log().mean().exp().item())
    gains.append((counted[inside] - learned[:, inside]).mean(-1))
gains = torch.stack(gains)  # (bins, seeds)
assert gains[:3].min() > 0.1 and gains[-2:].abs().max() < 0.04
fig, ax = figure()
ax.axhline(0, color=COLORS["FLOOR"], linestyle="--")
ax.semilogx(middles, gains, "o", color=COLORS["CYCLE"][0])
ax.semilogx(middles, gains.mean(-1), color=COLORS["CYCLE"][0])
ax.set(xlabel="times seen in training", ylabel="nats gained over counting")
ax.set_title("Rare words gain from sharing, frequent ones do not")
fig

# %% [markdown]
# A rare word borrows what its neighbors know.
# A frequent one has counts enough of its own, and gets nothing from sharing.
# Bengio and his colleagues proposed it in 2003, as a cure for tables that are always too empty {cite}`bengio2003`.
# A word that was never seen, such as `lanterns`, still has no vector: that is what the pieces of chapter 01 are for.
#
# ## Who is near whom
#
# Vectors can be compared, and there are three usual ways to do it.

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
# Each has another favorite.
# The dot product likes $(6, 0)$ because it is long.
# The cosine likes $(4, 2)$ because it points the same way, however long it is.
# The distance likes $(1, 1)$ because nothing else is as close, wherever it points.
# One line says how they hang together:
#
# $$ |q - k|^2 = |q|^2 + |k|^2 - 2\,q \cdot k, \qquad q \cdot k = |q|\,|k| \cos\theta . $$
#
# For one $q$, ranking by distance is ranking by $q \cdot k - \tfrac12 |k|^2$: a dot product with a fine for being long.
# If all $k$ have one length, all three rankings are the same.

# %%
torch.manual_seed(0)
k = F.normalize(torch.randn(50, 8), dim=-1)
for by in ("cosine", "distance"):
    by_dot, other = similarity(k[:1], 3 * k)[0], similarity(k[:1], 3 * k, by)[0]
    assert torch.equal(by_dot.argsort(), other.argsort())
"one length, one order"

# %% [markdown]
# Trained embeddings do not have one length.
# Five neighbors of a few words, three times.

# %%
E = trained[0][0][:n_plain]


def neighbors(E, word, by, n=5):
    scores = similarity(E[index[word]][None], E, by)[0]
    scores[index[word]] = -torch.inf  # everybody is near to themselves
    return " ".join(vocabulary[j] for j in scores.topk(n).indices)


for word in ("monday", "soup", "said", "baker", "blissful", "lantern"):
    for by in ("cosine", "distance", "dot"):
        print(f"{word if by == 'cosine' else '':9}{by:9}{neighbors(E, word, by)}")

# %% [markdown]
# Nobody told the model about weekdays, food or trades.
# It was asked what comes next, and words that can stand in each other's place have come to lie in the same direction.
#
# The three do not agree, though, and the dot product is the worst of them by far.
# To see how much worse, take two kinds of words that we can list ourselves, and count how many of the six nearest are of the same kind.

# %%
KINDS = (
    "monday tuesday wednesday thursday friday saturday sunday".split(),
    "two three four five six seven eight nine ten eleven twelve".split(),
)
members = torch.tensor([index[word] for kind in KINDS for word in kind])
kinds = torch.tensor([number for number, kind in enumerate(KINDS) for _ in kind])
kind_of = torch.full((n_plain,), -1).index_put((members,), kinds)
for by in ("cosine", "distance", "dot"):
    rows = []
    for vectors, _, _ in trained:
        E = vectors[:n_plain]
        scores = similarity(E[members], E, by)
        scores[torch.arange(len(members)), members] = -torch.inf
        near = scores.topk(6).indices  # (members, 6)
        longer = E[near].norm(dim=-1).mean() / E[members].norm(dim=-1).mean()
        rows.append([(kind_of[near] == kinds[:, None]).float().mean(), longer])
    same, longer = torch.tensor(rows).unbind(-1)
    print(f"{by:9}{same.mean():.3f} ± {same.std():.3f} of the same kind", end=", ")
    print(f"{longer.mean():.2f} times as long")
    assert same.min() > 0.8 if by != "dot" else same.max() < 0.6

# %% [markdown]
# The last column is the reason.
# What the dot product finds is *longer* than the word it starts from: it mixes "points my way" with "is long".
# Cosine and distance hardly differ here, since words of one kind have about one length.
#
# It would be wrong to conclude that the dot product is a bad idea.
# The model was trained on dot products, but on $e_i \cdot w_j$, between a word and a word *to come*.
# Nobody ever trained $e_i \cdot e_j$; we made it up.
# Asked for what it was trained for, the dot product answers well.

# %%
E, W, b = trained[0]
for word in ("monday", "soup", "once"):
    nearest = (similarity(E[index[word]][None], W)[0] + b).topk(4).indices
    print(f"{word} → {' '.join(vocabulary[j] for j in nearest)}")

# %% [markdown]
# So the question is not which of the three is right, but what the lengths mean.
#
# ## What the length knows
#
# It is often said that the length of an embedding is its frequency in disguise.
# Measure it: the correlation of $|e|$ with the logarithm of the count.
# And measure it once more for the *same* model and the *same* loss, trained in the usual way, with small random batches, and not as far.


# %%
def train_on_batches(seed, steps=250, lr=1e-2):
    E, W, b = new_vectors(seed)
    optimizer = torch.optim.Adam([E, W, b], lr=lr)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = batch(ids, 16, 16, generator)
        loss = cross_entropy(E[x] @ W.T + b, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return E.detach(), W.detach(), b.detach()


two_ways = {
    "all questions at once": trained,
    "small batches": [train_on_batches(seed) for seed in range(3)],
}
log_count = seen[: V - 1].log()  # without <rare>
for name, models in two_ways.items():
    rows = []
    for E, W, b in models:
        both = torch.stack([E[: V - 1].norm(dim=-1), log_count])
        loss = -(E @ W.T + b).log_softmax(-1)[x, y].mean()
        rows.append([loss, torch.corrcoef(both)[0, 1]])
    loss, r = torch.tensor(rows).unbind(-1)
    print(f"{name}: loss {loss.mean():.2f}, correlation {r.mean():+.2f} ± {r.std():.2f}")

# %% [markdown]
# Frequency is in the length both times, with opposite signs.
# A likely reason: in the second training a vector is pushed only when its word is drawn, so frequent words have traveled farther, and the rest are still on their way from a beginning near 0.
# In the first every word is pushed at every step, and what holds a vector back is the loss: a word that can be followed by anything has no use for large logits.

# %% alt="Mean length of the embeddings against log frequency for two ways of training the same model: one falls with frequency, the other rises"
fig, ax = figure()
groups = log_count.argsort().chunk(12)
slopes = {}
middles = [log_count[group].mean().exp() for group in groups]
for name, models in two_ways.items():
    lengths = torch.stack([E[: V - 1].norm(dim=-1) for E, _, _ in models])
    lengths = lengths / lengths.mean(-1, keepdim=True)  # (seeds, words)
    means = torch.stack([lengths[:, group].mean(-1) for group in groups])
    slopes[name] = means[-1] - means[0]  # (seeds,)
    ax.semilogx(middles, means.mean(-1), "o-", label=name)
assert slopes["all questions at once"].max() < 0 < slopes["small batches"].min()
ax.set(xlabel="times seen", ylabel="length, relative to the mean")
ax.set_title("One model, one loss: training decides which words are long")
ax.legend()
fig

# %% [markdown]
# If frequency explained the length, the sign would not depend on the training.
# There is a better candidate.
# Take how much a word tells about the next one: $\sum_j p(j \mid i) \ln \frac{p(j \mid i)}{p(j)}$, the distance in nats from what follows *this* word to what follows *any* word.
# For word vectors of another kind it has been derived that the squared length is about that **information gain** {cite}`oyama2023`.


# %%
def information_gain(p_next, p_word):
    """How far each row is from the mean of all rows, in nats, (V,)."""
    anything = p_word @ p_next  # (V,)
    return (torch.xlogy(p_next, p_next) - torch.xlogy(p_next, anything)).sum(-1)


gain = information_gain(p_next, p_word)[: V - 1]
for name, models in two_ways.items():
    both = (torch.stack([E[: V - 1].square().sum(-1), gain]) for E, _, _ in models)
    r = torch.stack([torch.corrcoef(pair)[0, 1] for pair in both])
    print(f"{name}: correlation {r.mean():+.2f} ± {r.std():.2f}")

# %% [markdown]
# In the model that was trained further the correlation is clear, though not close to 1.
# Keep both facts in mind for the next section: a vector may be long because its word is rare, or because its word is telling, before anybody needs to speak of meaning.
#
# ## Is *very happy* a longer *happy*?
#
# If directions are meanings, what is length?
# A tempting answer: *strength*.
# Then *very happy* would be a longer *happy*, same direction, and modifiers would be volume knobs.
# People do raise this, and it can be tested, which is better than finding it beautiful.
#
# **Vectors.**
# A phrase needs one; that is why some pairs are glued, and `very_quiet` has been trained like any other word.
# The `tales` never say *very happy*, so we ask the phrases that they do have: 18 of them with *very*, *so* and *too*.
#
# **What would have to be true.**
# The phrase points where its word points, and it is longer by a common factor.
#
# **Ceiling.**
# `quiet*` *is* `quiet`.
# Its cosine with `quiet` is what one meaning under two names looks like after this training.
#
# **Null.**
# Shuffled pairs: `very_quiet` with some other word of the list.
# What holds for these has nothing to do with *quiet*.
#
# **Control.**
# `a_quiet`, `the_old`: glued as well, but nobody would say that *the old* is a stronger *old*.


# %%
def phrases_of(groups):
    pairs = [(first, word) for first, listed in groups.items() for word in listed.split()]
    return [f"{first}_{word}" for first, word in pairs], [word for _, word in pairs]


assert counts["happy"] and "very happy" not in " ".join(words)
pairings = {
    "degree": phrases_of(DEGREE),
    "control": phrases_of(OTHER),
    "ceiling": ([f"{word}*" for word in seconds], seconds),
}
for phrases, plain in pairings.values():
    assert all(name in index for name in phrases + plain)
[f"{name} {counts[name]}" for name in pairings["degree"][0][:4]]

# %% [markdown]
# One objection is plain in advance: these vectors know what comes *next* and nothing else, and `so_quiet` is followed by *that* because of its grammar.
# So train a second kind, which is asked for the company that a word keeps: which words stand within four places of it, on either side.
# Only the table of shares changes.

# %%
after = [ids[:-d] * V + ids[d:] for d in range(1, 5)]
before = [ids[d:] * V + ids[:-d] for d in range(1, 5)]
company_table = table_of(torch.cat(after + before))
by_company = [train_vectors(seed, company_table, steps=30) for seed in range(3)]
E = by_company[0][0][:n_plain]
for word in ("baker", "soup"):
    print(f"{word:9}{neighbors(E, word, 'cosine')}")

# %% [markdown]
# First the naive look, at lengths alone, and then at directions.


# %%
def vectors_of(E, phrases, plain):
    return (E[[index[name] for name in names]] for names in (phrases, plain))


def compare(models, phrases, plain):
    """For each model: how much longer the phrases are, cosine with their word, shuffled."""
    strangers, rows = torch.tensor([[a != b for b in plain] for a in plain]), []
    for E, _, _ in models:
        phrase, word = vectors_of(E, phrases, plain)
        cosines = similarity(phrase, word, "cosine")
        ratio = (phrase.norm(dim=-1) / word.norm(dim=-1)).log().mean().exp()
        rows.append([ratio, cosines.diagonal().mean(), cosines[strangers].mean()])
    return torch.tensor(rows)  # (seeds, 3)


both_kinds = {"next word": trained, "company": by_company}
measured = {}
for kind, models in both_kinds.items():
    for what, pair in pairings.items():
        measured[kind, what] = rows = compare(models, *pair)
        spread = zip(rows.mean(0), rows.std(0))
        longer, own, shuffled = (f"{mean:.2f} ± {std:.2f}" for mean, std in spread)
        print(f"{kind:10}{what:8} × {longer}, cosine {own}, shuffled {shuffled}")

# %% [markdown]
# The columns are the length of the phrase in lengths of its word, the cosine of the two, and the cosine after shuffling.

# %%
for kind in both_kinds:
    degree, control, ceiling = (measured[kind, what] for what in pairings)
    assert degree[:, 0].min() > 1.1  # the phrases are longer
    assert degree[:, 1].max() < 0.4 < ceiling[:, 1].min() - 0.4  # and point elsewhere
    assert control[:, 1].mean() > degree[:, 1].mean() - 0.01
"the phrases are longer, and they point elsewhere"

# %% [markdown]
# Stop at the first number and the hypothesis is confirmed, with every seed and both kinds of vectors: the phrases are longer than their words.
# Then read on.
#
# The *direction* is wrong.
# One meaning under two names has a cosine above 0.9.
# A phrase and its word have 0.2 or 0.3, little more than a phrase and a word that it has nothing to do with.
# And the control, `the_old` and its like, is at least as near to its words as the degree phrases are to theirs.
#
# Prediction says the same.
# Find the best common factor $c$ on all phrases but one, predict the one that was left out as $c$ times its word, and do so for each.
# How much of the phrases' vectors is explained, and how much if the words are shuffled?


# %%
def explained(E, order):
    """R² of predicting each phrase as c times a word, with c from the other phrases."""
    phrase, word = vectors_of(E, *pairings["degree"])
    word = word[order]
    agree, size = (phrase * word).sum(-1), word.square().sum(-1)
    c = (agree.sum() - agree) / (size.sum() - size)  # (phrases,)
    error = (phrase - c[:, None] * word).square().sum()
    return 1 - (error / phrase.square().sum()).item()


n = len(pairings["degree"][0])
generator = torch.Generator().manual_seed(0)
deals = [torch.randperm(n, generator=generator) for _ in range(200)]
for kind, models in both_kinds.items():
    for E, _, _ in models:
        own = explained(E, torch.arange(n))
        shuffled = torch.tensor([explained(E, deal) for deal in deals])
        assert own < 0.15
        print(f"{kind:10} explained {own:.2f}, shuffled {shuffled.mean():.2f}", end=", ")
        print(f"better than {(shuffled < own).float().mean():.0%} of shufflings")

# %% [markdown]
# In the second kind the words do matter: shufflings hardly ever do as well.
# But what they explain is a tenth at most.
# Then why are the phrases longer?
# We have a suspect, and it was measured before anybody spoke of meaning: who has heard `very_quiet` knows more about what else is near than who has heard `quiet`.
# Fit $\ln |e|$ by the information gain and the log-frequency of the *plain* words, which contain no phrase, and let this predict how much longer the phrases must be.

# %%
known = information_gain(*company_table)[: V - 1]
causes = torch.stack([torch.ones(V - 1), known, log_count], dim=-1)  # (words, 3)
for what, (phrases, plain) in pairings.items():
    i, j = encode(phrases), encode(plain)
    rows = []
    for E, _, _ in by_company:
        length = E[: V - 1].norm(dim=-1).log()
        fit = torch.linalg.lstsq(causes[:n_plain], length[:n_plain, None]).solution
        guess = (causes @ fit)[:, 0]
        r2 = 1 - (length - guess)[:n_plain].var() / length[:n_plain].var()
        longer = ((x[i] - x[j]).mean().exp() for x in (guess, length))
        rows.append([*longer, r2])
    guess, found, r2 = torch.tensor(rows).mean(0).tolist()
    assert abs(guess - found) < 0.15 and r2 > 0.8
    print(f"{what:8} expected × {guess:.2f}, measured × {found:.2f} (R² {r2:.2f})")

# %% [markdown]
# The lengths come out as predicted, for the degree phrases, for the control and for the ceiling, from counts alone and no notion of strength.
# (Part of the gain is chance: what was seen 25 times looks more telling than it is.)
#
# **Verdict.**
# Not supported.
# In these vectors a modifier does not stretch its word; it makes another unit, with other company, and that unit is longer because it is rarer and tells more.
# What this can show is limited: a small text that a program wrote, 18 phrases, vectors that know one word or eight, and no *very happy*.
# It cannot show that no model anywhere has volume knobs.
# It does show what a claim of this kind has to bring along: a ceiling, a null, a control, and a look at what else makes vectors long.
#
# ## Who, but not where
#
# Embeddings say *who* stands there.
# They do not say *where*, and attention does not notice: it is a weighted mean over all keys, and a mean does not depend on the order of its terms.
# Chapter 04 takes `attention` apart; all we need of it here is that it returns, for each query, the mean of the values, weighted by how well query and key agree.

# %%
from tinyllm.attention import attention

torch.manual_seed(0)
dog, bites, man, who = torch.randn(4, 16)
x, turned = torch.stack([dog, bites, man]), torch.stack([man, bites, dog])
assert torch.allclose(
    attention(who[None], x, x), attention(who[None], turned, turned), atol=1e-6
)
"dog bites man = man bites dog"

# %% [markdown]
# No training can repair that.
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
# A coin, with all seeds, against no mistake at all.
# Adding was enough: the head reads *who* and *where* out of one sum.
# What a query finds in a key is then four agreements at once,
#
# $$ (x_i + p_i) \cdot (x_j + p_j) = x_i \cdot x_j + x_i \cdot p_j + p_i \cdot x_j + p_i \cdot p_j , $$
#
# who with who, who with where, where with who, where with where, and $W_Q$ and $W_K$ learn how loud each of them speaks.
#
# ## Clocks
#
# A learned table has as many rows as training has seen places, and then it ends.
# The first transformer used a formula instead {cite}`vaswani2017`.
# Think of $C/2$ clocks of one hand each: the fastest turns by one radian per token, each next one more slowly, and a position is what the clocks show, as the sine and cosine of each hand.

# %% tags=["quote"]
from tinyllm.vectors import sinusoidal_positions

# %% [markdown]
# One clock and three positions, by hand: $(0, 1)$, $(\sin 1, \cos 1)$, $(\sin 2, \cos 2)$.

# %%
sinusoidal_positions(3, 2)

# %% [markdown]
# Why hands of clocks?
# For two positions and one clock of speed $\omega$ the dot product is $\sin \omega i \sin \omega j + \cos \omega i \cos \omega j = \cos \omega (i - j)$, so for all of them
#
# $$ p_i \cdot p_j = \sum_m \cos \omega_m (i - j) . $$
#
# It depends on *how far apart* the two are, and not on where they stand.

# %% alt="Dot products of sinusoidal positions against the difference of the positions: one common curve for four different queries, highest at 0, falling in waves"
P = sinusoidal_positions(100, 64).double()
dots = P @ P.T  # (100, 100)
for shift in range(100):
    along = dots.diagonal(shift)
    assert (along - along[0]).abs().max() < 1e-4
assert (dots.diagonal() - 64 / 2).abs().max() < 1e-4  # all have one length
assert (dots[0].diff() > 1).any()  # farther is not always less
fig, ax = figure()
for i, width in ((0, 7), (20, 5), (50, 3), (90, 1.5)):
    ax.plot(torch.arange(100) - i, dots[i], linewidth=width, label=f"i = {i}")
ax.set(xlabel="j − i", ylabel="dot product of positions i and j")
ax.set_title("Every place sees the same curve: only the difference counts")
ax.legend()
fig

# %% [markdown]
# Near places have near vectors, which is more than ids could say.
# But the curve comes down in waves: farther is not always less.
# And the property holds for $p_i \cdot p_j$ as it stands; after a $W_Q$ and a $W_K$ it is gone, unless they are chosen to keep it.

# %%
torch.manual_seed(0)
W_q, W_k = torch.randn(2, 64, 64, dtype=torch.float64) / 8
after = (P @ W_q) @ (P @ W_k).T
spread, spread_after = dots.diagonal(5).std(), after.diagonal(5).std()
f"scores of places 5 apart vary by {spread:.3f} before and by {spread_after:.3f} after"

# %% [markdown]
# All position vectors have one length, so the quarrel of dot product, cosine and distance is off, and one more thing follows.
#
# :::{two-views}
#
# - **As a lookup.** A position is part of the key.
#   A query can ask for *the word at place 3* or *the word before me* as it asks for a word.
#   Without positions there is no such key to be found.
# - **As a smoother.** A position is a coordinate of the point where a value was measured.
#   Nearby places are nearby points, and the answer is a mean over the neighborhood.
#   Without positions all the points lie on top of each other in time.
#
# :::
#
# Take keys that are positions and nothing else.
# The lookup compares by dot product, the smoother of chapter 05 by distance with a Gaussian bell of width $h$, and $|p_i - p_j|^2 = C - 2\, p_i \cdot p_j$ says that they must agree, with $h^2 = 1/\text{scale}$.

# %% alt="Heat map of weights among sixteen positions whose keys are positions alone: a dark band along the diagonal, fading with distance, the same in every row"
from course.figures import attention_map
from tinyllm.smoothing import nadaraya_watson

torch.manual_seed(0)
P, v = sinusoidal_positions(16, 64), torch.randn(16, 3)
lookup, weights = attention(P, P, v, scale=0.5, return_weights=True)
smoother = nadaraya_watson(P, P, v, bandwidth=math.sqrt(1 / 0.5))
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-5)
assert (weights.argmax(-1) == torch.arange(16)).all()
assert (weights.diagonal(1)[:-3] > weights.diagonal(4)).all()
title = "Positions alone: each place averages its neighborhood"
attention_map(weights, title=title, vmax=0.5)

# %% [markdown]
# :::{why-it-works}
#
# Shown on this page: vectors of few numbers make words share what they learn, and rare words gain by it.
# Dot product, cosine and distance agree when the lengths do.
# The length holds frequency with a sign that training decides, and in vectors of company it is mostly information gain.
# Without positions attention cannot tell a sentence from its reverse, and the dot product of sinusoidal positions knows the difference of two places only.
#
# :::
#
# :::{why-it-might}
#
# That directions in large models are *concepts* which can be added and scaled is a hypothesis, with examples for it and no proof; our one test of a special case failed.
# A model with a causal mask is not quite blind to order: the first token sees one key, the tenth sees ten.
# Deep models trained without any positions turn out to be competitive, and their authors conjecture that this counting is how they do it {cite}`haviv2022`.
#
# :::
#
# ## What to take along
#
# - An id is a name; an embedding is a place among others, and training puts together what is followed by the same.
# - Ask what a dot product was trained for before you read it as nearness.
# - Length is the first thing to suspect: it mixes frequency, training and how telling a word is.
# - A claim about geometry needs a ceiling, a null and a control.
# - Order is not in attention. It has to be put into the vectors, and adding is enough.
#
# Words now have places, and places can be compared.
# The next chapter asks for something by comparing.
#
# **Exercises.** [The sheet of this chapter](../exercises/03_vectors.ipynb) asks you to derive, predict, repair, rotate clocks, and write the shuffling test.
#
# **Further reading.** {cite}`bengio2003` is where word vectors and next-word prediction meet.
# {cite}`mikolov2013` glues pairs of words as we did, on a far larger text.
# {cite}`oyama2023` derives what the length of a word vector knows.
