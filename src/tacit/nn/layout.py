"""The order of images and weights in memory: channels last where that is quicker, but never where it is unsound.

oneDNN's backward pass of a 1 x 1 convolution with a stride, in channels-last order on a processor, reads and writes
whole vectors of input channels. With fewer channels than a vector has it writes beyond its memory: it hangs, ends the
process, or passes with damage done (seen with oneDNN of torch 2.15 and vectors of 8; those of AVX-512 have 16).
Shortcuts of narrow residual networks are such convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VECTOR = 16
"""Numbers of single precision in the widest vectors of today's processors."""


def memory_format(network: nn.Module, device: torch.device, *, channels_last: bool = True) -> torch.memory_format:
    """Return the order of `network` and its images on `device`: channels last if asked for and sound."""
    unsound = device.type == "cpu" and any(map(_is_narrow_strided, network.modules()))
    return torch.channels_last if channels_last and not unsound else torch.contiguous_format


def _is_narrow_strided(module: nn.Module) -> bool:
    """Tell whether a layer is a 1 x 1 convolution with a stride and fewer input channels than a vector has."""
    return (
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) == 1
        and max(module.stride) > 1
        and module.in_channels // module.groups < VECTOR
    )


def arranged(images: Tensor, order: torch.memory_format) -> Tensor:
    """Return images (B, C, H, W) with exactly the strides of `order`; copied only if they have others.

    For one channel the strides of both orders pass for either, and convolutions go by them, so that images that are
    `contiguous` could turn a whole network to channels last.
    """
    if images.stride() == torch.empty(images.shape, device="meta", memory_format=order).stride():
        return images
    return torch.empty_like(images, memory_format=order).copy_(images)
