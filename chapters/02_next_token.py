# %% [markdown]
# # Predicting the next token
#
# Here is the beginning of a story.
# It breaks off in the middle of a word.

# %%
import textwrap

from course.data import tales

story = tales(1, seed=7)
gap = next(i for i in range(120, 300) if story[i - 3 : i + 2].isalpha())
print(textwrap.fill(story[:gap] + "▯", 80))

# %% [markdown]
# Which letter comes next?
# And, once you know it, which one after that?
# Cover the next line and go on until you have missed three.

# %%
print(story[gap : gap + 60])

# %% [markdown]
# At some places you were nearly sure, at others anything could come, and nobody gave you a rule for either.
# A **language model** gives, at every place of a text, a probability to each token that could come next.
# Claude Shannon had people guess the next letter, place after place, and published in 1951 what that says about how much there is to say in English {cite}`shannon1951`.
# This chapter has programs guess.
# How good is a prediction, how good could it be, and how far does one get by counting?
#
# :::{admonition} You will be able to
# :class: tip
# - score any predictor of text in nats, bits per byte and perplexity, and compare two that cut the text into different tokens;
# - build a predictor that counts, for any tokens and any length of context;
# - say how far a predictor is from the best that can exist, where that is known, and with what standard error.
#
# Reading: 30 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the part that turns probabilities of the next token into a loss marked as this chapter's"
from course.figures import machine_map

machine_map(here="prediction")

# %% [markdown]
# Chapter 01 left us with tokens, and with the smallest set of them: the 256 bytes.
# We start there, on two texts.
# The `manuals` you know.
# The `tales` come from a program that makes up stories, and since we wrote the program, we know the probability of each story; more on that when we need it.
#
# A predictor that has seen a text can recite it.
# To learn a text so well that new text is predicted worse for it is called **overfitting**, so a part of each corpus is **held out**, and only the rest, `train`, is learned from.
# The loss on held-out text is a *validation loss* where it helps to choose among models, and a *test loss* where it is looked at once, after all choices. This page chooses nothing by its held-out text; the appendix compares discounts on the same text, so for the choice of ¾ it is a validation text.

# %%
import math

import numpy as np
import torch
from torch import Tensor

from course.data import manuals
from tinyllm.loss import check_targets

text = {"tales": tales(1_000_000, seed=0), "manuals": manuals()[:1_000_000]}
new_text = {"tales": tales(200_000, seed=1), "manuals": manuals()[-200_000:]}


def to_bytes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


train = {name: to_bytes(t) for name, t in text.items()}
held_out = {name: to_bytes(t) for name, t in new_text.items()}
{name: (len(train[name]), len(held_out[name])) for name in train}

# %% [markdown]
# ## Every place of a text is a question with its answer
#
# Nobody has to label anything.
# At every place of a text the tokens so far are the *context*, and the token that comes is the *target*:
#
# :::{drawing}
# ![The tokens The, cat, sat, on in a row and below them what is asked for: cat, sat, on, the. Each target gets lines from its token and all before it](../pages/drawings/one_text_many_questions.svg)
#
# A text of four tokens and the one after them: four questions, each with its answer.
# :::

# %%
piece = "the lantern"
for t in range(4, 9):
    print(f"{piece[:t]!r:11} → {piece[t]!r}")

# %% [markdown]
# Learning from such pairs, on as much text as can be had, is called **pretraining**; what makes an assistant of the model comes after it.
#
# A piece of $T+1$ tokens holds $T$ such pairs, and two rows say them all: `x`, the tokens, and `y`, the same tokens moved by one.

# %% tags=["quote"]
from tinyllm.batches import get_batch

# %% [markdown]
# Three pieces of twelve, cut out at random:

# %%
stream = torch.tensor(train["tales"], dtype=torch.long)
x, y = get_batch(stream, 3, 12, generator=torch.Generator().manual_seed(0))
for tokens, targets in zip(x.tolist(), y.tolist()):
    print(f"{bytes(tokens).decode()!r} → {bytes(targets).decode()!r}")
x.shape, y.shape

# %% [markdown]
# The context of the first target is the first letter of `x`, that of the second is the first two, and so on.
# A batch of shape $(B, T)$ holds $B \cdot T$ pairs, and a model predicts all their targets at once.
#
# ## One number for a prediction
#
# A prediction is not a letter but a probability for each of the $V$ letters.
# It is scored by one number: the probability that it gave to the letter that came, as $-\ln p$, also called the *surprise*.
# Three predictions over two letters, which you can check with a pocket calculator:
#
# | | `a` | `b` | what came | surprise $-\ln p$ |
# |---|---|---|---|---|
# | undecided | 0.50 | 0.50 | `a` | 0.693 |
# | leaning right | 0.25 | 0.75 | `b` | 0.288 |
# | sure, and wrong | 0.90 | 0.10 | `b` | 2.303 |
# | **mean** | | | | **1.094** |

