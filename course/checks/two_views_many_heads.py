"""Sheet 06: two views, many heads."""

import math
from itertools import product

import torch

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a, same_shape
from tinyllm.attention import attention, causal_mask
from tinyllm.smoothing import nadaraya_watson


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def wide_heads(seed):
    yield (5, 2, 64, 4)
    yield (2, 1, 16, 4)
    yield (3 + seed, 2, 64, 5)
    yield (2, 4, 64, 4 + seed)


def narrow_heads(seed):
    yield (2, 2, 8, 8)
    yield (3, 4, 8 + 4 * seed, 6)


def least_error(inputs, answer):
    lookups, n_head, d_model, channels = inputs
    is_a(answer, float, "the error")
    wanted, d_head = lookups * channels, d_model // n_head
    right = max(0.0, 1 - n_head * min(channels, d_head) / wanted)
    close(answer, right, "the bound", rtol=1e-6, atol=1e-9, mistakes={
        "an error below 0: some heads have nothing left to do": 1 - n_head * min(channels, d_head) / wanted,
        "this takes a head to hold a whole value, but it has only d_model / n_head channels":
            max(0.0, 1 - n_head / lookups),
        "this is the share that the heads can answer, not the share that they miss": 1 - right,
        "only one head is in your bound: what do the others answer?": max(0.0, 1 - min(channels, d_head) / wanted),
    })


# q2


def layers(seed):
    yield (10 + seed, 24, 4, False)
    yield (7, 16, 2 ** (seed % 5), True)
    yield (64, 32, 8, seed % 2 == 0)


def _cost(T, d, n_head, bias):
    return 4 * d * d + 4 * d * bias, 4 * T * d * d + 2 * T * T * d


def parameters(inputs, answer):
    T, d, n_head, bias = inputs
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"expected two numbers, (parameters, multiplications), yours has {len(answer)}")
    right, b = _cost(*inputs)[0], int(bias)
    equal(answer[0], right, "the number of parameters", mistakes={
        "the parameters are counted once per head, as if each head had matrices of the full width":
            n_head * right,
        "W_Q, W_K and W_V are counted for each head at full width":
            3 * n_head * (d * d + d * b) + d * d + d * b,
        "W_O is missing": 3 * (d * d + d * b),
        "the biases are missing": 4 * d * d,
        "the output map has a bias, too": 4 * d * d + 3 * d * b,
        "a bias is one number for each channel that comes out": 4 * d * d + 4 * b,
        "W_O is counted as d_head × d_model; it reads all heads":
            3 * (d * d + d * b) + d // n_head * d + d * b,
    })


def multiplications(inputs, answer):
    T, d, n_head, bias = inputs
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"expected two numbers, (parameters, multiplications), yours has {len(answer)}")
    maps, pairs = 4 * T * d * d, T * T * d
    equal(answer[1], maps + 2 * pairs, "the number of multiplications", mistakes={
        "the work on pairs of tokens is counted at full width for each head": maps + 2 * n_head * pairs,
        "everything is counted at full width for each head": n_head * (maps + 2 * pairs),
        "the weighted means of the values are missing (or the scores)": maps + pairs,
        "the four linear maps are missing": 2 * pairs,
        "the pairs of tokens are missing": maps,
        "W_O is missing": maps - T * d * d + 2 * pairs,
        "half of the pairs are left out; here the mask saves nothing": maps + T * (T + 1) * d,
    })


# q3


def guess(inputs, answer):
    is_a(answer, float, "the number")
    answer = float(answer)
    if not answer.is_integer():
        raise Wrong(f"a number of eigenvalues is a whole number, and {answer:g} is none")
    answer = int(answer)
    if not 0 <= answer <= 64:
        raise Wrong(f"a matrix of 64 × 64 cannot have {answer} negative eigenvalues")
    negative = []
    for seed in range(5):
        W_q, W_k = torch.randn(2, 64, 48, dtype=torch.float64, generator=_generator(seed))
        W_qk = W_q @ W_k.T
        negative.append(int((torch.linalg.eigvalsh(W_qk + W_qk.T) < -1e-9).sum()))
    if answer == 0:
        raise Wrong("none would mean that the score is positive semidefinite: only if W_K = W_Q, or nearly so")
    if abs(answer - sum(negative) / 5) > 3:
        amount = "more" if answer > 32 else "fewer"
        raise Wrong("the guess is more than 3 away from what five draws gave: how many eigenvalues are there "
                    f"in all, and is there a reason for {amount} of them to be negative than positive?")
    return f"you guessed {answer}; five draws gave {', '.join(map(str, negative))}"


