"""Several documents in one block: each is read as if it stood there alone."""

import json
from dataclasses import replace

import pytest
import torch

from tinyllm import attention, training
from tinyllm.batches import Separate, documents
from tinyllm.model import GPT, Config
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train import main
from tinyllm.train_config import TrainConfig
from tinyllm.training import train

CONFIG = Config(20, 24, n_layer=2, n_head=2, d_model=8)
SEPARATOR = (0, 1)
TEXTS = [[5, 6, 7], [0, 1, 9, 8, 7, 6, 5], [0, 1], [0, 1, 0, 3, 1]]
PACK = torch.tensor(sum(TEXTS, []))


def random_model(**parts) -> GPT:
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, **parts))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


@pytest.mark.parametrize("parts", [
    dict(positions=p) for p in ("learned", "rope", "alibi", "none")
] + [
    dict(mixer="window", window=3), dict(mixer="window", window=3, sinks=1), dict(mixer="softmax_one"),
    dict(mixer="window", window=3, positions="alibi"), dict(positions="rope", qk_norm=True, n_kv_head=1),
    dict(experts=3, experts_per_token=2),
])
def test_a_document_in_a_pack_gets_the_logits_that_it_gets_alone(parts):
    model = random_model(**parts)
    alone = torch.cat([model(torch.tensor(text)) for text in TEXTS])
    torch.testing.assert_close(Separate(model, SEPARATOR)(PACK), alone, rtol=1e-4, atol=1e-5)
    rows = torch.stack([PACK, PACK.roll(4)])
    torch.testing.assert_close(Separate(model, SEPARATOR)(rows)[0], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(PACK), alone, atol=1e-2), "without the mask they are not"


def test_no_weight_goes_from_one_document_to_another():
    _, weights = random_model()(PACK, return_attention=True, **documents(PACK, SEPARATOR))
    number = torch.repeat_interleave(torch.arange(4), torch.tensor([len(text) for text in TEXTS]))
    assert (weights[..., number[:, None] != number] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, len(PACK)))


def test_the_gradient_of_a_pack_is_that_of_its_documents():
    found = []
    for packed in (True, False):
        model, texts = random_model(), [PACK] if packed else [torch.tensor(text) for text in TEXTS]
        for text in texts:
            logits = Separate(model, SEPARATOR)(text)
            (logits.log_softmax(-1)[:, 3].sum()).backward()
        found.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_where_relative_positions_count_it_does_not_matter_that_places_begin_anew():
    model, where = random_model(positions="rope"), documents(PACK, SEPARATOR)
    torch.testing.assert_close(model(PACK, mask=where["mask"]), model(PACK, **where), rtol=1e-4, atol=1e-4)
    model = random_model(positions="learned")
    assert not torch.allclose(model(PACK, mask=where["mask"]), model(PACK, **where), atol=1e-2)


def test_a_block_of_one_document_needs_no_mask_and_gets_the_fastest_routine(monkeypatch):
    seen = []
    monkeypatch.setattr(attention, "fused_attention", lambda q, k, v, mask, causal: seen.append((mask is None, causal)) or v)
    Separate(random_model(), SEPARATOR)(torch.tensor([[0, 1, 5, 6], [7, 8, 9, 0]]))
    Separate(random_model(), SEPARATOR)(PACK)
    assert seen == [(True, True)] * 2 + [(False, False)] * 2
    assert documents(torch.tensor([5]), SEPARATOR) == {} == documents(torch.tensor([5, 0]), SEPARATOR)


def test_training_reads_documents_apart_and_so_does_validation(tmp_path):
    ids = torch.cat([PACK] * 12)
    how = TrainConfig(n_steps=2, batch_size=2, every=1, separate=SEPARATOR)
    for optimizer in ("muon", "adamw"):
        torch.manual_seed(0)
        model = GPT(CONFIG)
        records = list(train(model, ids, replace(how, optimizer=optimizer), ids[:100]))
        validation = training.evaluate(Separate(model, SEPARATOR), ids[:100], 24)[0]
        assert records[-1]["validation"] == pytest.approx(validation, abs=1e-6)
        assert validation != pytest.approx(training.evaluate(model, ids[:100], 24)[0], abs=1e-6)


def test_a_run_that_reads_documents_apart_is_not_resumed_as_another(tmp_path):
    ids, how = torch.cat([PACK] * 12), TrainConfig(n_steps=2, batch_size=2, every=1, separate=SEPARATOR)
    next(train(GPT(CONFIG), ids, how, folder=tmp_path))
    assert [r["step"] for r in train(GPT(CONFIG), ids, how, folder=tmp_path, resume=True)] == [2]
    with pytest.raises(ValueError, match="begun with separate"):
        next(train(GPT(CONFIG), ids, replace(how, separate=None), folder=tmp_path, resume=True))


@pytest.mark.parametrize("parts", [dict(mixer="delta", positions="none"), dict(conv=2), dict(mixer=("softmax", "gated"))])
def test_what_carries_more_than_attention_from_token_to_token_is_refused(parts):
    how = TrainConfig(n_steps=2, batch_size=2, separate=SEPARATOR)
    with pytest.raises(ValueError, match="a mask cannot keep documents apart"):
        next(train(GPT(replace(CONFIG, **parts)), PACK.repeat(9), how))


def test_a_separator_is_one_id_or_more():
    for wrong in ((), (-1,), (1.5,), 3, [1]):
        with pytest.raises(ValueError, match="separate must be one id or more"):
            TrainConfig(n_steps=1, batch_size=1, separate=wrong)


def test_the_command_finds_the_ids_of_a_separator(tmp_path, capsys):
    vocab, merges = train_bpe("the cat sat on the mat. " * 20, 265, ["<|endoftext|>"])
    Tokenizer(vocab, merges, ["<|endoftext|>"]).save(tmp_path / "tokenizer.json")
    (tmp_path / "data.txt").write_text("<|endoftext|>the cat sat.<|endoftext|>on the mat the cat. " * 60)
    about = {"model": {"vocab_size": 300, "block_size": 8, "n_layer": 1, "n_head": 1, "d_model": 8},
             "training": {"n_steps": 1, "batch_size": 2}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    options = [f"--{name}={tmp_path / file}" for name, file in
               (("data", "data.txt"), ("config", "config.json"), ("tokenizer", "tokenizer.json"))]
    assert main([*options, f"--out={tmp_path / 'run'}", "--separator=<|endoftext|>"]) == 0
    told = Tokenizer.from_file(tmp_path / "tokenizer.json").encode("<|endoftext|>", True)
    assert len(told) == 1
    (checkpoint,) = (tmp_path / "run").glob("step-*")
    from tinyllm.checkpoints import read_checkpoint

    assert read_checkpoint(checkpoint)[1]["about"]["separate"] == told
    assert main([*options, f"--out={tmp_path / 'other'}", "--separator=no such thing"]) == 1
    assert "no document begins with 'no such thing'" in capsys.readouterr().err
