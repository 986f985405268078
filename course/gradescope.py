"""`python -m course gradescope SHEET autograder.zip`: what Gradescope needs to grade a sheet.

The layout is that of https://gradescope-autograders.readthedocs.io/en/latest/specs/: at the root of the archive
`setup.sh`, which installs what is needed, and `run_autograder`, which reads /autograder/submission and writes
/autograder/results/results.json. The archive is unpacked to /autograder/source.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

import course
from course.checks import load, sheets
from course.grade.report import cannot_write, write
from course.grade.submissions import printable

ROOT = Path(course.__file__).resolve().parent.parent
NEEDED = "numpy matplotlib regex safetensors tqdm pooch rich ipython tiktoken".split()
OF_TORCH = "filelock fsspec jinja2 networkx sympy typing-extensions".split()
INDEX = "https://download.pytorch.org/whl/cpu"
DAY = (1980, 1, 1, 0, 0, 0)  # the same bytes each time

SETUP = """#!/usr/bin/env bash
# Runs once, as root, when Gradescope builds the image.
set -euo pipefail
root="${{AUTOGRADER_ROOT:-/autograder}}"
find_python() {{
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}}
python="$(find_python)" || {{
    # The image has an older one: Ubuntu 24.04 holds Python 3.12, Ubuntu 22.04 holds 3.11 beside its own.
    apt-get update
    apt-get install -y python3.12-venv || apt-get install -y python3.11-venv
    python="$(find_python)"
}}
"$python" -m venv "$root/python"
pip="$root/python/bin/python -m pip install -q --disable-pip-version-check"
# torch alone and first, without its CUDA companions.
$pip --no-deps --retries 1 --extra-index-url {index} {torch}
$pip -c "$root/source/requirements.lock" {needed}
# An answer that becomes another user reads neither the checks nor the results.
mkdir -p "$root/results"
chmod -R go-rwx "$root/source/course/checks" "$root/results"
chmod -R go+rX "$root/python" "$root/source/tinyllm" "$root/source/course/sandbox"
"""

RUN = """#!/usr/bin/env bash
# Runs for each submission. Gradescope's container is fresh for each; what it does not allow is said on stdout,
# which instructors see and students do not.
root="${{AUTOGRADER_ROOT:-/autograder}}"
cd "$root" || exit 1
export PYTHONPATH="$root/source" PYTHONDONTWRITEBYTECODE=1
# What an answer, as another user, should not read. Folders that were mounted since the setup have rights of their own.
for closed in source/course/checks submission submission_metadata.json results; do
    [ ! -e "$closed" ] || chmod -R go-rwx "$closed"
done
# And where it could write: what lies there in the end is from here, whatever an answer has put in its place.
private="$(mktemp -d)" || exit 1
"${{AUTOGRADER_PYTHON:-$root/python/bin/python}}" -m course grade submission --sheet {sheet} --unprotected \\
    --gradescope "$private/results.json"
status=$?
rm -rf results/results.json
[ ! -e "$private/results.json" ] || cp "$private/results.json" results/results.json
rm -rf "$private"
exit $status
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sheet", metavar="SHEET", help="such as 04_attention_as_lookup")
    parser.add_argument("output", type=Path, metavar="ZIP", help="the archive to write")


def run(args: argparse.Namespace) -> int:
    try:
        load(args.sheet)
    except ValueError:
        names = ", ".join(sheet.name for sheet in sheets())
        print(f"no sheet is called {printable(args.sheet)}; there are {names}", file=sys.stderr)
        return 2
    if args.output.suffix != ".zip":
        print(f"{printable(args.output)}: Gradescope takes an archive whose name ends in .zip", file=sys.stderr)
        return 2
    if problem := cannot_write(args.output):
        print(f"{printable(args.output)}: {problem}", file=sys.stderr)
        return 2
    if not (ROOT / "requirements.lock").exists():
        print("this needs the book's folder, with requirements.lock; an installed copy has none", file=sys.stderr)
        return 1
    write(args.output, archive(args.sheet))
    print(f"{printable(args.output)}: {args.output.stat().st_size / 1e6:.1f} MB, for {args.sheet}")
    return 0


def archive(sheet: str) -> bytes:
    """The zip file, the same for the same book."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    torch = next(line.split()[0] for line in lock.splitlines() if line.startswith("torch=="))
    setup = SETUP.format(index=INDEX, torch=torch, needed=" ".join([*NEEDED, *OF_TORCH]))
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as to:
        for name, content in (("setup.sh", setup), ("run_autograder", RUN.format(sheet=sheet))):
            _add(to, name, content.encode(), 0o755)
        _add(to, "requirements.lock", lock.encode())
        for folder in ("course", "tinyllm"):
            for file in sorted((ROOT / folder).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    _add(to, file.relative_to(ROOT).as_posix(), file.read_bytes())
    return found.getvalue()


def _add(to: zipfile.ZipFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = zipfile.ZipInfo(name, DAY)
    info.external_attr, info.compress_type, info.create_system = mode << 16, zipfile.ZIP_DEFLATED, 3
    to.writestr(info, content)
