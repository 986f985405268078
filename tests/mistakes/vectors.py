"""Wrong answers to sheet 03 that people give, and what they have to be told."""

NEAREST = '''
def nearest(vectors, i, n, by):
    scores = vectors @ vectors[i]
    if by == "cosine":
        scores = scores / (vectors.norm(dim=-1) * vectors[i].norm())
    if by == "distance":
        scores = -(vectors - vectors[i]).norm(dim=-1)
    scores[i] = -torch.inf
    return scores.argsort(descending=True)[:n].tolist()
'''

SHIFT = '''
def shift_matrix(C, k):
    R = torch.zeros(C, C)
    for m in range(C // 2):
        angle = k / 10000 ** (2 * m / C)
        sin, cos = math.sin(angle), math.cos(angle)
        R[2 * m : 2 * m + 2, 2 * m : 2 * m + 2] = torch.tensor([[cos, -sin], [sin, cos]])
    return R
'''

HEAD = '''
def head(x, positions, W_q, W_k, W_v):
    x = x + positions[: x.shape[1]]
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v
'''

TEST = '''
def shuffling_test(phrases, words, shuffles):
    cosines = torch.nn.functional.cosine_similarity(phrases[:, None], words, dim=-1)
    own = cosines.diagonal().mean()
    dealt = cosines[torch.arange(len(words)), shuffles].mean(dim=-1)
    return own.item(), (1 + (dealt >= own).sum().item()) / (1 + len(shuffles))
'''


def _but(source: str, right: str, wrong: str) -> str:
    assert right in source
    return source.replace(right, wrong)


MISTAKES = [
    ("q1", "the sign", "def cosine_of(a, b, distance): return (distance**2 - a**2 - b**2) / (2 * a * b)"),
    ("q1", "where has the 2 gone", "def cosine_of(a, b, distance): return (a**2 + b**2 - distance**2) / (a * b)"),
    ("q1", "this is the dot product", "def cosine_of(a, b, distance): return (a**2 + b**2 - distance**2) / 2"),
    ("q1", "one length only", "def cosine_of(a, b, distance): return (a**2 + b**2 - distance**2) / (2 * b)"),
    ("q1", "squared", "def cosine_of(a, b, distance): return (a**2 + b**2 - distance) / (2 * a * b)"),
    ("q2", "less spread out", "def guessed_spread(): return 0.5"),
    ("q2", "more spread out", "def guessed_spread(): return 1 / 64"),
    ("q2", "cannot be", "def guessed_spread(): return 8.0"),
    # The function as it is handed out.
    ("q3", "near to themselves", '''
def nearest(vectors, i, n, by):
    if by == "dot":
        scores = vectors @ vectors[i]
    elif by == "cosine":
        scores = vectors @ vectors[i] / vectors[i].norm()
    else:
        scores = (vectors - vectors[i]).norm(dim=0)
    return scores.argsort(descending=True)[:n].tolist()
'''),
    ("q3", "also by that of the other", _but(NEAREST, "(vectors.norm(dim=-1) * vectors[i].norm())", "vectors[i].norm()")),
    ("q3", "divided by each length once", _but(NEAREST, "vectors.norm(dim=-1) *", "vectors.norm(dim=-1) ** 2 *")),
    ("q3", "the farthest come first", _but(NEAREST, "-(vectors", "(vectors")),
    ("q3", "one for each channel", '''
def nearest(vectors, i, n, by):
    if by == "distance":
        return (-(vectors - vectors[i]).norm(dim=0)).argsort(descending=True)[:n].tolist()
''' + _but(NEAREST, "def nearest", "    return right").split("\n", 2)[2]),
    ("q3", "near to themselves", _but(NEAREST, "    scores[i] = -torch.inf\n", "")),
    ("q3", "should be a list", _but(NEAREST, ".tolist()", "")),
    ("q4", "run backwards", _but(SHIFT, "[[cos, -sin], [sin, cos]]", "[[cos, sin], [-sin, cos]]")),
    ("q4", "they take turns", '''
def shift_matrix(C, k):
    angles = k / 10000 ** (torch.arange(0, C, 2) / C)
    sin, cos = torch.diag(angles.sin()), torch.diag(angles.cos())
    return torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
'''),
    ("q4", "at one speed", _but(SHIFT, "k / 10000 ** (2 * m / C)", "k")),
    ("q4", "the exponent is 2m/C", _but(SHIFT, "2 * m / C", "m / C")),
    ("q4", "turn fast", _but(SHIFT, "k / 10000", "k * 10000")),
    ("q4", "should have shape", _but(SHIFT, "torch.zeros(C, C)", "torch.zeros(C + 1, C)")),
    # The function as it is handed out.
    ("q5", "by text instead of by place", '''
def head(x, positions, W_q, W_k, W_v):
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    return weights @ v + positions[: x.shape[0], None]
'''),
    ("q5", "come after the attention", _but(
        _but(HEAD, "    x = x + positions[: x.shape[1]]\n", ""), "weights @ v", "weights @ v + positions[: x.shape[1]]")),
    ("q5", "no positions at all", _but(HEAD, "    x = x + positions[: x.shape[1]]\n", "")),
    ("q5", "time is the second", _but(HEAD, "positions[: x.shape[1]]", "positions[: x.shape[0], None]")),
    ("q5", "does not say where it stood", _but(_but(HEAD, "    x = x +", "    y = x +"), "x @ W_q, x @ W_k", "y @ W_q, y @ W_k")),
    ("q5", "in the values only", _but(_but(HEAD, "    x = x +", "    y = x +"), "x @ W_v", "y @ W_v")),
    ("q5", "begin one later", _but(HEAD, "[: x.shape[1]]", "[1 : x.shape[1] + 1]")),
    ("q5", "root of C", _but(HEAD, " / math.sqrt(q.shape[-1])", "")),
    ("q6", "the cosine of the two means", _but(
        TEST, "cosines.diagonal().mean()", "torch.cosine_similarity(phrases.mean(0), words.mean(0), dim=0)")),
    ("q6", "mean dot product", _but(TEST, "torch.nn.functional.cosine_similarity(phrases[:, None], words, dim=-1)", "phrases @ words.T")),
    ("q6", "length of the phrase only", _but(
        TEST, "torch.nn.functional.cosine_similarity(phrases[:, None], words, dim=-1)",
        "phrases @ words.T / phrases.norm(dim=-1, keepdim=True)")),
    ("q6", "counts as one of the deals", _but(_but(TEST, "(1 + (dealt", "((dealt"), "(1 + len(shuffles))", "len(shuffles)")),
    ("q6", "stay *below*", _but(TEST, "(1 + (dealt >= own).sum().item()) / (1 + len(shuffles))", "(dealt < own).float().mean().item()")),
    # Phrases and words dealt out together: every deal is the same, up to rounding.
    ("q6", "shuffled alike", _but(
        _but(TEST, "cosines[torch.arange(len(words)), shuffles]", "cosines[shuffles, shuffles]"), ">= own", ">= own - 1e-6")),
]
