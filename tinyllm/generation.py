"""Generating: one token after the other, each drawn from what the model expects."""

import codecs
import functools
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from numbers import Integral
from threading import Lock

import torch
from torch import Tensor, nn
from torch.backends import mkldnn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from tinyllm.layers import SOFTMAX, head_size, is_plain
from tinyllm.model import GPT, Config, check_ids
from tinyllm.tokens import Tokenizer


def next_token(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, min_p: float | None = None,
) -> Tensor:
    """Probabilities of the next token, (..., V), from logits (..., V).

        p = softmax(logits / temperature)         temperature 0: all on the likeliest

    The others say what of p is kept; see `truncate`.

    >>> next_token(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.6)
    tensor([0.6250, 0.3750, 0.0000])
    """
    check_sampling(temperature, top_k, top_p, min_p)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = logits.amax(-1, keepdim=True)
    check_logits(largest.flatten().tolist())
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    # Without the largest logit a division by a small temperature cannot overflow.
    p = ((logits - largest) / temperature).softmax(-1)
    whole = top_k is None and top_p is None and min_p is None
    return p if whole else truncate(p, top_k, top_p, min_p)


def check_logits(largest: list[float]) -> None:
    """Raise `ValueError` where the largest logit is not a number, or infinite."""
    if not all(map(math.isfinite, largest)):
        raise ValueError(f"no token can be drawn: the largest logit is {min(largest)}")


def truncate(
    p: Tensor, top_k: int | None, top_p: float | None, min_p: float | None
) -> Tensor:
    """Give some tokens probability 0, and the others what is then missing: (..., V).

    top_k keeps the k likeliest tokens; top_p as few of the likeliest as have at least
    this probability together; min_p those that have at least this part of the
    probability of the likeliest. What two of them keep is what both keep.
    """
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if top_k is not None:
        keep[..., top_k:] = False
    if top_p is not None and top_p < 1:
        before = F.pad(ranked.cumsum(-1)[..., :-1], (1, 0))  # of all likelier tokens
        keep &= before < top_p
    if min_p is not None:
        keep &= ranked >= min_p * ranked[..., :1]
    kept = torch.zeros_like(p).scatter(-1, order, ranked * keep)
    return kept / kept.sum(-1, keepdim=True)


