"""What is in a file of Tacit, in a screen: what it is, its settings and code, what is recorded, the last values."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tacit import store
from tacit.studies import recorded

_INDENT = "  "
_MOST_TEXT = 3
"""Lines of a text that are shown."""


def describe(path: str | Path, *, width: int = 100) -> str:
    """Return what the file at `path` holds, in lines of at most `width` letters; raises StoreError."""
    contents = store.contents(path)
    lines = [str(path), f"{contents.kind}, {Path(path).stat().st_size:,} bytes, digest {contents.digest[:12]}"]
    lines += _wrapped("code", _code(contents.attributes), width)
    if said := contents.attributes.get("computed_on"):
        lines += _wrapped("computed on", [str(said)], width)
    versions = [f"{name[8:]} {value}" for name, value in contents.attributes.items() if name.startswith("version_")]
    lines += _wrapped("versions", versions, width)
    lines += ["", "settings", *_settings(contents.settings, width)]
    numbers = {name: value for name, value in contents.attributes.items() if not isinstance(value, str)}
    if numbers:
        found = [f"{name} {_number(value)}" for name, value in numbers.items()]
        lines += ["", *_wrapped("numbers", found, width)]
    return "\n".join([*lines, "", "recorded", *_recorded(path, contents, width)])


def _code(attributes: Mapping[str, Any]) -> list[str]:
    """Return the programs that made a file, its own first, with their fingerprints."""
    made = json.loads(attributes.get("made_by", "[]"))
    return [f"{program} {code}" for program, code in made] or ["made by no job of the workflow"]


def _wrapped(word: str, parts: list[str], width: int) -> list[str]:
    text = f"{word}: {', '.join(parts)}"
    return textwrap.wrap(text, width, subsequent_indent=_INDENT, break_on_hyphens=False) if parts else []


def _settings(settings: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield single settings together, then a line (wrapped) for each block."""
    single = [f"{name} {_plain(value)}" for name, value in settings.items() if not isinstance(value, Mapping)]
    for text in [", ".join(single), *(f"{name}: {_block(value)}" for name, value in _blocks(settings))]:
        yield from textwrap.wrap(
            text, width, initial_indent=_INDENT, subsequent_indent=2 * _INDENT, break_on_hyphens=False
        )


def _blocks(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((name, value) for name, value in settings.items() if isinstance(value, Mapping))


def _block(block: Mapping[str, Any]) -> str:
    parts = []
    for name, value in block.items():
        parts.append(f"{name} ({_block(value)})" if isinstance(value, Mapping) else f"{name} {_plain(value)}")
    return ", ".join(parts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _Row(NamedTuple):
    """A line of the table of what is recorded."""

    name: str
    shape: str
    values: str


def _recorded(path: str | Path, contents: store.Contents, width: int) -> Iterator[str]:
    """Yield a line for each array, and one for many that a pattern declares alike, such as weights."""
    kind = recorded.kinds().get(contents.kind)
    if kind is None:
        rows = [_Row(name, _shape(shape), str(dtype)) for name, (dtype, shape) in contents.arrays.items()]
    else:
        rows = list(_rows(path, contents, kind))
    names, shapes = max((len(row.name) for row in rows), default=0), max((len(row.shape) for row in rows), default=0)
    for row in rows:
        line = f"{_INDENT}{row.name:{names}}  {row.shape:{shapes}}  {row.values}".rstrip()
        yield line if len(line) <= width else f"{line[: width - 3]}..."


def _rows(path: str | Path, contents: store.Contents, kind: store.Kind) -> Iterator[_Row]:
    families: dict[str, list[str]] = {}
    for name, (dtype, shape) in contents.arrays.items():
        declared = kind.of(name)
        if declared is None or name in kind.arrays or recorded.is_quantity(name, dtype, shape, declared):
            families[name] = [name]
        else:
            families.setdefault(re.sub(r"[^*]*$", "", _pattern(kind, name)), []).append(name)
    alone = [names[0] for names in families.values() if len(names) == 1]
    small = [name for name in alone if 0 < math.prod(contents.arrays[name][1]) <= recorded.MOST_NUMBERS]
    values = store.read(path, kind=kind, names=small).arrays
    for family, names in families.items():
        dtype, shape = contents.arrays[names[0]]
        declared = kind.of(names[0])
        if len(names) > 1:
            count = sum(math.prod(contents.arrays[name][1]) for name in names)
            yield _Row(f"{family} ({len(names)})", "", f"{count:,} numbers together")
        elif declared is None or names[0] not in values:
            yield _Row(family, _shape(shape), str(dtype))
        else:
            axes = recorded.axes_of(declared, len(shape))
            yield _Row(names[0], _shape(shape, axes), _said(names[0], values[names[0]], declared, axes))


def _pattern(kind: store.Kind, name: str) -> str:
    return next((pattern for pattern in kind.arrays if "*" in pattern and name.startswith(pattern.split("*")[0])), name)


def _shape(shape: tuple[int, ...], axes: tuple[str, ...] = ()) -> str:
    """Return lengths with the names of the axes: 150 epochs x 10."""
    names = axes or ("",) * len(shape)
    return " x ".join(f"{length} {name}".rstrip() for length, name in zip(shape, names, strict=True))


def _said(name: str, values: np.ndarray, declared: store.Array, axes: tuple[str, ...]) -> str:
    """Return what can be said of values in a line: of a series its ends, of others the extremes; or text."""
    if declared.shape == "*" and values.dtype == np.uint8:
        lines = bytes(values).decode("utf-8", "replace").splitlines()
        more = " ..." if len(lines) > _MOST_TEXT else ""
        return f"{len(lines):,} lines: {' / '.join(lines[:_MOST_TEXT])}{more}"
    if values.ndim == 0:
        return _number(values.item())
    if name.endswith("_correct"):
        return f"{100 * values.reshape(-1, values.shape[-1])[-1].mean():.4g} % at the end"
    if not np.isfinite(values).any():
        return "not one finite number"
    least, greatest = _number(np.nanmin(values)), _number(np.nanmax(values))
    if values.ndim > 1:
        final = ", ".join(map(_number, values[-1].ravel()[:4]))
        more = ", ..." if values[-1].size > 4 else ""
        is_series = values.ndim == 2 and values.dtype.kind == "f" and axes[0]
        return f"{least} to {greatest}{f'; at the end {final}{more}' if is_series else ''}"
    first, last = _number(values[0]), _number(values[-1])
    said = f"{first} -> {last}"
    said += f", least {least}" if least not in (first, last) else ""
    return said + (f", greatest {greatest}" if greatest not in (first, last) else "")


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | np.integer) else f"{value:.4g}"
