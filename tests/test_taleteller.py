"""Taleteller: what is said about the model that comes with the book can be measured again."""

import json

import pytest
import torch
from torch.nn import functional as F

from course import taleteller
from course.__main__ import main
from course.data.tales import Tale, floor
from tinyllm.devices import machine
from tinyllm.model import GPT, Config, find, load, load_tokenizer
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig, current_names
from tinyllm.training import train

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
    told = [Tale("Hello.", -2.0, ()), Tale("Good night.", -3.0, ())]
    found = taleteller.story_score(small, BYTES, told)
    nats = 0.0
    for tale in told:
        text = BYTES.encode("\n\n" + tale.text + "\n\n")
        nats += float(taleteller.surprises(small, torch.tensor(text))[1:].sum())
    assert found.loss == pytest.approx(nats / (6 + 2 + 11 + 2), abs=1e-6)
    assert found.excess == pytest.approx((nats - 5) / (6 + 2 + 11 + 2), abs=1e-6)


def test_the_standard_error_is_that_of_repeated_measurements(small):
    told = [Tale(tale.text[:30], -len(tale.text) / 99, ()) for tale in taleteller.held_out_tales(400)]
    parts = [taleteller.story_score(small, BYTES, told[i::20]) for i in range(20)]
    losses, loss_errors, excess, excess_errors = torch.tensor(parts).T
    assert 0.5 < float(losses.std() / loss_errors.mean()) < 2
    assert 0.5 < float(excess.std() / excess_errors.mean()) < 2


def test_the_difference_by_story_is_known_better_than_the_loss():
    """What makes a story improbable makes it so for the model, too, which the difference is free of."""
    model, tokenizer = load("taleteller"), load_tokenizer("taleteller")
    found = taleteller.story_score(model, tokenizer, taleteller.held_out_tales(60))
    assert found.excess_error < 0.6 * found.loss_error
    assert found.excess == pytest.approx(found.loss - floor(stories=60).nats_per_character)


def test_true_stories_keep_everything_and_a_wrong_name_is_noticed():
    stories = taleteller.held_out(20)
    training = " ".join(stories[:5])
    true = taleteller.verdict(stories, training, taleteller.copied(training, stories))
    assert list(true.values()) == pytest.approx([1, 1, 1, 1, 1, 0.25, 0.25])
    wrong = [story.replace("she ", "he ").replace(" her ", " his ") for story in stories]
    false = taleteller.verdict(wrong, training, taleteller.copied(training, wrong))
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
    found = taleteller.story_score(model, tokenizer, taleteller.held_out_tales(60))
    assert abs(found.loss - told) < 4 * (found.loss_error**2 + told_error**2) ** 0.5
    assert abs(floor(stories=500).nats_per_character - best) < 0.005
    excess, error = notes["excess"]
    assert abs(found.excess - excess) < 4 * (found.excess_error**2 + error**2) ** 0.5
    assert excess > 0 and excess == pytest.approx(told - best, abs=2e-4)
    assert error < 0.6 * told_error


def test_the_manifest_says_on_what_and_for_how_long_the_model_was_trained():
    notes = json.loads((find("taleteller") / "model.json").read_text())["notes"]
    its = notes["training"]
    assert its["tokens_per_second"] == pytest.approx(its["tokens"] / its["seconds"], rel=0.01)
    sizes = (taleteller.RECIPE.blocks(step, 384) for step in range(taleteller.RECIPE.n_steps))
    assert its["tokens"] == sum(n * length for n, length in sizes)
    assert {"processor", "cores", "bf16", "processes", "threads"} <= its["machines"][0].keys()


@pytest.fixture
def tiny_taleteller(monkeypatch, tmp_path):
    """The whole recipe in small: what is trained and scored is a model of a second."""
    small = dict(
        CONFIG=Config(vocab_size=300, block_size=64, n_layer=1, n_head=1, d_model=8),
        RECIPE=TrainConfig(n_steps=6, batch_size=2, short=16, growth=0.5, every=2),
        SIZE=20_000, VOCABULARY=5_000, N_SCORED=3,
    )
    for name, value in small.items():
        monkeypatch.setattr(taleteller, name, value)
    return tmp_path / "model", tmp_path / "run"


def test_a_run_that_was_stopped_and_resumed_says_so(tiny_taleteller, monkeypatch):
    folder, run = tiny_taleteller
    taken = []

    def stopping(*args, **options):
        for record in train(*args, **options):
            yield record
            taken.append(record["step"])
            if taken == [2, 4]:
                raise KeyboardInterrupt

    monkeypatch.setattr(taleteller, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        taleteller.train_taleteller(folder, run)
    taleteller.train_taleteller(folder, run)
    notes = json.loads((folder / "model.json").read_text())["notes"]
    its = notes["training"]
    assert its["resumed_after_steps"] == [4] and its["machines"] == 2 * [machine()]
    # 3 steps in which blocks grow from 16 tokens to 64, of as many as fit into 2 blocks of 64; then 3 of 2 blocks.
    assert its["tokens"] == 8 * 16 + 4 * 25 + 2 * 40 + 3 * 128
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    sizes = {2: 4 * 25, 4: 128, 6: 128}
    seconds = sum(2 * sizes[record["step"]] / record["speed"] for record in records)
    assert its["seconds"] == round(seconds)
    assert notes["excess"][0] == pytest.approx(notes["nats_per_character"][0] - notes["floor"][0], abs=2e-4)
    assert notes["floor"][0] == round(floor(1, 3).nats_per_character, 4)


def test_a_model_is_scored_again_without_any_change_to_its_weights(tiny_taleteller):
    folder, run = tiny_taleteller
    taleteller.train_taleteller(folder, run)
    before = json.loads((folder / "model.json").read_text())
    (run / "stages.jsonl").unlink()
    notes = taleteller.score_taleteller(folder, run)
    after = json.loads((folder / "model.json").read_text())
    assert after["sha256"] == before["sha256"] and after["config"] == before["config"]
    assert notes["excess"] == before["notes"]["excess"] and notes["training"]["machines"] is None
    assert notes["training"]["resumed_after_steps"] is None  # nobody knows


def test_help_says_how_long_the_training_takes(capsys):
    with pytest.raises(SystemExit):
        main(["taleteller", "--help"])
    assert "about 110 minutes" in " ".join(capsys.readouterr().out.split())


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
    recipe = current_names(notes["recipe"])
    recipe["separate"] = tuple(recipe["separate"])  # JSON has lists alone
    assert TrainConfig(**recipe) == taleteller.recipe(load_tokenizer("taleteller"))
