"""A class: who handed in what, what was set by hand, and what Canvas, Moodle and the students get."""

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from demo_answers import RIGHT, STUBS, notebook
from grading import command, demo, processes  # noqa: F401  (fixtures)

import course.grade
from course.grade.gradebook import no_formula
from course.grade.roster import Unusable, roster, squeeze
from course.grade.rows import is_at

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Essay (1),HW 98_lookup (555)
    Points Possible,,,,,10,8
"Adams, Ann Marie",11,s1,ann@x.edu,A,7,
"Müller, Bo",12,s2,bo@x.edu,A,,
"Doe, Dora",14,s4,dora@x.edu,B,,3
"""
MOODLE = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified (grade),Feedback comments
Participant 77,Ann Marie Adams,ann@x.edu,Submitted,,8,-,
Participant 78,Bo Müller,bo@x.edu,Submitted,,8,-,
Participant 79,Dora Doe,dora@x.edu,No submission,,8,-,
"""
WRONG = RIGHT["q1"].replace("-1", "0")


@pytest.fixture
def grade(command, monkeypatch, tmp_path):
    """`python -m course grade`, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: command(["grade", *map(str, arguments)])


def rows_of(name):
    return list(csv.DictReader(io.StringIO(Path(name).read_text(encoding="utf-8"))))


@pytest.fixture
def canvas(tmp_path):
    """A class as Canvas gives it: one late, one whose name has an umlaut, one missing, one of nobody."""
    (tmp_path / "roster.csv").write_text(CANVAS, encoding="utf-8")
    folder = tmp_path / "class"
    folder.mkdir()
    notebook(folder / "adamsannmarie_LATE_11_901_98_lookup-1.ipynb", *RIGHT.values())
    notebook(folder / "müllerbo_12_902_98_lookup.ipynb", WRONG, *list(RIGHT.values())[1:])
    notebook(folder / "nobody.ipynb", *STUBS.values())
    return folder


def test_each_student_has_a_row_and_each_missing_one(grade, canvas, capsys):
    assert grade("class", "--roster", "roster.csv", "--csv", "csv", "--json", "json") == 0
    shown = capsys.readouterr().out
    rows = rows_of("csv")
    assert [(row["student"], row["login"], row["points"], row["error"]) for row in rows] == [
        ("Adams, Ann Marie", "ann@x.edu", "8", ""),
        ("Müller, Bo", "bo@x.edu", "5", ""),
        ("Doe, Dora", "dora@x.edu", "", "missing"),
        ("", "", "0", ""),
    ]
    assert rows[0]["notes"] == "it came late, says its name" and rows[3]["notes"] == "of nobody on the roster"
    assert [one["points"] for one in json.loads(Path("json").read_text())["rows"]] == [8, 5, None, 0]
    table = [line.split() for line in shown.splitlines()]
    assert ["Doe,", "Dora", "missing", "8"] in table and ["Müller,", "Bo", "3/4", "5", "8"] in table


def test_canvas_and_moodle_get_the_points_in_their_own_form(grade, canvas):
    grade("class", "--roster", "roster.csv", "--canvas", "canvas", "--moodle", "moodle")
    assert Path("canvas").read_text() == """Student,ID,SIS User ID,SIS Login ID,Section,HW 98_lookup (555)
    Points Possible,,,,,8
