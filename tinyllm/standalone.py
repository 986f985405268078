"""A whole language model in the Python standard library: it reads Taleteller, writes, and learns.

    python standalone.py "Once there was"           goes on with a text
    python standalone.py --train tales.txt          trains a small model of the same form, from nothing

It needs Python 3.6 and no other file than the model's three. A vector is a list of numbers, a matrix a list
of rows, and almost all work is one line, `products`. It is the slowest correct implementation in the book.
"""

import argparse
import codecs
import json
import math
import random
import re
import struct
import sys
import unicodedata
from collections import namedtuple
from operator import mul
from pathlib import Path

# --------------------------------------------------------------------------------------------------- files


def read_tensors(path):
    """All matrices and vectors of a safetensors file: the length of a header, the header in JSON, numbers."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, tensors = json.loads(data[8 : 8 + length].decode()), {}
    header.pop("__metadata__", None)
    for name, about in header.items():
        begin, end = (8 + length + offset for offset in about["data_offsets"])
        letter, size = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}[about["dtype"]]
        numbers = struct.unpack_from("<%d%s" % ((end - begin) // size, letter), data, begin)
        width = about["shape"][-1]
        rows = [list(numbers[i : i + width]) for i in range(0, len(numbers), width)]
        tensors[name] = rows if len(about["shape"]) == 2 else rows[0]
    return tensors


def load(folder):
    """The model and the tokenizer in a folder that `tinyllm.model.save` wrote."""
    for name in ("model.json", "model.safetensors", "tokenizer.json"):
        if not Path(folder, name).is_file():
            raise ValueError("%s is no model: it has no file %s" % (folder, name))
    config = json.loads(Path(folder, "model.json").read_text(encoding="utf-8"))["config"]
    unknown = set(config) - {"vocab_size", "block_size", "n_layer", "n_head", "d_model", "tie_weights"}
    if unknown or config.get("tie_weights"):
        raise ValueError("%s is a model of another form: %s" % (folder, sorted(unknown) or "tied weights"))
    weights = read_tensors(Path(folder, "model.safetensors"))
    return GPT(weights, config["n_layer"], config["n_head"]), Tokenizer(Path(folder, "tokenizer.json"))


# ------------------------------------------------------------------------------------------------- tokens

PIECES = re.compile("'(?:s|t|re|ve|m|ll|d)")
RUNS = re.compile(" ?L+| ?N+| ?O+|[ S]+(?![LNO])|[ S]+")
SPACES = "\t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def kind(char):
    """Is it a letter, a number, a space, or something other? The space itself stays what it is."""
    category = unicodedata.category(char)[0]
    return char if char == " " else category if category in "LN" else "S" if char in SPACES else "O"


def split(text):
    """Cut a text as GPT-2's pattern does: words with the space before them, numbers, signs, spaces."""
    kinds, pieces, place = "".join(map(kind, text)), [], 0
    while place < len(text):
        found = PIECES.match(text, place) or RUNS.match(kinds, place)
        pieces.append(text[place : found.end()])
        place = found.end()
    return pieces


class Tokenizer:
    """Byte-pair encoding with the merges of a saved tokenizer."""

    def __init__(self, path):
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
        self.vocab = {int(i): token.encode("latin-1") for i, token in saved["vocab"].items()}
        self.ids = {token: i for i, token in self.vocab.items()}
        pairs = (tuple(part.encode("latin-1") for part in pair) for pair in saved["merges"])
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}

    def encode(self, text):
        ids = []
        for piece in split(text):
            parts = [bytes([byte]) for byte in piece.encode("utf-8", "surrogatepass")]
            while len(parts) > 1:
                ranks = [self.ranks.get(pair, math.inf) for pair in zip(parts, parts[1:])]
                first = min(ranks)
                if first == math.inf:
                    break
                i = ranks.index(first)
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            ids += [self.ids[part] for part in parts]
        return ids


# ------------------------------------------------------------------------------------- numbers in lists


def products(A, B):
    """A Bᵀ: the dot product of each row of A with each row of B."""
    return [[sum(map(mul, a, b)) for b in B] for a in A]


def transpose(A):
    return list(map(list, zip(*A)))


