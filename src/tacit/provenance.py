"""Where results come from: the code and the files that made them, written into each, compared by whoever reads one.

Snakemake remembers in `.snakemake/` with which settings and code a file was made. That memory can be deleted, copied
without, or overruled, and jobs start long after they were planned. So every file says itself what made it:

* `made_by`: pairs of program and fingerprint of its code, its own first, then those of all that it was made from;
* `inputs`: digests of the files that it was made from, in the order of the rule;

and every job compares, before it reads a file, settings, code and place with what is asked of it. Files of older code
are read only if the settings allow it, and are counted, so that figures can say so.

What a job is and what it reads is set once, when it begins (`tacit.jobs`); without a job, as in a notebook, nothing is
known and nothing is compared.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tacit.errors import UserError
from tacit.paths import axes_in, text_of

CODE_VARIABLE = "TACIT_CODE"
"""Environment variable with the fingerprint of each program when jobs were planned, as JSON; the workflow sets it."""
SHORTAGE_VARIABLE = "TACIT_SHORTAGE"
"""Environment variable with what the workflow found missing of images that runs learn from."""

Asked = Sequence[tuple[Mapping[str, str | None], Mapping[str, Any]]]
"""Pairs of axes and settings: a file in whose path all these axes have these values (None: the axis is not there) must
have these settings, of which others may be left out. The first pair that fits a path counts."""

AskedOf = Mapping[str, Asked]
"""The same of several tables that differ in what is asked of their runs, by path."""

Collected = Mapping[str, Any]
"""Which runs a table must be of: `runs`, their paths (or by path of the table), of which it may lack some if
`partial`."""

_SHOWN = 3


class ProvenanceError(UserError):
    """A file was not made as it is asked for."""


Made = tuple[tuple[str, str], ...]
"""Pairs of program (`program`) and fingerprint."""


class Description(NamedTuple):
    """What a file says of itself."""

    settings: Mapping[str, Any]
    made_by: Made
    digest: str
    runs: tuple[tuple[Made, int], ...]
    """What made the runs in it, with their numbers: a file is one itself, a table is collected from many."""
    asked: Asked | None = None
    """What was asked of the files from which a table was collected."""
    collected: tuple[str, ...] = ()
    """Paths of these files."""


class Origin(NamedTuple):
    """What the present job is, and what it reads."""

    made_by: Made = ()
    inputs: tuple[str, ...] = ()
    """Digests."""
    runs: tuple[tuple[Made, int], ...] = ()
    """The runs in the descriptions of its inputs, together."""
    older: int = 0
    """Number of these runs that older code made, as the settings allow."""
    asked: Asked = ()
    """What was asked of the inputs."""
    paths: tuple[str, ...] = ()
    """Paths of the inputs."""
    missing: int = 0
    """Runs that are asked for, and that the tables among the inputs lack, as the settings allow."""


_origin = Origin()


def begin(origin: Origin) -> None:
    """Let this process be a job with this origin."""
    global _origin
    _origin = origin


def origin() -> Origin:
    """Return what the present job is; nothing, if there is none."""
    return _origin


def identity() -> dict[str, Any]:
    """Return what the state of the present job depends on besides settings: its code, and the content of its inputs."""
    return {"code": _origin.made_by[0][1], "inputs": list(_origin.inputs)} if _origin.made_by else {}


def attributes() -> dict[str, str]:
    """Return the attributes of a file that the present job writes."""
    if not _origin.made_by:
        return {}
    return {"made_by": json.dumps(_origin.made_by), "inputs": json.dumps(_origin.inputs)}


def program(script: str, uses: str = "") -> str:
    """Return what a job runs: the name of its script, and what of Tacit the script is told to use, if anything."""
    return f"{script} {uses}".rstrip()


def planned_code() -> dict[str, str]:
    """Return the fingerprint of each program when jobs were planned."""
    return json.loads(os.environ.get(CODE_VARIABLE, "{}"))


def gather(
    program: str,
    code: str,
    files: Mapping[str | Path, Description],
    *,
    asked: Asked | AskedOf,
    accept_older: bool | None,
    parts: bool = False,
    collected: Collected | None = None,
) -> Origin:
    """Compare files that a job is to read with what is asked; return its origin.

    `accept_older` is None where it is no choice. With `parts` the files are one content, however it is divided, so what
    is made of it does not name them. Tables must be of the runs in `collected`.

    Raises ProvenanceError with the files that are not what they should be.
    """
    planned = planned_code()

    def outdated(made_by: Made) -> list[str]:
        return [name for name, made in made_by if planned and planned.get(name) != made]

    wrong = {
        path: "; ".join(_complaints(path, file, asked[str(path)] if isinstance(asked, Mapping) else asked))
        for path, file in files.items()
    }
    wrong = {path: complaint for path, complaint in wrong.items() if complaint}
    of_others = {} if wrong or collected is None else _of_other_runs(files, collected)
    old = {
        path: f"made by other code of {outdated(file.made_by)[0]}"
        for path, file in files.items()
        if outdated(file.made_by)
    }
    refused = wrong or of_others or ({} if accept_older else old)
    if refused:
        made = [made for path in refused for made, _ in files[path].runs]
        # Tables by their path, as the script that collects them serves many rules.
        again = set(map(str, of_others)) or {Path(programs[0][0]).stem for programs in made if programs}
        may_accept = refused is old and accept_older is not None
        raise ProvenanceError(_refusal(refused, again, may_accept=may_accept))
    made_by, runs = {(program, code): None}, Counter[Made]()
    for file in files.values():
        made_by |= dict.fromkeys(file.made_by)
        runs.update(dict(file.runs))
    older = sum(count for made, count in runs.items() if outdated(made))
    digests = () if parts else tuple(file.digest for file in files.values())
    there = {path for file in files.values() for path in file.collected}
    missing = len(_runs_in(collected) - there) if collected else 0
    return Origin(tuple(made_by), digests, tuple(runs.items()), older, said(asked), tuple(map(str, files)), missing)


def said(asked: Asked | AskedOf) -> Asked:
    """Return what a table says was asked of what it is made from."""
    return pairs_of(asked) if isinstance(asked, Mapping) else asked


def pairs_of(asked: AskedOf) -> Asked:
    """Return what is asked of several tables as what is asked of the table that they are gathered in."""
    return [({"table": path}, {"asked": [list(pair) for pair in pairs]}) for path, pairs in asked.items()]


def _runs_in(collected: Collected) -> set[str]:
    runs = collected["runs"]
    return set().union(*runs.values()) if isinstance(runs, Mapping) else set(runs)


def _refusal(wrong: Mapping[str | Path, str], again: set[str], *, may_accept: bool) -> str:
    shown = "".join(f"\n  {path}: {complaint}" for path, complaint in list(wrong.items())[:_SHOWN])
    more = f"\n  and {len(wrong) - _SHOWN} more files" if len(wrong) > _SHOWN else ""
    forced = f", or add --forcerun {' '.join(sorted(again))} (after the target)" if again else ""
    shortage = os.environ.get(SHORTAGE_VARIABLE, "")
    lacking = f"\nRuns that learn from images were not made again, as these are missing: {shortage}" if shortage else ""
    accept = "; accept_older_code: true takes them as they are, and the figure says so" if may_accept else ""
    return (
        f"made otherwise than is asked now:{shown}{more}{lacking}\nSnakemake has no record of that, or was told to "
        f"overlook it. To make them again, delete them and call again{forced}{accept}"
    )


def _of_other_runs(files: Mapping[str | Path, Description], collected: Collected) -> dict[str | Path, str]:
    """Return what is wrong with tables that are not of the runs that are asked for."""
    wrong, runs = {}, collected["runs"]
    for path, file in files.items():
        if file.asked is None:
            continue
        asked = set(runs[str(path)] if isinstance(runs, Mapping) else runs)
        strange, missing = sorted(set(file.collected) - asked), sorted(asked - set(file.collected))
        if strange:
            wrong[path] = f"collected from {len(strange)} runs that are not asked for, such as {strange[0]}"
        elif missing and not collected["partial"]:
            wrong[path] = (
                f"collected without {len(missing)} of {len(asked)} runs that are asked for, such as {missing[0]}"
            )
    return wrong


def _complaints(path: str | Path, file: Description, asked: Asked) -> list[str]:
    """Return what is wrong with a file, the first few of many."""
    axes = axes_in(path)
    if file.asked is not None:
        found = list(_differences(_as_settings(asked), _as_settings(file.asked)))
        made = "collected from runs with"
    else:
        for axis, value in axes.items():
            own = _setting(file.settings, axis)
            if own is not None and text_of(own) != value:
                return [f"holds {axis} {text_of(own)}; was it copied or renamed?"]
        fitting = (settings for where, settings in asked if all(axes.get(axis) == own for axis, own in where.items()))
        found = list(_differences(next(fitting, {}), file.settings))
        made = "made with"
    more = [f"and {len(found) - _SHOWN} settings more"] if len(found) > _SHOWN else []
    return [f"{made} {found[0]}", *found[1:_SHOWN], *more] if found else []


def _as_settings(asked: Asked) -> dict[str, Any]:
    """Return what is asked as one block, whose names say of which files."""
    return {" ".join(f"{axis} {value}" for axis, value in where.items()): settings for where, settings in asked}


def _differences(asked: Mapping[str, Any], found: Mapping[str, Any], within: str = "") -> Iterator[str]:
    for name, value in asked.items():
        key, own = f"{within}{name}", found.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            yield from _differences(value, own, f"{key}." if name else within)
        elif own != value:
            yield f"{key} = {json.dumps(own)}, asked is {json.dumps(value)}"


def _setting(settings: Mapping[str, Any], axis: str) -> Any:
    """Return the number or text that the settings of a file give to an axis: their own, or that of their only block.

    The axis `train` may stand for `num_train`.
    """
    own = axis in settings or f"num_{axis}" in settings
    blocks = [settings] if own else [value for value in settings.values() if isinstance(value, Mapping)]
    found = [block[name] for block in blocks for name in (axis, f"num_{axis}") if name in block]
    return found[0] if len(found) == 1 and isinstance(found[0], bool | int | float | str) else None


def asked_from(plain: Iterable[Sequence[Any]] | Mapping[str, Iterable[Sequence[Any]]]) -> Asked | AskedOf:
    """Return what is asked, of all files or of each by its path, as parameters of rules hold it."""
    if isinstance(plain, Mapping):
        return {path: asked_pairs(pairs) for path, pairs in plain.items()}
    return asked_pairs(plain)


def asked_pairs(plain: Iterable[Sequence[Any]]) -> Asked:
    """Return what is asked of all files, as parameters of rules and descriptions of tables hold it."""
    return [(dict(where), dict(settings)) for where, settings in plain]
