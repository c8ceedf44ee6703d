"""Settings of the study on untied weights (Sanford, Ardeshir, Hsu 2022; d'Ascoli, Sagun, Bruna, Biroli 2019)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from tacit.paths import WHOLE, Axes
from tacit.settings.base import (
    Count,
    Distinct,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seeds,
    Settings,
    Some,
    check_runs,
    check_unused,
)
from tacit.settings.convnets import Architecture
from tacit.settings.images import Images
from tacit.settings.networks import AnyPrecision, Order

NetworkName = Literal["cnn", "lcn", "fcn"]
"""Convolutional, locally connected, fully connected: each can compute all that the one before it can."""

NETWORKS: tuple[str, ...] = get_args(NetworkName)

ScratchName = Literal["cnn", "lcn", "fcn", "cnn_plus_fcn"]
"""Networks that are trained from the beginning; cnn_plus_fcn adds the logits of a CNN and of a fully connected one."""

SCRATCH_NETWORKS: tuple[str, ...] = get_args(ScratchName)

Method = Literal["linear", "curvilinear", "average", "string"]

METHODS: tuple[str, ...] = get_args(Method)


def log_spaced(epochs: int, number: int) -> tuple[int, ...]:
    """Return the distinct ones of `number` whole epochs, evenly spaced on a logarithmic scale from 1 to `epochs`.

    As the originals compute them, rounded down; but `epochs` itself is never missed by a rounding error.
    """
    exponents = (k * math.log10(epochs) / max(number - 1, 1) for k in range(number))
    return tuple(sorted({math.floor(10**exponent + 1e-9) for exponent in exponents}))


EveryEpoch = Literal["every epoch"]


def chosen(epochs: int, asked: int | str | tuple[int, ...]) -> tuple[int, ...]:
    """Return so many of the epochs from 1, log-spaced, or every one of them, or those of a list, in order."""
    if isinstance(asked, int):
        return log_spaced(epochs, asked)
    return tuple(range(1, epochs + 1)) if isinstance(asked, str) else tuple(sorted(asked))


class Sgd(Settings):
    """SGD at a constant learning rate; published: without momentum and weight decay."""

    later: ClassVar[tuple[str, ...]] = ("momentum", "weight_decay")

    batch_size: Count
    order: Order
    """Order of images in the batches; published: fixed."""
    precision: AnyPrecision = "float32"
    """Precision of the training, and of predictions that are measured during it."""
    momentum: Fraction = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Coefficient of the squared norm, halved, of all weights and biases; of those that get no gradient too."""


Epochs = Annotated[int, Field(ge=1, le=100_000)]


KeptEpochs = Literal["every epoch", "last epoch"]


class Phase(Settings):
    """A training from its beginning to its end, for each of several learning rates."""

    learning_rates: Annotated[tuple[Positive, ...], Some, Distinct]
    epochs: Epochs
    measurements: Annotated[int, Field(ge=1, le=1000)] | EveryEpoch
    """Epochs at which networks are measured, evenly spaced on a logarithmic scale, or all; 0 and the last always are.

    The original code measures every epoch but the last where the number of them is that of all.
    """
    keep: KeptEpochs = "last epoch"
    """Epochs whose weights are kept, of all but the CNN from scratch, of which it is every epoch."""

    later: ClassVar[tuple[str, ...]] = ("keep",)

    @property
    def measured(self) -> tuple[int, ...]:
        """Epochs at which networks are measured."""
        return tuple(sorted({0, self.epochs, *chosen(self.epochs, self.measurements)}))


class Scratch(Phase):
    """Networks trained from the beginning."""

    networks: Annotated[tuple[ScratchName, ...], Field(min_length=1), Distinct]

    @model_validator(mode="after")
    def _begins_with_cnn(self) -> Self:
        if "cnn" not in self.networks:
            raise ValueError("networks must have cnn, which all others continue")
        return self


SplitEpochs = (
    Annotated[int, Field(ge=1, le=1000)]
    | EveryEpoch
    | Annotated[tuple[NonNegativeInt, ...], Field(max_length=1000), Distinct]
)
"""A number: so many epochs, evenly spaced on a logarithmic scale. Or every one from 1, or a list of them; 0 is the
initial network."""


class Splits(Settings):
    """Epochs of the CNN from which a network of each kind continues."""

    lcn: SplitEpochs
    cnn: SplitEpochs
    """The control: weights stay tied."""
    fcn: SplitEpochs


