# %% [markdown]
# # Reading the heads
#
# Here is a story that Taleteller has not seen. Stop where a name is due, and ask all twenty heads where they look.

# %%
import torch

from course.data.tales import SEPARATOR, tell
from tinyllm.model import load, load_tokenizer

taleteller = load("taleteller").requires_grad_(False)
tokenizer = load_tokenizer("taleteller")
story = next(tell(seed=1)).text
prompt = story[: story.index(" Harvey told only")]
read = torch.tensor(tokenizer.encode(SEPARATOR + prompt))
logits, weights = taleteller(read, return_attention=True)  # weights (n_layer, n_head, T, T)
harvey = tokenizer.encode(" Harvey")[0]
looks = weights[:, :, -1, read == harvey].sum(-1)  # on all places of the name
layer, head = divmod(looks.argmax().item(), looks.shape[1])
print(prompt[: prompt.index("Harvey") + 6], "…")
print("…", prompt[-80:], "→ ?")
print(f"p(Harvey) = {logits[-1].softmax(-1)[harvey]:.2f}")
print(f"layer {layer + 1}, head {head + 1}: weight {looks[layer, head]:.2f} on Harvey")
assert looks.max() > 0.9

# %% [markdown]
# One head has nearly all of its weight on the right name, and the model says that name.
# "This head finds the name", one would like to conclude.
#
# But is what we see a property of the head, or of the way in which its matrices happen to be written?
# What does the head do where no name is due?
# Does the model *use* what the head found there?
# And how did it know which name to look for?
# This one weight answers none of these questions.
# The chapter asks them of all twenty heads, by measures that stay when a head's matrices are rewritten, and by experiments.
#
# The route: [what may be said of a head](#what-may-be-said) and what it says of [all twenty](#twenty-heads); one head [where no name is due](#few-or-many); [how the name is found](#how-the-name).
# Then come tools with their traps: [removing heads](#apart-and-together), [weights as an explanation](#explanation), [reading the layers between](#lens); and what [layers do for a head](#one-head).
#
# :::{admonition} You will be able to
# :class: tip
# - describe a head of softmax attention by numbers that stay when its matrices are rewritten;
# - change one head while the model runs, and tell from the answer what the head is for;
# - say what attention weights explain that recency alone does not.
#
# Reading: 40 minutes. Running: a minute and a half.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the attention layer and the weights of its several heads marked, the part that this chapter looks into"
from course.figures import machine_map

machine_map(here="heads")

# %% [markdown]
# One story proves little, so we take the first 256 tokens of 48 stories that are at least as long and were not trained on.
# Two kinds of places are watched throughout: where a pronoun comes, and where a name is *due*: the next token of the story is a name that it said before.

# %%
from itertools import islice

from torch import Tensor
from torch.nn import functional as F

from course.data.tales_world import BOYS, GIRLS
from course.figures import COLORS, figure
from tinyllm.attention import attention, causal_mask

N_TEXTS = 48
told = (tokenizer.encode(SEPARATOR + tale.text) for tale in tell(seed=1))
ids = torch.tensor(list(islice((t[:257] for t in told if len(t) >= 257), N_TEXTS)))
x, y = ids[:, :-1], ids[:, 1:]  # (B=48, T=256): what is read, and what comes next


def tokens(words):
    """The ids of those words that are a single token, with a space before them."""
    found = (tokenizer.encode(f" {word}") for word in words)
    return torch.tensor([i[0] for i in found if len(i) == 1])


NAMES = tokens(GIRLS + BOYS)
HE = tokens("he him his himself He Him His".split())
SHE = tokens("she her herself She Her".split())
said = y[:, :, None] == x[:, None, :]  # key j holds what comes next
said &= causal_mask(x.shape[1])
again = torch.isin(y, NAMES) & said.any(-1)  # (B, T): a name is due that was said before
pronoun = torch.isin(y, torch.cat([HE, SHE]))
print(f"{again.sum()} names said again, {pronoun.sum()} pronouns, {x.numel():,} tokens")

# %% [markdown]
# A head is named by its layer and its place in the layer, both counted from 1: 4.3 is the third head of layer 4.
#
# (what-may-be-said)=
# ## What may be said of a head
#
# [Chapter 05](05_attention_as_smoothing.ipynb) found that a head does not determine its matrices.
# Multiply all queries by an invertible matrix $A$ and all keys by $A^{-\mathsf T}$, and every score $q \cdot k$ stays.
# Add one vector to all keys, and every row of scores moves by a constant, which the softmax does not see.
# Multiply the values by a matrix and $W_O$ by its inverse, and what the head writes stays.
# Add one vector to all values and subtract after $W_O$ what it adds there: weights sum to 1, so this stays, too.
# So no length of a key or a value, no angle between keys, no singular value of $W_Q$ is a fact about the head.
#
# Here is a Taleteller in which all twenty heads are rewritten in all four ways.
# `record` reads two stories and keeps what each layer computes on the way.

# %%
from copy import deepcopy

from tinyllm.heads import record

rewritten, generator = deepcopy(taleteller).double(), torch.Generator().manual_seed(0)
for layer in (block.attention for block in rewritten.blocks):
    C, n_head = layer.qkv.in_features, layer.n_head
    d = C // n_head
    W = layer.qkv.weight.view(3, n_head, d, C)  # q, k, v of each head
    W_O = layer.out.weight.view(C, n_head, d)
    A = torch.eye(d) + 0.1 * torch.randn(n_head, d, d, generator=generator).double()
    W[0], W[1] = A @ W[0], A.inverse().mT @ W[1]
    W[2] = A @ W[2]
    W_O.copy_(torch.einsum("chd,hde->che", W_O, A.inverse()))
    shift = torch.zeros(3, C, dtype=torch.double)
    shift[1:] = 2 * torch.randn(2, C, generator=generator)  # of all keys, of all values
    layer.qkv.bias = torch.nn.Parameter(shift.flatten(), requires_grad=False)
    layer.out.bias = torch.nn.Parameter(-layer.out.weight @ shift[2], requires_grad=False)

(logits, old), (same, new) = (record(model, x[:2]) for model in (taleteller, rewritten))
assert torch.allclose(logits.double(), same, atol=1e-3)
for before, after in zip(old, new):
    assert torch.allclose(before.weights.double(), after.weights, atol=1e-3)
ratio = new[-1].k.norm(dim=-1) / old[-1].k.norm(dim=-1)  # of the keys of the last layer
print(f"same logits, same weights; over the heads and tokens of the last layer\n"
      f"the length of a key is multiplied by {ratio.min():.1f} to {ratio.max():.1f}")

# %% [markdown]
# The model is the same function: a comparison of heads by the lengths of their keys compares how they are written.
# What stays are the weights, the scores but for a constant in each row, and what the head writes.
#
# **How many keys?** The entropy of a row of weights is $H = -\sum_j w_j \ln w_j$, and $e^H$ are its **effective keys**: 1 if one key has all the weight, $n$ if $n$ keys have equal weights.

# %% tags=["quote"]
from tinyllm.heads import effective_keys

# %%
effective_keys(torch.tensor([[0.5, 0.5, 0.0], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]]))

# %% [markdown]
# By hand, the second row: $-0.8 \ln 0.8 - 2 \cdot 0.1 \ln 0.1 = 0.179 + 0.461 = 0.639$, and $e^{0.639} = 1.89$.
#
# **What explains the weights?**
# Build weights from part of what the head knows, and ask how near they come.
# How far weights $p$ are from the true ones $w$ is measured by the KL divergence $D_{\mathrm{KL}}(w \,\Vert\, p) = \sum_j w_j \ln (w_j / p_j)$; we compare it with that of equal weights on all keys up to the query.
# The share of this distance that the substitute covers,
#
# $$ 1 - \frac{\sum_i D_{\mathrm{KL}}(w_i \,\Vert\, p_i)}{\sum_i D_{\mathrm{KL}}(w_i \,\Vert\, \text{equal})}, $$
#
# is a share of *deviance* {cite}`hastie2009`: 1 if the substitute is the head, 0 if it is no better than equal weights, and below 0 if it is worse.
# By hand: a row of $(0.9, 0.1)$ is $0.9 \ln 1.8 + 0.1 \ln 0.2 = 0.368$ away from equal weights.
# From $(0.8, 0.2)$ it is $0.9 \ln 1.125 + 0.1 \ln 0.5 = 0.037$ away. The share is $1 - 0.037/0.368 = 0.90$.
# (In the cell a row of one key stands above it, which has no distance to cover.)
#
# *In words:* [cross-entropy and KL divergence](mathematics.ipynb#Cross-entropy-and-KL-divergence), [surprise and entropy](mathematics.ipynb#Surprise-and-entropy).