def add(A, B):
    return [[x + y for x, y in zip(a, b)] for a, b in zip(A, B)]


def softmax(scores):
    largest = max(scores)
    exps = [math.exp(score - largest) for score in scores]
    total = sum(exps)
    return [e / total for e in exps]


def standardize(x):
    """A vector with mean 0 and variance 1, and the factor that made it so."""
    mean = sum(x) / len(x)
    centered = [value - mean for value in x]
    factor = 1 / math.sqrt(sum(map(mul, centered, centered)) / len(x) + 1e-5)
    return [value * factor for value in centered], factor


def norm(X, gain):
    return [list(map(mul, standardize(x)[0], gain)) for x in X]


def phi(s):
    """The share of a normal distribution that lies below s."""
    return (1 + math.erf(s / math.sqrt(2))) / 2


def gelu(A):
    return [[s * phi(s) for s in row] for row in A]


# --------------------------------------------------------------------------------------------- the model


# `weights` has the matrices and vectors by name, as `tinyllm.model` names them.
GPT = namedtuple("GPT", ["weights", "n_layer", "n_head"])


def new_cache(model):
    """For each head of each layer its keys and its values so far: none."""
    return [[([], []) for _ in range(model.n_head)] for _ in range(model.n_layer)]


def forward(model, ids, cache, kept=None):
    """Logits, a row for each id, of ids that go on where the cache ends: (T, V).

    A list `kept` gets what the way back needs.
    """
    W, start = model.weights, len(cache[0][0][0])
    room = len(W["position.weight"])
    if start + len(ids) > room:
        raise ValueError("%d ids are more than the context of %d" % (start + len(ids), room))
    X = add([W["token.weight"][i] for i in ids], W["position.weight"][start:])  # (T, C)
    for n, heads in enumerate(cache):
        X = block(W, "blocks.%d." % n, X, heads, kept)
    N = norm(X, W["norm.weight"])
    if kept is not None:
        kept.append((X, N))
    return products(N, W["head.weight"])  # (T, V)


def block(W, name, X, heads, kept=None):
    """Read the residual stream (T, C) and add to it, twice."""
    N1 = norm(X, W[name + "norm_1.weight"])
    qkv = products(N1, W[name + "attention.qkv.weight"])  # (T, 3C)
    answers, weights = attend(qkv, heads)
    X1 = add(X, products(answers, W[name + "attention.out.weight"]))
    N2 = norm(X1, W[name + "norm_2.weight"])
    up = products(N2, W[name + "mlp.up.weight"])  # (T, 4C)
    if kept is not None:
        kept.append((X, N1, qkv, weights, answers, X1, N2, up))
    return add(X1, products(gelu(up), W[name + "mlp.down.weight"]))


def attend(qkv, heads):
    """What each head finds for each token, side by side, (T, C), and its weights, (n_head, T, keys)."""
    answers, found = [[] for _ in qkv], []
    for (keys, values), Q, K, V in zip(heads, *parts(qkv, len(heads))):
        found.append([])
        for answer, q, k, v in zip(answers, Q, K, V):
            keys.append(k)  # a token sees itself and what came before it
            values.append(v)
            weights = softmax([sum(map(mul, q, key)) / math.sqrt(len(q)) for key in keys])
            answer += [sum(map(mul, weights, channel)) for channel in zip(*values)]
            found[-1].append(weights)
    return answers, found


def parts(qkv, n_head):
    """Queries, keys and values of each head, (n_head, T, d_head) each, from (T, 3C)."""
    size = len(qkv[0]) // (3 * n_head)
    cut = [[row[i : i + size] for row in qkv] for i in range(0, len(qkv[0]), size)]
    return cut[:n_head], cut[n_head:-n_head], cut[-n_head:]


def generate(model, ids, n, temperature=1.0):
    """Yield n ids, each drawn from what the model expects after those before it."""
    cache = new_cache(model)
    for _ in range(n):
        logits = forward(model, ids, cache)[-1]
        ids = [logits.index(max(logits))]
        if temperature > 0:
            ids = random.choices(range(len(logits)), softmax([z / temperature for z in logits]))
        yield ids[0]


# ------------------------------------------------------------------------------------------- the way back


