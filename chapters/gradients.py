# %% [markdown]
# # Gradients
#
# Some numbers between −1 and 1 are hidden.
# You name a guess for all of them, and you are told one thing: the mean squared distance between your guess and the truth.
# You may guess ten thousand times.
# How near do you come by guessing at random?

# %%
import numpy as np

rng = np.random.default_rng(0)
for n in (1, 2, 10, 100):
    hidden = rng.uniform(-1, 1, n)
    guesses = rng.uniform(-1, 1, (10_000, n))
    off = ((guesses - hidden) ** 2).mean(axis=1)
    print(f"{n:3} numbers: on average off by {off.mean():.3f}, at best by {off.min():.3f}")

# %% [markdown]
# One number is found, and two; with a hundred the best of ten thousand guesses is still more than half as bad as the average one.
# The language model at the end of this book has 1.6 million numbers, its **parameters**, and at each step of its training one number says how wrong they are.
# How does a number learn?
#
# :::{admonition} You will be able to
# :class: tip
# - take a slope in three ways (by two evaluations, by hand, by a program that you wrote) and check one by another;
# - say what a learning rate is, how large it may be, and what happens above that;
# - read every line of `loss.backward(); optimizer.step(); optimizer.zero_grad()`.
#
# Reading: 35 minutes. Running: under half a minute.
# You need Python and school mathematics.
# Whoever has written an autograd before can go on to chapter 02, which uses [one result](p-minus-one-hot) of this one.
# :::

# %% tags=["remove-input"] alt="Map of the whole machine with the dashed line from the loss back to all weights marked at chapter 8, which this chapter explains"
from course.figures import machine_map

machine_map(here="training")

# %% [markdown]
# This chapter has no box of its own on the map, so the mark stands at chapter 08.
# It is about the dashed line that begins there and leads from the loss back into every part.
# Chapter 08 sends it through the whole machine, and chapters 02 to 07 need it on the way.

# %%
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.figures import COLORS, figure

CYCLE = COLORS["CYCLE"]

# %% [markdown]
# ## A slope, by two evaluations
#
# Take the function $f(x) = x^2$ at $x = 3$.
# How much does it change when $x$ moves a little?
# Move $x$ by $h$, and divide the change of $f$ by $h$: that is a **slope**, the change of the output per change of the input.

# %%
def f(x):
    return x * x


for h in (1, 0.1, 0.01, 0.001):
    print(f"h = {h:<5}: slope {(f(3 + h) - f(3)) / h:.3f}")

# %% [markdown]
# The smaller the step, the nearer to 6.
# By hand one sees why:
#
# $$ \frac{(x+h)^2 - x^2}{h} = \frac{2xh + h^2}{h} = 2x + h . $$
#
# *In words:* [derivatives](mathematics.ipynb#Derivatives).
#
# What this comes to as $h$ goes to 0 is the **derivative** of $f$, here $2x$, and 6 at $x = 3$.
# These are the few rules that this book needs; the same calculation gives the powers, sums and products:
#
# | function $f(x)$ | slope |
# |---|---|
# | $c\,x$ | $c$ |
# | $x^n$ | $n\,x^{n-1}$ |
# | $e^x$ | $e^x$ |
# | $\ln x$ | $1/x$ |
# | $u(x) + v(x)$ | $u'(x) + v'(x)$ |
# | $u(x)\,v(x)$ | $u'(x)\,v(x) + u(x)\,v'(x)$ |
#
# With a step to both sides, the **central difference** $\big(f(x+h) - f(x-h)\big) / 2h$, the term $h$ cancels, and for $x^2$ the slope comes out exactly.
# For other functions an error in $h^2$ is left, where the one-sided step has one in $h$.
# How small should $h$ be, then?
# Try all sizes, on $e^x$ at $x = 1$, where the slope is $e$.

# %% alt="Error of a numerical slope against the step size, both logarithmic: the one-sided error falls with slope one, the central one with slope two, and both rise again at small steps"
h = np.logspace(-12, 0, 200)
errors = {
    "one-sided": abs((np.exp(1 + h) - np.exp(1)) / h - np.e),
    "central": abs((np.exp(1 + h) - np.exp(1 - h)) / (2 * h) - np.e),
}
fig, ax = figure()
for (name, error), color, order in zip(errors.items(), CYCLE[1:3], (1, 2)):
    ax.loglog(h, error, label=name, color=color)
    large = (h > 1e-3) & (h < 1e-1)
    steepness = np.polyfit(np.log(h[large]), np.log(error[large]), 1)[0]
    assert abs(steepness - order) < 0.05
assert errors["central"][abs(h - 1e-5).argmin()] < 1e-9
ax.set(xlabel="step h", ylabel="error of the slope")
ax.set_title("Smaller steps help, until rounding takes over")
ax.legend()
fig

# %% [markdown]
# To the right the errors grow like $h$ and $h^2$, as straight lines of slope 1 and 2.
# To the left both rise: the two evaluations agree in nearly all of their 16 digits, and what is left of the difference is rounding, divided by a tiny $h$.
# A central difference with $h = 10^{-5}$ has about ten right digits here.
#
# That is a habit to keep.
# **Whoever writes down a derivative compares it with a central difference**, in numbers of 16 digits (*double precision*) and with an $h$ in proportion to $x$ (to 1 where $x$ is small).
# It costs a line, and a wrong sign does not survive it.

# %%
def numerical(f, x, h=1e-5):
    """The slope of f at x by a central difference."""
    return (f(x + h) - f(x - h)) / (2 * h)


print(f"{numerical(f, 3.0):.6f}, {numerical(math.log, 4.0):.6f}")

