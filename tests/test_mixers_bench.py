"""The benchmark of mixers: it trains what is missing, keeps each run, and says what it has found."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The benchmark in small: two steps, two seeds, short texts."""
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_mixers", BENCH / "mixers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = dict(LOG=tmp_path / "rows.jsonl", T=16, LONG=32, STEPS=2, BATCH=2, SEEDS=2, N_TEST=4, N_FAR=2, EVERY=1)
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "SIZES", dict(n_layer=2, n_head=2, d_model=16, conv=2))
    return module


def test_every_mixer_of_the_benchmark_trains_and_is_told(bench, monkeypatch, capsys):
    plan = [wanted for wanted in bench.names_runs() if wanted["steps"] == 2 and wanted["rate"] == 1.0]
    bench.run(plan)
    rows = bench.done()
    assert {row["mixer"] for row in rows} == {*bench.MIXERS, *bench.OTHERS} and len(rows) == len(plan)
    for row in rows:
        assert math.isfinite(row["excess"]) and 0 <= row["again"] <= 1 and row["weights"] > 0
        assert ("far" in row) == ("learned" not in row["mixer"])
    monkeypatch.setattr(sys, "argv", ["mixers.py"])
    bench.main()
    told = capsys.readouterr().out
    for mixer in bench.MIXERS:
        assert f"\n| {mixer} |" in told
    assert "standard error" in told and "## At four times the length" in told


def test_a_mixer_learns_from_tales_and_is_judged_by_whole_stories(bench, monkeypatch):
    small = dict(T=128, SIZE=20_000, N_STORIES=2, TALES=("gated delta",), SEEDS=1)
    small["TALES_SIZES"] = dict(n_layer=2, n_head=2, d_model=16, conv=2)
    small["TALES_RECIPE"] = bench.replace(bench.TALES_RECIPE, n_steps=2, batch_size=1, every=1)
    for name, value in small.items():
        monkeypatch.setattr(bench, name, value)
    bench.run(bench.tales_runs())
    (row,) = bench.done()
    assert 0 < row["excess"] < 3 and 0 <= row["again"] <= 1 and len(row["curve"]) == 2
    assert "## Tales" in bench.document(bench.done())


def test_a_run_that_was_stopped_goes_on(bench, monkeypatch):
    plan = bench.names_runs()[:3]
    bench.run(plan[:2])
    before = bench.LOG.read_text()
    bench.run(plan)
    assert bench.LOG.read_text().startswith(before) and len(bench.done()) == 3
    monkeypatch.setitem(bench.PLAY, "names", lambda **_: pytest.fail("it was there already"))
    bench.run(plan)


def test_the_recorded_table_is_that_of_the_recorded_runs():
    """Each number of the table stands in the rows: the table is printed, never edited."""
    rows = [json.loads(line) for line in (BENCH / "mixers.jsonl").read_text().splitlines()]
    spec = importlib.util.spec_from_file_location("recorded_mixers", BENCH / "mixers.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(BENCH))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    # No model is below the exact log-probability: one that is was trained on other texts than it is judged by.
    assert all(row[key] > 0 for row in rows for key in ("excess", "words") if key in row)
    recorded = (BENCH / "mixers.md").read_text(encoding="utf-8")
    for part in (module.names_table, module.far_table, module.steps_table):
        assert part([row for row in rows if row["task"] == "names"]) in recorded
