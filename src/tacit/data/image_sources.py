"""Published image sets: which files they come in, whether those are complete, and how they are read.

CIFAR-10, CIFAR-100 and MNIST as torchvision knows them, Tiny ImageNet as a folder or a zip, and the handwritten digits
that come with scikit-learn.

Archives are read in place and by the names that must be in them; nothing is unpacked, and of a pickle nothing is
taken but numbers, text and NumPy arrays.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import pickle
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
from PIL import Image

from tacit import streams
from tacit.errors import UserError
from tacit.settings.images import FACTS

Read = Callable[[str], bytes]
"""Gives the content of a file by its name below the folder, or in the archive, that a source comes in."""

Advance = Callable[[int], None]
"""Hears how many more images have been read."""


class ImageSourceError(UserError):
    """The files of a source are missing or are not what they should be."""


class ImageSet(NamedTuple):
    """Images (n, C, H, W) uint8 and their classes (n,) int64, in two parts."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class File(NamedTuple):
    """A published file."""

    path: str
    """Below the folder of image sets."""
    md5: str | None
    """Not known of files that were unpacked from an archive; their content is checked when it is read."""
    size: int | None


class Form(NamedTuple):
    """One of the forms in which a source may lie in the folder, and how to read it."""

    files: tuple[File, ...]
    read: Callable[[Path, Advance], ImageSet]
    lacks: Callable[[Path], list[str]] = lambda folder: []
    """Says what is missing of files too many to be listed."""


class Source(NamedTuple):
    """Where a source comes from and what it must hold."""

    title: str
    page: str
    urls: tuple[str, ...]
    """Of the files of the first form; what is allowed to be fetched."""
    forms: tuple[Form, ...]
    num_train: int
    num_test: int


def shortage(source: Source, folder: str | Path, *, download: bool = False) -> str | None:
    """Say which files of `source` are not in `folder` as published, and how to get them; None if all are.

    Sizes and checksums are compared. `download` tells whether missing files may be fetched, which is then not advised.
    """
    found = [_complaints(form, Path(folder)) for form in source.forms]
    return None if any(not lines for lines in found) else _advice(source, Path(folder), found, download=download)


def convert(source: Source, *, folder: str | Path, size: int, download: bool, advance: Advance) -> ImageSet:
    """Read all images of `source`, resized to `size` px if theirs is another (bilinear with anti-aliasing).

    Files are looked for in `folder` and compared with their checksums; missing ones are fetched if `download` is true.
    `advance` hears how many images have been read. Raises ImageSourceError if files are missing, incomplete or not the
    published ones.
    """
    folder = Path(folder)
    if download and shortage(source, folder):
        _fetch(source, folder)
    if complaint := shortage(source, folder, download=download):
        raise ImageSourceError(complaint)
    form = next(form for form in source.forms if not _complaints(form, folder))
    try:
        images = form.read(folder, advance)
    except (ImageSourceError, MemoryError):
        raise
    except Exception as error:
        raise ImageSourceError(
            f"{source.title} in {folder} cannot be read ({type(error).__name__}: {error}); "
            f"fetch it again from {source.page}"
        ) from error
    _check_numbers(source, images)
    return ImageSet(*(_resized(part, size) if part.ndim == 4 else part for part in images))


# Files.


def _complaints(form: Form, folder: Path) -> list[str]:
    """Return a line for each file of `form` that is not as published."""
    return [line for file in form.files if (line := _complaint(file, folder))] or form.lacks(folder)


def _complaint(file: File, folder: Path) -> str | None:
    """Say how a file differs from the published one; None if it does not."""
    path, expected = folder / file.path, file.path
    if file.size is not None:
        expected += f", {file.size:,} bytes"
    if file.md5 is not None:
        expected += f", MD5 {file.md5}"
    if not path.is_file():
        return f"{expected}: missing"
    status = path.stat()
    if file.size is not None and status.st_size != file.size:
        return f"{expected}: has {status.st_size:,} bytes; incomplete or not the published file"
    if file.md5 is not None and (found := _md5(path, status.st_size, status.st_mtime_ns)) != file.md5:
        return f"{expected}: has MD5 {found}; damaged or not the published file"
    return None


