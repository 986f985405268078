"""Sheet 10: modern blocks and real weights."""

import math
from itertools import combinations, product

import torch
from torch.nn import functional as F

from course.checks import Part, Question, Sheet, Wrong, close, equal, same_shape
from tinyllm.attention import causal_mask
from tinyllm.layers import rope_table
from tinyllm.model import Config


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1


def in_a_plane(seed):
    a, b = torch.randn(2, 2, generator=_generator(seed)).round(decimals=2).tolist()
    yield (a, b, 3 + seed, 0.7)
    yield ([1.0, 2.0], [-1.0, 0.5], 0, 1.0)
    yield ([1.0, 0.0], [1.0, 0.0], 2, 0.1 * (seed + 1))
    yield (a, b, -2, 0.3)


def offset_score(inputs, answer):
    (q_1, q_2), (k_1, k_2), distance, omega = inputs

    def score(angle, even=1.0, odd=1.0):
        dot, turned = q_1 * k_1 + q_2 * k_2, q_1 * k_2 - q_2 * k_1
        return even * dot * math.cos(angle) + odd * turned * math.sin(angle)

    angle = distance * omega
    close(answer, score(angle), "the score", rtol=1e-5, atol=1e-7, mistakes={
        "this turns the wrong way: the query stands after its key, so it is the query that was turned further":
            score(-angle),
        "the speed of the plane is missing: the angle is distance times omega": score(distance),
        "only the cosine is here; two vectors that are not parallel have a part with the sine, too": score(angle, odd=0),
        "this is the score of vectors that were not turned": score(0),
        "the angle is turned twice over, once by the query and once by the key": score(2 * angle),
        "these are degrees; omega is in radians per token": score(math.radians(angle)),
    })


# q2

LLAMA_1B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip
QWEN_06B = {
    "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
    "tie_word_embeddings": True,
}  # fmt: skip


def caches(seed):
    old = {k: v for k, v in LLAMA_1B.items() if k not in ("num_key_value_heads", "head_dim")}
    yield (LLAMA_1B | {"head_dim": 80}, 500, 3, 4)
    yield (LLAMA_1B, 8192, 1, 2)
    yield (QWEN_06B, 1000 + seed, 4, 2)
    yield (old, 100, 2 + seed, 4)
    yield (LLAMA_1B | {"num_key_value_heads": 4, "num_hidden_layers": 3 + seed}, 77, 3, 1)


