# %% [markdown]
# # Scale: a shelf, a step, and a floor that is known
#
# Here is one model with 6.3 million weights in its blocks (attention and MLPs, not the token tables), after learning from 2, 4, 8, 16 and 32 million tokens of tales.
# The second column is its *excess*: the loss per character less the least that any model can reach.
# The last one is the mean probability that it gives to the right name where a story says one again.

# %%
import json
import math
from itertools import islice, product
from pathlib import Path

runs = [json.loads(line) for line in Path("../bench/scaling.jsonl").read_text().splitlines()]
print("tokens      excess   p of a name that is said again")
for run in runs:
    if run["model"] == "6.3M" and run["millions"] <= 32:
        print(f"{run['millions']:4} M  {run['excess']:6.3f} nats {run['again']:16.3f}")

# %% [markdown]
# The excess falls, as one would expect.
# The last column stays near 0.01 up to 8 million tokens: one in a hundred.
# With twice that text it is three in four.
#
# That change is the **step** of this chapter. (One update of the weights is called a *training step* here.)
# The plateau of that probability before it is the **shelf**.
# Does the loss show the step, could it have been predicted, and what does it do to the *scaling laws* by which large models are planned?
# On real text the last is hard to say, since nobody knows how low the loss can go.
# On the tales we know.
#
# :::{admonition} You will be able to
# :class: tip
# - predict by hand how far the loss falls when a model learns to use a name that was said, and how much of that an average of names would bring;
# - fit a scaling law, and say why its *irreducible loss* is not the entropy;
# - account for the memory and the time of a training run, on one process and on several.
#
# Reading: 90 minutes, an hour for the step and half an hour for the bill. Running: two minutes.
# :::
#
# The chapter has two parts.
# The first, up to [Is it emergence?](#emergence), is about the step.
# The second begins with [The bill of a training run](#memory) and accounts for memory and time; you can stop before it.

# %% tags=["remove-input"] alt="Map of the whole machine with the training loop marked, the part of it that this chapter makes larger"
from course.figures import machine_map

machine_map(here="training")

# %% [markdown]
# From earlier chapters come the tales and their floor (02), attention and the mean that it takes (04, 05), the model and its number of operations (07), and training (08).

# %%
import re

import torch
from torch import Tensor, nn

from course.data.bindings import KINDS, Language, tell as tell_bindings
from course.data.tales import tell
from course.data.tales_world import BOYS, GIRLS
from course.figures import COLORS, figure
from course.style import ATTENTION
from tinyllm.attention import attention
from tinyllm.model import GPT, Config, flops_per_token, load_tokenizer, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

CYCLE = COLORS["CYCLE"]
NAMES = (*GIRLS, *BOYS)
SIZES = list(dict.fromkeys(run["model"] for run in sorted(runs, key=lambda r: r["n_block"])))
encode = load_tokenizer("taleteller").encode
one_token = sum(len(encode(f" {name}")) == 1 for name in NAMES)
print(f"{len(runs)} runs of {len(SIZES)} sizes: {', '.join(SIZES)}")
print(f"standard error of an excess: {max(run['se'] for run in runs):.4f} at most")
print(f"{one_token} of {len(NAMES)} names are one token")

# %% [markdown]
# (the-sweep)=
# ## The sweep
#
# The runs were recorded, not made here: `bench/scaling.py` on one GPU (an NVIDIA H200), one seed, nine sizes from 24 thousand to 31 million weights in the blocks.
# All have Taleteller's vocabulary of 2,048 tokens, and learn from 48 whole stories a training step, every story once.
# The optimizer is Muon at the rate 0.02, with Adam at 0.02 for the embeddings, for all sizes; the head's rate falls with the width.
# Each number of tokens is a *finished* schedule: the rate stays constant, and falls to zero over the last 40 % of the training steps.
# Each of 1,024 held-out stories has a loss and an exact log-probability; the **excess** is the mean of their *paired* difference, per character.
# The probability $p$ is that of names that are one token, 96 of the 98.

# %% tags=["hide-input"] alt="Two panels over the number of tokens from 2 to 128 million, one line for each of nine sizes. Above, the excess on logarithmic axes: all lines fall; those of 442 thousand weights and more reach a band between 0.024 and 0.038 and then fall below 0.01. Below, the probability of a name said again: near 0.01, and above 0.65 after the step, for the largest three sizes between 8 and 16 million tokens, for the two sizes around a million between 32 and 64 million; the three smallest never rise"
fig, axes = figure(rows=2, height=6.8)
for i, size in enumerate(SIZES):
    mine = sorted((r for r in runs if r["model"] == size), key=lambda r: r["tokens"])
    x = [r["millions"] for r in mine]
    how = dict(marker="o", markersize=3.5, color=ATTENTION((i + 4) / (len(SIZES) + 3)))
    axes[0].loglog(x, [r["excess"] for r in mine], label=size, **how)
    axes[1].semilogx(x, [r["again"] for r in mine], **how)
for ax in axes:
    ax.set_xticks([2, 4, 8, 16, 32, 64, 128], [2, 4, 8, 16, 32, 64, 128])
    ax.minorticks_off()
axes[0].axhspan(0.024, 0.038, color=COLORS["FLOOR"], alpha=0.15, linewidth=0)
axes[0].annotate("right before the step", (148, 0.0302), color=COLORS["FLOOR"], va="center",
                 ha="right")
axes[0].set(ylabel="excess (nats per character)")
axes[0].set_title("The probability of a name stays near 1/98, then jumps")
fig.legend(loc="outside lower center", ncols=5, fontsize=10.4, title_fontsize=10.4,
           title="weights in blocks")
