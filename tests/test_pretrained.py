"""Published models: the same numbers as the library they come from, and no tensor lost on the way."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import pytest
import safetensors.torch
import torch
from torch import nn

from tinyllm.generation import Cache, generate
from tinyllm.layers import rope_table
from tinyllm.model import GPT, Block, Config, load, save
from tinyllm.pretrained import load_pretrained, read_config

transformers = pytest.importorskip("transformers")

LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16, rope_theta=50.0,
)  # fmt: skip
SMALL = dict(vocab_size=97, num_hidden_layers=2, max_position_embeddings=64, pad_token_id=None)
SMALL |= dict(bos_token_id=None, eos_token_id=None)
# Sizes with a rest in every division: what a transposed or misplaced matrix would have to fit.
KINDS = {
    "GPT-2": ("GPT2", dict(n_embd=32, n_head=4)),
    "GPT-2, untied and odd": (
        "GPT2", dict(n_embd=33, n_head=3, n_inner=50, tie_word_embeddings=False, activation_function="gelu"),
    ),
    "Llama": ("Llama", dict(hidden_size=32, num_attention_heads=4, intermediate_size=48)),
    "Llama 3.2": (
        "Llama",
        dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48)
        | dict(rope_parameters=LLAMA3, tie_word_embeddings=True),
    ),
    "Llama, 6 heads of 10 and 3 keys": (
        "Llama",
        dict(hidden_size=30, num_attention_heads=6, num_key_value_heads=3, head_dim=10, intermediate_size=31),
    ),
    "Llama, 7 heads and 1 key": (
        "Llama", dict(hidden_size=70, num_attention_heads=7, num_key_value_heads=1, intermediate_size=45),
    ),
    "Qwen 3": (
        "Qwen3", dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48)
        | dict(head_dim=16, tie_word_embeddings=True),
    ),
    "Qwen 3, odd": (
        "Qwen3", dict(hidden_size=39, num_attention_heads=5, num_key_value_heads=1, intermediate_size=41)
        | dict(head_dim=6, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    ),
    "Qwen 2": ("Qwen2", dict(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, intermediate_size=50)),
    "Mistral": (
        "Mistral", dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48)
        | dict(head_dim=8, sliding_window=48),
    ),
}  # fmt: skip


def reference(kind, seed=0):
    """A model of `transformers` in which every weight matters."""
    family, sizes = KINDS[kind]
    settings = SMALL | dict(attn_implementation="sdpa") | sizes
    if family == "GPT2":
        settings["n_layer"], settings["n_positions"] = settings.pop("num_hidden_layers"), 64
        del settings["max_position_embeddings"]
    config = getattr(transformers, f"{family}Config")(**settings)
    head = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, head)(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        is_norm = p.ndim == 1 and name.endswith("weight")
        p.copy_(1 + 0.3 * noise if is_norm else 0.3 * noise if p.ndim == 1 else 1.5 * noise / p.shape[1] ** 0.5)
    return model


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A function from a kind and a seed to the reference and the folder that it wrote."""
    made = {}

    def make(kind, seed=0):
        if (kind, seed) not in made:
            folder = tmp_path_factory.mktemp("published")
            model = reference(kind, seed)
            model.save_pretrained(folder)
            made[kind, seed] = model, folder
        return made[kind, seed]

    return make


@pytest.fixture
def exact_norms(monkeypatch):
    """Their RMSNorm computes in 32 bits whatever it is given: let it use all of 64."""

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)

    for family in ("Llama", "Qwen2", "Qwen3", "Mistral"):
        module = getattr(transformers.models, family.lower())
        module = getattr(module, f"modeling_{family.lower()}")
        monkeypatch.setattr(getattr(module, f"{family}RMSNorm"), "forward", forward)


def difference(a, b):
    """The largest one, relative to the largest number."""
    return float((a - b).abs().max() / b.abs().max())


def random_ids(*shape, seed=0):
    return torch.randint(97, shape, generator=torch.Generator().manual_seed(seed))


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@torch.no_grad()
def test_logits_are_those_of_the_reference(kind, published):
    for seed in range(3):
        theirs, folder = published(kind, seed)
        ids = random_ids(3, 47, seed=seed)
        assert difference(load_pretrained(folder)(ids), theirs(ids).logits) < 2e-5


@every_kind
@torch.no_grad()
def test_in_64_bits_they_agree_to_ten_digits(kind, published, exact_norms):
    theirs, folder = published(kind, 1)
    ids, theirs = random_ids(2, 45), reference(kind, 1).double()
    assert difference(load_pretrained(folder, torch.float64)(ids), theirs(ids).logits) < 1e-10