# %%
from tinyllm.heads import deviance_share

w, p = torch.tensor([[1, 0], [0.9, 0.1]]), torch.tensor([[1, 0], [0.8, 0.2]])
print(f"{deviance_share(w, p):.3f}")

# %% [markdown]
# Three substitutes are of interest.
#
# - **By offset.** The weights depend only on how far back a key is: $p_{ij} \propto u_{i-j}$, with those $u$ (π in the code below) that make the share largest. This is a smoother over time whose kernel is fixed. The nearer its share is to 1, the more a head is a *window*.
# - **By key.** Every query is replaced by the mean query $\bar q$: $p_{ij} \propto e^{\bar q \cdot k_j/\sqrt d}$. Every query looks for the same keys.
# - **By content.** From what the layer reads, subtract the mean over all texts at that position, then make queries and keys. No term of the position alone is left nor, as the mean query is 0, of the key alone: only how *this* query fits *this* key.
#
# They overlap, since late keys are near keys, and all three leave out how the position of one token meets the content of another; so the shares do not sum to 1.
# Nor is the comparison even: the first share is that of the best fit, while the other two fit nothing.
# And a head that always looks at the first token is explained by offset, too, with $u$ that grow fast; so look at the weights as well.
#
# A row at position $i$ has no offset beyond $i$, so a plain mean over rows is not the best $u$.
# In the rows that reach offset $\Delta$, of all weight up to $\Delta$, let $s_\Delta$ be the share at $\Delta$ itself; then the best $p$ has $s_\Delta (1 - s_{\Delta+1}) \cdots (1 - s_i)$ at offset $\Delta$ of row $i$ {cite}`lyndenbell1971`.
# By hand, for the three rows below: $s_1 = (0.4 + 0.3)/(1 + 0.9) = 0.368$ and $s_2 = 0.1$, so the last row becomes $0.1$, $0.9 \cdot 0.368 = 0.332$, $0.9 \cdot 0.632 = 0.568$.

# %% tags=["remove-input"]
from tinyllm.heads import check_causal, check_rows, softmax, sum_per_head

# %% tags=["quote", "hide-input"]
from tinyllm.heads import by_offset

# %%
by_offset(torch.tensor([[1.0, 0.0, 0.0], [0.4, 0.6, 0.0], [0.1, 0.3, 0.6]]))

# %% [markdown]
# The other two are short, here for the last layer and the two stories read above:

# %%
from tinyllm.heads import by_content, by_key, causal_weights

last, attend = old[-1], taleteller.blocks[-1].attention
keys_alone = causal_weights(last.q.mean((0, 2))[:, None].expand(last.q.shape), last.k)
q, k, _ = attend.heads(last.x - last.x.mean(0))  # less the mean at each position
content_alone = causal_weights(q, k)
assert torch.allclose(keys_alone, by_key(last.q, last.k), atol=1e-5)
assert torch.allclose(content_alone, by_content(attend, last.x), atol=1e-5)

# %% [markdown]
# All three are functions of the weights or of products of queries and keys, in which $A$ cancels, and so does a vector added to all keys; the library's tests assert it for random ones.
#
# (twenty-heads)=
# ## Twenty heads between window and lookup
#
# To see a head's parts while the model runs, and later to change them, there is one tool.

# %% tags=["remove-input"]
from contextlib import contextmanager
from collections.abc import Iterator, Mapping
from functools import partial

from tinyllm.attention import MultiHeadAttention
from tinyllm.heads import STAGES, Edit, Seen, edited_forward

# %% tags=["quote"]
from tinyllm.heads import edited

# %% [markdown]
# Inside `with edited(...)` the *stages* of each head, its q, k, v, weights and output, can be read and replaced.
# Nothing in the model is changed for good.
# `record` uses it to see everything once.

# %%
from tinyllm.heads import scale_scores

logits, seen = record(taleteller, x)
assert torch.allclose(logits[:4], taleteller(x[:4]), atol=1e-3)
N_LAYER, N_HEAD, d = len(seen), seen[0].q.shape[1], seen[0].q.shape[-1]
HEADS = [(layer, head) for layer in range(1, N_LAYER + 1) for head in range(1, N_HEAD + 1)]
LABELS = [f"{layer}.{head}" for layer, head in HEADS]


def of(head, stage):
    """One stage of one head, such as (4, 3): (B, T, d), the weights (B, T, T)."""
    return getattr(seen[head[0] - 1], stage)[:, head[1] - 1]


# %% [markdown]
# Now the table: effective keys and the three shares over all rows, then effective keys and the weight on the right name *where a name is due*.

# %%
columns = {}  # of each head, in the order of HEADS
for layer, block in zip(seen, taleteller.blocks):
    w, n = layer.weights, effective_keys(layer.weights)
    found = {
        "eff. keys": n.mean((0, 2)),
        "by offset": deviance_share(w, by_offset(w)),
        "by key": deviance_share(w, by_key(layer.q, layer.k)),
        "by content": deviance_share(w, by_content(block.attention, layer.x)),
        "eff. keys, due": n.transpose(0, 1)[:, again].mean(-1),
        "on the name, due": (w * said[:, None]).sum(-1).transpose(0, 1)[:, again].mean(-1),
    }
    for name, z in found.items():
        columns.setdefault(name, []).append(z.double())
columns = {name: torch.cat(z) for name, z in columns.items()}
print("head  " + "  ".join(columns))
for i, (label, (layer, head)) in enumerate(zip(LABELS, HEADS)):
    numbers = (f"{z[i]:{len(name)}.{1 if 'eff' in name else 2}f}"
               for name, z in columns.items())
    print("\n" * (head == 1 < layer) + f"{label}   " + "  ".join(numbers))

# %% [markdown]
# The three shares in one picture:

# %% tags=["hide-input"] alt="Three shares for each of twenty heads, from 1.1 to 5.4: by offset it is the largest in layer 1, by key in layers 2 to 4, by content in layer 5"
fig, ax = figure(height=3.8)
colors = COLORS["SMOOTHER"], COLORS["CYCLE"][2], COLORS["LOOKUP"]
SHARES = "by offset", "by key", "by content"
for name, color, marker in zip(SHARES, colors, "so^"):
    ax.plot(LABELS, columns[name], marker, color=color, label=name)
for edge in range(N_HEAD, len(HEADS), N_HEAD):
    ax.axvline(edge - 0.5, color=COLORS["LINE"], zorder=0, linewidth=1)
ax.tick_params(axis="x", rotation=90)
ax.set(xlabel="head", ylabel="share of deviance explained", ylim=(0, 1),
       title="Layer 1 by offset, layers 2 to 4 by key, layer 5 by content")
ax.legend(loc="upper center", ncols=3)
three = torch.stack([columns[name] for name in SHARES])
largest = three.argmax(0).view(N_LAYER, N_HEAD)  # of each head
assert largest.tolist() == [[0] * 4, [1] * 4, [1] * 4, [1] * 4, [2] * 4]
assert three[1, N_HEAD : 4 * N_HEAD].min() > 0.5 > three[:, 4 * N_HEAD :].max()
fig

