"""The questions of the chapter on gradients: slopes by hand, a way back, an operation, a shape, a rate."""

import math

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, count, is_a
from tinyllm.autograd import Value

# q1


def _tuple(answer, length, what):
    answer = _as_list(answer)
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != length:
        raise Wrong(f"{what} are asked for, {length} numbers; yours returned {count(len(answer), 'number')}")
    for number in answer:
        is_a(number, float, "a slope")
    return list(answer)


def _as_list(answer):
    return answer.tolist() if isinstance(answer, (np.ndarray, torch.Tensor)) else answer


def _by_hand(answer):
    return _tuple(answer, 4, "the slopes in d, c, a and b")


def _slopes_by_hand():
    a, b = Value(3), Value(5)
    c = a * b
    d = c - a
    (d**2).backward()
    return [node.grad for node in (d, c, a, b)]


def inner_slopes(inputs, answer):
    in_d, in_c = _slopes_by_hand()[:2]
    mine = _by_hand(answer)[:2]
    close(mine[0], in_d, "the slope in d", mistakes={
        "a square has the slope 2d, this is d": in_d / 2,
        "this is the value of L, not its slope": 144.0,
    })
    close(mine[1], in_c, "the slope in c", mistakes={
        "this is the local slope of d in c; it still has to be multiplied by the slope of L in d": 1.0,
        "c stands in d with a plus": -in_c,
    })


def outer_slopes(inputs, answer):
    in_d, in_c, in_a, in_b = _slopes_by_hand()
    mine = _by_hand(answer)[2:]
    close(mine[0], in_a, "the slope in a", mistakes={
        "this is only the path from a through c; another leads from a straight to d": in_c * 5,
        "this is only the path from a straight to d; another leads through c": -in_d,
        "the two paths of a are added, and on one of them there is a minus": in_c * 5 + in_d,
        "this is the slope of d in a; L moves faster than d": 5.0 - 1.0,
        "a product passes on the other factor: the path of a through c is multiplied by b": in_c * 3 - in_d,
    })
    close(mine[1], in_b, "the slope in b", mistakes={
        "this is the local slope of c in b; L moves faster than c": 3.0,
        "a product passes on the other factor: the slope in b is multiplied by a": in_c * 5,
        "what a gets straight from d does not reach b": in_b - in_d,
    })


# q2

RATES = (0.1, 0.5, 1.0, 1.1)


def _descents(steps=3, twice=2.0, sign=-1.0):
    ends = []
    for lr in RATES:
        w = 0.0
        for _ in range(steps):
            w += sign * lr * twice * (w - 5)
        ends.append(w)
    return ends


def _ends(answer):
    answer = _as_list(answer)
    is_a(answer, (tuple, list), "the prediction")
    if len(answer) != len(RATES):
        raise Wrong(f"one number is asked for each of {len(RATES)} rates; yours has {len(answer)}")
    for number in answer:
        is_a(number, float, "a place")
    return list(answer)


def _predicted(which):
    def judge(inputs, answer):
        wrong = {
            "this goes against the direction in which the loss falls": _descents(sign=1.0),
            "the slope of (w - 5)² is twice the distance to 5; this takes the distance":
                _descents(twice=1.0),
            "these are the places after one step; three are asked for": _descents(steps=1),
            "these are the places after two steps; three are asked for": _descents(steps=2),
            "these are the distances to 5 that are left, not the places": [5 - w for w in _descents()],
        }
        mine, measured = _ends(answer), _descents()
        for says, places in wrong.items():  # all four, since some single places are the same
            if np.allclose(mine, places, atol=0.02):
                raise Wrong(says)
        for index in which:
            close(mine[index], measured[index], f"the place at η = {RATES[index]}", rtol=0.01, atol=0.01)
        return "measured: " + ", ".join(f"{measured[i]:.2f} at η = {RATES[i]}" for i in which)
    return judge


# q3

ONE_PATH = ("of the slopes that come back to a number which is used more than once, one has arrived; "
            "they should add up")
OWN_FACTOR = "a product passes back the other factor, and here it is the number's own"
NO_MINUS = "what is subtracted moves the result the other way: its slope lacks a minus"


