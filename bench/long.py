"""What attention costs as a text grows: over all pairs, in a window, and with a memory of fixed size.

Prints a Markdown document. Contestants take turns, and the best of several rounds counts, in seconds of one CPU;
ratios are of the same run. Memory is what a process of its own needs more at its peak than before.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: one thread for everybody

import resource
import sys

# For all alike: glibc keeps memory that was freed, as it does for small tensors. Else each large one is paid for again,
# page by page, which costs whoever makes several of them a third of the time.
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32), "MALLOC_TOP_PAD_": str(1 << 28)}
if __name__ == "__main__":
    if not KEEP.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    for name in KEEP:  # read by now; memory is measured in processes without them
        del os.environ[name]

from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import process_time

import torch
from machine import machine
from tinyllm.attention import attention, causal_mask
from tinyllm.delta import delta_chunked, delta_recurrent
from tinyllm.features import elu_plus_one, positive_features, random_projections, taylor_features
from tinyllm.linear_attention import linear_chunked, linear_recurrent
from tinyllm.online_softmax import online_attention
from tinyllm.windows import window_attention
from torch import Tensor
from torch.nn import functional as F

HEADS, SIZES, LENGTHS = 4, (32, 64), (512, 1024, 4096, 16384)
WINDOW, M = 256, 256  # tokens, random features
CHUNKS = (16, 32, 64, 128, 256)
TURN = 0.15  # seconds that a turn takes at least
SDPA = "`scaled_dot_product_attention`"


def inputs(T: int, d: int, heads: int = HEADS) -> list[Tensor]:
    """Queries, keys of length 1, values (1, heads, T, d); strengths and log gates (1, heads, T)."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, T, d, generator=generator) for _ in range(3))
    beta, gate = (torch.rand(1, heads, T, generator=generator) for _ in range(2))
    return [q, F.normalize(k, dim=-1), v, beta, -0.1 * gate]


def naive(q, k, v, beta, gate):
    return attention(q, k, v, causal_mask(q.shape[-2]))


def sdpa(q, k, v, beta, gate):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def online(q, k, v, beta, gate):
    return online_attention(q, k, v, causal=True)


def window(q, k, v, beta, gate):
    return window_attention(q, k, v, WINDOW)


def linear(q, k, v, beta, gate, **options):
    return linear_chunked(elu_plus_one(q), elu_plus_one(k), v, **options)[0]


def gated(q, k, v, beta, gate, **options):
    return linear_chunked(q, k, v, gate, normalize=False, **options)[0]


def taylor(q, k, v, beta, gate):
    return linear_chunked(*(taylor_features(x * x.shape[-1] ** -0.25) for x in (q, k)), v)[0]


def favor(q, k, v, beta, gate):
    generator = torch.Generator().manual_seed(0)
    projections = random_projections(M, q.shape[-1], generator=generator)
    return linear_chunked(*(positive_features(x * x.shape[-1] ** -0.25, projections) for x in (q, k)), v)[0]


def delta(q, k, v, beta, gate, **options):
    return delta_chunked(q, k, v, beta, **options)[0]


def gated_delta(q, k, v, beta, gate, **options):
    return delta_chunked(q, k, v, beta, gate, **options)[0]


TIMED = {
    SDPA: sdpa,
    f"window of {WINDOW}": window,
    "linear, elu + 1": linear,
    "gated linear": gated,
    "delta": delta,
    "gated delta": gated_delta,
    f"FAVOR+, {M} features": favor,
}
MEASURED = {"naive softmax": naive, SDPA: sdpa, "online softmax": online} | {
    name: f for name, f in TIMED.items() if name != SDPA
}

def forward(f: Callable, data: Sequence[Tensor]) -> None:
    with torch.no_grad():
        f(*data)


def backward(f: Callable, data: Sequence[Tensor]) -> None:
    leaves = [x.detach().requires_grad_() for x in data]
    f(*leaves).sum().backward()


def best_times(runs: Sequence[Callable], rounds: int) -> list[float]:
    """CPU milliseconds of each, the best of several rounds in which they take turns.

    What is quick runs several times in a row, so that it does not only run with cold caches.
    """
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, mine in zip(runs, times):
            turn = process_time()
            while not mine or process_time() < turn + TURN:
                start = process_time()
                run()
                mine.append(1000 * (process_time() - start))
    return [min(mine) for mine in times]


def number(x: float) -> str:
    return f"{x:,.0f}" if x >= 10 else f"{x:.1f}" if x >= 1 else f"{x:.2f}"


def times(d: int) -> dict[tuple[str, int], tuple[float, float]]:
    """Milliseconds of each contestant at each length, forward and with backward."""
    found = {}
    for T in LENGTHS:
        data, rounds = inputs(T, d), 2 if T > 4096 else 3
        for name, f in TIMED.items():
            forward(f, data), backward(f, inputs(512, d))  # what is done once only
        for step in (forward, backward):
            spent = best_times([partial(step, f, data) for f in TIMED.values()], rounds)
            for name, ms in zip(TIMED, spent):
                found[name, T] = (*found.get((name, T), ()), ms)
    return found


