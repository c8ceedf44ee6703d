"""Exact p-variation of paths on the line, from partitions of short stretches merged into that of the whole.

After Butkus, Norvaisa (Lithuanian Mathematical Journal 2018): only turning points matter; of two optimal neighbours the
union is optimal but for at most one link across the point where they meet, from a lowest point on one side to a highest
on the other. The partition is a list linked both ways; `costs` holds |difference|^p of each point to the one before it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tacit.analysis.powers import power
from tacit.compiled import kernel

_CHUNK = 4
"""Links of a stretch that is optimal once no three links in a row are worth less than one."""


@kernel()
def solve_line(path, p, quarters):
    """Return V_p of `path` (L,), L >= 2, and which points make up a best partition (L,) bool; p > 1."""
    turns = _turning_points(path)
    count = len(turns)
    x = path[turns]
    after, before = np.arange(1, count + 1), np.arange(-1, count - 1)
    costs = np.zeros(count)
    for point in range(1, count):
        costs[point] = power((x[point] - x[point - 1]) ** 2, p, quarters)
    _drop_short(x, costs, after, before, p, quarters)

    ends = np.empty(count + 1, np.int64)
    ends[0], number, point = 0, 0, 0
    while point < count - 1:
        step = 0
        while step < _CHUNK and point < count - 1:
            point = after[point]
            step += 1
        number += 1
        ends[number] = point
    scratch, scratch_points = np.empty((2, count)), np.empty((2, count), np.int64)
    while number > 1:
        for pair in range(number // 2):
            start, middle, end = ends[2 * pair], ends[2 * pair + 1], ends[2 * pair + 2]
            _merge(x, costs, after, before, start, middle, end, p, quarters, scratch, scratch_points)
            ends[pair + 1] = end
        if number % 2 == 1:
            ends[number // 2 + 1] = ends[number]
        number = (number + 1) // 2

    kept = np.zeros(len(path), np.bool_)
    kept[0] = True
    total, point = 0.0, 0
    while point < count - 1:
        point = after[point]
        total += costs[point]
        kept[turns[point]] = True
    return total, kept


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _turning_points(path):
    """Return the indices of the first point, of those where the direction changes, and of the last (count,) int64."""
    turns = np.empty(len(path), np.int64)
    turns[0], count, direction = 0, 1, 0
    for point in range(1, len(path)):
        step = path[point] - path[point - 1]
        if step == 0:
            continue
        turned = 1 if step > 0 else -1
        if turned == -direction:
            # A plateau turns where it starts to be left; any of its points would do.
            turns[count] = point - 1
            count += 1
        direction = turned
    turns[count] = len(path) - 1
    return turns[: count + 1]


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _drop_short(x, costs, after, before, p, quarters):
    """Replace three links in a row by one, wherever it is worth more."""
    count = len(x)
    start = 0
    while True:
        second = after[start]
        third = after[second] if second < count else count
        end = after[third] if third < count else count
        if end >= count:
            return
        direct = power((x[end] - x[start]) ** 2, p, quarters)
        if direct > costs[second] + costs[third] + costs[end]:
            after[start], before[end], costs[end] = end, start, direct
            # The stretches that hold the new link begin two links before it at most.
            for _ in range(2):
                if start > 0:
                    start = before[start]
        else:
            start = second


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _merge(x, costs, after, before, start, middle, end, p, quarters, sums, points):
    """Make the partition of start..end a best one, given those of start..middle and middle..end.

    `sums` and `points` (2, count) are overwritten: candidates on the right, lows first, then highs, with their distance
    from the middle along the partition. Of candidates outwards on the left the best partner lies ever further outwards
    (|.|^p is convex), so the search for it need not go back.
    """
    counts, firsts = np.zeros(2, np.int64), np.zeros(2, np.int64)
    lowest = highest = x[middle]
    total, point = 0.0, middle
    while point != end:
        point = after[point]
        total += costs[point]
        if x[point] < lowest or x[point] > highest:
            side = 1 if x[point] > highest else 0
            points[side, counts[side]], sums[side, counts[side]] = point, total
            counts[side] += 1
            lowest, highest = min(lowest, x[point]), max(highest, x[point])

    gain, left, right = 0.0, -1, -1
    lowest = highest = x[middle]
    total, point = 0.0, middle
    while point != start:
        total += costs[point]
        point = before[point]
        if not (x[point] < lowest or x[point] > highest):
            continue
        # A low on the left with a high on the right, or the other way round.
        side = 0 if x[point] > highest else 1
        lowest, highest = min(lowest, x[point]), max(highest, x[point])
        most, partner = -np.inf, firsts[side]
        for i in range(firsts[side], counts[side]):
            found = power((x[point] - x[points[side, i]]) ** 2, p, quarters) - total - sums[side, i]
            if found > most:
                most, partner = found, i
        firsts[side] = partner
        if most > gain:
            gain, left, right = most, point, points[side, partner]
    if left >= 0:
        after[left], before[right] = right, left
        costs[right] = power((x[right] - x[left]) ** 2, p, quarters)
