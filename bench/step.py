"""What changes inside a small model in the steps in which it learns to look a name up: three seeds, looked at on the way.

`python bench/step.py` trains what `step.jsonl` does not hold yet and adds a line for each look. The texts are those of
`course.data.bindings`, where the probability of each token is known: a name said again is certain for whoever looks up
its role's newest name, and one of 64 for whoever uses no name of the text. Each line says, for names said again:

excess, words: nats per token above the exact surprise, of all tokens and of words, which need no memory of the text;
p: the mean probability of the right name;
in_text: the mean probability of all names that stand in the text so far, the right one among them; plain: how much
    these have if all 64 are equally likely; mean: what the right one has if all names in the text are;
keys, keys_elsewhere: effective keys of each head, at these places and at all others from the 33rd token on;
right, names: of each head the weight on tokens that are the right name, and on names of any kind;
window: the loss in nats at these places with the attention of all layers cut to the last w tokens, without
    training it anew; window_elsewhere: the same at all other places.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from course.data.bindings import KINDS, Language, Texts, tell
from tinyllm.model import GPT, Config
from tinyllm.optimizers import make_optimizers
from tinyllm.train_config import TrainConfig
from tinyllm.training import train_step
from tinyllm.windows import window_mask
from torch import Tensor
from torch.nn import functional as F

LOG = Path(__file__).with_suffix(".jsonl")
T, BATCH, STEPS, EVERY, SEEDS, N_TEST, LATE = 128, 16, 200, 10, 3, 40, 32
SIZES = dict(n_layer=2, n_head=4, d_model=64, positions="alibi", conv=2)
WINDOWS = 8, 16, 32, 64
AGAIN, REBOUND = KINDS.index("again"), KINDS.index("rebound")


@torch.no_grad()
def look(model: GPT, texts: Texts) -> dict:
    """See above."""
    x, y, kinds, names = texts.ids[:, :-1], texts.ids[:, 1:], texts.kinds[:, 1:], Language().name_ids
    again = (kinds == AGAIN) | (kinds == REBOUND)
    logits, weights = model(x, return_attention=True)
    log_p = logits.log_softmax(-1)
    loss = -log_p.gather(-1, y[..., None])[..., 0]
    excess = loss - texts.nats[:, 1:]
    said = F.one_hot(x, logits.shape[-1]).cumsum(1) > 0  # (B, T, V): which ids so far
    said = said[..., names.start : names.stop]
    in_text = (log_p.exp()[..., names.start : names.stop] * said).sum(-1)
    n_said = said.sum(-1).double()
    rows = torch.special.entr(weights).sum(-1).exp().transpose(1, 2)  # (n_layer, n_head, B, T)
    late = torch.arange(x.shape[-1]) >= LATE
    is_name = (x >= names.start) & (x < names.stop)
    on = weights.transpose(1, 2)  # (n_layer, n_head, B, T, T)
    right = (on * (x[:, None, :] == y[:, :, None])).sum(-1)
    any_name = (on * is_name[:, None, :]).sum(-1)
    masks = {w: window_mask(x.shape[-1], w) for w in WINDOWS}  # for all layers
    cut = {w: F.cross_entropy(model(x, mask=mask).mT, y, reduction="none") for w, mask in masks.items()}
    cut[x.shape[-1]] = loss
    return dict(
        excess=number(excess.mean()), words=number(excess[kinds == 0].mean()),
        p=number((-loss).exp()[again].mean()), in_text=number(in_text[again].mean()),
        plain=number(n_said[again].mean() / len(names)), mean=number((1 / n_said[again]).mean()),
        keys=per_head(rows, again & late), keys_elsewhere=per_head(rows, ~again & late),
        right=per_head(right, again), names=per_head(any_name, again),
        window={w: number(z[again].mean()) for w, z in cut.items()},
        window_elsewhere={w: number(z[~again].mean()) for w, z in cut.items()},
    )


def number(z: Tensor) -> float:
    return round(float(z), 4)


def per_head(z: Tensor, where: Tensor) -> list[list[float]]:
    """The mean of z (n_layer, n_head, B, T) over the places in `where` (B, T)."""
    return [[number(head[where].mean()) for head in layer] for layer in z]


def play(seed: int, steps: int = STEPS, every: int = EVERY) -> Iterator[dict]:
    """Train, and look every few steps. Nothing counts more than anything else."""
    learned, test = tell(BATCH * steps, T + 1, seed), tell(N_TEST, T + 1, 1000)
    torch.manual_seed(seed)
    model = GPT(Config(len(Language().vocabulary), T, **SIZES))
    how = TrainConfig(steps, BATCH, lr=0.03, decay=0.4)
    optimizers = make_optimizers(model, how)
    for step in range(steps):
        ids = learned.ids[BATCH * step : BATCH * (step + 1)]
        train_step(model, optimizers, ids[:, :-1], ids[:, 1:], step, how)
        if (step + 1) % every == 0:
            yield dict(seed=seed, step=step + 1, tokens=(step + 1) * BATCH * T) | look(model, test)


def main() -> None:
    for seed in range(SEEDS):
        done = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
        if not any(row["seed"] == seed and row["step"] == STEPS for row in done):
            for row in play(seed):
                with LOG.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
