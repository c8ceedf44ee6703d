"""The p-variation of paths, exact, with the partition that attains it.

For points X_0 .. X_{L-1} and p >= 1 (Friz, Victoir 2010, chapter 5)

    V_p(X) = max over 0 = j_0 < j_1 < ... < j_r = L - 1 of sum_i |X_{j_i} - X_{j_{i-1}}|^p,

the norm is V_p^(1/p). Distances are Euclidean, of points flattened, so those of matrices are Frobenius norms: the
weights of a residual network along its depth are such a path (Cohen, Cont, Rossier, Xu 2021).

Nothing is approximated. V_1 is the length; other exponents take about L log L operations on the line, and in several
dimensions as many distances as the path asks for, up to all L^2 / 2 where it is rough and p critical. Work is done by
one thread in float64 and in a fixed order: equal on all processors for p = 1, 1.25, 1.5, ... up to 48, and for other
exponents but for what the C library's `pow` makes of the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from tacit.analysis import p_variation_blocks as blocks
from tacit.analysis.p_variation_line import solve_line
from tacit.analysis.powers import LARGEST, power, quarters
from tacit.compiled import kernel

_CAP = 1e15
"""Beyond it only distances within a few roundings of the largest count, and theirs need to count as the same."""


class Partition(NamedTuple):
    """A partition that attains the p-variation."""

    value: float
    """V_p"""
    indices: np.ndarray
    """(r + 1,) int64, increasing, from 0 to L - 1"""


class _Scaled(NamedTuple):
    """A path divided by a unit near the largest distance of its points, so that powers stay in range."""

    points: np.ndarray
    """(L, d)"""
    unit: float
    """0 if all points are the same"""


@overload
def p_variation(path: ArrayLike, p: float) -> float: ...


@overload
def p_variation(path: ArrayLike, p: Sequence[float] | np.ndarray) -> np.ndarray: ...


def p_variation(path: ArrayLike, p: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
    """Return V_p of a path, without the root.

    Args:
        path: (L,) numbers, or (L, ...) of which each point is flattened; taken as float64.
        p: an exponent, 1 <= p < infinity, or several (n,); what they share is done once.

    Returns:
        V_p in the unit of the path to the power p, as a float or as an array (n,) of float64; infinity if it exceeds
        that range, where `p_variation_norm` still has a value. A path of one point has 0.

    Raises:
        ValueError: if a number is not finite, an exponent below 1, a path empty or no sequence of real points.
    """
    exponents = _exponents(p)
    found = np.array([_value(*solved) for solved in _Solver(path).solve(exponents)])
    return found if np.ndim(p) else float(found[0])


@overload
def p_variation_norm(path: ArrayLike, p: float) -> float: ...


@overload
def p_variation_norm(path: ArrayLike, p: Sequence[float] | np.ndarray) -> np.ndarray: ...


def p_variation_norm(path: ArrayLike, p: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
    """Return the p-variation norm V_p^(1/p) of a path, in the unit of the path; for the rest see `p_variation`."""
    exponents = _exponents(p)
    found = np.array([scaled ** (1 / one) * unit for scaled, unit, one in _Solver(path).solve(exponents)])
    return found if np.ndim(p) else float(found[0])


def maximising_partition(path: ArrayLike, p: float) -> Partition:
    """Return V_p of a path and a partition that attains it; one of them, if there are several.

    For p = 1 that is the partition into all points. Arguments and errors are those of `p_variation`, with one exponent.
    """
    exponent = _exponent(p)
    solver = _Solver(path)
    return Partition(_value(*solver.solve([exponent])[0]), solver.partition(exponent))


def plain_p_variation(path: ArrayLike, p: float) -> float:
    """Return V_p of a path by the plain recursion, V(j) = max over m < j of V(m) + |X_m - X_j|^p.

    The reference for `p_variation`, compiled, over all L^2 / 2 pairs. Arguments, with one exponent, and errors are the
    same.
    """
    exponent = _exponent(p)
    scaled, capped = _Solver(path).scaled(exponent), min(exponent, _CAP)
    return _value(_plain(scaled.points, capped, quarters(capped)) if scaled.unit else 0.0, scaled.unit, exponent)


class _Solver:
    """A path that was checked, and what of its preparation serves several exponents."""

    def __init__(self, path: ArrayLike):
        self._path = _checked(path)
        self._scaled: dict[bool, _Scaled] = {}
        self._blocks: dict[float, tuple[np.ndarray, np.ndarray, np.ndarray, float]] = {}

    def solve(self, exponents: Sequence[float]) -> list[tuple[float, float, float]]:
        """Return V_p of the path divided by a unit, the unit, and p, for each exponent."""
        return [(self._solve(p), self.scaled(p).unit, p) for p in exponents]

    def scaled(self, p: float) -> _Scaled:
        """Return the path in a unit that suits an exponent."""
        # Powers of distances leave the range of float64 then, unless the largest distance is 1.
        large = p > LARGEST
        if large not in self._scaled:
            scaled = _in_unit(self._path)
            if large and scaled.unit:
                is_line = scaled.points.shape[1] == 1
                size = float(np.ptp(scaled.points)) if is_line else blocks.diameter(*self._prepared(scaled))
                # Rounds; but so do such powers of distances, and more.
                scaled = _Scaled(scaled.points / size, scaled.unit * size)
            self._scaled[large] = scaled
        return self._scaled[large]

    def partition(self, p: float) -> np.ndarray:
        """Return the indices of a best partition."""
        p = min(p, _CAP)
        scaled, last = self.scaled(p), len(self._path) - 1
        if p == 1:
            return np.arange(last + 1)
        if not scaled.unit:
            return np.unique([0, last])
        if scaled.points.shape[1] == 1:
            return np.flatnonzero(solve_line(scaled.points[:, 0], p, quarters(p))[1])
        links = blocks.solve(*self._prepared(scaled), p, quarters(p))[1]
        indices = [last]
        while indices[-1] > 0:
            indices.append(int(links[indices[-1]]))
        return np.array(indices[::-1], np.int64)

    def _solve(self, p: float) -> float:
        p = min(p, _CAP)
        scaled = self.scaled(p)
        if not scaled.unit:
            return 0.0
        if p == 1:
            return _length(scaled.points)
        if scaled.points.shape[1] == 1:
            return solve_line(scaled.points[:, 0], p, quarters(p))[0]
        return blocks.solve(*self._prepared(scaled), p, quarters(p))[0][len(scaled.points) - 1]

    def _prepared(self, scaled: _Scaled) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return what the compiled functions for blocks ask for."""
        if scaled.unit not in self._blocks:
            rows, tiles = blocks.blocks(scaled.points)
            self._blocks[scaled.unit] = rows, tiles, blocks.chord_widths(rows, tiles), blocks.slack(rows)
        return self._blocks[scaled.unit]


