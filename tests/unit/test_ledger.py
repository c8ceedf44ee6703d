"""The ledger: intervals that are right, verdicts of three, claims that can fail, and the drawing of them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tacit import store
from tacit.figures import claims as figure
from tacit.figures import style
from tacit.studies import ledger
from tacit.studies.tables import MissingRunsError

RANDOM = np.random.default_rng(7)


# Intervals.


def test_a_mean_has_the_interval_of_student():
    values = RANDOM.normal(3, 2, 5)
    found = ledger.mean(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.effect, found.runs) == (pytest.approx(values.mean()), 5)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_a_difference_of_unpaired_means_has_the_interval_of_welch():
    first, second = RANDOM.normal(3, 2, 5), RANDOM.normal(1, 0.3, 3)
    found = ledger.difference(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.runs == 3


def test_a_proportion_has_the_interval_of_clopper_and_pearson():
    for successes in (0, 3, 7):
        found = ledger.proportion([True] * successes + [False] * (7 - successes), range(7))
        expected = stats.binomtest(successes, 7).proportion_ci(0.95, method="exact")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.effect == pytest.approx(successes / 7)
    of_two = ledger.proportion([True, True, False, True] * 2, [0, 0, 1, 1] * 2)
    assert of_two.runs == 2 and of_two.effect == 0.75, "seeds"
    one, both = ledger.proportion([True], [0]), ledger.proportion([True] * 2, [0, 1])
    assert one.low < of_two.low < both.low
    assert np.isnan(ledger.proportion([], []).effect)


@pytest.mark.parametrize("seeds", [5, 6, 9])
def test_runs_of_one_seed_that_all_go_one_way_decide_no_more_than_the_seed(seeds):
    """Of runs in most of which something does not hold, it is said to hold no more often than one time in forty."""
    rng = np.random.default_rng(0)
    said = []
    for _ in range(3000):
        of_seed = rng.random(seeds) < ledger.MOST
        found = ledger.proportion(np.repeat(of_seed, 14), np.repeat(np.arange(seeds), 14))
        said.append(ledger.verdict(found, "above", ledger.MOST))
    assert said.count("held") / 3000 <= 0.025
    whole = ledger.proportion([True] * 3 * seeds, np.repeat(np.arange(seeds), 3))
    assert ledger.verdict(whole, "above", ledger.MOST) == ("held" if seeds > 5 else "undecided")


def test_a_slope_is_that_of_each_seed_averaged():
    places = np.log2([1, 2, 8])
    values = np.stack([1 + 0.5 * places, 3 + 0.7 * places, 0.6 * places + [0.1, -0.1, 0]])
    expected = [np.polyfit(places, row, 1)[0] for row in values]
    assert ledger.slope(places, values)[:3] == pytest.approx(ledger.mean(expected)[:3])
    with pytest.raises(ValueError, match="two places"):
        ledger.slope([2, 2], values[:, :2])


def test_a_geometric_mean_is_one_of_logarithms():
    values = np.array([0.1, 0.2, 0.4])
    found, logs = ledger.geometric_mean(values), ledger.mean(np.log(values))
    assert found.effect == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((np.exp(logs.low), np.exp(logs.high)))


def test_one_run_has_no_interval():
    for found in (ledger.mean([1.0]), ledger.contrast([np.ones((1, 9))]), ledger.difference([1.0, 2.0], [1.0])):
        assert found.runs == 1
        assert np.isnan([found.low, found.high]).all()
    assert ledger.mean([]).runs == 0


def covered(found, truth):
    return found.low <= truth <= found.high


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_means_cover_as_often_as_they_say(seeds):
    rng = np.random.default_rng(seeds)
    share = np.mean([covered(ledger.mean(rng.normal(1, 2, seeds)), 1) for _ in range(3000)])
    assert share == pytest.approx(0.95, abs=0.015)
    share = np.mean(
        [covered(ledger.difference(rng.normal(1, 2, seeds), rng.normal(0, 1, seeds)), 1) for _ in range(3000)]
    )
    assert 0.935 < share < 0.98, "Welch's is a little too wide for few"


def answers(rng, level, *, seeds, of_seed, of_image):
    """Which images (seeds, n) networks get right that differ by seed, on images (n,) of different difficulty."""
    network = rng.normal(0, of_seed, (seeds, 1))
    return (level + network + of_image + rng.normal(size=(seeds, len(of_image))) > 0).astype(float)


@pytest.mark.parametrize(("seeds", "images"), [(3, 360), (5, 360), (5, 1000)])
@pytest.mark.parametrize(("of_seed", "of_image"), [(0.0, 1.5), (0.3, 1.0), (0.02, 0.0)])
def test_intervals_of_accuracies_cover_as_often_as_they_say(seeds, images, of_seed, of_image):
    """Of pairs on one test set, of networks on two, and of one network alone, with new seeds and images each time."""
    rng = np.random.default_rng([seeds, images, int(10 * of_seed), int(10 * of_image)])

    def true(level):
        return stats.norm.cdf(level / np.sqrt(1 + of_seed**2 + of_image**2))

    def drawn(level, difficulty):
        return answers(rng, level, seeds=seeds, of_seed=of_seed, of_image=difficulty)

    hits = []
    for _ in range(400):
        one, other = rng.normal(0, of_image, (2, images))
        pair = ledger.contrast([drawn(1.5, one) - drawn(1.2, one)])
        two = ledger.contrast([drawn(1.5, one), -drawn(1.2, other)])
        alone = ledger.contrast([drawn(1.5, one)])
        gain = true(1.5) - true(1.2)
        hits.append([covered(pair, gain), covered(two, gain), covered(alone, true(1.5))])
    share = np.mean(hits, axis=0)
    # Accuracies are no normal numbers, so that of one network alone comes a little short with few seeds.
    assert (share > [0.915, 0.915, 0.88]).all(), share
    assert (share < 0.99).all(), share


def test_two_standard_errors_of_two_seeds_would_say_yes_to_nothing():
    """Why nothing is decided from two: what is called significant would be so by chance in one of seven cases."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(4000, 2))
    gap, error = pairs.mean(1), pairs.std(1, ddof=1) / 2**0.5
    assert (gap > 2 * error).mean() == pytest.approx(0.148, abs=0.02)
    decided = [ledger.verdict(ledger.mean(row), "above", 0) for row in pairs[:200]]
    assert set(decided) == {"undecided"}