# %% tags=["hide-input"] alt="The surprise against the probability of the letter that came: a curve that falls steeply from 4.6 nats at 0.01, then slowly to 0 at 1; three dots on it, at 0.10, 0.50 and 0.75, are the three predictions of the table"
from course.figures import COLORS, figure

given = torch.linspace(0.01, 1, 200)
fig, ax = figure(height=2.6)
ax.plot(given, -given.log(), color=COLORS["CYCLE"][0])
for name, share in {"undecided": 0.5, "leaning right": 0.75, "sure, and wrong": 0.1}.items():
    ax.plot(share, -math.log(share), "o", color=COLORS["CYCLE"][4])
    beside = (share + 0.02, 0.1 - math.log(share))
    ax.annotate(f"{name}: {-math.log(share):.3f}", beside, size=10.5)
ax.set(xlabel="probability of the letter that came", ylabel="surprise (nats)",
       ylim=(0, 4.7), title="The less probable it was, the more it costs, without a bound")
fig

# %% [markdown]
# Why the logarithm?
# The probability of the three letters together is the product $0.5 \cdot 0.75 \cdot 0.1$, and of two predictors that one is better which gave a text the larger product.
# Its logarithm is a sum, and divided by the number of tokens it is the **cross-entropy**, the loss of this book:
#
# $$
# L = -\frac{1}{T} \sum_{t=1}^{T} \ln p(y_t \mid x_1, \dots, x_t) .
# $$
#
# *In words:* [sums](mathematics.ipynb#Sums), [exponential and logarithm](mathematics.ipynb#Exponential-and-logarithm), [probabilities](mathematics.ipynb#Probabilities), [cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence).
#
# ($p(y \mid x)$ is the probability of $y$ after $x$.)
# It is measured in nats per token (*nats* as the logarithm is the natural one): 0 for a model that gave probability 1 to all that came, $-\ln (1/V) = \ln V$ for the **uniform** model, which gives $1/V$ to everything, and infinite as soon as something came that had probability 0.
# On average it is smallest for whoever states the true probabilities, which we prove below: a *proper* score.
#
# Neural networks do not hand over probabilities but **logits**, any real numbers $z$, of which the softmax makes probabilities.
# Put the softmax into the formula, and one position costs
#
# $$
# -\ln \frac{e^{z_y}}{\sum_w e^{z_w}} = \ln \sum_w e^{z_w} - z_y .
# $$
#
# *In words:* [softmax](mathematics.ipynb#Softmax).

# %% tags=["quote"]
from tinyllm.loss import cross_entropy

# %% [markdown]
# The three predictions, given as logits, must cost 1.094.

# %%
predictions = torch.tensor([[0.50, 0.50], [0.25, 0.75], [0.90, 0.10]])
came = torch.tensor([0, 1, 1])
print(f"{cross_entropy(predictions.log(), came):.3f}")

# %% [markdown]
# And against torch's own.
# The last lines show why the function subtracts the largest logit first: computed as it is written, the formula overflows.

# %%
torch.manual_seed(0)
logits = torch.randn(4, 9, 50, dtype=torch.float64)
answers = torch.randint(50, (4, 9))
ours = cross_entropy(logits, answers)
theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten())
torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)

z, answer = torch.tensor([1000.0, 0.0]), torch.tensor(1)
as_written = z.exp().sum().log() - z[answer]
print(f"as written: {as_written}; ours: {cross_entropy(z, answer)}")

# %% [markdown]
# Two other units say the same as $L$.
# **Perplexity** is $e^L$: the number of equally likely tokens among which one would be as uncertain.
# **Bits per byte** is $L$ in base 2, per byte of text: the unit of file compressors, and one in which models with different tokens can be compared.

# %% tags=["quote"]
from tinyllm.loss import bits_per_byte, perplexity

# %% [markdown]
# For a start the uniform model: every byte gets 1/256.

# %%
uniform = cross_entropy(torch.zeros(1000, 256), torch.arange(1000) % 256).item()
print(f"{uniform:.3f} nats, perplexity {perplexity(uniform):.0f}, ", end="")
print(f"{bits_per_byte(uniform, n_tokens=1000, n_bytes=1000):.3f} bits per byte")

# %% [markdown]
# Eight bits per byte is the file as it lies on the disk, and the baseline of everything that follows.
#
# ## Counting
#
# The simplest model that has learned something is a table of pairs: how often each letter followed each other one.
# Guess before you run it: what comes after `q`, after `T`, after a full stop?

