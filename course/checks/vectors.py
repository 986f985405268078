"""Sheet 03: vectors."""

import itertools
import math

import torch
from torch.nn import functional as F

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a, same_shape
from tinyllm.attention import attention
from tinyllm.vectors import similarity, sinusoidal_positions


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def triangles(seed):
    a, b = torch.randn(2, 3, generator=_generator(seed), dtype=torch.float64)
    for scale in (1.0, 3.0):
        yield (a.norm().item(), (scale * b).norm().item(), (a - scale * b).norm().item())
    yield (2.0, 3.0 + seed, 5.0 + seed)  # opposite ways


def cosine_of(inputs, answer):
    a, b, distance = inputs
    is_a(answer, float, "the cosine")
    right = (a**2 + b**2 - distance**2) / (2 * a * b)
    close(answer, right, "the cosine", rtol=1e-6, atol=1e-9, mistakes={
        "the sign: what is far apart should have the small cosine": -right,
        "twice the dot product stands in |a - b|²; where has the 2 gone?": 2 * right,
        "this is the dot product; the cosine is divided by both lengths": right * a * b,
        "divided by one length only": right * a,
        "divided by one length only, b's is left": right * b,
        "the distance goes into the formula squared": (a**2 + b**2 - distance) / (2 * a * b),
        "this is the angle, not its cosine": math.acos(max(-1.0, min(1.0, right))),
    })
    if abs(answer) > 1 + 1e-6:
        raise Wrong(f"{answer:.3g} is no cosine: it should lie between -1 and 1")


# q2


def guess(inputs, answer):
    is_a(answer, float, "the standard deviation")
    if not 0 <= answer <= 1:
        raise Wrong(f"{answer:.3g} cannot be: a cosine lies between -1 and 1, and a standard deviation is not negative")
    spreads = []
    for seed in range(5):
        a, b = torch.randn(2, 4000, 64, generator=_generator(seed))
        spreads.append(F.cosine_similarity(a, b).std().item())
    measured = sum(spreads) / len(spreads)
    if abs(answer - measured) > 0.04:
        raise Wrong("the guess is more than 0.04 away from what was measured: how fast does a sum of 64 products of "
                    f"either sign grow, and by what is it divided? The cosines are {'less' if answer > measured else 'more'} "
                    "spread out than you think")
    return f"you guessed {answer:.3f}; measured: {measured:.3f}, from {min(spreads):.3f} to {max(spreads):.3f}"


# q3


def clouds(by):
    def cases(seed):
        for V, C, n in ((12, 5, 4), (30 + seed, 8, 5)):
            lengths = torch.rand(V, 1, generator=_generator(seed)) * 4 + 0.2
            vectors = F.normalize(torch.randn(V, C, generator=_generator(seed + V)), dim=-1) * lengths
            yield (vectors, seed % V, n, by)
            yield (vectors, int(lengths.argmin()), n, by)
    return cases


def nearest(inputs, answer):
    vectors, i, n, by = inputs
    is_a(answer, list, "the neighbors")
    scores, dots = similarity(vectors[i][None], vectors, by)[0], vectors @ vectors[i]

    def ranked(scores, itself=False):
        return [j for j in scores.argsort(descending=True).tolist() if itself or j != i][:n]

    mistakes = {"the farthest come first: the nearest should have the largest score": -scores}
    if by == "cosine":
        mistakes["long vectors win: a cosine is divided by both lengths, also by that of the other vector"] = dots
        mistakes["short vectors win: a cosine is divided by each length once"] = dots / vectors.norm(dim=-1) ** 2
    if by == "distance":
        columns = (vectors - vectors[i]).norm(dim=0)
        for order in (columns, -columns):
            if answer == order.argsort(descending=True)[:n].tolist():
                raise Wrong("a row is a vector: these distances are one for each channel, not one for each row")
    for says, wrong in mistakes.items():
        if answer != ranked(scores) and answer in (ranked(wrong), ranked(wrong, itself=True)):
            raise Wrong(says)
    if i in answer:
        raise Wrong(f"vector {i} is among its own neighbors; everybody is near to themselves")
    equal(answer, ranked(scores), "the neighbors", item="neighbor")


# q4


def ahead(seed):
    yield (2, 1 + seed)
    yield (8 + 2 * seed, 3)
    yield (8, 300)  # far enough for the slow clocks to be told apart


def back(seed):
    yield (6, -2 - seed)
    yield (4 + 2 * seed, 0)


