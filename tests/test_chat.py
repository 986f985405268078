"""The chat: it goes on with a text, can be interrupted, and says what a folder lacks."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from tinyllm import chat
from tinyllm.chat import beginning_and_end, main
from tinyllm.model import GPT, Config, load, load_tokenizer, save
from tinyllm.tokens import Tokenizer

BYTES = Tokenizer({i: bytes([i]) for i in range(256)}, [])
CONFIG = Config(vocab_size=256, block_size=32, n_layer=1, n_head=1, d_model=8)


def say(monkeypatch, capsys, lines, *arguments):
    """What the program answers to these lines, and its exit status."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    status = main(list(arguments))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_the_books_model_goes_on_with_a_line(monkeypatch, capsys):
    arguments = ["--seed", "1", "--max-new-tokens", "30"]
    status, told, _ = say(monkeypatch, capsys, "In Underhill,\n", *arguments)
    assert status == 0 and told.startswith("In Underhill,") and len(told.split()) > 10
    assert say(monkeypatch, capsys, "In Underhill,\n", *arguments)[1] == told, "a seed repeats a text"
    arguments[1] = "2"
    assert say(monkeypatch, capsys, "In Underhill,\n", *arguments)[1] != told


def test_it_writes_what_generate_writes(monkeypatch, capsys):
    from tinyllm.generation import generate

    _, told, _ = say(monkeypatch, capsys, "A fox\n", "--temperature", "0", "--max-new-tokens", "25")
    tokenizer = load_tokenizer("taleteller")
    ids = generate(load("taleteller"), tokenizer.encode("\n\nA fox"), 25, temperature=0)
    assert told.rstrip("\n") == tokenizer.decode(ids.tolist()).lstrip("\n").split("\n\n")[0]


def test_an_empty_line_goes_on_with_the_same_text(monkeypatch, capsys):
    short = ["--temperature", "0", "--max-new-tokens", "12"]
    _, told, _ = say(monkeypatch, capsys, "A fox\n\n\n", *short)
    _, whole, _ = say(monkeypatch, capsys, "A fox\n", "--temperature", "0", "--max-new-tokens", "36")
    assert re.sub("\n+", "", told) == re.sub("\n+", "", whole)


def test_options_reach_the_sampling(monkeypatch, capsys):
    greedy = say(monkeypatch, capsys, "A fox\n", "--temperature", "0", "--max-new-tokens", "20")[1]
    for option in (["--top-k", "1"], ["--top-p", "1e-6"], ["--min-p", "1"]):
        assert say(monkeypatch, capsys, "A fox\n", *option, "--max-new-tokens", "20")[1] == greedy
    ended = say(monkeypatch, capsys, "A fox\n", "--temperature", "0", "--stop", ".")[1]
    assert "." not in ended and greedy.startswith(ended.rstrip("\n")[:20])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "temperature must be at least 0"),
        (["--top-p", "2"], "top_p must be above 0 and at most 1"),
        (["--stop", ""], "none of them empty"),
    ],
)
def test_a_setting_that_makes_no_sense_is_an_error_in_one_line(arguments, message, monkeypatch, capsys):
    status, _, error = say(monkeypatch, capsys, "A fox\n", *arguments)
    assert status == 1 and message in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_device_that_is_not_there_is_named(monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    status, _, error = say(monkeypatch, capsys, "", "--device", "cuda")
    assert status == 1 and "has no cuda" in error


def test_a_folder_that_holds_no_model_is_told_what_it_lacks(monkeypatch, capsys, tmp_path):
    def error_of(folder):
        status, _, error = say(monkeypatch, capsys, "", "--model", str(folder))
        assert status == 1 and error.count("\n") == 1
        return error

    assert "holds no model: neither model.json" in error_of(tmp_path)
    (tmp_path / "a-file").write_text("")
    assert "is a file; a model is a folder" in error_of(tmp_path / "a-file")
    save(GPT(CONFIG), tmp_path / "ours")
    assert "has no tokenizer.json" in error_of(tmp_path / "ours")
    (tmp_path / "ours" / "tokenizer.json").write_text("{}")
    assert "tokenizer.json" in error_of(tmp_path / "ours")
    BYTES.save(tmp_path / "ours" / "tokenizer.json")
    assert say(monkeypatch, capsys, "x\n", "--model", str(tmp_path / "ours"))[0] == 0
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "gemma"}')
    BYTES.save(tmp_path / "theirs" / "tokenizer.json")
    assert "model_type 'gemma'" in error_of(tmp_path / "theirs")


