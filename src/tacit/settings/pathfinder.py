"""Settings of the Pathfinder study (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tacit.settings.base import Count, Distinct, Fraction, NonNegative, NonNegativeInt, Positive, Settings, digest
from tacit.settings.networks import LongRangeRegularizer, Network, Training

Contrast = Annotated[float, Field(gt=0, le=1)]


class Rendering(Settings):
    """What a raw image looks like; lengths in px of the window. The defaults are the published ones."""

    window: tuple[Count, Count] = (300, 300)
    """Height and width."""
    padding: NonNegativeInt = 22
    """Border band that paths keep clear of."""
    segment_length: Count = 5
    thickness: Positive = 2
    margins: Annotated[tuple[Count, ...], Field(min_length=1)] = (3,)
    """Half the gap between strokes; one is drawn at random for each image."""
    antialias: Count = 2
    """Strokes are drawn at this many times the resolution."""
    continuity: Positive = 1.8
    """Larger is straighter."""
    seed_distance: Count = 27
    """Between the origins of the two paths."""
    marker_radius: Count = 3
    distractor_segments: NonNegativeInt = 30
    """Segments of all distractors together; each distractor is a third as long as a path, rounded down."""
    max_segment_retrials: NonNegativeInt = 2
    max_distractor_retrials: NonNegativeInt = 4
    path_contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)] = (1.0,)
    segment_contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)] = (1.0,)
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
        return self

    @property
    def identity(self) -> str:
        """A short name of exactly these values, for file names."""
        return digest(self.plain())


class Dataset(Settings):
    """How many images of each path length, and of what size."""

    seed: NonNegativeInt
    num_train: Count
    num_test: Count
    size: Count
    """Side, in px, that images are resized to."""


class RunSettings(Settings):
    """What a run depends on besides its dataset, path length, coefficient and seed."""

    network: Network
    training: Training
    regularizer: LongRangeRegularizer


class PathfinderSettings(RunSettings):
    """The whole study: a run for each path length, coefficient and seed."""

    path_lengths: Annotated[tuple[Count, ...], Field(min_length=1), Distinct]
    coefficients: Annotated[tuple[NonNegative, ...], Field(min_length=1), Distinct]
    """Of the long-range regulariser; 0 trains without it."""
    seeds: Count
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

    @property
    def run(self) -> RunSettings:
        """The part that training depends on."""
        return RunSettings(network=self.network, training=self.training, regularizer=self.regularizer)
