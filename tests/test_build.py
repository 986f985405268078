"""What `python -m course build` promises. Projects are small and stand in temporary folders."""

import argparse
import ast
import dis
import importlib
import inspect
import os
import signal
import subprocess
import symtable
import sys
import time
import types
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import build

# Real code of many shapes, to quote and to take answers out of.
LIBRARY = [importlib.import_module(name) for name in ("dataclasses", "heapq", "textwrap")]

CHAPTER = """\
# %% [markdown]
# # A title
# One sentence.

# %%
import math

# %% [markdown]
# Before the figure.

# %% tags=["hide-input"] alt="A line: \\"up\\", [then] down."
print(math.sqrt(4))
"""

SHEET = '''\
# %% [markdown]
# {{q1}}

# %% tags=["answer"]
import math
LIMIT = 3

@staticmethod
def half(x: float, *, to=(1,
         2)) -> float:  # a float
    """Half of x.

    # Not a comment."""
    # The secret.
    return x / 2
    # The last secret.


def twice(x):
    # Another secret.
    return 2 * x

# %%
half(4)

# %% tags=["solution-only"]
print("only with the answers")

# %% tags=["exercise-only"]
print("only without the answers")

# %% tags=["stub"]
def bug():
    return "find me"

# %% tags=["answer"]
def bug():
    return "found"
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project: a function that writes files into it."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "heading", lambda sheet, key, where: f"## {key} of {sheet}")

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def no_kernel(monkeypatch):
    """Stands in for the kernel: each cell outputs its own source. Holds the notebooks that were run."""
    ran = []

    def execute(self, plan, root):
        ran.append(plan.target.notebook.as_posix())
        for count, cell in enumerate(build.code_cells(plan.notebook), 1):
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", text=cell.source)]

    monkeypatch.setattr(build.Kernels, "execute", execute)
    return ran


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    return build.run(parser.parse_args(arguments))


def cells(root: Path, notebook: str) -> list:
    return nbformat.read(root / notebook, as_version=4).cells


def planned(root: Path, name: str = "01_a") -> list:
    return build.plan(build.find_targets(root, [name])[0], root).notebook.cells


# --- quotes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", LIBRARY, ids=lambda module: module.__name__)
def test_a_quote_is_the_definition_as_it_stands_in_the_library(module):
    library = inspect.getsource(module)
    nodes = {node.name: node for node in ast.parse(library).body if hasattr(node, "name")}
    for name, node in nodes.items():
        quoted = build.definition(library, name)
        assert quoted in library
        assert ast.dump(ast.parse(quoted)) == ast.dump(ast.Module([node], []))


@pytest.mark.parametrize("module", LIBRARY, ids=lambda module: module.__name__)
def test_the_names_that_a_quote_needs_are_those_that_its_bytecode_loads(module):
    def loads(code: types.CodeType) -> set[str]:
        names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        return names.union(*(loads(c) for c in code.co_consts if isinstance(c, types.CodeType)))

    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef):
            quoted = ast.unparse(node)
            needed = build.used_names(symtable.symtable(quoted, "", "exec"))
            assert needed == loads(compile(quoted, "", "exec"))


LOOKUP = '''\
from functools import cache
import os.path as paths

# Bytes, not
# characters.
PATTERN = (
    "a"
    "b"
)
_scale = 2


# Found once.
@cache
def find(key: str):
    """The value."""
    return _scale * len(paths.join(key, PATTERN))
