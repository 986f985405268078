"""Published tokenizers: ids equal to those of Hugging Face's library and of tiktoken, family by family."""

import base64
import json
import random
import unicodedata
import warnings
from functools import cache

import pytest
import tiktoken
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Theirs

from test_tokens import ENGLISH, GPT4_PATTERN, GPT4O_PATTERN
from tinyllm.tokens import GPT2_PATTERN, Tokenizer, split

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3_PATTERN = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
LETTERS = r"\p{Lm}\p{Lo}\p{M}"
MISTRAL_PATTERN = (  # of its byte-level tokenizers, such as Nemo's
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{LETTERS}]*[\p{{Ll}}{LETTERS}]+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{LETTERS}]+[\p{{Ll}}{LETTERS}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LEARNED = ENGLISH + (
    "Zażółć gęślą jaźń. Der Bär läßt grüßen; 2,048 Tokens, 0123456789 und 1999.\n\t\tСказка о рыбаке. "
    "的一是不了人我在有他这。 ああ、そうですか。 한국어 문장. e\u0301te\u0301 A\u030a  aaaaaaaaaaaa ======== \n\n\n    x"
) * 3


def splitting(pattern):
    """As in the files of Llama 3, Qwen and Mistral."""
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return pre_tokenizers.Sequence(parts)


FAMILIES = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm2": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama3": splitting(LLAMA3_PATTERN),
    "mistral": splitting(MISTRAL_PATTERN),
    "qwen": splitting(QWEN_PATTERN),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<think>"]


@cache
def their_tokenizer(family):
    """One of the family's kind, trained here by Hugging Face's own trainer."""
    theirs = Theirs(models.BPE())
    theirs.pre_tokenizer, theirs.decoder = FAMILIES[family], decoders.ByteLevel()
    if family == "qwen":
        theirs.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    first = SPECIAL[:1] if family == "smollm2" else []  # its special tokens have the first ids
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, show_progress=False, special_tokens=first
    )
    theirs.train_from_iterator([LEARNED], trainer)
    if family == "llama3":  # was made from tiktoken's file: each way to cut a token in two is a merge
        saved = json.loads(theirs.to_str())
        vocab = saved["model"]["vocab"]
        saved["model"] |= {"ignore_merges": True, "merges": all_cuts(vocab)}
        theirs = Theirs.from_str(json.dumps(saved))
    theirs.add_special_tokens(SPECIAL[:2])
    theirs.add_tokens([AddedToken(SPECIAL[2], normalized=False, special=False)])
    return theirs


def all_cuts(vocab):
    """The merges that transformers makes from the ranks of tiktoken."""
    merges = []
    for token in sorted(vocab, key=vocab.get):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        cuts = [cut for cut in cuts if cut[0] in vocab and cut[1] in vocab]
        merges += sorted(cuts, key=lambda cut: (vocab[cut[0]], vocab[cut[1]]))
    return merges


@cache
def both(family, folder):
    path = folder / f"{family}.json"
    their_tokenizer(family).save(str(path))
    return Tokenizer.from_file(path), their_tokenizer(family)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


PIECES = [
    "'s", "'S", "'re", "'LL", " '", "a", "aa", "aaa", "I'M", "the", " lantern", "Bär", "12", "1999", "7", "²", "Ⅷ", "٣",
    " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n ", "\u3000", "\xa0", "\x85", "\u200b", "!", "...", "/", " =", "====",
    "é", "e\u0301", "e\u0323\u0302", "\u0301", "A\u030a", "Å", "ﬁ", "ſ", "ǅ", "的", "灯塔", "한", "\u1112\u1161\u11ab", "ああ",
    "🙂", "👩‍👩‍👧", "<", "|", ">", "\x00", "\x1c", "\u0338", "x", "_", "don't", "ǆ", "ά", "\u212b", "\u2126",
]  # fmt: skip


