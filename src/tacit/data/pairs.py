"""Pairs of labelled images, and whether both are of one class (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tacit.errors import UserError


class Pairs(NamedTuple):
    """N pairs of images, by their numbers."""

    indices: np.ndarray
    """(N, 2) int64"""
    labels: np.ndarray
    """(N,) uint8: 1 if both images are of one class"""


def draw(classes: np.ndarray, num: int, *, generator: np.random.Generator) -> Pairs:
    """Draw `num` pairs of the images whose classes (n,) are given; images are used as often as they come up.

    A pair is of one class with probability 1/2. Its first image is uniform in a class that is uniform over all; its
    second is uniform in the same class, so that it may be the same image, or uniform over the images of all other
    classes. Fewer pairs are the first of many. Raises UserError if there is but one class.
    """
    present, counts = np.unique(classes, return_counts=True)
    if len(present) < 2:
        raise UserError("pairs need images of at least two classes; keep more classes, or more images")
    by_class = np.argsort(classes, kind="stable")
    starts = np.cumsum(counts) - counts
    labels, which, first, second = generator.random((num, 4)).T
    same = labels < 0.5
    chosen = _below(which, len(present))
    start, count = starts[chosen], counts[chosen]
    others = _below(second, len(classes) - count)
    # Counted with the class left out; behind it in the sorted order come those of later classes.
    others = np.where(others < start, others, others + count)
    places = np.stack([start + _below(first, count), np.where(same, start + _below(second, count), others)], axis=1)
    return Pairs(by_class[places], same.astype(np.uint8))


def _below(uniforms: np.ndarray, bounds: np.ndarray | int) -> np.ndarray:
    """Return whole numbers from 0 to below `bounds`, uniform as `uniforms` are in [0, 1)."""
    return np.minimum((uniforms * bounds).astype(np.int64), np.asarray(bounds) - 1)