# %%
pairs = np.zeros((256, 256))
np.add.at(pairs, (train["tales"][:-1], train["tales"][1:]), 1)
for h in b"qT.":
    shares = pairs[h] / pairs[h].sum()
    likely = [w for w in np.argsort(-shares)[:4] if shares[w] > 0]
    print(f"{chr(h)!r}:", ", ".join(f"{chr(w)!r} {shares[w]:.3f}" for w in likely))

# %% [markdown]
# Each row, divided by its sum, is a prediction.
# This is the **bigram** model.
# A table of single letters is the unigram; of three in a row, the trigram; and an **n-gram** model predicts by what followed the last $n-1$ tokens wherever they occurred before.
# `NGram` counts for any $n$ and any vocabulary.
# Numbers such as $n$, which are set before learning and not learned, are called **hyperparameters**.
#
# With a longer context the loss on the training text can only fall.
# What will the loss on the held-out text do?

# %%
from tinyllm.counting import NGram


def loss_of(model, ids):
    return -model.log_prob(ids).mean()


by_length = []
for n in range(1, 7):
    plain = NGram(train["tales"], n, vocab_size=256, discount=0)
    learned, new = loss_of(plain, train["tales"]), loss_of(plain, held_out["tales"])
    never = np.isinf(plain.log_prob(held_out["tales"])).sum()
    by_length.append((n, learned, new, never))
    print(f"{n}-gram: training {learned:.3f}, held out {new:.3f}, ", end="")
    print(f"called impossible: {never}")

# %% [markdown]
# The training loss falls, and from the trigram on the held-out loss is infinite: overfitting in its sharpest form.
# A single probability of 0 makes the loss infinite, and these tables gave 0 to something that came.

# %% tags=["hide-input"] alt="Two panels over n from 1 to 6. Above, the training loss falls from 3.1 to 0.7 nats; the held-out loss is the same at 1 and 2 and infinite from 3 on. Below, bars for the held-out letters that were called impossible: none at 1 and 2, then 51, 408, 2,002 and 4,265"
lengths, learned, new, never = map(np.array, zip(*by_length))
lost = np.isinf(new)
assert (np.diff(learned) < 0).all() and lost.tolist() == [False] * 2 + [True] * 4
assert never.tolist() == [0, 0, 51, 408, 2002, 4265]  # as the alternative text has it
seen_color, new_color = COLORS["CYCLE"][0], COLORS["CYCLE"][4]
fig, (above, below) = figure(rows=2, height=4.4)
above.plot(lengths, learned, "o-", color=seen_color, label="training")
ring = {"color": new_color, "markersize": 11, "fillstyle": "none"}
above.plot(lengths, new, "o", label="held out", **ring)
for n in lengths[lost]:
    above.text(n, 3.1, "∞", size=15, ha="center", va="center", color=new_color)
above.set(xticks=lengths, xlim=(0.7, 6.3), ylim=(0, 3.6), ylabel="loss (nats)")
above.legend(loc="lower left")
below.bar(lengths, never, width=0.5, color=new_color)
for n, count in zip(lengths, never):
    below.annotate(f"{count:,}", (n, count), (0, 3), textcoords="offset points", ha="center")
below.set(xticks=lengths, xlim=(0.7, 6.3), ylim=(0, 5000), yticks=())
below.set(xlabel="n", ylabel="called impossible")
total = len(held_out["tales"])
title = f"{never[2]} of {total:,} letters called impossible: an infinite loss"
fig.suptitle(title, x=0.012, ha="left")
fig

# %% [markdown]
# More text makes such places rarer; it cannot promise that none is left, and the longer the context, the more text it takes.
#
# ## Mix a long context with a short one
#
# A long context says much about the next token and has been seen seldom, or never; a short one says less and has been seen often.
# So mix the two estimates, and let the short one weigh more where the long one has seen little.
# **Absolute discounting** takes the same *discount* $D$, a number between 0 and 1, from every count that is not 0, and what it collects is the weight of the next shorter context {cite}`ney1994`:
#
# $$
# \begin{aligned}
# p_k(w \mid h) = {} & \underbrace{\frac{\max(c(hw) - D,\, 0)}{c(h)}}_{\text{what is left of the count}} \\
# & + \underbrace{\frac{D \, n(h)}{c(h)}}_{\text{what was collected}} \cdot \; p_{k-1}(w \mid h') .
# \end{aligned}
# $$
#
# Here $c(hw)$ is how often token $w$ followed the context $h$, $c(h)$ is the sum of these counts, $n(h)$ the number of *different* tokens that followed, and $h'$ is $h$ without its first token.
# The shortest context is none, and below it stands the uniform model.
# Each of the $n(h)$ tokens gives up $D$, so the probabilities add up to 1 whatever the counts are.
# The shorter context has a part in *every* probability, which is called **interpolation**; a *back-off* model would ask it only about tokens that never followed $h$.
# Here $D = ¾$; the appendix [Smoothing counts](smoothing_counts.ipynb) measures how large it should be, and what shorter contexts should count.
#
# *In words:* [discounted counts](mathematics.ipynb#Discounted-counts).
#
# By hand on `banana`, with the three letters it has and $D = ½$.
#
# | | `a` | `b` | `n` |
# |---|---|---|---|
# | uniform | 1/3 | 1/3 | 1/3 |
# | any letter: counts 3, 1, 2 of 6 | 1/2 | 1/6 | 1/3 |
# | after `a`: counts 0, 0, 2 of 2 | 0 + ¼ · 1/2 | 0 + ¼ · 1/6 | ¾ + ¼ · 1/3 |
# | | **0.125** | **0.042** | **0.833** |
#
# In the second row all three letters give up ½, and the uniform model hands each its own back.
# After `a` only `n` was seen; it gives up ½ of 2, a quarter, which is shared out as the unigram would.
# In code the formula is a recursion, from the whole context to none.
# `count_followers` notes what came after each context, of every length up to the longest.
# `probability` takes its discount from one count and asks the shorter context about the rest.

