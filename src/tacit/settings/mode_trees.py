"""Mode trees of hierarchical tensor factorizations: which modes are brought together, level by level.

After Razin, Maman, Cohen 2022, section 4. The leaves are the modes; at each level nodes are pooled in groups until one
is left, the root. Pure Python, because settings are checked against it before anything is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Pattern = Literal["checkerboard", "half", "checkerboard_sq"]
"""`checkerboard` pools neighbours. `half` pools node i with the one half the nodes further; of an odd number the middle
one stays alone, last. `checkerboard_sq` pools square patches of nodes that lie on a square grid, row by row."""


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


def mode_tree(order: int, pool_size: int, pattern: Pattern = "checkerboard") -> ModeTree:
    """Return the tree that pools `pool_size` nodes at a time, the pattern applied anew at each level.

    A smaller group may be left over, and is then pooled by itself. Raises ValueError if the order is below 2, if
    `half` is to pool other than pairs, or if `checkerboard_sq` meets nodes that its square patches do not tile.
    """
    if order < 2:
        raise ValueError(f"a tree needs at least 2 modes, not {order}")
    if pool_size < 2:
        raise ValueError(f"pool_size = {pool_size}: at least 2 nodes are pooled at a time")
    groups = []
    modes: list[tuple[tuple[int, ...], ...]] = [tuple((mode,) for mode in range(order))]
    while len(modes[-1]) > 1:
        level = _pool(len(modes[-1]), pool_size, pattern)
        groups.append(level)
        modes.append(tuple(tuple(mode for child in group for mode in modes[-1][child]) for group in level))
    return ModeTree(order, tuple(groups), tuple(modes))


def _pool(nodes: int, pool_size: int, pattern: Pattern) -> tuple[tuple[int, ...], ...]:
    if pattern == "half":
        if pool_size != 2:
            raise ValueError(f"pool_size = {pool_size}: the pattern half pools 2 nodes at a time")
        half, odd = divmod(nodes, 2)
        return tuple((node, node + half + odd) for node in range(half)) + (((half,),) if odd else ())
    if pattern == "checkerboard_sq":
        side, patch = math.isqrt(nodes), math.isqrt(pool_size)
        if side**2 != nodes or patch**2 != pool_size or side % patch:
            where = f"{nodes} nodes do not make a square grid of square patches of {pool_size}"
            raise ValueError(f"{where}, which checkerboard_sq needs at every level")
        return tuple(
            tuple((row + i) * side + column + j for i in range(patch) for j in range(patch))
            for row in range(0, side, patch)
            for column in range(0, side, patch)
        )
    return tuple(tuple(range(first, min(first + pool_size, nodes))) for first in range(0, nodes, pool_size))
