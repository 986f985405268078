"""A model and a text so small that a test of training takes no time."""

import torch
from torch import Tensor

from tinyllm.model import GPT, Config
from tinyllm.train_config import TrainConfig

TINY = Config(vocab_size=11, block_size=8, n_layer=1, n_head=2, d_model=8)
RUN_CONFIG = TrainConfig(n_steps=12, batch_size=4, every=4)
IDS = (torch.arange(300) ** 2) % 11


def new_model(config: Config = TINY, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])
