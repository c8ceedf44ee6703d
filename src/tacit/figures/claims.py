"""The ledger as a forest plot: of every claim the effect and its 95 % interval beside the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies import ledger

_LOOKS = {
    "held": (style.BLUE, "o", style.BLUE),
    "not held": (style.VERMILION, "X", style.VERMILION),
    "undecided": ("0.45", "D", "white"),
}
"""Colour, mark and filling of each verdict; told apart without colour too."""

_ROW, _HEIGHT = 0.145, 9.4
"""Inches a claim, fewer where so many would be higher than a page."""
_COLUMN, _LETTER, _AXIS = style.PAGE / 2, 0.04, 0.58
"""Inches of a column, of a letter of the names in it, and of the axis beside them; the numbers have the rest."""
_TOP, _BOTTOM = 0.32, 0.68
"""Inches above and below all rows."""
_MOST = 6.0
"""Half widths from the threshold that are drawn; what lies further is at the edge."""


def draw(claims: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw claims (tacit.studies.ledger.COLUMNS) in two columns, in the order of the table, under each study's name.

    All share one axis: the distance of the effect from the threshold, in half widths of the interval on that side, to
    the right as claimed. So an interval that does not reach the line in the middle decides.
    """
    lines = _lines(claims)
    half = _split(lines)
    columns = [lines[:half], lines[half:]]
    rows = max(map(len, columns))
    row = min(_ROW, (_HEIGHT - _TOP - _BOTTOM) / max(rows, 1))
    height = _TOP + _BOTTOM + row * rows
    figure = style.blank(2 * _COLUMN, height)
    figure.set_layout_engine("none")
    for number, own in enumerate(columns):
        if own:
            names = _width_of_names(own)
            left = number * _COLUMN + names
            box = (left / (2 * _COLUMN), _BOTTOM / height, _AXIS / (2 * _COLUMN), row * rows / height)
            _draw_column(figure.add_axes(box), own, rows=rows, names=names)
    handles = [
        Line2D([], [], color=colour, marker=mark, markerfacecolor=filling, linewidth=0.9, markersize=4, label=verdict)
        for verdict, (colour, mark, filling) in _LOOKS.items()
    ]
    figure.legend(handles=handles, loc="upper center", ncols=3, fontsize=7)
    counts = claims["verdict"].value_counts()
    words = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in _LOOKS)
    lacking = [f"{missing} tables of claims"] if missing else []
    lacking += [f"up to {claims['missing'].max()} runs"] if (claims["missing"] > 0).any() else []
    partial = [f"PARTIAL: {' and '.join(lacking)} missing"] if lacking else []
    style.note(figure, ", ".join([*partial, f"{settings['scale']} scale", f"{len(claims)} claims: {words}"]))
    return figure


def _lines(claims: pd.DataFrame) -> list[str | pd.Series]:
    """Return headings and claims, one after another."""
    lines: list[str | pd.Series] = []
    for study, own in claims.groupby("study", sort=False):
        lines.append(f"{study}: {own['source'].iloc[0].partition(', section')[0]}")
        lines += [row for _, row in own.iterrows()]
    return lines


def _split(lines: list[str | pd.Series]) -> int:
    """Return where the second column begins: near the middle, and not behind a heading."""
    half = (len(lines) + 1) // 2
    while 0 < half < len(lines) and isinstance(lines[half - 1], str):
        half -= 1
    return half


def _width_of_names(lines: list[str | pd.Series]) -> float:
    """Return the inches that the longest name of a claim takes."""
    return 0.08 + _LETTER * max((len(line["id"]) for line in lines if not isinstance(line, str)), default=0)


def _draw_column(axes: Any, lines: list[str | pd.Series], *, rows: int, names: float) -> None:
    axes.set(xlim=(-_MOST - 1.2, _MOST + 1.2), ylim=(rows - 0.5, -0.5))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xticks([-_MOST, 0, _MOST], [f"≤ $-${_MOST:g}", "0", f"≥ {_MOST:g}"], fontsize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvspan(-1, 1, color="0.93", linewidth=0, zorder=0)
    axes.set_xlabel("half widths of the interval\nfrom the threshold, as claimed →", fontsize=6)
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    left = -(names - 0.06) / _AXIS
    for number, line in enumerate(lines):
        if isinstance(line, str):
            # Over the axis, whose lines it hides.
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.annotate(line, (left, number), fontsize=6.5, fontweight="bold", bbox=ground, zorder=5, **beside)
        else:
            axes.annotate(line["id"].replace("_", " "), (left, number), fontsize=5.6, **beside)
            axes.annotate(spoken(line), (1.04, number), fontsize=5.6, **beside)
            _draw_claim(axes, line, number)


def _draw_claim(axes: Any, claim: pd.Series, number: int) -> None:
    colour, mark, filling = _LOOKS[claim["verdict"]]
    if not np.isfinite(claim[["effect", "low", "high"]].to_numpy(float)).all():
        # Where it is is unknown in half widths of an interval that there is not.
        return
    place, low, high = position(claim)
    axes.plot([low, high], [number, number], color=colour, linewidth=0.9, solid_capstyle="butt")
    axes.plot(place, number, marker=mark, color=colour, markerfacecolor=filling, markersize=3.6, markeredgewidth=0.8)


def position(claim: pd.Series) -> tuple[float, float, float]:
    """Return effect, and ends of its interval, in half widths from the threshold, positive as claimed, within bounds.

    Without an interval all are at the threshold.
    """
    sign = 1 if claim["side"] == "above" else -1
    effect, *ends = (sign * (claim[name] - claim["threshold"]) for name in ("effect", "low", "high"))
    low, high = sorted(ends)
    if not np.isfinite([effect, low, high]).all():
        return 0.0, 0.0, 0.0
    half = effect - low if effect > 0 else high - effect
    # An interval without width is far from whatever it is not at.
    scaled = np.array([effect, low, high]) / max(half, abs(effect) / 1000, 1e-300)
    # An effect that is beyond the edge takes its interval with it.
    beyond = max(abs(scaled[0]) - _MOST, 0) * np.sign(scaled[0])
    return tuple(np.clip(scaled - beyond, -_MOST, _MOST))


def spoken(claim: pd.Series) -> str:
    """Return what was measured, in short: effect, interval, and the threshold."""
    bound = f"{'>' if claim['side'] == 'above' else '<'} {ledger.short(claim['threshold'])}"
    nothing = "not to be told" if claim["runs"] else "no run"
    return f"{ledger.effect(claim, ' [{}, {}]') or nothing}  ({bound})"


CLAIMS = Drawing({"claims": ledger.TABLE}, lambda tables, settings: tables["claims"], draw)