# q4


def one_head(seed):
    yield from _texts(seed, n_heads=(1,))


def one_token(seed):
    yield from _texts(seed, n_heads=(2, 3), T=1)


def more_heads(seed):
    yield from _texts(seed, n_heads=(2, 3))


def _texts(seed, n_heads, T=None):
    for n_head in n_heads:
        x, W_qkv, W_o = (torch.randn(n, m, generator=_generator(seed + i))
                         for i, (n, m) in enumerate([(T or 6 + seed, 12), (12, 36), (12, 12)]))
        yield (x, W_qkv / 3, W_o / 3, n_head)


def _many_heads(inputs, by="channels", mask="causal", width="d_head", join="side by side"):
    """Multi-head attention with the mistakes that people make."""
    x, W_qkv, W_o, n_head = inputs
    (T, C), d_head = x.shape, x.shape[1] // n_head
    q_k_v = (x @ W_qkv).chunk(3, dim=-1)
    if by == "channels":
        q, k, v = (z.unflatten(-1, (n_head, d_head)).transpose(0, 1) for z in q_k_v)
    elif by == "interleaved":
        q, k, v = (z.unflatten(-1, (d_head, n_head)).movedim(-1, 0) for z in q_k_v)
    else:
        q, k, v = (z.reshape(n_head, T, d_head) for z in q_k_v)
    scores = q @ k.transpose(-2, -1) / math.sqrt({"d_head": d_head, "d_model": C, "none": 1}[width])
    may, plain = causal_mask(T), torch.softmax(scores, -1)
    weights = {
        "causal": lambda: torch.softmax(scores.masked_fill(~may, -torch.inf), -1),
        "inverted": lambda: torch.softmax(scores.masked_fill(~may.T, -torch.inf), -1),
        "strict": lambda: torch.softmax(scores.masked_fill(may, -torch.inf), -1),
        "without itself": lambda: torch.softmax(scores.masked_fill(~may.tril(-1), -torch.inf), -1),
        "without itself, finite": lambda: torch.softmax(scores.masked_fill(~may.tril(-1), -1e9), -1),
        "after": lambda: plain * may,
        "after, inverted": lambda: plain * may.T,
        "none": lambda: plain,
        "queries": lambda: torch.softmax(scores.masked_fill(~may, -torch.inf), -2),
    }[mask]()
    heads = weights @ v
    joined = {
        "side by side": lambda: heads.transpose(0, 1).reshape(T, C),
        "averaged": lambda: heads.mean(0).repeat(1, n_head),
        "summed": lambda: heads.sum(0).repeat(1, n_head),
        "reshaped": lambda: heads.reshape(T, C),
    }[join]()
    return joined @ W_o


MASKS = {
    "the mask is inverted: a token sees itself and what comes later": "inverted",
    "the mask is inverted: a token sees only what comes later": "strict",
    "the mask hides a token from itself, too: the first one has nothing left to look at": "without itself",
    "the mask hides a token from itself, too: the first one, with nothing left, looks at all alike":
        "without itself, finite",
    "the mask comes after the softmax: the weights that are left no longer sum to 1": "after",
    "the mask comes after the softmax, and it is inverted: a token sees what comes later": "after, inverted",
    "a token sees what comes later: the mask has no effect": "none",
    "the softmax runs over the queries, not over the keys": "queries",
}
SPLITS = {
    "the tokens are dealt out to the heads, not the channels: split the channel axis, then let the heads change "
    "places with the tokens": "tokens",
    "a head gets every n-th channel here; it should get neighboring ones": "interleaved",
}
JOINS = {
    "the heads are averaged; they should stand side by side": "averaged",
    "the heads are summed before W_O; they should stand side by side": "summed",
    "the heads are joined with their tokens in the wrong order: the axis that was moved to the front has to move back "
    "first": "reshaped",
}
NO_SCALE = {"the scores are not divided by the root of d_head": "none"}
WIDTHS = {"the scores are divided by the root of d_model; a head has only d_head channels": "d_model"} | NO_SCALE


def masked(inputs, answer):
    close(answer, _many_heads(inputs), "the output", axes=("token", "channel"), mistakes={
        says: _many_heads(inputs, mask=mask) for says, mask in MASKS.items()
    } | {says: _many_heads(inputs, width=width) for says, width in NO_SCALE.items()})


