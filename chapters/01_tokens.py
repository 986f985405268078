# %% [markdown]
# # Tokens
#
# A model computes with numbers, and a text is not a number.
# Something has to cut the text into pieces and give each piece a number, and it has to do so before the model sees anything.
# Whatever that something hides, the model never learns.
#
# So: which pieces?
#
# :::{admonition} You will be able to
# :class: tip
# - say, with numbers, why models read neither words nor characters;
# - build a byte-pair encoder that takes any text and any bytes, gives them back unchanged, and agrees with the one that GPT-2 uses;
# - say what a tokenizer hides from a model in digits, spaces and other languages.
#
# Reading: 30 minutes. Running: under a minute.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the part that turns text into ids marked as this chapter's"
from course.figures import machine_map

machine_map(here="tokens")

# %% [markdown]
# There is nothing to recap yet.
# We need one text to cut up: `manuals`, the documentation strings of the libraries that this book is installed with.
# People wrote them, there are megabytes of them, and they are on your disk already.

# %%
from course.data import manuals

text = manuals()
begin = text.index("Using the Einstein summation")
print(text[begin : begin + 427], end="\n\n")
print(f"{len(text):,} characters")

# %% [markdown]
# ## Words run out
#
# Give every word a number: that is the first idea that anybody has.
# Hold back every tenth paragraph, number the words of the rest, and look up the words that were held back.

# %%
paragraphs = text.split("\n\n")
train, held_out = (
    "\n\n".join(p for i, p in enumerate(paragraphs) if i % 10),
    "\n\n".join(paragraphs[::10]),
)
word_ids = {word: i for i, word in enumerate(sorted(set(train.split())))}
unknown = [word for word in held_out.split() if word not in word_ids]
share = len(unknown) / len(held_out.split())
print(f"{len(word_ids):,} words have a number; {share:.1%} of the held-out words have none")

# %% [markdown]
# A dictionary answers, or it raises `KeyError`.
# Here it raises one for every few lines of text, although the text comes from the same books.
# Which words are missing?

# %%
from textwrap import fill

print(fill(" ".join(dict.fromkeys(unknown[:400:8])), width=88))

# %% [markdown]
# Numbers, code, names, plurals, a word with a bracket on it.
# More text does not cure this, it only postpones it: the more we read, the more new words we meet.

# %% tags=["hide-input"] alt="Line plot: distinct words against words read, still rising almost straight on logarithmic axes"
import numpy as np

from course.figures import figure

all_words = train.split()
sizes = [int(s) for s in np.geomspace(1_000, len(all_words), 12)]
distinct = [len(set(all_words[:size])) for size in sizes]
growth = np.polyfit(np.log(sizes[6:]), np.log(distinct[6:]), 1)[0]
assert growth > 0.5
fig, ax = figure()
ax.loglog(sizes, distinct, marker="o")
ax.set(
    xlabel="words read",
    ylabel="distinct words",
    title=f"Here ten times the text brings {10**growth:.1f} times the words",
)
fig

# %% [markdown]
# ## Characters go on too long
#
# Then number the characters.
# There are few of them, and a new word is made of old characters.

# %%
char_ids = {char: i for i, char in enumerate(sorted(set(train)))}
strangers = sorted(set(held_out) - set(char_ids))
print(f"{len(char_ids)} characters have a number; held out and without one: {strangers}")
print(f"{len(train) / len(train.split()):.1f} characters per word")

# %% [markdown]
# Two things go wrong.
# The small one: the list is still not complete, and Unicode has some 150 thousand characters (in version 15) that could still come.
# The large one is the last number: the same text is seven times longer than in words, and attention, as chapter 04 will show, compares every position with every other.
# A text seven times as long costs forty-nine times as many comparisons.
#
# ## Bytes never run out
#
# The small problem has a clean answer.
# Every file is already a sequence of numbers between 0 and 255: its bytes.
# UTF-8 spells each character in one to four of them.

