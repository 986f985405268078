"""Training: optimizers, learning rates, evaluation, and a loop that survives being stopped."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tinyllm.batches import batch
from tinyllm.loss import cross_entropy
from tinyllm.files import copy, write
from tinyllm.model import GPT

# ---------------------------------------------------------------------------------------- optimizers


class AdamW:
    r"""Steps of about lr for each weight, whatever the size of its gradient g.

        m ← β₁ m + (1-β₁) g            v ← β₂ v + (1-β₂) g²
        m̂ = m / (1-β₁ᵗ)                v̂ = v / (1-β₂ᵗ)
        θ ← θ - lr λ θ - lr m̂ / (√v̂ + ε)              (Loshchilov and Hutter 2019)
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.t = torch.tensor(0)
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float = 1.0) -> None:
        """Change the weights by their `grad`, with the lr that is due: lr times rate."""
        self.t += 1
        lr, t, (beta_1, beta_2) = self.lr * rate, int(self.t), self.betas
        for p, m, v in zip(self.parameters, self.m, self.v):
            m.lerp_(p.grad, 1 - beta_1)
            v.mul_(beta_2).addcmul_(p.grad, p.grad, value=1 - beta_2)
            p.mul_(1 - lr * self.weight_decay)
            scale = (v / (1 - beta_2**t)).sqrt_().add_(self.eps)
            p.addcdiv_(m, scale, value=-lr / (1 - beta_1**t))

    def state(self) -> list[Tensor]:
        """All tensors that a step needs besides weights and gradients."""
        return [self.t, *self.m, *self.v]


def orthogonalize(G: Tensor, n_steps: int = 4) -> Tensor:
    r"""Bring all singular values of a matrix near 1: from U S Vᵀ almost to U Vᵀ.

        X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X          n_steps times, from X = G / |G|

    This sends each singular value s to a s + b s³ + c s⁵ and leaves U and V as they
    are (Newton-Schulz). The coefficients pull small values up fast, and end near 1
    instead of at 1 (Jordan 2024, kellerjordan.github.io/posts/muon).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G if G.shape[0] <= G.shape[1] else G.T  # X Xᵀ is then the smaller product
    X = X / (X.norm() + 1e-7)

    def factor(A: Tensor) -> Tensor:  # a step is X ← factor(X Xᵀ) X
        return a * torch.eye(len(A)).to(A) + b * A + c * A @ A

    A = X @ X.T
    P = factor(A)
    for _ in range(n_steps - 1):
        P = factor(P @ A @ P) @ P  # after some steps P X stands for X, P A P for X Xᵀ
    return P @ X if G.shape[0] <= G.shape[1] else (P @ X).T


class Muon:
    r"""Steps that turn a matrix of weights equally far in all directions.

        B ← μ B + (1-μ) G
        W ← W - lr λ W - lr √max(1, rows/columns) · orthogonalize(μ B + (1-μ) G)

    A gradient is mostly a few directions that are much longer than all others. Here
    every direction counts alike (Jordan 2024, kellerjordan.github.io/posts/muon).
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float = 0.03, momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(matrices)
        shapes = [tuple(p.shape) for p in self.parameters if p.ndim != 2]
        if shapes:
            raise ValueError(f"Muon is for matrices, not for weights of {shapes}")
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.B = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float = 1.0) -> None:
        """Change the matrices by their `grad`, with lr times rate."""
        for p, B in zip(self.parameters, self.B):
            B.lerp_(p.grad, 1 - self.momentum)
            update = orthogonalize(p.grad.lerp(B, self.momentum))
            size = max(1, p.shape[0] / p.shape[1]) ** 0.5
            p.mul_(1 - self.lr * rate * self.weight_decay)
            p.add_(update, alpha=-self.lr * rate * size)

    def state(self) -> list[Tensor]:
        """All tensors that a step needs besides weights and gradients."""
        return self.B


