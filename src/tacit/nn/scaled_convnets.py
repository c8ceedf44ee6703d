"""Convolutional residual networks whose blocks are scaled by their number, after the thesis on weight regularity.

The CIFAR layout of He et al. 2016 (6n + 2 layers; a stem of 3x3, three stages of n blocks, the second and third at half
the size and twice the channels) with shortcuts without parameters and a factor delta = n^-a, n being the blocks of a
stage. A block is

    y = delta relu(BN1(conv1(x))),   out = relu(delta BN2(conv2(y)) + shortcut(x)).

BN2 undoes the inner factor but for what it adds to the variance, so it is the outer one that counts. With a = 0 delta
is 1, and the network that of He et al. with its shortcuts A. Convolutions of the blocks keep the default initialisation
of torch, as the thesis published, or have He's, as stem and head do. Comparisons of compressed networks (Wang et al.
2020, Khodak et al. 2021) have shortcuts B, a convolution of 1 x 1 and a normalisation where the size changes.

Input (B, C, H, W) float, output (B, K) logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from tacit.settings import layouts


class ScaledConvNet(nn.Module):
    """A network of `layers` = 6n + 2 layers with `width`, 2 `width`, 4 `width` channels; draws from torch's generator.

    With `kaiming` convolutions of blocks start as He et al. have them, else as torch does. If `projected`, shortcuts
    where the size changes are a normalised convolution of 1 x 1; with `kaiming` the bias of the head then starts at 0,
    as published for these. Raises ValueError if no n gives so many layers.
    """

    def __init__(
        self,
        layers: int,
        *,
        width: int,
        delta_exponent: float = 0.0,
        in_channels: int,
        num_classes: int,
        kaiming: bool = False,
        projected: bool = False,
    ):
        super().__init__()
        layouts.check("resnet", layers)
        blocks = (layers - 2) // 6
        delta = blocks**-delta_exponent
        first = _convolution(in_channels, width, stride=1)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU())
        stages = []
        for inputs, outputs in ((width, width), (width, 2 * width), (2 * width, 4 * width)):
            stride = outputs // inputs
            stages.append(Block(inputs, outputs, stride=stride, delta=delta, projected=projected and stride > 1))
            stages += [Block(outputs, outputs, stride=1, delta=delta) for _ in range(blocks - 1)]
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(4 * width, num_classes)
        for weight in (first.weight, self.head.weight):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        for module in self.blocks.modules():
            if kaiming and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if kaiming and projected:
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class Block(nn.Module):
    """Two convolutions, each followed by batch normalisation and the factor delta, beside a shortcut.

    If `projected`, that is a convolution of 1 x 1, `downsample`, and its normalisation.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, delta: float, projected: bool = False):
        super().__init__()
        self.first, self.first_norm = _convolution(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = _convolution(outputs, outputs, stride=1), nn.BatchNorm2d(outputs)
        self.downsample: nn.Conv2d | None = None
        if projected:
            self.downsample = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            self.downsample_norm = nn.BatchNorm2d(outputs)
        self.stride, self.added, self.delta = stride, outputs - inputs, delta

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H / stride, W / stride)."""
        y = self.delta * relu(self.first_norm(self.first(x)))
        return relu(torch.add(self._shortcut(x), self.second_norm(self.second(y)), alpha=self.delta))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Return every `stride`-th pixel, projected or with zero channels around."""
        if self.downsample is not None:
            return self.downsample_norm(self.downsample(x))
        if self.stride == 1 and not self.added:
            return x
        before = self.added // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))


def _convolution(inputs: int, outputs: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


def in_blocks(name: str, module: nn.Module) -> bool:
    """Tell whether a layer of `ScaledConvNet` is one that is factorized: a convolution of a block, or of its shortcut.

    Stem and head are left as they are.
    """
    return isinstance(module, nn.Conv2d) and name.startswith("blocks.")
