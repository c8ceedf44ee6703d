"""The ledger of claims: what papers state, what was measured, with which uncertainty, and whether it held.

Every claim of every study is judged here, in one way: an effect and its 95 % interval are held against a threshold.
The claim `held` if all of the interval is on the side that it says, `not held` if all of it is on the other,
and is `undecided` else, as it is from fewer than LEAST_RUNS runs. What is repeated, and so varies, is a seed; a run of
the same seed and data is another look at the same draw, and compared with it as such.

Accuracies are means over seeds and over the images of a test set, and both are samples. Their intervals are of the
analysis of variance of seeds by images that radiology uses for readers by cases (Obuchowski, Rockette 1995, with
the degrees of freedom of Hillis 2007); the others are Student's, Welch's, and Clopper and Pearson's. Where something is
to vanish, the mean is judged and not the geometric one, in which many seeds that agree hide the one that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from tacit import store
from tacit.studies.tables import MissingRunsError

CONFIDENCE = 0.95
MOST = 0.5
"""Share of runs above which a claim on most of them holds; six seeds are the fewest of which it can."""

LEAST_RUNS = 3
"""Seeds below which nothing is decided: intervals from two say little, and those of accuracies are too narrow."""

COLUMNS = (
    "study", "id", "source", "claim", "effect", "unit", "low", "high", "side", "threshold", "runs", "missing",
    "verdict", "how",
)  # fmt: skip
"""Columns of a table of claims. `low` to `high` is the 95 % interval of `effect`; `side` says where of `threshold` the
claim wants it, above or below; `runs` are seeds; `missing` runs were planned and are not there."""

TABLE = store.Table(
    keys=("study", "id"),
    numbers=("threshold", "runs", "missing"),
    others=("source", "claim", "effect", "unit", "low", "high", "side", "verdict", "how"),
)
"""What a table of claims must be."""

Verdict = Literal["held", "not held", "undecided"]
Side = Literal["above", "below"]


class Estimate(NamedTuple):
    """What was measured."""

    effect: float
    low: float
    high: float
    runs: int
    """Seeds that it stands on."""
    how: str


class Ledger:
    """The claims of one table of a study, as they are judged.

    `missing` is the number of runs that were planned for the table and are not there.
    """

    def __init__(self, study: str, *, missing: int):
        self._study, self._missing = study, missing
        self._rows: list[tuple[object, ...]] = []

    def judge(
        self,
        id: str,
        source: str,
        claim: str,
        found: Estimate | None,
        *,
        above: float | None = None,
        below: float | None = None,
        unit: str,
    ) -> None:
        """Write down a claim that an effect, measured in `unit`, is above or below a threshold.

        `id` is short, and the same for ever. `found` is None if no run says anything of the claim. Raises ValueError if
        there is another claim of this name.
        """
        if any(row[1] == id for row in self._rows):
            raise ValueError(f"two claims are called {id}")
        found = found or _NOTHING
        side: Side
        match above, below:
            case float() | int(), None:
                side, threshold = "above", above
            case None, float() | int():
                side, threshold = "below", below
            case _:
                raise ValueError(f"{id}: a claim has one threshold, above or below")
        said = verdict(found, side, threshold)
        numbers = (found.effect, unit, found.low, found.high, side, threshold, found.runs, self._missing)
        self._rows.append((self._study, id, source, claim, *numbers, said, found.how))

    def table(self) -> pd.DataFrame:
        """Return all claims, COLUMNS."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS))


