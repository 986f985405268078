# %% [markdown]
# # The whole machine
#
# Begin a sentence, and let somebody else finish it:

# %% tags=["hide-input"]
import textwrap

import torch

from tinyllm.generation import stream
from tinyllm.model import load, load_tokenizer

model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
prompt = "Everybody in Mudford knew Iris, the stubborn hedgehog. People said that"

torch.manual_seed(0)
told = stream(model, tokenizer, "\n\n" + prompt, 300, stop=["\n\n"], temperature=0.8)
for paragraph in (prompt + "".join(told)).splitlines():
    print(textwrap.fill(paragraph, 80))

# %% [markdown]
# This was written by *Taleteller*, a language model that fits into three megabytes.
# It was trained on 300 million characters of little stories, some 290,000 of them.
# (No choice was made: it is the first story that was drawn.)
# It is fluent and keeps its heroes' *he* and *she*, but many of its stories slip somewhere: here *People said that she said* never comes to what she said.
# How often that happens is counted in [chapter 08](08_training.ipynb) and in `bench/taleteller.md`.
# In this book you build it, every line, and train it for a few minutes; one command trains it to the end.
#
# This chapter only opens the lid.
# You follow one text through the machine, down the map below, with real numbers at every stage.
# You need not understand the code; each stage has a chapter that builds it from nothing.
#
# :::{admonition} You will be able to
# :class: tip
# - name the stages between a text and the next token, and what comes out of each;
# - read a map of attention weights, and say what both views of it say;
# - count the numbers in a model, and the multiplications that a token and a story cost.
#
# Reading: 20 minutes. Running: about ten seconds.
# :::
#
# Here is the map of the whole; every later chapter begins with it and marks where you are.

# %% tags=["remove-input"] alt="Map of the whole machine: text becomes tokens, tokens become vectors, blocks of attention and MLP read and write them, the last vector becomes probabilities, and one token is chosen and appended"
from course.figures import machine_map

machine_map()

# %% [markdown]
# ## Text becomes pieces
#
# A model computes with numbers, so the text is cut into pieces that have one: **tokens**.

# %% tags=["hide-input"] alt="The sentence cut into tokens, each in a box with its id below; common words are one token, rarer ones several"
from course.figures import COLORS, attention_map, figure, ladder, token_strip

ids = torch.tensor(tokenizer.encode("\n\n" + prompt))  # (T,)
pieces = [tokenizer.decode([i]) for i in ids.tolist()]
token_strip(pieces, ids.tolist(), title=f"{len(prompt)} characters are {len(ids)} tokens")

# %% [markdown]
# Words that stories use often are one token with the space before them.
# The two line breaks in front tell the model that a story begins.
# The pieces were not chosen by hand: the vocabulary of 2,048 tokens holds the 256 bytes and 1,792 merged pairs.
# At each merge the two neighbors that stood together most often became one token.
# [Chapter 01](01_tokens.ipynb) builds that.

# %%
T, V = len(ids), len(tokenizer.vocab)
assert tokenizer.decode(ids.tolist()) == "\n\n" + prompt
print(f"{T} ids, each from 0 to {V - 1}; the last is {int(ids[-1])}, for {pieces[-1]!r}")

# %% [markdown]
# ## Pieces become vectors
#
# An id says which token it is and nothing about it: token 300 is not a bit like token 301.
# So each id has a row in a table of numbers, an **embedding**, and so has each position; the two rows are added.
# The result is a vector of $C = 128$ numbers for each token.
#
# *In words:* [vectors](mathematics.ipynb#Vectors).

# %%
vectors = model.token(ids) + model.position.weight[:T]  # (T, C)
begins = " ".join(f"{z:.3f}" for z in vectors[-1, :5])
print(f"{T} × {vectors.shape[1]}; the last token begins with {begins}")

# %% [markdown]
# Nobody wrote these numbers: they were learned, like all others here, and tokens that are used alike often got rows that are alike.
# Which rows point in nearly the same direction as those of `" fox"` and `" said"`?

# %%
rows = torch.nn.functional.normalize(model.token.weight, dim=-1)  # (V, C)
for word in (" fox", " said"):
    near = (rows @ rows[tokenizer.encode(word)[0]]).topk(6).indices[1:]
    print(word.strip(), "is most like" + tokenizer.decode(near.tolist()))

