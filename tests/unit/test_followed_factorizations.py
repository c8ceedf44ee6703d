"""What is written down on request of the layers of a matrix factorization, and what runs are tested on."""

import numpy as np
import pytest
import torch

from tacit import store
from tacit.analysis.factorizations import balancedness, measure_of
from tacit.data import sensing
from tacit.memory import factorizations as memory
from tacit.nn import factorizations as nn
from tacit.settings.factorizations import MatrixExperiment
from tacit.settings.rank_dynamics import FACTORIZATIONS
from tacit.settings.run_figures import RunFigure
from tacit.studies import rank_dynamics, recorded
from tacit.studies.gathered import gather

EVERYTHING = ["balancedness", "layer_singular_values", "layer_entries"]


def experiment(**changes):
    plain = {
        "problem": {"shape": [6, 4], "rank": 2, "num_samples": 24},
        "model": {"depth": 3, "init_std": 0.3},
        "descent": {"num_observations": 15, "epochs": 50, "precision": "float64"},
        "num_tracked": 3,
    }
    for name, value in changes.items():
        plain[name] = plain.get(name, {}) | value if isinstance(value, dict) else value
    return MatrixExperiment.from_plain(plain)


def train(folder, chosen, task="completion"):
    dataset = store.Record(sensing.make(chosen.problem, task), {}, {})
    return rank_dynamics.train(dataset, chosen, seed=0, checkpoint=folder / "c.pt"), dataset.arrays


def measured(chosen, seed=0):
    """What is measured of a model at its start, and its factors."""
    model = rank_dynamics.build(chosen, seed=seed).double()
    with torch.no_grad():
        row = measure_of(chosen)(model, model.end_tensor())
    return {name: value.numpy() for name, value in row.items()}, [factor.detach().numpy() for factor in model.factors]


def test_by_default_no_more_is_measured_and_settings_have_no_word_of_it(tmp_path):
    chosen = experiment()
    row, _ = measured(chosen)
    assert set(row) == {"singular_values", "frobenius_norm", "nuclear_norm", "rank", "effective_rank"}
    assert not {"track", "entries", "num_test"} & set(chosen.plain())
    assert chosen.wanted()["track"] is chosen.wanted()["entries"] is chosen.wanted()["num_test"] is None


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_balancedness_is_the_distance_of_the_inner_products_of_neighbours(depth):
    row, factors = measured(experiment(track=["balancedness"], model={"depth": depth}))
    for number in range(depth - 1):
        below, above = factors[number].T @ factors[number], factors[number + 1] @ factors[number + 1].T
        # Written out, an entry at a time.
        distance = sum((below[i, j] - above[i, j]) ** 2 for i in range(4) for j in range(4)) ** 0.5
        assert row["balancedness"][number] == pytest.approx(distance, rel=1e-12)
        mean = (np.linalg.norm(below) + np.linalg.norm(above)) / 2
        assert row["normalized_balancedness"][number] == pytest.approx(distance / mean, rel=1e-12)
    assert row["balancedness"].shape == (depth - 1,)


def test_balanced_factors_have_a_balancedness_of_zero():
    random = np.random.default_rng(0)
    u, v, w = (np.linalg.qr(random.standard_normal((5, 5)))[0] for _ in range(3))
    root = np.diag([3.0, 2.0, 1.0, 0.5, 0.1])
    factors = [torch.from_numpy(u @ root @ v.T), torch.from_numpy(v @ root @ w.T)]
    assert balancedness(factors)[0].item() < 1e-13
    assert balancedness([factors[0], 2 * factors[1]])[0].item() == pytest.approx(3 * np.linalg.norm(root**2))
    # Factors that are zero are balanced.
    zero = [torch.zeros(3, 3), torch.zeros(3, 3)]
    assert [value.tolist() for value in balancedness(zero)] == [[0], [0]]


def test_small_steps_leave_balancedness_as_it_is(tmp_path):
    """As gradient flow does; descent of a step e changes it by O(e) over a fixed time."""
    changes = []
    for steps in (1, 4):
        own = {"optimizer": "sgd", "learning_rate": 0.002 / steps, "epochs": 100 * steps, "evaluate_every": 10 * steps}
        history, _ = train(tmp_path, experiment(track=["balancedness"], descent=own, problem={"norm": 3.0}))
        assert history["balancedness"].shape == (10, 2)
        changes.append(np.abs(history["balancedness"] - history["balancedness"][0]).max())
    assert 0 < changes[1] < changes[0] / 3


def test_singular_values_of_layers_are_those_of_numpy():
    row, factors = measured(experiment(track=["layer_singular_values"], model={"depth": 4}))
    for layer, factor in enumerate(factors, 1):
        values = np.linalg.svd(factor, compute_uv=False)[:3]
        np.testing.assert_allclose(row[f"layer_singular_values_{layer}"], values, rtol=1e-12)


