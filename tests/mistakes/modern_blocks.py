"""Wrong answers to sheet 10 that people give, and what they have to be told."""

ATTENTION = '''
def modern_attention(x, W_qkv, W_o, n_head, n_kv_head, gains, rope):
    T, d = rope.shape

    def norm(z, gain):
        return z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6) * gain

    def rotate(z):
        cos, sin = rope.chunk(2, dim=-1)
        a, b = PAIRS
        return JOIN

    heads = (x @ W_qkv.T).view(T, -1, d).transpose(0, 1)
    SPLIT
    q, k = TURNED
    k, v = (REPEATED for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)
    hidden = HIDDEN
    weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)
    return (weights @ v).transpose(0, 1).flatten(1) @ W_o.T
'''
RIGHT = {
    "PAIRS": "z.chunk(2, dim=-1)",
    "JOIN": "torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)",
    "SPLIT": "q, k, v = heads.split([n_head, n_kv_head, n_kv_head])",
    "TURNED": "rotate(norm(q, gains[0])), rotate(norm(k, gains[1]))",
    "REPEATED": "z.repeat_interleave(n_head // n_kv_head, 0)",
    "HIDDEN": "torch.ones(T, T, dtype=torch.bool).triu(1)",
}
NEIGHBORS = {
    "PAIRS": "z[..., 0::2], z[..., 1::2]",
    "JOIN": "torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)",
}


def _attention(**wrong: str) -> str:
    source = ATTENTION
    for name, code in (RIGHT | wrong).items():
        source = source.replace(name, code)
    return source


HALF = '''
from torch.nn import functional as F

def half_block(x, tensors, config):
    C = (x.shape[-1],)
    if config["model_type"] == "llama":
        gain = tensors["post_attention_layernorm.weight"]
        gate, up, down = (tensors[f"mlp.{n}_proj.weight"] for n in ("gate", "up", "down"))
        y = LLAMA_NORM
        return LLAMA_X + (LLAMA_INSIDE) @ down.T
    gain, bias, eps = tensors["ln_2.weight"], tensors["ln_2.bias"], config["layer_norm_epsilon"]
    up, down = (tensors[f"mlp.{n}.weight"] for n in ("c_fc", "c_proj"))
    b_up, b_down = (tensors[f"mlp.{n}.bias"] for n in ("c_fc", "c_proj"))
    SIDEWAYS
    y = F.layer_norm(x, C, gain, bias, eps=eps)
    return x + F.gelu(y @ up + b_up, approximate=KIND) @ down + b_down
'''
FINE = {
    "LLAMA_NORM": 'F.rms_norm(x, C, gain, eps=config["rms_norm_eps"])',
    "LLAMA_X": "x",
    "LLAMA_INSIDE": "F.silu(y @ gate.T) * (y @ up.T)",
    "SIDEWAYS": "pass",
    "KIND": "'tanh'",
}


def _half(**wrong: str) -> str:
    source = HALF
    for name, code in (FINE | wrong).items():
        source = source.replace(name, code)
    return source


def _score(code: str) -> str:
    return f"""
def offset_score(q, k, distance, omega):
    a, dot, cross = distance * omega, q[0] * k[0] + q[1] * k[1], q[0] * k[1] - q[1] * k[0]
    return {code}
"""


def _bytes(code: str) -> str:
    return f"""
def cache_bytes(config, tokens, texts, size):
    n, n_head, C = config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"]
    n_kv, d = config.get("num_key_value_heads", n_head), config.get("head_dim", C // n_head)
    return {code}
"""


def _count(code: str) -> str:
    return f"""
def count_parameters(config):
    V, C, n = config["vocab_size"], config["hidden_size"], config["num_hidden_layers"]
    n_head, n_kv, f = config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"]
    d, tables = config.get("head_dim", C // n_head), 1 if config["tie_word_embeddings"] else 2
    return {code}
"""


def _layout(code: str) -> str:
    return f"def to_neighbors(W, n_head): return {code}"


