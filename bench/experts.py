"""What experts buy at equal FLOPs per token: a dense model beside mixtures of which one or two experts answer.

`python bench/experts.py run` trains what `experts.jsonl` does not hold yet, and adds a line for each run as soon as it
is finished, so that it can be stopped and started again (`run 1 2`: these seeds). `python bench/experts.py` prints a
Markdown document of them. With `--texts tales` all this is done on tales, with `experts_tales.jsonl`; `--log FILE`
keeps the lines elsewhere.

All learn from the same texts in the same order (paired seeds), of which the exact probability is known:

bindings: `course.data.bindings` with a thousand words, each with its own four to follow: that is much to know by heart,
    and next to nothing to look up in the text, so what the MLPs can hold decides.
tales: tales in Taleteller's 2,048 tokens, one after another in blocks that have no padding, since an expert's share of
    it would be one of nothing.

The channels of an expert are chosen so that those of the k experts of a token are together as many as the dense MLP
has: then all models spend the same FLOPs on a token, but for the router's, which the table counts. A dense model with
four times the channels, which spends more, stands below them.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, islice, product
from pathlib import Path
from statistics import mean
from time import process_time
from typing import ClassVar

import torch
from course.data import bindings
from course.data.tales import SEPARATOR, tell
from course.taleteller import held_out_tales, said_again, story_score
from machine import machine
from scaling import TRAINING_SEED
from tinyllm.experts import active_parameters, expert_loads
from tinyllm.model import GPT, Config, flops_per_token, load_tokenizer, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.tokens import Tokenizer
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from torch import Tensor

HERE, SEEDS, LR, BASE = Path(__file__).parent, 3, 0.02, "dense"
MODELS: dict[str, tuple[float, dict]] = {  # channels of an MLP as parts of the dense one's, and who answers
    "dense": (1, {}),
    "1 of 4": (1, dict(experts=4, experts_per_token=1)),
    "2 of 4": (1 / 2, dict(experts=4, experts_per_token=2)),
    "1 of 8": (1, dict(experts=8, experts_per_token=1)),
    "2 of 8": (1 / 2, dict(experts=8, experts_per_token=2)),
    "dense, 4 times as wide": (4, {}),
}

# ------------------------------------------------------------------------------------------ texts


@dataclass(frozen=True)
class Bindings:
    """Chapter 11's texts, with many words."""

    T: int = 64
    steps: int = 300
    batch: int = 16
    n_test: int = 256
    n_words: int = 1000
    models: tuple[str, ...] = tuple(MODELS)
    rates: tuple[float, ...] = (LR,)
    sizes: dict = field(default_factory=lambda: dict(n_layer=2, n_head=2, d_model=48, positions="rope"), hash=False)
    name: ClassVar[str] = "bindings"
    column: ClassVar[tuple[str, str]] = "words", "on words"  # besides the excess

    @property
    def language(self) -> bindings.Language:
        return bindings.Language(words=tuple(f"word{i}" for i in range(self.n_words)))

    @property
    def vocab_size(self) -> int:
        return len(self.language.vocabulary)

    def about(self) -> str:
        return (f"`course.data.bindings`, with {self.n_words:,} words; excess over the exact log-probability in\n"
                "nats per token, and that on words alone")

    def batches(self, seed: int) -> Iterator[Tensor]:
        return iter(texts(self, self.batch * self.steps, seed).ids.split(self.batch))

    def test(self) -> Tensor:
        return texts(self, self.n_test, 1000).ids

    @torch.no_grad()
    def score(self, model: GPT) -> dict[str, float]:
        """Excess in nats per token, and its part on each kind of token."""
        told = texts(self, self.n_test, 1000)
        x, y = told.ids[:, :-1], told.ids[:, 1:]
        parts = [model(a).log_softmax(-1).gather(-1, b[..., None])[..., 0] for a, b in zip(x.split(32), y.split(32))]
        excess = -torch.cat(parts) - told.nats[:, 1:]
        words: Tensor = told.kinds[:, 1:] == bindings.KINDS.index("word")
        return dict(excess=float(excess.mean()), words=float(excess[words].mean()), names=float(excess[~words].mean()))


