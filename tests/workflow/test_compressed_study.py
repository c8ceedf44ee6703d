"""What reruns in the study on compressed networks."""

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

EXPERIMENTS = ("compression", "tensors")


def figure(name):
    return f"figures/factorized_{name}.pdf"


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    return copy_of(smoke)


def plan(project, *names, **settings):
    return project.plan(*map(figure, names), compressed=settings)


@pytest.mark.parametrize(("name", "scale", "runs"), [("compression", "paper", 198 * 3), ("tensors", "paper", 37 * 3)])
def test_a_figure_trains_its_runs_alone(fresh, name, scale, runs):
    sets = 3 if name == "compression" else 1
    for folder in ("cifar-10-batches-py", "cifar-100-python", "tiny-imagenet-200"):
        assert not (fresh / "datasets" / folder).exists()
    call = fresh.call("--dry-run", figure(name), "--config", f"scale={scale}", scale=None)
    if call.code:
        # The sets themselves are not there, which is said before any job, set by set.
        assert "is not complete in the folder" in call.output or "Missing" in call.output, call.output
        return
    assert call.plan == {
        "images_convert": sets, "compressed_train": runs, "compressed_collect": 1, f"compressed_plot_{name}": 1
    }  # fmt: skip


def test_a_second_call_runs_nothing(project):
    assert plan(project, *EXPERIMENTS) == {}


def test_a_ratio_more_trains_its_runs_alone(project):
    network = {"family": "vgg", "depth": 11, "width": 4, "coefficient": 1e-3, "ratios": [0.2, 0.4], "claimed": 0.2}
    changed = plan(project, *EXPERIMENTS, compression={"networks": [network]})
    assert changed == {"compressed_train": 7, "compressed_collect": 1, "compressed_plot_compression": 1}


def test_a_seed_more_trains_the_new_runs_alone(project):
    runs = len(project.files("results/smoke/compressed/source~digits/**/*.h5"))
    changed = plan(project, *EXPERIMENTS, seeds=2)
    assert changed == {"compressed_train": runs, "compressed_collect": 2} | {
        f"compressed_plot_{name}": 1 for name in EXPERIMENTS
    }


def test_settings_reach_the_runs_that_depend_on_them_alone(project):
    def changed(**settings):
        return plan(project, *EXPERIMENTS, **settings).get("compressed_train", 0)

    # A Tucker decomposition at one level, two starts, two decays.
    assert changed(tucker_core="dense") == 4
    # Of both tensors, two starts, one decay.
    assert changed(tensor_frobenius="published") == 4
    # Low rank with Frobenius decay of the VGG, and with scaled decay of the wide network.
    assert changed(decay_groups="published") == 4
    assert changed(matricisation="published") == 4
    assert changed(compression={"samples_per_class": 5}) == 2
    assert changed(tensors={"training": {"cutout": 2}}) == 13


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("source~mnist/network~vgg/depth~11/width~4/method~low_rank/size~0.2", "present settings have digits"),
        ("source~digits/network~vgg/depth~11/width~5/method~low_rank/size~0.2", "the present settings have vgg 11"),
        ("source~digits/network~vgg/depth~11/width~4/method~dense/size~1", "factors start regular or spectral"),
        ("source~digits/network~vgg/depth~11/width~4/method~low_rank/size~0.001", "a ratio of 0.001: with factors"),
    ],
)
def test_networks_that_are_none_are_named(fresh, path, said):
    run = f"results/smoke/compressed/{path}/initialization~regular/decay~weight/seed~0.h5"
    call = fresh.call("--dry-run", run)
    assert call.code != 0 and said in call.output, call.output


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_numbers_are_those_of_the_runs(smoke, name):
    drawn = pd.read_csv(smoke / f"figures/factorized_{name}.csv")
    runs = pd.read_csv(smoke / f"results/smoke/compressed/{name}_runs.csv")
    assert sorted(drawn["mean"]) == pytest.approx(sorted(runs["test_accuracy"]), rel=1e-12)
    assert (runs["parameters"] <= runs["dense_parameters"]).all()
    sparse = runs[runs["method"].isin(["snip", "grasp", "random_tickets"])]
    assert (sparse["parameters"] == (sparse["size"] * sparse["dense_parameters"]).round()).all()
    assert len(sparse) == (3 if name == "compression" else 0)
