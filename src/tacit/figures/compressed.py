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
from tacit.figures.factorized import DENSE, LOOKS, SPREAD, label_of
from tacit.settings.images import FACTS
from tacit.studies.compressed import AXES
from tacit.studies.compressed_results import NAMES, RUNS
from tacit.studies.tables import MissingRunsError, over_seeds_of, rows_with

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
    rows = []
    keys = [name for name in AXES if name != "seed"]
    for axes, own in runs.groupby(keys, sort=True):
        named = dict(zip(keys, axes, strict=True))
        # Those of SNIP, GraSP and random tickets are the same for all seeds too.
        counts = {name: int(own[name].iloc[0]) for name in ("parameters", "dense_parameters")}
        found = over_seeds_of(own["test_accuracy"].to_numpy(float))
        others = {name: own[f"{name}_accuracy"].mean() for name in ("best", "chosen", "test_top5")}
        rows.append(named | counts | {"share": own["share"].iloc[0]} | found | others | {"reported": np.nan})
    return _with_reported(pd.DataFrame(rows), settings.get("compression", {}))


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


def _bars(place: Any, x: Any, own: pd.DataFrame, *, error: bool = False, **looks: Any) -> None:
    """Draw mean accuracies or errors in % with their intervals."""
    spread = np.nan_to_num(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])).clip(0)
    middle = 1 - own["mean"] if error else own["mean"]
    spread = spread[::-1] if error else spread
    place.errorbar(x, 100 * middle, 100 * spread, linewidth=1.1, capsize=2, elinewidth=0.8, markersize=4, **looks)


def _described(settings: Settings, block: Mapping[str, Any], seeds: pd.Series, missing: int) -> str:
    sets = block["images"] if isinstance(block["images"], list | tuple) else [block["images"]]
    said = [", ".join(images["source"] for images in sets), f"{block['training']['epochs']} epochs"]
    return style.described(settings["scale"], *said, seeds=seeds, missing=missing, spread=SPREAD)


# Compression.


def _draw_compression(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw accuracy against the share of parameters, a panel a network and image set."""
    own = settings["compression"]
    sources = [images["source"] for images in own["images"] if images["source"] in set(numbers["source"])]
    networks = [(one["family"], one["depth"], one["width"]) for one in own["networks"]]
    networks = [one for one in networks if len(_of_network(numbers, one))]
    rows, columns = (networks, sources) if len(sources) > 1 else (sources, networks)
    figure, axes = style.new(
        style.PAGE if len(columns) > 1 else style.COLUMN,
        0.8 + 1.95 * len(rows),
        nrows=len(rows),
        ncols=len(columns),
        squeeze=False,
    )
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
    most = 5 if figure.get_figwidth() > style.COLUMN else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=most, handlelength=2.6, columnspacing=1.2)
    style.note(figure, _described(settings, own, numbers["seeds"], missing))
    return figure


def _of_network(numbers: pd.DataFrame, network: Sequence[Any]) -> pd.DataFrame:
    return rows_with(numbers, **dict(zip(("network", "depth", "width"), network, strict=True)))


def _panel(place: Any, here: pd.DataFrame) -> None:
    """Draw all networks of one kind on one image set."""
    dense = rows_with(here, method="dense")
    for row in dense.itertuples():
        place.axhline(100 * row.mean, color=DENSE, linewidth=1, zorder=1)
        if np.isfinite(row.low):
            place.axhspan(100 * row.low, 100 * row.high, color=DENSE, alpha=0.12, linewidth=0, zorder=0)
    kinds = [
        ({"method": "low_rank", "initialization": start, "decay": decay}, looks)
        for (start, decay), looks in LOOKS.items()
    ]
    kinds += [({"method": method}, looks) for method, looks in _SPARSE.items()]
    for number, (of, looks) in enumerate(kinds):
        own = rows_with(here, **of).sort_values("size")
        # Aside, as all have nearly the same sizes.
        moved = 100 * own["share"] * 1.03 ** (number - 3)
        _bars(place, moved, own, **looks)
        place.plot(moved, 100 * own["reported"], "_", color=looks["color"], markersize=9, zorder=4)
    for row in dense.itertuples():
        if np.isfinite(row.reported):
            place.axhline(100 * row.reported, color="k", linewidth=0.8, linestyle=style.line(2), zorder=1)
    ratios = sorted(set(here["size"]) - {1.0})
    place.set_xscale("log")
    if ratios:
        place.set_xlim(100 * ratios[0] / 1.4, 100 * ratios[-1] * 1.4)
    _ticks(place, [100 * ratio for ratio in ratios], [f"{100 * ratio:.3g}" for ratio in ratios])
    _within(place)


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


def _within(place: Any) -> None:
    """Let an axis in % end at 0 and 100, beyond which intervals may reach."""
    low, high = place.get_ylim()
    place.set_ylim(max(low, -0.5), min(high, 100.5))


def _handle(label: str, looks: Mapping[str, Any]) -> Line2D:
    return Line2D([], [], linewidth=1.1, markersize=4, label=label, **looks)


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
        for row in dense.itertuples():
            place.axhline(100 - 100 * row.mean, color=DENSE, linewidth=1, zorder=1)
            if np.isfinite(row.low):
                place.axhspan(100 - 100 * row.high, 100 - 100 * row.low, color=DENSE, alpha=0.12, linewidth=0, zorder=0)
        for number, ((start, decay), looks) in enumerate(_VARIANTS.items()):
            lines = rows_with(here, initialization=start, decay=decay).sort_values("parameters")
            # Aside, as all have the same sizes.
            _bars(place, lines["parameters"] * 1.04 ** (number - 2.5), lines, error=True, **looks)
        sizes = sorted(here["parameters"].unique())
        place.set(xscale="log", xlabel="parameters", title=NAMES[method])
        if sizes:
            place.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
            _ticks(place, sizes, [_short(size) for size in sizes])
    axes[0].set_ylabel("test error (%)")
    _within(axes[0])
    there = {tuple(row) for row in numbers[["initialization", "decay"]].to_numpy()}
    handles = [
        _handle(f"{'SI' if start == 'spectral' else 'regular'}, {_DECAYS[decay]}", looks)
        for (start, decay), looks in _VARIANTS.items()
        if (start, decay) in there
    ]
    for row in dense.itertuples():
        handles.append(Line2D([], [], color=DENSE, linewidth=1, label=f"dense ({_short(row.parameters)})"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=2.6, columnspacing=1.2)
    network = own["network"]
    width = f"-{network['width']}" if network["family"] == "wide_resnet" else f" of width {network['width']}"
    said = f"{_FAMILIES[network['family']]}{network['depth']}{width}"
    style.note(figure, f"{said}, {_described(settings, own, numbers['seeds'], missing)}")
    return figure


_DECAYS = {"weight": "WD", "scaled": "CRS", "frobenius": "FD"}


def _short(count: int) -> str:
    """Return a count in thousands or millions, of three digits."""
    return f"{count / 1e6:.3g} M" if count >= 999_500 else f"{count / 1e3:.3g} k"


TENSORS = Drawing({"runs": RUNS}, _numbers, _draw_tensors)
