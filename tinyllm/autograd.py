"""Reverse-mode differentiation of plain numbers: the slopes of one in all that it came from."""

import math


class Operators:
    """What follows from +, * and powers: -, /, and plain numbers on the left."""

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * other**-1.0

    def __rtruediv__(self, other):
        return self**-1.0 * other


def inputs_first(value):
    """All values that `value` was computed from and itself, each after its inputs."""
    order, seen, stack = [], set(), [(value, False)]
    while stack:
        node, inputs_are_done = stack.pop()
        if inputs_are_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(source, False) for source in node.inputs]
    return order


class Value(Operators):
    """A number that knows its inputs and the slope of itself in each of them."""

    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.grad = float(data), 0.0
        self.inputs, self.slopes = inputs, slopes

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n):
        return Value(self.data**n, (self,), (n * self.data ** (n - 1) if n else 0.0,))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def backward(self):
        """Add the slope of this value in each value it came from to that one's `grad`."""
        slope = {self: 1.0}
        for node in reversed(inputs_first(self)):
            node.grad += slope[node]
            for source, local in zip(node.inputs, node.slopes):
                slope[source] = slope.get(source, 0.0) + slope[node] * local
