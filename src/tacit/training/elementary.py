"""Exponential, logarithm, tanh and the like, compiled, the same to the bit on every processor.

Those of the C library and of NumPy differ between processors and versions, and are called for one number at a time;
these are additions, products and selections without branches, which a compiler takes in lanes. Approximations are
polynomials through Chebyshev points, computed with 50 digits. Errors, measured against longer numbers (tests):
`tanh32` at most 2 units in the last place of float32 everywhere; of float64 `exponential` 1, `logarithm`, `tanh64` and
`expm1` 3 units, the distribution function of `normal` 2e-15 relative down to -37. Not for NaN, which they need not pass
on.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tacit.training.lanes import INNER, bits, from_bits, fused

# Numba takes constants of NumPy's types as they are, and Python's as float64.
_32 = np.float32

_LOG2_E_32, _LN2_HIGH_32, _LN2_LOW_32 = _32(1.442695041), _32(0.693359375), _32(-2.12194440e-4)
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
_ROUND_32, _ROUND = _32(1.5 * 2**23), 1.5 * 2.0**52
"""Added, and taken away, they round to a whole number, which stands in the last bits of the sum."""

_ONE_32, _TWO_32 = _32(1), _32(2)

_LARGEST_TANH_32 = _32(9.02)
"""From here on tanh is 1 in float32."""
_LARGEST_TANH = 19.1

_E32_2, _E32_3, _E32_4, _E32_5, _E32_6, _E32_7 = (
    _32(number)
    for number in (0.5000000014, 0.1666666668, 0.0416664642, 0.008333310845, 0.001393373072, 0.0001989108046)
)
"""Of (exp(r) - 1 - r) / r^2 for |r| up to ln(2) / 2."""

_T32_0, _T32_1, _T32_2, _T32_3, _T32_4, _T32_5 = (
    _32(number)
    for number in (-0.3333333315, 0.1333330015, -0.05395846163, 0.02176250291, -0.008323187055, 0.002269501682)
)
"""Of (tanh(x) / x - 1) / x^2 in x^2 up to 0.4."""

_E = (
    0.5, 0.1666666666666666747, 0.041666666666666669783, 0.0083333333333260831202, 0.0013888888888883711167,
    0.00019841269875002278793, 0.0000248015873256774619, 2.7557255170000887438e-6, 2.7557273478718580474e-7,
    2.5105312729622101787e-8, 2.09147553258932022e-9,
)  # fmt: skip
_T = (
    -0.33333333333333333314, 0.13333333333333316986, -0.053968253968231026589, 0.021869488534887757374,
    -0.0088632354934414486405, 0.0035921274106952890635, -0.0014558274668452081561, 0.00058997591921321435102,
    -0.00023886464788116001261, 0.000095972363170967816275, -0.00003696052228665251816, 0.000012088687211072894226,
    -2.3855793051219066213e-6,
)  # fmt: skip
"""The same in float64."""

_ERFCX = (
    1.2375126308378275818, -0.14024059858554701837, 0.0035854154854636900471, 0.08227673849015102403,
    -0.1088039301417074552, 0.092304321160198334263, -0.05869339859054761866, 0.028362277421515597104,
    -0.009746579547619622968, 0.0017556258324217528098, 0.00029371359480570737346, -0.00029015397928986765965,
    0.000051649407775463988, 0.00002238391203655067914, -0.000011445049125831308984, -9.7284958221112202936e-7,
    1.7534434251106333659e-6, -5.8262810788007770897e-8, -2.611470235990095524e-7, 2.4289762925488707419e-8,
    4.0971223152703003348e-8, -4.3892841599863283907e-9, -6.5455602124802672954e-9, 5.4571573047046879131e-10,
    9.0221497003405903624e-10, -3.7531582779596203421e-11, -7.3395050085295393635e-11,
)  # fmt: skip
"""Of (1 + 2 x) exp(x^2) erfc(x) in (x - 3.75) / (x + 3.75), for x from 0 on (after Shepherd, Laframboise 1981)."""
_ERFCX_SHIFT = 3.75

_E_9 = (0.5000000014, 0.1666666668, 0.0416664642, 0.008333310845, 0.001393373072, 0.0001989108046)
_ERFCX_9 = (
    1.2375126300327, -0.14024059953591, 0.0035854953140631, 0.082276773990099, -0.1088052275495, 0.092303937538274,
    -0.058685440493631, 0.028364105117372, -0.0097700871833682, 0.0017511576292398, 0.00033016745627228,
    -0.0002843130757511, 2.2046718905694e-5, 1.852194738675e-5,
)  # fmt: skip
"""The same to nine digits."""

_INVERSE_ROOT_2_PI = 0.39894228040143267794


@njit(**INNER)  # type: ignore[call-overload]
def tanh32(x):
    """Return tanh in float32."""
    size = min(abs(x), _LARGEST_TANH_32)
    # Near 0 the polynomial, which keeps all digits of small numbers.
    square = size * size
    small = fused(_T32_5, square, _T32_4)
    small = fused(small, square, _T32_3)
    small = fused(small, square, _T32_2)
    small = fused(small, square, _T32_1)
    small = fused(small, square, _T32_0)
    small = fused(small * square, size, size)
    # Elsewhere 1 - 2 / (exp(2 x) + 1).
    twice = size + size
    shifted = fused(twice, _LOG2_E_32, _ROUND_32)
    power = shifted - _ROUND_32
    rest = fused(power, -_LN2_HIGH_32, twice)
    rest = fused(power, -_LN2_LOW_32, rest)
    grown = fused(_E32_7, rest, _E32_6)
    grown = fused(grown, rest, _E32_5)
    grown = fused(grown, rest, _E32_4)
    grown = fused(grown, rest, _E32_3)
    grown = fused(grown, rest, _E32_2)
    grown = fused(grown * rest, rest, rest) + _ONE_32
    grown = from_bits(np.int32(bits(grown) + np.int32(bits(shifted) << np.int32(23))))
    large = _ONE_32 - _TWO_32 / (grown + _ONE_32)
    found = small if size < _32(0.625) else large
    return -found if x < _32(0) else found


@njit(**INNER)  # type: ignore[call-overload]
def exponential(x):
    """Return exp in float64, for x up to 709; 0 below -708."""
    held = max(min(x, 709.0), -708.0)
    shifted = fused(held, _LOG2_E, _ROUND)
    power = shifted - _ROUND
    rest = fused(power, -_LN2_HIGH, held)
    rest = fused(power, -_LN2_LOW, rest)
    grown = _E[10]
    for n in range(9, -1, -1):
        grown = fused(grown, rest, _E[n])
    grown = fused(grown * rest, rest, rest) + 1.0
    grown = from_bits(bits(grown) + (bits(shifted) << 52))
    return 0.0 if x < -708.0 else grown


@njit(**INNER)  # type: ignore[call-overload]
def tanh64(x):
    """Return tanh in float64."""
    size = min(abs(x), _LARGEST_TANH)
    small = _tanh_near_zero(size)
    large = 1.0 - 2.0 / (exponential(2.0 * size) + 1.0)
    found = small if size < 0.625 else large
    return -found if x < 0 else found


@njit(**INNER)  # type: ignore[call-overload]
def expm1(x):
    """Return exp(x) - 1 in float64, with all digits near 0, where it is 2 tanh(x/2) / (1 - tanh(x/2))."""
    half = _tanh_near_zero(0.5 * x)
    small, large = 2.0 * half / (1.0 - half), exponential(x) - 1.0
    return small if abs(x) < 1.0 else large


@njit(**INNER)  # type: ignore[call-overload]
def _tanh_near_zero(x):
    square = x * x
    found = _T[12]
    for n in range(11, -1, -1):
        found = fused(found, square, _T[n])
    return fused(found * square, x, x)


@njit(**INNER)  # type: ignore[call-overload]
def logarithm(x):
    """Return the natural logarithm in float64 of a normal number above 0."""
    whole = bits(x)
    # x is 2^power times a number from about sqrt(1/2) to sqrt(2).
    power = (whole - 4604544271217802189) >> 52
    mantissa = from_bits(whole - (power << 52))
    share = (mantissa - 1.0) / (mantissa + 1.0)
    square = share * share
    total = 1.0 / 23.0
    for n in range(21, 1, -2):
        total = fused(total, square, 1.0 / n)
    near = 2.0 * fused(total * square, share, share)
    return fused(np.float64(power), _LN2_HIGH, fused(np.float64(power), _LN2_LOW, near))


@njit(**INNER)  # type: ignore[call-overload]
def normal(x):
    """Return distribution function and density of the standard normal in float64."""
    away = abs(x) * 0.70710678118654752440
    place = (away - _ERFCX_SHIFT) / (away + _ERFCX_SHIFT)
    scaled = _ERFCX[26]
    for n in range(25, -1, -1):
        scaled = fused(scaled, place, _ERFCX[n])
    # What x^2 loses in rounding is put right.
    square = x * x
    lost = fused(x, x, -square)
    fallen = exponential(-0.5 * square) * (1.0 - 0.5 * lost)
    return _from_tail(x, away, scaled, fallen)


@njit(**INNER)  # type: ignore[call-overload]
def normal_9(x):
    """Return the same to nine digits, with which float32 is as good as exact; in shorter polynomials."""
    away = abs(x) * 0.70710678118654752440
    place = (away - _ERFCX_SHIFT) / (away + _ERFCX_SHIFT)
    scaled = _ERFCX_9[13]
    for n in range(12, -1, -1):
        scaled = fused(scaled, place, _ERFCX_9[n])
    held = max(-0.5 * x * x, -708.0)
    shifted = fused(held, _LOG2_E, _ROUND)
    power = shifted - _ROUND
    rest = fused(power, -_LN2_LOW, fused(power, -_LN2_HIGH, held))
    grown = _E_9[5]
    for n in range(4, -1, -1):
        grown = fused(grown, rest, _E_9[n])
    grown = fused(grown * rest, rest, rest) + 1.0
    fallen = from_bits(bits(grown) + (bits(shifted) << 52))
    return _from_tail(x, away, scaled, fallen)


@njit(**INNER)  # type: ignore[call-overload]
def _from_tail(x, away, scaled, fallen):
    """Return distribution function and density from scaled erfc at `away` = |x| / sqrt 2, and exp(-x^2 / 2)."""
    tail = 0.5 * fallen * scaled / (1.0 + 2.0 * away)
    rest = 1.0 - tail
    return tail if x < 0 else rest, _INVERSE_ROOT_2_PI * fallen
