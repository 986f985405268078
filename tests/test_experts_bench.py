"""The benchmarks of experts and of the roofline: they train what is missing, and say what they have found."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from tinyllm.model import flops_per_token

BENCH = Path(__file__).parents[1] / "bench"


def module(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def bench(monkeypatch, tmp_path):
    found = module("experts", monkeypatch)
    for name, value in dict(LOG=tmp_path / "rows.jsonl", T=16, STEPS=2, BATCH=2, N_TEST=4, SEEDS=2).items():
        monkeypatch.setattr(found, name, value)
    monkeypatch.setattr(found, "WORDS", found.Language())
    return found


def test_every_model_trains_and_is_told_and_a_run_that_was_stopped_goes_on(bench, monkeypatch):
    bench.run([0, 1])
    rows = bench.done()
    assert {(row["model"], row["seed"]) for row in rows} == {(m, s) for m in bench.MODELS for s in (0, 1)}
    assert all(math.isfinite(row["excess"]) and row["busiest"] >= 1 >= row["idlest"] for row in rows)
    told = bench.document(rows)
    assert all(f"| {name} |" in told for name in bench.MODELS) and "standard error" in told
    bench.LOG.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    monkeypatch.setattr(bench, "play", lambda name, seed: dict(name=name))
    bench.run([0, 1])
    assert bench.done()[-1] == dict(model=rows[-1]["model"], seed=1, steps=2, name=rows[-1]["model"])


def test_mixtures_spend_on_a_token_what_the_dense_model_spends_but_for_the_router(bench):
    dense = flops_per_token(bench.config_of("dense"))
    for name in ("1 of 4", "2 of 4", "1 of 8", "2 of 8"):
        config = bench.config_of(name)
        assert flops_per_token(config) - dense == 2 * config.n_layer * config.d_model * config.experts


def test_the_recorded_table_is_that_of_the_recorded_runs(monkeypatch):
    found = module("experts", monkeypatch)
    if not found.done():
        pytest.skip("not recorded yet")
    assert found.table(found.done()) in (BENCH / "experts.md").read_text(encoding="utf-8")
    assert all(row["excess"] > 0 for row in found.done())


def test_the_intensity_of_a_product_is_its_products_by_its_bytes(monkeypatch):
    roofline = module("roofline", monkeypatch)
    assert roofline.matmul_intensity(2, 3, 5, 4) == pytest.approx(2 * 30 / (4 * (6 + 15 + 10)))
    # One row has less than one product for two bytes of each weight, whatever the size; n rows up to n times as much.
    assert 0.4 < roofline.matmul_intensity(1, 512, 512, 4) < 0.5
    one, many = (roofline.decode_intensity(roofline.CONFIG, n, 10) for n in (1, 16))
    assert 10 < many / one < 16


def test_the_roofline_is_measured_and_told(monkeypatch, capsys):
    roofline = module("roofline", monkeypatch)
    for name, value in dict(SIZES=(16, 32), ROUNDS=1, COPIED=1 << 12, BATCH=1).items():
        monkeypatch.setattr(roofline, name, value)
    monkeypatch.setattr(roofline, "CONFIG", roofline.Config(32, 16, 1, 1, 8))
    monkeypatch.setattr(roofline, "BIG", roofline.Config(32, 512, 1, 1, 8))
    roofline.main()
    told = capsys.readouterr().out
    assert "# The roofline" in told and "of the roof" in told and "| 16 bits (bfloat16) |" in told
