import math

import numpy as np
import pytest

import plain.pathfinder as plain
from tacit.data import strokes
from tacit.settings.pathfinder import Rendering

SHAPE = {"length": 5, "thickness": 2, "margin": 3, "antialias": 2}


@pytest.fixture(scope="module")
def stamps():
    return strokes.make_stamps(**SHAPE, continuity=1.8)


def dense(begin, pixels, values, stamp, reach):
    """A stamp as a square array, from its list of pixels."""
    square = np.zeros((2 * reach + 1, 2 * reach + 1))
    part = slice(begin[stamp], begin[stamp + 1])
    square[tuple((pixels[part] + reach).T)] = values[part]
    return square


def directions(stamps):
    degrees = [strokes.degree(k) for k in range(360)]
    return degrees + [strokes.flipped(math.atan2(r, c)) for r, c in stamps.candidates]


def test_stamps_are_the_strokes_that_the_plain_generator_draws(stamps):
    reach, shape = stamps.reach, (41, 41)
    for number, angle in list(enumerate(directions(stamps)))[::7]:
        line, mask = plain.draw_segment(shape, (20, 20), angle, Rendering(), 3)
        window = slice(20 - reach, 20 + reach + 1)
        ours = dense(stamps.line_begin, stamps.line_pixels, stamps.line_values, number, reach)
        np.testing.assert_array_equal(ours, np.maximum(line[window, window], 0))
        ours = dense(stamps.mask_begin, stamps.mask_pixels, stamps.mask_values, number, reach)
        np.testing.assert_array_equal(ours, np.rint(255 * mask[window, window]))


def test_strokes_ring_as_the_reference_says(stamps):
    assert stamps.reach == 10
    assert 1.15 < stamps.line_peak.max() < 1.25


def test_candidates_are_the_pixels_of_a_circle_in_order(stamps):
    radii = np.hypot(*stamps.candidates.T)
    assert len(stamps.candidates) <= 51
    assert abs(radii - 8).max() < math.sqrt(2)
    assert [tuple(c) for c in stamps.candidates] == sorted({tuple(c) for c in stamps.candidates})


def test_weights_are_squared_cosines_of_the_sharpened_turn(stamps):
    for number, candidate in enumerate(stamps.candidates):
        psi = math.atan2(*candidate)
        for heading in (0, 90, 123, 200, 359):
            theta = math.radians(heading - 180)
            turn = abs(math.remainder(psi - theta, 2 * math.pi))
            expected = math.cos(1.8 * turn) ** 2 if 1.8 * turn < math.pi / 2 else 0
            assert stamps.weights[heading, number] == pytest.approx(expected, abs=1e-12)


def test_steps_round_up_in_both_coordinates_without_float_noise():
    assert strokes.displacement(0, 5) == (0, 5)
    assert strokes.displacement(math.pi, 5) == (0, -5)
    assert strokes.displacement(math.radians(60), 8) == (7, 4)  # 8 cos 60 is 4 and not 4.000000000000001
    assert strokes.displacement(math.radians(10), 5) == (1, 5)
    assert strokes.rounded_displacement(math.radians(30), 27) == (14, 23)  # 13.5 to even


def test_an_end_disc_is_as_bright_as_the_reference_says():
    disc = strokes.draw_disc(3, 2)
    reach = len(disc) // 2
    assert disc[reach, reach] > 0.95
    assert 202 <= int(disc[reach, reach] / 1.218 * 255) <= 209
    assert disc[0].max() == disc[:, 0].max() == disc[-1].max() == 0


def test_a_width_of_half_pixels_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        strokes.draw_stroke(0.0, length=5, thickness=1.3, margin=3, antialias=2)
