"""`python -m tinyllm.ids`: write a text that is larger than memory as a file of ids, for training.

    python -m tinyllm.ids --data corpus.txt --tokenizer tokenizer.json --out corpus.bin
    python -m tinyllm.train --data corpus.bin --tokenizer tokenizer.json --config config.json --out run

A file `.bin` holds nothing but ids, of two bytes where the vocabulary has at most 65,536 tokens, and else of
four; a file `.npy` says which, too. Neither is ever in memory as a whole.
"""

import argparse
import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinyllm.tokens import Tokenizer, train_bpe

DTYPES = np.dtype("<u2"), np.dtype("<u4")


def dtype_of(vocab_size: int) -> np.dtype:
    """The smallest whole numbers that hold each id of a vocabulary."""
    return DTYPES[vocab_size > 1 << 16]


def to_ids(tokens: Iterable[int], vocab_size: int) -> Tensor:
    """Ids (N,) in two or four bytes each, without ever holding more. `ValueError` for one that is none."""
    return torch.from_numpy(as_array(tokens, vocab_size))


def as_array(tokens: Iterable[int], vocab_size: int) -> np.ndarray:
    try:
        ids = np.fromiter(tokens, dtype_of(vocab_size))
    except OverflowError as error:
        raise ValueError(f"an id is not in the vocabulary, 0 to {vocab_size - 1}: {error}") from None
    if len(ids) and ids.max() >= vocab_size:
        raise ValueError(f"id {ids.max()} is not in the vocabulary, 0 to {vocab_size - 1}")
    return ids


def write_ids(path: str | Path, tokens: Iterable[int], vocab_size: int) -> int:
    """Write ids to a file `.bin` or `.npy` as they come, whole or not at all; return how many.

    Raises `ValueError` for an id outside of the vocabulary, and where there are none.
    """
    path, dtype, n = Path(path), dtype_of(vocab_size), 0
    check_suffix(path)
    tokens = iter(tokens)
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        if path.suffix == ".npy":
            write_header(file, dtype, 0)
        while len(part := as_array(islice(tokens, 1 << 20), vocab_size)):
            file.write(part.tobytes())
            n += len(part)
        if path.suffix == ".npy":
            file.seek(0)
            write_header(file, dtype, n)
        file.flush()
        os.fsync(file.fileno())
    if not n:
        os.remove(unfinished)
        raise ValueError(f"there are no ids to write to {path}")
    os.replace(unfinished, path)
    return n


def write_header(file, dtype: np.dtype, n: int) -> None:
    """What a file `.npy` begins with; numpy leaves room for n to grow."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(file, header)


def read_ids(path: str | Path, vocab_size: int) -> Tensor:
    """Ids (N,) of a file, mapped into memory: what is not looked at is not read.

    Raises `ValueError` for a file that is not one of ids of this vocabulary's size.
    """
    path = Path(path)
    check_suffix(path)
    if path.suffix == ".npy":
        try:
            ids = np.lib.format.open_memmap(path, mode="c")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is no file of numbers by numpy: {error}") from None
        if ids.ndim != 1 or ids.dtype not in DTYPES:
            raise ValueError(f"{path} must hold one row of uint16 or uint32, not {ids.dtype} {ids.shape}")
    else:
        dtype, size = dtype_of(vocab_size), path.stat().st_size
        if not size or size % dtype.itemsize:
            raise ValueError(f"{path} has {size} bytes: no whole number of ids of {dtype.itemsize} bytes")
        ids = np.memmap(path, dtype, mode="c")  # "c": torch wants to be allowed to write, into memory
    return torch.from_numpy(ids)


def is_ids(path: str | Path) -> bool:
    """Is this the name of a file of ids?"""
    return Path(path).suffix in (".bin", ".npy")


def check_suffix(path: Path) -> None:
    if not is_ids(path):
        raise ValueError(f"a file of ids is called .bin or .npy, not {path.name}")


def read_chunks(data: str, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a file, or for "-" of standard input, in chunks."""
    with sys.stdin.buffer if data == "-" else open(data, "rb") as file:
        while chunk := file.read(size):
            yield chunk


def read_utf8(data: str) -> Iterator[str]:
    """The text of a file, or of standard input, in chunks. ValueError if it is not in UTF-8."""
    try:
        yield from codecs.iterdecode(read_chunks(data), "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{data} is not text in UTF-8: {error}") from None


def check_files(args: argparse.Namespace) -> None:
    """Raise `ValueError` where a file that is there would be written over, or read twice and cannot."""
    if args.vocab_size is not None and args.data == "-":
        raise ValueError("a text that is read twice cannot come from standard input")
    if args.vocab_size is not None and os.path.exists(args.tokenizer):
        raise ValueError(f"{args.tokenizer} is there already: to use it, leave out --vocab-size")
    if args.data != "-" and os.path.exists(args.out) and os.path.samefile(args.data, args.out):
        raise ValueError(f"{args.out} is the text itself, which would be lost")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tinyllm.ids",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="a text in UTF-8: a file, or - for standard input")
    parser.add_argument("--tokenizer", required=True, help="a file that `Tokenizer.from_file` reads")
    parser.add_argument("--vocab-size", type=int, help="train a tokenizer on the text first, and write it there")
    parser.add_argument("--special", nargs="+", default=[], help="special tokens of the tokenizer to look for in the text")
    parser.add_argument("--out", required=True, help="a file .bin or .npy")
    args = parser.parse_args(argv)
    try:
        check_files(args)
        if args.vocab_size is not None:
            Tokenizer(*train_bpe(read_utf8(args.data), args.vocab_size)).save(args.tokenizer)
        tokenizer = Tokenizer.from_file(args.tokenizer)
        vocab_size = max(tokenizer.vocab) + 1
        n = write_ids(args.out, tokenizer.encode_iterable(read_utf8(args.data), args.special), vocab_size)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{n:,} ids of {dtype_of(vocab_size).itemsize} bytes in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
