"""How weights are changed: AdamW, Muon, the learning rate of each step, and clipping."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinyllm.devices import is_sharded, part_like, whole

if TYPE_CHECKING:
    from tinyllm.train_config import TrainConfig


class AdamW(torch.optim.Optimizer):
    r"""Steps of about lr for each weight, whatever the size of its gradient g.

        m ← β₁ m + (1-β₁) g            v ← β₂ v + (1-β₂) g²
        m̂ = m / (1-β₁ᵗ)                v̂ = v / (1-β₂ᵗ)
        θ ← θ - lr λ θ - lr m̂ / (√v̂ + ε)              (Loshchilov and Hutter 2019)

    A weight without a gradient stays, and so do its means and its number of steps t.
    """

    def __init__(
        self, params: Iterable, lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights by their `grad`."""
        for group in self.param_groups:
            lr, (beta_1, beta_2) = group["lr"], group["betas"]
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(p)
                    state["exp_avg_sq"] = torch.zeros_like(p)
                t, m, v = state["step"].add_(1), state["exp_avg"], state["exp_avg_sq"]
                m.lerp_(p.grad, 1 - beta_1)
                v.mul_(beta_2).addcmul_(p.grad, p.grad, value=1 - beta_2)
                p.mul_(1 - lr * group["weight_decay"])
                scale = (v / (1 - beta_2 ** int(t))).sqrt_().add_(group["eps"])
                p.addcdiv_(m, scale, value=-lr / (1 - beta_1 ** int(t)))


def orthogonalize(G: Tensor, n_steps: int = 4) -> Tensor:
    r"""Bring all singular values of a matrix near 1: from U S Vᵀ almost to U Vᵀ.

        X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X          n_steps times, from X = G / |G|

    This sends each singular value s to a s + b s³ + c s⁵ and leaves U and V as they
    are (Newton-Schulz). The coefficients pull small values up fast, and end near 1
    instead of at 1 (Jordan 2024, kellerjordan.github.io/posts/muon).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G if G.shape[0] <= G.shape[1] else G.T  # X Xᵀ is then the smaller product
    X = X / (X.norm() + 1e-7)

    def factor(A: Tensor) -> Tensor:  # a step is X ← factor(X Xᵀ) X
        return a * torch.eye(len(A), dtype=A.dtype, device=A.device) + b * A + c * A @ A

    A = X @ X.T
    P = factor(A)
    for _ in range(n_steps - 1):
        P = factor(P @ A @ P) @ P  # after some steps P X stands for X, P A P for X Xᵀ
    return P @ X if G.shape[0] <= G.shape[1] else (P @ X).T


class Muon(torch.optim.Optimizer):
    r"""Steps that turn a matrix of weights equally far in all directions.

        B ← μ B + (1-μ) G
        W ← W - lr λ W - lr √max(1, rows/columns) · orthogonalize(μ B + (1-μ) G)

    A gradient is mostly a few directions that are much longer than all others. Here
    every direction counts alike (Jordan 2024, kellerjordan.github.io/posts/muon).
    `split`, an option of a group, says how many rows at a time are a matrix of their
    own: (C, C, C) turns the queries, keys and values of a fused W_QKV apart.
    """

    def __init__(
        self, params: Iterable, lr: float = 0.03, momentum: float = 0.9,
        weight_decay: float = 0.0, split: Sequence[int] | None = None,
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, split=split)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        check_matrices(**self.param_groups[-1])

    @torch.no_grad()
    def step(self) -> None:
        """Change the matrices by their `grad`."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                B = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
                direction = p.grad.lerp(B, momentum)
                p.mul_(1 - lr * group["weight_decay"])
                self.turn(p, direction, lr, group["split"] or [len(p)])

    def turn(self, p: Tensor, direction: Tensor, lr: float, rows: Sequence[int]) -> None:
        """Turn a matrix, or each of those that so many of its rows are."""
        for W, G in zip(p.split(rows), direction.split(rows)):
            W.add_(orthogonalize(G), alpha=-lr * max(1, W.shape[0] / W.shape[1]) ** 0.5)


class ShardedMuon(Muon):
    """Muon for matrices of which each process holds some rows; see `devices.shard_model`.

    Momentum stays with the rows. But no part of a matrix can be turned without the rest: so
    direction and matrix are gathered, one matrix at a time, and every process computes the
    same step and keeps its rows of it. AdamW needs none of this: each weight goes alone.
    """

    def turn(self, p: Tensor, direction: Tensor, lr: float, rows: Sequence[int]) -> None:
        W = whole(p)
        super().turn(W, whole(direction), lr, rows)
        p.copy_(part_like(W, p))