MISTAKES = [
    ("q1", "the wrong way", _score("dot * math.cos(a) - cross * math.sin(a)")),
    ("q1", "the speed of the plane", _score("dot * math.cos(distance) + cross * math.sin(distance)")),
    ("q1", "only the cosine", _score("dot * math.cos(a)")),
    ("q1", "not turned", _score("dot")),
    ("q1", "twice over", _score("dot * math.cos(2 * a) + cross * math.sin(2 * a)")),
    ("q2", "one of the two is missing", _bytes("n * n_kv * d * tokens * texts * size")),
    ("q2", "a key of its own", _bytes("2 * n * n_head * d * tokens * texts * size")),
    ("q2", "it has a head_dim", _bytes("2 * n * n_kv * (C // n_head) * tokens * texts * size")),
    ("q2", "as wide as the model", _bytes("2 * n * C * tokens * texts * size")),
    ("q2", "one layer", _bytes("2 * n_kv * d * tokens * texts * size")),
    ("q2", "of one text", _bytes("2 * n * n_kv * d * tokens * size")),
    ("q2", "not bytes", _bytes("2 * n * n_kv * d * tokens * texts")),
    ("q2", "queries are counted", _bytes("3 * n * n_kv * d * tokens * texts * size")),
    ("q3", "they are one matrix", _count("2*V*C + n*(2*C*d*(n_head + n_kv) + 3*C*f + 2*C) + C")),
    ("q3", "three matrices", _count("tables*V*C + n*(2*C*d*(n_head + n_kv) + 2*C*f + 2*C) + C")),
    ("q3", "fewer than the queries", _count("tables*V*C + n*(4*C*d*n_head + 3*C*f + 2*C) + C")),
    ("q3", "W_O is missing", _count("tables*V*C + n*(C*d*(n_head + 2*n_kv) + 3*C*f + 2*C) + C")),
    ("q3", "head_dim channels wide",
     _count("tables*V*C + n*(2*C*(C//n_head)*(n_head + n_kv) + 3*C*f + 2*C) + C")),
    ("q3", "all norms", _count("tables*V*C + n*(2*C*d*(n_head + n_kv) + 3*C*f)")),
    ("q3", "the last norm", _count("tables*V*C + n*(2*C*d*(n_head + n_kv) + 3*C*f + 2*C)")),
    ("q3", "no bias", _count("tables*V*C + n*(2*C*d*(n_head + n_kv) + 3*C*f + 4*C) + 2*C")),
    ("q3", "the head is missing", _count("V*C + n*(2*C*d*(n_head + n_kv) + 3*C*f + 2*C) + C")),
    ("q4", "the way back", _layout("W.unflatten(0, (n_head, -1, 2)).transpose(1, 2).flatten(0, 2)")),
    ("q4", "as it was", _layout("W.clone()")),
    ("q4", "shuffled together", _layout("W.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)")),
    ("q4", "changed places", _layout("W.unflatten(0, (n_head, 2, -1)).flip(1).transpose(1, 2).flatten(0, 2)")),
    ("q4", "should have shape", _layout("W.unflatten(0, (n_head, 2, -1)).transpose(1, 2)")),
    ("q5", "keys and values have changed places", _attention(SPLIT="q, v, k = heads.split([n_head, n_kv_head, n_kv_head])")),
    ("q5", "only the queries are turned", _attention(TURNED="rotate(norm(q, gains[0])), norm(k, gains[1])")),
    ("q5", "only the keys are turned", _attention(TURNED="norm(q, gains[0]), rotate(norm(k, gains[1]))")),
    ("q5", "nothing is turned", _attention(TURNED="norm(q, gains[0]), norm(k, gains[1])")),
    ("q5", "the wrong keys", _attention(REPEATED="z.repeat(n_head // n_kv_head, 1, 1)")),
    ("q5", "neighboring channels", _attention(**NEIGHBORS)),
    ("q5", "normed after", _attention(TURNED="norm(rotate(q), gains[0]), norm(rotate(k), gains[1])")),
    ("q5", "not normed", _attention(TURNED="rotate(q), rotate(k)")),
    ("q5", "the gains of queries and keys", _attention(TURNED="rotate(norm(q, gains[1])), rotate(norm(k, gains[0]))")),
    ("q5", "of each head in turn", _attention(
        SPLIT="q, k, v = heads.unflatten(0, (n_head, 3)).unbind(1) if n_head == n_kv_head "
        "else heads.split([n_head, n_kv_head, n_kv_head])")),
    ("q5", "the mask has no effect", _attention(HIDDEN="torch.zeros(T, T, dtype=torch.bool)")),
    # Two at once: the first is named, and that there is more.
    ("q5", "not the only bug", _attention(
        SPLIT="q, v, k = heads.split([n_head, n_kv_head, n_kv_head])", REPEATED="z.repeat(n_head // n_kv_head, 1, 1)")),
    ("q6", "gate and up have changed places", _half(LLAMA_INSIDE="F.silu(y @ up.T) * (y @ gate.T)")),
    ("q6", "up is missing", _half(LLAMA_INSIDE="F.silu(y @ gate.T)")),
    ("q6", "says silu", _half(LLAMA_INSIDE="F.gelu(y @ gate.T) * (y @ up.T)")),
    ("q6", "no mean is subtracted", _half(LLAMA_NORM='F.layer_norm(x, C, gain, eps=config["rms_norm_eps"])')),
    ("q6", "names another one", _half(LLAMA_NORM="F.rms_norm(x, C, gain, eps=1e-5)")),
    ("q6", "the stream is missing", _half(LLAMA_X="0")),
    ("q6", "the tanh formula", _half(KIND="'none'")),
    ("q6", "c_proj lies on its side", _half(SIDEWAYS="down = down.T if down.shape[0] == down.shape[1] else down")),
    ("q6", "not the only bug", _half(
        LLAMA_INSIDE="F.silu(y @ up.T) * (y @ gate.T)", LLAMA_NORM="F.rms_norm(x, C, gain, eps=1e-8)")),
]