def learning_rate(
    step: int, n_steps: int, peak: float = 1.0, n_warmup: int = 0,
    n_decay: int | None = None, final: float = 0.0, shape: str = "cosine",
) -> float:
    """How fast to learn in step 0, ..., n_steps - 1: up, along, and down.

    up: in a straight line to `peak`, which step n_warmup is the first to have.
    along: `peak`. down: in the last n_decay steps to `final`, which step n_steps would
    have, as a "cosine" or a "linear" one. Without n_decay all that is left goes down.

    >>> up_along_down = dict(n_warmup=4, n_decay=4, shape="linear")
    >>> [learning_rate(step, 10, peak=8.0, **up_along_down) for step in range(10)]
    [1.6, 3.2, 4.8, 6.4, 8.0, 8.0, 8.0, 6.0, 4.0, 2.0]
    """
    n_decay = n_steps - n_warmup if n_decay is None else n_decay
    if not 0 <= step <= n_steps:
        raise ValueError(f"step must be from 0 to n_steps = {n_steps}, not {step}")
    if min(n_warmup, n_decay) < 0 or n_warmup + n_decay > n_steps:
        phases = f"{n_warmup} steps up and {n_decay} down"
        raise ValueError(f"{phases} do not fit into {n_steps}")
    if shape not in ("cosine", "linear"):
        raise ValueError(f'shape must be "cosine" or "linear", not {shape!r}')
    if step < n_warmup:
        return peak * (step + 1) / (n_warmup + 1)
    left = min(1.0, (n_steps - step) / n_decay) if n_decay else 1.0  # of the way down
    height = left if shape == "linear" else (1 - math.cos(math.pi * left)) / 2
    return final + (peak - final) * height


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Shorten the gradient of all parameters together to max_norm, if it is longer.

    Returns the norm that it had.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale)
    return float(norm)


# ---------------------------------------------------------------------------------------- a step


