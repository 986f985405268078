"""The small autograd gives torch's gradients, and central differences, on any graph."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import autograd
from tinyllm.autograd import Value, inputs_first

operations = st.sampled_from(["+", "-", "*", "/", "**", "exp", "log", "number"])
steps = st.tuples(operations, st.integers(0, 99), st.integers(0, 99))
programs = st.lists(steps, min_size=1, max_size=25)
starts = st.lists(st.floats(-2, 2), min_size=1, max_size=4)


def run(program, inputs):
    """The values of a program of random steps, those left out whose numbers leave a moderate range."""
    nodes = list(inputs)
    for operation, i, j in program:
        a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
        size = float(a.detach() if isinstance(a, torch.Tensor) else a.data)
        if operation == "+":
            new = a + b
        elif operation == "-":
            new = a - b
        elif operation == "*":
            new = a * b
        elif operation == "/":
            new = a / (b * b + 0.5)
        elif operation == "**":
            n = (-2, -1, 0, 1, 2, 3, 0.5)[j % 7]
            if n in (-2, -1, 0.5) and size < 0.1:
                continue
            new = a**n
        elif operation == "exp":
            if size > 3:
                continue
            new = a.exp()
        elif operation == "log":
            new = (a * a + 0.5).log()
        else:
            new = (2 + a, 2 - a, 3 * a, 1 / (a * a + 1), a - 1, a / 2)[j % 6]
        if abs(float(new.detach() if isinstance(new, torch.Tensor) else new.data)) < 20:
            nodes.append(new)
    return nodes


@settings(deadline=None, max_examples=200)
@given(programs, starts)
def test_gradients_equal_torchs_on_random_graphs(program, numbers):
    ours = run(program, [Value(number) for number in numbers])
    leaves = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    theirs = run(program, leaves)
    assert len(ours) == len(theirs)
    for node in theirs:
        node.retain_grad()
    ours[-1].backward()
    theirs[-1].backward()
    expected = [0.0 if node.grad is None else node.grad.item() for node in theirs]
    tolerance = 1e-12 * (1 + max(map(abs, expected)))  # what is added may be larger than the sum
    for mine, node, slope in zip(ours, theirs, expected):
        assert mine.data == pytest.approx(node.item(), rel=1e-12, abs=1e-12)
        assert abs(mine.grad - slope) <= tolerance


@settings(deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 2))
def test_gradients_are_what_two_evaluations_say(a, b):
    def f(a, b):
        return (a * b - a / b).exp() + (b + a * a).log() - b**1.5 * a

    x, y, h = Value(a), Value(b), 1e-5
    f(x, y).backward()
    in_a = (f(Value(a + h), y).data - f(Value(a - h), y).data) / (2 * h)
    in_b = (f(x, Value(b + h)).data - f(x, Value(b - h)).data) / (2 * h)
    assert x.grad == pytest.approx(in_a, rel=1e-4, abs=1e-4)
    assert y.grad == pytest.approx(in_b, rel=1e-4, abs=1e-3 * abs(in_b) + 1e-4)


def test_the_slopes_of_all_uses_of_a_value_add_up():
    a, b = Value(2), Value(3)
    (a * b + a).log().backward()
    assert (a.grad, b.grad) == (0.5, 0.25)
    x = Value(5)
    (x * x + x + x).backward()
    assert x.grad == 2 * 5 + 2


def test_every_value_comes_after_its_inputs_and_once():
    x = Value(1)
    y = x * x
    z = (y + x) * (y - x)
    order = inputs_first(z)
    assert len(order) == len(set(order)) and order[-1] is z
    for node in order:
        assert all(order.index(source) < order.index(node) for source in node.inputs)


def test_a_graph_with_a_million_million_paths_is_no_more_than_its_nodes():
    x = y = Value(1)
    for _ in range(40):
        y = y + y
    y.backward()
    assert x.grad == 2**40


def test_a_long_chain_needs_no_recursion():
    x = y = Value(0)
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert x.grad == 1


def test_gradients_accumulate_over_backward_passes_as_torchs_do():
    x = Value(3)
    y = x * x
    y.backward()
    y.backward()
    (2 * x).backward()
    assert x.grad == 6 + 6 + 2
    assert y.grad == 2


def test_a_value_that_the_result_does_not_depend_on_keeps_its_gradient():
    x, unused = Value(1), Value(2)
    x.exp().backward()
    assert unused.grad == 0


def test_a_constant_power_has_no_slope_even_at_zero():
    x = Value(0)
    (x**0).backward()
    assert x.grad == 0


@pytest.mark.parametrize("compute, error", [
    (lambda: Value(0).log(), ValueError),
    (lambda: 1 / Value(0), ZeroDivisionError),
    (lambda: Value(0) ** 0.5, ZeroDivisionError),  # it has a value there, and no slope
    (lambda: Value(-1) ** 0.5, TypeError),  # a complex number
    (lambda: Value(2) ** Value(3), TypeError),  # powers are plain numbers
])
def test_what_has_no_value_or_no_slope_fails_as_it_does_for_plain_numbers(compute, error):
    with pytest.raises(error):
        compute()


def test_numbers_may_stand_on_either_side():
    x = Value(4)
    assert [v.data for v in (1 + x, x + 1, 1 - x, x - 1, 2 * x, x * 2, 2 / x, x / 2, -x)] == [
        5, 5, -3, 3, 8, 8, 0.5, 2, -4]
    assert x.exp().data == math.exp(4)


def test_the_whole_of_it_has_at_most_eighty_lines():
    assert len(Path(autograd.__file__).read_text().splitlines()) <= 80