def _advice(source: Source, folder: Path, found: list[list[str]], *, download: bool) -> str:
    forms = "\nor\n".join("\n".join(f"  {line}" for line in lines) for lines in found)
    advice = f"Put them there (from {source.page}), or set images_folder in config/config.yaml to where they are"
    if source.urls and not download:
        advice += ", or set download_images: true there to have them fetched"
    return f"{source.title} is not complete in the folder {folder}:\n{forms}\n{advice}."


@functools.cache
def _md5(path: Path, size: int, changed: int) -> str:
    """Return the checksum of a file, computed once for as long as it does not change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch(source: Source, folder: Path) -> None:
    """Fetch what is not there as published, one process at a time, each file under its name only once it is whole."""
    # Here, because planning a workflow needs neither and waits for both.
    from torchvision.datasets.utils import download_url

    from tacit import store

    for url, file in zip(source.urls, source.forms[0].files, strict=True):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(f".{path.name}.lock")):
            if not _complaint(file, folder):
                continue
            with store.replacing(path) as part:
                try:
                    download_url(url, part.parent, filename=part.name, md5=file.md5)
                except (OSError, RuntimeError) as error:
                    raise ImageSourceError(
                        f"{source.title}: {url} could not be fetched ({error}); put {path} there by hand"
                    ) from error


def _check_numbers(source: Source, images: ImageSet) -> None:
    found = (len(images.train_labels), len(images.test_labels))
    if found != (source.num_train, source.num_test):
        raise ImageSourceError(
            f"{source.title}: {found[0]:,} training and {found[1]:,} test images in place of "
            f"{source.num_train:,} and {source.num_test:,}; fetch the published files again"
        )


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Return images (n, C, H, W) uint8 brought to (n, C, size, size)."""
    if images.shape[2:] == (size, size):
        return images
    out = np.empty((*images.shape[:2], size, size), np.uint8)
    for channels, resized in zip(images, out, strict=True):
        for channel, place in zip(channels, resized, strict=True):
            place[:] = Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR)
    return out


# CIFAR: batches pickled by Python 2, as a folder or in a tar archive.

