"""The words in which a sheet describes its questions. The same judges serve the notebook and the grader.

How to write a sheet
--------------------
The questions of `solutions/01_tokens.py` live in `course/checks/tokens.py`, which defines one name, `SHEET`.
Each question is answered by one function of a given name; the learner may put helpers beside it.

A question is made of parts, which earn their points separately, easy ones first (after an endless loop the
later parts are not run). A part has a sentence that says what it checks, `cases` and a `judge`:

- `cases(seed)` yields tuples: the positional arguments of one call. They hold plain values only: numbers,
  str, bytes, lists, tuples, dicts, sets, numpy arrays, torch tensors. The notebook runs the seeds 0 to 2, the
  grader 0 to 4; let a seed change the shapes too. A question without inputs (a derivation, a prediction) has
  no `cases`: its function is called once, without arguments.
- `judge(inputs, answer)` raises `Wrong` with a message in the words of the subject ("the weights of query 0
  sum to 2.2, not 1"), never with the answer. It may return a sentence, which is shown with the pass: so a
  prediction is compared with what was measured. Type and shape come before values: `close` and `equal` see to
  that, and say which query, which row. Name the mistakes that people really make in `mistakes`: whoever gives
  such an answer is told its name.

What the checker itself takes care of: an untouched stub, exceptions, endless loops, `None`, changed inputs,
and values that are not plain. So a judge sees plain values only, and its own copy of the inputs.

A complete sheet, `course/checks/lookup.py` for `solutions/98_lookup.py`:

    import torch
    from course.checks import Part, Question, Sheet, Wrong, close, same_shape

    def score_tables(seed):                                   # one call each: softmax(scores)
        generator = torch.Generator().manual_seed(seed)
        for shape in [(1, 3), (2 + seed, 4)]:
            yield (torch.randn(shape, generator=generator),)

    def rows_sum_to_one(inputs, answer):
        (scores,) = inputs
        weights = same_shape(answer, scores, "the weights", axes=("query", "key"))    # as a numpy array
        for query, total in enumerate(weights.sum(-1)):
            if abs(total - 1) > 1e-5:
                raise Wrong(f"the weights of query {query} sum to {total:.3g}, not 1")

    def weights(inputs, answer):
        (scores,) = inputs
        close(answer, torch.softmax(scores, -1), "the weights", axes=("query", "key"),
              mistakes={"these weights are normalized over the queries, not over the keys":
                        torch.softmax(scores, 0)})

    def half(inputs, answer):
        measured = 0.5
        close(answer, measured, "the predicted weight", atol=0.2)
        return f"you predicted {answer:.2f}; measured: {measured:.2f}"

    SHEET = Sheet("98_lookup", "A lookup", questions=(
        Question("q1", "Softmax over the keys", function="softmax", minutes=10, difficulty=1,
                 parts=(Part("the weights of every query sum to 1", 1, rows_sum_to_one, score_tables),
                        Part("the weights are those of the softmax", 2, weights, score_tables)),
                 hints=("Which axis are the keys on?", "Divide by the sum over that axis, kept as an axis.")),
        Question("q2", "Two equal keys", function="predict_weight", minutes=2, difficulty=1,
                 parts=(Part("the prediction is near what is measured", 1, half),)),
    ))

In the sheet's source an `answer` cell defines `softmax`, and a cell after it says `check("q1")`.
`{{q1}}` in its prose becomes `Question.heading`.

Planted mistakes, one at least for each question, go to `tests/mistakes/lookup.py`:

    MISTAKES = [
        ("q1", "normalized over the queries", '''
    def softmax(scores):
        return torch.softmax(scores, 0)
    '''),
    ]

that is (question id, a fragment that the message must hold, the wrong answer's source). `torch`, `math` and
`numpy as np` are imported for them. `tests/test_sheets.py` finds both files by name.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Judge = Callable[[tuple, Any], str | None]
Cases = Callable[[int], Iterable[tuple]]


class Wrong(Exception):
    """What is wrong with an answer, in the words of the subject and without the right answer."""


def _no_inputs(seed: int) -> Iterable[tuple]:
    return [()] if seed == 0 else []


@dataclass(frozen=True)
class Part:
    """One thing that a question checks: a sentence, its points, a judge, and the inputs it is tried on.

    With `needs_another` it earns its points only beside another part: what a planted bug leaves right.
    With `nan` an answer that is not a number may be right, which elsewhere passes no judge.
    """

    checks: str
    points: int
    judge: Judge
    cases: Cases = _no_inputs
    needs_another: bool = False
    nan: bool = False


@dataclass(frozen=True)
class Question:
    """One question, answered by one function; `difficulty` is 1 to 3, `seconds` bounds all calls together."""

    id: str
    title: str
    function: str
    minutes: int
    difficulty: int
    parts: tuple[Part, ...]
    hints: tuple[str, ...] = ()
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.difficulty not in (1, 2, 3):
            raise ValueError(f"{self.id}: difficulty is 1, 2 or 3, not {self.difficulty!r}")
        if not self.parts:
            raise ValueError(f"{self.id}: a question needs at least one part")

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    @property
    def heading(self) -> str:
        """The question's heading in a sheet, as markdown."""
        stars = "★" * self.difficulty + "☆" * (3 - self.difficulty)
        return (
            f"## {self.id} · {self.title}\n\n"
            f"*{count(self.points, 'point')} · about {count(self.minutes, 'minute')} · {stars}*"
        )


