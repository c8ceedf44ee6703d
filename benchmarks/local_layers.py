"""Training steps of the skinny network: convolutional, locally connected (ours and as published), fully connected.

The published formula multiplies windows (n, 1, C, d, d, k k) by weights (1, O, C, d, d, k k) and sums, which writes
n O C d d k k numbers at every layer; it is timed at a batch that fits and compared by image. All four compute the same
function, and the two locally connected ones are found to have the same gradients, before they are timed. Each is timed
in a process of its own, whose peak memory is its own too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from comparison import Case, arguments, best_time, processor, report
from tacit.nn import convnets, untying
from tacit.nn.local import LocalConv2d
from tacit.settings.convnets import Architecture

SIDE, CLASSES = 32, 10


class Broadcast(nn.Module):
    """A locally connected layer as published: weight (1, O, C, d, d, k k), bias (1, O, d, d)."""

    def __init__(self, layer: LocalConv2d):
        super().__init__()
        weight, bias = layer.all_filters()
        side, kernel = layer.side_out, layer.kernel_size
        self.kernel, self.stride = kernel, layer.stride
        taps = weight.view(side, side, kernel, kernel, -1, weight.shape[2])
        self.weight = nn.Parameter(taps.permute(5, 4, 0, 1, 2, 3).flatten(4)[None].contiguous())
        self.bias = nn.Parameter(bias.T.reshape(1, -1, side, side).contiguous())

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (n, O, d, d)."""
        windows = images.unfold(2, self.kernel, self.stride).unfold(3, self.kernel, self.stride).flatten(4)
        return (windows[:, None] * self.weight).sum((2, 5)) + self.bias


def network(kind: str, width: int) -> nn.Sequential:
    """Return the skinny network as a CNN, untied (lcn), untied as published (broadcast), or fully connected (fcn)."""
    torch.manual_seed(0)
    cnn = convnets.build(Architecture(name="skinny", width=width), side=SIDE, in_channels=3, classes=CLASSES)
    if kind == "cnn":
        return cnn
    if kind == "fcn":
        return untying.to_dense(cnn, side=SIDE)
    local = untying.to_local(cnn, side=SIDE)
    if kind == "lcn":
        return local
    return nn.Sequential(*(Broadcast(module) if isinstance(module, LocalConv2d) else module for module in local))


def data(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images and labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    return images.to(device), (torch.arange(batch) % CLASSES).to(device)


class Timing(NamedTuple):
    """What a process found."""

    seconds: float
    """Of a step."""
    gib: float
    """Peak memory: of the process, or on a GPU what was allocated there."""


def timed(kind: str, width: int, batch: int, repeats: int, threads: int, device: str) -> Timing:
    """Time a step of plain SGD."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    place = torch.device(device)
    layout = torch.channels_last if kind in ("cnn", "lcn") else torch.contiguous_format
    model, (images, labels) = network(kind, width).to(place, memory_format=layout), data(batch, place)
    images = images.contiguous(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
        if place.type == "cuda":
            torch.cuda.synchronize()

    step()
    seconds = best_time(step, repeats=repeats)
    if place.type == "cuda":
        return Timing(seconds, torch.cuda.max_memory_allocated() / 2**30)
    return Timing(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def in_a_process(*arguments: object) -> Timing:
    """Return what `timed` finds in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(timed, arguments)


def agreement(width: int) -> str:
    """Compare outputs of all kinds, and gradients of the two locally connected ones; raise if they differ."""
    device = torch.device("cpu")
    images, labels = data(4, device)
    models = {kind: network(kind, width) for kind in ("cnn", "lcn", "broadcast", "fcn")}
    logits = {kind: model(images) for kind, model in models.items()}
    worst = max((logits[kind] - logits["cnn"]).abs().max().item() for kind in models)
    for kind in ("lcn", "broadcast"):
        cross_entropy(logits[kind], labels).backward()
    furthest = 0.0
    for ours, theirs in zip(models["lcn"], models["broadcast"], strict=True):
        if isinstance(ours, LocalConv2d):
            grad = theirs.weight.grad[0].unflatten(4, (ours.kernel_size, ours.kernel_size)).permute(2, 3, 4, 5, 1, 0)
            own = ours.weight.grad.view(ours.live, ours.live, *grad.shape[2:])
            used = grad[: ours.live, : ours.live]
            furthest = max(furthest, ((own - used).abs().max() / used.abs().max()).item())
            if grad.square().sum() > 1.0001 * used.square().sum():
                raise AssertionError("positions that are left out have a gradient")
    if worst > 1e-5 or furthest > 1e-4:
        raise AssertionError(f"outputs differ by {worst:g}, gradients by {furthest:g}")
    return f"outputs equal to {worst:.0e}, gradients to {furthest:.0e}"


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Compare the locally connected network with each other kind."""
    agreed = agreement(min(options.width, 16))
    batch, fits = options.batch, options.broadcast_batch

    def time_of(kind: str, size: int) -> Timing:
        return in_a_process(kind, options.width, size, options.repeats, options.threads, options.device)

    ours = time_of("lcn", batch)
    note = f"peak memory {ours.gib:.2f} GiB against "
    for name, kind, size in (("CNN", "cnn", batch), ("published formula", "broadcast", fits), ("FCN", "fcn", batch)):
        other = time_of(kind, size)
        milliseconds = 1000 * other.seconds * batch / size
        at = "" if size == batch else f" at a batch of {size}, times {batch / size:g} in time"
        yield Case(
            f"LCN of width {options.width}, batch {batch}, against {name}",
            1000 * ours.seconds,
            milliseconds,
            "ms a step",
            milliseconds / (1000 * ours.seconds),
            agreed,
            f"{note}{other.gib:.2f}{at}",
        )


def main() -> None:
    """Parse, measure, print."""
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--broadcast-batch", type=int, default=10, help="images at a time for the published formula")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else None
    device = gpu or f"{processor()}, {options.threads} threads"
    report(cases(options), device=device, as_json=options.json)


if __name__ == "__main__":
    main()
