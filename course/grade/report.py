"""What grading found: for a person, as CSV, as JSON, and as Gradescope's results.json.

Gradescope: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from course.check import Result
from course.checks import count

if TYPE_CHECKING:
    from course.grade import Graded
    from course.grade.runner import Runner

PROTECTIONS = {
    "network": "no network",
    "files": "no sight of this book's solutions and checks, of other submissions and of the home folder",
    "processes": "no sight of other processes",
    "rights": "no rights of an administrator",
    "memory": "bounded memory",
}


def show(console: Console, graded: "list[Graded]", runner: "Runner", interrupted_of: int | None) -> None:
    """Prints one notebook in full, several as a table."""
    if len(graded) == 1:
        console.print(Text(details(graded[0])))
    elif graded:
        console.print(_table(graded))
        for one in graded:
            for note in [one.error] if one.error else one.notes:
                console.print(Text(f"{one.path}: {note}"))
        console.print("Grade one notebook alone to see what is right and wrong in it.")
    console.print(Text(protection(runner)))
    if interrupted_of is not None:
        console.print(
            f"Interrupted: {len(graded[:-1])} of {count(interrupted_of, 'notebook')} graded, no file written."
        )


def details(one: "Graded") -> str:
    """All that there is to say about one notebook."""
    if one.error or not one.sheet:
        return f"{one.path}: could not be graded: {one.error}"
    lines = [f"{one.path} · {one.sheet.name}", "", *map(str, one.results), ""]
    lines += [f"Note: {note}" for note in one.notes]
    return "\n".join([*lines, f"{one.points} of {count(one.sheet.points, 'point')}"])


def _table(graded: "list[Graded]") -> Table:
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
            Text(str(one.path)),
            *([name] if any(names) else []),
            solved,
            str(one.points),
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


def protection(runner: "Runner") -> str:
    """Which protections were on while the answers ran, and which the system does not allow."""
    on = [text for name, text in PROTECTIONS.items() if name in runner.protected]
    off = [text for name, text in PROTECTIONS.items() if name not in runner.protected]
    if not runner.protected:
        return "No answer was run."
    return f"Each answer ran in a process of its own, with bounded time, {', '.join(on)}." + (
        f" Not enforced on this system: {', '.join(off)}." if off else ""
    )


def as_json(graded: "list[Graded]", runner: "Runner") -> str:
    content = {
        "protections": {name: name in runner.protected for name in PROTECTIONS},
        "notebooks": [
            {
                "file": str(one.path),
                "sheet": one.sheet and one.sheet.name,
                "error": one.error,
                "points": one.points,
                "of": one.sheet.points if one.sheet else 0,
                "notes": one.notes,
                "questions": [_question(result) for result in one.results],
            }
            for one in graded
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def _question(result: Result) -> dict:
    return {
        "id": result.question.id,
        "title": result.question.title,
        "function": result.question.function,
        "points": result.points,
        "of": result.question.points,
        "passed": result.passed,
        "says": "" if result.parts else result.says,
        "parts": [
            {
                "checks": part.part.checks,
                "points": part.part.points if part.passed else 0,
                "of": part.part.points,
                "says": part.says,
            }
            for part in result.parts
        ],
    }


def as_csv(graded: "list[Graded]", runner: "Runner") -> str:
    ids = sorted(
        {result.question.id for one in graded for result in one.results}, key=lambda id: (len(id), id)
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "sheet", "points", "of", *ids, "error", "notes"])
    for one in graded:
        points = {result.question.id: result.points for result in one.results}
        name = str(one.path)
        name = f"'{name}" if name[:1] in "=+-@" else name  # no formula for a spreadsheet to run
        writer.writerow(
            [
                name,
                one.sheet.name if one.sheet else "",
                one.points,
                one.sheet.points if one.sheet else "",
                *(points.get(id, "") for id in ids),
                one.error or "",
                "; ".join(one.notes),
            ]
        )
    return text.getvalue()


def as_gradescope(graded: "list[Graded]", runner: "Runner") -> str:
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
        for one in graded
        if one.sheet
        for result in one.results
    ]
    notes = [f"{one.path}: {note}" for one in graded for note in ([one.error] if one.error else one.notes)]
    return (
        json.dumps(
            {
                "score": sum(one.points for one in graded),
                "output": "\n".join([*notes, protection(runner)]),
                "output_format": "text",
                "tests": tests,
            },
            indent=1,
        )
        + "\n"
    )


def write(path: Path, content: str) -> None:
    """Replaces the file in one step: whoever reads it finds the old content or the new."""
    new = path.with_name(path.name + ".new")
    new.write_text(content, encoding="utf-8")
    os.replace(new, path)
