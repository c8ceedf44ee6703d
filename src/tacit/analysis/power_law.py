"""Power laws of a series in time, such as the squared norms of loss gradients along a training.

Fitted is

    g(x) = C / (x + 1)^rho,   or   g(x) = C / (x + T0)^rho

by least squares, whatever the scale of the series: it is divided by its largest value before and C multiplied by it
after, so that numbers of 1e-9 are fitted as well as those of 1. Before that, points can be left out as in the original
of the thesis on weight regularity: `kept` has its filters. Standard errors take residuals as independent, which those
of a training are not; the intervals of `bootstrap` go by blocks of them.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tacit.errors import UserError

_RATES = np.linspace(-1, 4, 51)
_SHIFTS = np.geomspace(1e-3, 1e3, 61)
"""Where the fit starts is the best of a grid: exponents, and shifts in units of the mean distance from 0."""


class FitError(UserError, ValueError):
    """A series has no power law that can be told."""


class PowerLaw(NamedTuple):
    """g(x) = size / (x + shift)^rate."""

    size: float
    """C, in the unit of the series times that of x to the power rate."""
    rate: float
    """rho"""
    shift: float
    """T0; 1 if it was not fitted."""
    errors: tuple[float, float, float]
    """Standard errors of the three, for independent residuals; 0 of what was not fitted."""

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Return g(x)."""
        return self.size * (np.asarray(x, np.float64) + self.shift) ** -self.rate


class Interval(NamedTuple):
    """A law, and between which values each of its parameters lies."""

    law: PowerLaw
    low: PowerLaw
    high: PowerLaw
    block: int
    """Residuals that were drawn together."""