'''


def test_a_quote_brings_decorators_leading_comments_and_whole_constants(project):
    needs = "from functools import cache\nimport os.path as paths\nfrom words.lookup import _scale\n"
    quote = "# %% tags=['quote']\nfrom words.lookup import find, PATTERN\n"
    root = project(words__lookup=LOOKUP, chapters__01_a=f"# %%\n{needs}\n{quote}")
    constant, function = LOOKUP.index("# Bytes"), LOOKUP.index("# Found")
    find, pattern = LOOKUP[function:].strip(), LOOKUP[constant:LOOKUP.index("_scale")].strip()
    assert planned(root)[1].source == f"# words/lookup.py\n{find}\n\n{pattern}"


def test_a_quote_that_lacks_names_is_refused_with_the_lines_that_bring_them(project):
    other = "from functools import cache\n@cache\ndef other(): ...\n"
    quote = "# %% tags=['quote']\nfrom words.lookup import find\nfrom words.other import other\n"
    root = project(words__lookup=LOOKUP, words__other=other, chapters__01_a=f"# %%\nx = 1\n\n{quote}")
    with pytest.raises(build.BuildError) as error:
        planned(root)
    where, *lacking = str(error.value).splitlines()
    assert where.startswith("chapters/01_a.py:4:")
    assert sorted(line.strip() for line in lacking) == [
        "from functools import cache",
        "from words.lookup import PATTERN",
        "from words.lookup import _scale",
        "import os.path as paths",
    ]


def test_a_name_that_only_a_later_cell_brings_does_not_help_a_quote(project):
    quote, rest = "# %% tags=['quote']\nfrom words.m import f\n", "# %%\nimport math\n"
    library = "import math\ndef f(): return math.pi\n"
    root = project(words__m=library, chapters__01_a=quote + rest, chapters__02_b=rest + quote)
    assert planned(root, "02_b")[1].source == "# words/m.py\ndef f(): return math.pi"
    with pytest.raises(build.BuildError, match="import math"):
        planned(root, "01_a")


def test_a_quote_from_a_module_with_future_annotations_needs_them_too(project):
    root = project(
        words__m="from __future__ import annotations\nclass A:\n    def f(self) -> A: ...\n",
        chapters__01_a="# %% tags=['quote']\nfrom words.m import A\n",
    )
    with pytest.raises(build.BuildError, match="from __future__ import annotations"):
        planned(root)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("from words.nowhere import f", "words/nowhere.py does not exist"),
        ("from words.m import g", "does not define g"),
        ("from words.m import f as g", "by their own names"),
        ("from words.m import *", "by their own names"),
        ("import words.m", "only lines such as"),
        ("from words.m import f\nf()", "only lines such as"),
    ],
)
def test_a_quote_of_nothing_definite_is_refused(project, line, complaint):
    root = project(words__m="def f(): pass\n", chapters__01_a=f"# %% tags=['quote']\n{line}\n")
    with pytest.raises(build.BuildError, match=complaint):
        planned(root)


# --- sheets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", LIBRARY, ids=lambda module: module.__name__)
def test_a_stub_keeps_signature_and_docstring_and_nothing_else_of_a_function(module):
    source = inspect.getsource(module)
    stubbed = build.take_out_answers(source, "q1", "")

    class Emptied(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            docstring = node.body[:1] if ast.get_docstring(node) is not None else []
            node.body = docstring + ast.parse("raise NotImplementedError('q1: your code goes here')").body
            return node

    tree = ast.parse(source)
    for node in tree.body:
        for member in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(member, ast.FunctionDef):
                Emptied().visit(member)
    assert ast.dump(ast.parse(stubbed)) == ast.dump(tree)


@pytest.mark.parametrize(
    "answer, signature",
    [
        ("def f(x='é'): return x", "def f(x='é'):"),
        ("def f(x):\n    # why\n\n    @staticmethod\n    def g(): ...\n    return g", "def f(x):"),
        ("def f(x):\n    return x\n\n    # why", "def f(x):"),
        ("def f(x):\n    'é'  # why\n    return x", "def f(x):\n    'é'"),
    ],
)
def test_a_stub_holds_nothing_of_the_answer(answer, signature):
    stub = f'{signature}\n    raise NotImplementedError("q1: your code goes here")'
    assert build.take_out_answers(f"{answer}\n\n\nx = 1", "q1", "") == f"{stub}\n\n\nx = 1"


def test_an_exercise_holds_questions_and_stubs_and_no_answers(project):
    root = project(solutions__01_a=SHEET)
    exercise = planned(root, "exercises/01_a.ipynb")
    text = "\n".join(cell.source for cell in exercise)
    for secret in ("secret", "return 2", "return x", "found", "only with the answers"):
        assert secret not in text
    for kept in ("## q1 of 01_a", "import math\nLIMIT = 3", "@staticmethod", "# a float", "# Not a comment"):
        assert kept in text
    for kept in ("half(4)", "only without", "find me"):
        assert kept in text
    assert text.count("raise NotImplementedError") == 2
    assert exercise[-1].metadata.tags == ["answer"]


def test_a_solution_holds_the_answers_and_no_stubs(project):
    root = project(solutions__01_a=SHEET)
    text = "\n".join(cell.source for cell in planned(root, "solutions/01_a.ipynb"))
    for kept in ("## q1 of 01_a", "# The secret.", "# The last secret.", "found", "only with the answers"):
        assert kept in text
    for absent in ("NotImplementedError", "find me", "only without"):
        assert absent not in text


def test_a_chapter_needs_neither_a_number_nor_a_sheet(project):
    root = project(solutions__01_a=SHEET, chapters__01_a=CHAPTER, chapters__aside=CHAPTER)
    assert [target.notebook for target in build.find_targets(root, ["aside"])] == [Path("chapters/aside.ipynb")]
    assert len(build.find_targets(root, [])) == 4


def test_both_notebooks_of_a_sheet_name_it(project):
    root = project(solutions__01_a=SHEET, chapters__01_a=CHAPTER)
    for target in build.find_targets(root, []):
        metadata = build.plan(target, root).notebook.metadata
        assert metadata.get("course", {}).get("sheet") == (None if target.is_chapter else "01_a")


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("# %% tags=['answer']\ndef f(): return 1\n", "before the first question"),
        ("# %% [markdown]\n# {{q1}}\n# %% tags=['answer']\nguess = 0.5\n", "needs a stub"),
        ("# %% tags=['stub']\nx = 1\n# %%\nx = 2\n", "right before an answer"),
        ("# %% tags=['stub']\nx = 1\n", "has no answer"),
    ],
)
def test_a_sheet_that_cannot_be_split_is_refused(project, source, complaint):
    root = project(solutions__01_a=source)
    with pytest.raises(build.BuildError, match=complaint):
        planned(root, "exercises/01_a.ipynb")


def test_an_unknown_question_is_refused_with_its_place(tmp_path):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "no_such_sheet.py").write_text("# %% [markdown]\n# {{q1}}\n")
    with pytest.raises(build.BuildError, match=r"solutions/no_such_sheet.py:1: .*no_such_sheet"):
        planned(tmp_path, "no_such_sheet")


# --- cells ------------------------------------------------------------------------------------------------


def test_alt_text_goes_where_the_book_looks_for_it_and_tags_pass(project):
    figure = planned(project(chapters__01_a=CHAPTER))[-1]
    assert figure.metadata == {
        "tags": ["hide-input"],
        "mystnb": {"image": {"alt": 'A line: "up", [then] down.'}},
    }


@settings(deadline=None)
@given(st.lists(st.sampled_from(["x = 1", "x = 2", "# ls -l", "y = 3"]), min_size=1), st.data())
def test_cell_ids_are_unique_and_an_inserted_cell_changes_no_other(sources, data):
    def named(sources):
        made = [nbformat.v4.new_code_cell(source) for source in sources]
        build.set_ids(made)
        return [cell.id for cell in made]

    ids = named(sources)
    assert len(set(ids)) == len(ids)
    place = data.draw(st.integers(0, len(sources)))
    longer = named([*sources[:place], "something new", *sources[place:]])
    assert longer[:place] + longer[place + 1 :] == ids


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("import math\n", "01_a.py:1: a source starts with"),
        ("# %% tag=['quote']\nx = 1\n", "01_a.py:1: unknown cell metadata tag"),
        ("# %%\nx = 1\n\n# %%\n", "01_a.py:4: an empty cell"),
        ("# %%\nx = 1\n\n# %%\ny = 1\nx = (\n", r"01_a.py:6: .*never closed"),
    ],
)
def test_a_malformed_source_is_refused_with_its_line(project, source, complaint):
    with pytest.raises(build.BuildError, match=complaint):
        planned(project(chapters__01_a=source))


def test_comments_that_look_like_shell_commands_stay_comments(project):
    code = "# ls of tokens\n# %time\nx = 1"
    assert planned(project(chapters__01_a=f"# %%\n{code}\n"))[0].source == code


# --- what is run, kept and refused ------------------------------------------------------------------------


def test_a_change_of_prose_keeps_the_outputs_and_a_change_of_code_runs_the_notebook(project, no_kernel):
    root = project(chapters__01_a=CHAPTER, chapters__02_b=CHAPTER)
    assert command() == 0
    written = (root / "chapters" / "02_b.ipynb").stat().st_mtime_ns
    project(chapters__01_a=CHAPTER.replace("One sentence.", "Another."))
    assert command() == 0
    assert (root / "chapters" / "02_b.ipynb").stat().st_mtime_ns == written  # the book need not read it again
    assert sorted(no_kernel) == ["chapters/01_a.ipynb", "chapters/02_b.ipynb"]
    first = cells(root, "chapters/01_a.ipynb")
    assert "Another." in first[0].source and first[1].outputs[0].text == "import math"

    project(chapters__02_b=CHAPTER.replace("sqrt(4)", "sqrt(9)"))
    assert command() == 0
    assert no_kernel[2:] == ["chapters/02_b.ipynb"]


def test_a_notebook_without_outputs_is_run_and_force_runs_all(project, no_kernel):
    root = project(chapters__01_a=CHAPTER)
    command()
    path = root / "chapters" / "01_a.ipynb"
    content = path.read_text()
    path.write_text(content.replace('"execution_count": 2', '"execution_count": null'))
    command()
    command("--force", "01_a")
    assert len(no_kernel) == 3 and path.read_text() == content


def test_a_source_that_fails_does_not_keep_others_from_being_built(project, no_kernel, capsys):
    project(chapters__01_a="# %%\nx = (\n", chapters__02_b=CHAPTER)
    assert command() == 1
    assert no_kernel == ["chapters/02_b.ipynb"]
    assert "chapters/01_a.py:2" in capsys.readouterr().err


def test_a_write_that_fails_leaves_the_last_good_notebook_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "01_a.ipynb"
    path.write_text("the last good one")
    monkeypatch.setattr(os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build.write(nbformat.v4.new_notebook(), path)
    assert path.read_text() == "the last good one" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["02_b", "chapters/02_b.py", "chapters/02_b.ipynb", "./chapters/02_b.py"])
def test_a_name_chooses_what_is_built(project, no_kernel, name):
    project(chapters__01_a=CHAPTER, chapters__02_b=CHAPTER)
    assert command(name) == 0
    assert no_kernel == ["chapters/02_b.ipynb"]


def test_an_unknown_name_is_refused_with_the_known_ones(project, no_kernel, capsys):
    project(chapters__01_a=CHAPTER)
    assert command("07_z") == 2
    assert "01_a" in capsys.readouterr().err


def notebook(old: str, new: str, file: str = "01_a.ipynb"):
    def change(root: Path) -> None:
        path = root / "chapters" / file
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))

    return change


def source(old: str, new: str):
    return notebook(old, new, "01_a.py")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(notebook("One sentence", "Two sentences"), id="prose"),
        pytest.param(notebook('"import math"', '"import cmath"'), id="code"),
        pytest.param(notebook("hide-input", "hide-output"), id="tag"),
        pytest.param(notebook("up", "down"), id="alt"),
        pytest.param(notebook('"execution_count": 2', '"execution_count": null'), id="not executed"),
        pytest.param(notebook('"execution_count": 2', '"execution_count": 7'), id="run in another order"),
        pytest.param(notebook('"display_name": "Python 3"', '"display_name": "mine"'), id="metadata"),
        pytest.param(notebook('"nbformat": 4', '"nbformat": '), id="not json"),
        pytest.param(lambda root: (root / "chapters/01_a.ipynb").unlink(), id="missing"),
        pytest.param(source(CHAPTER[CHAPTER.index("# %% tags") :], ""), id="fewer cells"),
        pytest.param(source("sqrt(4))\n", "sqrt(4))\n\n# %%\n1\n"), id="more cells"),
        pytest.param(lambda root: (root / "chapters/01_a.py").unlink(), id="no source"),
    ],
)
def test_check_names_the_notebook_that_is_not_what_its_source_gives(project, no_kernel, capsys, change):
    root = project(chapters__01_a=CHAPTER, solutions__01_a=SHEET)
    assert command() == 0
    assert command("--check") == 0
    capsys.readouterr()
    change(root)
    assert command("--check") == 1
    complaints = capsys.readouterr().err.splitlines()[:-1]
    assert len(complaints) == 1 and complaints[0].startswith("chapters/01_a.ipynb: ")
    assert len(no_kernel) == 3


# --- with a kernel ----------------------------------------------------------------------------------------


def test_a_second_build_gives_the_same_bytes_and_a_failed_one_leaves_the_last_good_notebook(
    project, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_PROGRESS", "on")
    monkeypatch.setenv("MPLBACKEND", "agg")
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
    environment = 'import os\nos.path.basename(os.getcwd()), os.environ["COURSE_PROGRESS"]\n'
    chapter = f"# %% alt='A line'\n{figure}\n# %%\n{environment}"
    root = project(chapters__01_a=chapter, chapters__02_b="# %%\n1 + 1\n")
    assert command() == 0
    assert command("--check") == 0
    notebooks = [root / "chapters" / "01_a.ipynb", root / "chapters" / "02_b.ipynb"]
    before = [notebook.read_bytes() for notebook in notebooks]
    first, second = cells(root, "chapters/01_a.ipynb")
    assert "image/png" in first.outputs[-1].data
    assert second.outputs[0].data["text/plain"] == "('chapters', 'off')"

    project(chapters__02_b="# %%\n1 + 1\n\n# %%\n# Divide.\n1 / 0\n\n# %%\n3\n")
    assert command("--force") == 1
    assert [notebook.read_bytes() for notebook in notebooks] == before
    error = capsys.readouterr().err
    assert "chapters/02_b.py:4: cell 2 of chapters/02_b.ipynb failed: # Divide." in error
    assert "----> 2 1 / 0" in error and "ZeroDivisionError" in error
    assert sorted(path.suffix for path in (root / "chapters").iterdir()) == [".ipynb", ".ipynb", ".py", ".py"]


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_the_kernel_and_leaves_the_last_good_notebook(project):
    slow = "import os, time\nopen('kernel', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    root = project(chapters__01_a=f"# %%\n{slow}")
    stored = root / "chapters" / "01_a.ipynb"
    stored.write_text("the last good one")
    script = "import sys, course.__main__; from pathlib import Path; from course import build\n"
    script += f"build.ROOT = Path({str(root)!r}); sys.exit(course.__main__.main(['build']))"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    note = root / "chapters" / "kernel"
    try:
        while not (note.exists() and note.read_text()) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in error and "Traceback" not in error
    assert stored.read_text() == "the last good one"
    assert {path.name for path in note.parent.iterdir()} == {"01_a.py", "01_a.ipynb", "kernel"}
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