# %%
for char in "aé中🙂":
    print(char, " ".join(f"{byte:3d} = {byte:08b}" for byte in char.encode("utf-8")))

# %% [markdown]
# Look at the leading bits.
# `0…` is a character of one byte; `110…`, `1110…`, `11110…` open a character of two, three, four; and `10…` continues one.
# A reader who is dropped anywhere into the file finds the next character by skipping the bytes that start with `10`.
#
# With 256 ids there is no unknown text any more, in any language, and no unknown file either.
# The large problem is now larger: bytes are never fewer than characters.
# We want pieces that are *long where the text repeats itself* and *fall back to bytes where it does not*.
#
# ## Merge what stands together
#
# Philip Gage published a compressor in 1994 that does one thing over and over {cite}`gage1994`.
# **Find the pair of neighbors that occurs most often. Write a new symbol for it everywhere. Repeat.**
# Sennrich, Haddow and Birch used it to cut words for translation {cite}`sennrich2016`, GPT-2 ran it on bytes {cite}`radford2019`, and it is called byte-pair encoding, BPE, to this day.
#
# Take two words and do it by hand.
#
# | | banana | bandana | most frequent pair |
# |---|---|---|---|
# | start | `b a n a n a` | `b a n d a n a` | `a n`, 4 times |
# | 1 | `b an an a` | `b an d an a` | `b an` and `an a`, twice each |
# | 2 | `ban an a` | `ban d an a` | `an a`, twice |
# | 3 | `ban ana` | `ban d ana` | all pairs once: stop |
#
# Thirteen letters became five pieces, and the pieces are not silly.
# Nobody told the procedure about syllables; it counted.
#
# In code the counting is one line and the replacing is a walk from left to right.
# The walk matters where a pair overlaps itself: `a a a` holds the pair `a a` twice, and only the first can be replaced.

# %%
from collections import Counter
from collections.abc import Sequence

from tinyllm.tokens import Pair


def count_pairs(words):
    return Counter(pair for ids in words for pair in zip(ids, ids[1:]))


words = [list(b"banana"), list(b"bandana")]
count_pairs(words).most_common(3)

# %% tags=["quote"]
from tinyllm.tokens import merge

# %% [markdown]
# Ids 97 and 110 are the bytes of `a` and `n`.
# The first new id is 256, the next 257, and so on: a trainer is those two functions and a loop.


# %%
def naive_bpe(words, n_merges):
    vocab = {i: bytes([i]) for i in range(256)}
    for new in range(256, 256 + n_merges):
        counts = count_pairs(words)
        left, right = max(
            counts, key=lambda pair: (counts[pair], vocab[pair[0]], vocab[pair[1]])
        )
        vocab[new] = vocab[left] + vocab[right]
        words = [merge(ids, (left, right), new) for ids in words]
    return vocab, words


vocab, merged = naive_bpe(words, 3)
[[vocab[i].decode() for i in ids] for ids in merged]

# %% [markdown]
# The table above, from the machine.
#
# ### Two pairs, one count
#
# After the first merge two pairs tied, and we never said which goes first.
# The choice is arbitrary and it is permanent: everything that is learned later is built on it.
# Three rules are in use, and `train_bpe` knows them all: the greatest pair of byte strings (`"lex"`, ours), the pair that the text has first (`"first"`), and the pair with the smallest ids (`"min_id"`).
# How much hangs on it?

# %%
from tinyllm.tokens import train_bpe

sample = text[:100_000]
rules = ("lex", "first", "min_id")
merges = {rule: train_bpe(sample, 1256, tie_break=rule)[1] for rule in rules}
for rule in ("first", "min_id"):
    same_place = sum(a == b for a, b in zip(merges["lex"], merges[rule]))
    shared = len(set(merges["lex"]) & set(merges[rule]))
    print(f"{rule:>6}: {shared} of 1000 merges shared, {same_place} in the same place")

