"""How slow a language model in lists is, and how far it learns in five minutes of one core.

Prints a Markdown document, which the appendix on the standard library shows. The same tokens are written, and
the same training steps taken, by `tinyllm/standalone.py` and by the library, one thread each, in turn. How far
lists learn is found without waiting for them: the library takes the steps that they would take, from the same
weights and on the same blocks of text, in 64 bits. That both take the same steps is asserted on the first few.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import math
import random
import statistics
import time
from collections.abc import Callable
from itertools import islice

import torch
from course.data import tales
from course.data.tales import SEPARATOR, tell
from course.taleteller import surprises
from machine import machine

from tinyllm import generation, model, standalone
from tinyllm.loss import cross_entropy

PROMPT, NEW = 32, 100  # tokens
ROUNDS = 5
T, C = 64, 16  # context and channels of the small model
BUDGET = 300  # CPU seconds in lists
VOCABULARIES = {"words": 3000, "characters": 0}  # pieces of the text that are tokens
RATES, SEEDS = [0.01, 0.02, 0.04, 0.08], 3  # the best rate is found with another seed
N_HELD_OUT = 100  # stories


def cpu_seconds(*contestants: Callable[[], None]) -> list[float]:
    """The least CPU time that each takes, over rounds in turn."""
    best = [math.inf] * len(contestants)
    for _ in range(ROUNDS):
        for i, run in enumerate(contestants):
            begin = time.process_time()
            run()
            best[i] = min(best[i], time.process_time() - begin)
    return best


def writing() -> list[float]:
    """Tokens per CPU second of Taleteller, by lists and by the library, both with a cache, greedy."""
    ours, tokenizer = standalone.load(model.find("taleteller"))
    theirs = model.load("taleteller")
    ids = tokenizer.encode("\n\n" + tales(1000, seed=5))[:PROMPT]
    told = list(standalone.generate(ours, ids, NEW, temperature=0))
    assert told == generation.generate(theirs, torch.tensor(ids), NEW, temperature=0)[PROMPT:].tolist()
    return [NEW / seconds for seconds in cpu_seconds(
        lambda: list(standalone.generate(ours, ids, NEW, temperature=0)),
        lambda: generation.generate(theirs, torch.tensor(ids), NEW, temperature=0))]


class Twin:
    """The run of `standalone.train` from a seed, taken by the library in 64 bits."""

    def __init__(self, words: standalone.Words, seed: int) -> None:
        random.seed(seed)
        self.ours = standalone.new_model(len(words.ids), T, 1, 2, C)
        self.model = model.GPT(model.Config(len(words.ids), T, n_layer=1, n_head=2, d_model=C)).double()
        named = dict(self.model.named_parameters())
        for name, p in named.items():
            p.data = torch.tensor(self.ours.weights[name], dtype=torch.float64).view_as(p)
        self.groups = [{"params": [p], "share": 0.1 if name.startswith("blocks.") else 1}
                       for name, p in named.items()]

    def train(self, ids: torch.Tensor, n_steps: int, lr: float) -> list[float]:
        adam, losses = torch.optim.Adam(self.groups), []
        for step in range(n_steps):
            for group in adam.param_groups:
                group["lr"] = group["share"] * lr * min(1.0, 1.5 * (1 - step / n_steps))
            start = random.randrange(len(ids) - T)
            block = ids[start : start + T + 1]
            loss = cross_entropy(self.model(block[:-1]), block[1:])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
        return losses

    def in_lists(self) -> standalone.GPT:
        weights = {name: torch.atleast_2d(p).tolist() for name, p in self.model.named_parameters()}
        return standalone.GPT(weights, 1, 2)


def learning(words: standalone.Words, ids: list[int]) -> list[float]:
    """Training steps per CPU second of the small model, by lists and by the library."""
    lists, library = Twin(words, 0), Twin(words, 0)
    state, block = random.getstate(), torch.tensor(ids)
    mine = list(standalone.train(lists.ours, ids, 5))
    random.setstate(state)
    theirs = library.train(block, 5, 0.04)
    assert all(map(math.isclose, mine, theirs)), (mine, theirs)
    return [5 / seconds for seconds in cpu_seconds(
        lambda: list(standalone.train(lists.ours, ids, 5)), lambda: library.train(block, 5, 0.04))]


def held_out(twin: Twin, words: standalone.Words, seed: int) -> float:
    """Loss in nats per character of whole stories."""
    nats = characters = 0
    first = len(words.encode(SEPARATOR))
    for tale in islice(tell(seed), N_HELD_OUT):
        text = SEPARATOR + tale.text + SEPARATOR
        ids = torch.tensor(words.encode(text))
        nats += float(surprises(twin.model, ids)[first - 1 :].sum())
        characters += len(text) - len(SEPARATOR)
    return nats / characters


def main() -> None:
    text = tales(1_000_000, seed=0)
    print(f"# A language model in lists\n\n{machine()}.")
    print(f"Tokens per CPU second, one thread, the best of {ROUNDS} rounds in turn. Writing: Taleteller, {NEW} tokens")
    print(f"after {PROMPT}, greedy, both with a cache. Learning: a model of one block and {C} channels, a block of")
    print(f"{T} tokens in each step.\n")
    print("| | vocabulary | in lists | library | ratio |\n|---|--:|--:|--:|--:|")
    ours, theirs = writing()
    print(f"| writing | 2,048 | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:,.0f} |", flush=True)
    learned, story = [], ""
    for name, n in VOCABULARIES.items():
        words = standalone.Words(text, n)
        ids = words.encode(text)
        ours, theirs = learning(words, ids)
        print(f"| learning, {name} | {len(words.ids):,} | {T * ours:,.0f} | {T * theirs:,.0f} | "
              f"{theirs / ours:,.0f} |", flush=True)
        n_steps, ids = int(BUDGET * ours), torch.tensor(ids)

        def run(seed: int, lr: float) -> Twin:
            twin = Twin(words, seed)
            twin.train(ids, n_steps, lr)
            return twin

        best = min(RATES, key=lambda lr: held_out(run(SEEDS, lr), words, 2))
        twins = [run(seed, best) for seed in range(SEEDS)]
        losses = [held_out(twin, words, 1) for twin in twins]
        learned.append(f"| {name} | {n_steps:,} | {best:g} | {statistics.mean(losses):.2f} ± "
                       f"{statistics.stdev(losses):.2f} |")
        if n:
            random.seed(0)
            told = list(standalone.generate(twins[0].in_lists(), words.encode("\n\n"), T - 1, 0.5))
            story = b"".join(words.vocab[i] for i in told).decode().strip().replace("\n", " ")
    print(f"\nWhat lists learn from tales in {BUDGET} CPU seconds: nats per character of {N_HELD_OUT} held-out tales,")
    print(f"{SEEDS} seeds, at the best of the rates {', '.join(map(str, RATES))}. The steps are as many as lists take in")
    print("that time; the library took them, in 64 bits, and the first five were seen to be those of the lists.\n")
    print("| tokens | steps | rate | loss |\n|---|--:|--:|--:|", *learned, sep="\n")
    print(f"\nWith words, seed 0, it writes at temperature 0.5:\n\n> {story}")


if __name__ == "__main__":
    main()
