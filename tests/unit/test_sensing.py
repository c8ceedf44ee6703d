import math

import numpy as np
import pytest
import torch

from tacit.data import sensing
from tacit.memory import factorizations
from tacit.nn.factorizations import matricize
from tacit.settings import SettingsError
from tacit.settings.factorizations import CPExperiment, CPProblem, Descent, HierarchicalProblem, MatrixProblem
from tacit.settings.rank_dynamics import RankDynamicsSettings
from tacit.training.observations import observations

PROBLEMS = {
    "matrix": MatrixProblem(shape=(64, 64)),
    "rectangular": MatrixProblem(shape=(20, 30), num_samples=600),
    "symmetric": MatrixProblem(shape=(64, 64), symmetric=True),
    "cp": CPProblem(shape=(16, 16, 16)),
    "unequal modes": CPProblem(shape=(6, 20, 10), num_samples=1200),
    "tree": HierarchicalProblem(shape=(8, 8, 8, 8)),
}


def rank(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > 1e-9 * values[0]).sum())


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_targets_have_the_norm_asked_for(problem):
    assert np.linalg.norm(sensing.draw_target(problem)) == pytest.approx(64, rel=1e-12)
    root = problem.model_copy(update={"norm": "sqrt_entries"})
    assert np.linalg.norm(sensing.draw_target(root)) == pytest.approx(math.sqrt(problem.num_entries), rel=1e-12)
    drawn, scaled = sensing.draw_target(problem.model_copy(update={"norm": "as_drawn"})), sensing.draw_target(problem)
    np.testing.assert_allclose(drawn / np.linalg.norm(drawn), scaled / 64, rtol=1e-10, atol=1e-12)


def test_matrix_targets_have_their_rank():
    assert rank(sensing.draw_target(PROBLEMS["matrix"])) == 5
    assert rank(sensing.draw_target(PROBLEMS["rectangular"])) == 5
    target = sensing.draw_target(PROBLEMS["symmetric"])
    assert np.array_equal(target, target.T)
    assert rank(target) == 5


def test_cp_targets_have_their_rank_in_every_matricization():
    for name in ("cp", "unequal modes"):
        target = torch.from_numpy(sensing.draw_target(PROBLEMS[name]))
        assert [rank(matricize(target, [mode]).numpy()) for mode in range(3)] == [5, 5, 5]


def test_hierarchical_targets_have_low_rank_along_their_tree_alone():
    target = torch.from_numpy(sensing.draw_target(PROBLEMS["tree"]))
    assert rank(matricize(target, [0, 1]).numpy()) == 5
    assert rank(matricize(target, [0, 2]).numpy()) > 5
    crossed = HierarchicalProblem(shape=(8, 8, 8, 8), pattern="half")
    target = torch.from_numpy(sensing.draw_target(crossed))
    assert rank(matricize(target, [0, 2]).numpy()) == 5
    assert rank(matricize(target, [0, 1]).numpy()) > 5


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_all_entries_observed_are_the_target(problem):
    made = sensing.make(problem, "completion")
    assert sorted(made["indices"]) == list(range(problem.num_entries))
    assert np.array_equal(made["values"], made["target"].ravel()[made["indices"]])
    assert np.linalg.norm(made["values"]) == pytest.approx(64)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_fewer_observations_are_the_first_of_many(problem):
    fewer = problem.model_copy(update={"num_samples": 100})
    for task in ("completion", "sensing"):
        many, few = sensing.make(problem, task), sensing.make(fewer, task)
        assert np.array_equal(few["target"], many["target"])
        for name in set(few) - {"target"}:
            np.testing.assert_allclose(few[name], many[name][:100], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["matrix", "cp", "tree"])
def test_measurements_have_the_size_of_entries(name):
    problem = PROBLEMS[name]
    made = sensing.make(problem, "sensing")
    # The fourth moment of products of normal numbers is large, and with it the scatter of this mean.
    scatter = np.std(made["values"] ** 2) / math.sqrt(len(made["values"]))
    assert abs((made["values"] ** 2).mean() - 64**2 / problem.num_entries) < 4 * scatter