# %% [markdown]
# ## Down a curve
#
# A load of 1, 2, 3 and 4 kilograms hangs from a spring, and somebody writes down by how many centimeters it is stretched.
# The model has one parameter: each kilogram stretches the spring by $w$.
# How wrong is a given $w$?
# The mean squared error over the $N$ measurements says it, and such a number that should be small is called a **loss**:
#
# $$
# \begin{aligned}
# L(w) &= \frac1N \sum_i (w\,x_i - y_i)^2, \\
# L'(w) &= \frac1N \sum_i 2\,(w\,x_i - y_i)\,x_i .
# \end{aligned}
# $$
#
# The square of an error has a slope of twice the error, and the error changes $x_i$ times as fast as $w$ does.
#
# *In words:* [sums](mathematics.ipynb#Sums), [derivatives](mathematics.ipynb#Derivatives).

# %%
x, y = np.array([1.0, 2, 3, 4]), np.array([1.1, 1.9, 3.2, 3.8])


def loss(w):
    return ((w * x - y) ** 2).mean()


def slope(w):
    return (2 * (w * x - y) * x).mean()


assert abs(slope(0.0) - numerical(loss, 0.0)) < 1e-8
print(f"at w = 0: loss {loss(0.0):.3f}, slope {slope(0.0):.3f}")

# %% [markdown]
# At $w = 0$ the slope is −14.85.
# It is negative: with a larger $w$ the loss falls.
# So move $w$ *against* the slope, by a small number η (the **learning rate**) times the slope, and do it again from there:
#
# $$ w \leftarrow w - \eta\, L'(w) . $$
#
# This is **gradient descent**.
# With η = 0.02 the first step goes to $0 + 0.02 \cdot 14.85 = 0.297$.
# What should η be?
# Here are six steps with each of three.

# %% alt="Three panels of one parabola with the steps of gradient descent: at rate 0.02 the points walk down one side, at 0.12 they jump from side to side and come down, at 0.14 they jump from side to side and climb"
def descend(w, slope, lr, steps):
    path = [w]
    for _ in range(steps):
        path.append(path[-1] - lr * slope(path[-1]))
    return np.array(path)


fig, axes = figure(columns=3, height=2.9)
grid = np.linspace(-0.9, 2.9, 200)
for ax, lr in zip(axes, (0.02, 0.12, 0.14)):
    path = descend(0.0, slope, lr, steps=6)
    ax.plot(grid, [loss(w) for w in grid], color=COLORS["LINE"])
    ax.plot(path, [loss(w) for w in path], "o-", color=CYCLE[0], linewidth=1)
    ax.set(xlabel="w", title=f"η = {lr}")
    print(f"η = {lr}: " + ", ".join(f"{w:.2f}" for w in path))
    ax.set(ylim=(-1, 26))
axes[0].set_ylabel("loss (cm²)")
fig.suptitle("A rate that is too large climbs", x=0.012, ha="left")
fig

# %% [markdown]
# The smallest rate walks down one side, the middle one jumps across the bottom and still arrives, the largest ends higher with every step.
# Nothing in the formula warns of that.
# But for a parabola we can say exactly where it begins.
# Let $w^*$ be the bottom and λ the **curvature**, by how much the slope grows per unit of $w$; the slope is 0 at the bottom and grows evenly, so $L'(w) = \lambda\,(w - w^*)$, and one step gives
#
# $$
# \begin{aligned}
# w_{\text{new}} - w^* &= w - \eta\lambda\,(w - w^*) - w^* \\
# &= (1 - \eta\lambda)\,(w - w^*) .
# \end{aligned}
# $$
#
# Each step multiplies the distance to the bottom by $1 - \eta\lambda$.
# The distance shrinks if that number lies between −1 and 1: for **η between 0 and $2/\lambda$**, and for no other.
# Here λ is twice the mean of $x^2$, which is 15, so the limit is 0.133; at $1/\lambda$ one step would do.
# (A curve that is no parabola has another curvature at each place; near its bottom the limit is the one of the curvature there.)
#
# *In words:* [a step downhill](mathematics.ipynb#A-step-downhill).

# %%
curvature = 2 * (x * x).mean()
best = (x * y).mean() / (x * x).mean()
for lr in (0.02, 0.12, 0.14, 1 / curvature):
    path = descend(0.0, slope, lr, steps=6)
    factor = 1 - lr * curvature
    expected = (0 - best) * factor ** np.arange(7)
    np.testing.assert_allclose(path - best, expected, atol=1e-12)
    print(f"η = {lr:.3f}: the distance is multiplied by {factor:5.2f}, ", end="")
    print(f"after six steps it is {abs(path[-1] - best):.3f}")

# %% [markdown]
# ## Two numbers
#
# Now measure the length of the spring in place of the stretch.
# It has a length without any load, too, so the model has two numbers: $w\,x + b$.
# Each has a slope of its own, taken while the other is held still, a **partial derivative**:
#
# $$
# \begin{aligned}
# \frac{\partial L}{\partial w} &= \frac1N \sum_i 2\,(w x_i + b - y_i)\,x_i, \\
# \frac{\partial L}{\partial b} &= \frac1N \sum_i 2\,(w x_i + b - y_i) .
# \end{aligned}
# $$
#
# The vector of all partial derivatives is the **gradient**, written $\nabla L$.
# Descent is as before, for all numbers at once.
#
# *In words:* [gradients](mathematics.ipynb#Gradients).

# %%
lengths = np.array([2.6, 3.4, 4.7, 5.3])


def loss2(p, x=x):
    return ((p[0] * x + p[1] - lengths) ** 2).mean()


def gradient(p, x=x):
    error = p[0] * x + p[1] - lengths
    return np.array([(2 * error * x).mean(), (2 * error).mean()])


start = np.array([0.0, 3.0])
h = 1e-5 * np.eye(2)  # a step in w, a step in b
by_steps = [(loss2(start + step) - loss2(start - step)) / 2e-5 for step in h]
np.testing.assert_allclose(gradient(start), by_steps, atol=1e-8)
print(gradient(start).round(3))

# %% [markdown]
# Two numbers make a landscape, which a map with contours shows: along a line the loss is the same.

