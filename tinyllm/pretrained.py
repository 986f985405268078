"""Published models: GPT-2, Llama 3, SmolLM2, Mistral, Qwen 2 and Qwen 3, from the folders they come in.

Such a folder holds `config.json` and `model.safetensors`, or several files of weights and
`model.safetensors.index.json`, which says what is where. Nothing is downloaded here, save by `fetch`.
"""

import json
import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from tinyllm.files import to_dtype
from tinyllm.layers import Parts
from tinyllm.model import GPT, Config

# What each of our weights is called there, without ".weight" or ".bias"; # is the number of a block.
# Several names are matrices that are one here, one below the other.
GPT2 = {
    "token": ["wte"],
    "position": ["wpe"],
    "blocks.#.norm_1": ["h.#.ln_1"],
    "blocks.#.attention.qkv": ["h.#.attn.c_attn"],
    "blocks.#.attention.out": ["h.#.attn.c_proj"],
    "blocks.#.norm_2": ["h.#.ln_2"],
    "blocks.#.mlp.up": ["h.#.mlp.c_fc"],
    "blocks.#.mlp.down": ["h.#.mlp.c_proj"],
    "norm": ["ln_f"],
    "head": ["lm_head"],
}
LLAMA = {
    "token": ["embed_tokens"],
    "blocks.#.norm_1": ["layers.#.input_layernorm"],
    "blocks.#.attention.qkv": [f"layers.#.self_attn.{x}_proj" for x in "qkv"],
    "blocks.#.attention.q_norm": ["layers.#.self_attn.q_norm"],
    "blocks.#.attention.k_norm": ["layers.#.self_attn.k_norm"],
    "blocks.#.attention.out": ["layers.#.self_attn.o_proj"],
    "blocks.#.norm_2": ["layers.#.post_attention_layernorm"],
    "blocks.#.mlp.gate": ["layers.#.mlp.gate_proj"],
    "blocks.#.mlp.up": ["layers.#.mlp.up_proj"],
    "blocks.#.mlp.down": ["layers.#.mlp.down_proj"],
    "norm": ["norm"],
    "head": ["lm_head"],
}
NAMES = {"gpt2": GPT2} | dict.fromkeys(["llama", "mistral", "qwen2", "qwen3"], LLAMA)
SIDEWAYS = re.compile(r"h\.\d+\.(attn|mlp)\.c_\w+\.weight")  # GPT-2 keeps (in, out), not (out, in)
# Masks and frequencies, which some files hold: nothing that was learned.
NOT_LEARNED = re.compile(r"h\.\d+\.attn\.(masked_)?bias|layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
PREFIX = re.compile(r"(transformer|model)\.")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LONGEST = 8192  # tokens of context, unless more are asked for


def load_pretrained(
    folder: str | Path, dtype: torch.dtype | None = None, block_size: int | None = None
) -> GPT:
    """Read a published model from its folder.

    Weights are mapped from the file, and read when they are used; those that have to be
    changed, to `dtype` or because three matrices are one here, are copied. Without
    `dtype` they stay what they are in the file; where they differ, all become what holds
    each. `block_size` is the context to be used, at most the one that the model was made
    for; if not given that, or 8192.

    Each tensor of the file is used exactly once. Raises `ValueError` that names a tensor
    which is missing, left over, there twice or of the wrong shape, or a setting that this
    library does not have; `FileNotFoundError` that says what the folder lacks.
    """
    folder = Path(folder)
    raw = read_json(folder / "config.json")
    config, names = read_config(raw, block_size), NAMES[raw["model_type"]]
    given = read_tensors(folder)
    check_positions(given, raw, folder)
    with torch.device("meta"):  # shapes, but no memory
        model = GPT(config)
    found = {}
    for name, p in model.named_parameters():
        found[name] = assemble(name, p.shape, given, names, folder)
    if config.tie_weights:
        check_tied(given, found["token.weight"], folder)
        found["head.weight"] = found["token.weight"]
    left = [name for name in given if not NOT_LEARNED.fullmatch(name)]
    if left:
        raise ValueError(f"{folder} holds {len(left)} tensors with no place in this model: {left[:3]}")
    dtype = dtype or reduce(torch.promote_types, (weight.dtype for weight in found.values()))
    found = {name: to_dtype(name, weight, dtype) for name, weight in found.items()}
    model.load_state_dict(found, assign=True)
    if config.tie_weights:
        model.head.weight = model.token.weight
    return model


def assemble(
    name: str, shape: torch.Size, given: dict[str, Tensor], names: Mapping, folder: Path
) -> Tensor:
    """Take what our weight `name` is made of out of the tensors that are given."""
    stem, kind = name.rsplit(".", 1)
    block = re.match(r"blocks\.(\d+)\.", name)
    template = re.sub(r"^blocks\.\d+", "blocks.#", stem)
    parts = []
    for theirs in names[template]:
        theirs = f"{theirs.replace('#', block[1]) if block else theirs}.{kind}"
        if theirs not in given:
            raise ValueError(f"{folder} holds no tensor {theirs}, which is our {name}")
        part = given.pop(theirs)
        parts.append(part.T if SIDEWAYS.fullmatch(theirs) else part)
    weight = parts[0] if len(parts) == 1 else torch.cat(parts)
    if name == "position.weight":  # a shorter context than it could be: `block_size`
        weight = weight[: shape[0]]
    if weight.shape != shape:
        shapes = f"{tuple(weight.shape)}, not {tuple(shape)} as config.json says"
        raise ValueError(f"{folder}: {theirs} makes our {name} {shapes}")
    return weight


def check_tied(given: dict[str, Tensor], token: Tensor, folder: Path) -> None:
    """Raise `ValueError` if a head that should be the embedding is there and is another."""
    head = given.pop("lm_head.weight", token)
    if not torch.equal(head, token):
        tied = "config.json says tie_word_embeddings"
        raise ValueError(f"{folder}: {tied}, but lm_head.weight is not the embedding")


def check_positions(given: dict[str, Tensor], raw: Mapping, folder: Path) -> None:
    """Raise `ValueError` if GPT-2's table of positions has other rows than it says."""
    table = given.get("wpe.weight")
    if table is not None and len(table) != raw.get("n_positions", len(table)):
        rows = f"wpe.weight has {len(table)} positions, config.json says n_positions = {raw['n_positions']}"
        raise ValueError(f"{folder}: {rows}; a shorter context is asked for by block_size")


# ---------------------------------------------------------------------------------------- files


def read_json(path: Path) -> dict:
    """What a JSON file of a model says. Errors say what is missing or wrong."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no published model: it has no {path.name}")
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold names and values")
    return values


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model, mapped from its files, by name, without a prefix that some have."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        files, where = [whole], None
    elif index.is_file():
        where = read_json(index).get("weight_map")
        if not isinstance(where, dict):
            raise ValueError(f"{index} has no weight_map")
        for name in where.values():
            if not isinstance(name, str) or not re.fullmatch(r"[^/\\]+\.safetensors", name):
                raise ValueError(f"{index} names {name!r}, which is no file of its folder")
        files = [folder / name for name in sorted(set(where.values()))]
    else:
        raise FileNotFoundError(no_weights(folder))
    tensors, seen = {}, set()
    for path in files:
        for name, tensor in read_file(path).items():
            if where is not None and where.get(name) != path.name:
                raise ValueError(f"{path} holds {name}, which {index.name} places in {where.get(name)}")
            short = PREFIX.sub("", name, count=1) if PREFIX.match(name) else name
            if short in tensors:
                raise ValueError(f"{path} holds {name}, which was there before")
            if tensor.dtype not in DTYPES and not NOT_LEARNED.fullmatch(short):
                raise ValueError(f"{path}: {name} is {tensor.dtype}, not a float of 32 or 16 bits")
            tensors[short] = tensor
            seen.add(name)
    missing = sorted(set(where or ()) - seen)
    if missing:
        raise ValueError(f"{index.name} names {missing[0]}, which {where[missing[0]]} does not hold")
    return tensors


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, mapped: they take memory when they are read."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: its index names it")
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or no file of tensors: {error}") from None


def no_weights(folder: Path) -> str:
    """What to say of a folder without model.safetensors."""
    lacks = f"{folder} has neither model.safetensors nor model.safetensors.index.json"
    if list(folder.glob("*.bin")) or list(folder.glob("*.pth")):
        return f"{lacks}; pickled weights (.bin, .pth) could run any code, so they are not read"
    return lacks


def fetch(name: str) -> Path:
    """The folder of a model on the Hugging Face Hub, downloaded once.

    Needs the package `huggingface_hub` and, the first time, a network.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        needed = "a model of the Hugging Face Hub can be had where huggingface_hub is installed"
        raise FileNotFoundError(f"there is no folder {name}; {needed}") from None
    wanted = ["*.json", "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # of the network, the hub or the name
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"there is no folder {name}, nor could it be downloaded: {reason}") from None


# ---------------------------------------------------------------------------------------- configuration


def read_config(raw: Mapping, block_size: int | None = None) -> Config:
    """Our configuration of a model, from what its `config.json` holds."""
    family = raw.get("model_type")
    if family not in NAMES:
        raise ValueError(f"config.json is that of a model_type {family!r}; known are {sorted(NAMES)}")
    refuse(raw, "quantization_config", None)
    refuse(raw, "is_causal", True, None)
    try:
        sizes, longest = read_gpt2(raw) if family == "gpt2" else read_llama(raw, family)
    except KeyError as missing:
        raise ValueError(f"config.json lacks {missing}") from None
    if block_size is not None and block_size > longest:
        raise ValueError(f"the model was made for {longest} tokens of context, not for {block_size}")
    return Config(block_size=block_size or min(longest, LONGEST), **sizes)


def refuse(raw: Mapping, name: str, *fine) -> None:
    """Raise `ValueError` for a setting that changes the model in a way not known here."""
    value = raw.get(name, fine[0])
    if value not in fine:
        raise ValueError(f"config.json has {name} = {value!r}, of which only {fine} is known here")


def read_gpt2(raw: Mapping) -> tuple[dict, int]:
    """Sizes and parts of GPT-2, and its context: n_positions; n_ctx means nothing, as in `transformers`."""
    for name, fine in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        refuse(raw, name, fine)
    refuse(raw, "add_cross_attention", False)
    refuse(raw, "activation_function", "gelu_new", "gelu_pytorch_tanh", "gelu")
    exact = raw.get("activation_function") == "gelu"
    sizes = dict(
        vocab_size=raw["vocab_size"],
        n_layer=raw["n_layer"],
        n_head=raw["n_head"],
        d_model=raw["n_embd"],
        d_ff=raw.get("n_inner"),
        norm_eps=raw.get("layer_norm_epsilon", 1e-5),
        mlp="gelu" if exact else "gelu_tanh",
        tie_weights=raw.get("tie_word_embeddings", True),
        bias=True,
    )
    return sizes, raw["n_positions"]


def read_llama(raw: Mapping, family: str) -> tuple[dict, int]:
    """Sizes and parts of the Llama family, and its context."""
    refuse(raw, "hidden_act", "silu")
    refuse(raw, "partial_rotary_factor", 1.0, 1, None)
    bias = bool(raw.get("mlp_bias", False))
    refuse(raw, "attention_bias", bias)
    theta, scaling = read_rope(raw)
    n_head = raw["num_attention_heads"]
    sizes = dict(
        vocab_size=raw["vocab_size"],
        n_layer=raw["num_hidden_layers"],
        n_head=n_head,
        d_model=raw["hidden_size"],
        d_ff=raw["intermediate_size"],
        n_kv_head=raw.get("num_key_value_heads", n_head),
        d_head=raw.get("head_dim", 128 if family == "qwen3" else None),
        norm="rms",
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        positions="rope",
        rope_theta=theta,
        rope_scaling=scaling,
        mlp="swiglu",
        qk_norm=family == "qwen3",
        bias=bias,
        qkv_bias=True if family == "qwen2" else None,
        tie_weights=raw.get("tie_word_embeddings", False),
    )
    return sizes, min(raw["max_position_embeddings"], window(raw, family))


def read_rope(raw: Mapping) -> tuple[float, tuple | None]:
    """theta, and what stretches the context; in files of either age."""
    newer, older = raw.get("rope_parameters"), raw.get("rope_scaling")
    if newer and older and newer != older:
        raise ValueError(f"config.json has rope_parameters {newer} and rope_scaling {older}: which of them?")
    rope = newer or older or {}
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise ValueError(f"config.json has other rotations for each kind of layer, which are not known here: {rope}")
    refuse(rope, "partial_rotary_factor", 1.0, 1, None)
    kind = rope.get("rope_type", rope.get("type", "default"))
    theta = rope.get("rope_theta", raw.get("rope_theta", Parts.rope_theta))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise ValueError(f"config.json stretches its context by {kind!r}; only 'llama3' is known here")
    names = "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"
    return theta, tuple(rope[name] for name in names)


def window(raw: Mapping, family: str) -> float:
    """How far a token sees, where that is less than the context: up to there nothing differs."""
    used = family == "mistral" or bool(raw.get("use_sliding_window"))
    size = raw.get("sliding_window")
    if not used and set(raw.get("layer_types") or ()) - {"full_attention"}:
        raise ValueError(f"config.json has layers that are not known here: {sorted(set(raw['layer_types']))}")
    return size if used and size is not None else float("inf")