# %% [markdown]
# Between a window, *how far back?*, and a lookup, *what?*, there are mixtures.
# The heads of layer 1 are nearest to windows: a fixed kernel over time explains 0.70 to 0.78 of their deviance.
# In every head of layers 2 to 4 the largest share is that *by key*, more than half: much of their weights would be the same for any query.
# The share by content grows from layer 3 to layers 4 and 5, and in layer 5 it is the largest; there none of the three reaches one half.
# Two heads of layer 5, 5.2 and 5.4, have most of their weight on the name where it is due.
#
# What makes a key score high for every query, as in layers 2 to 4?
#
# ### Read a head yourself
#
# The table holds means over many stories.
# Here are the same measures of one text, which you can change.
# Each head stands at the share of its deviance that the offset explains: windows on the left, lookups on the right.
# (One text is little to fit to, so each row of weights is predicted from the other rows, and shares come out lower than in the table.)
# Choose a head; see where it looks, and what its removal adds to the loss.
# A removed head gives its mean over this text, or zero.
# Head 5.4 is chosen: look for the tokens whose surprise grows without it. Then remove one of the first layer.
#
# :::{live} heads
# :layer: 5
# :head: 4
# :prompt: Once there was a boastful boy named Clem, who lived in a lonely house with a plaid gate in Nutmeg. The best baker in Nutmeg was to be chosen on Thursday, and Clem had a recipe for carrot cake. But a little before supper, with the oven hot and flour on his overcoat, he found the jar for the butter empty. He galloped next door to Rosa, a serious girl who could dance better than anyone. "Of course I have butter," declared
#
# ![Taleteller's heads as buttons, a row for each layer, between window on the left and lookup on the right; a dot above each button marks the share of the head's deviance that the offset explains in this story](../pages/live/heads.png)
#
# Where a head looks, and which tokens surprise more without it.
# :::
#
# (recency)=
# ## A learned recency bias
#
# Take what the mean query gives to a key, $\bar q \cdot k_j / \sqrt d$, averaged over texts, along the story.
# (The first 16 positions, where few keys compete, are left out.)

# %% tags=["hide-input"] alt="Key term of sixteen heads of layers 2 to 5 against position: all rise along nearly straight lines, some twice or more as steeply as others"
own = torch.cat([  # of each text and head, q̄·k at each place: (B, heads, T)
    (layer.k * layer.q.mean((0, 2))[:, None]).sum(-1) / d**0.5 for layer in seen
], 1).double()
term = own.mean(0)
time = torch.arange(16.0, 256).double()
centered = time - time.mean()
rise, each = (z[..., 16:] - z[..., 16:].mean(-1, keepdim=True) for z in (term, own))
slope = (rise * centered).sum(-1) / (centered**2).sum()
line = slope[:, None] * centered
straight = 1 - ((rise - line) ** 2).sum(-1) / (rise**2).sum(-1)
in_a_text = 1 - ((each - line) ** 2).sum((0, -1)) / (each**2).sum((0, -1))
fig, ax = figure()
for i in range(N_HEAD, len(HEADS)):
    color = COLORS["CYCLE"][HEADS[i][0] - 1]
    label = f"layer {HEADS[i][0]}" if HEADS[i][1] == 1 else None
    ax.plot(time, term[i, 16:] - term[i, 16], color=color, alpha=0.7, label=label)
ax.set(title="In layers 2 to 5 a later key scores higher, along a straight line",
       xlabel="position of the key",
       ylabel="score for the mean query,\nless that at position 16")
ax.legend()
assert (slope > 0).all() and (straight[N_HEAD:] > 0.9).all()
assert 0.5 < in_a_text.min() and in_a_text.max() < 0.95
fig

# %% [markdown]
# Sixteen straight lines.
# These are means over many texts, though, and a mean hides the words.
# What share of the variance does the line explain (its R²) in one text, and what share of the deviance does it explain alone, without any word?

# %%
ones, places = torch.ones(x.shape[1], 1), torch.arange(float(x.shape[1]))[:, None]
lines = causal_weights(ones, slope.float()[:, None, None] * places)  # scores a·j
by_line = torch.cat([deviance_share(layer.weights, p)
                     for layer, p in zip(seen, lines.split(N_HEAD))])


def least_to_most(z):
    n = 0 if z.max() > 2 else 2  # decimals
    return f"{z.min():.{n}f} to {z.max():.{n}f}"


found = {"R² of the mean": straight, "R² in one text": in_a_text, "1/slope": 1 / slope,
         "share of the line": by_line, "best by offset": columns["by offset"]}
wide = {name: max(14, len(name) + 2) for name in found}  # columns
print("layer" + "".join(f"{name:>{wide[name]}}" for name in found))
for l in range(N_LAYER):
    heads = slice(l * N_HEAD, (l + 1) * N_HEAD)
    print(f"{l + 1:5}" + "".join(f"{least_to_most(z[heads]):>{wide[name]}}"
                                for name, z in found.items()))
part = by_line / columns["by offset"]
assert part[N_HEAD : 4 * N_HEAD].min() > 0.8 and part[:N_HEAD].max() < 0.4
assert part[4 * N_HEAD :].min() > 0.6

# %% [markdown]
# In layers 2 to 4 the line alone explains more than four fifths of what the best kernel over time does, which has a number for each offset, and in layer 5 more than three fifths.
# In layer 1 it explains about a third of that: it rises so slowly that it hardly shows among a dozen keys.
# And in one text the keys scatter around the line, which explains 0.56 to 0.92 of their variance.
# (A vector added to all keys moves the line up or down; the slope stays.)
# Nobody built this in. Whether the keys get it from the position vectors or from how far a story has come, a mean over texts does not tell.
#
# So these heads have a linear **recency bias**: ALiBi's penalty of chapter 05, in proportion to the distance, but learned. (The sheet calls such a head a *clock*.)
# A score of $a j$ gives weights in proportion to $e^{a j}$, which is $e^{-a(i - j)}$ times a constant of the row: an exponential average of the past, in which a weight falls by the factor $e$ every $1/a$ tokens.
#
# :::{two-views}
#
# - **As a lookup.** For the mean query, and on average over texts, a key scores higher by the same amount with each token that it came later.
#   An older entry wins only if its content matches so much better.
# - **As a smoother.** The kernel over time is one-sided and exponential, of bandwidth $1/a$, as in chapter 05; whatever else is in the score is a second factor.
#
# :::
#
# As everywhere in this book, the two are the same numbers:

# %%
from tinyllm.smoothing import nadaraya_watson

place = torch.arange(40.0).double()[:, None]
v = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
a = slope[-1]
recent = causal_weights(torch.ones_like(place), a * place)  # scores a·j
average = nadaraya_watson(place, place, v, 1 / a, kernel="exponential", mask=causal_mask(40))
assert torch.allclose(recent @ v, average, rtol=0, atol=1e-12)
print(f"{len(average)} answers, by weights and by the smoother: equal to 1e-12")

# %% [markdown]
# A share of deviance says how near the weights are, not what the difference costs.
# So replace the weights of all eight heads of layers 2 and 3 by these averages, *one number a head*, and look at the loss; then by other kernels; then let the same heads write only their mean output.
# `put` replaces one of a head's stages.

# %% tags=["quote"]
from tinyllm.heads import put

# %%
n_chars = len("".join(map(tokenizer.decode, y.tolist()))) / len(y)  # of a text
streams = [taleteller.position(taleteller.token(x), slice(x.shape[1]))[0]]
for block in taleteller.blocks:
    streams.append(block(streams[-1]))  # what each block reads, (B, T, C)


def run(edits, n=len(x)):
    """Logits of the first n texts with edits of heads, from the first edited block on."""
    start = min(layer for layer, _ in edits) - 1
    now = streams[start][:n]
    with edited(taleteller, edits):
        for block in taleteller.blocks[start:]:
            now = block(now)
    return taleteller.head(taleteller.norm(now))


def judged(logits):
    """Loss of each text in 0.001 nats per character; p(name again); p(right gender)."""
    n = len(logits)
    log_p = logits.gather(-1, y[:n, :, None])[..., 0] - logits.logsumexp(-1)
    at = logits[pronoun[:n]]
    he = at[:, HE].logsumexp(-1) - at[:, SHE].logsumexp(-1)
    right = torch.where(torch.isin(y[:n][pronoun[:n]], HE), he, -he).sigmoid()
    return -log_p.sum(-1) / n_chars * 1000, log_p[again[:n]].exp().mean(), right.mean()


base, name_again, right_gender = judged(logits)
print(f"loss {base.mean():.0f} mnat, p(name said again) {name_again:.2f}, "
      f"p(right gender | a pronoun) {right_gender:.3f}")

# %% [markdown]
# These three numbers are what later sections watch.
# The loss is counted in thousandths of a nat per character, here called **mnat**.
# The probability of a name said again stays below 1: often a sentence that begins with another word could come, and the model cannot know which comes.
# The third number: where a pronoun comes, the probability of its gender, given that one comes.

