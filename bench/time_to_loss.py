"""Time to loss on Tiny Shakespeare: a plain GPT and its trainer against the classic small recipe for a CPU.

Prints a Markdown document. Everything in it was measured in the same run, in CPU seconds of one thread. All
settings were chosen without the text that is scored: on the last tenth of the text for training, with
training on what comes before it.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: one thread for everybody

import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from statistics import mean
from time import process_time

import torch
from course.data import shakespeare
from machine import machine
from tinyllm.counting import NGram
from tinyllm.devices import has_bf16
from tinyllm.model import GPT, Config
from tinyllm.tokens import Tokenizer, train_bpe
from tinyllm.train_config import TrainConfig
from tinyllm.training import train
from torch import Tensor, nn
from torch.nn import functional as F

SEEDS = (0, 1, 2)
BLOCK = 64  # in which everybody is scored
TEXT = shakespeare()
LETTERS = sorted(set(TEXT))
V = len(LETTERS)
CUT = len(TEXT) * 9 // 10
IDS = torch.tensor([LETTERS.index(letter) for letter in TEXT])
TRAINING, VALIDATION = IDS[:CUT], IDS[CUT:]

# Chosen on the tenth before the last, with training on what comes before it.
EVERY = 10**6  # no records
SOON = Config(V, BLOCK, 2, 2, 48), TrainConfig(n_steps=430, batch_size=24, every=EVERY)
GRAMS = Config(V, BLOCK, 1, 2, 64), TrainConfig(n_steps=75, batch_size=32, every=EVERY)
OFTEN = TrainConfig(n_steps=1, batch_size=32, lr=0.02, weight_decay=0.06, every=EVERY)  # sees each text often
LONG = {
    mode: (Config(V, BLOCK, 3, 4, 128), replace(OFTEN, n_steps=n_steps))
    for mode, n_steps in (("float32", 860), ("bf16", 1440))
}
WORDS = Config(1024, 128, 4, 4, 128), replace(OFTEN, n_steps=840, lr=0.025, weight_decay=0.2)
DROPOUT = 0.1
BASE = "the classic recipe, float32"


# ---------------------------------------------------------------------------------------- the baseline


class Block(nn.Module):
    def __init__(self, C: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(C, bias=False) for _ in range(2))
        self.qkv, self.out = (nn.Linear(C, size, bias=False) for size in (3 * C, C))
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C, bias=False), nn.GELU(), nn.Linear(4 * C, C, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm_1(x)).unflatten(-1, (3, 4, -1))  # (B, T, 3, n_head, d_head)
        heads = F.scaled_dot_product_attention(*qkv.transpose(1, 3).unbind(2), is_causal=True)
        x = x + self.out(heads.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


class Baseline(nn.Module):
    """GPT-2 at 4 layers, 4 heads and 128 channels, without biases: nanoGPT's, in plain torch."""

    def __init__(self, C: int = 128, n_layer: int = 4) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(V, C), nn.Embedding(BLOCK, C)
        self.blocks = nn.Sequential(*(Block(C) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(C, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                writes = name.endswith(("out.weight", "mlp.2.weight"))
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * n_layer) if writes else 1))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.blocks(self.token(ids) + self.position.weight[: ids.shape[-1]])
        return F.linear(self.norm(x), self.token.weight)


