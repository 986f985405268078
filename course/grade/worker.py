"""A function in a process of its own, bounded in memory and time: whatever it meets, its caller goes on."""

import contextlib
import json
import math
import multiprocessing
import multiprocessing.connection
import signal
import sys
import time
from collections.abc import Callable

import torch

from course.grade.runner import FORKS
from course.sandbox import isolation

MEMORY = 2_000_000_000  # bytes beyond what is in use at the start
PROCESSOR = 120  # seconds of it
MESSAGE = 64_000_000  # bytes of one message

Work = Callable[[Callable[[dict], None]], None]


class Worker:
    """Runs `work(send)`; `messages` are what it sent, `error` why it ended before it should have."""

    def __init__(self, work: Work, seconds: float) -> None:
        context = multiprocessing.get_context("fork" if FORKS else "spawn")
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_run, args=(sender, work), daemon=True)
        with _no_interrupt():  # Ctrl-C is for the caller, who ends this in order
            self.process.start()
        sender.close()
        self.end = time.monotonic() + seconds
        self.seconds = seconds
        self.last: dict = {}
        self.error: str | None = None

    def receive(self) -> bool:
        """Takes what has come; False when that was the end of it."""
        try:
            while self.receiver.poll():
                self.last = json.loads(self.receiver.recv_bytes(MESSAGE))
                if "raised" in self.last:
                    self.error = self.last["raised"]
        except (EOFError, OSError, ValueError):
            self.process.join(10)
            if self.process.exitcode != 0 and not self.error:
                self.error = _ended(self.process.exitcode)
            self.stop()
            return False
        if time.monotonic() > self.end:
            self.error = f"it took more than {self.seconds:g} seconds"
            self.stop()
            return False
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.receiver.close()


def wait(workers: list[Worker], most: float = math.inf) -> None:
    """Until one of them has something to say, or has to be stopped, or so many seconds have gone by."""
    left = min(most, min(worker.end for worker in workers) - time.monotonic())
    multiprocessing.connection.wait([worker.receiver for worker in workers], max(0, left) + 0.01)


def result(work: Work, seconds: float) -> tuple[dict, str | None]:
    """What it said last, and what went wrong."""
    worker = Worker(work, seconds)
    try:
        while worker.receive():
            wait([worker])
    finally:
        worker.stop()
    return worker.last, worker.error


def _run(sender: multiprocessing.connection.Connection, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    isolation.die_with_parent()
    torch.set_num_threads(1)  # the other cores are for other notebooks
    if sys.platform != "win32":
        import resource

        isolation.limit(MEMORY, processes=None)
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR + 5))

    def send(message: dict) -> None:
        sender.send_bytes(json.dumps(message).encode())

    try:
        work(send)
    except MemoryError:
        send({"raised": "it needs more memory than is allowed for reading and judging"})
    except Exception as error:
        send({"raised": f"{type(error).__name__}: {error}"[:300]})


def _ended(code: int | None) -> str:
    if code == -signal.SIGXCPU if hasattr(signal, "SIGXCPU") else False:
        return f"it took more than {PROCESSOR} seconds of the processor to read and judge"
    return f"the process that reads and judges it ended (exit status {code})"


@contextlib.contextmanager
def _no_interrupt():
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
