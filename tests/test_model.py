"""The model: what it computes, what it costs, and how it is kept."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinyllm.attention import causal_mask
from tinyllm.loss import cross_entropy
from tinyllm.model import GPT, Config, flops_per_token, from_dict, initialize, load, n_parameters, save

SIZES = ["vocab_size", "block_size", "n_layer", "n_head", "d_model"]
TINY = Config(vocab_size=17, block_size=8, n_layer=2, n_head=2, d_model=12)


def random_gpt(config=TINY, seed=0, dtype=torch.float32):
    """A model in which every weight matters: a new one has many zeros."""
    model, generator = GPT(config).to(dtype), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=dtype) + (p.ndim == 1)
    return model


def random_ids(*shape, seed=0):
    return torch.randint(TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


class TorchGPT(nn.Module):
    """The same model from torch's own layers, with copied weights."""

    def __init__(self, ours):
        super().__init__()
        config, C = ours.config, ours.config.d_model
        self.ours, self.layers = ours, nn.ModuleList()
        for block in ours.blocks:
            layer = nn.TransformerEncoderLayer(
                C, config.n_head, 4 * C, dropout=0, activation="gelu",
                batch_first=True, norm_first=True, bias=False, dtype=torch.float64,
            )  # fmt: skip
            copied = {
                "self_attn.in_proj_weight": block.attention.qkv.weight,
                "self_attn.out_proj.weight": block.attention.out.weight,
                "linear1.weight": block.mlp.up.weight,
                "linear2.weight": block.mlp.down.weight,
                "norm1.weight": block.norm_1.weight,
                "norm2.weight": block.norm_2.weight,
            }
            layer.load_state_dict(copied, strict=True)
            self.layers.append(layer)

    def forward(self, ids):
        T, C = ids.shape[-1], self.ours.config.d_model
        x = nn.functional.embedding(ids, self.ours.token.weight)
        x = x + nn.functional.embedding(torch.arange(T), self.ours.position.weight)
        for layer in self.layers:
            x = layer(x, src_mask=~causal_mask(T))  # torch's True means *do not* attend
        x = nn.functional.layer_norm(x, (C,), self.ours.norm.weight)
        return x @ self.ours.head.weight.T


@pytest.mark.parametrize("tie_weights", [False, True])
def test_the_model_equals_one_of_torchs_own_layers(tie_weights):
    ours = random_gpt(replace(TINY, tie_weights=tie_weights), dtype=torch.float64)
    ids = random_ids(3, 8)
    torch.testing.assert_close(ours(ids), TorchGPT(ours)(ids), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", range(1, 8))
def test_a_later_token_never_changes_an_earlier_logit(t):
    model, ids = random_gpt(), random_ids(2, 8)
    before = model(ids)[:, :t]
    ids[:, t:] = (ids[:, t:] + 1) % TINY.vocab_size
    assert torch.equal(model(ids)[:, :t], before)


def test_every_earlier_token_changes_a_later_logit():
    model, ids = random_gpt(), random_ids(8)
    before = model(ids)[-1]
    for t in range(8):
        other = ids.clone()
        other[t] = (ids[t] + 1) % TINY.vocab_size
        assert not torch.allclose(model(other)[-1], before, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**16))
def test_a_text_has_the_same_logits_alone_and_in_a_batch(B, T, seed):
    model, ids = random_gpt(dtype=torch.float64), random_ids(B, T, seed=seed)
    alone = torch.stack([model(row) for row in ids])
    torch.testing.assert_close(model(ids), alone, rtol=1e-12, atol=1e-12)


def test_any_leading_dimensions_will_do():
    model, ids = random_gpt(), random_ids(2, 3, 5)
    logits, attention = model(ids, return_attention=True)
    assert logits.shape == (2, 3, 5, 17) and attention.shape == (2, 2, 3, 2, 5, 5)
    torch.testing.assert_close(logits[1, 2], model(ids[1, 2]))


