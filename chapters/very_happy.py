# %% [markdown]
# # Is *very happy* a longer *happy*?
#
# If directions are meanings, what is length?
# A tempting answer: *strength*.
# Then *very happy* would be a longer *happy* in the same direction, and modifiers would stretch vectors.
# This page tests it, on the vectors of [chapter 03](03_vectors.ipynb): what a claim about the geometry of meaning has to bring along is the point, more than the answer.
#
# **Vectors.**
# A phrase needs one.
# So some pairs of words are written as one word, such as `very_quiet`, which is then trained like any other.
# The `tales` never say *very happy*; we ask the phrases that they do have, 18 of them with *very*, *so* and *too*.
#
# **What would have to be true.**
# The phrase points where its word points, and it is longer by a common factor.
#
# **Ceiling.**
# How near are two vectors that mean *exactly* the same?
# A random half of the occurrences of `quiet` is written `quiet*`, only the model does not know that the two are one word.
#
# **Null.**
# Shuffled pairs: `very_quiet` with some other word of the list.
# What holds for these has nothing to do with *quiet*.
#
# **Control.**
# `a_quiet`, `the_old`: written as one word as well, but nobody would say that *the old* is a stronger *old*.
#
# Reading: 10 minutes. Running: under a minute.

# %%
import re
from collections import Counter

import torch
from torch.nn import functional as F

from course.data import tales
from tinyllm.vectors import canonical, similarity

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

# %% [markdown]
# Rewrite three million characters of stories so, and keep the words that occur at least twenty times.


# %%
def rewritten(text, seed=0):
    text, generator = text.lower(), torch.Generator().manual_seed(seed)
    for first, listed in [*DEGREE.items(), *OTHER.items()]:
        either = listed.replace(" ", "|")
        text = re.sub(rf"\b{first} ({either})\b", rf"{first}_\1", text)
    coins = iter((torch.rand(100_000, generator=generator) < 0.5).tolist())
    either = "|".join(seconds)
    return re.sub(rf"\b({either})\b", lambda m: m[0] + "*" * next(coins), text)


PATTERN = r"[a-z_]+(?:['-][a-z]+)*\*?|[^\sa-z_]"
words = re.findall(PATTERN, rewritten(tales(3_000_000)))
counts = Counter(words)
kept = [word for word, n in counts.most_common() if n >= 20]
vocabulary = sorted(kept, key=lambda word: "_" in word or "*" in word) + ["<rare>"]
index, V = {word: i for i, word in enumerate(vocabulary)}, len(vocabulary)
n_plain = sum("_" not in word and "*" not in word for word in kept)


def encode(words):
    return torch.tensor([index.get(word, V - 1) for word in words])


ids = encode(words)
log_count = torch.bincount(ids, minlength=V)[: V - 1].log()  # without <rare>
print(f"{len(ids):,} words; the vocabulary has {n_plain:,} plain ones, {V - n_plain} others")

# %% [markdown]
# The training is that of chapter 03: one vector for each word, logits from dot products, the whole text in each step, three seeds.
# Lengths and angles are taken in canonical form: those of the rows of logits less their mean, which belong to the model and not to the way its logits are factored.


# %%
def table_of(pairs):
    """Pairs i·V + j, counted: shares p(j | i) of each row (V, V), share of each row (V,)."""
    counts = torch.bincount(pairs, minlength=V * V).view(V, V).float()
    rows = counts.sum(-1)
    return counts / rows[:, None].clamp(min=1), rows / rows.sum()


def train_vectors(seed, table, steps=40, C=32):
    p_next, p_word = table
    torch.manual_seed(seed)
    start = (0.1 * torch.randn(V, C), 0.1 * torch.randn(V, C), torch.zeros(V))
    E, W, b = (x.requires_grad_() for x in start)
    optimizer = torch.optim.Adam([E, W, b], lr=0.2, betas=(0.8, 0.9))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    for _ in range(steps):
        loss = F.cross_entropy(E @ W.T + b, p_next, reduction="none") @ p_word
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return canonical(E.detach(), W.detach())


next_table = table_of(ids[:-1] * V + ids[1:])
by_next = [train_vectors(seed, next_table) for seed in range(3)]

# %% [markdown]
# Every phrase and every word of the test occurs often enough to be in the vocabulary.

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
print(", ".join(f"{name} {counts[name]}" for name in pairings["degree"][0][:4]))

# %% [markdown]
# These vectors know what comes *next* and nothing else, and `so_quiet` is followed by *that* because of its grammar.
# So train a second kind, which predicts the words within four places of a word, on either side: the company that it keeps.

# %%
after = [ids[:-d] * V + ids[d:] for d in range(1, 5)]
before = [ids[d:] * V + ids[:-d] for d in range(1, 5)]
company_table = table_of(torch.cat(after + before))
by_company = [train_vectors(seed, company_table, steps=30) for seed in range(3)]
E = by_company[0][:n_plain]
for word in ("baker", "soup"):
    near = similarity(E[index[word]][None], E, "cosine")[0].topk(6).indices[1:]
    print(f"{word:9}{' '.join(vocabulary[j] for j in near)}")

# %% [markdown]
# First the naive look, at lengths alone, and then at directions.


# %%
def vectors_of(E, phrases, plain):
    return (E[[index[name] for name in names]] for names in (phrases, plain))


def compare(models, phrases, plain):
    """For each model: how much longer the phrases are, cosine with their word, shuffled."""
    strangers, rows = torch.tensor([[a != b for b in plain] for a in plain]), []
    for E in models:
        phrase, word = vectors_of(E, phrases, plain)
        cosines = similarity(phrase, word, "cosine")
        ratio = (phrase.norm(dim=-1) / word.norm(dim=-1)).log().mean().exp()
        rows.append([ratio, cosines.diagonal().mean(), cosines[strangers].mean()])
    return torch.tensor(rows)  # (seeds, 3)