def shift_matrix(inputs, answer):
    C, k = inputs
    R = torch.from_numpy(same_shape(answer, torch.zeros(C, C), "the matrix", axes=("channel in", "channel out")))
    first = max(10, -k)
    P = sinusoidal_positions(first + 20 + max(k, 0), C).double()
    here, there = P[first : first + 20], P[first + k : first + 20 + k]
    speeds = 10000 ** (-torch.arange(0, C, 2).double() / C)

    def turned(angles, halves=False):
        sin, cos = torch.diag(angles.sin()), torch.diag(angles.cos())
        R = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])  # sines first, then cosines
        mixed = torch.stack([torch.arange(C // 2), torch.arange(C // 2) + C // 2], -1).flatten()
        return R if halves else R[mixed][:, mixed]

    # In 32 bits the angle itself is known to so much.
    close(here @ R, there, "the shifted positions", axes=("place", "channel"), atol=1e-5 + 3e-7 * abs(k), mistakes={
        "the clocks run backwards, or the matrix stands on the wrong side: it is P[t] @ R, with P[t] a row":
            here @ turned(-k * speeds),
        "sines and cosines are not in two halves: they take turns, channel 2m and channel 2m + 1":
            here @ turned(k * speeds, halves=True),
        "sines and cosines are not in two halves, and the matrix stands on the wrong side":
            here @ turned(-k * speeds, halves=True),
        "all clocks turn at one speed in your matrix": here @ turned(k * torch.ones(C // 2).double()),
        "the speeds: clock m is in the channels 2m and 2m + 1, so the exponent is 2m/C":
            here @ turned(k * 10000 ** (-torch.arange(C // 2).double() / C)),
        "the slow clocks turn fast: the speed is divided by a power of 10000": here @ turned(k / speeds),
        "this leaves every position where it is": here,
    })


# q5


def texts(B, T, C):
    def cases(seed):
        generator = _generator(seed)
        x, positions = torch.randn(B + seed % 8, T, C, generator=generator), torch.randn(12, C, generator=generator)
        yield (x, positions, *(torch.randn(3, C, C, generator=generator) / math.sqrt(C)).unbind())
    return cases


def not_after(inputs, answer):
    x, positions, W_q, W_k, W_v = inputs
    got = same_shape(answer, x, "the output", axes=("text", "place", "channel"))
    plain = attention(x @ W_q, x @ W_k, x @ W_v)
    added = torch.from_numpy(got) - plain
    mistakes = {
        "no positions at all": torch.zeros_like(plain),
        "the positions come after the attention, and by text instead of by place":
            positions[: len(x), None].expand_as(plain),
        "the positions come after the attention: what is compared does not know them": positions[: x.shape[1]].expand_as(plain),
    }
    for says, wrong in mistakes.items():
        if torch.allclose(added, wrong.to(added), atol=1e-4):
            raise Wrong(says)
    here, by_text = positions[: x.shape[1]], positions[: len(x), None]
    for places, scale in itertools.product((here, by_text, positions[1 : x.shape[1] + 1]), (None, 1.0)):
        for into in itertools.product((0.0, places), repeat=3):  # queries, keys and values, or some of these
            q, k, v = ((x + there) @ W for there, W in zip(into, (W_q, W_k, W_v)))
            if torch.allclose(torch.from_numpy(got).to(x), attention(q, k, v, scale=scale), atol=1e-4):
                return
    raise Wrong("this is not what attention gives with the positions added to its queries, keys or values")


def head(inputs, answer):
    x, positions, W_q, W_k, W_v = inputs
    not_after(inputs, answer)

    def with_places(q=0.0, k=0.0, v=0.0, scale=None):
        return attention((x + q) @ W_q, (x + k) @ W_k, (x + v) @ W_v, scale=scale)

    here, by_text = positions[: x.shape[1]], positions[: len(x), None]
    close(answer, with_places(here, here, here), "the output", axes=("text", "place", "channel"), mistakes={
        "all places of a text got one vector: the first axis is the batch, time is the second":
            with_places(by_text, by_text, by_text),
        "the places are known to queries and keys, but what is handed out does not say where it stood":
            with_places(here, here),
        "the places are in the values only: the weights do not know them": with_places(v=here),
        "the queries do not know where they stand": with_places(k=here, v=here),
        "the scores are not divided by the root of C": with_places(here, here, here, scale=1.0),
        "the first place is 0: yours begin one later":
            with_places(*3 * (positions[1 : x.shape[1] + 1],)),
    })


# q6


def deals(seed):
    generator = _generator(seed)
    n, d = 8 + seed, 16
    words = torch.randn(n, d, generator=generator) * (1 + 4 * torch.rand(n, 1, generator=generator))
    shuffles = torch.rand(99, n, generator=generator).argsort(-1)
    for share in (0.0, 1.0):
        yield (share * words + torch.randn(n, d, generator=generator), words, shuffles)


def _measured(phrases, words, shuffles):
    cosines = similarity(phrases, words, "cosine").double()
    return cosines.diagonal().mean().item(), cosines[torch.arange(len(words)), shuffles].mean(-1)


def _two(answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two numbers are asked for: the mean cosine and the p-value; yours has {len(answer)}")
    for number, name in zip(answer, ("the mean cosine", "the p-value")):
        is_a(number, float, name)
    return answer


def mean_cosine(inputs, answer):
    phrases, words, shuffles = inputs
    cosines = similarity(phrases, words, "cosine")
    dots = similarity(phrases, words).diagonal()
    close(_two(answer)[0], cosines.diagonal().mean().item(), "the mean cosine", mistakes={
        "this is the cosine of the two means; take the mean of the cosines":
            F.cosine_similarity(phrases.mean(0), words.mean(0), dim=0).item(),
        "this is a mean dot product": dots.mean().item(),
        "this is divided by the length of the phrase only": (dots / phrases.norm(dim=-1)).mean().item(),
        "this is divided by the length of the word only": (dots / words.norm(dim=-1)).mean().item(),
        "this is the mean over all pairs; phrase i belongs to word i": cosines.mean().item(),
    })


def p_value(inputs, answer):
    own, dealt = _measured(*inputs)
    reach, n = (dealt >= own - 1e-6).sum().item(), len(dealt)
    close(_two(answer)[1], (1 + reach) / (1 + n), "the p-value", mistakes={
        "the deal that was found counts as one of the deals, above and below: after 99 others no p-value is 0": reach / n,
        "this is the share of deals that stay *below* what was found": (n - reach) / n,
        "this is the share of deals that stay below, with the one that was found": (1 + n - reach) / (1 + n),
        "every deal reaches what was found: are phrases and words shuffled alike?": 1.0,
    })


SHEET = Sheet("03_vectors", "Vectors", questions=(
    Question("q1", "Lost vectors", function="cosine_of", minutes=10, difficulty=1,
             parts=(Part("the cosine of every triangle", 2, cosine_of, triangles),),
             hints=("Multiply (a - b)·(a - b) out.",
                    "Which of the terms do you know, and which one holds the cosine?")),
    Question("q2", "By chance alone", function="guessed_spread", minutes=5, difficulty=1, seconds=20,
             parts=(Part("the guess is near what is measured", 1, guess),),
             hints=("The dot product of two such vectors is a sum of 64 products of either sign. How large is it, typically?",
                    "And how long is each of the two vectors?")),
    Question("q3", "Bad neighbors", function="nearest", minutes=15, difficulty=2,
             parts=(Part("by dot product", 1, nearest, clouds("dot")),
                    Part("by cosine", 2, nearest, clouds("cosine")),
                    Part("by distance", 2, nearest, clouds("distance"))),
             hints=("Try it on three vectors in the plane that you can see: (2, 1), (6, 0), (4, 2).",
                    "Who is nearest to you?",
                    "`norm(dim=...)` sums over the axis that it is given. Is the largest distance near?")),
    Question("q4", "Three places on", function="shift_matrix", minutes=20, difficulty=3,
             parts=(Part("forward", 3, shift_matrix, ahead),
                    Part("backward, and not at all", 1, shift_matrix, back)),
             hints=("Take C = 2: one clock. Write sin(t + k) and cos(t + k) with sin t and cos t.",
                    "The clocks do not mix: R has blocks of 2 by 2 along its diagonal, and zeros elsewhere.",
                    "P[t] is a row, so column j of R says what goes into channel j.")),
    Question("q5", "Where does the position go in?", function="head", minutes=10, difficulty=2,
             parts=(Part("the positions are there before the attention", 1, not_after, texts(3, 3, 8)),
                    Part("every token knows its own place, and tells", 2, head, texts(2, 5, 8))),
             hints=("If two tokens change places, which numbers of the function change?",
                    "x is (B, T, C). Which of its axes are the places, and what does [:, None] do?")),
    Question("q6", "Belonging together", function="shuffling_test", minutes=20, difficulty=3,
             parts=(Part("the mean cosine", 1, mean_cosine, deals),
                    Part("the p-value", 3, p_value, deals)),
             hints=("Compute the cosines of all phrases with all words once; every deal picks n of them.",
                    "Does a deal that is exactly as good as yours count against you?",
                    "Count the deal that was found among the deals, above and below.")),
))
