"""Images on a device: kept there as bytes, normalised, composed and augmented a batch at a time.

Whatever can be learned from has `labels` (N,) and gives normalised images by their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tacit.nn.layout import arranged


class Examples(Protocol):
    """What a network is trained on or tested with."""

    @property
    def labels(self) -> Tensor:
        """Labels (N,) on the device."""
        ...

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Return the images (B, C, H, W) with these numbers, normalised; valid until the next call."""
        ...


class Bytes(NamedTuple):
    """Images (N, H, W, C) uint8 on a device, and what normalises them: (x - mean) / std for each channel."""

    pixels: Tensor
    mean: Tensor
    """(C,) float32, on the scale of bytes"""
    std: Tensor

    @classmethod
    def on(cls, device: torch.device, images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Bytes:
        """Copy images (N, C, H, W) or (N, H, W) uint8 to `device`; `mean` and `std` have a number a channel."""
        images = images[:, None] if images.ndim == 3 else images
        if not len(mean) == len(std) == images.shape[1]:
            raise ValueError(f"images of {images.shape[1]} channels, but {len(mean)} means and {len(std)} deviations")
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1))).to(device)
        scaled = (torch.tensor([255 * value for value in part], dtype=torch.float32) for part in (mean, std))
        return cls(pixels, *(part.to(device) for part in scaled))

    def normalised(self, numbers: Tensor) -> Tensor:
        """Return the images (B, C, H, W) float32 with these numbers, channels last in memory."""
        return self.normalise(self.pixels[numbers])

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, H, W, C) uint8 as images (B, C, H, W) float32, channels last in memory."""
        return pixels.float().sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)


class LabelledImages(NamedTuple):
    """Images with labels."""

    images: Bytes
    labels: Tensor

    @classmethod
    def on(
        cls,
        device: torch.device,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> LabelledImages:
        """Copy images (N, C, H, W) or (N, H, W) uint8 and labels (N,) to `device`."""
        return cls(Bytes.on(device, images, mean, std), torch.from_numpy(labels).to(device))

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Return the images (B, C, H, W) with these numbers, normalised."""
        return arranged(self.images.normalised(numbers), memory_format)


class ImagePairs:
    """Pairs of images side by side on a canvas, which is zero elsewhere, once normalised: as if of the mean colour.

    Canvases are composed when asked for, in memory that is used again: only the two squares are ever written.
    """

    def __init__(
        self,
        images: Bytes,
        indices: np.ndarray,
        labels: np.ndarray,
        *,
        canvas: tuple[int, int],
        corners: tuple[tuple[int, int], tuple[int, int]],
    ):
        """Pair `images` by indices (N, 2); labels (N,); height and width of a canvas, and the top left corners (row,
        column) of the two images on it.
        """
        device = images.pixels.device
        self.images, self.canvas, self.corners = images, canvas, corners
        self.indices = torch.from_numpy(indices).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self._memory: Tensor | None = None

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Return the canvases (B, C, H, W) with these numbers; the next call overwrites them."""
        out = self._zeros(len(numbers), memory_format)
        side = self.images.pixels.shape[1]
        for (row, column), indices in zip(self.corners, self.indices[numbers].unbind(1), strict=True):
            out[:, :, row : row + side, column : column + side] = self.images.normalised(indices)
        return out

    def _zeros(self, count: int, memory_format: torch.memory_format) -> Tensor:
        """Return memory for `count` canvases that is zero outside of the two squares."""
        memory = self._memory
        if memory is None or len(memory) < count or not memory.is_contiguous(memory_format=memory_format):
            shape = (count, self.images.pixels.shape[3], *self.canvas)
            memory = torch.empty(shape, device=self.labels.device, memory_format=memory_format).zero_()
            self._memory = memory
        return memory[:count]


def crop_and_flip(pixels: Tensor, *, padding: int, generator: np.random.Generator) -> Tensor:
    """Return each of pixels (B, H, W, C) shifted at random by up to `padding` px and, half of the time, mirrored.

    What is shifted in is zero (black, before normalisation). In distribution this is torchvision's `RandomCrop(size,
    padding=padding)` and `RandomHorizontalFlip()` for each image by itself; the draws come from `generator`, so that
    they do not depend on the device.
    """
    count, height, width, _ = pixels.shape
    shifts = generator.integers(2 * padding + 1, size=(2, count))
    flips = generator.integers(2, size=count)
    rows, columns = (torch.from_numpy(shift).to(pixels.device) for shift in shifts)
    columns = columns[:, None] + torch.arange(width, device=pixels.device)
    mirrored = torch.from_numpy(flips.astype(bool)).to(pixels.device)[:, None]
    columns = torch.where(mirrored, columns.flip(1), columns)
    rows = rows[:, None] + torch.arange(height, device=pixels.device)
    padded = pad(pixels, (0, 0, padding, padding, padding, padding))
    numbers = torch.arange(count, device=pixels.device)
    return padded[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
