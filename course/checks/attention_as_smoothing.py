"""Sheet 05: attention as smoothing."""

import math
from itertools import product

import torch

from course.checks import Part, Question, Sheet, Wrong, close, is_a, same_shape
from tinyllm.attention import attention
from tinyllm.smoothing import loocv, nadaraya_watson


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


# q1


def rates(seed):
    yield (0.6,)
    yield (0.9 - 0.1 * (seed % 9),)
    yield (0.99,)


def behind(inputs, answer):
    (r,) = inputs
    is_a(answer, float, "the lag")
    close(answer, r / (1 - r), "the lag", mistakes={
        "the present value has age 0; you count it as 1": 1 / (1 - r),
        "this is Σ a rᵃ; the weights still have to be divided by their sum": r / (1 - r) ** 2,
        "this is one over the sum of the weights: where is the age of the values?": 1 - r,
        "this is h of e^(-a/h), which a moving average in continuous time would lag": -1 / math.log(r),
        "behind is how far the average is below the present value: a positive number": -r / (1 - r),
    })


# q2


def best_bandwidth(noise: float) -> float:
    """The bandwidth of least expected error, in the middle of 400 even points on sin 10x."""
    places = torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
    inside = torch.linspace(0.3, 0.7, 41, dtype=torch.float64)[:, None]

    def error(h):
        estimate, weights = nadaraya_watson(inside, places, torch.sin(10 * places), h, return_weights=True)
        return (estimate - torch.sin(10 * inside)).square().mean() + noise**2 * weights.square().sum(-1).mean()

    return min(torch.logspace(-2.3, -0.8, 150, dtype=torch.float64).tolist(), key=error)


def guess(inputs, answer):
    is_a(answer, float, "the factor")
    if not 0 < answer < math.inf:
        raise Wrong(f"{answer:.3g} is no factor: a bandwidth is positive")
    small, large = best_bandwidth(0.3), best_bandwidth(0.6)
    if abs(answer - 2**0.4) > 0.08:
        for says, power in {"the variance holds σ², not σ": 1 / 5, "h⁴ times h is not h⁴": 1 / 2}.items():
            if abs(answer - 2**power) < 0.01:
                raise Wrong(f"the guess is more than 0.08 away from what 400 points on a sine gave; {says}")
        raise Wrong("the guess is more than 0.08 away from what 400 points on a sine gave: a wider kernel averages more "
                    f"noise away, and pays for it in bias. Does it need {'less' if answer > 2**0.4 else 'more'} than that?")
    return f"you guessed {answer:.2f}; measured: {large / small:.3f}, from a bandwidth of {small:.4f} to {large:.4f}"


# q3


def some_places(seed):
    generator = _generator(seed)
    for d in (1, 2 + seed % 2):
        yield (torch.randn(5, d, generator=generator), torch.randn(7 + seed, d, generator=generator), 3.7)


def lonely_places(seed):
    generator = _generator(seed)
    query = torch.cat([torch.full((1, 2), 40.0), torch.zeros(1, 2)])
    yield (query, 0.2 * torch.randn(5 + seed, 2, generator=generator), 1.5)


def epanechnikov(inputs, answer):
    query, keys, h = inputs
    u = torch.cdist(query, keys) / h
    shape = (1 - u**2).relu()

    def normalized(kernel, axis=-1):
        return (kernel / kernel.sum(axis, keepdim=True)).nan_to_num(0)

    got = same_shape(answer, shape, "the weights", axes=("query", "key"))
    for i, row in enumerate(got):
        if any(math.isnan(weight) for weight in row):
            raise Wrong(f"nan: query {i} has no key in reach, and 0 is divided by 0")
    if (got < 0).any():
        i, j = (int(index[0]) for index in (got < 0).nonzero())
        raise Wrong(f"the weight of query {i} on key {j} is negative: beyond the bandwidth the kernel is 0")
    close(answer, normalized(shape), "the weights", axes=("query", "key"), mistakes={
        "this is the triangular kernel, 1 - u: Epanechnikov's is an arch, not a tent": normalized((1 - u).relu()),
        "the distance is divided by h and then squared; here only the distance is squared":
            normalized((1 - u**2 * h).relu()),
        "the distance is divided by h², not by h": normalized((1 - (u / h) ** 2).relu()),
        "the kernel has to be divided by its sum over the keys: these rows do not sum to 1": 0.75 * shape,
        "these rows do not sum to 1": shape,
        "the weights are normalized over the queries, not over the keys": normalized(shape, 0),
        "all keys together share a sum of 1; each query needs its own": shape / shape.sum(),
        "everything within reach counts the same here: that is the uniform kernel": normalized((u <= 1).float()),
        "a softmax over the kernel's values is not the kernel": torch.softmax(0.75 * shape, -1),
        "a softmax over 1 - u² is not the kernel": torch.softmax(shape, -1),
    })


