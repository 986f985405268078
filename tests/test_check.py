"""What the checker says in a notebook."""

import contextlib
import io
import json
import random
import subprocess
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest
import torch
from demo_answers import RIGHT, SHEETS, STUBS

import course.check
import course.checks
from course.check import sheet
from course.checks import (
    Part, Question, Sheet, Wrong, close, equal, is_a, kind_of, load, same_shape, topic_of,
)
from course.sandbox.call import OutOfTime, time_left, within
from course.sandbox.plain import NotPlain, decode, encode


@pytest.fixture(autouse=True)
def demo(monkeypatch, tmp_path):
    monkeypatch.setattr(course.checks, "__path__", [SHEETS])
    monkeypatch.chdir(tmp_path)


class Kernel:
    """A notebook's namespace, in which cells are run one after the other."""

    def __init__(self):
        self.names = {"__name__": "__main__"}
        self.run("from course.check import sheet; check = sheet('98_lookup')")

    def run(self, source):
        exec(compile(source, "cell", "exec"), self.names)

    def shown(self, source):
        return repr(eval(source, self.names))

    def check(self, id, source, **changes):
        if changes:
            old = self.names["check"].sheet
            questions = [Question(**{**vars(q), **changes}) if q.id == id else q for q in old.questions]
            self.names["check"].sheet = Sheet(old.name, old.title, tuple(questions))
        self.run(source)
        return self.shown(f"check({id!r})")


@pytest.fixture
def kernel():
    return Kernel()


# What a learner is told


@pytest.mark.parametrize("id", STUBS)
def test_an_untouched_stub_is_not_attempted_yet(kernel, id):
    first, standing = kernel.check(id, STUBS[id]).splitlines()
    assert first.endswith("not attempted yet")
    assert standing == "98_lookup: 0 of 8 points, 0 of 4 questions solved"


def test_a_question_whose_function_was_never_defined_says_so(kernel):
    assert "there is no function `softmax` yet" in kernel.shown("check('q1')")


@pytest.mark.parametrize("id", RIGHT)
def test_a_right_answer_earns_all_points_and_the_link_to_the_solution(kernel, id):
    shown = kernel.check(id, RIGHT[id])
    points = load("98_lookup").question(id).points
    assert f": {points} of {points} point" in shown and "✗" not in shown
    assert shown.endswith("The solution: ../solutions/98_lookup.ipynb")
    assert '<a href="../solutions/98_lookup.ipynb">' in eval(f"check('{id}')", kernel.names)._repr_html_()


def test_no_solution_is_offered_before_the_question_is_solved(kernel):
    assert "solution" not in kernel.check("q1", STUBS["q1"])
    assert "solution" not in kernel.check("q1", "def softmax(scores): return scores.exp() / 9")
    assert eval("check('q1')", kernel.names)._repr_html_() is None


def test_each_part_earns_its_own_points(kernel):
    shown = kernel.check("q1", "import torch\ndef softmax(s): return torch.full_like(s, 1 / s.shape[-1])")
    assert "1 of 3 points" in shown
    assert "✓ the weights of every query sum to 1 (1/1)" in shown
    assert "the weights are too small at query 0, key 0 (yours: 0.3333), and wrong in 3 of 3 places" in shown


def test_a_prediction_is_compared_with_what_is_measured(kernel):
    assert "you predicted 0.45; measured: 0.50" in kernel.check("q3", RIGHT["q3"])


