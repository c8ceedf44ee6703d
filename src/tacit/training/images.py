"""Images on a device: kept there as bytes, normalised, composed and augmented a batch at a time.

Whatever can be learned from has `labels` (N,) and gives normalised images by their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tacit import streams
from tacit.data.images import ImageSet
from tacit.nn.layout import arranged
from tacit.settings.images import Images


class Examples(Protocol):
    """What a network is trained on or tested with."""

    @property
    def labels(self) -> Tensor:
        """Labels (N,) on the device."""
        ...

    def begin(self, epoch: int) -> None:
        """Draw what is random in the images of an epoch; mostly nothing is."""
        ...

    def batch(self, numbers: Any, memory_format: torch.memory_format) -> Any:
        """Return the images (B, C, H, W) with these numbers, normalised; valid until the next call.

        Sentences are `objectives.Tokens`, for which labels stand for nothing but the device.
        """
        ...


class Bytes(NamedTuple):
    """Images (N, H, W, C) uint8 on a device, and what normalises them: (x - mean) / std for each channel."""

    pixels: Tensor
    mean: Tensor
    """(C,), on the scale of bytes, of the type that normalised images have"""
    std: Tensor

    @classmethod
    def on(
        cls,
        device: torch.device,
        images: np.ndarray,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: torch.dtype = torch.float32,
    ) -> Bytes:
        """Copy images (N, C, H, W) or (N, H, W) uint8 to `device`; `mean` and `std` have a number a channel."""
        images = images[:, None] if images.ndim == 3 else images
        if not len(mean) == len(std) == images.shape[1]:
            raise ValueError(f"images of {images.shape[1]} channels, but {len(mean)} means and {len(std)} deviations")
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1))).to(device)
        scaled = (torch.tensor([255 * value for value in part], dtype=dtype) for part in (mean, std))
        return cls(pixels, *(part.to(device) for part in scaled))

    def normalised(self, numbers: Tensor) -> Tensor:
        """Return the images (B, C, H, W) with these numbers, channels last in memory."""
        return self.normalise(self.pixels[numbers])

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, H, W, C) uint8 as images (B, C, H, W), channels last in memory."""
        return pixels.to(self.mean.dtype).sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)


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
        dtype: torch.dtype = torch.float32,
    ) -> LabelledImages:
        """Copy images (N, C, H, W) or (N, H, W) uint8 and labels (N,) to `device`."""
        return cls(Bytes.on(device, images, mean, std, dtype), torch.from_numpy(labels).to(device))

    def begin(self, epoch: int) -> None:
        """Draw nothing."""

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Return the images (B, C, H, W) with these numbers, normalised."""
        return arranged(self.images.normalised(numbers), memory_format)


def images_on(
    device: torch.device, images: ImageSet, settings: Images, dtype: torch.dtype = torch.float32
) -> tuple[LabelledImages, LabelledImages]:
    """Copy training and test images of a set to `device`, to be normalised as the settings say, in `dtype`."""
    mean, std = settings.statistics
    return (
        LabelledImages.on(device, images.train_images, images.train_labels, mean=mean, std=std, dtype=dtype),
        LabelledImages.on(device, images.test_images, images.test_labels, mean=mean, std=std, dtype=dtype),
    )


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

    def begin(self, epoch: int) -> None:
        """Draw nothing."""

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


class Augmented:
    """Images that are shifted by up to `padding` px and, if `flips`, mirrored at random, anew in each epoch.

    With `cutout` a square of so many px a side is then of the mean colour, zero once normalised, as much of it as lies
    in the image: its centre is any pixel (DeVries and Taylor 2017). `stream` names the draws; those of an image depend
    on it, the epoch and the image alone.
    """

    def __init__(
        self,
        images: LabelledImages,
        *,
        padding: int,
        flips: bool,
        stream: tuple[str | int, ...],
        cutout: int = 0,
    ):
        self.images, self.labels = images
        self.padding, self.flips, self.stream, self.cutout = padding, flips, stream, cutout
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw shifts, sides and centres of squares for all images."""
        generator = streams.numpy_generator(*self.stream, "augmentation", epoch)
        count, device = len(self.labels), self.labels.device
        self._shifts = torch.from_numpy(generator.integers(2 * self.padding + 1, size=(2, count))).to(device)
        mirrored = generator.integers(2, size=count).astype(bool) if self.flips else np.zeros(count, bool)
        self._mirrored = torch.from_numpy(mirrored).to(device)
        if self.cutout:
            height, width = self.images.pixels.shape[1:3]
            generator = streams.numpy_generator(*self.stream, "cutout", epoch)
            centres = generator.integers([[height], [width]], size=(2, count))
            self._centres = torch.from_numpy(centres).to(device)

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tensor:
        """Return the images (B, C, H, W) with these numbers, as they are in this epoch, normalised."""
        moved = crop_and_flip(
            self.images.pixels[numbers], self._shifts[:, numbers], self._mirrored[numbers], padding=self.padding
        )
        images = self.images.normalise(moved)
        if self.cutout:
            images = cut_out(images, self._centres[:, numbers], side=self.cutout)
        return arranged(images, memory_format)


def cut_out(images: Tensor, centres: Tensor, *, side: int) -> Tensor:
    """Make a square of each of images (B, C, H, W) zero, in place, and return them.

    `centres` (2, B) are rows and columns. A square begins `side` // 2 px before its centre, and what of it lies outside
    of the image is lost.
    """
    rows, columns = (
        _within(torch.arange(extent, device=images.device) - centre[:, None] + side // 2, side)
        for extent, centre in zip(images.shape[2:], centres, strict=True)
    )
    covered = rows[:, :, None] & columns[:, None, :]
    return images.masked_fill_(covered[:, None], 0)


def _within(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)


def crop_and_flip(pixels: Tensor, shifts: Tensor, mirrored: Tensor, *, padding: int) -> Tensor:
    """Return each of pixels (B, H, W, C) shifted and, where `mirrored` (B,) bool, mirrored after that.

    `shifts` (2, B), of rows and columns, are from 0 to 2 `padding`, of which `padding` is the middle. What is shifted
    in is zero (black, before normalisation). With uniform shifts and sides this is torchvision's `RandomCrop(size,
    padding=padding)` and `RandomHorizontalFlip()` for each image by itself.
    """
    count, height, width, _ = pixels.shape
    rows, columns = shifts
    columns = columns[:, None] + torch.arange(width, device=pixels.device)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = rows[:, None] + torch.arange(height, device=pixels.device)
    padded = pad(pixels, (0, 0, padding, padding, padding, padding))
    numbers = torch.arange(count, device=pixels.device)
    return padded[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
