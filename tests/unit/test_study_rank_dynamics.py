import numpy as np
import pandas as pd
import pytest

from tacit import store
from tacit.data import sensing
from tacit.figures import rank_dynamics as figure
from tacit.figures import style
from tacit.settings.rank_dynamics import FACTORIZATIONS, RankDynamicsSettings
from tacit.studies import rank_dynamics as fitting
from tacit.studies import rank_dynamics_results as study
from tacit.studies.tables import MissingRunsError

SMALL = {
    "tasks": ["completion", "sensing"],
    "seeds": 2,
    "matrix": {
        "problem": {"shape": [6, 5], "rank": 2, "num_samples": 30},
        "model": {"init_std": 0.1},
        "descent": {"num_observations": 25, "epochs": 50},
    },
    "tensor": {
        "problem": {"shape": [3, 4, 2], "rank": 2, "num_samples": 24},
        "model": {"init_std": 0.1},
        "descent": {"num_observations": 20, "epochs": 50},
    },
    "hierarchical": {
        "problem": {"shape": [2, 3, 2, 2], "ranks": [2, 2], "num_samples": 24},
        "model": {"widths": [5, 4], "init_std": 0.3},
        "descent": {"num_observations": 20, "epochs": 50},
        "matricizations": [[1, 3]],
    },
}
SETTINGS = RankDynamicsSettings.from_plain(SMALL)


def experiment(name, **blocks):
    plain = SMALL[name]
    changed = {block: plain[block] | values for block, values in blocks.items()}
    return fitting.EXPERIMENTS[name].from_plain(plain | changed)


def train(folder, name, task="completion", *, seed=0, **blocks):
    chosen = experiment(name, **blocks)
    dataset = store.Record(sensing.make(chosen.problem, task), {}, {})
    return fitting.train(dataset, chosen, seed=seed, checkpoint=folder / "checkpoint.pt")


@pytest.mark.parametrize("task", ["completion", "sensing"])
@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_a_run_writes_down_its_errors(tmp_path, name, task):
    history = train(tmp_path, name, task)
    assert history["iterations"].tolist() == [25, 50]
    assert all(len(values) == 2 for values in history.values())
    assert history["train_mse"][1] < history["train_mse"][0]
    ratio = history["reconstruction_error"] / history["normalized_reconstruction_error"]
    np.testing.assert_allclose(ratio, 64, rtol=1e-5)
    assert (history["test_mse"] > 0).all()


def test_nothing_is_tested_where_everything_is_fitted(tmp_path):
    assert "test_mse" not in train(tmp_path, "matrix", descent={"num_observations": 30})


@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_runs_depend_on_the_seed_alone(tmp_path, name):
    first, again, other = (train(tmp_path, name, seed=seed) for seed in (0, 0, 1))
    for quantity in first:
        assert np.array_equal(first[quantity], again[quantity])
    assert not np.array_equal(first["train_mse"], other["train_mse"])


def test_precision_changes_no_more_than_rounding(tmp_path):
    single, double = (train(tmp_path, "tensor", descent={"precision": f"float{bits}"}) for bits in (32, 64))
    assert (single["train_mse"].dtype, double["train_mse"].dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single["train_mse"], double["train_mse"], rtol=1e-4)


def test_starts_are_as_asked_for():
    start = fitting.build(experiment("matrix", model={"initialization": "identity", "init_std": 0.5}), seed=0)
    np.testing.assert_allclose(start.end_tensor().detach(), 0.125 * np.eye(6, 5))
    blocks = {"model": {"initialization": "orthogonal", "components": 24, "init_std": 0.5}}
    start = fitting.build(experiment("tensor", **blocks), seed=0)
    np.testing.assert_allclose(start.end_tensor().detach(), 0.125)
    start = fitting.build(
        experiment("tensor", model={"linear_output": True, "init_mean": 1.0, "init_std": 1e-9}), seed=0
    )
    np.testing.assert_allclose(start.end_tensor().detach(), 6.0, rtol=1e-5)
    start = fitting.build(experiment("hierarchical", model={"pattern": "half"}), seed=0)
    assert start.tree.modes[1] == ((0, 2), (1, 3))


# Tables


def curve(*rises, steps=100, sizes=None):
    """Values (steps, k) of components that jump to their size at the rows `rises`."""
    sizes = sizes or [10 - number for number in range(len(rises))]
    rows = np.arange(steps)[:, None]
    return np.where(rows >= np.array(rises), np.array(sizes, dtype=np.float32), np.float32(0.01))


