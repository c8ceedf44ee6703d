"""Norms of weights that are products of factors, how far the factors are from orthogonal, and setting norms anew.

After Khodak, Tenenholtz, Mackey, Fusi 2021, section 3. Weight decay on factors bounds the nuclear norm of their
product,

    |U VT|_* <= (|U|^2 + |VT|^2) / 2,

with equality for balanced factors, and Frobenius decay acts on |U VT| itself, which sets the effective step size. That
is tested by giving a run without decay the norms of one with it, step by step: `frobenius_norms` records, `normalise`
replays. L layers in any order; `batched` tells whether those of equal shape are computed as one, as in
`tacit.nn.factors.each`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.nn.factorized import Factorized, FactorizedMatrix
from tacit.nn.factors import Factors, each


@torch.no_grad()
def measure(weights: Sequence[Factors | Tensor], *, batched: bool | None = None) -> dict[str, np.ndarray]:
    """Measure weights, factors or dense matrices (m, n), in float64; each quantity (L,).

    - frobenius_norms, nuclear_norms: of the products.
    - nuclear_bounds: (|U|^2 + |VT|^2 + |M|^2) / 2; not a number for dense matrices.
    - non_orthogonality: the mean over G = U^T U and G = VT VT^T of |G - diag G| / |G|; not a number for three factors
      and dense matrices.
    """
    names = ("frobenius_norms", "nuclear_norms", "nuclear_bounds", "non_orthogonality")
    found = {name: np.full(len(weights), np.nan) for name in names}
    parts = {place: _double(weight) for place, weight in enumerate(weights) if isinstance(weight, Factors)}
    measured = each(_quantities, list(parts.values()), batched=batched)
    for place, values in zip(parts, _read(measured), strict=True):
        for name, value in zip(names, values, strict=False):
            found[name][place] = value
    by_shape: dict[torch.Size, list[int]] = {}
    dense = {place: weight.double() for place, weight in enumerate(weights) if not isinstance(weight, Factors)}
    for place, matrix in dense.items():
        by_shape.setdefault(matrix.shape, []).append(place)
    for places in by_shape.values():
        quantities = _norms(torch.linalg.svdvals(torch.stack([dense[place] for place in places])))
        for name, column in zip(names, quantities, strict=False):
            found[name][places] = column.cpu().numpy()
    return found


@torch.no_grad()
def frobenius_norms(layers: Sequence[Factorized], *, out: Tensor | None = None, batched: bool | None = None) -> Tensor:
    """Return the Frobenius norms (L,) of the products of layers, matrices or tensors, on their device.

    They are written to `out` if it is given. Nothing is read back, so it can be called after every step; `out` is then
    a row of what is recorded.
    """
    members: list[Any] = [layer.factors() for layer in layers]
    norms = each(lambda factors, _: [factors.squared_norm() ** 0.5], members, batched=batched)
    found = torch.stack([norm for (norm,) in norms])
    return found if out is None else out.copy_(found)


@torch.no_grad()
def normalise(layers: Sequence[Factorized], targets: Tensor, *, batched: bool | None = None) -> None:
    """Multiply U and VT of each layer by the same number, such that |U VT| is its target.

    Targets (L,) are on the device of the layers. Directions of products and ratios of factors stay; products that are
    zero stay so. Nothing is read back, and what optimisers remember is left alone. Raises ValueError for layers with
    three factors, and for tensor networks.
    """
    pairs = [layer for layer in layers if isinstance(layer, FactorizedMatrix)]
    if len(pairs) < len(layers):
        raise ValueError("norms are set for two factors; these layers are tensor networks")
    if any(layer.M is not None for layer in pairs):
        raise ValueError("norms are set for two factors; these layers have three")
    by_layer = targets.unbind()

    def scaled(factors: Factors, places: list[int]) -> list[Tensor]:
        norms = factors.squared_norm() ** 0.5
        # Not by an index, which would have to be sent to the device first.
        wanted = torch.stack([by_layer[place] for place in places]).view_as(norms)
        multiples = torch.where(norms > 0, (wanted / norms) ** 0.5, 1)[..., None, None]
        return [factors.U * multiples, factors.VT * multiples]

    found = each(scaled, [layer.factors() for layer in pairs], batched=batched)
    written: list[Tensor] = [part for layer in pairs for part in (layer.U, layer.VT)]
    torch._foreach_copy_(written, [part for parts in found for part in parts])


def _read(rows: Sequence[Sequence[Tensor]]) -> list[list[float]]:
    """Return the values of rows of scalars of one device, read back at once."""
    if not rows:
        return []
    values = iter(torch.stack([value for row in rows for value in row]).tolist())
    return [[next(values) for _ in row] for row in rows]


def _quantities(factors: Factors, _: object) -> list[Tensor]:
    """Return what is measured of factors, without non-orthogonality if there are three."""
    quantities = [*_norms(_singular_values(factors)), _bound(factors)]
    if factors.M is None:
        grams = factors.U.mT @ factors.U, factors.VT @ factors.VT.mT
        quantities.append((_off_diagonal(grams[0]) + _off_diagonal(grams[1])) / 2)
    return quantities


def _singular_values(factors: Factors) -> Tensor:
    """Return the singular values of products (k, ..., m, n), or all of them that are not zero, descending."""
    left, right = factors.U, factors.right()
    if left.shape[-1] < min(left.shape[-2], right.shape[-1]):
        # The orthogonal parts of both change no singular value.
        left = torch.linalg.qr(left, mode="r").R
        right = torch.linalg.qr(right.mT, mode="r").R.mT
    return torch.linalg.svdvals(left @ right)


def _norms(singular_values: Tensor) -> tuple[Tensor, Tensor]:
    """Return Frobenius and nuclear norms."""
    return torch.linalg.vector_norm(singular_values, dim=-1), singular_values.sum(-1)


def _bound(factors: Factors) -> Tensor:
    return torch.stack([part.square().sum((-2, -1)) for part in factors if part is not None]).sum(0) / 2


def _off_diagonal(gram: Tensor) -> Tensor:
    """Return the norm of what is off the diagonal relative to that of all, 0 where all is zero."""
    whole = torch.linalg.matrix_norm(gram)
    off = torch.linalg.matrix_norm(gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1)))
    return off / whole.clamp(min=torch.finfo(gram.dtype).tiny)


def _double(factors: Factors) -> Factors:
    U, VT, M = factors
    return Factors(U.double(), VT.double(), None if M is None else M.double())
