"""A class of notebooks: whatever is among them costs nobody else anything."""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import time

import pytest
from demo_answers import RIGHT, SHEETS, notebook

import course.check
import course.checks
import course.grade
from course.grade import Graded, Limits, Runner, grade, judge, report
from course.grade.judge import control
from course.grade.notebook import parse
from course.sandbox import session
from course.sandbox.call import OutOfTime, within

START = f"""
import sys, course.checks
course.checks.__path__[:] = [{SHEETS!r}]
from course.__main__ import main
sys.exit(main())
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no such files, or no such limits")


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", START, "grade", *map(str, arguments)],
        capture_output=True,
        timeout=500,
        **options,
    )


def graded(folder, tmp_path, *options):
    """The rows of a folder by their files' names, and the exit status."""
    done = command(folder, "--csv", tmp_path / "csv", "--json", tmp_path / "json", *options)
    rows = list(csv.DictReader((tmp_path / "csv").open(encoding="utf-8")))
    return {row["file"].removeprefix(f"{folder}/"): row for row in rows}, done


def forges(*lines):
    return f"import os\ndef softmax(s):\n    for line in {lines!r}:\n        os.write(4, line + b'\\n')\n    os._exit(0)"


REST = list(RIGHT.values())[1:]
HOSTILE = {
    "many calls of the shell": ["x = !ls\n" * 600, *REST],
    "an error that no file can hold": ["def softmax(s): raise ValueError('\\ud800')", *REST],
    "an error that cannot be told": [
        "class E(Exception):\n    def __str__(self): raise self\ndef softmax(s): raise E",
        *REST,
    ],
    "a forged tensor of nothing": [forges(b'{"answer": {"tensor": []}}'), *REST],
    "a forged number": [forges(b'{"changed": ' + b"9" * 4300 + b"}"), *REST],
    "forged texts": [forges(b'{"error": "\\ud800\\u001b[2J"}', b'{"unplain": [1]}'), *REST],
    "a forged end": [forges(b'{"tried": "q1", "end": 0}', b'{"end": true}')],
    "a forged end of another kind": [forges(b'{"tried": "q1", "end": {"x": []}}'), *REST],
    "forged progress": [forges(b'{"at": -5}', b'{"trouble": [0, {}]}', b'{"at": 1e999}'), *REST],
    "a flood of lists": [
        'import os\ndef softmax(s):\n    os.write(4, b\'{"answer": {"list": [\')\n'
        "    for _ in range(60):\n        os.write(4, b'{\"list\":[]},' * 80_000)\n",
        *REST,
    ],
    "a flood of lines": ["import os\ndef softmax(s):\n    while True: os.write(4, b'{}\\n' * 20_000)", *REST],
    "finally in finally": [
        "def softmax(s):\n"
        + "".join(f"{' ' * n}try: pass\n{' ' * n}finally:\n" for n in range(1, 20))
        + f"{' ' * 20}pass",
        *REST,
    ],
    "many guesses": [
        "import os\ndef softmax(s):\n    for n in range(20):\n"
        "        os.write(4, b'{\"tried\": \"q1\"}\\n{\"try\": \"q3\"}\\n{\"answer\": %f}\\n{\"tried\": \"q3\"}\\n' % (n / 20))\n",
    ],
    "many empty lines": ["\n" * 15_000 + "x = = 1", *REST],
    "many cells": [*["x = 1"] * 20_000],
    "the end in every cell": [*["import os\nos._exit(0)"] * 30],
    "control characters": ["def softmax(s): raise ValueError('\\x1b]0;x\\x07\\u202e')", *REST],
    "all memory in other processes": [
        "import os, time\ndef softmax(s):\n    for _ in range(8):\n        if os.fork() == 0:\n"
        "            x = b'x' * 450_000_000\n            time.sleep(60)\n    time.sleep(60)",
        *REST,
    ],
    "as many processes as there are": [
        "import os\ndef softmax(s):\n    while True:\n        try: os.fork()\n        except OSError: pass",
        *REST,
    ],
    "replaced tools": [
        "import os, time, json\nos._exit = os.fork = os.write = time.sleep = json.dumps = None\n"
        "def softmax(s): return s.softmax(-1)",
        *REST,
    ],
}


