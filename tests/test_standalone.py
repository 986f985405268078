"""The language model without a library against the library: same ids, same logits, same gradients."""

import ast
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course.data import tales
from tinyllm import standalone
from tinyllm.generation import generate
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config, find, load, load_tokenizer

FILE = Path(standalone.__file__)
FOLDER = find("taleteller")


@pytest.fixture(scope="module")
def taleteller():
    return standalone.load(FOLDER)


def small(seed: int, **change) -> tuple[standalone.GPT, GPT]:
    """The same random model, twice: in lists, and in torch in double precision."""
    config = Config(**dict(vocab_size=11, block_size=7, n_layer=2, n_head=2, d_model=6) | change)
    random.seed(seed)
    torch.manual_seed(seed)
    theirs = GPT(config).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_()
    weights = {name: torch.atleast_2d(p).tolist() for name, p in theirs.named_parameters()}
    return standalone.GPT(weights, config.n_layer, config.n_head), theirs


def test_the_logits_are_those_of_the_library(taleteller):
    model, tokenizer = taleteller
    ids = tokenizer.encode("\n\n" + tales(300, seed=5))[:40]
    logits = torch.tensor(standalone.forward(model, ids, standalone.new_cache(model)), dtype=torch.float64)
    assert torch.allclose(logits, load("taleteller").double()(torch.tensor(ids)), rtol=0, atol=1e-9)


def test_the_cache_changes_nothing(taleteller):
    model, tokenizer = taleteller
    ids, cache = tokenizer.encode("\n\nOnce there was a badger named Ada."), standalone.new_cache(model)
    parts = [standalone.forward(model, part, cache) for part in (ids[:3], ids[3:4], ids[4:])]
    assert sum(parts, []) == standalone.forward(model, ids, standalone.new_cache(model))


def test_the_greedy_text_is_that_of_the_library(taleteller):
    model, tokenizer = taleteller
    ids = tokenizer.encode("\n\nOnce there was")
    told = generate(load("taleteller"), torch.tensor(ids), 30, temperature=0)
    assert list(standalone.generate(model, ids, 30, temperature=0)) == told[len(ids) :].tolist()


def test_ids_are_drawn_as_often_as_the_model_expects(taleteller):
    model, tokenizer = taleteller
    ids = tokenizer.encode("\n\nOnce there")
    p = standalone.softmax(standalone.forward(model, ids, standalone.new_cache(model))[-1])
    likeliest = p.index(max(p))
    random.seed(0)
    with mock.patch.object(standalone, "forward", lambda *_: [[math.log(x) for x in p]]):
        drawn = [next(standalone.generate(model, ids, 1)) for _ in range(2000)]
    assert abs(drawn.count(likeliest) / 2000 - p[likeliest]) < 0.04


@pytest.mark.parametrize("shape", [{}, dict(n_layer=1, n_head=1), dict(n_head=3, d_model=9, vocab_size=5)])
def test_every_gradient_is_that_of_torch(shape):
    ours, theirs = small(1, **shape)
    ids = [random.randrange(theirs.config.vocab_size) for _ in range(8)]
    loss, gradient = standalone.loss_and_gradient(ours, ids)
    expected = cross_entropy(theirs(torch.tensor(ids[:-1])), torch.tensor(ids[1:]))
    expected.backward()
    assert abs(loss - expected.item()) < 1e-12
    assert gradient.keys() == dict(theirs.named_parameters()).keys()
    for name, p in theirs.named_parameters():
        ours_here = torch.tensor(gradient[name], dtype=torch.float64).view_as(p)
        assert torch.allclose(ours_here, p.grad, rtol=1e-9, atol=1e-9), name


def test_steps_are_those_of_torchs_adam_with_a_tenth_of_the_rate_in_blocks():
    ours, theirs = small(2)
    inside = [p for name, p in theirs.named_parameters() if name.startswith("blocks.")]
    outside = [p for name, p in theirs.named_parameters() if not name.startswith("blocks.")]
    groups = [{"params": inside, "lr": 0.001}, {"params": outside, "lr": 0.01}]
    optimizer, oracle = standalone.Adam(ours), torch.optim.Adam(groups)
    for step in range(3):
        ids = [random.randrange(11) for _ in range(6)]
        optimizer.step(standalone.loss_and_gradient(ours, ids)[1], 0.01)
        oracle.zero_grad()
        cross_entropy(theirs(torch.tensor(ids[:-1])), torch.tensor(ids[1:])).backward()
        oracle.step()
    for name, p in theirs.named_parameters():
        ours_here = torch.tensor(ours.weights[name], dtype=torch.float64).view_as(p)
        assert torch.allclose(ours_here, p, rtol=0, atol=1e-9), name


