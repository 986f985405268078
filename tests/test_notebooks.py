"""What holds for every notebook of the book. That their outputs are true is nbval's part."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbval.plugin import find_comment_markers, find_metadata_tags

from course import build, checks
from course.svg import variable

NOTEBOOKS = sorted(path for folder in build.FOLDERS for path in (build.ROOT / folder).glob("*.ipynb"))
EXERCISES = [path for path in NOTEBOOKS if path.parent.name == "exercises"]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: "-".join(path.parts[-2:]))


def cells_of(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


def code_of(path: Path) -> list:
    return [cell for cell in cells_of(path) if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def test_the_notebooks_are_what_their_sources_give(capsys):
    assert build.check(build.ROOT, []) == 0, capsys.readouterr().err


@every_notebook
def test_every_code_cell_was_run_in_order(path):
    counts = [cell.execution_count for cell in code_of(path)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_every_asterisk_of_the_prose_opens_or_closes_an_emphasis(path):
    parser = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin)
    for cell in cells_of(path):
        if cell.cell_type == "markdown":
            words = [part.content for block in parser.parse(cell.source) for part in block.children or () if part.type == "text"]
            assert not [text for text in words if "*" in text]


@every_notebook
def test_no_cell_fails_unless_it_is_meant_to(path):
    for cell in code_of(path):
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert not failed or "raises-exception" in tags(cell), cell.source


@every_notebook
def test_at_most_three_cells_escape_the_comparison_of_outputs(path):
    def escapes(cell) -> bool:
        options = dict(find_metadata_tags(cell.metadata)) | dict(find_comment_markers(cell.source))
        return options.get("check") is False or "skip" in options

    assert sum(map(escapes, code_of(path))) <= 3


@every_notebook
def test_no_output_speaks_of_one_machine_or_one_run(path):
    folders = "|".join(re.escape(f"{folder}/") for folder in (build.ROOT, Path.home(), "/tmp"))
    machine = re.compile(rf"{folders}|\b0x[0-9a-f]{{8,}}\b")
    for cell in code_of(path):
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"{cell.source}\n\n{output.text}"
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            assert not machine.search(text), f"{cell.source}\n\n{text}"


@every_notebook
def test_no_line_ends_in_a_semicolon(path):
    # nbval does not know that it silences a cell
    assert not [cell.source for cell in code_of(path) if re.search(r";\s*$", cell.source, re.MULTILINE)]


def figures_of(path: Path) -> list[tuple]:
    """Each figure that a cell gives, with the cell; that outputs name it, nbval sees, which compares no pictures."""
    return [
        (cell, output.data) for cell in code_of(path) for output in cell.outputs
        if "image/png" in output.get("data", {}) or output.get("data", {}).get("text/plain", "").startswith("<Figure size")
    ]


@every_notebook
def test_every_figure_has_alt_text_and_every_alt_text_a_figure(path):
    def alt(cell) -> str:
        return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")

    drawn = [cell for cell, _ in figures_of(path)]
    for cell in drawn:
        assert len(alt(cell).split()) >= 5, cell.source
    assert [cell.source for cell in code_of(path) if alt(cell) and cell not in drawn] == []


@every_notebook
def test_every_figure_is_an_svg_in_the_colors_of_the_style_with_an_image_to_stand_in(path):
    for cell, forms in figures_of(path):
        svg = forms.get("image/svg+xml", "")
        assert svg.startswith("<svg") and "image/png" in forms, f"rebuild it, or draw fewer points: {cell.source}"
        strange = {color for color in re.findall(r"[:\"](#[0-9a-f]{6})\b", svg) if variable(color) is None}
        assert not strange, f"{strange}: {cell.source}"


@every_notebook
def test_a_notebook_is_small(path):
    assert path.stat().st_size <= 400_000


@every_notebook
def test_a_code_cell_has_at_most_thirty_lines_besides_docstrings(path):
    for cell in code_of(path):
        docstrings = [
            node.body[0]
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None
        ]
        length = len(cell.source.split("\n")) - sum(d.end_lineno - d.lineno + 1 for d in docstrings)
        assert length <= 30, cell.source


@every_notebook
def test_code_fits_its_column(path):
    width = 93  # what pages/book.css leaves room for
    shown = (cell.source for cell in code_of(path) if "remove-input" not in tags(cell))
    assert not [line for source in shown for line in source.splitlines() if len(line) > width]


@every_notebook
def test_prose_stands_between_code_cells(path):
    cells = cells_of(path)
    for first, second in zip(cells, cells[1:]):
        if first.cell_type == second.cell_type == "code":
            # a quote may be tried at once, and an answer is followed by its check
            assert (tags(first) | tags(second)) & {"quote", "answer"}, f"{first.source}\n---\n{second.source}"


@every_notebook
def test_what_a_notebook_imports_from_the_repository_exists(path):
    # Also in cells that nbval skips for want of a download.
    for cell in code_of(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("tinyllm", "course"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise_asks_for_the_functions_that_its_solution_defines(path):
    def signatures(path: Path) -> dict[str, str]:
        trees = [ast.parse(cell.source) for cell in code_of(path) if "answer" in tags(cell)]
        functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
        return {function.name: ast.unparse(function.args) for function in functions}

    asked, solved = signatures(path), signatures(build.ROOT / "solutions" / path.name)
    for question in checks.load(path.stem).questions:
        assert asked[question.function] == solved[question.function]
