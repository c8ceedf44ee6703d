"""A Slurm of our own, and projects that run on it through the profile as users do."""

import os
from pathlib import Path

import pytest

from cluster import Cluster, Unavailable
from project import Project

REQUIRED = "TACIT_REQUIRE_SLURM"
"""Environment variable: without a Slurm, tests fail rather than being skipped."""


@pytest.fixture(scope="session")
def cluster():
    try:
        with Cluster() as started:
            yield started
    except Unavailable as reason:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, but there can be no Slurm here: {reason}")
        pytest.skip(f"no Slurm here: {reason}")


class ClusterProject(Project):
    """A project whose jobs go to the cluster."""

    snakemake = (str(Path(__file__).with_name("soon.py")),)

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.cluster = cluster

    @property
    def environment(self):
        return super().environment | self.cluster.environment

    def command(self, *arguments, **settings):
        return super().command("--profile", "profiles/slurm", *arguments, **settings)

    def run(self, *arguments, **settings):
        call = self.call(*arguments, **settings)
        assert call.code == 0, call.output
        return call

    def started(self, *arguments, **settings):
        return super().started(*arguments, cores=None, **settings)

    def jobs(self, name=""):
        """What Slurm knows of jobs of this project, for a rule or group of this name."""
        return self.cluster.of(self, name)


@pytest.fixture(autouse=True)
def nothing_left(cluster):
    """Jobs that a failed test left would keep those of the next waiting."""
    yield
    for job in cluster.unfinished():
        cluster.cancel(job)


@pytest.fixture(scope="session")
def on(cluster):
    """Have a project run on the cluster."""
    return lambda project: ClusterProject(project.folder, cluster)
