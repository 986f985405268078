# %% [markdown]
# # Modern blocks and real weights
#
# Taleteller is the GPT of chapter 07, trained in chapter 08.
# It was made for 384 tokens.
# Give it one more.

# %%
import torch

from tinyllm.model import load

taleteller = load("taleteller").requires_grad_(False)
try:
    taleteller(torch.zeros(385, dtype=torch.long))
except ValueError as error:
    print(error)

# %% [markdown]
# There is a vector for each of 384 positions, and none for the next.
# Meanwhile somebody has published a model with room for forty thousand tokens, and its `config.json` says what it is made of.
# These are its lines about the shape of the network, from Qwen3-0.6B.

# %%
qwen3 = {
    "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 3072, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "rope_theta": 1000000, "rope_scaling": None,
    "max_position_embeddings": 40960, "tie_word_embeddings": True,
}
no_place = qwen3["num_attention_heads"] * qwen3["head_dim"], qwen3["hidden_size"]
print(f"{no_place[0]} channels in the heads of a model of {no_place[1]}; 16 queries, 8 keys")

# %% [markdown]
# Five numbers and a yes or no made the GPT of chapter 07.
# Half of these lines have no place in them: key-value heads that are fewer than the heads, heads that together are wider than the model, a norm by its root mean square, an activation called SiLU, a *rope*.
#
# They are exchanges, five or six of them, and each takes one part of the block for another.
# We make them one at a time, look at what each does, and then read the published weights into what we have built.
#
# :::{admonition} You will be able to
# :class: tip
# - exchange each part of a GPT-2 block for the one that replaced it, and say what it changes, what it costs and what it buys;
# - read attention with rotary positions as a lookup by offset and as a kernel over distance, and say why neither goes beyond the lengths of the training;
# - load the weights of GPT-2, Llama 3 or Qwen 3 into your own model, and find out why when the logits differ.
#
# Reading: 40 minutes. Running: about a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with norms, sums, MLP, the repeated block and the unembedding marked, the parts of chapter 07 that are exchanged here"
from course.figures import machine_map

machine_map(here="model")

# %% [markdown]
# The place on the map is that of chapter 07, since the parts change and the plan does not.
# From earlier chapters we take attention, the smoother, the model, its trainer and its cache.

# %%
import math
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from course.data import tales
from course.figures import COLORS, figure
from tinyllm.attention import MultiHeadAttention, attention, causal_mask
from tinyllm.generation import Cache
from tinyllm.layers import Parts, head_size
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.smoothing import nadaraya_watson

CYCLE = COLORS["CYCLE"]

# %% [markdown]
# A `Config` has more fields than those.
# The others have defaults, which are the parts of chapter 07, so that nothing there had to speak of them; `replace` makes a copy in which one is exchanged.

# %%
base = Config(vocab_size=60, block_size=128, n_layer=2, n_head=4, d_model=32)
for change in ({"norm": "rms"}, {"positions": "rope"}, {"mlp": "swiglu"}, {"n_kv_head": 2},
               {"qk_norm": True}, {"tie_weights": True}):
    print(f"{change}: {n_parameters(replace(base, **change)):,} weights")
n_parameters(base)

# %% [markdown]
# (rms-norm)=
# ## RMSNorm: what is left of LayerNorm
#
# LayerNorm does two things to a vector: it subtracts the mean of the channels, and it divides by their standard deviation.
# RMSNorm leaves the first out and divides by the root of the mean square {cite}`zhang2019rms`:
#
# $$ \operatorname{RMSNorm}(x) = g \odot \frac{x}{\sqrt{\tfrac1C \sum_c x_c^2 + \varepsilon}} $$
#
# *In words:* [norms of a layer](mathematics.ipynb#Norms-of-a-layer).

# %% tags=["quote"]
from tinyllm.layers import RMSNorm

# %% [markdown]
# By hand: $(3, 4)$ has the mean square $12.5$ and the root $3.536$, so it becomes $(0.849, 1.131)$.
# Ten times the vector gives the same.
# What LayerNorm made of two channels was the sign of their difference; here the direction survives.

# %%
x = torch.tensor([[3.0, 4.0], [30.0, 40.0], [1.0, -1.0]])
rms, layer = RMSNorm(2).requires_grad_(False), nn.LayerNorm(2).requires_grad_(False)
assert torch.allclose(rms(x), nn.RMSNorm(2, eps=1e-5)(x))
assert torch.allclose(layer(x), rms(x - x.mean(-1, keepdim=True)))
rms(x), layer(x)

# %% [markdown]
# The second assertion is the relation between the two: a LayerNorm is an RMSNorm of the vector without its mean.
# So they differ only in the mean over the channels, one number out of $C$.
# And every layer looks at the stream through LayerNorm, which subtracts that number: add 5 to all channels of a token, and no layer notices.
# So it can be taken out for good, from all that is written to the stream: from each embedding, and from each column of the matrices that write, since what they write is a mix of their columns {cite}`jiang2023`.
# Then every stream has the mean 0, and the two norms are the same function.
#
# Taleteller was trained with LayerNorm.
# Take the means out of its weights, exchange its norm, and compare.

# %%
without = GPT(replace(taleteller.config, norm="rms")).requires_grad_(False)
weights = {name: p.clone() for name, p in taleteller.named_parameters()}
for name, p in weights.items():
    if name.startswith(("token", "position")):
        p -= p.mean(1, keepdim=True)  # of each vector
    elif name.endswith(("out.weight", "down.weight")):
        p -= p.mean(0, keepdim=True)  # of each vector that a column adds
without.load_state_dict(weights)
ids = torch.randint(2048, (2, 200), generator=torch.Generator().manual_seed(0))
assert torch.allclose(without(ids), taleteller(ids), rtol=0, atol=1e-3)
print("Taleteller with RMSNorm: the same logits")

