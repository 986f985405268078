"""`python -m course archive`: one zip from which the book installs, builds and tests where no index can be reached.

It holds the project as it lies on the disk (the files that git tracks), the book rendered anew, and every wheel of
`requirements.lock` for this Python on this kind of machine. Unpacked, `make book` and `make test` are the commands
that they always are: the Makefile sees `wheels/` beside it.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "attention-twice"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

UNPACK = """\
Attention, Twice: the book, its sources, and all that they are run with.

To read it, no program but a browser is needed: open _build/html/index.html.

To run it you need CPython {python} on {machine}, and make. Nothing is fetched from a network:

    make PYTHON=python{python} book     # makes the environment from wheels/ and builds the book
    make PYTHON=python{python} test     # runs everything anew and compares; pages are tried in Chromium, if there is one

Without make, on Linux and macOS (Windows has .venv\\Scripts for .venv/bin):

    python{python} -m venv .venv
    .venv/bin/python -m pip install --no-index --find-links wheels -r requirements.lock
    .venv/bin/python -m pip install --no-index --find-links wheels --no-deps --no-build-isolation -e .
    .venv/bin/jupyter-book build .

When no Python {python} is at hand any more: its source is on python.org and builds with a C compiler; a container image
of Debian 12 has one (Containerfile). Another Python needs other versions than the lock names: see pyproject.toml,
whose lower bounds were tried, and `make newest`. Without any library: python3 tinyllm/standalone.py "Once there was".
"""


class ArchiveError(Exception):
    """Why there can be no archive."""


def called(*command: str | Path, needed: str) -> bytes:
    """What a command prints; `ArchiveError` with its last words if it fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
    except FileNotFoundError as missing:
        raise ArchiveError(f"{needed}: {missing}") from None
    if done.returncode:
        raise ArchiveError(f"{needed}:\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")
    return done.stdout


def tracked() -> dict[str, Path]:
    """The project's files by their names in the archive."""
    listed = called("git", "ls-files", "-z", needed="an archive is made from a git clone").decode().split("\0")
    if "Makefile" not in listed:  # a copy inside of somebody else's repository
        raise ArchiveError("an archive is made from a git clone")
    return {name: ROOT / name for name in listed if name}


def below(folder: Path, prefix: str) -> dict[str, Path]:
    """All files of a folder by their names in the archive."""
    return {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}


def rendered(folder: Path) -> Path:
    """The book, built from nothing: an earlier build may hold pages that are no more."""
    program = shutil.which("jupyter-book", path=sysconfig.get_path("scripts")) or "jupyter-book"
    build = (program, "build", ROOT, "--path-output", folder, "-W", "-n", "--keep-going", "-q")
    called(*build, needed="the book does not build")
    return folder / "_build/html"


def wheels(folder: Path, torch_index: str) -> Path:
    """Every wheel of the lock for this Python on this machine, and pip's own."""
    download = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                "--only-binary", ":all:", "--dest", folder / "wheels")
    # The build of torch that this environment has, from where it came; see the Makefile.
    torch = ("--retries", "1", "--extra-index-url", torch_index, f"torch=={version('torch')}")
    called(*download, *torch, needed="no wheel of torch")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf8").splitlines(keepends=True)
    (folder / "rest.txt").write_text("".join(line for line in lock if not line.startswith("torch==")))
    called(*download, "-r", folder / "rest.txt", f"pip=={version('pip')}", needed="no wheel of a package")
    return folder / "wheels"


def write(files: dict[str, Path | bytes], moment: int, path: Path) -> None:
    """Write a zip in one step; the same bytes whenever names, contents and moment (seconds, UTC) are the same.

    Nothing is compressed: wheels are already, another zlib would give other bytes, and what is damaged in a file
    that lies plain in the archive costs that file only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(f"{FOLDER}/{name}", time.gmtime(moment)[:6])
                entry.create_system = 3  # Unix, whose permissions these are
                entry.external_attr = 0o100644 << 16
                content = files[name]
                if isinstance(content, bytes):
                    archive.writestr(entry, content)
                    continue
                entry.file_size = content.stat().st_size
                with content.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def build(output: Path, torch_index: str) -> Path:
    """Make the archive in the folder `output`; returns its path."""
    system, machine = platform.system().lower(), platform.machine().lower()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    files: dict[str, Path | bytes] = dict(tracked())
    moment = int(called("git", "log", "-1", "--format=%ct", needed="an archive is made from a commit"))
    files["UNPACK.txt"] = UNPACK.format(python=python, machine=f"{platform.system()} ({machine})").encode()
    path = output / f"{FOLDER}-{version(FOLDER)}-cp{python.replace('.', '')}-{system}-{machine}.zip"
    with tempfile.TemporaryDirectory() as folder:
        files |= below(rendered(Path(folder)), "_build/html")
        files |= below(wheels(Path(folder), torch_index), "wheels")
        write(files, moment, path)
    return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=ROOT / "_build", help="folder that gets the zip")
    parser.add_argument("--torch-index", default=TORCH_INDEX, help="where torch came from")


def run(args: argparse.Namespace) -> int:
    try:
        path = build(args.output, args.torch_index)
    except ArchiveError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")
    return 0
