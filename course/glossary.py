"""The glossary at work: the first mention of a term in a page leads to its entry, which also shows itself on hover.

The sources hold no markup for it. What is linked are the terms of `glossary.md`, whole words in running text,
in singular or plural, once a page. The cards that show on hover stand at the end of a page, one for each entry
and each citation that it links to; `pages/cards.js` shows them.
"""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

GLOSSARY, REFERENCES = "glossary", "references"

# Words that mean something else as often: a link at their first mention would mislead.
EVERYDAY = {
    "batch", "block", "context", "floor", "head", "identified", "kernel", "key", "loss", "mask", "parameter", "score",
    "target", "token", "value", "weight",
}

# Where a word is not running text, or leads somewhere already.
APART = (
    nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.image,
    nodes.raw, nodes.rubric, nodes.caption, nodes.comment, addnodes.pending_xref, addnodes.toctree,
)


def terms_of(env: BuildEnvironment) -> dict[str, str]:
    """The terms of the glossary as they are written there, by the words that lead to them.

    What stands in brackets says which meaning it is: "bias (of an estimate)" is not looked for as "bias".
    """
    objects = env.domains["std"].get_objects()
    terms = {name.lower(): name for name, _, kind, *_ in objects if kind == "term" and "(" not in name}
    return {words: name for words, name in terms.items() if words not in EVERYDAY}


def pattern_of(terms: list[str]) -> re.Pattern:
    """What finds a term as a whole word, the longest that fits, also with an s at its end."""
    longest_first = sorted(terms, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(s?)(?![\w-])", re.IGNORECASE)


class FirstMentions(SphinxPostTransform):
    """Make a link of each term where a page mentions it first."""

    default_priority = 5  # before references are resolved

    def run(self, **kwargs) -> None:
        terms = terms_of(self.env)
        if not terms or self.env.docname in (GLOSSARY, REFERENCES):
            return
        pattern, linked = pattern_of(list(terms)), set()
        for text in list(self.running_text()):
            pieces = list(self.link(text.astext(), pattern, terms, linked))
            if len(pieces) > 1:
                text.parent.replace(text, pieces)

    def running_text(self) -> Iterator[nodes.Text]:
        for text in self.document.findall(nodes.Text):
            inside, node = False, text.parent
            while node is not None and not inside:
                inside = isinstance(node, APART) or "cell" in node.get("classes", ())
                node = node.parent
            if not inside:
                yield text

    def link(
        self, text: str, pattern: re.Pattern, terms: dict[str, str], linked: set[str]
    ) -> Iterator[nodes.Node]:
        """The text again, cut where a term stands that has no link yet."""
        end = 0
        for found in pattern.finditer(text):
            term = terms[found[1].lower()]
            if term in linked:
                continue
            linked.add(term)
            yield nodes.Text(text[end : found.start()])
            target = addnodes.pending_xref(
                "", nodes.inline("", found[0], classes=["term"]), refdomain="std", reftype="term",
                reftarget=term, refexplicit=True, refwarn=True, refdoc=self.env.docname,
            )
            yield target
            end = found.end()
        yield nodes.Text(text[end:])


class EachOnce(SphinxPostTransform):
    """Let each reference stand in its page once, also after the cards have asked for it.

    sphinxcontrib-bibtex adds the words of an entry to the same node whenever the page is resolved.
    """

    default_priority = 4  # before it does

    def run(self, **kwargs) -> None:
        if self.env.docname == REFERENCES and "cite" in self.env.domains:
            for bibliography in self.env.get_domain("cite").bibliographies.values():
                for node in bibliography.citation_nodes.values():
                    node.children = []


def read_all_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    """A change in the glossary is one in every page."""
    return env.found_docs - removed if GLOSSARY in added | changed else set()


def entries(app: Sphinx) -> dict[str, str]:
    """The entries of glossary and references in HTML, by their place: `glossary.html#term-KL-divergence`."""
    if not hasattr(app.builder, "entries"):
        app.builder.entries = found = {}
        for page, kind in ((GLOSSARY, nodes.definition_list_item), (REFERENCES, nodes.citation)):
            if page not in app.env.found_docs:
                continue
            for node in app.env.get_and_resolve_doctree(page, app.builder).findall(kind):
                for id_, body in bodies(node):
                    found[f"{page}.html#{id_}"] = app.builder.render_partial(body)["fragment"]
    return app.builder.entries


def bodies(node: nodes.Element) -> Iterator[tuple[str, nodes.Element]]:
    """The places that lead to an entry, each with what it says."""
    if isinstance(node, nodes.citation):
        body = nodes.container("", *(child.deepcopy() for child in node if not isinstance(child, nodes.label)))
        yield from ((id_, body) for id_ in node["ids"])
        return
    body = nodes.container("", *(child.deepcopy() for child in node[-1]))
    for term in node.findall(nodes.term):
        yield from ((id_, body) for id_ in term["ids"])


def add_cards(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Lay the cards of all entries that a page links to at its end."""
    if app.builder.format != "html" or doctree is None or page in (GLOSSARY, REFERENCES):
        return
    body, cards = context["body"], []
    for place in sorted(set(re.findall(r'href="(?:\.\./)*((?:glossary|references)\.html#[^"]+)"', body))):
        if place in entries(app):
            cards.append(f'<template data-card="{place}">{entries(app)[place]}</template>')
    if cards:
        context["body"] = body + "\n" + "\n".join(cards)
        app.add_js_file("cards.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(FirstMentions)
    app.add_post_transform(EachOnce)
    app.connect("env-get-outdated", read_all_again)
    app.connect("html-page-context", add_cards, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
