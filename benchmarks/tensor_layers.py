"""Seconds to build WRN-28-10 with tensor layers, and milliseconds per step and per pass of smaller networks.

Building is compared with exact trains, QR and singular value decompositions, layer after layer
(`plain/tensor_layers.py`), and a step or a pass with networks that are contracted by einsum in every pass, and whose
Frobenius decay is autograd's through the matrices. Matrices of what is built, losses of two steps, gradients of the
decay, and logits are found to agree before either is timed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from comparison import Case, arguments, best_time, chosen_device, on_a_device, report
from plain import tensor_layers as plain
from tacit.nn import tensor_networks
from tacit.nn.factorized import factorized_layers
from tacit.nn.factorizing import FactorizedModel
from tacit.nn.tensor_layers import TensorConv2d, tensorize
from tacit.nn.tensor_networks import Kind
from tacit.nn.wide_resnets import WideResNet
from tacit.optim.decay_groups import decay_groups
from tacit.optim.frobenius_decay import FrobeniusDecay

RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
BUILT: tuple[tuple[Kind, float], ...] = (("tensor_train", 0.234), ("tucker", 0.211))


def in_blocks(name: str, module: nn.Module) -> bool:
    """Tell whether a layer becomes a tensor."""
    return name.endswith(("conv1", "conv2"))


def built(dense: nn.Module, kind: Kind, scale: float) -> FactorizedModel:
    """Return a network with tensor layers, always the same."""
    return tensorize(dense, select=in_blocks, kind=kind, rank_scale=scale, generator=torch.Generator().manual_seed(0))


def built_plainly(dense: nn.Module, kind: Kind, scale: float) -> nn.Module:
    """Return the network with plain layers, from the same draws."""
    network = copy.deepcopy(dense)
    generator = torch.Generator().manual_seed(0)
    decompose = plain.tensor_train if kind == "tensor_train" else plain.tucker
    for name, layer in list(network.named_modules()):
        if not isinstance(layer, nn.Conv2d) or not in_blocks(name, layer):
            continue
        outputs, inputs = layer.out_channels, layer.in_channels
        filters = torch.empty(inputs, 1, 3, 3).normal_(std=(2 / (9 * inputs)) ** 0.5, generator=generator)
        matrix = torch.empty(outputs, inputs).uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
        dims = tensor_networks.fold(outputs, inputs)
        parts = [part.float() for part in decompose(matrix, dims, tensor_networks.ranks(kind, dims, scale))]
        made = plain.TensorConvolution(parts, filters, outputs=outputs, stride=layer.stride[0])
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, made)
    return network


def plain_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network with plain layers in place of ours."""
    network = copy.deepcopy(network)
    for name, layer in factorized_layers(network).items():
        assert isinstance(layer, TensorConv2d) and layer.depthwise is not None
        parent, _, child = name.rpartition(".")
        stride, outputs = layer.stride[0], layer.out_channels
        made = plain.TensorConvolution(layer.factors(), layer.depthwise.weight, outputs=outputs, stride=stride)
        setattr(network.get_submodule(parent), child, made)
    return network


def plain_layers(network: nn.Module) -> list[plain.TensorConvolution]:
    """Return the plain tensor layers of a network."""
    return [module for module in network.modules() if isinstance(module, plain.TensorConvolution)]


def building(kind: Kind, scale: float) -> Case:
    """Compare how long WRN-28-10 takes to be built."""
    dense = WideResNet(28, width=10, in_channels=3, num_classes=10)
    ours, theirs = built(dense, kind, scale), built_plainly(dense, kind, scale)
    difference = 0.0
    for one, other in zip(factorized_layers(ours.model).values(), plain_layers(theirs), strict=True):
        assert [part.shape for part in one.factors()] == [part.shape for part in other.parts]
        expected = other.matrix()
        difference = max(difference, ((one.matrix() - expected).norm() / expected.norm()).item())
    assert difference < 1e-4, f"matrices differ by {difference:.2g}"
    fast = best_time(lambda: built(dense, kind, scale))
    slow = best_time(lambda: built_plainly(dense, kind, scale), repeats=1)
    agreement = f"shapes equal, matrices within {difference:.1e}"
    return Case(f"build WRN-28-10, {kind} {scale:g}", fast, slow, "s", slow / fast, agreement)


