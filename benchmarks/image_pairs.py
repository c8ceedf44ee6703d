"""Pairs of images per second, composed on canvases and fed to the device, beside a data loader that does it per item.

The data loader is what one writes first: for each pair two images through torchvision's transforms, laid on zeros. Both
give the same batches, which are found to agree before they are timed. Nothing is learned here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from comparison import Case, arguments, best_time, processor, report
from tacit.settings.same_class import Canvas
from tacit.training.images import Bytes, ImagePairs

MEAN, STD = (0.491, 0.482, 0.446), (0.247, 0.243, 0.261)
BATCH = 64


class PlainPairs(Dataset):
    """Canvases composed one at a time, from images as torchvision's datasets hold them."""

    def __init__(self, images: np.ndarray, indices: np.ndarray, canvas: Canvas, corners):
        """Images (n, C, side, side) uint8, indices (N, 2)."""
        self.images, self.indices = images.transpose(0, 2, 3, 1).copy(), indices
        self.canvas, self.corners = canvas, corners
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> torch.Tensor:
        canvas = torch.zeros(3, self.canvas.height, self.canvas.width)
        side = self.images.shape[1]
        for index, (row, column) in zip(self.indices[number], self.corners, strict=True):
            image = self.transform(Image.fromarray(self.images[index]))
            canvas[:, row : row + side, column : column + side] = image
        return canvas


def compare(canvas: Canvas, side: int, distance: int, device: torch.device, batches: int, workers: int) -> Case:
    """Find both ways to agree on two batches, then time them on `batches`."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10_000, 3, side, side), dtype=np.uint8)
    indices = random.integers(0, len(images), (batches * BATCH, 2))
    corners = canvas.place(side, distance)
    plain = PlainPairs(images, indices, canvas, corners)
    ours = ImagePairs(
        Bytes.on(device, images, MEAN, STD),
        indices,
        np.zeros(len(indices), np.uint8),
        canvas=(canvas.height, canvas.width),
        corners=corners,
    )
    numbers = torch.arange(len(indices), device=device).split(BATCH)

    def loader() -> DataLoader:
        return DataLoader(plain, BATCH, num_workers=workers, pin_memory=device.type == "cuda")

    difference = 0.0
    for expected, batch, _ in zip(loader(), numbers, range(2), strict=False):
        found = ours.batch(batch, torch.channels_last)
        difference = max(difference, (found.cpu() - expected).abs().max().item())
    assert difference < 2e-6, f"canvases differ by {difference:.2g}"

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def feed_plain() -> None:
        for batch in loader():
            batch.to(device, non_blocking=True)
        wait()

    def feed_ours() -> None:
        for batch in numbers:
            ours.batch(batch, torch.channels_last)
        wait()

    reference, fast = (len(indices) / best_time(feed) for feed in (feed_plain, feed_ours))
    name = f"two images of {side} px on {canvas.height} x {canvas.width} px, batch {BATCH}"
    name += f", loader with {workers} worker{'' if workers == 1 else 's'}"
    return Case(name, fast, reference, "pairs/s", fast / reference, f"canvases within {difference:.1e}")


def cases(device: torch.device, batches: int, workers: int) -> Iterator[Case]:
    """Yield the published canvas, fed by a loader in the process and by one with workers."""
    for count in dict.fromkeys((0, workers)):
        yield compare(Canvas(height=224, width=224), 32, 80, device, batches, count)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU; jobs of the workflow have one")
    parser.add_argument("--workers", type=int, default=2, help="of the data loader, in the second case")
    parser.add_argument("--batches", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, {given.threads} thread(s)"
    report(cases(device, given.batches, given.workers), device=name, as_json=given.json)


if __name__ == "__main__":
    main()