# q4


def lost_keys(seed):
    generator = _generator(seed)
    for d in (9, 64):
        q, k, v = (torch.randn(n, m, generator=generator) for n, m in ((3, d), (5 + seed, d), (5 + seed, 2)))
        yield (torch.cdist(q, k), k.norm(dim=-1), v, d)


def equal_keys(seed):
    generator = _generator(seed)
    q, k, v = (torch.randn(n, m, generator=generator) for n, m in ((3, 25), (5 + seed, 25), (5 + seed, 2)))
    k = 4 * torch.nn.functional.normalize(k, dim=-1)
    yield (torch.cdist(q, k), k.norm(dim=-1), v, 25)  # with 16, forgetting a half would look like √h


def from_distances(inputs, answer):
    distances, lengths, v, d = inputs
    near, long = -(distances**2) / 2, lengths**2 / 2

    def answered(scores, axis=-1):
        return torch.softmax(scores, axis) @ v

    right = answered((near + long) / math.sqrt(d))
    kernel = torch.exp((near + long - long.max()) / math.sqrt(d))
    close(answer, right, "the output", axes=("query", "channel"), mistakes={
        "the lengths of the keys are forgotten: this is a plain Gaussian smoother": answered(near / math.sqrt(d)),
        "h² is √d; you divide by d, as if h were": answered((near + long) / d),
        "h² is √d, so h is its root; here h itself is divided by": answered((near + long) / d**0.25),
        "nothing divides the scores: where is √d?": answered(near + long),
        "the factor ½ is missing: 2 q·k is what the squares give": answered(2 * (near + long) / math.sqrt(d)),
        "a long key gets less weight here than a short one at the same distance": answered((near - long) / math.sqrt(d)),
        "the distances are not squared": answered((-distances / 2 + long) / math.sqrt(d)),
        "the lengths are not squared": answered((near + lengths / 2) / math.sqrt(d)),
        "the key weights scale the values, but not the sum that they are divided by":
            torch.softmax(near / math.sqrt(d), -1) * torch.exp(long / math.sqrt(d)) @ v,
        "the softmax runs over the queries": answered((near + long) / math.sqrt(d), 0),
        "the weights do not sum to 1": kernel @ v,
    })


# q5


def _rewritten(q, k, generator):
    """The same head, in four writings."""
    d = q.shape[-1]
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    stretch = torch.diag(torch.linspace(0.5, 2, d))
    shift = torch.randn(d, generator=generator)
    return (
        (4 * q, k / 4),
        (q, k + shift),
        (q @ turn, k @ turn),
        (q @ turn @ stretch, (k + shift) @ turn @ stretch.inverse()),
    )


def _others(q, k, generator):
    """Other heads, which have something in common with it."""
    d = q.shape[-1]
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    return (
        (q + torch.randn(d, generator=generator), k),  # not the keys but the queries shifted
        (q @ turn, k),
        (2 * q, k),  # the same key wins
        (q, k + 0.3 * torch.randn(k.shape, generator=generator)),  # the keys shifted apart
        (q, torch.cat([2 * k[:1], k[1:]])),
        (q, k.roll(1, 0)),  # the same weights for other keys
    )


def _head(seed):
    generator = _generator(seed)
    d = 4 + 2 * seed
    return torch.randn(5, d, generator=generator), torch.randn(6 + seed, d, generator=generator), generator


def two_writings(seed):
    q, k, generator = _head(seed)
    for other in _rewritten(q, k, generator) + _others(q, k, generator):
        yield (q, k, *other)