def test_a_new_model_has_the_names_shapes_and_spreads_of_the_librarys():
    random.seed(0)
    torch.manual_seed(0)
    weights = standalone.new_model(50, 40, 2, 2, 32).weights
    theirs = dict(GPT(Config(50, 40, n_layer=2, n_head=2, d_model=32)).named_parameters())
    assert weights.keys() == theirs.keys()
    for name, p in theirs.items():
        ours = torch.tensor(weights[name]).view_as(p)
        assert abs(ours.mean() - p.mean()) < 0.02 and abs(ours.std() - p.std()) < 0.05 * p.std() + 1e-9, name


def test_a_new_model_begins_with_a_uniform_guess_and_learns():
    random.seed(0)
    model = standalone.new_model(8, 16, n_layer=1, n_head=2, C=8)
    ids = [0, 1, 2, 3, 4, 5, 6, 7] * 40
    losses = list(standalone.train(model, ids, 60))
    assert abs(losses[0] - math.log(8)) < 1e-9 and losses[-1] < 0.3


def test_words_lose_nothing_and_spell_what_is_rare():
    text = "A cat, a cat, a cat, a dog\n\nand a café"
    words = standalone.Words(text, 2)
    assert b"".join(words.vocab[i] for i in words.encode(text)).decode() == text
    assert [words.vocab[i] for i in words.encode(" a cat")] == [b" a", b" cat"]
    assert [words.vocab[i] for i in words.encode(" dog")] == [b" ", b"d", b"o", b"g"]


def test_without_the_dot_product_of_python_3_12_the_results_are_the_same(monkeypatch, taleteller):
    a, b = [[random.gauss(0, 1) for _ in range(50)] for _ in range(2)]
    plain = sum(x * y for x, y in zip(a, b))
    assert abs(standalone.dot(a, b) - plain) < 1e-12


