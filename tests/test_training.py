"""Training: steps equal to torch's, schedules, and runs that go on as if nothing had happened."""

import io
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from tqdm import tqdm

import tinyllm.files
import tinyllm.training
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config, from_dict, load
from tinyllm.tokens import Tokenizer
from tinyllm.train import main
from tinyllm.training import (
    AdamW,
    Muon,
    Recipe,
    add_gradient,
    can_be_looked_up,
    checkpoints,
    clip_grad_norm,
    evaluate,
    has_bf16,
    learning_rate,
    load_checkpoint,
    make_optimizers,
    orthogonalize,
    save_checkpoint,
    train,
    train_step,
)

TINY = Config(vocab_size=11, block_size=8, n_layer=1, n_head=2, d_model=8)
RECIPE = Recipe(n_steps=12, batch_size=4, every=4)
IDS = (torch.arange(300) ** 2) % 11


def new_model(config=TINY, seed=0):
    torch.manual_seed(seed)
    return GPT(config)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ---------------------------------------------------------------------------------------- optimizers


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
        ours.step(0.5 if step % 2 else 1.0)
        for group in theirs.param_groups:
            group["lr"] = ours.lr * (0.5 if step % 2 else 1.0)
        theirs.step()


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
    optimizers = make_optimizers(model, replace(RECIPE, optimizer=optimizer))
    held = [id(p) for opt in optimizers for p in opt.parameters]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "decay", "used"),
    [("muon", None, 0.0), ("muon", 0.2, 0.2), ("adamw", None, 0.1), ("adamw", 0.0, 0.0)],
)
def test_a_recipe_says_how_strongly_matrices_are_pulled_toward_zero(optimizer, decay, used):
    model = new_model()
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=decay)
    matrices, *others = make_optimizers(model, recipe)
    assert matrices.weight_decay == used
    assert all(other.weight_decay == 0 for other in others)


# ---------------------------------------------------------------------------------------- schedules


@st.composite
def phases(draw):
    n_steps = draw(st.integers(1, 200))
    n_warmup = draw(st.integers(0, n_steps))
    return n_steps, n_warmup, draw(st.integers(0, n_steps - n_warmup))


@given(phases(), st.sampled_from(["cosine", "linear"]), st.floats(0.1, 10), st.floats(0, 0.1))
def test_the_learning_rate_goes_up_along_and_down(sizes, shape, peak, final):
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
        (dict(step=0, n_steps=10, n_warmup=6, n_decay=5), "6 steps up and 5 down do not fit into 10"),
        (dict(step=0, n_steps=10, shape="square"), "not 'square'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(**arguments)


# ---------------------------------------------------------------------------------------- a step


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_clipping_equals_torchs(size, max_norm):
    mine, yours = some_parameters((3, 4), (5,)), some_parameters((3, 4), (5,))
    for p in mine + yours:
        p.grad = size * p.detach().clone()
    ours = clip_grad_norm(mine, max_norm)
    theirs = torch.nn.utils.clip_grad_norm_(yours, max_norm)
    assert ours == pytest.approx(theirs.item())
    torch.testing.assert_close([p.grad for p in mine], [p.grad for p in yours])


@pytest.mark.parametrize("n_parts", [2, 3, 5])
def test_a_batch_in_parts_has_the_same_gradient(n_parts):
    x, y = IDS[:40].view(5, 8), IDS[1:41].view(5, 8)
    model = new_model().double()
    nn.init.normal_(model.head.weight)

    def gradient(n_parts):
        model.zero_grad()
        loss = add_gradient(model, x, y, n_parts)
        return loss, [p.grad for p in model.parameters()]

    (loss, whole), (loss_of_parts, parts) = gradient(1), gradient(n_parts)
    assert loss == pytest.approx(loss_of_parts, rel=1e-12) == cross_entropy(model(x), y).item()
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_parts", [1, 2])
def test_each_target_counts_in_the_gradient_as_often_as_it_is_told_to(n_parts):
    x, y = IDS[:32].view(4, 8), IDS[1:33].view(4, 8)
    counts = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).double() * 10
    model = new_model().double()
    nn.init.normal_(model.head.weight)
    loss = add_gradient(model, x, y, n_parts, counts=counts)
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    each = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none")
    (each * counts.flatten()).mean().backward()
    torch.testing.assert_close(ours, [p.grad for p in model.parameters()], rtol=1e-12, atol=1e-12)
    assert loss == pytest.approx(each.mean().item())


