"""The book on paper: `python -m course.paper` makes one PDF of the rendered pages (`make book` first).

The pages are joined into one, with their links leading to places in it, and a Chromium prints that twice: the
first time to see on which sheet each page begins, the second time with these numbers in the table of contents.
Widgets are their pictures, solutions come last, and the code that only draws a figure stays in the notebooks.
"""

import argparse
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from pypdf import PdfReader

from course.pictures import ROOT, chromium

HTML = ROOT / "_build/html"
OUT = ROOT / "_build/attention-twice.pdf"
STYLE = """
@page { size: A4; margin: 18mm 20mm 20mm; @bottom-center { content: counter(page); font: 9pt system-ui, sans-serif; } }
@page :first { @bottom-center { content: ""; } }
html { font-size: 12.5px; }
body { display: block; background: white; }
.paper-page { break-before: page; }
.paper-title { height: 235mm; display: flex; flex-direction: column; justify-content: center; align-items: center; text-align: center; }
.paper-title img { width: 40mm; }
.paper-contents ol { list-style: none; padding: 0; }
.paper-contents li { display: flex; gap: 0.5rem; padding: 0.12rem 0; }
.paper-contents li > a { color: inherit; text-decoration: none; }
.paper-contents li::before { content: ""; order: 1; flex: 1; border-bottom: 1px dotted; margin-bottom: 0.35rem; }
.paper-contents li > span { order: 2; font-variant-numeric: tabular-nums; }
.paper-contents .below { padding-left: 1.6rem; font-size: 0.94em; }
.bd-article :is(.cell, .admonition, .math, table) { break-inside: auto !important; }
.bd-article :is(img, figure, svg, tr, pre) { break-inside: avoid; }
.bd-article .cell_output :is(img, figure > svg) { max-height: 95mm; width: auto; }
.bd-article :is(h1, h2, h3, h4) { break-after: avoid; }
.bd-article pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.86em; }
"""
DROPPED = "script, button, .headerlink, template, details.above-input, .card-of-entry, .live-stage, .book-start, .book-next"


@dataclass(frozen=True)
class Page:
    name: str  # such as chapters/01_tokens
    title: str
    depth: int
    article: Tag

    @property
    def place(self) -> str:
        return "page-" + self.name.replace("/", "-")


def order(toc: dict) -> list[tuple[str, int]]:
    """The names of all pages as they are bound, each with its depth; solutions come last."""
    def below(entries: list[dict], depth: int) -> list[tuple[str, int]]:
        return [item for e in entries for item in [(e["file"], depth), *below(e.get("sections", []), depth + 1)]]

    found = [(toc["root"], 0), *below([e for part in toc["parts"] for e in part["chapters"]], 0)]
    solutions = [(name, 1) for name, _ in found if name.startswith("solutions/")]
    return [item for item in found if not item[0].startswith("solutions/")] + solutions


def read(name: str, depth: int, folder: Path) -> Page:
    path = folder / f"{name}.html"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run `make book` first")
    article = BeautifulSoup(path.read_text(encoding="utf8"), "html.parser").find("article")
    for part in article.select(DROPPED):
        part.decompose()
    return Page(name, article.find("h1").get_text().strip(), depth, article)


def adopt(page: Page, pages: dict[str, Page]) -> None:
    """Make ids of a page its own, and lead its links to where their goals are in the whole."""
    for part in page.article.select("[id]"):
        part["id"] = f"{page.place}-{part['id']}"
    for part in page.article.select("svg *"):
        for name in ("href", "clip-path", "style"):
            if name in part.attrs:
                part[name] = re.sub(r"^#|(?<=url\(#)", lambda found: f"{found[0]}{page.place}-", part[name])
    for name in ("aria-labelledby", "aria-describedby", "for"):
        for part in page.article.select(f"[{name}]"):
            del part[name]
    for part in page.article.select("[src]"):
        part["src"] = normpath(join(dirname(page.name), part["src"]))
    for link in page.article.select("a[href]"):
        goal = urlsplit(link["href"])
        if goal.scheme:
            continue
        target = normpath(join(dirname(page.name), unquote(goal.path))).removesuffix(".html") if goal.path else page.name
        if target in pages:
            link["href"] = "#" + pages[target].place + (f"-{unquote(goal.fragment)}" if goal.fragment else "")
        else:
            link.unwrap()  # a file for download, which paper cannot give


def contents(pages: list[Page], sheets: dict[str, int]) -> str:
    lines = []
    for page in pages:
        look = ' class="below"' if page.depth else ""
        lines.append(f'<li{look}><a href="#{page.place}">{page.title}</a><span>{sheets.get(page.place, "")}</span></li>')
    return f'<section class="paper-page paper-contents"><h1>Contents</h1><ol>{"".join(lines)}</ol></section>'


def whole(folder: Path, sheets: dict[str, int], toc: dict, title: str) -> str:
    """The joined page, whose resources are looked for from `folder`."""
    pages = [read(name, depth, folder) for name, depth in order(toc)]
    by_name = {page.name: page for page in pages}
    head = BeautifulSoup((folder / f"{pages[0].name}.html").read_text(encoding="utf8"), "html.parser").head
    styles = [link["href"] for link in head.select("link[rel=stylesheet]")]
    for page in pages:
        adopt(page, by_name)
    links = "".join(f'<link rel="stylesheet" href="{href}">' for href in styles)
    cover = f'<section class="paper-title"><img src="_static/logo.svg" alt=""><h1>{title}</h1></section>'
    body = "".join(f'<section class="paper-page" id="{page.place}">{page.article}</section>' for page in pages)
    return (f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
            f"<title>{title}</title>{links}<style>{STYLE}</style></head>"
            f"<body>{cover}{contents(pages, sheets)}{body}</body></html>")


def starts(pdf: bytes) -> dict[str, int]:
    """On which sheet, counted from 1, each place of a PDF is."""
    reader = PdfReader(io.BytesIO(pdf))
    return {name.lstrip("/"): reader.get_destination_page_number(goal) + 1 for name, goal in reader.named_destinations.items()}


def make_pdf(folder: Path, out: Path) -> int:
    """Write the PDF, whole or not at all; return how many sheets it has."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["title"]
    joined, unfinished = folder / "paper.html", out.with_suffix(".unfinished")
    try:
        with chromium() as browser:
            page, sheets = browser.new_page(), {}
            page.set_default_timeout(600_000)
            for last in (False, True):
                joined.write_text(whole(folder, sheets, toc, title), encoding="utf8")
                page.goto(joined.as_uri())
                pdf = page.pdf(prefer_css_page_size=True, print_background=True, outline=last, tagged=last)
                sheets = starts(pdf)
        unfinished.write_bytes(pdf)
        os.replace(unfinished, out)
    finally:
        joined.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    return len(PdfReader(out).pages)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m course.paper", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    try:
        n = make_pdf(HTML, args.out)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.out}: {n} pages, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
