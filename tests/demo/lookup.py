"""A small sheet for the tests of the checker and the grader."""

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, equal, same_shape

AXES = ("query", "key")


def score_tables(seed):
    generator = torch.Generator().manual_seed(seed)
    for shape in [(1, 3), (2 + seed, 4)]:
        yield (torch.randn(shape, generator=generator),)


def queries_and_keys(seed):
    generator = np.random.default_rng(seed)
    yield generator.normal(size=(2, 4)), generator.normal(size=(3 + seed, 4))


def sums_to_one(inputs, answer):
    (scores,) = inputs
    for query, total in enumerate(same_shape(answer, scores, "the weights", AXES).sum(-1)):
        if not abs(total - 1) < 1e-5:
            raise Wrong(f"the weights of query {query} sum to {total:.3g}, not 1")


def softmax(inputs, answer):
    (scores,) = inputs
    close(answer, torch.softmax(scores, -1), "the weights", AXES)


def weights(inputs, answer):
    q, k = inputs
    scores = q @ k.T
    close(
        answer,
        _softmax(scores / q.shape[1] ** 0.5),
        "the weights",
        AXES,
        mistakes={"these are the weights without the division by sqrt(d)": _softmax(scores)},
    )


def _softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def half(inputs, answer):
    close(answer, 0.5, "the predicted weight", atol=0.2)
    return f"you predicted {answer:.2f}; measured: 0.50"


def nearest(inputs, answer):
    table, word = inputs
    equal(answer, min(table, key=lambda key: (abs(len(key) - len(word)), key)), "the key", item="character")


SHEET = Sheet(
    "98_lookup",
    "A lookup",
    questions=(
        Question(
            "q1",
            "Softmax over the keys",
            function="softmax",
            minutes=10,
            difficulty=1,
            parts=(
                Part("the weights of every query sum to 1", 1, sums_to_one, score_tables),
                Part("the weights are those of the softmax", 2, softmax, score_tables),
            ),
            hints=("Which axis are the keys on?", "Divide by the sum over that axis, kept as an axis."),
        ),
        Question(
            "q2",
            "Attention weights",
            function="attention_weights",
            minutes=10,
            difficulty=2,
            parts=(
                Part("the weights are those of scaled dot-product attention", 3, weights, queries_and_keys),
            ),
        ),
        Question(
            "q3",
            "Two equal keys",
            function="predict_weight",
            minutes=2,
            difficulty=1,
            parts=(Part("the prediction is near what is measured", 1, half),),
        ),
        Question(
            "q4",
            "The key of the most similar length",
            function="nearest_key",
            minutes=5,
            difficulty=1,
            parts=(
                Part(
                    "the key is the nearest",
                    1,
                    nearest,
                    lambda seed: [({"a": 1, "bcd": (2, b"x")}, "ab" * seed)],
                ),
            ),
        ),
    ),
)
