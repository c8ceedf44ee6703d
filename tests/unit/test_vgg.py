"""VGG networks: sizes, numbers of layers, images of any size, initial weights."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, linear, max_pool2d

from tacit.nn.factorizing import factorize, fan_in_normal, selected
from tacit.nn.vgg import VGG, after_the_first


def build(layers=11, **changes):
    torch.manual_seed(0)
    return VGG(layers, **({"width": 2, "side": 32, "in_channels": 3, "num_classes": 10} | changes))


@pytest.mark.parametrize(("classes", "parameters"), [(10, 20_035_018), (100, 20_081_188), (200, 20_132_488)])
@pytest.mark.parametrize("side", [32, 64])
def test_networks_are_of_the_published_sizes(classes, parameters, side):
    with torch.device("meta"):
        network = build(19, width=64, side=side, num_classes=classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert not any(isinstance(module, nn.Identity) for module in network.features)


def places(network, kind):
    return [place for place, module in enumerate(network.features) if isinstance(module, kind)]


@pytest.mark.parametrize("side", [8, 32])
def test_layers_have_the_numbers_of_the_original(side):
    network = build(19, side=side)
    numbers = [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49]
    assert places(network, nn.Conv2d) == numbers
    assert places(network, nn.BatchNorm2d) == [number + 1 for number in numbers]
    assert places(network, nn.ReLU) == [number + 2 for number in numbers]
    assert places(network, (nn.MaxPool2d, nn.Identity)) == [6, 13, 26, 39]
    assert places(network, nn.Identity) == ([26, 39] if side == 8 else [])
    chosen = selected(network, after_the_first)
    assert list(chosen) == list(selected(network)) == [f"features.{number}" for number in numbers[1:]]
    assert [conv.out_channels for conv in chosen.values()] == [2, *[4] * 2, *[8] * 4, *[16] * 8]


@pytest.mark.parametrize("layers", [11, 13, 16, 19])
def test_layers_are_counted_as_with_three_linear_ones(layers):
    assert len(places(build(layers), nn.Conv2d)) + 3 == layers


def test_a_network_is_what_is_written_of_it():
    network = build(11, side=64).double()
    x = images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    convs = iter([module.weight for module in network.features if isinstance(module, nn.Conv2d)])
    for stage, count in enumerate((1, 1, 2, 2, 2)):
        x = max_pool2d(x, 2) if stage else x
        for _ in range(count):
            x = batch_norm(conv2d(x, next(convs), padding=1), None, None, training=True).clamp(min=0)
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(network(images), linear(avg_pool2d(x, 4)[..., 0, 0], network.head.weight))


@pytest.mark.parametrize(("side", "left"), [(2, 2), (3, 3), (5, 2), (8, 2), (28, 3), (31, 3), (32, 2), (64, 4)])
def test_a_single_image_of_any_size_is_normalised(side, left):
    network = build(side=side, in_channels=1).train()
    x = torch.randn(1, 1, side, side)
    assert network.features(x).shape == (1, 16, left, left)
    network(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("kaiming", [False, True])
def test_initial_weights_are_those_published(kaiming):
    network = build(19, width=16, num_classes=100, kaiming=kaiming)
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx((2 / (9 * module.in_channels)) ** 0.5, rel=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
    assert network.head.weight.std().item() == pytest.approx((2 / 128) ** 0.5 if kaiming else 0.01, rel=0.05)
    assert not network.head.bias.any()


def test_factors_start_with_the_deviation_of_the_layer():
    """Both as the dense convolution, of I input channels: N(0, 2 / (9 I))."""
    made = factorize(build(19, width=8), select=after_the_first, rank_scale=0.5, spectral=False, draw=fan_in_normal)
    for name, conv in selected(build(19, width=8)).items():
        layer = made.model.get_submodule(name)
        assert layer.rank == conv.out_channels * 3 // 2
        for factor in (layer.U, layer.VT):
            assert factor.std().item() == pytest.approx((2 / (9 * conv.in_channels)) ** 0.5, rel=0.2)


@pytest.mark.parametrize("layers", [0, 12, 18])
def test_other_depths_are_refused(layers):
    with pytest.raises(ValueError, match=f"{layers} layers: a VGG has 11, 13, 16, 19"):
        build(layers)
