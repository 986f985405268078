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
def bench(monkeypatch):
    return module("experts", monkeypatch)


def small(bench, kind):
    """The same in seconds: a few steps, short texts."""
    sizes = dict(n_layer=1, n_head=1, d_model=8, positions="rope")
    if kind == "tales":
        return bench.Tales(steps=2, batch=2, n_test=3, sizes=sizes)
    return bench.Bindings(T=16, steps=2, batch=2, n_test=4, n_words=34, sizes=sizes)


@pytest.mark.parametrize("kind", ["bindings", "tales"])
def test_every_model_trains_and_is_told_and_a_run_that_was_stopped_goes_on(bench, kind, tmp_path, monkeypatch):
    on, log = small(bench, kind), tmp_path / "new" / "rows.jsonl"
    bench.run([0, 1], on, log)
    rows = bench.read(log)
    wanted = [(model, seed, lr) for model in on.models for seed in (0, 1) for lr in on.rates]
    assert sorted((row["model"], row["seed"], row["lr"]) for row in rows) == sorted(wanted)
    assert all(math.isfinite(row["excess"]) and row["busiest"] >= 1 >= row["idlest"] for row in rows)
    told = bench.document(rows, on)
    assert all(f"| {name} |" in told for name in on.models) and "standard error" in told and on.column[1] in told
    log.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    monkeypatch.setattr(bench, "play", lambda name, seed, lr, on: dict(name=name))
    bench.run([0, 1], on, log)
    anew = dict(model=rows[-1]["model"], seed=1, lr=on.rates[-1], steps=2, name=rows[-1]["model"])
    assert bench.read(log) == [*rows[:-1], anew]  # and nothing that was there


def test_each_model_is_told_at_its_own_best_rate(bench):
    on = bench.Tales()
    found = {"dense": {0.01: (3.0, 2.0), 0.02: (1.0, 2.0)}, "2 of 8": {0.01: (1.0, 1.5), 0.02: (0.0, 4.0)}}
    rows = [dict(model=model, lr=lr, seed=seed, excess=excess, again=0.0, busiest=1.0, seconds=1.0)
            for model, by_rate in found.items() for lr, both in by_rate.items() for seed, excess in enumerate(both)]
    dense, mixture = (line.split(" | ") for line in bench.table(rows, on).splitlines()[2:])
    assert (dense[4], dense[5][:5]) == ("0.02", "1.500") and (mixture[4], mixture[5][:5]) == ("0.01", "1.250")
    assert mixture[7] == "-0.250 (0.250)"  # 1 - 1 and 1.5 - 2


def test_the_command_line_chooses_the_texts_and_where_the_lines_are_kept(bench, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "run", lambda seeds, on, log: asked.append((seeds, on.name, log.name)))
    bench.main(["run"])
    bench.main(["run", "1", "2", "--texts", "tales"])
    bench.main(["run", "0", "--texts", "tales", "--log", str(tmp_path / "here.jsonl")])
    assert asked == [([0, 1, 2], "bindings", "experts.jsonl"), ([1, 2], "tales", "experts_tales.jsonl"),
                     ([0], "tales", "here.jsonl")]


def test_tales_come_one_after_another_without_padding_and_each_is_read_once(bench):
    on = bench.Tales(T=50, batch=3)
    blocks = on.batches(0)
    first, second = next(blocks), next(blocks)
    assert first.shape == second.shape == (3, 51)
    told = bench.tell(bench.TRAINING_SEED)
    text = "".join(bench.SEPARATOR + next(told).text for _ in range(5))
    read = on.tokenizer.decode([*first.flatten().tolist(), *second.flatten().tolist()])
    assert text.startswith(read[:-1])  # the last token may be a part of a letter
    # The texts that experts are counted on, and those of another seed, are others.
    assert not any(first.equal(other) for other in (next(on.batches(1)), on.test()))
    assert first.equal(next(on.batches(0)))  # every model of a seed learns from the same


@pytest.mark.parametrize("kind", ["Bindings", "Tales"])
def test_mixtures_spend_on_a_token_what_the_dense_model_spends_but_for_the_router(bench, kind):
    on = getattr(bench, kind)()
    dense = flops_per_token(bench.config_of("dense", on))
    for name in (name for name in on.models if "of" in name):
        config = bench.config_of(name, on)
        assert flops_per_token(config) - dense == 2 * config.n_layer * config.d_model * config.experts
    assert flops_per_token(bench.config_of("dense, 4 times as wide", on)) > 1.5 * dense


@pytest.mark.parametrize("kind, name", [("Bindings", "experts"), ("Tales", "experts_tales")])
def test_the_recorded_table_is_that_of_the_recorded_runs(bench, kind, name):
    rows = bench.read(BENCH / f"{name}.jsonl")
    if not rows:
        pytest.skip("not recorded yet")
    assert bench.table(rows, getattr(bench, kind)()) in (BENCH / f"{name}.md").read_text(encoding="utf-8")
    assert all(row["excess"] > 0 for row in rows)


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
