"""Calls an answer once and says what came of it, in plain JSON: the same in a notebook and for the grader."""

import ctypes
import io
import os
from json import dumps
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from types import FrameType
from typing import Any

from course.sandbox.plain import NotPlain, decode, encode


class OutOfTime(KeyboardInterrupt):
    """Raised in a call that takes too long. Not an Exception, so that few answers swallow it."""


def call(function: Callable, inputs: list) -> dict:
    """What came of `function(*inputs)`, the inputs encoded: one of

    {"answer": encoded}, {"stub": true}, {"nothing": true} for None, {"unplain": what}, {"changed": index of
    the input}, {"error": "ValueError: ...", "where": "in softmax, line 3: ..."}; "printed" is added to each.
    """
    given, printed = [decode(value) for value in inputs], _Head()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            answer = function(*given)
        outcome = _returned(answer, given, inputs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: an answer that quits must not end the notebook
        outcome = _raised(error, function)
    return outcome | ({"printed": printed.text} if printed.text.strip() else {})


def _returned(answer: Any, given: list, inputs: list) -> dict:
    for index, (now, before) in enumerate(zip(given, inputs)):
        if _changed(now, before):
            return {"changed": index}
    if answer is None:
        return {"nothing": True}
    try:
        return {"answer": encode(answer)}
    except NotPlain as error:
        return {"unplain": str(error)}


def _changed(now: Any, before: Any) -> bool:
    try:
        return dumps(encode(now)) != dumps(before)  # as text, in which NaN equals NaN
    except NotPlain:
        return True


def _raised(error: BaseException, function: Callable) -> dict:
    frames = [
        frame
        for frame in traceback.walk_tb(error.__traceback__)
        if frame[0].f_globals is getattr(function, "__globals__", None)
    ]
    if isinstance(error, NotImplementedError) and frames and frames[-1][0].f_code is function.__code__:
        return {"stub": True}
    lines = str(error).strip().splitlines()
    says = re.sub(r"(/[^\s/'\"]+)+/", "", lines[0] if lines else "")
    says = re.sub(r"at 0x[0-9a-fA-F]{6,}", "at 0x...", says)  # bytes such as 0xe9 are worth reading
    outcome = {"error": f"{type(error).__name__}{': ' if says else ''}{says[:200]}"}
    if frames:
        frame, line = frames[-1]
        (text,) = traceback.StackSummary.extract([(frame, line)])
        # Lines are counted from the top of the function, as a notebook's cells number theirs anew.
        outcome["where"] = (
            f"in {frame.f_code.co_name}, line {line - frame.f_code.co_firstlineno + 1}: {text.line[:200]}"
        )
    return outcome


class _Head(io.TextIOBase):
    """Keeps the beginning of what is printed and drops the rest."""

    text = ""

    def write(self, text: str) -> int:
        if len(self.text) < 500:
            self.text += text[: 500 - len(self.text)]
        return len(text)


def _interrupt(frame: FrameType, event: str, arg: Any) -> Callable:
    if event == "line":
        raise OutOfTime
    return _interrupt


_open, _read, _close = os.open, os.read, os.close  # an answer may replace these, for its own use


def queued(process: int | str = "self") -> float:
    """The seconds for which a process wanted to compute and others did; 0 where the system does not say."""
    try:
        file = _open(f"/proc/{process}/schedstat", os.O_RDONLY)
        try:
            return int(_read(file, 100).split()[1]) / 1e9
        finally:
            _close(file)
    except (OSError, ValueError, IndexError):
        return 0.0


def time_left(seconds: float, wall: float, cpu: float) -> float:
    """What is left of the time for a call that began `wall` seconds ago and computed for `cpu` of them.

    Computing counts, so that a busy machine fails nobody; and so does waiting for nothing. Waiting for a processor
    does not: `wall` is without that.
    """
    return seconds - wall if cpu < wall / 20 else min(seconds - cpu, 4 * seconds - wall)


def within(seconds: float, function: Callable, *args: Any) -> Any:
    """`function(*args)`, or `OutOfTime` after so many seconds, even where it swallowed that and returned.

    `time_left` says what counts.

    A Python loop, a sleep and a blocked read are broken. One long call into C is not, before it returns; in a
    thread that is not the main one, and on Windows, nor is a sleep.
    """
    armed, rang = True, False
    start, began = time.monotonic() - queued(), time.process_time()

    def left() -> float:
        return time_left(seconds, time.monotonic() - queued() - start, time.process_time() - began)

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal rang
        if armed and not rang and (more := left()) > 0:
            signal.setitimer(signal.ITIMER_REAL, more)
        elif armed:
            rang = True
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            # Whoever swallows the exception meets the next one on the line after, outside of that `try`.
            sys.settrace(_interrupt)
            while frame and frame.f_globals is not globals():
                frame.f_trace, frame = _interrupt, frame.f_back
            raise OutOfTime

    def ring_thread(ident: int) -> None:
        nonlocal rang
        wait = seconds
        while not finished.wait(wait):
            wait = 0.05 if rang else left()
            if wait > 0 and not rang:
                continue
            rang, wait = True, 0.05
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(OutOfTime))

    tracing = sys.gettrace()
    signals = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if signals:
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    else:
        finished = threading.Event()
        threading.Thread(target=ring_thread, args=(threading.get_ident(),), daemon=True).start()
    try:
        answer = function(*args)
    finally:
        armed = False
        if signals:
            sys.settrace(tracing)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        else:
            finished.set()
    if rang:
        raise OutOfTime
    return answer
