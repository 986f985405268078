"""Sheet 01: tokens."""

import math
import random

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a, number
from tinyllm.tokens import Tokenizer, split, train_bpe

WORDS = "naïve|façade|smörgåsbord|灯塔|маяк|🙂🙃|lantern|日本語|ñandú|🏳️‍🌈|\u00a0|plain".split("|")


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=4))


# q1


def whole_texts(seed):
    rng = random.Random(seed)
    yield ("",) if seed == 0 else (WORDS[seed % len(WORDS)],)
    yield (_text(rng),)


def whole_blocks(seed):
    return ((text.encode(),) for (text,) in whole_texts(seed))


def cut_blocks(seed):
    rng = random.Random(seed)
    for _ in range(3):
        data = _text(rng).encode()
        start = rng.randrange(1, 4)
        yield (data[start : len(data) - rng.randrange(1, 4)],)


def starts(inputs, answer):
    (data,) = inputs
    is_a(answer, list, "the positions")
    answer = [number(position) for position in answer]
    for position in answer:
        if not isinstance(position, int) or not 0 <= position < len(data):
            raise Wrong(f"{position!r} is not a position in a block of {len(data)} bytes")
        if data[position] >> 6 == 0b10:
            raise Wrong(f"position {position} holds the byte {data[position]:08b}, which continues a character")
    missed = [i for i, byte in enumerate(data) if byte >> 6 != 0b10 and i not in answer]
    if missed:
        raise Wrong(f"a character begins at position {missed[0]} (byte {data[missed[0]]:08b}) and is not in your list")
    equal(answer, sorted(set(answer)), "the list of positions", item="position")


# q2


def four_merges(inputs, answer):
    text = "she sells sea shells"
    equal(answer, train_bpe(text, 260)[1], "the merges", item="merge", mistakes={
        "between equally frequent pairs the greater one wins, and yours goes by which the text has first":
            train_bpe(text, 260, tie_break="first")[1],
        "count again after each merge: the pairs that lost a place to it are still ranked as before": _never_recounted(text),
    })


def _never_recounted(text: str) -> list[tuple[bytes, bytes]]:
    pairs = [(bytes([a]), bytes([b])) for piece in split(text) for a, b in zip(piece, piece[1:])]
    return sorted(set(pairs), key=lambda pair: (pairs.count(pair), pair), reverse=True)[:4]


# q3


def chunked(seed):
    rng = random.Random(seed)
    for size in (1, 2, 5):
        data, chunks = _text(rng).encode(), []
        while data:
            length = rng.randrange(1, size + 1)
            chunks.append(data[:length])
            data = data[length:]
        yield (chunks,)


def unfinished(seed):
    data = WORDS[seed % 5].encode() + "🙂".encode()
    yield ([data[:2], b"", data[2:-1]],)


def shown_in_time(inputs, answer):
    (chunks,) = inputs
    is_a(answer, list, "the answer")
    if len(answer) != len(chunks):
        raise Wrong(f"{len(chunks)} chunks came and {len(answer)} texts were shown: there is one text per chunk, even an empty one")
    so_far, seen = b"", ""
    for i, (chunk, text) in enumerate(zip(chunks, answer)):
        is_a(text, str, f"the text after chunk {i}")
        so_far += chunk
        seen += text
        if "\ufffd" in text:
            raise Wrong(f"after chunk {i} a � was shown: half a character was decoded")
        complete = so_far.decode("utf-8", errors="ignore")
        if not complete.startswith(seen):
            raise Wrong(f"after chunk {i} the reader has seen {seen!r}, which is not how the text begins")
        if seen != complete:
            raise Wrong(f"after chunk {i} the character {complete[len(seen)]!r} is complete and not yet shown")


# q4


def ordinary_specials(seed):
    yield ("a<eos>b<pad><eos>", ["<pad>", "<eos>"])


def signs(seed):
    yield ("so it ends<|end|>, does it?", ["<|end|>", "<eos>"])
    yield ("what. ever", ["."])


def overlapping(seed):
    yield ("x<pad><pad>y<pad>", ["<pad>", "<pad><pad>"])
    yield ("[[[", ["[", "[["])


def no_specials(seed):
    yield ("nothing special", [])
    yield ("", ["<eos>"])


def pieces(inputs, answer):
    text, specials = inputs
    is_a(answer, list, "the pieces")
    if "".join(map(str, answer)) != text:
        raise Wrong(f"the pieces of {text!r}, put together, give {''.join(map(str, answer))!r}")
    if "" in answer:
        raise Wrong("there is an empty piece")
    if not specials and len(answer) > 1:
        raise Wrong(f"without special tokens the text is one piece; yours is cut into {len(answer)}: "
                    "what does the pattern match when there is nothing to look for?")
    for piece in answer:
        inside = [token for token in specials if token in piece and token != piece]
        if piece not in specials and inside:
            raise Wrong(f"the piece {piece!r} still has the special token {inside[0]!r} inside")
    right = _split_special(text, specials)
    for mine, correct in zip(answer, right):
        if len(mine) < len(correct) and correct in specials:
            raise Wrong(f"at {text[text.index(mine):]!r} two special tokens fit, and a shorter one than possible was taken")
        if len(mine) < len(correct):
            raise Wrong(f"{mine!r} was cut off although no special token begins or ends there: "
                        "does a special token hold a sign that a regular expression reads as its own?")
    equal(answer, right, "the pieces", item="piece")


