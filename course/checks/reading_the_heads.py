"""Sheet 12: reading the heads."""

import math
from itertools import product

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, count, is_a, number, same_shape


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def _attend(scores, v, hide="before"):
    """Causal attention; later keys are hidden before the softmax, or by mistake after it, or never."""
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = torch.softmax(scores.masked_fill(later, -torch.inf) if hide == "before" else scores, -1)
    return (weights.masked_fill(later, 0) if hide == "after" else weights) @ v


def _named(got, right, mistakes, **near):
    """Raises `Wrong` for a known mistake; for all that give these numbers, since any of them may be the one."""
    says = [says for says, wrong in mistakes.items() if np.allclose(got, wrong, **near)]
    if says and not np.allclose(got, right, **near):
        raise Wrong("; or: ".join(says))


# q1


def _due(T: int, seed: int) -> torch.Tensor:
    """Some rows of T are due, others are not, and never as many of either."""
    due = torch.zeros(T, dtype=torch.bool)
    due[torch.randperm(T, generator=_generator(90 + seed))[: 1 + T // 4]] = True
    return due


def open_maps(seed):
    generator = _generator(seed)
    for T_q, T_k in ((4, 5), (6 + seed, 3)):
        due = _due(T_q, seed)
        sharp = torch.where(due, 2.0, 0.5)[:, None]
        yield torch.softmax(sharp * _normal(generator, T_q, T_k), -1), due


def causal_maps(seed):
    generator = _generator(seed)
    for T in (5, 9 + seed):
        due = _due(T, seed + T)
        scores = torch.where(due, 4.0, 0.5)[:, None] * _normal(generator, T, T)
        yield torch.softmax(scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf), -1), due
    weights = torch.eye(6)  # rows that look at one key, and one at three
    weights[3, :3], weights[3, 3] = 1 / 3, 0
    yield weights, torch.arange(6) == 3


def counted_apart(inputs, answer):
    weights, due = inputs
    w = weights.double()
    entropy = torch.special.entr(w).sum(-1)
    holes = (w == 0).any(-1)

    def apart(keys):
        return [float(keys[rows].mean()) for rows in (due, ~due)]

    right = apart(entropy.exp())
    answer = answer.tolist() if isinstance(answer, (torch.Tensor, np.ndarray)) else answer
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two numbers are asked for, of the rows that are due and of all others; yours are {len(answer)}")
    got = [number(part) for part in answer]
    groups = ("the mean of the rows that are due", "the mean of the other rows")
    for which, mine in zip(groups, got):
        is_a(mine, float, which)
        if math.isnan(mine):
            raise Wrong(f"{which} is nan. A mean of no rows is no number; nor is 0 · ln 0, though w ln w has a limit at 0")
    mistakes = {
        "these are the means of the entropies, and not of effective keys": apart(entropy),
        "this is the exponential of the mean entropy: take the exponential of each row, and then the mean":
            [math.exp(part) for part in apart(entropy)],
        "the exponential of a negative number is below 1: the entropy is −Σ w ln w": apart((-entropy).exp()),
        "entropy in bits goes with 2 to its power, and e with nats": apart((entropy / math.log(2)).exp()),
        "entropy in nats goes with e to its power, and 2 with bits": apart(2**entropy),
        "this is 1/Σw², another count, that of the order 2": apart(1 / w.square().sum(-1)),
        "this is one over the largest weight of each row": apart(1 / w.amax(-1)),
        "these are the keys whose weight is not 0; most of them may have next to nothing": apart((w > 0).double().sum(-1)),
        "the two groups are exchanged": right[::-1],
        "both numbers are the mean over all rows": [float(entropy.exp().mean())] * 2,
        "a row that holds a zero counts as one key here: only its zeros should add nothing":
            apart(torch.where(holes, 1.0, entropy.exp())),
        "a row that holds a zero counts as no key here: only its zeros should add nothing":
            apart(torch.where(holes, 0.0, entropy.exp())),
        "these are sums over the rows of a group, and not means":
            [part * int(rows.sum()) for part, rows in zip(right, (due, ~due))],
        "the sum over a group is divided by the number of all rows here, and should be by that of its own":
            [part * float(rows.double().mean()) for part, rows in zip(right, (due, ~due))],
        "the entropies of a group are added up before the exponential: each row has effective keys of its own":
            [float(entropy[rows].sum().exp()) for rows in (due, ~due)],
    }
    if len(w) == w.shape[1]:
        mistakes["the sum is over the queries here, for each key; it should be over the keys, for each query"] = apart(
            torch.special.entr(w).sum(0).exp())
    _named(got, right, mistakes, rtol=1e-3)
    for which, mine, fine in zip(groups, got, right):
        close(mine, fine, which, rtol=1e-3)


# q2


def heads(seed):
    generator = _generator(seed)
    for T_q, T_k, d in ((3, 4, 3), (5 + seed, 6, 4), (4, 8, 8)):
        q, k = _normal(generator, T_q, d), 1.5 * _normal(generator, T_k, d) + 2 * _normal(generator, d)
        yield q, _farthest_elsewhere(k)


def _farthest_elsewhere(k: torch.Tensor) -> torch.Tensor:
    """With the farthest key neither first nor last, and the longest another one if there is one."""
    far = int((k - k.mean(0)).norm(dim=-1).argmax())
    order = [i for i in range(len(k)) if i != far]
    return k[[order[0], far, *order[1:]]]


def _both(inputs, answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"two things are asked for, queries and keys; yours are {len(answer)}")
    return [torch.from_numpy(same_shape(mine, old, name, axes=(one, "channel"))).double()
            for mine, old, name, one in zip(answer, inputs, ("the queries", "the keys"), ("query", "key"))]


def _weights(q, k):
    return torch.softmax(q.double() @ k.double().T / math.sqrt(q.shape[-1]), -1)


def same_weights(inputs, answer):
    (q, k), (new_q, new_k) = inputs, _both(inputs, answer)
    if not (torch.isfinite(new_q).all() and torch.isfinite(new_k).all()):
        raise Wrong("the queries and keys should be finite numbers")
    right, got = _weights(q, k), _weights(new_q, new_k)
    if torch.allclose(got, right, rtol=1e-3, atol=1e-4):
        return
    moved_q, moved_k = (not torch.allclose(new, old.double()) for new, old in ((new_q, q), (new_k, k)))
    query, key = divmod(int((got - right).abs().argmax()), len(k))
    where = f"the weight of key {key} for query {query} was {right[query, key]:.3f} and is {got[query, key]:.3f}"
    if moved_k and not moved_q:
        raise Wrong(f"{where}: only the keys were changed, by more than a vector that is the same for all of them")
    growth = max(float(new.abs().max() / old.abs().max()) for new, old in ((new_q, q), (new_k, k)))
    rounding = "" if growth < 300 else (f". Or it is undone, and rounding shows: numbers are {growth:.0f} times as large as "
                                        "before, and 32 bits hold seven digits")
    raise Wrong(f"{where}: what is done to the keys has to be undone by what is done to the queries, in every product"
                f"{rounding}")


def fooled(inputs, answer):
    same_weights(inputs, answer)
    (_, k), (_, new_k) = inputs, _both(inputs, answer)
    before, after = ((z - z.mean(0)).norm(dim=-1) for z in (k.double(), new_k))
    far, near = int(before.argmax()), int(after.argmin())
    if torch.allclose(before, after, rtol=1e-3):
        raise Wrong("the weights are the same, and so is each key's distance from the mean: a vector added to all keys, "
                    "or a rotation, moves the mean along")
    if torch.allclose(before / before[far], after / after[far], rtol=1e-3):
        raise Wrong("the weights are the same, and all distances from the mean changed by one factor: their order stays")
    if near != far or (after < after[far] * (1 + 1e-3)).sum() > 1:
        other = int(torch.where(torch.arange(len(k)) == far, torch.inf, after).argmin())
        raise Wrong(f"the weights are the same. Key {far} was the farthest from the mean, and is {after[far]:.3g} from it now; "
                    f"key {other} is nearer, {after[other]:.3g} from it")
    return f"{before[far]:.3g} from the mean became {after[far]:.3g}, the least of all {count(len(k), 'key')}"


# q3


def _clocks(seed, sizes, noise, start):
    """Heads whose key-only score rises with position: queries and keys."""
    generator = _generator(seed)
    for T, d in sizes:
        u = _normal(generator, d)
        u = u / u.norm()
        t = torch.arange(T)
        slope = 0.5 + torch.rand((), generator=generator)
        q = 1.5 * u + 0.3 * noise * _normal(generator, T, d)
        k = 0.15 * slope * t[:, None] * u + noise * 0.1 * _normal(generator, T, d) + start * _normal(generator, d)
        if not noise:
            q = q + 0.3 * torch.rand(T, 1, generator=generator) * u
        yield q, k


def one_channel(seed):
    for q, k in _clocks(seed, ((12, 1), (15 + seed, 1)), 0, 0):
        yield q.abs(), k.abs()


def from_zero(seed):
    # Not in 4 channels: with √d = 2 two mistakes, k · k̄ and no root, are k · k with its root.
    yield from _clocks(seed, ((14, 5), (20 + seed, 9)), 0, 0)


def any_clock(seed):
    yield from _clocks(seed, ((17, 4), (25 + seed, 8)), 1, 2)  # not 16 tokens in 4 channels, where √T is d


def other_forms(seed):
    """The same heads, with A and c."""
    generator = _generator(70 + seed)
    for q, k in any_clock(seed):
        d = q.shape[-1]
        A = torch.linalg.qr(_normal(generator, d, d)).Q * (0.4 + 2 * torch.rand(d, generator=generator))
        yield q @ A.T, k @ torch.linalg.inv(A) + 2 * _normal(generator, d)


def _fitted(t, score, over=None):
    """Σ t · score / Σ t², the slope of a line through 0 by least squares; `over` is another t for t²."""
    return (t * score).sum() / (t if over is None else over).square().sum()


def _centered(z):
    return z - z.mean()


# What `lag` does, step by step: as it should be, and in the ways in which people get it wrong, with what to say of them.
RIGHT = ""
SCORES = {
    RIGHT: lambda q, k: k @ q.mean(0),
    "a key is compared with the mean key here, and no query is asked: k · k̄ changes when one vector is added to all keys, and "
    "the head's weights do not": lambda q, k: k @ k.mean(0),
    "the squared lengths of the keys are no property of the head: one vector added to all keys changes them":
        lambda q, k: k.square().sum(-1),
    "the lengths of the keys are no property of the head: one vector added to all keys changes them": lambda q, k: k.norm(dim=-1),
    "these are the scores of the last query alone, not of the mean query": lambda q, k: k @ q[-1],
    "these are the scores of the first query alone, not of the mean query": lambda q, k: k @ q[0],
    "each key is compared with its own query here, and should be with the mean query": lambda q, k: (q * k).sum(-1),
    "each query is compared with the mean key here. It is the other way around: each key, with the mean query":
        lambda q, k: q @ k.mean(0),
    "each key is compared with the sum of the queries here, and should be with their mean": lambda q, k: k @ q.sum(0),
    "only the direction of the mean query counts here; its length is part of the scores, too":
        lambda q, k: k @ (q.mean(0) / q.mean(0).norm()),
}
DIVISORS = {
    RIGHT: lambda T, d: math.sqrt(d),
    "the scores of attention are q·k/√d, and nothing is divided by √d here": lambda T, d: 1,
    "the scores of attention are q·k/√d, and these are divided by d": lambda T, d: d,
    "the d in √d is the number of channels, and not that of tokens": lambda T, d: math.sqrt(T),
}
SLOPES = {
    RIGHT: lambda t, score: _fitted(_centered(t), score),
    "the line is forced through 0 at token 0, so a constant that is added to all scores changes its slope": _fitted,
    "the line is forced through the score of token 0, which has noise like all others":
        lambda t, score: _fitted(t, score - score[0]),
    "the slope is taken from the first and the last token alone; a line by least squares minds all":
        lambda t, score: (score[-1] - score[0]) / (len(t) - 1),
    "the times are taken from their mean in the sum of t · score, and from 0 in that of t²":
        lambda t, score: _fitted(_centered(t), score, over=t),
    "the times are taken from their mean in the sum of t², and from 0 in that of t · score":
        lambda t, score: _fitted(t, score, over=_centered(t)),
    "the time is fitted to the score here, and the score should be fitted to the time":
        lambda t, score: 1 / _fitted(_centered(score), t),
}
RETURNED = {
    RIGHT: lambda slope: 1 / slope,
    "this is the slope, per token; the lag is a number of tokens": lambda slope: slope,
    "the lag has the wrong sign: scores rise toward the present": lambda slope: -1 / slope,
    "this is the factor from one token to the one before, not a number of tokens": lambda slope: torch.exp(-slope),
    "a weight falls by half in this time; in one lag it falls by the factor e": lambda slope: math.log(2) / slope,
}


def _lag(inputs, scores=RIGHT, divisor=RIGHT, slope=RIGHT, returned=RIGHT):
    q, k = (z.double() for z in inputs)
    score = SCORES[scores](q, k) / DIVISORS[divisor](*k.shape)
    return float(RETURNED[returned](SLOPES[slope](torch.arange(len(k)).double(), score)))


def lags(inputs, answer):
    """Of several bugs the first is named; of several explanations the nearest, and those that give the same number."""
    is_a(answer, float, "the lag")
    mine, right = float(number(answer)), _lag(inputs)
    if math.isclose(mine, right, rel_tol=2e-3):
        return
    explained = {}
    for steps in product(SCORES, DIVISORS, SLOPES, RETURNED):
        bugs = [says for says in steps if says]
        if len(bugs) < 4 and math.isclose(mine, wrong := _lag(inputs, *steps), rel_tol=3e-5):
            explained.setdefault(len(bugs), []).append((abs(wrong - mine), bugs[0]))
    if explained:
        n = min(explained)
        nearest = min(explained[n])[0] + 1e-9 * abs(mine)
        says = "; or: ".join(dict.fromkeys(bug for off, bug in explained[n] if off <= nearest))
        raise Wrong(says + ("; and this is not the only bug" if n > 1 else ""))
    close(mine, right, "the lag", rtol=2e-3)


def lags_in_other_forms(inputs, answer):
    try:
        lags(inputs, answer)
    except Wrong as wrong:
        raise Wrong(f"this is the head of the part above in another form, whose weights are the same: {wrong}") from None


# q4


def _layers(seed, sizes):
    generator = _generator(seed)
    for number, (n_head, T, N, d_head) in enumerate(sizes):
        z = _normal(generator, n_head, T, d_head)
        elsewhere = _normal(generator, n_head, N, d_head) + 2 * _normal(generator, n_head, 1, d_head)
        yield z, elsewhere, _normal(generator, n_head * d_head, 5 + seed), (number + seed) % n_head


def one_head(seed):
    yield from _layers(seed, ((1, 4, 6, 3), (1, 2, 7, 2 + seed)))


def several_heads(seed):
    yield from _layers(seed, ((2, 5, 9, 3), (4, 3, 8, 3 + seed), (3, 3, 3, 3)))


def _written(z, W_O):
    return z.transpose(0, 1).flatten(1) @ W_O


def layer_written(inputs, answer):
    z, elsewhere, W_O, head = inputs
    n_head, T, d_head = z.shape

    def with_(new, at=head):
        z_new = z.clone()
        z_new[at] = new
        return z_new

    mean = elsewhere[head].mean(0)
    mine = with_(mean)
    rows = W_O.unflatten(0, (n_head, d_head))
    mistakes = {
        "the head is set to 0, or left out; what it gives on average should still be there": _written(with_(0), W_O),
        "this is the mean over the same text, and should be the one over other texts":
            _written(with_(z[head].mean(0)), W_O),
        "the head gives one number in all channels; each channel has a mean of its own":
            _written(with_(elsewhere[head].mean()), W_O),
        "the mean is taken over the channels of each token, and should be over tokens for each channel":
            _written(with_(z[head].mean(-1, keepdim=True)), W_O),
        "the layer writes what it wrote before: no head is switched off": _written(z, W_O),
        "this is the output of the heads, and not yet what W_O writes of it": mine.transpose(0, 1).flatten(1),
    }
    if n_head > 1:
        mistakes |= {
            "all heads give their means; only one is switched off":
                _written(elsewhere.mean(1, keepdim=True).expand_as(z), W_O),
            "the head gives the mean of all heads, and not its own": _written(with_(elsewhere.mean((0, 1))), W_O),
            "another head is switched off: heads are counted from 0":
                _written(with_(elsewhere[head - 1].mean(0), (head - 1) % n_head), W_O),
            "only what this head writes is there, and the other heads write, too": (mean @ rows[head]).expand(T, -1),
            "the outputs are not side by side, head after head, before W_O: two axes are exchanged":
                mine.reshape(T, -1) @ W_O,
            "the channels of the heads alternate before W_O; they should stand head after head":
                mine.permute(1, 2, 0).flatten(1) @ W_O,
        }
    if elsewhere.shape[1] >= T:
        mistakes["the outputs of one other text are put in; that is resampling, and the mean is asked for"] = (
            _written(with_(elsewhere[head, :T]), W_O))
    close(answer, _written(mine, W_O), "the output of the layer", axes=("token", "channel"), rtol=1e-3, atol=1e-4,
          mistakes=mistakes)


# q5


def _runs(seed, marks):
    generator = _generator(seed)
    for number, (n_head, T, d) in enumerate(((2, 4, 3), (3, 7 + seed, 4))):
        run, other = (tuple(_normal(generator, n_head, T, d) for _ in range(3)) for _ in range(2))
        swap = torch.ones(T, dtype=torch.bool)
        if marks == "some":
            swap = torch.arange(T) % 3 == 1
        yield run, other, (number + seed) % n_head, swap


def all_tokens(seed):
    yield from _runs(seed, "all")


def some_tokens(seed):
    yield from _runs(seed, "some")


def _patched(inputs, parts="v", heads="one", where="swap", hide="before", root=True):
    run, other, head, swap = inputs
    swap = {"swap": swap, "not": ~swap, "all": torch.ones_like(swap)}[where]
    at = torch.zeros(run[0].shape[:2], dtype=torch.bool)
    at[slice(None) if heads == "all" else head] = swap
    q, k, v = (torch.where(at[..., None], new, old) if name in parts else old for name, old, new in zip("qkv", run, other))
    scores = q @ k.transpose(-1, -2) / (math.sqrt(q.shape[-1]) if root else 1)
    return _attend(scores, v, hide)


UNHIDDEN = {
    "a token sees later ones": None,
    "later keys get their 0 after the softmax here, so the weights that are left do not sum to 1": "after",
}


def other_heads(inputs, answer):
    run, other, head, swap = inputs
    clean = _patched(inputs, parts="")
    got = torch.from_numpy(same_shape(answer, clean, "the outputs", axes=("head", "token", "channel")))
    of_this = (torch.arange(len(clean)) == head)[:, None, None]

    def rest(z):
        """With this head as if nothing were patched: that is for the other parts to judge."""
        return torch.where(of_this, clean, z.float())

    mistakes = {
        "every head has other values here; only one head is patched": _patched(inputs, heads="all"),
        "another head is patched: heads are counted from 0": _patched((run, other, head - 1, swap)),
        "the scores are not divided by √d": _patched(inputs, parts="", root=False),
        "the two runs are exchanged: these are the heads of the other run": _patched((other, run, head, swap), parts=""),
    } | {says: _patched(inputs, parts="", hide=hide) for says, hide in UNHIDDEN.items()}
    _named(rest(got), clean, {says: rest(z) for says, z in mistakes.items()}, rtol=1e-3, atol=1e-4)
    close(rest(got), clean, "the outputs of the heads that are not patched", axes=("head", "token", "channel"),
          rtol=1e-3, atol=1e-4)


def one_patched(inputs, answer):
    run, other, head, swap = inputs
    right, clean = _patched(inputs), _patched(inputs, "")
    there = (torch.arange(len(clean)) == head)[:, None, None] & swap[:, None]
    mistakes = {
        "this head takes its keys from the other run, too: only values say which of the two holds the name":
            _patched(inputs, "kv"),
        "this head takes its keys from the other run, and keeps its values: it should be the other way around":
            _patched(inputs, "k"),
        "this head takes queries, keys and values from the other run": _patched(inputs, "qkv"),
        "this head takes queries and values from the other run": _patched(inputs, "qv"),
        "this head takes its queries from the other run": _patched(inputs, "q"),
        "this head looks with the queries and keys of the other run at its own values": _patched(inputs, "qk"),
        "every head has other values here; only one head is patched": _patched(inputs, heads="all"),
        "another head is patched: heads are counted from 0": _patched((run, other, head - 1, swap)),
        "nothing is patched here": clean,
        "the two runs are exchanged: the values of the other run go into the first": _patched((other, run, head, swap)),
        "the scores are not divided by √d": _patched(inputs, root=False),
        "its outputs are those of the other run at these tokens. What is patched is what it reads there, and later tokens read it":
            torch.where(there, _patched(inputs, "qkv", "all", "all"), clean),
    } | {says: _patched(inputs, hide=hide) for says, hide in UNHIDDEN.items()}
    if not swap.all():
        mistakes |= {
            "the values are patched at all tokens, and not only where `swap` is True": _patched(inputs, where="all"),
            "the values are patched where `swap` is False": _patched(inputs, where="not"),
            "its outputs change only at the tokens where `swap` is True; later tokens read the values there, too":
                torch.where(there, right, clean),
            "keys and values are patched at all tokens; only values should be, and only where `swap` is True":
                _patched(inputs, "kv", where="all"),
        }
    close(answer, right, "the outputs", axes=("head", "token", "channel"), rtol=1e-3, atol=1e-4, mistakes=mistakes)


# q6


def rows(seed):
    generator = _generator(seed)
    for T, d_v in ((3, 2), (6 + seed, 3)):
        yield 1.5 * _normal(generator, T), _normal(generator, T, d_v)
    yield _normal(generator, 5) - 200, _normal(generator, 5, 2)  # the weights that it would have without the 200
    yield torch.zeros(4), _normal(generator, 4, 2)


def hidden_keys(seed):
    generator = _generator(seed)
    for T, d_v in ((5, 3), (7 + seed, 2)):
        scores = _normal(generator, T)
        scores[-2 - seed % 2 :] = -torch.inf
        yield scores, _normal(generator, T, d_v)


def one_key_has_it_all(seed):
    generator = _generator(seed)
    for T, gap in ((4, 12.0), (5 + seed, 40.0), (6, 200.0)):
        scores = _normal(generator, T)
        scores[(1 + seed) % T] += gap
        yield scores, _normal(generator, T, 3)


def _left(w, key):
    """1 - w[key] with all its digits."""
    return float(w[torch.arange(len(w)) != key].sum())


def _why_strange(scores, w, key, strange):
    """Why the change by deleting a key is no number; `strange` says for which keys it is none."""
    if scores[key] == -torch.inf:
        return "this key is hidden, and there is nothing to delete"
    if w[key] > 0.99 and strange.sum() == 1:
        return (f"its weight is 1 to within {_left(w, key):.0e}, and 1 − w is 0 once it is rounded; "
                "the other keys share what is left")
    if scores[scores > -torch.inf].abs().max() > 80:
        return "32 bits cannot hold e to the power of such a score, so a softmax takes the largest score off all of them first"
    return "the other keys still have weights that sum to 1"


def changes(inputs, answer):
    scores, v = inputs
    s, values = scores.double(), v.double()
    w = torch.softmax(s, -1)
    z = w @ values
    without = torch.softmax(s.expand(len(s), -1).clone().fill_diagonal_(-torch.inf), -1) @ values
    right = (without - z).float()
    got = same_shape(answer, right, "the changes", axes=("key", "channel"))
    strange = ~np.isfinite(got).all(-1)
    if strange.any():
        key = int(strange.argmax())
        what = got[key][~np.isfinite(got[key])][0]
        raise Wrong(f"the change by deleting key {key} is {what}: {_why_strange(s, w, key, strange)}")
    at_zero = torch.softmax(s.expand(len(s), -1).clone().fill_diagonal_(0), -1) @ values
    part = w[:, None]
    mistakes = {
        "the key's part is taken away, and nothing is given to the others; without it, their weights sum to 1 again":
            -part * values,
        "the key's part is what is computed; deleting it takes it away, and the other weights sum to 1 again": part * values,
        "the sign: the answer without the key minus the answer with all keys": z - without,
        "these are the answers without each key, and not yet their change": without,
        "this is the slope of the answer in the key's score: right for a small step, and deleting is a large one":
            part * (values - z),
        "this is a first step only: the other weights are divided by 1 − w, too": part * (z - values),
        "what the key had is dealt out in equal parts; the others keep their proportions":
            (w + part / (len(w) - 1)).fill_diagonal_(0) @ values - z,
    }
    if s.max() > -100:
        mistakes["the score of the deleted key is 0 here, and exp(0) is 1: it is still there"] = at_zero - z
    else:
        mistakes["all weight goes to the key that is deleted, so its new score is far above the others. −100 is small among "
                 "scores near 0, and large among scores near −200; only −∞ is below all"] = values - z
    _named(got, right, mistakes, rtol=1e-3, atol=1e-5)
    heavy = int(w.argmax())
    off = ~np.isclose(got, right, 1e-3, 1e-5).all(-1)
    if w[heavy] > 0.99 and off[heavy] and off.sum() == 1:
        raise Wrong(f"the change by deleting key {heavy} is inexact, and those of all other keys are right: its weight is 1 to "
                    f"within {_left(w, heavy):.0e}, and few digits are left of 1 − w, or of the answer minus this key's value, once it is rounded")
    close(answer, right, "the changes", axes=("key", "channel"), rtol=1e-3, atol=1e-5)


SHEET = Sheet("12_reading_the_heads", "Reading the heads", questions=(
    Question("q1", "One head, two ways of reading", function="effective_keys", minutes=10, difficulty=1,
             parts=(Part("all weights above 0", 1, counted_apart, open_maps),
                    Part("a causal map", 2, counted_apart, causal_maps)),
             hints=("What is −w ln w for w = 0.1, 0.001, 0.00001? Where does it go?",
                    "`torch.where(weights > 0, …, 0.0)` chooses element by element; `torch.special.entr` knows the limit.",
                    "`keys[due]` are those of the rows that are due, and `~due` is the opposite.")),
    Question("q2", "Fool a measure", function="other_form", minutes=20, difficulty=3,
             parts=(Part("all weights are as they were", 1, same_weights, heads, needs_another=True),
                    Part("the farthest key is the nearest", 3, fooled, heads)),
             hints=("q·k stays if q becomes Aq and k becomes A⁻ᵀk, for any A that can be inverted.",
                    "Choose an A that shrinks one direction, and leaves all others as they are. Which direction?",
                    "x − (1 − ε) (u·x) u shrinks the part of x along u, a vector of length 1, and ε = 0.01 is small enough. "
                    "What undoes it?")),
    Question("q3", "A clock, with bugs", function="lag", minutes=20, difficulty=2,
             parts=(Part("one channel, keys that begin at 0", 1, lags, one_channel),
                    Part("several channels", 1, lags, from_zero),
                    Part("keys that begin anywhere", 2, lags, any_clock),
                    Part("the same head in other forms", 1, lags_in_other_forms, other_forms)),
             hints=("Read the formula in the question, and then the first line of the function, sign by sign.",
                    "What does k → k + c do to the scores of one query? And what should it do to their slope?",
                    "A line by least squares has a constant, too. What has to be taken off t, so that it drops out?")),
    Question("q4", "Switch a head off", function="ablated", minutes=15, difficulty=2,
             parts=(Part("a layer of one head", 1, layer_written, one_head),
                    Part("several heads", 3, layer_written, several_heads)),
             hints=("Over which axis of elsewhere[head], of shape (N, d_head), is the mean that has d_head numbers?",
                    "The outputs come as (n_head, T, d_head), and W_O wants the heads side by side: (T, n_head · d_head).",
                    "Work on a copy of z: the check looks whether your function changes what it was given.")),
    Question("q5", "Patch its values", function="patched", minutes=15, difficulty=2,
             parts=(Part("the other heads do what they did", 1, other_heads, some_tokens, needs_another=True),
                    Part("values of the other run at all tokens", 2, one_patched, all_tokens),
                    Part("values of the other run at some tokens", 2, one_patched, some_tokens)),
             hints=("Of six tensors, which one changes, and in which of its places?",
                    "`v[head, swap] = …` writes into the places of one head where `swap` is True; copy v before.",
                    "After the patch it is ordinary causal attention of all heads.")),
    Question("q6", "Delete a key", function="deletions", minutes=20, difficulty=3,
             parts=(Part("several keys", 2, changes, rows),
                    Part("hidden keys", 1, changes, hidden_keys),
                    Part("one key has nearly all the weight", 2, changes, one_key_has_it_all)),
             hints=("Without key j the weights of the others sum to 1. By which factor did each of them grow?",
                    "The change is w/(1 − w) times a difference of two vectors. What is 1 − w in 32 bits if w = 1 − 10⁻⁹?",
                    "A key whose score is −∞ is not there. One row of scores for each key that is deleted is a matrix.")),
))
