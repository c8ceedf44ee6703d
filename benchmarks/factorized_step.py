"""Milliseconds per training step of residual networks with factorized layers, beside what the original does.

Each step has Frobenius decay, and the norm of every product is written down after it. The plain loop
(`plain/classification.py`) transforms image by image, adds decay and reads norms layer by layer. Both start from the
same factors and take the same batches; without shifts and flips, losses and norms of the first steps are found to agree
before either is timed, with them. A note says which share of our step decay and norms take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from comparison import Case, arguments, best_time, chosen_device, on_a_device, report
from plain import classification as plain
from tacit.nn.factorized import factorized_layers
from tacit.nn.factorizing import factorize
from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks
from tacit.optim.decay_groups import decay_groups
from tacit.training import engine, norms, optimizers
from tacit.training.images import Augmented, LabelledImages
from tacit.training.objectives import CrossEntropy

RATE, MOMENTUM, DECAY, PADDING, WIDTH = 0.1, 0.9, 1e-4, 4, 16


class Setting:
    """One network with images like those of CIFAR-10, and the same start for both loops."""

    def __init__(self, layers: int, *, rank_scale: float, batch_size: int, steps: int, device: torch.device):
        self.layers, self.rank_scale, self.batch_size, self.steps = layers, rank_scale, batch_size, steps
        self.device = device
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, size=(steps * batch_size, 32, 32, 3), dtype=np.uint8)
        self.labels = random.integers(0, 10, size=steps * batch_size)

    def network(self) -> nn.Module:
        """Return the network that both loops start from."""
        torch.manual_seed(0)
        dense = ScaledConvNet(self.layers, width=WIDTH, in_channels=3, num_classes=10, kaiming=True)
        made = factorize(dense, select=in_blocks, rank_scale=self.rank_scale)
        return made.model.to(self.device)

    def plain(self, steps: int, *, moved: bool) -> tuple[list[float], list[list[float]]]:
        """Take steps as the original does; return losses, and norms after each step."""
        ours = self.network()
        network = plain.ScaledNet(self.layers, width=WIDTH, exponent=0.0, in_channels=3, num_classes=10)
        strides = [layer.stride[0] for layer in network.convolutions]
        products = [
            plain.Product(layer.U.detach(), layer.VT.detach(), stride=stride)
            for layer, stride in zip(factorized_layers(ours).values(), strides, strict=True)
        ]
        network.convolutions = nn.ModuleList(products)
        network.first.load_state_dict(ours.stem[0].state_dict())
        network.head.load_state_dict(ours.head.state_dict())
        network.to(self.device)
        pictures = plain.Pictures(
            self.images, self.labels, mean=0.5, std=0.25, padding=PADDING if moved else 0, flips=moved
        )
        factors = [factor for layer in products for factor in (layer.U, layer.VT)]
        others = [one for one in network.parameters() if not any(one is factor for factor in factors)]
        groups = [{"params": factors, "weight_decay": 0.0}, {"params": others, "weight_decay": DECAY}]
        found: list[list[float]] = []
        losses = plain.train(
            network,
            pictures,
            torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM),
            batch_size=self.batch_size,
            steps=steps,
            after_backward=lambda: plain.decay_products(products, DECAY),
            after_step=lambda: found.append(plain.norms(products)),
        )
        return [loss for loss, _ in losses], found

    def ours(self, *, moved: bool) -> engine.Minimize:
        """Return the training at its start."""
        network = self.network()
        data = LabelledImages.on(
            self.device, self.images.transpose(0, 3, 1, 2), self.labels, mean=[0.5] * 3, std=[0.25] * 3
        )
        plan = decay_groups(network, DECAY, factors="frobenius")
        return engine.Minimize(
            network,
            Augmented(
                data, padding=PADDING if moved else 0, flips=moved, stream=("benchmark", "factorized step")
            ),
            CrossEntropy(),
            optimizers.optimizer(plan.groups, "sgd", learning_rate=RATE, momentum=MOMENTUM),
            rate=optimizers.stepwise(RATE, epochs=200, milestones=(0.5, 0.75)),
            decays=[plan.frobenius.add_gradients],
            after=norms.Recorded(list(factorized_layers(network).values())),
        )  # fmt: skip

    def compare(self) -> Case:
        """Find both to agree over two steps, then time them."""
        batches = torch.arange(len(self.labels), device=self.device).split(self.batch_size)
        own, (losses, theirs) = self.ours(moved=False), self.plain(2, moved=False)
        own.begin(0, len(batches))
        difference = 0.0
        for step in range(2):
            loss, _, *products = own.take(step, batches[step]).tolist()
            pairs = zip([loss, *products], [losses[step], *theirs[step]], strict=True)
            difference = max(difference, *(abs(one / other - 1) for one, other in pairs))
        assert difference < 2e-3, f"losses or norms differ by {difference:.2g}"
        moving = self.ours(moved=True)
        moving.begin(0, len(batches))

        def take() -> None:
            for step, numbers in enumerate(batches):
                moving.take(step, numbers)
            self.wait()

        take()
        fast = best_time(take) / len(batches)
        slow = best_time(lambda: self.plain(self.steps, moved=True), repeats=2) / self.steps
        extra = {"decay": self.seconds(moving.decays[0]), "norms": self.seconds(lambda: moving.after(0))}
        note = ", ".join(f"{name} {100 * spent / fast:.1f} % of ours" for name, spent in extra.items())
        name = f"ResNet{self.layers}, rank scale {self.rank_scale:g}, batch {self.batch_size}"
        agreement = f"losses and norms of 2 steps within {difference:.1e}"
        return Case(name, 1e3 * fast, 1e3 * slow, "ms/step", slow / fast, agreement, note)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the mean time of `work` over twenty calls."""
        work()
        self.wait()
        started = time.perf_counter()
        for _ in range(20):
            work()
        self.wait()
        return (time.perf_counter() - started) / 20

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Compare the networks that are asked for."""
    parser = arguments(__doc__)
    on_a_device(parser)
    parser.add_argument("--layers", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--rank-scale", type=float, default=0.111)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    device, name = chosen_device(given)

    def cases() -> Iterator[Case]:
        for layers in given.layers:
            yield Setting(
                layers, rank_scale=given.rank_scale, batch_size=given.batch, steps=given.steps, device=device
            ).compare()

    report(cases(), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
