"""Wrong answers to the sheet on gradients that people give, and what they have to be told."""

SLOPES = '''
def slopes(tape):
    values, slope = [], [0.0] * len(tape)
    for operation, *inputs in tape:
        u = [values[i] for i in inputs] if operation != "input" else inputs
        values.append({"input": lambda u: u[0], "add": lambda u: u[0] + u[1], "sub": lambda u: u[0] - u[1],
                       "mul": lambda u: u[0] * u[1], "exp": lambda u: math.exp(u[0]),
                       "log": lambda u: math.log(u[0])}[operation](u))
    slope[-1] = 1.0
    for here in reversed(range(len(tape))):
        operation, *inputs = tape[here]
        if operation == "input":
            continue
        i, j = inputs[0], inputs[-1]
        if operation in ("add", "sub"):
            slope[i] %s slope[here]
            slope[j] %s slope[here] * %s
        elif operation == "mul":
            slope[i] += slope[here] * values[%s]
            slope[j] += slope[here] * values[%s]
        elif operation == "exp":
            slope[i] += slope[here] * values[%s]
        elif operation == "log":
            slope[i] += slope[here] / values[i]
    return slope
'''
MINUS = '(1 if operation == "add" else -1)'

TRY_TANH = '''
def try_tanh(number):
    x, z = Value(number), Value(number)
    y = tanh(x)
    y.backward()
    (z * tanh(2 * z)).backward()
    return y.data, x.grad, z.grad
'''
TANH = "from tinyllm.autograd import Value\n\ndef tanh(x):\n    "

MISTAKES = [
    ("q1", "a square has the slope 2d", '''
def by_hand():
    return 12, 12, 48, 36
'''),
    ("q1", "still has to be multiplied", '''
def by_hand():
    return 24, 1, 4, 3
'''),
    ("q1", "L moves faster than d", '''
def by_hand():
    return 24, 24, 4, 3
'''),
    ("q1", "another leads from a straight to d", '''
def by_hand():
    return 24, 24, 120, 72
'''),
    ("q1", "another leads through c", '''
def by_hand():
    return 24, 24, -24, 72
'''),
    ("q1", "on one of them there is a minus", '''
def by_hand():
    return 24, 24, 144, 72
'''),
    ("q1", "the path of a through c is multiplied by b", '''
def by_hand():
    return 24, 24, 48, 120
'''),
    ("q1", "the slope in b is multiplied by a", '''
def by_hand():
    return 24, 24, 96, 120
'''),
    ("q1", "4 numbers", '''
def by_hand():
    return 24, 72
'''),
    ("q2", "twice the distance", '''
def predict_descent():
    return [5 - 5 * (1 - lr) ** 3 for lr in (0.1, 0.5, 1.0, 1.1)]
'''),
    ("q2", "after one step", '''
def predict_descent():
    return [10 * lr for lr in (0.1, 0.5, 1.0, 1.1)]
'''),
    ("q2", "in which the loss falls", '''
def predict_descent():
    return [5 - 5 * (1 + 2 * lr) ** 3 for lr in (0.1, 0.5, 1.0, 1.1)]
'''),
    ("q2", "not the places", '''
def predict_descent():
    return [5 * (1 - 2 * lr) ** 3 for lr in (0.1, 0.5, 1.0, 1.1)]
'''),
    # "It cannot leave the bottom once it is there."
    ("q2", "the place at η = 1.0 is too small", '''
def predict_descent():
    return [2.44, 5, 5, 5]
'''),
    # As it was found.
    ("q3", "here it is the number's own", SLOPES % ("=", "=", "1", "i", "j", "here")),
    # Two of the three repaired.
    ("q3", "here it is the number's own", SLOPES % ("+=", "+=", MINUS, "i", "j", "here")),
    ("q3", "lacks a minus", SLOPES % ("+=", "+=", "1", "j", "i", "here")),
    ("q3", "they should add up", SLOPES % ("=", "=", MINUS, "j", "i", "here")),
    # A new one.
    ("q3", "the slope of the result is", SLOPES % ("+=", "+=", MINUS, "j", "i", "i")),
    ("q4", "does the new value know", TANH + "return Value(math.tanh(x.data))\n" + TRY_TANH),
    ("q4", "not of its input",
     TANH + "return Value(math.tanh(x.data), (x,), (1 - x.data**2,))\n" + TRY_TANH),
    ("q4", "with a square",
     TANH + "return Value(math.tanh(x.data), (x,), (1 - math.tanh(x.data),))\n" + TRY_TANH),
    # Built from what there is: right, and it overflows.
    ("q4", "OverflowError",
     TANH + "return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())\n" + TRY_TANH),
    ("q4", "subtracted, not added",
     TANH + "return (x.exp() + (-x).exp()) / (x.exp() + (-x).exp())\n" + TRY_TANH),
    # As it was found.
    ("q5", "every prediction was compared with every target", '''
def squared_error(predictions, targets):
    error = predictions - targets
    return error.square().mean(), 2 * error / error.numel()
'''),
    # The shape of the predictions is lost.
    ("q5", "so it has their shape", '''
def squared_error(predictions, targets):
    error = predictions.flatten() - targets.flatten()
    return error.square().mean(), 2 * error / error.numel()
'''),
    ("q5", "the loss is their mean", '''
def squared_error(predictions, targets):
    error = predictions - targets.reshape(predictions.shape)
    return error.square().mean(), 2 * error
'''),
    ("q5", "twice what is squared", '''
def squared_error(predictions, targets):
    error = predictions - targets.reshape(predictions.shape)
    return error.square().mean(), error / error.numel()
'''),
    # Right for a column beside a vector, and only there.
    ("q5", "every prediction was compared with every target", '''
def squared_error(predictions, targets):
    error = predictions - (targets[:, None] if predictions.ndim > targets.ndim else targets)
    return error.square().mean(), 2 * error / error.numel()
'''),
    ("q6", "a factor of 2", '''
def largest_rate(X):
    return 2 / torch.linalg.eigvalsh(X.T @ X / len(X))[-1].item()
'''),
    ("q6", "the limit is further up", '''
def largest_rate(X):
    return 1 / torch.linalg.eigvalsh(2 * X.T @ X / len(X))[-1].item()
'''),
    ("q6", "this takes their sum", '''
def largest_rate(X):
    return 1 / torch.linalg.eigvalsh(X.T @ X)[-1].item()
'''),
    ("q6", "the limit of the flattest", '''
def largest_rate(X):
    return 2 / torch.linalg.eigvalsh(2 * X.T @ X / len(X))[0].item()
'''),
    ("q6", "each parameter by itself", '''
def largest_rate(X):
    return 1 / X.square().mean(0).max().item()
'''),
    ("q6", "adds the curvatures of all directions", '''
def largest_rate(X):
    return 1 / X.square().mean(0).sum().item()
'''),
    ("q6", "is too small: a larger rate", '''
def largest_rate(X):
    return 1e-3
'''),
    ("q6", "the loss climbs", '''
def largest_rate(X):
    return 10.0
'''),
]
