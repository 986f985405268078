"""Settings of the user's own, other builders than HTML, and a machine without a home change nothing."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pooch
import pytest
from browser import PIXEL, ROOT

from course import build
from course.data import cache

PAGE = """# A page

:::{live} lookup
:id: here

![A picture of it.](../pages/live/lookup.png)

A sentence.
:::
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A page with a widget, and a sheet whose output leads to its solution."""
    source = tmp_path_factory.mktemp("book")
    for name in ("_config.yml", "references.bib"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "pages", source / "pages")
    (source / "pages/live/lookup.png").write_bytes(base64.b64decode(PIXEL))
    for folder in ("chapters", "exercises", "solutions"):
        (source / folder).mkdir()
    (source / "chapters/page.md").write_text(PAGE)
    (source / "solutions/x.md").write_text("# Solved\n")
    cell = nbformat.v4.new_code_cell("check('q1')", execution_count=1)
    link = '<a href="../solutions/x.ipynb">The solution</a> <a href="../solutions/none.ipynb">None</a>'
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/html": link, "text/plain": "x"}, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Sheet"), cell]), source / "exercises/x.ipynb")
    (source / "_toc.yml").write_text("format: jb-book\nroot: chapters/page\nchapters:\n- file: exercises/x\n- file: solutions/x\n")
    subprocess.run([Path(sys.executable).with_name("jupyter-book"), "config", "sphinx", source], check=True, capture_output=True)
    return source


def built(book, out, builder):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", builder, "-q", book, out], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_a_link_from_an_output_to_a_page_leads_there_whatever_pages_are_called(book, tmp_path):
    text = (built(book, tmp_path / "out", "dirhtml") / "exercises/x/index.html").read_text()
    assert '<a href="../../solutions/x/">The solution</a>' in text and 'href="../solutions/none.ipynb"' in text


def test_a_widget_on_paper_is_its_picture_and_its_sentence(book, tmp_path):
    (tex,) = built(book, tmp_path / "out", "latex").glob("*.tex")
    text = tex.read_text()
    assert "A sentence." in text and "{lookup}" in text and "data-widget" not in text


def test_the_users_own_settings_reach_no_notebook(tmp_path):
    home = tmp_path / "home"
    (home / ".ipython/profile_default").mkdir(parents=True)
    (home / ".ipython/profile_default/ipython_config.py").write_text('c.InteractiveShell.ast_node_interactivity = "all"\n')
    (home / ".config/matplotlib").mkdir(parents=True)
    (home / ".config/matplotlib/matplotlibrc").write_text("lines.linewidth: 7\n")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/01_x.py").write_text("# %% [markdown]\n# # A\n\n# %%\nimport matplotlib\n1\nmatplotlib.rcParams['lines.linewidth']\n")
    environment = {key: value for key, value in os.environ.items() if key not in build.KERNEL_ENVIRONMENT}
    program = f"from pathlib import Path; import argparse; from course import build; build.ROOT = Path({str(tmp_path)!r})\n" \
        "parser = argparse.ArgumentParser(); build.add_arguments(parser); raise SystemExit(build.run(parser.parse_args([])))"
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = nbformat.read(tmp_path / "chapters/01_x.ipynb", 4).cells[1].outputs
    assert [output["data"]["text/plain"] for output in outputs] == ["1.5"]


def test_a_comment_that_begins_like_a_cell_stays_as_it_is(tmp_path):
    (tmp_path / "chapters").mkdir()
    code = "x = 1\n# %%time\n# %%timeit -n 3\nx"
    (tmp_path / "chapters/01_x.py").write_text(f"# %% [markdown]\n# # A\n\n# %%\n{code}\n")
    (target,) = build.find_targets(tmp_path, [])
    assert build.plan(target, tmp_path).notebook.cells[1].source == code


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch):
    def nowhere(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(pooch, "os_cache", nowhere)
    assert cache.folder().name == "attention-twice" and cache.folder().parent.is_dir()


def test_a_claim_is_checked_also_where_the_user_has_turned_asserts_off(tmp_path, monkeypatch, capsys):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "startup.py").write_text("x = 1")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    code = "import warnings\nwarnings.simplefilter\nassert 'x' not in globals()\nassert __debug__ and not warnings.warn('w')"
    (tmp_path / "chapters/01_x.py").write_text(f"# %% [markdown]\n# # A\n\n# %%\n{code}\n")
    assert build.build(tmp_path, []) == 0, capsys.readouterr().err
    (tmp_path / "chapters/01_x.py").write_text("# %% [markdown]\n# # A\n\n# %%\nassert 1 == 2\n")
    assert build.build(tmp_path, []) == 1 and "assert 1 == 2" in capsys.readouterr().err


def test_files_of_an_editor_and_in_another_encoding_stop_no_build_of_others(tmp_path, capsys):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/.#01_x.py").symlink_to("nobody@nowhere.1")
    (tmp_path / "chapters/01_x.py").write_bytes("\ufeff# %% [markdown]\n# # A\n".encode())
    (tmp_path / "chapters/02_x.py").write_bytes("# %% [markdown]\n# # Ä\n".encode("latin-1"))
    assert build.build(tmp_path, []) == 1
    said = capsys.readouterr()
    assert "chapters/01_x.ipynb: executed" in said.out and "chapters/02_x.py: not in UTF-8" in said.err