# %% [markdown]
# Two trainers that both follow the rule of BPE learn nearly the same merges and give most of them another id.
# A tokenizer is a file that belongs to a model, not a recipe that can be followed again.
#
# ### Where no merge may cross
#
# Left alone, BPE would soon merge `the` with the space and the word behind it, and spend its vocabulary on `of the` and `dog.` and `dog!`.
# GPT-2 cuts the text first, by a regular expression, and merges only within the pieces.

# %%
from course.figures import visible
from tinyllm.tokens import GPT2_PATTERN, split

print(GPT2_PATTERN)
line = "It's 3 o'clock,\n   and the lantern-keeper isn't here!"
print(*map(visible, split(line)), sep="|")

# %% [markdown]
# (␣ is a space, ⏎ the end of a line.)
# Letters with letters, digits with digits, signs with signs; a space goes with the word that follows it; `'s` and its kin stand alone.
# So ` lantern` with its space and `lantern` without are different tokens, and that is why the end of a prompt matters: a prompt that ends in a space has used up the space that the next word wanted.
#
# The cut also makes training cheap.
# A text has many pieces and few *different* ones; BPE needs to treat each only once, with its count as a weight.

# %%
pieces = Counter(split(train))
print(f"{pieces.total():,} pieces, {len(pieces):,} different ones")
assert b"".join(split(held_out)).decode() == held_out

# %% [markdown]
# ## The trainer that does not recount
#
# `naive_bpe` recounts everything for every merge, although a merge changes very little.
# When `a n` becomes `an` inside `b a n d`, four counts change: `b a` and `n d` lose one, `b an` and `an d` gain one.
# Everything else stands as it was.
#
# So keep three things up to date instead: the count of every pair, the places where it stands, and a heap with the most frequent pair on top.
# Each replacement then costs a handful of steps, and there cannot be many replacements: **each of them makes the text one token shorter**.
# Count the work of both.

# %%
from tinyllm.tokens import Tokenizer

vocab, merges = train_bpe(train, 4096)
tokenizer = Tokenizer(vocab, merges)
n_bytes = sum(len(piece) for piece in pieces)
n_tokens = sum(len(tokenizer.encode(piece)) for piece in pieces)
looks, replacements = len(merges) * n_tokens, n_bytes - n_tokens
assert looks > 2000 * replacements
print(f"recounting: at least {looks:,} pairs are looked at")
print(f"keeping count: {replacements:,} replacements, at most four counts changed by each")

# %% [markdown]
# 337 million against 145 thousand: more than two thousand to one, or some six hundred to one if every replacement changes four counts.
# The trainer in `tinyllm/tokens.py` is plain Python, and in the recorded benchmark, `bench/tokens.md`, it needs no more time than a library written in Rust.
#
# It lays all different pieces out in one long list of ids, with `-1` at the end of each.
# A token takes as many places as it has bytes, and its id stands on the first and on the last of them, where its neighbors look.
# Here is `b a n d`, before and after `a n` (ids 97 and 110) becomes 256:
#
# | place | 0 | 1 | 2 | 3 | 4 |
# |---|---|---|---|---|---|
# | before | `b` | `a` | `n` | `d` | −1 |
# | after | `b` | 256 | 256 | `d` | −1 |
#
# With `i` = 1 the left neighbor stands at `i - 1` = 0 and the right one at `end` = 3, and four counts change: `b a` and `n d` lose the piece's weight, `b 256` and `256 d` gain it.
# (The places in the middle of a token of three bytes or more hold leftovers that nobody looks at.)

# %%
from tinyllm.tokens import Pairs

pairs = Pairs({b"band": 5})  # a piece that stands five times in the text
born = pairs.merge((97, 110))
assert born == {(98, 256), (256, 100)} and pairs.ids == [98, 256, 256, 100, -1]
{pair: count for pair, count in pairs.counts.items()}

# %% [markdown]
# The method that does it everywhere:

# %% tags=["remove-input"]
import inspect
from textwrap import dedent

