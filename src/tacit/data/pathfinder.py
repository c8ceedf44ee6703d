"""Pathfinder images, whose question is whether two discs lie on one path or on two.

After the generator of Linsley et al. 2018 as used by Razin, Maman, Cohen 2022 (section 6): two curved paths of K
strokes each grow side by side, short distractor paths fill the rest, and two discs mark both ends of one path (label
1) or one end of each (label 0).

An image is a pure function of (rendering, path length, uniforms): a sequence of numbers in [0, 1), used up in a fixed
order, so that any other implementation of the rules can be held against this one image by image. Image i takes them
from position i of the stream ("pathfinder", seed, path_length); nothing else enters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tacit import streams
from tacit.data.pathfinder_kernel import IMPOSSIBLE, MAX_ATTEMPTS, OUT_OF_DRAWS, Frame, Images, render_batch
from tacit.data.strokes import NUM_DEGREES, draw_disc, make_stamps, rounded_displacement
from tacit.errors import UserError
from tacit.settings.pathfinder import Rendering

_BATCH = 256
_UNIFORMS = 1024


class NoPlaceError(UserError):
    """The paths asked for do not fit into the window."""


def num_distractor_paths(path_length: int, distractor_segments: int) -> int:
    """Return how many distractors are tried: one for each whole i < distractor_segments / (path_length / 3)."""
    return -(-3 * distractor_segments // path_length)


def num_single_segments(rendering: Rendering, path_length: int, margin: int) -> int:
    """Return how many single segments are tried: what is left of a number that shrinks with the room each takes."""
    if not rendering.use_single_segments:
        return 0
    room = 150 * 123.5 / (7.5 + 13 * margin + 4 * margin**2)
    return max(int(room) - 2 * path_length - rendering.distractor_segments, 0)


class Renderer:
    """Draws images of one rendering and path length; the stamps are made, and code is compiled, when it is built.

    Raises ValueError for a rendering that the strokes cannot be drawn with.
    """

    def __init__(self, rendering: Rendering, path_length: int):
        self.rendering = rendering
        self.path_length = path_length
        self._frame = _make_frame(rendering, path_length)
        self._stamps = [
            make_stamps(
                length=rendering.segment_length,
                thickness=rendering.thickness,
                margin=margin,
                antialias=rendering.antialias,
                continuity=rendering.continuity,
            )
            for margin in rendering.margins
        ]
        # No images, but compiled code, whose time does not count in the rate of those to come.
        self._run(np.empty((0, _UNIFORMS)), self._empty(0))

    def render(
        self, seed: int, first: int, last: int, *, advance: Callable[[int], None] = lambda count: None
    ) -> Images:
        """Draw images `first` to `last - 1` of the stream of `seed`.

        `advance` is told how many images were drawn since it was last called. Raises NoPlaceError if paths of this
        length find no place in the window.
        """
        key = streams.key("pathfinder", seed, self.path_length)
        out = self._empty(last - first)
        for begin in range(0, last - first, _BATCH):
            part = Images(*(array[begin : begin + _BATCH] for array in out))
            count = len(part.labels)
            self._draw(key, range(first + begin, first + begin + count), part, _UNIFORMS)
            advance(count)
        return out

    def render_from(self, uniforms: np.ndarray) -> tuple[Images, int]:
        """Draw one image from explicit `uniforms`, (U,) float64 in [0, 1); return it and how many were used.

        Raises ValueError if there are too few, NoPlaceError if the paths find no place.
        """
        out = self._empty(1)
        (used,) = self._run(uniforms[None, :], out)
        if used == OUT_OF_DRAWS:
            raise ValueError(f"{len(uniforms)} uniforms do not suffice for this image")
        return out, int(used)

    def _draw(self, key: int, numbers: Sequence[int], out: Images, num_uniforms: int) -> None:
        uniforms = np.empty((len(numbers), num_uniforms))
        for row, number in zip(uniforms, numbers, strict=True):
            streams.philox(key, number).random(out=row)
        used = self._run(uniforms, out)
        # An image that ran out of numbers is drawn anew: a longer block begins with the same ones.
        for index in np.flatnonzero(used == OUT_OF_DRAWS):
            again = Images(*(array[index : index + 1] for array in out))
            self._draw(key, [numbers[int(index)]], again, 8 * num_uniforms)

    def _run(self, uniforms: np.ndarray, out: Images) -> np.ndarray:
        margins = self.rendering.margins
        # The second number of every image chooses its margin; images of one margin are drawn together.
        chosen = (uniforms[:, 1] * len(margins)).astype(np.int64)
        used = np.empty(len(uniforms), np.int64)
        for which, (margin, stamps) in enumerate(zip(margins, self._stamps, strict=True)):
            own = np.flatnonzero(chosen == which)
            num_singles = num_single_segments(self.rendering, self.path_length, margin)
            merge_last = self.rendering.mask_last_segments
            used[own] = render_batch(uniforms, own, stamps, self._frame, num_singles, merge_last, out)
        if (used == IMPOSSIBLE).any():
            height, width = self.rendering.window
            raise NoPlaceError(
                f"two paths of {self.path_length} segments of {self.rendering.segment_length} px, starting "
                f"{self.rendering.seed_distance} px apart, found no place in a window of {height} x {width} px with "
                f"padding {self.rendering.padding} in {MAX_ATTEMPTS} attempts: enlarge window, or reduce "
                "seed_distance, padding, segment_length or the path length"
            )
        return used

    def _empty(self, count: int) -> Images:
        height, width = self.rendering.window
        return Images(
            images=np.zeros((count, height, width), np.uint8),
            labels=np.zeros(count, np.uint8),
            marked_paths=np.zeros((count, 2), np.uint8),
            tips=np.zeros((count, 2, 2, 2), np.int16),
            segments=np.zeros((count, 2, self.path_length, 2, 2), np.int16),
            num_distractors=np.zeros(count, np.int16),
            num_restarts=np.zeros(count, np.int16),
        )


def margin_of(rendering: Rendering, path_length: int, *, seed: int, number: int) -> int:
    """Return which of the margins was drawn for image `number` of the stream of `seed`."""
    second = streams.philox(streams.key("pathfinder", seed, path_length), number).random(2)[1]
    return rendering.margins[int(second * len(rendering.margins))]


def _make_frame(rendering: Rendering, path_length: int) -> Frame:
    height, width = rendering.window
    return Frame(
        height=height,
        width=width,
        padding=rendering.padding,
        path_length=path_length,
        seed_steps=np.array([rounded_displacement(np.deg2rad(k), rendering.seed_distance) for k in range(NUM_DEGREES)]),
        seed_border=2 * rendering.seed_distance,
        path_contrasts=np.array(rendering.path_contrasts, dtype=np.float64),
        segment_contrasts=np.array(rendering.segment_contrasts, dtype=np.float64),
        max_segment_retrials=rendering.max_segment_retrials,
        max_distractor_retrials=rendering.max_distractor_retrials,
        num_distractors=num_distractor_paths(path_length, rendering.distractor_segments),
        distractor_length=max(path_length // 3, 1),
        availability=rendering.availability,
        disc=draw_disc(rendering.marker_radius, rendering.antialias),
    )
