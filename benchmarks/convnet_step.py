"""Milliseconds per training step of convolutional residual networks scaled by depth, beside a straightforward loop.

The straightforward loop is `plain/classification.py`: each image is shifted and normalised by itself, Omega comes from
autograd, every step waits for its loss. Both start from the same weights and take the same batches; loss and Omega of
the first steps, without shifts, are found to agree before either is timed, with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from comparison import Case, arguments, best_time, chosen_device, on_a_device, report
from plain import classification as plain
from tacit.nn.scaled_convnets import ScaledConvNet
from tacit.training import engine, optimizers
from tacit.training.images import Augmented, LabelledImages
from tacit.training.objectives import CrossEntropyWithOmega

RATE, PADDING, EXPONENT = 0.1, 4, 0.75


class Setting:
    """One network with images like those of CIFAR-10, and the same start for both loops."""

    def __init__(self, layers: int, *, width: int, batch_size: int, steps: int, precision: str, device: torch.device):
        self.layers, self.width, self.batch_size, self.steps = layers, width, batch_size, steps
        self.device, self.precision = device, precision
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, size=(steps * batch_size, 32, 32, 3), dtype=np.uint8)
        self.labels = random.integers(0, 10, size=steps * batch_size)

    def network(self) -> ScaledConvNet:
        """Return the network that both loops start from."""
        torch.manual_seed(0)
        own = ScaledConvNet(self.layers, width=self.width, delta_exponent=EXPONENT, in_channels=3, num_classes=10)
        return own.to(self.device)

    def plain(self, steps: int, *, padding: int) -> list[tuple[float, float]]:
        """Take steps in the straightforward way; return their losses and Omega, as logged."""
        network = plain.ScaledNet(
            self.layers, width=self.width, exponent=EXPONENT, in_channels=3, num_classes=10
        ).to(self.device)  # fmt: skip
        # Both list their parameters from input to output, and blocks convolution by normalisation.
        network.load_state_dict(
            dict(zip(network.state_dict(), self._in_order(network, self.network().state_dict()), strict=True))
        )
        pictures = plain.Pictures(self.images, self.labels, mean=0.5, std=0.5, padding=padding)
        optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
        return plain.train(network, pictures, optimizer, batch_size=self.batch_size, steps=steps)

    @staticmethod
    def _in_order(network: plain.ScaledNet, ours: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the numbers of our network in the order of the plain one: all convolutions before all norms."""
        names = list(ours)
        stem, head = [n for n in names if n.startswith("stem.")], [n for n in names if n.startswith("head.")]
        inner = [name for name in names if name.startswith("blocks.")]
        convolutions = [name for name in inner if "_norm." not in name]
        norms = [name for name in inner if "_norm." in name]
        return [ours[name] for name in (*stem, *convolutions, *norms, *head)]

    def ours(self, *, padding: int) -> engine.Minimize:
        """Return the training at its start."""
        network = self.network()
        images = self.images.transpose(0, 3, 1, 2)
        data = LabelledImages.on(self.device, images, self.labels, mean=[0.5] * 3, std=[0.5] * 3)
        return engine.Minimize(
            network,
            Augmented(data, padding=padding, flips=False, stream=("benchmark", "convnet step")),
            CrossEntropyWithOmega(),
            optimizers.optimizer(network.parameters(), "sgd", learning_rate=RATE),
            precision=self.precision,
            compile=False,
            rate=None,
        )

    def compare(self) -> Case:
        """Find both to agree over two steps, then time them."""
        batches = torch.arange(len(self.labels), device=self.device).split(self.batch_size)
        own, theirs = self.ours(padding=0), self.plain(2, padding=0)
        own.begin(0, len(batches))
        difference = 0.0
        for step, (loss, omega) in enumerate(theirs):
            found = [value.item() for value in own.take(step, batches[step])]
            for ours, reference in ((found[0], loss), (found[2] / self.batch_size**2, omega)):
                difference = max(difference, abs(ours / reference - 1))
        tolerance = 2e-3 if self.precision == "float32" else 5e-2
        assert difference < tolerance, f"losses or Omega differ by {difference:.2g}"
        moving = self.ours(padding=PADDING)
        moving.begin(0, len(batches))

        def take() -> None:
            for step, numbers in enumerate(batches):
                moving.take(step, numbers)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        take()
        fast = best_time(take) / len(batches)
        slow = best_time(lambda: self.plain(self.steps, padding=PADDING), repeats=2) / self.steps
        name = f"{self.layers} layers, width {self.width}, batch {self.batch_size}"
        agreement = f"loss and Omega of 2 steps within {difference:.1e}"
        return Case(name, 1e3 * fast, 1e3 * slow, "ms/step", slow / fast, agreement)


def main() -> None:
    """Compare the depths that are asked for."""
    parser = arguments(__doc__)
    on_a_device(parser)
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    device, name = chosen_device(given)

    def cases() -> Iterator[Case]:
        for depth in given.depths:
            yield Setting(
                depth, width=given.width, batch_size=given.batch, steps=given.steps, precision=given.precision,
                device=device,
            ).compare()  # fmt: skip

    report(cases(), device=f"{name}, {given.precision}", as_json=given.json)


if __name__ == "__main__":
    main()
