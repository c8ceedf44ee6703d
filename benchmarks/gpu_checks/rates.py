"""Steps per second of the trainings at paper size on a GPU, in the precisions there are, and the memory they take.

Trainings are those of `network_step.py`, `convnet_step.py`, `factorized_step.py`, `local_layers.py`, `descent.py` and
`image_pairs.py`, and compressed networks beside dense ones; where there is a plain loop beside them it is timed too, in
float32, after both were found to agree.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

import convnet_step
import depth_limit
import descent as descents
import factorized_step
import image_pairs
import local_layers
import network_step
from comparison import Case, best_time
from gpu_checks import engines
from tacit import streams
from tacit.nn import resnets
from tacit.nn.transformer import Shape
from tacit.optim.long_range import Patch, draw_order
from tacit.settings import compressed
from tacit.settings.networks import Network
from tacit.settings.same_class import Canvas
from tacit.studies import compressed as study
from tacit.training import engine, networks, optimizers
from tacit.training.images import Augmented, Bytes, ImagePairs
from tacit.training.objectives import CrossEntropy, LongRangeBinaryCrossEntropy

PRECISIONS = ("float32", "tf32", "bfloat16")
PUBLISHED = Network(name="resnet18")
PATHFINDER, SAME_CLASS = "resnet18, 150 px, batch 64", "resnet18, canvas of 224 px, batch 64"
UNTIED = "skinny {}, width 64, batch 250"
BATCH = 64


def measured(work: Callable[[], None], steps: int) -> tuple[float, float]:
    """Return milliseconds a step of `work`, which takes `steps`, and the GiB that were allocated at most."""
    work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()

    def timed() -> None:
        work()
        torch.cuda.synchronize()

    milliseconds = 1e3 * best_time(timed) / steps
    return milliseconds, torch.cuda.max_memory_allocated() / 2**30


def case(name: str, ours: float, memory: float, reference: float, agreement: str) -> Case:
    """Return a case in milliseconds a step, with steps a second and memory in its note."""
    note = f"{1e3 / ours:.4g} steps/s, peak memory {memory:.2f} GiB"
    return Case(name, ours, reference, "ms/step", reference / ours, agreement, note)


def deep(device: torch.device) -> Iterator[Case]:
    """Yield steps of residual networks of thousands of layers, beside a plain loop with autograd on the same card."""
    peak = descents.peak_rate(device)
    for depth, number in ((200, 12_500), (2000, 12_500)):
        yield depth_limit.compare(depth, number, "tanh", threads=1, peak=peak, device=device)
        _free()


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def residual(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield the residual network of Pathfinder, plain and regularised, beside the plain loop in float32."""
    for coefficient in (0.0, 1.0):
        reference, agreement = 0.0, ""
        for precision in PRECISIONS:
            settings = engines.training(precision=precision)
            setting = network_step.Setting(PUBLISHED, 150, BATCH, coefficient, device, settings)
            if precision == "float32":
                ours, theirs = setting.ours(2), setting.plain(2)
                apart = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
                assert apart < 2e-3, f"losses differ by {apart:.2g}: {ours}, {theirs}"
                reference = 1e3 * best_time(partial(_synchronised, partial(setting.plain, 6)), repeats=2) / 6
                agreement = f"losses of 2 steps of a plain loop within {apart:.1e}"
            yield _of_loop(setting, steps, PATHFINDER, coefficient, precision, reference, agreement)
            _free()


