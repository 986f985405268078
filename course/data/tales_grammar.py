"""The little language in which the tales are written, and the ways to run it.

A story is a Python function that calls `say(event, lines)`, one alternative per line:

    {A}                the text that the world has under "A" (a name, a thing, a pronoun, ...)
    [mud|snow]         a choice on the spot; choices nest
    <food>             a choice from the pool "food", or from a table that the world has under that name
    <T=thing>          the same, and the world now has it as "T" (and its properties as "Tneed", "Tfix", ...);
                       what a story has bound is not bound again in that story
    <a food> <^food>   the same with its article, or with a capital letter; <A food> has both,
                       and <"food> opens a quotation
    3 kept> ...        at the start of a line: an integer weight, and a tag that `say` returns

All randomness is a choice between alternatives, and **every choice is a prefix code**: the text with
which one alternative begins is never the beginning of another's. So two different sequences of
choices part at a definite character, no text comes about in two ways, the log-probability of a
text is the sum over its choices, and whoever reads along never has to guess.
What can be checked without a world is checked when lines are compiled;
`Reader` checks the rest, at every choice that it makes.
"""

import math
import re
from collections.abc import Callable, Sequence

TOKEN = re.compile(r"\[|\]|\||<[^<>]*>|[^\[\]|<>]+")
LINE = re.compile(r"(?:(\d+)? ?(\w+)?> )?(.*)")
SLOT = re.compile(r"\{(\w+)\}")
SAYS_AN = re.compile(r"(?!one\b|once|uni|use|eu)[aeiou]|hour|honest|heir", re.IGNORECASE)


class Table:
    """One choice: weighted alternatives, each a tuple of literals (str), tables and picks.

    `records[i]` is what binding alternative i puts into the world: its text under "", its properties by name.
    """

    def __init__(
        self, options: Sequence[tuple], weights: Sequence[int], tags: Sequence, records: Sequence[dict] = ()
    ):
        self.options, self.weights, self.tags, self.records = options, weights, tags, records
        self.wheel = tuple(i for i, weight in enumerate(weights) for _ in range(weight))
        self.bits = (len(self.wheel) - 1).bit_length()
        self.nats = [math.log(len(self.wheel) / weight) for weight in weights]
        self.index: dict[str, list[int]] = {}
        for i, record in enumerate(records):
            self.index.setdefault(record[""], []).append(i)
        self.slots_of: dict[str, list[dict]] = {}
        self.dressed_as: dict[str, Table] = {"": self}
        check_prefix_code(options)

    def slots(self, name: str) -> list[dict]:
        """For each alternative what `<name=...>` puts into the world."""
        if name not in self.slots_of:
            self.slots_of[name] = [{name + key: v for key, v in record.items()} for record in self.records]
        return self.slots_of[name]

    def dressed(self, mark: str) -> "Table":
        """The same choice with an article ("a", "A") or a capital letter ("^") before each alternative."""
        if mark not in self.dressed_as:
            options = [(dress(option[0], mark), *option[1:]) for option in self.options]
            self.dressed_as[mark] = Table(options, self.weights, self.tags, self.records)
        return self.dressed_as[mark]


class Pick:
    """A choice whose result goes into the world (`name`), or whose table is looked up there (`key`)."""

    def __init__(self, name: str, key: str, mark: str):
        self.name, self.mark = name, mark
        self.table = POOLS[key].dressed(mark) if key in POOLS else None
        self.key = key


POOLS: dict[str, Table] = {}


def beginnings(parts: tuple, depth: int = 3) -> list[str]:
    """The texts with which an alternative can begin, `depth` choices deep, as far as they need no world."""
    if not parts:
        return [""]
    first, *rest = parts
    if isinstance(first, str):
        return [first + text for text in beginnings(tuple(rest), depth)]
    inner = first if isinstance(first, Table) else first.table
    if inner is None or not depth:
        return [""]
    return [text for option in inner.options for text in beginnings(option, depth - 1)]


def check_prefix_code(options: Sequence[tuple]) -> None:
    """Raise ValueError where one alternative begins like another (`Reader` checks what needs a world)."""
    texts = sorted((text, i) for i, parts in enumerate(options) for text in beginnings(parts) if text)
    open_prefixes: list[tuple[str, int]] = []
    for text, i in texts:
        while open_prefixes and not text.startswith(open_prefixes[-1][0]):
            open_prefixes.pop()
        for prefix, j in open_prefixes:
            if i != j:
                raise ValueError(f"one alternative begins like another: {prefix!r} and {text!r}")
        open_prefixes.append((text, i))


def dress(part: "str | Table | Pick", mark: str) -> "str | Table | Pick":
    if isinstance(part, Table):
        return part.dressed(mark)
    if isinstance(part, Pick):
        return Pick(part.name, part.key, mark)
    if mark == "^":
        return part[0].upper() + part[1:]
    if mark == '"':
        return mark + part
    return f"{mark}{'n' if SAYS_AN.match(part) else ''} {part}"


