"""Compiled passes through deep residual networks, against autograd, printed values, and the same in torch."""

import numpy as np
import pytest
import torch

from tacit.nn import deep_residual
from tacit.nn.deep_residual import Network, forward, frozen_weights
from tacit.training import depth_kernel
from tacit.training.depth_kernel import Samples, pass_through, product
from tacit.training.depth_torch import TorchPass

AUGMENTATIONS = ("skip", "none", "plain", "linear_skip", "inc_skip")
ACTIVATIONS = ("tanh", "relu", "elu", "gelu", "sigmoid")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def problem(augmentation, activation, *, depth=7, dim=5, number=150, regression=False, alpha=0.3, seed=1, **more):
    random = np.random.default_rng(seed)
    outputs = 1 if regression else 10
    network = Network(
        augmentation,
        activation,
        depth**-alpha,
        frozen_weights(dim, dim, generator=random),
        frozen_weights(outputs, dim, generator=random),
        **more,
    )
    weights = 0.5 * random.normal(size=(depth, dim, dim))
    states = random.normal(size=(number, dim))
    labels = np.zeros(0, np.int64) if regression else random.integers(0, 10, number)
    targets = random.normal(size=(number, 1)) if regression else np.zeros((0, 10))
    return network, weights, Samples(states, labels, targets)


def automatic(network, weights, samples):
    """Loss and gradients by torch, in float64, of weights and delta."""
    functions = {"elu": torch.nn.functional.elu, "gelu": torch.nn.functional.gelu}
    own = functions.get(network.activation) or getattr(torch, network.activation)
    weights = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    delta = torch.tensor(network.delta if network.takes_delta else 1.0, dtype=torch.float64, requires_grad=True)
    h, before = torch.tensor(samples.inputs), torch.zeros_like(weights[0])
    for layer in weights:
        match network.augmentation:
            case "skip":
                h = h + delta * own(h @ layer.T)
            case "none" | "plain":
                h = delta * own(h @ layer.T)
            case "linear_skip":
                h = h + own(h) @ layer.T
            case "inc_skip":
                h = h + own(h @ before.T) @ (layer - before)
        before = layer
    outputs = h @ torch.tensor(network.output_weights).T
    if len(samples.labels):
        loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(samples.labels))
    else:
        loss = (outputs - torch.tensor(samples.targets)).abs().pow(network.p_loss).mean()
    by_output = torch.autograd.grad(loss, outputs, retain_graph=True)[0] * len(samples.inputs)
    loss.backward()
    delta_gradient = 0.0 if delta.grad is None else delta.grad.item()
    return (
        loss.item(),
        weights.grad.numpy(),
        outputs.detach().numpy(),
        by_output.square().sum(1).mean().item(),
        delta_gradient,
    )


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_gradients_are_those_of_autograd(augmentation, activation, regression):
    network, weights, samples = problem(
        augmentation, activation, regression=regression, p_loss=3.0, trains_delta=augmentation in ("skip", "none")
    )
    loss, gradient, outputs, omega, delta_gradient = automatic(network, weights, samples)
    shape = network, len(weights), torch.device("cpu")
    for through, short_through in (
        (pass_through, pass_through),
        (TorchPass(*shape, np.float64), TorchPass(*shape, np.float32)),
    ):
        short = short_through(network, weights.astype(np.float32), samples, threads=1)
        assert short.gradient.dtype == np.float32
        assert np.linalg.norm(short.gradient - gradient) < 2e-6 * np.linalg.norm(gradient)
        found = through(network, weights, samples, threads=2)
        assert found.loss == pytest.approx(loss, rel=1e-12)
        assert found.omega == pytest.approx(omega, rel=1e-11)
        np.testing.assert_allclose(found.outputs, outputs, rtol=1e-10, atol=1e-12)
        assert np.abs(found.gradient - gradient).max() < 1e-10 * np.abs(gradient).max()
        if network.trains_delta:
            assert found.delta_gradient == pytest.approx(delta_gradient, rel=1e-9)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_outputs_are_those_of_the_pass_in_numpy(augmentation):
    network, weights, samples = problem(augmentation, "gelu")
    inputs = np.linalg.solve(network.input_weights, samples.inputs.T).T
    found = pass_through(network, weights, samples, threads=1, gradient=False)
    np.testing.assert_allclose(found.outputs, forward(network, weights, inputs), rtol=1e-9)
    assert len(found.gradient) == 0


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(precision):
    network, weights, samples = problem("skip", "tanh", number=3000, dim=15, depth=20)
    weights = weights.astype(precision)
    one, *others = (pass_through(network, weights, samples, threads=threads) for threads in (1, 2, 3, 16))
    for other in others:
        np.testing.assert_array_equal(one.gradient, other.gradient)
        assert (one.loss, one.omega) == (other.loss, other.omega)


