"""Settings of the study on residual networks in the depth limit (after Cont, Rossier, Xu 2022, and a thesis on it)."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Count,
    Distinct,
    NonNegativeInt,
    Positive,
    Seed,
    Seeds,
    Settings,
    Some,
    check_memory,
    check_runs,
    check_unused,
)
from tacit.settings.images import Images
from tacit.settings.power_law import PowerLaw

Initialization = Literal["constant", "ntrunc", "lin_dec", "lin_inc", "quad", "lin_dec_sym", "lin_inc_sym"]
Activation = Literal["tanh", "relu", "elu", "gelu", "sigmoid"]
Augmentation = Literal["skip", "none", "plain", "linear_skip", "inc_skip"]
"""How layers are put together (`tacit.nn.deep_residual`); `plain` is `none` with delta 1."""

Rule = Literal["fixed", "scaled", "dynamic", "dynamic_guarded"]
"""Of the learning rate c: c itself; c L^(2 alpha - 1); from the second epoch on 2 c / V^2 (10 c / V^2 with relu), V
being the p-variation norm of the rescaled weights, as published; the same with V at least 1."""

Depth = Annotated[int, Field(ge=2, le=100_000)]
"""A single layer has no path along depth."""
Alpha = Annotated[float, Field(ge=0, le=2)]
Gamma = Annotated[float, Field(ge=0.1, le=100)]
Exponent = Annotated[float, Field(ge=1, le=16)]
Epoch = Annotated[int, Field(ge=0, le=100_000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]

_AXES: dict[str, Any] = {
    "experiment": Name,
    "alpha": Alpha,
    "gamma": Gamma,
    "initialization": Initialization,
    "activation": Activation,
    "augmentation": Augmentation,
    "rule": Rule,
    "learning_rate": Positive,
    "depth": Depth,
    "seed": int,
}

RUN = Axes(**_AXES)
"""What tells the files of runs from each other."""

LANDSCAPE = Axes(**_AXES, part=int)
"""What tells those of parts of landscapes from each other."""

VARIANT = ("alpha", "gamma", "initialization", "activation", "augmentation", "rule", "learning_rate")
"""The axes of a setting, apart from experiment, depth and seed."""

GRID = "grid"
"""Name of the experiment that figures and claims are about."""


class Function(Settings):
    """A regression with one input and one output."""

    source: Literal["sin", "constant"]
    num_samples: Annotated[int, Field(ge=10, le=10**7)] = 100_000
    """Nine tenths of them are learned from."""
    c: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of `sin`, in K = exp(-4 c) / (8 N), whose root bounds the inputs; the target of `constant`. By default 0.01."""
    form: Literal["code", "readme"] = "code"
    """`code`: what the original computes, sin(pi x / sqrt K); `readme`: what it says, sin x for x from -1 to 1, and a
    constant of 0.1 by default."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if (self.source, self.form) == ("sin", "readme"):
            check_unused(self, "c", why="means nothing to sin x")
        return self

    @property
    def constant(self) -> float:
        """c, or what it is by default."""
        default = 0.1 if (self.source, self.form) == ("constant", "readme") else 0.01
        return default if self.c is None else self.c

    @property
    def title(self) -> str:
        """What it is, as it is written."""
        return {"sin": "one period of a sine", "constant": f"the constant {self.constant:g}"}[self.source]

    @property
    def num_train(self) -> int:
        """Samples that are learned from, as torch.utils.data.random_split divides 0.9 and 0.1."""
        first, second = int(self.num_samples * 0.9), int(self.num_samples * 0.1)
        return first + -(-(self.num_samples - first - second) // 2)

    @property
    def num_test(self) -> int:
        """The others."""
        return self.num_samples - self.num_train


Data = Annotated[Images | Function, Field(discriminator="source")]
"""What is learned, or what a loss is of."""


class Rate(Settings):
    """A learning rate."""

    rule: Rule
    learning_rate: Positive
    """c of the rule."""


class Descent(Settings):
    """Plain gradient descent on the weights of all layers."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the data; with full batches as many steps."""
    batch_size: NonNegativeInt = 0
    """Of mini-batches, in the order of the data; 0 takes all at once."""
    precision: Literal["float32", "float64"] = "float32"
    p_loss: Exponent = 2.0
    """Exponent of the loss of a regression, the mean of |y - f(x)|^p."""
    p_var: Exponent = 2.0
    """Exponent of the variation that a dynamic rate goes by."""
    delta: Literal["frozen", "trained", "trained_from_one"] = "frozen"
    """The factor L^-alpha of all layers of `skip` and `none`: frozen, or trained from there, or from 1."""