def gather(claims: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the claims of all studies in one table."""
    return {"claims": pd.concat([store.read_table(path, expected=TABLE) for path in claims], ignore_index=True)}


def find(folder: str | Path, studies: Sequence[str] = ()) -> pd.DataFrame:
    """Return all claims of `studies` (of none: of all) whose tables are in the folder of a scale.

    Raises MissingRunsError if there are none.
    """
    folder = Path(folder)
    # But for the table in which they are gathered.
    paths = [path for path in sorted(folder.rglob("*claims.csv")) if path.parent != folder]
    if studies:
        # A study may have its folder in that of another.
        paths = [path for path in paths if set(studies) & set(path.relative_to(folder).parts)]
    found = gather(paths)["claims"] if paths else pd.DataFrame(columns=list(COLUMNS))
    there = set(found["study"])
    if lacking := [study for study in studies if study not in there] or ["any study"] * (not there):
        again = f"snakemake --cores 2 {lacking[0] if studies else 'claims'}"
        raise MissingRunsError(f"no claims of {' or '.join(lacking)} are judged in {folder} yet; `{again}` makes them")
    return found[found["study"].isin(studies)] if studies else found


def as_text(claims: pd.DataFrame, *, how: bool = False) -> str:
    """Return claims as lines to read: by study, each with its verdict and what was measured."""
    lines = []
    for study, own in claims.groupby("study", sort=False):
        lines.append(f"{study}")
        for _, row in own.iterrows():
            lines.append(f"  {row['verdict']:10} {row['claim']}")
            lines.append(f"  {'':10} {measured(row)}")
            if how:
                lines.append(f"  {'':10} {row['how']}; {row['source']}; {row['id']}")
    return "\n".join(lines)


def measured(claim: pd.Series) -> str:
    """Return effect, interval and threshold of a claim, from how many seeds, and how many runs are missing."""
    bound = f"{claim['side']} {short(claim['threshold'])} {claim['unit']}"
    seeds = f"{claim['runs']} seed{'' if claim['runs'] == 1 else 's'}"
    missing = f"; PARTIAL: {claim['missing']} runs missing" if claim["missing"] else ""
    return f"{effect(claim, ' ({} to {})') or 'nothing measured'}, claimed {bound}, {seeds}{missing}"


def effect(claim: pd.Series, interval: str) -> str:
    """Return the effect of a claim and, written as `interval` says, its interval; nothing if there is no effect."""
    if np.isnan(claim["effect"]):
        return ""
    ends = "" if np.isnan(claim["low"]) else interval.format(short(claim["low"]), short(claim["high"]))
    return short(claim["effect"]) + ends


def short(number: float) -> str:
    """Return a number with two or three digits."""
    digits = 3 if 0.01 <= abs(number) < 1000 else 2
    return f"{number:.{digits}g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def verdict(found: Estimate, side: Side, threshold: float) -> Verdict:
    """Judge an estimate."""
    if found.runs < LEAST_RUNS or np.isnan([found.low, found.high]).any():
        return "undecided"
    above, below = found.low > threshold, found.high < threshold
    if above or below:
        return "held" if above == (side == "above") else "not held"
    return "undecided"


# Estimates.

_NOTHING = Estimate(np.nan, np.nan, np.nan, 0, "no run that it is about is there")


def mean(values: Iterable[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the mean over seeds of one value each, such as a slope, or the difference of two runs of one seed."""
    return contrast([_column(values)], confidence=confidence)._replace(how="mean over seeds, Student's t")


def geometric_mean(values: Iterable[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the geometric mean over seeds of positive values, one each, such as ratios.

    Zero has no logarithm; if one value is 0, so is the mean, without an interval.
    """
    numbers = _column(values)[:, 0]
    if (numbers == 0).any():
        return Estimate(0.0, np.nan, np.nan, len(numbers), "geometric mean over seeds, of which one is 0")
    found = mean(np.log(numbers), confidence=confidence)
    effect, low, high = np.exp([found.effect, found.low, found.high])
    return Estimate(effect, low, high, found.runs, "geometric mean over seeds, Student's t of logarithms")


def difference(first: Iterable[float], second: Iterable[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the mean of `first` less that of `second`, whose seeds share nothing."""
    found = contrast([_column(first), -_column(second)], confidence=confidence)
    return found._replace(how="difference of means over seeds, Welch's t")


def slope(places: Sequence[float] | np.ndarray, values: np.ndarray, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate how much values (seeds, places) rise by unit of place: the slope of each seed, averaged.

    Raises ValueError if all places are one.
    """
    how = "slope of each seed, mean over seeds, Student's t"
    return mean(slopes(places, values), confidence=confidence)._replace(how=how)


def slopes(places: Sequence[float] | np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the slope (seeds,) of the line of least squares of each row of values (seeds, places).

    Raises ValueError if all places are one.
    """
    away = np.asarray(places, float) - np.mean(places)
    if not away.any():
        raise ValueError("a slope needs two places")
    return np.asarray(values, float) @ (away / (away**2).sum())


def proportion(held: Iterable[bool], seeds: Iterable[int], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the share of runs in which something holds, given in which it did (Clopper, Pearson 1934).

    `seeds` are those of the runs. Runs of one seed in several settings may all go one way, so a seed counts as one
    trial with the share of its runs as success: of all that lies between 0 and 1 what is either varies most.
    """
    outcomes = pd.Series([bool(one) for one in held], dtype=float)
    if outcomes.empty:
        return _NOTHING
    shares = outcomes.groupby(list(seeds)).mean()
    trials, successes, tail = len(shares), float(shares.sum()), (1 - confidence) / 2
    low = special.betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    how = f"{outcomes.sum():.0f} of {len(outcomes)} runs, a seed as one trial, Clopper-Pearson"
    return Estimate(float(shares.mean()), float(low), float(high), trials, how)


def contrast(blocks: Sequence[np.ndarray], *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a sum of means over seeds and images, of independent blocks (seeds, images).

    A block holds what shares seeds and test images, already combined: of two networks compared on one test set, 1, 0 or
    -1 for each seed and image; of runs on two test sets that share nothing, two blocks, the second with its sign
    changed. Seeds and images that were not drawn do not vary: a block may have one column. Missing values may not be.
    """
    blocks = [np.asarray(block, float) for block in blocks]
    runs = min(len(block) for block in blocks)
    effect = sum(float(block.mean()) for block in blocks) if runs else np.nan
    if runs < 2:
        return Estimate(effect, np.nan, np.nan, runs, "one run, of which no interval follows")
    variance, spread = 0.0, 0.0
    for block in blocks:
        seeds, images = block.shape
        of_seed, of_image = block.mean(1, keepdims=True), block.mean(0, keepdims=True)
        by_seed = images * float(of_seed.var(ddof=1))
        by_image = 0.0
        if images > 1:
            rest = ((block - of_seed - of_image + block.mean()) ** 2).sum() / ((seeds - 1) * (images - 1))
            by_image = max(seeds * float(of_image.var(ddof=1)) - rest, 0.0)
        parts = by_seed / block.size, by_image / block.size
        variance += sum(parts)
        spread += parts[0] ** 2 / (seeds - 1) + (parts[1] ** 2 / (images - 1) if images > 1 else 0)
    half = float(special.stdtrit(variance**2 / spread, (1 + confidence) / 2)) * variance**0.5 if spread else 0.0
    return Estimate(
        effect, effect - half, effect + half, runs, "difference of means over seeds and test images, t of Hillis"
    )


def scaled(found: Estimate, factor: float) -> Estimate:
    """Return an estimate in another unit, or with its sign changed."""
    low, high = sorted((factor * found.low, factor * found.high))
    return found._replace(effect=factor * found.effect, low=low, high=high)


def shifted(found: Estimate, by: float) -> Estimate:
    """Return an estimate counted from another zero."""
    return found._replace(effect=found.effect + by, low=found.low + by, high=found.high + by)


def simultaneous(count: int) -> float:
    """Return the confidence of each of `count` intervals that all hold together with CONFIDENCE (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / count


def greatest(found: Mapping[str, Estimate]) -> Estimate:
    """Estimate the greatest of several effects, whose intervals have the confidence `simultaneous(len(found))`.

    So that the one that came out best is not taken at its word: it was chosen by what it is judged by. That is the one
    with the highest lower end. If one has no interval, neither has the greatest.
    """
    if unknown := [name for name, one in found.items() if np.isnan([one.low, one.high]).any()]:
        return found[unknown[0]]
    best = max(found, key=lambda name: found[name].low)
    high = max(one.high for one in found.values())
    how = f"{found[best].how}; {best} of {len(found)}, intervals that hold together (Bonferroni)"
    return found[best]._replace(high=high, how=how)


def _column(values: Iterable[float]) -> np.ndarray:
    return np.asarray(list(values), float)[:, None]
