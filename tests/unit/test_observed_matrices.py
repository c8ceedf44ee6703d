"""What is observed of matrices: blocks in part, targets and measurements of a user's own, their files and mistakes."""

import numpy as np
import pytest

from tacit import store
from tacit.data import observed_matrices, own_arrays, own_files
from tacit.data.own_arrays import OwnArrayError
from tacit.settings.base import SettingsError
from tacit.settings.norms import MatrixDescent, Variant, determinant_sign
from tacit.settings.observed_matrices import ObservedMatrix
from tacit.studies import matrix_norms

VARIANT = Variant(depth=2, learning_rate=0.05, init_scale=1e-2, balanced=True)
DESCENT = MatrixDescent(epochs=200_000, tolerance=1e-8, precision="float64")
OWN = ((1.0, 2.0, 0.0), (0.0, -1.0, 0.5))


def sensing(**more):
    return ObservedMatrix(task="sensing", shape=(2, 3), num_samples=4, **more)


def completion(**more):
    return ObservedMatrix(task="completion", shape=(2, 3), num_samples=4, **more)


def test_measurements_have_the_standard_deviation_asked_for():
    many = {"task": "sensing", "shape": (5, 4), "num_samples": 3000}
    default, one, small = (observed_matrices.observe(ObservedMatrix(**many, **std)) for std in
                           ({}, {"sensing_std": 1.0}, {"sensing_std": 0.01}))  # fmt: skip
    # Relative error of a standard deviation of 60,000 numbers: 0.3 %.
    for found, std in ((default, 20**-0.5), (one, 1.0), (small, 0.01)):
        assert found.matrices.std() == pytest.approx(std, rel=0.02)
        assert abs(found.matrices.mean()) < 4 * std / np.sqrt(60_000)
        np.testing.assert_allclose(found.values, np.tensordot(found.matrices, found.target, 2), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(one.matrices, 100 * small.matrices, rtol=1e-6)
    np.testing.assert_array_equal(default.target, one.target)


def test_a_larger_standard_deviation_is_a_larger_rate():
    """With measurements c times as large the loss and its gradient are c^2 times as large."""
    descent = MatrixDescent(epochs=300, tolerance=1e-30, precision="float64")
    slow = matrix_norms.train(sensing(sensing_std=0.5), VARIANT, descent, seed=0)
    quick = Variant.from_plain(VARIANT.plain() | {"learning_rate": 0.05 / 4})
    same = matrix_norms.train(sensing(sensing_std=1.0), quick, descent, seed=0)
    np.testing.assert_allclose(slow["end"], same["end"], rtol=1e-6)
    np.testing.assert_allclose(4 * slow["loss"], same["loss"], rtol=1e-5)


def test_random_measurements_of_a_target_of_ones_own():
    found = observed_matrices.observe(sensing(target=OWN))
    np.testing.assert_array_equal(found.target, OWN)
    np.testing.assert_allclose(found.values, [np.trace(matrix.T @ np.array(OWN)) for matrix in found.matrices])
    # The same measurements as of a random target of that seed, and others of another.
    np.testing.assert_array_equal(found.matrices, observed_matrices.observe(sensing()).matrices)
    assert not np.array_equal(found.matrices, observed_matrices.observe(sensing(target=OWN, seed=1)).matrices)


def test_random_entries_of_a_target_of_ones_own():
    found = observed_matrices.observe(completion(target=OWN))
    assert found.mask.sum() == 4
    fewer = observed_matrices.observe(ObservedMatrix(task="completion", shape=(2, 3), num_samples=2, target=OWN))
    assert fewer.mask.sum() == 2
    assert (fewer.mask <= found.mask).all()
    end = matrix_norms.train(completion(target=OWN), VARIANT, DESCENT, seed=0)
    residuals = found.mask * (end["end"][-1] - OWN)
    assert end["loss"][-1] == pytest.approx((residuals**2).sum() / 2)
    assert end["loss"][-1] < 1e-7
    expected = np.linalg.norm(end["end"][-1] - OWN) / np.linalg.norm(OWN)
    assert end["normalized_reconstruction_error"][-1] == pytest.approx(expected)


def test_all_entries_but_the_first_in_their_order():
    problem = ObservedMatrix(task="completion", shape=(3, 4), num_samples=6, rank=2, entries="all_but_first")
    found = observed_matrices.observe(problem)
    assert found.mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert np.linalg.matrix_rank(found.target) == 2


@pytest.mark.parametrize(("number", "mask"), [(1, [[0, 1], [0, 0]]), (2, [[0, 1], [1, 0]]), (None, [[0, 1], [1, 1]])])
def test_a_block_is_observed_in_its_published_order(number, mask):
    problem = ObservedMatrix(observed=(-2.0, 0.5, 0.1), num_observations=number)
    found = observed_matrices.observe(problem)
    assert found.mask.tolist() == mask
    assert found.target.tolist() == [[0, -2], [0.5, 0.1]]


@pytest.mark.parametrize("number", [1, 2])
def test_of_fewer_observations_theory_says_nothing(number, tmp_path):
    problem = ObservedMatrix(num_observations=number)
    assert determinant_sign(problem, MatrixDescent()) == 0
    assert determinant_sign(problem, MatrixDescent(determinant="negative")) == -1
    found = matrix_norms.train(problem, VARIANT, DESCENT, seed=0)
    assert not [name for name in found if name.startswith("theory")]
    end = found["end"][-1]
    wrong = [end[0, 1] - 1, end[1, 0] - 1][:number]
    assert found["loss"][-1] == pytest.approx(sum(value**2 for value in wrong) / 2)
    assert found["mse"][-1] == pytest.approx(2 * found["loss"][-1] / number)
    assert found["loss"][-1] < 1e-7
    # With one observation the end is near the matrix of that entry alone, which has the least rank and the least norm.
    if number == 1:
        assert np.abs([end[0, 0], end[1, 0], end[1, 1]]).max() < 0.2
    settings = {"problem": problem.plain(), "variant": VARIANT.plain(), "seed": 0, "descent": DESCENT.plain()}
    store.write(tmp_path / "run.h5", found, kind=matrix_norms.RUN, settings=settings)
    tables = matrix_norms.further_tables([tmp_path / "run.h5"])
    assert not [name for name in tables["runs"] if name.startswith("theory")]
    assert tables["runs"]["problem"].tolist() == [f"2x2_1.0_1.0_0.0_first_{number}"]


def test_names_tell_problems_apart_and_those_without_later_settings_are_as_they_were():
    problems = [
        ObservedMatrix(), ObservedMatrix(num_observations=1), ObservedMatrix(num_observations=2),
        sensing(), sensing(sensing_std=1.0), sensing(target=OWN), sensing(target_file="a.npy"),
        sensing(sensing_file="a.npy"), completion(), completion(entries="all_but_first"), completion(target=OWN),
    ]  # fmt: skip
    assert len({problem.name for problem in problems}) == len(problems)
    plain = {"task", "shape", "observed", "seed", "rank", "symmetric", "norm", "num_samples"}
    assert set(ObservedMatrix().plain()) == set(sensing().plain()) == plain
    assert sensing().wanted()["sensing_std"] is None


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"num_observations": 3}, "a block of 2 x 2 has 3 observations; give fewer"),
        ({"num_observations": 0}, "num_observations = 0: .*greater than or equal to 1"),
        ({"target": [[0, 1], [1, 0]]}, "target = .* means nothing with task: block"),
        ({"sensing_std": 2.0}, r"sensing_std = 2\.0 .*means nothing with task: block"),
        ({"task": "sensing", "num_observations": 2}, "num_observations = 2 is of task: block"),
        ({"task": "sensing", "entries": "all_but_first"}, "is of task: completion"),
        ({"task": "completion", "sensing_std": 1.0}, "is of task: sensing"),
        ({"task": "completion", "sensing_file": "a.npy"}, "is of task: sensing"),
        ({"task": "sensing", "sensing_std": 1.0, "sensing_file": "a.npy"}, "which sensing_file takes the place of"),
        ({"task": "completion", "entries": "all_but_first", "num_samples": 4}, "without the first .* has 3 entries"),
        ({"task": "completion", "target": [[0, 0], [0, 0]]}, "of the entries of target one at least is not 0"),
        ({"task": "completion", "target": [[0, 1, 2], [0, 0]]}, "rows of 3, 2 entries, but shape is 2 x 2"),
        ({"task": "completion", "target": [[1, 1], [1, 1], [1, 1]]}, "rows of 2, 2, 2 entries, but shape is 2 x 2"),
        ({"task": "completion", "target": [[1, 1e-9], [0, 0]]}, "neither 0 nor at least 0.000001"),
        ({"task": "completion", "target": [[1, 1], [0, 0]], "target_file": "a.npy"}, "are both given"),
        ({"task": "completion", "target": [[1, 1], [0, 0]], "rank": 2}, "means nothing with a target of one's own"),
        ({"task": "completion", "target": [[1, 1], [0, 0]], "norm": 2.0}, "means nothing with a target of one's own"),
        (
            {"task": "completion", "target": [[1, 1], [0, 0]], "entries": "all_but_first", "seed": 1},
            "seed = 1 means nothing, as neither target nor observations are random",
        ),
        ({"task": "completion", "target_file": "a.txt"}, r"must be the name of a NumPy file \(.npy\)"),
        ({"task": "completion", "target_file": "a;b.npy"}, "may hold letters, digits"),
    ],
)
def test_what_means_nothing_is_refused(problem, said):
    with pytest.raises(SettingsError, match=said):
        ObservedMatrix.from_plain(problem)


