"""Training by plain SGD: the loop against one written out, resuming, bookkeeping; and the string of networks."""

import itertools
import os
import signal
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tacit import checkpoints
from tacit.analysis import interpolation
from tacit.errors import DivergenceError
from tacit.settings.untied import String
from tacit.training import chain, engine, fitting, resumable
from tacit.training.batches import Batches
from tacit.training.images import LabelledImages

SETTINGS = {"name": "a test"}
LONGER = resumable.Longer(("epochs",))


def task(count=23, classes=3, side=4):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (count, side, side), dtype=np.uint8)
    return LabelledImages.on(torch.device("cpu"), images, random.integers(0, classes, count), mean=[0.5], std=[0.25])


def model(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    hidden = [nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)]
    return nn.Sequential(*hidden)


def sgd(network, rate):
    return torch.optim.SGD(network.parameters(), lr=rate)


def fit(checkpoint, network=None, *, order="fixed", epochs=4, rate=0.1, measured=(0, 2, 4), kept=(0, 3), measure=None):
    network = network or model(dropout=0.3)
    return fitting.fit(
        network,
        task(),
        sgd(network, rate),
        Batches(23, 5, ("test", 0), order),
        epochs=epochs,
        advice=f"reduce the learning rate (now {rate:g})",
        measure=measure or (lambda network: {"first": network[1].weight[0, 0].detach().clone()}),
        measured=measured,
        kept=kept,
        checkpoint=checkpoint,
        settings=SETTINGS,
        longer=LONGER,
    )