# %%
from collections import Counter, defaultdict


def count_followers(ids, longest):
    after = defaultdict(Counter)  # context → what followed it
    for end in range(len(ids)):
        for length in range(min(longest, end) + 1):
            after[bytes(ids[end - length : end])][ids[end]] += 1
    return after


def probability(w, h, after, discount, vocab_size):
    shorter = 1 / vocab_size
    if h:
        shorter = probability(w, h[1:], after, discount, vocab_size)
    if h not in after:
        return shorter
    counts = after[h]
    left = max(counts[w] - discount, 0)
    return (left + discount * len(counts) * shorter) / counts.total()


after = count_followers(b"banana", longest=1)
for w in b"abn":
    print(chr(w), f"{probability(w, b'a', after, discount=0.5, vocab_size=3):.3f}")

# %% [markdown]
# `NGram` computes the same for all places of a text at once.
# What a 5-gram that has seen three thousand letters gives to the first letters of a new story, by both:

# %%
old, new = train["tales"][:3000], held_out["tales"][:60]
after = count_followers(old, longest=4)
contexts = [bytes(new[max(0, t - 4) : t]) for t in range(len(new))]
slow = [probability(w, h, after, 0.75, 256) for w, h in zip(new, contexts)]
fast = np.exp(NGram(old, order=5, vocab_size=256, discount=0.75).log_prob(new))
np.testing.assert_allclose(fast, slow, rtol=1e-12)
print(" ".join(f"{chr(w)}:{p:.2f}" for w, p in zip(new[:11], fast)))

# %% [markdown]
# ## The floor
#
# What would be a good score?
# For most text nobody knows.
# From guesses made with a hundred letters in view, Shannon put English between 0.6 and 1.3 bits per letter {cite}`shannon1951`, a factor of two apart.
# For a story of `tales` we know the best score exactly.
# The program that tells it makes one random choice after another and knows the probability of each, and no story can be told in two ways, so the product of these probabilities is the probability $p(s)$ of the story $s$.
# This $p$ is the **true distribution** of the text.
# Its mean surprise is its **entropy**, and no model $q$ has a lower cross-entropy:
#
# $$
# \underbrace{\mathbb{E}_p[-\ln q(s)]}_{\text{cross-entropy}}
# = \underbrace{\mathbb{E}_p[-\ln p(s)]}_{\text{entropy}}
# + \underbrace{\sum_s p(s) \ln \frac{p(s)}{q(s)}}_{D_{\mathrm{KL}}(p \,\|\, q) \; \ge \; 0} .
# $$
#
# *In words:* [expectation](mathematics.ipynb#Expectation), [cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence).
#
# Here $\mathbb{E}_p$ is the mean over stories as the program tells them.
# The last term is the **Kullback-Leibler (KL) divergence** of $p$ from $q$, and that it is never negative is **Gibbs' inequality**.
# The proof is one line, from $\ln u \le u - 1$, with equality at $u = 1$ alone:
#
# $$
# -D_{\mathrm{KL}}(p \,\|\, q) = \sum_s p(s) \ln \frac{q(s)}{p(s)}
# \le \sum_s p(s) \Big( \frac{q(s)}{p(s)} - 1 \Big) = \sum_s q(s) - 1 \le 0 .
# $$
#
# (The sums run over all $s$ with $p(s) > 0$.)
# On two letters: a coin that falls on `a` three times in four, and a model that says half.

