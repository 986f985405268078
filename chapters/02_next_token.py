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
# At some gaps you would bet the house, at others anything could come, and nobody gave you a rule for either.
# A **language model** is whatever makes such bets at every gap of a text.
# Claude Shannon had the next letter guessed, gap after gap, and published in 1951 what that says about how much there is to say in English {cite}`shannon1951`.
# This chapter has machines place the bets.
# How good is a bet, how good could it be, and how far does one get by counting?
#
# :::{admonition} You will be able to
# :class: tip
# - score any predictor of text in nats, bits per byte and perplexity, and compare two that cut the text into different tokens;
# - build a predictor by counting that is embarrassingly hard to beat;
# - say how far a predictor is from the best that can exist, where that is known.
#
# Reading: 35 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the part that turns probabilities of the next token into a loss marked as this chapter's"
from course.figures import machine_map

machine_map(here="prediction")

# %% [markdown]
# Chapter 01 left us with tokens, and with the smallest set of them: the 256 bytes.
# We start there, on two texts.
# The `manuals` you know.
# The `tales` come from a program that makes up stories, and since we wrote the program, we know something about it that nobody knows about English; more on that when we need it.
#
# A predictor that has seen the text can recite it.
# So of each text there is a part to learn from, `train`, and a part that is **held out**: used to score, and for nothing else.

# %%
import math

import numpy as np
import torch
from torch import Tensor

from course.data import manuals

text = {"tales": tales(1_000_000, seed=0), "manuals": manuals()[:1_000_000]}
new_text = {"tales": tales(200_000, seed=1), "manuals": manuals()[-200_000:]}


def to_bytes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


train = {name: to_bytes(t) for name, t in text.items()}
held_out = {name: to_bytes(t) for name, t in new_text.items()}
{name: (len(train[name]), len(held_out[name])) for name in train}

# %% [markdown]
# ## A text is an exam with the answers printed on it
#
# Nobody has to label anything.
# Cut a piece out of a text, and every token in it is the answer to a question: *what comes after the tokens before me?*
# A piece of $T+1$ tokens gives $T$ questions `x` and $T$ answers `y`, and the answers are the questions, moved by one.

# %% tags=["quote"]
from tinyllm.batches import batch

# %% [markdown]
# Three pieces of twelve, cut out at random:

# %%
stream = torch.tensor(train["tales"], dtype=torch.long)
x, y = batch(stream, 3, 12, generator=torch.Generator().manual_seed(0))
for questions, answers in zip(x.tolist(), y.tolist()):
    print(f"{bytes(questions).decode()!r} → {bytes(answers).decode()!r}")
x.shape, y.shape

# %% [markdown]
# Read a line by columns.
# Under the first letter of `x` stands what came after it; under the second, what came after the first two.
# A batch of shape $(B, T)$ holds $B \cdot T$ questions, and the model answers all of them at once.
#
# ## A bet on every token
#
# An answer is not a letter but a probability for each of the $V$ letters.
# We score it by one number: the probability that it gave to the letter that came, as $-\ln p$.
# Three bets on two letters, which you can check with a pocket calculator:
#
# | | on `a` | on `b` | what came | $-\ln p$ |
# |---|---|---|---|---|
# | undecided | 0.50 | 0.50 | `a` | 0.693 |
# | leaning right | 0.25 | 0.75 | `b` | 0.288 |
# | sure, and wrong | 0.90 | 0.10 | `b` | 2.303 |
# | **mean** | | | | **1.094** |
#
# Why the logarithm?
# The probability of the three letters together is the product $0.5 \cdot 0.75 \cdot 0.1$, and a product of a million such numbers is 0 on every computer.
# Its logarithm is a sum, and divided by the number of tokens it is the **cross-entropy**, the loss of this book from here to its end:
#
# $$
# L = -\frac{1}{T} \sum_{t=1}^{T} \ln p(y_t \mid x_1, \dots, x_t) .
# $$
#
# It is measured in nats per token: 0 for an oracle, $\ln V$ for a shrug, and infinite for whoever called impossible what then happened.
#
# Neural networks do not hand over probabilities but **logits**, any real numbers $z$, of which the softmax makes probabilities.
# Put the softmax into the formula, and one position costs
#
# $$
# -\ln \frac{e^{z_y}}{\sum_w e^{z_w}} = \ln \sum_w e^{z_w} - z_y .
# $$

