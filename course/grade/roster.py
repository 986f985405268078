"""Who handed in what: a roster, and the names that Canvas and Moodle give to what is downloaded.

    Canvas   adamsann_LATE_4711_815_04_attention_as_lookup-1.ipynb    name, account, file, the name it had
    Moodle   Ann Adams_4711_assignsubmission_file_/04_....ipynb       name, participant; or all in one file name

Canvas: ContentZipper#get_filename, and Moodle: mod_assign\\downloader::get_student_prefix, in their sources.
"""

import csv
import functools
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from course.grade.submissions import printable

LIMIT = 10_000_000  # bytes of a table
CANVAS = re.compile(r"(?P<name>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_\d+_(?P<rest>.*)", re.DOTALL)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<rest>.*)", re.DOTALL)
NAMES = "student name fullname studentname".split()
FIRST, LAST = "firstname givenname".split(), "lastname surname familyname".split()
LOGINS = "sisloginid username login emailaddress email sisuserid idnumber studentid studentnumber userid id".split()
POINTS_POSSIBLE = "Points Possible"
NAMED = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


class Unusable(ValueError):
    """A file of the instructor's that cannot be used; the message says which, where and why."""


@dataclass(frozen=True)
class Student:
    """A line of the roster: `row` as it stands, the `name`, all `logins`, and what a download may call them."""

    name: str
    row: dict[str, str]
    names: frozenset[str]
    logins: frozenset[str]
    account: str  # Canvas's number
    participant: str  # Moodle's number in one assignment

    @property
    def login(self) -> str:
        """What tells this student from others of the same name: the first that there is."""
        for wanted in LOGINS:
            for column, value in self.row.items():
                if squeeze(column) == wanted and value:
                    return value
        return ""


def table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and its rows with the lines they end in. Raises `Unusable`."""
    try:
        if not path.is_file():
            raise Unusable(f"{printable(path)}: {'not a file' if path.exists() else 'there is no such file'}")
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise Unusable(f"{printable(path)}: {error.strerror or 'cannot be read'}") from None
    if len(data) > LIMIT:
        raise Unusable(f"{printable(path)}: larger than {LIMIT // 1_000_000} MB, so not a table of a class")
    text = _decoded(data, path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)  # a spreadsheet in half of Europe writes semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [column.strip() for column in next(reader, [])]
        rows = []
        for row in reader:
            if any(map(str.strip, row[len(header) :])):
                raise Unusable(
                    f"{printable(path)}, line {reader.line_num}: it has more cells than the first line has columns; "
                    f"a text with {NAMED[separator]} in it goes into quotes"
                )
            if any(map(str.strip, row)):
                rows.append((reader.line_num, dict(zip(header, row))))
    except csv.Error as error:
        raise Unusable(f"{printable(path)}, line {reader.line_num}: not CSV: {error}") from None
    twice = {column for column in header if column and header.count(column) > 1}
    if twice:
        raise Unusable(f"{printable(path)}: two columns are called {min(twice)!r}")
    if not header or not any(header):
        raise Unusable(f"{printable(path)}: it is empty; its first line should name the columns")
    return header, rows


def _decoded(data: bytes, path: Path) -> str:
    encodings = ["utf-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise Unusable(f"{printable(path)}: not a text, so not CSV (a spreadsheet saves as 'CSV UTF-8')")


@dataclass(frozen=True)
class Roster:
    """`columns` and the rows as they came, for a gradebook to give back, and the students among them."""

    columns: list[str]
    students: list[Student]
    possible: dict[str, str]  # Canvas's row of points that can be had

    def called(self, text: str) -> list[Student]:
        """Those of whom that is a login or, where it is nobody's, the name."""
        return self._logins.get(text.strip().casefold()) or self._names.get(squeeze(text)) or []

    @functools.cached_property
    def _names(self) -> dict[str, list[Student]]:
        return _index(self.students, lambda student: student.names)

    @functools.cached_property
    def _numbers(self) -> dict[str, dict[str, list[Student]]]:
        kinds = ("participant", "account")
        return {kind: _index(self.students, lambda student: [getattr(student, kind)]) for kind in kinds}

    @functools.cached_property
    def _logins(self) -> dict[str, list[Student]]:
        return _index(self.students, lambda student: student.logins)

    def owners(self, within: Path, sheets: Iterable[str] = ()) -> list[Student]:
        """The students to whom a submission at that place may belong: one, or there is a doubt."""
        for place, part in enumerate(within.parts, 1):  # whoever is named first: what stands behind, a student chose
            if found := MOODLE.fullmatch(part):
                return self._numbered("participant", found)
            if (found := CANVAS.fullmatch(part)) and (owners := self._numbered("account", found)):
                return owners
            part = part.removesuffix(within.suffix) if place == len(within.parts) else part
            for sheet in sorted(sheets, key=len, reverse=True):
                part = part.replace(sheet, "")
            for text in (part, re.sub(r"[-_ ]*(\(\d+\)|-\d)$", "", part)):
                if owners := self.called(text.strip(" _-")):
                    return owners
        return []

    def _numbered(self, kind: str, found: re.Match) -> list[Student]:
        return self._numbers[kind].get(found["number"]) or self._names.get(squeeze(found["name"])) or []


