"""Frobenius decay: what weight decay is to a matrix, for a matrix that is a product of factors.

After Khodak, Tenenholtz, Mackey, Fusi 2021, section 3. The penalty (c / 2) |U M VT|^2 adds to the gradients

    dU = c U (M B M^T),   dM = c A M B,   dVT = c (M^T A M) VT,   with A = U^T U and B = VT VT^T,

M being the identity if there are two factors. They are computed as written, without following the product, and added
before the optimiser's step, so they pass through momentum as weight decay does. Where the rank is large, going by the
product P = U M VT takes fewer operations: dU = c P (M VT)^T, and so on. On a GPU layers of equal shape are computed as
one.

Factors are (m, r), (r, r), (r, n), or stacks of them with a leading dimension, as for the heads of attention. For the
parts of tensor networks the gradients are those that autograd finds of the squared norm, which forms no product either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tacit.nn.factorized import Factorized, FactorizedMatrix
from tacit.nn.factors import Factors, each, heads_by_columns, heads_by_rows


class Part(NamedTuple):
    """A factor, or a stack of them, that is a parameter of a module or lies inside one."""

    module: nn.Module
    name: str
    """Of the parameter in the module, looked up at every step, because loading or moving a model can replace it."""
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """Returns the factor as a view of the parameter, and so its gradient as one of the parameter's gradient."""

    def parameter(self) -> nn.Parameter:
        """Return the parameter."""
        return getattr(self.module, self.name)

    def value(self) -> Tensor:
        """Return the factor."""
        return self.view(self.parameter())

    def gradient(self) -> Tensor | None:
        """Return the gradient of the factor, made zero if there is none yet; None if it is not trained."""
        parameter = self.parameter()
        if not parameter.requires_grad:
            return None
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        return self.view(parameter.grad)


class Term(NamedTuple):
    """What makes one product, or one stack of products."""

    U: Part
    VT: Part
    M: Part | None = None

    def factors(self) -> Factors:
        """Return the factors."""
        return Factors(self.U.value(), self.VT.value(), None if self.M is None else self.M.value())

    def parts(self) -> list[Part]:
        """Return the factors that there are, in the order of `Factors`."""
        return [part for part in self if part is not None]


class TensorTerm(NamedTuple):
    """What makes one tensor network."""

    layer: Factorized

    def factors(self) -> Any:
        """Return the parts of the network, as `tacit.nn.tensor_networks` has them."""
        return self.layer.factors()

    def parts(self) -> list[Part]:
        """Return where they lie, in the same order."""
        return [Part(self.layer, name) for name in self.factors()._fields]


def term(layer: Factorized) -> Term | TensorTerm:
    """Return the product of a factorized layer."""
    if not isinstance(layer, FactorizedMatrix):
        return TensorTerm(layer)
    return Term(Part(layer, "U"), Part(layer, "VT"), None if layer.M is None else Part(layer, "M"))


def query_key(query: nn.Linear, key: nn.Linear, *, heads: int) -> Term:
    """Return the products Q_h^T K_h (H, D, D), by which the heads of attention compare, from weights (H d, D)."""
    return Term(
        Part(query, "weight", lambda weight: heads_by_rows(weight, heads).mT),
        Part(key, "weight", lambda weight: heads_by_rows(weight, heads)),
    )


def output_value(output: nn.Linear, value: nn.Linear, *, heads: int) -> Term:
    """Return the products O_h V_h (H, D, D), by which the heads of attention write; output (D, H d), value (H d, D)."""
    return Term(
        Part(output, "weight", lambda weight: heads_by_columns(weight, heads)),
        Part(value, "weight", lambda weight: heads_by_rows(weight, heads)),
    )


class FrobeniusDecay:
    """Adds the gradient of (coefficient / 2) sum |product|^2 over factorized layers, for any optimiser.

    Call `add_gradients` after the backward pass (with scaled losses: after they are scaled back) and before the step.
    Nothing is read back from a GPU.
    """

    def __init__(
        self, products: Iterable[Factorized | Term | TensorTerm], coefficient: float, *, batched: bool | None = None
    ):
        """Take layers or terms, those given twice once.

        `batched` tells whether those of equal shape are computed as one; by default not on a CPU (`factors.each`).
        Raises ValueError for a coefficient that is none.
        """
        if not 0 <= coefficient < float("inf"):
            raise ValueError(f"coefficient = {coefficient}: it is 0 or larger")
        layers = {id(product): term(product) if isinstance(product, Factorized) else product for product in products}
        self.terms = list(layers.values())
        self.coefficient = coefficient
        self.batched = batched

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Add to the `.grad` of each factor that is trained; a coefficient of 0 leaves them as they are, None too."""
        if not self.coefficient:
            return
        to, added = [], []
        gradients = each(_gradients, [term.factors() for term in self.terms], batched=self.batched)
        for term, found in zip(self.terms, gradients, strict=True):
            for part, added_to_it in zip(term.parts(), found, strict=True):
                gradient = part.gradient()
                if gradient is not None:
                    to.append(gradient)
                    added.append(added_to_it)
        if to:
            torch._foreach_add_(to, added, alpha=self.coefficient)

    def penalty(self) -> Tensor:
        """Return (coefficient / 2) sum |product|^2, a scalar through which autograd can go."""
        factors = [term.factors() for term in self.terms]
        norms = [norm.sum() for (norm,) in each(lambda part, _: [part.squared_norm()], factors, batched=self.batched)]
        return self.coefficient / 2 * torch.stack(norms).sum() if norms else torch.zeros(())


def _gradients(factors: Any, _: object) -> Sequence[Tensor]:
    """Return the gradients of |product|^2 / 2 by the factors of a matrix, or the parts of a tensor network."""
    return _of_a_matrix(factors) if isinstance(factors, Factors) else _of_a_tensor(factors)


def _of_a_tensor(network: Any) -> Sequence[Tensor]:
    """Return the gradients by each part of a network, or of a stack of them."""
    with torch.enable_grad():
        parts = type(network)(*(part.detach().requires_grad_() for part in network))
        return torch.autograd.grad(parts.squared_norm().sum() / 2, parts)


def _of_a_matrix(factors: Factors) -> list[Tensor]:
    """Return the gradients by U, VT and, if there is one, M."""
    U, VT, M = factors
    (m, rank), n = U.shape[-2:], VT.shape[-1]
    if _by_product(m, rank, n, with_middle=M is not None):
        right, left = factors.right(), U if M is None else U @ M
        product = U @ right
        found = [product @ right.mT, left.mT @ product]
        return found if M is None else [*found, U.mT @ product @ VT.mT]
    A, B = U.mT @ U, VT @ VT.mT
    if M is None:
        return [U @ B, A @ VT]
    AM, MB = A @ M, M @ B
    return [U @ (MB @ M.mT), M.mT @ AM @ VT, AM @ B]


def _by_product(m: int, rank: int, n: int, *, with_middle: bool) -> bool:
    """Tell whether going by the product takes fewer multiplications than going by Gram matrices."""
    gram, product = 2 * rank**2 * (m + n), 3 * m * rank * n
    if with_middle:
        gram, product = gram + 5 * rank**3, product + rank * (m * n + rank * (m + 2 * n))
    return product < gram
