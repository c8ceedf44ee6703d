"""How much memory jobs need, in MB, from the sizes of what they work on; without torch, for the workflow to ask for.

Each is a sum of what the libraries take when nothing is loaded yet (measured) and of the arrays that are there at once
(counted), with a quarter more for what allocators hold back. The tests compare with what jobs were measured to take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tacit.settings.factorizations import CPProblem, Experiment, HierarchicalExperiment, MatrixProblem, Problem
from tacit.settings.images import FACTS, Images
from tacit.settings.networks import Network
from tacit.settings.norms import MatrixRun
from tacit.settings.pathfinder import Dataset, PathfinderSettings, Rendering
from tacit.settings.same_class import SameClassSettings
from tacit.settings.untied import Architecture, UntiedSettings

NUMPY, NUMBA, TORCH = 300, 500, 1100
"""MB of a process with NumPy, HDF5 and Pillow; with Numba, which may have to compile; with torch."""

GPU = 3000
"""MB that torch and the driver take in the machine's memory besides, in a job that may find a GPU."""

_FLOAT = 4
_EVALUATED = 256
"""Images of a batch on which networks are tested, at most."""


def _total(base: float, content: float) -> int:
    """Return MB, in hundreds: `base` MB and 1.25 times `content` bytes."""
    return 100 * math.ceil((base + 1.25 * content / 1e6) / 100)


def _training(content: float, *, gpu: bool) -> int:
    return _total(TORCH + (GPU if gpu else 0), content)


# Images.


def image_set(source: str, size: int) -> int:
    """Return the bytes of all images of a source at `size` px."""
    return FACTS[source].num_bytes(size)


def images_convert(source: str, size: int) -> int:
    """Published files as they are read, their images twice (parts and whole), and resized."""
    return _total(NUMPY, 3 * image_set(source, FACTS[source].side) + image_set(source, size))


def same_class_pair(images: Images) -> int:
    """The image set, and the part of it that is used."""
    return _total(NUMPY, 2 * image_set(images.source, images.side))


# Pathfinder.


def pathfinder_render(rendering: Rendering, images: int) -> int:
    """All images of a shard, and the random numbers and canvases of those being drawn."""
    window = math.prod(rendering.window)
    return _total(NUMBA, images * (window + 100) + 64 * 8 * 100_000 + 40 * window * rendering.antialias**2)


def pathfinder_assemble(dataset: Dataset, rendering: Rendering, images_per_shard: int) -> int:
    """Two shards of raw images, one being read, and the dataset twice, in order and split."""
    raw = 2 * images_per_shard * (math.prod(rendering.window) + 100)
    return _total(NUMPY, raw + 2 * (dataset.num_train + dataset.num_test) * (dataset.size**2 + 8))


def pathfinder_train(settings: PathfinderSettings, *, gpu: bool) -> int:
    """The dataset in two layouts, and the training."""
    dataset = settings.dataset
    data = 2 * (dataset.num_train + dataset.num_test) * dataset.size**2
    batch = settings.training.batch_size
    return _training(data + _residual(settings.network, (dataset.size,) * 2, 1, batch), gpu=gpu)


def same_class_train(settings: SameClassSettings, *, gpu: bool) -> int:
    """The image set, the part of it that is used in two layouts, a batch of canvases for each use, and the training."""
    images, canvas = settings.images, settings.canvas
    pixels = images.channels * canvas.height * canvas.width
    batch = settings.training.batch_size
    data = 3 * image_set(images.source, images.side) + 2 * _FLOAT * (batch + _EVALUATED) * pixels
    sides = (canvas.height, canvas.width)
    return _training(data + _residual(settings.network, sides, images.channels, batch), gpu=gpu)


