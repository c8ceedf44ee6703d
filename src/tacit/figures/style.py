"""How every figure looks, and how it is saved."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tacit import provenance, store

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 250,
    "pdf.fonttype": 42,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 0.4,
    "grid.color": "0.88",
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
}


_LETTERS_PER_INCH = 21
"""Letters of a note, in its size, that fit an inch."""


def new(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure of `width` x `height` inches in the house style, and its empty axes."""
    figure = blank(width, height)
    return figure, figure.subplots(**subplots)


def blank(width: float, height: float) -> Figure:
    """Return a figure without axes."""
    plt.rcdefaults()
    plt.rcParams.update(cast(Any, STYLE))
    return plt.figure(figsize=(width, height))


def note(figure: Figure, text: str) -> None:
    """Write, small and below the axes on the right, what data and scale a figure shows; in lines as wide as it is."""
    text = "\n".join(textwrap.wrap(text, round(_LETTERS_PER_INCH * figure.get_figwidth())))
    figure.supxlabel(text, x=0.995, ha="right", fontsize=6.5, color="0.4")


def described(scale: str, *parts: str, seeds: Iterable[int], missing: int) -> str:
    """Return what a note says of every figure: missing runs, scale, `parts`, and how many seeds there are."""
    numbers = sorted(set(seeds))
    number = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    partial = [f"PARTIAL: {missing} run{'' if missing == 1 else 's'} missing"] if missing else []
    return ", ".join([*partial, f"{scale} scale", *parts, f"{number} seed" + ("" if number == "1" else "s")])


def save(figure: Figure, path: str | Path) -> None:
    """Save `figure` as PDF at `path`, atomically and without times, so that the same figure has the same bytes.

    If runs of older code are drawn in it, its note says so first.
    """
    if older := provenance.origin().older:
        said = figure.get_supxlabel().replace("\n", " ")
        note(figure, f"OLDER CODE: {older} run{'' if older == 1 else 's'}, {said}")
    content = io.BytesIO()
    figure.savefig(content, format="pdf", metadata={"CreationDate": None, "Creator": "Tacit", "Producer": None})
    plt.close(figure)
    store.write_bytes(path, content.getbuffer())
