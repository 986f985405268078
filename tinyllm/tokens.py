"""Byte-level byte-pair encoding: text becomes ids and comes back, byte for byte.

A text is split into pieces, each piece begins as its UTF-8 bytes, and neighbors are merged in the order
in which `train_bpe` learned their pairs. `Tokenizer` encodes, decodes and streams.

Any `str` and any `bytes` make the round trip. Inside, a byte that is not part of valid UTF-8 is written
as a surrogate (PEP 383); a lone surrogate in a `str` counts as three such bytes ("surrogatepass").
"""

import codecs
import hashlib
import heapq
import json
import os
import tempfile
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from operator import index
from pathlib import Path

import regex

from tinyllm.tokenizer_files import (
    as_bytes,
    looks_like_tiktoken,
    read_tiktoken,
    read_tokenizer_json,
)

# How GPT-2 splits a text (github.com/openai/gpt-2, src/encoder.py): a word keeps the one space before it.
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

Text = str | bytes
Pair = tuple[int, int]
NEVER = 1 << 62  # stands for the rank of two neighbors that do not merge: larger than any rank


# ---------------------------------------------------------------------------------------- splitting


def split(
    text: Text | Iterable[Text], special_tokens: Collection[str] = (), pattern: str = GPT2_PATTERN
) -> Iterator[bytes]:
    """Yield the pieces of `text`; no learned token reaches from one piece into the next.

    Special tokens are left out. The text may come in chunks, too, that are cut anywhere.
    """
    for pieces in stream_pieces(readable(text), special_tokens, pattern):
        for piece in pieces:
            if piece not in special_tokens:
                yield piece.encode("utf-8", "surrogateescape")


def readable(text: Text | Iterable[Text]) -> Iterator[str]:
    """Yield `text` in chunks of `str`, in which a byte that is not part of valid UTF-8 is one surrogate."""
    size = 1 << 20  # read a long text in parts: its pieces need not be in memory all at once
    whole = isinstance(text, Text)
    chunks = (text[start : start + size] for start in range(0, len(text), size)) if whole else text
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks:
        if not isinstance(chunk, Text):
            raise ValueError(f"a text is str or bytes, or chunks of these, not {chunk!r}")
        yield decoder.decode(chunk.encode("utf-8", "surrogatepass") if isinstance(chunk, str) else chunk)
    yield decoder.decode(b"", final=True)


def check_pattern(pattern: str) -> None:
    """Raise ValueError for a pattern that is no regular expression."""
    try:
        regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from None


def find_pieces(text: str, special_tokens: Collection[str], pattern: str, end: int) -> list[str]:
    """The pieces of `text[:end]`.

    A special token is a piece of its own, whole even if it reaches beyond `end`. Where two of them begin at
    the same place, the longer one wins. ValueError if the pattern leaves out a part of the text.
    """
    pieces, start = [], 0
    if special_tokens:
        longest_first = sorted(special_tokens, key=len, reverse=True)
        for special in regex.finditer("|".join(map(regex.escape, longest_first)), text):
            if special.start() >= end:
                break
            pieces += regex.findall(pattern, text[start : special.start()])
            pieces.append(special[0])
            start = special.end()
    pieces += regex.findall(pattern, text[start:end])
    if sum(map(len, pieces)) != max(start, end):
        raise ValueError(f"a pattern must match every part of a text and have no groups, not {pattern!r}")
    return pieces


def stream_pieces(
    chunks: Iterable[str], special_tokens: Collection[str], pattern: str
) -> Iterator[list[str]]:
    """Yield the pieces of the joined `chunks`, wherever these were cut, and hold little more than a chunk.

    What follows a text changes at most its last two pieces: a run of letters or spaces goes on, or `'` and
    `r` become `'re`. So these wait, as does what may be the beginning of a special token.
    """
    undecided = max(map(len, special_tokens), default=1) - 1
    held = new = ""
    for chunk in chunks:
        new += chunk
        if len(new) < len(held):  # a piece that goes on and on is read again only when it has doubled
            continue
        held, new = held + new, ""
        pieces = find_pieces(held, special_tokens, pattern, max(0, len(held) - undecided))[:-2]
        yield pieces
        held = held[sum(map(len, pieces)) :]
    held += new
    yield find_pieces(held, special_tokens, pattern, len(held))


# ---------------------------------------------------------------------------------------- training


