"""The Pathfinder study (Razin, Maman, Cohen 2022, section 6).

Convolutional networks are biased towards short-range interactions: the longer the two paths, the nearer to chance a
network ends, and a regulariser that asks for long-range interaction counters it. Stages: raw images are drawn by
`tacit.data.pathfinder`; `assemble` datasets, `train` one network; `tacit.studies.locality` collects the runs and
judges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tacit import store, streams
from tacit.settings.pathfinder import RunSettings
from tacit.studies import examples, locality

STUDY = "pathfinder"
RAW = store.Kind(
    "pathfinder raw images",
    {
        "images": store.Array("uint8", "images height width"),
        "labels": store.Array("uint8", "images"),
        "marked_paths": store.Array("uint8", "images 2"),
        "tips": store.Array("int16", "images 2 2 2"),
        "segments": store.Array("int16", "images 2 path_length 2 2"),
        "num_distractors": store.Array("int16", "images"),
        "num_restarts": store.Array("int16", "images"),
    },
)
DATASET = store.Kind(
    "pathfinder dataset",
    {
        "train_images": store.Array("uint8", "train size size"),
        "train_labels": store.Array("uint8", "train"),
        "train_indices": store.Array("int64", "train"),
        "test_images": store.Array("uint8", "test size size"),
        "test_labels": store.Array("uint8", "test"),
        "test_indices": store.Array("int64", "test"),
    },
    attributes=("train_mean", "train_std"),
)
RUN = store.Kind("pathfinder run", locality.ARRAYS)
"""Kinds of file."""

AXIS = locality.Axis(STUDY, RUN, "path_length", "path length")
tables = partial(locality.tables, AXIS)


class Dataset(NamedTuple):
    """Resized images of one path length, split in two."""

    train_images: np.ndarray
    """(n, size, size) uint8"""
    train_labels: np.ndarray
    """(n,) uint8"""
    train_indices: np.ndarray
    """(n,) int64, numbers of the raw images"""
    test_images: np.ndarray
    test_labels: np.ndarray
    test_indices: np.ndarray


def split(*, path_length: int, seed: int, num_train: int, num_test: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the raw images in the train and in the test set."""
    order = streams.numpy_generator(STUDY, "split", seed, path_length).permutation(num_train + num_test)
    return order[:num_train], order[num_train:]


def assemble(
    shards: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    path_length: int,
    seed: int,
    num_train: int,
    num_test: int,
    size: int,
) -> Dataset:
    """Resize the raw images (bilinear with anti-aliasing) and split them.

    `shards` give images (n, H, W) uint8 and labels (n,), together the first num_train + num_test of the
    path length, in order. Raises ValueError if their number differs.
    """
    total = num_train + num_test
    images, labels = np.empty((total, size, size), np.uint8), np.empty(total, np.uint8)
    done = 0
    for shard_images, shard_labels in shards:
        if done + len(shard_images) > total:
            raise ValueError(f"more than the {total} raw images asked for; the shards and the dataset do not match")
        labels[done : done + len(shard_labels)] = shard_labels
        for image in shard_images:
            images[done] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
            done += 1
    if done != total:
        raise ValueError(f"{done} raw images in place of {total}; the shards and the dataset do not match")
    train, test = split(path_length=path_length, seed=seed, num_train=num_train, num_test=num_test)
    return Dataset(images[train], labels[train], train, images[test], labels[test], test)


def read_shards(paths: Iterable[str | Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and labels of raw files, one file at a time."""
    for path in paths:
        arrays = store.read(path, kind=RAW, names=["images", "labels"]).arrays
        yield arrays["images"], arrays["labels"]


def show(datasets: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return a table of some training images of each of the `datasets`, as `tacit.studies.examples` makes it."""
    found = []
    for path in datasets:
        dataset = store.read(path, kind=DATASET, names=["train_images", "train_labels"])
        for label, numbers in examples.first_of_each(dataset.arrays["train_labels"]).items():
            images = dataset.arrays["train_images"][numbers, None]
            length = dataset.settings[AXIS.difficulty]
            found += [examples.Example(length, label, *drawn) for drawn in zip(numbers, images, strict=True)]
    return {"examples": examples.to_table(found)}


def pixel_statistics(images: np.ndarray) -> tuple[float, float]:
    """Return mean and unbiased standard deviation of all pixels of uint8 `images`, on the scale [0, 1]; exact."""
    histogram = np.zeros(256, np.int64)
    for image in images:
        histogram += np.bincount(image.ravel(), minlength=256)
    # Whole numbers of any size, so that nothing is rounded before the last division.
    counts = [int(count) for count in histogram]
    total = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level**2 * count for level, count in enumerate(counts))
    variance = (total * second - first**2) / (total * (total - 1))
    return first / total / 255, variance**0.5 / 255


def train(
    dataset: store.Record,
    settings: RunSettings,
    *,
    path_length: int,
    coefficient: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Train one network on `dataset` (as `assemble` made it); return METRICS by epoch, (E,) float64
    each, and `test_correct` (test,) uint8, of the last. It learns from the first `train_on` of the training images.

    Initialisation and order of batches depend on the seed alone, so runs of different coefficients are paired.
    Raises as `tacit.training.networks.fit` does; an interrupted training continues from `checkpoint`.
    """
    # Here, because all other stages do without torch, whose import takes seconds.
    from tacit import devices
    from tacit.nn import resnets
    from tacit.optim.long_range import draw_distant_patches
    from tacit.training.images import LabelledImages
    from tacit.training.networks import fit
    from tacit.training.objectives import LongRangeBinaryCrossEntropy

    arrays, attributes = dataset.arrays, dataset.attributes
    height, width = arrays["train_images"].shape[1:]
    mean, std = [attributes["train_mean"]], [attributes["train_std"]]
    with devices.acquire() as device:
        train, test = (
            LabelledImages.on(
                device, arrays[f"{part}_images"][:most], arrays[f"{part}_labels"][:most], mean=mean, std=std
            )
            for part, most in (("train", settings.train_on), ("test", None))
        )
        return fit(
            partial(resnets.build, settings.network, in_channels=1),
            train,
            test,
            settings.training,
            LongRangeBinaryCrossEntropy(
                coefficient=coefficient,
                sample_patches=lambda generator: draw_distant_patches(
                    settings.regularizer, height=height, width=width, generator=generator
                ),
                stream=(STUDY, "train", seed),
            ),
            checkpoint=checkpoint,
            settings={"path_length": path_length, "coefficient": coefficient, "seed": seed, "dataset": dataset.settings}
            | settings.plain(),
        )