def pool(name: str, source: str) -> None:
    """Add a pool of plain texts, written "a|b|c"; a weight may stand before each, as in "3> a"."""
    lines = [LINE.fullmatch(line).groups() for line in " ".join(source.split()).split("|")]
    texts, weights = [line[2].strip() for line in lines], [int(line[0] or 1) for line in lines]
    entries(name, [{"": text} for text in texts], weights)


def phrases(name: str, lines: str) -> None:
    """Add a pool of texts that hold choices themselves, one a line."""
    POOLS[name] = alternatives(lines.strip().split("\n"))


def entries(name: str, known: Sequence[dict], weights: Sequence[int] = (), told: Sequence[str] = ()) -> None:
    """Add a pool of what the world knows more about; the properties in `told` hold choices of their own."""
    records = [{k: alternatives([v]) if k in told else v for k, v in entry.items()} for entry in known]
    POOLS[name] = table(records, weights)


def table(records: Sequence[dict], weights: Sequence[int] = ()) -> Table:
    """A choice of what goes into the world; what is told is a record's "text", or else what is under ""."""
    options = alternatives([record.get("text", record[""]) for record in records]).options
    return Table(options, weights or [1] * len(records), [None] * len(records), records)


def alternatives(lines: Sequence[str]) -> Table:
    """Compile lines of the language above; a long line may go on, indented, after a backslash."""
    options, weights, tags = [], [], []
    for line in lines:
        weight, tag, text = LINE.fullmatch(" ".join(line.split()).replace("| ", "|")).groups()
        tokens = TOKEN.findall(text)[::-1]
        options.append(parts(tokens))
        weights.append(int(weight or 1))
        tags.append(tag)
        if tokens:
            raise ValueError(f"a bracket or a bar too many in {line!r}")
    if len(options) == 1 and len(options[0]) == 1 and isinstance(options[0][0], Table):
        return options[0][0]  # "[a|b]" alone is the choice itself
    return Table(options, weights, tags)


def parts(tokens: list[str]) -> tuple:
    """Take parts off the end of the reversed tokens, up to a `|` or `]` that belongs to an outer choice."""
    found: list = []
    while tokens and tokens[-1] not in "|]":
        token = tokens.pop()
        if token == "[":
            inner = [parts(tokens)]
            while tokens.pop() == "|":
                inner.append(parts(tokens))
            found.append(Table(inner, [1] * len(inner), [None] * len(inner)))
        elif token[0] == "<":
            mark, name, key = re.fullmatch(r"<(\^|\"|[aA] |)(?:(\w+)=)?(\w+)>", token).groups()
            pick = Pick(name or "", key, mark.strip())
            found.append(pick if name or pick.table is None else pick.table)
        else:
            found.append(token)
    return tuple(found)


class Teller:
    """Walks through the choices of a story.

    A subclass says how a choice is made, `choose(table, barred)`, and what becomes of the text, `emit(text)`.
    """

    def __init__(self) -> None:
        self.world: dict = {}
        self.bound: list[str] = []
        self.events: list[str] = []
        self.nats = 0.0
        self.gap = ""

    def say(self, event: str, lines: str) -> str | None:
        """Tell one of `lines`; gives back the tag of the line that was told."""
        if lines not in LINES:
            LINES[lines] = alternatives(lines.strip().split("\n"))
        self.events.append(event)
        self.emit(self.gap)
        self.gap = " "
        return LINES[lines].tags[self.walk(LINES[lines], ())]

    def paragraph(self) -> None:
        """Begin the next sentence on a new line."""
        self.gap = "\n"

    def walk(self, table: Table, barred: Sequence[int]) -> int:
        """Make one choice, and those inside it; `barred` alternatives are out of the question."""
        chosen = self.choose(table, barred)
        self.nats -= self.log_prob(table, barred, chosen)
        for part in table.options[chosen]:
            if type(part) is str:
                self.emit(part)
            elif type(part) is Table:
                self.walk(part, ())
            else:
                self.pick(part)
        return chosen

    def pick(self, pick: Pick) -> None:
        table = self.table(pick)
        if not pick.name:
            self.walk(table, ())
            return
        barred = [i for text in self.bound if text in table.index for i in table.index[text]]
        chosen = self.walk(table, barred)
        self.world.update(table.slots(pick.name)[chosen])
        self.bound.append(table.records[chosen][""])

    def table(self, pick: Pick) -> Table:
        if pick.table:
            return pick.table
        found = self.world[pick.key]
        return (POOLS[found] if type(found) is str else found).dressed(pick.mark)

    def log_prob(self, table: Table, barred: Sequence[int], chosen: int) -> float:
        if not barred:
            return -table.nats[chosen]
        free = len(table.wheel) - sum(table.weights[i] for i in barred)
        return math.log(table.weights[chosen] / free)


LINES: dict[str, Table] = {}


