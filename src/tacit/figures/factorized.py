"""Figures on factorized layers: accuracy by size, by coefficient of decay, and by depth of overcomplete networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.images import FACTS
from tacit.studies.factorized import AXES
from tacit.studies.factorized_results import RUNS
from tacit.studies.tables import MissingRunsError, over_seeds_of, rows_with

_COUNTS = ("parameters", "dense_parameters", "deployed_parameters")
SPREAD = "mean and 95 % interval"

LOOKS: dict[tuple[str, str], dict[str, Any]] = {
    ("regular", "weight"): {"color": style.VERMILION, "marker": "o", "linestyle": style.line(1)},
    ("regular", "frobenius"): {
        "color": style.ORANGE,
        "marker": "s",
        "linestyle": style.line(3),
        "markerfacecolor": "none",
    },
    ("spectral", "weight"): {"color": style.SKY, "marker": "^", "linestyle": style.line(2), "markerfacecolor": "none"},
    ("spectral", "frobenius"): {"color": style.BLUE, "marker": "D", "linestyle": style.line(0)},
}
"""Of a start and a decay."""
DENSE = "0.35"
_NAMES = {"regular": "regular", "spectral": "SI", "weight": "WD", "scaled": "CRS", "frobenius": "FD"}


def label_of(initialization: str, decay: str) -> str:
    """Return the name of a start with a decay, as the paper has it."""
    return f"{_NAMES[initialization]}, {_NAMES[decay]}"


def numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return mean accuracy of each network with its 95 % interval over seeds, and how large it is."""
    return summary(there(tables["runs"]), AXES, of_network=_COUNTS, accuracies=("best", "chosen", "deployed"))


def summary(
    runs: pd.DataFrame, axes: Sequence[str], *, of_network: Sequence[str], accuracies: Sequence[str]
) -> pd.DataFrame:
    """Return of each network mean test accuracy with its 95 % interval over seeds, and means of other accuracies.

    What is `of_network` is the same for all seeds.
    """
    rows = []
    keys = [name for name in axes if name != "seed"]
    for place, own in runs.groupby(keys, sort=True):
        named = dict(zip(keys, place, strict=True)) | {name: own[name].iloc[0] for name in of_network}
        found = over_seeds_of(own["test_accuracy"].to_numpy(float))
        rows.append(named | found | {name: own[f"{name}_accuracy"].mean() for name in accuracies})
    return pd.DataFrame(rows)


def there(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs; raises MissingRunsError if there are none."""
    if runs.empty:
        raise MissingRunsError("no run with factorized layers is there yet; without partial they are trained")
    return runs


def described(settings: Settings, seeds: pd.Series, missing: int) -> str:
    """Return the note of a figure."""
    sources = ", ".join(images["source"] for images in settings["images"])
    own = settings["training"]
    said = (sources, f"width {settings['network']['width']}", style.epochs(own))
    return style.described(settings["scale"], *said, seeds=seeds, missing=missing, spread=SPREAD)


def bars(place: Any, own: pd.DataFrame, x: Any, *, error: bool = False, **looks: Any) -> None:
    """Draw mean accuracies, or errors, in % with their intervals, at x."""
    spread = 100 * np.nan_to_num(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])).clip(0)
    middle = 100 - 100 * own["mean"] if error else 100 * own["mean"]
    spread = spread[::-1] if error else spread
    place.errorbar(x, middle, spread, linewidth=1.2, capsize=2, elinewidth=0.8, markersize=4, **looks)


def percent(place: Any) -> None:
    """Let an axis in % end at 0 and 100, beyond which intervals may reach."""
    low, high = place.get_ylim()
    place.set_ylim(max(low, -0.5), min(high, 100.5))


def band(place: Any, dense: pd.DataFrame, *, error: bool = False) -> None:
    """Draw the accuracy, or error, of a dense network in % as a line, its interval as a band."""
    for row in dense.itertuples():
        middle, *ends = (100 - 100 * value if error else 100 * value for value in (row.mean, row.low, row.high))
        place.axhline(middle, color=DENSE, linewidth=1, zorder=1)
        if np.isfinite(row.low):
            place.axhspan(min(ends), max(ends), color=DENSE, alpha=0.12, linewidth=0, zorder=0)


def grid(rows: Sequence[Any], columns: Sequence[Any], *, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure of a page's width, or of a column's for one column, with rows of `height` inches."""
    width = style.PAGE if len(columns) > 1 else style.COLUMN
    return style.new(width, 0.75 + height * len(rows), nrows=len(rows), ncols=len(columns), squeeze=False)


def legend(figure: Figure, handles: Sequence[Line2D], *, most: int = 6) -> None:
    """Put a legend above all panels, `most` names side by side, or 3 in a figure of one column."""
    most = most if figure.get_figwidth() > style.COLUMN else 3
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(handles), most), handlelength=2.6, columnspacing=1.2
    )


