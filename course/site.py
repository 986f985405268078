"""What search engines, shared links and lost readers get: a description, an address, a map of the site, a page 404.

The one setting is `html: baseurl:` in `_config.yml`, the address where the book will be. Without it no page
claims one, and there is neither site map nor picture for shared links, since these need whole addresses.
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

PICTURE = "_static/readme-page.png"
ARXIV = re.compile(r"(<a\b.*?</a>|<[^>]*>)|\barXiv:(\d{4}\.\d{4,5})", re.DOTALL)  # links and tags stay as they are
LONGEST = 200  # characters of a description

LOST = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page — {title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }}</style>
</head>
<body><main>
<h1>There is no such page</h1>
<p>A dictionary without this key raises <code>KeyError</code>. The nearest keys:</p>
<ul>
<li><a href="{home}">{title}, from the beginning</a></li>
<li><a href="{home}search.html">Search the book</a></li>
<li><a href="{home}glossary.html">The glossary</a></li>
</ul>
</main></body>
</html>
"""


def description(doctree: nodes.document) -> str:
    """The first words of a page that are a paragraph of its own, not of a box, up to a whole word."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            if len(text) > 20:
                return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
    return ""


def link_arxiv(found: re.Match) -> str:
    tag, number = found.groups()
    return tag or f'<a class="reference external" href="https://arxiv.org/abs/{number}">arXiv:{number}</a>'


def describe(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Meta data of a page, for a search engine's line and for a shared link."""
    if "body" in context:
        context["body"] = ARXIV.sub(link_arxiv, context["body"])
    if doctree is None:
        return
    title, about = re.sub("<[^>]+>", "", context.get("title", "")), description(doctree)
    tags = {"og:title": title, "og:type": "website" if page == app.config.root_doc else "article", "og:site_name": app.config.html_title or ""}
    if about:
        tags["og:description"] = about
    if base := app.config.html_baseurl:
        home = base.rstrip("/") + "/"
        tags |= {"og:url": home + app.builder.get_target_uri(page), "og:image": home + PICTURE}
    lines = [f'<meta property="{name}" content="{escape(value)}">' for name, value in tags.items()]
    if about:
        lines.insert(0, f'<meta name="description" content="{escape(about)}">')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines)


def map_site(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html" or app.builder.name == "epub":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    home = base.rstrip("/") + "/" if base else "./"
    (out / "404.html").write_text(LOST.format(title=escape(app.config.html_title or ""), home=home), encoding="utf-8")
    if base:
        pages = sorted(app.env.found_docs)
        rows = "".join(f"<url><loc>{escape(home + app.builder.get_target_uri(page))}</loc></url>\n" for page in pages)
        head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        (out / "sitemap.xml").write_text(f"{head}{rows}</urlset>\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", describe)
    app.connect("build-finished", map_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