def _exponents(p: float | Sequence[float] | np.ndarray) -> list[float]:
    try:
        exponents = np.atleast_1d(np.asarray(p))
        if exponents.dtype.kind not in "iuf":
            raise TypeError
        exponents = exponents.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"p = {p!r}: an exponent is a number, p >= 1; give one or a sequence of them") from error
    if exponents.ndim > 1:
        raise ValueError(f"p of shape {exponents.shape}: give one exponent or a sequence of them")
    for exponent in exponents:
        if not 1 <= exponent < np.inf:
            raise ValueError(f"p = {exponent:g}: the p-variation is defined for finite p >= 1")
    return exponents.tolist()


def _exponent(p: float) -> float:
    exponents = _exponents(p)
    if np.ndim(p):
        raise ValueError(f"p = {p!r}: this takes one exponent, a number")
    return exponents[0]


def _checked(path: ArrayLike) -> np.ndarray:
    """Return a path as (L, d) float64, contiguous. Raises ValueError if it is none."""
    if np.ma.isMaskedArray(path):
        raise ValueError("a path has no masked points; leave them out, for example by path[~path.mask], or fill them")
    try:
        points = np.asarray(path)
        if points.dtype.kind not in "biuf":
            raise TypeError(f"it holds {points.dtype}")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a path is an array of real numbers, (L,) or (L, ...), one point after another: {error}"
        ) from error
    if points.ndim == 0:
        raise ValueError("a path has at least one axis, that of its points; this is a single number")
    if len(points) == 0:
        raise ValueError(f"a path of shape {points.shape} has no points; its p-variation is not defined")
    points = np.ascontiguousarray(points.reshape(len(points), math.prod(points.shape[1:])), np.float64)
    finite = np.isfinite(points).all(1)
    if not finite.all():
        raise ValueError(f"point {int(np.argmin(finite))} of the path (from 0) is not finite; V_p would be meaningless")
    return points


def _in_unit(path: np.ndarray) -> _Scaled:
    """Divide a path by a power of 2, so that the largest coordinate of X_k - X_0 is in [1, 256).

    Nothing is rounded by that. The exponent is a multiple of 8, so that neither is unit^(p / 2) for multiples of 1/4.
    """
    if path.shape[1] == 0:
        return _Scaled(path, 0.0)
    # Halves, whose difference is in range.
    half = np.abs(path * 0.5 - path[0] * 0.5).max()
    if half == 0:
        # The least numbers have no halves.
        half = np.abs(path - path[0]).max()
    if half == 0:
        return _Scaled(path, 0.0)
    exponent = min(max(math.frexp(half)[1] // 8 * 8, -1072), 1016)
    if np.abs(path).max() / 2.0**500 > half:
        # What is so much larger is the same in all points, and must not become infinite.
        path = path - path[0]
    return _Scaled(np.ldexp(path, -exponent), math.ldexp(1.0, exponent))


def _value(scaled: float, unit: float, p: float) -> float:
    """Return V_p from that of the path divided by `unit`."""
    # In two steps, as the power of the unit may be out of range where V_p is not.
    with np.errstate(over="ignore"):
        root = np.float64(unit) ** (p / 2)
        return float(scaled * root * root) if scaled else 0.0


@kernel()
def _length(points):
    """Return the sum of distances of points that follow each other."""
    total = 0.0
    for point in range(1, len(points)):
        square = 0.0
        for k in range(points.shape[1]):
            square += (points[point, k] - points[point - 1, k]) ** 2
        total += math.sqrt(square)
    return total


@kernel()
def _plain(points, p, quarters):
    """Return V_p by the plain recursion."""
    values = np.zeros(len(points))
    for point in range(1, len(points)):
        for candidate in range(point):
            square = 0.0
            for k in range(points.shape[1]):
                square += (points[point, k] - points[candidate, k]) ** 2
            values[point] = max(values[point], values[candidate] + power(square, p, quarters))
    return values[-1]
