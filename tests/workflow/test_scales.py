"""Scales beside each other in one project."""

import shutil

import pytest
import yaml

from project import FIGURE, pathfinder, run_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(project):
    """The name of a scale that differs from smoke in how many networks are trained, and for how long."""
    scales = project / "config" / "scales"
    shutil.copytree(scales / "smoke", scales / "other")
    file = scales / "other" / "pathfinder.yaml"
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    study["pathfinder"] |= {"path_lengths": [3], "coefficients": [0]}
    study["pathfinder"]["training"]["epochs"] = 1
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    return "other"


def test_a_change_of_scale_and_back_only_draws_again(smoke, project, other):
    results = project.files("results/**/*")
    # Images are shared, runs are not.
    assert project.run(FIGURE, scale=other).plan == pathfinder(train=1, collect=1, plot=1)
    assert (project / run_file(path_length=3, coefficient=0, scale=other)).exists()
    assert (project / FIGURE).read_bytes() != (smoke / FIGURE).read_bytes()
    assert project.run(FIGURE).plan == pathfinder(plot=1)
    assert (project / FIGURE).read_bytes() == (smoke / FIGURE).read_bytes()
    after = project.files("results/**/*")
    # Which folder these results belong to is no result.
    del results["results/.folder"]
    assert {path: after[path] for path in results} == results
    assert project.plan(FIGURE) == {}
