"""The search finds sections, says where in them, and works on a page that was opened from the disk.

While the book is built the text of each section is collected, code included, and of each entry of the glossary.
`_static/sections.js` gives them all to the page `search.html`, where `pages/search.js` looks through them.
What the theme loads into every page for its own search goes (`course/lighter.py`). Solutions are not found.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from course.orientation import SOLUTIONS, number_of

UNSAID = ("cell_code_output",)  # what a cell printed is not what one looks for
UNREAD = (nodes.comment, nodes.raw, nodes.substitution_definition, addnodes.glossary)
Section = tuple[str, str, str, str]  # the place in its page, title, words, code

SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "varphi": "φ", "phi": "φ",
    "Delta": "Δ", "Sigma": "Σ", "sum": "Σ", "sqrt": "√", "cdot": "·", "times": "×", "to": "→", "le": "≤", "ge": "≥", "approx": "≈",
    "pm": "±", "infty": "∞", "top": "ᵀ", "ldots": "…", "dots": "…", "in": "∈", "propto": "∝", "neq": "≠", "ne": "≠", "odot": "⊙",
    "exp": "exp", "log": "log", "ln": "ln", "softmax": "softmax", "max": "max", "min": "min",
}


def readable(formula: str) -> str:
    """A short formula as one would type it in a letter: `h^2 = \\sqrt d` as h² = √d."""
    plain = re.sub(r"\\(sqrt )?([A-Za-z]*)", lambda found: "√" + found[2] if found[1] else SIGNS.get(found[2], ""), formula)
    return re.sub(r"[{}$\\]", "", plain.replace("^2", "²")).strip()


def text_of(node: nodes.Node) -> str:
    """The words of a node, with its short formulas and without those on a line of their own."""
    if isinstance(node, nodes.math_block):
        return ""
    if isinstance(node, nodes.math):
        return readable(node.astext())
    if not node.children:
        return node.astext()
    apart = "" if isinstance(node, nodes.TextElement) else " "
    return apart.join(text_of(child) for child in node.children)


def one_line(text: str) -> str:
    return " ".join(text.split())


def is_code(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def parts(section: nodes.Element) -> Iterator[nodes.Node]:
    """What stands in a section itself: no title, no section within."""
    return (child for child in section.children if not isinstance(child, (nodes.section, nodes.title)))


def sections_of(doctree: nodes.document) -> Iterator[Section]:
    for section in doctree.findall(nodes.section):
        title = next((child for child in section.children if isinstance(child, nodes.title)), None)
        if title is None:
            continue
        words = [text_of(part) for part in parts(section) if not is_code(part) and not isinstance(part, UNREAD)]
        code = [text_of(block) for part in parts(section) if is_code(part) for block in part.children
                if block.get("nb_element") not in UNSAID]
        yield section["ids"][0], one_line(text_of(title)), one_line(" ".join(words)), one_line(" ".join(code))
    for item in doctree.findall(nodes.definition_list_item):
        for term in item.findall(nodes.term):
            if term["ids"]:
                yield term["ids"][0], one_line(text_of(term)), one_line(text_of(item.children[-1])), ""


def collect(app: Sphinx, doctree: nodes.document) -> None:
    env = app.env
    if not hasattr(env, "book_sections"):
        env.book_sections = {}
    if not env.docname.startswith(SOLUTIONS):
        env.book_sections[env.docname] = list(sections_of(doctree))


def forget(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    getattr(env, "book_sections", {}).pop(page, None)


def merge(app: Sphinx, env: BuildEnvironment, pages: list[str], other: BuildEnvironment) -> None:
    if not hasattr(env, "book_sections"):
        env.book_sections = {}
    found = getattr(other, "book_sections", {})
    env.book_sections |= {page: found[page] for page in pages if page in found}


def write(app: Sphinx, exception: Exception | None) -> None:
    """Give the search page all sections, in the order of the book."""
    if exception or app.builder.format != "html" or app.builder.name == "epub":
        return
    env = app.env
    found = getattr(env, "book_sections", {})
    order = [page for page in env.collect_relations() if page in found]
    listed = []
    for page in [*order, *sorted(set(found) - set(order))]:
        title = env.titles[page].astext()
        if number := number_of(page):
            title = f"{number}. {title}"
        listed.append({"page": app.builder.get_target_uri(page), "title": title, "sections": found[page]})
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
    (Path(app.outdir) / "_static/sections.js").write_text(f"const BOOK = {text};\n", encoding="utf8")


def give_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    if page == "search":
        for name in ("sections.js", "search.js"):
            app.add_js_file(name, loading_method="defer")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("html-page-context", give_scripts)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