# %% [markdown]
# What a direction in such a space may mean, and what it may not, is [chapter 03](03_vectors.ipynb): these angles depend in part on how the model is written down.
#
# ## Vectors are mixed: attention
#
# So far each token knows itself and its place.
# The next word depends on others: on who was named, and what was promised.
# To fetch that is the work of **attention**, the heart of this book.
# Each token asks a question, a *query* $q$; it and each token before it offer a *key* $k$ and a *value* $v$.
# The better a key matches the query, the more of its value comes back.
#
# *In words:* [dot product](mathematics.ipynb#Dot-product), [softmax](mathematics.ipynb#Softmax), [attention](mathematics.ipynb#Attention).

# %% tags=["hide-input"] alt="Attention weights of one head as a heat map with queries down and keys across; the dark cells show where each token looks"
logits, attention = model(ids, return_attention=True)  # (T, V), (n_layer, n_head, T, T)
causal = torch.ones(T, T, dtype=torch.bool).tril()
iris = pieces.index(" Iris")
layer, head = divmod(int(attention[:, :, -1, iris].argmax()), 4)
weights = attention[layer, head].detach()  # (T, T)
largest, second = weights[-1].topk(2).values
assert weights[-1, iris] == largest > 3 * second and T - 1 - iris == 8
title = f"Layer {layer + 1}, head {head + 1}: “that” looks at Iris"
attention_map(weights, pieces, title=title, mask=causal)

# %% [markdown]
# Each row belongs to one token's query and sums to 1; look at the last.
# After *People said that* a pronoun is due, and what decides between *she* and *he* is a name eight tokens back.
# In this row that name has more than three times the weight of any other token.
# The hatched half is the future, which a model that predicts may not see; a model whose tokens see only themselves and what stands before them is called *decoder-only*.
#
# There are 20 such maps, 5 layers with 4 *heads* each, and each head asks in its own way ([chapter 06](06_two_views_many_heads.ipynb)).
#
# :::{two-views}
#
# - **As a lookup.**
#   A dictionary that answers *almost*: the query $q$ is compared with every key, and the values come back with weights in proportion to $e^{q \cdot k / \sqrt{d}}.$
#   [Chapter 04](04_attention_as_lookup.ipynb) begins with a Python `dict` and ends there.
# - **As a smoother.**
#   A local average: the keys are places where values were measured, near ones count more, by a Gaussian of the distance, and keys with a larger norm get extra weight.
#   [Chapter 05](05_attention_as_smoothing.ipynb) begins with points on a plane and ends there.
#
# Both give the same weights; how these split into distance and norm depends on how the model's numbers are written, which chapter 05 shows.
#
# :::
#
# Here are both for the last token of our sentence, computed apart:

# %%
x = vectors
for block in model.blocks[:layer]:
    x = block(x)  # what the layers before have made of the vectors
block = model.blocks[layer]
qkv = block.attention.qkv(block.norm_1(x)).unflatten(-1, (3, 4, -1))
q, k, _ = qkv[:, :, head].unbind(1)
d = q.shape[-1]  # channels of a head

matches = torch.exp(q[-1] @ k.T / d**0.5)  # how well each key matches
lookup = matches / matches.sum()

near = torch.exp(-((q[-1] - k) ** 2).sum(-1) / (2 * d**0.5))  # bandwidth h = d^(1/4)
extra = torch.exp((k**2).sum(-1) / (2 * d**0.5))  # for a key with a large norm
smoother = near * extra / (near * extra).sum()

torch.testing.assert_close(lookup, smoother)
torch.testing.assert_close(lookup, weights[-1])
for i in lookup.topk(3).indices:
    print(f"{pieces[i]!r:10} lookup {lookup[i]:.3f}   smoother {smoother[i]:.3f}")

# %% [markdown]
# ## Layer upon layer
#
# What attention fetched is added to the token's own vector, and then a small network, the *MLP*, works on each vector alone and adds its part too.
# Attention and MLP together are a **block**, and five blocks stand one behind the other.
# Nothing is ever replaced: all of them read from the same **residual stream** of vectors and add to it.
# So the last step of the model, which makes probabilities of the last vector, can be applied after each block; that is called the **logit lens** {cite}`nostalgebraist2020`.
# Here it reads our sentence, and the same one about Ralph, a boy:

