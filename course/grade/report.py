"""What grading found: for a person, as CSV, as JSON, and as Gradescope's results.json.

Gradescope: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import csv
import functools
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import course
from course.check import PartResult, Result
from course.checks import count, load
from course.grade.judge import Graded, Limits
from course.grade.notebook import Unreadable
from course.grade.submissions import contents, printable

PROTECTIONS = {
    "network": "no network",
    "files": "no files but Python's, the system's and the book's, without solutions and checks",
    "processes": "no sight of other processes",
    "rights": "no rights of an administrator",
    "memory": "bounded memory",
}


@dataclass
class Book:
    """What is known of all that was handed in, and under which conditions it was graded."""

    graded: list[Graded]
    limits: Limits
    memory: float
    protected: list[str] | None = None  # before an answer was run
    complete: bool = False

    def as_json(self) -> str:
        notebooks = [entry(one) for one in self.graded]
        content = self._conditions() | {
            "complete": self.complete,
            "protections": {name: name in (self.protected or []) for name in PROTECTIONS},
            "notebooks": notebooks,
        }
        return json.dumps(content, indent=1) + "\n"

    def _conditions(self) -> dict:
        return {
            "version": _version(),
            "source": _source(),
            "seeds": self.limits.seeds,
            "seconds": self.limits.seconds,
            "memory": self.memory,
        }

    def resume(self, path: Path, numbers: Iterable[int]) -> None:
        """Takes over what an interrupted run found, for files and conditions that are the same still."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["complete"] or any(content[key] != value for key, value in self._conditions().items()):
                return
            known = {(one["file"], one["sha256"]): one for one in content["notebooks"] if not one["failed"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return
        self.protected = [name for name in PROTECTIONS if content["protections"].get(name)]
        for number in numbers:
            path = self.graded[number].path
            try:
                found = known.get((printable(path), hashlib.sha256(contents(path)).hexdigest()))
            except Unreadable:
                continue
            if found:
                self.graded[number] = back(found, path)

    def as_csv(self) -> str:
        ids = sorted({r.question.id for one in self.graded for r in one.results}, key=lambda id: (len(id), id))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "sheet", "points", "of", *ids, "error", "notes"])
        for one in self.graded:
            points = {result.question.id: result.points for result in one.results}
            row = [
                printable(one.path),
                one.sheet.name if one.sheet else "",
                "" if one.failed else one.points,
                one.sheet.points if one.sheet else "",
                *(points.get(id, "") for id in ids),
                one.error or "",
                "; ".join(one.notes),
            ]
            writer.writerow([_no_formula(cell) if isinstance(cell, str) else cell for cell in row])
        return text.getvalue()

    def as_gradescope(self) -> str:
        tests = [
            {
                "name": f"{one.sheet.name} {result.question.id}: {result.question.title}",
                "score": result.points,
                "max_score": result.question.points,
                "status": "passed" if result.passed else "failed",
                "output": str(result),
                "output_format": "text",
                "visibility": "visible",
            }
            for one in self.graded
            if one.sheet
            for result in one.results
        ]
        notes = [f"{printable(one.path)}: {note}" for one in self.graded for note in _said(one)]
        content = {
            "score": sum(one.points for one in self.graded),
            "output": "\n".join(notes),
            "output_format": "text",
            "tests": tests,
        }
        return json.dumps(content, indent=1) + "\n"


def entry(one: Graded) -> dict:
    """All that is known of a notebook, in plain JSON."""
    return {
        "file": printable(one.path),
        "sha256": one.sha256,
        "sheet": one.sheet and one.sheet.name,
        "error": one.error and printable(one.error),
        "failed": one.failed,
        "points": None if one.failed else one.points,
        "of": one.sheet.points if one.sheet else 0,
        "notes": [printable(note).replace("\n", " ") for note in one.notes],
        "questions": [_question(result) for result in one.results],
    }


def _question(result: Result) -> dict:
    return {
        "id": result.question.id,
        "title": result.question.title,
        "function": result.question.function,
        "points": result.points,
        "of": result.question.points,
        "passed": result.passed,
        "says": "" if result.parts else printable(result.says),
        "parts": [
            {
                "checks": part.part.checks,
                "points": part.part.points if part.passed else 0,
                "of": part.part.points,
                "passed": part.passed,
                "says": printable(part.says),
            }
            for part in result.parts
        ],
    }


