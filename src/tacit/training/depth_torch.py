"""Forward and backward pass of residual networks of thousands of layers in PyTorch, for GPUs.

The mathematics of `tacit.training.depth_kernel`, layer by layer for many samples at a time: the backward pass is
written out, as an automatic one keeps several arrays a layer. Samples go in chunks, so that what is kept fits the
memory asked for. On a GPU a chunk's thousands of small operations are recorded once as a CUDA graph and replayed, which
spares the starting of each. Products are in full float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.nn.deep_residual import Network
from tacit.training.depth_kernel import Pass, Samples

CHUNK_BYTES = 2 << 30
"""Of states kept at a time."""

_RECORDED_LAYERS = 20_000
"""Up to so many layers a chunk is recorded; longer recordings take longer to make than they spare."""


class TorchPass:
    """Passes through networks of one shape on one device, whatever their weights."""

    def __init__(self, network: Network, depth: int, device: torch.device, precision: type[np.floating[Any]]):
        self.network, self.depth, self.device = network, depth, device
        self.dtype = torch.from_numpy(np.zeros(0, precision)).dtype
        self.head = torch.as_tensor(network.output_weights, dtype=self.dtype, device=device)
        self._recordings: dict[tuple[int, bool], _Recording] = {}

    def __call__(
        self, network: Network, weights: np.ndarray, samples: Samples, *, threads: int = 1, gradient: bool = True
    ) -> Pass:
        """Send samples through, as `depth_kernel.pass_through` does; `threads` are torch's own affair."""
        del threads
        own = torch.as_tensor(weights, device=self.device)
        delta = torch.tensor(network.delta if network.takes_delta else 1.0, dtype=self.dtype, device=self.device)
        number, dim = samples.inputs.shape
        most = max(1, CHUNK_BYTES // (self.depth * dim * self.dtype.itemsize))
        summed = torch.zeros_like(own) if gradient else own[:0]
        sums, outputs = np.zeros(3), []
        for first in range(0, number, most):
            part = samples.part(first, first + most)
            made, found, grown = self._chunk(own, delta, part, 1 / number, gradient)
            outputs.append(made.double().cpu().numpy())
            sums += found.double().cpu().numpy()
            if gradient:
                summed += grown
        loss, omega, of_delta = sums.tolist()
        return Pass(loss / number, omega / number, np.concatenate(outputs), summed.cpu().numpy(), of_delta)

    def _chunk(
        self, weights: Tensor, delta: Tensor, samples: Samples, share: float, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, sums of loss, Omega and gradient of delta, and the gradient of the weights."""
        inputs = torch.as_tensor(samples.inputs, dtype=self.dtype, device=self.device)
        labels = torch.as_tensor(samples.labels, device=self.device)
        targets = torch.as_tensor(samples.targets, dtype=torch.float64, device=self.device)
        arguments = (
            weights,
            delta,
            inputs,
            labels,
            targets,
            torch.tensor(share, dtype=torch.float64, device=self.device),
        )
        if self.device.type != "cuda" or self.depth > _RECORDED_LAYERS:
            return _through(self.network, self.head, gradient, *arguments)
        key = (len(inputs), gradient)
        if key not in self._recordings:
            self._recordings[key] = _Recording(self.network, self.head, gradient, arguments)
        return self._recordings[key].replay(arguments)


class _Recording:
    """A chunk's operations as a CUDA graph, on arrays of its own."""

    def __init__(self, network: Network, head: Tensor, gradient: bool, arguments: tuple[Tensor, ...]):
        self.arguments = tuple(argument.clone() for argument in arguments)
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            # Libraries set themselves up in the first call, which cannot be recorded.
            _through(network, head, gradient, *self.arguments)
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = _through(network, head, gradient, *self.arguments)

    def replay(self, arguments: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        for place, argument in zip(self.arguments, arguments, strict=True):
            place.copy_(argument)
        self.graph.replay()
        return self.results


@torch.no_grad()
def _through(
    network: Network,
    head: Tensor,
    gradient: bool,
    weights: Tensor,
    delta: Tensor,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor,
    share: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    kind, keeps_arguments = network.augmentation, network.activation == "gelu"
    h, kept = inputs, []
    before = torch.zeros_like(weights[0])
    for own in weights:
        match kind:
            case "skip" | "none" | "plain":
                z = h @ own.T
                s = _activate(network.activation, z)
                kept.append(z if keeps_arguments else s)
                h = h + delta * s if kind == "skip" else delta * s
            case "linear_skip":
                kept.append(h)
                h = h + _activate(network.activation, h) @ own.T
            case "inc_skip":
                kept.append(h)
                h = h + _activate(network.activation, h @ before.T) @ (own - before)
        before = own
    outputs = (h @ head.T).double()
    loss, of_outputs = _judge(network, outputs, labels, targets)
    sums = torch.stack([loss, of_outputs.square().sum(), torch.zeros_like(loss)])
    if not gradient:
        return outputs, sums, weights[:0]
    g = ((share * of_outputs) @ head.double()).to(weights.dtype)
    grown = torch.zeros_like(weights)
    for k in range(len(weights) - 1, -1, -1):
        own, was = weights[k], kept[k]
        match kind:
            case "skip" | "none" | "plain":
                s = _activate(network.activation, was) if keeps_arguments else was
                if network.trains_delta:
                    sums[2] += (g.double() * s.double()).sum()
                moved = delta * _slope(network.activation, was, s) * g
                if kind == "skip":
                    h = h - delta * s
                elif k:
                    h = delta * (_activate(network.activation, kept[k - 1]) if keeps_arguments else kept[k - 1])
                else:
                    h = inputs
                grown[k] = moved.T @ h
                g = g + moved @ own if kind == "skip" else moved @ own
            case "linear_skip":
                s = _activate(network.activation, was)
                grown[k] = g.T @ s
                g = g + _slope(network.activation, was, s) * (g @ own)
            case "inc_skip":
                before = weights[k - 1] if k else torch.zeros_like(own)
                z = was @ before.T
                s = _activate(network.activation, z)
                v = _slope(network.activation, z, s) * (g @ (own - before).T)
                grown[k] += s.T @ g
                if k:
                    grown[k - 1] += v.T @ was - s.T @ g
                g = g + v @ before
    return outputs, sums, grown


def _judge(network: Network, outputs: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of losses, and the gradient of each loss with respect to the outputs (N, outputs)."""
    if len(labels):
        logs = torch.log_softmax(outputs, 1)
        places = torch.arange(len(labels), device=outputs.device)
        of_outputs = logs.exp()
        of_outputs[places, labels] -= 1
        return -logs[places, labels].sum(), of_outputs
    away, p = outputs - targets, network.p_loss
    return away.abs().pow(p).sum(), p * away.abs().pow(p - 1) * away.sign()


def _activate(activation: str, z: Tensor) -> Tensor:
    match activation:
        case "tanh":
            return torch.tanh(z)
        case "relu":
            return torch.relu(z)
        case "elu":
            return torch.nn.functional.elu(z)
        case "gelu":
            return torch.nn.functional.gelu(z)
        case _:
            return torch.sigmoid(z)


def _slope(activation: str, z: Tensor, s: Tensor) -> Tensor:
    """Return the derivative; of all but gelu it follows from the values `s`."""
    match activation:
        case "tanh":
            return 1 - s * s
        case "relu":
            return (s > 0).to(s.dtype)
        case "elu":
            return torch.where(s > 0, torch.ones_like(s), s + 1)
        case "gelu":
            return torch.special.ndtr(z) + z * torch.exp(-z * z / 2) * 0.3989422804014327
        case _:
            return s * (1 - s)
