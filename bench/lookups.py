"""What has to count more for a small model to learn to look a name up, and by how much it then does.

Prints a Markdown document, which chapter 08 shows. Taleteller's configuration learns from the beginnings of
tales for a short time, once with every target counting once, and then with some targets counting ten times:
rare ones, ones that their block has had before, and those that are both.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from unittest.mock import patch

import torch
from course.data import tales
from course.data.tales import SEPARATOR
from course.taleteller import CONFIG, beginnings, held_out, said_again
from machine import machine
from torch import Tensor

from tinyllm import train_config
from tinyllm.model import GPT
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig, can_be_looked_up
from tinyllm.training import train

SIZE = 5_000_000  # characters to learn from
SEED = 0  # another one takes another twenty CPU minutes
MODEL = replace(CONFIG, block_size=128)
RECIPE = TrainConfig(
    n_steps=1300, batch_size=18, lr=0.01, decay=0.2, bf16=True, short=32, growth=1.0, every=10**6
)


def rare(x: Tensor, y: Tensor, rare: Tensor) -> Tensor:
    return rare[y]


def had_before(x: Tensor, y: Tensor, rare: Tensor) -> Tensor:
    return can_be_looked_up(x, y, torch.ones_like(rare))


Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
CONTESTANTS: dict[str, tuple[float, Rule]] = {
    "nothing": (1.0, can_be_looked_up),
    "what is rare": (10.0, rare),
    "what the block has had before": (10.0, had_before),
    "what is both": (10.0, can_be_looked_up),
}


@cache
def corpus() -> tuple[Tokenizer, Tensor]:
    text = tales(SIZE)
    tokenizer = Tokenizer(*train_bpe(text[: SIZE // 2], CONFIG.vocab_size))
    return tokenizer, torch.tensor(tokenizer.encode(text))


def play(name: str) -> float:
    """Train, and return how probable a name is where a held-out story says it once more."""
    (lookups, rule), (tokenizer, ids) = CONTESTANTS[name], corpus()
    torch.manual_seed(SEED)
    model = GPT(MODEL)
    recipe = replace(RECIPE, lookups=lookups, seed=SEED)
    with patch.object(train_config, "can_be_looked_up", rule):
        list(train(model, ids, recipe, starts=beginnings(ids, tokenizer, stories=4)))
    stories = (tokenizer.encode(SEPARATOR + story)[: MODEL.block_size] for story in held_out(200))
    return said_again(model, tokenizer, [torch.tensor(story) for story in stories])


def main() -> None:
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = dict(zip(CONTESTANTS, pool.map(play, CONTESTANTS)))
    print(f"# What has to count more\n\n{machine()}, torch {torch.__version__}.")
    print(f"{RECIPE.n_steps:,} steps of {RECIPE.batch_size * MODEL.block_size:,} tokens, in blocks that grow")
    print(f"from {RECIPE.short} tokens to {MODEL.block_size}; one seed.")
    print("The probability of a name where a story that was held out says it once more.\n")
    print("| ten times counts | probability |\n|---|---:|")
    for name, p in found.items():
        print(f"| {name} | {p:.3f} |")


if __name__ == "__main__":
    main()
