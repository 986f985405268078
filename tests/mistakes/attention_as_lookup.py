"""Wrong answers to sheet 04 that people give, and what they have to be told."""

REPAIRED = '''
def masked_attention(q, k, v, mask):
    scores = q @ k.T / SCALE
    return WEIGHTS @ v
'''


def _attention(scale: str = "math.sqrt(q.shape[-1])", weights: str = "") -> str:
    return REPAIRED.replace("SCALE", scale).replace("WEIGHTS", weights)


READ = '''
def read_one(largest, total, answer, score, value):
    new = max(largest, score)
    repair, weight = math.exp(largest - new), math.exp(score - new)
    return new, total * repair + weight, answer * repair + weight * value
'''


def _but(right: str, wrong: str) -> str:
    assert right in READ
    return READ.replace(right, wrong)


MISTAKES = [
    ("q1", "there are n - 1", "def weight_of_the_best(gap, n, temperature): return 1 / (1 + math.exp(-gap / temperature))"),
    ("q1", "among the others", "def weight_of_the_best(gap, n, temperature): return 1 / (1 + n * math.exp(-gap / temperature))"),
    ("q1", "not multiplied",
     "def weight_of_the_best(gap, n, temperature): return 1 / (1 + (n - 1) * math.exp(-gap * temperature))"),
    ("q1", "should lie between 0 and 1", "def weight_of_the_best(gap, n, temperature): return math.exp(gap / temperature)"),
    ("q2", "factor of four", "def guessed_share(): return 0.75"),
    ("q2", "factor of four", "def guessed_share(): return 0.17"),
    ("q2", "0 cannot be", "def guessed_share(): return 0.0"),
    ("q2", "is no share", "def guessed_share(): return 75"),
    # The function as it is handed out.
    ("q3", "True should mean attend", '''
def masked_attention(q, k, v, mask):
    scores = q @ k.T / q.shape[-1]
    return torch.softmax(scores, dim=0).masked_fill(mask, 0.0) @ v
'''),
    ("q3", "divided by d", _attention("q.shape[-1]", "torch.softmax(scores.masked_fill(~mask, -torch.inf), -1)")),
    ("q3", "not divided by the root", _attention("1", "torch.softmax(scores.masked_fill(~mask, -torch.inf), -1)")),
    ("q3", "runs over the queries", _attention(weights="torch.softmax(scores.masked_fill(~mask, -torch.inf), 0)")),
    ("q3", "comes after the softmax", _attention(weights="torch.softmax(scores, -1).masked_fill(~mask, 0)")),
    ("q3", "True should mean attend", _attention(weights="torch.softmax(scores, -1).masked_fill(mask, 0)")),
    ("q3", "lets nothing through", _attention(weights="torch.softmax(scores.masked_fill(mask, -torch.inf), -1)")),
    ("q3", "e⁰ = 1", _attention(weights="torch.softmax(scores.masked_fill(~mask, 0), -1)")),
    ("q3", "has no effect", _attention(weights="torch.softmax(scores, -1)")),
    ("q4", "runs backwards", '''
def recall_latest(q, k, v, scale, slope):
    return torch.softmax(scale * q @ k.T - slope * torch.arange(len(k)), -1) @ v
'''),
    ("q4", "still averaged", '''
def recall_latest(q, k, v, scale, slope):
    return torch.softmax(scale * q @ k.T, -1) @ v
'''),
    # Adds one number per query, which softmax cannot see.
    ("q4", "still averaged", '''
def recall_latest(q, k, v, scale, slope):
    return torch.softmax(scale * q @ k.T + slope * torch.arange(len(q))[:, None], -1) @ v
'''),
    ("q4", "added to the weights", '''
def recall_latest(q, k, v, scale, slope):
    return (torch.softmax(scale * q @ k.T, -1) + slope * torch.arange(len(k))) @ v
'''),
    ("q4", "multiplies the clock", '''
def recall_latest(q, k, v, scale, slope):
    return torch.softmax(scale * (q @ k.T + slope * torch.arange(len(k))), -1) @ v
'''),
    ("q4", "nobody asked for", '''
def recall_latest(q, k, v, scale, slope):
    return torch.softmax(scale * q @ k.T / math.sqrt(q.shape[-1]) + slope * torch.arange(len(k)), -1) @ v
'''),
    ("q5", "any weight at all", "def keys_in_use(weights): return (weights > 0).sum(-1).float()"),
    ("q5", "one over the largest", "def keys_in_use(weights): return 1 / weights.max(-1).values"),
    ("q5", "sum of the squares", "def keys_in_use(weights): return 1 / (weights**2).sum(-1)"),
    ("q5", "0 · ln 0 counts as 0", '''
def keys_in_use(weights):
    return torch.exp(-(weights * weights.log()).sum(-1))
'''),
    ("q5", "this is the entropy", '''
def keys_in_use(weights):
    return torch.special.entr(weights).sum(-1)
'''),
    ("q5", "take both to one base", '''
def keys_in_use(weights):
    return torch.exp(torch.special.entr(weights).sum(-1) / math.log(2))
'''),
    ("q5", "should have shape", '''
def keys_in_use(weights):
    return torch.special.entr(weights).sum().exp()
'''),
    ("q6", "is not made smaller", _but("total * repair", "total")),
    ("q6", "weighted sum of before is not", _but("answer * repair", "answer")),
    ("q6", "with the old maximum", _but("math.exp(score - new)", "(math.exp(min(score - largest, 700)) if total else 1.0)")),
    ("q6", "upside down", _but("math.exp(largest - new)", "(math.exp(min(new - largest, 700)) if total else 0.0)")),
    ("q6", "without its weight", _but("weight * value", "value")),
    ("q6", "for the end", _but("answer * repair + weight * value", "(answer * repair + weight * value) / (total * repair + weight)")),
    ("q6", "three things are kept", _but("return new, ", "return ")),
    # The largest score so far begins at 0.
    ("q6", "-inf, not 0", _but("max(largest, score)", "max(largest, score, 0.0)")),
    # Right on paper, and overflows.
    ("q6", "of the score itself", '''
def read_one(largest, total, answer, score, value):
    return max(largest, score), total + math.exp(score), answer + math.exp(score) * value
'''),
    # Overflows where the temperature is low.
    ("q1", "OverflowError", '''
def weight_of_the_best(gap, n, temperature):
    return math.exp(gap / temperature) / (math.exp(gap / temperature) + n - 1)
'''),
]
