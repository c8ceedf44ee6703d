"""Omega along trainings of deep residual networks, and the power laws that it follows.

Omega(t) is the squared norm of the gradient of a sample's loss by the network's outputs, mean over the samples, before
the steps of epoch t = 1, 2, ...; what the original logs is smaller by the square of the number of samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tacit import store, streams
from tacit.analysis import power_law
from tacit.settings.depth_limit import VARIANT
from tacit.studies.depth_limit import STUDY

AXES = [*VARIANT, "depth", "seed"]
GRADIENTS = store.Table(keys=(*AXES, "epoch"), numbers=("omega", "omega_logged", "kept"))
FITTED = ("size", "size_low", "size_high", "rate", "rate_low", "rate_high", "shift")
"""Columns of a power law."""
LAWS = store.Table(keys=AXES, numbers=("points",), others=(*FITTED, "published_size", "published_rate"))
"""What the tables must be. In that of laws nothing stands for what could not be fitted."""

DRAWS = 200
"""Of the bootstrap."""


def table(omegas: Mapping[tuple[Any, ...], tuple[np.ndarray, np.ndarray]], fit: Mapping[str, Any]) -> pd.DataFrame:
    """Return Omega epoch by epoch of runs by AXES, and which epochs the filters of the fit keep (1, else 0)."""
    rows = []
    for axes, (omega, logged) in omegas.items():
        kept = kept_points(omega, fit)
        values = {"epoch": np.arange(1, len(omega) + 1), "omega": omega, "omega_logged": logged, "kept": kept}
        rows.append(pd.DataFrame(values).assign(**dict(zip(AXES, axes, strict=True))))
    columns = [*AXES, "epoch", "omega", "omega_logged", "kept"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def kept_points(series: np.ndarray, fit: Mapping[str, Any]) -> np.ndarray:
    """Return which points (n,) of a series the filters of a fit keep, 1 or 0; none where there are too few."""
    kept = np.zeros(len(series), int)
    with contextlib.suppress(power_law.FitError):
        kept[power_law.kept(series, window=fit["window"], period=fit["period"])] = 1
    return kept


def laws(gradients: pd.DataFrame, fit: Mapping[str, Any]) -> pd.DataFrame:
    """Return the power law of each run with 95 % intervals (bootstrap by blocks), and what the original finds."""
    rows = []
    for axes, own in gradients.groupby(AXES, sort=False):
        used = own[own["kept"] == 1]
        rows.append(dict(zip(AXES, axes, strict=True)) | {"points": len(used)} | _law(used, axes, fit))
    return pd.DataFrame(rows, columns=[*AXES, *LAWS.numbers, *LAWS.others])


def fitted(x: ArrayLike, y: ArrayLike, fit: Mapping[str, Any], generator: np.random.Generator) -> dict[str, float]:
    """Return size, rate and shift of the power law of a series, with ends of intervals; nothing if it has none."""
    try:
        law, low, high, _ = power_law.bootstrap(x, y, generator=generator, with_shift=fit["with_shift"], draws=DRAWS)
    except power_law.FitError:
        return {}
    ends = {
        f"{name}_{end}": getattr(one, name) for end, one in (("low", low), ("high", high)) for name in ("size", "rate")
    }
    # Without an end where too many draws had no law.
    ends = {name: value if np.isfinite(value) else np.nan for name, value in ends.items()}
    return {"size": law.size, "rate": law.rate, "shift": law.shift, **ends}


def comparable(laws: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return laws of which a quantity has one unit: that of sizes is another with each shift."""
    return laws if quantity == "rate" or (laws["shift"].dropna() == 1).all() else laws[:0]


def mean_law(laws: pd.DataFrame, x: ArrayLike) -> np.ndarray:
    """Return the mean of power laws, of which there may be none, at x (n,)."""
    own = laws.dropna(subset="rate")
    size, rate, shift = (own[name].to_numpy(float)[:, None] for name in ("size", "rate", "shift"))
    each = size * (np.atleast_1d(np.asarray(x, float)) + shift) ** -rate
    return each.mean(0) if len(each) else np.full(each.shape[1], np.nan)


def _law(used: pd.DataFrame, axes: tuple[Any, ...], fit: Mapping[str, Any]) -> dict[str, float]:
    generator = streams.numpy_generator(STUDY, "bootstrap", *(str(axis) for axis in axes))
    found = fitted(used["epoch"], used["omega"], fit, generator)
    if not found:
        return {}
    published = power_law.fit_as_published(used["epoch"], used["omega_logged"], with_shift=fit["with_shift"])
    return found | {"published_size": published.size, "published_rate": published.rate}
