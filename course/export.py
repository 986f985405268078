"""The language model of the live pages: a saved model as one script, which pages/live/gpt.js can run.

Without torch, so that a build of the book does not wait for it.
"""

import base64
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sphinx.application import Sphinx

from tinyllm.tokens import Tokenizer

SIZES = ("vocab_size", "block_size", "n_layer", "n_head", "d_model", "tie_weights")
MODEL = Path("tinyllm/taleteller")

# A weight is one printable character, of those that a JSON string need not escape: 93, so -46 to 46. Compared
# with base64 of int8 that is a quarter less to send, because gzip sees weights and not pieces of them.
DIGITS = "".join(chr(c) for c in range(32, 127) if chr(c) not in '"\\')
LARGEST = len(DIGITS) // 2


def quantize(weight: NDArray) -> tuple[NDArray, NDArray]:
    """Whole numbers from -46 to 46, int8 (n, C), and a scale for each row, float32 (n,).

    Their product is `weight` (n, C), up to half a scale; a row's largest number is 46.
    """
    scales = np.abs(weight).max(axis=-1).astype(np.float32) / LARGEST
    steps = np.rint(weight / np.where(scales > 0, scales, 1)[:, None])
    return steps.astype(np.int8), scales


def pack(weight: NDArray) -> dict[str, str]:
    """A matrix as digits and the scales of its rows; a vector, the gain of a norm, in float32."""
    if weight.ndim == 1:
        return {"gain": base64_of(weight)}
    steps, scales = quantize(weight.astype(np.float32))
    return {"digits": "".join(DIGITS[step + LARGEST] for step in steps.flat), "scales": base64_of(scales)}


def base64_of(numbers: NDArray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def script(folder: str | Path, name: str) -> str:
    """What gives the model in `folder` to a page: `Live.provide(name, ...)`.

    `folder` holds what `tinyllm.model.save` and, in `tokenizer.json`, `Tokenizer.save` wrote. Raises
    `ValueError` for a model that the page could not run.
    """
    config = json.loads(Path(folder, "model.json").read_text(encoding="utf8"))["config"]
    strange = [name for name in config if name not in SIZES]
    if strange:
        raise ValueError(f"the page runs the parts of chapter 07 only, and this model has another {strange[0]}")
    if config["d_model"] % 4:
        raise ValueError(f"the page adds up channels by fours, so d_model cannot be {config['d_model']}")
    weights = load_file(Path(folder, "model.safetensors"))
    tensors = {weight: pack(numbers) for weight, numbers in weights.items()}
    tokenizer = Tokenizer.load(Path(folder, "tokenizer.json"))
    data = {"config": config, "tensors": tensors} | pairs_and_pattern(tokenizer)
    return f"Live.provide({json.dumps(name)}, {json.dumps(data)});\n"


def pairs_and_pattern(tokenizer: Tokenizer) -> dict:
    """Merges as pairs of ids, and a pattern that JavaScript reads as Python's `regex` does."""
    ids = {token: i for i, token in tokenizer.vocab.items()}
    own = [bytes([i]) for i in range(256)] + [a + b for a, b in tokenizer.merges]
    if [tokenizer.vocab.get(i) for i in range(len(ids))] != own:
        raise ValueError("expected ids for 256 bytes and then one for each merge, as train_bpe gives them")
    # What is a space to JavaScript differs in two characters.
    pattern = tokenizer.pattern.replace(r"\s", r"\p{White_Space}").replace(r"\S", r"\P{White_Space}")
    return {"merges": [[ids[a], ids[b]] for a, b in tokenizer.merges], "pattern": pattern}


def give_model(app: Sphinx, exception: Exception | None) -> None:
    """Put the book's model beside the widgets of a rendered book, if it is not there or has changed."""
    folder, page = Path(app.srcdir, MODEL), Path(app.outdir, "_static/live/taleteller.js")
    if exception or app.builder.format != "html" or not folder.exists():
        return
    changed = max(path.stat().st_mtime for path in [*folder.iterdir(), Path(__file__)])
    if not page.exists() or page.stat().st_mtime < changed:
        page.write_text(script(folder, "taleteller"), encoding="utf8")
