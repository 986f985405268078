"""The lines of a class's result: a student and a sheet, what was handed in for it, and what was overridden."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.checks import Sheet, sheets
from course.grade.judge import Graded
from course.grade.roster import Roster, Student, Unusable, late, squeeze, table
from course.grade.submissions import printable

TOTAL = "total"
Points = int | float


@dataclass(frozen=True)
class Override:
    """Points that the instructor gave, and why: for one question, or for the whole sheet as the "total"."""

    student: str
    sheet: str  # or "", where there is no doubt
    question: str
    points: Points
    reason: str

    def __str__(self) -> str:
        return f"{self.question}: {self.points:g}, set by hand: {self.reason}"


@dataclass
class Row:
    """What one student, or one file where there is no roster, has for one sheet."""

    student: Student | None
    sheet: Sheet | None
    one: Graded | None  # nothing was handed in
    notes: list[str] = field(default_factory=list)
    overrides: dict[str, Override] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        return self.one is None

    @property
    def open(self) -> bool:
        """Whether there are no points yet, not even zero."""
        return not self.overrides and (self.one is None or self.one.failed)

    @property
    def name(self) -> str:
        return self.student.name or self.student.login if self.student else printable(self.one.within)

    @property
    def found(self) -> dict[str, Points]:
        """What the grader gave for each question."""
        return {result.question.id: result.points for result in self.one.results} if self.one else {}

    @property
    def points(self) -> Points:
        if TOTAL in self.overrides:
            return self.overrides[TOTAL].points
        return sum((self.found | {id: one.points for id, one in self.overrides.items()}).values())

    def points_of(self, id: str) -> Points | None:
        return self.overrides[id].points if id in self.overrides else self.found.get(id)

    @property
    def error(self) -> str:
        return "missing" if self.one is None else self.one.error or ""


def rows(graded: list[Graded], roster: Roster | None, overrides: list[Override], latest: bool, sheet: str | None) -> tuple[list[Row], list[str]]:
    """All lines, in the order of the roster, and what is to be said of overrides that fit nowhere.

    Of several attempts of a student at a sheet the one with the most points counts or, if wanted, the latest.
    """
    found = _of_files(graded) if roster is None else _of_students(graded, roster, latest, sheet)
    return found, [problem for override in overrides if (problem := _apply(override, found, roster))]


def _of_files(graded: list[Graded]) -> list[Row]:
    return [Row(None, one.sheet, one, list(one.notes)) for one in graded]


def _of_students(graded: list[Graded], roster: Roster, latest: bool, sheet: str | None) -> list[Row]:
    known = {sheet.name: sheet for sheet in sheets()}
    wanted = sorted({one.sheet.name for one in graded if one.sheet} | ({sheet} if sheet else set()))
    attempts: dict[tuple[int, str], list[Graded]] = {}
    strangers = []
    for one in graded:
        owners = roster.owners(one.within, known)
        if len(owners) != 1:
            doubt = " or ".join(owner.name for owner in owners)
            strangers.append(Row(None, one.sheet, one, [f"may be {doubt}'s" if owners else "of nobody on the roster", *one.notes]))
            continue
        # What cannot be read is an attempt at the sheet of all the others.
        name = one.sheet.name if one.sheet else wanted[0] if len(wanted) == 1 else ""
        attempts.setdefault((id(owners[0]), name), []).append(one)
    found = []
    for student in roster.students:
        for name in [*wanted, ""] if wanted else [""]:
            tries = attempts.get((id(student), name), [])
            if not tries and not name and wanted:
                continue
            counts = max(tries, key=(_when if latest else worth), default=None)
            notes = list(counts.notes) if counts else []
            notes += [f"{printable(other.within)} does not count: {_less(other, latest)}" for other in tries if other is not counts]
            notes += ["it came late, says its name"] if counts and late(counts.within) else []
            found.append(Row(student, known.get(name), counts, notes))
    return found + strangers


def worth(one: Graded) -> tuple:
    return not one.failed, one.points, not one.error, one.modified


def _when(one: Graded) -> tuple:
    return one.modified, one.within.as_posix()


def _less(one: Graded, latest: bool) -> str:
    return "it is older" if latest else f"it has {one.points:g} points" if not one.error else f"it could not be graded: {printable(one.error)}"


def _apply(override: Override, found: list[Row], roster: Roster | None) -> str | None:
    """Puts it where it belongs; if there is no such place, why."""
    students = roster.called(override.student) if roster else []
    mine = [row for row in found if (row.student in students if row.student else is_at(override.student, row.one.within))]
    mine = [row for row in mine if override.sheet in ("", row.sheet and row.sheet.name)]
    mine = [row for row in mine if row.sheet and override.question in (TOTAL, *(q.id for q in row.sheet.questions))]
    says = f"the override of {override.question} for {printable(override.student)} was not used"
    if not mine:
        return f"{says}: there is no sheet of theirs with that question"
    if len(mine) > 1:
        if len({row.sheet for row in mine}) > 1:
            return f"{says}: it may mean {' or '.join(row.sheet.name for row in mine)}; name one in a column `sheet`"
        return f"{says}: it may mean {' or '.join(row.name for row in mine)}; name the file in full"
    row = mine[0]
    most = row.sheet.points if override.question == TOTAL else row.sheet.question(override.question).points
    if override.points > most:
        return f"{says}: there are {most} points for that, not {override.points:g}"
    row.overrides[override.question] = override
    return None


def is_at(text: str, within: Path) -> bool:
    """Whether that names the file, with or without its ending, or a folder on the way to it."""
    ways = {within.as_posix(), within.with_suffix("").as_posix(), *within.parts, within.stem}
    return text in ways or squeeze(text) in set(map(squeeze, ways))


def overrides(path: Path, roster: Roster | None, places: Iterable[Path] | None) -> list[Override]:
    """Those of a CSV file with the columns student, question, points, reason and perhaps sheet. Raises `Unusable`.

    Without a roster a student is one of the `places`, if these are known.
    """
    columns, lines = table(path)
    kinds = {squeeze(column): column for column in columns}
    lacking = [name for name in ("student", "question", "points", "reason") if name not in kinds]
    if lacking:
        raise Unusable(f"{printable(path)}: there is no column {' and none '.join(lacking)}; there should be student, question, points and reason")
    known = {sheet.name: sheet for sheet in sheets()}
    found, seen = [], {}
    for line, row in lines:
        student, sheet, question, points, reason = (
            (row.get(kinds.get(kind, "")) or "").strip() for kind in ("student", "sheet", "question", "points", "reason")
        )
        problem = _problem(student, sheet, question, points, reason, known)
        problem = problem or _nobody(student, roster, places)
        if problem:
            raise Unusable(f"{printable(path)}, line {line}: {problem}")
        key = (squeeze(student), sheet, question)
        if key in seen:
            raise Unusable(f"{printable(path)}, line {line}: {question} of {printable(student)} is set in line {seen[key]} already")
        seen[key] = line
        number = float(points.replace(",", "."))
        found.append(Override(student, sheet, question, int(number) if number.is_integer() else number, printable(reason).replace("\n", " ")))
    return found


def _problem(student: str, sheet: str, question: str, points: str, reason: str, known: dict[str, Sheet]) -> str | None:
    if not student or not question:
        return f"it names no {'question' if student else 'student'}"
    if sheet and sheet not in known:
        return f"no sheet is called {printable(sheet)}; there are {', '.join(known)}"
    asked = [known[sheet]] if sheet else known.values()
    if question != TOTAL and not any(q.id == question for one in asked for q in one.questions):
        return f"there is no question {printable(question)}{f' in {sheet}' if sheet else ''}; a question is called q1, say, and all of them total"
    try:
        number = float(points.replace(",", "."))
    except ValueError:
        return f"{printable(points) or 'nothing'!r} is no number of points"
    if not 0 <= number <= 1000:
        return f"{printable(points)} is no number of points from 0 up"
    if not reason:
        return "it gives no reason; the student will read it"
    return None


def _nobody(student: str, roster: Roster | None, places: Iterable[Path] | None) -> str | None:
    if roster is None:
        if places is not None and not any(is_at(student, within) for within in places):
            return f"nothing that was handed in is called {printable(student)}"
        return None
    found = roster.called(student)
    if not found:
        return f"nobody on the roster is called {printable(student)}"
    if len(found) > 1:
        return f"{printable(student)} may be {' or '.join(one.login or one.name for one in found)}; give the login or the email"
    return None
