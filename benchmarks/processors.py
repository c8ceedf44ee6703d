"""Results and times of short trainings on this processor, held to a common instruction set and as it comes.

Every engine of the library takes a few steps in processes of their own, one after the other under several sets of
variables (`tacit.processors`); what it computes is reduced to a digest. Equal digests are equal bytes. Run it on two
machines: the digests under `held` should be the same on both, those under `native` need not be.

Times are those of the processor, the least of several rounds, so other work on the machine changes them little.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from comparison import Case, arguments, processor, report
from tacit import processors

VARIABLES = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES",
)  # fmt: skip
"""What is taken from the environment before a level adds its own."""

LEVELS: dict[str, dict[str, str]] = {
    "held": processors.variables(),
    "held, MKL's AVX2": processors.variables() | {"MKL_CBWR": "AVX2"},
    "native": {},
    "lesser": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": f"AVX2 FMA3 {processors.beyond_avx2()}".replace(
            "AVX2 FMA3 X86_V4", "X86_V3 X86_V4"
        ),
    },
}

STREAM = ("benchmark", "processors")


def networks(coefficient: float, *, steps: int = 12) -> Iterator[np.ndarray]:
    """Train the demo network of Pathfinder."""
    import torch

    from tacit import streams
    from tacit.nn import resnets
    from tacit.optim.long_range import draw_distant_patches
    from tacit.settings.networks import LongRangeRegularizer, Network, Training
    from tacit.training.images import LabelledImages
    from tacit.training.networks import fit
    from tacit.training.objectives import LongRangeBinaryCrossEntropy

    random = streams.numpy_generator("benchmark", "processors", "images")
    images = random.integers(0, 256, (32 * steps, 32, 32), dtype=np.uint8)
    labels = random.integers(0, 2, len(images))
    data = LabelledImages.on(torch.device("cpu"), images, labels, mean=[0.5], std=[0.25])
    training = Training(
        optimizer="sgd", learning_rate=0.05, momentum=0.9, weight_decay=0, batch_size=32, epochs=1,
        perfect_epochs=1, precision="float32", channels_last=True, compile=False,
    )  # fmt: skip
    patches = LongRangeRegularizer(patch_size=2, distance=0)
    draw = partial(draw_distant_patches, patches, height=32, width=32)
    kept = []

    def build() -> torch.nn.Module:
        kept.append(resnets.build(Network(name="resnet8", width=16), in_channels=1))
        return kept[0]

    with _checkpoint() as checkpoint:
        history = fit(
            build, data, data, training,
            LongRangeBinaryCrossEntropy(
                coefficient=coefficient, sample_patches=lambda generator: draw(generator=generator), stream=STREAM
            ),
            checkpoint=checkpoint, settings={},
        )  # fmt: skip
    yield from (parameter.detach().numpy() for parameter in kept[0].parameters())
    yield from history.values()


def classification(kind: str, *, images: int = 400) -> Iterator[np.ndarray]:
    """Train the skinny network for ten classes: convolutional (cnn), locally or fully connected (lcn, fcn)."""
    import torch

    from tacit import streams
    from tacit.analysis import margins
    from tacit.nn import convnets, untying
    from tacit.settings.convnets import Architecture
    from tacit.training import resumable
    from tacit.training.batches import Batches
    from tacit.training.evaluation import predict
    from tacit.training.fitting import fit
    from tacit.training.images import LabelledImages

    random = streams.numpy_generator("benchmark", "processors", "classes")
    pixels = random.integers(0, 256, (images, 32, 32), dtype=np.uint8)
    labels = random.integers(0, 10, images)
    data = LabelledImages.on(torch.device("cpu"), pixels, labels, mean=[0.5], std=[0.25])
    torch.manual_seed(0)
    network = convnets.build(Architecture(name="skinny", width=12), side=32, in_channels=1, classes=10)
    convert = {"cnn": lambda network, side: network, "lcn": untying.to_local, "fcn": untying.to_dense}[kind]
    network = convert(network, side=32)

    def measure(current: torch.nn.Module) -> dict[str, float]:
        return margins.performance(predict(current, data), data.labels)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with _checkpoint() as checkpoint:
        trained = fit(
            network, data, optimizer, Batches(images, 20, STREAM, "fixed"), epochs=1, advice="", measure=measure,
            measured=[1], kept=[1], checkpoint=checkpoint, settings={}, longer=resumable.NO_LONGER,
        )  # fmt: skip
    yield from (parameter.detach().numpy() for parameter in network.parameters())
    yield from (trained.measures | trained.steps).values()


def descent(name: str, *, epochs: int) -> Iterator[np.ndarray]:
    """Fit a factorization of the published size, evaluated every 25 steps."""
    import torch

    from tacit.analysis import factorizations as measures
    from tacit.nn import factorizations as nn
    from tacit.settings.factorizations import Descent
    from tacit.settings.mode_trees import mode_tree
    from tacit.training.descent import descend
    from tacit.training.observations import Entries, Loss

    if name == "matrix":
        model, std, measure = nn.MatrixFactorization(64, 64, 3), 0.05, partial(measures.measure_matrix, tracked=10)
    elif name == "tensor":
        model, std, measure = nn.CPFactorization((16,) * 3, 256), 0.05, partial(measures.measure_cp, tracked=10)
    else:
        model, std = nn.HierarchicalTensorFactorization((8,) * 4, mode_tree(4, 2), (512, 512)), 0.03
        measure = partial(measures.measure_hierarchical, tracked=15, extra=[(0, 2)])
    random = np.random.default_rng(0)
    nn.set_normal(model, random, std=std)
    indices = torch.from_numpy(random.permutation(4096)[:2048])
    values = torch.from_numpy(random.standard_normal(2048).astype(np.float32))
    observed = Entries(model.shape, indices, values, Loss("l2"))
    settings = Descent(epochs=epochs, evaluate_every=25)
    with _checkpoint() as checkpoint:
        history = descend(model, observed, settings, measure=measure, stream=STREAM, checkpoint=checkpoint, settings={})
    yield from (parameter.detach().numpy() for parameter in model.parameters())
    yield from history.values()


def compiled_descent(*, epochs: int = 1_000_000) -> Iterator[np.ndarray]:
    """Fit 2 x 2 and 3 x 3 matrices by the compiled descent."""
    from tacit.training.matrix_descent import Observed, descend

    random = np.random.default_rng(0)
    for size, share in ((2, 1.0), (3, 0.1)):
        target, mask = random.standard_normal((size, size)), 1.0 - np.eye(size)
        observed = Observed(target, mask, np.zeros((0, size, size)), np.zeros(0))
        for kind in (np.float32, np.float64):
            weights = (0.3 * random.standard_normal((3, size, size))).astype(kind)
            path = descend(
                weights, observed, learning_rate=3e-3, epochs=int(share * epochs), evaluate_every=50,
                tolerance=0.0, patience=10,
            )  # fmt: skip
            yield from (weights, path.epochs, path.losses, path.ends)


def measures(*, repeats: int = 20) -> Iterator[np.ndarray]:
    """Measure matrices with NumPy: singular values, products, elementary functions, sums."""
    from tacit.analysis import matrix_norms

    random = np.random.default_rng(0)
    for size, count in ((2, 4000), (3, 1000), (64, 10)):
        ends = random.standard_normal((count, size, size))
        for _ in range(repeats):
            found = matrix_norms.measure(ends, schatten=(0.5,), precision=1e-7)
        yield from found.values()
    for kind in (np.float32, np.float64):
        values = np.abs(random.standard_normal(10_001)).astype(kind) + kind(0.01)
        functions = (np.exp, np.log, np.sin, np.cos, np.tanh, np.sqrt, np.arctan, np.expm1, np.log1p, np.cbrt)
        yield from (function(values) for function in functions)
        yield values ** kind(0.37)
        yield from (np.array(found) for found in (values.sum(), values.mean(), values.std(), values @ values))
        square = values[:10_000].reshape(100, 100)
        yield from (square @ square, np.einsum("ij,kj->ik", square, square), np.linalg.norm(square, axis=0))
        yield from (np.linalg.svd(square, compute_uv=False), np.linalg.qr(square)[1])


def draws() -> Iterator[np.ndarray]:
    """Draw random numbers with NumPy and torch."""
    import torch

    from tacit import streams

    random = streams.numpy_generator("benchmark", "processors", "draws")
    yield from (random.standard_normal(10_001), random.integers(0, 1000, 1000), random.permutation(1000))
    generator = streams.torch_generator("benchmark", "processors", "draws")
    for kind in (torch.float32, torch.float64):
        # Above and below the size from which torch draws normal numbers in another way.
        yield from (torch.randn(count, generator=generator, dtype=kind).numpy() for count in (5, 10_001))
        yield torch.empty(50, 50, dtype=kind).uniform_(-1, 1, generator=generator).numpy()
        yield torch.bernoulli(torch.full((10_001,), 0.5, dtype=kind), generator=generator).numpy()


def rendering(*, images: int = 40) -> Iterator[np.ndarray]:
    """Draw and resize images of Pathfinder by the compiled renderer, which takes a minute to compile once."""
    from PIL import Image

    from tacit.data.pathfinder import Renderer
    from tacit.settings.pathfinder import Rendering

    settings = Rendering(
        window=(64, 64), padding=6, segment_length=4, margins=(2,), seed_distance=10, distractor_segments=6
    )
    drawn = Renderer(settings, 3).render(0, 0, images, advance=lambda count: None)
    yield from drawn
    for image in drawn.images:
        yield np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))


ENGINES: dict[str, Callable[[], Iterable[np.ndarray]]] = {
    "network": partial(networks, 0.0),
    "network, regularised": partial(networks, 1.0, steps=6),
    "cnn": partial(classification, "cnn"),
    "lcn": partial(classification, "lcn"),
    "fcn": partial(classification, "fcn", images=40),
    "descent, matrix": partial(descent, "matrix", epochs=1000),
    "descent, tensor": partial(descent, "tensor", epochs=400),
    "descent, tree": partial(descent, "tree", epochs=50),
    "compiled descent": compiled_descent,
    "measures": measures,
    "draws": draws,
    "rendering": rendering,
}


@contextlib.contextmanager
def _checkpoint() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "checkpoint.pt")


def operations() -> dict[str, Callable[[], Any]]:
    """Return single operations of torch by name, to find which one differs between processors."""
    import torch
    from torch.nn import functional

    def draw(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
        # Whole numbers and one division, so that all operations start from the same numbers.
        whole = np.random.default_rng(shape).integers(-3000, 3001, shape)
        return torch.from_numpy(whole / 997).to(kind)

    def convolved(inputs: int, outputs: int, kernel: int, stride: int, side: int) -> list[torch.Tensor]:
        images = draw(32, inputs, side, side).to(memory_format=torch.channels_last).requires_grad_()
        weight = draw(outputs, inputs, kernel, kernel).to(memory_format=torch.channels_last).requires_grad_()
        maps = functional.conv2d(images, weight, stride=stride, padding=kernel // 2)
        return [maps, *torch.autograd.grad(maps.square().sum(), [images, weight])]

    def normalised() -> list[torch.Tensor]:
        images = draw(32, 16, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
        weight = draw(16).requires_grad_()
        maps = functional.batch_norm(images, None, None, weight, draw(16), training=True)
        return [maps, *torch.autograd.grad(maps.pow(3).sum(), [images, weight])]

    found: dict[str, Callable[[], Any]] = {"batch norm": normalised}
    for setting in ((1, 16, 3, 2, 32), (16, 16, 3, 1, 16), (16, 32, 3, 2, 16), (32, 64, 3, 2, 8), (16, 32, 1, 2, 16)):
        found["conv {}-{}, {} px, stride {}, {} px".format(*setting)] = partial(convolved, *setting)
    for rows, inner, columns in ((64, 64, 64), (64, 512, 512), (512, 64, 64), (32, 64, 1), (20, 3072, 120)):
        for kind in (torch.float32, torch.float64):
            left, right = draw(rows, inner, kind=kind), draw(inner, columns, kind=kind)
            name = f"mm {rows} {inner} {columns}, {str(kind)[6:]}"
            found[name] = partial(torch.mm, left, right)
            found[f"{name}, T"] = partial(torch.mm, right.T, left.T)
            found[f"{name}, TN"] = partial(torch.mm, left.T.contiguous().T, right)
    for kind in (torch.float32, torch.float64):
        values, square = draw(10_001, kind=kind), draw(64, 64, kind=kind)
        found[f"svd, {str(kind)[6:]}"] = partial(torch.linalg.svdvals, square)
        found[f"dot, {str(kind)[6:]}"] = partial(torch.dot, values, values)
        found[f"mv, {str(kind)[6:]}"] = partial(torch.mv, square, square[0].clone())
        found[f"bmm, {str(kind)[6:]}"] = partial(torch.bmm, draw(30, 20, 40, kind=kind), draw(30, 40, 16, kind=kind))
        found[f"sum, {str(kind)[6:]}"] = lambda values=values, square=square: [
            values.sum(),
            square.sum(0),
            square.sum(1),
        ]
        found[f"norm, {str(kind)[6:]}"] = lambda values=values, square=square: [values.norm(), square.norm(dim=0)]
        for name in ("exp", "tanh", "sigmoid", "sin", "expm1"):
            found[f"{name}, {str(kind)[6:]}"] = partial(getattr(torch, name), values)
        for name in ("log", "sqrt", "rsqrt", "log1p"):
            found[f"{name}, {str(kind)[6:]}"] = partial(getattr(torch, name), values.abs() + 1)
        found[f"log_softmax, {str(kind)[6:]}"] = partial(torch.log_softmax, square, 1)
        found[f"softplus, {str(kind)[6:]}"] = partial(functional.softplus, values)
    for kind in (np.float32, np.float64):
        values, square = draw(10_001).numpy().astype(kind), draw(64, 64).numpy().astype(kind)
        name = f"numpy {np.dtype(kind)}"
        for function in (np.exp, np.log, np.sqrt, np.sin, np.cos, np.tanh, np.log1p, np.arctan):
            found[f"{name}, {function.__name__}"] = partial(function, np.abs(values) + kind(1))
        found[f"{name}, power"] = lambda values=values, kind=kind: np.abs(values) ** kind(0.37)
        found[f"{name}, sum"] = lambda values=values, square=square: [values.sum(), square.sum(0), square.sum(1)]
        found[f"{name}, dot"] = partial(np.dot, values, values)
        found[f"{name}, mv"] = partial(np.matmul, square, square[0].copy())
        found[f"{name}, svd"] = partial(np.linalg.svd, square, compute_uv=False)
        found[f"{name}, qr"] = lambda square=square: list(np.linalg.qr(square))
        for rows, inner, columns in ((64, 64, 64), (64, 512, 512), (20, 3072, 120)):
            left, right = (draw(*shape).numpy().astype(kind) for shape in ((rows, inner), (inner, columns)))
            found[f"{name}, mm {rows} {inner} {columns}"] = partial(np.matmul, left, right)
            found[f"{name}, mm {rows} {inner} {columns}, T"] = partial(np.matmul, right.T, left.T)
    return found


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return a short name of exactly these arrays."""
    state = hashlib.blake2b(digest_size=6)
    for array in arrays:
        array = np.asarray(array)
        state.update(f"{array.dtype.str} {array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def work(names: Iterable[str], repeats: int) -> None:
    """Run engines in this process and print a line of JSON for each; what cannot be imported is said."""
    for name in names:
        try:
            found = {digest(ENGINES[name]())}
        except ModuleNotFoundError as error:
            print(json.dumps({"engine": name, "missing": error.name}), flush=True)
            continue
        seconds = []
        for _ in range(repeats):
            before = time.process_time()
            found.add(digest(ENGINES[name]()))
            seconds.append(time.process_time() - before)
        print(json.dumps({"engine": name, "digests": sorted(found), "seconds": min(seconds, default=0.0)}), flush=True)


def work_on_operations() -> None:
    """Print one line of JSON with the digests of single operations."""
    found = {}
    for name, operation in operations().items():
        results = operation()
        results = results if isinstance(results, list) else [results]
        found[name] = digest(
            np.asarray(getattr(result, "detach", lambda result=result: result)()) for result in results
        )[:6]
    print(json.dumps({"operations": found}), flush=True)


class Level:
    """What was found under one set of variables."""

    def __init__(self, name: str, added: dict[str, str]):
        self.name = name
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.environment = kept | {"OMP_NUM_THREADS": "1"} | added
        self.digests: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self.missing: dict[str, str] = {}
        self.operations: dict[str, str] = {}

    def run(self, *given: str) -> None:
        """Run engines in a process of its own, and add what they give."""
        command = [sys.executable, __file__, *given]
        ended = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
        for row in map(json.loads, filter(None, ended.stdout.splitlines())):
            if "operations" in row:
                self.operations = row["operations"]
            elif "missing" in row:
                self.missing[row["engine"]] = row["missing"]
            else:
                name = row["engine"]
                self.digests.setdefault(name, set()).update(row["digests"])
                self.seconds[name] = min(row["seconds"], self.seconds.get(name, row["seconds"]))


def compare(levels: list[Level], names: list[str], rounds: int) -> Iterator[Case]:
    """Run all levels in turn, so that each has the same neighbours, and compare them."""
    for _ in range(rounds):
        for level in levels:
            level.run("--work", *names)
    held, native = levels[0], next(level for level in levels if level.name == "native")
    for name in names:
        if name in held.missing:
            print(f"{name}: left out, as there is no {held.missing[name]} here")
            continue
        for level in levels:
            assert len(level.digests[name]) == 1, f"{name}, {level.name}: runs on one processor differ"
        found = {level.name: next(iter(level.digests[name])) for level in levels}
        ours, theirs = held.seconds[name], native.seconds[name]
        other = ", ".join(f"{level.name} {level.seconds[name]:.3f} s" for level in levels[1:] if level is not native)
        agreement = "digests " + ", ".join(f"{level} {value}" for level, value in found.items())
        yield Case(name, ours, theirs, "s", theirs / max(ours, 1e-9), agreement, other)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each level, of which the quickest counts")
    parser.add_argument("--rendering", action="store_true", help="the renderer too, which takes a minute to compile")
    parser.add_argument("--operations", action="store_true", help="also digests of single operations, level by level")
    parser.add_argument("--engines", nargs="*", default=[*ENGINES], choices=[*ENGINES], metavar="ENGINE")
    parser.add_argument("--work", nargs="+", metavar="ENGINE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work_on_operations() if given.work == ["operations"] else work(given.work, 2)
        return
    levels = [Level(name, added) for name, added in LEVELS.items()]
    print(f"{processor()}; {processors.describe()}", flush=True)
    if given.operations:
        for level in levels:
            level.run("--work", "operations")
        for name in levels[0].operations:
            print(f"{name}: " + ", ".join(level.operations[name] for level in levels))
    names = [name for name in given.engines if name != "rendering" or given.rendering]
    report(compare(levels, names, given.rounds), device=f"{processor()}, 1 thread", as_json=given.json)


if __name__ == "__main__":
    main()
