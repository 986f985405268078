"""Sheet 09: generating."""

import math
from itertools import product

import torch

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a, same_shape


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def steeper(seed):
    yield (0.6, 0.3, 5.0)
    yield (0.5, 0.2 - 0.02 * (seed % 9), 100.0)


def flatter(seed):
    yield (0.9, 0.05, 3.0)
    yield (0.4 + 0.05 * (seed % 9), 0.1, 1.5)


def temperature(inputs, answer):
    first, second, odds = inputs
    is_a(answer, float, "the temperature")
    right = math.log(first / second) / math.log(odds)
    close(answer, right, "the temperature", rtol=1e-6, mistakes={
        "this is β = 1/τ: what the logits are multiplied with, not divided by": 1 / right,
        "the odds at temperature 1 are divided by the wanted ones; temperature is an exponent of them":
            first / second / odds,
        "the wanted odds are divided by those at temperature 1; temperature is an exponent of them":
            odds * second / first,
        "the difference of two probabilities is not that of their logits": (first - second) / math.log(odds),
        "the temperature is on both sides: the wanted odds need a logarithm, too":
            math.log(first / second) / odds,
    })


# q2


def servers(seed):
    yield (2**30, 10, 12, 12, 64, 1, 4)
    yield (8 * 2**30, 32, 32, 8, 128, 4 + seed, 2)
    yield (10**6, 5, 4, 4, 32, 1, 4)
    yield (10**9 + 7 * seed, 24, 16, 2, 64, 3, 1)