def _forward(tape):
    values = []
    for operation, *args in tape:
        if operation == "input":
            values.append(args[0])
            continue
        u = [values[i] for i in args]
        compute = {"add": lambda u: u[0] + u[1], "sub": lambda u: u[0] - u[1],
                   "mul": lambda u: u[0] * u[1], "exp": lambda u: math.exp(u[0]),
                   "log": lambda u: math.log(u[0])}[operation]
        values.append(compute(u))
    return values


def _backward(tape, bug=""):
    values = _forward(tape)
    slopes = [0.0] * len(tape)
    slopes[-1] = 1.0
    for i in reversed(range(len(tape))):
        operation, *args = tape[i]
        if operation == "input":
            continue
        u = [values[j] for j in args]
        local = {"add": lambda: (1, 1), "sub": lambda: (1, 1 if bug == NO_MINUS else -1),
                 "mul": lambda: u if bug == OWN_FACTOR else u[::-1],
                 "exp": lambda: (values[i],), "log": lambda: (1 / u[0],)}[operation]()
        for j, slope in zip(args, local):
            slopes[j] = slopes[i] * slope + (0.0 if bug == ONE_PATH else slopes[j])
    return slopes


def _inputs(seed, n):
    rng = np.random.default_rng(seed)
    return rng, [("input", float(x)) for x in rng.uniform(0.5, 2, n)]


def products(seed):
    rng, start = _inputs(seed, 2)
    yield ([*start, ("mul", 0, 1)],)
    yield ([*start, ("mul", 0, 1), ("exp", 2)],)


def differences(seed):
    rng, start = _inputs(10 + seed, 2)
    yield ([*start, ("sub", 0, 1)],)
    yield ([*start, ("exp", 0), ("sub", 1, 2)],)


def used_twice(seed):
    rng, start = _inputs(20 + seed, 2)
    yield ([*start, ("add", 0, 1), ("add", 0, 2)],)
    yield ([*start, ("log", 0), ("add", 2, 0), ("add", 3, 1)],)
    yield ([start[0], ("add", 0, 0)],)
    yield ([*start, ("log", 0), ("mul", 2, 1), ("mul", 3, 2)],)  # the logarithm is a factor, too


def random_tapes(seed):
    rng, tape = _inputs(30 + seed, 3)
    while len(tape) < 12 + seed:
        i, j = (int(k) for k in rng.integers(len(tape), size=2))
        operation = ("add", "sub", "mul", "exp", "log")[int(rng.integers(5))]
        values = _forward(tape)
        if operation == "log" and values[i] < 0.1 or operation == "exp" and values[i] > 2:
            continue
        step = (operation, i) if operation in ("exp", "log") else (operation, i, j)
        if abs(_forward([*tape, step])[-1]) < 20:
            tape.append(step)
    yield (tape,)


def tape_slopes(inputs, answer):
    (tape,) = inputs
    what = "the slope of the result"
    close(answer, _backward(tape), what, axes=("node",), rtol=1e-6, atol=1e-9,
          mistakes={bug: _backward(tape, bug) for bug in (ONE_PATH, OWN_FACTOR, NO_MINUS)})


# q4


def moderate_numbers(seed):
    for number in (0.5 + seed % 9, -0.8 - seed % 9 / 2, 0.0):
        yield (number,)


def large_numbers(seed):
    for number in (400.0 + 100 * seed, -800.0):
        yield (number,)


def _three(answer):
    return _tuple(answer, 3, "the value and two slopes")


def tanh_value(inputs, answer):
    (x,) = inputs
    close(_three(answer)[0], math.tanh(x), "tanh", mistakes={
        "the two exponentials of the numerator are subtracted, not added": 1.0,
        "tanh(-x) = -tanh(x): the sign is the other way": -math.tanh(x),
    })


def tanh_slope(inputs, answer):
    (x,) = inputs
    tanh = math.tanh(x)
    if x and _three(answer)[1] == 0.0:
        raise Wrong("the slope is 0: does the new value know which value it was computed from?")
    close(_three(answer)[1], 1 - tanh**2, "the slope of tanh", mistakes={
        "in 1 - tanh² the square is of the value of tanh, not of its input": 1 - x * x,
        "the slope is 1 - tanh², with a square": 1 - tanh,
        "the slope of one divided by the other is not the slope of tanh: this is 1": 1.0,
    })


