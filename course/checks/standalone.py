"""The questions of the appendix on the standard library: letters, half floats, memory, two caches, a norm."""

import math
import random
import struct
import unicodedata

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, count, equal, is_a


def _as_list(answer):
    return answer.tolist() if isinstance(answer, (np.ndarray, torch.Tensor)) else answer


# q1


def plain_texts(seed):
    yield (("The cat, 2 of 3.", "don't\n stop 1984", "x_1 = y2;")[seed % 3],)


def foreign_letters(seed):
    yield (("Léa naïve façade", "Привет, мир", "東京 タワー", "مرحبا", "ªº ʰ ǅ")[seed % 5],)
    yield ("一二三 五",)  # they mean numbers, and are letters


def other_numbers(seed):
    yield (("½ ¾", "x² y³", "Ⅳ ⅷ", "٣٤٥", "①②")[seed % 5],)
    yield ("₂½Ⅻ㊀",)


def other_signs(seed):
    yield (("a🙂b", "e\u0301", "क्षि", "_-+<", "a\u200db")[seed % 5],)
    yield ("$\u0300\n\xa0—",)


def _kinds(text, letter, number):
    return "".join("L" if letter(c) else "N" if number(c) else "." for c in text)


def kinds_of(inputs, answer):
    (text,) = inputs
    is_a(answer, str, "the kinds")
    if len(answer) != len(text):
        raise Wrong(f"one sign for each character: {text!r} has {count(len(text), 'character')}, "
                    f"and yours gives {count(len(answer), 'sign')}")
    strange = sorted(set(answer) - set("LN."))
    if strange:
        raise Wrong(f"the kinds are written L, N and a dot; yours has {strange[0]!r}")
    for place, (char, mine) in enumerate(zip(text, answer)):
        category = unicodedata.category(char)
        right = category[0] if category[0] in "LN" else "."
        if mine == right:
            continue
        name = f"{char!r}, {unicodedata.name(char, 'a control character').lower()},"
        if right == "L" and mine == "." and not char.isascii():
            raise Wrong(f"{name} is a letter of another alphabet than the English one")
        if right == "L":
            raise Wrong(f"{name} has a value as a number, but Unicode's category of it is that of a letter"
                        if char.isnumeric() else f"{name} is a letter")
        if right == "N" and mine == ".":
            raise Wrong(f"{name} is a number; `isdigit` and `isdecimal` do not know all of them"
                        if not char.isdecimal() else f"{name} is a number")
        if right == "N":
            raise Wrong(f"{name} is a number, not a letter")
        if category[0] == "M":
            raise Wrong(f"{name} is a mark that goes with a letter, and no letter itself")
        raise Wrong(f"{name} is neither a letter nor a number")


# q2


def _bits(sign, e, f):
    return struct.pack("<H", sign << 15 | e << 10 | f)


def ordinary_halves(seed):
    rng = random.Random(seed)
    for _ in range(6):
        yield (_bits(rng.randrange(2), rng.randrange(1, 31), rng.randrange(1, 1024)),)
    yield (_bits(seed % 2, 15, 0),)


def small_halves(seed):
    rng = random.Random(10 + seed)
    yield (_bits(seed % 2, 0, rng.randrange(1, 1024)),)
    yield (_bits(0, 0, 1),)
    yield (_bits(0, 0, 0),)


def endless_halves(seed):
    yield (_bits(seed % 2, 31, 0),)
    yield (_bits(0, 31, 1 + seed),)


def _half(bits, bias=15, leading=1.0):
    sign, e, f = -1 if bits >> 15 else 1, bits >> 10 & 31, bits & 1023
    return sign * 2.0 ** (e - bias) * (leading + f / 1024)


