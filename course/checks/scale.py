"""Sheet 13: scale."""

import math
import re
from itertools import combinations

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, is_a, number, same_shape


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def _several(answer, names):
    """The items of an answer that is a pair, or a triple, of numbers."""
    answer = answer.tolist() if isinstance(answer, (torch.Tensor, np.ndarray)) else answer
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != len(names):
        raise Wrong(f"the answer should be {len(names)} numbers, {' and '.join(names)}; yours has {len(answer)}")
    for name, mine in zip(names, answer):
        is_a(number(mine), float, name)
    return [float(number(mine)) for mine in answer]


def _named(mine, right, mistakes, rtol, atol=0.0):
    """Raises `Wrong` for a known mistake; for all that give these numbers, since any of them may be the one."""
    says = [says for says, wrong in mistakes.items() if np.allclose(mine, wrong, rtol, atol)]
    if says and not np.allclose(mine, right, rtol, atol):
        raise Wrong("; or: ".join(says))


def _is_number(mine, right, what, mistakes, rtol=1e-3):
    _named(mine, right, mistakes, rtol)
    close(mine, right, what, rtol=rtol, atol=0)


# q1

NAMES = ["Ann", "Anna", "Ben", "Rose", "Will", "Mark", "Tom", "Jo", "Joan", "Max", "Ruth", "Eva"]
WORDS = "the a saw and met rose will old garden river then found they home mark bread of night".split()


