"""The figure on compressed translation: BLEU against the coefficient of decay."""

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
from tacit.figures.factorized import DENSE, SPREAD
from tacit.settings.corpora import FACTS
from tacit.settings.translation import WITHOUT_LINEAR
from tacit.studies.tables import MissingRunsError, over_seeds_of, rows_with
from tacit.studies.translation import AXES
from tacit.studies.translation_results import RUNS

_STARTS: dict[str, dict[str, Any]] = {
    "regular": {"color": style.VERMILION, "marker": "o"},
    "linear": {"color": style.ORANGE, "marker": "s"},
    "attention": {"color": style.SKY, "marker": "^"},
    "all": {"color": style.BLUE, "marker": "D"},
}
_START_NAMES = {
    "regular": "regular start",
    "linear": "SI of linear layers",
    "attention": "SI of attention",
    "all": "SI of all",
}
_DECAYS: dict[str, dict[str, Any]] = {
    "weight": {"linestyle": style.line(1), "markerfacecolor": "none"},
    "linear": {"linestyle": style.line(0)},
    "ov": {"linestyle": style.line(2), "markerfacecolor": "none"},
    "linear_ov": {"linestyle": style.line(2)},
    "attention": {"linestyle": style.line(3), "markerfacecolor": "none"},
    "all": {"linestyle": style.line(3)},
}
_DECAY_NAMES = {
    "weight": "WD",
    "linear": "FD of linear layers",
    "ov": "FD of output-value",
    "linear_ov": "FD of linear, output-value",
    "attention": "FD of query-key, output-value",
    "all": "FD of all",
}
_ONE_ROW = 8
"""Lines that are told apart in one panel; more are drawn in a row for each kind of decay of attention."""


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return mean BLEU of each network with its 95 % interval over seeds, its validation loss and its size."""
    runs = tables["runs"]
    if runs.empty:
        raise MissingRunsError("no translation is there yet; without partial networks are trained")
    keys = [name for name in AXES if name != "seed"]
    rows = []
    for place, own in runs.groupby(keys, sort=True):
        named = dict(zip(keys, place, strict=True))
        named |= {name: own[name].iloc[0] for name in ("parameters", "dense_parameters")}
        found = over_seeds_of(own["bleu"].to_numpy(float))
        rows.append(named | found | {"valid_loss": own["valid_loss"].mean()})
    return pd.DataFrame(rows)


def _draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw a panel a rank scale, a line a start and decay; many of them in rows by the decay of attention."""
    lines = _lines(numbers)
    groups = list(dict.fromkeys(WITHOUT_LINEAR.get(decay, decay) for _, decay in lines))
    rows = [lines] if len(lines) <= _ONE_ROW else [
        [line for line in lines if WITHOUT_LINEAR.get(line[1], line[1]) == group] for group in groups
    ]  # fmt: skip
    scales = _scales(numbers)
    handles = _handles(lines, numbers)
    width = style.PAGE if len(scales) > 1 else style.COLUMN
    columns = 4 if width == style.PAGE else 2
    height = 0.9 + 1.8 * len(rows) + 0.16 * -(-len(handles) // columns)
    figure, axes = style.new(
        width, height, nrows=len(rows), ncols=len(scales), squeeze=False, sharex="col", sharey=True
    )
    for own, places in zip(rows, axes, strict=True):
        for scale, place in zip(scales, places, strict=True):
            _panel(place, numbers, own, scale)
        places[0].set_ylabel("BLEU")
    for scale, first, last in zip(scales, axes[0], axes[-1], strict=True):
        first.set_title(_title(numbers, scale))
        last.set_xlabel("coefficient $\\lambda$ of decay")
    axes[0, 0].set_ylim(max(0.0, axes[0, 0].get_ylim()[0]), min(100.0, axes[0, 0].get_ylim()[1]))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(handles), columns), handlelength=2.6,
        columnspacing=1.2,
    )  # fmt: skip
    style.note(figure, _described(settings, numbers, missing))
    return figure


def _lines(numbers: pd.DataFrame) -> list[tuple[str, str]]:
    """Return starts and decays that are lines: what decays, and starts of which nothing does."""
    shown = numbers[numbers["rank_scale"].isin(_scales(numbers))]
    decayed = {(row.initialization, row.decay) for row in shown.itertuples() if row.coefficient > 0}
    alone = set(shown["initialization"]) - {start for start, _ in decayed}
    decayed |= {(start, "weight") for start in alone}
    return [(start, decay) for start in _STARTS for decay in _DECAYS if (start, decay) in decayed]


def _scales(numbers: pd.DataFrame) -> list[float]:
    """Return the rank scales that have a panel: all, but for a dense network that is a reference alone."""
    dense = rows_with(numbers, rank_scale=0.0)
    compressed = [scale for scale in sorted(numbers["rank_scale"].unique()) if scale > 0]
    is_more = len(dense) > len(_reference_of(numbers))
    return [0.0, *compressed] if is_more or not compressed else compressed


