"""Code is content also after kills, while jobs run and without Snakemake's memory; files say what they are."""

import re
import shutil

import pytest

from project import FIGURE, Project, checkpoint_file, descent_file, log_file, pathfinder, run_file, text_of

pytestmark = pytest.mark.slow

LOOP = "src/tacit/training/engine.py"
STEP = ("value.scalar.backward()", "(0.5 * value.scalar).backward()")
RUN = run_file(path_length=2, coefficient=0)
OTHER = run_file(path_length=3, coefficient=0)
PERTURBED = "figures/matrix_norms_perturbed.pdf"


@pytest.fixture
def project(smoke, copy_of):
    return copy_of(smoke)


def said(project, run=RUN):
    return (project / log_file(run)).read_text(encoding="utf-8")


def forget(project):
    """A common remedy against locks."""
    shutil.rmtree(project / ".snakemake")


def test_a_checkpoint_of_other_code_is_not_gone_on_from(project):
    settings = {"path_lengths": [2], "coefficients": [0], "training": {"epochs": 60, "perfect_epochs": 1000}}
    (project / RUN).unlink()
    with project.started(RUN, cores=1, pathfinder=settings) as started:
        started.wait_until((project / checkpoint_file(RUN)).exists, what="checkpoint")
    assert (project / checkpoint_file(RUN)).exists()
    project.run("--unlock")
    with project.edited(LOOP, *STEP):
        project.run(RUN, "--rerun-incomplete", pathfinder=settings)
        assert "is refused, it belongs to other settings (code)" in said(project)
        edited = (project / RUN).read_bytes()
        (project / RUN).unlink()
        project.run(RUN, pathfinder=settings)
        assert (project / RUN).read_bytes() == edited


def test_code_that_changes_while_jobs_run_fails_them(project):
    settings = {"coefficients": [0], "training": {"epochs": 40, "perfect_epochs": 1000}}
    for run in (RUN, OTHER):
        (project / run).unlink()
        (project / log_file(run)).unlink()
    with project.started(RUN, OTHER, "--keep-going", cores=1, pathfinder=settings) as started:
        logs = [project / log_file(run) for run in (RUN, OTHER)]
        started.wait_until(lambda: any(log.exists() and " code " in log.read_text() for log in logs), what="job")
        with project.edited(LOOP, *STEP):
            ended = started.wait(300)
    assert ended.code != 0
    assert not (project / RUN).exists()
    assert not (project / OTHER).exists()
    for run in (RUN, OTHER):
        assert "the code was changed since this job was planned (pathfinder_train.py: " in said(project, run)
    # One was under way, the other had not begun.
    assert sorted("training: 40 of 40" in said(project, run) for run in (RUN, OTHER)) == [False, True]
    assert project.plan(RUN, OTHER, pathfinder=settings) == pathfinder(train=2)


def test_without_the_memory_of_snakemake_other_settings_are_refused(project):
    forget(project)
    (project / PERTURBED).unlink()
    other = {"matrix": {"descent": {"epochs": 777}}}
    call = project.call(PERTURBED, "--cores", "1", norms=other)
    assert call.code != 0
    assert re.search(
        r"perturbed_runs\.csv: collected from runs with .*descent\.epochs = \d+, asked is 777", call.output
    )
    assert "--forcerun matrix_norms_train" in call.output
    assert not (project / PERTURBED).exists()
    # Nor are the runs taken, where the table is missing.
    (project / "results/smoke/norms/matrix/perturbed_runs.csv").unlink()
    call = project.call(PERTURBED, "--cores", "1", norms=other)
    assert call.code != 0
    assert re.search(r"seed~0\.h5: made with descent\.epochs = \d+, asked is 777", call.output)
    made = project.run(PERTURBED, "--forcerun", "matrix_norms_train", norms=other)
    assert made.plan.keys() == {"matrix_norms_train", "matrix_norms_collect_perturbed", "matrix_norms_plot_perturbed"}


