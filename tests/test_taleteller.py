"""Taleteller: what is said about the model that comes with the book can be measured again."""

import json

import pytest
import torch
from torch.nn import functional as F

from course import taleteller
from course.data.tales import floor
from tinyllm.model import GPT, Config, find, load, load_tokenizer
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig, current_names

BYTES = Tokenizer(*train_bpe("", 256))


@pytest.fixture(scope="module")
def small() -> GPT:
    torch.manual_seed(0)
    model = GPT(Config(vocab_size=256, block_size=16, n_layer=1, n_head=2, d_model=8))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


@pytest.mark.parametrize("n", [2, 9, 16, 17, 18, 24, 25, 26, 40, 41])
def test_each_token_of_a_long_text_is_scored_once_and_sees_half_a_context(small, n):
    ids = torch.arange(n) % 7
    found = taleteller.surprises(small, ids)
    assert found.shape == (n - 1,)
    for t in range(n - 1):
        # The window that token t + 1 is scored in began at a multiple of half a context.
        start = max(0, (t - 8) // 8 * 8) if t >= 16 else 0
        with torch.inference_mode():
            expected = F.cross_entropy(small(ids[start : t + 1])[-1], ids[t + 1])
        assert found[t] == pytest.approx(float(expected), abs=1e-5)


def test_the_loss_counts_a_story_and_its_end_but_not_the_separator_before_it(small):
    loss, _ = taleteller.story_loss(small, BYTES, ["Hello.", "Good night."])
    nats = 0.0
    for story in ("Hello.", "Good night."):
        text = BYTES.encode("\n\n" + story + "\n\n")
        nats += float(taleteller.surprises(small, torch.tensor(text))[1:].sum())
    assert loss == pytest.approx(nats / (6 + 2 + 11 + 2), abs=1e-6)


def test_the_standard_error_is_that_of_repeated_measurements(small):
    stories = taleteller.held_out(400)
    parts = [taleteller.story_loss(small, BYTES, [s[:30] for s in stories[i::20]]) for i in range(20)]
    rates = torch.tensor([rate for rate, _ in parts])
    errors = torch.tensor([error for _, error in parts])
    assert 0.5 < float(rates.std() / errors.mean()) < 2


def test_true_stories_keep_everything_and_a_wrong_name_is_noticed():
    stories = taleteller.held_out(20)
    training = " ".join(stories[:5])
    true = taleteller.verdict(stories, training, taleteller.windows(training))
    assert list(true.values()) == pytest.approx([1, 1, 1, 1, 1, 0.25, 0.25])
    wrong = [story.replace("she ", "he ").replace(" her ", " his ") for story in stories]
    false = taleteller.verdict(wrong, training, taleteller.windows(training))
    parsed, _, _, pronouns, kept, *_ = false.values()
    assert parsed < 0.5 and pronouns < 0.5 and kept < 0.5


def test_the_table_has_a_line_for_each_measurement():
    lines = taleteller.table({"one": {"rhyme": 0.5}, "two": {"rhyme": 1.0}}).splitlines()
    assert lines[0] == "| of all stories, those that | one | two |"
    assert lines[2] == "| rhyme | 50.0 % | 100.0 % |"


def test_taleteller_is_as_good_as_its_manifest_says():
    notes = json.loads((find("taleteller") / "model.json").read_text())["notes"]
    (told, told_error), (best, _) = notes["nats_per_character"], notes["floor"]
    model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
    loss, error = taleteller.story_loss(model, tokenizer, taleteller.held_out(60))
    assert abs(loss - told) < 4 * (error**2 + told_error**2) ** 0.5
    assert abs(floor(stories=500).nats_per_character - best) < 0.005
    assert loss > best


def test_a_name_counts_as_said_again_where_the_story_has_had_it():
    model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
    ids = torch.tensor(tokenizer.encode("\n\nEverybody in Mudford knew Iris, the bear. But Ralph knew Iris"))
    with torch.inference_mode():
        expected = model(ids[:-1])[-1].softmax(-1)[ids[-1]]
    assert taleteller.said_again(model, tokenizer, [ids]) == pytest.approx(float(expected))
    assert taleteller.said_again(model, tokenizer, [ids, ids[:20]]) == pytest.approx(float(expected))


def test_taleteller_looks_names_up():
    model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
    stories = (tokenizer.encode("\n\n" + story)[:384] for story in taleteller.held_out(40))
    assert taleteller.said_again(model, tokenizer, [torch.tensor(story) for story in stories]) > 0.5


def test_taleteller_closes_95_percent_of_the_gap_between_a_trigram_and_the_floor():
    notes = json.loads((find("taleteller") / "model.json").read_text())["notes"]
    loss, best = notes["nats_per_character"][0], notes["floor"][0]
    trigram = notes["trigram"]
    assert (trigram - loss) / (trigram - best) > 0.95


def test_taleteller_is_what_the_recipe_in_the_repository_makes():
    model = load("taleteller")
    assert model.config == taleteller.CONFIG
    notes = json.loads((find("taleteller") / "model.json").read_text())["notes"]
    assert TrainConfig(**current_names(notes["recipe"])) == taleteller.RECIPE
