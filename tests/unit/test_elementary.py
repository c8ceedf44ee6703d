"""Exponential, logarithm, tanh and the like, against longer numbers."""

import numpy as np
import pytest
from numba import njit
from scipy import special, stats

from tacit.training import elementary


def over(function):
    """A function of one number over an array."""

    @njit(error_model="numpy")
    def loop(numbers, out):
        for n in range(len(numbers)):
            out[n] = function(numbers[n])

    def call(numbers):
        out = np.empty_like(numbers)
        loop(numbers, out)
        return out

    return call


@njit(error_model="numpy")
def distribution(x):
    return elementary.normal(x)[0]


@njit(error_model="numpy")
def distribution_9(x):
    return elementary.normal_9(x)[0]


@njit(error_model="numpy")
def density(x):
    return elementary.normal(x)[1]


def units(found, expected):
    """Errors in units of the last place."""
    rounded = np.abs(np.asarray(expected, found.dtype))
    return np.abs(found - expected) / np.spacing(np.maximum(rounded, np.finfo(found.dtype).tiny))


def test_tanh_in_float32_is_within_two_units_everywhere():
    small = np.geomspace(1e-38, 1e3, 400_000)
    numbers = np.concatenate([np.linspace(-12, 12, 2_000_001), small, -small, [0, -0.0, 1e30, -1e30]]).astype(
        np.float32
    )
    found = over(elementary.tanh32)(numbers)
    assert units(found, np.tanh(numbers.astype(np.float64))).max() < 2
    assert (found[numbers == 0] == 0).all() and np.abs(found).max() == 1


@pytest.mark.parametrize(
    ("function", "expected", "numbers", "most"),
    [
        (elementary.exponential, np.exp, np.linspace(-700, 700, 200_001), 1),
        (elementary.tanh64, np.tanh, np.r_[np.linspace(-22, 22, 200_001), np.geomspace(1e-300, 1, 20_000)], 3),
        (elementary.expm1, np.expm1, np.r_[np.linspace(-40, 5, 200_001), -np.geomspace(1e-300, 1, 20_000)], 3),
        (elementary.logarithm, np.log, np.r_[np.geomspace(1e-300, 1e300, 100_001), np.linspace(0.5, 2, 100_001)], 3),
    ],
)
def test_in_float64_they_are_within_units(function, expected, numbers, most):
    found = over(function)(numbers)
    assert units(found, expected(numbers.astype(np.longdouble))).max() < most


def test_the_distribution_function_of_the_normal_keeps_its_digits_in_the_tail():
    import mpmath

    numbers = np.linspace(-37, 8, 901)
    found = over(distribution)(numbers)
    with mpmath.workdps(40):
        exact = [mpmath.erfc(-mpmath.mpf(float(x)) / mpmath.sqrt(2)) / 2 for x in numbers]
        errors = [abs(mpmath.mpf(float(value)) / right - 1) for value, right in zip(found, exact, strict=True)]
    assert max(errors) < 2e-15


def test_ends_of_the_range():
    exponential = over(elementary.exponential)
    assert exponential(np.array([-1e4, -708.5]))[0] == 0
    assert np.isfinite(exponential(np.array([709.0, 1e4]))).all()
    assert over(elementary.tanh64)(np.array([30.0, -1e300])).tolist() == [1, -1]
    np.testing.assert_allclose(over(density)(np.array([3.0, 30.0])), stats.norm.pdf([3.0, 30.0]), rtol=1e-14)
    assert over(distribution)(np.array([0.0]))[0] == pytest.approx(special.ndtr(0), rel=1e-15)


def test_what_float32_makes_of_nine_digits():
    numbers = np.linspace(-13, 9, 400_001)
    assert np.abs(over(distribution_9)(numbers) / over(distribution)(numbers) - 1).max() < 1e-8


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "gelu", "sigmoid"])
def test_activations_in_float32_are_within_two_units(activation):
    from tacit.nn.deep_residual import activate
    from tacit.training import activations

    @njit(error_model="numpy")
    def call(kind, arguments, values):
        activations.activate(kind, True, arguments, values)

    small = np.geomspace(1e-30, 1, 100_000)
    numbers = np.r_[np.linspace(-12, 30, 400_001), small, -small].astype(np.float32)
    found = np.empty_like(numbers)
    call(activations.CODES[activation], numbers, found)
    assert units(found, activate(activation, numbers.astype(np.float64))).max() < 2
