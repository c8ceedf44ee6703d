"""The p-variation: values known by hand, invariances, and the fast algorithms against the plain recursion."""

import itertools
import math

import numpy as np
import pytest

from tacit.analysis.p_variation import maximising_partition, p_variation, p_variation_norm, plain_p_variation

RANDOM = np.random.default_rng(20)
SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
K = np.arange(101.0)

BY_HAND = [
    ([0, 1, 0, 1, 0], dict.fromkeys((1, 1.5, 2, 3.3, 50, 1000, 1e300), 4)),
    ([0, 1, 0.5, 2], {1: 3, 1.5: 3.190670697681, 2: 4, 2.5: 2**2.5, 3: 8}),
    ([0, 1, -1, 2, -2, 1], {1: 13, 1.5: 22.220731970159, 2: 39, 3: 127, 4: 435}),
    ([0, 1, 1, 4] * 1000, {1: 7996, 2: 31984, 3: 127936}),
    ([0, *np.sort(RANDOM.uniform(0, 1, 300)), 1], dict.fromkeys((1, 1.1, 2, 7), 1)),
    (SQUARE, {1: 4, 1.5: 4, 2: 4, 2.5: 4.756828460011, 3: 5.656854249492, 4: 8}),
    (SQUARE + [(0, 0)] * 3, {1: 4, 1.5: 4, 2: 4, 2.5: 4.756828460011, 3: 5.656854249492, 4: 8}),
    ([(0, 1), (0, 1), (1, 0), (1, 0)], {1: math.sqrt(2), 2: 2, 3: 2.828427124746}),
    ([(0, 1), (1, 0)] + [(0, 0)] * 6, {3: 3.828427124746}),
    ([(0, 0), (3, 4)], {1: 5, 2: 25, 3: 125}),
]

TABLE = [
    (K[:50] * 0.6180339887498949 % 1,
     (23.201626123751, 18.464752762663, 14.844051968768, 12.037599088243, 10.501552810008, 8.222245329529)),
    (np.sin(K), (60.913409832546, 83.700530128928, 115.433605907292, 159.558275619024, 220.872362276980,
                 424.383997036089)),
    (np.cos(K**2 / 20), (81.582998006681, 103.614890270283, 133.150600614138, 172.733297923043, 225.804428421335,
                         393.370918134055)),
    (np.stack([np.cos(2 * np.pi * K / 100), np.sin(2 * np.pi * K / 100)], 1),
     (6.282151815626, 6.837577978171, 8.998668286365, 11.843008297826, 16, 32)),
    (np.stack([np.cos(K / 5), np.sin(K / 5), K / 100 + 0.3 * np.sin(3 * K)], 1),
     (44.409320278002, 33.685574182978, 32.542789580322, 42.072296179845, 58.584400332196, 117.739839212395)),
    (np.stack([np.sin(0.7 * K), np.cos(1.3 * K), 2 * np.sin(0.11 * K), np.cos(0.05 * K**2)], 1),
     (133.914958926007, 184.643669014415, 273.350411532103, 415.487092501055, 641.058731569945, 2070.479266630838)),
]  # fmt: skip

KINDS = ["normal", "walk", "integers", "signs", "plateaus", "smooth", "noisy", "line", "spikes"]


def draw(kind, length, size, random):
    """Return a path (length, size), or (length,) if size is 1."""
    shape = (length, size)
    times = np.linspace(0, 1, length)[:, None]
    smooth = np.sin(random.uniform(1, 12, size) * times + random.uniform(0, 6, size))
    path = {
        "normal": lambda: random.standard_normal(shape),
        "walk": lambda: np.cumsum(random.standard_normal(shape), 0),
        "integers": lambda: np.cumsum(random.integers(-2, 3, shape), 0),
        "signs": lambda: np.cumsum(random.choice([-1, 1], shape), 0),
        "plateaus": lambda: np.repeat(random.standard_normal(shape), random.integers(1, 6, length), 0)[:length],
        "smooth": lambda: smooth,
        "noisy": lambda: smooth + 0.02 * random.standard_normal(shape),
        "line": lambda: np.cumsum(random.exponential(size=(length, 1)), 0) * random.standard_normal(size),
        "spikes": lambda: random.standard_cauchy(shape),
    }[kind]()
    return path[:, 0] if size == 1 else path


def check_partition(path, p, value):
    """Check that the partition is one and worth the value."""
    points = np.reshape(path, (len(path), -1)).astype(float)
    found, indices = maximising_partition(path, p)
    assert found == value
    assert indices.dtype == np.int64
    assert (indices[0], indices[-1]) == (0, len(path) - 1)
    assert (np.diff(indices) > 0).all()
    links = np.linalg.norm(np.diff(points[indices], axis=0), axis=1)
    np.testing.assert_allclose((links**p).sum(), value, rtol=1e-12)


# Values


