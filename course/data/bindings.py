"""Texts that say who is who, for models of a minute: every token's probability is known.

    baker Hugo went home . doctor Alice saw snow . now baker Abel sat . baker Abel ran .

A sentence is a role, a name and some words. A role keeps its name until a sentence that begins with *now*
gives it another one. So a name said again is certain for whoever looks up the role's newest name, and one of
`len(names)` for whoever does not. The words are a Markov chain, which needs no memory of the text at all.
"""

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from course.data.tales_world import BOYS, GIRLS

ROLES = ("baker", "captain", "doctor", "farmer", "miller", "painter", "sailor", "teacher")
NAMES = (*GIRLS[:32], *BOYS[:32])
WORDS = (
    "went home saw snow ran far sat down sang well by night near water with bread at noon took wood gave "
    "thanks lost gold found light and then but never once under trees over hills after rain before dawn slept"
).split()
KINDS = ("word", "role", "first", "again", "rebound", "anew")  # of a token: see `Scene.kind`


class Texts(NamedTuple):
    """Tokens (n, T), -log p of each in nats given those before it, and which of `KINDS` each is."""

    ids: Tensor
    nats: Tensor
    kinds: Tensor


@dataclass(frozen=True)
class Language:
    """Which words there are, how often a role gets another name, and how often a sentence ends after a word."""

    roles: tuple[str, ...] = ROLES
    names: tuple[str, ...] = NAMES
    words: tuple[str, ...] = tuple(WORDS)
    anew: float = 0.15
    stop: float = 0.5
    seed: int = 0  # of the Markov chain

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """What each id says: "." is 0 and "now" is 1, then roles, names and words."""
        return (".", "now", *self.roles, *self.names, *self.words)

    @cached_property
    def role_ids(self) -> range:
        return range(2, 2 + len(self.roles))

    @cached_property
    def name_ids(self) -> range:
        return range(self.role_ids.stop, self.role_ids.stop + len(self.names))

    @cached_property
    def word_ids(self) -> range:
        return range(self.name_ids.stop, len(self.vocabulary))

    @cached_property
    def chain(self) -> dict[int, dict[int, float]]:
        """Probabilities of what comes after each word: up to four other words, or the end of the sentence."""
        draw, rows = random.Random(self.seed).random, {}
        for word in self.word_ids:
            # Sorting by drawn numbers, since only `random` is the same in every version of Python.
            followers = sorted(self.word_ids, key=lambda _: draw())[:4]
            shares = (8, 4, 2, 1)[: len(followers)]
            going_on = {w: (1 - self.stop) * s / sum(shares) for w, s in zip(followers, shares)}
            rows[word] = {0: self.stop} | going_on
        return rows

    def text(self, ids: Tensor) -> str:
        return " ".join(self.vocabulary[i] for i in ids.tolist())


class Scene:
    """Who is who so far, and so what may come next."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.name_of: dict[int, int] = {}
        self.renamed: set[int] = set()
        self.role, self.last, self.now = 0, 0, False

    def chances(self) -> dict[int, float]:
        """The probability of each id that may come next."""
        its, bound = self.language, self.name_of
        if self.last == 0:  # a sentence begins: *now* only if it is about somebody known
            anew = its.anew / len(its.roles)
            each = {r: 1 / len(its.roles) - (anew if r in bound else 0) for r in its.role_ids}
            return ({1: anew * len(bound)} if bound else {}) | each
        if self.last == 1:
            return {role: 1 / len(bound) for role in bound}
        if self.last in its.role_ids:
            if self.role in bound and not self.now:
                return {bound[self.role]: 1.0}
            names = [n for n in its.name_ids if n != bound.get(self.role)]
            return dict.fromkeys(names, 1 / len(names))
        if self.last in its.name_ids:
            return dict.fromkeys(its.word_ids, 1 / len(its.word_ids))
        return its.chain[self.last]

    def kind(self, id: int) -> str:
        """What it would mean if this id came next.

        A name is the "first" of its role, or said "again", or "anew" in a sentence that begins with
        *now*, or "rebound": said again, of a role that has had another name before.
        """
        if id in self.language.name_ids:
            if self.role not in self.name_of:
                return "first"
            return "anew" if self.now else "rebound" if self.role in self.renamed else "again"
        return "role" if id == 1 or id in self.language.role_ids else "word"

    def read(self, id: int) -> None:
        """Go on by one token."""
        if id == 0:
            self.now = False
        elif id == 1:
            self.now = True
        elif id in self.language.role_ids:
            self.role = id
        elif id in self.language.name_ids:
            if self.now:
                self.renamed.add(self.role)
            self.name_of[self.role] = id
        self.last = id


def tell(n: int, T: int, seed: int = 0, language: Language = Language()) -> Texts:
    """The beginnings, T tokens each, of n texts; the same for the same seed."""
    if min(n, T) < 1:
        raise ValueError(f"expected at least one text of one token, not {n} of {T}")
    draw, texts = random.Random(seed).random, []
    for _ in range(n):
        scene, told = Scene(language), []
        for _ in range(T):
            told.append(_pick(scene.chances(), draw()))
            scene.read(told[-1])
        texts.append(told)
    return judge(torch.tensor(texts), language)


def judge(ids: Tensor, language: Language = Language()) -> Texts:
    """What `tell` says of texts (n, T) from elsewhere; a token that cannot stand where it does has inf nats.

    Summed over a text the nats are its exact -log p; their mean is the least loss to be expected of any model.
    """
    nats, kinds = [], []
    for told in ids.tolist():
        scene = Scene(language)
        for id in told:
            p = scene.chances().get(id, 0.0)
            nats.append(-math.log(p) if p else math.inf)
            kinds.append(KINDS.index(scene.kind(id)))
            scene.read(id)
    nats = torch.tensor(nats, dtype=torch.float64).view(ids.shape)
    return Texts(ids, nats, torch.tensor(kinds).view(ids.shape))


def _pick(chances: dict[int, float], drawn: float) -> int:
    """The id that a number drawn from 0 to 1 stands for."""
    for id, p in chances.items():
        drawn -= p
        if drawn < 0:
            break
    return id
