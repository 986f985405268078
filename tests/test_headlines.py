"""What README and the pages say about Taleteller is what its manifest and the recorded benchmarks say."""

import json
import re

import pytest

from course.build import ROOT
from course.data.tales import SEPARATOR
from course.taleteller import TIME, held_out_tales

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTES = json.loads((ROOT / "tinyllm/taleteller/model.json").read_text(encoding="utf-8"))["notes"]
COUNTING = (ROOT / "bench/counting.md").read_text(encoding="utf-8")
FIRST, APPENDIX = (
    (ROOT / f"chapters/{name}.py").read_text(encoding="utf-8") for name in ("00_the_whole_machine", "standalone")
)
JUDGED = (ROOT / "bench/taleteller.md").read_text(encoding="utf-8")


def rows(table: str) -> list[list[str]]:
    """The cells of each row of a Markdown table, without its head."""
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_the_readme_quotes_the_recorded_losses():
    loss, floor = (f"{NOTES[name][0]:.3f}" for name in ("nats_per_character", "floor"))
    counted = f"{float(rows(COUNTING)[-2][2]):.3f}"
    said = re.search(r"its loss is (\S+) nats.*entropy is (\d\.\d+)\. .*reaches (\S+),", README)
    assert said.groups() == (loss, floor, counted)


def test_the_share_that_is_closed_is_measured_against_the_best_count_in_the_same_text():
    (_, size, *_), (_, _, _, above, _) = count, model = rows(COUNTING)[-2:]
    assert int(size.replace(",", "")) == NOTES["tales"]["size"]
    closed = 100 * (1 - float(above) / float(count[3]))
    assert f"{closed:.0f} % of the way" in README and abs(float(model[2]) - NOTES["nats_per_character"][0]) < 5e-4


def test_the_readme_does_not_say_of_stories_what_the_table_does_not():
    def of_200(start: str) -> list[int]:
        row = next(row for row in rows(JUDGED) if row[0].startswith(start))
        return [round(2 * float(cell.split()[0])) for cell in row[1:3]]

    (pronouns, _), (kept, kept_at_half) = of_200("keep *he*"), of_200("keep all names, things and places")
    assert f"Of 200 stories drawn at temperature 1, {pronouns} keep *he* and *she*" in README
    assert f"{kept} keep all their names, things and places; at temperature ½ it is {kept_at_half}" in README


@pytest.mark.parametrize(
    "page", ["README.md", *(f"chapters/{name}.py" for name in (
        "00_the_whole_machine", "08_training", "smoothing_counts", "standalone"
    ))]
)
def test_a_page_says_in_how_much_text_taleteller_learned(page):
    size = NOTES["tales"]["size"] // 1_000_000
    assert f"{size} million characters" in (ROOT / page).read_text(encoding="utf-8")


def test_the_first_chapter_says_how_many_stories_and_steps_that_was():
    stories = int(re.search(r"some (\S+) of them", FIRST)[1].replace(",", ""))
    told = held_out_tales(300)
    mean = sum(len(tale.text + SEPARATOR) for tale in told) / len(told)
    assert stories * mean == pytest.approx(NOTES["tales"]["size"], rel=0.05)
    assert f"Taleteller took {NOTES['recipe']['n_steps']:,} steps" in FIRST


def test_the_appendix_quotes_the_best_count_in_the_same_text():
    loss, counted = f"{NOTES['nats_per_character'][0]:.3f}", f"{float(rows(COUNTING)[-2][2]):.3f}"
    said = re.search(r"Taleteller, with .* has (\S+)\.\n.*counting model .* has (\S+) in the same text", APPENDIX)
    assert said.groups() == (loss, counted)


def test_the_readme_has_the_minutes_of_the_command_s_help():
    with_units, without = re.search(r"trains Taleteller anew, .*: (.+) with 16-bit units, (.+) without", README).groups()
    assert with_units in TIME and without in TIME


def test_chapter_02_has_the_standard_errors_of_chapter_00_for_what_pairing_gains():
    notebook = json.loads((ROOT / "chapters/00_the_whole_machine.ipynb").read_text(encoding="utf-8"))
    printed = "".join("".join(out.get("text", "")) for cell in notebook["cells"] for out in cell.get("outputs", []))
    alone, paired = re.findall(r"^(?:Taleteller|difference) .* standard error (\S+)$", printed, re.MULTILINE)
    chapter = (ROOT / "chapters/02_next_token.py").read_text(encoding="utf-8")
    assert f"becomes {paired} in place of {alone} " in chapter