def back(content: dict, path: Path) -> Graded:
    """The notebook of which `entry` made that; an empty one from nothing."""
    if not content.get("file"):
        return Graded(path)
    sheet = load(content["sheet"]) if content["sheet"] else None
    results = []
    for said in content["questions"]:
        question = sheet.question(said["id"])
        parts = [
            PartResult(part, one["passed"], one["says"]) for part, one in zip(question.parts, said["parts"])
        ]
        results.append(Result(question, tuple(parts), said["says"]))
    return Graded(
        path,
        sheet,
        results,
        content["notes"],
        content["error"],
        content["failed"],
        content["sha256"],
        content.get("surprising", False),
    )


def show(console: Console, book: Book) -> None:
    """Prints one notebook in full, several as a table."""
    if len(book.graded) == 1:
        console.print(Text(details(book.graded[0])))
    else:
        console.print(_table(book.graded))
        for one in book.graded:
            for note in _said(one):
                console.print(Text(f"{printable(one.path)}: {note}"))
        console.print("Grade one notebook alone to see what is right and wrong in it.")
    console.print(Text(protection(book.protected)))


def _said(one: Graded) -> list[str]:
    return [printable(one.error)] if one.error else one.notes


def details(one: Graded) -> str:
    """All that there is to say about one notebook."""
    if one.error or not one.sheet:
        return f"{printable(one.path)}: could not be graded: {one.error}"
    lines = [f"{printable(one.path)} · {one.sheet.name}", "", *map(str, one.results), ""]
    lines += [f"Note: {note}" for note in one.notes]
    return "\n".join([*lines, f"{one.points} of {count(one.sheet.points, 'point')}"])


def _table(graded: list[Graded]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("notebook", overflow="fold")
    # A file that has its sheet's name need not be told twice.
    names = ["" if not one.sheet or one.sheet.name == one.path.stem else one.sheet.name for one in graded]
    if any(names):
        table.add_column("sheet", no_wrap=True)
    for heading in ("solved", "points", "of"):
        table.add_column(heading, justify="right")
    for one, name in zip(graded, names):
        solved = "not graded"
        if one.sheet and not one.error:
            solved = f"{sum(result.passed for result in one.results)}/{len(one.sheet.questions)}"
        table.add_row(
            Text(printable(one.path)),
            *([name] if any(names) else []),
            solved,
            "" if one.failed else str(one.points),
            str(one.sheet.points) if one.sheet else "",
        )
    if all(one.sheet for one in graded) and len({one.sheet.name for one in graded}) == len(graded):
        table.add_section()  # one learner's sheets have a sum, one sheet of several learners has none
        table.add_row(
            "all",
            *[""] * (len(table.columns) - 3),
            str(sum(one.points for one in graded)),
            str(sum(one.sheet.points for one in graded)),
        )
    return table


def protection(protected: list[str] | None) -> str:
    """Which protections were on while the answers ran, and which the system does not allow."""
    if protected is None:
        return "No answer was run."
    on = ["bounded time", *(text for name, text in PROTECTIONS.items() if name in protected)]
    off = f" Not enforced on this system: {without(protected)}." if without(protected) else ""
    return f"Each notebook ran in processes of its own, with {', '.join(on)}.{off}"


def without(protected: list[str]) -> str:
    """The protections that are not among those."""
    return ", ".join(text for name, text in PROTECTIONS.items() if name not in protected)


def _no_formula(cell: str) -> str:
    """A text that no spreadsheet runs."""
    return f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell


@functools.cache
def _source() -> str:
    """A hash of the machinery and the library: the same for grades that can be compared."""
    root = Path(course.__file__).resolve().parent
    digest = hashlib.sha256()
    for file in sorted(path for folder in (root, root.parent / "tinyllm") for path in folder.rglob("*.py")):
        digest.update(file.relative_to(root.parent).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _version() -> str:
    try:
        return version("attention-twice")
    except PackageNotFoundError:
        return "unknown"


def cannot_write(path: Path) -> str | None:
    """Why a file of that name cannot be written, if so."""
    if path.is_dir():
        return "is a folder"
    if not path.parent.is_dir():
        return "is in a folder that is not there"
    if path.exists() and not path.is_file():  # such as /dev/stdout
        return None
    if not os.access(os.path.realpath(path.parent), os.W_OK | os.X_OK):
        return "is in a folder that cannot be written"
    return None


def write(path: Path, content: str, last: bool = True) -> None:
    """Replaces the file in one step: whoever reads it finds the old content or the new."""
    if path.exists() and not path.is_file():
        if last:
            path.write_text(content, encoding="utf-8")
        return
    path = Path(os.path.realpath(path))
    new = path.with_name(path.name + ".new")
    new.write_text(content, encoding="utf-8")
    os.replace(new, path)
