"""Muon against AdamW for the matrices of the blocks, with all else equal.

Prints a Markdown document, which chapter 08 shows. In every run the embeddings, the head and the norms learn by the
same AdamW at the same rates; only what moves the matrices of the blocks differs. Each contestant gets the rate that is
best for it on a development text, with a seed of its own: the search doubles and halves until the best rate has a worse
one on either side. Then it runs with three seeds, scored on another text. A seed sets first weights and order of the
data, and all contestants share them: what is compared are paired differences.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import json
import sys
from functools import cache
from statistics import mean, stdev

import torch
from course.data import tales
from course.data.tales import floor
from machine import machine
from torch import Tensor

from tinyllm.batches import get_batch
from tinyllm.model import GPT, Config
from tinyllm.optimizers import AdamW, make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import evaluate, train_step

STEPS = 150, 600
SEEDS, SEARCH_SEED = (0, 1, 2), 10
FIRST_RATES = {"Muon": 0.02, "Muon, Q, K, V apart": 0.02, "AdamW": 0.001}
BLOCK_SIZE, BATCH_SIZE, WARMUP = 64, 8, 0.1


@cache
def corpus() -> tuple[int, Tensor, dict[str, Tensor]]:
    """Number of different characters, ids to learn from, and two held-out texts."""
    text, new = tales(2_000_000, seed=0), tales(64_000, seed=1)
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids, held_out = (torch.tensor([number[character] for character in part]) for part in (text, new))
    half = len(held_out) // 2
    return len(number), ids, {"development": held_out[:half], "test": held_out[half:]}


def optimizers_of(kind: str, model: GPT, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Those of the library, with AdamW in Muon's place if it is asked for."""
    muon, rest = make_optimizers(model, config)
    if kind != "AdamW":
        return [muon, rest]
    matrices = [p for group in muon.param_groups for p in group["params"]]
    return [AdamW(matrices, config.lr, betas=(0.9, 0.99), weight_decay=0.0), rest]


@cache
def loss_after(kind: str, lr: float, n_steps: int, seed: int, part: str) -> float:
    """Nats per character on a held-out text."""
    n, ids, held_out = corpus()
    torch.manual_seed(seed)
    model = GPT(Config(n, BLOCK_SIZE, n_layer=2, n_head=2, d_model=64))
    config = TrainConfig(n_steps, BATCH_SIZE, lr=lr, warmup=WARMUP, bf16=True, split_qkv="apart" in kind)
    optimizers, generator = optimizers_of(kind, model, config), torch.Generator().manual_seed(seed)
    for step in range(n_steps):
        train_step(model, optimizers, *get_batch(ids, BATCH_SIZE, BLOCK_SIZE, generator), step, config)
    loss, _ = evaluate(model, held_out[part], BLOCK_SIZE)
    print(json.dumps([kind, lr, n_steps, seed, part, round(loss, 4)]), file=sys.stderr, flush=True)
    return loss


def best_rate(kind: str, n_steps: int, lr: float) -> dict[float, float]:
    """Development losses by rate. The best rate has a worse one on either side."""
    tried = {}
    while True:
        for rate in (lr, lr / 2, lr * 2):
            tried[rate] = loss_after(kind, rate, n_steps, SEARCH_SEED, "development")
        if lr == min(tried, key=tried.get):
            return dict(sorted(tried.items()))
        lr = min(tried, key=tried.get)


def main() -> None:
    print(f"# Muon and AdamW for the matrices of the blocks\n\n{machine()}, torch {torch.__version__}.")
    print(f"Losses in nats per character of held-out tales; the floor is {floor().nats_per_character:.3f}.")
    print(f"2 layers, 64 channels, {BATCH_SIZE} blocks of {BLOCK_SIZE} a step, 16 bits; a tenth of the steps is warm-up,")
    print("in the last 70 % the rate falls to 0. Embeddings, head and norms have the same AdamW and rates everywhere.")
    print("Rates are chosen on a development text with another seed; the losses of the search stand beside them.\n")
    print("| steps | the blocks' matrices by | rate | seed 0 | seed 1 | seed 2 | minus AdamW: mean | standard error | search |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---|", flush=True)
    start = dict(FIRST_RATES)
    for n_steps in STEPS:
        search = {kind: best_rate(kind, n_steps, start[kind]) for kind in start}
        start = {kind: min(tried, key=tried.get) for kind, tried in search.items()}
        losses = {
            kind: [loss_after(kind, lr, n_steps, seed, "test") for seed in SEEDS] for kind, lr in start.items()
        }
        for kind, lr in start.items():
            each = " | ".join(f"{loss:.3f}" for loss in losses[kind])
            pairs = [ours - theirs for ours, theirs in zip(losses[kind], losses["AdamW"])]
            error = f"{stdev(pairs) / len(pairs) ** 0.5:.3f}"
            paired = "| |" if kind == "AdamW" else f"{mean(pairs):+.3f} | {error} |"
            tried = ", ".join(f"{rate:g}: {loss:.3f}" for rate, loss in search[kind].items())
            print(f"| {n_steps} | {kind} | {lr:g} | {each} | {paired} {tried} |", flush=True)


if __name__ == "__main__":
    main()
