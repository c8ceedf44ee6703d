"""The figure on loss landscapes of trained residual networks: surface and contours, with skips and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.depth_landscapes import AXES, ROUGHNESS, SURFACES, drawn
from tacit.studies.tables import MissingRunsError

_WORDS = {
    "skip": "skips",
    "plain": "no skips",
    "none": "no skips, factor $L^{-\\alpha}$",
    "linear_skip": "linear skips",
    "inc_skip": "incremental skips",
}
_LEVELS = 24
_SAMPLES = {"train": "training", "test": "test"}


def draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw a column for each network: the loss as a surface, and below as contours with the network itself marked."""
    panels = [own for _, own in numbers.groupby("panel", sort=True)]
    figure = style.blank(style.PAGE, 4.7)
    for number, own in enumerate(panels):
        # Rows that are not there yet are left white.
        table = own.pivot(index="row", columns="a", values="loss").reindex(range(own["column"].max() + 1))
        table.index = table.columns
        a, b, losses = table.columns.to_numpy(float), table.index.to_numpy(float), table.to_numpy(float)
        losses = np.where(np.isfinite(losses), losses, np.nan)
        first = own.iloc[0]
        title = f"{_WORDS[first['augmentation']]}, $L={first['depth']:.0f}$\nloss {first['own_loss']:.3g}"
        above: Any = figure.add_subplot(2, len(panels), number + 1, projection="3d")
        above.plot_surface(
            *np.meshgrid(a, b), losses, cmap="viridis", linewidth=0, antialiased=True, rstride=1, cstride=1
        )
        above.set_title(title, y=0.98)
        above.set(xlabel="$a$", ylabel="$b$")
        above.tick_params(labelsize=6, pad=-1)
        for axis in (above.xaxis, above.yaxis, above.zaxis):
            axis.labelpad = -5
        above.set_box_aspect(None, zoom=0.92)
        below: Any = figure.add_subplot(2, len(panels), len(panels) + number + 1)
        shades = below.contourf(a, b, losses, levels=_LEVELS, cmap="viridis")
        below.plot(0, 0, marker="x", color=style.VERMILION, markersize=5)
        below.set(xlabel="$a$", ylabel="$b$", aspect="equal")
        below.grid(visible=False)
        rough = first["roughness"]
        words = "" if np.isnan(rough) else f"not quadratic: {100 * rough:.3g} %"
        below.set_title(words, fontsize=7)
        bar = figure.colorbar(shades, ax=below, shrink=0.85)
        bar.locator = matplotlib.ticker.MaxNLocator(6)
        bar.update_ticks()
        bar.ax.tick_params(labelsize=6)
        bar.set_label("loss", fontsize=7)
    plane = settings["landscapes"]["each"]
    of = f" of {plane['data']['source']}" if plane["data"] else ""
    samples = f"{plane['images']} {_SAMPLES[plane['samples']]} samples{of}"
    seeds = ", ".join(str(int(own["seed"].iloc[0])) for own in panels)
    described = [samples, f"directions scaled per {plane['per']}", f"seed {seeds}"]
    style.note(figure, style.described(settings["scale"], *described, missing=missing))
    return figure


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return the points of the first seed of each network, with its loss and roughness."""
    surfaces, rough = tables["surfaces"], tables["roughness"]
    panels = []
    for number, own in enumerate(drawn(surfaces, settings["landscapes"]["of"])):
        if own.empty:
            continue
        both = own.merge(rough.rename(columns={"loss": "own_loss"})[[*AXES, "own_loss", "roughness"]], on=AXES)
        panels.append(both.assign(panel=number))
    if not panels:
        raise MissingRunsError(
            "no part of what depth_limit.landscapes asks for is there yet; without partial they are computed"
        )
    columns = ["panel", *AXES, "row", "column", "a", "b", "loss", "own_loss", "roughness"]
    return pd.concat(panels, ignore_index=True)[columns]


LANDSCAPE = Drawing({"surfaces": SURFACES, "roughness": ROUGHNESS}, _numbers, draw)
