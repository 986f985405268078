# %% [markdown]
# # Exercises: A whole language model in the Python standard library
#
# Five questions: on letters, on bytes, on memory, on a cache in two places, on a backward pass.
# None needs a library, and lists are welcome.
# Write your answer into the function, run its cell, then run the check below it.
# A check tells you what is wrong, not what is right; `check.hint("q1")` opens one hint at a time.

# %%
import math
import unicodedata

from course.check import sheet

check = sheet("standalone")

# %% [markdown]
# {{q1}}
#
# GPT-2's pattern tells *letters* (`\p{L}`), *numbers* (`\p{N}`) and everything else apart, in all scripts.
# Write the kind of each character of a text below it: `L`, `N`, or a dot for any other.
# `"Ⅳ. ½ é?"` gives `"N..N.L."`.

# %% tags=["answer"]
def kinds(text: str) -> str:
    """One sign for each character: L for a letter, N for a number, a dot for others."""
    categories = (unicodedata.category(char)[0] for char in text)
    return "".join(category if category in "LN" else "." for category in categories)


# %%
check("q1")

# %% [markdown]
# {{q2}}
#
# `struct.unpack("<e", two)` reads a half float.
# Do what it does, by arithmetic: one sign bit, five bits of exponent $e$, ten bits of fraction $f$, in two bytes of which the lower one comes first.
# For $e$ from 1 to 30 the value is $\pm 2^{e-15}(1 + f/1024)$.
# For $e = 0$ there is no leading 1, and the exponent is that of $e = 1$: $\pm 2^{-14} \cdot f/1024$.
# For $e = 31$ the value is infinite if $f$ is 0, and else not a number.

# %% tags=["answer"]
def half(two: bytes) -> float:
    """The number that two bytes hold as a half float, the lower byte first."""
    bits = two[0] + 256 * two[1]
    sign, e, f = -1 if bits >> 15 else 1, bits >> 10 & 31, bits & 1023
    if e == 31:
        return math.nan if f else sign * math.inf
    if e == 0:
        return sign * 2**-14 * f / 1024
    return sign * 2 ** (e - 15) * (1 + f / 1024)


# %%
check("q2")

# %% [markdown]
# {{q3}}
#
# In C there are no lists that grow.
# A cache is one block of memory that is asked for once, with room for every token that the model can see:
#
# ```c
# float *cache = malloc(...);   // keys and values [n_layer][2][n_head][T][d_head]
# ```
#
# The axes are those of the comment, the last one runs fastest; of the axis with two places the first is for keys, the second for values.
# How many bytes are asked for (a `float` has four), and at which index $i$ of `cache[i]` does channel `c` stand, of the key (`which` = 0) or value (1) of the token at place `t`, in this `head` of this `layer`?
# All places count from 0.

# %% tags=["answer"]
def in_c(
    sizes: tuple[int, int, int, int], layer: int, which: int, head: int, t: int, c: int
) -> tuple[int, int]:
    """Bytes of the whole cache, and the index of one of its floats.

    sizes are n_layer, n_head, T, d_head.
    """
    n_layer, n_head, T, d_head = sizes
    index = (((layer * 2 + which) * n_head + head) * T + t) * d_head + c
    return 4 * n_layer * 2 * n_head * T * d_head, index


# %%
check("q3")

# %% [markdown]
# {{q4}}
#
# A long cache is kept in two places, say on two machines.
# Each compares the query with its own keys only, and reports three things: its largest score $m$, the sum $z = \sum_j e^{s_j - m}$ over its keys, and its own answer, the mean of its values under its own weights.
# What is the answer over *all* keys?
# Scores may be in the thousands, where $e^s$ is too large for a float.

# %% tags=["answer"]
def merge(
    first: tuple[float, float, list[float]], second: tuple[float, float, list[float]]
) -> list[float]:
    """The answer over all keys, from (largest score, sum of exps, answer) of each half."""
    largest = max(first[0], second[0])
    # The weight of each half is its sum, counted from one largest score for both.
    a, b = (z * math.exp(m - largest) for m, z, _ in (first, second))
    return [(a * x + b * y) / (a + b) for x, y in zip(first[2], second[2])]


# %%
check("q4")

# %% [markdown]
# {{q5}}
#
# Newer models use a norm that subtracts no mean: $y_i = g_i\, x_i / r$ with $r = \sqrt{\tfrac1C \sum_j x_j^2 + \varepsilon}$ and $\varepsilon = 10^{-5}$.
# Write its backward pass: from one vector $x$, the gain $g$ and the slope of the loss with respect to each $y_i$, find the slope with respect to each $x_i$ and each $g_i$.
# Find the formula with a pencil first: how does $r$ change with $x_j$?

# %% tags=["answer"]
def rms_back(
    x: list[float], gain: list[float], d: list[float]
) -> tuple[list[float], list[float]]:
    """The slopes of the loss in x and in the gain, from d, that in y."""
    C = len(x)
    r = math.sqrt(sum(value * value for value in x) / C + 1e-5)
    z = [value / r for value in x]
    d_gain = [slope * value for slope, value in zip(d, z)]
    d_z = [slope * g for slope, g in zip(d, gain)]
    # r moves by x_j / (C r) with x_j, and every z_i by -z_i / r with r.
    along = sum(slope * value for slope, value in zip(d_z, z)) / C
    return [(slope - along * value) / r for slope, value in zip(d_z, z)], d_gain


# %%
check("q5")
