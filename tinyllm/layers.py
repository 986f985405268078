"""The parts that a block is made of, those of GPT-2 and those that came after it, each by a name."""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.attention import MultiHeadAttention


@dataclass(frozen=True, kw_only=True, repr=False)
class Parts:
    """Which parts a model has; the defaults are those of chapter 07.

    norm: "layer" or "rms"; norm_eps: what it adds to the variance.
    positions: "learned", or "rope" (by a rotation of queries and keys), or "alibi" (scores
        fall with distance), or "none".
    rope_theta: its slowest channels turn by about 1/rope_theta a token. rope_scaling: for
        longer contexts, as in Llama 3; see `rope_table`.
    mlp: "gelu", "gelu_tanh" (as GPT-2 computes it) or "swiglu" (gated).
    experts: so many MLPs, of which `experts_per_token` answer a token; see `tinyllm.experts`.
    d_ff: channels of an MLP's inside; if not given 4C, or 8C/3 with a gate, as many weights.
    n_kv_head: heads that have keys and values, if fewer than n_head.
    d_head: channels of a head, if not C / n_head.
    qk_norm: queries and keys are normed, each over its d_head channels.
    bias: all norms and matrices but the head add a vector; qkv_bias: so do queries, keys
        and values, or not, whatever the others do.
    mixer: what tokens tell each other, one of `SOFTMAX` and `FIXED_STATE`, or a tuple of
        them, one for each layer. See `tinyllm.mixers`.
    window, sinks: tokens that the mixer "window" sees, the last ones and the first.
    n_features: random features of the mixer "favor".
    conv: a key is mixed with those right before it, of so many tokens in all.
    """

    norm: str = "layer"
    norm_eps: float = 1e-5
    positions: str = "learned"
    rope_theta: float = 10_000.0
    rope_scaling: tuple[float, float, float, int] | None = None
    mlp: str = "gelu"
    experts: int | None = None
    experts_per_token: int = 1
    d_ff: int | None = None
    n_kv_head: int | None = None
    d_head: int | None = None
    qk_norm: bool = False
    bias: bool = False
    qkv_bias: bool | None = None
    mixer: str | tuple[str, ...] = "softmax"
    window: int | None = None
    sinks: int = 0
    n_features: int = 256
    conv: int | None = None

    def layers(self) -> list:
        """The configuration of each layer: it has one mixer."""
        if isinstance(self.mixer, str):
            return [self] * self.n_layer
        return [replace(self, mixer=mixer) for mixer in self.mixer]

    def mixer_weights(self) -> int:
        """Weights that mixers have besides those of chapter 07's attention, in all layers."""
        C, d, n_head = self.d_model, head_size(self), self.n_head
        taps = (self.conv or 0) * (self.n_kv_head or n_head) * d
        more = {  # a norm over d_head, a gate, the strength of a write
            "identity": d, "retention": d, "gated": d + C * n_head + n_head,
            "delta": d + C * n_head, "gated_delta": d + 2 * C * n_head + n_head,
        }
        return sum(taps + more.get(layer.mixer, 0) for layer in self.layers())

    def mlp_weights(self) -> int:
        """Weights of one MLP."""
        C, d_ff, matrices = self.d_model, mlp_size(self), 3 if self.mlp == "swiglu" else 2
        return matrices * C * d_ff + ((matrices - 1) * d_ff + C if self.bias else 0)

    def expert_weights(self) -> int:
        """Weights that layers have besides one MLP each: other experts, a router, b."""
        if self.experts is None:
            return 0
        others = (self.experts - 1) * self.mlp_weights()
        return self.n_layer * (others + self.d_model * self.experts + self.experts)

    def expert_products(self) -> int:
        """Products per token besides those of one MLP a layer: other experts, a router."""
        if self.experts is None:
            return 0
        matrices = 3 if self.mlp == "swiglu" else 2
        others = (self.experts_per_token - 1) * matrices * mlp_size(self)
        return self.n_layer * self.d_model * (others + self.experts)

    def keys_seen(self) -> list[int]:
        """With how many keys each layer compares a query, or what takes as many products.

        A state of d_f features is written and read in place of d_f keys; the delta rule
        reads it twice.
        """
        T, d = self.block_size, head_size(self)
        sizes = {
            "window": min(T, (self.window or T) + self.sinks), "softmax_one": T + 1,
            "elu": d, "relu2": d, "power2": math.comb(d + 1, 2), "power4": math.comb(d + 3, 4),
            "taylor": math.comb(d + 2, 2), "favor": self.n_features, "identity": d,
            "retention": d, "gated": d, "delta": 3 * d // 2, "gated_delta": 3 * d // 2,
        }
        return [sizes.get(layer.mixer, T) for layer in self.layers()]

    def chosen(self) -> dict:
        """All sizes, and those parts that are not the default ones."""
        sizes = {f.name: getattr(self, f.name) for f in fields(self) if not f.kw_only}
        parts = {f.name: getattr(self, f.name) for f in fields(Parts)}
        plain = {f.name: f.default for f in fields(Parts)}
        return sizes | {name: v for name, v in parts.items() if v != plain[name]}

    def __repr__(self) -> str:
        values = (f"{name}={value!r}" for name, value in self.chosen().items())
        return f"{type(self).__name__}({', '.join(values)})"


