"""The long-range regulariser (Razin, Maman, Cohen 2022, section 6).

If a network's output factorises over two patches I and J of its input, or adds over them, the direction of its
gradient on I does not depend on what J holds. So the mean absolute cosine between the gradients on I before and after J
takes the content of another image is 1 when the patches do not interact, and less the more they do. Adding it to
the loss pushes a network towards interaction over a distance.

Shapes: images x (B, C, H, W); a patch is (row, column) of its top left corner, of side p.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.nn.double_backward import input_gradients_only
from tacit.settings.networks import LongRangeRegularizer


class Patch(NamedTuple):
    """A rectangle of pixels."""

    row: int
    column: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """Return the view (B, C, height, width) of `images` on this patch."""
        return images[..., self.row : self.row + self.height, self.column : self.column + self.width]


def exchanged(images: Tensor, patch: Patch) -> Tensor:
    """Return a detached copy of `images` in which each takes `patch` from the next, the last from the first."""
    copy = images.detach().clone()
    patch.of(copy).copy_(patch.of(images.detach()).roll(-1, dims=0))
    return copy


def input_gradient(logits: Tensor, images: Tensor, patch: Patch) -> Tensor:
    """Return d(sum of logits)/d(images) on `patch`, flattened to (B, C p p), differentiable."""
    with input_gradients_only():
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return patch.of(gradient).flatten(1)


def regularizer(
    model: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor, patch: Patch, other: Patch
) -> Tensor:
    """Return the mean absolute cosine of input gradients on `patch` before and after `other` is exchanged.

    `images` must require a gradient and `logits` = model(images) be connected to them. The result is a scalar in
    [0, 1], differentiable with respect to the parameters through both gradients. As published there is no guard
    against a gradient of zero on the patch, which gives NaN.
    """
    before = input_gradient(logits, images, patch)
    mixed = exchanged(images, other).requires_grad_()
    after = input_gradient(model(mixed), mixed, patch)
    cosine = (before * after).sum(1) / (before.norm(dim=1) * after.norm(dim=1))
    return cosine.abs().mean()


def draw_order(patches: tuple[Patch, Patch], generator: np.random.Generator) -> tuple[Patch, Patch]:
    """Return both patches in either order, each half of the time."""
    first, second = patches
    return (first, second) if generator.integers(2) else (second, first)


def draw_distant_patches(
    settings: LongRangeRegularizer, *, height: int, width: int, generator: np.random.Generator
) -> tuple[Patch, Patch]:
    """Draw two square patches at least (or, with `adjacent_only`, exactly) `distance` px apart in an image.

    The first is uniform over all positions, the second over those whose corner lies at Chebyshev distance
    patch_size + distance or more from the first's. Raises ValueError if there is none for some first patch.
    """
    side, gap = settings.patch_size, settings.patch_size + settings.distance
    rows, columns = np.arange(height - side + 1), np.arange(width - side + 1)
    row, column = (int(generator.integers(len(places))) for places in (rows, columns))
    apart = np.maximum(np.abs(rows - row)[:, None], np.abs(columns - column)[None, :])
    allowed = np.flatnonzero(apart == gap if settings.adjacent_only else apart >= gap)
    if len(allowed) == 0:
        raise ValueError(
            f"no second patch of {side} px lies {settings.distance} px from one at ({row}, {column}) in an image of "
            f"{height} x {width} px; reduce patch_size or distance of the regularizer"
        )
    other_row, other_column = divmod(int(generator.choice(allowed)), len(columns))
    return Patch(row, column, side, side), Patch(other_row, other_column, side, side)
