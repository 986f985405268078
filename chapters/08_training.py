# %% [markdown]
# # Training
#
# Nine lines train a language model.

# %%
import torch

from course.data import tales
from tinyllm.batches import batch
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config

text = tales(600_000, seed=0)
number = {character: i for i, character in enumerate(sorted(set(text)))}
ids = torch.tensor([number[character] for character in text])  # (N,)
TINY = Config(len(number), block_size=64, n_layer=2, n_head=2, d_model=64)


def nine_lines(lr, Optimizer=torch.optim.SGD):
    model, generator = GPT(TINY), torch.Generator().manual_seed(0)
    optimizer = Optimizer(model.parameters(), lr=lr)
    for _ in range(40):
        x, y = batch(ids, 8, TINY.block_size, generator)
        loss = cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
    return model, loss.item()


# %% [markdown]
# The one thing to choose is the learning rate.
# One that is too small makes it slow.
# Before you look: what does one that is too large make it?

# %%
for lr in (0.01, 0.1, 1, 10):
    torch.manual_seed(0)
    print(f"learning rate {lr}: loss {nine_lines(lr)[1]:.1f}")

# %% [markdown]
# A shrug costs $\ln 62 = 4.1$ nats per character, so three of the models have learned something.
# The fourth was beyond help after a few steps.
# It went on to the end all the same, without an error, without a warning.
# Over 40 steps one smiles at that; over a million it is a week.
#
# And suppose that 0.1 had been the right choice.
# How sure is the loss of the last batch?
# What would be left if the machine had been switched off at step 39?
#
# :::{admonition} You will be able to
# :class: tip
# - write the optimizer that trains nearly every language model, and take the same hundred steps as PyTorch's;
# - stop a run at any moment and go on as if nothing had happened, to the last bit;
# - say how far a model is from the best there can be, how sure that is, and what a trick is worth.
#
# Reading: 45 minutes. Running: four to six minutes on two cores, nine on a single one without [units for 16 bits](#sixteen-bits); most of it in one section that trains the book's own model while you watch.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the way back marked as this chapter's: from the loss into every matrix of the model"
from course.figures import machine_map

machine_map(here="training")

# %% [markdown]
# Chapter 02 brought the loss, the batches and the floor that no model can pass, chapter 07 the model.
# What is new here all lives in `tinyllm.training`.

# %%
import json
import math
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.figures import COLORS, figure, loss_plot
from tinyllm.attention import attention, causal_mask

# %% [markdown]
# (one-rate-for-all)=
# ## One rate for all
#
# Why does hardly any rate suit the model?
# Here are the gradients which that one number has to serve, each as the typical size of its entries.

# %%
torch.manual_seed(0)
model, _ = nine_lines(0.01)
for name in ("norm", "head", "token", "blocks.0.attention.qkv"):
    gradient = model.get_parameter(f"{name}.weight").grad
    print(f"{name:24}{gradient.square().mean().sqrt():.1g}")

# %% [markdown]
# Between the first and the last lies a factor of several thousand.
# A rate that moves the queries and keys at all throws the norms about.
#
# So let every weight have its own rate: divide its gradient by the size that it usually has.
# *Adam* keeps two running means for each weight, of the gradient $g$ and of its square {cite}`kingma2015`,
#
# $$ m \leftarrow \beta_1 m + (1 - \beta_1)\, g , \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2 , $$
#
# and since both start at 0, after $t$ steps the gradients in them have weights that sum to $1 - \beta^t$ only: divide by that, and they are means.
# The step, with the learning rate $\eta$, is
#
# $$ \theta \leftarrow \theta - \eta \lambda\, \theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon} , \qquad
# \hat m = \frac{m}{1 - \beta_1^t} , \quad \hat v = \frac{v}{1 - \beta_2^t} . $$
#
# The middle term, *weight decay*, pulls every weight a little toward 0.
# It stands outside of the fraction on purpose, and that is the W in *AdamW*: inside, as a part of $g$, it would be divided by $\sqrt{\hat v}$ as well, and the weights with large gradients would hardly feel it {cite}`loshchilov2019`.

# %% tags=["quote"]
from tinyllm.training import AdamW

# %% [markdown]
# Three weights, two steps, by hand.
# The first weight has the gradient 1000 twice, the second 1 twice, the third 1 and then −1.
# At step 1, $\hat m / \sqrt{\hat v} = g / |g|$, and all three move by exactly $\eta = 0.1$.
# At step 2 nothing changes for the first two.
# For the third, $m = 0.9 \cdot 0.1 - 0.1 = -0.01$, hence $\hat m = -0.01 / 0.19 = -0.053$: it goes back by a twentieth of a step.

# %%
weights = nn.Parameter(torch.zeros(3))
optimizer = AdamW([weights], lr=0.1, weight_decay=0.0)
for gradient in ([1000.0, 1.0, 1.0], [1000.0, 1.0, -1.0]):
    weights.grad = torch.tensor(gradient)
    optimizer.step()
    print([f"{weight:.3f}" for weight in weights.tolist()])

# %% [markdown]
# How long a gradient is does not matter; whether it means what it says does.
# A weight whose gradients agree goes at full speed, one whose gradients keep changing their sign stays where it is.
#
# The mean with the hat is an old acquaintance.
#
# :::{two-views}
#
# - **As a lookup.** The steps so far are keys, their gradients are values, and the query is always *now*.
#   The score of a step is its number times $\ln(1/\beta)$: the later, the better the match.
# - **As a smoother.** $\hat m$ is a mean of the gradients with a one-sided exponential kernel of bandwidth $h = -1 / \ln \beta$ steps.
#   The hat is what chapter 05 always did: divide by the sum of the weights.
#
# At $\beta_1 = 0.9$ the bandwidth is 9.5 steps, at $\beta_2 = 0.99$ a hundred.
#
# :::

# %%
gradients = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).double()
m, means = torch.zeros(5).double(), []
for t, g in enumerate(gradients, start=1):
    m = 0.9 * m + 0.1 * g
    means.append(m / (1 - 0.9**t))
now, steps = torch.ones(30, 1).double(), torch.arange(30.0).double()[:, None]
lookup = attention(now, -math.log(0.9) * steps, gradients, causal_mask(30), scale=1)
kernel = torch.exp((steps - steps.T) * math.log(0.9)).tril()  # e^(-(t - s) / h)
smoother = kernel @ gradients / kernel.sum(-1, keepdim=True)
assert torch.allclose(torch.stack(means), lookup, rtol=0, atol=1e-12)
assert torch.allclose(lookup, smoother, rtol=0, atol=1e-12)
"Adam's mean is one causal attention head over the gradients so far"