def _split_special(text: str, specials: list[str]) -> list[str]:
    found, plain = [], ""
    while text:
        token = max((t for t in specials if text.startswith(t)), key=len, default="")
        if token:
            found += [plain, token]
            plain, text = "", text[len(token) :]
        else:
            plain, text = plain + text[0], text[1:]
    return [piece for piece in [*found, plain] if piece]


# q5


def vocabularies(seed):
    rng = random.Random(seed)
    letters = "abn"
    tokens = ["".join(rng.choices(letters, k=rng.randrange(2, 6))).encode() for _ in range(12)]
    vocab = [bytes([i]) for i in range(256)] + list(dict.fromkeys(tokens))
    yield ("".join(rng.choices(letters, k=20)).encode(), vocab)
    yield (b"", vocab)
    yield ("né🙂".encode(), [*vocab, "é".encode()])


def longest(inputs, answer):
    word, vocab = inputs
    is_a(answer, list, "the tokens")
    start = 0
    for token in answer:
        is_a(token, bytes, "a token")
        if token not in vocab:
            raise Wrong(f"{token!r} is not in the vocabulary")
        if not token or not word.startswith(token, start):
            raise Wrong(f"at byte {start} the word goes on with {word[start:start + 6]!r}, not with {token!r}")
        longer = [t for t in vocab if len(t) > len(token) and word.startswith(t, start)]
        if longer:
            raise Wrong(f"at byte {start} you took {token!r}, and a longer token fits there")
        start += len(token)
    if start < len(word):
        raise Wrong(f"the tokens stop after byte {start} of {len(word)}")


# q6


def texts_to_compress(seed):
    rng = random.Random(seed)
    words = "lantern|lighthouse|harbor|naïve|crème|ferry|the|a|of|and|was|said|маяк".split("|")
    yield (" ".join(rng.choices(words, k=1500)), [256, 260 + seed, 290])


def bits(inputs, answer):
    text, sizes = inputs
    counts = [len(Tokenizer(*train_bpe(text, size)).encode(text)) for size in sizes]
    n_bytes = len(text.encode())
    close(answer, [n * math.log2(size) / n_bytes for n, size in zip(counts, sizes)], "the bits per byte", axes=("vocabulary",),
          mistakes={
              "this is per character, and some characters of the text take more than one byte":
                  [n * math.log2(size) / len(text) for n, size in zip(counts, sizes)],
              "this is per token: how many bytes does the text have?": [math.log2(size) for size in sizes],
              "these are nats: a bit is a choice between two, so the logarithm has base 2":
                  [n * math.log(size) / n_bytes for n, size in zip(counts, sizes)],
              "this is the number of ids per byte; each of them takes log2(V) bits": [n / n_bytes for n in counts],
          })


SHEET = Sheet("01_tokens", "Tokens", questions=(
    Question("q1", "Dropped into the middle of a file", function="character_starts", minutes=5, difficulty=1,
             parts=(Part("every character of a whole text is found", 1, starts, whole_blocks),
                    Part("a block that is cut on both sides is read, too", 1, starts, cut_blocks)),
             hints=("Print the bytes of é and of 🙂 in binary, as the chapter does.",
                    "Which two bits do all bytes have that continue a character, and no others?",
                    "`byte >> 6` leaves the two leading bits.")),
    Question("q2", "Four merges with a pencil", function="first_four_merges", minutes=10, difficulty=1,
             parts=(Part("the merges are those that the trainer finds", 2, four_merges),),
             hints=("One pair stands in the text three times.",
                    "After each merge count anew: some pairs have lost a place to it.",
                    "Tuples of bytes compare like words in a dictionary: first by the first, then by the second.")),
    Question("q3", "Half a character", function="shown", minutes=15, difficulty=2,
             parts=(Part("every character is shown whole, once, and as soon as it can be", 2, shown_in_time, chunked),
                    Part("what never becomes a character is never shown", 1, shown_in_time, unfinished)),
             hints=("What is left over from one chunk belongs in front of the next.",
                    "How would you find out how many bytes of what you hold are whole characters? Question q1 helps.",
                    "The module `codecs` has a decoder that remembers.")),
    Question("q4", "Three bugs in one line", function="split_special", minutes=15, difficulty=2,
             parts=(Part("it still works where it worked before", 1, pieces, ordinary_specials, needs_another=True),
                    Part("signs that mean something to a regular expression", 1, pieces, signs),
                    Part("of two special tokens that fit, the longest", 1, pieces, overlapping),
                    Part("no special tokens at all", 1, pieces, no_specials)),
             hints=("Print the pattern for each of the three reports.",
                    "`re.escape` takes a text literally.",
                    "A regular expression tries its alternatives in the order in which they stand.")),
    Question("q5", "The tokenizer of BERT", function="longest_match", minutes=15, difficulty=2,
             parts=(Part("each token is the longest that fits", 3, longest, vocabularies),),
             hints=("Try `word[start:end]` for a large `end` first, and let it shrink.",
                    "How long is the longest token? Nothing longer has to be tried.")),
    Question("q6", "Is it still a compressor?", function="bits_per_byte", minutes=15, difficulty=3, seconds=20,
             parts=(Part("the bits per byte of each vocabulary", 3, bits, texts_to_compress),),
             hints=("`train_bpe(text, size)` returns what `Tokenizer` takes.",
                    "Bits in all: the number of ids times the bits of one id. Bytes in all: `text.encode()`.")),
))