"Adams, Ann Marie",11,s1,ann@x.edu,A,8
"Müller, Bo",12,s2,bo@x.edu,A,5
"Doe, Dora",14,s4,dora@x.edu,B,
"""
    first, *rest = Path("moodle").read_text().splitlines()
    assert first == "SIS Login ID,SIS User ID,ID,98_lookup,98_lookup (feedback)"
    assert rest == ["ann@x.edu,s1,11,8,q1 3/3; q2 3/3; q3 1/1; q4 1/1", "bo@x.edu,s2,12,5,q1 0/3; q2 3/3; q3 1/1; q4 1/1"]
    grade("class", "--roster", "roster.csv", "--canvas", "canvas", "--column", "98_lookup=Lookups (7)")
    assert Path("canvas").read_text().splitlines()[0].endswith("Section,Lookups (7)")


def test_moodles_worksheet_comes_back_filled_in(grade, tmp_path):
    (tmp_path / "roster.csv").write_text(MOODLE, encoding="utf-8")
    for name, cells in (("Ann Marie Adams_77", RIGHT.values()), ("Renamed Since_78", STUBS.values())):
        (tmp_path / "class" / f"{name}_assignsubmission_file_").mkdir(parents=True)
        notebook(tmp_path / "class" / f"{name}_assignsubmission_file_" / "98_lookup.ipynb", *cells)
    assert grade("class", "--roster", "roster.csv", "--moodle", "moodle", "--feedback", "back") == 0
    rows = rows_of("moodle")
    assert list(rows[0]) == MOODLE.partition("\n")[0].split(",")
    assert [(row["Identifier"], row["Grade"], row["Last modified (grade)"]) for row in rows] == [
        ("Participant 77", "8", "-"), ("Participant 78", "0", "-"), ("Participant 79", "", "-"),
    ]  # fmt: skip
    assert (tmp_path / "back/Ann Marie Adams_77_assignsubmission_file_/98_lookup.html").exists()


def test_points_set_by_hand_count_are_shown_and_outlive_a_regrading(grade, canvas, capsys):
    Path("hand.csv").write_text("student,question,points,reason\nbo@x.edu,q1,1.5,one slip\nDora Doe,total,4,an oral exam\n")
    options = ["--roster", "roster.csv", "--csv", "csv", "--feedback", "back"]
    assert grade("class", *options, "--json", "json", "--overrides", "hand.csv") == 0
    assert "* set by hand" in capsys.readouterr().out
    assert [row["points"] for row in rows_of("csv")] == ["8", "6.5", "4", "0"]
    assert [row["overrides"] for row in rows_of("csv")][1:3] == ["q1: 1.5, set by hand: one slip", "total: 4, set by hand: an oral exam"]
    page = Path("back/müllerbo_12_902_98_lookup.html").read_text(encoding="utf-8")
    assert "q1 was set to 1.5 points by your instructor; the checks gave 0. one slip" in page and "6.5 of 8 points" in page

    late = notebook(canvas / "doedora_14_903_98_lookup.ipynb", *RIGHT.values())
    notebook(canvas / "müllerbo_12_902_98_lookup.ipynb", WRONG)
    assert grade(late, canvas / "müllerbo_12_902_98_lookup.ipynb", *options, "--merge", "json") == 0
    assert [row["points"] for row in rows_of("csv")] == ["8", "1.5", "4", "0"]


def test_one_can_be_graded_anew_and_the_others_stay_as_they_were(grade, canvas):
    options = ["--roster", "roster.csv", "--csv", "csv", "--canvas", "canvas", "--feedback", "back"]
    grade("class", *options, "--json", "json")
    written = json.loads(Path("json").read_text())
    written["notebooks"][0]["notes"] = ["from the first run"]
    Path("json").write_text(json.dumps(written))
    name = "müllerbo_12_902_98_lookup.ipynb"
    notebook(canvas / name, *RIGHT.values())
    assert grade(f"class/{name}", *options, "--merge", "json") == 0
    assert [row["points"] for row in rows_of("csv")] == ["8", "8", "", "0"]
    assert "from the first run" in rows_of("csv")[0]["notes"]
    assert sorted(os.listdir("back")) == sorted(path.replace(".ipynb", ".html") for path in os.listdir("class"))
    assert len(json.loads(Path("json").read_text())["notebooks"]) == 3


def test_of_several_attempts_the_best_counts_or_the_latest(grade, canvas):
    first, second = canvas / "adamsannmarie_LATE_11_901_98_lookup-1.ipynb", canvas / "adamsannmarie_11_950_98_lookup.ipynb"
    notebook(second, *STUBS.values())
    os.utime(first, (1e9, 1e9))
    for which, points in (("best", "8"), ("latest", "0")):
        grade("class", "--roster", "roster.csv", "--csv", "csv", "--several", which)
        assert rows_of("csv")[0]["points"] == points
        assert "does not count" in rows_of("csv")[0]["notes"]


def test_a_page_of_feedback_tells_the_student_all_that_the_check_told_and_no_answer(grade, tmp_path):
    cells = ["def softmax(scores):\n    raise ValueError('<script>alert(1)</script>')", RIGHT["q3"].replace("0.45", "0.1")]
    notebook(tmp_path / "ann.ipynb", *cells)
    (tmp_path / "empty").mkdir()
    grade("ann.ipynb", "empty", "--feedback", "back")
    page = (tmp_path / "back" / f"{tmp_path.name}").with_name("ann.html").read_text()
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "1 · Softmax over the keys: 0 of 3 points" in page and str(tmp_path) not in page
    judged = re.search(r"<h2>q3.*?</pre>", page, re.DOTALL)[0]
    assert "too small (yours: 0.1)" in judged and "0.5" not in judged.replace("<h2>", "")
    assert "there is no notebook in this folder" in (tmp_path / "back/empty/feedback.html").read_text()


def test_no_page_takes_the_place_of_another_and_no_override_is_guessed(grade, tmp_path, capsys):
    for name in ("a/class/ann.ipynb", "b/class/ann.ipynb", "b/class/ann.IPYNB"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        notebook(tmp_path / name, *STUBS.values())
    Path("hand.csv").write_text("student,question,points,reason\nann,q1,1,x\n")
    assert grade("a/class", "b/class", "--feedback", "back", "--overrides", "hand.csv") == 1
    assert sorted(os.listdir("back/class")) == ["ann-2.html", "ann.IPYNB.html", "ann.html"]
    assert "it may mean class/ann.ipynb or" in " ".join(capsys.readouterr().out.split())


def test_a_name_that_no_page_can_have_costs_only_its_own_page(grade, tmp_path, capsys):
    for name in ("class/a.html/x.ipynb", "class/a.ipynb", f"class/{'b' * 249}.ipynb", f"class/{'c' * 249}.IPYNB", "class/d.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        notebook(tmp_path / name, *STUBS.values())
    assert grade("class", "--feedback", "back") == 1
    assert "ccc.IPYNB.html: File name too long" in capsys.readouterr().err
    assert sorted(os.listdir("back")) == ["a-2.html", "a.html", f"{'b' * 249}.html", "d.html"]


def test_a_page_follows_no_link_that_was_handed_in_and_takes_no_other_students_place(grade, tmp_path, capsys):
    """The pages may be wanted beside what they are about, and there lies what students have put there."""
    for name in ("class/a.ipynb", "class/b/x.ipynb", "class/Z\u00e9.ipynb", "class/z\u00c9.ipynb", "class/ze\u0301.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        notebook(tmp_path / name, *STUBS.values())
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in ("grades", "more"):
        (precious / name).write_text("the instructor's")
    os.symlink(precious / "grades", "class/a.html")
    os.symlink(precious / "more", "class/b/x.html.new")
    assert grade("class", "--feedback", "class") == 0
    assert not os.path.islink("class/a.html") and "0 of 8 points" in Path("class/a.html").read_text()
    pages = sorted(name for name in os.listdir("class") if name.endswith(".html"))
    assert len(pages) == 4 and len({name.casefold() for name in pages}) == 4, "one name on a disk that knows no capitals"
    Path("back").mkdir()
    os.symlink(precious, "back/b")
    assert grade("class/b/x.ipynb", "class/a.ipynb", "--feedback", "back") == 1
    assert "back/b/x.html: is behind a link that leads out of the folder" in capsys.readouterr().err
    assert sorted(os.listdir(precious)) == ["grades", "more"]
    assert {path.read_text() for path in precious.iterdir()} == {"the instructor's"}


@pytest.mark.parametrize("text", ["=1", "a;=1", "a; @x", "a\n=1", "a;\n +1", "\t=1", "\r1", "\uff1d1", "x;-1;=2"])
def test_no_text_is_a_formula_wherever_a_spreadsheet_cuts_it(text):
    cell = no_formula(text)
    for piece in re.split(r"[;\n\t\r]", cell):
        assert piece.strip()[:1] not in {*"=+-@\uff1d"}, (text, cell)
    assert no_formula("q1 3/3; q2 - 1 = 2") == "q1 3/3; q2 - 1 = 2" and no_formula("") == ""


def test_a_login_that_begins_with_an_at_sign_is_not_that_of_everything_unnamed(tmp_path):
    (tmp_path / "roster.csv").write_text("name,login\nEve,@eve\nAnn,ann\n")
    found = roster(tmp_path / "roster.csv")
    assert not found.owners(Path("98_lookup.ipynb"), ["98_lookup"]) and len(found.called("@eve")) == 1


def test_results_that_somebody_has_edited_are_graded_anew(grade, canvas, capsys):
    grade("class", "--csv", "csv", "--json", "json")
    written = json.loads(Path("json").read_text())
    known = written["notebooks"]
    known[0]["questions"][0]["id"], known[1]["by"] = "q99", None
    del known[2]["questions"]
    Path("json").write_text(json.dumps(written | {"complete": False}))
    before = Path("csv").read_text()
    assert grade("class", "--csv", "csv", "--json", "json") == 0 and Path("csv").read_text() == before
    for wrong in ([1], {"complete": False}, written | {"complete": False, "protections": 3, "notebooks": []}):
        Path("json").write_text(json.dumps(wrong))
        assert grade("class", "--csv", "csv", "--json", "json") == 0 and Path("csv").read_text() == before
    Path("hand.csv").write_text("student,question,points,reason\nadamsannmarie_LATE_11_901_98_lookup-1,q1,1,x\n")
    grade("class", "--overrides", "hand.csv", "--json", "json")
    written = json.loads(Path("json").read_text())
    written["overrides"][0]["points"] = float("nan")
    Path("json").write_text(json.dumps(written))
    assert grade("class", "--merge", "json") == 2 and "not what --json of this version writes" in capsys.readouterr().err


def test_a_student_cannot_hand_in_for_another_by_the_name_of_a_file(tmp_path):
    (tmp_path / "moodle.csv").write_text(MOODLE, encoding="utf-8")
    (tmp_path / "canvas.csv").write_text(CANVAS, encoding="utf-8")
    for name, place, who in (
        ("moodle", "Bo Müller_78_assignsubmission_file_Dora Doe_79_assignsubmission_file_x.ipynb", ["Bo Müller"]),
        ("moodle", "Bo Müller_78_assignsubmission_file_/Dora Doe_79_assignsubmission_file_x.ipynb", ["Bo Müller"]),
        ("moodle", "Eve Gone_80_assignsubmission_file_/Dora Doe_79_assignsubmission_file_x.ipynb", []),
        ("moodle", "Bo Müller/Dora Doe_79_assignsubmission_file_x.ipynb", ["Bo Müller"]),
        ("canvas", "bo@x.edu/doedora_14_903_98_lookup.ipynb", ["Müller, Bo"]),
        ("canvas", "müllerbo_12_902_doedora_14_903_98_lookup.ipynb", ["Müller, Bo"]),
    ):
        owners = roster(tmp_path / f"{name}.csv").owners(Path(place), ["98_lookup"])
        assert [owner.name for owner in owners] == who, place


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("roster.csv", "", "it is empty"),
        ("roster.csv", "a,b\n1,2\n", "no column says who is who"),
        ("roster.csv", "name,email\n", "there is no student in it"),
        ("roster.csv", "name,name\nx,y\n", "two columns are called 'name'"),
        ("roster.csv", "name,email\nAnn,a@x\nAnn,a@x\n", "line 3: the same student as in line 2"),
        ("roster.csv", b"PK\x03\x04\x00\x00", "not a text"),
        ("hand.csv", "student,points\nann,3\n", "there is no column question and none reason"),
        ("hand.csv", "student,question,points,reason\nzoe,q1,1,x\n", "line 2: nobody on the roster is called zoe"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q9,1,x\n", "there is no question q9"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q1,many,x\n", "'many' is no number of points"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q1,-1,x\n", "no number of points from 0 up"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q1,1,\n", "it gives no reason"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q1,2,5,a slip\n", "line 2: it has more cells than the first line has columns"),
        ("hand.csv", "student;question;points;reason\nann@x.edu;q1;2;late; excused\n", "a text with a semicolon in it goes into quotes"),
        ("roster.csv", "name,email\nAnn,a@x\nAdams, Bo,b@x\n", "line 3: it has more cells than the first line has columns"),
        ("hand.csv", "student,question,points,reason\nann@x.edu,q1,1,x\nann@x.edu,q1,2,x\n", "is set in line 2 already"),
        ("json", "{}", "not what --json of this version writes"),
        ("json", "[1]", "not what --json of this version writes"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence_before_anything_runs(grade, canvas, capsys, name, content, says):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    options = {"hand.csv": ["--overrides", "hand.csv"], "json": ["--merge", "json"]}.get(name, [])
    assert grade("class", "--roster", "roster.csv", *options, "--csv", "csv") == 2
    said = capsys.readouterr().err
    assert says in said and said.startswith(name) and said.count("\n") == 1
    assert not Path("csv").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--csv", "class/nobody.ipynb"],
        ["class/nobody.ipynb", "--json", "new.IPYNB"],
        ["--merge", "class/nobody.ipynb"],
        ["--roster", "roster.csv", "--csv", "roster.csv"],
        ["--roster", "roster.csv", "--canvas", "./roster.csv"],
        ["--roster", "roster.csv", "--overrides", "hand.csv", "--moodle", "hand.csv"],
        ["--csv", "out", "--json", "out"],
        ["--csv", "out", "--merge", "out"],
        ["--json", "other", "--csv", "out", "--merge", "out"],
    ],
)
def test_no_output_takes_the_place_of_a_notebook_or_of_what_is_read(grade, canvas, tmp_path, capsys, options):
    (tmp_path / "hand.csv").write_text("student,question,points,reason\nann@x.edu,q1,1,x\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert grade("class", *options) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("like a notebook" in said or "named for something else, too" in said)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_merged_may_be_written_anew(grade, canvas, tmp_path):
    assert grade("class", "--json", "json") == 0
    assert grade("class/nobody.ipynb", "--merge", "json", "--json", tmp_path / "json") == 0
    assert len(json.loads(Path("json").read_text())["notebooks"]) == 3


def test_more_points_than_there_are_are_not_given(grade, canvas, capsys):
    Path("hand.csv").write_text("student,question,points,reason\nann@x.edu,q1,30,typing error\n")
    assert grade("class", "--roster", "roster.csv", "--overrides", "hand.csv", "--csv", "csv") == 1
    assert "there are 3 points for that, not 30" in capsys.readouterr().out
    assert rows_of("csv")[0]["points"] == "8"


def test_only_the_sheet_that_is_asked_for_is_graded(grade, canvas, monkeypatch):
    options = ["--roster", "roster.csv", "--csv", "csv"]
    assert grade("class/nobody.ipynb", *options, "--sheet", "98_lookup") == 0
    assert {row["sheet"] for row in rows_of("csv")} == {"98_lookup"}
    with pytest.raises(SystemExit):
        grade("class", "--sheet", "97_other")


NAMED = """name,login,email
Ann Marie Adams,amadams,ann@x.edu
Bo Müller,bo,bo@x.edu
Bo Müller,bo2,other@x.edu
李 小龙,li,li@x.edu
O'Neill-Smith Pat,pat,pat@x.edu
"""


@pytest.mark.parametrize(
    "place, who",
    [
        ("amadams/98_lookup.ipynb", ["amadams"]),
        ("98_lookup_amadams.ipynb", ["amadams"]),
        ("98_lookup - Ann Marie Adams (1).ipynb", ["amadams"]),
        ("Adams, Ann Marie/homework/98_lookup.ipynb", ["amadams"]),
        ("adamsannmarie_5_6_98_lookup.ipynb", ["amadams"]),
        ("ann@x.edu.ipynb", ["amadams"]),
        ("muller_bo/x.ipynb", ["bo", "bo2"]),
        ("bo2/x.ipynb", ["bo2"]),
        ("bo/x.ipynb", ["bo"]),
        ("李 小龙_4711_assignsubmission_file_/x.ipynb", ["li"]),
        ("oneillsmithpat_LATE_3_4_x.ipynb", ["pat"]),
        ("x.ipynb", []),
        ("98_lookup.ipynb", []),
    ],
)
def test_a_submission_is_found_by_any_name_that_a_download_may_have(tmp_path, place, who):
    (tmp_path / "roster.csv").write_bytes(NAMED.encode("utf-8-sig"))
    found = roster(tmp_path / "roster.csv").owners(Path(place), ["98_lookup"])
    assert [student.row["login"] for student in found] == who


def test_a_roster_may_come_from_any_spreadsheet(tmp_path):
    for data in (NAMED.encode("utf-8-sig"), NAMED.replace(",", ";").encode(), NAMED.replace(",", "\t").encode("utf-16"),
                 NAMED.replace("李 小龙", "x").encode("cp1252"), NAMED.replace("\n", "\r\n").encode()):  # fmt: skip
        (tmp_path / "roster.csv").write_bytes(data)
        assert [student.login for student in roster(tmp_path / "roster.csv").students] == ["amadams", "bo", "bo2", "li", "pat"]
    with pytest.raises(Unusable, match="there is no such file"):
        roster(tmp_path / "none.csv")


def test_without_a_roster_a_file_is_named_by_any_part_of_its_place():
    assert is_at("ann", Path("ann/98_lookup.ipynb")) and is_at("Ann", Path("x/ann.ipynb"))
    assert not is_at("an", Path("ann/98_lookup.ipynb")) and squeeze("Ünal, Ö.") == "unalo"


@pytest.mark.skipif(os.name == "nt", reason="there is no such terminal")
def test_in_a_terminal_a_bar_counts_the_notebooks(grade, canvas, monkeypatch):
    import pty

    from rich.console import Console

    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        options = dict(file=terminal, force_terminal=True, width=80)
        monkeypatch.setattr(course.grade, "Console", lambda stderr=False, **more: Console(**options | more))
        grade("class", "--csv", "csv")
        terminal.flush()
        shown = os.read(ours, 100_000).decode(errors="replace")
    os.close(ours)
    assert "graded" in shown and "1/3" in shown and "3/3" in shown