# %% alt="Contours of the loss over w and b: a long narrow valley. The path of gradient descent zigzags across it from the start, then creeps along its floor toward the minimum" tags=["hide-input"]
fig, ax = figure(height=3.9)
W, B = np.meshgrid(np.linspace(-0.8, 2.8, 200), np.linspace(1.1, 3.6, 200))
surface = ((W[..., None] * x + B[..., None] - lengths) ** 2).mean(-1)
ax.contour(W, B, surface, levels=np.geomspace(0.03, 12, 9), colors=COLORS["LINE"])
path = descend(start, gradient, lr=0.11, steps=60)
ax.plot(*path.T, "o-", color=CYCLE[0], linewidth=1, markersize=3)
ax.plot(*np.polyfit(x, lengths, 1), "*", color=COLORS["INK"], markersize=11)
ax.annotate("start", start, (-38, -4), textcoords="offset points")
ax.annotate("after 60 steps", path[-1], (8, 6), textcoords="offset points")
assert 0.1 < np.linalg.norm(path[-1] - np.polyfit(x, lengths, 1)) < 0.5
ax.set(xlabel="w (cm per kg)", ylabel="b (cm)", aspect="equal")
ax.set_title("Across the valley it jumps, along the valley it creeps")
fig

# %% [markdown]
# Each step leaves its contour at a right angle.
# Why that direction?
# A small step $\Delta$ changes the loss by about $\nabla L \cdot \Delta$ (each slope times its part of the step, summed), which is the length of the gradient times the length of the step times the cosine of the angle between them.
# Among steps of one length *on this map*, the loss falls most when the cosine is −1, straight against the gradient, and it does not change along the contour, where the cosine is 0.
# Count $w$ per 100 grams, and lengths and angles are others, and so is the direction.
#
# *Steepest* is not *best*, either.
# The star is where the bottom is, and the path does not point at it.
# Across the valley the curvature is 16.7, along it 0.3, and one rate has to do for both: the steep direction sets the limit, $2/16.7 = 0.120$, and the flat one then takes its time.

# %%
def curvatures(x):
    """Of the loss of a line, in its steepest and in its flattest direction."""
    second = 2 * np.array([[(x * x).mean(), x.mean()], [x.mean(), 1.0]])
    return np.linalg.eigvalsh(second)[::-1]


for name, inputs in (("x as it is", x), ("x minus its mean", x - x.mean())):
    steep, flat = curvatures(inputs)
    for rate, falls in ((1.98 / steep, True), (2.02 / steep, False)):  # around the limit
        end = descend(start, lambda p: gradient(p, inputs), rate, steps=400)[-1]
        assert (loss2(end, inputs) < loss2(start, inputs)) == falls
    p, steps, lowest = start, 0, loss2(np.polyfit(inputs, lengths, 1), inputs)
    while loss2(p, inputs) - lowest > 1e-6:
        p, steps = p - 2 / (steep + flat) * gradient(p, inputs), steps + 1
    print(f"{name}: curvatures {steep:.2f} and {flat:.2f}, {steps} steps")

# %% [markdown]
# (The curvatures are the eigenvalues of the matrix of second derivatives, which nothing later needs.
# The rate is $2/(\lambda_{\text{steep}} + \lambda_{\text{flat}})$, of all fixed ones the best for the worst start.)
# Both rows fit the same lines to the same points, from the same first line; only the number called $b$ is another one, the height of the line at the mean of $x$ in place of at 0.
# So the gradient is not a property of the problem alone: it depends on the coordinates in which the problem is written down.
# The norms of chapter 07 and the optimizers of chapter 08 can be read that way: as better coordinates, or a rate for each of them.
#
# Now the game of the beginning.
# A gradient by central differences needs two evaluations for each number: two hundred questions for a hundred hidden numbers, and then one step.

# %%
hidden = np.random.default_rng(0).uniform(-1, 1, 100)
guess, asked = np.zeros(100), 0
print(f"at the start, all 0: off by {((guess - hidden) ** 2).mean():.3f}")
downhill = np.zeros(100)
for i in range(100):
    step = 1e-4 * np.eye(100)[i]
    up, down = (((guess + s - hidden) ** 2).mean() for s in (step, -step))
    downhill[i], asked = (down - up) / 2e-4, asked + 2
guess = guess + 50 * downhill
print(f"{asked} questions, then off by {((guess - hidden) ** 2).mean():.3f}")

# %% [markdown]
# One step is enough because this valley is equally curved in all directions, with λ = 2/100, and 50 is $1/\lambda$.
# Real losses are not so kind.
#
# Blind guessing is a weak opponent, though.
# A better search tries a random step from its best guess so far, and keeps it if it helps.
# Give it as many questions, and the best of five step sizes.

# %%
def search(step, questions, rng):
    guess = np.zeros(100)
    off = ((guess - hidden) ** 2).mean()
    for _ in range(questions):
        tried = guess + step * rng.normal(size=100)
        if ((tried - hidden) ** 2).mean() < off:
            guess, off = tried, ((tried - hidden) ** 2).mean()
    return off


for questions in (200, 10_000):
    sizes = (0.01, 0.02, 0.05, 0.1, 0.2)
    found = [search(step, questions, np.random.default_rng(1)) for step in sizes]
    print(f"{questions:6} questions: off by {min(found):.3f}")

# %% [markdown]
# It gets there, but slowly.
# (The match is uneven: its answers are only *yes* or *no*, and its steps have one size, while the descent knew λ.
# With the slope along a random direction, and λ, each step would remove a hundredth of the error on average, as a random direction holds so much of it: after two hundred questions $0.377 \cdot 0.99^{100} = 0.138$ is left.
# The gradient has all hundred directions in it.)
#
# But with central differences, 1.6 million numbers would take 3.2 million runs of the model *for each step*.
# It has to be cheaper.
# What helps is that a model, unlike the game, is no sealed box: we know every operation by which its loss was computed.
#
# ## The chain rule on five nodes
#
# Here is a computation with two inputs, $a = 2$ and $b = 3$, cut into its single operations:
#
# $$ c = a b = 6, \quad d = c + a = 8, \quad L = \ln d = 2.079 . $$
#
# What is the slope of $L$ in $a$ (how fast does $L$ move when $a$ moves), and in $b$?
# For each single operation the slopes are in the table above; call them *local*.
# The **chain rule** joins them: if $c$ moves three times as fast as $a$, and $L$ moves ⅛ as fast as $c$, then $L$ moves ⅜ as fast as $a$ on this way.
# Slopes along a path are multiplied, and **where several paths lead from a number to the result, they are added**.
#
# *In words:* [chain rule](mathematics.ipynb#Chain-rule).

