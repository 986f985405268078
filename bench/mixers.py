"""What a constant state buys and what it costs: the same small model with each mixer, at equal tokens, paired seeds.

`python bench/mixers.py run` trains what `mixers.jsonl` does not hold yet, and adds a line for each run as soon as it is
finished, so that it can be stopped and started again. `python bench/mixers.py` prints a Markdown document of these
lines. `run names` and `run tales` train on one kind of text only.

Names: `course.data.bindings`, texts in which a role's newest name has to be looked up, and in which the probability of
every token is known. A model is judged by its excess over that, and by the probability of a name that is said again,
also of roles that have changed their name, and also at four times the length of the training. Tales: the book's stories.

With the same seed two mixers see the same texts in the same order. Their weights begin differently where shapes do.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import json
import sys
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from time import process_time

import torch
from course.data import tales
from course.data.bindings import KINDS, Language, Texts, tell
from course.data.tales import SEPARATOR, tell as tell_tales
from course.taleteller import beginnings, said_again, surprises
from machine import machine
from tinyllm.model import GPT, Config, load_tokenizer
from tinyllm.optimizers import make_optimizers
from tinyllm.tokens import Tokenizer
from tinyllm.train_config import TrainConfig
from tinyllm.training import train, train_step
from torch import Tensor

LOG = Path(__file__).with_suffix(".jsonl")
T, LONG, STEPS, BATCH, SEEDS, LR = 128, 512, 300, 16, 3, 0.03
AGAIN, REBOUND = KINDS.index("again"), KINDS.index("rebound")
SIZES = dict(n_layer=2, n_head=4, d_model=64, conv=2)
MIXERS: dict[str, dict] = {
    "softmax": dict(mixer="softmax"),
    "window of 32": dict(mixer="window", window=32),
    "elu+1": dict(mixer="elu"),
    "identity": dict(mixer="identity"),
    "Taylor-2": dict(mixer="taylor"),
    "power 2": dict(mixer="power2"),
    "gated": dict(mixer="gated"),
    "delta": dict(mixer="delta"),
    "gated delta": dict(mixer="gated_delta"),
    "window of 32, softmax": dict(mixer=("window", "softmax"), window=32),
    "gated, softmax": dict(mixer=("gated", "softmax")),
    "gated delta, softmax": dict(mixer=("gated_delta", "softmax")),
}
MAIN = "softmax", "elu+1", "gated", "gated delta", "window of 32, softmax"
TALES = "softmax", "window of 32", "elu+1", "gated delta", "window of 32, softmax"
TALES_SIZES = dict(n_layer=2, n_head=3, d_model=96, conv=2)
TALES_RECIPE = TrainConfig(
    n_steps=900, batch_size=18, lr=0.01, decay=0.2, short=32, growth=1.0, lookups=10, every=150
)


def names_runs() -> list[dict]:
    """What is trained on names: all mixers; other rates; twice as many steps; other positions."""
    base = dict(task="names", positions="learned", rate=1.0, steps=STEPS)
    runs = [base | dict(mixer=m, seed=s) for s, m in product(range(SEEDS), MIXERS)]
    runs += [base | dict(mixer=m, seed=s, positions="none") for s, m in product(range(SEEDS), MIXERS)]
    others = [("softmax", "rope"), ("softmax", "alibi"), ("window of 32, softmax", "alibi")]
    runs += [base | dict(mixer=m, seed=s, positions=p) for s, (m, p) in product(range(SEEDS), others)]
    runs += [base | dict(mixer=m, seed=s, steps=2 * STEPS) for s, m in product(range(SEEDS), MAIN)]
    runs += [base | dict(mixer=m, seed=s, rate=r) for s, r, m in product(range(SEEDS), (0.5, 2.0), MAIN)]
    return runs


def tales_runs() -> list[dict]:
    return [dict(task="tales", mixer=m, seed=s) for s, m in product(range(SEEDS), TALES)]


def done() -> list[dict]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def run(plan: list[dict]) -> None:
    """Train what is not done yet."""
    for wanted in plan:
        if not any(wanted.items() <= row.items() for row in done()):
            began = process_time()
            options = {name: value for name, value in wanted.items() if name != "task"}
            row = wanted | PLAY[wanted["task"]](**options)
            with LOG.open("a") as file:
                file.write(json.dumps(row | {"seconds": round(process_time() - began)}) + "\n")


# ---------------------------------------------------------------------------------------- names


@cache
def texts(n: int, length: int, seed: int) -> Texts:
    return tell(n, length + 1, seed)


def play_names(mixer: str, seed: int, positions: str, rate: float, steps: int) -> dict:
    """Train a model, and score it on the way and at the end."""
    torch.manual_seed(seed)
    n_places = T if positions == "learned" else LONG
    model = GPT(Config(len(Language().vocabulary), n_places, positions=positions, **SIZES | MIXERS[mixer]))
    how = TrainConfig(steps, BATCH, lr=LR * rate)
    optimizers = make_optimizers(model, how)
    for group in optimizers[1].param_groups:
        group["lr"] *= rate
    learned, test, curve = texts(BATCH * steps, T, seed), texts(256, T, 1000), []
    for step in range(steps):
        ids, _, kinds = (z[BATCH * step : BATCH * (step + 1)] for z in learned)
        # In the first half of the steps a name that can be looked up counts ten times, as in bench/lookups.md.
        weights = 1 + 9.0 * names_again(kinds[:, 1:]) if step < steps / 2 else None
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how, weights)
        if (step + 1) % 25 == 0 and step + 1 < steps:
            small = Texts(*(z[:64] for z in test))
            curve.append([step + 1, *(round(x, 4) for x in score(model, small).values())])
    found = dict(curve=curve, weights=sum(p.numel() for p in model.parameters()), **score(model, test))
    if n_places == LONG:
        far = texts(64, LONG, 1000)
        found["far"] = [score(model, far, slice(a, a + T)) for a in range(0, LONG, T)]
    return found


def names_again(kinds: Tensor) -> Tensor:
    return (kinds == AGAIN) | (kinds == REBOUND)


@torch.no_grad()
def score(model: GPT, texts: Texts, places: slice = slice(None)) -> dict[str, float]:
    """Excess in nats per token, of all and of words, and probabilities of names said again, and of changed ones."""
    x, y = texts.ids[:, :-1], texts.ids[:, 1:]
    parts = zip(x.split(32), y.split(32))
    log_p = torch.cat([model(a).log_softmax(-1).gather(-1, b[..., None])[..., 0] for a, b in parts])[:, places]
    nats, kinds = texts.nats[:, 1:][:, places], texts.kinds[:, 1:][:, places]
    excess, p = -log_p - nats, log_p.exp()
    values = excess, excess[kinds == 0], p[names_again(kinds)], p[kinds == REBOUND]
    return dict(zip(("excess", "words", "again", "rebound"), (float(z.mean()) for z in values)))


# ---------------------------------------------------------------------------------------- tales


@cache
def corpus() -> tuple[Tokenizer, Tensor, Tensor]:
    tokenizer = load_tokenizer("taleteller")
    ids = torch.tensor(tokenizer.encode(tales(6_000_000)))
    return tokenizer, ids, beginnings(ids, tokenizer)


@cache
def judged() -> list[tuple[Tensor, float, int]]:
    """Stories that were not trained on: ids, nats at least, characters."""
    tokenizer, told = corpus()[0], tell_tales(1)
    found = []
    for _, tale in zip(range(200), told):
        ids = torch.tensor(tokenizer.encode(SEPARATOR + tale.text + SEPARATOR))
        found.append((ids, -tale.log_prob, len(tale.text) + len(SEPARATOR)))
    return found


def play_tales(mixer: str, seed: int) -> dict:
    """Train a model on the beginnings of tales, and score it on whole stories."""
    tokenizer, ids, starts = corpus()
    torch.manual_seed(seed)
    config = Config(len(tokenizer.vocab), T, **TALES_SIZES | MIXERS[mixer])
    model, recipe, curve = GPT(config), replace(TALES_RECIPE, seed=seed), []
    beginning = [z[:T] for z, *_ in judged()]
    for record in train(model, ids, recipe, starts=starts):
        curve.append([record["step"], round(record["loss"], 4), round(said_again(model, tokenizer, beginning[:60]), 4)])
    first = len(tokenizer.encode(SEPARATOR))
    over = [float(surprises(model, z)[first - 1 :].sum()) - nats for z, nats, _ in judged()]
    return dict(
        curve=curve, weights=sum(p.numel() for p in model.parameters()),
        excess=sum(over) / sum(size for *_, size in judged()), again=said_again(model, tokenizer, beginning),
    )


PLAY = {"names": play_names, "tales": play_tales}
