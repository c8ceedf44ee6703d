"""VGG networks with batch normalisation and no hidden fully connected layers.

After Simonyan and Zisserman 2015, as the comparisons of compressed networks have them (Wang et al. 2020, Khodak,
Tenenholtz, Mackey, Fusi 2021): five stages of w, 2w, 4w, 8w, 8w channels (w = 64), maxima of 2 x 2 px between stages,
then the mean over what is left of the image and one linear layer. Layers of `features` have the numbers of the
original, by which its decays are chosen.

Input (B, C, H, W) float, output (B, K) logits.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from tacit.nn.factorized import factorized_layers
from tacit.settings import layouts


class VGG(nn.Module):
    """VGG of `layers` (11, 13, 16 or 19) for images of `side` px; draws from torch's generator.

    Convolutions start as N(0, 2 / (9 I)) with I input channels, the linear layer as N(0, 0.01^2); with `kaiming` both
    as He et al. have them. Biases start at 0. A maximum that would leave fewer than 2 px of a side is left out, which
    it is for none of 32 px and more. Raises ValueError for other numbers of layers.
    """

    def __init__(
        self, layers: int, *, width: int, side: int, in_channels: int, num_classes: int, kaiming: bool = False
    ):
        super().__init__()
        layouts.check("vgg", layers)
        if width < 1:
            raise ValueError(f"width = {width}: the first stage has 1 channel or more")
        modules: list[nn.Module] = []
        inputs = in_channels
        for count, widths in zip(layouts.VGG_STAGES[layers], layouts.VGG_WIDTHS, strict=True):
            if modules:
                halved = side // 2 >= layouts.LEAST_SIDE
                side = side // 2 if halved else side
                modules.append(nn.MaxPool2d(2) if halved else nn.Identity())
            for _ in range(count):
                outputs = widths * width
                conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
                modules += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
        self.features = nn.Sequential(*modules)
        self.head = nn.Linear(inputs, num_classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                # With 3 x 3 px the published deviation is He's.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if kaiming:
            nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")
        else:
            nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        return self.head(self.features(x).mean(dim=(2, 3)))


def after_the_first(name: str, module: nn.Module) -> bool:
    """Tell whether a layer of `VGG` is one that is factorized: a convolution, but not the first."""
    return isinstance(module, nn.Conv2d) and name != "features.0"


def published_leak(model: nn.Module) -> Callable[[str], bool]:
    """Return which parameters of a factorized `VGG` lose weight decay when factors get Frobenius decay, as published.

    There factors are told by whether a name contains the number of a factorized layer, and that of layer 3 stands in
    31, too. So scale and shift of some normalisations do not decay; in VGG19 those at 31, 34, 37 and 47. For
    `without_weight_decay` of `tacit.optim.decay_groups`; without it nothing but factors is spared.
    """
    numbers = [name.rpartition(".")[2] for name in factorized_layers(model)]
    return lambda parameter: any(number in parameter for number in numbers)