def check_sampling(
    temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, min_p: float | None = None,
) -> None:
    """Raise `ValueError` for settings that leave no token to choose."""
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, not {temperature}")
    if 0 < temperature < 1e-45:  # 0 in 32 bits
        raise ValueError(f"temperature must be 0, or at least 1e-45, not {temperature}")
    if top_k is not None and not hasattr(top_k, "__index__"):
        raise ValueError(f"top_k must be a whole number, not {top_k!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    for name, part in (("top_p", top_p), ("min_p", min_p)):
        if part is not None and not 0 < part <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {part}")


def penalize(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Make tokens less likely that a text has already; a penalty below 1, more likely.

    Logits are (..., V), ids of the text so far (..., T). A logit above 0 is divided by
    the penalty, as if by a temperature of its own (Keskar et al. 2019). One below 0 is
    multiplied, since division would make its token more likely.

    >>> penalize(torch.tensor([2.0, -1.0, 2.0]), torch.tensor([0, 1, 0]), penalty=2.0)
    tensor([ 1., -2.,  2.])
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"a penalty must be a number above 0, not {penalty}")
    seen = logits.gather(-1, ids)  # (..., T)
    less = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(-1, ids, less)  # once, however often the text has a token


class Cache:
    """The keys and values of all tokens so far, so that none is computed twice.

    keys and values are (n_layer, B, n_kv_head, slots, d_head), allocated once; `length`
    slots are in use. Texts of unequal length end in the same slot: the shorter begin
    later, after `padding` (B,) slots that nobody attends to.
    """

    def __init__(self, model: GPT, batch_size: int, slots: int) -> None:
        check_cacheable(model)
        config, weight = model.config, model.token.weight
        heads = config.n_kv_head or config.n_head
        shape = config.n_layer, batch_size, heads, slots, head_size(config)
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.length, self.padding = 0, None

    @property
    def n_bytes(self) -> int:
        """Memory that the keys and values take."""
        return self.keys.nbytes + self.values.nbytes

    def extend(self, T: int) -> tuple[slice | Tensor, Tensor | None, Iterator]:
        """Make room for T tokens: their positions, a mask, and each layer's past.

        A past is the keys and values (B, n_kv_head, length, d_head) of all tokens so
        far, of which the last T are yet to be filled in. The mask (B, 1, 1, length)
        hides the padding; without padding there is none.
        """
        start, end, slots = self.length, self.length + T, self.keys.shape[-2]
        if end > slots:
            full = f"the {start} in the cache exceed its {slots} slots"
            raise ValueError(f"{T} ids more than {full}")
        self.length = end
        past = zip(*(z[..., :end, :].unbind() for z in (self.keys, self.values)))
        if self.padding is None:
            return slice(start, end), None, past
        slot = torch.arange(end, device=self.keys.device)
        places = (slot[start:] - self.padding[:, None]).clamp(min=0)  # (B, T)
        return places, slot >= self.padding[:, None, None, None], past


class States(Cache):
    """What each layer remembers of all tokens so far, if it is not always keys and values.

    `past` has a dictionary for each layer, which its mixer fills in; see `Mixer`. Keys and
    values, (n, B, n_kv_head, slots, d_head), are there for the n layers that keep them.
    """

    def __init__(self, model: GPT, batch_size: int, slots: int) -> None:
        check_token_embedding(model)
        config, weight = model.config, model.token.weight
        self.layers, self.length, self.padding = config.layers(), 0, None
        lookups = sum(layer.mixer in SOFTMAX for layer in self.layers)
        heads = config.n_kv_head or config.n_head
        shape = lookups, batch_size, heads, slots, head_size(config)
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.past = [{} for _ in self.layers]

    @property
    def n_bytes(self) -> int:
        """Memory that keys, values and states take."""
        states = (z for past in self.past for name, z in past.items() if name not in ("keys", "values"))
        return super().n_bytes + sum(z.nbytes for z in states)

    def extend(self, T: int) -> tuple[slice | Tensor, Tensor | None, Iterator]:
        """As that of `Cache`; a past is a layer's dictionary, or its keys and values."""
        if self.length == 0:
            self.past = [{} for _ in self.layers]
        places, mask, pairs = super().extend(T)
        for layer, past in zip(self.layers, self.past):
            if layer.mixer in SOFTMAX:
                past["keys"], past["values"] = next(pairs)
        kinds = zip(self.layers, self.past)
        pasts = ((past["keys"], past["values"]) if is_plain(layer) else past for layer, past in kinds)
        return places, mask, pasts


def make_cache(model: GPT, batch_size: int, slots: int) -> Cache:
    """Room for what a model remembers of `slots` tokens."""
    plain = all(map(is_plain, model.config.layers()))
    return (Cache if plain else States)(model, batch_size, slots)


def check_cacheable(model: GPT) -> None:
    """Raise `ValueError` for a model that needs more of a text than keys and values."""
    check_token_embedding(model)
    if not all(map(is_plain, model.config.layers())):
        raise ValueError(f"{model.config} remembers more than keys and values; see make_cache")


def check_token_embedding(model: GPT) -> None:
    """Raise `ValueError` for a model whose token vectors depend on more than the token."""
    if type(model.token).forward is not nn.Embedding.forward:
        kind = type(model.token).__name__
        unknown = f"its {kind} may look at earlier ids, which no cache keeps"
        raise ValueError(f"{unknown}; generate with cache=False")


@torch.no_grad()
def prepare(model: GPT) -> GPT:
    """Lay out a model for one token at a time, and return it. No number changes.

    Memory is read in order, and fastest where rows are long: a matrix that has more rows
    than columns is copied to lie in memory the other way round. And `nn.Module` looks
    for its weights, parts and hooks in Python: here weights and parts are put where Python
    itself finds them, and a module without hooks gets none any more.
    """
    for p in model.parameters():
        if p.ndim == 2 and p.shape[0] > p.shape[1]:
            p.data = p.data.T.contiguous().T
    for module in model.modules():
        vars(module).update(module._parameters | module._modules)
    for module in model.modules():
        if not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks):
            module.__class__ = without_hooks(type(module))
    return model


@functools.cache
def without_hooks(kind: type[nn.Module]) -> type[nn.Module]:
    """The same class of modules, but that a call is `forward` and nothing besides."""

    def refuse(self, *args, **options):
        raise RuntimeError("a prepared model has no hooks: register them before `prepare`")

    names = "forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"
    bare = {f"register_{name}": refuse for name in names}
    call = SHORTER.get(kind.forward, kind.forward)
    return type(kind.__name__, (kind,), bare | {"__call__": call})


def layer_norm(self: nn.LayerNorm, x: Tensor) -> Tensor:
    """Its `forward`, without asking first whether x is a tensor."""
    return torch.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


SHORTER = {nn.LayerNorm.forward: layer_norm}


class WithoutOneDNN:
    """A context in which torch computes on a CPU what it would give to the library oneDNN.

    For large tensors that library is fast. But a GELU of the few numbers of one token takes
    several times as long there, and is no more exact. The switch is that of the whole
    process: the last thread to leave puts it back.
    """

    lock, inside, before = Lock(), 0, True

    def __enter__(self) -> None:
        with WithoutOneDNN.lock:
            if not WithoutOneDNN.inside:
                WithoutOneDNN.before = mkldnn.enabled
                mkldnn.enabled = False
            WithoutOneDNN.inside += 1

    def __exit__(self, *error) -> None:
        with WithoutOneDNN.lock:
            WithoutOneDNN.inside -= 1
            if not WithoutOneDNN.inside:
                mkldnn.enabled = WithoutOneDNN.before


