"""Milliseconds per training step, plain and with the long-range regulariser, beside a straightforward loop.

The straightforward loop is what one writes first: a data loader that transforms each image by itself, PyTorch's own
second derivatives, contiguous tensors, `.item()` at every step. Both start from the same weights and take the same
batches and patches; their losses over the first steps are found to agree before they are timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from comparison import Case, arguments, best_time, chosen_device, on_a_device, report
from tacit import streams
from tacit.nn import resnets
from tacit.optim.long_range import Patch, draw_distant_patches
from tacit.settings.networks import LongRangeRegularizer, Network, Training
from tacit.training.engine import Engine
from tacit.training.images import LabelledImages
from tacit.training.networks import assemble
from tacit.training.objectives import LongRangeBinaryCrossEntropy

PATCHES = LongRangeRegularizer(patch_size=2, distance=0)
STREAM = ("benchmark", "network step")


class PlainDataset(Dataset):
    """Images transformed one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: float, std: float):
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, float]:
        return self.transform(self.images[index]), float(self.labels[index])


def plain_regularizer(model, images, logits, patch: Patch, other: Patch):
    """The regulariser written out with nothing but autograd."""

    def gradient(outputs, inputs):
        (full,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return full[:, :, patch.row : patch.row + 2, patch.column : patch.column + 2].flatten(1)

    before = gradient(logits, images)
    mixed = images.detach().clone()
    rows, columns = slice(other.row, other.row + 2), slice(other.column, other.column + 2)
    mixed[:, :, rows, columns] = images.detach().roll(-1, 0)[:, :, rows, columns]
    mixed.requires_grad_()
    after = gradient(model(mixed), mixed)
    return torch.cosine_similarity(before, after, eps=0).abs().mean()


class Setting:
    """One network, image size and coefficient, with the same data and start for both loops."""

    def __init__(
        self, network: Network, size: int, batch_size: int, coefficient: float, device: torch.device, training: Training
    ):
        self.network, self.size, self.coefficient, self.device = network, size, coefficient, device
        self.training = training.model_copy(update={"batch_size": batch_size})
        random = np.random.default_rng(0)
        self.images = (random.random((16 * batch_size, size, size)) ** 8 * 255).astype(np.uint8)
        self.labels = random.integers(0, 2, len(self.images))
        self.mean, self.std = self.images.mean() / 255, self.images.std() / 255
        self.batches = torch.arange(len(self.images)).to(device).split(batch_size)
        self.pairs = [
            draw_distant_patches(PATCHES, height=size, width=size, generator=random) if coefficient > 0 else None
            for _ in self.batches
        ]

    def fresh_model(self) -> torch.nn.Module:
        """Return the network both loops start from."""
        torch.manual_seed(streams.torch_seed(*STREAM))
        return resnets.build(self.network, in_channels=1).to(self.device)

    def plain(self, steps: int) -> list[float]:
        """Take `steps` steps in the straightforward way; return the losses."""
        data = PlainDataset(self.images, self.labels, self.mean, self.std)
        model = self.fresh_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=self.training.learning_rate, momentum=0.9)
        losses = []
        for (images, labels), pair, _ in zip(
            DataLoader(data, self.training.batch_size), self.pairs, range(steps), strict=False
        ):
            images, labels = images.to(self.device), labels.float().to(self.device)
            images.requires_grad_(pair is not None)
            logits = model(images)
            loss = binary_cross_entropy_with_logits(logits, labels)
            losses.append(loss.item())
            if pair is not None:
                loss = loss + self.coefficient * plain_regularizer(model, images, logits, *pair)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses

    def ours(self, steps: int) -> list[float]:
        """Take `steps` steps of the engine; return their losses."""
        stepping = self.engine().moving
        return [stepping.take(step, self.batches[step])[0].item() for step in range(steps)]

    def engine(self) -> Engine:
        """Return the training at its start, about to take its first steps on the pairs of both loops."""
        data = LabelledImages.on(self.device, self.images, self.labels, mean=[self.mean], std=[self.std])
        pairs = iter(self.pairs)
        objective = LongRangeBinaryCrossEntropy(
            coefficient=self.coefficient, sample_patches=lambda generator: next(pairs), stream=STREAM
        )
        training = assemble(self.fresh_model(), data, data, self.training, objective)
        training.moving.begin(0, len(self.batches))
        return training

    def time_ours(self, steps: int) -> float:
        """Return seconds a step of the training loop."""
        stepping = self.engine().moving

        def run() -> None:
            for step in range(steps):
                stepping.take(step, self.batches[step])
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        run()
        return best_time(run) / steps


def compare(setting: Setting, steps: int) -> Case:
    """Find both loops to agree, then time them."""
    ours, theirs = setting.ours(2), setting.plain(2)
    difference = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    tolerance = 2e-3 if setting.training.precision == "float32" else 5e-2
    assert difference < tolerance, f"losses differ by {difference:.2g}: {ours}, {theirs}"

    def plain() -> None:
        setting.plain(steps)
        if setting.device.type == "cuda":
            torch.cuda.synchronize()

    reference, fast = best_time(plain) / steps, setting.time_ours(steps)
    name = f"{setting.network.name} width {setting.network.width}, {setting.size} px, "
    name += f"batch {setting.training.batch_size}, "
    name += f"coefficient {setting.coefficient:g}" if setting.coefficient else "plain"
    agreement = f"losses of 2 steps within {difference:.1e}"
    return Case(name, 1e3 * fast, 1e3 * reference, "ms/step", reference / fast, agreement)


def cases(device: torch.device, training: Training, steps: int) -> Iterator[Case]:
    """Yield the demo network and, with few steps on a CPU, the published one."""
    demo = Network(name="resnet8", width=16)
    published = Network(name="resnet18")
    few = steps if device.type == "cuda" else 2
    sizes = [(demo, 32, 32, steps), (published, 150, 64, few)]
    for network, size, batch_size, count in sizes:
        for coefficient in (0.0, 1.0):
            yield compare(Setting(network, size, batch_size, coefficient, device, training), count)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    on_a_device(parser)
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--contiguous", action="store_true", help="ours with contiguous tensors, not channels last")
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    device, name = chosen_device(given)
    training = Training(
        optimizer="sgd",
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0,
        batch_size=1,
        epochs=1,
        perfect_epochs=1,
        precision=given.precision,
        channels_last=not given.contiguous,
        compile=False,
    )
    report(cases(device, training, given.steps), device=f"{name}, {given.precision}", as_json=given.json)


if __name__ == "__main__":
    main()