@every_kind
def test_greedy_texts_are_those_of_the_reference_alone_and_in_company(kind, published):
    for seed in range(2):
        theirs, folder = published(kind, seed)
        ours = load_pretrained(folder)
        prompts = [random_ids(n, seed=n + seed) for n in (9, 1, 14)]
        options = dict(max_new_tokens=16, do_sample=False, pad_token_id=0)
        alone = [theirs.generate(p[None], attention_mask=p[None] * 0 + 1, **options)[0] for p in prompts]
        texts = generate(ours, prompts, 16, temperature=0)
        assert all(torch.equal(a, b) for a, b in zip(texts, alone, strict=True))
        assert torch.equal(generate(ours, prompts[0][None], 16, temperature=0, cache=False)[0], alone[0])


@every_kind
@torch.no_grad()
def test_a_cache_changes_no_logit_however_the_text_is_cut(kind, published):
    model = load_pretrained(published(kind)[1])
    ids = random_ids(2, 40)
    whole, generator = model(ids), torch.Generator().manual_seed(0)
    for _ in range(5):
        cuts = torch.randint(1, 40, (4,), generator=generator).sort().values
        cache = Cache(model, 2, 40)
        parts = [model(part, cache) for part in ids.tensor_split(cuts, dim=1) if part.shape[1]]
        assert difference(torch.cat(parts, dim=1), whole) < 2e-5


# ---------------------------------------------------------------------------------------- other blocks


class ParallelBlock(Block):
    """Attention and MLP read the same stream, as in GPT-J and PaLM."""

    def forward(self, x, **context):
        normed = self.norm_1(x)
        return x + self.attention(normed, **context) + self.mlp(normed)


class PostNormBlock(Block):
    """What is written is normed, not what is read, as in OLMo 2."""

    def forward(self, x, **context):
        x = x + self.norm_1(self.attention(x, **context))
        return x + self.norm_2(self.mlp(x))


class MaxNorm(nn.Module):
    """No norm that any library knows."""

    def forward(self, x):
        return x / x.abs().amax(-1, keepdim=True)


def other_model(change, **parts):
    config = Config(31, 40, n_layer=2, n_head=4, d_model=24, n_kv_head=2, **parts)
    model = GPT(config)
    if isinstance(change, type) and issubclass(change, Block):
        model.blocks = nn.ModuleList(change(config) for _ in range(2))
    else:
        for block in model.blocks:
            block.norm_1, block.norm_2 = MaxNorm(), MaxNorm()
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator) + (p.ndim == 1)
    return model.double().requires_grad_(False)


@pytest.mark.parametrize("change", [ParallelBlock, PostNormBlock, MaxNorm])
@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_whatever_the_blocks_are_a_cache_changes_nothing(change, positions):
    model = other_model(change, positions=positions, norm="rms", mlp="swiglu")
    ids = torch.randint(31, (2, 30), generator=torch.Generator().manual_seed(1))
    cache = Cache(model, 2, 30)
    parts = [model(part, cache) for part in ids.split([7, 1, 1, 13, 8], dim=1)]
    assert difference(torch.cat(parts, dim=1), model(ids)) < 1e-13
    prompts = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]
    cached, uncached = (generate(model, prompts, 30, temperature=0, cache=c) for c in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(cached, uncached, strict=True))


# ---------------------------------------------------------------------------------------- files