_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    """Makes numbers, text, lists, dicts and NumPy arrays; anything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of CIFAR does") from None


def _cifar_batch(content: bytes, *, name: str, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, 32, 32) and labels (n,) of a pickled batch."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        images, labels = np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32), np.asarray(batch[key])
        if images.dtype != np.uint8 or labels.shape != (len(images),) or labels.dtype.kind != "i":
            raise ValueError(f"images of {images.dtype}, {len(images)} of them with {labels.shape} labels")
    except Exception as error:
        raise ImageSourceError(
            f"{name}: no batch of CIFAR ({error}); nothing in it was executed. Fetch it again"
        ) from error
    return images, labels.astype(np.int64)


def _read_cifar(read: Read, advance: Advance, *, train: tuple[str, ...], test: str, key: bytes) -> ImageSet:
    parts = []
    for names in (train, (test,)):
        batches = []
        for name in names:
            batches.append(_cifar_batch(read(name), name=name, key=key))
            advance(len(batches[-1][1]))
        parts += [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    return ImageSet(*parts)


def _from_folder(base: str, reader: Callable[[Read, Advance], ImageSet]):
    def read(folder: Path, advance: Advance) -> ImageSet:
        return reader(lambda name: (folder / base / name).read_bytes(), advance)

    return read


def _from_tar(archive: str, base: str, reader: Callable[[Read, Advance], ImageSet]):
    def read(folder: Path, advance: Advance) -> ImageSet:
        with tarfile.open(folder / archive) as tar:
            return reader(lambda name: tar.extractfile(f"{base}/{name}").read(), advance)

    return read


def _from_zip(archive: str, base: str, reader: Callable[[Read, Advance], ImageSet]):
    def read(folder: Path, advance: Advance) -> ImageSet:
        with zipfile.ZipFile(folder / archive) as file:
            return reader(lambda name: file.read(f"{base}/{name}"), advance)

    return read


def cifar(name: str, *, archive: File, base: str, train: tuple[File, ...], test: File, key: bytes) -> Source:
    """Describe a set of CIFAR: an archive, or the folder `base` of its batches."""
    facts = FACTS[name]
    reader = partial(_read_cifar, train=tuple(file.path for file in train), test=test.path, key=key)
    unpacked = tuple(file._replace(path=f"{base}/{file.path}") for file in (*train, test))
    return Source(
        facts.title,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (f"https://www.cs.toronto.edu/~kriz/{archive.path}",),
        (Form((archive,), _from_tar(archive.path, base, reader)), Form(unpacked, _from_folder(base, reader))),
        facts.num_train,
        facts.num_test,
    )


# MNIST: idx files, each compressed, where torchvision puts them.


def _read_mnist(folder: Path, advance: Advance, *, files: tuple[File, ...]) -> ImageSet:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    parts = []
    with tempfile.TemporaryDirectory() as unpacked:
        for file in files:
            path = Path(unpacked, Path(file.path).stem)
            reader = read_image_file if "images" in path.name else read_label_file
            try:
                path.write_bytes(gzip.decompress((folder / file.path).read_bytes()))
                array = reader(path).numpy()
            except Exception as error:
                raise ImageSourceError(f"{folder / file.path}: no file of MNIST ({error}); fetch it again") from error
            parts.append(array[:, None] if array.ndim == 3 else array)
            advance(len(array) if array.ndim == 3 else 0)
    return ImageSet(*parts)


def mnist(files: tuple[File, ...]) -> Source:
    """Describe MNIST: training images and labels, test images and labels."""
    facts = FACTS["mnist"]
    mirror = "https://ossci-datasets.s3.amazonaws.com/mnist"
    return Source(
        facts.title,
        f"{mirror}/",
        tuple(f"{mirror}/{Path(file.path).name}" for file in files),
        (Form(files, partial(_read_mnist, files=files)),),
        facts.num_train,
        facts.num_test,
    )


# Tiny ImageNet: JPEG files, as a folder or in a zip archive.


def _read_tiny_imagenet(read: Read, advance: Advance, *, classes: int, per_class: int, num_test: int) -> ImageSet:
    names = read("wnids.txt").decode().split()
    if len(set(names)) != classes or not all(re.fullmatch(r"n\d{8}", name) for name in names):
        raise ImageSourceError(f"Tiny ImageNet: wnids.txt does not list {classes} classes; fetch it again")
    numbers = {name: number for number, name in enumerate(sorted(names))}

    def train() -> Iterator[tuple[str, int]]:
        for name, number in numbers.items():
            for k in range(per_class):
                yield f"train/{name}/images/{name}_{k}.JPEG", number

    def test() -> Iterator[tuple[str, int]]:
        for line in read("val/val_annotations.txt").decode().splitlines():
            file, _, rest = line.partition("\t")
            name = rest.partition("\t")[0]
            if not re.fullmatch(r"val_\d+\.JPEG", file) or name not in numbers:
                raise ImageSourceError(f"Tiny ImageNet: val_annotations.txt has the line {line!r}; fetch it again")
            yield f"val/images/{file}", numbers[name]

    if len(set(test_files := list(test()))) != len(test_files):
        raise ImageSourceError("Tiny ImageNet: val_annotations.txt lists an image twice; fetch it again")
    # The published test images have no labels; as everywhere, the validation images take their place.
    parts = [_decoded(read, advance, train(), classes * per_class), _decoded(read, advance, iter(test_files), num_test)]
    return ImageSet(*parts[0], *parts[1])


def _decoded(
    read: Read, advance: Advance, files: Iterator[tuple[str, int]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    side = FACTS["tiny_imagenet"].side
    images, labels = np.empty((count, 3, side, side), np.uint8), np.empty(count, np.int64)
    done = 0
    for name, label in files:
        try:
            image = np.asarray(Image.open(io.BytesIO(read(name))).convert("RGB"))
            if done == count or image.shape != (side, side, 3):
                raise ValueError(f"image {done + 1} of {count}, {image.shape[1]} x {image.shape[0]} px")
            images[done], labels[done] = image.transpose(2, 0, 1), label
        except Exception as error:
            raise ImageSourceError(f"Tiny ImageNet: {name} cannot be read ({error}); fetch it again") from error
        done += 1
        advance(1)
    return images[:done], labels[:done]


def _count(folder: Path) -> int:
    try:
        return sum(file.name.endswith(".JPEG") for file in os.scandir(folder))
    except OSError:
        return 0


def tiny_imagenet(archive: File, *, classes: int = 200, per_class: int = 500, num_test: int = 10_000) -> Source:
    """Describe Tiny ImageNet: the zip archive, or the folder in it."""
    base = "tiny-imagenet-200"
    reader = partial(_read_tiny_imagenet, classes=classes, per_class=per_class, num_test=num_test)
    lists = (File(f"{base}/wnids.txt", None, None), File(f"{base}/val/val_annotations.txt", None, None))

    def lacks(folder: Path) -> list[str]:
        names = re.findall(r"^n\d{8}$", (folder / base / "wnids.txt").read_text(encoding="utf-8"), re.MULTILINE)
        expected = {f"{base}/train/{name}/images": per_class for name in names} | {f"{base}/val/images": num_test}
        found = {path: _count(folder / path) for path in expected}
        return [
            f"{path}/*.JPEG, {expected[path]:,} files: {found[path]:,} there"
            for path in expected
            if found[path] < expected[path]
        ]

    return Source(
        FACTS["tiny_imagenet"].title,
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        (f"http://cs231n.stanford.edu/{archive.path}",),
        (Form((archive,), _from_zip(archive.path, base, reader)), Form(lists, _from_folder(base, reader), lacks)),
        classes * per_class,
        num_test,
    )


# Digits: real ones, in a package.


def _read_digits(folder: Path, advance: Advance) -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Levels are 0 to 16.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = streams.numpy_generator("images", "digits", "split").permutation(len(labels))
    train, test = (np.sort(part) for part in np.split(order, [FACTS["digits"].num_train]))
    advance(len(labels))
    return ImageSet(images[train], labels[train], images[test], labels[test])


def _digits() -> Source:
    facts = FACTS["digits"]
    return Source(facts.title, "scikit-learn", (), (Form((), _read_digits),), facts.num_train, facts.num_test)


SOURCES: dict[str, Source] = {
    "cifar10": cifar(
        "cifar10",
        archive=File("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170_498_071),
        base="cifar-10-batches-py",
        train=(
            File("data_batch_1", "c99cafc152244af753f735de768cd75f", 31_035_704),
            File("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec", 31_035_320),
            File("data_batch_3", "54ebc095f3ab1f0389bbae665268c751", 31_035_999),
            File("data_batch_4", "634d18415352ddfa80567beed471001a", 31_035_696),
            File("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb", 31_035_623),
        ),
        test=File("test_batch", "40351d587109b95175f43aff81a1287e", 31_035_526),
        key=b"labels",
    ),
    "cifar100": cifar(
        "cifar100",
        archive=File("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),
        base="cifar-100-python",
        train=(File("train", "16019d7e3df5f24257cddd939b257f8d", 155_249_918),),
        test=File("test", "f0ef6b0ae62326f3e7ffdfab6717acfc", None),
        key=b"fine_labels",
    ),
    "mnist": mnist(
        (
            File("MNIST/raw/train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
            File("MNIST/raw/train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
            File("MNIST/raw/t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
            File("MNIST/raw/t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
        )
    ),
    "tiny_imagenet": tiny_imagenet(
        File("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", 248_100_043),
    ),
    "digits": _digits(),
}
"""What can be asked for; sizes and checksums are those of the published files."""
