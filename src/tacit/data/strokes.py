"""Stamps from which Pathfinder images are made: anti-aliased strokes, their keep-out masks and the end discs.

A stroke of length L px is drawn at `antialias` times the resolution and brought down with a Lanczos filter
(generator of Linsley et al. 2018, as parametrised by Razin, Maman, Cohen 2022). Its direction is one of a few hundred:
a whole degree for the first stroke of a path, the direction of one of some fifty pixels on a circle for the others.
So each stamp is drawn once, and rendering an image is pasting.

All coordinates are (row, column) in pixels; angles are in radians, counted from the column axis towards the row axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

FREE_LEVEL = 76
"""Occupancy of 255 up to which a pixel counts as free (0.3 of full)."""

CLASH_LEVEL = 459
"""Sum of two occupancies of 255 from which strokes clash (1.8 of full)."""

NUM_DEGREES = 360
"""Directions of first strokes: degree k - 180 has number k."""

_FLOAT_NOISE = 1e-9


class Stamps(NamedTuple):
    """Everything that rendering looks up, for one margin m. S = 360 + C directions, C candidate pixels.

    Ragged lists of pixels are stored flat, with `*_begin` (S + 1) giving where each stamp begins. Pixels are pairs
    (row, column) relative to the point that the stroke is drawn from.
    """

    reach: int
    """Half the side of a stamp, in px."""
    line_begin: np.ndarray
    line_pixels: np.ndarray
    line_values: np.ndarray
    """Brightness, float64; the Lanczos filter rings, so it reaches about 1.2. Pixels <= 0 are left out."""
    line_peak: np.ndarray
    """Largest brightness of each stamp."""
    mask_begin: np.ndarray
    mask_pixels: np.ndarray
    mask_values: np.ndarray
    """Occupancy, uint8 of 255, without zeros."""
    clash_begin: np.ndarray
    clash_pixels: np.ndarray
    clash_limits: np.ndarray
    """Least occupancy, int64, with which the pixel would clash."""
    seed_begin: np.ndarray
    seed_pixels: np.ndarray
    """Pixels that must be free for a first stroke, for the 360 degrees."""
    stroke_step: np.ndarray
    """(S, 2) from the point a stroke is drawn from to its other end."""
    seed_pivot_step: np.ndarray
    """(360, 2) from the head of a first stroke back to its pivot."""
    pivot_step: np.ndarray
    """(S, 2) from a pivot to the next one, for each heading."""
    candidates: np.ndarray
    """(C, 2) pixels on the circle around a pivot, in lexicographic order."""
    weights: np.ndarray
    """(S, C) probability weight of each candidate for each heading, before occupancy."""
    near: np.ndarray
    """(D, 2) the disc of radius m, over which occupancy is taken around a candidate."""


def displacement(angle: float, distance: float) -> tuple[int, int]:
    """Return the pixel step of length `distance` in direction `angle`, rounded up in both coordinates."""
    row, column = distance * math.sin(angle), distance * math.cos(angle)
    return math.ceil(row - _FLOAT_NOISE), math.ceil(column - _FLOAT_NOISE)


def rounded_displacement(angle: float, distance: float) -> tuple[int, int]:
    """Return the pixel step of length `distance` in direction `angle`, rounded to nearest (ties to even)."""
    return round(round(distance * math.sin(angle), 9)), round(round(distance * math.cos(angle), 9))


def flipped(angle: float) -> float:
    """Return the opposite direction, within [-pi, pi]."""
    return angle + math.pi if angle < 0 else angle - math.pi


def degree(number: int) -> float:
    """Return, in radians, the direction of a first stroke with that number (0 to 359)."""
    return (number - 180) * math.pi / 180


def disc(radius: int) -> np.ndarray:
    """Return a boolean array of side 2 * radius + 1, true within `radius` of its centre."""
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + columns**2 <= radius**2


def draw_stroke(angle: float, *, length: int, thickness: float, margin: int, antialias: int) -> tuple[np.ndarray, ...]:
    """Draw one stroke from the centre of a small square.

    Returns brightness (float64, full contrast 1) and occupancy (uint8 of 255), both of side
    2 * (length + ceil(thickness) + margin) + 1. Raises ValueError if thickness * antialias is not a whole number.
    """
    width = thickness * antialias
    if width != round(width):
        raise ValueError(f"thickness {thickness} times antialias {antialias} must be a whole number of pixels")
    reach = length + math.ceil(thickness) + margin
    fine, side = 2 * reach * antialias + 1, 2 * reach + 1
    centre = reach * antialias
    row_step, column_step = displacement(angle, length * antialias)
    canvas = Image.new("F", (fine, fine), 0)
    line = [(centre, centre), (centre + column_step, centre + row_step)]
    ImageDraw.Draw(canvas).line(line, fill=255, width=round(width))
    brightness = np.asarray(canvas.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float64) / 255
    widened = ndimage.maximum_filter(np.asarray(canvas), footprint=disc(margin * antialias), mode="constant")
    mask = Image.fromarray(widened.astype(np.uint8)).resize((side, side), Image.Resampling.LANCZOS)
    return brightness, np.asarray(mask)


def draw_disc(radius: int, antialias: int) -> np.ndarray:
    """Return an end disc as brightness, float64 of odd side, its centre in the middle.

    The middle pixel of the fine grid is the corner shared by `antialias`^2 sub-pixels, as in the generator,
    so the disc leans by half a pixel towards the top left.
    """
    reach = radius + 4
    side = 2 * reach + 1
    rows, columns = np.ogrid[: side * antialias, : side * antialias]
    centre = reach * antialias
    fine = (rows - centre) ** 2 + (columns - centre) ** 2 <= (radius * antialias) ** 2
    small = Image.fromarray(np.uint8(fine * 255)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.float64) / 255


def make_stamps(*, length: int, thickness: float, margin: int, antialias: int, continuity: float) -> Stamps:
    """Draw all stamps of one margin. Raises ValueError as `draw_stroke` does."""
    reach = length + math.ceil(thickness) + margin
    candidates = candidate_pixels(length + margin)
    orientations = np.arctan2(candidates[:, 0], candidates[:, 1])
    headings = np.concatenate([[degree(k) for k in range(NUM_DEGREES)], orientations])
    directions = np.concatenate([headings[:NUM_DEGREES], [flipped(psi) for psi in orientations]])
    draw = partial(draw_stroke, length=length, thickness=thickness, margin=margin, antialias=antialias)
    lines, masks = zip(*map(draw, directions), strict=True)
    line_begin, line_pixels, line_values = _sparse(lines, reach, keep=lambda line: line > 0)
    mask_begin, mask_pixels, mask_values = _sparse(masks, reach, keep=lambda mask: mask > 0)
    clash_begin, clash_pixels, clash_values = _sparse(masks, reach, keep=lambda mask: mask >= CLASH_LEVEL - 255)
    seed_begin, seed_pixels = _seed_footprints(masks[:NUM_DEGREES], length + margin, reach)
    return Stamps(
        reach=reach,
        line_begin=line_begin,
        line_pixels=line_pixels,
        line_values=line_values,
        line_peak=np.array([line.max() for line in lines]),
        mask_begin=mask_begin,
        mask_pixels=mask_pixels,
        mask_values=mask_values,
        clash_begin=clash_begin,
        clash_pixels=clash_pixels,
        clash_limits=CLASH_LEVEL - clash_values.astype(np.int64),
        seed_begin=seed_begin,
        seed_pixels=seed_pixels,
        stroke_step=np.array([displacement(angle, length) for angle in directions]),
        seed_pivot_step=np.array([displacement(flipped(a), length + margin) for a in headings[:NUM_DEGREES]]),
        pivot_step=np.array([displacement(angle, length + 2 * margin) for angle in headings]),
        candidates=candidates,
        weights=_turning_weights(headings, orientations, continuity),
        near=np.argwhere(disc(margin)) - margin,
    )


def candidate_pixels(radius: int) -> np.ndarray:
    """Return the (C, 2) distinct pixels met on a circle of `radius` at steps of one pixel of arc, in order."""
    angles = np.deg2rad(np.arange(0, 360, 360 / (2 * np.pi * radius)))
    circle = radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.unique(np.floor(circle).astype(np.int64), axis=0)


def _turning_weights(headings: np.ndarray, orientations: np.ndarray, continuity: float) -> np.ndarray:
    """Return (S, C) squared cosines of the turn that each candidate asks for, sharpened by `continuity`."""
    turn = np.abs(orientations[None, :] - headings[:, None])
    turn = np.minimum(turn, 2 * np.pi - turn)
    turn = continuity * turn
    return np.where(turn < np.pi / 2, np.cos(turn) ** 2, 0.0)


def _sparse(stamps: tuple[np.ndarray, ...], reach: int, keep: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where each stamp begins, the kept pixels relative to the centre, and their values."""
    pixels = [np.argwhere(keep(stamp)) for stamp in stamps]
    values = [stamp[tuple(where.T)] for stamp, where in zip(stamps, pixels, strict=True)]
    begin = np.cumsum([0] + [len(where) for where in pixels])
    return begin, np.concatenate(pixels) - reach, np.concatenate(values)


def _seed_footprints(masks: tuple[np.ndarray, ...], radius: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that a first stroke needs free, relative to the pixel tested as its tail.

    The generator holds the stroke one pixel past the tested one, in both coordinates, against the occupied pixels, and
    looks no further than `radius`. Pixels far from the tail come first: they are the likeliest to be occupied.
    """
    begin, pixels, _ = _sparse(masks, reach, keep=lambda mask: mask == 255)
    footprints = []
    for first, last in itertools.pairwise(begin):
        footprint = pixels[first:last] + 1
        footprint = footprint[np.abs(footprint).max(axis=1) <= radius]
        footprints.append(footprint[np.argsort(-(footprint**2).sum(axis=1), kind="stable")])
    return np.cumsum([0] + [len(footprint) for footprint in footprints]), np.concatenate(footprints)