axes[1].axhline(1 / 98, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
axes[1].set(xlabel="million tokens", ylabel="p(name said again)", ylim=(-0.02, 1))
fig

# %% [markdown]
# What stays near $1/98$, or below, is $p$, while these models learn other things: that is the shelf.
# The excess is not flat: it falls by 17 to 75 % with each doubling, in the six larger models down to the gray band from 0.024 to 0.038.
# In the loss of these runs that progress hides the shelf; a text without it will show the shelf bare, below.
# Then, within a doubling of the tokens, $p$ rises, and what is left of the excess is between a sixth and a quarter.
# Here is the last run of each size before the step, and the first after it.

# %%
before, after, earlier = {}, {}, []
for size in SIZES:
    mine = sorted((r for r in runs if r["model"] == size), key=lambda r: r["tokens"])
    for old, new in zip(mine, mine[1:]):
        if new["again"] < 0.05:
            earlier.append(new["excess"] / old["excess"])
        elif old["again"] < 0.05:
            before[size], after[size] = old, new
            print(f"{size:5} from {old['millions']:2} to {new['millions']:2} M: excess "
                  f"{old['excess']:.4f} to {new['excess']:.4f}, "
                  f"down {old['excess'] - new['excess']:.4f}; "
                  f"p {old['again']:.3f} to {new['again']:.2f}")
drops = [before[size]["excess"] - after[size]["excess"] for size in before]
assert len(drops) == 6 and 0.019 < min(drops) < max(drops) < 0.03
assert all(1 / 6 < after[size]["excess"] / before[size]["excess"] < 1 / 4 for size in before)
assert 0.24 < min(earlier) and max(earlier) < 0.84  # of a doubling on the shelf
waiting = [r["again"] for r in runs if r["again"] < 0.05]
assert 0.002 < min(waiting) < max(waiting) < 0.025 and one_token == 96

# %% [markdown]
# Which size has its step first?
# In this seed the larger ones do: 6.3 million weights and more between 8 and 16 million tokens, 2.7 million between 16 and 32, a million and less after 32.
# Is it chance?
# `bench/scaling_variants.jsonl` holds another seed of the model with a million weights.

# %%
path = Path("../bench/scaling_variants.jsonl")
variants = [json.loads(line) for line in path.read_text().splitlines()]
again = {(r["seed"], r["millions"]): r["again"] for r in variants + runs
         if r["model"] == "1.0M" and r["variant"] == "base"}
for seed in (0, 1):
    row = "  ".join(f"{m} M: {again[seed, m]:.2f}" for m in (4, 8, 16, 32))
    print(f"seed {seed}: p at {row}")
assert again[0, 32] < 0.05 and again[1, 32] > 0.5

# %% [markdown]
# The same model, the same recipe, and after 32 million tokens 0.02 or 0.80: **the seed decides on which side of 32 million tokens the step is**.
#
# What this does not show: by how much the seed shifts the step (one seed has it between 16 and 32 million, the other had begun it at 32), and that larger models have it earlier.
# With one seed a size, the largest have it two to eight times earlier than the smallest that do.
# The runs of a size are not independent, either: that of 4 million tokens branches off from that of 2 million, where the latter began to lower its rate.
#
# (step-by-hand)=
# ## The step, by hand
#
# How far should the loss fall when a model begins to use the names that were said?
# That needs no model.
# There are 98 names, drawn with nearly equal chances.
# A model that makes no use of the text so far can only give each of them $1/98$, where a name is due, and that costs $\ln 98$ nats.
# One that knows which pays nothing.
# So the step's height is the number of names said again per character, times $\ln 98$:

# %%
def names_said(text: str) -> list[str]:
    """All names in a text, in order."""
    return [word for word in re.findall("[A-Za-z]+", text) if word in set(NAMES)]


stories = [tale.text for tale in islice(tell(1), 300)]
told = [names_said(text) for text in stories]
said_again = [(names[:i], name) for names in told for i, name in enumerate(names)
              if name in names[:i]]
characters = sum(len(text) + 2 for text in stories)  # a story's end counts as two characters
rate = len(said_again) / characters
height = rate * math.log(len(NAMES))
print(f"{len(said_again) / 300:.2f} names said again in a story of {characters / 300:.0f} "
      f"characters: {rate:.5f} per character")
print(f"times ln {len(NAMES)} = {math.log(len(NAMES)):.3f} nats: {height:.4f}")

# %% [markdown]
# By hand: 5.2 names in 1,033 characters are 0.0050 per character, times 4.585 nats is 0.023.
# The six drops above lie between 0.020 and 0.029.
#
# That is no check: in a doubling of the tokens all else improves, too, which before the step was worth 0.01 and more.
# A check needs two models that differ in the step alone, and the two seeds at 32 million tokens come near to that.

# %%
pair = [r for r in runs + variants if r["model"] == "1.0M" and r["variant"] == "base"
        and r["millions"] == 32]
for run in pair:
    print(f"seed {run['seed']}: excess {run['excess']:.4f}, p {run['again']:.2f}")
apart = pair[0]["excess"] - pair[1]["excess"]
print(f"apart by {apart:.4f}, {apart / height:.0%} of the height by hand")
assert 0.6 < apart / height < 0.9

# %% [markdown]
# Three quarters of it, in one pair.
# The prediction is an estimate from above: the seed without the step had begun it ($p$ is 0.024, more than twice $1/98$), the other had not finished (0.80, where others get to 0.83), and sometimes either of two persons may be named, so that even the best model pays something.
#
# (not-smoothing)=
# ### What a smoother would do
#
# It is tempting to say that the model *smooths* its recent past before the step and *looks up* after it.
# What would a smoother do?
# Give it the names that the story has said so far, and nothing else.
# It answers with a weighted mean of them, by chapter 05's kernel over time: each mention weighs a constant factor of the next one.

# %%
def smoother(said: list[str], name: str, factor: float) -> float:
    """The probability of a name: the share of the weight on its mentions."""
    weights = [factor ** (len(said) - 1 - i) for i in range(len(said))]
    return sum(w for w, other in zip(weights, said) if other == name) / sum(weights)


print("factor for each mention back   mean p   nats a name   nats per character")
smoothed = {}
for factor in (1.0, 0.9, 0.7, 0.5):
    p = [smoother(said, name, factor) for said, name in said_again]
    nats = -sum(map(math.log, p)) / len(p)
    smoothed[factor] = nats * rate
    print(f"{factor:27} {sum(p) / len(p):8.2f} {nats:13.2f} {smoothed[factor]:20.4f}")
print(f"{'no name of the text':27} {1 / len(NAMES):8.2f} {math.log(len(NAMES)):13.2f} "
      f"{height:20.4f}")
assert 6 / 7 - 0.01 < 1 - min(smoothed.values()) / height < 6 / 7 + 0.01

# %% [markdown]
# The plain mean of the names said gives the right one a probability of 0.56 on average, since most stories have two persons, and costs 0.0033 nats per character.
# So **a smoother of names would take six sevenths of the step**, if it is told, as the lookup was, that a name said before is due.
# If it is not told, it has to leave some of its weight to new names.
# A story says 5.2 names again and about two for the first time, so let it give the share 0.73 to the mean, and the rest to all 98 names alike.
# Then each new name costs it $-\ln 0.27$ more than $\ln 98$:

# %%
n_new = sum(len(set(names)) for names in told)  # names that are said for the first time
share = len(said_again) / (len(said_again) + n_new)
gains = [math.log(len(NAMES) * share * smoother(said, name, 1.0) + 1 - share)
         for said, name in said_again]
gain, price = sum(gains) / characters, -n_new * math.log(1 - share) / characters
print(f"gained on {len(gains) / 300:.2f} names said again: {gain:.4f} nats per character")
print(f"paid on {n_new / 300:.2f} new names:          {price:.4f}")
print(f"saved: {gain - price:.4f}, {(gain - price) / height:.0%} of the step")
assert 0.6 < (gain - price) / height < 0.75
possible = max(run["again"] for run in runs)  # another word may stand there, too
mean = sum(smoother(*pair, 1.0) for pair in said_again) / len(said_again)
print(f"where p is {possible:.2f} at best: p for a model that uses of the text")
for what, p in ("nothing", 1 / 98), ("the gender", 1 / 49), ("the mean of names", mean):
    print(f"    {what:20} {possible * p:.4f}")
print("models right before the step", *(f"{run['again']:.4f}" for run in before.values()))

# %% [markdown]
# Told or not, a mean of names would be most of the step: six sevenths, or two thirds.
# And on the shelf?
# Right before the step a name that was said has 1.2 to 2.8 times the probability of a model that uses nothing of the text, and before that it has less: far below that of the mean of names.
# (Three sizes have 0.017 to 0.024: they have begun the step, or know the gender.)
# So on the shelf these models do not smooth the names of the text: they hardly use them.
#
# (before-and-after)=
# ## Before and after
#
# What do the heads do?
# One has to look into a model right before the step and right after it, and the recorded runs kept no weights.
# On chapter 11's texts the step takes a few hundred thousand tokens.
# They have eight roles with names; a sentence with *now* gives a role a new name.
# (`again` is a name said again, `rebound` one said again after its role has changed names.)
# Each token's exact probability is known:

# %%
language = Language()
sample = tell_bindings(1, 40, seed=1)
shares = {kind: (tell_bindings(64, 129, 1000).kinds[:, 1:] == i).double().mean().item()
          for i, kind in enumerate(KINDS)}
said_share = shares["again"] + shares["rebound"]
predicted = said_share * math.log(len(language.names))
print(language.text(sample.ids[0]))
print(f"names said again: {said_share:.3f} of all tokens; ln {len(language.names)} = "
      f"{math.log(len(language.names)):.2f}; the step: {predicted:.2f} nats a token")

# %% [markdown]
# The same calculation, with other numbers: a step of 0.48 nats per token.
# Three sizes learn from these texts, here and now, all from the same 410 thousand tokens, in 200 training steps at a constant rate.
# (Each key is mixed with the one before it, `conv=2`, chapter 06's [smeared keys](06_two_views_many_heads.ipynb#What-a-second-layer-buys): so the key of a name knows its role, and one layer can find it. Positions are ALiBi's.)

# %%
LIVE = {"12k": (1, 2, 32), "55k": (2, 2, 48), "98k": (2, 4, 64)}  # layers, heads, channels
STEPS, BATCH, T = 200, 16, 128
learned, held_out = tell_bindings(BATCH * STEPS, T + 1, 0), tell_bindings(32, T + 1, 1000)
is_again = torch.isin(held_out.kinds[:, 1:], torch.tensor([KINDS.index("again"),
                                                           KINDS.index("rebound")]))


@torch.no_grad()
def judged(model: GPT) -> tuple[float, float]:
    """Excess in nats per token, and the mean probability of a name said again."""
    log_p = model(held_out.ids[:, :-1]).log_softmax(-1)
    log_p = log_p.gather(-1, held_out.ids[:, 1:, None])[..., 0]
    excess = -log_p - held_out.nats[:, 1:]
    return excess.mean().item(), log_p.exp()[is_again].mean().item()


# %% [markdown]
# Each is judged every ten training steps:

# %%
def learn(n_layer: int, n_head: int, d_model: int, seed: int = 0) -> list[tuple]:
    """Train a small model, and judge it on the way: (tokens, excess, p) each time."""
    torch.manual_seed(seed)
    sizes = dict(n_layer=n_layer, n_head=n_head, d_model=d_model)
    model = GPT(Config(len(language.vocabulary), T, **sizes, positions="alibi", conv=2))
    how = TrainConfig(STEPS, BATCH, lr=0.03, decay=0.0)
    optimizers, curve = make_optimizers(model, how), []
    for step in range(STEPS):
        ids = learned.ids[BATCH * step : BATCH * (step + 1)]
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
        if (step + 1) % 10 == 0:
            curve.append(((step + 1) * BATCH * T, *judged(model)))
    return curve


torch.set_num_threads(1)
live = {name: learn(*size) for name, size in LIVE.items()}
shelf = {name: min(e for _, e, p in curve if p < 0.02) for name, curve in live.items()}
assert all(predicted < e < predicted + 0.15 for e in shelf.values())
assert live["98k"][-1][2] > 0.5
on_shelf = max(curve[4][2] for curve in live.values())  # after 50 training steps
print(f"p on the shelf: at most {on_shelf:.2f}; one name of 64 has {1 / 64:.3f}")

# %% [markdown]
# The three curves, and the height of the step as it was predicted:

# %% tags=["hide-input"] alt="Two panels over tokens up to 410 thousand for three small models trained here. Above, the excess in nats per token falls to just above a dashed line at 0.48, the predicted height, stays there, and then falls, for the larger two toward zero, for the smallest only begins to. Below, the probability of a name said again stays at one sixty-fourth and then rises steeply at the same tokens"
fig, axes = figure(rows=2, height=5.6)
for (name, curve), color in zip(live.items(), CYCLE):
    tokens, excess, p = zip(*curve)
    axes[0].plot([t / 1000 for t in tokens], excess, color=color, label=f"{name} weights")
    axes[1].plot([t / 1000 for t in tokens], p, color=color)
axes[0].axhline(predicted, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
axes[0].annotate("0.48, by hand", (22, predicted - 0.04), va="top",
                 color=COLORS["FLOOR"])
axes[0].set(ylabel="excess (nats per token)", ylim=(0, 1.5))
axes[0].set_title("The excess stays just above the predicted 0.48, then drops")
axes[0].legend(fontsize=10.4)
axes[1].set(xlabel="thousand tokens", ylabel="p(name said again)", ylim=(-0.02, 1))
fig

# %% [markdown]
# The excess comes down to a little above the line, since the words cost something, too, and stays there as long as $p$ stays near $1/64$.
# The smallest model has only begun its step.
# (One seed; on another processor the curves differ, and what is asserted leaves room for that.)
#
# Now the heads: models as large as the largest of these, three seeds, recorded by `bench/step.py` (with a rate that falls over the last 40 % of the training steps).
# There are three questions, all asked where a name is said again:
#
# 1. *Does the model smooth the names of the text before it looks them up?* Then all names in the text together would gain probability before the right one does.
# 2. *Do its heads go from many keys to one?* Chapter 05's effective keys, the exponential of a row's entropy, are the same however queries and keys are written.
# 3. *Does it need what is far?* Let every layer see the last $w$ tokens only, without new training, and measure the loss.

# %%
looks = [json.loads(line) for line in Path("../bench/step.jsonl").read_text().splitlines()]
seeds = sorted({look["seed"] for look in looks})
steps = {seed: [look for look in looks if look["seed"] == seed] for seed in seeds}
HEADS = list(product(range(2), range(4)))  # layer and head


def of_head(look: dict, key: str, at: tuple[int, int]) -> float:
    return look[key][at[0]][at[1]]


def finder(seed: int) -> tuple[int, int]:
    """The head with the most weight on the right name in the end."""
    return max(HEADS, key=lambda at: of_head(steps[seed][-1], "right", at))


def before_step(seed: int, n: int) -> dict:
    """What was measured n training steps before the last time that p was below 0.03."""
    last = max(look["step"] for look in steps[seed] if look["p"] < 0.03)
    return next(look for look in steps[seed] if look["step"] == last - n)


# %% [markdown]
# For each seed, the head that in the end has most weight on the right name (chosen by the outcome), and the $p$ of the model:

# %%
print("       20 training steps before     right name has half the weight      p > 1/2")
print("seed   names   right one      p     step   keys   right one      p         step")
together = []
for seed in seeds:
    at = finder(seed)
    found = next(look for look in steps[seed] if of_head(look, "right", at) > 0.5)
    said = next(look for look in steps[seed] if look["p"] > 0.5)
    old = next(look for look in steps[seed] if look["step"] == found["step"] - 20)
    print(f"{seed:4} {of_head(old, 'names', at):7.2f} {of_head(old, 'right', at):11.2f} "
          f"{old['p']:6.2f} {found['step']:8} {of_head(found, 'keys', at):6.0f} "
          f"{of_head(found, 'right', at):11.2f} {found['p']:6.2f} {said['step']:12}")
    assert found["p"] < 0.1 and of_head(found, "right", at) > 0.85
    assert of_head(old, "names", at) > 0.65 and of_head(old, "right", at) < 0.17
    together.append(f"{old['in_text']:.2f}")
    shelf_at = before_step(seed, 20)
    assert abs(shelf_at["in_text"] - shelf_at["plain"]) < 0.008
print(f"a mean of the names in the text gives the right one {looks[0]['mean']:.2f}")
print(f"p of all names in the text, 20 training steps before: {', '.join(together)}; "
      f"if none had been said: {looks[0]['plain']:.2f}")

# %% [markdown]
# The head has found the right name when the answer still gives it 0.1.
# The same as curves, from the first measurement to the last:

# %% tags=["hide-input"] alt="Two panels over training tokens, three seeds. Above, the weights of one head, where a name is said again: the weight on names of any kind rises first, that on the right name follows steeply. Below, the probabilities that the model gives: that of all names in the text stays flat and then rises together with that of the right name, later than the weights above"
fig, axes = figure(rows=2, height=6.0)
STYLES = dict(zip(seeds, ("-", "--", ":")))
for seed, style in STYLES.items():
    x, at = [look["tokens"] / 1000 for look in steps[seed]], finder(seed)
    weights = {key: [of_head(look, key, at) for look in steps[seed]]
               for key in ("names", "right")}
    said = {key: [look[key] for look in steps[seed]] for key in ("in_text", "p")}
    for ax, lines in zip(axes, (weights, said)):
        for (_, y), color in zip(lines.items(), (COLORS["SMOOTHER"], COLORS["LOOKUP"])):
            ax.plot(x, y, style, color=color)
for ax, first, second in ((axes[0], "on names of any kind", "on the right name"),
                          (axes[1], "all names in the text", "the right name")):
    ax.plot([], [], color=COLORS["SMOOTHER"], label=first)
    ax.plot([], [], color=COLORS["LOOKUP"], label=second)
    ax.set(ylim=(-0.02, 1.02))
for seed, style in STYLES.items():
    axes[0].plot([], [], style, color=COLORS["QUIET"], label=f"seed {seed}")
axes[0].legend(fontsize=10.4)
axes[1].legend(fontsize=10.4)
axes[0].set(ylabel="weight in one head")
axes[0].set_title("Weight on names, then on the right one, then the answer")
axes[1].set(xlabel="thousand tokens", ylabel="probability")
fig

# %% [markdown]
# The model's *answers* are no mean of names before the step.
# Twenty training steps before the head has the right name, all names in the text (some seven of the 64) have together 0.12 to 0.14, where they would have 0.12 if none had been said.
# What they gain after that is the right one's.
#
# One *head* does go from smoothing to looking up, and it is nearly there before the answer moves.
# At first its weight is spread over dozens of keys.
# Then about two thirds of it or more lie on names, a seventh on the right one: a mean of names, and the answer does not change.
# Then nearly all of it lies on the right name, with three effective keys, and the probability of that name is still 0.1.
# The answer follows twenty to thirty training steps later, perhaps since what is fetched has yet to be used.
# So "from smoothing to looking up" is true here of the rows of one head, and not of what the model says.
#
# Which other heads narrow?
# Here are all whose effective keys fall by a third or more from before the step to the end:

# %%
print("where a name is said again, and at all other places: effective keys")
for seed in seeds:
    old, new, rest = before_step(seed, 40), steps[seed][-1], []
    for at in HEADS:
        change = of_head(new, "keys", at) / of_head(old, "keys", at)
        if change > 2 / 3:
            rest.append(change)
            continue
        here, there = ([of_head(look, key, at) for look in (old, new)]
                       for key in ("keys", "keys_elsewhere"))
        print(f"seed {seed}, layer {at[0] + 1}, head {at[1] + 1}:", "   ".join(
            f"{one:3.0f} to {two:2.0f}" for one, two in (here, there)))
        assert (at == finder(seed)) == (here[0] > 40 and here[1] < 5)
    assert len(rest) >= 4 and min(rest) > 0.79

# %% [markdown]
# In each seed one head of the first layer comes down from dozens of keys to three where a name is due, and keeps some sixty at all other places: chapter 12's *one head, few keys or many*, seen as it forms.
# Others narrow, too, in seeds 1 and 2, and what those are for was not measured.
# All the rest keep four fifths of their keys or more.
#
# And the window?
# Here is the loss in nats for each name that is said again, if no layer sees beyond the last $w$ tokens:

# %%
print("seed           8      16      32      64     all tokens")
for seed in seeds:
    shelf_at = before_step(seed, 20)
    for when, look in ("before", shelf_at), ("after", steps[seed][-1]):
        print(f"{seed} {when:6}", *(f"{look['window'][w]:7.2f}"
                                    for w in ("8", "16", "32", "64", "128")))
    assert shelf_at["window"]["8"] - shelf_at["window"]["128"] < 0.02
    assert steps[seed][-1]["window"]["64"] > steps[seed][-1]["window"]["128"] + 0.1
    for look in (shelf_at, steps[seed][-1]):
        assert abs(look["window_elsewhere"]["8"] - look["window_elsewhere"]["128"]) < 0.01

# %% [markdown]
# Before the step what lies beyond eight tokens is worth 0.02 nats at most for a name.
# After it even what lies beyond 64 counts: a window of eight costs three nats a name, one of 64 one to three tenths of a nat.
# At all other places a window of eight costs less than a hundredth of a nat, before and after: each word of these texts depends on the one before it only.
#
# What this does not show: it is one kind of text, and one size of two layers with mixed keys.
# The windows cut models that were trained without; those trained with a window make more of it, as chapter 11 showed, and two layers with a window of $w$ reach back $2w$.
# On the tales $p$ stays near $1/98$ as it does here near $1/64$; the heads of those runs were not measured.
#
# :::{two-views}
#
# - **As a lookup.** On the shelf the name is in the text, and no query gives its key much weight.
# - **As a smoother.** On the shelf most kernels are wide. What is new after the step is a kernel that is narrow at one kind of place.
#
# :::
#
# Olsson and others {cite}`olsson2022` found such a change in models of many sizes, together with a bump in the loss and with heads that find what followed the same token before. Their evidence that these heads cause it is strong for small models of attention alone; for larger ones, with MLPs, it is that both come at the same time.
# Singh and others {cite}`singh2024` fixed what parts of a small model compute while the rest learned, and found three whose interaction drives the change.
#
# (fits)=
# ## A law for the loss
#
# Large models are planned by a formula.
# With $N$ weights in the model and $D$ tokens to learn from (the letters of the field, in this section only), the loss is written as
#
# $$ L = E + \frac{A}{N^a} + \frac{B}{D^b}, $$
#
# where the second term is what a small model cannot hold and the third what has not been seen yet {cite}`hoffmann2022`.
#
# *In words:* [powers and roots](mathematics.ipynb#Powers-and-roots).
#
# $E$ is what remains when both are infinite, the **irreducible loss**.
# It is often read as the entropy of the text.
# Hoffmann and others fitted five numbers to over 400 runs, found that weights and tokens should grow at equal rates, and trained Chinchilla accordingly: 70 billion weights, a quarter of those of its predecessor, more than four times its tokens, and better.
# They minimize the Huber loss of the differences of $\log L$ (a square for small ones, a straight line beyond $10^{-3}$) by L-BFGS, a search along slopes, from many starts.
# A replication from the paper's figures found that their search had stopped too early, and that the reported intervals were far too narrow {cite}`besiroglu2024`.
#
# The same fit here, in a few lines ($N$ in millions and $D$ in tens of millions, so that $A$ and $B$ are of the size of losses; the sum of three terms is taken from their logarithms):

# %%
def fit(rows: list[dict], known: float | None = None) -> dict:
    """E, a, b with the least Huber loss of log L; with E given where it is `known`."""
    N, D, loss = (torch.tensor([row[key] for row in rows], dtype=torch.float64)
                  for key in ("n_block", "tokens", "loss"))
    n, d = (N / 1e6).log(), (D / 1e7).log()  # so that A and B are of the size of the losses

    def differences(z: Tensor) -> Tensor:
        log_E = z[0] if known is None else torch.tensor(math.log(known)).double()
        terms = torch.stack([log_E.expand_as(n), z[1] - z[3] * n, z[2] - z[4] * d])
        return terms.logsumexp(0) - loss.log()

    found = []
    for e, b in (-3.0, 1.5), (-9.0, 0.3):  # both may end elsewhere: the better one counts
        z = torch.tensor([e, -4.0, -3.0, 0.5, b], dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([z], max_iter=500, line_search_fn="strong_wolfe",
                                   tolerance_grad=1e-9, tolerance_change=1e-13)

        def closure():
            search.zero_grad()
            total = 1e6 * torch.nn.functional.huber_loss(
                differences(z), torch.zeros_like(n), reduction="sum", delta=1e-3)
            total.backward()
            return total

        search.step(closure)
        found.append((closure().item(), z.detach()))
    _, z = min(found, key=lambda pair: pair[0])
    off = differences(z).square().mean().sqrt().item()
    return dict(E=known or math.exp(z[0]), a=z[3].item(), b=z[4].item(), off=off)


# %% [markdown]
# Five sets of these runs: all, those before the step, these without the runs of 2 million tokens, those after it, and of these the ones that have finished it.

# %%
FLOOR = runs[0]["floor"]
SETS = {
    "all": runs,
    "before the step": [r for r in runs if r["again"] < 0.05],
    "... from 4 M tokens": [r for r in runs if r["again"] < 0.05 and r["millions"] > 2],
    "after it": [r for r in runs if r["again"] > 0.5],
    "... and finished": [r for r in runs if r["again"] > 0.8],
}
fits = {name: fit(rows) for name, rows in SETS.items()}
print(f"{'':20} runs      E      a      b   typically off by")
for name, f in fits.items():
    print(f"{name:20} {len(SETS[name]):4} {f['E']:6.3f} {f['a']:6.2f} {f['b']:6.2f} "
          f"{f['off']:9.2%}")
print(f"{'entropy':20} {'':4} {FLOOR:6.3f}   (the exact mean surprise of the stories)")
assert all(f["E"] < FLOOR - 0.005 for f in fits.values())
assert fits["... from 4 M tokens"]["E"] < 0.001 and fits["after it"]["off"] < 0.005
assert fits["... and finished"]["E"] < 4e-4 and fits["... and finished"]["off"] > 0.0033
assert all(0.11 < f["off"] < 0.14 for f in list(fits.values())[:3])

# %% [markdown]
# Five fits, and $E$ from 0.126 down to 0.
# The truth is 0.136, and **all of them are below it**: no model can reach such a loss.
# The last two are the worst, since they look so good: off by 0.35 and 0.34 %, on thirteen runs and on ten.
# Can these runs tell what $E$ is?
# Hold it fixed, fit the other four numbers to the runs after the step, and see how much worse it gets.

# %% alt="Root mean square difference of log loss against the irreducible loss that is held fixed, from 0.02 to 0.1355, for the thirteen runs after the step: between 0.34 and 0.38 per cent up to 0.12, and then it rises to 0.6 next to the entropy, which a dashed line marks"
fig, ax = figure(height=3.2)
fixed = [0.02, 0.06, 0.09, 0.11, 0.12, 0.13, 0.1355]
profile = [100 * fit(SETS["after it"], known=E)["off"] for E in fixed]
ax.plot(fixed, profile, "o-", color=CYCLE[0], markersize=4)
ax.axvline(FLOOR, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
ax.annotate("entropy ", (FLOOR, 0.1), ha="right", color=COLORS["FLOOR"])
ax.set(xlabel="irreducible loss E that is held fixed", ylabel="typically off by (%)",
       ylim=(0, 0.7), title="E from 0.02 to 0.12 fits as well, the true 0.136 worse")
assert 0.335 < min(profile) and max(profile[:5]) < 0.385 and 0.55 < profile[-1] < 0.65
fig

# %% [markdown]
# From 0.02 to 0.12 the fits are off by 0.34 to 0.38 % (root mean square; the Huber loss, which is what is minimized, is least at 0.110), and next to the entropy by 0.6 %.
# A small exponent and a low floor do what a larger exponent and a high floor do, over the few doublings that there are.
# So the "best" value hangs on differences of less than a thousandth of the loss, and on the set of runs: without the three that have not finished their step it is 0.
#
# Why is $E$ not the entropy?
# It is the limit of a power law, if nothing changes beyond the runs.
# These runs do change, by a step; on real text nobody knows how many steps are to come.
# And even before the step the law does not describe them: it is off by 11 to 14 %.
# (Kaplan and others {cite}`kaplan2020` left $E$ out. With small models far from the floor, a constant cannot be told from a smaller exponent.)
#
# What this does not show: the sets are parts of one set of runs, with one seed, nine sizes, one rate for the matrices and one batch size.
# A real sweep may do better at *predicting losses nearby*; what is in doubt is the constant.
#
# (frontier)=
# ### What to spend a budget on
#
# How many multiplications and additions did a run take? By chapter 07's formula, three times those of a forward pass per token.
# Here are the last six of the runs that no other run beats with fewer.

# %%
def operations(run: dict) -> float:
    """Multiplications and additions of a whole run, forward and backward."""
    sizes = {key: run[key] for key in ("n_layer", "n_head", "d_model")}
    return 3 * flops_per_token(Config(2048, 432, **sizes)) * run["tokens"]  # context 432


frontier = []
for run in sorted(runs, key=operations):
    if not frontier or run["excess"] < frontier[-1]["excess"]:
        frontier.append(run)
print(f"{len(frontier)} runs, the last six of them:")
print("operations   weights   tokens   tokens a weight in blocks   excess")
for run in frontier[-6:]:
    print(f"{operations(run):10.0e} {run['model']:>9} {run['millions']:6} M "
          f"{run['tokens'] / run['n_block']:20.0f} {run['excess']:14.4f}")
assert all(run["n_block"] < 1e6 for run in frontier)

# %% [markdown]
# No run of more than a million weights is on the list, in all its 20 rows.
# Each run of a larger one is beaten by a smaller model with no more operations. But larger models were trained with 32 or 64 million tokens at most; what they reach with more was not measured.
# The runs of the list that are after their step have 65 to 290 tokens for each weight in the blocks.
# Chinchilla had 20 for each of all its weights, and no law says that the number is the same elsewhere; these texts may not need more weights.
# What this does not show: sizes are a factor of two or more apart, tokens a factor of two; and since chance decides in part when a run has its step, it decides in part what is on the list.
#
# (rates)=
# ## One rate for all sizes?
#
# The matrices of all nine sizes above learned at one rate.
# Would the best rate of a small model be that of a large one, so that rates could be chosen where it is cheap?
# Here is the question for Adam, and then for Muon.
#
# Adam moves each weight by about the rate, whatever the size of its gradient.
# A sum over $C$ channels then moves by up to $C$ times that, if the changes have the signs of the inputs, as along a gradient they tend to.
# So for a model twice as wide the matrices' rate should be half, while a row of the embedding, which is not summed over, keeps its own.
# That is the rule for Adam of *maximal update parametrization*, μP {cite}`yang2022`.
# (It has more to say, about first weights and the scale of scores.)
#
# `bench/rates.py` trained models of 32 and of 128 channels with chapter 11's words, 120 training steps, rates a factor of two apart, three seeds: by Adam with one rate for all weights (*same*), and with the rate of the matrices divided by the width (*by width*).
# At 32 channels, where the division begins, the two are the same.
# In the third rule Muon has one rate for the matrices inside the blocks (*muon*). What else there is learns by Adam as in the sweep, the head at a rate that is divided by the width, and only Muon's rate is looked for.

# %%
rates = [json.loads(line) for line in Path("../bench/rates.jsonl").read_text().splitlines()]


def by_rate(rule: str, width: int, seed: int) -> dict[int, float]:
    """The excess after training at each rate, by its power of two."""
    rule = "same" if (rule, width) == ("by width", 32) else rule
    wanted = {"rule": rule, "width": width, "seed": seed}
    return {r["exponent"]: r["excess"] for r in rates if wanted.items() <= r.items()}


def mean_by_rate(rule: str, width: int) -> dict[int, float]:
    """The mean over seeds, at rates that all of them have."""
    found = [by_rate(rule, width, seed) for seed in range(3)]
    return {e: sum(f[e] for f in found) / 3 for e in set(found[0]).intersection(*found)}


print("rule       best rate, 32 channels   128 channels   the first at 128 costs")
costs = {}
for rule in ("same", "by width", "muon"):
    narrow, wide = mean_by_rate(rule, 32), mean_by_rate(rule, 128)
    old, new = (min(found, key=found.get) for found in (narrow, wide))
    each = [by_rate(rule, 128, seed) for seed in range(3)]
    costs[rule] = [one[old] - min(one.values()) for one in each]
    print(f"{rule:9} {f'2^{old}':>23} {f'2^{new}':>14} {wide[old] - wide[new]:14.3f} nats, "
          f"in one seed {min(costs[rule]):.3f} to {max(costs[rule]):.3f}")
assert min(costs["same"]) > 0.15 and max(costs["by width"] + costs["muon"]) < 0.01
twice = mean_by_rate("by width", 128)
print(f"by width, at twice its best rate: {twice[-6] - twice[-7]:.2f} nats more")

# %% [markdown]
# With one rate for all weights the best rate falls by a factor of four as the width grows by four, and taking over the narrow model's rate costs 0.24 nats.
# Divided by the width it stays where it was within the factor of two of the grid, and costs nothing.
# (It had better not be larger: the best rate lies just below rates at which some seeds go wrong.)
#
# With Muon it costs nothing that could be seen.
# But how much does its rate matter here?

# %%
muon = [by_rate("muon", width, seed) for width, seed in product((32, 128), range(3))]
asked = {"2^-10 to 2^-5": range(-10, -4), "2^-3": [-3], "2^-40": [-40]}
for which, exponents in asked.items():
    worse = [loss[e] - min(loss.values()) for loss in muon for e in exponents]
    print(f"muon, {which:13} {min(worse):.3f} to {max(worse):.3f} above its best")
adam = [run["excess"] for run in rates if run["rule"] != "muon"]
assert max(loss[-40] for loss in muon) < min(adam)

# %% [markdown]
# Hardly: over a factor of 32 the losses are within a hundredth of a nat, and it takes a rate of $2^{-3}$ to lose 0.04.
# At $2^{-40}$ the blocks stay as they began and add nothing, and the loss is only 0.03 higher, still below that of every run of the other rules.
# So nearly all that is learned in so short a training is learned by embeddings and head, at rates that were given. (For that reason the losses of the third rule are not to be compared with the others, where one rate serves all.)
#
# What this does not show: it is two widths, one text, rates that are powers of two, and a training of 61 thousand tokens, apparently too few for the step.
# In the sweep above Muon learned with one rate, and there is a reason why it may: the change that it makes of a matrix has singular values that do not depend on the width (chapter 08).
# Whether one rate suits all sizes of a training with 33 to 2,000 times as many tokens was not measured, so some of the differences between the sizes may be differences in how well it suits them.
#
# (emergence)=
# ## Is it emergence?
#
# Abilities that small models lack and large ones have, and that begin suddenly and unpredicted, have been called **emergent** {cite}`wei2022emergent`.
# Schaeffer and others answered that the suddenness is often made by the *metric* {cite}`schaeffer2023`.
# If one counts only answers that are right in every token, a smooth rise in the probability of each token looks like a jump.
#
# Here are both.
# Count whole stories: of 200 that a model tells at temperature 1, how many are stories of the grammar, with not one word wrong?
# Such a story has a thousand characters, so a small excess can lose it.
# That can be bounded: the probability $m$ that a model puts on all stories of the grammar together is at least $e^{-K}$, with $K$ the excess of a whole story.
# (Merge all stories of the grammar into one event, whose true probability is 1 and the model's $m$: merged, the KL divergence is $-\ln m$, and merging can only lower it.)

# %%
length = characters / len(stories)
print("weights   tokens   excess   e^-K   whole stories, share of 200")
bounds = []
for run in sorted((r for r in runs if "T1.0" in r), key=lambda r: -r["excess"]):
    bound, share = math.exp(-length * run["excess"]), run["T1.0"]["grammar"]
    if run["excess"] < 0.03:
        print(f"{run['model']:7} {run['millions']:6} M {run['excess']:8.4f} {bound:6.2f} "
              f"{share:12.2f}")
    bounds.append(bound)
    assert share >= bound - 3 * math.sqrt(bound * (1 - bound) / 200)
waits = [before["1.0M"]["again"] ** (len(names) - len(set(names))) for names in told]
waits = sum(waits) / len(waits)  # p of the first row, for each name that a story says again
print(f"before the step, all of a story's names right: {waits:.4f}")
assert sum(bound < 0.05 for bound in bounds[-11:]) == 8 and 4e-4 < waits < 7e-4
rise = [look["p"] for look in steps[0] if 100 <= look["step"] <= 130]
print("every ten training steps, in a small model:", *(f"{p:.2f}" for p in rise))

# %% [markdown]
# The first row is a run before its step, all others are after theirs.
# Before it whole stories are all but out of reach, whatever else is right: if each name said again had that run's mean $p$ of 0.024, independently of the others, all names would be right in one story of two thousand.
# So this column leaves 0 at the step, once more.
# After it the share rises from 0.09 to 0.69 while the excess only falls smoothly, from 0.007 to 0.001: that part of the rise is made by the metric, and for it Schaeffer's objection holds.
# (The bound is far below the shares: it counts wrong probabilities among possible stories as if they were errors.)
#
# The objection does not hold for the step.
# The probability of a name is a smooth measure, and so is the loss, in which the step stands as well.
# Both are taken from the model's probabilities, with no threshold anywhere.
# And in small models, on another text, we saw what changes in such a step: a head whose weight was spread over dozens of keys has it on three, where a name is due.
# Its height can be counted from the text without a model; that there would be a step, and when, was not predicted.
#
# What this does not show: that abilities of large models are of this kind.
# It is one ability, on synthetic texts, over tokens of training and not over sizes; and fast is not discontinuous: a small model, judged every ten training steps, passes 0.10, 0.25, 0.49, 0.70.
#
# :::{why-it-works}
#
# Shown: the rate of names said again times $\ln 98$ estimates the step's height from above; two seeds differed by three quarters of that.
# On the shelf names that were said are hardly used; a mean over them would take two thirds of the step, and six sevenths if it is told that no new name is due.
# In the small models the names of the text gain next to nothing before the step; with it one head of the first layer goes from dozens of keys to three where a name is due (in two seeds others narrow, too), and the loss begins to depend on tokens that are far.
# The irreducible loss of a fit is below the entropy in all five sets of runs.
# The probability that a model puts on all stories together is at least $e^{-K}$.
#
# :::
#
# :::{why-it-might}
#
# Why is the step sudden, and why does it come so late?
# A query that asks for a role is of no use until keys carry roles, and a value that carries the name is of no use until it is weighted; each is rewarded only when the others are there.
# That is the usual story, and there are experiments on small models in its favor {cite}`singh2024`.
# Nothing on this page tests it.
# If it is so, whatever shortens the shelf acts on one of the parts.
# Chapter 08's tenfold weight on such targets may do that by making the first weak signal larger.
#
# :::
#
# (memory)=
# ## The bill of a training run
#
# Here the second part begins.
#
# What has to be in memory while a model learns?
# Each weight, its gradient, and what the optimizer keeps for it: two running means with Adam, one with Muon.
# In 32 bits that is 4 bytes each, so 16 bytes for a weight with Adam.
# (With matrices multiplied in 16 bits it is no less, as long as the weights themselves stay in 32.)
# And the **activations**: what the forward pass computed and the backward pass will need.
# They grow with the number of tokens in a training step, and PyTorch can be asked what it keeps.

# %%
def kept(model: GPT, ids: Tensor) -> int:
    """Bytes that are kept for the backward pass, besides the weights."""
    sizes, own = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).mT, ids[:, 1:])
    loss.backward()  # until here nothing of it is freed
    return sum(sizes.values())


config = Config(2048, 384, n_layer=5, n_head=4, d_model=128)  # Taleteller
weights = n_parameters(config)
print(f"{weights:,} weights: {16 * weights / 1e6:.0f} MB with gradients and Adam's means")
for n_texts in (1, 2, 4):
    ids = torch.randint(2048, (n_texts, 257), generator=torch.Generator().manual_seed(0))
    nbytes = kept(GPT(config), ids)
    print(f"{n_texts} texts of 256 tokens: {nbytes / 1e6:4.0f} MB of activations, "
          f"{nbytes / ids[:, 1:].numel() / 1000:.0f} kB a token")

# %% [markdown]
# Two texts take more than the 25 MB of the line above.
# A token takes 50 kB.
# Count them: in each of five layers the stream before and after each norm (4), queries, keys and values (3), the heads' answer (1), and four times the channels before and after the GELU (8): 16 vectors of 128 numbers, and for the loss 2,048 numbers.
# By hand, $4\,(5 \cdot 16 \cdot 128 + 2048) = 49{,}152$ bytes.
# The attention weights are not among them: `scaled_dot_product_attention` computes them again in blocks (chapter 11).
#
# Each remedy costs something: parts of a batch whose gradients are added up (`grad_accum_steps`, chapter 08) are smaller products, and more of them; **checkpointing** keeps the input of each block only and computes the rest again, a third more operations; several processes share the weights (below).
#
# ### How fast: the roofline
#
# A matrix product has to read its matrices, and it has to multiply.
# Let $x$ be $n$ tokens of $C$ channels, and $W$ a matrix of $C \times C$.
# That is $2 n C^2$ operations and, if everything is read or written once, $4\,(2 n C + C^2)$ bytes.
# Their quotient is the **arithmetic intensity**, *operational intensity* in {cite}`williams2009`.

# %%
def intensity(n: int, C: int, nbytes: int = 4) -> float:
    """Operations per byte of a product of (n, C) with (C, C)."""
    return 2 * n * C**2 / (nbytes * (2 * n * C + C**2))


print("tokens at once    C = 128   C = 4,096   (operations per byte)")
for n in (1, 16, 256, 4096):
    print(f"{n:14} {intensity(n, 128):10.1f} {intensity(n, 4096):11.1f}")
assert abs(intensity(1, 4096) - 0.5) < 0.01 and intensity(10**9, 128) < 128 / 4

# %% [markdown]
# By hand: a single token and a large matrix have $2C^2$ operations for $4C^2$ bytes, one half, whatever the size.
# A machine that can do $R$ operations a second and read $b$ bytes a second does at most $\min(R,\ b \times \text{intensity})$ a second: a slope and a roof.
# Where the intensity is below $R/b$ it waits for memory, and faster arithmetic is of no use.
# So it is with chapter 09's generation, one token at a time.
# Training and reading a prompt, with thousands of tokens in a product, get to the flat part if the model is wide enough: with $C$ channels in 32 bits the intensity is never more than $C/4$, however many tokens there are.
#
# `bench/roofline.py` measured one machine, on one thread.
# It was busy with other work: the rates, those of slope and roof included, are the best of several by CPU time, which load can only make smaller.

# %% tags=["hide-input"] alt="The roofline of one machine on logarithmic axes, operations a second against operations per byte: for 32 and for 16 bits a slope, and a flat roof from 5 and 12 operations per byte on. Dots: products of a training step lie under the flat parts, at 51 and 101 operations per byte; a token decoded alone lies at 0.5 under the slope, sixteen at once at 2 to 5; one token through a small matrix lies above the slope"
def rows_of(path: str) -> list[list[str]]:
    """The cells of all tables in a recorded document, row by row."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines
            if line.startswith("| ") and "---" not in line]


rows = rows_of("../bench/roofline.md")
dots = [(row[1][:2], float(row[2]), float(row[4])) for row in rows
        if len(row) == 6 and row[1] != "numbers"]
LABELS = (("MLP in training,\n32 bits", -6, -26, "right"), ("16 bits", -6, -14, "right"),
          ("a token,\na matrix", 0, 7, "center"), ("Taleteller, 1 text", 7, -6, "left"),
          ("Taleteller, 16 texts", 7, -6, "left"), ("70M weights, 1 text", 7, -1, "left"),
          ("70M weights, 16 texts", 7, -6, "left"))
fig, ax = figure(height=4.4)
for row, color in zip(rows[1:3], (CYCLE[0], CYCLE[2])):
    peak, moved = max(map(float, row[1:5])), float(row[5])
    ax.loglog([0.25, peak / moved, 256], [moved / 4, peak, peak], color=color, label=row[0])
    own = [(x, y) for bits, x, y in dots if bits == row[0][:2]]
    ax.plot(*zip(*own), "o", color=color, markersize=5)
for (_, x, y), (label, dx, dy, side) in zip(dots, LABELS, strict=True):
    ax.annotate(label, (x, y), (dx, dy), textcoords="offset points", ha=side, fontsize=10.4)
ax.set(xlabel="operations per byte", ylabel="billion operations a second", ylim=(2, 400))
ax.set_title("One token waits for memory, a training step for arithmetic")
ax.legend(fontsize=10.4, loc="lower right")
assert dots[2][2] > 2 * dots[2][1] * float(rows[1][5]) and 5 < dots[6][2] / dots[5][2] < 5.5
assert [row[2] for row in rows[-2:]] == ["55 %", "35 %"]
fig

# %% [markdown]
# The roof bends at 5 operations per byte in 32 bits, at 12 in 16, which multiply twice as fast and move as many bytes a second.
# The products of an MLP in a training step, with 9,216 tokens, reach 82 and 92 % of the roof, far to the right of the bend; a single token is far to the left.
# One token through a matrix of Taleteller is *above* the slope, at twice its height: the matrix stays in the processor's cache, and the slope is that of the memory.
# The model of 70 million weights, which no cache holds, is under it.
# With sixteen texts it reads the weights once for all: the intensity is nine times that of one (not sixteen, since each text has its own cache of keys and values), and the tokens per second rise five times.
# A whole training step reaches 55 % of the peak in 32 bits and 35 % in 16. Norms, GELU and softmax move much and multiply little; how much of the rest is theirs was not measured.
#
# (processes)=
# ## Several processes
#
# Let two processes hold the same weights, take one half of a batch each, and average their gradients before every training step.
# That is **data parallelism**, and the averaging is an *all-reduce*: every process gives one tensor, and all get the mean.
# A mean of means is the mean of all if the parts are equal.
# Are they?

# %%
torch.manual_seed(0)
W = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
x, y = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3


def gradient(rows: slice, targets: Tensor) -> Tensor:
    loss = torch.nn.functional.cross_entropy(x[rows] @ W, targets[rows])  # -100 is no target
    return torch.autograd.grad(loss, W)[0]


masked = torch.where(torch.arange(8) < 3, -100, y)
for name, targets in ("8 targets", y), ("3 of them masked", masked):
    parts = [gradient(half, targets) for half in (slice(4), slice(4, 8))]
    counts = [int((targets[half] != -100).sum()) for half in (slice(4), slice(4, 8))]
    whole = gradient(slice(8), targets)
    plain = (parts[0] + parts[1]) / 2
    weighted = sum(n * part for n, part in zip(counts, parts)) / sum(counts)
    print(f"{name:17} {counts}: plain mean off by {(plain - whole).abs().max():.3f}, "
          f"weighted by targets {(weighted - whole).abs().max():.3f}")
    assert torch.allclose(weighted, whole)

# %% [markdown]
# With equal parts it is exact, and two processes learn what one learns.
# With unequal numbers of targets, as where some are masked (say, all but the answers), the plain mean is another gradient, and no error is raised.
#
# The library refuses a batch whose *rows* cannot be dealt out equally; unequal numbers of targets it does not catch.
#
# Data parallelism makes a training step faster, and each process has the activations of its own part only; but it holds all 16 bytes of every weight.
# **Fully sharded** data parallelism deals them out {cite}`zhao2023`.
# In its present form each of $n$ processes keeps $1/n$ of the rows of every matrix, with their gradients and their optimizer's means.
# Before a block computes, its rows are gathered from all processes, and let go after it; gradients are added up so that each process gets the sum of its own rows only (*reduce-scatter*).

# %%
from tinyllm.memory import training_bytes

seven = Config(32_000, 4096, n_layer=32, n_head=32, d_model=4096)  # as a Llama of 7 billion
print(f"{n_parameters(seven) / 1e9:.1f} billion weights")
for n in (1, 8, 64):
    each = [sum(training_bytes(seven, TrainConfig(1, n, optimizer="adamw", shard=shard), n)
                .values()) / 1e9 for shard in (False, True)]
    print(f"{n:2} processes: {each[0]:4.0f} GB in each, shared out {each[1]:5.1f} GB")

# %% [markdown]
# (Activations, and the one block that is gathered, come on top.)
# PyTorch's `fully_shard` does it, block by block:

# %% tags=["quote"]
from tinyllm.devices import shard_model

# %% [markdown]
# The command is chapter 08's with one word more, and `torchrun` starts the processes:
#
# ```
# torchrun --standalone --nproc_per_node 2 \
#     -m tinyllm.train --shard --data tales.txt --config tiny.json --out run
# ```
#
# Do they learn what one learns?
# Here are three: one that trains a small model alone, and two that share it.
# Each runs the same command, in a few lines that also ask what it holds after the last training step:

# %%
import os
import subprocess
import sys
import tempfile

WATCHED = """
import json, os, sys
from tinyllm import memory, train, training

def train_step(model, optimizers, *rest, step_as_ever=training.train_step):
    loss = step_as_ever(model, optimizers, *rest)
    held.update(memory.bytes_held(model, optimizers))
    return loss

training.train_step, held = train_step, {}
assert train.main(sys.argv[1:]) == 0
with open(f"held-{os.environ.get('RANK', 'alone')}.json", "w") as file:
    json.dump(held, file)
"""
small = dict(vocab_size=272, block_size=32, n_layer=2, n_head=2, d_model=32)
how = dict(n_steps=12, batch_size=8, optimizer="adamw", lr=0.01, every=3)
TORCHRUN = "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
has_gloo = torch.distributed.is_available() and torch.distributed.is_gloo_available()

# %% [markdown]
# (`gloo` is the library by which processes on CPUs meet. Each of the two takes half of every batch.)

# %%
def trained(folder: Path, out: str, *options: str, start: tuple = ()) -> list[dict]:
    """Train in new processes, and return the records of the run."""
    files = "--data", "tales.txt", "--config", "tiny.json", "--out", out, "--device", "cpu"
    command = [sys.executable, *start, "watched.py", *files, *options]
    done = subprocess.run(command, cwd=folder, timeout=600, capture_output=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in (folder / out / "log.jsonl").open()]


# %% [markdown]
# The losses are from the logs of the two runs, the bytes are those of weights, gradients and means, and the formula is that of the table above.

# %%
def compare(folder: Path) -> None:
    (folder / "watched.py").write_text(WATCHED)
    (folder / "tales.txt").write_text("\n\n".join(stories[:40]))
    (folder / "tiny.json").write_text(json.dumps({"model": small, "training": how}))
    alone = trained(folder, "one")
    shared = trained(folder, "two", "--shard", start=TORCHRUN)
    for one, two in zip(alone, shared, strict=True):
        step, losses = one["step"], (one["loss"], two["loss"])
        print(f"step {step:2}: loss {losses[0]:.3f} alone, {losses[1]:.3f} shared")
        assert abs(one["loss"] - two["loss"]) < 1e-3
    for name, n in ("alone", 1), ("0", 2), ("1", 2):
        held = json.loads((folder / f"held-{name}.json").read_text())
        expected = training_bytes(Config(**small), TrainConfig(**how, shard=n > 1), n)
        parts = " + ".join(f"{nbytes:,}" for nbytes in held.values())
        print(f"{name:5} holds {parts} bytes, by formula {sum(expected.values()):,.0f}")
        assert held == expected


if has_gloo:
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder))
else:
    print("this build of torch cannot connect processes (it has no gloo)")

# %% [markdown]
# The same losses, to the third decimal, and each of the two holds half of the weights, of the gradients and of the means.
# `tests/test_distributed.py` goes further: AdamW and Muon, two processes that hold all of the model, and runs that go on from a checkpoint of another kind of run.
# The checkpoints are the same files as those of one process: a run that was begun on two can be finished on one.
#
# (experts)=
# ## Experts
#
# More weights, and hardly more operations a token: give a block several MLPs, the **experts**, and let each token use one or two of them.
# Which ones?
# A **router** compares the token with a learned key for each expert; the $k$ largest scores win, and their softmax weighs the answers {cite}`shazeer2017`. (With $k = 1$, where that would be 1, the weight is the probability among all experts.)
# Chapter 07 called an MLP a memory with learned keys.
# Here each value is itself an MLP.
#
# Here is the library's layer, with a loop for each token beside it:

# %%
from tinyllm.experts import Experts, balance_loss

torch.manual_seed(0)
sizes = dict(vocab_size=100, block_size=16, n_layer=1, n_head=2, d_model=16,
             d_ff=32, experts=4)
few, all_of_them = (Experts(Config(**sizes, experts_per_token=k)) for k in (2, 4))
all_of_them.load_state_dict(few.state_dict())
x = torch.randn(6, 16)
for token, answer in zip(x, few(x)):
    p = (few.router.weight @ token).softmax(-1)  # the token is the query, 4 rows are keys
    chosen = p.topk(2).indices
    by_hand = sum(p[e] * few.experts[e](token) for e in chosen) / p[chosen].sum()
    assert torch.allclose(answer, by_hand, atol=1e-6)
keys = few.router.weight
_, weights = attention(x, keys, keys, scale=1.0, return_weights=True)
answers = torch.stack([expert(x) for expert in few.experts], 1)  # (6, 4, 16)
assert torch.allclose(all_of_them(x), (weights[..., None] * answers).sum(1), atol=1e-6)
print("two of four: the loop; four of four: attention's weights over all experts' answers")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The token is the query, each expert has a key, and its value is a function that is applied to the query. Top-$k$ cuts all weights but the largest: nearly a `dict` of programs.
# - **As a smoother.** The plain softmax over all experts would be a mean of all their answers. Top-$k$ leaves the $k$ nearest, a smoother by nearest neighbors: the others have the weight 0, and the answer jumps where another expert gets among the $k$.
#
# :::
#
# Where the weight is 0 no gradient flows.
# An expert that is chosen seldom learns little, and is chosen more seldom still: so routing may collapse to a few of them.
# So one adds a term to the loss {cite}`fedus2022`: the number $n$ of experts times the sum, over experts, of the share $f_e$ of tokens that went to it times its mean probability $p_e$. In symbols it is $n \sum_e f_e\, p_e$.
# The share has no gradient, but the probability has: where the share is high, the probability is pushed down.
# It is `balance_loss`:

# %%
for name, chosen, p in (("equal", [0, 1, 2, 3], [0.25] * 4),
                        ("all to one", [0] * 4, [0.97, 0.01, 0.01, 0.01]),
                        ("nine to one", [0] * 9 + [1], [0.46, 0.54])):
    term = balance_loss(torch.tensor([p] * len(chosen)), torch.tensor(chosen)[:, None])
    print(f"{name:12} {term:.2f}")
assert math.isclose(term.item(), 2 * (0.9 * 0.46 + 0.1 * 0.54), rel_tol=1e-5)

# %% [markdown]
# Equal use gives 1, and all tokens to one of four nearly 4: the term is large where shares and probabilities are large together.
# Its least value is not at equal use, as the last line shows, $2\,(0.9 \cdot 0.46 + 0.1 \cdot 0.54)$: it pushes probability to the experts that are used less, and that is its purpose.
# (The library trains without such a term. As Wang and others {cite}`wang2024` and DeepSeek-V3 {cite}`deepseek2024v3` do, it adds a number $b$ for each expert to its score when experts are *chosen*, not when they are weighed; $b$ sinks while the expert has more than its share, and rises while it has less. Theirs moves by a fixed amount each time; the library's is moved by the optimizer, with the surplus as its gradient. DeepSeek-V3 keeps a small term in the loss as well, against imbalance within one text.)
#
# What do experts buy at equal operations per token?
# `bench/experts.py` asked small models twice: on chapter 11's texts, with a thousand words to know by heart, and on tales, there with the best of four rates of Muon for each model.
# The last column is paired by seed, with the standard error of the difference:

# %%
for texts in ("experts", "experts_tales"):
    print(f"{texts:27} weights   operations a token   rate   excess less that of dense")
    for row in rows_of(f"../bench/{texts}.md")[1:]:
        print(f"{row[0]:22} {row[1]:>11} {row[3]:>20} {row[4]:>6}   {row[7]}")
        assert texts != "experts" or not row[7] or abs(float(row[7].split()[0])) <= 0.011


def below(texts: str, key: str, one: tuple, other: tuple) -> torch.Tensor:
    """How far one model is below another, each with its rate: for each seed."""
    recorded = map(json.loads, Path(f"../bench/{texts}.jsonl").read_text().splitlines())
    found = {(row["model"], row["lr"], row["seed"]): row[key] for row in recorded}
    return torch.tensor([found[*other, seed] - found[*one, seed] for seed in range(3)])


dense, few, wide = "dense", "2 of 8", "dense, 4 times as wide"
gains = {}
for name in (few, wide):
    gains[f"chapter 11's words, {name} below dense"] = below(
        "experts", "words", (name, 0.02), (dense, 0.02))
for lr in (0.02, 0.04):
    gains[f"tales, {few} at {lr} below {wide}"] = below(
        "experts_tales", "excess", (few, lr), (wide, 0.04))
for which, gain in gains.items():
    print(f"{which}: {gain.mean():.3f}, standard error {gain.std() / len(gain) ** 0.5:.3f}")
assert [min(gain).item() > 0 for gain in gains.values()] == [True, True, True, False]

# %% [markdown]
# On chapter 11's texts next to nothing: no mixture's mean is more than 0.011 nats per token from the dense model's, and the standard errors are up to 0.012.
# On the words alone, which there are many of to know by heart, two of eight gains 0.014 and the wide model 0.020, in each seed; so even there little was to be gained in 300 training steps at this one rate.
#
# On tales one mixture was tried, two of eight.
# It has a quarter less excess, in nats per character, for 0.3 % more operations. (It takes an eighth more time, in a library that loops over its experts.)
# The dense model with an MLP four times as wide has as many weights as the mixture, spends 1.6 times as much on a token, and gains less: the difference of the two is 0.022 in favor of the mixture, in all three seeds. With both at the wide model's best rate it is half as large, and may be chance.
# So it seems that there is more in it than the number of weights.
# What it is was not asked: perhaps the router is a good guess of what kind of token comes; perhaps it is the optimizer, whose steps do not get shorter when a matrix sees only a quarter of the tokens, as an expert's do.
# And these are small models, of two layers, after 1.4 million tokens, long before the step: a name said again has a probability of 0.005 to 0.007 in all of them, which is below one in 98.
# The rates were chosen on the 256 stories that the excess is told on.
#
# (latent)=
# ## A smaller cache
#
# Chapter 10 counted the cache: each token leaves a key and a value for each head, in each layer.
# Grouped queries share them.
# **Multi-head latent attention** {cite}`deepseek2024` keeps something else: a short vector $c$ for each token, of which keys and values of all heads are linear functions.
# Does one have to compute them for all tokens, each time?
# No: $q \cdot (W_K c) = (W_K^{\mathsf T} q) \cdot c$, so the query can be turned instead, and the weighted mean can be taken of the $c$ before $W_V$.

# %%
g = torch.Generator().manual_seed(0)
c = torch.randn(50, 6, dtype=torch.float64, generator=g)  # what is kept of 50 tokens
q = torch.randn(1, 16, dtype=torch.float64, generator=g)  # one query of one head, d = 16
W_K, W_V = torch.randn(2, 16, 6, dtype=torch.float64, generator=g)
as_ever = attention(q, c @ W_K.T, c @ W_V.T)
absorbed = attention(q @ W_K, c, c, scale=16**-0.5) @ W_V.T
assert torch.allclose(as_ever, absorbed)
print("keys and values that are never computed: the same answer")

# %% [markdown]
# It is attention over the $c$ themselves, one key and one value for all heads, each head with a query of its own.
# (With RoPE the matrix that makes a key of $c$ depends on the position, so one turned query would not do for all tokens. Therefore a few channels with positions are kept beside $c$, for all heads together.)
# What is kept of a text with the sizes of DeepSeek-V2, 60 layers with 128 heads of 128 channels, in 16 bits:

# %%
from tinyllm.memory import cache_bytes, latent_cache_bytes

deepseek = {"every head its own (MHA)": cache_bytes(60, 128, 128),
            "8 groups (GQA)": cache_bytes(60, 8, 128),
            "one for all (MQA)": cache_bytes(60, 1, 128),
            "latent, 512 + 64 (MLA)": latent_cache_bytes(60, d_latent=512, d_rope=64)}
for name, nbytes in deepseek.items():
    print(f"{name:25} {nbytes / 1000:7,.0f} kB a token, "
          f"{nbytes * 32_768 / 2**30:6.1f} GiB for 32,768 tokens")
assert deepseek["latent, 512 + 64 (MLA)"] == 2.25 * cache_bytes(60, 1, 128)

# %% [markdown]
# A latent vector is as large as 2.25 pairs of a key and a value, and all 128 heads have different keys.
# They are not free of each other, though: the 16,384 numbers of all keys of a token, and as many of its values, are made of 512.
#
# :::{two-views}
#
# - **As a lookup.** One table of short entries, one key and one value in each. Each head turns its query by $W_K^{\mathsf T}$ instead of having the entries turned into keys of its own.
# - **As a smoother.** All heads smooth the same measurements $c$, each with its own bilinear form, and each reads its own linear function of the mean.
#
# :::
#
# What does it cost?
# A pair of a query and a token takes $d$ multiplications for the score and $d$ for the mean, in each head.
# With the query turned both are taken over the channels of $c$, which are more than those of a head. PyTorch counts as much:

# %%
from torch.utils.flop_counter import FlopCounterMode

n_head, d, d_c, d_R = 128, 128, 512, 64
plain, computed, turned = 2 * d, (d + d_R) + d, (d_c + d_R) + d_c
one_token = 2 * d * d_c  # the key and the value of one head from the c of one token
print(f"multiplications a pair and head: plain {plain}, MLA with keys {computed}, "
      f"with turned queries {turned}")
print(f"keys and values of a token anew: {one_token:,} a head, which pays off for more than "
      f"{one_token / (turned - computed):.0f} queries at once")
kinds = {"MHA": (plain, 2 * n_head * d), "GQA, 8 groups": (plain, 2 * 8 * d),
         "MLA, turned queries": (turned, d_c + d_R)}
for name, (products, numbers) in kinds.items():
    print(f"{name:20} {2 * n_head * products / (2 * numbers):5.0f} operations a byte read")
with FlopCounterMode(display=False) as counted:  # one query, 50 tokens
    attention(torch.ones(1, d_c + d_R), torch.ones(50, d_c + d_R), torch.ones(50, d_c))
assert counted.get_total_flops() == 2 * 50 * turned

# %% [markdown]
# So turned queries cost 1,088 multiplications a pair instead of 256, or of 320 with keys that are computed from $c$.
# For one new token that is a bargain nevertheless: it turns one query, which is 131,072 multiplications, $W_V$ included, while computing the keys and values again would be as many for each token of the text.
# And generation waits for memory, not for arithmetic: MHA in 16 bits does one operation for each byte of the cache that it reads, this does 242.
# For a prompt or for training, with hundreds of queries at once, the keys are computed.
#
# ## What to take along
#
# - Count what a model does not use yet: that is how high a step can be. When it comes depends on the seed, too.
# - Before the step a model hardly uses the names that were said. Smoothing before looking up was found in the weights of one head of a small model, not in its answers.
# - A fit can be off by 0.35 % and promise a loss below the entropy.
# - Weights, gradients and Adam's means are 16 bytes a weight; activations grow with the tokens of a training step; generating one token at a time waits for memory.
#
# **Exercises.** [The sheet of this chapter](../exercises/13_scale.ipynb): the height of a step, paired stories, a fit that no model can reach, a roofline, a bill of bytes, a mean of means, and a lookup among experts.
#
# **Further reading.** {cite}`hoffmann2022` and {cite}`besiroglu2024` together, {cite}`olsson2022` for the step in large models, {cite}`schaeffer2023` against taking a metric for a change, {cite}`zhao2023` for sharding, {cite}`fedus2022` for experts.
