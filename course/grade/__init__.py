"""`python -m course grade FILE_OR_FOLDER...`: the score of completed exercise sheets.

This process reads nothing that was handed in. Each notebook is read and judged in a bounded process of its own
(`worker`, `judge`), which has the answers run in further ones (`runner`, `course.sandbox`), by the judges that
the notebook uses, on more seeds.
"""

import argparse
import functools
import gc
import math
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from course.checks import sheets
from course.grade import gradebook, report
from course.grade.judge import SEEDS, Graded, Limits, control, grade
from course.grade.roster import Unusable, roster
from course.grade.rows import overrides, worth
from course.grade.runner import PROTECTIONS, Broken, Runner
from course.grade.submissions import printable, submissions, within
from course.grade.worker import Worker, result, wait

__all__ = ["Graded", "Limits", "Runner", "grade"]

SECONDS = 1_000  # for one notebook, all in all

EXIT_CODES = """exit codes:
  0    everything was graded, whatever the score
  1    at least one file could not be graded at all, or nothing could
  2    the command line was wrong
  130  interrupted; the files hold what was graded, and with --json the same command goes on from there
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="a notebook, or a folder of them"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row for each notebook")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that is known")
    parser.add_argument(
        "--feedback", type=Path, metavar="FOLDER", help="write a page for each submission, for its student to read"
    )
    parser.add_argument(
        "--roster",
        type=Path,
        metavar="FILE",
        help="a CSV of the class: Canvas's gradebook, Moodle's grades or grading worksheet, or columns name, email",
    )
    parser.add_argument("--canvas", type=Path, metavar="FILE", help="write a CSV for Canvas's gradebook (needs --roster)")
    parser.add_argument("--moodle", type=Path, metavar="FILE", help="write a CSV for Moodle's gradebook (needs --roster)")
    parser.add_argument(
        "--column",
        type=_column,
        action="append",
        default=[],
        metavar="SHEET=TITLE",
        help="what that sheet is called there, such as '04_attention_as_lookup=Homework 4 (1234)'",
    )
    parser.add_argument(
        "--overrides",
        type=Path,
        metavar="FILE",
        help="a CSV of points set by hand: student, question (or total), points, reason",
    )
    parser.add_argument(
        "--merge",
        type=Path,
        metavar="FILE",
        help="what an earlier --json knows of other notebooks is kept, and written anew with the rest",
    )
    parser.add_argument(
        "--several",
        choices=("best", "latest"),
        default="best",
        help="which of a student's attempts at a sheet counts (default: %(default)s)",
    )
    parser.add_argument("--sheet", choices=[sheet.name for sheet in sheets()], metavar="SHEET", help="only this sheet is graded")
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
        help="memory for the answers of one notebook (default: %(default)g)",
    )
    parser.add_argument(
        "--seeds",
        type=_count,
        default=SEEDS,
        metavar="N",
        help="try each answer on the inputs of N seeds; the notebook tries 3 (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=_count,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="notebooks at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--unprotected",
        action="store_true",
        help="grade also where this system cannot keep answers from its files, network and processes: "
        "for notebooks that you trust",
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 1000:
        raise ValueError
    return number


def _column(text: str) -> tuple[str, str]:
    sheet, _, title = text.partition("=")
    if not title or sheet not in [known.name for known in sheets()]:
        raise ValueError
    return sheet, title


# argparse says: invalid positive number value: '-1'
_positive.__name__, _count.__name__, _column.__name__ = "positive number", "number from 1 to 1000", "SHEET=TITLE"


def run(args: argparse.Namespace) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal of another encoding loses a letter, not a report
    outputs = [output for output in (args.csv, args.json or args.merge, args.gradescope, args.canvas, args.moodle) if output]
    merged = [args.merge] if args.merge and args.json and not report.same_file(args.merge, args.json) else []
    inputs = [path for path in (args.roster, args.overrides, *merged, *args.paths) if path]
    for number, output in enumerate(outputs):
        if problem := report.cannot_write(output) or report.would_replace(output, [*outputs[:number], *inputs]):
            print(f"{printable(output)}: {problem}", file=sys.stderr)
            return 2
    try:
        book = _prepared(args)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    graded, limits = book.graded, book.limits
    todo = [number for number, one in enumerate(graded) if one.failed and one.path in book.named]
    if args.gradescope and not args.sheet and len({one.path.resolve().parent for one in graded}) > 1:
        return _not_one_student()
    args.json = args.json or args.merge
    if args.json and not args.merge:
        book.resume(args.json, todo)
        todo = [number for number in todo if graded[number].failed]

    def save(last: bool = False) -> None:
        for output, content in ((args.csv, book.as_csv), (args.json, book.as_json)):
            if output:
                report.write(output, content(), last)

    interrupted, broken = False, None
    runner = Runner(int(args.memory * 1e9))
    with runner:
        try:
            if todo:
                book.protected = _tried(runner, args.unprotected)
                save()
                broken = _grade_all(book, _fairly(book, todo), runner, args.jobs, Sparingly(save))
        except Broken as error:
            print(f"could not be graded: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            interrupted = True
    if broken:
        for one in graded:
            one.error = broken if one.failed else one.error
    book.complete = not interrupted and not broken
    save(last=True)
    trouble = _for_the_class(book, args)
    report.show(Console(highlight=False, markup=False, soft_wrap=True), book)
    if broken:
        print(f"could not be graded: {broken}", file=sys.stderr)
    if interrupted:
        left = sum(one.failed for one in graded)
        print(f"Interrupted: {len(graded) - left} of {len(graded)} graded.", file=sys.stderr)
        return 130
    if args.gradescope:
        if args.sheet:  # whatever a student sends, the best of it counts
            graded[:] = sorted(graded, key=worth)[-1:]
        if len({one.sheet for one in graded if one.sheet}) < sum(one.sheet is not None for one in graded):
            return _not_one_student()
        report.write(args.gradescope, book.as_gradescope(), last=True)
    return 1 if broken or trouble or any(one.error for one in graded) else 0


def _prepared(args: argparse.Namespace) -> "report.Book":
    """The book before anything is graded. Raises `Unusable`, in words about the file that is to blame."""
    handed = [(one, path) for path in args.paths for one in submissions(path)]
    graded = []
    for one, named in handed:
        place = within(one.path, named, several=len(args.paths) > 1)
        error = one.error or "not graded yet"
        graded.append(Graded(one.path, error=error, failed=not one.error, within=place, modified=_modified(one.path)))
    book = report.Book(graded, Limits(args.seconds, args.seeds, args.sheet), args.memory, latest=args.several == "latest")
    book.named = {one.path for one in graded}
    if args.roster:
        book.roster = roster(args.roster)
    elif args.canvas or args.moodle:
        raise Unusable("--canvas and --moodle need --roster: the class, as Canvas or Moodle exports it")
    if args.overrides:
        places = [one.within for one in graded]
        book.overrides = overrides(args.overrides, book.roster, None if args.merge else places)
    if args.merge:
        book.merge(args.merge)
    if args.feedback and args.feedback.exists() and not args.feedback.is_dir():
        raise Unusable(f"{printable(args.feedback)}: --feedback wants a folder, and this is a file")
    return book


def _modified(path: Path) -> int:
    try:
        return int(os.lstat(path).st_mtime)
    except OSError:
        return 0


def _for_the_class(book: "report.Book", args: argparse.Namespace) -> bool:
    """Writes what is for the students and for their gradebooks; whether something went wrong with that."""
    lines, unused = book.rows()
    titles, problems = dict(args.column), []
    for output, content in ((args.canvas, gradebook.canvas), (args.moodle, gradebook.moodle)):
        if output:
            try:
                report.write(output, content(lines, book.roster, titles))
            except Unusable as error:
                problems.append(str(error))
    if args.feedback:
        problems += book.write_feedback(args.feedback)
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems or unused)


def _not_one_student() -> int:
    print(
        "--gradescope is for one student: give one file, or one folder with a file for each sheet",
        file=sys.stderr,
    )
    return 2


def _tried(runner: Runner, unprotected: bool) -> list[str]:
    """Which protections are on, once a known answer came back. Raises `Broken`.

    Where some are not to be had, answers run only if that was asked for.
    """
    protected = []
    try:
        protected = checked(runner)
        why = f"this system cannot enforce, for answers: {report.without(protected)}"
    except Broken as error:
        why = str(error)
    if set(protected) == set(PROTECTIONS):
        return protected
    if not unprotected:
        raise Broken(f"{why}; --unprotected grades all the same, for notebooks that you trust")
    print(f"Warning: {why}. Grade only notebooks that you trust.", file=sys.stderr, flush=True)
    if "files" not in protected:
        runner.bare = True
        runner.restart()
        protected = checked(runner)
    return protected


def checked(runner: Runner) -> list[str]:
    """Has a known answer run: which protections are on. Raises `Broken`."""
    said, error = result(functools.partial(_control, runner), SECONDS)
    if error or "protected" not in said:
        raise Broken(error or "a known answer did not come back")
    return said["protected"]


def _control(runner: Runner, send: Callable[[dict], None]) -> None:
    try:
        send({"protected": control(runner)})
    except Broken as error:
        send({"raised": str(error)})


def _does_not_work(runner: Runner) -> str | None:
    """Why a known answer does not come back, not even from a new start."""
    try:
        checked(runner)
    except Broken:
        runner.restart()
        try:
            checked(runner)
        except Broken as error:
            return str(error)
    return None


def _grade(runner: Runner, path: Path, limits: Limits, send: Callable[[dict], None]) -> None:
    graded = Graded(path)
    try:
        grade(graded, runner, limits, lambda: send(report.entry(graded)))
    except Broken as error:
        send({"broken": str(error)})
    else:
        send(report.entry(graded) | {"surprising": graded.surprising, "hurried": graded.hurried, "done": True})


class Sparingly:
    """Saves what has come as soon as it can without spending more than a tenth of the time on that."""

    def __init__(self, save: Callable[[], None]) -> None:
        self.save, self.last, self.took, self.due = save, -math.inf, 0.0, False

    def __call__(self) -> float:
        """The seconds after which it should be asked again."""
        if not self.due:
            return math.inf
        began = time.monotonic()
        if (left := self.last + 10 * self.took - began) > 0:
            return left
        self.save()
        self.last, self.due = time.monotonic(), False
        self.took = self.last - began
        return math.inf


def _fairly(book: "report.Book", numbers: list[int]) -> list[int]:
    """In an order in which whoever hands in hundreds of notebooks keeps nobody else waiting."""
    before: Counter[str] = Counter()
    turns = {}
    for number in numbers:
        whose = book.graded[number].within.parts[0]
        turns[number] = before[whose]
        before[whose] += 1
    return sorted(numbers, key=turns.__getitem__)


def _grade_all(book: "report.Book", numbers: list[int], runner: Runner, jobs: int, save: Callable) -> str | None:
    """Grades those of the list; why it had to stop, where a known answer did not come back any more."""
    graded, limits = book.graded, book.limits
    todo, running, again = deque(numbers), {}, set()
    beside, alone = set(), deque()  # what ran while others did; and what of it is to be graded once more without them
    first: dict[int, Graded] = {}
    gc.freeze()  # a collection in a worker would touch, and so copy, all that was loaded here
    console = Console(stderr=True)
    try:
        columns = ["{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(
            *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
        ) as progress:
            bar = progress.add_task("graded", total=len(todo))
            while todo or running or alone:
                while todo and len(running) < jobs or alone and not running:
                    number = todo.popleft() if todo else alone.popleft()
                    work = functools.partial(_grade, runner, graded[number].path, limits)
                    running[number] = Worker(work, SECONDS)
                if len(running) > 1:
                    beside.update(running)
                wait(list(running.values()), save())
                for number in [number for number, worker in running.items() if not worker.receive()]:
                    worker, path = running.pop(number), graded[number].path
                    one, broken = report.back(worker.last, path), worker.last.get("broken")
                    if not worker.last.get("done"):
                        why = worker.error or broken or "no result came back"
                        one = Graded(path, one.sheet, error=why, failed=True)
                    if (one.surprising or one.failed) and (problem := _does_not_work(runner)):
                        return problem
                    if broken and number not in again:  # by another notebook's answers, perhaps
                        again.add(number)
                        todo.append(number)
                        continue
                    if one.hurried and number in beside and number not in first:
                        first[number] = one
                        alone.append(number)
                        continue
                    one = max(first.get(number, one), one, key=worth)
                    before = graded[number]
                    one.within, one.modified, one.by = before.within, before.modified, book.by
                    graded[number] = one
                    progress.advance(bar)
                    progress.refresh()
                    save.due = True
                save()
    finally:
        for worker in running.values():
            worker.stop()
    return None