# %%
p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
entropy, cross = -(p * np.log(p)).sum(), -(p * np.log(q)).sum()
divergence = (p * np.log(p / q)).sum()
assert math.isclose(cross, entropy + divergence)
print(f"cross-entropy {cross:.3f} = entropy {entropy:.3f} + divergence {divergence:.3f}")

# %% [markdown]
# Stories are told independently, so nothing that was read before a story begins helps to predict it.
# The entropy of `tales`, divided by the mean length of a story, is the **floor** of every expected held-out loss on `tales`; a loss on some stories is drawn over the mean of $-\ln p(s)$ of those stories.
# There are far too many stories to sum over all of them, so it is estimated by the mean over some that the program tells (a *Monte Carlo* mean), with a **standard error**, which says how much that mean would vary if others had been told.

# %%
from itertools import islice

from course.data.tales import floor, tell

told = list(islice(tell(seed=1), new_text["tales"].count("\n\n") + 1))
assert "\n\n".join(tale.text for tale in told) == new_text["tales"]
sizes = np.array([len(tale.text) + 2 for tale in told])  # with the empty line behind it
exact = np.array([-tale.log_prob for tale in told])  # nats of each story


def per_character(nats):
    """Mean of stories that cost `nats`, and its standard error."""
    mean = nats.sum() / sizes.sum()
    return mean, np.sqrt(((nats - mean * sizes) ** 2).sum()) / sizes.sum()


best, error = per_character(exact)
whole = floor()
print(f"{whole.stories} stories: {whole.nats_per_character:.4f} nats per character", end="")
print(f", standard error {whole.standard_error:.4f}")
print(f"the {len(told)} held-out ones: {best:.4f}, standard error {error:.4f}")

# %% [markdown]
# Some stories are easier than others, and a model that comes near the true distribution finds the same ones easy.
# So the fair question is how far a model is above the floor *on the same stories*: from its loss on each story take the story's own $-\ln p(s)$, and average these **paired differences**.
# The more the two losses rise and fall together, the more precise that is: Taleteller's standard error becomes 0.0003 in place of 0.0026 ([chapter 00](00_the_whole_machine.ipynb)), and it does nothing for the 5-gram below, whose loss hardly goes with the story's own.
#
# A loss may be lower than the floor without any discovery.
# On a single story, or on a few, a model can be lucky, and the stories can be easy ones: the held-out ones cost a little less than the floor.
# And on its training text a model can recite.
# Fifteen bytes of context and a sixth of the text:

# %%
part = list(islice(tell(seed=0), 160))
seen = to_bytes("\n\n".join(tale.text for tale in part))
reciter = NGram(seen, 16, 256, discount=0)
recited, truth = loss_of(reciter, seen), -sum(tale.log_prob for tale in part) / len(seen)
assert recited < truth and math.isinf(loss_of(reciter, held_out["tales"]))
print(f"training loss {recited:.3f}, true distribution {truth:.3f}, held out: infinite")

# %% [markdown]
# ## The ladder
#
# Now all of them, from the uniform model to five letters, fitted on `train` and scored on what was held out.
# `per_story` adds up a model's surprise over each held-out story; the story's own $-\ln p(s)$ is taken from that, which gives the paired differences.

# %%
orders = dict(uniform=0, unigram=1, bigram=2, trigram=3) | {"5-gram": 5}
models, losses = {}, {}
for name in train:
    models[name] = {m: NGram(train[name], n, 256) for m, n in orders.items()}
    losses[name] = {m: loss_of(models[name][m], held_out[name]) for m in orders}


def per_story(model):
    surprise = -model.log_prob(held_out["tales"])
    return np.array([part.sum() for part in np.split(surprise, np.cumsum(sizes)[:-1])])


print(" " * 9 + "tales: nats  above the floor  perplexity  bits/byte  manuals: bits/byte")
for name, model in models["tales"].items():
    nats, other = losses["tales"][name], losses["manuals"][name]
    above, error = per_character(per_story(model) - exact)
    print(f"{name:8}{nats:12.3f}{above:9.3f} ({error:.3f})", end="")
    print(f"{perplexity(nats):12.3f}{nats / math.log(2):11.3f}{other / math.log(2):20.3f}")
assert error > per_character(per_story(model))[1]  # for the 5-gram pairing does not help

# %% [markdown]
# In parentheses stands the standard error of the paired difference; of the `manuals` nobody knows the true distribution.
# The losses on `tales` drawn to scale:

# %% tags=["hide-input"] alt="Ladder of held-out losses on tales, from uniform at the top to the floor at the bottom: each model is nearer to it, and the 5-gram is still far above"
from course.figures import COLORS, figure, ladder, visible

rungs = list(losses["tales"].values())
assert rungs == sorted(rungs, reverse=True)
assert 2 * best < rungs[-1] < (rungs[0] + best) / 3
title = "Four letters of memory buy most of the way, not all of it"
ladder(losses["tales"], floor=best, floor_label="true distribution", title=title)

