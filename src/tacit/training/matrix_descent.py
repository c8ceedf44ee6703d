"""Gradient descent on small deep matrix factorizations, compiled as a whole.

A step on 2 x 2 factors is about a hundred operations, so anything done between two steps costs more than they do. One
compiled function takes all steps, evaluates, applies the rule of stopping, and writes down end matrices; whatever else
is wanted is computed from those (`tacit.analysis.matrix_norms`). Operations are in a fixed order and never
contracted, so that results are the same on every processor.

Loss: half the sum of squared residuals (Razin, Cohen 2020); gradient of factor j: P_j^T E S_j^T with the products P_j
before and S_j after it, and E the gradient with respect to the end matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tacit.compiled import kernel
from tacit.errors import DivergenceError
from tacit.runlog import Progress

GROWTH = 0.01
"""An evaluation is written down once epoch or loss differ by this share from the one written down before."""

_CHUNK = 20_000
"""Evaluations between two looks at the progress."""


class Observed(NamedTuple):
    """What is observed of an (n, n) matrix: entries by a mask, or products with other matrices."""

    target: np.ndarray
    """(n, n), of which only what the mask shows is looked at"""
    mask: np.ndarray
    """(n, n) of 0 and 1"""
    matrices: np.ndarray
    """(m, n, n), m = 0 if entries are observed"""
    values: np.ndarray
    """(m,)"""


class Path(NamedTuple):
    """Evaluations that were written down, K of them; the last is always among them."""

    epochs: np.ndarray
    """(K,) int64, epochs done"""
    losses: np.ndarray
    """(K,) before the last step of each, as the rule of stopping sees it"""
    ends: np.ndarray
    """(K, n, n) after it"""
    fitted: bool
    """Whether the rule of stopping ended the descent."""


def descend(
    weights: np.ndarray,
    observed: Observed,
    *,
    learning_rate: float,
    epochs: int,
    evaluate_every: int,
    tolerance: float,
    patience: int,
) -> Path:
    """Run gradient descent on `weights` (L, n, n), in place, in their precision.

    It ends after `epochs`, or once more than `patience` evaluations in a row found the loss below `tolerance`. Raises
    DivergenceError once loss, weights or end matrix are not finite.
    """
    kind = weights.dtype.type
    observed = Observed(*(np.ascontiguousarray(array, weights.dtype) for array in observed))
    size = weights.shape[1]
    counters = np.zeros(3, np.int64)
    kept = np.full(2, np.inf)
    numbers, losses = np.empty(_CHUNK + 1, np.int64), np.empty(_CHUNK + 1, weights.dtype)
    ends = np.empty((_CHUNK + 1, size, size), weights.dtype)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def advance_to(last: int) -> int:
        return _descend(
            weights, *observed, kind(learning_rate), last, last == epochs, evaluate_every, tolerance, patience,
            counters, kept, numbers, losses, ends,
        )  # fmt: skip

    # No step, but compiled code, whose time does not count in the rate of those to come.
    advance_to(0)
    progress = Progress(epochs, what="descent, at most", unit="epoch")
    fitted = False
    while counters[0] < epochs and not fitted:
        before = int(counters[0])
        last = min(epochs, before + _CHUNK * evaluate_every)
        count = advance_to(last)
        fitted = bool(counters[1] > patience)
        parts.append((numbers[:count].copy(), losses[:count].copy(), ends[:count].copy()))
        progress.advance(int(counters[0]) - before, note=f"loss {losses[count - 1] if count else np.nan:.3g}")
        # The end matrix is written down after a step whose loss is that before it.
        if counters[2] or not np.isfinite(ends[:count]).all():
            what = "the loss" if counters[2] else "the end matrix"
            advice = "lower the learning rate or the scale of initialisation"
            raise DivergenceError(f"{what} is not finite after {counters[0]} epochs; {advice}")
    progress.close()
    evaluated, before_step, products = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Path(evaluated, before_step, products, fitted)


@kernel()
def _descend(
    weights, target, mask, matrices, values, rate, last, is_end, every, tolerance, patience,
    counters, kept, numbers, losses, ends,
):  # fmt: skip
    """Take steps up to epoch `last`; return how many evaluations were written down.

    `counters` are epochs done, evaluations in a row that were fitted, whether the loss stopped being finite; `kept`
    are epoch and loss of the last evaluation written down.
    """
    size = weights.shape[1]
    products = np.zeros_like(weights)
    end, other = np.zeros_like(target), np.zeros_like(target)
    half = rate / (rate + rate)
    count = 0
    while counters[0] < last:
        if size == 2 and len(values) == 0:
            loss = half * _step_2x2(weights, products, target, mask, rate)
        else:
            loss = half * _step(weights, products, end, other, target, mask, matrices, values, rate)
        counters[0] += 1
        is_last = is_end and counters[0] == last
        if counters[0] % every == 0:
            counters[1] = counters[1] + 1 if loss < tolerance else 0
        elif not is_last:
            continue
        stops = counters[1] > patience or is_last
        # The weights too, as the loss is that before the step.
        if not (np.isfinite(loss) and np.isfinite(weights.sum())):
            counters[2], stops = 1, True
        grown = counters[0] >= (1 + GROWTH) * kept[0] or loss > (1 + GROWTH) * kept[1]
        if stops or grown or not kept[0] < np.inf or loss < (1 - GROWTH) * kept[1]:
            kept[0], kept[1] = counters[0], loss
            numbers[count], losses[count] = counters[0], loss
            _multiply_all(weights, products, ends[count])
            count += 1
        if stops:
            break
    return count


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _step_2x2(weights, products, target, mask, rate):
    """Take a step on factors of 2 x 2 and observed entries; return the sum of squared residuals before it."""
    depth = len(weights)
    # Numbers of the running product, row by row; then of the gradient with respect to it.
    a, b, c, d = weights[0, 0, 0], weights[0, 0, 1], weights[0, 1, 0], weights[0, 1, 1]
    for j in range(1, depth):
        products[j - 1, 0, 0], products[j - 1, 0, 1] = a, b
        products[j - 1, 1, 0], products[j - 1, 1, 1] = c, d
        e, f, g, h = weights[j, 0, 0], weights[j, 0, 1], weights[j, 1, 0], weights[j, 1, 1]
        a, b, c, d = a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h
    a, b = mask[0, 0] * (a - target[0, 0]), mask[0, 1] * (b - target[0, 1])
    c, d = mask[1, 0] * (c - target[1, 0]), mask[1, 1] * (d - target[1, 1])
    loss = a * a + b * b + c * c + d * d
    for j in range(depth - 1, 0, -1):
        e, f, g, h = weights[j, 0, 0], weights[j, 0, 1], weights[j, 1, 0], weights[j, 1, 1]
        p, q = products[j - 1, 0, 0], products[j - 1, 0, 1]
        r, s = products[j - 1, 1, 0], products[j - 1, 1, 1]
        weights[j, 0, 0] = e - rate * (p * a + r * c)
        weights[j, 0, 1] = f - rate * (p * b + r * d)
        weights[j, 1, 0] = g - rate * (q * a + s * c)
        weights[j, 1, 1] = h - rate * (q * b + s * d)
        a, b, c, d = a * e + b * f, a * g + b * h, c * e + d * f, c * g + d * h
    weights[0, 0, 0] -= rate * a
    weights[0, 0, 1] -= rate * b
    weights[0, 1, 0] -= rate * c
    weights[0, 1, 1] -= rate * d
    return loss


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _step(weights, products, end, other, target, mask, matrices, values, rate):
    """Take a step on factors of any size; return the sum of squared residuals before it."""
    depth, size = len(weights), weights.shape[1]
    _multiply_all(weights, products, end)
    loss = rate - rate
    if len(values) == 0:
        for i in range(size):
            for k in range(size):
                end[i, k] = mask[i, k] * (end[i, k] - target[i, k])
                loss += end[i, k] * end[i, k]
    else:
        other[:] = 0
        for m in range(len(values)):
            residual = -values[m]
            for i in range(size):
                for k in range(size):
                    residual += matrices[m, i, k] * end[i, k]
            loss += residual * residual
            for i in range(size):
                for k in range(size):
                    other[i, k] += residual * matrices[m, i, k]
        end[:] = other
    for j in range(depth - 1, 0, -1):
        # The gradient with respect to the products before this factor, from the factor as it was.
        for i in range(size):
            for k in range(size):
                total = rate - rate
                for m in range(size):
                    total += end[i, m] * weights[j, k, m]
                other[i, k] = total
        for i in range(size):
            for k in range(size):
                total = rate - rate
                for m in range(size):
                    total += products[j - 1, m, i] * end[m, k]
                weights[j, i, k] -= rate * total
        end[:] = other
    for i in range(size):
        for k in range(size):
            weights[0, i, k] -= rate * end[i, k]
    return loss


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def _multiply_all(weights, products, end):
    """Write W_1 ... W_j to products[j - 1] and the whole product to `end`."""
    size = weights.shape[1]
    products[0] = weights[0]
    for j in range(1, len(weights)):
        for i in range(size):
            for k in range(size):
                total = weights[0, 0, 0] - weights[0, 0, 0]
                for m in range(size):
                    total += products[j - 1, i, m] * weights[j, m, k]
                products[j, i, k] = total
    end[:] = products[-1]