# %%
def paired(z):
    """The mean of a difference over texts, with its standard error."""
    return f"{z.mean():.1f} mnat (standard error {z.std() / len(z) ** 0.5:.1f})"


early = [head for head in HEADS if head[0] in (2, 3)]
index = [HEADS.index(head) for head in early]
a = slope[index].mean().float()
box = (places - places.T < 20) & causal_mask(x.shape[1])
kernels = {  # weights, one for each of the eight heads
    "own exponential averages": lines[index],
    "one exponential average": causal_weights(ones, a * places).expand(8, -1, -1),
    "the last 20 keys equally": (box / box.sum(-1, keepdim=True)).expand(8, -1, -1),
    "all keys equally": causal_weights(ones, 0 * places).expand(8, -1, -1),
    "best kernels by offset": torch.cat([by_offset(seen[l].weights) for l in (1, 2)]),
    "weights by key": torch.cat([by_key(seen[l].q, seen[l].k) for l in (1, 2)], 1).unbind(1),
}
edits = {name: {head: put("weights", w) for head, w in zip(early, weights)}
         for name, weights in kernels.items()}
edits["their mean output"] = {h: put("output", of(h, "output").mean((0, 1))) for h in early}
lost = {name: judged(run(these))[0] - base for name, these in edits.items()}
for name, z in lost.items():
    print(f"eight heads with {name:25} {paired(z)}")
exponential = lost["own exponential averages"].mean()
assert lost["weights by key"].mean() < exponential < lost["all keys equally"].mean() / 2
assert exponential < lost["their mean output"].mean() / 3

# %% [markdown]
# The standard errors are large because stories differ; what one kernel loses more than another is known better.
# Here are the differences from a rate for each head, story by story:

# %%
differ = {}
for name in list(kernels)[1:]:
    z = differ[name] = lost[name] - lost["own exponential averages"]
    print(f"{name + ' less own rates:':41} {paired(z)}")
units = {name: z.mean() / (z.std() / len(z) ** 0.5) for name, z in differ.items()}
assert abs(units["one exponential average"]) < 2
assert abs(units["best kernels by offset"]) < 2.5
assert units["the last 20 keys equally"] > 3 and units["weights by key"] < -3

# %% [markdown]
# A mean of the recent past does most of the work. Exponential averages lose about a quarter of what the mean output, a constant, loses; a mean of *all* the past loses more than twice as much as they do.
# The form of the kernel matters less: a box of 20 keys loses 15 mnat more, and of a rate for each head, or of the kernels that explain most deviance, no gain is seen.
# What else a key holds does matter: weights by key lose three fifths of what exponential averages lose.
# (All eight heads are edited at once; what each costs alone comes [later](#apart-and-together).)
#
# (few-or-many)=
# ## One head, few keys or many
#
# Two heads have more than half of their weight on the right name where it is due, 5.2 and 5.4; the code calls them `movers`, for a reason that comes below.
# Take 5.4, which we met at the beginning.
# Its mean, 28 effective keys, hides that they are few where a name is due.

# %% tags=["hide-input"] alt="Two histograms of effective keys of one head on a logarithmic axis: where a name said before is due, nearly all at one to two; elsewhere spread around twenty and more"
movers = [head for head, weight in zip(HEADS, columns["on the name, due"]) if weight > 0.5]
name_head = HEADS[columns["eff. keys, due"].argmin()]  # the sharpest where a name is due
NAME = f"{name_head[0]}.{name_head[1]}"
n = effective_keys(of(name_head, "weights"))
late = torch.arange(x.shape[1]) >= 32  # rows that have many keys
due, elsewhere = n[again & late], n[~again & late]
bins = torch.logspace(0, 2.4, 25)
fig, ax = figure()
kinds = (due, "a name is due", "LOOKUP"), (elsewhere, "elsewhere", "SMOOTHER")
for z, label, view in kinds:
    share = torch.histogram(z, bins).hist / len(z)
    ax.stairs(share, bins, fill=True, alpha=0.6, color=COLORS[view], label=label)
ax.set(xscale="log", xlabel="effective keys of a row", ylabel="share of rows",
       title=f"Head {NAME}: {due.mean():.1f} effective keys where a name is due, "
             f"{elsewhere.mean():.0f} elsewhere")
ax.legend()
assert name_head in movers and due.median() < 2 and elsewhere.median() > 8
fig

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** Where a name is due, the head is a `dict`: one key gets nearly everything.
# - **As a smoother.** Elsewhere the same matrices take the mean of dozens of keys.
#   How many keys are averaged depends on the *query*: scores that lie far apart give few of them the weight.
#
# :::
#
# Does the head need to be both?
# Reduce it, first where a name is due and then elsewhere: to its best key alone, or to its mean output.

# %%
w, z = of(name_head, "weights"), of(name_head, "output")
one_key = F.one_hot(w.argmax(-1), w.shape[-1]).to(w)
less = {"its best key": ("weights", one_key), "its mean output": ("output", z.mean((0, 1)))}
costs = {}
for what, (stage, value) in less.items():
    for where, rows in ("where a name is due", again), ("elsewhere", ~again):
        loss, name, _ = judged(run({name_head: put(stage, value, rows[..., None])}))
        costs[what, where] = loss - base
        print(f"{what} {where}: {paired(loss - base)}, p(name again) {name:.2f}")
one, nothing = (costs[what, "elsewhere"] for what in less)
print(f"elsewhere, its best key less its mean output: {paired(one - nothing)}")
assert costs["its best key", "where a name is due"].abs().mean() < 0.2
assert costs["its mean output", "where a name is due"].mean() > 1 and one.mean() < 2
assert nothing.mean() > 2 * one.mean()

# %% [markdown]
# Where a name is due, the best key alone does as well as all keys, and with a constant in the head's place p(name again) falls from 0.83 to 0.50: there it *is* a `dict`.
# Elsewhere the constant costs 5.4 mnat, and the best key alone 1.5. So most of what is used of the head is a lookup there, too.
# Of what? Here are the places where the constant costs most, and the key at which the head looks (the last token of what is printed):

# %%
constant = run({name_head: put("output", z.mean((0, 1)), ~again[..., None])})
after, before = (F.cross_entropy(l.mT, y, reduction="none") for l in (constant, logits))
for place in (after - before).flatten().topk(5).indices.tolist():
    b, i = divmod(place, x.shape[1])
    j = w[b, i].argmax().item()
    here, comes, key = (tokenizer.decode(t.tolist()).replace("\n", " ")
                        for t in (x[b, i - 9 : i + 1], y[b, i : i + 1], x[b, j - 4 : j + 1]))
    print(f"…{here} |{comes}   looks at …{key}  ({w[b, i, j]:.2f})")

# %% [markdown]
# At these places the head fetches from the story what the next word depends on: a thing (*almond*, *onion*), a name that begins a line, where it is other tokens, and what broke, be it a rope that needs a sailor's splice or a line that has to be replaced.
# In most other rows it takes a mean of some thirty keys, and little depends on that.
#
# (how-the-name)=
# ## How is the name found?
#
# The head looks at the right name. Is that why the right name is said?
# Take the name that is due most often in a story, and a name of the same gender that the story never says.
# Run the model a second time, on the story with the second name in place of the first, and use the second run's *values* at the name in the first run: the field calls this **activation patching**.

# %%
girls, boys = tokens(GIRLS).tolist(), tokens(BOYS).tolist()
main, unsaid, second = torch.full((3, len(x)), -1)
generator = torch.Generator().manual_seed(0)
for b in range(len(x)):
    if not again[b].any():
        continue
    main[b] = y[b][again[b]].mode().values
    same = girls if main[b] in girls else boys
    free = [i for i in same if i not in ids[b]]
    unsaid[b] = free[torch.randint(len(free), (), generator=generator)]
    others = x[b][torch.isin(x[b], NAMES) & (x[b] != main[b])]
    if len(others):
        second[b] = others.mode().values
is_main = x == main[:, None]
other_x = torch.where(is_main, unsaid[:, None], x)
other_logits, other = record(taleteller, other_x)


def says(logits, right, wrong, where):
    """Mean p of the right name, and the wrong one's part of the probability of both."""
    p = logits[where].softmax(-1)
    r, w = (p.gather(-1, z.expand(y.shape)[where][:, None]) for z in (right, wrong))
    return r.mean().item(), (w / (r + w)).mean().item()


