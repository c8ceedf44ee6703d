"""The figures of the study on untied weights (Sanford, Ardeshir, Hsu 2022; d'Ascoli et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.images import Images
from tacit.settings.untied import Shown, Solution
from tacit.studies import untied_results
from tacit.studies.untied_results import SCRATCH

_WIDTH = style.PAGE
_NETWORKS = {"cnn": "CNN", "lcn": "locally connected", "fcn": "fully connected"}
_QUANTITIES = {
    "log_normalized_norm": "log normalized $R_1$-norm",
    "train_accuracy": "train accuracy (%)",
    "test_accuracy": "test accuracy (%)",
}
_APPROACH = 10
"""Percentage points of accuracy, below the ends of all lines, that the panels over epochs show."""
_METHODS = {
    "linear": (style.BLUE, ""),
    "curvilinear": (style.ORANGE, "s"),
    "average": (style.GREEN, "^"),
    "string": (style.VERMILION, "o"),
}
"""Colour and mark of each way between networks."""
# Early splits yellow-green, late ones dark blue; without the end of the scale that is too pale on white.
_SPLITS = LinearSegmentedColormap.from_list("splits", matplotlib.colormaps["viridis_r"](np.linspace(0.12, 1, 256)))


def draw(curves: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw norm, train and test accuracy over epochs from `curves` (tacit.studies.untied_results.curves).

    A column a split that is shown, with what continues from it beside the networks from scratch, the same in all
    columns. Lines are means over seeds, bands one standard deviation. `settings` are those of the study; `missing` runs
    are counted in a corner.
    """
    shown = sorted(settings["shown"]["splits"])
    size = {"nrows": len(_QUANTITIES), "ncols": len(shown), "squeeze": False, "sharex": True, "sharey": "row"}
    figure, axes = style.new(_WIDTH, 4.9, **size)
    for line, (quantity, label) in zip(axes, _QUANTITIES.items(), strict=True):
        chosen = curves[curves["quantity"] == quantity]
        for place, split in zip(line, shown, strict=True):
            for network, begun, looks in _lines(split):
                _line(place, _of(chosen, network, begun), **looks)
            place.margins(x=0.02)
        line[0].set_ylabel(label)
        if label.endswith("(%)"):
            line[0].set_ylim(_focus(chosen))
    for place, split in zip(axes[0], shown, strict=True):
        place.set_title(f"split at epoch {split}")
    for place in axes[-1]:
        place.set_xlabel("epochs")
    there = set(zip(curves["network"], curves["split"], strict=True))
    handles = [
        Line2D([], [], **looks)
        for network, begun, looks in _lines(shown[0])
        if begun != SCRATCH or (network, SCRATCH) in there
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=2.4, columnspacing=1.4)
    style.note(figure, _footnote(curves, settings, missing))
    return figure


def _lines(split: int) -> list[tuple[str, int, dict[str, Any]]]:
    """Return the lines of one column, those below first: network, split, looks."""
    return [
        ("lcn", SCRATCH, {"color": "0.45", "linestyle": ":", "label": "untied from the start"}),
        ("cnn", SCRATCH, {"color": "black", "linewidth": 1.3, "label": "CNN"}),
        ("lcn", split, {"color": style.BLUE, "linewidth": 1.3, "label": "untied at the split"}),
        ("cnn", split, {"color": style.ORANGE, "linestyle": (0, (3, 1.5)), "label": "control: tied, same rate"}),
    ]


def _focus(rows: pd.DataFrame) -> tuple[float, float]:
    """Return limits about what `rows` end with, and _APPROACH below; how they begin would flatten it."""
    ends = rows.loc[rows.groupby(["network", "split"])["age"].idxmax()]
    spread = ends["std"].fillna(0)
    low, high = (ends["mean"] - spread).min(), (ends["mean"] + spread).max()
    return low - max(_APPROACH, 2 * (high - low)), high + 0.05 * max(_APPROACH, high - low)