# %% alt="A graph of five nodes: a = 2 and b = 3 lead to c = ab = 6; c and a lead to d = 8; d leads to L = ln d = 2.079. Local slopes stand at the edges. Below each node its slope of L: L 1, d 0.125, c 0.125, b 0.25, a 0.5" tags=["hide-input"]
nodes = {  # place, formula, value, slope of L
    "a": (0, 1.5, "a", "2", "½"),
    "b": (0, 0, "b", "3", "¼"),
    "c": (1.55, 0, "c = ab", "6", "⅛"),
    "d": (3.1, 0.75, "d = c + a", "8", "⅛"),
    "L": (4.65, 0.75, "L = ln d", "2.079", "1"),
}
edges = [("a", "c", "3"), ("b", "c", "2"), ("c", "d", "1"), ("a", "d", "1"), ("d", "L", "⅛")]
fig, ax = figure(height=3.1)
for start_node, end_node, local in edges:
    (x0, y0), (x1, y1) = nodes[start_node][:2], nodes[end_node][:2]
    arrow = {"arrowstyle": "-|>", "color": COLORS["QUIET"], "shrinkA": 24, "shrinkB": 30}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
    middle = (x0 + 0.5 * (x1 - x0), y0 + 0.5 * (y1 - y0))
    ax.text(*middle, local, ha="center", va="center", backgroundcolor=COLORS["PAPER"])
for node_x, node_y, formula, value, back in nodes.values():
    box = {"boxstyle": "round,pad=0.4", "facecolor": COLORS["PAPER"], "edgecolor": CYCLE[0]}
    label = f"{formula}\n{value}" if "=" in formula else f"{formula} = {value}"
    ax.text(node_x, node_y, label, ha="center", va="center", bbox=box)
    ax.text(node_x, node_y - 0.42, back, ha="center", va="center", color=CYCLE[4])
ax.set(xlim=(-0.5, 5.2), ylim=(-0.6, 2.0))
ax.axis("off")
ax.text(2.2, 1.85, "below each node: the slope of L in it", color=CYCLE[4])
ax.set_title("Values go forward, slopes come back")
fig

# %% [markdown]
# Read the graph from right to left.
# $L$ moves as fast as itself: 1.
# The logarithm at 8 has the slope ⅛, so $d$ gets $1 \cdot ⅛$.
# A sum passes on what it gets: $c$ gets ⅛, and $a$ gets ⅛ by the long arrow.
# A product passes on the *other* factor: $b$ gets $⅛ \cdot 2 = ¼$, and $a$ gets $⅛ \cdot 3 = ⅜$ by the lower way.
# Together $a$ has $⅛ + ⅜ = ½$.
# Two evaluations say the same.

# %%
def five_nodes(a, b):
    c = a * b
    d = c + a
    return math.log(d)


print(f"in a: {numerical(lambda a: five_nodes(a, 3.0), 2.0):.6f}")
print(f"in b: {numerical(lambda b: five_nodes(2.0, b), 3.0):.6f}")

# %% [markdown]
# ## An autograd
#
# Every step of this was a rule, so a program can do it.
# Let a number remember what it was computed from, and the local slopes.
# Then follow every path from the result back to the inputs, multiply along the way, and add up at the end.

