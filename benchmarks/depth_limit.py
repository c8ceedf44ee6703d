"""Steps of gradient descent on residual networks of thousands of layers, beside a plain loop with autograd.

Both agree first, in outputs and gradients. `share` in a note is that of what large float32 matrix products reach here,
for 6 N L d^2 operations a step.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

import numpy as np
import torch

from comparison import Case, arguments, best_time, processor, report
from descent import peak_rate
from tacit.nn.deep_residual import Network, frozen_weights
from tacit.training.depth_kernel import Pass, Samples, pass_through
from tacit.training.depth_torch import TorchPass

DIM, CLASSES = 15, 10


def problem(depth: int, number: int, activation: str) -> tuple[Network, np.ndarray, Samples]:
    """Return a network, weights as smooth along depth as trained ones, and random samples."""
    random = np.random.default_rng(0)
    into, out_of = frozen_weights(DIM, 784, generator=random), frozen_weights(CLASSES, DIM, generator=random)
    network = Network("skip", activation, depth**-0.75, into, out_of)
    bend = np.cos(np.linspace(0, 2, depth))[:, None, None]
    weights = 0.3 * depth**-0.25 * bend * random.normal(size=(1, DIM, DIM))
    samples = Samples(random.normal(size=(number, DIM)), random.integers(0, CLASSES, number), np.zeros((0, CLASSES)))
    return network, weights.astype(np.float32), samples


def plain(network: Network, weights: np.ndarray, samples: Samples, device: torch.device) -> tuple[float, np.ndarray]:
    """Return loss and gradient by autograd, layer after layer."""
    function = getattr(torch.nn.functional, network.activation) if network.activation != "tanh" else torch.tanh
    own = torch.tensor(weights, device=device, requires_grad=True)
    h = torch.tensor(samples.inputs, dtype=torch.float32, device=device)
    for layer in own:
        h = h + network.delta * function(h @ layer.T)
    outputs = h @ torch.tensor(network.output_weights, dtype=torch.float32, device=device).T
    loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(samples.labels, device=device))
    loss.backward()
    return loss.item(), own.grad.cpu().numpy()


def compare(depth: int, number: int, activation: str, *, threads: int, peak: float, device: torch.device) -> Case:
    """Time a step of ours, and of the plain loop."""
    network, weights, samples = problem(depth, number, activation)
    through = TorchPass(network, depth, device, np.float32) if device.type == "cuda" else pass_through

    def ours() -> Pass:
        return through(network, weights, samples, threads=threads)

    def theirs() -> tuple[float, np.ndarray]:
        return plain(network, weights, samples, device)

    found, (loss, gradient) = ours(), theirs()
    difference = float(np.linalg.norm(found.gradient - gradient) / np.linalg.norm(gradient))
    if difference > 1e-4 or abs(found.loss - loss) > 1e-5:
        raise AssertionError(f"gradients differ by {difference:.1e}, losses {found.loss} and {loss}")
    fast = best_time(ours)
    slow = best_time(theirs, repeats=2)
    rate = 6 * number * depth * DIM**2 / fast
    return Case(
        f"L = {depth}, d = {DIM}, N = {number}, {activation}", fast, slow, "s/step", slow / fast,
        f"gradients within {difference:.1e}, losses within {abs(found.loss - loss):.1e}",
        f"{rate / 1e9:.0f} GFLOP/s, share {rate / peak:.0%}",
    )  # fmt: skip


def deepest(number: int, *, threads: int, peak: float) -> Case:
    """Time a step at 12,000 layers, in double precision beside single, and say what memory it takes."""
    network, weights, samples = problem(12_000, number, "tanh")
    pass_through(network, weights[:2], samples.part(0, 64), threads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = pass_through(network, weights, samples, threads=threads)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    fast = best_time(lambda: pass_through(network, weights, samples, threads=threads))
    exact = pass_through(network, weights.astype(np.float64), samples, threads=threads)
    slow = best_time(lambda: pass_through(network, weights.astype(np.float64), samples, threads=threads), repeats=1)
    difference = np.linalg.norm(found.gradient - exact.gradient) / np.linalg.norm(exact.gradient)
    rate = 6 * number * 12_000 * DIM**2 / fast
    return Case(
        f"L = 12000, d = {DIM}, N = {number}, tanh; beside float64", fast, slow, "s/step", slow / fast,
        f"gradients within {difference:.1e}",
        f"{rate / 1e9:.0f} GFLOP/s, share {rate / peak:.0%}; peak of memory {more / 1e3:.0f} MB above that before",
    )  # fmt: skip


def cases(threads: int, share: float, device: torch.device) -> Iterator[Case]:
    """Yield all comparisons; `share` of the usual number of samples."""
    peak = peak_rate(device)
    number = max(64, int(12_500 * share))
    if device.type == "cpu":
        # First, as a process's peak of memory does not fall again.
        yield deepest(number, threads=threads, peak=peak)
    for depth, samples, activation in (
        (2000, number, "tanh"), (2000, max(64, number // 12), "tanh"), (100, number, "tanh"),
        *((200, number, activation) for activation in ("relu", "elu", "gelu", "sigmoid")),
    ):  # fmt: skip
        yield compare(depth, samples, activation, threads=threads, peak=peak, device=device)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="threads on a CPU, of ours and of torch")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of samples")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, {given.threads} thread(s)"
    print(f"large float32 products: {peak_rate(device) / 1e9:.0f} GFLOP/s")
    report(cases(given.threads, given.share, device), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
