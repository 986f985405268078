"""What a training run is told, and what follows from it for each step."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from torch import Tensor

from tinyllm.model import Config
from tinyllm.optimizers import learning_rate


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    n_steps, batch_size: steps, and blocks of text in each of them.
    grad_accum_steps: parts in which the gradient of a batch is computed.
    optimizer: "muon" for the matrices of the blocks, AdamW for the rest; or "adamw".
    lr: the highest learning rate, of the matrices.
    weight_decay: how strongly matrices are pulled toward 0. When it is not given: by 0.1
        with AdamW, and not at all with Muon.
    split_qkv: Muon takes the queries', keys' and values' matrices one by one.
    warmup, decay, shape: see `learning_rate`; as parts of n_steps.
    max_norm: how long a gradient may be.
    bf16: multiply in 16 bits where the processor is made for it.
    short, growth: begin with blocks of `short` tokens that grow to whole ones in this
        part of n_steps. As long as they are short, a batch has several in place of each.
    lookups: the weight of what can be looked up in this part of n_steps; see
        `can_be_looked_up`.
    separate: the ids with which each document begins, if no token may attend to another
        document than its own; see `batches.documents`.
    shard: several processes divide weights, gradients and optimizer states among them,
        instead of having all of them each; see `devices.shard_model`.
    every: steps from one record and checkpoint to the next. keep: checkpoints kept.
    seed: of the order of the data.
    """

    n_steps: int
    batch_size: int
    grad_accum_steps: int = 1
    optimizer: str = "muon"
    lr: float = 0.03
    weight_decay: float | None = None
    split_qkv: bool = False
    warmup: float = 0.02
    decay: float = 0.7
    shape: str = "linear"
    max_norm: float = 1.0
    bf16: bool = False
    short: int | None = None
    growth: float = 0.5
    lookups: float = 1.0
    separate: tuple[int, ...] | None = None
    shard: bool = False
    every: int = 100
    keep: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_config(self)

    def rate(self, step: int) -> float:
        """The part of the highest learning rate that is due in this step.

        `torch.optim.lr_scheduler.LambdaLR(optimizer, config.rate)` does what `train` does.
        """
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

    def token_weights(
        self, step: int, x: Tensor, y: Tensor, rare: Tensor
    ) -> Tensor | None:
        """The weight of each target of a batch in this step, unless all are 1."""
        if self.lookups == 1 or step >= self.growth * self.n_steps:
            return None
        return 1 + (self.lookups - 1) * can_be_looked_up(x, y, rare)


def check_config(config: TrainConfig) -> None:
    """Raise `ValueError` for what cannot be trained by, as a JSON file may hold it."""
    whole = "a whole number above 0", lambda x: type(x) is int and x > 0
    above = "a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf
    part = "a number from 0 to 1", lambda x: type(x) in (int, float) and 0 <= x <= 1
    seed = "a whole number from 0 on", lambda x: type(x) is int and 0 <= x < 2**63
    counts = ["n_steps", "batch_size", "grad_accum_steps", "every", "keep"]
    rules = dict.fromkeys(counts, whole)
    rules |= dict.fromkeys(["lr", "max_norm", "lookups"], above)
    rules |= dict.fromkeys(["warmup", "decay", "growth"], part) | {"seed": seed}
    rules["optimizer"] = '"muon" or "adamw"', lambda x: x in ("muon", "adamw")
    rules["weight_decay"] = f"{part[0]} or null", lambda x: x is None or part[1](x)
    rules["short"] = f"{whole[0]} or null", lambda x: x is None or whole[1](x)
    rules["separate"] = "one id or more, or null", is_separator
    yes = "true or false", lambda x: type(x) is bool
    rules |= dict.fromkeys(["bf16", "split_qkv", "shard"], yes)
    for name, (wanted, fits) in rules.items():
        value = getattr(config, name)
        if not fits(value):
            raise ValueError(f"{name} must be {wanted}, not {value!r}")
    if config.n_steps >= 10**8:
        raise ValueError("n_steps must have at most eight digits, as names of checkpoints have")
    config.rate(0)  # complains of a shape that is none, and of too long phases


def is_separator(ids) -> bool:
    """Whether documents can begin with these ids, or are not told apart."""
    if ids is None:
        return True
    return isinstance(ids, tuple) and len(ids) > 0 and all(type(i) is int and i >= 0 for i in ids)


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


RENAMED = {"n_parts": "grad_accum_steps"}
MODEL = "model."  # so begin the names of what a run's model is made of


def settings(config: TrainConfig, model: Config) -> dict:
    """What has to be the same when a run goes on: how it trains, and what its model is.

    Two models whose weights have the same shapes need not be the same: heads, windows and
    rotations leave none.
    """
    return asdict(config) | {MODEL + name: value for name, value in vars(model).items()}


def current_names(values: Mapping) -> dict:
    """Settings from a file, in today's names where an older version wrote it."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def as_json(value):
    """A value as it comes back from a file."""
    return list(value) if isinstance(value, tuple) else value


def differences(before: Mapping, now: Mapping) -> dict[str, tuple]:
    """The settings (before, now) of which two runs have different ones.

    What a file says nothing about, since it is older than that option, is the default; the
    oldest say nothing of the model at all. How processes share the work may change when a run
    goes on.
    """
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    if any(name.startswith(MODEL) for name in before):
        defaults |= {MODEL + field.name: field.default for field in fields(Config)}
    else:
        now = {name: value for name, value in now.items() if not name.startswith(MODEL)}
    before, now = ({k: as_json(v) for k, v in z.items()} for z in (defaults | current_names(before), now))
    names = [name for name in before | now if before.get(name) != now.get(name) and name != "shard"]
    return {name: (before.get(name), now.get(name)) for name in names}
