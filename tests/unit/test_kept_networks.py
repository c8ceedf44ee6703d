"""Weights of networks that are kept, and networks that are read back."""

import numpy as np
import pytest
import torch
from test_every_setting import load

import studies_in_small
from tacit import store
from tacit.errors import UserError
from tacit.settings.base import SettingsError
from tacit.studies import kept, pathfinder
from tacit.studies import untied as untied_study

EPOCHS = 4


def loaded(**training):
    small = studies_in_small.TINY["pathfinder"]
    block = small | {"training": small["training"] | {"epochs": EPOCHS} | training}
    return load(studies_in_small.TINY | {"pathfinder": block}).pathfinder


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    raw = random.integers(0, 256, (24, 24, 24), dtype=np.uint8), np.arange(24) % 2
    made = pathfinder.assemble([raw], path_length=2, seed=0, num_train=16, num_test=8, size=16)
    mean, std = pathfinder.pixel_statistics(made.train_images)
    return store.Record(made._asdict(), {"of": "a test"}, {"train_mean": mean, "train_std": std})


def train(folder, dataset, own, *, coefficient=1.0):
    arrays = pathfinder.train(
        dataset, own.run, path_length=2, coefficient=coefficient, seed=0, checkpoint=folder / "c.pt"
    )
    path = folder / "run.h5"
    identity = {"path_length": 2, "coefficient": coefficient, "seed": 0}
    store.write(path, arrays, kind=pathfinder.RUN, settings=identity | own.run.plain())
    return path, arrays


def logits(network, dataset):
    pixels = torch.from_numpy(dataset.arrays["test_images"][:, None].copy()).float()
    images = (pixels - 255 * dataset.attributes["train_mean"]) / (255 * dataset.attributes["train_std"])
    with torch.no_grad():
        return network(images)


def loss(network, dataset):
    labels = torch.from_numpy(dataset.arrays["test_labels"].copy()).float()
    return torch.nn.functional.binary_cross_entropy_with_logits(logits(network, dataset), labels).item()


def test_by_default_nothing_is_kept_and_settings_have_no_word_of_it(dataset, tmp_path):
    path, arrays = train(tmp_path, dataset, loaded())
    assert not [name for name in arrays if name.startswith("weights")] and kept.epochs(path) == []
    assert "keep" not in loaded().run.plain()["training"] and loaded().run.wanted()["training"]["keep"] is None
    with pytest.raises(UserError, match="keeps no weights; set keep"):
        kept.model(path)


@pytest.mark.parametrize("keep", ["last epoch", "every epoch"])
def test_what_is_kept_is_the_network_that_was_measured(dataset, tmp_path, keep):
    path, arrays = train(tmp_path, dataset, loaded(keep=keep))
    assert kept.epochs(path) == ([EPOCHS] if keep == "last epoch" else list(range(EPOCHS + 1)))
    for epoch in kept.epochs(path)[-2:]:
        network = kept.model(path, epoch)
        assert not network.training
        assert loss(network, dataset) == pytest.approx(arrays["test_loss"][epoch - 1], rel=1e-4)
    labels = torch.from_numpy(dataset.arrays["test_labels"].copy())
    correct = (logits(kept.model(path), dataset) > 0) == (labels > 0)
    assert torch.equal(correct, torch.from_numpy(arrays["test_correct"]).bool())
    # As epochs are recorded, and as they are typed.
    for epoch in (float(EPOCHS), np.float64(EPOCHS), np.int64(EPOCHS), str(EPOCHS)):
        assert torch.equal(logits(kept.model(path, epoch), dataset), logits(kept.model(path, EPOCHS), dataset))
    for epoch in (9, 9.0, "9"):
        with pytest.raises(UserError, match=f"keeps no epoch 9; there are .*{EPOCHS}"):
            kept.model(path, epoch)
    with pytest.raises(UserError, match=r"keeps no epoch 2\.5"):
        kept.model(path, 2.5)


@pytest.mark.parametrize("by", ["test_loss", "test_accuracy", "train_loss", "train_accuracy"])
def test_the_best_epoch_is_that_of_the_metric_that_is_named(dataset, tmp_path, by):
    own = loaded(keep="best epoch", **({} if by == "test_loss" else {"best_by": by}))
    path, arrays = train(tmp_path, dataset, own)
    (epoch,) = kept.epochs(path)
    values = arrays[by]
    assert epoch - 1 == (values.argmax() if "accuracy" in by else values.argmin())
    assert loss(kept.model(path), dataset) == pytest.approx(arrays["test_loss"][epoch - 1], rel=1e-4)


def test_training_that_stops_early_keeps_its_last_epoch(dataset, tmp_path):
    own = loaded(keep="last epoch", epochs=400, perfect_epochs=0, learning_rate=0.01)
    path, arrays = train(tmp_path, dataset, own, coefficient=0.0)
    assert kept.epochs(path) == [len(arrays["train_loss"])] and len(arrays["train_loss"]) < 400


def test_what_is_kept_changes_nothing_else(dataset, tmp_path):
    _, plain = train(tmp_path, dataset, loaded())
    _, more = train(tmp_path, dataset, loaded(keep="every epoch"))
    for name, values in plain.items():
        np.testing.assert_array_equal(values, more[name])


def test_a_metric_without_a_best_epoch_is_refused():
    with pytest.raises(SettingsError, match='best_by = "train_loss" means nothing unless keep is best epoch'):
        loaded(best_by="train_loss")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.h5"
    kind = store.Kind("something else", {"a": store.Array("float64", "n")})
    store.write(path, {"a": np.zeros(3)}, kind=kind, settings={})
    with pytest.raises(UserError, match="no network can be built of a something else"):
        kept.model(path)


def test_untied_networks_and_translators_are_read_back_too(tmp_path):
    config = load(studies_in_small.TINY)
    (arrays, *_), study = studies_in_small.run(config, ("untied", "scratch"), tmp_path), config.untied
    path = tmp_path / "cnn-kept.h5"
    own = study.scratch_run("cnn").plain()
    store.write(path, arrays, kind=untied_study.RUN, settings={"network": "cnn", "seed": 0} | own)
    assert kept.epochs(path) == list(range(study.scratch.epochs + 1))
    first, last = kept.model(path, 0), kept.model(path)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True))
    studies_in_small.run(config, ("translation", "seeds"), tmp_path)
    run = tmp_path / "translation-0.h5"
    assert kept.epochs(run) == ["best", "last"]
    assert type(kept.model(run)).__name__ == "Transformer"
