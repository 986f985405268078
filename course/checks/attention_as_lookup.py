"""Sheet 04: attention as a lookup."""

import math

import torch

from course.checks import Part, Question, Sheet, Wrong, close, is_a, same_shape
from tinyllm.attention import attention
from tinyllm.vectors import similarity


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def leads(seed):
    yield (1.0 + seed, 5, 1.0)
    yield (0.5, 1000 * (seed + 1), 0.1)
    yield (0.0, 4, 2.0)
    yield (3.0, 1, 1.0)
    yield (1.0, 3, 0.001)


def weight_of_the_best(inputs, answer):
    gap, n, temperature = inputs
    is_a(answer, float, "the weight")
    if not 0 <= answer <= 1:
        raise Wrong(f"{answer:.3g} is no weight: it should lie between 0 and 1")
    close(answer, 1 / (1 + (n - 1) * math.exp(-gap / temperature)), "the weight", rtol=1e-6, atol=1e-9, mistakes={
        "only one of the other keys is in your sum; there are n - 1": 1 / (1 + math.exp(-gap / temperature)),
        "the best key is counted among the others, too": 1 / (1 + n * math.exp(-gap / temperature)),
        "scores are divided by the temperature, not multiplied": 1 / (1 + (n - 1) * math.exp(-gap * temperature)),
        "this is the weight of a key that lags behind by the gap": 1 / (1 + (n - 1) * math.exp(min(gap / temperature, 700.0))),
    })


# q2


def guess(inputs, answer):
    is_a(answer, float, "the share")
    if not 0 <= answer <= 1:
        raise Wrong(f"{answer:.3g} is no share: it should lie between 0 and 1")
    shares = []
    for seed in range(5):
        keys = torch.randn(2000, 4, generator=_generator(seed))
        shares.append((similarity(keys, keys).argmax(-1) == torch.arange(2000)).float().mean().item())
    measured = sum(shares) / len(shares)
    if answer == 0:
        raise Wrong("0 cannot be: which of the keys wins its own lookup for certain?")
    if not measured / 4 < answer < 4 * measured:
        raise Wrong("the guess is off by more than a factor of four from what five draws of keys gave: who beats a key in "
                    f"its own lookup, and is there {'more' if answer > measured else 'less'} of that in few dimensions?")
    return f"you guessed {answer:.2f}; measured: {measured:.3f}, from {min(shares):.3f} to {max(shares):.3f}"


# q3


def everyone_may(seed):
    T_q, T_k, d = 2 + seed, 5, 9
    q, k, v = (torch.randn(n, m, generator=_generator(seed + i)) for i, (n, m) in enumerate([(T_q, d), (T_k, d), (T_k, 3)]))
    yield (q, k, v, torch.ones(T_q, T_k, dtype=torch.bool))


def some_may(seed):
    ((q, k, v, mask),) = everyone_may(seed)
    mask = torch.rand(mask.shape, generator=_generator(seed)) < 0.6
    mask[:, seed % 5] = True
    yield (q, k, v, mask)


def unmasked(inputs, answer):
    q, k, v, mask = inputs
    d, scores = q.shape[-1], q @ k.T
    got = same_shape(answer, attention(q, k, v), "the output", axes=("query", "channel"))
    if all(math.isnan(number) for number in got.flatten()):
        raise Wrong("nan in every row: an open mask (all True) lets nothing through; True should mean attend")
    close(answer, attention(q, k, v), "the output", axes=("query", "channel"), mistakes={
        "an open mask (all True) lets nothing through: True should mean attend": torch.zeros(len(q), v.shape[-1]),
        "the scores are divided by d, which is 9 here, and not by its root": torch.softmax(scores / d, -1) @ v,
        "the scores are not divided by the root of d": torch.softmax(scores, -1) @ v,
        "the softmax runs over the queries: the weights of a query do not sum to 1":
            torch.softmax(scores / math.sqrt(d), 0) @ v,
        "the softmax runs over the queries, and the scores are divided by d instead of its root":
            torch.softmax(scores / d, 0) @ v,
    })


