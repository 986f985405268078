"""What experts buy at equal FLOPs per token: a dense model beside mixtures of which one or two experts answer.

`python bench/experts.py run` trains what `experts.jsonl` does not hold yet, and adds a line for each run as soon as it
is finished, so that it can be stopped and started again (`run 1 2`: these seeds). `python bench/experts.py` prints a
Markdown document of them.

All learn from the same texts of `course.data.bindings` in the same order (paired seeds), of which the probability of
every token is known. Their language has a thousand words, each with its own four to follow: that is much to know by
heart, and next to nothing to look up in the text, so what the MLPs can hold decides. The channels of an expert are
chosen so that those of the k experts of a token are together as many as the dense MLP has: then all models spend the
same FLOPs on a token, but for the router's, which the table counts. A dense model with four times the channels, which
spends more, stands below them.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import json
import sys
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean
from time import process_time

import torch
from course.data.bindings import KINDS, Language, Texts, tell
from machine import machine
from tinyllm.experts import active_parameters, expert_loads
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from torch import Tensor

LOG = Path(__file__).with_suffix(".jsonl")
T, STEPS, BATCH, N_TEST, SEEDS, LR = 64, 300, 16, 256, 3, 0.02
SIZES = dict(n_layer=2, n_head=2, d_model=48, positions="rope")
D_FF = 192  # of the dense model
WORDS = Language(words=tuple(f"word{i}" for i in range(1000)))
MODELS: dict[str, dict] = {
    "dense": dict(d_ff=D_FF),
    "1 of 4": dict(d_ff=D_FF, experts=4, experts_per_token=1),
    "2 of 4": dict(d_ff=D_FF // 2, experts=4, experts_per_token=2),
    "1 of 8": dict(d_ff=D_FF, experts=8, experts_per_token=1),
    "2 of 8": dict(d_ff=D_FF // 2, experts=8, experts_per_token=2),
    "dense, 4 times as wide": dict(d_ff=4 * D_FF),
}
BASE = "dense"


def config_of(name: str) -> Config:
    return Config(len(WORDS.vocabulary), T, **SIZES | MODELS[name])


@cache
def texts(n: int, seed: int) -> Texts:
    return tell(n, T + 1, seed, WORDS)


def play(name: str, seed: int) -> dict:
    """Train a model, and judge it by its excess over what each token costs whoever knows the language."""
    torch.manual_seed(seed)
    model, how = GPT(config_of(name)), TrainConfig(STEPS, BATCH, lr=LR)
    optimizers, learned, test = make_optimizers(model, how), texts(BATCH * STEPS, seed).ids, texts(N_TEST, 1000)
    began = process_time()
    for step in range(STEPS):
        ids = learned[BATCH * step : BATCH * (step + 1)]
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
    seconds = process_time() - began
    loads = expert_loads(model, test.ids[:, :-1]) if model.config.experts else torch.ones(1, 1)
    share = loads / loads.mean(1, keepdim=True)  # 1 where all are equal
    return score(model, test) | dict(
        busiest=float(share.max()), idlest=float(share.min()), seconds=round(seconds, 1), machine=machine()
    )


@torch.no_grad()
def score(model: GPT, texts: Texts) -> dict[str, float]:
    """Excess in nats per token, and its part on each kind of token."""
    x, y = texts.ids[:, :-1], texts.ids[:, 1:]
    parts = [model(a).log_softmax(-1).gather(-1, b[..., None])[..., 0] for a, b in zip(x.split(32), y.split(32))]
    excess = -torch.cat(parts) - texts.nats[:, 1:]
    words: Tensor = texts.kinds[:, 1:] == KINDS.index("word")
    return dict(excess=float(excess.mean()), words=float(excess[words].mean()), names=float(excess[~words].mean()))


def done() -> list[dict]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def run(seeds: list[int]) -> None:
    """Train what is not done yet."""
    for seed, name in product(seeds, MODELS):
        if not any((row["model"], row["seed"]) == (name, seed) for row in done()):
            row = dict(model=name, seed=seed, steps=STEPS) | play(name, seed)
            with LOG.open("a") as file:
                file.write(json.dumps(row) + "\n")


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over seeds."""
    z = torch.tensor(values)
    return f"{z.mean():.3f}" + (f" ± {z.std():.3f}" if len(z) > 1 else "")


def difference(ours: list[dict], base: list[dict]) -> str:
    """Paired by seed: the mean, and its standard error."""
    theirs = {row["seed"]: row["excess"] for row in base}
    d = torch.tensor([row["excess"] - theirs[row["seed"]] for row in ours if row["seed"] in theirs])
    return f"{d.mean():+.3f} ({d.std() / len(d) ** 0.5:.3f})" if len(d) > 1 else ""


def table(rows: list[dict]) -> str:
    head = "MLP|weights|of these at work|FLOPs per token|excess|on words|− dense|busiest expert|seconds|seeds"
    lines, base = [], [row for row in rows if row["model"] == BASE]
    for name in MODELS:
        if runs := [row for row in rows if row["model"] == name]:
            config = config_of(name)
            cells = [spread([row[key] for row in runs]) for key in ("excess", "words")]
            than = "" if name == BASE else difference(runs, base)
            busiest = f"{mean(row['busiest'] for row in runs):.1f} times its share" if config.experts else ""
            sizes = n_parameters(config), active_parameters(config), flops_per_token(config)
            lines.append([name, *(f"{size:,}" for size in sizes), *cells, than, busiest,
                          f"{mean(row['seconds'] for row in runs):.0f}", str(len(runs))])
    columns = head.split("|")
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---", *["--:"] * (len(columns) - 1)], *lines])


def document(rows: list[dict]) -> str:
    return "\n\n".join([
        "# Experts at equal FLOPs per token",
        f"{'; '.join(sorted({row['machine'] for row in rows}))}, torch {torch.__version__}.\n"
        f"{SIZES['n_layer']} layers, {SIZES['d_model']} channels, {STEPS} steps of {BATCH} texts of {T} tokens of "
        f"`course.data.bindings`, with {len(WORDS.words):,}\nwords, Muon. Excess over the exact log-probability in nats per "
        "token; ± is the standard deviation over seeds,\ndifferences are paired by seed, with their standard error in "
        "parentheses. FLOPs are the multiplications and\nadditions of a forward pass, the router's included. Seconds are CPU "
        "seconds of one thread for the training, on a\nmachine that was busy with other work.",
        table(rows),
    ])


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(list(map(int, sys.argv[2:])) or list(range(SEEDS)))
    else:
        print(document(done()))
