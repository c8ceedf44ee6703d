"""The tensor completion figure: error and estimated rank against the number of observations (Razin, Cohen 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.tensor_completion import RUNS, summarize

_LOOKS = ((style.ORANGE, "v", "-"), (style.GREEN, "^", "-."), (style.SKY, "s", "--"), (style.PURPLE, "D", ":"))
_LINEAR = (style.BLUE, "o", "--")


def draw(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw `summary` (tacit.studies.tensor_completion.summarize): a row of two panels for each target, error and rank.

    Markers are medians over seeds, bars reach from the lower to the upper quartile. Where no rank was estimated, the
    panel says so.
    """
    targets = list(dict.fromkeys(zip(summary["shape"], summary["target_rank"], strict=True)))
    # A start looks the same in all rows, whichever have it.
    scales = sorted(summary.loc[summary["method"] == "factorization", "init_std"].unique(), reverse=True)
    looks = dict(zip(scales, np.resize(np.array(_LOOKS, object), (len(scales), 3)), strict=True))
    figure, axes = style.new(style.PAGE, 0.7 + 2.3 * len(targets), nrows=len(targets), ncols=2, squeeze=False)
    for (shape, rank), (errors, ranks) in zip(targets, axes, strict=True):
        own = summary[(summary["shape"] == shape) & (summary["target_rank"] == rank)]
        _draw_method(errors, ranks, own[own["method"] == "linear"], _LINEAR, "linear")
        runs = own[own["method"] == "factorization"]
        for std, look in looks.items():
            if len(started := runs[runs["init_std"] == std]):
                _draw_method(errors, ranks, started, look, f"factorization, start {std:g}")
        estimated = own["estimated_target_rank"].iloc[0]
        # Of full rank is what has no rank by its making.
        if (line := _number(estimated if rank == "full" else rank)) is not None:
            ranks.axhline(line, color=style.VERMILION, linewidth=2.5, zorder=1, label="target")
        errors.set_yscale("log")
        errors.set_ylabel("reconstruction error")
        ranks.set_ylabel("estimated CP rank")
        ranks.set_ylim(0, None)
        ranks.yaxis.set_major_locator(MaxNLocator(integer=True))
        name = f"{shape}, full rank" if rank == "full" else f"{shape}, rank {rank}"
        errors.set_title(name)
        ranks.set_title(f"{name}{_estimate(estimated)}")
        if own["rank_median"].isna().all():
            ranks.set(xticks=[], yticks=[])
            ranks.text(0.5, 0.5, "no rank was estimated", transform=ranks.transAxes, ha="center", va="center")
    for place in axes[-1]:
        place.set_xlabel("number of observations")
    shown: dict[str, Any] = {}
    for place in axes[:, 1]:
        for handle, label in zip(*place.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    # In the order of one row that has all.
    order = sorted(shown, key=lambda label: (label != "target", label != "linear", -_start(label)))
    handles = [shown[label] for label in order]
    figure.legend(handles, order, loc="outside upper center", ncols=len(order), handlelength=2.4, columnspacing=1.2)
    seeds = int(summary.loc[summary["method"] == "factorization", "seeds"].max())
    style.note(
        figure, style.described(settings["scale"], seeds=[seeds], missing=missing, spread="medians and quartiles")
    )
    return figure


def _start(label: str) -> float:
    """Return the start that a label names, 0 if it names none."""
    _, _, number = label.partition("start ")
    return float(number) if number else 0.0


def _number(rank: Any) -> float | None:
    """Return a rank as a number; None if there is none."""
    return None if pd.isna(rank) or float(rank) < 0 else float(rank)


def _estimate(rank: Any) -> str:
    """Return what the title says of the estimated rank of a target."""
    if pd.isna(rank):
        return ""
    return f" (estimated {rank:.0f})" if rank >= 0 else " (no estimate)"


def _draw_method(errors, ranks, rows: pd.DataFrame, look: tuple[str, str, str], label: str) -> None:
    colour, marker, line = look
    rows = rows.sort_values("num_observations")
    for place, name in ((errors, "error"), (ranks, "rank")):
        middle = rows[f"{name}_median"]
        spread = [middle - rows[f"{name}_low"], rows[f"{name}_high"] - middle]
        place.errorbar(
            rows["num_observations"], middle, spread, color=colour, marker=marker, linestyle=line, label=label,
            markersize=4.5, elinewidth=1, markeredgecolor="white", markeredgewidth=0.4, zorder=3,
        )  # fmt: skip


ERRORS = Drawing({"runs": RUNS}, lambda tables, settings: summarize(tables["runs"]), draw)
