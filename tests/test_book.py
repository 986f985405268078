"""The rendered book: it builds without a warning, is complete, and is whole on a disk without a network."""

import gzip
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from browser import PIXEL, ROOT, reading, render, rgb, unfit
from course.style import COLORS

# Everything that a chapter may hold and that could break a page.
SAMPLE = r"""
# A sample

What does $q$ see of $k_t$?

$$ s = a_1 + a_2 + a_3 + a_4 + a_5 + a_6 + a_7 + a_8 + a_9 + a_{10} + a_{11} + a_{12} + a_{13} + a_{14} $$

\begin{align} a &= \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \\ b &= \mathbb{E}[\boldsymbol{x}] \end{align}

:::{two-views}

- **As a lookup.** The query $q$ is compared with every key.
- **As a smoother.** The values seen near $q$ are averaged.

Both give the same numbers.

:::

:::{why-it-works}
The weights sum to one {cite:p}`shannon1951`.
:::

:::{why-it-might}
A guess, named as such.
:::

| phenomenon | as a lookup | as a smoother | neither | chapter | `a_rather_long_name` | `another_long_name` |
|---|---|---|---|---|---|---|
| duplicate keys | averaged | two observations | - | 4 | 0.123456 | 0.123456 |
"""
HOME = "https://someone.github.io/somewhere"
SAMPLE_TOC = """
format: jb-book
root: references
chapters:
- file: chapters/sample
  sections:
  - file: exercises/sample
"""


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    return render(ROOT, tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """A book of one sheet below one chapter, whose repository is set."""
    source = tmp_path_factory.mktemp("sample")
    config = (ROOT / "_config.yml").read_text(encoding="utf8")
    config = config.replace('baseurl: ""', f"baseurl: {HOME}")
    config = config.replace(' url: ""', " url: https://github.com/someone/somewhere")
    (source / "_config.yml").write_text(config, encoding="utf8")
    (source / "_toc.yml").write_text(SAMPLE_TOC)
    (source / "chapters").mkdir()
    (source / "chapters/sample.md").write_text("# A chapter\n")
    for name in ["references.md", "references.bib"]:
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "pages", source / "pages")
    figure = new_output("display_data", {"image/png": PIXEL})
    link = new_output("display_data", {"text/html": '<a href="../exercises/sample.ipynb">This sheet</a>'})
    alt = {"mystnb": {"image": {"alt": "A point."}}}
    cells = [
        new_markdown_cell(SAMPLE),
        new_code_cell("draw()", execution_count=1, outputs=[figure], metadata=alt),
        new_code_cell("wide()" * 60, execution_count=2, outputs=[new_output("stream", text="wide " * 60)]),
        new_code_cell("check()", execution_count=3, outputs=[link]),
    ]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (source / "exercises").mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=python), source / "exercises/sample.ipynb")
    return render(source, tmp_path_factory.mktemp("sample-out"))


def pages_of(book: Path) -> list[Path]:
    return [page for page in sorted(book.rglob("*.html")) if "_static" not in page.parts]


@pytest.fixture(scope="session")
def pages(book, sample) -> list[Path]:
    """Every page but index.html, which only leads on to the first one, and the sample."""
    return [*(page for page in pages_of(book) if page.name not in ("index.html", "404.html")), sample / "exercises/sample.html"]


class Elements(HTMLParser):
    """The start tags of a page with their attributes."""

    def __init__(self, path: Path):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def listed_files(entry: dict) -> list[str]:
    """The files of an entry of the table of contents and of all entries below it."""
    own = [entry["file"]] if "file" in entry else []
    below = [child for key in ("parts", "chapters", "sections") for child in entry.get(key, [])]
    return own + [file for child in below for file in listed_files(child)]


def test_the_table_of_contents_lists_every_notebook_once():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    folders = ["chapters", "exercises", "solutions"]
    notebooks = [path for folder in folders for path in ROOT.glob(f"{folder}/*.ipynb")]
    listed = [file for file in listed_files(toc) if file.split("/")[0] in folders]
    assert sorted(listed) == sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in notebooks)


def test_a_page_names_no_resource_on_the_network(pages):
    loaded = [
        (page.name, address)
        for page in pages
        for tag, attributes in Elements(page).found
        for address in [attributes.get("src"), attributes.get("href") if tag == "link" else None]
        if address and urlsplit(address).netloc and attributes.get("rel") != "canonical"  # it says where, and loads nothing
    ]
    assert loaded == []


def test_every_link_on_the_disk_leads_somewhere(pages):
    links = [
        (page.name, address)
        for page in pages
        for tag, attributes in Elements(page).found
        for address in [attributes.get("href"), attributes.get("src")]
        if address and not urlsplit(address).scheme and urlsplit(address).path
        and not (page.parent / unquote(urlsplit(address).path)).exists()
    ]
    assert links == []


def test_every_picture_says_what_it_shows(pages):
    images = [
        (page.name, image["src"], image.get("alt"))
        for page in pages
        for tag, image in Elements(page).found
        if tag == "img" and "_images/" in image["src"]
    ]
    assert len(images) >= 1
    # Without an alt text of ours, docutils gives the picture's path.
    assert [image for image in images if not image[2] or image[2] == image[1]] == []


