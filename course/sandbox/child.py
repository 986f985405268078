"""The process that runs a learner's code; `course.grade.runner` starts it and judges what comes back.

    python -m course.sandbox.child          runs one job
    python -m course.sandbox.child --fork   runs job after job, each in a fork that has torch loaded already

A job is one line of JSON on stdin: the `cells` of the notebook with the statements to `keep`, the name of the
`function`, the `calls` of each part as lists of encoded inputs, `seconds` and `memory` (bytes), whether to
`isolate`, and then which folders are `hidden` and `shown`. What comes back is lines of JSON:
{"protected": [...]}, or {"unprotected": why} and nothing more; {"trouble": text or null}; then for each call
what `course.sandbox.call.call` says of it, up to the first in each part that gave no answer. All but the
first line may be forged by the learner's code.
"""

import __future__

import ast
import json
import linecache
import os
import random
import select
import signal
import sys
import time
import types

import numpy as np
import torch

from course.sandbox import isolation
from course.sandbox.call import call

LIMIT = 64_000_000  # bytes that may come back


def serve() -> None:
    """Answers each job with one line: {"output": lines, "end": "late", "too much" or an exit status}."""
    isolation.adopt_orphans()
    for line in sys.stdin.buffer:
        output, end = run_forked(json.loads(line))
        sys.stdout.buffer.write(
            json.dumps({"output": output.decode(errors="replace"), "end": end}).encode() + b"\n"
        )
        sys.stdout.buffer.flush()


def run_forked(job: dict) -> tuple[bytes, str | int]:
    read, write = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        keep(job, write)
    os.close(write)
    try:
        output, late_or_much = collect(read, os.pidfd_open(keeper), job["seconds"])
        status = 0
        if late_or_much is None:
            status = os.waitpid(keeper, 0)[1]
        return output, late_or_much or os.waitstatus_to_exitcode(status)
    finally:
        os.close(read)
        isolation.end_children()


def keep(job: dict, write: int) -> None:
    """Runs the job in a child that is the first process of its namespaces: what it started ends with it."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        isolated = job["isolate"] and isolation.namespaces()
        isolation.die_with_parent()
        learner = os.fork()
        if learner == 0:
            os.dup2(write, 3)
            os.closerange(4, 65536)  # among them the pipe to the grader
            run(job, 3, isolated)
        os.close(write)
        code = os.waitstatus_to_exitcode(os.waitpid(learner, 0)[1])
        status = code if code >= 0 else 128 - code
    finally:
        os._exit(status)


def collect(read: int, process: int, seconds: float) -> tuple[bytes, str | None]:
    """What comes through the pipe until the process ends, and why it had to stop before."""
    output, end = bytearray(), time.monotonic() + seconds
    os.set_blocking(read, False)
    try:
        while True:
            ready, _, _ = select.select([read, process], [], [], max(0, end - time.monotonic()))
            if not ready:
                return bytes(output), "late"
            chunk = os.read(read, 1 << 20) if read in ready else b""
            output += chunk
            if len(output) > LIMIT:
                return bytes(output), "too much"
            if not chunk and process in ready:
                return bytes(output), None
            if not chunk:  # closed by a process that goes on
                ended = select.select([process], [], [], max(0, end - time.monotonic()))[0]
                return bytes(output), None if ended else "late"
    finally:
        os.close(process)


def run(job: dict, out: int, isolated: bool) -> None:
    """The learner's process: gives up what it can, defines the answer, makes the calls. Does not return."""

    def send(line: dict) -> None:
        data = memoryview(json.dumps(line).encode() + b"\n")
        while data:
            data = data[os.write(out, data) :]

    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            send({"protected": protect(job, isolated)})
        except OSError as error:
            send({"unprotected": str(error)})
            return
        function, trouble = define(job["cells"], job["function"])
        send({"trouble": trouble})
        for part in job["calls"]:
            for inputs in part:
                came = attempt(function, inputs)
                send(came)
                if "answer" not in came:
                    break
    finally:
        os._exit(0)


def attempt(function: object, inputs: list) -> dict:
    if function is None:
        return {"error": "nothing has this name after its cell was run"}
    if not callable(function):
        return {"error": "what has this name is no function"}
    try:
        return call(function, inputs)
    except KeyboardInterrupt:  # the learner's own
        return {"error": "KeyboardInterrupt"}


def protect(job: dict, isolated: bool) -> list[str]:
    """Takes away from this process what it does not need, and says what was taken."""
    done = []
    if isolated:
        isolation.hide_files(job["hidden"], job["shown"])
        done += ["network", "files", "processes"]
        os.chdir(isolation.SCRATCH)
        os.environ.update(HOME=str(isolation.SCRATCH), TMPDIR=str(isolation.SCRATCH))
    if isolation.limit(job["memory"], processes=64 if isolated else None):
        done.append("memory")
    if isolation.give_up_rights():
        done.append("rights")
    isolation.die_with_parent()
    return done


def define(cells: list[dict], name: str) -> tuple[object, str | None]:
    """Runs the kept statements, each for itself; the object of that name, and the first that went wrong."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    trouble = None
    for cell in cells:
        lines = cell["source"].splitlines(keepends=True)
        linecache.cache[cell["name"]] = (len(cell["source"]), None, lines, cell["name"])
        body = ast.parse(cell["source"]).body
        for statement in (body[index] for index in cell["keep"]):
            try:
                code = compile(
                    ast.Module([statement], []),
                    cell["name"],
                    "exec",
                    dont_inherit=True,
                    flags=__future__.annotations.compiler_flag,
                )  # a type that is not there does no harm
                exec(code, module.__dict__)
            except BaseException as error:
                trouble = (
                    trouble
                    or f"{cell['name']}, line {statement.lineno}: {type(error).__name__}: {error}"[:300]
                )
    return module.__dict__.get(name), trouble


def main() -> None:
    torch.set_num_threads(1)
    if "--fork" in sys.argv:
        # Also when the grader is killed: a way out that ends the children first.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        isolation.die_with_parent(signal.SIGTERM)
        serve()
    else:
        run(json.loads(sys.stdin.buffer.readline()), os.dup(1), isolated=False)


if __name__ == "__main__":
    main()
