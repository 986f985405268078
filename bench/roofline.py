"""The roofline of this machine: what it multiplies and what it moves in a second, and how near a model comes.

Prints a Markdown document. A routine with an arithmetic intensity of I, that is I floating-point operations
(FLOP) for each byte that it moves, can do at most min(peak, I x bandwidth) of them a second (Williams, Waterman and
Patterson 2009). Peak is the best of some products of square matrices, bandwidth the best of some copies that are too
large for a cache. Beside them: the matrix product of a training step, a whole training step, and one token that is
decoded with a cache, alone and 16 at a time.

Each number is the best of some rounds in CPU time of one thread. Whatever else the machine does takes cache and memory
from it, and makes it smaller, never larger: so the document says how busy the machine was.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import sys
from collections.abc import Callable
from time import process_time

import torch
from course.taleteller import CONFIG
from machine import machine
from tinyllm.devices import has_bf16
from tinyllm.generation import Cache
from tinyllm.model import GPT, Config, flops_per_token, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

ROUNDS = 7
SIZES = 256, 512, 1024, 2048  # of square matrices
COPIED = 1 << 26  # numbers, 256 MiB in 32 bits: no cache holds them
BATCH = 24
BIG = Config(8192, 512, n_layer=8, n_head=8, d_model=768)


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The best of some rounds, after one that does not count."""
    work()
    best = float("inf")
    for _ in range(rounds):
        began = process_time()
        work()
        best = min(best, process_time() - began)
    return best


def matmul_rate(m: int, k: int, n: int, dtype: torch.dtype) -> float:
    """FLOP/s; a multiplication and an addition are two."""
    a, b = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
    return 2 * m * k * n / seconds(lambda: a @ b)


def matmul_intensity(m: int, k: int, n: int, itemsize: int) -> float:
    """FLOP for each byte, if each matrix is moved once: 2 m k n / (m k + k n + m n) / itemsize."""
    return 2 * m * k * n / (m * k + k * n + m * n) / itemsize


def bandwidth(dtype: torch.dtype) -> float:
    """Bytes a second, of which a copy reads one half and writes the other."""
    source = torch.ones(COPIED, dtype=dtype)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source))


def decode_intensity(config: Config, n_texts: int, length: int, itemsize: int = 4) -> float:
    """FLOP for each byte of one more token for each of some texts: weights are read once for all of them."""
    C, V = config.d_model, config.vocab_size
    flop = n_texts * (flops_per_token(config) - 4 * config.n_layer * C * (config.block_size - length))
    embedding = (V + config.block_size) * C  # of these a row each is read
    weights = n_parameters(config) - embedding
    cache = n_texts * config.n_layer * 2 * length * C
    return flop / itemsize / (weights + cache)


@torch.inference_mode()
def decode_rate(config: Config, n_texts: int, length: int) -> float:
    """FLOP/s while tokens are decoded, the (length)th each."""
    torch.manual_seed(0)
    model, ids = GPT(config), torch.randint(config.vocab_size, (n_texts, length))
    cache = Cache(model, n_texts, config.block_size)
    model(ids[:, :-1], cache)

    def one_more() -> None:
        model(ids[:, -1:], cache)
        cache.length = length - 1

    flop = n_texts * (flops_per_token(config) - 4 * config.n_layer * config.d_model * (config.block_size - length))
    return flop / seconds(one_more, 4 * ROUNDS)


def step_rate(config: Config, bf16: bool) -> float:
    """FLOP/s of a training step: three times those of a forward pass, as `flops_per_token` counts."""
    torch.manual_seed(0)
    model, how = GPT(config), TrainConfig(100, BATCH, bf16=bf16)
    optimizers = make_optimizers(model, how)
    ids = torch.randint(config.vocab_size, (BATCH, config.block_size + 1))
    work = lambda: train_step(model, optimizers, ids[:, :-1], ids[:, 1:], 0, how)
    return 3 * flops_per_token(config) * BATCH * config.block_size / seconds(work, 3)