MISTAKES = [
    ("q1", "def softmax(s): return 2.2 * s.softmax(-1)", "the weights of query 0 sum to 2.2, not 1"),
    (
        "q1",
        "def softmax(s): return s.softmax(-1)[:, :-1]",
        "the weights should have shape (1, 3) = (query, key)",
    ),
    (
        "q1",
        "def softmax(s): return s.softmax(-1).tolist()",
        "the weights should be a torch tensor; yours is a list",
    ),
    ("q1", "def softmax(s): s.softmax(-1)", "did you forget to return?"),
    ("q1", "def softmax(s): print(s.softmax(-1))", "it printed: tensor"),
    ("q1", "def softmax(s): s -= s.max(); return s.softmax(-1)", "changes its input number 1"),
    ("q1", "def softmax(s): return (row for row in s)", "returned a generator"),
    ("q1", "def softmax(s): return s / 0 * float('nan')", "the weights of query 0 sum to nan"),
    (
        "q1",
        "def softmax(s):\n    total = s.sum()\n    return s / totl",
        "NameError: name 'totl' is not defined",
    ),
    ("q1", "def softmax(s): return softmax(s)", "RecursionError"),
    ("q1", "def softmax(s): raise SystemExit", "SystemExit"),
    ("q1", "def softmax(s, d): return s", "missing 1 required positional argument"),
    ("q1", "softmax = 3", "`softmax` should be a function; it is an int"),
    ("q1", "import torch\ndef softmax(s): return torch.softmax(s, 0)", "sum to"),
    (
        "q1",
        "def helper(s):\n    raise NotImplementedError('x')\ndef softmax(s): return helper(s)",
        "NotImplementedError: x\n      in helper, line 2",
    ),
    (
        "q2",
        "import numpy as np\ndef attention_weights(q, k):\n    w = np.exp(q @ k.T)\n"
        "    return w / w.sum(-1, keepdims=True)",
        "these are the weights without the division by sqrt(d)",
    ),
    ("q3", "def predict_weight(): return 0.9", "the predicted weight is too large (yours: 0.9)"),
    ("q3", "def predict_weight(): return 'half'", "the predicted weight should be a number; yours is a str"),
    ("q4", "def nearest_key(table, word): return 'bcd'", "the key: character 0 is wrong, yours is 'b'"),
    ("q4", "def nearest_key(table, word): return 0", "the key should be a str; yours is an int"),
]


@pytest.mark.parametrize("id, source, says", MISTAKES, ids=[says[:40] for _, _, says in MISTAKES])
def test_a_mistake_is_refused_and_named(kernel, id, source, says):
    shown = kernel.check(id, source)
    assert says in shown and "✓ the weights are those" not in shown


def test_an_exception_is_shown_briefly_with_the_learners_own_line(kernel, monkeypatch):
    import linecache

    source = "import torch\n\ndef softmax(s):\n    longer = torch.ones(7)\n    return s @ longer\n"
    monkeypatch.setitem(linecache.cache, "cell", (1, None, source.splitlines(keepends=True), "cell"))
    assert "in softmax, line 3: return s @ longer" in kernel.check("q1", source)


def test_what_is_said_holds_no_address_and_no_folder(kernel):
    shown = kernel.check("q1", "def softmax(s): open('/tmp/some/where/file')")
    assert "file'" in shown and "/tmp" not in shown
    shown = kernel.check("q1", "def softmax(s): raise ValueError(f'{object()} \\x1b[2J')")
    assert "object at 0x..." in shown and "\x1b" not in shown
    assert "can't decode byte 0xe9 in" in kernel.check("q1", "def softmax(s): b'\\xe9'.decode()")


def test_the_same_answer_is_told_the_same_twice(kernel):
    wrong = "def softmax(s): return s.exp()"
    assert kernel.check("q1", wrong) == kernel.check("q1", wrong)


def test_an_unknown_question_is_named_with_the_known_ones(kernel):
    with pytest.raises(ValueError, match="98_lookup has no question 'q9'; it has q1, q2, q3, q4"):
        kernel.shown("check('q9')")
    with pytest.raises(ValueError, match="no sheet is called '99_none'; there are 98_lookup"):
        sheet("99_none")


def test_a_judge_that_stumbles_fails_the_part_and_not_the_notebook(kernel):
    part = Part("never", 1, lambda inputs, answer: answer.no_such_attribute)
    shown = kernel.check("q3", RIGHT["q3"], parts=(part,))
    assert "your function returned a number, which could not be judged (AttributeError)" in shown


