"""How many random features it takes to do without a trained model's softmax.

Prints a Markdown document, which the chapter on the square of the text shows. The weights of all heads of
Taleteller are estimated from positive random features, with no retraining, and it reads tales that it has not seen.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import math
import sys
import time
from collections.abc import Callable
from itertools import islice

import torch
from course.data.tales import SEPARATOR, tell
from course.data.tales_world import BOYS, GIRLS
from machine import machine
from torch import Tensor

from tinyllm.attention import attention, causal_mask
from tinyllm.features import random_projections
from tinyllm.model import load, load_tokenizer

TALES, SEEDS, HELD_OUT, OTHERS = 6, 2, 1, 2  # the last two are seeds of tales
BLOCK = 4096  # features at a time
MODEL, TOKENIZER = load("taleteller").requires_grad_(False), load_tokenizer("taleteller")
NAMES = torch.tensor([i[0] for name in GIRLS + BOYS if len(i := TOKENIZER.encode(f" {name}")) == 1])
Mix = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def stories(n: int, seed: int) -> list[tuple[Tensor, int]]:
    """Ids (T,) of the first n tales that fit into the context, and their characters."""
    found = []
    for tale in tell(seed):
        ids = torch.tensor(TOKENIZER.encode(SEPARATOR + tale.text + SEPARATOR))
        if len(ids) <= MODEL.config.block_size:
            found.append((ids, len(tale.text + SEPARATOR)))
        if len(found) == n:
            return found


def read(ids: Tensor, mix: Mix) -> Tensor:
    """Logits (T, V), with another way to mix values: mix(layer, q, k, v), each (n_head, T, d)."""
    x, _ = MODEL.position(MODEL.token(ids), slice(len(ids)))
    for layer, block in enumerate(MODEL.blocks):
        heads = mix(layer, *block.attention.heads(block.norm_1(x)))
        x = x + block.attention.out(heads.transpose(-3, -2).flatten(-2))
        x = x + block.mlp(block.norm_2(x))
    return MODEL.head(MODEL.norm(x))


def softmax(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v, causal_mask(q.shape[-2]))


def scaled(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """In 64 bits, with the scale 1/√d shared between the two."""
    return tuple(z.double() / z.shape[-1] ** 0.25 for z in (q, k))


def statistics(n: int = 12) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each layer: mean query and key (n_head, 1, d), E(q+k)(q+k)ᵀ (n_head, d, d) raw and centered."""
    seen = [[] for _ in MODEL.blocks]

    def look(layer, q, k, v):
        seen[layer].append(scaled(q, k))
        return softmax(layer, q, k, v)

    for ids, _ in stories(n, OTHERS):
        read(ids, look)
    found = []
    for pairs in seen:
        a, c = (torch.cat([pair[i] for pair in pairs], -2).mean(-2, keepdim=True) for i in (0, 1))
        found.append((a, c, second_moment(pairs), second_moment([(q - a, k - c) for q, k in pairs])))
    return found


