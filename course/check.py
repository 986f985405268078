"""Instant feedback in a notebook.

    from course.check import sheet
    check = sheet("01_tokens")
    check("q1")          # what is right and what is wrong with the answer to q1
    check.hint("q1")     # opens the next hint
    check.progress()     # the standing on this sheet

The standing is kept in `.progress.json` beside the notebook, unless the environment says COURSE_PROGRESS=off.
"""

import contextlib
import html
import json
import os
import random
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, count, kind_of, load, sheets
from course.sandbox.call import OutOfTime, call, within
from course.sandbox.plain import decode, encode

SEEDS = range(3)  # the grader tries more
LONG = 2000  # characters of a message
PROGRESS = Path(".progress.json")
BOOK = Path(__file__).resolve().parent.parent
SOLUTIONS = (BOOK / "solutions").is_dir() or not (BOOK / "exercises").is_dir()  # a copy for students has none


@dataclass(frozen=True)
class PartResult:
    """How one part went; `says` is what is wrong or, where it passed, what a judge had to say."""

    part: Part
    passed: bool
    says: str = ""


@dataclass(frozen=True)
class Result:
    """How one question went. Without parts there was nothing to judge: `says` tells why."""

    question: Question
    parts: tuple[PartResult, ...] = ()
    says: str = "not attempted yet"

    @property
    def points(self) -> int:
        return sum(result.part.points for result in self.parts if result.passed)

    @property
    def passed(self) -> bool:
        return bool(self.parts) and all(result.passed for result in self.parts)

    def __str__(self) -> str:
        title = f"{self.question.id} · {self.question.title}"
        if not self.parts:
            return f"{title} ({count(self.question.points, 'point')}): {self.says}"
        lines = [f"{title}: {self.points} of {count(self.question.points, 'point')}"]
        for result in self.parts:
            worth = result.part.points
            lines.append(
                f"  {'✓' if result.passed else '✗'} {result.part.checks} "
                f"({worth if result.passed else 0}/{worth})"
            )
            for line in result.says.splitlines():
                lines += _wrapped(line)
        return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    """A line below its part, cut between words to what a page is wide enough for."""
    indents = dict(initial_indent=6 * " ", subsequent_indent=8 * " ")
    return textwrap.wrap(line, 93, break_long_words=False, break_on_hyphens=False, **indents) or [""]


Case = tuple[tuple, list]  # the inputs, and the same encoded