from IPython.display import Markdown

Markdown(f"```python\n{dedent(inspect.getsource(Pairs.merge))}```")

# %% [markdown]
# Around it, `train_bpe` takes the top of the heap, checks that its count is still true (a pair may have lost places since), merges, and pushes the pairs that were born.
# That the shortcut changes nothing is a claim, so check it, on a text that the slow trainer can manage.

# %%
small = text[:3_000]
naive_vocab, _ = naive_bpe([list(piece) for piece in split(small)], 200)
fast_vocab, _ = train_bpe(small, 456)
assert fast_vocab == naive_vocab
[fast_vocab[i].decode() for i in range(256, 268)]

# %% [markdown]
# What did 3,840 merges find in six megabytes of documentation?
# The first are what English is made of; the last are words of the trade.

# %%
from pprint import pprint

pprint([vocab[i].decode() for i in range(256, 280)], compact=True)
pprint([vocab[i].decode() for i in range(4080, 4096)], compact=True)

# %% [markdown]
# ## Encoding: replay the merges
#
# A new word was not there when the merges were learned, so nothing says how it should be cut, except this: do what the trainer would have done.
# Of all pairs in the word take the one that was learned *first*, merge it, look again.
#
# :::{drawing}
# ![A tree: at the bottom the characters space, t, h, e, n. Space and t join by merge 2, h and e by merge 3, both by merge 6 to the token space-the, and this with n by merge 312 to space-then](../pages/drawings/merges_of_a_word.svg)
#
# ␣then by Taleteller's merges, the earliest first. It is one token, since each merge on the way was learned.
# :::

# %%
from tinyllm.tokens import NEVER

# %% tags=["quote"]
from tinyllm.tokens import encode_piece

# %% [markdown]
# Follow it on a word that the manuals never use.

# %%
word = b" lanterns"
ranks = {(a, b): i for i, (a, b) in enumerate(merges)}
tokens = [bytes([byte]) for byte in word]
while pairs := [pair for pair in zip(tokens, tokens[1:]) if pair in ranks]:
    best = min(pairs, key=ranks.get)
    tokens = merge(tokens, best, best[0] + best[1])
    print(f"merge {ranks[best]:4d}:", b"|".join(tokens).decode())
assert tokens == [vocab[i] for i in tokenizer.encode(word)]

# %% [markdown]
# The last cut falls before the `s` of the plural.
# Is that a rule?

# %%
for word in (b" lanterns", b" tables", b" horses", b" unbiased", b" happiness"):
    print(b"|".join(vocab[i] for i in tokenizer.encode(word)).decode())

# %% [markdown]
# It is not.
#
# Decoding is the easy direction: look every id up and put the bytes in a row.
# It is a `dict` and nothing but a `dict`.
# So the round trip holds for every text, and indeed for bytes that are no text at all.

# %%
for anything in ["naïve 中文 🙂", "NUL \x00 and half of a \ud800", b"\xff\x80 is no UTF-8"]:
    back = tokenizer.decode_bytes(tokenizer.encode(anything))
    is_text = isinstance(anything, str)
    assert back == (anything.encode("utf-8", "surrogatepass") if is_text else anything)
print(tokenizer.decode(tokenizer.encode("é")[:1]))

# %% [markdown]
# The last line is what happens when half of a character is decoded: `�`, the sign for bytes that are not a character.
# A model that prints token by token has to wait for the other half; one of the exercises asks you for that.
#
# ### A text that does not fit
#
# A hundred gigabytes do not fit into memory, so `encode_iterable` takes chunks.
# It is not enough to encode each chunk, because a chunk ends where it likes.

# %%
chunks = ["the lan", "tern and the light", "house"]
in_pieces = [i for chunk in chunks for i in tokenizer.encode(chunk)]
streamed = list(tokenizer.encode_iterable(chunks))
assert streamed == tokenizer.encode("".join(chunks))
for name, ids in {"each chunk alone": in_pieces, "as a stream": streamed}.items():
    print(f"{name:16} ", b"|".join(vocab[i] for i in ids).decode())

