"""How pytest runs the book: notebooks as the build does, downloads only where they can be had."""

import functools
import os
import signal
import subprocess
import sys

import hypothesis
import pytest

from course.build import KERNEL_ENVIRONMENT

os.environ.update(KERNEL_ENVIRONMENT)  # nbval's kernels inherit it

# A shell ignores Ctrl-C for what it runs in the background, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("book", deadline=None)
hypothesis.settings.load_profile("book")

# A cell with one of these tags needs a download or a package; it runs only where this code does.
DOWNLOADS = {
    "needs-shakespeare": "from course.data import shakespeare; shakespeare()",
    "needs-gpt2": "import tiktoken; tiktoken.get_encoding('gpt2'); "
    "from tinyllm.tokens import Tokenizer; Tokenizer.from_gpt2_files()",
    "needs-transformers": "import transformers",
}


def pytest_collectstart(collector: pytest.Collector) -> None:
    """A curve's last digits may differ between processors; that a cell gives a figure at all is compared."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml",)


@functools.cache
def why_missing(tag: str) -> str | None:
    """Why the download that `tag` speaks of cannot be had, or None if it can."""
    command = [sys.executable, "-c", DOWNLOADS[tag]]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer within 60 s"
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    cell = getattr(item, "cell", None)
    for tag in cell.metadata.get("tags", ()) if cell else ():
        if tag in DOWNLOADS and (reason := why_missing(tag)):
            pytest.skip(f"{tag}: {reason}")
