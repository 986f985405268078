# %% [markdown]
# # Exercises: Gradients
#
# Six questions on the chapter *Gradients*: one to derive, one to predict, two to repair, one to write, one to find out.
# Write your answer into the function, run its cell, then run the check below it.
# A check tells you what is wrong, not what is right; `check.hint("q1")` opens one hint at a time.

# %%
import math

import torch
from torch import Tensor

from course.check import sheet
from tinyllm.autograd import Value

check = sheet("gradients")

# %% [markdown]
# {{q1}}
#
# A computation of five nodes, with $a = 3$ and $b = 5$:
#
# $$ c = a\,b, \qquad d = c - a, \qquad L = d^2 . $$
#
# Draw the graph, write the values forward and the slopes of $L$ back, with a pencil.
# Give the slopes of $L$ in $d$, $c$, $a$ and $b$.

# %% tags=["answer"]
def by_hand() -> tuple[float, float, float, float]:
    """The slopes of L in (d, c, a, b)."""
    # Forward: c = 15, d = 12, L = 144.
    in_d = 2 * 12
    in_c = in_d * 1
    in_a = in_c * 5 + in_d * -1  # two paths: through c, where b is the factor, and straight
    in_b = in_c * 3
    return in_d, in_c, in_a, in_b


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# The loss is $(w - 5)^2$, and gradient descent starts at $w = 0$.
# Where is $w$ after three steps, for the learning rates 0.1, 0.5, 1.0 and 1.1?
# Predict all four with a pencil; the check runs them.

# %% tags=["answer"]
def predict_descent() -> list[float]:
    """The four places after three steps."""
    # The slope is 2 (w - 5): each step multiplies w - 5 by 1 - 2η.
    # That is 0.8, 0, -1 and -1.2; three steps make 0.512, 0, -1 and -1.728 of the first -5.
    return [5 - 5 * 0.512, 5.0, 5 + 5 * 1.0, 5 + 5 * 1.728]


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# Here is another way to write a computation down: a **tape**, a list of steps, each of which names the places of its inputs.
# `[("input", 2.0), ("input", 5.0), ("mul", 0, 1), ("log", 2)]` is $\ln (2 \cdot 5)$.
# The function should give the slope of the last number in every number on the tape.
# It has three bugs.

# %% tags=["stub"]
def slopes(tape: list[tuple]) -> list[float]:
    """The slope of the last number of a tape in each of its numbers.

    Steps are ("input", number), ("add", i, j), ("sub", i, j), ("mul", i, j),
    ("exp", i) and ("log", i); i and j are places on the tape, and may be equal.
    """
    compute = {
        "input": lambda number: number,
        "add": lambda i, j: values[i] + values[j],
        "sub": lambda i, j: values[i] - values[j],
        "mul": lambda i, j: values[i] * values[j],
        "exp": lambda i: math.exp(values[i]),
        "log": lambda i: math.log(values[i]),
    }
    values = []
    for operation, *inputs in tape:
        values.append(compute[operation](*inputs))

    slope = [0.0] * len(tape)
    slope[-1] = 1.0
    for here in reversed(range(len(tape))):
        operation, *inputs = tape[here]
        if operation in ("add", "sub"):
            for i in inputs:
                slope[i] = slope[here]
        elif operation == "mul":
            for i in inputs:
                slope[i] += slope[here] * values[i]
        elif operation == "exp":
            slope[inputs[0]] += slope[here] * values[here]
        elif operation == "log":
            slope[inputs[0]] += slope[here] / values[inputs[0]]
    return slope


