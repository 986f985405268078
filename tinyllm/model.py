"""A GPT: tokens become vectors, blocks read and write them, a head tells what comes next."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from tinyllm.devices import is_main, whole
from tinyllm.files import copy, to_dtype, write
from tinyllm.layers import (
    Parts,
    check_config,
    head_size,
    make_attention,
    make_mlp,
    make_norm,
    make_positions,
    mlp_size,
)
from tinyllm.tokens import Tokenizer


@dataclass(frozen=True, repr=False)
class Config(Parts):
    """What makes two models the same but for their weights.

    vocab_size: ids go from 0 to V - 1.
    block_size: tokens that the model can see at once, T.
    n_layer, n_head: blocks, and attention heads in each of them.
    d_model: channels of the residual stream, C; a multiple of n_head.
    tie_weights: the head uses the token embedding's matrix instead of its own.

    `Parts` are the kinds of norm, MLP and attention, which have defaults.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    d_model: int
    tie_weights: bool = False

    def __post_init__(self) -> None:
        check_config(self)


def from_dict(kind: type, values: Mapping):
    """A dataclass such as `Config` from a dictionary such as a JSON file holds.

    Raises `ValueError` for a key that the class does not know, and for one that is
    missing.
    """
    ordered = sorted(fields(kind), key=lambda field: field.kw_only)
    known = {field.name: field.default for field in ordered}
    unknown = [name for name in values if name not in known]
    missing = [name for name in known if known[name] is MISSING and name not in values]
    if unknown or missing:
        wrong = f"unknown keys {unknown}, missing keys {missing}"
        raise ValueError(f"{kind.__name__}: {wrong}; the keys are {list(known)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**values)


class Block(nn.Module):
    r"""Read the residual stream and add to it, twice.

        x ← x + MultiHead(Norm(x))        what tokens tell each other
        x ← x + MLP(Norm(x))              what each makes of it

    Takes (..., T, C) and returns (..., T, C). `context` goes to the attention.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm_1, self.attention = make_norm(config), make_attention(config)
        self.norm_2, self.mlp = make_norm(config), make_mlp(config)

    def forward(self, x: Tensor, **context) -> Tensor:
        x = x + self.attention(self.norm_1(x), **context)
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    """From ids (..., T) to logits (..., T, V) of what comes next, at each place.

    With `return_attention` also the weights (n_layer, ..., n_head, T, T).
    More ids than block_size are a `ValueError`; so is, on a CPU, one outside the vocabulary.

    With a `cache` the ids (B, T) go on where it ends, and it grows by them: numbers
    only, so that no gradient goes through it.

    `places` (..., T) are positions other than 0, 1, 2, ...; `mask` (..., 1, T, T) hides keys
    besides those that come later. `batches.documents` has both for texts beside each other.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, C = config, config.d_model
        self.token = nn.Embedding(config.vocab_size, C)
        self.position = make_positions(config)
        self.blocks = nn.ModuleList(Block(layer) for layer in config.layers())
        self.norm = make_norm(config)
        self.head = nn.Linear(C, config.vocab_size, bias=False)
        if config.tie_weights:
            self.head.weight = self.token.weight
        initialize(self)

    def forward(
        self, ids: Tensor, cache=None, return_attention: bool = False, places=None, mask=None
    ):
        check_ids(ids, self.config)
        places = slice(ids.shape[-1]) if places is None else places
        new = places, mask, [None] * len(self.blocks)  # no past
        places, mask, past = new if cache is None else cache.extend(ids.shape[-1])
        weights = [] if return_attention else None
        with torch.set_grad_enabled(cache is None and torch.is_grad_enabled()):
            x, context = self.position(self.token(ids), places)  # (..., T, C)
            for block, keys_values in zip(self.blocks, past, strict=True):
                x = block(x, mask=mask, past=keys_values, weights=weights, **context)
            logits = self.head(self.norm(x))  # (..., T, V)
        return (logits, torch.stack(weights)) if return_attention else logits


def check_ids(ids: Tensor, config: Config) -> None:
    """Raise `ValueError` unless ids (..., T) are ones that the model knows."""
    if not isinstance(ids, Tensor):
        raise ValueError(f"ids must be a tensor (..., T), not {type(ids).__name__}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"ids must be whole numbers, of 64 or 32 bits, not {ids.dtype}")
    if not ids.ndim or not ids.numel():
        raise ValueError(f"expected ids (..., T), at least one, not {tuple(ids.shape)}")
    if ids.shape[-1] > config.block_size:
        size = f"a context of {config.block_size}"
        raise ValueError(f"{ids.shape[-1]} ids are too many for {size}")
    if not ids.is_cpu:
        # To look at values, a GPU would have to be waited for. CUDA stops at a wrong one by
        # itself, MPS takes zeros for its vector; `generate` and `train` look before.
        return
    low, high = map(int, ids.aminmax() if ids.numel() > 1 else (ids, ids))
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
    for name, p in unwrap(model).named_parameters():
        path = name.split(".")
        if path[0] in ("token", "position"):
            nn.init.normal_(p, std=0.02)
        elif path[-1] == "bias" or not {"out", "down", "head"}.isdisjoint(path):
            nn.init.zeros_(p)
        elif p.ndim == 2:  # (..., C); the others scale the norms, and stay 1
            nn.init.normal_(p, std=p.shape[1] ** -0.5)


def n_parameters(config: Config) -> int:
    """Number of weights: V·C + T·C embed, 12C² + 2C are a block, C + V·C the head.

    The 12C² are `block_matrices`; other parts have other numbers.

    >>> n_parameters(Config(65, 64, n_layer=4, n_head=4, d_model=128))
    812416
    """
    C, d, n_kv_head = config.d_model, head_size(config), config.n_kv_head or config.n_head
    norm = C + (C if config.norm == "layer" and config.bias else 0)
    block = block_matrices(config) + 2 * norm + (2 * d if config.qk_norm else 0)
    if config.bias if config.qkv_bias is None else config.qkv_bias:
        block += (config.n_head + 2 * n_kv_head) * d
    if config.bias:
        block += C + mlp_size(config) * (2 if config.mlp == "swiglu" else 1) + C
    places = config.block_size * C if config.positions == "learned" else 0
    head = norm + (0 if config.tie_weights else config.vocab_size * C)
    blocks = config.n_layer * block + config.mixer_weights() + config.expert_weights()
    return config.vocab_size * C + places + blocks + head


def block_matrices(config: Config) -> int:
    """Weights in the matrices of a block: 4C² of attention and 8C² of an MLP.

    With fewer keys and values, heads of their own size, or a gate:
    C d_head (2 n_head + 2 n_kv_head), and 2 or 3 matrices of C d_ff.
    """
    heads = 2 * config.n_head + 2 * (config.n_kv_head or config.n_head)
    matrices = 3 if config.mlp == "swiglu" else 2
    return config.d_model * (head_size(config) * heads + matrices * mlp_size(config))


def flops_per_token(config: Config) -> int:
    """Multiplications and additions in matrix products per token of a full block.

    A weight is used once per token: 2·(12C² n_layer + V·C). Scores and weighted means
    take another 4·T·C in each layer; what the mask hides is counted, too.
    This is a forward pass. The backward pass takes twice as many, so training 3×.
    """
    heads = config.n_head * head_size(config)  # C channels in all
    layers = sum(2 * block_matrices(config) + 4 * T * heads for T in config.keys_seen())
    return layers + 2 * config.expert_products() + 2 * config.vocab_size * config.d_model


def save(
    model: GPT,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    notes: Mapping = {},
) -> None:
    """Write `model.safetensors` and, with the configuration, `model.json`.

    `dtype` such as `torch.float16` makes the file smaller. `notes` is any JSON that
    says where the model comes from. Where processes have parts of the model each, all have
    to call this, and the first writes.
    """
    model = unwrap(model)
    named = {name: whole(p.detach()) for name, p in model.named_parameters()}
    if not is_main():
        return
    check_weights(named, model.config)
    weights = {name: to_dtype(name, p, dtype).contiguous() for name, p in named.items()}
    data = safetensors.torch.save(weights)
    sha256 = hashlib.sha256(data).hexdigest()
    about = {"config": model.config.chosen(), "sha256": sha256, "notes": dict(notes)}
    text = json.dumps(about, indent=1).encode()  # before a file changes: notes may be no JSON
    write(Path(folder, "model.safetensors"), data)
    write(Path(folder, "model.json"), text)


def check_weights(weights: Mapping[str, Tensor], config: Config) -> None:
    """Raise `ValueError` for a model that `load` could not build again, such as a quantized one."""
    with torch.device("meta"):
        wanted = {name: tuple(p.shape) for name, p in GPT(config).named_parameters()}
    given = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if given.get(name) != wanted.get(name):
            shapes = f"{given.get(name, 'missing')}, and {wanted.get(name, 'missing')} by its configuration"
            raise ValueError(f"this is no model that can be loaded again: {name} is {shapes}")


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside what `torch.compile` or `DistributedDataParallel` made of it."""
    while isinstance(inside := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inside
    return model


def find(folder: str | Path) -> Path:
    """Where a model is: its folder, or "taleteller" for the one that comes with the book.

    `./taleteller`, or a `Path`, is a folder of your own.
    """
    return Path(__file__).parent / folder if folder == "taleteller" else Path(folder)


def load(folder: str | Path) -> GPT:
    """Read a model that `save` wrote, in float32; `load("taleteller")` is the book's.

    Raises `ValueError` if the weights are not those that were saved.
    """
    folder = find(folder)
    try:
        about = json.loads(Path(folder, "model.json").read_text(encoding="utf-8-sig"))
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
    """Read the `tokenizer.json` beside a model, ours or published; see `load`."""
    return Tokenizer.from_file(find(folder) / "tokenizer.json")
