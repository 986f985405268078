"""Build the notebooks of the book from their sources: `python -m course build`.

A source is a jupytext py:percent file. `chapters/x.py` gives `chapters/x.ipynb`; `solutions/x.py` gives
`solutions/x.ipynb` and, with the answers taken out, `exercises/x.ipynb`. Every notebook is executed.

A notebook whose code cells are those of its source keeps its outputs, and only prose and metadata are
brought up to date. Otherwise the whole notebook runs again: what a cell does depends on the kernel's state,
and that state is lost. A change in a module that a notebook imports does not count (nbval finds outputs
that are no longer true); `--force` runs everything.
"""

import argparse
import ast
import builtins
import hashlib
import os
import re
import symtable
import sys
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import jupytext
import matplotlib
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("chapters", "solutions", "exercises")
CELL_TIMEOUT = 600  # seconds

_EMPTY = tempfile.TemporaryDirectory(prefix="attention-twice-", ignore_cleanup_errors=True)

# Every kernel that builds or tests a notebook runs with these, so that outputs do not depend on the machine.
KERNEL_ENVIRONMENT = {
    "IPYTHONDIR": _EMPTY.name,  # not the user's own settings
    "MATPLOTLIBRC": str(Path(matplotlib.get_data_path(), "matplotlibrc")),  # a file of comments
    "PYTHONSTARTUP": "",  # and not what every session of the user's runs first
    "PYTHONOPTIMIZE": "",  # a chapter's claims are asserts
    "PYTHONWARNINGS": "",
    "OMP_NUM_THREADS": "1",  # sums in another order give other digits
    "COURSE_PROGRESS": "off",  # `check` would write the learner's progress file
    "MPLBACKEND": "",  # the kernel's own: figures go into the notebook
}

NOTEBOOK_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3", "file_extension": ".py"},
}


class BuildError(Exception):
    """A source that cannot become a notebook; the message names the file and the line."""


@dataclass(frozen=True)
class Target:
    """One notebook and where it comes from; paths are relative to the root."""

    source: Path
    notebook: Path

    @property
    def is_exercise(self) -> bool:
        return self.notebook.parent.name == "exercises"

    @property
    def is_chapter(self) -> bool:
        return self.notebook.parent.name == "chapters"


@dataclass(frozen=True)
class Plan:
    """A notebook without its outputs, and for each cell the line of the source where it starts."""

    target: Target
    notebook: NotebookNode
    lines: list[int]


def find_targets(root: Path, names: list[str]) -> list[Target]:
    """All notebooks of the book, or those that `names` ask for: `01_tokens`, `chapters/01_tokens.py`, ..."""
    targets = []
    for folder in ("chapters", "solutions"):
        for path in sorted((root / folder).glob("[!.]*.py")):  # an editor's lock is called .#x.py
            source = path.relative_to(root)
            targets.append(Target(source, source.with_suffix(".ipynb")))
            if folder == "solutions":
                targets.append(Target(source, Path("exercises", source.stem + ".ipynb")))
    if not names:
        return targets
    chosen = []
    for name in names:
        found = [t for t in targets if Path(name) in (Path(t.source.stem), t.source, t.notebook)]
        if not found:
            known = ", ".join(sorted({t.source.stem for t in targets})) or "nothing"
            raise BuildError(f"no source for {name!r}; there is {known}")
        chosen += [t for t in found if t not in chosen]
    return chosen


# --- from source to cells ---------------------------------------------------------------------------------


