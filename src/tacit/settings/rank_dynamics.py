"""Settings of the rank dynamics study (Razin, Maman, Cohen 2022, sections 3 to 5)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import Distinct, Seeds, Settings
from tacit.settings.factorizations import (
    CPExperiment,
    Experiment,
    FactorizationName,
    HierarchicalExperiment,
    MatrixExperiment,
    TaskName,
    check_samples,
)

RUN = Axes(factorization=FactorizationName, task=TaskName, seed=int)
"""What tells files from each other."""

FACTORIZATIONS: tuple[FactorizationName, ...] = ("matrix", "tensor", "hierarchical")


class RankDynamicsSettings(Settings):
    """The whole study: a run for each factorization, task and seed."""

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1), Distinct]
    seeds: Seeds
    """Number of runs of each setting; they differ in initialisation, not in target and observations."""
    matrix: MatrixExperiment
    tensor: CPExperiment
    hierarchical: HierarchicalExperiment

    @model_validator(mode="after")
    def _observations_exist(self) -> Self:
        for factorization in FACTORIZATIONS:
            for task in self.tasks:
                try:
                    check_samples(self.experiment(factorization), task)
                except ValueError as error:
                    raise ValueError(f"{factorization}: {error}") from None
        return self

    def experiment(self, factorization: FactorizationName) -> Experiment:
        """Return the settings of one factorization."""
        return getattr(self, factorization)
