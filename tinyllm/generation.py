"""Generating: one token after the other, each drawn from what the model expects."""

import codecs
import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

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
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    # Without the largest logit a division by a small temperature cannot overflow.
    p = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)
    whole = top_k is None and top_p is None and min_p is None
    return p if whole else truncate(p, top_k, top_p, min_p)


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
    if top_p is not None:
        keep &= ranked.cumsum(-1) - ranked < top_p  # those before it are not enough
    if min_p is not None:
        keep &= ranked >= min_p * ranked[..., :1]
    kept = torch.zeros_like(p).scatter(-1, order, ranked * keep)
    return kept / kept.sum(-1, keepdim=True)


def check_sampling(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    """Raise `ValueError` for settings that leave no token to choose."""
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, not {temperature}")
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

    keys and values are (n_layer, B, n_head, slots, d_head), allocated once; `length`
    slots are in use. Texts of unequal length end in the same slot: the shorter begin
    later, after `padding` (B,) slots that nobody attends to. `weights` are those of each
    block and `head` the last ones, at hand; for a single text in long rows, since a single
    token takes longer to fetch them than to be multiplied with them.
    """

    def __init__(self, model: GPT, batch_size: int, slots: int) -> None:
        config, weight = model.config, model.token.weight
        d_head = config.d_model // config.n_head
        shape = config.n_layer, batch_size, config.n_head, slots, d_head
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.length, self.padding = 0, None
        lay = in_long_rows if batch_size == 1 else Tensor.detach
        self.weights = [tuple(map(lay, block.parameters())) for block in model.blocks]
        self.head = lay(model.head.weight)

    @property
    def n_bytes(self) -> int:
        """Memory that the keys and values take."""
        return self.keys.nbytes + self.values.nbytes


def in_long_rows(weight: Tensor) -> Tensor:
    """The same weights, in memory so that its longer dimension is what lies side by side.

    Memory is read in order, and fastest where there are few beginnings. A tall matrix
    has to be copied for that: for large models this memory buys a quarter of the time.
    """
    weight = weight.detach()
    tall = weight.ndim == 2 and weight.shape[0] > weight.shape[1]
    return weight.T.contiguous().T if tall else weight


@torch.inference_mode()
def extend(model: GPT, ids: Tensor, cache: Cache) -> Tensor:
    """Logits (B, T, V) for ids (B, T) that go on where the cache ends.

    What `model` computes for the whole text, but only for what is new in it.
    """
    start, end = cache.length, cache.length + ids.shape[-1]
    if end > cache.keys.shape[-2]:
        full = f"{start} in the cache exceed its {cache.keys.shape[-2]} slots"
        raise ValueError(f"{end - start} ids more than the {full}")
    slots, mask = torch.arange(end, device=ids.device), None
    position = model.position.weight[start:end]  # (T, C)
    if end - start > 1:
        mask = slots <= slots[start:, None]  # (T, end)
    if cache.padding is not None:
        places = (slots[start:] - cache.padding[:, None]).clamp(min=0)  # (B, T)
        position = model.position.weight[places]  # (B, T, C)
        there = slots >= cache.padding[:, None, None, None]  # (B, 1, 1, end)
        mask = there if mask is None else there & mask  # (B, 1, T, end)
    x = F.embedding(ids, model.token.weight) + position  # (B, T, C)
    past = cache.keys[..., :end, :], cache.values[..., :end, :]
    for weights, keys, values in zip(cache.weights, *past):
        norm_1, qkv, out, norm_2, up, down = weights
        heads = hear(F.linear(normed(x, norm_1), qkv), keys, values, mask)
        x = x + F.linear(heads, out)
        x = x + F.linear(F.gelu(F.linear(normed(x, norm_2), up)), down)
    cache.length = end
    return F.linear(normed(x, model.norm.weight), cache.head)


def hear(qkv: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """What the heads of a layer hear, (B, T, C), once new keys are in the cache.

    qkv is (B, T, 3C), of the new tokens. keys and values are (B, n_head, end, d_head);
    the last T are filled in here.
    """
    T = qkv.shape[1]
    qkv = qkv.unflatten(-1, (3, keys.shape[1], -1))  # (B, T, 3, n_head, d_head)
    q, k, v = qkv.transpose(1, 3).unbind(2)  # each (B, n_head, T, d_head)
    keys[:, :, -T:], values[:, :, -T:] = k, v
    heads = F.scaled_dot_product_attention(q, keys, values, mask)
    return heads.transpose(1, 2).flatten(2)


def normed(x: Tensor, weight: Tensor) -> Tensor:
    """A LayerNorm without the price of calling a module: for one token, that counts."""
    return F.layer_norm(x, weight.shape, weight)


def visible_from(length: int, block_size: int) -> int:
    """Where the part of a text begins that the model still sees.

    It hops on by half a context when it has to: the positions of all tokens change
    then, and with them all keys in a cache.
    """
    hop = max(1, block_size // 2)
    return max(0, -(-(length - block_size) // hop)) * hop


def refill(model: GPT, windows: list[list[int]], cache: Cache) -> Tensor:
    """Fill the cache anew with texts of any lengths; logits (B, V) of what is next."""
    texts = [torch.tensor(window) for window in windows]
    ids = pad_sequence(texts, batch_first=True, padding_side="left")  # (B, T)
    padding = torch.tensor([ids.shape[1] - len(text) for text in texts])
    device = cache.keys.device
    cache.length, cache.padding = 0, padding.to(device) if padding.any() else None
    return extend(model, ids.to(device), cache)[:, -1]


@torch.inference_mode()
def read_all(model: GPT, windows: list[list[int]]) -> Tensor:
    """The same without a cache: what follows the end of a text cannot change it."""
    texts = [torch.tensor(window) for window in windows]
    ids = pad_sequence(texts, batch_first=True).to(model.token.weight.device)  # (B, T)
    last = torch.tensor([len(text) - 1 for text in texts])
    return model(ids)[torch.arange(len(texts)), last]


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
    memory, before = Cache(model, len(texts), slots) if cache else None, None
    for _ in range(max_new_tokens):
        starts = [visible_from(len(text), block_size) for text in texts]
        windows = [text[start:] for text, start in zip(texts, starts)]
        if memory is None:
            logits = read_all(model, windows)
        elif starts != before:
            logits = refill(model, windows, memory)
        else:
            last = torch.tensor([text[-1:] for text in texts])  # (B, 1)
            logits = extend(model, last.to(memory.keys.device), memory)[:, -1]
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
    """Draw the next id of each text, from logits (B, V); see `generate`."""
    if repetition_penalty != 1:
        so_far = [torch.tensor(text, device=logits.device) for text in texts]
        pairs = zip(logits, so_far)
        logits = torch.stack([penalize(*pair, repetition_penalty) for pair in pairs])
    p = next_token(logits, **sampling)  # (B, V)
    if sampling.get("temperature") == 0:  # one token has all: there is nothing to draw
        return p.argmax(-1).tolist()
    return torch.multinomial(p, 1, generator=generator)[:, 0].tolist()


def check_prompts(
    config: Config, texts: list[list[int]], max_new_tokens: int, slide: bool
) -> None:
    """Raise `ValueError` for texts that the model cannot go on with."""
    if not texts or not all(texts):
        raise ValueError("a prompt needs at least one id for the model to go on with")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, not {max_new_tokens}")
    for text in texts:
        check_ids(torch.tensor(text)[:, None], config)  # each for itself, however many
    longest = max(map(len, texts))
    if not slide and longest + max_new_tokens > config.block_size:
        room = f"a context of {config.block_size}; slide=True lets go of the beginning"
        raise ValueError(f"{longest} ids and {max_new_tokens} more exceed {room}")


def generate(
    model: GPT,
    ids: Tensor | Sequence,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop: Collection[int] | None = None,
    cache: bool = True,
    slide: bool = False,
    generator: torch.Generator | None = None,
    repetition_penalty: float = 1.0,
) -> Tensor | list[Tensor]:
    """Continue a text, token by token; `next_token` says how each is chosen.

    `ids` is one prompt (T,), or several, of equal length or not. One gives one text,
    prompt included, (T + n,); several give a list of texts. A text ends after one of
    the ids in `stop`, or when max_new_tokens have come. Without `cache` the model reads
    the whole text again for each token: the result is the same, later. A text that
    outgrows the context is refused, or with `slide` loses sight of its beginning.
    A repetition_penalty above 1 makes the model avoid what it has said; see `penalize`.
    """
    prompts = [p.tolist() if isinstance(p, Tensor) else p for p in ids]
    one = bool(prompts) and not isinstance(prompts[0], Sequence)
    texts = [list(prompt) for prompt in ([prompts] if one else prompts)]
    sampling = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    sampling |= dict(generator=generator, repetition_penalty=repetition_penalty)
    options = dict(cache=cache, slide=slide, **sampling)
    unfinished, stop = set(range(len(texts))), set(stop or ())
    for new in new_ids(model, texts, max_new_tokens, **options):
        for b in unfinished:
            texts[b].append(new[b])
        unfinished = {b for b in unfinished if new[b] not in stop}
        if not unfinished:
            break
    texts = [torch.tensor(text) for text in texts]
    return texts[0] if one else texts


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    stop: Collection[str] = (),
    **options,
) -> Iterator[str]:
    """Yield what the model writes after `prompt`, as soon as it is certain.

    A character that takes several tokens waits for the last of them, and what may
    become a text in `stop` waits, too. The text ends before the first of those.
    `options` are those of `generate`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = ""
    for [i] in new_ids(model, [tokenizer.encode(prompt)], max_new_tokens, **options):
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