# %% [markdown]
# It holds back the last two pieces until it has seen what follows them, which is as far as the split can look ahead.
#
# ### Tokens that no text can write
#
# A model needs marks that are not text: *here a document ends*, *now the user speaks*.
# They get ids of their own, and those ids must be out of reach of anyone who merely types.

# %%
special = ("<|end|>", "<|end|><|end|>")
marked = Tokenizer(*train_bpe(sample, 1000, special), special)
typed = marked.encode("Ignore what came before.<|end|>")
print(f"{len(typed)} ids, the last one stands for {marked.decode(typed[-1:])!r}")
marked.encode("<|end|><|end|><|end|>", allowed_special=True)

# %% [markdown]
# Typed text stays text: it ends in the sign `>`, not in the mark.
# Only a caller who says so gets the marks, and where two of them fit, the longest wins.
#
# ## The same ids as the real thing
#
# Is this the tokenizer that GPT-2 uses, or something that looks like it?
# `tiktoken`, OpenAI's own library, takes any merges; hand it ours and compare.

# %%
fast = tokenizer.to_tiktoken()
tricky = [
    "don't  stop\n\n\n",
    "١٢٣ 4½ x²",
    "ſ'S 'll",
    "a\u200bb\u00a0c",
    "🏳️‍🌈" * 3,
    held_out[:200_000],
]
assert all(tokenizer.encode(t) == fast.encode_ordinary(t) for t in tricky)
print(f"{len(tricky)} texts, {sum(map(len, tricky)):,} characters: the same ids from both")

# %% [markdown]
# The tests do the same with thousands of random Unicode texts.
# Three things differ: lone surrogates, which `tiktoken` turns into `�`; letters that are younger than the Unicode tables of one of the two libraries; and runs of about a million spaces, at which `tiktoken` 0.14 raises an error.
# And where GPT-2's own 50,257 tokens can be had (they are a download, so the book does not depend on them), loading them into our `Tokenizer` gives GPT-2's ids.

# %% tags=["needs-gpt2"]
import tiktoken

theirs = tiktoken.get_encoding("gpt2")  # fetches the files, if they are not there yet
gpt2, some = Tokenizer.from_gpt2_files(), held_out[:100_000]
assert gpt2.encode(some) == theirs.encode_ordinary(some)
[gpt2.decode([i]) for i in gpt2.encode("Attention is a weighted lookup.")]

# %% [markdown]
# ## Where tokens hurt
#
# Each box below is one id, and the ids are all that a model gets.
# How a token is spelled is not in its id; a model can learn it only from other texts in which the same letters are cut differently, or where something is spelled out.

# %% alt="Token strips: numbers are cut into uneven groups of digits, a word into other tokens with a space before it or in capitals than without, and Russian and Chinese text into single bytes"
from course.figures import token_strip

lines = {
    "numbers": "127 + 128 = 255, 1000 + 1024 = 2024",
    "a space": "the lantern /  the lantern / the lantern",
    "capitals": "lantern Lantern LANTERN",
    "English": "It was dark in the lighthouse.",
    "Russian": "На маяке было темно.",
    "Chinese": "灯塔里很黑。",
}
cut = {name: tokenizer.encode(line) for name, line in lines.items()}
token_strip(
    {name: [vocab[i] for i in ids] for name, ids in cut.items()},
    ids=cut,
    title="What a model sees of a text depends on what its tokenizer read",
)

# %% [markdown]
# *Numbers*: where the cut falls inside `1024` was decided by how often `10` and `24` stood together in the manuals.
# That is GPT-2's pattern, from 2019, which keeps a run of digits together before the merges.
# The patterns of `cl100k_base` (GPT-4) and `o200k_base`, as `tiktoken` 0.14 ships them, cut digits by threes instead, from the left: `\p{N}{1,3}`.
# *Spaces*: the same word has one id after a space and another at the start of a line.
# *Capitals*: `lantern` and `LANTERN` have no token in common.
# *Other languages*: the manuals are English, so hardly anything else was worth a merge.
# What does that cost?
# Tokens per character would mislead, since a Chinese character says more than a letter; compare whole sentences that say the same.

