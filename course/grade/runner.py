"""Starts the processes that run learners' code (`course.sandbox.child`) and reads what they send back."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import course

ROOT = Path(course.__file__).resolve().parent.parent
FORKS = sys.platform == "linux"  # macOS breaks a fork that has loaded its system libraries, Windows has none
START = 600  # seconds that a process may take to load torch: a few, but on a machine where twenty want each core
LIMIT = 64_000_000  # bytes that may come back from one try
LINES = 20_000  # and lines
VALUES = 500_000  # lists and the like in one of them
PROTECTIONS = ("network", "files", "processes", "rights", "memory")


class Ended(Exception):
    """A session that is over before it should be; the message says why, in words about the learner's code."""


class Broken(Exception):
    """The machinery itself does not work; the message says why."""


class Runner:
    """Opens sessions, each in processes of its own; as a context manager it leaves none behind.

    `memory` is in bytes and for each session; with `bare` nothing is taken away that needs namespaces.
    """

    def __init__(self, memory: int, bare: bool = False) -> None:
        self.memory, self.bare = memory, bare
        self.server: subprocess.Popen | None = None
        self.control: socket.socket | None = None

    def __enter__(self) -> "Runner":
        if FORKS:  # loads torch while the first notebook is being read
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.server = self._start("--fork", stdin=theirs, stdout=subprocess.DEVNULL)
            theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        if self.server:
            self.control.close()
            self.server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(10)
            _kill(self.server)

    def restart(self) -> None:
        self.__exit__()
        self.__enter__()

    def _start(self, *options: str, **streams: object) -> subprocess.Popen:
        kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ} | {
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONIOENCODING": "utf-8",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "COURSE_PROGRESS": "off",
        }
        bare = ["--bare"] if self.bare else []
        # A session of its own: Ctrl-C reaches the grader alone, which then ends the rest in order.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "course.sandbox.child", str(self.memory), *options, *bare],
            env=environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **({"cwd": os.sep} | streams),
        )

    @contextlib.contextmanager
    def session(self) -> "Iterator[Session]":
        """A learner's process that waits for its notebook. Raises `Broken`."""
        with _forked(self.control) if FORKS else self._spawned() as session:
            try:
                first = session.line(START)
            except Ended as error:
                raise Broken(f"the process for answers did not start: {error}") from None
            if "protected" not in first:
                raise Broken(f"the process for answers could not be closed off: {first.get('unprotected')}")
            session.protected = [name for name in PROTECTIONS if name in first["protected"]]
            yield session

    @contextlib.contextmanager
    def _spawned(self) -> "Iterator[Session]":
        """A session in a new process, for systems without a safe fork."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
            process = self._start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            threading.Thread(target=_pump, args=(process.stdout, theirs), daemon=True).start()
            try:
                yield Session(ours, lambda data: _write(process.stdin, data), lambda: process.wait(10))
            finally:
                _kill(process)


@contextlib.contextmanager
def _forked(control: socket.socket) -> "Iterator[Session]":
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        read, write = os.pipe()
        stack.callback(os.close, read)
        try:
            socket.send_fds(control, [b"."], [theirs.fileno(), write])
        except OSError:
            raise Broken("the process that starts the others has ended") from None
        finally:
            os.close(write)
            theirs.close()

        def status() -> int | str:
            ready, _, _ = select.select([read], [], [], 20)
            said = os.read(read, 100) if ready else b""
            return int(said) if said.isdigit() else said.decode()

        yield Session(ours, ours.sendall, status)


class Session:
    """The way to one learner's process. What comes from there may be anything."""

    def __init__(
        self, channel: socket.socket, send: Callable[[bytes], object], status: Callable[[], int | str]
    ) -> None:
        self.channel, self._send, self._status = channel, send, status
        self.buffer, self.searched = bytearray(), 0
        self.protected: list[str] = []
        self.allow()

    def allow(self) -> None:
        """Begins to count anew what comes back."""
        self.bytes, self.lines = LIMIT, LINES

    def send(self, content: object) -> None:
        self.channel.settimeout(60)
        with contextlib.suppress(OSError):  # a process that is gone is met at the next line
            self._send(json.dumps(content).encode() + b"\n")

    def line(self, seconds: float) -> dict:
        """The next line, {} for one that says nothing. Raises `Ended`."""
        end = time.monotonic() + seconds
        while True:
            cut = self.buffer.find(b"\n", self.searched)
            if cut > 0:
                line = bytes(self.buffer[:cut])
            if cut >= 0:
                del self.buffer[: cut + 1]
                self.searched = 0
                self.lines -= 1
                if cut == 0:
                    continue
                return _dictionary(line)
            self.searched = len(self.buffer)
            if self.bytes < 0 or self.lines < 0:
                raise Ended(f"more than {LIMIT // 1_000_000} MB came back")
            self.channel.settimeout(max(0.001, end - time.monotonic()))
            try:
                chunk = self.channel.recv(1 << 20)
            except TimeoutError:
                raise Ended("late") from None
            except OSError:
                chunk = b""
            if not chunk:
                raise Ended(self.how_it_ended())
            self.bytes -= len(chunk)
            self.buffer += chunk

    def how_it_ended(self) -> str:
        try:
            return why(self._status())
        except (subprocess.TimeoutExpired, OSError, ValueError):
            return "the process was killed"


def _dictionary(line: bytes) -> dict:
    if line.count(b"[") + line.count(b"{") > VALUES:
        return {}
    try:
        content = json.loads(line)
    except (ValueError, RecursionError, MemoryError):
        return {}
    return content if isinstance(content, dict) else {}


def why(end: int | str) -> str:
    """What an exit status says about the code that ran."""
    if end == "memory":
        return "more memory than allowed, in all its processes together"
    if not isinstance(end, int):
        return "the process was killed"
    status = end if end >= 0 else 128 - end
    if status > 128 and status - 128 in list(map(int, signal.Signals)):
        return f"the process was ended by {signal.Signals(status - 128).name}: a crash, or more memory than allowed"
    return f"the process ended itself (exit status {status})"


def _write(stream: object, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _pump(source: object, to: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while chunk := source.read1(1 << 20):
            to.sendall(chunk)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    with contextlib.suppress(OSError):  # what the process did not read
        if process.stdin:
            process.stdin.close()