class Variation(Settings):
    """When and for what exponents p-variations of the rescaled weights are computed."""

    p: Annotated[tuple[Exponent, ...], Field(min_length=1, max_length=20), Distinct] = (2.0, 1.0, 1.5)
    every: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Epochs; before the first and after the last it always is."""


class RunSettings(Settings):
    """What a run depends on besides its experiment, variant, depth and seed."""

    data: Data
    dim: Annotated[int, Field(ge=1, le=1024)]
    """Width of all layers."""
    descent: Descent
    variation: Variation = Variation()
    kept: Annotated[tuple[Epoch, ...], Field(max_length=100), Distinct] = ()
    """Epochs whose weights are written down, besides the last; 0 is before training."""

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if isinstance(self.data, Images):
            check_unused(self.descent, "p_loss", why="is of regressions, not of a classification")
        if late := [epoch for epoch in self.kept if epoch >= self.descent.epochs]:
            raise ValueError(
                f"kept = {late[0]}: the last epoch, {self.descent.epochs}, is kept, and there is none after"
            )
        return self


class Variant(NamedTuple):
    """A setting: initialisation, layers, learning rate."""

    alpha: float
    gamma: float
    initialization: str
    activation: str
    augmentation: str
    rule: str
    learning_rate: float


class Experiment(RunSettings):
    """Runs of every depth, in every combination of settings, for every seed."""

    depths: Annotated[tuple[Depth, ...], Some, Distinct]
    alphas: Annotated[tuple[Alpha, ...], Some, Distinct]
    gammas: Annotated[tuple[Gamma, ...], Some, Distinct]
    initializations: Annotated[tuple[Initialization, ...], Some, Distinct]
    activations: Annotated[tuple[Activation, ...], Some, Distinct] = ("tanh",)
    augmentations: Annotated[tuple[Augmentation, ...], Some, Distinct] = ("skip",)
    rates: Annotated[tuple[Rate, ...], Some, Distinct]
    seeds: Seeds

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_runs(len(self.depths) * len(self.variants) * self.seeds)
        kept = len(self.kept) + 2
        check_memory(
            max(self.depths) * self.dim**2 * (kept + 16), each=4, what=f"dim = {self.dim} with such depths: a run"
        )
        if not any(rate.rule.startswith("dynamic") for rate in self.rates):
            check_unused(self.descent, "p_var", why="is of dynamic rates, of which there is none")
        self._check_powers()
        for weights in ("trained", "trained_from_one"):
            if self.descent.delta == weights and (other := set(self.augmentations) - {"skip", "none"}):
                raise ValueError(f"descent.delta = {weights}: {sorted(other)[0]} has no factor to train")
        return self

    def _check_powers(self) -> None:
        """Stop at initialisations that take 0 to the power 1/gamma + 1 - alpha where that is negative."""
        for name, alpha, gamma in itertools.product(self.initializations, self.alphas, self.gammas):
            if name not in ("constant", "ntrunc") and 1 / gamma + 1 - alpha < 0:
                raise ValueError(
                    f"initializations: {name} is 0 to the power 1/gamma + 1 - alpha in a layer, which is infinite at "
                    f"alpha = {alpha:g}, gamma = {gamma:g}; take alpha of at most {1 / gamma + 1:g}, "
                    "or constant or ntrunc"
                )

    @property
    def run(self) -> RunSettings:
        """The part that a run depends on besides its axes."""
        return RunSettings(data=self.data, dim=self.dim, descent=self.descent, variation=self.variation, kept=self.kept)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All settings. At alpha 1/2 a rate that is scaled is the fixed one, and takes its place."""
        found = itertools.product(
            self.alphas, self.gammas, self.initializations, self.activations, self.augmentations, self.rates
        )
        return tuple(
            Variant(alpha, gamma, initialization, activation, augmentation, rate.rule, rate.learning_rate)
            for alpha, gamma, initialization, activation, augmentation, rate in found
            if not self._is_same(alpha, rate)
        )

    def _is_same(self, alpha: float, rate: Rate) -> bool:
        return alpha == 0.5 and rate.rule == "fixed" and rate.model_copy(update={"rule": "scaled"}) in self.rates


