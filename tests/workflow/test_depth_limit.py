"""The study on residual networks in the depth limit as a workflow: what runs when."""

import shutil

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow

FIGURES = tuple(f"figures/depth_{name}.pdf" for name in ("norms", "weights", "variation", "gradients"))
PLOTS = {f"depth_limit_plot_{name}": 1 for name in ("norms", "weights", "variation")} | {"depth_gradients_plot": 1}


def grid(**changes):
    return f"depth_limit={yaml.safe_dump({'grid': changes}, default_flow_style=True).strip()}"


def depth_limit(**counts):
    return {f"depth_limit_{verb}": count for verb, count in counts.items()} | PLOTS


@pytest.mark.parametrize(
    ("scale", "runs", "convolutional", "sets"),
    [("smoke", 3 * 2 * 2, 2 * 2, 2), ("demo", 4 * 5 * 3, 3 * 3, 1), ("paper", 11 * 2 * 2 * 2 * 5 * 3, 3 * 3, 1)],
)
def test_there_is_a_run_for_each_setting_depth_and_seed(fresh, scale, runs, convolutional, sets):
    others = {"images_convert": sets, "depth_cifar_train": convolutional, "depth_cifar_collect": 1}
    assert fresh.plan(*FIGURES, scale=scale) == depth_limit(train=runs, collect=1) | others


def test_a_depth_more_trains_that_depth_alone(smoke, project):
    more = [10, 20, 30, 40]
    assert project.plan(*FIGURES) == {}
    call = project.call("--dry-run", *FIGURES, "--config", "scale=smoke", grid(depths=more), scale=None)
    assert call.code == 0, call.output
    assert call.plan == depth_limit(train=2 * 2, collect=1)


def test_more_steps_train_all_and_read_no_images_anew(smoke, project):
    changed = grid(descent={"epochs": 4})
    call = project.call("--dry-run", *FIGURES, "--config", "scale=smoke", changed, scale=None)
    assert call.plan == depth_limit(train=12, collect=1), call.output


def test_numbers_of_the_figures_are_those_of_the_tables(smoke):
    tables = smoke / "results/smoke/depth_limit"
    profiles = pd.read_csv(tables / "profiles.csv")
    pd.testing.assert_frame_equal(pd.read_csv(smoke / "figures/depth_norms.csv"), profiles, check_exact=True)
    drawn, variation = pd.read_csv(smoke / "figures/depth_variation.csv"), pd.read_csv(tables / "variation.csv")
    norms = drawn[drawn["quantity"] == "variation"]
    keys = ["alpha", "rule", "depth", "p"]
    both = norms.merge(variation.dropna(subset="mean"), on=keys, suffixes=("", "_table"), validate="one_to_one")
    assert len(both) == len(norms) == 2 * 3 * 3
    assert (both["mean"] == both["mean_table"]).all()
    losses = drawn[drawn["quantity"] == "loss"].set_index(["rule", "depth"])["mean"]
    runs = pd.read_csv(tables / "runs.csv").groupby(["rule", "depth"])["final_loss"].mean()
    pd.testing.assert_series_equal(losses.sort_index(), runs.sort_index(), check_names=False)
    ends = drawn[drawn["quantity"] == "ends"].set_index(["rule", "depth"])["mean"]
    runs = pd.read_csv(tables / "runs.csv").groupby(["rule", "depth"])["end_distance"].mean()
    pd.testing.assert_series_equal(ends.sort_index(), runs.sort_index(), check_names=False)
    further = pd.read_csv(tables / "further_runs.csv")
    assert further["experiment"].tolist() == ["constant", *["with_skips"] * 2, *["without_skips"] * 2]


