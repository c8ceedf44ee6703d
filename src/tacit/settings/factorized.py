"""Settings of the study on factorized layers of residual networks (Khodak, Tenenholtz, Mackey, Fusi 2021)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings import classifiers, layouts
from tacit.settings.base import Distinct, NonNegativeInt, Seeds, Settings, Some, check_memory, check_runs
from tacit.settings.images import Images, SourceName, check_side, check_sources

Depth = Annotated[int, Field(ge=8, le=2000)]
"""6 n + 2 layers."""
RankScale = Annotated[float, Field(ge=1e-4, le=16)]
"""Rank of a layer over the rows of its matrix, outputs times height of the kernel."""
Coefficient = Annotated[float, Field(ge=1e-12, le=10)]

Form = Literal["dense", "two", "three"]
"""Factors of each layer inside blocks."""
Initialization = Literal["dense", "regular", "spectral"]
Decay = Literal["weight", "frobenius", "recorded", "none", "replayed"]
"""Of what is factorized: weight decay of each factor; Frobenius decay of the product; the same, the norm of each
product being written down after every step; none; or none, and after every step the norms that the recorded run of the
same seed had. All else has weight decay in any case."""

RUN = Axes(
    source=SourceName,
    depth=Depth,
    rank_scale=float,
    factors=Form,
    initialization=Initialization,
    decay=Decay,
    coefficient=float,
    seed=int,
)
"""What tells files from each other; a dense network has the rank scale 0."""

EXPERIMENTS = ("resnet", "decay", "normalization", "distillation")
"""Each has a figure, a collection of runs and claims of its own."""


class Variant(NamedTuple):
    """How the layers inside blocks are made, start and decay: axes of a run."""

    rank_scale: float
    factors: Form
    initialization: Initialization
    decay: Decay
    coefficient: float

    def check(self) -> None:
        """Raise ValueError if there is no such network."""
        dense = (self.rank_scale == 0, self.factors == "dense", self.initialization == "dense")
        if any(dense) and not all(dense):
            raise ValueError(
                f"rank scale {self.rank_scale:g}, factors {self.factors}, initialization {self.initialization}: a "
                "dense network has the rank scale 0 and both words dense, and no other has any of these"
            )
        if all(dense) and self.decay != "weight":
            raise ValueError(f"decay {self.decay} is of factors; a dense network has weight decay")
        if self.factors == "three" and self.decay in ("recorded", "replayed"):
            raise ValueError("norms are recorded and replayed with two factors, and these are three")


class Network(Settings):
    """The CIFAR layout of He et al. 2016 with shortcuts without parameters."""

    width: Annotated[int, Field(ge=1, le=1024)] = 16
    """Channels of the first stage."""


class Training(classifiers.Training):
    """How a network is trained: SGD with momentum, at a rate that falls by ten at each milestone."""

    warm_up_from: NonNegativeInt = 56
    """Networks of so many layers or more learn at a tenth of the rate in the first epoch; 0: none do."""

    def warms_up(self, depth: int) -> bool:
        """Return whether a network of so many layers learns slowly at first."""
        return 0 < self.warm_up_from <= depth


class RunSettings(Settings):
    """What a run depends on besides its axes."""

    images: Images
    network: Network = Network()
    training: Training
    """Without early stopping in runs whose norms are recorded or replayed."""
    matricisation: Literal["repaired", "published"] = "repaired"
    """How a kernel becomes a matrix for the spectral initialisation: as layers read it, or scrambled as published."""
    residual: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of noise on the identity that the middle one of three factors starts as."""


class Compression(Settings):
    """Two factors of lower rank, regular and spectral, with weight and with Frobenius decay."""

    depths: Annotated[tuple[Depth, ...], Some, Distinct]
    rank_scales: Annotated[tuple[RankScale, ...], Some, Distinct]


