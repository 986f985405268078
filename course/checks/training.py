"""Sheet 08: training."""

import math
from itertools import product

import torch
from torch.nn import functional as F

from course.checks import Part, Question, Sheet, Wrong, close, is_a, same_shape


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def turn(inputs, answer):
    is_a(answer, int, "the step")
    before, weight, m, v, t = math.inf, 0.0, 0.0, 0.0, 0
    while weight < before:  # AdamW, by its formulas
        before, t, g = weight, t + 1, 1.0 if t < 1000 else -1.0
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        weight -= 0.001 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    measured = t - 1000
    if answer < 1:
        raise Wrong(f"the first step with the new gradient is number 1; there is no step {answer}")
    if answer > measured + 2:
        raise Wrong("later than it does: the weight turns where the mean of the gradients changes its sign, "
                    "not where the old ones are forgotten")
    if answer < measured - 2:
        raise Wrong("sooner than it does: the mean still holds the gradients from before")
    return f"you guessed {answer}; measured: {measured}"


# q2


def gentle(seed):
    yield (0.1, 1.0, 1.0)
    yield (0.5, 1.0 + seed / 5, 4.0)
    yield (0.2, 3.0, 0.25 + seed)


def wild(seed):
    yield (2.5, 1.0, 1.0)
    yield (0.5 + 0.1 * seed, 4.0, 2.0)
    yield (1.5, 1.0, 1.0 + seed)


def variance(inputs, answer):
    rate, a, noise = inputs
    is_a(answer, float, "the variance")
    keeps = (1 - rate * a) ** 2
    if keeps >= 1:
        if answer != math.inf:
            raise Wrong(f"at rate {rate:.3g} and curvature {a:.3g} a step multiplies the weight by {1 - rate * a:.3g}: "
                        "nothing of the variance is lost, and each step adds to it; there is no end to it")
        return
    if answer == math.inf:
        raise Wrong(f"at rate {rate:.3g} and curvature {a:.3g} the weight shrinks to {abs(1 - rate * a):.3g} of its "
                    "size in a step, so the variance stays finite")
    close(answer, rate**2 * noise / (1 - keeps), "the variance", rtol=1e-6, atol=0, mistakes={
        "this is the noise of a single step; those of all earlier steps are still there, smaller": rate**2 * noise,
        "this holds for small rates only: in the square of 1 - ηa you left out the square of ηa":
            rate * noise / (2 * a),
        "a variance is multiplied by the square of the factor, so (1 - ηa)² is what remains of it":
            rate * noise / a,
        "the noise enters a step times η, its variance times the square of η": noise / (1 - keeps),
        "this forgets the curvature": rate * noise / (2 - rate),
        "this is the standard deviation, not the variance": math.sqrt(rate**2 * noise / (1 - keeps)),
    })


# q3


def _batch(seed, B, n_parts, max_norm):
    generator = _generator(seed)
    W, x = torch.randn(5, 4, generator=generator), torch.randn(B, 5, generator=generator)
    return (W, x, torch.randint(4, (B,), generator=generator), n_parts, max_norm)


def short(seed):
    yield _batch(seed, 6, 1, 100.0)
    yield _batch(seed + 10, 4, 1, 50.0)


def equal_parts(seed):
    yield _batch(seed, 12, 3, 100.0)
    yield _batch(seed + 10, 8, 4, 100.0)


def unequal_parts(seed):
    yield _batch(seed, 7, 4, 100.0)
    yield _batch(seed + 10, 10, 3, 0.1)
    yield _batch(seed + 20, 7, 2, 0.2)


def _parts(inputs):
    """The gradient of each part, and its number of rows."""
    W, x, y, n_parts, _ = inputs
    for x_part, y_part in zip(x.chunk(n_parts), y.chunk(n_parts)):
        leaf = W.clone().requires_grad_()
        F.cross_entropy(x_part @ leaf, y_part).backward()
        yield leaf.grad, len(x_part)


def _clipped(parts, max_norm, keep="all", weight="rows", clip="sum", stretch=False):
    """The gradient from its parts, with the mistakes that people make."""
    B = sum(rows for _, rows in parts)

    def shorten(g):
        scale = max_norm / g.norm()
        return g * (scale if stretch else min(1.0, scale))

    total = 0
    for g, rows in parts:
        g = g * {"rows": rows / B, "parts": 1 / len(parts), "none": 1}[weight]
        g = shorten(g) if clip == "parts" else g
        total = g if keep == "last" else total + g
        total = shorten(total) if clip == "sum so far" else total
    return shorten(total) if clip == "sum" else total


KEEP = {"only the last part is left: the gradient is thrown away before each of them": "last"}
WEIGHT = {
    "the parts are added up as if each were a whole batch: a mean over the batch gives each row the same share, 1/B":
        "none",
    "all parts count alike; the last has fewer rows, and each row should count alike": "parts",
}
CLIP = {
    "every part is shortened by itself; the gradient is only whole when all parts are in it": "parts",
    "the sum is shortened after each part; the gradient is only whole when all parts are in it": "sum so far",
}
STRETCH = {"a gradient that is short enough gets longer: it should stay as it is": True}