both_kinds = {"next word": by_next, "company": by_company}
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
    assert degree[:, 0].mean() > 1.05  # the phrases are longer
    assert degree[:, 1].max() < 0.45 < ceiling[:, 1].min() - 0.4  # and point elsewhere
    cosines = []  # of each phrase with its word, mean over seeds
    for what in ("degree", "control"):
        pairs = [vectors_of(E, *pairings[what]) for E in both_kinds[kind]]
        each = torch.stack([F.cosine_similarity(*pair) for pair in pairs])
        cosines.append(each.mean(0))
    more = cosines[1].mean() - cosines[0].mean()
    error = sum(c.var() / len(c) for c in cosines).sqrt()
    assert (more > 4 * error) == (kind == "next word") and more > -error
    print(f"{kind:10}cosine of the control less that of the phrases: {more:+.2f},", end=" ")
    print(f"standard error {error:.2f}")

# %% [markdown]
# (The standard errors are over phrases.)
# Stop at the first number and the hypothesis is confirmed, with both kinds of vectors: the phrases are longer than their words.
# But the control is longer than its words, too.
#
# The *direction* is wrong.
# One meaning under two names has a cosine of 0.93.
# A phrase and its word have -0.02 or 0.16, not much more than a phrase and a word that it has nothing to do with.
# The control, `the_old` and its like, is nearer to its words than the degree phrases are to theirs, for next words; for company 18 and 8 phrases show no difference.
# (The two lists are not matched in words or counts.)
#
# Prediction says the same.
# Find the best common factor $c$ on all phrases but one, predict the one that was left out as $c$ times its word, and do so for each.
# How much is explained, and how much if the words are shuffled?


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
    for E in models:
        own = explained(E, torch.arange(n))
        shuffled = torch.tensor([explained(E, deal) for deal in deals])
        assert own < 0.1
        print(f"{kind:10} explained {own:.2f}, shuffled {shuffled.mean():.2f}", end=", ")
        print(f"better than {(shuffled < own).float().mean():.0%} of shufflings")

# %% [markdown]
# In the second kind the words do matter: hardly any shuffling does as well.
# But they explain three hundredths at most; in the first kind nothing.
# Then why are the phrases longer?
# It has been derived, for word vectors of another kind, that the squared length is about the **information gain** of the word {cite}`oyama2023`.
# That is $\sum_j p(j \mid i) \ln \frac{p(j \mid i)}{p(j)}$, the **KL divergence** of the company of *this* word from that of *any* word, in nats.
# `very_quiet` is rarer than `quiet` and narrower in its company.
# So fit $\ln |e|$ on the *plain* words, which contain no phrase, by the log count, by the logarithm of the gain, and by both, and predict from the fit how much longer the phrases should be.
#
# *In words:* [cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence), [least squares](mathematics.ipynb#Least-squares).


# %%
def information_gain(p_next, p_word):
    """KL divergence of each row from the mean of all rows, in nats, (V,)."""
    anything = p_word @ p_next  # (V,)
    return (torch.xlogy(p_next, p_next) - torch.xlogy(p_next, anything)).sum(-1)


known, one = information_gain(*company_table)[: V - 1].log(), torch.ones(V - 1)
causes = {"log count": [log_count], "log gain": [known], "both": [log_count, known]}
for name, columns in causes.items():
    X, rows = torch.stack([one, *columns], dim=-1), []  # (words, 2 or 3)
    for E in by_company:
        length = E[: V - 1].norm(dim=-1).log()
        fit = torch.linalg.lstsq(X[:n_plain], length[:n_plain, None]).solution
        guess = (X @ fit)[:, 0]
        row = [1 - (length - guess)[:n_plain].var() / length[:n_plain].var()]
        for phrases, plain in pairings.values():
            i, j = encode(phrases), encode(plain)
            row += [(x[i] - x[j]).mean().exp() for x in (guess, length)]
        rows.append(row)
    r2, *ratios = torch.tensor(rows).mean(0).tolist()
    expected = zip(pairings, ratios[::2], ratios[1::2])
    listed = [f"{what} × {guess:.2f} ({found:.2f})" for what, guess, found in expected]
    print(f"{name:9} R² {r2:.2f}:", ", ".join(listed))

# %% [markdown]
# R² is the share of the variance of $\ln|e|$ that the fit explains among the plain words; then the length that the fit expects of the phrases, with the measured one in parentheses.
# The gain alone explains 0.78 of the variance, the log count alone 0.17, both together 0.82.
# And the gain, with no notion of strength, expects most of the length that was measured: 1.35 times the word's for the degree phrases, 1.10 for the control, 1.00 for the ceiling.
# (Part of the gain is chance: what was seen 25 times looks more telling than it is. And part of the fit is built in: the length of a canonical row and the gain both measure how far the logs of a word's shares are from those of any word.)
#
# **Verdict.**
# Not supported.
# In these vectors a modifier does not stretch its word.
# What this can show is limited: a small text that a program wrote, 18 phrases, vectors that know one word or eight, and no *very happy*.
# It does show what such a claim needs: a ceiling, a null, a control, and a look at what else makes vectors long.
#
# **Exercise.** [Sheet 03](../exercises/03_vectors.ipynb) asks for the shuffling test of this page.
#
# **Further reading.** {cite}`mikolov2013` gives pairs of words one vector, as we did, on a far larger text.
# {cite}`oyama2023` derives the information gain in the length.
