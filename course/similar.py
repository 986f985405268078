"""`python -m course similar FOLDER`: which answers look alike, for a person to read side by side.

Each answer, with the helpers that it calls, becomes the sequence of its syntax (names, comments, docstrings and
annotations do not count); runs of it are hashed, and of each window of hashes the least is kept (winnowing:
Schleimer, Wilkerson and Aiken, SIGMOD 2003). What the sheet hands out does not count, nor what more than half of
a class has: there are only so many ways to write a softmax. What is left and shared is a reason to look. It is
never proof: two who learned from the same page write alike, and who copies well does not.
"""

import argparse
import ast
import csv
import functools
import io
import itertools
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import course
from course.checks import load
from course.grade.gradebook import no_formula
from course.grade.judge import sheet_of
from course.grade.notebook import Notebook, Unreadable, parse
from course.grade.report import cannot_write, would_replace, write
from course.grade.submissions import contents, printable, submissions, within
from course.grade.worker import result

ROOT = Path(course.__file__).resolve().parent.parent
RUN, WINDOW = 8, 4  # pieces of syntax in a hash; hashes of which one is kept
ENOUGH = 10  # an answer with fewer of its own says nothing
CLASS = 6  # from so many on there is a custom
SECONDS = 60
WARNING = "This is no proof. Short right answers look alike by themselves: read both before you speak with anybody."

Prints = dict[str, set[int]]  # by question


@dataclass(frozen=True)
class Pair:
    """Two submissions to a sheet: how much of what is theirs alone they share, in all and by question."""

    share: float
    sheet: str
    one: str
    other: str
    questions: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="what was handed in")
    parser.add_argument("--least", type=_share, default=0.6, metavar="SHARE", help="show pairs from there on, 0 to 1 (default: %(default)s)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all pairs that share anything")


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


_share.__name__ = "share from 0 to 1"


def run(args: argparse.Namespace) -> int:
    sys.stdout.reconfigure(errors="replace")
    if args.csv and (problem := cannot_write(args.csv) or would_replace(args.csv, args.paths)):
        print(f"{printable(args.csv)}: {problem}", file=sys.stderr)
        return 2
    found: dict[str, dict[str, Prints]] = {}
    unread, names = 0, set()
    for named in args.paths:
        for one in submissions(named):
            name = printable(within(one.path, named, len(args.paths) > 1))
            name = name if name not in names else printable(one.path)  # two years' folders have the same names
            while name in names:
                name += " (again)"
            names.add(name)
            said, error = ({}, one.error) if one.error else result(functools.partial(_read, one.path), SECONDS)
            if error or "error" in said or "sheet" not in said:
                print(f"{name}: not compared: {printable(error or said.get('error') or 'nothing came back')}", file=sys.stderr)
                unread += 1
                continue
            found.setdefault(said["sheet"], {})[name] = {id: set(prints) for id, prints in said["prints"].items()}
    pairs = [pair for sheet, handed in sorted(found.items()) for pair in compare(sheet, handed)]
    for pair in (pair for pair in pairs if pair.share >= args.least):
        each = ", ".join(f"{id} {share:.0%}" for id, share in pair.questions.items())
        print(f"{pair.share:4.0%}  {pair.one}\n      {pair.other}\n      {pair.sheet}: {each}")
    if not any(pair.share >= args.least for pair in pairs):
        print(f"No two share {args.least:.0%} or more of what is theirs alone.")
    print(WARNING)
    if args.csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["share", "sheet", "one", "other", "questions"])
        for pair in pairs:
            each = "; ".join(f"{id} {share:.2f}" for id, share in pair.questions.items())
            writer.writerow([f"{pair.share:.2f}", pair.sheet, no_formula(pair.one), no_formula(pair.other), each])
        write(args.csv, text.getvalue())
    return 1 if unread else 0


def compare(sheet: str, handed: dict[str, Prints]) -> list[Pair]:
    """All pairs that share something, the most alike first; the book's own solution is one of those compared."""
    given = _of_the_book("exercises", sheet)
    handed = {name: {id: own - given.get(id, set()) for id, own in prints.items()} for name, prints in handed.items()}
    if len(handed) >= CLASS:
        for id in {id for prints in handed.values() for id in prints}:
            times = Counter(one for prints in handed.values() for one in prints.get(id, ()))
            custom = {one for one, number in times.items() if number > len(handed) / 2}
            for prints in handed.values():
                prints[id] = prints.get(id, set()) - custom
    if solution := _of_the_book("solutions", sheet):
        handed = handed | {"(the book's solution)": {id: own - given.get(id, set()) for id, own in solution.items()}}
    pairs = []
    for (one, mine), (other, theirs) in itertools.combinations(handed.items(), 2):
        sizes = {id: min(len(mine[id]), len(theirs[id])) for id in mine.keys() & theirs.keys()}
        sizes = {id: size for id, size in sorted(sizes.items()) if size >= ENOUGH}
        shared = {id: len(mine[id] & theirs[id]) for id in sizes}
        if any(shared.values()):
            share = sum(shared.values()) / sum(sizes.values())
            pairs.append(Pair(share, sheet, one, other, {id: shared[id] / sizes[id] for id in sizes}))
    return sorted(pairs, key=lambda pair: (-pair.share, pair.one, pair.other))


def _of_the_book(folder: str, sheet: str) -> Prints:
    path = ROOT / folder / f"{sheet}.ipynb"
    return prints_of(parse(path.read_bytes()), sheet) if path.exists() else {}


def _read(path: Path, send: Callable[[dict], None]) -> None:
    try:
        notebook = parse(contents(path))
        sheet, _ = sheet_of(notebook, path)
    except Unreadable as error:
        send({"error": str(error)})
        return
    send({"sheet": sheet.name, "prints": {id: sorted(own) for id, own in prints_of(notebook, sheet.name).items()}})


def prints_of(notebook: Notebook, sheet: str) -> Prints:
    """The fingerprints of each answer in a notebook, with those of the functions that it needs, wherever these stand."""
    found = {}
    for question in load(sheet).questions:
        needed = notebook.needed(question.function)
        nodes = [s.node for s in notebook.statements if s.binds & needed]
        found[question.id] = set().union(*(fingerprints(part) for node in nodes for part in _defined(node)))
    return found


def _defined(node: ast.AST) -> list[ast.AST]:
    """The functions and classes in a statement, but not those inside of one another."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        return [node]
    return [found for part in ast.iter_child_nodes(node) for found in _defined(part)]


def fingerprints(node: ast.AST) -> set[int]:
    """Hashes of runs of its syntax, the least of each window."""
    pieces = list(_syntax(node))
    hashes = [zlib.crc32("\n".join(pieces[at : at + RUN]).encode()) for at in range(max(1, len(pieces) - RUN + 1))]
    return {min(hashes[at : at + WINDOW]) for at in range(max(1, len(hashes) - WINDOW + 1))}


def _syntax(node: ast.AST):
    """Its pieces in the order of the text: what each is, and the words that are the library's or Python's."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    yield type(node).__name__
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Constant):
        yield repr(node.value)[:40]
    elif isinstance(node, ast.keyword):
        yield node.arg or "**"
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "ctx", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _syntax(child)
