"""Sheet 11: past the quadratic."""

import math
from itertools import combinations

import torch
from torch.nn import functional as F

from course.checks import Part, Question, Sheet, Wrong, close, is_a, same_shape


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


# q1


def many_draws(seed):
    """Two texts of short vectors, one below the other, and as many draws as a mean needs."""
    generator, d = _generator(seed), 4 + 5 * (seed % 2)
    x = 0.6 * d**0.25 * F.normalize(_normal(generator, 6, d), dim=-1)
    yield x, _normal(generator, 20_000, d)


def few_draws(seed):
    generator = _generator(seed)
    for T, m, d in ((1, 3, 2), (4, 5 + seed, 9), (3, 8, 16)):
        yield _normal(generator, T, d), _normal(generator, m, d)


def unbiased(inputs, answer):
    """Any features will do whose products have the right mean."""
    x, projections = inputs
    is_a(answer, torch.Tensor, "the features")
    if answer.ndim != 2 or len(answer) != len(x):
        raise Wrong(f"the features should have shape ({len(x)}, m) for {len(x)} vectors; yours have {tuple(answer.shape)}")
    if answer.shape[-1] < len(projections):
        raise Wrong(f"there are {len(projections):,} draws, and yours has {answer.shape[-1]} features: each draw gives one")
    found, d, m = answer.double() @ answer.double().T, x.shape[-1], answer.shape[-1]
    dots, squares = x.double() @ x.double().T, x.double().square().sum(-1)
    lengths = (squares[:, None] + squares) / 2

    def near(wrong):
        return bool(((found / wrong - 1).abs() < 0.1).all())

    kernel = (dots / math.sqrt(d)).exp()
    if near(kernel):
        return None
    for says, wrong in {
        "this is the kernel exp(q·k): nothing divides the scores by √d": dots.exp(),
        "this is the kernel exp(q·k/d): q and k are both divided by √d, and their product by d": (dots / d).exp(),
        "the products are m times as large as the kernel: they are a sum over draws, and not a mean": m * kernel,
        "the products are m times too small: φ(q) and φ(k) each bring a factor, and together 1/m": kernel / m,
        "the products are about √m times as large as the kernel": math.sqrt(m) * kernel,
    }.items():
        if near(wrong):
            raise Wrong(says)
    ratio = (found / kernel).diagonal()
    if not torch.isfinite(ratio).all():
        raise Wrong("the features of 20,000 draws hold what is not a number")
    if near((dots / math.sqrt(d) + lengths / math.sqrt(d)).exp()):
        raise Wrong("the products are too large, by a factor that grows with |q|² + |k|²: E exp(ω·x) is not 1")
    raise Wrong(
        f"over 20,000 draws the mean of φ(x)·φ(x) is {float(ratio[0]):.3g} times the kernel of x with itself, not 1"
    )


def positive(inputs, answer):
    x, projections = inputs
    m, d = projections.shape
    root = d**0.25

    def features(x, scaled=None, square=0.5, power=2, norm=1.0):
        scaled = x if scaled is None else scaled
        length = x.norm(dim=-1, keepdim=True) ** power
        return torch.exp(scaled @ projections.T - square * length) * norm / math.sqrt(m)

    y = x / root
    right = features(y)
    close(answer, right, "the features", axes=("vector", "projection"), mistakes={
        "−|x|²/2 is missing in the exponent": features(y, square=0),
        "it is half of |x|² that is taken off": features(y, square=1),
        "|x|² is added, and should be taken off": features(y, square=-0.5),
        "the length in the exponent is not squared": features(y, power=1),
        "the |x|² is that of the vector before it was scaled": features(x, scaled=y),
        "ω·x is that of the vector before it was scaled": features(y, scaled=x),
        "these are features of exp(q·k); attention's scores are q·k/√d": features(x),
        "q and k are both divided by √d here, so their score by d": features(x / math.sqrt(d)),
        "the mean over draws is missing: products of these features are a sum over all m": features(y, norm=math.sqrt(m)),
        "each side is divided by m here, so a product by m²": features(y, norm=1 / math.sqrt(m)),
        "these are cosines, which can be negative": torch.cos(y @ projections.T) * math.sqrt(2 / m)
            * torch.exp(y.square().sum(-1, keepdim=True) / 2),
    })


