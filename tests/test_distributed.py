"""Several processes that learn together: they do what one does, and none waits for one that is gone."""

import json
import subprocess
import sys

import pytest
import torch

from tinyllm import training
from tinyllm.model import GPT, Config, load
from tinyllm.train import main
from tinyllm.train_config import TrainConfig

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this build of torch cannot connect processes",
)

CONFIG = {
    "model": {"vocab_size": 270, "block_size": 8, "n_layer": 2, "n_head": 2, "d_model": 8},
    "training": {"n_steps": 12, "batch_size": 6, "grad_accum_steps": 3, "every": 3, "warmup": 0.25},
}

# What `python -m tinyllm.train` does, but for the second process, which breaks down in step 8.
BREAKS_DOWN = """
import os, sys
from tinyllm import train, training

def train_step(*arguments, step_as_ever=training.train_step):
    model, optimizers, x, y, step, config, weights = arguments
    assert len(x) == len(y) == config.batch_size / 2, "each learns from one half"
    if step == 8 and os.environ["RANK"] == "1":
        raise RuntimeError("out of luck")
    return step_as_ever(*arguments)

training.train_step = train_step
sys.exit(train.main())
"""


def two_processes(folder, *program):
    """Run a program as two processes; a deadlock is an error after ten minutes."""
    torchrun = sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
    return subprocess.run([*torchrun, *program], cwd=folder, capture_output=True, text=True, timeout=600)


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").open()]


def test_two_processes_learn_what_one_learns_also_after_one_broke_down(tmp_path):
    (tmp_path / "data.txt").write_text("the cat sat on the mat and the dog sat on the cat. " * 40)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "breaks_down.py").write_text(BREAKS_DOWN)
    options = "--data", str(tmp_path / "data.txt"), "--config", str(tmp_path / "config.json"), "--out"

    broken = two_processes(tmp_path, "breaks_down.py", *options, "two")
    assert broken.returncode == 1 and "out of luck" in broken.stderr
    assert [record["step"] for record in records(tmp_path / "two")] == [3, 6]
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {"log.jsonl", "step-00000003.safetensors", "step-00000006.safetensors"}

    resumed = two_processes(tmp_path, "-m", "tinyllm.train", *options, "two", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert main([*options, str(tmp_path / "one")]) == 0
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert [json.loads(line) for line in resumed.stdout.splitlines()] == two[2:], "both processes spoke"
    for alone, together in zip(one, two, strict=True):
        del alone["speed"], together["speed"]
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)
    weights = zip(load(tmp_path / "one").parameters(), load(tmp_path / "two").parameters())
    for alone, together in weights:
        # Muon makes every direction of a gradient equally long, also those that are little but rounding.
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.fixture
def one_of_four(monkeypatch):
    """Make this process believe that it is one of four."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)


def test_a_batch_must_be_cut_into_equal_parts(one_of_four):
    model = GPT(Config(vocab_size=5, block_size=4, n_layer=1, n_head=1, d_model=4))
    with pytest.raises(ValueError, match="a batch of 6 cannot be cut into 4 equal parts"):
        next(training.train(model, torch.arange(20) % 5, TrainConfig(n_steps=2, batch_size=6)))


def test_several_processes_do_not_share_standard_input(one_of_four, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(["--data", "-", "--config", str(tmp_path / "config.json"), "--out", str(tmp_path)]) == 1
    assert "several processes cannot share standard input" in capsys.readouterr().err


@pytest.mark.parametrize("grad_accum_steps", [1, 3])
def test_processes_exchange_gradients_once_however_many_parts_a_batch_has(tmp_path, grad_accum_steps):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        model = GPT(Config(vocab_size=5, block_size=4, n_layer=1, n_head=1, d_model=4))
        torch.nn.init.normal_(model.head.weight)
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        exchanged = []

        def count(state, bucket):
            exchanged.append(bucket.index())
            future = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        wrapped.register_comm_hook(None, count)
        x, y = torch.randint(5, (2, 6, 4), generator=torch.Generator().manual_seed(0))
        training.add_gradient(wrapped, x, y, grad_accum_steps)
        assert exchanged and len(exchanged) == len(set(exchanged)), "a bucket went around twice"
        found = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        training.add_gradient(model, x, y)
        torch.testing.assert_close(found, [p.grad for p in model.parameters()], rtol=1e-4, atol=1e-6)
    finally:
        torch.distributed.destroy_process_group()