def random_texts(n, seed, parts=PIECES):
    """Texts of pieces that patterns treat in their own ways, and of characters from all of Unicode."""
    rng = random.Random(seed)
    # What is a letter depends on the year of a library's tables: leave out what is young or not assigned.
    planes = [*range(0x20, 0x530), *range(0x900, 0xA00), *range(0x3040, 0x30FF), *range(0x1F600, 0x1F640)]
    settled = [chr(c) for c in planes if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    for _ in range(n):
        size = rng.randrange(1, 25)
        yield "".join(rng.choice(parts) if rng.random() < 0.7 else rng.choice(settled) for _ in range(size))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_ids_of_hugging_face(family, folder):
    ours, theirs = both(family, folder)
    differ = [
        text for text in (LEARNED, *random_texts(600, seed=1)) if ours.encode(text) != theirs.encode(text).ids
    ]
    assert differ == []


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_are_those_of_hugging_face_where_they_are_allowed(family, folder):
    ours, theirs = both(family, folder)
    parts = [*SPECIAL, "<|", "|>", "<think", "\u0338", *PIECES[:30]]
    for text in random_texts(300, seed=2, parts=parts):
        assert ours.encode(text, allowed_special="all") == theirs.encode(text).ids, ascii(text)
    assert not set(ours.special_ids.values()) & set(ours.encode("".join(SPECIAL)))
    assert ours.special_ids == {token: theirs.token_to_id(token) for token in SPECIAL}


@pytest.mark.parametrize("family", FAMILIES)
def test_long_pieces_have_the_ids_of_hugging_face(family, folder):
    ours, theirs = both(family, folder)
    for seed, letters in enumerate(["a", "ab", "=", " ", "then", "的一", "é1"]):
        text = "".join(random.Random(seed).choices(letters, k=2000))
        assert ours.encode(text) == theirs.encode(text).ids, letters


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_decode_as_with_hugging_face(family, folder):
    ours, theirs = both(family, folder)
    for text in random_texts(200, seed=3):
        ids = theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_has_the_ids_of_the_whole_text_wherever_it_is_cut(family, folder):
    ours, _ = both(family, folder)
    rng = random.Random(4)
    for text in random_texts(300, seed=5, parts=[*PIECES, *SPECIAL]):
        places = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(6)))
        chunks = [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]
        assert list(ours.encode_iterable(chunks, "all")) == ours.encode(text, "all"), (chunks, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_tokenizer_is_saved_and_comes_back(family, folder, tmp_path):
    ours, _ = both(family, folder)
    ours.save(tmp_path / "own.json")
    for again in (Tokenizer.load(tmp_path / "own.json"), Tokenizer.from_file(tmp_path / "own.json")):
        assert vars(again) | {"_cache": {}} == vars(ours) | {"_cache": {}}


def test_a_special_token_that_is_cut_is_not_joined_with_the_accent_after_it(folder):
    ours, text = both("qwen", folder)[0], "<|im_start|>\u0338x"
    for cut in range(len(text)):
        assert list(ours.encode_iterable([text[:cut], text[cut:]], "all")) == ours.encode(text, "all")
    assert ours.encode(text, "all")[0] == ours.special_ids["<|im_start|>"]


def test_a_token_may_be_cut_in_two_in_several_ways():
    vocab = dict(enumerate([*(bytes([i]) for i in range(256)), b"ab", b"ba", b"aba", b"abab"]))
    ids = {token: i for i, token in vocab.items()}
    cuts = [(token[:i], token[i:]) for token in vocab.values() for i in range(1, len(token))]
    merges = [cut for cut in cuts if cut[0] in ids and cut[1] in ids]
    ours = Tokenizer(vocab, merges, pattern="(?s).+", ignore_merges=True)
    theirs = tiktoken.Encoding("x", pat_str="(?s).+", mergeable_ranks=ids, special_tokens={})
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("ab", k=rng.randrange(1, 40)))
        assert ours.encode(text) == theirs.encode_ordinary(text)


@pytest.mark.parametrize("ignore_merges", [True, False])
def test_a_piece_that_is_a_token_needs_no_merges_where_the_file_says_so(tmp_path, ignore_merges):
    saved = json.loads(their_tokenizer("llama3").to_str())
    saved["model"]["vocab"]["\u0120zyx"] = 900  # no merge leads to " zyx"
    saved["model"]["ignore_merges"] = ignore_merges
    (tmp_path / "x.json").write_text(json.dumps(saved), encoding="utf-8")
    ours, theirs = Tokenizer.from_file(tmp_path / "x.json"), Theirs.from_str(json.dumps(saved))
    for text in (" zyx", " zyx zyxzyx", "zyx"):
        assert ours.encode(text) == theirs.encode(text).ids
    assert (900 in ours.encode(" zyx")) == ignore_merges


# ---------------------------------------------------------------------------------------- tiktoken's files


@cache
def tiktoken_ranks(pattern):
    """A vocabulary as tiktoken has it."""
    from tinyllm.tokens import train_bpe

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vocab, _ = train_bpe(LEARNED, 700, pattern=pattern)
    return {token: i for i, token in vocab.items()}


@pytest.mark.parametrize(
    "pattern", [GPT2_PATTERN, GPT4_PATTERN, GPT4O_PATTERN, LLAMA3_PATTERN], ids=["2", "4", "4o", "llama3"]
)
def test_a_file_of_tiktokens_has_its_ids(pattern, tmp_path):
    ranks = tiktoken_ranks(pattern)
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    (tmp_path / "x.tiktoken").write_bytes(b"".join(lines))
    special = {"<|end|>": 710, "<|x|>": 705}
    theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    ours = Tokenizer.from_file(tmp_path / "x.tiktoken", pattern, special)
    for text in (LEARNED, "a" * 3000, " " * 3000, *random_texts(400, seed=6)):
        assert ours.encode(text) == theirs.encode_ordinary(text)
        assert ours.encode(text + "<|x|><|end|>", "all") == theirs.encode(text + "<|x|><|end|>", allowed_special="all")
    assert ours.encode(LEARNED) == ours.to_tiktoken().encode_ordinary(LEARNED)
    listed = Tokenizer.from_file(tmp_path / "x.tiktoken", pattern, ["<|end|>"])
    assert listed.special_ids == {"<|end|>": len(ranks)}