# %% tags=["answer"]
def slopes(tape: list[tuple]) -> list[float]:
    """The slope of the last number of a tape in each of its numbers.

    Steps are ("input", number), ("add", i, j), ("sub", i, j), ("mul", i, j),
    ("exp", i) and ("log", i); i and j are places on the tape, and may be equal.
    """
    compute = {
        "input": lambda number: number,
        "add": lambda i, j: values[i] + values[j],
        "sub": lambda i, j: values[i] - values[j],
        "mul": lambda i, j: values[i] * values[j],
        "exp": lambda i: math.exp(values[i]),
        "log": lambda i: math.log(values[i]),
    }
    values = []
    for operation, *inputs in tape:
        values.append(compute[operation](*inputs))

    slope = [0.0] * len(tape)
    slope[-1] = 1.0
    for here in reversed(range(len(tape))):
        operation, *inputs = tape[here]
        i, j = inputs[0], inputs[-1]
        if operation in ("add", "sub"):
            slope[i] += slope[here]  # what arrives is added to what is there
            slope[j] += slope[here] * (1 if operation == "add" else -1)
        elif operation == "mul":
            slope[i] += slope[here] * values[j]  # the other factor
            slope[j] += slope[here] * values[i]
        elif operation == "exp":
            slope[i] += slope[here] * values[here]
        elif operation == "log":
            slope[i] += slope[here] / values[i]
    return slope


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# The class `Value` of the chapter has no hyperbolic tangent, $\tanh x = (e^x - e^{-x}) / (e^x + e^{-x})$, with the slope $1 - \tanh^2 x$.
# Write it as a function that takes a `Value` and returns a new one, with what `backward` needs.
# It should work for large numbers, too, where the exponentials overflow.
# The check calls `try_tanh`, which uses it.

# %% tags=["stub"]
def tanh(x: Value) -> Value:
    """The hyperbolic tangent of a Value, as a Value."""
    ...  # your code goes here


def try_tanh(number: float) -> tuple[float, float, float]:
    """tanh of the number, its slope there, and the slope of x·tanh(2x) there."""
    raise NotImplementedError("q4: write tanh above, then delete this line")
    x, z = Value(number), Value(number)
    y = tanh(x)
    y.backward()
    (z * tanh(2 * z)).backward()
    return y.data, x.grad, z.grad


# %% tags=["answer"]
def tanh(x: Value) -> Value:
    """The hyperbolic tangent of a Value, as a Value."""
    value = math.tanh(x.data)
    return Value(value, (x,), (1 - value**2,))


def try_tanh(number: float) -> tuple[float, float, float]:
    """tanh of the number, its slope there, and the slope of x·tanh(2x) there."""
    x, z = Value(number), Value(number)
    y = tanh(x)
    y.backward()
    (z * tanh(2 * z)).backward()
    return y.data, x.grad, z.grad


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# A model learned nothing for a week.
# Its predictions came as a column, (N, 1), from an `nn.Linear(d, 1)`, its targets as a vector, (N,), from a file.
# Repair the loss: whatever the two shapes are, predictions and targets are as many, and in the same order.

# %% tags=["stub"]
def squared_error(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared error, and its gradient in the predictions, of their shape."""
    error = predictions - targets
    return error.square().mean(), 2 * error / error.numel()


# %% tags=["answer"]
def squared_error(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared error, and its gradient in the predictions, of their shape."""
    error = predictions - targets.reshape(predictions.shape)
    return error.square().mean(), 2 * error / error.numel()


# %%
check("q5")

# %% [markdown]
# {{q6}}
#
# A linear model predicts $X w$, and its loss is the mean of the squares of $X w - y$ over the $N$ rows.
# Below which learning rate does gradient descent arrive at the bottom, from any start?
# It does not depend on $y$ (why?), so the function is not given any.

# %% tags=["answer"]
def largest_rate(X: Tensor) -> float:
    """The limit of the learning rate for the mean squared error of X w; X is (N, d)."""
    # The gradient is 2 Xᵀ(Xw - y) / N. Its slope in w is the matrix 2 XᵀX / N, without y.
    # Along each of its eigenvectors descent is that of a parabola with the eigenvalue
    # as its curvature, and the largest one has the smallest limit.
    second_derivatives = 2 * X.T @ X / len(X)
    return 2 / torch.linalg.eigvalsh(second_derivatives)[-1].item()


# %%
check("q6")
