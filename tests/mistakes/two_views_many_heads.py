"""Wrong answers to sheet 06 that people give, and what they have to be told."""

LAYER = '''
def many_heads(x, W_qkv, W_o, n_head):
    T, C = x.shape
    q, k, v = (x @ W_qkv).chunk(3, dim=-1)
    q, k, v = (SPLIT for z in (q, k, v))
    scores = q @ k.transpose(-2, -1) / SCALE
    may = torch.ones(T, T, dtype=torch.bool).tril()
    weights = WEIGHTS
    heads = weights @ v
    return JOIN @ W_o
'''
RIGHT = {
    "SPLIT": "z.view(T, n_head, C // n_head).transpose(0, 1)",
    "SCALE": "math.sqrt(C // n_head)",
    "WEIGHTS": "torch.softmax(scores.masked_fill(~may, -torch.inf), -1)",
    "JOIN": "heads.transpose(0, 1).reshape(T, C)",
}


def _layer(**wrong: str) -> str:
    source = LAYER
    for name, code in (RIGHT | wrong).items():
        source = source.replace(name, code)
    return source


def _bound(code: str) -> str:
    return f"def least_error(lookups, n_head, d_model, channels): return {code}"


def _cost(parameters: str = "4 * d * d + 4 * d * bias", work: str = "4 * T * d * d + 2 * T * T * d") -> str:
    return f"def cost(T, d, n_head, bias): return ({parameters}, {work})"


def _score(body: str) -> str:
    return f'''
def induction_score(weights, ids):
    T = len(ids)
    same = ids[:, None] == ids
    earlier = same.tril(-1)
    after = torch.zeros(T, T, dtype=torch.bool)
    after[:, 1:] = same[:, :-1]
    after = after.tril()
    {body}
'''


def _solved(rows: str) -> str:
    return f'''
def output_weights(bandwidths):
    h = torch.tensor(bandwidths, dtype=torch.float64)
    right = torch.zeros(len(h), dtype=torch.float64)
    right[0] = 1
    return torch.linalg.solve(torch.stack([{rows}]), right)
'''