@pytest.mark.parametrize(("path", "values"), BY_HAND)
def test_values_by_hand(path, values):
    for p, value in values.items():
        assert p_variation(path, p) == pytest.approx(value, rel=1e-12, abs=0)
        assert plain_p_variation(path, p) == pytest.approx(value, rel=1e-12, abs=0)
        if p < 1e300:
            check_partition(path, p, p_variation(path, p))


@pytest.mark.parametrize(("path", "values"), TABLE)
def test_values_computed_elsewhere(path, values):
    exponents = [1, 1.5, 2, 2.5, 3, 4]
    np.testing.assert_allclose(p_variation(path, exponents), values, rtol=0, atol=6e-13 * max(1, max(values) / 10))
    for p in exponents:
        check_partition(path, p, p_variation(path, p))


def test_the_best_partitions_of_a_circle_are_triangles_and_diameters():
    circle = TABLE[3][0]
    for p in (1.5, 2, 2.5):
        assert maximising_partition(circle, p).indices.tolist() in (
            [0, 34, 67, 100],
            [0, 33, 66, 100],
            [0, 33, 67, 100],
        )
    for p in (3, 4):
        assert len(maximising_partition(circle, p).indices) == 3


@pytest.mark.parametrize(("length", "norm"), [(20, 13.4350), (40, 19.5)])
def test_matrices_have_frobenius_distances(length, norm):
    path = np.arange(1, length + 1)[:, None, None] / length * np.eye(10) * length**0.5
    exact = length**0.5 * (length - 1) / length * math.sqrt(10)
    np.testing.assert_allclose(p_variation_norm(path, [1, 1.5, 2, 3]), exact, rtol=1e-12)
    assert exact == pytest.approx(norm, abs=5e-5)


# Against the plain recursion


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_equals_the_plain_recursion_on_many_short_paths(size):
    random = np.random.default_rng(size)
    for number in range(900):
        path = draw(KINDS[number % len(KINDS)], random.integers(2, 90), size, random)
        p = random.choice([random.uniform(1, 6), random.integers(5, 24) / 4, 1])
        value, plain = p_variation(path, p), plain_p_variation(path, p)
        assert value == pytest.approx(plain, rel=1e-12, abs=0)
        # Points in several dimensions are summed in the order of the plain recursion, whatever was left out.
        assert size == 1 or p == 1 or value == plain
        if number % 10 == 0:
            check_partition(path, p, value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 37])
def test_equals_the_plain_recursion_on_long_paths(kind, size):
    random = np.random.default_rng(len(kind))
    path = draw(kind, 1500 if size == 1 else 1003, size, random)
    for p in (1.2, 1.5, 2, 3.1):
        value, plain = p_variation(path, p), plain_p_variation(path, p)
        assert value == pytest.approx(plain, rel=1e-12, abs=0)
        assert size == 1 or value == plain
        check_partition(path, p, value)


def test_a_path_far_from_the_origin():
    path = draw("noisy", 400, 3, np.random.default_rng(1)) * 1e-6 + [1e8, -3e7, 5]
    for p in (1.5, 2):
        assert p_variation(path, p) == plain_p_variation(path, p)


# Invariances


@pytest.fixture(params=[(kind, size) for kind in ("walk", "noisy") for size in (1, 3, 6)])
def path(request):
    kind, size = request.param
    return draw(kind, 200, size, np.random.default_rng(size)).reshape(200, -1)


EXPONENTS = [1, 1.3, 1.5, 2, 2.7, 4]


def test_unchanged_by_translation_rotation_reversal_and_repetition(path):
    values = p_variation(path, EXPONENTS)
    rotation = np.linalg.qr(RANDOM.standard_normal((path.shape[1],) * 2))[0]
    for other in (path + 3.7, path @ rotation, path[::-1], np.repeat(path, RANDOM.integers(1, 5, 200), 0)):
        np.testing.assert_allclose(p_variation(other, EXPONENTS), values, rtol=1e-12)


@pytest.mark.parametrize("scale", [-3, 0.1, 2.0**70, 1e-60])
def test_homogeneous(path, scale):
    norms = p_variation_norm(path, EXPONENTS)
    np.testing.assert_allclose(p_variation_norm(path * scale, EXPONENTS), abs(scale) * norms, rtol=1e-12)
    values = p_variation(path, EXPONENTS)
    expected = [abs(scale) ** p * value for p, value in zip(EXPONENTS, values, strict=True)]
    np.testing.assert_allclose(p_variation(path * scale, EXPONENTS), expected, rtol=1e-12)


def test_norms_fall_with_p_to_the_largest_distance(path):
    norms = p_variation_norm(path, [*EXPONENTS, 10, 48, 49, 300, 5000, 1e12, 1e300])
    assert (np.diff(norms) <= 1e-14 * norms[0]).all()
    largest = max(np.linalg.norm(path - point, axis=1).max() for point in path)
    assert (norms >= largest * (1 - 1e-14)).all()
    assert norms[-1] == pytest.approx(largest, rel=1e-14)


