"""Files that are damaged, foreign or hostile; processes in each other's way; clocks that jump."""

import json
import os
import pickle
import time

import h5py
import pytest
import torch

from project import FIGURE, checkpoint_file, log_file, pathfinder, run_file, same_class_file
from tacit import checkpoints

pytestmark = pytest.mark.slow

RUN = run_file(path_length=3, coefficient=1)
DATASET = "results/data/pathfinder/*/seed~0/datasets/path_length~3/size~32/*/*.h5"


@pytest.fixture
def project(smoke, copy_of):
    return copy_of(smoke)


def dataset_of(project):
    (path,) = project.files(DATASET)
    return path


def log(project):
    return (project / log_file(RUN)).read_text(encoding="utf-8")


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def foreign(path):
    with h5py.File(path, "w") as file:
        file["x"] = [1, 2, 3]


DAMAGE = {
    "truncated": (truncate, "damaged, or not an HDF5 file of Tacit"),
    "empty": (lambda path: path.write_bytes(b""), "damaged, or not an HDF5 file of Tacit"),
    "foreign": (foreign, "an HDF5 file, but not one of Tacit's"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_input_is_named_and_made_again_once_deleted(project, smoke, damage):
    path = dataset_of(project)
    before = (project / path).stat()
    change, words = DAMAGE[damage]
    change(project / path)
    # As a disk damages a file: without a newer time.
    os.utime(project / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (project / RUN).unlink()
    call = project.call(RUN, "--cores", "1")
    assert call.code != 0
    assert words in call.output
    assert path in call.output
    assert "Traceback" not in call.output
    assert not (project / RUN).exists()
    (project / path).unlink()
    assert project.run(RUN).plan == pathfinder(assemble=1, train=1)
    assert (project / RUN).read_bytes() == (smoke / RUN).read_bytes()


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def hostile(path, project):
    path.write_bytes(pickle.dumps({"state": Trap(project / "executed")}))


def of_other_settings(path, project):
    checkpoints.save(path, {"epoch": 1}, settings={"seed": 99})


def older(path, project):
    torch.save({"format": 1, "settings": json.dumps({"seed": 99}), "state": {}}, path)


@pytest.mark.parametrize("damage", [hostile, of_other_settings, older], ids=lambda change: change.__name__)
def test_a_checkpoint_that_does_not_belong_is_refused_and_the_training_starts_anew(project, smoke, damage):
    checkpoint = project / checkpoint_file(RUN)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    damage(checkpoint, project)
    (project / RUN).unlink()
    assert project.run(RUN).plan == {"pathfinder_train": 1}
    assert "starting from the beginning: checkpoint" in log(project)
    assert not (project / "executed").exists()
    (aside,) = checkpoint.parent.iterdir()
    assert aside.name.startswith(f"{checkpoint.name}.{'of-' if damage is of_other_settings else 'damaged-1'}")
    assert (project / RUN).read_bytes() == (smoke / RUN).read_bytes()
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"pathfinder: [", b"", b"- 1\n- 2\n"], ids=["binary", "cut", "empty", "list"]
)
def test_a_corrupt_scale_file_is_named_before_any_job(project, content):
    file = project / "config/scales/smoke/pathfinder.yaml"
    before = file.read_bytes()
    file.write_bytes(content)
    call = project.call(FIGURE, "--cores", "1")
    assert call.code != 0
    assert "config/scales/smoke/pathfinder.yaml" in call.output
    assert "Traceback" not in call.output
    file.write_bytes(before)
    assert project.plan(FIGURE) == {}


def test_a_diverging_run_is_named_and_the_rest_goes_on(project, smoke):
    diverging = {"pathfinder": {"training": {"learning_rate": 1e30}}}
    other = same_class_file(distance=8, coefficient=0)
    (project / other).unlink()
    call = project.call(FIGURE, other, "--cores", "2", "--keep-going", **diverging)
    assert call.code != 0
    assert call.output.count("training diverged: the loss of step") >= 4
    assert "reduce learning_rate (now 1e+30)" in call.output
    assert (project / other).read_bytes() == (smoke / other).read_bytes()
    assert project.files("results/smoke/pathfinder/**/*.h5") == {}
    assert project.plan(FIGURE) == pathfinder(train=4, collect=1, plot=1)


def test_a_job_out_of_memory_says_so_and_the_next_call_repairs(project, smoke):
    """Maps of 275 GB for a batch, for which hardly a machine has room."""
    run = same_class_file(distance=8, coefficient=0)
    (project / run).unlink()
    large = {"canvas": {"height": 4096, "width": 4096}, "network": {"width": 512}, "training": {"batch_size": 8}}
    call = project.call(run, "--cores", "1", same_class=large)
    assert call.code != 0
    assert "Error: out of memory" in call.output
    assert "mem_mb" in call.output
    assert log_file(run) in call.output
    assert "allocate" in (project / log_file(run)).read_text(encoding="utf-8")
    assert not (project / run).exists()
    assert project.run(run).plan == {"same_class_train": 1}
    assert (project / run).read_bytes() == (smoke / run).read_bytes()


def test_a_second_call_in_the_same_folder_is_refused_and_the_first_goes_on(project):
    longer = {"pathfinder": {"training": {"epochs": 3000, "perfect_epochs": 3000}}}
    checkpoint = project / checkpoint_file(RUN)
    with project.started(RUN, **longer) as first:
        first.wait_until(checkpoint.exists, what="checkpoint")
        second = project.call(RUN, "--cores", "1", **longer)
        assert second.code != 0
        assert "locked" in second.output.lower()
        before = checkpoint.stat().st_mtime_ns
        first.wait_until(lambda: checkpoint.stat().st_mtime_ns > before, what="progress")


def test_killing_snakemake_alone_leaves_its_training_and_the_next_call_ends_in_the_same_bytes(project, copy_of, smoke):
    longer = {"pathfinder": {"training": {"epochs": 60, "perfect_epochs": 60}}}
    undisturbed = copy_of(smoke)
    undisturbed.run(RUN, **longer)
    with project.started(RUN, **longer) as workflow:
        workflow.wait_until((project / checkpoint_file(RUN)).exists, what="checkpoint")
        orphan = workflow.job("pathfinder_train.py")
        workflow.kill_snakemake_alone()
        assert orphan.is_running()
        assert project.call("--unlock", **longer).code == 0
        # Both work on the same run now.
        assert project.run(RUN, **longer).plan == {"pathfinder_train": 1}
        orphan.wait(120)
    assert (project / RUN).read_bytes() == (undisturbed / RUN).read_bytes()
    assert project.plan(RUN, **longer) == {}


def test_a_clock_that_was_set_back_costs_nothing_twice(project):
    """Results of an hour that has not come yet: at most what follows is made again, once, and to the same bytes."""
    results = ("results/**/*.h5", "results/**/*.csv", "figures/*")
    before = project.files(*results)
    ahead = time.time() + 3600
    for path in project.files("results/data/**/*.h5"):
        os.utime(project / path, (ahead, ahead))
    project.run()
    assert project.files(*results) == before
    assert project.plan() == {}


@pytest.mark.parametrize("cores", [1, 8])
def test_any_number_of_cores_gives_the_same_bytes(smoke, copy_of, cores):
    project = copy_of(smoke, results=False)
    runs = [run_file(path_length=length, coefficient=1) for length in (2, 3)]
    project.run(*runs, cores=cores)
    expected = smoke.files(*runs)
    assert len(expected) == 2
    assert project.files(*runs) == expected
