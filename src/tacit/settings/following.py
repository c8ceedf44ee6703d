"""Settings of what a run of a factorization writes down besides its errors, and of what it is tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tacit.settings.base import Count, Distinct, NonNegativeInt, Settings, check_memory

if TYPE_CHECKING:
    from tacit.settings.factorizations import Descent

Keep = Literal["none", "last epoch", "every evaluation"]
"""When the factors are written down; every evaluation begins with epoch 0, before the descent."""

Track = Literal["balancedness", "layer_singular_values", "layer_entries"]
"""Of the factors of a matrix factorization: how far each is from being balanced with the next one; their singular
values; those entries of theirs that `entries` names of the end matrix."""

Tracks = Annotated[tuple[Track, ...], Distinct]

Entry = tuple[Count, Count]
"""Row and column, from 1."""

Entries = Literal["all"] | Annotated[tuple[Entry, ...], Field(max_length=1000), Distinct]


class Followed(Settings):
    """What all runs of factorizations have in common."""

    num_test: NonNegativeInt | Literal["rest"] = "rest"
    """Observations of the test set, the last of the file, none of which is fitted; `rest`: all that are not."""
    keep: Keep = "none"

    later: ClassVar[tuple[str, ...]] = ("num_test", "keep")

    def first_tested(self, num_observations: int, num_samples: int) -> int:
        """Return where in the file the test set begins; it ends with the file."""
        return num_observations if self.num_test == "rest" else num_samples - self.num_test


def evaluations(descent: Descent) -> int:
    """Return how often a descent is evaluated, at most."""
    return -(-descent.epochs // descent.evaluate_every)


def bytes_of_a_number(descent: Descent) -> int:
    """Return how many bytes a number has in its precision."""
    return 8 if descent.precision == "float64" else 4


def check_test(num_test: int | str, num_observations: int, num_samples: int) -> None:
    """Raise ValueError if more observations are tested than are left."""
    left = num_samples - num_observations
    if isinstance(num_test, int) and num_test > left:
        raise ValueError(
            f"num_test = {num_test}: of {num_samples} observations {num_observations} are fitted and {left} are left"
        )


def check_kept(keep: Keep, parameters: int, descent: Descent) -> None:
    """Raise ValueError if what is kept of so many parameters at each evaluation would be too much for a file."""
    if keep == "every evaluation":
        times = evaluations(descent) + 1
        what = f"keep = every evaluation: {parameters:,} numbers, {times:,} times at most,"
        try:
            check_memory(parameters * times, each=bytes_of_a_number(descent), what=what)
        except ValueError as error:
            raise ValueError(f"{error}; raise evaluate_every, or lower epochs") from None


def followed_entries(entries: Entries, track: Sequence[Track], layers: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return how many arrays each evaluation makes of entries, and how many numbers these hold together."""
    shapes = list(_followed(track, layers).values())
    if entries == "all":
        return len(shapes), sum(map(math.prod, shapes))
    return len(shapes) * len(entries), len(shapes) * len(entries)


def _followed(track: Sequence[Track], layers: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return rows and columns of each matrix whose entries are written down, by its name."""
    end = {"the end matrix": (layers[0][0], layers[-1][1])}
    by_layer = {f"layer {number}": shape for number, shape in enumerate(layers, 1)}
    return end | (by_layer if "layer_entries" in track else {})


def check_entries(
    entries: Entries, track: Sequence[Track], layers: Sequence[tuple[int, int]], descent: Descent
) -> None:
    """Raise ValueError if entries are named that matrices of these layers, or their product, do not have.

    Also if those of all evaluations would fill the memory.
    """
    if "layer_entries" in track and not entries:
        raise ValueError("track: layer_entries needs entries, which says which ones")
    for name, (rows, columns) in _followed(track, layers).items():
        for row, column in () if entries == "all" else entries:
            if row > rows or column > columns:
                raise ValueError(f"entries: [{row}, {column}] is not in {name}, which is {rows} x {columns}")
    arrays, numbers = followed_entries(entries, track, layers)
    times = evaluations(descent)
    # In a checkpoint, too, and each array with what it takes besides its numbers.
    each = 2 * numbers * bytes_of_a_number(descent) + 120 * arrays
    check_memory(times, each=each, what=f"entries: {numbers:,} numbers, {times:,} times at most,")
