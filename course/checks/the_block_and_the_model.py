"""Sheet 07: the block and the model."""

import math
from itertools import combinations

import numpy as np
import torch
from torch.nn import functional as F

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a, same_shape
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _several(answer):
    """Several values as a tuple, whether they came as a tuple, a list, or an array of them."""
    if isinstance(answer, list) or isinstance(answer, (torch.Tensor, np.ndarray)) and answer.ndim:
        return tuple(answer)
    is_a(answer, (tuple, list), "the answer")
    return answer


def _pair(answer, names):
    answer = _several(answer)
    if len(answer) != 2:
        raise Wrong(f"expected two {names}, yours has {len(answer)}")
    return answer


# q1


def depths(seed):
    yield (8 + seed, 0.5)
    yield (24, 0.1 * (seed + 1))
    yield (3, 2.0)


def with_norm(inputs, answer):
    n_layer, a = inputs
    with_it, without = _pair(answer, "numbers, (with the norm, without)")
    right = math.sqrt(1 + n_layer * a)
    close(with_it, right, "the size with the norm", rtol=1e-6, atol=1e-9, mistakes={
        "these are variances; the standard deviation is asked for": 1 + n_layer * a,
        "standard deviations are added here; of independent things the variances add up": 1 + n_layer * math.sqrt(a),
        "the stream itself is missing: it began with variance 1": math.sqrt(n_layer * a),
        "the two numbers have changed places": (1 + a) ** (n_layer / 2),
        "this stream does not grow: the norm is read, it is not on the stream": 1.0,
    })


def without_norm(inputs, answer):
    n_layer, a = inputs
    with_it, without = _pair(answer, "numbers, (with the norm, without)")
    close(without, (1 + a) ** (n_layer / 2), "the size without a norm", rtol=1e-6, atol=1e-9, mistakes={
        "these are variances; the standard deviation is asked for": (1 + a) ** n_layer,
        "standard deviations are added here; of independent things the variances add up": (1 + math.sqrt(a)) ** n_layer,
        "the sum is missing: x is replaced by what the layer writes": a ** (n_layer / 2),
        "each layer adds the same amount here; without a norm a layer that reads more writes more":
            math.sqrt(1 + n_layer * a),
    })


# q2


def gpts(seed):
    yield (50257, 1024, 12, 768)
    yield (100 + seed, 16, 1 + seed, 24)
    yield (7, 5, 3, 8 + seed)


def bill(inputs, answer):
    V, T, n, C = inputs
    right = (V + T) * C + n * (12 * C * C + 13 * C) + 2 * C
    is_a(answer, float, "the number of parameters")
    answer = int(answer) if float(answer).is_integer() else answer
    equal(answer, right, "the number of parameters", mistakes={
        "the biases are missing, those of the linear maps and of the norms": right - n * 11 * C - C,
        "the biases of the norms are missing": right - n * 2 * C - C,
        "the biases of the linear maps are missing": right - n * 9 * C,
        "a bias is one number for each channel that comes out, and W_up makes 4C of them": right - n * 3 * C,
        "in each block 2C are missing: has each of the two norms a gain and a bias, and each of W_Q, W_K and W_V "
        "a bias of its own?": right - n * 2 * C,
        "the head is counted, but its matrix is the token embedding's": right + V * C,
        "the head has no bias": right + V,
        "the positions are missing": right - T * C,
        "the last norm is missing": right - 2 * C,
        "the MLP is counted as one matrix; it has W_up and W_down": right - n * 4 * C * C,
    })
    return f"GPT-2 has {124_439_808:,}" if inputs == (50257, 1024, 12, 768) else None


# q3


NAMES = {"token": "token.weight", "down": "blocks.0.mlp.down.weight", "up": "blocks.0.mlp.up.weight"}


