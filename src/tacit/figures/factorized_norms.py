"""The figure on norms and effective step sizes along trainings with factorized layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.figures.factorized import DENSE, described, there
from tacit.settings.factorized import Variant
from tacit.studies.factorized_results import CURVES
from tacit.studies.tables import over_seeds_of, rows_with

_LOOKS: dict[str, dict[str, Any]] = {
    "weight": {"color": style.VERMILION, "linestyle": style.line(0)},
    "recorded": {"color": style.BLUE, "linestyle": style.line(1)},
    "none": {"color": style.GREEN, "linestyle": style.line(2)},
    "replayed": {"color": style.ORANGE, "linestyle": style.line(3)},
    "dense": {"color": DENSE, "linestyle": style.line(0), "linewidth": 1.0},
}
_LABELS = {
    "weight": "weight decay",
    "recorded": "Frobenius decay",
    "none": "no decay",
    "replayed": "no decay, norms of Frobenius decay",
    "dense": "dense",
}
_QUANTITIES = ("nuclear_norm", "nuclear_bound", "frobenius_norm", "non_orthogonality", "effective_rate_squared")


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return means and 95 % intervals over seeds of what is measured of layers, by network and epoch."""
    curves = there(tables["curves"])
    rows = []
    keys = [*Variant._fields, "epoch"]
    for axes, own in curves.groupby(keys, sort=True):
        for name in _QUANTITIES:
            values = own[name].dropna().to_numpy(float)
            if len(values):
                rows.append(dict(zip(keys, axes, strict=True)) | {"quantity": name} | over_seeds_of(values))
    return pd.DataFrame(rows)


def _draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw nuclear norms from both starts, those of several ranks, and effective step sizes."""
    own = settings["normalization"]
    figure, axes = style.new(style.PAGE, 4.6, nrows=2, ncols=2)
    (regular, spectral), (ranks, steps) = axes
    for place, start in ((regular, "regular"), (spectral, "spectral")):
        for decay in ("weight", "recorded", "none", "replayed"):
            here = _of(numbers, own["rank_scale"], start, decay)
            _line(place, here, "nuclear_norm", **_LOOKS[decay])
        _line(place, _of(numbers, own["rank_scale"], start, "weight"), "nuclear_bound", color="k", linewidth=0.8,
              linestyle=style.line(2))  # fmt: skip
        place.set(title=f"{start} initialisation", ylabel="nuclear norm", xlabel="epoch")
    scales = sorted(own["rank_scales"])
    for number, scale in enumerate(scales):
        here = _of(numbers, scale, "regular", "weight")
        colour = style.STYLE["axes.prop_cycle"].by_key()["color"][number % 6]
        _line(ranks, here, "nuclear_norm", color=colour, linestyle=style.line(number), label=f"{scale:g}")
        _line(ranks, here, "nuclear_bound", color=colour, linewidth=0.8, linestyle=style.line(2))
    ranks.set(title="weight decay, regular, by rank scale", ylabel="nuclear norm", xlabel="epoch")
    ranks.legend(title="rank scale", title_fontsize=7, ncols=2, loc="best")
    for decay in ("weight", "recorded", "none", "replayed"):
        _line(steps, _of(numbers, own["rank_scale"], "regular", decay), "effective_rate_squared", **_LOOKS[decay])
    _line(steps, _of(numbers, 0.0, "dense", "weight"), "effective_rate_squared", **_LOOKS["dense"])
    steps.set(title="effective step size, regular", ylabel="$\\eta\\,/\\,\\|W\\|_F^2$", xlabel="epoch", yscale="log")
    for place in axes.ravel():
        place.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
    handles = [Line2D([], [], label=_LABELS[name], **looks) for name, looks in _LOOKS.items()]
    handles.append(
        Line2D([], [], color="k", linewidth=0.8, linestyle=style.line(2), label="bound that weight decay makes small")
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=2.6)
    style.note(figure, described(settings, numbers["seeds"], missing))
    return figure


def _of(numbers: pd.DataFrame, rank_scale: float, initialization: str, decay: str) -> pd.DataFrame:
    return rows_with(numbers, rank_scale=rank_scale, initialization=initialization, decay=decay)


def _line(place: Any, numbers: pd.DataFrame, quantity: str, **looks: Any) -> None:
    own = numbers[numbers["quantity"] == quantity].sort_values("epoch")
    place.plot(own["epoch"], own["mean"], **{"linewidth": 1.4, **looks})
    place.fill_between(own["epoch"], own["low"], own["high"], color=looks["color"], alpha=0.15, linewidth=0)


NORMALIZATION = Drawing({"curves": CURVES}, _numbers, _draw)