_IMAGENET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _residual(network: Network, sides: tuple[int, int], channels: int, batch: int) -> int:
    """Return the bytes of a residual network in training.

    Six copies of the weights (own, gradient, two of an optimizer, a checkpoint being written, a gradient in another
    layout). Of every map three for each image of a batch (convolution, normalisation, ReLU), and these three times, for
    their gradients and for the second backward pass of the regulariser. Of a test batch eight of the largest map.
    """
    places = math.prod(-(-side // network.stem_stride) for side in sides)
    width, bottleneck = network.width, network.layers >= 50
    maps, weights = [width * places], [channels * width * (9 if network.is_cifar else 49)]
    if network.is_cifar:
        stages = ((network.layers - 2) // 6,) * 3
    else:
        stages, places = _IMAGENET[network.layers], -(-places // 4)
        maps.append(width * places)
    inputs = width
    for number, blocks in enumerate(stages):
        inner = width * 2**number
        outputs = inner * (4 if bottleneck else 1)
        places = -(-places // (4 if number else 1))
        for _ in range(blocks):
            if bottleneck:
                maps += [4 * inner * places if number else inner * places, inner * places, outputs * places]
                weights += [inputs * inner, 9 * inner**2, inner * outputs]
            else:
                maps += [inner * places, inner * places]
                weights += [9 * inputs * inner, 9 * inner**2]
            if inputs != outputs:
                maps.append(outputs * places)
                weights.append(inputs * outputs)
            inputs = outputs
    return _FLOAT * (6 * sum(weights) + 9 * batch * sum(maps) + 8 * _EVALUATED * max(maps))


# Factorizations.


def sensing_observe(problem: Problem, task: str) -> int:
    """Measurements as they are drawn, cut up and rounded."""
    target = 8 * problem.num_entries
    if isinstance(problem, MatrixProblem):
        rows = problem.num_entries if task == "sensing" else 1
        return _total(TORCH, 20 * problem.num_samples * rows + 4 * target)
    rows = sum(problem.shape) if task == "sensing" else 1
    inner = problem.rank if isinstance(problem, CPProblem) else max(problem.ranks)
    between = 8 * problem.num_samples * problem.num_entries // max(problem.shape) if task == "sensing" else 0
    return _total(TORCH, 20 * problem.num_samples * rows + (4 + inner) * target + between)


def descent(experiment: Experiment, task: str, *, gpu: bool) -> int:
    """Observations three times, the model with its products and gradients, and the history, twice while it is saved."""
    problem, settings = experiment.problem, experiment.descent
    size = 8 if settings.precision == "float64" else 4
    entries = problem.num_entries
    if task == "completion":
        rows = 4
    elif isinstance(problem, MatrixProblem):
        rows = entries
    else:
        half = len(problem.shape) // 2
        rows = 3 * (math.prod(problem.shape[:half]) + math.prod(problem.shape[half:])) + sum(problem.shape)
    if isinstance(experiment, HierarchicalExperiment):
        model = (
            sum(problem.shape) * max(experiment.model.widths) + len(problem.shape) * max(experiment.model.widths) ** 2
        )
        quantities = 6 * len(problem.shape) + len(experiment.matricizations)
    elif isinstance(problem, MatrixProblem):
        model, quantities = experiment.model.depth * max(problem.shape) ** 2, 1
    else:
        model, quantities = experiment.components * (sum(problem.shape) + entries // max(problem.shape)), 4
    history = (settings.epochs // settings.evaluate_every) * (quantities * experiment.num_tracked + 10)
    # Arrays of a few numbers each, as the history is while it grows.
    history = history * size + 120 * (settings.epochs // settings.evaluate_every) * (2 * quantities + 10)
    content = 3 * size * problem.num_samples * rows + size * (10 * model + 20 * entries) + 2 * history
    return _training(content, gpu=gpu)


def matrix_norms(run: MatrixRun) -> int:
    """Measurements, padded to squares, three times, and the evaluations, of which a run keeps few."""
    longest = max(run.problem.shape)
    return _total(NUMBA, 24 * run.problem.num_samples * longest**2 + 8 * 20_000 * 4 * longest**2)


def tensor_completion(problem: CPProblem, *, torch: bool, gpu: bool) -> int:
    """Unfoldings of the tensor against as many components as its rank can have, in the fits that estimate it."""
    entries = problem.num_entries
    components = entries // max(problem.shape)
    content = 8 * (20 * entries + 6 * components * (sum(problem.shape) + entries // min(problem.shape)))
    return _training(content, gpu=gpu) if torch else _total(NUMPY, content)


# Untied weights.


def untied_weights(architecture: Architecture, network: str, images: Images) -> tuple[int, int, int]:
    """Return the number of weights of a network (cnn, lcn, fcn), of its largest layer, and of its maps of one image."""
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


def untied_train(settings: UntiedSettings, network: str, *, gpu: bool) -> int:
    """A network, its beginning, its gradients and one to be saved, four of its largest layer being measured; images."""
    weights, largest, maps = untied_weights(settings.architecture, network, settings.images)
    batch = max(settings.sgd.batch_size, _EVALUATED)
    data = 3 * image_set(settings.images.source, settings.images.side)
    return _training(data + _FLOAT * (5 * weights + 5 * largest + 4 * batch * maps), gpu=gpu)


def untied_interpolate(settings: UntiedSettings, ends: Iterable[str], *, gpu: bool) -> int:
    """Both ends, as they are and as dense networks, the points between them, and the gradient of one; images."""
    data = 3 * image_set(settings.images.source, settings.images.side)
    own = sum(untied_weights(settings.architecture, network, settings.images)[0] for network in ends)
    dense, largest, maps = untied_weights(settings.architecture, "fcn", settings.images)
    string = settings.interpolation.string
    points = string.points if "string" in settings.interpolation.methods else 1
    batch = max(string.batch_size, _EVALUATED)
    content = own + (points + 4) * dense + 2 * largest + 4 * batch * maps
    return _training(data + _FLOAT * content, gpu=gpu)
