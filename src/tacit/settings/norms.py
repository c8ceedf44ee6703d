"""Settings of the norms study (Razin, Cohen 2020): deep matrix factorization and tensor completion."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Count,
    Digest,
    Distinct,
    Moderate,
    NonNegativeInt,
    Positive,
    Seeds,
    Settings,
    Some,
    check_runs,
    check_unused,
)
from tacit.settings.factorizations import (
    CPProblem,
    Depth,
    Descent,
    check_evaluations,
)
from tacit.settings.observed_matrices import ObservedMatrix, check_block

MATRIX = Axes(problem=str, depth=int, learning_rate=Positive, init_scale=Positive, balanced=bool, seed=int)
TENSOR = Axes(problem=Digest, num_observations=int, init_std=Positive, seed=int)
LINEAR = Axes(problem=Digest, num_observations=int)
TARGET = Axes(problem=Digest)
"""What tells files from each other; a matrix has the name of its problem, a tensor the digest."""


Keep = Literal["none", "last epoch"]
"""Of which epochs factors are written down."""


class Variant(Settings):
    """One setting of a deep matrix factorization."""

    depth: Depth
    learning_rate: Positive
    init_scale: Positive
    balanced: bool
    """Start from factors of equal singular values instead of independent ones."""


class MatrixDescent(Settings):
    """What all variants have in common. The defaults are the published values."""

    initialization: Literal["normal", "identity"] = "normal"
    scale_of: Literal["product", "layer"] = "product"
    """What `init_scale` is the standard deviation of: entries of the product, or of each layer."""
    determinant: Literal["as_observed", "positive", "negative", "any"] = "as_observed"
    """Sign of the determinant at the start, which is drawn anew until it has it; `as_observed`: that of z z'."""
    epochs: Count = 5_000_000
    evaluate_every: Count = 50
    tolerance: Positive = 1e-4
    """Half the sum of squared residuals below this counts as fitted."""
    patience: NonNegativeInt = 10
    precision: Literal["float32", "float64"] = "float32"
    schatten: Annotated[tuple[Annotated[float, Field(ge=0.05, le=2)], ...], Field(max_length=20)] = (0.5,)
    """p of the Schatten (quasi-)norms that are written down besides 1 and 2."""
    keep: Keep = "none"
    """Whether the factors at the end are written down."""

    later: ClassVar[tuple[str, ...]] = ("keep",)

    @field_validator("schatten")
    @classmethod
    def _have_names(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{value:g}" for value in values}) < len(values):
            raise ValueError("each value may be given once, and they differ in their first six digits")
        return values

    @model_validator(mode="after")
    def _history_fits(self) -> Self:
        check_evaluations(self.epochs, self.evaluate_every)
        return self


class MatrixRun(NamedTuple):
    """What tells one run of a deep matrix factorization from the others."""

    problem: ObservedMatrix
    variant: Variant
    seed: int


class Variants(Settings):
    """Settings, and how many seeds of each."""

    variants: Annotated[tuple[Variant, ...], Some]
    seeds: Seeds

    @field_validator("variants")
    @classmethod
    def _are_distinct(cls, values: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if any(value in values[:place] for place, value in enumerate(values)):
            raise ValueError("each variant may be given once")
        return values

    @property
    def problems(self) -> list[ObservedMatrix]:
        """The published problem: no solution has both the least norm and the least rank."""
        return [ObservedMatrix()]

    @property
    def runs(self) -> list[MatrixRun]:
        """Every variant with every seed, for every problem."""
        return [
            MatrixRun(problem, variant, seed)
            for problem in self.problems
            for variant in self.variants
            for seed in range(self.seeds)
        ]


class Perturbed(Variants):
    """The block [[?, z], [z', eps]] for several eps."""

    observed: tuple[Moderate, Moderate]
    """z and z'"""
    epsilons: Annotated[tuple[Moderate, ...], Some, Distinct]

    @model_validator(mode="after")
    def _exist(self) -> Self:
        for epsilon in self.epsilons:
            check_block((*self.observed, epsilon))
        return self

    @property
    def problems(self) -> list[ObservedMatrix]:
        """A problem for each eps."""
        return [ObservedMatrix(observed=(*self.observed, epsilon)) for epsilon in self.epsilons]


class Further(Variants):
    """Any other problem."""

    problem: ObservedMatrix

    @property
    def problems(self) -> list[ObservedMatrix]:
        """That problem alone."""
        return [self.problem]


class MatrixNorms(Settings):
    """Deep matrix factorization."""

    descent: MatrixDescent
    published: Variants
    perturbed: Perturbed
    further: Annotated[tuple[Further, ...], Field(max_length=100)] = ()
    """Problems of one's own, which end up in tables and in no figure."""

    @property
    def problems(self) -> list[ObservedMatrix]:
        """All problems."""
        return [problem for block in (self.published, self.perturbed, *self.further) for problem in block.problems]

    @property
    def further_runs(self) -> list[MatrixRun]:
        """All runs of problems of one's own."""
        return [run for block in self.further for run in block.runs]

    @model_validator(mode="after")
    def _starts_exist(self) -> Self:
        check_runs(
            sum(
                len(block.problems) * len(block.variants) * block.seeds
                for block in (self.published, self.perturbed, *self.further)
            )
        )
        runs = self.further_runs
        if len(set(runs)) < len(runs):
            raise ValueError("further asks for the same run twice: blocks of one problem need different variants")
        for problem in self.problems:
            sign = determinant_sign(problem, self.descent)
            if sign != 0 and problem.shape[0] != problem.shape[1]:
                raise ValueError("only square matrices have a determinant; set determinant: any")
            if sign < 0 and self.descent.initialization == "identity":
                raise ValueError("no multiple of the identity has the negative determinant asked for")
        return self


def determinant_sign(problem: ObservedMatrix, descent: MatrixDescent) -> int:
    """Return the sign (1, -1) that the determinant of the start is to have, 0 if any."""
    if descent.determinant == "as_observed":
        # Of fewer observations than all of a block theory says nothing.
        if problem.task != "block" or problem.num_observations is not None:
            return 0
        product = problem.observed[0] * problem.observed[1]
        return (product > 0) - (product < 0)
    return {"positive": 1, "negative": -1, "any": 0}[descent.determinant]


class Ranks(Settings):
    """How tensor rank is estimated: the least rank that alternating least squares fits the tensor with."""

    tolerance: Positive = 1e-6
    """A mean squared error over all entries below this counts as fitted."""
    sweeps: Annotated[int, Field(ge=1, le=10**6)] = 1000
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    """Random starts of each rank; it counts as fitted if one of them fits."""
    ends: bool = True
    """Whether the rank of targets, end tensors and linear completions is estimated."""
    every: NonNegativeInt = 0
    """At every so many evaluations of a descent the rank of its end tensor is estimated too; 0: at none."""

    later: ClassVar[tuple[str, ...]] = ("ends", "every")


class TensorGrid(Settings):
    """Tensors of one order, numbers of observations, and scales of initialisation."""

    problem: CPProblem
    num_observations: Annotated[tuple[Count, ...], Some, Distinct]
    init_stds: Annotated[tuple[Positive, ...], Some, Distinct]
    seeds: Seeds

    @model_validator(mode="after")
    def _observations_exist(self) -> Self:
        entries = self.problem.num_entries
        if self.problem.num_samples != entries:
            raise ValueError(f"num_samples must be all {entries} entries, of which the first are observed")
        if max(self.num_observations) >= entries:
            raise ValueError(
                f"num_observations = {max(self.num_observations)}: must leave one of {entries} entries unobserved"
            )
        return self


class TensorRun(Settings):
    """What a completion by a factorization depends on besides its problem, observations, start and seed."""

    descent: Descent
    ranks: Ranks
    keep: Keep = "none"

    later: ClassVar[tuple[str, ...]] = ("keep",)


class TensorNorms(Settings):
    """Tensor completion by CP factorizations of full width."""

    descent: Descent
    """Its num_observations are those of the grid."""
    ranks: Ranks
    keep: Keep = "none"
    """Whether end tensor and factors at the end are written down."""
    grids: Annotated[tuple[TensorGrid, ...], Some]

    later: ClassVar[tuple[str, ...]] = ("keep",)

    @field_validator("descent")
    @classmethod
    def _observations_are_of_the_grid(cls, descent: Descent) -> Descent:
        check_unused(descent, "num_observations", why="means nothing here, as each grid has its own")
        if descent.early_stopping is not None and descent.early_stopping.by == "test_mse":
            raise ValueError("early_stopping.by = test_mse: there is no test set; take reconstruction_error")
        return descent

    @field_validator("grids")
    @classmethod
    def _are_distinct(cls, grids: tuple[TensorGrid, ...]) -> tuple[TensorGrid, ...]:
        if len({(grid.problem.shape, grid.problem.rank) for grid in grids}) < len(grids):
            raise ValueError("two grids have the same shape and rank, which tables and figures tell them apart by")
        check_runs(sum(len(grid.num_observations) * len(grid.init_stds) * grid.seeds for grid in grids))
        return grids

    @model_validator(mode="after")
    def _ranks_are_met(self) -> Self:
        evaluations = -(-self.descent.epochs // self.descent.evaluate_every)
        if self.ranks.every > evaluations:
            raise ValueError(
                f"ranks.every = {self.ranks.every}: a descent of {self.descent.epochs:,} epochs with evaluate_every = "
                f"{self.descent.evaluate_every} has {evaluations:,} evaluations"
            )
        return self

    @property
    def run(self) -> TensorRun:
        """What a completion by a factorization depends on."""
        return TensorRun(descent=self.descent, ranks=self.ranks, keep=self.keep)

    @property
    def ranks_of_ends(self) -> Ranks:
        """What estimated ranks depend on where there is no descent: those of targets and linear completions."""
        return self.ranks.model_copy(update={"every": 0})


class NormsSettings(Settings):
    """The whole study."""

    matrix: MatrixNorms
    tensor: TensorNorms
