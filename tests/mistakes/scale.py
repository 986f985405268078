"""Wrong answers to sheet 13 that people give, and what they have to be told."""


def _filled(template: str, fine: dict[str, str], wrong: dict[str, str]) -> str:
    for name, code in (fine | wrong).items():
        template = template.replace(name, code)
    return template


def _height(**wrong: str) -> str:
    return _filled('''
import re
def step_height(stories, names):
    again = 0
    for story in stories:
        said = SAID
        again += AGAIN
    return UNIT
''', {
        "SAID": r're.findall(r"\w+", story)',
        "AGAIN": "sum(max(0, said.count(name) - 1) for name in names)",
        "UNIT": "again * math.log(len(names)) / sum(map(len, stories))",
    }, wrong)


def _paired(**wrong: str) -> str:
    return _filled('''
def paired(loss, exact):
    excess = loss - exact
    error = ERROR
    times = TIMES
    return EXCESS, float(error), float(times)
''', {
        "ERROR": "excess.std() / len(excess) ** 0.5",
        "TIMES": "(loss.var() + exact.var()) / excess.var()",
        "EXCESS": "float(excess.mean())",
    }, wrong)


def _fitted(E: str = "third - (second - third) / (r - 1)", b: str = "math.log(r) / math.log(times)") -> str:
    return f"""
def fitted(losses, times):
    first, second, third = losses
    r = (first - second) / (second - third)
    return {E}, {b}
"""


def _at_best(**wrong: str) -> str:
    return _filled('''
def at_best(tokens, d_in, d_out, size, peak, bandwidth):
    operations = OPERATIONS
    moved = MOVED
    return INTENSITY, SECONDS
''', {
        "OPERATIONS": "2 * tokens * d_in * d_out",
        "MOVED": "size * (tokens * d_in + d_in * d_out + tokens * d_out)",
        "INTENSITY": "operations / moved",
        "SECONDS": "max(operations / peak, moved / bandwidth)",
    }, wrong)


def _held(**wrong: str) -> str:
    return _filled('''
def held(n_params, n, stage):
    weights = WEIGHTS / (n if stage >= 3 else 1)
    gradients = GRADIENTS / (n if stage >= TWO else 1)
    adamw = ADAMW / (n if stage >= 1 else 1)
    return n_params * (weights + gradients + adamw)
''', {"WEIGHTS": "2", "GRADIENTS": "2", "ADAMW": "12", "TWO": "2"}, wrong)


def _reduced(mean: str, step: str = "mean * min(1.0, limit / float(mean.norm()))") -> str:
    return f"""
def all_reduced(gradients, counts, limit):
    def clip(g): return g * min(1.0, limit / float(g.norm()))
    some = [(n, g) for n, g in zip(counts, gradients) if n]
    mean = {mean}
    return {step}
"""


def _routed(gates: str = "opened", term: str = "n * (f * P).sum()") -> str:
    return f"""
def routed(scores, k):
    n, p, best = scores.shape[-1], scores.softmax(-1), scores.topk(k, dim=-1)
    asked = torch.zeros_like(scores).scatter(-1, best.indices, 1.0)
    opened = asked * p / (asked * p).sum(-1, keepdim=True) if k > 1 else asked * p
    f, P = asked.mean(0) / k, p.mean(0)
    return {gates}, {term}
"""


