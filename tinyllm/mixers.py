"""What a block may have in place of softmax attention over all keys, each by a name.

`Parts` says which layer has which. All read queries, keys and values as attention does, and
answer each query; they differ in how, and in what they remember of a text.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.attention import MultiHeadAttention, attend, check_stream, fused_attention
from tinyllm.delta import delta_chunked, delta_recurrent
from tinyllm.features import (
    elu_plus_one,
    positive_features,
    power_features,
    random_projections,
    relu_squared,
    taylor_features,
)
from tinyllm.layers import Parts, RMSNorm, RotaryAttention, head_size, rotate
from tinyllm.linear_attention import linear_chunked, linear_recurrent, retention_gates
from tinyllm.windows import (
    alibi_bias,
    alibi_slopes,
    biased_attention,
    window_attention,
    window_mask,
)


def short_convolution(
    x: Tensor, taps: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Mix each token with those right before it: out_t = Σ_i taps_i x_(t-i).

    x is (..., T, d), taps (..., n, d), before the n - 1 tokens before x (..., n - 1, d),
    zeros if not given. Returns (..., T, d), and the n - 1 last tokens of all.
    """
    n, T = taps.shape[-2], x.shape[-2]
    if before is None:
        before = x.new_zeros(*x.shape[:-2], n - 1, x.shape[-1])
    x = torch.cat([before, x], dim=-2)  # (..., n - 1 + T, d)
    delayed = (x[..., n - 1 - i : n - 1 - i + T, :] for i in range(n))
    mixed = sum(tap.unsqueeze(-2) * x_i for tap, x_i in zip(taps.unbind(-2), delayed))
    return mixed, x[..., T:, :]


class Mixer(RotaryAttention):
    """Self-attention, (..., T, C) to (..., T, C), in which `mix` says what answers a query.

    `past` is what the layer remembers of a text, a dictionary that is filled in here; it is
    empty where a text begins. With `conv` taps in the configuration a key is mixed with those
    right before it, at first in equal parts.
    """

    def __init__(self, config: Parts) -> None:
        sizes = config.d_model, config.n_head, True, config.bias, config.n_kv_head, config.d_head
        super().__init__(*sizes, qk_norm=config.qk_norm, eps=config.norm_eps)
        self.config, self.d_head = config, self.out.in_features // self.n_head
        if config.conv:
            equal = torch.full((self.n_kv_head, config.conv, self.d_head), 1 / config.conv)
            self.taps = nn.Parameter(equal)

    def heads(self, x: Tensor, rope: Tensor | None = None, there=None, past=None):
        q, k, v = MultiHeadAttention.heads(self, x)
        if self.config.conv:
            k = k if there is None else torch.where(there.unsqueeze(-1), k, 0)
            k, past["conv"] = short_convolution(k, self.taps, past.get("conv"))
        q, k = self.q_norm(q), self.k_norm(k)
        return (q, k, v) if rope is None else (rotate(q, rope), rotate(k, rope), v)

    def forward(self, x: Tensor, mask=None, past=None, weights=None, **places) -> Tensor:
        check_stream(x, self.qkv.in_features)
        past, T = {} if past is None else past, x.shape[-2]
        hides_tokens = mask is not None and mask.shape[-2] == 1  # from all queries alike
        there = mask[..., 0, -T:] if hides_tokens else None  # (..., 1, T)
        q, k, v = self.heads(x, **places, there=there, past=past)
        heads = self.mix(x, q, k, v, mask, past, weights)  # (..., n_head, T, d_head)
        return self.out(heads.transpose(-3, -2).flatten(-2))  # (..., T, C)