def clipped(inputs, answer):
    parts, max_norm = list(_parts(inputs)), inputs[-1]
    right = _clipped(parts, max_norm)
    got = torch.as_tensor(same_shape(answer, right, "the gradient", axes=("input", "token"))).to(right.dtype)
    kinds = [{"": correct} | wrong for correct, wrong in
             (("all", KEEP), ("rows", WEIGHT), ("sum", CLIP), (False, STRETCH))]
    # Few mistakes before many; and of several only the first is named.
    for says in sorted(product(*kinds), key=lambda says: sum(map(bool, says))):
        named = [what for what in says if what]
        value = _clipped(parts, max_norm, *(kind[what] for kind, what in zip(kinds, says)))
        if named and torch.allclose(got, value, 1e-4, 1e-5) and not torch.allclose(got, right, 1e-4, 1e-5):
            raise Wrong(named[0])
    close(answer, right, "the gradient", axes=("input", "token"))


# q4


def scores(seed):
    generator = _generator(seed)
    for n in (80, 150 + 7 * seed):
        hard = torch.randn(n, generator=generator)
        a = 1.5 + 0.3 * hard + 0.05 * torch.randn(n, generator=generator)
        yield (a, 1.47 + 0.3 * hard + 0.05 * torch.randn(n, generator=generator))


