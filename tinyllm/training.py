"""Training: a step, evaluation, and the loop, which survives being stopped."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tinyllm.batches import Separate, check_text, get_batch
from tinyllm.checkpoints import append_record, begin, fingerprints, gather, save_checkpoint
from tinyllm.devices import has_bf16, is_main, mean, wrap
from tinyllm.layers import SOFTMAX
from tinyllm.loss import cross_entropy
from tinyllm.model import unwrap
from tinyllm.optimizers import clip_grad_norm, make_optimizers
from tinyllm.train_config import TrainConfig, settings

RARE = 1 / 1000  # of a text: an id that occurs less often is rare


def train(
    model: nn.Module, ids: Tensor, config: TrainConfig, validation: Tensor | None = None,
    *, folder: str | Path | None = None, resume: bool = False,
    floor: float | None = None, starts: Tensor | None = None,
) -> Iterator[dict]:
    """Train on a text (N,), and yield a record every `config.every` steps.

    A record holds the number of steps done, their mean loss since the last record, the
    loss on `validation` with its standard error, in nats per token, and the speed in
    tokens per second. `folder` gets the records, in `log.jsonl`, and checkpoints.
    `resume` goes on from the newest as if nothing had happened. A terminal shows
    progress, and how far the loss is above `floor`, the best that any model can do.
    Blocks of text begin anywhere, or at one of the places `starts` (n,); with
    `config.separate` no document in a block is seen from another. The text may
    be mapped from a file; the model is trained where it is, on any device.

    Processes that `torchrun` started learn together: each computes the gradient of its
    part of every batch, and all take a step with the mean of these gradients, which is
    that of the whole batch. With `config.shard` each then has only a part of the model, also
    afterwards. Only the first writes into `folder`: the same files as one process alone.
    """
    seer = reads_apart(model, config.separate)
    net, rows = wrap(seer, config.batch_size, config.shard)
    optimizers = make_optimizers(model, config)
    generator = torch.Generator().manual_seed(config.seed)
    state = model, optimizers, generator
    sizes, device = unwrap(model).config, next(model.parameters()).device
    check_starts(starts, len(ids) - sizes.block_size)
    about = settings(config, sizes) | fingerprints(text=ids, starts=starts)
    start = begin(folder, resume, about, *state) if folder else 0
    rare = (count_ids(ids, sizes.vocab_size) < RARE * len(ids)).to(device)
    if validation is not None:
        count_ids(validation, sizes.vocab_size)  # complains of an id that is none
    losses, began = [], time.perf_counter()
    with progress(start, config.n_steps) as bar:
        for step in range(start, config.n_steps):
            n, length = config.blocks(step, sizes.block_size)
            pair = get_batch(ids, n, length, generator, starts)
            x, y = (half[rows].to(device) for half in pair)  # (B, T) each
            weights = config.token_weights(step, x, y, rare)
            losses.append(train_step(net, optimizers, x, y, step, config, weights))
            speed = len(losses) * n * length / (time.perf_counter() - began)
            show(bar, losses[-1], speed, floor)
            if (step + 1) % config.every == 0 or step + 1 == config.n_steps:
                record = new_record(step + 1, losses, speed, seer, validation)
                if folder and is_main():
                    append_record(folder, record)
                    save_checkpoint(folder, step + 1, *state, about, config.keep)
                elif folder:
                    gather(model, optimizers)  # what the first process writes
                yield record
                losses, began = [], time.perf_counter()


def train_step(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    x: Tensor,
    y: Tensor,
    step: int,
    config: TrainConfig,
    weights: Tensor | None = None,
) -> float:
    """Learn from one batch, (B, T) each, and return the loss that the model had on it.

    `weights` (B, T) says how much each target counts; see `add_gradient`.
    Raises `FloatingPointError` when the loss or the gradient is not a number any
    more. The weights are then still those of the step before.
    """
    model.zero_grad()
    bf16 = config.bf16 and has_bf16(x.device)
    loss = add_gradient(model, x, y, config.grad_accum_steps, bf16, weights)
    norm = clip_grad_norm(model.parameters(), config.max_norm)
    if not math.isfinite(loss + norm):
        found = f"loss {loss} and a gradient of length {norm}"
        raise FloatingPointError(f"step {step} has {found}; it changed nothing")
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # as torch's schedules do
            group["lr"] = group["initial_lr"] * config.rate(step)
        optimizer.step()
    return loss


def add_gradient(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    grad_accum_steps: int = 1,
    bf16: bool = False,
    weights: Tensor | None = None,
) -> float:
    """Add the gradient of the loss at targets y (B, T) to the parameters' `grad`.

    `grad_accum_steps` cuts the batch: the gradient stays the same, and a part needs less
    memory. With `bf16` matrices are multiplied in 16 bits, weights stay in 32.
    `weights` (B, T) multiply the loss of each target, as in `cross_entropy`, where -100
    is no target. Returns the loss in nats per token, in which each counts once.
    """
    parts = zip(*(z.chunk(grad_accum_steps) for z in (x, y, weights) if z is not None))
    parts, losses, n_targets = list(parts), [], (y != -100).sum().clamp(min=1)
    for i, (x_part, y_part, *w) in enumerate(parts, start=1):
        waits = i < len(parts) and isinstance(model, DistributedDataParallel)
        with model.no_sync() if waits else nullcontext():  # processes meet once
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                logits = model(x_part)
            loss = cross_entropy(logits, y_part, -100, *w)
            share = (y_part != -100).sum().to(loss.dtype) / n_targets
            (loss * share).backward()
        plain = cross_entropy(logits.detach(), y_part) if w else loss.detach()
        losses.append(plain * share)
    return sum(loss.item() for loss in losses)


@torch.no_grad()
def evaluate(
    model: nn.Module, ids: Tensor, block_size: int, batch_size: int = 32
) -> tuple[float, float]:
    """Loss on a whole text (N,), block after block, and its standard error.

    Both are in nats per token. The error is that of a mean of N/T blocks, as if they
    were independent of each other. What is left at the end, less than a block, is not
    scored. Raises `ValueError` for a text of less than two blocks.
    """
    n_blocks = (len(ids) - 1) // block_size
    if n_blocks < 2:
        needed = 2 * block_size + 1
        raise ValueError(f"evaluation needs at least {needed} tokens, not {len(ids)}")
    x = ids[: n_blocks * block_size].view(n_blocks, block_size)
    y = ids[1 : n_blocks * block_size + 1].view(n_blocks, block_size)
    device, losses = next(model.parameters()).device, []
    for parts in zip(x.split(batch_size), y.split(batch_size)):
        inputs, targets = (part.long().to(device) for part in parts)
        logits = model(inputs)
        losses += [cross_entropy(*block) for block in zip(logits, targets)]
    losses = torch.stack(losses)  # (N/T,)
    return float(losses.mean()), float(losses.std() / n_blocks**0.5)


def count_ids(ids: Tensor, vocab_size: int) -> Tensor:
    """How often each id (V,) occurs in a text. `ValueError` for one that is none."""
    check_text("a text", ids)
    counts = torch.zeros(vocab_size, dtype=torch.long)
    for part in ids.split(1 << 20):  # a text may be larger than memory
        part = part.long().cpu()
        for i in map(int, part.aminmax() if len(part) else ()):  # to count it would take memory
            if not 0 <= i < vocab_size:
                raise ValueError(f"id {i} is not in the vocabulary, 0 to {vocab_size - 1}")
        counts += torch.bincount(part, minlength=vocab_size)
    return counts


def check_starts(starts: Tensor | None, n_places: int) -> None:
    """Raise `ValueError` unless a whole block of text and its last target follow each start."""
    if starts is None:
        return
    check_text("starts", starts)
    if not len(starts) or not 0 <= starts.min() <= starts.max() < n_places:
        found = f"from {int(starts.min())} to {int(starts.max())}" if len(starts) else "none"
        raise ValueError(f"starts must be places from 0 to {n_places - 1}, not {found}")


def reads_apart(model: nn.Module, separator: tuple[int, ...] | None) -> nn.Module:
    """The model, or if documents are to be kept apart, one that does. `ValueError` if it cannot."""
    if next(model.parameters()).dtype == torch.float16:
        raise ValueError("in float16 a step of AdamW can be nan: keep weights in 32 bits; see TrainConfig.bf16")
    if separator is None:
        return model
    config = unwrap(model).config
    if max(separator) >= config.vocab_size:
        last = config.vocab_size - 1
        raise ValueError(f"no document can begin with {separator}: the vocabulary is 0 to {last}")
    if config.conv or not {layer.mixer for layer in config.layers()} <= set(SOFTMAX):
        raise ValueError(f"a mask cannot keep documents apart in {config!r}: it hides keys of attention only")
    return Separate(model, separator)


def new_record(
    step: int, losses: list[float], speed: float, model: nn.Module, validation: Tensor | None
) -> dict[str, float]:
    """What the log says after `step` steps, of all processes; see `train`."""
    record = {"step": step, "loss": mean(losses, next(model.parameters()).device)}
    if validation is not None:
        loss, error = evaluate(model, validation, unwrap(model).config.block_size)
        if not math.isfinite(loss):
            raise FloatingPointError(f"after step {step} the loss on validation is {loss}")
        record |= {"validation": loss, "standard_error": error}
    return record | {"speed": round(speed)}


def progress(start: int, n_steps: int) -> tqdm:
    """A bar with the time left. It is for terminals, and not for notebooks or files."""
    layout = "{percentage:3.0f}%|{bar}| {n}/{total}, {remaining} left{postfix}"
    quiet = None if is_main() else True  # None: unless this is a terminal
    return tqdm(
        initial=start, total=n_steps, bar_format=layout, disable=quiet, leave=False
    )


def show(bar: tqdm, loss: float, speed: float, floor: float | None) -> None:
    """Go on by a step, and say how it went."""
    above = "" if floor is None else f" (floor {loss - floor:+.3f})"
    bar.set_postfix_str(f"loss {loss:.3f}{above}, {speed:,.0f} tokens/s", refresh=False)
    bar.update()
