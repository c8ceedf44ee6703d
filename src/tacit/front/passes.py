"""Passes through a network of someone else that leave no trace: neither in its statistics nor in random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tacit.nn import double_backward

Model = Callable[[Tensor], Tensor]
"""A module, or a function around one."""


class Pass(NamedTuple):
    """What a model made of its inputs, and what it would have changed by that."""

    outputs: Tensor
    draws: bool
    """Whether random numbers were drawn, as for dropout."""
    buffers: list[tuple[Tensor, Tensor]]
    """Its buffers, such as running statistics, and what they would be."""

    @property
    def moves(self) -> bool:
        """Whether buffers would be others."""
        return not all(torch.equal(before, after) for before, after in self.buffers)


def without_trace(model: Model, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Pass:
    """Return model(inputs), with `parameters` in place of those of these names, leaving buffers as they are.

    Random numbers that are drawn are drawn again by whoever draws next: passes that follow each other drop the same.
    Raises TypeError if what the model returns is no tensor.
    """
    own = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
    moved = {name: buffer.clone() for name, buffer in own.items()}
    given = {**moved, **(parameters or {})}
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        before = _random_states(cuda)
        made = functional_call(model, given, (inputs,)) if given and isinstance(model, nn.Module) else model(inputs)
        draws = not all(torch.equal(a, b) for a, b in zip(before, _random_states(cuda), strict=True))
    if not isinstance(made, Tensor):
        raise TypeError(
            f"the model returns a {type(made).__name__}, not a tensor; wrap it in a function that picks one: "
            "lambda images: model(images)[0], for one"
        )
    return Pass(made, draws, [(own[name], moved[name]) for name in own])


def _random_states(cuda: list[torch.device]) -> list[Tensor]:
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, cuda)]


class _BiasedConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        """Return what PyTorch's does, by a convolution without bias that is quickly differentiated twice."""
        made = double_backward._Conv2d.forward(self, input)  # type: ignore[arg-type]
        return made if self.bias is None else made + self.bias.to(made.dtype)[:, None, None]


class _Hardsigmoid(nn.Hardsigmoid):
    def forward(self, input: Tensor) -> Tensor:
        """Return what PyTorch's does, by functions that can be differentiated twice, as its own cannot."""
        return nn.functional.relu6(input + 3) / 6


@contextlib.contextmanager
def twice_differentiable(model: object) -> Iterator[None]:
    """Within this block, let layers of a module compute what is differentiated twice, the quick way if there is one.

    There is, for input gradients (`tacit.nn.double_backward`) of convolutions without groups and dilation, and of batch
    normalisation. All other layers, and after the block all of them, are PyTorch's; what was computed within keeps its
    derivatives.
    """
    changed: list[tuple[nn.Module, type[nn.Module]]] = []
    try:
        for module in model.modules() if isinstance(model, nn.Module) else ():
            kind = type(module)
            if kind is nn.Hardsigmoid:
                module.__class__ = _Hardsigmoid
            elif kind is nn.Conv2d and isinstance(module, nn.Conv2d) and _is_quick(module):
                module.__class__ = _BiasedConv2d
            elif kind is nn.BatchNorm2d and module.affine and module.momentum is not None:
                double_backward.adapt(module)
            if type(module) is not kind:
                changed.append((module, kind))
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


def _is_quick(layer: nn.Conv2d) -> bool:
    """Tell whether a convolution is one that `tacit.nn.double_backward` knows, but for a bias."""
    is_plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return is_plain and not isinstance(layer.padding, str)