def check_config(config: Parts) -> None:
    """Raise `ValueError` for a configuration of which no model can be made."""
    whole = "a whole number above 0", lambda x: type(x) is int and x > 0
    above = "a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf
    yes_no = "true or false", lambda x: type(x) is bool
    rules = dict.fromkeys(["vocab_size", "block_size", "n_layer", "n_head", "d_model"], whole)
    rules |= {"n_features": whole, "experts_per_token": whole, "sinks": ("a whole number", lambda x: type(x) is int and x >= 0)}
    rules |= dict.fromkeys(["norm_eps", "rope_theta"], above)
    rules |= dict.fromkeys(["tie_weights", "qk_norm", "bias"], yes_no)
    rules |= {name: one_of(kinds) for name, kinds in KINDS.items()}
    optional = dict.fromkeys(["d_ff", "n_kv_head", "d_head", "window", "conv", "experts"], whole) | {"qkv_bias": yes_no}
    for name, (wanted, fits) in optional.items():
        rules[name] = f"{wanted} or null", lambda x, fits=fits: x is None or fits(x)
    for name, (wanted, fits) in rules.items():
        value = getattr(config, name)
        if not fits(value):
            raise ValueError(f"{name} must be {wanted}, not {value!r}")
    if config.d_head is None and config.d_model % config.n_head:
        sizes = f"{config.d_model} and {config.n_head}"
        raise ValueError(f"d_model must be a multiple of n_head, not {sizes}")
    if config.n_head % (config.n_kv_head or config.n_head):
        sizes = f"{config.n_head} and {config.n_kv_head}"
        raise ValueError(f"n_head must be a multiple of n_kv_head, not {sizes}")
    if config.positions == "rope" and head_size(config) % 2:
        raise ValueError(f"channels turn in pairs: d_head cannot be {head_size(config)}")
    scaling = config.rope_scaling
    four = isinstance(scaling, tuple) and len(scaling) == 4
    if scaling is not None and not (four and all(above[1](x) for x in scaling)):
        raise ValueError(f"rope_scaling must be four numbers above 0, not {scaling!r}")
    if config.experts_per_token > (config.experts or 1):
        sizes = f"{config.experts_per_token} of {config.experts or 1}"
        raise ValueError(f"experts_per_token must be at most the number of experts, not {sizes}")
    check_mixers(config)


def check_mixers(config: Parts) -> None:
    """Raise `ValueError` unless there is a mixer for each layer, with all that it needs."""
    mixers = config.mixer if isinstance(config.mixer, tuple) else (config.mixer,)
    if not all(mixer in SOFTMAX + FIXED_STATE for mixer in mixers):
        raise ValueError(f"a mixer must be {one_of(SOFTMAX + FIXED_STATE)[0]}, not {config.mixer!r}")
    if isinstance(config.mixer, tuple) and len(mixers) != config.n_layer:
        raise ValueError(f"{config.n_layer} layers need as many mixers, not {config.mixer!r}")
    if "window" in mixers and config.window is None:
        raise ValueError(f"the mixer 'window' needs a window, not {config.window!r}")
    if config.positions == "alibi" and not set(mixers) <= set(SOFTMAX):
        raise ValueError(f"only scores of {one_of(SOFTMAX)[0]} can fall with distance, not {config.mixer!r}")