# %% [markdown]
# Is it the optimizer that everybody else uses?
# A hundred steps of a whole model, weight decay included, in double precision:

# %%
def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def after_100_steps(Optimizer):
    torch.manual_seed(0)
    model, generator = GPT(TINY).double(), torch.Generator().manual_seed(0)
    options = dict(lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1)
    optimizer = Optimizer(model.parameters(), **options)
    for _ in range(100):
        x, y = batch(ids, 2, 16, generator)
        model.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return weights_of(model)


ours, theirs = after_100_steps(AdamW), after_100_steps(torch.optim.AdamW)
assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
f"{len(ours):,} weights, equal after 100 steps"

# %% [markdown]
# And the nine lines, with its help:

# %%
for lr in (0.001, 0.003, 0.03, 0.3):
    torch.manual_seed(0)
    print(f"learning rate {lr}: loss {nine_lines(lr, AdamW)[1]:.1f}")
torch.manual_seed(0)
assert 100 < nine_lines(10, AdamW)[1] < math.inf

# %% [markdown]
# The best is better, and the rates with which the model learns now span a factor of some hundreds.
# At 10 it does not learn, but the loss stays a number: no weight moves much further than $\eta$ in a step.
#
# (up-along-down)=
# ## Up, along, down
#
# A rate need not stay what it is.
# Nearly all recipes begin below the highest rate and end far below it.
#
# *Up:* in the first steps $\hat v$ is a mean of a few gradients from a model that is about to change a lot.
# What a slow start buys, according to those who looked closely, is that a higher rate can be borne later {cite}`kalra2024`.
#
# *Down:* a batch is a sample, so its gradient is wrong, and a step of constant length never arrives: it jumps about the goal, at a distance that shrinks with the rate (the exercises ask how far).
#
# *Along:* for how long in between?
# A cosine spends no time at the top and has to know the last step before it takes the first.
# Staying up and coming down late, in a straight line, does about as well in larger models, and lets one decide later when to stop {cite}`hagele2024`.

# %% tags=["quote"]
from tinyllm.training import learning_rate

# %% [markdown]
# By hand: ten steps to a peak of 8, four up and four down.
# Going up the rate is $8 \cdot \tfrac15, 8 \cdot \tfrac25, \dots$, going down $8 \cdot \tfrac44, 8 \cdot \tfrac34, \dots$, and the zero at the end would be step 10, which does not take place.

# %% alt="Two learning rates over 640 steps: both rise within the first thirteen, a cosine then falls from the peak at once, the other stays at the peak until step 192 and falls in a straight line"
up_along_down = dict(n_warmup=4, n_decay=4, shape="linear")
ten = [learning_rate(step, 10, peak=8.0, **up_along_down) for step in range(10)]
assert ten == [1.6, 3.2, 4.8, 6.4, 8, 8, 8, 6, 4, 2]

fig, ax = figure(height=2.8)
shapes = {
    "cosine": dict(shape="cosine"),
    "up, along, down": dict(n_decay=448, shape="linear"),
}
for name, shape in shapes.items():
    rates = [learning_rate(step, 640, n_warmup=12, **shape) for step in range(641)]
    ax.plot(rates, label=f"{name}: mean {sum(rates) / 640:.2f}")
    assert max(rates) == rates[12] == 1 and rates[640] == 0
    assert abs(sum(rates) / 640 - {"cosine": 0.5, "up, along, down": 0.64}[name]) < 0.02
ax.set(xlabel="step", ylabel="share of the highest rate", ylim=(0, 1.05),
       title="Up, along, down spends more of its steps near the top")
ax.legend()
fig

# %% [markdown]
# Which one is better for us is a question for a measurement with seeds; it comes [below](#two-changes).
#
# (clipping)=
# ## A batch unlike the others
#
# Somewhere in a real corpus there is a page of line noise.
# What does it do to a model that has just begun to learn?

# %%
torch.manual_seed(0)
model, _ = nine_lines(0.01, AdamW)
generator = torch.Generator().manual_seed(1)
noise = torch.randint(TINY.vocab_size, (10_000,), generator=generator)
norms = {}
for name, corpus in (("a story", ids), ("noise", noise)):
    x, y = batch(corpus, 8, TINY.block_size, generator)
    model.zero_grad()
    cross_entropy(model(x), y).backward()
    norms[name] = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
assert norms["noise"] > 3 * norms["a story"]
"the gradient of the noise is more than three times as long"

# %% [markdown]
# One such batch undoes many good ones.
# The cure comes from recurrent networks: if the gradient is longer than some length, shorten it to that {cite}`pascanu2013`.
# Its direction stays, and so do the proportions between the weights.

# %% tags=["quote"]
from tinyllm.training import clip_grad_norm

# %% [markdown]
# By hand: the gradients 3 and 4 of two weights are together 5 long; shortened to 1 they are 0.6 and 0.8.