# %% [markdown]
# Each rung is lower than the one before, and the last is still far above the floor.
#
# Where is the loss?
# Back to the story that broke off, with the surprise of the 5-gram at every letter; and for comparison a 10-gram, with the appendix's rule for what shorter contexts count.

# %% tags=["hide-input"] alt="Bars of surprise in nats over the letters of a sentence: those of the first letters of words, in dark red, are high, the others mostly low"
five_gram = models["tales"]["5-gram"]
surprise = -five_gram.log_prob(held_out["tales"])
letter = np.char.isalpha(list(new_text["tales"]))
first = letter & ~np.roll(letter, 1)
inside = letter & ~first
for name, kind in ("first letters of words", first), ("letters inside words", inside):
    share = surprise[kind].sum() / surprise.sum()
    print(f"{name}: {kind.mean():.2f} of the text, {share:.2f} of the loss")
longer = loss_of(NGram(train["tales"], 10, 256, kneser_ney=True), held_out["tales"])
above = losses["tales"]["5-gram"] - best, longer - best
print(f"above the floor: 5-gram {above[0]:.3f}, 10-gram {above[1]:.3f}")
assert above[1] < above[0] / 2
at_start, later = surprise[first].mean(), surprise[inside].mean()
assert at_start > 2 * later and surprise[inside].sum() / len(surprise) > best + 0.29

shown = range(story.rindex(" ", 0, gap - 16) + 1, gap + 18)  # from the start of a word
fig, ax = figure(height=2.6)
costs = -five_gram.log_prob(to_bytes(story))
starts = [t for t in shown if story[t].isalpha() and not story[t - 1].isalpha()]
ax.bar(shown, costs[shown], color=COLORS["CYCLE"][3])
ax.bar(starts, costs[starts], color=COLORS["CYCLE"][4], label="first letters of words")
ax.legend()
ax.set_xticks(shown, map(visible, story[shown[0] : gap + 18]))
title = f"A word's first letter costs {at_start:.1f} nats, the others {later:.1f}"
ax.set(ylabel="surprise (nats)", ylim=(0, 5.5), title=title)
fig

# %% [markdown]
# One letter inside a word costs little, but there are many.
# Even if the whole floor of 0.136 lay inside words, 0.30 of the 0.88 nats above it would be left there: at least a third.
# Counting closes more than half of the gap with a longer memory and the appendix's better rule together, as the 10-gram shows; which of the two does it is not separated here.
# What counting leaves, however much it remembers, is what the rest of this book is about.
#
# ## Samples
#
# A model that predicts can also write: draw a token with the probabilities it gives, append it, ask again.
# Samples show at a glance what a model knows, and flatter it; the loss does not.

# %%
for name, model in models["tales"].items():
    drawn = model.sample(60, np.random.default_rng(0), context=list(b"\n\n"))
    print(f"{name:8}", visible(bytes(drawn.tolist())).replace("␣", " ")[:70])

# %% [markdown]
# Noise, letters, syllables, half words, words.
#
# ## Different cuts, one text
#
# A tokenizer from chapter 01 makes longer tokens, and an n-gram of longer tokens remembers more text.
# Train four vocabularies on the same manuals, put a trigram on each, and score it on the same held-out text.
# (With `kneser_ney=True`, the appendix's better rule for what the shorter contexts count.)
# `cut` trains a tokenizer and cuts both texts with it; `scored` fits the trigram on the one and returns its loss on the other.
# Guess: which has the lowest loss?

# %%
from tinyllm.tokens import Tokenizer, train_bpe


def cut(learn, new, size):
    """Both texts as tokens of a vocabulary trained on the first."""
    tokenizer = Tokenizer(*train_bpe(learn, size)).to_tiktoken()
    return [np.array(tokenizer.encode_ordinary(part)) for part in (learn, new)]


def scored(learned, ids, size, n=3, discount=0.75):
    return loss_of(NGram(learned, n, size, discount, kneser_ney=True), ids)


n_bytes = len(held_out["manuals"])
for size in (256, 512, 1024, 4096):
    learned, ids = cut(text["manuals"], new_text["manuals"], size)
    nats = scored(learned, ids, size)
    print(f"{size:4} tokens: {nats:.3f} nats per token, ", end="")
    print(f"perplexity {perplexity(nats):6.3f}, ", end="")
    print(f"{bits_per_byte(nats, len(ids), n_bytes):.3f} bits per byte")

