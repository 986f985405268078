# %% [markdown]
# # Scale: a shelf, a step, and a floor that is known
#
# Here is one model of 6.3 million weights (those of its blocks: attention and MLPs, without the tables of tokens), after learning from 2 million tokens of tales, from 4, 8, 16 and 32 million.
# The last column is the mean probability that it gives to a name where a story says it for the second time or later.

# %%
import json
import math
from itertools import islice, product
from pathlib import Path

runs = [json.loads(line) for line in Path("../bench/scaling.jsonl").read_text().splitlines()]
print("tokens   excess over the floor   a name, where it is said again")
for run in runs:
    if run["model"] == "6.3M" and run["millions"] <= 32:
        print(f"{run['millions']:4} M  {run['excess']:12.3f} nats {run['again']:22.3f}")

# %% [markdown]
# The second column is the loss per character, less the least that any model can reach.
# It falls as one would expect.
# In the third column nothing happens for 8 million tokens: the name gets a probability of one in a hundred.
# Then the text is doubled once more, and it is three in four.
#
# What has happened there?
# Does one see it in the loss, could it have been predicted, and what does it do to the *scaling laws* by which large models are planned?
# On real text nobody can say, since nobody knows how low the loss can go.
# On the tales we can.
#
# :::{admonition} You will be able to
# :class: tip
# - predict by hand how far the loss falls when a model learns to use a name that was said, and how much of that fall a plain average of names would bring;
# - fit a scaling law, and say why its *irreducible loss* is not the entropy;
# - account for the memory and the time of a training run, on one process and on several.
#
# Reading: 40 minutes. Running: two minutes.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the training loop marked, the part of it that this chapter makes larger"
from course.figures import machine_map

machine_map(here="training")

# %% [markdown]
# From earlier chapters come the tales and their floor (02), attention and the mean that it takes (04, 05), the model and its number of operations (07), and training (08).

# %%
import re

import torch
from IPython.display import Markdown
from torch import Tensor, nn

from course.data.bindings import KINDS, Language, tell as tell_bindings
from course.data.tales import tell
from course.data.tales_world import BOYS, GIRLS
from course.figures import COLORS, figure
from tinyllm.attention import attention
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

CYCLE = COLORS["CYCLE"]
NAMES = (*GIRLS, *BOYS)
SIZES = list(dict.fromkeys(run["model"] for run in sorted(runs, key=lambda r: r["n_block"])))
len(runs), SIZES, len(NAMES)

# %% [markdown]
# (the-sweep)=
# ## The sweep
#
# The table was recorded, not computed here: 53 finished runs of `bench/scaling.py` on one GPU (an NVIDIA H200), one seed, nine sizes from 24 thousand to 31 million weights in the blocks.
# All read Taleteller's 2,048 tokens, 48 whole stories a step, every story once.
# The optimizer is Muon at the rate 0.02, with Adam at 0.02 for the embeddings, the same for all sizes; the head's rate falls with the width (chapter 08).
# Each number of tokens is a *finished* schedule: the rate stays constant, and falls to zero over the last 40 % of the steps.
# (A run of 4 million tokens goes on from where that of 2 million began to lower its rate. So the runs of a size share their beginning, and are not independent.)
# Loss is scored on 1,024 stories that were held out, story by story, *minus the exact log-probability of each story*.
# That paired difference, the **excess**, has a standard error of at most 0.0026 nats per character.

# %% tags=["hide-input"] alt="Two panels over the number of tokens from 2 to 128 million, one line for each of nine sizes. Above, the excess on logarithmic axes: all lines fall; those of 442 thousand weights and more reach a band between 0.024 and 0.038 and then drop below 0.01. Below, the probability of a name said again: flat at 0.01, and above 0.65 after the drop, for the largest three sizes between 8 and 16 million tokens, for the two sizes around a million between 32 and 64 million; the three smallest never rise"
fig, axes = figure(rows=2, height=6.4)
shades = [CYCLE[i % 5] for i in range(len(SIZES))]
for size, color, style in zip(SIZES, shades, ["-"] * 5 + ["--"] * 4):
    mine = sorted((r for r in runs if r["model"] == size), key=lambda r: r["tokens"])
    x = [r["millions"] for r in mine]
    axes[0].loglog(x, [r["excess"] for r in mine], style, marker="o", color=color,
                   markersize=3.5, label=size)
    axes[1].semilogx(x, [r["again"] for r in mine], style, marker="o", color=color,
                     markersize=3.5)
for ax in axes:
    ax.set_xticks([2, 4, 8, 16, 32, 64, 128], [2, 4, 8, 16, 32, 64, 128])
    ax.minorticks_off()