# %% tags=["quote"]
from tinyllm.loss import cross_entropy

# %% [markdown]
# The three bets, given as logits, must cost 1.094.

# %%
bets = torch.tensor([[0.50, 0.50], [0.25, 0.75], [0.90, 0.10]])
came = torch.tensor([0, 1, 1])
print(f"{cross_entropy(bets.log(), came):.3f}")

# %% [markdown]
# And against torch's own, in double precision, with two leading dimensions.
# The last lines show why the function subtracts the largest logit first: as the formula stands, it breaks on logits that a network in trouble does produce.

# %%
torch.manual_seed(0)
logits = torch.randn(4, 9, 50, dtype=torch.float64)
answers = torch.randint(50, (4, 9))
ours = cross_entropy(logits, answers)
theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten())
torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)

z, answer = torch.tensor([1000.0, 0.0]), torch.tensor(1)
as_written = z.exp().sum().log() - z[answer]
print(f"as it stands: {as_written}; ours: {cross_entropy(z, answer)}")

# %% [markdown]
# Two other units are in use, and both are the same number in another dress.
# **Perplexity** is $e^L$: the number of equally likely letters among which one would be as lost.
# **Bits per byte** is $L$ in base 2, per byte of text; it is also the size to which a perfect archiver could shrink the text with this model inside.

# %% tags=["quote"]
from tinyllm.loss import bits_per_byte, perplexity

# %% [markdown]
# The shrug, for a start: every byte gets 1/256.

# %%
shrug = cross_entropy(torch.zeros(1000, 256), torch.arange(1000) % 256).item()
print(f"{shrug:.3f} nats, perplexity {perplexity(shrug):.0f}, ", end="")
print(f"{bits_per_byte(shrug, n_tokens=1000, n_bytes=1000):.3f} bits per byte")

# %% [markdown]
# Eight bits per byte is the file as it lies on the disk.
# It can only get better from here.
#
# ## Counting
#
# The simplest thing that knows anything is a table of pairs: how often each letter followed each other letter.
# Guess before you run it: what comes after `q`, after `T`, after a full stop?

# %%
pairs = np.zeros((256, 256))
np.add.at(pairs, (train["tales"][:-1], train["tales"][1:]), 1)
for h in b"qT.":
    shares = pairs[h] / pairs[h].sum()
    likely = [w for w in np.argsort(-shares)[:4] if shares[w] > 0]
    print(f"{chr(h)!r}:", ", ".join(f"{chr(w)!r} {shares[w]:.3f}" for w in likely))

# %% [markdown]
# Each row, divided by its sum, is a bet.
# This is the **bigram** model.
# A table of single letters is the unigram; of three in a row, the trigram; and an **n-gram** model bets by what followed the last $n-1$ tokens wherever they occurred before.
# `NGram` counts for any $n$ and any vocabulary.
#
# More memory, better bets.
# On the training text this is plain: the loss can only fall.
# What will the loss on the held-out text do?

# %%
from tinyllm.counting import NGram


def loss_of(model, ids):
    return -model.log_prob(ids).mean()


for n in range(1, 7):
    plain = NGram(train["tales"], n, vocab_size=256, discount=0)
    learned, new = loss_of(plain, train["tales"]), loss_of(plain, held_out["tales"])
    never = np.isinf(plain.log_prob(held_out["tales"])).sum()
    print(f"{n}-gram: training {learned:.3f}, held out {new:.3f}, ", end="")
    print(f"called impossible: {never}")

# %% [markdown]
# Infinite.
# Not bad, not mediocre: infinite, and at first because of a few letters among two hundred thousand.
# The table says *never* where it should say *not yet*, and who says never pays everything at the first exception.
# More text postpones the exception and cannot prevent it, as with the words of chapter 01.
#
# ## What a count owes
#
# So something has to be set aside for what was not seen, and it has to be taken from what was.
# How much?
# Let the text tell: count runs of five letters in one half of the `manuals`, and see how often the same runs occur in the other half.

# %%
from collections import Counter


def runs(ids, n):
    return Counter(bytes(ids[i : i + n]) for i in range(len(ids) - n + 1))


here, there = (runs(half, 5) for half in np.array_split(train["manuals"], 2))
for r in range(1, 7):
    again = np.mean([there[run] for run, count in here.items() if count == r])
    print(f"seen {r} times here, {again:.2f} times there: {r - again:.2f} too many")