def plan(target: Target, root: Path) -> Plan:
    """The notebook that a source gives, nothing executed."""
    try:
        text = (root / target.source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"{target.source}: not in UTF-8: {error}") from None
    if not text.startswith("# %%"):
        raise BuildError(f"{target.source}:1: a source starts with a cell marker, `# %%`")
    # jupytext does not say where a cell starts, so each marker carries its line number.
    lines = [
        f"{line.rstrip()} line={number}" if re.match(r"# %%+(\s|$)", line) else line
        for number, line in enumerate(text.split("\n"), 1)
    ]
    # Comments stay comments: jupytext would take "# ls ..." for a shell command.
    fmt = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    cells = jupytext.reads("\n".join(lines), fmt=fmt).cells
    if not all("line" in cell.metadata for cell in cells):
        raise BuildError(f"{target.source}: a cell does not start with `# %%`")
    for cell in cells:
        check_syntax(target, cell)
    edition = cells if target.is_chapter else edit_sheet(target, cells)

    known: set[str] = set()
    for cell in edition:
        if cell.cell_type == "code":
            where = f"{target.source}:{cell.metadata.line}"
            if "quote" in cell.metadata.get("tags", ()):
                cell.source = quote(cell.source, root, known, where)
            known |= bound_names(symtable.symtable(cell.source, where, "exec"))

    start_lines = [cell.metadata.line for cell in edition]
    for cell in edition:
        finish_metadata(target, cell)
    set_ids(edition)
    notebook = nbformat.v4.new_notebook(cells=edition, metadata=NOTEBOOK_METADATA)
    if not target.is_chapter:
        notebook.metadata["course"] = {"sheet": target.source.stem}
    notebook = nbformat.from_dict(notebook)
    nbformat.validate(notebook)
    return Plan(target, notebook, start_lines)


def check_syntax(target: Target, cell: NotebookNode) -> None:
    line = cell.metadata.line
    if not cell.source.strip():
        raise BuildError(f"{target.source}:{line}: an empty cell")
    if cell.cell_type == "code":
        try:
            symtable.symtable(cell.source, "cell", "exec")
        except SyntaxError as error:
            raise BuildError(f"{target.source}:{line + error.lineno}: {error.msg}: {error.text}") from None


def finish_metadata(target: Target, cell: NotebookNode) -> None:
    """Keep tags, give alt text its place in myst-nb's metadata, and refuse what nobody would read."""
    given = dict(cell.metadata)
    line = given.pop("line")
    given.pop("lines_to_next_cell", None)  # jupytext's note on blank lines in the source
    metadata = {}
    if "tags" in given:
        metadata["tags"] = given.pop("tags")
    if "alt" in given:
        metadata["mystnb"] = {"image": {"alt": given.pop("alt")}}
    if given:
        unknown = ", ".join(given)
        raise BuildError(f"{target.source}:{line}: unknown cell metadata {unknown}; known: tags, alt")
    cell.metadata = nbformat.from_dict(metadata)


