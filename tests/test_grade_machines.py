"""The grader on machines of several kinds: it grades truly, or says that it cannot."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from demo_answers import RIGHT, SHEETS, notebook

import course
from course.sandbox import isolation

ROOT = Path(course.__file__).resolve().parent.parent
START = f"""
import course.checks, sys
course.checks.__path__[:] = [{SHEETS!r}]
from course.__main__ import main
sys.exit(main())
"""
# Whoever is not root does not come into root's home, where Python may live: in a mount namespace it is opened.
OPEN_HOME = """
base=$(mktemp -d) && mount --bind "$HOME" "$base" && mount -t tmpfs -o mode=755 none "$HOME"
for entry in "$base"/.[!.]* "$base"/*; do
    [ -d "$entry" ] && mkdir "$HOME/${entry##*/}" && mount --bind "$entry" "$HOME/${entry##*/}"
done
exec "$@"
"""
ORDINARY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
NO_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]


def graded(path, *options, before=(), python=sys.executable, **how):
    how.setdefault("env", dict(os.environ))["HOME"] = os.path.expanduser("~")
    return subprocess.run(
        [*before, python, "-c", START, "grade", str(path), *options],
        capture_output=True, text=True, timeout=500, **how,
    )


def becomes(prefix):
    """The prefix of a command; skips where this machine does not let us."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root on Linux, with setpriv, can try what others may do")
    if prefix and not all(folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents) if folder != Path.home()):
        pytest.skip("the project lies in a folder that others may not enter")
    prefix = ["unshare", "-m", "sh", "-c", OPEN_HOME, "sh", *prefix]
    tried = subprocess.run([*prefix, sys.executable, "-c", "import torch"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no such process here: {tried.stderr.strip()[-200:]}")
    return prefix


@pytest.fixture
def place():
    """A folder that everybody may read, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def sheet(place):
    return notebook(place / "98_lookup.ipynb", *RIGHT.values())


PEEK = """
import os
def softmax(s):
    seen = [p for p in PATHS if os.path.exists(p) and (not os.path.isdir(p) or os.listdir(p))]
    raise ValueError(f"seen: {seen}, as {os.getuid() == 0}")
"""


def peek(folder):
    """A notebook that looks for what it should not see."""
    paths = [SHEETS, ROOT / "solutions", ROOT / "course/checks", ROOT / ".git", folder, "/etc/shadow", "/root/.bashrc", "/home", "/var"]
    return notebook(folder / "98_lookup (2).ipynb", f"PATHS = {[str(p) for p in paths]}{PEEK}")


@pytest.mark.parametrize("who", [[], ORDINARY, NO_ADMIN], ids=["root", "ordinary user", "root without rights"])
def test_whoever_runs_it_right_answers_earn_every_point_and_secrets_are_not_seen(sheet, place, who):
    done = graded(sheet, before=becomes(who))
    assert done.returncode == 0 and "8 of 8 points" in done.stdout, done.stdout + done.stderr
    assert "Not enforced" not in done.stdout and not done.stderr
    assert "seen: [], as False" in graded(peek(place), before=becomes(who)).stdout


COUNT = """
import os, time
def softmax(s):
    forks = 0
    try:
        while forks < 100:
            if os.fork() == 0:
                time.sleep(99)
            forks += 1
    except OSError: pass
    raise ValueError(f"root {os.getuid() == 0}, forks below 100 {forks < 100}")
"""
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": "C", "TMPDIR": "/nowhere", "TZ": "nowhere"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such mask")
@pytest.mark.parametrize("mask", [0o077, 0o777, 0])
def test_whatever_the_settings_of_whoever_grades_right_answers_earn_every_point(place, mask):
    """A mask of 077 is usual where several people share a machine."""
    folder = place / "class"
    folder.mkdir()
    notebook(folder / "98_lookup.ipynb", *RIGHT.values())
    notebook(folder / "98_lookup (2) \u00fc.ipynb", COUNT)
    with tempfile.TemporaryDirectory() as out:
        done = graded(folder, "--json", f"{out}/json", env=os.environ | ASCII, preexec_fn=lambda: os.umask(mask))
        assert done.returncode == 0, done.stdout + done.stderr
        os.chmod(f"{out}/json", 0o600)
        known = Path(out, "json").read_text(encoding="utf-8")
    assert [one["points"] for one in json.loads(known)["notebooks"]] == [0, 8]
    if sys.platform == "linux":
        assert "root False, forks below 100 True" in known


def test_without_namespaces_it_refuses_unless_told_otherwise(sheet, place):
    no_namespaces = ["unshare", "-U", "--map-root-user", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces && "
                     "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"", "sh"]
    before = becomes([*ORDINARY, *no_namespaces])
    done = graded(sheet, before=before)
    assert done.returncode == 1 and "could not be graded" in done.stderr and "--unprotected" in done.stderr
    assert "points" not in done.stdout
    results = place / "out" / "results.json"
    results.parent.mkdir()
    results.parent.chmod(0o777)
    done = graded(sheet, "--unprotected", "--gradescope", str(results), before=before)
    assert done.returncode == 0 and "8 of 8 points" in done.stdout, done.stderr
    assert done.stderr.startswith("Warning:") and "Not enforced" in done.stdout
    assert "nforced" not in results.read_text() and "protect" not in results.read_text()


def test_an_environment_behind_links(sheet, place):
    os.symlink(sys.prefix, place / "env")
    os.symlink(place, place / "again")
    for python in ("env/bin/python", "again/env/bin/python"):
        done = graded(sheet, python=place / python, cwd="/")
        assert done.returncode == 0 and "8 of 8 points" in done.stdout, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the book as pip installs it."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in ("course", "tinyllm"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", folder / "site", source], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"it cannot be installed: {done.stderr[-200:]}")
    shutil.rmtree(source)
    return folder / "site"


def test_an_installed_copy_grades_from_any_folder_and_shows_no_checks(sheet, place, installed):
    here = os.environ | {"PYTHONPATH": str(installed)}
    for cwd in (place, "/", ROOT):
        done = graded(sheet, cwd=cwd, env=here)
        assert done.returncode == 0 and "8 of 8 points" in done.stdout, done.stderr
    assert (installed / "course" / "checks").is_dir()
    notebook(place / "98_lookup.ipynb", f"PATHS = [{str(installed / 'course' / 'checks')!r}]{PEEK}")
    assert "seen: []," in graded(sheet, env=here).stdout


def test_checks_that_are_installed_beside_the_clone_are_not_shown(tmp_path, monkeypatch):
    (tmp_path / "course" / "checks").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    view = isolation.plan()
    assert os.path.realpath(tmp_path) in view.files
    assert {os.path.realpath(folder / "course/checks") for folder in (tmp_path, ROOT)} <= set(view.empty)


def test_no_part_of_it_needs_what_some_pythons_lack():
    used = [path.read_text() for folder in ("grade", "sandbox") for path in (ROOT / "course" / folder).glob("*.py")]
    assert not any("pidfd" in text for text in used)