@pytest.mark.parametrize("seeds", [3, 5])
def test_nothing_is_held_of_no_effect_more_often_than_it_may(seeds):
    rng = np.random.default_rng(seeds)
    said = [ledger.verdict(ledger.mean(rng.normal(size=seeds)), "above", 0) for _ in range(4000)]
    assert said.count("held") / 4000 == pytest.approx(0.025, abs=0.008)
    assert said.count("not held") / 4000 == pytest.approx(0.025, abs=0.008)


def test_the_best_of_several_is_not_taken_at_its_word():
    """Of splits none of which is better, one is called better no more often than one alone would be."""
    rng = np.random.default_rng(1)
    confidence = ledger.simultaneous(4)

    def said(values):
        found = {str(split): ledger.mean(own, confidence=confidence) for split, own in enumerate(values)}
        return ledger.verdict(ledger.greatest(found), "above", 0)

    shares = [said(rng.normal(size=(4, 5))) for _ in range(3000)]
    assert shares.count("held") / 3000 < 0.035
    best = ledger.greatest({"a": ledger.mean([1.0, 1.1, 1.2]), "b": ledger.mean([5.0, 6.0, 7.0])})
    assert best.effect == pytest.approx(6.0)
    assert "b of 2" in best.how
    for order in (("a", "b"), ("b", "a")):
        unknown = ledger.greatest({name: ledger.mean([5.0] if name == "b" else [1.0, 1.1, 1.2]) for name in order})
        assert ledger.verdict(unknown, "above", 0) == "undecided"


def test_one_seed_that_differs_is_not_hidden_by_many_that_agree():
    assert ledger.verdict(ledger.mean([1e-6] * 14 + [45.0]), "below", 1.5) != "held"
    assert ledger.verdict(ledger.mean([1e-6] * 15), "below", 1.5) == "held"


def test_other_units_and_zeros():
    found = ledger.mean([1.0, 2.0, 3.0])
    turned = ledger.scaled(found, -100)
    assert (turned.low, turned.effect, turned.high) == pytest.approx((-100 * found.high, -200, -100 * found.low))
    assert ledger.shifted(found, 1).low == pytest.approx(found.low + 1)


# Verdicts.


def estimate(low, high, runs=5):
    return ledger.Estimate((low + high) / 2, low, high, runs, "made up")


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (1.1, 2.0, "held", "not held"),
        (0.0, 0.9, "not held", "held"),
        (0.9, 1.1, "undecided", "undecided"),
        (1.0, 1.1, "undecided", "undecided"),
        (np.nan, np.nan, "undecided", "undecided"),
    ],
)
def test_an_interval_decides_if_it_is_clear_of_the_threshold(low, high, above, below):
    assert ledger.verdict(estimate(low, high), "above", 1) == above
    assert ledger.verdict(estimate(low, high), "below", 1) == below


