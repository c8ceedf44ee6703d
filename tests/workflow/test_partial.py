"""Figures from the runs that are there, with `partial: true`."""

import re

import numpy as np
import pandas as pd
import pytest

from project import FIGURE, NUMBERS, pathfinder, run_file, text_of

pytestmark = pytest.mark.slow

# One setting and three seeds, of which the smoke scale has trained one.
STUDY = {"path_lengths": [2], "coefficients": [0], "seeds": 3}


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    return copy_of(smoke)


def numbers(project):
    return pd.read_csv(project / NUMBERS)


def accuracies(project):
    return 100 * pd.read_csv(project / "results/smoke/pathfinder/runs.csv")["test_accuracy"]


def test_a_whole_figure_does_not_call_itself_partial(smoke):
    text = text_of((smoke / FIGURE).read_bytes())
    assert "smokescale" in text
    assert "PARTIAL" not in text


def test_partial_draws_the_runs_that_are_there_and_says_so(project):
    assert project.run(FIGURE, partial=True, pathfinder=STUDY).plan == pathfinder(collect=1, plot=1)
    assert "PARTIAL:2runsmissing" in text_of((project / FIGURE).read_bytes())
    assert numbers(project)["seeds"].tolist() == [1]
    assert not (project / run_file(path_length=2, coefficient=0, seed=1)).exists()

    # One more run is there: one more is drawn.
    project.run(run_file(path_length=2, coefficient=0, seed=1), pathfinder=STUDY)
    assert project.run(FIGURE, partial=True, pathfinder=STUDY).plan == pathfinder(collect=1, plot=1)
    assert re.search("PARTIAL:1runs?missing", text_of((project / FIGURE).read_bytes()))
    assert numbers(project)["seeds"].tolist() == [2]
    assert len(accuracies(project)) == 2
    np.testing.assert_allclose(numbers(project)["mean"], accuracies(project).mean(), rtol=1e-14)
    np.testing.assert_allclose(numbers(project)["std"], accuracies(project).std(ddof=1), rtol=1e-13)

    # Without it, the missing run is trained.
    assert project.plan(FIGURE, pathfinder=STUDY) == pathfinder(train=1, collect=1, plot=1)


def test_partial_with_no_run_missing_is_no_other_figure(smoke, copy_of):
    project = copy_of(smoke)
    assert project.run(FIGURE, partial=True).plan == pathfinder(plot=1)
    assert (project / FIGURE).read_bytes() == (smoke / FIGURE).read_bytes()
    assert (project / NUMBERS).read_bytes() == (smoke / NUMBERS).read_bytes()


def test_partial_claims_are_those_of_studies_of_which_a_run_is_there(fresh, copy_of):
    project = copy_of(fresh)
    refused = project.call("claims", "--cores", "2", partial=True)
    assert refused.code != 0 and "no run of any study is there yet" in refused.output
    project.run("figures/matrix_norms.pdf")
    project.run("claims", partial=True)
    assert set(pd.read_csv(project / "results/smoke/claims.csv")["study"]) == {"norms"}
    assert re.search(r"PARTIAL:\d+tablesofclaimsmissing", text_of((project / "figures/claims.pdf").read_bytes()))