def without_onednn(weight: Tensor) -> WithoutOneDNN | nullcontext:
    """For weights of 32 or 64 bits; products of 16 bits are what oneDNN is needed for."""
    return WithoutOneDNN() if weight.itemsize >= 4 else nullcontext()


def visible_from(length: int, block_size: int) -> int:
    """Where the part of a text begins that the model still sees.

    It hops on by half a context when it has to: the positions of all tokens change
    then, and with them all keys in a cache.
    """
    hop = max(1, block_size // 2)
    return max(0, -(-(length - block_size) // hop)) * hop


@torch.inference_mode()
def prefill(model: GPT, windows: list[list[int]], cache: Cache | None) -> Tensor:
    """Read texts of any lengths; logits (B, V) of what is next, and a cache filled anew."""
    side = "right" if cache is None else "left"  # nothing that follows a text changes it
    texts, device = [torch.tensor(window) for window in windows], model.token.weight.device
    ids = pad_sequence(texts, batch_first=True, padding_side=side).to(device)  # (B, T)
    padding = torch.tensor([ids.shape[1] - len(text) for text in texts], device=device)
    if cache is None:
        return model(ids)[torch.arange(len(texts)), ids.shape[1] - 1 - padding]
    cache.length, cache.padding = 0, padding if padding.any() else None
    return model(ids, cache)[:, -1]


@torch.inference_mode()
def new_ids(
    model: GPT,
    texts: list[list[int]],
    max_new_tokens: int,
    cache: bool = True,
    slide: bool = False,
    **sampling,
) -> Iterator[list[int]]:
    """Yield the next id of each text, then the one after it; see `generate`."""
    check_prompts(model.config, texts, max_new_tokens, slide)
    texts, block_size = [list(text) for text in texts], model.config.block_size
    slots = min(block_size, max(map(len, texts)) + max_new_tokens)
    memory, before = make_cache(model, len(texts), slots) if cache else None, None
    device, few_numbers = model.token.weight.device, without_onednn(model.token.weight)
    for _ in range(max_new_tokens):
        starts = [visible_from(len(text), block_size) for text in texts]
        if memory is None or starts != before:
            windows = [text[start:] for text, start in zip(texts, starts)]
            logits = prefill(model, windows, memory)
        else:
            last = torch.tensor([text[-1:] for text in texts], device=device)  # (B, 1)
            with few_numbers:
                logits = model(last, memory)[:, -1]
        before = starts
        ids = choose(logits, texts, **sampling)
        for text, i in zip(texts, ids):
            text.append(i)
        yield ids


def choose(
    logits: Tensor,
    texts: list[list[int]],
    repetition_penalty: float = 1.0,
    generator: torch.Generator | None = None,
    **sampling,
) -> list[int]:
    """Draw the next id of each text, from logits (B, V); see `generate`.

    The draw is made where the generator is, so that a text is the same on every device.
    """
    if repetition_penalty != 1:
        so_far = [torch.tensor(text, device=logits.device) for text in texts]
        pairs = zip(logits, so_far)
        logits = torch.stack([penalize(*pair, repetition_penalty) for pair in pairs])
    if sampling.get("temperature") == 0:  # one token has all: there is nothing to draw
        check_sampling(**sampling)
        largest, ids = logits.max(-1)
        check_logits(largest.tolist())
        return ids.tolist()
    p = next_token(logits, **sampling)  # (B, V)
    if generator is not None:
        p = p.to(generator.device)
    return torch.multinomial(p, 1, generator=generator)[:, 0].tolist()


def check_prompts(
    config: Config, texts: list[list[int]], max_new_tokens: int, slide: bool
) -> None:
    """Raise `ValueError` for texts that the model cannot go on with."""
    if not texts or not all(texts):
        raise ValueError("a prompt needs at least one id for the model to go on with")
    if not hasattr(max_new_tokens, "__index__"):
        raise ValueError(f"max_new_tokens must be a whole number, not {max_new_tokens!r}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, not {max_new_tokens}")
    for text in texts:
        if wrong := [i for i in text if not is_id(i)]:
            raise ValueError(f"a prompt is ids, whole numbers in one row, not {wrong[0]!r}")
        check_ids(torch.tensor(text)[:, None], config)  # each for itself, however many
    longest = max(map(len, texts))
    if not slide and longest + max_new_tokens > config.block_size:
        room = f"a context of {config.block_size}; slide=True lets go of the beginning"
        raise ValueError(f"{longest} ids and {max_new_tokens} more exceed {room}")


def is_id(i) -> bool:
    """Is this a whole number, also as a tensor of one?"""
    if isinstance(i, Tensor):
        return i.ndim == 0 and not (i.is_floating_point() or i.dtype == torch.bool)
    return isinstance(i, Integral) and not isinstance(i, bool) and -(2**63) <= i < 2**63


def generate(
    model: GPT,
    ids: Tensor | Sequence,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop: Collection[int] | int | None = None,
    cache: bool = True,
    slide: bool = False,
    generator: torch.Generator | None = None,
    repetition_penalty: float = 1.0,
) -> Tensor | list[Tensor]:
    """Continue a text, token by token; `next_token` says how each is chosen.

    One prompt, a tensor (T,) or a list of ids, gives one text, prompt included:
    (T + n,). A tensor (B, T) gives a tensor (B, T + n). A list of prompts, of equal
    length or not, gives a list of texts. All are where the model is.

    A text ends after one of the ids in `stop`, or when max_new_tokens have come; in a
    tensor (B, T + n) what has ended repeats its last id. Without `cache` the model reads
    the whole text again for each token: the result is the same, later. A text that
    outgrows the context is refused, or with `slide` loses sight of its beginning.
    A repetition_penalty above 1 makes the model avoid what it has said; see `penalize`.
    """
    if isinstance(ids, str | bytes):
        raise ValueError(f"a prompt is ids, not a text: encode {ids!r} first")
    prompts = [p.tolist() if hasattr(p, "tolist") else p for p in ids]
    one = bool(prompts) and not isinstance(prompts[0], Sequence)
    texts = [list(prompt) for prompt in ([prompts] if one else prompts)]
    sampling = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    sampling |= dict(generator=generator, repetition_penalty=repetition_penalty)
    options = dict(cache=cache, slide=slide, **sampling)
    unfinished, stop = set(range(len(texts))), stop_ids(stop, model.config)
    for new in new_ids(model, texts, max_new_tokens, **options):
        for b in unfinished:
            texts[b].append(new[b])
        unfinished = {b for b in unfinished if new[b] not in stop}
        if not unfinished:
            break
    return as_given(texts, one, isinstance(ids, Tensor), model.token.weight.device)


def as_given(
    texts: list[list[int]], one: bool, square: bool, device: torch.device
) -> Tensor | list[Tensor]:
    """Texts as the prompts were: one (T,), a list of several, or a tensor (B, T)."""
    longest = max(map(len, texts))
    if square:
        texts = [text + text[-1:] * (longest - len(text)) for text in texts]
    tensors = [torch.tensor(text, device=device) for text in texts]
    return tensors[0] if one else torch.stack(tensors) if square else tensors


def stop_ids(stop: Collection[int] | int | None, config: Config) -> set[int]:
    """The ids that end a text. ValueError for what is none, such as a text."""
    found = stop if isinstance(stop, Collection) else [] if stop is None else [stop]
    if not all(isinstance(i, Integral) for i in found):
        raise ValueError(f"stop must be an id or several, not {stop!r}")
    if wrong := [i for i in found if not 0 <= i < config.vocab_size]:
        last = config.vocab_size - 1
        raise ValueError(f"no text ends with the id {wrong[0]}: the vocabulary is 0 to {last}")
    return set(found)


def stop_texts(stop: Collection[str] | str | None) -> list[str]:
    """The texts that end a text. ValueError for what is none, such as an empty one."""
    several = isinstance(stop, Collection) and not isinstance(stop, str)
    found = list(stop) if several else [] if stop is None else [stop]
    if not all(isinstance(text, str) and text for text in found):
        raise ValueError(f"stop must be a text or several, none of them empty, not {stop!r}")
    return found


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    max_new_tokens: int,
    stop: Collection[str] | str | None = None,
    **options,
) -> Iterator[str]:
    """Yield what the model writes after `prompt`, as soon as it is certain.

    A prompt is a text or its ids. A character that takes several tokens waits for the
    last of them, and what may become a text in `stop` waits, too. The text ends before
    the first of those. `options` are those of `generate`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting, stop = "", stop_texts(stop)
    ids = tokenizer.encode(prompt) if isinstance(prompt, str | bytes) else list(prompt)
    for [i] in new_ids(model, [ids], max_new_tokens, **options):
        waiting += decoder.decode(tokenizer.decode_bytes([i]))
        ends = [waiting.index(text) for text in stop if text in waiting]
        if ends:
            yield waiting[: min(ends)]
            return
        uncertain = max((overlap(waiting, text) for text in stop), default=0)
        certain = len(waiting) - uncertain
        if certain:
            yield waiting[:certain]
        waiting = waiting[certain:]
    yield waiting + decoder.decode(b"", final=True)


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return max(n for n in range(len(stop)) if text.endswith(stop[:n]))
