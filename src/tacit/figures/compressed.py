"""Figures on compressed networks: accuracy against the share of parameters, and error of tensor layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.figures.factorized import DENSE, LOOKS, SPREAD, band, bars, grid, label_of, legend, percent, summary
from tacit.settings.images import FACTS
from tacit.studies.compressed import AXES
from tacit.studies.compressed_results import NAMES, RUNS
from tacit.studies.tables import MissingRunsError, rows_with

_SPARSE: dict[str, dict[str, Any]] = {
    "snip": {"color": style.GREEN, "marker": "v", "linestyle": style.line(3)},
    "grasp": {"color": style.PURPLE, "marker": "P", "linestyle": style.line(2)},
    "random_tickets": {"color": "0.45", "marker": "X", "linestyle": style.line(1)},
}

REPORTED = {
    ("cifar10", "resnet", 32, 64): [
        (1.0, "dense", "dense", "weight", 94.49),
        (0.1, "low_rank", "regular", "weight", 93.59),
        (0.1, "low_rank", "spectral", "weight", 92.52),
        (0.1, "low_rank", "regular", "frobenius", 92.92),
        (0.1, "low_rank", "spectral", "frobenius", 94.34),
    ]
}
"""Accuracies in % of the paper's table 1 that others quote: ratio, method, start, decay, by source, network, depth and
width. What is known from memory alone is not among them."""
REPORTED_EPOCHS = 200

_FAMILIES = {"vgg": "VGG", "resnet": "ResNet", "wide_resnet": "WRN-"}


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return mean accuracy and error of each network with 95 % intervals over seeds, its size, and what is reported."""
    runs = tables["runs"]
    if runs.empty:
        raise MissingRunsError("no compressed network is there yet; without partial they are trained")
    numbers = summary(
        runs,
        AXES,
        # Those of SNIP, GraSP and random tickets are the same for all seeds too.
        of_network=("parameters", "dense_parameters", "share"),
        accuracies=("best", "chosen", "test_top5"),
    ).assign(reported=np.nan)
    return _with_reported(numbers, settings.get("compression", {}))


def _with_reported(numbers: pd.DataFrame, own: Settings) -> pd.DataFrame:
    """Write what others quote of the paper beside the networks that it is about, of whole image sets and trainings."""
    whole = {
        images["source"]
        for images in own.get("images", ())
        if not any(images.get(part) for part in ("size", "classes", "num_train", "train_fraction", "num_test"))
    }
    for place, lines in REPORTED.items():
        if place[0] not in whole or own["training"]["epochs"] != REPORTED_EPOCHS:
            continue
        here = dict(zip(("source", "network", "depth", "width"), place, strict=True))
        for size, method, start, decay, accuracy in lines:
            wanted = here | {"method": method, "size": size, "initialization": start, "decay": decay}
            numbers.loc[rows_with(numbers, **wanted).index, "reported"] = accuracy / 100
    return numbers


def _described(settings: Settings, block: Mapping[str, Any], seeds: pd.Series, missing: int) -> str:
    sets = block["images"] if isinstance(block["images"], list | tuple) else [block["images"]]
    said = [", ".join(images["source"] for images in sets), style.epochs(block["training"])]
    return style.described(settings["scale"], *said, seeds=seeds, missing=missing, spread=SPREAD)


# Compression.


