"""What Snakemake plans before anything is computed."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from project import (
    FIGURE,
    RANK_FIGURES,
    SAME_CLASS_FIGURE,
    UNTIED_FIGURES,
    pathfinder,
    rank_dynamics,
    same_class,
    untied,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paper(fresh):
    """The published grid: four path lengths of 20,000 images, three coefficients, five seeds."""
    scale = yaml.safe_load((fresh / "config/scales/paper/pathfinder.yaml").read_text(encoding="utf-8"))
    shards = math.ceil(20_000 / scale["pathfinder"]["images_per_shard"])
    return pathfinder(render=4 * shards, assemble=4, train=4 * 3 * 5, collect=1, plot=1)


def test_the_copy_runs_its_own_code(fresh):
    command = [sys.executable, "-c", "import tacit; print(tacit.__file__)"]
    found = subprocess.run(command, cwd=fresh.folder, env=fresh.environment, capture_output=True, encoding="utf-8")
    assert Path(found.stdout.strip()) == fresh / "src" / "tacit" / "__init__.py"


def test_a_figure_from_nothing_plans_every_job_that_it_needs(fresh):
    assert fresh.plan(FIGURE) == pathfinder(render=4, assemble=2, train=4, collect=1, plot=1)


def test_the_paper_scale_is_planned_in_seconds(fresh, paper):
    began = time.monotonic()
    assert fresh.plan(FIGURE, scale="paper") == paper
    assert time.monotonic() - began < 20


def test_without_a_target_everything_is_planned(fresh, paper):
    plan = fresh.plan(scale="paper")
    assert plan.pop("all") == 1
    examples = pathfinder(examples_collect=1, examples_plot=1)
    assert {rule: count for rule, count in plan.items() if rule.startswith("pathfinder_")} == paper | examples


@pytest.mark.parametrize(("scale", "tasks", "seeds"), [("smoke", 2, 1), ("demo", 1, 6), ("paper", 2, 5)])
def test_rank_dynamics_plans_a_run_for_each_factorization_task_and_seed(fresh, scale, tasks, seeds):
    expected = rank_dynamics(observe=3 * tasks, train=3 * tasks * seeds, collect=1, plot=1, plot_nodes=1)
    assert fresh.plan(*RANK_FIGURES, scale=scale) == expected


@pytest.mark.parametrize(("scale", "runs"), [("smoke", 2 * 2 * 1), ("paper", 5 * 3 * 5)])
def test_same_class_plans_one_set_of_pairs_for_all_distances(fresh, scale, runs):
    """Even where the published images are not there: a plan is not an order."""
    expected = same_class(convert=1, pair=1, train=runs, collect=1, plot=1)
    assert fresh.plan(SAME_CLASS_FIGURE, scale=scale) == expected


@pytest.mark.parametrize(
    ("scale", "train", "continued", "interpolate"),
    [("smoke", 1, 2 + 1 + 1, 1), ("paper", 3 * 2 * 3, (9 + 9 + 2) * 2 * 2 * 3, 3 * 3)],
)
def test_untied_plans_a_cnn_for_all_that_continues_from_it(fresh, scale, train, continued, interpolate):
    """Two rates, each with nine splits of LCNs and of the control and two of FCNs, at two rates more; three seeds."""
    counts = {"train": train, "continued": continued, "interpolate": interpolate}
    collected = {"convert": 1, "collect": 1, "interpolation_collect": 1, "interpolation_plot": 1}
    assert fresh.plan(*UNTIED_FIGURES, scale=scale) == untied(**counts, **collected)


def test_planning_makes_no_results(fresh):
    fresh.plan(FIGURE)
    assert not [name for name in ("results", "figures", "logs", "benchmarks") if (fresh / name).exists()]


def test_planning_imports_no_torch(fresh):
    command = fresh.command("--dry-run", FIGURE, SAME_CLASS_FIGURE)
    environment = fresh.environment | {"PYTHONPROFILEIMPORTTIME": "1"}
    said = subprocess.run(command, cwd=fresh.folder, env=environment, capture_output=True, encoding="utf-8").stderr
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert "tacit.settings" in imported
    assert not imported & {"torch", "torchvision", "matplotlib", "numba", "sklearn"}


def test_settings_of_a_study_can_be_given_on_the_command_line(fresh):
    call = fresh.call("--dry-run", FIGURE, "--config", "scale=smoke", "pathfinder={seeds: 2}", scale=None)
    assert call.code == 0, call.output
    assert call.plan == pathfinder(render=4, assemble=2, train=8, collect=1, plot=1)


def test_two_settings_never_share_a_run(fresh):
    plan = fresh.plan(FIGURE, pathfinder={"coefficients": [0.1234567, 0.1234568]})
    assert plan == pathfinder(render=4, assemble=2, train=4, collect=1, plot=1)


@pytest.mark.parametrize("switch", ["partial=false", "partial=False"])
def test_switches_can_be_given_on_the_command_line(fresh, switch):
    call = fresh.call("--dry-run", FIGURE, "--config", "scale=smoke", switch, scale=None)
    assert call.code == 0, call.output


def test_of_figures_that_were_never_drawn_status_tells_all_stages(fresh):
    command = [sys.executable, "-m", "tacit", "status", "figures/pathfinder.pdf", "--config", "scale=smoke"]
    done = subprocess.run(command, cwd=fresh.folder, env=fresh.environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    stages = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert stages == [f"pathfinder_{verb}" for verb in ("render", "assemble", "train", "collect", "plot")]
    assert "0 done, 0 running, 4 to do" in done.stdout