@dataclass(frozen=True)
class Sheet:
    """An exercise sheet: `name` is that of its files, such as 01_tokens (or gradients, without a number)."""

    name: str
    title: str
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        for what in ("id", "function"):
            names = [getattr(question, what) for question in self.questions]
            if len(set(names)) < len(names):
                raise ValueError(f"{self.name}: two questions share one {what}: {', '.join(names)}")

    @property
    def points(self) -> int:
        return sum(question.points for question in self.questions)

    def question(self, id: str) -> Question:
        for question in self.questions:
            if question.id == id:
                return question
        raise ValueError(
            f"{self.name} has no question {id!r}; it has {', '.join(q.id for q in self.questions)}"
        )


def load(name: str) -> Sheet:
    """The sheet of that name, "01_tokens" from course/checks/tokens.py. ValueError if there is none."""
    topic = topic_of(name)
    if topic in topics():
        sheet = importlib.import_module(f"{__name__}.{topic}").SHEET
        if sheet.name == name:
            return sheet
    raise ValueError(f"no sheet is called {name!r}; there are sheets on {', '.join(topics()) or 'nothing'}")


def topic_of(name: str) -> str:
    """The name of a sheet without its chapter's number, if it has one: "tokens" of 01_tokens."""
    return re.sub(r"^\d+_", "", name)


def sheets() -> list[Sheet]:
    """All sheets, by name."""
    found = [importlib.import_module(f"{__name__}.{topic}").SHEET for topic in topics()]
    return sorted(found, key=lambda sheet: sheet.name)


