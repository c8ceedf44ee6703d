"""What reruns in the study on factorized layers."""

import pandas as pd
import pytest

from project import CHECKOUT

pytestmark = pytest.mark.slow

EXPERIMENTS = ("resnet", "decay", "normalization", "distillation")


def figure(name):
    return f"figures/factorized_{name}.pdf"


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    return copy_of(smoke)


def plan(project, *names, **settings):
    return project.plan(*map(figure, names), factorized=settings)


@pytest.mark.parametrize(
    ("name", "scale", "runs"),
    [
        ("resnet", "demo", 17 * 3),
        ("normalization", "demo", 12 * 3),
        ("decay", "demo", 8 * 3),
        ("distillation", "demo", 15 * 3),
        ("normalization", "paper", 12 * 3),
        ("decay", "paper", 14 * 3),
    ],
)
def test_a_figure_trains_its_runs_alone(fresh, name, scale, runs):
    expected = {"images_convert": 1, "factorized_train": runs, "factorized_collect": 1, f"factorized_plot_{name}": 1}
    assert fresh.plan(figure(name), scale=scale) == expected


def test_a_second_call_runs_nothing(project):
    assert plan(project, *EXPERIMENTS) == {}


def test_a_rank_scale_more_trains_its_runs_alone(project):
    changed = plan(project, *EXPERIMENTS, resnet={"rank_scales": [0.2, 0.6]})
    assert changed == {"factorized_train": 4, "factorized_collect": 1, "factorized_plot_resnet": 1}


def test_a_seed_more_trains_the_new_runs_alone(project):
    runs = len(project.files("results/smoke/factorized/source~digits/**/*.h5"))
    changed = plan(project, *EXPERIMENTS, seeds=2)
    assert changed == {"factorized_train": runs, "factorized_collect": 4} | {
        f"factorized_plot_{name}": 1 for name in EXPERIMENTS
    }


def test_a_coefficient_more_is_no_matter_of_other_figures(project):
    changed = plan(project, *EXPERIMENTS, decay={"coefficients": [1e-3, 1e-2, 1e-1]})
    assert changed == {"factorized_train": 2, "factorized_collect": 1, "factorized_plot_decay": 1}


def test_other_settings_of_norms_leave_all_other_runs_alone(project):
    assert plan(project, "decay", "resnet", "distillation", normalization={"depth": 14, "rank_scale": 0.4}) == {}
    changed = plan(project, *EXPERIMENTS, matricisation="published")
    spectral = [path for path in project.files("results/smoke/factorized/**/*.h5") if "spectral" in path]
    assert changed["factorized_train"] == len(spectral)


def test_a_run_waits_for_the_one_whose_norms_it_gets(project):
    run = next(
        path
        for path in project.files("results/smoke/factorized/**/*.h5")
        if "initialization~spectral/decay~replayed" in path
    )
    recorded = run.replace("decay~replayed", "decay~recorded")
    (project / recorded).unlink()
    (project / run).unlink()
    call = project.call("--dry-run", run, "--config", "scale=smoke", scale=None)
    assert call.plan == {"factorized_train": 2}, call.output


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "source~mnist/depth~8/rank_scale~0.2/factors~two/initialization~regular/decay~weight",
            "present settings have digits",
        ),
        (
            "source~digits/depth~9/rank_scale~0.2/factors~two/initialization~regular/decay~weight",
            "9 layers: this layout has 6 n + 2",
        ),
        ("source~digits/depth~8/rank_scale~0.2/factors~dense/initialization~dense/decay~weight", "a dense network has"),
        ("source~digits/depth~8/rank_scale~1/factors~three/initialization~regular/decay~replayed", "with two factors"),
    ],
)
def test_networks_that_are_none_are_named(fresh, path, said):
    call = fresh.call("--dry-run", f"results/smoke/factorized/{path}/coefficient~0.001/seed~0.h5")
    assert call.code != 0 and said in call.output, call.output


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_numbers_are_those_of_the_runs(smoke, name):
    drawn = pd.read_csv(smoke / f"figures/factorized_{name}.csv")
    if name == "normalization":
        curves = pd.read_csv(smoke / "results/smoke/factorized/normalization_curves.csv")
        own = drawn[drawn["quantity"] == "nuclear_norm"]
        assert sorted(own["mean"]) == pytest.approx(sorted(curves["nuclear_norm"]), rel=1e-12)
        return
    runs = pd.read_csv(smoke / f"results/smoke/factorized/{name}_runs.csv")
    assert sorted(drawn["mean"]) == pytest.approx(sorted(runs["test_accuracy"]), rel=1e-12)
    assert (runs["deployed_parameters"] == runs["dense_parameters"]).all()
    assert runs["deployed_accuracy"].tolist() == runs["test_accuracy"].tolist()


def test_the_page_on_factorized_layers_says_what_can_be_done(tmp_path):
    """The code on it runs as it stands."""
    page = (CHECKOUT / "docs" / "factorized.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    found = {}
    exec(code, found)
    size = sum(parameter.numel() for parameter in found["deployed"].parameters())
    assert size == found["made"].dense_parameters and abs(found["made"].ratio - 0.1) < 1e-3
    found["made"].model.eval(), found["deployed"].eval()
    difference = found["made"].model(found["images"]) - found["deployed"](found["images"])
    assert difference.abs().max() < 1e-5
