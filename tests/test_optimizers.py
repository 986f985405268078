"""Optimizers whose steps are torch's, schedules, and which weight is changed by what."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import RUN_CONFIG, TINY, new_model
from torch import nn

from tinyllm.optimizers import (
    AdamW,
    Muon,
    clip_grad_norm,
    learning_rate,
    make_optimizers,
    orthogonalize,
)

def some_parameters(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def run_both(ours, theirs, mine, yours, n_steps):
    """Give two optimizers the same gradients, large and small, and compare after each step."""
    generator = torch.Generator().manual_seed(1)
    for step in range(n_steps):
        for p, q in zip(mine, yours):
            size = 10.0 ** torch.randint(-4, 3, (), generator=generator)
            p.grad = size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            q.grad = p.grad.clone()
        yield step
        for optimizer in (ours, theirs):
            for group in optimizer.param_groups:
                group["lr"] *= 0.5 if step % 2 else 2.0
            optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_adamw_equals_torchs_over_a_hundred_steps(betas, weight_decay):
    mine, yours = some_parameters((3, 4), (5,), ()), some_parameters((3, 4), (5,), ())
    settings = dict(lr=0.03, betas=betas, weight_decay=weight_decay)
    for _ in run_both(AdamW(mine, **settings), torch.optim.AdamW(yours, **settings), mine, yours, 100):
        torch.testing.assert_close(mine, yours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_muon_equals_torchs_but_for_the_sixteen_bits_that_torch_computes_in(weight_decay):
    shapes = (6, 4), (4, 6), (5, 5)
    mine, yours = some_parameters(*shapes), some_parameters(*shapes)
    settings = dict(lr=0.02, momentum=0.9, weight_decay=weight_decay)
    theirs = torch.optim.Muon(yours, **settings, ns_steps=4)
    for step in run_both(Muon(mine, **settings), theirs, mine, yours, 20):
        for p, q in zip(mine, yours):
            torch.testing.assert_close(p, q, rtol=0, atol=0.02 * 0.03 * (step + 1) + 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**16), st.sampled_from([1e-4, 1.0, 1e6]))
def test_orthogonalizing_moves_singular_values_and_nothing_else(rows, columns, seed, size):
    generator = torch.Generator().manual_seed(seed)
    G = size * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    s = S / (S.norm() + 1e-7)
    large = s > 0.03
    for n_steps in range(1, 5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        torch.testing.assert_close(orthogonalize(G, n_steps), U @ torch.diag(s) @ Vh, rtol=0, atol=1e-6)
    assert ((s[large] > 0.6) & (s[large] < 1.3)).all()


def test_muon_is_for_matrices():
    with pytest.raises(ValueError, match=r"not for weights of \[\(5,\)\]"):
        Muon(some_parameters((3, 4), (5,)))


@pytest.mark.parametrize("tie_weights", [False, True])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_weight_belongs_to_one_optimizer(optimizer, tie_weights):
    model = new_model(replace(TINY, tie_weights=tie_weights))
    optimizers = make_optimizers(model, replace(RUN_CONFIG, optimizer=optimizer))
    held = [id(p) for opt in optimizers for group in opt.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "decay", "used"),
    [("muon", None, 0.0), ("muon", 0.2, 0.2), ("adamw", None, 0.1), ("adamw", 0.0, 0.0)],
)
def test_a_configuration_says_how_strongly_matrices_are_pulled_toward_zero(optimizer, decay, used):
    model = new_model()
    train_config = replace(RUN_CONFIG, optimizer=optimizer, weight_decay=decay)
    groups = [group for opt in make_optimizers(model, train_config) for group in opt.param_groups]
    assert groups[0]["weight_decay"] == used
    assert all(group["weight_decay"] == 0 for group in groups[1:])

# ---------------------------------------------------------------------------------------- schedules

@st.composite
def phases(draw):
    n_steps = draw(st.integers(1, 200))
    n_warmup = draw(st.integers(0, n_steps))
    return n_steps, n_warmup, draw(st.integers(0, n_steps - n_warmup))


@given(phases(), st.sampled_from(["cosine", "linear"]), st.floats(0.1, 10), st.floats(0, 0.1))
def test_the_learning_rate_warms_up_stays_and_decays(sizes, shape, peak, final):
    n_steps, n_warmup, n_decay = sizes
    rates = [
        learning_rate(step, n_steps, peak, n_warmup, n_decay, final, shape) for step in range(n_steps + 1)
    ]
    top = n_steps - n_decay
    assert all(a < b for a, b in zip(rates[: n_warmup + 1], rates[1 : n_warmup + 1]))
    assert all(rate == pytest.approx(peak) for rate in rates[n_warmup : top + 1])
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :]))
    assert rates[-1] == pytest.approx(final if n_decay else peak)
    assert 0 < rates[0] <= peak * 1.001


def test_the_cosine_equals_torchs():
    p = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([p], lr=3.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.3)
    for step in range(41):
        assert learning_rate(step, 40, 3.0, final=0.3) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(step=11, n_steps=10), "from 0 to n_steps = 10, not 11"),
        (dict(step=-1, n_steps=10), "not -1"),
        (dict(step=0, n_steps=10, n_warmup=6, n_decay=5), "6 steps of warmup and 5 of decay do not fit into 10"),
        (dict(step=0, n_steps=10, shape="square"), "not 'square'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(**arguments)

# ---------------------------------------------------------------------------------------- clipping


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_clipping_equals_torchs(size, max_norm):
    mine, yours = some_parameters((3, 4), (5,)), some_parameters((3, 4), (5,))
    for p in mine + yours:
        p.grad = size * p.detach().clone()
    ours = clip_grad_norm(mine, max_norm)
    theirs = torch.nn.utils.clip_grad_norm_(yours, max_norm)
    assert ours == pytest.approx(theirs.item())
    torch.testing.assert_close([p.grad for p in mine], [p.grad for p in yours])


# ---------------------------------------------------------------------------------------- torch's protocol


OURS = [(AdamW, torch.optim.AdamW), (Muon, torch.optim.Muon)]


@pytest.mark.parametrize("Optimizer", [AdamW, Muon])
def test_a_state_that_was_saved_goes_on_bit_for_bit(Optimizer):
    straight, stopped = some_parameters((6, 4), (4, 6)), some_parameters((6, 4), (4, 6))
    one, two = Optimizer(straight, lr=0.1), Optimizer(stopped, lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        if step == 3:
            saved = two.state_dict()
            two = Optimizer(stopped, lr=7.0)
            two.load_state_dict(saved)
        for p, q in zip(straight, stopped):
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            q.grad = p.grad.clone()
        one.step()
        two.step()
    assert all(torch.equal(p, q) for p, q in zip(straight, stopped))


def test_torchs_adamw_takes_over_our_state_and_goes_on():
    mine, yours = some_parameters((3, 4), (5,)), some_parameters((3, 4), (5,))
    ours = AdamW(mine, lr=0.03)
    for p in mine:
        p.grad = p.detach().cos()
    ours.step()
    theirs = torch.optim.AdamW(yours, lr=0.03)
    theirs.load_state_dict(deepcopy(ours.state_dict()))  # torch would share the tensors
    with torch.no_grad():
        for p, q in zip(mine, yours):
            q.copy_(p)
            p.grad = p.detach().sin()
            q.grad = p.grad.clone()
    ours.step()
    theirs.step()
    torch.testing.assert_close(mine, yours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("Ours", "Theirs"), OURS)
def test_a_weight_without_a_gradient_waits_as_it_does_with_torch(Ours, Theirs):
    mine, yours = some_parameters((4, 4), (4, 4)), some_parameters((4, 4), (4, 4))
    options = dict(lr=0.01, weight_decay=0.1) | (dict(momentum=0.9) if Ours is Muon else {})
    ours = Ours(mine, **options)
    theirs = Theirs(yours, **options | (dict(ns_steps=4) if Ours is Muon else {}))
    for step in range(6):
        for parameters in (mine, yours):
            for i, p in enumerate(parameters):
                p.grad = None if i == 1 and step % 3 else p.detach().sin()
        ours.step()
        theirs.step()
    atol = 0.01 * 0.03 * 6 if Ours is Muon else 1e-12  # torch's Muon computes in 16 bits
    torch.testing.assert_close(mine, yours, rtol=0, atol=atol)
    assert ours.state[mine[0]].keys() == theirs.state[yours[0]].keys()


@pytest.mark.parametrize("Optimizer", [AdamW, Muon])
def test_groups_have_their_own_rates(Optimizer):
    slow, fast = some_parameters((4, 4), (4, 4))
    before = slow.detach().clone(), fast.detach().clone()
    optimizer = Optimizer([{"params": [slow], "lr": 0.0}, {"params": [fast]}], lr=0.1)
    slow.grad = fast.grad = torch.ones(4, 4, dtype=torch.float64)
    optimizer.step()
    assert torch.equal(slow, before[0]) and not torch.equal(fast, before[1])


def test_torchs_schedule_takes_the_rate_of_a_configuration():
    (p,) = some_parameters((4, 4))
    optimizer = AdamW([p], lr=0.2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, RUN_CONFIG.rate)
    for step in range(RUN_CONFIG.n_steps):
        assert optimizer.param_groups[0]["lr"] == 0.2 * RUN_CONFIG.rate(step)
        p.grad = torch.ones_like(p)
        optimizer.step()
        schedule.step()


def test_a_split_matrix_is_turned_as_its_parts_are():
    (whole,) = some_parameters((10, 4))
    parts = [nn.Parameter(part.clone()) for part in whole.detach().split([4, 3, 3])]
    together, apart = Muon([{"params": [whole], "split": (4, 3, 3)}]), Muon(parts)
    for seed in range(3):
        whole.grad = torch.randn(10, 4, generator=torch.Generator().manual_seed(seed), dtype=whole.dtype)
        for part, grad in zip(parts, whole.grad.split([4, 3, 3])):
            part.grad = grad.clone()
        together.step()
        apart.step()
    assert torch.equal(whole, torch.cat(list(parts)))
    with pytest.raises(ValueError, match=r"split \(4, 3\) does not cut the rows of \[\(10, 4\)\]"):
        Muon([{"params": [whole], "split": (4, 3)}])


def test_queries_keys_and_values_are_turned_apart_where_a_configuration_says_so():
    model, apart = new_model(), replace(RUN_CONFIG, split_qkv=True)
    (muon, _), (split, _) = make_optimizers(model, RUN_CONFIG), make_optimizers(model, apart)
    assert [group["split"] for group in muon.param_groups] == [None]
    qkv = model.blocks[0].attention.qkv.weight
    assert [(group["split"], qkv in set(group["params"])) for group in split.param_groups] == [
        (None, False), ((8, 8, 8), True),
    ]  # fmt: skip
    held = [id(p) for group in split.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for group in muon.param_groups for p in group["params"])


class Renamed(nn.Module):
    """A model with other names, no learned positions, biases, and one matrix for tokens and head."""

    def __init__(self):
        super().__init__()
        self.config = TINY
        self.tok_emb = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 8)) for _ in range(2))
        self.blocks[0].append(nn.Embedding(3, 8))  # inside of a block it is a table, too
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.tok_emb.weight


def test_weights_go_to_their_optimizer_by_what_they_are_and_not_by_name():
    model = Renamed()
    muon, adamw = make_optimizers(model, RUN_CONFIG)
    (matrices,), (embeddings, rest) = muon.param_groups, adamw.param_groups
    assert [id(p) for p in matrices["params"]] == [id(block[1].weight) for block in model.blocks]
    tables = model.tok_emb.weight, model.blocks[0][2].weight
    assert [id(p) for p in embeddings["params"]] == [id(p) for p in tables]
    assert {p.ndim for p in rest["params"]} == {1} and len(rest["params"]) == 4
    assert (embeddings["lr"], rest["lr"]) == (0.02, 0.003 * 128 / 8)
    model.blocks[0][1].weight.requires_grad_(False)
    assert len(make_optimizers(model, RUN_CONFIG)[0].param_groups[0]["params"]) == 1


def test_no_gradient_at_all_is_nothing_to_clip():
    assert clip_grad_norm(some_parameters((3, 4)), 1.0) == 0.0


def test_a_configuration_says_how_fast_and_adam_remembers_a_hundred_steps_of_squares():
    muon, adam = make_optimizers(new_model(), replace(RUN_CONFIG, lr=0.007))
    assert [group["lr"] for group in muon.param_groups] == [0.007]
    (alone,) = make_optimizers(new_model(), replace(RUN_CONFIG, lr=0.007, optimizer="adamw"))
    assert [group["lr"] for group in alone.param_groups] == [0.007] * 2
    assert {group["betas"] for group in adam.param_groups + alone.param_groups} == {(0.9, 0.99)}