@LINUX
def test_no_notebook_costs_another_one_anything(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "aaa").mkdir()
    notebook(folder / "aaa" / "98_lookup.ipynb", *RIGHT.values())
    notebook(folder / "zzz.ipynb", *RIGHT.values())
    for name, cells in HOSTILE.items():
        notebook(folder / f"{name}.ipynb", *cells)
    os.symlink(folder / "zzz.ipynb", folder / "link.ipynb")
    os.symlink("circle.ipynb", folder / "circle.ipynb")
    os.symlink("/dev/zero", folder / "endless.ipynb")
    os.symlink("aaa", folder / "linked folder")
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "odd").mkdir()
    (folder / "odd" / "answer.py").write_text("x")
    (folder / "empty").mkdir()
    (folder / os.fsdecode(b"latin\xe9\x1b[2J.ipynb")).write_bytes((folder / "zzz.ipynb").read_bytes())
    notebook(folder / "upper.IPYNB", *RIGHT.values())
    (folder / "bom.ipynb").write_bytes(b"\xef\xbb\xbf" + (folder / "zzz.ipynb").read_bytes())
    (folder / "lists.ipynb").write_bytes(b'{"cells": [' + b'{"list":[]},' * 5_000_000 + b"{}]}")

    rows, done = graded(folder, tmp_path, "--seconds", "1", "--memory", "0.5")
    assert done.returncode == 1, done.stderr
    for name in ("aaa/98_lookup.ipynb", "zzz.ipynb", "latin??[2J.ipynb", "upper.IPYNB", "bom.ipynb"):
        assert rows[name]["points"] == "8", (name, rows[name])
    for name in ("link.ipynb", "circle.ipynb", "endless.ipynb", "linked folder"):
        assert "links are not followed" in rows[name]["error"]
    assert rows["pipe.ipynb"]["error"] == "not an ordinary file"
    assert rows["odd"]["error"] == "there is no notebook in this folder, but answer.py"
    assert rows["empty"]["error"] == "there is no notebook in this folder"
    assert rows["lists.ipynb"]["error"]
    for name, cells in HOSTILE.items():
        row = rows[f"{name}.ipynb"]
        assert not row["error"], (name, row)
        assert row["q1"] == ("3" if name == "replaced tools" else "0"), (name, row)
        if cells[1:] == REST:
            assert [row[id] for id in ("q2", "q3", "q4")] == ["3", "1", "1"], (name, row)
    assert len(rows) == len(HOSTILE) + 13
    assert not any(char < " " and char != "\n" for char in done.stdout.decode())