# %% [markdown]
# By loss per token, and by perplexity, every larger vocabulary is worse; by bits per byte it is the other way around.
# A token of six letters is harder to predict than a letter, but has to be predicted only a sixth as often.
# What can be compared is the loss of the *whole text*, and that is `bits_per_byte`: nats per token, times tokens, divided by bytes and by $\ln 2$.
# A perplexity without its tokenizer is a number without its unit.
#
# Chapter 01 left a question open: do fewer tokens make better models?
# Here they did, but a trigram of long tokens also *sees further*: with a length and a discount of its own for each vocabulary, and a fifth of the text, bytes come out ahead in [Smoothing counts](smoothing_counts.ipynb).
# (A model of tokens also gives probability to other cuts of the same text, `t|he` beside `the`, which this score does not count for it; so its column is an upper bound.)
#
# **A convention.**
# Where this book writes $a \pm b$, $a$ is a mean over repetitions (seeds, or samples of data) and $b$ their standard deviation (the root of the mean squared distance from $a$, with $n-1$ in place of $n$): how much *one* repetition varies.
# How well the *mean* is known is its standard error, $b/\sqrt n$ for $n$ repetitions, and is always called so.
#
# *In words:* [variance and standard deviation](mathematics.ipynb#Variance-and-standard-deviation), [standard error](mathematics.ipynb#Standard-error).
#
# ## A bigram that nobody counted
#
# Later models do not count.
# They start with random numbers or zeros, see batches, and move the numbers down the slope of the loss, as in the chapter [Gradients](gradients.ipynb).
# Does that lead anywhere sensible?
# Here is a case where the answer is known: a table of $256 \times 256$ logits, all zero, trained on batches of the manuals to predict from the current byte alone.
# `embedding` picks the row of each byte; torch's optimizer Adam takes the steps until chapter 08 takes it apart.

# %%
table = torch.zeros(256, 256, requires_grad=True)  # (byte, next byte)
optimizer = torch.optim.Adam([table], lr=0.1)
generator, history = torch.Generator().manual_seed(0), []
stream = torch.tensor(train["manuals"], dtype=torch.long)
for step in range(300):
    x, y = get_batch(stream, batch_size=32, block_size=128, generator=generator)
    loss = cross_entropy(torch.nn.functional.embedding(x, table), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)  # ever smaller steps
    optimizer.step()
    history.append(loss.item())
print(f"{300 * x.numel() / len(stream):.1f} epochs")

# %% [markdown]
# An **epoch** is as many tokens as the training text has; drawn at random, some come twice and some not at all.
# Counting the same text once, without a discount, gives the lowest loss that such a table can have.

# %% tags=["hide-input"] alt="Training loss of the learned bigram falling from 5.5 nats to the loss of the counted bigram, of each batch and as a mean of 25, which runs along the dashed line at the end"
from course.figures import loss_plot

plain = NGram(train["manuals"], 2, 256, discount=0)
counted = loss_of(plain, train["manuals"])
assert abs(np.mean(history[-50:]) - counted) < 0.04
smooth = np.convolve(history, np.ones(25) / 25, "valid")  # means of 25 steps
assert abs(smooth[-1] - counted) < 0.04
steps = np.arange(len(history))
names = "loss of one batch", "mean of 25 batches around it"
descent = dict(zip(names, ((steps, np.array(history)), (steps[12:-12], smooth))))
title = "Descending the loss comes near to the counts"
colors = dict(zip(names, (COLORS["LINE"], COLORS["CYCLE"][0])))
fig = loss_plot(descent, counted, "counted", title=title, colors=colors)
fig.axes[0].grid(False)
fig.axes[0].set_yticks((3, 4, 5))
fig

# %% [markdown]
# The loss is one number, though, and the table has 65,536.
# Compare the predictions themselves, after some frequent letters and over all rows.
# In the last lines `off` is the probability that a learned row misplaces: half the sum of its absolute differences from the counted one.

# %%
learned = table.detach().softmax(-1).numpy()
for h in b"the ":
    shares = plain.probabilities([h])
    assert abs(learned[h] - shares).max() < 0.02
    w = shares.argmax()
    print(f"{chr(h)!r} then {chr(w)!r}: ", end="")
    print(f"counted {shares[w]:.2f}, learned {learned[h, w]:.2f}")

times = np.bincount(train["manuals"][:-1], minlength=256)
seen = np.flatnonzero(times)
off = np.array([abs(learned[h] - plain.probabilities([h])).sum() / 2 for h in seen])
assert (off > 0.1).sum() > 40 and off.max() > 0.99
mean = (off * times[seen]).sum() / times.sum()
print(f"{len(seen)} rows: probability misplaced {mean:.2f} on average over the text", end="")
print(f", {off.max():.2f} in the worst row")

