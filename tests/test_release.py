"""What is handed out: a copy for students without solutions, and an archive that Gradescope runs."""

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jupytext
import pytest
from demo_answers import notebook
from mutants import answers

from course import gradescope, release
from course.__main__ import main
from course.checks import sheets, topics

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies") / "students"
    assert main(["release", str(folder)]) == 0
    return folder


def bodies(source: str) -> set[str]:
    """What the functions at the top of a text do, without their docstrings, as Python itself would write it."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found.add("\n".join(map(ast.unparse, body)))
    return found


def code(path: Path) -> str:
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")
    return path.read_text(encoding="utf-8")


def test_no_answer_is_in_the_copy_for_students(copy):
    files = [path for path in copy.rglob("*") if path.suffix in (".py", ".ipynb", ".md", ".js", ".toml")]
    assert len(files) > 60 and not {"solutions", "tests", ".git"} & {path.name for path in copy.rglob("*")}
    there = {path.relative_to(copy).as_posix(): bodies(code(path)) for path in files if path.suffix in (".py", ".ipynb")}
    texts = {path.relative_to(copy).as_posix(): "".join(path.read_text(encoding="utf-8").split()) for path in files}
    for sheet in sheets():
        for name, source in answers(sheet.name)[0].items():
            for body in filter(lambda body: len(body) > 40, bodies(source)):
                assert not [file for file, found in there.items() if body in found], (sheet.name, name)
                longest = "".join(max(body.splitlines(), key=len).split())
                found = [file for file, text in texts.items() if longest in text or json.dumps(longest)[1:-1] in text]
                # A line alone may be the chapter's, which has taught it, or the library's.
                assert not [file for file in found if not file.startswith(("chapters/", "tinyllm/", "exercises/"))], (name, found)
    for topic in topics():
        text = (copy / f"course/checks/{topic}.py").read_text()
        assert "Packed by" in text and "def " not in text and "torch" not in text


def test_what_an_editor_has_left_beside_the_checks_is_not_handed_out(tmp_path, monkeypatch):
    for folder in release.FOLDERS:
        (tmp_path / folder).mkdir()
    for name in release.FILES:
        (tmp_path / name).write_text("x")
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "course/checks/old").mkdir(parents=True)
    for name in ("a.py", "a.py~", "a.py.orig", ".a.py.swp", "#a.py#", "a.txt", "old/a.py", "a", "a.json", "__init__.py"):
        (tmp_path / "course/checks" / name).write_text("secret = 1")
    os.symlink(tmp_path / "course/checks/a.py", tmp_path / "tinyllm/b.py")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    there = {name: data for name, data in release.contents() if name.startswith(("course", "tinyllm"))}
    assert sorted(there) == ["course/checks/__init__.py", "course/checks/a.py", "course/checks/old/a.py"]
    assert [name for name, data in there.items() if b"secret" in data] == ["course/checks/__init__.py"]


def test_a_notebook_in_which_somebody_tried_something_is_not_handed_out(tmp_path, monkeypatch):
    for name in ("chapters/a.py", "chapters/a.ipynb", "chapters/a-Copy1.ipynb", "solutions/b.py", "exercises/b.ipynb", "exercises/b (solved).ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in release.FILES:
        (tmp_path / name).write_text("x")
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    monkeypatch.setattr(release, "ROOT", tmp_path)
    assert [name for name, _ in release.contents() if name.endswith(".ipynb")] == ["chapters/a.ipynb", "exercises/b.ipynb"]


def test_a_sheet_that_somebody_has_answered_is_not_handed_out(tmp_path, monkeypatch, capsys):
    for name in ("requirements.lock", "tinyllm", "chapters"):
        os.symlink(ROOT / name, tmp_path / name)
    for folder in ("exercises", "solutions"):
        (tmp_path / folder).mkdir()
    sheet = "exercises/04_attention_as_lookup.ipynb"
    (tmp_path / sheet).write_bytes((ROOT / sheet).read_bytes())
    os.symlink(ROOT / "solutions/04_attention_as_lookup.py", tmp_path / "solutions/04_attention_as_lookup.py")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    assert not list(release._not_as_built())
    written = json.loads((tmp_path / sheet).read_text())
    written["cells"].insert(0, {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "Until Friday."})
    (tmp_path / sheet).write_text(json.dumps(written))
    assert not list(release._not_as_built()), "a word to the class gives no answer away"
    written["cells"][-1] = {"cell_type": "code", "id": "b", "metadata": {}, "source": "answer = 1", "outputs": [], "execution_count": 1}
    (tmp_path / sheet).write_text(json.dumps(written))
    assert main(["release", str(tmp_path / "copy")]) == 1 and not (tmp_path / "copy").exists()
    assert f"{sheet}: holds code that the sheet does not hand out" in capsys.readouterr().err


def test_the_checks_of_the_copy_say_what_those_of_the_book_say(copy):
    program = """