def test_the_landscape_is_of_the_networks_that_are_named(smoke, project):
    drawn = pd.read_csv(smoke / "figures/depth_landscape.csv")
    assert drawn.groupby("panel")["experiment"].first().tolist() == ["with_skips", "without_skips"]
    assert (drawn.groupby("panel").size() == 49).all() and set(drawn["seed"]) == {0}
    centres = drawn[(drawn["a"] == 0) & (drawn["b"] == 0)]
    assert (centres["loss"] == centres["own_loss"]).all() and len(centres) == 2
    assert project.plan("figures/depth_landscape.pdf") == {}
    changed = f"depth_limit={yaml.safe_dump({'landscapes': {'each': {'points': 8}}}, default_flow_style=True).strip()}"
    call = project.call("--dry-run", "figures/depth_landscape.pdf", "--config", "scale=smoke", changed, scale=None)
    again = {"depth_limit_landscape": 2 * 2 * 2, "depth_limit_collect_landscapes": 1, "depth_limit_plot_landscape": 1}
    assert call.plan == again, call.output


@pytest.mark.parametrize(("scale", "runs"), [("smoke", 2 * 2), ("demo", 3 * 3), ("paper", 3 * 3)])
def test_convolutional_networks_are_trained_for_each_depth_and_seed(fresh, scale, runs):
    expected = {"images_convert": 1, "depth_cifar_train": runs, "depth_cifar_collect": 1, "depth_cifar_plot": 1}
    assert fresh.plan("figures/depth_cifar.pdf", scale=scale) == expected


def test_numbers_of_convolutional_networks_are_those_of_their_runs(smoke, project):
    drawn, folder = pd.read_csv(smoke / "figures/depth_cifar.csv"), smoke / "results/smoke/depth_cifar"
    curves = pd.read_csv(folder / "curves.csv").groupby(["depth", "epoch"])["test_accuracy"]
    accuracy = drawn[drawn["quantity"] == "test_accuracy"].set_index(["depth", "time"])
    for ours, theirs in (("mean", curves.mean()), ("low", curves.min()), ("high", curves.max())):
        assert accuracy[ours].tolist() == pytest.approx(theirs.tolist(), rel=1e-12)
    assert project.plan("figures/depth_cifar.pdf") == {}
    more = "depth_cifar={depths: [8, 14, 20]}"
    call = project.call("--dry-run", "figures/depth_cifar.pdf", "--config", "scale=smoke", more, scale=None)
    assert call.plan == {"depth_cifar_train": 2, "depth_cifar_collect": 1, "depth_cifar_plot": 1}, call.output


def test_gradients_are_of_both_kinds_of_network(smoke, project):
    drawn = pd.read_csv(smoke / "figures/depth_gradients.csv")
    steps = drawn[drawn["quantity"] == "convolutional"]
    logged = pd.read_csv(smoke / "results/smoke/depth_cifar/gradients.csv").groupby(["depth", "step"])
    expected = logged["omega_logged"].mean()
    found = steps.set_index(["depth", "step"])
    assert found["mean"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    # 100 images in batches of 32: the fourth of each epoch has 4, and looks 64 times as large.
    assert (found["short"] == (logged["images"].first() == 4).astype(int)).all() and found["short"].sum() == 2 * 2
    assert found[found["short"] == 1]["mean"].min() > 20 * found[found["short"] == 0]["mean"].max()
    call = project.call(
        "--dry-run", "figures/depth_gradients.pdf", "--config", "scale=smoke", "depth_cifar={omega_shown: corrected}",
        scale=None,
    )  # fmt: skip
    assert call.plan == {"depth_gradients_plot": 1}, call.output


def test_gradients_are_drawn_without_convolutional_networks_where_that_is_allowed(smoke, copy_of):
    project = copy_of(smoke)
    shutil.rmtree(project / "results/smoke/depth_cifar")
    (project / "figures/depth_gradients.pdf").unlink()
    project.run("figures/depth_gradients.pdf", partial=True)
    drawn = pd.read_csv(project / "figures/depth_gradients.csv")
    assert set(drawn["quantity"]) == {"omega", "size", "rate", "shift"}


def test_an_experiment_that_is_not_there_is_named(fresh):
    path = "results/smoke/depth_limit/experiment~other/alpha~1/gamma~1/initialization~quad/activation~tanh"
    call = fresh.call("--dry-run", f"{path}/augmentation~skip/rule~fixed/learning_rate~1/depth~10/seed~0.h5")
    assert call.code != 0 and "experiment~other: the present settings have grid, constant" in call.output