def time_tables() -> None:
    for d in SIZES:
        found = times(d)
        print(f"\n## Time, d_head {d}\n")
        print(f"Milliseconds of {HEADS} heads, causal: forward / forward and backward.\n")
        print("| tokens | " + " | ".join(TIMED) + " |")
        print("|--:|" + "--:|" * len(TIMED))
        for T in LENGTHS:
            print(f"| {T:,} | " + " | ".join(" / ".join(map(number, found[name, T])) for name in TIMED) + " |")
        print(f"\nTimes as fast as {SDPA}, likewise.\n")
        print("| tokens | " + " | ".join(name for name in TIMED if name != SDPA) + " |")
        print("|--:|" + "--:|" * (len(TIMED) - 1))
        for T in LENGTHS:
            ratios = (
                " / ".join(number(a / b) for a, b in zip(found[SDPA, T], found[name, T]))
                for name in TIMED
                if name != SDPA
            )
            print(f"| {T:,} | " + " | ".join(ratios) + " |")


def slow_table() -> None:
    T, d = 2048, 64
    data = inputs(T, d)
    contestants = {SDPA: sdpa, "online softmax": online, "naive softmax": naive, "Taylor, degree 2": taylor}
    assert all(torch.allclose(f(*data), sdpa(*data), atol=1e-5) for f in (online, naive))
    spent = best_times([partial(forward, f, data) for f in contestants.values()], 3)
    print(f"\n## Exact, or with many features: forward, {T:,} tokens, d_head {d}\n")
    print("| | milliseconds | times as long |")
    print("|---|--:|--:|")
    for name, ms in zip(contestants, spent):
        print(f"| {name} | {number(ms)} | {ms / spent[0]:.1f} |")


def chunk_table() -> None:
    T, d = 8192, 32
    data = inputs(T, d)
    print(f"\n## Chunk size: forward, {T:,} tokens, d_head {d}, milliseconds\n")
    print("| chunk | " + " | ".join(map(str, CHUNKS)) + " |")
    print("|---|" + "--:|" * len(CHUNKS))
    for name, f in {"linear, elu + 1": linear, "gated delta": gated_delta}.items():
        runs = [partial(forward, partial(f, chunk_size=C), data) for C in CHUNKS]
        print(f"| {name} | " + " | ".join(map(number, best_times(runs, 3))) + " |")


def decode_table() -> None:
    """One token more: a lookup in a cache, or a state that is carried on."""
    d, lengths = 64, (1024, 4096, 16384)
    print(f"\n## A token more, d_head {d}, {HEADS} heads\n")
    print("Microseconds, and what is kept of the text, in thousands of numbers.\n")
    print("| tokens before it | softmax, a cache | linear, a state | gated delta, a state | cache | state |")
    print("|--:|--:|--:|--:|--:|--:|")
    for T in lengths:
        q, k, v, beta, gate = inputs(T, d)
        new = [x[..., -1:, :] for x in (q, k, v)] + [x[..., -1:] for x in (beta, gate)]
        sums = linear_chunked(elu_plus_one(k), elu_plus_one(k), v)[1]
        written = delta_chunked(k, k, v, beta, gate)[1]

        def lookup(q=new[0], k=k, v=v):
            return F.scaled_dot_product_attention(q, k, v)

        def linear_step(q=new[0], k=new[1], v=new[2], S=sums):
            return linear_recurrent(elu_plus_one(q), elu_plus_one(k), v, state=S)

        def delta_step(new=new, S=written):
            return delta_recurrent(*new, state=S)

        def many(step):
            with torch.no_grad():
                for _ in range(100):
                    step()

        spent = best_times([partial(many, step) for step in (lookup, linear_step, delta_step)], 5)
        kept = (k.numel() + v.numel()) / 1000, written.numel() / 1000
        cells = [f"{10 * ms:.0f}" for ms in spent] + [f"{x:,.0f}" for x in kept]
        print(f"| {T:,} | " + " | ".join(cells) + " |")


def peak() -> float:
    """The most memory that this process has needed so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there begins with the peak of the parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def extra_memory(f: Callable, T: int, T_backward: int) -> tuple[float, float]:
    """MB more at the peak than with the inputs alone, forward and with backward; in a process of its own."""
    torch.set_num_threads(1)
    backward(f, inputs(64, 64, heads=1))  # what is needed once
    tasks = [(forward, inputs(T, 64, heads=1)), (backward, inputs(T_backward, 64, heads=1))]
    before, found = peak(), {}
    for step, data in sorted(tasks, key=lambda task: task[1][0].shape[-2]):  # a peak never falls
        step(f, data)
        found[step] = peak() - before
    return found[forward], found[backward]


def memory_table() -> None:
    T = 16384
    print(f"\n## Memory: one head, d_head 64, {T:,} tokens\n")
    print("MB at the peak, besides queries, keys and values. For the softmax in the naive form, which keeps all")
    print(f"weights, with a backward pass at {T // 4:,} tokens.\n")
    print("| | forward | forward and backward |")
    print("|---|--:|--:|")
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, f in MEASURED.items():
            found = pool.apply(extra_memory, (f, T, T // 4 if f is naive else T))
            print(f"| {name} | " + " | ".join(f"{mb:,.0f}" for mb in found) + " |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("# Past the quadratic")
    print()
    print(f"{machine()}, torch {torch.__version__}.")
    print("One thread, CPU time, the best of several rounds in turn; float32; chunks of 64. Freed memory stays with the")
    print("process (`KEEP` in the script), for all alike.")
    time_tables()
    slow_table()
    chunk_table()
    decode_table()
    memory_table()
