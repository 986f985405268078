"""bench/rates.py in small: which weights learn at which rate under each rule, and what is missing is trained."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from tinyllm.model import GPT, Config
from tinyllm.optimizers import AdamW, Muon

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def rates():
    spec = importlib.util.spec_from_file_location("bench_rates", BENCH / "rates.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def found_rates(rates, rule, width):
    """The rate and the kind of optimizer of each weight, by its name."""
    model = GPT(Config(20, 8, n_layer=1, n_head=width // 16, d_model=width, positions="alibi", conv=2))
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: (type(optimizer), group["lr"]) for optimizer in rates.optimizers_of(model, rule, 0.25)
            for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("width", [32, 128])
def test_muon_has_one_rate_whatever_the_width_and_the_rest_is_as_in_the_library(rates, width):
    found = found_rates(rates, "muon", width)
    matrices = {name for name in found if name.startswith("blocks") and "weight" in name and found[name][0] is Muon}
    assert any("attention.qkv" in name for name in matrices) and any("mlp" in name for name in matrices)
    assert {found[name] for name in matrices} == {(Muon, 0.25)}
    assert found["token.weight"] == (AdamW, 0.02)
    assert found["head.weight"] == (AdamW, pytest.approx(0.003 * 128 / width))


def test_adam_s_rates_are_the_same_or_divided_by_the_width_for_all_matrices_but_the_embedding(rates):
    for width in (32, 128):
        assert {rate for _, rate in found_rates(rates, "same", width).values()} == {0.25}
        found = found_rates(rates, "by width", width)
        assert found["head.weight"] == found["blocks.0.attention.qkv.weight"] == (AdamW, 0.25 * 32 / width)
        assert found["token.weight"] == (AdamW, 0.25)


def test_what_is_missing_is_trained_and_what_is_there_is_not(rates, tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "RATES", {"by width": [-6], "muon": [-5]})
    monkeypatch.setattr(rates, "SEEDS", 1)
    log = tmp_path / "new" / "rows.jsonl"
    rates.run(["by width", "muon"], log, steps=1)
    rows = rates.read(log)
    assert [(row["rule"], row["width"]) for row in rows] == [("by width", 128), ("muon", 32), ("muon", 128)]
    assert all(math.isfinite(row["excess"]) for row in rows)
    log.write_text(json.dumps(rows[0]) + "\n")
    monkeypatch.setattr(rates, "play", lambda *_: 1.0)
    rates.run(["by width", "muon"], log, steps=1)
    assert [row["excess"] for row in rates.read(log)] == [rows[0]["excess"], 1.0, 1.0]


def test_the_command_line_chooses_rules_and_the_log(rates, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(rates, "run", lambda rules, log: asked.append((rules, log.name)))
    rates.main([])
    rates.main(["--rules", "muon", "--log", str(tmp_path / "here.jsonl")])
    assert asked == [(["same", "by width", "muon"], "rates.jsonl"), (["muon"], "here.jsonl")]
