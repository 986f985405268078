"""Checkpoints: a run that was stopped, killed or broken goes on as if nothing had happened."""

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from tiny import IDS, RUN_CONFIG, TINY, new_model, weights

import tinyllm.files
from tinyllm.checkpoints import (
    checkpoints,
    load_checkpoint,
    model_state,
    random_state,
    read_checkpoint,
    save_checkpoint,
    set_random_state,
)
from tinyllm.model import GPT, from_dict
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import new_record, train, train_step


class BreaksDown(GPT):
    """A model whose loss is not a number from some step on."""

    calls = 0

    def forward(self, ids):
        self.calls += 1
        return super().forward(ids) * (float("nan") if self.calls > 6 else 1.0)


def test_a_loss_that_is_not_a_number_stops_training_and_spoils_nothing(tmp_path):
    torch.manual_seed(0)
    model = BreaksDown(TINY)
    with pytest.raises(FloatingPointError, match="step 6 has loss nan"):
        list(train(model, IDS, RUN_CONFIG, folder=tmp_path))
    assert weights(model).isfinite().all()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000004.safetensors"]
    resumed, straight = new_model(seed=5), new_model()
    list(train(resumed, IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    list(train(straight, IDS, RUN_CONFIG))
    assert torch.equal(weights(resumed), weights(straight))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, optimizer, stop):
    train_config = replace(RUN_CONFIG, optimizer=optimizer)
    straight, stopped, resumed = new_model(), new_model(), new_model(seed=5)
    records = list(train(straight, IDS, train_config, IDS))
    run = train(stopped, IDS, train_config, IDS, folder=tmp_path)
    for _ in range(stop):
        next(run)
    run.close()
    rest = list(train(resumed, IDS, train_config, IDS, folder=tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(straight))
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    for record in records + logged + rest:
        del record["speed"]
    assert logged == records and rest == records[stop:]


RUN = """
import torch
from tinyllm.model import GPT, Config
from tinyllm.train_config import TrainConfig
from tinyllm.training import train
torch.manual_seed(0)
model, ids = GPT(Config(**{config})), (torch.arange(300) ** 2) % 11
for record in train(model, ids, TrainConfig(**{train_config}), folder={folder!r}):
    print(record["step"], flush=True)
"""


def test_a_killed_process_leaves_a_run_that_goes_on_bit_for_bit(tmp_path):
    train_config = replace(RUN_CONFIG, n_steps=4000, every=2, keep=3)
    code = RUN.format(config=asdict(TINY), train_config=asdict(train_config), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 20:
        pass
    time.sleep(0.02)
    process.kill()
    process.wait()
    kept = checkpoints(tmp_path)
    assert 3 <= len(kept) <= 4  # killed between writing one and removing another
    done = int(kept[-1].stem.removeprefix("step-"))
    assert 20 <= done < 4000

    resumed = new_model(seed=5)
    run = train(resumed, IDS, train_config, folder=tmp_path, resume=True)
    assert next(run)["step"] == done + 2
    straight = new_model()
    for record in train(straight, IDS, train_config):
        if record["step"] == done + 2:
            break
    assert torch.equal(weights(resumed), weights(straight))
    logged = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()]
    assert logged == list(range(2, done + 3, 2))


# ---------------------------------------------------------------------------------------- files


def some_state(config=TINY, train_config=RUN_CONFIG):
    model = new_model(config)
    return model, make_optimizers(model, train_config), torch.Generator().manual_seed(3)


def test_a_checkpoint_brings_back_random_numbers_too(tmp_path):
    state = some_state()
    save_checkpoint(tmp_path, 7, *state, {"what": "a test"})
    drawn = torch.rand(3), torch.rand(3, generator=state[2])
    assert load_checkpoint(tmp_path, *state) == (7, {"what": "a test"})
    again = torch.rand(3), torch.rand(3, generator=state[2])
    assert all(torch.equal(a, b) for a, b in zip(drawn, again))


def test_the_newest_checkpoints_are_kept(tmp_path):
    state = some_state()
    for step in (5, 10, 100, 1000):
        save_checkpoint(tmp_path, step, *state, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == [
        "step-00000100.safetensors", "step-00001000.safetensors",
    ]  # fmt: skip


def test_a_checkpoint_that_could_not_be_finished_is_none(tmp_path, monkeypatch):
    state = some_state()
    save_checkpoint(tmp_path, 1, *state, {}, keep=1)

    def full_disk(*_):
        raise OSError("no space left on device")

    for stage in ("fsync", "replace"):
        monkeypatch.setattr(tinyllm.files.os, stage, full_disk)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(tmp_path, 2, *state, {}, keep=1)
        monkeypatch.undo()
        assert load_checkpoint(tmp_path, *some_state())[0] == 1


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_truncated_checkpoint_is_refused_and_changes_nothing(tmp_path, size):
    state = some_state()
    path = save_checkpoint(tmp_path, 1, *state, {})
    path.write_bytes(path.read_bytes()[:size])
    before = weights(state[0])
    with pytest.raises(ValueError, match="step-00000001.safetensors is damaged or no checkpoint"):
        load_checkpoint(tmp_path, *state)
    assert torch.equal(weights(state[0]), before)


@pytest.mark.parametrize(
    ("config", "train_config", "message"),
    [
        (replace(TINY, d_model=12), RUN_CONFIG, r"attention.out.weight is \(8, 8\) there, \(12, 12\) here"),
        (replace(TINY, n_layer=2), RUN_CONFIG, r"model.blocks.1.attention.out.weight is missing there"),
        (TINY, replace(RUN_CONFIG, optimizer="adamw"), "its optimizers are Muon, AdamW, not AdamW"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, config, train_config, message):
    save_checkpoint(tmp_path, 1, *some_state(), {})
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path, *some_state(config, train_config))


def test_a_run_goes_on_as_it_began_or_not_at_all(tmp_path):
    list(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path))
    with pytest.raises(ValueError, match="holds a run: resume it"):
        next(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path))
    with pytest.raises(ValueError, match="was begun with lr 0.03, not 0.1"):
        next(train(new_model(), IDS, replace(RUN_CONFIG, lr=0.1), folder=tmp_path, resume=True))
    with pytest.raises(ValueError, match="was begun with text"):
        next(train(new_model(), IDS[1:], RUN_CONFIG, folder=tmp_path, resume=True))
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        (tmp_path / "empty").mkdir()
        next(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path / "empty", resume=True))


@pytest.mark.parametrize("change", [
    dict(n_head=4), dict(norm_eps=1e-6), dict(mlp="gelu_tanh"), dict(positions="none"), dict(window=3, mixer="window"),
    dict(mixer=("softmax_one",)), dict(experts_per_token=2),
])
def test_a_run_does_not_go_on_with_another_model_of_the_same_shapes(tmp_path, change):
    """How many heads there are, how far they see, which experts answer: no weight says it."""
    config = replace(TINY, positions="rope") if change.get("positions") else TINY
    config = replace(config, experts=3) if "experts_per_token" in change else config
    run = train(new_model(config), IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    name, value = list(change.items())[-1]
    with pytest.raises(ValueError, match=f"was begun with model.{name} .*, not "):
        next(train(new_model(replace(config, **change)), IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    assert next(train(new_model(config), IDS, RUN_CONFIG, folder=tmp_path, resume=True))["step"] == 8


@pytest.mark.parametrize("kept", [[], ["vocab_size", "block_size", "n_layer", "n_head", "d_model"]])
def test_a_run_of_an_older_version_goes_on_of_which_less_is_known(tmp_path, kept):
    """Before there was an option, all had its default; before models were described, nothing is known."""
    run = train(new_model(), IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    (path,) = checkpoints(tmp_path)
    tensors, notes = read_checkpoint(path)
    names = [f"model.{name}" for name in kept]
    notes["about"] = {k: v for k, v in notes["about"].items() if not k.startswith("model.") or k in names}
    path.write_bytes(safetensors.torch.save(tensors, {"json": json.dumps(notes)}))
    if kept:
        with pytest.raises(ValueError, match="was begun with model.norm_eps 1e-05, not 1e-06"):
            next(train(new_model(replace(TINY, norm_eps=1e-6)), IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    assert next(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path, resume=True))["step"] == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 3}, r"unknown keys \['steps'\]"),
        ({"n_steps": 0}, "n_steps must be a whole number above 0, not 0"),
        ({"n_steps": 10**8}, "n_steps must have at most eight digits"),
        ({"optimizer": "sgd"}, "'sgd'"),
        ({"warmup": 0.5, "decay": 0.6}, "do not fit into 12"),
        ({"shape": "round"}, "'round'"),
        ({"lr": 0}, "lr must be a number above 0, not 0"),
        ({"lr": "0.03"}, "lr must be a number above 0, not '0.03'"),
        ({"lr": math.nan}, "lr must be a number above 0, not nan"),
        ({"weight_decay": -0.1}, "weight_decay must be a number from 0 to 1 or null, not -0.1"),
        ({"max_norm": -1.0}, "max_norm must be a number above 0, not -1.0"),
        ({"max_norm": math.inf}, "max_norm must be a number above 0, not inf"),
        ({"warmup": 20}, "warmup must be a number from 0 to 1, not 20"),
        ({"warmup": True}, "warmup must be a number from 0 to 1, not True"),
        ({"decay": None}, "decay must be a number from 0 to 1, not None"),
        ({"bf16": "yes"}, "bf16 must be true or false, not 'yes'"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"keep": 2.0}, "keep must be a whole number above 0, not 2.0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_dict(TrainConfig, asdict(RUN_CONFIG) | change)


# ---------------------------------------------------------------------------------------- older files


def as_before(path, train_config):
    """Write a checkpoint again as it was when optimizer states had numbers and other settings names."""
    tensors, notes = read_checkpoint(path)
    del notes["optimizers"], notes["about"]["split_qkv"]
    notes["about"]["n_parts"] = notes["about"].pop("grad_accum_steps")
    model = new_model()
    names = {p: name for name, p in model.named_parameters()}
    old = {name: z for name, z in tensors.items() if not name.startswith("optimizer.")}
    groups = [group for opt in make_optimizers(model, train_config) for group in opt.param_groups]
    for i, group in enumerate(groups):
        own = [f"optimizer.{names[p]}." for p in group["params"]]
        if own[0] + "momentum_buffer" in tensors:
            numbered = [tensors[name + "momentum_buffer"] for name in own]
        else:
            means = [tensors[name + key] for key in ("exp_avg", "exp_avg_sq") for name in own]
            numbered = [tensors[own[0] + "step"].long(), *means]
        old |= {f"optimizer.{i}.{j}": z for j, z in enumerate(numbered)}
    path.write_bytes(safetensors.torch.save(old, {"json": json.dumps(notes)}))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_checkpoint_of_an_older_version_goes_on_bit_for_bit(tmp_path, optimizer):
    train_config = replace(RUN_CONFIG, optimizer=optimizer)
    straight, resumed = new_model(), new_model(seed=5)
    list(train(straight, IDS, train_config))
    run = train(new_model(), IDS, train_config, folder=tmp_path)
    next(run)
    run.close()
    as_before(checkpoints(tmp_path)[-1], train_config)
    list(train(resumed, IDS, train_config, folder=tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(straight))


def test_an_older_checkpoint_of_other_optimizers_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, *trained_state(), {"split_qkv": 0, "grad_accum_steps": 1})
    as_before(path, RUN_CONFIG)
    with pytest.raises(ValueError, match="does not fit: its optimizers are not AdamW"):
        load_checkpoint(path, *some_state(train_config=replace(RUN_CONFIG, optimizer="adamw")))
    assert load_checkpoint(path, *some_state())[0] == 1


def trained_state():
    """A model and optimizers that have taken a step."""
    model, optimizers, generator = some_state()
    train_step(model, optimizers, IDS[:8].view(1, 8), IDS[1:9].view(1, 8), 0, RUN_CONFIG)
    return model, optimizers, generator


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_was_begun_with_other_settings_is_refused_also_by_names_of_before(tmp_path, before):
    run = train(new_model(), IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    if before:
        as_before(checkpoints(tmp_path)[-1], RUN_CONFIG)
    with pytest.raises(ValueError, match="was begun with grad_accum_steps 1, not 2"):
        changed = replace(RUN_CONFIG, grad_accum_steps=2)
        next(train(new_model(), IDS, changed, folder=tmp_path, resume=True))
    with pytest.raises(ValueError, match="split_qkv False, not True|optimizers are not Muon"):
        changed = replace(RUN_CONFIG, split_qkv=True)
        next(train(new_model(), IDS, changed, folder=tmp_path, resume=True))


# ---------------------------------------------------------------------------------------- names of files and weights


def test_files_of_a_user_are_no_checkpoints_and_stay(tmp_path):
    names = ["step-00000020-good.safetensors", "step-best.safetensors", "step-7.safetensors",
             "step-000000001.safetensors", "step-٠٠٠٠٠٠٠١.safetensors"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    state = some_state()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, *state, {}, keep=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003.safetensors"]
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)
    assert load_checkpoint(tmp_path, *state)[0] == 3


class Wrapped(torch.nn.Module):
    """A model inside, as `torch.compile` and `DistributedDataParallel` keep it."""

    def __init__(self, model, name):
        super().__init__()
        self.add_module(name, model)
        self.config, self.blocks, self.forward = model.config, model.blocks, model.forward


@pytest.mark.parametrize("name", ["_orig_mod", "module"])
def test_a_wrapped_model_has_the_checkpoints_of_the_one_inside(tmp_path, name):
    wrapped, plain = Wrapped(new_model(), name), new_model()
    run = train(wrapped, IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    list(train(plain, IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    straight = new_model()
    list(train(straight, IDS, RUN_CONFIG))
    assert torch.equal(weights(plain), weights(straight))


def test_a_compiled_model_keeps_the_names_of_its_weights():
    model = new_model()
    compiled = torch.compile(model, backend="eager")
    assert model_state(compiled).keys() == model_state(model).keys()


def test_a_weight_without_a_gradient_has_no_state_and_a_run_goes_on_all_the_same(tmp_path):
    def frozen(seed=0):
        model = new_model(seed=seed)
        model.token.weight.requires_grad_(False)
        return model

    straight, stopped, resumed = frozen(), frozen(), frozen()
    list(train(straight, IDS, RUN_CONFIG))
    run = train(stopped, IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    list(train(resumed, IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(straight))
    assert torch.equal(resumed.token.weight, new_model().token.weight)


# ---------------------------------------------------------------------------------------- other devices


class Elsewhere:
    """As much of a model on a GPU, and of its random numbers, as a checkpoint asks for."""

    def __init__(self):
        self.state = torch.tensor([1, 2, 3], dtype=torch.uint8)

    def parameters(self):
        yield SimpleNamespace(device=torch.device("cuda:0"))

    def get_rng_state(self):
        return self.state

    def set_rng_state(self, state):
        self.state = state


def test_random_numbers_of_the_device_come_back_too(monkeypatch):
    gpu, generator = Elsewhere(), torch.Generator()
    monkeypatch.setattr(torch, "get_device_module", lambda device: gpu)
    saved = random_state(gpu, generator)
    gpu.state = torch.zeros(3, dtype=torch.uint8)
    set_random_state(gpu, generator, saved)
    assert gpu.state.tolist() == [1, 2, 3]


def test_a_checkpoint_of_another_device_goes_on_here(tmp_path):
    path = save_checkpoint(tmp_path, 3, *trained_state(), {})
    tensors, notes = read_checkpoint(path)
    tensors["random.device"] = torch.zeros(16, dtype=torch.uint8)
    path.write_bytes(safetensors.torch.save(tensors, {"json": json.dumps(notes)}))
    state = some_state()
    assert load_checkpoint(path, *state)[0] == 3
    assert torch.equal(weights(state[0]), weights(trained_state()[0]))


def test_what_an_optimizer_held_before_is_gone(tmp_path):
    path = save_checkpoint(tmp_path, 0, *some_state(), {})
    model, optimizers, generator = trained_state()
    load_checkpoint(path, model, optimizers, generator)
    assert not any(optimizer.state for optimizer in optimizers)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32])
def test_a_run_goes_on_with_the_same_ids_in_other_numbers(tmp_path, dtype):
    straight, resumed = new_model(), new_model(seed=5)
    list(train(straight, IDS, RUN_CONFIG))
    run = train(new_model(), IDS, RUN_CONFIG, folder=tmp_path)
    next(run)
    run.close()
    list(train(resumed, IDS.to(dtype), RUN_CONFIG, folder=tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(straight))


def test_a_folder_with_the_name_of_a_checkpoint_is_none(tmp_path):
    list(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path))
    (tmp_path / "step-99999999.safetensors").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000008.safetensors", "step-00000012.safetensors"]
    resumed = new_model(seed=5)
    list(train(resumed, IDS, RUN_CONFIG, folder=tmp_path, resume=True))


@pytest.mark.parametrize("line", [b"my own notes\n", b'{"event": 1}\n', b"[]\n", b'{"step": 4, "lo'])
def test_a_log_that_is_not_one_of_a_run_stays_and_is_named(tmp_path, line):
    (tmp_path / "log.jsonl").write_bytes(line)
    with pytest.raises(ValueError, match="log.jsonl is no log of a run: it has the line"):
        list(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path))
    assert (tmp_path / "log.jsonl").read_bytes() == line


def test_an_empty_line_in_a_log_does_not_count(tmp_path):
    list(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path))
    before = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(before + b"\n")
    list(train(new_model(), IDS, RUN_CONFIG, folder=tmp_path, resume=True))
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_weights_that_a_step_has_spoiled_replace_no_checkpoint(tmp_path):
    config = replace(RUN_CONFIG, keep=1, n_steps=8)
    list(train(new_model(), IDS, config, folder=tmp_path))
    spoiled = new_model()
    torch.nn.init.constant_(spoiled.norm.weight, math.inf)
    with pytest.raises(FloatingPointError, match="after step 12 the loss on validation is nan"):
        new_record(12, [1.0], 1.0, spoiled, IDS)
