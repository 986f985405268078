"""The processes in which learners' code runs; `course.grade.runner` starts them and judges what comes back.

    python -m course.sandbox.child MEMORY          one notebook, through stdin and stdout
    python -m course.sandbox.child MEMORY --fork   notebook after notebook, each in a fork that has torch loaded
    ... --bare                                     takes away only what needs no namespaces

With --fork stdin is a socket. Each message on it brings two descriptors: one to talk to the learner's process
(`course.sandbox.session` says how), and one that takes its exit status in the end. This process itself reads
nothing of any notebook, so that there is nothing of one in the memory of the next.
The first line that comes back is {"protected": [...]} or, and then nothing more, {"unprotected": why}. Whatever
follows may be forged by the learner's code.
"""

import contextlib
import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile

import tinyllm
import torch

from course.sandbox import isolation, session

WATCH = 0.2  # seconds between two looks at the memory of a session's processes


def serve(memory: int, bare: bool) -> None:
    # What most notebooks import: loaded once, here. And what torch loads when it is first needed.
    weights = torch.zeros(1, requires_grad=True)
    weights.grad = torch.zeros(1)
    torch.optim.AdamW([weights]).step()
    for name in ["course.figures", *(f"tinyllm.{module.name}" for module in pkgutil.iter_modules(tinyllm.__path__))]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that was loaded here
    isolation.adopt_orphans()
    view = None if bare else isolation.plan()
    keepers: set[int] = set()
    with socket.socket(fileno=0) as control:
        while True:
            ready, _, _ = select.select([control], [], [], 0.2 if keepers else None)
            if ready:
                message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
                if not message:
                    return
                keeper = os.fork()
                if keeper == 0:
                    keep(*descriptors, memory, view)
                keepers.add(keeper)
                for descriptor in descriptors:
                    os.close(descriptor)
            _reap(keepers)


def _reap(keepers: set[int]) -> None:
    """Forgets the keepers that have ended, and ends what they may have left behind."""
    ended = set()
    for keeper in keepers:
        if os.waitpid(keeper, os.WNOHANG)[0]:
            ended.add(keeper)
    keepers -= ended
    if ended:
        isolation.end_children(but=frozenset(keepers))


def keep(channel: int, report: int, memory: int, view: isolation.View | None) -> None:
    """Starts the learner's process, ends it when nobody listens any more, or with all of its kin when they
    hold too much memory, and reports how it ended."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        isolation.adopt_orphans()
        isolated = view is not None and isolation.namespaces()
        isolation.die_with_parent()
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        keeper = os.getpid()
        learner = os.fork()
        if learner == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            learn(channel, channel, memory, view if isolated else None, keeper)
        os.close(channel)
        watch = select.poll()
        watch.register(report, 0)  # hung up by the reader
        watch.register(wake, select.POLLIN)
        ended = 0
        while not ended:
            events = watch.poll(WATCH * 1000)
            ended, status = os.waitpid(learner, os.WNOHANG)
            if any(descriptor == report for descriptor, _ in events):
                break
            if isolation.hold_more(isolation.family(os.getpid())[1], memory + session.OWN):
                os.write(report, b"memory")
                break
        if ended:
            code = os.waitstatus_to_exitcode(status)
            os.write(report, b"%d" % (code if code >= 0 else 128 - code))
        isolation.end_children()
    finally:
        os._exit(0)


def learn(read: int, write: int, memory: int, view: isolation.View | None, number: int) -> None:
    """The learner's process: gives up what it can, then runs the notebook. Does not return.

    `number` is that of no other session.
    """
    try:
        try:
            protected = protect(memory, view, number)
        except OSError as error:
            session.send(write, {"unprotected": str(error)})
            return
        read, write = [os.dup(channel) for channel in (read, write) * 3][-2:]  # out of the way of 3 and 4
        os.dup2(read, 3)
        os.dup2(write, 4)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        os.closerange(5, 65536)  # among them the way to the zygote's other children
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        session.send(4, {"protected": protected})
        session.run(3, 4)
    finally:
        os._exit(0)


def protect(memory: int, view: isolation.View | None, number: int) -> list[str]:
    """Takes away from this process what it does not need, and says what was taken."""
    done = []
    os.environ.update(LOGNAME="learner", USER="learner")
    os.umask(0o022)  # a stricter one would close the new root to the user that this process becomes
    bounded = isolation.limit(memory, processes=session.PROCESSES if view else None)
    if view:
        isolation.enter(view)
        done += ["network", "files", "processes"]
        os.chdir(isolation.SCRATCH)
        os.environ.update(HOME=str(isolation.SCRATCH), TMPDIR=str(isolation.SCRATCH))
        tempfile.tempdir = None  # what was loaded may have asked for it already
    isolation.limit_files()
    if isolation.give_up_rights(isolation.STRANGERS + number, isolated=bool(view)):
        done.append("rights")
        if isolation.refuse_calls() and bounded:
            done.append("memory")
    isolation.die_with_parent()
    return done


def main() -> None:
    torch.set_num_threads(1)
    memory, bare = int(sys.argv[1]), "--bare" in sys.argv
    if "--fork" in sys.argv:
        # Also when the grader is killed: a way out that ends the children first.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        isolation.die_with_parent(signal.SIGTERM)
        try:
            serve(memory, bare)
        finally:
            isolation.end_children()
            os._exit(0)  # taking torch apart would take seconds
    else:
        learn(os.dup(0), os.dup(1), memory, None, os.getpid())


if __name__ == "__main__":
    main()
