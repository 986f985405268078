"""Language models that only count: the next id given the last few, for any vocabulary."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Level(NamedTuple):
    """What was counted of all grams (runs of ids) of one length; a gram's context is all of it but its end.

    The last place of each array, index -1, stands for all that never occurred: nothing was counted there.
    """

    grams: NDArray  # (n_grams + 1,) sorted: index of the context among the shorter grams, times V, plus end
    counts: NDArray  # (n_grams + 1,)
    totals: NDArray  # (n_contexts + 1,) sum of the counts after each context
    kinds: NDArray  # (n_contexts + 1,) number of different ids counted after each context

    def find(self, grams: NDArray) -> NDArray:
        """The index of each of `grams`, -1 for one that never occurred."""
        index = np.searchsorted(self.grams, grams)
        return np.where(self.grams[index] == grams, index, -1)


class NGram:
    """The next id given the `order - 1` ids before it, by counting in a text `ids` (N,).

    Interpolated absolute discounting (Ney, Essen and Kneser, 1994): each count c(hw) of an id w after a
    context h gives away a discount D, and what is collected goes to the prediction from h', which is h
    without its first id,

        p_k(w | h) = max(c(hw) - D, 0) / c(h)  +  D n(h) / c(h) · p_{k-1}(w | h'),    p_0(w) = 1 / V,

    where n(h) is the number of different ids seen after h. After a context never seen, p_k is p_{k-1}. Order
    0 is the uniform model, 1 the unigram, 2 the bigram. D = 0 gives plain counts, and 0 to what was not seen.

    With `kneser_ney`, the shorter contexts (k < order) do not count how often hw occurs, but after how many
    different ids (Kneser and Ney, 1995).

    >>> NGram([0, 1, 0, 1, 1], order=2, vocab_size=2, discount=0).probabilities([0])
    array([0., 1.])
    """

    def __init__(
        self, ids: ArrayLike, order: int, vocab_size: int, discount: float = 0.75, kneser_ney: bool = False
    ) -> None:
        if order < 0 or vocab_size < 1 or not 0 <= discount <= 1:
            raise ValueError(
                "expected order >= 0, vocab_size >= 1 and a discount from 0 to 1, "
                f"not {order=}, {vocab_size=}, {discount=}"
            )
        self.order, self.vocab_size, self.discount = order, vocab_size, discount
        ids = self._checked(ids)
        if len(ids) == 0:
            raise ValueError("there is nothing to count in an empty text")
        self.levels: list[Level] = []
        context = shorter = np.zeros(len(ids), dtype=np.int64)  # (N,) at first the empty one, for all
        n_contexts = 1
        for length in range(1, order + 1):
            ends = np.arange(length - 1, len(ids))  # where the grams of this length end
            codes = context[ends] * vocab_size + ids[ends]
            grams, first, index, counts = np.unique(
                codes, return_index=True, return_inverse=True, return_counts=True
            )
            if kneser_ney and self.levels:
                # Without its first id, each different gram votes once for the gram that is left.
                below = self.levels[-1]
                votes = np.bincount(shorter[ends[first]], minlength=n_contexts)
                self.levels[-1] = self._level(below.grams[:-1], votes, len(below.totals) - 1)
            self.levels.append(self._level(grams, counts, n_contexts))
            shorter = np.full(len(ids), -1)
            shorter[ends] = index
            context, n_contexts = _one_later(shorter), len(grams)

    def log_prob(self, ids: ArrayLike) -> NDArray:
        """Log-probability, in nats, of each of `ids` (T,), given those before it: (T,).

        The first id is predicted from nothing, the second from one id, and so on up to `order - 1`.
        """
        ids = self._checked(ids)
        probability = np.full(len(ids), 1 / self.vocab_size)
        context = np.zeros(len(ids), dtype=np.int64)
        for level in self.levels:
            index = level.find(context * self.vocab_size + ids)
            kept = np.maximum(level.counts[index] - self.discount, 0)
            given_away = self.discount * level.kinds[context]
            total = level.totals[context]
            mixed = (kept + given_away * probability) / np.maximum(total, 1)
            probability = np.where(total > 0, mixed, probability)
            context = _one_later(index)
        with np.errstate(divide="ignore"):  # without a discount, what was never seen has probability 0
            return np.log(probability)

    def probabilities(self, context: ArrayLike = ()) -> NDArray:
        """Probability of each id to follow `context`, of which the last `order - 1` ids matter: (V,)."""
        context = self._checked(context)
        found = [0]  # index of the last 0, 1, 2, ... ids of the context among the grams of that length
        for last in context[max(0, len(context) - self.order) :]:
            longer = [int(level.find(h * self.vocab_size + last)) for level, h in zip(self.levels, found)]
            found = [0] + longer
        probability = np.full(self.vocab_size, 1 / self.vocab_size)
        for level, h in zip(self.levels, found):
            if level.totals[h] == 0:
                break
            start, stop = np.searchsorted(level.grams, [h * self.vocab_size, (h + 1) * self.vocab_size])
            followers = level.grams[start:stop] - h * self.vocab_size
            probability *= self.discount * level.kinds[h] / level.totals[h]
            kept = np.maximum(level.counts[start:stop] - self.discount, 0)
            probability[followers] += kept / level.totals[h]
        return probability

    def sample(self, n: int, generator: np.random.Generator, context: ArrayLike = ()) -> NDArray:
        """Draw `n` ids, one after another, to follow `context`: (n,)."""
        ids = list(self._checked(context))
        for _ in range(n):
            recent = ids[max(0, len(ids) - self.order) :]
            ids.append(generator.choice(self.vocab_size, p=self.probabilities(recent)))
        return np.array(ids[len(ids) - n :], dtype=np.int64)

    def _checked(self, ids: ArrayLike) -> NDArray:
        ids = np.asarray(ids)
        whole = ids.dtype.kind in "iu" or ids.size == 0
        if ids.ndim != 1 or not whole or (len(ids) and not 0 <= ids.min() <= ids.max() < self.vocab_size):
            raise ValueError(f"ids must be one text (N,) of ids from 0 to {self.vocab_size - 1}, not {ids}")
        return ids.astype(np.int64)

    def _level(self, grams: NDArray, counts: NDArray, n_contexts: int) -> Level:
        context = grams // self.vocab_size
        totals = np.bincount(context, weights=counts, minlength=n_contexts + 1)
        kinds = np.bincount(context, weights=counts > 0, minlength=n_contexts + 1)
        return Level(np.append(grams, np.iinfo(np.int64).max), np.append(counts, 0), totals, kinds)


def _one_later(index: NDArray) -> NDArray:
    """The gram that ends one place earlier: the context of each place, -1 at the start."""
    return np.concatenate(([-1], index[:-1]))