# %%
class Traced:
    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.grad = data, 0.0
        self.inputs, self.slopes = inputs, slopes

    def __add__(self, other):
        return Traced(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Traced(self.data * other.data, (self, other), (other.data, self.data))


def follow_paths(node, slope=1.0):
    """Add up the slopes of all paths that end here; returns how many visits it took."""
    node.grad += slope
    pairs = zip(node.inputs, node.slopes)
    return 1 + sum(follow_paths(source, slope * local) for source, local in pairs)


a, b = Traced(2.0), Traced(3.0)
follow_paths(a * b + a)
a.grad, b.grad

# %% [markdown]
# $ab + a$ has the slopes $b + 1 = 4$ and $a = 2$, and that is what came out.
# It hangs on one character.
# With `node.grad = slope` in place of `+=`, the path that comes last wins:

# %%
def keep_last_path(node, slope=1.0):
    node.grad = slope
    for source, local in zip(node.inputs, node.slopes):
        keep_last_path(source, slope * local)


a, b = Traced(2.0), Traced(3.0)
keep_last_path(a * b + a)
a.grad, b.grad

# %% [markdown]
# The gradient of $b$ is right, the one of $a$ is 1 in place of 4, and there is no error message.
# This is the classical bug of a first autograd, and it shows wherever a result is put to use twice.
# Every network of this book does so: a block of chapter 07 adds to what it was given what it computed from it, $x + f(x)$.
#
# The right version has another fault.
# How many paths are there if a number is doubled by `x = x + x` again and again?

# %%
for n in (5, 10, 15):
    end = Traced(1.0)
    for _ in range(n):
        end = end + end
    print(f"{n} doublings, {n + 1} nodes: {follow_paths(end)} visits")

# %% [markdown]
# With forty it would be two million million.
# There are only forty-one nodes, though.
# All paths that meet in a node share what comes before it, so let a node wait until *all* slopes from the right have arrived, add them up, and only then pass the sum on.
# For that the nodes need an order in which each stands after its inputs, a **topological order**; then go through it backward.
# Here is how to find one: put a node down when all of its inputs have been put down.

# %%
from tinyllm.autograd import Operators  # -, / and plain numbers on the left, from +, *, **

# %% tags=["quote"]
from tinyllm.autograd import inputs_first

# %% [markdown]
# The rest is what we had, with powers, exponential and logarithm.
# In `backward` a dictionary collects the slopes that have arrived so far; when the turn of a node comes, its own is complete.

# %% tags=["quote"]
from tinyllm.autograd import Value

# %% [markdown]
# That is an **autograd**: a program computes as always, and `backward` gives the slope of the result in every number that it came from.
# With the doublings it needs forty-one visits.

# %%
a, b = Value(2), Value(3)
result = (a * b + a).log()
result.backward()
print(f"L = {result.data:.3f}, slope in a {a.grad}, slope in b {b.grad}")

end = start_value = Value(1)
for _ in range(40):
    end = end + end
end.backward()
print(len(inputs_first(end)), "nodes, slope", start_value.grad, "=", 2**40)

# %% [markdown]
# The judge of an autograd is another one.
# PyTorch's is used by nearly everybody; we come to it below.
# Give both the same two thousand random graphs, in double precision.

# %%
def random_graph(seed, wrap):
    """A result computed from three inputs by fifteen random operations."""
    rng = np.random.default_rng(seed)
    nodes = inputs = [wrap(number) for number in rng.uniform(0.5, 1.5, 3)]
    for _ in range(15):
        u, v = (nodes[i] for i in rng.integers(len(nodes), size=2))
        kind = rng.integers(5)
        made = (u + v, u * v * 0.5, u / (v * v + 1), (u * u + 1).log(), (-u * u).exp() - v)
        nodes = [*nodes, made[kind]]
    return inputs, sum(nodes)


worst = 0.0
for seed in range(2000):
    ours, result = random_graph(seed, Value)
    result.backward()
    theirs, result = random_graph(seed, lambda n: torch.tensor(n, requires_grad=True))
    result.backward()
    expected = np.array([leaf.grad.item() for leaf in theirs])
    apart = abs(np.array([leaf.grad for leaf in ours]) - expected)
    worst = max(worst, (apart / (1 + abs(expected).max())).max())
assert worst < 1e-12
print("two thousand random graphs: the same gradients")

# %% [markdown]
# How much does it cost?
# `backward` multiplies and adds once at each arrow of the graph.
# So *all* slopes together cost a fixed multiple of what the value itself costs, however many numbers there are: one pass in place of two evaluations for each.
# (The other direction, from the inputs to the result, would take a pass for each input.)
# The method is **reverse-mode automatic differentiation**, or **backpropagation** {cite}`rumelhart1986`, and numerical analysis and machine learning came to it on separate ways {cite}`baydin2018`.
# Its price is memory: what the local slopes are made of has to be kept from the way forward until the way back.
#
# (p-minus-one-hot)=
# ## The gradient of a prediction
#
# The loss of a language model is no squared distance.
# Chapter 02 explains why; here is what is needed of it.
# A model gives each of $V$ possible next tokens a number $z_i$, a **logit**.
# The **softmax** makes probabilities of them, positive and with the sum 1, and the loss is $-\ln$ of the probability of the token $y$ that came:
#
# $$
# \begin{aligned}
# p_i &= \frac{e^{z_i}}{\sum_j e^{z_j}}, \\
# L &= -\ln p_y = \ln \sum_j e^{z_j} - z_y .
# \end{aligned}
# $$
#
# *In words:* [softmax](mathematics.ipynb#Softmax), [exponential and logarithm](mathematics.ipynb#Exponential-and-logarithm).
#
# Take the slope in one logit $z_i$.
# The logarithm gives $1 / \sum_j e^{z_j}$, times the slope of the sum, in which only $e^{z_i}$ moves, and its slope is $e^{z_i}$: together $p_i$.
# The second term gives −1 if $i$ is the token that came, and else 0.
# So
#
# $$ \frac{\partial L}{\partial z_i} = p_i - [i = y], $$
#
# where the bracket is 1 if $i = y$, and else 0.
# The gradient is the prediction minus the truth, if the truth is written as a vector with a 1 in one place, **one-hot**.
# By hand: the logits $(\ln 2, 0, 0)$ have the probabilities $(½, ¼, ¼)$.
# If the second token came, the gradient is $(½, -¾, ¼)$.
#
# *In words:* [the gradient of softmax and loss](mathematics.ipynb#The-gradient-of-softmax-and-loss).

# %%
z = [Value(math.log(2)), Value(0), Value(0)]
total = sum(zi.exp() for zi in z)
(total.log() - z[1]).backward()
print([round(zi.grad, 12) for zi in z])

# %% [markdown]
# Descent raises the logit of the token that came, and lowers all others, each in proportion to its probability.
# A token that came and had been predicted with certainty changes nothing.
# The three slopes sum to 0: their sum is how fast $L$ moves when all logits move together, and that changes no probability.
# And no slope is larger than 1 in size, however wrong the prediction is.
#
# ## Many numbers at once
#
# A model computes with millions of numbers, and a Python object for each would be far too slow.
# Nearly all that it does is of one kind: a sum of products.
# Let the rows of a matrix $X$ be $N$ inputs with $d$ numbers each, and the columns of a matrix $W$ be $m$ lists of $d$ factors.
# The **matrix product** $XW$ holds all $N \cdot m$ sums, each of a row times a column.
# In the first row, second column stands $1 \cdot 0 + 2 \cdot 2 = 4$:
#
# $$
# \underbrace{\begin{pmatrix} 1 & 2 \\ 3 & 4 \\ 5 & 6 \end{pmatrix}}_{X:\ (3,\,2)}
# \underbrace{\begin{pmatrix} 1 & 0 \\ -1 & 2 \end{pmatrix}}_{W:\ (2,\,2)}
# = \begin{pmatrix} -1 & 4 \\ -1 & 8 \\ -1 & 12 \end{pmatrix}
# $$
#
# A **tensor** is PyTorch's array, with any number of axes: it has a `shape` and a `dtype`, the kind of its numbers.
#
# *In words:* [matrix products](mathematics.ipynb#Matrix-products).

# %%
X = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
W = torch.tensor([[1.0, 0], [-1, 2]])
bias = torch.tensor([10.0, 20])
print(tuple(X.shape), X.dtype, tuple(bias.shape))
X @ W + bias

# %% [markdown]
# A matrix of shape (3, 2) plus a vector of shape (2,)?
# That is **broadcasting**.
# Write the shapes below each other, ends aligned; an axis that is missing or has length 1 is repeated to the length of the other one:
#
# | | rows | columns |
# |---|---|---|
# | `X @ W` | 3 | 2 |
# | `bias` | | 2 |
# | result | 3 | 2 |
#
# So the bias was added to each row.
# It is as handy as it is dangerous.
# Here are three predictions as a column and three targets as a plain vector, all of them right:

# %%
predictions = torch.tensor([[1.0], [2], [3]])  # (3, 1)
targets = torch.tensor([1.0, 2, 3])  # (3,)
error = predictions - targets
print(tuple(error.shape), f"loss {error.square().mean():.3f}")
error

# %% [markdown]
# The column was repeated three times, the vector too, and every prediction was compared with every target.
# The loss is 1.333 in place of 0, and there is no error message.
# Print shapes when a loss does not fall.
#
# What do slopes look like here?
# Let $G$ be the gradient of the loss in the result $Y = XW + \text{bias}$, of the same shape as $Y$.
# The weight $W_{ij}$ moves $Y_{nj}$ by $X_{ni}$, in every row $n$: it is used $N$ times, so its slopes add up.
# The bias $j$ moves each $Y_{nj}$ by 1.
#
# $$
# \begin{aligned}
# \frac{\partial L}{\partial W_{ij}} &= \sum_n X_{ni}\, G_{nj}, \\
# \frac{\partial L}{\partial\, \text{bias}_j} &= \sum_n G_{nj}, \\
# \frac{\partial L}{\partial X_{ni}} &= \sum_j G_{nj} W_{ij} .
# \end{aligned}
# $$
#
# As matrices these are $X^{\mathsf T} G$, the column sums of $G$, and $G W^{\mathsf T}$.
# What was copied by broadcasting is summed on the way back.
# (In the code, `detach` gives a tensor without its history, and `item`, further down, the plain number in it.)
#
# *In words:* [the gradient of a matrix product](mathematics.ipynb#The-gradient-of-a-matrix-product), [outer products](mathematics.ipynb#Outer-products).

# %%
X, W, bias = (t.double().requires_grad_() for t in (X, W, bias))
G = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
(G * (X @ W + bias)).sum().backward()  # a loss whose gradient in X @ W + bias is G
assert torch.allclose(W.grad, X.detach().T @ G, atol=1e-12)
assert torch.allclose(bias.grad, G.sum(0), atol=1e-12)
assert torch.allclose(X.grad, G @ W.detach().T, atol=1e-12)
print("the gradients of a matrix product are two matrix products")

# %% [markdown]
# And $p$ minus one-hot, for a whole batch: a loss that is the mean over $N$ predictions divides each row by $N$.

# %%
logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
came = torch.tensor([0, 3, 3, 8, 1, 5])
logits.requires_grad_()
F.cross_entropy(logits, came).backward()
by_hand = (logits.detach().softmax(-1) - F.one_hot(came, 9)) / 6
assert torch.allclose(logits.grad, by_hand, rtol=0, atol=1e-12)
print("(p − one-hot) / N")

# %% [markdown]
# ## The same in torch
#
# We have used it already: `requires_grad` says that a tensor's slopes are wanted, `backward` adds them to `.grad`.
# It is our `Value` with tensors in place of numbers; `backward` still starts from a single number, the loss.

# %%
a = torch.tensor(2.0, requires_grad=True)
b = torch.tensor(3.0, requires_grad=True)
(a * b + a).log().backward()
first = a.grad.item(), b.grad.item()
(a * b + a).log().backward()
first, (a.grad.item(), b.grad.item())

# %% [markdown]
# The second `backward` **added** to what was there, as ours does.
# Someone has to set the gradients to zero between two steps, and who forgets it descends along the sum of all gradients so far.
# (It is useful, too: if a sum over many examples does not fit into memory, its gradient can be added up part by part.)
#
# A step changes a tensor in place.
# Torch does not allow that as long as it records what happens:

# %% tags=["raises-exception"]
a -= 0.1 * a.grad

# %% [markdown]
# Under `torch.no_grad()` nothing is recorded.
# It is also the way to use a model without training it: no graph is kept, so it takes less memory and time.

# %%
with torch.no_grad():
    a -= 0.1 * a.grad
a.grad = None  # forget it
print(f"a = {a.item():.3f}, still wanted: {a.requires_grad}")

# %% [markdown]
# A tensor holds 32-bit numbers unless told otherwise, with about seven digits.
# That is plenty for training; for the habit from above it asks for a larger step.

# %%
for dtype, h in ((torch.float32, 1e-5), (torch.float32, 5.0), (torch.float64, 1e-5)):
    by_steps = numerical(f, torch.tensor(1000.0, dtype=dtype), h).item()
    print(f"{str(dtype):13} h = {h:<5}: slope of x² at 1000 is {by_steps:.3f}")
one = torch.tensor(1.0, dtype=torch.float32)
assert 1e-6 < abs(numerical(torch.exp, one, 5e-3).item() - math.e) < 3e-4
assert abs(numerical(torch.exp, one.double(), 6e-6).item() - math.e) < 1e-9

# %% [markdown]
# The nearest number of 32 bits to 1000 + 0.00001 is 1000.
# A good $h$ is about the cube root of the precision, times $|x|$ or 1, whichever is larger: 0.005 times that in 32 bits, 0.000006 times it in 64.
# For $x^2$ a central difference has no error but rounding; for $e^x$, say, only some four digits are right in 32 bits, and ten in 64; so gradients are checked in `float64`.
#
# Three classes keep order among the parameters of a model.
# An `nn.Parameter` is a tensor that wants gradients.
# An `nn.Module` finds all parameters that were put into its attributes, also those of modules inside it; what it computes stands in `forward`.
# And `nn.Linear(d, m)` is the module for $XW + \text{bias}$.

# %%
class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x + self.b


linear = nn.Linear(2, 3)
some = torch.randn(5, 2, generator=torch.Generator().manual_seed(2))
assert torch.allclose(linear(some), some @ linear.weight.T + linear.bias, atol=1e-6)
print([name for name, _ in Line().named_parameters()])
print({name: tuple(p.shape) for name, p in linear.named_parameters()})

# %% [markdown]
# Mind the shape: `nn.Linear(2, 3)` stores its matrix as (3, 2), outputs first, and multiplies by the transpose.
#
# What is left of gradient descent goes into an **optimizer**.
# It is given the parameters; `step` moves each against its `.grad`, and `zero_grad` clears the gradients.
# The plainest one is `SGD`, and if all is as we believe, it takes our own steps on the spring, to twelve decimals.

# %%
line = Line()
optimizer = torch.optim.SGD(line.parameters(), lr=0.11)
inputs, answers = torch.from_numpy(x), torch.from_numpy(lengths)
for ours in descend(start, gradient, lr=0.11, steps=60):
    theirs = [line.w.item(), line.b.item()]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12)
    error = (line(inputs) - answers).square().mean()  # forward: values, and the graph
    optimizer.zero_grad()  # forget the gradients of the last step
    error.backward()  # back through the graph: every parameter gets its slope
    optimizer.step()  # every parameter moves against its slope
