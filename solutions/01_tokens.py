# %% [markdown]
# # Exercises: Tokens
#
# Six questions on chapter 01, from one line to ten. Hints are free.
# Write your answer into the function, run its cell, then run the check below it.
# A check tells you what is wrong, not what is right; `check.hint("q1")` opens one hint at a time.

# %%
from course.check import sheet

check = sheet("01_tokens")

# %% [markdown]
# {{q1}}
#
# A file of UTF-8 is read from the network in blocks, and a block may begin in the middle of a character.
# Give the positions at which characters begin.
# Do it with the bits of the bytes: a block that is cut on both sides does not decode.


# %% tags=["answer"]
def character_starts(data: bytes) -> list[int]:
    """The positions in `data`, cut anywhere, at which a UTF-8 character begins."""
    return [i for i, byte in enumerate(data) if byte >> 6 != 0b10]


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# Take a pencil.
# The text is `she sells sea shells`; the pre-split cuts it into `she`, `␣sells`, `␣sea`, `␣shells`, each with its leading space.
# Which four pairs does byte-pair encoding merge first?
# Between equally frequent pairs the greater one wins, compared as Python compares tuples of bytes (the rule `"lex"`).


# %% tags=["answer"]
def first_four_merges() -> list[tuple[bytes, bytes]]:
    """The first four merges, such as [(b"x", b"y"), (b"xy", b"z"), ...]."""
    # Space and s stand together three times, everything else at most twice.
    # That takes the s out of s-e and s-h: left with two are h-e, ␣s-e, e-l, l-l and l-s,
    # and l-s is the greatest. Now shells is ␣s h e l ls: l-l is gone, and l-ls is the
    # greatest of the rest; then h-e, since h comes after e.
    return [(b" ", b"s"), (b"l", b"s"), (b"l", b"ls"), (b"h", b"e")]


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# A model prints its answer token by token, and a token can end in the middle of a character.
# For each chunk of bytes give the text that can be shown once it has arrived: whole characters only, each of them once, and none later than it could have come.
# Bytes that never become a character stay unshown.


# %% tags=["answer"]
def shown(chunks: list[bytes]) -> list[str]:
    """For each chunk of a valid UTF-8 text, the characters that it completes."""
    texts, pending = [], b""
    for chunk in chunks:
        pending += chunk
        # errors="ignore" drops nothing but the unfinished character at the end: all
        # before it is valid.
        text = pending.decode("utf-8", errors="ignore")
        pending = pending[len(text.encode("utf-8")) :]
        texts.append(text)
    return texts


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# This function cuts a text at its special tokens, so that each of them becomes a piece of its own.
# It ran for years on `<pad>` and `<eos>`.
# Then somebody added `<|end|>`, somebody else added `<pad><pad>`, and a third person had no special tokens at all.
# All three reported a bug.
# Where several special tokens begin at the same place, the longest is meant.

# %% tags=["stub"]
import re


def split_special(text: str, special_tokens: list[str]) -> list[str]:
    """The pieces of `text` in order, none empty, each special token one of its own."""
    pattern = "(" + "|".join(special_tokens) + ")"
    return [piece for piece in re.split(pattern, text) if piece]


# %% tags=["answer"]
import re


def split_special(text: str, special_tokens: list[str]) -> list[str]:
    """The pieces of `text` in order, none empty, each special token one of its own."""
    if not special_tokens:
        # The empty pattern would cut between all characters.
        return [text] if text else []
    # Alternatives are tried in the order in which they stand, and | means something to a
    # regular expression.
    longest_first = sorted(special_tokens, key=len, reverse=True)
    pattern = "(" + "|".join(re.escape(token) for token in longest_first) + ")"
    return [piece for piece in re.split(pattern, text) if piece]


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# BPE cuts a word by replaying its merges.
# WordPiece, the tokenizer of BERT, takes the longest token that fits, then the longest that fits behind it, and so on.
# Write that, on bytes.
# `vocab` holds every single byte, so something always fits.
# Afterwards, for yourself and not graded, try it on a vocabulary of chapter 01: how many words does it cut differently?


# %% tags=["answer"]
def longest_match(word: bytes, vocab: list[bytes]) -> list[bytes]:
    """The tokens of `word`, each the longest in `vocab` that fits at its place."""
    known = set(vocab)  # to find a token in a list takes as long as the list
    longest = max(map(len, known))
    tokens, start = [], 0
    while start < len(word):
        end = min(len(word), start + longest)
        while word[start:end] not in known:
            end -= 1
        tokens.append(word[start:end])
        start = end
    return tokens


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# Is BPE still the compressor that it was in 1994?
# If an id is one of $V$, it takes $\log_2 V$ bits to write it down, whichever id it is.
# For each vocabulary size train on `text` with `train_bpe`, encode the same `text`, and give the bits that its ids take **per byte** of the text.
# Bytes alone cost 8.
# Before you run it: does the number keep falling as the vocabulary grows, and if not, why not?

# %% tags=["answer"]
import math

from tinyllm.tokens import Tokenizer, train_bpe


def bits_per_byte(text: str, vocab_sizes: list[int]) -> list[float]:
    """For each size, the bits per byte of `text` as ids of log2(size) bits.

    Each vocabulary is trained on `text` itself.
    """
    results = []
    for size in vocab_sizes:
        ids = Tokenizer(*train_bpe(text, size)).encode(text)
        results.append(len(ids) * math.log2(size) / len(text.encode("utf-8")))
    return results


# %%
check("q6")

# %% [markdown] tags=["solution-only"]
# The number falls, reaches a bottom, and rises again.
# A new token saves a few ids where it occurs, and it makes *every* id a little longer to write.
# Once the pairs that are left are rare, the second loses more than the first wins.
# A model does not write ids with equal bits, it predicts them, and chapter 02 shows what that is worth.
