"""Reads a learner's notebook and finds what an answer needs, by name: cells get copied, split and deleted."""

import ast
import dis
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

LIMIT = 200_000_000  # bytes of a notebook, outputs included
CELL_LIMIT = 200_000  # characters of one cell
BODY_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")  # what follows them is Python


class Unreadable(ValueError):
    """A file that is no notebook; the message says why."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell: the names it defines, those it uses, and those it changes."""

    cell: int
    index: int
    defines: frozenset[str]
    uses: frozenset[str]
    changes: frozenset[str]
    imports: bool


@dataclass(frozen=True)
class Notebook:
    """`sources` are the code cells, by their number in the notebook.

    `broken` are those that could not be read, with the reason.
    """

    sheet: str | None
    sources: dict[int, str]
    statements: list[Statement]
    broken: dict[int, tuple[str, str]]

    @property
    def notes(self) -> list[str]:
        return [f"cell {number} {why}" for number, (_, why) in self.broken.items()]

    def broken_with(self, name: str) -> str | None:
        """What is wrong with the last broken cell whose text defines that function, if there is one."""
        for number, (source, why) in reversed(self.broken.items()):
            if re.search(rf"^\s*(async\s+)?def\s+{name}\b", source, re.MULTILINE):
                return f"its cell ({number}) {why}"
        return None

    def cells_with(self, name: str) -> list[int]:
        """The numbers of the cells that define that name, once for each time."""
        return [statement.cell for statement in self.statements if name in statement.defines]

    def needed(self, name: str) -> list[dict]:
        """What has to be run so that `name` is what it is in the notebook, as a job's `cells`."""
        imported = {name for s in self.statements if s.imports for name in s.defines}
        wanted, kept = {name}, set()
        while True:
            new = [
                s
                for s in self.statements
                if s not in kept
                and (s.defines & wanted or s.changes & (wanted - imported) or "*" in s.defines)
            ]
            if not new:
                break
            kept.update(new)
            wanted.update(*(s.uses for s in new))
        return [
            {
                "name": f"cell {cell}",
                "source": source,
                "keep": [s.index for s in self.statements if s.cell == cell and s in kept],
            }
            for cell, source in self.sources.items()
        ]


def read(path: Path) -> Notebook:
    """The notebook in that file. Raises `Unreadable`."""
    try:
        if path.stat().st_size > LIMIT:
            raise Unreadable(f"larger than {LIMIT // 1_000_000} MB")
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
        codes = {
            number: cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            for number, cell in enumerate(cells, 1)
            if cell["cell_type"] == "code"
        }
    except OSError as error:
        raise Unreadable(error.strerror or "cannot be read") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Unreadable("not valid JSON, so not a notebook") from None
    except Unreadable:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unreadable("JSON, but not a notebook") from None
    sources, statements, broken = {}, [], {}
    for number, source in codes.items():
        try:
            sources[number], found = _statements(number, source)
        except SyntaxError as error:
            line = f" (line {error.lineno})" if error.lineno else ""
            broken[number] = source, f"is not Python: {error.msg}{line}"
        except (ValueError, RecursionError, MemoryError) as error:
            broken[number] = source, f"was left out: {str(error) or type(error).__name__}"
        else:
            statements += found
    return Notebook(_declared_sheet(content), sources, statements, broken)


def _declared_sheet(content: dict) -> str | None:
    try:
        name = content["metadata"]["course"]["sheet"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _statements(number: int, source: str) -> tuple[str, list[Statement]]:
    if len(source) > CELL_LIMIT:
        raise ValueError(f"it has more than {CELL_LIMIT:,} characters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an invalid escape in a learner's string
        source, body = _parse(source)
        return source, [_statement(number, index, node) for index, node in enumerate(body)]


def _parse(source: str) -> tuple[str, list[ast.stmt]]:
    try:
        return source, ast.parse(source).body
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # only where there may be a magic

        first, _, rest = source.lstrip().partition("\n")
        if first.split(" ")[0].rstrip() in BODY_MAGICS:
            source = f"\n{rest}"
        # Magics become calls of get_ipython(), on which no answer should depend.
        source = TransformerManager().transform_cell(source)
        return source, ast.parse(source).body


def _statement(cell: int, index: int, node: ast.stmt) -> Statement:
    imports = isinstance(node, (ast.Import, ast.ImportFrom))
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return Statement(cell, index, frozenset("*"), frozenset(), frozenset(), imports)
    code = compile(ast.Module([node], []), "cell", "exec", dont_inherit=True)
    instructions = list(dis.get_instructions(code))
    defines = {i.argval for i in instructions if i.opname in ("STORE_NAME", "STORE_GLOBAL")}
    return Statement(
        cell, index, frozenset(defines), frozenset(_globals(code)), frozenset(_changes(node)), imports
    )


def _globals(code: CodeType) -> Iterator[str]:
    """The global names that the code reads, also from within the functions that it defines."""
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD_") and instruction.opname.endswith(
            ("_NAME", "_GLOBAL", "_GLOBALS")
        ):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _changes(node: ast.stmt) -> Iterator[str]:
    """The names whose objects a statement changes: `table[k] = v`, `names.append(x)`, also in a loop."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for part in ast.walk(node):
        targets: Iterable[ast.expr] = ()
        if isinstance(part, (ast.Assign, ast.Delete)):
            targets = part.targets
        elif isinstance(part, ast.AugAssign):
            targets = [part.target]
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            targets = [part.value.func]
        for target in targets:
            while isinstance(target, (ast.Attribute, ast.Subscript)):
                target = target.value
                if isinstance(target, ast.Name):
                    yield target.id
