"""Wrong answers to sheet 04 that people give, and what they have to be told."""

REPAIRED = '''
def masked_attention(q, k, v, mask):
    scores = q @ k.T / SCALE
    return WEIGHTS @ v
'''


def _attention(scale: str = "math.sqrt(q.shape[-1])", weights: str = "") -> str:
    return REPAIRED.replace("SCALE", scale).replace("WEIGHTS", weights)


MISTAKES = [
    ("q1", "there are n - 1", "def weight_of_the_best(gap, n, temperature): return 1 / (1 + math.exp(-gap / temperature))"),
    ("q1", "among the others", "def weight_of_the_best(gap, n, temperature): return 1 / (1 + n * math.exp(-gap / temperature))"),
    ("q1", "not multiplied",
     "def weight_of_the_best(gap, n, temperature): return 1 / (1 + (n - 1) * math.exp(-gap * temperature))"),
    ("q1", "should lie between 0 and 1", "def weight_of_the_best(gap, n, temperature): return math.exp(gap / temperature)"),
    ("q2", "more than 0.15 away", "def guessed_share(): return 0.75"),
    ("q2", "more than 0.15 away", "def guessed_share(): return 1.0"),
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
    ("q6", "is not made smaller", '''
def one_pass(q, keys, values):
    largest, total, answer = -math.inf, 0.0, torch.zeros_like(values[0])
    for key, value in zip(keys, values):
        score = (q @ key / math.sqrt(len(q))).item()
        largest = max(largest, score)
        weight = math.exp(score - largest)
        total, answer = total + weight, answer + weight * value
    return answer / total
'''),
    # Right on paper, and overflows.
    ("q6", "nan", '''
def one_pass(q, keys, values):
    total, answer = torch.tensor(0.0), torch.zeros_like(values[0])
    for key, value in zip(keys, values):
        weight = torch.exp(q @ key / math.sqrt(len(q)))
        total, answer = total + weight, answer + weight * value
    return answer / total
'''),
    # The largest score so far begins at 0.
    ("q6", "before any has been read", '''
def one_pass(q, keys, values):
    largest, total, answer = 0.0, 0.0, torch.zeros_like(values[0])
    for key, value in zip(keys, values):
        score = (q @ key / math.sqrt(len(q))).item()
        new = max(largest, score)
        repair, weight = math.exp(largest - new), math.exp(score - new)
        total, answer, largest = total * repair + weight, answer * repair + weight * value, new
    return torch.tensor(float("nan")) * answer if total == 0 else answer / total
'''),
    # Overflows where the temperature is low.
    ("q1", "OverflowError", '''
def weight_of_the_best(gap, n, temperature):
    return math.exp(gap / temperature) / (math.exp(gap / temperature) + n - 1)
'''),
    ("q6", "not divided by the root", '''
def one_pass(q, keys, values):
    return torch.softmax(torch.stack(keys) @ q, 0) @ torch.stack(values)
'''),
]