class Continued(Phase):
    """Networks that continue from a CNN."""

    splits: Splits
    keep_momentum: bool = False
    """Networks begin with the momentum that the CNN had at the split, untied as its weights are; published: with none.

    It is kept with the weights of the CNN.
    """

    later: ClassVar[tuple[str, ...]] = (*Phase.later, "keep_momentum")


class Shown(Settings):
    """What the figures show of the grid, and the claims are judged by."""

    cnn_learning_rate: Positive
    learning_rate: Positive
    splits: Annotated[tuple[Count, ...], Some, Distinct]
    margin: Literal["legacy", "top2"]
    """Margin that norms are normalised by; legacy, as published, is nearly the range of the logits of right answers."""
    margin_of: Literal["test", "train"]
    """Images over which its mean is taken; published: test."""


Points = Annotated[int, Field(ge=2, le=1000)]


class String(Settings):
    """A chain of networks between two, each trained by SGD and pulled towards its neighbours."""

    points: Points
    """Number of networks in the chain, ends included."""
    stiffness: Annotated[float, Field(ge=0, le=1000)]
    """1/2 moves a point to the middle of its neighbours; 1, as in the original code, reflects it there."""
    epochs: Annotated[int, Field(ge=0, le=100_000)]
    batch_size: Count
    learning_rate: NonNegative
    momentum: Fraction = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Coefficient of the squared norm, halved, of all weights and biases of a point."""

    later: ClassVar[tuple[str, ...]] = ("momentum", "weight_decay")


SolutionName = Annotated[str, Field(pattern=f"^(cnn|lcn|fcn)(-{WHOLE})?(@{WHOLE})?$")]

Pair = Annotated[tuple[SolutionName, ...], Field(min_length=2, max_length=2)]


class Solution(NamedTuple):
    """A network at the end of its training, or at another epoch of it."""

    network: str
    split: int | None
    """Epoch of the CNN from which it continued; None: trained from scratch."""
    epoch: int | None = None
    """Epoch of its own training; None: the last."""

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the one that is called so: `lcn` from scratch, `lcn-9` split from the CNN at epoch 9, `cnn@3` at 3."""
        trained, _, epoch = name.partition("@")
        network, _, split = trained.partition("-")
        return cls(network, int(split) if split else None, int(epoch) if epoch else None)

    @property
    def trained(self) -> str:
        """The name without the epoch."""
        return self.network if self.split is None else f"{self.network}-{self.split}"

    def __str__(self) -> str:
        return self.trained if self.epoch is None else f"{self.trained}@{self.epoch}"


SCRATCH = Axes(network=ScratchName, learning_rate=Positive, seed=int)
CONTINUED = Axes(network=NetworkName, cnn_learning_rate=Positive, split=int, learning_rate=Positive, seed=int)
PATHS = Axes(cnn_learning_rate=Positive, learning_rate=Positive, origin=SolutionName, target=SolutionName, seed=int)
"""What tells files from each other: of trainings from scratch, of those that continue from a CNN, of interpolations."""


class Interpolation(Settings):
    """Paths between solutions, in the space of fully connected networks."""

    pairs: Annotated[tuple[Pair, ...], Some, Distinct]
    methods: Annotated[tuple[Method, ...], Field(min_length=1), Distinct]
    points: Points
    """Number of points at which loss and accuracy are taken, ends included; the string has its own number."""
    string: String
    precision: AnyPrecision = "float32"
    """Precision of the string's training, and of predictions along all paths."""


class RunSettings(Settings):
    """What a training depends on besides its network, learning rate, seed, and what it continues from."""

    images: Images
    architecture: Architecture
    sgd: Sgd
    epochs: Count
    measured: tuple[NonNegativeInt, ...]
    keep: KeptEpochs
    """Epochs whose weights are written down."""
    keep_momentum: bool = False
    """Momentum is written down with the weights of a CNN from scratch, and what continues from it begins with it."""

    keep_margins: bool = False
    """The margins of all images are written down, at each epoch that is measured."""

    later: ClassVar[tuple[str, ...]] = ("keep_momentum", "keep_margins")


class InterpolationSettings(Settings):
    """What an interpolation depends on besides its end points."""

    images: Images
    architecture: Architecture
    methods: tuple[Method, ...]
    points: Points
    string: String
    precision: AnyPrecision = "float32"