# %%
pair = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
pair[0].grad, pair[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
length = clip_grad_norm(pair, max_norm=1.0)
length, [f"{p.grad.item():.3f}" for p in pair]

# %% [markdown]
# (sixteen-bits)=
# ## Sixteen bits
#
# Many processors multiply matrices of 16-bit numbers at a multiple of the speed.
# In the format `bfloat16` such a number has the range of a 32-bit one, but only 8 binary digits: what follows 1 is $1 + 2^{-7} = 1.0078$.
# Add a thousandth to 1, a thousand times:

# %%
for dtype in (torch.float32, torch.bfloat16):
    weight = torch.ones((), dtype=dtype)
    for _ in range(1000):
        weight += 0.001
    print(f"{str(dtype):16}{weight:.3f}")

# %% [markdown]
# A learning rate of a thousandth is usual, so a weight in 16 bits would stand still.
# The way out is to be **mixed**: weights, their means and the loss keep 32 bits, and only the matrix products inside of the model get 16 {cite}`micikevicius2018`.
#
# The same function takes care of a second need.
# A batch may be too large for the memory; but the loss of a batch is a mean over its rows, and the gradient of a mean is the mean of the gradients.
# So the batch can be cut into parts, and the gradients added up before the step.

# %% tags=["quote"]
from tinyllm.training import add_gradient

# %% [markdown]
# Cut in two, four or eight, the gradient should be the same.
# In 16 bits it cannot be; what would be bad?
# There is a natural yardstick: how much the gradient differs from that of the next batch, which would have been as good.

# %%
def gradient(x, y, **options):
    model.zero_grad()
    add_gradient(model, x, y, **options)
    assert all(p.grad.dtype == p.dtype == torch.float32 for p in model.parameters())
    return torch.cat([p.grad.flatten() for p in model.parameters()])


generator = torch.Generator().manual_seed(2)
(x, y), another = (batch(ids, 8, TINY.block_size, generator) for _ in range(2))
whole = gradient(x, y)
for n_parts in (2, 4, 8):
    assert torch.allclose(gradient(x, y, n_parts=n_parts), whole, rtol=0, atol=1e-6)
rounding = (gradient(x, y, bf16=True) - whole).norm() / whole.norm()
chance = (gradient(*another) - whole).norm() / whole.norm()
assert 0 < 10 * rounding < chance
"parts: equal; 16 bits: off by less than a tenth of what the next batch is"

# %% [markdown]
# Rounding is one more source of noise, and by far the smaller one.
# Where a processor has no such units, `tinyllm.training.has_bf16` says so, and everything stays at 32.
#
# (how-sure)=
# ## How sure is a loss?
#
# The loss of the last batch, which the nine lines returned, is the loss of 512 characters.
# A better estimate is the mean over a text that is held out; it still is an estimate, and one can say how good.
# Cut the text into blocks: if their losses scatter with standard deviation $s$, the mean of $n$ blocks has the standard error $s / \sqrt n$.

# %% tags=["quote"]
from tinyllm.training import evaluate

# %% [markdown]
# The formula takes blocks for independent, and neighboring blocks come from the same story.
# Does that spoil it?
# Evaluate the same model on 40 different texts and compare: what it says of its error, and how far the 40 results really scatter.

# %%
new_text = torch.tensor([number[character] for character in tales(120_000, seed=1)])
texts = new_text[:120_000].split(3_000)
results = torch.tensor([evaluate(model, part, TINY.block_size) for part in texts])
claimed, found = results[:, 1].mean(), results[:, 0].std()
assert 0.6 < found / claimed < 1.7
print(f"claimed {claimed:.2f}, found {found:.2f}")

# %% [markdown]
# So after 3,000 characters the second decimal of a loss is noise, and to see a difference of 0.01 between two models on different texts takes about thirty times as many.
# On *the same* text their errors are largely the same and cancel: that is one of the exercises.
#
# (plug)=
# ## Pull the plug
#
# Everything that the next step depends on has to be on the disk: the weights, the optimizer's means, the step, the place in the random order of the data.
# And it has to be there *whole*.
# A file that is being written when the power fails is half a file, and it has replaced the good one.
# So write to another name, make sure that the bytes have arrived, and only then rename: on all common systems a renaming happens or it does not.

# %%
import os

from tinyllm.training import checkpoints, random_state, training_state

# %% tags=["quote"]
from tinyllm.model import write

# %% tags=["quote"]
from tinyllm.training import save_checkpoint

# %% [markdown]
# The format is safetensors, numbers and nothing else: opening somebody's checkpoint must not run somebody's code, as unpickling does.
# `load_checkpoint` reads it back, checks every name and shape before it changes anything, and says what is wrong with a damaged file.
#
# Now the test.
# One run goes straight through 60 steps.
# Another is stopped after 40, its model is thrown away, and a third one, with other weights to begin with, goes on from the file.

# %%
from tinyllm.training import Recipe, load_checkpoint, make_optimizers, train

RECIPE_60 = Recipe(n_steps=60, batch_size=8, every=20, keep=2)


def new_model(seed):
    torch.manual_seed(seed)
    return GPT(TINY)


straight, stopped, resumed = new_model(0), new_model(0), new_model(1)
records = list(train(straight, ids, RECIPE_60))

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name, "run")
run = train(stopped, ids, RECIPE_60, folder=folder)
at_40 = [next(run), next(run)][-1]["step"]
run.close()  # the plug
list(train(resumed, ids, RECIPE_60, folder=folder, resume=True))
assert at_40 == 40 and torch.equal(weights_of(resumed), weights_of(straight))
[path.name for path in checkpoints(folder)]

# %% [markdown]
# `torch.equal` has no tolerance.
# Every bit of every weight is the same, and of the three checkpoints the newest two were kept.
# (The tests of this book do it the hard way: they kill a process with a signal that cannot be caught, at a moment that nobody chose, and compare again.)
#
# What if something is forgotten?
# Take the last 20 steps again from the checkpoint at 40, forget one thing each time, and measure how far from the right weights the run ends, as a share of the way from step 40 to step 60.

# %%
def last_20_steps(forget=None):
    model, generator = new_model(1), torch.Generator()
    optimizers = make_optimizers(model, RECIPE_60)
    at_40 = checkpoints(folder)[0]
    done, _ = load_checkpoint(at_40, model, optimizers, generator)
    before = weights_of(model)
    if forget == "the optimizers' means":
        optimizers = make_optimizers(model, RECIPE_60)
    if forget == "the place in the data":
        generator.manual_seed(RECIPE_60.seed)
    if forget == "how many steps are done":
        done = 0
    for step in range(done, done + 20):
        x, y = batch(ids, RECIPE_60.batch_size, TINY.block_size, generator)
        train_step(model, optimizers, x, y, step, RECIPE_60)
    right = weights_of(straight)
    return float((weights_of(model) - right).norm() / (right - before).norm())


# %% [markdown]
# The step it calls is the heart of the trainer: gradient, clipping, a look at whether all is well, and the optimizers at the rate that is due.

# %%
from tinyllm.training import has_bf16

# %% tags=["quote"]
from tinyllm.training import train_step

# %%
assert last_20_steps() == 0
for forget in ("the place in the data", "the optimizers' means", "how many steps are done"):
    print(f"{forget:26}{last_20_steps(forget):.1f}")

# %% [markdown]
# None of the three raises an error, and none of the runs looks sick.
# They are other runs, that is all, and whoever compares two models has to know whether they are.
#
# (one-bit)=
# ## One bit
#
# Back to the run that was `nan` and went on.
# `train_step` does not: it looks at loss and gradient *before* any weight changes, and stops.
#
# Make it happen.
# The gains of a norm are near 1, and a 32-bit 1.0 is `0 01111111 000…`.
# Flip the second bit, as a failing memory chip would, and the exponent is all ones: infinity, or not a number.