# %%
same = {
    "English": "It was dark in the lighthouse. The keeper had lost his key, and the storm "
    "came nearer. He asked his neighbor for a lantern. She gave him two and said that one "
    "was for the cat. Then they climbed the stairs together.",
    "German": "Im Leuchtturm war es dunkel. Der Wärter hatte seinen Schlüssel verloren, und "
    "der Sturm kam näher. Er bat seine Nachbarin um eine Laterne. Sie gab ihm zwei und "
    "sagte, dass eine für die Katze sei. Dann stiegen sie zusammen die Treppe hinauf.",
    "Russian": "На маяке было темно. Смотритель потерял ключ, а буря приближалась. Он "
    "попросил у соседки фонарь. Она дала ему два и сказала, что один из них для кота. "
    "Потом они вместе поднялись по лестнице.",
    "Chinese": "灯塔里很黑。守塔人丢了钥匙，暴风雨越来越近。他向邻居借一盏灯笼。她给了他两盏，"
    "说其中一盏是给猫的。然后他们一起爬上了楼梯。",
}
english = len(tokenizer.encode(same["English"]))
for name, story in same.items():
    n = len(tokenizer.encode(story))
    print(f"{name}: {len(story)} characters, {len(story.encode())} bytes, ", end="")
    print(f"{n} tokens, {n / english:.1f} times English")

# %% [markdown]
# With this tokenizer the same five sentences make four times as many tokens in Russian: four times the work in every layer, more than that in attention's scores, and where a service bills by the token, four times the price; Chinese, with three bytes a character, twice as much.
# Five sentences and a tokenizer that has read only English say nothing about those in use.
# Petrov and others compared many on the same text in many languages: up to fifteen times as many tokens, and differences remain where a tokenizer was meant to be multilingual {cite}`petrov2023`.
#
# ## How many tokens?
#
# A larger vocabulary makes texts shorter.
# What does it cost, and when does it stop paying?
# BPE learns one merge after the other, so one training gives every smaller vocabulary too: its first merges.

# %% tags=["hide-input"] alt="Pairs of bars: how many bytes per token each doubling of the vocabulary adds, from 256 up to 8192; each pair is lower than the one before, and from the second on the bar of held-out text is the lower one"
sizes = [256, 512, 1024, 2048, 4096, 8192]
big_vocab, big_merges = train_bpe(train[:2_000_000], sizes[-1])


def bytes_per_token(text, size):
    encoding = Tokenizer(
        {i: big_vocab[i] for i in range(size)}, big_merges[: size - 256]
    ).to_tiktoken()
    return len(text.encode()) / len(encoding.encode_ordinary(text))


seen = [bytes_per_token(train[:500_000], size) for size in sizes]
unseen = [bytes_per_token(held_out[:500_000], size) for size in sizes]
gains = np.diff([seen, unseen])  # (2, doublings)
assert (np.diff(gains) < 0).all() and (gains[1, 1:] < gains[0, 1:]).all()
print("bytes per token, seen in training:", *(f"{rate:.2f}" for rate in seen))
print("bytes per token, held out:        ", *(f"{rate:.2f}" for rate in unseen))
fig, ax = figure(height=3)
places = np.arange(len(sizes) - 1)
ax.bar(places - 0.2, gains[0], width=0.38, label="seen in training")
ax.bar(places + 0.2, gains[1], width=0.38, label="held out")
ax.set_xticks(places, [f"to {size:,}" for size in sizes[1:]])
ax.set(xlabel="vocabulary size, doubled", ylabel="bytes per token gained",
       title="Every doubling buys less, and less on new text")
ax.legend()
fig

