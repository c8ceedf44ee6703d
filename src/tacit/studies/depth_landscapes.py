"""Loss landscapes of trained deep residual networks (thesis on weight regularity; Li, Xu, Taylor et al. 2018).

The loss on samples for training or test, on a plane through the weights of all layers; the ends of a network stay as
they are. Of a network with skips it is smooth, of one without it need not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis import landscapes
from tacit.data.images import ImageSet
from tacit.nn.deep_residual import Network
from tacit.runlog import Progress
from tacit.settings.depth_limit import VARIANT, Landscape, RunSettings
from tacit.studies import depth_limit, ledger
from tacit.studies.tables import rows_with

PART = store.Kind(
    "depth limit landscape",
    {"rows": store.Array("int64", "rows"), "losses": store.Array("float64", "rows points", finite=False)},
    attributes=("loss",),
)
"""Some rows of a plane: row along the second direction, column along the first; not finite where a network diverges.
`loss` is that of the network itself."""

AXES = ["experiment", *VARIANT, "depth", "seed"]
SURFACES = store.Table(keys=(*AXES, "row", "column"), numbers=("a", "b"), others=("loss",))
ROUGHNESS = store.Table(keys=AXES, numbers=("loss", "least", "largest"), others=("roughness",))
"""What the tables must be."""

SOURCE = "Li, Xu, Taylor, Studer, Goldstein 2018; thesis on weight regularity"


def part(
    run: str | Path, images: ImageSet | None, own: RunSettings, settings: Landscape, *, part: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return arrays and attributes of one part of the landscape of a run.

    `own` are the settings of the run. `images` are those that the loss is of, if it is not of a function: what the run
    learned from, unless the settings name others. Directions depend on the axes of the run alone.
    """
    # Here, because the tables do without compiled functions.
    from tacit.training.depth_kernel import pass_through

    found = store.read(run, kind=depth_limit.RUN)
    axes = {name: found.settings[name] for name in AXES}
    data = settings.data or own.data
    train, test, _ = depth_limit.samples_of(images, own.model_copy(update={"data": data}))
    network = Network(
        augmentation=axes["augmentation"],
        activation=axes["activation"],
        delta=found.attributes["final_delta"],
        input_weights=found.arrays["input_weights"],
        output_weights=found.arrays["output_weights"],
        p_loss=own.descent.p_loss,
    )
    samples = depth_limit.seen_by(network, train if settings.samples == "train" else test)
    chosen = samples.part(0, settings.images)
    weights, precision = found.arrays["weights"].astype(np.float64), own.descent.precision

    def loss(moved: np.ndarray) -> float:
        return pass_through(network, moved.astype(precision), chosen, threads=1, gradient=False).loss

    generator = streams.numpy_generator(depth_limit.STUDY, "landscape", *(str(axis) for axis in axes.values()))
    directions = landscapes.draw_directions(weights, generator=generator, per=settings.per)
    rows = settings.rows(part)
    progress = Progress(len(rows), what="landscape", unit="row")
    losses = landscapes.evaluate(
        loss, weights, directions, points=settings.points, step=settings.step, rows=rows, advance=progress.advance
    )
    progress.close()
    return {"rows": np.array(rows), "losses": losses}, {"loss": loss(weights)}


def tables(parts: Iterable[str | Path], *, step: float, points: int, missing: int) -> dict[str, pd.DataFrame]:
    """Return landscapes point by point, how rough each is, and what is claimed of that."""
    surfaces: dict[tuple[Any, ...], list[store.Record]] = {}
    for path in parts:
        read = store.read(path, kind=PART)
        surfaces.setdefault(tuple(read.settings[name] for name in AXES), []).append(read)
    tabled, rough = [], []
    along = landscapes.axis(points, step)
    for axes, own in surfaces.items():
        named = dict(zip(AXES, axes, strict=True))
        rows = np.concatenate([one.arrays["rows"] for one in own])
        losses = np.concatenate([one.arrays["losses"] for one in own])
        places, columns = np.repeat(rows, points), np.tile(np.arange(points), len(rows))
        values = {"row": places, "column": columns, "a": along[columns], "b": along[places], "loss": losses.ravel()}
        tabled.append(pd.DataFrame(values).assign(**named))
        numbers = {"loss": own[0].attributes["loss"], "least": losses.min(), "largest": losses.max()}
        # Of a part of a plane it would be another quantity.
        whole = len(rows) == points
        rough.append(named | numbers | {"roughness": roughness(along, losses[np.argsort(rows)]) if whole else np.nan})
    surface_table = pd.concat(tabled, ignore_index=True).sort_values([*AXES, "row", "column"], ignore_index=True)
    rough_table = pd.DataFrame(rough).sort_values(AXES, ignore_index=True)
    return {
        "surfaces": surface_table[[*AXES, "row", "column", "a", "b", "loss"]],
        "roughness": rough_table,
        "claims": claims(rough_table, missing=missing),
    }


def roughness(along: np.ndarray, losses: np.ndarray) -> float:
    """Return which share of the variance of a landscape (points, points) no quadratic in a and b explains."""
    a, b = (values.ravel() for values in np.meshgrid(along, along))
    terms = np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], 1)
    if not np.isfinite(losses).all() or np.ptp(losses) == 0:
        return float("nan")
    away = losses.ravel() - losses.mean()
    rest = away - terms @ np.linalg.lstsq(terms, away, rcond=None)[0]
    return float((rest**2).sum() / (away**2).sum())


def claims(rough: pd.DataFrame, *, missing: int) -> pd.DataFrame:
    """Judge whether landscapes without skips are rougher than with them, seed by seed."""
    book = ledger.Ledger(depth_limit.STUDY, missing=missing)
    by_seed = {
        augmentation: own.groupby("seed")["roughness"].mean() for augmentation, own in rough.groupby("augmentation")
    }
    found = None
    without = next((by_seed[name] for name in ("plain", "none") if name in by_seed), None)
    if "skip" in by_seed and without is not None:
        both = (without / by_seed["skip"]).dropna()
        found = ledger.geometric_mean(both) if len(both) else None
    text = (
        "Without skips the loss on a plane through the trained weights is rougher: share of its variance that no "
        "quadratic explains, in comparison with skips"
    )
    book.judge("landscape_rougher", SOURCE, text, found, above=1, unit="times")
    return book.table()


def drawn(table: pd.DataFrame, of: Sequence[Mapping[str, Any]]) -> list[pd.DataFrame]:
    """Return the rows of the first seed of each of those that are chosen, in their order, if there are any."""
    found = []
    for chosen in of:
        own = rows_with(table, **{name: value for name, value in chosen.items() if value is not None})
        found.append(own[own["seed"] == own["seed"].min()])
    return found