def meta(page: Path) -> dict[str, str]:
    found = [values for tag, values in Elements(page).found if tag == "meta"]
    return {v.get("name") or v.get("property"): v.get("content") for v in found}


def test_every_page_says_in_a_sentence_what_it_is(pages):
    for page in pages:
        if page.name not in ("search.html", "references.html"):
            assert 20 < len(meta(page)["description"]) <= 202, page
            assert meta(page)["og:title"] and "og:url" not in meta(page) or HOME in meta(page)["og:url"]


def test_the_address_of_the_site_gives_pages_theirs_a_map_and_a_picture(book, sample):
    page = sample / "exercises/sample.html"
    assert meta(page)["og:url"] == f"{HOME}/exercises/sample.html"
    assert f'<link rel="canonical" href="{HOME}/exercises/sample.html"' in page.read_text(encoding="utf8")
    picture = meta(page)["og:image"].removeprefix(HOME + "/")
    assert (sample / picture).is_file()
    assert f"<loc>{HOME}/exercises/sample.html</loc>" in (sample / "sitemap.xml").read_text(encoding="utf8")
    assert f'href="{HOME}/search.html"' in (sample / "404.html").read_text(encoding="utf8")
    assert not (book / "sitemap.xml").exists() and "canonical" not in (book / "intro.html").read_text(encoding="utf8")


def test_every_arxiv_id_is_a_link(book):
    text = (book / "references.html").read_text(encoding="utf8")
    assert text.count(">arXiv:") > 30 and not re.search(r'(?<![>/"])arXiv:\d{4}\.', text)


def test_every_reference_stands_in_its_page_once(book):
    text = (book / "references.html").read_text(encoding="utf8")
    entries = re.findall(r'<div class="citation".*?</div>', text, re.DOTALL)
    assert len(entries) > 50 and {entry.count("<p>") for entry in entries} == {1}


def test_buttons_to_the_repository_wait_for_its_address(book, sample):
    sheet = (sample / "exercises/sample.html").read_text(encoding="utf8")
    assert "colab.research.google.com/github/someone/somewhere/blob/main/exercises/sample.ipynb" in sheet
    if not yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["repository"]["url"]:
        assert not [page for page in book.rglob("*.html") if "launch-buttons" in page.read_text(encoding="utf8")]


def test_every_page_is_whole_without_a_network_in_light_and_dark_and_on_a_phone(browser, pages):
    faults = []
    with reading(browser, viewport={"width": 1280, "height": 800}, reduced_motion="reduce") as page:
        for path in pages:
            page.goto(path.as_uri())
            formulas, drawn = page.locator(".math").count(), page.locator(".math .katex-html").count()
            if drawn < formulas or page.locator(".katex-error").count():
                faults.append((path.name, f"{drawn} of {formulas} formulas, or one in error"))
            faults += unfit(page)
    assert faults == []


def test_the_one_search_field_finds_a_word(browser, book):
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto((book / "index.html").as_uri())
        page.wait_for_url("**/intro.html")
        fields = page.locator(".search-button, .search-button-field, input[type=search]").filter(visible=True)
        assert fields.count() == 1
        fields.click()
        page.keyboard.type("attention")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=attention")
        page.locator("ul.search li a").first.wait_for()


def test_two_views_stand_side_by_side_in_their_colors_and_stack_on_a_phone(browser, sample):
    with reading(browser, color_scheme="light", viewport={"width": 1280, "height": 800}) as page:
        page.goto((sample / "exercises/sample.html").as_uri())
        views = page.locator(".two-views li")
        lookup, smoother = (views.nth(i).bounding_box() for i in range(2))
        assert lookup["x"] < smoother["x"] and lookup["y"] == smoother["y"]
        edges = views.evaluate_all("all => all.map(one => getComputedStyle(one).borderTopColor)")
        assert edges == [rgb(COLORS["LOOKUP"]), rgb(COLORS["SMOOTHER"])]
        page.set_viewport_size({"width": 375, "height": 800})
        lookup, smoother = (views.nth(i).bounding_box() for i in range(2))
        assert lookup["x"] == smoother["x"] and lookup["y"] < smoother["y"]


def test_a_page_without_scripts_has_its_formulas_and_no_script_draws_icons(browser, book):
    path = book / "chapters/05_attention_as_smoothing.html"
    with reading(browser, java_script_enabled=False, viewport={"width": 1280, "height": 800}) as page:
        page.goto(path.as_uri())
        assert page.locator(".math .katex-html").count() == page.locator(".math").count() > 20
        assert page.locator(".fa-bars").first.evaluate("e => e.getBoundingClientRect().width") > 8
    assert [p.name for p in pages_of(book) if "fontawesome" in p.read_text(encoding="utf8")] == []
    assert [*book.rglob("*.map"), *book.rglob("*fontawesome*.js")] == []


