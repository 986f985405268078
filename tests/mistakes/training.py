"""Wrong answers to sheet 08 that people give, and what they have to be told."""

PARTS = '''
def clipped_gradient(W, x, y, n_parts, max_norm):
    W = W.clone().requires_grad_()
    for x_part, y_part in zip(x.chunk(n_parts), y.chunk(n_parts)):
        RESET
        loss = torch.nn.functional.cross_entropy(x_part @ W, y_part)
        (loss * SHARE).backward()
        INSIDE
    return RETURN
'''
RIGHT = {
    "RESET": "pass",
    "SHARE": "len(x_part) / len(x)",
    "INSIDE": "pass",
    "RETURN": "W.grad * min(1.0, max_norm / W.grad.norm())",
}


def _parts(**wrong: str) -> str:
    source = PARTS
    for name, code in (RIGHT | wrong).items():
        source = source.replace(name, code)
    return source


def _turn(step: int) -> str:
    return f"def guessed_turn(): return {step}"


def _variance(code: str) -> str:
    return f"def resting_variance(rate, curvature, noise): return {code}"


def _compare(difference="float(d.mean())", error="float(d.std() / len(d) ** 0.5)",
             blocks="math.ceil((2 * d.std() / d.mean()) ** 2)") -> str:
    return f"def compare(a, b):\n    d = b - a\n    return {difference}, {error}, {blocks}"


def _lost(code: str) -> str:
    return f"def lost_below(weight):\n    e = math.floor(math.log2(weight))\n    return {code}"


def _steepest(frobenius="G / G.norm()", entry="G.sign()", spectral="U @ Vh") -> str:
    return f'''
def steepest(G, length):
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    return {{"frobenius": {frobenius}, "entry": {entry}, "spectral": {spectral}}}[length]
'''


MISTAKES = [
    ("q1", "still holds the gradients from before", _turn(1)),
    # The bandwidth of the mean, and that of the mean of squares.
    ("q1", "not where the old ones are forgotten", _turn(10)),
    ("q1", "not where the old ones are forgotten", _turn(1000)),
    ("q1", "there is no step 0", _turn(0)),
    ("q2", "noise of a single step", _variance("rate**2 * noise")),
    ("q2", "for small rates only", _variance("rate * noise / (2 * curvature)")),
    ("q2", "the square of the factor", _variance("rate * noise / curvature")),
    ("q2", "times the square of η", _variance("noise / (1 - (1 - rate * curvature) ** 2)")),
    ("q2", "forgets the curvature", _variance("rate * noise / (2 - rate)")),
    ("q2", "standard deviation",
     _variance("math.sqrt(rate**2 * noise / (1 - (1 - rate * curvature) ** 2)) if rate * curvature < 2 else math.inf")),
    # The formula where it does not hold: a negative variance.
    ("q2", "there is no end to it", _variance("rate**2 * noise / (1 - (1 - rate * curvature) ** 2)")),
    # Where ηa = 2 the weight does not grow by itself; the noise does it.
    ("q2", "multiplies the weight by -1", _variance(
        "math.inf if rate * curvature > 2 else 0.0 if rate * curvature == 2 "
        "else rate**2 * noise / (1 - (1 - rate * curvature) ** 2)")),
    ("q2", "stays finite", _variance(
        "rate**2 * noise / (1 - (1 - rate * curvature) ** 2) if rate * curvature <= 1 else math.inf")),
    # The function as it is handed out.
    ("q3", "it should stay as it is", _parts(
        RESET="W.grad = None", SHARE="1", INSIDE="W.grad *= max_norm / W.grad.norm()", RETURN="W.grad")),
    ("q3", "it should stay as it is", _parts(RETURN="W.grad * (max_norm / W.grad.norm())")),
    ("q3", "only the last part is left", _parts(RESET="W.grad = None")),
    ("q3", "as if each were a whole batch", _parts(SHARE="1")),
    ("q3", "each row should count alike", _parts(SHARE="1 / n_parts")),
    ("q3", "the sum is shortened after each part", _parts(INSIDE="W.grad *= min(1.0, max_norm / W.grad.norm())", RETURN="W.grad")),
    ("q3", "every part is shortened by itself", '''
def clipped_gradient(W, x, y, n_parts, max_norm):
    total = torch.zeros_like(W)
    for x_part, y_part in zip(x.chunk(n_parts), y.chunk(n_parts)):
        leaf = W.clone().requires_grad_()
        (torch.nn.functional.cross_entropy(x_part @ leaf, y_part) * len(x_part) / len(x)).backward()
        total += leaf.grad * min(1.0, max_norm / leaf.grad.norm())
    return total
'''),
    # Two at once: the first is named, and not the other.
    ("q3", "thrown away before each of them", _parts(RESET="W.grad = None", SHARE="1")),
    ("q4", "the sign is wrong", _compare(difference="float(-d.mean())")),
    ("q4", "the sign is wrong", _compare(difference="abs(float(d.mean()))")),
    ("q4", "the error of two separate texts", _compare(error="float(((a.var() + b.var()) / len(a)).sqrt())")),
    ("q4", "their mean is surer", _compare(error="float(d.std())")),
    ("q4", "not by its root", _compare(error="float(d.std() / len(d))")),
    ("q4", "of one model alone", _compare(error="float(b.std() / len(b) ** 0.5)")),
    ("q4", "two were asked for", _compare(blocks="math.ceil((d.std() / d.mean()) ** 2)")),
    ("q4", "the error falls with the root of n", _compare(blocks="math.ceil(abs(2 * d.std() / d.mean()))")),
    ("q4", "should be an int", _compare(blocks="float((2 * d.std() / d.mean()) ** 2)")),
    ("q5", "rounded down", _lost("2.0 ** (e - 7)")),
    ("q5", "half of half the distance", _lost("2.0 ** (e - 9)")),
    ("q5", "equally far apart", _lost("weight * 2.0**-8")),
    ("q5", "the exponent moves the last bit", _lost("2.0**-8")),
    ("q5", "the 10 bits of float16", _lost("2.0 ** (e - 11)")),
    ("q5", "the 23 bits of float32", _lost("2.0 ** (e - 24)")),
    ("q6", "points uphill", _steepest(frobenius="-G / G.norm()")),
    ("q6", "not finite", _steepest(spectral="G * math.inf")),
    ("q6", "long in the sense", _steepest(frobenius="G")),
    ("q6", "all entries but the largest could still grow", _steepest(entry="G / G.abs().max()")),
    ("q6", 'that of "entry"', _steepest(spectral="G.sign()")),
    ("q6", "all singular values but the largest", _steepest(spectral="G / S[0]")),
    ("q6", "at most 1 long", _steepest(entry="0.5 * G.sign()")),
    ("q6", "does not lower", _steepest(frobenius="0 * G")),
    ("q6", "times as much", _steepest(spectral="U[:, :1] @ Vh[:1]")),
]
