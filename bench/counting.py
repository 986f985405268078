"""How far a model gets that only counts, with the text and the tokens that Taleteller learned from.

Prints a Markdown document. Kneser-Ney models of several lengths and discounts count Taleteller's tokens in a
part of its text or in all of it. They read another story before each, as in that text: left of the blank line
alone few different tokens stand, so of how a story begins their shorter contexts would know little. On stories
for development the best of them is chosen, on held-out ones it is scored, story by story, beside Taleteller and
beside the exact log-probability of each story.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from course.data import tales
from course.data.tales import SEPARATOR, Tale, score, tell
from course.taleteller import HELD_OUT_SEED, SEED, SIZE, surprises
from machine import machine

from tinyllm.counting import NGram
from tinyllm.model import load, load_tokenizer

SETTINGS = [(order, discount) for order in (4, 6, 8, 10) for discount in (0.75, 0.9)]
FOR_ALL_TEXT = [(8, 0.9), (10, 0.9), (12, 0.9)]  # each takes minutes and gigabytes
SIZES = [1_000_000, 3_000_000, 10_000_000, 30_000_000, SIZE]  # characters to count in
DEVELOPMENT_SEED, N_DEVELOPMENT, N_HELD_OUT = 2, 300, 1000
BEFORE_SEED = 3  # its first story stands before each that is counted


def above(nats: Callable[[str], float], told: list[Tale]) -> tuple[float, float, float]:
    """Loss in nats per character; how far it is above the stories' own; standard error of that difference."""
    found = score([nats(tale.text) for tale in told], told)
    return found.loss, found.excess, found.excess_error


def main() -> None:
    tokenizer, model = load_tokenizer("taleteller"), load("taleteller")
    encode = tokenizer.to_tiktoken().encode_ordinary
    first, before = len(encode(SEPARATOR)), encode(next(tell(BEFORE_SEED)).text)
    development = list(islice(tell(DEVELOPMENT_SEED), N_DEVELOPMENT))
    held_out = list(islice(tell(HELD_OUT_SEED), N_HELD_OUT))

    def counted(counts: NGram) -> Callable[[str], float]:
        return lambda story: -counts.log_prob(before + encode(SEPARATOR + story + SEPARATOR))[len(before) + first :].sum()

    def learned(story: str) -> float:
        ids = torch.tensor(encode(SEPARATOR + story + SEPARATOR))
        return float(surprises(model, ids)[first - 1 :].sum())

    print(f"# Counting, with Taleteller's text and tokens\n\n{machine()}.")
    print("Interpolated Kneser-Ney, n of 4, 6, 8, 10 and discount of 0.75, 0.9 (with all text: n of 8, 10, 12 and 0.9),")
    print(f"chosen on {N_DEVELOPMENT} stories for development; scored on {N_HELD_OUT:,} others, in nats per character.")
    print("The counts read another story before each; Taleteller, which learned each by itself, does not.")
    print("Above the floor: mean difference from each story's own exact log-probability, and its standard error.\n")
    print("| model | counted in, characters | loss | above the floor | standard error |\n|---|---:|---:|---:|---:|")
    text = tales(SIZE, SEED)
    for size in SIZES:
        ids = np.array(encode(text[:size]))
        settings = FOR_ALL_TEXT if size == SIZE else SETTINGS
        best = min(settings, key=lambda s: above(counted(NGram(ids, s[0], 2048, s[1], True)), development)[0])
        loss, extra, error = above(counted(NGram(ids, best[0], 2048, best[1], True)), held_out)
        name = f"{best[0]}-gram, discount {best[1]}"
        print(f"| {name} | {size:,} | {loss:.4f} | {extra:.4f} | {error:.4f} |", flush=True)
    loss, ours, error = above(learned, held_out)
    print(f"| Taleteller | | {loss:.4f} | {ours:.4f} | {error:.4f} |\n")
    print(f"Of what the best count leaves above the floor, Taleteller closes {100 * (1 - ours / extra):.1f} %.")


if __name__ == "__main__":
    main()
