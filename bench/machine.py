"""What a benchmark ran on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """The processor and what it can do at once, its cores, the system and the Python, in words."""
    import torch  # here, since some benchmarks measure memory before they speak of the machine
    from tinyllm.devices import has_bf16

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    units = torch.backends.cpu.get_cpu_capability() + ", bf16" * has_bf16(torch.device("cpu"))
    return f"{cpu} ({units}), {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
