"""From a formula in a chapter to its words in the appendix, and back."""

import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import unquote

import jupytext
import pytest

from course.build import ROOT
from course.mathematics import beside, typeset
from course.orientation import anchor

CHAPTERS = sorted(path for path in ROOT.glob("chapters/*.py") if path.stem != "mathematics")
APPENDIX = ROOT / "chapters" / "mathematics.py"
IN_WORDS = "*In words:* "
LINK = re.compile(r"\[([^\]]+)\]\(([\w.]*)#([^)\s]+)\)")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def plain(heading: str) -> str:
    """A heading as it is read, and as JupyterLab names it: without the marks of Markdown."""
    return re.sub(r"[*`$]", "", heading)


@cache
def sections(path) -> list[tuple[str, str]]:
    """The headings of a page, each with the prose below it, up to the next heading of any level."""
    found = [("", "")]
    for cell in jupytext.read(path).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            if heading := re.fullmatch(r"#+ (.+)", line):
                found.append((plain(heading[1]), ""))
            else:
                found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found[1:]


def prose_of(path) -> str:
    return "\n".join(text for _, text in sections(path))


def formulas(text: str) -> Iterator[str]:
    for found in FORMULA.finditer(re.sub(r"`[^`\n]*`", "", text)):
        yield found[1] or found[2]


def words_in(text: str) -> list[tuple[str, str]]:
    """What the lines "In words" link to: the words of each link, and the section."""
    lines = [line for line in text.splitlines() if line.startswith(IN_WORDS)]
    links = [found for line in lines for found in LINK.findall(line)]
    assert all(page == "mathematics.ipynb" for _, page, _ in links)
    return [(words, unquote(place)) for words, _, place in links]


@every_chapter
def test_a_formula_on_a_line_of_its_own_has_its_words_one_click_away(path):
    lacking = [name for name, text in sections(path) if "$$" in text and not words_in(text)]
    assert lacking == []


@every_chapter
def test_the_links_to_the_words_all_look_alike_and_lead_to_a_section(path):
    known = {anchor(name): name for name, _ in sections(APPENDIX)}
    for line in prose_of(path).splitlines():
        if "mathematics.ipynb#" in line:
            found = words_in(line)
            assert all(place in known and words.lower() == known[place].lower() for words, place in found), line
            assert line == f"{IN_WORDS}{', '.join(f'[{a}](mathematics.ipynb#{b})' for a, b in found)}.", line


def way_back(name: str) -> str:
    """The line below a section of the appendix that leads to all sections of chapters which lead to it."""
    links = [
        f"[{label(path, title)}]({path.stem}.ipynb#{anchor(title)})"
        for path in CHAPTERS
        for title, text in sections(path)
        if anchor(name) in [place for _, place in words_in(text)]
    ]
    return f"*Met in:* {'; '.join(links)}."


def label(path, title: str) -> str:
    """What a link to a section of a chapter says: 02 The floor."""
    number, page = path.stem.split("_")[0], sections(path)[0][0]
    return f"{number} {title}" if number.isdigit() else title if title == page else f"{page}, {title}"


IN_FOUR_WAYS = [(name, text) for name, text in sections(APPENDIX) if "**In words.**" in text]


@pytest.mark.parametrize("name, text", IN_FOUR_WAYS, ids=[name for name, _ in IN_FOUR_WAYS])
def test_a_section_leads_back_to_every_formula_that_leads_to_it(name, text):
    assert [line for line in text.splitlines() if line.startswith("*Met in:*")] == [way_back(name)]


def test_a_section_has_words_numbers_and_symbols_in_this_order():
    for name, text in IN_FOUR_WAYS:
        places = [text.find(mark) for mark in ("**In words.**", "**By hand.**", "**In symbols.**", "*Met in:*")]
        assert -1 < places[0] < places[1] < places[2] < places[3], name


def test_every_section_with_words_is_followed_by_a_cell_that_asserts_its_numbers():
    name, computed = "", set()
    for cell in jupytext.read(APPENDIX).cells:
        if cell.cell_type == "markdown":
            name = (re.findall(r"(?m)^#+ (.+)$", cell.source) or [name])[-1]
        elif "same(" in cell.source:
            computed.add(name)
    assert [name for name, _ in IN_FOUR_WAYS if name not in computed] == []


# How a formula is laid out, not what it says.
LAYOUT = set(
    r"\Big \Bigl \Bigr \big \bigl \bigr \left \right \quad \qquad \cdot \text \underbrace \operatorname \mathrm \mathsf "
    r"\begin \end \lvert \rvert \lVert \rVert \tfrac \frac \cdots \dots \mid \circ".split()
)


def symbols_of(text: str) -> set[str]:
    """The commands and the letters of all formulas, without names such as "bytes" or "SiLU"."""
    found = set()
    for formula in formulas(text):
        formula = re.sub(r"\\(text|operatorname|mathrm|begin|end)\s*\{[^}]*\}", " ", formula)
        found |= set(re.findall(r"\\[A-Za-z]+", formula))
        found |= {sign for sign in re.sub(r"\\[A-Za-z]+", " ", formula) if sign.isalpha()}
    return found - LAYOUT


@every_chapter
def test_every_symbol_of_a_chapter_stands_in_the_tables(path):
    tables = "".join(text for name, text in sections(APPENDIX) if name.startswith(("Symbols", "Signs")))
    assert symbols_of(prose_of(path)) - symbols_of(tables) == set()


def test_signs_beside_a_formula_stay_on_its_line():
    part = '<span class="katex-base">'
    html = beside(typeset("x = 5", False), "(", ").")
    first, last = html.index(part), html.rindex(part)
    assert first < last and html[first:].startswith(f'{part}<span class="beside">(</span>')
    assert html[last:].endswith('<span class="mord">5</span><span class="beside">).</span></span></span></span>')
    assert beside("<math/>", "(", ")") == "(<math/>)"  # in a book on paper
