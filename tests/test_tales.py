"""The tales: every text has one way to be told, its probability is exact, and its world holds together."""

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice

import pytest

from course.data.tales import SEPARATOR, Tale, floor, judge, parse, score, tales, tell
from course.data.tales_grammar import LINES, Sampler, Table, Teller, alternatives, pool
from course.data.tales_plots import PLOTS, TURNS, story
from course.data.tales_things import THINGS
from course.data.tales_world import BOYS, GIRLS

NAME = re.compile(r"\b(" + "|".join(GIRLS + BOYS) + r")\b")
THING = re.compile(r"\b(" + "|".join(sorted({thing[""] for thing in THINGS})) + r")\b")
BLUNDER = re.compile(
    r"\n\n|  |[{}<>\[\]|]| $|\ba [aeio]\w|\ban [^aeiouh]|\b(the|an?) (the|an?)\b|\b(\w+) \3\b"
)


@pytest.fixture(scope="module")
def told() -> list[Tale]:
    return list(islice(tell(7), 300))


class Replayer(Teller):
    """Tells the stories of a reduced grammar, in which most choices have one alternative left.

    Choice i has the alternative `base[i]`, and in the window `breadth` of them, out of which `steps` chooses.
    """

    def __init__(self, base: Sequence[int], window: range, breadth: int, steps: Sequence[int]):
        super().__init__()
        self.base, self.window, self.breadth, self.steps = base, window, breadth, steps
        self.told: list[str] = []
        self.choices = 0
        self.taken: list[int] = []
        self.widths: list[int] = []
        self.probability = Fraction(1)

    def choose(self, table: Table, barred: Sequence[int]) -> int:
        free = [i for i in range(len(table.options)) if i not in barred]
        first = self.base[self.choices] % len(free)
        width = min(len(free), self.breadth if self.choices in self.window else 1)
        left = [free[(first + i) % len(free)] for i in range(width)]
        step = self.steps[len(self.taken)] if len(self.taken) < len(self.steps) else 0
        self.choices += 1
        self.taken.append(step)
        self.widths.append(width)
        self.probability *= Fraction(table.weights[left[step]], sum(table.weights[i] for i in left))
        return left[step]

    def emit(self, text: str) -> None:
        self.told.append(text.format_map(self.world))


def enumerate_stories(
    tell_one: Callable, base: Sequence[int], window: range, breadth: int
) -> list[tuple[str, Fraction, float]]:
    """Every story of a reduced grammar: its text, exact probability, log-probability in the whole."""
    found, scripts = [], [[]]
    while scripts:
        steps = scripts.pop()
        teller = Replayer(base, window, breadth, steps)
        tell_one(teller)
        found.append(("".join(teller.told), teller.probability, -teller.nats))
        for at in range(len(steps), len(teller.taken)):
            scripts += [teller.taken[:at] + [step] for step in range(1, teller.widths[at])]
    return found


def is_prefix_code(texts: Sequence[str]) -> bool:
    ordered = sorted(texts)
    return not any(second.startswith(first) for first, second in zip(ordered, ordered[1:]))


def small_story(s: Teller) -> None:
    outcome = s.say("", """
        2 lost> <A=small_names> [lost|hid] <a B=small_things>.
        Then <A=small_names> and <C=small_names> met.
        """)
    if outcome == "lost":
        s.say("", "{A} found the {B}.\n3> {A} asked <C=small_names> for <a small_things>.")


pool("small_names", "Ann|2> Bob|Cid")
pool("small_things", "apple|3> kite|old hat")


def test_every_text_of_a_small_grammar_comes_about_in_one_way_and_all_probabilities_sum_to_one():
    found = enumerate_stories(small_story, [0] * 99, range(99), 99)
    assert len(found) == 3 * 2 * 3 * (1 + 2 * 3) + 3 * 2
    assert is_prefix_code([text for text, _, _ in found])
    assert sum(probability for _, probability, _ in found) == 1
    for _, probability, log_prob in found:
        assert log_prob == pytest.approx(math.log(probability), abs=1e-12)