# %% [markdown]
# So a model with LayerNorm, without biases and with the norm before the layers, *is* a model with RMSNorm.
# Nothing that the first can compute is lost to the second.
# Training is another matter, since the mean can move there; we measure it below, with all the others.
#
# (rope)=
# ## RoPE: turned by position
#
# Chapter 03 added a vector for the position to that of the token.
# So a key says *where* it stands.
# What a query wants to know is mostly *how far away*: the token before, the last sentence.
# And nothing in learned vectors says that places 5 and 6 are as far apart as 105 and 106; a model has to find that out from examples.
#
# **Rotary position embedding** puts the position where the comparison is made {cite}`su2024`.
# One plane first: turn the vector of each token by 0.1 radian times its position.
# Token 7 has been turned by 0.7 and token 5 by 0.5, so the angle between them has changed by 0.2; and so it has between tokens 107 and 105.
#
# :::{drawing}
# ![Two circles with a query and a key as arrows, turned by their positions: 3 and 1 on the left, 7 and 5 on the right. The angle between the arrows is the same](../pages/drawings/rotation_by_position.svg)
#
# One plane of a query and a key. Broken lines: before they were turned.
# :::
#
# Now take the $d$ channels of a query as $d/2$ planes.
# In plane $i$, turn the query at position $t$ by the angle $t\,\omega_i$, and do the same to every key.
#
# $$ R_t: \quad
# \begin{pmatrix} a \\ b \end{pmatrix} \to
# \begin{pmatrix} \cos t\omega_i & -\sin t\omega_i \\ \sin t\omega_i & \cos t\omega_i \end{pmatrix}
# \begin{pmatrix} a \\ b \end{pmatrix},
# \qquad \omega_i = \theta^{-2i/d}, \quad i = 0, \dots, \tfrac d2 - 1 $$
#
# If both vectors of a dot product are turned by the same angle it stays as it was.
# So what matters is only by how much more one was turned than the other:
#
# $$ (R_t\,q) \cdot (R_s\,k) = q \cdot (R_{s-t}\,k) $$
#
# Position enters the scores as an offset, without a parameter, and values are not turned.
# The planes turn at different speeds, as the hands of a clock do.
# The first turns by one radian per token; the last, with $\theta = 10{,}000$ and $d = 64$, by $1/7{,}499$.
#
# *In words:* [rotations](mathematics.ipynb#Rotations).

# %% tags=["quote"]
from tinyllm.layers import rope_table

# %% [markdown]
# Plane $i$ consists of channels $i$ and $i + d/2$; there is [another way to pair them](#two-layouts), to which we come.

# %% tags=["quote"]
from tinyllm.layers import rotate

# %% [markdown]
# By hand, in one plane: three tokens that all have the query $(1, 0)$ and the key $(1, 0)$.
# The score of token $t$ with token $s$ is $\cos(t - s)$: 1 with itself, $\cos 1 = 0.540$ at distance one, $\cos 2 = -0.416$ at distance two, before or behind.

# %%
one_plane = Config(1, 3, n_layer=1, n_head=1, d_model=2, positions="rope")
q = k = torch.tensor([[1.0, 0.0]] * 3)  # (T=3, d=2)
turned = rotate(q, rope_table(one_plane))
turned, turned @ turned.T

# %% [markdown]
# A head of eight channels has four planes.
# This is where each of them has turned the same arrow at the first sixteen positions.

# %% alt="Arrows for sixteen positions in four rows, one for each plane: in the first row they go around more than twice, in the second they turn by about a quarter, in the third and fourth they hardly move"
fig, ax = figure(height=2.8)
cos, sin = rope_table(replace(base, block_size=16, positions="rope")).chunk(2, dim=-1)
t, plane = torch.meshgrid(torch.arange(16), torch.arange(4), indexing="ij")
ax.quiver(t, plane, cos, sin, color=CYCLE[0], scale_units="inches", scale=4, width=0.005)
ax.set(xlabel="position t", xlim=(-0.5, 16), ylim=(3.5, -0.6), yticks=range(4))
ax.set_yticklabels([f"plane {i}" for i in range(4)])
ax.set_title("Each plane turns at a speed of its own, from fast to slow")
fig

# %% [markdown]
# And for any vectors: take random queries and keys, and read the same pair three places apart anywhere in a text.

# %%
heads = Config(1, 64, n_layer=1, n_head=1, d_model=16, positions="rope")
rope = rope_table(heads)
q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
scores = torch.stack([rotate(q, rope[t]) @ rotate(k, rope[t - 3]) for t in range(3, 64)])
assert torch.allclose(scores, scores[0].expand(61), atol=1e-4)
other = rotate(q, rope[3]) @ rotate(k, rope[6])
print(f"three before: {scores[0]:.3f}, everywhere; three after: {other:.3f}")

# %% [markdown]
# In the model the table comes from `model.position`, and the attention layer overrides one method.
# (The norms in it are for a [later section](#qk-norm).)

# %% tags=["quote"]
from tinyllm.layers import RotaryAttention

# %% [markdown]
# (rope-kernel)=
# ## A kernel over distance, with waves
#
# What does a head like that prefer?
# Ask for the *mean* score at distance $\Delta$, over queries and keys of tokens that have nothing to do with each other.
# A rotation is linear, so the mean over all pairs is the score of the means $\bar q$ and $\bar k$, and in the plane of each clock hand that is a cosine:
#
# $$ \kappa(\Delta) = \bar q \cdot (R_{-\Delta}\,\bar k) = \sum_{i} |\bar q_i|\,|\bar k_i| \cos(\Delta\,\omega_i + \phi_i) $$
#
# $\bar q_i$ and $\bar k_i$ are the parts in plane $i$, and $\phi_i$ is the angle from the key's part to the query's.
# A sum of waves can fall for a while.
# It cannot fall forever, since each wave comes back, the slow ones late.
# How late depends on the size of the heads and on $\theta$: the slowest plane of Qwen 3 needs five million tokens for a turn, so a mean made of slow planes can fall throughout any text that it reads.
# That RoPE makes attention decay with distance is often said, and as a statement about all queries and keys it is false {cite}`barbero2024`.
#
# *In words:* [rotations](mathematics.ipynb#Rotations), [expectation](mathematics.ipynb#Expectation).
#
# Let us train models to look at: two blocks of 32 channels, three kinds of positions, three seeds, on texts of 32 letters.
# Their `block_size` is 128, four times as much, for what comes after.

# %%
from tinyllm.batches import get_batch
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

text, held_out = tales(300_000, seed=0), tales(40_000, seed=1)
alphabet = sorted(set(text + held_out))
letters, test = (torch.tensor([alphabet.index(c) for c in z]) for z in (text, held_out))
base, SHORT = replace(base, vocab_size=len(alphabet)), 32


def learn(config, seed, how=TrainConfig(n_steps=300, batch_size=12, lr=0.03)):
    torch.manual_seed(seed)
    model, generator = GPT(config), torch.Generator().manual_seed(seed)
    optimizers = make_optimizers(model, how)
    for step in range(how.n_steps):
        x, y = get_batch(letters, how.batch_size, SHORT, generator)
        train_step(model, optimizers, x, y, step, how)
    return model.requires_grad_(False)


KINDS = ("learned", "rope", "none")
trained = {kind: [learn(replace(base, positions=kind), seed) for seed in range(3)]
           for kind in KINDS}

# %% [markdown]
# "None" has no positions at all: the causal mask is the only thing that tells its tokens apart by place, and a model can make positions out of it {cite}`haviv2022`.
# What does each lose on new text of the length that it was trained on?
# The three seeds of a kind saw the same letters as those of another, in the same order, so differences are taken seed by seed.

# %%
def losses(model, length):
    """Nats per letter at each of the positions of texts of this length, (length,)."""
    n = (len(test) - 1) // length
    x, y = (test[i : i + n * length].view(n, length) for i in (0, 1))
    log_p = model(x).log_softmax(-1)
    return -log_p.gather(-1, y[..., None])[..., 0].mean(0)


short = {kind: torch.stack([losses(m, SHORT).mean() for m in models])
         for kind, models in trained.items()}
