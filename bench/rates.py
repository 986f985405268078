"""Does the best learning rate of a small model hold for a wider one? Two rules, two widths, three seeds.

`python bench/rates.py` trains what `rates.jsonl` does not hold yet and adds a line for each run. All models have two
layers and heads of 16 channels, and learn for the same short time from the same texts of `course.data.bindings`, long
before names are found, so that what is compared is how fast the words are learned. The rules:

same: AdamW with one rate for all weights, whatever the width;
by width: AdamW with the rate of the matrices inside the blocks and of the head divided by the width, that of the
    embeddings and norms not (the rule of Tensor Programs V for Adam).

At the smallest width the two are the same. Rates are powers of two; the last 40 % of the steps lower them to 0.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import json
from functools import cache
from itertools import product
from pathlib import Path

import torch
from course.data.bindings import Language, Texts, tell
from tinyllm.model import GPT, Config
from tinyllm.optimizers import AdamW
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

LOG = Path(__file__).with_suffix(".jsonl")
T, BATCH, STEPS, SEEDS, N_TEST = 64, 8, 120, 3, 64
WIDTHS, RULES, BASE = (32, 128), ("same", "by width"), 32
RATES = {"same": range(-10, -4), "by width": range(-9, -4)}  # exponents of 2


@cache
def texts(n: int, seed: int) -> Texts:
    return tell(n, T + 1, seed)


def optimizers_of(model: GPT, rule: str, rate: float) -> list[torch.optim.Optimizer]:
    narrow = BASE / model.config.d_model if rule == "by width" else 1.0
    inside = [p for p in [*model.blocks.parameters(), model.head.weight] if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in inside)]
    groups = [{"params": inside, "lr": rate * narrow}, {"params": others, "lr": rate}]
    return [AdamW(groups, rate, betas=(0.9, 0.99), weight_decay=0.0)]


def play(rule: str, width: int, exponent: int, seed: int, steps: int = STEPS) -> float:
    """The excess in nats per token after training."""
    torch.manual_seed(seed)
    sizes = dict(n_layer=2, n_head=width // 16, d_model=width, positions="alibi", conv=2)
    model = GPT(Config(len(Language().vocabulary), T, **sizes))
    how = TrainConfig(steps, BATCH, lr=2.0**exponent, decay=0.4, warmup=0.1)
    optimizers, learned = optimizers_of(model, rule, 2.0**exponent), texts(BATCH * steps, seed).ids
    for step in range(steps):
        ids = learned[BATCH * step : BATCH * (step + 1)]
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
    test = texts(N_TEST, 1000)
    with torch.no_grad():
        log_p = model(test.ids[:, :-1]).log_softmax(-1).gather(-1, test.ids[:, 1:, None])[..., 0]
    return float((-log_p - test.nats[:, 1:]).mean())


def main() -> None:
    done = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    for seed, rule, width in product(range(SEEDS), RULES, WIDTHS):
        for exponent in RATES[rule]:
            row = dict(rule=rule, width=width, exponent=exponent, seed=seed)
            if (rule, width) != ("by width", BASE) and not any(row.items() <= old.items() for old in done):
                row["excess"] = round(play(rule, width, exponent, seed), 4)
                with LOG.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
