"""Tokenizers that others have published: `tokenizer.json` of byte-level families, tiktoken's files."""

import base64
import binascii
import json
import re
from collections.abc import Mapping

# Where a digit is a piece of its own, as SmolLM has it, whitespace before it is a whole run, as at an end.
DIGITS_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
)
# Files write a byte as a printable character: its own, or if it has none, one from U+0100 on.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_OF = {chr(byte): byte for byte in PRINTABLE}
BYTE_OF |= {chr(256 + n): byte for n, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))}


def as_bytes(token: str) -> bytes:
    """The bytes of a token as the byte-level families write it. KeyError if it is none of theirs."""
    return bytes(BYTE_OF[char] for char in token)


def read_tokenizer_json(saved: Mapping) -> dict:
    """What `Tokenizer` needs, from the `tokenizer.json` of a byte-level family.

    So are GPT-2, Llama 3, SmolLM2, Qwen 2 and 3, and Mistral's newer ones. Raises `ValueError` for
    a file that asks for more than `Tokenizer` does, and says what that is.
    """
    model = saved["model"]
    added = {token["content"]: token for token in saved.get("added_tokens") or []}
    refuse_others(saved, model, added)
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    check_ids(model["vocab"])
    try:
        vocab = {i: as_bytes(token) for token, i in model["vocab"].items() if token not in added}
        merges = [(as_bytes(a), as_bytes(b)) for a, b in pairs]
    except KeyError as char:
        raise ValueError(f"its tokens are not written in bytes: there is a {char}") from None
    special = {content: token["id"] for content, token in added.items()}
    for content, i in special.items():
        if i in vocab:
            raise ValueError(f"the id {i} is that of {content!r} and of another token")
    vocab |= {i: content.encode() for content, i in special.items()}
    return {
        "vocab": vocab,
        "merges": merges,
        "special_tokens": special,
        "normalize": normalize_of(saved.get("normalizer")),
        "pattern": pattern_of(saved.get("pre_tokenizer")),
        "ignore_merges": bool(model.get("ignore_merges")),
    }


def check_ids(ids: Mapping) -> None:
    """Raise `ValueError` unless each token has an id from 0 on, which no other has."""
    first = {}
    for token, i in ids.items():
        if type(i) is not int or i < 0 or first.setdefault(i, token) != token:
            other = f", as {first[i]!r} has" if i in first else ""
            raise ValueError(f"its token {token!r} has the id {i!r}{other}")


def refuse_others(saved: Mapping, model: Mapping, added: Mapping) -> None:
    """Raise `ValueError` for a kind of tokenizer that is not byte-level byte-pair encoding."""
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"its model is {model['type']!r}, not byte-pair encoding")
    if model.get("byte_fallback") or kind(saved.get("decoder")) not in ("ByteLevel", None):
        raise ValueError(
            "it works on characters and falls back to bytes, as SentencePiece does (Llama 2, the first "
            "Mistral): only byte-level tokenizers are read here"
        )
    for option in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(option):
            raise ValueError(f"its model has {option} {model[option]!r}, which is not supported")
    for content, token in added.items():
        for option in ("lstrip", "rstrip", "single_word"):
            if token.get(option):
                raise ValueError(f"its token {content!r} has {option}, which is not supported")


def kind(part: Mapping | None) -> str | None:
    """The type of a part of a tokenizer, or None where there is none."""
    return part and part.get("type")


def normalize_of(normalizer: Mapping | None) -> str | None:
    """The Unicode form that a text is brought to first: none, or NFC."""
    steps = normalizer["normalizers"] if kind(normalizer) == "Sequence" else [normalizer]
    kinds = [kind(step) for step in steps if step]
    if kinds in ([], ["NFC"]):
        return kinds[0] if kinds else None
    raise ValueError(f"its normalizer is {', '.join(map(str, kinds))}; only NFC is supported")


def pattern_of(pre_tokenizer: Mapping | None) -> str:
    """The one pattern that splits as the steps of a pre-tokenizer do."""
    from tinyllm.tokens import GPT2_PATTERN

    steps = pre_tokenizer["pretokenizers"] if kind(pre_tokenizer) == "Sequence" else [pre_tokenizer]
    kinds = [kind(step) for step in steps]
    level, first = steps[-1], steps[0]
    if kinds[-1] == "ByteLevel" and not level.get("add_prefix_space"):
        own = level.get("use_regex", True)  # GPT-2's pattern
        if kinds == ["ByteLevel"] and own:
            return GPT2_PATTERN
        if kinds == ["Digits", "ByteLevel"] and own and first.get("individual_digits"):
            return DIGITS_PATTERN
        if kinds == ["Split", "ByteLevel"] and not own and "Regex" in first["pattern"]:
            # Both keep what the pattern matches; it has to match all of a text.
            if (first["behavior"], bool(first.get("invert"))) in (("Isolated", False), ("Removed", True)):
                return first["pattern"]["Regex"]
    raise ValueError(f"its pre-tokenizer is not supported: {json.dumps(pre_tokenizer)}")


def read_tiktoken(data: bytes) -> dict:
    """What `Tokenizer` needs, from lines of a token in base64 and its rank, which is its id.

    tiktoken merges any two neighbors that are a token together, the one of the lowest rank first. So every
    way to cut a token in two is a merge. (There, two that make the same token have the same rank, here one
    after the other: in 370,000 random texts and vocabularies, no id was another for it.)
    """
    try:
        lines = (line.split() for line in data.splitlines() if line)
        pairs = [(base64.b64decode(token, validate=True), int(rank)) for token, rank in lines]
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"its lines are not a token in base64 and a rank: {error}") from None
    ids = dict(pairs)
    if len(ids) < len(pairs):
        raise ValueError(f"{len(pairs) - len(ids)} of its tokens are there twice")
    check_ids(ids)
    merges = [
        (token[:cut], token[cut:])
        for token in sorted(ids, key=ids.get)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    vocab = {i: token for token, i in ids.items()}
    return {"vocab": vocab, "merges": merges, "ignore_merges": True}


def looks_like_tiktoken(data: bytes) -> bool:
    """Does a file begin with a token in base64 and its rank?"""
    return re.match(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n", data) is not None