for kind in ("rope", "none"):
    d = short[kind] - short["learned"]
    error = d.std() / 3**0.5
    print(f"{kind:5} against learned: {d.mean():+.1f} nats, mean of 3 paired differences")
    assert d.mean().abs() > 3 * error and (d.sign() == d[0].sign()).all()

# %% [markdown]
# Same letters, same steps, one part exchanged: both differences have the same sign with every seed, and are more than three times their standard error.
# (With three seeds, a difference of nothing goes that far about one time in ten: the signs and sizes say more than the factor three.)
#
# Now the kernel.
# Collect the queries and keys of each head over new texts, before they are turned, and take their means.
# Is a score of 1 much?
# To see that, divide by how much scores differ from pair to pair at one distance, 9 letters: their standard deviation there is the *spread*, one yardstick for all distances.
# (Kernel and yardstick are both made of scores, so rescaling $W_Q$ against $W_K$ changes neither.)

# %%
def queries_and_keys(model, layer, n=40):
    """Not turned, of n texts of SHORT letters: each (n_head, n·SHORT, d_head)."""
    texts = test[: n * SHORT].view(n, SHORT)
    x, context = model.position(model.token(texts), slice(SHORT))
    for block in model.blocks[:layer]:
        x = block(x, **context)
    block = model.blocks[layer]
    q, k, _ = block.attention.heads(block.norm_1(x))  # no rope: nothing turns
    return (z.transpose(0, 1).flatten(1, 2) for z in (q, k))


model = trained["rope"][0]
table, beta = rope_table(model.config), head_size(model.config) ** -0.5
kernels, spreads = [], []
for layer in (0, 1):
    q, k = queries_and_keys(model, layer)
    q_mean, k_mean = q.mean(1), k.mean(1)  # (n_head, d_head)
    curve = [(rotate(q_mean, row) * k_mean).sum(-1) for row in table]  # at 128 distances
    kernels.append(beta * torch.stack(curve, 1))
    pairs = beta * rotate(q, table[9]) @ k.transpose(1, 2)  # all of them, at distance 9
    assert torch.allclose(kernels[-1][:, 9], pairs.mean((1, 2)), atol=1e-3)
    spreads.append(pairs.std((1, 2)))
kernel = torch.cat(kernels) / torch.cat(spreads)[:, None]  # (8, 128), in spreads
slopes = kernel.diff(dim=1).sign()
assert (slopes.amax(1) > slopes.amin(1)).all()  # each goes up somewhere, and down
tuple(kernel.shape)

# %% [markdown]
# Three of the eight heads: the one with the least preference for any distance, the one with the most, and one between.

# %% alt="Mean score of unrelated queries and keys against their distance from 0 to 127 for three heads of a trained model: one stays near zero, the others fall from distance 0 to about 25, and come back up between 40 and 70, and again later"
ranked = (kernel[:, :SHORT].amax(1) - kernel[:, :SHORT].amin(1)).argsort()
fig, ax = figure()
for head, color in zip(ranked[[0, 5, 7]].tolist(), CYCLE):
    name = f"block {head // 4 + 1}, head {head % 4 + 1}"
    ax.plot(kernel[head], color=color, label=name)
    assert kernel[head, SHORT:].max() > kernel[head, SHORT - 1]  # it comes back
ax.axvspan(SHORT, 127, color=COLORS["QUIET"], alpha=0.1, linewidth=0)
top = 1.25 * kernel[ranked[-1]].max()
ax.annotate("never seen in training", (125, 0.86 * top), ha="right", color=COLORS["QUIET"])
ax.set(xlabel="distance from query to key (tokens)", ylabel="mean score κ(Δ) (spreads)")
ax.set(xlim=(0, 127), ylim=(1.6 * kernel[ranked[-1]].min(), top))
ax.legend(loc="lower center", ncols=3, columnspacing=1, handlelength=1)
ax.set_title("In this model the kernel over distance comes and goes in waves")
content = kernel[ranked[0]]
assert content.max() - content.min() < 0.5 and kernel[ranked[-1]].max() > 2
fig

# %% [markdown]
# No curve is monotone, and that is asserted.
# The first head's mean scores hardly depend on the distance, compared with how much they depend on what stands there: it compares contents.
# The last one is mostly about distance: from 0 to about 23 it falls, by several spreads.
# And then it comes back.
# That is the second of only four planes, with a period of $2\pi/0.1 = 63$ letters; heads of 128 channels have 64 planes, and this figure says nothing about these.
# (In Gemma 7B heads that look at positions use the fastest planes, and the slowest are used most, perhaps for contents {cite}`barbero2024`.)
# To the right of 32 nobody has ever asked it.
#
# Can the waves be put to use?
# Give every token the same key $k$, and the query $q = R_{-3}\,k$, turned back by three places.
# Then $\kappa(\Delta) = \sum_i |k_i|^2 \cos((\Delta - 3)\,\omega_i)$, and all waves have their crest at distance 3.
# (In the cell each plane of the key is $(1, 1)$, so $|k_i|^2 = 2$, and `sharp` is $\beta$.)
# That is a head that looks three tokens back, whatever stands there.

# %%
T, d = 24, 16
rope = rope_table(Config(1, T, n_layer=1, n_head=1, d_model=d, positions="rope"))
k, (cos, sin) = torch.ones(T, d), rope[3].chunk(2)
q = rotate(k, torch.cat([cos, -sin]))  # back by 3
values = torch.randn(T, 2, generator=torch.Generator().manual_seed(0))
q_t, k_t, mask, sharp = rotate(q, rope), rotate(k, rope), causal_mask(T), 4.0
looked_up, w = attention(q_t, k_t, values, mask, scale=sharp, return_weights=True)
assert (w[3:].argmax(-1) == torch.arange(T - 3)).all()

distance = torch.arange(T)[:, None] - torch.arange(T)
omega = 10_000.0 ** (-torch.arange(0, d, 2) / d)
bells = (sharp * 2 * ((distance[..., None] - 3) * omega).cos().sum(-1)).exp() * mask
smoothed = bells / bells.sum(-1, keepdim=True) @ values
assert torch.allclose(looked_up, smoothed, atol=1e-4)
print(f"weight on the third token before: {w[3:].max(-1).values.min():.3f} at least")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** The entries are filed by their offset from the reader: the one before, three before.
#   A query can ask for an offset, for a content, or for both, each in planes of its own.
# - **As a smoother.** A kernel over distance, $e^{\beta\kappa(\Delta)}$; and where other planes hold contents, times a kernel over these.
#   It is a moving average whose window slides along; only that the kernel has waves, where a smoother's would fall off.
#
# :::
#
# The cell above computed both, and asserted that they are equal.
#
# (beyond)=
# ## Beyond the length of the training
#
# Learned positions end, and the model says so.
# RoPE has an angle for every position, so nothing stops us from going on.
# Is it any good?
# Read texts of 128 letters with models that have been trained on 32, and look at the loss place by place.

