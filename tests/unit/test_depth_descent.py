"""Descents on deep residual networks: printed values of the original, rules of the rate, resuming to the bit."""

import signal

import numpy as np
import pytest
import torch
from test_depth_kernel import classification

from tacit import events
from tacit.checkpoints import Interrupted
from tacit.errors import DivergenceError
from tacit.nn.deep_residual import Network, half_width
from tacit.settings.depth_limit import Descent, Variation
from tacit.training import depth_descent, resumable
from tacit.training.depth_descent import Loop, Rated
from tacit.training.depth_kernel import Samples, pass_through


def loop(
    network, weights, samples, *, rate=0.5, rule="fixed", gain=2.0, depth=None, alpha=0.75, through=pass_through, **more
):
    settings = {"epochs": 4, "precision": str(weights.dtype)} | more
    return Loop(
        network, weights.copy(), samples, Descent(**settings), Variation(p=(2.0, 1.0, 1.5)),
        rated=Rated(rule, rate, gain), scale=(depth or len(weights)) ** (1 - alpha), also=(), kept=(0, 2),
        through=through, threads=1,
    )  # fmt: skip


def finish(own):
    while not own.finished:
        own.advance(resumable.NEVER)
    return own


REGRESSION = [
    (0.0300729191, 0.0300736613, 0.0300729191), (0.0563538694, 0.0563673855, 0.0563538694),
    (0.0818159805, 0.0818910545, 0.0818159805), (0.1045597737, 0.1047395026, 0.1045597737),
]  # fmt: skip
CLASSES = {
    "skip": [(0.0021660248, 0.0021662602, 0.0021660248), (0.0044269889, 0.0044273532, 0.0044269889),
             (0.0067982440, 0.0067986392, 0.0067982440), (0.0092918381, 0.0092922073, 0.0092918381)],
    "inc_skip": [(0.0110267045, 0.0110267045, 0.0110267045), (0.0226133556, 0.0237504128, 0.0226133556),
                 (0.0348471000, 0.0384895643, 0.0348471000), (0.0478281076, 0.0556195321, 0.0478281076)],
    "linear_skip": [(0.0132866816, 0.0132873189, 0.0132866816), (0.0284901086, 0.0284931415, 0.0284901086),
                    (0.0454688316, 0.0454809209, 0.0454688316), (0.0641223650, 0.0641588809, 0.0641223650)],
    "none": [(0.0000022476, 0.0000023548, 0.0000022611), None, None, (0.0000089903, 0.0000094189, 0.0000090443)],
}  # fmt: skip
"""Norms of the 2-, 1- and 1.5-variation after each step of the original."""


def assert_norms(own, printed):
    assert own.exponents == (1.0, 1.5, 2.0)
    for epoch, norms in enumerate(printed, start=1):
        if norms:
            np.testing.assert_allclose(np.array(own.measured[epoch])[[2, 0, 1]], norms, rtol=0, atol=6e-11)


@pytest.mark.parametrize("augmentation", CLASSES)
def test_variations_of_a_classification_are_those_of_the_original(augmentation):
    assert_norms(finish(loop(*classification(augmentation))), CLASSES[augmentation])


def test_variations_of_a_regression_are_those_of_the_original():
    inputs, targets = np.array([[-1], [-0.5], [0.5], [1]]), np.full((4, 1), 0.1)
    network = Network("skip", "tanh", 4**-0.75, np.array([[0.6], [-0.8]]), np.array([[0.3, 0.9]]))
    samples = Samples(inputs @ network.input_weights.T, np.zeros(0, np.int64), targets)
    own = finish(loop(network, np.full((4, 2, 2), 0.08838834764831843), samples))
    assert_norms(own, REGRESSION)
    assert own.records["omega_logged"][0] == pytest.approx(4 * own.records["loss"][0] / 16, rel=1e-12)


@pytest.mark.parametrize(("activation", "gain", "rate"), [("tanh", 2.0, 213144.0124), ("relu", 10.0, 3322220.768)])
def test_a_dynamic_rate_starts_from_the_first_as_published(activation, gain, rate):
    own = loop(*classification("skip", activation), rule="dynamic", gain=gain)
    own.advance(resumable.NEVER)
    assert own.rate == pytest.approx(rate, rel=1e-6)


def test_a_guarded_rate_does_not_explode():
    own = finish(loop(*classification("skip"), rule="dynamic_guarded"))
    assert own.records["learning_rate"] == [0.5, 1.0, 1.0, 1.0]


def test_a_rule_that_gives_no_rate_says_what_to_do():
    with pytest.raises(DivergenceError, match="dynamic_guarded"):
        Rated("dynamic", 0.5, 2.0).after(0.0)


def test_a_scaled_rate_is_a_power_of_the_depth():
    assert depth_descent.first_rate("scaled", 0.9, depth=100, alpha=0.75) == pytest.approx(9)
    assert depth_descent.first_rate("fixed", 0.9, depth=100, alpha=0.75) == 0.9


def seeded(depth, dim):
    """The original's seeded regression: data, split, frozen weights, drawn from torch's generator in its order."""
    torch.manual_seed(1234)

    def linear(outputs, inputs):
        return torch.empty(outputs, inputs).uniform_(-(inputs**-0.5), inputs**-0.5)

    into, out_of = linear(dim, 1), linear(1, dim)
    for _ in range(depth):
        linear(dim, dim)
    inputs = ((torch.rand(10_000, 1) - 0.5) * 2.0).numpy()
    train = torch.randperm(10_000)[:9000].numpy()
    network = Network("skip", "tanh", depth**-0.75, into.double().numpy(), out_of.double().numpy())
    samples = Samples(
        inputs[train] @ into.numpy().T, np.zeros(0, np.int64), np.full((9000, 1), np.float32(0.01), float)
    )
    weights = np.full((depth, dim, dim), half_width(depth, alpha=0.75, gamma=1), np.float32)
    return network, weights, samples, train