def test_without_the_memory_of_snakemake_another_rendering_is_refused(project):
    forget(project)
    (project / FIGURE).unlink()
    call = project.call(FIGURE, "--cores", "1", pathfinder={"rendering": {"continuity": 2}})
    assert call.code != 0
    assert re.search(r"dataset\.rendering\.continuity = [\d.]+, asked is 2", call.output)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"coefficients": [0, 2]}, "collected from 2 runs that are not asked for, such as .*/coefficient~1/seed~0.h5"),
        ({"seeds": 2}, "collected without 4 of 8 runs that are asked for, such as .*/seed~1.h5"),
    ],
    ids=["another grid", "a seed more"],
)
def test_without_the_memory_of_snakemake_tables_of_other_runs_are_refused(project, changed, words):
    forget(project)
    (project / FIGURE).unlink()
    call = project.call(FIGURE, "--cores", "1", pathfinder=changed)
    assert call.code != 0
    assert re.search(words, call.output)
    assert "--forcerun results/smoke/pathfinder/runs.csv (after the target)" in call.output
    # What is advised helps.
    call = project.run(FIGURE, "--forcerun", "results/smoke/pathfinder/runs.csv", pathfinder=changed)
    assert call.plan["pathfinder_collect"] == 1


def test_data_in_the_place_of_others_are_refused(project):
    (dataset,) = project.folder.glob("results/data/pathfinder/*/*/datasets/path_length~2/size~32/*/*.h5")
    raw = sorted((dataset.parents[4] / "raw" / "path_length~2").iterdir())
    shutil.copy(raw[0], raw[1])
    dataset.unlink()
    call = project.call(str(dataset.relative_to(project.folder)), "--cores", "1")
    assert call.code != 0
    assert f"{raw[1].name}: holds images 0-95; was it copied or renamed?" in call.output


def test_a_target_of_other_settings_is_not_observed(project):
    run = descent_file(factorization="matrix")
    other = {"matrix": {"problem": {"seed": 5}}}
    project.run(run, "--until", "sensing_observe", rank_dynamics=other)
    path = "results/data/sensing/factorization~matrix/*/task~completion.h5"
    old, new = sorted(project.folder.glob(path), key=lambda file: file.stat().st_mtime)
    shutil.copy(new, old)
    (project / run).unlink()
    call = project.call(run, "--cores", "1")
    assert call.code != 0
    assert "made with problem.seed = 5, asked is 0" in call.output


def test_without_the_memory_of_snakemake_sound_files_are_taken(project, smoke):
    forget(project)
    (project / FIGURE).unlink()
    assert project.run(FIGURE).plan == pathfinder(plot=1)
    assert (project / FIGURE).read_bytes() == (smoke / FIGURE).read_bytes()


def test_a_run_in_the_place_of_another_is_refused(project):
    shutil.copy(project / run_file(path_length=2, coefficient=1), project / RUN)
    call = project.call(FIGURE, "--cores", "1")
    assert call.code != 0
    assert f"{RUN}: holds coefficient 1; was it copied or renamed?" in call.output


def test_runs_of_older_code_are_drawn_only_if_asked_for_and_said_so(project):
    with project.edited(LOOP, *STEP):
        arguments = (FIGURE, "--rerun-triggers", "mtime")
        (project / "results/smoke/pathfinder/runs.csv").unlink()
        (project / FIGURE).unlink()
        call = project.call(*arguments, "--cores", "1")
        assert call.code != 0
        assert f"{RUN}: made by other code of pathfinder_train.py" in call.output
        assert "accept_older_code: true" in call.output
        assert project.run(*arguments, accept_older_code=True).plan == pathfinder(collect=1, plot=1)
        assert "OLDERCODE:4runs" in text_of((project / FIGURE).read_bytes())


def test_the_library_of_another_checkout_is_not_used(project, fresh, tmp_path):
    other = Project.new(tmp_path / "other")
    environment = {"PYTHONPATH": str(other / "src")}
    # The same code elsewhere is no other code.
    assert project.call(FIGURE, "-n", environment=environment).code == 0
    with other.edited(LOOP, *STEP):
        call = project.call(FIGURE, "-n", environment=environment)
    assert call.code != 0
    for words in (str(other / "src"), "training/engine.py differs", "pip install", str(project.folder)):
        assert words in call.output
