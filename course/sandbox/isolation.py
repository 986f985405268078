"""What keeps a learner's process to itself; what the system refuses is not among what gets reported.

Linux, as root or where users may have namespaces of their own: no network, no sight of other processes, of
the home folder, the repository (solutions, checks and history included) or the submissions, and nothing to
write to but a small scratch folder. On other systems only the limits that they have.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform != "win32":
    import resource

NOBODY = 65534
SCRATCH = Path("/tmp/scratch")
# From the headers of Linux and the same on every architecture.
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, CAPABILITY_VERSION_3 = 1, 36, 38, 0x20080522
MOUNT_SETATTR, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, 0x8000, 1


def namespaces() -> bool:
    """Gives the next child of this process its own network, mounts and processes; False where refused."""
    if sys.platform != "linux":
        return False
    user, group = os.geteuid(), os.getegid()
    try:
        _libc("unshare", NEWNS | NEWIPC | NEWPID | NEWNET | (NEWUSER if user else 0))
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


def hide_files(hidden: Iterable[str], shown: Iterable[str]) -> None:
    """Within namespaces: the `hidden` folders hold only what is `shown`, only `SCRATCH` can be written."""
    _libc("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    opened = {
        path: os.open(path, os.O_PATH) for path in sorted(map(os.path.realpath, shown)) if os.path.isdir(path)
    }
    for folder in sorted({os.path.realpath(path) for path in hidden}, key=len):
        # A folder inside of one that is already hidden has gone with it.
        if folder != "/" and os.path.isdir(folder):
            _libc("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755,size=1m")
            for path, descriptor in opened.items():
                if Path(folder) in Path(path).parents:
                    os.makedirs(path, exist_ok=True)
                    _libc(
                        "mount",
                        b"/proc/self/fd/%d" % descriptor,
                        os.fsencode(path),
                        None,
                        MS_BIND | MS_REC,
                        None,
                    )
    for descriptor in opened.values():
        os.close(descriptor)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    try:
        _libc("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    except OSError:  # refused in some containers: then without, as the old one shows all processes
        _libc("mount", b"tmpfs", b"/proc", b"tmpfs", MS_NOSUID | MS_NODEV, b"size=0")
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    _libc("syscall", MOUNT_SETATTR, -100, b"/", AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    _libc("mount", b"tmpfs", os.fsencode(SCRATCH), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777,size=64m")


def give_up_rights() -> bool:
    """No rights of root or of the namespace from here on, and none to be had; False if root stays root."""
    if sys.platform != "linux":
        return hasattr(os, "geteuid") and os.geteuid() != 0
    if os.geteuid() == 0:
        if not _nobody_reaches_python():
            return False
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _libc("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    _libc("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return True


def _nobody_reaches_python() -> bool:
    """A virtual environment below /root is closed to others unless the mounts have opened a way."""
    os.seteuid(NOBODY)
    try:
        return all(
            os.access(path, os.R_OK, effective_ids=True) for path in (os.__file__, ctypes.__file__, __file__)
        )
    finally:
        os.seteuid(0)


def limit(memory: int, processes: int | None) -> bool:
    """Bounds files, and memory beyond what is in use now, in bytes; False where memory cannot be bounded."""
    if sys.platform == "win32":
        return False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000_000, 64_000_000))
    if sys.platform != "linux":  # macOS takes RLIMIT_AS and does not keep to it
        return False
    if processes:  # counted per user, so only a user without other processes can be held to it
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + memory, in_use + memory))
    return True


def die_with_parent(signal: int = 9) -> None:
    """This process gets the signal when its parent ends; a change of rights undoes this."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            _libc("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def adopt_orphans() -> None:
    """What descends from this process becomes its child when its own parent ends: `end_children` finds it."""
    with contextlib.suppress(OSError):
        _libc("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> None:
    """Kills all children of this process, and theirs, however they have detached themselves. Linux only."""
    while children := [
        int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == os.getpid()
    ]:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _parent(pid: str) -> int:
    try:  # 'pid (name) state parent ...', where a name may hold brackets and spaces
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _libc(name: str, *args: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*(ctypes.c_ulong(arg) if isinstance(arg, int) and arg >= 0 else arg for arg in args)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
