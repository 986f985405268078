"""Sheet 02: predicting the next token."""

import functools
import math

import numpy as np
import torch

from course.checks import Part, Question, Sheet, Wrong, close, count, is_a
from tinyllm.counting import NGram

# q1


def scored_texts(seed):
    rng = np.random.default_rng(seed)
    pieces = [" the", "é", " lantern", "s", "🙂", "ing", ",", " маяк"]
    for n_tokens in (1, 6 + seed):
        tokens = [pieces[i].encode() for i in rng.integers(len(pieces), size=n_tokens)]
        yield [float(p) for p in np.log(rng.uniform(0.01, 1, size=n_tokens))], tokens


def _three(answer):
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 3:
        raise Wrong("three numbers are asked for: nats per token, perplexity, bits per byte; "
                    f"yours has {len(answer)}")
    for number, name in zip(answer, ("nats per token", "the perplexity", "bits per byte")):
        is_a(number, float, name)
    return answer


def nats(inputs, answer):
    log_probs, tokens = inputs
    loss = -np.mean(log_probs)
    close(_three(answer)[0], loss, "nats per token", mistakes={
        "a loss is how much was lost: the sign is the other way": -loss,
        "this is the loss of the whole text, not per token": loss * len(tokens),
        "these are bits per token; nats use the natural logarithm": loss / math.log(2),
    })


def ppl(inputs, answer):
    log_probs, tokens = inputs
    loss = -np.mean(log_probs)
    close(_three(answer)[1], math.exp(loss), "the perplexity", mistakes={
        "this averages 1/p over the tokens; average the logarithms, and exponentiate only then":
            np.mean(np.exp(-np.array(log_probs))),
        "2 to the power of nats mixes two units: nats belong to e, bits to 2": 2**loss,
        "this is exp of the loss of the whole text; perplexity is per token": math.exp(loss * len(tokens)),
    })


def bpb(inputs, answer):
    log_probs, tokens = inputs
    total, n_bytes = -np.sum(log_probs), sum(map(len, tokens))
    n_characters = len(b"".join(tokens).decode())
    close(_three(answer)[2], total / n_bytes / math.log(2), "bits per byte", mistakes={
        "these are nats per byte": total / n_bytes,
        "these are bits per token": total / len(tokens) / math.log(2),
        "these are bits per character, and some characters have more than one byte":
            total / n_characters / math.log(2),
        "to get bits from nats, divide by ln 2; this multiplies": total / n_bytes * math.log(2),
    })


# q2


@functools.cache
def measured_perplexities() -> tuple[float, float]:
    """What a unigram and a bigram reach on the sticky source, with 200,000 letters to learn from."""
    rng = np.random.default_rng(0)
    moves = np.where(rng.random(400_000) < 0.9, 0, rng.integers(1, 4, size=400_000))
    learn, new = np.split(np.cumsum(moves) % 4, 2)
    unigram, bigram = (math.exp(-NGram(learn, order, 4).log_prob(new).mean()) for order in (1, 2))
    return unigram, bigram


def _pair(answer):
    is_a(answer, (tuple, list), "the prediction")
    if len(answer) != 2:
        raise Wrong("two numbers are asked for, the unigram's perplexity and the bigram's; "
                    f"yours has {len(answer)}")
    for number in answer:
        is_a(number, float, "a perplexity")
        if not number >= 1:
            raise Wrong(f"{number:.3g} is no perplexity: an oracle has 1, and nobody does better "
                        "(is it a loss in nats?)")
    return answer


def unigram_prediction(inputs, answer):
    measured = measured_perplexities()[0]
    close(_pair(answer)[0], measured, "the unigram's perplexity", rtol=0.03, mistakes={
        "that is for a model that sees the letter before; a unigram sees none": measured_perplexities()[1],
    })
    return f"you predicted {answer[0]:.2f} for the unigram; measured: {measured:.2f}"


