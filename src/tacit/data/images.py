"""Labelled image sets, whole or in part, as all studies that learn from images get them.

`convert` reads published files once, into a file of Tacit's own; `read` gives the part of it that settings ask for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tacit import store, streams
from tacit.data.image_sources import SOURCES, ImageSet, ImageSourceError, convert, shortage
from tacit.settings.images import Images

__all__ = ["DATASET", "SOURCES", "ImageSet", "ImageSourceError", "convert", "read", "select", "shortage"]

DATASET = store.Kind(
    "image set",
    {
        "train_images": store.Array("uint8", "train channels size size"),
        "train_labels": store.Array("int64", "train"),
        "test_images": store.Array("uint8", "test channels size size"),
        "test_labels": store.Array("int64", "test"),
    },
)
"""Kind of file."""


def read(path: str | Path, settings: Images) -> ImageSet:
    """Return the part of the image set at `path` (as `convert` made it) that `settings` ask for."""
    return select(ImageSet(**store.read(path, kind=DATASET).arrays), settings)


def select(images: ImageSet, settings: Images) -> ImageSet:
    """Return the classes and numbers of images that `settings` ask for, in the order of the file.

    A subset is the beginning of the file or of a random order of all images, which depends on source, part and seed
    alone: smaller subsets are part of larger ones, and without numbers, leaving out a class changes nothing in the
    others. Raises ImageSourceError if there are fewer images than asked for.
    """
    train = (images.train_images, images.train_labels)
    test = (images.test_images, images.test_labels)
    return ImageSet(
        *_part(settings, "train", *train, settings.num_train, settings.train_fraction),
        *_part(settings, "test", *test, settings.num_test, None),
    )


def _part(
    settings: Images, part: str, images: np.ndarray, labels: np.ndarray, number: int | None, fraction: float | None
) -> tuple[np.ndarray, np.ndarray]:
    order = np.arange(len(labels))
    if settings.subset == "random":
        stream = streams.numpy_generator("images", "subset", settings.source, part, settings.subset_seed)
        order = stream.permutation(len(labels))
    if settings.classes is not None:
        order = order[np.isin(labels[order], settings.classes)]
    if fraction is not None:
        number = max(1, round(fraction * len(order)))
    if number is not None and number > len(order):
        classes = "" if settings.classes is None else f" of classes {', '.join(map(str, settings.classes))}"
        raise ImageSourceError(f"num_{part} = {number}: {settings.source} has only {len(order)} {part} images{classes}")
    chosen = np.sort(order[:number])
    kept = labels[chosen]
    if settings.classes is not None:
        kept = np.argmax(kept[:, None] == np.array(settings.classes), axis=1)
    return images[chosen], kept.astype(np.int64)