# %%
she, he = (tokenizer.encode(word)[0] for word in (" she", " he"))
texts = [prompt, prompt.replace("Iris", "Ralph")]
x = torch.tensor([tokenizer.encode("\n\n" + text) for text in texts])  # ids, (2, T)
x = model.token(x) + model.position.weight[:T]  # (2, T, C)
for i, block in enumerate(model.blocks):
    x = block(x)
    now = model.head(model.norm(x[:, -1])).softmax(-1)  # (2, V)
    p = now[:, [she, he]]  # rows Iris, Ralph
    print(f"after block {i + 1}:", end="")
    print("   Iris: she {:.3f} he {:.3f}   Ralph: she {:.3f} he {:.3f}".format(*p.flatten()))
    if i < layer:
        torch.testing.assert_close(p[0], p[1], atol=0.02, rtol=0)
    else:
        assert p[0, 0] > p[0, 1] and p[1, 1] > p[1, 0]
torch.testing.assert_close(now[0], logits[-1].softmax(-1))

# %% [markdown]
# The last line is what the model says; the earlier blocks were never trained for this reading.
# Up to block 2 the name makes next to no difference; in block 3 *she* and *he* part, and the last block decides.
# Does it take the head that looks at Iris?
# Take away what one head adds, each of the 20 in turn, and read *she* and *he* again, with Iris:

# %%
left = torch.zeros(5, 4, 2)  # she, he without each head
for n in range(5):
    for i in range(4):
        without = load("taleteller")
        with torch.no_grad():  # the output projection has d columns for each head
            without.blocks[n].attention.out.weight[:, i * d : (i + 1) * d] = 0
            left[n, i] = without(ids)[-1].softmax(-1)[[she, he]]
    row = (f"head {i + 1}: {a:.2f} {b:.2f}" for i, (a, b) in enumerate(left[n]))
    print(f"layer {n + 1}   ", *row, sep="   ")
assert left[layer, head].max() < 0.6 and left[layer, head].min() > 0.3
assert all(left[layer, i, 0] > 0.9 for i in range(4) if i != head)
assert left[4, 2].max() < 0.6 and left[4, 2].min() > 0.3 and left[:2, 3].max() < 0.1

# %% [markdown]
# Without the head that looks at Iris the model is undecided between the two; without any other of its layer *she* stays above 0.9.
# An experiment of this kind is called an *ablation*.
# This head is needed, for this sentence, which does not say that it is enough: without head 3 of layer 5 the model is undecided, too, and without head 4 of layer 1 or of layer 2 it expects neither word.
# Why the blocks add instead of replacing, and what happens to a machine that does not, is [chapter 07](07_the_block_and_the_model.ipynb).
#
# ## Vectors become probabilities
#
# The last vector is compared with a row for each of the 2,048 tokens.
# The results, the *logits*, become probabilities by the same formula that turned matches into weights.

# %% tags=["hide-input"] alt="Two bars, each cut into the probabilities of she and of he as next token: with Iris in the sentence nearly all on she, with Ralph in her place nearly all on he"
fig, ax = figure(height=2)
for row, name in enumerate(("Iris", "Ralph")):
    changed = torch.tensor(tokenizer.encode("\n\n" + prompt.replace("Iris", name)))
    p = model(changed)[-1].softmax(-1).detach()  # (V,)
    assert p[(he, she)[name == "Iris"]] > 0.9
    ax.barh(row, p[she], height=0.5, color=COLORS["CYCLE"][4])
    ax.barh(row, p[he], left=p[she], height=0.5, color=COLORS["CYCLE"][3])
    shares = f"she {p[she]:.3f}\nhe {p[he]:.3f}"
    ax.annotate(shares, (1.02, row), va="center", size=10.4)
ax.set_yticks(range(2), ["… knew Iris", "… knew Ralph"])
ax.set(xlabel="probability of the next token", xlim=(0, 1.15))
ax.set_title("One name is changed, and the prediction turns")
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
fig

# %% [markdown]
# This is all that the machine puts out: not a word, but how likely each is to be the next.
#
# How good is that?
# Take stories that it was not trained on and look at how much probability it gave to what came.
# The average of $-\ln p$ is the **loss**, in *nats*; [chapter 02](02_next_token.ipynb) is about this one number.
# Our stories come from a generator that knows the probability of each.
# Its own loss is the **floor**: on average no model can have a lower one.
# So score each story twice, by the model and by the generator.
# (A *standard error* says how far such a mean would typically move if other stories had been drawn.)
#
# *In words:* [surprise and entropy](mathematics.ipynb#Surprise-and-entropy).