def test_is_plain_sgd_in_the_order_of_the_file(tmp_path):
    """Against a loop written out, with what it measures and keeps."""
    trained = fit(tmp_path / "c.pt", model())
    network, data = model(), task()
    images = data.batch(torch.arange(23), torch.contiguous_format)
    losses, accuracies, states = [], [], [{k: v.clone() for k, v in network.state_dict().items()}]
    for _ in range(4):
        for first in range(0, 23, 5):
            logits = network(images[first : first + 5])
            labels = data.labels[first : first + 5]
            loss = cross_entropy(logits, labels)
            losses.append(loss.item())
            accuracies.append((logits.argmax(1) == labels).float().mean().item())
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
        states.append({k: v.clone() for k, v in network.state_dict().items()})
    np.testing.assert_allclose(trained.steps["step_loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(trained.steps["step_accuracy"], accuracies, rtol=1e-6)
    assert trained.measures["epoch"].tolist() == [0, 2, 4]
    expected = [states[epoch]["1.weight"][0, 0].item() for epoch in (0, 2, 4)]
    np.testing.assert_allclose(trained.measures["first"], expected, rtol=1e-4)
    assert set(trained.weights) == {0, 3}
    for epoch, weights in trained.weights.items():
        for name, tensor in weights.items():
            torch.testing.assert_close(torch.from_numpy(tensor.numpy()), states[epoch][name])


def test_a_fixed_order_repeats_and_a_random_one_does_not(monkeypatch, tmp_path):
    seen = []
    take = engine.Minimize.take

    def noted(self, step, batch):
        seen.append(tuple(batch.tolist()))
        return take(self, step, batch)

    monkeypatch.setattr(engine.Minimize, "take", noted)
    orders = {}
    for order in ("fixed", "random"):
        seen.clear()
        fit(tmp_path / f"{order}.pt", order=order, epochs=3, measured=(3,), kept=())
        orders[order] = [seen[5 * epoch : 5 * epoch + 5] for epoch in range(3)]
        for epoch in orders[order]:
            assert sorted(itertools.chain(*epoch)) == list(range(23))
    assert orders["fixed"][0] == orders["fixed"][1] == [tuple(range(i, min(i + 5, 23))) for i in range(0, 23, 5)]
    assert orders["random"][0] != orders["random"][1]


def test_every_step_of_every_epoch_has_an_entry(tmp_path):
    """23 images in batches of 5: five steps an epoch."""
    trained = fit(tmp_path / "c.pt", epochs=3, measured=(3,), kept=())
    assert {name: values.shape for name, values in trained.steps.items()} == {
        "step_loss": (3 * 5,),
        "step_accuracy": (3 * 5,),
    }


def asked_to_end(monkeypatch, stepping, steps):
    """Have SIGTERM arrive after so many steps; after 0, before the first."""
    count, take = itertools.count(), stepping.take

    def interrupting(self, step, batch):
        number = next(count)
        if number == steps == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        row = take(self, step, batch)
        if number + 1 == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return row

    monkeypatch.setattr(stepping, "take", interrupting)


def assert_same(one, other):
    for name, values in one.steps.items():
        np.testing.assert_array_equal(values, other.steps[name])
    assert list(one.measures) == list(other.measures)
    for name, values in one.measures.items():
        np.testing.assert_array_equal(values, other.measures[name])
    assert set(one.weights) == set(other.weights)
    for epoch, weights in one.weights.items():
        for name, tensor in weights.items():
            np.testing.assert_array_equal(tensor.numpy(), other.weights[epoch][name].numpy(), strict=True)


@pytest.mark.parametrize("order", ["fixed", "random"])
@pytest.mark.parametrize("steps", [0, 3, 5, 12, 19])
def test_resumed_is_as_if_never_stopped(monkeypatch, tmp_path, order, steps):
    """Asked to end at any step, the first and the last of an epoch included; dropout is on."""
    undisturbed = fit(tmp_path / "a.pt", order=order)
    asked_to_end(monkeypatch, engine.Minimize, steps)
    with pytest.raises(checkpoints.Interrupted):
        fit(tmp_path / "b.pt", order=order)
    monkeypatch.undo()
    assert_same(fit(tmp_path / "b.pt", model(seed=9, dropout=0.3), order=order), undisturbed)


def test_saving_in_mid_epoch_changes_nothing(monkeypatch, tmp_path):
    """Every step, as if each took as long as may pass between checkpoints."""
    undisturbed = fit(tmp_path / "a.pt", order="random")
    monkeypatch.setenv(checkpoints.SECONDS_VARIABLE, "0")
    saved = []
    save = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *arguments, **named: saved.append(1) or save(*arguments, **named))
    assert_same(fit(tmp_path / "b.pt", order="random"), undisturbed)
    # After every one of 4 x 5 steps but the last.
    assert len(saved) == 19


def test_divergence_names_the_step(tmp_path):
    with pytest.raises(DivergenceError, match=r"loss of step \d+ .* reduce the learning rate \(now 1e\+30\)"):
        fit(tmp_path / "c.pt", rate=1e30)


def test_a_measure_that_is_not_finite_is_divergence_too(tmp_path):
    """The last step of all may do the harm, which no loss of a step shows."""
    with pytest.raises(DivergenceError, match=r"first is not finite after epoch 4 \(20 steps\), \('test', 0\)"):
        fit(
            tmp_path / "c.pt",
            measured=(4,),
            measure=lambda network: {"first": network[1].weight[0, 0].detach() * float("inf")},
        )


def dazzling():
    """Images so bright that their gradients overflow in a long step."""
    data = task()
    return data._replace(images=data.images._replace(std=data.images.std * 1e-9))


@pytest.mark.parametrize("kept", [(), (1,)])
def test_weights_that_end_not_finite_are_divergence_though_nothing_else_shows_it(tmp_path, kept):
    with pytest.raises(DivergenceError, match=r"\S+ is not finite after epoch 1 .*, \('test', 0\); .*1e\+38"):
        network = model()
        fitting.fit(
            network,
            dazzling(),
            sgd(network, 1e38),
            Batches(23, 23, ("test", 0), "fixed"),
            epochs=1,
            advice="take less than 1e+38",
            measure=lambda network: {},
            measured=(),
            kept=kept,
            checkpoint=tmp_path / "c.pt",
            settings=SETTINGS,
            longer=LONGER,
        )


@pytest.mark.parametrize(("computing", "apart"), [("float32", 0.0), ("tf32", 0.0), ("bfloat16", 3e-2)])
def test_the_precision_is_that_of_the_settings(tmp_path, computing, apart):
    """On a CPU tf32 changes nothing; in bfloat16 products are rounded, while weights stay float32."""

    def trained(computing):
        network = model()
        fitting.fit(
            network,
            task(),
            sgd(network, 0.1),
            Batches(23, 5, ("test",), "fixed"),
            epochs=2,
            advice="",
            precision=computing,
            measure=dict,
            measured=(),
            kept=(),
            checkpoint=tmp_path / f"{computing}.pt",
            settings=SETTINGS,
            longer=LONGER,
        )
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    exact, found = trained("float32"), trained(computing)
    assert found.dtype == torch.float32
    difference = ((found - exact).norm() / exact.norm()).item()
    assert difference <= apart
    assert (difference > 0) == (apart > 0)


@pytest.mark.parametrize(("computing", "apart"), [("tf32", 0.0), ("bfloat16", 3e-2)])
def test_the_precision_of_a_string_is_that_of_the_settings(tmp_path, computing, apart):
    def moved(computing):
        links = line(model(0), model(1))
        moving = chain.assemble(links, task(), STRING, precision=computing, stream=("test", "string"))
        while not moving.finished:
            moving.advance()
        return torch.cat([parameter.detach().flatten() for parameter in links[1].parameters()])

    exact, found = moved("float32"), moved(computing)
    assert found.dtype == torch.float32
    difference = ((found - exact).norm() / exact.norm()).item()
    assert difference <= apart
    assert (difference > 0) == (apart > 0)


def line(first, last, points=4):
    return interpolation.along(first, last, points)


class Moved(NamedTuple):
    """A string that has learned."""

    networks: list
    objective: np.ndarray


def run(links, string, checkpoint, data=None):
    stream = ("test", "string")
    objective = chain.fit(links, data or task(), string, stream=stream, checkpoint=checkpoint, settings=SETTINGS)
    return Moved(links, objective)


STRING = String(points=4, stiffness=0.3, epochs=2, batch_size=5, learning_rate=0.1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_string_against_its_formula(tmp_path, momentum):
    """theta_i takes its step, then kappa (theta_{i+1} + theta_{i-1} - 2 theta_i), one after the other."""
    moving = run(line(model(0), model(1)), STRING.model_copy(update={"momentum": momentum}), tmp_path / "c.pt")
    data = task()
    images = data.batch(torch.arange(23), torch.contiguous_format)
    networks = line(model(0), model(1))

    def flat(network):
        return nn.utils.parameters_to_vector(network.parameters()).detach()

    objectives, velocity = [], {1: 0.0, 2: 0.0}
    for _ in range(2):
        for first in range(0, 23, 5):
            total = 0.0
            for i in (1, 2):
                loss = cross_entropy(networks[i](images[first : first + 5]), data.labels[first : first + 5])
                gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(networks[i].parameters()))])
                velocity[i] = momentum * velocity[i] + gradient
                theta = flat(networks[i]) - 0.1 * velocity[i]
                left, right = flat(networks[i - 1]), flat(networks[i + 1])
                total += loss.item() + 0.15 * ((theta - left).square().sum() + (theta - right).square().sum()).item()
                nn.utils.vector_to_parameters(theta + 0.3 * (right + left - 2 * theta), networks[i].parameters())
            objectives.append(total)
    for own, other in zip(moving.networks, networks, strict=True):
        torch.testing.assert_close(flat(own), flat(other))
    np.testing.assert_allclose(moving.objective, objectives, rtol=1e-5)


