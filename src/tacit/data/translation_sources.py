"""Where parallel text comes from: the published archive of IWSLT'14, or two plain files a split of a user's own.

Archives are read in place, and by the names that must be in them; nothing is unpacked, nothing is written. No more of a
file is taken than can be meant. Whatever is wrong ends in one message: which file, why, and what to do.

Of the archive no checksum was ever published. Gzip has one of its own, over all of the content; besides, all members
must be there, and the two sides of each must have as many lines.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from tacit import files
from tacit.data.own_files import complaint as complaint_of
from tacit.errors import UserError
from tacit.settings.corpora import SPLITS, ParallelText

log = logging.getLogger("tacit")

ARCHIVE = "de-en.tgz"
"""Name of the published archive."""

_BASE = "de-en"
_PAGE = "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz, as https://wit3.fbk.eu no longer has its own"
_MEMBER_BYTES, _USER_BYTES = 200_000_000, 2_000_000_000
"""More than any published file has, and more than is prepared in memory."""
_MOST_LETTERS = 20_000
"""Of a line; what is longer is no sentence, and takes the tokeniser minutes."""

_GZIP = b"\x1f\x8b"
"""How such a file begins."""

_LEFT_OUT = ("<url>", "<talkid>", "<keywords>")
_TAGS = re.compile(r"</?(?:title|description)>")
_SEGMENT = re.compile(r'<seg id="[0-9]*">\s*|\s*</seg>\s*')

Advance = Callable[[int], None]
"""Hears how many more pairs have been made words of."""

Begin = Callable[[int], Advance]
"""Hears how many pairs there are before the first."""


class TextSourceError(UserError):
    """The files of a corpus are missing, cannot be read, or are not what they should be."""


class Pair(NamedTuple):
    """Lines of source and target language, translations of each other."""

    source: list[str]
    target: list[str]


TEST_SETS = (
    "IWSLT14.TED.dev2010",
    "IWSLT14.TEDX.dev2012",
    "IWSLT14.TED.tst2010",
    "IWSLT14.TED.tst2011",
    "IWSLT14.TED.tst2012",
)
"""Published test sets, in the order in which they make up the test split."""


# The archive.


def archive_shortage(folder: str | Path) -> str | None:
    """Say that the archive is not in `folder`, or cannot be read, and what to do; None if it is there."""
    path = Path(folder) / ARCHIVE
    complaint = complaint_of(path)
    if complaint is None:
        with path.open("rb") as file:
            # What else is wrong with its content is found when it is read.
            complaint = (
                None if file.read(2) == _GZIP else "is not compressed by gzip; damaged or not the published file"
            )
    return None if complaint is None else _archive_advice(path, complaint)


def read_archive(folder: str | Path, languages: tuple[str, str]) -> tuple[Pair, Pair]:
    """Return the training lines of the archive in `folder`, without tags, and the test lines, as they are.

    `languages` are source and target. Of training lines those that are no speech are left out, before the two sides
    are compared. Raises TextSourceError if the archive is missing, damaged, incomplete or another one, or if it cannot
    be read now.
    """
    path = Path(folder) / ARCHIVE
    if complaint := archive_shortage(folder):
        raise TextSourceError(complaint)
    try:
        members = _members(path, languages)
        train = Pair(*([spoken(line) for line in lines if not is_tag(line)] for lines in members["train"]))
        _check_equal(members["train"], train, f"{_BASE}/train.tags.{_BASE}")
        test = Pair([], [])
        for name in TEST_SETS:
            sides = [[segment(line) for line in lines if "<seg id" in line] for lines in members[name]]
            if not sides[0] or len(sides[0]) != len(sides[1]):
                counts = " and ".join(f"{len(side):,}" for side in sides)
                raise _Odd(f"{_test_member(name, languages[0])} and {languages[1]}: have {counts} sentences")
            for found, lines in zip(sides, test, strict=True):
                lines += found
            log.info("%s: %d sentences", name, len(sides[0]))
    except _Odd as error:
        raise TextSourceError(_archive_advice(path, f"{error}; damaged or not the published file")) from error
    return train, test


class _Odd(Exception):
    """The content of an archive is not what it should be; the message says where and why."""


def is_tag(line: str) -> bool:
    """Tell whether a training line is the address, number or keywords of a talk, and no speech."""
    return any(tag in line for tag in _LEFT_OUT)


def spoken(line: str) -> str:
    """Return a training line without the tags of titles and descriptions, which are kept as sentences."""
    return _TAGS.sub("", line)


def segment(line: str) -> str:
    """Return the sentence of a line of a test set, its typographic apostrophes plain."""
    return _SEGMENT.sub("", line).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _members(path: Path, languages: tuple[str, str]) -> dict[str, tuple[list[str], list[str]]]:
    """Return the lines of each pair of members, by what the pair is; raises _Odd or TextSourceError."""
    wanted = {f"{_BASE}/train.tags.{_BASE}.{language}": ("train", language) for language in languages}
    wanted |= {_test_member(name, language): (name, language) for name in TEST_SETS for language in languages}
    found: dict[tuple[str, str], list[str]] = {}
    with _reading(path), gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name not in wanted:
                continue
            if not member.isreg():
                raise _Odd(f"{name}: is a link, a folder or a device")
            if wanted[name] in found:
                raise _Odd(f"{name}: is in it twice")
            found[wanted[name]] = _lines(_whole(tar.extractfile(member), _MEMBER_BYTES, name), name)
        # To the end, where the checksum is; behind an archive come a few zeros.
        if len(packed.read(_MEMBER_BYTES)) == _MEMBER_BYTES:
            raise _Odd("goes on behind the archive that is in it")
    if missing := [name for name, key in wanted.items() if key not in found]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise _Odd(f"{missing[0]}{more}: not in it")
    first, second = languages
    return {name: (found[name, first], found[name, second]) for name in ("train", *TEST_SETS)}


def _test_member(name: str, language: str) -> str:
    return f"{_BASE}/{name}.{_BASE}.{language}.xml"


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what is wrong with an archive from what keeps it from being read."""
    try:
        yield
    except (_Odd, UserError, MemoryError):
        raise
    except Exception as error:
        # Errors of the libraries about content have no number.
        if isinstance(error, OSError) and error.errno is not None:
            raise TextSourceError(files.reading_failed(path, error)) from error
        raise _Odd(f"no whole tar archive compressed by gzip ({error or type(error).__name__})") from error