def tensors_of(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def changed(folder, tmp_path, tensors=None, **config):
    """A copy of a published folder with other tensors or settings."""
    raw = json.loads((folder / "config.json").read_text()) | config
    raw = {name: value for name, value in raw.items() if value != "gone"}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    safetensors.torch.save_file(tensors_of(folder) if tensors is None else tensors, tmp_path / "model.safetensors")
    return tmp_path


def same(a, b):
    weights = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(x == y and torch.equal(p, q) for (x, p), (y, q) in weights)


@pytest.mark.parametrize("kind", ["GPT-2", "Qwen 3, odd"])
def test_shards_hold_the_same_model(kind, published, tmp_path):
    theirs, folder = published(kind)
    theirs.save_pretrained(tmp_path, max_shard_size="8KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) >= 5 and not (tmp_path / "model.safetensors").exists()
    assert same(load_pretrained(tmp_path), load_pretrained(folder))
    shards[2].unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shards[2].name} is missing: its index names it"):
        load_pretrained(tmp_path)


def test_a_shard_that_differs_from_its_index_is_refused(published, tmp_path):
    theirs, _ = published("Qwen 3")
    theirs.save_pretrained(tmp_path, max_shard_size="8KB")
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    name = "model.layers.1.mlp.up_proj.weight"
    where = json.loads(text)["weight_map"][name]
    other = next(path.name for path in sorted(tmp_path.glob("model-*")) if path.name != where)
    held = safetensors.torch.load_file(tmp_path / other)
    safetensors.torch.save_file(held | {name: torch.zeros(48, 32)}, tmp_path / other)
    with pytest.raises(ValueError, match=f"{other} holds {name}, which .* places in {where}"):
        load_pretrained(tmp_path)
    safetensors.torch.save_file(held, tmp_path / other)
    index.write_text(text.replace(name, "model.layers.1.mlp.more.weight"))
    with pytest.raises(ValueError, match=f"{where} holds {name}, which .* places in None"):
        load_pretrained(tmp_path)
    spare = json.loads(text)
    spare["weight_map"]["model.spare.weight"] = where
    index.write_text(json.dumps(spare))
    with pytest.raises(ValueError, match=f"names model.spare.weight, which {where} does not hold"):
        load_pretrained(tmp_path)
    for elsewhere in (f"../{where}", f"/tmp/{where}", "..", 3, None):
        spare["weight_map"]["model.spare.weight"] = elsewhere
        index.write_text(json.dumps(spare))
        with pytest.raises(ValueError, match="which is no file of its folder"):
            load_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["GPT-2", "Qwen 2"])
def test_each_tensor_that_is_missing_is_named(kind, published, tmp_path):
    _, folder = published(kind)
    tensors = tensors_of(folder)
    for name in tensors:
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        short = name.removeprefix("model.").removeprefix("transformer.")
        with pytest.raises(ValueError, match=f"holds no tensor {short}, which is our "):
            load_pretrained(changed(folder, tmp_path, rest))


def test_a_tensor_that_is_left_over_is_named(published, tmp_path):
    _, folder = published("Llama")
    for name in ("model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_norm.weight", "extra"):
        tensors = tensors_of(folder) | {name: torch.zeros(32)}
        with pytest.raises(ValueError, match=f"1 tensors with no place in this model: .*{name[-8:]}"):
            load_pretrained(changed(folder, tmp_path, tensors))
    twice = tensors_of(folder)
    twice["norm.weight"] = twice["model.norm.weight"].clone()
    with pytest.raises(ValueError, match="norm.weight, which was there before"):
        load_pretrained(changed(folder, tmp_path, twice))


def test_masks_and_frequencies_are_no_weights_but_biases_are(published, tmp_path):
    """A pattern that skips `attn.bias` would also eat `c_attn.bias`."""
    _, folder = published("GPT-2")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors_of(folder).items()}
    for n in range(2):
        tensors[f"h.{n}.attn.bias"] = torch.ones(1, 1, 64, 64).tril().bool()
        tensors[f"h.{n}.attn.masked_bias"] = torch.tensor(-1e4)
    loaded = load_pretrained(changed(folder, tmp_path, tensors))
    assert same(loaded, load_pretrained(folder))
    assert all(block.attention.qkv.bias.abs().sum() > 1 for block in loaded.blocks)
    _, folder = published("Llama")
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    assert same(load_pretrained(changed(folder, tmp_path, tensors_of(folder) | frequencies)), load_pretrained(folder))


def test_a_tied_head_is_the_embedding_or_refused(published, tmp_path):
    _, folder = published("Llama 3.2")
    tensors = tensors_of(folder)
    assert "lm_head.weight" not in tensors
    model = load_pretrained(folder)
    assert model.head.weight is model.token.weight
    twin = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    assert same(load_pretrained(changed(folder, tmp_path, twin)), model)
    twin["lm_head.weight"] += 1
    with pytest.raises(ValueError, match="tie_word_embeddings, but lm_head.weight is not the embedding"):
        load_pretrained(changed(folder, tmp_path, twin))
    with pytest.raises(ValueError, match="holds no tensor lm_head.weight"):
        load_pretrained(changed(folder, tmp_path, tensors, tie_word_embeddings=False))
    assert not torch.equal(load_pretrained(changed(folder, tmp_path, twin, tie_word_embeddings=False)).head.weight,
                           model.head.weight)  # fmt: skip


def test_a_shape_that_does_not_fit_is_named(published, tmp_path):
    _, folder = published("Qwen 3")
    with pytest.raises(ValueError, match=r"gate_proj.weight makes our blocks.0.mlp.gate.weight \(48, 32\), not \(47, 32\)"):
        load_pretrained(changed(folder, tmp_path, intermediate_size=47))