def tanh_in_a_graph(inputs, answer):
    (x,) = inputs
    tanh = math.tanh(2 * x)
    close(_three(answer)[2], tanh + x * 2 * (1 - tanh**2), "the slope of x·tanh(2x)", mistakes={
        "nothing comes back through tanh: only the path beside it is counted": tanh,
        "the 2 inside of tanh is another factor of the path through it": tanh + x * (1 - tanh**2),
        "only the path through tanh is counted; x stands in front of it, too": x * 2 * (1 - tanh**2),
    })


def tanh_far_out(inputs, answer):
    tanh_value(inputs, answer)
    (x,) = inputs
    value, slope, product = _three(answer)
    if not all(map(math.isfinite, (slope, product))):
        raise Wrong(f"at x = {x:g} a slope is {slope:g}: tanh is flat there, and no exponential is needed")
    close(slope, 0.0, "the slope of tanh far out")


# q5


def same_shapes(seed):
    generator = torch.Generator().manual_seed(seed)
    for shape in [(3 + seed,), (4, 1), (2, 3 + seed)]:
        yield tuple(torch.randn(2, *shape, generator=generator))


def columns_and_vectors(seed):
    generator = torch.Generator().manual_seed(10 + seed)
    n = 3 + seed
    for one, other in [((n, 1), (n,)), ((n,), (n, 1)), ((n, 3, 1), (n, 3)), ((1, n), (n,)), ((1, 1), (1,))]:
        yield torch.randn(one, generator=generator), torch.randn(other, generator=generator)


def _error(inputs):
    predictions, targets = inputs
    return predictions - targets.reshape(predictions.shape)


def _loss_and_gradient(answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"the loss and its gradient are asked for; yours returned {count(len(answer), 'thing')}")
    return answer


def error_loss(inputs, answer):
    predictions, targets = inputs
    error = _error(inputs)
    mistakes = {"this is the sum of the squares, not their mean": error.square().sum()}
    try:
        every = (predictions - targets).square().mean()
        mistakes["every prediction was compared with every target: what shape has the error?"] = every
    except RuntimeError:  # these two shapes do not broadcast
        pass
    close(_loss_and_gradient(answer)[0], error.square().mean(), "the loss", mistakes=mistakes)


def error_gradient(inputs, answer):
    predictions, targets = inputs
    error = _error(inputs)
    gradient = _loss_and_gradient(answer)[1]
    if isinstance(gradient, torch.Tensor) and gradient.shape != predictions.shape:
        raise Wrong(f"the gradient has a slope for each prediction, so it has their shape "
                    f"{tuple(predictions.shape)}; yours has {tuple(gradient.shape)}")
    close(gradient, 2 * error / error.numel(), "the gradient", mistakes={
        "this is the gradient of the summed squares; the loss is their mean": 2 * error,
        "a square has a slope of twice what is squared": error / error.numel(),
        "the sign is the other way: this is where the loss falls": -2 * error / error.numel(),
    })


def error_same(inputs, answer):
    error_loss(inputs, answer)
    error_gradient(inputs, answer)


# q6


def one_parameter(seed):
    generator = torch.Generator().manual_seed(seed)
    for n in (1, 6 + seed):
        yield (torch.randn(n, 1, generator=generator, dtype=torch.float64) + 1,)


def several_parameters(seed):
    generator = torch.Generator().manual_seed(20 + seed)
    for n, d in [(20, 2), (9 + seed, 4)]:
        X = torch.randn(n, d, generator=generator, dtype=torch.float64)
        yield (X * torch.linspace(0.5, 3, d, dtype=torch.float64) + 1,)  # with a mean: the columns agree


def _climbs(X, lr):
    """Whether descent on mean((Xw - y)²) at this rate leads away from the bottom."""
    torch.manual_seed(0)
    w = start = torch.randn(X.shape[1], dtype=torch.float64)
    for _ in range(5000):
        w = w - lr * 2 * X.T @ (X @ w) / len(X)
        if not w.norm() < 1e6 * start.norm():
            return True
    return bool((X @ w).norm() > (X @ start).norm())


