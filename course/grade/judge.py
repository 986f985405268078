"""Grades one notebook: reads it, has its answers run elsewhere (`course.grade.runner`), judges what came back."""

import ast
import difflib
import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.check import SEEDS as IN_THE_NOTEBOOK
from course.check import Case, Result, assess, cases
from course.checks import Question, Sheet, sheets
from course.grade.notebook import Notebook, Unreadable, parse
from course.grade.runner import Broken, Ended, Runner, Session, why
from course.grade.submissions import contents, printable
from course.sandbox.plain import encode

SEEDS = 5
STATEMENT = 20.0  # seconds that a statement of a notebook may take
TOTAL = 300.0  # seconds that all runs of a notebook may take
RUNS = 12  # how often a notebook is run again, without the statement that ended it
NOTES = 20


@dataclass
class Graded:
    """One notebook: its results so far or, where it could not be graded, the `error`.

    An ungraded one has the sheet that its file is named after, if any. `failed` where the fault may not be the
    learner's: then there are no points, not zero points. `surprising` where a process ended
    that should not have, which may be the answer's doing or the machine's; `hurried` where something was stopped that
    had processor time left, as it may be on a machine that has too much to do.
    `within` is its place in what was handed in, `modified` when the file was written, in seconds, and `by` which
    checks graded it, on how many seeds.
    """

    path: Path
    sheet: Sheet | None = None
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    failed: bool = False
    sha256: str = ""
    surprising: bool = False
    hurried: bool = False
    within: Path = Path()
    modified: int = 0
    by: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.within == Path():
            self.within = Path(self.path.name)

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results)


@dataclass(frozen=True)
class Limits:
    """What `--seconds`, `--seeds` and `--sheet` say."""

    seconds: float | None = None
    seeds: int = SEEDS
    sheet: str | None = None


def grade(graded: Graded, runner: Runner, limits: Limits = Limits(), done: Callable = lambda: None) -> None:
    """Fills in the results; what is wrong in a notebook costs no more than the questions that it concerns.

    `done` is called whenever there is more to know.
    """
    graded.sheet = next((sheet for sheet in sheets() if sheet.name in graded.path.stem), None)
    done()
    try:
        data = contents(graded.path)
        graded.sha256 = hashlib.sha256(data).hexdigest()
        notebook = parse(data)
        graded.sheet, said = sheet_of(notebook, graded.path)
        if limits.sheet and graded.sheet.name != limits.sheet:
            other, graded.sheet = graded.sheet.name, None
            raise Unreadable(f"it is the sheet {other}, and {limits.sheet} was asked for")
    except Unreadable as error:
        graded.error = str(error)
        return
    graded.notes = _few([*said, *notebook.notes])
    done()
    answers = Answers(notebook, graded.sheet, limits)
    answers.run(runner)
    for question in graded.sheet.questions:
        result, notes = answers.result(question)
        graded.results.append(result)
        graded.notes += notes
    graded.notes += _few([note for note in answers.stopped if note not in " ".join(graded.notes)])
    graded.surprising, graded.hurried = answers.surprising, answers.hurried


def _few(notes: list[str]) -> list[str]:
    return [*notes[:NOTES], f"and {len(notes) - NOTES} more such notes"] if len(notes) > NOTES + 1 else notes


def sheet_of(notebook: Notebook, path: Path) -> tuple[Sheet, list[str]]:
    """The sheet that the notebook declares, or its file is named after, or of whose functions it has most.

    And a note, where the first two differ.
    """
    known = sheets()
    declared = next((sheet for sheet in known if sheet.name == notebook.sheet), None)
    named = next((sheet for sheet in known if sheet.name in path.stem), None)
    if declared and named and declared != named:
        return declared, [f"graded as {declared.name}, which it says it is, though its file is called {named.name}"]
    if declared or named:
        return declared or named, []
    count = {
        sheet.name: sum(bool(notebook.cells_with(q.function)) for q in sheet.questions) for sheet in known
    }
    best = max(known, key=lambda sheet: count[sheet.name], default=None)
    if not best or not count[best.name]:
        raise Unreadable("it belongs to no sheet, by its metadata, its file name or its functions")
    return best, []