def table(head: str, lines: list[list[str]]) -> str:
    columns = head.split("|")
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---", *["--:"] * (len(columns) - 1)], *lines])


def giga(x: float) -> str:
    return f"{x / 1e9:,.1f}" if x < 1e11 else f"{x / 1e9:,.0f}"


def main() -> None:
    kinds = {"32 bits": torch.float32, "16 bits (bfloat16)": torch.bfloat16}
    rates = {name: {n: matmul_rate(n, n, n, dtype) for n in SIZES} for name, dtype in kinds.items()}
    moved = {name: bandwidth(dtype) for name, dtype in kinds.items()}
    peak = {name: max(found.values()) for name, found in rates.items()}
    loads = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    units = "with" if has_bf16(torch.device("cpu")) else "without"
    print(f"# The roofline\n\n{machine()}, torch {torch.__version__}, one thread, {units} 16-bit matrix units.")
    print(f"Load of the machine while this was measured, processes that wanted a core: {loads}. G is 10^9.\n")
    print("A product of matrices n by n, GFLOP/s; what a copy moves, GB/s; and where the roof bends, FLOP for each byte.\n")
    lines = [[name, *(giga(rates[name][n]) for n in SIZES), giga(moved[name]), f"{peak[name] / moved[name]:.0f}"]
             for name in kinds]
    print(table("numbers|" + "|".join(f"n = {n}" for n in SIZES) + "|copy|bend", lines))

    C, T, B = CONFIG.d_model, CONFIG.block_size, BATCH
    rows = []

    def row(what: str, intensity: float, rate: float, name: str = "32 bits") -> list[str]:
        roof = min(peak[name], intensity * moved[name])
        print(what, file=sys.stderr, flush=True)
        return [what, name, f"{intensity:,.1f}", giga(roof), giga(rate), f"{100 * rate / roof:.0f} %"]

    shape = B * T, C, 4 * C
    for name, dtype in kinds.items():
        rows.append(row(f"the MLP's first matrix in a training step, {B * T:,} tokens",
                        matmul_intensity(*shape, dtype.itemsize), matmul_rate(*shape, dtype), name))
    rows.append(row("the same for one token", matmul_intensity(1, C, 4 * C, 4), matmul_rate(1, C, 4 * C, torch.float32)))
    for n_texts in (1, 16):
        rows.append(row(f"a token decoded for {n_texts} text{'s' * (n_texts > 1)} of {T // 2}",
                        decode_intensity(CONFIG, n_texts, T // 2), decode_rate(CONFIG, n_texts, T // 2)))
    print(f"\nTaleteller's sizes: {n_parameters(CONFIG):,} weights of 4 bytes, which fit into a cache here: small models can be"
          "\nabove the roof of memory. FLOP for each byte; the roof over it and what was reached, GFLOP/s.\n")
    print(table("what|numbers|FLOP per byte|roof|reached|of the roof", rows))

    rows = [row(f"a token decoded for {n} text{'s' * (n > 1)} of 256", decode_intensity(BIG, n, 256), decode_rate(BIG, n, 256))
            for n in (1, 16)]
    print(f"\nA model of {n_parameters(BIG):,} weights, {4 * n_parameters(BIG) / 1e6:,.0f} MB, which no cache holds:\n")
    print(table("what|numbers|FLOP per byte|roof|reached|of the roof", rows))

    print(f"\nA whole training step of Taleteller, of {B} blocks of {T} tokens, with all that is no product of matrices:\n")
    steps = [(name, step_rate(CONFIG, bf16)) for name, bf16 in zip(kinds, (False, True))]
    print(table("products in|GFLOP/s|of the peak", [[name, giga(rate), f"{100 * rate / peak[name]:.0f} %"] for name, rate in steps]))


if __name__ == "__main__":
    main()
