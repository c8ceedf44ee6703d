"""Every engine of training, a few steps of each, on any device; and how far two devices are apart.

Engines start from the same numbers, whatever the device, so that what differs is rounding alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tacit import streams
from tacit.analysis import factorizations as measures
from tacit.analysis import interpolation
from tacit.data.subwords import END, PAD
from tacit.data.translation import Lines, Pairs
from tacit.nn import convnets, factorizations, resnets, untying
from tacit.nn.attention import balance
from tacit.nn.factorized import factorized_layers
from tacit.nn.factorizing import factorize
from tacit.nn.pruning import Masks, kept_weights, maskable_layers, random_ticket
from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks
from tacit.nn.tensor_layers import tensorize
from tacit.nn.transformer import Shape, Transformer, compressed
from tacit.nn.wide_resnets import WideResNet, in_groups
from tacit.optim.decay_groups import decay_groups
from tacit.optim.long_range import draw_distant_patches
from tacit.optim.nesterov import Nesterov
from tacit.optim.transformer_decay import transformer_decay
from tacit.settings.convnets import Architecture
from tacit.settings.factorizations import Descent
from tacit.settings.mode_trees import mode_tree
from tacit.settings.networks import LongRangeRegularizer, Network, Training
from tacit.settings.untied import String
from tacit.training import chain, descent, engine, networks, norms, optimizers, resumable
from tacit.training.batches import Batches
from tacit.training.decoding import Search, beam_search
from tacit.training.fitting import fit
from tacit.training.images import Augmented, LabelledImages
from tacit.training.objectives import CrossEntropyWithOmega, LabelSmoothedCrossEntropy, LongRangeBinaryCrossEntropy
from tacit.training.observations import Entries, Loss
from tacit.training.sentences import Sentences, TokenBatches

Numbers = Mapping[str, np.ndarray]
"""What an engine recorded and where its weights ended, by name."""

STREAM = ("benchmark", "engines")
SIDE = 32


class Engine(NamedTuple):
    """An engine, and how far its numbers may be apart on two devices."""

    run: Callable[[torch.device], Numbers]
    tolerance: float
    """Of the norm of a difference over the norm of what is compared; float32 has 6e-8, and steps enlarge it."""


class Found(NamedTuple):
    """How far an engine's numbers were apart."""

    engine: str
    difference: float
    of: str
    """What differs most."""
    tolerance: float

    @property
    def parted(self) -> bool:
        """Whether it is too far; a difference that is no number is."""
        return not self.difference <= self.tolerance


def difference(first: Numbers, second: Numbers) -> tuple[float, str]:
    """Return the greatest relative difference of the numbers in two records, and where it is.

    Raises ValueError if they hold other names or shapes.
    """
    if {name: np.shape(value) for name, value in first.items()} != {n: np.shape(v) for n, v in second.items()}:
        raise ValueError(f"records of other names or shapes: {sorted(first)}, {sorted(second)}")
    worst, where = 0.0, "nothing"
    for name, value in first.items():
        value, other = np.asarray(value, np.float64), np.asarray(second[name], np.float64)
        size = max(np.linalg.norm(value), np.linalg.norm(other))
        apart = 0.0 if size == 0 else np.linalg.norm(value - other) / size
        if np.isnan(apart):
            return np.nan, name
        if not apart <= worst:
            worst, where = float(apart), name
    return worst, where


def compare(engines: Mapping[str, Engine], first: torch.device, second: torch.device) -> Iterator[Found]:
    """Yield, for each engine, how far its numbers on two devices are apart."""
    for name, one in engines.items():
        apart, where = difference(one.run(first), one.run(second))
        yield Found(name, apart, where, one.tolerance)


def training(**changes: object) -> Training:
    """Return the settings of a training of a network, as published but for `changes`."""
    plain = {
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 2,
        "perfect_epochs": 20,
        "precision": "float32",
        "channels_last": True,
        "compile": False,
    }
    return Training(**plain | changes)


