"""Pieces of a long text for training: what the model sees, and what comes one token later."""

import torch
from torch import Tensor


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
