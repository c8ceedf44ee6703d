"""Parts of the engine that no study has by itself: schedules, decays, the rule of stopping, what is kept when."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tacit import checkpoints
from tacit.data.translation import Lines, Pairs
from tacit.settings.untied import log_spaced
from tacit.training import engine, evaluation, optimizers, resumable
from tacit.training.batches import Batches
from tacit.training.images import LabelledImages
from tacit.training.keeping import Best, Keeper
from tacit.training.objectives import CrossEntropy, LabelSmoothedCrossEntropy, Tokens
from tacit.training.sentences import Sentences as TextSentences
from tacit.training.sentences import TokenBatches

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


def test_clipping_comes_after_decays():
    """The gradient of the loss and that of the decay are shortened together, if they are too long."""
    for norm in (0.05, 1e3):
        network, by_hand, data = model(), model(), task()

        def decay(network=network):
            for parameter in network.parameters():
                parameter.grad.add_(parameter.detach(), alpha=0.3)

        clip = optimizers.clipping(network.parameters(), norm)
        step = training(network, decays=[decay, clip]).moving
        step.begin(0, 1)
        step.take(0, torch.arange(COUNT))
        images = data.batch(torch.arange(COUNT), torch.contiguous_format)
        loss = nn.functional.cross_entropy(by_hand(images), data.labels)
        penalty = 0.15 * sum(parameter.square().sum() for parameter in by_hand.parameters())
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss + penalty, by_hand.parameters())])
        assert 0.05 < gradient.norm() < 1e3
        moved = vector(by_hand) - 0.1 * gradient * min(1.0, norm / gradient.norm())
        torch.testing.assert_close(vector(network), moved, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="norm = 0"):
        optimizers.clipping(network.parameters(), 0.0)


def test_the_published_rate_of_translation():
    rate = optimizers.inverse_square_root(0.25, steps=1_037, constant=4_000)
    by_step = [rate(step // 1_037 + step % 1_037 / 1_037) for step in (0, 3_999, 4_000, 4_001, 16_000, 100_000)]
    assert by_step[:3] == [0.25] * 3
    assert by_step[3] == pytest.approx(0.25 * math.sqrt(4_000 / 4_001), rel=1e-14) and by_step[3] < 0.25
    assert by_step[4:] == [0.125, pytest.approx(0.05, rel=1e-14)]
    for steps, constant in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"steps = {steps}, constant = {constant}"):
            optimizers.inverse_square_root(0.25, steps=steps, constant=constant)


class Sentences:
    """Three pairs, each of its own length."""

    labels = torch.tensor([4, 2, 3])

    def begin(self, epoch):
        pass

    def batch(self, numbers, memory_format):
        target = torch.tensor([[4, 5, 6, 2], [7, 2, 1, 1], [4, 4, 2, 1]])
        previous = torch.tensor([[2, 4, 5, 6], [2, 7, 1, 1], [2, 4, 4, 1]])
        return Tokens(torch.tensor([[3, 4, 2], [1, 5, 2], [1, 1, 2]])[numbers], previous[numbers], target[numbers])


class Translating(nn.Module):
    """Logits of the token before and the first of the source."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.source, self.previous = nn.Embedding(8, 8), nn.Embedding(8, 8)

    def forward(self, source, previous):
        return 3 * (self.source(source[:, :1]) + self.previous(previous))


class Dropping(Translating):
    """The same, of which half is dropped in training."""

    def forward(self, source, previous):
        return nn.functional.dropout(super().forward(source, previous), 0.5, self.training)


def smoothed_by_hand(network, smoothing):
    """Token by token."""
    source, previous, target = Sentences().batch(torch.arange(3), None)
    losses, likelihoods = [], []
    for row, length in enumerate(Sentences.labels.tolist()):
        p = network(source[row : row + 1], previous[row : row + 1])[0].softmax(-1)
        for place in range(length):
            nll = -p[place].log()
            likelihoods.append(nll[target[row, place]])
            losses.append((1 - smoothing) * likelihoods[-1] + smoothing * sum(nll) / 8)
    return sum(losses) / 9, sum(likelihoods) / 9


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_labels_are_smoothed_over_tokens_without_padding(smoothing):
    network, by_hand = Translating(), Translating()
    objective = LabelSmoothedCrossEntropy(smoothing=smoothing, padding=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    step = engine.Minimize(network, Sentences(), objective, optimizer)
    step.begin(0, 1)
    recorded = step.take(0, torch.arange(3))
    loss, likelihood = smoothed_by_hand(by_hand, smoothing)
    torch.testing.assert_close(recorded, torch.stack([loss, likelihood]).detach().double(), rtol=1e-6, atol=1e-6)
    loss.backward()
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter -= 0.5 * parameter.grad
    torch.testing.assert_close(vector(network), vector(by_hand))
    assert step.columns == ("loss", "nll")
    assert (loss == likelihood) == (smoothing == 0)


def test_losses_of_a_set_are_means_over_its_tokens():
    """However they are shared out to batches; without what is dropped in training."""
    network = Dropping().train()
    objective = LabelSmoothedCrossEntropy(smoothing=0.1, padding=1)
    expected = [part.item() for part in smoothed_by_hand(Translating(), 0.1)]
    for batches in ([[0, 1, 2]], [[2], [0, 1]]):
        numbers = [torch.tensor(batch) for batch in batches]
        found = evaluation.token_losses(network, Sentences(), numbers, objective)
        assert list(found.values()) == pytest.approx(expected, rel=1e-6)
        assert list(found) == ["loss", "nll"] and network.training


def test_a_label_that_is_spread_altogether_is_refused():
    for smoothing in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"smoothing = {smoothing}"):
            LabelSmoothedCrossEntropy(smoothing=smoothing, padding=1)