def loss_and_gradient(model, ids):
    """Mean loss in nats of predicting each id from those before it, and its slope in every weight."""
    W, kept, gradient = model.weights, [], {}
    logits = forward(model, ids[:-1], new_cache(model), kept)
    P, targets, T = [softmax(row) for row in logits], ids[1:], len(ids) - 1
    loss = -sum(math.log(p[i]) for p, i in zip(P, targets)) / T
    for p, i in zip(P, targets):
        p[i] -= 1
    dL = [[value / T for value in p] for p in P]
    X, N = kept.pop()
    gradient["head.weight"] = products(transpose(dL), transpose(N))
    dX, gradient["norm.weight"] = norm_back(X, W["norm.weight"], products(dL, transpose(W["head.weight"])))
    for n in reversed(range(model.n_layer)):
        dX = block_back(W, "blocks.%d." % n, dX, kept.pop(), gradient)
    token = gradient["token.weight"] = [[0.0] * len(dX[0]) for _ in W["token.weight"]]
    place = gradient["position.weight"] = [[0.0] * len(dX[0]) for _ in W["position.weight"]]
    for t, (i, d) in enumerate(zip(ids, dX)):
        token[i] = [a + b for a, b in zip(token[i], d)]
        place[t] = d
    return loss, gradient


def block_back(W, name, dX2, kept, gradient):
    """The slope of the loss in what a block read, from that in what it gave."""
    X, N1, qkv, weights, answers, X1, N2, up = kept

    def linear_back(which, read, d):
        gradient[name + which] = products(transpose(d), transpose(read))
        return products(d, transpose(W[name + which]))

    def through_norm(which, x, d):
        d, gradient[name + which] = norm_back(x, W[name + which], d)
        return d

    d = linear_back("mlp.down.weight", gelu(up), dX2)
    d = [[g * gelu_slope(s) for g, s in zip(*rows)] for rows in zip(d, up)]
    d = linear_back("mlp.up.weight", N2, d)
    dX1 = add(dX2, through_norm("norm_2.weight", X1, d))
    d = linear_back("attention.out.weight", answers, dX1)
    d = linear_back("attention.qkv.weight", N1, attend_back(qkv, weights, d))
    return add(dX1, through_norm("norm_1.weight", X, d))


def attend_back(qkv, weights, d_answers):
    """The slope of the loss in queries, keys and values, side by side as in `qkv`."""
    n_head, dQ, dK, dV = len(weights), [], [], []
    size = len(d_answers[0]) // n_head
    for head, (Q, K, V) in enumerate(zip(*parts(qkv, n_head))):
        D = [row[head * size : (head + 1) * size] for row in d_answers]  # (T, d_head)
        S = []  # the slope in the scores
        for w, slopes in zip(weights[head], products(D, V)):
            mean = sum(map(mul, w, slopes))
            S.append([a * (b - mean) / math.sqrt(size) for a, b in zip(w, slopes)])
        S, w = ([row + [0.0] * (len(K) - len(row)) for row in A] for A in (S, weights[head]))
        dQ.append(products(S, transpose(K)))
        dK.append(products(transpose(S), transpose(Q)))
        dV.append(products(transpose(w), transpose(D)))
    return [sum((head[t] for head in dQ + dK + dV), []) for t in range(len(qkv))]


def norm_back(X, gain, D):
    """The slope of the loss in what a norm read, and in its gain, from that in what it gave."""
    back, d_gain = [], [0.0] * len(gain)
    for x, d in zip(X, D):
        z, factor = standardize(x)
        d_gain = [g + a * b for g, a, b in zip(d_gain, d, z)]
        d = list(map(mul, d, gain))
        mean, slope = sum(d) / len(d), sum(map(mul, d, z)) / len(d)
        back.append([factor * (a - mean - b * slope) for a, b in zip(d, z)])
    return back, d_gain


def gelu_slope(s):
    return phi(s) + s * math.exp(-s * s / 2) / math.sqrt(2 * math.pi)


# ------------------------------------------------------------------------------------------------ training