def _reference_of(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the dense network that starts regularly and does not decay, if it is there."""
    return rows_with(numbers, rank_scale=0.0, initialization="regular", coefficient=0.0)


def _title(numbers: pd.DataFrame, scale: float) -> str:
    own = rows_with(numbers, rank_scale=scale).iloc[0]
    share = own["parameters"] / own["dense_parameters"]
    return "dense" if scale == 0 else f"rank scale {scale:g}\n{100 * share:.0f} % of parameters"


def _panel(place: Any, numbers: pd.DataFrame, lines: Sequence[tuple[str, str]], scale: float) -> None:
    """Draw all lines of a rank scale; no decay stands left of the least coefficient."""
    here = rows_with(numbers, rank_scale=scale)
    _reference(place, numbers)
    values = sorted(set(numbers["coefficient"]) - {0.0})
    zero = values[0] / 4 if values else 1.0
    for number, (start, decay) in enumerate(lines):
        own = here[(here["initialization"] == start) & ((here["decay"] == decay) | (here["coefficient"] == 0))]
        own = own.sort_values("coefficient")
        if not (own["decay"] == decay).any():
            continue
        # Aside, as all are at the same coefficients.
        x = own["coefficient"].replace(0.0, zero) * 1.05 ** (number - (len(lines) - 1) / 2)
        spread = np.nan_to_num(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])).clip(0)
        looks = {**_STARTS[start], **_DECAYS[decay]}
        place.errorbar(x, own["mean"], spread, linewidth=1.1, capsize=2, elinewidth=0.7, markersize=4, **looks)
    place.set_xscale("log")
    place.set_xlim(zero / 2, 2 * max(values, default=zero))
    labelled = _labelled(values)
    place.set_xticks([zero, *labelled], labels=["0", *map(_short, labelled)])
    place.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _labelled(values: Sequence[float]) -> list[float]:
    """Return powers of ten among ascending coefficients, four at most, or the ends of these if there is none."""
    if not values:
        return []
    low, high = np.ceil(np.log10(values[0]) - 1e-9), np.floor(np.log10(values[-1]) + 1e-9)
    powers = [10.0**power for power in np.arange(low, high + 1)]
    return powers[:: 1 + (len(powers) - 1) // 4] if powers else sorted({values[0], values[-1]})


def _short(value: float) -> str:
    """Return a coefficient as it is written at an axis."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    number = mantissa.removesuffix(".0")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if number == "1" else f"${number}\\cdot{power}$"


def _reference(place: Any, numbers: pd.DataFrame) -> None:
    """Draw the dense network without decay as a line, its interval as a band."""
    for row in _reference_of(numbers).itertuples():
        place.axhline(row.mean, color=DENSE, linewidth=1, zorder=1)
        if np.isfinite(row.low):
            place.axhspan(row.low, row.high, color=DENSE, alpha=0.12, linewidth=0, zorder=0)


def _handles(lines: Sequence[tuple[str, str]], numbers: pd.DataFrame) -> list[Line2D]:
    """Return what tells starts, and what tells decays."""
    starts = [start for start in _STARTS if any(line[0] == start for line in lines)]
    decays = [decay for decay in _DECAYS if any(line[1] == decay for line in lines)]
    looks: dict[str, Any] = {"linewidth": 1.1, "markersize": 4}
    found = [Line2D([], [], label=_START_NAMES[start], linestyle="", **_STARTS[start], **looks) for start in starts]
    for decay in decays:
        there = rows_with(numbers, decay=decay)["coefficient"].any()
        name = _DECAY_NAMES[decay] if there else "no decay"
        found.append(Line2D([], [], label=name, color="0.2", marker="o", **_DECAYS[decay], **looks))
    if len(_reference_of(numbers)):
        found.append(Line2D([], [], color=DENSE, linewidth=1, label="dense, no decay"))
    return found


def _described(settings: Settings, numbers: pd.DataFrame, missing: int) -> str:
    """Return the note of the figure."""
    source, own = settings["corpus"]["source"], settings["architecture"]
    data = FACTS[source].title if source in FACTS else settings["corpus"]["folder"]
    sizes = f"width {own['width']}, {own['layers']} + {own['layers']} layers"
    updates = f"{settings['training']['updates']:,} updates"
    published = [f"{name} as published" for name in ("masks", "flags") if settings[name] == "published"]
    return style.described(
        settings["scale"], data, sizes, updates, *published, seeds=numbers["seeds"], missing=missing, spread=SPREAD
    )


BLEU = Drawing({"runs": RUNS}, _numbers, _draw)
