"""The Pathfinder study (Razin, Maman, Cohen 2022, section 6).

Convolutional networks are biased towards short-range interactions: the longer the two paths, the nearer to chance a
network ends, and a regulariser that asks for long-range interaction counters it. Stages: `render` raw images,
`assemble` datasets, `train` one network, `collect` the runs into a table, judge its `claims`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tacit import store, streams
from tacit.data.pathfinder import Images, Renderer
from tacit.settings.pathfinder import Rendering, RunSettings

STUDY = "pathfinder"
RAW, DATASET, RUN = "pathfinder raw images", "pathfinder dataset", "pathfinder run"
"""Kinds of file."""


def render(
    rendering: Rendering, *, path_length: int, seed: int, first: int, last: int, advance: Callable[[int], None]
) -> Images:
    """Draw raw images `first` to `last - 1` of one path length; see `tacit.data.pathfinder.Renderer.render`."""
    return Renderer(rendering, path_length).render(seed, first, last, advance=advance)


class Dataset(NamedTuple):
    """Resized images of one path length, split in two."""

    train_images: np.ndarray
    """(n, size, size) uint8"""
    train_labels: np.ndarray
    """(n,) uint8"""
    train_indices: np.ndarray
    """(n,) int64, numbers of the raw images"""
    test_images: np.ndarray
    test_labels: np.ndarray
    test_indices: np.ndarray


def split(*, path_length: int, seed: int, num_train: int, num_test: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the raw images in the train and in the test set."""
    order = streams.numpy_generator(STUDY, "split", seed, path_length).permutation(num_train + num_test)
    return order[:num_train], order[num_train:]


def assemble(
    shards: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    path_length: int,
    seed: int,
    num_train: int,
    num_test: int,
    size: int,
) -> Dataset:
    """Resize the raw images (bilinear with anti-aliasing) and split them.

    `shards` give images (n, H, W) uint8 and labels (n,), together the first num_train + num_test of the
    path length, in order. Raises ValueError if their number differs.
    """
    total = num_train + num_test
    images, labels = np.empty((total, size, size), np.uint8), np.empty(total, np.uint8)
    done = 0
    for shard_images, shard_labels in shards:
        if done + len(shard_images) > total:
            raise ValueError(f"more than the {total} raw images asked for; the shards and the dataset do not match")
        labels[done : done + len(shard_labels)] = shard_labels
        for image in shard_images:
            images[done] = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
            done += 1
    if done != total:
        raise ValueError(f"{done} raw images in place of {total}; the shards and the dataset do not match")
    train, test = split(path_length=path_length, seed=seed, num_train=num_train, num_test=num_test)
    return Dataset(images[train], labels[train], train, images[test], labels[test], test)