def test_a_part_that_needs_another_earns_nothing_alone(kernel):
    def judge(inputs, answer):
        if answer < 0.5:
            raise Wrong("too small")

    parts = (Part("as before", 1, lambda inputs, answer: None, needs_another=True), Part("more", 2, judge))
    shown = kernel.check("q3", "def predict_weight(): return 0.1", parts=parts)
    assert "0 of 3 points" in shown and "✗ as before (0/1)\n      right, and counts once another" in shown
    assert "3 of 3 points" in kernel.check("q3", "def predict_weight(): return 0.6", parts=parts)


def test_the_inputs_are_shown_as_long_as_they_fit_a_line_or_two(kernel):
    def shown(value):
        part = Part("never", 1, lambda inputs, answer: equal(answer, 0), lambda seed: [(value,)])
        return kernel.check("q1", "def softmax(s): return 1", parts=(part,))

    def words(value):
        return " ".join(shown(value).split())

    assert f"called with: {bytes(range(40))!r} " in words(bytes(range(40)))
    assert "called with: a torch tensor of shape (3, 3) " in words(torch.eye(3))
    long = words(list(range(1000))).split("called with: ")[1].split(" Hint ")[0]
    assert "[0, 1, 2" in long and "998, 999] (a list of 1000 items)" in long and len(long) < 250
    assert max(map(len, shown(list(range(1000))).splitlines())) <= 93


def test_a_judge_cannot_be_fooled_by_changed_inputs(kernel):
    tamper = "def softmax(s):\n    s.zero_()\n    return s.softmax(-1)"
    assert "0 of 3 points" in kernel.check("q1", tamper)


def test_after_a_restart_of_the_kernel_a_check_takes_no_earned_points_away(kernel):
    kernel.check("q1", RIGHT["q1"])
    kernel.run("del softmax")
    assert "98_lookup: 3 of 8 points" in kernel.shown("check('q1')")
    assert "98_lookup: 3 of 8 points" in kernel.check("q1", STUBS["q1"])
    assert "98_lookup: 0 of 8 points" in kernel.check("q1", "def softmax(s): return s")


def test_many_inputs_are_shown_by_their_kinds(kernel):
    part = Part("never", 1, lambda inputs, answer: equal(answer, 0), lambda seed: [(torch.ones(8),) * 7])
    shown = kernel.check("q1", "def softmax(*s): return 1", parts=(part,))
    assert "called with: a torch tensor of shape (8,), a torch" in shown and "tensor([" not in shown


def test_what_is_told_can_be_printed_in_any_encoding(kernel):
    kernel.run(RIGHT["q1"])
    shown = eval("check('q1')", kernel.names)
    with io.TextIOWrapper(io.BytesIO(), "cp1252") as narrow, contextlib.redirect_stdout(narrow):
        print(shown)
        narrow.flush()
        assert b"? the weights of every query sum to 1 (1/1)" in narrow.buffer.getvalue()


# Time


