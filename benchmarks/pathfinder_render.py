"""Images per second of the Pathfinder renderer, on one core, beside a plain generator of the same algorithm.

Both draw from the same uniforms, and every image of the plain generator is first found equal to ours, bit for bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from comparison import Case, arguments, best_time, processor, report
from plain import pathfinder as plain
from tacit import store, streams
from tacit.data.pathfinder import Renderer
from tacit.settings.pathfinder import Rendering
from tacit.studies.pathfinder import RAW


def compare(path_length: int, *, num_plain: int, num_ours: int) -> Iterator[Case]:
    """Yield the cases of one path length at published settings: rendering, and rendering with writing."""
    rendering = Rendering()
    renderer = Renderer(rendering, path_length)
    key = streams.key("pathfinder", 0, path_length)
    uniforms = [streams.philox(key, number).random(20_000) for number in range(num_plain)]
    ours = renderer.render(0, 0, num_plain)
    for number in range(num_plain):
        expected = plain.render(uniforms[number], path_length, rendering)
        assert np.array_equal(ours.images[number], expected["image"]), f"image {number} differs"
        assert ours.labels[number] == expected["label"]
    slow = num_plain / best_time(lambda: [plain.render(u, path_length, rendering) for u in uniforms], repeats=1)
    agreement = f"{num_plain} images equal bit for bit"
    fast = num_ours / best_time(lambda: renderer.render(0, 0, num_ours))
    yield Case(f"render, path length {path_length}", fast, slow, "images/s", fast / slow, agreement)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.h5"

        def render_and_write() -> None:
            images = renderer.render(0, 0, num_ours)
            store.write(path, images._asdict(), kind=RAW, settings={})

        written = num_ours / best_time(render_and_write)
        size = path.stat().st_size / num_ours
    name = f"render and write ({size:.0f} bytes an image), path length {path_length}"
    yield Case(name, written, slow, "images/s", written / slow, agreement)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--path-lengths", type=int, nargs="+", default=[3, 5, 7, 9])
    parser.add_argument("--plain-images", type=int, default=12, help="images drawn by the plain generator")
    parser.add_argument("--images", type=int, default=1000, help="images drawn by ours")
    given = parser.parse_args()
    sizes = {"num_plain": given.plain_images, "num_ours": given.images}
    cases = (case for path_length in given.path_lengths for case in compare(path_length, **sizes))
    report(cases, device=f"{processor()}, one core", as_json=given.json)


if __name__ == "__main__":
    main()