# Files


def save(path, array):
    np.save(path, array)
    return str(path)


def test_target_and_measurements_of_ones_own_from_files(tmp_path):
    random = np.random.default_rng(0)
    target = save(tmp_path / "target.npy", np.array(OWN, np.float32))
    matrices = random.standard_normal((6, 2, 3))
    own = save(tmp_path / "matrices.npy", np.asfortranarray(matrices))
    found = observed_matrices.observe(sensing(target_file=target, sensing_file=own))
    np.testing.assert_array_equal(found.target, OWN)
    np.testing.assert_array_equal(found.matrices, matrices[:4])
    np.testing.assert_allclose(found.values, np.tensordot(matrices[:4], OWN, 2))
    # The reverse: a random target.
    reverse = observed_matrices.observe(sensing(sensing_file=own))
    np.testing.assert_array_equal(reverse.target, observed_matrices.observe(sensing()).target)
    np.testing.assert_allclose(reverse.values, np.tensordot(matrices[:4], reverse.target, 2))
    end = matrix_norms.train(sensing(target_file=target, sensing_file=own), VARIANT, DESCENT, seed=0)
    residuals = np.tensordot(matrices[:4], end["end"][-1], 2) - found.values
    assert end["loss"][-1] == pytest.approx((residuals**2).sum() / 2)
    assert end["loss"][-1] < 1e-4 * end["loss"][0]
    whole = save(tmp_path / "whole.npy", np.array([[1, 2, 0], [0, -1, 3]]))
    assert observed_matrices.observe(completion(target_file=whole)).target.dtype == np.float64


