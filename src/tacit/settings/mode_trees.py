"""Mode trees of hierarchical tensor factorizations: which modes are brought together, level by level.

After Razin, Maman, Cohen 2022, section 4. The leaves are the modes; at each level nodes are pooled in groups until one
is left, the root. Pure Python, because settings are checked against it before anything is computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tacit.settings.base import check_memory

MOST_CHANNELS = 10**6
"""Of a level."""

Pattern = Literal["checkerboard", "half", "checkerboard_sq"]
"""In which order nodes are pooled, so many at a time. `checkerboard`: as they are, neighbours together. `half`: in turn
one of the first half and the one half the nodes further; of an odd number the middle one comes last. `checkerboard_sq`:
first square patches of the largest square grid that the nodes fill, row by row; then what patches leave over of it, the
last columns before the last rows; then the nodes behind the grid."""


@dataclass(frozen=True)
class ModeTree:
    """Nodes of one factorization, as `mode_tree` makes it."""

    order: int
    groups: tuple[tuple[tuple[int, ...], ...], ...]
    """groups[l][g] are the children of node g of level l + 1, as numbers of nodes of level l; level 0: the leaves."""
    modes: tuple[tuple[tuple[int, ...], ...], ...]
    """modes[l][i] are the modes below node i of level l, from 0, in the order of the leaves."""

    @property
    def levels(self) -> int:
        """Number of levels below the root: of matrices, and of widths, that the factorization has."""
        return len(self.groups)

    @property
    def leaf_order(self) -> tuple[int, ...]:
        """Modes in the order in which the root has them."""
        return self.modes[-1][0]

    def label(self, level: int, node: int) -> str:
        """Return a name of a node by its modes, from 1, such as "1_2"; one with a single child adds its level."""
        name = "_".join(str(mode + 1) for mode in sorted(self.modes[level][node]))
        alone = level > 0 and len(self.groups[level - 1][node]) == 1
        return f"{name}_level{level}" if alone else name

    def inner_nodes(self) -> list[tuple[int, int]]:
        """Return level and number of every node that is no leaf, the root last."""
        return [(level, node) for level in range(1, self.levels + 1) for node in range(len(self.modes[level]))]


def mode_tree(order: int, pool_size: int | Sequence[int], pattern: Pattern = "checkerboard") -> ModeTree:
    """Return the tree that pools `pool_size` nodes at a time, the pattern applied anew at each level.

    `pool_size` is one number for all levels, or one for each, from the leaves up. A smaller group may be left over, the
    last, and is then pooled by itself. Raises ValueError if the order is below 2, if the pool sizes are not those of
    all levels, or if `checkerboard_sq` is to pool a number that is no square.
    """
    if order < 2:
        raise ValueError(f"a tree needs at least 2 modes, not {order}")
    shown = list(pool_size) if isinstance(pool_size, Sequence) else pool_size
    sizes = iter(pool_size) if isinstance(pool_size, Sequence) else itertools.repeat(pool_size)
    groups: list[tuple[tuple[int, ...], ...]] = []
    modes: list[tuple[tuple[int, ...], ...]] = [tuple((mode,) for mode in range(order))]
    while len(modes[-1]) > 1:
        size = next(sizes, None)
        if size is None:
            left = f"{len(modes[-1])} nodes are left after {len(groups)} level{'s' if len(groups) > 1 else ''}"
            raise ValueError(f"pool_size = {shown}: of {order} modes {left}; one pool size is needed for each level")
        level = _pool(len(modes[-1]), size, pattern)
        groups.append(level)
        modes.append(tuple(tuple(mode for child in group for mode in modes[-1][child]) for group in level))
    if isinstance(pool_size, Sequence) and len(pool_size) > len(groups):
        levels = f"{len(groups)} level" + ("" if len(groups) == 1 else "s")
        raise ValueError(f"pool_size = {shown}: of {order} modes one node is left after {levels}; leave out the rest")
    return ModeTree(order, tuple(groups), tuple(modes))


def _pool(nodes: int, pool_size: int, pattern: Pattern) -> tuple[tuple[int, ...], ...]:
    """Return the nodes of a level in groups of `pool_size`, the last of which may be smaller."""
    if pool_size < 2:
        raise ValueError(f"pool_size = {pool_size}: at least 2 nodes are pooled at a time")
    if pattern == "half":
        ordered = _halves(nodes)
    elif pattern == "checkerboard_sq":
        ordered = _patches(nodes, pool_size)
    else:
        ordered = tuple(range(nodes))
    return tuple(ordered[first : first + pool_size] for first in range(0, nodes, pool_size))


def _halves(nodes: int) -> tuple[int, ...]:
    half, odd = divmod(nodes, 2)
    pairs = (node for first in range(half) for node in (first, first + half + odd))
    return (*pairs, half) if odd else tuple(pairs)


def _patches(nodes: int, pool_size: int) -> tuple[int, ...]:
    patch, side = math.isqrt(pool_size), math.isqrt(nodes)
    if patch**2 != pool_size:
        raise ValueError(f"pool_size = {pool_size}: checkerboard_sq pools square patches, of 4, 9, 16, ... nodes")
    tiled = side // patch * patch
    inside = [
        (top + row, left + column)
        for top in range(0, tiled, patch)
        for left in range(0, tiled, patch)
        for row in range(patch)
        for column in range(patch)
    ]
    right = [(row, column) for row in range(side) for column in range(tiled, side)]
    below = [(row, column) for row in range(tiled, side) for column in range(tiled)]
    return (*(row * side + column for row, column in inside + right + below), *range(side**2, nodes))


def level_widths(widths: Sequence[int] | int | Literal["max"], tree: ModeTree, shape: Sequence[int]) -> tuple[int, ...]:
    """Return one width for each level of the tree: as given, the same everywhere, or `max`.

    `max` is the product of all mode sizes but the largest, at every level: as many components as any tensor of the
    shape needs. Raises ValueError if that is more than MOST_CHANNELS.
    """
    if widths == "max":
        most = math.prod(shape) // max(shape)
        if most > MOST_CHANNELS:
            raise ValueError(f"max would be {most:,} channels at each level, of which there may be {MOST_CHANNELS:,}")
        return (most,) * tree.levels
    return (widths,) * tree.levels if isinstance(widths, int) else tuple(widths)


def check_widths(tree: ModeTree, widths: Sequence[int], *, name: str, shape: Sequence[int]) -> None:
    """Raise ValueError unless there is one width for each level of the tree, and the numbers fit into the memory."""
    if len(widths) != tree.levels:
        levels = f"{tree.levels} hidden level" + ("" if tree.levels == 1 else "s")
        both = f"a tree of order {tree.order} has {levels}, one width for each; one number is that of all levels"
        raise ValueError(f"{name} = {list(widths)}: {both}")
    numbers = 0
    for level, width in enumerate(widths, start=1):
        # Every node of the level as a matrix of the entries below it and of its channels.
        entries = [math.prod(shape[mode] for mode in modes) for modes in tree.modes[level - 1]]
        numbers += width * (sum(entries) + (widths[level - 2] if level > 1 else 0) * len(entries))
    check_memory(numbers, each=8, what=f"a factorization with {name} = {list(widths)}")


def count_parameters(tree: ModeTree, widths: Sequence[int], shape: Sequence[int]) -> int:
    """Return how many numbers the matrices of all nodes of a factorization have."""
    inner = (len(tree.modes[level]) * widths[level - 1] * widths[level] for level in range(1, tree.levels))
    return sum(shape) * widths[0] + sum(inner)