KINDS = {
    "norm": ("layer", "rms"),
    "positions": ("learned", "rope", "alibi", "none"),
    "mlp": ("gelu", "gelu_tanh", "swiglu"),
}
SOFTMAX = "softmax", "window", "softmax_one"  # mixers that keep all keys
FIXED_STATE = (
    "elu", "relu2", "power2", "power4", "taylor", "favor", "identity", "retention", "gated",
    "delta", "gated_delta",
)


def one_of(kinds: tuple[str, ...]):
    """A rule of `check_config`."""
    return "one of " + ", ".join(map(repr, kinds)), lambda x: x in kinds


def head_size(config: Parts) -> int:
    """Channels of a head, d_head."""
    return config.d_head or config.d_model // config.n_head


def mlp_size(config: Parts) -> int:
    """Channels inside an MLP, d_ff."""
    C = config.d_model
    return config.d_ff or (8 * C // 3 if config.mlp == "swiglu" else 4 * C)


# ---------------------------------------------------------------------------------------- norms


class RMSNorm(nn.Module):
    r"""Bring each vector to length √C, then scale its channels.

        RMSNorm(x) = x / √(mean(x²) + ε) · g            (Zhang and Sennrich 2019)

    A LayerNorm that subtracts no mean. Takes and returns (..., C); 16 bits are summed up
    in 32.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d_model)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)  # (..., 1)
        return (wide * scale).to(x.dtype) * self.weight


def make_norm(config: Parts) -> nn.Module:
    """A norm over the C channels of the residual stream."""
    C, eps = config.d_model, config.norm_eps
    if config.norm == "rms":
        return RMSNorm(C, eps)
    return nn.LayerNorm(C, eps, bias=config.bias)


# ---------------------------------------------------------------------------------------- MLPs


class MLP(nn.Module):
    r"""Let each token alone compare itself with 4C patterns and add up their answers.

        MLP(x) = W_down GELU(W_up x)

    Takes (..., C) and returns (..., C). With d_ff there are that many patterns, and
    `approximate` is that of `torch.nn.functional.gelu`.
    """

    def __init__(
        self, d_model: int, d_ff: int | None = None, bias: bool = False,
        approximate: str = "none",
    ) -> None:
        super().__init__()
        d_ff, self.approximate = d_ff or 4 * d_model, approximate
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        matches = F.gelu(self.up(x), approximate=self.approximate)  # (..., 4C)
        return self.down(matches)  # (..., C)


class GatedMLP(nn.Module):
    r"""An MLP whose patterns are products of two: a gate decides how much of each passes.

        MLP(x) = W_down (SiLU(W_gate x) · W_up x),   SiLU(z) = z / (1 + e⁻ᶻ)   (Shazeer 2020)

    Takes (..., C) and returns (..., C); d_ff channels inside.
    """

    def __init__(self, d_model: int, d_ff: int, bias: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=bias)
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # (..., C) -> d_ff -> (..., C)


def make_mlp(config: Parts) -> nn.Module:
    """What each token computes alone."""
    C, d_ff, bias = config.d_model, mlp_size(config), config.bias
    if config.experts is not None:
        from tinyllm.experts import Experts  # which are MLPs of this file

        return Experts(config)
    if config.mlp == "swiglu":
        return GatedMLP(C, d_ff, bias)
    return MLP(C, d_ff, bias, "tanh" if config.mlp == "gelu_tanh" else "none")


# ---------------------------------------------------------------------------------------- positions


class LearnedPositions(nn.Embedding):
    """A vector for each position, added to that of the token."""

    def forward(self, x: Tensor, places: slice | Tensor) -> tuple[Tensor, dict]:
        """Vectors (..., T, C) at their places, and what attention has to know of these."""
        check_places(places, len(self.weight))
        return x + self.weight[places], {}


class NoPositions(nn.Module):
    """The causal mask alone: a token knows how many it sees, and not in which order."""

    def forward(self, x: Tensor, places: slice | Tensor) -> tuple[Tensor, dict]:
        """Vectors (..., T, C) as they are, and nothing for attention."""
        return x, {}


class RotaryPositions(nn.Module):
    """Rows of `rope_table` for the attention, by which it turns queries and keys."""

    def __init__(self, config: Parts) -> None:
        super().__init__()
        self.table = rope_table(config)  # no buffer: it stays in 32 bits when weights do not

    def forward(self, x: Tensor, places: slice | Tensor) -> tuple[Tensor, dict]:
        """Vectors (..., T, C) as they are, and rows (..., 1, T, d_head) for attention."""
        check_places(places, len(self.table))
        if self.table.device != x.device:
            self.table = self.table.to(x.device)
        return x, {"rope": self.table[places].to(x.dtype).unsqueeze(-3)}


def check_places(places: slice | Tensor, block_size: int) -> None:
    """Raise `ValueError` for a text that goes on, in a cache, beyond the last position."""
    if isinstance(places, slice) and places.stop > block_size:
        raise ValueError(f"{places.stop} ids are too many for a context of {block_size}")


def make_positions(config: Parts) -> nn.Module:
    """How a model knows where a token stands."""
    if config.positions == "learned":
        return LearnedPositions(config.block_size, config.d_model)
    return RotaryPositions(config) if config.positions == "rope" else NoPositions()


def rope_table(config: Parts) -> Tensor:
    r"""How far the channels of queries and keys turn at each position: (block_size, d_head).

        angle(t, i) = t · θ^(-2i/d)        i = 0, ..., d/2 - 1        (Su et al. 2021)

    A row holds d/2 cosines and then d/2 sines, in float32. rope_scaling stretches a
    context of `original` tokens, as in Llama 3.1: (factor, low, high, original). What
    turns fewer than `low` times in it becomes `factor` times slower, what turns more
    than `high` times stays, and between them it goes smoothly.
    """
    d = head_size(config)
    part = torch.arange(0, d, 2, device="cpu").float() / d  # 2i/d
    speed = 1 / config.rope_theta**part  # models were trained with just these roundings
    if config.rope_scaling:
        factor, low, high, original = config.rope_scaling
        turns = original * speed / (2 * math.pi)
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        speed = (1 - keep) * speed / factor + keep * speed
    places = torch.arange(config.block_size, device="cpu").float()
    angles = places[:, None] * speed  # (block_size, d/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn the plane of channels i and i + d/2 by the angles of the rows of `rope`.

    x is (..., T, d), and so are the rows; see `rope_table`. A dot product of two vectors
    that were turned depends on how far apart their positions are, not on where they are.
    """
    cos, sin = rope.chunk(2, dim=-1)  # each (..., T, d/2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


# ---------------------------------------------------------------------------------------- attention


class RotaryAttention(MultiHeadAttention):
    """Attention whose queries and keys are normed, or turned by their positions, or both.

    `rope` are the rows of `rope_table` for the T tokens; without them nothing turns.
    """

    def __init__(self, *args, qk_norm: bool = False, eps: float = 1e-5, **options) -> None:
        super().__init__(*args, **options)
        d_head = self.out.in_features // self.n_head
        self.q_norm = RMSNorm(d_head, eps) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(d_head, eps) if qk_norm else nn.Identity()

    def heads(self, x: Tensor, rope: Tensor | None = None):
        q, k, v = super().heads(x)
        q, k = self.q_norm(q), self.k_norm(k)
        return (q, k, v) if rope is None else (rotate(q, rope), rotate(k, rope), v)


def make_attention(config: Parts) -> MultiHeadAttention:
    """What tokens tell each other."""
    sizes = config.d_model, config.n_head, True, config.bias, config.n_kv_head, config.d_head
    if not is_plain(config):
        from tinyllm.mixers import MIXERS  # which are made of the parts in this file

        layer = MIXERS[config.mixer](config)
    elif config.positions == "rope" or config.qk_norm:
        layer = RotaryAttention(*sizes, qk_norm=config.qk_norm, eps=config.norm_eps)
    else:
        layer = MultiHeadAttention(*sizes)
    if config.qkv_bias not in (None, config.bias):
        rows, C = layer.qkv.weight.shape
        layer.qkv = nn.Linear(C, rows, bias=config.qkv_bias)
    return layer


def is_plain(config: Parts) -> bool:
    """Whether a layer remembers a text by the keys and values of its tokens, and nothing else."""
    return config.mixer == "softmax" and config.positions != "alibi" and not config.conv
