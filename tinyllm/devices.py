"""Where a model is trained: on which device, in how many processes."""

import os
import platform
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; "auto" is CUDA where it exists, or else MPS, or the CPU.

    Among several processes of `torchrun` each has a CUDA device of its own. Raises
    `ValueError` for a device that is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "auto":
        name = next((kind for kind, is_there in there.items() if is_there), "cpu")
    if not there.get(name, True):
        raise ValueError(f"this machine, or this build of torch, has no {name}")
    place = int(os.environ.get("LOCAL_RANK", 0)) if name == "cuda" else None
    return torch.device(name, place)


def has_bf16(device: torch.device) -> bool:
    """Does this device multiply 16-bit matrices faster than 32-bit ones?"""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    can = torch.cpu.get_capabilities()  # the names of x86 and of ARM
    fast = any(can.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return device.type == "cpu" and fast


def machine() -> dict[str, str | int | bool]:
    """What this computer is, and how much of it this process and those beside it use.

    `units` are those that torch multiplies vectors with; `bf16` says whether there are some
    for matrices of 16 bits, which `TrainConfig.bf16` needs to make a difference.
    """
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.split(": ")[1] for line in lines if line.startswith("model name"))
        cpu = next(names, cpu)
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "units": torch.backends.cpu.get_cpu_capability(),
        "bf16": has_bf16(torch.device("cpu")),
        "processes": distributed.get_world_size() if is_distributed() else 1,
        "threads": torch.get_num_threads(),  # of each process
        "system": platform.system(),
    }


def join_processes(device: torch.device) -> None:
    """Meet the other processes, if `torchrun` started this one: by NCCL, gloo, ..."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(distributed.get_default_backend_for_device(device))


def leave_processes() -> None:
    """End what `join_processes` began."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def is_distributed() -> bool:
    """Does this process learn together with others?"""
    started = distributed.is_available() and distributed.is_initialized()
    return started and distributed.get_world_size() > 1


def is_main() -> bool:
    """Is this the process that writes and speaks, or the only one?"""
    return not is_distributed() or distributed.get_rank() == 0


def wrap(model: nn.Module, batch_size: int, shard: bool = False) -> tuple[nn.Module, slice]:
    """What this process learns with, and its rows of each batch: alone, all of them.

    Among several processes each gets the mean of all gradients: of all weights, as soon as
    they are computed (`DistributedDataParallel`); or with `shard` of its part of them, see
    `shard_model`, for which there must be no optimizer yet. Raises `ValueError` unless the
    parts of a batch are equal, since then alone this is the gradient of the whole batch.
    """
    if not is_distributed():
        return model, slice(None)
    n_processes = distributed.get_world_size()
    if batch_size % n_processes:
        parts = f"{n_processes} equal parts, one for each process"
        raise ValueError(f"a batch of {batch_size} cannot be cut into {parts}")
    rows = slice(distributed.get_rank(), None, n_processes)
    if not shard:
        return DistributedDataParallel(model), rows
    for p in model.parameters():  # all begin with the first one's weights, here as there
        distributed.broadcast(p.detach(), 0)
    return shard_model(model), rows


def shard_model(model: nn.Module) -> nn.Module:
    """Leave each process its rows of each weight, and so of gradients and optimizer states.

    The weights of a block are gathered when it computes, forward and again backward, and
    let go after it; gradients are added up and dealt out (Zhao et al. 2023, by torch's
    `fully_shard`). The model is changed in place: its parameters are `DTensor`s now.
    """
    from torch.distributed.fsdp import fully_shard

    inside = getattr(model, "module", model)  # of what reads documents apart
    for block in inside.blocks:
        fully_shard(block)
    # By itself torch keeps what is outside the blocks gathered, for a backward pass right
    # after the forward one. There is none when a model is evaluated.
    fully_shard(inside, reshard_after_forward=True)
    return model


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process has a part, gathered by all; or any other as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def part_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This process's part of a whole tensor, where `other` is one of parts; else all of it."""
    if not is_sharded(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(other.device)
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


def is_sharded(tensor: Tensor) -> bool:
    """Is this a `DTensor`, whose parts are with several processes?"""
    return hasattr(tensor, "full_tensor")


def mean(losses: list[float], device: torch.device) -> float:
    """The mean of these losses, and of those of all other processes."""
    if not is_distributed():
        return sum(losses) / len(losses)
    total = torch.tensor(sum(losses) / len(losses), dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total) / distributed.get_world_size()