import json, sys, course
from course.check import sheet
from course.checks import sheets
said = {}
for one in sheets():
    check = sheet(one.name)
    for question in one.questions[:1]:
        globals()[question.function] = lambda *args: 0.5
        said[one.name + question.id] = repr(check(question.id))
import math
def weight_of_the_best(gap, n, temperature): return 1 / (1 + (n - 1) * math.exp(-gap / temperature))
said["right"] = repr(sheet("04_attention_as_lookup")("q1"))
print(json.dumps([course.__file__, said]))
"""
    said = []
    for root in (ROOT, copy):
        environment = os.environ | {"PYTHONPATH": str(root), "COURSE_PROGRESS": "off", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-P", "-c", program], cwd=copy / "exercises", env=environment,
                              capture_output=True, text=True, timeout=200)  # fmt: skip
        assert done.returncode == 0, done.stderr
        where, messages = json.loads(done.stdout)
        assert where.startswith(str(root))
        said.append(messages)
    assert "2 of 2 points" in said[1]["right"]
    assert "The solution: ../solutions/" in said[0]["right"] and "solutions" not in said[1]["right"]
    assert {key: text for key, text in said[0].items() if key != "right"} == {key: text for key, text in said[1].items() if key != "right"}


def test_a_copy_never_takes_the_place_of_something(copy, tmp_path, capsys):
    assert main(["release", str(copy)]) == 2 and "is there already" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert main(["release", str(tmp_path / "file")]) == 2
    assert main(["release", str(tmp_path / "no" / "where")]) == 2 and "not there" in capsys.readouterr().err
    assert main(["release", str(tmp_path / "copy.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "copy.zip") as found:
        names = {name.removeprefix("attention-twice/") for name in found.namelist()}
    assert names == {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert sorted(os.listdir(tmp_path)) == ["copy.zip", "file"]


@pytest.fixture(scope="module")
def autograder(tmp_path_factory):
    """/autograder as Gradescope lays it out, below another root, with the archive unpacked."""
    root = tmp_path_factory.mktemp("gradescope") / "autograder"
    for folder in ("source", "submission", "results"):
        (root / folder).mkdir(parents=True)
    archive = gradescope.archive("04_attention_as_lookup")
    assert archive == gradescope.archive("04_attention_as_lookup")
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        modes = {info.filename: info.external_attr >> 16 for info in found.infolist()}
        assert modes["setup.sh"] & 0o100 and modes["run_autograder"] & 0o100
        assert not [name for name in modes if name.startswith(("solutions", "tests", "exercises"))]
        found.extractall(root / "source")
    (root / "run_autograder").write_bytes((root / "source" / "run_autograder").read_bytes())
    (root / "run_autograder").chmod(0o755)
    return root


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's images are Ubuntu's")
@pytest.mark.parametrize("what, score", [("stub and solution", 17), ("another sheet", 0), ("nothing", 0)])
def test_gradescope_runs_it_and_gets_results(autograder, what, score):
    for file in autograder.glob("submission/*"):
        file.unlink()
    kinds = {"stub and solution": ["exercises/04", "solutions/04"], "another sheet": ["solutions/03"]}
    for number, start in enumerate(kinds.get(what, [])):
        (source,) = ROOT.glob(f"{start}_*.ipynb")
        (autograder / "submission" / f"{number} {source.name}").write_bytes(source.read_bytes())
    (autograder / "results/results.json").unlink(missing_ok=True)
    environment = {"PATH": os.environ["PATH"], "AUTOGRADER_ROOT": str(autograder), "AUTOGRADER_PYTHON": sys.executable}
    done = subprocess.run([autograder / "run_autograder"], cwd=autograder, env=environment, capture_output=True, text=True, timeout=300)
    results = json.loads((autograder / "results/results.json").read_text())
    assert results["score"] == score, (results, done.stderr)
    assert sum(test["score"] for test in results["tests"]) == score
    if what == "another sheet":
        assert "it is the sheet 03_vectors, and 04_attention_as_lookup was asked for" in results["output"]
    if what == "nothing":
        assert "there is no notebook" in results["output"]
    assert "protected" not in json.dumps(results) and "Not enforced" not in json.dumps(results)


FORGES = """
import json, os, shutil
forged = json.dumps({"score": 17, "output": "forged"})
def put(name, how):
    try: how(os.path.join(RESULTS, name))
    except OSError: pass
