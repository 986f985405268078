"""The language model without a library against the library: same ids, same logits, same gradients."""

import ast
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
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
    weights = {name: p.tolist() for name, p in theirs.named_parameters()}
    return standalone.GPT(weights, config.n_layer, config.n_head), theirs


def test_the_logits_are_those_of_the_library(taleteller):
    model, tokenizer = taleteller
    ids = tokenizer.encode("\n\n" + tales(300, seed=5))[:40]
    logits = torch.tensor(standalone.forward(model, ids, standalone.new_cache(model)))
    assert torch.allclose(logits, load("taleteller")(torch.tensor(ids)), rtol=0, atol=2e-5)


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
        assert torch.allclose(torch.tensor(gradient[name], dtype=torch.float64), p.grad, rtol=1e-9, atol=1e-9), name


def test_steps_are_those_of_torchs_adam():
    ours, theirs = small(2)
    optimizer, oracle = standalone.Adam(ours), torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.9, 0.99))
    for step in range(3):
        ids = [random.randrange(11) for _ in range(6)]
        optimizer.step(standalone.loss_and_gradient(ours, ids)[1], 0.01)
        oracle.zero_grad()
        cross_entropy(theirs(torch.tensor(ids[:-1])), torch.tensor(ids[1:])).backward()
        oracle.step()
    for name, p in theirs.named_parameters():
        assert torch.allclose(torch.tensor(ours.weights[name], dtype=torch.float64), p, rtol=0, atol=1e-9), name


def test_a_new_model_begins_with_a_uniform_guess_and_learns():
    random.seed(0)
    model = standalone.new_model(8, block_size=16, n_layer=1, n_head=2, d_model=8)
    ids = [0, 1, 2, 3, 4, 5, 6, 7] * 40
    losses = list(standalone.train(model, ids, 60))
    assert abs(losses[0] - math.log(8)) < 1e-9 and losses[-1] < 0.3


OLD = st.characters(max_codepoint=0x2FFF, exclude_categories=["Cn", "Cs"])  # in every Unicode table of today
TEXTS = st.lists(
    st.one_of(st.text(OLD, max_size=8), st.text("aB'stvedrl 1\t\n\r\x1c\x85\xa0é²½ⅷ—!", max_size=12)), max_size=8
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_has_the_ids_that_the_library_gives_it(parts):
    text = "".join(parts)
    ours = standalone.Tokenizer(FOLDER / "tokenizer.json")
    assert ours.encode(text) == load_tokenizer("taleteller").encode(text)


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
    assert told.returncode == 1 and "taleteller is no model: it has no file model.json" in told.stderr
    assert run("Once", "--tokens", "2", "--model", str(FOLDER), file=tmp_path / FILE.name).returncode == 0
    shutil.copytree(FOLDER, tmp_path / "taleteller")
    assert run("Once", "--tokens", "2", file=tmp_path / FILE.name).returncode == 0


def test_a_model_of_another_form_is_refused(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "other")
    about = tmp_path / "other" / "model.json"
    about.write_text(about.read_text().replace('"config": {', '"config": {\n  "norm": "rms",', 1))
    told = run("--model", str(tmp_path / "other"))
    assert told.returncode == 1 and "of another form: ['norm']" in told.stderr


def test_a_prompt_that_fills_the_context_is_an_error_and_not_a_traceback():
    told = run("word " * 400)
    assert told.returncode == 1 and told.stderr.startswith("error: ") and "Traceback" not in told.stderr


def test_it_learns_from_a_file_of_text(tmp_path):
    (tmp_path / "tales.txt").write_text(tales(20_000, seed=0), encoding="utf-8")
    told = run("--train", "tales.txt", "--steps", "40", "--seed", "0", cwd=tmp_path)
    losses = [float(line.split()[-1]) for line in told.stdout.splitlines() if line.startswith("step")]
    assert told.returncode == 0 and len(losses) == 20 and losses[-1] < losses[0] - 0.5, told.stderr


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