# %% [markdown]
# Heads that look at a name and bring it to the output are called **name movers** by those who found some in GPT-2 {cite}`wang2022`. Ours were picked by their weights; whether they move names is what the next cell tests.
# It prints the probability of the right name, and the other name's *part*: p(other) / (p(right) + p(other)).

# %%
rest = [head for head in HEADS if head not in movers]


def from_other(heads, stage, where=None):
    """Edits that put there what the heads have in the text with the other name."""
    return {(l, h): put(stage, getattr(other[l - 1], stage)[:, h - 1], where)
            for l, h in heads}


swaps = {
    "nothing": logits,
    "all: the second run itself": other_logits,
    f"values of {NAME} at the name": run(from_other([name_head], "v", is_main[..., None])),
    "values of both movers at the name": run(from_other(movers, "v", is_main[..., None])),
    "values of all other heads, everywhere": run(from_other(rest, "v")),
    "keys of both movers, everywhere": run(from_other(movers, "k")),
}
sites = again & (y == main[:, None])
swapped = {}
names = " and ".join(f"{l}.{h}" for l, h in movers)
print(f"movers: {names}; {sites.sum()} places; taken from the second run:")
for what, changed in swaps.items():
    swapped[what] = says(changed, main[:, None], unsaid[:, None], sites)
    p, part = swapped[what]
    print(f"{what:38} p(name) {p:.2f}, part of the other name {part:.2f}")
assert swapped["values of both movers at the name"][1] > 0.8
assert max(swapped[what][1] for what in list(swaps)[-2:]) < 0.1

# %% [markdown]
# Exchange the values of both movers, at the places of that name alone, and the name that stands nowhere in the story gets 0.93 of the probability of the two; with those of 5.4 alone, 0.61.
# Exchange the values of *all eighteen other* heads, in the whole text, and it does not matter.
# So these two heads' values are how the name gets to the end, and which name is said depends on where the two look.
# How do they know where to look? There are three candidates.
#
# *They ask for the name itself.* Then they would not find it among the keys of the second run, where another name stands. But they do: the last line above.
#
# *It is induction*: find an earlier place with the same token, take what came after it, as in [chapter 06](06_two_views_many_heads.ipynb).
# Then the model would predict the second half of a random sequence said twice, heads would have their weight on the token after an earlier copy, and the name that is due would stand there.

# %%
generator = torch.Generator().manual_seed(0)
random = torch.randint(2048, (8, 96), generator=generator).repeat(1, 2)
log_p = taleteller(random[:, :-1]).log_softmax(-1).gather(-1, random[:, 1:, None])[..., 0]
first, repeated = -log_p[:, 8:95].mean(), -log_p[:, 103:].mean()  # each after 8 tokens
after = F.pad(x[:, :, None] == x[:, None, :], (1, 0))[..., :-1] & causal_mask(x.shape[1])
rows = after.any(-1)
equal = (after / torch.arange(1, x.shape[1] + 1)[:, None]).sum(-1)
print(f"nats per token of a random sequence {first:.1f}, of its repetition {repeated:.1f}")
print("weight on tokens that stand after an earlier copy of the query's token:")
highest = []
for what, at, heads in (("of any head, everywhere", rows, HEADS),
                        ("of the movers, where a name is due", again, movers)):
    most = max((of(head, "weights") * after).sum(-1)[at].mean() for head in heads)
    highest.append(most)
    print(f"  {what}: at most {most:.2f}, {equal[at].mean():.2f} if all were equal")
there = (after & said)[again].any(-1).float().mean()
print(f"where a name is due, it stands after an earlier copy in {there:.2f} of the places")
assert repeated > first and max(highest) < 0.1 and there < 0.2

# %% [markdown]
# The repetition is not known, and no head has more than a few hundredths of its weight there.
# (Both losses are far above $\ln 2048 = 7.6$ nats: on random tokens, which it has never read, the model is sure of the wrong ones. So the first test alone proves little; the others are made on stories.)
# The sharpest is the last: where a name is due, induction could find it in few places only.
#
# *They go by gender*: an earlier pronoun says *she*, and there is one girl in the story.
# Where a story has two names, they are a girl's and a boy's (counted below the next table), so this fits every place; a fit is no test.
# So make two more texts: one in which the two names are exchanged, and one in which *he* and *she*, *boy* and *girl* and their like are, too.

# %%
A, B = main[:, None], torch.where(second < 0, main, second)[:, None]
crossed = torch.where(x == A, B, torch.where(x == B, A, x))
_, cross = record(taleteller, crossed)
to = torch.arange(2048)  # he for she, and all such words
for words in "he she", "He She", "himself herself", "boy girl", "his her", "him her":
    he, she = (tokenizer.encode(f" {word}") for word in words.split())
    if len(he) == len(she) == 1:
        to[he[0]], to[she[0]] = she[0], he[0]
_, gendered = record(taleteller, to[crossed])
two = again & ((y == A) | (y == B)) & (second >= 0)[:, None]
the_other = torch.where(y == A, B, A)


def exchanged(head, stage):
    """Keys or values in which the two persons have changed places, positions kept."""
    z = of(head, stage)
    free = z - z.mean(0)  # without what every text has at this position
    mean_A, mean_B = (((x == n)[..., None] * free).sum(1, keepdim=True)
                      / (x == n).sum(1).clamp(min=1)[:, None, None] for n in (A, B))
    side = (x == A).int() - (x == B).int()
    return z + side[..., None] * (mean_B - mean_A)


# %% [markdown]
# Give the movers the keys of these texts: where the boy's name stood there is now the key of a girl's name.
# A query that asks for a girl would now find the boy, and the other name would be said.
# Then exchange the keys themselves: at each person's places, put the other person's mean key for this one's, whatever it is made of; the same with values, and with both.

# %%
def taken(text, stage):
    """Edits that put there what the movers have in another text."""
    return {(l, h): put(stage, getattr(text[l - 1], stage)[:, h - 1]) for l, h in movers}


keys, values = ({h: put(stage, exchanged(h, stage)) for h in movers} for stage in "kv")
crossings = {
    "nothing": {movers[0]: {}},
    "keys from names exchanged": taken(cross, "k"),
    "keys from he and she, too": taken(gendered, "k"),
    "queries from the same text": taken(gendered, "q"),
    "mean keys exchanged": keys,
    "mean values exchanged": values,
    "mean keys and mean values": {h: keys[h] | values[h] for h in movers},
}
crossed_part = {}
for what, edits in crossings.items():
    p, part = says(run(edits), y, the_other, two)
    crossed_part[what] = part
    print(f"{what:28} p(name) {p:.2f}, part of the other person's name {part:.2f}")
assert max(crossed_part[what] for what in crossings if " from" in what) < 0.1
assert min(crossed_part[f"mean {what} exchanged"] for what in ("keys", "values")) > 0.5
assert crossed_part["mean keys and mean values"] < 0.3
girl_A, girl_B = (torch.isin(z, torch.tensor(girls)).expand(y.shape)[two] for z in (A, B))
print(f"{two.sum()} places, {(girl_A != girl_B).sum()} of them in stories "
      "of a girl and a boy")

# %% [markdown]
# Gender is not it: with keys from exchanged names, and from *he* and *she* exchanged, the right name is found all the same; nor does the query ask by gender.
# The last three lines say what does steer the heads.
# Take the mean key of each person, without what any key has at that position, and exchange *these vectors* between the two persons' places: the other name is said.
# Exchange their values: the other name is said.
# Exchange both: the right name is back, though not wholly, since a mean key is not each key.

# %% tags=["hide-input"] alt="Bars of the part of the other person's name: near zero for nothing exchanged and for keys made from exchanged names, for keys and queries from he and she exchanged, high for the persons' keys and for their values, low again for both"
fig, ax = figure(height=2.6)
ax.barh(list(crossed_part), list(crossed_part.values()), color=COLORS["CYCLE"][0])
ax.invert_yaxis()
ax.set(xlim=(0, 1), xlabel="p(other) / (p(right) + p(other))")
title = "Mean keys or mean values exchanged give the other name"
fig.suptitle(title, x=0.012, ha="left")
ax.grid(axis="y", visible=False)
fig