class Answers:
    """The answers in one notebook, tried where they were checked and, if they did not pass, at its end."""

    def __init__(self, notebook: Notebook, sheet: Sheet, limits: Limits) -> None:
        self.notebook, self.sheet, self.limits = notebook, sheet, limits
        self.tried = {q.id: cases(q, range(limits.seeds)) for q in sheet.questions}
        self.after = {q.id: notebook.checked_after(q.function, q.id) for q in sheet.questions}
        self.best: dict[str, Result] = {}
        self.tries = dict.fromkeys(self.tried, 0)
        self.over: set[str] = set()  # no further try: it passed, or ended the process
        self.missing: set[str] = set()
        self.troubles: dict[int, str] = {}
        self.skip: list[int] = []
        self.protected: list[str] = []
        self.surprising = self.hurried = False

    def run(self, runner: Runner) -> None:
        """Runs the notebook, and again without each statement that ended the process."""
        end = time.monotonic() + TOTAL
        for _ in range(RUNS):
            with runner.session() as session:
                if self._session(session, runner.memory, end):
                    return
            if time.monotonic() >= end:
                break
        for question in self.sheet.questions:
            if question.id not in self.best:
                self._keep(question, [], "the cells before it end the process, or take too long, again and again")

    def _session(self, session: Session, memory: int, end: float) -> bool:
        """One run; False if it broke off and another one may get further."""
        cells = [
            {"name": f"cell {number}", "source": source} for number, source in self.notebook.sources.items()
        ]
        seconds = self.limits.seconds or STATEMENT
        left = [q for q in self.sheet.questions if q.id not in self.over]
        first = [q for q in left if not self.tries[q.id]]
        job = {"cells": cells, "skip": self.skip, "seconds": seconds, "tries": [self._trial(q) for q in first]}
        session.send(job)
        self.protected, at = session.protected, None
        last = len(self.notebook.statements) - 1
        while True:
            session.allow()
            try:
                if time.monotonic() >= end:  # also where line after line comes
                    raise Ended("late")
                line = session.line(min(4 * seconds + 20, end - time.monotonic()))
            except Ended as error:
                self.surprising = True
                self.hurried |= str(error) == "late"
                if at is None or time.monotonic() >= end:
                    return False
                self.skip.append(at)
                self.troubles[at] = self._stopped(error, seconds)
                return False
            if isinstance(line.get("at"), int) and 0 <= line["at"] <= last:
                at = line["at"]
            elif isinstance(line.get("trouble"), list):
                self._trouble(line["trouble"])
                self.hurried |= line.get("left") is True
            elif isinstance(line.get("try"), str):
                if not self._try(session, line["try"], memory, end):
                    return False
            elif line.get("end"):
                break
        again = [q for q in left if q.id not in self.over and (self.after[q.id] < last or not self.tries[q.id])]
        session.send([self._trial(q) for q in again])
        for _ in again:
            session.allow()
            try:
                line = session.line(min(60, end - time.monotonic()))
            except Ended:
                break
            if not isinstance(line.get("try"), str) or not self._try(session, line["try"], memory, end):
                break
        return True

    def _trial(self, question: Question) -> dict:
        return {
            "id": question.id,
            "function": question.function,
            "calls": [[inputs for _, inputs in part] for part in self.tried[question.id]],
            "seconds": self._seconds(question),
            "after": self.after[question.id],
        }

    def _seconds(self, question: Question) -> float:
        """As many for each seed as the notebook allows: what passed there is not late here."""
        return self.limits.seconds or math.ceil(question.seconds * max(1, self.limits.seeds / len(IN_THE_NOTEBOOK)))

    def _trouble(self, said: list) -> None:
        if len(said) == 2 and isinstance(said[0], int) and 0 <= said[0] < len(self.notebook.statements):
            self.troubles.setdefault(said[0], printable(said[1])[:300])

    def _stopped(self, error: Ended, seconds: float) -> str:
        return f"stopped after {seconds:g} seconds" if str(error) == "late" else str(error)

    def _try(self, session: Session, id: str, memory: int, last: float) -> bool:
        """Takes what comes of one try until that moment; False if the process came to its end with it."""
        question = next((q for q in self.sheet.questions if q.id == id), None)
        # Twice and not more: where it was checked, and at the end. Nobody guesses until it fits.
        if not question or id in self.over or self.tries[id] == 2:
            return False
        self.tries[id] += 1
        seconds, lines, died, alive = self._seconds(question), [], None, True
        most = sum(map(len, self.tried[id])) + 1
        end = min(last, time.monotonic() + 4 * seconds + 20)
        while True:
            try:
                line = session.line(end - time.monotonic())
            except Ended as error:
                self.over.add(id)
                died, alive = str(error), False
                self.hurried |= died == "late"
                break
            if line.get("tried") == id:
                died = line.get("end")
                self.hurried |= line.get("left") is True
                break
            if len(lines) < most:
                lines.append(_outcome(line, memory if "memory" in session.protected else 0))
        self._keep(question, lines, died, seconds)
        return alive

    def _keep(self, question: Question, lines: list[dict], died: object, seconds: float = 0) -> None:
        """Judges the outcomes, and keeps the result if there is no better one."""
        if {"missing": True} in lines:
            self.missing.add(question.id)
            return
        if died == "late":
            died = f"no answer within {seconds:g} seconds: is there a loop that never ends?"
        elif isinstance(died, int) and not isinstance(died, bool):
            died = why(died)
        end = {"died": printable(died)[:300]}
        came, parts = iter(lines), []
        for part in self.tried[question.id]:
            outcomes: list[dict] = []
            while len(outcomes) < len(part) and (not outcomes or "answer" in outcomes[-1]):
                outcomes.append(next(came, end))
            parts.append(outcomes)
        self.surprising |= any(_surprising(outcome) for outcomes in parts for outcome in outcomes)

        def outcome(part: int, case: int) -> dict:
            came = parts[part][case]
            trouble = self.trouble(question)
            if trouble and "error" in came:  # a cell that went wrong before is the likely cause
                came = came | {"where": "\n".join(filter(None, (came.get("where"), f"before that, {trouble}")))}
            return came

        self.missing.discard(question.id)
        result = assess(question, self.tried[question.id], outcome)
        if question.id not in self.best or result.points > self.best[question.id].points:
            self.best[question.id] = result
        if result.passed:
            self.over.add(question.id)

    def trouble(self, question: Question) -> str | None:
        """The first thing that went wrong in what that answer needs."""
        for number, text in sorted(self.troubles.items()):
            if self.notebook.matters(number, question.function):
                statement = self.notebook.statements[number]
                return f"cell {statement.cell}, line {statement.line}: {text}"

    @property
    def stopped(self) -> list[str]:
        """The statements that took too long, or the process with them."""
        return [
            f"cell {self.notebook.statements[n].cell}, line {self.notebook.statements[n].line}: {text}"
            for n, text in sorted(self.troubles.items())
            if n in self.skip or text.startswith("stopped after")
        ]

    def result(self, question: Question) -> tuple[Result, list[str]]:
        """The result of one question, and notes on how its answer was found."""
        name, notes = question.function, []
        where = self.notebook.cells_with(name)
        if question.id not in self.best:
            return Result(question, says=self._absent(question)), notes
        result = self.best[question.id]
        if len(where) > 1:
            notes.append(
                f"{question.id}: `{name}` is defined {len(where)} times "
                f"(cells {', '.join(map(str, where[-20:]))}); the last one counts"
            )
        if not result.passed and (trouble := self.trouble(question)):
            notes.append(f"{question.id}: {trouble}")
        if library := self._library(name):
            notes.append(f"{question.id}: the answer is the library's own `{library}`")
        return result, notes

    def _absent(self, question: Question) -> str:
        name = question.function
        if self.notebook.cells_with(name):
            trouble = self.trouble(question)
            return "nothing has this name after its cell was run" + (f"; before that, {trouble}" if trouble else "")
        if broken := self.notebook.not_run_with(name):
            return broken
        others = [other for statement in self.notebook.statements for other in statement.binds]
        near = difflib.get_close_matches(name, sorted(set(others))[:5_000], n=1)
        hint = f"; there is `{near[0]}`: was it renamed?" if near else ""
        return f"there is no function `{name}` in the notebook{hint}"

    def _library(self, name: str) -> str | None:
        """The name in `tinyllm` of what the answer hands its work over to, if it does nothing else."""
        return library_function(name, (s.node for s in self.notebook.statements))


