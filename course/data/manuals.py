"""The manuals on the reader's own disk: the docstrings of torch, numpy and matplotlib."""

import ast
import hashlib
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from course.data import cache

# The versions in requirements.lock, and the sha256 of the text that they give.
VERSIONS = {"torch": "2.13.0", "numpy": "2.4.6", "matplotlib": "3.11.2"}
SHA256 = "28b281bb095f70ab99c704baf7f0a1699f802bafc979e8272329ad2ea2aba8f8"

# Tests are not manuals, and the last two files are written by the build: they differ between platforms.
LEFT_OUT = {"tests", "testing", "distutils", "version.py", "__config__.py"}
# How torch and numpy document what is written in C++ and C.
DOCUMENTING_CALLS = {"add_docstr", "add_docstr_all", "add_newdoc"}
# A line that stands for a paragraph which is filled in at import: `{input}`, `%(Artist:kwdoc)s`.
PLACEHOLDER = re.compile(r"^[ ]*(\{\w+\}|%\([^)]*\)s)[ ]*\n?", re.MULTILINE)


def manuals() -> str:
    """Return the docstrings of the installed torch, numpy and matplotlib: 6.8 MB of technical English.

    Each docstring occurs once, two blank lines stand between them, and their order is that of their sha256:
    the same everywhere, and a slice from any place is a fair sample of all three libraries. The source files
    are parsed, not imported. The text is the same on every platform and Python for the versions in
    requirements.lock; for other versions it differs, and a warning says so.
    """
    kept = cache.folder() / f"manuals-{SHA256[:8]}.txt"
    versions = {name: version(name).partition("+")[0] for name in VERSIONS}
    if versions == VERSIONS and (data := cache.read(kept, SHA256)):
        return data.decode("utf-8")
    text = read_docstrings(find_spec(name).submodule_search_locations[0] for name in VERSIONS)
    data = text.encode("utf-8")
    if hashlib.sha256(data).hexdigest() == SHA256:
        cache.keep(kept, data)
    else:
        warnings.warn(
            f"these manuals are not quite the book's, which are those of {VERSIONS}; "
            f"yours are those of {versions}. Numbers that rest on them will differ a little.",
            stacklevel=2,
        )
    return text


def read_docstrings(folders: Iterable[str | Path]) -> str:
    """Join the distinct docstrings of all Python files under `folders`, in the order of their sha256."""
    found = set()
    for folder in map(Path, folders):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).parts
            private = any(part.startswith("_") and part != "_core" for part in parts[:-1])
            if not private and LEFT_OUT.isdisjoint(parts):
                found.update(PLACEHOLDER.sub("", text).strip() for text in docstrings(path.read_bytes()))
    found.discard("")
    return "\n\n\n".join(sorted(found, key=lambda text: hashlib.sha256(text.encode("utf-8")).digest())) + "\n"


def docstrings(source: bytes) -> Iterator[str]:
    """Yield the docstrings in a Python source, and the texts that it passes to `DOCUMENTING_CALLS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stray backslash in a docstring is not the reader's affair
        tree = ast.parse(source)
    for node in (tree, *statements(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", None) in DOCUMENTING_CALLS:
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and "\n" in part.value:
                        yield inspect.cleandoc(part.value)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement under `node`; expressions, where no docstring can be, are not entered."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from statements(child)