class Steps:
    """A smaller network with both kinds of layers from the same start, and one batch."""

    def __init__(self, layers: int, *, width: int, kind: Kind, scale: float, batch: int, device: torch.device):
        torch.manual_seed(0)
        dense = WideResNet(layers, width=width, in_channels=3, num_classes=10)
        self.name = f"WRN-{layers}-{width}, {kind} {scale:g}, batch {batch}"
        self.ours = built(dense, kind, scale).model.to(device)
        self.theirs = plain_copy(self.ours)
        self.images = torch.randn(batch, 3, 32, 32, device=device)
        self.labels = (torch.arange(batch) % 10).to(device)
        self.device = device

    def training(self) -> Case:
        """Compare steps with Frobenius decay."""
        plan = decay_groups(self.ours, DECAY, factors="frobenius")
        ours = torch.optim.SGD(plan.groups, lr=RATE, momentum=MOMENTUM)
        layers = plain_layers(self.theirs)
        parts = [part for layer in layers for part in layer.parts]
        others = [one for one in self.theirs.parameters() if not any(one is part for part in parts)]
        groups = [{"params": parts, "weight_decay": 0.0}, {"params": others, "weight_decay": DECAY}]
        theirs = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)

        def step() -> float:
            ours.zero_grad()
            loss = cross_entropy(self.ours(self.images), self.labels)
            loss.backward()
            plan.frobenius.add_gradients()
            ours.step()
            return loss.item()

        def plain_step() -> float:
            theirs.zero_grad()
            loss = cross_entropy(self.theirs(self.images), self.labels)
            (loss + plain.penalty(layers, DECAY)).backward()
            theirs.step()
            return loss.item()

        difference = max(abs(step() / plain_step() - 1) for _ in range(2))
        assert difference < 1e-3, f"losses differ by {difference:.2g}"
        of_decay = self.difference_of_decay(plan.frobenius)
        assert of_decay < 1e-4, f"gradients of the decay differ by {of_decay:.2g}"
        fast, slow = best_time(step, repeats=5), best_time(plain_step, repeats=5)
        spent = best_time(plan.frobenius.add_gradients, repeats=5)
        note = f"decay {100 * spent / fast:.1f} % of ours"
        agreement = f"losses of 2 steps within {difference:.1e}, gradients of the decay within {of_decay:.1e}"
        return Case(f"step, {self.name}", 1e3 * fast, 1e3 * slow, "ms/step", slow / fast, agreement, note)

    def difference_of_decay(self, frobenius: FrobeniusDecay) -> float:
        """Return the greatest relative difference of gradients of the decay, at the same parameters."""
        layers = plain_layers(plain_copy(self.ours))
        parts = [part for layer in layers for part in layer.parts]
        expected = torch.autograd.grad(plain.penalty(layers, DECAY), parts)
        self.ours.zero_grad()
        frobenius.add_gradients()
        found = [part.grad for layer in factorized_layers(self.ours).values() for part in layer.factors()]
        pairs = zip(found, expected, strict=True)
        return max(((one - other).norm() / other.norm()).item() for one, other in pairs)

    @torch.no_grad()
    def evaluation(self) -> Case:
        """Compare passes without gradients, of networks with the same parameters."""
        self.ours.eval()
        theirs = plain_copy(self.ours)

        def logits(network: nn.Module) -> torch.Tensor:
            found = network(self.images)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            return found

        expected = logits(theirs)
        difference = ((logits(self.ours) - expected).norm() / expected.norm()).item()
        assert difference < 1e-4, f"logits differ by {difference:.2g}"
        fast = best_time(lambda: logits(self.ours), repeats=5)
        slow = best_time(lambda: logits(theirs), repeats=5)
        agreement = f"logits within {difference:.1e}"
        return Case(f"pass, {self.name}", 1e3 * fast, 1e3 * slow, "ms/pass", slow / fast, agreement)


def main() -> None:
    """Compare building, steps and passes."""
    parser = arguments(__doc__)
    on_a_device(parser)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    device, name = chosen_device(given)

    def cases() -> Iterator[Case]:
        for kind, scale in BUILT:
            yield building(kind, scale)
        for kind, scale in BUILT:
            steps = Steps(given.layers, width=given.width, kind=kind, scale=scale, batch=given.batch, device=device)
            yield steps.training()
            yield steps.evaluation()

    report(cases(), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
