"""Files of ids: what is written is read, mapped and not loaded, and trains what the text would have."""

import io
import json
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from tiny import weights

from tinyllm import ids as ids_module
from tinyllm.batches import get_batch
from tinyllm.ids import main, read_ids, to_ids, write_ids
from tinyllm.model import GPT, Config, load
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train import main as train_main
from tinyllm.train_config import TrainConfig
from tinyllm.training import train

TEXT = "the cat sat on the mat and the dog sat on the cat. " * 40
CONFIG = {
    "model": {"vocab_size": 270, "block_size": 8, "n_layer": 1, "n_head": 1, "d_model": 8},
    "training": {"n_steps": 6, "batch_size": 2, "every": 3},
}


@pytest.mark.parametrize("suffix", [".bin", ".npy"])
@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, torch.uint16), (65_537, torch.uint32)])
def test_ids_come_back_in_as_few_bytes_as_the_vocabulary_needs(tmp_path, suffix, vocab_size, dtype):
    path = tmp_path / f"x{suffix}"
    given = [0, vocab_size - 1, 7] * 100
    assert write_ids(path, iter(given), vocab_size) == 300
    found = read_ids(path, vocab_size)
    assert found.dtype == to_ids(given, vocab_size).dtype == dtype
    assert found.long().tolist() == to_ids(given, vocab_size).long().tolist() == given
    if suffix == ".npy":
        assert np.load(path).tolist() == given
    else:
        assert np.fromfile(path, ids_module.dtype_of(vocab_size)).tolist() == given
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_of_many_parts_is_one(tmp_path):
    n = (1 << 20) + 5
    write_ids(tmp_path / "x.npy", (i % 1000 for i in range(n)), 1000)
    found = read_ids(tmp_path / "x.npy", 1000)
    assert len(found) == n and found[-1].item() == (n - 1) % 1000


def test_a_mapped_text_takes_no_memory_until_it_is_looked_at(tmp_path):
    path = tmp_path / "x.bin"
    with open(path, "wb") as file:
        file.truncate(1 << 31)  # 2 GB of zeros that no disk holds
    before = open("/proc/self/statm").read().split()[1] if sys.platform == "linux" else "0"
    tracemalloc.start()
    found = read_ids(path, 1000)
    x, _ = get_batch(found, 8, 64, torch.Generator().manual_seed(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 1 << 30 and x.sum() == 0 and peak < 1 << 20
    if sys.platform == "linux":
        resident = int(open("/proc/self/statm").read().split()[1]) - int(before)
        assert resident * 4096 < 100e6


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.bin", b"", "x.bin has 0 bytes"),
        ("x.bin", b"abc", "x.bin has 3 bytes: no whole number of ids of 2 bytes"),
        ("x.txt", b"abcd", "a file of ids is called .bin or .npy, not x.txt"),
        ("x.npy", b"abcd", "x.npy|magic string|pickled"),
    ],
)
def test_a_file_that_holds_no_ids_is_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_ids(tmp_path / name, 1000)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint16), np.zeros(4, np.float32), np.zeros(4, np.int64)])
def test_an_array_of_something_else_is_refused(tmp_path, wrong):
    np.save(tmp_path / "x.npy", wrong)
    with pytest.raises(ValueError, match="one row of uint16 or uint32"):
        read_ids(tmp_path / "x.npy", 1000)


@pytest.mark.parametrize("suffix", [".bin", ".npy"])
@pytest.mark.parametrize(("wrong", "vocab_size"), [(1000, 1000), (70_000, 1000), (1 << 16, 1 << 16), (-1, 1000), (1 << 32, 70_000)])
def test_an_id_that_the_vocabulary_does_not_have_is_not_written(tmp_path, suffix, wrong, vocab_size):
    with pytest.raises(ValueError, match=f"is not in the vocabulary, 0 to {vocab_size - 1}"):
        write_ids(tmp_path / f"x{suffix}", [1, 2, wrong], vocab_size)
    assert not (tmp_path / f"x{suffix}").exists()
    with pytest.raises(ValueError, match="is not in the vocabulary"):
        to_ids([wrong], vocab_size)


def train_on(folder, data, out, *more, config=CONFIG):
    (folder / "config.json").write_text(json.dumps(config))
    files = "--data", str(data), "--config", str(folder / "config.json"), "--out", str(folder / out)
    return train_main([*files, *more])


@pytest.mark.parametrize("suffix", [".bin", ".npy"])
def test_a_file_of_ids_trains_the_model_that_the_ids_in_memory_would(tmp_path, suffix, capsys):
    tokenizer = Tokenizer(*train_bpe(TEXT, 270))
    tokenizer.save(tmp_path / "own.json")
    (tmp_path / "text.txt").write_text(TEXT)
    own, data = str(tmp_path / "own.json"), str(tmp_path / f"ids{suffix}")
    assert main(["--data", str(tmp_path / "text.txt"), "--tokenizer", own, "--out", data]) == 0
    assert "ids of 2 bytes in" in capsys.readouterr().out
    assert train_on(tmp_path, data, "out", "--tokenizer", own) == 0
    assert train_on(tmp_path, data, "out", "--tokenizer", own, "--resume") == 0
    ids = torch.tensor(tokenizer.encode(TEXT))
    cut = len(ids) * 9 // 10
    torch.manual_seed(0)
    model = GPT(Config(**CONFIG["model"]))
    list(train(model, ids[:cut], TrainConfig(**CONFIG["training"]), ids[cut:]))
    assert torch.equal(weights(model), weights(load(tmp_path / "out")))
    assert Tokenizer.load(tmp_path / "out" / "tokenizer.json").merges == tokenizer.merges