def test_chapters_have_their_numbers_in_title_and_sidebar_and_sections_have_none(browser, book):
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto((book / "chapters/04_attention_as_lookup.html").as_uri())
        assert page.locator("article h1").inner_text().startswith("04. Attention I")
        assert page.locator("h2 .section-number").count() == 0
        assert page.locator(".bd-sidebar-primary a.current").inner_text().startswith("04. ")


def test_figures_and_drawings_are_counted_within_their_chapter_and_named_by_their_number(book):
    for path in sorted((book / "chapters").glob("[01]*.html")):
        html = path.read_text(encoding="utf8")
        numbers = re.findall(r'class="caption-number">Fig\. ([\d.]+)', html)
        assert numbers == [f"{int(path.name[:2])}.{i}" for i in range(1, len(numbers) + 1)], path
        names = [values["id"] for tag, values in Elements(path).found if tag == "figure"]
        assert names == ["fig-" + number.replace(".", "-") for number in numbers], path


def test_every_figure_of_a_notebook_is_a_part_of_its_page_and_says_what_it_shows(book):
    for path in sorted((book / "chapters").glob("*.html")):
        found = Elements(path).found
        notebook = nbformat.read(ROOT / "chapters" / path.with_suffix(".ipynb").name, as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        stored = sum("image/svg+xml" in output.get("data", {}) for output in outputs)
        plots = [tag for tag, values in found if tag == "figure" and "plot" in values["class"].split()]
        strips = sum(tag == "nav" and values.get("class") == "strip" for tag, values in found)  # in the place of the map
        assert len(plots) + strips == stored, path
        labels = [values.get("aria-label", "") for tag, values in found if tag == "svg" and values.get("role") == "img"]
        assert len(labels) >= len(plots) and all(len(label.split()) >= 5 for label in labels), path


def test_a_figure_has_the_colors_of_the_page_and_its_place_before_it_is_drawn(browser, book):
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto((book / "chapters/05_attention_as_smoothing.html").as_uri())
        words = page.locator("figure.plot").nth(0).locator("text").first
        seen = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.locator(f"html[data-theme={scheme}]").wait_for()
            seen.append(words.evaluate("e => getComputedStyle(e).fill"))
            muted = page.evaluate("""() => { const e = document.createElement('p'); e.style.color = 'var(--pst-color-text-muted)';
                document.body.append(e); return getComputedStyle(e).color; }""")
            assert seen[-1] == muted
        assert seen[0] != seen[1]
        sizes = page.locator("figure.plot > svg").evaluate_all("all => all.map(e => [e.hasAttribute('height'), e.hasAttribute('viewBox')])")
        assert sizes and all(map(all, sizes))


def test_the_way_from_page_to_page_leads_past_the_solutions(browser, book):
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto((book / "exercises/04_attention_as_lookup.html").as_uri())
        assert "chapters/05" in page.locator("a.right-next").get_attribute("href")
        page.goto((book / "chapters/05_attention_as_smoothing.html").as_uri())
        assert "exercises/04" in page.locator("a.left-prev").get_attribute("href")
        page.goto((book / "solutions/04_attention_as_lookup.html").as_uri())
        assert "exercises/04" in page.locator("a.left-prev").get_attribute("href").replace("../", "")
    index = json.loads((book / "searchindex.js").read_text(encoding="utf8")[len("Search.setIndex(") : -1])
    found = {name for name, title in zip(index["docnames"], index["titles"]) if title}
    assert "exercises/04_attention_as_lookup" in found and "solutions/04_attention_as_lookup" not in found


def test_a_chapter_weighs_little_without_the_model(browser, book):
    """Compressed, as servers send it: the page and all that it loads at once."""
    heavy = []
    for path in sorted((book / "chapters").glob("*.html")):
        loaded = {path}
        context = browser.new_context()
        page = context.new_page()
        page.on("request", lambda sent: loaded.add(Path(unquote(urlsplit(sent.url).path))))
        page.goto(path.as_uri(), wait_until="load")
        context.close()
        weight = sum(len(gzip.compress(p.read_bytes())) for p in loaded if "taleteller" not in p.name)
        if weight > 500_000:
            heavy.append((path.name, weight))
    assert heavy == []


def test_the_contents_of_a_page_mark_one_section_wherever_one_reads(browser, book):
    with reading(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto((book / "chapters/08_training.html").as_uri())
        height = page.evaluate("document.documentElement.scrollHeight")
        marked = []
        for place in range(0, height, 2000):
            page.evaluate("y => new Promise(done => { scrollTo(0, y); setTimeout(done, 50); })", place)
            marked.append(page.locator(".page-toc a:is(.active, [aria-current=true])").all_inner_texts())
        page.locator(".page-toc a").nth(4).click()  # what has been clicked is marked as long as one reads there
        page.evaluate("new Promise(done => { scrollTo(0, 0); setTimeout(done, 1500); })")
        marked.append(page.locator(".page-toc a:is(.active, [aria-current=true])").all_inner_texts())
        assert {len(some) for some in marked} == {1}
        assert len({some[0] for some in marked}) > 5