def masked(inputs, answer):
    q, k, v, mask = inputs
    late = torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), -1)
    close(answer, attention(q, k, v, mask), "the output", axes=("query", "channel"), mistakes={
        "the mask is inverted: the keys that a query may attend to are the ones left out": attention(q, k, v, ~mask),
        "the mask comes after the softmax: what is left of the weights no longer sums to 1": (late * mask) @ v,
        "the mask comes after the softmax, and it is inverted": (late * ~mask) @ v,
        "a masked score is set to 0, and e⁰ = 1 is a weight like any other":
            torch.softmax((q @ k.T / math.sqrt(q.shape[-1])).masked_fill(~mask, 0), -1) @ v,
        "the mask has no effect": late @ v,
    })


# q4


def rebound(seed):
    generator = _generator(seed)
    k = torch.nn.functional.normalize(torch.randn(4 + seed, 8, generator=generator), dim=-1)
    v = torch.randn(len(k) + 2, 2, generator=generator)
    yield (k[:2].clone(), torch.cat([k, k[:2]]), v, 50.0, 1.0)
    yield (k[:3].clone(), torch.cat([k, k[:2]]), v, 2.0, 0.3)


def latest(inputs, answer):
    q, k, v, scale, slope = inputs
    scores, clock = scale * q @ k.T, slope * torch.arange(len(k))
    close(answer, torch.softmax(scores + clock, -1) @ v, "the answer", axes=("query", "channel"), mistakes={
        "the first of two equal keys wins: the clock runs backwards": torch.softmax(scores - clock, -1) @ v,
        "the scores are divided by the root of d, which nobody asked for: `scale` is all that multiplies them":
            torch.softmax(scores / math.sqrt(q.shape[-1]) + clock, -1) @ v,
        "two equal keys are still averaged: nothing in the scores tells their positions apart": torch.softmax(scores, -1) @ v,
        "the clock is added to the weights; then they do not sum to 1": (torch.softmax(scores, -1) + clock) @ v,
        "the scale multiplies the clock, too": torch.softmax(scores + scale * clock, -1) @ v,
        "the scores lack the scale": torch.softmax(q @ k.T + clock, -1) @ v,
    })


# q5


def soft_weights(seed):
    yield (torch.softmax(2 * torch.randn(2 + seed, 3, 6, generator=_generator(seed)), -1),)


def hard_weights(seed):
    yield (torch.eye(4 + seed),)
    yield (torch.tensor([[0.7, 0.2, 0.1, 0.0], [0.5, 0.5, 0.0, 0.0]]),)


def keys_in_use(inputs, answer):
    (weights,) = inputs
    got = same_shape(answer, weights.sum(-1), "the numbers of keys", axes=("query",) if weights.ndim == 2 else ())
    if any(math.isnan(number) for number in got.flatten()):
        raise Wrong("nan: some weight is exactly 0, and 0 · ln 0 counts as 0 here")
    entropy = torch.special.entr(weights).sum(-1)
    close(answer, entropy.exp(), "the numbers of keys", mistakes={
        "this is the entropy; how many keys is that?": entropy,
        "this counts the keys with any weight at all, however small": (weights > 0).sum(-1).to(entropy),
        "this is one over the largest weight, and does not ask how the rest is spread": 1 / weights.amax(-1),
        "this is one over the sum of the squares: also a number of keys, but not the exponential of the entropy":
            1 / weights.square().sum(-1),
        "the entropy is in bits and the exponential is to the base e: take both to one base": (entropy / math.log(2)).exp(),
        "the sign: the logarithm of a weight is negative": (-entropy).exp(),
    })


# q6


def _state(scores, values):
    """What has been kept after reading these scores (n,) and values (n, d_v)."""
    if not len(scores):
        return -math.inf, 0.0, torch.zeros(values.shape[-1])
    weights = torch.exp(scores - scores.max())
    return scores.max().item(), weights.sum().item(), weights @ values


def _reads(scores, generator):
    values = torch.randn(len(scores), 3, generator=generator)
    for n in range(len(scores)):
        yield (*_state(scores[:n], values[:n]), scores[n].item(), values[n])


def mixed(seed):
    generator = _generator(seed)
    for size in (1.0, 1000.0):
        yield from _reads(size * torch.randn(5, generator=generator), generator)


def rising(seed):
    yield from _reads(torch.arange(1.0, 5 + seed) * 2, _generator(seed))


def far_below_zero(seed):
    yield from _reads(-3000 - 40 * torch.rand(4, generator=_generator(seed)), _generator(seed))