def second_moment(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """E(q+k)(q+k)ᵀ over all pairs of a query and a key not after it, (n_head, d, d)."""
    total, n = 0, 0
    for q, k in pairs:
        T = q.shape[-2]
        after = torch.arange(1, T + 1, dtype=q.dtype)[:, None]
        mixed = q.mT @ k.cumsum(-2)
        total = total + (q * after).mT @ q + (k * after.flip(0)).mT @ k + mixed + mixed.mT
        n += T * (T + 1) // 2
    return total / n


def draws(m: int, d: int, n_head: int, generator: torch.Generator) -> Tensor:
    """m normal vectors for each head (n_head, m, d), at right angles d at a time."""
    return torch.stack([random_projections(m, d, generator=generator) for _ in range(n_head)])


def estimate(layer: int, q: Tensor, k: Tensor, m: int, seed: int, centered: bool, aware: bool) -> Tensor:
    """Weights (n_head, T, T) from m positive random features."""
    a, c, raw, around = STATISTICS[layer]
    q, k = scaled(q, k)
    generator = torch.Generator().manual_seed(1000 * seed + layer)
    key_weight = 0
    if centered:
        key_weight = (k * a).sum(-1)[..., None, :]
        q, k = q - a, k - c
    stretch = torch.zeros(q.shape[0], 1, q.shape[-1], dtype=q.dtype)
    if aware:
        sizes, axes = torch.linalg.eigh(around if centered else raw)
        q, k = q @ axes, k @ axes
        p = 1 + 2 * sizes.clamp(min=0)
        stretch = ((1 - (p + (p**2 + 8 * sizes.clamp(min=0)).sqrt()) / 2) / 8)[:, None]
    rest = (0.25 * (1 - 4 * stretch).log()).sum(-1, keepdim=True)
    total, tops = 0, None
    stretch, rest, q, k = (x.float() for x in (stretch, rest, q, k))
    for part in draws(m, q.shape[-1], q.shape[0], generator).split(BLOCK, 1):
        own = (stretch * part**2).sum(-1)[:, None]  # (n_head, 1, m)
        logs = [x @ (part * (1 - 4 * stretch).sqrt()).mT + own + rest - x.square().sum(-1, keepdim=True) / 2
                for x in (q, k)]
        if tops is None:  # any number will do, it cancels: nothing is added to the sums
            tops = logs[0].amax(-1, keepdim=True), logs[1].amax((-1, -2), keepdim=True)
        f_q, f_k = ((log - top).exp() for log, top in zip(logs, tops))
        total = total + (f_q @ f_k.mT).double()
    w = (total * key_weight.exp() if centered else total).tril()
    return w / w.sum(-1, keepdim=True)


def replaced(m: int, seed: int, centered: bool, aware: bool) -> Mix:
    def mix(layer, q, k, v):
        return estimate(layer, q, k, m, seed, centered, aware).to(v.dtype) @ v

    return mix


def loss_and_name(mix: Mix) -> tuple[Tensor, Tensor, Tensor]:
    """Nats per character (tales,), those of them on names said again, and these names' mean probability."""
    first, losses, on_names, names = len(TOKENIZER.encode(SEPARATOR)), [], [], []
    for ids, size in TEXTS:
        log_p = read(ids[:-1], mix).log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        losses.append(-log_p[first - 1 :].sum() / size)
        again = [i in ids[:t].tolist() for t, i in enumerate(ids.tolist())][1:]
        named = log_p[torch.tensor(again) & torch.isin(ids[1:], NAMES)]
        on_names.append(-named.sum() / size)
        names.append(named.exp())
    return torch.stack(losses), torch.stack(on_names), torch.cat(names).mean()


def total_variation(m: int, seed: int, centered: bool, aware: bool) -> float:
    """Share of the weight that is elsewhere, mean over heads, queries and tales; softmax goes on."""
    moved = []

    def mix(layer, q, k, v):
        answer, w = attention(q, k, v, causal_mask(q.shape[-2]), return_weights=True)
        moved.append((estimate(layer, q, k, m, seed, centered, aware) - w).abs().sum(-1).mean() / 2)
        return answer

    for ids, _ in TEXTS:
        read(ids, mix)
    return torch.stack(moved).mean().item()


KINDS = {
    "as they are": (False, False, (256, 1024, 4096)),
    "as they are, fitted": (False, True, (256, 1024, 4096, 16_384, 65_536)),
    "centered": (True, False, (256, 1024, 4096)),
    "centered, fitted": (True, True, (256, 1024, 4096, 16_384, 65_536)),
}
STATISTICS, TEXTS = statistics(), stories(TALES, HELD_OUT)


def main() -> None:
    start = time.process_time()
    base, base_names, name = loss_and_name(softmax)
    lines = []
    for kind, (centered, aware, sizes) in KINDS.items():
        for m in sizes:
            few = m <= BLOCK
            moved = [total_variation(m, seed, centered, aware) for seed in range(SEEDS if few else 0)]
            runs = [loss_and_name(replaced(m, seed, centered, aware)) for seed in range(SEEDS)]
            more = torch.stack([losses for losses, *_ in runs]) - base  # (seeds, tales)
            error = more.mean(0).std() / math.sqrt(TALES)
            again = torch.stack([names for *_, names in runs])
            on_names = (torch.stack([names for _, names, _ in runs]) - base_names).mean()
            lines.append(
                f"| {kind} | {m:,} | {f'{sum(moved) / SEEDS:.2f}' if few else ''} | {more.mean():+.3f} | {error:.3f}"
                f" | {again.mean():.2f} | {again.max() - again.min():.2f}"
                f" | {on_names:+.3f} | {more.mean() - on_names:+.3f} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    print(f"# Random features for trained heads\n\n{machine()}, torch {torch.__version__},")
    print(f"{time.process_time() - start:,.0f} CPU seconds.")
    print(f"All {MODEL.config.n_layer * MODEL.config.n_head} heads of Taleteller estimated, {TALES} tales of "
          f"{min(len(t) for t, _ in TEXTS)} to {max(len(t) for t, _ in TEXTS)} tokens, {SEEDS} seeds of the features.")
    print(f"With softmax: {base.mean():.3f} nats per character, a name said again {name:.2f}.")
    print("*Moved* is the share of the weight that goes elsewhere, *more* the rise of the loss with the standard error")
    print("over tales of the mean over seeds, *seeds apart* the difference of the two seeds of the probability.")
    print("The last two columns are the two parts of *more*: on names said again, and on all other tokens.\n")
    print("| queries and keys | features | moved | more | standard error | name again | seeds apart | on names | elsewhere |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