# %% [markdown]
# Where there is much text, the table has arrived.
# In the rare rows it has not: more than forty misplace over a tenth of their probability, and the rarest are nearly uniform still.
#
# The direction is given by Gibbs' inequality, row by row, with the shares of the training text as $p$: among all predictions after `h`, the one with the smallest mean loss on the training text equals those shares.
# The loss is convex in the logits (a straight line between two tables runs nowhere below it), so no other valley can hold the descent.
# But a share of 0 is a logit of $-\infty$, and no finite number of steps gets there.

# %%
new = torch.tensor(held_out["manuals"][:50_000], dtype=torch.long)
learned_loss = cross_entropy(table.detach()[new[:-1]], new[1:]).item()
discounted = -models["manuals"]["bigram"].log_prob(new)[1:].mean()
assert math.isinf(loss_of(plain, new)) and discounted < learned_loss
print(f"held out: learned {learned_loss:.2f}, counted {loss_of(plain, new):.2f}", end="")
print(f", with a discount {discounted:.2f}")

# %% [markdown]
# So steps that are few and begin at the uniform model leave something for the unseen, as the discount does, and here not better than it.
# (To stop where the held-out loss is lowest is called *early stopping*; here nothing was chosen.)
#
# ## Seen from here
#
# Look once more at what a counting model does when it predicts.
# It goes back to the training text and finds the places that end as the present does, and there are two ways to say so.
#
# :::{two-views}
# - **As a lookup.**
#   The context is a key, what followed it is the value, and a `dict` maps the one to the other.
#   The key must match *exactly*, to the last byte.
# - **As a smoother.**
#   At every place of the training text a byte was observed, and the prediction is the average of the observations, weighted by how much the place resembles the present.
#   The weight is 1 if the last bytes are the same and 0 if not: the crudest kernel there is.
# :::

# %%
key, past = b"th", train["tales"][:100_000]
value = count_followers(past, longest=2)[key]
as_lookup = np.array([value[w] for w in range(256)]) / value.total()

kernel = (past[:-2] == key[0]) & (past[1:-1] == key[1])  # for each place 1 or 0
as_smoother = np.bincount(past[2:], weights=kernel, minlength=256) / kernel.sum()

trigram = NGram(past, 3, vocab_size=256, discount=0).probabilities(list(key))
np.testing.assert_allclose(as_lookup, trigram, atol=1e-12)
np.testing.assert_allclose(as_smoother, trigram, atol=1e-12)
print(", ".join(f"{chr(w)!r} {trigram[w]:.3f}" for w in np.argsort(-trigram)[:4]))

# %% [markdown]
# An exact match is a harsh measure of resemblance: after *the red lantern* nothing is known about *the green lantern*, unless the context is cut to what they share.
# Chapter 04 softens the key, chapter 05 softens the kernel, and it turns out to be one and the same softening.
#
# :::{why-it-works}
# Three things were shown.
# *No model has a lower expected loss than the true distribution*, by Gibbs' inequality.
# *Discounted counts, interpolated, are probabilities*: each of the $n(h)$ tokens gives up $D$, and $D\,n(h)$ is what the shorter context shares out.
# *The smallest cross-entropy on the training text is that of its shares*, by the same inequality, for any model that can represent them; a bigram table can, and its descent came near them where there is much text.
# The last one has a reverse side: a model that can represent the training text itself is pulled toward reciting it.
# :::
#
# :::{why-it-might}
# That *good prediction needs understanding* is the great hypothesis behind language models.
# The gap between the 5-gram and the floor does not show it, since a model that only counts, with a longer memory and a better rule, closes more than half.
# It would have to show in what counting leaves: names, wishes and promises from many sentences ago.
# The training chapter will count how many of them a model keeps.
# :::
#
# ## What to take along
#
# - The loss is the mean surprise in nats per token; before losses of different tokenizers are compared, they are converted to bits per byte.
# - On `tales` the expected held-out loss is a known entropy plus a KL divergence, and the divergence is what a model can still learn.
# - A zero makes the loss infinite; mixing with shorter contexts, down to the uniform model, removes every zero.
# - Compare on the same stories, take differences, and give them a standard error.
# - Where counting is possible, descending the loss leads toward the counts; its use is that it goes on where counting stops.
#
# **Exercises.** [The sheet of this chapter](../exercises/02_next_token.ipynb) has six questions: units, a sticky source whose perplexity you predict, a batch with two bugs, the slope of the loss, a discount of your own, and a choice of order that does not cheat.
#
# **Further reading.** Shannon's guessing game is a pleasure to read {cite}`shannon1951`.
# Chen and Goodman compared the ways to smooth counts {cite}`chen1999`; the appendix [Smoothing counts](smoothing_counts.ipynb) builds the winner's idea and has it compete with Taleteller.
# The next chapter gives each token a vector, so that two contexts can be *almost* the same.
