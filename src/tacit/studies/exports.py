"""Images that networks are shown, as PNG files with a table, for other programs.

Raw Pathfinder images lie as the generator of Razin, Maman, Cohen 2022 (after Linsley et al. 2018) writes them:
`curv_contour_length_<K>/imgs/sample_<i>.png` and, beside `imgs`, `metadata.npy`, an array of text whose columns are
those of COLUMNS. Beside that stands the same as `metadata.csv`, with names. Datasets and pairs, which the original has
as tensors alone, are written likewise, in a folder each for train and test.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tacit import store
from tacit.data import images as image_sets
from tacit.data import pathfinder as generator
from tacit.errors import UserError
from tacit.settings.images import Images
from tacit.settings.pathfinder import Rendering
from tacit.settings.same_class import Canvas
from tacit.studies import pathfinder, same_class

COLUMNS = (
    "folder", "file", "index", "label", "continuity", "path_length", "distractor_length", "segment_length", "thickness",
    "margin", "num_contrasts",
)  # fmt: skip
"""Of the metadata of raw images, as the original has them."""


class Exported(NamedTuple):
    """What was written."""

    folder: str
    images: int
    tables: list[str]


class ExportError(UserError):
    """A file has no images that could be written, or lacks what they need."""


def export(
    path: str | Path,
    folder: str | Path,
    *,
    first: int | None = None,
    images: str | Path | None = None,
    distance: int = 0,
    canvas: tuple[int, int] | None = None,
) -> Exported:
    """Write the images of a file into `folder`: all, or of each part the `first` so many.

    The file holds raw Pathfinder images, a Pathfinder dataset, or pairs of the image set in the file `images`, which
    are laid `distance` px apart on a `canvas` (height, width), by default just large enough. Raises StoreError, and
    ExportError if it is none of these, or if `images` are not those of the pairs.
    """
    if first is not None and first < 1:
        raise ExportError(f"the first {first} images are none; ask for one at least")
    kind = store.contents(path).kind
    if kind == pathfinder.RAW.name:
        return _raw(path, Path(folder), first)
    if kind == pathfinder.DATASET.name:
        return _dataset(path, Path(folder), first)
    if kind == same_class.PAIRS.name:
        if images is None:
            wanted = store.contents(path).settings["images"]
            raise ExportError(
                f"{path}: pairs are numbers of images; name the file of these, "
                f"--images .../source~{wanted['source']}/size~{wanted['size']}.h5"
            )
        return _pairs(path, Path(folder), first, images=images, distance=distance, canvas=canvas)
    known = ", ".join(known.name for known in (pathfinder.RAW, pathfinder.DATASET, same_class.PAIRS))
    raise ExportError(f"{path}: is of the kind {kind}; images are written of these: {known}")


def _raw(path: str | Path, folder: Path, first: int | None) -> Exported:
    """Write raw images under their numbers in the stream, and their metadata; those of other shards stay beside."""
    record = store.read(path, kind=pathfinder.RAW, names=["images", "labels"])
    length, seed = record.settings["path_length"], record.settings["seed"]
    rendering = Rendering.from_plain(record.settings["rendering"], source=str(path))
    start = int(record.settings["images"].partition("-")[0])
    within = folder / f"curv_contour_length_{length}"
    rows = []
    for place, image in enumerate(record.arrays["images"][:first]):
        number = start + place
        name = f"sample_{number}.png"
        _write_png(within / "imgs" / name, image)
        margin = generator.margin_of(rendering, length, seed=seed, number=number)
        label, distractor = int(record.arrays["labels"][place]), max(length // 3, 1)
        stroke = (rendering.segment_length, rendering.thickness, margin, len(rendering.path_contrasts))
        rows.append(("imgs", name, number, label, rendering.continuity, length, distractor, *stroke))
    table = _with_others(within / "metadata.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
    content = io.BytesIO()
    np.save(content, np.array([[str(value) for value in row] for row in table.itertuples(index=False)]))
    store.write_bytes(within / "metadata.npy", content.getvalue())
    store.write_table(within / "metadata.csv", table)
    return Exported(str(within), len(rows), ["metadata.csv", "metadata.npy"])


def _with_others(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with the rows that are there of other images, in the order of their numbers."""
    if path.exists():
        there = store.read_table(path, expected=store.Table(keys=("index",), others=COLUMNS))
        others = there[~there["index"].isin(table["index"])]
        table = pd.concat([others, table]) if len(others) else table
    return table.sort_values("index", ignore_index=True)


def _dataset(path: str | Path, folder: Path, first: int | None) -> Exported:
    """Write resized images of both parts under their numbers in their part; the table has those of the raw ones."""
    record = store.read(path, kind=pathfinder.DATASET)
    length = record.settings["path_length"]

    def rows() -> Iterator[dict[str, Any]]:
        for part in ("train", "test"):
            for place, image in enumerate(record.arrays[f"{part}_images"][:first]):
                name = f"sample_{place}.png"
                _write_png(folder / part / name, image)
                raw, label = record.arrays[f"{part}_indices"][place], record.arrays[f"{part}_labels"][place]
                row = {"folder": part, "file": name, "index": place, "label": int(label)}
                yield row | {"path_length": length, "raw_index": int(raw)}

    return _finished(folder, list(rows()))


def _pairs(
    path: str | Path,
    folder: Path,
    first: int | None,
    *,
    images: str | Path,
    distance: int,
    canvas: tuple[int, int] | None,
) -> Exported:
    """Write both images of each pair on one canvas; the table says which two of the image set they are."""
    record = store.read(path, kind=same_class.PAIRS)
    taken = Images.from_plain(record.settings["images"], source=str(path))
    wanted = {"source": taken.source, "size": taken.side}
    if (found := store.contents(images).settings) != wanted:
        raise ExportError(f"{images}: holds images of {found}, and the pairs are of {wanted}")
    pixels = image_sets.read(images, taken)
    height, width = canvas or (taken.side, 2 * taken.side + distance)
    space = Canvas.from_plain({"height": height, "width": width}, source="canvas")

    def rows() -> Iterator[dict[str, Any]]:
        for part, there in (("train", pixels.train_images), ("test", pixels.test_images)):
            for place, pair in enumerate(record.arrays[f"{part}_indices"][:first]):
                try:
                    drawn = same_class.compose(there[pair], space, distance=distance, mean=taken.statistics[0])
                except ValueError as error:
                    raise ExportError(str(error)) from None
                name = f"sample_{place}.png"
                _write_png(folder / part / name, drawn[0] if len(drawn) == 1 else np.moveaxis(drawn, 0, -1))
                row = {"folder": part, "file": name, "index": place, "distance": distance}
                row["label"] = int(record.arrays[f"{part}_labels"][place])
                yield row | {"left": int(pair[0]), "right": int(pair[1])}

    return _finished(folder, list(rows()))


def _finished(folder: Path, rows: list[dict[str, Any]]) -> Exported:
    store.write_table(folder / "metadata.csv", pd.DataFrame(rows))
    return Exported(str(folder), len(rows), ["metadata.csv"])


def _write_png(path: Path, image: np.ndarray) -> None:
    """Write grey (height, width) or coloured (height, width, 3) uint8 pixels."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    store.write_bytes(path, content.getvalue())
