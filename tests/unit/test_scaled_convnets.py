"""Convolutional residual networks with a factor of depth."""

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d

from tacit.nn.factorizing import selected
from tacit.nn.layout import memory_format
from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks


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


# Shortcuts with a convolution.


@pytest.mark.parametrize(
    ("width", "classes", "parameters"),
    [(64, 10, 7_427_914), (64, 100, 7_451_044), (64, 200, 7_476_744), (32, 10, 1_860_522)],
)
def test_projected_networks_are_of_the_published_sizes(width, classes, parameters):
    with torch.device("meta"):
        network = build(32, width=width, delta_exponent=0.0, num_classes=classes, kaiming=True, projected=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    chosen = selected(network, in_blocks)
    assert list(chosen) == list(selected(network)) and len(chosen) == 32
    shortcuts = [name for name in chosen if "downsample" in name]
    assert shortcuts == ["blocks.5.downsample", "blocks.10.downsample"]
    assert "head" not in chosen and "stem.0" not in chosen


def test_a_projected_block_is_what_is_written_of_it():
    block = build(20, width=4, projected=True).double().blocks[3]
    x = torch.randn(5, 4, 8, 8, dtype=torch.float64)

    def normed(y):
        return batch_norm(y, None, None, training=True)

    y = block.delta * normed(conv2d(x, block.first.weight, stride=2, padding=1)).clamp(min=0)
    y = block.delta * normed(conv2d(y, block.second.weight, padding=1))
    shortcut = normed(torch.einsum("bihw,oi->bohw", x[:, :, ::2, ::2], block.downsample.weight[:, :, 0, 0]))
    torch.testing.assert_close(block(x), (y + shortcut).clamp(min=0))


def test_projected_networks_start_as_he_et_al_have_them():
    network = build(32, width=16, num_classes=100, kaiming=True, projected=True)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.std().item() == pytest.approx((2 / module.weight[0].numel()) ** 0.5, rel=0.1)
    assert network.head.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    assert not network.head.bias.any()


def test_only_blocks_where_the_size_changes_are_projected():
    plain, projected = build(14), build(14, projected=True)
    added = set(projected.state_dict()) - set(plain.state_dict())
    assert {name.rsplit(".", 1)[0] for name in added} == {
        f"blocks.{block}.{part}" for block in (2, 4) for part in ("downsample", "downsample_norm")
    }
    assert plain.head.bias.any()


def test_narrow_projected_networks_are_never_channels_last_on_a_processor():
    """Their shortcuts are the convolutions that oneDNN gets wrong there."""
    cpu = torch.device("cpu")
    assert memory_format(build(8, width=8, projected=True), cpu) is torch.contiguous_format
    assert memory_format(build(8, width=16, projected=True), cpu) is torch.channels_last
    assert memory_format(build(8, width=8), cpu) is torch.channels_last