# q2


def _kept(scores, v):
    """(m, l, o) of a block of keys; a row of nothing but -inf keeps nothing."""
    m = scores.amax(-1)
    weights = torch.exp(scores - torch.where(m == -torch.inf, 0.0, m)[:, None])
    return m, weights.sum(-1), weights @ v


def _two_blocks(seed, shift=0.0, hide=()):
    generator = _generator(seed)
    for queries, left, right, d_v in ((1, 2, 3, 2), (3 + seed, 4, 1, 3), (2, 5, 6, 2 + seed)):
        scores = 3 * _normal(generator, queries, left + right)
        scores[:, :left] += shift
        scores[queries // 2 :, left:] += 3 * shift  # for some queries the other block has the larger scores
        scores = scores.clone()
        if "left" in hide:
            scores[0, :left] = -torch.inf
        if "right" in hide:
            scores[-1, left:] = -torch.inf
        v = _normal(generator, left + right, d_v)
        yield _kept(scores[:, :left], v[:left]), _kept(scores[:, left:], v[left:])


def two_blocks(seed):
    yield from _two_blocks(seed)


def large_scores(seed):
    yield from _two_blocks(seed, shift=500.0)
    yield from _two_blocks(seed, shift=-500.0)


def hidden_blocks(seed):
    yield from _two_blocks(seed, hide=("left",))
    yield from _two_blocks(seed, hide=("right",))
    yield from _two_blocks(seed, hide=("left", "right"))
    nothing = torch.full((2,), -torch.inf), torch.zeros(2), torch.zeros(2, 3)
    yield nothing, nothing


def _merged(left, right, rescale="lo"):
    m = torch.maximum(left[0], right[0])
    base = torch.where(m == -torch.inf, 0.0, m)
    a, b = (torch.exp(part[0] - base) for part in (left, right))
    one = torch.ones_like(a)
    l = left[1] * (a if "l" in rescale else one) + right[1] * (b if "l" in rescale else one)
    a, b = (a, b) if "o" in rescale else (one, one)
    return m, l, a[:, None] * left[2] + b[:, None] * right[2]


def merged(inputs, answer):
    left, right = inputs
    m, l, o = _merged(left, right)
    is_a(answer, (tuple, list), "what is kept")
    if len(answer) != 3:
        raise Wrong(f"three things are kept, m, l and o; yours are {len(answer)}")
    for name, got, like in zip("mlo", answer, (m, l, o)):
        got = same_shape(got, like, name, axes=("query", "channel")[: like.ndim])
        if (got != got).any():
            query = int(abs(got != got).reshape(len(like), -1).any(1).argmax())
            empty = left[0][query] == right[0][query] == -torch.inf
            why = "both blocks are hidden from it, and -inf minus -inf is no number" if empty else (
                "exp(-inf) is 0, but -inf minus -inf and 0 times inf are no numbers" if -torch.inf in (
                    left[0][query], right[0][query]) else "exp of a large score is infinite")
            raise Wrong(f"{name} of query {query} is nan: {why}")
    close(answer[0], m, "m", axes=("query",), mistakes={
        "m is that of the left block, but the right one may have a larger score": left[0],
        "m is that of the right block, but the left one may have a larger score": right[0],
        "m is the smaller of the two": torch.minimum(left[0], right[0]),
        "m is the sum of both; it should be the largest score of both blocks": left[0] + right[0],
    })
    m_left, m_right = left[0], right[0]
    turned = [torch.exp(m - z) for z in (m_left, m_right)]
    close(answer[1], l, "l", axes=("query",), rtol=1e-4, mistakes={
        "the two l are added as they are, but they were summed up below different maxima": _merged(left, right, "o")[1],
        "exp(m − m_old) makes l larger; what was summed up below a smaller maximum counts less":
            turned[0] * left[1] + turned[1] * right[1],
        "only the left l was rescaled, but the right block may have the smaller maximum":
            torch.exp(m_left - m) * left[1] + right[1],
        "only the right l was rescaled, but the left block may have the smaller maximum":
            left[1] + torch.exp(m_right - m) * right[1],
    })
    close(answer[2], o, "o", axes=("query", "channel"), rtol=1e-4, mistakes={
        "the two o are added as they are, but they were summed up below different maxima": _merged(left, right, "l")[2],
        "o is divided by l already: then it can no longer be merged with a third block": o / l[:, None],
        "only the left o was rescaled": torch.exp(m_left - m)[:, None] * left[2] + right[2],
        "only the right o was rescaled": left[2] + torch.exp(m_right - m)[:, None] * right[2],
        "o is the mean of both blocks' o": (left[2] + right[2]) / 2,
    })


# q3


def _texts(seed, lengths):
    generator = _generator(seed)
    for T, size in lengths:
        d, d_v = 3 + seed, 2 + seed
        yield _normal(generator, T, d), _normal(generator, T, d), _normal(generator, T, d_v), size


def one_chunk(seed):
    yield from _texts(seed, [(1, 4), (4 + seed, 4 + seed), (5, 8)])


def whole_chunks(seed):
    yield from _texts(seed, [(6, 3), (4, 1), (12 + 4 * seed, 4)])


def shorter_last(seed):
    yield from _texts(seed, [(7, 3), (9 + seed, 4), (5, 4)])


def _chunked(inputs, inside="causal", state="before"):
    q, k, v, size = inputs
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_c, k_c, v_c in zip(q.split(size), k.split(size), v.split(size)):
        pairs, wrote = q_c @ k_c.T, k_c.T @ v_c
        pairs = {"causal": pairs.tril(), "all": pairs, "strict": pairs.tril(-1), "upper": pairs.triu()}[inside]
        read = {"before": M, "with": M + wrote, "none": torch.zeros_like(M)}.get(state, M)
        outputs.append(pairs @ v_c + q_c @ read)
        M = wrote if state == "last" else M + wrote
    return torch.cat(outputs)


def chunks(inputs, answer):
    right = _chunked(inputs)
    q, k, v, size = inputs
    mistakes = {
        "a token sees the whole of its chunk, also what comes later": _chunked(inputs, inside="all"),
        "a token does not see itself": _chunked(inputs, inside="strict"),
        "a token sees what comes later in its chunk, and not what came before": _chunked(inputs, inside="upper"),
        "the state is read after its chunk was written: tokens of a chunk count twice, and later ones are seen":
            _chunked(inputs, state="with"),
        "nothing is handed from chunk to chunk: the first one is right, and all others begin anew":
            _chunked(inputs, state="none"),
        "the state holds the last chunk only; it should hold all before": _chunked(inputs, state="last"),
        "the outputs are divided by the sum of the weights; this form has no divisor":
            right / (q @ k.T).tril().sum(-1, keepdim=True),
        "the pairs went through a softmax; in linear attention the products of features are the weights":
            torch.softmax((q @ k.T).masked_fill(torch.ones(len(q), len(q)).triu(1).bool(), -torch.inf), -1) @ v,
    }
    missing = -len(q) % size
    if torch.is_tensor(answer) and answer.ndim == 2 and len(q) > size and missing:
        if len(answer) == len(q) - len(q) % size:
            raise Wrong(f"the last {len(q) % size} of {len(q)} tokens are missing: the last chunk may be shorter")
        if len(answer) == len(q) + missing:
            raise Wrong(f"there are outputs for {missing} tokens that fill up the last chunk and are not in the text")
    close(answer, right, "the output", axes=("token", "channel"), atol=1e-4, mistakes=mistakes)


# q4


def _rebound(seed, beta, sizes=((2, 3, 2), (5, 4, 3), (6, 2, 2))):
    generator = _generator(seed)
    for T, d, d_v in sizes:
        q, k, v = _normal(generator, T, d), _normal(generator, T + seed, d)[:T], _normal(generator, T, d_v)
        b = torch.ones(T) if beta == 1 else torch.rand(T, generator=generator)
        yield q, k, v, b


def unit_keys(seed):
    """Every key is unit vector 0 or 1, and every query the key: what was written last comes back."""
    generator = _generator(seed)
    for T, d in ((1, 2), (4, 3), (6, 3)):
        k = torch.eye(d)[torch.arange(T) % 2]
        yield k, k, _normal(generator, T, 2 + seed), torch.ones(T)


def whole_steps(seed):
    yield from _rebound(seed, 1)


def part_steps(seed):
    yield from _rebound(seed, None)


def _overwritten(inputs, rule="delta", order="write", keys="unit", steps=True):
    q, k, v, beta = inputs
    k = {"unit": F.normalize(k, dim=-1), "columns": F.normalize(k, dim=0), "as they are": k}[keys]
    beta = beta if steps else torch.ones_like(beta)
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_t, k_t, v_t, b in zip(q, k, v, beta):
        before = M
        if rule == "sum":
            M = M + b * torch.outer(k_t, v_t)
        elif rule == "decay":
            M = (1 - b) * M + b * torch.outer(k_t, v_t)
        elif rule == "beta on v":
            M = M + torch.outer(k_t, b * v_t - k_t @ M)
        elif rule == "beta on the old":
            M = M + torch.outer(k_t, v_t - b * (k_t @ M))
        elif rule == "plus":
            M = M + b * torch.outer(k_t, v_t + k_t @ M)
        elif rule == "query":
            M = M + b * torch.outer(k_t, v_t - q_t @ M)
        else:
            M = M + b * torch.outer(k_t, v_t - k_t @ M)
        outputs.append((k_t if order == "with the key" else q_t) @ (before if order == "read" else M))
    return torch.stack(outputs)


def overwritten(inputs, answer):
    close(answer, _overwritten(inputs), "the output", axes=("token", "channel"), mistakes={
        "the state is read before it is written": _overwritten(inputs, order="read"),
        "values pile up: what the state answers to the key so far is not taken off": _overwritten(inputs, "sum"),
        "the whole state fades by 1 − β; only what it answers to this key should change": _overwritten(inputs, "decay"),
        "the keys are not brought to length 1": _overwritten(inputs, keys="as they are"),
        "the keys are not brought to length 1, and values pile up": _overwritten(inputs, "sum", keys="as they are"),
        "the keys are not brought to length 1, and the state is read before it is written":
            _overwritten(inputs, order="read", keys="as they are"),
        "each channel of the keys is brought to length 1 over all tokens; each key should be, over its channels":
            _overwritten(inputs, keys="columns"),
        "the old answer is the one to the query; what is overwritten is the answer to the key":
            _overwritten(inputs, "query"),
        "the state is read with the key; it is written with the key and read with the query":
            _overwritten(inputs, order="with the key"),
        "β is not used: every step goes the whole way": _overwritten(inputs, steps=False),
        "β is the part of the value only; it is the part of the way from the old answer to the value":
            _overwritten(inputs, "beta on v"),
        "β is the part of the old answer only; it is the part of the way from the old answer to the value":
            _overwritten(inputs, "beta on the old"),
        "what the state answers so far is added to the value; it should be taken off": _overwritten(inputs, "plus"),
    })


# q5


def _gated_texts(seed, gates, sizes=((3, 2, 2), (5, 4, 3), (8, 3, 2))):
    generator = _generator(seed)
    for T, d, d_v in sizes:
        q, k = _normal(generator, T, d), F.normalize(_normal(generator, T, d), dim=-1)
        v, beta = _normal(generator, T, d_v), 0.2 + 0.8 * torch.rand(T, generator=generator)
        yield q, k, v, beta, gates * torch.rand(T, generator=generator)


def a_single_token(seed):
    yield from _gated_texts(seed, -0.5, [(1, 2, 2), (1, 3 + seed, 3)])


def without_gates(seed):
    yield from _gated_texts(seed, 0.0)


def with_gates(seed):
    yield from _gated_texts(seed, -1.0)


def strong_gates(seed):
    yield from _gated_texts(seed, -60.0, [(6, 2, 2), (40 + seed, 4, 3)])


def _gated(inputs, beta_on="rows", read="after", decay="all"):
    q, k, v, beta, log_gate = (z.double() for z in inputs)
    g = log_gate.clone().requires_grad_()
    since = g.cumsum(-1)
    if decay == "shifted":
        since = since - g
    left = (since[:, None] - since[None, :]).tril().exp().tril()
    ones = torch.ones_like(left).tril() + 0 * left
    b = {"rows": beta[:, None], "columns": beta[None, :], "none": 1.0}[beta_on]
    overlap = (b * (k @ k.T) * (ones if decay in ("outputs only", "none") else left)).tril(-1)
    u = torch.linalg.solve_triangular(overlap, beta[:, None] * v, upper=False, unitriangular=True)
    pairs = q @ k.T * (ones if decay in ("writes only", "none") else left)
    output = (pairs.tril() if read == "after" else pairs.tril(-1)) @ u
    (gradient,) = torch.autograd.grad(output.sum(), g, allow_unused=True)
    return output.detach(), gradient


def _gated_loop(inputs, fades):
    """The same rule token by token, with a gate in the wrong place."""
    q, k, v, beta, gate = (z.double() for z in inputs)
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]).double(), []
    for q_t, k_t, v_t, b, g in zip(q, k, v, beta, gate.exp()):
        if fades == "after":
            M = g * (M + b * torch.outer(k_t, v_t - k_t @ M))
        else:
            M = g * M + b * torch.outer(k_t, v_t - k_t @ M)
        outputs.append(q_t @ M)
    return torch.stack(outputs)