def _stories(seed, names, sizes, marks=(" ",)):
    generator = _generator(seed)

    def pick(of, n):
        return [of[i] for i in torch.randint(len(of), (n,), generator=generator).tolist()]

    stories = []
    for n_names, n_words in sizes:
        cast = pick(names, 2 + n_names // 3)
        words = pick(WORDS, n_words) + pick(cast, n_names)
        words = [words[i] for i in torch.randperm(len(words), generator=generator).tolist()]
        stories.append("".join(word + mark for word, mark in zip(words, pick(marks, len(words)))).strip() + ".")
    return stories


def one_story(seed):
    names = ["Ben", "Tom", "Max", "Ruth", "Eva", "Lea", "Ida"][: 5 + seed % 3]
    yield _stories(seed, names, [(7 + seed, 9)]), names


def several_stories(seed):
    names = ["Ben", "Tom", "Max", "Ruth", "Eva", "Lea"]
    yield _stories(seed, names[:4], [(5, 8), (9 + seed, 30), (3, 4)]), names
    yield _stories(seed + 9, names[:2], [(5, 8), (4, 12), (0, 12)]), names


def words_and_names(seed):
    marks = (" ", " ", ", ", ". ", "'s ", " \"", "\" ", "\n")
    yield _stories(seed, NAMES, [(15, 10), (8 + seed, 10)], marks), NAMES
    yield ["Anna saw Ann. \"Ann,\" said Anna, \"where's Joan's will?\" Jo will ask Joan, say Anna and Ann."], NAMES


def _said(story, names, words=r"\w+"):
    return [word for word in re.findall(words, story) if word in names]


def _height(stories, names, said=_said, first=False, base=math.e, per=len):
    again = 0
    for story in stories:
        all_said = said(story, names)
        again += len(all_said) - (0 if first else len(set(all_said)))
    return again * math.log(len(names), base) / sum(map(per, stories))


def heights(inputs, answer):
    stories, names = inputs
    is_a(answer, float, "the height")
    right = _height(stories, names)
    characters = sum(map(len, stories))
    unit = math.log(len(names)) / characters
    said = [_said(story, names) for story in stories]
    spoken = set().union(*said)
    total = _height(stories, names, first=True)
    _is_number(float(number(answer)), right, "the height", rtol=1e-4, mistakes={
        "first mentions are counted, too, and nobody can look those up": total,
        "a name that another story has said counts as said again here: each story begins anew": total - len(spoken) * unit,
        "only the first name of each story is left out; every name has a first mention of its own":
            total - sum(map(bool, said)) * unit,
        "each name counts once for each story in which it is said again; every mention after the first is one":
            sum(names.count(name) > 1 for names in said for name in set(names)) * unit,
        "the model without a lookup has the higher loss, so the height is above 0": -right,
        "a character is added here for the end of each story": right * characters / (characters + len(stories)),
        "two characters are added for the end of each story, as in the chapter, and here nothing is added":
            right * characters / (characters + 2 * len(stories)),
        "this is in bits; ln gives nats": _height(stories, names, base=2),
        "a name costs −ln of its probability, and not that of one of the names that these stories use":
            right / math.log(len(names)) * math.log(max(len(spoken), 2)),
        "this is the mean of the heights of the stories; short ones count as much as long ones, and the unit is a character":
            sum(_height([story], names) for story in stories) / len(stories),
        "this is per word, and should be per character": _height(stories, names, per=lambda story: len(story.split())),
        "this is per story, and should be per character": _height(stories, names, per=lambda story: 1),
        "the height is per character, and this is the sum over all of them": right * characters,
        "this is how many names are said again in a character, and not yet what each of them costs":
            right / math.log(len(names)),
        "names are counted inside of other words: `story.count` finds *Ann* in *Anna*":
            _height(stories, names, lambda story, names: [name for name in names for _ in range(story.count(name))]),
        "a name that a comma, a quote or a full stop follows is missed":
            _height(stories, names, lambda story, names: _said(story, names, r"\S+")),
        "a name that an apostrophe follows is missed, as in *Ann's*":
            _height(stories, names, lambda story, names: _said(story, names, r"[\w']+")),
        "large and small letters are not told apart, and *rose* is a flower":
            _height(stories, names, lambda story, names: _said(story.lower(), [name.lower() for name in names])),
    })


# q2


def judged_stories(seed):
    generator = _generator(seed)
    for n, spread, noise in ((200, 20.0, 2.0), (150 + 30 * seed, 8.0, 6.0)):
        exact = 140 + spread * _normal(generator, n)
        yield exact + 3 + 0.02 * (exact - 140) + noise * _normal(generator, n), exact


QUESTIONED = ("the mean excess", "its standard error", "the factor")


def _paired(inputs, answer):
    mine = _several(answer, QUESTIONED)
    loss, exact = (z.double() for z in inputs)
    return mine, loss, exact, loss - exact, math.sqrt(len(loss))


def mean_excess(inputs, answer):
    (mine, *_), loss, exact, excess, root = _paired(inputs, answer)
    _is_number(mine, float(excess.mean()), "the mean excess", {
        "this is the standard error; the mean excess comes first": float(excess.std() / root),
        "the excess is what the model pays more, loss minus exact": float(-excess.mean()),
        "this is the sum over all stories, and not the mean": float(excess.sum()),
        "this is the mean size of the differences, and some of them are negative": float(excess.abs().mean()),
        "this is the ratio of the two losses": float(loss.mean() / exact.mean()),
    })


def error_of_the_mean(inputs, answer):
    (_, mine, _), loss, exact, excess, root = _paired(inputs, answer)
    if math.isclose(mine, float(excess.std(correction=0) / root), rel_tol=1e-3):
        return  # with n in place of n - 1: as good
    _is_number(mine, float(excess.std() / root), "its standard error", {
        "the standard deviation has n − 1 in it already; divide it by √n": float(excess.std() / math.sqrt(len(loss) - 1)),
        "these are two standard errors": float(2 * excess.std() / root),
        "this is half of a 95% interval, about two standard errors": float(1.96 * excess.std() / root),
        "this is the standard deviation of the differences: how much stories differ, and not how well their mean is known":
            float(excess.std()),
        "this is a variance; the standard error is its root": float(excess.var() / len(loss)),
        "the standard deviation is divided by n, and not by its root": float(excess.std() / len(loss)),
        "this is the standard error of two means of different stories; the stories are the same, and only differences count":
            float((loss.var() + exact.var()).sqrt() / root),
        "these are two standard errors added, as if the two losses did not rise and fall together":
            float((loss.std() + exact.std()) / root),
        "this is the standard error of the model's loss, most of which is that some stories are longer than others":
            float(loss.std() / root),
        "these are two standard errors, one taken from the other; the spread of the difference is what counts":
            float((loss.std() - exact.std()) / root),
    })


def worth(inputs, answer):
    (_, _, mine), loss, exact, excess, _ = _paired(inputs, answer)
    right = float((loss.var() + exact.var()) / excess.var())
    rho = float(torch.corrcoef(torch.stack([loss, exact]))[0, 1])
    _is_number(mine, right, "the factor", {
        "this is the factor between the two standard errors; a standard error falls like the root of the number of stories":
            math.sqrt(right),
        "this is a ratio of standard deviations; a standard error falls like the root of the number of stories":
            float(loss.std() / excess.std()),
        "this is one over the factor": 1 / right,
        "this is how many sets are to be added; the question is how many there are then": right - 1,
        "these are the stories of both sets together; the question is how many times as many of each": 2 * right,
        "only the loss varies here: the mean of the exact values of other stories has a standard error, too":
            float(loss.var() / excess.var()),
        "only the exact values vary here: the mean loss of other stories has a standard error, too":
            float(exact.var() / excess.var()),
        "the variance of the losses is counted twice here, and the exact values have one of their own":
            float(2 * loss.var() / excess.var()),
        "the variances above are divided by n − 1, and the one below by n; take the same for all":
            right * len(loss) / (len(loss) - 1),
        "the variances above are divided by n, and the one below by n − 1; take the same for all":
            right * (len(loss) - 1) / len(loss),
        "1/(1 − ρ) is right for two things with the same variance, and these have different ones": 1 / (1 - rho),
        "1/(1 − ρ²) is for losses that a line predicts from the exact values; here these are subtracted": 1 / (1 - rho**2),
        "the two standard errors are added here; of what is independent, the variances are":
            float((loss.std() + exact.std()) ** 2 / excess.var()),
        "this is the number of stories, and the question is how many times as many": right * len(loss),
    })
    return f"one paired set is worth {right:.3g} times as many stories"


# q3


def _curve(E, B, b, times):
    return [E + B * times ** (-b * i) for i in range(3)]


def doublings(seed):
    generator = _generator(seed)
    for _ in range(2):
        E, B, b = (0.2 + torch.rand(3, generator=generator)).tolist()
        yield _curve(E, B, b, 2.0), 2.0


def other_factors(seed):
    for times, b in ((4.0, 0.35), (10.0, 0.2 + 0.05 * seed), (1.5, 0.9)):
        yield _curve(0.136 + 0.1 * seed, 0.4, b, times), times


# Excess over the entropy of bench/scaling.md: a million weights in blocks on 4, 8 and 16 million tokens, before the
# step, and 2.7 million weights on 4, 16 and 64 million, on both sides of it.
ENTROPY = 0.1360
RUNS = (((0.1135, 0.0542, 0.0377), 2.0), ((0.0849, 0.0257, 0.0025), 4.0))


def runs_of_the_book(seed):
    if seed == 0:
        for excess, times in RUNS:
            yield [round(ENTROPY + x, 4) for x in excess], times


def _fit(losses, times):
    first, second, third = losses
    r = (first - second) / (second - third)
    return third - (second - third) / (r - 1), math.log(r) / math.log(times)


def fits(inputs, answer):
    losses, times = inputs
    E, b = _several(answer, ("E", "b"))
    first, second, third = losses
    right, slope = _fit(losses, times)
    r = times**slope
    _is_number(E, right, "E", {
        "E is the smallest loss here, and the curve goes on falling": third,
        "b is fitted as if E were 0": 0.0,
        "E and b are exchanged": slope,
        "after the third run a whole series of drops is to come, each 1/r of the one before; only the first of them is "
        "taken off": third - (second - third) / r,
        "the drop from the second run to the third is taken off once more, and the drops shrink": third - (second - third),
        "what is still to come is taken off the second loss, and the third has had a part of it":
            second - (second - third) / (r - 1),
        "what is still to come is taken off the first loss, and the others have had a part of it":
            first - (first - second) / (r - 1),
        "r is the first drop over the second, so it is above 1; this is one over it": third - (second - third) / (1 / r - 1),
        "r is the ratio of two losses here; E cancels in that of the two drops":
            third - (second - third) / (first / second - 1),
        "what is still to come is added, and the curve falls": third + (second - third) / (r - 1),
        "this is what is still to come after the third run; E is where the losses go to": (second - third) / (r - 1),
    })
    _is_number(b, slope, "b", {
        "b is for a curve that falls, so it is above 0": -slope,
        "this is the power to base 2, but the tokens did not double": math.log2(r),
        "this is ln r; tokens grew by `times`, and r = times to the power of b": math.log(r),
        "this is r, the ratio of the two drops": r,
        "this is 1/b": 1 / slope,
        "tokens grow by `times` from one run to the next, and not by its square: r belongs to one step": slope / 2,
        "this is B, with the first run's tokens as the unit; b is the power": first - right,
        "b is fitted as if E were 0: take it from drops, in which E cancels": math.log(first / second) / math.log(times),
        "b is fitted as if E were 0, from the last two losses: take it from drops, in which E cancels":
            math.log(second / third) / math.log(times),
    })


def fits_to_the_book(inputs, answer):
    fits(inputs, answer)
    (before, _), (across, _) = (_fit([ENTROPY + x for x in excess], times) for excess, times in RUNS)
    return (f"before the step the fit says E = {before:.3f}: the shelf is taken for the end, and a longer run of that "
            f"model came to {ENTROPY + 0.0041:.3f}; on both sides of the step, E = {across:.3f}, and no model can be below "
            f"{ENTROPY:.3f}. Each curve goes through its three points exactly")


# q4

MACHINES = ((9.9e14, 4.8e12), (2e11, 2.5e10), (1.2e14, 9e11))  # operations and bytes a second


def one_token(seed):
    for (peak, bandwidth), size in zip(MACHINES, (2, 4, 2)):
        yield 1, 512 * (1 + seed), 2048, size, peak, bandwidth


def many_tokens(seed):
    for (peak, bandwidth), size in zip(MACHINES, (2, 4, 1)):
        yield 3000 + 512 * seed, 1024, 4096, size, peak, bandwidth
        yield 24, 4096, 1024 * (1 + seed), size, peak, bandwidth


def _roofline(inputs, flops=2, parts="xwy", sized=True, one=False, again=False, time=max):
    tokens, d_in, d_out, size, peak, bandwidth = inputs
    operations = flops * d_in * d_out * (1 if one else tokens)
    weights = d_in * d_out * (tokens if again else 1)
    moved = sum({"x": tokens * d_in, "w": weights, "y": tokens * d_out}[part] for part in parts)
    moved *= size if sized else 1
    return operations / moved, time(operations / peak, moved / bandwidth)


BYTES = {
    "a product and a sum are two operations, and one is counted": dict(flops=1),
    "the results are written, too": dict(parts="xw"),
    "the vectors are read, too": dict(parts="wy"),
    "only the weights are counted; vectors are read and results are written, too": dict(parts="w"),
    "numbers are counted, and not their bytes": dict(sized=False),
}


def rooflines(inputs, answer):
    intensity, seconds = _several(answer, ("operations for each byte", "seconds at best"))
    right, best = _roofline(inputs)
    *_, peak, bandwidth = inputs
    operations, bytes_ = (_roofline(inputs, time=which)[1] for which in (lambda a, b: a, lambda a, b: b))
    wrong = {says: _roofline(inputs, **options) for says, options in BYTES.items()}
    _is_number(intensity, right, "the number of operations for each byte", rtol=1e-4, mistakes={
        says: value[0] for says, value in wrong.items()
    } | {
        "the first product is added to the sum, too, so every product comes with an addition": right * (1 - 1 / (2 * inputs[1])),
        "the weights are read once, and not again for every token": _roofline(inputs, again=True)[0],
        "the operations of one token are counted; every token has its own": _roofline(inputs, one=True)[0],
        "these are bytes for each operation": 1 / right,
        "these are operations for each bit": right / 8,
        "`size` is in bytes already, and is divided by 8 here": right * 8,
        "these are the seconds, which come second": best,
        "this is the machine's own ratio, the one at which both limits are met; the question is that of the product":
            peak / bandwidth,
        "the smaller of two ratios is taken, the product's and the machine's; the question is that of the product":
            min(right, peak / bandwidth),
        "this is the number of operations, not yet divided by bytes": 2 * math.prod(inputs[:3]),
    })
    _is_number(seconds, best, "the time", rtol=1e-4, mistakes={
        "both happen at the same time, so the longer of the two counts, and not their sum": operations + bytes_,
        "this is the time of the operations; here the bytes take longer": operations,
        "this is the time of the bytes; here the operations take longer": bytes_,
        "this is a speed, in operations a second; the question is how long it takes": min(peak, right * bandwidth),
        "these are milliseconds": 1000 * best,
        "`bandwidth` is in bytes a second, and is taken for bits here": max(operations, 8 * bytes_),
    } | {f"in the time, {says}": value[1] for says, value in wrong.items()})
    bound = "memory" if right < peak / bandwidth else "operations"
    return (f"{right:.3g} operations a byte: bound by {bound}, since this machine does {peak / bandwidth:.3g} operations "
            "in the time in which it moves one byte")


# q5


def one_process(seed):
    yield 1_000_000 * (seed + 1), 1, seed % 4


def not_shared(seed):
    yield 1_200_000 * (seed + 1), 2 + seed, 0


def shared(seed):
    for stage in (1, 2, 3):
        yield 5040 * (seed + 1), 5 + seed % 6, stage  # not on 4, where two mistakes together are like one


SIZES = {
    "one of the three numbers of 32 bits that AdamW has for each weight is missing": {"adamw": 8},
    "AdamW has three numbers of 32 bits for each weight, and four are counted": {"adamw": 16},
    "AdamW's own numbers have 32 bits, and 16 are counted": {"adamw": 6},
    "what AdamW has is missing": {"adamw": 0},
    "the gradients have 16 bits here, and 32 are counted": {"gradients": 4},
    "the gradients have 16 bits here, and 32 are counted besides": {"gradients": 6},
    "the gradients are missing": {"gradients": 0},
    "the weights of the forward pass have 16 bits, and 32 are counted": {"weights": 4},
    "the weights of the forward pass are missing": {"weights": 0},
    "weights and gradients have 16 bits here, and 32 are counted for both": {"weights": 4, "gradients": 4},
}
SHARED = {"adamw": {1, 2, 3}, "gradients": {2, 3}, "weights": {3}}  # at these stages
SHARES = {
    "nothing is shared out here": dict.fromkeys(SHARED, ()),
    "all is shared out here, and at this stage some is held by each process": dict.fromkeys(SHARED, (1, 2, 3)),
    "a stage shares out what the stages before it do, too; here it shares out its own alone": {"adamw": {1}, "gradients": {2}},
    "what AdamW has is shared out first, from stage 1 on, and the weights last": {"adamw": {3}, "weights": {1, 2, 3}},
    "gradients are shared out from stage 2 on, and are from stage 1 on here": {"gradients": {1, 2, 3}},
    "gradients are shared out from stage 2 on, and not only at stage 3": {"gradients": {3}},
    "weights are shared out at stage 3, and already are at stage 2 here": {"weights": {2, 3}},
    "weights are shared out at stage 3, and here they are held by each process": {"weights": ()},
}


def _bill(inputs, sizes=None, shares=None):
    n_params, n, stage = inputs
    sizes, shares = {"weights": 2, "gradients": 2, "adamw": 12} | (sizes or {}), SHARED | (shares or {})
    return n_params * sum(size / (n if stage in shares[name] else 1) for name, size in sizes.items())


def bills(inputs, answer):
    n_params, n, stage = inputs
    is_a(answer, float, "the memory")
    mine, right = float(number(answer)), _bill(inputs)
    mistakes = {says: _bill(inputs, sizes=sizes) for says, sizes in SIZES.items()}
    if n > 1:
        mistakes["this is the memory of all processes together"] = right * n
    if n > 1 and stage:
        mistakes |= {says: _bill(inputs, shares=shares) for says, shares in SHARES.items()}
    elif n > 1:
        mistakes["each process holds all of it at stage 0"] = right / n
    _named(mine, right, mistakes, rtol=1e-6)
    for one, other in combinations(SIZES.values(), 2):
        _named(mine, right, rtol=1e-6, mistakes={
            "perhaps two of the sizes are wrong: 16 bits are 2 bytes, and 32 bits are 4": _bill(inputs, sizes=one | other)})
    _is_number(mine, right, "the memory", rtol=1e-6, mistakes={
        "these are bits": 8 * right,
        "these are GB, and bytes are asked for": right / 1e9,
        "these are GiB, and bytes are asked for": right / 2**30,
        "this is the number of bytes for one parameter": right / n_params,
    })


# q6


def equal_counts(seed):
    generator = _generator(seed)
    for n, p in ((2, 3), (3 + seed, 4)):
        yield [_normal(generator, p) for _ in range(n)], [8] * n, 1e6


def unequal_counts(seed):
    generator = _generator(seed)
    for counts in ([3, 9], [1, 20, 4 + seed], [7, 7, 2, 30]):
        yield [_normal(generator, 4) for _ in counts], counts, 1e6


def clipped(seed):
    generator = _generator(seed)
    for limit in (0.5, 1.0 + 0.1 * seed):
        counts = [5, 12, 3 + seed]
        yield [_normal(generator, 6) * size for size in (9.0, 1.0, 4.0)], counts, limit
    yield [torch.tensor([2.0, 2.0]), torch.tensor([-2.0, 2.0])], [2, 1], 2.5  # longer than the limit each; their mean is not


def an_empty_process(seed):
    generator = _generator(seed)
    for counts in ([6, 0], [0, 5, 1 + seed]):
        yield [_normal(generator, 3) if n else torch.full((3,), torch.nan) for n in counts], counts, 1e6


def _cut(g, limit):
    """The gradient, at most `limit` long."""
    return g * min(1.0, limit / max(1e-30, float(g.norm())))


def _reduced(inputs, weights="counts", by="sum", clip="the mean"):
    gradients, counts, limit = inputs
    w = torch.tensor(counts if weights == "counts" else [1.0] * len(counts)).float()
    some = [(n, g) for n, g in zip(w, gradients) if n > 0 and not torch.isnan(g).any()]
    products = [n * (_cut(g, limit) if clip == "each" else g) for n, g in some]
    total = sum(_cut(z, limit) if clip == "each product" else z for z in products)
    total = _cut(total, limit) if clip == "the sum" else total
    mean = total / {"sum": float(w.sum()), "n": len(counts), "none": 1.0, "both": float(w.sum()) * len(counts)}[by]
    return {
        "the mean": _cut(mean, limit),
        "always": mean * limit / mean.norm(),
        "each number": mean.clamp(-limit, limit),
        "by the square": mean * min(1.0, limit / float(mean.square().sum())),
    }.get(clip, mean)


WAYS = {
    "this is the mean over processes, so a token counts more where there are few of them: processes count by their tokens":
        {"weights": "one", "by": "n"},
    "this is a sum over processes, and nothing divides it: with twice as many processes the step is twice as long":
        {"weights": "one", "by": "none"},
    "each gradient is multiplied by its count, and then the sum is divided by the number of processes, not of tokens":
        {"by": "n"},
    "each gradient is multiplied by its count, and nothing divides the sum": {"by": "none"},
    "the sum is divided by the number of all tokens, and by that of the processes as well": {"by": "both"},
}
CLIPS = {
    "each process clips its own gradient; what has to be clipped is their mean": "each",
    "each gradient is clipped once it is multiplied by its count; what has to be clipped is their mean": "each product",
    "the sum is clipped here, and divided after that; what has to be clipped is the mean": "the sum",
    "nothing is clipped here": "nothing",
    "a gradient that is shorter than the limit should stay as it is": "always",
    "each number is cut off at the limit; it is the length that should be at most the limit": "each number",
    "the length is the root of the sum of squares, and the root is missing": "by the square",
}


def reductions(inputs, answer):
    gradients, counts, limit = inputs
    right = _reduced(inputs)
    got = same_shape(answer, right, "the gradient", axes=("parameter",))
    if (got != got).any():
        raise Wrong("the gradient is nan: a process without a token has the mean of nothing, and 0 times that is no number")
    mistakes = {says: _reduced(inputs, **options) for says, options in WAYS.items()}
    mistakes |= {says: _reduced(inputs, clip=clip) for says, clip in CLIPS.items()}
    mistakes["the gradients are divided by the number of all tokens, and were not multiplied by their own"] = (
        torch.stack(gradients).nansum(0) / sum(counts))
    if 0 in counts:
        some = [n for n in counts if n]
        mistakes["processes count by their tokens, and this is the mean over those that had any"] = _reduced(
            ([g for g, n in zip(gradients, counts) if n], some, limit), "one", "n")
    _named(got, right, mistakes, rtol=1e-3, atol=1e-6)
    for clip in ("each", "nothing"):
        _named(got, right, rtol=1e-3, atol=1e-6, mistakes={
            f"{says}; and this is not the only bug": _reduced(inputs, **options, clip=clip) for says, options in WAYS.items()})
    close(answer, right, "the gradient", axes=("parameter",), rtol=1e-3, atol=1e-6)


# q7


def one_expert(seed):
    generator = _generator(seed)
    for T, n in ((5, 3), (12 + seed, 6)):
        yield 2 * _normal(generator, T, n) + _normal(generator, n), 1


def several_experts(seed):
    generator = _generator(seed)
    for T, n, k in ((4, 5, 2), (9 + seed, 8, 3), (6, 4, 4)):
        yield 2 * _normal(generator, T, n) + _normal(generator, n), k


def _routed(scores, k):
    p = scores.softmax(-1)
    best = scores.topk(k, dim=-1)
    asked = torch.zeros_like(scores).scatter(-1, best.indices, 1.0)
    opened = asked * p
    return p, asked, opened / opened.sum(-1, keepdim=True) if k > 1 else opened


def _pair(answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two things come back, the gates and the balance term; yours are {len(answer)}")
    return answer


def gates(inputs, answer):
    scores, k = inputs
    p, asked, right = _routed(scores, k)
    n = scores.shape[-1]
    worst = (-scores).topk(k, dim=-1)
    mistakes = {
        "all experts have a gate here; only the best of each token are asked": p,
        "all experts that are asked count alike": asked / k,
        "the gates are 1 for every expert that is asked": asked,
        "these are the scores of the best, and not yet their softmax": asked * scores,
        "the scores of the others are set to 0 before the softmax, and exp(0) is 1: they still have a gate":
            (asked * scores).softmax(-1),
        "the softmax is taken over the tokens, not over the experts that a token asks":
            torch.where(asked > 0, scores, -torch.inf).softmax(0).nan_to_num(0),
        "each expert chooses its tokens here; each token should choose its experts": torch.zeros_like(scores).scatter(
            0, scores.topk(min(k, len(scores)), dim=0).indices, scores.topk(min(k, len(scores)), dim=0).values.softmax(0)),
        "the experts with the lowest scores are asked": torch.zeros_like(scores).scatter(
            -1, worst.indices, (-worst.values).softmax(-1)),
    }
    if k > 1:
        mistakes["the gates of a token do not sum to 1: divide them by the sum of those that are asked"] = asked * p
    else:
        mistakes = {"with one expert to ask, this gate is 1 whatever its score, and no gradient of the answer would reach the "
                    "scores": asked} | mistakes
    if k < n:
        mistakes["one expert too many is asked"] = _routed(scores, k + 1)[2]
    if isinstance(_pair(answer)[0], torch.Tensor) and tuple(answer[0].shape) == (len(scores), k) != tuple(scores.shape):
        raise Wrong(f"the gates should have shape ({len(scores)}, {n}), 0 for an expert that is not asked; "
                    f"yours have ({len(scores)}, {k})")
    close(answer[0], right, "the gates", axes=("token", "expert"), rtol=1e-3, atol=1e-5, mistakes=mistakes)


def balance(inputs, answer):
    scores, k = inputs
    p, asked, opened = _routed(scores, k)
    n, mine = scores.shape[-1], number(_pair(answer)[1])
    is_a(mine, float, "the balance term")
    f, P = asked.mean(0) / k, p.mean(0)
    right = float(n * (f * P).sum())
    _is_number(float(mine), right, "the balance term", {
        "the factor n is missing, so an even load gives 1/n": right / n,
        "this is a mean over experts, and should be their sum": right / n,
        "this is a mean over experts, and the term is n times a sum": right / n**2,
        "only the first choice of each token is counted here, and f is a share of all k": float(
            n * (_routed(scores, 1)[1].mean(0) * P).sum()),
        "P is the softmax of the mean scores here, and should be the mean of the softmax of each token":
            float(n * (f * scores.mean(0).softmax(-1)).sum()),
        "a token makes k choices, and f is a share of all of them: this f sums to k": right * k,
        "f is a number of tokens here, and should be a share of all choices": right * k * len(scores),
        "f is a number of choices divided by nothing but k": right * len(scores),
        "P is the mean of the gates here, and should be that of the softmax over all scores":
            float(n * (f * opened.mean(0)).sum()),
        "P is taken for f: f counts choices, and has no gradient": float(n * (P * P).sum()),
        "f is taken for P: without P the term has no gradient": float(n * (f * f).sum()),
        "P is a sum over tokens, and should be their mean": right * len(scores),
        "f is the mean of the gates here, and should count choices": float(n * (opened.mean(0) * P).sum()),
        "the product of f and P is taken for every token, and the mean after it": float(n * (asked / k * p).mean(0).sum()),
        "n is the number of tokens here, and should be that of the experts": right / n * len(scores),
    })


SHEET = Sheet("13_scale", "Scale", questions=(
    Question("q1", "How high is the step?", function="step_height", minutes=15, difficulty=2,
             parts=(Part("one story", 1, heights, one_story),
                    Part("several stories", 2, heights, several_stories),
                    Part("names inside of words, and words like names", 1, heights, words_and_names)),
             hints=("What does a name cost that has probability 1/98? And one that has probability 1?",
                    "Of three mentions of one name in a story, two are said again.",
                    "`re.findall(r\"\\w+\", story)` gives the words of a story without commas and quotes.")),
    Question("q2", "The same stories", function="paired", minutes=15, difficulty=2,
             parts=(Part("the mean excess", 1, mean_excess, judged_stories, needs_another=True),
                    Part("its standard error", 2, error_of_the_mean, judged_stories),
                    Part("what the pairing is worth", 2, worth, judged_stories)),
             hints=("Subtract story by story, and forget the two columns.",
                    "The standard error of a mean of n numbers is their standard deviation over √n.",
                    "The difference of two independent means has the sum of their variances; and a variance of a mean is 1/n of one.")),
    Question("q3", "A fit that no model can reach", function="fitted", minutes=20, difficulty=2,
             parts=(Part("tokens double", 2, fits, doublings),
                    Part("tokens grow by another factor", 1, fits, other_factors),
                    Part("runs of the book", 1, fits_to_the_book, runs_of_the_book)),
             hints=("E cancels in a difference of two losses. What is the ratio of the two drops?",
                    "With r = times^b, each drop is 1/r of the drop before. How much is still to come after the third run?",
                    "1/r + 1/r² + 1/r³ + … = 1/(r − 1).")),
    Question("q4", "Read a roofline", function="at_best", minutes=10, difficulty=1,
             parts=(Part("one token at a time", 2, rooflines, one_token),
                    Part("several tokens together", 2, rooflines, many_tokens)),
             hints=("Every result is a sum of d_in products. How many results are there?",
                    "Three tensors cross the memory: (tokens, d_in), (d_in, d_out), (tokens, d_out).",
                    "If both go on at the same time, the slower one decides.")),
    Question("q5", "The bill of bytes", function="held", minutes=10, difficulty=1,
             parts=(Part("one process", 1, bills, one_process),
                    Part("several processes that hold it all", 1, bills, not_shared, needs_another=True),
                    Part("shared out", 2, bills, shared)),
             hints=("16 bits are 2 bytes. How many bytes does one parameter take, in all? It is more than 12.",
                    "Write one line for each of weights, gradients and what AdamW has, and divide it by n or not.")),
    Question("q6", "The mean of means", function="all_reduced", minutes=15, difficulty=2,
             parts=(Part("equal counts, no clipping", 1, reductions, equal_counts, needs_another=True),
                    Part("unequal counts", 2, reductions, unequal_counts),
                    Part("clipping", 1, reductions, clipped),
                    Part("a process without tokens", 1, reductions, an_empty_process)),
             hints=("A gradient of a mean over 3 tokens, and one over 9: which sum over 12 tokens do they come from?",
                    "When is the length of the gradient known that one process would have had?",
                    "0 · nan is nan. What has no tokens has to be left out, not multiplied by 0.")),
    Question("q7", "A lookup among experts", function="routed", minutes=15, difficulty=2,
             parts=(Part("the gates of several experts", 2, gates, several_experts),
                    Part("the gate of one", 1, gates, one_expert),
                    Part("the balance term", 2, balance, several_experts)),
             hints=("`scores.topk(k)` gives values and indices; `scatter` puts values at indices.",
                    "What is the sum of the gates of a token for k = 2? And what is its gradient for k = 1?",
                    "f has a value for each expert, and sums to 1. So has P.")),
))