# %%
victim, folder = new_model(0), Path(scratch.name, "victim")
run = train(victim, ids, RECIPE_60, folder=folder)
next(run)
gain = victim.blocks[0].norm_1.weight.detach()
gain.view(torch.int32)[5] ^= 1 << 30
try:
    next(run)
except FloatingPointError as stop:
    print(stop)

# %% [markdown]
# It says where, and the files on the disk know nothing of it.
# So put the chip back, and go on from the last good checkpoint:

# %%
healed = new_model(1)
list(train(healed, ids, RECIPE_60, folder=folder, resume=True))
assert torch.equal(weights_of(healed), weights_of(straight))
"as if nothing had happened"

# %% [markdown]
# ## The command
#
# What is left of the loop, `train`, is bookkeeping: take a batch, take a step, now and then evaluate, write a line to a log and a checkpoint to the disk.
# In a terminal it draws a bar with the loss, its distance to the floor if there is a known one, tokens per second and the time that is left; in a notebook it keeps quiet.
# It is also a command, for any text file.
# Start it, and kill it as soon as it has reported its first 20 steps:

# %%
home = Path(scratch.name)
(home / "tales.txt").write_text(text[:60_000])
model_config = dict(vocab_size=300, block_size=32, n_layer=1, n_head=2, d_model=32)
training = dict(n_steps=100, batch_size=4, every=20)
(home / "tiny.json").write_text(json.dumps({"model": model_config, "training": training}))
options = "--data tales.txt --config tiny.json --out tiny"
command = [sys.executable, "-m", "tinyllm.train", *options.split()]

process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True)
first = json.loads(process.stdout.readline())
process.kill()
process.communicate()
first["step"], list(first)

# %% [markdown]
# Then the same command again, with one word more.

# %%
again = subprocess.run([*command, "--resume"], cwd=home, capture_output=True, text=True)
assert again.returncode == 0, again.stderr
log = [json.loads(line) for line in (home / "tiny" / "log.jsonl").open()]
assert log[-1]["validation"] < log[0]["validation"]
print("python -m tinyllm.train", options, "--resume")
[record["step"] for record in log], sorted(p.name for p in (home / "tiny").iterdir())

# %% [markdown]
# Each step is in the log once, whichever process took it.
# A text may come from a pipe as well, and under `torchrun` several processes share every batch:
#
# ```
# python -m course data tales --size 1000000 | python -m tinyllm.train --data - --config tiny.json --out run
# torchrun --standalone --nproc_per_node 2 -m tinyllm.train --data tales.txt --config tiny.json --out run
# ```
#
# (muon)=
# ## Better steps for matrices
#
# AdamW looks at each weight alone.
# But the weights of a matrix work together: what counts is what $W$ does to a vector, and along which directions.
# Look at the gradient of a matrix that way, by its singular values.

# %%
model = resumed
x, y = batch(ids, 8, TINY.block_size, torch.Generator().manual_seed(3))
model.zero_grad()
cross_entropy(model(x), y).backward()
G = model.blocks[0].attention.qkv.weight.grad  # (3C, C)
sizes = torch.linalg.svdvals(G)[:-1]
energy = sizes.square().cumsum(0) / sizes.square().sum()
n_directions = int((energy < 0.9).sum()) + 1
assert n_directions <= 10 and sizes[0] > 50 * sizes[-1]
f"of {len(G.T)} directions, at most 10 hold nine tenths of the gradient"

# %% [markdown]
# (The last value is left out because it is zero: what a LayerNorm hands on has mean 0, so one direction never occurs.)
# A step along this gradient turns the matrix in a few directions and leaves the others nearly alone.
# *Muon* lets every direction count alike {cite}`jordan2024`: it replaces $G = U S V^{\mathsf T}$ by $U V^{\mathsf T}$.
# A singular value decomposition at every step would take too long; a polynomial comes close.
# For any odd polynomial, $p(s) = a s + b s^3 + c s^5$,
#
# $$ a X + b\, (X X^{\mathsf T}) X + c\, (X X^{\mathsf T})^2 X = U\, p(S)\, V^{\mathsf T} , $$
#
# since $X X^{\mathsf T} = U S^2 U^{\mathsf T}$, so a few matrix products apply $p$ to all singular values and touch neither $U$ nor $V$.
# Divide $G$ by its norm, then all of them lie between 0 and 1, and choose $p$ so that it lifts small ones fast.
# One round multiplies $X$ from the left by a small square, $a I + b A + c A^2$ with $A = X X^{\mathsf T}$.
# So the code collects in $P$ what all rounds multiply by, and the large matrix is needed only at the beginning and at the end.

# %% tags=["quote"]
from tinyllm.training import orthogonalize

# %% [markdown]
# By hand, one number: $p(1) = 3.4445 - 4.775 + 2.0315 = 0.701$ and $p(0.1) = 0.340$.
# Four rounds take 0.01 to 0.034, 0.118, 0.400 and 1.093: it does not arrive at 1 exactly, and need not.

# %% alt="Singular values of a gradient on a logarithmic axis, largest first: before they fall by a factor of several hundred, after four rounds most lie between 0.5 and 1.3 and the smallest at 0.1"
s = torch.diag(torch.tensor([0.8, 0.6]))  # its norm is 1
assert torch.allclose(orthogonalize(s, 1).diag(), torch.tensor([0.9765, 1.1933]), atol=1e-4)

