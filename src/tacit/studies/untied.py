"""The study on untied weights (Sanford, Ardeshir, Hsu 2022; d'Ascoli, Sagun, Bruna, Biroli 2019).

A CNN is trained; from chosen epochs of it locally connected and fully connected networks go on that compute the same
function there, and, as a control, the CNN itself at their learning rate. Stages: `train` a network from scratch, let
one `continue_from` a CNN, `interpolate` between two; `tacit.studies.untied_results` collects and judges.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tacit import store, streams
from tacit.data.images import ImageSet
from tacit.settings.untied import METHODS, InterpolationSettings, RunSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tacit.nn.convnets import Sum

STUDY = "untied"
PERFORMANCE = tuple(
    f"{part}_{name}" for part in ("train", "test") for name in ("loss", "accuracy", "margin_top2", "margin_legacy")
)
"""What is measured of a network as a whole."""

MARGINS = ("top2", "legacy")
"""What is meant by the margin of an image."""

LAYER_NORMS = ("squared_norms", "squared_norms_live", "distances")
CONVOLUTIONS = ("deviations", "deviations_live", "off_local")
"""What is measured of each layer with weights, and of each convolution."""

RUN = store.Kind(
    "untied run",
    {
        "epoch": store.Array("float64", "measured"),
        **{name: store.Array("float64", "measured") for name in PERFORMANCE},
        **{name: store.Array("float64", "measured layers") for name in LAYER_NORMS},
        **{name: store.Array("float64", "measured convolutions") for name in CONVOLUTIONS},
        "test_correct": store.Array("uint8", "measured images"),
        **{
            f"{part}_margins_{kind}": store.Array("float64", f"measured {images}", optional=True)
            for part, images in (("train", "train_images"), ("test", "images"))
            for kind in MARGINS
        },
        "step_loss": store.Array("float64", "steps"),
        "step_accuracy": store.Array("float64", "steps"),
        "weights_*": store.Array("float32 float64", "..."),
    },
)
INTERPOLATION = store.Kind(
    "untied interpolation",
    {
        f"{method}_{name}": store.Array(
            "float64", f"{method}_{'batches' if name == 'objective' else 'points'}", optional=True
        )
        for method in METHODS
        for name in ("alpha", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "objective")
    },
)
"""Kinds of file."""

_MOMENTUM = "momentum."
"""Before the name of a parameter, where its momentum is kept."""


def train(
    images: ImageSet,
    settings: RunSettings,
    *,
    network: str,
    learning_rate: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Train one network (cnn, lcn, fcn, cnn_plus_fcn) from scratch; return what `_run` does.

    Initial weights depend on network and seed alone. Raises as `tacit.training.fitting.fit` does; an interrupted
    training continues from `checkpoint`.
    """
    import torch

    from tacit import devices
    from tacit.nn import untying
    from tacit.nn.convnets import Sum

    torch.manual_seed(streams.torch_seed(STUDY, "init", seed))
    started = _named(network, settings)
    if network != "cnn":
        untying.reset(started.second if isinstance(started, Sum) else started, torch.default_generator)
    identity = {"network": network, "learning_rate": learning_rate, "seed": seed}
    with devices.acquire() as device:
        stream = (STUDY, "train", seed)
        return _run(started, images, settings, identity, learning_rate, stream, checkpoint=checkpoint, device=device)