class SoftmaxMixer(Mixer):
    """Softmax attention with a window, with one key more that is nothing, or with ALiBi."""

    def mix(self, x, q, k, v, mask, past, weights) -> Tensor:
        T = q.shape[-2]
        if "keys" in past:
            past["keys"][..., -T:, :], past["values"][..., -T:, :] = k, v
            k, v = past["keys"], past["values"]
        if self.config.mixer == "softmax" and self.config.positions != "alibi":
            return attend(q, k, v, mask, True, weights)
        window = self.config.window
        if self.config.mixer == "window" and self.is_local(mask, weights):
            k, v = (z[..., 1 - T - window :, :] for z in (k, v))  # nobody sees what was before
            if self.config.positions != "alibi" and k.shape[-2] == T > 2 * window:
                k, v = (z.repeat_interleave(self.n_head // self.n_kv_head, -3) for z in (k, v))
                return window_attention(q, k, v, window)
        bias = self.visible(T, k.shape[-2], mask, q.device)  # (..., T, T_k), boolean
        if self.config.positions == "alibi":
            slopes = alibi_bias(alibi_slopes(self.n_head).to(q), T, k.shape[-2])
            bias = torch.where(bias, slopes, -torch.inf)
        if self.config.mixer == "softmax_one":
            k, v = (F.pad(z, (0, 0, 0, 1)) for z in (k, v))
            bias = F.pad(bias, (0, 1), value=bias.dtype == torch.bool)  # visible, or 0
        if weights is None:
            return fused_attention(q, k, v, bias)
        k, v = (z.repeat_interleave(self.n_head // self.n_kv_head, -3) for z in (k, v))
        bias = torch.where(bias, 0.0, -torch.inf) if bias.dtype == torch.bool else bias
        output, seen = biased_attention(q, k, v, bias.to(q.dtype), return_weights=True)
        weights.append(seen[..., :-1] if self.config.mixer == "softmax_one" else seen)
        return output

    def is_local(self, mask: Tensor | None, weights: list | None) -> bool:
        """Whether nothing is asked of keys outside the window."""
        return not self.config.sinks and mask is None and weights is None

    def visible(self, T: int, T_k: int, mask: Tensor | None, device) -> Tensor:
        """Which keys each query may attend to, (T, T_k) or with all axes."""
        window, sinks = T_k, 0
        if self.config.mixer == "window":
            window, sinks = self.config.window, self.config.sinks
        if mask is None:
            return window_mask(T, window, sinks, T_k, device)
        first = mask & (mask.cumsum(-1) <= sinks)  # the first that are there
        near, past = (window_mask(T, w, 0, T_k, device) for w in (window, T_k))
        return near & mask | past & first


class StateMixer(Mixer):
    """A mixer whose memory is a state of fixed size, whatever the length of the text.

    `numbers` gives what else `remember` has to know of each token, such as gates.
    """

    def mix(self, x, q, k, v, mask, past, weights) -> Tensor:
        if mask is not None and mask.shape[-2] != 1:
            shape = tuple(mask.shape)
            raise ValueError(f"a state hides a token from all or none, not by a mask {shape}")
        if weights is not None and "state" in past:
            raise ValueError("a state does not tell the weights of tokens that came before")
        key_mask = None if mask is None else mask[..., 0, -q.shape[-2] :]  # (..., 1, T)
        shared, numbers = self.n_head // self.n_kv_head, self.numbers(x)
        k, v = (z if shared == 1 else z.repeat_interleave(shared, -3) for z in (k, v))
        with torch.autocast(x.device.type, enabled=False):  # sums over a text need 32 bits
            q, k, v, *numbers = (wide(z) for z in (q, k, v, *numbers))
            heads, past["state"] = self.remember(q, k, v, *numbers, past.get("state"), key_mask)
            if weights is not None:  # what comes of values that are 1 for one token each
                each = torch.eye(q.shape[-2], dtype=v.dtype, device=v.device)
                weights.append(self.remember(q, k, each, *numbers, None, key_mask)[0])
        return self.head_norm(heads.to(x.dtype))

    def numbers(self, x: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


class LinearMixer(StateMixer):
    """Linear attention with features of queries and keys; without `normalize`, sums of values.

    gate: None, "constant" (RetNet) or "token" (a gate that each token sets, as in Mamba-2).
    Sums grow with the text, so that each head's output is normed.
    """

    def __init__(
        self, config: Parts, features: Callable | None = None, normalize: bool = True,
        gate: str | None = None,
    ) -> None:
        super().__init__(config)
        self.features, self.normalize, self.gate_kind = features, normalize, gate
        self.head_norm = nn.Identity() if normalize else RMSNorm(self.d_head, config.norm_eps)
        if gate == "token":
            self.gate = Gate(config.d_model, self.n_head)

    def numbers(self, x: Tensor) -> tuple[Tensor | None, ...]:
        if self.gate_kind == "constant":
            return (retention_gates(self.n_head).to(x)[:, None],)
        return (self.gate(x) if self.gate_kind else None,)

    def remember(self, q, k, v, log_gate, state, key_mask) -> tuple[Tensor, Tensor]:
        if self.features is not None:
            q, k = self.features(q), self.features(k)
        form = linear_recurrent if q.shape[-2] == 1 else linear_chunked
        return form(q, k, v, log_gate, state, self.normalize, key_mask)


class DeltaMixer(StateMixer):
    """The delta rule, of queries and keys of length 1; `gated`, tokens let some be forgotten."""

    def __init__(self, config: Parts, gated: bool = False) -> None:
        super().__init__(config)
        self.strength = nn.Linear(config.d_model, self.n_head, bias=False)
        self.gate = Gate(config.d_model, self.n_head) if gated else None
        self.head_norm = RMSNorm(self.d_head, config.norm_eps)

    def numbers(self, x: Tensor) -> tuple[Tensor | None, ...]:
        beta = self.strength(x).sigmoid().mT  # (..., n_head, T)
        return beta, None if self.gate is None else self.gate(x)

    def remember(self, q, k, v, beta, log_gate, state, key_mask) -> tuple[Tensor, Tensor]:
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        form = delta_recurrent if q.shape[-2] == 1 else delta_chunked
        return form(q, k, v, beta, log_gate, state, key_mask)


class Gate(nn.Module):
    """How much of its memory each head keeps at a token: the log of it, (..., n_head, T).

    log σ(W x + b); b begins where the gates are those of RetNet, and nearly all is kept.
    """

    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        log_gate = retention_gates(n_head)
        self.token = nn.Linear(d_model, n_head, bias=False)
        self.always = nn.Parameter(log_gate - torch.log(-torch.expm1(log_gate)))

    def forward(self, x: Tensor) -> Tensor:
        return F.logsigmoid(self.token(x) + self.always).mT


def wide(x: Tensor | None) -> Tensor | None:
    """In 32 bits, if it has less."""
    return None if x is None else x.to(torch.promote_types(x.dtype, torch.float32))


def scaled(features: Callable) -> Callable:
    """Features of x / d^¼, so that the kernel sees scores q·k / √d."""
    return lambda x: features(x * x.shape[-1] ** -0.25)


def random_features(config: Parts) -> LinearMixer:
    """FAVOR+: each head has its own directions, which are not trained, the same in each layer."""
    d, generator = head_size(config), torch.Generator().manual_seed(0)
    m, n_head = config.n_features, config.n_head
    heads = [random_projections(m, d, generator=generator) for _ in range(n_head)]
    projections = torch.stack(heads)  # (n_head, m, d)
    return LinearMixer(config, scaled(lambda x: positive_features(x, projections.to(x))))


MIXERS = {
    "softmax": SoftmaxMixer,
    "window": SoftmaxMixer,
    "softmax_one": SoftmaxMixer,
    "elu": partial(LinearMixer, features=elu_plus_one),
    "relu2": partial(LinearMixer, features=relu_squared),
    "power2": partial(LinearMixer, features=partial(power_features, p=2)),
    "power4": partial(LinearMixer, features=partial(power_features, p=4)),
    "taylor": partial(LinearMixer, features=scaled(taylor_features)),
    "favor": random_features,
    "identity": partial(LinearMixer, normalize=False),
    "retention": partial(LinearMixer, normalize=False, gate="constant"),
    "gated": partial(LinearMixer, normalize=False, gate="token"),
    "delta": DeltaMixer,
    "gated_delta": partial(DeltaMixer, gated=True),
}
