"""Loss landscapes of trained deep residual networks: parts, tables, claims, and which networks they are of."""

import numpy as np
import pandas as pd
import pytest
from test_study_depth_limit import IDENTITY, IMAGES, load, run_settings, write

from tacit import store
from tacit.analysis import landscapes
from tacit.settings.base import SettingsError
from tacit.settings.depth_limit import Landscape
from tacit.studies import depth_landscapes as study
from tacit.studies import depth_limit

PLANE = {"images": 20, "points": 6, "step": 0.3, "per": "layer", "parts": 4}


def part(run, own, number, **changes):
    return study.part(run, IMAGES, own, Landscape.from_plain(PLANE | changes), part=number)


def written(folder, own, number, **identity):
    axes = IDENTITY | identity
    run = write(folder, own, **identity)
    arrays, attributes = part(run, own, number)
    path = folder / f"landscape-{number}-{'-'.join(map(str, identity.values()))}.h5"
    settings = axes | {"part": number, "landscape": PLANE, "run": own.plain()}
    store.write(path, arrays, kind=study.PART, settings=settings, attributes=attributes)
    return path


@pytest.mark.parametrize("augmentation", ["skip", "plain"])
def test_a_point_is_the_loss_of_the_network_with_other_weights(tmp_path, augmentation):
    own = run_settings(descent={"epochs": 3, "precision": "float64"})
    path = write(tmp_path, own, augmentation=augmentation)
    arrays, attributes = part(path, own, 2)
    assert arrays["rows"].tolist() == [3] and arrays["losses"].shape == (1, 6)
    run = store.read(path, kind=depth_limit.RUN)
    from tacit import streams

    axes = [str(run.settings[name]) for name in study.AXES]
    generator = streams.numpy_generator("depth_limit", "landscape", *axes)
    weights = run.arrays["weights"]
    first, second = landscapes.draw_directions(weights, generator=generator)
    x = (IMAGES.train_images[:20].reshape(20, -1) / 255 - 0.306) / 0.376

    def loss(layers):
        h = x @ run.arrays["input_weights"].T
        for layer in layers:
            h = h * (augmentation == "skip") + (12**-0.75 if augmentation == "skip" else 1) * np.tanh(h @ layer.T)
        outputs = h @ run.arrays["output_weights"].T
        return np.mean(np.log(np.exp(outputs).sum(1)) - outputs[np.arange(20), IMAGES.train_labels[:20]])

    assert attributes["loss"] == pytest.approx(loss(weights), rel=1e-12)
    assert arrays["losses"][0, 3] == attributes["loss"]
    moved = weights + 0.6 * np.stack(first)
    assert arrays["losses"][0, 5] == pytest.approx(loss(moved), rel=1e-12)
    # Another row is along the second direction.
    assert part(path, own, 3)[0]["losses"][0, 3] == pytest.approx(loss(weights + 0.3 * np.stack(second)), rel=1e-12)


def test_the_loss_is_of_the_samples_that_are_asked_for(tmp_path):
    own = run_settings()
    run = write(tmp_path, own)
    found = store.read(run, kind=depth_limit.RUN)
    plane = {"images": 8, "points": 3, "step": 0.3}
    _, of_test = study.part(run, IMAGES, own, Landscape.from_plain(plane | {"samples": "test"}), part=0)
    of_all = {"images": len(IMAGES.test_labels), "samples": "test"}
    _, whole = study.part(run, IMAGES, own, Landscape.from_plain(plane | of_all), part=0)
    assert whole["loss"] == pytest.approx(found.attributes["test_loss"], rel=1e-6)
    # Another image set, of which the run has seen nothing.
    other = IMAGES._replace(train_images=255 - IMAGES.train_images)
    data = own.data.plain() | {"num_train": 30}
    _, of_other = study.part(run, other, own, Landscape.from_plain(plane | {"data": data}), part=0)
    _, of_train = study.part(run, IMAGES, own, Landscape.from_plain(plane), part=0)
    assert len({of_test["loss"], of_other["loss"], of_train["loss"]}) == 3


