"""Factorized layers in any model, and their decay (Khodak, Tenenholtz, Mackey, Fusi 2021)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

import torch
from torch import nn

from tacit.nn import factorizing
from tacit.nn.factorized import Factorized, factorized_layers
from tacit.nn.factorizing import FactorizedModel, Select, collapse
from tacit.nn.rank_solver import Factorizable
from tacit.optim import frobenius_decay
from tacit.optim.frobenius_decay import TensorTerm, Term

__all__ = ["FrobeniusDecay", "collapse", "factorize"]


def factorize(
    model: nn.Module,
    rank_scale: float | None = None,
    *,
    ratio: float | None = None,
    select: Select | Collection[str] | None = None,
    factors: int = 2,
    spectral: bool = True,
    generator: torch.Generator | None = None,
) -> FactorizedModel:
    """Return a copy of any model with layers as products of factors, W = U VT or U M VT; nothing is shared with it.

    The copy is `.model`; `.ranks` says which layers became factorized, `.ratio` how large they are. A matrix W of m x n
    (of a convolution O kh x I kw) starts from the weights of `model`, as their best approximation of its rank.
    `tacit.collapse` makes dense layers again, `tacit.nn.factorizing.factorize` has all other starts.

    >>> import torch, tacit
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> small = tacit.factorize(model, 0.25, select=["0"])
    >>> small.ranks, f"{small.ratio:.2f}"
    ({'0': 16}, '0.57')
    >>> tacit.collapse(small.model)[0]
    Linear(in_features=64, out_features=64, bias=True)

    Args:
        model: any module, a single layer too.
        rank_scale: ranks as a share, above 0, of O kh for a convolution, of min(m, n) for other layers; nothing is lost
            of the weights at 1, and above the model is larger than it need be.
        ratio: or the share of its parameters that the model shall have.
        select: names of layers, or a function of name and layer; by default all convolutions but the first, as
            published, those left out that have no factorized form, such as those with groups.
        factors: 3 puts a square M between U and VT, an identity at first.
        spectral: start as said above; otherwise with factors drawn as He et al. draw layers.
        generator: of what is drawn, by default PyTorch's own.

    Raises ValueError if not exactly one of `rank_scale` and `ratio` is given or it is out of reach, if no layer is
    selected, or a selected one has no factorized form.
    """
    if select is None:
        chosen = _factorizable_convolutions(model)
        # Without any, what there is besides is said below.
        select = (lambda name, _: name in chosen) if chosen else None
    elif not callable(select):
        names = {select} if isinstance(select, str) else set(select)
        if missing := sorted(
            names - {name for name, layer in model.named_modules() if isinstance(layer, Factorizable)}
        ):
            raise ValueError(f"select: there is no convolution, linear layer or embedding named {', '.join(missing)}")
        select = lambda name, _: name in names  # noqa: E731
    return factorizing.factorize(
        model,
        rank_scale=rank_scale,
        ratio=ratio,
        select=select,
        factors=factors,
        spectral=spectral,
        generator=generator,
    )


def _factorizable_convolutions(model: nn.Module) -> set[str]:
    """Return the names of all convolutions but the first that have a factorized form."""
    found = set()
    for name in [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)][1:]:
        with contextlib.suppress(ValueError):
            found |= set(factorizing.selected(model, lambda other, _, name=name: other == name))  # type: ignore[misc]
    return found


class FrobeniusDecay(frobenius_decay.FrobeniusDecay):
    """Weight decay of products: the gradient of (coefficient / 2) |U M VT|^2, for each factorized layer of a model.

    What weight decay of a dense layer is to its weight. Give the optimiser no weight decay of the factors besides.

    >>> import torch, tacit
    >>> model = tacit.factorize(torch.nn.Linear(8, 8), 0.5, select=lambda name, layer: True).model
    >>> decay = tacit.FrobeniusDecay(model, 1e-4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> model(torch.rand(4, 8)).square().mean().backward()
    >>> decay.add_gradients()  # between the backward pass and the step
    >>> optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module | Iterable[Factorized | Term | TensorTerm],
        coefficient: float,
        *,
        batched: bool | None = None,
    ):
        """Take all factorized layers of a model, or those given.

        Raises ValueError for a coefficient that is none, or if there are no factorized layers.
        """
        products = list(factorized_layers(model).values() if isinstance(model, nn.Module) else model)
        if not products:
            raise ValueError("there are no factorized layers; make them by tacit.factorize(model, ...).model")
        super().__init__(products, coefficient, batched=batched)
