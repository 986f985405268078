"""Counting models against a slow twin that is the formula, and against what any such model must satisfy."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.counting import NGram

texts = st.lists(st.integers(0, 3), min_size=1, max_size=30)
orders = st.integers(0, 5)
discounts = st.sampled_from([0.0, 0.3, 0.75, 1.0])
V = 5  # one id more than the texts use


def twin(ids, order, discount, kneser_ney):
    """p(w | h) as in the docstring of NGram, by recursion over dictionaries."""
    places = [(i, i + length) for length in range(1, order + 1) for i in range(len(ids) - length + 1)]
    grams = [tuple(ids[start:stop]) for start, stop in places]
    count = Counter(grams)
    if kneser_ney:
        before = defaultdict(set)
        for gram in grams:
            before[gram[1:]].add(gram[0])
        count = {gram: c if len(gram) == order else len(before[gram]) for gram, c in count.items()}
    after = defaultdict(Counter)
    for gram, c in count.items():
        after[gram[:-1]][gram[-1]] = c

    def p(w, h):
        k = len(h) + 1
        lower = 1 / V if k == 1 else p(w, h[1:])
        total = sum(after[h].values())
        if total == 0:
            return lower
        kinds = sum(c > 0 for c in after[h].values())
        return max(after[h][w] - discount, 0) / total + discount * kinds / total * lower

    return lambda w, h: p(w, h[max(0, len(h) - order + 1) :] if order > 1 else ()) if order else 1 / V


@settings(deadline=None)
@given(texts, texts, orders, discounts, st.booleans())
def test_log_probabilities_equal_the_slow_twins(ids, held_out, order, discount, kneser_ney):
    found = NGram(ids, order, V, discount, kneser_ney).log_prob(held_out)
    p = twin(ids, order, discount, kneser_ney)
    expected = [p(w, tuple(held_out[:t])) for t, w in enumerate(held_out)]
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-12, atol=1e-15)


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, V - 1), max_size=6), orders, discounts, st.booleans())
def test_probabilities_sum_to_one_after_any_context(ids, context, order, discount, kneser_ney):
    p = NGram(ids, order, V, discount, kneser_ney).probabilities(context)
    assert p.shape == (V,) and (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, V - 1), max_size=6), orders, discounts, st.booleans())
def test_one_context_at_a_time_gives_what_a_whole_text_gives(ids, context, order, discount, kneser_ney):
    model = NGram(ids, order, V, discount, kneser_ney)
    p = model.probabilities(context)
    for w in range(V):
        assert math.exp(model.log_prob([*context, w])[-1]) == pytest.approx(p[w], abs=1e-14)


@settings(deadline=None)
@given(texts, st.integers(1, 5), st.booleans())
def test_with_a_discount_nothing_is_impossible(ids, order, kneser_ney):
    assert (NGram(ids, order, V, 0.75, kneser_ney).probabilities(ids) > 0).all()


@settings(deadline=None)
@given(texts)
def test_without_a_discount_a_bigram_is_the_plain_counts(ids):
    model = NGram(ids, order=2, vocab_size=V, discount=0)
    pairs = Counter(zip(ids, ids[1:]))
    for first in set(ids[:-1]):
        row = np.array([pairs[first, second] for second in range(V)])
        np.testing.assert_allclose(model.probabilities([first]), row / row.sum())


def test_what_was_never_seen_costs_infinitely_much_without_a_discount():
    assert NGram([0, 1, 0, 1], order=2, vocab_size=3, discount=0).log_prob([0, 2])[1] == -math.inf


def test_order_zero_is_uniform():
    np.testing.assert_allclose(NGram([0, 0, 0], order=0, vocab_size=4).log_prob([0, 3]), -math.log(4))


def test_kneser_ney_asks_after_how_many_different_ids():
    # 1 occurs often but only after 0; 2 occurs three times, after 0, 1 and 3.
    ids = [0, 1] * 20 + [0, 2, 1, 2, 3, 2, 3]
    unseen = [4]
    plain, votes = (NGram(ids, 2, 5, kneser_ney=kn).probabilities(unseen) for kn in (False, True))
    assert plain[1] > plain[2] and votes[1] < votes[2]


def test_large_vocabularies_and_long_contexts_do_not_overflow():
    ids = np.random.default_rng(0).integers(200_000, size=500)
    model = NGram(ids, order=9, vocab_size=200_000)
    assert model.log_prob(ids)[20:].mean() > math.log(0.2), "what was counted is not recognized"


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 3), max_size=4), st.integers(0, 4))
def test_samples_come_as_often_as_their_probability_says(ids, context, order):
    model = NGram(ids, order, V)
    p = model.probabilities(context)
    generator = np.random.default_rng(0)
    drawn = np.concatenate([model.sample(1, generator, context) for _ in range(300)])
    assert abs(np.bincount(drawn, minlength=V) / 300 - p).max() < 0.2  # more than six standard deviations


def test_a_sample_continues_its_context():
    model = NGram([0, 1, 2] * 50, order=3, vocab_size=3, discount=0)
    assert model.sample(5, np.random.default_rng(0), context=[2, 0]).tolist() == [1, 2, 0, 1, 2]
    assert model.sample(0, np.random.default_rng(0), context=[2, 0]).tolist() == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0, 1], -1, 2), "order=-1"),
        (([0, 1], 2, 0), "vocab_size=0"),
        (([0, 1], 2, 2, 1.5), "discount=1.5"),
        (([], 2, 2), "empty text"),
        (([0, 2], 2, 2), "from 0 to 1"),
        (([-1, 0], 2, 2), "from 0 to 1"),
        (([[0, 1]], 2, 2), "one text"),
        (([0.5, 1.0], 2, 2), "one text"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGram(*arguments)
