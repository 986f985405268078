"""Pieces of a long text for training: what the model sees, and what comes one token later."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def get_batch(
    ids: Tensor,
    batch_size: int,
    block_size: int,
    generator: torch.Generator | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cut `batch_size` blocks at random places from a text.

    `ids` is (N,), of any whole numbers, on any device, in memory or mapped from a file.
    Returns `x` and `y`, both (B, T) = (batch_size, block_size), in 64 bits and on that
    device, where `y[b, t]` is the id that follows `x[b, t]` in the text. Every place is
    equally likely, or every one of `starts` (n,), and blocks may overlap. Raises
    `ValueError` when the text is not longer than a block.

    >>> get_batch(torch.arange(9), batch_size=1, block_size=8)
    (tensor([[0, 1, 2, 3, 4, 5, 6, 7]]), tensor([[1, 2, 3, 4, 5, 6, 7, 8]]))
    """
    if batch_size < 1 or block_size < 1:
        given = f"{batch_size} and {block_size}"
        raise ValueError(f"batch_size and block_size must be at least 1, not {given}")
    if ids.ndim != 1 or len(ids) <= block_size:
        shape = tuple(ids.shape)
        raise ValueError(f"ids must be one text (N,), N > {block_size}, not {shape}")
    n = len(ids) - block_size if starts is None else len(starts)
    device = "cpu" if generator is None else generator.device
    drawn = torch.randint(n, (batch_size, 1), generator=generator, device=device)
    first = drawn if starts is None else starts[drawn.to(starts.device)]
    places = first.to(ids.device) + torch.arange(block_size, device=ids.device)  # (B, T)
    return ids[places].long(), ids[places + 1].long()


def check_text(name: str, ids: Tensor | None) -> None:
    """Raise `ValueError` unless ids are a tensor (N,) of whole numbers, or nothing."""
    if ids is None:
        return
    if not isinstance(ids, Tensor):
        raise ValueError(f"{name} must be a tensor (N,), not {type(ids).__name__}")
    if ids.ndim != 1 or ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"{name} must be whole numbers (N,), not {tuple(ids.shape)} of {ids.dtype}")


def documents(ids: Tensor, separator: Sequence[int]) -> dict[str, Tensor]:
    """What keeps documents apart that stand in one block: arguments of `GPT.forward`.

    Each document begins with `separator`, of one id or more, and one that was cut may stand
    before it. ids is (..., T). `places` (..., T) begin at 0 in each document, and by `mask`
    (..., 1, T, T) a token attends to its own document only. So each gets the logits that it
    would get alone. Nothing is returned where no document begins: torch then has a faster
    routine, which needs no mask.

    >>> documents(torch.tensor([5, 6, 0, 7, 8, 9]), separator=[0])["places"]
    tensor([0, 1, 0, 1, 2, 3])
    """
    begins, T = beginnings(ids, separator), ids.shape[-1]  # (..., T)
    if not begins[..., 1:].any():
        return {}
    place = torch.arange(T, device=ids.device)
    places = place - (place * begins).cummax(-1).values  # since the last beginning
    number = begins.cumsum(-1)  # of the document
    mask = number.unsqueeze(-1) == number.unsqueeze(-2)  # (..., T, T)
    return {"places": places, "mask": mask.unsqueeze(-3)}


def beginnings(ids: Tensor, separator: Sequence[int]) -> Tensor:
    """At which of the ids (..., T) the separator begins: boolean (..., T)."""
    n, T = len(separator), ids.shape[-1]
    if n == 0 or T < n:
        return torch.zeros_like(ids, dtype=torch.bool)
    same = ids.unfold(-1, n, 1) == torch.tensor(separator, device=ids.device)  # (..., T-n+1, n)
    return nn.functional.pad(same.all(-1), (0, n - 1))


class Separate(nn.Module):
    """A model that never looks from one document into another; see `documents`.

    Takes ids (..., T), and returns logits (..., T, V). `module` is the model.
    """

    def __init__(self, model: nn.Module, separator: Sequence[int]) -> None:
        super().__init__()
        self.module, self.separator = model, separator

    def forward(self, ids: Tensor) -> Tensor:
        return self.module(ids, **documents(ids, self.separator))