def told_apart(inputs, answer):
    q, k, other_q, other_k = inputs
    if isinstance(answer, torch.Tensor) and answer.dtype == torch.bool and answer.ndim == 0:
        answer = answer.item()
    is_a(answer, bool, "the answer")
    root = math.sqrt(q.shape[-1])
    scores, others = q @ k.T / root, other_q @ other_k.T / root
    same = torch.allclose(torch.softmax(scores, -1), torch.softmax(others, -1), rtol=0, atol=1e-4)
    if answer == same:
        return None
    if same:
        raise Wrong("you say no, but every query gets the same weights from both: " + (
            "the scores are equal, too, though queries and keys are not" if torch.allclose(scores, others, atol=1e-4)
            else "the scores of a query differ by one number for all keys, which the softmax does not see"))
    i = int((torch.softmax(scores, -1) - torch.softmax(others, -1)).abs().sum(-1).argmax())
    wins = bool((scores.argmax(-1) == others.argmax(-1)).all())
    raise Wrong(f"you say yes, but the weights of query {i} differ" + (
        "; that the same key wins for every query is not enough" if wins else ""))


# q6


def measured_places(seed):
    generator = _generator(seed)
    for d, h in ((1, 0.3), (2, 0.6)):
        x = torch.rand(12 + seed, d, dtype=torch.float64, generator=generator)
        yield (x, torch.sin(5 * x[:, :1]) + 0.2 * torch.randn(12 + seed, 1, dtype=torch.float64, generator=generator), h)


def narrow(seed):
    ((x, y, _), _) = measured_places(seed)
    yield (x, y, 1e-4)


def left_out(inputs, answer):
    x, y, h = inputs
    is_a(answer, float, "the error")
    if math.isnan(answer):
        raise Wrong("nan: far from all others every exp(-u²/2) is 0, and 0 is divided by 0; what could be subtracted from each row's scores first?")
    squared = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    hole = torch.eye(len(x), dtype=torch.bool)

    def residuals(table=False, itself=False, variance=False, axis=-1):
        scores = torch.where(hole, 0.0 if itself else -math.inf, -squared / (2 * h if variance else 2 * h**2))
        return (torch.softmax(scores.flatten(), 0).view_as(scores) if table else torch.softmax(scores, axis)) @ y - y

    right = loocv(x, y, [h])[0].item()
    for table, itself, variance, absolute in product((True, False), repeat=4):
        wrong_by = residuals(table, itself, variance)
        error = (wrong_by.abs() if absolute else wrong_by.square()).mean().item()
        # Of several faults only the first is named.
        if near(answer, error) and not near(answer, right):
            raise Wrong("all weights of the table sum to 1 together; the weights of each point should" if table
                        else "the diagonal is not masked: a score of 0 is the highest there is, and each point predicts itself"
                        if itself else "h stands where h² belongs" if variance else "this is the mean absolute error")
    after = torch.softmax(-squared / (2 * h**2), -1).masked_fill(hole, 0) @ y - y
    close(answer, right, "the error", rtol=1e-6, atol=1e-9, mistakes={
        "the diagonal is set to 0 after the softmax: what is left of the weights does not sum to 1":
            after.square().mean().item(),
        "the softmax runs over the points that are predicted, not over those that predict":
            residuals(axis=0).square().mean().item(),
        "this is the root of the error": math.sqrt(right),
        "this is the sum of the squared errors, not their mean": residuals().square().sum().item(),
    })


# q7


def _truth(x, matter):
    return torch.sin(2 * x[:, matter]).sum(-1, keepdim=True)


def _matter(seed):
    return [seed % 4] if seed % 2 else [seed % 4, (seed + 1) % 4]


def four_channels(seed):
    generator = _generator(seed)
    x = torch.rand(150, 4, generator=generator) * 4 - 2
    yield (x, _truth(x, _matter(seed)) + 0.1 * torch.randn(150, 1, generator=generator))


