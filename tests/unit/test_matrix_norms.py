"""Measures of completed matrices, and the lines of theory, against random matrices and closed forms."""

import numpy as np
import pytest

from tacit.analysis import matrix_norms as analysis


def solutions(entries):
    return np.array([[[x, 1.0], [1.0, 0.0]] for x in entries])


def test_measures_of_solutions_are_the_closed_forms():
    entries = np.array([0.0, 0.5, 3.0, 70.0])
    found = analysis.measure(solutions(entries), schatten=(0.5,), precision=1e-16)
    root = np.sqrt(entries**2 + 4)
    values = np.stack([(root + entries) / 2, (root - entries) / 2], 1)
    np.testing.assert_allclose(found["singular_values"], values, rtol=1e-9)
    np.testing.assert_allclose(found["frobenius_norm"], np.sqrt(entries**2 + 2))
    np.testing.assert_allclose(found["nuclear_norm"], root)
    np.testing.assert_allclose(found["spectral_norm"], values[:, 0])
    np.testing.assert_allclose(found["distance_to_rank_one"], values[:, 1], rtol=1e-9)
    np.testing.assert_allclose(found["schatten_0.5"], (np.sqrt(values).sum(1)) ** 2)
    np.testing.assert_allclose(found["determinant"], -1)
    assert found["effective_rank"][0] == pytest.approx(2)
    assert (np.diff(found["effective_rank"]) < 0).all()
    assert (found["rank"] == 2).all()
    for name in ("frobenius_norm", "nuclear_norm", "spectral_norm", "schatten_0.5"):
        assert (np.diff(found[name]) > 0).all()


def test_rectangular_matrices_have_no_determinant():
    assert "determinant" not in analysis.measure(np.ones((2, 3, 4)), precision=1e-16)
    assert analysis.measure(np.ones((2, 3, 4)), precision=1e-16)["rank"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("loss", "envelope", "bound"),
    [(0.1, 1.827, 0.24), (0.013, 6.043, 4.20), (0.01, 6.931, 5.07), (0.0013, 19.561, 17.61), (1e-4, 70.697, 68.71)],
)
def test_the_lines_have_the_known_values(loss, envelope, bound):
    assert analysis.envelope(np.array(loss)) == pytest.approx(envelope, abs=2e-3)
    assert analysis.entry_bound(np.array(loss)) == pytest.approx(bound, abs=0.01)


def random_matrices(count, *, target, sign):
    """Matrices near to solutions of [[?, z], [z', eps]] with a determinant of this sign, and their losses."""
    random = np.random.default_rng(0)
    spread = 10 ** random.uniform(-3.5, 0.3, (count, 1, 1))
    matrices = target + spread * random.standard_normal((count, 2, 2))
    matrices[:, 0, 0] = 10 ** random.uniform(-2, 3, count) * random.choice([-1, 1], count)
    matrices = matrices[sign * np.linalg.det(matrices) >= 0]
    residuals = (matrices - target).reshape(-1, 4)[:, 1:]
    return matrices, (residuals**2).sum(1) / 2


def test_the_bounds_hold_for_every_matrix_of_positive_determinant():
    matrices, losses = random_matrices(400_000, target=np.array([[0, 1.0], [1, 0]]), sign=1)
    assert len(losses) > 50_000
    found = analysis.measure(matrices, schatten=(0.5,), precision=1e-16)
    entry = np.abs(matrices[:, 0, 0])
    small = losses < 0.25
    assert (entry[small] >= analysis.envelope(losses[small]) * (1 - 1e-9)).all()
    # The envelope is sharp: some matrix comes near to it.
    assert (entry[small] / analysis.envelope(losses[small])).min() < 1.05
    below = losses < 0.5
    assert (entry[below] >= analysis.entry_bound(losses[below])).all()
    assert (found["distance_to_rank_one"][below] <= np.sqrt(2 * losses[below]) * (1 + 1e-9)).all()
    for name in ("frobenius_norm", "nuclear_norm", "spectral_norm"):
        assert (found[name] >= analysis.norm_bound(losses)).all()
    constant = analysis.schatten_constant(0.5)
    assert constant == 2
    assert (found["schatten_0.5"] >= analysis.norm_bound(losses, constant=constant)).all()
    assert (found["effective_rank"] <= analysis.effective_rank_bound(losses)).all()
    assert (found["distance_to_rank_one"] <= analysis.distance_bound(losses)).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.5])
def test_the_perturbed_bound_holds_for_every_matrix_of_the_right_sign(epsilon):
    observed = (-2.0, 0.5, epsilon)
    matrices, losses = random_matrices(300_000, target=np.array([[0, -2.0], [0.5, epsilon]]), sign=-1)
    small = np.sqrt(2 * losses) < 0.5
    assert small.sum() > 20_000
    bound = analysis.perturbed_bound(losses[small], observed=observed)
    assert (np.abs(matrices[small, 0, 0]) >= bound).all()


def test_the_perturbed_bound_tends_to_the_quotient():
    assert analysis.perturbed_bound(np.array(1e-14), observed=(-2.0, 0.5, 0.1)) == pytest.approx(10, rel=1e-5)
    assert analysis.perturbed_bound(np.array(1e-4), observed=(1.0, 1.0, 0.0)) == pytest.approx(68.72, abs=0.01)


@pytest.mark.parametrize(("epsilon", "over"), [(0.01, 0.004), (0.1, 0.004), (0.5, 0.012)])
def test_the_closed_form_is_that_of_the_measured_runs(epsilon, over):
    measured = {0.01: 41.39, 0.1: 8.73, 0.5: 1.92}[epsilon]
    form = analysis.perturbed_entry(np.array(1e-4), observed=(-2.0, 0.5, epsilon))
    assert 1 - 2e-3 < form / measured < 1 + over + 2e-3


def test_constants_of_the_theorem():
    assert pytest.approx(9.995, abs=1e-3) == analysis.RANK_CONSTANT
    assert pytest.approx(4.243, abs=1e-3) == analysis.DISTANCE_CONSTANT
