"""A training of an image classifier as one first writes it, the convolutional network scaled by depth likewise, and its
layers as products of two factors.

Each image is transformed by itself in a data loader, tensors are contiguous, every step ends with `.item()`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, pad, relu
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Pictures(Dataset):
    """Images (N, H, W, C) uint8, shifted by up to `padding` px and mirrored at random, one at a time."""

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float, padding: int = 0, flips: bool = False
    ):
        self.images, self.labels = images, labels
        channels, side = images.shape[3], images.shape[1]
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                *([transforms.RandomHorizontalFlip()] if flips else []),
                *([transforms.RandomCrop(side, padding=padding)] if padding else []),
                transforms.ToTensor(),
                transforms.Normalize([mean] * channels, [std] * channels),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def train(
    network: nn.Module,
    pictures: Pictures,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int,
    steps: int,
    after_backward: Callable[[], object] = lambda: None,
    after_step: Callable[[], object] = lambda: None,
) -> list[tuple[float, float]]:
    """Take steps in the order of the images; return loss and logged Omega of each batch before its step."""
    device, found = next(network.parameters()).device, []
    for (images, labels), _ in zip(DataLoader(pictures, batch_size), range(steps), strict=False):
        images, labels = images.to(device), labels.to(device)
        logits = network(images)
        loss = cross_entropy(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        found.append((loss.item(), gradient.square().sum(1).mean().item()))
        optimizer.zero_grad()
        loss.backward()
        after_backward()
        optimizer.step()
        after_step()
    return found


class ScaledNet(nn.Module):
    """Residual network of 6n + 2 layers, each of whose two convolutions is scaled by delta = n^-exponent."""

    def __init__(self, layers: int, *, width: int, exponent: float, in_channels: int, num_classes: int):
        super().__init__()
        blocks = (layers - 2) // 6
        self.delta = blocks**-exponent
        self.first = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for block in range(blocks):
                stride = 2 if block == 0 and outputs != width else 1
                for own, there in ((stride, inputs), (1, outputs)):
                    self.convolutions.append(nn.Conv2d(there, outputs, 3, stride=own, padding=1, bias=False))
                    self.norms.append(nn.BatchNorm2d(outputs))
                inputs = outputs
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K)."""
        x = relu(self.first_norm(self.first(x)))
        pairs = list(zip(self.convolutions, self.norms, strict=True))
        for (one, one_norm), (two, two_norm) in zip(pairs[::2], pairs[1::2], strict=True):
            y = self.delta * relu(one_norm(one(x)))
            y = self.delta * two_norm(two(y))
            if one.stride[0] == 2:
                added = (one.out_channels - one.in_channels) // 2
                x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, added, added))
            x = relu(y + x)
        return self.head(x.mean(dim=(2, 3)))


class Product(nn.Module):
    """A convolution with the kernel U VT, as two convolutions: along rows, then along columns."""

    def __init__(self, U: Tensor, VT: Tensor, *, stride: int):
        super().__init__()
        self.U, self.VT = nn.Parameter(U.clone()), nn.Parameter(VT.clone())
        self.stride = (stride, stride)
        self.in_channels, self.out_channels = VT.shape[1] // 3, len(U) // 3

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W')."""
        rank = len(self.VT)
        x = conv2d(x, self.VT.reshape(rank, self.in_channels, 1, 3), None, (1, self.stride[1]), (0, 1))
        columns = self.U.reshape(self.out_channels, 3, rank).transpose(1, 2).unsqueeze(-1)
        return conv2d(x, columns, None, (self.stride[0], 1), (1, 0))


def decay_products(products: list[Product], coefficient: float) -> None:
    """Add the gradient of (coefficient / 2) |U VT|^2, one layer after the other."""
    for layer in products:
        U, VT = layer.U.detach(), layer.VT.detach()
        layer.U.grad = layer.U.grad + coefficient * U @ (VT @ VT.T)
        layer.VT.grad = layer.VT.grad + coefficient * (U.T @ U) @ VT


def norms(products: list[Product]) -> list[float]:
    """Return |U VT| of each layer, read back one by one."""
    return [torch.linalg.matrix_norm(layer.U.detach() @ layer.VT.detach()).item() for layer in products]
