"""A page for each submission, for its student to read: what the checks said, and nothing that they did not say."""

import html
from pathlib import Path

from course.check import Result
from course.checks import count
from course.grade.rows import TOTAL, Row
from course.grade.submissions import printable

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem } ul { list-style: none; padding-left: .5rem; margin: .3rem 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .5rem .8rem; margin: .2rem 0 .6rem 1.4rem }
.hand { border-left: 4px solid #06c; padding-left: .8rem }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } pre { background: #242424 } }
"""


def place(row: Row) -> Path:
    """Where the page stands: as the submission did, so that Canvas and Moodle take a zip of them all back."""
    within = row.one.within
    if within.suffix == ".ipynb":
        return within.with_suffix(".html")
    return within.with_name(f"{within.name}.html") if within.suffix.lower() == ".ipynb" else within / "feedback.html"


def page(row: Row) -> str:
    """The page, in HTML that needs nothing beside it."""
    title = row.sheet.title if row.sheet else "An exercise sheet"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    who = [row.student.name] if row.student and row.student.name else []
    parts.append(f"<p>{html.escape(' · '.join([*who, printable(row.one.within.name)]))}</p>")
    if row.error:
        parts.append(f"<p><strong>It could not be graded: {html.escape(printable(row.error))}.</strong></p>")
    if row.sheet and not row.open:
        parts.append(f"<p><strong>{row.points:g} of {count(row.sheet.points, 'point')}</strong></p>")
    if TOTAL in row.overrides:
        override = row.overrides[TOTAL]
        sum_of = sum(row.found.values())
        parts.append(f'<p class="hand">The total was set by your instructor; the checks gave {sum_of:g}. {html.escape(override.reason)}</p>')
    parts += [_question(result, row) for result in row.one.results]
    parts += [_by_hand(row, id, None) for id in row.overrides if id != TOTAL and id not in row.found]
    notes = "".join(f"<li>{html.escape(printable(note))}</li>" for note in row.notes)
    parts.append(f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "")
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n'
    return head + "\n".join(filter(None, parts)) + "\n</html>\n"


def _question(result: Result, row: Row) -> str:
    question = result.question
    lines = [f"<h2>{html.escape(f'{question.id} · {question.title}')}: {result.points} of {count(question.points, 'point')}</h2>"]
    lines.append(_by_hand(row, question.id, result.points) if question.id in row.overrides else "")
    if not result.parts:
        lines.append(f"<p>{html.escape(printable(result.says))}</p>")
    for part in result.parts:
        mark, points = ("✓", part.part.points) if part.passed else ("✗", 0)
        lines.append(f"<ul><li>{mark} {html.escape(part.part.checks)} ({points}/{part.part.points})</li></ul>")
        lines.append(f"<pre>{html.escape(printable(part.says))}</pre>" if part.says else "")
    return "\n".join(filter(None, lines))


def _by_hand(row: Row, id: str, gave: int | None) -> str:
    override = row.overrides[id]
    before = f"; the checks gave {gave}" if gave is not None else ""
    return f'<p class="hand">{id} was set to {count_of(override.points)} by your instructor{before}. {html.escape(override.reason)}</p>'


def count_of(points: int | float) -> str:
    return f"{points:g} point{'' if points == 1 else 's'}"