def _triple(answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 3:
        raise Wrong(f"expected three numbers, (difference, error, blocks), yours has {len(answer)}")


def difference(inputs, answer):
    a, b = inputs
    _triple(answer)
    close(answer[0], float(b.mean() - a.mean()), "the difference", rtol=1e-3, mistakes={
        "the sign is wrong: A's mean is subtracted from B's, and B has the lower losses": float(a.mean() - b.mean()),
    })


def error(inputs, answer):
    a, b = inputs
    _triple(answer)
    n, s = len(a), (b - a).std()
    close(answer[1], float(s / n**0.5), "the standard error", rtol=1e-3, mistakes={
        "this is the error of two separate texts: what is hard for both models cancels in the difference":
            float(((a.var() + b.var()) / n).sqrt()),
        "this is how far single blocks scatter; their mean is surer than that": float(s),
        "the scatter of the difference is divided by n, not by its root": float(s / n),
        "this is the error of one model alone": float(b.std() / n**0.5),
        "this is the difference of two standard deviations, not the one of the differences":
            abs(float(b.std() - a.std())) / n**0.5,
    })


def blocks(inputs, answer):
    a, b = inputs
    _triple(answer)
    is_a(answer[2], int, "the number of blocks")
    d = (b - a).double()
    exact = float((2 * d.std() / d.mean()) ** 2)
    wrong = {
        "this makes the difference one standard error; two were asked for": exact / 4,
        "with the error of the mean instead of the scatter of a block: that is no number of blocks":
            exact / len(d),
        "the ratio has to be squared: the error falls with the root of n": exact**0.5,
    }
    fitting = [says for says, other in wrong.items() if answer[2] == math.ceil(other) != math.ceil(exact)]
    if len(fitting) == 1:  # where two mistakes give one number, neither is named
        raise Wrong(fitting[0])
    if answer[2] < exact - 1e-3 * exact:
        raise Wrong(f"with {answer[2]} blocks the difference is less than two standard errors")
    if answer[2] > 1.001 * exact + 1:
        raise Wrong(f"{answer[2]} blocks are more than needed")
    return f"the difference is {abs(d.mean()) / d.std() * len(d) ** 0.5:.1f} standard errors; on two separate texts " \
           f"it would be {abs(d.mean()) / ((a.var() + b.var()) / len(d)).sqrt():.1f}"


# q5


def near_one(seed):
    yield (1.0,)
    yield (1.5 + seed / 8,)


def all_sizes(seed):
    for weight in (0.02, 0.7 + seed, 3e-5, 100.0):
        yield (torch.tensor(weight).bfloat16().item(),)


def lost(inputs, answer):
    (weight,) = inputs
    is_a(answer, float, "the bound")
    exponent = math.floor(math.log2(weight))
    close(answer, 2.0 ** (exponent - 8), f"the bound at {weight:.4g}", rtol=1e-6, atol=0, mistakes={
        "this is the distance to the next number; what is less than half of it is rounded down":
            2.0 ** (exponent - 7),
        "this is half of half the distance: with 7 bits behind the 1, the last of them stands for 1/128":
            2.0 ** (exponent - 9),
        "between two powers of 2 all numbers are equally far apart: the bound does not grow with each of them":
            weight * 2.0**-8,
        "this holds for weights from 1 to 2; the exponent moves the last bit, too": 2.0**-8,
        "these are the 10 bits of float16": 2.0 ** (exponent - 11),
        "these are the 23 bits of float32": 2.0 ** (exponent - 24),
    })
    w = torch.tensor(weight).bfloat16()
    moved = [(w + torch.tensor(share * answer)).bfloat16() != w for share in (0.99, 1.01)]
    if moved != [False, True]:
        raise Wrong("the bound is not where the weight begins to move")
    return f"at {weight:.4g} an update of 0.99 times your bound is lost, one of 1.01 times is not"


# q6


def gradients(*lengths):
    def cases(seed):
        for shape in ((3, 3), (2 + seed, 5), (6, 4)):
            for length in lengths:
                yield (torch.randn(shape, generator=_generator(seed)), length)

    return cases


def _length(D, kind):
    return {"frobenius": D.norm(), "entry": D.abs().max(), "spectral": torch.linalg.matrix_norm(D, 2)}[kind].item()


def steep(inputs, answer):
    G, kind = inputs
    D = torch.as_tensor(same_shape(answer, G, "D", axes=("row", "column"))).double()
    if not D.isfinite().all():
        raise Wrong("D holds numbers that are not finite")
    G = G.double()
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    right = {"frobenius": G / G.norm(), "entry": G.sign(), "spectral": U @ Vh}
    if _length(D + right[kind], kind) < 1e-3:
        raise Wrong("this D points uphill: the step is −ηD, so D has to go with G")
    for other in right:
        if other != kind and (D - right[other]).abs().max() < 1e-3:
            raise Wrong(f'for "{kind}" this is the answer to another question, that of "{other}"')
    longest = (G / _length(G, kind)).double()
    found, best = (D * G).sum(), (right[kind] * G).sum()
    if _length(D, kind) > 1 + 1e-3:
        raise Wrong(f'D is {_length(D, kind):.3g} long in the sense of "{kind}"; at most 1 is allowed')
    if found < (1 - 1e-3) * best:
        if kind != "frobenius" and (D - longest).abs().max() < 1e-3:
            more = {"entry": "all entries but the largest", "spectral": "all singular values but the largest"}[kind]
            raise Wrong(f'this is G itself, made short enough for "{kind}": {more} could still grow')
        raise Wrong(f'for "{kind}" there is a D, at most 1 long, that lowers the loss by '
                    f"{best / found:.3g} times as much" if found > 0 else "a step along −D does not lower the loss")
    return f'"{kind}": the loss falls by {found:.2f} η'


SHEET = Sheet("08_training", "Training", questions=(
    Question("q1", "A gradient turns around", function="guessed_turn", minutes=5, difficulty=1,
             parts=(Part("the guess is near what is measured", 1, turn),),
             hints=("The weight moves against the sign of m. What is m after n gradients of −1?",
                    "What was there is multiplied by 0.9 each time; what is new has the rest of the weight.")),
    Question("q2", "The rest that never comes", function="resting_variance", minutes=15, difficulty=2,
             parts=(Part("low rates", 2, variance, gentle),
                    Part("rates so high that the weight overshoots", 1, variance, wild)),
             hints=("Write the next θ as a number times θ plus a number times ε.",
                    "θ and the new ε are independent, so their variances add; a factor counts squared.")),
    Question("q3", "Four bugs in eight lines", function="clipped_gradient", minutes=15, difficulty=2,
             parts=(Part("one part, and a gradient that is short enough", 1, clipped, short),
                    Part("equal parts", 2, clipped, equal_parts),
                    Part("unequal parts, and a gradient that is too long", 2, clipped, unequal_parts)),
             hints=("With one part and a huge max_norm, nothing at all should happen to the gradient.",
                    "Which rows of the batch have a say in what is returned?",
                    "A mean over 10 rows gives each a tenth. What does a row of the last part get here?")),
    Question("q4", "Is B better than A?", function="compare", minutes=15, difficulty=2,
             parts=(Part("the difference", 1, difference, scores),
                    Part("its standard error", 2, error, scores),
                    Part("the number of blocks", 1, blocks, scores)),
             hints=("What is the loss of B on a block that A finds hard?",
                    "Make one list of numbers out of two, and take its mean and its scatter.",
                    "The error is the scatter divided by the root of n. Ask for half the difference, and solve for n.")),
    Question("q5", "Too small to count", function="lost_below", minutes=10, difficulty=2,
             parts=(Part("weights between 1 and 2", 1, lost, near_one),
                    Part("weights of any size", 2, lost, all_sizes)),
             hints=("Which number follows 1 if there are 7 bits behind it?",
                    "To which of its two neighbors is a number rounded?",
                    "How do the neighbors of 100 differ from those of 1?")),
    Question("q6", "Three steepest ways down", function="steepest", minutes=25, difficulty=3,
             parts=(Part("a bound on the sum of squares", 1, steep, gradients("frobenius")),
                    Part("a bound on every entry", 1, steep, gradients("entry")),
                    Part("a bound on the singular values", 2, steep, gradients("spectral"))),
             hints=("Two vectors of given length have the largest dot product when they point the same way.",
                    "With a bound on every entry, each entry can be chosen for itself.",
                    "Write G = U S Vᵀ. Then the sum of G * D is the sum of the diagonal of S times Uᵀ D V, "
                    "and how large can a diagonal entry of that be?")),
))
