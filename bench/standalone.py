"""How slow a language model in lists is, and how far it learns in five minutes of one core.

Prints a Markdown document, which the appendix on the standard library quotes. The same tokens are written,
and the same steps taken, by `tinyllm/standalone.py` and by the library, one thread each, in turn.
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
from machine import machine

from tinyllm import generation, model, standalone
from tinyllm.loss import cross_entropy

PROMPT, NEW = 32, 100  # tokens
ROUNDS = 5
T, C, WORDS, STEPS = 64, 16, 3000, 1000  # of the small model: context, channels, vocabulary, training
N_HELD_OUT = 40  # stories


def cpu_seconds(*contestants: Callable[[], None], rounds: int = ROUNDS) -> list[float]:
    """The least CPU time that each takes, over rounds in turn."""
    best = [math.inf] * len(contestants)
    for _ in range(rounds):
        for i, run in enumerate(contestants):
            begin = time.process_time()
            run()
            best[i] = min(best[i], time.process_time() - begin)
    return best


def generating() -> tuple[float, float]:
    """Tokens per CPU second of Taleteller, by lists and by the library with its cache, greedy."""
    ours, tokenizer = standalone.load(model.find("taleteller"))
    theirs = model.load("taleteller")
    ids = tokenizer.encode("\n\n" + tales(1000, seed=5))[:PROMPT]
    told = list(standalone.generate(ours, ids, NEW, temperature=0))
    again = generation.generate(theirs, torch.tensor(ids), NEW, temperature=0)
    assert told == again[PROMPT:].tolist()
    return tuple(NEW / seconds for seconds in cpu_seconds(
        lambda: list(standalone.generate(ours, ids, NEW, temperature=0)),
        lambda: generation.generate(theirs, torch.tensor(ids), NEW, temperature=0)))


def learning(words: standalone.Words, ids: list[int]) -> tuple[float, float]:
    """Tokens per CPU second of training steps of the small model, by lists and by torch's Adam."""
    random.seed(0)
    ours = standalone.new_model(len(words.ids), T, 1, 2, C)
    theirs = model.GPT(model.Config(len(words.ids), T, n_layer=1, n_head=2, d_model=C))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.04)
    block = torch.tensor(ids[: T + 1])

    def step() -> None:
        for _ in range(10):
            adam.zero_grad()
            cross_entropy(theirs(block[:-1]), block[1:]).backward()
            adam.step()

    return tuple(10 * T / seconds for seconds in cpu_seconds(
        lambda: list(standalone.train(ours, ids, 10)), step, rounds=3))


def held_out(small: standalone.GPT, words: standalone.Words) -> float:
    """Loss in nats per character of whole stories, each token seeing half a context at least."""
    nats = characters = 0.0
    for tale in islice(tell(1), N_HELD_OUT):
        text = SEPARATOR + tale.text + SEPARATOR
        ids = words.encode("".join(c for c in text if c in words.ids))
        first = len(words.encode(SEPARATOR))
        for start in range(0, max(1, len(ids) - 1 - T // 2), T // 2):
            part = ids[start : start + T + 1]
            rows = standalone.forward(small, part[:-1], standalone.new_cache(small))
            for place, (row, i) in enumerate(zip(rows, part[1:]), start + 1):
                if place >= first and (start == 0 or place > start + T // 2):
                    nats -= math.log(standalone.softmax(row)[i])
        characters += len(tale.text) + len(SEPARATOR)
    return nats / characters


def main() -> None:
    text = tales(1_000_000, seed=0)
    words = standalone.Words(text, WORDS)
    ids = words.encode(text)
    print(f"# A language model in lists\n\n{machine()}.")
    print(f"Tokens per CPU second, one thread, the best of {ROUNDS} rounds in turn (3 for training).")
    print(f"Writing: Taleteller, {NEW} tokens after {PROMPT}, greedy, both with a cache. Learning: a model of one")
    print(f"block and {C} channels, {len(words.ids):,} tokens, a block of {T} in each step, Adam.\n")
    print("| | in lists | by the library | ratio |\n|---|--:|--:|--:|")
    for name, (ours, theirs) in (("writing", generating()), ("learning", learning(words, ids))):
        print(f"| {name} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:,.0f} |", flush=True)
    random.seed(0)
    small = standalone.new_model(len(words.ids), T, 1, 2, C)
    begin, losses = time.process_time(), []
    share = len(ids) / len(text)
    print(f"\nThe small model learns from tales for {STEPS:,} steps, seed 0, in nats per character:\n")
    print("| steps | CPU seconds | mean loss of the last hundred |\n|--:|--:|--:|")
    for step, loss in enumerate(standalone.train(small, ids, STEPS), 1):
        losses.append(loss * share)
        if step in (100, 200, 400, 600, 800, STEPS):
            spent = time.process_time() - begin
            print(f"| {step:,} | {spent:,.0f} | {statistics.mean(losses[-100:]):.2f} |", flush=True)
    print(f"\nOn {N_HELD_OUT} held-out tales: {held_out(small, words):.3f}. At temperature 0.5 it writes:\n")
    told = standalone.generate(small, words.encode("\n\n"), T - 2, 0.5)
    print("> " + b"".join(words.vocab[i] for i in told).decode().strip().replace("\n", " "))


if __name__ == "__main__":
    main()