def _index(students: list[Student], words: Callable[[Student], Iterable[str]]) -> dict[str, list[Student]]:
    found: dict[str, list[Student]] = {}
    for student in students:
        for word in words(student):
            found.setdefault(word, []).append(student)
    return found


def late(within: Path) -> bool:
    """Whether Canvas's name for it says that it came late."""
    return any((found := CANVAS.fullmatch(part)) and found["late"] for part in within.parts)


def roster(path: Path) -> Roster:
    """The students of a CSV file: Canvas's gradebook, Moodle's grades or grading worksheet, or one of your own
    that has a column `name`, or `first name` and `last name`, and `email`, `login` or `id`. Raises `Unusable`.
    """
    columns, rows = table(path)
    kinds = {squeeze(column): column for column in columns}
    if not any(kind in kinds for kind in [*NAMES, *LAST, *LOGINS]):
        raise Unusable(
            f"{printable(path)}: no column says who is who; there should be one called name, student, email, "
            f"login or id, and there {'is' if len(columns) == 1 else 'are'} {', '.join(filter(None, columns))}"
        )
    students, possible, seen = [], {}, {}
    for line, row in rows:
        row = {column: (row.get(column) or "").strip() for column in columns}
        name = _name(row, kinds)
        if name.startswith(POINTS_POSSIBLE):
            possible = row
            continue
        student = _student(name, row, kinds)
        if not student.name and not student.logins:
            continue  # such as Canvas's row on which columns are posted by hand
        unique = (squeeze(student.name), student.logins)
        if unique in seen:
            raise Unusable(f"{printable(path)}, line {line}: the same student as in line {seen[unique]}")
        seen[unique] = line
        students.append(student)
    if not students:
        raise Unusable(f"{printable(path)}: there is no student in it")
    return Roster(columns, students, possible)


def _name(row: dict[str, str], kinds: dict[str, str]) -> str:
    for kind in NAMES:
        if kind in kinds:
            return row[kinds[kind]]
    first, last = (next((row[kinds[kind]] for kind in words if kind in kinds), "") for words in (FIRST, LAST))
    return f"{first} {last}".strip()


def _student(name: str, row: dict[str, str], kinds: dict[str, str]) -> Student:
    logins = set()
    for kind in LOGINS:
        if value := row.get(kinds.get(kind, ""), "").casefold():
            logins |= {value, value.partition("@")[0] or value}
    participant = re.search(r"\d+$", row.get(kinds.get("identifier", ""), ""))
    account = row.get(kinds.get("id", ""), "")
    names = frozenset(_ways_to_write(name))
    return Student(name, row, names, frozenset(logins), account, participant[0] if participant else "")


def _ways_to_write(name: str) -> set[str]:
    """'adamsann' and 'annadams' of 'Ann Adams' and of 'Adams, Ann': each turn of its words, run together."""
    words = [word for word in re.split(r"[\s,_]+", name) if squeeze(word)]
    return {squeeze("".join(words[turn:] + words[:turn])) for turn in range(len(words))}


def squeeze(text: str) -> str:
    """A name as its letters and digits: without accents, spaces, signs and capitals."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if letter.isalnum())