def test_means_of_an_epoch_are_over_examples_not_batches():
    """The last batch is a short one."""
    moving = finished(training(model(), epochs=2))
    weights = [SIZE] * (STEPS - 1) + [COUNT - SIZE * (STEPS - 1)]
    for epoch in range(2):
        losses = moving.column("loss")[epoch * STEPS : (epoch + 1) * STEPS]
        assert moving.means[epoch]["loss"] == pytest.approx(np.average(losses, weights=weights), rel=1e-14)


def test_the_best_weights_are_those_of_the_least_measure_and_the_earliest_of_equal_ones():
    values = [5.0, 2.0, 3.0, 2.0, 4.0]

    def begun(network):
        best = Best("valid_loss")
        moving = training(
            network, epochs=4, measure=lambda: {"valid_loss": values[moving.epoch]}, measured=range(5), best=best
        )
        return moving, best

    network = model()
    moving, best = begun(network)
    moving.advance()
    first = vector(network).clone()
    saved = copy.deepcopy(moving.state())
    finished(moving)
    assert (best.epoch, best.value) == (1, 2.0)
    kept = torch.cat([weights.flatten() for weights in best.weights.values()])
    assert torch.equal(kept, first) and not torch.equal(kept, vector(network))
    # Who comes later knows of it too.
    again = model()
    moving, resumed = begun(again)
    moving.load_state(saved)
    finished(moving)
    assert (resumed.epoch, resumed.value) == (1, 2.0)
    assert torch.equal(vector(again), vector(network))
    assert all(torch.equal(resumed.weights[name], weights) for name, weights in best.weights.items())


def test_an_epoch_may_be_cut_short_and_batches_count_as_they_say():
    """Seven updates of batches of tokens, three an epoch; the rate goes by whole epochs."""
    lengths = np.array([2, 3, 3, 4, 5, 5])
    rates = []

    def rate(time):
        rates.append(time)
        return 0.1

    def begun():
        batches = TokenBatches(lengths, lengths, most_tokens=10, stream=("test",), updates=7)
        assert batches.steps == 3
        network, objective = Translating(), LabelSmoothedCrossEntropy(smoothing=0.1, padding=1)
        pairs = Lines(np.concatenate([[4] * (length - 1) + [2] for length in lengths]), np.cumsum([0, *lengths]))
        step = engine.Minimize(
            network,
            TextSentences(torch.device("cpu"), Pairs(pairs, pairs)),
            objective,
            torch.optim.SGD(network.parameters(), lr=0.1),
            rate=rate,
        )
        return engine.Engine(step, batches, epochs=batches.epochs, run="a test", advice="none")

    moving = finished(begun())
    assert [len(rows) for rows in moving.rows] == [3, 3, 1] and moving.epoch == 3
    assert rates == pytest.approx([number / 3 for number in range(7)])
    for epoch in range(3):
        weights = moving.batches.weights(epoch)
        assert moving.means[epoch]["loss"] == pytest.approx(np.average(moving.rows[epoch][:, 0], weights=weights))
    assert sum(moving.batches.weights(0)) == lengths.sum()
    again = begun()
    again.load_state(moving.state())
    assert again.finished and again.means == moving.means
    # However many epochs there are, a checkpoint has as many tensors.
    assert len(moving.state()["rows"]) == 7 and moving.state()["lengths"] == [3, 3, 1]


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
    run = {
        "epochs": 4,
        "checkpoint": tmp_path / "c.pt",
        "settings": {},
        "by_time": False,
        "longer": resumable.Longer(("epochs",)),
    }
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
