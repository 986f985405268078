"""`python -m course taleteller`: train the model that comes with the book, and judge what it tells."""

import argparse
import json
import platform
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from course.data.tales import SEPARATOR, Score, Tale, floor, judge, parse, score, tales, tell
from course.data.tales_world import BOYS, GIRLS
from tinyllm.checkpoints import checkpoints
from tinyllm.counting import NGram
from tinyllm.devices import is_main, join_processes, leave_processes, machine, pick_device
from tinyllm.generation import generate
from tinyllm.model import GPT, Config, load, load_tokenizer, save
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig
from tinyllm.training import train

FOLDER = Path(__file__).parents[1] / "tinyllm" / "taleteller"
CONFIG = Config(vocab_size=2048, block_size=384, n_layer=5, n_head=4, d_model=128)
RECIPE = TrainConfig(
    n_steps=6500, batch_size=24, lr=0.02, decay=0.6, bf16=True, short=32, growth=0.15, lookups=10, every=100
)
SEED, HELD_OUT_SEED = 0, 1  # of the tales to learn from, and of those to be judged by
SIZE = 200_000_000  # characters to learn from, about as many as a run reads once
VOCABULARY = 3_000_000  # of which these decide what a token is
N_SCORED = 1000  # stories that the loss is measured on
PRONOUNS = {"he", "she", "him", "her", "his", "hers", "himself", "herself", "He", "She", "Him", "Her", "His"}
TIME = (
    "Training takes about 110 minutes in two processes on two free cores with 16-bit matrix units (AVX-512 bf16, AMX), "
    "and about three hours on two cores without them. Stopped, it goes on where it was."
)
WINDOW = 12  # words in a row that count as copied if the training text has them, too


def story_score(model: GPT, tokenizer: Tokenizer, told: list[Tale]) -> Score:
    """The loss of whole stories, and its excess over their own exact -log p, as `floor` has it.

    Each story is read from its beginning on, and its end counts as part of it.
    """
    first = len(tokenizer.encode(SEPARATOR))
    ids = (torch.tensor(tokenizer.encode(SEPARATOR + tale.text + SEPARATOR)) for tale in told)
    return score([float(surprises(model, story)[first - 1 :].double().sum()) for story in ids], told)


