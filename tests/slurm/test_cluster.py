"""`snakemake --profile profiles/slurm` on a real Slurm."""

import contextlib
import re
import time

import psutil
import pytest
import yaml

from project import CHECKOUT, FIGURE, checkpoint_file, log_file, pathfinder, run_file, same_class_file

pytestmark = pytest.mark.slow

RUN = run_file(path_length=3, coefficient=1)
RUNS = [run_file(path_length=path_length, coefficient=coefficient) for path_length in (2, 3) for coefficient in (0, 1)]
RESULTS = ("results/data/**/*.h5", "results/smoke/**/*", "figures/*")


def longer(epochs):
    """Settings of a training of exactly so many epochs."""
    return {"pathfinder": {"training": {"epochs": epochs, "perfect_epochs": epochs}}}


TARGETS = ("pathfinder", "rank_dynamics", "norms", same_class_file(distance=0, coefficient=0))
"""Every way in which jobs are submitted: alone, in groups, with a GPU, and not at all."""


@pytest.fixture(scope="module")
def several(tmp_path_factory, fresh, on):
    """Much of the smoke scale on the cluster, from a fresh copy, with a GPU for each training."""
    project = on(fresh.copy(tmp_path_factory.mktemp("cluster prüfung"), results=False))
    project.output = project.run(*TARGETS, gpus_per_run=1, timeout=1000).output
    return project


@pytest.fixture
def project(smoke, copy_of, on):
    """A copy of the project after its run of the smoke scale."""
    return on(copy_of(smoke))


def test_results_are_those_of_a_local_run(several, smoke):
    found, expected = several.files(*RESULTS), smoke.files(*RESULTS)
    assert len(found) > 50
    whole = tuple(f"results/smoke/{study}/" for study in TARGETS)
    assert {path for path in expected if path.startswith(whole)} <= set(found)
    assert [path for path in found if found[path] != expected[path]] == []


@pytest.fixture(scope="module")
def memory(smoke):
    """What jobs of each rule ask for, in MB."""
    found = {}
    for job in smoke.requests(gpus_per_run=1):
        found.setdefault(job["rule"], []).append(job["mem_mb"])
    return found


def in_mb(job):
    return int(job["MinMemoryNode"].removesuffix("M"))


@pytest.mark.parametrize(("rule", "number"), [("pathfinder_train", 4), ("same_class_train", 1)])
def test_trainings_get_what_their_rule_asks_for(several, memory, rule, number):
    jobs = several.jobs(rule)
    assert len(jobs) == number
    assert set(map(in_mb, jobs)) == set(memory[rule])
    for job in jobs:
        assert job["JobState"] == "COMPLETED"
        assert (job["TimeLimit"], job["NumCPUs"], job["JOB_GRES"]) == ("12:00:00", "1", "gpu:1")


def test_no_other_job_asks_for_a_gpu(several):
    named = ("pathfinder_data", "sensing_observe", "matrix_norms_train", "tensor_completion_linear")
    others = [job for job in several.jobs() if any(name in job["StdOut"] for name in named)]
    assert len(others) >= 4
    assert {job["JOB_GRES"] for job in others} == {"(null)"}


@pytest.mark.parametrize("name", ["rank_dynamics_train", "tensor_completion_train"])
def test_a_group_asks_for_a_gpu_for_each_job_that_runs_at_a_time(several, name):
    jobs = several.jobs(name)
    assert len(jobs) > 0
    for job in jobs:
        assert job["JOB_GRES"] == f"gpu:{job['NumCPUs']}"


def test_every_job_ended_well_and_at_the_first_attempt(several):
    assert {job["JobState"] for job in several.jobs()} == {"COMPLETED"}
    assert "Trying to restart" not in several.output


def test_plots_and_tables_are_made_where_the_command_was_typed(several):
    submitted = " ".join(job["StdOut"] for job in several.jobs())
    assert not re.search(r"_(plot|collect|convert|pair)\b", submitted)
    assert (several / FIGURE).exists()


def grouped_rules():
    return yaml.safe_load((CHECKOUT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))["groups"]


def test_short_jobs_share_an_allocation_of_modest_size(several, memory):
    grouped = [job for job in several.jobs() if "/group_" in job["StdOut"]]
    most = max(number for rule in memory if rule in grouped_rules() for number in memory[rule])
    assert 3 <= len(grouped) < 12
    for job in grouped:
        assert int(job["NumCPUs"]) <= 2, job
        assert in_mb(job) <= 2 * most, job


def test_every_job_has_the_log_that_a_local_one_has(several, smoke):
    found, expected = (project.files("logs/**/*.log") for project in (several, smoke))
    assert {path for path in found if not path.startswith("logs/slurm/")} < set(expected)
    for path, content in found.items():
        assert b"done in" in content, path


def test_a_second_call_submits_nothing(several):
    before = len(several.jobs())
    assert "Nothing to be done" in several.run(*TARGETS, gpus_per_run=1).output
    assert len(several.jobs()) == before


def test_a_failing_job_shows_the_end_of_its_log_and_where_it_is(project):
    diverging = {"pathfinder": {"training": {"learning_rate": 1e30}}}
    call = project.call(RUN, "--retries", "0", **diverging)
    assert call.code != 0
    assert "training diverged: the loss of step" in call.output
    assert "reduce learning_rate (now 1e+30)" in call.output
    assert log_file(RUN) in call.output
    assert [job["JobState"] for job in project.jobs()] == ["FAILED"]
    assert not (project / RUN).exists()


