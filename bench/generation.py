"""Time generation: ours with a cache and without, and Hugging Face `generate` with the same weights.

"Prepared" is the same model with its matrices laid out for one token at a time, as the chat does it. Our decoder
computes the GELU of single tokens without oneDNN, `transformers` as torch does it by default.
Prints a Markdown document. All write the same tokens, greedily; that is asserted. Everything was
measured in the same run: contestants take turns, and the best of several rounds counts, in seconds of one CPU.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: one thread for everybody
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from time import process_time

import torch
from machine import machine
from tinyllm.generation import generate, prepare
from tinyllm.model import GPT, Config, n_parameters
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

PROMPT, NEW = 32, 100  # tokens
ROUNDS = 5
SIZES = [Config(1024, 256, n_layer, n_head, C) for n_layer, n_head, C in ((4, 4, 128), (6, 6, 384))]
BATCH_SIZES = (1, 16)


def random_model(config: Config) -> GPT:
    """A model that has learned nothing, with an opinion nevertheless: a new head would be zero."""
    torch.manual_seed(0)
    model = GPT(config)
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.normal_(p, std=0.05)
    return model


@torch.no_grad()
def theirs(model: GPT, implementation: str) -> GPT2LMHeadModel:
    """GPT-2's architecture in `transformers`, with the weights of `model` and biases of zero."""
    c = model.config
    settings = GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.block_size,
        n_embd=c.d_model,
        n_layer=c.n_layer,
        n_head=c.n_head,
        activation_function="gelu",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=False,
        attn_implementation=implementation,
    )
    copy = GPT2LMHeadModel(settings).eval()
    for name, p in copy.named_parameters():
        if name.endswith("bias"):
            p.zero_()
    body = copy.transformer
    pairs = [
        (body.wte, model.token),
        (body.wpe, model.position),
        (body.ln_f, model.norm),
        (copy.lm_head, model.head),
    ]
    for there, here in zip(body.h, model.blocks):
        pairs += [(there.ln_1, here.norm_1), (there.ln_2, here.norm_2)]
        # The library keeps these matrices the other way round.
        there.attn.c_attn.weight.copy_(here.attention.qkv.weight.T)
        there.attn.c_proj.weight.copy_(here.attention.out.weight.T)
        there.mlp.c_fc.weight.copy_(here.mlp.up.weight.T)
        there.mlp.c_proj.weight.copy_(here.mlp.down.weight.T)
    for there, here in pairs:
        there.weight.copy_(here.weight)
    return copy


def write_ours(model: GPT, ids: Tensor, cache: bool) -> Tensor:
    return generate(model, ids, NEW, temperature=0, cache=cache)


@torch.inference_mode()
def write_theirs(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)


def best_times(contestants: list[Callable[[], Tensor]]) -> list[float]:
    """CPU seconds of each contestant, the best of several rounds in which they take turns."""
    times, texts = [[] for _ in contestants], []
    for _ in range(ROUNDS):
        for run, mine in zip(contestants, times):
            start = process_time()
            texts.append(run())
            mine.append(process_time() - start)
    assert all(torch.equal(text, texts[0]) for text in texts), "they do not write the same tokens"
    return [min(mine) for mine in times]


def rows(config: Config, batch_size: int) -> list[str]:
    model = random_model(config)
    ids = torch.randint(config.vocab_size, (batch_size, PROMPT))
    library = {kind: theirs(model, kind) for kind in ("eager", "sdpa")}
    prepared = prepare(deepcopy(model))
    best, cached, uncached, *others = best_times(
        [partial(write_ours, *which) for which in ((prepared, ids, True), (model, ids, True), (model, ids, False))]
        + [partial(write_theirs, copy, ids) for copy in library.values()]
    )
    labels = {
        "ours, without a cache": uncached,
        f"transformers {version('transformers')}, {min(zip(others, library))[1]}": min(others),
        "ours, with a cache": cached,
        "ours, with a cache and prepared": best,
    }
    size = f"| {n_parameters(config) / 1e6:.1f} M | {batch_size} |"
    return [
        f"{size} {label} | {batch_size * NEW / seconds:,.0f} | {seconds / best:.2f} |"
        for label, seconds in labels.items()
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("# Generation")
    print()
    print(f"{machine()}, torch {torch.__version__}.")
    print(f"{NEW} tokens after a prompt of {PROMPT}, greedy, one thread, the best of {ROUNDS} rounds in turn.")
    print()
    print("| parameters | prompts | | tokens per CPU second | times as long as ours, prepared |")
    print("|--:|--:|---|--:|--:|")
    for config in SIZES:
        for batch_size in BATCH_SIZES:
            print(*rows(config, batch_size), sep="\n")
