"""The Is Same Class study (Razin, Maman, Cohen 2022, section 6).

Two images lie side by side on a canvas, and a network says whether they are of one class. The further apart they are,
the nearer to chance a convolutional network ends; a regulariser that asks for long-range interaction counters it.
Stages: `pair` images, `train` one network at one distance; `tacit.studies.locality` collects the runs and judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.data import images as image_sets
from tacit.data import pairs
from tacit.data.images import ImageSet
from tacit.settings.images import Images
from tacit.settings.same_class import Canvas, Pairs, RunSettings
from tacit.studies import examples, locality

STUDY = "same_class"
PAIRS = store.Kind(
    "same class pairs",
    {
        "train_indices": store.Array("int64", "train 2"),
        "train_labels": store.Array("uint8", "train"),
        "test_indices": store.Array("int64", "test 2"),
        "test_labels": store.Array("uint8", "test"),
    },
)
RUN = store.Kind("same class run", locality.ARRAYS)
"""Kinds of file."""

AXIS = locality.Axis(STUDY, RUN, "distance", "a distance of", "px", one_test_set=True)
tables = partial(locality.tables, AXIS)


def pair(images: ImageSet, settings: Pairs) -> dict[str, np.ndarray]:
    """Draw pairs of training images and pairs of test images: indices (N, 2) and labels (N,) of each part.

    Test pairs are of training images if `settings.test_from` says so.
    They serve all distances: where the images lie is no part of them.
    """
    arrays: dict[str, np.ndarray] = {}
    for part, num, labels in (
        ("train", settings.num_train, images.train_labels),
        ("test", settings.num_test, getattr(images, f"{settings.test_from}_labels")),
    ):
        drawn = pairs.draw(labels, num, generator=streams.numpy_generator(STUDY, "pairs", settings.seed, part))
        arrays |= {f"{part}_indices": drawn.indices, f"{part}_labels": drawn.labels}
    return arrays


def show(
    images: Sequence[str],
    pairs: Sequence[str],
    *,
    distances: Sequence[int],
    selection: Mapping[str, Any],
    canvas: Mapping[str, Any],
) -> dict[str, pd.DataFrame]:
    """Return a table of some training pairs at each of the `distances`, as `tacit.studies.examples` makes it.

    From the one file of `images`, of which `selection` takes a part, and the one file of `pairs` of them, on a `canvas`
    of the mean colour; both settings as plain values.
    """
    taken, space = Images.from_plain(selection), Canvas.from_plain(canvas)
    (dataset,), (paired,) = images, pairs
    pixels = image_sets.read(dataset, taken).train_images
    arrays = store.read(paired, kind=PAIRS).arrays
    found = []
    for distance in distances:
        for label, numbers in examples.first_of_each(arrays["train_labels"]).items():
            for number in numbers:
                both = pixels[arrays["train_indices"][number]]
                drawn = compose(both, space, distance=distance, mean=taken.statistics[0])
                found.append(examples.Example(distance, label, number, drawn))
    return {"examples": examples.to_table(found)}


def compose(both: np.ndarray, canvas: Canvas, *, distance: int, mean: Sequence[float]) -> np.ndarray:
    """Lay two images, (2, channels, side, side) uint8, on a canvas of the `mean` colour; return it, (channels, H, W).

    Raises ValueError if they do not fit.
    """
    side = both.shape[-1]
    colour = np.array([round(255 * channel) for channel in mean], np.uint8)[:, None, None]
    drawn = np.tile(colour, (1, canvas.height, canvas.width))
    for (row, column), image in zip(canvas.place(side, distance), both, strict=True):
        drawn[:, row : row + side, column : column + side] = image
    return drawn


def train(
    images: ImageSet,
    paired: store.Record,
    settings: RunSettings,
    *,
    distance: int,
    coefficient: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Train one network on `images`, `paired` as `pair` did, `distance` px apart; return METRICS
    by epoch, (E,) each, and `test_correct` (test,) uint8, of the last.

    Initialisation and order of batches depend on the seed alone, so runs of different distances and coefficients are
    paired. Raises as `tacit.training.networks.fit` does; an interrupted training continues from `checkpoint`.
    """
    # Here, because all other stages do without torch, whose import takes seconds.
    from tacit import devices
    from tacit.nn import resnets
    from tacit.optim.long_range import Patch, draw_order
    from tacit.training.images import Bytes, ImagePairs
    from tacit.training.networks import fit
    from tacit.training.objectives import LongRangeBinaryCrossEntropy

    side, canvas = settings.images.side, settings.canvas
    corners = canvas.place(side, distance)
    first, second = (Patch(*corner, side, side) for corner in corners)
    tested = paired.settings.get("pairs", {}).get("test_from", "test")
    with devices.acquire() as device:

        def paired_on_device(part: str, pixels: np.ndarray) -> ImagePairs:
            return ImagePairs(
                Bytes.on(device, pixels, *settings.images.statistics),
                paired.arrays[f"{part}_indices"],
                paired.arrays[f"{part}_labels"],
                canvas=(canvas.height, canvas.width),
                corners=corners,
            )

        return fit(
            partial(resnets.build, settings.network, in_channels=settings.images.channels),
            paired_on_device("train", images.train_images),
            paired_on_device("test", getattr(images, f"{tested}_images")),
            settings.training,
            LongRangeBinaryCrossEntropy(
                coefficient=coefficient,
                sample_patches=partial(draw_order, (first, second)),
                stream=(STUDY, "train", seed),
            ),
            checkpoint=checkpoint,
            settings={"distance": distance, "coefficient": coefficient, "seed": seed, "pairs": paired.settings}
            | settings.plain(),
        )