class Pairs:
    """The pairs of neighboring ids in a text: how often each stands in it, and where.

    Each different piece is laid out once, end to end, and weighs as much as it occurs in the text. A token
    takes as many positions as it has bytes and stands on the first and the last, where its neighbors look.

    counts: how often a pair stands in the text.
    places: where it stood when it came to be, in ascending order. It only loses places, and never gains any.
    """

    def __init__(self, pieces: dict[bytes, int]):
        self.ids = [i for piece in pieces for i in (*piece, -1)]  # -1 is the end of a piece
        self.weights = [weight for piece, weight in pieces.items() for _ in range(len(piece) + 1)]
        self.sizes = [1] * 256  # bytes of each id
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, list[int]] = defaultdict(list)
        for i, pair in enumerate(zip(self.ids, self.ids[1:])):
            if -1 not in pair:
                self.counts[pair] += self.weights[i]
                self.places[pair].append(i)

    def first_place(self, pair: Pair) -> int:
        """The first position at which `pair` stands."""
        a, b = pair
        return next(i for i in self.places[pair] if self.ids[i] == a and self.ids[i + self.sizes[a]] == b)

    def merge(self, pair: Pair) -> set[Pair]:
        """Replace `pair` by the next id everywhere; return the pairs that come to be.

        Only the places of the pair are visited, and only counts of pairs that touch it
        change.
        """
        (a, b), new, born = pair, len(self.sizes), set()
        ids, weights, sizes = self.ids, self.weights, self.sizes
        counts, places = self.counts, self.places
        sizes.append(sizes[a] + sizes[b])
        for i in places.pop(pair):
            middle, end = i + sizes[a], i + sizes[new]
            if ids[i] != a or ids[middle] != b:
                continue  # an earlier merge has taken this place
            left, right, weight = ids[i - 1], ids[end], weights[i]
            ids[middle] = -1
            ids[i] = ids[end - 1] = new
            if left >= 0:
                counts[left, a] -= weight
                counts[left, new] += weight
                places[left, new].append(i - sizes[left])
                born.add((left, new))
            if right >= 0:
                counts[b, right] -= weight
                counts[new, right] += weight
                places[new, right].append(i)
                born.add((new, right))
        del counts[pair]
        return born


