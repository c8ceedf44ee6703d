"""Untied weights."""

from __future__ import annotations

from collections.abc import Iterable

from tacit.memory import EVALUATED, FLOAT, training
from tacit.memory.images import image_set
from tacit.settings.convnets import Architecture
from tacit.settings.images import Images
from tacit.settings.untied import UntiedSettings


def weights_of(architecture: Architecture, network: str, images: Images) -> tuple[int, int, int]:
    """Return the number of weights of a network, of its largest layer, and of its maps of one image."""
    if network == "cnn_plus_fcn":
        parts = [weights_of(architecture, part, images) for part in ("cnn", "fcn")]
        return sum(part[0] for part in parts), max(part[1] for part in parts), sum(part[2] for part in parts)
    channels, layers, maps = images.channels, [], 0
    for conv, (side, made, _) in zip(architecture.layout.convolutions, architecture.sides(images.side), strict=True):
        padded, outputs = side + 2 * conv.padding, conv.widths * architecture.width
        filters = channels * conv.kernel**2 * outputs
        weights = {"cnn": filters, "lcn": made**2 * filters, "fcn": channels * padded**2 * outputs * made**2}
        layers.append(weights[network])
        maps += channels * padded**2 + 2 * outputs * made**2
        if network == "lcn":
            maps += 2 * made**2 * channels * conv.kernel**2
        channels = outputs
    hidden = (units * architecture.width for units in architecture.layout.hidden)
    sizes = [channels * architecture.final_side(images.side) ** 2, *hidden]
    layers += [first * last for first, last in zip(sizes, [*sizes[1:], images.num_classes], strict=True)]
    return sum(layers), max(layers), maps


def _bytes(precision: str) -> int:
    return 2 * FLOAT if precision == "float64" else FLOAT


def train(settings: UntiedSettings, network: str, *, gpu: bool) -> int:
    """A network, its beginning, its gradients and one to be saved, four of its largest layer being measured; images.

    With momentum there are velocities too, and those to be saved.
    """
    weights, largest, maps = weights_of(settings.architecture, network, settings.images)
    batch = max(settings.sgd.batch_size, EVALUATED)
    data = 3 * image_set(settings.images.source, settings.images.side)
    each = _bytes(settings.sgd.precision)
    velocities = 2 * weights if settings.sgd.momentum else 0
    return training(data + each * (5 * weights + velocities + 5 * largest + 4 * batch * maps), gpu=gpu)


def interpolate(settings: UntiedSettings, ends: Iterable[str], *, gpu: bool) -> int:
    """Both ends, as they are and as dense networks, the points between them, and the gradient of one; images.

    With momentum there are velocities too, and those to be saved.
    """
    data = 3 * image_set(settings.images.source, settings.images.side)
    own = sum(weights_of(settings.architecture, network, settings.images)[0] for network in ends)
    dense, largest, maps = weights_of(settings.architecture, "fcn", settings.images)
    string = settings.interpolation.string
    points = string.points if "string" in settings.interpolation.methods else 1
    batch = max(string.batch_size, EVALUATED)
    velocities = 2 * points * dense if string.momentum else 0
    content = own + (points + 4) * dense + velocities + 2 * largest + 4 * batch * maps
    return training(data + _bytes(settings.interpolation.precision) * content, gpu=gpu)
