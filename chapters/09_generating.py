# %% [markdown]
# # Generating
#
# Here is Taleteller, the model that comes with this book.
# Ask it for a story, and of all tokens take the likeliest, one after the other.
# Then ask it for another one.

# %%
import textwrap

from tinyllm.generation import generate
from tinyllm.model import load, load_tokenizer

model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
START = tokenizer.encode("\n\n")  # a story begins where another one has ended


def show(story):
    text = tokenizer.decode(story.tolist()).strip() + " …"
    print(textwrap.fill(text, 80, subsequent_indent="    "))


for _ in range(2):
    show(generate(model, START, 60, temperature=0))

# %% [markdown]
# It is the same story, and it will be the same tomorrow.
# A model is a function: the same text gives the same probabilities, the same probabilities have the same maximum.
# It has learned from tens of thousands of stories, and it tells one.
#
# Something has to *choose*, and chance is the obvious candidate: draw each token with the probability that the model gives it.

# %%
import torch

drawn = generate(model, [START] * 4, 25, generator=torch.Generator().manual_seed(0))
for story in drawn:
    show(story)

# %% [markdown]
# Four stories.
# But chance also draws what the model holds for nearly impossible, once in a while, and a story has two or three hundred tokens.
# Between the parrot and the drunkard there is a dial, and there are several ways to build it.
#
# :::{admonition} You will be able to
# :class: tip
# - choose the next token by temperature, top-k, top-p and min-p, and say what each of them cuts away, right and wrong;
# - measure what such a choice is worth, with a judge that knows the truth;
# - generate with a cache that provably changes nothing, and count what it saves and what it costs.
#
# Reading: 40 minutes. Running: about a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the way from the probabilities to a chosen token and back into the text marked as this chapter's"
from course.figures import machine_map

machine_map(here="generation")

# %% [markdown]
# From earlier chapters we take attention, the smoother and the model; from the corpus its teller and its grammar.

# %%
import math
from dataclasses import replace
from itertools import islice

from torch import Tensor, nn
from torch.nn import functional as F

from course.data.tales import parse, tell
from course.figures import COLORS, figure
from tinyllm.attention import attention
from tinyllm.generation import check_sampling, truncate
from tinyllm.smoothing import nadaraya_watson

# %% [markdown]
# (one-query-all-tokens)=
# ## One query, two thousand keys
#
# The last step of the model is a product: the vector of the last token with each row of the head.
# We have seen this before, under another name: one query, and as many keys as there are tokens.
# Then a softmax makes weights of the scores.
# All that is missing for chapter 04 are values, and the value of a token is the token itself.
#
# So the temperature of generation is [the temperature of a lookup](#temperature-to-zero), this time in a dictionary that lists the vocabulary:
#
# $$ p_j = \frac{e^{\,x \cdot w_j / T}}{\sum_i e^{\,x \cdot w_i / T}} $$
#
# Dividing a logit by $T$ raises its probability to the power $1/T$.
# By hand: from ½, 0.3 and 0.2, half the temperature makes the squares 0.25, 0.09 and 0.04, and divided by their sum that is 0.658, 0.237 and 0.105.

# %% tags=["quote"]
from tinyllm.generation import next_token

# %% [markdown]
# The other three options are for a [section below](#what-to-cut).
# First the two numbers at both ends of the dial, and ours by hand.

# %%
logits = torch.tensor([0.5, 0.3, 0.2]).log()
for temperature in (0, 0.5, 1, 2, 100):
    p = next_token(logits, temperature)
    print(f"T = {temperature:<3}", *(f"{x:.3f}" for x in p))

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The text so far asks, and every token of the vocabulary is a key.
#   The temperature says how exact the match must be: at 0 the best key takes all.
# - **As a smoother.** The rows of the head are places, and the text so far is at $x$.
#   Each place spreads a bell of width $h = \sqrt T$; a token is likely where its bell is high, and it counts $e^{|w_j|^2/2T}$ times.
#
# [Temperature is the square of a bandwidth](#bandwidth-is-temperature) here as there.
#
# :::
#
# Here is the equality, for a text that leaves much open: the name of a frog.

# %%
@torch.no_grad()
def at_the_end(text):
    """What the head reads after this text, (1, C)."""
    ids = torch.tensor(tokenizer.encode(text))
    x = model.token(ids) + model.position.weight[: len(ids)]
    for block in model.blocks:
        x = block(x)
    return model.norm(x[-1:])


opening = "\n\nIn Underhill, above the cheese shop, lived a stout frog named"
query, keys = at_the_end(opening).double(), model.head.weight.detach().double()
itself = torch.eye(len(keys), dtype=torch.float64)  # (V, V): the value of a token
for T in (0.5, 1.0, 2.0):
    p = next_token(query @ keys.T, T)
    looked_up = attention(query, keys, itself, scale=1 / T)
    counts = (keys.square().sum(-1) / (2 * T)).exp()
    smoothed = nadaraya_watson(query, keys, itself, math.sqrt(T), key_weights=counts)
    assert torch.allclose(looked_up, p, rtol=0, atol=1e-12)
    assert torch.allclose(smoothed, p, rtol=0, atol=1e-12)
