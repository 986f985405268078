"""Wrong answers to sheet 11 that people give, and what they have to be told."""


def _features(code: str) -> str:
    return f"""
def attention_features(x, projections):
    m, d = projections.shape
    y = x / d**0.25
    def half(z): return z.square().sum(-1, keepdim=True) / 2
    return {code}
"""


MERGE = '''
def merge(left, right):
    m = MAXIMUM
    BASE
    a, b = torch.exp(left[0] - base), torch.exp(right[0] - base)
    l = SUM
    o = OUTPUT
    return m, l, o
'''
MERGED = {
    "MAXIMUM": "torch.maximum(left[0], right[0])",
    "BASE": "base = torch.where(m == -torch.inf, 0.0, m)",
    "SUM": "a * left[1] + b * right[1]",
    "OUTPUT": "a[:, None] * left[2] + b[:, None] * right[2]",
}
CHUNKED = '''
def chunked(q, k, v, size):
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_c, k_c, v_c in PARTS:
        BEFORE
        inside = (q_c @ k_c.T)MASK @ v_c
        outputs.append(inside + q_c @ M)
        AFTER
    return torch.cat(outputs)
'''
CHUNKS = {
    "PARTS": "zip(q.split(size), k.split(size), v.split(size))",
    "BEFORE": "pass",
    "MASK": ".tril()",
    "AFTER": "M = M + k_c.T @ v_c",
}
OVERWRITE = '''
def overwrite(q, k, v, beta):
    k = KEYS
    M, outputs = torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_t, k_t, v_t, b in zip(q, k, v, beta):
        FIRST
        M = STEP
        LAST
    return torch.stack(outputs)
'''
OVERWRITTEN = {
    "KEYS": "k / k.norm(dim=-1, keepdim=True)",
    "FIRST": "pass",
    "STEP": "M + b * torch.outer(k_t, v_t - k_t @ M)",
    "LAST": "outputs.append(q_t @ M)",
}
GATED = '''
def gated_delta(q, k, v, beta, log_gate):
    g = log_gate.clone().requires_grad_()
    since = g.cumsum(-1)
    left = LEFT
    overlap = (OVERLAP).tril(-1)
    u = torch.linalg.solve_triangular(overlap, beta[:, None] * v, upper=False, unitriangular=True)
    output = (q @ k.T READ @ u
    (gradient,) = torch.autograd.grad(output.sum(), g)
    return output.detach(), gradient
'''
RIGHT = {
    "LEFT": "(since[:, None] - since[None, :]).tril().exp().tril()",
    "OVERLAP": "beta[:, None] * (k @ k.T) * left",
    "READ": "* left).tril()",
}
EXPERIMENT = '''
def experiment(k, v, projections, chunk):
    n = NUMBER
    k, v = k.clone(), v.clone()
    KEYS
    VALUES
    return k, v, n
'''
CATCHES = {"NUMBER": "2 * chunk - 1", "KEYS": "k[n:] = projections[0]", "VALUES": "v[n:] += 3"}


def _filled(template: str, fine: dict[str, str], **wrong: str) -> str:
    for name, code in (fine | wrong).items():
        template = template.replace(name, code)
    return template


def _merge(**wrong: str) -> str:
    return _filled(MERGE, MERGED, **wrong)


def _chunked(**wrong: str) -> str:
    return _filled(CHUNKED, CHUNKS, **wrong)


def _overwrite(**wrong: str) -> str:
    return _filled(OVERWRITE, OVERWRITTEN, **wrong)


def _gated(**wrong: str) -> str:
    return _filled(GATED, RIGHT, **wrong)


def _loop(step: str) -> str:
    return f"""
def gated_delta(q, k, v, beta, log_gate):
    g, M, outputs = log_gate.clone().requires_grad_(), torch.zeros(k.shape[-1], v.shape[-1]), []
    for q_t, k_t, v_t, b, g_t in zip(q, k, v, beta, g):
        M = {step}
        outputs.append(q_t @ M)
    output = torch.stack(outputs)
    (gradient,) = torch.autograd.grad(output.sum(), g)
    return output.detach(), gradient
"""


def _experiment(**wrong: str) -> str:
    return _filled(EXPERIMENT, CATCHES, **wrong)


