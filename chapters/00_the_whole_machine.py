# %% [markdown]
# # The whole machine
#
# Begin a sentence, and let somebody else finish it:

# %%
import textwrap

import torch

from tinyllm.generation import stream
from tinyllm.model import load, load_tokenizer

model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
prompt = "Everybody in Mudford knew Iris, the stubborn hedgehog. People said that"

torch.manual_seed(5)
told = stream(model, tokenizer, "\n\n" + prompt, 300, stop=["\n\n"], temperature=0.8)
for paragraph in (prompt + "".join(told)).splitlines():
    print(textwrap.fill(paragraph, 80))

# %% [markdown]
# This was written by *Taleteller*, a language model that fits into three megabytes.
# It has read some thirty thousand little stories, and this one was not among them.
# (The best of six: with another seed it tells another one.)
# It is fluent, keeps its names, and Iris is a *she* as long as anybody speaks of her; where it loses its way all the same, [chapter 08](08_training.ipynb) counts.
# At the end of this book you will have built it, every line, and trained it yourself.
#
# This chapter only opens the lid.
# You follow one text through the machine, from left to right, with real numbers at every stage.
# You need not understand the code; each stage has a chapter that builds it from nothing.
#
# :::{admonition} You will be able to
# :class: tip
# - name the stages between a text and the next token, and what comes out of each;
# - read a map of attention weights, and say what both views of it say;
# - count the numbers in a model, and the multiplications that a token costs.
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
# The pieces were not chosen by hand: 2,048 of them were found by counting which neighbors stand together most often.
# [Chapter 01](01_tokens.ipynb) builds that.

# %%
T, V = len(ids), len(tokenizer.vocab)
assert tokenizer.decode(ids.tolist()) == "\n\n" + prompt
f"{T} ids, each from 0 to {V - 1}; the last is {int(ids[-1])}, for {pieces[-1]!r}"

# %% [markdown]
# ## Pieces become vectors
#
# An id says which token it is and nothing about it: token 300 is not a bit like token 301.
# So each id has a row in a table of numbers, and so has each position; the two rows are added.
# The result is a vector of $C = 128$ numbers for each token.

# %%
vectors = model.token(ids) + model.position.weight[:T]  # (T, C)
print(*vectors.shape, "; the last token begins with", *(f"{z:.3f}" for z in vectors[-1, :5]))

# %% [markdown]
# Nobody wrote these numbers: they were learned, like all others here, and tokens that are used alike got rows that are alike.
# The table's own opinion on which tokens are most like `" fox"`, and `" said"`:

# %%
rows = torch.nn.functional.normalize(model.token.weight, dim=-1)  # (V, C)
for word in (" fox", " said"):
    near = (rows @ rows[tokenizer.encode(word)[0]]).topk(6).indices[1:]
    print(repr(word), "is most like", [tokenizer.decode([i]) for i in near.tolist()])

# %% [markdown]
# What a direction in such a space may mean, and what it may not, is [chapter 03](03_vectors.ipynb).
#
# ## Vectors look at each other: attention
#
# So far each token knows itself and its place.
# The next word depends on others: on who was named, and what was promised.
# Fetching it is the work of **attention**, and the heart of this book.
# Each token asks a question, a *query* $q$; each earlier token offers a *key* $k$ and a *value* $v$.
# The better a key matches the query, the more of its value comes back.

# %% tags=["hide-input"] alt="Attention weights of one head as a heat map with queries down and keys across; the dark cells show where each token looks"
logits, attention = model(ids, return_attention=True)  # (T, V), (n_layer, n_head, T, T)
causal = torch.ones(T, T, dtype=torch.bool).tril()
iris = pieces.index(" Iris")
layer, head = divmod(int(attention[:, :, -1, iris].argmax()), 4)
weights = attention[layer, head].detach()  # (T, T)
assert weights[-1].argmax() == iris and weights[-1, iris] > 0.5
title = f"Layer {layer + 1}, head {head + 1}: “that” looks at Iris"
attention_map(weights, pieces, title=title, mask=causal)