@torch.no_grad()
def test_a_table_of_positions_is_cut_when_asked_for_and_never_silently(published, tmp_path):
    theirs, folder = published("GPT-2")
    table = theirs.transformer.wpe.weight
    assert torch.equal(load_pretrained(folder, block_size=9).position.weight, table[:9])
    for rows in (63, 65, 32):
        with pytest.raises(ValueError, match=f"wpe.weight has 64 positions, config.json says n_positions = {rows}"):
            load_pretrained(changed(folder, tmp_path, n_positions=rows), block_size=9)
    assert same(load_pretrained(changed(folder, tmp_path, n_ctx=32)), load_pretrained(folder)), "as `transformers` does"


@torch.no_grad()
def test_settings_of_either_age_mean_the_same(published, tmp_path):
    _, folder = published("Llama 3.2")
    old = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
    for scaling in (old, {"type": old["rope_type"], **old}):
        settings = dict(rope_parameters="gone", rope_theta=50.0, rope_scaling=scaling)
        assert load_pretrained(changed(folder, tmp_path, **settings)).config == load_pretrained(folder).config
    config = load_pretrained(changed(folder, tmp_path, head_dim="gone")).config
    assert config.d_head is None and same(load_pretrained(tmp_path), load_pretrained(folder))


def test_the_stretched_table_is_that_of_llama_3():
    """Slow channels 8 times slower, fast ones as they were, and between them smoothly."""
    sizes = dict(vocab_size=3, block_size=100, n_layer=1, n_head=1, d_model=64, positions="rope")
    plain = rope_table(Config(**sizes, rope_theta=500_000.0))
    stretched = rope_table(Config(**sizes, rope_theta=500_000.0, rope_scaling=(8.0, 1.0, 4.0, 8192)))
    angle, slower = (torch.atan2(*table[1].view(2, 32).flip(0)) for table in (plain, stretched))
    ratio, turns = angle / slower, 8192 * angle / (2 * torch.pi)
    assert torch.allclose(ratio[turns > 4], torch.ones(1), atol=1e-5)
    assert torch.allclose(ratio[turns < 1], torch.full((1,), 8.0), rtol=1e-4)
    between = ratio[(turns >= 1) & (turns <= 4)]
    assert len(between) and ((1 < between) & (between < 8)).all() and (ratio.diff() > -1e-3).all()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_can_be_kept_or_widened(dtype, published, tmp_path):
    _, folder = published("Qwen 3")
    half = {name: tensor.to(dtype) for name, tensor in tensors_of(folder).items()}
    changed(folder, tmp_path, half)
    kept, wide = load_pretrained(tmp_path), load_pretrained(tmp_path, torch.float32)
    assert {p.dtype for p in kept.parameters()} == {dtype}
    ids = random_ids(2, 30)
    assert kept(ids).dtype == dtype and difference(kept(ids).float(), wide(ids)) < 0.1
    theirs = reference("Qwen 3")
    for p in theirs.parameters():
        p.copy_(p.to(dtype))
    assert difference(wide(ids), theirs(ids).logits) < 2e-5


@torch.no_grad()
def test_where_some_weights_have_more_bits_none_loses_any(published, tmp_path):
    _, folder = published("Qwen 3")
    mixed = {name: tensor if "norm" in name else tensor.bfloat16() for name, tensor in tensors_of(folder).items()}
    model = load_pretrained(changed(folder, tmp_path, mixed))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.norm.weight, mixed["model.norm.weight"])
    assert load_pretrained(tmp_path, torch.bfloat16).norm.weight.dtype == torch.bfloat16


