"""Wide residual networks, of the comparison of factorized layers with tensor decompositions.

Zagoruyko, Komodakis 2016, as Khodak, Tenenholtz, Mackey, Fusi 2021 compress them (WRN-28-10): a stem of 3x3 with 16
channels, three groups of n blocks with 16 k, 32 k and 64 k channels, k being the factor of width, the second and third
group at half the size, 6n + 4 layers in all. Blocks normalise before they convolve,

    a = relu(norm1(x)),   out = conv2(relu(norm2(conv1(a)))) + (x, or shortcut(a) where width or size changes),

and what comes of the last is normalised, averaged over all pixels and classified. Without dropout.

Input (B, C, H, W) float, output (B, K) logits.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from tacit.settings import layouts

STEM = 16
"""Channels of the stem, whatever the factor of width."""


class WideResNet(nn.Module):
    """A network of `layers` = 6n + 4 layers, `width` times as wide as the stem; draws from torch's generator.

    Kernels (O, I, kh, kw) start as N(0, 2 / (kh kw O)), the head's weight as torch has it and its bias as 0. Raises
    ValueError if no n gives so many layers, or the width is none.
    """

    def __init__(self, layers: int, *, width: int, in_channels: int, num_classes: int):
        super().__init__()
        layouts.check("wide_resnet", layers)
        blocks = (layers - 4) // 6
        if width < 1:
            raise ValueError(f"width = {width}: groups are 1 or more times as wide as the stem")
        self.stem = _convolution(in_channels, STEM)
        groups, inputs = [], STEM
        for outputs, stride in ((STEM * width, 1), (2 * STEM * width, 2), (4 * STEM * width, 2)):
            first = Block(inputs, outputs, stride=stride)
            groups.append(nn.Sequential(first, *(Block(outputs, outputs, stride=1) for _ in range(blocks - 1))))
            inputs = outputs
        self.groups = nn.Sequential(*groups)
        self.norm = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        return self.head(relu(self.norm(self.groups(self.stem(x)))).mean(dim=(2, 3)))


class Block(nn.Module):
    """Two convolutions, each after normalisation, beside a shortcut; a convolution of 1x1 where shapes differ."""

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _convolution(inputs, outputs, stride=stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _convolution(outputs, outputs)
        differs = inputs != outputs or stride != 1
        self.shortcut = _convolution(inputs, outputs, kernel_size=1, stride=stride) if differs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H / stride, W / stride)."""
        active = relu(self.norm1(x))
        beside = x if self.shortcut is None else self.shortcut(active)
        return beside + self.conv2(relu(self.norm2(self.conv1(active))))


def _convolution(inputs: int, outputs: int, *, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)


def in_groups(name: str, module: nn.Module) -> bool:
    """Tell whether a layer of `WideResNet` is one that is factorized: a convolution of a block, or of its shortcut.

    Stem and head are left as they are.
    """
    return isinstance(module, nn.Conv2d) and name.startswith("groups.")
