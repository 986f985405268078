"""Bytes: what training holds, by formula and counted, and what a token of the text so far takes."""

import pytest
import torch

from tinyllm.batches import get_batch
from tinyllm.generation import Cache
from tinyllm.memory import bytes_held, cache_bytes, latent_cache_bytes, training_bytes
from tinyllm.model import GPT, Config, n_parameters
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step

CONFIG = Config(30, 8, n_layer=2, n_head=4, d_model=16, n_kv_head=2)


def test_adamw_takes_sixteen_bytes_a_weight_and_a_share_of_them_where_processes_share():
    n = n_parameters(CONFIG)
    whole = dict(weights=4 * n, gradients=4 * n, optimizer=8 * n)
    assert training_bytes(CONFIG, TrainConfig(1, 1, optimizer="adamw"), 2) == whole
    shared = training_bytes(CONFIG, TrainConfig(1, 1, optimizer="adamw", shard=True), 2)  # all rows can be halved
    assert shared == {name: size / 2 for name, size in whole.items()}


def test_rows_are_dealt_out_whole_and_the_first_process_has_the_most():
    how, config = TrainConfig(1, 1, optimizer="adamw", shard=True), Config(11, 7, n_layer=1, n_head=2, d_model=10, d_ff=7)
    tables, block, norms = 10 * (4 + 3), 10 * (10 + 4) + 10 * 3 + 7 * 4, 3 * 4  # token, position; qkv, out, up, down
    n = tables + block + norms + 10 * 4  # and the head
    assert training_bytes(config, how, 3) == dict(weights=4 * n, gradients=4 * n, optimizer=8 * n)
    assert training_bytes(config, how, 99)["weights"] == 4 * (6 * 10 + 7 + 3), "never less than a row of each"


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_formula_is_what_a_training_step_leaves(optimizer):
    how, model = TrainConfig(2, 2, optimizer=optimizer), GPT(CONFIG)
    optimizers = make_optimizers(model, how)
    train_step(model, optimizers, *get_batch(torch.arange(90) % 7, 2, 8), 0, how)
    assert bytes_held(model, optimizers) == training_bytes(CONFIG, how)


def test_what_does_not_learn_has_neither_gradient_nor_state():
    how, model = TrainConfig(2, 2, optimizer="adamw"), GPT(CONFIG)
    model.token.weight.requires_grad_(False)
    optimizers = make_optimizers(model, how)
    weights = training_bytes(CONFIG, how)["weights"]
    assert bytes_held(model, optimizers) == dict(weights=weights, gradients=0, optimizer=0), "before the first step"
    train_step(model, optimizers, *get_batch(torch.arange(90) % 7, 2, 8), 0, how)
    learned = weights - 4 * 30 * 16
    assert bytes_held(model, optimizers) == dict(weights=weights, gradients=learned, optimizer=2 * learned)


def test_muon_remembers_one_number_for_a_weight_of_the_blocks_and_not_two():
    matrices = sum(p.numel() for p in GPT(CONFIG).blocks.parameters() if p.ndim == 2)
    adamw, muon = (training_bytes(CONFIG, TrainConfig(1, 1, optimizer=o))["optimizer"] for o in ("adamw", "muon"))
    assert adamw - muon == 4 * matrices


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_a_token_takes_in_the_cache_what_is_counted(n_kv_head):
    config = Config(30, 8, n_layer=3, n_head=4, d_model=16, n_kv_head=n_kv_head)
    cache = Cache(GPT(config), 1, 8)
    assert cache.n_bytes == 8 * cache_bytes(3, n_kv_head, 4, itemsize=4)


def test_published_models():
    """Layers, heads with keys and values, channels of a head; bytes of a token in 16 bits."""
    assert cache_bytes(12, 12, 64) == 36_864  # GPT-2 of 124 M, MHA
    assert cache_bytes(32, 32, 128) == 524_288  # Llama 2 7B, MHA
    assert cache_bytes(32, 8, 128) == 131_072  # Llama 3 8B, GQA
    assert cache_bytes(32, 1, 64) == 8_192  # Falcon 7B, MQA
    v2, v3 = latent_cache_bytes(60, 512, 64), latent_cache_bytes(61, 512, 64)  # DeepSeek-V2 and V3
    assert (v2, v3) == (69_120, 70_272)
    # The paper: as much as GQA with 2.25 groups of d_h = 128 channels, and with 128 heads 57 times less than MHA.
    assert v2 == 2.25 * cache_bytes(60, 1, 128)
    assert cache_bytes(60, 128, 128) / v2 == pytest.approx(56.9, abs=0.05)