def test_a_file_of_tiktokens_does_not_say_how_text_is_split(tmp_path):
    (tmp_path / "x.tiktoken").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(ValueError, match="x.tiktoken cannot be read: .* give a pattern"):
        Tokenizer.from_file(tmp_path / "x.tiktoken")


# ---------------------------------------------------------------------------------------- what is refused


def changed(part, value):
    saved = json.loads(their_tokenizer("gpt2").to_str())
    where = saved["model"] if part in saved["model"] else saved
    where[part] = value
    return saved


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
LEFT = {"id": 0, "content": "!", "lstrip": True, "special": True}


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("type", "Unigram", "its model is 'Unigram', not byte-pair encoding"),
        ("byte_fallback", True, "falls back to bytes, as SentencePiece does"),
        ("decoder", METASPACE, "falls back to bytes, as SentencePiece does"),
        ("normalizer", {"type": "NFKC"}, "its normalizer is NFKC; only NFC is supported"),
        ("pre_tokenizer", METASPACE, "its pre-tokenizer is not supported"),
        ("pre_tokenizer", None, "its pre-tokenizer is not supported"),
        ("end_of_word_suffix", "</w>", "end_of_word_suffix '</w>'"),
        ("added_tokens", [LEFT], "its token '!' has lstrip"),
        ("added_tokens", [LEFT | {"content": "<x>", "lstrip": False}], "the id 0 is that of '<x>' and of another"),
        ("vocab", {"▁the": 0}, "its tokens are not written in bytes: there is a '▁'"),
        ("vocab", {"a": 0}, "is not in the vocabulary"),
    ],
)
def test_a_file_that_asks_for_more_says_what_that_is(tmp_path, part, value, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(changed(part, value)), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as refused:
        Tokenizer.from_file(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("data", [b"\x0a\x0e\x0a\x05<unk>", b"", b"{}", b"[]", b'{"model": {}}', b"hello 1\n"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, data):
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(ValueError, match="tokenizer.model"):
        Tokenizer.from_file(tmp_path / "tokenizer.model", pattern=GPT2_PATTERN)


def test_tiktoken_cannot_be_what_normalizes_or_has_other_ids_than_ranks(folder):
    with pytest.raises(ValueError, match="brings text to NFC"):
        both("qwen", folder)[0].to_tiktoken()
    vocab = dict(enumerate([*(bytes([i]) for i in range(256)), b"bc", b"ab"]))
    with pytest.raises(ValueError, match="its ids are not its ranks"):
        Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c")]).to_tiktoken()


def test_ids_need_not_ascend_with_the_merges():
    vocab = dict(enumerate([*(bytes([i]) for i in range(256)), b"bc", b"ab"]))
    assert Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c")]).encode("abc") == [257, 99]
    assert Tokenizer(vocab, [(b"b", b"c"), (b"a", b"b")]).encode("abc") == [97, 256]
    assert list(split("abc")) == [b"abc"]


def lines(*more):
    """A file of tiktoken's with all bytes and `more`."""
    pairs = [*((bytes([i]), i) for i in range(256)), *more]
    return b"".join(base64.b64encode(token) + b" %d\n" % i for token, i in pairs)


@pytest.mark.parametrize(
    ("more", "special", "message"),
    [
        ([(b"ab", 255)], (), "token b'ab' has the id 255, as b'\\\\xff' has"),
        ([(b"a", 256)], (), "1 of its tokens are there twice"),
        ([(b"ab", -3)], (), "token b'ab' has the id -3"),
        ([], {"<end>": 5}, "the id 5 is that of '<end>' and of another token"),
        ([], {"<end>", "<start>"}, "a set has none"),
    ],
)
def test_a_file_of_tiktokens_in_which_a_token_would_be_lost_is_refused(tmp_path, more, special, message):
    (tmp_path / "x.tiktoken").write_bytes(lines(*more))
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_file(tmp_path / "x.tiktoken", GPT2_PATTERN, special)


def test_a_tokenizer_json_in_which_two_tokens_have_one_id_is_refused(tmp_path):
    vocab = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    Theirs(models.BPE(vocab | {"ab": 256}, [("a", "b")])).save(str(tmp_path / "tokenizer.json"))
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    saved["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    for i, fits in ((256, True), (vocab["a"], False)):
        saved["model"]["vocab"]["ab"] = i
        (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
        if fits:
            assert Tokenizer.from_file(tmp_path / "tokenizer.json").encode("ab") == [256]
        else:
            with pytest.raises(ValueError, match=f"its token 'a.*' has the id {i}, as 'a.*' has"):
                Tokenizer.from_file(tmp_path / "tokenizer.json")