# %% [markdown]
# So the key is an *address* that says which person, and neither the name nor the gender is needed in it.
# What the address is made of, the order in which persons enter, their place in the plot, this experiment does not separate.
#
# (apart-and-together)=
# ## Apart and together
#
# What is a head worth? The usual answer is an **ablation**: take its output away and see what the loss does.
# But "away" has to be something.
# *Zero* is simple, but no later layer has met it; the *mean* output keeps what is always there; a *resample*, the head's output at the same place of another story, keeps the variation but says nothing of this story.
# The table has the cost of each, and beside it p(name again) and p(right gender) with the mean.

# %%
few = 32
shuffled = (torch.arange(few) + 1) % few  # the next story
KINDS = "zero", "mean", "resample"
cost, names_left, gender_left = {}, {}, {}
for head in HEADS:
    z = of(head, "output")
    for kind, value in zip(KINDS, (0.0, z.mean((0, 1)), z[shuffled])):
        loss, name, gender = judged(run({head: put("output", value)}, few))
        cost[head, kind] = loss - base[:few]
        names_left[head, kind], gender_left[head, kind] = name.item(), gender.item()
table = torch.tensor([[cost[head, kind].mean() for kind in KINDS] for head in HEADS])
base_few = judged(logits[:few])
print("mnat " + "".join(f"{kind:>10}" for kind in KINDS) + "      p(name)  p(gender)")
for head, label, row in zip(HEADS, LABELS, table):
    print(f"{label}  " + "".join(f"{z:10.0f}" for z in row)
          + f"{names_left[head, 'mean']:13.2f}{gender_left[head, 'mean']:11.2f}")

# %% [markdown]
# The three columns do not agree.
# The extreme is 2.4: with zero in its place it costs 26, nearly as much as 1.2; with its mean, 2, and with the output of another story, 2.
# So nearly all that matters of its output is the same in every story, like a bias.
# And the cost of zero depends on how a head is written: add one vector to all its values, subtract after $W_O$ what that adds, and the model is the same, but zero costs something else. Mean and resample stay.

# %%
ratio = table[:, 0] / table[:, 1]
print(f"zero costs {ratio.min():.1f} to {ratio.max():.0f} times what the mean costs, "
      f"most with head {LABELS[ratio.argmax()]}")
words = table[:N_HEAD, 2] / table[:N_HEAD, 1]
print(f"in layer 1 a resample costs {words.min():.1f} to {words.max():.1f} times "
      "what the mean costs")
assert ratio.max() > 5 and words.min() > 1.5

# %% [markdown]
# In layer 1 the output from another story costs about twice what the mean costs. A loss that grew with the square of the error would cost about that: the squared distance of two independent outputs is on average twice that of one from their mean.
# A ranking of heads by what their removal costs has to say which removal.
#
# And now several at once: the four of a layer, and all twenty.

# %%
def silent(heads):
    return {head: put("output", of(head, "output").mean((0, 1))) for head in heads}


groups = {f"layer {l}": [h for h in HEADS if h[0] == l] for l in range(1, N_LAYER + 1)}
groups["all layers"] = HEADS
apart, together = [], []
for name, heads in groups.items():
    apart.append(sum(cost[head, "mean"] for head in heads))
    together.append(judged(run(silent(heads), few))[0] - base[:few])
    print(f"{name:10} one by one, summed: {paired(apart[-1])}")
    ratio = apart[-1].mean() / together[-1].mean()
    print(f"{'at once:':>30} {paired(together[-1])}; ratio {ratio:.2f}")
assert max(a.mean() / b.mean() for a, b in zip(apart[:4], together)) < 0.3

# %% [markdown]
# In layers 1 to 4 the sum is 0.04 to 0.27 of the joint cost.
# Heads that stand in for each other would do that; so would any loss that grows faster than in proportion to the damage, and this table does not tell the two apart.
# (In layer 1 each head alone costs a sixth to nearly half of the whole loss.)
# That most heads can be removed one at a time has been known since {cite}`michel2019`; that they are idle does not follow.
# In layer 5 the sum is half of the joint cost, perhaps because some tasks there have few heads. Look at two tasks, names and gender.

# %%
gender_head = HEADS[torch.tensor([gender_left[head, "mean"] for head in HEADS]).argmin()]
others = [head for head in HEADS if head[0] >= 4 and head not in (*movers, gender_head)]
print("                         p(name again)   p(any name) there   right gender")
for what, heads in (("with all heads", []),
                    *((f"without {l}.{h}", [(l, h)]) for l, h in (*movers, gender_head)),
                    ("without the movers", movers),
                    ("without the others of 4, 5", others)):
    left = run(silent(heads), few) if heads else logits[:few]
    _, name, gender = judged(left)
    any_name = left[again[:few]].softmax(-1)[:, NAMES].sum(-1).mean()
    print(f"{what:26} {name:10.2f} {any_name:17.2f} {gender:18.2f}")
    if heads is movers:
        assert name < 0.3 and gender > 0.95
    if heads is others:
        assert name > base_few[1] - 0.1 and 0.8 < gender < 0.9

# %% [markdown]
# The name needs two heads: without 5.2 p falls to 0.71, without 5.4 to 0.52, without both to 0.01. The gender of a pronoun needs 3.3 above all: without it the model is near a guess.
# Without the six other heads of layers 4 and 5 most names stay, and p(right gender) falls to 0.85, hardly lower than without 5.3 alone (0.86 in the table).
#
# **Is any temperature wrong?** Every head multiplies its scores by $\beta = 1/\sqrt d$, and the matrices learn the rest.
# Multiply the scores of one head at a time by $s$ more:

# %%
tried = torch.stack([judged(run({head: scale_scores(s)}, few))[0] - base[:few]
                     for head in HEADS for s in (1 / 2, 2)])
tried = tried.view(len(HEADS), 2, few)  # costs
mean, error = tried.mean(-1), tried.std(-1) / few**0.5
for name, part in ("layer 1", slice(N_HEAD)), ("layers 2 to 5", slice(N_HEAD, None)):
    low, high = mean[part].amax(0)
    print(f"{name}: scores times 1/2 cost at most {low:.1f} mnat, "
          f"times 2 at most {high:.1f}")
assert (mean + 3 * error > 0).all()

# %% [markdown]
# No head gets better at twice or half its temperature, as far as 32 stories can tell.
# That is one head at a time, and in large steps. For small steps of all twenty at once, give each head a factor $s$ of its own and take the slope of the loss in each $\ln s$, at $s = 1$:

# %%
slopes = []
for b in range(len(x)):
    log_s = torch.zeros(len(HEADS), requires_grad=True)
    with edited(taleteller, {h: scale_scores(s) for h, s in zip(HEADS, log_s.exp())}):
        log_p = taleteller(x[b]).log_softmax(-1).gather(-1, y[b, :, None])
    slopes.append(torch.autograd.grad(-log_p.sum() / n_chars * 1000, log_s)[0])
slopes = torch.stack(slopes)  # (texts, heads)
mean, error = slopes.mean(0), slopes.std(0) / len(slopes) ** 0.5
print(f"largest of {len(mean)} slopes: {mean.abs().max():.2f} mnat per unit of ln s; "
      f"standard errors {error.min():.2f} to {error.max():.2f}")
print(f"slopes more than 2 standard errors from 0: {(mean.abs() > 2 * error).sum()}; "
      f"mean of (slope / standard error)²: {(mean / error).square().mean():.1f}")
assert (mean.abs() < 3 * error).all() and (mean / error).square().mean() < 1.5

# %% [markdown]
# All twenty slopes are 0 as far as 48 stories can tell: so many slopes whose true value is 0 would have a mean square of about 1 in units of their standard errors.
# To first order, then, no joint change of temperatures helps either.
# It is what training should reach, since a factor of a head's scores is a factor of its $W_Q$: the optimizer could set these temperatures, and has.
#
# (explanation)=
# ## Is attention an explanation?
#
# Weights are shown as explanations: *the model said this because it looked there*.
# {cite}`jain2019` say, of recurrent networks with one layer of attention, that they are not; {cite}`wiegreffe2019` answer that it depends on what is called an explanation.
# Take two things to explain.
#
# **One key is deleted, in one head and one row**, the weights of the others growing in proportion.
# How far does the prediction move? We take the root of the KL divergence; below only its order counts.
# All that follows the head is computed exactly, for the one row that changes.

