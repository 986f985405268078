"""Loading and decoding at the sizes of published models, with random weights of their shapes.

Writes a folder as such a model is published (bfloat16), into a temporary place, reads it in a process of its own,
continues a text greedily, and prints a Markdown document. Names of shapes can be given, such as smollm2-135m. Speed
and memory depend on shapes, not on what the numbers are.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path
from time import process_time

from machine import machine

NEW = 30  # tokens
LLAMA = dict(model_type="llama", hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=True)
SHAPES = {
    "smollm2-135m": LLAMA
    | dict(vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
           intermediate_size=1536, max_position_embeddings=8192, rope_theta=100_000),
    "qwen3-0.6b": LLAMA
    | dict(model_type="qwen3", vocab_size=151936, hidden_size=1024, num_hidden_layers=28, num_attention_heads=16,
           num_key_value_heads=8, head_dim=128, intermediate_size=3072, max_position_embeddings=40960,
           rope_theta=1_000_000),
    "llama-3.2-1b": LLAMA
    | dict(vocab_size=128256, hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
           head_dim=64, intermediate_size=8192, max_position_embeddings=8192, rope_theta=500_000),
}  # fmt: skip


def write(shape: dict, folder: Path) -> None:
    """A published folder of random weights."""
    import safetensors.torch
    import torch
    from tinyllm.model import GPT
    from tinyllm.pretrained import LLAMA as NAMES
    from tinyllm.pretrained import read_config

    config, tensors = read_config(shape), {}
    with torch.device("meta"):
        model = GPT(config)
    d = model.blocks[0].attention.out.in_features // config.n_head
    rows = [config.n_head * d, *[(config.n_kv_head or config.n_head) * d] * 2]
    for name, p in model.named_parameters():
        stem = name.removesuffix(".weight").split(".")
        n = stem[1] if stem[0] == "blocks" else ""
        stem = ".".join(["blocks", "#", *stem[2:]] if n else stem)
        weight = (torch.randn(p.shape) * 0.02).bfloat16() if p.ndim == 2 else torch.ones(p.shape).bfloat16()
        theirs = NAMES[stem]
        for part, their in zip(weight.split(rows) if len(theirs) == 3 else [weight], theirs):
            tensors[f"model.{their.replace('#', n)}.weight"] = part.contiguous()
    tensors.pop("model.lm_head.weight", None)  # tied
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(shape))


def peak() -> float:
    """The most memory that this process has held so far, in GB. (`ru_maxrss` would count what its parent held.)"""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def measure(folder: str) -> dict:
    """CPU seconds to load, peak memory before and after decoding in GB, tokens per CPU second."""
    import torch
    from tinyllm.generation import generate
    from tinyllm.model import n_parameters
    from tinyllm.pretrained import load_pretrained

    began = process_time()
    model = load_pretrained(folder).eval()
    seconds, loaded = process_time() - began, peak()
    ids = torch.arange(10)
    generate(model, ids, 2, temperature=0)
    began = process_time()
    generate(model, ids, NEW, temperature=0)
    speed = NEW / (process_time() - began)
    used = peak()
    return dict(millions=n_parameters(model.config) / 1e6, seconds=seconds, loaded=loaded, used=used, speed=speed)


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    print(f"# Models of real sizes\n\n{machine()}, torch {version_of('torch')}, one thread, bfloat16.")
    print("Random weights in the shapes of published models, the files in the system's cache. Loading is in CPU")
    print("seconds, memory is the most that the process held after loading and after decoding, and speed is that of")
    print(f"{NEW} tokens after a prompt of 10, one text, greedily, with a cache.\n")
    print("| shape of | parameters | loading | memory loaded, used | tokens per CPU second |\n|---|--:|--:|--:|--:|")
    for name in sys.argv[1:] or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            write(SHAPES[name], Path(folder))
            command = [sys.executable, __file__, "measure", folder]
            r = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"| {name} | {r['millions']:.0f} M | {r['seconds']:.1f} s | {r['loaded']:.2f}, {r['used']:.2f} GB "
              f"| {r['speed']:.1f} |")


if __name__ == "__main__":
    main()
