"""Several processes that learn together: they do what one does, and none waits for one that is gone."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from tinyllm import devices, training
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


# Processes that share a model whose sizes they do not divide, and each of which also trains a copy alone.
UNEVEN = """
import sys, torch
from torch import distributed
from tinyllm.batches import get_batch
from tinyllm.checkpoints import gather, load_checkpoint, save_checkpoint
from tinyllm.devices import is_main, join_processes, leave_processes, whole, wrap
from tinyllm.memory import bytes_held, training_bytes
from tinyllm.model import GPT, Config
from tinyllm.optimizers import clip_grad_norm, make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

join_processes(torch.device("cpu"))
n, generator = distributed.get_world_size(), torch.Generator()
config = Config(11, 8, n_layer=1, n_head=2, d_model=10, d_ff=7, experts=2)

def start(how, shard):
    torch.manual_seed(distributed.get_rank() if shard else 0)
    model = GPT(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    net, rows = wrap(model, 6, True) if shard else (model, slice(None))
    return model, make_optimizers(model, how), net, rows

def learn(how, steps, model, optimizers, net, rows):
    for step in steps:
        x, y = get_batch(torch.arange(300) ** 2 % 11, 6, 8, torch.Generator().manual_seed(step))
        train_step(net, optimizers, x[rows], y[rows], step, how)

def check(here, alone):
    for (name, p), q in zip(here[0].named_parameters(), alone[0].parameters(), strict=True):
        torch.testing.assert_close(whole(p.detach()), q.detach(), rtol=1e-4, atol=1e-5, msg=lambda m: name + m)

for optimizer in ("muon", "adamw"):
    how = TrainConfig(6, 6, optimizer=optimizer, split_qkv=True, max_norm=0.05, shard=True)
    alone, shared = start(how, False), start(how, True)
    for one in (alone, shared):
        learn(how, range(3), *one)
    check(shared, alone)

    held = [None] * n
    distributed.all_gather_object(held, bytes_held(*shared[:2]))
    assert held[0] == training_bytes(config, how, n), (held, training_bytes(config, how, n))
    assert all(held[0][name] >= other[name] for other in held for name in other), held
    assert held[0] != held[-1], "sizes that divide prove nothing"

    if is_main():
        save_checkpoint(optimizer, 3, *shared[:2], generator, {})
    else:
        gather(*shared[:2])
    distributed.barrier()
    learn(how, range(3, 6), *alone)
    for again in (start(how, True), start(how, False)):
        load_checkpoint(optimizer, *again[:2], generator)
        learn(how, range(3, 6), *again)
        check(again, alone)

    shared[2].zero_grad()
    for p in shared[0].parameters():
        p.grad = torch.zeros_like(p)
    if distributed.get_rank() == 1:
        shared[0].token.weight.grad.to_local()[0, 0] = float(sys.argv[1])
    print(repr(clip_grad_norm(shared[0].parameters(), 1.0)), flush=True)
leave_processes()
"""


def two_processes(folder, *program, n=2):
    """Run a program as two processes, or n; a deadlock is an error after ten minutes."""
    torchrun = sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n)
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


def test_three_processes_share_a_model_whose_rows_they_do_not_divide_and_know_what_is_wrong_with_one_of_them(tmp_path):
    """10 channels, 11 tokens, 2 experts: some have fewer rows than others, or none, and the steps are those of one."""
    (tmp_path / "uneven.py").write_text(UNEVEN)
    done = two_processes(tmp_path, "uneven.py", "nan", n=3)
    assert done.returncode == 0, done.stderr
    said = "".join(done.stdout.split())  # lines of three processes may meet on one
    assert said == 6 * "nan", "each knows that the gradient is no number, though one has that row"


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


def test_each_of_four_has_its_rows_and_only_one_writes(monkeypatch, one_of_four):
    monkeypatch.setattr(devices, "DistributedDataParallel", lambda model: model)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(9.0))  # the sum of the other three
    dealt = []
    for rank in range(4):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        dealt.append(list(range(8))[devices.wrap(None, 8)[1]])
        assert devices.is_main() == (rank == 0)
    assert sorted(sum(dealt, [])) == list(range(8)) and {len(rows) for rows in dealt} == {2}
    assert devices.mean([1.0, 5.0], torch.device("cpu")) == 3.0 == (3.0 + 9.0) / 4
    assert devices.machine()["processes"] == 4


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
