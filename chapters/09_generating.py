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
START = tokenizer.encode("\n\n")  # each story begins with a blank line


def show(text):
    whole_words = text.strip().rsplit(" ", 1)[0] + "…"
    print(textwrap.fill(whole_words, 40, subsequent_indent="    "))


for _ in range(2):
    show(tokenizer.decode(generate(model, START, 60, temperature=0).tolist()))

# %% [markdown]
# It is the same story, and on this machine it will be the same tomorrow.
# A model is a function: the same text gives the same probabilities, and these have the same maximum.
# To take the maximum each time is **greedy decoding**, and it has one story to tell.
#
# The obvious alternative is **sampling**: draw each token with the probability that the model gives it.

# %%
import torch

prompts = torch.tensor([START] * 4)  # (B, T)
for story in generate(model, prompts, 25, generator=torch.Generator().manual_seed(0)):
    show(tokenizer.decode(story.tolist()))

# %% [markdown]
# Four stories.
# But once in a while a token is drawn that the model gives next to no probability, and a story has two or three hundred tokens.
# Between greedy decoding and unrestricted sampling there are several ways to go.
#
# :::{admonition} You will be able to
# :class: tip
# - choose the next token by temperature, top-k, top-p and min-p, and say what each of them cuts away, right and wrong;
# - measure what such a choice is worth, where it is known which tokens are possible;
# - generate with a key-value cache, show that the logits stay the same, and count what it saves and what it costs.
#
# Reading: 40 minutes. Running: under a minute.
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
from tinyllm.generation import check_logits, check_sampling, truncate
from tinyllm.smoothing import nadaraya_watson

# %% [markdown]
# (one-query-all-tokens)=
# ## One query, two thousand keys
#
# The last step of the model is a product: the vector of the last token with each row of the head.
# We have seen this before, under another name: one query, and as many keys as there are tokens.
# Then a softmax makes weights of the scores.
# All that is missing for a lookup are values, and the value of a token is the token itself.
#
# So the temperature of generation is [the temperature of a lookup](#temperature-to-zero), this time in a dictionary that lists the vocabulary:
#
# $$ p_j = \frac{e^{\,x \cdot w_j / \tau}}{\sum_i e^{\,x \cdot w_i / \tau}} $$
#
# Here $w_j$ is row $j$ of the head.
# Dividing the logits by the temperature $\tau$ raises each probability to the power $\beta = 1/\tau$, and then all are divided by their sum.
# By hand: from ½, 0.3 and 0.2, half the temperature makes the squares 0.25, 0.09 and 0.04, and divided by their sum that is 0.658, 0.237 and 0.105.
#
# *In words:* [softmax](mathematics.ipynb#Softmax), [powers and roots](mathematics.ipynb#Powers-and-roots).

# %% tags=["quote"]
from tinyllm.generation import next_token

# %% [markdown]
# The other three options are for a [section below](#what-to-cut).
# First the temperatures at both ends, and ours by hand.

# %%
logits = torch.tensor([0.5, 0.3, 0.2]).log()
for tau in (0, 0.5, 1, 2, 100):
    p = next_token(logits, temperature=tau)
    print(f"τ = {tau:<3}", *(f"{x:.3f}" for x in p))

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The text so far is the query, and every token of the vocabulary is a key.
#   The log-odds of two tokens are $\beta$ times the difference of their scores.
# - **As a smoother.** Put each token as a point on a sphere ([a channel is added](#not-determined) for that), and the text as a point too.
#   Near tokens weigh more, in proportion to a Gaussian of bandwidth $h = \sqrt\tau$.
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
    x, _ = model.position(model.token(ids), slice(len(ids)))  # (T, C)
    for block in model.blocks:
        x = block(x)
    return model.norm(x[-1:])


opening = "\n\nIn Underhill, above the cheese shop, lived a stout frog named"
query, keys = at_the_end(opening).double(), model.head.weight.detach().double()
itself = torch.eye(len(keys), dtype=torch.float64)  # (V, V): the value of a token
squared = keys.square().sum(-1, keepdim=True)
height = (squared.max() - squared).sqrt()
place, places = F.pad(query, (0, 1)), torch.cat([keys, height], -1)  # C + 1 channels
for tau in (0.5, 1.0, 2.0):
    p = next_token(query @ keys.T, temperature=tau)
    looked_up = attention(query, keys, itself, scale=1 / tau)
    smoothed = nadaraya_watson(place, places, itself, math.sqrt(tau))
    shifted = next_token(query @ (keys + query).T, temperature=tau)
    for same in (looked_up, smoothed, shifted):
        assert torch.allclose(same, p, rtol=0, atol=1e-12)
print("at three temperatures: softmax, lookup and smoother give the same probabilities")