def test_components_are_described_by_their_half_rise():
    table = study.describe_components(np.arange(25, 2525, 25), curve(10, 30, 31, 100, sizes=[8.0, 4.0, 2.0, 1.0]))
    assert table["half_rise"].tolist()[:3] == [275, 775, 800]
    assert table["learned"].tolist() == [True, True, True, False]
    assert table["next_at_half_rise"].tolist() == pytest.approx([0.01 / 4, 0.01 / 2, 1.0, np.nan], nan_ok=True)


def write(folder, name, task, seed, *, curves, fitted=60, error=0.001):
    steps = 100
    history = {
        "iterations": 25 * np.arange(1, steps + 1),
        "train_mse": np.where(np.arange(steps) < fitted, 1.0, 1e-6).astype(np.float32),
        "normalized_reconstruction_error": np.full(steps, error, np.float32),
        "train_loss": np.zeros(steps, np.float32),
        "train_prediction_mean": np.zeros(steps, np.float32),
        "train_prediction_max": np.zeros(steps, np.float32),
        "reconstruction_error": np.full(steps, error, np.float32),
    } | curves
    path = folder / f"{name}-{task}-{seed}.h5"
    settings = {"factorization": name, "task": task, "seed": seed} | experiment(name).plain()
    store.write(path, history, kind=fitting.RUN, settings=settings)
    return path


@pytest.fixture
def runs(tmp_path):
    """Three seeds of each factorization and task, as the paper says they go."""
    paths = []
    for task in ("completion", "sensing"):
        for seed in range(3):
            step = 20 + 2 * seed
            low, high = curve(10, 10 + step, 100), curve(10, 10, 10)
            nodes = {f"local_component_norms_{node}": low for node in ("1_2", "3_4", "1_2_3_4")}
            spectra = {f"singular_values_{modes}": low for modes in ("1", "1_2", "3_4")} | {"singular_values_1_3": high}
            paths += [
                write(tmp_path, "matrix", task, seed, curves={"singular_values": low}),
                write(tmp_path, "tensor", task, seed, curves={"component_norms": low, "column_norms_1": low}),
                write(tmp_path, "hierarchical", task, seed, curves=nodes | spectra),
            ]
    return paths


def test_the_tables_hold_every_run(runs):
    tables = study.collect(reversed(runs))
    assert len(tables.runs) == 18
    assert tables.runs["factorization"].drop_duplicates().tolist() == list(FACTORIZATIONS)
    assert tables.runs["fitted_at"].tolist() == [61 * 25] * 18
    assert tables.runs["target_rank"].tolist() == [2] * 18
    quantities = tables.components.groupby("factorization")["quantity"].unique()
    assert set(quantities["matrix"]) == {"singular_values"}
    assert set(quantities["tensor"]) == {"component_norms"}
    assert len(quantities["hierarchical"]) == 6
    assert "singular_values_1" not in quantities["hierarchical"]
    assert len(tables.curves) == 67 * 3 * 6 * (1 + 1 + 6)


def test_curves_are_thinned_alike_for_all_seeds_and_end_shortly_after_the_fit(runs, monkeypatch):
    end = int(1.1 * 61 * 25)
    assert study.collect(runs).curves["iteration"].unique().tolist() == list(range(25, end, 25))
    monkeypatch.setattr(study, "MAX_POINTS", 30)
    curves = study.collect(runs).curves
    assert curves["iteration"].unique().tolist() == [*range(75, end, 75), end // 25 * 25]


def test_a_short_run_beside_a_long_one_keeps_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "MAX_POINTS", 5)
    paths = [
        write(tmp_path, "matrix", "completion", 0, curves={"singular_values": curve(1, 2)}, fitted=1),
        write(tmp_path, "matrix", "completion", 1, curves={"singular_values": curve(1, 2)}, fitted=99),
    ]
    curves = study.collect(paths).curves
    assert set(curves["seed"]) == {0, 1}


PLANNED = [(name, task, 2) for name in FACTORIZATIONS for task in ("completion", "sensing")]


def claims_of(paths, planned=PLANNED, missing=0):
    return study.tables(paths, planned=planned, missing=missing)["claims"].set_index("id")


def test_claims_that_hold(runs):
    assert set(claims_of(runs[:6])["verdict"]) == {"undecided"}, "two seeds"
    claims = claims_of(runs)
    assert len(claims) == 2 * (3 * 4 + 3)
    assert set(claims["verdict"]) == {"held"}
    assert claims.loc["learns_matrix_sensing", "effect"] == pytest.approx(90, rel=1e-6), "9 of 10"
    assert claims.loc["stops_matrix_sensing", "effect"] == pytest.approx(100 * 0.01 / 10, rel=1e-6)
    assert claims.loc["modes_1_3_hierarchical_sensing", "effect"] == pytest.approx(80, rel=1e-6)
    assert "no node of the tree" in claims.loc["modes_1_3_hierarchical_sensing", "claim"]


