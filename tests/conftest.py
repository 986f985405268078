"""What tests share: a browser, and a small book that holds every live widget."""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from browser import PIXEL, ROOT, render
from course.data import tales
from course.pictures import chromium
from tinyllm.tokens import Tokenizer, train_bpe


# The same examples each time, and no limit on how long one takes: nothing is red by chance or on a busy machine.
settings.register_profile("book", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("book")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except FileNotFoundError as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))


@pytest.fixture(scope="session")
def live_book(tmp_path_factory) -> Path:
    """A book with a page `chapters/NAME.html` for each live widget, which has the id NAME there."""
    source = tmp_path_factory.mktemp("live")
    for name in ["_config.yml", "references.bib"]:
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "pages", source / "pages")
    shutil.copytree(ROOT / "tinyllm/taleteller", source / "tinyllm/taleteller")
    scripts = (source / "pages/live").glob("*.js")
    widgets = [path.stem for path in scripts if f'Live.widget("{path.stem}"' in path.read_text()]
    (source / "chapters").mkdir()
    (source / "chapters/root.md").write_text("# Widgets\n")
    for name in widgets:
        (source / f"pages/live/{name}.png").write_bytes(base64.b64decode(PIXEL))
        place = f":::{{live}} {name}\n\n![A picture of it.](../pages/live/{name}.png)\n\nA sentence.\n:::\n"
        (source / f"chapters/{name}.md").write_text(f"# The {name}\n\n{place}")
    listed = "".join(f"- file: chapters/{name}\n" for name in sorted(widgets))
    (source / "_toc.yml").write_text(f"format: jb-book\nroot: chapters/root\nchapters:\n{listed}")
    return render(source, tmp_path_factory.mktemp("live-out"))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A small one of the stories' own."""
    return Tokenizer(*train_bpe(tales(20_000), 300))