def set_ids(cells: list[NotebookNode]) -> None:
    """Name each cell after its content, so that ids survive a build and an inserted cell."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


# --- quoting the library ----------------------------------------------------------------------------------


def quote(source: str, root: Path, known: set[str], where: str) -> str:
    """The definitions that `source`, lines of `from module import name`, imports: the library's own text.

    Raises BuildError if a definition uses a name that is neither in `known` nor part of the quote.
    """
    statements = ast.parse(source).body
    if not all(isinstance(s, ast.ImportFrom) and not s.level for s in statements):
        raise BuildError(f"{where}: a quote cell holds only lines such as `from tinyllm.attention import x`")
    parts, origins = [], []
    for statement in statements:
        path = Path(*statement.module.split(".")).with_suffix(".py")
        if not (root / path).is_file():
            raise BuildError(f"{where}: cannot quote from {statement.module}: {path} does not exist")
        library = (root / path).read_text(encoding="utf-8")
        definitions = []
        for alias in statement.names:
            if alias.asname or alias.name == "*":
                raise BuildError(f"{where}: quote definitions by their own names: {ast.unparse(statement)}")
            found = definition(library, alias.name)
            if found is None:
                raise BuildError(f"{where}: {path} does not define {alias.name} at its top level")
            definitions.append(found)
        parts.append(f"# {path.as_posix()}\n" + "\n\n".join(definitions))
        origins.append((statement.module, library, "\n".join(definitions)))
    quoted = "\n\n".join(parts)
    check_names(origins, known | bound_names(symtable.symtable(quoted, where, "exec")), where)
    return quoted


def definition(library: str, name: str) -> str | None:
    """The lines of a top-level function, class or constant, with its decorators and leading comment."""
    lines = library.split("\n")
    for node in ast.parse(library).body:
        if name in defined_names(node):
            first = first_line(node)
            while first > 1 and lines[first - 2].startswith("#"):
                first -= 1
            return "\n".join(lines[first - 1 : node.end_lineno])
    return None


def first_line(node: ast.stmt) -> int:
    """The line where a statement starts, its decorators included."""
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])


def defined_names(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return set()


def check_names(origins: list[tuple[str, str, str]], known: set[str], where: str) -> None:
    """Refuse a quote that would stumble over an unknown name, and say which lines the notebook lacks."""
    missing = []
    for module, library, quoted in origins:
        needed = used_names(symtable.symtable(quoted, where, "exec"))
        for node in ast.parse(library).body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                needed |= {alias.name for alias in node.names}  # changes what the quoted lines mean
        for name in sorted(needed - known - set(dir(builtins))):
            line = import_line(module, library, name)
            if line not in missing:
                missing.append(line)
    if missing:
        listing = "".join(f"\n    {line}" for line in missing)
        raise BuildError(f"{where}: the quote uses names that no earlier cell defines or imports:{listing}")


def import_line(module: str, library: str, name: str) -> str:
    """How a notebook gets the name that `library`, the source of `module`, uses."""
    for node in ast.parse(library).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if name == (alias.asname or alias.name.split(".")[0]):
                    node.names = [alias]
                    return ast.unparse(node)
    return f"from {module} import {name}"


def bound_names(table: symtable.SymbolTable) -> set[str]:
    """The names that running this source defines or imports at its top level."""
    return {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }


def used_names(table: symtable.SymbolTable) -> set[str]:
    """The names that this source takes from its module."""
    is_module = table.get_type() == "module"
    names = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (is_module or s.is_global())}
    return names.union(*(used_names(child) for child in table.get_children()))


# --- exercise sheets --------------------------------------------------------------------------------------


def edit_sheet(target: Target, cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of the solution or of the exercise, from the cells of their common source."""
    other = "solution-only" if target.is_exercise else "exercise-only"
    edition, question, stub = [], None, None
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        where = f"{target.source}:{cell.metadata.line}"
        if cell.cell_type == "markdown":
            for key in re.findall(r"\{\{(\w+)\}\}", cell.source):
                cell.source = cell.source.replace("{{%s}}" % key, heading(target.source.stem, key, where))
                question = key
        if stub is not None and "answer" not in tags:
            raise BuildError(f"{where}: a stub cell stands right before an answer cell")
        if "stub" in tags:
            stub = cell.source
        elif "answer" in tags:
            if question is None:
                raise BuildError(f"{where}: an answer before the first question, such as {{{{q1}}}}")
            if target.is_exercise:
                cell.source = take_out_answers(cell.source, question, where) if stub is None else stub
            stub = None
            edition.append(cell)
        elif other not in tags:
            edition.append(cell)
    if stub is not None:
        raise BuildError(f"{target.source}: the stub cell at the end has no answer cell")
    return edition


def heading(sheet: str, key: str, where: str) -> str:
    """The heading of a question, as its checks describe it."""
    from course import checks  # imports torch, which chapters alone do not need

    try:
        return checks.load(sheet).question(key).heading
    except ValueError as error:
        raise BuildError(f"{where}: {error}") from error