# %%
from itertools import islice

import numpy as np

from course.data.tales import SEPARATOR, tell
from course.taleteller import HELD_OUT_SEED, surprises

first = len(tokenizer.encode(SEPARATOR))
sizes, losses, exact = [], [], []  # of each story: characters, and nats by both
for tale in islice(tell(HELD_OUT_SEED), 40):
    story = torch.tensor(tokenizer.encode(SEPARATOR + tale.text + SEPARATOR))
    losses.append(float(surprises(model, story)[first - 1 :].sum()))
    exact.append(-tale.log_prob)
    sizes.append(len(tale.text + SEPARATOR))


def per_character(nats):
    """The mean, and its standard error."""
    mean = np.sum(nats) / np.sum(sizes)
    return mean, np.sum((nats - mean * np.array(sizes)) ** 2) ** 0.5 / np.sum(sizes)


above = np.array(losses) - exact
for name, nats in ("Taleteller", losses), ("the generator", exact), ("difference", above):
    mean, error = per_character(nats)
    print(f"{name:14}{mean:.3f} nats per character, standard error {error:.4f}")
assert per_character(above)[1] < 0.7 * per_character(losses)[1]

# %% [markdown]
# The difference is known better than either of the two, as both find the same stories easy.
#
# How far do models get that only count what followed the last few tokens?
# Three letters in a row, counted, reach 1.8 nats; the best that we have found counts runs of up to twelve tokens in all of Taleteller's training text (`bench/counting.md` and the appendix [Smoothing counts](smoothing_counts.ipynb)).

# %% tags=["hide-input"] alt="Ladder of losses per character: the best count of tokens in one million characters, the best count in all the text that Taleteller was trained on, Taleteller, and just below it the floor"
from pathlib import Path

from course.figures import ladder

rows = Path("../bench/counting.md").read_text(encoding="utf-8").split("\n|")[3:]
record = [[float(cell) for cell in row.split("|")[2:5] if cell.strip()] for row in rows]
size = int(rows[-2].split("|")[1].replace(",", "")) // 1_000_000  # million characters
(counted, counted_above, _), (loss, recorded_above, _) = record[-2], record[-1]
assert abs(per_character(above)[0] - recorded_above) < 3 * per_character(above)[1]
best = loss - recorded_above  # all four on the same thousand stories
assert abs(counted - counted_above - best) < 2e-4
rungs = {
    "best count, 1 million characters": record[0][0],
    f"best count, {size} million": counted,
    f"Taleteller, {size} million": loss,
}
closed = 100 * (1 - recorded_above / counted_above)
title = f"Taleteller closes {closed:.0f} % of what the best count leaves"
ladder(rungs, floor=best, title=title)

# %% [markdown]
# ## Where the numbers come from
#
# Before training some numbers in the machine are random, and the others 0 or 1.
# The head starts at 0, so an untrained model gives every token the same probability:

# %%
from tinyllm.model import GPT

torch.manual_seed(0)
newborn = GPT(model.config)
weights_at_first = torch.cat([p.detach().flatten() for p in newborn.parameters()])
fixed = ((weights_at_first == 0) | (weights_at_first == 1)).float().mean().item()
p_first = newborn(ids)[-1].softmax(-1)
torch.testing.assert_close(p_first, torch.full((V,), 1 / V))
print(f"{100 * fixed:.0f} % of the weights are 0 or 1")
told = prompt + "".join(stream(newborn, tokenizer, "\n\n" + prompt, 12))
print(textwrap.fill(told, 80))

# %% [markdown]
# A step of training takes a few pieces of stories, looks how little probability the model gave to what came, and moves each number a little in the direction that would have given more ([Gradients](gradients.ipynb)).
# Taleteller took 9,000 steps.
# [Chapter 08](08_training.ipynb) takes 480 live, somewhat smaller ones, in a few minutes, with less text.
#
# ## Choosing, and once more
#
# To write, draw one token from the probabilities, append it, and ask again.