# %% alt="Loss against the position in the text for learned positions, RoPE and none, mean and range of three seeds: up to position 32 RoPE is lowest; beyond it learned positions jump up at once, RoPE holds for a few letters and then rises above them, and none rises least"
long = {kind: torch.stack([losses(m, 128) for m in trained[kind]]) for kind in KINDS}
fig, ax = figure()
for kind, color in zip(KINDS, CYCLE):
    runs = long[kind].unflatten(1, (16, 8)).mean(-1)  # (3, 16): over 8 letters each
    places = torch.arange(16) * 8 + 4
    ax.plot(places, runs.mean(0), color=color)
    ax.fill_between(places, runs.amin(0), runs.amax(0), color=color, alpha=0.2)
    ax.annotate(kind, (126, runs.mean(0)[-1]), color=color, va="center")
ax.axvline(SHORT, color=COLORS["QUIET"], linestyle="--", linewidth=1)
ax.set(xlabel="position in the text (letters)", ylabel="loss (nats per letter)")
ax.set_xlim(0, 150)
ax.set_title("RoPE goes on for a few letters here, and then fails")
for a, b, order in ((8, 32, ("rope", "learned", "none")), (32, 36, ("rope", "learned")),
                    (96, 128, ("none", "learned", "rope"))):
    means = [long[kind][:, a:b].mean(1) for kind in order]  # from low to high
    assert all((low < high).all() for low, high in zip(means, means[1:]))
fig

# %% [markdown]
# The positions beyond 32 of the learned kind are the small random vectors that they began as, and the loss jumps at once.
# RoPE goes on for some letters as if nothing had happened.
# Then it becomes the worst of the three, worse than a model that is given no positions at all.
# The figure of the kernel says where to look: its curves come back up at distances that no training text has, and keys far away are scored as if they were near.
#
# Two things are new to a head there: offsets beyond 31, and a softmax over more than 32 keys.
# A mask can change the one without the other.
# Let each letter see the 32 keys up to its own; or the 16 nearest and 16 at offsets from 48 to 63, which are no more keys than in training, half of them too far.

# %%
offset = torch.arange(128)[:, None] - torch.arange(128)  # (T, T)


class Masked(GPT):
    """The same model; its mask says which of the earlier letters a letter sees."""

    def forward(self, ids):
        x, context = self.position(self.token(ids), slice(ids.shape[-1]))
        for block in self.blocks:
            x = block(x, mask=self.mask, **context)
        return self.head(self.norm(x))


def rises(kind, mask=None):
    """How much the loss rises from letters 9-32 to letters 97-128, for each seed, (3,)."""
    found = []
    for as_trained in trained["rope"]:
        model = kind(as_trained.config).requires_grad_(False)
        model.load_state_dict(as_trained.state_dict())
        model.mask = mask
        places = losses(model, 128)
        found.append(places[96:].mean() - places[8:SHORT].mean())
    return torch.stack(found)


# %% [markdown]
# All keys, for comparison, the window, and the window with its farther half moved away:

# %%
far = (48 <= offset) & (offset < 64)
masks = {"all keys": offset >= 0, "the 32 nearest": offset < SHORT,
         "16 near and 16 far": (offset < 16) | far}
for name, mask in masks.items():
    rise, harm = rises(Masked, mask), name != "the 32 nearest"
    assert rise.min() > 1 if harm else rise.abs().max() < 0.1
    print(f"{name:18} {'more than a nat higher' if harm else 'no more than 0.1 nats'}")

# %% [markdown]
# With the window the loss stays where it was, at positions four times as large as any in training: scores know offsets only, and these the model has seen.
# And as few keys as in training do not help where half of the offsets are new.
#
# What remains is the reverse, all the keys and no new offset: what is more than 31 letters away is scored as if it were 31 away.

