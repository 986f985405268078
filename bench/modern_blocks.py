"""What each part of a modern block buys: one exchange at a time, three paired seeds.

Prints a Markdown document. A run is a number of steps, not of seconds, so that the losses do not depend on how busy
the machine is. With the same seed two models see the same blocks of text in the same order; their weights begin
differently where their shapes do. Every exchange is trained at the rates that suit the base (chapter 07's model), and
at half of them, so that no part wins because a rate happens to suit it.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from collections.abc import Callable
from dataclasses import replace
from time import process_time

import torch
from course.data import tales
from machine import machine
from tinyllm.batches import get_batch
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from torch import Tensor

T, LONG, STEPS, BATCH, SEEDS = 64, 256, 250, 8, 3
RATES = (1.0, 0.5)
BASE = dict(n_layer=2, n_head=4, d_model=64)
Change = Callable[[Config], Config]
CHANGES: dict[str, Change] = {
    "the model of chapter 07": lambda c: c,
    "RMSNorm": lambda c: replace(c, norm="rms"),
    "RoPE": lambda c: replace(c, positions="rope"),
    "no positions": lambda c: replace(c, positions="none"),
    "SwiGLU": lambda c: replace(c, mlp="swiglu"),
    "2 keys and values for 4 queries": lambda c: replace(c, n_kv_head=2),
    "QK-norm": lambda c: replace(c, qk_norm=True),
    "tied heads": lambda c: replace(c, tie_weights=True),
    "RMSNorm, RoPE, SwiGLU, 2 for 4, QK-norm": lambda c: replace(
        c, norm="rms", positions="rope", mlp="swiglu", n_kv_head=2, qk_norm=True
    ),
}


def learn(config: Config, ids: Tensor, seed: int, rate: float) -> GPT:
    """A model after STEPS steps on blocks of T letters."""
    torch.manual_seed(seed)
    model, generator = GPT(config), torch.Generator().manual_seed(seed)
    how = TrainConfig(STEPS, BATCH, lr=0.03, split_qkv=True)
    optimizers = make_optimizers(model, how)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] *= rate
    for step in range(STEPS):
        train_step(model, optimizers, *get_batch(ids, BATCH, T, generator), step, how)
    return model.eval()


@torch.no_grad()
def by_position(model: GPT, ids: Tensor) -> Tensor:
    """The loss at each of LONG positions, (LONG,), in nats per letter."""
    n = (len(ids) - 1) // LONG
    x, y = (ids[i : i + n * LONG].view(n, LONG) for i in (0, 1))
    losses = [-model(a).log_softmax(-1).gather(-1, b[..., None])[..., 0] for a, b in zip(x.split(64), y.split(64))]
    return torch.cat(losses).mean(0)


@torch.no_grad()
def within(model: GPT, ids: Tensor) -> float:
    """The loss on blocks as long as those of the training."""
    n = (len(ids) - 1) // T
    x, y = (ids[i : i + n * T].view(n, T) for i in (0, 1))
    return float(cross_entropy(model(x), y))


def difference(ours: Tensor, base: Tensor) -> str:
    """Paired differences: their mean, its standard error, and the word noise where that is as large."""
    d = ours - base
    mean, error = d.mean(), d.std() / len(d) ** 0.5
    return f"{mean:+.3f} (standard error {error:.3f})" + (", noise" if abs(mean) < 3 * error else "")


def main() -> None:
    text, held_out = tales(1_000_000), tales(60_000, seed=1)
    alphabet = sorted(set(text + held_out))
    ids, test = (torch.tensor([alphabet.index(c) for c in z]) for z in (text, held_out))
    base = Config(len(alphabet), LONG, **BASE)
    loss, places, began = {}, {}, process_time()
    for rate in RATES:
        for name, change in CHANGES.items():
            models = [learn(change(base), ids, seed, rate) for seed in range(SEEDS)]
            loss[name, rate] = torch.tensor([within(model, test) for model in models])
            if "osition" in name or name in ("RoPE", next(iter(CHANGES))):
                places[name, rate] = torch.stack([by_position(model, test) for model in models])
            print(f"{process_time() - began:.0f} s {rate} {name} {loss[name, rate].tolist()}", file=os.sys.stderr, flush=True)
    spent = process_time() - began
    first = next(iter(CHANGES))
    print(f"# What each part of a modern block buys\n\n{machine()}, torch {torch.__version__}, {spent:.0f} CPU seconds.")
    print(f"{base.n_layer} layers, {base.d_model} channels, {base.n_head} heads; {STEPS} steps of {BATCH} blocks of {T}")
    print(f"letters of the tales, Muon; held-out loss in nats per letter, {SEEDS} paired seeds. The base at the")
    print("full rate: " + ", ".join(f"{x:.3f}" for x in loss[first, 1.0].tolist()) + ", and at half of it: "
          + ", ".join(f"{x:.3f}" for x in loss[first, 0.5].tolist()) + ".")
    print("A difference below three of its standard errors is marked as noise, which is not to say equal: with three seeds there")
    print("are two degrees of freedom, a 95 % interval reaches 4.3 standard errors to either side, and a difference of nothing goes")
    print("beyond three of them one time in ten.\n")
    print("| one exchange | parameters | FLOPs per token | cache, bytes per token | loss − base | at half the rate |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, change in CHANGES.items():
        c = change(base)
        cache = 2 * c.n_layer * (c.n_kv_head or c.n_head) * (c.d_model // c.n_head) * 2
        found = ["" if name == first else difference(loss[name, r], loss[first, r]) for r in RATES]
        sizes = f"{n_parameters(c):,} | {flops_per_token(replace(c, block_size=T)):,} | {cache:,}"
        print(f"| {name} | {sizes} | {found[0]} | {found[1]} |")
    print(f"\n(FLOPs of a forward pass at {T} tokens; bytes at two per number.)\n\n## Longer than it was trained\n")
    print(f"Trained on {T} letters, read over {LONG}: nats per letter at positions, mean of {SEEDS} seeds.\n")
    ends = range(0, LONG, 32)
    print("| | rate | " + " | ".join(f"{a + 1}-{a + 32}" for a in ends) + " |\n|---|--:|" + "--:|" * len(ends))
    for (name, rate), runs in places.items():
        cells = " | ".join(f"{runs[:, a : a + 32].mean():.2f}" for a in ends)
        print(f"| {name} | {rate} | {cells} |")


if __name__ == "__main__":
    main()