# %% [markdown]
# What was seen once comes back about every second time.
# And then a surprise: what was seen six times does not owe six times as much.
# *Every* count promises too much, and by about the same amount, between a half and somewhat more than one.
# Church and Gale found the same in newswire, with an amount closer to a constant still: three quarters for all counts from two to nine {cite}`church1991`.
#
# That is all we need.
# Take the same discount $D$ from every count; hand what is collected to the model with one token less memory; and if that one has not seen the token either, it asks the next shorter, down to the shrug {cite}`ney1994`:
#
# $$
# \begin{aligned}
# p_k(w \mid h) = {} & \underbrace{\frac{\max(c(hw) - D,\, 0)}{c(h)}}_{\text{what is left of the count}} \\
# & + \underbrace{\frac{D \, n(h)}{c(h)}}_{\text{what was collected}} \cdot \; p_{k-1}(w \mid h') .
# \end{aligned}
# $$
#
# Here $c(hw)$ is how often token $w$ followed the context $h$, $c(h)$ is the sum of these counts, $n(h)$ the number of *different* tokens that followed, and $h'$ is $h$ without its first token.
# Each of the $n(h)$ tokens paid $D$, so the shares add up to 1 whatever the counts are.

# %%
from collections import defaultdict


def count_followers(ids, longest):
    after = defaultdict(Counter)  # context → what followed it
    for end in range(len(ids)):
        for length in range(min(longest, end) + 1):
            after[bytes(ids[end - length : end])][ids[end]] += 1
    return after

# %% [markdown]
# The formula is then a recursion, from the whole context to none.

# %%
def probability(w, h, after, discount, vocab_size):
    shorter = 1 / vocab_size
    if h:
        shorter = probability(w, h[1:], after, discount, vocab_size)
    if h not in after:
        return shorter
    counts = after[h]
    left = max(counts[w] - discount, 0)
    return (left + discount * len(counts) * shorter) / counts.total()

# %% [markdown]
# By hand on `banana`, with the three letters it has and $D = \tfrac12$.
#
# | | `a` | `b` | `n` |
# |---|---|---|---|
# | the shrug | 1/3 | 1/3 | 1/3 |
# | any letter: counts 3, 1, 2 of 6 | 1/2 | 1/6 | 1/3 |
# | after `a`: counts 0, 0, 2 of 2 | 0 + ¼ · 1/2 | 0 + ¼ · 1/6 | ¾ + ¼ · 1/3 |
# | | **0.125** | **0.042** | **0.833** |
#
# After `a` only `n` was seen.
# It pays ½ out of 2, a quarter, and that quarter is shared out as the unigram would.

# %%
after = count_followers(b"banana", longest=1)
for w in b"abn":
    print(chr(w), f"{probability(w, b'a', after, discount=0.5, vocab_size=3):.3f}")

# %% [markdown]
# Nothing is impossible any more, and nothing that was seen often has lost much.
# The recursion is slow; `NGram` computes the same for all places of a text at once, and the assertion holds it to that.
# Below it, the bets of a 5-gram with three thousand letters of experience on the first letters of a new story.

# %%
old, new = train["tales"][:3000], held_out["tales"][:60]
after = count_followers(old, longest=4)
contexts = [bytes(new[max(0, t - 4) : t]) for t in range(len(new))]
slow = [probability(w, h, after, 0.75, 256) for w, h in zip(new, contexts)]
fast = np.exp(NGram(old, order=5, vocab_size=256, discount=0.75).log_prob(new))
np.testing.assert_allclose(fast, slow, rtol=1e-12)
print(" ".join(f"{chr(w)}:{p:.2f}" for w, p in zip(new[:11], fast)))

# %% [markdown]
# ## What nobody can beat
#
# Before we score the models: what would be a good score?
#
# For most text nobody knows.
# From guesses made with a hundred letters in view, Shannon put English between 0.6 and 1.3 bits per letter {cite}`shannon1951`, and the two ends of that guess are a factor of two apart.
# For `tales` we know it to the last decimal.
# The program that tells them rolls dice; it knows the probability of each roll, and no story can be told in two ways, so the product of its rolls is the probability of the story.
# Nobody can predict the stories better than the dice do.

# %%
from itertools import islice

from course.data.tales import floor, tell

