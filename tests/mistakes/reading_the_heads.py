"""Wrong answers to sheet 12 that people give, and what they have to be told."""


def _effective(keys: str, mean: str = "float(keys[due].mean()), float(keys[~due].mean())") -> str:
    return f"""
def effective_keys(weights, due):
    entropy = -(weights * weights.clamp(min=1e-30).log()).sum(-1)
    keys = {keys}
    return {mean}
"""


FORM = '''
def other_form(q, k):
    from_mean = k - k.mean(0)
    far = from_mean[from_mean.norm(dim=-1).argmax()]
    along = torch.outer(far, far) / far.square().sum()
    return {}
'''
CLOCK = '''
def lag(q, k):
    score = SCORE
    t = TIME
    slope = (t * score).sum() / (t * t).sum()
    return RETURNED
'''
TICKS = {
    "SCORE": "k @ q.mean(0) / math.sqrt(k.shape[-1])",
    "TIME": "torch.arange(len(k)) - (len(k) - 1) / 2",
    "RETURNED": "float(1 / slope)",
}
ABLATED = '''
def ablated(z, elsewhere, W_O, head):
    z = z.clone()
    PUT
    return WRITE
'''
SWITCHED = {"PUT": "z[head] = elsewhere[head].mean(0)", "WRITE": "z.transpose(0, 1).flatten(1) @ W_O"}
PATCHED = '''
def patched(run, other, head, swap):
    q, k, v = (x.clone() for x in run)
    PATCH
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    z = torch.softmax(scores, -1) @ v
    LAST
    return z
'''
SWAPPED = {"PATCH": "v[head, swap] = other[2][head, swap]", "LAST": "pass"}


def _filled(template: str, fine: dict[str, str], **wrong: str) -> str:
    for name, code in (fine | wrong).items():
        template = template.replace(name, code)
    return template


def _lag(**wrong: str) -> str:
    return _filled(CLOCK, TICKS, **wrong)


def _ablated(**wrong: str) -> str:
    return _filled(ABLATED, SWITCHED, **wrong)


def _patched(**wrong: str) -> str:
    return _filled(PATCHED, SWAPPED, **wrong)


def _deletions(change: str) -> str:
    return f"""
def deletions(scores, v):
    w = torch.softmax(scores, -1)
    z = w @ v
    def zeroed(to): return scores.expand(len(scores), -1).clone().fill_diagonal_(to)
    w = w[:, None]
    return {change}
"""


