"""Checkpoints and logs: a run that was stopped goes on as if nothing had happened."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tinyllm.batches import check_text
from tinyllm.devices import is_main, whole
from tinyllm.files import copy, write
from tinyllm.model import unwrap
from tinyllm.optimizers import AdamW
from tinyllm.train_config import differences

Optimizers = list[torch.optim.Optimizer]


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: nn.Module,
    optimizers: Optimizers,
    generator: torch.Generator,
    about: dict,
    keep: int = 2,
) -> Path:
    """Write all that the next step depends on to one file, whole or not at all.

    That is weights, optimizers and random states. `about` is any JSON: what has to be
    the same when training goes on. Of the checkpoints in the folder the newest `keep`
    stay.
    """
    tensors = training_state(model, optimizers) | random_state(model, generator)
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    notes = {"step": step, "about": about, "optimizers": kinds(optimizers)}
    path = Path(folder, f"step-{step:08}.safetensors")
    write(path, safetensors.torch.save(tensors, {"json": json.dumps(notes)}))
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizers: Optimizers, generator: torch.Generator
) -> tuple[int, dict]:
    """Bring model, optimizers and random states to where they were.

    `path` is a checkpoint, or a folder of which to take the newest. Returns the number
    of steps done and what was said `about` it. Raises `ValueError` for a damaged file
    or one that does not fit; nothing has changed then.
    """
    if not Path(path).is_file():
        if not checkpoints(path):
            raise ValueError(f"there is no checkpoint in {path} to go on from")
        path = checkpoints(path)[-1]
    tensors, notes = read_checkpoint(path)
    if "optimizers" not in notes:
        tensors = named_states(tensors, model, optimizers, path)
    elif notes["optimizers"] != kinds(optimizers):
        there, here = map(", ".join, (notes["optimizers"], kinds(optimizers)))
        raise ValueError(f"{path} does not fit: its optimizers are {there}, not {here}")
    states, random = empty_states(tensors, model, optimizers), random_state(model, generator)
    for name in (tensors.keys() ^ random.keys()) & {"random.device"}:  # another device
        tensors.pop(name, None), random.pop(name, None)
    held = {name: z for state in states for name, (_, _, z) in state.items()}
    copy(tensors, model_state(model) | held | random, path)
    for optimizer, state in zip(optimizers, states):
        optimizer.state.clear()
        for p, key, tensor in state.values():
            optimizer.state[p][key] = tensor
    set_random_state(model, generator, random)
    return notes["step"], notes["about"]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a checkpoint, and its notes. `ValueError` if it is none."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            notes = json.loads(file.metadata()["json"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {error!r}") from error
    return tensors, notes


def training_state(model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    """The tensors that training changes, each with a name, whole and on the CPU."""
    return {name: whole(z).cpu() for name, z in changed_tensors(model, optimizers)}


def gather(model: nn.Module, optimizers: Optimizers) -> None:
    """Hand this process's parts of all tensors to the one that calls `training_state`."""
    for _, tensor in changed_tensors(model, optimizers):
        whole(tensor)


def changed_tensors(model: nn.Module, optimizers: Optimizers) -> Iterator[tuple[str, Tensor]]:
    """The tensors that training changes, as they are here, in the same order everywhere."""
    names = {p: name for name, p in unwrap(model).named_parameters()}
    yield from model_state(model).items()
    for optimizer in optimizers:
        for p, state in optimizer.state.items():
            for key, tensor in state.items():
                yield f"optimizer.{names[p]}.{key}", tensor


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model, also of one that is compiled or wrapped."""
    return {f"model.{name}": p for name, p in unwrap(model).named_parameters()}


def empty_states(
    tensors: dict[str, Tensor], model: nn.Module, optimizers: Optimizers
) -> list[dict[str, tuple[nn.Parameter, str, Tensor]]]:
    """Room for each optimizer's states in a file: by name the weight, the key, a tensor."""
    names = {p: name for name, p in unwrap(model).named_parameters()}
    found = []
    for optimizer in optimizers:
        own = {names[p]: p for group in optimizer.param_groups for p in group["params"]}
        room = {}
        for name, tensor in tensors.items():
            weight, _, key = name.removeprefix("optimizer.").rpartition(".")
            if name.startswith("optimizer.") and weight in own:
                p = own[weight]
                room[name] = p, key, torch.empty_like(p) if tensor.ndim else torch.empty(())
        found.append(room)
    return found


