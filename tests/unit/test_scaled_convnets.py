"""Convolutional residual networks with a factor of depth."""

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d

from tacit.nn.scaled_convnets import ScaledConvNet


def build(layers, **changes):
    torch.manual_seed(0)
    options = {"width": 16, "delta_exponent": 0.75, "in_channels": 3, "num_classes": 10} | changes
    return ScaledConvNet(layers, **options)


@pytest.mark.parametrize(
    ("layers", "parameters", "delta"), [(56, 853_018, 0.192450), (104, 1_630_746, 0.119444), (224, 3_575_066, 0.066657)]
)
def test_networks_are_of_the_published_sizes(layers, parameters, delta):
    network = build(layers)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert {round(block.delta, 6) for block in network.blocks} == {delta}
    assert len([module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]) + 1 == layers


def test_initial_weights_are_those_in_force():
    network = build(56)
    assert network.stem[0].weight.std().item() == pytest.approx(0.2722, rel=0.1)
    assert network.head.weight.std().item() == pytest.approx(0.1768, rel=0.1)
    for block in network.blocks:
        weight = block.first.weight
        bound = weight[0].numel() ** -0.5
        assert 0.95 * bound < weight.abs().max().item() <= bound


def test_a_block_is_what_is_written_of_it():
    network = build(20, width=4).double()
    block = network.blocks[3]
    x = torch.randn(5, 4, 8, 8, dtype=torch.float64)

    def normed(y):
        return batch_norm(y, None, None, training=True)

    y = block.delta * normed(conv2d(x, block.first.weight, stride=2, padding=1)).clamp(min=0)
    y = block.delta * normed(conv2d(y, block.second.weight, padding=1))
    shortcut = torch.zeros(5, 8, 4, 4, dtype=torch.float64)
    shortcut[:, 2:6] = x[:, :, ::2, ::2]
    torch.testing.assert_close(block(x), (y + shortcut).clamp(min=0))
    assert block.delta == pytest.approx(3**-0.75)


def test_of_any_width_and_size():
    for width, channels, side in ((1, 1, 28), (3, 2, 9)):
        network = build(8, width=width, in_channels=channels, num_classes=4)
        assert network(torch.randn(2, channels, side, side)).shape == (2, 4)


@pytest.mark.parametrize("layers", [2, 10, 57])
def test_other_depths_are_refused(layers):
    with pytest.raises(ValueError, match=rf"{layers} layers: .* 6 n \+ 2"):
        build(layers)
