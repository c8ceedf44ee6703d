"""Activations and their derivatives over arrays, compiled, the same to the bit on every processor.

What is float32 is within 2 units in the last place (tests); `single` says that arrays are. Where float32 would not do,
numbers are taken through float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tacit.training.elementary import expm1, exponential, normal, normal_9, tanh32, tanh64
from tacit.training.lanes import INNER, fused

TANH, RELU, ELU, GELU, SIGMOID = range(5)
CODES = {"tanh": TANH, "relu": RELU, "elu": ELU, "gelu": GELU, "sigmoid": SIGMOID}
"""By which compiled code knows them."""


@njit(**INNER)  # type: ignore[call-overload]
def activate(activation, single, arguments, values):
    """Write the activation of `arguments` to `values`."""
    count, zero = len(arguments), arguments[0] - arguments[0]
    if activation == TANH and single:
        for n in range(count):
            values[n] = tanh32(np.float32(arguments[n]))
    elif activation == TANH:
        for n in range(count):
            values[n] = tanh64(np.float64(arguments[n]))
    elif activation == RELU:
        for n in range(count):
            values[n] = max(arguments[n], zero)
    elif activation == ELU:
        for n in range(count):
            x = np.float64(arguments[n])
            below = expm1(min(x, 0.0))
            values[n] = x if x > 0 else below
    elif activation == GELU and single:
        for n in range(count):
            x = np.float64(arguments[n])
            values[n] = x * normal_9(x)[0]
    elif activation == GELU:
        for n in range(count):
            x = np.float64(arguments[n])
            values[n] = x * normal(x)[0]
    else:
        for n in range(count):
            x = max(np.float64(arguments[n]), -700.0)
            values[n] = 1.0 / (1.0 + exponential(-x))


@njit(**INNER)  # type: ignore[call-overload]
def activate_and_differentiate(activation, single, arguments, values, slopes):
    """Write the activation of `arguments` to `values`, and its derivative to `slopes`."""
    if activation == GELU:
        gelu(single, arguments, values, slopes)
    else:
        activate(activation, single, arguments, values)
        differentiate(activation, values, slopes)


@njit(**INNER)  # type: ignore[call-overload]
def gelu(single, arguments, values, slopes):
    """Write gelu of `arguments` to `values`, and its derivative to `slopes`."""
    for n in range(len(values)):
        x = np.float64(arguments[n])
        if single:
            share, density = normal_9(x)
        else:
            share, density = normal(x)
        values[n] = x * share
        slopes[n] = share + x * density


@njit(**INNER)  # type: ignore[call-overload]
def differentiate(activation, values, slopes):
    """Write the derivative of an activation other than gelu to `slopes`; it follows from `values`."""
    count = len(values)
    one = np.float32(1)
    if activation == TANH:
        for n in range(count):
            slopes[n] = fused(-values[n], values[n], values[n] - values[n] + one)
    elif activation == RELU:
        for n in range(count):
            slopes[n] = one if values[n] > 0 else np.float32(0)
    elif activation == ELU:
        for n in range(count):
            slopes[n] = one if values[n] > 0 else values[n] + one
    else:
        for n in range(count):
            slopes[n] = values[n] * (one - values[n])