OLD = st.characters(max_codepoint=0x2FFF, exclude_categories=["Cn", "Cs"])  # in every Unicode table of today
TEXTS = st.lists(
    st.one_of(st.text(OLD, max_size=8), st.text("aB'stvedrl 1\t\n\r\x1c\x1f\x85\xa0\u2028\u200bé²½ⅷ一—!\ud800", max_size=12)), max_size=8
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_has_the_ids_that_the_library_gives_it(parts):
    text = "".join(parts)
    ours = standalone.Tokenizer(json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8")))
    assert ours.encode(text) == load_tokenizer("taleteller").encode(text)


def test_the_spaces_are_those_of_the_librarys_pattern():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    assert {c for c in every if standalone.kind(c) == "S"} | {" "} == set(regex.findall(r"\s", every))


def run(*options: str, python: str = sys.executable, cwd=None, file=FILE) -> subprocess.CompletedProcess:
    command = [python, "-I", "-S", str(file), *options]  # isolated, and without site-packages
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")


def test_the_command_goes_on_with_a_text_from_any_folder(tmp_path):
    told = run("Once there was", "--tokens", "5", "--temperature", "0", cwd=tmp_path)
    model, tokenizer = standalone.load(FOLDER)
    ids = tokenizer.encode("\n\nOnce there was")
    more = b"".join(tokenizer.vocab[i] for i in standalone.generate(model, ids, 5, temperature=0)).decode()
    assert (told.returncode, told.stdout) == (0, "Once there was" + more + "\n"), told.stderr


def test_the_model_may_stand_beside_the_file_or_be_named(tmp_path):
    shutil.copy(FILE, tmp_path)
    told = run("Once", "--tokens", "2", file=tmp_path / FILE.name)
    assert told.returncode == 1 and "taleteller holds no model that can be read" in told.stderr
    assert "No such file" in told.stderr and "model.json" in told.stderr
    assert run("Once", "--tokens", "2", "--model", str(FOLDER), file=tmp_path / FILE.name).returncode == 0
    shutil.copytree(FOLDER, tmp_path / "taleteller")
    assert run("Once", "--tokens", "2", file=tmp_path / FILE.name).returncode == 0


def changed(tmp_path, name, change) -> subprocess.CompletedProcess:
    """What is said of a model one of whose files was changed."""
    shutil.copytree(FOLDER, tmp_path / "other")
    path = tmp_path / "other" / name
    path.write_bytes(change(path.read_bytes()))
    told = run("--model", str(tmp_path / "other"))
    assert told.returncode == 1 and told.stdout == "" and "Traceback" not in told.stderr
    assert told.stderr.startswith(f"error: {tmp_path / 'other'} holds no model that can be read: ")
    return told.stderr


BROKEN = {
    "a part of another kind": (
        "model.json", lambda data: data.replace(b'"config": {', b'"config": {"norm": "rms",'), "'norm': 'rms'"),
    "tied weights": ("model.json", lambda data: data.replace(b"false", b"true"), "another one"),
    "no sha256": ("model.json", lambda data: data.replace(b"sha256", b"md5"), "what is 'sha256'?"),
    "half a file": ("model.safetensors", lambda data: data[: len(data) // 2], "model.safetensors is damaged"),
    "one bit": ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is damaged"),
    "no JSON": ("tokenizer.json", lambda data: data[:100], "line 1"),
    "a published tokenizer": ("tokenizer.json", lambda data: b'{"model": {}}', "what is 'vocab'?"),
    "a list": ("model.json", lambda data: b"[]", "list"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_model_that_cannot_be_read_is_refused_in_words(tmp_path, what):
    name, change, says = BROKEN[what]
    assert says in changed(tmp_path, name, change)


def test_a_prompt_that_fills_the_context_is_an_error_and_not_a_traceback():
    told = run("word " * 400)
    assert told.returncode == 1 and "are more than the context of 384" in told.stderr
    assert told.stderr.startswith("error: ") and "Traceback" not in told.stderr


def test_a_prompt_may_be_empty_and_no_token_may_be_asked_for():
    assert run("", "--tokens", "0").stdout == "\n"
    assert len(run("", "--tokens", "3", "--temperature", "0").stdout) > 4


@pytest.mark.parametrize("option", ["--tokens=-1", "--temperature=-0.5", "--temperature=nan", "--steps=-3"])
def test_a_negative_number_is_refused(option):
    told = run("Once", option)
    assert told.returncode == 2 and "cannot be negative" in told.stderr


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    command = [sys.executable, "-S", str(FILE), "Léa 🙂", "--tokens", "0"]
    told = subprocess.run(command, capture_output=True)
    assert (told.returncode, told.stdout.strip()) == (0, b"L?a ?"), told.stderr


def test_bytes_of_a_prompt_that_the_terminals_encoding_does_not_know_are_read_as_utf_8(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    command = [sys.executable, "-S", str(FILE), "Léa", "--tokens", "0"]
    told = subprocess.run(command, capture_output=True)
    assert (told.returncode, told.stdout.strip().decode()) == (0, "Léa"), told.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are others on Windows")
def test_ctrl_c_and_a_closed_pipe_end_it_without_a_traceback():
    for end in (lambda p: p.send_signal(signal.SIGINT), lambda p: p.stdout.close()):
        command = [sys.executable, "-u", "-S", str(FILE), "Once", "--tokens", "300"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(4)  # it has begun to write
        end(process)
        process.wait(300)
        assert process.stderr.read() == b""


def test_it_learns_from_a_file_of_text(tmp_path):
    (tmp_path / "tales.txt").write_text(tales(3_000, seed=0), encoding="utf-8")
    told = run("--train", "tales.txt", "--steps", "200", "--seed", "0", cwd=tmp_path)
    lines = [line for line in told.stdout.splitlines() if line.startswith("step ")]
    losses = [float(line.split(",")[1].split()[0]) for line in lines]
    assert told.returncode == 0 and len(losses) == 2 and losses[-1] < losses[0] - 0.3, told


@pytest.mark.parametrize("data, says", [
    (b"", "is too short: 0 tokens, 65 are needed"),
    (b"Once there was a cat.", "is too short: 6 tokens, 65"),
    (b"caf\xe9 " * 100, "can't decode byte 0xe9"),
    (None, "No such file"),
])
def test_a_text_that_cannot_be_learned_from_is_refused_in_words(tmp_path, data, says):
    if data is not None:
        (tmp_path / "tales.txt").write_bytes(data)
    told = run("--train", "tales.txt", cwd=tmp_path)
    assert told.returncode == 1 and told.stderr.startswith("error: ") and says in told.stderr
    assert "Traceback" not in told.stderr


def test_no_module_beyond_the_standard_library_is_named():
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    modules = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names


def test_python_3_6_is_enough():
    vermin = pytest.importorskip("vermin")
    visitor = vermin.visit(FILE.read_text(encoding="utf-8"))
    assert visitor.minimum_versions()[1] <= (3, 6)


def interpreters() -> list[str]:
    """Every Python from 3.6 on that this machine has: on the path, or among those of pyenv."""
    named = (shutil.which(f"python3.{minor}") for minor in range(6, 20))
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for path in [sys.executable, *filter(None, named), *root.glob("versions/3.*/bin/python3")]:
        asked = [path, "-c", "import sys; print(sys.version_info[:2], sys.version_info >= (3, 6))"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        if answer.returncode == 0 and "True" in answer.stdout:
            found[answer.stdout] = str(path)
    return list(found.values())


@pytest.mark.parametrize("python", interpreters())
def test_every_interpreter_of_this_machine_runs_it(python):
    told = run("Once there was", "--tokens", "3", "--temperature", "0", python=python)
    assert told.returncode == 0 and told.stdout.startswith("Once there was"), told.stderr


def test_it_has_at_most_400_lines():
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 400
