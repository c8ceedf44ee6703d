"""The figure on convolutional residual networks of many layers: accuracy and loss by epoch, Omega by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import depth_panels as panels
from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.depth_cifar import CURVES, GRADIENTS, PUBLISHED_RATE, PUBLISHED_SIZE, RUNS
from tacit.studies.depth_gradients import mean_law
from tacit.studies.tables import MissingRunsError

_MOST = 120
"""Steps of a line that are drawn; each stands for the mean of its neighbours."""


def draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw test accuracy, test and train loss against epochs, and Omega with its power law; a line a depth."""
    figure, axes = style.new(style.PAGE, 2.75, ncols=3)
    depths = sorted(numbers["depth"].unique())
    colours = panels.colours_of(depths)

    def lines(place: Any, quantity: str, *, factor: float = 1, **looks: Any) -> None:
        for number, depth in enumerate(depths):
            own = numbers[(numbers["quantity"] == quantity) & (numbers["depth"] == depth)].sort_values("time")
            style_of = {"linestyle": style.line(number), "linewidth": 1.2, **looks}
            place.plot(own["time"], factor * own["mean"], color=colours[depth], **style_of)
            if quantity != "omega":
                low, high = factor * own["low"], factor * own["high"]
                place.fill_between(own["time"], low, high, color=colours[depth], alpha=0.15, linewidth=0)

    lines(axes[0], "test_accuracy", factor=100)
    axes[0].set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 102))
    lines(axes[1], "test_loss")
    lines(axes[1], "train_loss", linewidth=0.6)
    axes[1].set(xlabel="epoch", ylabel="loss: test bold, train thin", yscale="log")
    lines(axes[2], "omega", linewidth=0.7, linestyle="-")
    for number, depth in enumerate(depths):
        law = numbers[(numbers["quantity"] == "law") & (numbers["depth"] == depth)].sort_values("time")
        axes[2].plot(law["time"], law["mean"], color=colours[depth], linestyle=style.line(number), linewidth=1.8)
    if settings["published"]:
        times = np.linspace(0, numbers["time"].max(), 100)
        law = PUBLISHED_SIZE * (times + 1) ** -PUBLISHED_RATE
        axes[2].plot(times, law, color="black", linestyle=":", linewidth=1, label="published")
        axes[2].legend(loc="lower left")
    axes[2].set(xlabel="epoch $t$", ylabel="$\\Omega(t)$; fits bold", yscale="log")
    deepest = numbers[(numbers["quantity"] == "law") & (numbers["depth"] == depths[-1])]
    if len(deepest):
        words = f"$L={depths[-1]}$: {panels.formula(*deepest[['size', 'rate', 'shift']].iloc[0])}"
        axes[2].text(0.97, 0.97, words, transform=axes[2].transAxes, ha="right", va="top", fontsize=6.5)
    for place in axes:
        place.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
    handles = [
        Line2D([], [], color=colours[depth], linestyle=style.line(number), linewidth=1.2, label=f"{depth} layers")
        for number, depth in enumerate(depths)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6), handlelength=2.4)
    described = (f"{settings['images']['source']}, width {settings['network']['width']}",)
    seeds = numbers[numbers["quantity"] == "test_accuracy"]["seeds"]
    style.note(
        figure,
        style.described(settings["scale"], *described, seeds=seeds, missing=missing, spread="mean, least to greatest"),
    )
    return figure


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return mean, least and greatest over seeds, by quantity, depth and time in epochs; Omega averaged over time."""
    if tables["runs"].empty:
        raise MissingRunsError("no run of a convolutional network is there yet; without partial they are trained")
    rows: list[dict[str, Any]] = []
    # A line ends where the first of its runs does, if one ended early: beyond, it would be of others.
    seeds = tables["runs"].groupby("depth")["seed"].nunique()
    for (depth, epoch), own in tables["curves"].groupby(["depth", "epoch"]):
        if len(own) < seeds[depth]:
            continue
        for quantity in ("test_accuracy", "test_loss", "train_loss"):
            values = own[quantity].dropna().to_numpy(float)
            if len(values):
                rows.append({"quantity": quantity, "depth": depth, "time": epoch} | _spread(values))
    for depth, own in tables["gradients"].groupby("depth"):
        wide = own.pivot(index="step", columns="seed", values="omega").dropna()
        times = own.groupby("step")["time"].first()[wide.index].to_numpy()
        for part in np.array_split(np.arange(len(wide)), min(_MOST, len(wide))):
            values = wide.to_numpy()[part].mean(0)
            rows.append({"quantity": "omega", "depth": depth, "time": times[part].mean()} | _spread(values))
        fits = tables["runs"][tables["runs"]["depth"] == depth].dropna(subset="rate")
        if len(fits):
            size, rate, shift = (float(fits[name].mean()) for name in ("size", "rate", "shift"))
            law = {"size": size, "rate": rate, "shift": shift, "seeds": len(fits)}
            at = np.linspace(times[0], times[-1], 100)
            for time, mean in zip(at, mean_law(fits, at), strict=True):
                rows.append({"quantity": "law", "depth": depth, "time": time, "mean": mean} | law)
    columns = ["quantity", "depth", "time", "mean", "low", "high", "seeds", "size", "rate", "shift"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _spread(values: np.ndarray) -> dict[str, float]:
    # An interval of three accuracies that jump would reach beyond what there is.
    return {"mean": values.mean(), "low": values.min(), "high": values.max(), "seeds": len(values)}


CIFAR = Drawing({"runs": RUNS, "curves": CURVES, "gradients": GRADIENTS}, _numbers, draw)
