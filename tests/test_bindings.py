"""Texts that say who is who: their probabilities are those of the process, and names do what they are for."""

import hashlib
import itertools
import math
from fractions import Fraction

import pytest
import torch

from course.data.bindings import KINDS, Language, judge, tell

SMALL = Language(roles=("a", "b"), names=("X", "Y", "Z"), words=("u", "v", "w"), anew=0.25, stop=0.5)


def continuations(language, told, p, length):
    """Every text of `length` tokens that begins like `told`, and its probability, sentence by sentence.

    The process as it is told in words: a role is chosen; if it has a name, it gets a new one with the
    probability `anew`, which *now* says; then words follow until the sentence stops.
    """
    tokens, names = told
    if len(tokens) >= length:
        yield tokens[:length], p
        return
    roles, every, words = ([language.vocabulary[i] for i in ids] for ids in (
        language.role_ids, language.name_ids, language.word_ids))
    chain = {language.vocabulary[w]: {language.vocabulary[x]: Fraction(q).limit_denominator(1000) for x, q in row.items()}
             for w, row in language.chain.items()}
    anew = Fraction(language.anew).limit_denominator(1000)
    for role in roles:
        starts = [((role, names[role]), 1 - anew)] if role in names else []
        free = [name for name in every if name != names.get(role)]
        marker, share = (("now",), anew) if role in names else ((), Fraction(1))
        starts += [((*marker, role, name), share / len(free)) for name in free]
        for start, q in starts:
            after = names | {role: start[-1]}
            sentences = [(start + (word,), q / len(words)) for word in words]
            while sentences:
                sentence, r = sentences.pop()
                if len(tokens) + len(sentence) >= length:
                    yield (tokens + sentence)[:length], p * r / len(roles)
                    continue
                for word, share in chain[sentence[-1]].items():
                    if word == ".":
                        whole = tokens + sentence + (".",), after
                        yield from continuations(language, whole, p * r * share / len(roles), length)
                    else:
                        sentences.append((sentence + (word,), r * share))


@pytest.fixture(scope="module")
def every_text():
    """All texts of eight tokens, with their exact probabilities."""
    found = {}
    for tokens, p in continuations(SMALL, ((), {}), Fraction(1), 8):
        found[tokens] = found.get(tokens, 0) + p
    return found


def test_the_probability_of_a_text_is_that_of_the_process(every_text):
    assert sum(every_text.values()) == 1
    ids = torch.tensor([[SMALL.vocabulary.index(token) for token in tokens] for tokens in every_text])
    log_prob = -judge(ids, SMALL).nats.sum(-1)
    assert torch.allclose(log_prob.exp(), torch.tensor([float(p) for p in every_text.values()]).double(), rtol=1e-9)


def test_what_no_process_tells_has_no_probability(every_text):
    tokens = [text[:6] for text in every_text]
    told = {tuple(SMALL.vocabulary.index(token) for token in text) for text in tokens}
    every = torch.tensor(list(itertools.product(range(len(SMALL.vocabulary)), repeat=3)))
    beginnings = {text[:3] for text in told}
    nats = judge(every, SMALL).nats.sum(-1)
    assert [math.isfinite(x) for x in nats.tolist()] == [tuple(ids) in beginnings for ids in every.tolist()]
    assert abs(float((-nats).exp().sum()) - 1) < 1e-12


def test_the_mean_of_the_nats_is_the_entropy(every_text):
    entropy = -sum(float(p) * math.log(p) for p in every_text.values())
    nats = tell(4000, 8, seed=3, language=SMALL).nats.sum(-1)
    assert abs(float(nats.mean()) - entropy) < 4 * float(nats.std()) / 4000**0.5


def test_a_name_said_again_is_the_newest_of_its_role():
    language, (ids, nats, kinds) = Language(), tell(40, 200, seed=5)
    for told, surprise, kind in zip(ids.tolist(), nats.tolist(), kinds.tolist()):
        names, renamed = {}, set()
        for t in range(1, len(told)):
            if told[t] not in language.name_ids:
                continue
            role, now, what = told[t - 1], t > 1 and told[t - 2] == 1, KINDS[kind[t]]
            assert what == (
                "first" if role not in names else "anew" if now else "rebound" if role in renamed else "again"
            )
            if what in ("again", "rebound"):
                assert told[t] == names[role] and surprise[t] == 0
            if what == "anew":
                assert told[t] != names[role]
                renamed.add(role)
            names[role] = told[t]
    shares = torch.bincount(kinds.flatten(), minlength=len(KINDS)) / kinds.numel()
    assert shares[KINDS.index("rebound")] > 0.01


def test_the_same_seed_tells_the_same_texts_everywhere():
    ids = tell(20, 100).ids
    assert torch.equal(ids, tell(20, 100).ids) and not torch.equal(ids, tell(20, 100, seed=1).ids)
    assert hashlib.sha256(bytes(ids.flatten().tolist())).hexdigest()[:16] == "dd079018a007b13b"
    assert torch.equal(tell(20, 50).ids[0], ids[0, :50])  # a longer text goes on from a shorter one


def test_the_vocabulary_has_each_word_once():
    words = Language().vocabulary
    assert len(words) == len(set(words)) == 114


def test_no_text_is_an_error():
    with pytest.raises(ValueError, match="0 of 5"):
        tell(0, 5)