def _check_equal(raw: tuple[list[str], list[str]], spoken_lines: Pair, name: str) -> None:
    if len(spoken_lines.source) != len(spoken_lines.target):
        counts = " and ".join(f"{len(lines):,}" for lines in spoken_lines)
        raise _Odd(f"{name}: the two languages have {counts} lines")
    if not spoken_lines.source:
        raise _Odd(f"{name}: of {len(raw[0]):,} lines none is speech")


def _archive_advice(path: Path, complaint: str) -> str:
    return (
        f"{path}: {complaint}.\nIt is the archive of the German-English talks of IWSLT'14, 2014-01: fetch it from "
        f"{_PAGE}, and put it there, or set texts_folder in config/config.yaml to where it is."
    )


# A user's own text.


def own_shortage(settings: ParallelText, *, root: str | Path = ".") -> str | None:
    """Say which of a user's own files are not there or cannot be read; None if all can."""
    complaints = [
        f"  {path}: {complaint}"
        for path in own_files(settings, root=root)
        if (complaint := complaint_of(path)) is not None
    ]
    if not complaints:
        return None
    listed = "\n".join(complaints)
    source, target = settings.languages
    return (
        f"The text in {settings.folder} is not complete:\n{listed}\nA corpus is two plain UTF-8 files for each of "
        f"{', '.join(SPLITS)}, one sentence a line, each line of one the translation of the same line of the other. "
        f"Put them there ({source} and {target} at the ends of their names), or name them: train_files: [..., ...]."
    )


def own_files(settings: ParallelText, *, root: str | Path = ".") -> list[Path]:
    """Return the paths of all files of a user's own corpus; a relative folder is one in `root`."""
    folder = Path(root) / Path(settings.folder or "").expanduser()
    return [folder / name for split in SPLITS for name in settings.files(split)]


def read_own(settings: ParallelText, *, root: str | Path = ".") -> dict[str, Pair]:
    """Return the lines of a user's own text, by split.

    Raises TextSourceError if a file is missing, cannot be read, is no UTF-8 or has a line too long to be a sentence, or
    if the two of a split have different numbers of lines, or none.
    """
    if complaint := own_shortage(settings, root=root):
        raise TextSourceError(complaint)
    paths = own_files(settings, root=root)
    found = {}
    for split, first, second in zip(SPLITS, paths[::2], paths[1::2], strict=True):
        pair = Pair(_own_lines(first), _own_lines(second))
        if len(pair.source) != len(pair.target):
            raise TextSourceError(
                f"{first} has {len(pair.source):,} lines and {second} {len(pair.target):,}, but each line of one must "
                f"be the translation of the same line of the other"
            )
        if not pair.source:
            raise TextSourceError(f"{first} and {second}: are empty; they must hold a sentence a line")
        found[split] = pair
    return found


def _own_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = _whole(file, _USER_BYTES, str(path))
    except (OSError, MemoryError) as error:
        raise TextSourceError(files.reading_failed(path, error)) from error
    except _Odd as error:
        raise TextSourceError(str(error)) from error
    return lines_in(content, str(path))


def lines_in(content: bytes, name: str) -> list[str]:
    """Return the lines of a user's own text, called `name`; raises TextSourceError if it is none in UTF-8."""
    try:
        return _lines(content, name)
    except _Odd as error:
        raise TextSourceError(f"{error}; write one sentence a line, in UTF-8") from error


# Both.


def _whole(file: IO[bytes] | None, most: int, name: str) -> bytes:
    if file is None:
        raise _Odd(f"{name}: is a link, a folder or a device")
    content = file.read(most + 1)
    if len(content) > most:
        raise _Odd(f"{name}: has more than {most:,} bytes")
    return content


def _lines(content: bytes, name: str) -> list[str]:
    """Return the lines of a file in UTF-8; only line feeds end lines, as other signs that may do are in sentences."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise _Odd(f"{name}: line {number:,} is no UTF-8 (byte {content[error.start]:#x})") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            raise _Odd(f"{name}: line {number:,} has a carriage return inside, as files have whose lines end in those")
        if len(line) > _MOST_LETTERS:
            raise _Odd(f"{name}: line {number:,} has {len(line):,} letters, more than a sentence can have")
    return lines