def joined(inputs, answer):
    close(answer, _many_heads(inputs), "the output for a text of one token", axes=("token", "channel"), mistakes={
        says: _many_heads(inputs, join=join) for says, join in JOINS.items()
    } | {says: _many_heads(inputs, by=by) for says, by in SPLITS.items()}
      | {says: _many_heads(inputs, mask=mask) for says, mask in MASKS.items() if mask == "without itself"})


def all_heads(inputs, answer):
    """Of several mistakes the first is named, in the order of the program; the others are left to find."""
    right = _many_heads(inputs)
    got = torch.as_tensor(same_shape(answer, right, "the output", axes=("token", "channel"))).float()
    near = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True}
    if torch.allclose(got, right, **near):
        return
    kinds = [{"": fine} | wrong for fine, wrong in
             (("channels", SPLITS), ("causal", MASKS), ("d_head", WIDTHS), ("side by side", JOINS))]
    for says in sorted(product(*kinds), key=lambda says: sum(map(bool, says))):  # few mistakes before many
        named = [what for what in says if what]
        if named and torch.allclose(
            got, _many_heads(inputs, *(kind[what] for kind, what in zip(kinds, says))), **near
        ):
            raise Wrong(named[0] + ("; and this is not the only bug" if named[1:] else ""))
    close(answer, right, "the output", axes=("token", "channel"))


# q5


def texts_with_weights(seed):
    generator = _generator(seed)
    for n_head, T in ((1, 6), (2 + seed, 12)):
        ids = torch.randint(4 + seed, (T,), generator=generator)
        ids[-1] = ids[0]  # something is said twice
        scores = 2 * torch.randn(n_head, T, T, generator=generator)
        yield (torch.softmax(scores.masked_fill(~causal_mask(T), -torch.inf), -1), ids)


def perfect_heads(seed):
    """Heads that look at one place each: after the earlier copy, at it, before it, one back, at themselves."""
    period = 4 + seed
    ids = torch.arange(period).repeat(2)
    t = torch.arange(len(ids))
    places = torch.stack([t - period + 1, t - period, t - period - 1, t - 1, t]).clamp(min=0)
    yield (torch.nn.functional.one_hot(places, len(ids)).float(), ids)


def induction(inputs, answer):
    weights, ids = inputs
    T = len(ids)
    got = same_shape(answer, weights[:, 0, 0], "the scores", axes=("head",))
    if any(math.isnan(number) for number in got.flatten()):
        raise Wrong("nan: the mean was taken over no query at all")
    same = ids[:, None] == ids
    earlier = same & causal_mask(T) & ~torch.eye(T, dtype=torch.bool)
    after = torch.zeros_like(same)
    after[:, 1:] = earlier[:, :-1]
    after[torch.arange(1, T), torch.arange(1, T)] = ids[1:] == ids[:-1]

    def score(where, queries=None):
        there = (weights * where).sum(-1)
        queries = where.any(-1) if queries is None else queries
        return there[:, queries].mean(-1)

    before = torch.zeros_like(same)
    before[:, :-1] = earlier[:, 1:]
    last = torch.zeros_like(after)
    for t in range(T):
        if after[t].any():
            last[t, after[t].nonzero().max()] = True
    close(answer, score(after), "the scores", axes=("head",), mistakes={
        "this is the weight on the earlier copies themselves; the answer stands one place after them": score(earlier),
        "this is the weight on all copies, the token itself among them": score(same & causal_mask(T)),
        "this is the weight on the places before the earlier copies": score(before),
        "this is the weight on the token before": weights.diagonal(-1, -2, -1).mean(-1),
        "queries whose token is new have nothing to look at, and are in your mean all the same":
            (weights * after).sum(-1).mean(-1),
        "only the last of several earlier copies is counted": score(last),
        "the place right after an earlier copy may be the query's own, which is left out here": score(after.tril(-1)),
        "the weights are averaged over places; they should be added up, and averaged over queries":
            weights[:, after].mean(-1),
        "the largest weight counts here; add up all places after a copy":
            (weights * after).amax(-1)[:, after.any(-1)].mean(-1),
    })


# q6


def two_bandwidths(seed):
    yield ([0.2, 0.2 * math.sqrt(2)],)
    yield ([0.1, 0.25 + 0.1 * seed],)


def more_bandwidths(seed):
    yield ([0.3],)
    yield ([0.1, 0.2, 0.3 + 0.05 * seed],)
    yield ([0.1, 0.15, 0.2, 0.25],)


