"""Wrong answers to sheet 02 that people give, and what they have to be told."""

MISTAKES = [
    ("q1", "the sign is the other way", '''
def three_units(log_probs, tokens):
    loss = sum(log_probs) / len(tokens)
    return loss, math.exp(-loss), -loss * len(tokens) / sum(map(len, tokens)) / math.log(2)
'''),
    ("q1", "averages 1/p over the tokens", '''
def three_units(log_probs, tokens):
    loss = -sum(log_probs) / len(tokens)
    inverse = [math.exp(-p) for p in log_probs]
    return loss, sum(inverse) / len(inverse), loss * len(tokens) / sum(map(len, tokens)) / math.log(2)
'''),
    ("q1", "mixes two units", '''
def three_units(log_probs, tokens):
    loss = -sum(log_probs) / len(tokens)
    return loss, 2 ** loss, loss * len(tokens) / sum(map(len, tokens)) / math.log(2)
'''),
    ("q1", "nats per byte", '''
def three_units(log_probs, tokens):
    loss = -sum(log_probs) / len(tokens)
    return loss, math.exp(loss), loss * len(tokens) / sum(map(len, tokens))
'''),
    ("q1", "bits per token", '''
def three_units(log_probs, tokens):
    loss = -sum(log_probs) / len(tokens)
    return loss, math.exp(loss), loss / math.log(2)
'''),
    ("q1", "more than one byte", '''
def three_units(log_probs, tokens):
    loss = -sum(log_probs) / len(tokens)
    n_characters = len(b"".join(tokens).decode())
    return loss, math.exp(loss), loss * len(tokens) / n_characters / math.log(2)
'''),
    ("q1", "should be a number", '''
def three_units(log_probs, tokens):
    return None, None, None
'''),
    ("q2", "one in ten does not", '''
def predict_perplexities():
    return 4.0, 1 / 0.9
'''),
    ("q2", "does not all go to one letter", '''
def predict_perplexities():
    return 4.0, math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
'''),
    ("q2", "is it a loss in nats?", '''
def predict_perplexities():
    return 4, -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 3)
'''),
    ("q2", "e to the power of bits", '''
def predict_perplexities():
    return 4, math.exp(-0.9 * math.log2(0.9) - 0.1 * math.log2(0.1 / 3))
'''),
    ("q2", "a unigram sees none", '''
def predict_perplexities():
    loss = -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 3)
    return math.exp(loss), math.exp(loss)
'''),
    # As it was found.
    ("q3", "the block's own first token", '''
def blocks(ids, block_size):
    n_blocks = len(ids) // block_size
    x = ids[: n_blocks * block_size].view(n_blocks, block_size)
    return x, x.roll(-1, dims=1)
'''),
    # The other bug left in.
    ("q3", "which token follows the last one", '''
def blocks(ids, block_size):
    n_blocks = len(ids) // block_size
    x = ids[: n_blocks * block_size].view(n_blocks, block_size)
    y = ids.roll(-1)[: n_blocks * block_size].view(n_blocks, block_size)
    return x, y
'''),
    # Gives each block one token less.
    ("q3", "x should have shape", '''
def blocks(ids, block_size):
    n_blocks = (len(ids) - 1) // block_size
    x = ids[: n_blocks * block_size].view(n_blocks, block_size)
    return x[:, :-1], x[:, 1:]
'''),
    # Skips the token between two blocks.
    ("q3", "enough tokens for more", '''
def blocks(ids, block_size):
    n_blocks = len(ids) // (block_size + 1)
    pieces = ids[: n_blocks * (block_size + 1)].view(n_blocks, block_size + 1)
    return pieces[:, :-1], pieces[:, 1:]
'''),
    ("q4", "the sign is the other way", '''
def slope(logits, targets):
    came = torch.nn.functional.one_hot(targets, logits.shape[-1])
    return (came - logits.softmax(-1)) / targets.numel()
'''),
    ("q4", "its term is missing", '''
def slope(logits, targets):
    return logits.softmax(-1) / targets.numel()
'''),
    ("q4", "a mean over the positions", '''
def slope(logits, targets):
    return logits.softmax(-1) - torch.nn.functional.one_hot(targets, logits.shape[-1])
'''),
    ("q4", "over the positions, it should run over the tokens", '''
def slope(logits, targets):
    came = torch.nn.functional.one_hot(targets, logits.shape[-1])
    return (logits.softmax(0) - came) / targets.numel()
'''),
    # The discount is lost.
    ("q5", "sum to", '''
def bigram(ids, vocab_size, discount):
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    unigram = np.bincount(ids, minlength=vocab_size) / len(ids)
    total = pairs.sum(1, keepdims=True)
    return np.where(total > 0, np.maximum(pairs - discount, 0) / np.maximum(total, 1), unigram)
'''),
    ("q5", "shared out equally", '''
def bigram(ids, vocab_size, discount):
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    total = pairs.sum(1, keepdims=True)
    collected = discount * (pairs > 0).sum(1, keepdims=True)
    table = (np.maximum(pairs - discount, 0) + collected / vocab_size) / np.maximum(total, 1)
    return np.where(total > 0, table, 1 / vocab_size)
'''),
    ("q5", "must not become negative", '''
def bigram(ids, vocab_size, discount):
    singles = np.bincount(ids, minlength=vocab_size)
    unigram = (np.maximum(singles - discount, 0) + discount * (singles > 0).sum() / vocab_size) / len(ids)
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    total = pairs.sum(1, keepdims=True)
    collected = discount * (pairs > 0).sum(1, keepdims=True)
    table = (pairs - discount + collected * unigram) / np.maximum(total, 1)
    return np.where(total > 0, table, unigram)
'''),
    # c(h) from the single counts.
    ("q5", "followed by nothing", '''
def bigram(ids, vocab_size, discount):
    singles = np.bincount(ids, minlength=vocab_size)
    unigram = (np.maximum(singles - discount, 0) + discount * (singles > 0).sum() / vocab_size) / len(ids)
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    collected = discount * (pairs > 0).sum(1, keepdims=True)
    total = singles[:, None]
    table = (np.maximum(pairs - discount, 0) + collected * unigram) / np.maximum(total, 1)
    return np.where(total > 0, table, unigram)
'''),
    ("q5", "still impossible", '''
def bigram(ids, vocab_size, discount):
    unigram = np.bincount(ids, minlength=vocab_size) / len(ids)
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    total = pairs.sum(1, keepdims=True)
    collected = discount * (pairs > 0).sum(1, keepdims=True)
    table = (np.maximum(pairs - discount, 0) + collected * unigram) / np.maximum(total, 1)
    return np.where(total > 0, table, unigram)
'''),
    ("q5", "0 was divided by 0", '''
def bigram(ids, vocab_size, discount):
    singles = np.bincount(ids, minlength=vocab_size)
    unigram = (np.maximum(singles - discount, 0) + discount * (singles > 0).sum() / vocab_size) / len(ids)
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    collected = discount * (pairs > 0).sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (np.maximum(pairs - discount, 0) + collected * unigram) / pairs.sum(1, keepdims=True)
'''),
    # The loss on the training text.
    ("q6", "recites best", '''
from tinyllm.counting import NGram

def choose_order(ids, orders, vocab_size):
    return min(orders, key=lambda order: -NGram(ids, order, vocab_size).log_prob(ids).mean())
'''),
    # The sign: the worst model.
    ("q6", "not the best on new text", '''
from tinyllm.counting import NGram

def choose_order(ids, orders, vocab_size):
    learn, new = np.split(ids, [len(ids) * 9 // 10])
    return min(orders, key=lambda order: NGram(learn, order, vocab_size).log_prob(new).mean())
'''),
    ("q6", "not the best on new text", '''
def choose_order(ids, orders, vocab_size):
    return 2
'''),
]
