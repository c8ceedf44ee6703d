"""Gradient descent on factorizations of a matrix or tensor of which entries are observed, one's own or Tacit's."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tacit.nn.factorizations import Factorization, HierarchicalTensorFactorization, MatrixFactorization
from tacit.runlog import Progress
from tacit.settings.factorizations import Descent
from tacit.training import descent
from tacit.training.observations import Entries, Loss

_PRECISIONS: dict[torch.dtype, Literal["float32", "float64"]] = {torch.float32: "float32", torch.float64: "float64"}


def descend(
    model: nn.Module,
    indices: ArrayLike | Tensor,
    values: ArrayLike | Tensor,
    *,
    optimizer: Literal["group_rmsprop", "sgd"] = "group_rmsprop",
    learning_rate: float = 1e-2,
    loss: Literal["l2", "l1", "huber"] = "l2",
    weight_decay: float = 0.0,
    epochs: int = 100_000,
    evaluate_every: int = 25,
    tolerance: float = 5e-5,
    patience: int = 0,
    measure: Callable[[Tensor], Mapping[str, Any]] | None = None,
) -> dict[str, np.ndarray]:
    """Fit a factorization, in place, to observed entries of a matrix or tensor; return its history.

    As in Razin, Cohen 2020 and Razin, Maman, Cohen 2022: full batches, from a small start, until the entries are
    fitted. Factorizations of `tacit.nn.factorizations` have quick gradients by their structure.

    >>> import torch, tacit
    >>> class Product(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.u, self.v = (torch.nn.Parameter(0.01 * torch.eye(4)) for _ in "uv")
    ...     def end_tensor(self):
    ...         return self.u @ self.v.T
    >>> history = tacit.descend(Product(), [[0, 0], [1, 1], [0, 1]], [1.0, 1.0, 1.0], tolerance=1e-8)
    >>> bool(history["train_loss"][-1] < 1e-8)
    True

    Args:
        model: any module with `end_tensor()`, or else one that is called without arguments, that gives the matrix or
            tensor; float32 or float64, all of it trained, and not all 0.
        indices: of the observed entries: (n, order), or (n,) flat ones, row by row; each once.
        values: (n,) of the entries.
        optimizer: group RMSprop (`tacit.GroupRMSprop`), or plain gradient descent.
        learning_rate: its rate.
        loss: mean over the observations of the square, absolute value or Huber loss of residuals.
        weight_decay: times the parameters, added to gradients.
        epochs: the most steps.
        evaluate_every: steps between two rows of the history.
        tolerance: mean squared error below which entries are fitted.
        patience: evaluations in a row that may find it fitted before it ends.
        measure: given the end tensor, returns numbers or arrays by name, always the same.

    Returns the history by name, a row an evaluation: `iterations` done; before the last of them `train_loss`,
    `train_mse`, mean and greatest size of predictions (`train_prediction_mean`, `train_prediction_max`); and what
    `measure` returned after it. It ended fitted if the last `train_mse` is below the tolerance.

    Raises:
        ValueError: if entries lie outside of the tensor, are given twice or are not finite, or if the start has no
            gradient, as zeros have none.
        DivergenceError: if the descent leaves all finite numbers.
    """
    end = _end_tensor(model)
    kind = _precision(model, end)
    places, numbers = _observed(end, indices, values)
    settings = Descent(
        num_observations=len(numbers), loss=loss, optimizer=optimizer, learning_rate=learning_rate,
        weight_decay=weight_decay, epochs=epochs, evaluate_every=evaluate_every, tolerance=tolerance, patience=patience,
        precision=_PRECISIONS[kind],
    )  # fmt: skip
    observed = Entries(end.shape, places, numbers, Loss.of(settings))

    def measured(_: object, end: Tensor) -> dict[str, Tensor]:
        found = {} if measure is None else measure(end)
        return {name: torch.as_tensor(value) for name, value in found.items()}

    with _restoring(), contextlib.ExitStack() as after:
        after.callback(_own_memory, model)
        is_known = type(model) is MatrixFactorization or isinstance(model, HierarchicalTensorFactorization)
        kind_of_loop = descent.Loop if is_known else _OwnLoop
        loop = kind_of_loop(cast(Factorization, model), observed, settings, measure=measured, stream=("descend",))
        _check_start(loop)
        progress = Progress(epochs, what="descent, at most", unit="epoch")
        while not loop.finished:
            before = loop.epoch
            loop.advance()
            progress.advance(loop.epoch - before, note=loop.summary())
        progress.close()
    return {name: np.stack(rows) for name, rows in loop.history.items()}


class _OwnLoop(descent.Loop):
    """The same loop on a module of which nothing is known but its end tensor: autograd has its gradient."""

    def __init__(self, model: Any, observed: Entries, settings: Descent, **more: Any):
        # A single entry stands for the module until its own parts are put in place.
        stand_in = MatrixFactorization(1, 1, 1).to(next(model.parameters()))
        super().__init__(stand_in, observed, settings, **more)
        self.model, self.records = model, False
        self.parameters, values = descent._flatten(model)
        self.gradient, self.velocity = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.structure = _Autograd(model, descent._parts(self.gradient, values))  # type: ignore[assignment]


class _Autograd:
    """The end tensor of a module and, given its gradient, those of its parameters."""

    def __init__(self, model: nn.Module, gradients: list[Tensor]):
        self.model, self.gradients = model, gradients
        self.forward()
        self.end_gradient = torch.empty_like(self.end, memory_format=torch.contiguous_format)

    def forward(self) -> None:
        """Compute `end`."""
        with torch.enable_grad():
            self._end = _end_tensor(self.model)
        self.end = self._end.detach()

    def backward(self) -> None:
        """Compute the gradients from `end_gradient`."""
        found = torch.autograd.grad(
            self._end, list(self.model.parameters()), self.end_gradient, materialize_grads=True, allow_unused=True
        )
        torch._foreach_copy_(self.gradients, found)


def _end_tensor(model: nn.Module) -> Tensor:
    made = cast(Any, model).end_tensor() if hasattr(model, "end_tensor") else model()
    if not isinstance(made, Tensor) or not made.ndim:
        raise ValueError("the module gives no matrix or tensor: end_tensor(), or a call without arguments, returns one")
    return made


def _precision(model: nn.Module, end: Tensor) -> torch.dtype:
    """Return the precision of the module; raises ValueError unless the descent can be in it."""
    parameters = list(model.parameters())
    kinds = {parameter.dtype for parameter in parameters}
    if kinds != {end.dtype} or end.dtype not in _PRECISIONS:
        raise ValueError(
            f"parameters of type {', '.join(map(str, kinds)) or 'none'}, end tensor of type {end.dtype}: all are "
            "float32, or all float64"
        )
    if not all(parameter.requires_grad for parameter in parameters):
        raise ValueError("some parameters are frozen; make them buffers, as all parameters are trained here")
    return end.dtype


def _observed(end: Tensor, indices: Any, values: Any) -> tuple[Tensor, Tensor]:
    """Return flat indices (n,) of entries, and their values (n,); raises ValueError if they are none of `end`."""
    shape = tuple(end.shape)
    places, numbers = (torch.as_tensor(np.asarray(array)) for array in (_on_host(indices), _on_host(values)))
    if places.is_floating_point() or places.dtype == torch.bool:
        raise ValueError(f"indices of type {places.dtype}: they are whole numbers, from 0")
    if numbers.ndim != 1 or len(places) != len(numbers) or not len(numbers):
        raise ValueError(
            f"{len(places)} indices and values of shape {tuple(numbers.shape)}: there is one (n,) for each"
        )
    if not numbers.isfinite().all():
        raise ValueError(f"value number {int((~numbers.isfinite()).nonzero()[0])}, counted from 0, is not finite")
    sizes = shape if places.ndim == 2 else (math.prod(shape),)
    if places.ndim not in (1, 2) or (places.ndim == 2 and places.shape[1] != len(shape)):
        raise ValueError(f"indices of shape {tuple(places.shape)}: they are (n,), flat, or (n, {len(shape)})")
    columns = places.reshape(len(places), -1).long()
    outside = ((columns < 0) | (columns >= torch.tensor(sizes))).any(1)
    if outside.any():
        wrong = int(outside.nonzero()[0])
        raise ValueError(f"entry {columns[wrong].tolist()} is outside of a tensor of {' x '.join(map(str, shape))}")
    flat = columns[:, 0]
    for number, size in enumerate(sizes[1:], start=1):
        flat = flat * size + columns[:, number]
    if len(flat.unique()) < len(flat):
        raise ValueError(f"{len(flat) - len(flat.unique())} entries are observed twice; give each once")
    return flat.to(end.device), numbers.to(end.device, end.dtype)


def _on_host(array: Any) -> Any:
    return array.detach().cpu() if isinstance(array, Tensor) else array


def _check_start(loop: descent.Loop) -> None:
    """Raise ValueError if the descent would never leave its start."""
    loop.structure.forward()
    loop.observed.gradient(loop.structure.end, loop.structure.end_gradient)
    loop.structure.backward()
    if not loop.gradient.any():
        raise ValueError(
            "the gradient is 0 at the start, where the descent would stay; draw the parameters first, with a small "
            "standard deviation, or give other entries"
        )


def _own_memory(model: nn.Module) -> None:
    """Give each parameter its own memory again."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


@contextlib.contextmanager
def _restoring() -> Iterator[None]:
    """Put back what a descent changes of how the whole process computes (`tacit.training.precision`)."""
    memory: Any = torch.utils.deterministic
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda.matmul
    mode, fills = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    shortened, benchmark = (cudnn.allow_tf32, cuda.allow_tf32), cudnn.benchmark
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fills
        (cudnn.allow_tf32, cuda.allow_tf32), cudnn.benchmark = shortened, benchmark