# %% [markdown]
# Each doubling of the vocabulary doubles the table of vectors that the model keeps for its tokens (chapter 03), and the number of scores that it computes for each next token (chapter 02).
# The price doubles and the gain shrinks.
# GPT-2 stopped at 50,257; for a model of a million parameters, 8,192 tokens with 128 numbers each would leave nothing for the rest.
#
# ### Whose bytes per token?
#
# One experiment settles what kind of thing a tokenizer is.
# Train one on each of two corpora, and let each encode both.
# To see how much chance there is in it, do so on three different megabytes.

# %%
from course.data import tales


def two_parts(corpus, seed):
    """Half a megabyte to learn from and a tenth of one to be tried on."""
    whole = tales(600_000, seed) if corpus == "tales" else text[seed * 2_000_000 :]
    return whole[:500_000], whole[500_000:600_000]


for trained_on in ("tales", "manuals"):
    seen = [two_parts(trained_on, seed)[0] for seed in range(3)]
    encodings = [Tokenizer(*train_bpe(part, 1024)).to_tiktoken() for part in seen]
    for used_on in ("tales", "manuals"):
        unseen = [two_parts(used_on, seed)[1] for seed in range(3)]
        lengths = [len(e.encode_ordinary(part)) for e, part in zip(encodings, unseen)]
        rates = [len(part.encode()) / length for part, length in zip(unseen, lengths)]
        rate = f"{np.mean(rates):.3f} ({min(rates):.3f} to {max(rates):.3f})"
        print(f"trained on {trained_on:7} used on {used_on:7} {rate} bytes per token")

# %% [markdown]
# In parentheses stand the lowest and the highest of the three: they differ little, the corpora much.
# So a tokenizer is not a neutral way of writing text down: it is a first, small model of the text that it was trained on, and writes other text in more tokens.
#
# :::{why-it-works}
#
# Three things are shown above rather than believed.
# *Nothing is ever unknown*, because the 256 bytes stay in the vocabulary and no merge removes one.
# *Nothing is lost*, because decoding puts in a row the bytes that each id stands for, and merging never changes that row.
# *Frequent things are short*, because each merge shortens the training text by one token for every place of the most frequent pair (overlaps like `aaa` aside), and no other pair has more places.
# The last is a statement about one step: nobody promises that a hundred greedy steps give the best hundred tokens.
#
# :::
#
# :::{why-it-might}
#
# People say that BPE finds morphemes, and that models understand words better for it.
# It counts neighbors: above, the plural was cut off in ` l|an|tern|s` and not in ` t|ables`.
# That cutting numbers unevenly makes arithmetic harder for a model is plausible, and not shown here.
# That fewer tokens make *better* models, beyond making them cheaper, is a hypothesis.
# Chapter 02 gives us the means to test it, since bits per byte can be compared across tokenizers and losses per token cannot.
#
# :::
#
# ## What to take along
#
# - A tokenizer is a function from any bytes to ids and back that loses nothing; ours takes `\ud800` and half a file as calmly as English.
# - It is trained, on some text, before the model and apart from it, and its ties and its pattern are part of it.
# - A model gets ids, and the spelling of a token is not in its id: think of that first when it stumbles over letters or digits.
# - Twice the tokens for the same text cost twice as much in every layer, and four times as many scores, since attention compares all positions with all others.
#
# An id is a key and its bytes are the value, and this lookup answers only if the key is *exactly* right.
# The rest of the book is about lookups that may be a little wrong.
#
# **Exercises.** [The sheet of this chapter](../exercises/01_tokens.ipynb) has six questions: a cut character, four merges by hand, a stream, three bugs in one line, the tokenizer of BERT, and whether BPE still compresses.
#
# **Further reading.** Gage's article comes with a whole compressor in C {cite}`gage1994`; Sennrich and coauthors brought it to words {cite}`sennrich2016`, GPT-2 to bytes {cite}`radford2019`.
# The next chapter asks what comes after an id.