def half_float(inputs, answer):
    (two,) = inputs
    (right,), (bits,), (turned,) = (struct.unpack(letter, two) for letter in ("<e", "<H", ">e"))
    e, f = bits >> 10 & 31, bits & 1023
    what = f"the value of the bytes {two.hex(' ')}"
    is_a(answer, float, what)
    answer = float(answer)
    if math.isnan(right):
        if not math.isnan(answer):
            raise Wrong(f"{what}: e = 31 with a fraction is not a number; yours is {answer:g}")
        return
    if answer == right:
        return
    known = {
        "the sign is that of the uppermost bit": -right,
        "the bytes are the other way round: the lower one comes first": turned,
        "the 1 in front of the fraction is missing": _half(bits, leading=0.0),
        "the exponent is counted from 15, not from 16": _half(bits, bias=16),
        "the exponent is counted from 15, not from 14": _half(bits, bias=14),
        "the exponent is counted from 15, not from 0": _half(bits, bias=0),
        "the fraction has ten bits, so it is counted in 1/1024":
            math.copysign(2.0 ** (e - 15) * (1 + f / 1023), right),
    }
    if e == 0:
        known = {
            "for e = 0 there is no 1 in front of the fraction": _half(bits),
            "for e = 0 the exponent is that of e = 1": _half(bits, leading=0.0),
            "for e = 0 the exponent is that of e = 1, and there is no 1 in front of the fraction":
                _half(bits, bias=14),
            "the sign is that of the uppermost bit": -right,
            "the bytes are the other way round: the lower one comes first": turned,
        }
    if e == 31:
        known = {"e = 31 is no ordinary exponent: without a fraction the value is infinite": _half(bits)}
    for says, wrong in known.items():
        if answer == wrong:
            raise Wrong(f"{what}: {says}")
    if math.isinf(right):
        raise Wrong(f"{what}: with e = 31 and no fraction the value is infinite; yours is {answer:g}")
    if right and abs(answer / right - 1) < 1e-3:
        raise Wrong(f"{what} is near, but each half float is an exact binary number; yours is {answer!r}")
    raise Wrong(f"{what} is {'too large' if answer > right else 'too small'} (yours: {answer:g})")


# q3


def one_head(seed):
    T, d = 5 + seed, 3 + seed
    yield ((1, 1, T, d), 0, 0, 0, 2 + seed, 1 + seed)
    yield ((1, 1, T, d), 0, 1, 0, 1, 0)


def many_heads(seed):
    rng = random.Random(seed)
    for _ in range(4):
        sizes = n_layer, n_head, T, d = (rng.randrange(2, 7), rng.randrange(2, 5), 6 + rng.randrange(5), 4 + seed)
        yield (sizes, rng.randrange(1, n_layer), rng.randrange(2), rng.randrange(1, n_head),
               rng.randrange(1, T), rng.randrange(1, d))


def _pair(answer):
    answer = _as_list(answer)
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two numbers are asked for, bytes and an index; yours returned {count(len(answer), 'number')}")
    for what, number in zip(("the number of bytes", "the index"), answer):
        is_a(number, int, what)
    return [int(number) for number in answer]


def cache_bytes(inputs, answer):
    (n_layer, n_head, T, d), *_ = inputs
    floats = n_layer * 2 * n_head * T * d
    equal(_pair(answer)[0], 4 * floats, "the number of bytes", mistakes={
        "this is the number of floats; `malloc` counts bytes": floats,
        "this has room for keys or for values, not for both": 2 * floats,
        "a float has four bytes, not eight": 8 * floats,
        "this is the share of one layer": 4 * floats // n_layer,
        "this is the share of one head": 4 * floats // n_head,
        "this is the share of one token": 4 * floats // T,
    })