def cache_bytes(inputs, answer):
    raw, tokens, texts, size = inputs
    n_head = raw["num_attention_heads"]
    n_kv, d = raw.get("num_key_value_heads", n_head), raw.get("head_dim", raw["hidden_size"] // n_head)
    right = 2 * raw["num_hidden_layers"] * texts * tokens * n_kv * d * size
    equal(answer, right, "the number of bytes", mistakes={
        "keys or values, one of the two is missing": right // 2,
        "every head has a key of its own here; count num_key_value_heads": right // n_kv * n_head,
        "the heads of this model are not hidden_size / num_attention_heads channels wide: it has a head_dim":
            right // d * (raw["hidden_size"] // n_head),
        "keys and values are as wide as the model here; they have num_key_value_heads · head_dim channels":
            right // (n_kv * d) * raw["hidden_size"],
        "this is one layer; each has keys and values of its own": right // raw["num_hidden_layers"],
        "this is the cache of one text": right // texts,
        "these are numbers, not bytes": right // size,
        "queries are counted, but they are used once and not kept": right // 2 * 3,
    })


# q3


def llamas(seed):
    yield (LLAMA_1B,)
    yield (LLAMA_1B | {"tie_word_embeddings": False, "num_hidden_layers": 2 + seed},)
    yield ({k: v for k, v in LLAMA_1B.items() if k != "head_dim"} | {"num_key_value_heads": 4},)
    yield (LLAMA_1B | {"head_dim": 80, "vocab_size": 1000 + seed},)


def parameters(inputs, answer):
    (raw,) = inputs
    V, C, n, n_head = (raw[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"))
    n_kv, d, d_ff = raw["num_key_value_heads"], raw.get("head_dim", C // n_head), raw["intermediate_size"]
    heads = V * C * (1 if raw["tie_word_embeddings"] else 2)
    right = heads + n * (2 * C * d * (n_head + n_kv) + 3 * C * d_ff + 2 * C) + C
    equal(answer, right, "the number of parameters", mistakes={
        "the embedding and the head are counted, but tie_word_embeddings says that they are one matrix": right + V * C,
        "the head is missing: without tie_word_embeddings it has a matrix of its own": right - V * C,
        "a gated MLP has three matrices, W_gate, W_up and W_down": right - n * C * d_ff,
        "keys and values have num_key_value_heads heads, fewer than the queries": right + n * 2 * C * d * (n_head - n_kv),
        "W_O is missing in each block": right - n * C * d * n_head,
        "this model's heads are head_dim channels wide, which is not hidden_size / num_attention_heads":
            right - n * 2 * C * (d - C // n_head) * (n_head + n_kv),
        "all norms are missing": right - n * 2 * C - C,
        "the last norm, before the head, is missing": right - C,
        "an RMSNorm has a gain and no bias": right + n * 2 * C + C,
        "a block has two norms": right - n * C,
        "there are no weights for positions in a model with RoPE": right + raw.get("max_position_embeddings", 8192) * C,
    })
    return f"{right:,}, the 1 B of its name" if raw == LLAMA_1B else None


# q4


def matrices(seed):
    generator = _generator(seed)
    for n_head, d, C in ((1, 4, 3), (1, 8, 5 + seed), (2, 6, 7), (3, 8, 4)):
        yield (torch.randn(n_head * d, C, generator=generator), n_head)


def one_head(seed):
    yield from (case for case in matrices(seed) if case[1] == 1)


def several_heads(seed):
    yield from (case for case in matrices(seed) if case[1] > 1)


def layout(inputs, answer):
    W, n_head = inputs
    d = len(W) // n_head

    def ordered(order):
        return W.unflatten(0, (n_head, d))[:, order].flatten(0, 1)

    there = torch.arange(d).view(2, d // 2).T.flatten()
    back = torch.arange(d).view(d // 2, 2).T.flatten()
    right = ordered(there)
    mistakes = {
        "this is the way back, from neighbors to halves": ordered(back),
        "this is W as it was": W,
        "the rows of all heads are shuffled together; each head has its own d rows":
            W[torch.arange(len(W)).view(2, len(W) // 2).T.flatten()],
        "within a pair the two rows have changed places: row i comes first, then row i + d/2":
            ordered(there.view(-1, 2).flip(1).flatten()),
    }
    close(answer, right, "the matrix", axes=("row", "column"), mistakes=mistakes)


# q5


def _texts(seed, sizes, T=None):
    generator = _generator(seed)
    for i, (n_head, n_kv_head, d) in enumerate(sizes):
        n, C = T or 5 + seed + i, 6 + seed
        x = torch.randn(n, C, generator=generator)
        W_qkv = 0.5 * torch.randn((n_head + 2 * n_kv_head) * d, C, generator=generator)
        W_o = 0.5 * torch.randn(C, n_head * d, generator=generator)
        gains = 1 + 0.5 * torch.randn(2, d, generator=generator)
        rope = rope_table(Config(1, n, n_layer=1, n_head=1, d_model=d, positions="rope", rope_theta=20.0))
        yield x, W_qkv, W_o, n_head, n_kv_head, gains, rope


def one_token(seed):
    yield from _texts(seed, [(4, 2, 4), (6, 2, 4)], T=1)


def one_head_of_each(seed):
    yield from _texts(seed, [(1, 1, 4), (1, 1, 8)])


def grouped(seed):
    yield from _texts(seed, [(2, 2, 4), (4, 2, 4), (6, 3, 6), (3, 1, 4)])
    for x, *rest in _texts(seed, [(4, 2, 4)]):
        yield 1e-3 * x, *rest  # where what is added under the root is felt


def _rotate(x, rope, pairs):
    cos, sin = rope.chunk(2, dim=-1)
    if pairs == "halves":
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


def _modern(inputs, roles="qkv", split="", order="norm first", turn="both", pairs="halves", groups="neighbors",
            mask="causal", eps=1e-6):
    """Grouped attention with QK-norm and RoPE, with the mistakes that people make."""
    x, W_qkv, W_o, n_head, n_kv_head, (g_q, g_k), rope = inputs
    d = rope.shape[-1]
    y = (x @ W_qkv.T).unflatten(-1, (-1, d)).transpose(0, 1)  # (heads, T, d)
    if split == "per head":
        q, k, v = y.unflatten(0, (n_head, 3)).unbind(1) if n_head == n_kv_head else y.split([n_head, n_kv_head, n_kv_head])
    else:
        q, k, v = y.split([n_head, n_kv_head, n_kv_head])
    if roles == "qvk":
        k, v = v, k

    def normed(z, gain):
        return z if order == "no norm" else z * torch.rsqrt(z.square().mean(-1, keepdim=True) + eps) * gain

    def turned(z, which):
        return _rotate(z, rope, pairs) if turn in ("both", which) else z

    if order == "turn first":
        q, k = normed(turned(q, "queries"), g_q), normed(turned(k, "keys"), g_k)
    elif order == "gains swapped":
        q, k = turned(normed(q, g_k), "queries"), turned(normed(k, g_q), "keys")
    else:
        q, k = turned(normed(q, g_q), "queries"), turned(normed(k, g_k), "keys")
    if turn == "values, too":
        q, k, v = (_rotate(z, rope, pairs) for z in (q, k, v))
    n = n_head // n_kv_head
    k, v = (z.repeat(n, 1, 1) if groups == "in turn" else z.repeat_interleave(n, 0) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)
    if mask == "causal":
        scores = scores.masked_fill(~causal_mask(len(x)), -torch.inf)
    return (torch.softmax(scores, -1) @ v).transpose(0, 1).flatten(1) @ W_o.T


ROLES = {"keys and values have changed places: of the rows of W_qkv, keys come before values": "qvk"}
GROUPS = {"queries get the wrong keys: with 4 queries and 2 keys, queries 0 and 1 share key 0, not 0 and 2": "in turn"}
TURNS = {
    "only the queries are turned: then a score depends on where the query stands, not on how far the key is": "queries",
    "only the keys are turned: then a score depends on where the key stands, not on how far away it is": "keys",
    "nothing is turned: no score knows a position": "neither",
    "the values are turned as well; only queries and keys are": "values, too",
}
PAIRS = {"planes of neighboring channels, 2i and 2i + 1; this book's are i and i + d/2": "neighbors"}
ORDERS = {
    "turned first, normed after: a gain for each channel then stretches what is already turned, and scores are no "
    "longer a matter of the offset": "turn first",
    "the gains of queries and keys have changed places": "gains swapped",
    "queries and keys are not normed": "no norm",
}
SPLITS = {"the rows of W_qkv are taken as q, k, v of each head in turn; they are all queries, then all keys, then "
          "all values": "per head"}
MASKS = {"a token sees what comes later: the mask has no effect": "none"}
ALL = (("split", "", SPLITS), ("roles", "qkv", ROLES), ("order", "norm first", ORDERS), ("turn", "both", TURNS),
       ("pairs", "halves", PAIRS), ("groups", "neighbors", GROUPS), ("mask", "causal", MASKS))


def modern(inputs, answer):
    """Of several mistakes the first is named, in the order of the program; the others are left to find."""
    right = _modern(inputs)
    got = torch.as_tensor(same_shape(answer, right, "the output", axes=("token", "channel"))).float()
    near = {"rtol": 1e-3, "atol": 1e-5, "equal_nan": True}
    if torch.allclose(got, right, **near):
        return
    kinds = [{"": fine} | wrong for _, fine, wrong in ALL]
    for says in sorted(product(*kinds), key=lambda says: sum(map(bool, says))):  # few mistakes before many
        named = [what for what in says if what]
        if not named or len(named) > 4:
            continue
        options = {name: kind[what] for (name, *_), kind, what in zip(ALL, kinds, says)}
        if torch.allclose(got, _modern(inputs, **options), **near):
            raise Wrong(named[0] + ("; and this is not the only bug" if named[1:] else ""))
    close(answer, right, "the output", axes=("token", "channel"), rtol=1e-3, mistakes={
        "nothing is added to the mean square under the root; the norms have an eps of 1e-6": _modern(inputs, eps=0.0),
    })


# q6


def _block(seed, family, C, d_ff, size, eps):
    generator = _generator(seed)
    x = size * torch.randn(4 + seed, C, generator=generator)

    def matrix(*shape):
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    if family == "gpt2":
        tensors = {
            "ln_2.weight": 1 + 0.3 * matrix(C), "ln_2.bias": 0.3 * matrix(C) * C**0.5,
            "mlp.c_fc.weight": matrix(C, d_ff), "mlp.c_fc.bias": matrix(d_ff),
            "mlp.c_proj.weight": matrix(d_ff, C), "mlp.c_proj.bias": matrix(C),
        }  # fmt: skip
        return x, tensors, {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": eps}
    tensors = {
        "post_attention_layernorm.weight": 1 + 0.3 * matrix(C) * C**0.5,
        "mlp.gate_proj.weight": matrix(d_ff, C), "mlp.up_proj.weight": matrix(d_ff, C),
        "mlp.down_proj.weight": matrix(C, d_ff),
    }  # fmt: skip
    return x, tensors, {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": eps}


def llama_blocks(seed):
    yield _block(seed, "llama", 6, 9, 0.001, 1e-6)
    yield _block(seed, "llama", 6, 6, 0.01, 1e-5)
    yield _block(seed, "llama", 8, 12 + seed, 1.0, 1e-6)


def gpt2_blocks(seed):
    yield _block(seed, "gpt2", 8, 32 + seed, 1.0, 1e-5)
    yield _block(seed, "gpt2", 8, 8, 2.0, 1e-5)
    yield _block(seed, "gpt2", 6, 6, 0.01, 1e-6)


def _half_block(inputs, stream=True, norm="", gate="gate", act="", eps=None, bias=True, across="T"):
    x, tensors, config = inputs
    family, C = config["model_type"], x.shape[-1]
    eps = eps or config.get("rms_norm_eps", config.get("layer_norm_epsilon"))
    acts = {"silu": F.silu, "gelu": F.gelu, "gelu_new": lambda z: F.gelu(z, approximate="tanh"), "relu": F.relu}
    if family == "llama":
        gain, up, down = (tensors[n] for n in ("post_attention_layernorm.weight", "mlp.up_proj.weight",
                                               "mlp.down_proj.weight"))
        gates = tensors["mlp.gate_proj.weight"]
        if gate == "swapped":
            gates, up = up, gates
        normed = F.layer_norm(x, (C,), gain, eps=eps) if norm == "other" else F.rms_norm(x, (C,), gain, eps)
        inside = acts[act or "silu"](normed @ gates.T) * (1 if gate == "none" else normed @ up.T)
        written = inside @ down.T
    else:
        gain, shift = tensors["ln_2.weight"], tensors["ln_2.bias"]
        up, down = tensors["mlp.c_fc.weight"], tensors["mlp.c_proj.weight"]
        if across == "both" and up.shape[0] == up.shape[1]:
            up, down = up.T, down.T
        if across == "second" and up.shape[0] == up.shape[1]:
            down = down.T
        b_up, b_down = (tensors[f"mlp.{n}.bias"] if bias is True else 0 for n in ("c_fc", "c_proj"))
        shift = None if bias in (False, "norm") else shift
        if bias == "norm":
            b_up, b_down = tensors["mlp.c_fc.bias"], tensors["mlp.c_proj.bias"]
        if norm == "other":
            normed = F.rms_norm(x, (C,), gain, eps) + (0 if shift is None else shift)
        else:
            normed = F.layer_norm(x, (C,), gain, shift, eps)
        written = acts[act or "gelu_new"](normed @ up + b_up) @ down + b_down
    return x + written if stream else written


HALVES = {
    "llama": {
        "gate and up have changed places: it is W_gate x that goes through SiLU": dict(gate="swapped"),
        "up is missing: what passes the gate is W_up x": dict(gate="none"),
        "the activation is GELU; config.json says silu": dict(act="gelu"),
        "a LayerNorm stands where config.json asks for an RMSNorm: no mean is subtracted": dict(norm="other"),
    },
    "gpt2": {
        "both matrices lie on their side: GPT-2 keeps (in, out), to be used as x @ W": dict(across="both"),
        "c_proj lies on its side: being square it fits both ways, and GPT-2 keeps (in, out)": dict(across="second"),
        "this is the exact GELU; config.json says gelu_new, which is the tanh formula": dict(act="gelu"),
        "an RMSNorm stands where GPT-2 has a LayerNorm: the mean is not subtracted": dict(norm="other"),
        "all biases are missing": dict(bias=False),
        "the bias of the norm is missing": dict(bias="norm"),
    },
}


def half_block(inputs, answer):
    """Of several mistakes the first is named, as in `modern`."""
    right, family = _half_block(inputs), inputs[2]["model_type"]
    got = torch.as_tensor(same_shape(answer, right, "the stream after the MLP", axes=("token", "channel"))).float()
    near = {"rtol": 1e-4, "atol": 2e-6, "equal_nan": True}
    if torch.allclose(got, right, **near):
        return
    kinds = HALVES[family] | {"the stream is missing: the MLP's answer is added to x": {"stream": False}}
    kinds |= {f"the norm adds an epsilon of {eps:g}; config.json names another one": {"eps": eps}
              for eps in (1e-5, 1e-6, 1e-8, 1e-12)}
    for n in (1, 2, 3):
        for named in combinations(kinds, n):
            options = {option: value for says in named for option, value in kinds[says].items()}
            if len(options) == n and torch.allclose(got, _half_block(inputs, **options), **near):
                raise Wrong(named[0] + ("; and this is not the only bug" if n > 1 else ""))
    close(answer, right, "the stream after the MLP", axes=("token", "channel"), rtol=1e-4, atol=2e-6)


SHEET = Sheet("10_modern_blocks", "Modern blocks and real weights", questions=(
    Question("q1", "How far, not where", function="offset_score", minutes=10, difficulty=1,
             parts=(Part("the score is that of the offset", 2, offset_score, in_a_plane),),
             hints=("Turn only the query, by the angle that is left when the key's is taken off.",
                    "Turn (q₁, q₂) by an angle a: (q₁ cos a − q₂ sin a, q₁ sin a + q₂ cos a). Then the dot product.")),
    Question("q2", "What must be kept", function="cache_bytes", minutes=10, difficulty=1,
             parts=(Part("the bytes of the cache", 2, cache_bytes, caches),),
             hints=("Per token, layer and text: how many vectors, and of how many channels?",
                    "A config.json without num_key_value_heads has a key for each head; one without head_dim divides.")),
    Question("q3", "One billion", function="count_parameters", minutes=15, difficulty=2,
             parts=(Part("the number of parameters", 3, parameters, llamas),),
             hints=("Go through the block as it is computed: a norm, four matrices of attention, a norm, three of the MLP.",
                    "W_Q is (hidden_size, n_head · head_dim). And W_K?")),
    Question("q4", "From one layout to the other", function="to_neighbors", minutes=15, difficulty=2,
             parts=(Part("one head", 1, layout, one_head),
                    Part("several heads", 2, layout, several_heads)),
             hints=("Write the rows of a head of d = 4 as numbers, 0 1 2 3, and the order that you want.",
                    "A view as (n_head, 2, d/2, C), two axes that change places, and back.")),
    Question("q5", "Attention of today, with bugs", function="modern_attention", minutes=25, difficulty=3,
             parts=(Part("with one token, the heads hold values, each for its group of queries", 2, modern, one_token),
                    Part("one query, one key: norms and rotations", 2, modern, one_head_of_each),
                    Part("groups of queries, several tokens", 3, modern, grouped)),
             hints=("With one token all weights are 1. What must stand in the output then?",
                    "Print k for 4 queries and 2 keys after they were repeated. Which belongs to query 1?",
                    "Is the score of the same two vectors the same at positions 0, 1 and at 4, 5?")),
    Question("q6", "Bugs that no text would show", function="half_block", minutes=25, difficulty=3,
             parts=(Part("a block of the Llama family", 3, half_block, llama_blocks),
                    Part("a block of GPT-2", 3, half_block, gpt2_blocks)),
             hints=("Read every value of the config.json that you are given; each is there because it is used.",
                    "Which of the shapes would still fit if a matrix were transposed?",
                    "What is SiLU applied to, and what is it multiplied with?")),
))