GATES = {
    "a token fades by its own gate: the gate comes first, and then the token is written": "after",
    "the old answer is that of the state before it faded": "between",
}
BETAS = {
    "β stands on the columns of the system: row t is about what token t writes, and that is β of t": "columns",
    "there is no β in the system, but the old answer is taken off by the part β, too": "none",
}
READS = {"a token is read before it is written: it does not see itself": "before"}
DECAYS = {
    "nothing fades: the gates have no effect": "none",
    "what fades is what is read, but the old answers that are taken off have faded, too": "outputs only",
    "what fades is what is taken off, but what is read has faded, too": "writes only",
    "the gates are shifted by a token: at token i, token j has faded by the gates of j + 1 to i": "shifted",
}


def gated(inputs, answer):
    """Of several mistakes the first is named."""
    right, slope = _gated(inputs)
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two things come back, the outputs and the gradient; yours are {len(answer)}")
    output, gradient = answer
    got = torch.as_tensor(same_shape(output, right, "the output", axes=("token", "channel"))).double()
    near = {"rtol": 1e-3, "atol": 1e-4}
    if torch.isnan(got).any():
        raise Wrong("an output is nan: exp(−c) of what was summed up overflows where gates are strong; only "
                    "differences of it stay small")
    if not torch.allclose(got, right, **near):
        for says, fades in GATES.items():
            if torch.allclose(got, _gated_loop(inputs, fades), **near):
                raise Wrong(says)
        kinds = [(says, name, value) for name, table in (("beta_on", BETAS), ("read", READS), ("decay", DECAYS))
                 for says, value in table.items()]
        for n in (1, 2, 3):
            for chosen in combinations(kinds, n):
                options = {name: value for _, name, value in chosen}
                if len(options) == n and torch.allclose(got, _gated(inputs, **options)[0], **near):
                    raise Wrong(chosen[0][0] + ("; and this is not the only bug" if n > 1 else ""))
        close(output, right.float(), "the output", axes=("token", "channel"), rtol=1e-3, atol=1e-4)
    if torch.is_tensor(gradient) and gradient.shape == slope.shape and not torch.isfinite(gradient).all():
        raise Wrong("the outputs are right, and the gradient is not a number: somewhere an exp is infinite, and "
                    "what hides it afterwards multiplies its gradient by 0")
    close(gradient, slope.float(), "the gradient", axes=("token",), rtol=2e-3, atol=1e-4, mistakes={
        "this is the gradient of the mean of all outputs, not of their sum": slope.float() / right.numel(),
        "this is the gradient with respect to exp(log_gate)": slope.float() / inputs[4].exp(),
    })