def take_out_answers(source: str, question: str, where: str) -> str:
    """Put `raise NotImplementedError` in place of each body; signatures and docstrings stay."""
    lines = source.split("\n")
    functions = []
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        functions += [f for f in members if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if not functions:
        raise BuildError(f"{where}: an answer without a function needs a stub cell before it")
    for function in reversed(functions):
        first = function.body[0]
        if ast.get_docstring(function, clean=False) is not None:
            head = [*lines[: first.end_lineno - 1], cut(lines[first.end_lineno - 1], first.end_col_offset)]
        else:
            start = first_line(first)
            head = [*lines[: start - 1], cut(lines[start - 1], first.col_offset)]
            while not head[-1].strip() or head[-1].lstrip().startswith("#"):
                head.pop()
        indent = " " * (function.col_offset + 4)
        end = function.end_lineno
        for number in range(end, len(lines)):  # comments after the last statement belong to the answer, too
            if lines[number].startswith(f"{indent}#"):
                end = number + 1
            elif lines[number].strip():
                break
        todo = f'{indent}raise NotImplementedError("{question}: your code goes here")'
        lines = [*head, todo, *lines[end:]]
    return "\n".join(lines)


def cut(line: str, column: int) -> str:
    """The line up to a column as `ast` counts it, in bytes, without trailing space."""
    return line.encode()[:column].decode().rstrip()


# --- outputs ----------------------------------------------------------------------------------------------


def stored_notebook(path: Path) -> NotebookNode | None:
    """The notebook that is there, or None if there is none that can be read."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        return notebook
    except (OSError, ValueError, nbformat.ValidationError):
        return None


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def what_runs(notebook: NotebookNode) -> list[tuple[str, bool]]:
    cells = code_cells(notebook)
    return [(cell.source, "raises-exception" in cell.metadata.get("tags", ())) for cell in cells]


def was_executed(notebook: NotebookNode) -> bool:
    cells = code_cells(notebook)
    return [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def keep_outputs(notebook: NotebookNode, stored: NotebookNode | None) -> bool:
    """Take the outputs from `stored` if they are those of the same code."""
    if stored is None or not was_executed(stored) or what_runs(stored) != what_runs(notebook):
        return False
    for cell, old in zip(code_cells(notebook), code_cells(stored)):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return True


class Kernels:
    """The kernels at work, so that Ctrl-C can end them: each has a session of its own and does not see it."""

    def __init__(self) -> None:
        self.clients: list[NotebookClient] = []
        self.stopping = threading.Event()

    def execute(self, plan: Plan, root: Path) -> None:
        """Run a notebook in its own folder and store its outputs in it; BuildError says which cell failed."""
        at = 0

        def before_cell(cell: NotebookNode, cell_index: int) -> None:
            nonlocal at
            at = cell_index
            if self.stopping.is_set():
                raise BuildError(f"{plan.target.notebook}: interrupted")

        client = NotebookClient(
            plan.notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,  # how a stream is cut into pieces depends on the moment
            shutdown_kernel="immediate",
            extra_arguments=["--log-level=ERROR"],  # no warning per kernel about unencrypted local ports
            resources={"metadata": {"path": str(root / plan.target.notebook.parent)}},
            on_notebook_start=lambda notebook: self.clients.append(client),
            on_cell_execute=before_cell,
        )
        try:
            client.execute(env={**os.environ, **KERNEL_ENVIRONMENT})
        except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
            raise BuildError(describe_failure(plan, at, error)) from error
        plan.notebook.metadata.language_info = nbformat.from_dict(NOTEBOOK_METADATA["language_info"])

    def stop(self) -> None:
        self.stopping.set()
        for client in self.clients:
            if client.km is not None and client.km.has_kernel:
                client.km.provisioner.process.kill()


def describe_failure(plan: Plan, at: int, error: Exception) -> str:
    cell = plan.notebook.cells[at]
    first_line = cell.source.splitlines()[0]
    details = str(error)
    if isinstance(error, CellExecutionError):
        details = error.traceback if sys.stderr.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
    place = f"{plan.target.source}:{plan.lines[at]}: cell {at + 1} of {plan.target.notebook}"
    return f"{place} failed: {first_line}\n{details.rstrip()}\n"


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook in one step, so that no interruption leaves half of it; say whether it changed."""
    content = (nbformat.writes(notebook) + "\n").encode()
    if path.exists() and path.read_bytes() == content:
        return False
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


# --- the command ------------------------------------------------------------------------------------------


def build(root: Path, names: list[str], force: bool = False) -> int:
    """Build notebooks, two at a time; returns the number that failed."""
    plans, failed = make_plans(root, find_targets(root, names))
    kernels = Kernels()

    def build_one(plan: Plan) -> str:
        start = time.monotonic()
        path = root / plan.target.notebook
        path.parent.mkdir(exist_ok=True)
        kept = not force and keep_outputs(plan.notebook, stored_notebook(path))
        if not kept:
            kernels.execute(plan, root)
        changed = write(plan.notebook, path)
        if not kept:
            return f"executed in {time.monotonic() - start:.1f} s"
        return "outputs kept" if changed else "unchanged"

    with ThreadPoolExecutor(2) as pool:
        futures = {pool.submit(build_one, plan): plan.target for plan in plans}
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        print(f"{futures[future].notebook}: {future.result()}", flush=True)
                    except BuildError as error:
                        failed += 1
                        print(error, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.stop()
            raise
    return failed


def make_plans(root: Path, targets: list[Target]) -> tuple[list[Plan], int]:
    plans, failed = [], 0
    for target in targets:
        try:
            plans.append(plan(target, root))
        except BuildError as error:
            failed += 1
            print(error, file=sys.stderr)
    return plans, failed


def check(root: Path, names: list[str]) -> int:
    """Say which notebooks are not what their sources give; returns their number. Executes nothing."""
    targets = find_targets(root, names)
    plans, problems = make_plans(root, targets)
    complaints = [complaint for plan in plans if (complaint := compare(plan, root))]
    if not names:
        sourced = {target.notebook for target in targets}
        found = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).glob("*.ipynb")]
        complaints += [f"{path}: has no source" for path in sorted(found) if path not in sourced]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return problems + len(complaints)


