"""A whole language model in the Python standard library: it reads Taleteller, writes, and learns.

    python standalone.py "Once there was"           goes on with a text
    python standalone.py --train tales.txt          trains a small model of the same form

It needs Python 3.6 and no other file than the model's three. A matrix is a list of rows, and rows
are lists of numbers. Most of the time goes into one line, that of `products`.
"""

import argparse
import codecs
import hashlib
import json
import math
import random
import re
import struct
import sys
import unicodedata
from collections import Counter, namedtuple
from operator import mul
from pathlib import Path


def read_tensors(path):
    """The matrices of a safetensors file by name; a vector becomes a matrix of one row."""
    data, tensors = Path(path).read_bytes(), {}
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length].decode())
    header.pop("__metadata__", None)
    for name, about in header.items():
        begin, end = (8 + length + offset for offset in about["data_offsets"])
        letter, size = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}[about["dtype"]]
        numbers = struct.unpack_from("<%d%s" % ((end - begin) // size, letter), data, begin)
        width = about["shape"][-1]
        tensors[name] = [list(numbers[i : i + width]) for i in range(0, len(numbers), width)]
    return tensors


def load(folder):
    """The model and the tokenizer in a folder that `tinyllm.model.save` wrote."""
    path, texts = Path(folder, "model.safetensors"), ("model.json", "tokenizer.json")
    try:
        about, saved = (json.loads(Path(folder, n).read_text(encoding="utf-8")) for n in texts)
        config, sizes = about["config"], "vocab_size block_size n_layer n_head d_model"
        if config.pop("tie_weights", False) or set(config) != set(sizes.split()):
            raise ValueError("its form is another one: %s" % config)
        if hashlib.sha256(path.read_bytes()).hexdigest() != about["sha256"]:
            raise ValueError("%s is damaged" % path.name)
        return GPT(read_tensors(path), config["n_layer"], config["n_head"]), Tokenizer(saved)
    except LookupError as error:
        raise ValueError("%s holds no model that can be read: what is %s?" % (folder, error))
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise ValueError("%s holds no model that can be read: %s" % (folder, error))


# ------------------------------------------------------------------------------------ tokens

ENDINGS = re.compile("'(?:s|t|re|ve|m|ll|d)")
RUNS = re.compile(" ?L+| ?N+| ?O+|[ S]+(?![LNO])|[ S]+")


def kind(char):
    """L for a letter, N for a number, S for a space, O for another; " " stays what it is."""
    category = unicodedata.category(char)[0]
    space = char.isspace() and char not in "\x1c\x1d\x1e\x1f"  # no spaces to the pattern
    return category if category in "LN" else char if char == " " else "S" if space else "O"


def split(text):
    """Cut a text as GPT-2's pattern does: words after a space, numbers, signs, spaces."""
    kinds, pieces, place = "".join(map(kind, text)), [], 0
    while place < len(text):
        found = ENDINGS.match(text, place) or RUNS.match(kinds, place)
        pieces.append(text[place : found.end()])
        place = found.end()
    return pieces


class Tokenizer:
    """Byte-pair encoding with the vocabulary and the merges of a `tokenizer.json`."""

    def __init__(self, saved):
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


class Words:
    """The commonest n pieces of a text as tokens, and its characters, for all others."""

    def __init__(self, text, n):
        common = {piece for piece, _ in Counter(split(text)).most_common(n)}
        self.ids = {token: i for i, token in enumerate(sorted(common.union(text)))}
        self.vocab = {i: token.encode() for token, i in self.ids.items()}

    def encode(self, text):
        parts = ([piece] if piece in self.ids else piece for piece in split(text))
        return [self.ids[token] for part in parts for token in part]


# The dot product of two lists. Python 3.12 has it built in, more than twice as fast.
dot = getattr(math, "sumprod", lambda a, b: sum(map(mul, a, b)))


def products(A, B):
    """A Bᵀ: the dot product of each row of A with each row of B."""
    return [[dot(a, b) for b in B] for a in A]


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
    factor = 1 / math.sqrt(dot(centered, centered) / len(x) + 1e-5)
    return [value * factor for value in centered], factor


def norm(X, gain):
    return [list(map(mul, standardize(x)[0], gain[0])) for x in X]


def phi(s):
    """The share of a normal distribution that lies below s."""
    return (1 + math.erf(s / math.sqrt(2))) / 2


# --------------------------------------------------------------------------- the way forward

GPT = namedtuple("GPT", "weights n_layer n_head")  # weights by name, as in `tinyllm.model`


def new_cache(model):
    """For each head of each layer its keys and its values so far: none."""
    return [[([], []) for _ in range(model.n_head)] for _ in range(model.n_layer)]


def forward(model, ids, cache, kept=None):
    """Logits (T, V) of ids that go on where the cache ends; `kept` is for the way back."""
    W, start = model.weights, len(cache[0][0][0])
    room, kept = len(W["position.weight"]), [] if kept is None else kept
    if start + len(ids) > room:
        raise ValueError("%d ids are more than the context of %d" % (start + len(ids), room))
    X = add([W["token.weight"][i] for i in ids], W["position.weight"][start:])  # (T, C)
    for n, heads in enumerate(cache):
        X = block(W, "blocks.%d." % n, X, heads, kept)
    kept.append((X, norm(X, W["norm.weight"])))
    return products(kept[-1][1], W["head.weight"])  # (T, V)


def block(W, name, X, heads, kept):
    """Read the residual stream (T, C) and add to it, twice."""
    N1 = norm(X, W[name + "norm_1.weight"])
    qkv = products(N1, W[name + "attention.qkv.weight"])  # (T, 3C)
    answers, weights = attend(qkv, heads)
    X1 = add(X, products(answers, W[name + "attention.out.weight"]))
    N2 = norm(X1, W[name + "norm_2.weight"])
    up = products(N2, W[name + "mlp.up.weight"])  # (T, 4C)
    matches = [[s * phi(s) for s in row] for row in up]
    kept.append((X, N1, qkv, weights, answers, X1, N2, up, matches))
    return add(X1, products(matches, W[name + "mlp.down.weight"]))


def attend(qkv, heads):
    """What each head finds for each token (T, C), and its weights (n_head, T, keys)."""
    answers, found = [[] for _ in qkv], []
    for (keys, values), Q, K, V in zip(heads, *parts(qkv, len(heads))):
        found.append([])
        for answer, q, k, v in zip(answers, Q, K, V):
            keys.append(k)  # a token sees itself and what came before it
            values.append(v)
            weights = softmax([dot(q, key) / math.sqrt(len(q)) for key in keys])
            answer += [dot(weights, channel) for channel in zip(*values)]
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
            p = softmax([z / temperature for z in logits])
            ids = random.choices(range(len(p)), p)
        yield ids[0]


# -------------------------------------------------------------- the way back, and training

def loss_and_gradient(model, ids):
    """Mean loss in nats of each id given those before it, and its slope in every weight."""
    W, kept, gradient = model.weights, [], {}
    logits = forward(model, ids[:-1], new_cache(model), kept)
    P, T = [softmax(row) for row in logits], len(ids) - 1
    loss = -sum(math.log(p[i]) for p, i in zip(P, ids[1:])) / T
    d = [[(value - (v == i)) / T for v, value in enumerate(p)] for p, i in zip(P, ids[1:])]
    X, N = kept.pop()
    gradient["head.weight"] = products(transpose(d), transpose(N))
    d = products(d, transpose(W["head.weight"]))
    d, gradient["norm.weight"] = norm_back(X, W["norm.weight"], d)
    for n in reversed(range(model.n_layer)):
        d = block_back(W, "blocks.%d." % n, d, kept.pop(), gradient)
    for name, places in (("token.weight", ids), ("position.weight", range(T))):
        rows = gradient[name] = [[0.0] * len(row) for row in W[name]]
        for i, row in zip(places, d):
            rows[i] = [a + b for a, b in zip(rows[i], row)]
    return loss, gradient


def block_back(W, name, d_out, kept, gradient):
    """The slope of the loss in what a block read, from that in what it gave."""
    X, N1, qkv, weights, answers, X1, N2, up, matches = kept

    def matrix_back(which, read, d):
        gradient[name + which] = products(transpose(d), transpose(read))
        return products(d, transpose(W[name + which]))
    d = matrix_back("mlp.down.weight", matches, d_out)
    d = [[g * gelu_slope(s) for g, s in zip(*rows)] for rows in zip(d, up)]
    d = matrix_back("mlp.up.weight", N2, d)
    d, gradient[name + "norm_2.weight"] = norm_back(X1, W[name + "norm_2.weight"], d)
    d_1 = add(d_out, d)
    d = matrix_back("attention.out.weight", answers, d_1)
    d = matrix_back("attention.qkv.weight", N1, attend_back(qkv, weights, d))
    d, gradient[name + "norm_1.weight"] = norm_back(X, W[name + "norm_1.weight"], d)
    return add(d_1, d)


def attend_back(qkv, weights, d_answers):
    """The slope of the loss in queries, keys and values, side by side as in `qkv`."""
    n_head, dQ, dK, dV = len(weights), [], [], []
    size = len(d_answers[0]) // n_head
    for head, (Q, K, V) in enumerate(zip(*parts(qkv, n_head))):
        D = [row[head * size : (head + 1) * size] for row in d_answers]  # (T, d_head)
        S = []  # the slope in the scores
        for w, slopes in zip(weights[head], products(D, V)):
            mean = sum(map(mul, w, slopes))  # w ends where the token stands
            S.append([a * (b - mean) / math.sqrt(size) for a, b in zip(w, slopes)])
        S, w = ([row + [0.0] * (len(K) - len(row)) for row in A] for A in (S, weights[head]))
        dQ.append(products(S, transpose(K)))
        dK.append(products(transpose(S), transpose(Q)))
        dV.append(products(transpose(w), transpose(D)))
    return [sum((head[t] for head in dQ + dK + dV), []) for t in range(len(qkv))]


def norm_back(X, gain, D):
    """The slope in what a norm read, and in its gain, from that in what it gave."""
    back, d_gain = [], [0.0] * len(X[0])
    for x, d in zip(X, D):
        z, factor = standardize(x)
        d_gain = [g + a * b for g, a, b in zip(d_gain, d, z)]
        d = list(map(mul, d, gain[0]))
        mean, slope = sum(d) / len(d), dot(d, z) / len(d)
        back.append([factor * (a - mean - b * slope) for a, b in zip(d, z)])
    return back, [d_gain]


def gelu_slope(s):
    return phi(s) + s * math.exp(-s * s / 2) / math.sqrt(2 * math.pi)


def new_model(V, T, n_layer, n_head, C):
    """Before the first step: what writes to the residual stream and the head are zero."""
    weights, size = {"norm.weight": [[1.0] * C]}, C ** -0.5
    matrices = [("token", V, C, 0.02), ("position", T, C, 0.02), ("head", V, C, 0)]
    for n in range(n_layer):
        at = "blocks.%d." % n
        weights.update({at + "norm_%d.weight" % i: [[1.0] * C] for i in (1, 2)})
        matrices += [(at + "attention.qkv", 3 * C, C, size), (at + "attention.out", C, C, 0)]
        matrices += [(at + "mlp.up", 4 * C, C, size), (at + "mlp.down", C, 4 * C, 0)]
    for at, n, m, s in matrices:
        weights[at + ".weight"] = [[random.gauss(0, s) for _ in range(m)] for _ in range(n)]
    return GPT(weights, n_layer, n_head)


class Adam:
    """Steps of about `lr` for each weight, whatever its slope; in blocks a tenth of that."""

    def __init__(self, model):
        self.t, self.rows = 0, []
        for name, matrix in sorted(model.weights.items()):
            share = 0.1 if name.startswith("blocks.") else 1
            self.rows += [(row, share, [0.0] * len(row), [0.0] * len(row)) for row in matrix]

    def step(self, gradient, lr, beta_1=0.9, beta_2=0.999):
        self.t += 1
        lr, root = lr / (1 - beta_1 ** self.t), math.sqrt(1 - beta_2 ** self.t)
        slopes = (row for _, matrix in sorted(gradient.items()) for row in matrix)
        for (row, share, m, v), g in zip(self.rows, slopes):
            m[:] = [beta_1 * a + (1 - beta_1) * b for a, b in zip(m, g)]
            v[:] = [beta_2 * a + (1 - beta_2) * b * b for a, b in zip(v, g)]
            rate = lr * share
            row[:] = [w - rate * a / (b ** 0.5 / root + 1e-8) for w, a, b in zip(row, m, v)]


def train(model, ids, n_steps, lr=0.04):
    """Learn from one random block of the text in each step; yield the loss before it."""
    optimizer, T = Adam(model), len(model.weights["position.weight"])
    for step in range(n_steps):
        start = random.randrange(len(ids) - T)
        loss, gradient = loss_and_gradient(model, ids[start : start + T + 1])
        optimizer.step(gradient, lr * min(1.0, 1.5 * (1 - step / n_steps)))
        yield loss


def watch(path, n_steps):
    """Train a small model on a file of text; show now and then its loss and what it writes."""
    text, T, losses = Path(path).read_text(encoding="utf-8")[:1000000], 64, []
    words = Words(text, 3000)
    ids = words.encode(text)
    if len(ids) <= T:
        raise ValueError("%s is too short: %d tokens, %d are needed" % (path, len(ids), T + 1))
    model, share = new_model(len(words.ids), T, 1, 2, 16), len(ids) / len(text)
    for step, loss in enumerate(train(model, ids, n_steps), 1):
        losses.append(loss * share)
        if step % 100 == 0:
            print("step %d, %.2f nats per character: " % (step, sum(losses[-100:]) / 100), end="")
            write(model, words, ids[:2], T - 1, 0.5)


# ------------------------------------------------------------------------------- the command

def write(model, tokenizer, ids, n, temperature):
    """Show n tokens that follow the ids; a character may take several of them."""
    text = codecs.getincrementaldecoder("utf-8")("replace")
    for i in generate(model, ids, n, temperature):
        print(text.decode(tokenizer.vocab[i]), end="", flush=True)
    print(text.decode(b"", True))


def main():
    parser = argparse.ArgumentParser(None, None, __doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="Once there was")
    parser.add_argument("--model", metavar="FOLDER", help="by default taleteller beside this file")
    parser.add_argument("--tokens", type=int, default=100, help="how many to write")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--train", metavar="FILE", help="a text in UTF-8 to learn from")
    parser.add_argument("--steps", type=int, default=500, help="of training")
    args = parser.parse_args()
    if not (args.temperature >= 0 and min(args.tokens, args.steps) >= 0):
        parser.error("tokens, steps and temperature cannot be negative")
    if hasattr(sys.stdout, "buffer"):  # what the terminal cannot show becomes a question mark
        sys.stdout = codecs.getwriter(sys.stdout.encoding or "ascii")(sys.stdout.buffer, "replace")
    random.seed(args.seed)
    if args.train:
        return watch(args.train, args.steps)
    model, tokenizer = load(args.model or Path(__file__).resolve().parent / "taleteller")
    prompt = args.prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    ids = tokenizer.encode("\n\n" + prompt)  # a story begins after an empty line
    room = len(model.weights["position.weight"]) - len(ids) + 1  # the last token is not read
    print(prompt, end="")
    write(model, tokenizer, ids, min(args.tokens, max(1, room)), args.temperature)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):  # nobody reads on, as after `| head`, or Ctrl-C
        sys.stderr.close()
    except (OSError, ValueError) as error:
        sys.exit("error: %s" % error)