MISTAKES = [
    ("q1", "nor is 0 · ln 0", """
def effective_keys(weights, due):
    keys = (-(weights * weights.log()).sum(-1)).exp()
    return float(keys[due].mean()), float(keys[~due].mean())
"""),
    ("q1", "counts as one key here", """
def effective_keys(weights, due):
    keys = (-(weights * weights.log()).sum(-1)).nan_to_num(0).exp()
    return float(keys[due].mean()), float(keys[~due].mean())
"""),
    ("q1", "the exponential of the mean entropy",
     _effective("entropy", "float(keys[due].mean().exp()), float(keys[~due].mean().exp())")),
    ("q1", "not of effective keys", _effective("entropy")),
    ("q1", "entropy in bits", _effective("(entropy / math.log(2)).exp()")),
    ("q1", "another count", _effective("1 / weights.square().sum(-1)")),
    ("q1", "whose weight is not 0", _effective("(weights > 0).sum(-1).float()")),
    ("q1", "are exchanged", _effective("entropy.exp()", "float(keys[~due].mean()), float(keys[due].mean())")),
    ("q1", "over all rows", _effective("entropy.exp()", "(float(keys.mean()),) * 2")),
    ("q1", "divided by the number of all rows", _effective(
        "entropy.exp()", "float((keys * due).mean()), float((keys * ~due).mean())")),
    ("q1", "added up before the exponential", _effective(
        "entropy", "float(keys[due].sum().exp()), float(keys[~due].sum().exp())")),
    ("q1", "over the queries here", _effective("torch.special.entr(weights).sum(0).exp()")),
    ("q1", "A mean of no rows is no number", _effective(
        "entropy.exp()", "tuple(float(keys[rows & (weights > 0).all(-1)].mean()) for rows in (due, ~due))")),
    ("q1", "the mean of the other rows is too large", _effective(
        "entropy.exp()", "float(keys[due].mean()), 1.3 * float(keys[~due].mean())")),
    ("q1", "two numbers", _effective("entropy.exp()", "tuple(keys.tolist())")),
    ("q2", "moves the mean along", FORM.format("q, k - far")),
    ("q2", "moves the mean along", FORM.format("q, k.clone()")),
    ("q2", "their order stays", FORM.format("10 * q, k / 10")),
    ("q2", "only the keys were changed", FORM.format("q, k - 0.99 * k @ along")),
    ("q2", "undone by what is done to the queries", FORM.format("q - 0.99 * q @ along, k - 0.99 * k @ along")),
    ("q2", "only the keys were changed", FORM.format(
        "q, torch.where((from_mean.norm(dim=-1) == from_mean.norm(dim=-1).max())[:, None], k.mean(0), k)")),
    ("q2", "rounding shows", FORM.format("q + 99999 * q @ along, k - 0.99999 * k @ along")),
    ("q2", "is nearer", FORM.format("q + q @ along, k - 0.5 * k @ along").replace(
        "argmax()", "argmin()")),
    ("q3", "no query is asked", _lag(SCORE="k @ k.mean(0) / math.sqrt(k.shape[-1])")),
    ("q3", "nothing is divided by √d", _lag(SCORE="k @ q.mean(0)")),
    ("q3", "forced through 0", _lag(TIME="torch.arange(len(k))")),
    ("q3", "squared lengths of the keys", _lag(SCORE="k.square().sum(-1) / math.sqrt(k.shape[-1])")),
    ("q3", "this is the slope", _lag(RETURNED="float(slope)")),
    ("q3", "its own query", _lag(SCORE="(q * k).sum(-1) / math.sqrt(k.shape[-1])")),
    ("q3", "each query is compared with the mean key", _lag(SCORE="q @ k.mean(0) / math.sqrt(k.shape[-1])")),
    ("q3", "the first query alone", _lag(SCORE="k @ q[0] / math.sqrt(k.shape[-1])")),
    ("q3", "the sum of the queries", _lag(SCORE="k @ q.sum(0) / math.sqrt(k.shape[-1])")),
    ("q3", "from 0 in that of t²", _lag(
        SCORE="(k - k.mean(0)) @ q.mean(0) / math.sqrt(k.shape[-1])", TIME="torch.arange(len(k))")),
    ("q3", "from 0 in that of t · score", _lag().replace("(t * score)", "((t + (len(k) - 1) / 2) * score)")),
    ("q3", "only the direction of the mean query", _lag(SCORE="k @ q.mean(0) / q.mean(0).norm() / math.sqrt(k.shape[-1])")),
    ("q3", "them; or: only the direction", _lag(SCORE="k.norm(dim=-1) / math.sqrt(k.shape[-1])")),
    ("q3", "these are divided by d", _lag(SCORE="k @ q.mean(0) / k.shape[-1]")),
    ("q3", "not that of tokens", _lag(SCORE="k @ q.mean(0) / math.sqrt(len(k))")),
    ("q3", "through the score of token 0", _lag(TIME="torch.arange(len(k))").replace("(t * score)", "(t * (score - score[0]))")),
    ("q3", "the time is fitted to the score here", """
def lag(q, k):
    score = k @ q.mean(0) / math.sqrt(k.shape[-1])
    score = score - score.mean()
    return float((torch.arange(len(k)) * score).sum() / (score * score).sum())
"""),
    ("q3", "falls by half in this time", _lag(RETURNED="float(math.log(2) / slope)")),
    ("q3", "not the only bug", _lag(SCORE="k @ q.mean(0)", TIME="torch.arange(len(k))")),
    ("q3", "the first and the last token alone", """
def lag(q, k):
    score = k @ q.mean(0) / math.sqrt(k.shape[-1])
    return float((len(k) - 1) / (score[-1] - score[0]))
"""),
    ("q3", "part above in another form", _lag(SCORE="(k - k.mean(0)) @ k.mean(0) / k.mean(0).norm() * q.mean(0).norm() / math.sqrt(k.shape[-1])")),
    ("q4", "set to 0", _ablated(PUT="z[head] = 0")),
    ("q4", "over the same text", _ablated(PUT="z[head] = z[head].mean(0)")),
    ("q4", "one number in all channels", _ablated(PUT="z[head] = elsewhere[head].mean()")),
    ("q4", "not its own", _ablated(PUT="z[head] = elsewhere.mean((0, 1))")),
    ("q4", "only one is switched off", _ablated(PUT="z[:] = elsewhere.mean(1, keepdim=True)")),
    ("q4", "the output of the layer is too", _ablated(WRITE="z.transpose(0, 1).flatten(1) @ W_O * 2")),
    ("q4", "counted from 0", _ablated(PUT="z[head - 1] = elsewhere[head - 1].mean(0)")),
    ("q4", "two axes are exchanged", _ablated(WRITE="z.reshape(z.shape[1], -1) @ W_O")),
    ("q4", "stand head after head", _ablated(WRITE="z.permute(1, 2, 0).flatten(1) @ W_O")),
    ("q4", "or left out", _ablated(
        WRITE="sum(z[h] @ W_O[h * z.shape[2] : (h + 1) * z.shape[2]] for h in range(len(z)) if h != head) + 0 * z[0] @ W_O[: z.shape[2]]")),
    ("q4", "changes its input", "def ablated(z, elsewhere, W_O, head):\n    z[head] = elsewhere[head].mean(0)\n"
                                "    return z.transpose(0, 1).flatten(1) @ W_O"),
    ("q5", "takes its keys from the other run, too", _patched(
        PATCH="k[head, swap], v[head, swap] = other[1][head, swap], other[2][head, swap]")),
    ("q5", "the other way around", _patched(PATCH="k[head, swap] = other[1][head, swap]")),
    ("q5", "every head has other values", _patched(PATCH="v[:, swap] = other[2][:, swap]")),
    ("q5", "another head is patched", _patched(PATCH="v[head - 1, swap] = other[2][head - 1, swap]")),
    ("q5", "only one head is patched; or: another head", _patched(PATCH="v[head - 1, swap] = other[2][head - 1, swap]")),
    ("q5", "at all tokens, and not only", _patched(PATCH="v[head] = other[2][head]")),
    ("q5", "where `swap` is False", _patched(PATCH="v[head, ~swap] = other[2][head, ~swap]")),
    ("q5", "later tokens read it", _patched(PATCH="""pass
    z_other = torch.softmax((other[0] @ other[1].transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(
        torch.ones(q.shape[1], q.shape[1]).triu(1).bool(), -torch.inf), -1) @ other[2]""", LAST="z[head, swap] = z_other[head, swap]")),
    ("q5", "these are the heads of the other run", _patched(
        PATCH="q, k, v = (x.clone() for x in other); v[head, swap] = run[2][head, swap]")),
    ("q5", "values of the other run go into the first", _patched(
        PATCH="q, k, v = (x.clone() for x in other); v[head, swap] = run[2][head, swap]")),
    ("q5", "later tokens read the values there", _patched(
        LAST="after, z = z, torch.softmax(scores, -1) @ run[2]; z[head, swap] = after[head, swap]")),
    ("q5", "do not sum to 1", _patched().replace("-torch.inf", "0").replace(
        "scores = scores.m", "scores = torch.softmax(scores, -1).m").replace("z = torch.softmax(scores, -1)", "z = scores")),
    ("q5", "not patched are too large at head 1", _patched(LAST="z[1:2] += float(head == 0)")),
    ("q5", "a token sees later ones", _patched().replace(".triu(1)", ".triu(99)")),
    ("q5", "not divided by √d", _patched().replace("/ math.sqrt(q.shape[-1])", "")),
    ("q6", "nothing is given to the others", _deletions("-w * v")),
    ("q6", "a large one", _deletions("w * (v - z)")),
    ("q6", "a first step only", _deletions("w * (z - v)")),
    ("q6", "the sign", _deletions("z - torch.softmax(zeroed(-torch.inf), -1) @ v")),
    ("q6", "not yet their change", _deletions("torch.softmax(zeroed(-torch.inf), -1) @ v")),
    ("q6", "it is still there", _deletions("torch.softmax(zeroed(0), -1) @ v - z")),
    ("q6", "goes to the key that is deleted", _deletions("torch.softmax(zeroed(-100.0), -1) @ v - z")),
    ("q6", "dealt out in equal parts", _deletions("(w.T + w / (len(w) - 1)).fill_diagonal_(0) @ v - z")),
    ("q6", "takes the largest score off", """
def deletions(scores, v):
    e = scores.exp()
    without = e.expand(len(e), -1).clone().fill_diagonal_(0)
    return without @ v / without.sum(-1, keepdim=True) - e @ v / e.sum()
"""),
    ("q6", "nearly all the weight (0/2) this is a first step", _deletions("w * (z - v)")),
    ("q6", "to within 8e-18", _deletions("w / (1 - w) * (z - v)").replace(
        "    w =", "    scores, v = scores.double(), v.double()\n    w =", 1)),
    ("q6", "once it is rounded", _deletions("w / (1 - w) * (z - v)")),
    ("q6", "shape", _deletions("(w * v.norm(dim=-1, keepdim=True)).squeeze(-1)")),
]
