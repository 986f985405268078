"""Runs a learner's notebook as it stands, and tries its answers where the notebook had them checked.

What comes in is one line of JSON: the `cells` (name and source), the numbers of the statements to `skip`, the
`seconds` that one statement may take, and the `tries`: each with its `id`, the name of its `function`, its
`calls` (for each part a list of encoded inputs), its `seconds`, and the statement `after` which it is made.
What goes out is lines too: {"at": n} before statement n is run, {"trouble": [n, text]} when it went wrong;
{"try": id}, then for each call what `course.sandbox.call.call` says, up to the first in each part that gave no
answer, then {"tried": id, "end": exit status or "late"}; {"end": true} after the last statement. More tries may
then come in, a line of JSON with a list of them.

A line on something late has "left": true where it had not computed for as long as it might have.

Statements are run in order, and one that raises or takes too long costs no other. So whatever a cell did in
the notebook, by whatever kind of statement, is done here.
"""

import __future__

import ast
import asyncio
import contextlib
import inspect
import json
import linecache
import os
import random
import sys
import time
import types
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from course.sandbox.call import OutOfTime, call, queued, time_left, within

OWN = 400_000_000  # bytes that Python and torch themselves may hold
PROCESSES = 32  # processes and threads that a notebook may have
FUTURES = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})

# An answer may replace these, for its own use.
dumps, monotonic, sleep, write_to, leave = json.dumps, time.monotonic, time.sleep, os.write, os._exit
computed = time.process_time
if sys.platform == "linux":
    fork, waitpid, kill, clock, exit_code = os.fork, os.waitpid, os.kill, time.clock_gettime, os.waitstatus_to_exitcode


def send(channel: int, line: dict) -> None:
    # A line starts anew, also where somebody was stopped in the middle of one.
    data = memoryview(b"\n" + dumps(line).encode() + b"\n")
    while data:
        data = data[write_to(channel, data) :]


def run(read: int, write: int) -> None:
    source = os.fdopen(read, "rb", closefd=False)
    job = json.loads(source.readline())
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    names, skip, flags = namespace(), set(job["skip"]), 0
    for number, (cell, statement) in enumerate(statements(job["cells"])):
        if number not in skip:
            send(write, {"at": number})
            began = computed()
            try:
                flags |= within(job["seconds"], execute, statement, cell, names, flags)
            except OutOfTime:
                why = f"stopped after {job['seconds']:g} seconds"
                send(write, {"trouble": [number, why], "left": computed() - began < job["seconds"]})
            except BaseException as error:
                send(write, {"trouble": [number, f"{type(error).__name__}: {_text(error)}"[:300]]})
        for trial in job["tries"]:
            if trial["after"] == number:
                attempt(write, trial, names)
    send(write, {"end": True})
    for line in source:
        for trial in json.loads(line):
            attempt(write, trial, names)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "?"


def statements(cells: list[dict]) -> Iterator[tuple[str, ast.stmt]]:
    for cell in cells:
        lines = cell["source"].splitlines(keepends=True)
        linecache.cache[cell["name"]] = (len(cell["source"]), None, lines, cell["name"])
        for statement in ast.parse(cell["source"]).body:
            yield cell["name"], statement


def namespace() -> dict:
    """A notebook's names before its first cell: those of Jupyter, and a checker that says nothing."""
    check = types.ModuleType("course.check")
    check.sheet = lambda name: Silent()
    sys.modules["course.check"] = check
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update(display=print, get_ipython=Silent)
    return module.__dict__


class Silent:
    """Takes every call and every method, and does nothing."""

    def __call__(self, *args: object, **options: object) -> None:
        pass

    def __getattr__(self, name: str) -> "Silent":
        return self


def execute(statement: ast.stmt, cell: str, names: dict, flags: int) -> int:
    """Runs a statement as Jupyter does; the `from __future__` flags that hold from here on."""
    code = compile(
        ast.Module([statement], []),
        cell,
        "exec",
        flags=flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    result = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        loop().run_until_complete(result)
    return code.co_flags & FUTURES


def loop() -> asyncio.AbstractEventLoop:
    """One for the whole notebook, as in Jupyter."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop


_loop: asyncio.AbstractEventLoop | None = None


def attempt(write: int, trial: dict, names: dict) -> None:
    """Calls the answer, where the system allows in a fork: it costs nothing but itself."""
    send(write, {"try": trial["id"]})
    if sys.platform != "linux":  # macOS breaks a fork that has loaded its system libraries
        calls(write, trial, names)
        send(write, {"tried": trial["id"], "end": 0, "left": False})
        return
    child = fork()
    if child == 0:
        try:
            calls(write, trial, names)
        finally:
            leave(0)
    end, left = _wait(child, trial["seconds"])
    send(write, {"tried": trial["id"], "end": end, "left": left})


def _wait(child: int, seconds: float) -> tuple[int | str, bool]:
    """How it ended, and whether it was stopped with processor time left."""
    start, nap, left = monotonic(), 0.0005, False
    while True:
        ended, status = waitpid(child, os.WNOHANG)
        if ended:
            end = exit_code(status)
            break
        # Its processor clock, by the number that Linux gives to the clock of a process.
        used = clock(~child << 3 | 2)
        if time_left(seconds, monotonic() - start - queued(child), used) <= 0:
            kill(child, 9)
            waitpid(child, 0)
            end, left = "late", used < seconds
            break
        sleep(nap)
        nap = min(2 * nap, 0.05)
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            kill(-1, 9)  # what it has started, as all else in this namespace
            while True:
                waitpid(-1, 0)
    return end, left


def calls(write: int, trial: dict, names: dict) -> None:
    function = names.get(trial["function"])
    for part in trial["calls"]:
        for inputs in part:
            came = _outcome(trial["function"] in names, function, inputs)
            send(write, came)
            if "answer" not in came:
                break


def _outcome(there: bool, function: object, inputs: list) -> dict:
    if not there:
        return {"missing": True}
    if not callable(function):
        return {"error": "what has this name is no function"}
    try:
        return call(function, inputs)
    except KeyboardInterrupt:  # the learner's own
        return {"error": "KeyboardInterrupt"}