def new_model(vocab_size, block_size, n_layer, n_head, d_model):
    """A model before its first step: what writes to the residual stream and the head are zero."""

    def matrix(n_rows, n_columns, size):
        return [[random.gauss(0, size) if size else 0.0 for _ in range(n_columns)] for _ in range(n_rows)]

    C, size = d_model, d_model ** -0.5
    weights = {"token.weight": matrix(vocab_size, C, 0.02), "position.weight": matrix(block_size, C, 0.02)}
    for n in range(n_layer):
        block = "blocks.%d." % n
        weights[block + "norm_1.weight"] = [1.0] * C
        weights[block + "attention.qkv.weight"] = matrix(3 * C, C, size)
        weights[block + "attention.out.weight"] = matrix(C, C, 0)
        weights[block + "norm_2.weight"] = [1.0] * C
        weights[block + "mlp.up.weight"] = matrix(4 * C, C, size)
        weights[block + "mlp.down.weight"] = matrix(C, 4 * C, 0)
    weights["norm.weight"], weights["head.weight"] = [1.0] * C, matrix(vocab_size, C, 0)
    return GPT(weights, n_layer, n_head)


class Adam:
    """Steps of about `lr` for each weight, whatever the size of its slope."""

    def __init__(self, model):
        self.t = 0
        self.rows = [row for name in sorted(model.weights) for row in as_rows(model.weights[name])]
        self.m, self.v = ([[0.0] * len(row) for row in self.rows] for _ in range(2))

    def step(self, gradient, lr, beta_1=0.9, beta_2=0.99):
        self.t += 1
        lr, root = lr / (1 - beta_1 ** self.t), math.sqrt(1 - beta_2 ** self.t)
        slopes = (row for name in sorted(gradient) for row in as_rows(gradient[name]))
        for row, g, m, v in zip(self.rows, slopes, self.m, self.v):
            m[:] = [beta_1 * a + (1 - beta_1) * b for a, b in zip(m, g)]
            v[:] = [beta_2 * a + (1 - beta_2) * b * b for a, b in zip(v, g)]
            row[:] = [w - lr * a / (math.sqrt(b) / root + 1e-8) for w, a, b in zip(row, m, v)]


def as_rows(weight):
    return weight if isinstance(weight[0], list) else [weight]


def train(model, ids, n_steps, lr=0.01):
    """Learn from one random block of the text in each step; yield the loss that the model had on it."""
    optimizer, T = Adam(model), len(model.weights["position.weight"])
    for step in range(n_steps):
        start = random.randrange(len(ids) - T)
        loss, gradient = loss_and_gradient(model, ids[start : start + T + 1])
        optimizer.step(gradient, lr * min(1.0, 1.5 * (1 - step / n_steps)))
        yield loss


def watch(path, n_steps):
    """Train a small model on the characters of a file, show its loss, and let it write."""
    text = Path(path).read_text(encoding="utf-8")
    letters = sorted(set(text))
    ids = [letters.index(letter) for letter in text[:200000]]
    model, losses = new_model(len(letters), block_size=32, n_layer=1, n_head=2, d_model=24), []
    print("a uniform guess costs %.2f nats per character" % math.log(len(letters)))
    for step, loss in enumerate(train(model, ids, n_steps), 1):
        losses.append(loss)
        if step % max(1, n_steps // 20) == 0:
            print("step %5d   loss %.2f" % (step, sum(losses) / len(losses)))
            losses = []
    print("".join(letters[i] for i in ids[:8] + list(generate(model, ids[:8], 24, 0.7))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="Once there was")
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent / "taleteller"), help="a folder")
    parser.add_argument("--tokens", type=int, default=100, help="how many to write")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--train", metavar="FILE", help="a text in UTF-8 to learn from")
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    random.seed(args.seed)
    if args.train:
        return watch(args.train, args.steps)
    model, tokenizer = load(args.model)
    ids = tokenizer.encode("\n\n" + args.prompt)  # a story begins after an empty line
    text = codecs.getincrementaldecoder("utf-8")("replace")  # a character may take several tokens
    print(args.prompt, end="", flush=True)
    n = max(1, min(args.tokens, len(model.weights["position.weight"]) - len(ids)))
    for i in generate(model, ids, n, args.temperature):
        print(text.decode(tokenizer.vocab[i]), end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit("error: %s" % error)
    except KeyboardInterrupt:
        print()
