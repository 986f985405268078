"""`python -m tinyllm.train`: train a tokenizer and a model on a text.

The configuration is JSON with the keys of `Config` and of `Recipe`:

    {"model": {"vocab_size": 1024, "block_size": 128,
               "n_layer": 4, "n_head": 4, "d_model": 128},
     "training": {"n_steps": 2000, "batch_size": 24}}

The folder gets `log.jsonl` and checkpoints, and in the end `tokenizer.json` and the model, which
`tinyllm.model.load` reads.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tinyllm.model import GPT, Config, from_dict, save
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.training import Recipe, checkpoints, train


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tinyllm.train",
        description=__doc__.split("\n\n", 1)[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="a text file in UTF-8, or - for standard input")
    parser.add_argument("--config", required=True, type=Path, help="a JSON file")
    parser.add_argument("--out", required=True, type=Path, help="the folder of this run")
    parser.add_argument("--resume", action="store_true", help="go on from its newest checkpoint")
    args = parser.parse_args(argv)
    try:
        run(args.data, args.config, args.out, args.resume)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (FloatingPointError, KeyboardInterrupt) as stop:
        newest = (checkpoints(args.out) or ["none"])[-1]
        print(f"{str(stop) or 'interrupted'}; the last checkpoint is {newest}", file=sys.stderr)
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    return 0


def run(data: str, config_file: Path, folder: Path, resume: bool) -> None:
    """Train, and print each record as a line of JSON. The last tenth of the text is for validation."""
    config, recipe = read_config(config_file)
    text = sys.stdin.read() if data == "-" else Path(data).read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    if not text[:cut]:
        raise ValueError(f"there is no text to train on in {data}")
    tokenizer = Tokenizer(*train_bpe(text[:cut], config.vocab_size))
    ids, validation = (torch.tensor(tokenizer.encode(part)) for part in (text[:cut], text[cut:]))
    torch.manual_seed(recipe.seed)
    model = GPT(replace(config, vocab_size=len(tokenizer.vocab)))
    for record in train(model, ids, recipe, validation, folder, resume):
        print(json.dumps(record), flush=True)
    tokenizer.save(folder / "tokenizer.json")
    save(model, folder)


def read_config(path: Path) -> tuple[Config, Recipe]:
    """The two halves of a configuration file. ValueError for what it does not know."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or set(values) != {"model", "training"}:
        raise ValueError(f'{path} needs the keys "model" and "training", and has {list(values)}')
    return from_dict(Config, values["model"]), from_dict(Recipe, values["training"])


if __name__ == "__main__":
    sys.exit(main())