def longest(inputs, answer):
    memory, n_layer, n_head, n_kv_head, d_head, batch_size, size = inputs
    per_token = 2 * n_layer * n_kv_head * d_head * batch_size * size
    is_a(answer, int, "the number of tokens")
    right = memory // per_token
    equal(answer, right, "the number of tokens", mistakes={
        "either the keys or the values are left out": memory // (per_token // 2),
        "the queries of n_head heads share the keys and values of fewer: n_kv_head of them are kept":
            memory // (per_token // n_kv_head * n_head),
        "each of n_kv_head heads keeps its own keys and values; their number is left out":
            memory // (per_token // n_kv_head),
        "each layer keeps its own keys and values; n_layer is left out": memory // (per_token // n_layer),
        "all texts of the batch need room; batch_size is left out": memory // (per_token // batch_size),
        "these are numbers, not bytes": memory // (per_token // size),
        "the last token does not fit: round down": -(-memory // per_token),
        "this is what one token takes": per_token,
        "queries are not kept: each is used once": memory // (per_token * 3 // 2),
    })


# q3


def _greedy_is_best(seed, branches=3, length=8):
    """In one random language: is the text that greedy decoding finds the likeliest one?"""
    generator = _generator(seed)
    best = greedy = torch.ones(branches**length, dtype=torch.float64)
    while len(best) > 1:  # from the ends of all texts to their beginning
        e = -torch.rand(len(best) // branches, branches, dtype=torch.float64, generator=generator).log()
        p = e / e.sum(-1, keepdim=True)
        greedy = (p * greedy.view_as(p)).gather(1, p.argmax(-1, keepdim=True))[:, 0]
        best = (p * best.view_as(p)).amax(-1)
    return bool(greedy[0] > 0.999999 * best[0])


def share(inputs, answer):
    is_a(answer, float, "the share")
    if not 0 <= answer <= 1:
        raise Wrong("a share lies between 0 and 1")
    if answer > 0.95:
        raise Wrong("greedy decoding looks one token ahead: what follows its first choice may be thinly spread")
    if answer < 0.02:
        raise Wrong("a text drawn blindly is the likeliest as rarely; of 6561 texts the greedy one is among the likeliest")
    measured = sum(map(_greedy_is_best, range(300))) / 300
    if abs(answer - measured) > 0.15:
        raise Wrong("the prediction is more than 0.15 away from what 300 languages gave: try shorter texts on paper, "
                    "of two tokens, then think what each further token does")
    return f"you predicted {answer:.2f}; in 300 languages it was {measured:.2f}"


# q4


def ranked(seed):
    yield (torch.tensor([[0.5, 0.25, 0.15, 0.1]]), 0.7 - 0.05 * (seed % 9))
    yield (torch.tensor([[0.8, 0.12, 0.05, 0.03]]), 0.6)


def unranked(seed):
    p = torch.randn(3 + seed, 7, generator=_generator(seed)).mul(2).softmax(-1)
    yield (p, 0.6 + 0.1 * (seed % 5))
    yield (p.sort(dim=-1).values, 0.9)


ORDERS = {"the tokens are sorted from the least likely on, so that the tail is kept": False}
CUTS = {"the token that reaches top_p is cut; without it the rest has less than top_p": "short",
        "one token too many is kept: stop at the one that reaches top_p": "long"}
SUMS = {"what is kept does not sum to 1": "none",
        "each text is divided by the sum over all texts; it has a sum of its own": "all"}
BACKS = {"the probabilities stand in the order of their rank, not of the vocabulary": "ranked",
         "the ranks are undone in the wrong direction: order says where each came from, so scatter, not gather":
             "gather"}


def _nucleus(inputs, descending=True, cut="right", divide_by="own", back="scatter"):
    p, top_p = inputs
    sorted_p, order = p.sort(dim=-1, descending=descending)
    total = sorted_p.cumsum(-1)
    before = {"right": total - sorted_p, "short": total, "long": total - 2 * sorted_p}[cut]
    if cut == "long":  # what stands before the token before
        before = torch.nn.functional.pad((total - sorted_p)[:, :-1], (1, 0))
    kept = sorted_p * (before < top_p)
    kept = kept / {"own": kept.sum(-1, keepdim=True), "all": kept.sum(), "none": 1}[divide_by]
    if back == "ranked":
        return kept
    return kept.gather(-1, order) if back == "gather" else torch.zeros_like(p).scatter(-1, order, kept)


def nucleus(inputs, answer):
    kinds = [{"": right} | wrong for right, wrong in
             ((True, ORDERS), ("right", CUTS), ("own", SUMS), ("scatter", BACKS))]
    mistakes = {}
    for says in sorted(product(*kinds), key=lambda says: sum(map(bool, says))):  # few mistakes before many
        named = [what for what in says if what]
        if named:
            mistakes["; and ".join(named)] = _nucleus(inputs, *(kind[what] for kind, what in zip(kinds, says)))
    close(answer, _nucleus(inputs), "the probabilities", axes=("text", "token"), mistakes=mistakes)


# q5


def spoken(seed):
    texts = ["A plain text.", "Zoë, 世界", "🥧🥧é", "née 🥧 Zoë"]
    for text in texts[seed % 2 :]:
        data = text.encode()
        cuts = torch.randint(len(data) + 1, (2 + len(data) // 2,), generator=_generator(seed)).sort().values.tolist()
        yield ([data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)])],)


def bytewise(seed):
    yield ([bytes([b]) for b in ("é🥧" + "ab世"[seed:]).encode()],)


def _arriving(tokens):
    pieces, so_far = [], ""
    for n in range(1, len(tokens) + 1):
        text = b"".join(tokens[:n]).decode("utf-8", "ignore")  # only the end can be incomplete
        pieces.append(text[len(so_far) :])
        so_far = text
    return pieces


def stream(inputs, answer):
    (tokens,) = inputs
    right, whole = _arriving(tokens), b"".join(tokens).decode()
    is_a(answer, list, "the pieces")
    if len(answer) != len(tokens):
        raise Wrong(f"expected a piece for each token, {len(tokens)} here, \"\" where nothing new is certain; "
                    f"yours has {len(answer)}")
    for n, piece in enumerate(answer):
        is_a(piece, str, f"piece {n}")
    said = "".join(answer)
    if "\ufffd" in said:
        raise Wrong(f"piece {next(n for n, piece in enumerate(answer) if chr(0xFFFD) in piece)} holds \ufffd: "
                    "the token ends in the middle of a character, whose other bytes are still to come")
    if answer == [whole] or (said == whole and not any(answer[:-1]) and any(right[:-1])):
        raise Wrong("everything arrives with the last token: that is no stream")
    if said != whole and answer and whole == answer[-1]:
        raise Wrong("each piece repeats what was shown before; show only what is new")
    if said == "".join(t.decode("utf-8", "ignore") for t in tokens) != whole:
        raise Wrong("characters that are spread over several tokens are lost: keep their bytes for the next token")
    for n in range(len(tokens)):
        if len("".join(answer[: n + 1])) < len("".join(right[: n + 1])):
            raise Wrong(f"after token {n} text is held back that is complete: only the bytes of an unfinished "
                        "character have to wait")
    equal(answer, right, "the pieces", item="piece")


# q6


def written(seed):
    for temperature, n, V in ((0.6 + 0.1 * seed, 2000, 12), (1.6, 3000, 30)):
        generator = _generator(seed)
        logits = 2 * torch.randn(n, V, generator=generator, dtype=torch.float64)
        p = (logits / temperature).softmax(-1)
        yield (logits + 5, torch.multinomial(p, 1, generator=generator)[:, 0])


def _likeliest_temperature(logits, ids):
    low, high = 0.01, 100.0
    chosen = logits.gather(1, ids[:, None])[:, 0].mean()
    for _ in range(60):  # the expected logit falls as the temperature rises
        middle = math.sqrt(low * high)
        expected = ((logits / middle).softmax(-1) * logits).sum(-1).mean()
        low, high = (middle, high) if expected > chosen else (low, middle)
    return middle


def thermometer(inputs, answer):
    logits, ids = inputs
    is_a(answer, float, "the temperature")
    right = _likeliest_temperature(logits, ids)
    if not answer > 0:
        raise Wrong(f"a temperature is above 0; yours is {answer:.3g}")
    if abs(answer * right - 1) < 0.03 < abs(answer / right - 1):
        raise Wrong("this is β = 1/τ: the logits are multiplied by it, not divided")
    if abs(answer / right - 1) > 0.03:
        worse = _loss(logits, ids, answer) - _loss(logits, ids, right)
        amount = "high" if answer > right else "low"
        raise Wrong(f"too {amount}: another temperature makes the chosen tokens likelier, by {worse:.3f} nats for each")
    return f"your estimate is {answer:.2f}"


def _loss(logits, ids, temperature):
    return torch.nn.functional.cross_entropy(logits / temperature, ids).item()


SHEET = Sheet("09_generating", "Generating", questions=(
    Question("q1", "Odds to order", function="temperature_for", minutes=8, difficulty=1,
             parts=(Part("a temperature below 1", 1, temperature, steeper),
                    Part("a temperature above 1", 1, temperature, flatter)),
             hints=("What does a temperature do to the difference of two logits?",
                    "The odds at τ are those at 1, to some power.")),
    Question("q2", "How long a text fits", function="longest_text", minutes=8, difficulty=1,
             parts=(Part("the longest text for which the cache has room", 2, longest, servers),),
             hints=("How many numbers does one token leave behind, in one layer, for one key and its value?",
                    "A part of a token does not fit.")),
    Question("q3", "How good is greedy decoding?", function="predicted_share", minutes=10, difficulty=1,
             parts=(Part("the prediction is near what is measured", 1, share),),
             hints=("What if texts had a single token?",
                    "With two tokens greed fails when the second-best beginning has one ending that is much better. "
                    "There are six more tokens at which it can fail.")),
    Question("q4", "Four bugs in top-p", function="nucleus", minutes=20, difficulty=2,
             parts=(Part("a vocabulary that is sorted already", 2, nucleus, ranked),
                    Part("several texts, in any order", 3, nucleus, unranked)),
             hints=("Take ½, ¼, 0.15 and 0.1 with top_p 0.7, and print every line.",
                    "Does the token that brings the sum to top_p belong to those that are kept?",
                    "order[i] is the token of rank i. Where does the probability of rank i have to go?")),
    Question("q5", "No broken characters", function="pieces", minutes=20, difficulty=2,
             parts=(Part("tokens cut anywhere", 2, stream, spoken),
                    Part("one byte at a time", 1, stream, bytewise)),
             hints=("What should be kept of a token that ends inside a character, and for how long?",
                    "bytes.decode raises UnicodeDecodeError; its attribute `start` says where the trouble begins.")),
    Question("q6", "A thermometer for texts", function="temperature_of", minutes=25, difficulty=3,
             parts=(Part("the temperature at which the tokens were drawn", 4, thermometer, written),),
             hints=("Which temperature makes the chosen tokens likeliest? It is one number: you may search.",
                    "Differentiate the log-probability by β = 1/τ: it is best where the mean of the chosen logits is "
                    "the mean that the model expects.")),
))