@pytest.mark.parametrize("depth", [2000, 12_000])
def test_rebuilt_states_cost_no_more_than_rounding_does(depth):
    random = np.random.default_rng(0)
    network, _, samples = problem("skip", "tanh", dim=15, number=128)
    network = network._replace(delta=depth**-0.75)
    bend = np.cos(np.linspace(0, 2, depth))[:, None, None]
    weights = (0.3 * depth**-0.25 * bend * random.normal(size=(1, 15, 15))).astype(np.float32)
    exact = pass_through(network, weights.astype(np.float64), samples, threads=2)
    found = pass_through(network, weights, samples, threads=2)

    def off(quantity):
        right = getattr(exact, quantity)
        return np.linalg.norm(getattr(found, quantity) - right) / np.linalg.norm(right)

    assert off("gradient") < 1.5 * off("outputs") < 1e-5


@pytest.mark.parametrize("number", [1, 15, 64, 65, 1023, 1025])
@pytest.mark.parametrize("dim", [1, 16, 17])
def test_any_number_of_samples_and_units(number, dim):
    network, weights, samples = problem("skip", "tanh", number=number, dim=dim, depth=3)
    found, (loss, gradient, *_) = (
        pass_through(network, weights, samples, threads=2),
        automatic(network, weights, samples),
    )
    assert found.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_torch_and_kernel_agree_in_float32(augmentation, device):
    network, weights, samples = problem(augmentation, "tanh", dim=15, depth=200, number=500, alpha=0.75)
    weights = (weights * 200**-0.5).astype(np.float32)
    through = TorchPass(network, 200, torch.device(device), np.float32)
    for _ in range(2):
        ours, theirs = pass_through(network, weights, samples, threads=1), through(network, weights, samples)
        assert theirs.loss == pytest.approx(ours.loss, rel=1e-6)
        scale = np.linalg.norm(ours.gradient)
        assert np.linalg.norm(ours.gradient - theirs.gradient) <= 1e-5 * scale
        weights = weights - np.float32(0.1) * ours.gradient


def test_torch_in_chunks_is_torch_at_once(monkeypatch):
    network, weights, samples = problem("skip", "tanh", number=50)
    whole = TorchPass(network, 7, torch.device("cpu"), np.float64)(network, weights, samples)
    monkeypatch.setattr("tacit.training.depth_torch.CHUNK_BYTES", 7 * 5 * 8 * 16)
    parts = TorchPass(network, 7, torch.device("cpu"), np.float64)(network, weights, samples)
    np.testing.assert_allclose(parts.gradient, whole.gradient, rtol=1e-12, atol=1e-15)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-13)


REGRESSION = {
    2.0: [(0.215153816513, 5.378845412820e-2), (0.105613159359, 2.640328983970e-2), (0.059965284651, 1.499132116275e-2),
          (0.037667891848, 9.416972961895e-3)],
    4.0: [(0.069648837306, 2.685438033488e-2), (0.031539917841, 8.468628104375e-3),
          (0.019997926324, 4.366093578114e-3)],
}  # fmt: skip
"""Loss and logged Omega of the original, before each step."""


@pytest.mark.parametrize("p_loss", REGRESSION)
def test_a_regression_descends_as_the_original(p_loss):
    inputs, targets = np.array([[-1], [-0.5], [0.5], [1]]), np.full((4, 1), 0.1)
    network = Network("skip", "tanh", 4**-0.75, np.array([[0.6], [-0.8]]), np.array([[0.3, 0.9]]), p_loss)
    weights = np.full((4, 2, 2), 0.08838834764831843)
    samples = Samples(inputs @ network.input_weights.T, np.zeros(0, np.int64), targets)
    for loss, omega in REGRESSION[p_loss]:
        found = pass_through(network, weights, samples, threads=1)
        assert found.loss == pytest.approx(loss, abs=6e-13)
        assert found.omega / 16 == pytest.approx(omega, rel=1e-11)
        weights = weights - 0.5 * found.gradient
    if p_loss == 2:
        first = [[0.181957929915, -0.036371095374], [0.265368438183, -0.147585106397]]
        last = [[0.149302749102, 0.020433165026], [0.268900598501, -0.113514412935]]
        np.testing.assert_allclose(weights[[0, 3]], [first, last], atol=6e-13)