def test_the_file_is_mapped_and_never_written_to(published, tmp_path):
    _, folder = published("Llama")
    path = changed(folder, tmp_path) / "model.safetensors"
    before = path.read_bytes()
    model = load_pretrained(tmp_path)
    model(random_ids(2, 9)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert path.read_bytes() == before
    save(model, tmp_path / "ours")
    assert same(load(tmp_path / "ours"), model)


def test_a_shorter_context_can_be_chosen_and_a_longer_one_not(published):
    for kind in ("GPT-2", "Llama"):
        _, folder = published(kind)
        model = load_pretrained(folder, block_size=20)
        assert model.config.block_size == 20
        ids = random_ids(20)
        torch.testing.assert_close(model(ids), load_pretrained(folder)(ids))
        with pytest.raises(ValueError, match="made for 64 tokens of context, not for 65"):
            load_pretrained(folder, block_size=65)
    assert load_pretrained(published("Mistral")[1]).config.block_size == 48, "up to its window nothing is hidden"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model_type="gemma3_text"), "model_type 'gemma3_text'; known are"),
        (dict(model_type="gone"), "model_type None"),
        (dict(hidden_act="gelu"), "hidden_act = 'gelu'"),
        (dict(attention_bias=True), "attention_bias = True"),
        (dict(rope_parameters=dict(rope_type="yarn", factor=4.0)), "stretches its context by 'yarn'"),
        (dict(quantization_config={"bits": 4}), "quantization_config"),
        (dict(hidden_size="gone"), "lacks 'hidden_size'"),
        (dict(num_attention_heads=5), "n_head must be a multiple of n_kv_head, not 5 and 4"),
        (dict(partial_rotary_factor=0.5), "partial_rotary_factor = 0.5"),
        (dict(mlp_bias=True), "attention_bias = False"),
        # Each of these was once read as if it were not there.
        (dict(rope_scaling=dict(rope_type="linear", factor=4.0)), "rope_parameters .* and rope_scaling .*: which of them"),
        (dict(rope_scaling=dict(LLAMA3)), "rope_parameters .* and rope_scaling .*: which of them"),
        (dict(rope_parameters=dict(LLAMA3, partial_rotary_factor=0.5)), "partial_rotary_factor = 0.5"),
        (dict(rope_parameters={"full_attention": dict(rope_type="linear", factor=4.0)}), "for each kind of layer"),
        (dict(is_causal=False), "is_causal = False"),
        (dict(layer_types=["full_attention", "sliding_attention"]), "layers that are not known here"),
    ],
)
def test_what_this_library_does_not_have_is_refused(change, message, published, tmp_path):
    _, folder = published("Llama")
    with pytest.raises(ValueError, match=message):
        load_pretrained(changed(folder, tmp_path, **change))


@torch.no_grad()
def test_mistral_has_its_window_whatever_a_setting_of_other_families_says(published, tmp_path):
    """`use_sliding_window` belongs to Qwen; the reference's Mistral does not read it."""
    _, folder = published("Mistral")
    for used in (False, True):
        ours = load_pretrained(changed(folder, tmp_path, use_sliding_window=used))
        assert ours.config.block_size == 48
    logits, ids = [], random_ids(2, 64)
    for name, setting in (("said", dict(use_sliding_window=False)), ("none", dict(sliding_window=None))):
        (tmp_path / name).mkdir()
        theirs = transformers.AutoModelForCausalLM.from_pretrained(changed(folder, tmp_path / name, **setting))
        logits.append(theirs(ids).logits)
    said, none = logits
    assert difference(load_pretrained(folder)(ids[:, :48]), said[:, :48]) < 2e-5, "up to the window nothing is hidden"
    assert difference(said[:, 48:], none[:, 48:]) > 1e-2, "and beyond it something is, whatever was said"


@pytest.mark.parametrize("used", [False, True])
def test_a_window_of_qwen_counts_where_it_is_used(used, published, tmp_path):
    _, folder = published("Qwen 2")
    settings = dict(use_sliding_window=used, sliding_window=40, layer_types="gone")
    assert load_pretrained(changed(folder, tmp_path, **settings)).config.block_size == (40 if used else 64)


def test_a_folder_that_is_no_model_is_told_what_it_lacks(tmp_path, published):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it has no config.json"):
        load_pretrained(tmp_path)
    config = published("Llama")[1] / "config.json"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("\ufeff" + config.read_text(), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor model.safetensors.index.json"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="pickled weights .* are not read"):
        load_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged or no file of tensors"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("raw", "millions"),
    [
        # The configurations as they are published: vocabulary, layers, heads, channels, parameters.
        (dict(model_type="llama", vocab_size=49152, num_hidden_layers=30, num_attention_heads=9, hidden_size=576,
              num_key_value_heads=3, intermediate_size=1536, tie_word_embeddings=True), 134.5),  # SmolLM2
        (dict(model_type="qwen3", vocab_size=151936, num_hidden_layers=28, num_attention_heads=16, hidden_size=1024,
              num_key_value_heads=8, intermediate_size=3072, head_dim=128, tie_word_embeddings=True), 596.0),
        (dict(model_type="llama", vocab_size=128256, num_hidden_layers=16, num_attention_heads=32, hidden_size=2048,
              num_key_value_heads=8, intermediate_size=8192, tie_word_embeddings=True), 1235.8),
        (dict(model_type="gpt2", vocab_size=50257, n_layer=12, n_head=12, n_embd=768, n_positions=1024), 124.4),
    ],
)  # fmt: skip
def test_published_sizes_are_the_known_ones(raw, millions):
    from tinyllm.model import n_parameters

    config = read_config(dict(max_position_embeddings=131072) | raw)
    assert n_parameters(config) / 1e6 == pytest.approx(millions, abs=0.05)
    assert config.block_size <= 8192
