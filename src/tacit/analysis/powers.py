"""Powers of distances, from their squares, as compiled code needs them."""

from __future__ import annotations

import math

from numba import njit

LARGEST = 48
"""Exponents up to this one may be taken apart; beyond it there would be more factors than a call of `pow` costs."""


def quarters(p: float) -> int:
    """Return 4 p if it is a whole number and p at most `LARGEST`: `power` gets by with products and roots. Else -1."""
    return int(4 * p) if p <= LARGEST and float(4 * p).is_integer() else -1


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def power(square, p, quarters):
    """Return square ** (p / 2).

    Multiples of a quarter need only products and square roots, which are rounded alike on every processor and take less
    time than the C library's `pow`, whose last bit may depend on the processor.
    """
    if quarters < 0:
        return square ** (p / 2)
    result = 1.0
    rest = quarters % 8
    root = square
    for bit in (4, 2, 1):
        if rest == 0:
            break
        root = math.sqrt(root)
        if rest >= bit:
            result *= root
            rest -= bit
    whole = quarters // 8
    factor = square
    while whole > 0:
        if whole % 2 == 1:
            result *= factor
        whole //= 2
        if whole > 0:
            factor *= factor
    return result