class Shown(Settings):
    """What the figures show of the grid, and the claims are judged by: all alphas of one setting."""

    gamma: Gamma
    initialization: Initialization
    activation: Activation
    augmentation: Augmentation
    learning_rate: Positive
    alpha: Alpha
    """Of the single weights."""
    entries: Annotated[tuple[tuple[NonNegativeInt, NonNegativeInt], ...], Field(min_length=1, max_length=12), Distinct]
    """Row and column of those weights, from 0."""


class Chosen(Settings):
    """Networks of one setting and depth, of which a landscape is drawn; what is null is what there is but one of."""

    experiment: Name
    depth: Depth | None = None
    alpha: Alpha | None = None
    gamma: Gamma | None = None
    initialization: Initialization | None = None
    activation: Activation | None = None
    augmentation: Augmentation | None = None
    rule: Rule | None = None
    learning_rate: Positive | None = None

    def among(self, experiments: dict[str, Experiment]) -> tuple[Variant, int]:
        """Return setting and depth; raises ValueError if there is none such, or several."""
        if self.experiment not in experiments:
            raise ValueError(f"{self.experiment} is no experiment; there are {', '.join(experiments)}")
        experiment = experiments[self.experiment]
        fitting = [
            (variant, depth)
            for variant in experiment.variants
            for depth in experiment.depths
            if self.depth in (None, depth)
            and all(getattr(self, name) in (None, value) for name, value in variant._asdict().items())
        ]
        if len(fitting) != 1:
            axes = "depth, alpha, gamma, initialization, activation, augmentation, rule or learning_rate"
            more = f"name {axes} as well" if fitting else f"its {axes} are others"
            raise ValueError(f"{self.experiment} has {len(fitting)} such settings, and one is drawn; {more}")
        return fitting[0]