@torch.inference_mode()
def surprises(model: GPT, ids: Tensor) -> Tensor:
    """-log p of each id (N,) but the first, given those before it: (N - 1,).

    Where a text is longer than the context, each id sees at least half a context.
    """
    T, found, ids = model.config.block_size, [], ids.to(model.token.weight.device)
    for start in range(0, max(1, len(ids) - 1 - T // 2), T // 2):
        part = ids[start : start + T + 1]
        new = slice(0 if start == 0 else T - T // 2, None)
        found.append(F.cross_entropy(model(part[:-1])[new], part[1:][new], reduction="none"))
    return torch.cat(found)


@torch.inference_mode()
def said_again(model: GPT, tokenizer: Tokenizer, stories: list[Tensor]) -> float:
    """Mean probability of a name, given the text so far, wherever it is not said for the first time.

    `stories` holds ids (N,), N at most the context. Only names that are one token are looked at.
    """
    names = {ids[0] for name in GIRLS + BOYS if len(ids := tokenizer.encode(f" {name}")) == 1}
    found = []
    for ids in stories:
        p = model(ids[:-1].to(model.token.weight.device)).softmax(-1).cpu()  # (N - 1, V)
        told = ids.tolist()
        found += [p[t - 1, i].item() for t, i in enumerate(told) if i in names and i in told[:t]]
    return sum(found) / len(found)


def train_taleteller(folder: Path, run: Path) -> None:
    """Train on tales, alone or in several processes. A run that was stopped goes on where it was."""
    text = tales(SIZE, SEED)
    tokenizer = Tokenizer(*train_bpe(text[:VOCABULARY], CONFIG.vocab_size))
    ids = torch.tensor(tokenizer.encode(text))
    torch.manual_seed(RECIPE.seed)
    model = GPT(CONFIG)
    resume, starts = bool(checkpoints(run)), beginnings(ids, tokenizer)
    if is_main():
        note_stage(run)
    for record in train(model, ids, RECIPE, folder=run, resume=resume, starts=starts):
        if is_main():
            print(record, flush=True)
    if is_main():
        keep(model, tokenizer, folder, run)


def note_stage(run: Path) -> None:
    """Add to the run's `stages.jsonl` after how many steps, and on what, training begins or goes on."""
    done = checkpoints(run)
    stage = {"step": int(done[-1].stem.removeprefix("step-")) if done else 0, "machine": machine()}
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "stages.jsonl", "a" if done else "w") as file:
        file.write(json.dumps(stage) + "\n")


def beginnings(ids: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Where blocks to learn from begin: with each story, and at a quarter as many other places.

    From the beginning of a story on nothing is said of which the reason cannot be seen.
    """
    end = torch.tensor(tokenizer.encode(SEPARATOR))
    n_places = len(ids) - CONFIG.block_size
    stories = (ids.unfold(0, len(end), 1) == end).all(-1).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(SEED)
    others = torch.randint(n_places, (len(stories) // 4,), generator=generator)
    return torch.cat([stories[stories < n_places], others])


def keep(model: GPT, tokenizer: Tokenizer, folder: Path, run: Path) -> None:
    """Save the model in half precision, its tokenizer, and how good it is beside how good it could be."""
    save(model, folder, torch.float16)
    tokenizer.save(folder / "tokenizer.json")
    score_taleteller(folder, run)


def score_taleteller(folder: Path, run: Path) -> dict:
    """Score the model that is there, and write what is found and how it was trained into its manifest."""
    model, tokenizer = load(folder), load_tokenizer(folder)
    told = held_out_tales(N_SCORED)
    found, best = story_score(model, tokenizer, told), floor(HELD_OUT_SEED, N_SCORED)
    notes = {
        "command": "make model",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "tales": {"size": SIZE, "vocabulary": VOCABULARY, "seed": SEED, "held_out_seed": HELD_OUT_SEED},
        "recipe": asdict(RECIPE),
        "training": how_trained(run),
        "trigram": round(trigram_loss(tales(VOCABULARY, SEED)[:VOCABULARY]), 4),
        "stories": N_SCORED,
        "nats_per_character": [round(found.loss, 4), round(found.loss_error, 4)],
        "floor": [round(best.nats_per_character, 4), round(best.standard_error, 4)],
        "excess": [round(found.excess, 5), round(found.excess_error, 5)],
    }
    save(model, folder, torch.float16, notes)
    return notes


def how_trained(run: Path) -> dict:
    """Seconds and tokens of all stages of a run, and on what each was done, as its folder says.

    Time is that of the steps alone, as the records have it: the time of steps that were done, lost and done again
    is in it once. A folder without `stages.jsonl` does not say what it was trained on, nor how often it was resumed.
    """
    def size(step: int) -> int:
        n_blocks, length = RECIPE.blocks(step, CONFIG.block_size)
        return n_blocks * length

    records, stages = (read_json_lines(run / name) for name in ("log.jsonl", "stages.jsonl"))
    tokens = seconds = done = 0
    for record in records:
        tokens += sum(map(size, range(done, record["step"])))
        # A record's speed counts each of its steps as long as the last of them.
        seconds += (record["step"] - done) * size(record["step"] - 1) / record["speed"]
        done = record["step"]
    return {
        "tokens": tokens,
        "seconds": round(seconds),
        "tokens_per_second": round(tokens / max(1, seconds)),
        "resumed_after_steps": [stage["step"] for stage in stages[1:]] if stages else None,
        "machines": [stage["machine"] for stage in stages] or None,
    }


def read_json_lines(path: Path) -> list[dict]:
    """The lines of a file, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trigram_loss(text: str) -> float:
    """Nats per character of what was held out, for a model that counts bytes by threes."""
    new = np.frombuffer(SEPARATOR.join(held_out(1000)).encode(), np.uint8)
    counts = NGram(np.frombuffer(text.encode(), np.uint8), 3, 256)
    return -float(counts.log_prob(new).mean())


def held_out(n: int) -> list[str]:
    """The first n stories that were not trained on."""
    return [tale.text for tale in held_out_tales(n)]


def held_out_tales(n: int) -> list[Tale]:
    """The same with the exact log-probability of each."""
    return list(islice(tell(HELD_OUT_SEED), n))


def generated(model: GPT, tokenizer: Tokenizer, n: int, temperature: float = 1.0) -> list[str]:
    """Stories that the model tells when it is given nothing but the end of another one."""
    start = tokenizer.encode(SEPARATOR)
    room = model.config.block_size - len(start)
    told = generate(
        model, [start] * n, room, temperature, generator=torch.Generator().manual_seed(SEED)
    )
    texts = (tokenizer.decode(ids[len(start) :].tolist()) for ids in told)
    return [text.split(SEPARATOR)[0] for text in texts]


def windows(text: str) -> set[int]:
    """All runs of WINDOW words, as hashes."""
    words = text.split()
    return {hash(tuple(words[i : i + WINDOW])) for i in range(len(words) - WINDOW + 1)}


def copied(training: str, stories: list[str]) -> set[int]:
    """Those of the stories' runs of words that a story of the training text has, too."""
    wanted = set().union(*map(windows, stories))
    return set().union(*(windows(story) & wanted for story in training.split(SEPARATOR)))


def verdict(stories: list[str], training: str, known: set[int]) -> dict[str, float]:
    """Parts of the stories, from 0 to 1, of which something holds."""
    judged = [judge(story) for story in stories]
    whole = [judgment.reached == len(story) for judgment, story in zip(judged, stories)]
    shared = [len((w := windows(story)) & known) / max(1, len(w)) for story in stories]
    n = len(stories)
    return {
        "are stories of the grammar": sum(parse(s).log_prob is not None for s in stories) / n,
        "are told in its sentences to the end": sum(whole) / n,
        "(part of the text before a sentence that no story has)":
            sum(j.reached / len(s) for s, j in zip(stories, judged)) / n,
        "keep *he* and *she*, as far as they can be read":
            sum(PRONOUNS.isdisjoint(said for _, said in j.slips) for j in judged) / n,
        "keep all names, things and places": sum(w and not j.slips for w, j in zip(whole, judged)) / n,
        f"are copies (over half of all runs of {WINDOW} words)": sum(s > 0.5 for s in shared) / n,
        "stand in the training text as they are": sum(s in training for s in stories) / n,
    }


def table(columns: dict[str, dict[str, float]]) -> str:
    """Markdown: a line for each thing that was measured, a column for each kind of story."""
    lines = [["of all stories, those that", *columns], ["---", *("---:" for _ in columns)]]
    for name in next(iter(columns.values())):
        lines.append([name, *(f"{100 * column[name]:.1f} %" for column in columns.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def judge_taleteller(folder: Path, n: int) -> str:
    """What n stories of the model are like, beside as many of the generator's; and does it look names up?"""
    model, tokenizer = load(folder), load_tokenizer(folder)
    training = tales(SIZE, SEED)
    told = {f"Taleteller, temperature {t}": generated(model, tokenizer, n, t) for t in (1.0, 0.5)}
    told["the generator"] = held_out(n)
    known = copied(training, sum(told.values(), []))
    verdicts = table({name: verdict(stories, training, known) for name, stories in told.items()})
    texts = (tokenizer.encode(SEPARATOR + story)[: model.config.block_size] for story in held_out(200))
    again = said_again(model, tokenizer, [torch.tensor(ids) for ids in texts])
    found = story_score(model, tokenizer, held_out_tales(N_SCORED))
    return (
        f"{verdicts}\n\nWhere a held-out story says a name once more, the model expects it with {again:.2f}.\n\n"
        f"Its loss on {N_SCORED:,} held-out stories is {found.loss:.4f} nats per character (standard error "
        f"{found.loss_error:.4f}). That is {found.excess:.4f} above\nthe exact log-probability of these stories "
        f"(standard error of the difference, story by story, {found.excess_error:.4f})."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description += f" {TIME}"
    parser.add_argument(
        "action", choices=["train", "judge", "score"],
        help="train a new one; judge the stories of the one there is; or measure its loss again, for its manifest",
    )
    parser.add_argument("--folder", type=Path, default=Path("_build/taleteller"), help="checkpoints of the training")
    parser.add_argument("--stories", type=int, default=200, help="stories to judge")


def run(args: argparse.Namespace) -> int:
    join_processes(pick_device("cpu"))
    try:
        if args.action == "train":
            train_taleteller(FOLDER, args.folder)
        elif args.action == "score":
            print(json.dumps(score_taleteller(FOLDER, args.folder), indent=1))
        else:
            print(judge_taleteller(FOLDER, args.stories))
    except (ValueError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        leave_processes()
    return 0
