"""What part of the processor's speed training uses: FLOPs of the model per second, against its best matrix product.

Prints a Markdown document. Everything in it was measured in the same run, in CPU seconds of one thread.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time

import torch
from machine import machine
from tinyllm.batches import get_batch
from tinyllm.devices import has_bf16
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from time_to_loss import LONG, SOON, TRAINING

STEPS = 30
SIZES = [
    SOON,
    LONG["float32"],
    (Config(2048, 256, n_layer=6, n_head=4, d_model=128), TrainConfig(n_steps=STEPS, batch_size=16)),
]


def seconds(run: Callable[[], object], rounds: int) -> list[float]:
    """CPU seconds of each of several runs, after one that is not counted."""
    run()
    times = []
    for _ in range(rounds):
        start = process_time()
        run()
        times.append(process_time() - start)
    return times


def peak(dtype: torch.dtype) -> float:
    """FLOPs per second of the fastest of several square matrix products, the best of ten times each."""
    fastest = 0.0
    for n in (256, 512, 1024, 2048):
        a, b = torch.randn(2, n, n).to(dtype)
        fastest = max(fastest, 2 * n**3 / min(seconds(lambda: a @ b, rounds=10)))
    return fastest


def training_speed(config: Config, recipe: TrainConfig) -> float:
    """Tokens per second of a step of training with all that belongs to it, the median of several steps."""
    torch.manual_seed(0)
    model = GPT(config)
    optimizers = make_optimizers(model, recipe)
    ids = TRAINING % config.vocab_size

    def step() -> None:
        x, y = get_batch(ids, recipe.batch_size, config.block_size)
        train_step(model, optimizers, x, y, 0, recipe)

    return recipe.batch_size * config.block_size / median(seconds(step, STEPS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("# FLOPs of training")
    print()
    print(f"{machine()}, torch {torch.__version__}.")
    print(f"CPU seconds on one thread, the median of {STEPS} steps.")
    print()
    print("| layers | channels | vocabulary | context | batch | parameters | type | tokens/s | GFLOP/s | peak | of the peak |")
    print("|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|")
    modes = {"float32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16(torch.device("cpu")) else {})
    for mode, dtype in modes.items():
        best = peak(dtype)
        for config, recipe in SIZES:
            speed = training_speed(config, replace(recipe, bf16=mode == "bf16"))
            used = 3 * flops_per_token(config) * speed
            sizes = (config.n_layer, config.d_model, config.vocab_size, config.block_size, recipe.batch_size)
            cells = [*map(str, sizes), f"{n_parameters(config) / 1e6:.2f} M", mode, f"{speed:,.0f}"]
            cells += [f"{used / 1e9:.0f}", f"{best / 1e9:.0f}", f"{used / best:.0%}"]
            print(f"| {' | '.join(cells)} |")