def test_a_job_past_its_time_limit_goes_on_where_it_was_and_ends_in_the_same_bytes(project, smoke, copy_of):
    """Slurm's shortest limit is a minute. The training is stopped for that long, as Slurm wakes what it is to end.

    What is left is far shorter than a minute, also on a machine that is busy with other tests.
    """
    settings, here = longer(40), copy_of(smoke)
    here.run(RUN, **settings)
    limit = ("--set-resources", "pathfinder_train:runtime=1")
    with project.started(RUN, *limit, **settings) as workflow:
        workflow.wait_until(lambda: (project / checkpoint_file(RUN)).exists(), what="checkpoint")
        (training,) = trainings(project)
        training.suspend()
        call = workflow.wait(500)
    assert call.code == 0, call.output
    assert [job["JobState"] for job in project.jobs()] == ["TIMEOUT", "COMPLETED"]
    assert "resuming after" in log_of(project)
    assert (project / RUN).read_bytes() == (here / RUN).read_bytes()
    assert not (project / checkpoint_file(RUN)).exists()


def trainings(project):
    """The processes of trainings in a project."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            at_work = "pathfinder_train.py" in " ".join(process.cmdline()[1:])
            if at_work and process.name().startswith("python") and process.cwd() == str(project.folder):
                found.append(process)
    return found


def log_of(project):
    return (project / log_file(RUN)).read_text(encoding="utf-8")


def running(project, count=1):
    return sum(job["JobState"] == "RUNNING" for job in project.jobs("pathfinder_train")) >= count


def test_a_preempted_job_goes_on_and_ends_in_the_same_bytes(project, cluster, smoke, copy_of):
    settings, here = longer(150), copy_of(smoke)
    here.run(RUN, **settings)
    with project.started(RUN, **settings) as workflow:
        workflow.wait_until(lambda: (project / checkpoint_file(RUN)).exists(), what="checkpoint")
        cluster.preempt(seconds=3)
        call = workflow.wait(500)
    assert call.code == 0, call.output
    first, second = project.jobs()
    # It ends by itself in its time of grace, as a failure that is none.
    assert first["PreemptTime"] != "None"
    assert first["JobState"] in ("FAILED", "PREEMPTED")
    assert second["JobState"] == "COMPLETED"
    assert "resuming after" in log_of(project)
    assert (project / RUN).read_bytes() == (here / RUN).read_bytes()


def test_a_cancelled_job_leaves_the_others_going_and_a_second_call_completes(project, cluster):
    settings = longer(60)
    with project.started(FIGURE, "--retries", "0", **settings) as workflow:
        workflow.wait_until(lambda: running(project), what="running job")
        (cancelled, *_) = (job for job in project.jobs("pathfinder_train") if job["JobState"] == "RUNNING")
        cluster.cancel(cancelled)
        call = workflow.wait(500)
    assert call.code != 0
    states = [job["JobState"] for job in project.jobs("pathfinder_train")]
    assert sorted(states) == ["CANCELLED", *["COMPLETED"] * 3]
    assert project.plan(FIGURE, **settings) == pathfinder(train=1, collect=1, plot=1)
    project.run(FIGURE, **settings)
    assert project.plan(FIGURE, **settings) == {}


def test_ctrl_c_leaves_no_orphans(project, cluster):
    settings = longer(5000)
    with project.started(*RUNS, **settings) as workflow:
        # Snakemake cancels what it knows to be submitted.
        workflow.wait_until(lambda: workflow.output.count("has been submitted with SLURM jobid") == 4, what="jobs")
        workflow.wait_until(lambda: running(project), what="running job")
        workflow.interrupt()
        call = workflow.wait(240)
    assert call.code != 0
    deadline = time.monotonic() + 30
    while cluster.unfinished() and time.monotonic() < deadline:
        time.sleep(0.2)
    jobs = project.jobs("pathfinder_train")
    assert len(jobs) == 4
    assert {job["JobState"] for job in jobs} == {"CANCELLED"}
    # And the folder is free for the next call.
    assert project.plan(*RUNS, **settings) == pathfinder(train=4)


def test_a_killed_snakemake_leaves_its_jobs_which_can_be_cancelled(project, cluster):
    settings = longer(150)
    with project.started(RUN, **settings) as workflow:
        workflow.wait_until(lambda: (project / checkpoint_file(RUN)).exists(), what="checkpoint")
        workflow.kill()
    (job,) = project.jobs()
    assert job["JobState"] == "RUNNING", "nobody told Slurm"
    cluster.cancel(job)
    deadline = time.monotonic() + 60
    while project.jobs() != [] and project.jobs()[0]["JobState"] in ("RUNNING", "COMPLETING"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "--unlock" in project.call(RUN, **settings).output
    assert project.call("--unlock", **settings).code == 0
    assert project.run(RUN, **settings).plan == {"pathfinder_train": 1}
    assert "resuming after" in log_of(project)
    assert project.plan(RUN, **settings) == {}


def test_settings_on_the_command_line_reach_no_shell(project):
    """Snakemake hands them on to jobs through a shell that would obey."""
    (project / RUN).unlink()
    nasty = "images_folder=x'; touch executed; '$(touch executed)`touch executed`"
    call = project.call(RUN, "--retries", "0", "--config", "scale=smoke", nasty, scale=None)
    assert call.code != 0
    assert "may hold letters, digits, blanks" in call.output
    assert project.jobs() == []
    call = project.call(RUN, "--retries", "0", "--config", "scale=smoke", "images_folder=Bilder für Tests", scale=None)
    assert call.code == 0, call.output
    assert len(project.jobs()) == 1
    assert not list(project.folder.rglob("executed"))
