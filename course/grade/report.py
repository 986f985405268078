"""What grading found: for a person, as CSV, as JSON, and as Gradescope's results.json.

Gradescope: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import csv
import functools
import hashlib
import io
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import course
from course.check import PartResult, Result
from course.checks import count, load
from course.grade import feedback
from course.grade.gradebook import no_formula
from course.grade.judge import Graded, Limits
from course.grade.notebook import Unreadable
from course.grade.roster import Roster, Unusable
from course.grade.rows import Override, Row, rows
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
    roster: Roster | None = None
    overrides: list[Override] = field(default_factory=list)
    latest: bool = False  # of several attempts the latest counts, not the best
    named: set[Path] = field(default_factory=set)  # what is to be graded now

    def rows(self) -> tuple[list[Row], list[str]]:
        """The lines of the result, and what is to be said of overrides that were not used."""
        return rows(self.graded, self.roster, self.overrides, self.latest, self.limits.sheet)

    def as_json(self) -> str:
        notebooks = [entry(one) for one in self.graded]
        content = self._conditions() | {
            "complete": self.complete,
            "protections": {name: name in (self.protected or []) for name in PROTECTIONS},
            "notebooks": notebooks,
            "overrides": [asdict(override) for override in self.overrides],
            "rows": [_line(row) for row in self.rows()[0]],
        }
        return json.dumps(content, indent=1) + "\n"

    def _conditions(self) -> dict:
        return {
            "version": _version(),
            "source": _source(),
            "seeds": self.limits.seeds,
            "seconds": self.limits.seconds,
            "memory": self.memory,
            "sheet": self.limits.sheet,
        }

    @property
    def by(self) -> dict:
        """Which checks grade here, and on how many seeds."""
        return {"version": _version(), "source": _source(), "seeds": self.limits.seeds}

    def merge(self, path: Path) -> None:
        """Takes over what an earlier run found of other notebooks, and its overrides where there are no new ones."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            earlier = {os.path.abspath(one["file"]): back(one, Path(one["file"])) for one in content["notebooks"]}
            kept = [Override(**override) for override in content["overrides"]]
            if not all(0 <= override.points <= 1000 and isinstance(override.student, str) for override in kept):
                raise ValueError
            self.protected = self.protected or [name for name in PROTECTIONS if content["protections"].get(name)]
        except OSError as error:
            raise Unusable(f"{printable(path)}: {error.strerror or 'cannot be read'}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unusable(f"{printable(path)}: not what --json of this version writes") from None
        for one in self.graded:
            if same := earlier.pop(os.path.abspath(printable(one.path)), None):
                one.within = same.within
        self.graded += earlier.values()
        self.overrides = self.overrides or kept

    def resume(self, path: Path, numbers: Iterable[int]) -> None:
        """Takes over what an interrupted run found, for files and conditions that are the same still."""
        if not path.is_file():  # who reads /dev/stdout waits for what is never written
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["complete"] or any(content[key] != value for key, value in self._conditions().items()):
                return
            known = {(one["file"], one["sha256"]): one for one in content["notebooks"] if not one["failed"]}
            protected = [name for name in PROTECTIONS if content["protections"].get(name)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self.protected = protected
        for number in numbers:
            path = self.graded[number].path
            try:
                found = known.get((printable(path), hashlib.sha256(contents(path)).hexdigest()))
                one = back(found, path) if found else None
            except (Unreadable, ValueError, KeyError, TypeError, AttributeError):  # as of a file that somebody has edited
                continue
            if one:
                one.within, self.graded[number] = self.graded[number].within, one

    def as_csv(self) -> str:
        ids = sorted({r.question.id for one in self.graded for r in one.results}, key=lambda id: (len(id), id))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        who = ["student", "login"] if self.roster else []
        by_hand = ["overrides"] if self.overrides else []
        writer.writerow([*who, "file", "sheet", "points", "of", *ids, *by_hand, "error", "notes"])
        for row in self.rows()[0]:
            points = {id: row.points_of(id) for id in ids}
            cells = [
                *([row.student.name, row.student.login] if row.student else [""] * len(who)),
                printable(row.one.path) if row.one else "",
                row.sheet.name if row.sheet else "",
                "" if row.open else row.points,
                row.sheet.points if row.sheet else "",
                *("" if points[id] is None else points[id] for id in ids),
                *(["; ".join(map(str, row.overrides.values()))] if by_hand else []),
                row.error,
                "; ".join(row.notes),
            ]
            writer.writerow([no_formula(cell) if isinstance(cell, str) else cell for cell in cells])
        return text.getvalue()

    def write_feedback(self, folder: Path) -> list[str]:
        """A page for each submission that was judged; what could not be written."""
        taken, problems = set(), []
        for row in self.rows()[0]:
            if row.one and not row.one.failed:
                place = feedback.place(row)
                # Two of one name, which on some systems a capital or an accent does not tell apart; or a folder called a.html.
                while _same(place) in taken or _is_folder(folder / place):
                    place = place.with_name(f"{place.stem}-2.html")
                taken.add(_same(place))
                path = folder / place
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    inside = Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))
                    if not inside:  # where it is the folder of what was handed in, there may be links in it
                        raise OSError(0, "is behind a link that leads out of the folder")
                    replace(path, feedback.page(row).encode())
                except OSError as error:  # such as a name that is too long: the others get theirs
                    problems.append(f"{printable(path)}: {error.strerror or 'cannot be written'}")
        return problems

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
        notes = [
            f"{printable(one.path)}: {note}"
            for one in self.graded
            for note in ([printable(one.error)] if one.error else one.notes)
        ]
        content = {
            "score": sum(one.points for one in self.graded),
            "output": "\n".join(notes),
            "output_format": "text",
            "tests": tests,
        }
        return json.dumps(content, indent=1) + "\n"


