"""Power laws of a series, the filters before them, and their intervals."""

import numpy as np
import pytest

from tacit.analysis import power_law
from tacit.analysis.power_law import FitError, bootstrap, fit, fit_as_published, kept

SERIES = np.array([5.0, 3, 4, 1, 2, 9, 8, 7, 6, 10, 11])


@pytest.mark.parametrize(
    ("filters", "values", "times"),
    [
        ({}, SERIES, range(1, 12)),
        ({"window": 5}, [5, 3, 4, 2, 8, 7, 10], [1, 2, 3, 5, 7, 8, 10]),
        ({"period": 2, "window": 3}, [4, 8], [3, 7]),
        ({"period": 2}, [5, 4, 2, 8, 6, 11], [1, 3, 5, 7, 9, 11]),
    ],
)
def test_filters_leave_what_those_of_the_original_do(filters, values, times):
    places = kept(SERIES, **filters)
    assert (places + 1).tolist() == list(times) and SERIES[places].tolist() == list(values)


@pytest.mark.parametrize(
    ("filters", "count"),
    [*(({"window": w}, n) for w, n in zip((3, 4, 5, 27), (13, 21, 25, 37), strict=True)),
     *(({"period": f}, n) for f, n in zip((2, 3, 5), (20, 26, 32), strict=True))],
)  # fmt: skip
def test_so_many_of_39_points_are_left(filters, count):
    assert len(kept(1e-9 / np.arange(1, 40), **filters)) == count


def test_the_published_series_is_recovered_from_what_the_filter_leaves():
    x = np.arange(1, 6257) / 391
    y = 7.1e-5 / (x + 1) ** 0.61
    places = kept(y, window=27)
    assert len(places) == 5794
    law = fit(x[places], y[places])
    assert law.size == pytest.approx(7.1e-5, rel=1e-10) and law.rate == pytest.approx(0.61, rel=1e-10)


@pytest.mark.parametrize("scale", [5.76e-9, 1e-30, 1, 1e30])
def test_the_fit_does_not_depend_on_the_unit(scale):
    x = np.arange(1, 40)
    law = fit(x, scale / (x + 1) ** 0.6)
    assert law.size == pytest.approx(scale, rel=1e-9) and law.rate == pytest.approx(0.6, rel=1e-9)
    shifted = fit(x, scale / (x + 7.5) ** 1.2, with_shift=True)
    assert shifted[:3] == pytest.approx((scale, 1.2, 7.5), rel=1e-6)


@pytest.mark.parametrize(("size", "rate"), [(1e-6, 2.9993), (1e-3, 0.6035), (1, 0.6)])
def test_that_of_the_original_does(size, rate):
    x = np.arange(1, 40)
    found = fit_as_published(x, size / (x + 1) ** 0.6)
    assert found.rate == pytest.approx(rate, abs=2e-4)
    lost = fit_as_published(x, 5.76e-9 / (x + 1) ** 0.6)
    assert lost.rate > 2.99 and lost.size > 1e-4


def test_its_form_with_a_shift_is_that_of_the_original_where_both_work():
    x = np.arange(1.0, 400)
    y = 0.8 / (x + 30) ** 0.9
    published = fit_as_published(x, y, with_shift=True)
    assert published[:3] == pytest.approx(fit(x, y, with_shift=True)[:3], rel=1e-4)


@pytest.mark.parametrize("shift", [0.3, 10, 300, 3000])
@pytest.mark.parametrize("rate", [0.1, 0.61, 3, 6])
@pytest.mark.parametrize("x", [np.arange(1, 40.0), np.arange(1, 6257) / 391], ids=["epochs", "steps"])
def test_exact_laws_are_found_with_their_shift(x, rate, shift):
    """Also where it is far beyond x, and the series nearly that of an exponential."""
    found = power_law.fit(x, 7.1e-5 * (x + shift) ** -float(rate), with_shift=True)
    assert (found.rate, found.shift) == pytest.approx((rate, shift), rel=1e-5)
    assert found.size == pytest.approx(7.1e-5, rel=1e-4)