def topics() -> list[str]:
    """The modules that describe a sheet each."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


# What judges compare with.


def same_shape(
    answer: Any, expected: Any, what: str = "the answer", axes: tuple[str, ...] = ()
) -> np.ndarray:
    """The answer as a numpy array, once it is of the expected kind (tensor, array, list, number) and shape.

    `axes` names the axes, such as ("query", "key"). Raises `Wrong`.
    """
    like = _numbers(expected)
    if like.ndim:
        kind = next(kind for kind in (torch.Tensor, np.ndarray, (list, tuple)) if isinstance(expected, kind))
        is_a(answer, kind, what)
    try:
        got = _numbers(answer)
    except (TypeError, ValueError):
        need = "hold numbers only, in rows of equal length" if like.ndim else "be a number"
        raise Wrong(f"{_should(what)} {need}; yours is {kind_of(answer)}") from None
    if got.shape != like.shape:
        names = f" = ({', '.join(axes)})" if axes else ""
        raise Wrong(
            f"{_should(what)} have shape {like.shape}{names}; yours has {got.shape or 'no axes: one number'}"
        )
    if (like.dtype == bool) != (got.dtype == bool):
        raise Wrong(
            f"{_should(what)} hold {'True and False' if like.dtype == bool else 'numbers'}, "
            f"not {'True and False' if got.dtype == bool else 'numbers'}"
        )
    return got


def close(
    answer: Any,
    expected: Any,
    what: str = "the answer",
    axes: tuple[str, ...] = (),
    rtol: float = 1e-4,
    atol: float = 1e-5,
    mistakes: Mapping[str, Any] | None = None,
) -> None:
    """Raises `Wrong` unless the answer has the expected kind and shape, and numbers near the expected ones.

    The message says where the worst number stands and whether it is too large or too small. `mistakes` maps
    what to say to the values that a known mistake gives: `{"the division by sqrt(d) is missing": wrong}`.
    """
    for says, wrong in (mistakes or {}).items():
        if _near(answer, wrong, rtol, atol) and not _near(answer, expected, rtol, atol):
            raise Wrong(says)
    got, like = same_shape(answer, expected, what, axes), _numbers(expected)
    bad = ~np.isclose(got, like, rtol, atol, equal_nan=True)
    if not bad.any():
        return
    strange = bad & ~np.isfinite(got)
    with np.errstate(invalid="ignore"):
        distance = np.where(strange, np.inf, np.where(bad, np.abs(got * 1.0 - like * 1.0), -1))
    at = np.unravel_index(np.argmax(distance), got.shape)
    names = axes if len(axes) == got.ndim else tuple(f"axis {axis}, place" for axis in range(got.ndim))
    place = (" at " + ", ".join(f"{name} {index}" for name, index in zip(names, at))) if at else ""
    share = f", and wrong in {bad.sum()} of {bad.size} places" if bad.size > 1 else ""
    if got.dtype == bool:
        raise Wrong(f"{_is(what)} {got[at]}{place} where the opposite is right{share}")
    if np.isnan(like[at]) or not (got[at] < like[at] or got[at] > like[at]):
        raise Wrong(f"{_is(what)} {got[at]:.4g}{place}{share}")
    raise Wrong(
        f"{_is(what)} too {'large' if got[at] > like[at] else 'small'}{place} (yours: {got[at]:.4g}){share}"
    )


def equal(
    answer: Any,
    expected: Any,
    what: str = "the answer",
    item: str = "item",
    mistakes: Mapping[str, Any] | None = None,
) -> None:
    """Raises `Wrong` unless the answer is the expected number, str, bytes, list, tuple or dict, and its type.

    The message says at which `item` ("token", "pair") the first difference stands; `mistakes` as in `close`.
    """
    for says, wrong in (mistakes or {}).items():
        if _same(answer, wrong) and not _same(answer, expected):
            raise Wrong(says)
    is_a(answer, type(expected), what)
    if _same(answer, expected):
        return
    if isinstance(expected, dict):
        extra = [key for key in answer if key not in expected]
        if extra:
            raise Wrong(f"{what}: there should be no {item} {_short(extra[0])}")
        if len(answer) < len(expected):
            raise Wrong(f"{what}: yours has {count(len(answer), item)}, which is too few")
        key = next(key for key in expected if not _same(answer[key], expected[key]))
        _kinds(answer[key], expected[key], f"{what}: {item} {_short(key)}")
        raise Wrong(f"{what}: {item} {_short(key)} is wrong, yours holds {_short(answer[key])}")
    if not isinstance(expected, (str, bytes, list, tuple)):
        raise Wrong(f"{_is(what)} not {_short(answer)}")
    for index, (mine, right) in enumerate(zip(answer, expected)):
        if not _same(mine, right):
            _kinds(mine, right, f"{what}: {item} {index}")
            mine = answer[index : index + 1] if isinstance(answer, bytes) else mine
            raise Wrong(f"{what}: {item} {index} is wrong, yours is {_short(mine)}")
    amount = "few" if len(answer) < len(expected) else "many"
    so_far = "; they are right so far" if amount == "few" and answer else ""
    raise Wrong(f"{what}: yours has {count(len(answer), item)}, which is too {amount}{so_far}")


def _kinds(answer: Any, expected: Any, what: str) -> None:
    """Raises `Wrong` where the types differ, also those of the items of a list or tuple."""
    is_a(answer, type(expected), what)
    if isinstance(expected, (list, tuple)):
        for mine, right in zip(answer, expected):
            if not _fits(mine, (type(right),)):
                raise Wrong(f"{what} holds {kind_of(mine)}; it should hold {_KINDS[type(right)]}")
            _kinds(mine, right, what)


def is_a(answer: Any, kind: type | tuple[type, ...], what: str = "the answer") -> None:
    """Raises `Wrong` unless the answer is of that type.

    True is no number, an int will do for a float, and a tensor without axes for the number in it.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not _fits(answer, kinds):
        mine = number(answer)
        yours = repr(mine) if isinstance(mine, float) and int in kinds else kind_of(answer)
        raise Wrong(
            f"{_should(what)} be {' or '.join(_KINDS.get(k, k.__name__) for k in kinds)}; yours is {yours}"
        )


