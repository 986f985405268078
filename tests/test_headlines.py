"""What README says about Taleteller is what its manifest and the recorded benchmarks say."""

import json
import re

from course.build import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTES = json.loads((ROOT / "tinyllm/taleteller/model.json").read_text(encoding="utf-8"))["notes"]
COUNTING = (ROOT / "bench/counting.md").read_text(encoding="utf-8")
JUDGED = (ROOT / "bench/taleteller.md").read_text(encoding="utf-8")


def rows(table: str) -> list[list[str]]:
    """The cells of each row of a Markdown table, without its head."""
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_the_readme_quotes_the_recorded_losses():
    loss, floor = (f"{NOTES[name][0]:.3f}" for name in ("nats_per_character", "floor"))
    counted = f"{float(rows(COUNTING)[-2][2]):.3f}"
    said = re.search(r"its loss is (\S+) nats.*entropy is (\S+):.*reaches (\S+),", README)
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
