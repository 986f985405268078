"""`python -m tinyllm.train`: train a tokenizer and a model on a text.

The configuration is JSON with the keys of `Config` and of `TrainConfig`:

    {"model": {"vocab_size": 1024, "block_size": 128,
               "n_layer": 4, "n_head": 4, "d_model": 128},
     "training": {"n_steps": 2000, "batch_size": 24}}

The folder gets `log.jsonl` and checkpoints, and in the end `tokenizer.json` and the model, which
`tinyllm.model.load` reads. A text that is larger than memory is first made a file of ids, by
`python -m tinyllm.ids`; such a file (.bin, .npy) is read where it is, and never as a whole.

Two processes share the work, and learn what one would learn, when they are started by

    torchrun --standalone --nproc_per_node 2 -m tinyllm.train --data ... --config ... --out ...

With --shard each has a part of the weights, gradients and optimizer states only. A run that one
kind of processes began can be resumed by any other: all write the same checkpoints.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from tinyllm.batches import beginnings
from tinyllm.checkpoints import checkpoints
from tinyllm.devices import DEVICES, is_distributed, is_main, join_processes, leave_processes, pick_device
from tinyllm.ids import is_ids, read_chunks, read_ids, to_ids
from tinyllm.model import GPT, Config, from_dict, save
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig, current_names
from tinyllm.training import train


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tinyllm.train",
        description=__doc__.split("\n\n", 1)[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", required=True, help="a text in UTF-8: a file, or - for standard input; or a file of ids"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="a file that `Tokenizer.from_file` reads, instead of one that is trained"
    )
    parser.add_argument("--config", required=True, type=Path, help="a JSON file")
    parser.add_argument("--out", required=True, type=Path, help="the folder of this run")
    parser.add_argument("--resume", action="store_true", help="go on from its newest checkpoint")
    parser.add_argument(
        "--separator",
        help="the text with which each document begins, best a special token of the tokenizer such as "
        "<|endoftext|>; no token is then seen from another document",
    )
    parser.add_argument("--shard", action="store_true", help="divide the model among the processes of torchrun")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to train")
    parser.add_argument(
        "--floor",
        type=float,
        help="the best loss that any model can reach, in nats per character; "
        "a terminal then shows how far the loss is above it, per token as the loss is",
    )
    args = parser.parse_args(argv)
    try:
        device = pick_device(args.device)
        join_processes(device)
        run(args, device)
        leave_processes()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (FloatingPointError, KeyboardInterrupt) as stop:
        newest = (checkpoints(args.out) or ["none"])[-1]
        print(f"{str(stop) or 'interrupted'}; the last checkpoint is {newest}", file=sys.stderr)
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    return 0


def run(args: argparse.Namespace, device: torch.device) -> None:
    """Train, and print each record as a line of JSON. The last tenth of the text is for validation."""
    config, settings = read_config(args.config)
    check_out(args.out, args.resume)
    if args.shard and not is_distributed():
        raise ValueError("--shard divides a model among several processes, which torchrun starts: there is one")
    settings = replace(settings, shard=settings.shard or args.shard)
    read = mapped_data if is_ids(args.data) else text_data
    tokenizer, ids, validation, floor = read(args, config)
    check_lengths(ids, validation, config.block_size)
    if args.separator is not None:
        settings = replace(settings, separate=separator_ids(args.separator, tokenizer, ids))
    if tokenizer and not is_ids(args.data):
        config = replace(config, vocab_size=max(tokenizer.vocab) + 1)
    torch.manual_seed(settings.seed)  # the same first weights on every device
    model = GPT(config).to(device)
    options = dict(folder=args.out, resume=args.resume, floor=floor)
    for record in train(model, ids, settings, validation, **options):
        if is_main():
            with tqdm.external_write_mode():  # above the bar, where there is one
                print(json.dumps(record), flush=True)
    save(model, args.out)
    if is_main() and tokenizer:
        tokenizer.save(args.out / "tokenizer.json")


def check_out(folder: Path, resume: bool) -> None:
    """Raise `ValueError` where a run would write over a model or a tokenizer that is no run's."""
    for name in ("model.json", "model.safetensors", "tokenizer.json"):
        if not resume and not checkpoints(folder) and (folder / name).exists():
            raise ValueError(f"{folder} has a {name} already: take another folder")