def test_standard_errors_are_those_of_many_series():
    generator, x = np.random.default_rng(0), np.linspace(0, 16, 200)
    truth = 2 / (x + 1) ** 0.6
    laws = [fit(x, truth + 0.02 * generator.normal(size=200)) for _ in range(300)]
    spread = np.std([law[:2] for law in laws], axis=0)
    np.testing.assert_allclose(np.mean([law.errors[:2] for law in laws], 0), spread, rtol=0.12)
    one = laws[0]
    scaled = fit(x, 1e-9 * one(x) + 1e-11 * np.cos(np.arange(200.0)))
    assert scaled.errors[0] < 1e-10


CASES = [("relative", 0.0, 0.6), ("relative", 0.7, 0.6), ("additive", 0.0, 2.0)]


@pytest.mark.parametrize(("kind", "memory", "rate"), CASES)
def test_intervals_hold_the_truth_about_as_often_as_they_say(kind, memory, rate):
    """Where noise falls with the series and where it does not, and no wider than estimates vary."""
    generator, x, inside, widths, rates = np.random.default_rng(1), np.arange(1, 301) / 20, [], [], []
    truth = 7e-5 / (x + 1) ** rate
    for _ in range(60):
        noise = np.zeros(300)
        for place in range(300):
            noise[place] = memory * noise[place - 1] + generator.normal() * (1 - memory**2) ** 0.5
        y = truth * (1 + 0.1 * noise) if kind == "relative" else truth + 7e-7 * noise
        found = bootstrap(x, y, generator=generator, draws=60)
        inside.append([low < true < high for low, true, high in zip(found.low, (7e-5, rate), found.high, strict=False)])
        widths.append(found.high.rate - found.low.rate)
        rates.append(found.law.rate)
    assert (np.mean(inside, 0) > 0.8).all()
    assert 0.7 < np.mean(widths) / (3.92 * np.std(rates)) < 1.3


def test_a_shift_that_some_draws_lack_leaves_the_law_and_takes_the_ends():
    generator, x = np.random.default_rng(0), np.arange(1.0, 40)
    sharp = bootstrap(
        x, 2 / (x + 5) ** 1.5 * (1 + 1e-4 * np.cos(7 * x)), generator=generator, with_shift=True, draws=50
    )
    assert sharp.low.shift < 5 < sharp.high.shift and np.isfinite(sharp.high.shift)
    blunt = bootstrap(x, 2 / (x + 5) ** 1.5 * (1 + 0.2 * np.cos(7 * x)), generator=generator, with_shift=True, draws=50)
    assert np.isfinite(blunt.law.rate) and blunt.high.rate > blunt.law.rate


def test_equal_generators_give_equal_intervals():
    x = np.arange(1, 40)
    y = 5.76e-9 / (x + 1) ** 0.6 * (1 + 0.1 * np.cos(7 * x))
    one, two = (bootstrap(x, y, generator=np.random.default_rng(3), draws=50, with_shift=False) for _ in range(2))
    assert one == two and one.block == 7
    assert one.low.rate < one.law.rate < one.high.rate and one.low.shift == one.high.shift == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kept([1.0, 2.0], window=3), "only 2 points"),
        (lambda: kept([1.0, 2.0], period=1), "leave no point"),
        (lambda: kept([1.0, 2.0], window=-1), "0 .off. or larger"),
        (lambda: kept([1.0, np.nan]), "finite numbers"),
        (lambda: fit([1, 2, 3], [1, 2]), "3 positions and 2 values"),
        (lambda: fit([-1, 2, 3], [1, 2, 3]), "not negative"),
        (lambda: fit([1, 2], [1, 2]), "2 different points"),
        (lambda: fit([1, 2, 3, 4], [0, 0, 0, 0]), "0 everywhere"),
        (lambda: fit(np.arange(200), np.exp(-np.arange(200) / 9), with_shift=True), "exponential"),
        (lambda: bootstrap([1, 2, 3], [3, 2, 1.5], generator=np.random.default_rng(0), block=9), "1 to 3 points"),
        (lambda: bootstrap([1, 2, 3], [3, 2, 1.5], generator=np.random.default_rng(0), draws=0), "draws are 1 or more"),
    ],
)
def test_what_has_no_power_law_is_refused(call, said):
    with pytest.raises(FitError, match=said):
        call()


def test_a_law_is_a_function():
    law = power_law.PowerLaw(2.0, 0.5, 1.0, (0, 0, 0))
    np.testing.assert_allclose(law([0, 3]), [2, 1])