def test_the_attention_returned_is_that_of_each_layer_and_head():
    model, ids = random_gpt(), random_ids(3, 8)
    logits, attention = model(ids, return_attention=True)
    torch.testing.assert_close(logits, model(ids), rtol=1e-4, atol=1e-5)
    assert attention.shape == (TINY.n_layer, 3, TINY.n_head, 8, 8)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 2, 8))
    assert (attention[..., ~causal_mask(8)] == 0).all()
    first = model.token(ids) + model.position.weight
    weights = []
    model.blocks[0](first, weights=weights)
    torch.testing.assert_close([attention[0]], weights)


def test_a_new_model_has_no_opinion():
    logits = GPT(TINY)(random_ids(2, 8))
    assert (logits == 0).all()
    loss = cross_entropy(logits, random_ids(2, 8, seed=1))
    assert loss.item() == pytest.approx(math.log(TINY.vocab_size))


def test_a_new_block_changes_nothing():
    model, x = GPT(TINY), torch.randn(2, 5, 12)
    assert all(torch.equal(block(x), x) for block in model.blocks)


class Wrapped(nn.Module):
    """As DistributedDataParallel does it."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **options):
        return self.module(*args, **options)


def with_wrapped_parts(model):
    """As it is done to shard a model, or to compute parts of it again."""
    for block in model.blocks:
        block.attention.out, block.mlp.down = Wrapped(block.attention.out), Wrapped(block.mlp.down)
    model.blocks[1], model.head = torch.compile(model.blocks[1]), Wrapped(model.head)
    model.token, model.position = Wrapped(model.token), Wrapped(model.position)
    return model


@pytest.mark.parametrize("wrap", [Wrapped, torch.compile, with_wrapped_parts, lambda m: Wrapped(torch.compile(m))])
@pytest.mark.parametrize("parts", [{}, dict(bias=True, tie_weights=True), dict(mlp="swiglu", positions="none")])
def test_a_model_begins_in_the_same_way_however_it_is_wrapped(wrap, parts):
    plain, wrapped = GPT(replace(TINY, **parts)), GPT(replace(TINY, **parts))
    for model, begun in ((plain, plain), (wrapped, wrap(wrapped))):
        for p in model.parameters():
            nn.init.constant_(p, 3.0)
        torch.manual_seed(0)
        initialize(begun)
    for p, q in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(p, q)


def test_what_reads_the_stream_keeps_its_variance():
    torch.manual_seed(0)
    model, x = GPT(replace(TINY, d_model=192)), torch.randn(500, 192)
    for block in model.blocks:
        read = block.attention.qkv(x), block.mlp.up(x)
        assert all(0.95 < channels.std() < 1.05 for channels in read)


def test_the_first_step_reaches_the_head_and_the_next_ones_everything():
    torch.manual_seed(0)
    model, ids = GPT(TINY), random_ids(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    touched = []
    for _ in range(3):
        model.zero_grad()
        cross_entropy(model(ids), ids).backward()
        optimizer.step()
        touched.append({name for name, p in model.named_parameters() if p.grad.any()})
    assert touched[0] == {"head.weight"}
    assert touched[2] == {name for name, _ in model.named_parameters()}


sizes = st.builds(
    lambda V, T, n_layer, n_head, d_head, tie: Config(V, T, n_layer, n_head, n_head * d_head, tie),
    *(st.integers(1, most) for most in (40, 16, 3, 3, 8)),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_parameters_and_flops_are_those_of_the_formulas(config):
    model, ids = GPT(config), torch.zeros(2, config.block_size, dtype=torch.long)
    assert n_parameters(config) == sum(p.numel() for p in model.parameters())
    tokens = ids.numel()
    # The formula is that of all scores; torch's counter knows no fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        logits = model(ids)
    assert forward.get_total_flops() == tokens * flops_per_token(config)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert backward.get_total_flops() == 2 * tokens * flops_per_token(config)


def test_the_size_of_gpt2_is_that_of_its_file_without_biases():
    gpt2 = Config(50257, 1024, n_layer=12, n_head=12, d_model=768, tie_weights=True)
    biases = 12 * (3 * 768 + 768 + 4 * 768 + 768 + 2 * 768) + 768
    assert n_parameters(gpt2) + biases == 124_439_808


def test_tied_weights_are_one_matrix():
    model = GPT(replace(TINY, tie_weights=True))
    assert model.head.weight is model.token.weight
    assert len(list(model.parameters())) == len(list(GPT(TINY).parameters())) - 1


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[3, 17]]), "id 17 is not in the vocabulary, 0 to 16"),
        (torch.tensor([-1, 3]), "id -1 is not in the vocabulary"),
        (torch.zeros(2, 9, dtype=torch.long), "9 ids are too many for a context of 8"),
        (torch.zeros(2, 0, dtype=torch.long), r"at least one, not \(2, 0\)"),
        (torch.tensor(3), r"\(\.\.\., T\), at least one, not \(\)"),
        (torch.zeros(2, 3), "whole numbers, of 64 or 32 bits, not torch.float32"),
        (torch.zeros(2, 3, dtype=torch.bool), "not torch.bool"),
        (torch.zeros(2, 3, dtype=torch.int16), "not torch.int16"),
        (torch.tensor([[17]]), "id 17 is not in the vocabulary, 0 to 16"),
        (torch.tensor([[-1]]), "id -1 is not in the vocabulary, 0 to 16"),
    ],
)
def test_ids_that_the_model_does_not_know_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        GPT(TINY)(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 2}, r"unknown keys \['n_layers'\], missing keys \[\]; the keys are \['vocab_size'"),
        ({"n_layer": 0}, "n_layer must be a whole number above 0, not 0"),
        ({"n_layer": "2"}, "n_layer must be .* not '2'"),
        ({"n_head": 5}, "multiple of n_head, not 12 and 5"),
        ({"norm": "batch"}, "norm must be one of 'layer', 'rms', not 'batch'"),
        ({"positions": "sinus"}, "positions must be one of 'learned', 'rope', 'alibi', 'none'"),
        ({"mlp": "relu"}, "mlp must be one of 'gelu', 'gelu_tanh', 'swiglu'"),
        ({"n_kv_head": 3}, "n_head must be a multiple of n_kv_head, not 2 and 3"),
        ({"d_head": 5, "positions": "rope"}, "channels turn in pairs: d_head cannot be 5"),
        ({"d_ff": 0}, "d_ff must be a whole number above 0 or null, not 0"),
        ({"norm_eps": 0}, "norm_eps must be a number above 0"),
        ({"rope_scaling": [8.0, 1.0]}, "rope_scaling must be four numbers"),
        ({"qkv_bias": "yes"}, "qkv_bias must be true or false or null"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Config, asdict(TINY) | change)


def test_a_configuration_with_a_missing_key_is_refused():
    with pytest.raises(ValueError, match=r"missing keys \['n_head', 'd_model'\]"):
        from_dict(Config, {"vocab_size": 3, "block_size": 4, "n_layer": 1})


@pytest.mark.parametrize("tie_weights", [False, True])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, tie_weights):
    model = random_gpt(replace(TINY, tie_weights=tie_weights))
    save(model, tmp_path / "new" / "model")
    loaded = load(tmp_path / "new" / "model")
    assert loaded.config == model.config
    assert torch.equal(loaded(random_ids(8)), model(random_ids(8)))
    assert sorted(path.name for path in (tmp_path / "new" / "model").iterdir()) == [
        "model.json", "model.safetensors",
    ]  # fmt: skip


def test_half_precision_takes_half_the_room(tmp_path):
    model = random_gpt(replace(TINY, d_model=64))
    save(model, tmp_path / "whole")
    save(model, tmp_path / "half", torch.float16)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.52 * whole
    loaded = load(tmp_path / "half")
    assert loaded.token.weight.dtype == torch.float32
    assert torch.equal(loaded.token.weight, model.token.weight.half().float())


@pytest.mark.parametrize(
    "parts",
    [
        dict(norm="rms", positions="rope", mlp="swiglu", n_kv_head=1, qk_norm=True),
        dict(bias=True, mlp="gelu_tanh", norm_eps=1e-6),
        dict(positions="rope", rope_scaling=(8.0, 1.0, 4.0, 8), d_head=4, qkv_bias=True),
        dict(positions="none", d_ff=20),
    ],
)
def test_a_model_of_other_parts_is_saved_with_their_names_and_comes_back(tmp_path, parts):
    model = random_gpt(replace(TINY, **parts))
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert loaded.config == model.config and hash(loaded.config) == hash(model.config)
    assert torch.equal(loaded(random_ids(8)), model(random_ids(8)))
    written = json.loads((tmp_path / "model.json").read_text())["config"]
    assert set(written) == {"tie_weights", *SIZES, *parts}
    assert n_parameters(model.config) == sum(p.numel() for p in model.parameters())


def test_a_model_is_saved_as_itself_however_it_is_wrapped(tmp_path):
    model = random_gpt()
    for name, wrapped in (("compiled", torch.compile(model)), ("wrapped", Wrapped(torch.compile(model)))):
        save(wrapped, tmp_path / name)
        assert torch.equal(load(tmp_path / name)(random_ids(8)), model(random_ids(8)))


def test_only_the_bare_name_means_the_model_of_the_book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("taleteller").config.vocab_size == 2048
    for folder in (".", "", "..", "./taleteller", tmp_path):
        with pytest.raises(FileNotFoundError):
            load(folder)
    save(random_gpt(), "taleteller")
    assert load("./taleteller").config == TINY


def test_damage_to_a_saved_model_is_noticed(tmp_path):
    save(random_gpt(), tmp_path)
    weights, about = tmp_path / "model.safetensors", tmp_path / "model.json"
    data, text = weights.read_bytes(), about.read_text()
    weights.write_bytes(data[:-1])
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
        load(tmp_path)
    weights.write_bytes(data)
    about.write_text(text.replace('"n_layer": 2', '"n_layer": 3'))
    with pytest.raises(ValueError, match=r"blocks.2.attention.out.weight is missing there, \(12, 12\) here"):
        load(tmp_path)
    about.write_text(text.replace('"vocab_size": 17', '"vocab_size": 18'))
    with pytest.raises(ValueError, match=r"head.weight is \(17, 12\) there, \(18, 12\) here"):
        load(tmp_path)
    for broken in (text[:40], "[]", json.dumps({"config": asdict(TINY)})):
        about.write_text(broken)
        with pytest.raises(ValueError, match="model.json is no saved model"):
            load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, "float16"])
def test_weights_are_not_saved_in_a_type_that_has_none_of_them(tmp_path, dtype):
    with pytest.raises(ValueError, match="weights can be of a type such as torch.float16, not"):
        save(random_gpt(), tmp_path, dtype)
    assert not list(tmp_path.iterdir())


def test_a_weight_that_is_too_large_for_sixteen_bits_is_not_saved_as_infinite(tmp_path):
    model = random_gpt()
    model.norm.weight.data[0] = 1e6
    with pytest.raises(ValueError, match="norm.weight has numbers up to 1e.06, more than torch.float16 can hold"):
        save(model, tmp_path, torch.float16)
    save(model, tmp_path, torch.bfloat16)


def test_a_model_that_could_not_be_loaded_again_is_not_saved(tmp_path):
    other, without = random_gpt(), random_gpt()
    other.head = nn.Linear(12, 2, bias=False)
    del without.head.weight  # as where a layer keeps it packed, in eight bits
    for model, there in ((other, r"\(2, 12\)"), (without, "missing")):
        with pytest.raises(ValueError, match=f"head.weight is {there}, and \\(17, 12\\) by its configuration"):
            save(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_notes_that_are_no_json_leave_the_model_that_was_there(tmp_path):
    save(random_gpt(), tmp_path)
    with pytest.raises(TypeError):
        save(random_gpt(seed=1), tmp_path, notes={"loss": torch.ones(1)})
    assert torch.equal(load(tmp_path).norm.weight, random_gpt().norm.weight)


def test_a_description_may_begin_with_the_mark_that_windows_writes(tmp_path):
    save(random_gpt(), tmp_path)
    (tmp_path / "model.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "model.json").read_bytes())
    assert load(tmp_path).config == TINY


def test_ids_that_are_no_tensor_are_named():
    with pytest.raises(ValueError, match="ids must be a tensor .*, not ndarray"):
        random_gpt()(random_ids(1, 4).numpy())