def continue_from(
    images: ImageSet,
    cnn: str | Path,
    settings: RunSettings,
    *,
    network: str,
    split: int,
    learning_rate: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Let a network continue from the CNN whose run file is `cnn`, as it was at epoch `split`; return what `_run` does.

    Locally and fully connected networks and the control see the same batches in the same order.
    """
    from tacit import devices

    tied = cast("nn.Sequential", load(cnn, "cnn", split, settings))
    started = _convert(tied, network, settings)
    velocity = None
    if settings.keep_momentum:
        # A step along it moves all copies of a filter as it moves the filter, so that it is untied as weights are.
        velocity = _convert(
            cast("nn.Sequential", load(cnn, "cnn", split, settings, prefix=_MOMENTUM)), network, settings
        )
    identity = {"network": network, "split": split, "learning_rate": learning_rate, "seed": seed}
    identity["cnn"] = settings_of(cnn)
    stream = (STUDY, "train", seed, "split", split)
    with devices.acquire() as device:
        return _run(
            started, images, settings, identity, learning_rate, stream,
            checkpoint=checkpoint, device=device, velocity=velocity,
        )  # fmt: skip


def _run(
    network: nn.Sequential | Sum,
    images: ImageSet,
    settings: RunSettings,
    identity: Mapping[str, Any],
    learning_rate: float,
    stream: tuple[str | int, ...],
    *,
    checkpoint: str | Path,
    device: torch.device,
    velocity: nn.Sequential | None = None,
) -> dict[str, np.ndarray]:
    """Train `network` and return, over N measured epochs and L layers with weights, of which M are convolutions.

    Of a sum the layers are those of both networks, one behind the other.

    - epoch (N,), counted from the beginning of this training; train_ and test_ loss, accuracy, margin_top2,
      margin_legacy (N,);
    - squared_norms, squared_norms_live, distances (N, L); deviations, deviations_live, off_local (N, M), see
      `tacit.analysis.layer_norms`;
    - test_correct (N, test images), 1 where the answer is right;
    - with `keep_margins` train_margins_top2, train_margins_legacy (N, train images), and those of test images;
    - step_loss, step_accuracy (steps,), of each batch before its step;
    - weights_<epoch>_<name> at the epochs that are kept, and with `keep_momentum`, from scratch, also
      weights_<epoch>_momentum.<name>.

    The weights of `velocity`, if there is one, are the momentum to begin with.
    """
    import torch

    from tacit.analysis import layer_norms, margins
    from tacit.training import evaluation, optimizers, resumable
    from tacit.training import precision as precisions
    from tacit.training.batches import Batches
    from tacit.training.fitting import fit
    from tacit.training.images import images_on

    sgd = settings.sgd
    dtype = precisions.dtype_of(sgd.precision)
    train, test = images_on(device, images, settings.images, dtype)
    convolutions = _convolutions(settings)
    network = network.to(device, dtype)
    start = copy.deepcopy(network)
    # Where nothing gets a gradient, weights of a locally connected network are buffers; those of others decay there.
    inert = {name: buffer for name, buffer in network.named_buffers() if buffer.numel() and sgd.weight_decay}
    learned = dict(network.named_parameters()) | inert
    optimizer = torch.optim.SGD(
        learned.values(), lr=learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    if velocity is not None:
        begun = velocity.state_dict()
        optimizers.begin_with(optimizer, {tensor: begun[name] for name, tensor in learned.items()})

    def measure(current: nn.Sequential | Sum) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part, data in (("train", train), ("test", test)):
            logits = evaluation.predict(current, data, precision=sgd.precision)
            performance = margins.performance(logits, data.labels)
            found |= {f"{part}_{name}": value for name, value in performance.items()}
            if settings.keep_margins:
                each = margins.margins(logits.double(), data.labels)
                found |= {f"{part}_margins_{kind}": each[kind].cpu() for kind in MARGINS}
        found["test_correct"] = (logits.argmax(1) == test.labels).cpu()
        return found | layer_norms.measures(current, start, convolutions)

    keeps = settings.keep_momentum and velocity is None
    trained = fit(
        network,
        train,
        optimizer,
        Batches(len(train.labels), sgd.batch_size, stream, sgd.order),
        epochs=settings.epochs,
        advice=f"reduce the learning rate (now {learning_rate:g})",
        measure=measure,
        measured=settings.measured,
        kept=range(settings.epochs + 1) if settings.keep == "every epoch" else (settings.epochs,),
        checkpoint=checkpoint,
        settings={**identity, **settings.plain()},
        longer=resumable.Longer(("epochs", "measured")),
        precision=sgd.precision,
        decays=[partial(_give_no_gradient, inert.values())] if inert else (),
        keeps=partial(optimizers.velocities, optimizer, learned, prefix=_MOMENTUM) if keeps else None,
    )
    arrays = dict(trained.measures)
    arrays["test_correct"] = arrays["test_correct"].astype(np.uint8)
    return arrays | cast(dict[str, Any], trained.kept) | trained.steps


def _give_no_gradient(inert: Iterable[torch.Tensor]) -> None:
    """Let the gradients of inert weights be zero, so that an optimizer makes a step of their decay alone."""
    import torch

    for tensor in inert:
        tensor.grad = torch.zeros_like(tensor)


def load(
    path: str | Path, network: str, epoch: int, settings: RunSettings | InterpolationSettings, *, prefix: str = ""
) -> nn.Sequential | Sum:
    """Return the network that the run file at `path` keeps of `epoch`, in the precision it has there.

    Its weights are what is kept there under their names behind `prefix`.
    """
    import torch

    built = _named(network, settings)
    names = list(built.state_dict())
    places = {name: _name_of(epoch, f"{prefix}{name}") for name in names}
    arrays = store.read(path, kind=RUN, names=places.values()).arrays
    state = {name: torch.from_numpy(arrays[place]) for name, place in places.items()}
    built.to(next(iter(state.values())).dtype).load_state_dict(state)
    return built


def _name_of(epoch: int, parameter: str) -> str:
    return f"weights_{epoch}_{parameter}"


def _named(network: str, settings: RunSettings | InterpolationSettings) -> nn.Sequential | Sum:
    """Return a network of this name; a CNN freshly initialised, any other as that CNN untied, or a sum of two."""
    from tacit.nn.convnets import Sum

    if network == "cnn_plus_fcn":
        return Sum(_build("cnn", settings), _build("fcn", settings))
    return _build(network, settings)


def _build(network: str, settings: RunSettings | InterpolationSettings) -> nn.Sequential:
    """Return a network of this kind; a CNN freshly initialised, any other as that CNN untied."""
    from tacit.nn import convnets

    images = settings.images
    cnn = convnets.build(
        settings.architecture, side=images.side, in_channels=images.channels, classes=images.num_classes
    )
    return _convert(cnn, network, settings)


def _convert(cnn: nn.Sequential, network: str, settings: RunSettings | InterpolationSettings) -> nn.Sequential:
    from tacit.nn import untying

    if network == "cnn":
        return cnn
    convert = {"lcn": untying.to_local, "fcn": untying.to_dense}[network]
    return convert(cnn, side=settings.images.side)


def _convolutions(settings: RunSettings) -> list[Any]:
    from tacit.nn import untying

    return untying.layers(_build("cnn", settings), side=settings.images.side)


class End(NamedTuple):
    """A network to interpolate from or to."""

    path: str | Path
    """Path of the run file."""
    network: str
    epoch: int


def interpolate(
    images: ImageSet, origin: End, target: End, settings: InterpolationSettings, *, seed: int, checkpoint: str | Path
) -> dict[str, np.ndarray]:
    """Follow paths from one network to another.

    Returns, for each method, <method>_alpha (n,) and <method>_ train_loss, train_accuracy, test_loss, test_accuracy
    (n,); for the string also string_objective, by batch. Raises as `tacit.training.chain` does; an interrupted string
    continues from `checkpoint`. `seed` names the random numbers of the string, if its networks have dropout.
    """
    from tacit import devices
    from tacit.analysis import interpolation, margins
    from tacit.training import chain, evaluation, finite, precision
    from tacit.training.images import images_on

    with devices.acquire() as device:
        precision.use(settings.precision, device)
        dtype = precision.dtype_of(settings.precision)
        loaded = (load(end.path, end.network, end.epoch, settings) for end in (origin, target))
        ends = [cast("nn.Sequential", end).to(device, dtype) for end in loaded]
        data = images_on(device, images, settings.images, dtype)

        def logits_of(network: nn.Sequential) -> list[torch.Tensor]:
            return [evaluation.predict(network, part, precision=settings.precision) for part in data]

        arrays: dict[str, np.ndarray] = {}
        for method in settings.methods:
            points = settings.string.points if method == "string" else settings.points
            alphas = interpolation.alphas(points)
            match method:
                case "average":
                    outputs = [logits_of(end) for end in ends]
                    logits = [interpolation.linear(outputs[0], outputs[1], alpha) for alpha in alphas]
                case "string":
                    runs = [settings_of(end.path) for end in (origin, target)]
                    identity = {"seed": seed, "runs": runs, **settings.plain()}
                    links = _links(ends, settings)
                    arrays["string_objective"] = chain.fit(
                        links,
                        data[0],
                        settings.string,
                        precision=settings.precision,
                        stream=(STUDY, "string", seed),
                        checkpoint=checkpoint,
                        settings=identity,
                    )
                    logits = [logits_of(network) for network in links]
                case _:
                    logits = [logits_of(network) for network in _mixed(ends, method, alphas, settings)]
            arrays[f"{method}_alpha"] = alphas
            for number, part in enumerate(("train", "test")):
                found = [margins.performance(both[number], data[number].labels) for both in logits]
                for name in ("loss", "accuracy"):
                    arrays[f"{method}_{part}_{name}"] = np.array([row[name] for row in found])
        between = " to ".join(f"{end.network} of epoch {end.epoch}" for end in (origin, target))
        advice = "reduce the learning rate or the stiffness of the string, or those its ends were trained with"
        finite.check(arrays, when=f"between {between}, seed {seed}", advice=advice)
        return arrays


def _mixed(
    ends: list[nn.Sequential], method: str, alphas: np.ndarray, settings: InterpolationSettings
) -> Iterator[nn.Sequential]:
    """Give networks whose weights are mixed from those of two."""
    from tacit.analysis import interpolation

    mix = {"linear": interpolation.linear, "curvilinear": interpolation.curvilinear}[method]
    first, last = interpolation.common_space(*ends, side=settings.images.side)
    weights = interpolation.tensors(first), interpolation.tensors(last)
    for alpha in alphas:
        yield interpolation.with_tensors(first, mix(*weights, alpha))


def _links(ends: list[nn.Sequential], settings: InterpolationSettings) -> list[nn.Sequential]:
    """Return fully connected networks on the straight line between two, which the string starts from."""
    from tacit.analysis import interpolation
    from tacit.nn import untying

    first, last = (untying.to_dense(end, side=settings.images.side) for end in ends)
    return interpolation.along(first, last, settings.string.points)


def settings_of(run: str | Path) -> dict[str, Any]:
    """Return what a run depends on, as its file says."""
    return dict(store.describe(run).settings)
