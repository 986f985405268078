"""What each change to a trainer buys: the loss that one thread reaches in a fixed budget of CPU seconds.

One thing is changed at a time, except where the name of a row says more: with AdamW for all weights, embeddings, head
and norms have one rate with the matrices, and weights decay. `optimizers.py` compares optimizers with all else equal.

Prints a Markdown document, which chapter 08 shows. All contestants learn the characters of `tales`. A step of
each is timed first, in turns, and the best of several rounds counts: so the number of steps that the budget
pays for does not depend on what else the machine does. Then each trains for that many steps, with three seeds,
as many runs side by side as there are cores.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import ast
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from time import process_time
from unittest.mock import patch

import torch
from course.data import tales
from course.data.tales import floor
from machine import machine
from torch import Tensor
from torch.nn import functional as F

from tinyllm.attention import attention, causal_mask
from tinyllm.batches import get_batch
from tinyllm.devices import has_bf16
from tinyllm.model import GPT, Config
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import evaluate, train, train_step

SECONDS = 20
SEEDS = 3
ROUNDS, TIMED = 8, 5  # rounds of timing, and steps in each
CHAPTER = Path(__file__).resolve().parent.parent / "chapters" / "08_training.py"


@dataclass(frozen=True)
class Contestant:
    """A change to the base: to its recipe, its context, its model, or its attention."""

    recipe: dict = field(default_factory=dict)
    block_size: int = 64
    pairs: bool = False
    own_attention: bool = False


ADAMW = dict(optimizer="adamw")
COSINE = dict(shape="cosine", decay=0.98)
CONTESTANTS = {
    "the base": Contestant(),
    "12 blocks in a batch, not 24": Contestant(dict(batch_size=12)),
    "48 blocks in a batch": Contestant(dict(batch_size=48)),
    "48 blocks of 32": Contestant(dict(batch_size=48), block_size=32),
    "12 blocks of 128": Contestant(dict(batch_size=12), block_size=128),
    "32 bits, not 16": Contestant(dict(bf16=False)),
    "AdamW at 0.003 for all weights, with decay": Contestant(ADAMW | dict(lr=0.003)),
    "AdamW at 0.01 for all weights, with decay": Contestant(ADAMW | dict(lr=0.01)),
    "cosine, not flat and linear": Contestant(COSINE),
    "no decay at all": Contestant(dict(decay=0.0)),
    "the book's own attention": Contestant(own_attention=True),
    "token-pair embeddings": Contestant(pairs=True),
    "AdamW for all weights, 32 bits, cosine": Contestant(ADAMW | COSINE | dict(lr=0.003, bf16=False)),
}
BASE = TrainConfig(n_steps=100, batch_size=24, bf16=True)


def own_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """What `tinyllm.attention.fused_attention` computes, by the book's own lines, which hold all weights."""
    return attention(q, k, v, causal_mask(q.shape[-2]) if causal else mask)


@cache
def corpus() -> tuple[int, Tensor, Tensor]:
    """Number of different characters, ids to learn from, and held-out ids."""
    text, new = tales(2_000_000, seed=0), tales(64_000, seed=1)
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids, held_out = (torch.tensor([number[character] for character in part]) for part in (text, new))
    return len(number), ids, held_out


def from_chapter(*names: str) -> dict:
    """Definitions that the chapter types, so that they stand in one place."""
    tree = ast.parse(CHAPTER.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    found = {"torch": torch, "nn": torch.nn, "F": F, "GPT": GPT, "Config": Config, "Tensor": Tensor}
    exec(compile(tree, CHAPTER, "exec"), found)
    return found


def start(contestant: Contestant, n_steps: int, seed: int) -> tuple[GPT, TrainConfig]:
    """A model before its first step, and how it will be trained."""
    config = Config(corpus()[0], contestant.block_size, n_layer=3, n_head=4, d_model=128)
    torch.manual_seed(seed)
    model = from_chapter("PairEmbedding", "PairGPT")["PairGPT"](config) if contestant.pairs else GPT(config)
    return model, replace(BASE, n_steps=n_steps, every=n_steps, seed=seed, **contestant.recipe)


def attention_of(contestant: Contestant):
    return patch("tinyllm.attention.fused_attention", own_attention) if contestant.own_attention else nullcontext()


def seconds_per_step() -> dict[str, float]:
    """CPU seconds of a step of each contestant, the best of several rounds in which they take turns."""
    (_, ids, _), runs, best = corpus(), {}, {}
    for name, contestant in CONTESTANTS.items():
        model, recipe = start(contestant, 1000, seed=0)
        runs[name] = (contestant, model, make_optimizers(model, recipe), recipe)
    for _ in range(ROUNDS):
        for name, (contestant, model, optimizers, recipe) in runs.items():
            with attention_of(contestant):
                began = process_time()
                for step in range(TIMED):
                    x, y = get_batch(ids, recipe.batch_size, contestant.block_size)
                    train_step(model, optimizers, x, y, step, recipe)
            best[name] = min(best.get(name, 1e9), (process_time() - began) / TIMED)
    return best


def held_out_loss(name: str, n_steps: int, seed: int) -> float:
    """Nats per character after training."""
    contestant, (_, ids, held_out) = CONTESTANTS[name], corpus()
    model, recipe = start(contestant, n_steps, seed)
    with attention_of(contestant):
        for _ in train(model, ids, recipe):
            pass
        return evaluate(model, held_out, contestant.block_size)[0]


def main() -> None:
    n_steps = {name: round(SECONDS / seconds) for name, seconds in seconds_per_step().items()}
    runs = [(name, n_steps[name], seed) for name in CONTESTANTS for seed in range(SEEDS)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        losses = dict(zip(runs, pool.map(held_out_loss, *zip(*runs))))

    units = "with bf16 units" if has_bf16(torch.device("cpu")) else "without bf16 units: 16 bits are 32 here"
    print(f"# What each change buys\n\n{machine()}, torch {torch.__version__}, {units}.")
    print(f"{SECONDS} CPU seconds on one thread for each run, on characters of the tales.")
    print(f"Losses in nats per character, held out; the floor is {floor().nats_per_character:.3f}.")
    print("The base: 3 layers, 128 channels, 24 blocks of 64, 16 bits, Muon, flat and then linear to zero.\n")
    seeds = " | ".join(f"seed {seed}" for seed in range(SEEDS))
    print(f"| change | steps | {seeds} | mean | above the base |\n|---|{'---:|' * (SEEDS + 3)}")
    for name in CONTESTANTS:
        mine, base = (
            [losses[which, n_steps[which], seed] for seed in range(SEEDS)] for which in (name, "the base")
        )
        each = " | ".join(f"{loss:.3f}" for loss in mine)
        print(f"| {name} | {n_steps[name]:,} | {each} | {mean(mine):.3f} | {mean(mine) - mean(base):+.3f} |")


if __name__ == "__main__":
    main()