def bigram_prediction(inputs, answer):
    measured = measured_perplexities()[1]
    surprise = math.log(measured)
    close(_pair(answer)[1], measured, "the bigram's perplexity", rtol=0.03, mistakes={
        "1/0.9 is the price of a letter that stays; one in ten does not": 1 / 0.9,
        "e to the power of bits mixes two units": math.exp(surprise / math.log(2)),
        "the tenth that leaves does not all go to one letter":
            math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)),
    })
    return f"you predicted {answer[1]:.2f} for the bigram; measured: {measured:.2f}"


# q3


def texts_with_a_rest(seed):
    for block_size in (3, 4 + seed):
        generator = torch.Generator().manual_seed(seed)
        yield torch.randperm(4 * block_size + 2, generator=generator) + 100, block_size


def texts_of_whole_blocks(seed):
    for n_blocks in (2, 5):
        yield torch.arange(n_blocks * (seed + 2)) + 7, seed + 2
    yield torch.arange(7), 3


def _blocks(inputs):
    ids, block_size = inputs
    n_blocks = (len(ids) - 1) // block_size
    used = n_blocks * block_size
    return ids[:used].view(n_blocks, block_size), ids[1 : used + 1].view(n_blocks, block_size)


def blocks(inputs, answer):
    ids, block_size = inputs
    is_a(answer, (tuple, list), "the answer")
    if len(answer) != 2:
        raise Wrong(f"x and y are asked for; yours returned {count(len(answer), 'thing')}")
    x, y = _blocks(inputs)
    for name, mine in zip("xy", answer):
        is_a(mine, torch.Tensor, name)
    if answer[0].shape == x.shape and answer[1].shape == y.shape and torch.equal(answer[1][:, -1], x[:, 0]):
        raise Wrong("the last target of a block is the block's own first token: it should be the token that "
                    "follows the block in the text")
    if len(answer[0]) > len(x):
        raise Wrong(f"{len(ids)} tokens gave {count(len(answer[0]), 'block')} of {block_size}: "
                    "which token follows the last one of the last block?")
    if len(answer[0]) < len(x):
        raise Wrong(f"{len(ids)} tokens gave {count(len(answer[0]), 'block')} of {block_size}: "
                    "the text has enough tokens for more questions with answers")
    close(answer[0], x, "x", axes=("block", "place"))
    close(answer[1], y, "y", axes=("block", "place"))


# q4


def _slope(logits, targets):
    p = torch.softmax(logits, -1)
    return p - torch.nn.functional.one_hot(targets, logits.shape[-1]).to(p)


def one_position(seed):
    generator = torch.Generator().manual_seed(seed)
    yield torch.randn(3 + seed, generator=generator), torch.tensor(seed % 3)


def many_positions(seed):
    generator = torch.Generator().manual_seed(seed)
    for shape in [(4,), (2, 3 + seed)]:
        yield torch.randn(*shape, 5, generator=generator), torch.randint(5, shape, generator=generator)


def slope(inputs, answer):
    logits, targets = inputs
    total, p = _slope(logits, targets), torch.softmax(logits, -1)
    axes = ("batch", "time", "token")[3 - logits.ndim :]
    mistakes = {
        "the loss falls in this direction: the sign is the other way": -total / targets.numel(),
        "the target's own logit also counts: its term is missing": p / targets.numel(),
    }
    if targets.ndim:
        mistakes["this is the slope of the summed loss; the loss is a mean over the positions"] = total
        wrong_axis = torch.softmax(logits, 0)
        one_hot = torch.nn.functional.one_hot(targets, logits.shape[-1])
        mistakes["the softmax runs over the positions, it should run over the tokens"] = (
            (wrong_axis - one_hot) / targets.numel()
        )
    close(answer, total / targets.numel(), "the slope", axes=axes, mistakes=mistakes)


# q5

UNDISCOUNTED = "the unigram is not discounted: a token that never occurs is still impossible"


def counted_texts(seed):
    rng = np.random.default_rng(seed)
    for vocab_size, length in [(3, 12), (5 + seed, 60)]:
        yield rng.integers(vocab_size, size=length), vocab_size, 0.75
    yield rng.integers(3, size=30), 4, 0.5  # one token never occurs
    yield np.array([0, 1, 0, 1, 1, 2]), 3, 0.5  # the last one occurs nowhere else: nothing followed it