def test_sixteen_bits_change_the_gradient_a_little_and_the_weights_stay_in_thirty_two():
    model = new_model(replace(TINY, d_model=32))
    nn.init.normal_(model.head.weight, std=0.1)
    x, y = IDS[:32].view(4, 8), IDS[1:33].view(4, 8)
    losses, grads = [], []
    for bf16 in (False, True):
        model.zero_grad()
        losses.append(add_gradient(model, x, y, bf16=bf16))
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    assert 0 < (grads[0] - grads[1]).norm() < 0.05 * grads[0].norm()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
    assert isinstance(has_bf16(torch.device("cpu")), bool)


def test_evaluation_is_the_mean_over_blocks_and_knows_how_sure_it_is():
    model = new_model()
    nn.init.normal_(model.head.weight)
    losses = torch.tensor(
        [cross_entropy(model(IDS[t : t + 8]), IDS[t + 1 : t + 9]).item() for t in range(0, 92, 8)]
    )
    loss, error = evaluate(model, IDS[:100], block_size=8, batch_size=5)
    assert loss == pytest.approx(losses.mean().item(), rel=1e-5)
    assert error == pytest.approx(losses.std().item() / 12**0.5, rel=1e-4)
    assert not any(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match="at least 17 tokens, not 16"):
        evaluate(model, IDS[:16], block_size=8)


def test_one_batch_can_be_learned_by_heart():
    model, recipe = new_model(replace(TINY, d_model=32)), Recipe(n_steps=60, batch_size=2, decay=0.5)
    x, y = IDS[:8].view(1, 8), IDS[1:9].view(1, 8)
    optimizers = make_optimizers(model, recipe)
    losses = [train_step(model, optimizers, x, y, step, recipe) for step in range(60)]
    assert losses[0] == pytest.approx(math.log(11)) and losses[-1] < 0.1


@pytest.mark.parametrize("d_model", [16, 64])
def test_the_first_step_moves_logits_equally_far_at_any_width(d_model):
    model, x, y = new_model(replace(TINY, d_model=d_model)), IDS[:8].view(1, 8), IDS[1:9].view(1, 8)
    before = model.head.weight.clone()
    train_step(model, make_optimizers(model, RECIPE), x, y, 0, RECIPE)
    moved = (model.head.weight - before).abs().max().item()  # Adam's first step is as long everywhere
    assert moved * d_model == pytest.approx(0.003 * 128, rel=0.01)


# ---------------------------------------------------------------------------------------- the loop


BLOCKS = st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=3)


@given(BLOCKS, st.sets(st.integers(0, 5)))
@settings(deadline=None, max_examples=50)
def test_a_rare_id_that_was_there_before_can_be_looked_up(blocks, rare):
    x, y = torch.tensor(blocks)[:, :-1], torch.tensor(blocks)[:, 1:]
    is_rare = torch.tensor([i in rare for i in range(6)])
    found = can_be_looked_up(x, y, is_rare)
    for block, row in zip(blocks, found.tolist()):
        assert row == [block[t] in rare and block[t] in block[:t] for t in range(1, 7)]


def test_what_can_be_looked_up_counts_more_at_first_and_then_like_all():
    recipe = replace(RECIPE, lookups=10, growth=0.5)
    x, y = torch.tensor([[7, 1, 2, 7]]), torch.tensor([[1, 2, 7, 1]])
    rare = torch.arange(11) == 7
    assert recipe.counts(5, x, y, rare).tolist() == [[1, 1, 10, 1]]
    assert recipe.counts(6, x, y, rare) is None  # half of 12 steps
    assert RECIPE.counts(0, x, y, rare) is None


def test_training_counts_rare_ids_of_its_text_that_come_again():
    def learned(text, lookups):
        model = new_model()
        list(train(model, text, replace(RECIPE, lookups=lookups), starts=torch.tensor([300])))
        return weights(model)

    often = IDS.repeat(14)  # 4,200 ids, of which none is rarer than one in a thousand
    assert torch.equal(learned(often, 10.0), learned(often, 1.0))
    again = often.clone()
    again[301:305:3] = 2  # there is no other 2
    assert not torch.equal(learned(again, 10.0), learned(again, 1.0))


def test_training_lowers_the_loss_and_says_so():
    model = new_model()
    records = list(train(model, IDS[:200], replace(RECIPE, n_steps=41, every=20), IDS[200:]))
    assert [record["step"] for record in records] == [20, 40, 41]
    assert records[-1]["validation"] == pytest.approx(evaluate(model, IDS[200:], 8)[0])
    assert records[-1]["loss"] < 0.85 * math.log(11)