def train_bpe(
    text: Text | Iterable[Text],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    pattern: str = GPT2_PATTERN,
    tie_break: str = "lex",
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn to merge bytes: the most frequent pair becomes a token, again and again (Sennrich et al. 2016).

    Returns the vocabulary and the merges in order. Ids are 0-255 for the bytes, then one for each merge, then
    one for each special token. Of pairs with equal counts `tie_break` takes the greatest `(bytes, bytes)`
    ("lex"), the one that the text has first ("first"), or the smallest `(id, id)` ("min_id").
    A text that runs out of pairs ends the training early, with a warning.
    """
    check_special_tokens(special_tokens)
    check_order(special_tokens)
    check_pattern(pattern)
    if not hasattr(vocab_size, "__index__"):  # numpy's and torch's whole numbers are some, too
        raise ValueError(f"vocab_size must be a whole number, not {vocab_size!r}")
    n_special = len(special_tokens)
    n_merges = vocab_size - 256 - n_special
    if n_merges < 0:
        raise ValueError(f"vocab_size must be at least 256 + {n_special} special tokens, not {vocab_size}")
    vocab = {i: bytes([i]) for i in range(256)}
    merges = []
    pairs = Pairs(count_pieces(text, special_tokens, pattern))
    rank = tie_breaker(tie_break, vocab, pairs)
    heap = []  # the next pair to merge is on top

    def push(pair: Pair) -> None:
        if count := pairs.counts[pair]:
            heapq.heappush(heap, (-count, rank(pair), pair))

    for pair in pairs.counts:
        push(pair)
    while heap and len(merges) < n_merges:
        count, _, (a, b) = heapq.heappop(heap)
        if -count != pairs.counts[a, b]:  # it has lost places since it was pushed: back to where it belongs
            push((a, b))
            continue
        merges.append((vocab[a], vocab[b]))
        vocab[len(vocab)] = vocab[a] + vocab[b]
        for pair in pairs.merge((a, b)):
            push(pair)
    if len(merges) < n_merges:
        warnings.warn(f"the text gave {len(merges)} merges, not {n_merges}: no pair is left", stacklevel=2)
    return vocab | {len(vocab) + i: token.encode() for i, token in enumerate(special_tokens)}, merges


def count_pieces(
    text: Text | Iterable[Text], special_tokens: Collection[str], pattern: str
) -> dict[bytes, int]:
    """How often each piece occurs, in the order of first appearance: a faster `Counter(split(...))`.

    A piece of GPT-2's has whitespace only in front. So count words, each with the whitespace before it, and
    split each different word once.
    """
    by_word = pattern == GPT2_PATTERN
    words = Counter()
    for some in stream_pieces(readable(text), special_tokens, r"\s*\S+|\s+" if by_word else pattern):
        words.update(some)
    for token in special_tokens:
        del words[token]
    find = regex.compile(pattern).findall
    counts: dict[str, int] = defaultdict(int)
    for word, count in words.items():
        for piece in find(word) if by_word else [word]:
            counts[piece] += count
    return {piece.encode("utf-8", "surrogateescape"): count for piece, count in counts.items()}


def tie_breaker(tie_break: str, vocab: dict[int, bytes], pairs: Pairs) -> Callable[[Pair], object]:
    """A function of pairs: of those with equal counts, the pair for which it is smallest is merged first."""

    @cache
    def descending(i: int) -> tuple[int, ...]:
        return (*(-byte for byte in vocab[i]), 1)  # the 1 puts a token behind all that begin with it

    rules = {
        "lex": lambda pair: (descending(pair[0]), descending(pair[1])),
        "first": pairs.first_place,
        "min_id": lambda pair: pair,
    }
    if tie_break not in rules:
        raise ValueError(f"tie_break must be one of {', '.join(rules)}, not {tie_break!r}")
    return rules[tie_break]


def check_special_tokens(special_tokens: Collection[str]) -> None:
    """Raise ValueError unless `special_tokens` are different texts, none of them empty."""
    # "" is in every str, so this refuses a single text in place of a list, too.
    if "" in special_tokens or len(set(special_tokens)) < len(special_tokens):
        raise ValueError(f"special tokens must be different texts, and none empty, not {special_tokens!r}")


def check_order(special_tokens: Collection[str]) -> None:
    """Raise ValueError where ids would be given to a set: in another order in each process."""
    if isinstance(special_tokens, Set):
        raise ValueError(f"special tokens get ids in their order, and a set has none: {special_tokens!r}")


# ---------------------------------------------------------------------------------------- encoding


def merge(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Replace `pair` by `new` wherever it stands in `ids`, from left to right.

    >>> merge([1, 2, 3, 1, 2], (1, 2), 9)
    [9, 3, 9]
    """
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def encode_piece(
    ids: list[int], ranks: dict[Pair, int], merges: dict[Pair, int]
) -> list[int]:
    """Merge `ids` as the trainer would, the pair learned first before all others.

    `ranks` says when a pair was learned, `merges` which id it becomes. Takes time with the
    square of the length: for a long piece, encode stretches of it and `join` them.
    """
    while len(ids) > 1:
        pair = min(zip(ids, ids[1:]), key=lambda pair: ranks.get(pair, NEVER))
        if pair not in ranks:
            break
        ids = merge(ids, pair, merges[pair])
    return ids


def join(left: list[int], right: list[int], encode: Callable[[list[int]], list[int]]) -> list[int]:
    """The ids of a stretch of bytes from the ids of its two parts; `encode` encodes the bytes of ids anew.

    Two encodings that overlap in one token make one encoding together (github.com/github/rust-gems,
    crates/bpe, Corollary III). So encode the seam anew, wider and wider, until its outermost tokens are those
    that stood there.
    """
    width = 1
    while True:
        seam = encode(left[-width:] + right[:width])
        keeps_left = len(left) <= width or seam[0] == left[-width]
        keeps_right = len(right) <= width or seam[-1] == right[width - 1]
        if keeps_left and keeps_right:
            left[-width:] = seam + right[width:]
            return left
        width *= 2


OPTIONS = ("normalize", "ignore_merges")  # what most tokenizers do without


def number_merges(
    merges: Sequence[tuple[bytes, bytes]], ids: dict[bytes, int], any_order: bool = False
) -> tuple[dict[Pair, int], dict[Pair, int]]:
    """The rank of each pair of ids, and the id that it becomes.

    ValueError for a merge of what is not in the vocabulary, for one that is there twice, and, unless they may
    be in `any_order`, for one of tokens that come later only: nobody can have learned that.
    """
    ranks: dict[Pair, int] = {}
    results: dict[Pair, int] = {}
    made = {i for token, i in ids.items() if len(token) == 1}
    for a, b in merges:
        if a not in ids or b not in ids or a + b not in ids:
            raise ValueError(f"merge {a!r} + {b!r}: one of both, or their result, is not in the vocabulary")
        pair, result = (ids[a], ids[b]), ids[a + b]
        if pair in ranks:
            raise ValueError(f"merge {a!r} + {b!r} is there twice")
        ranks[pair], results[pair] = len(ranks), result
        if made.issuperset(pair):
            made.add(result)
    for (a, b), result in zip(merges, results.values()):
        if result not in made and not any_order:
            raise ValueError(f"merge {a!r} + {b!r}: both must be bytes or results of earlier merges")
    return ranks, results


def stream_nfc(chunks: Iterable[str], special_tokens: Collection[str]) -> Iterator[str]:
    """Bring the joined `chunks` to the Unicode form NFC, all but the special tokens in them.

    What is held back begins with a character that none before it can be joined with, and is at least as
    long as a special token, so that none is cut.
    """
    longest_first = sorted(special_tokens, key=len, reverse=True)
    either = "|".join(map(regex.escape, longest_first)) or r"(?!)"
    longest = len(longest_first[0]) if longest_first else 1
    held = ""
    for chunk in chunks:
        held += chunk
        end = max(0, len(held) - longest + 1)
        apart = regex.search(r"(?r)[\u0000-\u02ff\u4e00-\u9fff]", held, endpos=end)
        cut = apart.start() if apart else 0
        for special in regex.finditer(either, held):
            if special.start() < cut < special.end():
                cut = special.start()
        yield nfc(held[:cut], either)
        held = held[cut:]
    yield nfc(held, either)


def nfc(text: str, special: str) -> str:
    """`text` in the Unicode form NFC, but for what the pattern `special` matches."""
    parts, start = [], 0
    for match in regex.finditer(special, text):
        parts += [unicodedata.normalize("NFC", text[start : match.start()]), match[0]]
        start = match.end()
    return "".join([*parts, unicodedata.normalize("NFC", text[start:])])


class Tokenizer:
    """Text to ids and back.

    vocab: the bytes of each id: single bytes, the result of each merge, and each special token. A text with
        a byte that is not among them cannot be encoded; published vocabularies may lack some.
    merges: pairs in the order in which they were learned. Ids may be in any other order.
    special_tokens: texts that become one id, where `encode` is told to look for them; or a dictionary of
        their ids.
    pattern: how text is split: no text is left out, and no match depends on more than `stream_pieces` says.
        So it is with the patterns of GPT-2, GPT-4 and GPT-4o.
    normalize: "NFC" if a text is brought to this Unicode form first. Then another text may come back.
    ignore_merges: a piece that is a token is that token, whatever the merges would make of it.
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        pattern: str = GPT2_PATTERN,
        *,
        normalize: str | None = None,
        ignore_merges: bool = False,
    ):
        check_special_tokens(special_tokens)
        if normalize not in (None, "NFC"):
            raise ValueError(f'normalize must be None or "NFC", not {normalize!r}')
        check_pattern(pattern)
        self.vocab, self.merges, self.pattern = dict(vocab), list(merges), pattern
        self.normalize, self.ignore_merges = normalize, ignore_merges
        # A special token may spell an ordinary one. It is then the later of the two ids.
        last = {token: i for i, token in sorted(vocab.items())}
        if not isinstance(special_tokens, Mapping):
            special_tokens = {token: last.get(token.encode()) for token in special_tokens}
        self.special_ids = dict(special_tokens)
        taken = set(self.special_ids.values())
        ids = {token: i for i, token in sorted(vocab.items(), reverse=True) if i not in taken}
        ordinary = {bytes([byte]) for byte in range(256)} | {a + b for a, b in merges}
        for token, i in self.special_ids.items():
            if vocab.get(i) != (data := token.encode()) or data in ordinary and data not in ids:
                raise ValueError(f"special token {token!r} needs an id of its own in the vocabulary")
        self._byte_ids = {byte: ids[bytes([byte])] for byte in range(256) if bytes([byte]) in ids}
        self._ranks, self._merges = number_merges(merges, ids, ignore_merges)
        made = {*self._byte_ids.values(), *self._merges.values()}
        self._ids = {token: i for token, i in ids.items() if ignore_merges or i in made}
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: Text, allowed_special: bool | str | Collection[str] = False) -> list[int]:
        """The ids of `text`, and none that a model may want before or after it.

        A special token in it is ordinary text, unless `allowed_special` names it; True and "all" name all.
        """
        return list(self.encode_iterable(text, allowed_special))

    def encode_iterable(
        self, chunks: Text | Iterable[Text], allowed_special: bool | str | Collection[str] = False
    ) -> Iterator[int]:
        """Yield the ids of the joined `chunks`, wherever these were cut, and hold little more than a chunk.

        The last two pieces and what may be the beginning of a special token wait for what follows. So memory
        grows with the longest piece: a text of letters alone, without a space, is held whole.
        """
        allowed = self._allowed(allowed_special)
        texts = readable(chunks)
        texts = stream_nfc(texts, allowed) if self.normalize else texts
        for pieces in stream_pieces(texts, allowed, self.pattern):
            for piece in pieces:
                if piece in allowed:
                    yield self.special_ids[piece]
                else:
                    yield from self._cache.get(piece) or self._encode_piece(piece)

    def _allowed(self, allowed_special: bool | str | Collection[str]) -> set[str]:
        if allowed_special in (True, False, None, "all"):
            return set(self.special_ids) if allowed_special else set()
        check_special_tokens(allowed_special)
        unknown = set(allowed_special) - set(self.special_ids)
        if unknown:
            raise ValueError(f"not special tokens of this tokenizer: {sorted(unknown)}")
        return set(allowed_special)

    def _encode_piece(self, piece: str) -> list[int]:
        stretch = 32  # bytes; the fastest of 16, 32, 64, 128
        data = piece.encode("utf-8", "surrogateescape")
        if self.ignore_merges and data in self._ids:
            return [self._ids[data]]
        ids = self._encode_stretch(data[:stretch])
        for start in range(stretch, len(data), stretch):
            ids = join(ids, self._encode_stretch(data[start : start + stretch]), self._encode_again)
        if len(data) < 256 and len(self._cache) < 1 << 16:  # some 20 MB; what comes first comes often
            self._cache[piece] = ids
        return ids

    def _encode_stretch(self, data: bytes) -> list[int]:
        try:
            ids = [self._byte_ids[byte] for byte in data]
        except KeyError as byte:
            raise ValueError(f"the vocabulary has no token for the byte {byte} of {data!r}") from None
        return encode_piece(ids, self._ranks, self._merges)

    def _encode_again(self, ids: list[int]) -> list[int]:
        return self._encode_stretch(self.decode_bytes(ids))

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for: exactly those that were encoded.

        `ids` may be a tensor or an array, or hold their numbers.
        """
        try:
            return b"".join([self.vocab[index(i)] for i in ids])
        except KeyError as unknown:
            raise ValueError(f"no token has the id {unknown}; there are {len(self.vocab)} tokens") from None
        except TypeError:
            raise ValueError(f"ids must be one row (T,) of whole numbers, not {ids!r}") from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text that `ids` stand for.

        Bytes that are not UTF-8 become U+FFFD, or what `errors` makes of them, as in `bytes.decode`:
        with "surrogatepass" lone surrogates come back.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def to_tiktoken(self, name: str = "tinyllm"):
        """The same tokenizer as a `tiktoken.Encoding`: the same ids, faster.

        Four things differ. Lone surrogates become U+FFFD there, and a pair of them its character; letters that
        are younger than the Unicode tables of one of the two libraries are split in another way; a million
        spaces in a row are an error there; and two tokens that spell a third are merged there, also if they
        never were a merge.
        ValueError for a tokenizer that tiktoken cannot be: one with a Unicode form, or with ids that are
        not in the order of the merges.
        """
        import tiktoken

        results = list(self._merges.values())
        if self.normalize or sorted(results) != results:
            reason = f"it brings text to {self.normalize}" if self.normalize else "its ids are not its ranks"
            raise ValueError(f"this tokenizer cannot be one of tiktoken's: {reason}")
        return tiktoken.Encoding(
            name, pat_str=self.pattern, mergeable_ranks=self._ids, special_tokens=self.special_ids
        )

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file; bytes are written as the characters U+0000 to U+00FF."""
        saved = {
            "pattern": self.pattern,
            "special_tokens": list(self.special_ids),
            "merges": [[a.decode("latin-1"), b.decode("latin-1")] for a, b in self.merges],
            "vocab": {i: token.decode("latin-1") for i, token in self.vocab.items()},
        }
        last = {token: i for i, token in sorted(self.vocab.items())}
        if any(i != last[token.encode()] for token, i in self.special_ids.items()):
            saved["special_tokens"] = self.special_ids
        options = {name: getattr(self, name) for name in OPTIONS}
        saved |= {name: value for name, value in options.items() if value}
        from tinyllm.files import write  # and so torch, which nothing else here needs

        write(Path(path), json.dumps(saved).encode())

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer that `save` wrote."""
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8-sig"))
            vocab = {int(i): token.encode("latin-1") for i, token in saved["vocab"].items()}
            merges = [(a.encode("latin-1"), b.encode("latin-1")) for a, b in saved["merges"]]
            options = {name: saved[name] for name in OPTIONS if name in saved}
            return cls(vocab, merges, saved["special_tokens"], saved["pattern"], **options)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a saved tokenizer: {error!r}") from error

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        pattern: str | None = None,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
    ) -> "Tokenizer":
        """Read a published tokenizer, or one that `save` wrote.

        `path` is a `tokenizer.json` of a byte-level family (GPT-2, Llama 3, SmolLM2, Qwen 2 and 3, newer ones
        of Mistral), or a file of tiktoken's (`.tiktoken`, and Llama 3's `tokenizer.model`), which says nothing
        of `pattern` and `special_tokens`. Special tokens are those that the file adds to its vocabulary; they
        are text unless `encode` is told otherwise, and nothing is put before or after a text. Raises
        `ValueError` for what cannot be read, such as SentencePiece's files, and says why.
        """
        data = Path(path).read_bytes()
        try:
            if looks_like_tiktoken(data):
                if pattern is None:
                    raise ValueError("such a file does not say how text is split: give a pattern")
                read = read_tiktoken(data) | {"pattern": pattern}
                if not isinstance(special_tokens, Mapping):
                    check_order(special_tokens)
                    n = max(read["vocab"]) + 1
                    special_tokens = {token: n + i for i, token in enumerate(special_tokens)}
                for token, i in special_tokens.items():
                    if i in read["vocab"]:
                        raise ValueError(f"the id {i} is that of {token!r} and of another token")
                    read["vocab"][i] = token.encode()
                return cls(**read, special_tokens=special_tokens)
            try:
                saved = json.loads(data)
            except ValueError:
                what = "it is neither JSON nor a list of tokens, but may be SentencePiece's"
                raise ValueError(f"{what}: only byte-level tokenizers are read here") from None
            if "model" not in saved:
                return cls.load(path)
            return cls(**read_tokenizer_json(saved))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    @classmethod
    def from_gpt2_files(cls, folder: str | Path | None = None) -> "Tokenizer":
        """GPT-2's own tokenizer, from its files `vocab.bpe` and `encoder.json`.

        They are looked for in `folder`, or else in tiktoken's cache (the environment variable
        `TIKTOKEN_CACHE_DIR` says where it is), by these names or by the sha1 of their URL, as tiktoken keeps
        them. Nothing is downloaded. FileNotFoundError if one is not there.
        """
        cache_folder = os.environ.get("TIKTOKEN_CACHE_DIR") or Path(tempfile.gettempdir(), "data-gym-cache")
        folder = Path(folder or cache_folder)
        lines = read_gpt2_file(folder, "vocab.bpe").splitlines()[1:]  # the first says which version
        ids = json.loads(read_gpt2_file(folder, "encoder.json"))
        merges = [tuple(map(as_bytes, line.split(" "))) for line in lines]
        return cls({i: as_bytes(token) for token, i in ids.items()}, merges, ["<|endoftext|>"])


GPT2_SHA256 = {  # from tiktoken_ext/openai_public.py
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


def read_gpt2_file(folder: Path, name: str) -> str:
    """The text of one of GPT-2's files. FileNotFoundError if it is not there, ValueError if it is damaged."""
    url = f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{name}"
    for path in (folder / name, folder / hashlib.sha1(url.encode()).hexdigest()):
        if path.exists():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != GPT2_SHA256[name]:
                raise ValueError(f"{path} is not GPT-2's {name}, or is damaged: its sha256 is another")
            return data.decode("utf-8")
    raise FileNotFoundError(f"GPT-2's {name} is not in {folder}; TIKTOKEN_CACHE_DIR can name another")
