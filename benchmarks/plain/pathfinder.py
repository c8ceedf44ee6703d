"""Plain Pathfinder image generator.

Draws the Pathfinder images used by Razin, Maman and Cohen (2022), "Implicit Regularization in Hierarchical Tensor
Factorization and Deep Convolutional Neural Networks". The images come from the generator of Linsley et al. (2018),
"Learning long-range spatial dependencies with horizontal gated recurrent units".

Each image shows two dashed target paths of the same length, shorter dashed distractor paths, and two discs.  The first
disc marks the origin of one target path; the second marks the far end of the same path (label 1) or of the other path
(label 0).

This module is written to be read, not to be fast.  Every quantity is a full-frame floating point array, every stroke is
drawn when it is needed, and nothing is cached.  All randomness comes from a given sequence of uniform numbers, which is
consumed strictly in order, so an image is a function of that sequence, the path length and the settings.

Conventions: points are integer pairs (row, col); angles are in radians, with the row axis as sine and the column axis
as cosine; (H, W) is the size of the image in pixels; K is the number of segments of a target path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tacit.settings.pathfinder import Rendering

Point = tuple[int, int]

PATH_ATTEMPTS = 10_000  # failed drawings of the two target paths before giving up
PIXEL_TRIALS = 256  # random pixels tried before one is taken from the list of free pixels
FREE_LEVEL = 76  # a pixel is free if its occupancy is at most this many 255ths (0.3 * 255 = 76.5)
OVERLAP_LEVEL = 459  # a segment collides if occupancy plus its mask reaches this many 255ths (1.8 * 255)
MIN_TOTAL_WEIGHT = 1e-4  # an extension with less total candidate weight than this is impossible
ROUNDING_NOISE = 1e-9  # slack that keeps floating point noise from pushing a whole number over an integer


class OutOfDraws(Exception):
    """The given uniform numbers ran out before the image was finished."""


class _AttemptFailed(Exception):
    """A path could not be placed; whatever was drawn in this attempt is discarded."""


class Draws:
    """A cursor over uniform numbers in [0, 1)."""

    def __init__(self, uniforms: np.ndarray) -> None:
        """Start at the first entry of ``uniforms``, a float array of shape (n,)."""
        self.uniforms = np.asarray(uniforms, dtype=np.float64)
        self.used = 0

    def uniform(self) -> float:
        """Return the next number."""
        if self.used >= len(self.uniforms):
            raise OutOfDraws(f"all {len(self.uniforms)} uniform numbers are used up")
        value = float(self.uniforms[self.used])
        self.used += 1
        return value

    def choose(self, count: int) -> int:
        """Return the next choice among 0, ..., count - 1."""
        return int(self.uniform() * count)

    def choose_from(self, entries: Sequence[float]) -> float:
        """Return one of the entries; uses up a number even if there is only one entry."""
        return entries[self.choose(len(entries))]


@dataclass
class Path:
    """A dashed path while it grows.

    Attributes:
        image: (H, W) float array, the strokes drawn so far.
        mask: (H, W) float array, the mask of the newest segment, not yet part of the occupancy.
        pivot: the point from which the next pivot is found.
        heading: direction of the newest segment.
        origin: tip at which the path starts.
        terminal: tip at which the path ends at present.
        strokes: for each segment the point it is drawn from and the point it is drawn to.
    """

    image: np.ndarray
    mask: np.ndarray
    pivot: Point
    heading: float
    origin: Point
    terminal: Point
    strokes: list[tuple[Point, Point]]


# ----------------------------------------------------------------------------------------------------------------------
# Primitives
# ----------------------------------------------------------------------------------------------------------------------


def translate(point: Point, theta: float, distance: float) -> Point:
    """Move a point by a distance in direction theta; the displacement is rounded up in both coordinates."""
    rows = math.ceil(distance * math.sin(theta) - ROUNDING_NOISE)
    cols = math.ceil(distance * math.cos(theta) - ROUNDING_NOISE)
    return point[0] + rows, point[1] + cols


def flip(theta: float) -> float:
    """Return the opposite direction."""
    return theta + math.pi if theta < 0 else theta - math.pi


def is_inside(point: Point, shape: tuple[int, int]) -> bool:
    """Tell whether a point lies in an image of the given shape."""
    return 0 <= point[0] < shape[0] and 0 <= point[1] < shape[1]


def disc(radius: int) -> np.ndarray:
    """Return a float array of shape (2 radius + 1, 2 radius + 1) that is 1 within the radius of its centre, else 0."""
    rows, cols = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + cols**2 <= radius**2).astype(np.float64)


def dilate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Grey dilation of an (H, W) array: the maximum over the selected kernel entries k of image(p + k - anchor).

    A kernel entry is selected if it is at least 1.  The anchor is the centre of the kernel, whose sides are odd.
    Pixels outside the image do not count, and the maximum over no pixel at all is 0; the values are not negative.
    """
    selected = kernel.astype(np.uint8) != 0
    if not selected.any():
        return np.zeros_like(image)
    return ndimage.maximum_filter(image, footprint=selected, mode="constant", cval=0.0)


