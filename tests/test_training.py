"""Training: a step, evaluation, and a loop that lowers the loss."""

import io
import math
import re
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import IDS, RUN_CONFIG, TINY, new_model, weights
from torch import nn
from tqdm import tqdm

import tinyllm.training
from tinyllm.devices import has_bf16
from tinyllm.loss import cross_entropy
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig, can_be_looked_up
from tinyllm.training import add_gradient, count_ids, evaluate, train, train_step

@pytest.mark.parametrize("grad_accum_steps", [2, 3, 5])
def test_a_batch_in_parts_has_the_same_gradient(grad_accum_steps):
    x, y = IDS[:40].view(5, 8), IDS[1:41].view(5, 8)
    model = new_model().double()
    nn.init.normal_(model.head.weight)

    def gradient(grad_accum_steps):
        model.zero_grad()
        loss = add_gradient(model, x, y, grad_accum_steps)
        return loss, [p.grad for p in model.parameters()]

    (loss, whole), (loss_of_parts, parts) = gradient(1), gradient(grad_accum_steps)
    assert loss == pytest.approx(loss_of_parts, rel=1e-12) == cross_entropy(model(x), y).item()
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
def test_each_target_has_the_weight_in_the_gradient_that_it_is_given(grad_accum_steps):
    x, y = IDS[:32].view(4, 8), IDS[1:33].view(4, 8)
    w = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).double() * 10
    model = new_model().double()
    nn.init.normal_(model.head.weight)
    loss = add_gradient(model, x, y, grad_accum_steps, weights=w)
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    each = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none")
    (each * w.flatten()).mean().backward()
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
    model, train_config = new_model(replace(TINY, d_model=32)), TrainConfig(n_steps=60, batch_size=2, decay=0.5)
    x, y = IDS[:8].view(1, 8), IDS[1:9].view(1, 8)
    optimizers = make_optimizers(model, train_config)
    losses = [train_step(model, optimizers, x, y, step, train_config) for step in range(60)]
    assert losses[0] == pytest.approx(math.log(11)) and losses[-1] < 0.1


@pytest.mark.parametrize("d_model", [16, 64])
def test_the_first_step_moves_logits_equally_far_at_any_width(d_model):
    model, x, y = new_model(replace(TINY, d_model=d_model)), IDS[:8].view(1, 8), IDS[1:9].view(1, 8)
    before = model.head.weight.clone()
    train_step(model, make_optimizers(model, RUN_CONFIG), x, y, 0, RUN_CONFIG)
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
    train_config = replace(RUN_CONFIG, lookups=10, growth=0.5)
    x, y = torch.tensor([[7, 1, 2, 7]]), torch.tensor([[1, 2, 7, 1]])
    rare = torch.arange(11) == 7
    assert train_config.token_weights(5, x, y, rare).tolist() == [[1, 1, 10, 1]]
    assert train_config.token_weights(6, x, y, rare) is None  # half of 12 steps
    assert RUN_CONFIG.token_weights(0, x, y, rare) is None


def test_training_counts_rare_ids_of_its_text_that_come_again():
    def learned(text, lookups):
        model = new_model()
        list(train(model, text, replace(RUN_CONFIG, lookups=lookups), starts=torch.tensor([300])))
        return weights(model)

    often = IDS.repeat(14)  # 4,200 ids, of which none is rarer than one in a thousand
    assert torch.equal(learned(often, 10.0), learned(often, 1.0))
    again = often.clone()
    again[301:305:3] = 2  # there is no other 2
    assert not torch.equal(learned(again, 10.0), learned(again, 1.0))


def test_training_lowers_the_loss_and_says_so():
    model = new_model()
    records = list(train(model, IDS[:200], replace(RUN_CONFIG, n_steps=41, every=20), IDS[200:]))
    assert [record["step"] for record in records] == [20, 40, 41]
    assert records[-1]["validation"] == pytest.approx(evaluate(model, IDS[200:], 8)[0])
    assert records[-1]["loss"] < 0.85 * math.log(11)


def test_the_same_seed_gives_the_same_weights():
    ends = []
    for seed in (0, 0, 1):
        model = new_model()
        list(train(model, IDS, replace(RUN_CONFIG, seed=seed)))
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_how_far_the_loss_is_above_the_floor(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tinyllm.training, "tqdm", partial(tqdm, mininterval=0))
    list(train(new_model(), IDS, RUN_CONFIG, floor=0.5))
    shown = sys.stderr.getvalue()
    steps = re.findall(r"(\d+)/12, \S+ left, loss (\S+) \(floor \+(\S+)\), [\d,]+ tokens/s", shown)
    assert steps[-1][0] == "12"
    for _, loss, above in steps:
        assert float(loss) - float(above) == pytest.approx(0.5, abs=0.0011)


