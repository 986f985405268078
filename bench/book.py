"""How long the book takes: to build from its stored outputs, again, and to test from end to end."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parent.parent


def seconds(program: str, *arguments: str) -> float:
    """Run a command of the environment in the repository, one thread a process, and return how long it took."""
    command = [Path(sys.executable).with_name(program), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    if done.returncode:
        sys.exit(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = ("jupyter-book", "build", ".", "--path-output", folder, "-W", "-n", "--keep-going", "-q")
        rows = {"build, clean": seconds(*build), "build, nothing changed": seconds(*build)}
    rows["notebooks against their sources (`build --check`)"] = seconds("python", "-m", "course", "build", "--check")
    rows["all notebooks re-run, all tests (two processes)"] = seconds("pytest", "-q", "-n", "2", "--dist", "loadfile")
    clean = rows["build, clean"]
    print(f"# The book\n\n{machine()}.\n\n| what | seconds | of a clean build |\n|---|---:|---:|")
    for what, took in rows.items():
        print(f"| {what} | {took:.1f} | {took / clean:.2f} |")


if __name__ == "__main__":
    main()