def test_a_string_without_stiffness_is_sgd_of_each_point(tmp_path):
    moving = run(line(model(0), model(1)), STRING.model_copy(update={"stiffness": 0.0}), tmp_path / "c.pt")
    alone = line(model(0), model(1))[2]
    trained = fit(tmp_path / "d.pt", alone, epochs=2, measured=(), kept=(2,))
    for name, tensor in moving.networks[2].state_dict().items():
        torch.testing.assert_close(tensor, trained.weights[2][name])


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 0.0), (0.0, 0.1), (0.9, 0.1)])
def test_points_have_the_momentum_and_the_weight_decay_of_sgd(tmp_path, momentum, weight_decay):
    asked = {"stiffness": 0.0, "momentum": momentum, "weight_decay": weight_decay}
    moving = run(line(model(0), model(1)), STRING.model_copy(update=asked), tmp_path / "c.pt")
    for number in (1, 2):
        alone = line(model(0), model(1))[number]
        sgd = torch.optim.SGD(alone.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay)
        data = task()
        images = data.batch(torch.arange(23), torch.contiguous_format)
        for _ in range(2):
            for part in torch.arange(23).split(5):
                sgd.zero_grad()
                cross_entropy(alone(images[part]), data.labels[part]).backward()
                sgd.step()
        for own, other in zip(moving.networks[number].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(own, other)


def test_fifty_thousand_images_make_two_hundred_steps():
    batches = Batches(50_000, 250, ("test",), "fixed")
    assert batches.steps == len(batches.of_epoch(0, torch.device("cpu"))) == 200


def test_a_string_that_diverges_names_the_batch_or_the_weight(tmp_path):
    far = STRING.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(
        DivergenceError, match=r"the objective of step \d \(epoch 1\) is not finite, .*'string'.*\(now 1e\+30\)"
    ):
        run(line(model(0), model(1)), far, tmp_path / "c.pt")
    # One batch, whose objective is that before its step; without springs no energy is infinite.
    once = STRING.model_copy(update={"learning_rate": 1e38, "stiffness": 0.0, "batch_size": 23, "epochs": 1})
    links = line(model(0), model(1))
    moving = chain.assemble(links, dazzling(), once, precision="float32", stream=("test", "string"))
    with torch.no_grad():
        links[1][1].weight[0, 0] = torch.inf
    moving.current.fill_(1.0)
    moving.step = 1
    with pytest.raises(DivergenceError, match=r"point 1.1.weight is not finite after epoch 1 \(1 steps\), the string"):
        moving._close_epoch()


@pytest.mark.parametrize("stiffness", [0.1, 0.5])
def test_a_straight_string_that_does_not_learn_stays(tmp_path, stiffness):
    still = STRING.model_copy(update={"learning_rate": 0.0, "stiffness": stiffness})
    moving = run(line(model(0), model(1)), still, tmp_path / "c.pt")
    for own, other in zip(moving.networks, line(model(0), model(1)), strict=True):
        for a, b in zip(own.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [0, 1, 5, 8])
def test_a_string_resumed_is_as_if_never_stopped(monkeypatch, tmp_path, steps, momentum):
    string = STRING.model_copy(update={"momentum": momentum})
    undisturbed = run(line(model(0, 0.3), model(1, 0.3)), string, tmp_path / "a.pt")
    asked_to_end(monkeypatch, chain.Pull, steps)
    with pytest.raises(checkpoints.Interrupted):
        run(line(model(0, 0.3), model(1, 0.3)), string, tmp_path / "b.pt")
    monkeypatch.undo()
    torch.manual_seed(77)
    resumed = run(line(model(0, 0.3), model(1, 0.3)), string, tmp_path / "b.pt")
    np.testing.assert_array_equal(resumed.objective, undisturbed.objective)
    for own, other in zip(resumed.networks, undisturbed.networks, strict=True):
        for a, b in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