def _tables(ids, vocab_size, discount):
    """The right table, and those that known mistakes give."""
    pairs = np.zeros((vocab_size, vocab_size))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    singles = np.bincount(ids, minlength=vocab_size)
    total, kinds = pairs.sum(1, keepdims=True), (pairs > 0).sum(1, keepdims=True)
    some = np.maximum(total, 1)
    kept, shared = np.maximum(pairs - discount, 0), discount * kinds
    unigram = (np.maximum(singles - discount, 0) + discount * (singles > 0).sum() / vocab_size) / len(ids)

    def table(kept, shared, below, total=total):
        return np.where(total > 0, (kept + shared * below) / np.maximum(total, 1), below)

    occurs = singles[:, None]
    return table(kept, shared, unigram), {
        "what was collected is shared out equally; it should be shared out as the unigram would":
            table(kept, shared, np.full(vocab_size, 1 / vocab_size)),
        "the discount was taken, and nothing was done with what it brought in":
            np.where(total > 0, kept / some, unigram),
        "a pair that was never seen owes nothing: its count must not become negative":
            table(pairs - discount, shared, unigram),
        "c(h) should count what followed h; the last token of the text was followed by nothing":
            table(kept, shared, unigram, occurs),
        UNDISCOUNTED: table(kept, shared, singles / len(ids)),
        "these are the plain counts: nothing was discounted": np.where(total > 0, pairs / some, unigram),
        "the table is the wrong way around: rows are for the token that stands, columns for the next":
            table(kept, shared, unigram).T,
    }


def sums(inputs, answer):
    ids, vocab_size, discount = inputs
    table = _table(inputs, answer)
    for h, total in enumerate(table.sum(1)):
        if abs(total - 1) > 1e-6:
            raise Wrong(f"the probabilities after token {h} sum to {total:.4g}, not 1")


def _table(inputs, answer):
    vocab_size = inputs[1]
    is_a(answer, np.ndarray, "the table")
    if answer.shape != (vocab_size, vocab_size):
        raise Wrong(f"the table should have shape {(vocab_size, vocab_size)} = (token, next token); "
                    f"yours has {answer.shape}")
    return answer


def seen_rows(inputs, answer):
    ids, vocab_size, discount = inputs
    right, mistakes = _tables(*inputs)
    rows = np.unique(ids[:-1])
    close(_table(inputs, answer)[rows], right[rows], "the table", axes=("row", "next token"),
          mistakes={says: wrong[rows] for says, wrong in mistakes.items()})


def unseen_rows(inputs, answer):
    ids, vocab_size, discount = inputs
    right, mistakes = _tables(*inputs)
    rows = np.setdiff1d(np.arange(vocab_size), ids[:-1])
    given = _table(inputs, answer)[rows]
    if np.isnan(given).any():
        raise Wrong(f"after token {rows[0]}, which nothing followed in the text, the table holds nan: "
                    "0 was divided by 0")
    what = "the row of a token that nothing followed"
    close(given, right[rows], what, axes=("row", "next token"), mistakes={
        UNDISCOUNTED: mistakes[UNDISCOUNTED][rows],
        "after a token that nothing followed the table is all 0": np.zeros_like(right[rows]),
        "after a token that nothing followed, ask the unigram; the uniform distribution comes last":
            np.full_like(right[rows], 1 / vocab_size),
    })


# q6


def _markov(rng, order, vocab_size, length):
    """A text whose next token depends on just the last `order` tokens, and one time in five on nothing."""
    table = 0.8 * rng.dirichlet(np.full(vocab_size, 0.1), size=(vocab_size,) * order) + 0.2 / vocab_size
    ids = list(rng.integers(vocab_size, size=max(order, 1)))
    while len(ids) < length:
        ids.append(int(rng.choice(vocab_size, p=table[tuple(ids[len(ids) - order :])])))
    return np.array(ids)