# %% [markdown]
# The whole machine ends as it works inside, with one lookup.
# (`shifted` adds one vector to all rows of the head.
# Lengths and distances change, and no probability does: they belong to the coordinates, not to the model.)
#
# (colder-tokens)=
# ## Colder tokens are not a colder story
#
# The formula is about one token.
# So what does the temperature do to *stories*?
#
# Take the smallest language with a plot.
# A story begins with A, probability 0.6, or with B, 0.4.
# A is followed by one of three endings, equally likely; B has a single one.
# So there are four stories: three with 0.2 each, and B's with 0.4.

# %%
first = torch.tensor([0.6, 0.4])  # A, B
stories = torch.tensor([0.2, 0.2, 0.2, 0.4])  # A's three, and B's
for tau in (1.0, 0.5, 0.1):
    by_token = next_token(first.log(), tau)[1]  # after B, the ending is certain
    by_story = next_token(stories.log(), tau)[3]
    print(f"τ = {tau}: story B {by_token:.3f} by tokens, {by_story:.3f} by stories")

# %% [markdown]
# A lower temperature of the *stories* makes the likeliest one more likely.
# A lower temperature of the *tokens* makes it disappear: A wins the first draw, 0.6 to 0.4, and cold tokens widen that.
# That its 0.6 will be split in three comes later.
# Greedy decoding is not the search for the likeliest text, and tokens drawn at temperature ½ are not texts drawn at temperature ½.
# Both decide token by token, and no decision is revised.
#
# Does that happen outside of a toy?
# Let Taleteller score three kinds of stories: its own greedy one, 64 drawn at $\tau = 0.1$, where a token that is not the likeliest is rarely taken, and a hundred held-out ones.
# What is $-\log p$, in nats, of the first 128 tokens?

# %%
@torch.no_grad()
def surprise(ids):
    """-log p of what stands after START, in nats, for texts (B, T) of equal length."""
    logits = model(ids[:, :-1])[:, len(START) - 1 :]
    targets = ids[:, len(START) :]
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(-1)


generator = torch.Generator().manual_seed(0)
starts = torch.tensor([START] * 64)
cold = surprise(generate(model, starts, 128, temperature=0.1, generator=generator))
tales = [tokenizer.encode(tale.text)[:128] for tale in islice(tell(1), 100)]
greedy = surprise(generate(model, START, 128, temperature=0)[None])
real = surprise(torch.tensor([START + ids for ids in tales]))
print(f"greedy {greedy.item():.1f}, best at 0.1 {cold.min():.1f}", end="")
print(f", real {real.mean():.1f} ± {real.std():.1f}, ", end="")
print(f"{(real < greedy).sum()} of 100 below greedy")
assert cold.min() < greedy < real.mean() - 0.5 * real.std() and cold.min() < real.min()
print("a story that was not quite greedy is likelier than the greedy one")

# %% [markdown]
# (Here ± is the standard deviation between stories.)
# The greedy story is not the likeliest: one that took a less likely token somewhere is likelier.
# Most of the real ones are less likely than the greedy one, and all are less likely than the best of the cold ones.
# Likely texts are not typical texts, just as the likeliest roll of a hundred loaded dice, all of them sixes, is hardly ever rolled.
#
# (what-to-cut)=
# ## What to cut
#
# Temperature changes the probabilities of all tokens.
# The other way is **truncation**: some tokens get probability zero, and the rest is divided by its sum.
#
# | | keeps | source |
# |---|---|---|
# | **top-k** | the $k$ likeliest | {cite}`fan2018` |
# | **top-p** (nucleus) | as few of the likeliest as together have at least $p$ | {cite}`holtzman2020` |
# | **min-p** | all with at least $p$ times the probability of the likeliest | {cite}`nguyen2025` |
#
# The code below ranks the tokens once, for all three.
#
# :::{drawing}
# ![The same twelve bars three times: top-k with k = 4 leaves four of them with 0.87 of the probability; top-p with p = 0.9 and min-p with 0.1 leave five with 0.92](../pages/drawings/cutting_a_distribution.svg)
#
# One distribution and three cuts. Before the choice the rest is divided by its sum.
# :::

# %% tags=["quote"]
from tinyllm.generation import truncate

# %% [markdown]
# By hand, with ½, ¼, 0.15 and 0.1: `top_k=2`, `top_p=0.7` and `min_p=0.4` all keep the first two, as ⅔ and ⅓, each for a reason of its own.

