"""Wrong answers to sheet 09 that people give, and what they have to be told."""


def _for(code: str) -> str:
    return f"def temperature_for(first, second, odds): return {code}"


def _fits(code: str) -> str:
    return f"def longest_text(memory, n_layer, n_head, n_kv_head, d_head, batch_size, size): return {code}"


def _nucleus(descending=True, keep="ranked.cumsum(-1) - ranked < top_p", divisor="kept.sum(-1, keepdim=True)",
             back="torch.zeros_like(p).scatter(-1, order, kept)") -> str:
    return f'''
def nucleus(p, top_p):
    ranked, order = p.sort(dim=-1, descending={descending})
    kept = ranked * ({keep})
    kept = kept / {divisor}
    return {back}
'''


def _searched(best: str) -> str:
    return f'''
def temperature_of(logits, ids):
    loss = lambda t: torch.nn.functional.cross_entropy({best}, ids).item()
    return min((t / 100 for t in range(20, 400)), key=loss)
'''


MISTAKES = [
    ("q1", "this is β = 1/τ", _for("math.log(odds) / math.log(first / second)")),
    ("q1", "the odds at temperature 1 are divided", _for("(first / second) / odds")),
    ("q1", "the wanted odds are divided", _for("odds / (first / second)")),
    ("q1", "not that of their logits", _for("(first - second) / math.log(odds)")),
    ("q1", "need a logarithm, too", _for("math.log(first / second) / odds")),
    ("q2", "either the keys or the values", _fits("memory // (n_layer * n_kv_head * d_head * batch_size * size)")),
    ("q2", "their number is left out", _fits("memory // (2 * n_layer * d_head * batch_size * size)")),
    ("q2", "n_kv_head of them are kept", _fits("memory // (2 * n_layer * n_head * d_head * batch_size * size)")),
    ("q2", "n_layer is left out", _fits("memory // (2 * n_kv_head * d_head * batch_size * size)")),
    ("q2", "batch_size is left out", _fits("memory // (2 * n_layer * n_kv_head * d_head * size)")),
    ("q2", "not bytes", _fits("memory // (2 * n_layer * n_kv_head * d_head * batch_size)")),
    ("q2", "queries are not kept", _fits("memory // (3 * n_layer * n_kv_head * d_head * batch_size * size)")),
    ("q2", "should be an int", _fits("memory / (2 * n_layer * n_kv_head * d_head * batch_size * size)")),
    ("q3", "looks one token ahead", "def predicted_share(): return 1.0"),
    ("q3", "drawn blindly", "def predicted_share(): return 1 / 3**8"),
    ("q3", "more than 0.15 away", "def predicted_share(): return 0.8"),
    ("q3", "between 0 and 1", "def predicted_share(): return 40"),
    # The function as it is handed out.
    ("q4", "from the least likely on", _nucleus(False, "ranked.cumsum(-1) < top_p", "1", "kept.gather(-1, order)")),
    ("q4", "from the least likely on", _nucleus(descending=False)),
    ("q4", "the token that reaches top_p is cut", _nucleus(keep="ranked.cumsum(-1) < top_p")),
    ("q4", "one token too many", _nucleus(
        keep="torch.nn.functional.pad((ranked.cumsum(-1) - ranked)[:, :-1], (1, 0)) < top_p")),
    ("q4", "does not sum to 1", _nucleus(divisor="1")),
    ("q4", "by the sum over all texts", _nucleus(divisor="kept.sum()")),
    ("q4", "in the order of their rank", _nucleus(back="kept")),
    ("q4", "in the wrong direction", _nucleus(back="kept.gather(-1, order)")),
    ("q4", "is cut; without it the rest has less than top_p; and what is kept does not sum to 1",
     _nucleus(keep="ranked.cumsum(-1) < top_p", divisor="1")),
    ("q5", "in the middle of a character", "def pieces(tokens): return [t.decode('utf-8', 'replace') for t in tokens]"),
    ("q5", "are lost", "def pieces(tokens): return [t.decode('utf-8', 'ignore') for t in tokens]"),
    ("q5", "UnicodeDecodeError", "def pieces(tokens): return [t.decode() for t in tokens]"),
    ("q5", "that is no stream",
     "def pieces(tokens): return [''] * (len(tokens) - 1) + [b''.join(tokens).decode()]"),
    ("q5", "a piece for each token", "def pieces(tokens): return list(b''.join(tokens).decode())"),
    ("q5", "repeats what was shown before", '''
def pieces(tokens):
    return [b"".join(tokens[:n]).decode("utf-8", "ignore") for n in range(1, len(tokens) + 1)]
'''),
    # All that waits is held back until the next token is whole, the finished characters before it, too.
    ("q5", "text is held back that is complete", '''
def pieces(tokens):
    shown, waiting = [], b""
    for token in tokens:
        waiting += token
        try:
            shown.append(waiting.decode())
            waiting = b""
        except UnicodeDecodeError:
            shown.append("")
    return shown
'''),
    ("q6", "this is β = 1/τ", _searched("logits * t")),
    ("q6", "another temperature makes the chosen tokens likelier", "def temperature_of(logits, ids): return 1.0"),
    ("q6", "another temperature makes the chosen tokens likelier", _searched("logits / t**2")),
    # The share of likeliest tokens, taken for a temperature.
    ("q6", "another temperature makes the chosen tokens likelier",
     "def temperature_of(logits, ids): return 1 - (logits.argmax(-1) == ids).float().mean().item()"),
]
