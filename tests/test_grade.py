"""The grader: what a notebook earns, whatever is in it."""

import contextlib
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from demo_answers import RIGHT, SHEETS, STUBS, notebook
from grading import MEMORY, command, demo, processes  # noqa: F401  (fixtures)

import course.checks
from course.__main__ import main
from course.check import assess
from course.checks import Part, Question, Wrong, load
from course.grade import Graded, Limits, Runner, grade, report, runner
from course.grade.judge import control
from course.sandbox import isolation
from course.sandbox.plain import encode

COURSE = runner.ROOT / "course"


@pytest.fixture
def try_q1(processes, tmp_path):
    """The result of q1 for a notebook of these cells, and the notes."""

    def result(*cells, seconds=None, running=processes):
        graded = Graded(notebook(tmp_path / "x.ipynb", *cells))
        grade(graded, running, Limits(seconds))
        return graded.results[0], [note for note in graded.notes if note.startswith("q1")]

    return result


def graded_in(path, running):
    graded = Graded(path)
    grade(graded, running)
    return graded


def points(graded):
    return {result.question.id: result.points for result in graded.results}


FULL = {"q1": 3, "q2": 3, "q3": 1, "q4": 1}


# What a notebook earns


def test_right_answers_earn_every_point(processes, tmp_path):
    graded = graded_in(notebook(tmp_path / "x.ipynb", *RIGHT.values()), processes)
    assert points(graded) == FULL and not graded.notes and not graded.error
    assert "you predicted 0.45; measured: 0.50" in str(graded.results[2])


def test_stubs_earn_nothing_and_count_as_not_attempted(processes, tmp_path):
    graded = graded_in(notebook(tmp_path / "x.ipynb", *STUBS.values()), processes)
    assert set(points(graded).values()) == {0}
    assert all("not attempted yet" in str(result) for result in graded.results)


def test_partial_answers_earn_their_parts(try_q1):
    result, _ = try_q1("import torch\ndef softmax(s): return torch.full_like(s, 1 / s.shape[-1])")
    assert result.points == 1


def test_a_mistake_that_shows_only_on_the_graders_extra_seeds_is_found(try_q1):
    result, _ = try_q1("def softmax(s):\n    w = s.softmax(-1)\n    return w * 2 if len(s) > 4 else w")
    assert result.points == 0


def test_the_message_says_which_line_of_the_learner_failed(try_q1):
    result, _ = try_q1("x = 1\n\ndef softmax(s):\n    y = s\n    return y / nothing")
    assert "NameError: name 'nothing' is not defined" in str(result)
    assert "in softmax, line 3: return y / nothing" in str(result)


# Hostile answers: (source, what is said)