def test_the_seeded_example_ends_as_the_original():
    network, weights, samples, train = seeded(128, 1)
    assert network.input_weights[0, 0] == pytest.approx(-0.9420415163, abs=5e-11)
    assert network.output_weights[0, 0] == pytest.approx(-0.1962028742, abs=5e-11)
    assert train[:5].tolist() == [6267, 2433, 1979, 686, 8617]
    own = finish(loop(network, weights, samples, rate=9.0, epochs=25))
    losses, omegas = own.records["loss"], own.records["omega_logged"]
    np.testing.assert_allclose(
        losses[:5], [0.01150457, 0.0110986466, 0.0107207764, 0.010368159, 0.010038347], rtol=1e-6
    )
    np.testing.assert_allclose([losses[9], losses[24]], [0.00866476, 0.00616232], rtol=2e-6)
    np.testing.assert_allclose(omegas[:5], [5.68127e-10, 5.48081e-10, 5.29421e-10, 5.12008e-10, 4.95721e-10], rtol=2e-6)
    np.testing.assert_allclose(own.weights[[0, 127], 0, 0], [-0.0956820, -0.0957185], rtol=0, atol=2e-6)
    # In float32 the path is so nearly constant that a part of this is rounding, there and here.
    np.testing.assert_allclose(own.measured[25], 1.223e-4, rtol=6e-3)


def test_the_seeded_example_in_float64_has_the_exact_variation():
    network, weights, samples, _ = seeded(128, 1)
    own = finish(loop(network, weights.astype(np.float64), samples, rate=9.0, epochs=25))
    np.testing.assert_allclose(own.measured[25], 1.22312e-4, rtol=5e-6)


def test_the_seeded_example_of_five_units():
    own = finish(loop(*seeded(64, 5)[:3], rate=9.0, epochs=25))
    found = [own.records["loss"][epoch] for epoch in (0, 1, 2, 9, 24)]
    np.testing.assert_allclose(found, [0.000238356, 0.000154657, 0.000121604, 0.000100032, 9.99992e-05], rtol=5e-6)
    np.testing.assert_allclose(own.measured[25], 9.2457e-4, rtol=1e-3)


def test_what_is_kept_and_what_stays_as_it_was():
    network, weights, samples = classification("skip")
    own = finish(loop(network, weights, samples))
    assert list(own.snapshots) == [0, 2]
    np.testing.assert_array_equal(own.snapshots[0], weights)
    assert own.network is network and own.initial == [0, 0, 0]


def test_mini_batches_are_taken_in_order():
    network, weights, samples = classification("skip")
    own = finish(loop(network, weights, samples, batch_size=2, epochs=1))
    by_hand, loss = weights.copy(), 0.0
    for first, last in ((0, 2), (2, 4), (4, 5)):
        found = pass_through(network, by_hand, samples.part(first, last), threads=1)
        by_hand -= 0.5 * found.gradient
        loss += found.loss * (last - first) / 5
    np.testing.assert_array_equal(own.weights, by_hand)
    assert own.records["loss"] == [pytest.approx(loss, rel=1e-14)]


def test_a_trained_factor_follows_its_gradient():
    network, weights, samples = classification("skip")
    trained = network._replace(trains_delta=True)
    own = loop(trained, weights, samples)
    own.advance(resumable.NEVER)
    around = [
        pass_through(network._replace(delta=network.delta + by), weights, samples, threads=1).loss
        for by in (1e-6, -1e-6)
    ]
    slope = (around[0] - around[1]) / 2e-6
    assert own.network.delta == pytest.approx(network.delta - 0.5 * slope, abs=1e-9)


def test_a_diverging_run_says_where():
    with pytest.raises(DivergenceError, match=r"is not finite in epoch [0-9]+; lower the learning rate"):
        finish(loop(*classification("linear_skip", "relu"), rate=1e200))


@pytest.mark.parametrize("batch_size", [0, 2])
def test_an_interrupted_descent_ends_in_the_same_bytes(tmp_path, batch_size):
    network, weights, samples = classification("skip")
    more = {"epochs": 6, "batch_size": batch_size, "rule": "dynamic_guarded"}
    whole = finish(loop(network, weights, samples, **more))
    calls = []

    def through(*args, **kwargs):
        calls.append(1)
        if len(calls) in (2, 5):
            signal.raise_signal(signal.SIGTERM)
        return pass_through(*args, **kwargs)

    for _ in range(3):
        own = loop(network, weights, samples, through=through, **more)
        try:
            resumable.run(
                own,
                epochs=6,
                checkpoint=tmp_path / "a.pt",
                settings={},
                by_time=True,
                longer=resumable.Longer(("descent.epochs",)),
            )
        except Interrupted:
            continue
        break
    assert own.finished and len(calls) == 6 * (3 if batch_size else 1)
    np.testing.assert_array_equal(own.weights, whole.weights)
    assert own.records == whole.records and own.measured == whole.measured and own.initial == whole.initial
    np.testing.assert_array_equal(own.snapshots[2], whole.snapshots[2])


def test_event_files_hold_what_is_recorded(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv(events.FOLDER_VARIABLE, str(tmp_path / "events"))
    monkeypatch.setattr(events, "_place", None)
    events.begin("logs/smoke/depth_limit/seed~0.log")
    own = finish(loop(*classification("skip")))
    found = EventAccumulator(str(tmp_path / "events/smoke/depth_limit/seed~0")).Reload().Scalars("train/omega")
    assert [event.step for event in found] == [1, 2, 3, 4]
    assert [event.value for event in found] == pytest.approx(own.records["omega"], rel=1e-6)