def test_the_same_seed_gives_the_same_weights():
    ends = []
    for seed in (0, 0, 1):
        model = new_model()
        list(train(model, IDS, replace(RECIPE, seed=seed)))
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_how_far_the_loss_is_above_the_floor(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tinyllm.training, "tqdm", partial(tqdm, mininterval=0))
    list(train(new_model(), IDS, RECIPE, floor=0.5))
    shown = sys.stderr.getvalue()
    steps = re.findall(r"(\d+)/12, \S+ left, loss (\S+) \(floor \+(\S+)\), [\d,]+ tokens/s", shown)
    assert steps[-1][0] == "12"
    for _, loss, above in steps:
        assert float(loss) - float(above) == pytest.approx(0.5, abs=0.0011)


def test_training_is_quiet_outside_a_terminal(capfd):
    list(train(new_model(), IDS, RECIPE, floor=0.5))
    assert capfd.readouterr() == ("", "")


class BreaksDown(GPT):
    """A model whose loss is not a number from some step on."""

    calls = 0

    def forward(self, ids):
        self.calls += 1
        return super().forward(ids) * (float("nan") if self.calls > 6 else 1.0)


def test_a_loss_that_is_not_a_number_stops_training_and_spoils_nothing(tmp_path):
    torch.manual_seed(0)
    model = BreaksDown(TINY)
    with pytest.raises(FloatingPointError, match="step 6 has loss nan"):
        list(train(model, IDS, RECIPE, folder=tmp_path))
    assert weights(model).isfinite().all()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000004.safetensors"]
    resumed, straight = new_model(seed=5), new_model()
    list(train(resumed, IDS, RECIPE, folder=tmp_path, resume=True))
    list(train(straight, IDS, RECIPE))
    assert torch.equal(weights(resumed), weights(straight))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, optimizer, stop):
    recipe = replace(RECIPE, optimizer=optimizer)
    straight, stopped, resumed = new_model(), new_model(), new_model(seed=5)
    records = list(train(straight, IDS, recipe, IDS))
    run = train(stopped, IDS, recipe, IDS, tmp_path)
    for _ in range(stop):
        next(run)
    run.close()
    rest = list(train(resumed, IDS, recipe, IDS, tmp_path, resume=True))
    assert torch.equal(weights(resumed), weights(straight))
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    for record in records + logged + rest:
        del record["speed"]
    assert logged == records and rest == records[stop:]


RUN = """
import torch
from tinyllm.model import GPT, Config
from tinyllm.training import Recipe, train
torch.manual_seed(0)
model, ids = GPT(Config(**{config})), (torch.arange(300) ** 2) % 11
for record in train(model, ids, Recipe(**{recipe}), folder={folder!r}):
    print(record["step"], flush=True)
"""


def test_a_killed_process_leaves_a_run_that_goes_on_bit_for_bit(tmp_path):
    recipe = replace(RECIPE, n_steps=4000, every=2, keep=3)
    code = RUN.format(config=asdict(TINY), recipe=asdict(recipe), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 20:
        pass
    time.sleep(0.02)
    process.kill()
    process.wait()
    kept = checkpoints(tmp_path)
    assert 3 <= len(kept) <= 4  # killed between writing one and removing another
    done = int(kept[-1].stem.removeprefix("step-"))
    assert 20 <= done < 4000

    resumed = new_model(seed=5)
    run = train(resumed, IDS, recipe, folder=tmp_path, resume=True)
    assert next(run)["step"] == done + 2
    straight = new_model()
    for record in train(straight, IDS, recipe):
        if record["step"] == done + 2:
            break
    assert torch.equal(weights(resumed), weights(straight))
    logged = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()]
    assert logged == list(range(2, done + 3, 2))


# ---------------------------------------------------------------------------------------- checkpoints


def some_state(config=TINY, recipe=RECIPE):
    model = new_model(config)
    return model, make_optimizers(model, recipe), torch.Generator().manual_seed(3)


def test_a_checkpoint_brings_back_random_numbers_too(tmp_path):
    state = some_state()
    save_checkpoint(tmp_path, 7, *state, {"what": "a test"})
    drawn = torch.rand(3), torch.rand(3, generator=state[2])
    assert load_checkpoint(tmp_path, *state) == (7, {"what": "a test"})
    again = torch.rand(3), torch.rand(3, generator=state[2])
    assert all(torch.equal(a, b) for a, b in zip(drawn, again))