def short_memories(seed):
    rng = np.random.default_rng(seed)
    yield _markov(rng, order=seed % 2, vocab_size=8, length=3000), [1, 2, 4, 6], 8


def long_memories(seed):
    rng = np.random.default_rng(100 + seed)
    order = 2 + seed % 2  # of two, so that no one number is right for all
    yield _markov(rng, order, vocab_size=3, length=6000), [1, 2, 3, 4, 8], 3


def chosen(inputs, answer):
    ids, orders, vocab_size = inputs
    is_a(answer, int, "the order")
    if answer not in orders:
        raise Wrong(f"{answer} is not among the orders {orders}")
    learn, new = np.split(ids, [len(ids) * 9 // 10])
    held_out = {order: -NGram(learn, order, vocab_size).log_prob(new).mean() for order in orders}
    training = {order: -NGram(learn, order, vocab_size).log_prob(learn).mean() for order in orders}
    best = min(held_out, key=held_out.get)
    if answer == best:
        return
    losses = f"held-out loss {held_out[answer]:.3f} nats, and another order has {held_out[best]:.3f}"
    if answer == min(training, key=training.get):
        raise Wrong(f"order {answer} recites best the text that it learned from; "
                    f"on new text it is not the best: {losses}")
    raise Wrong(f"order {answer} is not the best on new text: {losses}")


SHEET = Sheet("02_next_token", "Predicting the next token", questions=(
    Question("q1", "Three units", function="three_units", minutes=10, difficulty=1, parts=(
        Part("nats per token", 1, nats, scored_texts),
        Part("perplexity", 1, ppl, scored_texts),
        Part("bits per byte", 1, bpb, scored_texts),
    ), hints=(
        "All three start from the same sum.",
        "A token is a `bytes` object, and it knows its length.",
        "One nat is 1/ln 2 bits.",
    )),
    Question("q2", "A sticky source", function="predict_perplexities", minutes=10, difficulty=1, parts=(
        Part("the unigram is near what is measured", 1, unigram_prediction),
        Part("the bigram is near what is measured", 2, bigram_prediction),
    ), hints=(
        "How often does each letter occur in the long run?",
        "For the bigram: nine letters in ten cost -ln 0.9. What does the tenth cost, and what is the mean?",
    )),
    Question("q3", "Two bugs in three lines", function="blocks", minutes=10, difficulty=2, parts=(
        Part("every target is the token that comes next", 2, blocks, texts_with_a_rest),
        Part("and at the end of the text", 1, blocks, texts_of_whole_blocks),
    ), hints=(
        "Write x and y down for the text 0 1 2 3 4 5 6 and blocks of 3.",
        "How many questions with answers does a text of N tokens hold?",
    )),
    Question("q4", "The slope of the loss", function="slope", minutes=15, difficulty=2, parts=(
        Part("at one position", 2, slope, one_position),
        Part("at many positions, for the mean loss", 1, slope, many_positions),
    ), hints=(
        "Differentiate ln Σ exp(z) by one of the z. Which well-known function is that?",
        "The other term, -z of the target, has a slope that is 0 nearly everywhere.",
    )),
    Question("q5", "A discount of your own", function="bigram", minutes=25, difficulty=2, parts=(
        Part("after every token the probabilities sum to 1", 1, sums, counted_texts),
        Part("after tokens that were followed by something", 2, seen_rows, counted_texts),
        Part("after tokens that were not", 1, unseen_rows, counted_texts),
    ), hints=(
        "Build it from below: the uniform distribution, then the unigram from it, then the bigram from that.",
        "`np.add.at(pairs, (ids[:-1], ids[1:]), 1)` counts all pairs at once.",
        "What a row has collected is the discount times the number of its counts above 0.",
    )),
    Question("q6", "How much memory?", function="choose_order", minutes=15, difficulty=3, parts=(
        Part("a source that remembers little", 2, chosen, short_memories),
        Part("a source that remembers more", 2, chosen, long_memories),
    ), hints=(
        "The loss on the text that was learned from cannot tell: it always falls.",
        "Learn from the first nine tenths, and score on the last.",
    )),
))