def test_a_busy_machine_fails_nobody():
    assert time_left(10, wall=25, cpu=5) == 5, "it computes, though slowly"
    assert time_left(10, wall=10, cpu=0.1) == 0, "it waits for nothing"
    assert time_left(10, wall=40, cpu=5) == 0, "four times as long at most"
    assert time_left(10, wall=10, cpu=10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not say")
def test_waiting_for_a_processor_that_others_have_is_no_waiting_for_nothing():
    """Two that compute on one processor: each waits for about as long as it computes."""
    program = """
import os, sys, time
from course.sandbox.call import queued
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
child = os.fork()
start, began, before = time.monotonic(), time.process_time(), queued()
while time.process_time() - began < 0.5: pass
if child == 0: os._exit(0)
waited, wall, cpu = queued() - before, time.monotonic() - start, time.process_time() - began
os.waitpid(child, 0)
print(waited > 0.1, abs(wall - waited - cpu) < wall / 4, queued(0))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["True", "True", "0.0"], done.stdout + done.stderr


ENDLESS = {
    "a loop": "def softmax(s):\n    while True: pass",
    "a sleep": "import time\ndef softmax(s): time.sleep(60)",
    "a loop that swallows every exception": """
import time
def softmax(s):
    while True:
        try: time.sleep(1)
        except BaseException: pass
""",
    "a loop that returns the right answer when interrupted": """
def softmax(s):
    try:
        while True: pass
    except BaseException:
        return s.softmax(-1)
""",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_never_ends_is_stopped_and_does_not_pass(kernel, source):
    shown = kernel.check("q1", source, seconds=0.2)
    assert "no answer within 0.2 seconds" in shown and "0 of 3 points" in shown
    assert "not tried, because of what happened above" in shown


def test_a_loop_is_stopped_in_another_thread_too():
    caught = []

    def swallow():
        with contextlib.suppress(OutOfTime):
            endless()

    def endless():
        while True:
            pass

    def work():
        for function in (endless, swallow):
            with pytest.raises(OutOfTime):
                within(0.1, function)
            caught.append(function)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(300)
    assert caught == [endless, swallow]


def test_nothing_rings_after_a_call_that_came_back_in_time():
    assert within(0.05, lambda x: x + 1, 2) == 3
    time.sleep(0.1)


def test_the_learners_own_interrupt_is_not_a_verdict(kernel):
    with pytest.raises(KeyboardInterrupt):
        kernel.check("q1", "def softmax(s): raise KeyboardInterrupt")


# Hints and progress


def test_hints_open_one_at_a_time_and_the_first_closed_one_is_offered(kernel):
    wrong = "def softmax(s): return s"
    assert 'Hint 1 of 2: check.hint("q1")' in kernel.check("q1", wrong)
    assert kernel.shown("check.hint('q1')") == "Hint 1 of 2: Which axis are the keys on?"
    assert 'Hint 2 of 2: check.hint("q1")' in kernel.check("q1", wrong)
    assert len(kernel.shown("check.hint('q1')").splitlines()) == 2
    assert kernel.shown("check.hint('q1')") == kernel.shown("check.hint('q1')")
    assert "check.hint" not in kernel.check("q1", wrong)
    assert kernel.shown("check.hint('q2')") == "q2 has no hints"


def test_progress_adds_up_over_the_sheet(kernel):
    kernel.check("q1", RIGHT["q1"])
    kernel.check("q3", RIGHT["q3"])
    assert kernel.shown("check.progress()").splitlines() == [
        "q1 · Softmax over the keys: 3 of 3",
        "q2 · Attention weights: 0 of 3",
        "q3 · Two equal keys: 1 of 1",
        "q4 · The key of the most similar length: 0 of 1",
        "98_lookup: 4 of 8 points, 2 of 4 questions solved",
    ]


def test_progress_is_kept_beside_the_notebook_and_other_sheets_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    file = tmp_path / ".progress.json"
    file.write_text('{"other": {"points": {"q1": 2}}}')
    Kernel().check("q1", RIGHT["q1"])
    Kernel().shown("check.hint('q2')")
    assert "98_lookup: 3 of 8 points" in Kernel().shown("check.progress()")
    assert json.loads(file.read_text())["other"] == {"points": {"q1": 2}}
    assert [path.name for path in tmp_path.iterdir()] == [".progress.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"98_lookup": 3}',
        '{"98_lookup": {"points": {"q1": "x"}}}',
        '{"98_lookup": {"points": [1], "hints": null}}',
        "[" * 100_000,
    ],
)
def test_a_corrupt_progress_file_is_forgotten(monkeypatch, tmp_path, content):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    (tmp_path / ".progress.json").write_text(content)
    assert "3 of 8 points" in Kernel().check("q1", RIGHT["q1"])
    assert json.loads((tmp_path / ".progress.json").read_text())["98_lookup"]["points"] == {"q1": 3}


def test_with_progress_off_no_file_is_read_or_written(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert "3 of 8 points" in Kernel().check("q1", RIGHT["q1"])
    assert not list(tmp_path.iterdir())
    (tmp_path / ".progress.json").write_text('{"98_lookup": {"points": {"q1": 3}}}')
    assert "0 of 8 points" in Kernel().shown("check.progress()")


# The words that judges use


def says(function, *args, **options):
    with pytest.raises(Wrong) as wrong:
        function(*args, **options)
    return str(wrong.value)


@pytest.mark.parametrize(
    "expected",
    [
        torch.eye(3),
        np.eye(3),
        [1.0, 2.0],
        (1, 2),
        0.5,
        3,
        True,
        torch.tensor(0.5),
        torch.tensor([True, False]),
        np.arange(3),
        torch.ones(2, dtype=torch.bfloat16),
    ],
)
def test_close_takes_the_expected_value_itself(expected):
    close(expected, expected)


def test_close_says_where_the_worst_number_stands_and_in_which_direction():
    right = np.zeros((2, 3))
    wrong = right.copy()
    wrong[1, 2], wrong[0, 0] = -4, 1
    assert (
        says(close, wrong, right, "the scores", ("query", "key"))
        == "the scores are too small at query 1, key 2 (yours: -4), and wrong in 2 of 6 places"
    )
    wrong[0, 1] = np.nan
    assert says(close, wrong, right, "the scores", ("query", "key")).startswith(
        "the scores are nan at query 0, key 1"
    )


def test_close_looks_at_kind_and_shape_before_values():
    assert says(close, np.ones(3), torch.zeros(3)).startswith(
        "the answer should be a torch tensor; yours is a numpy"
    )
    assert (
        says(close, torch.ones(3), torch.zeros(3, 1)) == "the answer should have shape (3, 1); yours has (3,)"
    )
    assert says(close, [1, [2]], [1, 2]).startswith("the answer should hold numbers only")
    assert says(close, [0.0, 1.0], [False, True]) == "the answer should hold True and False, not numbers"
    assert says(close, None, 1.0) == "the answer should be a number; yours is None"


def test_close_is_strict_enough_to_refuse_a_relative_error_of_a_thousandth():
    with pytest.raises(Wrong):
        close(torch.full((3,), 0.501), torch.full((3,), 0.5))
    close(torch.full((3,), 0.500001), torch.full((3,), 0.5))


def test_a_known_mistake_is_named_but_never_held_against_a_right_answer():
    assert says(close, 2.0, 1.0, mistakes={"twice too much": 2.0}) == "twice too much"
    close(1.0, 1.0, mistakes={"not a mistake here": 1.0})
    assert says(equal, "ba", "ab", mistakes={"back to front": "ba"}) == "back to front"
    equal("a", "a", mistakes={"not a mistake here": "a"})


def test_equal_says_at_which_item_the_first_difference_stands():
    assert says(equal, [1, 5], [1, 2], "the ids", "token") == "the ids: token 1 is wrong, yours is 5"
    assert says(equal, [1], [1, 2], "the ids", "token").startswith(
        "the ids: yours has 1 token, which is too few"
    )
    assert says(equal, b"abd", b"abc", "the text", "byte") == "the text: byte 2 is wrong, yours is b'd'"
    assert (
        says(equal, {1: "a", 3: "b"}, {1: "a", 2: "b"}, "the table", "entry")
        == "the table: there should be no entry 3"
    )
    assert (
        says(equal, {1: "b"}, {1: "a"}, "the table", "entry")
        == "the table: entry 1 is wrong, yours holds 'b'"
    )
    assert (
        says(equal, {}, {1: "a"}, "the table", "entry") == "the table: yours has 0 entries, which is too few"
    )
    assert says(equal, 4, 5) == "the answer is not 4"
    assert says(equal, [["a"]], [("a",)], "the merges", "merge") == \
        "the merges: merge 0 should be a tuple; yours is a list of 1 item"
    assert says(equal, {1: 2}, {1: "a"}, item="entry").endswith("entry 1 should be a str; yours is an int")


def test_equal_names_the_kind_that_an_item_should_hold():
    right = [(b"a", b"b"), (b"c", b"d")]
    wrong = [("a", "b"), ("c", "d")]
    assert (
        says(equal, wrong, right, "the merges", "merge")
        == "the merges: merge 0 holds a str of length 1; it should hold bytes"
    )
    assert says(equal, {1: [["a"]]}, {1: [[b"a"]]}, item="entry").endswith("entry 1 holds a str of length 1; "
                                                                        "it should hold bytes")
    assert says(equal, [(b"a", b"c")], right[:1]).endswith("item 0 is wrong, yours is (b'a', b'c')")


def test_an_empty_answer_is_not_right_so_far():
    assert says(equal, [], [1], "the merges", "merge") == "the merges: yours has 0 merges, which is too few"
    assert says(equal, [1], [1, 2]).endswith("too few; they are right so far")


@pytest.mark.parametrize(
    "what, verb",
    [
        ("the number of parameters", "is"),
        ("the weights of the first query", "are"),
        ("bits per byte", "are"),
        ("the output for two texts", "is"),
        ("the loss", "is"),
        ("the scores", "are"),
    ],
)
def test_the_verb_follows_the_noun(what, verb):
    assert says(close, 2.0, 1.0, what) == f"{what} {verb} too large (yours: 2)"


def test_a_number_may_come_as_a_tensor_without_axes():
    is_a(torch.tensor(0.5), float)
    is_a(torch.tensor(3), (int, str))
    equal(torch.tensor(3), 3)
    equal([torch.tensor(3)], [3])
    close(torch.tensor(0.5), 0.5)
    for tensor, kind in [(torch.tensor(True), int), (torch.ones(1), float), (torch.tensor(3), str)]:
        with pytest.raises(Wrong):
            is_a(tensor, kind)
    for number in (29.5, torch.tensor(29.5)):
        assert says(is_a, number, int) == "the answer should be an int; yours is 29.5"


def test_equal_tells_types_apart():
    for answer, expected in [(True, 1), ([1], (1,)), ("a", b"a"), ([1.0], [1]), ({1: [2]}, {1: (2,)})]:
        with pytest.raises(Wrong):
            equal(answer, expected)


def test_a_shape_that_is_right_gives_the_numbers_back():
    assert same_shape(torch.ones(2, dtype=torch.bfloat16), torch.zeros(2)).sum() == 2
    is_a(3, float)
    assert says(is_a, True, int).endswith("yours is True or False (True)")
    assert kind_of([1]) == "a list of 1 item"


def test_a_sheet_refuses_what_cannot_be_told_apart():
    with pytest.raises(ValueError, match="share one function"):
        Sheet("x", "x", tuple(Question(id, "t", "f", 1, 1, (Part("p", 1, print),)) for id in ("q1", "q2")))
    with pytest.raises(ValueError, match="difficulty is 1, 2 or 3"):
        Question("q1", "t", "f", 1, 4, (Part("p", 1, print),))
    assert (
        Question("q1", "Softmax", "f", 10, 2, (Part("p", 1, print),)).heading
        == "## q1 · Softmax\n\n*1 point · about 10 minutes · ★★☆*"
    )


# Plain values


PLAIN = [
    None,
    True,
    3,
    -2.5,
    float("inf"),
    "a\ud800\n",
    b"\x00\xff",
    [1, [2]],
    (1,),
    {(b"a", 1): [2.0]},
    {1, 2},
    np.arange(6.0).reshape(2, 3),
    np.zeros((0, 3), np.int8),
    np.array([True]),
    10**30,
    np.asfortranarray(np.eye(2, 3)),
    torch.eye(2),
    torch.tensor(1.5),
    torch.ones(2, dtype=torch.bfloat16),
    torch.zeros(0, 2, dtype=torch.int64),
    torch.ones(3, requires_grad=True),
    torch.eye(3)[:, 1],
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_a_plain_value_survives_the_way_through_json(value):
    back = decode(json.loads(json.dumps(encode(value))))
    assert type(back) is type(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        assert back.dtype == value.dtype and back.shape == value.shape and (back == value).all()
    else:
        assert back == value


def test_an_array_without_axes_travels_as_the_number_in_it():
    assert encode(np.array(5)) == 5 and encode([np.array(1.5)]) == {"list": [1.5]}


def test_what_is_not_plain_is_refused_by_name():
    nested: list = []
    nested.append(nested)
    for value, says_it in [
        (nested, "nested"),
        (np.array([{}]), "dtype object"),
        (object(), "an object"),
        (print, "a builtin"),
        (np.zeros(10**7), "MB"),
        (10**5000, "digits"),
        (torch.eye(2).to_sparse(), "storage"),
        (np.zeros(2, "complex64"), "complex"),
    ]:
        with pytest.raises(NotPlain, match=says_it):
            encode(value)


@pytest.mark.parametrize(
    "forged",
    [
        {},
        [],
        {"x": 1},
        {"array": 3},
        {"array": ["float64", [10**12], ""]},
        {"array": ["object", [1], "AAAAAAAAAAA="]},
        {"array": ["float64", [-1], ""]},
        {"tensor": ["bfloat16"]},
        {"tensor": []},
        {"tensor": [1, 2, 3]},
        {"array": ["float64", [float("inf")], "AAAAAAAAAAA="]},
        {"bytes": "%"},
        {"dict": [[{"list": []}, 1]]},
        {"dict": 3},
        {"list": None},
        {"tuple": [[]]},
        {"bytes": None},
        {"array": [[], [], []]},
        {"array": ["float64", [1.0], "AAAAAAAAAAA="]},
    ],
)
def test_a_forged_value_is_refused(forged):
    with pytest.raises(ValueError):
        decode(forged)


def test_a_module_is_not_plain():
    with pytest.raises(NotPlain, match="a module"):
        encode(types)


@pytest.mark.parametrize("name, topic", [
    ("01_tokens", "tokens"), ("gradients", "gradients"), ("04_attention_as_lookup", "attention_as_lookup"),
    ("very_happy", "very_happy"),
])
def test_a_sheet_may_have_a_number_or_none(name, topic):
    assert topic_of(name) == topic


SETTINGS = {
    "numbers of 64 bits": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
    "no gradients": (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "another device": (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
    "numpy raises": (lambda: np.seterr(all="raise"), lambda: np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")),
    "warnings raise": (lambda: warnings.simplefilter("error"), warnings.resetwarnings),
}


def own_settings(inputs, answer):
    """A judge that makes numbers, takes a gradient, divides by zero, warns and draws."""
    (x,) = inputs
    assert x.dtype == torch.get_default_dtype() == torch.float32 and x.device.type == torch.ones(1).device.type == "cpu"
    weights = torch.ones(2, requires_grad=True)
    (slope,) = torch.autograd.grad((weights * answer).sum(), weights)
    close(slope, x, "the slope")
    np.ones(1) / np.zeros(1)
    warnings.warn("a judge's own")
    torch.manual_seed(0), torch.rand(1), np.random.rand(), random.random()


@pytest.mark.parametrize("which", SETTINGS)
def test_what_a_notebook_has_set_changes_no_judgment(which):
    parts = (Part("a slope", 1, own_settings, lambda seed: [(torch.ones(2),)]),)
    question = Question("q1", "A slope", "same", 1, 1, parts)
    switch, back = SETTINGS[which]
    with warnings.catch_warnings():
        switch()
        try:
            result = course.check._try(question, lambda x: x)
        finally:
            back()
    assert result.passed, str(result)


def test_what_a_notebook_has_set_holds_for_its_own_functions_and_afterwards():
    def same(x):
        assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
        return x

    question = Question("q1", "A slope", "same", 1, 1, (Part("a slope", 1, own_settings, lambda seed: [(torch.ones(2),)]),))
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    try:
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        draws = torch.rand(1).item(), np.random.rand(), random.random()
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        assert course.check._try(question, same).passed
        assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
        assert (torch.rand(1).item(), np.random.rand(), random.random()) == draws, "a check draws nothing of the notebook's"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
