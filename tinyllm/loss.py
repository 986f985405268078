"""How wrong a prediction is: cross-entropy in nats, and the units it is quoted in."""

import math

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise at the targets, in nats: -log softmax(logits)[target].

    `logits` is (..., V), `targets` (...) holds ids from 0 to V-1; the result is
    a scalar. Logits of 16 bits are summed in 32. Raises `ValueError` for shapes
    that do not fit and for ids outside the vocabulary.

    >>> cross_entropy(torch.zeros(2, 3, 65), torch.zeros(2, 3, dtype=torch.long))
    tensor(4.1744)
    """
    vocab_size = logits.shape[-1] if logits.ndim else 0
    if logits.shape[:-1] != targets.shape or not targets.numel() or not vocab_size:
        shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits (..., V) and targets (...) do not fit: {shapes}")
    if targets.is_floating_point() or targets.min() < 0 or targets.max() >= vocab_size:
        raise ValueError(f"targets must be whole numbers from 0 to {vocab_size - 1}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The softmax stays the same whatever is subtracted, and exp cannot overflow.
    logits = logits - logits.detach().amax(dim=-1, keepdim=True)
    log_total = logits.exp().sum(dim=-1).log()  # (...)
    at_target = logits.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)  # (...)
    return (log_total - at_target).mean()


def perplexity(nats: float) -> float:
    """Number of equally likely choices that surprise as much as `nats` per token."""
    return math.exp(nats)


def bits_per_byte(nats_per_token: float, n_tokens: int, n_bytes: int) -> float:
    """Loss in bits per byte of text, which can be compared between tokenizers.

    `n_tokens` and `n_bytes` measure one text, the one that was scored.

    >>> bits_per_byte(3.0, n_tokens=1000, n_bytes=4000)
    1.0820212806667227
    """
    if n_bytes <= 0:
        raise ValueError(f"a text of {n_bytes} bytes has no bits per byte")
    return nats_per_token * n_tokens / n_bytes / math.log(2)
