"""What all settings have in common, and how mistakes in them are reported.

Settings are immutable, know their keys, and convert nothing silently: text is not a number, 3.5 is not a count, and an
unknown key is an error. Importing this package imports no torch, so that planning a workflow stays quick.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from tacit.errors import UserError

# Bounds lie well beyond any use, and below what overflows, fills memory or never ends.

Count = Annotated[int, Field(ge=1, le=10**9)]
"""A whole number, at least 1."""

NonNegativeInt = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What random numbers are drawn from; any number is as good as another."""

Pixels = Annotated[int, Field(ge=1, le=4096)]
NonNegative = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=1e-30, le=1e30, allow_inf_nan=False)]


def _check_size(value: float) -> float:
    if 0 < abs(value) < 1e-6:
        raise ValueError("is neither 0 nor at least 0.000001 in size, below which its square means nothing")
    return value


Moderate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False), AfterValidator(_check_size)]
"""A number whose square and whose products with others can be computed with."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
Some = Field(min_length=1, max_length=100)
"""The list is not empty, and not so long that planning never ends."""

MOST_SEEDS = 1000
MOST_RUNS = 20_000
"""The most runs of one study; Snakemake plans for minutes with as many."""


def _check_seeds(seeds: int) -> int:
    if seeds > MOST_SEEDS:
        raise ValueError(f"this is a number of runs, not a seed; at most {MOST_SEEDS}")
    return seeds


Seeds = Annotated[int, Field(ge=1), AfterValidator(_check_seeds)]
"""How many runs of each setting, with the seeds 0, 1, 2, ...; a number of runs and no seed."""


def check_runs(runs: int) -> None:
    """Raise ValueError if a study has more runs than can be planned."""
    if runs > MOST_RUNS:
        raise ValueError(f"{runs:,} runs are more than can be planned, {MOST_RUNS:,}; take fewer values or seeds")


def check_memory(numbers: int, *, each: int, what: str) -> None:
    """Raise ValueError if so many numbers of `each` bytes would fill the memory of a large machine."""
    if numbers * each > MOST_BYTES:
        raise ValueError(f"{what} would take {numbers * each / 1e9:,.0f} GB; at most {MOST_BYTES / 1e9:.0f} GB")


MOST_BYTES = 32 * 10**9
"""That the settings of one thing may ask for: a data set, a target, its measurements."""


def _check_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each value may be given once")
    return values


Distinct = AfterValidator(_check_distinct)
"""Each value of the collection may be given once."""


def is_harmless(path: str) -> bool:
    """Tell whether `path` is of letters (composed or not), digits and signs that mean nothing to a shell."""
    return bool(path) and all(
        letter.isalnum() or letter in " /.~+,:@=_-" or unicodedata.category(letter).startswith("M") for letter in path
    )


def _check_folder(path: str) -> str:
    if not is_harmless(path):
        raise ValueError(
            "may hold letters, digits, blanks and / . ~ + , : @ = _ - alone, as jobs on a cluster repeat it"
        )
    if len(path.encode()) > 1000 or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("is longer than the name of a folder can be")
    try:
        Path(path).expanduser()
    except RuntimeError:
        user = path.partition("/")[0]
        whose = f"of the user {user[1:]}, whom this machine does not know" if len(user) > 1 else "of yours"
        raise ValueError(f"{user} stands for a home folder {whose}; write the folder out") from None
    return path


Folder = Annotated[str, AfterValidator(_check_folder)]
"""The name of a folder, of letters that mean nothing to a shell: Snakemake hands settings on to jobs through one."""


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{10}$")]
"""What `digest` returns."""


def digest(plain: Any) -> str:
    """Return a short name of exactly these plain values, for file names."""
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=5).hexdigest()


class SettingsError(UserError):
    """One message that names file, key and value of each mistake, and what is allowed."""

    def __init__(self, message: str, key: str = ""):
        super().__init__(message)
        self.key = key
        """The first of the keys, as pathfinder.seeds, if it is known."""

    @property
    def spelling(self) -> str:
        """How the key is written, if its name has dots, of which neither YAML nor Snakemake knows; else empty."""
        blocks = self.key.split(".")
        if len(blocks) < 2 or any(block.isdecimal() for block in blocks):
            return ""
        inner = f"{blocks[-1]}: ..."
        for block in reversed(blocks[1:-1]):
            inner = f"{block}: {{{inner}}}"
        return (
            f"{self.key} is written as  {blocks[0]}: {{{inner}}}  in a file, "
            f"and as  --config '{blocks[0]}={{{inner}}}'  on the command line"
        )


class Settings(BaseModel):
    """Base of every block of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    later: ClassVar[tuple[str, ...]] = ()
    """Settings that are left out of `plain` at their default, as files that were made before them have no word of them:
    their settings, names and bytes stay what they are."""

    def plain(self) -> dict[str, Any]:
        """Return the block as nested dicts, lists, numbers and text, keys in the order of the model."""
        return self.model_dump(mode="json")

    def wanted(self) -> dict[str, Any]:
        """Return what is asked of files: the same, with None for what is left out, so that none must have it."""
        return self.model_dump(mode="json", context={"wanted": True})

    def left_out(self) -> set[str]:
        """Return the settings that `plain` leaves out."""
        return {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}

    @model_serializer(mode="wrap")
    def _serialized(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        without, found = self.left_out(), handler(self)
        if info.context and info.context.get("wanted"):
            return found | dict.fromkeys(without)
        return {name: value for name, value in found.items() if name not in without}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, source: str = "settings") -> Self:
        """Return the checked block; raises SettingsError, in which `source` says where `values` came from."""
        return parse(cls, values, source_of=lambda path: source)


