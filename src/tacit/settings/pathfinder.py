"""Settings of the Pathfinder study (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tacit.paths import WHOLE, Axes
from tacit.settings.base import (
    Count,
    Distinct,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Pixels,
    Seed,
    Seeds,
    Settings,
    Some,
    check_memory,
    check_runs,
    digest,
)
from tacit.settings.networks import LongRangeRegularizer, Network, Training

Contrast = Annotated[float, Field(ge=0.01, le=1)]
Length = Annotated[int, Field(ge=1, le=200)]
Retrials = Annotated[int, Field(ge=0, le=1000)]
MOST_SHARDS = 10_000

RAW = Axes(path_length=Length, images=Annotated[str, Field(pattern=f"^{WHOLE}-{WHOLE}$")])
DATASET = Axes(path_length=Length, size=int, train=int, test=int)
RUN = Axes(path_length=Length, coefficient=NonNegative, seed=int)
"""What tells files from each other; `images` are the numbers of the first and the last, such as 0-95."""


class Rendering(Settings):
    """What a raw image looks like; lengths in px of the window. The defaults are the published ones."""

    window: tuple[Pixels, Pixels] = (300, 300)
    """Height and width."""
    padding: NonNegativeInt = 22
    """Border band that paths keep clear of."""
    segment_length: Length = 5
    thickness: Annotated[float, Field(gt=0, le=50)] = 2
    margins: Annotated[tuple[Annotated[int, Field(ge=1, le=100)], ...], Field(min_length=1, max_length=10)] = (3,)
    """Half the gap between strokes; one is drawn at random for each image."""
    antialias: Annotated[int, Field(ge=1, le=8)] = 2
    """Strokes are drawn at this many times the resolution."""
    continuity: Annotated[float, Field(ge=0.01, le=100)] = 1.8
    """Larger is straighter."""
    seed_distance: Pixels = 27
    """Distance between the origins of the two paths."""
    marker_radius: Length = 3
    distractor_segments: Annotated[int, Field(ge=0, le=10_000)] = 30
    """Segments of all distractors together; each distractor is a third as long as a path, rounded down."""
    max_segment_retrials: Retrials = 2
    max_distractor_retrials: Retrials = 4
    path_contrasts: Annotated[tuple[Contrast, ...], Some] = (1.0,)
    segment_contrasts: Annotated[tuple[Contrast, ...], Some] = (1.0,)
    availability: Fraction = 0.01
    """Share of free pixels below which no further distractor is tried."""
    use_single_segments: bool = False
    """Fill up with distractors of one segment."""
    mask_last_segments: bool = False
    """Keep distractors off the last segment of path 1 as well; the published images do not."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.thickness * self.antialias != round(self.thickness * self.antialias):
            raise ValueError("thickness times antialias must be a whole number")
        least = 4 * self.seed_distance + 1
        if min(self.window) < least:
            raise ValueError(f"a seed_distance of {self.seed_distance} needs a window of at least {least} x {least} px")
        if min(self.window) <= 2 * self.padding:
            raise ValueError(f"a padding of {self.padding} leaves no room in the window")
        if 2 * self.marker_radius >= self.seed_distance:
            raise ValueError(
                f"marker_radius = {self.marker_radius}: discs on two paths that start {self.seed_distance} px apart "
                "(seed_distance) would touch; they tell the paths apart only if they are smaller"
            )
        reach = self.segment_length + 2 * max(self.margins) + self.thickness
        if 2 * reach > min(self.window):
            raise ValueError(
                f"a stroke with its margins (segment_length + 2 margins + thickness) is {reach:g} px long, more than "
                f"half of a window of {self.window[0]} x {self.window[1]} px"
            )
        return self

    @property
    def identity(self) -> str:
        """A short name of exactly these values, for file names."""
        return digest(self.plain())


class Dataset(Settings):
    """How many images of each path length, and of what size."""

    seed: Seed
    num_train: Annotated[int, Field(ge=2, le=10**7)]
    num_test: Annotated[int, Field(ge=1, le=10**7)]
    size: Annotated[int, Field(ge=1, le=1024)]
    """Side, in px, that images are resized to."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        total = self.num_train + self.num_test
        check_memory(total * self.size**2, each=2, what=f"{total:,} images of {self.size} x {self.size} px")
        return self


class RunSettings(Settings):
    """What a run depends on besides its dataset, path length, coefficient and seed."""

    network: Network
    training: Training
    regularizer: LongRangeRegularizer
    train_on: Annotated[int, Field(ge=1, le=10**7)] | None = None
    """Training images that are learned from, the first of those of the dataset; by default all.

    The test set stays, and so does what images are normalised by.
    """

    later: ClassVar[tuple[str, ...]] = ("train_on",)


class PathfinderSettings(RunSettings):
    """The whole study: a run for each path length, coefficient and seed."""

    path_lengths: Annotated[tuple[Length, ...], Some, Distinct]
    coefficients: Annotated[tuple[NonNegative, ...], Some, Distinct]
    """Coefficients of the long-range regulariser; 0 trains without it."""
    seeds: Seeds
    """Number of runs of each setting."""
    rendering: Rendering
    dataset: Dataset
    images_per_shard: Count
    """Images that one rendering job draws; no image depends on it."""

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        patch, size = self.regularizer.patch_size, self.dataset.size
        most = -(-(size - patch) // 2) - patch
        if self.regularizer.distance > most:
            raise ValueError(f"patches of {patch} px in images of {size} px can be at most {most} px apart")
        return self

    @model_validator(mode="after")
    def _can_be_planned(self) -> Self:
        check_runs(len(self.path_lengths) * len(self.coefficients) * self.seeds)
        data = self.dataset
        shards = -(-(data.num_train + data.num_test) // self.images_per_shard)
        if shards > MOST_SHARDS:
            raise ValueError(
                f"images_per_shard = {self.images_per_shard}: these are {shards:,} jobs a path length; at most "
                f"{MOST_SHARDS:,} can be planned, so draw more images in each"
            )
        images = min(data.num_train + data.num_test, self.images_per_shard)
        height, width = self.rendering.window
        check_memory(images * height * width, each=2, what=f"images_per_shard = {self.images_per_shard:,}: a shard")
        return self

    @model_validator(mode="after")
    def _last_batch_can_be_normalized(self) -> Self:
        size = self.dataset.size
        learned, there = self.train_on, self.dataset.num_train
        if learned is not None and learned >= there:
            raise ValueError(f"train_on = {learned}: give fewer than the {there} of num_train, or leave it out for all")
        self.network.check_last_batch(learned or there, self.training.batch_size, (size, size))
        return self

    @property
    def run(self) -> RunSettings:
        """The part that training depends on."""
        return RunSettings(
            network=self.network, training=self.training, regularizer=self.regularizer, train_on=self.train_on
        )
