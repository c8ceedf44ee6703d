"""One run of the whole smoke scale, shared by all tests of the workflow; those that change something have a copy."""

import pytest

from project import Project
from tacit import processors

# Before NumPy or PyTorch are imported: tests compute as jobs do, the same on every processor.
processors.hold()

FOLDER = "tacit prüfung"
"""With a blank and a letter beyond ASCII, as such folders exist."""


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A project in which nothing has been run. Tests leave it that way."""
    return Project.new(tmp_path_factory.mktemp(FOLDER))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A project after one run of the smoke scale. Tests leave it as it is."""
    project = Project.new(tmp_path_factory.mktemp(FOLDER))
    project.run()
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
