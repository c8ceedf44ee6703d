"""How every figure looks, and how it is saved."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import matplotlib

matplotlib.use("agg")

from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tacit import provenance, store
from tacit.runlog import log

COLUMN, PAGE = 3.25, 6.75
"""Widths in inches of one column of a paper and of its page; figures have one of these, and are printed as they are."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Colours that are told apart by whoever sees colours otherwise than most (Okabe, Ito 2008)."""

STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]),
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 250,
    "pdf.fonttype": 42,
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
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


_LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))

_LETTERS_PER_INCH = 21
"""Letters of a note, in its size, that fit an inch."""


def line(number: int) -> Any:
    """Return a line style, which tells lines apart without colour; the fifth is the first again."""
    return _LINES[number % len(_LINES)]


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
    """Write, small and below the axes on the right, what data and scale a figure shows; large if runs are missing."""
    # So that nobody misses it.
    looks: dict[str, Any] = {"fontsize": 6, "color": "0.35"}
    if "PARTIAL" in text:
        looks = {"fontsize": 8, "color": VERMILION, "fontweight": "bold"}
    letters = _LETTERS_PER_INCH * figure.get_figwidth() * 6 / looks["fontsize"]
    figure.supxlabel("\n".join(textwrap.wrap(text, round(letters))), x=0.995, ha="right", **looks)


def described(scale: str, *parts: str, seeds: Iterable[int] = (), missing: int, spread: str = "") -> str:
    """Return what a note says of every figure: missing runs, scale, `parts`, how many seeds there are, if of any.

    `spread` says what bars or bands show of them, if there is more than one.
    """
    numbers = sorted(set(seeds))
    partial = [f"PARTIAL: {missing} run{'' if missing == 1 else 's'} missing"] if missing else []
    several = []
    if numbers == [1]:
        several = ["1 seed"]
    elif numbers:
        number = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        several = [f"{number} seeds", *([spread] if spread else [])]
    return ", ".join([*partial, f"{scale} scale", *parts, *several])


def preview_of(path: str | Path) -> Path:
    """Return where the picture of a figure lies that pages can show, which PDF is none: hidden beside it."""
    path = Path(path)
    return path.with_name(f".{path.stem}.png")


def save(figure: Figure, path: str | Path) -> None:
    """Save `figure` as PDF at `path`, and its preview, atomically and without times: the same figure is the same bytes.

    If runs of older code are drawn in it, its note says so first.
    """
    if older := provenance.origin().older:
        said = figure.get_supxlabel().replace("\n", " ")
        note(figure, f"OLDER CODE: {older} run{'' if older == 1 else 's'}, {said}")
    store.write_bytes(path, _bytes_of(figure, "pdf", {"CreationDate": None, "Creator": "Tacit", "Producer": None}))
    preview = preview_of(path)
    try:
        store.write_bytes(preview, _bytes_of(figure, "png", {"Software": None}))
    except store.StoreError as error:
        # No reason to lose the figure; pages say that there is none.
        log.warning("no preview for pages: %s", error)
    plt.close(figure)


def _bytes_of(figure: Figure, form: str, metadata: dict[str, str | None]) -> memoryview:
    content = io.BytesIO()
    figure.savefig(content, format=form, metadata=metadata)
    return content.getbuffer()


def epochs(training: Mapping[str, Any]) -> str:
    """Return how long networks were trained, in words; those that may end early, at most so long."""
    most = "at most " if training.get("early_stopping") else ""
    return f"{most}{training['epochs']} epochs"
