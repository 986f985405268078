"""That the book can still be installed, built and tested in ten years, on other machines, with other versions.

What takes minutes and a package index carries the marker `lasting` and runs in `make lasting` only.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from course import archive

ROOT = Path(__file__).parents[1]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# manylinux_2_28: Debian 10, Ubuntu 20.04, RHEL 8 and what is newer.
PLATFORMS = ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"]
OUT_OF_REACH = re.compile(r"Failed to fetch|client error|dns error|timed out")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def pinned() -> dict[str, list[Requirement]]:
    """The lock's lines by name; some packages have one version for each Python."""
    lines: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        lines.setdefault(Requirement(line).name, []).append(Requirement(line))
    return lines


def direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


# --- the lock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", direct(), ids=lambda needed: needed.name)
def test_a_direct_dependency_has_a_lowest_version_and_the_lock_pins_one_that_is_allowed(needed):
    assert {part.operator for part in needed.specifier} & {">=", "=="}
    for line in pinned()[needed.name]:
        (pin,) = line.specifier
        assert pin.operator == "==" and needed.specifier.contains(pin.version)


def test_every_python_finds_one_version_of_each_package():
    for name, lines in pinned().items():
        for python in PYTHONS:
            here = default_environment() | {"python_version": python, "python_full_version": f"{python}.8"}
            fitting = [line for line in lines if line.marker is None or line.marker.evaluate(here)]
            assert len(fitting) <= 1, (name, python)


@pytest.mark.lasting
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_resolves_to_wheels_on_every_platform(python, platform):
    uv = shutil.which(os.environ.get("UV", "uv"), path=f"{ROOT}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("no uv here: `make lasting` brings it")
    done = subprocess.run(
        [uv, "pip", "compile", "-q", "--no-deps", "--only-binary", ":all:", "--python-version", python,
         "--python-platform", platform, "requirements.lock"],
        cwd=ROOT, env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}, capture_output=True, text=True, timeout=300,
    )
    if done.returncode and OUT_OF_REACH.search(done.stderr):
        pytest.skip(f"no index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert len(re.findall("^[^#]+==", done.stdout, re.M)) > 180


# --- the archive ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path) -> dict[str, Path | bytes]:
    (tmp_path / "page.html").write_bytes(b"<p>A page.</p>" * 1000)
    return {"_build/html/page.html": tmp_path / "page.html", "UNPACK.txt": b"Open the page."}


def test_the_same_files_give_the_same_archive(files, tmp_path):
    archive.write(files, 10**9, tmp_path / "one.zip")
    os.utime(tmp_path / "page.html", (0, 0))
    (tmp_path / "page.html").chmod(0o600)
    archive.write(dict(reversed(files.items())), 10**9, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as one:
        assert one.namelist() == ["attention-twice/UNPACK.txt", "attention-twice/_build/html/page.html"]
        assert one.read("attention-twice/_build/html/page.html") == (tmp_path / "page.html").read_bytes()


def test_an_interrupted_archive_leaves_the_last_good_one_and_nothing_else(files, tmp_path, monkeypatch):
    archive.write(files, 10**9, tmp_path / "out" / "book.zip")
    before = (tmp_path / "out" / "book.zip").read_bytes()

    def interrupted(source, target, size):
        target.write(source.read(100))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.write(files, 10**9 + 2, tmp_path / "out" / "book.zip")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["book.zip"]
    assert (tmp_path / "out" / "book.zip").read_bytes() == before


@needs_make
@pytest.mark.parametrize("wheel, expected", [("torch-2.13.0-cp311-x.whl", "1 wheels"), ("note.txt", " ")])
def test_beside_wheels_no_index_is_asked(tmp_path, wheel, expected):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / wheel).touch()
    (tmp_path / "show.mk").write_text(f'include {ROOT.as_posix()}/Makefile\nshow:\n\t@echo "$$PIP_NO_INDEX $$PIP_FIND_LINKS"\n')
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    shown = subprocess.run(["make", "-f", "show.mk", "show"], cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert shown.stdout == expected + "\n"


def alone() -> list[str]:
    """What to put before a command so that it sees no network but its own machine, where the system can do that."""
    lonely = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        works = subprocess.run([*lonely, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        works = False
    return lonely if works else []


@needs_make
@pytest.mark.lasting
def test_the_archive_installs_builds_and_tests_the_book_without_an_index(tmp_path):
    try:
        path = archive.build(tmp_path, os.environ.get("TORCH_INDEX", archive.TORCH_INDEX))
    except archive.ArchiveError as error:
        if "no wheel" not in str(error):
            raise
        pytest.skip(str(error))
    subprocess.run([sys.executable, "-m", "zipfile", "-e", path, tmp_path], check=True)
    root = tmp_path / archive.FOLDER
    assert (root / "_build/html/index.html").exists() and (root / "UNPACK.txt").exists()
    path.unlink()
    shutil.rmtree(root / "_build")

    nowhere = "http://127.0.0.1:9"
    bare = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
        "http_proxy": nowhere, "https_proxy": nowhere, "all_proxy": nowhere,
    }
    part = "tests/test_attention.py tests/test_check.py chapters/04_attention_as_lookup.ipynb"
    for command in (["book"], ["test", f"TESTS={part}"]):
        make = [*alone(), "make", f"PYTHON={sys._base_executable}", *command]
        done = subprocess.run(make, cwd=root, env=bare, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (root / "_build/html/chapters/04_attention_as_lookup.html").exists()
    assert re.search(r"\d+ passed", done.stdout) and "failed" not in done.stdout


# --- the commands -----------------------------------------------------------------------------------------


def test_whoever_names_a_make_target_names_one_that_there_is():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)", makefile, re.M)[1].split()) | {".venv/.ready"}
    texts = ["README.md", "CONTRIBUTING.md", "Containerfile", ".devcontainer/devcontainer.json",
             ".github/workflows/book.yml", "course/archive.py"]
    for text in texts:
        content = (ROOT / text).read_text(encoding="utf8")
        named = re.findall(r'(?:`|run: |RUN |^    |"|\[")make(?:", "| )(?:\w+=\S+ )*([\w./]+)', content, re.M)
        assert named and set(named) <= targets, text
