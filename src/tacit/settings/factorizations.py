"""Settings of matrix and tensor factorizations: what is to be recovered, the model, and its descent.

Shared by the studies that recover a matrix or a tensor from few of its entries or from linear measurements.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_serializer, field_validator, model_validator

from tacit.paths import Axes
from tacit.settings import early_stopping
from tacit.settings.base import (
    Count,
    Digest,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seed,
    Settings,
    check_memory,
    check_unused,
    digest,
)
from tacit.settings.following import Entries, Followed, Tracks, check_entries, check_kept, check_test
from tacit.settings.mode_trees import (
    MOST_CHANNELS,
    ModeTree,
    Pattern,
    check_widths,
    count_parameters,
    level_widths,
    mode_tree,
)

TaskName = Literal["completion", "sensing"]
"""Observed entries, or products with random measurements (Gaussian matrices; tensors of rank one)."""

FactorizationName = Literal["matrix", "tensor", "hierarchical"]

OBSERVED = Axes(factorization=FactorizationName, problem=Digest, task=TaskName)
"""What tells files of a target and its observations from each other."""

Mean = Annotated[float, Field(ge=-100, le=100)]
Std = Annotated[float, Field(ge=1e-3, le=100)]
"""Standard deviation of normal numbers that are multiplied; at high order a smaller or larger one leaves the range of
numbers."""

Norm = Annotated[float, Field(ge=1e-6, le=1e6)]
Size = Annotated[int, Field(ge=1, le=10**6)]
Width = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=30)]
Depth = Annotated[int, Field(ge=1, le=100)]
PoolSize = Annotated[int, Field(ge=1, le=100)]
PoolSizes = PoolSize | Annotated[tuple[PoolSize, ...], Field(min_length=1, max_length=30)]
"""Of all levels of a mode tree, or one for each, from the leaves up."""

Tracked = Annotated[int, Field(ge=1, le=1000)]
MOST_EVALUATIONS = 10**7


class Problem(Settings):
    """What is to be recovered, and from how many observations. The defaults are the published values."""

    seed: Seed = 0
    """Seed of target and observations."""
    shape: Annotated[tuple[Size, ...], Field(min_length=2, max_length=20)]
    norm: Norm | Literal["sqrt_entries", "as_drawn"] = 64.0
    """Frobenius norm the target is scaled to: a number, the root of the number of entries, or as it was drawn."""
    num_samples: Count = 4096
    """Observations in the file; distinct entries in completion."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_memory(self.num_entries, each=16, what=f"a target of {' x '.join(map(str, self.shape))} entries")
        return self

    @property
    def num_entries(self) -> int:
        """Number of entries of the target."""
        return math.prod(self.shape)

    @property
    def identity(self) -> str:
        """A short name of exactly these values, for file names."""
        return digest([type(self).__name__, self.plain()])