def rate_limit(inputs, answer):
    (X,) = inputs
    is_a(answer, float, "the rate")
    curvature = torch.linalg.eigvalsh(2 * X.T @ X / len(X))
    limit = 2 / curvature[-1].item()
    rate = float(answer)
    if abs(rate / limit - 1) < 1e-4:
        return
    diagonal = (2 * X.square().mean(0)).max().item()
    known = {
        "the square in the loss gives the curvature a factor of 2": 2 * limit,
        "at this rate one step reaches the bottom along the steepest direction; the limit is further up":
            limit / 2,
        "the loss is a mean over the rows, and this takes their sum": limit / len(X),
        "a rate has to do for the steepest direction; this is the limit of the flattest":
            2 / curvature[0].item(),
        "this is the limit of each parameter by itself; where the columns agree, moving several at once is "
        "steeper": 2 / diagonal,
        "this adds the curvatures of all directions; only the largest sets the limit":
            2 / curvature.sum().item(),
        "this is a curvature; the rate falls as the curvature grows": curvature[-1].item(),
    }
    for says, wrong in known.items():
        if abs(rate / wrong - 1) < 1e-4:
            raise Wrong(says)
    if not rate > 0:
        raise Wrong(f"a rate is positive; yours is {rate:.4g}")
    if rate > limit:
        climbs = "tried: at this rate the loss climbs" if _climbs(X, rate) else "it lies above the limit"
        raise Wrong(f"{rate:.4g} is too large; {climbs}")
    raise Wrong(f"{rate:.4g} is too small: a larger rate still arrives at the bottom")


SHEET = Sheet("gradients", "Gradients", questions=(
    Question("q1", "Four slopes by hand", function="by_hand", minutes=8, difficulty=1, parts=(
        Part("the slopes in d and c", 1, inner_slopes),
        Part("the slopes in a and b", 2, outer_slopes),
    ), hints=(
        "Begin at L: how fast does it move with d?",
        "How many paths lead from a to L?",
    )),
    Question("q2", "Three steps", function="predict_descent", minutes=8, difficulty=1, parts=(
        Part("the two smaller rates", 1, _predicted((0, 1))),
        Part("the two larger rates", 1, _predicted((2, 3))),
    ), hints=(
        "What does one step do to the distance w - 5?",
        "The slope of (w - 5)² is 2 (w - 5), so the distance is multiplied by the same number in each step.",
    )),
    Question("q3", "Three bugs on the way back", function="slopes", minutes=12, difficulty=2, parts=(
        Part("through a product", 1, tape_slopes, products),
        Part("through a difference", 1, tape_slopes, differences),
        Part("to a number that is used twice", 1, tape_slopes, used_twice),
        Part("through any graph", 1, tape_slopes, random_tapes),
    ), hints=(
        "Do the graph a·b with a = 2 and b = 5 by hand, then the graph a - b.",
        "What happens to a slope that has arrived when another one arrives at the same number?",
    )),
    Question("q4", "One more operation", function="try_tanh", minutes=12, difficulty=2, parts=(
        Part("the value", 1, tanh_value, moderate_numbers),
        Part("its slope", 1, tanh_slope, moderate_numbers),
        Part("as a part of a graph", 1, tanh_in_a_graph, moderate_numbers),
        Part("for large numbers", 1, tanh_far_out, large_numbers),
    ), hints=(
        "A new Value is given its number, the values that it comes from, and one local slope for each.",
        "Look at `exp` and `log` in the class: yours has the same three parts.",
        "`math.tanh` knows what to do far out.",
    )),
    Question("q5", "A loss that does not fall", function="squared_error", minutes=10, difficulty=2, parts=(
        Part("equal shapes", 1, error_same, same_shapes, needs_another=True),
        Part("the loss of a column and a vector", 1, error_loss, columns_and_vectors),
        Part("and its gradient", 1, error_gradient, columns_and_vectors),
    ), hints=(
        "Print the shape of the error for predictions of shape (3, 1) and targets of shape (3,).",
        "Which shape must the gradient have, so that a step can be taken?",
    )),
    Question("q6", "The largest rate", function="largest_rate", minutes=20, difficulty=3, parts=(
        Part("with one parameter", 1, rate_limit, one_parameter),
        Part("with several", 3, rate_limit, several_parameters),
    ), hints=(
        "With one parameter: what is the curvature of mean((x w - y)²)?",
        "With several, the second derivatives form a matrix. Which of its numbers is the curvature along its "
        "steepest direction?",
        "`torch.linalg.eigvalsh` gives the eigenvalues of a symmetric matrix, the smallest first.",
    )),
))