print(f"after 60 steps w = {theirs[0]:.3f}, b = {theirs[1]:.3f}, as by hand")

# %% [markdown]
# These four lines (forward, `zero_grad`, `backward`, `step`) are in every training of this book.
# What changes is the model, the loss, the optimizer, and what is done to the gradient and the rate before a step.
# The S in SGD stands for *stochastic*: each step takes a few random pieces of a large text, a **batch**, whose gradient is on average about that of the whole text.
# The other optimizers, Adam for one, use the same gradients and take another step; chapter 08 builds them.
#
# (gradient-of-a-lookup)=
# ## The gradient of a lookup
#
# Chapter 04 will replace a dictionary by one that answers almost.
# Now we can say what that is for.
# A dictionary that answers with its best match is a staircase: flat, with jumps.
# Its slope is 0 or does not exist, and a number with the slope 0 does not learn.
#
# Take a soft dictionary with two keys, $k = -1$ and $k = 1$, and the values 0 and 1.
# A query $q$ gets the mean of the values with the weights
#
# $$
# \begin{aligned}
# w_j &= \frac{e^{\beta q k_j}}{\sum_i e^{\beta q k_i}}, \\
# \text{answer} &= \sum_j w_j v_j ,
# \end{aligned}
# $$
#
# where β, the **inverse temperature**, says how sharply it decides.
# A smoother with a Gaussian kernel, $w_j \propto e^{-(q - k_j)^2 / 2h^2}$, takes a mean of the same values, measured at the places $k_j$.
# Multiply the square out: $q^2$ is the same for both keys, and so is $k_j^2 = 1$, so what remains is $e^{q k_j / h^2}$, the same weights with $\beta = 1/h^2$.
# How does the answer move when the query moves?
#
# *In words:* [attention](mathematics.ipynb#Attention), [kernels](mathematics.ipynb#Kernels).

