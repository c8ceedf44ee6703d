"""What any run recorded, whatever its study: its settings, and its quantities with the names of their axes.

The kinds of file that there are (`store.Kind`) say what the axes of arrays are: `steps`, `measured layers`. Along an
axis lie numbers that another array holds, such as `epoch`, or else those of its entries, from 1.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tacit import paths, store
from tacit.errors import UserError
from tacit.settings.base import suggest

PLACES = {
    "epoch": "epoch",
    "epochs": "epoch",
    "test_epochs": "epoch",
    "iterations": "iteration",
    "followed_iterations": "iteration",
    "variation_epochs": "epoch",
    "kept_epochs": "epoch",
    "variation_p": "p",
    "initial_variation_p": "p",
    "rows": "row",
    "*_alpha": "alpha",
}
"""Names (or patterns) of arrays that say where along an axis the others lie, and what one such number is called."""

COUNTED = {"tests": "epoch"}
"""What the entries of an axis count, from 1, if neither an array nor the name of the axis says it."""

MOST_NUMBERS = 20_000_000
"""An array of more numbers is no quantity that is looked at as such."""


class LookingError(UserError):
    """A file has not what was asked of it."""


class Quantity(NamedTuple):
    """What was recorded under one name."""

    name: str
    values: np.ndarray
    """Of any shape; () is a single number."""
    axes: tuple[str, ...]
    """Names of its axes, such as measured, layers; of one that has no name it is empty."""


class Places(NamedTuple):
    """Where along its first axis the values of a quantity lie."""

    label: str
    """What one of the numbers is called: epoch, step, layer; or the name of a quantity."""
    values: np.ndarray
    """(n,)"""
    shared: bool
    """Whether those of other runs are the same numbers, so that runs can be averaged at each."""


class Run(NamedTuple):
    """One file."""

    path: str
    kind: str
    settings: dict[str, Any]
    """Without blocks: a name within one is written training.epochs. Axes that the path alone has are among them."""
    quantities: dict[str, Quantity]
    digest: str = ""


@functools.cache
def kinds() -> dict[str, store.Kind]:
    """Return all kinds of file that studies and data sets have, by name."""
    found: dict[str, store.Kind] = {}
    for package in ("tacit.studies", "tacit.data"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            values = vars(importlib.import_module(f"{package}.{module.name}")).values()
            found |= {value.name: value for value in values if isinstance(value, store.Kind)}
    return found


def kind_of(path: str | Path, contents: store.Contents) -> store.Kind:
    """Return the kind of the file at `path`; raises LookingError if no study has it."""
    if contents.kind not in kinds():
        raise LookingError(f"{path}: holds a {contents.kind or 'file of no kind'}, which no study of this Tacit knows")
    return kinds()[contents.kind]


def axes_of(declared: store.Array, dimensions: int) -> tuple[str, ...]:
    """Return the names of the axes of an array of so many dimensions, as its kind declares them."""
    names = declared.shape.split()
    if "..." in names:
        place = names.index("...")
        names[place : place + 1] = [""] * (dimensions - len(names) + 1)
    return tuple("" if name == "*" or name.isdigit() else name for name in names)


def is_quantity(name: str, dtype: np.dtype, shape: tuple[int, ...], declared: store.Array) -> bool:
    """Tell whether an array is something measured, and neither weights nor text nor images."""
    text = dtype == np.uint8 and declared.shape == "*"
    images = dtype == np.uint8 and len(shape) > 2
    named = any(word in name for word in ("weights", "_ids", "_offsets"))
    return not (text or images or named or "..." in declared.shape) and int(np.prod(shape)) <= MOST_NUMBERS


def read(path: str | Path) -> Run:
    """Read what a file recorded; raises StoreError, or LookingError if it is of a kind that no study has.

    path = "results/demo/pathfinder/path_length~3/coefficient~0/seed~0.h5"
    run = tacit.read_run(path)
    run.settings["coefficient"], run.quantities["test_accuracy"].values
    """
    contents = store.contents(path)
    kind = kind_of(path, contents)
    chosen = [
        name
        for name, (dtype, shape) in contents.arrays.items()
        if (declared := kind.of(name)) is not None and is_quantity(name, dtype, shape, declared)
    ]
    arrays = store.read(path, kind=kind, names=chosen).arrays
    quantities = {
        name: Quantity(name, array, axes_of(kind.declared(name), array.ndim)) for name, array in arrays.items()
    }
    for name, value in contents.attributes.items():
        if not isinstance(value, str) and name not in quantities:
            quantities[name] = Quantity(name, np.asarray(value), ())
    return Run(str(path), kind.name, settings_of(path, contents.settings), quantities, contents.digest)


def settings_of(path: str | Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without blocks, and those axes of the path that they do not have."""
    found = dict(_flat(settings))
    own = {name.rpartition(".")[2] for name in found}
    return {name: value for name, value in paths.axes_in(path).items() if name not in own} | found