MISTAKES = [
    ("q1", "nothing divides the scores", _features("torch.exp(x @ projections.T - half(x)) / m**0.5")),
    ("q1", "both divided by √d", _features("torch.exp(x / d**0.5 @ projections.T - half(x / d**0.5)) / m**0.5")),
    ("q1", "factor that grows with", _features("torch.exp(y @ projections.T) / m**0.5")),
    ("q1", "−|x|²/2 is missing", _features("torch.exp(y @ projections.T) / m**0.5")),
    ("q1", "half of |x|²", _features("torch.exp(y @ projections.T - 2 * half(y)) / m**0.5")),
    ("q1", "before it was scaled", _features("torch.exp(y @ projections.T - half(x)) / m**0.5")),
    ("q1", "a sum over draws", _features("torch.exp(y @ projections.T - half(y))")),
    ("q1", "each bring a factor", _features("torch.exp(y @ projections.T - half(y)) / m")),
    ("q1", "not squared", _features("torch.exp(y @ projections.T - y.norm(dim=-1, keepdim=True) / 2) / m**0.5")),
    ("q1", "shape", _features("torch.cat([torch.exp(s * y @ projections.T - half(y)) / (2 * m)**0.5 for s in (1, -1)], -1)")),
    ("q2", "the two l are added as they are", _merge(SUM="left[1] + right[1]")),
    ("q2", "the two o are added as they are", _merge(OUTPUT="left[2] + right[2]")),
    ("q2", "makes l larger", _merge(BASE="base = m", SUM="left[1] / a + right[1] / b")),
    ("q2", "m is the sum", _merge(MAXIMUM="left[0] + right[0]")),
    ("q2", "m is that of the left", _merge(MAXIMUM="left[0]")),
    ("q2", "divided by l already", _merge(OUTPUT="(a[:, None] * left[2] + b[:, None] * right[2]) / l[:, None]")),
    ("q2", "exp of a large score is infinite", """
def merge(left, right):
    m = torch.maximum(left[0], right[0])
    a, b = left[0].exp(), right[0].exp()
    l = (a * left[1] + b * right[1]) / m.exp()
    return m, l, (a[:, None] * left[2] + b[:, None] * right[2]) / m.exp()[:, None]
"""),
    ("q2", "minus -inf", _merge(BASE="base = m")),
    ("q2", "three things are kept", "def merge(left, right): return torch.maximum(left[0], right[0]), left[1]"),
    ("q3", "the whole of its chunk", _chunked(MASK="")),
    ("q3", "does not see itself", _chunked(MASK=".tril(-1)")),
    ("q3", "after its chunk was written", _chunked(BEFORE="M = M + k_c.T @ v_c", AFTER="pass")),
    ("q3", "begin anew", _chunked(AFTER="pass")),
    ("q3", "the last chunk only", _chunked(AFTER="M = k_c.T @ v_c")),
    ("q3", "tokens are missing", _chunked(
        PARTS="zip(*(z[: len(z) // size * size].split(size) if len(z) > size else z.split(size) for z in (q, k, v)))")),
    ("q3", "softmax", """
def chunked(q, k, v, size):
    hidden = torch.ones(len(q), len(q)).triu(1).bool()
    return torch.softmax((q @ k.T).masked_fill(hidden, -torch.inf), -1) @ v
"""),
    ("q4", "read before it is written", _overwrite(FIRST="outputs.append(q_t @ M)", LAST="pass")),
    ("q4", "pile up", _overwrite(STEP="M + b * torch.outer(k_t, v_t)")),
    ("q4", "the whole state fades", _overwrite(STEP="(1 - b) * M + b * torch.outer(k_t, v_t)")),
    ("q4", "not brought to length 1", _overwrite(KEYS="k")),
    ("q4", "β is not used", _overwrite(STEP="M + torch.outer(k_t, v_t - k_t @ M)")),
    ("q4", "part of the value only", _overwrite(STEP="M + torch.outer(k_t, b * v_t - k_t @ M)")),
    ("q4", "part of the old answer only", _overwrite(STEP="M + torch.outer(k_t, v_t - b * (k_t @ M))")),
    ("q4", "should be taken off", _overwrite(STEP="M + b * torch.outer(k_t, v_t + k_t @ M)")),
    ("q4", "the one to the query", _overwrite(STEP="M + b * torch.outer(k_t, v_t - q_t @ M)")),
    ("q4", "each channel of the keys", _overwrite(KEYS="k / k.norm(dim=0, keepdim=True)")),
    ("q4", "written with the key and read with the query", _overwrite(LAST="outputs.append(k_t @ M)")),
    ("q5", "columns of the system", _gated(OVERLAP="beta * (k @ k.T) * left")),
    ("q5", "no β in the system", _gated(OVERLAP="(k @ k.T) * left")),
    ("q5", "does not see itself", _gated(READ="* left).tril(-1)")),
    ("q5", "what is read has faded, too", _gated(READ=").tril()")),
    ("q5", "taken off have faded", _gated(OVERLAP="beta[:, None] * (k @ k.T)")),
    ("q5", "multiplies its gradient by 0", _gated(LEFT="(since[:, None] - since[None, :]).exp().tril()")),
    ("q5", "overflows where gates are strong", _gated(LEFT="(since.exp()[:, None] * (-since).exp()[None, :]).tril()")),
    ("q5", "fades by its own gate", _loop("g_t.exp() * (M + b * torch.outer(k_t, v_t - k_t @ M))")),
    ("q5", "before it faded", _loop("g_t.exp() * M + b * torch.outer(k_t, v_t - k_t @ M)")),
    ("q5", "the mean of all outputs", _gated().replace("output.sum()", "output.mean()")),
    ("q5", "not the only bug", _gated(OVERLAP="beta * (k @ k.T) * left", READ="* left).tril(-1)")),
    ("q6", "a token sees the whole of its chunk", _experiment(NUMBER="2 * chunk")),
    ("q6", "the largest exponent", _experiment(KEYS="k[n:] += 1.0")),
    ("q6", "the largest exponent", _experiment(KEYS="k[n:] = 100.0")),
    ("q6", "divided by a sum over all keys", _experiment(KEYS="pass")),
    ("q6", "one token too far", _experiment(KEYS="k[-1] = projections[0]", VALUES="v[-1] += 3")),
    ("q6", "would be taken for a leak", _experiment(KEYS="k[n - 1:] = projections[0]")),
    ("q6", "centered by the mean", _experiment(VALUES="v[n:] = v[n:].flip(0) if n < len(v) - 1 else v[n:]", KEYS="k[n] = projections[0]")),
    ("q6", "should be finite", _experiment(KEYS="k[n:] = math.nan")),
    ("q6", "at least the first has to stay", _experiment(NUMBER="0")),
]