def test_training_is_quiet_outside_a_terminal(capfd):
    list(train(new_model(), IDS, RUN_CONFIG, floor=0.5))
    assert capfd.readouterr() == ("", "")


def test_targets_to_ignore_do_not_count_in_any_part_of_a_batch():
    x, y = IDS[:32].view(4, 8), IDS[1:33].view(4, 8).clone()
    y[0, :5] = y[2] = -100  # a part of a row, and a whole one
    model = new_model().double()
    nn.init.normal_(model.head.weight)
    found = []
    for grad_accum_steps in (1, 2, 4):
        model.zero_grad()
        loss = add_gradient(model, x, y, grad_accum_steps)
        assert loss == pytest.approx(cross_entropy(model(x), y).item(), rel=1e-12)
        found.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_a_text_in_fewer_bits_trains_the_same_model(dtype):
    ends = []
    for ids in (IDS, IDS.to(dtype)):
        model = new_model()
        records = list(train(model, ids, RUN_CONFIG, ids[200:]))
        ends.append((weights(model), records[-1]["validation"]))
    assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]


def test_an_id_outside_of_the_vocabulary_is_named_before_anything_is_learned(tmp_path):
    with pytest.raises(ValueError, match="id 12 is not in the vocabulary, 0 to 10"):
        next(train(new_model(), torch.arange(13), RUN_CONFIG))
    model = new_model()
    before = weights(model)
    with pytest.raises(ValueError, match="id 12 is not in the vocabulary, 0 to 10"):
        next(train(model, IDS, RUN_CONFIG, torch.arange(100) % 13))
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("wrong", [-3, 11, (1 << 32) - 1])
def test_an_id_that_is_far_outside_takes_no_memory(monkeypatch, wrong):
    """Read with the wrong number of bytes two ids become one, of up to 32 bits: to count it takes 34 GB."""
    monkeypatch.setattr(torch, "bincount", lambda *arguments, **options: pytest.fail("it is counted"))
    with pytest.raises(ValueError, match=f"id {wrong} is not in the vocabulary, 0 to 10"):
        count_ids(torch.tensor([1, wrong]), 11)


@pytest.mark.parametrize("starts", [[-1, 5], [5, 292], []])
def test_a_place_that_no_whole_block_follows_is_refused_before_it_is_drawn(starts):
    """A negative one would begin near the end of the text and go on at its beginning."""
    with pytest.raises(ValueError, match="starts must be places from 0 to 291"):
        next(train(new_model(), IDS, RUN_CONFIG, starts=torch.tensor(starts, dtype=torch.long)))
    list(train(new_model(), IDS, replace(RUN_CONFIG, n_steps=1), starts=torch.tensor([0, 291])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (IDS.numpy(), "text must be a tensor \\(N,\\), not ndarray"),
        (IDS.tolist(), "text must be a tensor \\(N,\\), not list"),
        (IDS * 0.7, "text must be whole numbers \\(N,\\), not \\(300,\\) of torch.float32"),
        (IDS > 3, "text must be whole numbers"),
        (IDS.view(2, -1), "text must be whole numbers \\(N,\\), not \\(2, 150\\)"),
    ],
)
def test_what_is_no_text_is_not_trained_on(text, message):
    with pytest.raises(ValueError, match=message):
        next(train(new_model(), text, RUN_CONFIG))
    with pytest.raises(ValueError, match=message):
        next(train(new_model(), IDS, RUN_CONFIG, text))


def test_starts_are_a_tensor_too():
    with pytest.raises(ValueError, match="starts must be a tensor"):
        next(train(new_model(), IDS, RUN_CONFIG, starts=[1, 2]))


def test_weights_of_float16_are_refused_before_a_step_spoils_them():
    model = new_model().half()
    with pytest.raises(ValueError, match="in float16 a step of AdamW can be nan"):
        next(train(model, IDS, RUN_CONFIG))
    assert weights(model).isfinite().all()


def test_documents_do_not_begin_with_an_id_that_no_text_can_have():
    with pytest.raises(ValueError, match="no document can begin with \\(99,\\): the vocabulary is 0 to 10"):
        next(train(new_model(), IDS, replace(RUN_CONFIG, separate=(99,))))