class Landscape(Settings):
    """The loss on a plane through a trained network."""

    images: Count
    """Samples that the loss is of, from the first on."""
    samples: Literal["train", "test"] = "train"
    """Which those are."""
    data: Data | None = None
    """Where they are from; null: from what the network learned from."""
    points: Annotated[int, Field(ge=3, le=1001)] = 100
    """Of each of two directions."""
    step: Positive = 0.05
    """Between points, in units of the norm of the weights."""
    per: Literal["layer", "row"] = "layer"
    """What of a direction has the norm of the weights there: layers, as published, or rows, as Li et al. 2018 have."""
    parts: Annotated[int, Field(ge=1, le=1001)] = 1
    """Jobs that a landscape is divided into."""

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        if self.parts > self.points:
            raise ValueError(f"parts = {self.parts}: a landscape of {self.points} points has no more rows than that")
        return self

    def rows(self, part: int) -> range:
        """Return the rows that are computed by one of the jobs."""
        return range(part * self.points // self.parts, (part + 1) * self.points // self.parts)


class Landscapes(Settings):
    """The landscapes of the study."""

    of: Annotated[tuple[Chosen, ...], Field(min_length=1, max_length=4), Distinct]
    """Drawn beside each other."""
    seeds: Seeds
    """Of networks, and of directions with them; the first is drawn."""
    each: Landscape

    def axes(self, experiments: dict[str, Experiment]) -> list[dict[str, Any]]:
        """Return the axes of all networks, of every chosen setting those of its seeds."""
        found = []
        for chosen in self.of:
            variant, depth = chosen.among(experiments)
            axes = {"experiment": chosen.experiment, **variant._asdict(), "depth": depth}
            found += [axes | {"seed": seed} for seed in range(self.seeds)]
        return found


class DepthLimitSettings(Settings):
    """The whole study."""

    grid: Experiment
    """Of which figures and claims are."""
    further: dict[Name, Experiment | None] = Field(default={})
    """Experiments of one's own by name, which end up in a table and in no figure; none where it is null."""
    shown: Shown
    power_law: PowerLaw = PowerLaw()
    """Of Omega along the trainings that are shown."""
    landscapes: Landscapes

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if GRID in self.further:
            raise ValueError(f"further.{GRID}: this name is taken")
        check_runs(sum(len(one.depths) * len(one.variants) * one.seeds for one in self.experiments.values()))
        shown, grid = self.shown, self.grid
        plain = [rate for rate in grid.rates if rate.rule in ("fixed", "scaled")]
        if not plain:
            raise ValueError("grid.rates: figures and claims are of rates that are fixed or scaled; give one of them")
        for name, value, trained in (
            ("gamma", shown.gamma, grid.gammas),
            ("initialization", shown.initialization, grid.initializations),
            ("activation", shown.activation, grid.activations),
            ("augmentation", shown.augmentation, grid.augmentations),
            ("learning_rate", shown.learning_rate, tuple(rate.learning_rate for rate in plain)),
            ("alpha", shown.alpha, grid.alphas),
        ):
            if value not in trained:
                raise ValueError(
                    f"shown.{name}: {value} is not trained; there are {', '.join(map(str, dict.fromkeys(trained)))}"
                )
        self._check_landscapes()
        self.power_law.check(grid.descent.epochs, what="epochs of the grid")
        for name, values in (("alphas", grid.alphas), ("variation.p", grid.variation.p)):
            if len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(
                    f"grid.{name}: {', '.join(map(str, values))}: two are equal in the six digits of claims"
                )
        if far := [pair for pair in shown.entries if max(pair) >= grid.dim]:
            raise ValueError(f"shown.entries: {list(far[0])} is outside of weights of {grid.dim} x {grid.dim}")
        return self

    def _check_landscapes(self) -> None:
        """Stop at networks that are not there, or have no such landscape."""
        asked = self.landscapes
        if len({(chosen.experiment, *chosen.among(self.experiments)) for chosen in asked.of}) < len(asked.of):
            raise ValueError("landscapes.of: two of these are the same network")
        for name in (chosen.experiment for chosen in asked.of):
            own = self.experiments[name]
            if own.dim == 1:
                raise ValueError(f"landscapes.of: {name} has dim = 1, and a plane two directions")
            data = asked.each.data or own.data
            if _form(data) != _form(own.data):
                inputs, outputs = _form(own.data)
                raise ValueError(
                    f"landscapes.each.data: {data.source} does not fit {name}, whose networks have {inputs:,} inputs "
                    f"and {outputs} output{'' if outputs == 1 else 's'}"
                )
            there = _count(data, asked.each.samples)
            if asked.each.images > there:
                raise ValueError(
                    f"landscapes.each.images = {asked.each.images}: {data.source} has {there:,} samples for "
                    f"{asked.each.samples} with {name}"
                )
            if asked.seeds > own.seeds:
                raise ValueError(f"landscapes.seeds = {asked.seeds}: {name} has only {own.seeds}")

    @property
    def experiments(self) -> dict[str, Experiment]:
        """All experiments by name."""
        return {GRID: self.grid, **{name: own for name, own in self.further.items() if own is not None}}


def _form(data: Images | Function) -> tuple[int, int]:
    """Return the numbers of inputs and outputs that data want of a network."""
    return (data.channels * data.side**2, data.num_classes) if isinstance(data, Images) else (1, 1)


def _count(data: Images | Function, samples: str) -> int:
    """Return how many samples for training or test there are, at most."""
    if isinstance(data, Images):
        return data.num_train_at_most if samples == "train" else data.num_test_at_most
    return data.num_train if samples == "train" else data.num_test
