"""The glossary: which words lead to it, and how its entries show themselves."""

import re
from pathlib import Path

import pytest

from browser import ROOT, reading, render
from course.glossary import pattern_of

TOC = "format: jb-book\nroot: page\nchapters:\n- file: glossary\n- file: references\n"
GLOSSARY = """# Glossary

```{glossary}
entropy
  How *unsure* one is.

cross entropy
  The loss of this book.

key
  By which something is found.

bias (of an estimate)
  How far it is off.
```
"""
PAGE = """# The entropy

`entropy` is code, $entropy$ is mathematics, a glossy [entropy](references.md) is a link already.
Entropies are many, and negentropy is another thing; a key and a bias may be any.
Cross entropies are ours: one entropy, and the entropy again {cite:p}`shannon1951`.
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("glossary")
    files = {"_toc.yml": TOC, "glossary.md": GLOSSARY, "page.md": PAGE}
    for name in ("_config.yml", "references.md", "references.bib"):
        files[name] = (ROOT / name).read_text(encoding="utf8")
    files["_config.yml"] = files["_config.yml"].replace("[intro.md,", "[page.md,")
    for name, text in files.items():
        (source / name).write_text(text, encoding="utf8")
    (source / "pages").symlink_to(ROOT / "pages")
    return render(source, tmp_path_factory.mktemp("glossary-out")) / "page.html"


@pytest.mark.parametrize(
    "text, found",
    [
        ("a loss", ["loss"]), ("Losses", []), ("Cross-entropy losses", []), ("lossless", []),
        ("the KL-loss", []), ("Cross-entropy loss", ["Cross-entropy loss"]), ("two heads", ["head"]),
    ],
)
def test_a_term_is_a_whole_word_and_the_longest_that_fits(text, found):
    pattern = pattern_of(["loss", "cross-entropy loss", "head"])
    assert [match[1] for match in pattern.finditer(text)] == found


def test_the_first_mention_in_running_text_and_no_other_leads_to_the_glossary(page):
    links = re.findall(r'<a[^>]*href="(glossary[^"]*)"[^>]*>(.*?)</a>', page.read_text(encoding="utf8"))
    links = [(place, re.sub("<.*?>", "", words)) for place, words in links if "#term" in place]
    assert links == [("glossary.html#term-entropy", "entropy")]


def test_the_entry_shows_itself_on_hover_and_on_focus_and_escape_puts_it_away(browser, page):
    with reading(browser, viewport={"width": 1280, "height": 800}) as tab:
        tab.goto(page.as_uri())
        link, card = tab.locator("article a[href*='#term-entropy']"), tab.get_by_role("tooltip")
        assert not card.is_visible()
        link.hover()
        card.wait_for()
        assert card.inner_text().strip() == "How unsure one is."
        tab.mouse.move(0, 0)
        card.wait_for(state="hidden")
        link.focus()
        card.wait_for()
        assert link.get_attribute("aria-describedby") == "card"
        tab.keyboard.press("Escape")
        card.wait_for(state="hidden")
        tab.locator("article a[href*='references.html#']").focus()
        card.wait_for()
        assert "Shannon" in card.inner_text()


def test_a_card_stays_within_a_phone(browser, page):
    with reading(browser, viewport={"width": 375, "height": 800}) as tab:
        tab.goto(page.as_uri())
        tab.locator("article a[href*='#term-entropy']").focus()
        box = tab.get_by_role("tooltip").bounding_box()
        assert 0 <= box["x"] and box["x"] + box["width"] <= 375


def test_every_term_is_used_in_the_book():
    entries = (ROOT / "glossary.md").read_text(encoding="utf8").split("```{glossary}")[1].split("```")[0]
    terms = [line for line in entries.splitlines() if line and not line.startswith(" ")]
    assert terms == sorted(terms, key=str.lower) and len(terms) == len(set(terms)) > 100
    sources = [*ROOT.glob("chapters/*.py"), *ROOT.glob("solutions/*.py"), ROOT / "glossary.md"]
    pages = [path.read_text(encoding="utf8") for path in sources]
    pages[-1] = re.sub(r"(?m)^\S.*$", "", pages[-1])  # the definitions, without the terms
    text = " ".join(re.sub(r"[*`#\s]+", " ", page) for page in pages)
    words = [term.split(" (")[0] for term in terms]
    assert [term for term in words if not pattern_of([term]).search(text)] == []
