"""`python -m tinyllm.chat`: a model goes on with what you write, in a terminal.

`--model` is "taleteller", the model of the book; a folder that `tinyllm.train` wrote; or one of a published model, with
`config.json`, `model.safetensors` and `tokenizer.json`. With the package `huggingface_hub` it may be a name on its hub,
such as HuggingFaceTB/SmolLM2-135M.

Each line begins a text. An empty line goes on with the last one. Ctrl-C stops a text, Ctrl-D ends the program.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from tinyllm.devices import DEVICES, pick_device
from tinyllm.generation import check_sampling, prepare, stream
from tinyllm.model import GPT, find, load, load_tokenizer
from tinyllm.pretrained import fetch, load_pretrained
from tinyllm.tokens import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Writer:
    """A model, and how its texts begin and end: `start` are ids before each, `stop` texts after it."""

    model: GPT
    tokenizer: Tokenizer
    start: list[int]
    stop: list[str]


def main(argv: list[str] | None = None) -> int:
    about, usage = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m tinyllm.chat",
        description=about,
        epilog=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="taleteller", help="a folder, a name on the hub, or taleteller (the default)")
    add("--device", default="auto", choices=DEVICES, help="auto: a GPU where there is one (the default)")
    add("--dtype", choices=DTYPES, help="bits of a weight; a published model keeps its own unless told")
    add("--temperature", type=float, default=0.8, help="0 always takes the likeliest token (0.8)")
    add("--top-k", type=int, help="only among the k likeliest tokens")
    add("--top-p", type=float, help="only among the likeliest that have this probability together")
    add("--min-p", type=float, help="only tokens of this part of the likeliest one's probability")
    add("--repetition-penalty", type=float, default=1.0, help="above 1: avoid what was said (1)")
    add("--max-new-tokens", type=int, default=300, help="the most that is written at a time (300)")
    add("--stop", action="append", help="end before this text; may be given several times")
    add("--seed", type=int, help="make texts repeatable")
    args = parser.parse_args(argv)
    sampling = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    try:
        check_sampling(**sampling)
        writer = read_writer(args.model, pick_device(args.device), DTYPES.get(args.dtype))
        writer.stop = writer.stop if args.stop is None else args.stop
        options = sampling | dict(repetition_penalty=args.repetition_penalty, generator=seeded(args.seed))
        converse(writer, args.max_new_tokens, options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130
    return 0


def seeded(seed: int | None) -> torch.Generator:
    """A generator on the CPU, whose draws are the same for every device."""
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    return generator


def read_writer(name: str, device: torch.device, dtype: torch.dtype | None) -> Writer:
    """The model of this name, ready to write. Errors say what a folder lacks."""
    folder = find(name)
    if not folder.exists():
        folder = fetch(name)
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a model is a folder")
    ours = (folder / "model.json").is_file()
    if not ours and not (folder / "config.json").is_file():
        kinds = "model.json, as tinyllm.train writes it, nor config.json, as published models have it"
        raise FileNotFoundError(f"{folder} holds no model: neither {kinds}")
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{folder} has no tokenizer.json")
    model = load(folder).to(dtype) if ours else load_pretrained(folder, dtype)
    tokenizer = load_tokenizer(folder)
    model = model.to(device).requires_grad_(False)
    if device.type == "cpu" and model.token.weight.dtype == torch.float32:
        prepare(model)
    if name == "taleteller":  # a blank line stands between its tales
        return Writer(model, tokenizer, tokenizer.encode("\n\n"), ["\n\n"])
    return Writer(model, tokenizer, *beginning_and_end(folder, tokenizer))


def beginning_and_end(folder: Path, tokenizer: Tokenizer) -> tuple[list[int], list[str]]:
    """The ids that a published tokenizer puts before each text, and the tokens that end one."""
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8-sig"))
    step = saved.get("post_processor") or {}
    start = []
    for step in step.get("processors", [step]):
        for piece in step.get("single", []) if step.get("type") == "TemplateProcessing" else []:
            if "Sequence" in piece:
                break
            start += step["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
    ends = set()
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        end = json.loads(path.read_text(encoding="utf-8-sig")).get("eos_token_id") if path.is_file() else None
        ends |= set(end if isinstance(end, list) else [] if end is None else [end])
    return start, [tokenizer.decode([i]) for i in sorted(ends) if i in tokenizer.vocab]


def converse(writer: Writer, max_new_tokens: int, options: dict) -> None:
    """Read lines and go on with them, until there are no more."""
    interactive = sys.stdin.isatty()
    if interactive:
        print("Begin a text. An empty line goes on with it; Ctrl-C stops it, Ctrl-D ends.", file=sys.stderr)
    ids = list(writer.start)
    while True:
        try:
            line = input("> " if interactive else "")
            line = line.removeprefix("\ufeff").removesuffix("\r")  # of a file from Windows
            if line:
                ids = writer.start + writer.tokenizer.encode(line)
            if not ids:
                print("write something to go on with", file=sys.stderr)
                continue
            print(line, end="", flush=True)
            ids += write(writer, ids, max_new_tokens, options)
            print("\n", flush=True)
        except KeyboardInterrupt:  # it was meant for a text that had just ended
            print()
        except EOFError:
            print(end="\n" if interactive else "")
            return


def write(writer: Writer, ids: list[int], max_new_tokens: int, options: dict) -> list[int]:
    """Show what comes after `ids` while it is written, and return its ids. Ctrl-C ends it."""
    parts = []
    try:
        for part in stream(
            writer.model, writer.tokenizer, ids, max_new_tokens, writer.stop, slide=True, **options
        ):
            parts.append(part)
            print(part, end="", flush=True)
    except KeyboardInterrupt:
        pass
    return writer.tokenizer.encode("".join(parts))


if __name__ == "__main__":
    sys.exit(main())
