"""`python -m tinyllm.train`: what it makes, what it refuses, and how it goes on."""

import io
import json
import os
import sys

import pytest
import torch
from tiny import weights

from tinyllm.checkpoints import checkpoints, save_checkpoint
from tinyllm.model import load
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train import main

CONFIG = {
    "model": {"vocab_size": 270, "block_size": 8, "n_layer": 1, "n_head": 1, "d_model": 8},
    "training": {"n_steps": 6, "batch_size": 2, "every": 3},
}
TEXT = "the cat sat on the mat and the dog sat on the cat. " * 40


def changed(half, **changes):
    return CONFIG | {half: CONFIG[half] | changes}


def command(tmp_path, *more, text=TEXT, config=CONFIG):
    (tmp_path / "data.txt").write_bytes(text.encode("latin-1"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    files = "--data", str(tmp_path / "data.txt"), "--config", str(tmp_path / "config.json")
    return main([*files, "--out", str(tmp_path / "out"), *more])


def test_the_command_trains_a_model_that_can_be_loaded(tmp_path, capsys):
    assert command(tmp_path) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert printed == logged and [record["step"] for record in logged] == [3, 6]
    model, tokenizer = load(tmp_path / "out"), Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    assert model.config.vocab_size == len(tokenizer.vocab) == 270
    assert command(tmp_path, "--resume") == 0
    assert torch.equal(weights(load(tmp_path / "out")), weights(model))


def test_the_command_reads_standard_input(tmp_path, monkeypatch):
    assert command(tmp_path) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), "latin-1"))
    out = tmp_path / "other"
    assert main(["--data", "-", "--config", str(tmp_path / "config.json"), "--out", str(out)]) == 0
    assert torch.equal(weights(load(out)), weights(load(tmp_path / "out")))