# %%
KEYS, VALUES = (-1.0, 1.0), (0.0, 1.0)


def mean_of(weights):
    total = sum(weights)
    return sum(w / total * v for w, v in zip(weights, VALUES))


def lookup(q, beta):
    return mean_of([(beta * q * k).exp() for k in KEYS])


def smoother(q, h):
    return mean_of([((q - k) ** 2 * (-1 / (2 * h * h))).exp() for k in KEYS])


for q in (0.0, 0.3, 1.0):
    one, other = Value(q), Value(q)
    found, smoothed = lookup(one, beta=4.0), smoother(other, h=0.5)
    found.backward()
    smoothed.backward()
    assert math.isclose(found.data, smoothed.data, rel_tol=1e-12)
    assert math.isclose(one.grad, other.grad, rel_tol=1e-9)
    assert math.isclose(one.grad, 4 * 2 * found.data * (1 - found.data), rel_tol=1e-9)
    print(f"q = {q}: answer {found.data:.3f}, slope {one.grad:.3f}")

# %% [markdown]
# By hand: the answer is the weight of the second key, $p = 1 / (1 + e^{-2\beta q})$, and its slope is $2\beta\,p\,(1-p)$.
# At $q = 0$ both keys weigh ½, and the slope is $2 \cdot 4 \cdot ¼ = 2$.
# The last of the assertions holds the autograd to that formula.
#
# :::{two-views}
#
# - **As a lookup.** The slope is large where two keys compete for the query, $p$ near ½, and nearly 0 where one has won.
#   The sharper the lookup, the fewer queries lie where it has a slope.
# - **As a smoother.** The slope is that of a smooth curve which follows the measurements.
#   It is large where two keys with different values are about equally near, however far away they are.
#   The stretch on which it turns is about $h^2$ over the distance of the two keys (here $h^2/2$), so with the bandwidth it narrows to a staircase, and faster than the bandwidth does.
#
# :::
#
# Chapter 04 derives the general form, for any keys and values: β times the *covariance* of keys and values under the weights.
# How the slope depends on β can be seen here already.

# %% alt="Two panels over the query: the answer of a soft dictionary, a smooth step that gets sharper with beta; and its slope, a bump at the middle that gets higher and narrower with beta and is near zero elsewhere"
fig, axes = figure(columns=2, height=2.9)
queries = np.linspace(-1.5, 1.5, 301)
for beta, style in ((1.0, ":"), (4.0, "--"), (16.0, "-")):
    found, slopes = [], []
    for q in queries:
        query = Value(q)
        answer = lookup(query, beta)
        answer.backward()
        found.append(answer.data)
        slopes.append(query.grad)
    axes[0].plot(queries, found, style, color=COLORS["LOOKUP"], label=f"β = {beta:g}")
    axes[1].plot(queries, slopes, style, color=COLORS["LOOKUP"])
    assert math.isclose(max(slopes), beta / 2, rel_tol=1e-9)
    one_stretch = np.interp(1 / (2 * beta), queries, slopes)  # h² / 2 from the middle
    assert 0.7 < one_stretch / max(slopes) < 0.85
    assert math.isclose(np.trapezoid(slopes, queries), found[-1] - found[0], rel_tol=1e-3)