"three temperatures: the lookup and the smoother over the vocabulary are the softmax"

# %% [markdown]
# The whole machine ends as it works inside, with one lookup.
# The lengths of the keys matter here, too: a token with a long row is *loud*, and is said more often than its direction deserves.
#
# (colder-tokens)=
# ## Colder tokens are not a colder story
#
# The formula is about one token.
# We want a story, so what does the temperature do to *stories*?
#
# Take the smallest language with a plot.
# A story begins with A, probability 0.6, or with B, 0.4.
# A is followed by one of three endings, equally likely; B has a single one.
# So there are four stories: three with 0.2 each, and B's with 0.4.

# %%
first = torch.tensor([0.6, 0.4])  # A, B
stories = torch.tensor([0.2, 0.2, 0.2, 0.4])  # A's three, and B's
for T in (1.0, 0.5, 0.1):
    by_token = next_token(first.log(), T)[1]  # after B, the ending is certain
    by_story = next_token(stories.log(), T)[3]
    print(f"T = {T}: story B {by_token:.3f} by tokens, {by_story:.3f} by stories")

# %% [markdown]
# Cooling the stories makes the likeliest one more likely.
# Cooling the *tokens* makes it disappear, because the choice of A comes before anybody asks what follows.
# Greedy decoding is not the search for the likeliest text, and temperature ½ is not the distribution of texts at temperature ½.
# Both are what one gets when one decides in order and never comes back.
#
# Does that happen outside of a toy?
# Let Taleteller score three kinds of stories: its own greedy one, 64 that it tells at $T = 0.1$, where a token that is not the likeliest is rarely taken, and a hundred that the corpus would tell next.
# How surprising, $-\log p$ in nats, are the first 128 tokens?

# %%
@torch.no_grad()
def surprise(ids):
    """-log p of what stands after START, in nats, for texts (B, T) of equal length."""
    logits = model(ids[:, :-1])[:, len(START) - 1 :]
    targets = ids[:, len(START) :]
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(-1)


generator = torch.Generator().manual_seed(0)
cold = generate(model, [START] * 64, 128, temperature=0.1, generator=generator)
tales = [tokenizer.encode(tale.text)[:128] for tale in islice(tell(1), 100)]
greedy = surprise(generate(model, START, 128, temperature=0)[None])
cold = surprise(torch.stack(cold))
real = surprise(torch.tensor([START + ids for ids in tales]))
print(f"greedy {greedy.item():.1f}, best at 0.1 {cold.min():.1f}", end="")
print(f", real {real.mean():.1f} ± {real.std():.1f}")
assert cold.min() < greedy < real.min()
"a story that was not quite greedy is likelier than the greedy one"

# %% [markdown]
# Greed loses at its own game, if only just, to a story that once took the second best and found a better way on.
# And look at the real ones: they are far less likely than both, every one of them.
# Likely texts are not typical texts, just as the likeliest roll of a hundred loaded dice, all of them sixes, is hardly ever rolled.
# Who wants stories like the real ones must not look for likely ones.
#
# (what-to-cut)=
# ## What to cut
#
# Temperature turns all tokens up or down together.
# The other family of dials cuts: some tokens get probability zero, the rest is divided by its sum.
#
# | | keeps | source |
# |---|---|---|
# | **top-k** | the $k$ likeliest | {cite}`fan2018` |
# | **top-p** | the likeliest that together have at least $p$ | {cite}`holtzman2020` |
# | **min-p** | all with at least $p$ times the probability of the likeliest | {cite}`nguyen2025` |
#
# All three want the tokens ranked.

# %% tags=["quote"]
from tinyllm.generation import truncate

# %% [markdown]
# By hand, with ½, ¼, 0.15 and 0.1: `top_k=2`, `top_p=0.7` and `min_p=0.4` all keep the first two, as ⅔ and ⅓, each for a reason of its own.