def read_shards(paths: Iterable[str | Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and labels of raw files, one file at a time."""
    for path in paths:
        arrays = store.read(path, kind=RAW, names=["images", "labels"]).arrays
        yield arrays["images"], arrays["labels"]


def pixel_statistics(images: np.ndarray) -> tuple[float, float]:
    """Return mean and unbiased standard deviation of all pixels of uint8 `images`, on the scale [0, 1]; exact."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)
    # Whole numbers of any size, so that nothing is rounded before the last division.
    counts = [int(count) for count in counts]
    total = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level**2 * count for level, count in enumerate(counts))
    variance = (total * second - first**2) / (total * (total - 1))
    return first / total / 255, variance**0.5 / 255


def train(
    dataset: store.Record,
    settings: RunSettings,
    *,
    path_length: int,
    coefficient: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Train one network on `dataset` (as `assemble` made it); return METRICS by epoch, (E,) float64 each.

    Initialisation and order of batches depend on the seed alone, so runs of different coefficients are paired.
    Raises as `tacit.training.networks.fit` does; an interrupted training goes on from `checkpoint`.
    """
    # Here, because all other stages do without torch, whose import takes seconds.
    from tacit import devices
    from tacit.nn import resnets
    from tacit.optim.long_range import draw_distant_patches
    from tacit.training.networks import LabelledImages, Task, fit

    arrays, attributes = dataset.arrays, dataset.attributes
    height, width = arrays["train_images"].shape[1:]
    with devices.acquire() as device:
        task = Task(
            train=LabelledImages.on(device, arrays["train_images"], arrays["train_labels"]),
            test=LabelledImages.on(device, arrays["test_images"], arrays["test_labels"]),
            mean=attributes["train_mean"],
            std=attributes["train_std"],
        )
        return fit(
            partial(resnets.build, settings.network, in_channels=1),
            task,
            settings.training,
            coefficient=coefficient,
            sample_patches=lambda generator: draw_distant_patches(
                settings.regularizer, height=height, width=width, generator=generator
            ),
            stream=(STUDY, "train", seed),
            checkpoint=checkpoint,
            settings={"path_length": path_length, "coefficient": coefficient, "seed": seed, "dataset": dataset.settings}
            | settings.plain(),
        )


def collect(runs: Iterable[str | Path]) -> pd.DataFrame:
    """Return one row a run: its setting, its number of epochs, and the metrics of its last epoch."""
    rows = []
    for path in runs:
        run = store.read(path, kind=RUN)
        row = {name: run.settings[name] for name in ("path_length", "coefficient", "seed")}
        row["epochs"] = len(run.arrays["test_accuracy"])
        row |= {name: values[-1] for name, values in run.arrays.items()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["path_length", "coefficient", "seed"], ignore_index=True)


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in per cent by path length and coefficient: mean, standard deviation, number of seeds.

    The standard deviation is that of the seeds at hand (not the unbiased one), as in the published figure.
    """
    accuracy = 100 * runs.set_index(["coefficient", "path_length"])["test_accuracy"]
    grouped = accuracy.groupby(level=[0, 1])
    table = pd.DataFrame({"mean": grouped.mean(), "std": grouped.std(ddof=0), "seeds": grouped.size()})
    return table.reset_index()


def claims(runs: pd.DataFrame) -> pd.DataFrame:
    """Judge what the paper states in this run: one row a claim, with what was measured and whether it held.

    A difference of means counts if it exceeds two standard errors and 2 percentage points; from one seed nothing can be
    judged.
    """
    short, long = runs["path_length"].min(), runs["path_length"].max()
    strong = runs["coefficient"].max()
    plain_short, plain_long = _accuracies(runs, short, 0.0), _accuracies(runs, long, 0.0)
    strong_short, strong_long = _accuracies(runs, short, strong), _accuracies(runs, long, strong)
    name = f"coefficient {strong:g}"
    return pd.DataFrame(
        [
            _judge(
                f"Without the regulariser, accuracy at path length {long} is below that at {short}",
                plain_short.mean() - plain_long.mean(),
                plain_short,
                plain_long,
            ),
            _judge(
                f"At path length {long}, accuracy with {name} is above that without",
                strong_long.mean() - plain_long.mean(),
                strong_long,
                plain_long,
            ),
            _judge(
                f"From path length {short} to {long}, accuracy falls less with {name} than without",
                (strong_long.mean() - strong_short.mean()) - (plain_long.mean() - plain_short.mean()),
                strong_long,
                strong_short,
                plain_long,
                plain_short,
            ),
        ]
    )


def _accuracies(runs: pd.DataFrame, path_length: int, coefficient: float) -> pd.Series:
    chosen = (runs["path_length"] == path_length) & (runs["coefficient"] == coefficient)
    return 100 * runs.loc[chosen, "test_accuracy"]


def _judge(claim: str, gap: float, *samples: pd.Series) -> dict[str, str]:
    """Return a row of the table of claims; `gap` is a signed sum of the means of `samples`."""
    error = sum(sample.sem() ** 2 for sample in samples) ** 0.5
    if np.isnan(error):
        return {"claim": claim, "measured": f"{gap:+.1f} percentage points", "held": "not to be judged from one seed"}
    held = "yes" if gap > max(2 * error, 2) else "no"
    return {"claim": claim, "measured": f"{gap:+.1f} percentage points (standard error {error:.1f})", "held": held}
