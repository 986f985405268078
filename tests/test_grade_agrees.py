"""What the check in a notebook passed, the grader passes: for notebooks of every honest kind of statement."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from demo_answers import SHEETS, notebook
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

import course.checks
from course.check import sheet
from course.grade import Graded, Runner, grade
from course.grade.judge import Limits

# Statements that put numbers under `T`, a table that the answer uses; {n} is a number, {k} a key.
STATEMENTS = [
    "T[{k}] = {n}",
    "T.update({{{k}: {n}}})",
    "alias = T; alias[{k}] = {n}",
    "T['a'], T[{k}] = {n}, {n}",
    "(T['a'], *T['l']), T[{k}] = [{n}, {n}], {n}",
    "[T.__setitem__(i, {n}) for i in range(3)]",
    "[T['l'].append(x) for x in range({n})]",
    "first = T['l'].pop() if T['l'] else {n}",
    "_ = T['l'].append({n})",
    "import heapq; heapq.heappush(T['h'], {n})",
    "def fill(t, n={n}): t[{k}] = n\nfill(T)",
    "(lambda t: t.update(a={n}))(T)",
    "exec('T[{k}] = {n}')",
    "exec('def helper(): return {n}'); T['a'] = helper()",
    "if (m := {n}) > 2: T['a'] = m",
    "for i in range({n}): T['a'] = T.get('a', 0) + i",
    "while len(T['l']) < {n}: T['l'] += [1]",
    "with torch.no_grad(): T['t'].add_({n})",
    "torch.nn.init.constant_(T['t'], {n})",
    "np.add(T['n'], {n}, out=T['n'])",
    "T['n'][...] = {n}",
    "setattr(Box, 'x', {n}); T['a'] = Box.x",
    "Box.items[{k}] = {n}; T['a'] = Box.items[{k}]",
    "class Box(Box):\n    y = T.setdefault('a', {n})",
    "def count():\n    global N\n    N += {n}\ncount()",
    "globals()['N'] = {n}",
    "vars()['N'] = {n}",
    "N: int = {n}",
    "N += {n}",
    "@register\ndef f{n}(): return {n}",
    "T['a'] = sum(f() for f in REGISTRY)",
    "async def later(): return {n}\nT['a'] = await later()",
    "async def several():\n    for i in range({n}): yield i\nT['l'] = [i async for i in several()]",
    "try:\n    T['a'] = 1 / 0\nexcept ZeroDivisionError:\n    T['a'] = {n}",
    "import functools\n@functools.cache\ndef g(x): T[{k}] = x; return x\ng({n})",
    "import random; random.seed({n}); T['a'] = random.random()",
    "torch.manual_seed({n}); T['t'] = torch.randn(3)",
    "T['a'] = np.random.default_rng({n}).normal()",
    "match {n}:\n    case 1 | 2: T['a'] = 5\n    case x: T['a'] = x",
    "del T['a']; T['a'] = {n}",
    "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: float = {n}\nT['a'] = P().x",
    "import operator; operator.setitem(T, {k}, {n})",
    "list(map(T['l'].append, range({n})))",
    "%time T['a'] = {n}",
    "T['a'] = next(iter([{n}]))",
    "it = iter(range({n} + 2)); next(it); T['a'] = next(it)",
    "print('x'); display(T); T['a'] = {n}",
    "%pwd",
    "# only a comment",
    "{n}",
]
FAILS = ["1 / 0", "print(nowhere)", "raise SystemExit", "assert False, 'x'"]  # each alone in its cell
SETUP = """
import numpy as np, torch
T, N, REGISTRY = {'l': [], 'h': [], 't': torch.zeros(3), 'n': np.zeros(2), 'a': 0}, 0, []
def register(f): REGISTRY.append(f); return f
class Box: items = {}
"""
# Right exactly if the table and N are what they were where the notebook checks, which the answer remembers.
ANSWER = """
def state():
    return repr((sorted((repr(k), repr(v)) for k, v in T.items()), N, [f() for f in REGISTRY]))
def softmax(s):
    return s.softmax(-1) if state() == {expected!r} else s
"""
CHECK = "check('q1')"
AFTER = ["T.clear()", "N = None", "state = None", "del T", "def register(f): return None", "x = 1", CHECK]


@pytest.fixture(scope="module")
def running():
    with Runner(2_000_000_000) as running:
        yield running


def statement():
    keys = st.sampled_from(["'a'", "'b'", "3"])
    return st.builds(lambda s, n, k: s.format(n=n, k=k), st.sampled_from(STATEMENTS), st.integers(1, 5), keys)


def cell():
    return st.lists(statement(), min_size=1, max_size=3).map("\n".join)


def jupyter(cells):
    """The shell after Jupyter's own machinery ran the cells, in a thread without the event loop of other tests.

    A browser that another test of the same process has opened keeps a loop running in the main thread,
    and there `await` at the top of a cell is an error.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run, cells).result()


def run(cells):
    shell = InteractiveShell()
    shell.user_ns["display"] = print
    for cell in cells:
        shell.run_cell(cell, store_history=False, silent=True)
    return shell


@pytest.mark.skipif(sys.platform != "linux", reason="a process for each notebook takes too long")
@settings(max_examples=25, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
@given(cells=st.lists(cell() | st.sampled_from(FAILS), max_size=8), data=st.data())
def test_what_a_notebooks_check_passes_the_grader_passes(running, tmp_path_factory, monkeypatch_module, cells, data):
    before = [SETUP, *cells]
    state = jupyter([*before, ANSWER.format(expected="")]).user_ns["state"]()
    answer = ANSWER.format(expected=state)
    after = data.draw(st.lists(st.sampled_from(AFTER[:-1]), max_size=2))
    place = data.draw(st.sampled_from(["with the answer", "a cell later", "in the cells"]))
    cells = [*before, answer + CHECK] if place == "with the answer" else [*before, answer, CHECK]
    cells = [*before, answer] if place == "in the cells" else cells
    cells = [*cells, *after]
    shell = jupyter(["from course.check import sheet", "check = sheet('98_lookup')", *cells[: len(before) + 1]])
    assert "3 of 3 points" in str(shell.ev(CHECK))
    graded = Graded(notebook(tmp_path_factory.getbasetemp() / "agrees.ipynb", *cells))
    grade(graded, running, Limits(seconds=60))  # a busy machine decides nothing here
    assert graded.results[0].points == 3, (cells, str(graded.results[0]), graded.notes)


def test_cells_that_await_run_beside_another_tests_event_loop():
    async def beside():
        return jupyter(["async def later(): return 3", "a = await later()"]).user_ns.get("a")

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop of another test's, too
        assert thread.submit(asyncio.run, beside()).result() == 3


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course.checks, "__path__", [SHEETS])
        patch.setenv("COURSE_PROGRESS", "off")
        assert sheet("98_lookup")
        yield patch
