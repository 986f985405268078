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
from course.data.tales import SEPARATOR
from course.taleteller import beginnings, held_out_tales, said_again, story_score
from machine import machine
from tinyllm.model import GPT, Config, load_tokenizer
from tinyllm.optimizers import make_optimizers
from tinyllm.tokens import Tokenizer
from tinyllm.train_config import TrainConfig
from tinyllm.training import train, train_step
from torch import Tensor

LOG = Path(__file__).with_suffix(".jsonl")
T, LONG, STEPS, BATCH, SEEDS, LR = 128, 512, 300, 16, 3, 0.03
SIZE, N_STORIES = 6_000_000, 200  # characters of tales to learn from, and stories to be judged by
N_TEST, N_FAR, EVERY = 256, 48, 25  # texts to be judged by, and steps from one look to the next
AGAIN, REBOUND = KINDS.index("again"), KINDS.index("rebound")
SIZES = dict(n_layer=2, n_head=4, d_model=64, conv=2)
MIXERS: dict[str, dict] = {
    "softmax, learned positions": dict(mixer="softmax", positions="learned"),
    "softmax, ALiBi": dict(mixer="softmax", positions="alibi"),
    "gated delta": dict(mixer="gated_delta"),
    "delta": dict(mixer="delta"),
    "elu+1": dict(mixer="elu"),
    "window of 32, ALiBi": dict(mixer="window", window=32, positions="alibi"),
    "window of 32, then softmax, ALiBi": dict(mixer=("window", "softmax"), window=32, positions="alibi"),
    "gated delta, then softmax": dict(mixer=("gated_delta", "softmax")),
    "gated, QK-norm": dict(mixer="gated", qk_norm=True),
    "identity": dict(mixer="identity"),
    "Taylor-2": dict(mixer="taylor"),
    "gated": dict(mixer="gated"),
}
OTHERS: dict[str, dict] = {  # what is compared with one of these only
    "softmax, RoPE": dict(mixer="softmax", positions="rope"),
    "softmax, no positions": dict(mixer="softmax"),
    "elu+1, learned positions": dict(mixer="elu", positions="learned"),
    "gated delta, learned positions": dict(mixer="gated_delta", positions="learned"),
}
BASE = "softmax, ALiBi"
SOME = "softmax, learned positions", "softmax, ALiBi", "gated delta", "elu+1"
TALES = "softmax, learned positions", "gated delta", "elu+1", "window of 32, ALiBi", "softmax, ALiBi"
TALES_SIZES = dict(n_layer=2, n_head=3, d_model=96, conv=2)
TALES_RECIPE = TrainConfig(
    n_steps=1300, batch_size=18, lr=0.01, decay=0.2, short=32, growth=1.0, lookups=10, every=100
)


def names_runs() -> list[dict]:
    """What is trained on names: all mixers; some of them for longer, or at other rates; others."""
    base, seeds = dict(task="names", rate=1.0, steps=STEPS), range(SEEDS)
    runs = [base | dict(mixer=m, seed=s) for s, m in product(seeds, MIXERS)]
    runs += [base | dict(mixer=m, seed=s, steps=2 * STEPS) for s, m in product(seeds, SOME[:3])]
    runs += [base | dict(mixer=m, seed=s, rate=r) for s, r, m in product(seeds, (0.5, 2.0), SOME)]
    return runs + [base | dict(mixer=m, seed=s) for s, m in product(seeds, OTHERS)]


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