CLASSES = {
    "skip": [(1.190994971043, 2.881340966705e-2), (1.188094513021, 2.875569320301e-2),
             (1.185345230256, 2.870046432601e-2), (1.182736635848, 2.864759021090e-2)],
    "inc_skip": [(1.187970669826, 2.873733580514e-2), (1.187908331874, 2.873599525192e-2),
                 (1.187838816255, 2.873450784276e-2), (1.187759715152, 2.873282526863e-2)],
    "linear_skip": [(1.197130549362, 2.896762898110e-2), (1.179788396123, 2.861607094008e-2),
                    (1.166338246148, 2.832877513820e-2), (1.155644841075, 2.809114986333e-2)],
    "none": [(1.098612443208, 2.666667078774e-2), None, None, (1.098612443189, 2.666667078722e-2)],
}  # fmt: skip


def classification(augmentation, activation="tanh"):
    """The printed problem of five samples: network, initial weights, samples."""
    network = Network(
        augmentation, activation, 4**-0.75, np.array([[0.4, -0.3, 0.2], [0.1, 0.5, -0.2]]),
        np.array([[0.6, -0.2], [-0.1, 0.7], [0.3, 0.3]]),
    )  # fmt: skip
    inputs = np.array([[1, 0, -1], [0.5, 0.5, 0], [-1, 0.25, 0.5], [0, -1, 1], [0.3, -0.2, 0.1]])
    states = inputs @ network.input_weights.T
    samples = Samples(states, np.array([0, 1, 2, 1, 0]), np.zeros((0, 3)))
    m = deep_residual.half_width(4, alpha=0.75, gamma=1)
    return network, np.full((4, 2, 2), m), samples


@pytest.mark.parametrize("augmentation", CLASSES)
def test_a_classification_descends_as_the_original(augmentation):
    network, weights, samples = classification(augmentation)
    for printed in CLASSES[augmentation]:
        found = pass_through(network, weights, samples, threads=1)
        if printed:
            assert found.loss == pytest.approx(printed[0], abs=6e-13)
            assert found.omega / 25 == pytest.approx(printed[1], rel=1e-11)
        weights = weights - 0.5 * found.gradient


def test_omega_of_a_uniform_prediction_and_of_squares():
    network, weights, samples = problem("skip", "tanh", number=80)
    flat = network._replace(output_weights=0 * network.output_weights)
    assert pass_through(flat, weights, samples, threads=1).omega == pytest.approx(0.9, rel=1e-12)
    network, weights, samples = problem("skip", "tanh", regression=True)
    found = pass_through(network, weights, samples, threads=1)
    assert found.omega == pytest.approx(4 * found.loss, rel=1e-12)


@pytest.mark.parametrize("p_loss", [1.0, 1.5, 2.0])
def test_an_exact_fit_has_no_gradient(p_loss):
    network, weights, samples = problem("skip", "tanh", regression=True)
    network = network._replace(p_loss=p_loss, output_weights=0 * network.output_weights + 1)
    for through in (pass_through, TorchPass(network, len(weights), torch.device("cpu"), np.float64)):
        outputs = through(network, weights, samples, threads=1, gradient=False).outputs
        found = through(network, weights, samples._replace(targets=outputs), threads=1)
        assert found.loss == found.omega == np.abs(found.gradient).max() == 0


def test_samples_given_twice_change_nothing():
    network, weights, samples = problem("skip", "tanh", number=100)
    twice = Samples(*(np.concatenate([array, array]) for array in samples))
    one, two = (pass_through(network, weights, given, threads=1) for given in (samples, twice))
    assert one.loss == pytest.approx(two.loss, rel=1e-13)
    np.testing.assert_allclose(one.gradient, two.gradient, rtol=1e-10, atol=1e-15)


def test_the_frozen_layer_before_the_first_stays_out_of_it():
    network, weights, samples = problem("inc_skip", "tanh", depth=1)
    assert np.abs(pass_through(network, weights, samples, threads=1).gradient).max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 50, 3), (130, 784, 15)])
def test_products_are_sums_in_order(shape):
    random = np.random.default_rng(0)
    a, b = random.normal(size=shape[:2]), random.normal(size=shape[1:])
    expected = np.zeros((shape[0], shape[2]))
    for k in range(shape[1]):
        expected = expected + a[:, k : k + 1] * b[k]
    np.testing.assert_array_equal(product(a, b), expected)


def test_tiles_and_groups_are_what_memory_is_asked_for():
    from tacit.memory import depth_limit as memory

    assert (depth_kernel.TILE, depth_kernel.GROUPS, depth_kernel.PADDED) == (
        memory._TILE,
        memory._GROUPS,
        memory._PADDED,
    )