told = list(islice(tell(seed=1), new_text["tales"].count("\n\n") + 1))
assert "\n\n".join(tale.text for tale in told) == new_text["tales"]
best = -sum(tale.log_prob for tale in told) / len(held_out["tales"])
print(f"{len(told)} held-out stories: {best:.3f} nats per letter; ", end="")
print(f"expected of any: {floor().nats_per_character:.3f}")

# %% [markdown]
# The second number is the expectation over all stories that the program could tell, the first is what chance made of these.
# Why can no model $q$ do better than the dice $p$, on average?
# Because $\ln u \le u - 1$, with equality only at $u = 1$:
#
# $$
# \begin{aligned}
# \mathbb{E}_p[-\ln p] - \mathbb{E}_p[-\ln q]
# &= \sum_s p(s) \ln \frac{q(s)}{p(s)} \\
# &\le \sum_s p(s) \Big( \frac{q(s)}{p(s)} - 1 \Big) = 1 - 1 = 0 .
# \end{aligned}
# $$
#
# On the left stands the dice's loss minus the model's, summed over all stories $s$.
# So every loss in this book that is measured on `tales` is drawn over this **floor**.
# A curve that dives below it is not a discovery; it is a bug.
#
# ## The ladder
#
# Now all of them, from the shrug to five letters, fitted on `train` and scored on what was held out.

# %%
orders = dict(uniform=0, unigram=1, bigram=2, trigram=3) | {"back-off 5-gram": 5}
models, losses = {}, {}
for name in train:
    models[name] = {m: NGram(train[name], n, 256) for m, n in orders.items()}
    losses[name] = {m: loss_of(models[name][m], held_out[name]) for m in orders}

print(" " * 17 + "tales: nats  perplexity   bits/byte    manuals: bits/byte")
for name, nats in [*losses["tales"].items(), ("the dice", best)]:
    other = losses["manuals"].get(name, math.nan)
    print(f"{name:16}{nats:12.3f}{perplexity(nats):12.3f}", end="")
    print(f"{nats / math.log(2):12.3f}{other / math.log(2):22.3f}".replace("nan", "  ?"))

# %% [markdown]
# The same losses drawn to scale, with the floor at the bottom:

# %% tags=["hide-input"] alt="Ladder of held-out losses on tales, from uniform at the top to the floor at the bottom: each model halves part of the way, and the 5-gram is still far from the floor"
from course.figures import figure, ladder, visible

rungs = list(losses["tales"].values())
assert rungs == sorted(rungs, reverse=True)
assert 2 * best < rungs[-1] < (rungs[0] + best) / 3
title = "Four letters of memory buy most of the way, not all of it"
ladder(losses["tales"], floor=best, floor_label="the dice", title=title)

# %% [markdown]
# Every letter of memory pays, and each pays less.
# The last rung is still a long way from the floor.
#
# Where does the loss sit?
# Back to the story that broke off, with the surprise of the 5-gram at every letter.

# %% tags=["hide-input"] alt="Bars of surprise in nats over the letters of a sentence: high at the first letters of words, low inside words"
five_gram = models["tales"]["back-off 5-gram"]
surprise = -five_gram.log_prob(held_out["tales"])
letter = np.char.isalpha(list(new_text["tales"]))
first = letter & ~np.roll(letter, 1)
at_start, elsewhere = surprise[first].mean(), surprise[~first].mean()
assert at_start > 2 * elsewhere

shown = slice(gap - 16, gap + 18)
fig, ax = figure(height=2.6)
ax.bar(range(34), -five_gram.log_prob(to_bytes(story))[shown])
ax.set_xticks(range(34), map(visible, story[shown]))
title = f"A word's first letter costs {at_start:.1f} nats, others {elsewhere:.1f}"
ax.set(ylabel="surprise (nats)", title=title)
fig

# %% [markdown]
# Inside words four letters are nearly enough.
# At the start of a word they are not: what decides there is the word before, a name from the first line, a wish from two hundred letters ago.
# The rest of this book is about that gap.
#
# We took $D = \tfrac34$ on somebody else's authority.
# How much hangs on it?

# %%
for discount in (0.5, 0.75, 1.0):
    five_grams = {c: NGram(train[c], 5, 256, discount) for c in train}
    nats = [f"{loss_of(five_grams[c], held_out[c]):.3f} on {c}" for c in train]
    print(f"D = {discount}: {', '.join(nats)} (nats per byte)")

