"""Wrong answers to sheet 05 that people give, and what they have to be told."""


def _weights(u: str = "u = torch.cdist(query, keys) / h", kernel: str = "(1 - u**2).clamp(min=0)",
             weights: str = "(kernel / kernel.sum(-1, keepdim=True)).nan_to_num(0)") -> str:
    return f'''
def epanechnikov_weights(query, keys, h):
    {u}
    kernel = {kernel}
    return {weights}
'''


def _attention(scores: str, weights: str = "torch.softmax(scores, -1)") -> str:
    return f'''
def attention_from_distances(distances, key_lengths, v, d):
    scores = {scores}
    return {weights} @ v
'''


def _error(scores: str = "-torch.cdist(x, x) ** 2 / (2 * h**2)", diagonal: str = "scores.fill_diagonal_(-torch.inf)",
           weights: str = "torch.softmax(scores, -1)", error: str = "(weights @ y - y).square().mean()") -> str:
    return f'''
def leave_one_out_error(x, y, h):
    scores = {scores}
    {diagonal}
    weights = {weights}
    return {error}.item()
'''


def _bandwidths(loss: str, n: str = "x.shape[1]") -> str:
    return f'''
def learn_bandwidths(x, y):
    log_h = torch.zeros({n}, requires_grad=True)
    optimizer = torch.optim.Adam([log_h], lr=0.1)
    for _ in range(100):
        scaled = x / log_h.exp()
        scores = -(scaled[:, None] - scaled[None]).square().sum(-1) / 2
        {loss}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_h.detach().exp().expand(x.shape[1]).clone()
'''


LEFT_OUT = """scores = scores.masked_fill(torch.eye(len(x), dtype=torch.bool), -torch.inf)
        loss = (torch.softmax(scores, -1) @ y - y).square().mean()"""
WITH_ITSELF = "loss = (torch.softmax(scores, -1) @ y - y).square().mean()"