def cache_index(inputs, answer):
    (n_layer, n_head, T, d), layer, which, head, t, c = inputs
    right = (((layer * 2 + which) * n_head + head) * T + t) * d + c
    mine = _pair(answer)[1]
    known = {
        "C multiplies an index by the size of a float itself: yours is in bytes": 4 * right,
        "one step along the layers passes over keys and values, twice as many floats":
            (((layer + which) * n_head + head) * T + t) * d + c,
        "heads come before the places t here, and the places run faster":
            (((layer * 2 + which) * T + t) * n_head + head) * d + c,
        "the first axis runs fastest here; in C it is the last":
            (((c * T + t) * n_head + head) * 2 + which) * n_layer + layer,
        "the axis for keys and values stands right after the layers":
            (((which * n_layer + layer) * n_head + head) * T + t) * d + c,
        "this counts places from 1": right + d,
        "this is the place within its head; heads, keys and values, and layers come before it": t * d + c,
        "the layer is not counted": ((which * n_head + head) * T + t) * d + c,
        "an index is multiplied by the sizes of the axes behind its own, not by that of its own":
            layer * n_layer + which * 2 + head * n_head + t * T + c * d,
    }
    for says, wrong in known.items():
        if mine == wrong != right:
            raise Wrong(says)
    floats = n_layer * 2 * n_head * T * d
    if not 0 <= mine < floats:
        raise Wrong(f"index {mine} lies outside of the {floats:,} floats of the cache {(n_layer, 2, n_head, T, d)}")
    if mine != right:
        raise Wrong(f"index {mine} of a cache {(n_layer, 2, n_head, T, d)} belongs to "
                    f"{tuple(int(i) for i in np.unravel_index(mine, (n_layer, 2, n_head, T, d)))}, and asked for is "
                    f"{(layer, which, head, t, c)}")


# q4


def _report(scores, values):
    largest = max(scores)
    exps = [math.exp(s - largest) for s in scores]
    z = sum(exps)
    means = [sum(e * v[i] for e, v in zip(exps, values)) / z for i in range(len(values[0]))]
    return round(largest, 2), round(z, 2), [round(x, 2) for x in means]


def _halves(rng, n, m, shift):
    values = [[rng.gauss(0, 1) for _ in range(3)] for _ in range(n + m)]
    scores = [rng.gauss(0, 1) + (shift if i < n else 0) for i in range(n + m)]
    return _report(scores[:n], values[:n]), _report(scores[n:], values[n:])


def equal_largest(seed):
    rng = random.Random(seed)
    for n, m in ((2, 2), (1, 4 + seed)):
        values = [[rng.gauss(0, 1) for _ in range(2)] for _ in range(n + m)]
        yield _report([0.0] * n, values[:n]), _report([0.0] * m, values[n:])


def other_largest(seed):
    rng = random.Random(20 + seed)
    for shift in (1.5, -2.0):
        yield _halves(rng, 3, 2 + seed, shift)


def large_scores(seed):
    rng = random.Random(40 + seed)
    for shift in (1.0, -1.0):
        first, second = _halves(rng, 2 + seed, 3, shift)
        yield (first[0] + 2000, *first[1:]), (second[0] + 2000, *second[1:])
    first, second = _halves(rng, 2, 3, 0.0)
    yield (first[0] + 3000, *first[1:]), second


def merged(inputs, answer):
    first, second = inputs

    def mean(a, b):
        return [(a * x + b * y) / (a + b) for x, y in zip(first[2], second[2])]

    largest = max(first[0], second[0])
    a, b = (z * math.exp(m - largest) for m, z, _ in inputs)
    answer = _as_list(answer)
    if isinstance(answer, tuple):
        answer = list(answer)
    if isinstance(answer, list) and len(answer) == 3 and isinstance(answer[2], (list, tuple)):
        raise Wrong("only the answer over all keys is asked for, a list of numbers; yours is a report of three")
    turned = [z * math.exp(largest - m) if largest - m < 700 else math.inf for m, z, _ in inputs]
    known = {
        "both halves count alike, whatever their scores and the number of their keys": mean(1, 1),
        "each sum is counted from the largest score of its own half: make them comparable first":
            mean(first[1], second[1]),
        "the largest scores alone say nothing of how many keys there are": mean(a / first[1], b / second[1]),
        "the half with the lower scores got the larger weight": mean(*turned) if max(turned) < math.inf else None,
        "this is a sum of answers, not their mean": [x + y for x, y in zip(first[2], second[2])],
        "the weights of the two halves sum to more than 1": [a * x + b * y for x, y in zip(first[2], second[2])],
        "the two halves have exchanged their weights": mean(b, a),
        "only the half with the largest score counts here; the other one has keys, too":
            (first if first[0] > second[0] else second)[2],
    }
    close(answer, mean(a, b), "the answer", axes=("channel",), rtol=1e-6, atol=1e-9,
          mistakes={says: wrong for says, wrong in known.items() if wrong is not None})