def draw_ends(ends: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw normalized norm and test accuracy at the end against the split, from `ends` (untied_results.end_summary)."""
    figure, axes = style.new(_WIDTH, 2.7, ncols=2)
    looks = {
        "lcn": (style.BLUE, "o", "-", 1),
        "cnn": (style.ORANGE, "s", "--", 1.04),
        "fcn": (style.GREEN, "^", "-.", 0.96),
    }
    names = {"lcn": "untied (locally connected)", "cnn": "control: tied, same rate", "fcn": "fully connected"}
    for place, quantity in zip(axes, ("log_normalized_norm", "test_accuracy"), strict=True):
        chosen = ends[ends["quantity"] == quantity]
        for network, (colour, marker, line, shift) in looks.items():
            rows = chosen[(chosen["network"] == network) & (chosen["split"] != SCRATCH)].sort_values("split")
            if rows.empty:
                continue
            # Side by side by a hair, so that no error bar hides another.
            place.errorbar(
                rows["split"] * shift, rows["mean"], rows["std"], label=names[network], color=colour, marker=marker,
                linestyle=line, elinewidth=1, markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
        for network, colour in (("cnn", "black"), ("lcn", style.BLUE), ("fcn", style.GREEN)):
            rows = _of(chosen, network, SCRATCH)
            if not rows.empty:
                mean, std = rows["mean"].iloc[0], rows["std"].iloc[0]
                plain = network == "cnn"
                place.axhline(
                    mean, color=colour, linewidth=1.6 if plain else 0.9, linestyle="-" if plain else ":", zorder=1,
                    label=f"{_NETWORKS[network]}, from scratch",
                )  # fmt: skip
                if rows["seeds"].iloc[0] > 1:
                    place.axhspan(mean - std, mean + std, color=colour, alpha=0.1, linewidth=0, zorder=0)
        place.set(xscale="log", xlabel="split (epoch of the CNN)", ylabel=_QUANTITIES[quantity])
        _plain_ticks(place.xaxis, sorted(ends.loc[ends["split"] != SCRATCH, "split"].unique()))
        if chosen["mean"].notna().sum() == 0:
            # A norm is not defined where mean margins are not positive.
            place.annotate("not defined", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color="0.4")
            place.set_yticks([])
    # A panel may lack what the other has.
    found = {label: one for place in axes for one, label in zip(*place.get_legend_handles_labels(), strict=True)}
    figure.legend(
        found.values(), found.keys(), loc="outside upper center", ncols=3, handlelength=2.4, columnspacing=1.4
    )
    style.note(figure, _footnote(ends, settings, missing))
    return figure


def draw_deviation(curves: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw how far weights are from being tied, and of fully connected networks from being local, layer by layer.

    From `curves` (tacit.studies.untied_results.layer_curves), over epochs since the split.
    """
    layers = sorted({int(name.rpartition("_")[2]) for name in curves["quantity"]})
    rows = [("lcn", "deviation", "deviation from tying"), ("fcn", "off_local", "norm off local / norm")]
    rows = [row for row in rows if (curves["network"] == row[0]).any()]
    splits = sorted(curves["split"].unique())
    norm = _norm(splits)
    size = {"nrows": len(rows), "ncols": len(layers), "squeeze": False, "sharex": True, "sharey": "row"}
    figure, axes = style.new(_WIDTH, 0.7 + 1.75 * len(rows), **size)
    for line, (network, quantity, label) in zip(axes, rows, strict=True):
        for place, layer in zip(line, layers, strict=True):
            for split in splits:
                chosen = _of(curves[curves["quantity"] == f"{quantity}_{layer}"], network, split)
                _line(place, chosen, x="epoch", color=_SPLITS(norm(split)))
            place.set(xscale="log", yscale="log")
            place.tick_params(axis="y", which="minor", labelsize=7)
        line[0].set_ylabel(f"{label}\n({_NETWORKS[network]})")
    for place, layer in zip(axes[0], layers, strict=True):
        place.set_title(f"convolution {layer}", fontsize=9)
    for place in axes[-1]:
        place.set_xlabel("epochs since the split")
        _plain_ticks(place.xaxis, None)
    _colour_bar(figure, axes, norm, splits)
    style.note(figure, _footnote(curves, settings, missing))
    return figure


def draw_margins(histograms: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw histograms of margins from `histograms` (untied_results.collect_margins), a column a split that is shown."""
    shown = [split for split in sorted(settings["shown"]["splits"]) if (histograms["split"] == split).any()] or [
        SCRATCH
    ]
    figure, axes = style.new(_WIDTH, 2.4, ncols=len(shown), squeeze=False, sharex=True, sharey=True)
    labels = {}
    for place, split in zip(axes[0], shown, strict=True):
        for network, begun, looks in _lines(split):
            rows = _of(histograms, network, begun)
            if not rows.empty and (network, begun) != ("lcn", SCRATCH):
                edges = [*rows["low"], rows["high"].iloc[-1]]
                labels[looks["label"]] = place.stairs(rows["images"], edges, **looks)
        place.set_xlabel("margin")
        if split != SCRATCH:
            place.set_title(f"split at epoch {split}")
    axes[0, 0].set_ylabel(f"{settings['shown']['margin_of']} images")
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=len(labels), handlelength=2.4)
    style.note(figure, _footnote(histograms, settings, missing, spread="images of all seeds together"))
    return figure


def draw_interpolation(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw loss and accuracy on the paths between networks, from `summary` (untied_results.interpolation_summary)."""
    there = set(zip(summary["origin"], summary["target"], strict=True))
    pairs = [pair for pair in map(tuple, settings["interpolation"]["pairs"]) if pair in there]
    figure, axes = style.new(_WIDTH, 4.2, nrows=2, ncols=len(pairs), squeeze=False, sharex=True, sharey="row")
    for place, (origin, target) in zip(axes[0], pairs, strict=True):
        # Names of an epoch are long; side by side they would run into the next panel.
        blank = "\n" if "@" in origin + target else " "
        place.set_title(f"{spoken(origin)} →{blank}{spoken(target)}", fontsize=9)
    for line, (quantity, label) in zip(axes, (("loss", "loss"), ("accuracy", "accuracy (%)")), strict=True):
        for place, (origin, target) in zip(line, pairs, strict=True):
            here = summary[(summary["origin"] == origin) & (summary["target"] == target)]
            for method, (colour, mark) in _METHODS.items():
                # The straight line is often under the curved one, so it is wide enough to be seen there.
                wide = 2 if method == "linear" else 1
                for part, looks in (
                    ("test", {"linewidth": 1.5 * wide}),
                    ("train", {"linewidth": wide, "linestyle": (0, (3, 1.5))}),
                ):
                    chosen = here[(here["method"] == method) & (here["quantity"] == f"{part}_{quantity}")]
                    _line(place, chosen, x="alpha", color=colour, marker=mark, markersize=2.5, **looks)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            if quantity == "accuracy":
                place.set_xlabel(r"$\alpha$")
        line[0].set_ylabel(label)
    methods = [name for name in _METHODS if (summary["method"] == name).any()]
    handles = [
        Line2D([], [], color=_METHODS[name][0], marker=_METHODS[name][1], markersize=2.5, label=name)
        for name in methods
    ]
    handles += [
        Line2D([], [], color="0.3", label="test"),
        Line2D([], [], color="0.3", linewidth=1, linestyle=(0, (3, 1.5)), label="train"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=2, columnspacing=1.3)
    style.note(figure, _footnote(summary, settings, missing))
    return figure


def spoken(solution: str) -> str:
    """Return how a solution such as lcn-9 is written in a figure."""
    network, split, epoch = Solution.named(solution)
    at = "" if epoch is None else f", epoch {epoch}"
    return network.upper() + ("" if split is None else f" split at {split}") + at


def _of(curves: pd.DataFrame, network: str, split: int) -> pd.DataFrame:
    return curves[(curves["network"] == network) & (curves["split"] == split)]


def _line(axes: Any, rows: pd.DataFrame, *, x: str = "age", **looks: Any) -> None:
    """Draw means with a band of one standard deviation, if there is more than one seed."""
    if rows.empty:
        return
    rows = rows.sort_values(x)
    axes.plot(rows[x], rows["mean"], **looks)
    if rows["seeds"].max() > 1:
        low, high = rows["mean"] - rows["std"], rows["mean"] + rows["std"]
        axes.fill_between(rows[x], low, high, color=looks["color"], alpha=0.15, linewidth=0)


def _norm(splits: list[int]) -> LogNorm:
    first = min(splits, default=1)
    return LogNorm(first, max([*splits, first + 1]))


def _colour_bar(figure: Figure, axes: Any, norm: LogNorm, splits: list[int]) -> None:
    bar = figure.colorbar(ScalarMappable(norm, _SPLITS), ax=axes, label="split (epoch of the CNN)", aspect=30, pad=0.01)
    _plain_ticks(bar.ax.yaxis, splits)


def _plain_ticks(axis: Any, ticks: list[int] | None) -> None:
    """Mark these numbers (or, of none, what matplotlib takes) in full, and nothing between them."""
    if ticks:
        axis.set_ticks(ticks)
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _footnote(
    table: pd.DataFrame, settings: Settings, missing: int, *, spread: str = "mean and one standard deviation"
) -> str:
    images, architecture, shown = Images.from_plain(settings["images"]), settings["architecture"], settings["shown"]
    number = images.num_train
    return style.described(
        settings["scale"],
        images.title + f" at {images.side} px" + (f", {number:,} train" if number else ""),
        f"{architecture['name']} CNN of width {architecture['width']}",
        f"rates {shown['cnn_learning_rate']:g} and, after a split, {shown['learning_rate']:g}",
        seeds=table["seeds"],
        missing=missing,
        spread=spread,
    )


def _of_runs(summarize: Callable[[pd.DataFrame, Shown], pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Return what gives a summary of the runs that are shown."""

    def numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
        return summarize(tables["runs"], Shown.from_plain(settings["shown"]))

    return numbers


_RUNS = {"runs": untied_results.RUNS}
CURVES = Drawing(_RUNS, _of_runs(untied_results.curves), draw)
SPLITS = Drawing(_RUNS, _of_runs(untied_results.end_summary), draw_ends)
DEVIATION = Drawing(_RUNS, _of_runs(untied_results.layer_curves), draw_deviation)
MARGINS = Drawing({"margins": untied_results.MARGINS}, lambda tables, settings: tables["margins"], draw_margins)
INTERPOLATION = Drawing(
    {"interpolations": untied_results.INTERPOLATIONS},
    lambda tables, settings: untied_results.interpolation_summary(tables["interpolations"]),
    draw_interpolation,
)
