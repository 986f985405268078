"""Time the tokenizer: training against Hugging Face `tokenizers` and recounting, encoding against tiktoken.

Prints a Markdown document. Everything in it was measured in the same run: contestants take turns, and
the best of several rounds counts, in seconds of one CPU.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # before tokenizers is imported: one thread for everybody

import platform
import random
import resource
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import get_context
from time import process_time

import tokenizers
from course.data import manuals
from machine import machine
from tinyllm.tokens import Tokenizer, merge, split, train_bpe

VOCAB_SIZE = 4096
ROUNDS = 5
RECOUNTED = 3  # merges of the recounting trainers that are timed


def theirs(text: str) -> tokenizers.Tokenizer:
    """Train the library's byte-level BPE on the docstrings one by one: it is slower on one long string."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    *docstrings, last = text.split("\n\n\n")
    tokenizer.train_from_iterator([*(docstring + "\n\n\n" for docstring in docstrings), last], trainer)
    return tokenizer


def ours(text: str) -> Tokenizer:
    return Tokenizer(*train_bpe(text, VOCAB_SIZE))


def recount(words: list[tuple[list[int], int]]) -> None:
    """The first merges of a trainer that counts every pair of every word again for each of them."""
    for new in range(256, 256 + RECOUNTED):
        counts = Counter()
        for ids, weight in words:
            for pair in zip(ids, ids[1:]):
                counts[pair] += weight
        best = max(counts, key=counts.get)
        words = [(merge(ids, best, new), weight) for ids, weight in words]


def best_times(contestants: list[Callable[[], object]], rounds: int = ROUNDS) -> list[float]:
    """CPU seconds of each contestant, the best of several rounds in which they take turns."""
    times = [[] for _ in contestants]
    for _ in range(rounds):
        for run, mine in zip(contestants, times):
            start = process_time()
            run()
            mine.append(process_time() - start)
    return [min(mine) for mine in times]


def peak_memory(train: Callable[[str], object], text: str) -> float:
    """MB that a fresh process holds at most while it runs `train`, everything that it imports included."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_train_and_measure, (train, text))


def _train_and_measure(train: Callable[[str], object], text: str) -> float:
    train(text)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if platform.system() == "Darwin" else 1e6 / 1024)


def training_table(samples: dict[str, str]) -> list[str]:
    # First of all, because Linux counts what the parent holds when it starts a child as the child's.
    memory = {
        (name, train): peak_memory(train, text) for name, text in samples.items() for train in (theirs, ours)
    }
    rows = [
        "| text | trainer | seconds | times the first | peak MB | bytes per token |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name, text in samples.items():
        first, second = best_times([lambda: theirs(text), lambda: ours(text)])
        n_bytes = len(text.encode())
        for label, seconds, train, n_tokens in (
            (f"tokenizers {version('tokenizers')} (Rust)", first, theirs, len(theirs(text).encode(text).ids)),
            ("`train_bpe` (Python)", second, ours, len(ours(text).encode(text))),
        ):
            compression = f"{memory[name, train]:.0f} | {n_bytes / n_tokens:.3f}"
            rows.append(f"| {name} | {label} | {seconds:.2f} | {seconds / first:.2f} | {compression} |")
        for label, words in (
            ("recounting each different piece (Python)", Counter(split(text)).items()),
            ("recounting the text (Python)", ((piece, 1) for piece in split(text))),
        ):
            words = [(list(piece), weight) for piece, weight in words]
            seconds = best_times([lambda: recount(words)], rounds=1)[0] / RECOUNTED * (VOCAB_SIZE - 256)
            rows.append(f"| {name} | {label} | {seconds:,.0f} * | {seconds / first:,.0f} * | | |")
    return rows


def encoding_table(samples: dict[str, str], tokenizer: Tokenizer) -> list[str]:
    rows = ["| text | encoder | MB/s | times the first |", "|---|---|--:|--:|"]
    encoding = tokenizer.to_tiktoken()
    for name, text in samples.items():
        assert tokenizer.encode(text) == encoding.encode_ordinary(text)
        contestants = {
            f"our merges in tiktoken {version('tiktoken')} (Rust)": lambda: encoding.encode_ordinary(text),
            "`Tokenizer` (Python)": lambda: Tokenizer(tokenizer.vocab, tokenizer.merges).encode(text),
            "`Tokenizer` (Python), cache filled": lambda: tokenizer.encode(text),
        }
        times = best_times(list(contestants.values()), rounds=3)
        for label, seconds in zip(contestants, times):
            speed = len(text.encode()) / 1e6 / seconds
            rows.append(f"| {name} | {label} | {speed:.2f} | {times[0] / seconds:.2f} |")
    return rows


if __name__ == "__main__":
    text = manuals()
    everything = f"all {len(text) / 1e6:.1f} MB"
    print("# The tokenizer")
    print()
    print(f"{machine()}, regex {version('regex')}.")
    print(f"CPU seconds on one thread, the best of {ROUNDS} rounds in turn.")
    print()
    print(f"## Training, {VOCAB_SIZE:,} tokens from the manuals")
    print()
    print(*training_table({"1 MB": text[:1_000_000], everything: text}), sep="\n")
    print()
    print(f"\\* Extrapolated: the first {RECOUNTED} merges, times {VOCAB_SIZE - 256:,} / {RECOUNTED}.")
    print("Later merges are cheaper, as the text has fewer tokens by then: all take a half to a third of it.")
    print()
    print("## Encoding, tokens from the first 1 MB")
    print()
    letters = "".join(random.Random(0).choices("etaoinshrdlu", k=1_000_000))
    samples = {f"manuals, {everything}": text, "1 MB of letters, no space": letters}
    print(*encoding_table(samples, ours(text[:1_000_000])), sep="\n")
