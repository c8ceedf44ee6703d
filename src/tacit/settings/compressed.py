"""Settings of the study on compressed networks (Khodak, Tenenholtz, Mackey, Fusi 2021, tables 1 and 2).

Two experiments: `compression`, factors of low rank beside sparse networks of the same size, and `tensors`, factors of
low rank beside tensor decompositions.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings import classifiers, layouts
from tacit.settings.base import Count, Distinct, NonNegativeInt, Seeds, Settings, Some, check_memory, check_runs
from tacit.settings.images import Images, SourceName, check_side
from tacit.settings.layouts import Family, Layout

Ratio = Annotated[float, Field(ge=1e-5, lt=1)]
"""Parameters of a network as a share of those of the dense one."""
RankScale = Annotated[float, Field(ge=1e-4, le=1)]
"""Of tensor decompositions: ranks as a share of the modes they belong to."""

Sparse = Literal["snip", "grasp", "random_tickets"]
Tensors = Literal["tensor_train", "tucker"]
Method = Literal["dense", "low_rank", "snip", "grasp", "random_tickets", "tensor_train", "tucker"]
"""What a network is made of: whole matrices, factors of low rank, matrices most of whose entries are zero for ever, or
decomposed tensors."""
Initialization = Literal["dense", "regular", "spectral"]
Decay = Literal["weight", "scaled", "frobenius"]
"""Of what is factorized: weight decay of each factor; the same, times the share of parameters; Frobenius decay of the
product. All else has weight decay in any case."""
Behaviour = Literal["repaired", "published"]

SPARSE: tuple[Sparse, ...] = ("snip", "grasp", "random_tickets")
TENSORS: tuple[Tensors, ...] = ("tensor_train", "tucker")
STARTS: tuple[Initialization, ...] = ("regular", "spectral")
EXPERIMENTS = ("compression", "tensors")
"""Each has a figure, a collection of runs and claims of its own."""

RUN = Axes(
    source=SourceName,
    network=Family,
    depth=int,
    width=int,
    method=Method,
    size=float,
    initialization=Initialization,
    decay=Decay,
    seed=int,
)
"""What tells files from each other; `size` is the share of parameters, for tensors the scale of ranks."""


class Variant(NamedTuple):
    """What a network is made of, how that starts and decays: axes of a run."""

    method: Method
    size: float
    initialization: Initialization
    decay: Decay

    @property
    def is_factorized(self) -> bool:
        """Whether layers are products."""
        return self.method in ("low_rank", *TENSORS)

    def check(self) -> None:
        """Raise ValueError if there is no such network."""
        if (self.method == "dense") != (self.size == 1):
            raise ValueError(f"method {self.method}, size {self.size:g}: a dense network has the size 1, no other has")
        if self.is_factorized != (self.initialization != "dense"):
            raise ValueError(
                f"method {self.method}, initialization {self.initialization}: factors start regular or spectral, and "
                "what has none starts dense"
            )
        if not self.is_factorized and self.decay != "weight":
            raise ValueError(
                f"decay {self.decay} is of factors; a network of the method {self.method} has weight decay"
            )


DENSE = Variant("dense", 1.0, "dense", "weight")


class Training(classifiers.Training):
    """How a network is trained."""

    falls_by: Annotated[float, Field(ge=1, le=1e6)] = 10.0
    """By what the rate is divided at each milestone."""
    cutout: NonNegativeInt = 0
    """Side, in px, of a square at a random place that is blank in each training image; 0: none is."""


class Network(Settings):
    """One network, and the coefficient of all its decays."""

    family: Family
    depth: Annotated[int, Field(ge=8, le=1000)]
    """Layers: 11, 13, 16, 19 of vgg, 6 n + 2 of resnet, 6 n + 4 of wide_resnet."""
    width: Annotated[int, Field(ge=1, le=512)]
    """Channels of the first stage; of wide_resnet by how much the stages of 16, 32, 64 channels are widened."""
    coefficient: Annotated[float, Field(ge=1e-12, le=10)]

    @model_validator(mode="after")
    def _exists(self) -> Self:
        layouts.check(self.family, self.depth)
        return self

    @property
    def axes(self) -> dict[str, Any]:
        """What tells its runs from those of other networks."""
        return {"network": self.family, "depth": self.depth, "width": self.width}

    def layout(self, images: Images) -> Layout:
        """Return its layers."""
        return layouts.layout(
            self.family,
            self.depth,
            self.width,
            side=images.side,
            channels=images.channels,
            classes=images.num_classes,
        )


class RatiosOf(Settings):
    """Shares of parameters for one image set."""

    source: SourceName
    ratios: Annotated[tuple[Ratio, ...], Some, Distinct]


class Compared(Network):
    """A network of the experiment on compression."""

    ratios: Annotated[tuple[Ratio, ...], Some, Distinct]
    ratios_of: tuple[RatiosOf, ...] = ()
    """Others for some image sets."""
    claimed: Ratio
    """The one at which claims are judged."""

    def ratios_for(self, source: str) -> tuple[float, ...]:
        """Return the shares of parameters for an image set."""
        return next((own.ratios for own in self.ratios_of if own.source == source), self.ratios)


class RunSettings(Settings):
    """What a run depends on besides its axes."""

    images: Images
    coefficient: float
    training: Training
    kaiming: bool = False
    """VGG starts as He et al. have it, not as published."""
    samples_per_class: Count = 10
    """Images that SNIP and GraSP look at."""
    matricisation: Behaviour = "repaired"
    """How a kernel becomes a matrix for the spectral initialisation: as layers read it, or scrambled as published."""
    decay_groups: Behaviour = "repaired"
    """Whether, as published, some normalisations of a VGG lose their decay, and shortcuts of a wide residual network
    have Frobenius decay on top."""
    tensor_frobenius: Behaviour = "repaired"
    """Whether Frobenius decay reaches tensors; published, they have none at all."""
    tucker_core: Literal["tensor_train", "dense"] = "tensor_train"
    """What the core of a Tucker decomposition is kept as: the library's storage, by which sizes were published, or the
    array of textbooks."""


class Compression(Settings):
    """Factors of low rank, sparse networks and dense ones."""

    images: Annotated[tuple[Images, ...], Field(min_length=1, max_length=4)]
    networks: Annotated[tuple[Compared, ...], Field(min_length=1, max_length=6)]
    sparse: Annotated[tuple[Sparse, ...], Distinct] = SPARSE
    samples_per_class: Annotated[int, Field(ge=1, le=1000)] = 10
    kaiming: bool = False
    training: Training


class Level(Settings):
    """One size, as each method has it."""

    low_rank: Ratio
    """Share of parameters."""
    tensor_train: RankScale
    tucker: RankScale

    @property
    def sizes(self) -> tuple[tuple[Method, float], ...]:
        """The size of each method."""
        return ("low_rank", self.low_rank), ("tensor_train", self.tensor_train), ("tucker", self.tucker)


class TensorLayers(Settings):
    """Factors of low rank, tensor trains and Tucker decompositions."""

    images: Images
    network: Network
    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=6), Distinct]
    decays: Annotated[tuple[Decay, ...], Some, Distinct] = ("weight", "scaled", "frobenius")
    training: Training


class CompressedSettings(Settings):
    """The whole study."""

    seeds: Seeds
    matricisation: Behaviour = "repaired"
    decay_groups: Behaviour = "repaired"
    tensor_frobenius: Behaviour = "repaired"
    tucker_core: Literal["tensor_train", "dense"] = "tensor_train"
    compression: Compression
    tensors: TensorLayers

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        one, other = self.compression, self.tensors
        sources = [images.source for images in one.images]
        if len(set(sources)) < len(sources):
            raise ValueError(f"compression.images: {sources[0]} is there twice; runs are told apart by their source")
        names = [tuple(network.axes.values()) for network in (*one.networks, other.network)]
        if len(set(names)) < len(names):
            raise ValueError("two networks are of one family, depth and width; their runs could not be told apart")
        for network in one.networks:
            for source in sources:
                if network.claimed not in (ratios := network.ratios_for(source)):
                    raise ValueError(
                        f"compression.networks: claimed = {network.claimed:g} is none of {network.family}'s ratios for "
                        f"{source}, {', '.join(map(str, ratios))}"
                    )
        check_runs(sum(len(self.runs(name)) for name in EXPERIMENTS) * self.seeds)
        for images in one.images:
            for network in one.networks:
                _check(images, network, one.training, network.ratios_for(images.source), sparse=bool(one.sparse))
        _check(other.images, other.network, other.training, [level.low_rank for level in other.levels], sparse=False)
        return self

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Return the axes of all runs of an experiment, but for their seeds."""
        if experiment == "tensors":
            own = self.tensors
            variants = [DENSE]
            variants += [
                Variant(method, size, start, decay)
                for level in own.levels
                for method, size in level.sizes
                for start in STARTS
                for decay in own.decays
            ]
            return [_axes(own.images, own.network, variant) for variant in dict.fromkeys(variants)]
        found = []
        for images in self.compression.images:
            for network in self.compression.networks:
                variants = [DENSE]
                for ratio in network.ratios_for(images.source):
                    variants += [
                        Variant("low_rank", ratio, start, decay)
                        for start in STARTS
                        for decay in ("weight", "frobenius")
                    ]
                    variants += [Variant(method, ratio, "dense", "weight") for method in self.compression.sparse]
                found += [_axes(images, network, variant) for variant in variants]
        return found

    def asked(self, experiment: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return what is asked of run files: axes, and the settings of runs that have them, whatever their size."""
        found = {}
        for axes in self.runs(experiment):
            where = {name: value for name, value in axes.items() if name != "size"}
            found[tuple(where.values())] = where, self.run(axes).plain()
        return list(found.values())

    def claimed(self, experiment: str) -> dict[str, Any]:
        """Return what the claims of an experiment are about."""
        if experiment == "tensors":
            own = self.tensors
            where = {"source": own.images.source, **own.network.axes}
            return {"where": where, "levels": [level.plain() for level in own.levels]}
        panels = [
            {"source": images.source, **network.axes, "ratio": network.claimed}
            for images in self.compression.images
            for network in self.compression.networks
        ]
        return {"panels": panels, "sparse": list(self.compression.sparse)}

    def run(self, axes: dict[str, Any]) -> RunSettings:
        """Return what a run depends on besides its axes; raises ValueError if there is no such run."""
        own, network = self._network({name: axes[name] for name in ("network", "depth", "width")})
        sets = own.images if isinstance(own, Compression) else (own.images,)
        images = next((one for one in sets if one.source == axes["source"]), None)
        if images is None:
            there = ", ".join(one.source for one in sets)
            raise ValueError(f"source~{axes['source']}: the present settings have {there} for this network")
        variant = Variant(*(axes[name] for name in Variant._fields))
        variant.check()
        if variant.method != "low_rank" and variant.method not in TENSORS and variant.size < 1:
            _check_sparse(network.layout(images), variant.size)
        if variant.method == "low_rank":
            _check_low_rank(network.layout(images), variant.size)
        return self._run(images, network, own, variant)

    def _network(self, axes: dict[str, Any]) -> tuple[Compression | TensorLayers, Network]:
        """Return the network with these axes, and the experiment that it belongs to."""
        for one in self.compression.networks:
            if one.axes == axes:
                return self.compression, one
        if self.tensors.network.axes == axes:
            return self.tensors, self.tensors.network
        there = (*self.compression.networks, self.tensors.network)
        names = ", ".join(f"{one.family} {one.depth} of width {one.width}" for one in there)
        asked = f"network~{axes['network']} depth~{axes['depth']} width~{axes['width']}"
        raise ValueError(f"{asked}: the present settings have {names}")

    def _run(self, images: Images, network: Network, own: Compression | TensorLayers, variant: Variant) -> RunSettings:
        """Return settings without what does not matter to a network that is made so."""
        low_rank, tensors = variant.method == "low_rank", variant.method in TENSORS
        # Who decays otherwise than said: normalisations with Frobenius decay of factors, shortcuts without.
        leaks = {"vgg": ("frobenius",), "wide_resnet": ("weight", "scaled")}.get(network.family, ())
        scored = variant.method in ("snip", "grasp") and isinstance(own, Compression)
        more: dict[str, Any] = {}
        if isinstance(own, Compression):
            more["kaiming"] = own.kaiming and network.family == "vgg"
            more |= {"samples_per_class": own.samples_per_class} if scored else {}
        if low_rank and variant.initialization == "spectral":
            more["matricisation"] = self.matricisation
        if low_rank and variant.decay in leaks:
            more["decay_groups"] = self.decay_groups
        if tensors and variant.decay == "frobenius":
            more["tensor_frobenius"] = self.tensor_frobenius
        if variant.method == "tucker":
            more["tucker_core"] = self.tucker_core
        return RunSettings(images=images, coefficient=network.coefficient, training=own.training, **more)


def _axes(images: Images, network: Network, variant: Variant) -> dict[str, Any]:
    return {"source": images.source, **network.axes, **variant._asdict()}


def _check(images: Images, network: Network, own: Training, ratios: Any, *, sparse: bool) -> None:
    """Raise ValueError if a network cannot be trained so, or not be made so small."""
    own.check_images(images)
    check_side(images)
    if own.cutout > images.side:
        raise ValueError(f"training.cutout = {own.cutout}: {images.source} has images of {images.side} px")
    layout = network.layout(images)
    for ratio in ratios:
        _check_low_rank(layout, ratio)
        if sparse:
            _check_sparse(layout, ratio)
    places = sum(layer.outputs * layer.side**2 for layer in layout.layers)
    check_memory(
        3 * places * min(own.batch_size, images.num_train_at_most),
        each=4,
        what=f"batch_size = {own.batch_size:,}: a batch",
    )
    check_memory(6 * layout.parameters, each=4, what=f"width = {network.width}: a network of such a depth")


def _check_low_rank(layout: Layout, ratio: float) -> None:
    least, most = (layout.factorized(most=which) / layout.parameters for which in (False, True))
    if not least <= ratio <= most:
        raise ValueError(f"a ratio of {ratio:g}: with factors this network has shares from {least:.6f} to {most:.6f}")


def _check_sparse(layout: Layout, ratio: float) -> None:
    # What is never pruned, and the three tenths of the linear layer that a random ticket keeps.
    least = layout.others + max(1, math.ceil(0.3 * layout.layers[-1].weights))
    if round(ratio * layout.parameters) < least:
        raise ValueError(
            f"a ratio of {ratio:g}: the smallest share is {least / layout.parameters:.6f} of a sparse network of this "
            "kind, as normalisations, biases and some of the linear layer stay"
        )