MISTAKES = [
    ("q1", "nobody can look those up", _height(AGAIN="sum(said.count(name) for name in names)")),
    ("q1", "each story begins anew", """
import re
def step_height(stories, names):
    said = [word for story in stories for word in re.findall(r"\\w+", story) if word in names]
    return (len(said) - len(set(said))) * math.log(len(names)) / sum(map(len, stories))
"""),
    ("q1", "*Ann* in *Anna*", _height(SAID="story")),
    ("q1", "a full stop follows is missed", _height(SAID="story.split()")),
    ("q1", "*rose* is a flower", _height(SAID=r're.findall(r"\w+", story.title())').replace(".title()", ".lower()").replace(
        "said.count(name)", "said.count(name.lower())")),
    ("q1", "this is in bits", _height(UNIT="again * math.log2(len(names)) / sum(map(len, stories))")),
    ("q1", "that these stories use", _height(
        UNIT='again * math.log(len({w for s in stories for w in re.findall(r"[a-zA-Z]+", s) if w in names})) / sum(map(len, stories))')),
    ("q1", "per word", _height(UNIT="again * math.log(len(names)) / sum(len(story.split()) for story in stories)")),
    ("q1", "per story", _height(UNIT="again * math.log(len(names)) / len(stories)")),
    ("q1", "what each of them costs", _height(UNIT="again / sum(map(len, stories))")),
    ("q1", "every mention after the first", _height(AGAIN="sum(said.count(name) > 1 for name in names)")),
    ("q1", "only the first name of each story", _height(AGAIN="max(0, sum(map(said.count, names)) - 1)")),
    ("q1", "the height is above 0", _height(UNIT="-again * math.log(len(names)) / sum(map(len, stories))")),
    ("q1", "for the end of each story", _height(
        UNIT="again * math.log(len(names)) / sum(len(story) + 1 for story in stories)")),
    ("q1", "as in the chapter", _height(
        UNIT="again * math.log(len(names)) / sum(len(story) + 2 for story in stories)")),
    ("q1", "an apostrophe follows", _height(SAID=r"""re.findall(r"[\w']+", story)""")),
    ("q1", "words like names (0/1) the height is too large", _height(
        UNIT=r'again * math.log(len(names)) / sum(len(re.sub(r"\W", "", story)) for story in stories)')),
    ("q1", "words like names (0/1) the height is too small", _height(
        UNIT="again * math.log(len(names)) / len('\\n'.join(stories))")),
    ("q1", "short ones count as much", """
import re
def step_height(stories, names):
    heights = []
    for story in stories:
        said = [word for word in re.findall(r"\\w+", story) if word in names]
        heights.append((len(said) - len(set(said))) * math.log(len(names)) / len(story))
    return sum(heights) / len(heights)
"""),
    ("q2", "two means of different stories", _paired(ERROR="((loss.var() + exact.var()) / len(loss)) ** 0.5")),
    ("q2", "how much stories differ", _paired(ERROR="excess.std()")),
    ("q2", "of the model's loss", _paired(ERROR="loss.std() / len(loss) ** 0.5")),
    ("q2", "did not rise and fall together", _paired(ERROR="(loss.std() + exact.std()) / len(loss) ** 0.5")),
    ("q2", "one taken from the other", _paired(ERROR="(loss.std() - exact.std()) / len(loss) ** 0.5")),
    ("q2", "not by its root", _paired(ERROR="excess.std() / len(loss)")),
    ("q2", "has n − 1 in it already", _paired(ERROR="excess.std() / (len(excess) - 1) ** 0.5")),
    ("q2", "these are two standard errors", _paired(ERROR="2 * excess.std() / len(excess) ** 0.5")),
    ("q2", "95% interval", _paired(ERROR="1.96 * excess.std() / len(excess) ** 0.5")),
    ("q2", "the mean excess comes first", "def paired(loss, exact):\n    excess = loss - exact\n"
     "    return float(excess.std() / len(excess) ** 0.5), float(excess.mean()), 1.0"),
    ("q2", "many times as many of each; or: the two standard errors", _paired(
        TIMES="2 * (loss.var() + exact.var()) / excess.var()")),
    ("q2", "counted twice here", _paired(TIMES="2 * loss.var() / excess.var()")),
    ("q2", "only the exact values vary", _paired(TIMES="exact.var() / excess.var()")),
    ("q2", "a ratio of standard deviations", _paired(TIMES="loss.std() / excess.std()")),
    ("q2", "how many there are then", _paired(TIMES="(loss.var() + exact.var()) / excess.var() - 1")),
    ("q2", "and the one below by n;", _paired(TIMES="(loss.var() + exact.var()) / excess.var(correction=0)")),
    ("q2", "and the one below by n − 1;", _paired(
        TIMES="(loss.var(correction=0) + exact.var(correction=0)) / excess.var()")),
    ("q2", "the same variance", _paired(TIMES="1 / (1 - torch.corrcoef(torch.stack([loss, exact]))[0, 1])")),
    ("q2", "a line predicts", _paired(TIMES="1 / (1 - torch.corrcoef(torch.stack([loss, exact]))[0, 1] ** 2)")),
    ("q2", "falls like the root", _paired(TIMES="((loss.var() + exact.var()) / excess.var()) ** 0.5")),
    ("q2", "of other stories has a standard error, too", _paired(TIMES="loss.var() / excess.var()")),
    ("q2", "loss minus exact", _paired(EXCESS="float((exact - loss).mean())")),
    ("q2", "some of them are negative", _paired(EXCESS="float(excess.abs().mean())")),
    ("q2", "should be 3 numbers", "def paired(loss, exact): return float((loss - exact).mean()), 1.0"),
    ("q3", "goes on falling", _fitted(E="third")),
    ("q3", "as if E were 0", _fitted(E="0.0", b="math.log(first / second) / math.log(times)")),
    ("q3", "only the first of them", _fitted(E="third - (second - third) / r")),
    ("q3", "the drops shrink", _fitted(E="third - (second - third)")),
    ("q3", "the third has had a part of it", _fitted(E="second - (second - third) / (r - 1)")),
    ("q3", "still to come after the third run", _fitted(E="(second - third) / (r - 1)")),
    ("q3", "the others have had a part of it", _fitted(E="first - (first - second) / (r - 1)")),
    ("q3", "this is one over it", _fitted(E="third - (second - third) / (1 / r - 1)")),
    ("q3", "cancels in that of the two drops", _fitted().replace("(first - second) / (second - third)", "first / second")),
    ("q3", "r belongs to one step", _fitted(b="math.log(r) / math.log(times**2)")),
    ("q3", "b is the power", _fitted(b="first - third + (second - third) / (r - 1)")),
    ("q3", "so it is above 0", _fitted(b="-math.log(r) / math.log(times)")),
    ("q3", "the tokens did not double", _fitted(b="math.log2(r)")),
    ("q3", "this is ln r", _fitted(b="math.log(r)")),
    ("q3", "in which E cancels", _fitted(b="math.log(first / second) / math.log(times)")),
    ("q4", "two operations, and one", _at_best(OPERATIONS="tokens * d_in * d_out")),
    ("q4", "only the weights are counted", _at_best(MOVED="size * d_in * d_out")),
    ("q4", "the results are written, too", _at_best(MOVED="size * (tokens * d_in + d_in * d_out)")),
    ("q4", "not their bytes", _at_best(MOVED="tokens * d_in + d_in * d_out + tokens * d_out")),
    ("q4", "not again for every token", _at_best(MOVED="size * tokens * (d_in + d_in * d_out + d_out)")),
    ("q4", "every token has its own", _at_best(OPERATIONS="2 * d_in * d_out")),
    ("q4", "together (0/2) the number of operations for each byte is too large", _at_best(OPERATIONS="6 * tokens * d_in * d_out")),
    ("q4", "every product comes with an addition", _at_best(OPERATIONS="tokens * d_out * (2 * d_in - 1)")),
    ("q4", "is divided by 8 here", _at_best(MOVED="size / 8 * (tokens * d_in + d_in * d_out + tokens * d_out)")),
    ("q4", "is taken for bits here", _at_best(SECONDS="max(operations / peak, 8 * moved / bandwidth)")),
    ("q4", "these are milliseconds", _at_best(SECONDS="1000 * max(operations / peak, moved / bandwidth)")),
    ("q4", "which come second", _at_best().replace("INTENSITY, SECONDS", "").replace(
        "return operations / moved, max(operations / peak, moved / bandwidth)",
        "return max(operations / peak, moved / bandwidth), operations / moved")),
    ("q4", "the product's and the machine's", _at_best(INTENSITY="min(operations / moved, peak / bandwidth)")),
    ("q4", "not their sum", _at_best(SECONDS="operations / peak + moved / bandwidth")),
    ("q4", "the bytes take longer", _at_best(SECONDS="min(operations / peak, moved / bandwidth)")),
    ("q4", "the operations take longer", _at_best(SECONDS="moved / bandwidth")),
    ("q4", "this is a speed", _at_best(SECONDS="min(peak, operations / moved * bandwidth)")),
    ("q4", "the machine's own ratio", _at_best(INTENSITY="peak / bandwidth")),
    ("q4", "bytes for each operation", _at_best(INTENSITY="moved / operations")),
    ("q5", "one of the three numbers of 32 bits", _held(ADAMW="8")),
    ("q5", "have 32 bits, and 16", _held(ADAMW="6")),
    ("q5", "the gradients have 16 bits here", _held(GRADIENTS="4")),
    ("q5", "the gradients are missing", _held(GRADIENTS="0")),
    ("q5", "forward pass have 16 bits", _held(WEIGHTS="4")),
    ("q5", "and four are counted; or: the gradients have 16 bits here, and 32 are counted besides", _held(ADAMW="16")),
    ("q5", "and 32 are counted besides", _held(GRADIENTS="6")),
    ("q5", "32 are counted for both", _held(WEIGHTS="4", GRADIENTS="4")),
    ("q5", "perhaps two of the sizes", _held(GRADIENTS="4", ADAMW="8")),
    ("q5", "its own alone", _held().replace(">=", "==")),
    ("q5", "and the weights last", _held().replace("stage >= 1", "stage > 2").replace("stage >= 3", "stage >= 1")),
    ("q5", "these are GB", _held().replace("return", "return 1e-9 *")),
    ("q5", "these are GiB", _held().replace("return", "return 2**-30 *")),
    ("q5", "holds all of it at stage 0", "def held(n_params, n, stage): return 16 * n_params / n"),
    ("q5", "some is held by each process", "def held(n_params, n, stage): return 16 * n_params / (n if stage else 1)"),
    ("q5", "not only at stage 3", _held(TWO="3")),
    ("q5", "nothing is shared out here", "def held(n_params, n, stage): return 16 * n_params"),
    ("q5", "of all processes together", _held().replace("return n_params", "return n * n_params")),
    ("q6", "processes count by their tokens", _reduced("torch.stack(gradients).mean(0)")),
    ("q6", "nothing divides it", _reduced("torch.stack(gradients).sum(0)")),
    ("q6", "not of tokens", _reduced("sum(n * g for n, g in some) / len(gradients)")),
    ("q6", "nothing divides the sum", _reduced("sum(n * g for n, g in some)")),
    ("q6", "as well", _reduced("sum(n * g for n, g in some) / sum(counts) / len(gradients)")),
    ("q6", "and this is not the only bug", _reduced("torch.stack([clip(g) for g in gradients]).mean(0)", "mean")),
    ("q6", "each process clips its own", _reduced("sum(n * clip(g) for n, g in some) / sum(counts)", "mean")),
    ("q6", "once it is multiplied by its count", _reduced("sum(clip(n * g) for n, g in some) / sum(counts)", "mean")),
    ("q6", "the sum is clipped here", _reduced("clip(sum(n * g for n, g in some)) / sum(counts)", "mean")),
    ("q6", "the root is missing", _reduced(
        "sum(n * g for n, g in some) / sum(counts)", "mean * min(1.0, limit / float(mean.square().sum()))")),
    ("q6", "nothing divides the sum; or: a gradient that is shorter", _reduced(
        "sum(n * g for n, g in some) / sum(counts)", "mean * limit / mean.norm()")),
    ("q6", "nothing is clipped", _reduced("sum(n * g for n, g in some) / sum(counts)", "mean")),
    ("q6", "should stay as it is", _reduced("sum(n * g for n, g in some) / sum(counts)", "mean * limit / mean.norm()")),
    ("q6", "each number is cut off", _reduced("sum(n * g for n, g in some) / sum(counts)", "mean.clamp(-limit, limit)")),
    ("q6", "the mean of nothing", _reduced("sum(n * g for n, g in zip(counts, gradients)) / sum(counts)")),
    ("q7", "do not sum to 1", _routed("asked * p")),
    ("q7", "no gradient of the answer", _routed("asked * p / (asked * p).sum(-1, keepdim=True)")),
    ("q7", "all experts have a gate", _routed("p")),
    ("q7", "they still have a gate", _routed("(asked * scores).softmax(-1)")),
    ("q7", "count alike", _routed("asked / k")),
    ("q7", "0 for an expert that is not asked", _routed("best.values.softmax(-1)")),
    ("q7", "each token should choose", _routed(
        "torch.zeros_like(scores).scatter(0, scores.topk(min(k, len(scores)), dim=0).indices, "
        "scores.topk(min(k, len(scores)), dim=0).values.softmax(0))")),
    ("q7", "this f sums to k", _routed(term="n * (asked.mean(0) * P).sum()")),
    ("q7", "an even load gives 1/n", _routed(term="(f * P).sum()")),
    ("q7", "mean of the gates here, and should be that", _routed(term="n * (f * opened.mean(0)).sum()")),
    ("q7", "the term is n times a sum", _routed(term="(f * P).mean()")),
    ("q7", "only the first choice", _routed(
        term="n * (torch.nn.functional.one_hot(p.argmax(-1), n).float().mean(0) * P).sum()")),
    ("q7", "the softmax of the mean scores", _routed(term="n * (f * scores.mean(0).softmax(-1)).sum()")),
    ("q7", "has no gradient", _routed(term="n * (P * P).sum()")),
    ("q7", "the mean after it", _routed(term="n * (asked / k * p).mean(0).sum()")),
]
