"""The parts of a block: each against torch's own, or against its formula written out."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinyllm.attention import MultiHeadAttention
from tinyllm.layers import (
    MLP,
    GatedMLP,
    NoPositions,
    RMSNorm,
    RotaryAttention,
    head_size,
    make_attention,
    make_mlp,
    make_norm,
    make_positions,
    mlp_size,
    rope_table,
    rotate,
)
from tinyllm.model import GPT, Config

PLAIN = Config(vocab_size=11, block_size=32, n_layer=2, n_head=4, d_model=24)
ROPE = replace(PLAIN, positions="rope")


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_a_configuration_shows_six_sizes_and_what_was_exchanged():
    assert repr(PLAIN) == (
        "Config(vocab_size=11, block_size=32, n_layer=2, n_head=4, d_model=24, tie_weights=False)"
    )
    assert repr(replace(PLAIN, norm="rms")).endswith("tie_weights=False, norm='rms')")
    assert replace(PLAIN, norm="rms").chosen() == PLAIN.chosen() | {"norm": "rms"}


def test_by_default_all_parts_are_those_of_chapter_07():
    model = GPT(PLAIN)
    assert type(model.blocks[0].attention) is MultiHeadAttention and type(model.blocks[0].mlp) is MLP
    assert type(model.norm) is nn.LayerNorm and model.norm.bias is None
    assert isinstance(model.position, nn.Embedding) and not [n for n, _ in model.named_parameters() if "bias" in n]


# ---------------------------------------------------------------------------------------- norms and MLPs


@given(st.integers(1, 9), st.sampled_from([1e-6, 1e-5, 0.1]), st.integers(0, 999))
def test_rms_norm_equals_torchs(C, eps, seed):
    ours, theirs = RMSNorm(C, eps).double(), nn.RMSNorm(C, eps, dtype=torch.float64)
    ours.weight.data = theirs.weight.data = randn(C, seed=seed)
    x = randn(3, 2, C, seed=seed + 1)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_rms_norm_makes_every_vector_as_long_and_keeps_its_direction():
    x = randn(5, 24)
    normed = RMSNorm(24, 1e-12).double()(x)
    torch.testing.assert_close(normed.norm(dim=-1), torch.full((5,), math.sqrt(24), dtype=torch.float64))
    torch.testing.assert_close(nn.functional.cosine_similarity(x, normed), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_summed_in_32(dtype):
    x = torch.full((2, 1000), 300.0, dtype=dtype)  # squares of 90,000 are more than 16 bits hold
    normed = RMSNorm(1000).to(dtype)(x)
    assert normed.dtype == dtype and (normed.float() - 1).abs().max() < 0.01


def test_a_gate_that_is_open_lets_a_pattern_pass_and_one_that_is_shut_does_not():
    mlp = GatedMLP(2, 2).requires_grad_(False)
    mlp.gate.weight.copy_(torch.tensor([[50.0, 0.0], [-50.0, 0.0]]))
    mlp.up.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    mlp.down.weight.copy_(torch.eye(2))
    torch.testing.assert_close(mlp(torch.tensor([1.0, 3.0])), torch.tensor([150.0, 0.0]))


def test_a_gated_mlp_is_its_formula():
    mlp, x = make_mlp(replace(PLAIN, mlp="swiglu", d_ff=7)).double(), randn(3, 24)
    a, b = x @ mlp.gate.weight.T, x @ mlp.up.weight.T
    torch.testing.assert_close(mlp(x), (a / (1 + (-a).exp()) * b) @ mlp.down.weight.T)


def test_with_a_gate_there_are_as_many_weights_as_without():
    sizes = [
        sum(p.numel() for p in make_mlp(replace(PLAIN, mlp=kind)).parameters()) for kind in ("gelu", "swiglu")
    ]
    assert sizes == [8 * 24 * 24, 8 * 24 * 24]
    assert mlp_size(replace(PLAIN, d_ff=5)) == 5 and mlp_size(PLAIN) == 96


def test_the_gelu_of_gpt_2_is_the_one_with_tanh():
    x = randn(100, 24, dtype=torch.float32)
    exact, tanh = (make_mlp(replace(PLAIN, mlp=kind)) for kind in ("gelu", "gelu_tanh"))
    tanh.load_state_dict(exact.state_dict())
    up = exact.up(x)
    by_hand = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    torch.testing.assert_close(tanh(x), exact.down(by_hand), rtol=1e-4, atol=1e-6)
    assert not torch.equal(tanh(x), exact(x))


def test_with_biases_all_have_one_but_the_head():
    model = GPT(replace(PLAIN, bias=True))
    modules = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.LayerNorm))]
    assert [m for m in modules if m.bias is None] == [model.head]
    assert all((m.bias == 0).all() for m in modules if m.bias is not None), "a new one is zero"
    qkv_only = GPT(replace(PLAIN, qkv_bias=True))
    assert {n.split(".", 2)[2] for n, _ in qkv_only.named_parameters() if "bias" in n} == {"attention.qkv.bias"}
    but_qkv = GPT(replace(PLAIN, bias=True, qkv_bias=False))
    assert but_qkv.blocks[0].attention.qkv.bias is None and but_qkv.blocks[0].attention.out.bias is not None


def test_the_epsilon_of_a_norm_is_the_one_that_was_asked_for():
    x = 1e-3 * randn(4, 24)
    for kind in ("layer", "rms"):
        small, large = (make_norm(replace(PLAIN, norm=kind, norm_eps=eps)).double()(x) for eps in (1e-12, 1.0))
        assert small.std() > 100 * large.std()


# ---------------------------------------------------------------------------------------- positions


def test_a_rotation_by_hand():
    table = rope_table(replace(ROPE, n_head=12))  # d_head = 2: one plane, one radian a token
    x = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    t = torch.arange(4.0)
    torch.testing.assert_close(rotate(x, table[:4]), torch.stack([t.cos(), t.sin()], dim=-1))


def test_channel_i_turns_with_channel_i_plus_half_and_not_with_its_neighbor():
    x = torch.zeros(1, 6)
    x[0, 1] = 1.0
    turned = rotate(x, rope_table(ROPE)[5:6])
    assert turned[0].nonzero().flatten().tolist() == [1, 4]


@settings(max_examples=30)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 16), st.integers(0, 999))
def test_scores_depend_on_how_far_apart_two_tokens_are_and_not_on_where(i, j, shift, seed):
    table = rope_table(ROPE).double()
    q, k = randn(2, 6, seed=seed)
    here = rotate(q, table[i]) @ rotate(k, table[j])
    there = rotate(q, table[i + shift]) @ rotate(k, table[j + shift])
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rotate(q, table[i]).norm(), q.norm(), rtol=1e-6, atol=0)


def test_the_slowest_plane_turns_once_in_two_pi_theta_tokens_to_the_power_that_belongs():
    table = rope_table(replace(ROPE, rope_theta=100.0)).double()
    speeds = torch.atan2(table[1, 3:], table[1, :3])
    torch.testing.assert_close(speeds, 100.0 ** -(torch.arange(3).double() / 3), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_table_stays_in_32_bits_and_its_rows_are_of_the_models_kind(dtype):
    model = GPT(ROPE).to(torch.bfloat16).to(dtype)
    exact = rope_table(ROPE)
    x, context = model.position(torch.zeros(3, 5, 24, dtype=dtype), slice(2, 7))
    assert context["rope"].dtype == dtype
    assert torch.equal(context["rope"][0], exact[2:7].to(dtype)), "no 16 bits on the way"
    assert not [name for name, _ in model.named_parameters() if "position" in name]


def test_without_positions_the_order_of_earlier_tokens_does_not_matter():
    torch.manual_seed(0)
    sizes = dict(n_layer=1, positions="none")
    model = GPT(replace(PLAIN, **sizes)).double().requires_grad_(False)
    for p in model.parameters():
        p.copy_(randn(*p.shape))
    ids = torch.tensor([[3, 1, 4, 1, 5, 9], [5, 4, 1, 3, 1, 9]])
    assert isinstance(model.position, NoPositions)
    a, b = model(ids)[:, -1]
    torch.testing.assert_close(a, b)
    a, b = GPT(replace(ROPE, n_layer=1)).position(torch.zeros(1), slice(3))[1]["rope"].squeeze(0)[:2]
    assert not torch.equal(a, b)


def test_rope_is_made_anew_on_no_device_but_the_one_in_use():
    position = make_positions(ROPE)
    table = position.table
    position(torch.zeros(2, 24), slice(2))
    assert position.table is table


# ---------------------------------------------------------------------------------------- attention


def test_queries_and_keys_are_normed_head_by_head_and_then_turned():
    config = replace(ROPE, qk_norm=True, n_kv_head=2, d_head=8)
    layer = make_attention(config).double().requires_grad_(False)
    assert isinstance(layer, RotaryAttention) and layer.q_norm.weight.shape == (8,)
    layer.q_norm.weight.copy_(randn(8)), layer.k_norm.weight.copy_(randn(8, seed=1))
    x, rope = randn(3, 5, 24), rope_table(config)[:5].double()
    q, k, v = layer.heads(x, rope)
    plain = MultiHeadAttention.heads(layer, x)
    for turned, raw, norm in ((q, plain[0], layer.q_norm), (k, plain[1], layer.k_norm)):
        torch.testing.assert_close(turned, rotate(nn.functional.rms_norm(raw, (8,), norm.weight, 1e-5), rope))
    assert torch.equal(v, plain[2])
    assert q.shape == (3, 4, 5, 8) and k.shape == v.shape == (3, 2, 5, 8)


@pytest.mark.parametrize(
    "parts", [dict(positions="rope"), dict(qk_norm=True), dict(n_kv_head=1), dict(d_head=10, norm="rms")]
)
def test_weights_asked_for_are_those_that_were_used(parts):
    model = GPT(replace(PLAIN, **parts)).double().requires_grad_(False)
    for p in model.parameters():
        p.copy_(0.5 * randn(*p.shape) + (p.ndim == 1))
    ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
    logits, weights = model(ids, return_attention=True)
    torch.testing.assert_close(logits, model(ids), rtol=1e-11, atol=1e-11)
    assert weights.shape == (2, 2, 4, 9, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, 9, dtype=torch.float64))
    assert head_size(model.config) == parts.get("d_head", 6)


@pytest.mark.parametrize("positions", ["learned", "rope", "none"])
def test_a_model_of_modern_parts_learns(positions):
    torch.manual_seed(0)
    parts = dict(norm="rms", mlp="swiglu", n_kv_head=2, qk_norm=True, positions=positions)
    model = GPT(replace(PLAIN, **parts))
    ids = torch.randint(11, (4, 20))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert loss < 0.7 * math.log(11)
