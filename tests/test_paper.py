"""The book on paper: pages in their order, links that lead into the whole, sheets that are counted."""

from bs4 import BeautifulSoup

from course.paper import Page, adopt, contents, order, read

TOC = {"root": "intro", "parts": [{"chapters": [
    {"file": "chapters/01", "sections": [{"file": "exercises/01", "sections": [{"file": "solutions/01"}]}]},
    {"file": "chapters/02"}]}]}


def page(name: str, html: str) -> Page:
    return Page(name, "A title", 0, BeautifulSoup(f"<article>{html}</article>", "html.parser").article)


def test_solutions_are_bound_last():
    assert order(TOC) == [("intro", 0), ("chapters/01", 0), ("exercises/01", 1), ("chapters/02", 0), ("solutions/01", 1)]


def test_links_lead_to_places_in_the_whole_and_files_to_none():
    one = page("chapters/01", '<h2 id="a">A</h2><img src="../_images/x.png"><a href="../exercises/01.html#q1">sheet</a>'
               '<a href="#a">above</a><a href="https://x.org">out</a><a href="../notebook.ipynb">file</a>')
    other = page("exercises/01", '<p id="q1"></p>')
    for each in (one, other):
        adopt(each, {"chapters/01": one, "exercises/01": other})
    assert [link["href"] for link in one.article("a")] == ["#page-exercises-01-q1", "#page-chapters-01-a", "https://x.org"]
    assert other.article.p["id"] == "page-exercises-01-q1"
    assert one.article.img["src"] == "_images/x.png" and "file" in one.article.text


def test_the_parts_of_a_figure_find_each_other_in_the_whole():
    one = page("chapters/x", '<svg><defs><path id="fig-1-i0"></path></defs><use href="#fig-1-i0" style="fill:url(#fig-1-i0)"></use>'
               '<g clip-path="url(#fig-1-i0)" style="fill:#ffffff"></g></svg>')
    adopt(one, {"chapters/x": one})
    assert one.article.path["id"] == "page-chapters-x-fig-1-i0"
    assert one.article.use.attrs == {"href": "#page-chapters-x-fig-1-i0", "style": "fill:url(#page-chapters-x-fig-1-i0)"}
    assert one.article.g.attrs == {"clip-path": "url(#page-chapters-x-fig-1-i0)", "style": "fill:#ffffff"}


def test_contents_name_the_sheet_of_each_page():
    text = contents([page("chapters/01", "")], {"page-chapters-01": 17})
    assert 'href="#page-chapters-01"' in text and "<span>17</span>" in text


def test_a_book_that_was_not_built_is_asked_for(tmp_path):
    try:
        read("intro", 0, tmp_path)
    except FileNotFoundError as error:
        assert "make book" in str(error)
    else:
        raise AssertionError("read a page that is not there")


def test_code_of_figures_and_scripts_stay_out(tmp_path):
    (tmp_path / "intro.html").write_text('<article><h1>T<a class="headerlink">#</a></h1><script>1</script>'
                                         '<details class="admonition hide above-input">code</details><p>kept</p></article>')
    found = read("intro", 0, tmp_path)
    assert found.title == "T" and found.article.get_text() == "Tkept"