fig, ax = figure(height=2.8)
after = torch.linalg.svdvals(orthogonalize(G))[:-1]
ax.semilogy(sizes / sizes.norm(), label="the gradient, divided by its norm")
ax.semilogy(after, label="after four rounds")
assert after[: len(after) // 2].min() > 0.5 and after.max() < 1.3
ax.set(xlabel="direction, the largest first", ylabel="singular value",
       title="Four rounds bring most directions near 1")
ax.legend()
fig

# %% [markdown]
# The rest is a running mean and weight decay, as before, and a factor for matrices that are taller than wide.
# Its weight decay is off unless a recipe asks for it.

# %% tags=["quote"]
from tinyllm.training import Muon

# %% [markdown]
# It is for matrices that map vectors to vectors, those inside of the blocks.
# The rows of an embedding are a table of vectors, one for each token, and there AdamW stays; so it does for the head and the norms.
#
# (two-changes)=
# ## Two changes, three seeds
#
# Two claims are open: Muon against AdamW, and up-along-down against the cosine.
# Both are cheap to test.
# The same small model, the same 120 steps, three seeds; a seed sets the first weights and the order of the data, so each change is tried on the same three beginnings.
# AdamW gets two rates to choose from.

# %%
held_out = new_text[:30_000]


def trained(seed, **change):
    """Held-out loss of a small model after 120 steps."""
    recipe = Recipe(n_steps=120, batch_size=8, every=120, seed=seed, **change)
    model = new_model(seed)
    list(train(model, ids, recipe))
    return evaluate(model, held_out, TINY.block_size)[0]


changes = {
    "Muon; up, along, down": {},
    "Muon; cosine": dict(shape="cosine", decay=0.98),
    "AdamW at 0.003": dict(optimizer="adamw", lr=0.003),
    "AdamW at 0.01": dict(optimizer="adamw", lr=0.01),
}
losses = torch.tensor([[trained(seed, **changes[c]) for seed in range(3)] for c in changes])

# %% [markdown]
# A line joins the runs that began alike.

# %% alt="Held-out losses of four recipes with three seeds each, joined by lines: Muon with up, along, down is lowest with every seed, its cosine a little higher, AdamW at both rates clearly higher"
fig, ax = figure(height=2.6)
for seed, line in enumerate(losses.T):
    ax.plot(line, range(4), "o-", color=COLORS["CYCLE"][seed], alpha=0.7, linewidth=1)
ax.set_yticks(range(4), changes, color=COLORS["INK"])
ax.set(xlabel="held-out loss after 120 steps (nats per character)", ylim=(3.5, -0.5))
fig.suptitle("Both changes help, with every seed", x=0.012, ha="left")
muon, cosine, *adamw = losses
assert (muon < cosine).all() and (muon < torch.stack(adamw).min(0).values).all()
fig

# %% [markdown]
# The seeds differ by as much as the two schedules do, so of two runs with different seeds one would learn next to nothing about the schedules.
# Along the lines, where the beginning is shared, the difference is plain.
#
# A caution: a run of 120 steps is all beginning, and the longer the rate stays up, the better.
# With `decay=0.0`, no way down at all, it does better still.
# Over a longer run that reverses; the [table at the end](#one-change-at-a-time) has it.
#
# (live)=
# ## Taleteller, live
#
# Now the real thing.
# [Chapter 00](00_the_whole_machine.ipynb) opened with a model called Taleteller.
# Here is its configuration, with fresh weights, and a recipe made of what stands above, for as many steps as fit into a few minutes.

# %%
from course.taleteller import held_out as new_stories
from course.taleteller import story_loss
from tinyllm.generation import generate
from tinyllm.model import load, load_tokenizer, n_parameters

taleteller, tokenizer = load("taleteller"), load_tokenizer("taleteller")
torch.manual_seed(0)
model = GPT(taleteller.config)
recipe = Recipe(n_steps=640, batch_size=5, bf16=True, every=40)

corpus = tales(12_000_000, seed=0)
story_ids = torch.tensor(tokenizer.encode(corpus))
characters_per_token = len(corpus) / len(story_ids)
reads = recipe.n_steps * recipe.batch_size * model.config.block_size
print(f"{n_parameters(model.config):,} parameters")
print(f"{len(story_ids) / 1e6:.1f} million tokens")
print(f"{recipe.n_steps} steps read {reads / 1e6:.1f} million")

# %% [markdown]
# So more than four fifths of what it reads, it reads for the first time.
# That has a pleasant consequence: the training loss is nearly a held-out loss.
#
# At five moments we stop it and ask for a story, with the same random numbers each time, and look into its heads on one text (what for, we will see).

# %%
def heads_of(model, ids):
    """Queries and keys of all layers and heads, (n_layer, n_head, T, d_head) each."""
    x, found = model.token(ids) + model.position.weight[: len(ids)], []
    for block in model.blocks:
        qkv = block.attention.qkv(block.norm_1(x))  # (T, 3C)
        q, k, _ = qkv.unflatten(-1, (3, model.config.n_head, -1)).transpose(0, 2).unbind(1)
        found.append(torch.stack([q, k]))  # (2, n_head, T, d_head)
        x = block(x)
    return torch.stack(found, dim=1)


# %% [markdown]
# `train` is a generator: it trains for as long as somebody asks for its next record.

# %%
seen = torch.tensor(tokenizer.encode("\n\n" + new_stories(1)[0]))[: model.config.block_size]
records, samples, heads = [], {}, {}


def tell(model):
    start, generator = tokenizer.encode("\n\n"), torch.Generator().manual_seed(0)
    told = generate(model, start, 64, temperature=0.8, generator=generator).tolist()
    return tokenizer.decode(told).strip().replace("\n", "⏎")


@torch.no_grad()
def train_until(step):
    with torch.enable_grad():
        records.extend(islice(run, step // recipe.every - len(records)))
    samples[step], heads[step] = tell(model), heads_of(model, seen)
    return records[-1]["loss"] / characters_per_token if records else None


run = train(model, story_ids, recipe)
train_until(0)

# %% [markdown]
# Chapter 02 left a ladder to climb: three, five, six and eight letters of memory, from counting a megabyte of the same tales.

# %%
import numpy as np

from course.data.tales import floor, judge, parse
from tinyllm.counting import NGram


def to_bytes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


best = floor().nats_per_character
letters = to_bytes(corpus[:1_000_000])
counting = {n: NGram(letters, n, 256, kneser_ney=True) for n in (3, 5, 6, 8)}
new_bytes = to_bytes(tales(200_000, seed=1))
counted = {n: -model_n.log_prob(new_bytes).mean() for n, model_n in counting.items()}
print(", ".join(f"{n}-gram {nats:.2f}" for n, nats in counted.items()), f"floor {best:.3f}")

# %% [markdown]
# Start, with a sixteenth of the steps.

# %%
assert counted[5] < train_until(40) < math.log(2048) / characters_per_token
"below the shrug, still above the 5-gram"

# %% [markdown]
# To a quarter.

# %%
assert counted[6] < train_until(160) < counted[3]
"past the trigram"

# %% [markdown]
# Most of the way.

# %%
assert train_until(400) < counted[6]
"past the 6-gram"

# %% [markdown]
# (Chapter 02 set up the 6-gram as a mark on another text, the plays, which are a megabyte and no more; `bench/time_to_loss.py` runs that race.)
# And the last stretch, on which the rate goes down to zero.

# %%
assert best < train_until(640) < counted[8]
"past the 8-gram"

# %% [markdown]
# The whole run, one point for each 40 steps:

# %% alt="Training loss in nats per character over 640 steps, falling from above two past the lines of the 3-, 5-, 6- and 8-gram toward the floor, which it does not reach"
steps = np.array([record["step"] for record in records])
nats = np.array([record["loss"] for record in records]) / characters_per_token
assert nats.min() > best and (np.diff(nats) < 0.03).all()
fig = loss_plot({"Taleteller, live": (steps, nats)}, floor=best, floor_label="the dice",
                title="Past all that counting can do, not yet at the floor")
ax = fig.axes[0]
ax.grid(False)
for n, level in counted.items():
    ax.axhline(level, color=COLORS["LINE"], linewidth=1, zorder=0)
    ax.annotate(f"{n}-gram", (640, level), (0, 3), textcoords="offset points", ha="right",
                size=10, color=COLORS["QUIET"])
ax.set(xlim=(0, 645), ylim=(0, 1.95))
fig

# %% [markdown]
# What does that look like in words?
# Each of these begins with the same random numbers, and the last comes from the committed model.
# (They depend on the last bits of the processor's arithmetic; yours will differ.)

# %% tags=["nbval-ignore-output"]
samples["all"] = tell(taleteller)
for step, sample in samples.items():
    print(f"--- after {step} steps\n{textwrap.fill(sample[:240], 84)}")

# %% [markdown]
# Noise, bits of words, words, phrases.
# After four minutes the sentences begin as sentences of the tales do, and forget on their way what they were about; after thirty they are a story.
#
# How good is it now?
# `evaluate` scores blocks that begin anywhere; the floor is for somebody who reads each story from its first word.
# So score whole held-out stories in the same way, and next to it the committed Taleteller, which has read ten times as much, in short blocks first and long ones later, and with a help of which [a section below](#lookups) tells.

# %%
stories = new_stories(60)
result = {"live": story_loss(model, tokenizer, stories)}
result["committed"] = story_loss(taleteller, tokenizer, stories)
gap = counted[3] - best
closed = {name: (counted[3] - nats) / gap for name, (nats, _) in result.items()}
assert best < result["committed"][0] < result["live"][0] < counted[8]
assert closed["committed"] > 0.95 and closed["live"] > 0.8
nats, error = result["committed"]
print(f"Taleteller: {nats:.2f} ± {error:.3f} nats per character, the dice {best:.2f}")
"of the way from the trigram to the floor: live over 80 %, committed over 95 %"

# %% [markdown]
# That is the band in which this configuration lands: within the last fifth of the way after some minutes, within the last twentieth after half an hour.
#
# (promises)=
# ## Names and promises
#
# Chapter 02 ended with a debt: whoever closes the gap to the floor must have kept track of names, things and promises, and we would count them.
# `judge` reads a story with the eyes of its grammar.
# It stops at a sentence that no story could have at that place; where a sentence only has the wrong name, thing or place in it, it notes the slip and reads on.
# Let three models tell stories: the 8-gram, the live model and the committed one.

# %%
def told_by(gpt, n=20):
    start, generator = tokenizer.encode("\n\n"), torch.Generator().manual_seed(1)
    room = gpt.config.block_size - len(start)
    told = generate(gpt, [start] * n, room, generator=generator)
    texts = (tokenizer.decode(ids[len(start) :].tolist()) for ids in told)
    return [text.split("\n\n")[0] for text in texts]


def told_by_counting(n=20, length=300):
    rng = np.random.default_rng(0)
    drawn = (counting[8].sample(length, rng, context=list(b"\n\n")) for _ in range(n))
    return [bytes(d.tolist()).decode().split("\n\n")[0] for d in drawn]


told = {"8-gram": told_by_counting()}
told |= {"live": told_by(model), "committed": told_by(taleteller)}
judged = {name: [judge(story) for story in told[name]] for name in told}

# %% [markdown]
# How far into its story does each get before the first impossible sentence?

# %% alt="For three models the share of twenty stories that are still in order after so many characters, on a logarithmic axis: the 8-gram is lost within a few characters, the live model after some tens, the committed one after some hundreds"
fig, ax = figure(height=2.8)
reached = {name: np.sort([j.reached for j in judged[name]]) for name in told}
for name, far in reached.items():
    ax.step(np.append(1, far + 1), 1 - np.arange(21) / 20, where="post", label=name)
median = {name: np.median(far) for name, far in reached.items()}
assert 3 * median["8-gram"] < median["live"] < median["committed"] / 3
ax.set(xscale="log", xlabel="characters", ylabel="stories still in order", ylim=(0, 1.05),
       title="Each rung of the ladder keeps the thread for much longer")
ax.legend()
fig

# %% [markdown]
# Now the names and promises of the committed model, in the parts of its stories that can be read.
# A name is, for this count, a word with a capital that does not begin a sentence.

# %%
import re

slips = [slip for j in judged["committed"] for slip in j.slips]
read = [story[: j.reached] for j, story in zip(judged["committed"], told["committed"])]
names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", " ".join(read))
both = zip(judged["committed"], told["committed"])
whole = sum(judgement.reached == len(story) for judgement, story in both)
possible = sum(parse(story).log_prob is not None for story in told["committed"])
n_read = sum(map(len, read))
print(f"{n_read} characters read, {len(names)} names in them, {len(slips)} slips")
for had, said in slips[:4]:
    print(f"  the story has {had!r}, the model says {said!r}")
print(f"of 20 stories {whole} can be read to the end, and {possible} are without any fault")
gap = (result["committed"][0] - best) * np.mean([len(story) for story in told["committed"]])
print(f"distance to the dice: {gap:.0f} nats in a story")

# %% [markdown]
# So the debt is paid, and this is the account: the model keeps its thread for some hundred characters, and then a Friday is a Saturday, one dish is another, and once in a while Hugo is George.
# Is that a poor result after more than 95 % of the way?
# A loss is a mean over characters, and a story is right only if all of its thousand characters are.
# Two hundredths of a nat on each make some twenty on the whole, which is room enough for a wrong turn or two.
# "Nearly at the floor" and "hardly ever right to the end" are one model, measured twice.
#
# (lookups)=
# ## Ten times for what can be looked up
#
# How sure is a model of a name that the story has had before?

# %%
from IPython.display import Markdown

from course.taleteller import said_again

texts = [torch.tensor(tokenizer.encode("\n\n" + story)[:384]) for story in stories]
both = {"live": model, "committed": taleteller}
again = {name: said_again(one, tokenizer, texts) for name, one in both.items()}
assert again["live"] < 0.1 and again["committed"] > 0.5
"a name once more: live under 10 %, committed over 50 %"

# %% [markdown]
# A name that comes again is the purest lookup in these tales: it cannot be guessed, there are a hundred of them, and it can be fetched by anybody who looks.
# That is why it is learned late.
# As long as no head looks at names, nothing is gained by a value that spells them; and as long as no value spells them, nothing is gained by looking.
# The two have to begin by chance and at once, and what the few names in a batch say is lost among words that can be had cheaper.
#
# The committed model got help.
# In the first third of its training, a target counted ten times in the gradient if it could be looked up:

# %% tags=["quote"]
from tinyllm.training import can_be_looked_up

# %% [markdown]
# (`add_gradient` took such `counts` all along. The loss that it returns is the plain one.)
# After that everything counted once again, or it would now say names more often than the tales do.
#
# Does it have to be both, rare *and* there before?
# `bench/lookups.py` tries each alone, in a short training on the beginnings of stories; this is what it wrote:

# %%
recorded = Path("../bench/lookups.md").read_text(encoding="utf-8")
Markdown(recorded.replace("# What has to count more", ""))

# %% [markdown]
# Rare words alone are mostly ones that nobody could know, and words that were there before are mostly *the* and *a*.
# Only what is both asks for a lookup and for nothing else.
# (One seed, of which this chapter will warn; but fifty times as much is more than seeds do.)
#
# (sharpening)=
# ## What has happened inside
#
# We kept the queries and keys of all 20 heads at five moments.
# In each head take out the typical lengths, $q = a \hat q$ and $k = b \hat k$; the scores are then $ab\; \hat q \cdot \hat k / \sqrt d$.
#
# :::{two-views}
#
# - **As a lookup.** $T = \sqrt d / ab$ is a temperature: the colder, the more a head insists on the best match.
#   $\sum_j w_j^2$ says how sharp the answer is: the chance that two draws from the weights name the same key, 1 for a `dict`.
# - **As a smoother.** $h = \sqrt T$ is the bandwidth of a Gaussian kernel on $\hat q$ and $\hat k$: the smaller, the more local the mean.
#   $1 / \sum_j w_j^2$ is the number of neighbors in it, as the variance of the mean counts them.
#
# Sharper and narrower are one statement; the cell below asserts it, for every head at every moment.
#
# :::

# %%
from tinyllm.smoothing import nadaraya_watson

mask = causal_mask(len(seen))
v = torch.randn(len(seen), 1000, generator=torch.Generator().manual_seed(0)).double()
temperature, neighbors = [], []
for q, k in heads.values():
    q, k = q.flatten(0, 1).double(), k.flatten(0, 1).double()  # (heads, T, d_head)
    a, b = (z.square().sum(-1).mean(-1).sqrt()[:, None, None] for z in (q, k))
    T = math.sqrt(q.shape[-1]) / (a * b)  # (heads, 1, 1)
    lookup, weights = attention(q / a, k / b / T, v, mask, scale=1, return_weights=True)
    near = ((k / b).square().sum(-1) / (2 * T[..., 0])).exp()  # key weights of chapter 05
    smoother = nadaraya_watson(q / a, k / b, v, T.sqrt(), key_weights=near, mask=mask)
    assert torch.allclose(lookup, smoother, rtol=0, atol=1e-9)
    sharpness = weights.square().sum(-1)  # (heads, T)
    assert ((lookup.var(-1) / sharpness - 1).abs() < 0.3).all()  # of values of variance 1
    temperature.append(T.flatten())
    neighbors.append(1 / sharpness[:, 64:].mean(-1))
temperature, neighbors = torch.stack(temperature), torch.stack(neighbors)  # (moments, heads)

# %% [markdown]
# Twenty heads, five moments; the heads of the first layer are dashed.

# %% alt="Two panels over training steps on logarithmic axes: in the sixteen heads of layers 2 to 5 the temperature falls to a third and the neighbors from about sixty to about four; the four dashed heads of layer 1 get warmer and stay wide"
fig, (left, right) = figure(columns=2, height=3.4)
for ax, values, view in ((left, temperature, "LOOKUP"), (right, neighbors, "SMOOTHER")):
    ax.semilogy(list(heads), values[:, :4], "--", color=COLORS[view], linewidth=1)
    ax.semilogy(list(heads), values[:, 4:], color=COLORS[view], alpha=0.5, linewidth=1)
    ax.set(xlabel="step", xticks=[0, 160, 400, 640])
    ax.minorticks_off()
left.set(ylabel="temperature", yticks=[0.05, 0.1, 0.2], yticklabels=["0.05", "0.1", "0.2"])
right.set(ylabel="neighbors", yticks=[3, 10, 30, 100], yticklabels=[3, 10, 30, 100])
fig.suptitle("Layers 2 to 5 sharpen, the first does not", x=0.012, ha="left")
first, later = slice(0, 4), slice(4, None)
assert (temperature[-1, later] < temperature[0, later] / 1.5).all()
assert (neighbors[-1, later] < neighbors[0, later] / 4).all()
assert temperature[-1, first].median() > temperature[0, first].median()
assert neighbors[-1, first].median() > 3 * neighbors[-1, later].median()
fig

# %% [markdown]
# Nobody set a temperature.
# In four of the five layers training made queries and keys longer, hence the lookups colder and the kernels narrower: from a mean over some sixty neighbors to one over some four.
# The first layer went the other way: its heads are warmer than they began, and take wide means of what has been said so far.
# Is that how it has to be?

# %%
with torch.no_grad():
    q, k = (z.square().sum(-1).mean(-1).sqrt() for z in heads_of(taleteller, seen))
d_head = taleteller.config.d_model // taleteller.config.n_head
committed = math.sqrt(d_head) / (q * k)  # (n_layer, n_head)
assert (committed.flatten() < temperature[0]).all()
"in the committed model all twenty heads are colder than at the start"

# %% [markdown]
# It is not.
# That model had a lower rate, began with short blocks, and was paid tenfold for lookups, and its first layer learned to look closely like the others; which of the three was the reason, we have not tried.
#
# (one-change-at-a-time)=
# ## Speed, one change at a time
#
# What did each part of the recipe buy?
# There is only one honest way to say it: change one thing, keep the *time*, use several seeds.
# Equal steps would not do, for a step of Muon costs more than one of AdamW, and a step in 16 bits less than one in 32.
#
# One more change wants to be in that table, since it comes straight out of chapter 06.
# There, keys that were *smeared* with the token before gave one layer what otherwise takes two: a head that looks one back.
# The cheapest smear is a table: besides a vector for each token, one for each *pair* of a token and the one before it.
# There are $V^2$ pairs; we take a few thousand rows and let a hash say which.

# %%
class PairEmbedding(nn.Embedding):
    """A vector for each token plus one for the pair that it forms with the one before."""

    def __init__(self, config: Config, n_rows: int = 4096):
        super().__init__(config.vocab_size + n_rows, config.d_model)
        self.vocab_size, self.n_rows = config.vocab_size, n_rows
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        before = F.pad(ids, (1, 0))[..., :-1]  # the first token has id 0 before it
        pair = (ids * 7919 + before * 104729) % self.n_rows
        return super().forward(ids) + super().forward(self.vocab_size + pair)


class PairGPT(GPT):
    """A GPT whose tokens know the one before them from the start."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.token = PairEmbedding(config)


# %% [markdown]
# Does it look back one token and no further, and never ahead?

# %%
embedding = PairEmbedding(TINY)
pieces = torch.tensor([[3, 1, 4, 1, 5], [3, 1, 9, 1, 5]])  # the third differs
differs = (embedding(pieces[0]) != embedding(pieces[1])).any(-1)
assert differs.tolist() == [False, False, True, True, False]
"a change is seen at its own place and at the next one"

# %% [markdown]
# Thirteen contestants with three seeds are too many for a page.
# `bench/speedups.py` runs them, and this is what it wrote:

# %%
recorded = Path("../bench/speedups.md").read_text(encoding="utf-8")
Markdown(recorded.replace("# What each change buys", ""))

# %% [markdown]
# The same as a picture: each dot is a seed, measured from the mean of the base.

# %% alt="Twelve changes with three seeds each as dots left and right of the base at zero: token pairs and short blocks are below it, all others above, AdamW in place of Muon farthest"
lines = [line for line in recorded.splitlines() if line.startswith("| ")][1:]
cells = [line.strip("|").split("|") for line in lines]
rows = {name.strip(): numbers for name, *numbers in cells}
base = float(rows.pop("the base")[-2])
seeds = {name: np.array(numbers[1:4], float) - base for name, numbers in rows.items()}
order = sorted(seeds, key=lambda name: seeds[name].mean())
fig, ax = figure(height=4.2)
for row, name in enumerate(order):
    ax.plot(seeds[name], [row] * 3, "o", color=COLORS["CYCLE"][0], alpha=0.6)
ax.axvline(0, color=COLORS["FLOOR"], linestyle="--", linewidth=1)
ax.set_yticks(range(len(order)), order, color=COLORS["INK"])
ax.set(xlabel="loss above the base (nats per character)", ylim=(len(order) - 0.5, -0.5))
fig.suptitle("Nothing buys as much as the optimizer", x=0.012, ha="left")

mean = {name: three.mean() for name, three in seeds.items()}
best_adamw = min(mean["AdamW at 0.003, not Muon"], mean["AdamW at 0.01"])
assert order[0] == "token-pair embeddings" and seeds[order[0]].max() < 0
singles = [name for name in order if "AdamW" not in name]
assert best_adamw > max(mean[name] for name in singles)
assert mean["32 bits, not 16"] > 0.1 < mean["torch's fused attention"]
assert 0 < mean["no decay at all"] < mean["cosine, not flat and linear"]
assert mean["48 blocks of 32"] < 0 < mean["12 blocks of 128"]
fig

# %% [markdown]
# *The optimizer.* A step of Muon costs a third more than one of AdamW, and buys more than anything else.
# (AdamW has one rate for all weights here, the better of two; with a rate for each kind of weight it would come closer, how close we have not tried.)
#
# *Sixteen bits.* More than half again as many steps in the same time, and the rounding does not show.
#
# *The schedule.* The caution from above was due: in this longer run no way down at all is worse than ours.
# It still beats the cosine.
#
# *The shape of the batch.* The same number of characters as many short blocks beats fewer long ones by a wide margin, since twenty seconds are not enough to learn what far-away words are good for.
# It is a hint, no rule: the committed Taleteller took it and began with short blocks, and had to end with long ones.
#
# *Attention.* PyTorch's fused routine does not store the weights and is the right choice on a GPU.
# On this processor, in 16 bits and for blocks as short as these, it is slower than our five lines.
#
# *Token pairs.* The largest gain from a change to the model, for one more table to look up.
#
# The last contestant undoes three things at once, and comes out better than the sum of the three says.
# Gains do not add, which is one more reason to measure.
#
# :::{why-it-works}
#
# Shown: Adam's step has the length of the rate, whatever the gradient's, because it divides a mean by the root of a mean square; its means are attention over the past.
# A batch in parts has the same gradient, since a mean of means is a mean.
# A checkpoint that is renamed into place is whole, and with everything in it that the next step depends on, the next step is the same.
# Orthogonalizing keeps the directions of a gradient and takes its singular values to 1, because a polynomial of $X X^{\mathsf T}$ acts on nothing else.
#
# :::
#
# :::{why-it-might}
#
# Why Muon's steps are better is not settled.
# Its authors suspect that the rare directions, those of small singular values, matter for learning {cite}`jordan2024`; others see a steepest descent in another norm, as the last exercise does {cite}`bernstein2024`.
# That a high rate makes the progress along a valley and a falling one stops the jumps across it {cite}`wen2024` fits our table, and is a picture, not a proof.
# What helps a model of a million parameters in seconds need not help a larger one: token-pair embeddings, the largest gain from a change to the model here, were tried in a much larger model, and by the clock the gain was gone {cite}`nanochat`.
#
# :::
#
# ## What to take along
#
# - A learning rate in Adam is a distance, not a factor.
# - What is not saved is another run, and nothing tells.
# - A loss without its error, a single seed and a comparison at equal steps are three ways to fool oneself.
# - Four minutes of gradients go past everything that was counted; after thirty the loss is nearly at the floor, and the stories show how much "nearly" hides.
# - As heads learn, their lookups get colder, which is to say that their kernels get narrower.
#
# **Exercises.** [The sheet of this chapter](../exercises/08_training.ipynb): a gradient that turns around, a weight that never comes to rest, four bugs in eight lines, two models on one text, updates too small to count, and three steepest ways down.
#
# **Further reading.** {cite}`jordan2024` is also worth reading for its last section, on what counts as evidence that an optimizer is better.
# {cite}`hagele2024` compares schedules at several sizes, and {cite}`pascanu2013` is where clipping comes from.
# The development log of {cite}`nanochat` is a rare thing, a diary of a trainer with its failures left in.
