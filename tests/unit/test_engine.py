"""Parts of the engine that no study has by itself: schedules, decays, the rule of stopping, what is kept when."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tacit import checkpoints
from tacit.settings.untied import log_spaced
from tacit.training import engine, evaluation, resumable
from tacit.training.batches import Batches
from tacit.training.images import LabelledImages
from tacit.training.keeping import Keeper
from tacit.training.objectives import CrossEntropy

COUNT, SIZE = 23, 5
STEPS = math.ceil(COUNT / SIZE)


def task():
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (COUNT, 4, 4), dtype=np.uint8)
    return LabelledImages.on(torch.device("cpu"), images, random.integers(0, 3, COUNT), mean=[0.5], std=[0.25])


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def training(network, *, epochs=3, lr=0.1, rate=None, decays=(), **parts):
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    step = engine.Minimize(network, task(), CrossEntropy(), optimizer, rate=rate, decays=decays)
    batches = Batches(COUNT, SIZE, ("test", "engine"), "fixed")
    return engine.Engine(step, batches, epochs=epochs, run="a test", advice="none", **parts)


def finished(moving):
    while not moving.finished:
        moving.advance()
    return moving


def vector(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def written_out(*, rate, decay=0.0, epochs=3):
    """The same by hand: theta -= rate(t) (gradient + decay theta)."""
    network, data = model(), task()
    images = data.batch(torch.arange(COUNT), torch.contiguous_format)
    for epoch in range(epochs):
        for step in range(STEPS):
            part = slice(SIZE * step, SIZE * (step + 1))
            loss = nn.functional.cross_entropy(network(images[part]), data.labels[part])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter -= rate(epoch + step / STEPS) * (gradient + decay * parameter)
    return vector(network)


@pytest.mark.parametrize(
    "rate", [lambda time: 0.1 * 0.1 ** (time >= 1), lambda time: 0.05 * (1 + math.cos(math.pi * time / 3))]
)
def test_a_schedule_gives_the_rate_of_each_step(rate):
    network = model()
    finished(training(network, rate=rate))
    torch.testing.assert_close(vector(network), written_out(rate=rate))


def test_decays_add_to_the_gradients_before_the_step():
    network = model()

    def decay():
        for parameter in network.parameters():
            parameter.grad.add_(parameter.detach(), alpha=0.3)

    finished(training(network, decays=[decay]))
    torch.testing.assert_close(vector(network), written_out(rate=lambda time: 0.1, decay=0.3))


def test_means_of_an_epoch_are_over_examples_not_batches():
    """The last batch is a short one."""
    moving = finished(training(model(), epochs=2))
    weights = [SIZE] * (STEPS - 1) + [COUNT - SIZE * (STEPS - 1)]
    for epoch in range(2):
        losses = moving.column("loss")[epoch * STEPS : (epoch + 1) * STEPS]
        assert moving.means[epoch]["loss"] == pytest.approx(np.average(losses, weights=weights), rel=1e-14)


def test_it_stops_when_the_rule_says_so():
    moving = finished(training(model(), epochs=50, stops=lambda moving: moving.epoch == 7))
    assert moving.epoch == len(moving.means) == 7


@pytest.mark.parametrize(
    ("accuracies", "expected"), [([], 0), ([1.0], 1), ([0.5], 0), ([1, 0.9, 1, 1], 2), ([0.5, 1, 0.5], 0)]
)
def test_epochs_in_a_row(accuracies, expected):
    moving = training(model())
    moving.means = [{"accuracy": value} for value in accuracies]
    assert engine.trailing(moving, "accuracy", least=1.0) == expected


def test_what_is_measured_and_kept_is_of_the_epochs_asked_for(tmp_path):
    network, epochs = model(), 9
    asked = (0, *log_spaced(epochs, 4), epochs)
    keeper = Keeper(tmp_path / "kept")
    moving = training(
        network, epochs=epochs, kept=asked, keeper=keeper, measured=asked, measure=lambda: {"all": vector(network)}
    )
    finished(moving)
    measured, kept = moving.measured_arrays(), moving.weights()
    assert measured["epoch"].tolist() == sorted(set(asked))
    assert sorted(kept) == sorted(set(asked))
    for epoch, row in zip(measured["epoch"], measured["all"], strict=True):
        parts = [kept[int(epoch)][name].numpy().ravel() for name in ("1.weight", "1.bias")]
        np.testing.assert_array_equal(np.concatenate(parts), row)


def test_a_request_to_end_is_heeded_though_epochs_have_one_step(tmp_path, monkeypatch):
    """And what was saved is at the end of an epoch."""
    whole, broken = model(), model()
    finished(training(whole, epochs=4))
    moving = training(broken, epochs=4)
    taken = []

    class Asked(checkpoints.Termination):
        @property
        def requested(self):
            return len(taken) == 2 * STEPS

        @requested.setter
        def requested(self, value):
            pass

    monkeypatch.setattr(checkpoints, "Termination", Asked)
    take = engine.Minimize.take
    monkeypatch.setattr(engine.Minimize, "take", lambda *given: taken.append(1) or take(*given))
    run = {"epochs": 4, "checkpoint": tmp_path / "c.pt", "settings": {}, "by_time": False}
    with pytest.raises(checkpoints.Interrupted):
        resumable.run(moving, **run)
    assert (moving.epoch, moving.step) == (2, 0)
    monkeypatch.undo()
    resumed = model()
    resumable.run(training(resumed, epochs=4), **run)
    assert torch.equal(vector(resumed), vector(whole))


def test_predictions_are_of_evaluation_mode_and_leave_the_mode():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
    first, second = (evaluation.predict(network, task()) for _ in range(2))
    assert torch.equal(first, second)
    assert network.training
    images = task().batch(torch.arange(COUNT), torch.contiguous_format)
    torch.testing.assert_close(first, network.eval()(images))


def test_binary_performance_by_hand():
    logits, labels = torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1, 1, 0, 0])
    found = evaluation.binary_performance(logits, labels)
    losses = [math.log1p(math.exp(-2)), math.log1p(math.exp(1)), math.log1p(math.exp(0.5)), math.log1p(math.exp(-3))]
    assert found["loss"] == pytest.approx(sum(losses) / 4, rel=1e-12)
    assert found["accuracy"] == 0.5
