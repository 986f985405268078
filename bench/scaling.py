"""How the excess over a known floor falls with the size of a model and with the text that it learns from.

`python bench/scaling.py run` trains what `scaling.jsonl` does not hold yet, and adds a line for each run as soon as it
is finished, so that it can be stopped and started again; `--help` says how to choose sizes, tokens and seeds.
`python bench/scaling.py` prints a Markdown document of these lines and of those of `scaling_variants.jsonl`. On a CPU
the three smallest models learn from two million tokens in minutes; the rest wants a GPU, which is found by itself.

Every step learns from 48 new stories, each in a row of its own from its beginning, so that nothing is read twice and
nothing is asked for that the model has no reason for. The rate is constant and then falls to zero over the last 40 %
of the steps. A longer run goes on from where a shorter one began to lower its rate: so each number of tokens is a
finished schedule, and the steps before it are done once. Models are judged on stories that were held out, by their
excess over each story's own exact log-probability.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import argparse
import json
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from time import perf_counter

import torch
from course.data.tales import SEPARATOR, judge, parse, tell
from course.taleteller import generated, held_out_tales, said_again, story_score
from machine import machine
from tinyllm.devices import DEVICES, pick_device
from tinyllm.model import GPT, Config, load_tokenizer
from tinyllm.optimizers import make_optimizers
from tinyllm.tokens import Tokenizer
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from torch import Tensor

LOG = Path(__file__).with_suffix(".jsonl")
OTHERS = LOG.with_name("scaling_variants.jsonl")
SIZES = {  # layers, heads, channels; named by the weights in their blocks
    "24k": (2, 2, 32), "83k": (3, 3, 48), "197k": (4, 4, 64), "442k": (4, 4, 96), "1.0M": (5, 4, 128),
    "2.7M": (6, 6, 192), "6.3M": (8, 8, 256), "14M": (8, 8, 384), "31M": (10, 8, 512),
}
MILLIONS = 2, 4, 8, 16, 32, 64, 128  # tokens
VARIANTS = {
    "base": {}, "rope": dict(positions="rope"), "qknorm+rope": dict(positions="rope", qk_norm=True),
    "conv": dict(conv=2), "conv+rope": dict(positions="rope", conv=2),
}
TRAINING_SEED = 10  # of the stories to learn from: 10 + 2 seeds at most, none of them the held-out one
DECAY, LR = 0.4, 0.02  # the part of all steps in which the rate falls; Muon's rate


@dataclass(frozen=True)
class Scale:
    """How large the whole experiment is."""

    context: int = 432  # no story is longer
    stories: int = 48  # in a step
    tokens_a_step: int = 14_110
    warmup: int = 20  # steps
    million: int = 1_000_000
    scored: int = 1024
    told: int = 200


SMOKE = Scale(stories=2, tokens_a_step=580, warmup=1, million=1500, scored=3, told=2)


# ---------------------------------------------------------------------------------------- training


def rows_of(stories: list[list[int]], context: int) -> tuple[Tensor, Tensor]:
    """A story in each row: ids, and those that come next, (B, T) each, where -100 is no target."""
    T = min(context, max(map(len, stories)) - 1)
    x, y = torch.zeros(len(stories), T, dtype=torch.long), torch.full((len(stories), T), -100)
    for i, ids in enumerate(stories):
        ids = torch.tensor(ids[: T + 1])
        x[i, : len(ids) - 1], y[i, : len(ids) - 1] = ids[:-1], ids[1:]
    return x, y


def batches(tokenizer: Tokenizer, seed: int, scale: Scale) -> Iterator[tuple[Tensor, Tensor]]:
    """New stories for each step, without end."""
    encode = tokenizer.to_tiktoken().encode_ordinary
    stories = (encode(SEPARATOR + tale.text + SEPARATOR) for tale in tell(TRAINING_SEED + seed))
    while True:
        yield rows_of(list(islice(stories, scale.stories)), scale.context)


def schedule(n_steps: int, scale: Scale) -> TrainConfig:
    """A few steps of warm-up, whatever n_steps; then the rate stays; then it falls to zero."""
    return TrainConfig(n_steps, 1, lr=LR, warmup=(scale.warmup + 0.5) / n_steps, decay=DECAY, bf16=True)


def sweep(
    name: str, variant: str, seed: int, millions: list[int], scale: Scale, device: torch.device
) -> Iterator[dict]:
    """A row for each number of tokens, the smallest first."""
    tokenizer = load_tokenizer("taleteller")
    n_layer, n_head, d_model = SIZES[name]
    torch.manual_seed(seed)
    vocab_size = max(tokenizer.vocab) + 1
    config = Config(vocab_size, scale.context, n_layer, n_head, d_model, **VARIANTS[variant])
    model = GPT(config).to(device)
    trunk = model, make_optimizers(model, schedule(100, scale))
    stories, done, seen, seconds = batches(tokenizer, seed, scale), 0, 0, 0.0
    for count in sorted(millions):
        total, began = n_steps(count, scale), perf_counter()
        how, turn = schedule(total, scale), total - int(DECAY * total)
        for step in range(done, turn):
            x, y = next(stories)
            learn(*trunk, x, y, step, how, device)
            seen += int((y != -100).sum())
        done = turn
        late = list(islice(stories, total - turn))
        stories = chain(late, stories)  # a longer run learns from them on the trunk
        branch = deepcopy(trunk)
        for step, (x, y) in enumerate(late, start=turn):
            loss = learn(*branch, x, y, step, how, device)
        seconds += perf_counter() - began
        tokens = seen + sum(int((y != -100).sum()) for _, y in late)
        row = dict(
            model=name, variant=variant, seed=seed, n_layer=n_layer, n_head=n_head, d_model=d_model,
            n_block=sum(p.numel() for p in model.blocks.parameters()),
            n_all=sum(p.numel() for p in model.parameters()), millions=count, tokens=tokens, steps=total,
            train=loss, seconds=round(seconds, 1), machine=hardware(device),
        )
        yield row | judged(branch[0], tokenizer, scale)


def n_steps(millions: int, scale: Scale) -> int:
    return -(-millions * scale.million // scale.tokens_a_step)


def learn(model, optimizers, x: Tensor, y: Tensor, step: int, how: TrainConfig, device: torch.device) -> float:
    return train_step(model, optimizers, x.to(device), y.to(device), step, how)


def judged(model: GPT, tokenizer: Tokenizer, scale: Scale) -> dict:
    """Its loss, how much of that is above the floor, and what it tells."""
    told = held_out_tales(scale.scored)
    found = story_score(model, tokenizer, told)
    some = (tokenizer.encode(SEPARATOR + tale.text)[: scale.context] for tale in told[:200])
    again = said_again(model, tokenizer, [torch.tensor(ids) for ids in some])
    row = dict(loss=found.loss, floor=found.loss - found.excess, excess=found.excess, se=found.excess_error, again=again)
    for temperature in (1.0, 0.5):
        stories = generated(model, tokenizer, scale.told, temperature)
        readings = [judge(story) for story in stories]
        whole = [reading.reached == len(story) for reading, story in zip(readings, stories)]
        row[f"T{temperature}"] = dict(
            grammar=sum(parse(story).log_prob is not None for story in stories) / scale.told,
            sentences=sum(whole) / scale.told,
            reached=sum(r.reached / max(1, len(s)) for r, s in zip(readings, stories)) / scale.told,
            consistent=sum(w and not r.slips for w, r in zip(whole, readings)) / scale.told,
        )
    return row


def hardware(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine()


# ---------------------------------------------------------------------------------------- rows


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def key(row: dict) -> tuple:
    return row["model"], row["variant"], row["seed"], row["millions"]


def run(args: argparse.Namespace, log: Path, scale: Scale = Scale()) -> None:
    """Train what is not there yet."""
    device = pick_device(args.device)
    for seed in args.seeds:
        for variant in args.variants:
            for name in args.models:
                there = {key(row) for path in (log, OTHERS) for row in read(path)}
                missing = [m for m in args.millions if (name, variant, seed, m) not in there]
                for row in sweep(name, variant, seed, missing, scale, device) if missing else ():
                    with log.open("a") as file:
                        file.write(json.dumps(row) + "\n")


# ---------------------------------------------------------------------------------------- tables


def table(rows: list[list[str]]) -> str:
    head, *lines = rows
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---:"] * len(head), *lines])


def by_size(rows: list[dict], cell) -> str:
    """A line for each size, a column for each number of tokens; only the base, seed 0."""
    found = {(row["model"], row["millions"]): row for row in rows if (row["variant"], row["seed"]) == ("base", 0)}
    columns = sorted({millions for _, millions in found})
    lines = [["weights in blocks", *(f"{millions} M" for millions in columns)]]
    for name in SIZES:
        if any(model == name for model, _ in found):
            lines.append([name, *(cell(found[name, m]) if (name, m) in found else "" for m in columns)])
    return table(lines)


def by_variant(rows: list[dict]) -> str:
    """The model of a million weights with other parts, and with other seeds."""
    rows = [row for row in rows if row["model"] == "1.0M" and row["millions"] <= 32]
    columns = sorted({row["millions"] for row in rows} - {2})
    lines = [["variant", "seed", *(f"{millions} M" for millions in columns)]]
    for variant, seed in sorted({(row["variant"], row["seed"]) for row in rows}):
        cells = {row["millions"]: f"{row['excess']:.4f} / {row['again']:.2f}"
                 for row in rows if (row["variant"], row["seed"]) == (variant, seed)}
        lines.append([variant, str(seed), *(cells.get(millions, "") for millions in columns)])
    return table(lines)


def percent(row: dict) -> str:
    if "T1.0" not in row:
        return ""
    return " / ".join(f"{100 * row[name]['grammar']:.0f}" for name in ("T1.0", "T0.5"))


def document(rows: list[dict], variants: list[dict]) -> str:
    machines = sorted({row["machine"] for row in rows + variants})
    base = [row for row in rows if (row["variant"], row["seed"]) == ("base", 0)]
    errors, floor = [row["se"] for row in base], base[0]["floor"]
    return "\n\n".join([
        "# Size, tokens, and a floor that is known",
        f"{len(rows) + len(variants)} runs on {'; '.join(machines)}. Stories are tales in Taleteller's 2,048 tokens, every one read once,\n"
        f"{Scale().stories} in a step, about {Scale().tokens_a_step:,} tokens. LayerNorm without bias, GELU, learned positions, output projections\n"
        f"and head that begin at zero, a context of {Scale().context}; Muon at {LR} for the blocks' matrices, Adam for the rest; a\n"
        "constant rate that falls to zero over the last 40 % of the steps. Nothing counts more than anything else.\n"
        "One seed where none is named: with another a step may come a column earlier or later.",
        "## Excess over the floor",
        f"Nats per character above the exact log-probability of each of {Scale().scored:,} stories that were held out; the floor is\n"
        f"{floor:.4f}. The standard error of the difference is between {min(errors):.5f} and {max(errors):.4f}.",
        by_size(rows, lambda row: f"{row['excess']:.4f}"),
        "## The probability of a name where it is said again",
        by_size(rows, lambda row: f"{row['again']:.3f}"),
        f"## Whole stories of the grammar, of {Scale().told} generated",
        "Per cent at temperature 1 / at temperature 0.5. Where nothing stands none were generated.",
        by_size(rows, percent),
        "## Other parts, other seeds: one million weights",
        "Excess / probability of a name said again. *smear*: a key is mixed with the one before it, by a share that each head\n"
        "learns (the library's own `conv=2` has a share for each channel). *pair*: 16,384 hashed vectors for pairs of tokens.",
        by_variant(rows + variants),
    ])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("action", nargs="?", choices=["run", "print"], default="print")
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE", help="default all")
    parser.add_argument("--millions", nargs="+", type=int, default=list(MILLIONS), help="of tokens")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["base"])
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--smoke", action="store_true", help="everything once in seconds; nothing is kept")
    args = parser.parse_args(argv)
    if args.smoke:
        args.models, args.millions, args.device = args.models[:1], [2, 4], "cpu"
        with tempfile.TemporaryDirectory() as folder:
            run(args, log := Path(folder, "rows.jsonl"), SMOKE)
            print(document(read(log), []))
    elif args.action == "run":
        run(args, LOG)
    else:
        print(document(read(LOG), read(OTHERS)))


if __name__ == "__main__":
    main()