def _same(place: Path) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place.as_posix()).casefold())


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _line(row: Row) -> dict:
    return {
        "student": row.student and row.student.name,
        "login": row.student and row.student.login,
        "sheet": row.sheet and row.sheet.name,
        "file": row.one and printable(row.one.path),
        "points": None if row.open else row.points,
        "of": row.sheet.points if row.sheet else 0,
        "overrides": {id: [one.points, one.reason] for id, one in row.overrides.items()},
        "error": row.error and printable(row.error),
    }


def entry(one: Graded) -> dict:
    """All that is known of a notebook, in plain JSON."""
    return {
        "file": printable(one.path),
        "within": printable(one.within),
        "modified": one.modified,
        "by": one.by,
        "sha256": one.sha256,
        "sheet": one.sheet and one.sheet.name,
        "error": one.error and printable(one.error),
        "failed": one.failed,
        "points": None if one.failed else one.points,
        "of": one.sheet.points if one.sheet else 0,
        "notes": [printable(note).replace("\n", " ")[:500] for note in one.notes],
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
        content.get("hurried", False),
        Path(content["within"]),
        content["modified"],
        content["by"],
    )


def show(console: Console, book: Book) -> None:
    """Prints one notebook in full, several as a table."""
    lines, unused = book.rows()
    if len(book.graded) == 1 and not book.roster:
        console.print(Text(details(lines[0])))
    else:
        console.print(_table(lines, console.width))
        for row in lines:
            said = [printable(row.error)] if row.error and not row.missing else [*row.notes, *map(str, row.overrides.values())]
            for note in said:
                console.print(Text(f"{printable(row.one.path) if row.one else row.name}: {note}"))
        console.print("Grade one notebook alone to see what is right and wrong in it.")
    for problem in unused:
        console.print(Text(f"Attention: {problem}"))
    if len({json.dumps(one.by) for one in book.graded if one.by}) > 1:
        console.print("Attention: some were graded by other checks or on other seeds than the rest; only those that share them compare.")
    console.print(Text(protection(book.protected)))


