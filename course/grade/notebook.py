"""Reads a learner's notebook: cells get copied, split and deleted, so answers are found by name."""

import ast
import functools
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from course.sandbox.call import OutOfTime, within

CELLS = 1_000  # code cells of a notebook
CELL_LIMIT = 200_000  # characters of one cell
SOURCE_LIMIT = 2_000_000  # characters of all
BODY_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")  # what follows them is Python


class Unreadable(ValueError):
    """A file that is no notebook; the message says why."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell: the names that it binds and that it mentions, and its calls' texts.

    `binds` are those of the notebook, not of a function in it; `texts` are first arguments, as in `check("q1")`.
    """

    cell: int
    line: int
    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    texts: frozenset[str]


@dataclass(frozen=True)
class Notebook:
    """`sources` are the code cells, by their number in the notebook, and `statements` all of theirs in order.

    `broken` are those that could not be read, with the reason; `prose` are the other cells.
    """

    sheet: str | None
    sources: dict[int, str]
    statements: list[Statement]
    broken: dict[int, tuple[str, str]]
    prose: dict[int, str]

    @property
    def notes(self) -> list[str]:
        return [f"cell {number} {why}" for number, (_, why) in self.broken.items()]

    def not_run_with(self, name: str) -> str | None:
        """Why a cell whose text defines that function is not run, if there is one."""
        for number, (source, why) in reversed(self.broken.items()):
            if _defines(source, name):
                return f"its cell ({number}) {why}"
        for number, source in self.prose.items():
            if _defines(source, name):
                return f"it stands in cell {number}, which is not a code cell"
        return None

    def cells_with(self, name: str) -> list[int]:
        """The numbers of the cells that define that name, once for each time."""
        return [statement.cell for statement in self.statements if name in statement.binds]

    def checked_after(self, name: str, id: str) -> int:
        """The number of the statement after which the answer `name` was last checked, if the notebook says so.

        Otherwise the last one in the cell that defines it; where none does, the last of all.
        """
        last = max((n for n, s in enumerate(self.statements) if name in s.binds), default=-1)
        checks = [n for n, s in enumerate(self.statements) if n > last and id in s.texts]
        if checks:
            return checks[-1]
        if last < 0:
            return len(self.statements) - 1
        return max(n for n, s in enumerate(self.statements) if s.cell == self.statements[last].cell)

    def matters(self, number: int, name: str) -> bool:
        """Whether `name` may be different because the statement of that number went wrong."""
        statement, needed = self.statements[number], self.needed(name)
        return bool(
            statement.binds & needed
            or "*" in statement.binds
            or statement.uses & (needed - {name} - self._imported)
        )

    def needed(self, name: str) -> set[str]:
        """The names that it takes to make what `name` is, itself among them."""
        needed, todo = {name}, [name]
        while todo:
            new = self._uses.get(todo.pop(), set()) - needed
            needed |= new
            todo += new
        return needed

    @functools.cached_property
    def _uses(self) -> dict[str, set[str]]:
        """For each name those that are mentioned by the statements which bind it."""
        uses: dict[str, set[str]] = {}
        for statement in self.statements:
            for name in statement.binds:
                uses.setdefault(name, set()).update(statement.uses)
        return uses

    @functools.cached_property
    def _imported(self) -> set[str]:
        imports = [s for s in self.statements if isinstance(s.node, (ast.Import, ast.ImportFrom))]
        return {name for statement in imports for name in statement.binds}


def _defines(source: str, name: str) -> bool:
    return bool(re.search(rf"^[^\S\n]*(?:async[^\S\n]+)?def[^\S\n]+{re.escape(name)}\b", source, re.MULTILINE))


def parse(data: bytes) -> Notebook:
    """The notebook that those bytes are. Raises `Unreadable`."""
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(text)
        if "worksheets" in content:
            raise Unreadable("a notebook of format 3; open it in Jupyter and save it")
        cells = list(content["cells"])
        kinds = [cell["cell_type"] if isinstance(cell, dict) else None for cell in cells]
        if not all(isinstance(kind, str) for kind in kinds):
            raise Unreadable("JSON, but not a notebook")
    except UnicodeDecodeError:
        raise Unreadable("not valid JSON in UTF-8, so not a notebook") from None
    except json.JSONDecodeError as error:
        raise Unreadable(_not_json(text, error)) from None
    except Unreadable:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unreadable("JSON, but not a notebook") from None
    sources, statements, broken, prose = {}, [], {}, {}
    left = SOURCE_LIMIT
    for number, (cell, kind) in enumerate(zip(cells, kinds), 1):
        source = cell.get("source")
        source = "".join(source) if isinstance(source, list) and all(isinstance(s, str) for s in source) else source
        if kind != "code":
            prose[number] = source if isinstance(source, str) else ""
            continue
        try:
            if not isinstance(source, str):
                raise ValueError("it has no text")
            left -= len(source)
            if len(source) > CELL_LIMIT or left < 0:
                raise ValueError(f"it has more than {CELL_LIMIT if left >= 0 else SOURCE_LIMIT:,} characters")
            if len(sources) + len(broken) >= CELLS:
                raise ValueError(f"it comes after {CELLS:,} others")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as an invalid escape in a learner's string
                sources[number], body = _parse(source)
            statements += [_statement(number, node) for node in body]
        except SyntaxError as error:
            line = f" (line {error.lineno})" if error.lineno else ""
            broken[number] = source, f"is not Python: {error.msg}{line}"
        except (ValueError, RecursionError, MemoryError, RuntimeError) as error:
            sources.pop(number, None)
            broken[number] = source if isinstance(source, str) else "", f"was left out: {_why(error)}"
    return Notebook(_declared_sheet(content), sources, statements, broken, prose)


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if re.search(r"^<{7} ", text, re.MULTILINE):
        return "not valid JSON: it holds the marks of a merge that was not finished (<<<<<<<)"
    if text.lstrip().startswith("{") and error.pos >= len(text.rstrip()) - 1:
        return "not valid JSON: the file is cut off"
    return "not valid JSON, so not a notebook"


def _why(error: BaseException) -> str:
    return str(error).partition("\n")[0][:100] or type(error).__name__


def _declared_sheet(content: dict) -> str | None:
    try:
        name = content["metadata"]["course"]["sheet"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _parse(source: str) -> tuple[str, list[ast.stmt]]:
    try:
        return source, ast.parse(source).body
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # only where there may be a magic

        first, _, rest = source.lstrip().partition("\n")
        if first.split(" ")[0].rstrip() in BODY_MAGICS:
            source = f"\n{rest}"
        source = re.sub(r"^([^\S\n]*)%(?:time|prun)[^\S\n]+(?!-)", r"\1", source, flags=re.MULTILINE)
        # Other magics become calls of get_ipython(), on which no answer should depend.
        try:
            source = within(3, TransformerManager().transform_cell, source)  # some take a minute
        except OutOfTime:
            raise ValueError("it takes too long to read") from None
        return source, ast.parse(source).body


def _statement(cell: int, node: ast.stmt) -> Statement:
    binds, uses, texts = set(_bound(node)), set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            uses.add(part.id)
        elif isinstance(part, ast.Global):
            binds.update(part.names)
        elif isinstance(part, ast.Call) and part.args and isinstance(part.args[0], ast.Constant):
            texts.add(part.args[0].value)
    return Statement(
        cell,
        node.lineno,
        node,
        frozenset(binds),
        frozenset(uses),
        frozenset(t for t in texts if isinstance(t, str)),
    )


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds where it stands."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    for part in ast.iter_child_nodes(node):
        yield from _bound(part)
