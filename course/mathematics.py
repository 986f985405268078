"""Formulas become HTML and MathML while the book is built, so that a page needs no script to show them.

KaTeX, vendored in `course/katex`, runs in QuickJS. Its styles and fonts are in `pages/katex`.
A formula that KaTeX does not know is an error of the build. An EPUB gets the MathML alone.
"""

import json
import re
from functools import cache
from pathlib import Path

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

KATEX = Path(__file__).parent / "katex" / "katex.min.js"
FRACTIONS = str.maketrans({  # that people type as one character
    sign: rf"\tfrac{{{above}}}{{{below}}}" for sign, above, below in ("½12", "¼14", "¾34", "⅓13", "⅔23", "⅛18", "⅜38")
})
OPENING, CLOSING = re.compile(r"[(\[“‘]+$"), re.compile(r"^[)\]”’.,;:!?]+")
LAST = "</span></span></span>"  # the ends of the last part that stays on one line, of the formula, and of both forms


@cache
def engine() -> quickjs.Context:
    context = quickjs.Context()
    context.eval(KATEX.read_text(encoding="utf-8"))
    return context


@cache
def typeset(formula: str, display: bool, output: str = "htmlAndMathml") -> str:
    """A formula in TeX as HTML; raises `ValueError` for one that KaTeX does not know."""
    options = {"displayMode": display, "throwOnError": True, "strict": "error", "output": output}
    # Split and join: a string that QuickJS has put together of others cannot leave it.
    call = f'katex.renderToString({json.dumps(formula.translate(FRACTIONS))}, {json.dumps(options)}).split("").join("")'
    try:
        return engine().eval(call)
    except quickjs.JSException as error:
        raise ValueError(f"{formula!r} cannot be typeset: {str(error).splitlines()[0]}") from None


class Punctuation(SphinxPostTransform):
    """Take the signs that touch a formula into it: a browser would break the line between the two."""

    default_priority = 170  # after links have taken their words
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for formula in list(self.document.findall(nodes.math)):
            place = formula.parent.index(formula)
            for name, step, signs in (("before", -1, OPENING), ("after", 1, CLOSING)):
                beside = formula.parent[place + step] if 0 <= place + step < len(formula.parent) else None
                if isinstance(beside, nodes.Text) and (found := signs.search(beside)):
                    formula[name] = found[0]
                    formula.parent[place + step] = nodes.Text(signs.sub("", beside))


def beside(html: str, before: str, after: str) -> str:
    """A formula in HTML with signs that stay with its first and its last part."""
    first, sign = '<span class="katex-base">', '<span class="beside">{}</span>'
    if not html.endswith(LAST) or first not in html:
        return before + html + after
    if before:
        html = html.replace(first, first + sign.format(before), 1)
    return html.removesuffix(LAST) + sign.format(after) + LAST if after else html


def visit(writer: HTML5Translator, node: nodes.Element, display: bool) -> None:
    output = "mathml" if writer.builder.name == "epub" else "htmlAndMathml"
    formula = node.astext()
    if display and ("\\\\" in formula or "&" in formula) and "\\begin{" not in formula:
        formula = f"\\begin{{aligned}}{formula}\\end{{aligned}}"
    classes = ["math", "notranslate", "nohighlight"]
    tag = "div" if display else "span"
    writer.body.append(writer.starttag(node, tag, "", CLASS=" ".join(classes)))
    if display and node["number"]:
        writer.body.append(f'<span class="eqno">({node["number"]})</span>')
    try:
        writer.body.append(beside(typeset(formula, display, output), node.get("before", ""), node.get("after", "")))
    except ValueError as error:
        node.document.reporter.error(str(error), base_node=node)
    writer.body.append(f"</{tag}>")
    raise nodes.SkipNode


def add_styles(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    if doctree and next(doctree.findall(lambda n: isinstance(n, (nodes.math, nodes.math_block))), None):
        app.add_css_file("katex/katex.css")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer(
        "built",
        (lambda writer, node: visit(writer, node, False), None),
        (lambda writer, node: visit(writer, node, True), None),
    )
    app.add_post_transform(Punctuation)
    app.connect("html-page-context", add_styles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
