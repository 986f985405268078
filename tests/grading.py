"""What tests of the grader share: the demonstration sheet in place of the book's, and one runner."""

import pytest
from demo_answers import SHEETS

import course.checks
import course.grade
from course.__main__ import main
from course.grade import Runner

MEMORY = 500_000_000


@pytest.fixture(autouse=True)
def demo(monkeypatch):
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])


@pytest.fixture(scope="module")
def processes():
    """One runner for all tests of a file that need no special one: loading torch takes longer than grading."""
    with Runner(MEMORY) as running:
        yield running


@pytest.fixture
def command(processes, monkeypatch):
    """`python -m course`, with the processes that the other tests use."""
    monkeypatch.setattr(course.grade, "Runner", lambda *args: processes)
    monkeypatch.setattr(Runner, "__enter__", lambda self: self)
    monkeypatch.setattr(Runner, "__exit__", lambda self, *_: None)
    return main