class Overcomplete(Settings):
    """Networks with more parameters in training than they are deployed with, once factors are multiplied."""

    depths: Annotated[tuple[Depth, ...], Some, Distinct]
    deep: RankScale = 1.0
    """Rank scale of three factors."""
    wide: Annotated[tuple[Annotated[float, Field(gt=1, le=16)], ...], Some, Distinct] = (3.0, 9.0)
    """Rank scales of two; the first is drawn as a line."""


class DecaySweep(Settings):
    """Accuracy by coefficient of decay, from a regular start."""

    depth: Depth
    rank_scale: RankScale
    coefficients: Annotated[tuple[Coefficient, ...], Some, Distinct]


class Normalization(Settings):
    """Runs without decay that are given the norms of runs with Frobenius decay, and norms by rank scale."""

    depth: Depth
    rank_scale: RankScale
    rank_scales: Annotated[tuple[RankScale, ...], Some, Distinct]
    """Of runs with weight decay, whose nuclear norms are drawn."""


class FactorizedSettings(Settings):
    """The whole study."""

    images: Annotated[tuple[Images, ...], Field(min_length=1, max_length=4)]
    """Image sets; the sweep over coefficients and the experiment on norms are of the first."""
    network: Network = Network()
    training: Training
    coefficient: Coefficient
    """Of decay, but in the sweep over it."""
    seeds: Seeds
    matricisation: Literal["repaired", "published"] = "repaired"
    residual: Annotated[float, Field(ge=0, le=10)] = 0.0
    dense_depths: Annotated[tuple[Depth, ...], Distinct] = ()
    """Of dense networks that overcomplete ones are drawn beside, besides those of their own depths."""
    resnet: Compression
    distillation: Overcomplete
    decay: DecaySweep
    normalization: Normalization

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_sources(self.images)
        shown = {"resnet.rank_scales": self.resnet.rank_scales, "decay.coefficients": self.decay.coefficients}
        for name, values in shown.items():
            if len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{name}: {', '.join(map(str, values))}: two are equal in the six digits of claims")
        depths = {axes["depth"] for name in EXPERIMENTS for axes in self.runs(name)}
        for depth in sorted(depths):
            layouts.check("resnet", depth)
        check_runs(sum(len(self.runs(name)) for name in EXPERIMENTS) * self.seeds)
        own = self.training
        for images in self.images:
            check_side(images)
            own.check_images(images)
            pixels = images.side**2 * self.network.width * min(own.batch_size, images.num_train_at_most)
            check_memory(6 * pixels * max(depths), each=4, what=f"batch_size = {own.batch_size:,}: a batch")
        scale = max(1.0, *self.distillation.wide)
        weights = max(depths) * (1 + scale) * 18 * (4 * self.network.width) ** 2
        check_memory(int(6 * weights), each=4, what=f"width = {self.network.width}: a network of such depths and ranks")
        return self

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Return the axes of all runs of an experiment, but for their seeds, each once."""
        of = {
            "resnet": self._resnet,
            "decay": self._decay,
            "normalization": self._normalization,
            "distillation": self._distillation,
        }[experiment]
        found = {(source, depth, variant): None for source, depth, variant in of()}
        return [{"source": source, "depth": depth, **variant._asdict()} for source, depth, variant in found]

    @property
    def dense(self) -> Variant:
        """The dense network."""
        return Variant(0.0, "dense", "dense", "weight", self.coefficient)

    def _two(self, scale: float, initialization: Initialization, decay: Decay, coefficient: float = 0) -> Variant:
        return Variant(scale, "two", initialization, decay, coefficient or self.coefficient)

    def _resnet(self) -> list[tuple[str, int, Variant]]:
        found: list[tuple[str, int, Variant]] = []
        for source in (images.source for images in self.images):
            for depth in self.resnet.depths:
                found.append((source, depth, self.dense))
                found += [
                    (source, depth, self._two(scale, start, decay))
                    for scale in self.resnet.rank_scales
                    for start in _STARTS
                    for decay in _DECAYS
                ]
        return found

    def _distillation(self) -> list[tuple[str, int, Variant]]:
        own = self.distillation
        found: list[tuple[str, int, Variant]] = []
        for source in (images.source for images in self.images):
            for depth in dict.fromkeys((*self.dense_depths, *own.depths)):
                found.append((source, depth, self.dense))
            for depth in own.depths:
                found += [
                    (source, depth, Variant(own.deep, "three", start, decay, self.coefficient))
                    for start in _STARTS
                    for decay in _DECAYS
                ]
                found += [
                    (source, depth, self._two(scale, "regular", decay)) for scale in own.wide for decay in _DECAYS
                ]
        return found

    def _decay(self) -> list[tuple[str, int, Variant]]:
        own, source = self.decay, self.images[0].source
        variants = [
            self._two(own.rank_scale, "regular", decay, coefficient)
            for coefficient in own.coefficients
            for decay in _DECAYS
        ]
        return [(source, own.depth, variant) for variant in variants]

    def _normalization(self) -> list[tuple[str, int, Variant]]:
        own, source = self.normalization, self.images[0].source
        variants = [self.dense]
        variants += [
            self._two(own.rank_scale, start, decay)
            for start in _STARTS
            for decay in ("weight", "recorded", "none", "replayed")
        ]
        variants += [self._two(scale, "regular", "weight") for scale in own.rank_scales]
        return [(source, own.depth, variant) for variant in variants]

    def asked(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return what is asked of run files: axes, and the settings of runs that have them."""
        return [
            ({"source": images.source, **made}, self._run(images, **made).plain())
            for images in self.images
            for made in _MADE
        ]

    def claimed(self, experiment: str) -> dict[str, Any]:
        """Return what the claims of an experiment are about."""
        sources, own = [images.source for images in self.images], getattr(self, experiment)
        if experiment == "decay":
            return {"source": sources[0], **own.plain()}
        if experiment == "normalization":
            more = {"depth": own.depth, "rank_scale": own.rank_scale}
            return {"source": sources[0], "coefficient": self.coefficient, **more}
        found = {"sources": sources, "depths": list(own.depths), "coefficient": self.coefficient}
        if experiment == "resnet":
            return found | {"rank_scale": min(own.rank_scales)}
        dense = sorted({*self.dense_depths, *own.depths})
        return found | {"dense_depths": dense, "deep": own.deep, "wide": own.wide[0]}

    def run(self, axes: dict[str, Any]) -> RunSettings:
        """Return what a run depends on besides its axes; raises ValueError if there is no such run."""
        sources = {images.source: images for images in self.images}
        if axes["source"] not in sources:
            raise ValueError(f"source~{axes['source']}: the present settings have {', '.join(sources)}")
        layouts.check("resnet", axes["depth"])
        variant = Variant(*(axes[name] for name in Variant._fields))
        variant.check()
        made = {"factors": variant.factors, "initialization": variant.initialization}
        return self._run(sources[axes["source"]], **made)

    def _run(self, images: Images, *, factors: str, initialization: str) -> RunSettings:
        """Return settings without what does not matter to a network that is made so."""
        return RunSettings(
            images=images,
            network=self.network,
            training=self.training,
            matricisation=self.matricisation if initialization == "spectral" else "repaired",
            residual=self.residual if factors == "three" else 0.0,
        )


_MADE = (
    {"factors": "dense", "initialization": "dense"},
    {"factors": "two", "initialization": "regular"},
    {"factors": "two", "initialization": "spectral"},
    {"factors": "three", "initialization": "regular"},
    {"factors": "three", "initialization": "spectral"},
)
"""What there is of factors and their start."""
_STARTS: tuple[Initialization, ...] = ("regular", "spectral")
_DECAYS: tuple[Decay, ...] = ("weight", "frobenius")
