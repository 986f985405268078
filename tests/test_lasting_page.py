"""The page *When something no longer works* speaks of everything that the project depends on."""

import re
import tomllib

import pytest

from course.build import ROOT

PAGE = (ROOT / "lasting.md").read_text(encoding="utf8")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def direct_dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [re.match(r"[\w.-]+", line)[0] for group in groups for line in group]


def test_the_table_names_each_direct_dependency_and_nothing_else():
    rows = re.findall(r"(?m)^\| ([\w.-]+) \| (.+) \| (.+) \|$", section("What each dependency is for"))
    assert [name for name, *_ in rows if name != "package"] == direct_dependencies()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w.-]+/)+[\w.*-]*|[\w.-]+\.(?:py|toml|lock|md))`", PAGE))))
def test_a_file_that_the_page_names_exists(path):
    made = ("_build/", ".venv", "wheels/", "UNPACK.txt", "conf.py")
    assert path.startswith(made) or list(ROOT.glob(path.rstrip("/")))


def test_a_command_that_the_page_names_exists():
    targets = set(re.findall(r"(?m)^([a-z]+(?: [a-z]+)*):", (ROOT / "Makefile").read_text(encoding="utf8")))
    known = {name for line in targets for name in line.split()}
    assert set(re.findall(r"`make (?:PYTHON=\S+ )?([a-z]+)`", PAGE)) <= known