# q5


def _vectors(rng, C):
    return ([round(rng.gauss(0.5, 2), 1) for _ in range(C)] for _ in range(2))


def unit_gains(seed):
    rng = random.Random(seed)
    for C in (2, 3 + seed):
        x, d = _vectors(rng, C)
        yield x, [1.0] * C, d
    yield [round(value / 1000, 4) for value in x], [1.0] * C, d  # so small that ε counts


def any_gains(seed):
    rng = random.Random(30 + seed)
    for C in (4, 5 + seed):
        x, d = _vectors(rng, C)
        gain = [round(rng.uniform(0.5, 2), 1) for _ in range(C)]
        yield x, gain, d
    yield [round(value / 1000, 4) for value in x], gain, d


def _slopes(inputs):
    x, gain = (torch.tensor(numbers, dtype=torch.float64, requires_grad=True) for numbers in inputs[:2])
    y = x / (x.square().mean() + 1e-5).sqrt() * gain
    return [slope.tolist() for slope in torch.autograd.grad(y, [x, gain], torch.tensor(inputs[2], dtype=y.dtype))]


def _two(answer):
    answer = _as_list(answer)
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two lists are asked for, the slopes in x and in the gain; yours returned "
                    f"{count(len(answer), 'thing')}")
    return [list(part) if isinstance(part, tuple) else part for part in map(_as_list, answer)]


def gain_slope(inputs, answer):
    x, gain, d = inputs
    r = math.sqrt(sum(v * v for v in x) / len(x) + 1e-5)
    right = _slopes(inputs)[1]
    close(_two(answer)[1], right, "the slope in the gain", axes=("channel",), rtol=1e-5, atol=1e-6, mistakes={
        "the slope in the gain is multiplied by the normed vector, not by x": [a * b for a, b in zip(d, x)],
        "the slope in the gain does not depend on the gain": [a * b for a, b in zip(right, gain)],
        "this is the slope in y; y moves with the gain as fast as the normed vector says": list(d),
        "this is the sum over the channels; each has a gain of its own": [sum(right)] * len(x),
        "the norm divides by r, once": [a * b / r / r for a, b in zip(d, x)],
        **_other_norms(lambda r: [a * b / r for a, b in zip(d, x)], x),
    })


def _other_norms(slope, x):
    """What two wrong r give."""
    squares = sum(v * v for v in x)
    return {
        "the ε under the root is missing": slope(math.sqrt(squares / len(x))),
        "r is the root of the mean of the squares, not of their sum": slope(math.sqrt(squares + 1e-5)),
        "ε stands under the root": slope(math.sqrt(squares / len(x)) + 1e-5),
    }