def named_states(
    tensors: dict[str, Tensor], model: nn.Module, optimizers: Optimizers, path: str | Path
) -> dict[str, Tensor]:
    """Name the states of a file from when those of a group of weights had numbers.

    AdamW's were the number of steps, all means, and all means of squares; Muon's were
    all means.
    """
    names = {p: name for name, p in unwrap(model).named_parameters()}
    named = {name: z for name, z in tensors.items() if not name.startswith("optimizer.")}
    groups = [(opt, group["params"]) for opt in optimizers for group in opt.param_groups]
    for i, (optimizer, params) in enumerate(groups):
        adam = isinstance(optimizer, AdamW)
        given = [name for name in tensors if name.startswith(f"optimizer.{i}.")]
        given = [tensors[f"optimizer.{i}.{j}"] for j in range(len(given))]
        if len(given) != (1 + 2 * len(params) if adam else len(params)):
            found = f"its optimizers are not {', '.join(kinds(optimizers))}"
            raise ValueError(f"{path} does not fit: {found}")
        steps = [given.pop(0)] * len(params) if adam else []
        keys = ["step", "exp_avg", "exp_avg_sq"] if adam else ["momentum_buffer"]
        own = [f"optimizer.{names[p]}.{key}" for key in keys for p in params]
        named |= zip(own, steps + given)
    return named


def kinds(optimizers: Optimizers) -> list[str]:
    """The names of the optimizers, the same however many processes share their states."""
    return [type(optimizer).__name__.removeprefix("Sharded") for optimizer in optimizers]


def random_state(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Where torch's own generators of random numbers are, and that of the batches."""
    states = {
        "random.torch": torch.get_rng_state(),
        "random.batches": generator.get_state(),
    }
    device = next(model.parameters()).device
    if device.type in ("cuda", "mps"):
        states["random.device"] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_state(
    model: nn.Module, generator: torch.Generator, state: dict[str, Tensor]
) -> None:
    """Bring generators of random numbers to where `random_state` found them."""
    torch.set_rng_state(state["random.torch"])
    generator.set_state(state["random.batches"])
    if "random.device" in state:
        device = next(model.parameters()).device
        torch.get_device_module(device).set_rng_state(state["random.device"])


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder, the newest last. Files of other names are not ours."""
    found = Path(folder).glob("step-*.safetensors")
    ours = (path for path in found if re.fullmatch(r"step-\d{8}", path.stem, re.ASCII))
    return sorted(path for path in ours if not path.is_dir())


def begin(
    folder: str | Path,
    resume: bool,
    about: dict,
    model: nn.Module,
    optimizers: Optimizers,
    generator: torch.Generator,
) -> int:
    """Find out where a run starts: at step 0, or where it was stopped.

    Records from after that step go, since they will come again.
    """
    if resume:
        start, before = load_checkpoint(folder, model, optimizers, generator)
        for name, (there, here) in differences(before, about).items():
            raise ValueError(f"{folder} was begun with {name} {there!r}, not {here!r}")
    elif checkpoints(folder):
        raise ValueError(f"{folder} holds a run: resume it, or take another folder")
    else:
        start = 0
    if is_main():
        lines = read_lines(folder)
        kept = [line for line in lines if step_of(line, folder) <= start]
        write(Path(folder, "log.jsonl"), b"".join(kept))
    return start


def step_of(line: bytes, folder: str | Path) -> int:
    """The step of a line of a run's log. ValueError for a file that is another's, or damaged."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{folder}/log.jsonl is no log of a run: it has the line {line[:80]!r}") from None


def append_record(folder: str | Path, record: dict) -> None:
    """Add a line of JSON to the log. It is written anew: no line is ever half there."""
    line = json.dumps(record).encode() + b"\n"
    write(Path(folder, "log.jsonl"), b"".join([*read_lines(folder), line]))


def read_lines(folder: str | Path) -> list[bytes]:
    """The lines of a run's log so far."""
    log = Path(folder, "log.jsonl")
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    return [line for line in lines if line.strip()]


def fingerprints(**texts: Tensor | None) -> dict[str, str]:
    """A sha256 for each text (N,), the same for the same ids, however they are stored.

    Raises `ValueError` for what is no row of whole numbers.
    """
    for name, ids in texts.items():
        check_text(name, ids)
    return {name: sha256(ids) for name, ids in texts.items() if ids is not None}


def sha256(ids: Tensor) -> str:
    found = hashlib.sha256()
    for part in ids.split(1 << 20):  # a text may be larger than memory
        found.update(part.long().cpu().numpy().tobytes())
    return found.hexdigest()
