"""What reruns in the study on untied weights."""

import pandas as pd
import pytest

from project import UNTIED_FIGURES, untied, untied_file

pytestmark = pytest.mark.slow

COLLECTED = {"collect": 1}
ALL = COLLECTED | {"interpolation_collect": 1, "interpolation_plot": 1}


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    return copy_of(smoke)


def plan(project, **settings):
    return project.plan(*UNTIED_FIGURES, untied=settings)


@pytest.mark.parametrize("split", [0, 2, 3])
def test_a_split_more_trains_it_alone(project, split):
    assert plan(project, continued={"splits": {"cnn": [1, split]}}) == untied(continued=1, **COLLECTED)


def test_another_rate_after_the_split_trains_no_cnn(project):
    assert plan(project, continued={"learning_rates": [0.01, 0.02]}) == untied(continued=4, **COLLECTED)


def test_a_seed_more_trains_the_new_runs_alone(project):
    assert plan(project, seeds=2) == untied(train=1, continued=4, interpolate=1, **ALL)


def test_a_pair_more_interpolates_it_alone(project):
    changed = plan(project, interpolation={"pairs": [["cnn", "fcn-1"], ["lcn-1", "lcn-3"]]})
    assert changed == untied(plots=(), interpolate=1, interpolation_collect=1, interpolation_plot=1)


def test_a_pair_at_other_epochs_interpolates_it_alone(project):
    changed = plan(project, interpolation={"pairs": [["cnn", "fcn-1"], ["cnn@1", "cnn@2"]]})
    assert changed == untied(plots=(), interpolate=1, interpolation_collect=1, interpolation_plot=1)


def test_other_rates_shown_are_interpolated_under_another_name(project):
    rates = {"continued": {"learning_rates": [0.01, 0.02]}, "shown": {"learning_rate": 0.02}}
    assert plan(project, **rates) == untied(continued=4, interpolate=1, **ALL)
    assert plan(project, interpolation={"string": {"epochs": 2}}) == untied(
        plots=(), interpolate=1, interpolation_collect=1, interpolation_plot=1
    )


def test_what_figures_show_is_no_matter_of_training(project):
    changed = plan(project, shown={"margin": "top2", "margin_of": "train", "splits": [3]})
    assert changed == untied(interpolation_plot=1, **COLLECTED)


def test_an_edit_of_the_locally_connected_layer_reruns_what_may_use_it(project):
    drawn = "nn.init.uniform_(tensor, -bound, bound, generator)"
    with project.edited("src/tacit/nn/local.py", drawn, "nn.init.zeros_(tensor)"):
        assert project.plan(*UNTIED_FIGURES) == untied(train=1, continued=4, interpolate=1, **ALL)
        assert project.plan("figures/same_class.pdf") == {}


def test_margins_are_drawn_if_they_are_kept_and_a_message_says_how(project):
    call = project.call("-n", "figures/untied_margins.pdf")
    assert call.code != 0 and "set untied: {keep_margins: true}" in call.output
    drawn = project.plan("figures/untied_margins.pdf", untied={"keep_margins": True})
    assert drawn == untied(plots=("margins_plot",), train=1, continued=3, margins_collect=1)


def test_partial_draws_what_is_there_and_says_so(project):
    project.run(*UNTIED_FIGURES, partial=True, untied={"seeds": 2})
    assert not (project / untied_file(network="cnn", seed=1)).exists()
    claims = pd.read_csv(project / "results/smoke/untied/claims.csv")
    assert set(claims["missing"]) == {5}, "a CNN, two of its continuations and their controls"
    assert set(claims["verdict"]) == {"undecided"}
