"""Exact p-variation of paths in several dimensions, block by block, with whole blocks of candidates ruled out.

V(j), the p-variation up to point j, is the largest V(m) + dist(m, j)^p over all m < j. For each block of points j the
path before it is walked from near to far over a dyadic tree of blocks of candidates m, as in the `p-var` programs of
Korepanov, Lyons, Zorin-Kranich, but with another test. Each point of a node lies within a distance rho of its place on
the chord, the segment between the ends of the node; its V is at most sigma above the line between theirs. Along the
chord V + (dist + rho)^p is convex, so that no candidate is worth more than

    max over both ends e of V(e) + (dist(e, j) + rho)^p, + sigma.

On smooth paths rho and sigma are of second order in the length of a node, where a ball around its centre would be of
first order. A block of points j has a chord too, which makes a test of both blocks by four distances; where that does
not help, every point is tested, and for those that remain the distances of all candidates of a block are computed, and
one is raised to p if it is far enough to win.

A block of B points is kept as (coordinates, B). A loop over its points fills the vector registers, while the sum over
coordinates, that of each point for itself, stays in its order: the sums are those of a plain loop, to the last bit, on
every processor. What is ruled out leaves room for rounding. So V equals that of the plain recursion bit for bit.

Shapes: N points with repetitions of the last one, so that N is a multiple of B; K coordinates, a multiple of 4.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from tacit.analysis.powers import power
from tacit.compiled import kernel

BLOCK = 16
"""B, points of a block. Twice as many make distances quicker by a quarter, but rule out less."""

_UNROLLED = 4
_EPS = float(np.finfo(np.float64).eps)


def blocks(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `points` (L, d) as padded rows (N, K) and as blocks (N / B, K, B), both float64."""
    length, size = points.shape
    rows = np.zeros((-(-length // BLOCK) * BLOCK, -(-size // _UNROLLED) * _UNROLLED))
    rows[:length, :size] = points
    rows[length:] = rows[length - 1]
    return rows, np.ascontiguousarray(rows.reshape(-1, BLOCK, rows.shape[1]).swapaxes(1, 2))


def slack(rows: np.ndarray) -> float:
    """Return the factor that makes a bound of a distance safe against all roundings of sums of K squares."""
    return 1 + 4 * (rows.shape[1] + 64) * _EPS


@kernel()
def chord_widths(rows, tiles):
    """Return rho of each node (levels, N / B); node i of level q has the 2^q blocks from i 2^q on.

    Nodes that the path does not fill are left at 0 and not to be used.
    """
    count = len(tiles)
    levels = 1
    while count >> levels:
        levels += 1
    widths = np.zeros((levels, count))
    shares, squares = np.empty(BLOCK), np.empty(BLOCK)
    for level in range(levels):
        for node in range(count >> level):
            first, last = _ends(node, level)
            widest = 0.0
            for block in range(node << level, (node + 1) << level):
                for lane in range(BLOCK):
                    shares[lane] = (block * BLOCK + lane - first) / (last - first)
                squares[:] = 0
                for k in range(rows.shape[1]):
                    start, chord = rows[first, k], rows[last, k] - rows[first, k]
                    for lane in range(BLOCK):
                        squares[lane] += (tiles[block, k, lane] - start - shares[lane] * chord) ** 2
                widest = max(widest, squares.max())
            # What is left of two differences may be all rounding.
            widths[level, node] = math.sqrt(widest) + 8 * _EPS * _distance(rows, first, last)
    return widths


@kernel()
def diameter(rows, tiles, widths, slack):
    """Return the largest distance of two points."""
    chosen, squares = np.empty(BLOCK, np.int64), np.empty((BLOCK, BLOCK))
    furthest, largest = 0.0, 0.0
    for block in range(len(tiles)):
        first, last = _ends(block, 0)
        for other in range(block, -1, -1):
            near, far = _ends(other, 0)
            reach = max(_distance(rows, first, near), _distance(rows, first, far))
            reach = max(reach, _distance(rows, last, near), _distance(rows, last, far))
            if (reach + widths[0, block] + widths[0, other]) * slack > largest:
                for lane in range(BLOCK):
                    chosen[lane] = first + lane
                _squares(tiles[other], rows, chosen, BLOCK, squares)
                furthest = max(furthest, squares.max())
                largest = math.sqrt(furthest)
    return largest


@kernel()
def solve(rows, tiles, widths, slack, p, quarters):
    """Return V of all points (N,), and of each the point before it in a best partition (N,) int64; p > 1."""
    values, links = np.full(len(rows), -1.0), np.zeros(len(rows), np.int64)
    values[0] = 0
    rises = np.zeros_like(widths)
    chosen, squares = np.empty(BLOCK, np.int64), np.empty((BLOCK, BLOCK))
    bounds, unused = np.empty(BLOCK), np.empty(BLOCK, np.int64)
    powers = np.empty((BLOCK, BLOCK))
    for block in range(len(tiles)):
        first = block * BLOCK
        own, own_links = values[first : first + BLOCK], links[first : first + BLOCK]
        for lane in range(BLOCK):
            chosen[lane] = first + lane
        _squares(tiles[block], rows, chosen, BLOCK, squares)
        for row in range(BLOCK):
            for lane in range(row + 1, BLOCK):
                powers[row, lane] = power(squares[row, lane], p, quarters)
        if block > 0:
            # The point before, and the one before it in a best partition, which is near the best one for these points.
            chosen[0], chosen[1] = first - 1, links[first - 1]
            _squares(tiles[block], rows, chosen, 2, squares)
            for row in range(2):
                for lane in range(BLOCK):
                    value = values[chosen[row]] + power(squares[row, lane], p, quarters)
                    if value > own[lane]:
                        own[lane], own_links[lane] = value, chosen[row]
            # With these V is bounded below: the better that is, the more is ruled out.
            bounds[:] = own
            _relax(bounds, unused, powers, first)
            _scan(block, rows, tiles, widths, rises, slack, p, quarters, values, links, bounds, chosen, squares)
        _relax(own, own_links, powers, first)
        level = 0
        while ((block + 1) >> level) << level == block + 1:
            rises[level, block >> level] = _rise(values[((block >> level) << level) * BLOCK : first + BLOCK], 1)
            level += 1
    return values, links


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _scan(block, rows, tiles, widths, rises, slack, p, quarters, values, links, bounds, chosen, squares):
    """Raise V of the points of a block to the best that a candidate of the blocks before it makes of it.

    `rises` are sigma, as `widths` are rho; `bounds` (B,) are lower bounds of V; `chosen` (B,) and `squares` (B, B) are
    overwritten.
    """
    first, last = _ends(block, 0)
    end = block
    while end > 0:
        # Nodes that end here: from the largest to the smallest, until one is ruled out.
        level = 0
        while (end >> level) % 2 == 0:
            level += 1
        below = _rise(bounds, -1)
        ruled_out = False
        while not ruled_out and level >= 0:
            node = (end >> level) - 1
            width, rise = widths[level, node] + widths[0, block], rises[level, node] + below
            ruled_out = True
            for candidate in _ends(node, level):
                for point in (first, last):
                    # One end that is worth more decides.
                    if ruled_out:
                        reach = (_distance(rows, candidate, point) + width) * slack
                        room = _room(bounds[point - first], values[candidate], rise)
                        ruled_out = power(reach * reach, p, quarters) <= room
            if not ruled_out:
                level -= 1
        if not ruled_out:
            level = 0
            _scan_block(
                block, end - 1, rows, tiles, widths, rises, slack, p, quarters, values, links, bounds, chosen, squares
            )
        end -= 1 << level


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _scan_block(
    block, other, rows, tiles, widths, rises, slack, p, quarters, values, links, bounds, chosen, squares
):  # fmt: skip
    """Do for one block of candidates, `other`, what `_scan` does for all of them."""
    first = block * BLOCK
    near, far = _ends(other, 0)
    chosen[0], chosen[1] = near, far
    _squares(tiles[block], rows, chosen, 2, squares)
    count = 0
    for lane in range(BLOCK):
        possible = False
        for row, candidate in enumerate((near, far)):
            reach = (math.sqrt(squares[row, lane]) + widths[0, other]) * slack
            room = _room(bounds[lane], values[candidate], rises[0, other])
            possible = possible or power(reach * reach, p, quarters) > room
        if possible:
            chosen[count] = first + lane
            count += 1
    if count == 0:
        return
    _squares(tiles[other], rows, chosen, count, squares)
    for row in range(count):
        point = chosen[row]
        # How far a candidate has to be: what would do for the last one, and is the least of all.
        least = (bounds[point - first] - values[far]) ** (2 / p) / (slack * slack)
        further = 0
        for lane in range(BLOCK):
            further += squares[row, lane] > least
        if further == 0:
            continue
        for lane in range(BLOCK):
            if squares[row, lane] > least:
                value = values[near + lane] + power(squares[row, lane], p, quarters)
                if value > values[point]:
                    values[point], links[point] = value, near + lane
        bounds[point - first] = max(bounds[point - first], values[point])


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _relax(values, links, powers, first):
    """Let each point of a block, from the first on, be a candidate of those that follow in it."""
    for lane in range(1, BLOCK):
        for row in range(lane):
            value = values[row] + powers[row, lane]
            if value > values[lane]:
                values[lane], links[lane] = value, first + row


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _rise(values, sign):
    """Return how far any of `values` lies above (sign 1) or below (-1) the line from the first to the last, at most."""
    span = values[-1] - values[0]
    most = 0.0
    for i in range(1, len(values) - 1):
        most = max(most, sign * ((values[i] - values[0]) - i / (len(values) - 1) * span))
    return most + 8 * _EPS * span


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _room(bound, value, rise):
    """Return what the p-th power of a distance has to exceed to raise V above `bound`."""
    return (bound - value) * (1 - 4 * _EPS) - rise


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _ends(node, level):
    """Return the first and the last point of a node."""
    return (node << level) * BLOCK, ((node + 1) << level) * BLOCK - 1


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _squares(tile, rows, chosen, count, out):
    """Write the squared distances of rows chosen[:count] from the points of a block to out[:count] (count, B).

    Four coordinates at a time, so that sums are fetched and put back a quarter as often.
    """
    out[:count] = 0.0
    for k in range(0, rows.shape[1], 4):
        for i in range(count):
            row = chosen[i]
            a, b, c, d = rows[row, k], rows[row, k + 1], rows[row, k + 2], rows[row, k + 3]
            for lane in range(BLOCK):
                difference = tile[k, lane] - a
                total = out[i, lane] + difference * difference
                difference = tile[k + 1, lane] - b
                total += difference * difference
                difference = tile[k + 2, lane] - c
                total += difference * difference
                difference = tile[k + 3, lane] - d
                out[i, lane] = total + difference * difference


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _distance(rows, i, j):
    """Return the distance of two points, summed in four parts: for bounds, where the last bits do not matter."""
    a = b = c = d = 0.0
    for k in range(0, rows.shape[1], 4):
        a += (rows[i, k] - rows[j, k]) ** 2
        b += (rows[i, k + 1] - rows[j, k + 1]) ** 2
        c += (rows[i, k + 2] - rows[j, k + 2]) ** 2
        d += (rows[i, k + 3] - rows[j, k + 3]) ** 2
    return math.sqrt(a + b + (c + d))