def test_a_file_that_changed_since_it_was_planned_with_is_refused(tmp_path):
    name = save(tmp_path / "target.npy", np.array(OWN))
    digests = {name: own_files.digest_of(tmp_path / "target.npy")}
    problem = completion(target_file=name)
    assert observed_matrices.observe(problem, digests=digests).target.tolist() == [list(row) for row in OWN]
    save(tmp_path / "target.npy", 2 * np.array(OWN))
    with pytest.raises(OwnArrayError, match=r"target\.npy: was changed since this job was planned; run"):
        observed_matrices.observe(problem, digests=digests)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((3, 2)), "has the shape 3 x 2, not 2 x 3"),
        (np.ones(6), "has the shape 6, not 2 x 3"),
        (np.float64(1), "has the shape no, not 2 x 3"),
        (np.ones((2, 3), complex), "array of complex128, not of numbers"),
        (np.array([["a"] * 3] * 2), "array of <U1, not of numbers"),
        (np.full((2, 3), np.nan), "must be finite"),
        (np.full((2, 3), 1e7), "at most 1,000,000 in size"),
        (np.zeros((2, 3)), "has a norm of 0, which errors cannot be measured by"),
    ],
)
def test_a_target_that_is_none_is_refused(tmp_path, array, said):
    name = save(tmp_path / "target.npy", array)
    with pytest.raises((OwnArrayError, observed_matrices.NoTargetError), match=said):
        observed_matrices.observe(completion(target_file=name))