def weight_of_the_best(*args):
    put("results.json", lambda path: open(path, "w").write(forged))
    put("results.json.new", os.mkdir)
    put("results.json.new/x", os.mkdir)
    seen = []
    for path in PATHS:
        try: seen += os.listdir(path) if os.path.isdir(path) else [open(path).read()]
        except OSError: pass
    raise ValueError(f"seen: {seen}, as root: {os.getuid() == 0}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's images are Ubuntu's")
def test_an_answer_neither_writes_the_results_nor_reads_what_lies_there(autograder):
    """Also where the folders were mounted after the setup, open to everybody, and there are no namespaces."""
    parents = [parent for parent in autograder.parents if parent.stat().st_uid == os.geteuid()]
    modes = [(parent, parent.stat().st_mode) for parent in parents]
    for file in autograder.glob("submission/*"):
        file.unlink()
    results, metadata = autograder / "results", autograder / "submission_metadata.json"
    metadata.write_text('{"previous_submissions": []}')
    paths = [str(metadata), str(results), str(autograder / "submission"), str(autograder / "source/course/checks")]
    cells = [f"RESULTS, PATHS = {str(results)!r}, {paths!r}\n{FORGES}"]
    notebook(autograder / "submission" / "04_attention_as_lookup.ipynb", *cells, sheet="04_attention_as_lookup")
    bare = autograder / "bare.py"
    bare.write_text("import sys\nfrom course.grade import runner\nbefore = runner.Runner.__init__\n"
                    "runner.Runner.__init__ = lambda self, memory, bare=True: before(self, memory, True)\n"
                    "from course.__main__ import main\nsys.exit(main(sys.argv[1:]))\n")  # fmt: skip
    python = autograder / "python.sh"
    python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {bare} "$@"\n')
    for file in (python, bare):
        file.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "AUTOGRADER_ROOT": str(autograder), "AUTOGRADER_PYTHON": str(python)}
    try:
        for parent, mode in modes:
            parent.chmod(mode | 0o055)
        for folder in (results, autograder / "submission", autograder / "source/course/checks"):
            folder.chmod(0o777)
        done = subprocess.run([autograder / "run_autograder"], cwd=autograder, env=environment, capture_output=True, text=True, timeout=300)
        said = json.loads((results / "results.json").read_text())
    finally:
        for parent, mode in modes:
            parent.chmod(mode)
        metadata.unlink()
    assert said["score"] == 0 and "forged" not in json.dumps(said), (said, done.stderr)
    if "as root: False" in json.dumps(said) and os.geteuid() == 0:  # where Python lies in root's home nobody else gets to it
        assert "seen: []" in json.dumps(said), said


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's images are Ubuntu's")
def test_the_setup_takes_a_new_enough_python_and_the_versions_of_the_book(autograder, tmp_path):
    """With programs that only write down how they were called, as an installation takes minutes."""
    tools = tmp_path / "bin"
    tools.mkdir()
    python = '#!/bin/sh\necho "$(basename $0) $*" >> "$LOG"\ncase "$*" in *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";; esac\n'
    for name, text in (("python3.12", python), ("python3", '#!/bin/sh\nexit 1\n'), ("apt-get", "#!/bin/sh\nexit 1\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "AUTOGRADER_ROOT": str(autograder), "LOG": str(tmp_path / "log")}
    for name in ("python3.14", "python3.13", "python3.11"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(["bash", autograder / "source/setup.sh"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    torch = next(line for line in lock.splitlines() if line.startswith("torch==")).split()[0]
    assert f"--no-deps --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu {torch}" in log
    assert f"-c {autograder}/source/requirements.lock numpy" in log
    for name in gradescope.NEEDED + gradescope.OF_TORCH:
        assert f"\n{name}==" in f"\n{lock}", name
    assert (autograder / "results").stat().st_mode & 0o077 == 0
    subprocess.run(["rm", "-rf", autograder / "python"], check=True)


def test_a_wrong_call_gets_a_sentence(tmp_path, capsys):
    assert main(["gradescope", "99_none", str(tmp_path / "x.zip")]) == 2 and "no sheet is called" in capsys.readouterr().err
    assert main(["gradescope", "01_tokens", str(tmp_path / "x")]) == 2 and "ends in .zip" in capsys.readouterr().err
    assert main(["gradescope", "01_tokens", str(tmp_path / "no" / "x.zip")]) == 2 and "not there" in capsys.readouterr().err
    assert release.packed(b'"""Doc."""\nx = {"a": "b"}  # c\n').count(b"Doc") == 0


def test_an_archive_is_one_also_if_its_name_is_in_capitals(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "contents", lambda: [("README.md", b"x")])
    assert main(["release", str(tmp_path / "students.ZIP")]) == 0
    assert zipfile.is_zipfile(tmp_path / "students.ZIP")
