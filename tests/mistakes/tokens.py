"""Wrong answers to sheet 01 that people give, and what they have to be told."""

MISTAKES = [
    # Only ASCII begins a character.
    ("q1", "is not in your list", '''
def character_starts(data):
    return [i for i, byte in enumerate(data) if byte < 128]
'''),
    # Decodes, so a block that is cut does not go through.
    ("q1", "UnicodeDecodeError", '''
def character_starts(data):
    starts, position = [], 0
    for char in data.decode("utf-8"):
        starts.append(position)
        position += len(char.encode("utf-8"))
    return starts
'''),
    # Counts characters instead of bytes.
    ("q1", "continues a character", '''
def character_starts(data):
    return list(range(len(data.decode("utf-8", errors="ignore"))))
'''),
    # Breaks ties by order in the text.
    ("q2", "which the text has first", '''
def first_four_merges():
    return [(b" ", b"s"), (b"h", b"e"), (b" s", b"e"), (b"l", b"l")]
'''),
    # Counts once and never again.
    ("q2", "count again after each merge", '''
def first_four_merges():
    return [(b" ", b"s"), (b"s", b"h"), (b"s", b"e"), (b"l", b"s")]
'''),
    ("q2", "should be a list", '''
def first_four_merges():
    return (b" ", b"s"), (b"l", b"s"), (b"l", b"ls"), (b"h", b"e")
'''),
    ("q3", "half a character was decoded", '''
def shown(chunks):
    return [chunk.decode("utf-8", errors="replace") for chunk in chunks]
'''),
    # The half character is dropped, and its other half, too.
    ("q3", "complete and not yet shown", '''
def shown(chunks):
    return [chunk.decode("utf-8", errors="ignore") for chunk in chunks]
'''),
    # Shows the whole text again each time.
    ("q3", "not how the text begins", '''
def shown(chunks):
    return [b"".join(chunks[: i + 1]).decode("utf-8", errors="ignore") for i in range(len(chunks))]
'''),
    # Waits for the end.
    ("q3", "complete and not yet shown", '''
def shown(chunks):
    return [""] * (len(chunks) - 1) + [b"".join(chunks).decode("utf-8", errors="ignore")]
'''),
    # Escapes, and forgets the order.
    ("q4", "a shorter one than possible", '''
import re

def split_special(text, special_tokens):
    if not special_tokens:
        return [text]
    return [p for p in re.split("(" + "|".join(map(re.escape, special_tokens)) + ")", text) if p]
'''),
    # Sorts, and forgets to escape.
    ("q4", "reads as its own", '''
import re

def split_special(text, special_tokens):
    if not special_tokens:
        return [text]
    tokens = sorted(special_tokens, key=len, reverse=True)
    return [p for p in re.split("(" + "|".join(tokens).replace("[", "\\\\[") + ")", text) if p]
'''),
    # Both right, but the empty pattern remains.
    ("q4", "what does the pattern match", '''
import re

def split_special(text, special_tokens):
    tokens = sorted(special_tokens, key=len, reverse=True)
    return [p for p in re.split("(" + "|".join(map(re.escape, tokens)) + ")", text) if p]
'''),
    # Loses the special tokens: no group.
    ("q4", "put together, give", '''
import re

def split_special(text, special_tokens):
    return [p for p in re.split("|".join(map(re.escape, special_tokens)), text) if p]
'''),
    # The shortest match.
    ("q5", "a longer token fits there", '''
def longest_match(word, vocab):
    return [word[i : i + 1] for i in range(len(word))]
'''),
    # Forgets to move on by the length of the token.
    ("q5", "the word goes on with", '''
def longest_match(word, vocab):
    return [max((t for t in vocab if word.startswith(t, i)), key=len) for i in range(len(word))]
'''),
    # Takes the longest token of the word anywhere first.
    ("q5", "the tokens stop after", '''
def longest_match(word, vocab):
    tokens, start = [], 0
    while start < len(word) - 1:
        token = max((t for t in vocab if word.startswith(t, start)), key=len)
        tokens.append(token)
        start += len(token)
    return tokens
'''),
    ("q6", "some characters of the text take more than one byte", '''
from tinyllm.tokens import Tokenizer, train_bpe

def bits_per_byte(text, vocab_sizes):
    return [len(Tokenizer(*train_bpe(text, size)).encode(text)) * math.log2(size) / len(text) for size in vocab_sizes]
'''),
    ("q6", "base 2", '''
from tinyllm.tokens import Tokenizer, train_bpe

def bits_per_byte(text, vocab_sizes):
    return [len(Tokenizer(*train_bpe(text, size)).encode(text)) * math.log(size) / len(text.encode())
            for size in vocab_sizes]
'''),
    ("q6", "number of ids per byte", '''
from tinyllm.tokens import Tokenizer, train_bpe

def bits_per_byte(text, vocab_sizes):
    return [len(Tokenizer(*train_bpe(text, size)).encode(text)) / len(text.encode()) for size in vocab_sizes]
'''),
]