MISTAKES = [
    ("q1", "has age 0", "def behind(r): return 1 / (1 - r)"),
    ("q1", "divided by their sum", "def behind(r): return r / (1 - r) ** 2"),
    ("q1", "continuous time", "def behind(r): return -1 / math.log(r)"),
    ("q1", "a positive number", "def behind(r): return -r / (1 - r)"),
    ("q1", "where is the age", "def behind(r): return 1 - r"),
    ("q2", "need less than that", "def guessed_factor(): return 2.0"),
    ("q2", "need less than that", "def guessed_factor(): return 4"),
    ("q2", "need more than that", "def guessed_factor(): return 1.0"),
    ("q2", "the variance holds σ²", "def guessed_factor(): return 2 ** 0.2"),
    ("q2", "h⁴ times h", "def guessed_factor(): return math.sqrt(2)"),
    ("q2", "is no factor", "def guessed_factor(): return -1.3"),
    ("q3", "an arch, not a tent", _weights(kernel="(1 - u).clamp(min=0)")),
    ("q3", "only the distance is squared", _weights(u="u = (torch.cdist(query, keys) ** 2 / h) ** 0.5")),
    ("q3", "divided by h²", _weights(u="u = torch.cdist(query, keys) / h**2")),
    ("q3", "do not sum to 1", _weights(weights="0.75 * kernel")),
    ("q3", "do not sum to 1", _weights(weights="kernel")),
    ("q3", "over the queries", _weights(weights="(kernel / kernel.sum(0, keepdim=True)).nan_to_num(0)")),
    ("q3", "each query needs its own", _weights(weights="kernel / kernel.sum()")),
    ("q3", "is negative", _weights(kernel="1 - u**2")),
    ("q3", "nan: query 0 has no key in reach", _weights(weights="kernel / kernel.sum(-1, keepdim=True)")),
    ("q3", "uniform kernel", _weights(kernel="(u <= 1).float()")),
    ("q3", "over 1 - u² is not the kernel", _weights(weights="torch.softmax(kernel, -1)")),
    ("q3", "is not the kernel", _weights(weights="torch.softmax(0.75 * kernel, -1)")),
    ("q4", "lengths of the keys are forgotten", _attention("-distances**2 / (2 * math.sqrt(d))")),
    ("q4", "you divide by d", _attention("(key_lengths**2 - distances**2) / (2 * d)")),
    ("q4", "so h is its root", _attention("(key_lengths**2 - distances**2) / (2 * d**0.25)")),
    ("q4", "where is √d", _attention("(key_lengths**2 - distances**2) / 2")),
    ("q4", "the factor ½ is missing", _attention("(key_lengths**2 - distances**2) / math.sqrt(d)")),
    ("q4", "a long key gets less weight", _attention("-(key_lengths**2 + distances**2) / (2 * math.sqrt(d))")),
    ("q4", "the lengths are not squared", _attention("(key_lengths - distances**2) / (2 * math.sqrt(d))")),
    ("q4", "the distances are not squared", _attention("(key_lengths**2 - distances) / (2 * math.sqrt(d))")),
    ("q4", "scale the values, but not the sum", _attention(
        "-distances**2 / (2 * math.sqrt(d))",
        "torch.softmax(scores, -1) * torch.exp(key_lengths**2 / (2 * math.sqrt(d)))")),
    ("q4", "over the queries", _attention(
        "(key_lengths**2 - distances**2) / (2 * math.sqrt(d))", "torch.softmax(scores, 0)")),
    ("q5", "though queries and keys are not", """
def same_head(q, k, other_q, other_k):
    return torch.allclose(q, other_q) and torch.allclose(k, other_k)
"""),
    ("q5", "differ by one number for all keys", """
def same_head(q, k, other_q, other_k):
    return torch.allclose(q @ k.T, other_q @ other_k.T, atol=1e-4)
"""),
    ("q5", "every query gets the same weights", """
def same_head(q, k, other_q, other_k):
    return torch.allclose(torch.cdist(q, k), torch.cdist(other_q, other_k), atol=1e-4)
"""),
    ("q5", "the same key wins", """
def same_head(q, k, other_q, other_k):
    return torch.equal((q @ k.T).argmax(-1), (other_q @ other_k.T).argmax(-1))
"""),
    ("q5", "you say yes, but the weights", """
def same_head(q, k, other_q, other_k):  # compares effective keys only
    def effective(q, k):
        return torch.special.entr(torch.softmax(q @ k.T / math.sqrt(k.shape[-1]), -1)).sum(-1)
    return torch.allclose(effective(q, k), effective(other_q, other_k), atol=1e-4)
"""),
    ("q5", "you say yes, but the weights", "def same_head(q, k, other_q, other_k): return True"),
    ("q5", "you say no", "def same_head(q, k, other_q, other_k): return False"),
    # The function as it is handed out.
    ("q6", "sum to 1 together", _error("-torch.cdist(x, x) ** 2 / (2 * h)", "scores.fill_diagonal_(0.0)",
                                       "torch.exp(scores) / torch.exp(scores).sum()", "(weights @ y - y).abs().mean()")),
    ("q6", "sum to 1 together", _error("-torch.cdist(x, x) ** 2 / (2 * h)", "scores.fill_diagonal_(0.0)",
                                       "torch.exp(scores) / torch.exp(scores).sum()")),
    ("q6", "each point predicts itself", _error(diagonal="scores.fill_diagonal_(0.0)")),
    ("q6", "the diagonal is not masked", _error("-torch.cdist(x, x) ** 2 / (2 * h)", "scores.fill_diagonal_(0.0)")),
    ("q6", "sum to 1 together", _error(weights="torch.exp(scores) / torch.exp(scores).sum()")),
    ("q6", "sum to 1 together", _error(weights="torch.exp(scores) / torch.exp(scores).sum()",
                                       error="(weights @ y - y).abs().mean()")),
    ("q6", "h stands where h² belongs", _error("-torch.cdist(x, x) ** 2 / (2 * h)",
                                               error="(weights @ y - y).abs().mean()")),
    ("q6", "after the softmax", _error(diagonal="", weights="torch.softmax(scores, -1).fill_diagonal_(0)")),
    ("q6", "h stands where h² belongs", _error("-torch.cdist(x, x) ** 2 / (2 * h)")),
    ("q6", "mean absolute error", _error(error="(weights @ y - y).abs().mean()")),
    ("q6", "not over those that predict", _error(weights="torch.softmax(scores, 0)")),
    ("q6", "the root of the error", _error(error="(weights @ y - y).square().mean().sqrt()")),
    ("q6", "not their mean", _error(error="(weights @ y - y).square().sum()")),
    # Right on paper, and underflows.
    ("q6", "nan", _error(weights="torch.exp(scores) / torch.exp(scores).sum(-1, keepdim=True)")),
    ("q7", "nearly every point is alone", _bandwidths(WITH_ITSELF)),
    ("q7", "do not matter equally", _bandwidths(LEFT_OUT, n="1")),
    ("q7", "has to be positive", "def learn_bandwidths(x, y): return torch.tensor([1.0, -1.0, 1.0, 1.0])"),
    ("q7", "one over these bandwidths", _bandwidths(LEFT_OUT).replace("return log_h", "return 1 / log_h")),
    ("q7", "well below it", "def learn_bandwidths(x, y): return torch.tensor([0.3, 0.4, 0.5, 0.6])"),
]
