"""Wrong answers to sheet 07 that people give, and what they have to be told."""

BLOCK = '''
from torch.nn import functional as F

def block(x, weights, W_vo, W_up, W_down):
    def norm(x):
        centered = CENTERED
        return centered / ((CENTERED).square().MEAN + 1e-5).sqrt()

    old = x
    x = STREAM + ATTENDED
    return STREAM_2 + RECALLED
'''
RIGHT = {
    "CENTERED": "x - x.mean(-1, keepdim=True)",
    "MEAN": "mean(-1, keepdim=True)",
    "STREAM_2": "x",
    "STREAM": "x",
    "ATTENDED": "weights @ norm(x) @ W_vo",
    "RECALLED": "F.gelu(norm(x) @ W_up) @ W_down",
}


def _block(**wrong: str) -> str:
    source = BLOCK
    for name, code in (RIGHT | wrong).items():
        source = source.replace(name, code)
    return source


def _size(with_norm: str = "math.sqrt(1 + n * a)", without: str = "math.sqrt((1 + a) ** n)") -> str:
    return f"def stream_size(n, a): return ({with_norm}, {without})"


def _bill(attention: str = "4 * C * C + 4 * C", mlp: str = "8 * C * C + 5 * C", norms: str = "4 * C",
          rest: str = "V * C + T * C + 2 * C") -> str:
    return f"def gpt2_parameters(V, T, n, C): return n * ({attention} + {mlp} + {norms}) + {rest}"


def _steps(*steps: int) -> str:
    return f"def predicted_steps(): return {steps}"


def _parts(code: str) -> str:
    return f'''
from torch.nn import functional as F

def contributions(writes, gain, row):
    stream = writes.sum(0)
    deviation = (stream.var(correction=0) + 1e-5).sqrt()
    centered = writes - writes.mean(-1, keepdim=True)
    return {code}
'''


def _fill(up: str = "torch.linalg.pinv(questions).T", down: str = "answers.T / 0.8413447460685429") -> str:
    return f"def fill(questions, answers): return {up}, {down}"


MISTAKES = [
    ("q1", "the standard deviation is asked for", _size("1 + n * a")),
    ("q1", "the variances add up", _size("1 + n * math.sqrt(a)")),
    ("q1", "the stream itself is missing", _size("math.sqrt(n * a)")),
    ("q1", "a layer that reads more writes more", _size(without="math.sqrt(1 + n * a)")),
    ("q1", "the variances add up", _size(without="(1 + math.sqrt(a)) ** n")),
    ("q1", "is replaced by what the layer writes", _size(without="math.sqrt(a ** n)")),
    ("q2", "the biases are missing", _bill("4 * C * C", "8 * C * C", "2 * C", "V * C + T * C + C")),
    ("q2", "biases of the linear maps are missing", _bill("4 * C * C", "8 * C * C")),
    ("q2", "biases of the norms are missing", _bill(norms="2 * C", rest="V * C + T * C + C")),
    ("q2", "W_up makes 4C of them", _bill(mlp="8 * C * C + 2 * C")),
    ("q2", "a bias of its own", _bill("4 * C * C + 2 * C")),
    ("q2", "is the token embedding's", _bill(rest="2 * V * C + T * C + 2 * C")),
    ("q2", "the last norm is missing", _bill(rest="V * C + T * C")),
    ("q2", "it has W_up and W_down", _bill(mlp="4 * C * C + 5 * C")),
    # What the chapter found for a model that is not tied.
    ("q3", "what did the head get in step 1", _steps(2, 2, 3)),
    ("q3", "Is the head zero in the first step?", _steps(1, 2, 3)),
    ("q3", "down is zero at first", _steps(1, 1, 1)),
    ("q3", "reached earlier than that", _steps(1, 1, 3)),
    ("q3", "the first step is number 1", _steps(0, 0, 1)),
    # The function as it is handed out: one bug is named, and that there are more.
    ("q4", "over its own channels; and this is not the only bug", '''
from torch.nn import functional as F

def block(x, weights, W_vo, W_up, W_down):
    def norm(x):
        centered = x - x.mean(0)
        return centered / (centered.square().mean(0) + 1e-5).sqrt()

    attended = weights.T @ norm(x) @ W_vo
    recalled = F.gelu(norm(x) @ W_up @ W_down)
    x = norm(x) + attended
    return x + recalled
'''),
    ("q4", "over its own channels", _block(CENTERED="x - x.mean(0)", MEAN="mean(0)")),
    ("q4", "with which token t attends", _block(ATTENDED="weights.T @ norm(x) @ W_vo")),
    ("q4", "added to the normed copy", _block(STREAM="norm(x)")),
    ("q4", "before attention wrote to it", _block(RECALLED="F.gelu(norm(old) @ W_up) @ W_down")),
    ("q4", "between the two matrices", _block(RECALLED="F.gelu(norm(x) @ W_up @ W_down)")),
    ("q4", "takes the place of the stream", _block(STREAM="0 * x")),
    ("q4", "the MLP's answer takes the place", _block(STREAM_2="0 * x")),
    ("q4", "not a normed copy", _block(ATTENDED="weights @ x @ W_vo")),
    ("q4", "not a normed copy", _block(RECALLED="F.gelu(x @ W_up) @ W_down")),
    ("q4", "not a GELU", _block(RECALLED="F.relu(norm(x) @ W_up) @ W_down")),
    ("q4", "on the stream; they should stand before", '''
from torch.nn import functional as F

def block(x, weights, W_vo, W_up, W_down):
    norm = lambda x: F.layer_norm(x, x.shape[-1:])
    x = norm(x + weights @ x @ W_vo)
    return norm(x + F.gelu(x @ W_up) @ W_down)
'''),
    ("q5", "each layer is normed by itself", _parts("F.layer_norm(writes, gain.shape, gain) @ row")),
    ("q5", "the gain is missing", _parts("centered / deviation @ row")),
    ("q5", "the norm is missing", _parts("writes @ row")),
    ("q5", "the mean over the channels is not taken out", _parts("writes / deviation * gain @ row")),
    ("q5", "LayerNorm divides by C", _parts("centered / (stream.var() + 1e-5).sqrt() * gain @ row")),
    ("q5", "not divided by it", _parts("centered * gain @ row")),
    ("q5", "shared equally among the layers",
     _parts("(writes - stream.mean() / len(writes)) / deviation * gain @ row")),
    ("q5", "with growing streams",
     _parts("torch.stack([F.layer_norm(s, gain.shape, gain) @ row for s in writes.cumsum(0)])"
            ".diff(prepend=torch.zeros(1))")),
    ("q6", "Keys equal to the questions", _fill("questions")),
    ("q6", "Keys equal to the questions", _fill("questions / questions.norm(dim=-1, keepdim=True)")),
    ("q6", "by the factor GELU(1)", _fill(down="answers.T")),
    ("q6", "W_up is transposed", _fill("torch.linalg.pinv(questions)")),
    ("q6", "W_down should have shape", _fill(down="answers / 0.8413447460685429")),
]
