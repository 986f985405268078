"""A GPT: tokens become vectors, blocks read and write them, a head tells what comes next."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.attention import MultiHeadAttention
from tinyllm.files import copy, write
from tinyllm.tokens import Tokenizer


@dataclass(frozen=True)
class Config:
    """What makes two models the same but for their weights.

    vocab_size: ids go from 0 to V - 1.
    block_size: tokens that the model can see at once, T.
    n_layer, n_head: blocks, and attention heads in each of them.
    d_model: channels of the residual stream, C; a multiple of n_head.
    tie_weights: the head uses the token embedding's matrix instead of its own.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    d_model: int
    tie_weights: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "d_model"):
            size = getattr(self, name)
            if type(size) is not int or size < 1:
                raise ValueError(f"{name} must be a whole number above 0, not {size!r}")
        if self.d_model % self.n_head:
            sizes = f"{self.d_model} and {self.n_head}"
            raise ValueError(f"d_model must be a multiple of n_head, not {sizes}")
        tied = self.tie_weights
        if type(tied) is not bool:
            raise ValueError(f"tie_weights must be true or false, not {tied!r}")


def from_dict(kind: type, values: Mapping):
    """A dataclass such as `Config` from a dictionary such as a JSON file holds.

    Raises `ValueError` for a key that the class does not know, and for one that is
    missing.
    """
    known = {field.name: field.default for field in fields(kind)}
    unknown = [name for name in values if name not in known]
    missing = [name for name in known if known[name] is MISSING and name not in values]
    if unknown or missing:
        wrong = f"unknown keys {unknown}, missing keys {missing}"
        raise ValueError(f"{kind.__name__}: {wrong}; the keys are {list(known)}")
    return kind(**values)


