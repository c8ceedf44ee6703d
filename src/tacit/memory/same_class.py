"""Is Same Class."""

from __future__ import annotations

from tacit.memory import EVALUATED, FLOAT, NUMPY, total, training
from tacit.memory.images import image_set
from tacit.memory.networks import residual
from tacit.settings.images import Images
from tacit.settings.same_class import SameClassSettings


def pair(images: Images) -> int:
    """The image set, and the part of it that is used."""
    return total(NUMPY, 2 * image_set(images.source, images.side))


def train(settings: SameClassSettings, *, gpu: bool) -> int:
    """The image set, the part of it that is used in two layouts, a batch of canvases for each use, and the training."""
    images, canvas = settings.images, settings.canvas
    pixels = images.channels * canvas.height * canvas.width
    batch = settings.training.batch_size
    data = 3 * image_set(images.source, images.side) + 2 * FLOAT * (batch + EVALUATED) * pixels
    sides = (canvas.height, canvas.width)
    return training(data + residual(settings.network, sides, images.channels, batch), gpu=gpu)
