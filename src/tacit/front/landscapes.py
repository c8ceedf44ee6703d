"""The loss of any network on a plane through its parameters, with directions as in `tacit.analysis.landscapes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tacit import streams
from tacit.analysis import landscapes
from tacit.analysis.landscapes import Directions, Scaling
from tacit.front.passes import without_trace
from tacit.runlog import Progress

Loss = Callable[[Tensor, Tensor], Tensor]
"""Gives the mean loss of outputs and targets of a batch, such as `torch.nn.functional.cross_entropy`."""

Data = Iterable[tuple[Tensor, Tensor]]
"""Batches of inputs and targets, such as a DataLoader; or one such pair."""


class Landscape(NamedTuple):
    """Losses at theta + b E + a D."""

    a: np.ndarray
    """(points,), along the columns; 0 in the middle, in units of the norm of the parameters."""
    b: np.ndarray
    """(points,), along the rows."""
    losses: np.ndarray
    """(points, points) float64, infinite or not a number where the network diverges."""
    loss: float
    """Of the network itself."""
    directions: Directions
    """D and E, arrays for each parameter that moves."""


def landscape(
    model: nn.Module,
    loss: Loss,
    data: Data | tuple[Tensor, Tensor],
    *,
    points: int = 21,
    step: float = 0.1,
    per: Scaling = "row",
    move_vectors: bool = False,
    seed: int = 0,
) -> Landscape:
    """Return the loss of a network on a plane through its parameters; the network stays as it is.

    After Li, Xu, Taylor, Studer, Goldstein 2018: two random directions, scaled filter by filter (or unit by unit) to
    the norm of the parameters, so that landscapes of different networks can be compared.

    >>> import torch, tacit
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> x, y = torch.rand(20, 4), torch.randint(3, (20,))
    >>> found = tacit.landscape(model, torch.nn.functional.cross_entropy, (x, y), points=5, step=0.5)
    >>> found.losses.shape, bool(abs(found.losses[2, 2] - found.loss) < 1e-6)
    ((5, 5), True)

    Args:
        model: in evaluation mode, unless that is all the same to it.
        loss: mean over a batch, of outputs and targets.
        data: inputs and targets, or batches of them; the loss is the mean over all examples.
        points: of each direction; odd, so that the network itself is one.
        step: between neighbours, in units of the norm of the parameters.
        per: what is scaled as one: a "row", that is the weights of a filter or unit, or a whole "layer".
        move_vectors: let biases, and weights of normalisations, move too, each as one. As published they stay.
        seed: of the directions.

    Raises:
        ValueError: if the network draws random numbers or moves statistics, as in training mode, or there are no data.
        LandscapeError: if there are no parameters to move, or points or step are none.
    """
    if isinstance(data, Iterator):
        raise ValueError("data can be read only once; give a list of batches, a DataLoader, or one pair of tensors")
    batches: Data = [data] if _is_pair(data) else data  # type: ignore[list-item, assignment]
    moving = {name: own for name, own in model.named_parameters() if move_vectors or own.ndim > 1}
    tensors = list(moving.values())
    directions = landscapes.draw_directions(tensors, generator=streams.numpy_generator("landscape", seed), per=per)

    def of(arrays: list[np.ndarray] | None) -> float:
        given = {} if arrays is None else _parameters(moving, arrays)
        return _mean_loss(model, loss, batches, given, is_first=arrays is None)

    own = of(None)
    if not math.isfinite(own):
        raise ValueError(f"the loss of the network itself is {own}; there is nothing to look at around it")
    progress = Progress(points, what="landscape", unit="row")
    losses = landscapes.evaluate(of, tensors, directions, points=points, step=step, advance=progress.advance)
    progress.close()
    along = landscapes.axis(points, step)
    return Landscape(along, along, losses, own, directions)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)


def _parameters(moving: dict[str, nn.Parameter], arrays: list[np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(own) for (name, own), array in zip(moving.items(), arrays, strict=True)}


@torch.no_grad()
def _mean_loss(model: nn.Module, loss: Loss, batches: Data, parameters: dict[str, Tensor], *, is_first: bool) -> float:
    """Return the mean over all examples of all batches."""
    total, count = 0.0, 0
    for inputs, targets in batches:
        made = without_trace(model, inputs, parameters)
        if is_first and (made.draws or made.moves):
            what = "draws random numbers, as dropout does," if made.draws else "normalises by the batch it sees"
            raise ValueError(f"the model {what} in training mode; call model.eval() before")
        value = loss(made.outputs, targets)
        if value.numel() != 1:
            raise ValueError(f"the loss of a batch has shape {tuple(value.shape)}; it is a number, its mean")
        total, count = total + float(value) * len(inputs), count + len(inputs)
    if not count:
        raise ValueError("data has no examples")
    return total / count