def test_a_small_grammar_is_sampled_as_often_as_its_probabilities_say():
    bits, count, size = random.Random(3).getrandbits, Counter(), 20_000
    for _ in range(size):
        sampler = Sampler(bits)
        small_story(sampler)
        count[sampler.text()] += 1
    found = enumerate_stories(small_story, [0] * 99, range(99), 99)
    squares = [(count[text] - size * p) ** 2 / (size * p) for text, p, _ in found]
    degrees = len(found) - 1
    assert abs(float(sum(squares)) - degrees) < 4 * math.sqrt(2 * degrees)


def test_no_two_choice_sequences_of_a_reduced_tales_grammar_tell_the_same_text():
    number = random.Random(11)
    for _ in range(4):
        base = [number.getrandbits(20) for _ in range(2000)]
        for start in range(0, 120, 5):
            found = enumerate_stories(story, base, range(start, start + 6), 2)
            assert is_prefix_code([text for text, _, _ in found])
            assert sum(probability for _, probability, _ in found) == 1


def test_parsing_gives_the_log_probability_that_the_teller_gave(told):
    for tale in told:
        reading = parse(tale.text)
        assert reading.log_prob == pytest.approx(tale.log_prob, abs=1e-9)
        assert reading.reached == len(tale.text)
        assert reading.events == tale.events


def test_the_beginning_of_a_story_is_read_to_its_end_and_has_no_probability(told):
    for tale in told[:40]:
        for cut in range(1, len(tale.text), 97):
            reading = parse(tale.text[:cut])
            assert reading.log_prob is None
            assert reading.reached == cut


def test_a_story_with_more_after_it_is_refused(told):
    for tale in told[:20]:
        reading = parse(tale.text + " The end.")
        assert reading.log_prob is None
        assert reading.reached == len(tale.text)


@pytest.mark.parametrize("text", ["", "Once", "Call me Ishmael.", "once a fox", "\n\n", "Once there\0"])
def test_what_is_no_story_has_no_probability(text):
    assert parse(text).log_prob is None
    assert judge(text).reached <= len(text)


def swapped(text: str, pattern: re.Pattern, number: random.Random) -> str | None:
    """The text with the last of several mentions of somebody or something changed to another."""
    count = Counter(pattern.findall(text))
    known = sorted(word for word in count if count[word] > 2)
    if not known:
        return None
    old = number.choice(known)
    others = (GIRLS if old in GIRLS else BOYS) if pattern is NAME else [thing[""] for thing in THINGS]
    new = next(word for word in others if word not in count)
    at = [match.start() for match in pattern.finditer(text) if match[0] == old][-1]
    return text[:at] + new + text[at + len(old) :]


@pytest.mark.parametrize("pattern", [NAME, THING], ids=["name", "thing"])
def test_a_swapped_name_or_thing_is_refused_and_named(told, pattern):
    number = random.Random(5)
    bad = [text for tale in told[:200] if (text := swapped(tale.text, pattern, number))]
    assert len(bad) > 50
    assert all(parse(text).log_prob is None for text in bad)
    assert sum(bool(judge(text).slips) for text in bad) > len(bad) / 2


def test_the_judge_finds_nothing_wrong_with_the_stories_themselves(told):
    for tale in told[:100]:
        assert judge(tale.text) == ((), len(tale.text))


def test_nothing_that_a_story_has_bound_is_bound_again():
    class Watcher(Sampler):
        def pick(self, pick):
            assert not pick.name or pick.name not in self.world
            super().pick(pick)

    bits = random.Random(0).getrandbits
    for _ in range(500):
        story(Watcher(bits))


def test_the_text_of_a_seed_never_changes():
    digest = hashlib.sha256(tales(1_000_000, seed=0).encode()).hexdigest()
    assert digest == "1c83fd5566d640813370a6eeefaa62d72b9ee79739545b985d95cb875ec9a5f2"


def test_a_longer_corpus_begins_like_a_shorter_one_and_seeds_share_no_story():
    assert tales(50_000).startswith(tales(20_000))
    first, second = (set(tales(200_000, seed).split(SEPARATOR)) for seed in (0, 1))
    assert not first & second