axes[0].set(xlabel="query q", ylabel="answer")
axes[1].set(xlabel="query q", ylabel="slope of the answer")
axes[0].legend()
fig.suptitle("A sharper lookup has its slope at fewer queries", x=0.012, ha="left")
fig

# %% [markdown]
# The area under a slope is the rise of the answer, 1 for each β (of β = 1 a part lies outside of the picture).
# So a larger β does not give more slope, it puts the same amount into a shorter stretch of queries.
#
# (product-of-slopes)=
# ## A product of slopes
#
# A deep model is a long chain, and a chain multiplies its slopes.
# Thirty slopes of 0.8 make 0.001, thirty of 1.25 make 808.
# The same happens with vectors.
# Let thirty layers multiply by random 64 × 64 matrices, and send a gradient of length 1 back through them.
# Their entries are random, with a root mean square of $g/8$; a sum of 64 products with them has $64\,g^2/64$ times the mean square of what came, so one layer multiplies the squared length by $g^2$ on average.

# %% alt="Length of a gradient on a logarithmic axis against the number of layers it went back through: a rising line for g 1.25 up to about a thousand, a level one for g 1, a falling one for g 0.8 down to a thousandth"
fig, ax = figure(height=3.2)
for g, color in zip((0.8, 1.0, 1.25), (CYCLE[2], CYCLE[3], CYCLE[4])):
    runs = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        gradient_back = F.normalize(torch.randn(64, generator=generator), dim=0)
        runs.append([1.0])
        for _ in range(30):
            matrix = g / 8 * torch.randn(64, 64, generator=generator)
            gradient_back = matrix @ gradient_back
            runs[-1].append(gradient_back.norm().item())
    runs = np.array(runs)
    ax.semilogy(runs.mean(0), color=color)
    ax.fill_between(range(31), runs.min(0), runs.max(0), color=color, alpha=0.2)
    ax.annotate(f"g = {g:g}", (30.4, runs[:, -1].mean()), color=color, va="center")
    assert (abs(np.log(runs[:, -1] / g**30)) < 1).all()
ax.set(xlabel="layers on the way back", ylabel="length of the gradient", xlim=(0, 34))
ax.set_title("Thirty layers: a thousandth, or a thousand times")
fig

# %% [markdown]
# The bands are five seeds, with the same draws for each $g$.
# The gradient **vanishes** or **explodes**, exponentially in the depth, unless each layer passes on about what it gets; the classical analysis is of one matrix, repeated over many steps of time {cite}`pascanu2013`.
#
# That is the gradient in what a layer was *given*.
# The gradient in its matrix is, as above, a product of two things: what came forward and what came back.
# Guess: in which layer is it smallest?

# %%
for g in (0.8, 1.25):
    logs = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        given, back = F.normalize(torch.randn(2, 64, generator=generator), dim=1)
        layers = g / 8 * torch.randn(30, 64, 64, generator=generator)
        layers.requires_grad_()
        for matrix in layers:
            given = matrix @ given
        (back @ given).backward()
        logs.append(layers.grad.norm(dim=(1, 2)).log().numpy())
    of_layer = np.exp(np.mean(logs, axis=0))
    assert of_layer.max() < 3 * of_layer.min()
    shown = ", ".join(f"{size:.3g}" for size in of_layer[[0, 14, 29]])
    print(f"g = {g}: gradients of layers 1, 15 and 30: {shown}; g^29 = {g**29:.3g}")

# %% [markdown]
# In none: what has shrunk 29 times, partly on the way forward and partly on the way back, has shrunk 29 times in all.
# With plain descent all matrices learn next to nothing, or all get steps that are too large.
# (A bias has only the way back in its gradient, and there the early layers do fall behind or run away.)
# For the matrices that happens where something holds the lengths on the way *forward* (a norm, a function that cannot grow): then the early layers fall behind the late ones, or run away from them.
# Chapter 07 has a cure: layers that *add* to what they are given, so that one of the paths back has the slope 1 all the way.
#
# :::{why-it-works}
#
# On a parabola every step against the slope with η below $2/\lambda$ comes nearer to the bottom, and with η above it none does.
# The chain rule gives all slopes in one pass backward, equal to central differences and to torch's.
# `step` is the update that we did by hand.
#
# :::
#
# :::{why-it-might}
#
# That descent finds *good* numbers for a deep model was not shown.
# It can end in a poor valley; at a pass between valleys it can be slow, but with a small enough rate almost no start ends there {cite}`lee2016`.
# One hypothesis is that poor valleys are rare when there are very many numbers, since each one more is one more way down, and that passes, by their slowness, are the true obstacle; there are arguments from random functions and measurements on small networks for it {cite}`dauphin2014`.
# That it works at all for language models is known from doing it.
#
# :::
#
# ## What to take along
#
# | by hand | in torch |
# |---|---|
# | a number that remembers its inputs | a tensor with `requires_grad` |
# | values forward, slopes back, each node once | `loss.backward()` |
# | slopes of several uses add up | `.grad` adds up, until `zero_grad()` |
# | $w \leftarrow w - \eta\,\partial L / \partial w$ | `optimizer.step()` |
# | two evaluations, as a check | in `float64`, with $h$ in proportion to $x$, or to 1 |
# | prediction minus truth, $p - \text{one-hot}$ | what `cross_entropy` sends back |
#
# **Exercises.** [The sheet of this chapter](../exercises/gradients.ipynb) has you take slopes by hand, repair a backward pass, add an operation and find the largest rate.
#
# **Further reading.** {cite}`rumelhart1986` made backpropagation known, in four pages; {cite}`baydin2018` surveys the methods and their history; {cite}`micrograd` is an autograd of about the same size with a neural network on top, and the model for ours.
