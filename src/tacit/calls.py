"""What is wrong with a call of the workflow, found before anything is planned.

Snakemake takes some calls otherwise than they are meant, without a word, and says of a target that does not exist only
that. These functions say what was meant. They know of the workflow what they are told.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tacit import paths
from tacit.errors import UserError
from tacit.paths import Axes
from tacit.settings import yaml_files

OWNER = ".folder"
"""In `results/`: the folder of the workflow that it belongs to."""

MOST_CANDIDATES = 3000
"""Names that a mistaken one is held against; comparing takes a millisecond for each."""


class CallError(UserError):
    """Says what is wrong with a call, and how to make it."""


def check_given_once(arguments: Sequence[str], profile: Mapping[str, object] | None = None) -> None:
    """Raise CallError if `--config` or `--configfile` is given twice: Snakemake keeps the last of them alone.

    `arguments` are those of the command line; `profile` holds those of a profile, which it forgets as well.
    """
    for names, short in ((("config",), "-C"), (("configfile", "configfiles"), None)):
        long = tuple(f"--{name}" for name in names)
        places = _places(arguments, long, short)
        if len(places) > 1:
            lost = " ".join(arguments[places[0] + 1 : places[1]]) or arguments[places[0]]
            raise CallError(
                f"{long[0]} is given twice, of which Snakemake takes the last alone and forgets {lost}; "
                f"write all values behind one:  {long[0]} {_values(arguments, places)}"
            )
        if places and profile and (kept := next((name for name in names if name in profile), None)):
            raise CallError(
                f"{long[0]} is given, and {kept} in the profile as well, of which Snakemake forgets the latter "
                f"({profile[kept]}); repeat on the command line what is to hold, and leave it out of the profile"
            )


def check_named_once(arguments: Sequence[str]) -> None:
    """Raise CallError if values behind one `--config` name a setting twice: Snakemake keeps the last alone.

    Raises SettingsError if a block or list among them is not read as the settings of a file would be.
    """
    seen: dict[str, str] = {}
    for place in _places(arguments, ("--config",), "-C"):
        word = arguments[place]
        attached = word.partition("=")[2] if word.startswith("--") else word.removeprefix("-C")
        for value in [*([attached] if attached else []), *_behind(arguments, place)]:
            name, _, text = value.partition("=")
            if name in seen:
                raise CallError(
                    f"{name} is named twice behind --config, of which Snakemake takes the last alone and forgets "
                    f"{seen[name]}; name it once, a block with all its keys:  --config '{name}={{key: ..., key: ...}}'"
                )
            seen[name] = value
            if text.startswith(("{", "[")):
                yaml_files.parse(f"{name}: {text}", "--config")


def _places(arguments: Sequence[str], long: Sequence[str], short: str | None) -> list[int]:
    """Return where an option stands, by one of its long names or its short one."""
    return [
        place
        for place, word in enumerate(arguments)
        if word.partition("=")[0] in long or (short and word.startswith(short) and not word.startswith("--"))
    ]


def _behind(arguments: Sequence[str], place: int) -> list[str]:
    return list(itertools.takewhile(lambda word: not word.startswith("-"), arguments[place + 1 :]))


def _values(arguments: Sequence[str], places: Sequence[int]) -> str:
    words = [word for place in places for word in _behind(arguments, place)]
    return " ".join(f"'{word}'" if set(word) & set(" {}[]") else word for word in words)


def check_axes(path: str, kinds: Iterable[Axes]) -> None:
    """Raise CallError if `path` has an axis~value that files of these `kinds` write otherwise.

    So `coefficient~1.0` does not train a second copy of `coefficient~1`.
    """
    right = paths.proper(path, kinds)
    if right != path:
        wrong, written = next(
            pair for pair in zip(path.split("/"), right.split("/"), strict=True) if pair[0] != pair[1]
        )
        raise CallError(f"{path}: {wrong} is written {written}, as each value has one name; ask for {right}")


def no_such_target(target: str, names: Iterable[str], *, scale: str, scales: Iterable[str]) -> CallError:
    """Return what to say of a target that is neither a rule nor a file that a rule makes.

    `names` are those of rules and files that there are.
    """
    advice = []
    parts = target.split("/")
    others = [name for name in scales if name != scale]
    if len(parts) > 1 and parts[0] in ("results", "logs") and parts[1] in others:
        advice.append(f"it belongs to the scale {parts[1]}, and the scale is {scale}: add  --config scale={parts[1]}")
        parts[1] = scale
    elif len(parts) > 2 and parts[:2] == ["results", "data"]:
        advice.append("data are named by the settings they are made with, and these are others")
    elif Path(target).is_absolute():
        advice.append("targets are named relative to the folder of results")
    if close := nearest("/".join(parts), names):
        advice.append(f"the nearest that there is: {close}")
    return CallError(f"{target}: there is no such target; {'; '.join(advice) or 'see  snakemake --list-target-rules'}")


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name most like `word`, if one is like it."""
    candidates = sorted(set(names), key=lambda name: (abs(len(name) - len(word)), name))[:MOST_CANDIDATES]
    return next(iter(difflib.get_close_matches(word[:1000], candidates, n=1)), None)


def check_owner(folder: str | Path, results: str | Path = "results") -> None:
    """Raise CallError if `results` belongs to the workflow in another folder, which has it by a link.

    Each folder has its own account of what is done, so of two that share results one takes those of the other for
    unfinished, and Snakemake deletes what a job under way is to make. Results that were moved or copied are no case.
    """
    results = Path(folder, results)
    try:
        owner = Path((results / OWNER).read_text(encoding="utf-8").strip())
        shared = owner != Path(folder).resolve() and Path(owner, "results").samefile(results)
    except (OSError, ValueError):
        return
    if shared:
        raise CallError(
            f"{results} is, by a link, also that of the workflow in {owner}, and two that share results delete what "
            f"the other is making: work in one of the folders, or give this one results of its own "
            f"(if {owner} is no longer used, delete {results / OWNER})"
        )


def take_possession(folder: str | Path, results: str | Path = "results") -> None:
    """Note in `results` that it belongs to the workflow in `folder`; where nothing can be written, nothing is noted."""
    results = Path(folder, results)
    mark, text = results / OWNER, f"{Path(folder).resolve()}\n"
    try:
        if not mark.exists() or mark.read_text(encoding="utf-8") != text:
            results.mkdir(parents=True, exist_ok=True)
            mark.write_text(text, encoding="utf-8")
    except (OSError, ValueError):
        return


def check_place(folder: str | Path) -> None:
    """Raise CallError if the workflow cannot work in `folder`: there it writes results, figures and logs."""
    folder = Path(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CallError(
            f"{folder} cannot be written to, where results, figures and logs would go; work elsewhere:  "
            "snakemake --directory FOLDER ..."
        )
    # Snakemake looks for its locks by a pattern of which this is the beginning. A plain name in braces matches itself.
    if set(re.sub(r"\{[A-Za-z_]\w*\}", "", str(folder))) & set("{}"):
        raise CallError(
            f"{folder} has braces in its name, in which Snakemake does not find its own locks; rename it, or work "
            "elsewhere:  snakemake --directory FOLDER ..."
        )
