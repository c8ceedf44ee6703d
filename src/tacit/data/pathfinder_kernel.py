"""Compiled part of the Pathfinder generator: growing paths over an occupancy map and pasting stamps.

The rules are those of `tacit.data.pathfinder`. Three things make it quick without changing a result: strokes are
stamps drawn beforehand; whether a place is free is looked up around that place alone, not by dilating the whole
frame; and a free pixel is found by trying random ones, which is uniform over the free ones, before they are ever
listed. Occupancy is uint8 of 255, so every comparison is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from tacit.compiled import kernel
from tacit.data.strokes import FREE_LEVEL, NUM_DEGREES

MAX_ATTEMPTS = 10_000
"""Attempts at the two paths of one image, after which the rendering is taken to be impossible."""

NUM_BLIND_DRAWS = 256
"""Random pixels tried before the free ones are listed."""

OUT_OF_DRAWS, IMPOSSIBLE = -1, -2
"""What `render_batch` returns in place of the number of uniforms used."""

_FULL = 255
_LEAST_WEIGHT = 1e-4
_USED, _LOGGED, _BLOCKED, _STROKES = 0, 1, 2, 3


class Frame(NamedTuple):
    """What rendering needs to know besides the stamps."""

    height: int
    width: int
    padding: int
    path_length: int
    seed_steps: np.ndarray
    """(360, 2) from the origin of one path to that of the other."""
    seed_border: int
    """Band, in px, that the origin of the first path keeps clear of."""
    path_contrasts: np.ndarray
    segment_contrasts: np.ndarray
    max_segment_retrials: int
    max_distractor_retrials: int
    num_distractors: int
    distractor_length: int
    availability: float
    disc: np.ndarray


class Images(NamedTuple):
    """N rendered images and their geometry; K strokes a path, points as (row, column)."""

    images: np.ndarray
    """(N, H, W) uint8; the brightest pixel of every image is 255."""
    labels: np.ndarray
    """(N,) uint8: 1 if both discs lie on one path."""
    marked_paths: np.ndarray
    """(N, 2) uint8: the path whose origin, and the path whose far end, carries a disc."""
    tips: np.ndarray
    """(N, 2, 2, 2) int16: [path, origin or far end, (row, column)]."""
    segments: np.ndarray
    """(N, 2, K, 2, 2) int16: [path, stroke, point drawn from or point drawn to, (row, column)]."""
    num_distractors: np.ndarray
    """(N,) int16: distractor paths that found a place."""
    num_restarts: np.ndarray
    """(N,) int16: attempts at the two paths that failed."""


# Called from compiled code alone; without the code for calls from Python, compiling takes a fifth less.
_inner = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]


class _Scratch(NamedTuple):
    """Working memory of one image."""

    uniforms: np.ndarray
    counts: np.ndarray
    """[uniforms used, changes logged, pixels no longer free, strokes drawn]"""
    occupancy: np.ndarray
    log_pixels: np.ndarray
    log_values: np.ndarray
    """Occupancy before each change, so that a failed attempt can be taken back."""
    cumulative: np.ndarray
    strokes: np.ndarray
    """(M, 3) stamp number, row, column of each stroke drawn."""
    contrasts: np.ndarray


@_inner
def _draw(scratch):
    # Past the end the numbers are 0; the caller sees from the count that the image is void.
    used = scratch.counts[_USED]
    scratch.counts[_USED] = used + 1
    return scratch.uniforms[used] if used < scratch.uniforms.size else 0.0


@_inner
def _choose(scratch, count):
    return int(_draw(scratch) * count)


@_inner
def _merge(scratch, stamps, stamp, row, column):
    """Mark the keep-out mask of a stroke as occupied, and log what was there."""
    occupancy, counts = scratch.occupancy, scratch.counts
    height, width = occupancy.shape
    logged, blocked = counts[_LOGGED], counts[_BLOCKED]
    for k in range(stamps.mask_begin[stamp], stamps.mask_begin[stamp + 1]):
        r = row + stamps.mask_pixels[k, 0]
        c = column + stamps.mask_pixels[k, 1]
        if 0 <= r < height and 0 <= c < width:
            old, new = occupancy[r, c], stamps.mask_values[k]
            if new > old:
                scratch.log_pixels[logged] = r * width + c
                scratch.log_values[logged] = old
                logged += 1
                blocked += old <= FREE_LEVEL < new
                occupancy[r, c] = new
    counts[_LOGGED], counts[_BLOCKED] = logged, blocked


@_inner
def _take_back(scratch, mark_logged, mark_blocked, mark_strokes):
    """Undo everything since the counts were as given."""
    flat = scratch.occupancy.ravel()
    for k in range(scratch.counts[_LOGGED] - 1, mark_logged - 1, -1):
        flat[scratch.log_pixels[k]] = scratch.log_values[k]
    scratch.counts[_LOGGED] = mark_logged
    scratch.counts[_BLOCKED] = mark_blocked
    scratch.counts[_STROKES] = mark_strokes


@_inner
def _record(scratch, stamp, row, column, contrast):
    number = scratch.counts[_STROKES]
    scratch.strokes[number] = (stamp, row, column)
    scratch.contrasts[number] = contrast
    scratch.counts[_STROKES] = number + 1


@_inner
def _is_free(occupancy, stamps, stamp, row, column, border):
    """Tell whether a first stroke may start here: all its pixels free and clear of the border band."""
    height, width = occupancy.shape
    for k in range(stamps.seed_begin[stamp], stamps.seed_begin[stamp + 1]):
        r = row + stamps.seed_pixels[k, 0]
        c = column + stamps.seed_pixels[k, 1]
        if 0 <= r < height and 0 <= c < width:
            if not (border <= r < height - border and border <= c < width - border):
                return False
            if occupancy[r, c] > FREE_LEVEL:
                return False
    return True


@_inner
def _free_pixel(scratch, stamps, stamp, border):
    """Return a free pixel, uniformly, as row * width + column; -1 if there is none."""
    occupancy = scratch.occupancy
    height, width = occupancy.shape
    for _ in range(NUM_BLIND_DRAWS):
        pixel = _choose(scratch, height * width)
        if _is_free(occupancy, stamps, stamp, pixel // width, pixel % width, border):
            return pixel
    free = [p for p in range(height * width) if _is_free(occupancy, stamps, stamp, p // width, p % width, border)]
    return free[_choose(scratch, len(free))] if len(free) > 0 else -1


@_inner
def _seed_fits(occupancy, stamps, stamp, row, column):
    """Tell whether both the head of a first stroke and its pivot lie inside the image."""
    height, width = occupancy.shape
    head_row, head_column = row + stamps.stroke_step[stamp, 0], column + stamps.stroke_step[stamp, 1]
    pivot_row = head_row + stamps.seed_pivot_step[stamp, 0]
    pivot_column = head_column + stamps.seed_pivot_step[stamp, 1]
    head_inside = 0 <= head_row < height and 0 <= head_column < width
    return head_inside and 0 <= pivot_row < height and 0 <= pivot_column < width


@_inner
def _seed(scratch, stamps, border, retrials, availability):
    """Place a first stroke at random; return (stamp, row, column), stamp -1 if that fails."""
    width = scratch.occupancy.shape[1]
    for _ in range(retrials + 1):
        stamp = _choose(scratch, NUM_DEGREES)
        if scratch.occupancy.size - scratch.counts[_BLOCKED] < availability * scratch.occupancy.size:
            return -1, 0, 0
        pixel = _free_pixel(scratch, stamps, stamp, border)
        if pixel < 0:
            return -1, 0, 0
        row, column = pixel // width, pixel % width
        if _seed_fits(scratch.occupancy, stamps, stamp, row, column):
            return stamp, row, column
    return -1, 0, 0


@_inner
def _seed_beside(scratch, stamps, frame, row, column):
    """Place the first stroke of the second path at the set distance from the first; as `_seed`."""
    for _ in range(frame.max_segment_retrials + 1):
        stamp = _choose(scratch, NUM_DEGREES)
        step = _choose(scratch, NUM_DEGREES)
        r, c = row + frame.seed_steps[step, 0], column + frame.seed_steps[step, 1]
        if _seed_fits(scratch.occupancy, stamps, stamp, r, c):
            return stamp, r, c
    return -1, 0, 0


@_inner
def _occupancy_near(occupancy, stamps, row, column):
    height, width = occupancy.shape
    highest = 0
    for k in range(stamps.near.shape[0]):
        r, c = row + stamps.near[k, 0], column + stamps.near[k, 1]
        if 0 <= r < height and 0 <= c < width and occupancy[r, c] > highest:
            highest = occupancy[r, c]
            if highest == _FULL:
                break
    return highest


@_inner
def _clashes(occupancy, stamps, stamp, row, column):
    height, width = occupancy.shape
    for k in range(stamps.clash_begin[stamp], stamps.clash_begin[stamp + 1]):
        r, c = row + stamps.clash_pixels[k, 0], column + stamps.clash_pixels[k, 1]
        if 0 <= r < height and 0 <= c < width and occupancy[r, c] >= stamps.clash_limits[k]:
            return True
    return False


@_inner
def _extend(scratch, stamps, pivot_row, pivot_column, heading, retrials):
    """Choose the outer tip of the next stroke around a pivot; return the number of the candidate, or -1."""
    occupancy, cumulative = scratch.occupancy, scratch.cumulative
    height, width = occupancy.shape
    total = 0.0
    count = stamps.candidates.shape[0]
    for k in range(count):
        weight = stamps.weights[heading, k]
        if weight > 0:
            r, c = pivot_row + stamps.candidates[k, 0], pivot_column + stamps.candidates[k, 1]
            if 0 <= r < height and 0 <= c < width:
                total += weight * (_FULL - _occupancy_near(occupancy, stamps, r, c)) / _FULL
        cumulative[k] = total
    if total < _LEAST_WEIGHT:
        return -1
    for _ in range(retrials + 1):
        chosen = np.searchsorted(cumulative[:count], _draw(scratch) * total, side="right")
        r, c = pivot_row + stamps.candidates[chosen, 0], pivot_column + stamps.candidates[chosen, 1]
        if not _clashes(occupancy, stamps, NUM_DEGREES + chosen, r, c):
            return chosen
    return -1


@_inner
def _grow(scratch, stamps, state, retrials, contrast):
    """Add one stroke to the path in `state`; return whether it found a place.

    `state` is [pivot row, pivot column, heading, last stamp, its row, its column]. The mask of the path's last stroke
    is merged only now, one stroke late, so that the new stroke may touch it.
    """
    heading = state[2]
    pivot_row = state[0] + stamps.pivot_step[heading, 0]
    pivot_column = state[1] + stamps.pivot_step[heading, 1]
    chosen = _extend(scratch, stamps, pivot_row, pivot_column, heading, retrials)
    if chosen < 0:
        return False
    _merge(scratch, stamps, state[3], state[4], state[5])
    row, column = pivot_row + stamps.candidates[chosen, 0], pivot_column + stamps.candidates[chosen, 1]
    # Candidates are numbered alike as headings (outwards) and as stamps (drawn back towards the pivot).
    state[:] = (pivot_row, pivot_column, NUM_DEGREES + chosen, NUM_DEGREES + chosen, row, column)
    _record(scratch, NUM_DEGREES + chosen, row, column, contrast)
    return True


@_inner
def _start(scratch, stamps, state, stamp, row, column, contrast):
    state[0] = row + stamps.stroke_step[stamp, 0] + stamps.seed_pivot_step[stamp, 0]
    state[1] = column + stamps.stroke_step[stamp, 1] + stamps.seed_pivot_step[stamp, 1]
    state[2:] = (stamp, stamp, row, column)
    _record(scratch, stamp, row, column, contrast)


@_inner
def _two_paths(scratch, stamps, frame, merge_last_of_first):
    """Attempt both target paths; on success strokes alternate between them in `scratch.strokes`."""
    count = len(frame.path_contrasts)
    one = _choose(scratch, 2 * count)
    two = _choose(scratch, 2 * count - 1)
    two += two >= one
    path_contrasts = (frame.path_contrasts[one % count], frame.path_contrasts[two % count])
    states = np.empty((2, 6), np.int64)
    contrast = frame.segment_contrasts[_choose(scratch, len(frame.segment_contrasts))]
    stamp, row, column = _seed(scratch, stamps, frame.seed_border, frame.max_segment_retrials, 0.0)
    if stamp < 0:
        return False
    _start(scratch, stamps, states[0], stamp, row, column, contrast * path_contrasts[0])
    contrast = frame.segment_contrasts[_choose(scratch, len(frame.segment_contrasts))]
    stamp, row, column = _seed_beside(scratch, stamps, frame, row, column)
    if stamp < 0:
        return False
    _start(scratch, stamps, states[1], stamp, row, column, contrast * path_contrasts[1])
    for _ in range(frame.path_length - 1):
        contrast = frame.segment_contrasts[_choose(scratch, len(frame.segment_contrasts))]
        for path in range(2):
            if not _grow(scratch, stamps, states[path], frame.max_segment_retrials, contrast * path_contrasts[path]):
                return False
    if merge_last_of_first:
        _merge(scratch, stamps, states[0, 3], states[0, 4], states[0, 5])
    _merge(scratch, stamps, states[1, 3], states[1, 4], states[1, 5])
    return True


@_inner
def _distractor(scratch, stamps, frame, length):
    """Attempt one distractor path of `length` strokes."""
    state = np.empty(6, np.int64)
    contrast = frame.path_contrasts[_choose(scratch, len(frame.path_contrasts))]
    stamp, row, column = _seed(scratch, stamps, 1, frame.max_segment_retrials, frame.availability)
    if stamp < 0:
        return False
    _start(scratch, stamps, state, stamp, row, column, contrast)
    for _ in range(length - 1):
        contrast = frame.path_contrasts[_choose(scratch, len(frame.path_contrasts))]
        if not _grow(scratch, stamps, state, frame.max_segment_retrials, contrast):
            return False
    _merge(scratch, stamps, state[3], state[4], state[5])
    return True


@_inner
def _fill(scratch, stamps, frame, num_paths, length, retrials):
    """Try to place `num_paths` distractors; return how many found a place."""
    placed = 0
    for _ in range(num_paths):
        for _ in range(retrials + 1):
            logged, blocked, strokes = scratch.counts[1:]
            if _distractor(scratch, stamps, frame, length):
                placed += 1
                break
            _take_back(scratch, logged, blocked, strokes)
    return placed


@_inner
def _paint(image, scratch, stamps, disc, discs):
    """Paste all strokes and the two discs, scaled so that the brightest pixel is 255."""
    height, width = image.shape
    reach = disc.shape[0] // 2
    peak = disc.max()
    for number in range(scratch.counts[_STROKES]):
        stamp, row, column = scratch.strokes[number]
        contrast = scratch.contrasts[number]
        if stamps.line_peak[stamp] * contrast <= peak:
            continue
        for k in range(stamps.line_begin[stamp], stamps.line_begin[stamp + 1]):
            r, c = row + stamps.line_pixels[k, 0], column + stamps.line_pixels[k, 1]
            if 0 <= r < height and 0 <= c < width:
                peak = max(peak, stamps.line_values[k] * contrast)
    for number in range(scratch.counts[_STROKES]):
        stamp, row, column = scratch.strokes[number]
        contrast = scratch.contrasts[number]
        for k in range(stamps.line_begin[stamp], stamps.line_begin[stamp + 1]):
            r, c = row + stamps.line_pixels[k, 0], column + stamps.line_pixels[k, 1]
            if 0 <= r < height and 0 <= c < width:
                grey = np.uint8(stamps.line_values[k] * contrast / peak * _FULL)
                if grey > image[r, c]:
                    image[r, c] = grey
    for number in range(2):
        for i in range(disc.shape[0]):
            for j in range(disc.shape[1]):
                r, c = discs[number, 0] + i - reach, discs[number, 1] + j - reach
                if 0 <= r < height and 0 <= c < width:
                    grey = np.uint8(disc[i, j] / peak * _FULL)
                    if grey > image[r, c]:
                        image[r, c] = grey


@_inner
def _describe(tips, segments, scratch, stamps, path_length):
    """Write down where the strokes of both paths lie."""
    for number in range(2 * path_length):
        path, place = number % 2, number // 2
        stamp, row, column = scratch.strokes[number]
        end_row, end_column = row + stamps.stroke_step[stamp, 0], column + stamps.stroke_step[stamp, 1]
        segments[path, place, 0] = (row, column)
        segments[path, place, 1] = (end_row, end_column)
        if place == 0:
            tips[path, 0] = (row, column)
            tips[path, 1] = (end_row, end_column)
        else:
            tips[path, 1] = (row, column)


@_inner
def _render(index, scratch, stamps, frame, num_singles, merge_last_of_first, out):
    """Draw one image; return the number of uniforms used, or one of OUT_OF_DRAWS, IMPOSSIBLE."""
    label = _choose(scratch, 2)
    _draw(scratch)  # chose the margin, and so the stamps
    restarts = 0
    blocked = scratch.counts[_BLOCKED]
    while not _two_paths(scratch, stamps, frame, merge_last_of_first):
        _take_back(scratch, 0, blocked, 0)
        restarts += 1
        if scratch.counts[_USED] > scratch.uniforms.size:
            return OUT_OF_DRAWS
        if restarts == MAX_ATTEMPTS:
            return IMPOSSIBLE
    retrials = frame.max_distractor_retrials
    placed = _fill(scratch, stamps, frame, frame.num_distractors, frame.distractor_length, retrials)
    _fill(scratch, stamps, frame, num_singles, 1, frame.max_segment_retrials)
    origin_path = _choose(scratch, 2)
    if scratch.counts[_USED] > scratch.uniforms.size:
        return OUT_OF_DRAWS
    end_path = origin_path if label == 1 else 1 - origin_path
    out.labels[index] = label
    out.marked_paths[index] = (origin_path, end_path)
    out.num_distractors[index] = placed
    out.num_restarts[index] = restarts
    _describe(out.tips[index], out.segments[index], scratch, stamps, frame.path_length)
    discs = np.empty((2, 2), np.int64)
    discs[0] = out.tips[index, origin_path, 0]
    discs[1] = out.tips[index, end_path, 1]
    _paint(out.images[index], scratch, stamps, frame.disc, discs)
    return scratch.counts[_USED]


@kernel()
def render_batch(uniforms, indices, stamps, frame, num_singles, merge_last_of_first, out):
    """Draw the images numbered `indices` from those rows of `uniforms` (N, U) into `out`, whose images must be zero.

    All have the margin of `stamps`. Returns (len(indices),) int64: uniforms used by each image, OUT_OF_DRAWS if U were
    too few (nothing is painted then), or IMPOSSIBLE if two paths could not be placed.
    """
    height, width = frame.height, frame.width
    most_strokes = 2 * frame.path_length + frame.num_distractors * frame.distractor_length + num_singles
    border = np.full((height, width), _FULL, np.uint8)
    border[frame.padding : height - frame.padding, frame.padding : width - frame.padding] = 0
    num_blocked = np.count_nonzero(border)
    occupancy = np.empty_like(border)
    counts = np.zeros(4, np.int64)
    # One stroke more than are kept: that of an attempt about to fail.
    log_pixels = np.empty((most_strokes + 1) * (2 * stamps.reach + 1) ** 2, np.int64)
    log_values = np.empty(log_pixels.size, np.uint8)
    cumulative = np.empty(len(stamps.candidates))
    strokes = np.empty((most_strokes + 1, 3), np.int64)
    contrasts = np.empty(most_strokes + 1)
    used = np.empty(len(indices), np.int64)
    for number, index in enumerate(indices):
        occupancy[:] = border
        counts[:] = (0, 0, num_blocked, 0)
        scratch = _Scratch(uniforms[index], counts, occupancy, log_pixels, log_values, cumulative, strokes, contrasts)
        used[number] = _render(index, scratch, stamps, frame, num_singles, merge_last_of_first, out)
    return used
