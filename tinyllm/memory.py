"""How many bytes a model takes: to be trained, divided among processes or not, and to remember a text."""

import math

import torch
from torch import nn

from tinyllm.model import GPT, Config
from tinyllm.optimizers import Muon, make_optimizers
from tinyllm.train_config import TrainConfig

WIDE = 4  # bytes of a number of 32 bits


def training_bytes(config: Config, how: TrainConfig, n_processes: int = 1) -> dict[str, int]:
    """Bytes of weights, gradients and optimizer states in each of several processes.

    A weight of 32 bits has a gradient of as many; AdamW remembers two numbers for it, and
    Muon one. With `how.shard` each process has its part of all three, or else all of them
    (Rajbhandari et al. 2020 call these stages of ZeRO, of which this is the third). Rows
    are dealt out whole: what is said is what the first process has, and no other has more.
    Activations are not counted, nor the weights of a block while it computes.
    """
    with torch.device("meta"):  # sizes without numbers
        model = GPT(config)
    optimizers = make_optimizers(model, how)
    n_parts = n_processes if how.shard else 1

    def held(p: torch.Tensor) -> int:
        return p[: math.ceil(len(p) / n_parts)].numel()

    n_weights = sum(map(held, model.parameters()))
    n_states = sum(
        held(p) * (1 if isinstance(optimizer, Muon) else 2)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for p in group["params"]
    )
    return {
        "weights": WIDE * n_weights, "gradients": WIDE * n_weights, "optimizer": WIDE * n_states
    }


def bytes_held(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, int]:
    """The same as it is in this process, counted tensor by tensor, without numbers of steps."""
    parameters = list(model.parameters())
    states = [z for opt in optimizers for state in opt.state.values() for z in state.values()]
    kinds = {
        "weights": parameters,
        "gradients": [p.grad for p in parameters if p.grad is not None],
        "optimizer": [z for z in states if z.ndim],
    }
    return {name: sum(map(local_bytes, tensors)) for name, tensors in kinds.items()}


def local_bytes(tensor: torch.Tensor) -> int:
    """Bytes of that part of a tensor that this process has."""
    tensor = tensor.detach()
    return getattr(tensor, "to_local", lambda: tensor)().nbytes


def cache_bytes(n_layer: int, n_kv_head: int, d_head: int, itemsize: int = 2) -> int:
    """What a token of the text so far takes: a key and a value for each head that has them.

    With as many heads as queries have this is multi-head attention (MHA), with fewer it is
    grouped-query attention (GQA), with one multi-query attention (MQA).

    >>> cache_bytes(n_layer=12, n_kv_head=12, d_head=64)  # GPT-2
    36864
    """
    return n_layer * 2 * n_kv_head * d_head * itemsize


def latent_cache_bytes(n_layer: int, d_latent: int, d_rope: int, itemsize: int = 2) -> int:
    """The same for multi-head latent attention (MLA, DeepSeek-AI 2024).

    A layer keeps one vector of d_latent channels, from which keys and values of all heads
    are computed again, and one key of d_rope channels, shared by all heads, that was turned
    by its position: d_c + d_h^R of the paper.

    >>> latent_cache_bytes(n_layer=60, d_latent=512, d_rope=64)  # DeepSeek-V2
    69120
    """
    return n_layer * (d_latent + d_rope) * itemsize
