"""The points of a class as Canvas and Moodle read them.

Canvas's gradebook import (GradebookImporter in its source) wants the columns of its own export up to `Section`, a
row that begins with "Points Possible", and columns called as its assignments are, "Homework 4 (1234)". It finds
a student by the ID, the SIS ids or the name.

Moodle has two ways. The import of the gradebook (gradeimport_csv_load_data) finds a student by a column that you
map to the email, the username or the ID number; a dash is no grade. The grading worksheet of one assignment
(assignfeedback_offline) comes back with `Identifier`, `Last modified (grade)` and `Grade` as it was downloaded.
"""

import csv
import io
import re

from course.checks import load
from course.grade.roster import LOGINS, POINTS_POSSIBLE, Roster, Student, Unusable, squeeze
from course.grade.rows import Row

CANVAS = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
AHEAD = [*CANVAS, "LastName", "FirstName", "Integration ID", "Root Account"]


# What begins a formula, where a cell begins: also behind a semicolon or a new line, at which a spreadsheet that
# takes semicolons for the ends of cells cuts this one; and the wide signs that one set to Japanese reads alike.
FORMULA = re.compile(r"(^|[;\n\r\t])(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r])")


def no_formula(cell: str) -> str:
    """A text that no spreadsheet runs."""
    return FORMULA.sub(r"\1'", cell)


def canvas(rows: list[Row], roster: Roster, titles: dict[str, str]) -> str:
    """`titles` are those of Canvas's columns, by sheet. Who has no points yet has an empty cell."""
    ahead = [column for column in roster.columns if column in AHEAD] if "ID" in roster.columns else CANVAS
    sheets = _sheets(rows)
    columns = {name: titles.get(name) or _column(name, roster.columns) or name for name in sheets}
    possible = {name: roster.possible.get(columns[name]) or f"{load(name).points}" for name in sheets}
    lines = [[*ahead, *columns.values()]]
    lines.append([f"    {POINTS_POSSIBLE}", *[""] * (len(ahead) - 1), *possible.values()])
    for student in roster.students:
        who = [student.row.get(column, "") for column in ahead]
        if ahead is CANVAS:
            who = [student.name, "", "", student.login, ""]
        lines.append([*who, *(_points(rows, student, name) for name in sheets)])
    return _text(lines)


def moodle(rows: list[Row], roster: Roster, titles: dict[str, str]) -> str:
    """The grading worksheet filled in, where the roster is one, and otherwise a table for the gradebook's import."""
    sheets = _sheets(rows)
    kinds = {squeeze(column): column for column in roster.columns}
    if "identifier" in kinds and "grade" in kinds:
        if len(sheets) > 1:
            raise Unusable(
                f"Moodle's grading worksheet is for one assignment, and there are {', '.join(sheets)}; choose with --sheet"
            )
        return _worksheet(rows, roster, kinds, sheets)
    who = [kinds[kind] for kind in ("username", "idnumber", "emailaddress", "email") if kind in kinds]
    who = who or [kinds[kind] for kind in LOGINS if kind in kinds]
    if not who:
        raise Unusable("Moodle finds a student by email, username or ID number; the roster has none of these columns")
    lines = [[*who, *(head for name in sheets for head in (titles.get(name) or name, f"{titles.get(name) or name} (feedback)"))]]
    for student in roster.students:
        points = [_points(rows, student, name) for name in sheets]
        if any(points):  # a line without grades would only take away those that are there
            says = [_feedback(_of(rows, student, name)) for name in sheets]
            lines.append([*(student.row[column] for column in who), *(cell for pair in zip((p or "-" for p in points), says) for cell in pair)])
    return _text(lines)


def _worksheet(rows: list[Row], roster: Roster, kinds: dict[str, str], sheets: list[str]) -> str:
    lines = [roster.columns]
    for student in roster.students:
        row = dict(student.row)
        if sheets and (points := _points(rows, student, sheets[0])):
            row[kinds["grade"]] = points
            if "feedbackcomments" in kinds:
                row[kinds["feedbackcomments"]] = _feedback(_of(rows, student, sheets[0]))
        lines.append([row[column] for column in roster.columns])
    return _text(lines)


def _sheets(rows: list[Row]) -> list[str]:
    return sorted({row.sheet.name for row in rows if row.sheet})


def _column(sheet: str, columns: list[str]) -> str | None:
    """The column of Canvas's export that has the sheet's name in it, if it is one."""
    found = [column for column in columns if squeeze(sheet) in squeeze(column)]
    return found[0] if len(found) == 1 else None


def _of(rows: list[Row], student: Student, sheet: str) -> Row | None:
    return next((row for row in rows if row.student is student and row.sheet and row.sheet.name == sheet), None)


def _points(rows: list[Row], student: Student, sheet: str) -> str:
    row = _of(rows, student, sheet)
    return "" if row is None or row.open else f"{row.points:g}"


def _feedback(row: Row | None) -> str:
    """A line for each question that lacks points, and for each that was set by hand."""
    if row is None or row.missing:
        return ""
    if row.error:
        return no_formula(f"could not be graded: {row.error}")
    questions = (f"{q.id} {row.points_of(q.id) or 0:g}/{q.points}" for q in row.sheet.questions)
    return no_formula("; ".join([*questions, *map(str, row.overrides.values())]))


def _text(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
