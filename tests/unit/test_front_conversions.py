"""Networks of one's own as locally and fully connected ones, however their forward pass is written."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

import tacit
from tacit.nn.local import LocalConv2d


class Own(nn.Module):
    """Functions between modules."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(6, 4, 3, stride=2), nn.GELU()), nn.Identity(), nn.Tanh())
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.first(x), inplace=True), 2, 2)
        x = functional.avg_pool2d(self.body(x).relu(), 2)
        x = functional.dropout(x, 0.5, self.training)
        x = functional.adaptive_avg_pool2d(x, 2) if x.shape == () else x
        return self.last(x.view(x.size(0), -1))


class Viewed(Own):
    def forward(self, x):
        x = self.body(functional.max_pool2d(torch.tanh(self.first(x)), 2))
        return self.last(torch.flatten(functional.adaptive_avg_pool2d(x, (4, 4)), 1))


class Methods(Own):
    def forward(self, x):
        return self.last(self.body(self.first(x)).sigmoid().flatten(1))


NETWORKS = {
    "functions": (Viewed, 18),
    "methods": (Methods, 10),
    "stack": (
        lambda: nn.Sequential(
            nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(0.1), nn.Sequential(nn.MaxPool2d(3, 2, 1)),
            nn.Conv2d(4, 4, 2, padding=1), nn.SiLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2),
        ),
        15,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convert", [tacit.to_local, tacit.to_dense])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays_the_same(name, convert, dtype):
    make, side = NETWORKS[name]
    network = make().to(dtype).eval()
    before, images = (
        {key: own.clone() for key, own in network.state_dict().items()},
        torch.randn(4, 3, side, side, dtype=dtype),
    )
    found = convert(network, side=side)
    assert not found.training and not any(isinstance(layer, nn.Conv2d) for layer in found.modules())
    assert found(images).dtype == dtype
    torch.testing.assert_close(
        found(images), network(images), rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12
    )
    for parameter in found.parameters():
        parameter.data.zero_()
    assert all(torch.equal(own, before[key]) for key, own in network.state_dict().items())


def test_layers_are_what_they_should_be_and_local_ones_become_dense():
    network, images = Viewed().train(), torch.randn(2, 3, 18, 18)
    local = tacit.to_local(network, side=18)
    assert [type(layer).__name__ for layer in local] == [
        "LocalConv2d", "Tanh", "MaxPool2d", "LocalConv2d", "GELU", "Tanh", "AvgPool2d", "Flatten", "Linear",
    ]  # fmt: skip
    assert local.training and isinstance(local[0], tacit.LocalConv2d) and tacit.LocalConv2d is LocalConv2d
    for layer in (local[0], local[3]):
        nn.init.normal_(layer.weight)
    torch.testing.assert_close(tacit.to_dense(local, side=18)(images), local(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_defaults_of_the_process_do_not_matter(kind):
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        found = tacit.to_local(Methods(), side=10)
        assert torch.get_default_dtype() == found[0].weight.dtype == kind
    finally:
        torch.set_default_dtype(before)


class Branches(Own):
    def forward(self, x):
        x = self.first(x)
        return x + torch.tanh(x)


class Asks(Own):
    def forward(self, x):
        return self.first(x) if x.sum() > 0 else x


class Unknown(Own):
    def forward(self, x):
        return torch.cumsum(self.first(x), 1)


conv = nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Branches(), r"no chain of layers: add .*takes 2 inputs"),
        (Asks(), "forward pass of Asks cannot be followed"),
        (Unknown(), "no exact conversion is known of cumsum"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "no convolution"),
        (nn.Sequential(conv, nn.BatchNorm2d(4)), r"layer 1, BatchNorm2d.*fuse_conv_bn_eval"),
        (nn.Sequential(conv, nn.GroupNorm(2, 4)), "layer 1, GroupNorm.*without it"),
        (nn.Sequential(conv, nn.Dropout2d()), r"layer 1, Dropout2d.*use nn\.Dropout"),
        (nn.Sequential(conv, nn.PixelShuffle(2)), "layer 1, PixelShuffle.*leave it out or replace"),
        (nn.Sequential(conv, nn.Softmax(1)), "layer 1, Softmax"),
        (nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3))), r"layer 0\.0, Conv2d.*without groups"),
        (nn.Sequential(nn.Conv2d(3, 3, (3, 2))), "layer 0, Conv2d.*square"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding="same")), "layer 0, Conv2d.*number of zeros"),
        (nn.Sequential(conv, nn.AdaptiveAvgPool2d(4), nn.Flatten()), "layer 1, AdaptiveAvgPool2d.*divides"),
        (nn.Sequential(conv, nn.AdaptiveAvgPool2d((2, 3))), "layer 1, AdaptiveAvgPool2d.*divides the map"),
        (nn.Sequential(conv, nn.Flatten(), nn.Linear(7, 2)), r"layer 2, Linear.*given 144, which does not fit \(side"),
        (nn.Sequential(nn.Conv2d(3, 4, 9)), "layer 0, Conv2d.*is given 3 x 8 x 8"),
        (nn.Sequential(nn.ZeroPad2d((1, 0, 0, 0)), conv), "square maps"),
        (models.resnet18(), "no exact conversion|no chain|cannot be converted"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("convert", [tacit.to_local, tacit.to_dense])
def test_what_has_no_such_form_is_named(convert, network, said):
    with pytest.raises(ValueError, match=said):
        convert(network, side=8)