def resize(image: Image.Image, shape: tuple[int, int]) -> np.ndarray:
    """Lanczos resize to an array of the given shape with values divided by 255, as float64."""
    small = image.resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(small).astype(np.float64) / 255


def levels(values: np.ndarray) -> np.ndarray:
    """Return values in {0, 1/255, ..., 1} as integers 0, ..., 255; same shape."""
    return np.rint(255 * values).astype(np.int64)


def is_free(occupancy: np.ndarray) -> np.ndarray:
    """Return a bool array that tells which pixels of an (H, W) occupancy are free; same shape."""
    return levels(occupancy) <= FREE_LEVEL


def with_border(occupancy: np.ndarray, width: int) -> np.ndarray:
    """Return a copy of an (H, W) occupancy with a border band of the given width filled."""
    height, length = occupancy.shape
    rows, cols = np.ogrid[:height, :length]
    band = (rows < width) | (rows >= height - width) | (cols < width) | (cols >= length - width)
    return np.where(band, 1.0, occupancy)


def paste(patch: np.ndarray, centre: Point, shape: tuple[int, int]) -> np.ndarray:
    """Return a zero array of the given shape with an odd-sided square patch centred at a point and clipped."""
    half = patch.shape[0] // 2
    top, left = centre[0] - half, centre[1] - half
    row_from, row_to = max(top, 0), min(top + patch.shape[0], shape[0])
    col_from, col_to = max(left, 0), min(left + patch.shape[1], shape[1])
    frame = np.zeros(shape)
    if row_from < row_to and col_from < col_to:
        frame[row_from:row_to, col_from:col_to] = patch[row_from - top : row_to - top, col_from - left : col_to - left]
    return frame


