"""Every sheet: its solutions earn all points, its stubs none, and known mistakes are recognized."""

import importlib.util
import json
from pathlib import Path

import jupytext
import nbformat
import pytest

from course.check import Check
from course.checks import sheets, topic_of
from course.grade import Graded, Runner, grade

ROOT = Path(__file__).parent.parent
SHEETS = {sheet.name: sheet for sheet in sheets()}
IMPORTED = "import math\nimport numpy as np\nimport torch\n"


def mistakes(name):
    """What tests/mistakes holds for a sheet: (question id, fragment of the message, source of the answer)."""
    path = ROOT / "tests" / "mistakes" / f"{topic_of(name)}.py"
    spec = importlib.util.spec_from_file_location(f"mistakes_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES


PLANTED = [(name, *mistake) for name in SHEETS for mistake in mistakes(name)]


@pytest.fixture(scope="module")
def processes():
    with Runner(2_000_000_000) as running:
        yield running


@pytest.mark.parametrize("name", SHEETS)
def test_the_solutions_earn_every_point(processes, tmp_path, name):
    path = tmp_path / f"{name}.ipynb"
    notebook = jupytext.read(ROOT / "solutions" / f"{name}.py")
    # A stub is handed out in place of the answer that stands after it.
    notebook.cells = [cell for cell in notebook.cells if "stub" not in cell.metadata.get("tags", [])]
    nbformat.write(notebook, path)
    graded = Graded(path)
    grade(graded, processes)
    assert not graded.error and not graded.notes
    assert all(result.passed for result in graded.results), "\n".join(map(str, graded.results))


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_as_it_is_handed_out_earns_nothing_and_says_so(processes, name):
    graded = Graded(ROOT / "exercises" / f"{name}.ipynb")
    grade(graded, processes)
    cells = json.loads((ROOT / "exercises" / f"{name}.ipynb").read_text())["cells"]
    answers = ["".join(cell["source"]) for cell in cells if "answer" in cell["metadata"].get("tags", [])]
    assert not graded.error and not graded.notes
    assert {result.question.id: result.points for result in graded.results if result.points} == {}
    for result in graded.results:
        # A sheet may hand out an answer with a planted bug, which is an attempt.
        (given,) = [source for source in answers if f"def {result.question.function}(" in source]
        assert ("not attempted yet" in str(result)) == ("raise NotImplementedError" in given), str(result)


@pytest.mark.parametrize("name", SHEETS)
def test_every_question_has_a_planted_mistake(name):
    assert {mistake[0] for mistake in mistakes(name)} == {question.id for question in SHEETS[name].questions}


@pytest.mark.parametrize(
    "name, id, fragment, source", PLANTED, ids=[f"{m[0]}-{m[1]}-{m[2][:40]}" for m in PLANTED]
)
def test_a_planted_mistake_is_refused_with_the_hint_that_it_needs(monkeypatch, name, id, fragment, source):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    notebook = {"check": Check(SHEETS[name])}
    exec(IMPORTED + source, notebook)
    shown = repr(eval(f"check({id!r})", notebook))
    assert "✗" in shown and "The solution:" not in shown
    assert fragment in " ".join(shown.split())  # also where a line is cut
    assert "could not be judged" not in shown