def test_a_text_can_be_trained_on_with_a_tokenizer_that_is_there(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    Tokenizer(*train_bpe(TEXT, 265)).save(tmp_path / "own.json")
    assert train_on(tmp_path, tmp_path / "text.txt", "out", "--tokenizer", str(tmp_path / "own.json")) == 0
    assert load(tmp_path / "out").config.vocab_size == 265


def test_the_command_trains_a_tokenizer_where_it_is_told_to(tmp_path, monkeypatch, capsys):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    options = ["--tokenizer", str(tmp_path / "new.json"), "--out", str(tmp_path / "x.bin")]
    assert main(["--data", str(tmp_path / "text.txt"), *options, "--vocab-size", "265"]) == 0
    tokenizer = Tokenizer(*train_bpe(TEXT, 265))
    assert Tokenizer.load(tmp_path / "new.json").merges == tokenizer.merges
    written = (tmp_path / "x.bin").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), "latin-1"))
    assert main(["--data", "-", *options]) == 0 and (tmp_path / "x.bin").read_bytes() == written
    assert main(["--data", "-", *options, "--vocab-size", "265"]) == 1
    assert "cannot come from standard input" in capsys.readouterr().err


def test_what_a_file_of_ids_does_not_say_is_asked_for(tmp_path, capsys):
    write_ids(tmp_path / "x.bin", [1, 2, 300] * 200, 512)
    Tokenizer(*train_bpe(TEXT, 274)).save(tmp_path / "larger.json")
    assert train_on(tmp_path, tmp_path / "x.bin", "a", "--floor", "0.5") == 1
    assert train_on(tmp_path, tmp_path / "x.bin", "b", "--tokenizer", str(tmp_path / "larger.json")) == 1
    assert train_on(tmp_path, tmp_path / "x.bin", "c") == 1
    errors = capsys.readouterr().err
    assert "--floor is in nats per character" in errors
    assert "the tokenizer has 274 tokens, and vocab_size is 270" in errors
    assert "id 300 is not in the vocabulary, 0 to 269" in errors and "Traceback" not in errors


def test_the_command_writes_over_neither_the_text_nor_a_tokenizer(tmp_path, capsys):
    text, own = tmp_path / "corpus.bin", tmp_path / "own.json"
    text.write_text(TEXT)
    Tokenizer(*train_bpe(TEXT, 265)).save(own)
    before = own.read_bytes()
    assert main(["--data", str(text), "--tokenizer", str(own), "--out", str(text)]) == 1
    for tokenizer in (own, text):
        options = ["--tokenizer", str(tokenizer), "--vocab-size", "265", "--out", str(tmp_path / "x.bin")]
        assert main(["--data", str(text), *options]) == 1
    errors = capsys.readouterr().err
    assert "corpus.bin is the text itself" in errors and "own.json is there already" in errors
    assert text.read_text() == TEXT and own.read_bytes() == before


@pytest.mark.parametrize("data", [TEXT.encode("utf-16"), b"caf\xe9 " * 40, b"caf\xc3", b""])
def test_the_command_refuses_what_training_refuses_too(tmp_path, data, capsys):
    (tmp_path / "text.txt").write_bytes(data)
    Tokenizer(*train_bpe(TEXT, 265)).save(tmp_path / "own.json")
    files = ["--data", str(tmp_path / "text.txt"), "--tokenizer", str(tmp_path / "own.json")]
    assert main([*files, "--out", str(tmp_path / "x.bin")]) == 1
    error = capsys.readouterr().err
    assert ("text.txt is not text in UTF-8" if data else "there are no ids to write") in error
    assert not (tmp_path / "x.bin").exists()


def test_a_text_may_have_any_character_where_a_chunk_of_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(ids_module.read_chunks, "__defaults__", (1,))
    (tmp_path / "text.txt").write_bytes("\ufeffcafé 😀\r\n".encode())
    tokenizer = Tokenizer(*train_bpe(TEXT, 265))
    tokenizer.save(tmp_path / "own.json")
    files = ["--data", str(tmp_path / "text.txt"), "--tokenizer", str(tmp_path / "own.json")]
    assert main([*files, "--out", str(tmp_path / "x.bin")]) == 0
    assert tokenizer.decode(read_ids(tmp_path / "x.bin", 265)) == "\ufeffcafé 😀\r\n"


@pytest.mark.parametrize("data", [b"", b"junk" * 30, b"PK\x03\x04" + bytes(30)])
def test_a_file_npy_that_is_none_is_named(tmp_path, data):
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(ValueError, match="x.npy is no file of numbers by numpy"):
        read_ids(tmp_path / "x.npy", 300)
