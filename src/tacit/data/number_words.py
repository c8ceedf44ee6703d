"""German and English number words, made by rule: a small language of its own, and no real text.

Each sentence says a number, a sum of money, a time of day, a date, or when something begins, leaves or arrives, in
German and in English. Number words are those of `num2words`; times, dates and sentences are put together here. What is
hard about real German is hard here too, as far as words go:

* one word for what are several: `einundzwanzigtausenddreihundertfünf` is twenty-one thousand, three hundred and five;
* another order: ones before tens, the day before the time, verbs apart (`fährt ... ab`) or at the end
  (`dass der bus ... ankommt`);
* another point of view: `halb drei` is half past two, `fünf vor halb drei` twenty-five past two;
* endings: `der dritte mai`, `am dritten mai`, `im mai`.

Sentences are drawn from streams named by the seed and the split, the test set first, then validation, then training,
and left out if one of the earlier ones has either side of them. So no sentence of a split is in another, and a smaller
training set is part of a larger one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from num2words import num2words

from tacit import streams

_STALE = 10_000
"""Draws in a row that are nothing new, after which there is nothing new to be drawn."""


class Sentences(NamedTuple):
    """One meaning in two languages."""

    german: str
    english: str


def make(sizes: Mapping[str, int], *, seed: int, advance: Callable[[int], None]) -> dict[str, list[Sentences]]:
    """Return as many different sentences as `sizes` says of the splits `train`, `valid` and `test`, in random order.

    `advance` hears how many more have been made. Raises ValueError if there are not so many.
    """
    seen: tuple[set[str], set[str]] = (set(), set())
    return {split: _split(split, sizes[split], seed, seen, advance) for split in ("test", "valid", "train")}


def _split(
    split: str, size: int, seed: int, seen: tuple[set[str], set[str]], advance: Callable[[int], None]
) -> list[Sentences]:
    generator = streams.numpy_generator("translation", "numbers", seed, split)
    found: list[Sentences] = []
    stale = 0
    while len(found) < size:
        sentence = draw(generator)
        if sentence.german in seen[0] or sentence.english in seen[1]:
            stale += 1
            if stale == _STALE:
                raise ValueError(f"num_{split} = {size:,}: only {len(found):,} sentences could be made")
            continue
        stale = 0
        seen[0].add(sentence.german)
        seen[1].add(sentence.english)
        found.append(sentence)
        advance(1)
    return found


def draw(generator: np.random.Generator) -> Sentences:
    """Return a sentence, lower case, its signs apart from its words."""
    return _KINDS[_below(generator, len(_KINDS))](generator)


def _below(generator: np.random.Generator, limit: int) -> int:
    return int(generator.integers(limit))


@functools.lru_cache(maxsize=100_000)
def _said(number: int, language: str, form: str) -> str:
    # Signs stand apart, as the Moses tokeniser puts them.
    return num2words(number, lang=language, to=form).replace(",", " ,")


# Numbers.


def cardinal(number: int) -> Sentences:
    """Return a number."""
    return Sentences(_said(number, "de", "cardinal"), _said(number, "en", "cardinal"))


def ordinal(number: int, ending: str = "") -> Sentences:
    """Return a number in order, in German with a further ending: der dritte, am dritten."""
    return Sentences(_said(number, "de", "ordinal") + ending, _said(number, "en", "ordinal"))


def _number(generator: np.random.Generator) -> int:
    """Return a number of up to six digits, each number of digits as likely as another."""
    return _below(generator, 10 ** (1 + _below(generator, 6)))


def money(euros: int, cents: int) -> Sentences:
    """Return a sum of money; both numbers are at least 1."""
    words = (cardinal(euros), cardinal(cents))
    # Ein Euro, hunderteins Euro.
    german = ["ein" if number == 1 else word.german for number, word in zip((euros, cents), words, strict=True)]
    english = [f"{words[0].english} euro{'s' * (euros > 1)}", f"{words[1].english} cent{'s' * (cents > 1)}"]
    return Sentences(f"{german[0]} euro und {german[1]} cent", " and ".join(english))


# Times.

_HALVES = {"nach": "past", "vor": "to"}


def time_of_day(hour: int, minute: int) -> Sentences:
    """Return a time as one says it, from `hour` (1 to 12) and `minute` (0 to 55, in fives)."""
    next_hour = hour % 12 + 1
    if minute == 0:
        return Sentences(f"{'ein' if hour == 1 else cardinal(hour).german} uhr", f"{cardinal(hour).english} o'clock")
    # What is nearest to the half hour is told from there in German, and never in English.
    before, passed = 60 - minute, minute
    english = (
        f"half past {cardinal(hour).english}"
        if minute == 30
        else f"{_minutes(passed).english} past {cardinal(hour).english}"
        if minute < 30
        else f"{_minutes(before).english} to {cardinal(next_hour).english}"
    )
    if minute in (25, 30, 35):
        shift = {25: "fünf vor ", 30: "", 35: "fünf nach "}[minute]
        return Sentences(f"{shift}halb {cardinal(next_hour).german}", english)
    if minute < 30:
        return Sentences(f"{_minutes(passed).german} nach {cardinal(hour).german}", english)
    return Sentences(f"{_minutes(before).german} vor {cardinal(next_hour).german}", english)


def _minutes(number: int) -> Sentences:
    return Sentences("viertel", "quarter") if number == 15 else cardinal(number)


_PARTS = (
    Sentences("morgens", "in the morning"),
    Sentences("nachmittags", "in the afternoon"),
    Sentences("abends", "in the evening"),
)


def _time(generator: np.random.Generator) -> Sentences:
    said = time_of_day(1 + _below(generator, 12), 5 * _below(generator, 12))
    number = _below(generator, 2 * len(_PARTS))
    if number >= len(_PARTS):
        return said
    return Sentences(f"{said.german} {_PARTS[number].german}", f"{said.english} {_PARTS[number].english}")


# Dates.

_MONTHS = tuple(
    Sentences(*pair.split("/"))
    for pair in (
        "januar/january",
        "februar/february",
        "märz/march",
        "april/april",
        "mai/may",
        "juni/june",
        "juli/july",
        "august/august",
        "september/september",
        "oktober/october",
        "november/november",
        "dezember/december",
    )
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKDAYS = tuple(
    Sentences(*pair.split("/"))
    for pair in (
        "montag/monday",
        "dienstag/tuesday",
        "mittwoch/wednesday",
        "donnerstag/thursday",
        "freitag/friday",
        "samstag/saturday",
        "sonntag/sunday",
    )
)


def date(day: int, month: int, ending: str = "") -> Sentences:
    """Return a day of a year: dritte mai, with the ending n dritten mai, and the third of may."""
    said, name = ordinal(day, ending), _MONTHS[month - 1]
    return Sentences(f"{said.german} {name.german}", f"the {said.english} of {name.english}")


def _day(generator: np.random.Generator) -> tuple[int, int]:
    month = _below(generator, 12)
    return 1 + _below(generator, _DAYS[month]), 1 + month


def _when(generator: np.random.Generator) -> Sentences:
    """Return on which day: a weekday, a date, or both."""
    kind = _below(generator, 3)
    weekday, on = _WEEKDAYS[_below(generator, 7)], date(*_day(generator), "n")
    if kind == 0:
        return Sentences(f"am {weekday.german}", f"on {weekday.english}")
    if kind == 1:
        return Sentences(f"am {on.german}", f"on {on.english}")
    return Sentences(f"am {weekday.german} , dem {on.german} ,", f"on {weekday.english} , {on.english}")


# Sentences.

_SUBJECTS = tuple(
    Sentences(*pair.split("/"))
    for pair in ("der zug/the train", "der bus/the bus", "das schiff/the ship", "die fähre/the ferry")
)


class _Verb(NamedTuple):
    stem: str
    """What stands second in a main clause."""
    prefix: str
    """What stands at its end, and before the stem in a subordinate clause."""
    english: str


_VERBS = (_Verb("fährt", "ab", "leaves"), _Verb("kommt", "an", "arrives"), _Verb("legt", "los", "sets off"))
_FRAMES = (
    Sentences("ich weiß , dass", "i know that"),
    Sentences("sie sagt , dass", "she says that"),
    Sentences("wir hoffen , dass", "we hope that"),
)


def _travels(generator: np.random.Generator) -> Sentences:
    """Return when something leaves or arrives: in German the day comes first, in English the time."""
    subject, verb = _SUBJECTS[_below(generator, len(_SUBJECTS))], _VERBS[_below(generator, len(_VERBS))]
    day, time = _when(generator), _time(generator)
    german, english = f"{day.german} um {time.german}", f"at {time.english} {day.english}"
    kind = _below(generator, len(_FRAMES) + 1)
    if kind == len(_FRAMES):
        return Sentences(
            f"{subject.german} {verb.stem} {german} {verb.prefix} .", f"{subject.english} {verb.english} {english} ."
        )
    frame = _FRAMES[kind]
    return Sentences(
        f"{frame.german} {subject.german} {german} {verb.prefix}{verb.stem} .",
        f"{frame.english} {subject.english} {verb.english} {english} .",
    )


def _costs(generator: np.random.Generator) -> Sentences:
    said = money(1 + _number(generator) % 9999, 1 + _below(generator, 99))
    return Sentences(f"das kostet {said.german} .", f"that costs {said.english} .")


def _dated(generator: np.random.Generator) -> Sentences:
    """Return a date with its year, as it stands at the head of a letter or after a verb."""
    year = 1100 + _below(generator, 1000)
    german, english = _said(year, "de", "year"), _said(year, "en", "year")
    day, month = _day(generator)
    if _below(generator, 2):
        at, on = date(day, month), _WEEKDAYS[_below(generator, 7)]
        return Sentences(f"{on.german} , der {at.german} {german}", f"{on.english} , {at.english} {english}")
    at = date(day, month, "n")
    return Sentences(f"am {at.german} {german} geboren", f"born on {at.english} {english}")


def _counted(generator: np.random.Generator) -> Sentences:
    return cardinal(_number(generator))


_KINDS: tuple[Callable[[np.random.Generator], Sentences], ...] = (
    _counted,
    _costs,
    _dated,
    _travels,
    _travels,
)
