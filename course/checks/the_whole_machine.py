"""Sheet 00: the whole machine."""

import math

import torch

from course.checks import Part, Question, Sheet, Wrong, close, equal, is_a
from tinyllm.model import GPT, Config, load, load_tokenizer, n_parameters


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# q1

SIZES = ((5, 8, 20, 2, 4), (12, 128, 2048, 5, 4), (1, 6, 11, 3, 2))


def sizes(seed):
    for T, C, V, n_layer, n_head in SIZES:
        yield (T + seed, C, V, n_layer, n_head)


def shape_of(stage, expected, **mistakes):
    def judge(inputs, answer):
        is_a(answer, dict, "the answer")
        if stage not in answer:
            raise Wrong(f"there is no {stage!r} among the stages: {sorted(map(str, answer))}")
        T, C, V, n_layer, n_head = inputs
        numbers = dict(T=T, C=C, V=V, n_layer=n_layer, n_head=n_head)
        known = {says: eval(shape, {}, numbers) for says, shape in mistakes.items()}
        equal(answer[stage], eval(expected, {}, numbers), f"the shape of {stage!r}", "axis", known)
    return judge


VECTORS = shape_of("vectors", "(T, C)", **{
    "a row of the table is not as long as the table has rows: V is how many ids there are": "(T, V)",
    "these are the places only; each of them holds a vector": "(T,)",
    "one row for each token, not one column": "(C, T)",
})
ATTENTION = shape_of("attention", "(n_layer, n_head, T, T)", **{
    "a map has a row for each token that asks and a column for each that it may ask": "(n_layer, n_head, T, C)",
    "these are the maps of one layer": "(n_head, T, T)",
    "these are the heads' vectors, not their weights": "(n_layer, n_head, T, C // n_head)",
    "each layer has heads of its own: heads stand inside layers": "(n_head, n_layer, T, T)",
    "all maps, but which layer's are they?": "(n_layer * n_head, T, T)",
})
LOGITS = shape_of("logits", "(T, V)", **{
    "the machine makes a prediction at every place, not only at the last": "(V,)",
    "one number for each token that could come next, not for each channel": "(T, C)",
})

# q2


def configs(seed):
    for V, T, C, n_layer in ((65, 64, 128, 4), (2048, 384, 128, 5), (50 + seed, 16, 12, 1 + seed)):
        yield (V, T, C, n_layer)


def bill(inputs, answer):
    V, T, C, n_layer = inputs
    is_a(answer, int, "the number of weights")
    right = n_parameters(Config(V, T, n_layer, n_head=1, d_model=C))
    blocks = n_layer * (12 * C * C + 2 * C)
    equal(answer, right, "the number of weights", mistakes={
        "the positions have vectors, too": right - T * C,
        "the head has a row for each token, too": right - V * C,
        "the blocks are there n_layer times": right - blocks + blocks // n_layer,
        "there are norms: two in a block, and one before the head": right - n_layer * 2 * C - C,
        "there is one more norm, before the head": right - C,
        "an MLP goes up to 4C channels and down again: two matrices": right - n_layer * 4 * C * C,
        "attention has four matrices: queries, keys, values, and out": right - n_layer * C * C,
    })


# q3


def answers(weights):
    """Who is looked at most by later tokens; and who it seems to be, to those who go wrong in one way each."""
    T = len(weights)
    later = torch.ones(T, T, dtype=torch.bool).tril(-1)
    totals = (weights * later).sum(0)
    means = totals[:-1] / later.sum(0)[:-1]
    return [int(x.argmax()) for x in (means, weights.mean(1), weights.mean(0), totals)]


def maps(seed):
    """Maps on which each mistake gives another answer."""
    generator = _generator(seed)
    for T in (6, 7 + seed):
        hidden = ~torch.ones(T, T, dtype=torch.bool).tril()
        weights = torch.zeros(T, T)
        while len(set(answers(weights))) < 4:
            scores = torch.randn(T, T, generator=generator) * 2
            weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        yield (weights,)


def watched(inputs, answer):
    is_a(answer, int, "the key")
    right, rows, itself, totals = answers(inputs[0])
    equal(answer, right, "the key", mistakes={
        "you compared rows: each row sums to 1, and says whom this token looks at; who is looked at is a column": rows,
        "a token that looks at itself is not looked at by a later one": itself,
        "a late token is seen by few: take the mean over those that can see it": totals,
    })


# q4

KNEW = "\n\nEverybody in Mudford knew {}. People said that"
HEROES = ("Iris, the stubborn hedgehog", "Ralph, the stubborn hedgehog")


def chance_of_she(hero: str) -> float:
    model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
    with torch.no_grad():
        p = model(torch.tensor(tokenizer.encode(KNEW.format(hero))))[-1].softmax(-1)
    return p[tokenizer.encode(" she")[0]].item()