def has_bf16(device: torch.device) -> bool:
    """Does this device multiply 16-bit matrices faster than 32-bit ones?"""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    can = torch.cpu.get_capabilities()  # the names of x86 and of ARM
    fast = any(can.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return device.type == "cpu" and fast


def add_gradient(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    n_parts: int = 1,
    bf16: bool = False,
    counts: Tensor | None = None,
) -> float:
    """Add the gradient of the loss at targets y (B, T) to the parameters' `grad`.

    `n_parts` cuts the batch: the gradient stays the same, and a part needs less
    memory. With `bf16` matrices are multiplied in 16 bits, weights stay in 32. In the
    gradient each target counts as often as `counts` (B, T) says, or once.
    Returns the loss in nats per token, in which each counts once.
    """
    loss = 0.0
    counts = torch.ones(x.shape) if counts is None else counts
    for x_part, y_part, n in zip(*(t.chunk(n_parts) for t in (x, y, counts))):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            logits = model(x_part)
        logits.register_hook(lambda g, n=n: g * n.to(g).unsqueeze(-1))
        part = cross_entropy(logits, y_part) * (len(x_part) / len(x))
        part.backward()
        loss += part.item()
    return loss


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
    losses = [
        cross_entropy(logits, targets)
        for x_part, y_part in zip(x.split(batch_size), y.split(batch_size))
        for logits, targets in zip(model(x_part), y_part)
    ]
    losses = torch.stack(losses)  # (N/T,)
    return float(losses.mean()), float(losses.std() / n_blocks**0.5)


# ---------------------------------------------------------------------------------------- the loop


RARE = 1 / 1000  # of a text: an id that occurs less often is rare


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    n_steps, batch_size: steps, and blocks of text in each of them.
    n_parts: parts in which the gradient of a batch is computed.
    optimizer: "muon" for the matrices of the blocks, AdamW for the rest; or "adamw".
    lr: the highest learning rate, of the matrices.
    weight_decay: how strongly matrices are pulled toward 0. When it is not given: by 0.1
        with AdamW, and not at all with Muon.
    warmup, decay, shape: see `learning_rate`; as parts of n_steps.
    max_norm: how long a gradient may be.
    bf16: multiply in 16 bits where the processor is made for it.
    short, growth: begin with blocks of `short` tokens that grow to whole ones in this
        part of n_steps. As long as they are short, a batch has several in place of each.
    lookups: how often what can be looked up counts in this part of n_steps; see
        `can_be_looked_up`.
    every: steps from one record and checkpoint to the next. keep: checkpoints kept.
    seed: of the order of the data.
    """

    n_steps: int
    batch_size: int
    n_parts: int = 1
    optimizer: str = "muon"
    lr: float = 0.03
    weight_decay: float | None = None
    warmup: float = 0.02
    decay: float = 0.7
    shape: str = "linear"
    max_norm: float = 1.0
    bf16: bool = False
    short: int | None = None
    growth: float = 0.5
    lookups: float = 1.0
    every: int = 100
    keep: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_recipe(self)

    def rate(self, step: int) -> float:
        """The part of the highest learning rate that is due in this step."""
        n_warmup, n_decay = (int(self.n_steps * z) for z in (self.warmup, self.decay))
        return learning_rate(
            step, self.n_steps, 1.0, n_warmup, n_decay, shape=self.shape
        )

    def blocks(self, step: int, block_size: int) -> tuple[int, int]:
        """How many blocks of text this step learns from, and their length."""
        grown = min(1, step / max(1, self.growth * self.n_steps))
        short = min(self.short or block_size, block_size)
        length = round(short * (block_size / short) ** grown)
        return self.batch_size * (block_size // length), length

    def counts(self, step: int, x: Tensor, y: Tensor, rare: Tensor) -> Tensor | None:
        """How often each target of a batch counts in this step, unless all count once."""
        if self.lookups == 1 or step >= self.growth * self.n_steps:
            return None
        return 1 + (self.lookups - 1) * can_be_looked_up(x, y, rare)


def check_recipe(recipe: Recipe) -> None:
    """Raise `ValueError` for what cannot be trained by, as a JSON file may hold it."""
    whole = "a whole number above 0", lambda x: type(x) is int and x > 0
    above = "a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf
    part = "a number from 0 to 1", lambda x: type(x) in (int, float) and 0 <= x <= 1
    seed = "a whole number from 0 on", lambda x: type(x) is int and 0 <= x < 2**63
    rules = dict.fromkeys(["n_steps", "batch_size", "n_parts", "every", "keep"], whole)
    rules |= dict.fromkeys(["lr", "max_norm", "lookups"], above)
    rules |= dict.fromkeys(["warmup", "decay", "growth"], part) | {"seed": seed}
    rules["optimizer"] = '"muon" or "adamw"', lambda x: x in ("muon", "adamw")
    rules["weight_decay"] = f"{part[0]} or null", lambda x: x is None or part[1](x)
    rules["short"] = f"{whole[0]} or null", lambda x: x is None or whole[1](x)
    rules["bf16"] = "true or false", lambda x: type(x) is bool
    for name, (wanted, fits) in rules.items():
        value = getattr(recipe, name)
        if not fits(value):
            raise ValueError(f"{name} must be {wanted}, not {value!r}")
    recipe.rate(0)  # complains of a shape that is none, and of too long phases


def can_be_looked_up(x: Tensor, y: Tensor, rare: Tensor) -> Tensor:
    """Which targets y (B, T) are rare ids that their block x (B, T) has had before.

    `rare` is (V,). A name is rare, and the second time it can be known: by whoever
    looks it up in the text so far. What is frequent can be guessed without looking.

    >>> x, y = torch.tensor([[7, 1, 2, 7, 1]]), torch.tensor([[1, 2, 7, 1, 7]])
    >>> can_be_looked_up(x, y, rare=torch.arange(8) == 7)
    tensor([[False, False,  True, False,  True]])
    """
    before = (y.unsqueeze(-1) == x.unsqueeze(-2)).tril()  # (B, T, T): at t, in each s ≤ t
    return before.any(dim=-1) & rare[y]


def make_optimizers(model: GPT, recipe: Recipe) -> list[AdamW | Muon]:
    """Muon for the matrices of the blocks, and AdamW for what is left, or for all.

    With Muon the embeddings learn at 0.02, and the head and the norms at 0.003 where
    there are 128 channels, at twice that where there are half as many: a logit is a sum
    over channels, and a step of Adam moves each weight of it about equally far.
    """
    if recipe.optimizer == "adamw":
        matrices = [p for p in model.parameters() if p.ndim == 2]
        gains = [p for p in model.parameters() if p.ndim == 1]
        decay = 0.1 if recipe.weight_decay is None else recipe.weight_decay
        return [
            AdamW(matrices, recipe.lr, betas=(0.9, 0.99), weight_decay=decay),
            AdamW(gains, recipe.lr, betas=(0.9, 0.99), weight_decay=0.0),
        ]
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    embeddings = [model.token.weight, model.position.weight]
    taken = {id(p) for p in matrices + embeddings}
    rest = [p for p in model.parameters() if id(p) not in taken]
    lr = 0.003 * 128 / model.config.d_model
    return [
        Muon(matrices, recipe.lr, weight_decay=recipe.weight_decay or 0.0),
        AdamW(embeddings, 0.02, betas=(0.9, 0.99), weight_decay=0.0),
        AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]


def train_step(
    model: GPT,
    optimizers: list,
    x: Tensor,
    y: Tensor,
    step: int,
    recipe: Recipe,
    counts: Tensor | None = None,
) -> float:
    """Learn from one batch, (B, T) each, and return the loss that the model had on it.

    `counts` (B, T) says how often each target counts; see `add_gradient`.
    Raises `FloatingPointError` when the loss or the gradient is not a number any
    more. The weights are then still those of the step before.
    """
    model.zero_grad()
    bf16 = recipe.bf16 and has_bf16(x.device)
    loss = add_gradient(model, x, y, recipe.n_parts, bf16, counts)
    norm = clip_grad_norm(model.parameters(), recipe.max_norm)
    if not math.isfinite(loss + norm):
        found = f"loss {loss} and a gradient of length {norm}"
        raise FloatingPointError(f"step {step} has {found}; it changed nothing")
    for optimizer in optimizers:
        optimizer.step(recipe.rate(step))
    return loss


def train(
    model: GPT,
    ids: Tensor,
    recipe: Recipe,
    validation: Tensor | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    floor: float | None = None,
    starts: Tensor | None = None,
) -> Iterator[dict]:
    """Train on a text (N,), and yield a record every `recipe.every` steps.

    A record holds the number of steps done, their mean loss since the last record, the
    loss on `validation` with its standard error, in nats per token, and the speed in
    tokens per second. `folder` gets the records, in `log.jsonl`, and checkpoints;
    `resume` goes on from the newest as if nothing had happened. A terminal shows
    progress, and how far the loss is above `floor`, the best that any model can do.
    Blocks of text begin anywhere, or at one of the places `starts` (n,).

    Processes that `torchrun` started learn together: each computes the gradient of its
    part of every batch, and all take a step with the mean of these gradients, which is
    that of the whole batch. Only the first writes into `folder`.
    """
    optimizers = make_optimizers(model, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    state = model, optimizers, generator
    about = asdict(recipe) | {"text": sha256(ids)}
    if starts is not None:
        about["starts"] = sha256(starts)
    start = begin(folder, resume, about, *state) if folder else 0
    net, part = share(model, recipe.batch_size)
    rare = torch.bincount(ids, minlength=model.config.vocab_size) < RARE * len(ids)
    losses, began = [], time.perf_counter()
    with progress(start, recipe.n_steps) as bar:
        for step in range(start, recipe.n_steps):
            n, length = recipe.blocks(step, model.config.block_size)
            x, y = (half[part] for half in batch(ids, n, length, generator, starts))
            counts = recipe.counts(step, x, y, rare)
            losses.append(train_step(net, optimizers, x, y, step, recipe, counts))
            speed = len(losses) * n * length / (time.perf_counter() - began)
            show(bar, losses[-1], speed, floor)
            if (step + 1) % recipe.every == 0 or step + 1 == recipe.n_steps:
                record = {"step": step + 1, "loss": mean(losses)}
                record |= score(model, validation) | {"speed": round(speed)}
                if folder and is_first():
                    append_record(folder, record)
                    save_checkpoint(folder, step + 1, *state, about, recipe.keep)
                yield record
                losses, began = [], time.perf_counter()


def share(model: GPT, batch_size: int) -> tuple[nn.Module, slice]:
    """What this process learns with, and its rows of each batch: alone, all of them.

    Among several processes the model is wrapped: as soon as all have computed their
    gradients, each gets the mean. Raises `ValueError` unless the parts are equal, since
    then alone this is the gradient of the whole batch.
    """
    if not several():
        return model, slice(None)
    n_processes = distributed.get_world_size()
    if batch_size % n_processes:
        parts = f"{n_processes} equal parts, one for each process"
        raise ValueError(f"a batch of {batch_size} cannot be cut into {parts}")
    rows = slice(distributed.get_rank(), None, n_processes)
    return DistributedDataParallel(model), rows


def several() -> bool:
    """Does this process learn together with others?"""
    started = distributed.is_available() and distributed.is_initialized()
    return started and distributed.get_world_size() > 1


def is_first() -> bool:
    """Is this the process that speaks for all, or the only one?"""
    return not several() or distributed.get_rank() == 0


def mean(losses: list[float]) -> float:
    """The mean of these losses, and of those of all other processes."""
    total = torch.tensor(sum(losses) / len(losses), dtype=torch.float64)
    if several():
        distributed.all_reduce(total)
        total /= distributed.get_world_size()
    return float(total)


def score(model: GPT, validation: Tensor | None) -> dict[str, float]:
    """What a record says about a text that the model does not learn from, if any."""
    if validation is None:
        return {}
    loss, error = evaluate(model, validation, model.config.block_size)
    return {"validation": loss, "standard_error": error}


def progress(start: int, n_steps: int) -> tqdm:
    """A bar with the time left. It is for terminals, and not for notebooks or files."""
    layout = "{percentage:3.0f}%|{bar}| {n}/{total}, {remaining} left{postfix}"
    quiet = None if is_first() else True  # None: unless this is a terminal
    return tqdm(
        initial=start, total=n_steps, bar_format=layout, disable=quiet, leave=False
    )


def show(bar: tqdm, loss: float, speed: float, floor: float | None) -> None:
    """Go on by a step, and say how it went."""
    above = "" if floor is None else f" (floor {loss - floor:+.3f})"
    bar.set_postfix_str(f"loss {loss:.3f}{above}, {speed:,.0f} tokens/s", refresh=False)
    bar.update()


# ---------------------------------------------------------------------------------------- checkpoints


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: GPT,
    optimizers: list,
    generator: torch.Generator,
    about: dict,
    keep: int = 2,
) -> Path:
    """Write all that the next step depends on to one file, whole or not at all.

    That is weights, optimizers and random states. `about` is any JSON: what has to be
    the same when training goes on. Of the checkpoints in the folder the newest `keep`
    stay.
    """
    tensors = training_state(model, optimizers) | random_state(generator)
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    notes = {"json": json.dumps({"step": step, "about": about})}
    path = Path(folder, f"step-{step:08}.safetensors")
    write(path, safetensors.torch.save(tensors, notes))
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(
    path: str | Path, model: GPT, optimizers: list, generator: torch.Generator
) -> tuple[int, dict]:
    """Bring model, optimizers and random states to where they were.

    `path` is a checkpoint, or a folder of which to take the newest. Returns the number
    of steps done and what was said `about` it. Raises `ValueError` for a damaged file
    or one that does not fit; nothing has changed then.
    """
    if not Path(path).is_file():
        if not checkpoints(path):
            raise ValueError(f"there is no checkpoint in {path} to go on from")
        path = checkpoints(path)[-1]
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            notes = json.loads(file.metadata()["json"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {error!r}") from error
    random = random_state(generator)
    copy(tensors, training_state(model, optimizers) | random, path)
    torch.set_rng_state(random["random.torch"])
    generator.set_state(random["random.batches"])
    return notes["step"], notes["about"]


def training_state(model: GPT, optimizers: list) -> dict[str, Tensor]:
    """The tensors that training changes, each with a name."""
    named = {f"model.{name}": p for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        named |= {f"optimizer.{i}.{j}": z for j, z in enumerate(optimizer.state())}
    return named


def random_state(generator: torch.Generator) -> dict[str, Tensor]:
    """Where torch's own generator of random numbers is, and that of the batches."""
    return {
        "random.torch": torch.get_rng_state(),
        "random.batches": generator.get_state(),
    }


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder, the newest last."""
    return sorted(Path(folder).glob("step-*.safetensors"))


def begin(
    folder: str | Path,
    resume: bool,
    about: dict,
    model: GPT,
    optimizers: list,
    generator: torch.Generator,
) -> int:
    """Find out where a run starts: at step 0, or where it was stopped.

    Records from after that step go, since they will come again.
    """
    if resume:
        start, before = load_checkpoint(folder, model, optimizers, generator)
        for name, value in about.items():
            if before.get(name) != value:
                change = f"{name} {before.get(name)!r}, not {value!r}"
                raise ValueError(f"{folder} was begun with {change}")
    elif checkpoints(folder):
        raise ValueError(f"{folder} holds a run: resume it, or take another folder")
    else:
        start = 0
    if is_first():
        lines = read_lines(folder)
        kept = [line for line in lines if json.loads(line)["step"] <= start]
        write(Path(folder, "log.jsonl"), b"".join(kept))
    return start


def append_record(folder: str | Path, record: dict) -> None:
    """Add a line of JSON to the log. It is written anew: no line is ever half there."""
    line = json.dumps(record).encode() + b"\n"
    write(Path(folder, "log.jsonl"), b"".join([*read_lines(folder), line]))


def read_lines(folder: str | Path) -> list[bytes]:
    """The lines of a run's log so far."""
    log = Path(folder, "log.jsonl")
    return log.read_bytes().splitlines(keepends=True) if log.exists() else []


def sha256(ids: Tensor) -> str:
    """A name for a text (N,), the same for the same ids."""
    return hashlib.sha256(ids.cpu().numpy().tobytes()).hexdigest()