def test_measurements_of_a_matrix_are_its_inner_products_with_gaussian_matrices():
    made = sensing.make(MatrixProblem(shape=(20, 30), num_samples=500), "sensing")
    matrices = made["matrices"].astype(np.float64)
    expected = [np.trace(matrix.T @ made["target"]) for matrix in matrices]
    np.testing.assert_allclose(made["values"], expected, rtol=1e-10)
    assert made["matrices"].var() == pytest.approx(1 / 600, rel=0.02)


def test_measurements_of_a_tensor_are_its_multilinear_form():
    made = sensing.make(CPProblem(shape=(4, 6, 5), num_samples=50), "sensing")
    vectors = [made[f"vectors_{mode}"].astype(np.float64) for mode in (1, 2, 3)]
    expected = np.einsum("ni,nj,nk,ijk->n", *vectors, made["target"])
    np.testing.assert_allclose(made["values"], expected, rtol=1e-10)
    assert np.std(vectors[0]) == pytest.approx(120 ** (-1 / 6), rel=0.1)


def test_targets_and_observations_come_from_the_seed_alone():
    problem = PROBLEMS["cp"]
    first, again = sensing.make(problem, "sensing"), sensing.make(problem, "sensing")
    other = sensing.make(problem.model_copy(update={"seed": 1}), "sensing")
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("task", ["completion", "sensing"])
@pytest.mark.parametrize("name", ["rectangular", "unequal modes", "tree"])
def test_the_target_itself_explains_all_observations(name, task):
    class Record:
        arrays = sensing.make(PROBLEMS[name], task)

    seen = observations(Record, Descent(precision="float64"), rows=slice(10, 200), device=torch.device("cpu"))
    predictions = seen.predictions(torch.from_numpy(Record.arrays["target"]))
    np.testing.assert_allclose(predictions, Record.arrays["values"][10:200], rtol=1e-9, atol=1e-12)


# Settings that cannot be


