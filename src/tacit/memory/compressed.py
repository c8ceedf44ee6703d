"""Compressed networks."""

from __future__ import annotations

from tacit.memory import EVALUATED, FLOAT, training
from tacit.memory.images import image_set
from tacit.settings.compressed import RunSettings, Variant
from tacit.settings.layouts import Family, Layer, layout


def train(settings: RunSettings, family: Family, depth: int, width: int, variant: Variant, *, gpu: bool) -> int:
    """Return MB of one training.

    Six copies of the weights of the dense network, which each is made of (a sparse one stays as large), and of every
    map of an image of a batch what convolution, normalisation and ReLU keep, and gradients. GraSP differentiates a
    derivative, with such maps again. Of a test batch eight of the largest map.
    """
    images = settings.images
    own = layout(family, depth, width, side=images.side, channels=images.channels, classes=images.num_classes)
    maps = [_map(layer) for layer in own.layers]
    batch = min(settings.training.batch_size, images.num_train_at_most)
    # Tensors have a map between depthwise and pointwise part, and factors one of fewer channels.
    times = 2 if variant.is_factorized or variant.method == "grasp" else 1
    content = FLOAT * (6 * own.parameters + 5 * times * batch * sum(maps) + 8 * EVALUATED * max(maps))
    if variant.method in ("snip", "grasp"):
        # The images that they look at, as bytes become numbers of which there are copies.
        sample = min(settings.samples_per_class * images.num_classes, images.num_train_at_most)
        content += 3 * FLOAT * sample * images.channels * images.side**2
    return training(3 * image_set(images.source, images.side) + content, gpu=gpu)


def _map(layer: Layer) -> int:
    return layer.outputs * layer.side**2
