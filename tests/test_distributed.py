"""Several processes that learn together: they do what one does, and none waits for one that is gone."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from tinyllm import training
from tinyllm.batches import Separate, get_batch
from tinyllm.checkpoints import read_checkpoint
from tinyllm.devices import is_sharded, shard_model, whole
from tinyllm.memory import bytes_held, training_bytes
from tinyllm.model import GPT, Config, load
from tinyllm.optimizers import make_optimizers
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


# Both processes train, and say what they hold after the last step.
SHARDED = """
import json, os, sys
from tinyllm import memory, train, training

def train_step(model, optimizers, *rest, step_as_ever=training.train_step):
    loss = step_as_ever(model, optimizers, *rest)
    held[:] = [memory.bytes_held(model, optimizers)]
    return loss

training.train_step, held, arguments = train_step, [], sys.argv[1:]
assert train.main(arguments) == 0
with open(arguments[arguments.index("--out") + 1] + "/held-" + os.environ["RANK"], "w") as file:
    json.dump(held[0], file)
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


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_processes_that_share_a_model_learn_what_one_learns_and_go_on_from_each_other(tmp_path, optimizer):
    """One process, two with a copy each (DDP), two with a half each (FSDP): the same losses and the same files."""
    (tmp_path / "data.txt").write_text("the cat sat on the mat and the dog sat on the cat. " * 40)
    half = {"n_steps": 6, "optimizer": optimizer, "keep": 9, "weight_decay": 0.01, "lr": 0.01}
    config = {"model": CONFIG["model"] | {"tie_weights": optimizer == "adamw"}, "training": CONFIG["training"] | half}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "sharded.py").write_text(SHARDED)
    options = ["--data", str(tmp_path / "data.txt"), "--config", str(tmp_path / "config.json"), "--out"]
    assert main([*options, str(tmp_path / "one")]) == 0

    def stopped(name, new):
        """A copy of a run's folder as it was after step 3."""
        shutil.copytree(tmp_path / name, tmp_path / new)
        (tmp_path / new / "step-00000006.safetensors").unlink()
        return [*options, str(tmp_path / new), "--resume"]

    def together(*arguments):
        """One training a start: who meets anew in the same two processes may find where the other was before."""
        done = two_processes(tmp_path, "sharded.py", *arguments)
        assert done.returncode == 0, done.stderr

    together(*options, str(tmp_path / "half"), "--shard")
    together(*stopped("one", "one, then half"), "--shard")
    together(*stopped("half", "half, then copies"))
    assert main(stopped("half", "half, then one")) == 0

    expected, (alone, notes) = records(tmp_path / "one"), read_checkpoint(tmp_path / "one" / "step-00000006.safetensors")
    for name in ("half", "one, then half", "half, then copies", "half, then one"):
        for there, here in zip(records(tmp_path / name), expected, strict=True):
            assert {**there, "speed": 0} == pytest.approx({**here, "speed": 0}, rel=1e-4, abs=1e-5), name
        tensors, its = read_checkpoint(tmp_path / name / "step-00000006.safetensors")
        assert its["optimizers"] == notes["optimizers"] and tensors.keys() == alone.keys(), name
        for key in alone.keys() - {"random.torch"}:
            torch.testing.assert_close(tensors[key], alone[key], rtol=1e-3, atol=1e-3, msg=f"{name}: {key}")
        for key, tensor in load(tmp_path / name).state_dict().items():
            torch.testing.assert_close(tensor, tensors[f"model.{key}" if f"model.{key}" in tensors else "model.token.weight"])

    for name, shard in (("half", True), ("half, then copies", False)):
        how = TrainConfig(**config["training"] | {"shard": shard})
        size = json.loads((tmp_path / name / "model.json").read_text())["config"]
        wanted = training_bytes(Config(**size), how, n_processes=2)
        held = [json.loads((tmp_path / name / f"held-{rank}").read_text()) for rank in (0, 1)]
        assert held[0] == held[1] == wanted, name


@pytest.fixture
def one_of_one(tmp_path):
    """A process that has met all others, none: enough for a model to be shared out."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("parts", [{}, dict(experts=3, experts_per_token=2), dict(positions="rope", mlp="swiglu", n_kv_head=1)])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_model_that_is_shared_out_takes_the_same_steps(one_of_one, parts, optimizer):
    config = Config(vocab_size=20, block_size=8, n_layer=2, n_head=2, d_model=8, **parts)
    how, ids = TrainConfig(4, 4, optimizer=optimizer, split_qkv=True), torch.arange(200) % 11
    found = []
    for shard in (False, True):
        torch.manual_seed(0)
        model = GPT(config)
        if shard:
            shard_model(model)
        optimizers = make_optimizers(model, how)
        for step in range(4):
            x, y = get_batch(ids, 4, 8, torch.Generator().manual_seed(step))
            training.train_step(model, optimizers, x, y, step, how)
        loss, _ = training.evaluate(model, ids, 8)  # weights that it gathers are let go
        assert all(is_sharded(p) == shard for p in model.parameters())
        found.append([torch.tensor(loss), *(whole(p.detach()) for p in model.parameters())])
        held, wanted = bytes_held(model, optimizers), training_bytes(config, how)
        assert held == wanted
    torch.testing.assert_close(*found)


def test_a_model_that_reads_documents_apart_is_shared_out_too(one_of_one):
    model, ids = GPT(Config(vocab_size=20, block_size=8, n_layer=1, n_head=2, d_model=8)), torch.arange(8) % 4
    torch.nn.init.normal_(model.head.weight)
    expected = Separate(model, (0,))(ids)
    net = shard_model(Separate(model, (0,)))
    torch.testing.assert_close(net(ids), expected)
    assert not torch.allclose(model(ids), expected) and all(map(is_sharded, net.parameters()))


def test_one_process_has_nobody_to_share_a_model_with(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(["--data", "x", "--config", str(tmp_path / "config.json"), "--out", str(tmp_path), "--shard"]) == 1
    assert "--shard divides a model among several processes" in capsys.readouterr().err


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