# %%
class Clamped(GPT):
    """The same model, to which no key is farther away than SHORT - 1 letters."""

    def forward(self, ids):
        x, table = self.token(ids), self.position.table  # as many rows as there are letters
        for block in self.blocks:
            q, k, v = block.attention.heads(block.norm_1(x))  # no rope: nothing turns
            near = rotate(q, table) @ rotate(k, table).mT
            clamped = rotate(q, table[SHORT - 1]) @ k.mT
            scores = beta * torch.where(offset < SHORT, near, clamped)
            w = scores.masked_fill(offset < 0, -torch.inf).softmax(-1)
            x = x + block.attention.out((w @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm_2(x))
        return self.head(self.norm(x))


rise = rises(Clamped)
assert rise.abs().max() < 0.3  # and more than a nat with the offsets as they are
print(f"all keys, offsets up to 31: {rise.mean():.1f} nats higher")

# %% [markdown]
# So in these models it is mostly the offsets: with all the keys and no new offset about a tenth of a nat is lost, not more than one.
# (In the mask of near and far keys some known offsets are missing, too; what that costs alone was not tried.)
#
# That a window is all one needs does not follow.
# Mistral 7B was *trained* with such a *sliding window*, and its `config.json` says how wide.
# Large models that were trained without one fail when a window hides their first tokens, on which many of their heads put much of their weight; with these few kept in sight they go on {cite}`xiao2024`.
# Our small ones show nothing of the kind.
#
# How far RoPE goes on by itself depends on the model, too: with twice the channels and blocks of 64 letters, recorded in the same file as the table [below](#modern-bill), its loss was 0.06 to 0.08 nats higher at letters 65 to 96 than at 33 to 64, and the worst of the three from 193 on, at both learning rates.
#
# Without positions the loss changes least, as others have found on other tasks {cite}`kazemnejad2023`.
# Least is not best: it begins higher.
# Nor is it none: such a model can tell a place by the number of keys before it {cite}`haviv2022`, and long texts have numbers that it has not seen.
#
# (two-layouts)=
# ## Two layouts, or why my logits differ
#
# Which two channels make a plane?
# The paper, and Meta's own code for Llama, take neighbors, $(2i, 2i+1)$.
# GPT-NeoX, Hugging Face's `transformers` and this book take $(i, i + d/2)$.
# Both are RoPE.
# But weights that were trained in one layout and are run in the other give wrong logits and no error message; the question comes up again and again ([transformers #25199](https://github.com/huggingface/transformers/issues/25199) is one thread of many).
#
# The channels of queries and keys have no names; only their dot product counts.
# So a model can be moved from one layout to the other by permuting the *rows* of $W_Q$ and of $W_K$, in each head alike.

# %%
def rotate_neighbors(x, rope):
    """`rotate` for planes of channels 2i and 2i + 1."""
    cos, sin = rope.chunk(2, dim=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


C, d = 24, 8
generator = torch.Generator().manual_seed(0)
x, W_q, W_k = (torch.randn(n, C, generator=generator) for n in (10, d, d))
rope = rope_table(Config(1, 10, n_layer=1, n_head=3, d_model=C, positions="rope"))
halves = rotate(x @ W_q.T, rope) @ rotate(x @ W_k.T, rope).T
mixed_up = rotate_neighbors(x @ W_q.T, rope) @ rotate_neighbors(x @ W_k.T, rope).T
order = torch.arange(d).view(2, d // 2).T.flatten()  # 0, 4, 1, 5, 2, 6, 3, 7
there = (rotate_neighbors(x @ W[order].T, rope) for W in (W_q, W_k))
assert torch.allclose(next(there) @ next(there).T, halves, atol=1e-3)
print("same weights, other layout: scores correlate by "
      f"{torch.corrcoef(torch.stack([halves.flatten(), mixed_up.flatten()]))[0, 1]:.2f}")
print("rows in the order", order.tolist(), "and they are equal")

# %% [markdown]
# (stretched)=
# ## Stretching a rope
#
# If a model was trained on 8,192 tokens and should read 131,072, its angles can be made to fit: slow all hands down by 16, and every distance looks like one that it has seen {cite}`chen2023`.
# But then the fast hands tell a neighbor less well from the next but one: they turn by 1/16 of a radian from one to the next.
# Llama 3.1 and 3.2 slow down only the hands that need it.
# Llama 3.2 1B has $d = 64$, $\theta = 500{,}000$ and a factor of 32.
# The slowest of these would need two million tokens for a turn, so within 8,192 it has shown the model a sliver of its circle, and beyond lies what is new.
# A hand that turns less than once in the original context becomes `factor` times slower, one that turns more than four times stays, and those between go over smoothly.

# %%
llama = Config(
    128256, 2, n_layer=16, n_head=32, d_model=2048, n_kv_head=8, d_ff=8192, norm="rms",
    positions="rope", mlp="swiglu", rope_theta=500_000.0, tie_weights=True,
)


def speeds(config):
    """Radians per token of each plane, in float64, read off the table's second row."""
    cos, sin = rope_table(config)[1].double().chunk(2)
    return torch.atan2(sin, cos)


before = speeds(llama)
stretched = speeds(replace(llama, rope_scaling=(32.0, 1.0, 4.0, 8192)))
slower = before / stretched
for i in (0, 8, 14, 15, 16, 17, 18, 24, 31):
    turns = 8192 * before[i] / (2 * math.pi)
    print(f"plane {i:2}: {turns:8.2f} turns in 8192 tokens, {slower[i]:5.1f} times slower")
turns = 8192 * before / (2 * math.pi)
assert torch.allclose(slower[turns > 4], torch.ones(1).double(), atol=1e-3)
assert torch.allclose(slower[turns < 1], torch.full((1,), 32.0).double(), rtol=1e-3)

# %% [markdown]
# (Models whose positions were stretched have then been trained some more on long texts {cite}`chen2023`.)
# A loader that overlooks this line of a `config.json` gets wrong logits and no error, which is why ours refuses a kind of scaling that it does not know.
#
# (swiglu)=
# ## SwiGLU: a gate
#
# The MLP of chapter 07 compares a token with $4C$ patterns, and adds up what belongs to those that match.
# SwiGLU compares it with *two* sets of patterns and multiplies the results, one by one {cite}`shazeer2020`.
#
# $$ \operatorname{SwiGLU}(x) = W_\text{down}\bigl( \operatorname{SiLU}(W_\text{gate}\,x) \odot W_\text{up}\,x \bigr), \qquad \operatorname{SiLU}(z) = \frac{z}{1 + e^{-z}} $$
#
# SiLU lies between $-0.28$ and 0 for negative numbers, and comes near $z$ for large positive ones: a gate that closes or opens.
# What passes through it, $W_\text{up}\,x$, has a sign of its own, so an entry can now add or subtract, depending on the token.
#
# *In words:* [curves and gates](mathematics.ipynb#Curves-and-gates).

# %% tags=["quote"]
from tinyllm.layers import GatedMLP

# %% [markdown]
# By hand, three tokens of two channels, one hidden channel: the gate reads the first channel, `up` the second, and `down` writes what is left to the first.
# $\operatorname{SiLU}(2) = 2/(1 + e^{-2}) = 1.762$.
# So $(2, 3)$ gives $1.762 \cdot 3 = 5.285$, and $(2, -3)$ the opposite.
# At $(-2, 3)$ the gate is closed, not quite: $-0.238 \cdot 3 = -0.715$.

# %%
gated = GatedMLP(2, d_ff=1).requires_grad_(False)
gated.gate.weight.copy_(torch.tensor([[1.0, 0.0]]))
gated.up.weight.copy_(torch.tensor([[0.0, 1.0]]))
gated.down.weight.copy_(torch.tensor([[1.0], [0.0]]))
gated(torch.tensor([[2.0, 3.0], [2.0, -3.0], [-2.0, 3.0]]))

# %% [markdown]
# There are three matrices now, not two.
# To compare fairly the inside has to shrink: $3 \cdot C \cdot \tfrac83 C = 8C^2$ weights, as before.
# `mlp="swiglu"` without a `d_ff` takes that, rounded down.

# %%
for C in (48, 2048):
    two, three = Config(1, 1, 1, 1, C), Config(1, 1, 1, 1, C, mlp="swiglu")
    share = n_parameters(three) / n_parameters(two)
    print(f"C = {C}: d_ff {8 * C // 3}, {share:.4f} times as many parameters")
assert share > 0.999

# %% [markdown]
# Not all who publish keep to it: Llama 3.2 1B has $d_\text{ff} = 4C$ with three matrices.
#
# (gqa)=
# ## Grouped queries: one memory for several readers
#
# A cache holds a key and a value for each token, layer and head.
# In chapter 09 it soon outgrew the model.
# Do all heads need keys and values of their own?
# With **grouped-query attention** {cite}`ainslie2023`, $n_\text{head}$ queries share $n_\text{kv}$ keys and values: query $h$ reads those of number $\lfloor h\,n_\text{kv} / n_\text{head} \rfloor$.
# With 4 queries and 2 keys, queries 0 and 1 use key 0, queries 2 and 3 use key 1.
#
# It is a special case of what we had.
# Take a layer with all its keys, make the rows of $W_K$ and $W_V$ of each group equal, and the two are the same function.
# (`repeat_interleave` repeats 0, 0, 1, 1; `repeat` would repeat 0, 1, 0, 1, which gives queries the wrong keys, with all shapes right.)

# %%
torch.manual_seed(0)
few, many = MultiHeadAttention(32, 4, n_kv_head=2), MultiHeadAttention(32, 4)
W_q, W_k, W_v = few.qkv.weight.detach().unflatten(0, (-1, 8)).split((4, 2, 2))  # heads of 8
W_k, W_v = (W.repeat_interleave(2, 0) for W in (W_k, W_v))
many.load_state_dict({"qkv.weight": torch.cat([W_q, W_k, W_v]).flatten(0, 1),
                      "out.weight": few.out.weight})
x = torch.randn(2, 10, 32)
assert torch.allclose(few(x), many(x), atol=1e-6)
print(f"{few.qkv.weight.numel()} weights do what {many.qkv.weight.numel()} did")

# %% [markdown]
# :::{two-views}
#
# - **As a lookup.** Several readers, one dictionary.
#   Each asks its own question; what is filed, and under which key, they have in common.
# - **As a smoother.** Several query points in one sample: the same places, the same measurements.
#   With queries of different lengths the readers also differ in bandwidth, since a longer query is a larger $\beta$.
#
# :::
#
# The cell above asserts what both say: equal keys and values, different queries.
# What it saves is bytes.
#
# $$ \text{bytes per token} = 2 \cdot n_\text{layer} \cdot n_\text{kv} \cdot d_\text{head} \cdot \text{bytes per number} $$
#
# *In words:* [sizes multiplied](mathematics.ipynb#Sizes-multiplied).
#
# (On torch's `meta` device a tensor has a shape and no memory, so the cache of a real model can be asked how large it would be.)

# %%
for n_kv_head in (32, 8, 1):
    with torch.device("meta"):
        model = GPT(replace(llama, n_kv_head=n_kv_head)).bfloat16()
    cache = Cache(model, batch_size=1, slots=8192)
    assert cache.n_bytes == 2 * 16 * 8192 * n_kv_head * 64 * 2
    print(f"{n_kv_head:2} keys and values: {cache.n_bytes / 2**20:5.0f} MiB of cache, "
          f"{n_parameters(model.config) / 1e6:.0f} M parameters")

# %% [markdown]
# Llama 3.2 1B is the middle line.
# Texts that are generated together need a cache each, so four times smaller is room for four times as many texts, and a quarter of its bytes to fetch for each token.
#
# (qk-norm)=
# ## QK-norm: all keys of one length
#
# [Chapter 05](#not-determined) found that attention is a Gaussian smoother whose points carry weights $e^{|k|^2/2h^2}$, and that these weights cannot be told from a shift of the keys.
# **QK-norm** norms each query and each key over the $d$ channels of its head.
# It was first done by dividing by the length, with one learned scale in place of $1/\sqrt d$ {cite}`henry2020`, then with a LayerNorm {cite}`dehghani2023`; Qwen 3 and this book take an RMSNorm, before queries and keys are turned.
# With gains of 1 all keys have the length $\sqrt d$.
# Since $q \cdot k = \tfrac12(|q|^2 + |k|^2 - |q - k|^2)$, the first two terms are then the same for every key, and what is added to all scores changes no weight: only the distance is left.
# So the weights of the points are equal and cancel, and attention is a *plain* Gaussian smoother with $h^2 = \sqrt d$, rotated or not: a rotation keeps lengths.
#
# *In words:* [dot products and distances](mathematics.ipynb#Dot-products-and-distances).

# %%
generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 12, 16, dtype=torch.float64, generator=generator)
norm = RMSNorm(16, eps=0.0).double().requires_grad_(False)
table = rope_table(Config(1, 12, 1, 1, 16, positions="rope")).double()
q_n, k_n = (rotate(norm(z), table) for z in (q, k))
h = 16**0.25
plain = nadaraya_watson(q_n, k_n, v, bandwidth=h)
assert torch.allclose(attention(q_n, k_n, v), plain, atol=1e-6)
off = (attention(q, k, v) - nadaraya_watson(q, k, v, bandwidth=h)).abs().max()
print(f"normed: equal; the same vectors as they were: off by {off:.2f}")

# %% [markdown]
# The second number is about these random keys and no others.
# Nor does the first say that smoothing is now better.
# It says that the only thing left to a key is its direction, and that no key wins by being long.
#
# The trained gains $g_Q, g_K$, one per channel, take part of that back.
# Without rotation they can all be moved to the query, $(g_Q \odot \hat q) \cdot (g_K \odot \hat k) = (g_Q g_K \odot \hat q) \cdot \hat k$, and the keys are of one length again; with rotation between them they cannot, unless the two gains of each plane are equal.

# %%
g_q, g_k = 1 + 0.3 * torch.randn(2, 16, dtype=torch.float64, generator=generator)
gained = attention(norm(q) * g_q, norm(k) * g_k, v)
assert torch.allclose(gained, nadaraya_watson(norm(q) * g_q * g_k, norm(k), v, h), atol=1e-6)
bound = 16**0.5 * (g_q * g_k).abs().max()
largest = ((norm(q) * g_q) @ (norm(k) * g_k).T).abs().max() / 16**0.5
assert largest <= bound
print(f"largest score {largest:.2f}; where nothing turns none is above {bound:.2f}")

# %% [markdown]
# (With a rotation between them the gains of two channels meet, and the bound is $\sqrt d \max|g_Q| \max|g_K|$.)
# QK-norm was proposed for translation with little data, so that rows of weights would saturate less, and it helped there {cite}`henry2020`.
# In large models it stopped scores from growing until training broke down {cite}`dehghani2023`.
# That is no matter of size alone: small models show the same at high learning rates, and there the same cure works {cite}`wortsman2023`.
# What it did to a small model of ours, at one rate and at half of it, is in the table [below](#modern-bill); higher rates, where it would be expected to help, are not in it.
#
# (tied)=
# ## Tied heads
#
# The head compares the stream with one vector per token; the embedding begins the stream with one vector per token.
# With `tie_weights` these are the same matrix {cite}`press2017`.
# [Chapter 07](#tying) has shown what that does to the first predictions.
# It saves $VC$ weights and no multiplication.
# For large vocabularies and small models that is much.

# %%
smol = Config(49152, 2048, n_layer=30, n_head=9, d_model=576, n_kv_head=3, d_ff=1536,
              norm="rms", positions="rope", mlp="swiglu", tie_weights=True)
for name, config in {"SmolLM2-135M": smol, "Llama 3.2 1B": llama}.items():
    tied, untied = n_parameters(config), n_parameters(replace(config, tie_weights=False))
    assert untied - tied == config.vocab_size * config.d_model
    print(f"{name}: {tied:,} parameters; untied {untied / tied:.2f} times as many")

# %% [markdown]
# (modern-bill)=
# ## What each costs, and what it buys
#
# The bill of chapter 07 has formulas for all the parts.
# Start from a model of the old kind in the shape of Llama 3.2 1B, and make one exchange at a time.

# %%
old = Config(128256, 8192, n_layer=16, n_head=32, d_model=2048)
changes = {
    "as in chapter 07": {}, "RMSNorm": {"norm": "rms"}, "RoPE": {"positions": "rope"},
    "SwiGLU": {"mlp": "swiglu"}, "8 keys for 32 queries": {"n_kv_head": 8},
    "QK-norm": {"qk_norm": True}, "tied heads": {"tie_weights": True},
}
print(f"{'':22} parameters   GFLOPs per token   cache, KiB per token")
for name, change in changes.items():
    c = replace(old, **change)
    cache = 2 * c.n_layer * (c.n_kv_head or c.n_head) * head_size(c) * 2 / 1024
    print(f"{name:22} {n_parameters(c) / 1e6:8.1f} M {flops_per_token(c) / 1e9:13.2f}"
          f" {cache:18.0f}")

# %% [markdown]
# (Norms, rotations and activations are not matrix products and not counted; a rotation is six operations for every two channels of a query or key.
# FLOPs are those at the last of 8,192 tokens, the mask not used.)
#
# The large savings are in memory.
# What does each buy in loss?
# Two blocks of 64 channels, 128,000 letters of the tales, three seeds, each exchange against the model of chapter 07 with the same seed; and all of it again at half the learning rate, in case one part likes another rate.
# The numbers are those recorded by `bench/modern_blocks.py` on an AMD EPYC with two cores.
# Each is the mean of three paired differences, and with three a standard error is itself uncertain: it has two degrees of freedom, a 95 % interval reaches 4.3 of them to either side, and a difference of nothing goes beyond three of them one time in ten.
# The last column says *lower* or *higher* where the interval at the full rate leaves out zero, and *open* where it does not.
#
# | one exchange | loss − base, nats per letter | standard error | at half the rate | standard error | |
# |---|--:|--:|--:|--:|---|
# | RMSNorm | −0.006 | 0.005 | +0.012 | 0.014 | open |
# | **RoPE** | **−0.228** | 0.033 | −0.216 | 0.013 | lower |
# | no positions at all | +0.239 | 0.018 | +0.182 | 0.009 | higher |
# | SwiGLU, as many weights | −0.019 | 0.010 | −0.024 | 0.022 | open |
# | 2 keys for 4 queries | −0.007 | 0.013 | +0.010 | 0.010 | open |
# | QK-norm | +0.060 | 0.010 | +0.028 | 0.009 | higher; open at half the rate |
# | tied heads | −0.056 | 0.005 | −0.048 | 0.011 | lower; just so at half the rate |
# | RMSNorm, RoPE, SwiGLU, 2 for 4 and QK-norm | −0.283 | 0.025 | −0.283 | 0.006 | lower |
#
# RoPE is most of what was seen, in *this* training.
# It is a short one: each learned vector begins as small noise and is met 2,000 times, so what is compared is also how fast positions are learned.
# Other lengths of training were not tried.
# After a long one less may be left: of two models of 1.3 billion weights, 100,000 steps each, the one with RoPE had a perplexity of 7.2 on one task and the learned one of 7.9, and on many others there was little between them ([EleutherAI](https://blog.eleuther.ai/rotary-embeddings-eval-harness)).
# (Nor are the sizes equal: learned positions are 13 % of the base's weights, and those beyond letter 64 are never trained.)
#
# *Open* is not *equal*.
# RMSNorm's interval at the full rate lies within 0.03 nats of zero, but at half of it it reaches from −0.05 to +0.07.
# Half the keys saved half the cache, and both intervals end below +0.06; a smaller loss would fit.
# SwiGLU's gain may be there, and is too small for three seeds.
#
# QK-norm made this model worse at the full rate.
# The reason was not looked for: scores in heads of 16 channels with gains near 1 stay below about 4, which may be too flat, and no higher rate was tried.
# Tied heads made it better, and there at least three things changed at once: the number of weights; the rate, which is that of the embeddings and three times that of a head; and the start, since a head of its own begins at zero.
# Which of the three it is was not tested.
#
# Which of these hold for large models, the table cannot say.
# (Nor can it be added up: from RoPE alone to the five together the mean falls by 0.055, at half the rate by 0.067, while the means of the other four add up to about +0.03; the standard errors of these differences were not recorded.
# And an exchange that changes shapes changes Muon's steps, which depend on them; queries, keys and values are stepped apart in this file and as one matrix in the cells above.)
#
# (names)=
# ## The same model under four names
#
# A published model is a folder: `config.json`, which you have seen, the weights as `model.safetensors`, and `tokenizer.json`.
# What is a number of ours called there?
#
# | here | nanochat | litgpt | Hugging Face, mlx-lm | GPT-2's own file |
# |---|---|---|---|---|
# | `block_size` | `sequence_len` | `block_size` | `max_position_embeddings` | `n_positions` |
# | `n_layer` | `n_layer` | `n_layer` | `num_hidden_layers` | `n_layer` |
# | `n_head` | `n_head` | `n_head` | `num_attention_heads` | `n_head` |
# | `n_kv_head` | `n_kv_head` | `n_query_groups` | `num_key_value_heads` | |
# | `d_model` | `n_embd` | `n_embd` | `hidden_size` | `n_embd` |
# | `d_head` | | `head_size` | `head_dim` | |
# | `d_ff` | | `intermediate_size` | `intermediate_size` | `n_inner` |
# | `norm_eps` | | `norm_eps` | `rms_norm_eps` | `layer_norm_epsilon` |
# | `rope_theta` | | `rope_base` | `rope_theta` | |
#
# And the weights: for the Llama family one table says what each of ours is called there.

# %%
from tinyllm.pretrained import LLAMA, read_config

for ours, theirs in LLAMA.items():
    print(f"{ours:25} {(chr(10) + 26 * ' ').join(theirs)}")

# %% [markdown]
# Our `qkv` is three of their matrices, one below the other.
# GPT-2's file has them side by side already, but lying on their side, (in, out): a loader that forgets this notices where a matrix is not square, and does not where it is.
#
# Now the configuration from the beginning of this chapter.

# %%
config = read_config(qwen3)
assert n_parameters(config) == 596_049_920
config.chosen()

# %% [markdown]
# That is the 0.6 of its name.
# Every line has its place now, and one was cut: the context is capped at 8,192 tokens, to keep tables and caches small, until `load_pretrained` is asked for a longer `block_size`.
# Settings of these families that this library knows of and does not have, such as another scaling, two scalings that contradict each other, rotations of half a head or attention without the causal mask, are errors and not ignored.
# What nobody thought of, the logits have to find.
#
# (parity)=
# ## Equal logits
#
# Whether a loader is right is not a matter of taste.
# Make a model of each family with `transformers`, the library in whose format they are all published, from a configuration of its own, with random weights; let that library write the folder; read it here; compare the logits.
# Random weights serve for this, if they are random everywhere: in a fresh model all gains are 1 and all biases 0, and two that are mixed up would not show.
# Shapes do not find every mistake, since many of these matrices are square and a transposed one fits; the logits do.

# %% tags=["needs-transformers"]
import os
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
import transformers

sizes = dict(vocab_size=97, hidden_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, intermediate_size=50, max_position_embeddings=64)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16, rope_theta=100.0)
FAMILIES = {
    "GPT-2": ("GPT2", dict(vocab_size=97, n_embd=40, n_layer=2, n_head=4, n_positions=64)),
    "Llama 3.2": ("Llama", sizes | dict(rope_parameters=llama3, tie_word_embeddings=True)),
    "SmolLM2": ("Llama", sizes | dict(tie_word_embeddings=True)),
    "Mistral": ("Mistral", sizes | dict(head_dim=8, sliding_window=None)),
    "Qwen 2": ("Qwen2", sizes),
    "Qwen 3": ("Qwen3", sizes | dict(head_dim=16)),
}

# %% [markdown]
# Each of them is made in their code, and saved as published models are:

# %% tags=["needs-transformers"]
def published(family, settings, folder):
    """A model of theirs with weights of which each matters, and its folder."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    kind = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, kind)(config).eval().requires_grad_(False)
    for p in model.parameters():
        noise = torch.randn(p.shape)
        p.copy_(p + 0.3 * noise if p.ndim == 1 else 0.2 * noise)
    model.save_pretrained(folder)
    return model


# %% [markdown]
# `load_pretrained` maps the files into memory, uses each tensor exactly once, and names the one that is missing, left over or of the wrong shape.

# %% tags=["needs-transformers"]
import contextlib
import io

from tinyllm.pretrained import load_pretrained

ids = torch.randint(97, (3, 50), generator=torch.Generator().manual_seed(0))
SHOWN = "norm", "positions", "mlp", "n_kv_head", "d_head", "qk_norm", "bias", "qkv_bias"
ours = {}
for name, (family, settings) in FAMILIES.items():
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        theirs = published(family, settings, folder)
        ours[name] = load_pretrained(folder).requires_grad_(False)
        logits = ours[name](ids)
    wanted = theirs(ids).logits
    assert (logits - wanted).abs().max() < 2e-5 * wanted.abs().max()
    parts = ours[name].config.chosen()
    print(f"{name:9} equal;", ", ".join(f"{k}={parts[k]}" for k in SHOWN if k in parts))

# %% [markdown]
# Six families, one forward pass: that of chapter 07, with other parts.
# The same model has the [cache of chapter 09](#what-memory-costs), samples, and shows its attention weights.
#
# What does a mistake look like?
# Plant three in Qwen 3.

# %% tags=["needs-transformers"]
def planted(change):
    """How far Qwen 3's logits move, as a part of the largest."""
    model = GPT(replace(ours["Qwen 3"].config, **change.get("config", {})))
    state = {k: v.clone() for k, v in ours["Qwen 3"].state_dict().items()}
    model.load_state_dict(change.get("weights", lambda s: s)(state))
    with torch.no_grad():
        moved = model(ids) - ours["Qwen 3"](ids)
    return float(moved.abs().max() / ours["Qwen 3"](ids).abs().max())


def swapped(state):
    gate, up = "blocks.0.mlp.gate.weight", "blocks.0.mlp.up.weight"
    return state | {gate: state[up], up: state[gate]}


assert planted({}) == 0
found = {"gate and up swapped in one block": planted({"weights": swapped}),
         "theta 500,000 for 10,000": planted({"config": {"rope_theta": 5e5}}),
         "eps 1e-5 for 1e-6": planted({"config": {"norm_eps": 1e-5}})}
for name, moved in found.items():
    print(f"{name:33} {'above' if moved > 1e-2 else 'below'} 1 % of the largest logit")
    assert moved > 2e-5  # parity finds them all

# %% [markdown]
# All three exceed the tolerance of the comparison, and the last moves no logit by a hundredth of the largest.
# That is why the test is equality and not whether the text reads well.
#
# (download)=
# ## Your own download
#
# This book downloads nothing.
# You can: take the folder of a model from the Hugging Face Hub (`config.json`, `*.safetensors`, `tokenizer.json`; HuggingFaceTB/SmolLM2-135M is a good first one) and run
#
# ```
# python -m tinyllm.chat --model FOLDER
# ```
#
# It goes on with what you type, token by token.
# `--temperature`, `--top-p` and the others are those of chapter 09; Ctrl-C stops the text, `--device auto` takes a GPU where there is one.
# From Python:
#
# ```python
# from tinyllm.generation import stream
# from tinyllm.model import load_tokenizer
# from tinyllm.pretrained import load_pretrained
#
# model, tokenizer = load_pretrained(FOLDER), load_tokenizer(FOLDER)
# for piece in stream(model, tokenizer, "The lighthouse keeper", max_new_tokens=50):
#     print(piece, end="", flush=True)
# ```
#
# What to expect?
# We have no published weights here, but speed and memory depend on shapes alone.
# These figures were measured with random weights of the shapes of three models in bfloat16, on one thread of an AMD EPYC with two cores, with the files in the operating system's cache; they are recorded in `bench/real_sizes.md`.
#
# | shape of | loading, CPU | most memory: loaded, then used | tokens per CPU second |
# |---|--:|--:|--:|
# | SmolLM2-135M | 1.3 s | 0.46, 0.64 GB | 16 |
# | Qwen3-0.6B | 1.6 s | 1.11, 1.77 GB | 6.0 |
# | Llama 3.2 1B | 1.5 s | 1.26, 3.01 GB | 3.7 |
#
# Loading is fast because it reads little: the file is mapped, only what has to be joined is copied, and the rest comes in when it is first used.
# For each token every weight is fetched once.
# Two bytes times 1.24 billion times 3.7 per second are 9 GB per second, for the model of 0.6 billion it is 7, and at 135 million 4.
# That fits a pace which memory sets for large models, and the overhead of many small products for small ones; neither was measured here.
#
# :::{why-it-works}
#
# Shown: LayerNorm before a layer is RMSNorm of a stream without mean, and Taleteller's logits do not change when it is exchanged.
# Scores under RoPE depend on the offset alone; the mean score is a sum of waves over distance; two layouts differ by an order of rows.
# Grouped queries are heads with equal keys, and divide the cache by the size of the group, exactly.
# With equal key norms attention is a plain Gaussian smoother, rotated or not.
# And one class has the logits of six families, for random weights and settings as the files have them.
#
# :::
#
# :::{why-it-might}
#
# Why a gate helps is not known; the paper that proposed it says so itself, and offers divine benevolence {cite}`shazeer2020`.
# That RoPE helps because attention is mostly about offsets is plausible; it is not shown by a lower loss after a short training.
# Differences of a few hundredths in models of a hundred thousand weights say little about models ten thousand times as large, in either direction.
#
# :::
#
# ## What to take along
#
# - The block of 2019 and that of today have one plan; five parts were exchanged, and each exchange is one field of a configuration.
# - RoPE turns planes of queries and keys: scores know offsets, a mean score is a sum of waves, and offsets beyond the training are a risk. Here a window took it away; large models need their first tokens besides.
# - Grouped queries and tied heads save memory; RMSNorm computes what LayerNorm can, with less; what a part buys has to be measured with seeds, and three of them leave much open.
# - Weights of others are right when logits are equal, and at no earlier point.
#
# **Exercises.** [The sheet of this chapter](../exercises/10_modern_blocks.ipynb): an offset to derive, the bytes of a cache, a layout to permute, the weights of a 1 B model to count, and an attention layer and a loader to repair.
#
# **Further reading.** {cite}`su2024` for the rotation, {cite}`barbero2024` for what trained models use it for, {cite}`ainslie2023` for what sharing keys costs, and {cite}`nanochat` for a small modern model with all its training code.
