"""`python -m course release FOLDER_OR_ZIP`: the book as students get it, without solutions.

What is left out: the solutions, the tests with their planted mistakes, the history, the pages for instructors.
What the checks compare with has to come along, as they work without a network: `course/checks` is packed, so
that nobody meets an answer by looking around or by searching. It is no secret. One line of Python unpacks it,
and a learner can ask a judge what it expects.
"""

import argparse
import ast
import base64
import io
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import course
from course.grade.report import write
from course.grade.submissions import printable

ROOT = Path(course.__file__).resolve().parent.parent
FOLDERS = {"chapters": ".ipynb", "exercises": ".ipynb", "course": "", "tinyllm": "", "pages": ""}  # and their files
KINDS = [".py", ".ipynb", ".md", ".css", ".js", ".json", ".svg", ".png", ".woff2", ".safetensors", ""]  # no vectors.py~ of an editor's
SOURCES = {"chapters": "chapters", "exercises": "solutions"}  # of their notebooks
FILES = ["pyproject.toml", "requirements.lock", "LICENSE", "LICENSE-text"]
LEFT_OUT = ["course/release.py", "course/gradescope.py", "course/similar.py", "course/build.py", "course/taleteller.py"]
DAY = (1980, 1, 1, 0, 0, 0)

README = """# Attention, Twice: for students

Chapters are in `chapters/`, exercises in `exercises/`. You need Python 3.11 or newer and make.

```
make lab      # opens the notebooks in JupyterLab; the first time it installs what they need
make grade    # your standing over all sheets
```

On Windows without make: `py -m venv .venv`, `.venv\\Scripts\\pip install torch==2.13.0`,
`.venv\\Scripts\\pip install -r requirements.lock`, `.venv\\Scripts\\pip install --no-deps -e .`, `.venv\\Scripts\\jupyter-lab`.
"""
PACKED = '''"""Packed by `python -m course release`, so that nobody meets an answer by accident."""

import base64
import zlib

exec(compile(zlib.decompress(base64.b85decode({})), __file__, "exec"))
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="FOLDER_OR_ZIP", help="a new folder, or a file that ends in .zip")


def run(args: argparse.Namespace) -> int:
    output = args.output
    if not (ROOT / "requirements.lock").exists():
        print("this needs the book's folder; an installed copy has no chapters", file=sys.stderr)
        return 1
    if not output.parent.is_dir():
        print(f"{printable(output)}: is in a folder that is not there", file=sys.stderr)
        return 2
    zipped = output.suffix.lower() == ".zip"
    if output.is_dir() and (zipped or any(output.iterdir())) or not zipped and output.exists() and not output.is_dir():
        print(f"{printable(output)}: is there already; name a new {'file' if zipped else 'folder'}", file=sys.stderr)
        return 2
    if problems := list(_not_as_built()):
        print("\n".join(problems), file=sys.stderr)
        return 1
    try:
        if zipped:
            write(output, _zip())
        else:
            _folder(output)
    except OSError as error:
        print(f"{printable(output)}: {error.strerror or 'cannot be written'}", file=sys.stderr)
        return 1
    print(f"{printable(output)}: {sum(1 for _ in contents())} files, without solutions")
    return 0


def _not_as_built() -> Iterator[str]:
    """The sheets in which somebody has worked, so that answers may stand in them."""
    from course import build

    for target in build.find_targets(ROOT, []):
        if target.is_exercise:
            stored = build.stored_notebook(ROOT / target.notebook)
            try:
                given = {cell.source for cell in build.code_cells(build.plan(target, ROOT).notebook)}
            except build.BuildError as error:
                yield str(error)
                continue
            if stored is None:
                yield f"{target.notebook}: is no notebook, or is not there"
            elif not {cell.source for cell in build.code_cells(stored)} <= given:
                yield f"{target.notebook}: holds code that the sheet does not hand out; `python -m course build` makes it anew"


def contents() -> Iterator[tuple[str, bytes]]:
    """The names of all files, and what is in them."""
    yield "README.md", README.encode()
    yield "Makefile", _makefile().encode()
    for name in FILES:
        yield name, (ROOT / name).read_bytes()
    for folder, suffix in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob(f"*{suffix}")):
            name = path.relative_to(ROOT).as_posix()
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
            if not path.is_file() or path.is_symlink() or hidden or name in LEFT_OUT or path.suffix not in KINDS:
                continue
            if path.suffix == ".ipynb" and not (ROOT / SOURCES.get(folder, folder) / f"{path.stem}.py").exists():
                continue  # such as a copy in which an instructor tried something
            data = path.read_bytes()
            topic = name.startswith("course/checks/") and name != "course/checks/__init__.py"
            if topic and path.suffix != ".py":
                continue
            yield name, packed(data) if topic else data


def packed(source: bytes) -> bytes:
    """A module that does what that one does, without its text: no comments, no docstrings, not to be read or searched."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    text = base64.b85encode(zlib.compress(ast.unparse(tree).encode(), 9)).decode()
    lines = "".join(f'\n    b"{text[at : at + 100]}"' for at in range(0, len(text), 100))
    return PACKED.format(lines + "\n").encode()


def _makefile() -> str:
    """The book's own, with what a student has a use for."""
    blocks = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n\n")
    kept = [block for block in blocks if not any(f"\n{name}:" in f"\n{block}" for name in ("book", "test", "build", "model", "bench", "lock"))]
    text = "\n\n".join(kept)
    first, _, rest = text.partition("\n")
    lines = [line if not line.startswith(".PHONY") else ".PHONY: lab grade clean" for line in rest.split("\n")]
    return "# make lab, make grade. Each makes the environment first.\n" + "\n".join(lines).rstrip() + "\n"


def _folder(output: Path) -> None:
    """Writes all of it beside its place, and moves it there at the end."""
    new = Path(tempfile.mkdtemp(prefix=f"{output.name}.", dir=output.parent))
    try:
        for name, data in contents():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        new.chmod(0o755)
        os.replace(new, output)  # an empty folder gives way
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _zip() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as to:
        for name, data in contents():
            info = zipfile.ZipInfo(f"attention-twice/{name}", DAY)
            info.external_attr, info.compress_type, info.create_system = 0o644 << 16, zipfile.ZIP_DEFLATED, 3
            to.writestr(info, data)
    return found.getvalue()