def check_unused(block: Settings, *names: str, why: str) -> None:
    """Raise ValueError if one of these settings, which nothing reads, is not at its default value."""
    for name in names:
        value, default = getattr(block, name), type(block).model_fields[name].default
        if value != default:
            raise ValueError(f"{name} = {short(value)} {why}; leave it at {short(default)}")


def parse(model: type[Settings], values: Mapping[str, Any], *, source_of) -> Any:
    """Check `values` against `model`. `source_of(path)` names the file that the key at `path` came from."""
    for path, complaint in _not_plain(values):
        key = _named(path)
        raise SettingsError(f"{source_of(path)}: {key}: {complaint}", key)
    try:
        # Through JSON, because there a list may strictly become a tuple.
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        problems = error.errors(include_url=False)
    # Each key once, although a value of a union is held against several types, each of which says what it misses.
    paths = [_path_in(values, problem) for problem in problems]
    lines: dict[tuple, str] = {}
    for path, problem in zip(paths, problems, strict=True):
        if any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            continue  # It follows from the mistake further inside.
        line = _describe(model, problem, path, source_of)
        lines[path] = f"{lines[path]}; or {_said(problem)}" if path in lines else line
    raise SettingsError("\n".join(lines.values()), _named(next(iter(lines))))


def _not_plain(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Yield where in `value` there is something that no settings hold, and what it is."""
    if len(path) > MOST_LEVELS:
        yield path[:3], "blocks and lists are nested too deep"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(name, str):
                yield from _not_plain(inner, (*path, name))
            else:
                yield path, f"the name of a setting must be text, not {short(name)}"
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _not_plain(inner, (*path, place))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value}: every number must be finite"
    elif isinstance(value, str) and not (value.isprintable() or value.isascii()):
        if any(unicodedata.category(letter) == "Cs" for letter in value):
            yield path, f"{short(value)} is no text that can be written down"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield path, f"a whole number beyond all that are meant here, which end at {2**63 - 1}"
    elif not isinstance(value, bool | int | float | str | None):
        expected = "settings must be numbers, text, lists and blocks"
        yield path, f"{short(value)}: {expected}, not {type(value).__name__}"


MOST_LEVELS = 20
"""The most blocks and lists in one another."""


def _path_in(values: Any, problem: Mapping[str, Any]) -> tuple:
    """Return where a problem is. Its own account also names the types of a union that the value was held against."""
    path: list = []
    last = len(problem["loc"]) - 1
    for place, part in enumerate(problem["loc"]):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if problem["type"] != "missing" or place != last:
                continue
        path.append(part)
    return tuple(path)


def _named(path: tuple) -> str:
    return ".".join(str(part) for part in path) or "(top level)"


def _describe(model: type[Settings], problem: Mapping[str, Any], path: tuple, source_of) -> str:
    where = f"{source_of(path)}: {_named(path)}"
    value = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            word = str(path[-1])
            hint = ""
            if "." in word:
                key = ".".join((*map(str, path[:-1]), word))
                hint = f"{SettingsError('', key).spelling}; "
            return f"{where}: unknown key; {hint}{suggest(word, _keys_at(model, path[:-1]))}"
        case "missing":
            return f"{where}: missing; it must be given here"
        case "value_error":
            return f"{where} = {short(value)}: {problem['ctx']['error']}"
        case _:
            return f"{where} = {short(value)}: {_said(problem)}{_hint(value)}"


def _said(problem: Mapping[str, Any]) -> str:
    """Return what pydantic says of a problem, with limits as people write them."""
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    said = problem["msg"].lower()
    if limit := problem.get("ctx", {}).get(limits.get(problem["type"], "")):
        words = said.rpartition(" ")[0]
        said = f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
    return said


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Return a hint: the closest allowed word if one is close, and all of them."""
    allowed = list(allowed)
    close = difflib.get_close_matches(word[:100], allowed, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def _hint(value: Any) -> str:
    """Return advice on text that was meant as a number."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    return f"; write it as {number:g}, without quotes" if math.isfinite(number) else ""


def short(value: Any) -> str:
    """Return a value as it is shown in messages."""
    try:
        text = json.dumps(value, default=lambda other: f"<{type(other).__name__}>")
    except (ValueError, TypeError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(model: type[Settings], path: tuple) -> list[str]:
    """Return the keys allowed in the block at `path`, which may lead through lists."""
    blocks = [model]
    for part in path:
        if isinstance(part, str):
            annotations = [block.model_fields[part].annotation for block in blocks if part in block.model_fields]
            blocks = [inner for annotation in annotations for inner in _blocks_in(annotation)]
    return list(dict.fromkeys(name for block in blocks for name in block.model_fields))


def _blocks_in(annotation: Any) -> Iterator[type[Settings]]:
    """Yield the blocks of settings that a type is, or is a collection or a union of."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, Settings):
            yield annotation
        return
    for inner in get_args(annotation):
        yield from _blocks_in(inner)