def test_tables_put_parts_together(tmp_path):
    own = run_settings()
    run = write(tmp_path, own, seed=0)
    whole, _ = part(run, own, 0, parts=1)
    paths = [written(tmp_path, own, number, seed=0) for number in (2, 0, 3, 1)]
    found = study.tables(paths, step=0.3, points=6, missing=0)
    losses = found["surfaces"].pivot(index="b", columns="a", values="loss").to_numpy()
    np.testing.assert_array_equal(losses, whole["losses"])
    np.testing.assert_allclose(found["surfaces"]["a"].unique(), [-0.9, -0.6, -0.3, 0, 0.3, 0.6])
    rough = found["roughness"].iloc[0]
    assert rough["roughness"] == pytest.approx(study.roughness(landscapes.axis(6, 0.3), whole["losses"]))
    assert rough["least"] == whole["losses"].min()
    lacking = study.tables(paths[:2], step=0.3, points=6, missing=2)
    assert np.isnan(lacking["roughness"]["roughness"].iloc[0])
    assert lacking["claims"]["verdict"].tolist() == ["undecided"] and lacking["claims"]["missing"].tolist() == [2]


def test_a_quadratic_is_not_rough_and_what_is_orthogonal_to_all_is_nothing_else():
    along = landscapes.axis(9, 0.25)
    a, b = np.meshgrid(along, along)
    assert study.roughness(along, 2 + a - 3 * b + a * b - b**2) == pytest.approx(0, abs=1e-25)
    checks = np.where((np.arange(9)[:, None] + np.arange(9)) % 2, 1.0, -1.0)
    assert study.roughness(along, checks) > 0.95
    assert np.isnan(study.roughness(along, np.ones((9, 9)))) and np.isnan(study.roughness(along, checks * np.inf))


def test_the_claim_compares_networks_of_one_seed():
    def rough(**by_augmentation):
        rows = [
            {"augmentation": name, "seed": seed, "roughness": value}
            for name, values in by_augmentation.items()
            for seed, value in enumerate(values)
        ]
        (claim,) = study.claims(pd.DataFrame(rows), missing=0).itertuples()
        return claim

    held = rough(skip=[0.01, 0.02, 0.03], plain=[0.1, 0.21, 0.29])
    assert held.verdict == "held" and held.effect == pytest.approx(10, rel=0.05)
    assert rough(skip=[0.1, 0.2, 0.3], plain=[0.011, 0.02, 0.029]).verdict == "not held"
    assert rough(skip=[0.1, 0.2, 0.3]).verdict == "undecided"
    assert rough(skip=[0.1, 0.2], plain=[1.0, 1.0]).verdict == "undecided"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"of": [{"experiment": "grid"}]}, "grid has 6 such settings, and one is drawn; name depth"),
        ({"of": [{"experiment": "grid", "depth": 7}]}, "grid has 0 such settings"),
        ({"of": [{"experiment": "none"}]}, "none is no experiment; there are grid, constant"),
        ({"of": [{"experiment": "with_skips"}, {"experiment": "with_skips", "depth": 10}]}, "the same network"),
        ({"of": [{"experiment": "constant"}]}, "dim = 1, and a plane two directions"),
        ({"each": {"images": 500}}, "landscapes.each.images = 500: mnist_5k has 100 samples for train with with_skips"),
        ({"each": {"images": 5, "data": {"source": "sin"}}}, "sin does not fit with_skips, whose networks have 784"),
        ({"each": {"images": 5, "data": {"source": "digits"}}}, "digits does not fit with_skips"),
        (
            {"each": {"images": 5, "samples": "test", "data": {"source": "mnist_5k", "num_test": 4}}},
            "landscapes.each.images = 5: mnist_5k has 4 samples for test",
        ),
        ({"seeds": 3}, "landscapes.seeds = 3: with_skips has only 2"),
        ({"each": {"images": 5, "points": 5, "parts": 6}}, "parts = 6: a landscape of 5 points"),
    ],
)
def test_landscapes_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(depth_limit={"landscapes": changes})


def test_rows_are_divided_without_rest():
    for points, parts in ((7, 2), (10, 10), (61, 4)):
        plane = Landscape(images=1, points=points, parts=parts)
        assert [row for number in range(parts) for row in plane.rows(number)] == list(range(points))