def details(row: Row) -> str:
    """All that there is to say about one notebook."""
    one = row.one
    if one.error or not one.sheet:
        return f"{printable(one.path)}: could not be graded: {one.error}"
    lines = [f"{printable(one.path)} · {one.sheet.name}", "", *map(str, one.results), ""]
    lines += [f"Note: {note}" for note in one.notes]
    lines += map(str, row.overrides.values())
    return "\n".join([*lines, f"{row.points:g} of {count(one.sheet.points, 'point')}"])


def _table(lines: list[Row], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    students = any(row.student for row in lines)
    names = [row.name if students else printable(row.one.within) for row in lines]
    # A file that has its sheet's name need not be told twice, nor the sheet that all have.
    told = [_sheet_of(row) if students or _sheet_of(row) != row.one.path.stem else "" for row in lines]
    if students and len(set(filter(None, told))) < 2:
        told = [""] * len(lines)
    table.add_column("student" if students else "notebook", overflow="fold")
    if any(told):
        table.add_column("sheet", no_wrap=True)
    for heading in ("solved", "points", "of"):
        table.add_column(heading, justify="right", no_wrap=True)
    room = width - 38 - (max(map(len, told)) + 2 if any(told) else 0)
    for row, name, sheet in zip(lines, names, told):
        table.add_row(
            Text(_broken(name, room)),
            *([sheet] if any(told) else []),
            _solved(row),
            "" if row.open else f"{row.points:g}{'*' if row.overrides else ''}",
            str(row.sheet.points) if row.sheet else "",
        )
    if not students and all(map(_sheet_of, lines)) and len(set(map(_sheet_of, lines))) == len(lines):
        table.add_section()  # one learner's sheets have a sum, one sheet of several learners has none
        total = sum(row.points for row in lines)
        table.add_row("all", *[""] * (len(table.columns) - 3), f"{total:g}", str(sum(row.sheet.points for row in lines)))
    if any(row.overrides for row in lines):
        table.caption = "* set by hand"
    return table


def _sheet_of(row: Row) -> str:
    return row.sheet.name if row.sheet else ""


def _solved(row: Row) -> str:
    if row.missing:
        return "missing"
    if not row.sheet or row.error:
        return "not graded"
    return f"{sum(result.passed for result in row.one.results)}/{len(row.sheet.questions)}"


def _broken(name: str, room: int) -> str:
    """A name on as many lines as it needs, cut after the signs in it."""
    lines = [""]
    for piece in re.findall(r"[^/_. -]*[/_. -]*", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > max(room, 12):
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


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


def same_file(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def would_replace(path: Path, others: Iterable[Path]) -> str | None:
    """Why a file of that name should not be written: it is somebody's notebook, or one of those others."""
    if path.exists() and not path.is_file():
        return None
    if path.suffix.lower() == ".ipynb":
        return "is called like a notebook, which would be replaced; name the file to write"
    if any(same_file(path, other) for other in others):
        return "would be written, and is named for something else, too"
    return None


def write(path: Path, content: str | bytes, last: bool = True) -> None:
    """Replaces the file in one step: whoever reads it finds the old content or the new."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    if path.exists() and not path.is_file():
        if last:
            path.write_bytes(data)
        return
    replace(Path(os.path.realpath(path)), data)


def replace(path: Path, data: bytes) -> None:
    """The same for a folder in which others may write: what is a link there is replaced and not followed."""
    new = path.with_name(path.name[:-4] + ".new" if len(os.fsencode(path.name)) > 250 else path.name + ".new")
    try:
        if os.path.lexists(new):
            new.unlink()
        descriptor = _fresh(new)
    except (FileExistsError, IsADirectoryError, PermissionError):  # a folder, say, or another user's
        new = path.with_name(f".{secrets.token_hex(8)}.new")
        descriptor = _fresh(new)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.replace(new, path)


def _fresh(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