def test_a_corpus_is_whole_stories_with_one_blank_line_between():
    text = tales(30_000, seed=2)
    stories = [tale.text for tale in islice(tell(2), 60)]
    parted = text.split(SEPARATOR)
    assert parted == stories[: len(parted)]
    assert len(text) >= 30_000 > len(SEPARATOR.join(parted[:-1]))


def test_stories_are_plain_ascii_prose(told):
    for tale in told:
        assert tale.text.isascii() and tale.text.replace("\n", "").isprintable()
        assert not BLUNDER.search(tale.text)
        assert all(line[0].isupper() or line[0] == '"' for line in tale.text.split("\n"))
        assert tale.text.count('"') % 2 == 0 and tale.text[-1] in '."'
        assert 400 < len(tale.text) < 1700


def test_there_are_fifteen_hundred_word_forms_and_thirty_kinds_of_event(told):
    words = set(re.findall(r"[a-z]+(?:'[a-z]+)?", tales(4_000_000).lower()))
    assert len(words) > 1500
    assert len({event for tale in told for event in tale.events}) > 30


def test_plots_are_told_as_often_as_their_weights_say():
    table = alternatives(TURNS.strip().split("\n"))
    count, size = Counter(), 3000
    assert set(table.tags) == set(PLOTS)
    for tale in islice(tell(3), size):
        count[tale.events[1] if tale.events[1] != "character" else tale.events[2]] += 1
    share = Counter(PLOTS[tag][0] for tag in table.tags)
    for event, lines in share.items():
        p = lines / len(table.tags)
        assert abs(count[event] - size * p) < 4 * math.sqrt(size * p * (1 - p))


def test_the_floor_is_the_mean_surprise_of_held_out_stories():
    found = floor(seed=1, stories=400)
    held_out = list(islice(tell(1), 400))
    size = sum(len(tale.text) + len(SEPARATOR) for tale in held_out)
    assert found.characters == size == len(SEPARATOR.join(tale.text for tale in held_out)) + len(SEPARATOR)
    assert found.nats_per_character == pytest.approx(-sum(tale.log_prob for tale in held_out) / size)
    assert found.bits_per_byte == pytest.approx(found.nats_per_character / math.log(2))
    other = floor(seed=2, stories=400)
    error = math.hypot(found.standard_error, other.standard_error)
    assert abs(found.nats_per_character - other.nats_per_character) < 4 * error
    assert 0.0001 < found.standard_error < 0.01


def test_the_excess_of_a_model_that_knows_the_grammar_is_zero_and_has_no_error():
    told = list(islice(tell(1), 50))
    nats = [-tale.log_prob for tale in told]
    found, best = score(nats, told), floor(stories=50)
    assert found == (best.nats_per_character, best.standard_error, 0, 0)
    # What costs each character the same is all excess, without any spread: the difference is by story.
    more = score([n + 0.25 * (len(tale.text) + len(SEPARATOR)) for n, tale in zip(nats, told)], told)
    assert more.excess == pytest.approx(0.25) and more.excess_error == pytest.approx(0, abs=1e-9)
    assert more.loss == pytest.approx(best.nats_per_character + 0.25)
    assert more.loss_error == pytest.approx(best.standard_error)
    with pytest.raises(ValueError, match="a number of nats for each story, got 1 for 50"):
        score([1.0], told)


def test_alternatives_that_begin_alike_are_refused():
    with pytest.raises(ValueError, match="begins like another"):
        alternatives(["One day it rained.", "One [day|night] it snowed."])
    with pytest.raises(ValueError, match="too many"):
        alternatives(["It rained|snowed."])
    assert LINES


def test_impossible_requests_say_what_was_wrong():
    with pytest.raises(ValueError, match="size must be at least 1 character, got 0"):
        tales(0)
    for seed in (-1, 1.5, "0"):
        with pytest.raises(ValueError, match="seed must be a non-negative integer"):
            next(tell(seed))
    with pytest.raises(ValueError, match="stories must be at least 2"):
        floor(stories=1)