def play_names(mixer: str, seed: int, rate: float, steps: int) -> dict:
    """Train a model, and score it on the way and at the end."""
    torch.manual_seed(seed)
    parts = dict(positions="none") | SIZES | (MIXERS | OTHERS)[mixer]
    n_places = T if parts["positions"] == "learned" else LONG
    model = GPT(Config(len(Language().vocabulary), n_places, **parts))
    how = TrainConfig(steps, BATCH, lr=LR * rate)
    optimizers = make_optimizers(model, how)
    for group in optimizers[1].param_groups:
        group["lr"] *= rate
    learned, test, curve = texts(BATCH * steps, T, seed), texts(N_TEST, T, 1000), []
    for step in range(steps):
        ids, _, kinds = (z[BATCH * step : BATCH * (step + 1)] for z in learned)
        # In the first half of the steps a name that can be looked up counts ten times, as in bench/lookups.md.
        weights = 1 + 9.0 * names_again(kinds[:, 1:]) if step < steps / 2 else None
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how, weights)
        if (step + 1) % EVERY == 0 and step + 1 < steps:
            small = Texts(*(z[: N_TEST // 4] for z in test))
            curve.append([step + 1, *(round(x, 4) for x in score(losses(model, small), small).values())])
    found = dict(curve=curve, weights=sum(p.numel() for p in model.parameters()))
    found |= score(losses(model, test), test)
    if n_places == LONG:
        far = texts(N_FAR, LONG, 1000)
        whole = losses(model, far)
        found["far"] = [score(whole, far, slice(a, a + T)) for a in range(0, LONG, T)]
    return found


def names_again(kinds: Tensor) -> Tensor:
    return (kinds == AGAIN) | (kinds == REBOUND)


@torch.no_grad()
def losses(model: GPT, texts: Texts) -> Tensor:
    """-log p of each token but the first: (n, T)."""
    parts = zip(texts.ids[:, :-1].split(16), texts.ids[:, 1:].split(16))
    return torch.cat([-model(x).log_softmax(-1).gather(-1, y[..., None])[..., 0] for x, y in parts])


def score(losses: Tensor, texts: Texts, places: slice = slice(None)) -> dict[str, float]:
    """Excess in nats per token, of all and of words, and probabilities of names said again, and of changed ones."""
    loss, nats, kinds = (z[:, places] for z in (losses, texts.nats[:, 1:], texts.kinds[:, 1:]))
    excess, p = loss - nats, (-loss).exp()
    values = excess, excess[kinds == 0], p[names_again(kinds)], p[kinds == REBOUND]
    return dict(zip(("excess", "words", "again", "rebound"), (float(z.mean()) for z in values)))


# ---------------------------------------------------------------------------------------- tales


@cache
def corpus() -> tuple[Tokenizer, Tensor, Tensor]:
    tokenizer = load_tokenizer("taleteller")
    ids = torch.tensor(tokenizer.encode(tales(SIZE)))
    return tokenizer, ids, beginnings(ids, tokenizer, stories=4)


def play_tales(mixer: str, seed: int) -> dict:
    """Train a model on the beginnings of tales, and score it on whole stories that were held out."""
    tokenizer, ids, starts = corpus()
    torch.manual_seed(seed)
    config = Config(len(tokenizer.vocab), T, **dict(positions="none") | TALES_SIZES | MIXERS[mixer])
    model, recipe, curve = GPT(config), replace(TALES_RECIPE, seed=seed), []
    told = held_out_tales(N_STORIES)
    beginning = [torch.tensor(tokenizer.encode(SEPARATOR + tale.text + SEPARATOR))[:T] for tale in told]
    for record in train(model, ids, recipe, starts=starts):
        curve.append([record["step"], round(record["loss"], 4), round(said_again(model, tokenizer, beginning[:60]), 4)])
    return dict(
        curve=curve, weights=sum(p.numel() for p in model.parameters()),
        excess=story_score(model, tokenizer, told).excess, again=said_again(model, tokenizer, beginning),
    )


PLAY = {"names": play_names, "tales": play_tales}


# ---------------------------------------------------------------------------------------- tables


def spread(values: list[float], digits: int = 3) -> str:
    """Mean ± standard deviation over seeds."""
    z = torch.tensor(values)
    return f"{z.mean():.{digits}f}" + (f" ± {z.std():.{digits}f}" if len(z) > 1 else "")


def difference(ours: list[float], base: list[float]) -> str:
    """Paired differences: their mean, its standard error, and the word noise where it is below three of these."""
    d = torch.tensor(ours) - torch.tensor(base)
    if len(d) < 2:
        return f"{d.mean():+.3f}"
    mean, error = d.mean(), d.std() / len(d) ** 0.5
    return f"{mean:+.3f} ({error:.4f})" + (", noise" if abs(mean) < 3 * error else "")


def chosen(rows: list[dict], mixer: str, **wanted) -> list[dict]:
    """The runs of a mixer, by seed."""
    found = [row for row in rows if row["mixer"] == mixer and wanted.items() <= row.items()]
    return sorted(found, key=lambda row: row["seed"])


def paired(runs: list[dict], base: list[dict], key: str) -> str:
    """The difference to the runs of the same seeds."""
    theirs = {row["seed"]: row[key] for row in base}
    both = [row for row in runs if row["seed"] in theirs]
    return difference([row[key] for row in both], [theirs[row["seed"]] for row in both]) if both else ""


def table(header: str, lines: list[list[str]]) -> str:
    columns = header.split("|")
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---", *["--:"] * (len(columns) - 1)], *lines])


def names_table(rows: list[dict]) -> str:
    lines, base = [], chosen(rows, BASE, steps=STEPS, rate=1.0)
    for mixer in MIXERS | OTHERS:
        if runs := chosen(rows, mixer, steps=STEPS, rate=1.0):
            cells = [spread([run[key] for run in runs]) for key in ("excess", "words", "again", "rebound")]
            than = ["", ""] if mixer == BASE else [paired(runs, base, key) for key in ("excess", "rebound")]
            lines.append([mixer, f"{runs[0]['weights']:,}", *cells, *than, str(len(runs))])
    return table(
        "mixer|weights|excess|on words|a name again|after rebinding"
        f"|excess − that of {BASE}|after rebinding − that of {BASE}|seeds", lines
    )


def far_table(rows: list[dict]) -> str:
    lines = []
    for mixer in MIXERS | OTHERS:
        runs = [run for run in chosen(rows, mixer, steps=STEPS, rate=1.0) if "far" in run]
        if runs:
            cells = [spread([run["far"][part][key] for run in runs])
                     for key in ("excess", "again", "rebound") for part in (0, -1)]
            lines.append([mixer, *cells, str(len(runs))])
    ends, what = (f"1 to {T}", f"{LONG - T + 1} to {LONG}"), ("excess", "a name again", "after rebinding")
    return table("mixer|" + "|".join(f"{each}, {end}" for each in what for end in ends) + "|seeds", lines)


def steps_table(rows: list[dict]) -> str:
    """When half of the names are found again, what is found at some steps, and what is left at the end."""
    lines, looks = [], [STEPS // 4, STEPS // 3, STEPS // 2]
    for mixer in MIXERS | OTHERS:
        for steps in (STEPS, 2 * STEPS):
            if runs := chosen(rows, mixer, steps=steps, rate=1.0):
                first = [next((at for at, _, _, again, _ in run["curve"] if again > 0.5), None) for run in runs]
                curves = [{at: pair for at, _, _, *pair in run["curve"]} for run in runs]
                cells = [" / ".join(spread([curve[at][i] for curve in curves], 2).split(" ±")[0] for i in (0, 1))
                         for at in looks if all(at in curve for curve in curves)]
                end = [spread([run[key] for run in runs]) for key in ("excess", "again", "rebound")]
                dates = ", ".join(str(date or "never") for date in first)
                lines.append([mixer, str(steps), dates, *end, *cells])
    return table(
        "mixer|steps|above ½ by step (each seed)|excess at the end|a name again|after rebinding|"
        + "|".join(f"at step {at}" for at in looks), lines
    )


def rates_table(rows: list[dict]) -> str:
    lines, rates = [], (0.5, 1.0, 2.0)
    for mixer in SOME:
        runs = [chosen(rows, mixer, steps=STEPS, rate=rate) for rate in rates]
        if not (runs[0] or runs[2]):
            continue
        cells = [spread([run["excess"] for run in some]) + f", {sum(run['again'] for run in some) / len(some):.2f}"
                 if some else "" for some in runs]
        lines.append([mixer, *cells])
    return table("mixer|half the rate|the rate|twice the rate", lines)


def tales_table(rows: list[dict]) -> str:
    lines, base = [], chosen(rows, BASE)
    for mixer in TALES:
        if runs := chosen(rows, mixer):
            than = "" if mixer == BASE else paired(runs, base, "excess")
            cells = spread([run["excess"] for run in runs], 4), spread([run["again"] for run in runs], 3)
            lines.append([mixer, str(len(runs)), f"{runs[0]['weights']:,}", *cells, than])
    return table(f"mixer|seeds|weights|excess|a name again|excess − that of {BASE}", lines)


def document(rows: list[dict]) -> str:
    names, stories = ([row for row in rows if row["task"] == task] for task in ("names", "tales"))
    spent = sum(row["seconds"] for row in rows)
    again = "Names said again count ten times in the first half of the steps."
    parts = [
        "# What a state of fixed size buys, and what it costs",
        f"{machine()}, torch {torch.__version__}, {len(rows)} runs, {spent:,} CPU seconds.\n"
        "± is the standard deviation over seeds; differences are paired by seed, their standard error is in parentheses. One below three of its standard errors is\n"
        "marked as noise, which is not to say equal: a 95 % interval reaches 4.3 standard errors to either side with three\n"
        "seeds, and 12.7 with two. Where no positions are named a model has none but what its mixer knows of time.",
        "## Names, at equal tokens",
        f"Texts of `course.data.bindings`: {SIZES['n_layer']} layers, {SIZES['d_model']} channels, {SIZES['n_head']} heads, each "
        f"key mixed with the one before,\n{STEPS} steps of {BATCH} texts of {T} tokens, Muon. {again}\n"
        "Excess over the exact log-probability in nats per token, and probabilities of a name that is said again.",
        names_table(names),
        "## At four times the length",
        f"The same models, trained on {T} tokens, at the first and the last {T} of {LONG}.",
        far_table(names),
        "## When the step comes",
        f"Each length of a run has its own decay of the rate. On the way, {N_TEST // 4} texts every {EVERY} steps: the probability of a\n"
        "name again / of one after rebinding.",
        steps_table(names),
    ]
    if any(row["rate"] != 1.0 for row in names):
        parts += [
            "## At other rates",
            f"Excess after {STEPS} steps, and the probability of a name said again, with all rates halved and doubled.",
            rates_table(names),
        ]
    if stories:
        steps, tokens = TALES_RECIPE.n_steps, TALES_RECIPE.batch_size * T
        parts += [
            "## Tales",
            f"{TALES_SIZES['n_layer']} layers, {TALES_SIZES['d_model']} channels, {TALES_SIZES['n_head']} heads, Taleteller's "
            f"tokens, {steps:,} steps of {tokens:,} tokens in blocks that grow from\n{TALES_RECIPE.short} to {T}. Names that "
            "can be looked up count ten times. Excess in nats per character over whole stories\nthat were held out, each token "
            f"seeing {T // 2} to {T} tokens before it; a name again within the first {T} tokens.",
            tales_table(stories),
        ]
    return "\n\n".join(parts)


PLANS = {"names": names_runs, "tales": tales_runs}


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run([wanted for name in sys.argv[2:] or PLANS for wanted in PLANS[name]()])
    else:
        print(document(done()))


if __name__ == "__main__":
    main()