axes[0].axhspan(0.024, 0.038, color=COLORS["FLOOR"], alpha=0.15, linewidth=0)
axes[0].annotate("the shelf", (2.05, 0.0285), color=COLORS["FLOOR"], va="center")
axes[0].set(ylabel="excess (nats per character)")
axes[0].set_title("Names wait at 1/98 while all else gets better")
axes[0].legend(ncols=3, fontsize=8.5, title="weights in blocks", title_fontsize=8.5)
axes[1].axhline(1 / 98, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
axes[1].set(xlabel="million tokens", ylabel="p(name said again)", ylim=(-0.02, 1))
fig

# %% [markdown]
# What is flat is $p$, at $1/98$, for all that these models learn in the meantime.
# The excess is not flat: with each doubling it falls by a third to a half, for the larger models to a band, gray, from 0.024 to 0.038.
# (The band is drawn from the runs right before the drop; the three smallest models do not reach it, or just do.)
# Then, within a doubling of the tokens, $p$ rises, and the excess falls to a third, a quarter, a sixth.
# The flat stretch is called a **shelf** here; in the loss of these runs it is hidden by all else that gets better, and a text without that will show it bare, below.
# Here is the last run of each size before the drop, and the first after it.

# %%
drops, before, after = {}, {}, {}
for size in SIZES:
    mine = sorted((r for r in runs if r["model"] == size), key=lambda r: r["tokens"])
    for old, new in zip(mine, mine[1:]):
        if old["again"] < 0.05 and new["again"] > 0.5:
            before[size], after[size] = old, new
            drops[size] = old["excess"] - new["excess"]
            print(f"{size:5} from {old['millions']:2} to {new['millions']:2} M: excess "
                  f"{old['excess']:.4f} to {new['excess']:.4f}, down {drops[size]:.4f}; "
                  f"p {old['again']:.2f} to {new['again']:.2f}")
assert len(drops) == 6 and 0.019 < min(drops.values()) < max(drops.values()) < 0.03

# %% [markdown]
# Which size steps earlier?
# In this seed the larger ones do: 6.3 million and more before 16 million tokens, 442 thousand and a million only after 32.
# How much is that worth?
# `bench/scaling_variants.jsonl` holds another seed of the model with a million weights.

# %%
path = Path("../bench/scaling_variants.jsonl")
variants = [json.loads(line) for line in path.read_text().splitlines()]
again = {(r["variant"], r["seed"], r["millions"]): r["again"]
         for r in variants + [run for run in runs if run["model"] == "1.0M"]}
for variant in dict.fromkeys(name for name, *_ in again):
    for seed in (0, 1):
        row = [again.get((variant, seed, m)) for m in (4, 8, 16, 32)]
        if row[0] is not None:
            print(f"{variant:12} seed {seed}: p", "  ".join(f"{p:.2f}" for p in row))
assert again["base", 0, 32] < 0.05 and again["base", 1, 32] > 0.5

# %% [markdown]
# The same model, the same recipe: with one seed the step comes after 32 million tokens, with the other before.
# So **the seed decides on which side of 32 million tokens the step comes**.
# (By how much is not known: one is between 16 and 32, the other between 32 and 64, and had begun.)
# The variants (rotary positions, keys that are mixed with the one before, vectors for pairs of tokens) have one or two seeds each.
# All of them have stepped by 32 million tokens, and so has one of the two plain models.
# That says nothing about which of them is earlier; whoever wants to say so needs more seeds than there are here.
# The sizes, too, have one seed.
# The largest step between 8 and 16 million tokens and the smallest between 32 and 64, which is a factor of two to eight; two seeds of one size do not say how much of that chance can do.
#
# (step-by-hand)=
# ## The step, by hand
#
# How far should the loss fall when a model begins to use the names that were said?
# That needs no model.
# There are 98 names, drawn with equal chances.
# Who makes no use of the text so far can do no better than to give each of them $1/98$, where a name is due, and that costs $\ln 98$ nats.
# Who knows which one it is pays nothing.
# So the step is as high as the number of names said again per character, times $\ln 98$.

# %%
def names_said(text: str) -> list[str]:
    """All names in a text, in order."""
    return [word for word in re.findall("[A-Za-z]+", text) if word in set(NAMES)]


stories = [tale.text for tale in islice(tell(1), 300)]
told = [names_said(text) for text in stories]
said_again = [(names[:i], name) for names in told for i, name in enumerate(names)
              if name in names[:i]]
characters = sum(len(text) + 2 for text in stories)  # a story's end counts as two
rate = len(said_again) / characters
height = rate * math.log(len(NAMES))
print(f"{len(said_again) / 300:.2f} names said again in a story of {characters / 300:.0f} "
      f"characters: {rate:.5f} per character")
print(f"times ln {len(NAMES)} = {math.log(len(NAMES)):.3f} nats: {height:.4f}")

# %% [markdown]
# By hand: 5.2 names in 1,033 characters are 0.0050 per character, times 4.585 nats is 0.023.
# The six drops above lie between 0.020 and 0.029.
#
# They are no check of it, though, since in a doubling of the tokens everything else improves, too, and before the drop that was worth 0.01 and more.
# A clean one would be two models that differ in the step alone.
# The two seeds at 32 million tokens come near to that.

# %%
pair = [r for r in runs + variants if r["model"] == "1.0M" and r["variant"] == "base"
        and r["millions"] == 32]
for run in pair:
    print(f"seed {run['seed']}: excess {run['excess']:.4f}, p {run['again']:.2f}")
apart = pair[0]["excess"] - pair[1]["excess"]
print(f"apart by {apart:.4f}, {apart / height:.0%} of the height by hand")
assert 0.6 < apart / height < 0.9

# %% [markdown]
# Three quarters of it.
# (That is one pair.) The prediction is an estimate from above.
# The seed without the step had begun it ($p$ is 0.024, more than twice $1/98$), the other was not at the end of it (0.80, and it will be 0.83), and sometimes it is open which of two persons is named, so that even the best model pays something.
#
# (not-smoothing)=
# ### What a smoother would do
#
# It is tempting to say that the model *smooths* its recent past up to the shelf and *looks up* from the step on.
# Let us see what a smoother would do.
# Give it the names that the story has said so far, and nothing else.
# It answers with a weighted mean of them, chapter 05's kernel over time: the weight falls by a constant factor from each mention of a name to the one before it.

# %%
def smoother(said: list[str], name: str, factor: float) -> float:
    """The probability of a name: the share of the weight on its mentions."""
    weights = [factor ** (len(said) - 1 - i) for i in range(len(said))]
    return sum(w for w, other in zip(weights, said) if other == name) / sum(weights)


print("factor    mean p   nats a name   nats per character")
smoothed = {}
for factor in (1.0, 0.9, 0.7, 0.5):
    p = [smoother(said, name, factor) for said, name in said_again]
    nats = -sum(map(math.log, p)) / len(p)
    smoothed[factor] = nats * rate
    print(f"{factor:6} {sum(p) / len(p):9.2f} {nats:13.2f} {smoothed[factor]:17.4f}")
print(f"none    {1 / len(NAMES):8.2f} {math.log(len(NAMES)):13.2f} {height:17.4f}")
n_new = sum(len(set(names)) for names in told)  # names that are said for the first time
old = len(said_again) / (len(said_again) + n_new)
mixed = [math.log(old * smoother(said, name, 1.0) + (1 - old) / len(NAMES))
         for said, name in said_again]
saved = sum(mixed) + len(mixed) * math.log(len(NAMES)) + n_new * math.log(1 - old)
saved = saved / characters
print(f"not told which names are new: {saved:.4f} saved, {saved / height:.0%} of the step")
assert min(smoothed.values()) < 0.2 * height and 0.6 < saved / height < 0.75

# %% [markdown]
# The plain mean of the names that were said gives the right one a probability of 0.56 on average, since most stories have two persons, and costs 0.0033 nats per character.
# So **a smoother of names would take six sevenths of the step**, if it is told, as the lookup was, that a name is due that was said before.
# If it is not told, it has to keep some probability for new names (here: for each name that share of names which are new); then it still takes two thirds.
# And what does the model do on the shelf?
# It gives the right name 0.010 to 0.011, and $1/98$ is 0.0102: about as if it had never been said.
# (Not quite. Even after the step the mean is 0.83, since where a name stands another word may have been possible, too. Allowing for that, 0.0105 is a quarter more than $1/98$. In the last run before the drop three sizes have 0.017 to 0.024: the step has begun there, or they know the gender, which would give $1/49$. The mean of the names gives 0.56.)
# So for names the shelf is not where smoothing ends and looking up begins.
# It is where the names of the text are hardly used at all.
# A mean over the names in the text would already be most of the progress.
#
# (before-and-after)=
# ## Before and after
#
# That is about what the model says.
# What do its heads do?
# For that one has to look into a model right before the step and right after it, and the recorded runs kept no weights.
# Chapter 11's texts step within a few hundred thousand tokens.
# They have eight roles, each with a name until a sentence gives it another one (`again` is a name said again, `rebound` one of a role that had another name before), and the exact probability of each token is known:

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
# The same calculation, with other numbers: 0.12 of the tokens, 64 names, a step of 0.48 nats per token.
# Three sizes learn from these texts, here and now: 410 thousand tokens, all of the same, in 200 steps at a constant rate.
# (A key is mixed with the one before it, `conv=2`, so that one layer can find the name beside its role.)

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
# A look every ten steps:

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
shelf = {name: min(e for _, e, p in curve if p < 0.03) for name, curve in live.items()}
assert all(0.3 < e < 0.9 for e in shelf.values()) and live["98k"][-1][2] > 0.5
"the largest of the three has stepped; before it, p was that of one name of 64"

# %% [markdown]
# The three curves, and the height of the step as it was predicted:

# %% tags=["hide-input"] alt="Two panels over tokens up to 410 thousand for three small models trained here. Above, the excess in nats per token falls to a dashed line at 0.48, the predicted height, stays near it, and then drops, for the larger two toward zero, for the smallest only begins to. Below, the probability of a name said again stays at one sixty-fourth and then rises steeply at the same tokens"
fig, axes = figure(rows=2, height=5.6)
for (name, curve), color in zip(live.items(), CYCLE):
    tokens, excess, p = zip(*curve)
    axes[0].plot([t / 1000 for t in tokens], excess, color=color, label=f"{name} weights")
    axes[1].plot([t / 1000 for t in tokens], p, color=color)
axes[0].axhline(predicted, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
axes[0].annotate("the step, by hand", (22, predicted - 0.04), va="top",
                 color=COLORS["FLOOR"])
axes[0].set(ylabel="excess (nats per token)", ylim=(0, 1.5))
axes[0].set_title("Another text, trained here: a shelf where it was predicted")
axes[0].legend(fontsize=8.5)
axes[1].set(xlabel="thousand tokens", ylabel="p(name said again)", ylim=(-0.02, 1))
fig

# %% [markdown]
# The excess comes down to a shelf that is a little above the line, since the words cost something, too, and stays there as long as $p$ waits at $1/64$.
# (That is one seed, and on another processor the curves are others; what is printed and asserted is what does not depend on it.)
#
# Now the heads of models as large as the largest of the three, recorded by `bench/step.py` with three seeds (and a rate that falls over the last 40 % of the steps).
# There are three questions, all asked where a name is said again:
#
# 1. *Does the model smooth the names of the text before it looks them up?* Then the names that stand in the text would gain probability together, before the right one does.
# 2. *Do its heads go from many keys to one?* Chapter 05's effective keys, the exponential of a row's entropy, are the same however queries and keys are written.
# 3. *Does it need what is far?* Let every layer see the last $w$ tokens only, without training it anew, and measure the loss.

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


def around(seed: int) -> list[dict]:
    """The looks from shortly before the step until it is done."""
    last = max(look["step"] for look in steps[seed] if look["p"] < 0.03)
    return [look for look in steps[seed] if last - 40 <= look["step"] <= last + 50]


# %% [markdown]
# For each seed, the answer of the model, and the head that in the end puts most weight on the right name:

# %%
print("             what the model says        the head that will look up")
print("seed  step   right   all in the text    keys   on names   on the right one")
for seed in seeds:
    at = finder(seed)
    for look in around(seed):
        head = [of_head(look, key, at) for key in ("keys", "names", "right")]
        print(f"{seed:4} {look['step']:5} {look['p']:7.2f} {look['in_text']:12.2f} "
              f"{head[0]:13.0f} {head[1]:9.2f} {head[2]:13.2f}")
print(f"if no name had been said: {1 / 64:.2f} and {looks[0]['plain']:.2f}")

# %% [markdown]
# The same as curves, from the first look to the last:

# %% tags=["hide-input"] alt="Two panels over training tokens, three seeds. Above, the weights of the head that will look up, where a name is said again: the weight on names of any kind rises first, that on the right name follows steeply. Below, the probabilities that the model gives: that of all names in the text stays flat and then rises together with that of the right name, later than the weights above"
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
    ax.legend(fontsize=8.5)
    ax.set(ylim=(-0.02, 1.02))
axes[0].set(ylabel="weight in one head")
axes[0].set_title("The head finds names, then the right one; the answer follows")
axes[1].set(xlabel="thousand tokens (three seeds)", ylabel="probability")
fig

# %% [markdown]
# In what the model *says* next to nothing is smoothed first.
# Up to the step the names in the text have together what they would have if none had been said.
# In the first looks of the step (in seed 2 already twenty steps before the right name moves) they gain 0.01 to 0.02, of which the right one has a half or less; from then on it gains all.
# A plain mean of the names in the text would give the right one 0.16.
#
# In the *head* there is such a transition, and it is nearly over before the answer moves.
# At first its weight lies on dozens of keys of all kinds.
# Then two thirds of it lie on names: it averages the names of the text, the right one with an eighth, and no answer changes.
# Then nearly all of it lies on the right name, with three effective keys, and the probability of that name is still 0.1.
# The answer follows within forty steps: what the head fetches has to be made use of, too.
# So "from smoothing to looking up" is a fair name for the rows of one head, and a wrong one for what the model says.
#
# At all other places the same head keeps some sixty keys (below): chapter 12's *one head, two smoothers*, seen as it forms.

# %%
print("effective keys of all heads, where a name is said again (elsewhere)")
for seed in seeds:
    for when, look in ("before", around(seed)[0]), ("after", steps[seed][-1]):
        here, there = look["keys"], look["keys_elsewhere"]
        print(f"{seed} {when:6}", "  ".join(f"{here[l][h]:2.0f} ({there[l][h]:2.0f})"
                                            for l, h in HEADS))
    first, last = (of_head(look, "keys", finder(seed)) for look in (around(seed)[0], look))
    assert first > 40 > 5 > last

# %% [markdown]
# In each seed one head of the first layer comes down from dozens of keys to three, and only where a name is due.
# It is not always the only one that narrows: in seed 1 three heads of the second layer do, one of them to three keys, in seed 2 one of each layer by a half.
# What those are for has not been looked at.
#
# And the window?
# Here is the loss in nats for each name that is said again, if no layer sees beyond the last $w$ tokens.

# %%
print("seed           8      16      32      64     all tokens")
for seed in seeds:
    shelf_at = around(seed)[2]  # 20 steps before the last look on the shelf
    for when, look in ("before", shelf_at), ("after", steps[seed][-1]):
        print(f"{seed} {when:6}", *(f"{look['window'][w]:7.2f}"
                                    for w in ("8", "16", "32", "64", "128")))
    assert shelf_at["window"]["8"] - shelf_at["window"]["128"] < 0.1
    assert steps[seed][-1]["window"]["16"] > steps[seed][-1]["window"]["128"] + 0.5

# %% [markdown]
# Before the step a window of eight tokens costs next to nothing: whatever the wide heads average, the names are not better for it.
# After it the same window costs three nats a name, and one of 64 tokens still one to three tenths.
# At all other places it costs less than a hundredth of a nat before and after (`window_elsewhere` in the file): the words of these texts are a Markov chain.
# (The windows cut a model that was trained without. One that is trained with a window makes more of it, as chapter 11 showed; and two layers with a window of $w$ reach back $2w$.)
#
# All this is one kind of text with two layers of which the keys are mixed, three seeds.
# On the tales the recorded runs say only what $p$ does.
# It stays at $1/98$ as it does here at $1/64$, which is the same finding in the answers; in the heads of those runs nobody has looked.
#
# :::{two-views}
#
# - **As a lookup.** Before the step there is a dictionary without a key: the name is in the text, and no query asks for its role.
# - **As a smoother.** Before the step the kernels are wide, and so they are after it in most heads. What is new is a kernel that is narrow at one kind of place.
#
# :::
#
# Olsson and others {cite}`olsson2022` found such a change in models of many sizes, at the same time as a bump in the loss, and heads that find what followed the same token before; that these cause it was shown for small models, for large ones it rests on the coincidence.
# Singh and others {cite}`singh2024` set parts of a small model right while the rest learned, and found three whose interaction drives the change.
#
# (fits)=
# ## A law for the loss
#
# Large models are planned by a formula.
# With $N$ weights in the model and $D$ tokens to learn from (the letters of the field, in this section only), the loss is written as
#
# $$ L = E + \frac{A}{N^a} + \frac{B}{D^b}, $$
#
# *In words:* [powers and roots](mathematics.ipynb#Powers-and-roots).
#
# where the second term is what a small model cannot hold and the third what has not been seen yet {cite}`hoffmann2022`.
# $E$ is what remains when both are infinite, the **irreducible loss**.
# It is often read as the entropy of the text.
# Hoffmann and others fitted five numbers to over 400 runs, found that weights and tokens should grow at equal rates, and trained Chinchilla accordingly: a quarter of the weights of its predecessor, four times its tokens, and better.
# Their method: least Huber loss of the differences of $\log L$, which is a square for small differences and grows in a straight line beyond $10^{-3}$, by L-BFGS from many starts.
# A replication from the figures of the paper found that their search had stopped too early, and that the reported intervals were far too narrow for so few runs {cite}`besiroglu2024`.
#
# The same fit here, in a few lines:

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
    for b in (0.3, 1.5):  # from both starts one gets to the same place
        z = torch.tensor([-3.0, -4.0, -3.0, 0.5, b], dtype=torch.float64, requires_grad=True)
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
# Five sets of the same runs: all, those before the step, the same without those of 2 million tokens, those after it, and of these the ones that have finished it.

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
print(f"the exact mean surprise of the stories: {FLOOR:.3f}")
assert all(f["E"] < FLOOR - 0.005 for f in fits.values())
assert fits["... from 4 M tokens"]["E"] < 0.001 and fits["after it"]["off"] < 0.005
assert fits["... and finished"]["E"] < 0.01

# %% [markdown]
# Five fits, and irreducible losses from 0.126 down to 0.
# The truth is 0.136, and **all of them are below it**: no model can reach what they promise.
# (They are parts of one set of runs, so that is less than five results. And before the step the law is off by 11 to 14 %: it does not describe these runs.)
# The last two are the worst, since they look so good: off by a third of a per cent and less, on thirteen runs and on ten.
# Does the data know $E$ at all?
# Hold it fixed, fit the other four numbers, and see how much worse it gets.

# %% alt="Root mean square difference of log loss against the irreducible loss that is held fixed, from 0.02 to 0.136, for runs before the step and after it. Before the step the curve is flat at 14 per cent; after it flat at a third of a per cent up to 0.12, and then it rises to 0.6 at the true entropy"
fig, ax = figure()
fixed = [0.02, 0.06, 0.09, 0.11, 0.12, 0.13, 0.1355]
profile = {}
for (name, rows), color in zip(list(SETS.items())[1:4:2], (CYCLE[0], CYCLE[2])):
    profile[name] = [fit(rows, known=E)["off"] for E in fixed]
    ax.semilogy(fixed, [100 * off for off in profile[name]], "o-", color=color, label=name,
                markersize=4)
ax.axvline(FLOOR, color=COLORS["FLOOR"], linestyle="--", linewidth=1.2)
ax.annotate("entropy ", (FLOOR, 1), ha="right", color=COLORS["FLOOR"])
ax.set(xlabel="irreducible loss E that is held fixed", ylabel="typically off by (%)")
ax.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
ax.legend()
ax.set_title("The fit hardly cares which E it is given")
fig

# %% [markdown]
# Before the step every $E$ is about as good.
# After it, from 0.02 to 0.12 the fits are off by 0.34 to 0.39 % (root mean square; the fit minimizes the Huber loss, whose least value is at 0.110), and by 0.6 % with the entropy itself.
# A small exponent and a low floor do what a larger exponent and a high floor do, over the few doublings that there are.
# So which value is "the best" hangs on differences of less than a per mille of the loss, and on which runs are in the set: with the three left out that have not finished their step it is 0.008.
#
# Why is $E$ not the entropy?
# It is what a power law runs into if nothing changes beyond the runs.
# On the shelf nothing in the curve shows that there is a step to come; on real text nobody knows how many shelves there are.
# (Kaplan and others {cite}`kaplan2020` left $E$ out. With small models far from the floor, a constant cannot be told from a smaller exponent.)
# A smooth law holds where a mechanism gets better, not where it is exchanged for another.
# One seed and nine sizes are little for a fit, and the matrices of all sizes share one rate, and all share one batch size.
# That a real sweep would do better at *predicting losses nearby* is not in doubt here; what is in doubt is the constant.
#
# (frontier)=
# ### What to spend a budget on
#
# How many multiplications and additions a run took is chapter 07's formula, three times that of a forward pass per token.
# Of all runs, here are those that no other run beats with fewer.

# %%
def operations(run: dict) -> float:
    """Multiplications and additions of a whole run, forward and backward."""
    sizes = {key: run[key] for key in ("n_layer", "n_head", "d_model")}
    return 3 * flops_per_token(Config(2048, 432, **sizes)) * run["tokens"]


print("operations   weights   tokens   tokens a weight   excess")
best, frontier = math.inf, []
for run in sorted(runs, key=operations):
    if run["excess"] < best:
        best = run["excess"]
        frontier.append(run)
        print(f"{operations(run):10.0e} {run['model']:>9} {run['millions']:6} M "
              f"{run['tokens'] / run['n_block']:15.0f} {best:10.4f}")
assert all(run["n_block"] < 1e6 for run in frontier)

# %% [markdown]
# Among these runs the best size grows with the budget in trend, up to a million weights (442 thousand and a million alternate).
# None of the four larger sizes is on the list; they were trained with 32 or 64 million tokens at most, and each of their runs is beaten by a smaller model with more tokens and no more operations. Beyond that budget nothing was run.
# The runs after the step have 65 to 290 tokens for each weight.
# Chinchilla had 20, and no law says that the number is the same elsewhere; a grammar with some thousand words may not need more weights than these.
# Read it with care: sizes are a factor of two or more apart, tokens a factor of two; and where a run stands beside a step whose date is in part chance, so is its place on the list.
# (The count has the head in it; with the weights of the blocks alone the small models would look cheaper than they are.)
#
# (rates)=
# ## One rate for all sizes?
#
# The matrices of all nine sizes above learned at one rate.
# Would the best rate of a small model be that of a large one?
# If so, rates could be chosen where it is cheap.
# Here is the question for Adam alone.
#
# Adam moves every weight by about the rate, whatever its gradient.
# A sum over $C$ channels then moves by up to $C$ times that, if the steps agree with the inputs, as those of a gradient do.
# So for a model twice as wide the rate of the matrices should be half, while a row of the embedding, which is not summed over, keeps its rate.
# That is the rule for Adam of *maximal update parametrization*, μP {cite}`yang2022`.
# (μP has more to say, about first weights and the scale of scores; this book's begin as it wants them, with variance $1/C$ and a head of zeros, and heads of 16 channels at every width.)
#
# `bench/rates.py` trained models of 32 and of 128 channels with chapter 11's words, 120 steps, rates a factor of two apart, three seeds: with one rate for all weights, and with the rate of the matrices divided by the width.
# At 32 channels, where the division begins, the two are the same.

# %%
rates = [json.loads(line) for line in Path("../bench/rates.jsonl").read_text().splitlines()]


def by_rate(rule: str, width: int, seed: int) -> dict[int, float]:
    """The excess after training at each rate, by its power of two."""
    rule = "same" if (rule, width) == ("by width", 32) else rule
    wanted = {"rule": rule, "width": width, "seed": seed}
    return {r["exponent"]: r["excess"] for r in rates if wanted.items() <= r.items()}


print("            best rate at 32   at 128   the narrow one's best costs the wide one")
costs = {}
for rule, seed in product(("same", "by width"), range(3)):
    narrow, wide = by_rate(rule, 32, seed), by_rate(rule, 128, seed)
    best = [min(found, key=found.get) for found in (narrow, wide)]
    costs.setdefault(rule, []).append(wide[best[0]] - wide[best[1]])
    print(f"{rule:9} {seed} {f'2^{best[0]}':>13} {f'2^{best[1]}':>9} "
          f"{costs[rule][-1]:12.3f} nats of {wide[best[1]]:.3f}")
assert min(costs["same"]) > max(costs["by width"])

# %% [markdown]
# With one rate for all weights the best rate falls by a factor of four to eight as the width grows by four, and whoever takes over the narrow model's rate pays 0.17 to 0.29 nats.
# Divided by the width it stays where it was within the factor of two of the grid, and costs 0 to 0.12.
# (Paired by seed the difference is 0.21, standard error 0.04. Most of what is left of the excess at the best rates is names, which nobody finds so soon.)
# That is what the rule says, for two widths, one text, a short training, and rates that are powers of two; it does not say that it holds over a factor of a hundred.
# For the sweep above it says that one rate for all sizes has to be justified: there the matrices are trained by Muon, whose steps have a size that takes the width into account (chapter 08), and the head's rate is divided by the width.
# Whether that is enough was not measured, so some of the differences between the sizes may be differences in how well the rate suits them.
#
# (memory)=
# ## The bill of a training run
#
# What has to be in memory while a model learns?
# For each weight itself, its gradient and what the optimizer keeps: two running means with Adam, one with Muon.
# In 32 bits that is 4 bytes each, so 16 bytes for a weight with Adam.
# (With matrices multiplied in 16 bits it is no less, as long as the weights themselves stay in 32.)
# And the **activations**: what the forward pass computed and the backward pass will need.
# They grow with the number of tokens in a step, and PyTorch can be asked what it keeps.

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
# Two texts outweigh the model with all that belongs to it.
# A token takes 50 kB.
# Count them: in each of the five layers the stream before each norm and after it, queries, keys and values, the heads' answer, four times the width before the GELU and four times after it: 16 vectors of 128 numbers, and for the loss 2,048 numbers.
# By hand, $4\,(5 \cdot 16 \cdot 128 + 2048) = 49{,}152$ bytes.
# The attention weights are not among them: `scaled_dot_product_attention` computes them again in blocks (chapter 11), else there would be $T$ numbers more for each head, token and layer.
#
# Several remedies each give up something: smaller parts of a batch whose gradients are added up (`grad_accum_steps`, chapter 08) are smaller products, and more of them; **checkpointing** keeps the input of each block only and computes the rest again, a third more operations; and several processes share.
#
# ### How fast: the roofline
#
# A matrix product has to read its matrices, and it has to multiply.
# Let $x$ be $n$ tokens of $C$ channels, and $W$ a matrix of $C \times C$.
# That is $2 n C^2$ operations and, if everything is read or written once, $4\,(2 n C + C^2)$ bytes.
# Their quotient is the **arithmetic intensity** {cite}`williams2009`.

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
# That is the lot of chapter 09's generation, one token at a time.
# Training and reading a prompt, with thousands of tokens in a product, get to the flat part if the model is wide enough: with $C$ channels the intensity is never more than $C/4$, however many tokens there are, so 128 channels that a processor can feed are too narrow for a large GPU.
#
# `bench/roofline.py` measured one machine, on one thread:

# %% tags=["hide-input"]
Markdown(Path("../bench/roofline.md").read_text(encoding="utf-8").split("\n", 1)[1])

# %% [markdown]
# The roof bends at five operations per byte in 32 bits, and later in 16, which multiply twice as fast and move as many bytes a second.
# A training step of thousands of tokens is far to the right of the bend, a single token far to the left.
# One token through a matrix of Taleteller is *above* its roof: the matrix stays in the processor's cache, and the slope is that of the memory.
# The model that no cache holds is under it.
# Sixteen texts at once read the weights once for all: the intensity is ten times that of one text (not sixteen, since each text has its own cache of keys and values), and the tokens per second rise five times.
# A whole step reaches a third to a half of the peak; the rest is norms, GELU, softmax, the optimizer, all of which move much and multiply little.
#
# (processes)=
# ## Several processes
#
# Let two processes hold the same weights, take one half of a batch each, and average their gradients before every step.
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
# With unequal numbers of targets, as masked ones give (every model that learns from answers only has them), the plain mean is another gradient, and nothing complains.
#
# The library refuses a batch whose *rows* cannot be dealt out equally; unequal numbers of targets it does not catch, so masked ones want an average by their number.
#
# Data parallelism makes a step faster, and each process has the activations of its own part only; but it holds all 16 bytes of every weight.
# **Fully sharded** data parallelism deals them out {cite}`zhao2023`.
# In its present form each of $n$ processes keeps $1/n$ of the rows of every matrix, with their gradients and their optimizer's means.
# Before a block computes, its rows are gathered from all processes, and let go after it; gradients are added up so that each process gets the sum of its own rows only (*reduce-scatter*).
# What is sent is half as much again: an all-reduce is a reduce-scatter and a gathering, and here there are two gatherings, forward and backward, and a reduce-scatter.

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
# Do two processes learn what one learns?
# Here are three: one that trains a small model alone, and two that share it.
# Each runs the same command, in a few lines that also ask what it holds after the last step:

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
# The same losses, and each of the two holds half of the weights, of the gradients and of the means.
# (The third decimal is the same, and the bits are not: halves are added up in another order.)
# `tests/test_distributed.py` goes further: with AdamW and with Muon, with two processes that hold all of the model, and with runs that go on from a checkpoint that another kind of run wrote.
# (Muon needs a whole matrix to turn it, and gets it: each process gathers one matrix at a time and computes the same step.)
# The checkpoints are the same files as those of one process: a run that was begun on eight can be finished on one.
#
# (experts)=
# ## Experts
#
# More weights, and no more operations a token: give a block several MLPs, the **experts**, and let each token use one or two of them.
# Which ones?
# A **router** compares the token with a learned key for each expert; the $k$ largest scores win, and their softmax weighs the answers {cite}`shazeer2017`.
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
"two of four: the loop; four of four: attention's weights over the answers of all experts"

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The token is the query, each expert has a key, and its value is a function that is applied to the query. Top-$k$ cuts all weights but the largest: nearly a `dict` of programs.
# - **As a smoother.** The plain softmax over all experts would be a mean of all their answers. Top-$k$ leaves the $k$ nearest, a smoother by nearest neighbors: the others have the weight 0, and the answer jumps where the order of two experts changes.
#
# :::
#
# Where the weight is 0 no gradient flows.
# An expert that is chosen seldom learns little, and is chosen more seldom still: so routing may collapse to a few of them.
# So one adds a term to the loss {cite}`fedus2022`: the number of experts times the sum, over experts, of the share of tokens that went to it times its mean probability.
# The share has no gradient, but the probability has: where the share is high, the probability is pushed down.

# %%
for name, chosen in ("equal", torch.arange(8) % 4), ("all to one", 0 * torch.arange(8)):
    p = 0.97 * torch.nn.functional.one_hot(chosen, 4) + 0.0075
    print(f"{name:10} balance term {balance_loss(p, chosen[:, None]):.2f}")

# %% [markdown]
# Equal use gives 1, and all tokens to one of four nearly 4: the term is large where shares and probabilities are large together.
# (Its least value is not at equal use. With shares of 0.9 and 0.1 and mean probabilities of 0.46 and 0.54 it is 0.93. It pushes probability to the experts that are used less, and that is its purpose.)
# (The library goes another way, that of Wang and others {cite}`wang2024`, which DeepSeek-V3 was trained by {cite}`deepseek2024v3`: a number $b$ for each expert is added to its score when experts are *chosen*, not when they are weighed, and it sinks while the expert has more than its share. The loss has no term more. Theirs moves by a fixed amount after each step; here the surplus is the gradient of $b$, and the optimizer moves it. DeepSeek-V3 has a small term in the loss as well, for the balance within each text.)
#
# What do experts buy at equal operations per token?
# `bench/experts.py` asked small models on chapter 11's texts, with a thousand words to know by heart, not on tales:

# %% tags=["hide-input"]
Markdown(Path("../bench/experts.md").read_text(encoding="utf-8").split("\n", 1)[1])

# %% [markdown]
# Next to nothing, here.
# The mixtures are within two hundredths of a nat of the dense model, some above it and some below; the dense model with four times the channels is no better than a hundredth, either, so it was not the size of the MLP that these models were short of.
# (Three seeds, one size, and the time is longer. It is no evidence on large models.)
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
"keys and values that are never computed: the same answer"

# %% [markdown]
# It is attention over the $c$ themselves, one key and one value for all heads, each head with a query of its own.
# (A key that is turned by its position, RoPE, is no linear function of $c$; so a few channels with positions are kept beside it, $d_R$ of them, for all heads together.)
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
# Latent vectors are as large as 2.25 groups of a key and a value would be, and all 128 heads have different keys.
# They are not free of each other, though: the 16,384 numbers of all keys of a token, and as many of its values, are made of 512.
#
# :::{two-views}
#
# - **As a lookup.** One table of short entries. Each head translates its question into the language of the table, instead of having the table translated into its own.
# - **As a smoother.** All heads smooth the same measurements $c$, each with its own bilinear form, and each reads its own linear function of the mean.
#
# :::
#
# (The cell above asserts it: the same answer from the same weights.)
#
# What does it cost?
# A pair of a query and a token takes $d$ multiplications for the score and $d$ for the mean, in each head.
# With the query turned both are taken in the latent space, which is larger than a head:

# %%
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
assert turned / plain == 4.25 and round(turned / computed, 1) == 3.4

# %% [markdown]
# So turned queries cost 1,088 multiplications a pair instead of 256, or of 320 with keys that are computed from $c$.
# For one new token that is a bargain nevertheless, since computing the keys of the whole text again would be 131,072 for each of its tokens.
# And generation waits for memory, not for arithmetic: MHA in 16 bits does one operation for each byte of the cache that it reads, this does 242.
# For a prompt or for training, with hundreds of queries at once, the keys are computed.
# (Turning a query by $W_K$, and the mean by $W_V$, is as much work as computing the key and the value of one token, and is done once a query.)
#
# (emergence)=
# ## Is it emergence?
#
# Abilities that small models lack and large ones have, with a sudden beginning that nobody predicted, have been called **emergent** {cite}`wei2022emergent`.
# Schaeffer and others answered that the suddenness is often made by the *metric* {cite}`schaeffer2023`.
# If one counts only answers that are right in every token, a smooth rise in the probability of each token looks like a jump.
#
# Here are both.
# Count whole stories: of 200 that a model tells at temperature 1, how many are stories of the grammar, with not one word wrong?
# Such a story has a thousand characters, and a small excess is enough to lose it.
# How much is enough can be bounded: the probability $m$ that a model puts on all stories of the grammar together is at least $e^{-K}$, with $K$ the excess of a whole story.
# (Merge all true stories into one event. True stories have it with probability 1, the model with $m$, so merged the KL divergence is $-\ln m$, and merging can only lower it.)

# %%
length = characters / len(stories)
print("weights   tokens   excess   e^-K   whole stories of 200")
for run in sorted((r for r in runs if "T1.0" in r), key=lambda r: -r["excess"]):
    bound, share = math.exp(-length * run["excess"]), run["T1.0"]["grammar"]
    if run["excess"] < 0.03:
        print(f"{run['model']:7} {run['millions']:6} M {run['excess']:8.4f} {bound:6.2f} "
              f"{share:12.2f}")
    assert share >= bound - 3 * math.sqrt(bound * (1 - bound) / 200)

# %% [markdown]
# The first row is a run before its step, all others have stepped.
# Before it a whole story is out of reach, whatever else is right: about five names are said again, each with $p$ near $1/98$, and $98^{-5}$ is one in nine billion.
# So where this column leaves 0 is the step once more.
# After it the share rises from 0.09 to 0.69 while nothing but a smooth fall of the excess goes on, from 0.007 to 0.001: that part of the rise is made by the metric, and for it Schaeffer's objection holds.
# (The bound is far below the shares: for most of these runs $\ln$ of the share is about a third of $-K$. The other two thirds of the excess are wrong probabilities among stories that are possible. For eight of the runs it says next to nothing.)
#
# The objection does not hold for the step.
# The probability of a name is a smooth measure, and so is the loss, in which the step stands as well.
# Both are taken from the model's probabilities, with no threshold anywhere.
# And a measurement inside small models, with another text, showed what changes in such a step: a head whose weight was spread over dozens of keys has it on three, at one kind of place.
# What can *not* be said: that abilities of large models are of this kind.
# It is one ability, on synthetic texts, along the tokens of training rather than along sizes; that it is fast does not make it discontinuous: the small models, looked at every ten steps, pass 0.10, 0.25, 0.49, 0.70.
# And its height can be counted from the text without any model; that there would be a step, and when, was not predicted.
#
# :::{why-it-works}
#
# Shown: the step's height is the rate of names said again times $\ln 98$, as measured from two seeds three quarters of that, and in another language it stands at its own height.
# On the shelf a name that was said has about the probability of one that was not; a mean over the names said would take two thirds of the step, and six sevenths if it is told that no new name is due.
# In the small models the names of the text gain next to nothing before the step; with it one head of the first layer goes from dozens of keys to three where a name is due (in one seed others narrow, too), and the loss begins to depend on tokens that are far.
# The irreducible loss of a fit is below the entropy in all five sets of runs.
# The probability that a model puts on all stories together is at least $e^{-K}$.
#
# :::
#
# :::{why-it-might}
#
# Why is the step sudden, and why does it wait?
# A query that asks for a role is of no use until keys carry roles, and a value that carries the name is of no use until it is weighted; each is rewarded only when the others are there.
# That is the usual story, and there are experiments on small models in its favor {cite}`singh2024`.
# Nothing on this page tests it.
# If it is so, whatever shortens the wait acts on one of the parts.
# Chapter 08's tenfold weight on such targets may do that by making the first weak signal larger.
#
# :::
#
# ## What to take along
#
# - Count what a model does not use yet: that is how high a step can be. Its date is another matter, and depends on the seed.
# - Smoothing before looking up is what one head's weights do, and not what the model says: before the step it hardly uses the names that were said.
# - A fit can be off by a third of a per cent and promise a loss below the entropy.
# - Weights, gradients and Adam's means are 16 bytes a weight; activations grow with the tokens of a step; one token at a time waits for memory.
#
# **Exercises.** [The sheet of this chapter](../exercises/13_scale.ipynb): the height of a step, paired stories, a fit that no model can reach, a roofline, a bill of bytes, a mean of means, and a lookup among experts.
#
# **Further reading.** {cite}`hoffmann2022` and {cite}`besiroglu2024` together, {cite}`olsson2022` for the step in large models, {cite}`schaeffer2023` against taking a metric for a change, {cite}`zhao2023` for sharding, {cite}`fedus2022` for experts.