class UntiedSettings(Settings):
    """The whole study."""

    images: Images
    architecture: Architecture
    sgd: Sgd
    seeds: Seeds
    """Number of runs of each setting."""
    scratch: Scratch
    continued: Continued
    shown: Shown
    interpolation: Interpolation
    keep_margins: bool = False
    """The margins of all images are written down, not their means alone, and `untied_margins` is drawn of them."""

    later: ClassVar[tuple[str, ...]] = ("keep_margins",)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not self.sgd.momentum:
            check_unused(self.continued, "keep_momentum", why="of continued means nothing without momentum of sgd")
        self.architecture.final_side(self.images.side)
        for network in NETWORKS:
            if late := [split for split in self.splits(network) if split > self.scratch.epochs]:
                raise ValueError(
                    f"continued.splits.{network}: {late[0]} is after the last epoch, {self.scratch.epochs}"
                )
        self._check_sizes()
        shown = self.shown
        for name, value, allowed in (
            ("cnn_learning_rate", shown.cnn_learning_rate, self.scratch.learning_rates),
            ("learning_rate", shown.learning_rate, self.continued.learning_rates),
            *(("splits", split, self.splits("lcn")) for split in shown.splits),
        ):
            if value not in allowed:
                raise ValueError(f"shown.{name}: {value:g} is not trained; there are {_listed(allowed)}")
        if same := [pair[0] for pair in self.interpolation.pairs if len(set(pair)) == 1]:
            raise ValueError(f"interpolation.pairs: {same[0]} is paired with itself")
        for solution in {Solution.named(name) for pair in self.interpolation.pairs for name in pair}:
            network = solution.network
            trained = {*NETWORKS} & {*self.scratch.networks} | {
                f"{network}-{number}" for number in self.splits(network)
            }
            if solution.trained not in trained:
                there = _listed(sorted(trained))
                raise ValueError(f"interpolation.pairs: {solution.trained} is not trained; there are {there}")
            try:
                self.check_kept(solution)
            except ValueError as error:
                raise ValueError(f"interpolation.pairs: {error}") from None
        return self

    def check_kept(self, solution: Solution) -> None:
        """Raise ValueError if the weights of a network are not kept at its epoch."""
        if solution.epoch is None:
            return
        name = "scratch" if solution.split is None else "continued"
        phase: Phase = self.scratch if solution.split is None else self.continued
        if solution.epoch > phase.epochs:
            raise ValueError(f"{solution}: {solution.trained} ends with epoch {phase.epochs}")
        if solution.epoch == phase.epochs:
            raise ValueError(f"{solution}: this is its last epoch; write {solution.trained}")
        if solution.trained != "cnn" and phase.keep != "every epoch":
            raise ValueError(f"{solution}: only its last epoch is kept; set {name}: {{keep: every epoch}} to keep all")

    def _check_sizes(self) -> None:
        rates = len(self.scratch.learning_rates)
        splits = sum(len(self.splits(network)) for network in NETWORKS)
        runs = rates * (len(self.scratch.networks) + splits * len(self.continued.learning_rates))
        check_runs((runs + len(self.interpolation.pairs)) * self.seeds)

    def splits(self, network: str) -> tuple[int, ...]:
        """Return the epochs of the CNN from which networks of this kind continue."""
        return chosen(self.scratch.epochs, getattr(self.continued.splits, network))

    def scratch_run(self, network: str) -> RunSettings:
        """Return what a training from scratch depends on; a CNN keeps every epoch, to be continued from any."""
        if network == "cnn":
            return self._run(self.scratch, keep="every epoch", keep_momentum=self.continued.keep_momentum)
        return self._run(self.scratch, keep=self.scratch.keep)

    @property
    def continued_run(self) -> RunSettings:
        """What a training that continues from a CNN depends on."""
        return self._run(self.continued, keep=self.continued.keep, keep_momentum=self.continued.keep_momentum)

    def _run(self, phase: Phase, *, keep: KeptEpochs, keep_momentum: bool = False) -> RunSettings:
        return RunSettings(
            images=self.images,
            architecture=self.architecture,
            sgd=self.sgd,
            epochs=phase.epochs,
            measured=phase.measured,
            keep=keep,
            keep_momentum=keep_momentum,
            keep_margins=self.keep_margins,
        )

    @property
    def interpolation_run(self) -> InterpolationSettings:
        """What an interpolation depends on."""
        way = self.interpolation
        return InterpolationSettings(
            images=self.images,
            architecture=self.architecture,
            methods=way.methods,
            points=way.points,
            string=way.string,
            precision=way.precision,
        )


def _listed(values: Collection[Any]) -> str:
    words = [value if isinstance(value, str) else f"{value:g}" for value in itertools.islice(values, 20)]
    return ", ".join(words) + (", ..." if len(values) > len(words) else "")