def separator_ids(separator: str, tokenizer: Tokenizer | None, ids: torch.Tensor) -> tuple[int, ...]:
    """What a separator is in a text. `ValueError` where it does not occur, or is other ids, too."""
    if tokenizer is None:
        raise ValueError("--separator needs --tokenizer: nobody knows which ids it stands for")
    found = tuple(tokenizer.encode(separator, special(separator, tokenizer)))
    begins = beginnings(ids[: 1 << 22].long(), found)
    if not begins.any():
        raise ValueError(f"no document begins with {separator!r}, which is {list(found)} as ids")
    n_found = int(begins[: 1 << 20].sum())
    n_there = tokenizer.decode(ids[: 1 << 20].tolist()).count(separator)
    if n_found < n_there:
        part = f"{n_found} of {n_there} are {list(found)} as ids"
        raise ValueError(f"not every {separator!r} is the same ids, {part}: take a special token")
    return found


def special(separator: str | None, tokenizer: Tokenizer) -> set[str]:
    """The special tokens that a text is read with: its separator, if it is one."""
    return {separator} & set(tokenizer.special_ids)


Data = tuple[Tokenizer | None, torch.Tensor, torch.Tensor, float | None]


def text_data(args: argparse.Namespace, config: Config) -> Data:
    """A tokenizer, the ids to learn from and those for validation, and the floor in nats per token."""
    text = read_text(args.data)
    cut = len(text) * 9 // 10
    if args.tokenizer:
        tokenizer = Tokenizer.from_file(args.tokenizer)
    else:
        tokenizer = Tokenizer(*train_bpe(text[:cut], config.vocab_size))
    size, allowed = max(tokenizer.vocab) + 1, special(args.separator, tokenizer)
    ids, validation = (to_ids(tokenizer.encode_iterable(part, allowed), size) for part in (text[:cut], text[cut:]))
    floor = args.floor * cut / max(1, len(ids)) if args.floor is not None else None
    return tokenizer, ids, validation, floor


def mapped_data(args: argparse.Namespace, config: Config) -> Data:
    """The same from a file of ids, of which nobody knows the characters."""
    if args.floor is not None:
        raise ValueError("--floor is in nats per character, and a file of ids does not say how many these are")
    tokenizer = Tokenizer.from_file(args.tokenizer) if args.tokenizer else None
    if tokenizer and max(tokenizer.vocab) >= config.vocab_size:
        sizes = f"{max(tokenizer.vocab) + 1} tokens, and vocab_size is {config.vocab_size}"
        raise ValueError(f"the tokenizer has {sizes}")
    ids = read_ids(args.data, max(tokenizer.vocab) + 1 if tokenizer else config.vocab_size)
    cut = len(ids) * 9 // 10
    return tokenizer, ids[:cut], ids[cut:], None


def read_config(path: Path) -> tuple[Config, TrainConfig]:
    """The two halves of a configuration file. ValueError for what it does not know."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict) or set(values) != {"model", "training"}:
        has = list(values) if isinstance(values, dict) else values
        raise ValueError(f'{path} needs the keys "model" and "training", and has {has}')
    for name, half in values.items():
        if not isinstance(half, dict):
            raise ValueError(f'{path}: "{name}" must hold names and values, not {half!r}')
    return from_dict(Config, values["model"]), from_dict(TrainConfig, current_names(values["training"]))


def read_text(data: str) -> str:
    """The text in a file, or for "-" that from standard input."""
    if data == "-" and is_distributed():
        raise ValueError("several processes cannot share standard input: give --data a file")
    try:
        # The bytes as they are: a text layer would change line ends, or expect other letters than UTF-8.
        text = b"".join(read_chunks(data)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{data} is not text in UTF-8: {error}") from None
    if not text.strip():
        raise ValueError(f"there is no text to train on in {data}")
    return text


def check_lengths(ids: torch.Tensor, validation: torch.Tensor, block_size: int) -> None:
    """Raise `ValueError` unless there is a block to learn from, and two to evaluate on."""
    if len(ids) <= block_size or len(validation) <= 2 * block_size:
        raise ValueError(
            f"too little text for blocks of {block_size} tokens: there are {len(ids)} to train on and "
            f"{len(validation)} for validation, and needed are {block_size + 1} and {2 * block_size + 1}"
        )


if __name__ == "__main__":
    sys.exit(main())