def settings(**changes):
    """Settings of a study, with some of one model replaced: settings(matrix={"problem": {"rank": 0}})."""
    plain = {
        "tasks": ["completion"],
        "seeds": 1,
        "matrix": {"problem": {"shape": [64, 64]}, "model": {}, "descent": {}},
        "tensor": {"problem": {"shape": [16, 16, 16]}, "model": {}, "descent": {}},
        "hierarchical": {"problem": {"shape": [8, 8, 8, 8]}, "model": {}, "descent": {}},
    }
    for model, blocks in changes.items():
        for block, values in blocks.items():
            plain[model][block] = plain[model].get(block, {}) | values if isinstance(values, dict) else values
    return RankDynamicsSettings.from_plain(plain)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"matrix": {"problem": {"num_samples": 4097}}}, "matrix: num_samples = 4097: a target of 64 x 64 has 4096"),
        (
            {"tensor": {"descent": {"num_observations": 4097}}},
            "tensor: num_observations = 4097: more than the 4096 observations",
        ),
        ({"matrix": {"problem": {"rank": 0}}}, "matrix.problem.rank = 0: .*greater than or equal to 1"),
        ({"tensor": {"problem": {"rank": 0}}}, "tensor.problem.rank = 0"),
        ({"hierarchical": {"problem": {"ranks": [5, 0]}}}, "hierarchical.problem.ranks.1 = 0"),
        ({"hierarchical": {"problem": {"ranks": [5]}}}, "a tree of order 4 has 2 hidden levels, one width for each"),
        ({"hierarchical": {"model": {"widths": [4, 4, 4]}}}, "widths = .4, 4, 4.: a tree of order 4 has 2"),
        ({"hierarchical": {"model": {"pool_size": 1}}}, "at least 2 nodes are pooled at a time"),
        ({"hierarchical": {"model": {"pool_size": 3, "pattern": "checkerboard_sq"}}}, "pools square patches"),
        ({"hierarchical": {"model": {"pool_size": [4, 2], "widths": 3}}}, "one node is left after 1 level"),
        ({"hierarchical": {"model": {"widths": "most"}}}, "hierarchical.model.widths"),
        (
            {
                "hierarchical": {
                    "problem": {"shape": [1000, 10, 10, 1000], "num_samples": 9},
                    "model": {"widths": "max"},
                    "descent": {"num_observations": 9},
                }
            },
            "widths = .100000, 100000.* would take",
        ),
        ({"matrix": {"num_test": 2049}}, "num_test = 2049: of 4096 observations 2048 are fitted and 2048 are left"),
        (
            {"hierarchical": {"keep": "every evaluation"}},
            "541,184 numbers, 20,001 times at most,.*raise evaluate_every",
        ),
        ({"matrix": {"keep": "best epoch"}}, "'none', 'last epoch' or 'every evaluation'"),
        ({"matrix": {"track": ["balance"]}}, "'balancedness', 'layer_singular_values' or 'layer_entries'"),
        ({"matrix": {"track": ["layer_entries"]}}, "layer_entries needs entries, which says which ones"),
        ({"matrix": {"entries": [[1, 65]]}}, "1, 65. is not in the end matrix, which is 64 x 64"),
        (
            {
                "matrix": {
                    "problem": {"shape": [6, 64], "num_samples": 300},
                    "descent": {"num_observations": 9},
                    "track": ["layer_entries"],
                    "entries": [[1, 7]],
                }
            },
            "1, 7. is not in layer 1, which is 6 x 6",
        ),
        ({"matrix": {"entries": [[0, 1]]}}, "matrix.entries"),
        (
            {"matrix": {"entries": "all", "track": ["layer_entries"], "descent": {"evaluate_every": 1}}},
            "entries: 16,384 numbers, 500,000 times at most, would take 66 GB",
        ),
        ({"matrix": {"model": {"depth": 1}, "track": ["balancedness"]}}, "of neighbouring layers, and a depth of 1"),
        ({"hierarchical": {"matricizations": [[1, 5]]}}, "no set of some, but not all, of modes 1 to 4"),
        ({"hierarchical": {"matricizations": [[1, 1]]}}, "names each mode once"),
        ({"matrix": {"problem": {"shape": [8, 6], "symmetric": True}}}, "a symmetric matrix is square, not 8 x 6"),
        ({"matrix": {"problem": {"rank": 65}}}, "rank = 65: a matrix of 64 x 64 has at most 64"),
        ({"matrix": {"descent": {"momentum": 0.9}}}, "momentum = 0.9 is for the optimizer sgd"),
        (
            {"matrix": {"descent": {"optimizer": "sgd", "epsilon": 0.1}}},
            "epsilon = 0.1 is for the optimizer group_rmsprop; sgd has none; leave it at 1e-06",
        ),
        ({"tensor": {"descent": {"optimizer": "sgd", "decay": 0.5}}}, "decay = 0.5 is for the optimizer group_rmsprop"),
        (
            {"tensor": {"descent": {"loss": "l1", "huber_threshold": 2.0}}},
            "huber_threshold = 2.0 is for the loss huber",
        ),
        ({"matrix": {"problem": {"norm": "unit"}}}, "matrix.problem.norm"),
        ({"tensor": {"model": {"initialization": "orthogonal"}}}, "one component an entry: components = 4096"),
        ({"tensor": {"descent": {"loss": "hinge"}}}, "loss = \"hinge\": .*'l2', 'l1' or 'huber'"),
        ({"tensor": {"descent": {"decay": 1.0}}}, "tensor.descent.decay = 1.0"),
        ({"tensor": {"descent": {"stop": 3}}}, "tensor.descent.stop: unknown key; .*allowed: num_observations, loss"),
    ],
)
def test_impossible_settings_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        settings(**changes)