def _solve(bandwidths, first, power):
    h = torch.tensor(bandwidths, dtype=torch.float64)
    exponents = [0] + [first + power * i for i in range(len(h) - 1)]
    right = torch.zeros(len(h), dtype=torch.float64)
    right[0] = 1
    return torch.linalg.solve(torch.stack([h**p for p in exponents]), right)


def output_weights(inputs, answer):
    (bandwidths,) = inputs
    right = _solve(bandwidths, 2, 2)
    got = torch.as_tensor(same_shape(answer, right, "the output weights", axes=("head",))).double()
    if abs(got.sum() - 1) > 1e-6:
        raise Wrong(f"the output weights sum to {got.sum():.3g}: where all values are 1, the answer should be 1")
    close(answer, right, "the output weights", axes=("head",), rtol=1e-6, atol=1e-6, mistakes={
        "these remove terms in h, h², …; a symmetric kernel has only even ones: h² and h are confused":
            _solve(bandwidths, 1, 1),
        "these remove h⁴ and above, and leave the largest term, h²": _solve(bandwidths, 4, 2),
        "all heads weigh the same here: that mixes their biases and removes none": torch.full_like(right, 1 / len(right)),
        "the weights stand in the wrong order": right.flip(0),
        "these are the weights for h and √2 h only; they depend on the bandwidths":
            torch.tensor([2.0, -1.0], dtype=torch.float64),
    })
    x = torch.linspace(-4, 4, 2001, dtype=torch.float64)[:, None]
    h = torch.tensor(bandwidths, dtype=torch.float64)[:, None, None]
    here = torch.ones(1, 1, dtype=torch.float64)
    bias = nadaraya_watson(here, x, x.sin(), h).flatten() - math.sin(1)
    return f"bias of the best single head {bias.abs().min():.1e}, of all together {abs(got @ bias):.1e}"


SHEET = Sheet("06_two_views_many_heads", "Two views, many heads", questions=(
    Question("q1", "How many answers fit", function="least_error", minutes=15, difficulty=2,
             parts=(Part("heads with room for a whole value", 2, least_error, wide_heads),
                    Part("heads narrower than a value", 1, least_error, narrow_heads)),
             hints=("Which rank does the matrix have that picks out all wanted numbers, and which rank can the heads reach together?",
                    "A mean of values passes through W_V and its head. Where is the bottleneck?")),
    Question("q2", "The bill", function="cost", minutes=10, difficulty=1,
             parts=(Part("the parameters", 1, parameters, layers),
                    Part("the multiplications", 1, multiplications, layers)),
             hints=("A product of (a, b) and (b, c) takes a·b·c multiplications.",
                    "Work out the scores of one head, with its d_head channels, and only then multiply by n_head.")),
    Question("q3", "A head too wide", function="guessed_negative", minutes=5, difficulty=1,
             parts=(Part("the guess is near what is measured", 1, guess),),
             hints=("¼(A Aᵀ − B Bᵀ) with A and B of 48 columns: can both have their full say in 64 dimensions?",
                    "Turn the sign of W_K. What happens to the eigenvalues, and is −W_K any less random?")),
    Question("q4", "Bugs that keep the shape", function="many_heads", minutes=20, difficulty=2,
             parts=(Part("with one head it is causal attention", 2, masked, one_head),
                    Part("with one token the heads stand side by side", 1, joined, one_token),
                    Part("several heads and several tokens", 3, all_heads, more_heads)),
             hints=("Print the weights of the first token. Where may it look?",
                    "Fill q with the number of the channel, and look at what head 0 receives.",
                    "How many terms are in the sum of one score?")),
    Question("q5", "Is it an induction head?", function="induction_score", minutes=20, difficulty=2,
             parts=(Part("heads that look at one place each, right after a copy or elsewhere", 2, induction, perfect_heads,
                         needs_another=True),
                    Part("weights of any kind", 2, induction, texts_with_weights)),
             hints=("Write the table of T × T truths for the text a b a b by hand, before any code.",
                    "Key j is right for query t if token j − 1 equals token t. What does that say about j = 0?")),
    Question("q6", "Any number of heads", function="output_weights", minutes=25, difficulty=3,
             parts=(Part("two heads of any two bandwidths", 2, output_weights, two_bandwidths),
                    Part("any number of heads", 2, output_weights, more_bandwidths)),
             hints=("n weights can meet n conditions. One is that constants come out right. Which are the others?",
                    "Write the conditions as a matrix: one row for each power of h, one column for each head.")),
))
