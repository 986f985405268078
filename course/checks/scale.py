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
    yield _stories(seed, names, [(6 + seed, 9)]), names


def several_stories(seed):
    names = ["Ben", "Tom", "Max", "Ruth", "Eva", "Lea"]
    yield _stories(seed, names[:4], [(5, 8), (9 + seed, 30), (3, 4)]), names
    yield _stories(seed + 9, names[:2], [(5, 8), (4, 12), (0, 12)]), names


def words_and_names(seed):
    marks = (" ", " ", ", ", ". ", "'s ", " \"", "\" ", "\n")
    yield _stories(seed, NAMES, [(12, 14), (8 + seed, 10)], marks), NAMES
    yield ["Anna saw Ann. \"Ann,\" said Anna, \"where's Joan's will?\" Jo will ask Joan."], NAMES


def _height(stories, names, said=None, first=False, base=math.e, per=len):
    said = said or (lambda story: [word for word in re.findall(r"\w+", story) if word in names])
    again = 0
    for story in stories:
        all_said = said(story)
        again += len(all_said) - (0 if first else len(set(all_said)))
    return again * math.log(len(names), base) / sum(map(per, stories))


def heights(inputs, answer):
    stories, names = inputs
    is_a(answer, float, "the height")
    right = _height(stories, names)
    spoken = {word for story in stories for word in re.findall(r"\w+", story) if word in names}
    total = _height(stories, names, first=True)
    unit = math.log(len(names)) / sum(map(len, stories))
    close(answer, right, "the height", rtol=2e-3, atol=0, mistakes={
        "first mentions are counted, too, and nobody can look those up": total,
        "a name that another story has said counts as said again here: each story begins anew": total - len(spoken) * unit,
        "this is in bits; ln gives nats": _height(stories, names, base=2),
        "a name costs −ln of its probability, and not that of one of the names that these stories use":
            right / math.log(len(names)) * math.log(max(len(spoken), 2)),
        "this is the mean of the heights of the stories; short ones count as much as long ones, and the unit is a character":
            sum(_height([story], names) for story in stories) / len(stories),
        "this is per word, and should be per character": _height(stories, names, per=lambda story: len(story.split())),
        "this is per story, and should be per character": _height(stories, names, per=lambda story: 1),
        "the height is per character, and this is the sum over all of them": right * sum(map(len, stories)),
        "this is how many names are said again in a character, and not yet what each of them costs":
            right / math.log(len(names)),
        "names are counted inside of other words: `story.count` finds *Ann* in *Anna*":
            _height(stories, names, lambda story: [name for name in names for _ in range(story.count(name))]),
        "a name that a comma, a quote or a full stop follows is missed":
            _height(stories, names, lambda story: [word for word in story.split() if word in names]),
        "large and small letters are not told apart, and *rose* is a flower":
            _height(stories, names, lambda story: [word for word in re.findall(r"\w+", story.lower())
                                                   if word in [name.lower() for name in names]]),
        "each name counts once for each story in which it is said again; every mention after the first is one": unit * sum(
            sum(re.findall(r"\w+", story).count(name) > 1 for name in names) for story in stories),
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
    (mine, *_), loss, exact, excess, _ = _paired(inputs, answer)
    close(mine, float(excess.mean()), "the mean excess", rtol=1e-3, mistakes={
        "the excess is what the model pays more, loss minus exact": float(-excess.mean()),
        "this is the sum over all stories, and not the mean": float(excess.sum()),
        "this is the mean size of the differences, and some of them are negative": float(excess.abs().mean()),
        "this is the ratio of the two losses": float(loss.mean() / exact.mean()),
    })


def error_of_the_mean(inputs, answer):
    (_, mine, _), loss, exact, excess, root = _paired(inputs, answer)
    if _same(mine, excess.std(correction=0) / root):
        return  # with n in place of n - 1: as good
    close(mine, float(excess.std() / root), "its standard error", rtol=1e-3, mistakes={
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
    (_, _, mine), loss, exact, excess, root = _paired(inputs, answer)
    right = float((loss.var() + exact.var()) / excess.var())
    close(mine, right, "the factor", rtol=1e-3, mistakes={
        "this is the factor between the two standard errors; a standard error falls like the root of the number of stories":
            math.sqrt(right),
        "this is one over the factor": 1 / right,
        "only the loss varies here: the mean of the exact values of other stories has a standard error, too":
            float(loss.var() / excess.var()),
        "the two standard errors are added here; of what is independent, the variances are":
            float((loss.std() + exact.std()) ** 2 / excess.var()),
        "this is the number of stories, and the question is how many times as many": right * len(loss),
    })
    return f"one paired set is worth {right:.3g} times as many stories"


def _same(mine, wrong):
    return math.isclose(mine, float(wrong), rel_tol=1e-3)


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
    close(E, right, "E", rtol=1e-3, atol=1e-6, mistakes={
        "E is the smallest loss here, and the curve goes on falling": third,
        "b is fitted as if E were 0": 0.0,
        "E and b are exchanged": slope,
        "after the third run a whole series of drops is to come, each 1/r of the one before; only the first of them is "
        "taken off": third - (second - third) / r,
        "the drop from the second run to the third is taken off once more, and the drops shrink": third - (second - third),
        "what is still to come is taken off the second loss, and the third has had a part of it":
            second - (second - third) / (r - 1),
        "what is still to come is added, and the curve falls": third + (second - third) / (r - 1),
        "this is what is still to come after the third run; E is where the losses go to": (second - third) / (r - 1),
    })
    close(b, slope, "b", rtol=1e-3, atol=1e-6, mistakes={
        "b is for a curve that falls, so it is above 0": -slope,
        "this is the power to base 2, but the tokens did not double": math.log2(r),
        "this is ln r; tokens grew by `times`, and r = times to the power of b": math.log(r),
        "this is r, the ratio of the two drops": r,
        "this is 1/b": 1 / slope,
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
        yield 4096 + 512 * seed, 1024, 4096, size, peak, bandwidth
        yield 24, 4096, 1024 * (1 + seed), size, peak, bandwidth


def _roofline(inputs, flops=2, parts="xwy", sized=True, time=max):
    tokens, d_in, d_out, size, peak, bandwidth = inputs
    operations = flops * tokens * d_in * d_out
    moved = sum({"x": tokens * d_in, "w": d_in * d_out, "y": tokens * d_out}[part] for part in parts)
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
    close(intensity, right, "the number of operations for each byte", rtol=1e-4, atol=0, mistakes={
        says: value[0] for says, value in wrong.items()
    } | {
        "these are bytes for each operation": 1 / right,
        "these are operations for each bit": right / 8,
        "this is the machine's own ratio, the one at which both limits are met; the question is that of the product":
            peak / bandwidth,
        "this is the number of operations, not yet divided by bytes": 2 * math.prod(inputs[:3]),
    })
    close(seconds, best, "the time", rtol=1e-4, atol=0, mistakes={
        "both happen at the same time, so the longer of the two counts, and not their sum": operations + bytes_,
        "this is the time of the operations; here the bytes take longer": operations,
        "this is the time of the bytes; here the operations take longer": bytes_,
        "this is a speed, in operations a second; the question is how long it takes": min(peak, right * bandwidth),
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
        yield 5040 * (seed + 1), 4 + seed, stage


BILLS = {
    "one of the three numbers of 32 bits that AdamW has for each weight is missing": {"adamw": 8},
    "AdamW's own numbers have 32 bits, and 16 are counted": {"adamw": 6},
    "what AdamW has is missing": {"adamw": 0},
    "the gradients have 16 bits here, and 32 are counted": {"gradients": 4},
    "the gradients are missing": {"gradients": 0},
    "the weights of the forward pass have 16 bits, and 32 are counted": {"weights": 4},
    "the weights of the forward pass are missing": {"weights": 0},
}
SHARES = {
    "nothing is shared out here": {"adamw": 9, "gradients": 9, "weights": 9},
    "all is shared out here, and at this stage some is held by each process": {"adamw": 0, "gradients": 0, "weights": 0},
    "gradients are shared out from stage 2 on, and are from stage 1 on here": {"gradients": 1},
    "gradients are shared out from stage 2 on, and not only at stage 3": {"gradients": 3},
    "weights are shared out at stage 3, and already are at stage 2 here": {"weights": 2},
    "weights are shared out at stage 3, and here they are held by each process": {"weights": 9},
}


def _bill(inputs, share=None, **sizes):
    n_params, n, stage = inputs
    first = {"adamw": 1, "gradients": 2, "weights": 3} | (share or {})
    return n_params * sum(size / (n if stage >= first[name] else 1)
                          for name, size in ({"weights": 2, "gradients": 2, "adamw": 12} | sizes).items())


def bills(inputs, answer):
    n_params, n, stage = inputs
    is_a(answer, float, "the memory")
    mine, right = number(answer), _bill(inputs)

    def like(tables):
        """What there is to say of this answer: more than one thing, if sums agree."""
        return " or: ".join(says for says, wrong in tables.items() if math.isclose(mine, wrong, rel_tol=1e-6))

    if not math.isclose(mine, right, rel_tol=1e-6):
        wrong = {says: _bill(inputs, share=share) for says, share in SHARES.items() if n > 1 and stage}
        if n > 1:
            wrong["this is the memory of all processes together"] = right * n
        if n > 1 and not stage:
            wrong["each process holds all of it at stage 0"] = right / n
        sizes = {says: _bill(inputs, **size) for says, size in BILLS.items()}
        pairs = [_bill(inputs, **one, **two) for one, two in combinations(BILLS.values(), 2) if one.keys() != two.keys()]
        if says := like(wrong) or like(sizes):
            raise Wrong(says)
        if any(math.isclose(mine, pair, rel_tol=1e-6) for pair in pairs):
            raise Wrong("more than one of the sizes is wrong: 16 bits are 2 bytes, and 32 bits are 4")
    close(answer, right, "the memory", rtol=1e-6, atol=0, mistakes={
        "these are bits": 8 * right, "this is the number of bytes for one parameter": right / n_params})


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


def _reduced(inputs, weights="counts", by="sum", clip="after"):
    gradients, counts, limit = inputs
    if clip == "before":
        gradients = [g * min(1.0, limit / float(g.norm())) for g in gradients]
    w = torch.tensor(counts if weights == "counts" else [1.0] * len(counts)).float()
    parts = torch.stack([n * g for n, g in zip(w, gradients) if n > 0 and not torch.isnan(g).any()])
    divisor = {"sum": float(w.sum()), "n": len(counts), "none": 1.0, "both": float(w.sum()) * len(counts)}[by]
    total = parts.sum(0) / divisor
    if clip == "after":
        total = total * min(1.0, limit / float(total.norm()))
    elif clip == "always":
        total = total * limit / total.norm()
    elif clip == "each number":
        total = total.clamp(-limit, limit)
    return total


WAYS = {
    "this is the mean over processes, so a token counts more where there are few of them: processes count by their tokens":
        {"weights": "one", "by": "n"},
    "this is a sum over processes, and nothing divides it: with twice as many processes the step is twice as long":
        {"weights": "one", "by": "none"},
    "each gradient is multiplied by its count, and then the sum is divided by the number of processes, not of tokens":
        {"by": "n"},
    "each gradient is multiplied by its count, and nothing divides the sum": {"by": "none"},
    "the sum is divided by the number of all tokens, and by that of the processes as well": {"by": "both"},
    "the gradients are divided by the number of all tokens, and were not multiplied by their own":
        {"weights": "one", "by": "tokens"},
}
CLIPS = {
    "each process clips its own gradient; what has to be clipped is their mean": "before",
    "nothing is clipped here": "no",
    "a gradient that is shorter than the limit should stay as it is": "always",
    "each number is cut off at the limit; it is the length that should be at most the limit": "each number",
}


def reductions(inputs, answer):
    gradients, counts, limit = inputs
    right = _reduced(inputs)
    got = same_shape(answer, right, "the gradient", axes=("parameter",))
    if (got != got).any():
        raise Wrong("the gradient is nan: a process without a token has the mean of nothing, and 0 times that is no number")
    mistakes = {says: _reduced(inputs, clip=clip) for says, clip in CLIPS.items()}
    for says, options in WAYS.items():
        if options["by"] == "tokens":
            mistakes[says] = torch.stack(gradients).nansum(0) / sum(counts)
            continue
        mistakes[says] = _reduced(inputs, **options)
        mistakes[f"{says}; and this is not the only bug"] = _reduced(inputs, **options, clip="before")
        mistakes[f"{says}; nor is this the only bug"] = _reduced(inputs, **options, clip="no")
    if 0 in counts:
        some = [n for n in counts if n]
        mistakes["processes count by their tokens, and this is the mean over those that had any"] = _reduced(
            ([g for g, n in zip(gradients, counts) if n], some, limit), "one", "n")
    close(answer, right, "the gradient", axes=("parameter",), rtol=1e-3, atol=1e-6, mistakes=mistakes)


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
        mistakes = {"with one expert to ask, this gate is 1 whatever its score, and no score would learn anything": asked
                    } | mistakes
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
    close(mine, right, "the balance term", rtol=1e-3, mistakes={
        "the factor n is missing, so an even load gives 1/n": right / n,
        "this is a mean over experts, and should be their sum": right / n,
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
