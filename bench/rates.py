"""Does the best learning rate of a small model hold for a wider one? Three rules, two widths, three seeds.

`python bench/rates.py` trains what `rates.jsonl` does not hold yet and adds a line for each run (`--rules muon`: these
rules only; `--log FILE` keeps the lines elsewhere). All models have two layers and heads of 16 channels, and learn for
the same short time from the same texts of `course.data.bindings`, long before names are found, so that what is compared
is how fast the words are learned. The rules:

same: AdamW with one rate for all weights, whatever the width;
by width: AdamW with the rate of the matrices inside the blocks and of the head divided by the width, that of the
    embeddings and norms not (the rule of Tensor Programs V for Adam);
muon: Muon for the matrices inside the blocks, with one rate whatever the width. What else there is learns by AdamW as
    `make_optimizers` has it: embeddings at 0.02, head and norms at 0.003 where there are 128 channels, at a rate that
    is divided by the width. Only Muon's rate is looked for; at 2^-40 the blocks stay as they began.

At the smallest width *same* and *by width* are the same. Rates are powers of two; the last 40 % of the steps lower them
to 0.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import argparse
import json
from functools import cache
from itertools import product
from pathlib import Path

import torch
from course.data.bindings import Language, Texts, tell
from tinyllm.model import GPT, Config
from tinyllm.optimizers import AdamW, make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

LOG = Path(__file__).with_suffix(".jsonl")
T, BATCH, STEPS, SEEDS, N_TEST = 64, 8, 120, 3, 64
WIDTHS, BASE = (32, 128), 32
RATES = {"same": range(-10, -4), "by width": range(-9, -4), "muon": [-40, *range(-12, -1)]}  # exponents of 2


@cache
def texts(n: int, seed: int) -> Texts:
    return tell(n, T + 1, seed)


def how_trained(rule: str, rate: float, steps: int) -> TrainConfig:
    optimizer = "muon" if rule == "muon" else "adamw"
    return TrainConfig(steps, BATCH, optimizer=optimizer, lr=rate, decay=0.4, warmup=0.1)


def optimizers_of(model: GPT, rule: str, rate: float) -> list[torch.optim.Optimizer]:
    if rule == "muon":
        return make_optimizers(model, how_trained(rule, rate, 1))
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
    how = how_trained(rule, 2.0**exponent, steps)
    optimizers, learned = optimizers_of(model, rule, 2.0**exponent), texts(BATCH * steps, seed).ids
    for step in range(steps):
        ids = learned[BATCH * step : BATCH * (step + 1)]
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
    test = texts(N_TEST, 1000)
    with torch.no_grad():
        log_p = model(test.ids[:, :-1]).log_softmax(-1).gather(-1, test.ids[:, 1:, None])[..., 0]
    return float((-log_p - test.nats[:, 1:]).mean())


def read(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def run(rules: list[str], log: Path, steps: int = STEPS) -> None:
    """Train what is not there yet."""
    for seed, rule, width in product(range(SEEDS), rules, WIDTHS):
        for exponent in RATES[rule]:
            row = dict(rule=rule, width=width, exponent=exponent, seed=seed)
            if (rule, width) != ("by width", BASE) and not any(row.items() <= old.items() for old in read(log)):
                row["excess"] = round(play(rule, width, exponent, seed, steps), 4)
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rules", nargs="+", choices=RATES, default=list(RATES), help="default all")
    parser.add_argument("--log", type=Path, default=LOG, help="where the lines are kept")
    args = parser.parse_args(argv)
    run(args.rules, args.log)


if __name__ == "__main__":
    main()