# %%
logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
two = torch.tensor([2 / 3, 1 / 3, 0, 0])
for setting in ({"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.4}):
    assert torch.allclose(next_token(logits, **setting), two)
print("the same two, three times")

# %% [markdown]
# Which of them cuts in the right place?
# With human text that cannot be counted, since no list says which words were possible.
# Our tales have a grammar, and `parse` tells how far a text agrees with it: a token is **possible** if the text with it is still the beginning of some story.
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
# That many of the tokens are possible.
# (A piece of a word counts, ` B` for `Barney`.)
# And this is what the model expects, ranked, with the places where three rules cut.

# %% alt="Probability against rank on logarithmic axes in two panels, tokens that are possible in one color and impossible ones in another; after a name many possible tokens form a plateau that ends in a steep drop, after one certain word the drop is behind rank 1; top-k cuts both at 10, min-p cuts at both drops"
rules = {"top-k": {"top_k": 10}, "top-p": {"top_p": 0.9}, "min-p": {"min_p": 0.1}}
fig, axes = figure(columns=2, height=3.4)
cuts = {}
for ax, (name, (logits, can)) in zip(axes, expected.items()):
    p, order = next_token(logits).sort(descending=True)
    rank = torch.arange(1, len(p) + 1)
    for label, which in (("impossible", ~can[order]), ("possible", can[order])):
        color = COLORS["CYCLE"][0 if label == "possible" else 1]
        ax.loglog(rank[which], p[which], ".", color=color, label=label, markersize=5,
                  rasterized=True)  # thousands of points
    for rule, style in zip(rules, ("--", ":", "-")):
        cuts[name, rule] = int((next_token(logits, **rules[rule]) > 0).sum())
        at = cuts[name, rule] + 0.5
        ax.axvline(at, color=COLORS["QUIET"], linestyle=style, label=rule, linewidth=1.2)
    ax.set(xlabel="rank", ylim=(1e-15, 2), xlim=(0.8, 3000))
axes[0].set(ylabel="probability", title="A name: ten are too few")
axes[1].set(title="One word: one is enough")
axes[1].legend(loc="upper right", fontsize=10.4)
assert cuts["a name", "top-k"] < cuts["a name", "top-p"] < cuts["a name", "min-p"]
assert cuts["one word", "top-p"] == cuts["one word", "min-p"] == 1
fig

# %% [markdown]
# Both curves have a steep drop, one behind the names, the other right behind the one word.
# To the left of it everything is possible, to the right little is.
# (The possible ones far down are pieces of words, letters at which the tokenizer would not cut.)
# Count what each rule leaves of the impossible tokens, and takes from the possible ones.

# %%
for name, (logits, can) in expected.items():
    for rule, setting in ({"τ = 1": {}, "τ = 0.7": {"temperature": 0.7}} | rules).items():
        p = next_token(logits, **setting)
        kept, lost = int((p > 0).sum()), int((can & (p == 0)).sum())
        tail = f"impossible {p[~can].sum():.4f}"
        print(f"{name:8}  {rule:7}  kept {kept:4}  {tail}  possible lost {lost:3}")

# %% [markdown]
# **Top-k** keeps the same number everywhere, and no number fits both places.
# **Top-p** keeps a share: where a hundred names are about equally likely, it drops a tenth of that, names as good as those it keeps.
# **Min-p** compares with the likeliest token, so at this setting it cuts near the drop in both places.
# **Temperature** cuts nothing; it makes the tail smaller, and the names less even.
#
# Why is there a tail at all, if no story has ever gone on that way?
# A softmax gives nothing exactly zero.
# Cutting small probabilities off puts the zeros back, and has been called *desmoothing* for it {cite}`hewitt2022`.
#
# The tail is small, but a story is long.
# If every token had the same probability $\varepsilon$ of being impossible, a text of $n$ tokens would have none with probability $(1-\varepsilon)^n \approx e^{-\varepsilon n}$: at one in a hundred, one story in ten gets through 230 tokens.
#
# (sense-and-choice)=
# ## Fewer mistakes against less diversity
#
# Truncation removes mistakes, and diversity with them; all the way down there is one story again.
# Is one rule better than another?
# Two numbers say what a rule does at a place, and they need no drawing of tokens.
# **Impossible mass**: what share of the probability goes to tokens that are impossible there?
# **Diversity**: how evenly is the rest shared out? This is the entropy of the possible tokens, in nats per token of this tokenizer.

# %%
def mass_and_diversity(logits, **setting):
    """Probability of what is impossible, and entropy of what is possible, (N,) each."""
    p = next_token(logits, **setting)
    good = p * can
    q = good / good.sum(-1, keepdim=True).clamp(min=1e-9)
    return (p * ~can).sum(-1), -(q * q.clamp(min=1e-30).log()).sum(-1)


# %% [markdown]
# The places are those of real stories: every fourth of the first 128 tokens, in twelve of them.

# %%
@torch.no_grad()
def stops(story, start):
    """At every fourth token of a story: what came before, the logits, what can follow."""
    ids = START + tokenizer.encode(story)[:128]
    for t, row in enumerate(model(torch.tensor(ids[:-1])), start=1):
        if t >= len(START) and t % 4 == start:
            can = torch.zeros(len(row), dtype=torch.bool)
            likely = (next_token(row) > 1e-6).nonzero()[:, 0].tolist()
            text = tokenizer.decode(ids[len(START) : t])
            can[likely] = torch.tensor([follows(text, i) for i in likely])
            yield ids[:t], row, can


found = [list(stops(tale.text, n % 4)) for n, tale in enumerate(islice(tell(2), 12))]
story_of = torch.tensor([n for n, story in enumerate(found) for _ in story])  # (N,)
seen, logits, can = zip(*(stop for story in found for stop in story))
logits, can = torch.stack(logits), torch.stack(can)  # (N, V)
p = next_token(logits)
below = (p * (p < 1e-6)).sum(-1).mean()
print(f"{len(seen)} places; tokens below 0.000001 have together {below:.3%}")

# %% [markdown]
# (Those below $10^{-6}$ are not parsed but taken for impossible. A cut removes nearly all of them, so up to 0.005 points of a difference below could come from this label.)
# Each rule draws a curve, from a setting that hardly does anything to one that leaves little.
# The best place is low and far to the right: little impossible mass, much diversity.

# %% tags=["hide-input"] alt="Percent of probability on impossible tokens against diversity in nats per token, one curve for each of four rules: from the upper right temperature falls steeply as diversity is given up, and top-k slowly, which is highest nearly all the way; min-p and top-p lie near zero nearly all the way"
curves = {
    "temperature": (1, 0.85, 0.7, 0.55, 0.4),
    "top_k": (100, 50, 20, 10, 5),
    "top_p": (0.99, 0.95, 0.9, 0.8, 0.6),
    "min_p": (0.01, 0.02, 0.05, 0.1, 0.2),
}
fig, ax = figure(height=3.9)
for (rule, values), mark, color in zip(curves.items(), "oDs^", COLORS["CYCLE"]):
    both = [mass_and_diversity(logits, **{rule: value}) for value in values]
    points = torch.tensor([[x.mean() for x in pair] for pair in both])
    label, paper = rule.replace("_", "-"), dict(fc=COLORS["PAPER"], ec="none", pad=0.5)
    ax.plot(points[:, 1], 100 * points[:, 0], color=color, marker=mark, label=label)
    for value, (wrong, choice) in list(zip(values, points.tolist()))[2::2]:
        ax.annotate(f"{value:g}", (choice, 100 * wrong), (5, 4), color=color, fontsize=10.4,
                    textcoords="offset points", bbox=paper)
ax.set(xlabel="diversity (nats per token)", ylabel="impossible (% of probability)")
ax.set_title("A light cut by min-p or top-p beats a temperature")
ax.legend(loc="upper left")
fig

# %% [markdown]
# Curves from twelve stories could cross by accident.
# So compare within each story: find the temperature that leaves as much diversity there.
# Which of the two leaves fewer mistakes?

# %%
def by_story(x):
    return torch.stack([x[story_of == n].mean() for n in range(12)])


def as_diverse(diversity):
    """The temperature that leaves this much diversity in each story, (12,)."""
    low, high = torch.full((12,), 0.05), torch.ones(12)
    for _ in range(30):
        middle = (low + high) / 2
        cooled = logits / middle[story_of, None]
        less = by_story(mass_and_diversity(cooled)[1]) < diversity
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return cooled


# %% [markdown]
# The differences are in percent of all probability, rule minus temperature.
# The last line is the difference of two of them.

# %%
def compare(name, each):
    error = f"(standard error {each.std() / 12**0.5:.3f})"
    print(f"{name:14} {each.mean():+.3f} % {error}, more in {(each > 0).sum()} of 12")


more, before = {}, mass_and_diversity(logits)
settings = {"top_k": (20,), "top_p": (0.95, 0.9), "min_p": (0.05, 0.1, 0.2)}
for rule, value in ((rule, value) for rule in settings for value in settings[rule]):
    wrong, choice = mass_and_diversity(logits, **{rule: value})
    cooled = as_diverse(by_story(choice))
    more[rule, value] = 100 * by_story(wrong - mass_and_diversity(cooled)[0])
    compare(f"{rule} {value}", more[rule, value])
    if value in (0.05, 0.95):  # the two light cuts
        left, kept = wrong.sum() / before[0].sum(), choice.sum() / before[1].sum()
        print(f"{'':14} leaves {left:.2f} of the impossible, {kept:.3f} of the diversity")
        assert (more[rule, value] < 0).all() and left < 0.1 and kept > 0.975
compare("min_p - top_p", more["min_p", 0.05] - more["top_p", 0.95])
assert (more["top_k", 20] > 0).all()

# %% [markdown]
# For this model and these tales, a light cut, by min-p at 0.05 or top-p at 0.95, leaves fewer mistakes than a temperature, in every story.
# Of the two, min-p gains more over its temperature on average, by 2.1 standard errors, but only in seven of the twelve stories: which is better, twelve stories do not decide.
# Heavier cuts gain less, since a temperature that leaves as little diversity leaves hardly a mistake, either. And top-k at 20 leaves more mistakes than a temperature, in every story.
# All this is at τ = 1; no cut was combined with a temperature, and min-p was proposed for high ones {cite}`nguyen2025`.
# Outside of this grammar it is disputed: a re-analysis finds no advantage of min-p over the other samplers in its authors' human ratings, and none in their benchmarks once each sampler has as many settings to choose from {cite}`schaeffer2025`.
#
# So nearly all of the impossible mass was tail.
# Where does min-p at 0.05 leave some?

# %%
p = next_token(logits, min_p=0.05)
stays = (p * ~can).sum(-1) > 0
for i in stays.nonzero()[:, 0].tolist():
    text = " ".join(tokenizer.decode(seen[i]).split()[-7:])
    for name, which in (("possible:", can[i]), ("impossible:", ~can[i])):
        kept = (p[i] * which).nonzero()[:, 0].tolist()
        print(f"… {text}", name, *(tokenizer.decode([j]) for j in kept))
print(f"at {stays.sum()} of {len(stays)} places")

# %% [markdown]
# There a wrong word of the same kind stands beside the right ones.
# Truncation cannot remove wrong tokens that are nearly as probable as the right one, and a temperature removes a little of them; a better model can.
# (These are the first 128 tokens of a story. Of the whole ones that it tells at τ = 1 two in five are stories of the grammar, as `bench/taleteller.md` has it.)
#
# Does all this show in stories that the model tells itself?
# Count mistakes per thousand characters, up to the first in each of 48 beginnings.
# (With $n$ mistakes, the standard error of their rate is about the rate divided by $\sqrt n$.)

# %%
def begin_stories(n, **setting):
    """The first 128 tokens of n stories, or less where one has ended."""
    generator = torch.Generator().manual_seed(0)
    starts = torch.tensor([START] * n)
    told = generate(model, starts, 128, generator=generator, **setting)
    texts = (tokenizer.decode(ids[len(START) :].tolist()) for ids in told)
    return [text.split("\n\n")[0] for text in texts]


def mistakes(texts):
    """How many texts have one, and how many characters stand before it."""
    reached = [parse(text).reached for text in texts]
    return sum(n < len(t) for n, t in zip(reached, texts)), sum(reached)


told = {f"τ = {tau}": begin_stories(48, temperature=tau) for tau in (1.3, 1.0, 0.7)}
told["min-p 0.1"] = begin_stories(48, min_p=0.1)
scores = []
for name, texts in told.items():
    n, characters = mistakes(texts)
    scores.append(1000 * n / characters)
    error = f"standard error {scores[-1] / n**0.5:.1f}"
    print(f"{name:10}  {n} of 48 texts, {scores[-1]:.1f} per thousand ({error})")
assert scores[0] > scores[1] > max(scores[2:])

# %% [markdown]
# Mistakes fall with the temperature, and with min-p.
# Which of τ = 0.7 and min-p is better, 48 stories do not tell, and their diversity is not equal here.
#
# (repetition)=
# ## Against repetition
#
# Models that take the likeliest token can fall into loops {cite}`holtzman2020`, and a common remedy is a *repetition penalty*: the logits of tokens that the text has already are divided by a number {cite}`keskar2019`, or multiplied where they are negative.

# %% tags=["quote"]
from tinyllm.generation import penalize

# %% [markdown]
# Adding 3 to all logits changes no probability, yet it changes what the penalty does.

# %%
three = torch.tensor([2.0, 1.0, 0.0])
for shift in (-3.0, 0.0, 3.0):
    before = next_token(three + shift)
    after = next_token(penalize(three + shift, torch.tensor([0]), 1.3))
    print(f"shift {shift:4}: {before[0]:.3f} becomes {after[0]:.3f}")

# %% [markdown]
# The penalty is not invariant to a shift of the logits: it depends on a constant that means nothing.
# (A number that is subtracted gives the same result for every shift.)
# Nor can it tell a loop from a word that the text needs again, such as *a* or the name of its hero.
#
# ## Nothing is computed twice
#
# For each new token the model reads the whole text again.
# Does it have to?
# With a causal mask no token sees what comes after it, so when the text grows, the vectors of the earlier tokens stay as they are, layer by layer, and with them their keys and values.
# Keep those: this is the **KV cache**.
#
# :::{drawing}
# ![Three steps: each new token makes one query, one key and one value; the query meets the keys of all tokens so far, of which the earlier ones are kept](../pages/drawings/cache_growing.svg)
#
# A step computes one query, one key and one value, and reads all that were kept.
# :::

# %%
from collections.abc import Iterator

from tinyllm.generation import check_cacheable
from tinyllm.layers import head_size
from tinyllm.model import GPT

# %% tags=["quote"]
from tinyllm.generation import Cache

# %% [markdown]
# A new token needs its own query, key and value in each layer, and the stored keys and values of the others.
# Look at chapter 07's `forward` again: it asks the cache for the positions of the new tokens and for each layer's `past`, where the attention layer writes its new keys and values before it looks up.

# %%
from tinyllm.layers import make_norm, make_positions
from tinyllm.model import Block, Config, check_ids, initialize

# %% tags=["quote"]
from tinyllm.model import GPT

# %% [markdown]
# One call takes any number of new tokens.
# A whole prompt at once is the **prefill**; one token at a time, after that, is the **decode** phase.
# However a text is cut into calls, the logits must be those of the whole, up to rounding.
# So cut 200 tokens in twenty random ways each for Taleteller in float64, a subclass that caps its logits, and a model of other parts, which chapter 10 explains.

# %%
class Capped(GPT):
    def forward(self, ids, cache=None):
        return 30 * torch.tanh(super().forward(ids, cache) / 30)


capped = Capped(model.config)
capped.load_state_dict(model.state_dict())
other = dict(positions="rope", norm="rms", mlp="swiglu", n_kv_head=2)
other = GPT(replace(model.config, n_layer=2, **other))
generator = torch.Generator().manual_seed(0)
for p in other.parameters():
    nn.init.normal_(p, std=0.1, generator=generator)
ids = torch.tensor(START + tokenizer.encode(next(tell(1)).text))[:200]
for exact in (load("taleteller").double(), capped.double(), other.double()):
    whole = exact(ids).detach()
    for _ in range(20):
        cuts = torch.randint(1, 200, (5,), generator=generator).sort().values
        memory = Cache(exact, 1, 200)
        pieces = [piece for piece in ids.tensor_split(cuts) if len(piece)]
        parts = [exact(piece[None], memory)[0] for piece in pieces]
        assert torch.allclose(torch.cat(parts), whole, rtol=0, atol=1e-11)
print("three models, 20 ways each to cut a text: the same logits")

# %% [markdown]
# (An embedding that looks at earlier tokens, as chapter 08's `PairGPT` has, needs more of the past than keys and values: `Cache` refuses it.)
# The loop of generation is now short: look up, choose, append.
# (`generate` also takes several texts, ends them, and knows what to do at the end of the context.)

# %%
def greedy_loop(ids, n):
    memory, new = Cache(model, 1, len(ids) + n), ids
    for _ in range(n):
        logits = model(new[None], memory)[0, -1]  # (V,)
        new = next_token(logits, temperature=0).argmax()[None]
        ids = torch.cat([ids, new])
    return ids


prompt = torch.tensor(tokenizer.encode(opening))
for cache in (True, False):
    theirs = generate(model, prompt, 50, temperature=0, cache=cache)
    assert torch.equal(greedy_loop(prompt, 50), theirs)
new = greedy_loop(prompt, 50)[len(prompt) :]
show("…" + tokenizer.decode(new.tolist()))

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The cache is the dictionary: each layer has one for each key-value head, a token adds an entry to each, and no entry changes.
# - **As a smoother.** The cache holds the data: places and measurements.
#   With this kernel no fixed set of numbers sums the data up, so it must keep every point, and each answer costs a pass over all.
#
# :::
#
# (what-memory-costs)=
# ## What it costs
#
# A key and a value of $d$ numbers, in each head that has its own, in each layer, for each token of each text:
#
# $$ \text{bytes} = 2 \cdot n_\text{layer} \cdot B \cdot T \cdot n_\text{kv} \cdot d \cdot \text{bytes per number} $$
#
# In Taleteller each of the $n_\text{head}$ heads has its own keys and values, so that $n_\text{kv}\, d = C$.
# Where several query heads share them, which is *grouped-query attention* and chapter 10's, $n_\text{kv}$ is smaller, and so is the cache.
#
# *In words:* [sizes multiplied](mathematics.ipynb#Sizes-multiplied).

# %%
config, T = model.config, model.config.block_size
weights = sum(p.nbytes for p in model.parameters())
for B, n_kv_head in ((1, 4), (16, 4), (16, 1)):
    full = Cache(GPT(replace(config, n_kv_head=n_kv_head)), B, T)
    assert full.n_bytes == 2 * config.n_layer * B * T * n_kv_head * head_size(config) * 4
    print(f"{B:2} texts, {n_kv_head} of 4 heads with keys: ", end="")
    print(f"{full.n_bytes / 1e6:5.1f} MB, weights {weights / 1e6:.1f} MB")

# %% [markdown]
# A few texts at once, and the cache is larger than the model.
# With 32 layers of 4096 channels, keys and values in every head, and two bytes per number it is half a megabyte for each token of each text.
#
# ## What it saves
#
# Count multiplications.
# A token is multiplied with all weights but the embeddings, once, and with the keys and values of what it sees.

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def multiplications(length, new, logits=1):
    """Of the last `new` tokens, each with all `length` keys, hidden ones included."""
    n_layer, C, V = config.n_layer, config.d_model, config.vocab_size
    return new * n_layer * (12 * C * C + 2 * length * C) + logits * V * C


# %% [markdown]
# Is that what is computed?
# PyTorch can count: a multiplication with its addition is two of its operations.

# %%
memory = Cache(model, 1, 200)
with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the counter knows plain products
    with FlopCounterMode(display=False) as without:
        model(ids)
    model(ids[None, :-1], memory)
    with FlopCounterMode(display=False) as cached:
        model(ids[None, -1:], memory)
assert without.get_total_flops() == 2 * multiplications(200, 200, logits=200)
assert cached.get_total_flops() == 2 * multiplications(200, 1)
round(multiplications(200, 200) / multiplications(200, 1))

# %% [markdown]
# The formula is exact.
# A loop that reads all 200 tokens again, and computes only the logits it needs, takes 165 times as many multiplications for the next one.

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
ax.set(ylim=(5e5, 5e9), title="The longer the text, the more the cache saves")
saved = [sum(work) for work in per_token.values()]
assert round(saved[0] / saved[1]) == 169
fig

# %% [markdown]
# Over a whole text of 384 tokens the factor is 169.
# The clock will not show you that.
# A prefill is one large product, which a processor is good at.
# A decode step fetches nearly every weight from memory to use it *once*, one multiplication for four bytes.
# Texts that are generated together share the fetching, which is why one generates many at once.
# What the clock shows for two other models, with and without cache, for one text and for sixteen, is in `bench/generation.md`.
#
# (unequal-prompts)=
# ## Texts of unequal length
#
# For that, texts have to stand in one tensor, and prompts have different lengths.
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
# A dot is padding; the rest are positions.
# If this is right, each text comes out as it would alone.

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
# It is refused, before the first token, because the alternative changes what the model sees.
# The alternative is to drop the beginning.
# But then every token gets another position, and what does that do to its keys?
# Compare the weights of fifty tokens in a first layer with those 100 places later, in Taleteller and in a new layer with rotary positions.

# %%
torch.manual_seed(0)
for positions in ("learned", "rope"):
    new = GPT(replace(config, positions=positions, n_layer=1))
    layer = (model if positions == "learned" else new).requires_grad_(False)
    block, weight = layer.blocks[0], {}
    for start in (0, 100):
        x, context = layer.position(layer.token(ids[:50]), slice(start, start + 50))
        q, k, _ = block.attention.heads(block.norm_1(x), **context)
        scores = q @ k.mT / q.shape[-1] ** 0.5 + torch.full((50, 50), -math.inf).triu(1)
        weight[start] = scores.softmax(-1)  # (n_head, T, T)
    moved = (weight[0] - weight[100]).abs().max()
    assert moved < 1e-3 if positions == "rope" else moved > 0.1
    print(f"{positions}: weights change by up to {moved:.2f}")

# %% [markdown]
# With rotary positions, which are chapter 10's, scores depend on distances alone, and what a cache keeps stays usable when its oldest entries go.
# That does not make dropping harmless: trained models were found to fail when their first tokens go, and keeping a few of these largely repairs it {cite}`xiao2024`.
# Taleteller's positions are learned and **absolute**: its whole cache is of no more use, and the visible part has to be read again.
# How much to drop at once?

# %% tags=["quote"]
from tinyllm.generation import visible_from

# %% [markdown]
# Our library hops on by half a context.
# After a hop of 192 it reads 193 tokens at once, then 191 one by one: 384 reads for 192 new tokens.
# For any hop, $T / \text{hop}$ tokens are read for each one written.

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
# Sliding by one token at a time reads everything again for each token: the cache is of no use.
# Half a context costs two reads per token and never leaves the model with less than half of what it could see.
#
# A thousand tokens, then, by choice.
# How many stories are in it, and how many of their characters are as the grammar has them?

# %%
def told_right(stories):
    for story in filter(None, stories):
        right = f"{parse(story).reached:4} of {len(story):4}"
        print(right, textwrap.shorten(story, 50, placeholder=" …"))


generator = torch.Generator().manual_seed(0)
long = generate(model, START, 1000, min_p=0.1, slide=True, generator=generator)
told_right(tokenizer.decode(long[len(START) :].tolist()).split("\n\n"))

# %% [markdown]
# Half of the first is right, and what follows is none.
# Taleteller was trained on each story by itself, at positions from 0 on.
# It has never seen a story behind another one, and hardly one without its beginning.
# A window that slides is of use to a model that was trained on such texts.
#
# For more stories begin each anew.

# %%
generator = torch.Generator().manual_seed(0)
told = generate(model, [START] * 4, 382, min_p=0.1, generator=generator)
told_right(tokenizer.decode(ids[len(START) :].tolist()).split("\n\n")[0] for ids in told)
whole = (START + tokenizer.encode(tale.text + "\n") for tale in islice(tell(1), 40))
with torch.no_grad():
    ends = [next_token(model(torch.tensor(ids))[-1])[START[1]]
            for ids in whole if len(ids) <= 384]
print(f"after a whole story and one line end, a second one: {sum(ends) / len(ends):.2f}")

# %% [markdown]
# (The last line says that Taleteller is not sure of its ends.
# In its training the two line ends between stories belonged to the later one, and nothing was seen from there of the earlier one.
# So at τ = 1 about one story in five goes on past its end.)
#
# (streaming)=
# ## A text that appears while it is written
#
# Two things can go wrong when tokens are shown one by one.
# A token is a piece of *bytes*, and a character may need several: `é` two, a pie four.
# And a text should end where a story does, at a blank line, which is two tokens, `\n` and `\n`; a single one begins a paragraph.
# So the end is no token id that one could stop at, but a string that may be spread over several.
#
# Taleteller never writes a pie, so take a model that repeats a given text: a parrot.

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
print(" ".join(tokenizer.decode([i]) for i in parrot.ids[:9].tolist()))

# %% [markdown]
# Decoded one by one, the `ë` and the pie are a row of replacement marks.
# What to do is not to guess: hold back what is not yet a character, and what may be the beginning of a stop text.

# %%
import codecs
from collections.abc import Collection, Sequence

from tinyllm.generation import new_ids, overlap, stop_texts
from tinyllm.tokens import Tokenizer

# %% tags=["quote"]
from tinyllm.generation import stream

# %% [markdown]
# Here is what a reader sees arrive, piece by piece.

# %%
options = dict(stop="\n\n", cache=False, temperature=0)
pieces = list(stream(parrot, tokenizer, "Z", len(parrot.ids) - 1, **options))
assert "Z" + "".join(pieces) == said.split("\n\n")[0] and "\ufffd" not in "".join(pieces)
pieces

# %% [markdown]
# The pie comes whole.
# The first line end waits for the token after it, which shows that it was only a paragraph; the last one never comes.
#
# :::{why-it-works}
#
# Shown: the distribution over tokens is a lookup and a smoother over the vocabulary, to within rounding.
# At the places looked at nearly all the mass on impossible tokens is a tail; at τ = 1 a light cut, by min-p or top-p, removes more than nine tenths of it and a fiftieth of the diversity.
# With a causal mask keys and values of earlier tokens cannot change, so a cache changes nothing but rounding; it holds $2\, n_\text{layer} n_\text{kv} d$ numbers per token, and over a text of 384 tokens one multiplication in 169 is left.
#
# :::
#
# :::{why-it-might}
#
# That truncation helps because the tail is *smoothing*, room left for the unseen, is a guess {cite}`hewitt2022`; our grammar has a steep drop, human language need not have one.
#
# :::
#
# In the rendered page this runs beside the text: the same model with the same cache, in a few hundred lines of JavaScript.
# Tell a story at temperature 0 twice, and at 1.2 twice; then cut with top-k and go on from where you are.
#
# :::{live} speak
# :prompt: There was a brave girl
# :picture: layer=3&head=3&query=17&prompt=Everybody%20in%20Mudford%20knew%20Iris%2C%20the%20stubborn%20hedgehog.%20People%20said%20that
#
# ![Taleteller in the page: a text with the tokens that the chosen head looks at shaded, a small map for each of the twenty heads, and bars for the most probable next tokens](../pages/live/speak.png)
#
# Each key that you press costs one token of work: what stood there before is in the cache.
# :::
#
# ## What to take along
#
# - Temperature divides logits, so $\beta$ multiplies every log-odds: $\tau = h^2$, the square of a bandwidth.
# - Tokens at a lower temperature are not texts at a lower temperature; greedy decoding gives neither the likeliest text nor a typical one.
# - Top-k counts tokens, top-p adds up probability, min-p compares with the likeliest.
# - Truncation removes what the model gives little probability. Wrong tokens that are nearly as probable as the right one stay.
# - The cache is the attention layers' data, kept; it grows with every token, layer, text and key-value head. With learned absolute positions it is lost as soon as these change.
#
# **Exercises.** [The sheet of this chapter](../exercises/09_generating.ipynb): odds to derive, a bill, a guess about greedy decoding, four bugs in top-p, a stream without broken characters, and a thermometer for texts.
#
# **Further reading.** {cite}`holtzman2020` shows what likely text looks like; {cite}`hewitt2022` asks what truncation estimates; {cite}`nguyen2025` proposes min-p, and {cite}`schaeffer2025` re-examines the evidence for it.