def test_less_than_three_seeds_decide_nothing():
    assert ledger.verdict(estimate(5, 6, runs=2), "above", 1) == "undecided"


@pytest.fixture
def book():
    book = ledger.Ledger("study", missing=3)
    book.judge("grows", "Paper 2020, section 2", "It grows", estimate(2, 3), above=1, unit="times")
    book.judge("falls", "Paper 2020, section 2", "It falls", estimate(2, 3), below=1, unit="times")
    book.judge("shrinks", "Paper 2020, section 2", "It shrinks", estimate(-2, 3), below=1, unit="times")
    book.judge("other", "Paper 2020, section 3", "Another thing", None, below=0, unit="points")
    return book


def test_a_table_has_a_row_a_claim_and_reads_back(book, tmp_path):
    table = book.table()
    assert table["verdict"].tolist() == ["held", "not held", "undecided", "undecided"]
    assert table["missing"].tolist() == [3] * 4
    assert "no run" in table["how"].iloc[-1]
    store.write_table(tmp_path / "claims.csv", table)
    pd.testing.assert_frame_equal(store.read_table(tmp_path / "claims.csv", expected=ledger.TABLE), table)
    assert tuple(table) == ledger.COLUMNS
    both = ledger.gather([tmp_path / "claims.csv"])["claims"]
    pd.testing.assert_frame_equal(both, table)


def test_a_claim_has_a_name_of_its_own_and_one_threshold(book):
    with pytest.raises(ValueError, match="two claims are called grows"):
        book.judge("grows", "", "", None, above=0, unit="")
    for bounds in ({}, {"above": 0, "below": 1}):
        with pytest.raises(ValueError, match="one threshold"):
            book.judge("new", "", "", None, unit="", **bounds)


# The drawing.


def test_an_interval_is_drawn_from_the_threshold_in_half_widths(book):
    held, failed, open_, nothing = (row for _, row in book.table().iterrows())
    assert figure.position(held) == pytest.approx((3, 2, 4))
    assert figure.position(failed) == pytest.approx((-3, -4, -2))
    place, low, high = figure.position(open_)
    assert low < 0 < high
    assert -1 < place < 1
    assert figure.position(nothing) == (0, 0, 0)
    sure = held.copy()
    sure["low"] = sure["high"] = sure["effect"]
    assert figure.position(sure) == pytest.approx((6, 6, 6))


def test_the_drawing_says_what_was_measured(book, tmp_path):
    table = pd.concat([book.table(), book.table().assign(study="another")])
    drawn = figure.draw(table, settings={"scale": "tiny"}, missing=0)
    words = [text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text"))]
    for expected in ("2.5 [2, 3]  (> 1)", "no run  (< 0)", "study: Paper 2020", "another: Paper 2020", "not held"):
        assert expected in words
    said = drawn.get_supxlabel().replace("\n", " ")
    assert said == "PARTIAL: up to 3 runs missing, tiny scale, 8 claims: 2 held, 2 not held, 4 undecided"
    assert drawn.get_figwidth() == 6.75
    style.save(drawn, tmp_path / "claims.pdf")


def test_claims_are_found_by_their_study_wherever_its_folder_is(tmp_path):
    for folder, study in (("outer", "outer"), ("outer/inner", "inner"), ("other/of_it", "other")):
        book = ledger.Ledger(study, missing=0)
        book.judge("one", "Paper 2020", "A claim", None, above=1, unit="points")
        (tmp_path / folder).mkdir(parents=True)
        store.write_table(tmp_path / folder / "claims.csv", book.table())
    for studies in (["outer"], ["inner"], ["other", "inner"]):
        assert set(ledger.find(tmp_path, studies)["study"]) == set(studies)
    assert set(ledger.find(tmp_path)["study"]) == {"outer", "inner", "other"}
    with pytest.raises(MissingRunsError, match="no claims of none are judged"):
        ledger.find(tmp_path, ["inner", "none"])
    with pytest.raises(MissingRunsError, match="no claims of any study are judged"):
        ledger.find(tmp_path / "elsewhere")
    # A table of another study that is damaged hides none.
    (tmp_path / "outer/claims.csv").write_text("damaged")
    assert len(ledger.find(tmp_path, ["other"])) == 1
