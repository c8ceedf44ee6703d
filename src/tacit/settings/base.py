"""What all settings have in common, and how mistakes in them are reported.

Settings are immutable, know their keys, and convert nothing silently: text is not a number, 3.5 is not a count, and an
unknown key is an error. Importing this package imports no torch, so that planning a workflow stays quick.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tacit.errors import UserError

Count = Annotated[int, Field(ge=1)]
"""A whole number, at least 1."""

NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _check_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each value may be given once")
    return values


Distinct = AfterValidator(_check_distinct)
"""Of a collection: each value may be given once."""


def _check_folder(path: str) -> str:
    if not re.fullmatch(r"[\w /.~+,:@=-]+", path):
        raise ValueError(
            "may hold letters, digits, blanks and / . ~ + , : @ = _ - alone, as jobs on a cluster repeat it"
        )
    return path


Folder = Annotated[str, AfterValidator(_check_folder)]
"""The name of a folder, of letters that mean nothing to a shell: Snakemake hands settings on to jobs through one."""


def digest(plain: Any) -> str:
    """Return a short name of exactly these plain values, for file names."""
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=5).hexdigest()


class SettingsError(UserError):
    """One message that names file, key and value of each mistake, and what is allowed."""


class Settings(BaseModel):
    """Base of every block of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def plain(self) -> dict[str, Any]:
        """Return the block as nested dicts, lists, numbers and text, keys in the order of the model."""
        return self.model_dump(mode="json")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, source: str = "settings") -> Self:
        """Return the checked block; raises SettingsError, in which `source` says where `values` came from."""
        return parse(cls, values, source_of=lambda path: source)


def parse(model: type[Settings], values: Mapping[str, Any], *, source_of) -> Any:
    """Check `values` against `model`. `source_of(path)` names the file that the key at `path` came from."""
    try:
        # Through JSON, because there a list may strictly become a tuple.
        return model.model_validate_json(json.dumps(values, allow_nan=True))
    except ValidationError as error:
        lines = [_describe(model, problem, source_of) for problem in error.errors(include_url=False)]
    except TypeError as error:
        lines = [f"settings must be numbers, text, lists and blocks: {error}"]
    raise SettingsError("\n".join(lines))


def _describe(model: type[Settings], problem: Mapping[str, Any], source_of) -> str:
    path = tuple(problem["loc"])
    key = ".".join(str(part) for part in path) or "(top level)"
    where = f"{source_of(path)}: {key}"
    value = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key; {suggest(str(path[-1]), _keys_at(model, path[:-1]))}"
        case "missing":
            return f"{where}: missing; every key of a scale must be given"
        case "value_error":
            return f"{where} = {_short(value)}: {problem['ctx']['error']}"
        case _:
            return f"{where} = {_short(value)}: {problem['msg'].lower()}{_hint(value)}"


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Return a hint: the closest allowed word if one is close, and all of them."""
    allowed = list(allowed)
    close = difflib.get_close_matches(word, allowed, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def _hint(value: Any) -> str:
    """Return advice on text that was meant as a number: YAML wants a point in numbers with an exponent."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return ""
    return "" if number is None else f"; write it as {number}, without quotes"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(model: type[Settings], path: tuple) -> list[str]:
    """Return the keys allowed in the block at `path`."""
    for part in path:
        annotation = model.model_fields[part].annotation
        blocks = [annotation, *get_args(annotation)]
        model = next(block for block in blocks if isinstance(block, type) and issubclass(block, Settings))
    return list(model.model_fields)