def bandwidths(inputs, answer):
    x, y = inputs
    got = same_shape(answer, x[0], "the bandwidths", axes=("channel",))
    if not (got > 0).all():
        raise Wrong("a bandwidth has to be positive: learn its logarithm")
    h = torch.tensor(got, dtype=x.dtype)
    seed = next(seed for seed in range(1000) if torch.equal(next(four_channels(seed))[0], x))
    new = torch.rand(500, 4, generator=_generator(1000 + seed)) * 4 - 2
    truth = _truth(new, _matter(seed))

    def error(h):
        return (nadaraya_watson(new / h, x / h, y, 1.0) - truth).square().mean().item()

    one_bandwidth = min(error(torch.full((4,), h)) for h in torch.logspace(-1, 0.5, 30).tolist())
    reached = error(h)
    if reached <= 0.4 * one_bandwidth:
        return f"on 500 new points: {reached:.3f}; the best single bandwidth reaches {one_bandwidth:.3f}"
    if error(1 / h) <= 0.4 * one_bandwidth:
        raise Wrong("one over these bandwidths does well: x is divided by a bandwidth, not multiplied by it")
    own = nadaraya_watson(x / h, x / h, y, 1.0, return_weights=True)[1].diagonal().mean()
    if own > 0.9:
        raise Wrong("with these bandwidths nearly every point is alone: does the loss leave each point out of its own mean?")
    if got.max() < 1.05 * got.min():
        raise Wrong("all channels have the same bandwidth, but they do not matter equally")
    raise Wrong(f"the error on new points is {reached:.3f}; one bandwidth for all channels reaches {one_bandwidth:.3f}, "
                "and you should get well below it")


SHEET = Sheet("05_attention_as_smoothing", "Attention II: a smoother", questions=(
    Question("q1", "How late?", function="behind", minutes=10, difficulty=1,
             parts=(Part("the lag at every rate", 2, behind, rates),),
             hints=("On a straight line the mean of past values is the value at the mean age.",
                    "Σ rᵃ is 1/(1 - r). Differentiate it by r to get a sum with a in it.")),
    Question("q2", "A worse instrument", function="guessed_factor", minutes=10, difficulty=1, seconds=20,
             parts=(Part("the guess is near what is measured", 1, guess),),
             hints=("If only variance counted, one would average over everything; if only bias, over nothing.",
                    "Where h⁴ and σ²/h balance, which power of h goes with which power of σ?")),
    Question("q3", "An arch, not a bell", function="epanechnikov_weights", minutes=15, difficulty=2,
             parts=(Part("the weights where every query has neighbors", 2, epanechnikov, some_places),
                    Part("a query that is out of reach of all keys", 1, epanechnikov, lonely_places)),
             hints=("What does 1 - u² do beyond u = 1?",
                    "`torch.where(total > 0, a, 0.0)` takes `a` only where there is something to divide by.")),
    Question("q4", "Attention without dot products", function="attention_from_distances", minutes=15, difficulty=2,
             parts=(Part("keys of one length", 1, from_distances, equal_keys),
                    Part("keys of any length", 2, from_distances, lost_keys)),
             hints=("Write |q - k|² out, and solve for q·k.",
                    "Which of the terms is the same for all keys of a query?")),
    Question("q5", "One head or two?", function="same_head", minutes=15, difficulty=2,
             parts=(Part("one head in other writings, and other heads", 3, told_apart, two_writings),),
             hints=("Which of the numbers of a head are the same however it is written?",
                    "The softmax does not see what all scores of a query share.")),
    Question("q6", "Four faults", function="leave_one_out_error", minutes=20, difficulty=2,
             parts=(Part("the error at ordinary bandwidths", 3, left_out, measured_places),
                    Part("the error at a bandwidth that reaches hardly anyone", 1, left_out, narrow)),
             hints=("Print the sum of each row of the weights, and the diagonal.",
                    "Which score means: this one may not be used?",
                    "What units has h, and what units has a squared distance?")),
    Question("q7", "A bandwidth for each channel", function="learn_bandwidths", minutes=30, difficulty=3, seconds=60,
             parts=(Part("on new points it is well below the best single bandwidth", 4, bandwidths, four_channels),),
             hints=("The loss is the leave-one-out error of the smoother of x / h.",
                    "Start with all bandwidths at 1, and let Adam move their logarithms with lr=0.1.",
                    "Print the bandwidths of the first seed: what should happen to a channel that does not matter?")),
))