def baseline(seed: int, ids: Tensor = TRAINING, n_steps: int = 2000) -> tuple[float, nn.Module]:
    """Train with AdamW, 100 steps up to 1e-3 and a cosine down to 1e-4; CPU seconds, and the model."""
    torch.manual_seed(seed)
    model = Baseline()
    matrices, gains = ([p for p in model.parameters() if p.ndim == n] for n in (2, 1))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    # `fused` is the fastest of torch's: the classic recipe did without.
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    start = process_time()
    for step in range(n_steps):
        down = 1e-4 + 9e-4 * (1 + math.cos(math.pi * (step - 100) / (n_steps - 100))) / 2
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 101 if step < 100 else down
        places = torch.randint(len(ids) - BLOCK, (12, 1)) + torch.arange(BLOCK)
        loss = F.cross_entropy(model(ids[places]).flatten(0, 1), ids[places + 1].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return process_time() - start, model


# ---------------------------------------------------------------------------------------- ours


class Grams(nn.Embedding):
    """A vector for each id, one for each pair of neighbors, and one for some of the triples, added up.

    Triples share 2^14 vectors: which one a triple gets is decided by a hash.
    """

    BITS = 14

    def __init__(self, V: int, C: int) -> None:
        super().__init__(V + (V + 1) * V + 2**self.BITS, C)
        nn.init.normal_(self.weight, std=0.02)
        self.V = V

    def forward(self, ids: Tensor) -> Tensor:
        V, n_pairs = self.V, (self.V + 1) * self.V
        first, second = (F.pad(ids[..., :-n], (n, 0), value=V)[..., : ids.shape[-1]] for n in (2, 1))
        pair = second * V + ids  # V: nothing stands before
        triple = (pair + n_pairs * first) * 2654435761 >> 7 & 2**self.BITS - 1  # Knuth's multiplier
        rows = torch.stack([ids, V + pair, V + n_pairs + triple], -1)
        return F.embedding_bag(rows.flatten(0, -2), self.weight, mode="sum").unflatten(0, ids.shape)


def ours(
    seed: int, config: Config, recipe: TrainConfig, bf16: bool, grams: bool = False, ids: Tensor = TRAINING
) -> tuple[float, nn.Module]:
    """Train a GPT of the book's with its trainer; CPU seconds, and the model."""
    start = process_time()
    torch.manual_seed(seed)
    model = GPT(config)
    if grams:
        model.token = Grams(config.vocab_size, config.d_model)
    list(train(model, ids, replace(recipe, seed=seed, bf16=bf16)))
    return process_time() - start, model


def drop(layer: nn.Module, given: tuple, result):
    """Dropout on what a layer writes to the residual stream, as a forward hook."""
    if isinstance(result, tuple):  # attention also says what it attended to
        return F.dropout(result[0], DROPOUT, layer.training), *result[1:]
    return F.dropout(result, DROPOUT, layer.training)


def tokenized(
    seed: int, config: Config, recipe: TrainConfig, bf16: bool, text: str = TEXT[:CUT]
) -> tuple[float, nn.Module, Tokenizer]:
    """The same with tokens of our own and dropout; CPU seconds from the text to the trained model."""
    start = process_time()
    tokenizer = Tokenizer(*train_bpe(text, config.vocab_size))
    ids = torch.tensor(tokenizer.encode(text))
    torch.manual_seed(seed)
    model = GPT(config)
    for block in model.blocks:
        block.attention.register_forward_hook(drop)
        block.mlp.register_forward_hook(drop)
    list(train(model, ids, replace(recipe, seed=seed, bf16=bf16)))
    return process_time() - start, model.eval(), tokenizer


# ---------------------------------------------------------------------------------------- scores


@torch.inference_mode()
def surprise(model: nn.Module, ids: Tensor, block: int) -> float:
    """Nats in all for each of ids (N,) but the first, in blocks that know nothing of each other."""
    short = -(len(ids) - 1) % block  # the last block is filled up, and what fills it is not scored
    x, y = F.pad(ids[:-1], (0, short)).view(-1, block), F.pad(ids[1:], (0, short), value=-100).view(-1, block)
    return sum(
        F.cross_entropy(model(some).flatten(0, 1), targets.flatten(), reduction="sum").item()
        for some, targets in zip(x.split(64), y.split(64))
    )


def in_blocks_and_own(model: nn.Module, context: int) -> tuple[float, float]:
    """Nats per character of the validation text, in blocks of 64 characters and in blocks of its own context."""
    n = len(VALIDATION) - 1
    return surprise(model, VALIDATION, BLOCK) / n, surprise(model, VALIDATION, context) / n


# ---------------------------------------------------------------------------------------- contestants

Result = tuple[float, float | None, float]  # CPU seconds, nats per character in blocks of 64 and of its own


def run_baseline(seed: int) -> Result:
    seconds, model = baseline(seed)
    return seconds, *in_blocks_and_own(model, BLOCK)


def run_ours(seed: int, config: Config, recipe: TrainConfig, bf16: bool, grams: bool = False) -> Result:
    seconds, model = ours(seed, config, recipe, bf16, grams)
    return seconds, *in_blocks_and_own(model, config.block_size)


def run_tokenized(seed: int, config: Config, recipe: TrainConfig, bf16: bool) -> Result:
    seconds, model, tokenizer = tokenized(seed, config, recipe, bf16)
    ids = tokenizer.encode(TEXT[CUT:])
    n = len(TEXT) - CUT - len(tokenizer.decode(ids[:1]))  # the first token is not scored
    return seconds, None, surprise(model, torch.tensor(ids), config.block_size) / n


def run_counting(seed: int, order: int, discount: float) -> Result:
    start = process_time()
    model = NGram(TRAINING.numpy(), order, V, discount, kneser_ney=True)
    seconds = process_time() - start
    ids = VALIDATION.numpy()
    blocks = (ids[at : at + BLOCK + 1] for at in range(0, len(ids) - 1, BLOCK))
    in_blocks = sum(model.log_prob(block)[1:].sum() for block in blocks)
    return seconds, -in_blocks / (len(ids) - 1), -model.log_prob(ids)[1:].mean()


def contestants() -> dict[str, Callable[[int], Result]]:
    modes = {"float32": False} | ({"bf16": True} if has_bf16(torch.device("cpu")) else {})
    rows = {BASE: run_baseline}
    for mode, bf16 in modes.items():
        rows[f"a GPT of ours, {mode}"] = partial(run_ours, config=SOON[0], recipe=SOON[1], bf16=bf16)
        rows[f"pairs and triples have vectors, {mode}"] = partial(
            run_ours, config=GRAMS[0], recipe=GRAMS[1], bf16=bf16, grams=True
        )
    for mode, bf16 in modes.items():
        config, recipe = LONG[mode]
        rows[f"a GPT of ours, as long, {mode}"] = partial(run_ours, config=config, recipe=recipe, bf16=bf16)
    mode = list(modes)[-1]
    rows[f"with tokens of our own, {mode}"] = partial(
        run_tokenized, config=WORDS[0], recipe=WORDS[1], bf16=modes[mode]
    )
    for order, discount in ((3, 0.75), (5, 0.9), (6, 0.9)):
        rows[f"counting, order {order}, Kneser-Ney"] = partial(run_counting, order=order, discount=discount)
    return rows


def table(results: dict[str, list[Result]]) -> str:
    """Markdown: seconds and losses of each contestant over the seeds, and its time beside the baseline's."""
    seconds_of_base = mean(seconds for seconds, *_ in results[BASE])
    seeds = " | ".join(f"seed {seed}" for seed in SEEDS)
    lines = [
        f"| who | CPU s | of the baseline's | {seeds} | mean | in its own blocks |",
        f"|---|---:|---:|{'---:|' * len(SEEDS)}---:|---:|",
    ]
    for name, found in results.items():
        seconds, in_blocks, own = zip(*found)
        scored = own if None in in_blocks else in_blocks
        each = [f"{loss:.3f}" for loss in scored] + [""] * (len(SEEDS) - len(scored))
        ratio = mean(seconds) / seconds_of_base
        share = f"1/{1 / ratio:.1f}" if ratio < 0.8 else f"{ratio:.2f}"
        lines.append(
            f"| {name} | {mean(seconds):.1f} | {share} | {' | '.join(each)} | "
            f"**{mean(scored):.3f}** | {mean(own):.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    contests = contestants()
    results = {name: [] for name in contests}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:  # each starts afresh
        for seed in SEEDS:
            for name, play in contests.items():  # in turns, as a machine has good and bad hours
                # There is no chance in counting, and one run of five minutes is enough for a moonshot.
                if seed and name.startswith(("counting", "with tokens")):
                    continue
                results[name].append(pool.submit(play, seed).result())
                print(name, results[name][-1], file=sys.stderr, flush=True)
    print(f"# Time to loss\n\n{machine()}, torch {torch.__version__}.")
    print(f"Tiny Shakespeare, {V} characters; the last tenth is scored and was not used to choose anything.")
    print("Nats per character; CPU seconds of one thread for training, scoring not counted.")
    print(f"All are scored in blocks of {BLOCK} that know nothing of each other, as the classic recipe is;")
    print("the last column is in blocks of the contestant's own context, for counting in one run.")
    print("Tokens of our own are scored in their own blocks alone: a block of 64 characters cuts tokens.\n")
    print(table(results))


if __name__ == "__main__":
    main()