def images(device: torch.device, *, count: int, channels: int, classes: int, seed: int) -> LabelledImages:
    """Return images of noise whose left half is the brighter the greater their class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pixels = random.integers(0, 128, (count, channels, SIDE, SIDE), dtype=np.uint8)
    pixels[..., : SIDE // 2] += (labels * (120 // classes)).astype(np.uint8)[:, None, None, None]
    return LabelledImages.on(device, pixels, labels, mean=[0.3] * channels, std=[0.2] * channels)


def network(device: torch.device, *, coefficient: float, **changes: object) -> engine.Engine:
    """Return a small residual network's training at its start."""
    torch.manual_seed(streams.torch_seed(*STREAM))
    model = resnets.build(Network(name="resnet8", width=16), in_channels=1)
    # Sixteen and half a batch: the last of an epoch is a short one.
    data = partial(images, device, channels=1, classes=2)
    patches = LongRangeRegularizer(patch_size=2, distance=0)
    sample = partial(_sample, patches)
    settings = training(**changes)
    train, test = data(count=144, seed=0), data(count=80, seed=1)
    objective = LongRangeBinaryCrossEntropy(coefficient=coefficient, sample_patches=sample, stream=STREAM)
    return networks.assemble(model.to(device), train, test, settings, objective)


def _sample(patches: LongRangeRegularizer, generator: np.random.Generator):
    return draw_distant_patches(patches, height=SIDE, width=SIDE, generator=generator)


def _run_network(device: torch.device, *, coefficient: float) -> Numbers:
    # Few and short steps: where a ReLU is at its corner, and where the gradients that the regulariser compares are
    # nearly zero, rounding turns into another step. At the usual rate two orders in memory part on one processor too.
    loop = network(device, coefficient=coefficient, learning_rate=1e-5, epochs=1)
    model = loop.moving.network
    start = weights_of(model)
    while not loop.finished:
        loop.advance()
    # Accuracies jump by whole images, so losses stand for them.
    names = ("train_loss", "test_loss") + (("regularization",) if coefficient else ())
    history = networks.history(loop)
    return {name: history[name] for name in names} | _moved(model, start)


def weights_of(model: nn.Module) -> np.ndarray:
    """Return all parameters of a model as one vector."""
    return torch.cat([value.detach().flatten() for value in model.parameters()]).cpu().numpy().copy()


