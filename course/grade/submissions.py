"""What was handed in: which files there are to grade, and their bytes, without following a link anywhere."""

import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from course.grade.notebook import Unreadable

LIMIT = 200_000_000  # bytes of a notebook, outputs included
MOST = 200  # notebooks of one student, or whatever else lies at the top of a folder
LOOKED_AT = 20_000  # files and folders in there, or more in a folder alone


@dataclass(frozen=True)
class Submission:
    """A notebook, or with an `error` what is there in the place of one."""

    path: Path
    error: str | None = None


def submissions(path: Path) -> list[Submission]:
    """The notebooks in a folder, one entry at least for each thing that lies at the top of it.

    What is hidden is left out. Any other path stands for itself.
    """
    if os.path.islink(path):
        return [Submission(path, f"a link, to {printable(os.readlink(path))}; links are not followed: name that itself")]
    if not os.path.isdir(path):
        return [Submission(path)]
    found: list[Submission] = []
    for entry in _entries(path):
        below = _below(entry)
        if os.path.isdir(entry) and not below:
            below = [Submission(entry, f"there is no notebook in this folder{_instead(entry)}")]
        found += below
    return found or [Submission(path, "there is no notebook in this folder" + _instead(path))]


def within(path: Path, named: Path, several: bool) -> Path:
    """The place of something in what was `named` on the command line; of `several`, each with its name ahead."""
    if path != named:
        below = path.relative_to(named)
        return Path(named.name, below) if several else below
    return Path(*[part for part in path.parts[-2:] if part not in (path.anchor, os.curdir, os.pardir)] or ["-"])


def _below(path: Path) -> list[Submission]:
    """The notebooks in a folder and the folders in it, or what the path itself stands for."""
    found, todo, seen = [], [path], 0
    while todo:
        entry, seen = todo.pop(), seen + 1
        if len(found) > MOST or seen > LOOKED_AT:
            what = f"more than {MOST} notebooks" if len(found) > MOST else f"more than {LOOKED_AT:,} files"
            says = f"{what} in this folder, of which {MOST if len(found) > MOST else len(found)} were graded; if it holds a class, name that folder itself"
            return [*found[:MOST], Submission(path, says)]
        notebook = entry.suffix.lower() == ".ipynb"
        if os.path.islink(entry) and (notebook or os.path.isdir(entry)):
            found.append(Submission(entry, "a link; links are not followed: hand in the file itself"))
        elif os.path.isdir(entry):
            todo += reversed(_entries(entry, LOOKED_AT))
        elif notebook:
            found.append(Submission(entry))
    return found


def _entries(folder: Path, most: int | None = None) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, most)]
    except OSError:
        return []
    return sorted(folder / name for name in names if not name.startswith("."))


def _instead(folder: Path) -> str:
    names = [printable(Path(entry.name)) for entry in _entries(folder, LOOKED_AT)]
    return f", but {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""


def contents(path: Path) -> bytes:
    """The bytes of a regular file. Raises `Unreadable`."""
    try:
        # Opening a pipe must not wait for somebody who writes to it.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except OSError as error:
        raise Unreadable(error.strerror or "cannot be read") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not an ordinary file")
        if status.st_size > LIMIT:
            raise Unreadable(f"larger than {LIMIT // 1_000_000} MB")
        try:
            data = file.read(LIMIT + 1)
        except OSError as error:
            raise Unreadable(error.strerror or "cannot be read") from None
    if len(data) > LIMIT:  # it grew meanwhile
        raise Unreadable(f"larger than {LIMIT // 1_000_000} MB")
    return data


def printable(text: object) -> str:
    """A name or a message without what a terminal might obey and a file could not hold."""
    lines = not isinstance(text, Path)
    return "".join(char if char.isprintable() or (lines and char == "\n") else "?" for char in str(text))
