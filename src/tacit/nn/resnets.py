"""Residual networks with a single logit.

The ImageNet layouts (18 layers and more) are torchvision's, with the changes of Razin, Maman, Cohen 2022: one logit in
place of the classes, a stem for the number of input channels, optional dropout after each stage but the last. The CIFAR
layouts of He et al. 2016 (6n + 2 layers; stem of 3x3, three stages of n blocks) are made of torchvision's blocks; they
serve small images.

Input (B, C, H, W) float, output (B,) logits.
"""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from tacit.settings.networks import Network


def build(network: Network, *, in_channels: int) -> nn.Module:
    """Return a freshly initialised network; draws from torch's global generator."""
    model: nn.Module
    if network.is_cifar:
        model = CifarResNet(
            network.layers,
            width=network.width,
            stem_stride=network.stem_stride,
            in_channels=in_channels,
            dropout=network.dropout,
        )
    else:
        model = _imagenet_resnet(network, in_channels=in_channels)
    return nn.Sequential(model, nn.Flatten(0))


def _imagenet_resnet(network: Network, *, in_channels: int) -> nn.Module:
    model = torchvision.models.get_model(network.name, weights=None, num_classes=1)
    if in_channels != 3:
        # PyTorch's default initialisation, not the ResNet one: as published.
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    if network.dropout > 0:
        for stage in ("layer1", "layer2", "layer3"):
            setattr(model, stage, nn.Sequential(getattr(model, stage), nn.Dropout(network.dropout)))
    return model


class CifarResNet(nn.Module):
    """CIFAR layout with `layers` = 6n + 2 layers and `width`, 2 `width`, 4 `width` channels.

    He et al. have a `stem_stride` of 1; 2 is quicker by four.
    """

    def __init__(self, layers: int, *, width: int, stem_stride: int, in_channels: int, dropout: float):
        super().__init__()
        blocks = (layers - 2) // 6
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=3, stride=stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        stages: list[nn.Module] = [_stage(width, width, blocks, stride=1)]
        stages += [_stage(width * c, 2 * width * c, blocks, stride=2) for c in (1, 2)]
        if dropout > 0:
            stages = [stages[0], nn.Dropout(dropout), stages[1], nn.Dropout(dropout), stages[2]]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(4 * width, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 1) for images (B, C, H, W)."""
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = BasicBlock(inputs, outputs, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))