# %% [markdown]
# Little.
# A constant that is wrong by a third costs less than the difference between any two rungs.
#
# ## Let them talk
#
# A model that bets can also play: draw a token with the probabilities it gives, append it, ask again.
# Samples show at a glance what a model knows, and they flatter: we forgive, the loss does not.

# %%
for name, model in models["tales"].items():
    drawn = model.sample(60, np.random.default_rng(0), context=list(b"\n\n"))
    print(f"{name:16}", visible(bytes(drawn.tolist())).replace("␣", " ")[:62])

# %% [markdown]
# Noise, letters, syllables, half words, words.
# The models of `manuals` climb the same rungs in another dialect.

# %%
for name in ("bigram", "back-off 5-gram"):
    generator = np.random.default_rng(1)
    drawn = models["manuals"][name].sample(250, generator, context=list(b"\n\n\n"))
    print(f"--- {name}\n{bytes(drawn.tolist()).decode(errors='replace')}")

# %% [markdown]
# ## Ask the fallback the right question
#
# One part of the recipe is still careless.
# The shorter model $p_{k-1}$ is asked only when the longer one is short of evidence, and yet it counts *all* occurrences, also those that the longer one has already dealt with.
#
# The standard example is a city.
# *Francisco* occurs often, so the unigram likes it; but it occurs after *San*, and there the bigram knows.
# After a word that has never been followed by anything, *Francisco* is a poor bet.
# What the fallback should know is not how *often* a token occurs but after how many *different* tokens {cite}`kneser1995`.
# In `NGram` that is `kneser_ney=True`, and it changes nothing but what $c$ counts in the shorter contexts: there each different longer run votes once.
#
# It sounds like a detail.
# Predict: does it matter more for short memories or for long ones?
# Three different samples of the manuals, half a megabyte each, so that we see what is chance:

# %%
lengths = np.array([2, 3, 4, 5, 6, 8])


def curve(learn, new, kneser_ney):
    models = [NGram(learn, n, 256, kneser_ney=kneser_ney) for n in lengths]
    return [bits_per_byte(loss_of(model, new), 1, 1) for model in models]


samples = [to_bytes(manuals())[i * 10**6 :][:500_000] for i in (1, 3, 5)]
parts = [np.split(sample, [400_000]) for sample in samples]
occurrences = np.array([curve(*part, kneser_ney=False) for part in parts])
contexts = np.array([curve(*part, kneser_ney=True) for part in parts])
for n, saved in zip(lengths, (occurrences - contexts).T):
    print(f"{n}-gram: saves {saved.mean():.3f} ± {saved.std():.3f} bits per byte")

# %% [markdown]
# The saving grows with the length; whether it grows enough, the two curves say.

# %% tags=["hide-input"] alt="Held-out bits per byte against the length of the runs: counting occurrences turns upward after six bytes, counting contexts keeps falling"
from course.figures import loss_plot

assert (occurrences.argmin(1) < len(lengths) - 1).all()
assert (np.diff(contexts) < 0).all()
loss_plot(
    {"occurrences": (lengths, occurrences), "contexts": (lengths, contexts)},
    title="With the right fallback, a longer memory keeps paying",
    xlabel="n, of which n − 1 bytes are the memory",
    ylabel="held-out loss (bits per byte)",
)

# %% [markdown]
# For pairs it is worth next to nothing.
# For long runs it decides whether memory helps or hurts: the careless model gets *worse* with more context, although it has strictly more to go on.
# The bands are the three samples, and they hardly show.
#
# A word of caution about this text: docstrings copy from each other, and a long memory finds the copies.
# So here is the text on which everyone quotes numbers, Tiny Shakespeare, its last tenth held out.
# The README of nanoGPT reports 1.88 nats for a small transformer after three minutes on a laptop, and 1.4697 for a larger one after three minutes on an A100 {cite}`nanogpt`.
# Counting takes a second or two.

# %% tags=["needs-shakespeare"]
from course.data import shakespeare

