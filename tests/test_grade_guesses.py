"""Numbers of the right shape earn nothing: a point is for something that is right."""

import json
import math
import random

import numpy as np
import pytest
import torch
from mutants import answers

from course.check import assess, cases
from course.checks import sheets
from course.sandbox.call import call
from course.sandbox.plain import decode, encode

SHEETS = {sheet.name: sheet for sheet in sheets()}


def guessed(value, draw):
    """Something of the same kind and shape, drawn at random."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        generator = torch.Generator().manual_seed(draw.randrange(10**6))
        return torch.randn(value.shape, dtype=torch.float64, generator=generator).to(value.dtype)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.random.default_rng(draw.randrange(10**6)).normal(size=value.shape).astype(value.dtype)
    if isinstance(value, float):
        return draw.gauss(0, 1) + 2**-9
    if isinstance(value, (list, tuple)):
        return type(value)(guessed(item, draw) for item in value)
    if isinstance(value, dict):
        return {key: guessed(item, draw) for key, item in value.items()}
    return value


def holds_numbers(value):
    """Whether all of it is guessed; whole numbers, words and truths are not."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(holds_numbers, value))
    if isinstance(value, dict):
        return bool(value) and all(map(holds_numbers, value.values()))
    floats = isinstance(value, torch.Tensor) and value.is_floating_point() or isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return isinstance(value, float) and math.isfinite(value) or floats and math.prod(value.shape) > 0


@pytest.mark.parametrize("name", SHEETS)
def test_numbers_of_the_right_shape_earn_nothing(name):
    sheet, draw, earned = SHEETS[name], random.Random(0), {}
    sources, before = answers(name)
    for question in sheet.questions:
        if question.function not in sources:
            continue
        names = {"check": lambda *_: None, "display": print}
        exec(before[question.function] + sources[question.function], names)
        tried = cases(question, range(2))
        numbers = []

        def outcome(part, case):
            came = call(names[question.function], tried[part][case][1])
            if "answer" not in came:
                return came
            right = decode(came["answer"])
            numbers.append(holds_numbers(right))
            return {"answer": encode(guessed(right, draw))}

        result = assess(question, tried, outcome)
        if numbers and all(numbers) and result.points:
            earned[question.id] = str(result)
    assert not earned, "\n".join(earned.values())


def solved(name):
    """The questions of a sheet, each with the function that answers it right."""
    sources, before = answers(name)
    for question in SHEETS[name].questions:
        if question.function in sources:
            names = {"check": lambda *_: None, "display": print}
            exec(before[question.function] + sources[question.function], names)
            yield question, names[question.function]


@pytest.mark.parametrize("name", SHEETS)
def test_a_right_answer_is_right_on_as_many_seeds_as_one_asks_for(name):
    refused = []
    for question, right in solved(name):
        for seed in (*range(5, 15), 21, 30, 101):
            tried = cases(question, [seed])
            if all(tried):
                result = assess(question, tried, lambda part, case: call(right, tried[part][case][1]))
                refused += [] if result.passed else [f"seed {seed}: {result}"]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("name", SHEETS)
def test_one_answer_for_all_inputs_earns_nothing(name):
    earned = []
    for question, right in solved(name):
        tried = cases(question, range(5))
        if any(len(part) == 1 for part in tried):
            continue  # a prediction, or a derivation
        given = {json.dumps(came): came for part in tried for _, inputs in part if "answer" in (came := call(right, inputs))}
        results = [assess(question, tried, lambda part, case: came) for came in given.values()]
        earned += [str(result) for result in results if result.points][:1]
    assert not earned, "\n".join(earned)