def test_claims_that_do_not_hold(tmp_path):
    together = {"singular_values": curve(10, 10, 10, 100)}
    paths = [
        write(tmp_path, "matrix", "completion", seed, curves=together, error=0.5 + 0.01 * seed, fitted=60 + 20 * seed)
        for seed in range(3)
    ]
    assert study.collect(paths).runs["fitted"].tolist() == [True, True, False]
    claims = claims_of(paths, planned=[("matrix", "completion", 2)])
    assert claims["verdict"].to_dict() == {
        "recovers_matrix_completion": "not held",
        "learns_matrix_completion": "held",
        "stops_matrix_completion": "not held",
        "one_by_one_matrix_completion": "not held",
    }
    few = [
        write(tmp_path, "matrix", "sensing", seed, curves={"singular_values": curve(10, 99, 100)}) for seed in range(3)
    ]
    gone = claims_of(few, planned=[("matrix", "sensing", 3), ("tensor", "sensing", 2)], missing=5)
    assert gone.loc["learns_matrix_sensing", "verdict"] == "not held"
    assert gone.loc["stops_matrix_sensing", "runs"] == 0, "none was followed"
    assert gone.loc["recovers_tensor_sensing", ["runs", "missing"]].tolist() == [0, 5]


def test_a_summary_is_median_and_range(runs):
    tables = study.collect(runs)
    summary = study.summarize(tables.curves, tables.runs, [("matrix", "singular_values")])
    assert set(summary["factorization"]) == {"matrix"}
    assert (summary["seeds"] == 3).all()
    second = summary[(summary["component"] == 2) & (summary["task"] == "sensing")].set_index("iteration")
    # The second component of each seed rises two evaluations after that of the one before.
    assert second.loc[31 * 25 + 25, ["median", "low", "high"]].tolist() == pytest.approx([0.01, 0.01, 9])
    assert second.loc[33 * 25 + 25, ["median", "low", "high"]].tolist() == pytest.approx([9, 0.01, 9])
    assert second.loc[40 * 25, ["median", "low", "high"]].tolist() == [9, 9, 9]


def test_a_run_that_ended_early_stays_where_it_was(tmp_path):
    paths = [
        write(tmp_path, "matrix", "completion", seed, curves={"singular_values": curve(10, 20)}) for seed in (0, 1)
    ]
    tables = study.collect(paths)
    curves = tables.curves
    cut = curves[(curves["seed"] == 0) | (curves["iteration"] <= 1000)]
    summary = study.summarize(cut, tables.runs, [("matrix", "singular_values")])
    assert summary[summary["iteration"] == 1500]["low"].tolist() == [10, 9]


def test_the_figures_name_their_panels(runs):
    parts = study.collect(runs).components
    main = study.main_quantities(parts)
    assert main == {
        "matrix": "singular_values",
        "tensor": "component_norms",
        "hierarchical": "local_component_norms_1_2_3_4",
    }
    nodes = study.node_quantities(parts)
    assert nodes == [
        "local_component_norms_1_2", "local_component_norms_1_2_3_4", "singular_values_1_2", "singular_values_1_3",
    ]  # fmt: skip
    titles = [panel.title for panel in figure.node_panels(nodes)]
    assert titles == ["node {1, 2}", "node {1, 2, 3, 4}", "matricization {1, 2}", "matricization {1, 3}"]


def test_figures_show_every_panel_and_say_what_they_are(runs, tmp_path):
    tables = study.collect(runs)
    panels = figure.factorization_panels(study.main_quantities(tables.components))
    summary = study.summarize(tables.curves, tables.runs, [(panel.factorization, panel.quantity) for panel in panels])
    drawn = figure.draw(summary, panels, settings=SETTINGS.plain() | {"scale": "tiny"}, missing=3)
    assert len(drawn.axes) == 6
    assert [axes.get_ylabel() for axes in drawn.axes[:3]] == [
        "singular values",
        "component norms",
        "local component norms",
    ]
    said = drawn._supxlabel.get_text()
    for part in (
        "PARTIAL: 3 runs missing",
        "tiny scale",
        "6 x 5, 3 x 4 x 2 and 2 x 3 x 2 x 2",
        "25 or 20 observ",
        "3 seeds",
    ):
        assert part in said
    # Of each panel three lines and, as there are two seeds, three bands.
    assert [len(axes.lines) for axes in drawn.axes] == [3] * 6
    assert [len(axes.collections) for axes in drawn.axes] == [3] * 6
    style.save(drawn, tmp_path / "figure.pdf")
    first = (tmp_path / "figure.pdf").read_bytes()
    style.save(
        figure.draw(summary, panels, settings=SETTINGS.plain() | {"scale": "tiny"}, missing=3), tmp_path / "figure.pdf"
    )
    assert (tmp_path / "figure.pdf").read_bytes() == first