def test_a_name_is_looked_for_on_the_hub_where_that_is_installed(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import fails now
    status, _, error = say(monkeypatch, capsys, "", "--model", "some/model")
    assert status == 1 and "there is no folder some/model" in error and "is installed" in error
    save(GPT(CONFIG), tmp_path / "downloaded")
    BYTES.save(tmp_path / "downloaded" / "tokenizer.json")

    class Hub:
        @staticmethod
        def snapshot_download(name, allow_patterns):
            assert name == "some/model"
            return str(tmp_path / "downloaded")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert say(monkeypatch, capsys, "x\n", "--model", "some/model")[0] == 0


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny published model, with a tokenizer that begins each text with a token of its own."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    fast.train_from_iterator(["a fox and a hen and a cow went to the pond"] * 4, trainer)
    begin = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    fast.post_processor = processors.Sequence([processors.ByteLevel(), begin])
    fast.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    config = LlamaConfig(vocab_size=fast.get_vocab_size(), eos_token_id=1, bos_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder, fast


def test_a_published_model_gets_the_ids_that_its_tokenizer_gives(llama, monkeypatch, capsys):
    folder, fast = llama
    seen = []
    monkeypatch.setattr(chat, "stream", lambda model, tokenizer, ids, n, stop, **_: seen.append((list(ids), stop)) or "")
    assert say(monkeypatch, capsys, "a fox and a hen\n", "--model", str(folder))[0] == 0
    assert seen == [(fast.encode("a fox and a hen").ids, ["<|end|>"])]
    assert seen[0][0][0] == 0
    monkeypatch.undo()
    assert say(monkeypatch, capsys, "a fox\n", "--model", str(folder), "--max-new-tokens", "5")[0] == 0


def test_where_nothing_is_said_of_a_beginning_there_is_none(tmp_path, llama):
    folder, _ = llama
    saved = json.loads((folder / "tokenizer.json").read_text())
    for step in (None, {"type": "ByteLevel"}):
        (tmp_path / "tokenizer.json").write_text(json.dumps(saved | {"post_processor": step}))
        (tmp_path / "config.json").write_text('{"eos_token_id": [1, 5]}')
        start, stop = beginning_and_end(tmp_path, load_tokenizer(tmp_path))
        assert start == [] and stop[0] == "<|end|>" and len(stop) == 2


def test_an_interrupt_ends_a_text_and_not_the_program(monkeypatch, capsys):
    def interrupted(*_, **__):
        yield "began"
        raise KeyboardInterrupt

    monkeypatch.setattr(chat, "stream", interrupted)
    status, told, _ = say(monkeypatch, capsys, "one \ntwo \n")
    assert status == 0 and told == "one began\n\ntwo began\n\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")
def test_ctrl_c_in_a_terminal(tmp_path):
    """With a real terminal: a text that would take minutes is stopped by Ctrl-C, and the prompt comes back."""
    config = replace(CONFIG, block_size=4096)
    save(GPT(config), tmp_path)
    BYTES.save(tmp_path / "tokenizer.json")
    here, there = pty.openpty()
    command = [sys.executable, "-m", "tinyllm.chat", "--model", str(tmp_path), "--max-new-tokens", "1000000"]
    program = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, start_new_session=True)
    os.close(there)
    seen, deadline = b"", time.monotonic() + 600

    def wait_for(pattern):
        nonlocal seen
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen
            seen += os.read(here, 4096)
        seen = b""

    try:
        for text in (b"first", b"second"):
            wait_for(rb"> $")
            os.write(here, text + b"\n")
            wait_for(rb"(?s)" + text + rb".{300}")
            program.send_signal(signal.SIGINT)
        wait_for(rb"> $")
        os.write(here, b"\x04")
        assert program.wait(300) == 0
    finally:
        program.kill()
        program.wait()
        os.close(here)


def test_a_file_from_windows_is_read_like_any_other(monkeypatch, capsys):
    arguments = ["--temperature", "0", "--max-new-tokens", "5"]
    status, told, _ = say(monkeypatch, capsys, "Once\n\n", *arguments)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeffOnce\r\n\r\n", newline=""))
    assert status == main(arguments) == 0 and capsys.readouterr().out == told


def test_a_published_tokenizer_may_begin_with_the_mark_that_windows_writes(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b'\xef\xbb\xbf{"post_processor": null}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 65}')
    assert beginning_and_end(tmp_path, BYTES) == ([], ["A"])
