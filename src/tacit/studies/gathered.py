"""The numbers of a figure of any runs: what they recorded, gathered in lines as a user describes them.

Also the description of a figure of all that one run recorded. The table of numbers has a row for each point.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import paths
from tacit.settings.run_figures import Panel, RunFigure
from tacit.studies import recorded
from tacit.studies.recorded import LookingError, Quantity, Run
from tacit.studies.tables import interval

COLUMNS = ["panel", "quantity", "component", "line", "run", "x", "value", "low", "high", "seeds"]
"""Of the table of numbers; between line and run stand the settings that tell lines apart."""

MOST_COMPONENTS = 200
"""Lines of one quantity, of which more are asked for as their mean or the first few."""

_METRICS_COLUMNS = 4
_TITLE = 21
"""Letters of a line of a title above a panel of these."""


class Drawn(NamedTuple):
    """What a panel shows."""

    numbers: pd.DataFrame
    x: str
    """What x is called."""
    points: bool
    """Whether there is one value a run, and no curve."""
    averaged: bool
    """Whether lines are of several runs."""


def find(patterns: Iterable[str]) -> list[str]:
    """Return the paths that names or patterns stand for, each once; raises LookingError if one stands for none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.exists() or not set("*?[") & set(pattern):
            found[pattern] = None
            continue
        base = Path(path.anchor) if path.is_absolute() else Path()
        there = sorted(map(str, base.glob(str(path.relative_to(path.anchor)) if path.is_absolute() else pattern)))
        if not there:
            raise LookingError(f"{pattern}: there is no such file")
        found |= dict.fromkeys(there)
    return list(found)


class Gathered(NamedTuple):
    """What a figure shows."""

    panels: list[Drawn]
    digests: list[str]
    """Of the files that it is of, each once."""


def gather(figure: RunFigure) -> Gathered:
    """Return what a figure shows. Raises StoreError, or LookingError if runs do not have what is asked of them."""
    known: dict[str, Run] = {}
    found = []
    for panel in figure.panels:
        files = find(panel.runs)
        for path in files:
            if path not in known:
                known[path] = recorded.read(path)
        found.append(gather_panel(panel, [known[path] for path in files]))
    return Gathered(found, [run.digest for run in known.values()])


def gather_panel(panel: Panel, runs: Sequence[Run]) -> Drawn:
    """Return what one panel shows of `runs`."""
    names = list(dict.fromkeys(name for pattern in panel.y for name in recorded.matching(runs[0], pattern)))
    for run in runs:
        for name in names:
            recorded.quantity(run, name)
    by_run = panel.x is not None and _is_of_run(runs[0], panel.x, recorded.quantity(runs[0], names[0]))
    curves = [curve for run in runs for name in names for curve in (_point if by_run else _curves)(panel, run, name)]
    by = _told_apart(panel, runs, with_x=by_run)
    each = panel.spread == "each" or not all(curve.shared for curve in curves)
    rows: dict[tuple[Any, ...], list[_Curve]] = {}
    for curve in curves:
        key = tuple(_said(curve.run, name) for name in by)
        rows.setdefault((curve.quantity, curve.component, key), []).append(curve)
    several = len({curve.quantity for curve in curves}) > 1
    components = list(dict.fromkeys(curve.component for curve in curves))
    # By quantity, then settings, numbers among them by size, then component.
    order = sorted(rows, key=lambda row: (names.index(row[0]), [*map(_rank, row[2])], components.index(row[1])))
    parts = []
    for (quantity, component, key), own in ((row, rows[row]) for row in order):
        said = [quantity.replace("_", " ")] if several else []
        said += [component] if component else []
        said += [f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in zip(by, key, strict=True)]
        fixed = {
            "quantity": quantity,
            "component": component,
            "line": ", ".join(said),
            **dict(zip(by, key, strict=True)),
        }
        if each and not by_run:
            parts += [pd.DataFrame({**fixed, "run": curve.run.path, "x": curve.x, "value": curve.y}) for curve in own]
            continue
        if not each:
            _check_alike(panel, own, by, by_run=by_run)
        parts.append(_together(panel, own, by_run=by_run, each=each).assign(**fixed))
    if not parts or not any(len(part) for part in parts):
        raise LookingError(f"nothing is left to draw of {', '.join(names)}; see start, stop and least_loss")
    table = pd.concat(parts, ignore_index=True)
    numbers = table.reindex(columns=[*COLUMNS[1:4], *by, *COLUMNS[4:]])
    return Drawn(numbers, curves[0].label, by_run, bool((numbers["seeds"] > 1).any()))


class _Curve(NamedTuple):
    """One component of one quantity of one run."""

    run: Run
    quantity: str
    component: str
    x: np.ndarray
    y: np.ndarray
    label: str
    shared: bool


def _is_of_run(run: Run, x: str, what: Quantity) -> bool:
    """Tell whether each run has one x: a number of its own, or a setting that nothing recorded has the name of."""
    if x in run.quantities:
        return run.quantities[x].values.ndim == 0
    if what.values.ndim and x in (*what.axes, *map(recorded.one_of, what.axes)):
        return False
    if what.values.ndim and x in ("epoch", recorded.places(run, what.axes[0], len(what.values)).label):
        return False
    return recorded.has_setting(run, x.removeprefix("settings."))


