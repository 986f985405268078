"""Wrong answers to sheet 00 that people give, and what they have to be told."""

SHAPES = '''
def shapes(T, C, V, n_layer, n_head):
    return {"vectors": %s, "attention": %s, "logits": %s}
'''
RIGHT = ["(T, C)", "(n_layer, n_head, T, T)", "(T, V)"]


def shapes(**wrong):
    names = ["vectors", "attention", "logits"]
    return SHAPES % tuple(wrong.get(name, right) for name, right in zip(names, RIGHT))


WEIGHTS = '''
def n_weights(V, T, C, n_layer):
    return %s
'''

MISTAKES = [
    ("q1", "V is how many ids there are", shapes(vectors="(T, V)")),
    ("q1", "not one column", shapes(vectors="(C, T)")),
    ("q1", "these are the maps of one layer", shapes(attention="(n_head, T, T)")),
    ("q1", "vectors, not their weights", shapes(attention="(n_layer, n_head, T, C // n_head)")),
    ("q1", "heads stand inside layers", shapes(attention="(n_head, n_layer, T, T)")),
    ("q1", "not only at the last", shapes(logits="(V,)")),
    ("q1", "not for each channel", shapes(logits="(T, C)")),
    ("q2", "the positions have vectors", WEIGHTS % "V * C + n_layer * (12 * C * C + 2 * C) + C + V * C"),
    ("q2", "a row for each token", WEIGHTS % "V * C + T * C + n_layer * (12 * C * C + 2 * C) + C"),
    ("q2", "two in a block", WEIGHTS % "2 * V * C + T * C + n_layer * 12 * C * C"),
    ("q2", "one more norm", WEIGHTS % "2 * V * C + T * C + n_layer * (12 * C * C + 2 * C)"),
    ("q2", "two matrices", WEIGHTS % "2 * V * C + T * C + n_layer * (8 * C * C + 2 * C) + C"),
    ("q2", "four matrices", WEIGHTS % "2 * V * C + T * C + n_layer * (11 * C * C + 2 * C) + C"),
    ("q2", "n_layer times", WEIGHTS % "2 * V * C + T * C + (12 * C * C + 2 * C) + C"),
    ("q3", "you compared rows", '''
def most_watched(weights):
    return int(weights.mean(dim=1).argmax())
'''),
    ("q3", "looks at itself", '''
def most_watched(weights):
    return int(weights.mean(dim=0).argmax())
'''),
    ("q3", "seen by few", '''
def most_watched(weights):
    return int(weights.tril(-1).sum(dim=0).argmax())
'''),
    ("q4", "for Iris the guess is more than 0.2 away", '''
def guess_she():
    return [0.5, 0.5]
'''),
    ("q4", "for Ralph the guess is more than 0.2 away", '''
def guess_she():
    return [0.95, 0.95]
'''),
    ("q4", "no probability", '''
def guess_she():
    return [95.0, 5.0]
'''),
    ("q5", "per token", '''
def nats_per_character(probabilities, pieces):
    return -sum(map(math.log, probabilities)) / len(pieces)
'''),
    ("q5", "in bits", '''
def nats_per_character(probabilities, pieces):
    return -sum(map(math.log2, probabilities)) / sum(map(len, pieces))
'''),
    ("q5", "a loss is not negative", '''
def nats_per_character(probabilities, pieces):
    return sum(map(math.log, probabilities)) / sum(map(len, pieces))
'''),
    ("q5", "a mean probability", '''
def nats_per_character(probabilities, pieces):
    mean = sum(probabilities) / len(probabilities)
    return -math.log(mean) * len(pieces) / sum(map(len, pieces))
'''),
    ("q5", "long tokens then count like short ones", '''
def nats_per_character(probabilities, pieces):
    rates = [-math.log(p) / len(piece) for p, piece in zip(probabilities, pieces)]
    return sum(rates) / len(rates)
'''),
    ("q5", "the whole text", '''
def nats_per_character(probabilities, pieces):
    return -math.log(math.prod(probabilities))
'''),
    ("q6", "others look at it", '''
def changed_places(T, t):
    return [t]
'''),
    ("q6", "may not look ahead", '''
def changed_places(T, t):
    return list(range(T))
'''),
    ("q6", "was changed itself", '''
def changed_places(T, t):
    return list(range(t + 1, T))
'''),
    ("q6", "the other way round", '''
def changed_places(T, t):
    return list(range(t + 1))
'''),
]
