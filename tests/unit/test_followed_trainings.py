"""What a training keeps, how often it is tested, and when it ends that gets no better: in every study of networks."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_every_setting import load
from test_kept_networks import dataset as _dataset
from test_kept_networks import loaded, train

import studies_in_small
from tacit import store
from tacit.data import images
from tacit.figures import depth_cifar as depth_figure
from tacit.figures import depth_gradients as depth_gradients_figure
from tacit.figures import style
from tacit.settings.base import SettingsError
from tacit.settings.factorized import Variant
from tacit.studies import (
    compressed,
    depth_cifar,
    factorized,
    factorized_results,
    kept,
    locality,
    pathfinder,
    recorded,
)
from tacit.training import evaluation
from tacit.training import images as batches

dataset = _dataset
CPU = torch.device("cpu")
STUDIES = {"depth_cifar": depth_cifar, "factorized": factorized, "compressed": compressed}


def stops_at(values, *, least_change, patience, cooldown):
    """Number of the epoch, from 1, after which a training ends whose losses these are, by the definition."""
    for end in range(1, len(values) + 1):
        seen = values[cooldown:end]
        # Since the last that was better than all before it by enough.
        improved = [
            place
            for place, value in enumerate(seen)
            if place == 0 or value < reached(seen[:place], least_change) - least_change
        ]
        if seen and len(seen) - 1 - improved[-1] > patience:
            return end
    return len(values)


def reached(values, least_change):
    """The best so far, where one that is better by too little does not count."""
    best = values[0]
    for value in values[1:]:
        best = value if value < best - least_change else best
    return best


@pytest.mark.parametrize("by", ["test_loss", "test_accuracy", "train_loss", "train_accuracy"])
@pytest.mark.parametrize(
    ("least_change", "patience", "cooldown"), [(0.0, 0, 0), (0.0, 2, 0), (0.02, 1, 0), (0.0, 0, 5), (0.05, 3, 2)]
)
def test_a_training_stops_once_it_gets_no_better(dataset, tmp_path, by, least_change, patience, cooldown):
    rule = {"by": by, "least_change": least_change, "patience": patience, "cooldown": cooldown}
    _, whole = train(tmp_path, dataset, loaded(epochs=20), coefficient=0.0)
    _, arrays = train(tmp_path, dataset, loaded(epochs=20, early_stopping=rule), coefficient=0.0)
    sign = -1 if "accuracy" in by else 1
    expected = stops_at(list(sign * whole[by]), **{name: rule[name] for name in rule if name != "by"})
    assert expected < 20 or patience == 3
    for name in locality.METRICS:
        np.testing.assert_array_equal(arrays[name], whole[name][:expected])


def test_patience_counts_tests_and_not_epochs(dataset, tmp_path):
    rule = {"by": "train_loss", "least_change": 10.0, "patience": 2}
    _, arrays = train(tmp_path, dataset, loaded(epochs=40, evaluate_every=3, early_stopping=rule), coefficient=0.0)
    assert list(arrays["test_epochs"]) == [3, 6, 9, 12], "the first is the best, and three were no better"


@pytest.mark.parametrize("epochs", [7, 8, 9])
def test_networks_are_tested_every_so_many_epochs_and_at_the_end(dataset, tmp_path, epochs):
    _, whole = train(tmp_path, dataset, loaded(epochs=epochs))
    path, arrays = train(tmp_path, dataset, loaded(epochs=epochs, evaluate_every=4))
    tested = sorted({4, 8, epochs} - set(range(epochs + 1, 9)))
    assert list(arrays["test_epochs"]) == tested and "test_epochs" not in whole
    for name in ("test_loss", "test_accuracy", "learning_rate"):
        np.testing.assert_array_equal(arrays[name], whole[name][np.array(tested) - 1])
    for name in ("train_loss", "train_accuracy", "regularization", "test_correct"):
        np.testing.assert_array_equal(arrays[name], whole[name])
    row = locality.collect(pathfinder.AXIS, [path]).iloc[0]
    assert row["epochs"] == epochs and row["test_loss"] == whole["test_loss"][-1]


def test_one_that_is_perfect_is_tested_when_it_stops(dataset, tmp_path):
    more = {"epochs": 400, "perfect_epochs": 0, "learning_rate": 0.01}
    _, whole = train(tmp_path, dataset, loaded(**more), coefficient=0.0)
    _, arrays = train(tmp_path, dataset, loaded(**more, evaluate_every=7), coefficient=0.0)
    end = len(whole["train_loss"])
    assert end < 400 and end % 7 and len(arrays["train_loss"]) == end
    assert list(arrays["test_epochs"]) == [*range(7, end, 7), end]


def test_what_is_tested_now_and_then_is_plotted_against_epochs(dataset, tmp_path):
    path, arrays = train(tmp_path, dataset, loaded(epochs=8, evaluate_every=3))
    run = recorded.read(path)
    loss, rate = recorded.quantity(run, "test_loss"), recorded.quantity(run, "train_loss")
    along = recorded.against(run, loss, None)
    assert (along.label, list(along.values)) == ("epoch", [3, 6, 8])
    beside = recorded.against(run, loss, "train_loss")
    np.testing.assert_array_equal(beside.values, arrays["train_loss"][[2, 5, 7]])
    with pytest.raises(recorded.LookingError, match="cannot be drawn against test_loss"):
        recorded.against(run, rate, "test_loss")


@pytest.mark.parametrize(("keep", "epochs"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (9, [0, 5])])
def test_every_so_many_epochs_are_kept_and_the_last(dataset, tmp_path, keep, epochs):
    path, arrays = train(tmp_path, dataset, loaded(epochs=5, keep=keep))
    assert kept.epochs(path) == epochs
    if keep == 1:
        _, every = train(tmp_path, dataset, loaded(epochs=5, keep="every epoch"))
        assert list(arrays) == list(every)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"keep": 0}, "greater than or equal to 1"),
        ({"keep": "second epoch"}, "keep"),
        ({"early_stopping": {"by": "held_out_loss"}}, "early_stopping.by"),
        ({"early_stopping": {"patience": -1}}, "early_stopping.patience"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"early_stopping": {"cooldown": 4}}, "cooldown = 4: there are 4 epochs, so it never acts"),
    ],
)
def test_what_means_nothing_is_refused(block, message):
    with pytest.raises(SettingsError, match=message):
        loaded(**block)


def image_study(name, training):
    """Settings of a study on image classes, in small, with others of its training."""
    small = studies_in_small.TINY
    block = small[name]
    inner = {"epochs": 4, "batch_size": 10} | training
    if name == "compressed":
        block = {part: values | {"training": inner} for part, values in block.items()}
    else:
        block = block | {"training": block.get("training", {}) | inner}
    return load(small | {name: block})


def trainings(name, config, folder):
    """Run files of the study, one of each kind of network, and the data that they are of."""
    study = getattr(config, name)
    if name == "depth_cifar":
        chosen = images.select(studies_in_small._set(study.images.source, study.images.side), study.images)
        arrays = depth_cifar.train(chosen, study.run, depth=8, seed=0, checkpoint=folder / "c.pt")
        yield store_run(folder / "run.h5", arrays, depth_cifar.RUN, {"depth": 8, "seed": 0} | study.run.plain()), chosen
        return
    module, experiments = {
        "factorized": (factorized, ("resnet", "distillation", "normalization")),
        "compressed": (compressed, ("compression", "tensors")),
    }[name]
    kinds = {}
    for experiment in experiments:
        for axes in study.runs(experiment):
            if axes.get("decay") != "replayed":
                kinds[axes.get("method") or (axes["factors"], axes["initialization"])] = axes
    for number, axes in enumerate(kinds.values()):
        own = study.run(axes)
        chosen = images.select(studies_in_small._set(own.images.source, own.images.side), own.images)
        where = {"seed": 0, "checkpoint": folder / f"{number}.pt"}
        if name == "factorized":
            variant = Variant(*(axes[part] for part in Variant._fields))
            arrays, attributes = module.train(chosen, own, variant, depth=axes["depth"], **where)
        else:
            variant = compressed.Variant(*(axes[part] for part in compressed.Variant._fields))
            named = compressed.Named(*(axes[part] for part in compressed.Named._fields))
            arrays, attributes = module.train(chosen, own, variant, named, **where)
        path = folder / f"run-{number}.h5"
        yield store_run(path, arrays, module.RUN, axes | {"seed": 0} | own.plain(), attributes), chosen


def store_run(path, arrays, kind, settings, attributes=None):
    store.write(path, arrays, kind=kind, settings=settings, attributes=attributes or {})
    return path


@pytest.mark.parametrize("name", ["depth_cifar", "factorized", "compressed"])
def test_networks_of_image_classes_are_kept_and_read_back(name, tmp_path):
    """As they answered the test images at the last epoch, and had the loss that was recorded of each."""
    config, count = image_study(name, {"keep": 2}), 0
    for path, chosen in trainings(name, config, tmp_path):
        count += 1
        own = kept._of(STUDIES[name].RunSettings, store.contents(path).settings)
        _, test = batches.images_on(CPU, chosen, own.images)
        assert kept.epochs(path) == [0, 2, 4]
        before = torch.random.get_rng_state()
        recorded_of = recorded.read(path).quantities
        for epoch in kept.epochs(path):
            answers = evaluation.predict(kept.model(path, epoch), test)
            loss = torch.nn.functional.cross_entropy(answers, test.labels).item()
            place = list(recorded_of["epoch"].values).index(epoch)
            assert loss == pytest.approx(recorded_of["test_loss"].values[place], rel=1e-5)
        np.testing.assert_array_equal(answers.argmax(1) == test.labels, recorded_of["test_correct"].values)
        assert torch.equal(before, torch.random.get_rng_state()), "whoever reads draws as before"
    assert count == {"depth_cifar": 1, "factorized": 5, "compressed": 7}[name]


@pytest.mark.parametrize("name", ["depth_cifar", "factorized", "compressed"])
def test_trainings_on_image_classes_stop_early(name, tmp_path):
    """And what is held out may be what they go by."""
    by = "test_accuracy" if name == "depth_cifar" else "held_out_loss"
    training = {"epochs": 30, "early_stopping": {"by": by, "least_change": 100.0, "patience": 1}, "keep": "last epoch"}
    training |= {} if name == "depth_cifar" else {"held_out": 0.3}
    config = image_study(name, training)
    for path, _ in trainings(name, config, tmp_path):
        settings, epochs = store.contents(path).settings, kept.epochs(path)
        follows = settings.get("decay") in ("recorded", "replayed")
        assert epochs == [30 if follows else 3]
        assert recorded.read(path).quantities["epoch"].values[-1] == epochs[0]


@pytest.mark.parametrize(
    "block", [{"best_by": "held_out_loss", "keep": "best epoch"}, {"early_stopping": {"by": "held_out_accuracy"}}]
)
def test_images_that_are_not_held_out_decide_nothing(block):
    with pytest.raises(SettingsError, match="are of images that are held out; set held_out"):
        image_study("factorized", block)


def test_tables_have_runs_that_are_tested_now_and_then_and_that_stopped_early(tmp_path):
    """Depth limit of convolutional networks: train loss by epoch stands where a test does."""
    config = image_study("depth_cifar", {"epochs": 5, "evaluate_every": 3})
    whole = image_study("depth_cifar", {"epochs": 5})
    found = {}
    for name, one in (("some", config), ("all", whole)):
        (tmp_path / name).mkdir()
        ((path, _),) = trainings("depth_cifar", one, tmp_path / name)
        found[name] = depth_cifar.tables([path], fit=one.depth_cifar.power_law.plain(), published=False, missing=0)
    some, every = found["some"]["curves"].set_index("epoch"), found["all"]["curves"].set_index("epoch")
    assert list(some.index) == [0, 3, 5]
    assert some.loc[[3, 5]].equals(every.loc[[3, 5]])
    assert found["some"]["runs"].equals(found["all"]["runs"])


def test_norms_are_compared_where_both_runs_have_them():
    """One of which ended early; by the definition, over the epochs after the first that both have."""
    whole = {0: pd.Series([4.0, 3.0, 2.0, 1.0], index=[0.0, 1.0, 2.0, 3.0])}
    short = {0: pd.Series([4.0, 6.0, 8.0], index=[0.0, 1.0, 2.0])}
    for one, other in ((whole, short), (short, whole)):
        found = factorized_results._off(one, other)
        assert found[0] == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_lines_over_seeds_end_where_the_first_of_them_does():
    """Of Omega, too; beyond, they would be means of others."""
    rows = [{"depth": 8, "seed": seed, "epoch": epoch} for seed, last in ((0, 3), (1, 2)) for epoch in range(last + 1)]
    curves = pd.DataFrame(rows).assign(test_accuracy=0.5, test_loss=1.0, train_loss=1.0)
    steps = [{"depth": 8, "seed": seed, "step": step} for seed, last in ((0, 6), (1, 4)) for step in range(1, last + 1)]
    gradients = pd.DataFrame(steps).assign(omega=1.0, omega_logged=1.0, images=4, kept=1)
    gradients["time"] = gradients["step"] / 2
    runs = pd.DataFrame({"depth": [8, 8], "seed": [0, 1]} | dict.fromkeys(("rate", "size", "shift"), np.nan))
    numbers = depth_figure._numbers({"runs": runs, "curves": curves, "gradients": gradients}, {})
    ends = numbers.groupby("quantity")["time"].max()
    assert ends["test_accuracy"] == 2 and ends["omega"] == 2 and (numbers["seeds"] == 2).all()
    by_step = pd.DataFrame(depth_gradients_figure._of_convolutional(gradients, runs, "logged"))
    assert by_step["step"].max() == 4


def test_figures_say_at_most_of_trainings_that_may_end_early():
    assert style.epochs({"epochs": 5}) == "5 epochs"
    assert style.epochs({"epochs": 5, "early_stopping": {"by": "test_loss"}}) == "at most 5 epochs"
