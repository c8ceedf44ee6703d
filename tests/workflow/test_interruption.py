"""Workflows and trainings that are killed and started again.

After Snakemake was killed, a user has to `--unlock` the folder, as with any workflow. `--rerun-incomplete` is not
needed, as no half-written file ever has the name of an output.
"""

import signal

import pytest

from project import checkpoint_file, log_file, run_file

pytestmark = pytest.mark.slow

RUN = run_file(path_length=3, coefficient=1)
LONGER = {"pathfinder": {"training": {"epochs": 10}}}


@pytest.fixture(scope="module")
def undisturbed(smoke, copy_of):
    """The run file of a longer training in which nothing happened."""
    project = copy_of(smoke)
    project.run(RUN, **LONGER)
    assert (project / RUN).read_bytes() != (smoke / RUN).read_bytes()
    return (project / RUN).read_bytes()


def has_checkpoint(project):
    return (project / checkpoint_file(RUN)).exists()


def log(project):
    return (project / log_file(RUN)).read_text(encoding="utf-8")


@pytest.fixture
def killed(smoke, copy_of):
    """A project whose workflow was killed in the middle of a training."""
    project = copy_of(smoke)
    with project.started(RUN, **LONGER) as workflow:
        workflow.wait_until(lambda: has_checkpoint(project), what="checkpoint")
        workflow.kill()
    assert not (project / RUN).exists()
    return project


def test_a_killed_workflow_goes_on_and_ends_in_the_same_bytes(killed, undisturbed):
    locked = killed.call(RUN, "--cores", "2", **LONGER)
    assert locked.code != 0
    assert "--unlock" in locked.output
    assert killed.call("--unlock", **LONGER).code == 0
    assert killed.run(RUN, **LONGER).plan == {"pathfinder_train": 1}
    assert "resuming after" in log(killed)
    assert (killed / RUN).read_bytes() == undisturbed
    assert not has_checkpoint(killed)
    assert killed.plan(RUN, **LONGER) == {}


def test_a_checkpoint_of_other_settings_is_not_taken_up(killed, smoke):
    assert killed.call("--unlock").code == 0
    assert killed.run(RUN).plan == {"pathfinder_train": 1}
    assert "it belongs to other settings" in log(killed)
    assert "resuming" not in log(killed)
    assert (killed / RUN).read_bytes() == (smoke / RUN).read_bytes()
    assert not has_checkpoint(killed)


def ask_the_job(workflow):
    workflow.job("pathfinder_train.py").send_signal(signal.SIGTERM)


def press_ctrl_c(workflow):
    workflow.interrupt(jobs=True)


@pytest.mark.parametrize("ask", [ask_the_job, press_ctrl_c])
def test_a_training_that_is_asked_to_end_saves_itself_and_goes_on_later(smoke, copy_of, undisturbed, ask):
    project = copy_of(smoke)
    with project.started(RUN, **LONGER) as workflow:
        workflow.wait_until(lambda: has_checkpoint(project), what="checkpoint")
        ask(workflow)
        call = workflow.wait()
    assert call.code != 0
    assert not (project / RUN).exists()
    assert has_checkpoint(project)
    assert "asked to end; saved after" in log(project)
    assert project.run(RUN, **LONGER).plan == {"pathfinder_train": 1}
    assert "resuming after" in log(project)
    assert (project / RUN).read_bytes() == undisturbed
    assert not has_checkpoint(project)
