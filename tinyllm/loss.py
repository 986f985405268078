"""How wrong a prediction is: cross-entropy in nats, and the units it is quoted in."""

import math

import torch
from torch import Tensor

UNSIGNED = torch.uint8, torch.uint16, torch.uint32, torch.uint64


def cross_entropy(
    logits: Tensor, targets: Tensor, ignore_index: int = -100, weights: Tensor | None = None
) -> Tensor:
    """Mean surprise at the targets, in nats: -log softmax(logits)[target].

    `logits` is (..., V), `targets` (...) holds ids from 0 to V-1; the result is
    a scalar. Logits of 16 bits are summed in 32. Targets that are `ignore_index` do not
    count. `weights` (...) multiplies each surprise; the sum is divided by the number of
    targets that count, whatever their weights: weights of 1 change nothing, weights of
    2 double the loss. It is 0 where no target counts.
    Raises `ValueError` for shapes that do not fit and, where looking is free, on a CPU,
    for ids outside the vocabulary.

    >>> cross_entropy(torch.zeros(2, 3, 65), torch.zeros(2, 3, dtype=torch.long))
    tensor(4.1744)
    """
    counts = targets != ignore_index  # (...)
    check_targets(logits, targets, counts, weights)
    targets = targets.long().where(counts, 0)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The softmax stays the same whatever is subtracted, and exp cannot overflow.
    logits = logits - logits.detach().amax(dim=-1, keepdim=True)
    log_total = logits.exp().sum(dim=-1).log()  # (...)
    at_target = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (...)
    nats = (log_total - at_target).where(counts, 0)  # (...)
    nats = nats if weights is None else nats * weights
    return nats.sum() / counts.sum().clamp(min=1)


def check_targets(
    logits: Tensor, targets: Tensor, counts: Tensor, weights: Tensor | None
) -> None:
    """Raise `ValueError` unless a loss (...) can be taken of logits (..., V)."""
    vocab_size = logits.shape[-1] if logits.ndim else 0
    if logits.shape[:-1] != targets.shape or not targets.numel() or not vocab_size:
        shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits (..., V) and targets (...) do not fit: {shapes}")
    if weights is not None and weights.shape != targets.shape:
        shapes = f"{tuple(weights.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"weights (...) and targets (...) do not fit: {shapes}")
    if targets.dtype in UNSIGNED:  # compared with such, -100 would be 156 or 65,436
        raise ValueError(f"targets must be of a signed type, such as int64, not {targets.dtype}")
    wrong = targets.is_floating_point()
    if not wrong and targets.device.type == "cpu":  # elsewhere this waits for the device
        wrong = bool(((targets < 0) | (targets >= vocab_size)).logical_and(counts).any())
    if wrong:
        raise ValueError(f"targets must be whole numbers from 0 to {vocab_size - 1}")


def perplexity(nats: float) -> float:
    """Number of equally likely choices that surprise as much as `nats` per token."""
    try:
        return math.exp(nats)
    except OverflowError:  # beyond 709 nats
        return math.inf


def bits_per_byte(nats_per_token: float, n_tokens: int, n_bytes: int) -> float:
    """Loss in bits per byte of text, which can be compared between tokenizers.

    `n_tokens` and `n_bytes` measure one text, the one that was scored.

    >>> bits_per_byte(3.0, n_tokens=1000, n_bytes=4000)
    1.0820212806667227
    """
    if n_bytes <= 0:
        raise ValueError(f"a text of {n_bytes} bytes has no bits per byte")
    return nats_per_token * n_tokens / n_bytes / math.log(2)
