"""Files of one kind, named by typed axes: results/demo/pathfinder/path_length~3/coefficient~0.1/seed~0.h5.

An axis has the type of the setting that its values come from: a number, a truth value, one of several words, or text
of a certain form. From that follow how a value is written in a path, in one way alone; by what regular expression
Snakemake finds it there; and the value that a job gets back from it. No torch is imported here.
"""

from __future__ import annotations

import itertools
import math
import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

WHOLE = r"(?:0|[1-9]\d*)"
"""A whole number as it stands in paths: 7 and not 07."""

POSITIVE = r"[1-9]\d*"
"""The same, at least 1."""

DECIMAL = r"(?:(?:0|[1-9]\d*)(?:\.\d*[1-9])?(?:e[+-]\d\d+)?|[1-9]\d{6,300}\.0)"
"""A number as it stands in paths: 1 and not 1.0."""

METRICS = ".metrics"
"""Before the suffix of the figure of all that a run recorded, and of its numbers: seed~0.metrics.pdf."""


class Axis(NamedTuple):
    """How the values of an axis are written and read."""

    pattern: str
    """Regular expression of the text of a value."""
    read: Callable[[str], Any]
    """Gives the value that a text stands for; of any number, however it is written. May raise ValueError."""


def axis_of(kind: Any) -> Axis:
    """Return the axis of values of a type: int, float, bool, Literal, str, or one of these with annotations.

    Text has the pattern that a pydantic field of it has, or is anything but a slash; a whole number is at least 1 if a
    field of it is.
    """
    form, least = None, 0
    while get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        # Those of a pydantic field lie one deeper.
        notes = [inner for note in notes for inner in (note, *getattr(note, "metadata", ()))]
        form = next((note.pattern for note in notes if getattr(note, "pattern", None)), form)
        least = next((note.ge for note in notes if getattr(note, "ge", None) is not None), least)
    if get_origin(kind) in (Union, types.UnionType):
        raise TypeError(f"{kind} is several types, of which an axis has one")
    if get_origin(kind) is Literal:
        return Axis("|".join(map(re.escape, get_args(kind))), str)
    if kind is bool:
        return Axis("true|false", {"true": True, "false": False}.__getitem__)
    if kind is int:
        return Axis(WHOLE if least < 1 else POSITIVE, int)
    if kind is float:
        return Axis(DECIMAL, _finite)
    if kind is str:
        return _text_of_form(form.removeprefix("^").removesuffix("$")) if form else Axis("[^/]+", str)
    raise TypeError(f"{kind} is no type of an axis")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _text_of_form(form: str) -> Axis:
    """Return the axis of text that has a form in which whole numbers may stand between dashes, such as lcn-3."""

    def read(text: str) -> str:
        if re.fullmatch(form, text):
            return text
        written = "-".join(str(int(part)) if part.isdecimal() else part for part in text.split("-"))
        if not re.fullmatch(form, written):
            raise ValueError(text)
        return written

    return Axis(form, read)


class Axes:
    """The axes that tell files of one kind from each other, in the order of their paths."""

    def __init__(self, **types: Any):
        self.axes = {name: axis_of(kind) for name, kind in types.items()}

    def values(self, texts: Any) -> dict[str, Any]:
        """Return the typed values of all axes that `texts`, wildcards or a mapping, have."""
        known = dict(texts.items())
        return {name: axis.read(known[name]) for name, axis in self.axes.items() if name in known}

    def canonical(self, name: str, text: str) -> str | None:
        """Return how the value that `text` stands for is written; None if it stands for none."""
        try:
            return text_of(self.axes[name].read(text))
        except (ValueError, KeyError):
            return None


