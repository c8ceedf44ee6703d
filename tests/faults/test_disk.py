"""Disks that are full or may not be written to: a message, nothing half written, and the next call repairs."""

import contextlib
import os
import shutil
import subprocess

import pytest

from project import FIGURE, checkpoint_file, log_file, pathfinder, run_file

pytestmark = pytest.mark.slow

RUN = run_file(path_length=3, coefficient=1)
LONGER = {"pathfinder": {"training": {"epochs": 6}}}
OTHER_DATA = {"pathfinder": {"dataset": {"seed": 7}}}
DATASET_FOLDER = "results/data/pathfinder"


@contextlib.contextmanager
def mounted(folder, options):
    """Have a file system of its own in `folder`, with what was there before."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    before = folder.with_name(f"{folder.name} before")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(before)
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    after = folder.with_name(f"{folder.name} after")
    try:
        shutil.copytree(before, folder, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        yield
    finally:
        try:
            shutil.copytree(folder, after)
        finally:
            subprocess.run(["umount", folder], check=True)
        folder.rmdir()
        after.rename(folder)
        shutil.rmtree(before)


def size_of(folder):
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def project(smoke, copy_of):
    return copy_of(smoke)


def hidden_parts(project):
    return [path for path in project.folder.rglob(".*.part") if ".snakemake" not in path.parts]


def test_a_disk_full_while_a_dataset_is_written(project):
    folder = project / DATASET_FOLDER
    with mounted(folder, f"size={size_of(folder) // 1024 + 60}k"):
        call = project.call(FIGURE, "--cores", "1", **OTHER_DATA)
        assert call.code != 0
        assert "no space left on the disk; free some and run the same command again" in call.output
        assert "results/data/pathfinder" in call.output
        assert hidden_parts(project) == []
        broken = project.files("results/data/pathfinder/*/seed~7/**/*.h5")
    project.run(FIGURE, **OTHER_DATA)
    whole = project.files("results/data/pathfinder/*/seed~7/**/*.h5")
    assert {path: whole[path] for path in broken} == broken, "what was there was whole"
    assert project.plan(FIGURE, **OTHER_DATA) == {}


def test_a_disk_full_while_a_checkpoint_is_written(project, copy_of, smoke):
    undisturbed = copy_of(smoke)
    undisturbed.run(RUN, **LONGER)
    folder = project / "results/.checkpoints"
    with mounted(folder, "size=16k"):
        call = project.call(RUN, "--cores", "1", **LONGER)
        assert call.code != 0
        assert "no space left on the disk" in call.output, call.output
        assert checkpoint_file(RUN) in call.output
        assert hidden_parts(project) == []
        assert not (project / RUN).exists()
    assert project.run(RUN, **LONGER).plan == {"pathfinder_train": 1}
    assert (project / RUN).read_bytes() == (undisturbed / RUN).read_bytes()


def test_a_disk_full_while_a_run_is_written(project, smoke):
    folder = (project / RUN).parent
    (project / RUN).unlink()
    with mounted(folder, "size=4k"):
        call = project.call(RUN, "--cores", "1")
        assert call.code != 0
        assert f"{RUN}: no space left on the disk" in call.output, call.output
        assert not (project / RUN).exists()
        assert hidden_parts(project) == []
        assert (project / checkpoint_file(RUN)).exists(), "the training is not lost"
    assert project.run(RUN).plan == {"pathfinder_train": 1}
    assert (project / RUN).read_bytes() == (smoke / RUN).read_bytes()


def test_a_disk_full_while_a_figure_is_saved(project, smoke):
    folder = project / "figures"
    (project / FIGURE).unlink()
    with mounted(folder, f"size={size_of(folder) // 1024 + 8}k"):
        call = project.call(FIGURE, "--cores", "1")
        assert call.code != 0
        assert f"{FIGURE}: no space left on the disk" in call.output, call.output
        assert not (project / FIGURE).exists()
        assert hidden_parts(project) == []
    assert project.run(FIGURE).plan == pathfinder(plot=1)
    assert (project / FIGURE).read_bytes() == (smoke / FIGURE).read_bytes()


def fill(folder):
    """Take all room that there is in a folder."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
        file.write(bytes(64 << 20))


def test_a_full_disk_under_the_logs_loses_no_result(project, smoke):
    """The terminal says so, and the job goes on."""
    folder = project / "logs"
    (project / RUN).unlink()
    (project / log_file(RUN)).unlink()
    with mounted(folder, f"size={size_of(folder) // 1024}k"):
        fill(folder)
        call = project.call(RUN, "--cores", "1")
        assert call.code == 0, call.output
        assert "the log could not be written" in call.output
    assert (project / RUN).read_bytes() == (smoke / RUN).read_bytes()
    assert not (project / checkpoint_file(RUN)).exists()
    assert project.plan(RUN) == {}


def test_a_results_folder_that_may_not_be_written_to(project, smoke):
    (project / RUN).unlink()
    with mounted(project / "results", "ro"):
        call = project.call(RUN, "--cores", "1")
        assert call.code != 0
        assert "Read-only file system" in call.output
        assert "results" in call.output
        assert not (project / RUN).exists()
    assert project.run(RUN).plan == {"pathfinder_train": 1}
    assert (project / RUN).read_bytes() == (smoke / RUN).read_bytes()
    assert (project / log_file(RUN)).exists()
