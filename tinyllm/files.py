"""Files: tensors into a model if all of them fit, and data written whole or not at all."""

import os
from pathlib import Path

import torch
from torch import Tensor

from tinyllm.devices import part_like


@torch.no_grad()
def copy(given: dict[str, Tensor], wanted: dict[str, Tensor], source: Path) -> None:
    """Copy the tensors of a file into those of a model, if all of them fit."""
    for name in sorted(given.keys() | wanted.keys()):
        shapes = [
            str(tuple(tensors[name].shape)) if name in tensors else "missing"
            for tensors in (given, wanted)
        ]
        if shapes[0] != shapes[1]:
            there, here = shapes
            differ = f"{name} is {there} there, {here} here"
            raise ValueError(f"{source} does not fit this model: {differ}")
    for name, tensor in wanted.items():
        tensor.copy_(part_like(given[name], tensor))


def to_dtype(name: str, weight: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight in another type, if it has one for it. ValueError where that is another number."""
    if dtype is None or dtype == weight.dtype:
        return weight
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"weights can be of a type such as torch.float16, not {dtype!r}")
    converted = weight.to(dtype)
    if dtype.itemsize <= 2 and not converted.isfinite().all() and weight.isfinite().all():
        largest = weight.abs().max().item()
        raise ValueError(f"{name} has numbers up to {largest:.3g}, more than {dtype} can hold")
    return converted


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