class Sampler(Teller):
    """Draws each choice from a stream of random bits."""

    def __init__(self, bits: Callable[[int], int]):
        super().__init__()
        self.bits = bits
        self.buffer: list[str] = []
        self.emit = self.buffer.append
        self.told: list[str] = []

    def choose(self, table: Table, barred: Sequence[int]) -> int:
        wheel, bits = table.wheel, table.bits
        size = len(wheel)
        while True:
            at = self.bits(bits) if bits else 0
            if at < size and wheel[at] not in barred:
                return wheel[at]

    def say(self, event: str, lines: str) -> str | None:
        tag = super().say(event, lines)
        self.told.append("".join(self.buffer).format_map(self.world))
        self.buffer.clear()
        return tag

    def text(self) -> str:
        return "".join(self.told)


class Mismatch(Exception):
    """The text is not what any choice would tell."""


class Reader(Teller):
    """Follows a text; `at` is how far it agrees with the grammar."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text
        self.at = 0

    def choose(self, table: Table, barred: Sequence[int]) -> int:
        free = (i for i in range(len(table.options)) if i not in barred)
        found = [i for i in free if self.begins(table.options[i], self.at)]
        if not found:
            self.at = max(self.agreement(option, self.at) for option in table.options)
            raise Mismatch
        if len(found) > 1:
            raise AssertionError(f"two alternatives at once: {[table.options[i] for i in found]}")
        return found[0]

    def inner(self, part: "Table | Pick") -> Table | None:
        if type(part) is Table:
            return part
        return self.table(part) if part.table or part.key in self.world else None

    def begins(self, parts: tuple, at: int, depth: int = 3) -> bool:
        """Can the text at `at` be this alternative, judged by as much as `depth` choices of it?"""
        if not parts:
            return True
        first, *rest = parts
        if type(first) is str:
            told = self.told(first)
            if told is None:
                return True
            return self.text.startswith(told, at) and self.begins(tuple(rest), at + len(told), depth)
        inner = self.inner(first)
        if inner is None or not depth:
            return True
        return any(self.begins(option, at, depth - 1) for option in inner.options)

    def told(self, literal: str) -> str | None:
        """The literal in this world, or None if something in it is not yet known."""
        try:
            return literal.format_map(self.world)
        except KeyError:
            return None

    def agreement(self, parts: tuple, at: int, depth: int = 3) -> int:
        """How far the text goes along with an alternative, judged like `begins`."""
        if not parts:
            return at
        first, *rest = parts
        if type(first) is str:
            told = self.told(first) or ""
            same = next((i for i, (a, b) in enumerate(zip(told, self.text[at:])) if a != b), None)
            same = min(len(told), len(self.text) - at) if same is None else same
            return self.agreement(tuple(rest), at + same, depth) if told and same == len(told) else at + same
        inner = self.inner(first)
        if inner is None or not depth:
            return at
        return max(self.agreement(option, at, depth - 1) for option in inner.options)

    def emit(self, text: str) -> None:
        if not self.text.startswith(text.format_map(self.world), self.at):
            self.at = self.agreement((text,), self.at)
            raise Mismatch
        self.at += len(text.format_map(self.world))


class Judge(Reader):
    """Reads on where a name, a thing or a pronoun is not the one that the world has, and notes the slip."""

    def __init__(self, text: str):
        super().__init__(text)
        self.pools: dict[str, Table] = {}
        self.slips: list[tuple[str, str]] = []

    def pick(self, pick: Pick) -> None:
        super().pick(pick)
        if pick.name:
            table = self.table(pick)
            self.pools[pick.name] = POOLS.get(table.records[0].get("wider"), table)

    def choose(self, table: Table, barred: Sequence[int]) -> int:
        start = self.at
        try:
            return super().choose(table, barred)
        except Mismatch:
            close = [i for i, parts in enumerate(table.options) if self.resembles(parts[0], start)]
            if len(close) != 1:
                raise
            self.at = start
            return close[0]

    def emit(self, text: str) -> None:
        start = self.at
        try:
            super().emit(text)
        except Mismatch:
            found = self.blurred(text, start)
            if not found:
                raise
            told = [(self.world[slot], value) for slot, value in zip(SLOT.findall(text), found.groups())]
            self.slips += [(expected, value) for expected, value in told if expected != value]
            self.at = found.end()

    def resembles(self, part: "str | Table | Pick", at: int) -> bool:
        if type(part) is str:
            return self.begins((part,), at) or bool(self.blurred(part, at))
        inner = self.inner(part)
        return inner is None or any(self.resembles(parts[0], at) for parts in inner.options)

    def blurred(self, part: str, at: int) -> re.Match | None:
        """Match a literal in which each slot may hold what another story could have there."""
        if "{" not in part or self.told(part) is None:
            return None
        pieces = SLOT.split(part)
        pieces[::2] = map(re.escape, pieces[::2])
        pieces[1::2] = [f"({'|'.join(map(re.escape, self.values(slot)))})" for slot in pieces[1::2]]
        return re.compile("".join(pieces)).match(self.text, at)

    def values(self, slot: str) -> list[str]:
        name = next(name for name in self.pools if slot.startswith(name))
        return sorted({record[slot[len(name) :]] for record in self.pools[name].records}, reverse=True)
