"""Right answers in other words pass; right answers with one slip fail, and are told in which part.

All single changes of all solutions were tried once (3,050 of them); a seeded sample of them is tried here.
"""

import ast
import contextlib
import io
import itertools
import random
import re
import time

import pytest
import torch
from mutants import answers, mutants, rewritten

from course.check import assess, cases
from course.checks import Question, load, sheets
from course.sandbox.call import OutOfTime, call, within

SHEETS = [sheet.name for sheet in sheets()]
SEEDS = range(5)
SAMPLE = 2  # changes for each question
SECONDS = 1.0  # for one changed answer: what loops is found soon enough

# Changes that make no difference to what a question asks for, so the changed answer is right: by question the
# changes, and why.
EVERYWHERE = {
    r"USub dropped in -1$": "the last axis of a table is its axis 1",
    r"(float|int|item)\(\) dropped": "a tensor or an array without axes counts as the number in it",
}
EQUIVALENT = {
    "01_tokens q4": {r"key dropped in sorted": "of two that fit at a place one begins the other, and comes later in the alphabet"},
    "01_tokens q5": {r"set\(\) dropped": "a list does it, slowly", r"min becomes max": "a slice ends where its word ends"},
    "02_next_token q5": {r"becomes 0 in 1$": "rows that divide by nothing are replaced in the next line"},
    "02_next_token q6": {r"len\(ids\) \* 9|in 9$|in 10$": "another split of the text finds the same order",
                         r"mean becomes sum": "all orders predict the same tokens"},
    "03_vectors q3": {r"lengths\[i\]": "the length of the word itself does not change who is nearest",
                      r"operands exchanged": "a distance has no direction"},
    "03_vectors q5": {},
    "03_vectors q6": {r"GtE becomes Gt": "no two shuffles of real numbers tie"},
    "04_attention_as_lookup q5": {r"Gt becomes GtE|1e-30|1\.0 in 0\.0": "what a weight of 0 is multiplied by"},
    "05_attention_as_smoothing q5": {
        r"log_softmax|math\.sqrt|keys\.shape|in -?1$": "the same weights at one β are the same at every β, and so are their logarithms",
        r"rtol|0\.0001": "no two heads differ by about the tolerance"},
    "05_attention_as_smoothing q6": {r"operands exchanged": "a square has no sign"},
    "06_two_views_many_heads q1": {r"FloorDiv": "8.0 is as good as 8 where nothing is cut off"},
    "06_two_views_many_heads q4": {r"FloorDiv": "the sizes are whole"},
    "06_two_views_many_heads q5": {r"dtype dropped": "0 and 1 do for False and True"},
    "07_the_block_and_the_model q2": {r"Mult becomes Add in 2 \* 2": "2 · 2 = 2 + 2"},
    "07_the_block_and_the_model q5": {r"1e-05": "the question does not name what is added to the variance"},
    "07_the_block_and_the_model q6": {r"dtype dropped": "both kinds of number are near enough"},
    "08_training q2": {r"operands exchanged": "a size without its sign"},
    "08_training q3": {r"clone\(\) dropped": "nothing is written into W"},
    "09_generating q6": {r"100\.0": "a wider search finds the same", r"Gt becomes GtE": "no two real numbers tie"},
    "09_generating q4": {r"dim dropped": "the last axis is the default", r"zeros_like becomes ones_like": "all places are written"},
    "10_modern_blocks q5": {r"its sign in|operands exchanged in a \* cos": "what turns or mirrors queries and keys alike leaves their products"},
    "11_past_the_quadratic q2": {r"1\.0 in 0\.0": "whatever it is, what was seen so far counts exp(-inf) times"},
    "11_past_the_quadratic q4": {r"dim dropped": "the last of two axes is the default"},
    "11_past_the_quadratic q5": {
        r"(clone|detach)\(\) dropped": "what was given is not written into, and the answer takes no part in learning",
        r"tril\(\) dropped": "what lies above the diagonal is taken out by the other of the two",
        r"becomes 0 in -?1": "a gate has one axis, and the solver takes the diagonal for 1",
    },
    "11_past_the_quadratic q6": {
        r"becomes [\d.e-]+ in|2 \* chunk|v\[n:\] \+ 3": "an experiment of one's own: other places and numbers find the same leaks",
    },
    "12_reading_the_heads q2": {r"operands exchanged in k - k": "a direction may be turned around"},
    "12_reading_the_heads q5": {r"lower bound|becomes \d in -?2$": "one mask serves all heads, or each has its own"},
    "12_reading_the_heads q6": {r"becomes 0 in -?1$": "the scores have one axis"},
    "13_scale q7": {r"dim dropped in scores": "the last axis is the default"},
    "standalone q4": {r"becomes 1 in 0": "any number that both are counted from, if it is large enough"},
    "gradients q1": {r"in_d \* -?1": "a factor of 1"},
    "gradients q2": {r"5 \* 1\.0": "a factor of 1"},
    "gradients q3": {r"Mult becomes Div in slope": "a factor of 1 or -1"},
    "gradients q6": {r"operands exchanged": "2 XᵀX is symmetric"},
}  # fmt: skip


