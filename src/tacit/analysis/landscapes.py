"""Loss landscapes: the loss on a plane through given parameters.

For parameters theta, a sequence of arrays, two directions D and E are drawn and scaled to theta group by group, where a
group is a whole array ("layer", as in the thesis on weight regularity) or a row of it ("row", a unit with its incoming
weights, as in Li, Xu, Taylor, Studer, Goldstein 2018). On the plane

    S[i, j] = loss(theta + b_i E + a_j D),   a_j = (j - n // 2) r,   b_i = (i - n // 2) r,

so that a and b are in units of the norm of theta, in each group, and theta itself is at i = j = n // 2. Any function of
the parameters serves as loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tacit.errors import UserError

Parameters = Sequence[Any] | np.ndarray
"""Arrays of any shapes, or one array (L, ...) of L layers; tensors of PyTorch, such as those of a module, serve too."""

Scaling = Literal["layer", "row"]


class LandscapeError(UserError, ValueError):
    """What is asked for has no landscape."""


class Directions(NamedTuple):
    """Two directions, orthogonal in each group, each with the norm of the parameters there."""

    first: list[np.ndarray]
    second: list[np.ndarray]


def draw_directions(parameters: Parameters, *, generator: np.random.Generator, per: Scaling = "layer") -> Directions:
    """Draw two directions for parameters, in float64.

    All of the first is drawn before the second. In a group of a single number there is nothing orthogonal to the first,
    and the second is 0, as both are where parameters are 0. Raises LandscapeError if there are no parameters.
    """
    if getattr(parameters, "ndim", 2) < 2:
        raise LandscapeError("one array is one of layers, (L, ...); give a list of arrays otherwise")
    arrays = _arrays(parameters)
    if not arrays or not all(array.size for array in arrays):
        raise LandscapeError("there are no parameters, or an array without numbers")
    if not all(np.isfinite(array).all() for array in arrays):
        raise LandscapeError("parameters are not finite")
    first = [generator.normal(size=array.shape) for array in arrays]
    second = [generator.normal(size=array.shape) for array in arrays]
    return Directions(
        [scaled(drawn, like, per=per) for drawn, like in zip(first, arrays, strict=True)],
        [
            scaled(orthogonal(drawn, to, per=per), like, per=per)
            for drawn, to, like in zip(second, first, arrays, strict=True)
        ],
    )


def orthogonal(direction: np.ndarray, to: np.ndarray, *, per: Scaling = "layer") -> np.ndarray:
    """Return what of a direction is orthogonal to another in each group, of norm 1 there; 0 where nothing is."""
    rows, others = _groups(direction, per), _groups(to, per)
    away = rows - _divided((rows * others).sum(1), (others**2).sum(1))[:, None] * others
    norms = np.linalg.norm(away, axis=1)
    # A rounding error is no direction.
    norms[norms <= 1e-12 * np.linalg.norm(rows, axis=1)] = 0
    return (away * _divided(np.ones_like(norms), norms)[:, None]).reshape(direction.shape)


def scaled(direction: np.ndarray, like: np.ndarray, *, per: Scaling = "layer") -> np.ndarray:
    """Return a direction with the norm of `like` in each group; 0 where it is 0."""
    rows = _groups(direction, per)
    factors = _divided(np.linalg.norm(_groups(like, per), axis=1), np.linalg.norm(rows, axis=1))
    return (rows * factors[:, None]).reshape(direction.shape)


def _groups(array: np.ndarray, per: Scaling) -> np.ndarray:
    """Return an array (groups, numbers)."""
    if per not in ("layer", "row"):
        raise LandscapeError(f"per = {per!r}: a direction is scaled per layer or per row")
    return array.reshape(len(array) if per == "row" and array.ndim > 1 else 1, -1)


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def numbers_of(array: Any) -> np.ndarray:
    """Return an array, or a tensor of PyTorch on any device, whether it requires a gradient or not, as float64."""
    return np.asarray(array.detach().cpu().double() if hasattr(array, "detach") else array, np.float64)


def _arrays(parameters: Parameters) -> list[np.ndarray]:
    """Return parameters as arrays; raises LandscapeError if they are in no list, such as a dictionary."""
    if isinstance(parameters, Mapping | Iterator):
        raise LandscapeError("parameters are a list, which can be read again: list(network.parameters()), for one")
    return [numbers_of(array) for array in parameters]


def axis(points: int, step: float) -> np.ndarray:
    """Return the coordinates (points,) along a direction, in units of the norm of the parameters; 0 at points // 2."""
    return (np.arange(points) - points // 2) * step


def evaluate(
    loss: Callable[[Any], float],
    parameters: Parameters,
    directions: Directions,
    *,
    points: int,
    step: float,
    rows: Iterable[int] | None = None,
    advance: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Return losses (rows, points) float64 on the plane of two directions.

    Args:
        loss: takes float64 arrays as `parameters` are, one array or a list of them, which it must not keep, and gives
            a number; infinite or not a number where it diverges.
        parameters: theta.
        directions: those of `draw_directions`, or any of the same shapes.
        points: n, of each direction.
        step: r.
        rows: those of 0 to n - 1 that are wanted, by default all; so the plane can be shared among many processes.
        advance: called after each row.

    Raises:
        LandscapeError: if shapes differ, or there is no such row.
    """
    if points < 1 or not np.isfinite(step):
        raise LandscapeError(f"points = {points}, step = {step}: a plane has one point or more, a finite step apart")
    arrays = _arrays(parameters)
    for name, direction in zip(directions._fields, directions, strict=True):
        shapes = [array.shape for array in direction]
        if shapes != [array.shape for array in arrays]:
            raise LandscapeError(f"the {name} direction has shapes {shapes[:3]}, which are not those of the parameters")
    chosen = list(range(points) if rows is None else rows)
    if strange := [row for row in chosen if not 0 <= row < points]:
        raise LandscapeError(f"row {strange[0]}: a plane of {points} points has rows 0 to {points - 1}")
    theta, first, second = (np.concatenate([array.ravel() for array in own]) for own in (arrays, *directions))
    bounds = np.cumsum([0, *(array.size for array in arrays)])

    def shaped(flat: np.ndarray) -> Any:
        if hasattr(parameters, "ndim"):
            return flat.reshape(np.shape(parameters))
        return [flat[low:high].reshape(a.shape) for low, high, a in zip(bounds, bounds[1:], arrays, strict=False)]

    along = axis(points, step)
    found = np.empty((len(chosen), points))
    for place, row in enumerate(chosen):
        base = theta + along[row] * second
        for column, a in enumerate(along):
            found[place, column] = loss(shaped(base + a * first))
        advance()
    return found