def test_two_runs_and_any_number_of_jobs_give_the_same_bytes(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for number, (name, cells) in enumerate(list(HOSTILE.items())[1:7]):
        notebook(folder / f"{number}.ipynb", *cells)
        notebook(folder / f"right {number}.ipynb", *RIGHT.values())
    found = []
    for jobs in (1, 2, 3):
        graded(folder, tmp_path, "--jobs", str(jobs))
        found.append([(tmp_path / name).read_bytes() for name in ("csv", "json")])
    assert found[0] == found[1] == found[2]


@LINUX
def test_nothing_of_one_notebook_is_in_the_memory_of_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    mark = "the secret of the first".encode()
    look = f"""
import ctypes, re
def softmax(s):
    mark, found = bytes(255 - b for b in {bytes(255 - b for b in mark)!r}), False
    for start, end in re.findall("(.*)-(.*) rw-", open("/proc/self/maps").read()):
        memory = ctypes.string_at(int(start, 16), int(end, 16) - int(start, 16))
        found |= mark + b" notebook" in memory
    raise ValueError(f"seen: {{found}}")
"""
    secret = f"x = {mark.decode() + ' notebook'!r}"
    seen = []
    with Runner(2_000_000_000) as running:
        for number, cells in enumerate([[secret, *RIGHT.values()], [look], [secret, look]]):
            path = notebook(tmp_path / f"{number}.ipynb", *cells)
            grade(one := Graded(path), running, Limits(60))
            seen.append(str(one.results[0]))
    assert "3 of 3 points" in seen[0] and "seen: False" in seen[1]
    assert "seen: True" in seen[2], "what is there is found"


def test_a_machine_that_does_not_work_scores_nobody(tmp_path, monkeypatch):
    (tmp_path / "98_lookup.ipynb").write_text("old")
    notebook(tmp_path / "98_lookup.ipynb", *RIGHT.values())
    (tmp_path / "csv").write_text("old")
    broken = START.replace("from course.__main__", "import course.grade.judge as j\nj.CONTROL = 'x = 1'\nfrom course.__main__")
    done = subprocess.run(
        [sys.executable, "-c", broken, "grade", str(tmp_path), "--csv", str(tmp_path / "csv")],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 1 and "could not be graded: a known answer is not what it should be" in done.stderr
    assert "8" not in done.stdout and (tmp_path / "csv").read_text() == "old"


def test_a_machine_that_breaks_in_between_stops_and_says_so(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for name in ("1", "3"):
        notebook(folder / f"{name}.ipynb", *RIGHT.values())
    notebook(folder / "2.ipynb", "import os\ndef softmax(s): os._exit(0)", *REST)
    broken = START.replace("from course.__main__", """
import course.grade as g
checked, calls = g.checked, []
def breaks(runner):
    calls.append(1)
    if len(calls) > 1:
        raise g.Broken("the disk is gone")
    return checked(runner)
g.checked = breaks
from course.__main__""")
    done = subprocess.run(
        [sys.executable, "-c", broken, "grade", str(folder), "--jobs", "1", "--csv", str(tmp_path / "csv")],
        capture_output=True, text=True, timeout=300,
    )
    rows = list(csv.DictReader((tmp_path / "csv").open()))
    assert done.returncode == 1 and "could not be graded: the disk is gone" in done.stderr
    assert [(row["points"], row["error"]) for row in rows] == [("8", ""), *[("", "the disk is gone")] * 2]


def test_a_terminal_of_another_encoding_loses_letters_and_no_result(tmp_path):
    path = notebook(tmp_path / "98_lookup.ipynb", *RIGHT.values())
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = command(path, "--csv", tmp_path / "csv", env=environment)
    assert done.returncode == 0 and b"8 of 8 points" in done.stdout
    assert (tmp_path / "csv").read_text().splitlines()[1].endswith("98_lookup,8,8,3,3,1,1,,")


def test_more_seeds_are_tried_when_asked_for(tmp_path):
    cell = "def softmax(s):\n    w = s.softmax(-1)\n    return w * 2 if len(s) > 8 else w"
    path = notebook(tmp_path / "98_lookup.ipynb", cell)
    assert b"3 of 8 points" in command(path).stdout
    assert b"0 of 8 points" in command(path, "--seeds", "9", "--json", tmp_path / "json").stdout
    written = json.loads((tmp_path / "json").read_text())
    assert written["seeds"] == 9 and len(written["source"]) == 16 and written["version"]


def test_each_seed_has_as_much_time_as_in_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    read = parse(notebook(tmp_path / "98_lookup.ipynb", *RIGHT.values()).read_bytes())
    known = course.checks.load("98_lookup")
    question = known.questions[0]

    def seconds(**limits):
        return judge.Answers(read, known, Limits(**limits))._trial(question)["seconds"]

    three = len(course.check.SEEDS)
    assert seconds(seeds=three) == seconds(seeds=1) == question.seconds and seconds(seeds=3 * three) == 3 * question.seconds
    assert seconds() >= question.seconds * judge.SEEDS / three
    assert seconds(seconds=2.5, seeds=90) == 2.5, "what the command line says holds"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_results_that_go_into_a_pipe_are_not_read_from_it(tmp_path):
    os.mkfifo(tmp_path / "json")
    book = report.Book([Graded(tmp_path / "x.ipynb")], Limits(), 2)
    try:
        within(5, book.resume, tmp_path / "json", [0])
    except OutOfTime:
        pytest.fail("it waits for somebody to write")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    tmp_path.chmod(0o500)
    done = command(tmp_path, "--csv", tmp_path / "csv")
    assert done.returncode == 2 and b"cannot be written" in done.stderr


def test_all_that_a_notebook_does_has_one_limit(tmp_path, monkeypatch):
    """Each question may say that its time is not over yet; the notebook's is."""
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    monkeypatch.setattr(judge, "TOTAL", 5)
    forged = "import os, time\nos.write(4, b'{\"try\": \"q1\"}\\n')\ntime.sleep(500)"
    with Runner(2_000_000_000) as running:
        control(running)
        start = time.monotonic()
        grade(one := Graded(notebook(tmp_path / "98_lookup.ipynb", forged, *RIGHT.values())), running, Limits(300))
        assert time.monotonic() - start < 250 and one.points == 0


@LINUX
def test_what_was_stopped_beside_others_with_time_left_is_graded_again_alone(tmp_path):
    """An answer that waits for as long as somebody else is there, as on a machine that has too much to do."""
    folder = tmp_path / "class"
    folder.mkdir()
    for name in "ab":
        notebook(folder / f"{name}.ipynb", *RIGHT.values())
    program = START.replace("from course.__main__", """
import course.grade as g
graded, calls = g.grade, []
def grade(one, *rest):
    graded(one, *rest)
    if one.path.stem == "a" and not os.path.exists(MARK):
        open(MARK, "w").close()
        one.results, one.hurried = [], True
import os
MARK = sys.argv.pop()
g.grade = grade
from course.__main__""")
    points = {}
    for jobs in (1, 2):
        options = ["--csv", str(tmp_path / "csv"), "--jobs", str(jobs), str(tmp_path / f"mark {jobs}")]
        done = subprocess.run([sys.executable, "-c", program, "grade", str(folder), *options], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        points[jobs] = [row["points"] for row in csv.DictReader((tmp_path / "csv").open())]
    assert points == {1: ["0", "8"], 2: ["8", "8"]}


def test_what_is_stopped_with_processor_time_left_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    hurried = {}
    with Runner(2_000_000_000) as running:
        for name, source in {
            "sleeps": "import time\ndef softmax(s): time.sleep(500)", "loops": "def softmax(s):\n    while True: pass",
            "sleeps in a cell": "import time\ntime.sleep(500)", "loops in a cell": "while True: pass", "right": RIGHT["q1"],
        }.items():  # fmt: skip
            grade(one := Graded(notebook(tmp_path / "98_lookup.ipynb", source, *REST)), running, Limits(1))
            hurried[name] = one.hurried
    if sys.platform == "linux":
        assert hurried == {"sleeps": True, "loops": False, "sleeps in a cell": True, "loops in a cell": False, "right": False}


def test_thousands_of_notebooks_of_one_student_are_bounded_and_keep_nobody_waiting(tmp_path, monkeypatch):
    submissions = sys.modules["course.grade.submissions"]  # not the function of that name
    monkeypatch.setattr(submissions, "MOST", 20)
    monkeypatch.setattr(submissions, "LOOKED_AT", 100)
    for number in range(50):
        (tmp_path / "class" / "many" / f"{number:03}").mkdir(parents=True)
        (tmp_path / "class" / "many" / f"{number:03}" / "x.ipynb").write_text("{}")
    deep = tmp_path / "class" / "no notebooks"
    deep.mkdir()
    for number in range(300):
        (deep / f"{number}.txt").write_text("")
    (tmp_path / "class" / "zoe.ipynb").write_text("{}")
    found = submissions.submissions(tmp_path / "class")
    assert len(found) == 20 + 1 + 1 + 1 and [one.path.name for one in found[-1:]] == ["zoe.ipynb"]
    assert found[20].error.startswith("more than 20 notebooks in this folder, of which 20 were graded; if it holds a class")
    assert "no notebook in this folder, but" in found[21].error or "more than 100 files" in found[21].error
    args = argparse.Namespace(paths=[tmp_path / "class"], seconds=None, seeds=5, sheet=None, memory=2, several="best",
                              roster=None, canvas=None, moodle=None, overrides=None, merge=None, feedback=None)  # fmt: skip
    book = course.grade._prepared(args)
    order = course.grade._fairly(book, [n for n, one in enumerate(book.graded) if one.failed])
    assert [book.graded[n].path.name for n in order[:3]] == ["x.ipynb", "zoe.ipynb", "x.ipynb"]


def test_saving_takes_no_more_than_a_tenth_of_the_time(monkeypatch):
    now, saved = [100.0], []
    monkeypatch.setattr(course.grade.time, "monotonic", lambda: now[0])

    def save():
        saved.append(now[0])
        now[0] += 1

    sparing = course.grade.Sparingly(save)
    assert sparing() == float("inf") and not saved, "nothing is due"
    for _ in range(200):
        sparing.due = True
        assert sparing() <= 10 or saved[-1] == now[0] - 1
        now[0] += 0.5
    assert saved[0] == 100 and 8 <= len(saved) <= 12
    now[0] += 10
    assert sparing() == float("inf") and not sparing.due and saved[-1] == now[0] - 1


@LINUX
def test_what_is_written_and_never_read_is_bounded(tmp_path, monkeypatch):
    """The memory of pipes and sockets is the kernel's, and no process's."""
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    source = """
import os, socket
def softmax(s):
    kept, size = [], 0
    try:
        while True:
            pair = socket.socketpair()
            kept.append(pair)
            for end in pair:
                end.setblocking(False)
                try:
                    while True: size += end.send(bytes(65536))
                except BlockingIOError: pass
    except OSError: pass
    raise ValueError(f"in sockets: {size // 10**6} MB in {len(kept)}")
"""
    with Runner(2_000_000_000) as running:
        grade(one := Graded(notebook(tmp_path / "98_lookup.ipynb", source)), running, Limits(60))
    size, pairs = map(int, re.search(r"in sockets: (\d+) MB in (\d+)", str(one.results[0])).groups())
    assert pairs <= 32 and size * session.PROCESSES <= 1_000