def read_one(inputs, answer):
    largest, total, summed, score, value = inputs
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 3:
        raise Wrong(f"three things are kept: the largest score, the total and the weighted sum; yours has {len(answer)}")
    first = largest == -math.inf
    new, (m, got, weighted) = max(largest, score), answer
    got_sum = same_shape(weighted, value, "the weighted sum", axes=("channel",))
    if any(math.isnan(float(number)) for number in (m, got, *got_sum)):
        raise Wrong("nan: " + ("what is the largest score before any has been read?" if first and score < -1000 else
                               "an exponential of a large score overflowed, or 0 was divided by 0; subtract the largest score so far"))
    close(m, new, "the largest score", mistakes={
        "before any key has been read the largest score is -inf, not 0": 0.0 if new < 0 else math.nan,
        "the largest score so far is not updated": largest if not first else math.nan,
        "this is the newest score, not the largest": score,
    })
    repair, weight = (0.0 if first else math.exp(largest - new)), math.exp(score - new)
    stale, late = math.exp(min(score - largest, 700.0)) if not first else 1.0, math.exp(min(new - largest, 700.0)) if not first else 1.0
    close(got, total * repair + weight, "the total", mistakes={
        "when a larger score comes, what was summed before is not made smaller": total + weight,
        "the exponential is taken of the score itself, not of the score minus the largest so far":
            total + math.exp(min(score, 700.0)),
        "the new key's exponential is taken with the old maximum": total * repair + stale,
        "the factor of the repair is upside down: what was kept was computed with a smaller maximum, so it is too large":
            total * late + weight,
        "the new key is not in the total": total * repair,
    })
    close(weighted, summed * repair + weight * value, "the weighted sum", axes=("channel",), mistakes={
        "the total is repaired, but the weighted sum of before is not": summed + weight * value,
        "the new value comes in without its weight": summed * repair + value,
        "this is divided by the total already: that is for the end": (summed * repair + weight * value) / (total * repair + weight),
        "the new value is missing": summed * repair,
    })


SHEET = Sheet("04_attention_as_lookup", "Attention I: a lookup", questions=(
    Question("q1", "The weight of the best", function="weight_of_the_best", minutes=10, difficulty=1,
             parts=(Part("the weight at every gap, number and temperature", 2, weight_of_the_best, leads),),
             hints=("Write the softmax down and divide above and below by the exponential of the best score.",
                    "How many terms are in the sum, and how many of them are equal?")),
    Question("q2", "Crowded directions", function="guessed_share", minutes=5, difficulty=1, seconds=20,
             parts=(Part("the guess is near what is measured", 1, guess),),
             hints=("A key is beaten by a key that is longer and points nearly the same way.",
                    "How many of 2,000 directions are nearly the same in 4 dimensions, and in 16?")),
    Question("q3", "Four bugs", function="masked_attention", minutes=15, difficulty=2,
             parts=(Part("with everything allowed it is plain attention", 2, unmasked, everyone_may),
                    Part("the mask hides the keys that it should, and the rest still sums to 1", 2, masked, some_may)),
             hints=("Print the weights of one query. What do they sum to?",
                    "What is the typical size of q·k when q and k have d entries of size 1?",
                    "A weight of 0 is a score of minus infinity.")),
    Question("q4", "A lookup with a clock", function="recall_latest", minutes=10, difficulty=2,
             parts=(Part("of two equal keys the later one has the larger weight", 3, latest, rebound),),
             hints=("The position of a key is the same for all queries: what shape has it?",
                    "Should it be added before the softmax or after?")),
    Question("q5", "How many keys?", function="keys_in_use", minutes=10, difficulty=2,
             parts=(Part("weights that are all positive", 1, keys_in_use, soft_weights),
                    Part("weights that are exactly 0", 2, keys_in_use, hard_weights)),
             hints=("`torch.where` chooses between two tensors, but it computes both.",
                    "Which axis are the keys on?")),
    Question("q6", "One pass", function="read_one", minutes=25, difficulty=3,
             parts=(Part("keys in any order, scores of any size", 2, read_one, mixed),
                    Part("scores that rise with every key", 1, read_one, rising),
                    Part("scores that are all far below 0", 1, read_one, far_below_zero)),
             hints=("Suppose all scores seen so far were computed against m, and now the largest is M: by which factor is everything too large?",
                    "The sum and the weighted sum need the same repair.",
                    "exp(-inf) is 0: the first key needs no case of its own.")),
))