# %% tags=["hide-input"]
exact = deepcopy(taleteller).double()  # most effects are small: 64 bits


def last_row(z, layer, b, i):
    """Logits (n, V) at row i of text b, if heads of `layer` had outputs z (n, n_head, d)."""
    now = streams[layer - 1][b, i].double()
    for l, block in enumerate(exact.blocks[layer - 1 :], layer):
        if l > layer:  # a new query, key and value; the keys before them are the old
            new = block.attention.heads(block.norm_1(now)[:, None])  # each (n, n_head, 1, d)
            old = (z[b, :, :i].double().expand(len(now), -1, -1, -1)
                   for z in (seen[l - 1].k, seen[l - 1].v))
            k, v = (torch.cat(pair, -2) for pair in zip(old, new[1:]))
            z = attention(new[0], k, v)[..., 0, :]
        now = now + block.attention.out(z.flatten(-2))
        now = now + block.mlp(block.norm_2(now))
    return exact.head(exact.norm(now))


def moved(new, old):
    """√KL of predictions, (n,)."""
    old, new = old.double().log_softmax(-1), new.double().log_softmax(-1)
    return (old.exp() * (old - new)).sum(-1).clamp(min=0).sqrt()


# %% [markdown]
# Then compare the order of the weights with the order of the effects, by their **rank correlation**, the correlation of ranks:

# %% tags=["hide-input"]
def ranks(z):
    """Ranks along the last axis; equal numbers share the mean of theirs."""
    a, b = z.unsqueeze(-1), z.unsqueeze(-2)
    return (a > b).sum(-1) + ((a == b).sum(-1) - 1) / 2


def spearman(a, b):
    """Correlation of ranks, along the last axis."""
    a, b = (r - r.mean(-1, keepdim=True) for r in (ranks(a).double(), ranks(b).double()))
    return (a * b).sum(-1) / ((a**2).sum(-1) * (b**2).sum(-1)).sqrt()


# %% [markdown]
# At place 200 of each story, in each of the twenty heads, delete 24 random keys and the 12 with the most weight, one at a time.

# %%
i, generator = 200, torch.Generator().manual_seed(0)
inside = torch.zeros(2, len(HEADS), few)
for h, (layer, head) in enumerate(HEADS):
    own = seen[layer - 1]
    for b in range(few):
        some = torch.randperm(i + 1, generator=generator)[:24]
        j = torch.cat([some, own.weights[b, head - 1, i].topk(12).indices])
        w, v = own.weights[b, head - 1, i, j, None].double(), own.v[b, head - 1, j].double()
        z = own.output[b, :, i].double().repeat(37, 1, 1)  # the first stays as it is
        z[1:, head - 1] = (z[1:, head - 1] - w * v) / (1 - w).clamp(min=1e-9)
        new = last_row(z, layer, b, i)
        effect = moved(new[1:], new[0])
        for part, these in enumerate((slice(24), slice(24, None))):
            inside[part, h, b] = spearman(w[these, 0], effect[these])
        assert torch.allclose(new[0].float(), logits[b, i], atol=1e-3)
for what, r in zip(("24 random keys", "the 12 keys with most weight"), inside.mean(-1)):
    print(f"rank correlation of weight and effect, {what}: {r.mean():.2f}, "
          f"heads {r.min():.2f} to {r.max():.2f}")

# %% [markdown]
# Inside a head the weights order random keys very well by what their deletion changes, and the heaviest keys fairly well.
# They should: what is deleted is the weight times a value.
#
# **One token of the text is replaced**, by the one that another story has in that place, and the whole model reads anew.
# The baseline is a rule that needs no model: *recent tokens matter more*.

# %%
def steepness(b, i):
    """Length of the gradient of the likeliest token's log p at each embedding: (i + 1,)."""
    start = streams[0][b : b + 1, : i + 1].clone().requires_grad_()
    now = start
    for block in taleteller.blocks:
        now = block(now)
    top = taleteller.head(taleteller.norm(now[0, -1])).log_softmax(-1).max()
    return torch.autograd.grad(top, start)[0][0].norm(dim=-1)


found = []
for b in range(16):
    differ = (x[b, : i + 1] != x[b + 1, : i + 1]).nonzero()[:, 0]
    j = differ[torch.randperm(len(differ), generator=generator)[:24]]
    changed = x[b, : i + 1].repeat(24, 1)
    changed[torch.arange(24), j] = x[b + 1, j]
    effect = moved(taleteller(changed)[:, -1], logits[b, i])
    mean = torch.stack([layer.weights[b, :, i, j] for layer in seen]).mean((0, 1))
    last = seen[-1].weights[b, :, i, j].mean(0)
    r = [spearman(z, effect) for z in (j, mean, last, steepness(b, i)[j])]
    both = spearman(mean, j)
    for one, two_ in (1, 0), (0, 1):  # what one has beyond the other
        left = (1 - r[two_] ** 2) * (1 - both**2)
        r.append((r[one] - r[two_] * both) / left.sqrt())
    found.append(torch.stack(r))

# %% [markdown]
# The rank correlation of each rule with the effects, also with the other rule held fixed (a *partial* correlation: the other is taken out of both); below the line the baseline, and the differences from it, story by story:

# %%
found = torch.stack(found).T  # (6, texts)
by_rule = [z.mean() / (z.std() / len(z) ** 0.5) for z in found[1:4] - found[0]]
assert abs(by_rule[0]) < 2 and by_rule[1] < -2 and by_rule[2] > 3
rules = ("recency alone", "mean of all weights", "mean of the last layer's",
         "length of the gradient", "all weights, recency held fixed",
         "recency, all weights held fixed")
rows = {rules[n]: found[n] for n in (1, 2, 3, 4, 5)} | {"": None, rules[0]: found[0]}
rows |= {f"{rules[n]} less recency": found[n] - found[0] for n in (1, 2, 3)}
for what, z in rows.items():
    print("-" * 69 if z is None else
          f"{what:40} {z.mean():.2f} (standard error {z.std() / len(z) ** 0.5:.2f})")

# %% [markdown]
# The mean of all weights predicts well which tokens matter; recency does so as well, as far as 16 stories can tell, and needs no model.
# What the weights know beyond recency is in the row with recency held fixed: it is there, and it is smaller. Recency, too, knows something beyond the weights.
# The last layer's weights alone, which pictures often show, predict worse than recency does; the gradient, which sees all paths and not only those through weights, is better.
# (One place in each of 16 stories; replaced are tokens that differ between the two stories.)
#
# (lens)=
# ## When is it known?
#
# The **logit lens** {cite}`nostalgebraist2020` applies the model's last norm and head to the residual stream before the end, here after each attention and each MLP.
# Where a name is due, and given that a name is said: how probable is the right one?

# %% tags=["hide-input"] alt="Two curves along the stages of the model, attention and MLP of layers 1 to 5: the probability of the right name is near zero up to layer 4 and near one after attention 5; that of the right gender goes from one half to 0.8 at attention 3, and to one at attention 5"
stages, name_known, gender_known = ["embedding"], [], []
mids = [s + block.attention(block.norm_1(s)) for s, block in zip(streams, taleteller.blocks)]
points = [streams[0]]
for l, (mid, after) in enumerate(zip(mids, streams[1:]), 1):
    points += [mid, after]
    stages += [f"attention {l}", f"MLP {l}"]
for point in points:
    at_name = taleteller.head(taleteller.norm(point[again]))
    among = at_name[:, NAMES].log_softmax(-1)
    right = (NAMES == y[again][:, None]).double().argmax(-1)
    name_known.append(among.gather(-1, right[:, None]).exp().mean().item())
    at = taleteller.head(taleteller.norm(point[pronoun]))
    he = at[:, HE].logsumexp(-1) - at[:, SHE].logsumexp(-1)
    sure = torch.where(torch.isin(y[pronoun], HE), he, -he).sigmoid()
    gender_known.append(sure.mean().item())
fig, ax = figure()
ax.plot(stages, name_known, "o-", label="right name, given a name", color=COLORS["CYCLE"][0])
ax.plot(stages, gender_known, "s-", label="right gender, given a pronoun",
        color=COLORS["CYCLE"][2])
ax.tick_params(axis="x", rotation=60)
ax.set(ylabel="probability, read by the lens", ylim=(0, 1.03),
       title="Gender comes in two steps, the name in one")
