"""Quieter code in the rendered book: what draws a figure is folded, and printed sentences wrap.

The notebooks stay as they are. In a chapter's page the code of a cell is folded from its first statement that
draws; what is computed before it stays in sight, if that is more than a name or two. A cell tagged `hide-input`
is folded as a whole, one tagged `show-input` not at all. In a sheet is folded what the check says of code that a
question gives to be repaired, since it says where to look.
"""

import ast
import re
from collections.abc import Callable

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

# What course.figures offers to draw with, and what stands for a finished figure.
DRAWS = {"figure", "attention_map", "token_strip", "loss_plot", "ladder", "machine_map", "subplots"}
FEW = 3  # statements before the drawing that are not worth a block of their own, lines that are not worth a fold

LABEL, FIGURE_LABEL = "Show the code", "Show the code of the figure"
HIDE = "Hide the code"
VERDICT_LABEL, HIDE_VERDICT = "Show what the check says of the code as it is", "Hide it"
FAILED = "✗"  # before a part of a question that did not pass (course/check.py)

PROSE = 60  # characters of a line that may be a sentence; shorter lines fit anyway
ALIGNED = re.compile(r"\S {2,}\S|[│┃|─━]|\t")  # columns, which wrapping would tear


def calls(statement: ast.stmt) -> set[str]:
    """The names of the functions that a statement calls, also within its blocks."""
    called = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", "")) for function in called}


def fold_from(source: str, draws: set[str] = DRAWS) -> int | None:
    """The line, counted from 0, from which a cell only draws; None if it has hardly a line that does.

    `draws` are the functions that draw.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic of IPython
        return None
    lines = source.splitlines()
    for i, statement in enumerate(statements):
        if not calls(statement) & draws:
            continue
        while i and makes_ready(statements[i - 1]):
            i -= 1
        before = [s for s in statements[:i] if not makes_ready(s)]
        first = statements[i]
        start = first.lineno - 1
        while start and lines[start - 1].startswith("#"):
            start -= 1
        lasting = any(isinstance(s, (ast.FunctionDef, ast.ClassDef)) for s in before)
        start = start if len(before) >= FEW or lasting else 0
        return start if len(lines) - start > FEW else None
    return None


def drawing_functions(source: str, draws: set[str]) -> set[str]:
    """The functions that a cell defines and that draw."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return set()
    return {s.name for s in statements if isinstance(s, ast.FunctionDef) and calls(s) & draws}


def makes_ready(statement: ast.stmt) -> bool:
    """Whether a statement only imports or gives a name to something written out, such as a title."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    return isinstance(statement, ast.Assign) and not any(isinstance(n, ast.Call) for n in ast.walk(statement.value))


def of_kind(kind: str) -> Callable[[nodes.Node], bool]:
    """What finds the containers that myst-nb makes: "cell_code", "cell_code_source", "cell_code_output"."""
    return lambda node: isinstance(node, nodes.container) and node.get("nb_element") == kind


class Fold(SphinxPostTransform):
    """Fold the code of figures, and say on the fold what is in it."""

    default_priority = 150  # before myst-nb folds what is tagged
    formats = ("html",)

    def run(self, **kwargs) -> None:
        draws = set(DRAWS)
        for cell in list(self.document.findall(of_kind("cell_code"))):
            if not cell.children or cell.children[0].get("nb_element") != "cell_code_source":
                continue
            if cell.get("hide_mode"):
                cell["prompt_show"], cell["prompt_hide"] = (FIGURE_LABEL if shows_figure(cell) else LABEL), HIDE
            elif self.env.docname.startswith("chapters/") and "tag_show-input" not in cell["classes"]:
                self.fold(cell, draws)
            elif self.env.docname.startswith("exercises/") and is_verdict(cell):
                cell["hide_mode"], cell["prompt_show"], cell["prompt_hide"] = "output", VERDICT_LABEL, HIDE_VERDICT

    def fold(self, cell: nodes.container, draws: set[str]) -> None:
        """Fold a cell, and add the functions that it defines and that draw to `draws`."""
        code = cell.children[0]
        block = next(code.findall(nodes.literal_block), None)
        if block is None:
            return
        start = fold_from(block.astext(), draws)
        draws |= drawing_functions(block.astext(), draws)
        if start is None:
            return
        if start == 0:
            cell["hide_mode"], cell["prompt_show"], cell["prompt_hide"] = "input", FIGURE_LABEL, HIDE
            return
        lines = block.astext().splitlines()
        rest = code.deepcopy()
        shorten(block, lines[:start])
        shorten(next(rest.findall(nodes.literal_block)), lines[start:])
        fold = HideCodeCellNode(prompt_show=FIGURE_LABEL, prompt_hide=HIDE, classes=["above-input"])
        fold += rest
        cell.insert(1, fold)


def is_verdict(cell: nodes.container) -> bool:
    """Whether a cell asks for the check of an answer, and the answer that stands there did not pass."""
    blocks = [block.astext() for block in cell.findall(nodes.literal_block)]
    return blocks[0].startswith("check(") and any(FAILED in block for block in blocks[1:])


def shows_figure(cell: nodes.container) -> bool:
    """Whether a cell gives a picture, as a file or, by course.sphinx_ext, as a part of the page."""
    return any(isinstance(node, (nodes.image, nodes.figure)) or node.tagname == "drawing" for node in cell.findall(nodes.Element))


def shorten(block: nodes.literal_block, lines: list[str]) -> None:
    block.rawsource = "\n".join(lines).strip("\n")
    block.children = []
    block += nodes.Text(block.rawsource)


class Wrap(SphinxPostTransform):
    """Let printed sentences wrap; what stands in columns scrolls."""

    default_priority = 150
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for output in self.document.findall(of_kind("cell_code_output")):
            for block in output.findall(nodes.literal_block):
                if is_prose(block.astext()):
                    block["classes"].append("wraps")
                elif is_lines(block.astext()):
                    block["classes"].append("wraps-on-a-phone")


def is_prose(text: str) -> bool:
    """Whether a printed text has a long line, and none in columns."""
    return any(len(line) > PROSE for line in text.splitlines()) and not ALIGNED.search(text)


def is_lines(text: str) -> bool:
    """Whether each line of a printed text can be read alone: one line, or several of which none is indented or in columns."""
    lines = text.strip("\n").splitlines()
    return len(lines) == 1 or not any(line.startswith(" ") or ALIGNED.search(line) for line in lines)


def visit(writer: HTML5Translator, node: HideCodeCellNode) -> None:
    """As myst-nb does, but for the name that it gives every fold, which hides what the fold says."""
    shown, hidden = node["prompt_show"], node["prompt_hide"]
    writer.body.append(
        f'<details class="admonition hide {" ".join(node["classes"])}">\n<summary>\n'
        f'<p class="collapsed admonition-title">{shown}</p>\n<p class="expanded admonition-title">{hidden}</p>\n</summary>\n'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(HideCodeCellNode, override=True, html=(visit, lambda writer, node: writer.body.append("</details>\n")))
    app.add_post_transform(Fold)
    app.add_post_transform(Wrap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
