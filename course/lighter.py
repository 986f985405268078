"""Take out of the built pages what the theme ships and no reader needs, and give them what it leaves to scripts.

Out go icon scripts, fonts of icons, source maps, and the theme's search, which loads the words of the whole book
into each page. In come the colors of day and night for a browser without scripts, which follow its system, a
storage that forgets for a browser that allows none, and roles that a screen reader can use.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

UNUSED = [
    "*.map", "scripts/fontawesome.js*", "vendor/fontawesome/webfonts/*", "searchtools.js", "language_data.js",
]
ICON_SCRIPT = re.compile(r'\s*<(?:script|link)\b[^>]*fontawesome[^>]*>(?:\s*</script>)?')
SEARCH_SCRIPT = re.compile(r'\s*<script\b[^>]*(?:searchtools|language_data|searchindex)\.js[^>]*>\s*</script>')
SHEET = re.compile(r'<link\b(?=[^>]*rel="stylesheet")[^>]*href="([^"?]*_static/[^"?]*\.css)[^"]*"[^>]*>')

DOWNLOADS = {"ipynb": "This page as a notebook (.ipynb)", "md": "This page as text (.md)", "pdf": "Print, or save as a PDF"}

# What keeps those out who have a page read to them: a sidebar that is no part of a page's outline, roles that a list
# may not hold or that are none any more, heads of columns without a word.
SAID_BETTER = [
    (re.compile(r'<div id="pst-primary-sidebar" (?!role)'), '<div id="pst-primary-sidebar" role="complementary" aria-label="The book" '),
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    (re.compile(r'(btn__text-container">)\.(ipynb|md|pdf)<'), lambda found: f"{found[1]}{DOWNLOADS[found[2]]}<"),
    (re.compile(r"<th((?: [^>]*)?)>((?:\s|&nbsp;|<p>\s*</p>)*)</th>"), r"<td\1>\2</td>"),
]

STORAGE = """<script>
    try { localStorage; sessionStorage; } catch {
      for (const name of ["localStorage", "sessionStorage"]) {
        const kept = new Map();
        Object.defineProperty(window, name, { value: {
          getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, `${value}`), removeItem: (key) => kept.delete(key),
        } });
      }
    }
  </script>"""
FIRST_USE = '<script data-cfasync="false">'
WITHOUT_SCRIPTS = "_static/without-scripts.css"


def rules(css: str) -> Iterator[tuple[str, str]]:
    """The outer rules of a style sheet: what stands before a block, and the block."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    start = opened = depth = 0
    for found in re.finditer(r"[{};]", css):
        at, sign = found.start(), found[0]
        if sign == ";":
            start = at + 1 if not depth else start
        elif sign == "{":
            opened, depth = (at if not depth else opened), depth + 1
        else:
            depth -= 1
            if not depth:
                yield css[start:opened].strip(), css[opened : at + 1]
                start = at + 1


def of_theme(css: str, theme: str) -> Iterator[str]:
    """The rules that a sheet has for "light" or "dark", for a page that names neither."""
    named = re.compile(rf'\[data-theme=["\']?{theme}["\']?\]')
    for selectors, block in rules(css):
        if selectors.startswith("@media"):
            if inner := list(of_theme(block[1:-1], theme)):
                yield f"{selectors}{{{''.join(inner)}}}"
        elif not selectors.startswith("@"):
            if fitting := [one for one in split(selectors) if named.search(one)]:
                yield named.sub(":not([data-theme])", ",".join(fitting)) + block


def split(selectors: str) -> list[str]:
    """Selectors at their commas, but for those in brackets."""
    found, depth = [""], 0
    for sign in selectors:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            found.append("")
        else:
            found[-1] += sign
    return found


def colors_without_scripts(sheets: list[str]) -> str:
    light = "\n".join(rule for css in sheets for rule in of_theme(css, "light"))
    dark = "\n".join(rule for css in sheets for rule in of_theme(css, "dark"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html" or app.builder.name == "epub":
        return
    out = Path(app.outdir)
    for pattern in UNUSED:
        for path in out.glob(f"_static/**/{pattern}"):
            path.unlink()
    sheets = {}  # in the order in which pages name them
    for path in sorted(out.rglob("*.html")):
        if "_static" in path.parts:
            continue
        page = path.read_text(encoding="utf-8")
        lighter = SEARCH_SCRIPT.sub("", ICON_SCRIPT.sub("", page))
        for wrong, right in SAID_BETTER:
            lighter = wrong.sub(right, lighter)
        for address in SHEET.findall(page):
            sheets[address.replace("../", "")] = None
        if FIRST_USE in lighter and WITHOUT_SCRIPTS not in lighter:
            root = re.search(r'data-content_root="([^"]*)"', lighter)[1]
            style = f'<noscript><link rel="stylesheet" href="{root}{WITHOUT_SCRIPTS}" /></noscript>\n  '
            lighter = lighter.replace(FIRST_USE, f"{STORAGE}\n  {FIRST_USE}", 1).replace("</head>", f"{style}</head>", 1)
        if lighter != page:
            path.write_text(lighter, encoding="utf-8")
    sheets.pop(WITHOUT_SCRIPTS, None)  # of pages that an earlier build wrote
    css = [(out / address).read_text(encoding="utf-8") for address in sheets if (out / address).is_file()]
    (out / WITHOUT_SCRIPTS).write_text(colors_without_scripts(css), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", lighten, priority=900)  # after the theme has written its colors of code
    return {"parallel_read_safe": True, "parallel_write_safe": True}