layer, late = 2 * gender_head[0], 2 * max(movers)[0]
assert gender_known[layer - 2] < 0.55 < 0.75 < gender_known[layer - 1]  # one attention
assert gender_known[late - 2] < 0.9 < 0.99 < gender_known[late - 1]  # and the last
assert name_known[late - 2] < 0.1 < 0.9 < name_known[late - 1]  # of the movers
ax.legend()
for what, known in ("right name:  ", name_known), ("right gender:", gender_known):
    print(what, " ".join(f"{z:.2f}" for z in known))
fig

# %% [markdown]
# Nothing is to be seen up to layer 2. Then the gender comes in two steps, at the attentions of 3.3 and of layer 5, where 5.3 is, and the name in one, at the attention of both movers; the MLPs change little.
# The lens is made for the last stage: what it does not show may be there in other directions.
#
# **And the MLPs between?** They have been described as *key-value memories* {cite}`geva2021`, and [chapter 07](07_the_block_and_the_model.ipynb) found that a neuron's value says something of what comes next.
# Is its key a token? Take twelve random neurons of each layer: how much of a neuron's variance does the current token explain (corrected for fitting one mean to each token), and are its strongest places those of one token?
# (We look at as many places as that token has, 30 at most, and ask for four in five; a token that comes less than five times does not count.)

# %%
generator = torch.Generator().manual_seed(0)
by_token, agree = [], 0
one_hot = F.one_hot(x.flatten(), 2048).float()  # (tokens, V)
count = one_hot.sum(0)[:, None]
for block, mid in zip(taleteller.blocks, mids):
    some = torch.randperm(block.mlp.up.out_features, generator=generator)[:12]
    active = F.gelu(F.linear(block.norm_2(mid), block.mlp.up.weight[some]))  # (B, T, 12)
    mean = one_hot.T @ active.flatten(0, 1) / count.clamp(min=1)  # of each token
    left = ((active - mean[x]) ** 2).sum((0, 1)) / (x.numel() - (count > 0).sum())
    by_token.append((1 - left / active.var((0, 1))).mean().item())
    top = x.flatten()[active.flatten(0, 1).topk(30, dim=0).indices].T  # (12, 30)
    for at in top:  # the tokens at a neuron's strongest places
        token = at[:5].mode().values
        n = int(count[token].clamp(max=30))
        agree += n >= 5 and (at[:n] == token).sum().item() >= 0.8 * n
print("variance explained by the token, by layer:", *(f"{z:.2f}" for z in by_token))
print(f"neurons whose strongest places are those of one token: {agree} of 60")
assert by_token[0] > 0.5 > max(by_token[1:]) and agree < 6

# %% [markdown]
# In the first layer the token explains more than half of a neuron's variance, later 0.25 to 0.36 of it, and one of the sixty is a key for one token.
# A pattern that takes more than a token to describe would not be seen by this.
#
# (one-head)=
# ## What one head cannot do
#
# {cite}`thomas2025` came to see heads as dumb: one head is a simple matcher, and what looks clever is made by many heads in many layers.
# Here it can be tested.
# A mover makes three things from what it reads: queries, keys and values.
# Let all heads of the layers below a mover write only their mean: what the mover then reads at a place depends on no other token than the one there.
# From such a run take *one* of the three, and leave the other two as they are.
# For comparison, take it from another story, which knows nothing of this one.

# %%
below = [head for head in HEADS if head[0] < max(movers)[0]]


def inputs(edits):
    """q, k, v (few, T, d) of the movers, if heads below them are edited."""
    now, found = streams[0][:few], {}
    with edited(taleteller, edits):
        for l, block in enumerate(taleteller.blocks, 1):
            q_k_v = block.attention.heads(block.norm_1(now))
            found |= {(l, h): dict(zip("qkv", (z[:, h - 1] for z in q_k_v)))
                      for at, h in movers if at == l}
            now = block(now)
    return found


def name_left(silenced, stage):
    """p(name again) if the movers' q, k or v is from another run."""
    edits = {head: put(stage, z[stage]) for head, z in silenced.items()}
    return judged(run(edits, few))[1].item()

# %% [markdown]
# All layers below at once, each alone, and the other story; in the columns, p(name again) if the query, the key or the value is made from that run:

# %%
parts = {}
print(f"nothing exchanged: {base_few[1]:.2f}")
print("layers that write their mean    query   key  value")
runs = {what: inputs(silent(groups.get(what, below)))
        for what in ("all layers below", *(f"layer {l}" for l in range(1, max(movers)[0])))}
runs["(another story)"] = {head: {stage: of(head, stage)[shuffled] for stage in "qkv"}
                            for head in movers}
for what, z in runs.items():
    parts[what] = [name_left(z, stage) for stage in "qkv"]
    print(f"{what:30}" + "".join(f"{p:7.2f}" for p in parts[what]))
q, k, v = parts["all layers below"]
assert q < 0.2 and q < k < v and v > base_few[1] - 0.1
assert max(parts["(another story)"]) < 0.4

# %% [markdown]
# And single heads below, for the query and for the key:

# %%
falls = []
for head in below:
    z = inputs(silent([head]))
    falls.append([base_few[1].item() - name_left(z, stage) for stage in "qk"])
for stage, z in zip(("query", "key"), torch.tensor(falls).T):
    print(f"{stage} without one head below: p(name again) falls by at most {z.max():.2f}")

# %% [markdown]
# This fits what Thomas says.
# The value can do without the layers below: the name is in the token.
# The query cannot: which name is due is known only from the story, and the token before the name does not say it.
# The key is between: without context p(name again) is 0.59, of 0.83.
# (A head may also fail at inputs that it never met. But with values from the same run it does not fail, and the query of another story, which is of a kind that it has met, finds no more.)
# A single head matches and fetches; the rest is the composition of layers: the queries of the two heads need what the layers below write, above all the first two; the keys need it less.
# Removed from the queries one at a time, no head below costs more than 0.05, which, as before, does not say that it is idle.
#
# :::{why-it-works}
#
# Shown: the measures do not change when a head is rewritten, because they are functions of the weights, of $\bar q \cdot k$, or of scores made from inputs less their mean at each position, and each of these stays, but for constants that the softmax does not see.
# A straight line in the scores is an exponential average.
# The name that is said is decided by the values of two heads at the places of a name, and these places by their keys, since exchanging either changes the name, and exchanging both mostly restores it.
#
# :::
#
# :::{why-it-might}
#
# Why a recency bias? Recent words say most about the next one, and a sum of exponential averages of different lengths is a cheap summary of a past.
# Why do single ablations in layers 2 to 4 cost so little? Perhaps since later layers read a sum of heads that average nearly the same tokens.
# And the wide mean elsewhere: weights have to sum to 1, so a head that has nothing to fetch has to put them somewhere, and a mean of many values varies little.
# All numbers of this chapter are of one model, trained once, with one seed. Which heads do what may be different in another, and that was not tried.
#
# :::
#
# ## What to take along
#
# - A head is described by what stays when it is rewritten: its weights, their effective keys, the share of deviance that offset, key or content explain.
# - In layer 1 of Taleteller offset explains most, in layers 2 to 4 the key, whose mean score rises along the story in a straight line, and in layer 5 the match of contents.
# - How many keys a head averages depends on the query: the same head is a `dict` where the next word depends on one place of the story, and else an average that is hardly used.
# - What a head does is found out by exchanging parts of it, and only by an exchange that could have failed.
# - What heads cost one by one does not sum to what they cost together. Say what was put in their place.
# - Compare any explanation by weights with recency.
#
# **Exercises.** [The sheet of this chapter](../exercises/12_reading_the_heads.ipynb): two ways of reading counted apart, a measure to fool, a clock with bugs, a head switched off, a head patched, and a key deleted.
#
# **Further reading.** {cite}`elhage2021` and {cite}`olsson2022` take models of attention apart as we do, in the first view.
# {cite}`wang2022` accounts for one behavior of GPT-2 from end to end, with tests of whether the account is enough.
# {cite}`voita2019` and {cite}`michel2019` remove heads by the dozen.
# {cite}`jain2019`, then {cite}`wiegreffe2019`: read in this order, and look for what each means by *explanation*. {cite}`abnar2020` multiply the weights of all layers into a *rollout*, which leaves out values and MLPs.