def compiled(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield the residual network of Pathfinder compiled, as plain training alone can be, beside the same as it is."""
    for precision in ("float32", "bfloat16"):
        settings = engines.training(precision=precision)
        setting = network_step.Setting(PUBLISHED, 150, BATCH, 0.0, device, settings)
        before, _ = measured(_steps_of(setting.engine(), setting, steps), steps)
        expected = setting.ours(2)
        setting.training = setting.training.model_copy(update={"compile": True})
        found = setting.ours(2)
        apart = max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
        assert apart < (2e-3 if precision == "float32" else 5e-2), f"losses differ by {apart:.2g}"
        agreement = f"losses of 2 steps as they are without within {apart:.1e}"
        yield _of_loop(setting, steps, PATHFINDER, 0.0, f"{precision}, compiled", before, agreement)
        _free()


def _synchronised(work: Callable[[], object]) -> None:
    work()
    torch.cuda.synchronize()


def _of_loop(setting, steps: int, name: str, coefficient: float, how: str, reference: float, agreement: str) -> Case:
    kind = "regularised" if coefficient else "plain"
    ours, memory = measured(_steps_of(setting.engine(), setting, steps), steps)
    return case(f"{name}, {kind}, {how}", ours, memory, reference, agreement)


def _steps_of(training: engine.Engine, setting, steps: int) -> Callable[[], None]:
    def work() -> None:
        for step in range(steps):
            number = step % len(setting.batches)
            training.moving.take(number, setting.batches[number])

    return work


class SameClass:
    """The published training of Is Same Class on pictures of noise, with what `_of_loop` needs."""

    def __init__(self, device: torch.device, coefficient: float, precision: str):
        self.device, self.coefficient, self.training = device, coefficient, engines.training(precision=precision)
        random, side = np.random.default_rng(0), 32
        corners = Canvas(height=224, width=224).place(side, 80)
        pixels = Bytes.on(
            device, random.integers(0, 256, (1000, 3, side, side), dtype=np.uint8), image_pairs.MEAN, image_pairs.STD
        )
        indices, labels = random.integers(0, 1000, (8 * BATCH, 2)), random.integers(0, 2, 8 * BATCH)
        self.data = ImagePairs(pixels, indices, labels, canvas=(224, 224), corners=corners)
        self.batches = torch.arange(len(labels), device=device).split(BATCH)
        self.patches = tuple(Patch(*corner, side, side) for corner in corners)

    def engine(self) -> engine.Engine:
        """Return the training at its start, about to take its first steps."""
        torch.manual_seed(streams.torch_seed(*engines.STREAM))
        model = resnets.build(PUBLISHED, in_channels=3).to(self.device)
        training = networks.assemble(
            model,
            self.data,
            self.data,
            self.training,
            LongRangeBinaryCrossEntropy(
                coefficient=self.coefficient,
                sample_patches=partial(draw_order, self.patches),
                stream=engines.STREAM,
            ),
        )
        training.moving.begin(0, len(self.batches))
        return training


def same_class(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield the residual network of Is Same Class, beside itself in float32."""
    for coefficient in (0.0, 1.0):
        reference = 0.0
        for precision in PRECISIONS:
            setting = SameClass(device, coefficient, precision)
            found = _of_loop(setting, steps, SAME_CLASS, coefficient, precision, reference or np.nan, "")
            reference = reference or found.ours
            note = "canvases equal those of a data loader: image_pairs.py; beside itself in float32"
            kind = "regularised" if coefficient else "plain"
            memory = torch.cuda.max_memory_allocated() / 2**30
            yield case(f"{SAME_CLASS}, {kind}, {precision}", found.ours, memory, reference, note)
            _free()


def untied(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield the skinny networks at their published size; the locally connected one beside the published formula."""
    agreement = local_layers.agreement(16)
    published = local_layers.in_a_process("broadcast", 64, 10, 3, torch.get_num_threads(), "cuda")
    formula = f"published formula in float32, batch of 10, times 25 in time: {agreement}"
    data = engines.images(device, count=1000, channels=3, classes=10, seed=0)
    for kind in ("cnn", "lcn", "fcn"):
        reference = 25e3 * published.seconds if kind == "lcn" else 0.0
        for precision in PRECISIONS:
            ours, memory = _of_classifier(kind, precision, data, steps)
            reference = reference or ours
            said = formula if kind == "lcn" else f"all kinds: {agreement}; beside itself in float32"
            yield case(f"{UNTIED.format(kind)}, {precision}", ours, memory, reference, said)
            _free()


def _of_classifier(kind: str, precision: str, data, steps: int) -> tuple[float, float]:
    model = engines.classifier(kind, 64).to(data.labels.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return _of_steps(engine.Minimize(model, data, CrossEntropy(), optimizer, precision=precision), data, 250, steps)


def _of_steps(stepping: engine.Minimize, data, batch_size: int, steps: int) -> tuple[float, float]:
    """Return milliseconds a step and GiB of a training that goes through its batches again and again."""
    batches = torch.arange(len(data.labels), device=data.labels.device).split(batch_size)
    stepping.begin(0, len(batches))

    def work() -> None:
        for step in range(steps):
            stepping.take(step % len(batches), batches[step % len(batches)])

    return measured(work, steps)


def convolutional(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield residual networks of 56 layers, scaled by depth and with factors of low and of high rank, beside loops."""
    yield convnet_step.Setting(56, width=16, batch_size=128, steps=steps, precision="float32", device=device).compare()
    for scale in (0.111, 9.0):
        _free()
        yield factorized_step.Setting(56, rank_scale=scale, batch_size=128, steps=steps, device=device).compare()
    _free()


COMPRESSED = {
    ("vgg", 19, 64): (compressed.Variant("low_rank", 0.1, "spectral", "frobenius"),),
    ("resnet", 32, 64): (compressed.Variant("low_rank", 0.1, "spectral", "frobenius"),),
    ("wide_resnet", 28, 10): (
        compressed.Variant("low_rank", 0.06667, "spectral", "frobenius"),
        compressed.Variant("tensor_train", 0.705, "spectral", "frobenius"),
        compressed.Variant("tucker", 0.68, "spectral", "frobenius"),
    ),
}
"""Networks of the comparisons of compressed ones, and what is timed of each beside the dense one."""


def compressed_case(network: str, method: str) -> str:
    """Return the name of a case."""
    return f"{network}, {method}, 32 px, batch 128"


def compressed_networks(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield networks of the comparisons of compressed ones at their published size, beside the dense ones."""
    data = engines.images(device, count=8 * 128, channels=3, classes=10, seed=0)
    for named, variants in COMPRESSED.items():
        reference = 0.0
        for variant in (compressed.DENSE, *variants):
            ours, memory = _of_compressed(study.Named(*named), variant, data, steps)
            reference = reference or ours
            yield case(compressed_case(named[0], variant.method), ours, memory, reference, "beside the dense network")
            _free()


def _of_compressed(named: study.Named, variant: compressed.Variant, data, steps: int) -> tuple[float, float]:
    plain = {"epochs": 200, "batch_size": 128, "flips": True, "cutout": 16}
    settings = compressed.RunSettings.from_plain(
        {"images": {"source": "cifar10"}, "coefficient": 5e-4, "training": plain}
    )
    start = study.build(settings, variant, named, seed=0, device=data.labels.device)
    plan = study.plan(settings, variant, named, start)
    optimizer = optimizers.optimizer(plan.groups, "sgd", learning_rate=0.01, momentum=0.9)
    augmented = Augmented(data, padding=4, flips=True, cutout=16, stream=engines.STREAM)
    decays = [plan.frobenius.add_gradients] if plan.frobenius.terms else []
    stepping = engine.Minimize(start.network, augmented, CrossEntropy(), optimizer, decays=decays)
    return _of_steps(stepping, data, 128, steps)


TRANSLATION = "transformer_small, rank scale {:g}, 4,000 tokens"
TOKENS, LONGEST = 20_000, 50
"""Entries of each dictionary, and tokens of a sentence, about those of IWSLT'14."""


def translation(device: torch.device, steps: int) -> Iterator[Case]:
    """Yield steps of the published Transformer, compressed, with all that it is trained by."""
    for scale in (0.5, 0.25):
        model = engines.transformer(device, TOKENS, Shape(), scale)
        pairs = engines.sentences(steps * 160, longest=LONGEST, tokens=TOKENS)
        step, batches = engines.translation_part(device, model, pairs, most_tokens=4000, updates=steps)
        groups = batches.of_epoch(0, device)
        step.begin(0, len(groups))

        def work(step=step, groups=groups) -> None:
            for number, group in enumerate(groups):
                step.take(number, group)

        ours, memory = measured(work, len(groups))
        yield case(TRANSLATION.format(scale), ours, memory, ours, "alone")
        _free()


def factorizations(device: torch.device, share: float) -> Iterator[Case]:
    """Yield the descents of factorizations at their published size, beside a plain loop on the CPU."""
    peak = descents.peak_rate(device)
    settings = [
        (descents.matrix, 10_000),
        (partial(descents.tensor, 16, 3), 10_000),
        (partial(descents.tensor, 8, 3), 10_000),
        (partial(descents.tensor, 8, 4), 10_000),
        (descents.hierarchical, 10_000),
    ]
    for make, steps in settings:
        torch.cuda.reset_peak_memory_stats()
        counted = max(descents.EVERY, int(share * steps) // descents.EVERY * descents.EVERY)
        found = descents.compare(make(), counted, descents.EVERY, device, peak)
        memory = torch.cuda.max_memory_allocated() / 2**30
        yield case(found.case, 1e3 / found.ours, memory, 1e3 / found.reference, found.agreement)
        _free()


def feeding(device: torch.device) -> Iterator[Case]:
    """Yield pairs of images a second, beside a data loader."""
    yield image_pairs.compare(Canvas(height=224, width=224), 32, 80, device, 40, 0)