# q6


def _experiments(seed):
    generator = _generator(seed)
    for chunk, n_chunks, d in ((4, 3, 32), (3 + seed, 4, 32)):
        T = chunk * n_chunks + seed
        k, v = _normal(generator, T, d), _normal(generator, T, 3)
        yield k, v, _normal(generator, 48, d), chunk


def _changed(inputs, answer):
    """The changed keys and values and n, once they are an experiment at all."""
    k, v, _, _ = inputs
    is_a(answer, (tuple, list), "the experiment")
    if len(answer) != 3:
        raise Wrong(f"an experiment is three things, keys, values and n; yours are {len(answer)}")
    keys = torch.as_tensor(same_shape(answer[0], k, "the keys", axes=("token", "channel"))).float()
    values = torch.as_tensor(same_shape(answer[1], v, "the values", axes=("token", "channel"))).float()
    is_a(answer[2], int, "n")
    n = int(answer[2])
    if not 0 < n < len(k):
        raise Wrong(f"n is {n}: of {len(k)} tokens at least the first has to stay, and at least the last to change")
    if not (torch.isfinite(keys).all() and torch.isfinite(values).all()):
        raise Wrong("the changed keys and values should be finite: nan in a later token would be found in any sum")
    for name, new, old in (("key", keys, k), ("value", values, v)):
        moved = (new != old).any(-1).nonzero().flatten().tolist()
        if moved and moved[0] < n:
            raise Wrong(
                f"the {name} of token {moved[0]} is changed, and n is {n}: a causal mixer's output {moved[0]} would "
                "change, too, and would be taken for a leak"
            )
    if max(keys.abs().max(), values.abs().max()) > 1e4:
        raise Wrong("numbers above 10,000 drown what is to be found in rounding errors; smaller ones will do")
    return keys, values, n