@cache
def texts(which: Bindings, n: int, seed: int) -> bindings.Texts:
    return bindings.tell(n, which.T + 1, seed, which.language)


@dataclass(frozen=True)
class Tales:
    """Tales, whose stories have a known log-probability each."""

    T: int = 432  # no story is longer
    steps: int = 800
    batch: int = 4
    n_test: int = 256
    models: tuple[str, ...] = "dense", "2 of 8", "dense, 4 times as wide"
    rates: tuple[float, ...] = 0.01, LR, 0.04, 0.08  # of Muon
    sizes: dict = field(default_factory=lambda: dict(n_layer=2, n_head=4, d_model=64, positions="rope"), hash=False)
    name: ClassVar[str] = "tales"
    column: ClassVar[tuple[str, str]] = "again", "p of a name said again"

    @property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer("taleteller")

    @property
    def vocab_size(self) -> int:
        return max(self.tokenizer.vocab) + 1

    def about(self) -> str:
        return (f"tales, one after another; excess over the exact log-probability of {self.n_test:,} held-out\n"
                "stories in nats per character")

    def batches(self, seed: int) -> Iterator[Tensor]:
        """Blocks of T + 1 tokens that are cut from all new tales, one after another, without end."""
        yield from self.blocks(TRAINING_SEED + seed)

    def blocks(self, seed: int) -> Iterator[Tensor]:
        encode = self.tokenizer.to_tiktoken().encode_ordinary
        stream = chain.from_iterable(encode(SEPARATOR + tale.text) for tale in tell(seed))
        while True:
            yield torch.tensor(list(islice(stream, self.batch * (self.T + 1)))).view(self.batch, -1)

    def test(self) -> Tensor:
        return next(self.blocks(TRAINING_SEED + 1000))

    def score(self, model: GPT) -> dict[str, float]:
        """Excess in nats per character, its standard error over stories, and the probability of names said again."""
        told, tokenizer = held_out_tales(self.n_test), self.tokenizer
        found = story_score(model, tokenizer, told)
        ids = [torch.tensor(tokenizer.encode(SEPARATOR + tale.text)[: self.T]) for tale in told]
        return dict(excess=found.excess, se=found.excess_error, again=said_again(model, tokenizer, ids))


TEXTS = {kind.name: kind for kind in (Bindings, Tales)}

# --------------------------------------------------------------------------------------- training


def config_of(name: str, on: Bindings | Tales) -> Config:
    part, parts = MODELS[name]
    return Config(on.vocab_size, on.T, **on.sizes, d_ff=int(4 * part * on.sizes["d_model"]), **parts)


def play(name: str, seed: int, lr: float, on: Bindings | Tales) -> dict:
    """Train a model, and judge it by its excess over what each token costs whoever knows the language."""
    torch.manual_seed(seed)
    model, how = GPT(config_of(name, on)), TrainConfig(on.steps, on.batch, lr=lr)
    optimizers, seconds = make_optimizers(model, how), 0.0
    for step, ids in enumerate(islice(on.batches(seed), on.steps)):
        began = process_time()
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
        seconds += process_time() - began
    loads = expert_loads(model, on.test()[:, :-1]) if model.config.experts else torch.ones(1, 1)
    share = loads / loads.mean(1, keepdim=True)  # 1 where all are equal
    return on.score(model) | dict(
        busiest=float(share.max()), idlest=float(share.min()), seconds=round(seconds, 1), machine=machine()
    )


