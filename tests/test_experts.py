"""A mixture of experts: each token is answered by its few, as by a loop over tokens, alone or beside others."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinyllm.experts import SCALE, Experts, active_parameters, balance_loss, expert_loads
from tinyllm.generation import Cache, generate
from tinyllm.layers import MLP, make_mlp
from tinyllm.model import GPT, Config, flops_per_token, load, n_parameters, save
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import add_gradient, train, train_step

CONFIG = Config(50, 16, n_layer=2, n_head=2, d_model=8, d_ff=12, experts=5, experts_per_token=2)


def random_model(config: Config = CONFIG, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    model = GPT(config)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


@pytest.fixture
def ids():
    return torch.randint(50, (3, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("bias", [False, True])
def test_each_token_gets_what_a_loop_over_tokens_and_experts_gives_it(k, mlp, bias):
    config = replace(CONFIG, experts_per_token=k, mlp=mlp, bias=bias)
    layer = random_model(config).blocks[0].mlp.double()
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for place in [(b, t) for b in range(2) for t in range(3)]:
        p = (layer.router.weight @ x[place]).softmax(0)
        best = sorted(range(5), key=lambda e: -float((p[e] + layer.balance[e]).detach()))[:k]
        for e in best:
            weight = p[e] if k == 1 else p[e] / sum(p[i] for i in best)
            expected[place] += weight * layer.experts[e](x[place])
    torch.testing.assert_close(layer(x), expected)


def test_all_experts_with_a_router_that_has_no_preference_are_their_mean():
    layer = Experts(replace(CONFIG, experts_per_token=5)).double()
    nn.init.zeros_(layer.router.weight)
    x = torch.randn(7, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), sum(expert(x) for expert in layer.experts) / 5)


def test_equal_experts_are_one_mlp():
    layer, one = random_model().blocks[0].mlp, MLP(8, 12)
    for expert in layer.experts:
        expert.load_state_dict(one.state_dict())
    x = torch.randn(4, 8)
    torch.testing.assert_close(layer(x), one(x))


def test_no_token_is_dropped_and_none_depends_on_its_neighbors(ids):
    model = random_model()
    nn.init.zeros_(model.blocks[0].mlp.router.weight)  # all tokens want the same two experts
    together = model(ids)
    for row, logits in zip(ids, together):
        torch.testing.assert_close(model(row), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2])
def test_cached_decoding_is_the_same(ids, k):
    model = random_model(replace(CONFIG, experts_per_token=k))
    expected, cache = model(ids), Cache(model, 3, 16)
    parts = [model(part, cache) for part in ids.split([5, 1, 1, 9], dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-4, atol=1e-5)
    greedy = [generate(model, [1, 2, 3], 8, temperature=0, cache=cache) for cache in (True, False)]
    assert list(greedy[0]) == list(greedy[1])


@pytest.mark.parametrize("change", [
    {}, dict(experts_per_token=1), dict(mlp="swiglu"), dict(bias=True), dict(mlp="swiglu", bias=True), dict(experts=None, experts_per_token=1),
])
def test_weights_are_counted_those_that_work_on_a_token_and_all(change):
    config = replace(CONFIG, **change)
    model = GPT(config)
    assert n_parameters(config) == sum(p.numel() for p in model.parameters())
    # An expert that a token skips has no gradient from it, and what works on it has one.
    model = random_model(config)
    model(torch.tensor([7])).sum().backward()
    busy = [m for m in model.blocks[0].mlp.experts if m.up.weight.grad.any()] if config.experts else [0]
    assert len(busy) == config.experts_per_token
    one = make_mlp(replace(config, experts=None, experts_per_token=1))
    idle = ((config.experts or 1) - len(busy)) * sum(p.numel() for p in one.parameters())
    assert n_parameters(config) - active_parameters(config) == config.n_layer * idle


@pytest.mark.parametrize("k", [1, 2, 5])
def test_products_are_counted_as_torch_counts_them(ids, k):
    config = replace(CONFIG, experts_per_token=k)
    with FlopCounterMode(display=False) as counter:
        random_model(config)(ids, return_attention=True)
    assert counter.get_total_flops() == ids.numel() * flops_per_token(config)


def test_a_config_of_one_mlp_is_as_it_was():
    assert "experts" not in Config(50, 16, 2, 2, 8).chosen()
    assert isinstance(GPT(Config(50, 16, 2, 2, 8)).blocks[0].mlp, MLP)
    with pytest.raises(ValueError, match="experts_per_token must be at most the number of experts, not 3 of 2"):
        replace(CONFIG, experts=2, experts_per_token=3)
    with pytest.raises(ValueError, match="at most the number of experts, not 2 of 1"):
        Config(50, 16, 2, 2, 8, experts_per_token=2)


def test_experts_are_saved_and_loaded(ids, tmp_path):
    model = random_model()
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.config == CONFIG
    torch.testing.assert_close(again(ids), model(ids))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_experts_learn_and_a_run_that_was_stopped_goes_on(tmp_path, optimizer):
    ids = torch.arange(400) % 7
    how = TrainConfig(n_steps=24, batch_size=4, every=8, optimizer=optimizer, keep=9, warmup=0.1)
    runs = []
    for folder in ("whole", "stopped"):
        torch.manual_seed(0)
        model = GPT(CONFIG)
        records = train(model, ids, how, folder=tmp_path / folder)
        runs.append([next(records) for _ in range(3 if folder == "whole" else 1)])
    torch.manual_seed(5)
    resumed = GPT(CONFIG)
    runs[1] += list(train(resumed, ids, how, folder=tmp_path / "stopped", resume=True))
    assert [r["loss"] for r in runs[0]] == [r["loss"] for r in runs[1]]
    assert runs[0][-1]["loss"] < runs[0][0]["loss"]
    named = dict(resumed.named_parameters())
    assert named["blocks.0.mlp.balance"].any() and named["blocks.0.mlp.router.weight"].any()


def test_the_router_of_one_expert_learns_since_its_weight_is_not_brought_to_one(ids):
    model = random_model(replace(CONFIG, experts_per_token=1))
    add_gradient(model, ids[:, :-1], ids[:, 1:])
    assert model.blocks[0].mlp.router.weight.grad.abs().max() > 1e-6


def test_the_surplus_of_an_expert_is_the_gradient_of_its_bias(ids):
    model = random_model()
    add_gradient(model, ids[:, :-1], ids[:, 1:])
    loads = expert_loads(model, ids[:, :-1])
    assert loads.shape == (2, 5)
    torch.testing.assert_close(loads.sum(1), torch.full((2,), 2.0))
    for block, load in zip(model.blocks, loads):
        torch.testing.assert_close(block.mlp.balance.grad, SCALE * (load / 2 - 1 / 5))


def test_the_gradient_is_the_same_however_a_batch_is_cut(ids):
    found = []
    for parts in (1, 3):
        model = random_model()
        add_gradient(model, ids[:, :-1], ids[:, 1:], parts)
        found.append([p.grad for name, p in model.named_parameters() if "balance" not in name])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weight_decay", [None, 0.1])
def test_a_step_is_the_same_however_a_batch_is_cut_also_that_of_the_bias(ids, weight_decay):
    found = []
    for parts in (1, 3):
        model = random_model().double()
        how = TrainConfig(3, 3, optimizer="adamw", weight_decay=weight_decay, grad_accum_steps=parts, warmup=0.0, max_norm=9.0)
        optimizers = make_optimizers(model, how)
        for step in range(3):
            train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
        found.append([p.detach() for p in model.parameters()])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_a_bias_is_no_weight():
    layer = Experts(replace(CONFIG, experts_per_token=5)).double()
    x = torch.randn(7, 8, dtype=torch.float64)
    expected = layer(x)
    nn.init.normal_(layer.balance)
    torch.testing.assert_close(layer(x), expected)


def test_a_model_in_sixteen_bits_chooses_by_thirty_two():
    layer = random_model().blocks[0].mlp.bfloat16()
    x = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    weights, chosen = layer.route(x)
    answers = layer(x)
    wide = layer.float()
    expected, those = wide.route(x.float())
    assert torch.equal(chosen, those)
    torch.testing.assert_close(weights, expected)
    assert answers.dtype == torch.bfloat16
    torch.testing.assert_close(answers.float(), wide(x.float()), rtol=0.05, atol=0.05)


def test_autocast_does_not_change_who_is_chosen():
    layer = random_model().blocks[0].mlp
    x = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    weights, chosen = layer.route(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.route(x)[1], chosen) and torch.equal(layer.route(x)[0], weights)
        assert layer.experts[0](x).dtype == torch.bfloat16 and layer(x).dtype == torch.float32


def test_the_surplus_is_too_small_to_shorten_the_gradient_of_the_rest(ids):
    model = random_model()
    add_gradient(model, ids[:, :-1], ids[:, 1:])
    named = [(name, p.grad) for name, p in model.named_parameters()]
    norms = [torch.stack([g.norm() for name, g in named if ("balance" in name) == b]).norm() for b in (False, True)]
    assert 0 < norms[1] < 1e-3 * norms[0]


@pytest.mark.parametrize("shape", [(8,), (0, 8), (2, 0, 8), (2, 3, 4, 8)])
def test_any_leading_dimensions(shape):
    layer = random_model().blocks[0].mlp
    x = torch.randn(shape)
    assert layer(x).shape == shape
    torch.testing.assert_close(layer(x).reshape(-1, 8), layer(x.reshape(-1, 8)))


def test_the_gradients_of_a_layer_are_those_of_finite_differences():
    layer = random_model(replace(CONFIG, d_ff=3)).blocks[0].mlp.double()
    x = torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    p = layer.router.weight.detach().clone().requires_grad_()

    def forward(x, p):
        return torch.func.functional_call(layer, {"router.weight": p}, x)

    assert torch.autograd.gradcheck(forward, (x, p))


def test_an_expert_that_no_token_chose_has_a_gradient_of_zero(ids):
    model = random_model()
    for block in model.blocks:
        nn.init.zeros_(block.mlp.balance)
        block.mlp.balance.data[3] = -9.0
    add_gradient(model, ids[:, :-1], ids[:, 1:])
    for block in model.blocks:
        assert all(p.grad is not None and not p.grad.any() for p in block.mlp.experts[3].parameters())
        assert block.mlp.balance.grad[3] == pytest.approx(-SCALE / 5), "and is chosen more"


def test_a_model_without_experts_has_no_loads(ids):
    with pytest.raises(ValueError, match="there are no experts in this model"):
        expert_loads(GPT(replace(CONFIG, experts=None, experts_per_token=1)), ids)


def test_looking_at_loads_leaves_a_model_as_it_was(ids):
    model = random_model()
    loads = expert_loads(model, ids)
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.equal(expert_loads(model, ids[0]), expert_loads(model, ids[:1]))
    chosen = model.blocks[0].mlp.route(model.blocks[0].norm_2(stream(model, ids)).flatten(0, -2))[1]
    torch.testing.assert_close(loads[0], torch.bincount(chosen.flatten(), minlength=5) / ids.numel())


def stream(model: GPT, ids):
    """What the MLP of the first block is given, before the norm."""
    x = model.token(ids) + model.position.weight[: ids.shape[-1]]
    return x + model.blocks[0].attention(model.blocks[0].norm_1(x))


def test_only_the_mean_probabilities_have_a_gradient_in_the_balance_loss():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], requires_grad=True)
    loss = balance_loss(p, torch.tensor([[0, 1], [0, 2]]))
    assert loss.item() == pytest.approx(3 * (0.5 * 0.6 + 0.25 * 0.25 + 0.25 * 0.15))
    loss.backward()
    torch.testing.assert_close(p.grad, 3 / 2 * torch.tensor([[0.5, 0.25, 0.25]] * 2))


def test_bias_brings_tokens_to_experts_that_the_router_never_chose():
    ids = torch.randint(50, (1, 4000), generator=torch.Generator().manual_seed(1))[0]
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, experts=4, experts_per_token=1))
    for block in model.blocks:
        block.mlp.router.weight.data[0] *= 0
        block.mlp.balance.data[0] = 1.0  # all tokens go to the first
    how = TrainConfig(60, 8, lr=0.001, decay=0.0, warmup=0.0)
    optimizers = make_optimizers(model, how)
    generator = torch.Generator().manual_seed(0)
    before = expert_loads(model, ids[:16])
    for step in range(60):
        x = ids[torch.randint(3900, (8, 1), generator=generator) + torch.arange(17)]
        train_step(model, optimizers, x[:, :-1], x[:, 1:], step, how)
    after = expert_loads(model, ids[:1600].view(100, 16))
    assert (before[:, 0] == 1).all() and (after[:, 0] < 0.7).all()


def test_the_balance_loss_is_one_where_tokens_are_shared_equally_and_e_where_one_has_all():
    equal, chosen = torch.full((8, 4), 0.25), torch.arange(8)[:, None] % 4
    assert float(balance_loss(equal, chosen)) == pytest.approx(1)
    one = torch.eye(4)[torch.zeros(8, dtype=torch.long)]
    assert float(balance_loss(one, torch.zeros(8, 1, dtype=torch.long))) == pytest.approx(4)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_compiled_model_with_experts_is_the_same(ids, bf16):
    model = random_model()
    compiled = torch.compile(model, backend="eager", dynamic=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-2, atol=1e-2)