def test_the_newest_checkpoints_are_kept(tmp_path):
    state = some_state()
    for step in (5, 10, 100, 1000):
        save_checkpoint(tmp_path, step, *state, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == [
        "step-00000100.safetensors", "step-00001000.safetensors",
    ]  # fmt: skip


def test_a_checkpoint_that_could_not_be_finished_is_none(tmp_path, monkeypatch):
    state = some_state()
    save_checkpoint(tmp_path, 1, *state, {}, keep=1)

    def full_disk(*_):
        raise OSError("no space left on device")

    for stage in ("fsync", "replace"):
        monkeypatch.setattr(tinyllm.files.os, stage, full_disk)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(tmp_path, 2, *state, {}, keep=1)
        monkeypatch.undo()
        assert load_checkpoint(tmp_path, *some_state())[0] == 1


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_truncated_checkpoint_is_refused_and_changes_nothing(tmp_path, size):
    state = some_state()
    path = save_checkpoint(tmp_path, 1, *state, {})
    path.write_bytes(path.read_bytes()[:size])
    before = weights(state[0])
    with pytest.raises(ValueError, match="step-00000001.safetensors is damaged or no checkpoint"):
        load_checkpoint(tmp_path, *state)
    assert torch.equal(weights(state[0]), before)


@pytest.mark.parametrize(
    ("config", "recipe", "message"),
    [
        (replace(TINY, d_model=12), RECIPE, r"attention.out.weight is \(8, 8\) there, \(12, 12\) here"),
        (replace(TINY, n_layer=2), RECIPE, r"model.blocks.1.attention.out.weight is missing there"),
        (TINY, replace(RECIPE, optimizer="adamw"), r"optimizer.0.0 is \(24, 8\) there, \(\) here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, config, recipe, message):
    save_checkpoint(tmp_path, 1, *some_state(), {})
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path, *some_state(config, recipe))


def test_a_run_goes_on_as_it_began_or_not_at_all(tmp_path):
    list(train(new_model(), IDS, RECIPE, folder=tmp_path))
    with pytest.raises(ValueError, match="holds a run: resume it"):
        next(train(new_model(), IDS, RECIPE, folder=tmp_path))
    with pytest.raises(ValueError, match="was begun with lr 0.03, not 0.1"):
        next(train(new_model(), IDS, replace(RECIPE, lr=0.1), folder=tmp_path, resume=True))
    with pytest.raises(ValueError, match="was begun with text"):
        next(train(new_model(), IDS[1:], RECIPE, folder=tmp_path, resume=True))
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        (tmp_path / "empty").mkdir()
        next(train(new_model(), IDS, RECIPE, folder=tmp_path / "empty", resume=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 3}, r"unknown keys \['steps'\]"),
        ({"n_steps": 0}, "n_steps must be a whole number above 0, not 0"),
        ({"optimizer": "sgd"}, "'sgd'"),
        ({"warmup": 0.5, "decay": 0.6}, "do not fit into 12"),
        ({"shape": "round"}, "'round'"),
        ({"lr": 0}, "lr must be a number above 0, not 0"),
        ({"lr": "0.03"}, "lr must be a number above 0, not '0.03'"),
        ({"lr": math.nan}, "lr must be a number above 0, not nan"),
        ({"weight_decay": -0.1}, "weight_decay must be a number from 0 to 1 or null, not -0.1"),
        ({"max_norm": -1.0}, "max_norm must be a number above 0, not -1.0"),
        ({"max_norm": math.inf}, "max_norm must be a number above 0, not inf"),
        ({"warmup": 20}, "warmup must be a number from 0 to 1, not 20"),
        ({"warmup": True}, "warmup must be a number from 0 to 1, not True"),
        ({"decay": None}, "decay must be a number from 0 to 1, not None"),
        ({"bf16": "yes"}, "bf16 must be true or false, not 'yes'"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"keep": 2.0}, "keep must be a whole number above 0, not 2.0"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Recipe, asdict(RECIPE) | change)


# ---------------------------------------------------------------------------------------- the command

CONFIG = {
    "model": {"vocab_size": 270, "block_size": 8, "n_layer": 1, "n_head": 1, "d_model": 8},
    "training": {"n_steps": 6, "batch_size": 2, "every": 3},
}
TEXT = "the cat sat on the mat and the dog sat on the cat. " * 40


def changed(half, **changes):
    return CONFIG | {half: CONFIG[half] | changes}


def command(tmp_path, *more, text=TEXT, config=CONFIG):
    (tmp_path / "data.txt").write_bytes(text.encode("latin-1"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    files = "--data", str(tmp_path / "data.txt"), "--config", str(tmp_path / "config.json")
    return main([*files, "--out", str(tmp_path / "out"), *more])


def test_the_command_trains_a_model_that_can_be_loaded(tmp_path, capsys):
    assert command(tmp_path) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert printed == logged and [record["step"] for record in logged] == [3, 6]
    model, tokenizer = load(tmp_path / "out"), Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    assert model.config.vocab_size == len(tokenizer.vocab) == 270
    assert command(tmp_path, "--resume") == 0
    assert torch.equal(weights(load(tmp_path / "out")), weights(model))


def test_the_command_reads_standard_input(tmp_path, monkeypatch):
    assert command(tmp_path) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), "latin-1"))
    out = tmp_path / "other"
    assert main(["--data", "-", "--config", str(tmp_path / "config.json"), "--out", str(out)]) == 0
    assert torch.equal(weights(load(out)), weights(load(tmp_path / "out")))


@pytest.mark.filterwarnings("ignore:the text gave")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(text=""), "there is no text to train on in"),
        (dict(text=" \n"), "there is no text to train on in"),
        (dict(text="ab"), "too little text for blocks of 8 tokens: there are 1 to train on and 1 for"),
        (dict(text=TEXT[:60]), "for validation, and needed are 9 and 17"),
        (dict(text="caf\xe9" * 99), "data.txt is not text in UTF-8: 'utf-8' codec can't decode byte 0xe9"),
        (dict(config={"model": {}}), 'needs the keys "model" and "training", and has [\'model\']'),
        (dict(config=[1, 2]), 'needs the keys "model" and "training", and has [1, 2]'),
        (dict(config=CONFIG | {"training": 3}), '"training" must hold names and values, not 3'),
        (dict(config=CONFIG | {"training": {"steps": 3}}), "Recipe: unknown keys ['steps']"),
        (dict(config=CONFIG | {"training": {}}), "missing keys ['n_steps', 'batch_size']"),
        (dict(config=changed("model", n_heads=2)), "Config: unknown keys ['n_heads']"),
        (dict(config=changed("model", vocab_size=100)), "vocab_size must be at least 256 + 0 special"),
        (dict(config=changed("model", tie_weights="no")), "tie_weights must be true or false, not 'no'"),
        (dict(config=changed("training", lr="fast")), "lr must be a number above 0, not 'fast'"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, given, message):
    assert command(tmp_path, **given) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_the_command_says_what_is_wrong_with_its_files(tmp_path, capsys):
    def error(*arguments, **given):
        assert command(tmp_path, *arguments, **given) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    out = tmp_path / "out"
    out.write_text("a file")
    assert "out" in error()
    out.unlink()
    assert f"there is no checkpoint in {out} to go on from" in error("--resume")
    assert command(tmp_path) == 0
    assert f"{out} holds a run: resume it, or take another folder" in error()
    wider = changed("model", d_model=16)
    assert "does not fit this model: model.blocks.0" in error("--resume", config=wider)
    assert f"{out} was begun with lr 0.03, not 0.1" in error("--resume", config=changed("training", lr=0.1))
    assert f"{out} was begun with text '" in error("--resume", text=TEXT.replace("cat", "cow"))
    newest = checkpoints(out)[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    assert f"{newest} is damaged or no checkpoint" in error("--resume")
    newest.unlink()
    assert command(tmp_path, "--resume") == 0, "the checkpoint before it is as good as it was"
    (tmp_path / "config.json").write_text("{")
    files = "--data", str(tmp_path / "no.txt"), "--config", str(tmp_path / "config.json"), "--out", str(out)
    assert main(files) == 1 and "config.json is not JSON: Expecting" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(files) == 1 and "no.txt" in capsys.readouterr().err


def test_the_floor_is_given_in_nats_per_character_and_shown_per_token(tmp_path, monkeypatch):
    floors = []
    monkeypatch.setattr("tinyllm.training.show", lambda *arguments: floors.append(arguments[-1]))
    assert command(tmp_path, "--floor", "0.5") == 0
    tokenizer = Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    learned = TEXT[: len(TEXT) * 9 // 10]
    assert floors == [pytest.approx(0.5 * len(learned) / len(tokenizer.encode(learned)))] * 6


def test_the_command_says_where_an_interrupted_run_is_to_be_found(tmp_path, capsys, monkeypatch):
    saved = []

    def interrupt(*arguments):
        saved.append(arguments)
        if len(saved) == 1:
            return save_checkpoint(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyllm.training.save_checkpoint", interrupt)
    assert command(tmp_path) == 130
    assert "interrupted; the last checkpoint is" in (error := capsys.readouterr().err)
    assert "step-00000003.safetensors" in error and os.path.exists(error.split()[-1])
    monkeypatch.undo()
    assert command(tmp_path, "--resume") == 0
    logged = [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").open()]
    assert logged == [3, 6], "a record from after the checkpoint is not there twice"
