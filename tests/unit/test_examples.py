"""What figures of examples show is what networks are shown."""

import numpy as np
import pytest

from tacit import store
from tacit.data import images as image_sets
from tacit.figures import pathfinder as pathfinder_figure
from tacit.figures import same_class as same_class_figure
from tacit.figures import style
from tacit.settings.images import Images
from tacit.studies import examples, pathfinder, same_class

RANDOM = np.random.default_rng(0)
LENGTHS = (3, 9)
DISTANCES = (0, 5)
LABELS = np.array([1, 1, 1, 0, 1, 0, 0, 1], np.uint8)


@pytest.fixture
def datasets(tmp_path):
    """A Pathfinder dataset of each length, and its training images."""
    paths, images = [], {}
    for length in LENGTHS:
        drawn = RANDOM.integers(0, 256, (len(LABELS), 7, 7), np.uint8)
        part = (drawn, LABELS, np.arange(len(LABELS)))
        paths.append(tmp_path / f"{length}.h5")
        images[length] = drawn
        store.write(
            paths[-1],
            pathfinder.Dataset(*part, *part)._asdict(),
            kind=pathfinder.DATASET,
            settings={"path_length": length},
            attributes={"train_mean": 0.5, "train_std": 0.2},
        )
    return paths, images


def test_of_pathfinder_they_are_the_first_training_images_of_each_label(datasets):
    paths, images = datasets
    found = examples.to_images(pathfinder.show(paths)["examples"])
    expected = [(length, label, number) for length in LENGTHS for label, number in ((0, 3), (0, 5), (1, 0), (1, 1))]
    assert [example[:3] for example in found] == expected
    for length, _, number, pixels in found:
        np.testing.assert_array_equal(pixels, images[length][number, None])


@pytest.fixture
def pairs(tmp_path):
    """A set of colour images, and pairs of them, as files and as they are in memory."""
    selection = Images(source="cifar10")
    drawn = RANDOM.integers(0, 256, (6, 3, 32, 32), np.uint8)
    whole = image_sets.ImageSet(drawn, np.arange(6) // 2, drawn, np.arange(6) // 2)
    indices = RANDOM.integers(0, 6, (len(LABELS), 2))
    arrays = {
        f"{part}_{name}": array
        for part in ("train", "test")
        for name, array in (("indices", indices), ("labels", LABELS))
    }
    store.write(tmp_path / "images.h5", whole._asdict(), kind=image_sets.DATASET, settings={})
    store.write(tmp_path / "pairs.h5", arrays, kind=same_class.PAIRS, settings={})
    return tmp_path / "images.h5", tmp_path / "pairs.h5", selection, drawn, indices


def test_of_is_same_class_they_are_the_first_pairs_as_far_apart_as_asked_for(pairs):
    images, paired, selection, drawn, indices = pairs
    canvas = {"height": 34, "width": 80}
    table = same_class.show([images], [paired], distances=DISTANCES, selection=selection.plain(), canvas=canvas)
    found = examples.to_images(table["examples"])
    assert [example[:2] for example in found] == [(distance, label) for distance in DISTANCES for label in (0, 0, 1, 1)]
    for distance, label, number, pixels in found:
        assert LABELS[number] == label
        assert pixels.shape == (3, 34, 80)
        left = 40 - 32 - distance // 2
        first, second = drawn[indices[number]]
        np.testing.assert_array_equal(pixels[:, 1:33, left : left + 32], first)
        np.testing.assert_array_equal(pixels[:, 1:33, left + 32 + distance : left + 64 + distance], second)
        outside = np.ones((34, 80), bool)
        outside[1:33, left : left + 32] = outside[1:33, left + 32 + distance : left + 64 + distance] = False
        for channel, mean in zip(pixels, selection.statistics[0], strict=True):
            assert set(channel[outside]) == {round(255 * mean)}


def drawn_cells(figure):
    """By row and column, the pictures of a figure."""
    return [place.get_images()[0].get_array() for place in figure.axes]


def test_the_figure_shows_each_of_them_where_it_belongs(datasets):
    paths, images = datasets
    settings = {"scale": "demo", "dataset": {"size": 7}, "rendering": {"window": [30, 30]}}
    figure = pathfinder_figure.draw_images(pathfinder.show(paths)["examples"], settings=settings, missing=0)
    assert [place.get_title() for place in figure.axes] == ["path length 3", "path length 9", "", ""]
    assert [place.get_ylabel() for place in figure.axes] == ["connected", "", "not\nconnected", ""]
    cells = iter(drawn_cells(figure))
    for numbers in ((0, 1), (3, 5)):
        for length in LENGTHS:
            cell = next(cells)
            assert cell.shape == (7, 15, 4)
            for number, place in zip(numbers, (slice(0, 7), slice(8, 15)), strict=True):
                for colour in range(3):
                    np.testing.assert_array_equal(cell[:, place, colour], images[length][number])
            assert set(cell[:, 7, 3]) == {0}, "nothing is between them"
    assert figure.get_figwidth() == style.PAGE
    assert "demo scale" in figure.get_supxlabel()


def test_distances_are_rows_and_colours_are_kept(pairs):
    images, paired, selection, _, _ = pairs
    canvas = {"height": 34, "width": 80}
    table = same_class.show([images], [paired], distances=DISTANCES, selection=selection.plain(), canvas=canvas)[
        "examples"
    ]
    settings = {"scale": "paper", "images": selection.plain(), "canvas": canvas}
    figure = same_class_figure.draw_pairs(table, settings=settings, missing=0)
    assert [place.get_title() for place in figure.axes] == ["one class", "two classes", "", ""]
    assert [place.get_ylabel() for place in figure.axes] == ["0 px", "", "5 px", ""]
    first = next(example for example in examples.to_images(table) if example.label == 1)
    np.testing.assert_array_equal(drawn_cells(figure)[0][:, :80, :3], np.moveaxis(first.pixels, 0, -1))


@pytest.mark.parametrize("numbers", [slice(0, 1), slice(0, 4)], ids=["one label is missing", "one example of a label"])
def test_where_there_are_fewer_examples_the_place_stays_empty(pairs, tmp_path, numbers):
    images, _, selection, _, indices = pairs
    arrays = {"train_indices": indices[numbers], "train_labels": LABELS[numbers]}
    store.write(
        tmp_path / "few.h5",
        arrays | {"test_indices": indices, "test_labels": LABELS},
        kind=same_class.PAIRS,
        settings={},
    )
    settings = {"scale": "tiny", "images": selection.plain(), "canvas": {"height": 34, "width": 80}}
    made = same_class.show(
        [images], [tmp_path / "few.h5"], distances=(0,), selection=selection.plain(), canvas=settings["canvas"]
    )
    cells = drawn_cells(same_class_figure.draw_pairs(made["examples"], settings=settings, missing=0))
    assert len({cell.shape for cell in cells}) == 1
    shown = min(int((LABELS[numbers] == 0).sum()), examples.PER_LABEL)
    opaque = cells[1][0, :, 3] == 255
    assert opaque.sum() == 80 * shown
