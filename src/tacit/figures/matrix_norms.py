"""Figures of deep matrix factorization (Razin, Cohen 2020): the unobserved entry and norms against the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.analysis import matrix_norms as analysis
from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.matrix_norms import AXES, CURVES, MARKS, RUNS, observed_in, until_fitted

_MARKERS = ("o", "v", "^", "D", "s", "P", "X", "h")
_ITERATIONS = LinearSegmentedColormap.from_list("iterations", ["#8fc1e8", "#2c5f8a", "black"])
"""Colours run from light for early to black for late, as published."""

_THEORY = style.VERMILION
_VARIANT = ["learning_rate", "init_scale", "balanced"]


def draw_entries(curves: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw |unobserved entry| against loss, one panel a depth, from curves of the published problem
    until they are fitted (tacit.studies.matrix_norms.until_fitted).

    Of each setting the first seed is bold, coloured by epoch and marked; the others are faint.
    """
    tolerance = settings["descent"]["tolerance"]
    depths = sorted(curves["depth"].unique())
    figure, axes = style.new(style.PAGE, 3.1, ncols=len(depths), squeeze=False)
    for depth, place in zip(depths, axes[0], strict=True):
        own = curves[curves["depth"] == depth]
        last = own["epochs"].max()
        colours = ScalarMappable(Normalize(1, last), _ITERATIONS)
        for number, (variant, runs) in enumerate(own.groupby(_VARIANT, sort=False)):
            for seed, run in runs.groupby("seed"):
                if seed > 0:
                    place.plot(run["loss"], run["unobserved"], color="0.45", alpha=0.3, linewidth=0.7, zorder=1)
                else:
                    _draw_coloured(place, run, colours)
                    _mark(place, run, tolerance, _MARKERS[number % len(_MARKERS)], _label(variant))
        losses = np.geomspace(tolerance, 0.24, 300)
        place.plot(losses, analysis.envelope(losses), color=_THEORY, linewidth=1, linestyle="--", zorder=5)
        place.plot(losses, np.maximum(analysis.entry_bound(losses), 0), color=_THEORY, linewidth=1, linestyle=":")
        _frame_loss(place, tolerance)
        place.set(title=f"depth {depth}", ylabel="|unobserved entry|")
        place.set_ylim(0, None)
        place.legend(
            loc="upper left", fontsize=6, title="rate, scale", title_fontsize=6, alignment="left",
            handletextpad=0.3, borderaxespad=0.2,
        )  # fmt: skip
        bar = figure.colorbar(colours, ax=place, orientation="horizontal", pad=0.03, aspect=28)
        bar.set_ticks([1, (1 + last) / 2, last], labels=["1", _short(last / 2), _short(last)])
        bar.ax.tick_params(labelsize=6.5)
        bar.set_label("epochs", fontsize=7)
    handles = [
        Line2D(
            [], [], color=_THEORY, linestyle="--", linewidth=1, label="least possible while the determinant is positive"
        ),
        Line2D([], [], color=_THEORY, linestyle=":", linewidth=1, label="simpler lower bound"),
        Line2D([], [], color="black", linewidth=2, label="first seed"),
        Line2D([], [], color="0.45", alpha=0.5, linewidth=0.7, label="other seeds"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=2)
    style.note(figure, style.described(settings["scale"], seeds=_seeds(curves), missing=missing))
    return figure


def draw_measures(curves: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw norms, effective rank and distance to rank one against loss, a colour a depth, with the theorem's lines."""
    tolerance = settings["descent"]["tolerance"]
    panels: list[tuple[str, str, Any, float | None]] = [
        ("frobenius_norm", "Frobenius norm", analysis.norm_bound, 0.1),
        ("nuclear_norm", "nuclear norm", analysis.norm_bound, 0.1),
    ]
    for p in settings["descent"]["schatten"]:
        constant = analysis.schatten_constant(p)
        panels.append((f"schatten_{p:g}", f"Schatten-{p:g} quasi-norm", _bound_with(constant), 0.1))
    panels += [
        ("effective_rank", "effective rank", analysis.effective_rank_bound, None),
        ("distance_to_rank_one", "distance to rank one", analysis.distance_bound, 1e-6),
    ]
    columns = 3
    figure, axes = style.new(
        style.PAGE,
        0.6 + 1.75 * -(-len(panels) // columns),
        nrows=-(-len(panels) // columns),
        ncols=columns,
        squeeze=False,
    )
    depths = sorted(curves["depth"].unique())
    losses = np.geomspace(tolerance, 0.5, 300)
    for place in axes.flat[len(panels) :]:
        place.set_axis_off()
    for (name, label, bound, floor), place in zip(panels, axes.flat, strict=False):
        for number, depth in enumerate(depths):
            for _, run in curves[curves["depth"] == depth].groupby([*_VARIANT, "seed"], sort=False):
                place.plot(
                    run["loss"], run[name], color=f"C{number}", linestyle=style.line(number), alpha=0.5, linewidth=0.8
                )
        line = bound(losses)
        place.plot(losses, np.where(line > 0, line, np.nan), color="black", linestyle="--", linewidth=1.1)
        _frame_loss(place, tolerance)
        place.set_title(label)
        if floor is None:
            place.set_ylim(0.95, 2.4)
        else:
            place.set_yscale("log")
            place.set_ylim(floor, None)
    handles = [
        Line2D([], [], color=f"C{number}", linestyle=style.line(number), linewidth=1, label=f"depth {depth}")
        for number, depth in enumerate(depths)
    ]
    words = "theorem: norms above, rank and distance below,\nwhile the determinant is positive"
    handles.append(Line2D([], [], color="black", linestyle="--", linewidth=1.1, label=words))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=2.6)
    style.note(figure, style.described(settings["scale"], seeds=_seeds(curves), missing=missing))
    return figure


def measures_drawn(schatten: Sequence[float]) -> list[str]:
    """Return the columns that `draw_measures` shows, and those with their bounds."""
    quasi = [f"schatten_{p:g}" for p in schatten]
    measures = ["frobenius_norm", "nuclear_norm", *quasi, "effective_rank", "distance_to_rank_one"]
    bounds = ["theory_norm", *(f"theory_{name}" for name in quasi), "theory_effective_rank", "theory_distance"]
    return measures + bounds


def draw_perturbed(curves: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw |unobserved entry| against loss, one panel a depth, a colour an eps, with the closed form dashed."""
    tolerance = settings["descent"]["tolerance"]
    depths = sorted(curves["depth"].unique())
    figure, axes = style.new(style.PAGE, 2.6, ncols=len(depths), squeeze=False)
    problems = list(dict.fromkeys(curves["problem"]))
    problems.sort(key=lambda problem: observed_in(problem)[2])
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(problems)))
    for depth, place in zip(depths, axes[0], strict=True):
        for colour, problem in zip(colours, problems, strict=True):
            own = curves[(curves["depth"] == depth) & (curves["problem"] == problem)]
            for _, run in own.groupby([*_VARIANT, "seed"], sort=False):
                place.plot(run["loss"], run["unobserved"], color=colour, alpha=0.6, linewidth=0.9)
            losses = np.geomspace(tolerance, 0.1, 200)
            form = analysis.perturbed_entry(losses, observed=observed_in(problem))
            place.plot(losses, form, color=colour, linestyle="--", linewidth=1.1)
        _frame_loss(place, tolerance)
        place.set(title=f"depth {depth}", xlabel="loss", ylabel="|unobserved entry|")
        place.set_yscale("log")
        place.set_ylim(0.1, 200)
    handles = [
        Line2D([], [], color=colour, label=f"eps = {observed_in(problem)[2]:g}")
        for colour, problem in zip(colours, problems, strict=True)
    ]
    handles.append(Line2D([], [], color="0.3", linestyle="--", linewidth=1.1, label="closed form"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=1.6, columnspacing=1.2)
    style.note(figure, style.described(settings["scale"], seeds=_seeds(curves), missing=missing))
    return figure


def _seeds(curves: pd.DataFrame) -> pd.Series:
    """Return how many seeds there are of each setting."""
    return curves.groupby(["problem", *_VARIANT])["seed"].nunique()


def _draw_coloured(axes: Any, run: pd.DataFrame, colours: ScalarMappable) -> None:
    points = np.column_stack([run["loss"], run["unobserved"]])
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    lines = LineCollection(list(pieces), cmap=colours.cmap, norm=colours.norm, linewidths=2, zorder=3)
    lines.set_array(run["epochs"].to_numpy()[1:])
    axes.add_collection(lines)


def _mark(axes: Any, run: pd.DataFrame, tolerance: float, marker: str, label: str) -> None:
    """Mark where the loss first falls below MARKS, as the published figures do."""
    places = [run.index[run["loss"] < mark][0] for mark in MARKS if mark >= tolerance and (run["loss"] < mark).any()]
    chosen = run.loc[list(dict.fromkeys(places))]
    axes.plot(
        chosen["loss"], chosen["unobserved"], marker, color="white", markeredgecolor="black", markersize=4.5,
        label=label, zorder=6,
    )  # fmt: skip


def _frame_loss(axes: Any, tolerance: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1.5, tolerance)
    axes.set_xlabel("loss")


def _bound_with(constant: float) -> Any:
    return lambda losses: analysis.norm_bound(losses, constant=constant)


def _label(variant: Sequence[Any]) -> str:
    rate, scale, balanced = variant
    return f"{rate:g}, {scale:g}" + (" (b)" if balanced else "")


def _short(number: float) -> str:
    # The digits that follow are cut off, not rounded, as published.
    power = int(np.floor(np.log10(number)))
    return f"{np.floor(number / 10 ** (power - 1)) / 10:.1f}e{power}"


def _drawn(columns: Callable[[Settings], Sequence[str]]) -> Callable[[Mapping[str, pd.DataFrame], Settings], Any]:
    """Return what gives these columns of the curves, until they are fitted."""

    def numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
        points = until_fitted(tables["curves"], settings["descent"]["tolerance"])
        return points[[*AXES, "epochs", "loss", *columns(settings)]]

    return numbers


_TABLES = {"runs": RUNS, "curves": CURVES}
ENTRIES = Drawing(_TABLES, _drawn(lambda _: ["unobserved", "theory_entry", "theory_envelope"]), draw_entries)
MEASURES = Drawing(_TABLES, _drawn(lambda settings: measures_drawn(settings["descent"]["schatten"])), draw_measures)
PERTURBED = Drawing(_TABLES, _drawn(lambda _: ["unobserved", "theory_closed_form"]), draw_perturbed)
