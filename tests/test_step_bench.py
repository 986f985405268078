"""bench/step.py in small: what it says of a model is what its docstring says."""

import sys

import pytest
import torch

from course.build import ROOT
from course.data.bindings import Language, tell
from tinyllm.model import GPT, Config

sys.path.insert(0, str(ROOT / "bench"))
step = pytest.importorskip("step")
sys.path.pop(0)


@pytest.fixture(scope="module")
def seen():
    """A model that knows nothing: all logits are equal."""
    config = Config(len(Language().vocabulary), step.T, **step.SIZES)
    return step.look(GPT(config), tell(6, step.T + 1, 3))


def test_a_model_that_knows_nothing_uses_no_name_of_the_text(seen):
    n = len(Language().vocabulary)
    assert seen["p"] == pytest.approx(1 / n, abs=1e-4)
    named = len(Language().name_ids)
    assert seen["in_text"] / seen["p"] == pytest.approx(seen["plain"] * named, rel=0.02)


def test_a_window_changes_nothing_where_nothing_is_read(seen):
    assert len(set(seen["window"].values())) == 1 and set(seen["window"]) == {*step.WINDOWS, step.T}


def test_there_are_as_many_effective_keys_as_tokens_at_most_and_weights_on_names_hold_that_on_the_right_one(seen):
    keys, names, right = (torch.tensor(seen[key]) for key in ("keys", "names", "right"))
    assert (keys >= 1).all() and (keys <= step.T).all()
    assert (right <= names).all() and (right > 0).all()


def test_looks_come_as_often_as_they_are_asked_for():
    rows = list(step.play(0, steps=2, every=1))
    assert [row["tokens"] for row in rows] == [step.BATCH * step.T, 2 * step.BATCH * step.T]