@pytest.mark.filterwarnings("ignore:the text gave")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(text=""), "there is no text to train on in"),
        (dict(text=" \n"), "there is no text to train on in"),
        (dict(text="ab"), "too little text for blocks of 8 tokens: there are 1 to train on and 1 for"),
        (dict(text=TEXT[:60]), "for validation, and needed are 9 and 17"),
        (dict(text="caf\xe9" * 99), "data.txt is not text in UTF-8: 'utf-8' codec can't decode byte 0xe9"),
        (dict(config={"model": {}}), 'needs the keys "model" and "training", and has [\'model\']'),
        (dict(config=[1, 2]), 'needs the keys "model" and "training", and has [1, 2]'),
        (dict(config=CONFIG | {"training": 3}), '"training" must hold names and values, not 3'),
        (dict(config=CONFIG | {"training": {"steps": 3}}), "TrainConfig: unknown keys ['steps']"),
        (dict(config=CONFIG | {"training": {}}), "missing keys ['n_steps', 'batch_size']"),
        (dict(config=changed("model", n_heads=2)), "Config: unknown keys ['n_heads']"),
        (dict(config=changed("model", vocab_size=100)), "vocab_size must be at least 256 + 0 special"),
        (dict(config=changed("model", tie_weights="no")), "tie_weights must be true or false, not 'no'"),
        (dict(config=changed("training", lr="fast")), "lr must be a number above 0, not 'fast'"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, given, message):
    assert command(tmp_path, **given) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_the_command_says_what_is_wrong_with_its_files(tmp_path, capsys):
    def error(*arguments, **given):
        assert command(tmp_path, *arguments, **given) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error

    out = tmp_path / "out"
    out.write_text("a file")
    assert "out" in error()
    out.unlink()
    assert f"there is no checkpoint in {out} to go on from" in error("--resume")
    assert command(tmp_path) == 0
    assert f"{out} holds a run: resume it, or take another folder" in error()
    wider = changed("model", d_model=16)
    assert "does not fit this model: model.blocks.0" in error("--resume", config=wider)
    assert f"{out} was begun with lr 0.03, not 0.1" in error("--resume", config=changed("training", lr=0.1))
    assert f"{out} was begun with text '" in error("--resume", text=TEXT.replace("cat", "cow"))
    newest = checkpoints(out)[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    assert f"{newest} is damaged or no checkpoint" in error("--resume")
    newest.unlink()
    assert command(tmp_path, "--resume") == 0, "the checkpoint before it is as good as it was"
    (tmp_path / "config.json").write_text("{")
    files = "--data", str(tmp_path / "no.txt"), "--config", str(tmp_path / "config.json"), "--out", str(out)
    assert main(files) == 1 and "config.json is not JSON: Expecting" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert main(files) == 1 and "no.txt" in capsys.readouterr().err


def test_the_floor_is_given_in_nats_per_character_and_shown_per_token(tmp_path, monkeypatch):
    floors = []
    monkeypatch.setattr("tinyllm.training.show", lambda *arguments: floors.append(arguments[-1]))
    assert command(tmp_path, "--floor", "0.5") == 0
    tokenizer = Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    learned = TEXT[: len(TEXT) * 9 // 10]
    assert floors == [pytest.approx(0.5 * len(learned) / len(tokenizer.encode(learned)))] * 6


def test_the_command_says_where_an_interrupted_run_is_to_be_found(tmp_path, capsys, monkeypatch):
    saved = []

    def interrupt(*arguments):
        saved.append(arguments)
        if len(saved) == 1:
            return save_checkpoint(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyllm.training.save_checkpoint", interrupt)
    assert command(tmp_path) == 130
    assert "interrupted; the last checkpoint is" in (error := capsys.readouterr().err)
    assert "step-00000003.safetensors" in error and os.path.exists(error.split()[-1])
    monkeypatch.undo()
    assert command(tmp_path, "--resume") == 0
    logged = [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").open()]
    assert logged == [3, 6], "a record from after the checkpoint is not there twice"


def test_line_ends_are_part_of_the_text_whichever_way_it_comes(tmp_path, monkeypatch):
    from tinyllm.train import read_text

    data = b"a\r\nb\rc\n\xef\xbb\xbfd" * 9
    (tmp_path / "x.txt").write_bytes(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "latin-1"))
    assert read_text(str(tmp_path / "x.txt")) == read_text("-") == data.decode()


def test_a_configuration_may_begin_with_a_byte_order_mark_and_have_names_of_before(tmp_path):
    from tinyllm.train import read_config

    config = changed("training", n_parts=3)
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(config).encode())
    assert read_config(tmp_path / "config.json")[1].grad_accum_steps == 3


def test_a_separator_that_is_the_same_ids_only_here_and_there_is_refused(tmp_path, capsys):
    """As ordinary text, what a separator is depends on what stands beside it: here on a space before it."""
    text = "##one two. ##three ##four##five " * 60
    Tokenizer(*train_bpe("##one ##two" * 9, 262)).save(tmp_path / "own.json")
    own = Tokenizer.from_file(tmp_path / "own.json")
    assert 0 < sum(own.encode(text).count(i) for i in own.encode("##")) < text.count("##"), "or it proves nothing"
    assert command(tmp_path, "--tokenizer", str(tmp_path / "own.json"), "--separator", "##", text=text) == 1
    error = capsys.readouterr().err
    assert "not every '##' is the same ids" in error and "of 216 are [256] as ids" in error


def test_a_file_of_ids_has_as_many_bytes_an_id_as_its_tokenizer_says_whatever_the_model_has_room_for(tmp_path):
    """A vocabulary is often padded, to a multiple of 128 or so."""
    from argparse import Namespace

    from tinyllm.ids import write_ids
    from tinyllm.model import Config
    from tinyllm.train import mapped_data

    Tokenizer(*train_bpe(TEXT, 265)).save(tmp_path / "own.json")
    write_ids(tmp_path / "x.bin", [1, 2, 264] * 100, 265)
    args = Namespace(data=str(tmp_path / "x.bin"), tokenizer=tmp_path / "own.json", floor=None)
    _, ids, validation, _ = mapped_data(args, Config(65_664, 8, n_layer=1, n_head=1, d_model=8))
    assert torch.cat([ids, validation]).tolist() == [1, 2, 264] * 100


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_command_trains_where_it_is_told_to(tmp_path, device):
    assert command(tmp_path, "--device", device) == 0


def test_a_device_that_is_not_there_is_an_error_in_words(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command(tmp_path, "--device", "cuda") == 1
    assert "has no cuda" in capsys.readouterr().err


def test_model_and_batches_go_to_the_device(tmp_path, monkeypatch):
    """On "meta" nothing is computed, so the first look at a number is the end; until then all is there."""
    seen = []

    def train_step(model, optimizers, x, y, step, config, weights):
        seen.extend({x.device.type, y.device.type, *(p.device.type for p in model.parameters())})
        raise FloatingPointError("enough")

    monkeypatch.setattr("tinyllm.train.pick_device", lambda name: torch.device("meta"))
    monkeypatch.setattr("tinyllm.training.train_step", train_step)
    assert command(tmp_path) == 1 and seen == ["meta"]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "tokenizer.json"])
def test_a_run_writes_over_no_model_and_no_tokenizer(tmp_path, name, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    assert command(tmp_path) == 1
    assert f"has a {name} already: take another folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_a_stretch_that_is_no_list_is_named(tmp_path, capsys):
    assert command(tmp_path, config=changed("model", rope_scaling=5)) == 1
    assert "rope_scaling must be four numbers above 0, not 5" in capsys.readouterr().err