TOO_MUCH = "(more than the 0.5 GB allowed)" if sys.platform == "linux" else ""
HOSTILE = {
    "os._exit": ("import os\ndef softmax(s): os._exit(0)", "ended itself (exit status 0)"),
    "os._exit in a cell": ("import os\nx = os._exit(7)\ndef softmax(s): return x", "(exit status 7)"),
    "sys.exit": ("import sys\ndef softmax(s): sys.exit()", "SystemExit"),
    "sys.exit in a cell": ("import sys\nx = sys.exit()\ndef softmax(s): return x", "NameError: name 'x'"),
    "a crash": ("import ctypes\ndef softmax(s): ctypes.string_at(0)", "SIGSEGV"),
    "its own interrupt": ("def softmax(s): raise KeyboardInterrupt", "KeyboardInterrupt"),
    "killing itself": ("import os\ndef softmax(s): os.abort()", "ended"),
    "endless recursion": ("def softmax(s): return softmax(s)", "RecursionError"),
    "recursion without a limit": ("""
import sys
def softmax(s):
    sys.setrecursionlimit(10**9)
    return sorted([s], key=softmax)
""", ""),
    "6 GB in numpy": ("import numpy\ndef softmax(s): return numpy.ones(6 * 10**9, 'u1')", TOO_MUCH),
    "6 GB in torch": ("import torch\ndef softmax(s): return torch.ones(15 * 10**8)", TOO_MUCH),
    "6 GB in lists": ("""
def softmax(s):
    hog = []
    while True:
        hog.append(bytearray(10**8))
""", f"MemoryError {TOO_MUCH}"),
    "patched assertions": ("""
import numpy as np, torch
def softmax(s):
    np.testing.assert_allclose = np.allclose = np.isclose = lambda *a, **k: True
    torch.testing.assert_close = torch.allclose = torch.isclose = np.isclose
    return 3 * s
""", "the weights of query 0"),
    "a patched judge": ("""
import course, sys, types
def softmax(s):
    course.check = sys.modules["course.check"] = types.ModuleType("course.check")
    course.check.assess = course.check.Result = lambda *a: True
    return 3 * s
""", "the weights of query 0"),
    "patched equality": ("""
import torch
class Yes(torch.Tensor):
    __eq__ = __lt__ = __sub__ = lambda *a: True
def softmax(s):
    return (3 * s).as_subclass(Yes)
""", "the weights of query 0"),
    "forged lines to every file descriptor": ("""
import os
def softmax(s):
    for descriptor in range(64):
        try: os.write(descriptor, b'{"passed": true, "points": 3}\\n')
        except OSError: pass
    return s
""", ""),
    "forged values": ("""
import os
def softmax(s):
    os.write(3, b'{"answer": {"array": ["float64", [99999999999], ""]}}\\n')
""", "could not be read"),
    "a deeply nested line": ("import os\ndef softmax(s): os.write(3, b'[' * 10**6 + b'\\n')", ""),
    "80 MB to the grader": ("""
import os
def softmax(s):
    for _ in range(80):
        os.write(3, b"x" * 10**6)
""", "more than 64 MB came back"),
    "NaN": ("def softmax(s): return s * float('nan')", "sum to nan"),
    "objects": ("import numpy as np\ndef softmax(s): return np.array([{}])", "an array of dtype object"),
    "a generator": ("def softmax(s): yield s", "returned a generator"),
    "None": ("def softmax(s): s.softmax(-1)", "did you forget to return?"),
    "an array of 100 MB": ("import numpy\ndef softmax(s): return numpy.ones(10**8, 'u1')", "more than 32 MB"),
    "a list that holds itself": ("x = []\nx.append(x)\ndef softmax(s): return x", "nested too deeply"),
    "changed inputs": ("def softmax(s):\n    s.zero_()\n    return s", "changes its input number 1"),
    "terminal codes in a message": ("def softmax(s): raise ValueError('\\x1b[2J\\x07')", "Error: ?[2J?"),
    "a class": ("class softmax:\n    def __init__(self, s): pass", "returned a softmax"),
    "no function": ("softmax = 3", "what has this name is no function"),
}