def test_files_that_hold_no_array_are_refused(tmp_path):
    path = tmp_path / "target.npy"
    problem = completion(target_file=str(path))
    with pytest.raises(OwnArrayError, match=r"target\.npy: missing; it must be a NumPy file of shape 2 x 3"):
        observed_matrices.observe(problem)
    path.mkdir()
    with pytest.raises(OwnArrayError, match="is no file but a folder"):
        observed_matrices.observe(problem)
    path.rmdir()
    for content in (b"", b"text", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00"):
        path.write_bytes(content)
        with pytest.raises(OwnArrayError, match="is no NumPy file of one array of numbers"):
            observed_matrices.observe(problem)
    np.save(path, np.array([[None] * 3] * 2), allow_pickle=True)
    with pytest.raises(OwnArrayError, match="array of object, not of numbers"):
        observed_matrices.observe(problem)
    np.save(path, np.array(OWN))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(OwnArrayError, match="is cut off or damaged"):
        observed_matrices.observe(problem)
    # What it says of itself is not what memory is asked for.
    np.save(path, np.array(OWN))
    path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(9999999999999, 3)"))
    with pytest.raises(OwnArrayError, match=r"target\.npy: "):
        observed_matrices.observe(problem)


def test_measurements_that_are_too_few_or_empty_are_refused(tmp_path):
    matrices = np.ones((3, 2, 3))
    name = save(tmp_path / "matrices.npy", matrices)
    with pytest.raises(OwnArrayError, match="has the shape 3 x 2 x 3, not 4 or more x 2 x 3"):
        observed_matrices.observe(sensing(sensing_file=name))
    matrices = np.ones((5, 2, 3))
    matrices[1] = 0
    save(tmp_path / "matrices.npy", matrices)
    with pytest.raises(OwnArrayError, match="matrix 1, counted from 0, is zero, and observes nothing"):
        observed_matrices.observe(sensing(sensing_file=name))


def test_what_shows_at_a_glance_is_said_before_any_job(tmp_path):
    target, matrices = str(tmp_path / "target.npy"), save(tmp_path / "matrices.npy", np.ones((5, 2, 3)))
    problem = sensing(target_file=target, sensing_file=matrices)
    assert problem.own_files == (target, matrices)
    assert "target.npy: missing" in observed_matrices.shortage(problem)
    save(tmp_path / "target.npy", np.ones((2, 2)))
    save(tmp_path / "matrices.npy", np.ones((2, 2, 3)))
    first, second = observed_matrices.shortage(problem).splitlines()
    assert "has the shape 2 x 2, not 2 x 3" in first
    assert "not 4 or more x 2 x 3" in second
    save(tmp_path / "target.npy", np.array(OWN))
    save(tmp_path / "matrices.npy", np.ones((5, 2, 3)))
    assert observed_matrices.shortage(problem) is None
    assert own_arrays.complaint(target, (2, 3)) is None
