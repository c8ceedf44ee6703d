"""A training that kept its end goes on, when it is to be longer, as a longer one does; or says why it does not."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from test_depth_descent import loop as depth_loop
from test_depth_kernel import classification
from test_descent import end_norm, model_of, problem
from test_fitting import model, sgd, task
from torch import nn

from tacit import checkpoints
from tacit.files import StoreError
from tacit.settings.factorizations import Descent
from tacit.settings.networks import EarlyStopping, Training
from tacit.settings.untied import String
from tacit.training import chain, descent, fitting, networks, resumable
from tacit.training.batches import Batches
from tacit.training.keeping import Best
from tacit.training.objectives import LongRangeBinaryCrossEntropy


@pytest.fixture(autouse=True)
def keeps_ends(monkeypatch):
    monkeypatch.setenv(checkpoints.ENDS_VARIABLE, "True")


class Networks:
    """Trainings by the engine, with what it measures and keeps."""

    def __init__(self, keep="every epoch", **more):
        self.keep, self.more = keep, more

    def __call__(self, checkpoint, epochs):
        settings = Training(
            optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, batch_size=5, epochs=epochs,
            perfect_epochs=100, precision="float32", channels_last=False, compile=False, keep=self.keep, **self.more,
        )  # fmt: skip
        images = task()
        halves = images._replace(labels=images.labels % 2)
        return networks.fit(
            lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, 1), nn.Flatten(0)),
            halves,
            halves,
            settings,
            LongRangeBinaryCrossEntropy(coefficient=0.0, sample_patches=None, stream=("test", 0)),
            checkpoint=checkpoint,
            settings={"training": settings.plain(), "seed": 0},
        )


def classes(checkpoint, epochs, *, measured=lambda epochs: range(epochs + 1), best=None):
    network = model(dropout=0.3)
    trained = fitting.fit(
        network,
        task(),
        sgd(network, 0.1),
        Batches(23, 5, ("test", 0), "random"),
        epochs=epochs,
        advice="",
        measure=lambda network: {"first": network[1].weight[0, 0].detach().clone()},
        measured=measured(epochs),
        kept=(2, epochs),
        checkpoint=checkpoint,
        settings={"epochs": epochs, "seed": 0},
        longer=resumable.Longer(("epochs",)),
        best=best,
    )
    kept = {
        f"{epoch} {name}": tensor.numpy() for epoch, state in trained.weights.items() for name, tensor in state.items()
    }
    return trained.steps | trained.measures | kept


def string(checkpoint, epochs):
    links = [model(seed) for seed in range(4)]
    settings = String(points=4, stiffness=0.3, epochs=epochs, batch_size=5, learning_rate=0.1)
    found = chain.fit(
        links, task(), settings, stream=("test",), checkpoint=checkpoint, settings={"string": settings.plain()}
    )
    vectors = [nn.utils.parameters_to_vector(link.parameters()).detach().numpy() for link in links]
    return {"objective": found, "links": np.stack(vectors)}


def factorization(checkpoint, epochs, **more):
    own = model_of("hierarchical")
    settings = Descent(epochs=epochs, evaluate_every=5, patience=10**9, **more)
    history = descent.descend(
        own, problem(own.shape), settings, measure=end_norm, stream=("test",),
        checkpoint=checkpoint, settings={"descent": settings.plain()},
    )  # fmt: skip
    return history | {"end": nn.utils.parameters_to_vector(own.parameters()).detach().numpy()}


def deep(checkpoint, epochs, *, rule="dynamic_guarded"):
    network, weights, samples = classification("skip")
    own = depth_loop(network, weights, samples, epochs=epochs, rule=rule, delta="trained", batch_size=2)
    own._variation = own._variation.model_copy(update={"every": 4})
    resumable.run(
        own,
        epochs=epochs,
        checkpoint=checkpoint,
        settings={"descent": {"epochs": epochs}},
        by_time=True,
        longer=resumable.Longer(("descent.epochs",)),
    )
    records = {name: np.array(values) for name, values in own.records.items()}
    measured = {f"norms {epoch}": np.array(norms) for epoch, norms in own.measured.items()}
    return records | measured | {"weights": own.weights, "rate": np.array(own.rate)}


def extended(train, folder, *lengths):
    """Train to each of the lengths in turn, as jobs at one checkpoint do."""
    found = {}
    for epochs in lengths:
        found = train(folder / "run.pt", epochs)
        checkpoints.finish(folder / "run.pt")
    return found


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(values), err_msg=name)


CONTINUED = {
    "network, every epoch kept": Networks(),
    "network, the best kept": Networks("best epoch"),
    "network, the last kept": Networks("last epoch"),
    "network, tested now and then": Networks("last epoch", evaluate_every=4),
    "network, ends early": Networks(
        evaluate_every=4, early_stopping=EarlyStopping(by="train_loss", least_change=10, patience=1)
    ),
    "network, asked for much from its second look on": Networks(
        evaluate_every=4, early_stopping=EarlyStopping(by="train_loss", least_change=10)
    ),
    "classes": classes,
    "classes, measured where they end": partial(classes, measured=lambda epochs: sorted({0, 2, epochs})),
    "string": string,
    "factorization": factorization,
    "factorization, sgd": partial(factorization, optimizer="sgd", momentum=0.5, learning_rate=1e-3),
    "factorization, batches": partial(factorization, batch_size=7),
    "deep residual network": deep,
    "deep residual network, fixed rate": partial(deep, rule="fixed"),
}


@pytest.mark.parametrize("name", CONTINUED)
def test_a_longer_training_goes_on_from_the_end(name, tmp_path, caplog):
    """Twice, and then it is what the longest would have been from the beginning."""
    train = CONTINUED[name]
    lengths = (5, 10, 20) if "factorization" in name else (2, 5, 6)
    if isinstance(train, Networks) and train.more:
        # The second ends between two looks.
        lengths = (4, 6, 30)
    expected = train(tmp_path / "whole.pt", lengths[-1])
    with caplog.at_level("INFO"):
        found = extended(train, tmp_path, *lengths)
    assert_same(found, expected)
    assert caplog.text.count("going on from the end of a shorter training") == 2
    assert (tmp_path / "run.pt.end").exists() and not (tmp_path / "run.pt").exists()


NOT_CONTINUED = {
    "it depends on their number": (
        Networks(schedule="cosine"), (2, 4), "learning rate depends on the number of epochs (schedule: cosine)",
    ),
    "shorter": (classes, (4, 2), "epochs is 4 there, and 2 is asked for"),
    "the same": (classes, (3, 3), "that of the same training, which is asked for anew"),
    "measured at other epochs": (
        partial(classes, measured=lambda epochs: range(0, epochs + 1, 2 - epochs % 2)), (4, 7),
        "it was not measured after epoch 1, as a longer one is",
    ),
    "best of other epochs": (
        partial(classes, measured=lambda epochs: sorted({0, 4, epochs}), best=Best("first")), (3, 5),
        "not measured after, such as 3",
    ),
    "evaluated elsewhere": (factorization, (7, 20), "it was evaluated after epoch 7, where a longer one is not"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_CONTINUED)
def test_what_cannot_go_on_says_why_and_is_trained_anew(name, tmp_path, caplog):
    train, lengths, why = NOT_CONTINUED[name]
    expected = train(tmp_path / "whole.pt", lengths[-1])
    found = extended(train, tmp_path, *lengths)
    assert_same(found, expected)
    assert "training from the beginning, not from the end that is kept as" in caplog.text and why in caplog.text


def test_an_end_of_other_settings_is_left_alone(tmp_path, caplog):
    extended(classes, tmp_path, 2)
    end = tmp_path / "run.pt.end"
    before = end.read_bytes()
    with pytest.raises(checkpoints.NotContinued, match=r"other settings \(seed\)"):
        checkpoints.load_end(
            tmp_path / "run.pt", settings={"epochs": 3, "seed": 1}, longer=("epochs",), device=torch.device("cpu")
        )
    assert end.read_bytes() == before


@pytest.mark.parametrize("damage", ["an end", "what it keeps"])
def test_a_damaged_end_is_set_aside(damage, tmp_path, caplog):
    train = Networks()
    expected = train(tmp_path / "whole.pt", 4)
    extended(train, tmp_path, 3)
    broken = tmp_path / ("run.pt.end" if damage == "an end" else "run.pt.end.kept")
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    assert_same(extended(train, tmp_path, 4), expected)
    assert "starting from the beginning" in caplog.text and (tmp_path / "run.pt.end.damaged-1").exists()


def test_without_being_asked_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(checkpoints.ENDS_VARIABLE)
    extended(Networks(), tmp_path, 3)
    assert list(tmp_path.iterdir()) == []


def test_an_end_names_the_settings_it_is_of(tmp_path):
    extended(classes, tmp_path, 2)
    assert json.dumps({"epochs": 2, "seed": 0}).encode() in (tmp_path / "run.pt.end").read_bytes()


def test_a_training_whose_end_cannot_be_kept_is_no_failure(tmp_path, monkeypatch, caplog):
    """And what was saved before is not taken for it."""
    save, ended = checkpoints.save, []

    def full(path, state, **named):
        if state["epoch"] == 3:
            ended.append(path)
            raise StoreError("no space left on the disk")
        save(path, state, **named)

    monkeypatch.setattr(checkpoints, "save", full)
    monkeypatch.setenv(checkpoints.SECONDS_VARIABLE, "0")
    expected = classes(tmp_path / "whole.pt", 3)
    ended.clear()
    assert_same(extended(classes, tmp_path, 3), expected)
    assert ended and "the end of the training is not kept: no space left" in caplog.text
    assert not list(tmp_path.glob("run.pt*"))