def judged(question: Question, names: dict, tried: list, seconds: float = SECONDS):
    """The result of the answer that `names` hold; None where they hold none."""
    function, end = names.get(question.function), time.process_time() + seconds

    def outcome(part: int, case: int) -> dict:
        try:
            return within(max(0.01, end - time.process_time()), call, function, tried[part][case][1])
        except OutOfTime:
            return {"died": "no answer in time"}

    torch.manual_seed(0)
    return assess(question, tried, outcome) if callable(function) else None


def asked(name):
    """The questions of a sheet that give inputs, with the source of the answer and all names before it.

    A guess and a construction have none: whatever comes near enough is right.
    """
    sources, before = answers(name)
    for question in load(name).questions:
        tried = cases(question, SEEDS)
        if any(inputs for part in tried for inputs, _ in part):
            names: dict = {}
            with contextlib.redirect_stdout(io.StringIO()):
                exec(before[question.function], names)
            yield question, sources[question.function], names, tried


def equivalent(name: str, question: Question, what: str) -> bool:
    reasons = EVERYWHERE | EQUIVALENT.get(f"{name} {question.id}", {})
    return any(re.search(pattern, what) for pattern in reasons)


def hangs(source: str) -> bool:
    """Whether a change there may never end, or take long: that is found by a limit, in another test."""
    return any(isinstance(node, ast.While) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize("name", SHEETS)
def test_one_slip_in_a_right_answer_is_refused_and_the_part_is_named(name):
    chance = random.Random(name)
    for question, source, names, tried in asked(name):
        if hangs(source):
            continue
        changed = (one for one in mutants(source, chance.shuffle) if not equivalent(name, question, one[0]))
        for what, new in itertools.islice(changed, SAMPLE):
            mine = dict(names)
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                exec(new, mine)
            result = judged(question, mine, tried)
            if result is None:
                continue
            assert not result.passed, f"{question.id}: {what} makes no difference"
            wrong = [part for part in result.parts if not part.passed]
            assert wrong and all(part.says.strip() and part.part.checks in str(result) for part in wrong), what
            assert not any("could not be judged" in part.says for part in wrong), (what, wrong)


@pytest.mark.parametrize("name", SHEETS)
def test_a_right_answer_in_other_words_passes(name):
    for question, source, names, tried in asked(name):
        new = rewritten(source, random.Random(f"{name} {question.id}"))
        exec(new, names)
        result = judged(question, names, tried, 60.0)
        assert result.passed, f"{result}\n\n{new}"


def test_a_slip_that_makes_a_difference_is_one_of_those_that_are_tried():
    found = dict(mutants("def f(x, y):\n    z = x - y\n    return z.sum(-1)"))
    changed = set(found.values())
    for new in ("z = x + y", "z = y - x", "return -z.sum(-1)", "return z.sum(1)", "return z.mean(-1)", "return z\n", "pass"):
        assert any(new in source + "\n" for source in changed), new
    assert "def f(x, y):\n    z = x - y\n    return z.sum(-1)" not in changed