def _moved(model: nn.Module, start: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far all parameters went from `start`, which shows more than where they are."""
    return {"movement": weights_of(model) - start}


def classifier(kind: str, width: int) -> nn.Sequential:
    """Return the skinny network as a CNN, locally connected or fully connected (cnn, lcn, fcn)."""
    torch.manual_seed(streams.torch_seed(*STREAM, "untied"))
    cnn = convnets.build(Architecture(name="skinny", width=width), side=SIDE, in_channels=3, classes=10)
    return {"cnn": lambda net, side: net, "lcn": untying.to_local, "fcn": untying.to_dense}[kind](cnn, side=SIDE)


def _run_classifier(device: torch.device, *, kind: str) -> Numbers:
    # The greatest of several numbers that are equal but for rounding may be any of them, and the gradient goes to it.
    # With these few images none are, in any step.
    data = images(device, count=40, channels=3, classes=10, seed=8)
    model = classifier(kind, 8).to(device)
    start = weights_of(model)
    with tempfile.TemporaryDirectory() as folder:
        trained = fit(
            model,
            data,
            torch.optim.SGD(model.parameters(), lr=0.1),
            Batches(40, 15, STREAM),
            epochs=2,
            advice="",
            measure=lambda network: {},
            measured=(),
            kept=(),
            checkpoint=f"{folder}/checkpoint.pt",
            settings={"kind": kind},
            longer=resumable.NO_LONGER,
        )
    return {"step_loss": trained.steps["step_loss"]} | _moved(model, start)


def _run_residual(device: torch.device, *, kind: str) -> Numbers:
    """Take a few steps of the residual networks of `depth_cifar` and `factorized`, on shifted and mirrored images."""
    data = images(device, count=90, channels=3, classes=10, seed=8)
    torch.manual_seed(streams.torch_seed(*STREAM, "residual"))
    exponent = 0.75 if kind == "scaled" else 0.0
    model: nn.Module = ScaledConvNet(8, width=8, delta_exponent=exponent, in_channels=3, num_classes=10)
    if kind != "scaled":
        factors = 3 if kind == "deep" else 2
        model = factorize(model, select=in_blocks, rank_scale=0.3, factors=factors).model
    model = model.to(device)
    layers = list(factorized_layers(model).values())
    plan = decay_groups(model, 0.01, factors="frobenius") if layers else None
    start = weights_of(model)
    with tempfile.TemporaryDirectory() as folder:
        trained = fit(
            model,
            Augmented(data, padding=2, flips=True, stream=STREAM),
            optimizers.optimizer(plan.groups if plan else model.parameters(), "sgd", learning_rate=0.01, momentum=0.9),
            Batches(90, 40, STREAM),
            epochs=2,
            advice="",
            measure=lambda network: {},
            measured=(),
            kept=(),
            checkpoint=f"{folder}/checkpoint.pt",
            settings={"kind": kind},
            longer=resumable.NO_LONGER,
            objective=CrossEntropyWithOmega(),
            rate=optimizers.rate("cosine", 0.01, epochs=2),
            decays=[plan.frobenius.add_gradients] if plan else [],
            after=_after(kind, layers, device),
        )
    return dict(trained.steps) | _moved(model, start)


def _after(kind: str, layers: list, device: torch.device) -> engine.AfterStep | None:
    if kind == "replayed":
        return norms.Replayed(layers, torch.full((6, len(layers)), 2.0, device=device))
    return norms.Recorded(layers) if kind in ("recorded", "deep") else None


def _run_compressed(device: torch.device, *, kind: str) -> Numbers:
    """Take a few steps of a sparse network, or of one with tensor layers, on images with a square cut out."""
    data = images(device, count=90, channels=3, classes=10, seed=8)
    torch.manual_seed(streams.torch_seed(*STREAM, "compressed"))
    generator = streams.torch_generator(*STREAM, "compressed", kind)
    masks, factors = None, "frobenius"
    model: nn.Module
    if kind == "sparse":
        model = ScaledConvNet(8, width=16, in_channels=3, num_classes=10, kaiming=True, projected=True)
        ticket = random_ticket(maskable_layers(model), kept_weights(model, 0.2), generator=generator)
        masks, factors = Masks(model, ticket), "weight"
    else:
        dense = WideResNet(10, width=1, in_channels=3, num_classes=10)

        def chosen(name: str, module: nn.Module) -> bool:
            return in_groups(name, module) and not name.endswith("shortcut")

        model = tensorize(dense, select=chosen, kind=kind, rank_scale=0.5, spectral=True, generator=generator).model
    model = model.to(device)
    plan = decay_groups(model, 0.01, factors=factors)
    start = weights_of(model)
    decays = [masks.mask_gradients] if masks else [plan.frobenius.add_gradients]
    with tempfile.TemporaryDirectory() as folder:
        trained = fit(
            model,
            Augmented(data, padding=2, flips=True, cutout=8, stream=STREAM),
            optimizers.optimizer(plan.groups, "sgd", learning_rate=0.01, momentum=0.9),
            Batches(90, 40, STREAM),
            epochs=2,
            advice="",
            measure=lambda network: {},
            measured=(),
            kept=(),
            checkpoint=f"{folder}/checkpoint.pt",
            settings={"kind": kind},
            longer=resumable.NO_LONGER,
            decays=decays,
        )
    return {"step_loss": trained.steps["step_loss"]} | _moved(model, start)


def translation_part(
    device: torch.device, model: nn.Module, pairs: Pairs, *, most_tokens: int, updates: int
) -> tuple[engine.Minimize, TokenBatches]:
    """Return steps of a Transformer with all that the paper trains by, on pairs of sentences, and their batches."""
    plan = transformer_decay(model, frobenius_decay=1e-4, linear=True, query_key=True, output_value=True)
    batches = TokenBatches(
        *(side.lengths for side in pairs), most_tokens=most_tokens, stream=(*STREAM, "translation"), updates=updates
    )
    step = engine.Minimize(
        model,
        Sentences(device, pairs),
        LabelSmoothedCrossEntropy(smoothing=0.1, padding=PAD),
        Nesterov(plan.groups, lr=0.25, momentum=0.99),
        rate=optimizers.inverse_square_root(0.25, steps=batches.steps, constant=4000),
        decays=[plan.frobenius.add_gradients, optimizers.clipping(model.parameters(), 0.1)],
    )
    return step, batches


def sentences(count: int, *, longest: int, tokens: int) -> Pairs:
    """Return random pairs of sentences of up to so many tokens each."""
    random = np.random.default_rng(0)

    def side() -> Lines:
        lengths = random.integers(2, longest + 1, count)
        ids = random.integers(4, tokens, lengths.sum()).astype(np.int32)
        ids[np.cumsum(lengths) - 1] = END
        return Lines(ids, np.concatenate([[0], np.cumsum(lengths)]))

    return Pairs(side(), side())


def transformer(device: torch.device, tokens: int, shape: Shape, rank_scale: float) -> nn.Module:
    """Return a Transformer that is compressed, and starts spectrally."""
    torch.manual_seed(streams.torch_seed(*STREAM, "translation"))
    model = compressed(Transformer(tokens, tokens, shape, rank_scale=rank_scale), rank_scale, spectral=True).model
    balance(model)
    return model.to(device)


def _run_translation(device: torch.device) -> Numbers:
    """Take a few steps of a small Transformer without dropout, which has other random numbers on every device."""
    shape = Shape(width=32, inner_width=64, heads=4, layers=2, positions=64, dropout=0.0, inner_dropout=0.0)
    model = transformer(device, 60, shape, 0.5)
    start, pairs = weights_of(model), sentences(60, longest=20, tokens=60)
    step, batches = translation_part(device, model, pairs, most_tokens=200, updates=20)
    moving = engine.Engine(step, batches, epochs=batches.epochs, run="translation", advice="")
    while not moving.finished:
        moving.advance()
    text = Sentences(device, pairs)
    found = beam_search(model, text.batch(text.group(np.arange(8))).source, Search(longest=10))
    scores = np.array([hypotheses[0].score for hypotheses in found])
    return {"step_loss": moving.column("loss"), "scores": scores} | _moved(model, start)


def _run_chain(device: torch.device) -> Numbers:
    data = images(device, count=90, channels=3, classes=10, seed=0)
    string = String(points=4, stiffness=0.3, epochs=2, batch_size=25, learning_rate=0.1)
    last = classifier("cnn", 8)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(1.1)
    ends = (untying.to_dense(net.to(device), side=SIDE) for net in (classifier("cnn", 8), last))
    links = interpolation.along(*ends, string.points)
    moving = chain.assemble(links, data, string, precision="float32", stream=STREAM)
    start = weights_of(links[1])
    while not moving.finished:
        moving.advance()
    return {"objective": moving.column("objective")} | _moved(links[1], start)


def factorization(kind: str) -> tuple[factorizations.Factorization, float, descent.Measure]:
    """Return a small factorization of this kind, the deviation of its start, and what is measured of it."""
    if kind == "matrix":
        return factorizations.MatrixFactorization(16, 16, 3), 0.2, partial(measures.measure_matrix, tracked=5)
    if kind == "CP":
        return factorizations.CPFactorization((8, 8, 8), 64), 0.1, partial(measures.measure_cp, tracked=5)
    tree, widths = mode_tree(4, 2), (16, 16)
    model = factorizations.HierarchicalTensorFactorization((4,) * 4, tree, widths)
    return model, 0.3, partial(measures.measure_hierarchical, tracked=5, extra=[])


def fitting(device: torch.device, kind: str, **changes: object) -> descent.Loop:
    """Return the descent of a small factorization at its start."""
    settings = Descent(**{"evaluate_every": 25, "epochs": 100, "tolerance": 1e-12} | changes)
    precision = getattr(torch, settings.precision)
    model, std, measure = factorization(kind)
    random = np.random.default_rng(0)
    factorizations.set_normal(model, random, std=std)
    size = int(np.prod(model.shape))
    indices = torch.from_numpy(random.permutation(size)[: size // 2]).to(device)
    values = torch.from_numpy(random.standard_normal(size // 2)).to(device, precision)
    observed = Entries(model.shape, indices, values, Loss.of(settings))
    return descent.Loop(model.to(device, precision), observed, settings, measure=measure, stream=STREAM)


def _run_descent(device: torch.device, *, kind: str, **changes: object) -> Numbers:
    loop = fitting(device, kind, **changes)
    start = loop.parameters.clone()
    while not loop.finished:
        loop.advance()
    moved = ((loop.parameters - start).norm() / start.norm()).item()
    if moved < 0.01:
        raise AssertionError(f"the descent of the {kind} factorization went nowhere ({moved:.1g} of its start)")
    names = ("train_loss", "train_mse", "train_prediction_max")
    history = {name: np.array(loop.history[name]) for name in names}
    return history | {"parameters": loop.parameters.cpu().numpy()}


def all_engines() -> dict[str, Engine]:
    """Return every engine, with the tolerance it is held to."""
    engines = {
        "network, plain": Engine(partial(_run_network, coefficient=0.0), 1e-3),
        "network, regularised": Engine(partial(_run_network, coefficient=1.0), 2e-2),
        "string of networks": Engine(_run_chain, 1e-3),
    }
    for kind in ("scaled", "recorded", "replayed", "deep"):
        engines[f"residual, {kind}"] = Engine(partial(_run_residual, kind=kind), 1e-2)
    for kind in ("sparse", "tensor_train", "tucker"):
        engines[f"compressed, {kind}"] = Engine(partial(_run_compressed, kind=kind), 1e-2)
    engines["translation"] = Engine(_run_translation, 1e-2)
    for kind in ("cnn", "lcn", "fcn"):
        engines[f"classification, {kind}"] = Engine(partial(_run_classifier, kind=kind), 1e-3)
    for kind in ("matrix", "CP", "hierarchical"):
        for optimizer, rate in (("group_rmsprop", 0.01), ("sgd", 0.3)):
            run = partial(_run_descent, kind=kind, optimizer=optimizer, learning_rate=rate)
            engines[f"descent, {kind}, {optimizer}"] = Engine(run, 1e-3)
            exact = partial(run, precision="float64")
            engines[f"descent, {kind}, {optimizer}, float64"] = Engine(exact, 1e-9)
    return engines


def recorded(device: torch.device) -> Iterator[Found]:
    """Yield, for each descent, how far recorded steps are from the same taken one by one; they must be equal."""
    for kind in ("matrix", "CP", "hierarchical"):
        for optimizer, momentum in (("group_rmsprop", 0.0), ("sgd", 0.9)):
            ends = []
            for records in (False, True):
                loop = fitting(device, kind, optimizer=optimizer, momentum=momentum, learning_rate=0.01)
                loop.records = loop.records and records
                while not loop.finished:
                    loop.advance()
                ends.append({"parameters": loop.parameters.cpu().numpy(), "loss": np.array(loop.history["train_loss"])})
            yield Found(f"descent, {kind}, {optimizer}: recorded beside one by one", *difference(*ends), 0.0)


def resumed_kinds() -> dict[str, Callable[[torch.device, str, float], Numbers]]:
    """Return trainings that save themselves: given a device, a checkpoint and the seconds each epoch is to last."""
    return {"network, regularised": _resumable_network, "descent, hierarchical": _resumable_descent}


def _resumable_network(device: torch.device, checkpoint: str, seconds: float) -> Numbers:
    loop = network(device, coefficient=1.0, epochs=8)
    loop.summary = _slow(loop.summary, seconds)
    resumable.run(
        loop, epochs=8, checkpoint=checkpoint, settings={"kind": "network"}, by_time=False, longer=resumable.NO_LONGER
    )
    return networks.history(loop) | {"weights": weights_of(loop.moving.network)}


def _resumable_descent(device: torch.device, checkpoint: str, seconds: float) -> Numbers:
    loop = fitting(device, "hierarchical")
    slow = _slow(loop.measure, seconds)
    settings = loop.descent.model_copy(update={"epochs": 400})
    history = descent.descend(
        loop.model,
        loop.observed,
        settings,
        measure=slow,
        stream=STREAM,
        checkpoint=checkpoint,
        settings={"kind": "descent"},
    )
    return dict(history) | {"weights": weights_of(loop.model)}


def _slow(work: Callable, seconds: float) -> Callable:
    """Return `work` with a pause before it, so that there is time to kill it."""

    def slowly(*given: object):
        time.sleep(seconds)
        return work(*given)

    return slowly
