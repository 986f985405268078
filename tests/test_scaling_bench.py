"""The benchmark behind the scaling table: it trains what is missing, and a longer run shares the steps of a shorter."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from course.checks import scale
from course.data.tales import floor

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_scaling", BENCH / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_scaling", module)  # its dataclass looks there for its names
    spec.loader.exec_module(module)
    return module


def test_everything_runs_once_in_seconds(bench, capsys):
    bench.main(["--smoke"])
    told = capsys.readouterr().out
    assert "# Size, tokens, and a floor that is known" in told and "| 24k | " in told


def test_a_longer_run_shares_the_steps_before_the_rate_falls_and_is_what_it_would_be_alone(bench):
    device, smoke = torch.device("cpu"), bench.replace(bench.SMOKE, scored=2, told=1)
    short, long = bench.sweep("24k", "base", 0, [2, 4], smoke, device)
    (alone,) = bench.sweep("24k", "base", 0, [4], smoke, device)
    assert (short["steps"], long["steps"]) == (6, 11) and short["tokens"] < long["tokens"]
    same = long.keys() - {"seconds"}
    assert {name: long[name] for name in same} == {name: alone[name] for name in same}
    assert math.isfinite(long["excess"]) and long["excess"] == pytest.approx(long["loss"] - long["floor"])
    assert long["floor"] == pytest.approx(floor(stories=2).nats_per_character)


def test_a_step_learns_from_whole_stories_and_from_no_padding(bench):
    x, y = bench.rows_of([[5, 6, 7], [1, 2, 3, 4, 9]], context=3)
    assert x.tolist() == [[5, 6, 0], [1, 2, 3]]
    assert y.tolist() == [[6, 7, -100], [2, 3, 4]]


def test_what_was_recorded_is_not_trained_again(bench, tmp_path, monkeypatch):
    wanted = bench.argparse.Namespace(models=["24k"], millions=[2, 4], seeds=[0], variants=["base"], device="cpu")
    asked = []
    monkeypatch.setattr(bench, "sweep", lambda *args: asked.append(args[:4]) or iter(()))
    (tmp_path / "rows").write_text(json.dumps(dict(model="24k", variant="base", seed=0, millions=2)) + "\n")
    bench.run(wanted, tmp_path / "rows")
    assert asked == [("24k", "base", 0, [4])]


def test_the_recorded_table_is_that_of_the_recorded_runs(bench):
    rows, others = (bench.read(path) for path in (bench.LOG, bench.OTHERS))
    assert bench.document(rows, others) + "\n" == (BENCH / "scaling.md").read_text(encoding="utf-8")
    for row in rows + others:  # no model is better than the truth, and each row says where it comes from
        assert row["excess"] > 2 * row["se"] and row["machine"]
        assert row["excess"] == pytest.approx(row["loss"] - row["floor"])
    assert all(row["floor"] == pytest.approx(floor(stories=1024).nats_per_character) for row in rows[:1])


def test_the_runs_of_the_sheet_are_recorded_ones(bench):
    excess = {(row["model"], row["millions"]): round(row["excess"], 4) for row in bench.read(bench.LOG)}
    runs = [("1.0M", (4, 8, 16)), ("2.7M", (4, 16, 64))]
    assert [tuple(excess[size, millions] for millions in those) for size, those in runs] == [run for run, _ in scale.RUNS]
    assert scale.ENTROPY == round(bench.read(bench.LOG)[0]["floor"], 4) and excess["1.0M", 64] == 0.0041
