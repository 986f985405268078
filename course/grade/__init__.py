"""`python -m course grade FILE_OR_FOLDER...`: the score of completed exercise sheets.

Answers are found by the name of their function, run in processes of their own (`course.sandbox`) and judged
here, by the judges that the notebook uses, on more seeds.
"""

import argparse
import contextlib
import difflib
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from course.check import Result, assess, cases
from course.checks import Question, Sheet, sheets
from course.grade import report
from course.grade.notebook import Notebook, Unreadable, read
from course.grade.runner import Runner

SEEDS = range(5)

EXIT_CODES = """exit codes:
  0    everything was graded, whatever the score
  1    at least one file could not be graded at all
  2    the command line was wrong
  130  interrupted; no file was written
"""


@dataclass
class Graded:
    """One notebook: its results so far or, where it could not be graded, the `error`.

    An ungraded one has the sheet that its file is named after, if any.
    """

    path: Path
    sheet: Sheet | None = None
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="a notebook, or a folder of them"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row for each notebook")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that is known")
    parser.add_argument(
        "--gradescope", type=Path, metavar="FILE", help="write Gradescope's results.json, for one student"
    )
    parser.add_argument(
        "--seconds", type=_positive, help="time for each question (default: what the sheet says)"
    )
    parser.add_argument(
        "--memory",
        type=_positive,
        default=2.0,
        metavar="GB",
        help="memory for each question (default: %(default)g)",
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError
    return number


_positive.__name__ = "positive number"  # argparse says: invalid positive number value: '-1'


def run(args: argparse.Namespace) -> int:
    for output in filter(None, (args.csv, args.json, args.gradescope)):
        if output.is_dir() or not output.parent.is_dir():
            print(f"{output} is a folder, or in a folder that is not there", file=sys.stderr)
            return 2
    files = [file for path in args.paths for file in notebooks(path)]
    if args.gradescope and len(files) > 1 and not of_one_learner(files):
        print(
            "--gradescope is for one student: give one file, or one folder with a file for each sheet",
            file=sys.stderr,
        )
        return 2
    console, graded, interrupted = Console(highlight=False, markup=False, soft_wrap=True), [], False
    hidden = {file.resolve().parent for file in files} | {
        path.resolve() for path in args.paths if path.is_dir()
    }
    with Runner(int(args.memory * 1e9), hidden) as runner:
        try:
            with console.status("") as status:
                for file in files:
                    status.update(Text(str(file)))
                    graded.append(Graded(file))
                    grade(graded[-1], runner, args.seconds)
        except KeyboardInterrupt:
            interrupted = True
            for one in graded[-1:]:
                one.notes.append("interrupted: what is missing here was not graded")
    report.show(console, graded, runner, len(files) if interrupted else None)
    if interrupted:
        return 130
    for output, content in (
        (args.csv, report.as_csv),
        (args.json, report.as_json),
        (args.gradescope, report.as_gradescope),
    ):
        if output:
            report.write(output, content(graded, runner))
    return 1 if any(one.error for one in graded) else 0


def notebooks(path: Path) -> list[Path]:
    """The notebooks in a folder, but for those in hidden folders. Any other path stands for itself."""
    found = [
        file
        for file in sorted(path.rglob("*.ipynb"))
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    return found or [path]


def of_one_learner(files: list[Path]) -> bool:
    """Whether the files lie in one folder and are of different sheets."""
    names = []
    for file in files:
        with contextlib.suppress(Unreadable):
            names.append(sheet_of(read(file), file).name)
    return len({file.resolve().parent for file in files}) == 1 and len(set(names)) == len(names)


def grade(graded: Graded, runner: Runner, seconds: float | None = None) -> None:
    """Fills in the results; what is wrong in a notebook costs no more than the questions that it concerns."""
    if graded.path.is_dir():
        graded.error = "there is no notebook in this folder"
        return
    try:
        notebook = read(graded.path)
        graded.sheet = sheet_of(notebook, graded.path)
    except Unreadable as error:
        graded.error = str(error)
        graded.sheet = next((sheet for sheet in sheets() if sheet.name in graded.path.stem), None)
        return
    graded.notes += notebook.notes
    for question in graded.sheet.questions:
        result, notes = answer(question, notebook, runner, seconds or question.seconds)
        graded.results.append(result)
        graded.notes += notes


def sheet_of(notebook: Notebook, path: Path) -> Sheet:
    """The sheet that the notebook declares, or its file is named after, or of whose functions it has most."""
    known = sheets()
    for fits in (lambda sheet: sheet.name == notebook.sheet, lambda sheet: sheet.name in path.stem):
        for sheet in filter(fits, known):
            return sheet
    count = {
        sheet.name: sum(bool(notebook.cells_with(q.function)) for q in sheet.questions) for sheet in known
    }
    best = max(known, key=lambda sheet: count[sheet.name], default=None)
    if not best or not count[best.name]:
        raise Unreadable("it belongs to no sheet, by its metadata, its file name or its functions")
    return best


def answer(
    question: Question, notebook: Notebook, runner: Runner, seconds: float
) -> tuple[Result, list[str]]:
    """The result of one question, and notes on how its answer was found."""
    name, notes = question.function, []
    where = notebook.cells_with(name)
    if not where:
        if broken := notebook.broken_with(name):
            return Result(question, says=broken), notes
        others = [other for statement in notebook.statements for other in statement.defines]
        near = difflib.get_close_matches(name, others, n=1)
        hint = f"; there is `{near[0]}`: was it renamed?" if near else ""
        return Result(question, says=f"there is no function `{name}` in the notebook{hint}"), notes
    if len(where) > 1:
        notes.append(
            f"{question.id}: `{name}` is defined {len(where)} times "
            f"(cells {', '.join(map(str, where))}); the last one counts"
        )
    tried = cases(question, SEEDS)
    calls = [[inputs for _, inputs in part] for part in tried]
    outcomes, trouble = runner.run(notebook.needed(name), name, calls, seconds)
    if trouble:
        notes.append(f"{question.id}: {trouble}")

    def outcome(part: int, case: int) -> dict:
        came = outcomes[part][case]
        if trouble and "error" in came:  # a cell that went wrong before is the likely cause
            came = came | {"where": "\n".join(filter(None, (came.get("where"), f"before that, {trouble}")))}
        return came

    return assess(question, tried, outcome), notes