def kept(values: ArrayLike, *, window: int = 0, period: int = 0) -> np.ndarray:
    """Return which points of a series (n,) the filters leave, as places from 0 (kept,) int64.

    `period` f > 0 leaves out every f-th point, counted from 1. Of what is left `window` w > 0 makes floor(n / w) nearly
    equal consecutive windows, the first ones longer by 1, and leaves out of each all points equal to its largest or
    least. Raises FitError if fewer points are left than a window has, or none.
    """
    series = _series(values)
    if window < 0 or period < 0:
        raise FitError(f"window = {window}, period = {period}: filters are 0 (off) or larger")
    places = np.arange(len(series))
    if period:
        places = places[(places + 1) % period != 0]
    if window:
        if len(places) < window:
            raise FitError(f"window = {window}: there are only {len(places)} points")
        parts = np.array_split(places, len(places) // window)
        places = np.concatenate([part[_inside(series[part])] for part in parts])
    if not len(places):
        raise FitError(f"window = {window}, period = {period} leave no point of {len(series)}")
    return places


def _inside(values: np.ndarray) -> np.ndarray:
    return (values != values.max()) & (values != values.min())


def fit(x: ArrayLike, y: ArrayLike, *, with_shift: bool = False) -> PowerLaw:
    """Fit a power law to a series y (n,) at x (n,), by least squares.

    Args:
        x: positions, not negative.
        y: the series, in any unit; not all 0.
        with_shift: fit T0 > 0 too, instead of taking 1.

    Raises:
        FitError: if there are not more points than parameters, numbers are not finite, or the best law is at no finite
            parameters, as that of an exponential.
    """
    x, y = _pair(x, y)
    number = 3 if with_shift else 2
    if len(np.unique(x)) <= number:
        raise FitError(f"{len(np.unique(x))} different points: a fit of {number} parameters needs more")
    unit = np.abs(y).max()
    if unit == 0:
        raise FitError("the series is 0 everywhere")
    found, errors = _solve(x, y / unit, _start(x, y / unit, with_shift=with_shift))
    shift, shift_error = (float(np.exp(found[2])), float(np.exp(found[2]) * errors[2])) if with_shift else (1.0, 0.0)
    return PowerLaw(
        float(found[0] * unit), float(found[1]), shift, (float(errors[0] * unit), float(errors[1]), shift_error)
    )


def bootstrap(
    x: ArrayLike,
    y: ArrayLike,
    *,
    generator: np.random.Generator,
    with_shift: bool = False,
    draws: int = 400,
    block: int | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Fit a power law, and find the interval of each parameter by drawing residuals anew in blocks.

    Residuals are divided by a power of the fit, between 0 and 1, that tells how noise falls along the series, drawn in
    blocks of neighbours (the series closed to a circle), as they depend on each other, and multiplied by that power
    where they come to stand. A block has `block` points, by default 2 n^(1/3); where residuals depend on each other
    over longer stretches, intervals are too narrow. They reach from quantile to quantile; a draw without a law counts
    as beyond either end, so an end may be infinite.

    Raises FitError as `fit` does, and if `draws`, `block` or `confidence` are none.
    """
    x, y = _pair(x, y)
    law = fit(x, y, with_shift=with_shift)
    number = len(y)
    block = min(number, int(np.ceil(2 * number ** (1 / 3)))) if block is None else block
    if not 1 <= block <= number or draws < 1 or not 0 < confidence < 1:
        raise FitError(
            f"block = {block}, draws = {draws}, confidence = {confidence}: a block has 1 to {number} points, draws are "
            "1 or more, and confidence is between 0 and 1"
        )
    fitted, unit = law(x), np.abs(y).max()
    # By as much as the parameters took up of the noise.
    residuals = (y - fitted) * np.sqrt(number / (number - 2 - with_shift)) / unit
    sizes = _sizes(residuals, fitted)
    standard = residuals / sizes
    standard -= standard.mean()
    start = np.array([law.size / unit, law.rate, *([np.log(law.shift)] if with_shift else [])])
    found = np.full((draws, 3), np.nan)
    for draw in range(draws):
        firsts = generator.integers(0, number, -(-number // block))
        places = (firsts[:, None] + np.arange(block)).ravel()[:number] % number
        with contextlib.suppress(FitError):
            drawn, _ = _solve(x, fitted / unit + sizes * standard[places], start)
            found[draw] = drawn[0] * unit, drawn[1], np.exp(drawn[2]) if with_shift else 1.0
    share = (1 - confidence) / 2
    ends = [
        np.quantile(np.where(np.isnan(found), beyond, found), quantile, axis=0, method="nearest").tolist()
        for quantile, beyond in ((share, -np.inf), (1 - share, np.inf))
    ]
    low, high = (PowerLaw(size, rate, shift, law.errors) for size, rate, shift in ends)
    return Interval(law, low, high, block)


def _sizes(residuals: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return the size of noise along a series, up to a factor: a power, from 0 to 1, of what is fitted."""
    logs, of_fitted = np.log(np.abs(residuals) + np.finfo(float).tiny), np.log(np.abs(fitted))
    away = of_fitted - of_fitted.mean()
    power = float(away @ logs / (away @ away)) if away.any() else 0.0
    return np.abs(fitted) ** np.clip(power, 0, 1)


def fit_as_published(x: ArrayLike, y: ArrayLike, *, with_shift: bool = False) -> PowerLaw:
    """Fit as the original does, to compare: within its bounds, from its start, in the unit of the series.

    Below about 1e-6 its absolute tolerances end it at once, at a rate of about 3 whatever the series.
    """
    from scipy import optimize

    x, y = _pair(x, y)
    if with_shift:
        start, bounds = [0.5, 1.5, 250.5], ([0, 0, 1], [1, 3, 500])
    else:
        start, bounds = [1.5, 1.5], ([0, 0], [3, 3])

    def law(x: np.ndarray, size: float, rate: float, shift: float = 1.0) -> np.ndarray:
        return size / (x + shift) ** rate

    found, covariance = optimize.curve_fit(law, x, y, p0=start, bounds=bounds)
    return PowerLaw(*_three(found, 1.0), _three(np.sqrt(np.diag(covariance)), 0.0))


def _three(numbers: np.ndarray, last: float) -> tuple[float, float, float]:
    size, rate, *shift = map(float, numbers)
    return size, rate, shift[0] if shift else last


def _series(values: ArrayLike) -> np.ndarray:
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or not np.isfinite(series).all():
        raise FitError(f"a series is one row of finite numbers; this has the shape {series.shape}")
    return series


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = _series(x), _series(y)
    if len(x) != len(y):
        raise FitError(f"{len(x)} positions and {len(y)} values")
    if len(x) and x.min() < 0:
        raise FitError(f"x = {x.min():g}: positions are not negative")
    return x, y


def _start(x: np.ndarray, y: np.ndarray, *, with_shift: bool) -> np.ndarray:
    """Return the best parameters of a grid; size follows from the others by a division."""
    best, start = np.inf, np.zeros(2)
    for shift in _SHIFTS * x.mean() if with_shift else [1.0]:
        shapes = np.exp(-_RATES[:, None] * np.log(x + shift))
        sizes = shapes @ y / (shapes**2).sum(1)
        losses = ((sizes[:, None] * shapes - y) ** 2).sum(1)
        place = int(np.argmin(losses))
        if losses[place] < best:
            best = losses[place]
            start = np.array([sizes[place], _RATES[place], *([np.log(shift)] if with_shift else [])])
    return start


def _solve(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return size, rate and, if there are three, logarithm of the shift, least squares; and their standard errors."""
    from scipy import optimize

    with_shift = len(start) == 3

    def parts(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        shift = float(np.exp(parameters[2])) if with_shift else 1.0
        logs = np.log(x + shift)
        return logs, np.exp(-parameters[1] * logs), shift

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return parameters[0] * parts(parameters)[1] - y

    def slopes(parameters: np.ndarray) -> np.ndarray:
        logs, shape, shift = parts(parameters)
        columns = [shape, -parameters[0] * logs * shape]
        if with_shift:
            columns.append(-parameters[0] * parameters[1] * shape * shift / (x + shift))
        return np.stack(columns, 1)

    # A step may leave the range of numbers on its way; the method takes a smaller one then.
    with np.errstate(over="ignore", invalid="ignore"):
        found = optimize.least_squares(
            residuals, start, slopes, method="lm", xtol=1e-13, ftol=1e-13, gtol=1e-13, max_nfev=2000
        )
    far = with_shift and abs(found.x[2] - np.log(x.mean())) > np.log(1e6)
    if not found.success or far or not np.isfinite(found.x).all():
        raise FitError(
            "the best power law has no finite parameters: the series falls as an exponential does, or not at all"
            + ("; fit it without a shift" if with_shift else "")
        )
    try:
        variances = np.diag(np.linalg.inv(found.jac.T @ found.jac)) * 2 * found.cost / (len(x) - len(start))
    except np.linalg.LinAlgError:
        variances = np.full(len(start), np.inf)
    return found.x, np.sqrt(np.maximum(variances, 0))