plays = to_bytes(shakespeare())
play_parts = np.split(plays, [len(plays) * 9 // 10])
plain = curve(*play_parts, kneser_ney=False)
votes = curve(*play_parts, kneser_ney=True)
for n, a, b in zip(lengths, plain, votes):
    print(f"{n}-gram: {a * math.log(2):.3f} nats per character; ", end="")
    print(f"counting contexts {b * math.log(2):.3f}")

# %% [markdown]
# Here the longest memory does hurt, with either fallback, though with the right one late and little: Shakespeare copied less from himself.
# And a table of counts, on a recipe from 1995, stands far below the transformer of the quick start.
# Keep the number of the 6-gram in mind; chapter 08 will have to work to get past it.
#
# What does the best of these models know?
# Let an 8-gram tell a tale.

# %%
teller = NGram(train["tales"], 8, 256, kneser_ney=True)
drawn = teller.sample(400, np.random.default_rng(0), context=list(b"\n\n"))
print(textwrap.fill(bytes(drawn.tolist()).decode(), 80))

# %% [markdown]
# Nearly any eight letters of it are in order.
# Now take a whole sentence and ask who it is about.
#
# ## Different cuts, one text
#
# A tokenizer from chapter 01 makes longer tokens, and an n-gram of longer tokens remembers more text.
# Train four vocabularies on the same manuals, put a trigram on each, and score it on the same held-out text.
# Guess: which has the lowest loss?

# %%
from tinyllm.tokens import Tokenizer, train_bpe

n_bytes = len(held_out["manuals"])
for size in (256, 512, 1024, 4096):
    tokenizer = Tokenizer(*train_bpe(text["manuals"], size)).to_tiktoken()
    learn = np.array(tokenizer.encode_ordinary(text["manuals"]))
    new = np.array(tokenizer.encode_ordinary(new_text["manuals"]))
    nats = loss_of(NGram(learn, 3, size, kneser_ney=True), new)
    print(f"{size:4} tokens: {nats:.3f} nats per token, ", end="")
    print(f"perplexity {perplexity(nats):6.3f}, ", end="")
    print(f"{bits_per_byte(nats, len(new), n_bytes):.3f} bits per byte")

# %% [markdown]
# By loss per token, and by perplexity, the bytes win by far and every larger vocabulary is worse.
# By bits per byte it is the other way around.
#
# Both columns are right, they answer different questions.
# To guess a token of six letters is harder than to guess a letter, but it has to be done only a sixth as often.
# What can be compared is the price of the *whole text*, and that is `bits_per_byte`: nats per token, times tokens, divided by bytes and by $\ln 2$.
# A perplexity without its tokenizer is a number without its unit.
#
# Chapter 01 left a question open: do fewer tokens make better models?
# Here they did, but a trigram of long tokens also *sees further*.
# The fair opponent is a model of bytes with as long a memory.

# %%
rival = NGram(train["manuals"], 8, vocab_size=256, kneser_ney=True)
bits = loss_of(rival, held_out["manuals"]) / math.log(2)
print(f"three of the 4096 tokens span {3 * n_bytes / len(new):.1f} bytes")
print(f"the 8-gram of bytes needs {bits:.3f} bits per byte")

# %% [markdown]
# About the same.
# So for models that count, tokens are a cheap way to remember more letters, and little beyond that.
#
# ## A bigram that nobody counted
#
# No later model of this book counts anything.
# They all start with numbers that mean nothing, see batches, and move the numbers down the slope of the loss.
# Does that lead anywhere sensible?
# Here is a case where we know the answer: a table of $256 \times 256$ logits, all zero, trained on batches of the manuals to predict from the current byte alone.
# Torch's optimizer does the moving until chapter 08 takes it apart.

# %%
table = torch.zeros(256, 256, requires_grad=True)  # (byte, next byte)
optimizer = torch.optim.Adam([table], lr=0.1)
generator, history = torch.Generator().manual_seed(0), []
stream = torch.tensor(train["manuals"], dtype=torch.long)
for step in range(300):
    x, y = batch(stream, batch_size=32, block_size=128, generator=generator)
    loss = cross_entropy(torch.nn.functional.embedding(x, table), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)  # ever smaller steps
    optimizer.step()
    history.append(loss.item())

# %% [markdown]
# Counting the same text once, without a discount, is the line that the loss should come down to.

# %% tags=["hide-input"] alt="Training loss of the learned bigram falling from 5.5 nats to the loss of the counted bigram and staying there"
plain = NGram(train["manuals"], 2, 256, discount=0)
counted = loss_of(plain, train["manuals"])
assert abs(np.mean(history[-50:]) - counted) < 0.04
descent = {"learned": (np.arange(len(history)), np.array(history))}
title = "Gradient descent arrives at the counts"
loss_plot(descent, floor=counted, floor_label="counted", title=title)

# %% [markdown]
# It starts at the shrug, $\ln 256$, and ends at the loss of the table of plain counts.
# The loss is one number, though, and the table has 65,536.
# Compare the bets themselves, after some frequent letters.

# %%
learned = table.detach().softmax(-1).numpy()
for h in b"the ":
    shares = plain.probabilities([h])
    assert abs(learned[h] - shares).max() < 0.02
    w = shares.argmax()
    print(f"{chr(h)!r} then {chr(w)!r}: ", end="")
    print(f"counted {shares[w]:.2f}, learned {learned[h, w]:.2f}")

# %% [markdown]
# Nobody told it to count.
# The reason is the inequality from above, row by row: among all bets after `h`, the one with the smallest mean loss on the training text is the bet that equals the shares in the training text.
# The loss is convex in the logits, so the way down has no other place to end.
#
# It differs from the counts in one respect, and to its credit.

# %%
new = torch.tensor(held_out["manuals"][:50_000], dtype=torch.long)
learned_loss = cross_entropy(table.detach()[new[:-1]], new[1:]).item()
assert math.isinf(loss_of(plain, new))
print(f"held out: learned {learned_loss:.2f}, counted {loss_of(plain, new):.2f}")

# %% [markdown]
# A probability of 0 is a logit of $-\infty$, and no finite number of steps gets there.
# Stopping early sets something aside for the unseen, as the discount did, by accident and without a name.
#
# ## Seen from here
#
# Look once more at what a counting model does when it bets.
# Nothing in it is learned; it goes back to the training text and finds the places that end as the present does.
# There are two ways to say so, and they will be with us to the end of the book.
#
# :::{two-views}
# - **As a lookup.**
#   The context is a key, what followed it is the value, and a `dict` maps the one to the other.
#   The key must match *exactly*, to the last byte.
# - **As a smoother.**
#   Every place of the training text has a vote, "here came this byte", and the bet is the average of the votes, weighted by how much the place resembles the present.
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
", ".join(f"{chr(w)!r} {trigram[w]:.3f}" for w in np.argsort(-trigram)[:4])

# %% [markdown]
# An exact match is a harsh judge of resemblance: *the red lantern* and *the green lantern* have nothing to say to each other.
# Chapter 04 softens the key, chapter 05 softens the kernel, and it turns out to be one and the same softening.
#
# :::{why-it-works}
# Three things were shown.
# *No model beats the floor on average*, because $\ln u \le u - 1$.
# *The discounted shares are probabilities*: each of the $n(h)$ tokens pays $D$, and $D\,n(h)$ is what the fallback shares out.
# *Training on the cross-entropy tends to the shares of the training text*, by the same inequality, for any model that can represent them; a bigram table can, and did.
# The last one has a sting: a model that could represent the training text itself would be pulled toward reciting it.
# :::
#
# :::{why-it-might}
# That each count owes about three quarters was *measured*, here and by Church and Gale; why the amount is so nearly constant, this chapter does not say.
# That *good prediction needs understanding* is the great hypothesis behind language models.
# The gap between the 5-gram and the floor is where it would have to show: there are the names, wishes and promises that letters do not hold.
# A model that closes the gap has at least kept track of them; the training chapter will count how many it kept.
# :::
#
# ## What to take along
#
# - The loss is the mean surprise in nats per token; before it is compared with anybody's, it is converted to bits per byte.
# - The floor of `tales` is known, so from now on "how good is it?" has two ends: the 5-gram above, the dice below.
# - Never say never: a discount costs almost nothing and saves everything.
# - What the fallback counts matters more than how long the memory is.
# - Descending the loss is counting, where counting is possible; its use is that it goes on where counting stops.
#
# **Exercises.** [The sheet of this chapter](../exercises/02_next_token.ipynb) has six questions: units, a sticky source whose perplexity you predict, a batch with two bugs, the slope of the loss, a discount of your own, and a choice of order that does not cheat.
#
# **Further reading.** Shannon's guessing game is a pleasure to read {cite}`shannon1951`.
# Chen and Goodman compared the ways to smooth counts, and a variant of Kneser and Ney's came out first {cite}`chen1999`.
# The next chapter gives each token a vector, so that two contexts can be *almost* the same.