def she(inputs, answer):
    is_a(answer, (list, tuple), "the guess")
    if len(answer) != 2:
        raise Wrong(f"two guesses are wanted, one for each sentence, not {len(answer)}")
    measured = [chance_of_she(hero) for hero in HEROES]
    for guess, p, hero in zip(answer, measured, ("Iris", "Ralph")):
        is_a(guess, float, f"the guess for {hero}")
        if not 0 <= guess <= 1:
            raise Wrong(f"{guess:.3g} is no probability (the guess for {hero})")
    for guess, p, hero in zip(answer, measured, ("Iris", "Ralph")):
        if abs(guess - p) > 0.2:
            raise Wrong(f"for {hero} the guess is more than 0.2 away from what Taleteller says. It sees the whole sentence; "
                        "which of its words tells, and does the machine have a way to look there?")
    return f"Taleteller gives “ she” {measured[0]:.3f} after Iris, and {measured[1]:.3f} after Ralph"


# q5


def predictions(seed):
    p = torch.rand(4 + seed, generator=_generator(seed), dtype=torch.float64).clamp(min=0.01).tolist()
    pieces = [("a", " fox", " said", ".", " nothing", "é")[i % 6] for i in range(len(p))]
    yield (p, pieces)
    yield ([0.5, 0.25], [" yes", "."])
    yield ([1.0, 1.0, 0.001], ["\n", "\n", "Once"])


def rate(inputs, answer):
    p, pieces = inputs
    is_a(answer, float, "the loss")
    nats, characters = -sum(map(math.log, p)), sum(map(len, pieces))
    close(answer, nats / characters, "the loss", rtol=1e-6, atol=1e-9, mistakes={
        "this is the loss per token; tokens have different lengths": nats / len(p),
        "this is in bits: nats take the natural logarithm": nats / characters / math.log(2),
        "a loss is not negative: the logarithm of a probability is": -nats / characters,
        "this is the surprise at a mean probability, and not the mean of the surprises":
            -math.log(sum(p) / len(p)) * len(p) / characters,
        "each token's surprise is divided by its own length; long tokens then count like short ones":
            -sum(math.log(x) / len(piece) for x, piece in zip(p, pieces)) / len(p),
        "this is the loss of the whole text, not that of a character": nats,
    })


# q6


def places(seed):
    for T in (6, 9 + seed):
        yield (T, T // 2)
    yield (5, 4)
    yield (5, 0)


def changed(inputs, answer):
    T, t = inputs
    is_a(answer, list, "the places")
    torch.manual_seed(0)
    model = GPT(Config(vocab_size=9, block_size=T, n_layer=2, n_head=2, d_model=8))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    ids = torch.arange(T) % 9
    other = ids.clone()
    other[t] = (ids[t] + 1) % 9
    measured = (model(ids) != model(other)).any(-1).nonzero()[:, 0].tolist()
    equal(answer, measured, "the places", "place", mistakes={
        "only this token's own vector is another one at first, but others look at it": [t],
        "the machine may not look ahead: what stands before the change cannot know of it": list(range(T)),
        "what stands at place t was changed itself, and it predicts what follows it": list(range(t + 1, T)),
        "it is the other way round: who may look at whom?": list(range(t + 1)),
    })


SHEET = Sheet("00_the_whole_machine", "The whole machine", questions=(
    Question("q1", "What comes out where", function="shapes", minutes=5, difficulty=1,
             parts=(Part("the vectors that go into the first block", 1, VECTORS, sizes),
                    Part("the attention weights of all heads", 1, ATTENTION, sizes),
                    Part("the logits", 1, LOGITS, sizes)),
             hints=("Ask of each stage: what is there one of for each token?",
                    "A map of attention weights has queries down and keys across, and each head of each layer has one.")),
    Question("q2", "The bill", function="n_weights", minutes=10, difficulty=2,
             parts=(Part("every weight is counted once", 3, bill, configs),),
             hints=("The chapter's bill has five lines. Which of V, T, C and n_layer does each depend on?",
                    "Attention is four matrices of C by C in each block; the MLP two, of C by 4C.",
                    "A norm has one number for each channel.")),
    Question("q3", "Who is looked at?", function="most_watched", minutes=10, difficulty=2,
             parts=(Part("the key that later tokens look at most", 3, watched, maps),),
             hints=("Draw a map of three tokens with the weights written in. Where do rows sum to 1?",
                    "How many later tokens does the first have, how many the last but one?")),
    Question("q4", "She or he?", function="guess_she", minutes=3, difficulty=1, seconds=30,
             parts=(Part("both guesses are near what is measured", 1, she),),
             hints=("In the stories Iris is a girl's name; the model has met it often. Nothing else in the sentence tells.",)),
    Question("q5", "How surprised is it?", function="nats_per_character", minutes=8, difficulty=2,
             parts=(Part("the loss of a text, per character", 2, rate, predictions),),
             hints=("The surprise at a token is -ln of the probability that it was given.",
                    "Surprises add up; so do characters.")),
    Question("q6", "A word is changed", function="changed_places", minutes=5, difficulty=2,
             parts=(Part("the places where the logits change", 2, changed, places),),
             hints=("At which places is the token at place t seen?", "Where in a map of attention weights is column t hatched?")),
))