def _first_steps(tie_weights):
    """In which step each of the parameters has its first gradient that is not zero."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        model = GPT(Config(11, 6, n_layer=1, n_head=2, d_model=8, tie_weights=tie_weights))
        x, y = torch.randint(11, (2, 4, 6))
        first = {}
        for step in (1, 2, 3, 4):
            model.zero_grad()
            cross_entropy(model(x), y).backward()
            parameters = dict(model.named_parameters())
            for name, full in NAMES.items():
                if parameters[full].grad.any():
                    first.setdefault(name, step)
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(0.1 * p.grad)
    return tuple(first[name] for name in NAMES)


def _steps(answer):
    answer = _several(answer)
    if len(answer) != 3:
        raise Wrong(f"expected three steps, for token, down and up; yours has {len(answer)}")
    for name, step in zip(NAMES, answer):
        is_a(step, int, f"the step of {name}")
        if step < 1:
            raise Wrong(f"the step of {name}: the first step is number 1")
    return answer


def writers(inputs, answer):
    token, down, _ = _steps(answer)
    measured = _first_steps(tie_weights=True)
    if token > measured[0]:
        raise Wrong("token: in a tied model it is the head as well, and what did the head get in step 1?")
    if down > measured[1]:
        raise Wrong("down: its gradient comes from the stream, through the head. Is the head zero in the first step?")
    return "predicted and measured: token and down both in step 1"


def readers(inputs, answer):
    *_, up = _steps(answer)
    measured = _first_steps(tie_weights=True)[2]
    if up < measured:
        raise Wrong("up: its gradient passes through down, and down is zero at first")
    if up > measured:
        raise Wrong("up is reached earlier than that: from which step on is down not zero any more?")
    return f"predicted and measured: up in step {measured}"


# q4


def _sizes(seed):
    for T, C in ((4 + seed, 6), (7, 4 + 2 * seed)):
        g = _generator(10 * seed + T)
        x, W_vo = 2 * torch.randn(T, C, generator=g) + 1, torch.randn(C, C, generator=g) / C**0.5
        W_up, W_down = torch.randn(C, 4 * C, generator=g), torch.randn(4 * C, C, generator=g)
        scores = torch.randn(T, T, generator=g).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        yield x, torch.softmax(scores, -1), W_vo, W_up / C**0.5, W_down / (4 * C) ** 0.5


def no_mlp(seed):
    for x, weights, W_vo, W_up, W_down in _sizes(seed):
        yield x, weights, W_vo, W_up, torch.zeros_like(W_down)


def no_attention(seed):
    for x, weights, W_vo, W_up, W_down in _sizes(seed):
        yield x, weights, torch.zeros_like(W_vo), W_up, W_down


def whole_block(seed):
    yield from _sizes(seed)
    x, *rest = next(_sizes(seed))
    yield 0.01 * x, *rest  # where what is added to the variance is felt


def _norm(x, over=-1, correction=0, centered=True, eps=1e-5):
    mean = x.mean(over, keepdim=True)
    return (x - mean * centered) / (x.var(over, correction=correction, keepdim=True) + eps).sqrt()


def _block(inputs, *bugs):
    x, weights, W_vo, W_up, W_down = inputs
    norm = _norm
    if "tokens" in bugs:
        norm = lambda x: _norm(x, over=0)
    if "n - 1" in bugs:
        norm = lambda x: _norm(x, correction=1)
    if "mean" in bugs:
        norm = lambda x: _norm(x, centered=False)
    if "eps" in bugs:
        norm = lambda x: _norm(x, eps=0)
    attended = (weights.T if "queries" in bugs else weights) @ (x if "unread 1" in bugs else norm(x)) @ W_vo
    old, x = x, attended if "no sum 1" in bugs else (norm(x) if "on stream" in bugs else x) + attended
    if "after" in bugs:
        x = norm(old + weights @ old @ W_vo)
        return norm(x + F.gelu(x @ W_up) @ W_down)
    read = old if "old" in bugs else x
    read = read if "unread 2" in bugs else norm(read)
    recalled = F.gelu(read @ W_up @ W_down) if "late" in bugs else read @ W_up @ W_down if "linear" in bugs else (
        (F.relu if "relu" in bugs else F.gelu)(read @ W_up) @ W_down)
    return recalled if "no sum 2" in bugs else (norm(x) if "on stream 2" in bugs else x) + recalled


BUGS = {
    "tokens": "the norm is taken over the tokens; each token is normed over its own channels",
    "n - 1": "the variance is divided by C - 1; LayerNorm divides by C",
    "mean": "the mean is not subtracted in the norm",
    "eps": "nothing is added to the variance; LayerNorm adds 1e-5 there, before the root",
    "queries": "the attention weights are transposed: row t holds the weights with which token t attends",
    "unread 1": "attention reads the stream itself, not a normed copy",
    "on stream": "what attention writes is added to the normed copy; it belongs on the stream",
    "on stream 2": "what the MLP writes is added to a normed copy; it belongs on the stream",
    "no sum 1": "attention's answer takes the place of the stream instead of being added",
    "no sum 2": "the MLP's answer takes the place of the stream instead of being added",
    "old": "the MLP reads the stream as it was before attention wrote to it",
    "unread 2": "the MLP reads the stream itself, not a normed copy",
    "late": "the GELU comes after W_down; it stands between the two matrices",
    "linear": "there is no GELU: the MLP is one linear map",
    "relu": "that is a ReLU, not a GELU",
    "after": "the norms stand after the sums, on the stream; they should stand before the layers",
}


def block(inputs, answer):
    """Of several bugs the first is named, in the order of the program; the others are left to find."""
    right = _block(inputs)
    got = same_shape(answer, right, "the stream after the block", axes=("token", "channel"))
    near = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True}
    if np.allclose(got, right, **near):
        return
    for n in (1, 2, 3, 4, 5):  # few bugs before many; five are planted
        some = BUGS if n < 3 else ("tokens", "queries", "on stream", "old", "late")
        for bugs in combinations(some, n):
            if np.allclose(got, _block(inputs, *bugs), **near):
                raise Wrong(BUGS[bugs[0]] + ("; and this is not the only bug" if n > 1 else ""))
    close(answer, right, "the stream after the block", axes=("token", "channel"))


# q5


def streams(seed):
    for n, C in ((3, 8), (5 + seed, 6 + seed)):
        g = _generator(seed + n)
        writes = torch.randn(n, C, generator=g) * torch.rand(n, 1, generator=g) * 3 + torch.randn(n, 1, generator=g)
        yield writes, 1 + 0.5 * torch.randn(C, generator=g), torch.randn(C, generator=g)


def _parts(inputs, **wrong):
    writes, gain, row = inputs
    stream = writes.sum(0)
    deviation = (stream.var(correction=wrong.get("correction", 0)) + 1e-5).sqrt()
    centered = writes - writes.mean(-1, keepdim=True)
    return centered / deviation * gain @ row


def _sum(inputs):
    writes, gain, row = inputs
    return F.layer_norm(writes.sum(0), gain.shape, gain) @ row


def add_up(inputs, answer):
    writes, gain, row = inputs
    got = torch.as_tensor(same_shape(answer, writes[:, 0], "the contributions", axes=("layer",)))
    own = F.layer_norm(writes, gain.shape, gain) @ row
    close(got.sum(), _sum(inputs), "the sum of the contributions", rtol=1e-3, atol=1e-3, mistakes={
        "each layer is normed by itself here; there is one norm, and its deviation is that of the whole stream":
            own.sum(),
        "the gain is missing": F.layer_norm(writes.sum(0), gain.shape) @ row,
        "the norm is missing: the contributions sum to the dot product with the raw stream": writes.sum(0) @ row,
        "the mean over the channels is not taken out":
            writes.sum(0) / (writes.sum(0).var(correction=0) + 1e-5).sqrt() * gain @ row,
        "the variance is divided by C - 1; LayerNorm divides by C": _parts(inputs, correction=1).sum(),
        "the deviation is missing: the contributions are not divided by it":
            (writes.sum(0) - writes.sum(0).mean()) * gain @ row,
    })


def who_wrote_it(inputs, answer):
    writes, gain, row = inputs
    right = _parts(inputs)
    stream = writes.sum(0)
    deviation = (stream.var(correction=0) + 1e-5).sqrt()
    so_far = torch.stack([F.layer_norm(partial, gain.shape, gain) @ row for partial in writes.cumsum(0)])
    close(answer, right, "the contributions", axes=("layer",), rtol=1e-3, atol=1e-3, mistakes={
        "the mean of the whole stream is subtracted from each layer's part; a part has a mean of its own":
            (writes - stream.mean()) / deviation * gain @ row,
        "the mean of the stream is shared equally among the layers; a part has a mean of its own":
            (writes - stream.mean() / len(writes)) / deviation * gain @ row,
        "the logit is shared out equally; the layers have not written alike":
            _sum(inputs).expand(len(writes)) / len(writes),
        "these are differences of logits with growing streams, each with a norm of its own; take the deviation of the "
        "whole stream for all": so_far.diff(prepend=torch.zeros(1)),
    })
    return f"the largest part has {right.abs().max() / right.abs().sum():.0%} of all that was said for and against"


# q6


def facts(seed):
    for N, C, C_out in ((3, 4, 4), (4 + seed % 5, 8, 5), (6, 6, 6)):
        g = _generator(seed + N)
        questions = torch.randn(N, C, dtype=torch.float64, generator=g) + 0.5
        yield questions, torch.randn(N, C_out, dtype=torch.float64, generator=g)


def right_shapes(inputs, answer):
    questions, answers = inputs
    W_up, W_down = _pair(answer, "matrices, (W_up, W_down)")
    if getattr(W_up, "shape", None) == questions.T.shape != questions.shape:
        raise Wrong("W_up is transposed: a row for each neuron, a column for each channel")
    same_shape(W_up, questions, "W_up", axes=("neuron", "channel in"))
    same_shape(W_down, answers.T, "W_down", axes=("channel out", "neuron"))


def fit(inputs, answer):
    questions, answers = inputs
    right_shapes(inputs, answer)
    W_up, W_down = (W.detach().double() for W in answer)
    scores = questions @ W_up.T
    if torch.allclose(F.gelu(scores) @ W_down.T, answers, rtol=1e-4, atol=1e-4):
        return
    told_apart = scores.diag().min() > 1e-3 and (scores - scores.diag().diag()).abs().max() < 1e-3
    if not told_apart and not F.cosine_similarity(W_down, answers.T, dim=0).min() > 0.999:
        raise Wrong("their shapes are right and their numbers do not fit: W_up has to tell the questions apart, and W_down "
                    "to hold the answers")


def recalls(inputs, answer):
    questions, answers = inputs
    right_shapes(inputs, answer)
    W_up, W_down = (W.detach().double() for W in answer)
    scores = questions @ W_up.T
    got = F.gelu(scores) @ W_down.T
    weight = F.gelu(torch.ones(1, dtype=torch.float64))
    others = scores - scores.diag().diag()
    close(got, answers, "the answers", axes=("question", "channel"), rtol=1e-4, atol=1e-4, mistakes={
        "the answers are too small by the factor GELU(1): a score of 1 is not a weight of 1": answers * weight,
        "the answers are too large: GELU of your score is not 1": answers / weight,
        "each question gets the answers of other questions as well: its score with their keys should be 0. Keys equal "
        "to the questions would do only if these were orthogonal": (
            got if others.abs().max() > 1e-3 and not torch.allclose(got, answers, rtol=1e-4, atol=1e-4) else answers),
    })


SHEET = Sheet("07_the_block_and_the_model", "The block and the model", questions=(
    Question("q1", "How a stream grows", function="stream_size", minutes=10, difficulty=1,
             parts=(Part("with the norm before each layer", 1, with_norm, depths),
                    Part("without a norm", 2, without_norm, depths)),
             hints=("Which of these add up, variances or standard deviations?",
                    "Without a norm: if the stream has variance s, which variance has it after one more layer?")),
    Question("q2", "The bill of GPT-2", function="gpt2_parameters", minutes=10, difficulty=1,
             parts=(Part("the number of parameters", 2, bill, gpts),),
             hints=("Write one line for attention, one for the MLP, one for the norms of a block. "
                    "What stands outside the blocks?",
                    "A linear map from a channels to b channels has a bias of b numbers, a norm one of C.")),
    Question("q3", "Where a gradient arrives first", function="predicted_steps", minutes=10, difficulty=2,
             parts=(Part("token and down", 1, writers), Part("up", 1, readers)),
             hints=("A gradient is a product along the path from the loss. Which factor on the path is zero?",
                    "Step 1 changes what has a gradient in step 1. What is not zero any more in step 2?")),
    Question("q4", "Five bugs in a block", function="block", minutes=20, difficulty=2,
             parts=(Part("attention alone, with an MLP that writes nothing", 2, block, no_mlp),
                    Part("the MLP alone, with attention that writes nothing", 2, block, no_attention),
                    Part("the whole block", 2, block, whole_block)),
             hints=("Give it one token that is large and others that are small. Which axis should the norm run over?",
                    "What is added to what? Follow x, line by line, and say what the stream is after it.",
                    "Which x does the MLP read, and what stands between its two matrices?")),
    Question("q5", "Who wrote this logit?", function="contributions", minutes=20, difficulty=3,
             parts=(Part("the contributions sum to the logit", 2, add_up, streams),
                    Part("each is what its layer wrote", 2, who_wrote_it, streams)),
             hints=("Subtracting the mean over channels is linear. Dividing by the deviation is not, so do it once.",
                    "Which deviation? There is one norm, and it is taken of one vector.")),
    Question("q6", "A memory without training", function="fill", minutes=20, difficulty=3,
             parts=(Part("two matrices that fit", 1, fit, facts),
                    Part("each question gets its answer", 3, recalls, facts)),
             hints=("What is GELU(0)? So which scores would give the other neurons the weight 0?",
                    "You want W_up times the questions to be the identity. What do you need W_up to be?",
                    "And what is GELU(1)?")),
))
