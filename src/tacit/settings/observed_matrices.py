"""Settings of a matrix that a deep factorization is to find, and of what is observed of it (Razin, Cohen 2020)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tacit.settings.base import Count, Folder, Moderate, Seed, Settings, check_unused, digest
from tacit.settings.factorizations import Norm, check_matrix, check_measurements

Side = Annotated[int, Field(ge=1, le=64)]
"""Side of a matrix that is fitted in one compiled loop, which keeps room for 20,000 of them."""


def _check_array_file(path: str) -> str:
    if not path.endswith(".npy"):
        raise ValueError("must be the name of a NumPy file (.npy), as numpy.save writes one array")
    return path


ArrayFile = Annotated[Folder, AfterValidator(_check_array_file)]
"""The name of a file with an array of a user's own, relative to where Snakemake runs."""

Row = Annotated[tuple[Moderate, ...], Field(min_length=1, max_length=64)]

OF_BLOCK = ("observed", "num_observations")
OF_RANDOM_TARGETS = ("rank", "symmetric", "norm")
OF_TASKS = {"completion": ("entries",), "sensing": ("sensing_std", "sensing_file")}
OF_OTHERS = ("seed", *OF_RANDOM_TARGETS, "num_samples", "target", "target_file", *OF_TASKS["completion"])
"""Settings that mean nothing elsewhere."""


class ObservedMatrix(Settings):
    """Which matrix is to be found, and what is observed of it."""

    task: Literal["block", "completion", "sensing"] = "block"
    """`block`: all entries but the first of [[?, z], [z', eps]], which is set into an identity if the matrix is larger.
    The others: a random matrix of low rank, or one's own, of which entries or products with matrices, Gaussian ones or
    one's own, are observed."""
    shape: tuple[Side, Side] = (2, 2)
    observed: tuple[Moderate, Moderate, Moderate] = (1.0, 1.0, 0.0)
    """z, z', eps of a block."""
    num_observations: Count | None = None
    """The first so many observations of a block, row by row: z, z', eps of 2 x 2; by default all."""
    seed: Seed = 0
    """This and what follows are not of blocks."""
    rank: Count = 1
    symmetric: bool = False
    norm: Norm | Literal["sqrt_entries", "as_drawn"] = "sqrt_entries"
    num_samples: Count = 3
    """Observations; fewer are the first of many."""
    target: Annotated[tuple[Row, ...], Field(min_length=1, max_length=64)] | None = None
    """Rows of a matrix of one's own, in place of a random one."""
    target_file: ArrayFile | None = None
    """The same from a file: (rows, columns)."""
    entries: Literal["random", "all_but_first"] = "random"
    """Which entries completion observes: in random order, or row by row, from the second."""
    sensing_std: Annotated[float, Field(ge=1e-6, le=1e6)] | None = None
    """Standard deviation of the entries of Gaussian matrices; by default 1 over the root of their number. The original
    has 1."""
    sensing_file: ArrayFile | None = None
    """Matrices of one's own in place of Gaussian ones: (number, rows, columns), of which the first are taken."""

    later: ClassVar[tuple[str, ...]] = (
        "num_observations",
        "target",
        "target_file",
        "entries",
        "sensing_std",
        "sensing_file",
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.task == "block":
            self._check_block()
            return self
        check_unused(self, *OF_BLOCK, why=f"is of task: block, and means nothing with task: {self.task}")
        other = "sensing" if self.task == "completion" else "completion"
        check_unused(self, *OF_TASKS[other], why=f"is of task: {other}, and means nothing with task: {self.task}")
        self._check_target()
        entries = math.prod(self.shape)
        if self.entries == "all_but_first" and self.num_samples == entries:
            raise ValueError(f"num_samples = {entries}: without the first the matrix has {entries - 1} entries")
        if self.task == "completion" and self.num_samples > entries:
            raise ValueError(f"num_samples = {self.num_samples}: the matrix has {entries} entries")
        if self.sensing_file is not None:
            check_unused(self, "sensing_std", why="is of Gaussian matrices, which sensing_file takes the place of")
        if self.has_own_target and (self.entries == "all_but_first" or self.sensing_file is not None):
            check_unused(self, "seed", why="means nothing, as neither target nor observations are random")
        check_measurements(self.task, self.num_samples, self.shape)
        return self

    def _check_block(self) -> None:
        if min(self.shape) < 2:
            raise ValueError("a block needs at least 2 rows and 2 columns")
        if max(self.shape) == 2:
            check_block(self.observed)
        why = "is of random matrices and one's own (task: completion or sensing), and means nothing with task: block"
        check_unused(self, *OF_OTHERS, *OF_TASKS["sensing"], why=why)
        most = math.prod(self.shape) - 1
        if self.num_observations is not None and self.num_observations >= most:
            raise ValueError(
                f"num_observations = {self.num_observations}: a block of {self.shape[0]} x {self.shape[1]} has {most} "
                "observations; give fewer, or leave it out for all"
            )

    def _check_target(self) -> None:
        if not self.has_own_target:
            check_matrix(self.rank, self.shape, symmetric=self.symmetric)
            return
        check_unused(
            self, *OF_RANDOM_TARGETS, why="is of random matrices, and means nothing with a target of one's own"
        )
        if self.target is None:
            return
        if self.target_file is not None:
            raise ValueError("target and target_file are both given; give one of them")
        rows, columns = self.shape
        if len(self.target) != rows or any(len(row) != columns for row in self.target):
            found = ", ".join(str(len(row)) for row in self.target)
            raise ValueError(f"target has rows of {found} entries, but shape is {rows} x {columns}")
        if not any(map(any, self.target)):
            raise ValueError("of the entries of target one at least is not 0, as errors are measured by its norm")

    @property
    def has_own_target(self) -> bool:
        """Whether the matrix is a user's own."""
        return self.target is not None or self.target_file is not None

    @property
    def has_theory(self) -> bool:
        """Whether theory speaks of it: all of a block of 2 x 2 is observed."""
        return self.task == "block" and self.shape == (2, 2) and self.num_observations is None

    @property
    def own_files(self) -> tuple[str, ...]:
        """Names of a user's own files that it is made from."""
        return tuple(path for path in (self.target_file, self.sensing_file) if path is not None)

    @property
    def name(self) -> str:
        """A name of exactly these values, for paths."""
        size = "x".join(map(str, self.shape))
        if self.task == "block":
            # Without the sign of -0, which is 0.
            block = f"{size}_" + "_".join(repr(value + 0.0) for value in self.observed)
            return block if self.num_observations is None else f"{block}_first_{self.num_observations}"
        return f"{size}_{self.task}_{digest(self.plain())}"


def check_block(observed: tuple[float, ...]) -> None:
    """Raise ValueError if all observed entries are 0: the target is, and errors have nothing to be measured by."""
    if not any(observed):
        raise ValueError("of the observed entries one at least is not 0")