# %%
torch.manual_seed(1)
text = ids
for _ in range(6):
    p = model(text)[-1].softmax(-1)
    new = torch.multinomial(p, 1)
    text = torch.cat([text, new])
    print(f"{tokenizer.decode(new.tolist())!r:12} had probability {p[new].item():.3f}")

# %% [markdown]
# That loop is all there is to generating.
# How to choose well, how never to compute anything twice, and where the time goes is [chapter 09](09_generating.ipynb).
#
# ## How big is it?
#
# Everything the model has learned is in its weights:

# %%
from tinyllm.model import flops_per_token, n_parameters

parts = {
    "token and position vectors": model.token.weight.numel() + model.position.weight.numel(),
    "attention": sum(p.numel() for b in model.blocks for p in b.attention.parameters()),
    "MLPs": sum(p.numel() for b in model.blocks for p in b.mlp.parameters()),
    "head": model.head.weight.numel(),
    "norms": sum(p.numel() for n, p in model.named_parameters() if "norm" in n),
}
assert sum(parts.values()) == n_parameters(model.config)
for part, n in parts.items():
    print(f"{part:28}{n:>10,}")
print(f"{'together':28}{sum(parts.values()):>10,}")

# %% [markdown]
# From the first line a token needs two rows, one for its id and one for its position, and no multiplication.
# Every number of the next three lines is used once for each token: one multiplication, one addition.
# On top of these come the scores and the weighted means of attention, and they grow with the number of tokens that can be seen.

# %%
config = model.config
matrices = 2 * (parts["attention"] + parts["MLPs"] + parts["head"])  # for each token
per_key = 4 * config.d_model * config.n_layer  # for each token that can be seen
assert matrices + per_key * config.block_size == flops_per_token(config)

seen = range(1, 301)  # a story of 300 tokens: the n-th sees n
costs = np.array([matrices + per_key * n for n in seen])
cached, again = costs.sum(), costs.cumsum().sum()  # again: of all tokens up to the n-th
print(f"{matrices / 1e6:.1f} million multiplications and additions for a token, ", end="")
print(f"and {per_key:,} for each token that it sees")
print(f"a story of 300 tokens: {cached / 1e6:.0f} million, each token computed once")
print(f"by the loop above: {again / 1e9:.0f} billion, {again / cached:.0f} times as much")

# %% [markdown]
# The loop above computes the whole text anew for each token that it appends; chapter 09 keeps what can be kept.
#
# A large model has the same map.
# GPT-3 has 175 billion weights {cite}`brown2020`, a hundred thousand times as many as ours, and the same parts, but for every other layer, in which a token sees only a band of near ones.
# Models of 2026 have other positions (RoPE), norms (RMSNorm), MLPs (SwiGLU), and fewer keys and values than queries: chapter 10, *Modern blocks and real weights*.
#
# ## Touch it
#
# Type a beginning of your own.
# Layer 3 and head 3 are those of the map above: point at *that*; then at any other token, and in any other head.
#
# :::{live} speak
# :compare: yes
# :layer: 3
# :head: 3
# :prompt: Everybody in Mudford knew Iris, the stubborn hedgehog. People said that
# :picture: compare=no&layer=3&head=3&query=17&prompt=Everybody%20in%20Mudford%20knew%20Iris%2C%20the%20stubborn%20hedgehog.%20People%20said%20that
#
# ![Taleteller in the page: a story, the attention weights of one head on its tokens, and bars for the most probable next tokens](../pages/live/speak.png)
#
# It is the model above, running in the page (in a notebook this is a picture of it); its weights are rounded there, each row of a matrix to steps of a 46th of its largest, so that *Iris* has 0.41 in the map where the page printed 0.400.
# :::
#
# ## What to take along
#
# - Text → ids → vectors → attention and MLP, block after block → probabilities → one token more.
# - Attention is the only place where tokens meet; everything else happens to each alone.
# - A row of an attention map can be read as a lookup that answers *almost*, and as a local average.
# - A model says how likely everything is; choosing is left to us.
#
# **Exercises.** [The sheet of this chapter](../exercises/00_the_whole_machine.ipynb): shapes at every stage, the bill of a model, a map to read, and a guess about what happens when a word is changed.
#
# **Further reading.** The architecture is that of {cite}`vaswani2017` in the form of {cite}`radford2019`, without its biases; that a small model can be fluent if its world is small was shown by {cite}`eldan2023`.