def check_matrices(params: list[Tensor], split: Sequence[int] | None, **_) -> None:
    """Raise `ValueError` unless a group of Muon's holds matrices that `split` cuts whole."""
    shapes = [tuple(p.shape) for p in params]
    if wrong := [shape for shape in shapes if len(shape) != 2]:
        raise ValueError(f"Muon is for matrices, not for weights of {wrong}")
    if split and (wrong := [shape for shape in shapes if shape[0] != sum(split)]):
        raise ValueError(f"split {tuple(split)} does not cut the rows of {wrong}")


def learning_rate(
    step: int, n_steps: int, peak: float = 1.0, n_warmup: int = 0,
    n_decay: int | None = None, final: float = 0.0, shape: str = "cosine",
) -> float:
    """The rate of step 0, ..., n_steps - 1: warmup-stable-decay, or without a stable part.

    warmup: in a straight line to `peak`, which step n_warmup is the first to have.
    stable: `peak`. decay: in the last n_decay steps to `final`, which step n_steps would
    have, as a "cosine" or a "linear" one. Without n_decay all that is left is decay.
    With peak 1 it is a factor, as torch's `LambdaLR` takes it.

    >>> warmup_stable_decay = dict(n_warmup=4, n_decay=4, shape="linear")
    >>> [learning_rate(step, 10, peak=8.0, **warmup_stable_decay) for step in range(10)]
    [1.6, 3.2, 4.8, 6.4, 8.0, 8.0, 8.0, 6.0, 4.0, 2.0]
    """
    n_decay = n_steps - n_warmup if n_decay is None else n_decay
    if not 0 <= step <= n_steps:
        raise ValueError(f"step must be from 0 to n_steps = {n_steps}, not {step}")
    if min(n_warmup, n_decay) < 0 or n_warmup + n_decay > n_steps:
        phases = f"{n_warmup} steps of warmup and {n_decay} of decay"
        raise ValueError(f"{phases} do not fit into {n_steps}")
    if shape not in ("cosine", "linear"):
        raise ValueError(f'shape must be "cosine" or "linear", not {shape!r}')
    if step < n_warmup:
        return peak * (step + 1) / (n_warmup + 1)
    left = min(1.0, (n_steps - step) / n_decay) if n_decay else 1.0  # of the way down
    height = left if shape == "linear" else (1 - math.cos(math.pi * left)) / 2
    return final + (peak - final) * height


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Shorten the gradient of all parameters together to max_norm, if it is longer.

    Returns the norm that it had.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return 0.0
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale)
    return float(norm)


def make_optimizers(model: nn.Module, config: "TrainConfig") -> list[torch.optim.Optimizer]:
    """Muon for the matrices of `model.blocks`, and AdamW for what is left, or for all.

    With Muon the embeddings learn at 0.02, and the head and the norms at 0.003 where
    there are 128 channels, at twice that where there are half as many: a logit is a sum
    over channels, and a step of Adam moves each weight of it about equally far.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        decay = 0.1 if config.weight_decay is None else config.weight_decay
        matrices = {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay}
        gains = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
        return [AdamW([matrices, gains], config.lr, betas=(0.9, 0.99))]
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    inside = {id(p) for p in model.blocks.parameters() if p.ndim == 2} - tables
    matrices = [p for p in parameters if id(p) in inside]
    embeddings = [p for p in parameters if id(p) in tables]
    rest = [p for p in parameters if id(p) not in inside | tables]
    splits = qkv_rows(model.blocks) if config.split_qkv else {}
    groups = [
        {"params": [p for p in matrices if splits.get(id(p)) == split], "split": split}
        for split in [None, *sorted(set(splits.values()))]
    ]
    rates = 0.02, 0.003 * 128 / model.config.d_model
    adam = [{"params": ps, "lr": lr} for ps, lr in zip((embeddings, rest), rates)]
    muon = ShardedMuon if any(map(is_sharded, matrices)) else Muon
    return [
        muon(groups, config.lr, weight_decay=config.weight_decay or 0.0),
        AdamW(adam, betas=(0.9, 0.99), weight_decay=0.0),
    ]


def qkv_rows(blocks: nn.Module) -> dict[int, tuple[int, int, int]]:
    """How many rows of each fused W_QKV make queries, keys and values, by its id."""
    found = {}
    for layer in (layer for layer in blocks.modules() if hasattr(layer, "qkv")):
        rows, n_queries = len(layer.qkv.weight), layer.out.weight.shape[1]
        found[id(layer.qkv.weight)] = n_queries, *[(rows - n_queries) // 2] * 2
    return found
