"""Wide residual networks: sizes, start, shapes, and a block by its formula."""

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, relu

from tacit.nn.wide_resnets import WideResNet


def size(layers, width, classes=10):
    """Parameters by the layout."""
    blocks, inputs, total = (layers - 4) // 6, 16, 3 * 9 * 16
    for group, outputs in enumerate((16 * width, 32 * width, 64 * width)):
        total += 2 * inputs + 9 * inputs * outputs + 2 * outputs + 9 * outputs**2
        total += (blocks - 1) * (4 * outputs + 18 * outputs**2)
        if inputs != outputs or group:
            total += inputs * outputs
        inputs = outputs
    return total + 2 * inputs + (inputs + 1) * classes


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("layers", "width"), [(10, 1), (10, 2), (16, 4), (28, 10), (40, 4)])
def test_sizes(layers, width):
    with torch.device("meta"):
        model = WideResNet(layers, width=width, in_channels=3, num_classes=10)
    assert count(model) == size(layers, width)
    weighted = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    shortcuts = [name for name, _ in model.named_modules() if name.endswith("shortcut")]
    assert len(weighted) - len(shortcuts) == layers - 2
    assert shortcuts == [f"groups.{group}.0.shortcut" for group in range(3) if width > 1 or group]
    assert all(module.bias is None for module in weighted[:-1])


def test_the_published_network_has_its_size_and_names():
    with torch.device("meta"):
        model = WideResNet(28, width=10, in_channels=3, num_classes=10)
    assert count(model) == 36_479_194
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert len(convolutions) == 28 and next(iter(convolutions)) == "stem"
    assert {name.rsplit(".")[-1] for name in convolutions} == {"stem", "conv1", "conv2", "shortcut"}
    strides = {name: module.stride[0] for name, module in convolutions.items() if module.stride[0] > 1}
    assert strides == {f"groups.{group}.0.{name}": 2 for group in (1, 2) for name in ("conv1", "shortcut")}


@pytest.mark.parametrize("layers", [4, 9, 20, 26])
def test_other_numbers_of_layers_are_refused(layers):
    with pytest.raises(ValueError, match=rf"{layers} layers: .* 6 n \+ 4"):
        WideResNet(layers, width=1, in_channels=3, num_classes=10)
    with pytest.raises(ValueError, match="width = 0"):
        WideResNet(10, width=0, in_channels=3, num_classes=10)


def test_the_start():
    torch.manual_seed(0)
    model = WideResNet(16, width=4, in_channels=3, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            outputs, _, height, width = module.weight.shape
            std = (2 / (height * width * outputs)) ** 0.5
            number = module.weight.numel()
            assert abs(module.weight.std() / std - 1) < 4 / (2 * number) ** 0.5
            assert abs(module.weight.mean()) < 4 * std / number**0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
    assert not model.head.bias.any() and model.head.weight.abs().max() <= model.head.in_features**-0.5


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (24, 1), (10, 3)])
def test_images_of_other_sides_are_classified(side, channels):
    model = WideResNet(10, width=1, in_channels=channels, num_classes=7)
    images = torch.randn(2, channels, side, side)
    assert model(images).shape == (2, 7)
    features = model.groups(model.stem(images))
    assert features.shape == (2, 64, -(-side // 4), -(-side // 4))


@pytest.mark.parametrize("width", [1, 2])
def test_outputs_are_those_of_the_formulas(width):
    """An average over windows of 8 pixels where images have 32."""
    torch.manual_seed(0)
    model = WideResNet(16, width=width, in_channels=3, num_classes=5).double()
    values = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)

    def active(x, name):
        return relu(batch_norm(x, None, None, values[f"{name}.weight"], values[f"{name}.bias"], training=True))

    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    y, inputs = conv2d(x, values["stem.weight"], padding=1), 16
    for group in range(3):
        for block in range(2):
            name, outputs = f"groups.{group}.{block}", 16 * width * 2**group
            stride = 2 if group and not block else 1
            before = active(y, f"{name}.norm1")
            inner = active(conv2d(before, values[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.norm2")
            beside = y
            if inputs != outputs:
                beside = conv2d(before, values[f"{name}.shortcut.weight"], stride=stride)
            y, inputs = conv2d(inner, values[f"{name}.conv2.weight"], padding=1) + beside, outputs
    pooled = nn.functional.avg_pool2d(active(y, "norm"), 8).flatten(1)
    expected = pooled @ values["head.weight"].T + values["head.bias"]
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
