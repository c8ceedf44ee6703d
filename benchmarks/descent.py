"""Steps per second of full-batch descent on factorizations, beside a plain reference.

The reference does what the published code does: dense one-hot products for matrices, a contraction for every
observation of a tensor, gradients by autograd. Both start from the same parameters, fit the same 2048 entries (or
half of fewer) in float32 and are evaluated every 25 steps; their end tensors after 50 steps are found to agree before
they are timed. A note gives the floating-point operations that a step needs and what share of this core's rate in large
matrix products they reach. Matrices of 2 x 2 have a compiled descent of their own, always on the CPU, timed with all
its measures beside a plain loop over autograd.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from comparison import Case, arguments, best_time, processor, report
from plain import factorizations as plain
from tacit.analysis import factorizations as measures
from tacit.analysis import matrix_norms
from tacit.nn import factorizations as nn
from tacit.nn.deep_matrices import pad
from tacit.settings.factorizations import Descent
from tacit.settings.mode_trees import mode_tree
from tacit.training.descent import Loop
from tacit.training.matrix_descent import Observed, descend
from tacit.training.observations import Entries, Loss

EVERY = 25
OBSERVED = 2048


class Setting:
    """One factorization at its published size, and what both descents start from."""

    def __init__(
        self,
        name: str,
        model: nn.Factorization,
        std: float,
        flops: float,
        measure: Callable[..., Any],
        reference: Callable[[nn.Factorization], torch.nn.Module],
        evaluate: Callable[[Any, int], object],
    ):
        self.name, self.model, self.flops = name, model, flops
        self.measure, self.reference, self.evaluate = measure, reference, evaluate
        nn.set_normal(model, np.random.default_rng(0), std=std)
        self.start = [parameter.detach().clone() for parameter in model.parameters()]
        random = torch.Generator().manual_seed(0)
        target = torch.randn(model.shape, generator=random)
        self.indices = torch.randperm(target.numel(), generator=random)[: min(OBSERVED, target.numel() // 2)]
        self.values = target.flatten()[self.indices]
        multi = torch.stack(torch.unravel_index(self.indices, model.shape), 1)
        one_hot = plain.one_hot_matrices if len(model.shape) == 2 else plain.one_hot
        self.inputs = one_hot(multi, model.shape)

    def loop(self, device: torch.device) -> Loop:
        """Return the descent at its start."""
        with torch.no_grad():
            for parameter, start in zip(self.model.parameters(), self.start, strict=True):
                parameter.data = start.clone().to(device)
        model = self.model.to(device)
        observed = Entries(model.shape, self.indices.to(device), self.values.to(device), Loss("l2"))
        return Loop(model, observed, Descent(evaluate_every=EVERY), measure=self.measure, stream=("benchmark",))

    def plain(self, steps: int) -> torch.Tensor:
        """Take `steps` steps with the reference; return its end tensor."""
        with torch.no_grad():
            for parameter, start in zip(self.model.parameters(), self.start, strict=True):
                parameter.data = start.clone()
        model = self.reference(self.model.cpu())
        optimizer = plain.GroupRMSprop(model.parameters())
        plain.descend(
            model, self.inputs, self.values, steps=steps, optimizer=optimizer, evaluate=self.evaluate, every=EVERY
        )
        return model.end().detach()


def matrix() -> Setting:
    """Matrix factorization of 64 x 64 and depth 3."""
    return Setting(
        "matrix factorization 64 x 64, depth 3",
        nn.MatrixFactorization(64, 64, 3),
        1e-3,
        # Two products forward, and for each two backward.
        6 * 2 * 64**3,
        partial(measures.measure_matrix, tracked=10),
        lambda model: plain.MatrixFactorization(list(model.factors)),
        lambda model, step: torch.linalg.svdvals(model.end()),
    )


def tensor(size: int, order: int) -> Setting:
    """CP factorization of a tensor of equal modes, with as many components as any such tensor needs."""
    entries, components = size**order, size ** (order - 1)
    # The two sides that the modes are divided in; products with that of the longer rows are made and divided again.
    rows = size ** (order // 2 + order % 2) * components
    return Setting(
        f"CP factorization {size}^{order}, {components} components",
        nn.CPFactorization((size,) * order, components),
        1e-3,
        3 * 2 * entries * components + (5 if order == 3 else 10) * rows,
        partial(measures.measure_cp, tracked=10),
        lambda model: plain.CPFactorization(model.factors),
        lambda model, step: [factor.norm(dim=0) for factor in model.factors] + [model.end().norm()],
    )


def hierarchical() -> Setting:
    """Hierarchical factorization of 8 x 8 x 8 x 8 with widths 512, 512."""
    width = 512

    def evaluate(model: Any, step: int) -> None:
        end = model.end()
        for modes in [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 2)]:
            torch.linalg.svdvals(nn.matricize(end, modes))

    return Setting(
        "hierarchical factorization 8^4, widths 512, 512",
        nn.HierarchicalTensorFactorization((8,) * 4, mode_tree(4, 2), (width, width)),
        1e-2,
        # At each of two nodes three products of 64 x 512 and 512 x 512; at the root three of 64 x 512 and 512 x 64.
        2 * 3 * 2 * 64 * width**2 + 3 * 2 * 64**2 * width,
        partial(measures.measure_hierarchical, tracked=15, extra=[(0, 2)]),
        lambda model: plain.HierarchicalFactorization([list(level) for level in model.matrices], model.output_vector),
        evaluate,
    )


def compare(setting: Setting, steps: int, plain_steps: int, device: torch.device, peak: float) -> Case:
    """Find both descents to agree, then time them."""
    loop = setting.loop(device)
    loop.advance()
    loop.advance()
    found = loop.model.end_tensor().detach().cpu()
    expected = setting.plain(2 * EVERY)
    difference = ((found - expected).norm() / expected.norm()).item()
    assert difference < 1e-3, f"end tensors differ by {difference:.2g}"
    loop = setting.loop(device)

    def ours() -> None:
        for _ in range(steps // EVERY):
            loop.advance()
        if device.type == "cuda":
            torch.cuda.synchronize()

    ours()
    fast = steps / best_time(ours)
    began = time.perf_counter()
    setting.plain(plain_steps)
    slow = plain_steps / (time.perf_counter() - began)
    note = (
        f"{setting.flops / 1e6:.3g} MFLOP a step, {100 * fast * setting.flops / peak:.0f} % of {peak / 1e9:.0f} GFLOP/s"
    )
    agreement = f"end tensors after {2 * EVERY} steps within {difference:.1e}"
    return Case(setting.name, fast, slow, "steps/s", fast / slow, agreement, note)


def compare_small(depth: int, share: float) -> Case:
    """Compare the compiled descent of a deep matrix factorization of 2 x 2, on the CPU, with a plain loop."""
    target, mask = np.array([[0.0, 1], [1, 0]]), np.array([[0.0, 1], [1, 1]])
    observed = Observed(target, mask, np.zeros((0, 2, 2)), np.zeros(0))
    factors = [1e-2 ** (1 / depth) * np.eye(2) + 1e-3 * number for number in range(depth)]

    def ours(epochs: int, dtype: type) -> np.ndarray:
        weights = pad(factors, dtype)
        path = descend(
            weights, observed, learning_rate=3e-3, epochs=epochs, evaluate_every=50, tolerance=0.0, patience=10
        )
        matrix_norms.measure(path.ends, schatten=(0.5,), precision=1e-7)
        return path.ends[-1]

    def theirs(steps: int, dtype: torch.dtype) -> torch.Tensor:
        weights = [torch.tensor(factor, dtype=dtype, requires_grad=True) for factor in factors]
        optimizer = torch.optim.SGD(weights, lr=3e-3)
        entries, values = torch.tensor(mask, dtype=dtype), torch.tensor(target, dtype=dtype)
        for step in range(steps):
            loss = (entries * (torch.linalg.multi_dot(weights) - values)).square().sum() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 50 == 49:
                torch.linalg.svdvals(torch.linalg.multi_dot(weights).detach())
        return torch.linalg.multi_dot(weights).detach()

    expected, found = theirs(1000, torch.float64).numpy(), ours(1000, np.float64)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < 1e-12, f"end matrices differ by {difference:.2g}"
    epochs, steps = int(20_000_000 * share) // 50 * 50, 1000
    fast = epochs / best_time(lambda: ours(epochs, np.float32))
    slow = steps / best_time(lambda: theirs(steps, torch.float32), repeats=1)
    agreement = f"end matrices after 1000 steps in float64 within {difference:.1e}"
    return Case(f"matrix factorization 2 x 2, depth {depth}", fast, slow, "steps/s", fast / slow, agreement)


def peak_rate(device: torch.device) -> float:
    """Return the floating-point operations a second of large matrix products."""
    size = 1024 if device.type == "cpu" else 8192
    left, right, out = (torch.randn(size, size, device=device) for _ in range(3))

    def work() -> None:
        for _ in range(10):
            torch.mm(left, right, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()

    work()
    return 10 * 2 * size**3 / best_time(work)


def cases(device: torch.device, share: float) -> Iterator[Case]:
    """Yield the three factorizations; `share` of the usual number of steps."""
    peak = peak_rate(device)
    settings = [
        (matrix, 10_000, 200),
        (partial(tensor, 16, 3), 5_000, 200),
        (partial(tensor, 8, 3), 10_000, 300),
        (partial(tensor, 8, 4), 2_500, 100),
        (hierarchical, 500, 50),
    ]
    for make, steps, plain_steps in settings:
        counts = (max(EVERY, int(share * count) // EVERY * EVERY) for count in (steps, plain_steps))
        yield compare(make(), *counts, device, peak)
    for depth in (2, 3, 4):
        yield compare_small(depth, share)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU; jobs of the workflow have one")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of steps")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, {given.threads} thread(s)"
    report(cases(device, given.share), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
