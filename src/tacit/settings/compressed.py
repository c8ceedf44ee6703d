"""Settings of the study on compressed networks (Khodak, Tenenholtz, Mackey, Fusi 2021, tables 1 and 2).

Two experiments: `compression`, factors of low rank beside sparse networks of the same size, and `tensors`, factors of
low rank beside tensor decompositions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings import classifiers, layouts
from tacit.settings.base import Count, Distinct, NonNegativeInt, Seeds, Settings, Some, check_memory, check_runs
from tacit.settings.images import Images, SourceName, check_side, check_sources
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
        if self.method == "dense":
            if self.size != 1:
                raise ValueError(f"method dense, size {self.size:g}: a dense network has the size 1")
        elif self.method in TENSORS:
            if not 1e-4 <= self.size <= 1:
                raise ValueError(f"method {self.method}, size {self.size:g}: scales of ranks are from 0.0001 to 1")
        elif not 1e-5 <= self.size < 1:
            raise ValueError(f"method {self.method}, size {self.size:g}: shares are from 0.00001 to below 1")
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

    def __str__(self) -> str:
        """Name the network."""
        return f"{self.family} {self.depth} of width {self.width}"

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
    redraw_head: bool = False
    """GraSP draws the linear layer anew to look at them, as published."""
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

    images: Annotated[tuple[Images, ...], Field(min_length=1, max_length=3)]
    networks: Annotated[tuple[Compared, ...], Field(min_length=1, max_length=4)]
    sparse: Annotated[tuple[Sparse, ...], Distinct] = SPARSE
    samples_per_class: Annotated[int, Field(ge=1, le=1000)] = 10
    redraw_head: bool = True
    kaiming: bool = False
    training: Training

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_sources(self.images)
        for number, network in enumerate(self.networks):
            where = f"networks.{number} ({network})"
            others = [own.source for own in network.ratios_of]
            for source in others:
                if others.count(source) > 1:
                    raise ValueError(f"{where}.ratios_of: {source} is there twice")
            for images in self.images:
                ratios = network.ratios_for(images.source)
                if network.claimed not in ratios:
                    there = ", ".join(map(str, ratios))
                    raise ValueError(
                        f"{where}.claimed = {network.claimed:g} is none of the ratios for {images.source}, {there}"
                    )
                layout = _check(images, network, self.training, where=where)
                for ratio in ratios:
                    with _naming(f"{where} on {images.source}"):
                        layout.check_low_rank(ratio)
                        if self.sparse:
                            layout.check_sparse(ratio, random_tickets="random_tickets" in self.sparse)
                sample = min(self.samples_per_class * images.num_classes, images.num_train_at_most)
                pixels = 3 * sample * images.channels * images.side**2
                check_memory(pixels, each=4, what=f"samples_per_class = {self.samples_per_class}: {images.source}")
        return self


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
    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=4), Distinct]
    decays: Annotated[tuple[Decay, ...], Some, Distinct] = ("weight", "scaled", "frobenius")
    training: Training

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        layout = _check(self.images, self.network, self.training, where=f"network ({self.network})")
        for number, level in enumerate(self.levels):
            with _naming(f"levels.{number}.low_rank ({self.network})"):
                layout.check_low_rank(level.low_rank)
        return self


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
        names = [str(network) for network in (*self.compression.networks, self.tensors.network)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is there twice among networks; runs of both could not be told apart")
        check_runs(sum(len(self.runs(name)) for name in EXPERIMENTS) * self.seeds)
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
            return {"where": where, "levels": [level.plain() for level in own.levels], "decays": list(own.decays)}
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
        if variant.method in SPARSE:
            random_tickets = variant.method == "random_tickets"
            network.layout(images).check_sparse(variant.size, random_tickets=random_tickets)
        if variant.method == "low_rank":
            network.layout(images).check_low_rank(variant.size)
        return self._run(images, network, own, variant)

    def _network(self, axes: dict[str, Any]) -> tuple[Compression | TensorLayers, Network]:
        """Return the network with these axes, and the experiment that it belongs to."""
        for one in self.compression.networks:
            if one.axes == axes:
                return self.compression, one
        if self.tensors.network.axes == axes:
            return self.tensors, self.tensors.network
        there = (*self.compression.networks, self.tensors.network)
        names = ", ".join(map(str, there))
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
            more["redraw_head"] = own.redraw_head and variant.method == "grasp"
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


def _check(images: Images, network: Network, own: Training, *, where: str) -> Layout:
    """Return the layout of a network; raises ValueError if it cannot be trained so."""
    own.check_images(images)
    if own.cutout > images.side:
        raise ValueError(f"training.cutout = {own.cutout}: {images.source} has images of {images.side} px")
    with _naming(f"images: {images.source}"):
        check_side(images)
    layout = network.layout(images)
    batch = 3 * sum(layer.outputs * layer.side**2 for layer in layout.layers)
    batch *= min(own.batch_size, images.num_train_at_most)
    check_memory(batch, each=4, what=f"training.batch_size = {own.batch_size:,}: a batch of {where}")
    check_memory(6 * layout.parameters, each=4, what=f"{where}: a network of this depth and width")
    return layout


@contextlib.contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say before what is wrong with a value where it stands."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