def test_one_number_is_the_width_or_rank_of_all_levels_and_files_say_each():
    eight = {"shape": [2] * 8, "num_samples": 256, "ranks": 3}
    few = {"num_observations": 100}
    own = settings(hierarchical={"problem": eight, "descent": few}).hierarchical
    assert own.widths == (512, 512, 512) and own.problem.widths == (3, 3, 3) and own.problem.rank == 3
    assert (own.plain()["model"]["widths"], own.plain()["problem"]["ranks"]) == ([512] * 3, [3] * 3)
    listed = {"problem": eight | {"ranks": [3, 3, 3]}, "model": {"widths": [512] * 3}, "descent": few}
    other = settings(hierarchical=listed).hierarchical
    assert other.plain() == own.plain() and other.problem.identity == own.problem.identity
    own = settings(hierarchical={"problem": eight, "model": {"widths": "max"}, "descent": few}).hierarchical
    assert own.widths == (128, 128, 128)
    # At the published shape these are the widths that were published.
    published = settings(hierarchical={"model": {"widths": "max"}}).hierarchical
    assert published.plain() == settings().hierarchical.plain()
    assert published.plain()["model"]["widths"] == [512, 512]


def test_measurements_may_be_more_than_entries():
    made = sensing.make(MatrixProblem(shape=(3, 2), rank=1, num_samples=9), "sensing")
    assert len(made["values"]) == 9
    with pytest.raises(ValueError, match="num_samples = 9: a target of 3 x 2 has 6 entries"):
        sensing.make(MatrixProblem(shape=(3, 2), rank=1, num_samples=9), "completion")


def test_all_components_are_as_many_as_any_tensor_needs():
    assert settings().tensor.components == 256
    small = {"problem": {"shape": [2, 3, 5], "num_samples": 30}, "descent": {"num_observations": 9}}
    assert settings(tensor=small).tensor.components == 6


@pytest.mark.parametrize("std", [1e-3, 100.0])
def test_a_target_that_cannot_be_computed_with_is_refused(std):
    problem = CPProblem(shape=(2,) * 20, rank=1, factor_std=std, norm="as_drawn", num_samples=10)
    with pytest.raises(sensing.NoTargetError, match=r"as it was drawn.*give norm a number"):
        sensing.make(problem, "completion")
    scaled = sensing.make(problem.model_copy(update={"norm": 3.0}), "completion")["target"]
    np.testing.assert_allclose(np.linalg.norm(scaled), 3)


def test_a_tensor_of_full_rank_is_of_independent_normal_entries():
    problem = CPProblem(shape=(6, 7, 8), rank="full", norm="as_drawn", num_samples=336)
    found = sensing.make(problem, "completion")
    target = found["target"]
    # No sum of few products: every matricization has the rank of its shorter side, with no small singular value.
    for mode in range(3):
        values = np.linalg.svd(np.moveaxis(target, mode, 0).reshape(target.shape[mode], -1), compute_uv=False)
        assert values[-1] > 0.4 * values[0]
    assert abs(target.mean()) < 4 / np.sqrt(336)
    assert target.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 336))
    np.testing.assert_array_equal(found["values"], target.ravel()[found["indices"]])
    scaled = sensing.draw_target(CPProblem(shape=(6, 7, 8), rank="full", norm=2.0, num_samples=336))
    np.testing.assert_allclose(scaled, target * (2 / np.linalg.norm(target)))


def test_full_rank_has_no_factors_and_is_of_the_study_norms():
    plain = {"shape": [4, 4, 4], "rank": "full", "num_samples": 64}
    with pytest.raises(SettingsError, match=r"factor_std = 2\.0 means nothing with rank: full"):
        CPProblem.from_plain(plain | {"factor_std": 2.0})
    experiment = {"problem": plain, "model": {}, "descent": {"num_observations": 10}}
    with pytest.raises(SettingsError, match="rank: full is for targets of the study norms"):
        CPExperiment.from_plain(experiment)
    assert factorizations.observe(CPProblem.from_plain(plain), "completion") > 0