def draw_segment(
    shape: tuple[int, int], start: Point, theta: float, rendering: Rendering, margin: int, contrast: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one segment from a point in direction theta.

    Returns:
        The stroke, a float array of the given shape that may lie slightly outside [0, 1] because the resize rings, and
        its mask, an array of the same shape with values in {0, 1/255, ..., 1} that covers the stroke and the margin
        around it.  The contrast scales the stroke only.
    """
    scale = rendering.antialias
    half = rendering.segment_length + math.ceil(rendering.thickness) + margin
    patch_shape = (2 * half + 1, 2 * half + 1)
    centre = (half * scale, half * scale)
    end = translate(centre, theta, rendering.segment_length * scale)

    canvas = Image.new("F", (2 * half * scale + 1, 2 * half * scale + 1), 0)
    line_width = round(rendering.thickness * scale)
    ImageDraw.Draw(canvas).line([(centre[1], centre[0]), (end[1], end[0])], fill=255, width=line_width)
    stroke = resize(canvas, patch_shape)
    if contrast != 1:
        stroke = stroke * contrast

    thick = dilate(np.asarray(canvas), disc(margin * scale)).astype(np.uint8)
    mask = resize(Image.fromarray(thick), patch_shape)
    return paste(stroke, start, shape), paste(mask, start, shape)


def draw_marker(centre: Point, rendering: Rendering) -> np.ndarray:
    """Return an (H, W) float array in [0, 1] with an antialiased disc at a point."""
    scale = rendering.antialias
    height, width = rendering.window
    rows, cols = np.ogrid[: height * scale, : width * scale]
    inside = (rows - centre[0] * scale) ** 2 + (cols - centre[1] * scale) ** 2 <= (rendering.marker_radius * scale) ** 2
    return resize(Image.fromarray(inside.astype(np.uint8) * 255), rendering.window)


# ----------------------------------------------------------------------------------------------------------------------
# Seeds: the first segment of a path
# ----------------------------------------------------------------------------------------------------------------------


def place_seed(tail: Point, theta: float, contrast: float, rendering: Rendering, margin: int) -> Path | None:
    """Start a path with a segment drawn from ``tail`` in direction theta; None if that leaves the image."""
    length = rendering.segment_length
    head = translate(tail, theta, length)
    pivot = translate(head, flip(theta), length + margin)
    if not is_inside(head, rendering.window) or not is_inside(pivot, rendering.window):
        return None
    stroke, mask = draw_segment(rendering.window, tail, theta, rendering, margin, contrast)
    image = np.maximum(np.zeros(rendering.window), stroke)
    return Path(image, mask, pivot, theta, origin=tail, terminal=head, strokes=[(tail, head)])


def choose_angle(draws: Draws) -> float:
    """Draw a whole number of degrees in [-180, 179], in radians."""
    return math.radians(-180 + draws.choose(360))


def choose_free_pixel(draws: Draws, blocked: np.ndarray) -> Point:
    """Draw a free pixel of an (H, W) occupancy, all free pixels being equally likely."""
    height, width = blocked.shape
    free = is_free(blocked)
    for _ in range(PIXEL_TRIALS):
        row, col = divmod(draws.choose(height * width), width)
        if free[row, col]:
            return row, col
    rows, cols = np.nonzero(free)
    if len(rows) == 0:
        raise _AttemptFailed
    index = draws.choose(len(rows))
    return int(rows[index]), int(cols[index])


def start_path(
    draws: Draws,
    occupancy: np.ndarray,
    border: int,
    contrast: float,
    rendering: Rendering,
    margin: int,
    availability: float = 0.0,
) -> Path:
    """Place a seed where a segment fits.

    Args:
        draws: source of randomness.
        occupancy: (H, W) array of what is taken.
        border: width of a further border band in which the path may not start.
        contrast: contrast of the segment.
        rendering: settings.
        margin: clearance of this image.
        availability: fail if a smaller share of the occupancy than this is free.
    """
    reach = rendering.segment_length + margin
    for _ in range(rendering.max_segment_retrials + 1):
        theta = choose_angle(draws)
        if availability > 0 and np.mean(is_free(occupancy)) < availability:
            raise _AttemptFailed
        # The footprint of a segment in this direction.  It starts one pixel past the centre of the kernel.
        kernel_shape = (2 * reach + 1, 2 * reach + 1)
        _, footprint = draw_segment(kernel_shape, (reach + 1, reach + 1), theta, rendering, margin)
        blocked = dilate(with_border(occupancy, border), footprint)
        tail = choose_free_pixel(draws, blocked)
        path = place_seed(tail, theta, contrast, rendering, margin)
        if path is not None:
            return path
    raise _AttemptFailed


def start_second_path(draws: Draws, first: Path, contrast: float, rendering: Rendering, margin: int) -> Path:
    """Place the seed of the second target path at the seed distance from the first, whether or not it collides."""
    for _ in range(rendering.max_segment_retrials + 1):
        theta = choose_angle(draws)
        phi = math.radians(draws.choose(360))
        offset = rendering.seed_distance * np.array([math.sin(phi), math.cos(phi)])
        rows, cols = np.round(np.round(offset, 9)).astype(int)
        tail = (first.origin[0] + int(rows), first.origin[1] + int(cols))
        path = place_seed(tail, theta, contrast, rendering, margin)
        if path is not None:
            return path
    raise _AttemptFailed


# ----------------------------------------------------------------------------------------------------------------------
# Extensions: every further segment of a path
# ----------------------------------------------------------------------------------------------------------------------


def find_candidates(pivot: Point, radius: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels on a circle around the pivot that lie in the image: int array (n, 2), sorted and unique."""
    step = 360 / (2 * math.pi * radius)
    angles = np.radians(np.arange(0, 360, step))
    rows = pivot[0] + radius * np.sin(angles)
    cols = pivot[1] + radius * np.cos(angles)
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    points = np.stack([rows[inside], cols[inside]], axis=1).astype(int)
    return np.unique(points, axis=0)


def weigh_candidates(
    headings: np.ndarray, current: float, continuity: float, candidate_occupancy: np.ndarray
) -> np.ndarray:
    """Return unnormalised probabilities, shape (n,): high for headings (n,) near the current one and free pixels."""
    turn = np.abs(headings - current)
    turn = np.minimum(turn, 2 * math.pi - turn)
    straightness = np.maximum(np.cos(np.minimum(continuity * turn, math.pi / 2)), 0) ** 2
    return straightness * (1 - candidate_occupancy)


def choose_weighted(draws: Draws, weights: np.ndarray) -> int:
    """Draw an index with probability proportional to the weights, shape (n,)."""
    cumulative = np.cumsum(weights)
    above = np.nonzero(cumulative > draws.uniform() * cumulative[-1])[0]
    if len(above) > 0:
        return int(above[0])
    return int(np.nonzero(weights > 0)[0][-1])


def extend_path(
    draws: Draws, path: Path, occupancy: np.ndarray, contrast: float, rendering: Rendering, margin: int
) -> np.ndarray:
    """Add one segment to a path, in place.

    Returns:
        The (H, W) occupancy with the segment before the new one merged; the new one itself is left out.
    """
    length = rendering.segment_length
    pivot = translate(path.pivot, path.heading, length + 2 * margin)
    candidates = find_candidates(pivot, length + margin, rendering.window)
    headings = np.arctan2(candidates[:, 0] - pivot[0], candidates[:, 1] - pivot[1])
    dilated = dilate(occupancy, disc(margin))
    candidate_occupancy = dilated[candidates[:, 0], candidates[:, 1]]
    weights = weigh_candidates(headings, path.heading, rendering.continuity, candidate_occupancy)
    if len(weights) == 0 or np.cumsum(weights)[-1] < MIN_TOTAL_WEIGHT:
        raise _AttemptFailed

    for _ in range(rendering.max_segment_retrials + 1):
        index = choose_weighted(draws, weights)
        heading = float(headings[index])
        tip = (int(candidates[index, 0]), int(candidates[index, 1]))
        stroke, mask = draw_segment(rendering.window, tip, flip(heading), rendering, margin, contrast)
        if np.max(levels(occupancy) + levels(mask)) < OVERLAP_LEVEL:
            break
    else:
        raise _AttemptFailed

    occupancy = np.maximum(occupancy, path.mask)
    path.image = np.maximum(path.image, stroke)
    path.mask = mask
    path.pivot = pivot
    path.heading = heading
    path.terminal = tip
    path.strokes.append((tip, translate(tip, flip(heading), length)))
    return occupancy


# ----------------------------------------------------------------------------------------------------------------------
# Whole paths
# ----------------------------------------------------------------------------------------------------------------------


def choose_path_contrasts(draws: Draws, contrasts: Sequence[float]) -> tuple[float, float]:
    """Draw the contrasts of the two target paths without replacement from the doubled list."""
    remaining = list(contrasts) * 2
    first = remaining.pop(draws.choose(len(remaining)))
    second = remaining.pop(draws.choose(len(remaining)))
    return first, second


def try_target_paths(
    draws: Draws, occupancy: np.ndarray, path_length: int, rendering: Rendering, margin: int
) -> tuple[list[Path], np.ndarray]:
    """Make one attempt to draw both target paths.

    Returns:
        The two paths and the (H, W) occupancy afterwards.  It lacks the last segment of the first path, unless
        ``mask_last_segments`` is set.
    """
    path_contrasts = choose_path_contrasts(draws, rendering.path_contrasts)
    contrast = draws.choose_from(rendering.segment_contrasts) * path_contrasts[0]
    first = start_path(draws, occupancy, 2 * rendering.seed_distance, contrast, rendering, margin)
    contrast = draws.choose_from(rendering.segment_contrasts) * path_contrasts[1]
    second = start_second_path(draws, first, contrast, rendering, margin)
    paths = [first, second]
    for _ in range(path_length - 1):
        segment_contrast = draws.choose_from(rendering.segment_contrasts)
        for path, path_contrast in zip(paths, path_contrasts, strict=True):
            occupancy = extend_path(draws, path, occupancy, segment_contrast * path_contrast, rendering, margin)
    if rendering.mask_last_segments:
        occupancy = np.maximum(occupancy, first.mask)
    return paths, np.maximum(occupancy, second.mask)


def draw_target_paths(
    draws: Draws, path_length: int, rendering: Rendering, margin: int
) -> tuple[list[Path], np.ndarray, int]:
    """Attempt the target paths until they fit.

    Returns:
        The two paths, the (H, W) occupancy afterwards and the number of failed attempts.
    """
    bare = with_border(np.zeros(rendering.window), rendering.padding)
    for failures in range(PATH_ATTEMPTS):
        try:
            paths, occupancy = try_target_paths(draws, bare, path_length, rendering, margin)
        except _AttemptFailed:
            continue
        return paths, occupancy, failures
    raise ValueError(
        f"no two paths of {path_length} segments fit into a window of {rendering.window} pixels "
        f"in {PATH_ATTEMPTS} attempts; use shorter paths, a larger window or a smaller seed distance"
    )


def try_distractor(
    draws: Draws, occupancy: np.ndarray, num_segments: int, rendering: Rendering, margin: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make one attempt to draw a distractor path.

    Returns:
        Its strokes, an (H, W) array, and the (H, W) occupancy afterwards.
    """
    contrast = draws.choose_from(rendering.path_contrasts)
    path = start_path(draws, occupancy, 1, contrast, rendering, margin, rendering.availability)
    for _ in range(num_segments - 1):
        contrast = draws.choose_from(rendering.path_contrasts)
        occupancy = extend_path(draws, path, occupancy, contrast, rendering, margin)
    return path.image, np.maximum(occupancy, path.mask)


def scatter_distractors(
    draws: Draws,
    image: np.ndarray,
    occupancy: np.ndarray,
    num_slots: int,
    max_retrials: int,
    num_segments: int,
    rendering: Rendering,
    margin: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw one distractor for each slot; a slot whose attempts all fail stays empty.

    Returns:
        The (H, W) image and the (H, W) occupancy afterwards, and the number of slots filled.
    """
    filled = 0
    for _ in range(num_slots):
        for _ in range(max_retrials + 1):
            try:
                strokes, occupancy = try_distractor(draws, occupancy, num_segments, rendering, margin)
            except _AttemptFailed:
                continue
            image = np.maximum(image, strokes)
            filled += 1
            break
    return image, occupancy, filled


def count_single_segments(path_length: int, rendering: Rendering, margin: int) -> int:
    """Return how many single segments are scattered; the larger the margin, the fewer."""
    relative_area = (7.5 + 13 * margin + 4 * margin**2) / 123.5
    return max(int(150 / relative_area) - 2 * path_length - rendering.distractor_segments, 0)


def to_grey(image: np.ndarray) -> np.ndarray:
    """Scale an (H, W) image so that its maximum is 255, and truncate to uint8."""
    return (image / image.max() * 255).astype(np.uint8)


def render(uniforms: np.ndarray, path_length: int, rendering: Rendering) -> dict:
    """Draw a Pathfinder image.

    Args:
        uniforms: float array (n,) of numbers in [0, 1), all the randomness of the image.
        path_length: number of segments K of a target path, at least 1.
        rendering: settings.

    Returns:
        A dictionary with
            image: uint8 array (H, W).
            label: 1 if both discs mark the same path, else 0.
            origin_path: index of the path whose origin is marked.
            terminal_path: index of the path whose far end is marked.
            segments: int16 array (2, K, 2, 2), [path, segment, end, (row, col)]; end 0 is the point the stroke is drawn
                from (the tail of a seed, the outer tip of any other segment), end 1 the point it is drawn to.
            origins: int array (2, 2), the (row, col) at which each path starts.
            terminals: int array (2, 2), the (row, col) at which each path ends.
            num_distractors: number of distractor paths drawn, single segments not counted.
            num_restarts: number of failed attempts at the target paths.
            num_draws: number of uniforms used.

    Raises:
        OutOfDraws: the uniforms do not suffice.
        ValueError: the target paths do not fit.
    """
    if path_length < 1:
        raise ValueError(f"path_length must be at least 1, not {path_length}")

    draws = Draws(uniforms)
    label = draws.choose(2)
    margin = rendering.margins[draws.choose(len(rendering.margins))]
    paths, occupancy, num_restarts = draw_target_paths(draws, path_length, rendering, margin)
    image = np.maximum(paths[0].image, paths[1].image)

    num_slots = math.ceil(rendering.distractor_segments / (path_length / 3))
    retrials = rendering.max_distractor_retrials
    num_segments = max(int(path_length / 3), 1)
    image, occupancy, num_distractors = scatter_distractors(
        draws, image, occupancy, num_slots, retrials, num_segments, rendering, margin
    )
    if rendering.use_single_segments:
        num_slots = count_single_segments(path_length, rendering, margin)
        retrials = rendering.max_segment_retrials
        image, _, _ = scatter_distractors(draws, image, occupancy, num_slots, retrials, 1, rendering, margin)

    origin_path = draws.choose(2)
    terminal_path = origin_path if label == 1 else 1 - origin_path
    image = np.maximum(image, draw_marker(paths[origin_path].origin, rendering))
    image = np.maximum(image, draw_marker(paths[terminal_path].terminal, rendering))

    return {
        "image": to_grey(image),
        "label": label,
        "origin_path": origin_path,
        "terminal_path": terminal_path,
        "segments": np.array([path.strokes for path in paths], dtype=np.int16),
        "origins": np.array([path.origin for path in paths]),
        "terminals": np.array([path.terminal for path in paths]),
        "num_distractors": num_distractors,
        "num_restarts": num_restarts,
        "num_draws": draws.used,
    }