def cases(question: Question, seeds: Iterable[int]) -> list[list[Case]]:
    """For each part the inputs that it is tried on."""
    with _settings():
        return [
            [(case, [encode(value) for value in case]) for seed in seeds for case in part.cases(seed)]
            for part in question.parts
        ]


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Those of Python, numpy and torch as they begin, whatever a notebook has set; its draws go on as if nothing was drawn."""
    dtype, drawn, of_numpy, of_torch = torch.get_default_dtype(), random.getstate(), np.random.get_state(), torch.get_rng_state()
    device = torch.device("cpu") if torch.empty(0).device.type != "cpu" else contextlib.nullcontext()
    torch.set_default_dtype(torch.float32)
    try:
        with device, torch.inference_mode(False), torch.enable_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(dtype)
        random.setstate(drawn)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)


def assess(question: Question, tried: list[list[Case]], outcome: Callable[[int, int], dict]) -> Result:
    """Judges an answer. `outcome(part, case)` is what `course.sandbox.call.call` said, or {"died": why}."""
    results: list[PartResult] = []
    died, shown = False, ""
    for number, part in enumerate(question.parts):
        says = ""
        for index, (inputs, _) in enumerate(tried[number]):
            if died:
                says = "not tried, because of what happened above"
                break
            came = outcome(number, index)
            if came.get("stub"):
                return Result(question)
            died = "died" in came
            says, passed = _judge(part, inputs, came)
            if not passed:
                says += _context(inputs, came)
                break
        else:
            results.append(PartResult(part, True, _clean(says)))
            continue
        says = _clean(says)
        results.append(PartResult(part, False, "the same as above" if says == shown else says))
        shown = says
    if not any(result.passed and not result.part.needs_another for result in results):
        says = "right, and counts once another part passes"
        results = [PartResult(r.part, False, says) if r.passed else r for r in results]
    return Result(question, tuple(results))


def _clean(text: str) -> str:
    """Without the control characters that an answer may have put in, and no longer than one reads."""
    if len(text) > LONG:
        text = f"{text[: LONG // 2]} ... {text[-LONG // 2 :]}"
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _judge(part: Part, inputs: tuple, came: dict) -> tuple[str, bool]:
    """What there is to say about one call, and whether it passed."""
    if "died" in came:
        return came["died"], False
    if "error" in came:
        return came["error"] + (f"\n{came['where']}" if "where" in came else ""), False
    if "changed" in came:
        return f"your function changes its input number {came['changed'] + 1}; work on a copy", False
    if "nothing" in came:
        return "your function returned None: did you forget to return?", False
    if "unplain" in came:
        return f"your function returned {came['unplain']}; it should return what its docstring says", False
    try:
        with _settings():
            answer = within(10, decode, came["answer"])
    except (KeyError, ValueError, OutOfTime):
        return "what came back from your function could not be read", False
    try:
        with _settings():
            says = within(10, part.judge, inputs, answer) or ""
        if not part.nan and _holds_nan(answer):  # a judge that asks `if error > limit` is told no
            raise Wrong("your function returned nan, which is not a number")
        return says, True
    except Wrong as wrong:
        return str(wrong), False
    except (Exception, OutOfTime) as error:  # a judge may stumble over what no one thought of
        return (
            f"your function returned {kind_of(answer)}, which could not be judged ({type(error).__name__})",
            False,
        )


def _holds_nan(value: object) -> bool:
    if isinstance(value, (float, torch.Tensor, np.ndarray)):
        return bool((value != value) if isinstance(value, float) else (value != value).any())
    if isinstance(value, dict):
        return any(map(_holds_nan, (*value, *value.values())))
    return isinstance(value, (list, tuple, set)) and any(map(_holds_nan, value))


def _context(inputs: tuple, came: dict) -> str:
    given = ", ".join(map(_brief, inputs))
    if len(given) > 250:  # more than a few lines
        given = ", ".join(map(kind_of, inputs))
    given = f"\ncalled with: {given}" if inputs else ""
    printed = came.get("printed", "").strip().splitlines()[:3]
    return given + "".join(f"\nit printed: {line[:80]}" for line in printed)


def _brief(value: object) -> str:
    text = repr(value)
    if "\n" in text:
        return kind_of(value)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-90:]} ({kind_of(value)})"


@dataclass(frozen=True)
class Feedback:
    """What a notebook shows: `text`, and below it a link where there is one."""

    text: str
    link: str = ""

    def __repr__(self) -> str:
        text = self.text + (f"\nThe solution: {self.link}" if self.link else "")
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return text.encode(encoding, "replace").decode(encoding)  # a mark is lost where it cannot be printed

    def _repr_html_(self) -> str | None:
        if self.link:  # a link that one can click is all that HTML is for
            return f'<pre>{html.escape(self.text)}</pre><a href="{self.link}">The solution</a>'


class Check:
    """The checker of one sheet: see the top of this module."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.points: dict[str, int] = {}
        self.hints: dict[str, int] = {}
        kept = _read_progress().get(sheet.name)
        for name in ("points", "hints"):
            numbers = kept.get(name) if isinstance(kept, dict) else None
            if isinstance(numbers, dict):
                getattr(self, name).update(
                    {q.id: numbers[q.id] for q in sheet.questions if isinstance(numbers.get(q.id), int)}
                )

    def __call__(self, id: str) -> Feedback:
        """Tries the answer to that question and says what is right and what is wrong."""
        question = self.sheet.question(id)
        caller = sys._getframe(1)
        result = _try(question, {**caller.f_globals, **caller.f_locals}.get(question.function))
        if result.parts:  # where there is nothing to judge, as after a restart, nothing is lost
            self.points[id] = result.points
            self._save()
        text = str(result)
        opened = self.hints.get(id, 0)
        if result.parts and not result.passed and opened < len(question.hints):
            text += f'\nHint {opened + 1} of {len(question.hints)}: check.hint("{id}")'
        text += f"\n{self._standing()}"
        return Feedback(text, f"../solutions/{self.sheet.name}.ipynb" if result.passed and SOLUTIONS else "")

    def hint(self, id: str) -> Feedback:
        """Opens the next hint of that question; after the last one all are shown again."""
        question = self.sheet.question(id)
        opened = min(self.hints.get(id, 0) + 1, len(question.hints))
        self.hints[id] = opened
        self._save()
        lines = [
            f"Hint {number} of {len(question.hints)}: {hint}"
            for number, hint in enumerate(question.hints[:opened], 1)
        ]
        return Feedback("\n".join(lines) or f"{id} has no hints")

    def progress(self) -> Feedback:
        """The standing on this sheet."""
        lines = [
            f"{q.id} · {q.title}: {self.points.get(q.id, 0)} of {q.points}" for q in self.sheet.questions
        ]
        return Feedback("\n".join([*lines, self._standing()]))

    def _standing(self) -> str:
        earned = {q.id: min(self.points.get(q.id, 0), q.points) for q in self.sheet.questions}
        solved = sum(earned[q.id] == q.points for q in self.sheet.questions)
        return (
            f"{self.sheet.name}: {sum(earned.values())} of {count(self.sheet.points, 'point')}, "
            f"{solved} of {count(len(self.sheet.questions), 'question')} solved"
        )

    def _save(self) -> None:
        if os.environ.get("COURSE_PROGRESS") == "off":
            return
        kept = _read_progress() | {self.sheet.name: {"points": self.points, "hints": self.hints}}
        # A folder that cannot be written loses the standing between sessions, which is no reason to stop.
        with contextlib.suppress(OSError):
            new = PROGRESS.with_suffix(".json.new")
            new.write_text(json.dumps(kept, indent=1))
            os.replace(new, PROGRESS)


def sheet(name: str) -> Check:
    """The checker of the sheet of that name, such as "01_tokens". ValueError, with all names, for another."""
    names = [sheet.name for sheet in sheets()]
    if name not in names:
        raise ValueError(f"no sheet is called {name!r}; there are {', '.join(names) or 'none'}")
    return Check(load(name))


def _try(question: Question, function: object) -> Result:
    if function is None:
        return Result(
            question, says=f"there is no function `{question.function}` yet; run the cell that defines it"
        )
    if not callable(function):
        return Result(question, says=f"`{question.function}` should be a function; it is {kind_of(function)}")
    tried = cases(question, SEEDS)
    end = time.monotonic() + question.seconds

    def outcome(part: int, case: int) -> dict:
        try:
            return within(max(0.01, end - time.monotonic()), call, function, tried[part][case][1])
        except OutOfTime:
            return {
                "died": f"no answer within {question.seconds:g} seconds: is there a loop that never ends?"
            }

    return assess(question, tried, outcome)


def _read_progress() -> dict:
    if os.environ.get("COURSE_PROGRESS") == "off":
        return {}
    try:
        kept = json.loads(PROGRESS.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