def test_entries_are_those_of_the_product_and_of_each_layer():
    row, factors = measured(experiment(track=["layer_entries"], entries=[[1, 1], [4, 2]]))
    end = np.linalg.multi_dot(factors)
    assert row["entry_1_1"] == pytest.approx(end[0, 0], rel=1e-12)
    assert row["entry_4_2"] == pytest.approx(end[3, 1], rel=1e-12)
    for layer, factor in enumerate(factors, 1):
        assert row[f"layer_entry_{layer}_4_2"] == factor[3, 1]
    assert "entry_4_2" in measured(experiment(entries=[[4, 2]]))[0]
    assert not [name for name in measured(experiment(entries=[[4, 2]]))[0] if name.startswith("layer")]


def test_all_entries_are_the_matrices_themselves(tmp_path):
    chosen = experiment(track=["layer_entries"], entries="all", keep="last epoch")
    history, _ = train(tmp_path, chosen)
    assert history["end_matrix"].shape == (2, 6, 4)
    assert [history[f"layer_matrix_{layer}"].shape for layer in (1, 2, 3)] == [(2, 6, 4), (2, 4, 4), (2, 4, 4)]
    for row in range(2):
        product = np.linalg.multi_dot([history[f"layer_matrix_{layer}"][row] for layer in (1, 2, 3)])
        np.testing.assert_allclose(history["end_matrix"][row], product, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(history["frobenius_norm"][row], np.linalg.norm(product), rtol=1e-12)
    assert np.array_equal(history["layer_matrix_2"][-1], history["weights_50_factors.1"])


def test_what_is_followed_changes_nothing_else(tmp_path):
    plain, _ = train(tmp_path, experiment())
    more, _ = train(tmp_path, experiment(track=EVERYTHING, entries=[[1, 2]]))
    assert set(more) > set(plain)
    for name, values in plain.items():
        np.testing.assert_array_equal(values, more[name])


def test_what_is_followed_is_drawn_by_its_name(tmp_path):
    chosen = experiment(track=EVERYTHING, entries=[[1, 2], [3, 4]])
    history, _ = train(tmp_path, chosen)
    path = tmp_path / "run.h5"
    identity = {"factorization": "matrix", "task": "completion", "seed": 0}
    store.write(path, history, kind=rank_dynamics.RUN, settings=identity | chosen.plain())
    quantities = recorded.read(path).quantities
    assert quantities["balancedness"].axes == ("evaluations", "pairs")
    names = ["balancedness", "layer_singular_values_2", "entry_*", "layer_entry_1_*"]
    drawn = gather(RunFigure.from_plain({"panels": [{"runs": [str(path)], "y": [name]} for name in names]})).panels
    assert drawn[0].numbers["line"].unique().tolist() == ["pair 1", "pair 2"]
    assert drawn[1].numbers["line"].unique().tolist() == ["component 1", "component 2", "component 3"]
    assert drawn[2].numbers["line"].unique().tolist() == ["entry 1 2", "entry 3 4"]
    assert drawn[3].numbers["line"].unique().tolist() == ["layer entry 1 1 2", "layer entry 1 3 4"]
    for panel in drawn:
        assert sorted(panel.numbers["x"].unique()) == [25, 50] and panel.x == "iteration"


# The test set


@pytest.mark.parametrize("task", ["completion", "sensing"])
@pytest.mark.parametrize("num_test", [9, 4, 1, "rest"])
def test_the_test_set_is_the_last_of_the_file(tmp_path, num_test, task):
    history, arrays = train(tmp_path, experiment(num_test=num_test, entries="all"), task)
    count = 9 if num_test == "rest" else num_test
    if task == "completion":
        predictions = history["end_matrix"].reshape(2, -1)[:, arrays["indices"][-count:]]
    else:
        predictions = np.einsum("kij,nij->kn", history["end_matrix"], arrays["matrices"][-count:].astype(float))
    expected = ((predictions - arrays["values"][-count:]) ** 2).mean(1)
    np.testing.assert_allclose(history["test_mse"], expected, rtol=1e-10)


def test_no_test_set_is_a_run_without_a_test_error(tmp_path):
    history, _ = train(tmp_path, experiment(num_test=0))
    assert "test_mse" not in history


def test_numbers_of_parameters_are_those_of_the_models():
    chosen = experiment(model={"depth": 4})
    assert chosen.num_parameters == nn.count_parameters(rank_dynamics.build(chosen, seed=0))
    assert chosen.layers == [factor.shape for factor in rank_dynamics.build(chosen, seed=0).factors]
    assert set(FACTORIZATIONS) == set(rank_dynamics.EXPERIMENTS)


def test_more_that_is_followed_asks_for_more_memory():
    large = {"problem": {"shape": [64, 64], "num_samples": 4096}, "descent": {"epochs": 500_000}}
    plain = memory.descent(experiment(**large), "completion", gpu=False)
    entries = {"entries": "all", "track": ["layer_entries"]}
    more = memory.descent(experiment(**large, **entries), "completion", gpu=False)
    # 20,000 evaluations of four matrices of 64 x 64 in float64, twice while they are saved.
    assert more - plain > 2 * 20_000 * 4 * 64 * 64 * 8 / 1e6
    values = memory.descent(experiment(**large, track=["layer_singular_values"]), "completion", gpu=False)
    assert plain < values < more