# %%
logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
two = torch.tensor([2 / 3, 1 / 3, 0, 0])
for setting in ({"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.4}):
    assert torch.allclose(next_token(logits, **setting), two)
"the same two, three times"

# %% [markdown]
# Which of them cuts in the right place?
# With human text nobody can say, since nobody knows which words were possible.
# Our tales have a grammar, and `parse` tells how far a text agrees with it: a token is possible if the text with it is still the beginning of some story.
#
# Two places in one sentence: the frog's name, which is open, and the word after *the hastiest of*, which is not.


# %%
@torch.no_grad()
def next_logits(text):
    return (at_the_end(text) @ model.head.weight.T)[0]  # (V,)


def follows(text, token_id):
    """Is the text with this token still the beginning of a story?"""
    text += tokenizer.decode([token_id])
    return parse(text).reached == len(text)


def possible(text):
    """Which tokens of the vocabulary can follow; boolean (V,)."""
    text = text.strip()  # the grammar knows nothing of blank lines
    return torch.tensor([follows(text, i) for i in range(model.config.vocab_size)])


places = {"a name": opening, "one word": opening + " Barney, the hastiest of"}
expected = {name: (next_logits(text), possible(text)) for name, text in places.items()}
{name: int(can.sum()) for name, (_, can) in expected.items()}

# %% [markdown]
# That many of the tokens can follow in truth.
# (A piece of a word counts, ` B` for `Barney`.)
# And this is what the model expects, ranked, with the places where three dials cut.

# %% alt="Probability against rank on logarithmic axes in two panels, tokens that are possible in one color and impossible ones in another; after a name many possible tokens form a plateau that ends in a cliff, after one certain word the cliff stands behind rank 1; top-k cuts both at 10, min-p cuts at both cliffs"
dials = {"top-k": {"top_k": 10}, "top-p": {"top_p": 0.9}, "min-p": {"min_p": 0.1}}
fig, axes = figure(columns=2, height=3.4)
cuts = {}
for ax, (name, (logits, can)) in zip(axes, expected.items()):
    p, order = next_token(logits).sort(descending=True)
    rank = torch.arange(1, len(p) + 1)
    for label, which in (("impossible", ~can[order]), ("possible", can[order])):
        color = COLORS["CYCLE"][0 if label == "possible" else 1]
        ax.loglog(rank[which], p[which], ".", color=color, label=label, markersize=5)
    for dial, style in zip(dials, ("--", ":", "-")):
        cuts[name, dial] = int((next_token(logits, **dials[dial]) > 0).sum())
        at = cuts[name, dial] + 0.5
        ax.axvline(at, color=COLORS["QUIET"], linestyle=style, label=dial, linewidth=1.2)
    ax.set(xlabel="rank", ylim=(1e-9, 2), xlim=(0.8, 3000))
axes[0].set(ylabel="probability", title="A name: ten are too few")
axes[1].set(title="One word: ten are too many")
axes[0].legend(loc="lower left", fontsize=9)
assert cuts["a name", "top-k"] < cuts["a name", "top-p"] < cuts["a name", "min-p"]
assert cuts["one word", "top-k"] == 10 and cuts["one word", "min-p"] == 1
fig

# %% [markdown]
# Both curves fall off a cliff, one behind the names, the other right behind the one word.
# To the left of it everything is possible, to the right next to nothing.
# (The few dark dots far down are pieces of names, letters at which the tokenizer would not cut.)
# Count what each dial leaves of the wrong side, and takes from the right one.

# %%
for name, (logits, can) in expected.items():
    for dial, setting in ({"T = 1": {}, "T = 0.7": {"temperature": 0.7}} | dials).items():
        p = next_token(logits, **setting)
        kept, lost = int((p > 0).sum()), int((can & (p == 0)).sum())
        tail = f"impossible {p[~can].sum():.4f}"
        print(f"{name:8}  {dial:7}  kept {kept:4}  {tail}  possible ones lost {lost:3}")

# %% [markdown]
# **Top-k** does not know where it is: it leaves ten of a hundred names, and nine more behind the only word.
# **Top-p** stops when it has enough: of a plateau it throws away a tenth, names as good as those it keeps.
# **Min-p** asks how far below the best a token lies, so it moves with the plateau and cuts near the cliff.
# **Temperature** cuts nothing; it makes the tail smaller, and the plateau less even.
#
# Why is there a tail at all, if no story has ever gone on that way?
# Because a softmax has no zero, and because a model that has not seen everything has to leave room for what it has not seen.
# Chapter 02 did that by hand, with its back-off; cutting takes it back, and has been called *desmoothing* for it {cite}`hewitt2022`.
#
# The tail is small.
# But a story is long.
# With $\varepsilon$ for the probability of something impossible at a typical token, a text of $n$ tokens has none with probability $(1-\varepsilon)^n \approx e^{-\varepsilon n}$: at one in a hundred, one story in ten gets through 230 tokens.
#
# (sense-and-choice)=
# ## Sense against choice
#
# Cutting makes sense, and it takes away choice; all the way down there is one story again.
# Is that always the same trade, or is one dial better than another?
#
# An experiment can settle it, and here it needs no chance at all.
# Take real stories, stop at many places, and look at the distribution that a dial makes of the model's.
# Two numbers say what it is worth.
# **Nonsense**: how much probability is left for tokens that are impossible there.
# **Choice**: the entropy of the rest, the possible tokens, in nats per token.
# Twelve stories, every fourth of their first 128 tokens.
# (Tokens below $10^{-4}$ are not parsed but taken for impossible; together they have less than 0.3 %.)

# %%
@torch.no_grad()
def stops(story, start):
    """At every fourth token of a story: what came before, the logits, what can follow."""
    ids = START + tokenizer.encode(story)[:128]
    for t, row in enumerate(model(torch.tensor(ids[:-1])), start=1):
        if t >= len(START) and t % 4 == start:
            can = torch.zeros(len(row), dtype=torch.bool)
            likely = (next_token(row) > 1e-4).nonzero()[:, 0].tolist()
            text = tokenizer.decode(ids[len(START) : t])
            can[likely] = torch.tensor([follows(text, i) for i in likely])
            yield ids[:t], row, can


found = [list(stops(tale.text, n % 4)) for n, tale in enumerate(islice(tell(2), 12))]
story_of = torch.tensor([n for n, story in enumerate(found) for _ in story])  # (N,)
seen, logits, can = zip(*(stop for story in found for stop in story))
logits, can = torch.stack(logits), torch.stack(can)  # (N, V)
p = next_token(logits)
assert (p * (p < 1e-4)).sum(-1).mean() < 0.003
len(seen)

# %% [markdown]
# Each dial now draws a curve, from a setting that hardly does anything to one that leaves little.
# The nonsense, in that order:

# %%
def sense_and_choice(logits, **setting):
    """Probability of what is impossible, and entropy of what is possible, (N,) each."""
    p = next_token(logits, **setting)
    good = p * can
    q = good / good.sum(-1, keepdim=True).clamp(min=1e-9)
    return (p * ~can).sum(-1), -(q * q.clamp(min=1e-30).log()).sum(-1)


curves = {
    "temperature": (1, 0.85, 0.7, 0.55, 0.4),
    "top_k": (100, 50, 20, 10, 5),
    "top_p": (0.99, 0.95, 0.9, 0.8, 0.6),
    "min_p": (0.01, 0.02, 0.05, 0.1, 0.2),
}
measured = {
    dial: torch.tensor(
        [[x.mean() for x in sense_and_choice(logits, **{dial: v})] for v in values]
    )
    for dial, values in curves.items()
}
{dial: [f"{wrong:.4f}" for wrong, _ in points] for dial, points in measured.items()}

# %% [markdown]
# The right place in this picture is low and far to the right: little nonsense, much choice.

# %% alt="Percent of probability on impossible tokens against choice in nats per token, one curve for each of four dials that all start at the upper right: min-p runs lowest where most choice is left, temperature where much is given up, and top-k highest, losing the most choice"
fig, ax = figure(height=3.9)
for (dial, points), mark, color in zip(measured.items(), "oDs^", COLORS["CYCLE"]):
    ax.plot(points[:, 1], 100 * points[:, 0], color=color, marker=mark, label=dial)
    for value, (wrong, choice) in list(zip(curves[dial], points.tolist()))[2::2]:
        ax.annotate(f"{value:g}", (choice, 100 * wrong), (5, 4), color=color, fontsize=9,
                    textcoords="offset points")
ax.set(xlabel="choice left (nats per token)", ylabel="impossible (% of probability)")
ax.set_title("Top-k pays most for sense; for a light cut min-p pays least")
ax.legend(loc="upper left")
fig

# %% [markdown]
# Curves from twelve stories could cross by accident.
# So compare within each story: give the temperature that leaves *exactly as much choice* as a cut, and look at who leaves more nonsense.

# %%
def as_much_choice(choice):
    """The temperature that leaves this much choice."""
    low, high = 0.05, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        _, now = sense_and_choice(logits, temperature=middle)
        low, high = (middle, high) if now.mean() < choice else (low, middle)
    return middle


worse = {}
settings = [{"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.05}, {"min_p": 0.1}, {"min_p": 0.2}]
for setting in settings:
    wrong, choice = sense_and_choice(logits, **setting)
    T = as_much_choice(choice.mean())
    more = wrong - sense_and_choice(logits, temperature=T)[0]
    each = torch.stack([more[story_of == n].mean() for n in range(12)])
    [(dial, value)] = setting.items()
    worse[dial, value] = int((each > 0).sum())
    spread = f"{100 * each.mean():+.2f} ± {100 * each.std() / 12**0.5:.2f} %"
    print(f"{dial} {value:<4} against T = {T:.2f}: {spread}", end="")
    print(f", worse in {worse[dial, value]} of 12 stories")
assert worse["top_k", 20] >= 11 and worse["min_p", 0.05] <= 1

# %% [markdown]
# Settled, for this model and this text: top-k does worse than a temperature, top-p at 0.9 about as well, and min-p better, as the picture with the cliff would have it.
# That is so for a light cut.
# At 0.2 the picture prefers a low temperature, and the stories do not settle it: the difference is hardly larger than its error.
#
# But look where the axis begins.
# No curve gets below half a percent; what is left there was never in the tail.
# Where is it?

# %%
wrong, _ = sense_and_choice(logits)
worst = wrong.argsort(descending=True)
few = len(worst) // 20
share = wrong[worst[:few]].sum() / wrong.sum()
for i in worst[:3].tolist():
    text = tokenizer.decode(seen[i]).strip().replace("\n", " ")
    best = [tokenizer.decode([j]) for j in logits[i].topk(3).indices.tolist()]
    print(f"…{text[-44:]} |", *best)
assert share > 0.6
f"{share:.0%} of all nonsense stands at {few} of {len(worst)} places"

# %% [markdown]
# These are not accidents of the tail.
# At a few places the model has lost track of what was said: of the day that was agreed upon, of which animal it was, of who came along.
# It expects a day, any day: a plateau, with hardly a right token on it.
# Every dial trusts a plateau.
# What was said has to be *known*, and that is a matter of training, not of choosing.
#
# Does all this show in stories that the model tells itself?
# Count mistakes per thousand characters, up to the first in each of three times sixteen beginnings, and for variety the share of different ones among all runs of four words.

# %%
def begin_stories(n, **setting):
    """The first 128 tokens of n stories, or less where one has ended."""
    generator = torch.Generator().manual_seed(0)
    told = generate(model, [START] * n, 128, generator=generator, **setting)
    texts = (tokenizer.decode(ids[len(START) :].tolist()) for ids in told)
    return [text.split("\n\n")[0] for text in texts]


def mistakes(texts):
    reached = [parse(text).reached for text in texts]
    return 1000 * sum(n < len(t) for n, t in zip(reached, texts)) / sum(reached)


def variety(texts):
    words = [text.split() for text in texts]
    runs = [tuple(w[i : i + 4]) for w in words for i in range(len(w) - 3)]
    return len(set(runs)) / len(runs)


# %% [markdown]
# The corpus goes along, as the best that can be had: no mistake, and the variety that is really there.

# %%
told = {"the corpus": [tokenizer.decode(ids) for ids in tales[:48]]}
for T in (1.3, 1.0, 0.7):
    told[f"T = {T}"] = begin_stories(48, temperature=T)
told["min-p 0.1"] = begin_stories(48, min_p=0.1)
scores = {}
for name, texts in told.items():
    groups = [texts[i::3] for i in range(3)]
    scores[name] = torch.tensor([[mistakes(g), variety(g)] for g in groups])
    (wrong, new), (wrong_by, new_by) = scores[name].mean(0), scores[name].std(0)
    print(f"{name:10}  mistakes {wrong:.1f} ± {wrong_by:.1f}", end="   ")
    print(f"variety {new:.3f} ± {new_by:.3f}")
hot, plain, cut = (scores[name].mean(0)[0] for name in ("T = 1.3", "T = 1.0", "min-p 0.1"))
assert hot > plain > cut > 0

# %% [markdown]
# It does, with more noise: forty-eight stories say less than four hundred places at which the truth is known.
#
# (repetition)=
# ## Against repetition
#
# Models that take the likeliest token can fall into loops {cite}`holtzman2020`, and a popular remedy is to punish tokens that the text has already {cite}`keskar2019`.

# %% tags=["quote"]
from tinyllm.generation import penalize

# %% [markdown]
# Look at what it does with the sign.
# Logits have no zero of their own: add 3 to all of them, and the softmax gives the same probabilities.
# The penalty does not.

# %%
three = torch.tensor([2.0, 1.0, 0.0])
for shift in (-3.0, 0.0, 3.0):
    before = next_token(three + shift)
    after = next_token(penalize(three + shift, torch.tensor([0]), 1.3))
    print(f"shift {shift:4}: {before[0]:.3f} becomes {after[0]:.3f}")

# %% [markdown]
# The same model, the same penalty, three different punishments, by a constant that means nothing.
# (To subtract a number instead has no such flaw.)
#
# And should one punish?
# A story about Barney says *Barney* five times, and the model has learned to.
# We still have the places of the experiment, with all that each text has said.

# %%
for penalty in (1.0, 1.1, 1.3, 1.5):
    rows = [penalize(row, torch.tensor(ids), penalty) for row, ids in zip(logits, seen)]
    wrong, choice = sense_and_choice(torch.stack(rows), min_p=0.1)
    each = torch.stack([wrong[story_of == n].mean() for n in range(12)])
    unpunished = each if penalty == 1 else unpunished
    more = int((each > unpunished + 1e-6).sum())
    less = int((each < unpunished - 1e-6).sum())
    total = f"{100 * wrong.mean():.2f} % impossible"
    print(f"penalty {penalty}: {total}, more in {more} stories, less in {less}")
assert more > 6 and less <= 1

# %% [markdown]
# The penalty cannot tell a loop from a name.
# What it takes from the right name it gives to the wrong ones.
#
# ## Nothing is computed twice
#
# For each new token the model reads the whole text again.
# Need it?
# The causal mask says that no token sees what comes after it.
# So when the text grows by one, nothing changes in the vectors of the others, in no layer: their keys and values are what they were.
# Keep them.

# %%
from tinyllm.generation import in_long_rows
from tinyllm.model import GPT

# %% tags=["quote"]
from tinyllm.generation import Cache

# %% [markdown]
# With them in memory, a new token needs its own query, key and value in each layer, and nothing else.

# %%
from tinyllm.generation import hear, normed

# %% tags=["quote"]
from tinyllm.generation import extend

# %% [markdown]
# The call takes any number of new tokens: a whole prompt at first, then one at a time, or anything between.
# However a text is cut into calls, the logits must be those of the whole.
# Twenty random splits say so.

# %%
tale = next(tell(1)).text
ids = torch.tensor(START + tokenizer.encode(tale))[:200]
with torch.no_grad():
    whole = model(ids)
generator = torch.Generator().manual_seed(0)
for _ in range(20):
    cuts = torch.randint(1, 200, (5,), generator=generator).sort().values
    memory = Cache(model, 1, 200)
    pieces = [piece for piece in ids.tensor_split(cuts) if len(piece)]
    parts = [extend(model, piece[None], memory)[0] for piece in pieces]
    assert torch.allclose(torch.cat(parts), whole, rtol=0, atol=1e-3)
"20 ways to cut a text: the same logits"

# %% [markdown]
# The loop of generation is now short: look up, choose, write down.
# (`generate` adds several texts, stops, and what happens at the end of the context.)

# %%
def greedy_loop(ids, n):
    memory, new = Cache(model, 1, len(ids) + n), ids
    for _ in range(n):
        logits = extend(model, new[None], memory)[0, -1]  # (V,)
        new = next_token(logits, temperature=0).argmax()[None]
        ids = torch.cat([ids, new])
    return ids


prompt = torch.tensor(tokenizer.encode(opening))
for cache in (True, False):
    theirs = generate(model, prompt, 50, temperature=0, cache=cache)
    assert torch.equal(greedy_loop(prompt, 50), theirs)
new = greedy_loop(prompt, 50)[len(prompt) :]
print(textwrap.fill("…" + tokenizer.decode(new.tolist()), 80))

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The cache *is* the dictionary: each layer and head has one, a token adds an entry to each, and nothing is ever overwritten or removed.
#   To generate is to look up, and to write down what was found.
# - **As a smoother.** The cache holds the data: places and measurements.
#   A kernel smoother has no parameters that sum the data up, so it must keep every point, and each answer costs a pass over all.
#
# :::
#
# So the stored numbers must be all that either view needs.
# Take the next token's query in the first layer's first head, and ask both.

# %%
memory = Cache(model, 1, 200)
extend(model, ids[None], memory)
keys, values = memory.keys[0, 0, 0], memory.values[0, 0, 0]  # (T, d_head)
with torch.no_grad():
    x = model.token(ids[-1]) + model.position.weight[199]
    block = model.blocks[0]
    query = block.attention.qkv(block.norm_1(x))[: keys.shape[-1]]  # of head 0
q, k, v = query[None].double(), keys.double(), values.double()
h2 = math.sqrt(k.shape[-1])
counts = (k.square().sum(-1) / (2 * h2)).exp()
smoothed = nadaraya_watson(q, k, v, math.sqrt(h2), key_weights=counts)
assert torch.allclose(attention(q, k, v), smoothed, rtol=0, atol=1e-9)
"the dictionary's answer and the smoother's, from the same 200 stored points"

# %% [markdown]
# (what-memory-costs)=
# ## What it costs
#
# A key and a value of $C$ numbers, in each layer, for each token of each text:
#
# $$ \text{bytes} = 2 \cdot n_\text{layer} \cdot B \cdot T \cdot C \cdot \text{bytes per number} $$
#
# The number of heads is not in it, only their width together.

# %%
config = model.config
for B in (1, 16):
    full = Cache(model, B, config.block_size)
    T, C = config.block_size, config.d_model
    assert full.n_bytes == 2 * config.n_layer * B * T * C * 4
    weights = sum(p.nbytes for p in model.parameters())
    print(f"{B:2} texts: cache {full.n_bytes / 1e6:5.1f} MB, weights {weights / 1e6:.1f} MB")

# %% [markdown]
# A few texts at once, and the memory of what was said is larger than the model that says it.
# With 32 layers of 4096 channels and two bytes per number it is half a megabyte, for each token of each text.
#
# ## What it saves
#
# Count multiplications.
# A token is multiplied with all weights but the embeddings, once, and with the keys and values of what it sees.

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def multiplications(length, new):
    """Of reading the last `new` tokens of a text with all `length` before their eyes."""
    n_layer, C, V = config.n_layer, config.d_model, config.vocab_size
    return new * (n_layer * 12 * C * C + V * C + n_layer * 2 * length * C)


# %% [markdown]
# Is that what is computed?
# PyTorch can count: a multiplication with its addition is two of its operations.

# %%
memory = Cache(model, 1, 200)
with FlopCounterMode(display=False) as without, torch.no_grad():
    model(ids)
extend(model, ids[None, :-1], memory)
with FlopCounterMode(display=False) as cached, sdpa_kernel(SDPBackend.MATH):
    extend(model, ids[None, -1:], memory)
assert without.get_total_flops() == 2 * multiplications(200, 200)
assert cached.get_total_flops() == 2 * multiplications(200, 1)
without.get_total_flops() / cached.get_total_flops()

# %% [markdown]
# The formula is exact, and token 200 costs a two hundredth with the cache of what it costs without.

# %% alt="Multiplications per new token against the length of the text on a logarithmic axis: without a cache they grow to several hundred times those with a cache, which stay nearly constant"
lengths = torch.arange(1, config.block_size + 1)
per_token = {
    "without a cache": [multiplications(n, n) for n in lengths.tolist()],
    "with a cache": [multiplications(n, 1) for n in lengths.tolist()],
}
fig, ax = figure()
for (name, work), color in zip(per_token.items(), COLORS["CYCLE"]):
    ax.semilogy(lengths, work, color=color)
    ax.annotate(name, (230, 1.6 * work[250]), color=color)
ax.set(xlabel="tokens in the text", ylabel="multiplications per new token")
ax.set(ylim=(5e5, 5e9), title="The cache saves a factor as large as the text is long")
saved = [sum(work) for work in per_token.values()]
assert 0.45 < saved[0] / saved[1] / len(lengths) < 0.6
fig

# %% [markdown]
# Over a whole text it is the mean of those factors, about half its length.
# The clock will not show you that factor.
# Without a cache a step is one large product, which a processor is good at.
# With it, every weight is fetched from memory to be used *once*: one multiplication for four bytes read, and for a model as small as ours Python itself takes longer than the arithmetic.
# (So `in_long_rows` copies a matrix if that makes it faster to fetch, and changes no number.)
# Texts that are generated together share the fetching, which is why one generates many at once.
# What the clock does show, with and without cache, for one text and for sixteen, is in `bench/generation.md`.
#
# (unequal-prompts)=
# ## Texts of unequal length
#
# To share the fetching, texts have to stand in one tensor, and prompts have different lengths.
# Put the empty places *in front*: then all texts end in the same slot, and the next token of each goes into the one after it.
# Two things have to know about the padding: the mask, so that nobody attends to it, and the positions, so that each text begins at 0.

# %%
prompts = ["\n\n", "\n\nIn Underhill, above the cheese shop,", "\n\nEverybody in Snowberry"]
prompts = [tokenizer.encode(prompt) for prompt in prompts]
T = max(map(len, prompts))
for prompt in prompts:
    padding = T - len(prompt)
    position = [max(0, slot - padding) for slot in range(T)]
    print(" ".join("." if slot < padding else f"{position[slot]}" for slot in range(T)))

# %% [markdown]
# A dot is nobody's; the rest are positions.
# If this is right, no text can tell that it has company.

# %%
together = generate(model, prompts, 60, temperature=0)
alone = [generate(model, prompt, 60, temperature=0) for prompt in prompts]
assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
[len(text) for text in together]

# %% [markdown]
# (longer-than-the-context)=
# ## Longer than the context
#
# The model has a position vector for each of 384 places, and none for the next.
# What should happen to a text that goes on?

# %%
try:
    generate(model, START, 1000)
except ValueError as error:
    print(error)

# %% [markdown]
# It says no, before it has begun, because the alternative changes what the model knows, and the reader should be asked.
# The alternative is to let go of the beginning.
# But then every token stands at a new position, its vector changes, and *all* keys in the cache are worthless: the visible part has to be read again.
# How much to let go of at once?

# %% tags=["quote"]
from tinyllm.generation import visible_from

# %% [markdown]
# Our library hops on by half a context.
# For any hop: after it the model reads the rest of the window, then single tokens until the window is full again.
# Together that is one full context read per hop, so $T / \text{hop}$ tokens are read for each one written.

# %%
def read_per_token(hop, T=384, n=38_400):
    """Tokens read for each token written, once the text is longer than the context."""
    read, before = 0, None
    for length in range(T + 1, T + 1 + n):
        begin = -(-(length - T) // hop) * hop
        read += 1 if begin == before else length - begin
        before = begin
    return read / n


assert visible_from(385, 384) == 192 and visible_from(577, 384) == 384
for hop in (1, 48, 192, 384):
    print(f"hop {hop:3}: reads {read_per_token(hop):5.1f}, sees at least {385 - hop:3}")

# %% [markdown]
# Sliding by one token at a time reads everything again for each token: the cache is gone.
# Half a context costs two reads per token and never leaves the model with less than half of what it could see.
#
# A thousand tokens, then, by choice.
# How many stories are in it, and does the model know, after all that, how one begins?

# %%
generator = torch.Generator().manual_seed(0)
long = generate(model, START, 1000, min_p=0.1, slide=True, generator=generator)
stories = tokenizer.decode(long[len(START) :].tolist()).split("\n\n")
for story in stories:
    print(len(story), story[:48], "…")

# %% [markdown]
# (streaming)=
# ## A text that appears while it is written
#
# Two things can go wrong when tokens are shown one by one.
# A token is a piece of *bytes*, and a character may need several: `é` two, a pie four.
# And a text should end where a story does, at a blank line, which is two tokens, `\n` and `\n`; a single one begins a paragraph.
# So the end is no token id that one could stop at, but a string that may be spread over several.
#
# Taleteller does not say *pie* in one character, so let us have a model that says what we want: a parrot.

# %%
class Parrot(nn.Module):
    """Whatever comes, what comes next is the next token of one text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.token = torch.tensor(tokenizer.encode(text)), nn.Embedding(1, 1)
        self.config = replace(model.config, block_size=len(self.ids))

    def forward(self, ids):
        following = self.ids[1 : ids.shape[-1] + 1]
        return F.one_hot(following, self.config.vocab_size).float()[None]  # (1, T, V)


said = "Zoë ate a 🥧.\nThen she slept.\n\nIn Underhill"
parrot = Parrot(said)
" ".join(tokenizer.decode([i]) for i in parrot.ids[:9].tolist())

# %% [markdown]
# Decoded one by one, the `ë` and the pie are a row of replacement marks.
# What to do is not to guess: hold back what is not yet a character, and hold back what may be the beginning of the end.

# %%
import codecs
from collections.abc import Collection, Iterator

from tinyllm.generation import new_ids, overlap
from tinyllm.tokens import Tokenizer

# %% tags=["quote"]
from tinyllm.generation import stream

# %% [markdown]
# Here is what a reader sees arrive, piece by piece.

# %%
options = dict(stop=["\n\n"], cache=False, temperature=0)
pieces = list(stream(parrot, tokenizer, "Z", len(parrot.ids) - 1, **options))
assert "Z" + "".join(pieces) == said.split("\n\n")[0] and "\ufffd" not in "".join(pieces)
pieces

# %% [markdown]
# The pie comes whole.
# The first line end waits for the token after it, which shows that it was only a paragraph; the last one never comes.
#
# :::{why-it-works}
#
# Shown: the distribution over tokens is a lookup and a smoother over the vocabulary, to the last digit.
# Probability under impossible tokens is a tail and a few wrong beliefs; a cut that follows the likeliest token removes most of the tail at the least cost in choice.
# Keys and values of earlier tokens cannot change, so a cache changes nothing; it costs $2\, n_\text{layer} C$ numbers per token and saves a factor of half the text.
#
# :::
#
# :::{why-it-might}
#
# That truncation helps because the tail is *smoothing*, room left for the unseen, is a picture {cite}`hewitt2022`; our grammar shows a cliff, human language need not have one.
# In the tales all names are equally likely, which suits a rule that compares with the likeliest; a text with a longer slope may prefer another.
# Which dial serves human readers best, a grammar cannot say.
#
# :::
#
# In the rendered page this runs beside the text: the same model with the same cache, in a few hundred lines of JavaScript.
# Tell a story at temperature 0 twice, and at 1.2 twice; then cut with top-k and go on from where you are.
#
# :::{live} speak
# :prompt: There was a brave girl
# :picture: layer=4&head=2&query=17&prompt=Everybody%20in%20Mudford%20knew%20Iris%2C%20the%20stubborn%20hedgehog.%20People%20said%20that
#
# ![Taleteller in the page: a text with the tokens that the chosen head looks at shaded, a small map for each of the twenty heads, and bars for the most probable next tokens](../pages/live/speak.png)
#
# Each key that you press costs one token of work: what stood there before is in the cache.
# :::
#
# ## What to take along
#
# - Temperature divides logits: the exactness of a lookup over the vocabulary, the squared width of a bell.
# - To cool tokens is not to cool texts; greedy is neither the likeliest text nor a typical one.
# - Top-k counts tokens, top-p counts probability, min-p compares with the best; only the last follows the plateau.
# - Dials remove what is unlikely. What a model believes and is wrong about, no dial removes.
# - The cache is the attention layers' data, kept; it grows with every token, layer and text, and is worthless as soon as positions change.
#
# **Exercises.** [The sheet of this chapter](../exercises/09_generating.ipynb): odds to derive, a bill, a guess about greed, four bugs in top-p, a stream without broken characters, and a thermometer for texts.
#
# **Further reading.** {cite}`holtzman2020` shows what likely text looks like; {cite}`hewitt2022` asks what truncation estimates; {cite}`nguyen2025` proposes min-p.
