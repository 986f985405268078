"""A mixture of experts: each token is answered by a few of many MLPs, those that its vector looks up."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.layers import Parts, make_mlp

SCALE = 1e-4  # of the surplus as a gradient: small, since gradients are clipped together


class Experts(nn.Module):
    r"""A lookup among MLPs: keys are rows of the router, values are what the MLPs make of x.

        p = softmax(W_router x)        top = the k experts with the largest p_e + b_e
        Experts(x) = Σ_(e in top) w_e MLP_e(x),   w_e = p_e / Σ_(i in top) p_i
                                                                    (Shazeer et al. 2017)
    Takes (..., C) and returns (..., C). No expert has a limit, so no token is ever dropped,
    and what a token gets does not depend on the others beside it. With k = 1 the weight is
    p_e itself (Fedus et al. 2022): divided by its sum it would be 1, and teach the router
    nothing.

    `balance` is b, which only chooses (Wang et al. 2024): it sinks where an expert has more
    than its share of the tokens. The surplus is its gradient, so the optimizer moves it, and
    processes that learn together average it as they do any other. Of a batch in parts it is
    the sum over the parts, since it is no part of the loss; to AdamW, which moves b, it is the
    same however long it is. For processes an expert that has no token has a gradient, too, of
    zero: while it learns it computes nothing, of nothing.
    """

    def __init__(self, config: Parts) -> None:
        super().__init__()
        self.n_chosen = config.experts_per_token
        self.router = nn.Linear(config.d_model, config.experts, bias=False)
        self.balance = nn.Parameter(torch.zeros(config.experts))
        one = replace(config, experts=None, experts_per_token=1)
        self.experts = nn.ModuleList(make_mlp(one) for _ in range(config.experts))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])  # (N, C)
        weights, chosen = self.route(tokens)
        total = torch.zeros_like(tokens)
        for e, expert in enumerate(self.experts):
            token, place = (chosen == e).nonzero(as_tuple=True)
            if len(token) or torch.is_grad_enabled():
                answers = weights[token, place, None] * expert(tokens[token])
                total = total.index_add(0, token, answers.to(total.dtype))
        return total.view_as(x)

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of the experts of each token (N, C): (N, k) each."""
        with torch.autocast(tokens.device.type, enabled=False):  # near ties need all bits
            router = self.router.weight
            router = router.to(torch.promote_types(router.dtype, torch.float32))
            p = F.linear(tokens.to(router.dtype), router).softmax(-1)  # (N, E)
        chosen = (p + self.balance).detach().topk(self.n_chosen).indices
        weights = p.gather(-1, chosen)
        weights = weights / weights.sum(-1, keepdim=True) if self.n_chosen > 1 else weights
        return WithSurplus.apply(weights, self.balance, chosen), chosen


class WithSurplus(torch.autograd.Function):
    """Weights as they are; backward, the surplus of each expert is the gradient of its b."""

    @staticmethod
    def forward(ctx, weights: Tensor, balance: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(balance, chosen)
        return weights.view_as(weights)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        balance, chosen = ctx.saved_tensors
        return grad, SCALE * (load(chosen, balance) - 1 / len(balance)), None


def load(chosen: Tensor, balance: Tensor) -> Tensor:
    """The part of all choices (N, k) that fell on each expert: (E,), of sum 1."""
    return F.one_hot(chosen, len(balance)).to(balance.dtype).mean((0, 1))


def balance_loss(p: Tensor, chosen: Tensor) -> Tensor:
    r"""What others add to the loss to the same end: 1 where experts share tokens equally, up to E.

        E Σ_e f_e P_e        f_e: the part of all choices that fell on e;  P_e: the mean of p_e

    (Lepikhin et al. 2021; Fedus et al. 2022, who weigh it by 0.01.) p is (N, E), `chosen`
    (N, k). Only P_e has a gradient.
    """
    return p.shape[-1] * (load(chosen, p[0]) * p.mean(0)).sum()


def active_parameters(config: Parts) -> int:
    """Weights that take part in a token's forward pass: all but those of the experts it skips."""
    from tinyllm.model import n_parameters

    skipped = (config.experts or 1) - config.experts_per_token
    return n_parameters(config) - config.n_layer * skipped * config.mlp_weights()


@torch.no_grad()
def expert_loads(model: nn.Module, ids: Tensor) -> Tensor:
    """The part of all tokens (..., T) that each expert answers: (n_layer, E), each of sum k.

    Raises `ValueError` for a model without experts.
    """
    loads = []

    def note(layer: Experts, given: tuple[Tensor], _) -> None:
        _, chosen = layer.route(given[0].reshape(-1, given[0].shape[-1]))
        loads.append(layer.n_chosen * load(chosen, layer.balance))

    layers = [m for m in model.modules() if isinstance(m, Experts)]
    if not layers:
        raise ValueError("there are no experts in this model")
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        model(ids)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(loads)