def compare(plan: Plan, root: Path) -> str | None:
    """What is wrong with a stored notebook, in a line, or None."""
    path = plan.target.notebook
    stored = stored_notebook(root / path)
    if stored is None:
        return f"{path}: {'is not a notebook' if (root / path).exists() else 'is missing'}"
    for number, (cell, line) in enumerate(zip(plan.notebook.cells, plan.lines)):
        if number >= len(stored.cells) or bare(stored.cells[number]) != bare(cell):
            return f"{path}: cell {number + 1} is not what {plan.target.source}:{line} gives"
    if len(stored.cells) > len(plan.notebook.cells):
        return f"{path}: has more cells than {plan.target.source} gives"
    if stored.metadata != plan.notebook.metadata:
        return f"{path}: its metadata is not what a build writes"
    if not was_executed(stored):
        return f"{path}: not executed from top to bottom"
    return None


def bare(cell: NotebookNode) -> dict:
    return {key: value for key, value in cell.items() if key not in ("outputs", "execution_count")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="01_tokens, chapters/01_tokens.py, ...")
    parser.add_argument("--check", action="store_true", help="only compare notebooks with their sources")
    parser.add_argument("--force", action="store_true", help="execute notebooks with unchanged code, too")


def run(args: argparse.Namespace) -> int:
    try:
        failed = check(ROOT, args.names) if args.check else build(ROOT, args.names, args.force)
    except BuildError as error:  # an unknown name
        print(error, file=sys.stderr)
        return 2
    if failed:
        print(f"{failed} failed" if not args.check else "run `python -m course build`", file=sys.stderr)
    return min(failed, 1)