def _draw_compression(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw accuracy against the share of parameters, a panel a network and image set."""
    own = settings["compression"]
    sources = [images["source"] for images in own["images"] if images["source"] in set(numbers["source"])]
    networks = [(one["family"], one["depth"], one["width"]) for one in own["networks"]]
    networks = [one for one in networks if len(_of_network(numbers, one))]
    rows, columns = (networks, sources) if len(sources) > 1 else (sources, networks)
    figure, axes = grid(rows, columns, height=1.95)
    for first, line in zip(rows, axes, strict=True):
        for second, place in zip(columns, line, strict=True):
            network, source = (first, second) if len(sources) > 1 else (second, first)
            here = rows_with(_of_network(numbers, network), source=source)
            _panel(place, here)
            # Widths are told apart by sizes, in which networks of one depth differ by four.
            sizes = "".join(f" ({_short(size)})" for size in here["dense_parameters"].unique()[:1])
            place.set_title(f"{_FAMILIES[network[0]]}{network[1]}{sizes}, {FACTS[source].title}", fontsize=7.5)
        line[0].set_ylabel("test accuracy (%)")
    for place in axes[-1]:
        place.set_xlabel("share of parameters (%)")
    there = {tuple(row) for row in numbers[["initialization", "decay"]].to_numpy()}
    handles = [_handle(label_of(*variant), looks) for variant, looks in LOOKS.items() if variant in there]
    methods = set(numbers["method"])
    handles += [_handle(NAMES[name], looks) for name, looks in _SPARSE.items() if name in methods]
    if "dense" in methods:
        handles.append(Line2D([], [], color=DENSE, linewidth=1, label="dense"))
    if numbers["reported"].notna().any():
        line = style.line(2)
        handles.append(
            Line2D([], [], color="k", marker="_", markersize=9, linewidth=0.8, linestyle=line, label="reported")
        )
    legend(figure, handles, most=5)
    style.note(figure, _described(settings, own, numbers["seeds"], missing))
    return figure


def _of_network(numbers: pd.DataFrame, network: Sequence[Any]) -> pd.DataFrame:
    return rows_with(numbers, **dict(zip(("network", "depth", "width"), network, strict=True)))


def _panel(place: Any, here: pd.DataFrame) -> None:
    """Draw all networks of one kind on one image set."""
    dense = rows_with(here, method="dense")
    band(place, dense)
    kinds = [
        ({"method": "low_rank", "initialization": start, "decay": decay}, looks)
        for (start, decay), looks in LOOKS.items()
    ]
    kinds += [({"method": method}, looks) for method, looks in _SPARSE.items()]
    for number, (of, looks) in enumerate(kinds):
        own = rows_with(here, **of).sort_values("size")
        # Aside, as all have nearly the same sizes.
        moved = 100 * own["share"] * 1.03 ** (number - 3)
        bars(place, own, moved, **looks)
        place.plot(moved, 100 * own["reported"], "_", color=looks["color"], markersize=9, zorder=4)
    for row in dense.itertuples():
        if np.isfinite(row.reported):
            place.axhline(100 * row.reported, color="k", linewidth=0.8, linestyle=style.line(2), zorder=1)
    ratios = sorted(set(here["size"]) - {1.0})
    place.set_xscale("log")
    if ratios:
        place.set_xlim(100 * ratios[0] / 1.4, 100 * ratios[-1] * 1.4)
    _ticks(place, [100 * ratio for ratio in ratios], [f"{100 * ratio:.3g}" for ratio in ratios])
    percent(place)


def _ticks(place: Any, values: Sequence[float], labels: Sequence[str]) -> None:
    """Mark ascending values of a logarithmic axis, and name those that are far enough from the one named before."""
    low, high = np.log(place.get_xlim())
    said, last = [], -np.inf
    for value, label in zip(np.log(values), labels, strict=True):
        far = value - last > 0.14 * (high - low)
        said.append(label if far else "")
        last = value if far else last
    place.set_xticks(values, labels=said)
    place.set_xticks([], minor=True)


def _handle(label: str, looks: Mapping[str, Any]) -> Line2D:
    return Line2D([], [], linewidth=1.2, markersize=4, label=label, **looks)


COMPRESSION = Drawing({"runs": RUNS}, _numbers, _draw_compression)


# Tensor layers.

_SCALED: dict[tuple[str, str], dict[str, Any]] = {
    ("regular", "scaled"): {"color": style.PURPLE, "marker": "v", "linestyle": style.line(3)},
    ("spectral", "scaled"): {
        "color": style.GREEN,
        "marker": "P",
        "linestyle": style.line(2),
        "markerfacecolor": "none",
    },
}
_VARIANTS = {
    (start, decay): (LOOKS | _SCALED)[start, decay]
    for start in ("regular", "spectral")
    for decay in ("weight", "scaled", "frobenius")
}


def _draw_tensors(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw test error against parameters, a panel for factors of low rank, tensor trains and Tucker decompositions."""
    own = settings["tensors"]
    methods = ("low_rank", "tensor_train", "tucker")
    figure, axes = style.new(style.PAGE, 2.9, ncols=len(methods), sharey=True)
    dense = rows_with(numbers, method="dense")
    for method, place in zip(methods, axes, strict=True):
        here = rows_with(numbers, method=method)
        band(place, dense, error=True)
        for number, ((start, decay), looks) in enumerate(_VARIANTS.items()):
            lines = rows_with(here, initialization=start, decay=decay).sort_values("parameters")
            # Aside, as all have the same sizes.
            bars(place, lines, lines["parameters"] * 1.04 ** (number - 2.5), error=True, **looks)
        sizes = sorted(here["parameters"].unique())
        place.set(xscale="log", xlabel="parameters", title=NAMES[method])
        if sizes:
            place.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
            _ticks(place, sizes, [_short(size) for size in sizes])
    axes[0].set_ylabel("test error (%)")
    percent(axes[0])
    there = {tuple(row) for row in numbers[["initialization", "decay"]].to_numpy()}
    handles = [
        _handle(label_of(start, decay), looks) for (start, decay), looks in _VARIANTS.items() if (start, decay) in there
    ]
    for row in dense.itertuples():
        handles.append(Line2D([], [], color=DENSE, linewidth=1, label=f"dense ({_short(row.parameters)})"))
    legend(figure, handles, most=4)
    network = own["network"]
    width = f"-{network['width']}" if network["family"] == "wide_resnet" else f" of width {network['width']}"
    said = f"{_FAMILIES[network['family']]}{network['depth']}{width}"
    style.note(figure, f"{said}, {_described(settings, own, numbers['seeds'], missing)}")
    return figure


def _short(count: int) -> str:
    """Return a count in thousands or millions, of three digits."""
    return f"{count / 1e6:.3g} M" if count >= 999_500 else f"{count / 1e3:.3g} k"


TENSORS = Drawing({"runs": RUNS}, _numbers, _draw_tensors)