class Files:
    """The files of one kind in a folder: patterns with wildcards for rules, and paths of single ones.

    The path has a part for each axis; those given a value in `fixed` are no wildcards. The last part ends in `.h5`,
    unless `name` is the name of the file in a folder of its own.
    """

    def __init__(self, folder: str, axes: Axes, *, name: str = "", **fixed: Any):
        if strange := set(fixed) - set(axes.axes):
            raise ValueError(f"no axes: {', '.join(sorted(strange))}")
        self.axes = axes
        self.fixed = {axis: text_of(value) for axis, value in fixed.items()}
        parts = [f"{axis}~{self.fixed.get(axis, f'{{{axis}}}')}" for axis in axes.axes]
        self.path = "/".join([folder, *parts, name] if name else [folder, *parts]) + ("" if name else ".h5")
        """With a wildcard for each axis, as inputs have it."""

    @property
    def output(self) -> str:
        """The same with the form of each wildcard, as outputs have it."""
        found = self.path
        for name, axis in self.axes.axes.items():
            found = found.replace(f"{{{name}}}", f"{{{name},{axis.pattern}}}")
        return found

    @property
    def log(self) -> str:
        """Log of the job that makes a file: the same tail under logs/."""
        return log_of(self.path)

    @property
    def benchmark(self) -> str:
        """Run time and memory of that job: the same tail under benchmarks/results/."""
        return str(Path("benchmarks", self.path).with_suffix(".jsonl"))

    @property
    def checkpoint(self) -> str:
        """Where that job saves itself: no declared output, or Snakemake would delete it."""
        return str(Path("results", ".checkpoints", Path(self.path).relative_to("results")).with_suffix(".pt"))

    def of(self, **values: Any) -> str:
        """Return the path of one file; text in braces stays a wildcard."""
        return self.path.format(**{name: text_of(value) for name, value in values.items()})

    def grid(self, **values: Any) -> list[str]:
        """Return the paths of all combinations of values, the last axis changing first; one value may stand alone."""
        names = [name for name in self.axes.axes if name not in self.fixed]
        if set(names) != set(values):
            raise ValueError(f"a grid over {', '.join(names)} was given {', '.join(values)}")
        several = [
            value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
            for value in (values[name] for name in names)
        ]
        return [self.of(**dict(zip(names, combination, strict=True))) for combination in itertools.product(*several)]


def log_of(path: str) -> str:
    """Return the log of the job that makes the file at `path`: the same tail under logs/."""
    tail = Path(path)
    return str(Path("logs", tail.relative_to("results") if tail.parts[0] == "results" else tail).with_suffix(".log"))


def axes_in(path: str | Path) -> dict[str, str]:
    """Return the axes in a path, such as {"seed": "3"}, with their values as they stand there."""
    parts = (part.removesuffix(".h5").partition("~") for part in Path(path).parts)
    return {axis: value for axis, mark, value in parts if mark}


def run_of(path: str) -> str:
    """Return the run file beside which its figure, or the numbers of that, lie at `path`; any other path as it is."""
    stem = Path(path).with_suffix("")
    return str(stem.with_suffix(".h5")) if stem.suffix == METRICS else path


def text_of(value: bool | int | float | str) -> str:
    """Return a value as it stands in paths: 0.1, 3 and not 3.0, true, with as many digits as a number has."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    value += 0  # as -0 is 0
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def proper(path: str, kinds: Iterable[Axes]) -> str:
    """Return `path` with the value of every axis written as files of these `kinds` write it."""
    known: dict[str, list[Axes]] = {}
    for axes in kinds:
        for name in axes.axes:
            known.setdefault(name, []).append(axes)
    parts = path.split("/")
    for place, part in enumerate(parts):
        axis, tilde, rest = part.partition("~")
        if not tilde or axis not in known:
            continue
        # The last part of a path has a suffix behind its value.
        value, suffix = (Path(rest).stem, Path(rest).suffix) if place == len(parts) - 1 else (rest, "")
        if suffix and value.endswith(METRICS):
            value, suffix = value.removesuffix(METRICS), METRICS + suffix
        written = {text for axes in known[axis] if (text := axes.canonical(axis, value)) is not None}
        # If one kind writes it so, it is right.
        if written and value not in written:
            parts[place] = f"{axis}~{min(written)}{suffix}"
    return "/".join(parts)
