"""What a benchmark ran on."""

import platform


def machine() -> str:
    """The processor and what it can do at once, its cores, the system and the Python, in words."""
    from tinyllm import devices  # here, since some benchmarks measure memory before they speak of the machine

    its = devices.machine()
    units = its["units"] + ", bf16" * its["bf16"]
    return f"{its['processor']} ({units}), {its['cores']} cores, {its['system']}, Python {platform.python_version()}"