def _flat(block: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", tuple(value) if isinstance(value, list) else value


def setting(run: Run, name: str) -> Any:
    """Return a setting by its name, or by the end of it if no other ends so; raises LookingError if there is none."""
    if name in run.settings:
        return run.settings[name]
    ending = [known for known in run.settings if known.endswith(f".{name}")]
    if len(ending) == 1:
        return run.settings[ending[0]]
    if ending:
        raise LookingError(f"{run.path}: {name} is ambiguous; it may be {', '.join(ending)}")
    raise LookingError(f"{run.path}: no setting {name}; {suggest(name, run.settings)}")


def has_setting(run: Run, name: str) -> bool:
    """Tell whether there is a setting of this name."""
    return name in run.settings or any(known.endswith(f".{name}") for known in run.settings)


def quantity(run: Run, name: str) -> Quantity:
    """Return what was recorded under a name; raises LookingError if nothing was."""
    if name not in run.quantities:
        raise LookingError(f"{run.path}: this {run.kind} has no {name}; {suggest(name, run.quantities)}")
    return run.quantities[name]


def matching(run: Run, pattern: str) -> list[str]:
    """Return the names that a pattern stands for (`*` for any letters), which may be but a name."""
    if "*" not in pattern:
        return [quantity(run, pattern).name]
    found = [name for name in run.quantities if fnmatchcase(name, pattern)]
    if not found:
        raise LookingError(
            f"{run.path}: nothing in this {run.kind} is called {pattern}; {suggest(pattern, run.quantities)}"
        )
    return found


def is_place(name: str) -> bool:
    """Tell whether an array says where others lie."""
    return any(fnmatchcase(name, pattern) for pattern in PLACES)


def places(run: Run, axis: str, length: int) -> Places:
    """Return where the entries of an axis lie: by the array that says so, or numbered from 1."""
    for found in run.quantities.values():
        if axis and found.axes == (axis,) and is_place(found.name):
            label = next(label for pattern, label in PLACES.items() if fnmatchcase(found.name, pattern))
            return Places(label, found.values, shared=True)
    return Places(one_of(axis), np.arange(1, length + 1), shared=True)


def one_of(axis: str) -> str:
    """Return what one entry of an axis is called."""
    return COUNTED.get(axis) or axis.removesuffix("s") or "component"


def against(run: Run, what: Quantity, x: str | None) -> Places:
    """Return where the values of `what` lie along its first axis, in terms of `x`: by default what there is.

    `x` may be a place (epoch, step, iteration), another quantity that was recorded there, or, of steps, epoch: the
    share of the steps that were made, of the epochs. Raises LookingError if it is none of these.
    """
    axis, length = what.axes[0], what.values.shape[0]
    own = places(run, axis, length)
    if x in (None, own.label, axis, one_of(axis)):
        return own
    if x in run.quantities and (values := beside(run, run.quantities[x], what)) is not None:
        return Places(str(x), values, shared=is_place(str(x)))
    epochs = [found.values for name, found in run.quantities.items() if name == "epoch" and found.values.ndim == 1]
    if x == "epoch" and axis == "steps" and epochs and len(epochs[0]):
        return Places("epoch", np.arange(length) / length * epochs[0][-1], shared=True)
    others = [name for name, found in run.quantities.items() if found.axes == what.axes[:1] and found is not what]
    raise LookingError(f"{run.path}: {what.name} cannot be drawn against {x}; {suggest(str(x), [own.label, *others])}")


def beside(run: Run, other: Quantity, what: Quantity) -> np.ndarray | None:
    """Return the values of another quantity where those of `what` lie, None if it has not one for each."""
    if other.axes == what.axes[:1]:
        return other.values
    if len(other.axes) != 1:
        return None
    own, its = places(run, what.axes[0], len(what.values)), places(run, other.axes[0], len(other.values))
    # As of test and training, if not every epoch is tested.
    if its.label != own.label or not np.isin(own.values, its.values).all():
        return None
    return other.values[np.searchsorted(its.values, own.values)]


def differing(runs: Iterable[Run]) -> list[str]:
    """Return the settings in which runs differ, but for seeds."""
    runs = list(runs)
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    missing = object()
    return [
        name
        for name in names
        if name.rpartition(".")[2] != "seed" and len({repr(run.settings.get(name, missing)) for run in runs}) > 1
    ]
