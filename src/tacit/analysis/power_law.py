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

    >>> import numpy as np, tacit
    >>> x = np.arange(50)
    >>> law = tacit.fit_power_law(x, 3e-6 / (x + 1) ** 1.5)
    >>> f"{law.size:.3g} {law.rate:.3g}"
    '3e-06 1.5'
    """
    x, y = _pair(x, y)
    number = 3 if with_shift else 2
    if len(np.unique(x)) <= number:
        raise FitError(f"{len(np.unique(x))} different points: a fit of {number} parameters needs more")
    unit = np.abs(y).max()
    if unit == 0:
        raise FitError("the series is 0 everywhere")
    found, covariance = _solve(x, y / unit, _start(x, y / unit, with_shift=with_shift))
    (size, rate, shift), slopes = _law(found, x.mean())
    errors = np.zeros(3)
    with np.errstate(invalid="ignore"):
        errors[:number] = np.sqrt(np.maximum(np.diag(slopes @ covariance @ slopes.T), 0))
    return PowerLaw(size * unit, rate, shift, (float(errors[0] * unit), float(errors[1]), float(errors[2])))


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
    start = _parameters(law.size / unit, law.rate, law.shift, x.mean(), with_shift=with_shift)
    found = np.full((draws, 3), np.nan)
    for draw in range(draws):
        firsts = generator.integers(0, number, -(-number // block))
        places = (firsts[:, None] + np.arange(block)).ravel()[:number] % number
        with contextlib.suppress(FitError):
            drawn, _ = _solve(x, fitted / unit + sizes * standard[places], start)
            (size, rate, shift), _ = _law(drawn, x.mean())
            found[draw] = size * unit, rate, shift
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
    if series.ndim != 1:
        raise FitError(f"a series is one row of numbers; this has the shape {series.shape}")
    if wrong := np.flatnonzero(~np.isfinite(series)).tolist():
        raise FitError(f"a series is of finite numbers; number {wrong[0]}, counted from 0, is {series[wrong[0]]}")
    return series


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = _series(x), _series(y)
    if len(x) != len(y):
        raise FitError(f"{len(x)} positions and {len(y)} values")
    if len(x) and x.min() < 0:
        raise FitError(f"x = {x.min():g}: positions are not negative")
    return x, y


# Inside, a law has other parameters, which a series tells from each other: its value at the mean position x0, its
# slope there on logarithmic axes, s = rho x0 / (x0 + T0), and, if it is fitted, log T0. With C and rho themselves an
# exact law is not found where T0 is large beside x: C spans many orders then, and all three go with each other.


def _start(x: np.ndarray, y: np.ndarray, *, with_shift: bool) -> np.ndarray:
    """Return the best inner parameters of a grid; size follows from the others by a division."""
    best, start = np.inf, np.zeros(2)
    middle = x.mean()
    for shift in _SHIFTS * middle if with_shift else [1.0]:
        shapes = np.exp(-_RATES[:, None] * np.log1p((x - middle) / (middle + shift)))
        values = shapes @ y / (shapes**2).sum(1)
        losses = ((values[:, None] * shapes - y) ** 2).sum(1)
        place = int(np.argmin(losses))
        if losses[place] < best:
            best = losses[place]
            slope = _RATES[place] * middle / (middle + shift)
            start = np.array([values[place], slope, *([np.log(shift)] if with_shift else [])])
    return start


def _parameters(size: float, rate: float, shift: float, middle: float, *, with_shift: bool) -> np.ndarray:
    """Return the inner parameters of a law."""
    value, slope = size * (middle + shift) ** -rate, rate * middle / (middle + shift)
    return np.array([value, slope, *([np.log(shift)] if with_shift else [])])


def _law(inner: np.ndarray, middle: float) -> tuple[tuple[float, float, float], np.ndarray]:
    """Return size, rate and shift, and the derivatives of these (rows) by inner parameters; of the shift if it is one.

    Raises FitError if the size is beyond all numbers.
    """
    value, slope, *more = map(float, inner)
    shift = float(np.exp(more[0])) if more else 1.0
    stretch, log = 1 + shift / middle, float(np.log(middle + shift))
    rate = slope * stretch
    with np.errstate(over="ignore"):
        size = float(value * np.exp(rate * log))
    if not np.isfinite(size):
        raise FitError(
            f"the size of the best power law, of rate {rate:.3g} and shift {shift:.3g}, is beyond all numbers"
        )
    by_log = slope * shift / middle
    slopes = np.array(
        [
            [np.exp(rate * log), size * log * stretch, size * (by_log * log + rate * shift / (middle + shift))],
            [0.0, stretch, by_log],
            [0.0, 0.0, shift],
        ]
    )
    number = len(inner)
    return (size, rate, shift), slopes[:number, :number]


def _solve(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner parameters of least squares, and their covariance."""
    from scipy import optimize

    with_shift, middle = len(start) == 3, x.mean()

    def parts(inner: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        shift = float(np.exp(inner[2])) if with_shift else 1.0
        logs = np.log1p((x - middle) / (middle + shift))
        return logs, np.exp(-inner[1] * (1 + shift / middle) * logs), shift

    def residuals(inner: np.ndarray) -> np.ndarray:
        return inner[0] * parts(inner)[1] - y

    def slopes(inner: np.ndarray) -> np.ndarray:
        logs, shape, shift = parts(inner)
        columns = [shape, -inner[0] * (1 + shift / middle) * logs * shape]
        if with_shift:
            bent = logs - (x - middle) / (x + shift)
            columns.append(-inner[0] * inner[1] * shift / middle * bent * shape)
        return np.stack(columns, 1)

    # A step may leave the range of numbers on its way; the method takes a smaller one then.
    with np.errstate(over="ignore", invalid="ignore"):
        found = optimize.least_squares(
            residuals, start, slopes, method="lm", xtol=1e-13, ftol=1e-13, gtol=1e-13, max_nfev=2000
        )
    far = with_shift and abs(found.x[2] - np.log(middle)) > np.log(1e6)
    if not found.success or far or not np.isfinite(found.x).all():
        raise FitError(
            "the best power law has no finite parameters: the series falls as an exponential does, or not at all"
            + ("; fit it without a shift" if with_shift else "")
        )
    try:
        covariance = np.linalg.inv(found.jac.T @ found.jac) * 2 * found.cost / (len(x) - len(start))
    except np.linalg.LinAlgError:
        covariance = np.full((len(start), len(start)), np.inf)
    return found.x, covariance