def trees(order, pool_size, extra=()):
    """A table of components as a tree of this order would fill it."""
    from tacit.settings.mode_trees import mode_tree

    tree = mode_tree(order, pool_size)
    labels = [tree.label(level, node) for level, node in tree.inner_nodes()]
    inner = [label for label in labels[:-1] if "level" not in label]
    names = [f"local_component_norms_{label}" for label in labels]
    names += [f"singular_values_{label}" for label in [*inner, *extra]]
    rows = [{"factorization": "hierarchical", "task": "completion", "seed": 0, "quantity": name} for name in names]
    learned = pd.DataFrame(rows).assign(component=1, final=1.0, learned=True, half_rise=25, next_at_half_rise=np.nan)
    runs = pd.DataFrame(rows[:1]).assign(fitted=True, normalized_reconstruction_error=0.0, target_rank=1)
    return runs, learned


@pytest.mark.parametrize(
    ("order", "pool_size", "extra", "expected"),
    [
        (5, 2, ["1_3"], ["local 1_2", "local 1_2_3_4_5", "values 1_2", "values 1_3"]),
        (3, 2, [], ["local 1_2", "local 1_2_3", "values 1_2"]),
        (5, 3, [], ["local 1_2_3", "local 1_2_3_4_5", "values 1_2_3"]),
        (4, 4, ["1_3"], ["local 1_2_3_4", "values 1_3"]),
        (2, 2, [], ["local 1_2"]),
    ],
)
def test_every_tree_has_panels_and_claims(order, pool_size, extra, expected):
    runs, components = trees(order, pool_size, extra)
    short = {"local": "local_component_norms", "values": "singular_values"}
    names = ["_".join((short[name.split()[0]], name.split()[1])) for name in expected]
    assert study.node_quantities(components) == names
    assert len(figure.node_panels(names)) == len(names)
    claims = study.claims(runs, components, planned=[("hierarchical", "completion", 1)], missing=0)
    matricizations = [name for name in names if name.startswith("singular_values")]
    for name in matricizations:
        assert f"modes_{name.removeprefix('singular_values_')}_hierarchical_completion" in set(claims["id"])


def test_the_other_side_of_a_node_is_no_other_matricization():
    _, components = trees(4, 2, ["2_3_4", "1_4"])
    assert study.node_quantities(components)[-1] == "singular_values_1_4"


def test_figures_of_what_is_there(tmp_path):
    """As with partial: true, before all runs are there."""
    paths = [
        write(tmp_path, "matrix", "completion", 0, curves={"singular_values": curve(10, 30)}),
        write(tmp_path, "matrix", "sensing", 0, curves={"singular_values": curve(10, 30)}),
        write(tmp_path, "tensor", "sensing", 0, curves={"component_norms": curve(10, 30)}),
    ]
    tables = study.collect(paths)
    panels = figure.factorization_panels(study.main_quantities(tables.components))
    summary = study.summarize(tables.curves, tables.runs, [(panel.factorization, panel.quantity) for panel in panels])
    drawn = figure.draw(summary, panels, settings=SETTINGS.plain() | {"scale": "tiny"}, missing=3)
    assert next(axes.texts[0].get_text() for axes in drawn.axes if axes.texts) == "no run yet"
    style.save(drawn, tmp_path / "figure.pdf")
    with pytest.raises(MissingRunsError, match="no run of a hierarchical factorization"):
        study.node_quantities(tables.components)


def test_tables_read_back_as_they_were_written(runs, tmp_path):
    tables = study.collect(runs)
    for table, expected in zip(tables, (study.RUNS, study.COMPONENTS, study.CURVES), strict=True):
        store.write_table(tmp_path / "table.csv", table)
        back = store.read_table(tmp_path / "table.csv", expected=expected)
        pd.testing.assert_frame_equal(back, table, check_dtype=False, rtol=1e-6)
