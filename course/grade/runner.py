"""Starts the processes that run learners' code (`course.sandbox.child`) and reads what they send back."""

import contextlib
import json
import os
import queue
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import course
from course.sandbox.child import LIMIT

COURSE = Path(course.__file__).resolve().parent
ROOT = COURSE.parent
FORKS = sys.platform == "linux"  # macOS breaks a fork that has loaded its system libraries, Windows has none
START = 120  # seconds that a process may take to load torch


class Runner:
    """Runs jobs one by one, each in a process of its own; as a context manager it leaves none behind.

    `memory` is in bytes, `hidden` are the folders of the submissions. After a job `protected` holds what the
    system allowed: network, files, processes, memory, rights.
    """

    def __init__(self, memory: int, hidden: Iterable[Path]) -> None:
        self.memory = memory
        self.protected: list[str] = []
        self.isolate = True
        self.server: subprocess.Popen | None = None
        system = [os.path.expanduser("~"), "/home", "/tmp", "/var/tmp", "/dev/shm", "/run"]
        self.hidden = [str(path) for path in [*system, ROOT, COURSE / "checks", *hidden]]
        self.shown = [
            sys.prefix,
            sys.base_prefix,
            site.getusersitepackages(),
            str(ROOT / "tinyllm"),
            str(COURSE),
        ]

    def __enter__(self) -> "Runner":
        if FORKS:
            self.server = _start("--fork")  # loads torch while the first notebook is being read
        return self

    def __exit__(self, *_: object) -> None:
        if self.server:
            self.server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(10)
            _kill(self.server)

    def run(
        self, cells: list[dict], function: str, calls: list[list[list]], seconds: float
    ) -> tuple[list[list[dict]], str | None]:
        """What came of each part's calls, as `course.check.assess` takes it, and what went wrong before."""
        job = {
            "cells": cells,
            "function": function,
            "calls": calls,
            "seconds": seconds,
            "memory": self.memory,
            "hidden": self.hidden,
            "shown": self.shown,
            "isolate": self.isolate,
        }
        output, end = (self._fork if FORKS else _spawn)(job)
        lines = _lines(output)
        first = next(lines, {})
        if self.isolate and "unprotected" in first:
            self.isolate = False
            return self.run(cells, function, calls, seconds)
        self.protected = first.get("protected", self.protected)
        trouble = next(lines, {}).get("trouble")
        died = {"died": _why(end, seconds)}
        outcomes = [_outcomes(lines, len(part), died) for part in calls]
        if "memory" in self.protected:
            for came in (came for part in outcomes for came in part):
                error = came.get("error", "")
                if "MemoryError" in error.partition(":")[0] or "can't allocate memory" in error:
                    came["error"] = f"{error} (more than the {self.memory / 1e9:g} GB allowed)"
        return outcomes, trouble[:300] if isinstance(trouble, str) else None

    def _fork(self, job: dict) -> tuple[str, str | int]:
        assert self.server
        try:
            self.server.stdin.write(json.dumps(job).encode() + b"\n")
            self.server.stdin.flush()
            reply = json.loads(self.server.stdout.readline())
        except (OSError, ValueError):  # where nothing is isolated, the job may have ended the server
            _kill(self.server)
            self.server = _start("--fork")
            return "", "server"
        return reply["output"], reply["end"]


def _start(*options: str, folder: str = os.sep) -> subprocess.Popen:
    kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "COURSE_PROGRESS": "off",
    }
    # A session of its own: Ctrl-C reaches the grader alone, which then ends the rest in order.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "course.sandbox.child", *options],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _spawn(job: dict) -> tuple[str, str | int]:
    """A job in a new process, for systems without a safe fork; its time counts from when torch is loaded."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = _start(folder=folder)
        received: queue.Queue[bytes] = queue.Queue()
        output = b""
        threading.Thread(target=_receive, args=(process, received), daemon=True).start()
        try:
            with contextlib.suppress(OSError):
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.close()
            output = line = received.get(timeout=START)
            end = time.monotonic() + job["seconds"]
            while line:
                line = received.get(timeout=max(0, end - time.monotonic()))
                output += line
                if len(output) > LIMIT:
                    return output.decode(errors="replace"), "too much"
            return output.decode(errors="replace"), process.wait(max(0.1, end - time.monotonic()))
        except (queue.Empty, subprocess.TimeoutExpired):
            return output.decode(errors="replace"), "late"
        finally:
            _kill(process)


def _receive(process: subprocess.Popen, received: queue.Queue) -> None:
    while line := process.stdout.readline(LIMIT):
        received.put(line)
    received.put(b"")


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    with contextlib.suppress(OSError):  # what the process did not read
        process.stdin.close()


def _lines(output: str) -> Iterator[dict]:
    for line in output.split("\n"):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(content, dict):
            return
        yield content


def _outcomes(lines: Iterator[dict], calls: int, died: dict) -> list[dict]:
    """The next lines, one for each call of a part, up to the first that holds no answer."""
    outcomes = []
    while len(outcomes) < calls:
        line = next(lines, died)
        outcomes.append(line if _is_outcome(line) else died)
        if "answer" not in outcomes[-1]:
            break
    return outcomes


def _is_outcome(line: dict) -> bool:
    """Whether a line has the form of an outcome; texts in it are cut to what a report can show."""
    for key in ("error", "where", "unplain", "printed"):
        if key in line:
            if not isinstance(line[key], str):
                return False
            line[key] = line[key][:500]
    return (
        isinstance(line.get("changed", 0), int)
        and "died" not in line
        and any(key in line for key in ("answer", "stub", "nothing", "unplain", "changed", "error"))
    )


def _why(end: str | int, seconds: float) -> str:
    if end == "late":
        return f"no answer within {seconds:g} seconds: is there a loop that never ends?"
    if end == "too much":
        return f"more than {LIMIT // 1_000_000} MB came back"
    if end == "server":
        return "the process was killed"
    status = int(end) if int(end) >= 0 else 128 - int(end)
    if status > 128 and status - 128 in list(signal.Signals):
        name = signal.Signals(status - 128).name
        return f"the process was ended by {name}: a crash, or more memory than allowed"
    return f"the process ended itself in the middle of the call (exit status {status})"