class MatrixProblem(Problem):
    """A matrix of low rank, U V^T with standard normal factors."""

    shape: tuple[Size, Size]
    rank: Count = 5
    symmetric: bool = False
    """Take V = U."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        check_matrix(self.rank, self.shape, symmetric=self.symmetric)
        return self


class CPProblem(Problem):
    """A tensor of low CP rank, a sum of products of normal vectors; of full rank, one of normal entries."""

    rank: Count | Literal["full"] = 5
    factor_mean: Mean = 0.0
    factor_std: Std = 1.0

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.rank == "full":
            check_unused(self, "factor_mean", "factor_std", why="means nothing with rank: full, which has no factors")
            return self
        check_memory(self.num_entries * self.rank, each=16, what=f"a target of {self.rank} components")
        return self


class HierarchicalProblem(Problem):
    """A tensor of low hierarchical rank: a hierarchical factorization with normal parameters."""

    ranks: Widths | Width = 5
    """Widths of the target's hidden levels, from the leaves up, or one for all; written down as a list."""
    pool_size: PoolSizes = 2
    pattern: Pattern = "checkerboard"
    factor_mean: Mean = 0.0
    factor_std: Std = 1.0

    @model_validator(mode="after")
    def _tree_fits(self) -> Self:
        check_widths(self.tree, self.widths, name="ranks", shape=self.shape)
        return self

    @field_serializer("ranks")
    def _ranks_by_level(self, ranks: Any) -> list[int]:
        return list(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """The rank of each level."""
        return level_widths(self.ranks, self.tree, self.shape)

    @property
    def rank(self) -> int:
        """Number of components at the root."""
        return self.widths[-1]

    @property
    def tree(self) -> ModeTree:
        """The mode tree of the target."""
        return mode_tree(len(self.shape), self.pool_size, self.pattern)


AnyProblem = MatrixProblem | CPProblem | HierarchicalProblem


class MatrixModel(Settings):
    """A product of `depth` matrices, all inner sizes the smaller side."""

    depth: Depth = 3
    initialization: Literal["normal", "identity"] = "normal"
    init_std: Positive = 1e-3
    """Standard deviation of the entries of each factor; with `identity` their diagonal."""


class CPModel(Settings):
    """A sum of `components` tensors of rank one."""

    components: Count | Literal["max"] = "max"
    """`max`: the product of all mode sizes but the largest, enough for any tensor."""
    initialization: Literal["normal", "orthogonal"] = "normal"
    """`orthogonal`: one component an entry of the tensor, of unit vectors times init_std."""
    init_mean: Mean = 0.0
    init_std: Positive = 1e-3
    linear_output: bool = False
    """Give each component a trained weight."""


class HierarchicalModel(Settings):
    """A hierarchical tensor factorization."""

    widths: Widths | Width | Literal["max"] = 512
    """Channels of the hidden levels, from the leaves up, or one number for all; written down as a list. `max`: at every
    level the product of all mode sizes but the largest, enough for any tensor."""
    pool_size: PoolSizes = 2
    pattern: Pattern = "checkerboard"
    init_mean: Mean = 0.0
    init_std: Positive = 1e-2
    linear_output: bool = True
    """Give each component of the root a trained weight; without it they are summed as they are."""

    later: ClassVar[tuple[str, ...]] = ("linear_output",)


class EarlyStopping(early_stopping.EarlyStopping):
    """When a descent ends that gets no better; a look is an evaluation."""

    by: Literal["train_loss", "train_mse", "test_mse", "reconstruction_error"] = "reconstruction_error"


class Descent(Settings):
    """How a factorization is fitted. With full batches an epoch is one iteration."""

    num_observations: Count = 2048
    """Observations that are fitted, the first of the file."""
    loss: Literal["l2", "l1", "huber"] = "l2"
    """Mean over the observations of: the square, the absolute value, or the Huber loss of the residual."""
    huber_threshold: Positive = 1.0
    optimizer: Literal["group_rmsprop", "sgd"] = "group_rmsprop"
    learning_rate: Positive = 1e-2
    decay: Fraction = 0.99
    """Decay of the running mean squared norm of the gradient (group RMSprop)."""
    epsilon: Positive = 1e-6
    """Added to its root."""
    momentum: Fraction = 0.0
    """Momentum of SGD."""
    weight_decay: NonNegative = 0.0
    batch_size: NonNegativeInt = 0
    """0 means all observations at once."""
    epochs: Count = 500_000
    """The most epochs that are run."""
    evaluate_every: Count = 25
    """Epochs between evaluations."""
    tolerance: Positive = 5e-5
    """A mean squared error on the fitted observations below this counts as fitted."""
    patience: NonNegativeInt = 100
    """The descent ends once more than this many evaluations in a row found it fitted."""
    precision: Literal["float32", "float64"] = "float32"
    early_stopping: EarlyStopping | None = None
    """What ends it besides."""

    later: ClassVar[tuple[str, ...]] = ("early_stopping",)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.optimizer == "sgd":
            check_unused(self, "decay", "epsilon", why="is for the optimizer group_rmsprop; sgd has none")
        else:
            check_unused(self, "momentum", why=f"is for the optimizer sgd; {self.optimizer} has none")
        if self.loss != "huber":
            check_unused(self, "huber_threshold", why=f"is for the loss huber; {self.loss} has none")
        check_evaluations(self.epochs, self.evaluate_every)
        if self.early_stopping is not None:
            self.early_stopping.check(self.epochs)
        return self


class MatrixExperiment(Followed):
    """One problem of matrix recovery, the factorization, and its descent."""

    problem: MatrixProblem
    model: MatrixModel
    descent: Descent
    num_tracked: Tracked = 10
    """Singular values that are written down, of the end matrix and of each layer."""
    track: Tracks = ()
    """What is written down of the layers; nothing if it is empty."""
    entries: Entries = ()
    """Which entries of the end matrix are written down, and of the layers if `track` says so."""

    later: ClassVar[tuple[str, ...]] = (*Followed.later, "track", "entries")

    @model_validator(mode="after")
    def _can_be_followed(self) -> Self:
        check_kept(self.keep, self.num_parameters, self.descent)
        check_entries(self.entries, self.track, self.layers, self.descent)
        if "balancedness" in self.track and self.model.depth < 2:
            raise ValueError("track: balancedness is of neighbouring layers, and a depth of 1 has none")
        return self

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Rows and columns of each layer."""
        rows, columns = self.problem.shape
        sizes = [rows, *[min(rows, columns)] * (self.model.depth - 1), columns]
        return list(itertools.pairwise(sizes))

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return sum(rows * columns for rows, columns in self.layers)


class CPExperiment(Followed):
    """One problem of tensor recovery, the CP factorization, and its descent."""

    problem: CPProblem
    model: CPModel
    descent: Descent
    num_tracked: Tracked = 10
    """Components whose norms are written down."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.problem.rank == "full":
            raise ValueError(
                "rank: full is for targets of the study norms; here it is asked which components are learned"
            )
        if self.model.initialization == "orthogonal" and self.components != self.problem.num_entries:
            entries = self.problem.num_entries
            raise ValueError(f"the orthogonal initialisation has one component an entry: components = {entries}")
        numbers = self.components * max(self.problem.num_entries // max(self.problem.shape), sum(self.problem.shape))
        check_memory(numbers, each=8, what=f"a factorization of {self.components:,} components")
        check_kept(self.keep, self.num_parameters, self.descent)
        return self

    @property
    def components(self) -> int:
        """Number of components of the model."""
        if self.model.components == "max":
            return self.problem.num_entries // max(self.problem.shape)
        return self.model.components

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return self.components * (sum(self.problem.shape) + self.model.linear_output)


class HierarchicalExperiment(Followed):
    """One problem of tensor recovery, the hierarchical factorization, and its descent."""

    problem: HierarchicalProblem
    model: HierarchicalModel
    descent: Descent
    num_tracked: Tracked = 15
    """Components of each node, and singular values of each matricization, that are written down."""
    matricizations: Annotated[
        tuple[Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)], ...], Field(max_length=100)
    ] = ()
    """Sets of modes, from 1, whose matricizations are followed besides those of the tree, such as [1, 3]."""

    @model_validator(mode="after")
    def _tree_fits(self) -> Self:
        check_widths(self.tree, self.widths, name="widths", shape=self.problem.shape)
        check_kept(self.keep, self.num_parameters, self.descent)
        return self

    @field_serializer("model", mode="wrap")
    def _widths_by_level(self, model: HierarchicalModel, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return handler(model) | {"widths": list(self.widths)}

    @field_validator("matricizations")
    @classmethod
    def _modes_are_distinct(cls, values: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if any(len(set(modes)) < len(modes) for modes in values):
            raise ValueError("a set of modes names each mode once")
        return values

    @model_validator(mode="after")
    def _modes_exist(self) -> Self:
        order = len(self.problem.shape)
        for modes in self.matricizations:
            if max(modes) > order or len(modes) == order:
                raise ValueError(f"matricizations: {list(modes)} is no set of some, but not all, of modes 1 to {order}")
        return self

    @property
    def tree(self) -> ModeTree:
        """The mode tree of the model."""
        return mode_tree(len(self.problem.shape), self.model.pool_size, self.model.pattern)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level of the model."""
        return level_widths(self.model.widths, self.tree, self.problem.shape)

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        output = self.widths[-1] if self.model.linear_output else 0
        return count_parameters(self.tree, self.widths, self.problem.shape) + output


Experiment = MatrixExperiment | CPExperiment | HierarchicalExperiment


def check_matrix(rank: int, shape: tuple[int, int], *, symmetric: bool) -> None:
    """Raise ValueError if a matrix of this shape cannot have the rank, or cannot be symmetric."""
    if symmetric and shape[0] != shape[1]:
        raise ValueError(f"a symmetric matrix is square, not {shape[0]} x {shape[1]}")
    if rank > min(shape):
        raise ValueError(f"rank = {rank}: a matrix of {shape[0]} x {shape[1]} has at most {min(shape)}")


def check_evaluations(epochs: int, evaluate_every: int) -> None:
    """Raise ValueError if a descent is evaluated so often that its history would fill the memory."""
    if epochs // evaluate_every > MOST_EVALUATIONS:
        raise ValueError(
            f"{epochs:,} epochs with evaluate_every = {evaluate_every} have more than {MOST_EVALUATIONS:,} "
            "evaluations, all of which are kept; evaluate less often"
        )


def check_samples(experiment: Experiment, task: TaskName) -> None:
    """Raise ValueError if more observations are asked for than there are."""
    problem, wanted = experiment.problem, experiment.descent.num_observations
    if task == "completion" and problem.num_samples > problem.num_entries:
        shape = " x ".join(map(str, problem.shape))
        raise ValueError(f"num_samples = {problem.num_samples}: a target of {shape} has {problem.num_entries} entries")
    rule, first = experiment.descent.early_stopping, experiment.first_tested(wanted, problem.num_samples)
    if rule is not None and rule.by == "test_mse" and first >= problem.num_samples:
        raise ValueError(
            "early_stopping.by = test_mse: there is no test set; lower num_observations, or raise num_test"
        )
    if wanted > problem.num_samples:
        raise ValueError(
            f"num_observations = {wanted}: more than the {problem.num_samples} observations of num_samples"
        )
    check_test(experiment.num_test, wanted, problem.num_samples)
    check_measurements(task, problem.num_samples, problem.shape)


def check_measurements(task: str, num_samples: int, shape: tuple[int, ...]) -> None:
    """Raise ValueError if the measurements would fill the memory."""
    numbers = {"completion": 1, "sensing": math.prod(shape) if len(shape) == 2 else sum(shape)}[task]
    check_memory(num_samples * numbers, each=16, what=f"num_samples = {num_samples:,}: the measurements")