def _mix(k, v, projections, chunk, leak):
    """A causal mixer with positive features, whose queries are the keys of the first text, and its leaks."""
    T = len(k[0])
    q, k = k
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    if leak in ("mask", "chunks", "values", "scores"):
        scores = q @ k.T / k.shape[-1]  # a wide kernel: what can be seen is seen
        if leak == "mask":
            later = torch.ones(T, T, dtype=torch.bool).triu(2)
        if leak == "chunks":
            block = torch.arange(T) // chunk
            later = block[None, :] > block[:, None]
        if leak == "values":
            v = v - v.mean(0)
        if leak == "scores":  # the divisor sums over all keys
            return torch.where(later, 0, scores.exp()) @ v / scores.exp().sum(-1, keepdim=True)
        return torch.softmax(scores.masked_fill(later, -torch.inf), -1) @ v
    exponents = k @ projections.T - k.square().sum(-1, keepdim=True) / 2
    c = exponents.max() if leak == "stabilizer" else 0.0
    features = torch.exp(exponents - c) + 1e-6
    own = q @ projections.T - q.square().sum(-1, keepdim=True) / 2
    own = torch.exp(own - own.amax(-1, keepdim=True)) + 1e-6  # per query, which is no leak
    weights = torch.where(later, 0, own @ features.T)
    return weights @ v / weights.sum(-1, keepdim=True)


