"""What keeps a learner's process to itself; what the system refuses is not among what gets reported.

Linux, as root or where users may have namespaces of their own: no network, no sight of other processes, and a
file system that holds Python, its packages, the system's libraries and the book's own, to read, and a small
scratch folder, to write. Whatever else is on the machine is not there. On other systems only the limits that
they have.
"""

import contextlib
import ctypes
import glob
import os
import site
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import course

if sys.platform != "win32":
    import resource

NOBODY, STRANGERS = 65534, 2_000_000_000  # the user without rights; and from here on one for each session
SCRATCH = Path("/tmp/scratch")
FILES = 64  # open at a time: what is written into a pipe or a socket and never read is memory of the kernel's
SECRETS = "course/checks solutions exercises chapters tests _build .git".split()  # of the book's folder
PARTS = "bin sbin lib lib32 lib64 libexec include share etc ssl pyvenv.cfg".split()  # of a prefix
SYSTEM = "/bin /sbin /lib /lib32 /lib64 /etc/ld.so.cache /etc/localtime /etc/fonts /etc/alternatives".split()
DEVICES = "/dev/null /dev/zero /dev/full /dev/random /dev/urandom".split()
# From the headers of Linux and the same on every architecture.
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 8, 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
CAPABILITY_VERSION_3, MOUNT_SETATTR, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 0x20080522, 442, 0x8000, 1
# System calls by which a process comes to memory that its limits do not count, or to more rights over the kernel:
# shmget, msgget, memfd_create; mount, unshare, setns; bpf, userfaultfd, perf_event_open and those of the key ring.
REFUSED = {
    "x86_64": (0xC000003E, [29, 68, 319, 165, 272, 308, 321, 323, 298, 248, 249, 250]),
    "aarch64": (0xC00000B7, [194, 186, 279, 40, 97, 268, 280, 282, 241, 217, 218, 219]),
}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3, NO_SUCH_CALL = 435, 0x00050000 + 38  # its flags lie in memory; libraries that are refused it call clone
REFUSED_EVERYWHERE = [425, 428, 429, 430, 432, 447]  # io_uring_setup, the newer ways to mount, memfd_secret