# %% [markdown]
# Each row is one token's question and sums to 1; look at the last.
# After *People said that* a pronoun is due, and what decides between *she* and *he* is a name ten tokens back.
# This head has learned to fetch it.
# The hatched half is the future, which a model that predicts may not see.
#
# There are 20 such maps, 5 layers with 4 *heads* each, and each head asks in its own way ([chapter 06](06_two_views_many_heads.ipynb)).
#
# :::{two-views}
#
# - **As a lookup.**
#   A dictionary that answers *almost*: the query $q$ is compared with every key, and the values come back weighted by $e^{q \cdot k / \sqrt{d}}.$
#   [Chapter 04](04_attention_as_lookup.ipynb) begins with a Python `dict` and ends there.
# - **As a smoother.**
#   A local average: the keys are places where values were measured, and near ones count more, by a Gaussian of the distance, long ones counting more often.
#   [Chapter 05](05_attention_as_smoothing.ipynb) begins with points on a plane and ends there.
#
# They are the same numbers.
#
# :::
#
# That they are the same is not a manner of speaking; here are both for the last token of our sentence, computed apart:

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

near = torch.exp(-((q[-1] - k) ** 2).sum(-1) / (2 * d**0.5))  # a Gaussian of width d^(1/4)
often = torch.exp((k**2).sum(-1) / (2 * d**0.5))  # and how much a long key counts
smoother = near * often / (near * often).sum()

torch.testing.assert_close(lookup, smoother)
torch.testing.assert_close(lookup, weights[-1])
for i in lookup.topk(3).indices:
    print(f"{pieces[i]!r:10} lookup {lookup[i]:.3f}   smoother {smoother[i]:.3f}")

# %% [markdown]
# ## Layer upon layer
#
# What attention fetched is added to the token's own vector, and then a small network, the *MLP*, works on each vector alone and adds its part too.
# Attention and MLP together are a **block**, and five blocks stand one behind the other.
# Nothing is ever replaced: all of them read from the same stream of vectors and add to it.
# So the machine can be asked after each block what it would say if it had to speak now.

# %%
x = vectors
she, he = (tokenizer.encode(word)[0] for word in (" she", " he"))
says_she = []
for i, block in enumerate(model.blocks, start=1):
    x = block(x)
    now = model.head(model.norm(x[-1])).softmax(-1)  # (V,)
    says_she.append(now[she] > now[he])
    print(f"after block {i}:  she {now[she]:.3f}   he {now[he]:.3f}")

assert not any(says_she[:layer]) and all(says_she[layer:])
torch.testing.assert_close(now, logits[-1].softmax(-1))

# %% [markdown]
# The last line is what the model says; those before it are a peek at a thought not finished, which the head was never trained to read.
# It is the block with our head, the one that looks at Iris, that makes a *she* of a *he*.
# Why the blocks add instead of replacing, and what happens to a machine that does not, is [chapter 07](07_the_block_and_the_model.ipynb).
#
# ## Vectors become probabilities
#
# The last vector is compared with a row for each of the 2,048 tokens.
# The results, the *logits*, become probabilities by the same formula that turned matches into weights.

# %% tags=["hide-input"] alt="Bars for the probabilities of she and he as next token: with Iris in the sentence nearly all on she, with Ralph in her place nearly all on he"
fig, ax = figure(height=2.2)
for row, name in enumerate(("Iris", "Ralph")):
    changed = torch.tensor(tokenizer.encode("\n\n" + prompt.replace("Iris", name)))
    p = model(changed)[-1].softmax(-1).detach()  # (V,)
    assert p[(he, she)[name == "Iris"]] > 0.9
    ax.barh([row - 0.18, row + 0.18], p[[she, he]], height=0.32, color=COLORS["CYCLE"][4])
    for offset, word, chance in ((-0.18, "she", p[she]), (0.18, "he", p[he])):
        place = (chance + 0.01, row + offset)
        ax.annotate(f"{word} {chance:.3f}", place, va="center", size=10)
