"""The way out of Jupyter Book: plain Sphinx builds the same pages, without its package among the extensions."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from browser import PIXEL, ROOT, render

TOC = "format: jb-book\nroot: intro\nchapters:\n- file: chapters/04_page\n- file: glossary\n- file: references\n"
PAGES = {
    "_toc.yml": TOC,
    "intro.md": "# Begin\n\nSee [the second section](chapters/04_page.ipynb#The-second-one).\n",
    "glossary.md": "# Glossary\n\n```{glossary}\nentropy\n  How unsure one is.\n```\n",
}
PROSE = r"""# A page

The entropy of $p$ {cite:p}`shannon1951`:

$$ H = -\sum_j p_j \ln p_j $$

:::{two-views}
- **As a lookup.** One.
- **As a smoother.** Two.
:::

## The second one

:::{admonition} Hint
:class: dropdown
It folds.
:::

<details>
<summary>Answer</summary>

It is **three**.

</details>
"""
# What Jupyter Book adds to the extensions, and its settings.
ITS_OWN = ("jupyter_book", "sphinx_comments", "sphinx_jupyterbook_latex", "sphinx_multitoc_numbering")
ITS_SETTINGS = r"(?m)^(comments_config|latex_engine|use_jupyterbook_latex|use_multitoc_numbering) = .*\n"


def book(source: Path) -> None:
    source.mkdir()
    for name in ("_config.yml", "references.md", "references.bib"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "pages").symlink_to(ROOT / "pages")
    for name, text in PAGES.items():
        (source / name).write_text(text, encoding="utf8")
    figure = new_output("display_data", {"image/png": PIXEL})
    alt = {"mystnb": {"image": {"alt": "A point."}}, "tags": ["hide-input"]}
    cells = [new_markdown_cell(PROSE), new_code_cell("draw()", execution_count=1, outputs=[figure], metadata=alt)]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (source / "chapters").mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=python), source / "chapters/04_page.ipynb")


def run(program: str, *arguments) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pages_of(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf8") for path in paths}


def test_plain_sphinx_builds_the_same_pages(tmp_path):
    book(tmp_path / "book")
    by_jupyter_book = pages_of(render(tmp_path / "book", tmp_path))
    run("jupyter-book", "config", "sphinx", tmp_path / "book")
    conf = tmp_path / "book" / "conf.py"
    settings = conf.read_text(encoding="utf8")
    for name in ITS_OWN:
        settings, found = re.subn(rf"'{name}'(, )?", "", settings)
        assert found == 1, name
    conf.write_text(re.sub(ITS_SETTINGS, "", settings), encoding="utf8")
    run("sphinx-build", "-W", "-n", "-q", tmp_path / "book", tmp_path / "html")
    by_sphinx = pages_of(tmp_path / "html")
    assert "chapters/04_page.html" in by_sphinx and 'id="the-second-one"' in by_sphinx["chapters/04_page.html"]
    assert by_sphinx == by_jupyter_book