def namespaces() -> bool:
    """Gives the next child of this process its own network, mounts and processes; False where refused."""
    if sys.platform != "linux":
        return False
    kinds = NEWNS | NEWIPC | NEWPID | NEWNET
    try:
        if os.geteuid() == 0:
            with contextlib.suppress(OSError):
                _libc("unshare", kinds)
                return True
            _become(NOBODY)  # root without the right to have them, as in many containers: as any user
            _libc("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
        user, group = os.geteuid(), os.getegid()
        _libc("unshare", kinds | NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class View:
    """The file system of a learner's process: `files` and folders as they are; `links` on the way to them; what is `empty`."""

    files: list[str]
    links: dict[str, str]
    empty: list[str]


def plan() -> View:
    """What has to be there for what is loaded now, under the names by which Python knows it."""
    prefixes = {"/usr", "/usr/local", sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    book = Path(course.__file__).parent
    shown = [*SYSTEM, *DEVICES, *(os.path.join(prefix, part) for prefix in prefixes for part in PARTS)]
    paths = [*sys.path, site.getusersitepackages()]
    shown += [path for path in paths if path and os.path.realpath(path) != os.path.realpath(book.parent)]
    shown += [str(book), str(book.parent / "tinyllm")]
    for name, module in list(sys.modules.items()):
        if "." not in name and name not in ("__main__", "course", "tinyllm"):  # packages may be links to anywhere
            file = getattr(module, "__file__", None)
            shown += getattr(module, "__path__", [file] if file else [])
            if file and hasattr(module, "__path__"):
                shown.append(os.path.dirname(os.path.realpath(file)))
    shown = [os.path.abspath(path) for path in shown if os.path.exists(path)]
    files: list[str] = []
    for path in sorted({os.path.realpath(path) for path in shown}, key=len):
        if not _within(path, files) and path != "/":
            files.append(path)
    links: dict[str, str] = {}
    for path in shown:
        todo, at = list(Path(path).parts[1:]), "/"
        while todo and len(links) < 10_000:
            at = os.path.join(at, todo.pop(0))
            if os.path.islink(at):
                target = os.readlink(at)
                if not _within(at, files):
                    links[at] = target
                at = os.path.normpath(os.path.join(os.path.dirname(at), target))
                todo, at = [*Path(at).parts[1:], *todo], "/"
    secrets = [book.parent / name for name in SECRETS]  # where they lie within what is shown, as in an installed copy,
    installed = [*paths, *(path for prefix in prefixes for path in glob.glob(f"{prefix}/lib*/python*/*-packages"))]
    secrets += [os.path.join(path, SECRETS[0]) for path in installed if path]  # also one that lies beside the clone in use
    empty = {path for path in map(os.path.realpath, secrets) if os.path.isdir(path) and _within(path, files)}
    return View(files, links, sorted(empty))


def _within(path: str, folders: list[str]) -> bool:
    return any(str(parent) in folders for parent in (Path(path), *Path(path).parents))


def enter(view: View) -> None:
    """Within namespaces: from here on there are no files but those of the view, and a scratch folder."""
    new = "/tmp"  # where the new root grows; what lies there is reached through `view`, if at all
    _libc("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # where each package is a link there are hundreds
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in view.files}
    _libc("mount", b"tmpfs", new.encode(), b"tmpfs", MS_NOSUID, b"mode=755,size=4m")
    for path, descriptor in opened.items():
        source, target = b"/proc/self/fd/%d" % descriptor, Path(new + path)
        if os.path.isdir(source):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        _libc("mount", source, os.fsencode(target), None, MS_BIND | MS_REC, None)
    for path, target in view.links.items():
        Path(new + path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, new + path)
    for folder in view.empty:
        _libc("mount", b"tmpfs", os.fsencode(new + folder), b"tmpfs", MS_NOSUID | MS_NODEV, b"size=4k")
    Path(f"{new}{SCRATCH}").mkdir(parents=True, exist_ok=True)
    Path(f"{new}/proc").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # refused in some containers: then without
        _libc("mount", b"proc", f"{new}/proc".encode(), b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    os.chdir(new)
    _libc("pivot_root", b".", b".")
    _libc("umount2", b".", MNT_DETACH)
    os.chdir("/")
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    _libc("syscall", MOUNT_SETATTR, -100, b"/", AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    _libc("mount", b"tmpfs", os.fsencode(SCRATCH), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777,size=64m,nr_inodes=20k")  # a file without bytes takes memory too


def give_up_rights(stranger: int, isolated: bool) -> bool:
    """No rights of root or of the namespace from here on, and none to be had; False if root stays root.

    Root becomes the user of that number, who has no other processes, or the one whom each system has. Where
    there is no other user, as in a container of somebody who is not root, root without rights will do if it
    is `isolated`.
    """
    if sys.platform != "linux":
        return hasattr(os, "geteuid") and os.geteuid() != 0
    if os.geteuid() == 0 and not (_somebody_else(stranger) or _somebody_else(NOBODY) or isolated):
        return False
    _libc("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    _libc("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return True


def _somebody_else(user: int) -> bool:
    """Becomes that user; False where there is none who can read Python's own files.

    A virtual environment below /root is closed to others unless the mounts have opened a way.
    """
    try:
        os.setegid(user)
        os.seteuid(user)
    except OSError:
        return False
    files = (os.__file__, ctypes.__file__, __file__)
    reached = all(os.access(path, os.R_OK, effective_ids=True) for path in files)
    os.seteuid(0)
    os.setegid(0)
    if reached:
        _become(user)
    return reached


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def limit(memory: int, processes: int | None) -> bool:
    """Bounds what is written, and memory beyond what is in use now, in bytes; False where memory cannot be bounded."""
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


def limit_files() -> None:
    """Few are open at a time from here on."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def die_with_parent(signal: int = 9) -> None:
    """This process gets the signal when its parent ends; a change of rights undoes this."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            _libc("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def adopt_orphans() -> None:
    """What descends from this process becomes its child when its own parent ends: `end_children` finds it."""
    with contextlib.suppress(OSError):
        _libc("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(but: frozenset[int] = frozenset()) -> None:
    """Kills all children of this process but those, and theirs, however they have detached themselves."""
    while children := set(map(int, family(os.getpid())[0])) - but:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def refuse_calls() -> bool:
    """No system calls of those kinds from here on; False where that cannot be had."""
    if sys.platform != "linux" or os.uname().machine not in REFUSED:
        return False
    architecture, numbers = REFUSED[os.uname().machine]
    numbers = [*numbers, *REFUSED_EVERYWHERE]
    load, equal, above, any_of, give = 0x20, 0x15, 0x35, 0x45, 0x06  # of the kernel's packet filter language
    refuse, allow = 0x00050001, 0x7FFF0000  # with EPERM
    program = [(load, 0, 0, 4), (equal, 0, len(numbers) + 6, architecture), (load, 0, 0, 0)]
    program += [(above, len(numbers) + 4, 0, 0x40000000)]  # the numbers of another calling convention
    program += [(equal, len(numbers) + 3 - index, 0, number) for index, number in enumerate(numbers)]
    program += [(equal, 5, 0, CLONE3), (equal, 0, 3, CLONE[os.uname().machine])]
    program += [(load, 0, 0, 16), (any_of, 0, 1, NEWUSER)]  # clone's flags: a child that is root of its own
    program += [(give, 0, 0, refuse), (give, 0, 0, allow), (give, 0, 0, NO_SUCH_CALL)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    described = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(filters)))
    try:
        _libc("prctl", PR_SET_SECCOMP, 2, ctypes.addressof(described), 0, 0)
    except OSError:
        return False
    return True


def family(process: int) -> tuple[list[int], list[int]]:
    """The children of a process, and all that descend from it. Linux only."""
    children = _children(process)
    found = list(children)
    for ancestor in found:  # grows while it is walked
        found += _children(ancestor)
    return children, found


def _children(process: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{process}/task")
        return [int(pid) for t in tasks for pid in Path(f"/proc/{process}/task/{t}/children").read_text().split()]
    except OSError:  # a kernel without such lists, or a process that has just ended
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == process]


def _parent(pid: str) -> int:
    try:  # 'pid (name) state parent ...', where a name may hold brackets and spaces
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def hold_more(processes: list[int], limit: int) -> bool:
    """Whether they hold more than so many bytes together. Counting what they share once is slow, and seldom needed."""
    pages = 0
    for process in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() > limit and memory_of(processes) > limit


def memory_of(processes: list[int]) -> int:
    """The bytes that these processes hold together, what they share counted once. Linux only."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except PermissionError:  # a process can close that to all but root; what it holds is seen by everybody
                total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    return total


def _libc(name: str, *args: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*(ctypes.c_ulong(arg) if isinstance(arg, int) and arg >= 0 else arg for arg in args)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
