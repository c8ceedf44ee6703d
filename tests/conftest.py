"""One run of the whole smoke scale, shared by all tests of the workflow; those that change something have a copy."""

import os
import shutil

import filelock
import pytest

from project import Project
from tacit import processors

# Before NumPy or PyTorch are imported: tests compute as jobs do, the same on every processor, and leave the other
# processors to the tests beside them.
processors.hold()
os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST_WORKERS = 4
"""Each may run a workflow of its own, and want some GB of memory."""

FOLDER = "tacit prüfung"
"""With a blank and a letter beyond ASCII, as such folders exist."""


def pytest_xdist_auto_num_workers():
    """What `pytest -n auto` means here: one more than there are processors, as tests of Slurm mostly wait for it."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0))) + 1


def pytest_collection_modifyitems(items):
    """Begin with the longest file, that of Slurm, so that its worker does not end long after the others."""
    items.sort(key=lambda item: "slurm" not in item.path.parts)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A project in which nothing has been run. Tests leave it that way."""
    return Project.new(tmp_path_factory.mktemp(FOLDER))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id):
    """A project after one run of the smoke scale, one for all workers. Tests leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    project = Project(shared / f"{FOLDER} smoke")
    with filelock.FileLock(shared / "smoke.lock"):
        if not (shared / "smoke.done").exists():
            shutil.rmtree(project.folder, ignore_errors=True)
            Project.new(project.folder).run(timeout=1000)
            (shared / "smoke.done").touch()
    return project


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory):
    """Copies a project to a folder of its own."""

    def copy(project, **options):
        return project.copy(tmp_path_factory.mktemp(FOLDER), **options)

    return copy


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    """A copy of the project after its run of the smoke scale, for one module; its tests undo what they change."""
    return copy_of(smoke)
