"""Scores of weights and steps of pruned networks, beside what the published code of SNIP and GraSP does.

Scores are of a residual network with projected shortcuts, of ten random images a class. Steps are those of an optimizer
on a pruned one: ours mask gradients before each, the plain ones (`plain/pruning.py`) multiply weights by masks in every
forward pass. Scores agree, and so do losses and kept weights after three steps, before either is timed. A note says
what masking gradients takes by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from comparison import Case, arguments, best_time, chosen_device, on_a_device, report
from plain import pruning as plain
from tacit.nn import pruning
from tacit.nn.scaled_convnets import ScaledConvNet
from tacit.training import engine, optimizers
from tacit.training.images import LabelledImages
from tacit.training.objectives import CrossEntropy

RATE, MOMENTUM, DECAY, CLASSES, PER_CLASS, CHUNK, RATIO = 0.1, 0.9, 1e-4, 10, 10, 50, 0.1


class Setting:
    """One network with images like those of CIFAR-10, and the same start for both."""

    def __init__(self, layers: int, *, width: int, batch_size: int, device: torch.device):
        self.layers, self.width, self.batch_size, self.device = layers, width, batch_size, device
        random = np.random.default_rng(0)
        count = max(4 * batch_size, CLASSES * PER_CLASS)
        pixels = random.integers(0, 256, size=(count, 3, 32, 32), dtype=np.uint8)
        labels = np.arange(count) % CLASSES
        self.data = LabelledImages.on(device, pixels, labels, mean=[0.5] * 3, std=[0.25] * 3)
        self.name = f"ResNet{layers}, width {width}"

    def network(self) -> nn.Module:
        """Return the network that both start from."""
        torch.manual_seed(0)
        network = ScaledConvNet(
            self.layers, width=self.width, in_channels=3, num_classes=CLASSES, kaiming=True, projected=True
        )
        return network.to(self.device)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return as many images of each class, and their labels."""
        numbers = torch.arange(CLASSES * PER_CLASS, device=self.device)
        return self.data.batch(numbers, torch.contiguous_format), self.data.labels[numbers]

    def scores(self) -> Iterator[Case]:
        """Compare scores."""
        network, (images, labels) = self.network().train(), self.sample()
        temperature = pruning.TEMPERATURE
        methods: list[tuple[str, Callable[[], dict[str, Tensor]], Callable[[], list[Tensor]]]] = [
            (
                "SNIP",
                lambda: pruning.snip_scores(network, images, labels),
                lambda: plain.snip(network, images, labels),
            ),
            *(
                (
                    f"GraSP, chunks of {chunk}",
                    lambda chunk=chunk: pruning.grasp_scores(network, images, labels, chunk_size=chunk),
                    lambda chunk=chunk: plain.grasp(network, images, labels, chunk=chunk, temperature=temperature),
                )
                for chunk in (CLASSES * PER_CLASS, CHUNK)
            ),
        ]
        for name, ours, theirs in methods:
            pairs = list(zip(ours().values(), theirs(), strict=True))
            difference = max(((one - other).norm() / other.norm()).item() for one, other in pairs)
            assert difference < 1e-3, f"scores of {name} differ by {difference:.2g}"
            fast, slow = self.timed(ours), self.timed(theirs)
            agreement = f"scores of each layer within {difference:.1e}"
            yield Case(f"{name}, {self.name}", 1e3 * fast, 1e3 * slow, "ms", slow / fast, agreement)

    def training(self, network: nn.Module, *decays: Callable[[], None]) -> engine.Minimize:
        """Return a training of `network`, at its start."""
        return engine.Minimize(
            network,
            self.data,
            CrossEntropy(),
            optimizers.optimizer(
                network.parameters(), "sgd", learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY
            ),
            decays=decays,
        )

    def step(self) -> Case:
        """Compare training steps."""
        own, other = self.network(), self.network()
        scores = pruning.snip_scores(own, *self.sample())
        masks = pruning.highest(scores, pruning.kept_weights(own, RATIO))
        found = pruning.Masks(own, masks)
        ours = self.training(own, found.mask_gradients)
        theirs = self.training(other)
        plain.multiply_by_masks(other, [mask.to(self.device).float() for mask in masks.values()])
        batches = torch.arange(4 * self.batch_size, device=self.device).split(self.batch_size)
        for one in (ours, theirs):
            one.begin(0, len(batches))
        difference = 0.0
        for number in range(3):
            loss, _ = ours.take(number, batches[number]).tolist()
            expected, _ = theirs.take(number, batches[number]).tolist()
            difference = max(difference, abs(loss / expected - 1))
        for mask, layer, same in zip(masks.values(), plain.layers_of(own), plain.layers_of(other), strict=True):
            kept = mask.to(self.device)
            assert not layer.weight[~kept].any(), "a weight left out is not zero"
            if kept.any():
                apart = (layer.weight[kept] - same.weight[kept]).norm() / same.weight[kept].norm()
                difference = max(difference, apart.item())
        assert difference < 2e-3, f"losses or weights differ by {difference:.2g}"
        times = []
        for one in (ours, theirs):
            times.append(self.timed(lambda one=one: [one.take(k, numbers) for k, numbers in enumerate(batches)]))
        fast, slow = (spent / len(batches) for spent in times)
        masking = self.masking(found)
        note = f"masking gradients {1e3 * masking:.2g} ms, {100 * masking / fast:.2g} % of ours"
        agreement = f"losses of 3 steps and weights after them within {difference:.1e}"
        name = f"step at ratio {RATIO:g}, {self.name}, batch {self.batch_size}"
        return Case(name, 1e3 * fast, 1e3 * slow, "ms/step", slow / fast, agreement, note)

    def masking(self, masks: pruning.Masks) -> float:
        """Return the seconds that masking gradients takes, mean of twenty."""
        masks.mask_gradients()
        self.wait()
        started = time.perf_counter()
        for _ in range(20):
            masks.mask_gradients()
        self.wait()
        return (time.perf_counter() - started) / 20

    def timed(self, work: Callable[[], object]) -> float:
        """Return the least time of `work`, in seconds, once it has run."""

        def done() -> None:
            work()
            self.wait()

        done()
        return best_time(done)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Compare scores and steps of the network that is asked for."""
    parser = arguments(__doc__)
    on_a_device(parser)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    device, name = chosen_device(given)

    def cases() -> Iterator[Case]:
        setting = Setting(given.layers, width=given.width, batch_size=given.batch, device=device)
        yield from setting.scores()
        yield setting.step()

    report(cases(), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
