"""Which answers look alike: renamed copies do, others do not, and nobody is accused."""

import ast
import json
from pathlib import Path

import jupytext
import nbformat
import pytest

from course import similar
from course.__main__ import main
from mutants import rewritten

ROOT = Path(__file__).parent.parent
SHEET = "04_attention_as_lookup"
OTHER = '''
def masked_attention(q, k, v, mask):
    rows = []
    for i, query in enumerate(q):
        allowed = [j for j in range(len(k)) if mask[i, j]]
        scores = torch.stack([(query * k[j]).sum() for j in allowed]) * q.size(1) ** -0.5
        odds = (scores - scores.max()).exp()
        total = sum(odds[n] * v[j] for n, j in enumerate(allowed))
        rows.append(total / odds.sum())
    return torch.stack(rows)
'''


def sheet(path, change):
    book = jupytext.read(ROOT / "solutions" / f"{SHEET}.py")
    book.cells = [cell for cell in book.cells if "stub" not in cell.metadata.get("tags", [])]
    for cell in book.cells:
        if "answer" in cell.metadata.get("tags", []):
            cell.source = change(cell.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)


def renamed(source):
    class Never:
        random = staticmethod(lambda: 1.0)

    return rewritten(source, Never)


def own(source):
    return OTHER if "def masked_attention" in source else "pass"


def test_a_renamed_copy_is_shown_and_an_answer_of_ones_own_is_not(tmp_path, capsys):
    sheet(tmp_path / "ann" / f"{SHEET}.ipynb", lambda source: source)
    sheet(tmp_path / "bob" / f"{SHEET}.ipynb", renamed)
    sheet(tmp_path / "eve" / f"{SHEET}.ipynb", own)
    sheet(tmp_path / "zoe" / f"{SHEET}.ipynb", lambda source: "def masked_attention(:")
    (tmp_path / "broken.ipynb").write_text("{")
    assert main(["similar", str(tmp_path), "--csv", str(tmp_path / "csv")]) == 1
    said = capsys.readouterr()
    assert "no proof" in said.out and "broken.ipynb: not compared" in said.err
    assert "100%  ann" in said.out and "bob" in said.out and "eve" not in said.out and "zoe" not in said.out
    assert "(the book's solution)" in said.out
    assert not {"cheat", "plagiari", "copied", "guilty"} & set(said.out.lower().split())
    rows = (tmp_path / "csv").read_text().splitlines()
    assert rows[0] == "share,sheet,one,other,questions" and rows[1].startswith("1.00,04_attention_as_lookup,ann/")


def test_what_is_handed_out_and_what_most_have_says_nothing():
    stub = json.loads((ROOT / "exercises" / f"{SHEET}.ipynb").read_text())
    prints = similar.prints_of(similar.parse(json.dumps(stub).encode()), SHEET)
    assert not similar.compare(SHEET, {"ann": dict(prints), "bob": dict(prints)})
    solved = similar._of_the_book("solutions", SHEET)
    many = {f"student {n}": {id: set(one) for id, one in solved.items()} for n in range(similar.CLASS)}
    assert not similar.compare(SHEET, many), "all have the same, so it is the custom"


@pytest.mark.parametrize("change", ["x = 1 + y", '"""Doc."""', "# comment"])
def test_names_comments_and_docstrings_do_not_count_and_code_does(change):
    body = "a = b.sum(-1)\n    c = a.exp() / a.exp().sum()\n    return c if a > 0 else -c"
    plain = similar.fingerprints(ast.parse(f"def f(b):\n    {body}"))
    same = similar.fingerprints(ast.parse(f"def g(b):\n    {change}\n    {body}"))
    assert (same == plain) == (change[0] != "x") and len(plain) > 3


def test_two_folders_of_the_same_names_are_compared_with_each_other(tmp_path, capsys):
    for year in ("2025", "2026"):
        sheet(tmp_path / year / "class" / "ann" / f"{SHEET}.ipynb", lambda source: source if year == "2025" else renamed(source))
    main(["similar", str(tmp_path / "2025" / "class"), str(tmp_path / "2026" / "class")])
    out = capsys.readouterr().out
    assert f"100%  class/ann/{SHEET}.ipynb\n      {tmp_path}/2026/class/ann/{SHEET}.ipynb" in out


def test_a_notebook_whose_name_shows_like_anothers_does_not_hide_it(tmp_path, capsys):
    sheet(tmp_path / "ann" / f"{SHEET}.ipynb", lambda source: source)
    for sign, change in (("\a", renamed), ("\b", own), ("?", own)):
        sheet(tmp_path / "bob" / f"{SHEET}{sign}.ipynb", change)
    main(["similar", str(tmp_path)])
    assert f"100%  ann/{SHEET}.ipynb\n      bob/" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda source: "if True:\n" + "".join(f"    {line}\n" for line in source.splitlines()),
        lambda source: source + "\nif False:\n    def masked_attention(q, k, v, mask):\n        return q\n",
        lambda source: "try:\n" + "".join(f"    {line}\n" for line in source.splitlines()) + "finally:\n    pass\n",
    ],
)
def test_an_answer_inside_of_another_statement_is_compared(tmp_path, capsys, wrapped):
    def change(source):
        return wrapped(renamed(source)) if "def masked_attention" in source else "pass"

    sheet(tmp_path / "ann" / f"{SHEET}.ipynb", lambda source: source)
    sheet(tmp_path / "bob" / f"{SHEET}.ipynb", change)
    main(["similar", str(tmp_path)])
    assert f"100%  ann/{SHEET}.ipynb\n      bob/" in capsys.readouterr().out


def test_the_table_does_not_take_a_notebooks_place(tmp_path, capsys):
    sheet(tmp_path / "ann.ipynb", lambda source: source)
    before = (tmp_path / "ann.ipynb").read_bytes()
    assert main(["similar", "--csv", str(tmp_path / "ann.ipynb"), str(tmp_path)]) == 2
    assert "like a notebook" in capsys.readouterr().err and (tmp_path / "ann.ipynb").read_bytes() == before