def _fits(answer: Any, kinds: tuple[type, ...]) -> bool:
    if int in kinds or float in kinds:
        answer = number(answer)
    allowed = (*kinds, int) if float in kinds else kinds
    return isinstance(answer, allowed) and (bool in kinds or not isinstance(answer, bool))


_KINDS = {
    torch.Tensor: "a torch tensor",
    np.ndarray: "a numpy array",
    list: "a list",
    tuple: "a tuple",
    dict: "a dict",
    str: "a str",
    bytes: "bytes",
    bool: "True or False",
    int: "an int",
    float: "a number",
    type(None): "None",
}


def kind_of(value: Any) -> str:
    """The kind of a value and its size in words: 'a torch tensor of shape (2, 3)', 'a list of 4 items'."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{_KINDS[type(value)]} of shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple, dict)):
        return f"{_KINDS[type(value)]} of {count(len(value), 'item')}"
    if isinstance(value, (str, bytes)):
        return f"{_KINDS[type(value)]} of length {len(value)}"
    return (
        f"{_KINDS.get(type(value), type(value).__name__)}{f' ({value!r})' if isinstance(value, bool) else ''}"
    )


def count(number: int, noun: str) -> str:
    """'1 point', '2 points', '3 queries', '2 entries'."""
    plural = noun[:-1] + "ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else noun + "s"
    return f"{number} {noun if number == 1 else plural}"


def _numbers(value: Any) -> np.ndarray:
    array = (
        value.detach().to(torch.float64 if value.is_floating_point() else value.dtype).numpy()
        if isinstance(value, torch.Tensor)
        else np.asarray(value)
    )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"not numbers: {array.dtype}")
    return array


def number(value: Any) -> Any:
    """The number in a tensor without axes; anything else as it is."""
    return value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value


def _near(answer: Any, expected: Any, rtol: float, atol: float) -> bool:
    try:
        got, like = _numbers(answer), _numbers(expected)
    except (TypeError, ValueError):
        return False
    return got.shape == like.shape and np.allclose(got, like, rtol, atol, equal_nan=True)


def _same(answer: Any, expected: Any) -> bool:
    if isinstance(expected, (int, float)):
        answer = number(answer)
    if type(answer) is not type(expected):
        return False
    if isinstance(expected, (list, tuple)):
        return len(answer) == len(expected) and all(map(_same, answer, expected))
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(_same(answer[key], expected[key]) for key in expected)
    if isinstance(expected, (torch.Tensor, np.ndarray)):
        return answer.shape == expected.shape and bool((answer == expected).all())
    return answer == expected


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]} ... ({kind_of(value)})"


# `what` is the subject of a sentence, "the weights of the head": the verb follows its noun.
def _should(what: str) -> str:
    return f"{what} should"


def _is(what: str) -> str:
    noun = re.split(" (?:of|per|for) ", what)[0]
    return f"{what} {'are' if noun.endswith('s') and not noun.endswith('ss') else 'is'}"
