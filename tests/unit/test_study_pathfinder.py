import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tacit import settings, store
from tacit.figures import pathfinder as figure
from tacit.figures import style
from tacit.studies import locality
from tacit.studies import pathfinder as study

ROOT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)


def raw(count, size=30):
    images = RANDOM.integers(0, 256, (count, size, size), dtype=np.uint8)
    return images, RANDOM.integers(0, 2, count, dtype=np.uint8)


def shards(images, labels, sizes):
    edges = np.cumsum([0, *sizes])
    return [(images[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]


def assemble(parts, num_train=14, num_test=6, seed=0):
    return study.assemble(parts, path_length=5, seed=seed, num_train=num_train, num_test=num_test, size=15)


def test_the_split_is_disjoint_complete_and_of_the_sizes_asked_for():
    train, test = study.split(path_length=9, seed=0, num_train=700, num_test=300)
    assert (len(train), len(test)) == (700, 300)
    assert sorted([*train, *test]) == list(range(1000))
    again, _ = study.split(path_length=9, seed=0, num_train=700, num_test=300)
    np.testing.assert_array_equal(train, again)
    other, _ = study.split(path_length=7, seed=0, num_train=700, num_test=300)
    assert not np.array_equal(train, other)
    assert abs(train.mean() - 499.5) < 5 * 289 / np.sqrt(700)


def test_a_dataset_holds_the_resized_images_of_its_indices():
    images, labels = raw(20)
    dataset = assemble(shards(images, labels, [8, 8, 4]))
    for part_images, part_labels, indices in (dataset[:3], dataset[3:]):
        for image, label, index in zip(part_images, part_labels, indices, strict=True):
            expected = Image.fromarray(images[index]).resize((15, 15), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(image, np.asarray(expected))
            assert label == labels[index]


def test_resizing_by_two_is_bilinear_with_antialiasing():
    """Weights 1, 3, 3, 1 over 8 in each direction, as the triangle filter of twice the width has them."""
    images, labels = raw(20)
    dataset = assemble([(images, labels)])
    weights = np.array([1, 3, 3, 1]) / 8
    source = images[dataset.train_indices[0]].astype(float)
    expected = weights @ source[9:13, 9:13] @ weights
    assert abs(dataset.train_images[0][5, 5] - expected) <= 1


def test_shards_change_nothing():
    images, labels = raw(20)
    whole, parts = assemble([(images, labels)]), assemble(shards(images, labels, [1, 7, 12]))
    for ours, theirs in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("count", [19, 21])
def test_shards_that_do_not_add_up_are_an_error(count):
    with pytest.raises(ValueError, match="do not match"):
        assemble([raw(count)])


def test_pixel_statistics_are_exact_and_normalise():
    images, _ = raw(50)
    mean, std = study.pixel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(), rel=1e-12)
    assert std == pytest.approx((images / 255).std(ddof=1), rel=1e-12)
    normal = (images / 255 - mean) / std
    assert abs(normal.mean()) < 1e-12
    assert normal.std(ddof=1) == pytest.approx(1, rel=1e-12)


def small_study(**changes):
    config = {"scale": "smoke", "pathfinder": changes}
    return settings.load(config, ROOT / "config" / "scales", files=[ROOT / "config" / "config.yaml"]).pathfinder


def train_on(images, labels, tested, *, own):
    """Train on images, tested on those `tested`, normalised by numbers of their own."""
    arrays = {"train_images": images, "train_labels": labels}
    arrays |= {"test_images": tested[0], "test_labels": tested[1]}
    dataset = store.Record(arrays, {}, {"train_mean": 0.4, "train_std": 0.3})
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "c.pt"
        return study.train(dataset, own, path_length=5, coefficient=1.0, seed=0, checkpoint=checkpoint)


def test_a_run_on_a_part_is_that_on_a_dataset_of_the_first_images():
    """Beside the same test set; and by default all are learned from."""
    images, labels = raw(14, size=16)
    tested = raw(6, size=16)
    training = {"batch_size": 4, "epochs": 2}
    of_all = small_study(training=training).run
    part = of_all.model_copy(update={"train_on": 9})
    found = train_on(images, labels, tested, own=part)
    expected = train_on(images[:9], labels[:9], tested, own=of_all)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert len(found["test_correct"]) == 6
    assert not np.array_equal(train_on(images, labels, tested, own=of_all)["train_loss"], found["train_loss"])


def test_the_number_learned_from_is_said_only_if_it_is_given():
    assert "train_on" not in small_study().run.plain()
    assert small_study().run.wanted()["train_on"] is None
    number = small_study().dataset.num_train
    assert small_study(train_on=number - 1).run.plain()["train_on"] == number - 1
    for wrong in (number, number + 1):
        with pytest.raises(
            settings.SettingsError, match=f"train_on = {wrong}: give fewer than the {number} of num_train"
        ):
            small_study(train_on=wrong)


def write_run(path, path_length, coefficient, seed, accuracy):
    arrays = {name: np.array([1.0, 0.5]) for name in locality.METRICS} | {"test_accuracy": np.array([0.99, accuracy])}
    arrays["train_accuracy"] = np.array([0.9, 1.0])
    arrays["test_correct"] = (np.arange(200) < round(200 * accuracy)).astype(np.uint8)
    settings = {"path_length": path_length, "coefficient": coefficient, "seed": seed, "network": {}}
    store.write(path, arrays, kind=study.RUN, settings=settings)


@pytest.fixture
def runs(tmp_path):
    """Two path lengths, two coefficients, three seeds: the effect of the paper."""
    accuracies = {(3, 0.0): 0.95, (3, 9.0): 0.94, (7, 0.0): 0.55, (7, 9.0): 0.85}
    paths = []
    for (path_length, coefficient), accuracy in accuracies.items():
        for seed in range(3):
            paths.append(tmp_path / f"{path_length}-{coefficient}-{seed}.h5")
            write_run(paths[-1], path_length, coefficient, seed, accuracy + 0.01 * (seed - 1))
    return paths[::-1]


def test_the_table_has_a_row_a_run_with_its_last_epoch(runs):
    table = locality.collect(study.AXIS, runs)
    assert len(table) == 12
    assert list(table.columns[:4]) == ["path_length", "coefficient", "seed", "epochs"]
    row = table[(table.path_length == 7) & (table.coefficient == 9) & (table.seed == 2)].iloc[0]
    assert row.test_accuracy == pytest.approx(0.86)
    assert (row.train_loss, row.epochs) == (0.5, 2)
    assert list(table.seed[:3]) == [0, 1, 2]


def test_summaries_are_means_and_deviations_over_seeds(runs):
    summary = locality.summarize(study.AXIS, locality.collect(study.AXIS, runs)).set_index(
        ["coefficient", "path_length"]
    )
    assert summary.loc[(0, 7), "mean"] == pytest.approx(55)
    assert summary.loc[(0, 7), "std"] == pytest.approx(np.std([-1, 0, 1], ddof=1))
    assert (summary["seeds"] == 3).all()


PLANNED = {"difficulties": [3, 7], "coefficients": [0, 9]}


def judged(paths, planned=PLANNED, missing=0):
    return locality.tables(study.AXIS, paths, planned=planned, missing=missing)["claims"].set_index("id")


def test_claims_are_judged_by_what_was_measured(runs, tmp_path):
    claims = judged(runs)
    assert claims["verdict"].to_dict() == {
        "fit": "held",
        "falls": "held",
        "near_chance": "undecided",
        "regularizer_helps": "held",
        "falls_less": "held",
    }
    assert claims.loc["falls", "effect"] == pytest.approx(40)
    assert claims.loc["falls_less", "effect"] == pytest.approx((85 - 94) - (55 - 95))
    for number, path in enumerate(runs):
        settings = store.describe(path).settings
        write_run(path, *(settings[name] for name in ("path_length", "coefficient", "seed")), 0.9 + 0.01 * (number % 3))
    flat = judged(runs)["verdict"]
    assert flat["near_chance"] == "not held"
    assert set(flat[["falls", "regularizer_helps", "falls_less"]]) <= {"undecided", "not held"}


def test_the_error_of_a_finite_test_set_counts(tmp_path):
    """Networks of one setting agree on every image of a small test set: certain of these images, not of others."""
    paths = []
    for path_length, coefficient, seed in itertools.product((3, 7), (0.0, 9.0), range(3)):
        paths.append(tmp_path / f"{path_length}-{coefficient}-{seed}.h5")
        accuracy = {(3, 0.0): 0.8, (7, 0.0): 0.78}.get((path_length, coefficient), 0.9)
        write_run(paths[-1], path_length, coefficient, seed, accuracy)
    claims = judged(paths)
    assert claims.loc["falls", "effect"] == pytest.approx(2)
    half = (claims.loc["falls", "high"] - claims.loc["falls", "low"]) / 2
    assert half == pytest.approx(100 * 1.96 * (0.16 / 200 + 0.1716 / 200) ** 0.5, rel=0.03)
    assert claims.loc["falls", "verdict"] == "undecided"


def test_what_cannot_be_judged_is_not(runs):
    one_seed = [path for path in runs if store.describe(path).settings["seed"] == 0]
    assert set(judged(one_seed, missing=8)["verdict"]) == {"undecided"}
    assert set(judged(one_seed, missing=8)["missing"]) == {8}
    there = [path for path in runs if "7-9.0" not in path.name]
    claims = judged(there, missing=3)
    assert claims.loc["falls", "verdict"] == "held"
    for name in ("regularizer_helps", "falls_less"):
        assert claims.loc[name, "verdict"] == "undecided"
        assert (claims.loc[name, "runs"], claims.loc[name, "how"]) == (0, "no run that it is about is there")
    assert set(judged(runs, PLANNED | {"coefficients": [0]}).index) == {"fit", "falls", "near_chance"}
    assert set(judged(runs, PLANNED | {"coefficients": [9]}).index) == {"fit"}, "nothing to compare with"
    assert set(judged(runs, PLANNED | {"difficulties": [7]}).index) == {"fit", "near_chance", "regularizer_helps"}


SETTINGS = {
    "dataset": {"size": 32, "num_train": 3000, "num_test": 2000},
    "network": {"name": "resnet8", "width": 16},
}


def draw(runs, missing=0):
    summary = locality.summarize(study.AXIS, locality.collect(study.AXIS, runs))
    return summary, figure.draw(summary, settings=SETTINGS | {"scale": "demo"}, missing=missing)


def texts(drawn):
    return [text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_the_figure_draws_exactly_the_summary(runs):
    summary, drawn = draw(runs)
    (axes,) = drawn.axes
    lines = [line for line in axes.lines if str(line.get_marker()) in "do^"]
    assert len(lines) == 2
    for line, (_, rows) in zip(lines, summary.groupby("coefficient"), strict=True):
        np.testing.assert_allclose(line.get_xdata(orig=False), rows["path_length"].to_numpy(), atol=0.15)
        np.testing.assert_array_equal(line.get_ydata(orig=False), rows["mean"].to_numpy())
    assert list(axes.get_xticks()) == [3, 7]
    said = " ".join(texts(drawn))
    assert "demo scale" in said
    assert "3 seeds" in said
    assert "test accuracy (%)" in said
    assert "chance" in said
    assert "PARTIAL" not in said


def test_a_partial_figure_says_so(runs):
    _, drawn = draw(runs[1:], missing=1)
    assert "PARTIAL: 1 run missing" in " ".join(texts(drawn))


def test_figures_have_the_same_bytes_again_and_embedded_truetype_fonts(runs, tmp_path):
    for name in ("a.pdf", "b.pdf"):
        style.save(draw(runs)[1], tmp_path / name)
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/TrueType" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


def test_one_coefficient_and_one_length_can_be_drawn(tmp_path):
    write_run(tmp_path / "run.h5", 3, 0.0, 0, 0.9)
    summary, drawn = draw([tmp_path / "run.h5"])
    assert isinstance(summary, pd.DataFrame)
    assert "1 seed" in " ".join(texts(drawn))
