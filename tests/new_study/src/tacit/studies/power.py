"""Power iteration: the error falls by the ratio of the first two eigenvalues in each step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.settings.power import RunSettings
from tacit.studies import ledger

RUN = store.Kind("power iteration", {"error": store.Array("float64", "steps")})
RUNS = store.Table(keys=("gap", "seed", "step"), numbers=("error",))


def iterate(settings: RunSettings, *, gap: float, seed: int) -> dict[str, np.ndarray]:
    """Return `error` (steps,), the part of the vector that is not along the first axis, from a random start."""
    values = np.full(settings.size, gap)
    values[0] = 1
    vector = streams.numpy_generator("power", "start", seed).normal(size=settings.size)
    errors = np.empty(settings.steps)
    for step in range(settings.steps):
        vector = values * vector
        vector /= np.linalg.norm(vector)
        errors[step] = np.linalg.norm(vector[1:])
    return {"error": errors}


def tables(runs: Iterable[str | Path], *, missing: int) -> dict[str, pd.DataFrame]:
    """Return the error of each run at each step, and what is claimed of it."""
    rows, late = [], {}
    for path in runs:
        run = store.read(path, kind=RUN)
        error, gap, seed = run.arrays["error"], run.settings["gap"], run.settings["seed"]
        rows.append(pd.DataFrame({"gap": gap, "seed": seed, "step": np.arange(len(error)), "error": error}))
        late.setdefault(seed, []).append(error[-1] / error[-2] / gap)
    book, text = ledger.Ledger("power", missing=missing), "In the end each step multiplies the error by the gap"
    worst = ledger.mean(max(of_seed) for of_seed in late.values())
    book.judge("rate", "von Mises, Pollaczek-Geiringer 1929", text, worst, below=1.01, unit="times the gap")
    return {"runs": pd.concat(rows), "claims": book.table()}