def read(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def run(seeds: list[int], on: Bindings | Tales, log: Path) -> None:
    """Train what is not there yet."""
    for seed, lr, name in product(seeds, on.rates, on.models):
        if not any((row["model"], row["seed"], row["lr"]) == (name, seed, lr) for row in read(log)):
            row = dict(model=name, seed=seed, lr=lr, steps=on.steps) | play(name, seed, lr, on)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")


# ----------------------------------------------------------------------------------------- tables


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over seeds."""
    z = torch.tensor(values)
    return f"{z.mean():.3f}" + (f" ± {z.std():.3f}" if len(z) > 1 else "")


def difference(ours: list[dict], base: list[dict]) -> str:
    """Paired by seed: the mean, and its standard error."""
    theirs = {row["seed"]: row["excess"] for row in base}
    d = torch.tensor([row["excess"] - theirs[row["seed"]] for row in ours if row["seed"] in theirs])
    return f"{d.mean():+.3f} ({d.std() / len(d) ** 0.5:.3f})" if len(d) > 1 else ""


def at_its_best(runs: list[dict]) -> list[dict]:
    """The runs of one model at the rate at which its mean excess is least."""
    by_rate = {lr: [row for row in runs if row["lr"] == lr] for lr in sorted({row["lr"] for row in runs})}
    return min(by_rate.values(), key=lambda same: mean(row["excess"] for row in same), default=[])


def table(rows: list[dict], on: Bindings | Tales) -> str:
    key, label = on.column
    head = f"MLP|weights|of these at work|FLOPs per token|rate|excess|{label}|− dense|busiest expert|seconds|seeds"
    runs_of = {name: at_its_best([row for row in rows if row["model"] == name]) for name in on.models}
    lines, base = [], runs_of[BASE]
    for name, runs in runs_of.items():
        if runs:
            config = config_of(name, on)
            cells = [spread([row[key] for row in runs]) for key in ("excess", key)]
            than = "" if name == BASE else difference(runs, base)
            busiest = f"{mean(row['busiest'] for row in runs):.1f} times its share" if config.experts else ""
            sizes = n_parameters(config), active_parameters(config), flops_per_token(config)
            lines.append([name, *(f"{size:,}" for size in sizes), f"{runs[0]['lr']:g}", *cells, than, busiest,
                          f"{mean(row['seconds'] for row in runs):.0f}", str(len(runs))])
    columns = head.split("|")
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---", *["--:"] * (len(columns) - 1)], *lines])


def document(rows: list[dict], on: Bindings | Tales) -> str:
    rates = ", ".join(f"{lr:g}" for lr in on.rates)
    rate = f"at Muon's rate that is\nbest for the model, of {rates}" if len(on.rates) > 1 else f"at rate {rates}"
    return "\n\n".join([
        "# Experts at equal FLOPs per token",
        f"{'; '.join(sorted({row['machine'] for row in rows}))}, torch {torch.__version__}.\n"
        f"{on.sizes['n_layer']} layers, {on.sizes['d_model']} channels, Muon, {on.steps} steps of {on.batch} blocks of "
        f"{on.T} tokens of\n{on.about()}; {rate}; ± is the standard deviation\nover seeds, differences are paired by seed, with "
        "their standard error in parentheses. FLOPs are the\nmultiplications and additions of a forward pass, the router's "
        "included. Seconds are CPU seconds of one thread for\nthe training, on a machine that was busy with other work.",
        table(rows, on),
    ])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("action", nargs="?", choices=["run", "print"], default="print")
    parser.add_argument("seeds", nargs="*", type=int, default=range(SEEDS))
    parser.add_argument("--texts", choices=TEXTS, default="bindings")
    parser.add_argument("--log", type=Path, help="where the lines are kept, if not beside this file")
    args = parser.parse_args(argv)
    on = TEXTS[args.texts]()
    log = args.log or HERE / {"bindings": "experts.jsonl", "tales": "experts_tales.jsonl"}[on.name]
    if args.action == "run":
        run(list(args.seeds), on, log)
    else:
        print(document(read(log), on))


if __name__ == "__main__":
    main()