class MLP(nn.Module):
    r"""Let each token alone compare itself with 4C patterns and add up their answers.

        MLP(x) = W_down GELU(W_up x)

    Takes (..., C) and returns (..., C).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 4 * d_model, bias=False)
        self.down = nn.Linear(4 * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))  # (..., C) -> (..., 4C) -> (..., C)


class Block(nn.Module):
    r"""Read the residual stream and add to it, twice.

        x ← x + MultiHead(LayerNorm(x))        what tokens tell each other
        x ← x + MLP(LayerNorm(x))              what each makes of it

    Takes (..., T, C) and returns (..., T, C), with `return_weights` also the
    attention weights (..., n_head, T, T).
    """

    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(d_model, bias=False)
        self.attention = MultiHeadAttention(d_model, n_head)
        self.norm_2 = nn.LayerNorm(d_model, bias=False)
        self.mlp = MLP(d_model)

    def forward(
        self, x: Tensor, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        heard, weights = self.attention(self.norm_1(x), return_weights=True)
        x = x + heard
        x = x + self.mlp(self.norm_2(x))
        return (x, weights) if return_weights else x


class GPT(nn.Module):
    """From ids (..., T) to logits (..., T, V) of what comes next, at each place.

    With `return_attention` also the weights (n_layer, ..., n_head, T, T).
    Ids outside the vocabulary, or more than block_size, are a `ValueError`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, C = config, config.d_model
        self.token = nn.Embedding(config.vocab_size, C)
        self.position = nn.Embedding(config.block_size, C)
        blocks = (Block(C, config.n_head) for _ in range(config.n_layer))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(C, bias=False)
        self.head = nn.Linear(C, config.vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.token.weight
        initialize(self)

    def forward(self, ids: Tensor, return_attention: bool = False):
        check_ids(ids, self.config)
        x = self.token(ids) + self.position.weight[: ids.shape[-1]]  # (..., T, C)
        attention = []
        for block in self.blocks:
            x, weights = block(x, return_weights=True)
            if return_attention:
                attention.append(weights)  # (..., n_head, T, T)
        logits = self.head(self.norm(x))  # (..., T, V)
        return (logits, torch.stack(attention)) if return_attention else logits


def check_ids(ids: Tensor, config: Config) -> None:
    """Raise `ValueError` unless ids (..., T) are ones that the model knows."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be whole numbers, not {ids.dtype}")
    if not ids.ndim or not ids.numel():
        raise ValueError(f"expected ids (..., T), at least one, not {tuple(ids.shape)}")
    if ids.shape[-1] > config.block_size:
        size = f"a context of {config.block_size}"
        raise ValueError(f"{ids.shape[-1]} ids are too many for {size}")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= config.vocab_size:
        wrong = low if low < 0 else high
        last = config.vocab_size - 1
        raise ValueError(f"id {wrong} is not in the vocabulary, 0 to {last}")


def initialize(model: "GPT") -> None:
    """Begin with blocks that change nothing and a head that has no opinion.

    What reads the residual stream is normal with variance 1/C: from channels of
    variance 1 it makes channels of variance 1. What writes to it is zero, so that
    each block begins as the identity. An untied head is zero, so that the first loss
    is log V. Embeddings are normal with standard deviation 0.02, as in GPT-2.
    """
    for name, p in model.named_parameters():
        if name.startswith(("token", "position")):
            nn.init.normal_(p, std=0.02)
        elif name.endswith(("out.weight", "down.weight", "head.weight")):
            nn.init.zeros_(p)
        elif p.ndim == 2:  # the others scale the norms, and stay 1
            nn.init.normal_(p, std=model.config.d_model**-0.5)


def n_parameters(config: Config) -> int:
    """Number of weights: V·C + T·C embed, 12C² + 2C are a block, C + V·C the head.

    >>> n_parameters(Config(65, 64, n_layer=4, n_head=4, d_model=128))
    812416
    """
    C = config.d_model
    embeddings = (config.vocab_size + config.block_size) * C
    block = 4 * C * C + 8 * C * C + 2 * C  # attention, MLP, two norms
    head = C + (0 if config.tie_weights else config.vocab_size * C)
    return embeddings + config.n_layer * block + head


def flops_per_token(config: Config) -> int:
    """Multiplications and additions in matrix products per token of a full block.

    A weight is used once per token: 2·(12C² n_layer + V·C). Scores and weighted means
    take another 4·T·C in each layer; what the mask hides is computed, too.
    This is a forward pass. The backward pass takes twice as many, so training 3×.
    """
    C, T = config.d_model, config.block_size
    layer = 2 * 12 * C * C + 4 * T * C
    return config.n_layer * layer + 2 * config.vocab_size * C


def save(
    model: GPT,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    notes: Mapping = {},
) -> None:
    """Write `model.safetensors` and, with the configuration, `model.json`.

    `dtype` such as `torch.float16` makes the file smaller. `notes` is any JSON that
    says where the model comes from.
    """
    weights = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    data = safetensors.torch.save(weights)
    sha256 = hashlib.sha256(data).hexdigest()
    about = {"config": asdict(model.config), "sha256": sha256, "notes": dict(notes)}
    write(Path(folder, "model.safetensors"), data)
    write(Path(folder, "model.json"), json.dumps(about, indent=1).encode())


def find(folder: str | Path) -> Path:
    """The folder itself, or that of a model which comes with this library: taleteller."""
    inside = Path(__file__).parent / folder
    return inside if inside.is_dir() else Path(folder)


def load(folder: str | Path) -> GPT:
    """Read a model that `save` wrote, in float32; `load("taleteller")` is the book's.

    Raises `ValueError` if the weights are not those that were saved.
    """
    folder = find(folder)
    try:
        about = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))
        config, sha256 = from_dict(Config, about["config"]), about["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/model.json is no saved model: {error!r}") from error
    path = Path(folder, "model.safetensors")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged: its sha256 is not {sha256}")
    model = GPT(config)
    copy(safetensors.torch.load(data), dict(model.named_parameters()), path)
    return model


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer that was saved beside a model; see `load`."""
    return Tokenizer.load(find(folder) / "tokenizer.json")


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside what `torch.compile` or `DistributedDataParallel` made of it."""
    while isinstance(inside := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inside
    return model