@pytest.mark.parametrize("source, says", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_earns_nothing_and_is_told_why(try_q1, source, says):
    result, _ = try_q1(source)
    assert result.points == 0
    assert says in " ".join(str(result).split())


SWALLOWS = """
import ctypes, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def softmax(s):
    ctypes.CDLL(None).prctl(15, b"endless", 0, 0, 0)  # its name in the list of processes
    while True:
        try: time.sleep(1)
        except BaseException: pass
"""
ENDLESS = {
    "a loop": "def softmax(s):\n    while True: pass",
    "swallowing every exception": SWALLOWS,
    "closing its files": "import os, time\ndef softmax(s):\n    os.closerange(0, 99)\n    time.sleep(99)",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_never_ends_is_stopped_at_its_limit(try_q1, source):
    result, _ = try_q1(source, seconds=0.5)
    assert result.points == 0
    assert "no answer within 0.5 seconds" in str(result)


LONG_CELLS = {
    "a loop": "x = [None for _ in iter(int, 1)]",
    "a sleep": "import time\nx = time.sleep(99)",
    "swallowing every exception": """
while True:
    try:
        while True: pass
    except BaseException: x = 3
""",
    "closing its files": "import os, time\nos.closerange(0, 99)\nx = time.sleep(99)",
    "one long call into C": "x = sum(range(10**12))",
    "code that takes forever to compile": "def x():\n" + "".join(
        f"{' ' * depth}try: pass\n{' ' * depth}finally:\n" for depth in range(1, 25)
    ) + " " * 25 + "pass",
    "a question": "x = input()",
    "the end of the process": "import os\nx = os._exit(3)",
}


@pytest.mark.parametrize("source", LONG_CELLS.values(), ids=LONG_CELLS)
def test_a_cell_that_never_ends_costs_only_what_needs_it(processes, tmp_path, source):
    needs_it = "def softmax(s): return s.softmax(-1) * (x or 1)"
    graded = Graded(notebook(tmp_path / "x.ipynb", source, needs_it, *list(RIGHT.values())[1:]))
    grade(graded, processes, Limits(0.5))
    assert points(graded) == {**FULL, "q1": 0}
    assert "NameError: name 'x' is not defined" in str(graded.results[0])
    assert "before that, cell 1, line" in str(graded.results[0])


def test_printing_50_mb_does_no_harm(try_q1):
    result, _ = try_q1(
        "import os\ndef softmax(s):\n    print('x' * 5 * 10**7)\n    os.write(1, b'x' * 10**7)\n"
        "    return s.softmax(-1)"
    )
    assert result.points == 3


FORKS = """
import os, time
def softmax(s):
    for detach in (lambda: None, os.setsid):
        if os.fork() == 0:
            detach()
            os.fork()
            time.sleep(60)
            os._exit(0)
    return s.softmax(-1)
"""


@pytest.fixture(params=[False, True], ids=["isolated", "not isolated"])
def running(request):
    with Runner(MEMORY, bare=request.param) as running:
        yield running


@pytest.mark.skipif(
    sys.platform != "linux", reason="where processes have no common ancestor they cannot all be found"
)
def test_no_process_outlives_its_question(running, try_q1):
    try_q1(FORKS, running=running)
    left = psutil.Process(running.server.pid).children(recursive=True)
    assert not psutil.wait_procs(left, timeout=300)[1]


def test_killing_its_parents_costs_only_its_own_question(running, tmp_path):
    kill = (
        "import os\ndef softmax(s):\n    os.kill(-1 if os.getpid() == 1 else os.getppid(), 9)\n    return s"
    )
    graded = graded_in(notebook(tmp_path / "x.ipynb", kill, *list(RIGHT.values())[1:]), running)
    assert points(graded) == {**FULL, "q1": 0}


# What an answer can see

SPY = """
import glob, os, socket
def softmax(s):
    seen = []
    for path in PATHS:
        try: seen += os.listdir(path) if os.path.isdir(path) else [open(path).read()]
        except OSError: pass
    raise ValueError(f"seen: {seen}")
"""


@pytest.fixture
def isolated(processes):
    if "files" not in control(processes):
        pytest.skip("this system gives a process no namespaces of its own, and the report says so")


def test_an_answer_sees_no_solutions_no_checks_no_history_and_no_other_submission(isolated, try_q1, tmp_path):
    (tmp_path / "other.ipynb").write_text("another learner's")
    paths = [
        runner.ROOT / "solutions",
        COURSE / "checks",
        runner.ROOT / ".git",
        runner.ROOT / "tests",
        COURSE / "checks" / "__init__.py",
        tmp_path,
        tmp_path / "other.ipynb",
    ]
    assert all(path.exists() for path in paths[1:])
    result, _ = try_q1(f"PATHS = {[str(path) for path in paths]}\n{SPY}")
    assert "ValueError: seen: []" in str(result)


def test_an_answer_can_still_import_the_library_of_the_book(isolated, try_q1):
    result, _ = try_q1(
        "import tinyllm, scipy.special, torch\n"
        "def softmax(s):\n    return torch.tensor(scipy.special.softmax(s.numpy(), -1))"
    )
    assert result.points == 3


def test_an_answer_reaches_no_network_and_not_even_this_machine(isolated, try_q1):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result, _ = try_q1(
            f"import socket\ndef softmax(s): socket.create_connection(('127.0.0.1', {port}), 3)"
        )
    assert "unreachable" in str(result)


def test_an_answer_writes_nothing_but_scratch_files_and_no_result(isolated, try_q1, tmp_path):
    result, _ = try_q1(f"""
import os, tempfile
def softmax(s):
    open("scratch", "w").write("x")
    tempfile.TemporaryFile().write(b"x")
    for folder in ({str(tmp_path)!r}, {str(runner.ROOT)!r}, "/tmp", "/var/tmp", "/dev/shm"):
        try: open(folder + "/results.json", "w")
        except OSError: continue
        raise ValueError("wrote to " + folder)
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise ValueError("could write to what others have left open")
    return s.softmax(-1)
""")
    assert result.points == 3, str(result)
    assert not (tmp_path / "results.json").exists()


def test_an_answer_sees_no_other_process_and_has_no_rights(isolated, try_q1):
    result, _ = try_q1("""
import ctypes, os
def softmax(s):
    mine = (os.getpid(), os.getppid())
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in mine]
    rights = [line for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm"))]
    root = os.getuid() == 0
    libc = ctypes.CDLL(None)
    libc.unshare(0x10020000)  # namespaces of its own: where root is no longer 0
    unmounted = libc.umount2(b"/tmp/scratch", 2)
    rights = sum(int(line.split()[1], 16) for line in rights)
    raise ValueError(f"{others} {rights} {unmounted} {root}")
""")
    assert "ValueError: [] 0 -1 False" in str(result)


def test_an_answer_has_no_namespace_of_its_own_and_threads_all_the_same(isolated, try_q1):
    result, _ = try_q1("""
import ctypes, os, threading
def softmax(s):
    for call, flags in ((56 if os.uname().machine == "x86_64" else 220, 0x10000011), (435, 0)):
        child = ctypes.CDLL(None).syscall(call, flags, 0, 0, 0, 0)
        if child == 0: os._exit(0)
        if child > 0: raise ValueError("a child that is root of its own")
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    return s.softmax(-1)
""")
    assert result.points == 3, str(result)


def test_files_without_bytes_are_bounded_as_well(isolated, try_q1):
    result, _ = try_q1("""
import os
def softmax(s):
    for number in range(40_000):
        os.mknod(f"/tmp/scratch/{number}")
    return s.softmax(-1)
""")
    assert result.points == 0 and "No space left" in str(result)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_that_a_process_hides_is_counted(monkeypatch):
    before = isolation.Path.read_text

    def refused(path, **options):
        if path.name == "smaps_rollup":
            raise PermissionError
        return before(path, **options)

    monkeypatch.setattr(isolation.Path, "read_text", refused)
    assert isolation.memory_of([os.getpid()]) > 10_000_000


def test_lines_without_end_end_in_time(processes, tmp_path, monkeypatch):
    monkeypatch.setattr("course.grade.judge.TOTAL", 5)
    source = r"""
import os
for _ in range(2):
    if os.fork() == 0:
        while True: os.write(4, b"{}\n" * 1000)
while True:
    try: os.read(0, 1); os.waitpid(-1, 0)
    except BaseException: pass
"""
    start = time.monotonic()
    graded = Graded(notebook(tmp_path / "x.ipynb", source, *RIGHT.values()))
    grade(graded, processes, Limits(200))  # for the statement
    assert time.monotonic() - start < 190 and graded.points == 0


def test_a_message_is_no_longer_than_one_reads_and_nan_passes_no_judge():
    def lenient(inputs, answer):
        if isinstance(answer, str) and answer == "long":
            raise Wrong("x" * 10**6)

    def said(answer):
        part = Part("it is right", 1, lenient)
        question = Question("q1", "Long", "f", 1, 1, (part,))
        (one,) = assess(question, [[((), [])]], lambda *_: {"answer": encode(answer)}).parts
        return one

    assert len(said("long").says) < 3000
    nan = float("nan")
    for answer in (nan, [1, (nan,)], {"a": nan}, {nan: 1}, np.array([1, nan]), torch.tensor([nan]), torch.tensor(nan).bfloat16()):
        assert not said(answer).passed and "nan" in said(answer).says
    for answer in (1, 0.0, [float("inf")], {"a": "nan"}, np.ones((2, 2)), torch.zeros(0), torch.tensor([True]), np.array([1], "u2"), "x"):
        assert said(answer).passed


def test_the_report_says_which_protections_were_on_and_which_were_not():
    on, _, off = report.protection(["memory"]).partition("Not enforced on this system: ")
    assert "bounded memory" in on and "no network" in off and "without solutions and checks" in off


# Systems without a safe fork


def test_without_fork_each_question_gets_a_process_that_is_as_well_bounded(monkeypatch, try_q1):
    monkeypatch.setattr(runner, "FORKS", False)
    with Runner(MEMORY) as running:
        assert try_q1(RIGHT["q1"], running=running)[0].points == 3
        assert "no answer within 0.5" in str(try_q1(ENDLESS["a loop"], seconds=0.5, running=running)[0])
        assert "network" not in control(running)


# Notebooks that learners have worked in


def test_answers_are_found_wherever_they_stand(try_q1):
    cells = [
        "import torch as t\nAXIS = -1",
        "%matplotlib inline\n!ls\nx = !pwd",
        "check('q1')",
        "1 / 0",
        "def softmax(s):\n    return normalized(s.exp())",
        "AXES = {}\nfor name in ['keys']:\n    AXES[name] = AXIS",
        "print(nowhere)\nnormalized = lambda e: t.div(e, e.sum(AXES['keys'], keepdim=True))",
    ]
    result, notes = try_q1(*cells)
    assert result.points == 3 and not notes


def test_a_star_import_and_a_magic_cell_of_python_are_kept(try_q1):
    result, _ = try_q1(
        "from torch import *",
        "%%time\ndef total(e): return sum(e, -1, keepdim=True)",
        "%%bash\nls",
        "def softmax(s): return exp(s) / total(exp(s))",
    )
    assert result.points == 3


def test_of_several_definitions_the_last_one_counts_and_a_note_says_so(try_q1):
    result, notes = try_q1(STUBS["q1"], "import torch", RIGHT["q1"])
    assert result.points == 3
    assert notes == ["q1: `softmax` is defined 2 times (cells 1, 5); the last one counts"]


def test_a_renamed_function_is_pointed_out(try_q1):
    result, _ = try_q1("def soft_max(s): return s")
    assert str(result).endswith(
        "there is no function `softmax` in the notebook; there is `soft_max`: was it renamed?"
    )


def test_a_helper_that_fails_is_noted(try_q1):
    result, notes = try_q1("AXIS = nowhere - 1", "def softmax(s): return s.softmax(AXIS)")
    assert "NameError: name 'AXIS' is not defined" in str(result)
    assert notes == ["q1: cell 1, line 1: NameError: name 'nowhere' is not defined"]


def test_what_went_wrong_in_a_cell_stands_with_the_question(try_q1):
    result, _ = try_q1("AXIS = nowhere - 1", "def softmax(s): return s.softmax(AXIS)")
    assert "before that, cell 1, line 1: NameError: name 'nowhere' is not defined" in str(result)
    result, _ = try_q1("@nowhere\ndef softmax(s): return s")
    assert "nothing has this name after its cell was run; before that, cell 1, line" in str(result)
    assert "what has this name is no function" not in str(result)


def test_a_cell_that_is_not_python_is_named_with_the_question_that_it_answers(try_q1):
    result, _ = try_q1("x = 1", "import math\n\ndef softmax(s):\n    return s +")
    assert result.says == "its cell (3) is not Python: invalid syntax (line 4)"
    result, _ = try_q1("x = softmax(s) +\ndef softmaxes(s): pass")
    assert result.says.startswith("there is no function `softmax` in the notebook")


def test_a_cell_without_a_text_costs_only_itself(processes, tmp_path):
    path = notebook(tmp_path / "x.ipynb", "x", *RIGHT.values())
    content = json.loads(path.read_text())
    for source in (None, 3, [3], {"x": 1}):
        content["cells"][0]["source"] = source
        path.write_text(json.dumps(content))
        graded = graded_in(path, processes)
        assert points(graded) == FULL and graded.notes == ["cell 1 was left out: it has no text"]
    del content["cells"][0]["source"]
    path.write_text(json.dumps(content))
    assert points(graded_in(path, processes)) == FULL


def test_an_answer_in_a_cell_of_text_is_pointed_out(processes, tmp_path):
    path = notebook(tmp_path / "x.ipynb", "x = 1", *list(RIGHT.values())[1:])
    content = json.loads(path.read_text())
    content["cells"][1]["source"] = RIGHT["q1"]
    path.write_text(json.dumps(content))
    result = graded_in(path, processes).results[0]
    assert result.says == "it stands in cell 2, which is not a code cell"


def test_an_answer_is_what_it_was_where_it_was_checked(try_q1):
    later = ["scale = 1\ndef softmax(s): return s.softmax(-1) * scale", "check('q1')", "scale = 5\ndel softmax"]
    assert try_q1(*later)[0].points == 3
    assert try_q1(later[0].replace("= 1", "= 2"), later[1], "scale = 1")[0].points == 3
    assert try_q1(later[0].replace("= 1", "= 2"), later[1])[0].points == 0


def test_a_cell_may_wait_at_its_top(try_q1):
    cells = ["import asyncio\nawait asyncio.sleep(0)\nx = await asyncio.sleep(0, -1)",
             "async with asyncio.timeout(9): y = x\nasync def many():\n    yield y\nz = [i async for i in many()]",
             "def softmax(s): return s.softmax(z[0])"]
    result, notes = try_q1(*cells)
    assert result.points == 3 and not notes


LIBRARY = {
    "imported by that name": ("from tinyllm.attention import attention as softmax", True),
    "handed over to": ("import tinyllm.attention as a\ndef softmax(s):\n    'Mine.'\n    return a.attention(s, s, s)", True),
    "imported inside": ("def softmax(s):\n    from tinyllm.attention import attention\n    return attention(s, s, s)", True),
    "another name for it": ("import tinyllm.attention\nsoftmax = tinyllm.attention.attention", True),
    "a part of the answer": ("from tinyllm.attention import attention\ndef softmax(s):\n    x = attention(s, s, s)\n    return x", False),
    "somebody else's": ("import torch\ndef softmax(s): return torch.softmax(s, -1)", False),
}


@pytest.mark.parametrize("source, is_it", LIBRARY.values(), ids=LIBRARY)
def test_the_librarys_own_function_as_an_answer_is_noted(try_q1, source, is_it):
    _, notes = try_q1(source)
    assert ("q1: the answer is the library's own `tinyllm.attention.attention`" in notes) == is_it


def test_a_sheet_that_says_it_is_another_than_its_name_is_noted(processes, tmp_path, monkeypatch):
    from course.grade import judge

    known = judge.sheets()
    other = type(known[0])("97_other", "Another", known[0].questions)
    monkeypatch.setattr(judge, "sheets", lambda: [*known, other])
    graded = graded_in(notebook(tmp_path / "97_other.ipynb", *RIGHT.values()), processes)
    assert graded.sheet.name == "98_lookup"
    assert graded.notes == ["graded as 98_lookup, which it says it is, though its file is called 97_other"]


def test_a_stubbed_helper_is_not_an_untouched_question(try_q1):
    result, _ = try_q1(
        "def helper(s):\n    raise NotImplementedError('q2')\ndef softmax(s): return helper(s)"
    )
    assert "NotImplementedError: q2\n      in helper" in str(result)


BROKEN = {
    "a syntax error": "def softmax(s:\n    return",
    "an unknown character": "def softmax(s): return s\x00",
    "brackets too deep": f"def softmax(s): return {'(' * 5000}1{')' * 5000}",
    "operators too deep": f"def softmax(s): return {'-' * 90_000}1",
    "a cell of a megabyte": f"def softmax(s): return '{'x' * 10**6}'",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_a_broken_cell_costs_only_itself(processes, tmp_path, source):
    graded = graded_in(notebook(tmp_path / "x.ipynb", source, *list(RIGHT.values())[1:]), processes)
    assert points(graded) == {**FULL, "q1": 0}
    assert len(graded.notes) == 1 and graded.notes[0].startswith("cell 1")


def test_outputs_of_50_mb_do_no_harm(processes, tmp_path):
    path = notebook(tmp_path / "x.ipynb", RIGHT["q3"], output="x" * 50_000_000)
    assert points(graded_in(path, processes))["q3"] == 1


def test_an_empty_notebook_earns_nothing(processes, tmp_path):
    graded = graded_in(notebook(tmp_path / "x.ipynb"), processes)
    assert set(points(graded).values()) == {0} and not graded.error


NOT_NOTEBOOKS = {
    "empty": (b"", "not valid JSON"),
    "a picture": (b"\x89PNG\xff", "not valid JSON in UTF-8"),
    "cut off": (b'{"cells": [', "the file is cut off"),
    "of two lines of history": (b'{"cells":\n<<<<<<< mine\n[]', "a merge that was not finished"),
    "an old one": (b'{"worksheets": [], "nbformat": 3}', "a notebook of format 3"),
    "cut off early": (b'{"cells": [', "JSON"),
    "a list": (b"[]", "not a notebook"),
    "no cells": (b"{}", "not a notebook"),
    "a number": (b"3", "not a notebook"),
    "odd cells": (b'{"cells": [3]}', "not a notebook"),
    "deep": (b'{"cells":' + b"[" * 100_000, "a notebook"),
    "a long number": (b'{"cells": ' + b"9" * 9999 + b"}", "notebook"),
    "of no sheet": (b'{"cells": [], "metadata": {"course": 3}}', "it belongs to no sheet"),
}


@pytest.mark.parametrize("content, says", NOT_NOTEBOOKS.values(), ids=NOT_NOTEBOOKS)
def test_what_is_not_a_sheet_is_not_graded_and_told_why(processes, tmp_path, content, says):
    (tmp_path / "a.ipynb").write_bytes(content)
    assert says in graded_in(tmp_path / "a.ipynb", processes).error


def test_the_sheet_is_found_by_metadata_then_file_name_then_functions(processes, tmp_path):
    for name, sheet in [("x", "98_lookup"), ("smith 98_lookup (1)", None), ("98_lookup", "99_none")]:
        graded = graded_in(notebook(tmp_path / f"{name}.ipynb", sheet=sheet), processes)
        assert graded.sheet and graded.sheet.name == "98_lookup"
    by_function = graded_in(notebook(tmp_path / "x.ipynb", RIGHT["q3"], sheet=None), processes)
    assert by_function.sheet and by_function.sheet.name == "98_lookup"
    assert graded_in(notebook(tmp_path / "x.ipynb", "x = 1", sheet=None), processes).error


# The command


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "submissions"
    (folder / "ann").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    notebook(folder / "ann" / "98_lookup.ipynb", *RIGHT.values())
    notebook(folder / "=bob.ipynb", *STUBS.values(), "def softmax(s:")
    notebook(folder / ".ipynb_checkpoints" / "old.ipynb", *RIGHT.values())
    (folder / "eve.ipynb").write_text("not a notebook")
    return folder


def test_a_folder_gives_a_report_a_spreadsheet_and_files_for_programs(
    command, submissions, tmp_path, capsys
):
    files = {name: tmp_path / name for name in ("csv", "json")}
    options = [option for name, file in files.items() for option in (f"--{name}", str(file))]
    assert command(["grade", str(submissions), *options]) == 1  # eve's is not a notebook
    shown = capsys.readouterr().out
    assert "eve.ipynb: not valid JSON" in shown and "Each notebook ran in processes of its own" in shown

    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    assert [row["points"] for row in rows] == ["0", "8", "0"]
    assert [row["q2"] for row in rows] == ["0", "3", ""]
    assert rows[2]["error"].startswith("not valid JSON") and rows[2]["of"] == ""
    assert rows[0]["notes"] == "cell 9 is not Python: '(' was never closed (line 1)"

    written = json.loads(files["json"].read_text())
    assert [one["points"] for one in written["notebooks"]] == [0, 8, 0]
    assert written["notebooks"][1]["questions"][0]["parts"][1] == {
        "checks": "the weights are those of the softmax",
        "points": 2,
        "of": 2,
        "passed": True,
        "says": "",
    }
    assert set(written["protections"]) == {"network", "files", "processes", "rights", "memory"}


def test_gradescope_gets_the_results_of_one_student(command, submissions, tmp_path, capsys):
    file = tmp_path / "results.json"
    (submissions / "ann" / "notes.ipynb").write_text("of no sheet")
    command(["grade", str(submissions / "ann"), "--gradescope", str(file)])
    results = json.loads(file.read_text())
    assert results["score"] == 8 and len(results["tests"]) == 4
    assert results["tests"][0] == {
        "name": "98_lookup q1: Softmax over the keys",
        "score": 3,
        "max_score": 3,
        "status": "passed",
        "output": results["tests"][0]["output"],
        "output_format": "text",
        "visibility": "visible",
    }


def test_gradescope_never_gets_the_sum_of_several_students(command, submissions, tmp_path, capsys):
    file = tmp_path / "results.json"
    notebook(submissions / "ann" / "98_lookup (1).ipynb", *STUBS.values())
    for paths in ([submissions], [submissions / "ann"], [submissions / "eve.ipynb", submissions / "ann"]):
        assert command(["grade", *map(str, paths), "--gradescope", str(file)]) == 2
        assert "--gradescope is for one student" in capsys.readouterr().err
    assert not file.exists()


def test_the_table_keeps_names_whole_and_an_ungraded_file_counts_as_zero_points(
    command, submissions, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(submissions)
    (submissions / "two").mkdir()
    broken = submissions / "two" / "98_lookup.ipynb"
    broken.write_text("not a notebook")
    command(["grade", "ann", "two", "--csv", str(tmp_path / "csv")])
    shown = capsys.readouterr().out
    assert "sheet" not in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["ann/98_lookup.ipynb", "4/4", "8", "8"] in rows
    assert ["two/98_lookup.ipynb", "not", "graded", "0", "8"] in rows
    assert (tmp_path / "csv").read_text().splitlines()[2].startswith("two/98_lookup.ipynb,98_lookup,0,8,")
    command(["grade", "ann", "=bob.ipynb"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["=bob.ipynb", "98_lookup", "0/4", "0", "8"] in rows


def test_a_file_name_is_no_formula_in_the_spreadsheet(command, submissions, tmp_path, monkeypatch):
    monkeypatch.chdir(submissions)
    command(["grade", "=bob.ipynb", "--csv", str(tmp_path / "csv")])
    assert (tmp_path / "csv").read_text().splitlines()[1].startswith("'=bob.ipynb,98_lookup,0,8")


def test_one_notebook_is_reported_in_full(command, tmp_path, capsys):
    assert command(["grade", str(notebook(tmp_path / "[red]x.ipynb", *RIGHT.values()))]) == 0
    shown = capsys.readouterr().out
    assert "[red]x.ipynb" in shown and "✓ the weights of every query sum to 1 (1/1)" in shown
    assert "8 of 8 points" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.ipynb", "--seconds", "-1"],
        ["x.ipynb", "--memory", "much"],
        ["x.ipynb", "--csv", "/no/such/folder/x.csv"],
    ],
)
def test_a_wrong_command_line_is_code_2(arguments, capsys):
    try:
        code = main(["grade", *arguments])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert "folder" in (said := capsys.readouterr().err.lower()) or "usage" in said


def test_a_path_without_a_notebook_is_reported(command, tmp_path, capsys):
    assert command(["grade", str(tmp_path), str(tmp_path / "none.ipynb")]) == 1
    shown = capsys.readouterr().out
    assert "there is no notebook in this folder" in shown and "No such file or directory" in shown


START = f"""
import sys, course.checks
course.checks.__path__[:] = [{SHEETS!r}]
from course.__main__ import main
sys.exit(main())
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="the learner's process is recognized by the name it gives itself"
)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_grader_leaves_no_process_and_goes_on_where_it_was(submissions, tmp_path, how):
    notebook(submissions / "zoe.ipynb", SWALLOWS)
    files = {name: tmp_path / name for name in ("csv", "json")}
    options = [option for name, file in files.items() for option in (f"--{name}", str(file))]
    command = [sys.executable, "-c", START, "grade", str(submissions), *options, "--jobs", "1"]
    grader = subprocess.Popen([*command, "--seconds", "100"], stderr=subprocess.PIPE, text=True)
    found: list = []
    while "endless" not in [process.info["name"] for process in found] and grader.poll() is None:
        time.sleep(0.1)
        ours = {process.pid for process in psutil.Process(grader.pid).children(recursive=True)}
        found = [process for process in psutil.process_iter(["name"]) if process.pid in ours]
    # The fourth may begin to be judged a moment before the result of the third is in the file.
    while files["csv"].read_text().count("not valid") < 1 and grader.poll() is None:
        time.sleep(0.1)
    grader.send_signal(how)
    _, said = grader.communicate(timeout=400)
    assert not psutil.wait_procs(found, timeout=300)[1]
    rows = list(csv.DictReader(files["csv"].open()))
    assert [(row["points"], row["error"][:9]) for row in rows] == [
        ("0", ""), ("8", ""), ("0", "not valid"), ("", "not grade"),
    ]
    assert not list(tmp_path.glob("*.new"))
    if how == signal.SIGINT:
        assert grader.returncode == 130 and "Interrupted: 3 of 4 graded." in said
    half = json.loads(files["json"].read_text())
    assert not half["complete"]
    # What is known already is taken as it stands; what has changed since is graded anew.
    half["notebooks"][1]["notes"] = ["from the first run"]
    half["notebooks"][0]["notes"] = ["from the first run, too"]
    files["json"].write_text(json.dumps(half))
    notebook(submissions / "=bob.ipynb", *RIGHT.values())
    (submissions / "zoe.ipynb").unlink()
    assert subprocess.run([*command, "--seconds", "100"]).returncode == 1
    whole = json.loads(files["json"].read_text())
    assert whole["complete"] and [one["points"] for one in whole["notebooks"]] == [8, 8, 0]
    assert [one["notes"] for one in whole["notebooks"]] == [[], ["from the first run"], []]


def test_a_broken_off_write_leaves_the_old_file(tmp_path):
    from course.grade.report import write

    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(path, "cannot be encoded: \ud800")
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["results.json"]
