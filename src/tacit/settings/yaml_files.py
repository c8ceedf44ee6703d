"""Settings as they are written: YAML, read in one way only, every mistake with its file and line.

YAML 1.1 gives some text a meaning that nobody wants here: `010` is 8, `1:30` is 90, `2024-01-01` a date, of two equal
keys the first is lost. Such text is refused with a word on how to write what was meant. A number is written as in
decimals, with or without a point and an exponent (`1e-5` is one, which YAML 1.1 takes for text), and is finite.
"""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tacit.settings.base import MOST_LEVELS, SettingsError

MOST_VALUES = 100_000
"""Values in one file, with what aliases repeat counted as often as it is repeated."""

MOST_BYTES = 2**20
"""The most bytes of a file."""

MOST_DIGITS = 30
"""The most digits of a number. No setting needs as many, and what is longer takes long to read."""

_TEXT, _MAP, _SEQUENCE = (f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))
_WORDS = {word: True for word in ("true", "yes", "on")} | {word: False for word in ("false", "no", "off")}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9]\d*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_REFUSED = {
    re.compile(r"[-+]?0\d[\d_]*(?:\.\d*)?", re.ASCII): "YAML reads numbers with leading zeros as octal; leave them out",
    re.compile(r"[-+]?0[xob][\da-f_]+", re.ASCII | re.IGNORECASE): "write the number in decimals",
    re.compile(r"[-+]?\d+(?::\d+)+(?:\.\d*)?", re.ASCII): "YAML reads this to base 60; write the number in decimals",
    re.compile(r"[-+]?\d[\d_]*_[\d_]*(?:\.\d*)?", re.ASCII): "write the number without underscores",
    re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.ASCII | re.IGNORECASE): "every number must be finite",
    re.compile(r"\d{4}-\d\d?-\d\d?(?:[Tt ].*)?", re.ASCII): "YAML reads this as a date, which no setting is",
}


class _Scanner(yaml.SafeLoader):
    """Gives all plain text as text: what it stands for is decided here and not by YAML 1.1."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def fetch_flow_collection_start(self, token_class: type) -> None:
        """Begin [ or {."""
        self._check_depth(self.flow_level)
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: int) -> bool:
        """Begin a block further to the right, if this is one."""
        self._check_depth(len(self.indents))
        return super().add_indent(column)

    def _check_depth(self, depth: int) -> None:
        # Here, because PyYAML takes seconds to find that it is lost in depth.
        if depth > MOST_LEVELS:
            raise yaml.scanner.ScannerError(None, None, "blocks and lists are nested too deep", self.get_mark())


def read(path: str | Path) -> dict[str, Any]:
    """Return the block of settings in the file at `path`; {} is an empty one, nothing at all is none.

    Raises SettingsError.
    """
    return copy.deepcopy(_parsed(_text(Path(path)), shown(path)))


def shown(path: str | Path) -> str:
    """Return `path` as it is named in messages: from where the user stands, if it is below."""
    path = Path(path)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@functools.lru_cache(maxsize=16)
def _parsed(text: str, file: str) -> dict[str, Any]:
    return parse(text, file)


def parse(text: str, file: str) -> dict[str, Any]:
    """Return the block of settings that `text` holds; `file` is named in errors. Raises SettingsError."""
    loader = _Scanner(_printable(text, file))
    try:
        node = loader.get_single_node()
        values = _Converter(file).value(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, file, text) from error
    finally:
        loader.dispose()
    if values is None:
        raise SettingsError(f"{file}: holds no settings, which Snakemake does not take; write {{}} if none are meant")
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: must hold one block of settings, a name and a colon before each value")
    return values


def scalar(text: str) -> bool | int | float | str | None:
    """Return what unquoted text stands for. Raises ValueError, saying how to write what was meant."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text in ("", "~") or text.lower() == "null":
        return None
    if _DECIMAL.fullmatch(text):
        if len(text) > MOST_DIGITS:
            raise ValueError(f"a number of more than {MOST_DIGITS} digits")
        number = int(text) if _WHOLE.fullmatch(text) else float(text)
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            raise ValueError(f"beyond all whole numbers that are meant here, which end at {2**63 - 1}")
        if not math.isfinite(number):
            raise ValueError("every number must be finite, and this is too large to be one")
        return number
    for pattern, advice in _REFUSED.items():
        if pattern.fullmatch(text):
            raise ValueError(advice)
    return text


class _Converter:
    """Makes plain values of the nodes of one file."""

    def __init__(self, file: str):
        self._file, self._count = file, 0

    def value(self, node: yaml.Node, above: tuple[yaml.Node, ...] = ()) -> Any:
        """Return what `node` holds; `above` are the nodes around it."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise self._error(node, f"more than {MOST_VALUES:,} values, counting what aliases repeat")
        if any(node is other for other in above):
            raise self._error(node, "an alias (*) within the very block it stands for, which would never end")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        known = _MAP if isinstance(node, yaml.MappingNode) else _SEQUENCE
        if node.tag != known:
            raise self._error(node, f"{node.tag}: tags are not used in settings; leave it out")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*above, node)) for item in node.value]
        return self._block(node, above)

    def _block(self, node: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[Hashable, int] = {}
        for key, value in node.value:
            name = self.value(key, (*above, node))
            if key.value == "<<" and getattr(key, "style", "'") is None:
                raise self._error(key, "<< is not used in settings; write the keys out")
            if not isinstance(name, str):
                raise self._error(key, f"the name of a setting must be text, not {name!r}")
            if name in lines:
                raise self._error(key, f"{name}: given twice, before in line {lines[name]}; leave one of them out")
            lines[name] = key.start_mark.line + 1
            values[name] = self.value(value, (*above, node))
        return values

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag != _TEXT:
            raise self._error(node, f"{node.tag}: tags are not used in settings; leave it out")
        if node.style is not None:
            return node.value
        try:
            return scalar(node.value)
        except ValueError as error:
            shown = node.value if len(node.value) <= 40 else node.value[:37] + "..."
            raise self._error(node, f"{shown}: {error}") from None

    def _error(self, node: yaml.Node, message: str) -> SettingsError:
        return SettingsError(f"{self._file}, line {node.start_mark.line + 1}: {message}")


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise SettingsError(f"{shown(path)}: is a folder, where a file of settings should be")
        if path.exists() and not path.is_file():
            raise SettingsError(f"{shown(path)}: is no regular file, which jobs could read again; write it to one")
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{shown(path)}: is larger than {MOST_BYTES:,} bytes, as no file of settings is")
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{shown(path)}: not readable: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise SettingsError(
            f"{shown(path)}, line {line}: not readable as YAML: not UTF-8 (byte 0x{byte:02x}); save it in this encoding"
        ) from None


def _printable(text: str, file: str) -> str:
    """Return `text`, in which there must be no control characters."""
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text[: found.start()].count("\n") + 1
        raise SettingsError(f"{file}, line {line}: not readable as YAML: the character {found.group()!r} is in it")
    return text


def _not_yaml(error: yaml.MarkedYAMLError, file: str, text: str) -> SettingsError:
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "no more is known"
    if mark is None:
        return SettingsError(f"{file}: not readable as YAML: {said}")
    lines = text.splitlines()
    written = lines[mark.line] if mark.line < len(lines) else ""
    advice = "; it has a tab, write blanks instead" if "\t" in written else ""
    return SettingsError(f"{file}, line {mark.line + 1}: not readable as YAML: {said}{advice}")