def library_function(name: str, statements: Iterable[ast.stmt]) -> str | None:
    """What of `tinyllm` a name stands for: imported, assigned, or in a function of a single `return`."""
    known: dict[str, str | None] = {}

    def full(node: ast.expr) -> str | None:
        if isinstance(node, ast.Attribute):
            left = full(node.value)
            return left and f"{left}.{node.attr}"
        return known.get(node.id) if isinstance(node, ast.Name) else None

    def imported(node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
            if not alias.asname and isinstance(node, ast.Import):
                name = name.partition(".")[0]
            known[alias.asname or alias.name.partition(".")[0]] = (
                name if name.partition(".")[0] == "tinyllm" else None
            )

    for node in statements:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = full(node.value)
        elif isinstance(node, ast.FunctionDef):
            for part in node.body:
                if isinstance(part, (ast.Import, ast.ImportFrom)):
                    imported(part)
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            body = [part for part in body if not isinstance(part, (ast.Import, ast.ImportFrom))]
            only = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
            known[node.name] = full(only.func) if isinstance(only, ast.Call) else None
    return known.get(name)


def _outcome(line: dict, memory: int) -> dict:
    """A line as an outcome, its texts cut to what a report can show; a forged one is as good as none."""
    if line == {"missing": True}:
        return line
    for key in ("error", "where", "unplain", "printed"):
        if key in line:
            if not isinstance(line[key], str):
                line = {}
                break
            line[key] = printable(line[key])[:500]
    changed = line.get("changed", 0)
    if "died" in line or isinstance(changed, bool) or not isinstance(changed, int) or not 0 <= changed < 100:
        line = {}
    if not any(key in line for key in ("answer", "stub", "nothing", "unplain", "changed", "error")):
        return {"unplain": "something that could not be read"}
    error = line.get("error", "")
    if memory and ("MemoryError" in error.partition(":")[0] or "can't allocate memory" in error):
        line["error"] = f"{error} (more than the {memory / 1e9:g} GB allowed)"
    return line


def _surprising(outcome: dict) -> bool:
    """Whether it may be the machine's doing."""
    return "died" in outcome or outcome.get("error", "").partition(":")[0] in (
        "ImportError",
        "ModuleNotFoundError",
        "OSError",
        "FileNotFoundError",
        "PermissionError",
    )


CONTROL = """
import numpy as np, torch, tinyllm.attention
memory = {}
def remember(where): where["seed"] = np.random.default_rng(3).integers(10)
remember(memory)
def control(numbers):
    q = torch.tensor(numbers)
    return [int(memory["seed"]), tinyllm.attention.attention(q, q, q).sum().item()]
"""


def control(runner: Runner) -> list[str]:
    """Has a known answer run, and returns which protections were on. Raises `Broken` if it does not come."""
    with runner.session() as session:
        trial = {"id": "control", "function": "control", "seconds": 60, "after": 4}
        trial["calls"] = [[[encode([[0.0, 0.0], [0.0, 0.0]])]]]
        cells = [{"name": "control", "source": CONTROL}]
        session.send({"cells": cells, "skip": [], "seconds": 60, "tries": [trial]})
        said = []
        try:
            while True:
                line = session.line(300)
                said += [line[key] for key in ("trouble", "error") if key in line]
                if "answer" in line:
                    if line["answer"] == encode([8, 0.0]):
                        return session.protected
                    said.append(line["answer"])
                if "end" in line:
                    raise Broken(f"a known answer is not what it should be: {printable(said)[:300]}")
        except Ended as error:
            raise Broken(f"a known answer did not come back: {error}") from None