def _moved(inputs, answer, leak):
    """How far the first n outputs move, in parts of their size."""
    k, v, projections, chunk = (z.double() if torch.is_tensor(z) else z for z in inputs)
    keys, values, n = _changed(inputs, answer)
    before = _mix((k, k), v, projections, chunk, leak)[:n]
    after = _mix((k, keys.double()), values.double(), projections, chunk, leak)[:n]
    return float((after - before).abs().max() / before.abs().max())


LEAKS = {
    "mask": "its mask reaches one token too far",
    "chunks": "a token sees the whole of its chunk",
    "values": "values are centered by the mean of the whole text",
    "scores": "the weights are divided by a sum over all keys",
    "stabilizer": "the stabilizer of its features is the largest exponent of all keys of the text",
}


def _catches(*leaks):
    def judge(inputs, answer):
        smallest = math.inf
        for leak in leaks:
            moved = _moved(inputs, answer, leak)
            smallest = min(smallest, moved)
            if moved < 1e-3:
                raise Wrong(
                    f"a mixer leaks and passes this test: {LEAKS[leak]}. Its first {int(answer[2])} outputs move by "
                    f"{moved:.1g} of their size"
                )
        return f"outputs moved by {smallest:.1g} of their size at least"

    return judge


SHEET = Sheet("11_past_the_quadratic", "Past the quadratic", questions=(
    Question("q1", "Features of attention's own kernel", function="attention_features", minutes=12, difficulty=1,
             parts=(Part("the products of the features are the kernel, in the mean", 1, unbiased, many_draws),
                    Part("they are the positive features", 2, positive, few_draws)),
             hints=("E exp(ω·x) = exp(|x|²/2) for ω ~ N(0, I). Set x = q + k, and multiply |q + k|² out.",
                    "Which vectors have the dot product q·k/√d, if both are scaled alike?",
                    "A mean over m draws is a sum of products; each of the two factors brings the root of 1/m.")),
    Question("q2", "Merge two blocks", function="merge", minutes=15, difficulty=2,
             parts=(Part("two blocks are as one", 2, merged, two_blocks),
                    Part("scores of a thousand", 1, merged, large_scores),
                    Part("blocks that are hidden", 1, merged, hidden_blocks)),
             hints=("What would the left block have kept if it had known of a larger score elsewhere?",
                    "Never take exp of a score alone, only of a difference that is at most 0.",
                    "If m is -inf for a query, what may be subtracted instead of it?")),
    Question("q3", "Chunk after chunk", function="chunked", minutes=20, difficulty=2,
             parts=(Part("one chunk", 1, chunks, one_chunk),
                    Part("several chunks", 2, chunks, whole_chunks),
                    Part("a shorter last one", 1, chunks, shorter_last)),
             seconds=20, hints=("Inside a chunk: all pairs, masked. From before: what has the state to be, so that q @ state is the rest?",
                    "The state is a (d, d_v) matrix, Kᵀ V of all chunks before this one.",
                    "`tensor.split(size)` makes a shorter last piece where one is left.")),
    Question("q4", "Write over it", function="overwrite", minutes=15, difficulty=2,
             parts=(Part("what was written last comes back", 1, overwritten, unit_keys, needs_another=True),
                    Part("whole steps, keys that overlap", 2, overwritten, whole_steps),
                    Part("parts of a step", 2, overwritten, part_steps)),
             hints=("What does the state answer to k_t before the step? And what should it answer after it, for β = 1?",
                    "The change is an outer product of the key with the difference of two values.")),
    Question("q5", "A whole text at once, with bugs", function="gated_delta", minutes=25, difficulty=3,
             parts=(Part("one token", 1, gated, a_single_token),
                    Part("no gates: several tokens", 2, gated, without_gates),
                    Part("gates", 1, gated, with_gates),
                    Part("strong gates", 2, gated, strong_gates)),
             seconds=30, hints=("Write down, for two tokens, what the second one writes: u₂ = β₂ (v₂ − …).",
                    "With one token, what should the output be? Which matrix makes it something else?",
                    "What is exp of a difference above the diagonal when a gate is −60? And 0 times that?")),
    Question("q6", "A test that leaks cannot pass", function="experiment", minutes=25, difficulty=3,
             parts=(Part("a mask that reaches too far, and values centered over the text", 1,
                         _catches("mask", "values"), _experiments),
                    Part("chunks that a token sees whole", 2, _catches("chunks"), _experiments),
                    Part("a divisor over all keys", 1, _catches("scores"), _experiments),
                    Part("a stabilizer over all keys", 3, _catches("stabilizer"), _experiments)),
             hints=("Which outputs can token n change if a token sees the whole of its chunk, and n begins a chunk?",
                    "The largest exponent has to rise by so much that 10⁻⁶ is no longer small beside the others.",
                    "For which k is ω·k − |k|²/2 the largest? Neither a random one nor a long one.")),
))