# Accuracy by size.


def _draw_resnet(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw accuracy against parameters, a line for each start and decay; a panel a depth and image set."""
    shown = [depth for depth in settings["resnet"]["depths"] if depth in set(numbers["depth"])]
    sources = [images["source"] for images in settings["images"] if images["source"] in set(numbers["source"])]
    figure, axes = grid(sources, shown, height=2.1)
    for source, row in zip(sources, axes, strict=True):
        for depth, place in zip(shown, row, strict=True):
            here = rows_with(numbers, source=source, depth=depth)
            band(place, rows_with(here, factors="dense"))
            for number, ((start, decay), looks) in enumerate(LOOKS.items()):
                own = rows_with(here, factors="two", initialization=start, decay=decay).sort_values("parameters")
                # Aside, as all have the same sizes.
                moved = own.assign(parameters=own["parameters"] * 1.025 ** (number - 1.5))
                bars(place, moved, moved["parameters"], **looks)
            dense = rows_with(here, factors="dense")
            place.plot(dense["parameters"], 100 * dense["mean"], "*", color=DENSE, markersize=8, zorder=3)
            place.set(xscale="log", xlabel="parameters", title=f"{depth} layers, {FACTS[source].title}")
            place.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            place.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
            place.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
            percent(place)
        row[0].set_ylabel("test accuracy (%)")
    legend(figure, [*_handles(), Line2D([], [], color=DENSE, marker="*", markersize=8, linewidth=1, label="dense")])
    style.note(figure, described(settings, numbers["seeds"], missing))
    return figure


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], linewidth=1.2, markersize=4, label=label_of(*variant), **looks)
        for variant, looks in LOOKS.items()
    ]


RESNET = Drawing({"runs": RUNS}, numbers, _draw_resnet)


# Accuracy by coefficient.


def _draw_decay(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw accuracy against the coefficient of decay, a line a decay."""
    figure, place = style.new(style.COLUMN, 2.6)
    for decay in ("weight", "frobenius"):
        own = rows_with(numbers, decay=decay).sort_values("coefficient")
        bars(place, own, own["coefficient"], **LOOKS["regular", decay])
    place.set(xscale="log", xlabel="coefficient $\\lambda$ of decay", ylabel="test accuracy (%)")
    percent(place)
    handles = [
        Line2D([], [], linewidth=1.2, markersize=4, label=name, **LOOKS["regular", decay])
        for decay, name in (("weight", "weight decay"), ("frobenius", "Frobenius decay"))
    ]
    legend(figure, handles)
    style.note(figure, described(settings, numbers["seeds"], missing))
    return figure


DECAY = Drawing({"runs": RUNS}, numbers, _draw_decay)


# Accuracy by depth of overcomplete networks.

_KINDS = {
    "deep": {"color": style.PURPLE, "marker": "v"},
    "deep, SI": {"color": style.SKY, "marker": "^"},
    "wide": {"color": style.GREEN, "marker": "P"},
}
_BY_DECAY = {
    "weight": {"linestyle": style.line(1), "markerfacecolor": "none"},
    "frobenius": {"linestyle": style.line(0)},
}


def _kinds(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what tells kinds of networks that are drawn from others."""
    own = settings["distillation"]
    return {
        "deep": {"factors": "three", "rank_scale": own["deep"], "initialization": "regular"},
        "deep, SI": {"factors": "three", "rank_scale": own["deep"], "initialization": "spectral"},
        "wide": {"factors": "two", "rank_scale": own["wide"][0], "initialization": "regular"},
    }


def _draw_distillation(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw accuracy against depth of dense, deep and wide networks, and a table of their parameters."""
    sources = [images["source"] for images in settings["images"] if images["source"] in set(numbers["source"])]
    depths = sorted(numbers["depth"].unique())
    figure = style.blank(style.PAGE, 3.0 + 0.16 * (2 + len(_KINDS)))
    rooms: Any = figure.subfigures(2, height_ratios=[2.6, 0.4 + 0.16 * (2 + len(_KINDS))])
    above, below = rooms
    axes = above.subplots(ncols=len(sources), squeeze=False)[0]
    for source, place in zip(sources, axes, strict=True):
        here = rows_with(numbers, source=source)
        plain = rows_with(here, factors="dense").sort_values("depth")
        bars(place, plain, plain["depth"], color=DENSE, marker="*", linestyle="-")
        for number, (kind, axes_of) in enumerate(_kinds(settings).items()):
            for decay, line in _BY_DECAY.items():
                own = rows_with(here, decay=decay, **axes_of).sort_values("depth")
                # Aside, as all are at the same depths.
                moved = own.assign(depth=own["depth"] * 1.012 ** (2 * number - 2))
                bars(place, moved, moved["depth"], **{**_KINDS[kind], **line})
        place.set(xlabel="layers", title=FACTS[source].title, xscale="log")
        place.set_xticks(depths, labels=[str(depth) for depth in depths])
        place.set_xticks([], minor=True)
        percent(place)
    axes[0].set_ylabel("test accuracy (%)")
    handles = [Line2D([], [], color=DENSE, marker="*", linewidth=1.2, markersize=5, label="dense")]
    handles += [
        Line2D(
            [], [], linewidth=1.2, markersize=4, label=f"{kind}, {_NAMES[decay]}", **{**_KINDS[kind], **line}
        )
        for kind in _KINDS
        for decay, line in _BY_DECAY.items()
    ]  # fmt: skip
    above.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=2.6)
    _table(below, rows_with(numbers, source=sources[0]), depths, settings)
    style.note(figure, described(settings, numbers["seeds"], missing))
    return figure


def _table(room: Any, numbers: pd.DataFrame, depths: Sequence[int], settings: Settings) -> None:
    """Write parameters in training and once deployed, of the first image set."""
    place = room.subplots()
    place.set_axis_off()
    kinds = {"dense": {"factors": "dense"}} | _kinds(settings)
    cells = []
    for of in kinds.values():
        row = []
        for depth in depths:
            own = rows_with(numbers, depth=depth, **of)
            first = own.iloc[0] if len(own) else None
            row.append("" if first is None else f"{first['parameters']:,} / {first['deployed_parameters']:,}")
        cells.append(row)
    title = f"parameters in training / deployed ({FACTS[settings['images'][0]['source']].title})"
    table = place.table(
        cells,
        rowLabels=list(kinds),
        colLabels=[f"{depth} layers" for depth in depths],
        loc="center",
        cellLoc="center",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    for cell in table.get_celld().values():
        cell.set_linewidth(0.4)
    place.set_title(title, fontsize=7)


DISTILLATION = Drawing({"runs": RUNS}, numbers, _draw_distillation)
