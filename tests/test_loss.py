"""Cross-entropy, its units, and the batches that it is measured on."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.batches import get_batch
from tinyllm.loss import bits_per_byte, cross_entropy, perplexity

shapes = st.lists(st.integers(1, 4), max_size=3)


@settings(deadline=None)
@given(shapes, st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 300.0]))
def test_cross_entropy_and_its_gradient_equal_torchs(shape, vocab_size, seed, size):
    generator = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(*shape, vocab_size, generator=generator, dtype=torch.float64)
    targets = torch.randint(vocab_size, shape, generator=generator)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = cross_entropy(ours, targets)
    expected = F.cross_entropy(theirs.reshape(-1, vocab_size), targets.reshape(-1))
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_logits_are_summed_in_thirty_two(dtype):
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    targets = torch.arange(50)
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits.float(), targets))


def test_huge_logits_do_not_overflow():
    assert cross_entropy(torch.tensor([1e4, 0.0]), torch.tensor(0)) == 0
    assert cross_entropy(torch.tensor([1e4, 0.0]), torch.tensor(1)) == 1e4


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_equal_logits_have_the_perplexity_of_the_vocabulary(vocab_size):
    loss = cross_entropy(torch.zeros(2, vocab_size, dtype=torch.float64), torch.tensor([0, vocab_size - 1]))
    assert perplexity(loss) == pytest.approx(vocab_size)


@pytest.mark.parametrize(
    "logits, targets, message",
    [
        (torch.zeros(2, 3, 5), torch.zeros(3, 2, dtype=torch.long), r"\(2, 3, 5\) and \(3, 2\)"),
        (torch.zeros(()), torch.zeros((), dtype=torch.long), r"do not fit: \(\) and \(\)"),
        (torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), r"\(0, 5\) and \(0,\)"),
        (torch.zeros(1, 5), torch.tensor([5]), "from 0 to 4"),
        (torch.zeros(1, 5), torch.tensor([-1]), "from 0 to 4"),
        (torch.zeros(1, 5), torch.tensor([1.0]), "whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(logits, targets)


def test_a_token_of_one_byte_with_two_equal_choices_costs_a_bit():
    assert bits_per_byte(math.log(2), n_tokens=7, n_bytes=7) == pytest.approx(1)


@settings(deadline=None)
@given(st.floats(0.1, 10), st.integers(1, 1000), st.integers(1, 9))
def test_bits_per_byte_do_not_depend_on_how_the_text_was_cut(nats, n_tokens, pieces):
    n_bytes = 4 * n_tokens
    whole = bits_per_byte(nats, n_tokens, n_bytes)
    assert bits_per_byte(nats / pieces, n_tokens * pieces, n_bytes) == pytest.approx(whole)


def test_a_text_of_no_bytes_has_no_bits_per_byte():
    with pytest.raises(ValueError, match="0 bytes"):
        bits_per_byte(1.0, 0, 0)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**31), st.data())
def test_every_target_is_the_token_that_comes_next(length, batch_size, seed, data):
    block_size = data.draw(st.integers(1, length - 1))
    ids = 100 + torch.arange(length)
    x, y = get_batch(ids, batch_size, block_size, torch.Generator().manual_seed(seed))
    assert x.shape == y.shape == (batch_size, block_size)
    assert (y == x + 1).all()
    assert (x.diff() == 1).all()


def test_every_place_of_the_text_is_drawn_and_none_beyond_it():
    x, y = get_batch(torch.arange(6), 1000, 3, torch.Generator().manual_seed(0))
    assert x[:, 0].unique().tolist() == [0, 1, 2]
    assert y.max() == 5


def test_a_generator_makes_the_batch_repeatable():
    ids = torch.arange(1000)
    first, again, other = (get_batch(ids, 4, 8, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "ids, batch_size, block_size, message",
    [
        (torch.arange(8), 1, 8, r"N > 8, not \(8,\)"),
        (torch.zeros(2, 9), 1, 8, r"not \(2, 9\)"),
        (torch.arange(8), 0, 4, "at least 1, not 0 and 4"),
        (torch.arange(8), 1, 0, "at least 1, not 1 and 0"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_refused(ids, batch_size, block_size, message):
    with pytest.raises(ValueError, match=message):
        get_batch(ids, batch_size, block_size)


# ---------------------------------------------------------------------------------------- targets that do not count


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([-100, 0, 3]))
def test_targets_to_ignore_change_neither_loss_nor_gradient_as_with_torch(rows, T, seed, ignored):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, T, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (rows, T), generator=generator)
    targets[torch.rand(rows, T, generator=generator) < 0.5] = ignored
    targets[0, 0] = 5  # one that counts
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = cross_entropy(ours, targets, ignore_index=ignored)
    expected = F.cross_entropy(theirs.reshape(-1, 7), targets.reshape(-1), ignore_index=ignored)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_a_loss_without_any_target_is_zero_and_so_is_its_gradient():
    logits = torch.randn(3, 5).requires_grad_()
    loss = cross_entropy(logits, torch.full((3,), -100))
    loss.backward()
    assert loss == 0 and torch.equal(logits.grad, torch.zeros(3, 5))


def test_weights_multiply_each_surprise_and_are_not_divided_by():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([[0, 1, -100], [4, 4, 2]])
    weights = torch.tensor([[1.0, 10.0, 99.0], [0.0, 0.5, 2.0]], dtype=torch.float64)
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    found = cross_entropy(logits, targets, weights=weights)
    torch.testing.assert_close(found, (each * weights.flatten()).sum() / 5)
    plain = cross_entropy(logits, targets)
    assert torch.equal(cross_entropy(logits, targets, weights=torch.ones(2, 3)), plain)
    with pytest.raises(ValueError, match=r"weights \(...\) and targets \(...\) do not fit: \(3,\)"):
        cross_entropy(logits, targets, weights=torch.ones(3))


def test_where_a_look_at_the_ids_would_wait_for_the_device_nobody_looks():
    """On "meta" there are no numbers at all: whoever asks for one gets an error."""
    logits = torch.randn(2, 3, 5, device="meta")
    targets = torch.zeros(2, 3, dtype=torch.long, device="meta")
    assert cross_entropy(logits, targets, weights=targets.float()).shape == ()


def test_a_surprise_beyond_all_numbers_is_an_infinite_perplexity():
    assert perplexity(1000.0) == math.inf and perplexity(709.0) < math.inf


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.int32])
def test_a_batch_of_a_text_in_fewer_bits_is_the_same_batch(dtype):
    ids = torch.arange(100)
    pairs = [get_batch(z, 4, 8, torch.Generator().manual_seed(0)) for z in (ids, ids.to(dtype))]
    assert all(torch.equal(a, b) and b.dtype == torch.int64 for a, b in zip(*pairs))


def test_a_batch_can_be_cut_on_the_device_of_the_text():
    x, y = get_batch(torch.zeros(50, dtype=torch.int32, device="meta"), 4, 8)
    assert x.device.type == y.device.type == "meta" and x.shape == (4, 8)


def test_targets_that_cannot_tell_their_ids_from_the_ignored_one_are_refused():
    for dtype in (torch.uint8, torch.uint16):  # -100 is 156 in eight bits
        with pytest.raises(ValueError, match=f"targets must be of a signed type, such as int64, not {dtype}"):
            cross_entropy(torch.randn(1, 200), torch.tensor([156], dtype=dtype))