def _components(panel: Panel, run: Run, what: Quantity, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return columns of values (n, ...) with their names; none if there is one column."""
    if values.ndim == 1:
        return [("", values)]
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1)
    if panel.components == "mean":
        return [("", flat.mean(1))]
    if isinstance(panel.components, int):
        flat = flat[:, : panel.components]
    if flat.shape[1] > MOST_COMPONENTS:
        raise LookingError(
            f"{what.name} has {flat.shape[1]:,} components, too many for lines; ask for their mean, or the first few "
            "(components: mean, components: 10)"
        )
    if len(shape) == 1:
        across = recorded.places(run, what.axes[1], shape[0])
        names = [f"{across.label} {place:g}" for place in across.values]
    else:
        names = [f"entry {', '.join(str(k + 1) for k in place)}" for place in np.ndindex(shape)]
    return list(zip(names[: flat.shape[1]], flat.T, strict=True))


def _curves(panel: Panel, run: Run, name: str) -> list[_Curve]:
    """Return the curves of a quantity of a run, within what the panel shows."""
    what = recorded.quantity(run, name)
    if what.values.ndim == 0:
        raise LookingError(f"{run.path}: {name} is one number; draw it against a setting, which x names")
    if panel.x is not None and what.values.ndim == 2 and panel.x in (what.axes[1], recorded.one_of(what.axes[1])):
        # One profile, at one time.
        across = recorded.places(run, what.axes[1], what.values.shape[1])
        return [_Curve(run, name, "", across.values, _value(panel, what.values), across.label, True)]
    along = recorded.against(run, what, panel.x)
    kept = np.isfinite(along.values)
    if panel.start is not None:
        kept &= along.values >= panel.start
    if panel.stop is not None:
        kept &= along.values <= panel.stop
    if panel.least_loss is not None:
        losses = recorded.beside(run, recorded.quantity(run, panel.loss), what)
        if losses is None:
            raise LookingError(f"{run.path}: {panel.loss} was not recorded when {name} was; name another loss")
        below = np.flatnonzero(losses < panel.least_loss)
        kept &= np.arange(len(kept)) <= (below[0] if len(below) else len(kept))
    found = []
    for component, values in _components(panel, run, what, what.values):
        there = kept & np.isfinite(values)
        x, y = along.values[there], panel.factor * values[there]
        found.append(_Curve(run, name, component, x, y, along.label, along.shared))
    return found


def _value(panel: Panel, values: np.ndarray) -> np.ndarray:
    """Return the value along the first axis that is asked for."""
    choose: Mapping[str, Callable[[np.ndarray], Any]] = {
        "last": lambda all_of: all_of[-1],
        "least": lambda all_of: all_of.min(0),
        "greatest": lambda all_of: all_of.max(0),
    }
    if len(values) == 0:
        raise LookingError("nothing was recorded, not even once")
    return panel.factor * np.asarray(choose[panel.value](values))


def _point(panel: Panel, run: Run, name: str) -> list[_Curve]:
    """Return the one value of a quantity of a run, at its x."""
    what, word = recorded.quantity(run, name), str(panel.x).removeprefix("settings.")
    if word in run.quantities and panel.x == word:
        place = run.quantities[word].values.item()
    else:
        place = recorded.setting(run, word)
    try:
        x = np.array([float(place)])
    except (TypeError, ValueError):
        raise LookingError(f"{run.path}: {word} is {place!r}, and no number to draw against") from None
    values = _value(panel, what.values)[None] if what.values.ndim else panel.factor * what.values.reshape(1)
    label = word.rpartition(".")[2]
    return [
        _Curve(run, name, component, x, np.asarray(column, float), label, True)
        for component, column in _components(panel, run, Quantity(name, values, ("", *what.axes[1:])), values)
    ]


def _told_apart(panel: Panel, runs: Sequence[Run], *, with_x: bool) -> list[str]:
    """Return the settings that tell lines apart."""
    if panel.by is not None:
        for run in runs:
            for name in panel.by:
                if not any(recorded.has_setting(other, name) for other in runs):
                    recorded.setting(run, name)
        return list(panel.by)
    # Those of the path first, as depth or variant.depth, then others in no block.
    axes = {axis for run in runs for axis in paths.axes_in(run.path)}
    differ = recorded.differing(runs)
    found = [name for name in differ if name.rpartition(".")[2] in axes]
    found += [name for name in differ if name not in found and "." not in name]
    x = str(panel.x).removeprefix("settings.") if with_x else ""
    kept: list[str] = []
    for name in found:
        # What tells no more runs apart says nothing new.
        if name.rpartition(".")[2] != x and _number_of_lines(runs, [*kept, name]) > _number_of_lines(runs, kept):
            kept.append(name)
    return kept


def _number_of_lines(runs: Sequence[Run], by: Sequence[str]) -> int:
    return len({tuple(_said(run, name) for name in by) for run in runs})


def _said(run: Run, name: str) -> str:
    """Return a setting as lines are named by it."""
    if not recorded.has_setting(run, name):
        return "none"
    value = recorded.setting(run, name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _rank(said: str) -> tuple[int, float, str]:
    """Return what settings are sorted by: numbers by size, and text after them."""
    try:
        return 0, float(said), ""
    except ValueError:
        return 1, 0.0, said


def _check_alike(panel: Panel, curves: Sequence[_Curve], by: Sequence[str], *, by_run: bool) -> None:
    """Raise LookingError if runs of one line differ in more than their seed."""
    cells: dict[float, list[Run]] = {}
    for curve in curves:
        cells.setdefault(float(curve.x[0]) if by_run and len(curve.x) else 0.0, []).append(curve.run)
    for runs in cells.values():
        others = [name for name in recorded.differing(runs) if name not in by]
        if others:
            two = f"{runs[0].path} and {runs[-1].path}"
            raise LookingError(
                f"{two}, of one line, differ in {', '.join(others[:4])} and not in seed alone; name it to tell lines "
                "apart (by), choose runs that are alike, or draw each run (spread: each)"
            )
        seeds = [repr(sorted((name, value) for name, value in run.settings.items() if _is_seed(name))) for run in runs]
        if len(set(seeds)) < len(seeds):
            raise LookingError(f"{runs[0].path} and another run of the same line are of the same settings and seed")


def _is_seed(name: str) -> bool:
    return name.rpartition(".")[2] == "seed"


def _together(panel: Panel, curves: Sequence[_Curve], *, by_run: bool, each: bool) -> pd.DataFrame:
    """Return the points of one line: of runs at the same x, value, low, high and number of seeds."""
    if by_run:
        points = [(float(curve.x[0]), curve.y[0], curve.run.path) for curve in curves]
        if each:
            return pd.DataFrame(sorted(points), columns=["x", "value", "run"])
        cells: dict[float, list[float]] = {}
        for place, value, _ in sorted(points):
            cells.setdefault(place, []).append(value)
        summaries = {place: _summary(panel, np.array(own)[:, None]) for place, own in cells.items()}
        rows = [(place, *(number.item() for number in summary)) for place, summary in summaries.items()]
        return pd.DataFrame(rows, columns=["x", "value", "low", "high"]).assign(seeds=[*map(len, cells.values())])
    # Lines end with the first of their runs, as beyond it they would be of others.
    x = curves[0].x
    for curve in curves[1:]:
        x = np.intersect1d(x, curve.x)
    values = np.stack([curve.y[np.isin(curve.x, x)] for curve in curves])
    value, low, high = _summary(panel, values)
    table = pd.DataFrame({"x": np.sort(x), "value": value, "low": low, "high": high, "seeds": len(curves)})
    return table.assign(run=curves[0].run.path) if len(curves) == 1 else table


def _summary(panel: Panel, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return middle, low and high of values (seeds, n) as the panel asks for."""
    if panel.spread == "interval":
        return interval(values)
    if panel.spread == "std":
        mean = values.mean(0)
        std = values.std(0, ddof=1) if len(values) > 1 else np.full_like(mean, np.nan)
        return mean, mean - std, mean + std
    low, high = (25, 75) if panel.spread == "quartiles" else (0, 100)
    return np.median(values, 0), np.percentile(values, low, axis=0), np.percentile(values, high, axis=0)


def to_table(drawn: Sequence[Drawn]) -> pd.DataFrame:
    """Return the numbers of all panels, which are numbered from 1, as one table."""
    table = pd.concat([part.numbers.assign(panel=number) for number, part in enumerate(drawn, 1)], ignore_index=True)
    by = [name for name in table if name not in COLUMNS]
    return table[[*COLUMNS[:4], *by, *COLUMNS[4:]]]


def metrics_of(run: Run) -> RunFigure:
    """Return a figure of all that a run recorded as a series, a panel for each; raises LookingError if nothing was."""
    names = [name for name, found in run.quantities.items() if _is_series(found) and not recorded.is_place(name)]
    if not names:
        raise LookingError(
            f"{run.path}: this {run.kind} has no series of numbers to draw, which python -m tacit show lists"
        )
    panels = []
    for name in names:
        title = "\n".join(textwrap.wrap(name.replace("_", " "), _TITLE))
        panel = {"runs": [run.path], "y": [name], "title": title, "y_label": ""}
        panels.append(panel | ({"components": "mean"} if _width(run.quantities[name]) > MOST_COMPONENTS else {}))
    columns = min(_METRICS_COLUMNS, len(panels))
    height = 0.4 + 1.6 * -(-len(panels) // columns)
    plain = {"panels": panels, "columns": columns, "width": "page", "height": height, "legend": False}
    return RunFigure.from_plain(plain)


def _is_series(found: Quantity) -> bool:
    finite = found.values.dtype != np.uint8 and found.values.ndim > 0 and len(found.values) > 0
    return finite and (found.values.ndim < 3 or int(np.prod(found.values.shape[1:])) <= 16)


def _width(found: Quantity) -> int:
    return int(np.prod(found.values.shape[1:]))