MISTAKES = [
    ("q1", "below 0", _bound("1 - n_head * min(channels, d_model // n_head) / (lookups * channels)")),
    ("q1", "only d_model / n_head channels", _bound("max(0.0, 1 - n_head / lookups)")),
    ("q1", "only d_model / n_head channels",
     _bound("max(0.0, 1 - n_head * min(channels, d_model) / (lookups * channels))")),
    ("q1", "the share that they miss",
     _bound("min(1.0, n_head * min(channels, d_model // n_head) / (lookups * channels))")),
    # The chapter's number, whatever is asked.
    ("q1", "too", _bound("0.5")),
    ("q2", "counted once per head", _cost("n_head * (4 * d * d + 4 * d * bias)")),
    ("q2", "for each head at full width", _cost("n_head * 3 * (d * d + d * bias) + d * d + d * bias")),
    ("q2", "W_O is missing", _cost("3 * d * d + 3 * d * bias")),
    ("q2", "the biases are missing", _cost("4 * d * d")),
    ("q2", "it reads all heads", _cost("3 * d * d + 3 * d * bias + (d // n_head) * d + d * bias")),
    ("q2", "at full width for each head", _cost(work="4 * T * d * d + 2 * n_head * T * T * d")),
    ("q2", "weighted means of the values are missing", _cost(work="4 * T * d * d + T * T * d")),
    ("q2", "the four linear maps are missing", _cost(work="2 * T * T * d")),
    ("q2", "the mask saves nothing", _cost(work="4 * T * d * d + T * (T + 1) * d")),
    ("q3", "more than 3 away", "def guessed_negative(): return 48"),
    ("q3", "more than 3 away", "def guessed_negative(): return 16"),
    ("q3", "positive semidefinite", "def guessed_negative(): return 0"),
    ("q3", "cannot have", "def guessed_negative(): return 96"),
    ("q3", "a whole number", "def guessed_negative(): return 31.5"),
    ("q3", "be a number", "def guessed_negative(): return 'half'"),
    # The function as it is handed out.
    ("q4", "comes after the softmax, and it is inverted", '''
def many_heads(x, W_qkv, W_o, n_head):
    T, C = x.shape
    q, k, v = (x @ W_qkv).chunk(3, dim=-1)
    q, k, v = (z.reshape(n_head, T, C // n_head) for z in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(C), dim=-1)
    weights = weights * torch.ones(T, T).triu()
    return (weights @ v).mean(0).repeat(1, n_head) @ W_o
'''),
    ("q4", "the tokens are dealt out to the heads", _layer(SPLIT="z.reshape(n_head, T, C // n_head)")),
    ("q4", "every n-th channel", _layer(SPLIT="z.view(T, C // n_head, n_head).permute(2, 0, 1)")),
    ("q4", "divided by the root of d_model", _layer(SCALE="math.sqrt(C)")),
    ("q4", "not divided by the root of d_head", _layer(SCALE="1")),
    ("q4", "the mask comes after the softmax: the weights", _layer(WEIGHTS="torch.softmax(scores, -1) * may")),
    ("q4", "itself and what comes later",
     _layer(WEIGHTS="torch.softmax(scores.masked_fill(~may.T, -torch.inf), -1)")),
    # triu() without 1.
    ("q4", "hides a token from itself", _layer(WEIGHTS="torch.softmax(scores.masked_fill(~may.tril(-1), -torch.inf), -1)")),
    ("q4", "looks at all alike", _layer(WEIGHTS="torch.softmax(scores.masked_fill(~may.tril(-1), -1e9), -1)")),
    ("q4", "the mask has no effect", _layer(WEIGHTS="torch.softmax(scores, -1)")),
    ("q4", "the heads are averaged", _layer(JOIN="heads.mean(0).repeat(1, n_head)")),
    ("q4", "the heads are summed", _layer(JOIN="heads.sum(0).repeat(1, n_head)")),
    ("q4", "has to move back first", _layer(JOIN="heads.reshape(T, C)")),
    # Two at once: the first is named, and that there is more.
    ("q4", "let the heads change places with the tokens; and this is not the only bug",
     _layer(SPLIT="z.reshape(n_head, T, C // n_head)", SCALE="math.sqrt(C)")),
    # The function as it is handed out, with its mask repaired.
    ("q4", "let the heads change places with the tokens; and this is not the only bug",
     _layer(SPLIT="z.reshape(n_head, T, C // n_head)", SCALE="math.sqrt(C)", JOIN="heads.mean(0).repeat(1, n_head)")),
    ("q5", "the earlier copies themselves", _score("return (weights * earlier).sum(-1)[:, earlier.any(-1)].mean(-1)")),
    ("q5", "the token itself among them", _score("return (weights * same.tril()).sum(-1).mean(-1)")),
    ("q5", "are in your mean all the same", _score("return (weights * after).sum(-1).mean(-1)")),
    # Looking before the copy is not looking at it.
    ("q5", "before the earlier copies", _score("""
    before = torch.zeros(T, T, dtype=torch.bool)
    before[:, :-1] = earlier[:, 1:]
    return (weights * before).sum(-1)[:, before.any(-1)].mean(-1)""")),
    ("q5", "only the last of several", _score("""
    last = after & (after.flip(-1).cumsum(-1).flip(-1) == 1)
    return (weights * last).sum(-1)[:, last.any(-1)].mean(-1)""")),
    ("q5", "may be the query's own", _score("after = after.tril(-1)\n"
     "    return (weights * after).sum(-1)[:, after.any(-1)].mean(-1)")),
    ("q5", "the weight on the token before", _score("return weights.diagonal(-1, -2, -1).mean(-1)")),
    ("q5", "averaged over places", _score("return weights[:, after].mean(-1)")),
    ("q5", "the largest weight counts", _score("return (weights * after).amax(-1)[:, after.any(-1)].mean(-1)")),
    ("q5", "should have shape", _score("return (weights * after).sum(-1)[:, after.any(-1)].mean()")),
    ("q6", "h² and h are confused", _solved("h**p for p in range(len(h))")),
    ("q6", "leave the largest term", _solved("h ** (2 * p + 2 * (p > 0)) for p in range(len(h))")),
    ("q6", "removes none",
     "def output_weights(b): return torch.full((len(b),), 1 / len(b), dtype=torch.float64)"),
    # The chapter's answer to one pair of bandwidths, for all of them.
    ("q6", "depend on the bandwidths",
     "def output_weights(b): return torch.tensor([2.0, -1.0] + [0.0] * (len(b) - 2), dtype=torch.float64)[:len(b)]"),
    ("q6", "sum to", "def output_weights(b): return torch.arange(len(b))"),
    ("q6", "sum to", "def output_weights(b): return torch.tensor([-(x**2) for x in b], dtype=torch.float64)"),
]