def x_slope(inputs, answer):
    x, gain, d = inputs
    C, right = len(x), _slopes(inputs)[0]
    r = math.sqrt(sum(v * v for v in x) / C + 1e-5)
    z, dz = [v / r for v in x], [a * b for a, b in zip(d, gain)]
    along = sum(a * b for a, b in zip(dz, z)) / C
    mean = sum(dz) / C
    bare = sum(a * b for a, b in zip(d, z)) / C
    known = {
        "this holds r fixed; but r moves with every channel of x": [a / r for a in dz],
        "this is the backward pass of a norm that subtracts the mean; this one does not":
            [(a - mean - along * v) / r for a, v in zip(dz, z)],
        "the slope in y is not yet that in the normed vector: the gain lies between":
            [(a - bare * v) / r for a, v in zip(d, z)],
        "r is a root of a mean: the part along z is divided by C": [(a - C * along * v) / r for a, v in zip(dz, z)],
        "the part along the input is taken away, not added": [(a + along * v) / r for a, v in zip(dz, z)],
        "the division by r is missing": [a - along * v for a, v in zip(dz, z)],
        "r moves by x / (C r), so both vectors of the second term are normed ones": [(a - along * v) / r for a, v in zip(dz, x)],
        "the 2 from the square is canceled by the ½ from the root":
            [(a - 2 * along * v) / r for a, v in zip(dz, z)],
        "the ½ from the root is canceled by the 2 from the square":
            [(a - along * v / 2) / r for a, v in zip(dz, z)],
    }

    def whole(r, n=C):
        part = sum(a * v for a, v in zip(dz, x)) / n
        return [a / r - part * v / r**3 for a, v in zip(dz, x)]

    known.update(_other_norms(whole, x))
    known["r is the root of the mean of the squares, not of their sum"] = whole(
        math.sqrt(sum(v * v for v in x) + 1e-5), 1)
    close(_two(answer)[0], right, "the slope in x", axes=("channel",), rtol=1e-5, atol=1e-6, mistakes=known)


SHEET = Sheet("standalone", "A language model in the standard library", questions=(
    Question("q1", "Letters of all alphabets", function="kinds", minutes=8, difficulty=1, parts=(
        Part("in plain English", 1, kinds_of, plain_texts),
        Part("letters of other alphabets", 1, kinds_of, foreign_letters),
        Part("numbers of all kinds", 1, kinds_of, other_numbers),
        Part("neither the one nor the other", 1, kinds_of, other_signs),
    ), hints=(
        "What does `unicodedata.category` say of é, ½, 一 and an accent by itself?",
        "The first letter of a category is the class: L, M, N, P, S, Z or C.",
    )),
    Question("q2", "Two bytes, one number", function="half", minutes=12, difficulty=1, parts=(
        Part("ordinary numbers", 2, half_float, ordinary_halves),
        Part("numbers without a leading 1", 1, half_float, small_halves),
        Part("infinite, and not a number", 1, half_float, endless_halves, nan=True),
    ), hints=(
        "Make one whole number of the two bytes. Which bits of it are the exponent?",
        "`bits >> 10` drops ten bits at the right end, `& 31` keeps five.",
    )),
    Question("q3", "The cache in C", function="in_c", minutes=12, difficulty=2, parts=(
        Part("the bytes of the whole cache", 1, cache_bytes, many_heads),
        Part("an index with one head", 1, cache_index, one_head),
        Part("any index", 2, cache_index, many_heads),
    ), hints=(
        "How many floats does one step along the axis T pass over? And one along the heads?",
        "`a[i][j]` of an array with n columns stands at i n + j. Do that axis by axis.",
    )),
    Question("q4", "A cache in two places", function="merge", minutes=15, difficulty=2, parts=(
        Part("with equal largest scores", 1, merged, equal_largest),
        Part("with different ones", 2, merged, other_largest),
        Part("with scores in the thousands", 1, merged, large_scores),
    ), hints=(
        "A mean of all is a mean of the two means. What is the weight of each?",
        "z was counted from the half's own m. What would it be, counted from another number?",
    )),
    Question("q5", "The backward pass of another norm", function="rms_back", minutes=20, difficulty=3, parts=(
        Part("the slope in the gain", 1, gain_slope, any_gains),
        Part("the slope in x, with a gain of 1", 2, x_slope, unit_gains),
        Part("the slope in x, with any gain", 1, x_slope, any_gains),
    ), hints=(
        "Call z = x / r. How does z_i move with x_j if r stood still? How does r move with x_j?",
        "`norm_back` in the chapter is this with a mean. Which of its terms is the mean's?",
    )),
))