def test_v_1_is_the_length(path):
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert p_variation(path, 1) == pytest.approx(length, rel=1e-13)
    # Exponents near 1 go another way.
    assert p_variation(path, 1 + 1e-12) == pytest.approx(length, rel=1e-10)
    assert maximising_partition(path, 1).indices.tolist() == list(range(200))


def test_superadditive(path):
    for cut in (1, 17, 100, 198):
        parts = np.array(p_variation(path[: cut + 1], EXPONENTS)) + p_variation(path[cut:], EXPONENTS)
        assert (p_variation(path, EXPONENTS) >= parts * (1 - 1e-13)).all()


# What may be given


def test_one_exponent_gives_a_float_and_several_an_array():
    path = RANDOM.standard_normal((30, 2, 2))
    single = [p_variation(path, p) for p in (2, 1, 3.3)]
    assert all(type(value) is float for value in single)
    for several in ([2, 1, 3.3], (2, 1, 3.3), np.array([2, 1, 3.3])):
        values = p_variation(path, several)
        assert (values.shape, values.dtype, values.tolist()) == ((3,), np.float64, single)
    assert type(p_variation_norm(path, 2)) is float
    assert p_variation(path, []).shape == (0,)
    assert p_variation(path, [2]).tolist() == single[:1]


def test_kinds_of_arrays():
    path = RANDOM.integers(-5, 5, (40, 6))
    value = p_variation(path, 1.5)
    strided = np.zeros((80, 12))
    strided[::2, ::2] = path
    for other in (path.tolist(), path.astype(np.float32), strided[::2, ::2], np.asfortranarray(path),
                  path.reshape(40, 2, 3)):  # fmt: skip
        assert p_variation(other, 1.5) == value


def test_paths_of_little():
    for p in (1, 1.5, 2, 100):
        for path in ([3.0], [[1.0, 2.0]], [2.0] * 50, np.ones((50, 3)), np.zeros((4, 0)), np.zeros((1, 0))):
            assert p_variation(path, p) == p_variation_norm(path, p) == plain_p_variation(path, p) == 0
            check_partition(path, p, 0)
        assert p_variation([0, 0, 2, 2], p) == pytest.approx(2**p)
        assert p_variation_norm([[1, 1]] * 20 + [[4, 5]] * 20, p) == pytest.approx(5)


def test_ranges():
    zigzag = np.array([0, 1, 0, 1, 0.5])
    # V_p leaves the range of float64, the norm does not.
    assert p_variation(zigzag * 1e200, 2) == np.inf
    assert p_variation(zigzag * 1e-200, 2) == 0
    for scale, p in itertools.product((1e-300, 1e-150, 1e150, 1e300), (1, 1.5, 2, 40, 900)):
        for path in (zigzag * scale, np.outer(zigzag, [3, -4]) * scale):
            expected = p_variation_norm(path / scale, p) * scale
            assert p_variation_norm(path, p) == pytest.approx(expected, rel=1e-13, abs=0)
    # Differences out of range; a coordinate that never changes and would be so in the unit of the others.
    assert p_variation_norm([-1e308, 1e308, -1e308], 2) == np.inf
    assert p_variation_norm([-5e307, 5e307, -5e307], 2) == pytest.approx(math.sqrt(2) * 1e308)
    assert p_variation_norm([5e-324, 0, 5e-324], 1) == 1e-323
    assert p_variation_norm([(1e300, 0), (1e300, 3e-200), (1e300, 0)], 2) == pytest.approx(math.sqrt(2) * 3e-200)


@pytest.mark.parametrize("function", [p_variation, p_variation_norm, maximising_partition, plain_p_variation])
@pytest.mark.parametrize(
    ("path", "p", "message"),
    [
        ([0, 1], 0.99, r"p = 0\.99: .* finite p >= 1"),
        ([0, 1], float("nan"), "p = nan"),
        ([0, 1], float("inf"), "p = inf"),
        ([0, 1], "euclidean", "an exponent is a number"),
        ([0, 1], None, "p = "),
        ([0, 1, float("nan")], 2, "point 2 of the path"),
        ([[0, 1], [-float("inf"), 1]], 1, "point 1 of the path"),
        ([], 2, "no points"),
        (np.zeros((0, 3)), 2, "no points"),
        (3.0, 2, "at least one axis"),
        ([[0, 1], [2]], 2, "array of real numbers"),
        ([1j, 2], 2, "array of real numbers"),
        ([0, 1], "2", "an exponent is a number"),
        (np.ma.masked_invalid([0, np.nan, 1]), 2, "no masked points"),
    ],
)
def test_what_is_refused(function, path, p, message):
    with pytest.raises(ValueError, match=message):
        function(path, p)


def test_exponents_that_are_refused_among_others():
    with pytest.raises(ValueError, match=r"p = 0\.5"):
        p_variation([0, 1], [2, 0.5])
    with pytest.raises(ValueError, match="shape"):
        p_variation([0, 1], [[2, 3]])
    for function in (maximising_partition, plain_p_variation):
        with pytest.raises(ValueError, match="one exponent"):
            function([0, 1], [2, 3])