ax.set_yticks(range(2), ["… knew Iris", "… knew Ralph"])
ax.set(xlabel="probability of the next token", xlim=(0, 1.15))
ax.set_title("One name is changed, and the prediction turns")
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
fig

# %% [markdown]
# This is all that the machine ever says: not a word, but how likely each is to be the next.
#
# How good is that?
# Take a story that it has never seen and look at how much probability it gave to what came.
# The average of $-\ln p$ is the **loss**, in *nats*; [chapter 02](02_next_token.ipynb) is about this one number.
# Our stories come from a generator that knows the odds of each, so the best possible loss is known, and no model can go below it.

# %% tags=["hide-input"] alt="Ladder of losses per character: a uniform guess, a count of three letters, five letters, Taleteller, and just above the floor"
import json
import math

from course.data.tales import floor, tales
from course.taleteller import held_out, story_loss, trigram_loss
from tinyllm.model import find

loss, _ = story_loss(model, tokenizer, held_out(40))
losses = {
    "all 256 bytes alike": math.log(256),
    "counting three letters": trigram_loss(tales(400_000)),
    "Taleteller": loss,
}
best = floor(stories=500).nats_per_character
counted = losses["counting three letters"]
closed = (counted - loss) / (counted - best)
assert best < loss and closed > 0.95
title = f"Taleteller closes {int(100 * closed)} % of what counting leaves"
ladder(losses, floor=best, title=title)

# %% [markdown]
# ## Where the numbers come from
#
# At first all numbers in the machine were dice.
# An untrained one gives every token the same probability and tells this story:

# %%
from tinyllm.model import GPT

torch.manual_seed(0)
newborn = GPT(model.config)
p_first = newborn(ids)[-1].softmax(-1)
torch.testing.assert_close(p_first, torch.full((V,), 1 / V))
told = prompt + "".join(stream(newborn, tokenizer, "\n\n" + prompt, 12))
print(textwrap.fill(told, 80))

# %% [markdown]
# Training shows it a piece of a story, looks how little probability it gave to what came, and turns each number by a hair in the direction that would have given more.
# Five and a half thousand times.
# [Chapter 08](08_training.ipynb) does it live, in four minutes.
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
# Everything the model has learned is in its weights, and each is used once for each token: one multiplication, one addition.

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
# And the work:

# %%
flops = flops_per_token(model.config)
print(f"{flops / 1e6:.1f} million multiplications and additions for a token")
print(f"{flops / 1e6 * 300:.0f} million for a story of 300 tokens")

# %% [markdown]
# A large model has the same parts and the same map.
# GPT-3 has 175 billion weights {cite}`brown2020`, a hundred thousand times as many as ours, and what it does to one token you have just seen.
#
# ## Touch it
#
# Type a beginning of your own.
# Choose the layer and the head of the map above, and point at *that*; then at any other token, and in any other head.
#
# :::{live} speak
# :prompt: Everybody in Mudford knew Iris, the stubborn hedgehog. People said that
# :picture: layer=4&head=2&query=17&prompt=Everybody%20in%20Mudford%20knew%20Iris%2C%20the%20stubborn%20hedgehog.%20People%20said%20that
#
# ![Taleteller in the page: a story, the attention weights of one head on its tokens, and bars for the most probable next tokens](../pages/live/speak.png)
#
# In the rendered book this picture is alive: it is the model above, running in the page.
# :::
#
# ## What to take along
#
# - Text → ids → vectors → attention and MLP, block after block → probabilities → one token more.
# - Attention is the only place where tokens meet; everything else happens to each alone.
# - A row of an attention map is a lookup that answers *almost*, and a local average. It is one row.
# - A model says how likely everything is; choosing is left to us.
#
# **Exercises.** [The sheet of this chapter](../exercises/00_the_whole_machine.ipynb): shapes at every stage, the bill of a model, a map to read, and a guess about what happens when a word is changed.
#
# **Further reading.** The architecture is that of {cite}`vaswani2017` in the form of {cite}`radford2019`; that a small model can be fluent if its world is small was shown by {cite}`eldan2023`.
