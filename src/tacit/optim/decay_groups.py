"""Which parameter of a factorized network decays how: groups for an optimiser, and a report.

After Khodak, Tenenholtz, Mackey, Fusi 2021. Factors (U, VT, M) of factorized layers, and cores and factors of tensor
layers, get weight decay, Frobenius decay, weight decay scaled by the share of parameters that are left (the original's
comparisons with tensor decompositions), or none; every other parameter, the biases of factorized layers and depthwise
convolutions before tensors among them, gets weight decay. "none" is also what tensors receive under the name of
Frobenius decay as published: there it is added to a loss whose gradients have been taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import nn

from tacit.nn.factorized import factorized_layers
from tacit.optim.frobenius_decay import FrobeniusDecay

FactorDecay = Literal["weight", "frobenius", "scaled", "none"]
"""How factors decay."""


class Row(NamedTuple):
    """What one parameter receives. One that receives two kinds of decay has two rows."""

    parameter: str
    kind: FactorDecay
    coefficient: float
    """0 for "none"."""


class DecayPlan(NamedTuple):
    """Decays of all parameters of a model."""

    groups: list[dict[str, Any]]
    """For any optimiser: `params` and `weight_decay`, one group for each coefficient, in the order of the model."""
    frobenius: FrobeniusDecay
    """Adds its gradients before each step; without layers if no factor is to have it."""
    report: list[Row]
    """In the order of the model's parameters."""


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    factors: FactorDecay = "weight",
    ratio: float | None = None,
    also_frobenius: Callable[[str], bool] | None = None,
    without_weight_decay: Callable[[str], bool] | None = None,
) -> DecayPlan:
    """Plan the decay of a model whose layers have been factorized.

    Parameters that are not trained are in no group, and are reported to get none.

    Args:
        model: the network.
        weight_decay: coefficient of weight decay and of Frobenius decay.
        factors: what the factors receive.
        ratio: parameters of the factorized model as a share of the dense one's, for "scaled": factors receive
            `weight_decay` times this.
        also_frobenius: names of factorized layers that receive Frobenius decay besides; the original does so to the
            shortcuts of wide residual networks, for want of a letter.
        without_weight_decay: names of parameters that lose their weight decay; in the original's VGG with Frobenius
            decay these are scales and shifts whose names contain those of convolutions.

    Raises:
        ValueError: if `ratio` is missing or superfluous, a coefficient is negative, or there is nothing factorized to
            receive another decay than the rest.
    """
    _check(weight_decay, factors, ratio)
    layers = factorized_layers(model)
    if factors != "weight" and not layers:
        raise ValueError(f"factors = {factors!r}: no layer of this model is factorized")
    decayed = [name for name in layers if factors == "frobenius" or (also_frobenius and also_frobenius(name))]
    of_layers = {id(part) for layer in layers.values() for part in layer.factors() if part is not None}
    of_factors = {"weight": weight_decay, "scaled": weight_decay * (ratio or 0.0)}.get(factors, 0.0)

    def shrinks(name: str, parameter: nn.Parameter) -> tuple[FactorDecay, float]:
        of_layer = id(parameter) in of_layers
        kept = not (without_weight_decay and without_weight_decay(name))
        return factors if of_layer else "weight", kept * (of_factors if of_layer else weight_decay)

    return planned(model, shrinks, FrobeniusDecay([layers[name] for name in decayed], weight_decay))


def planned(
    model: nn.Module,
    shrinks: Callable[[str, nn.Parameter], tuple[FactorDecay, float]],
    frobenius: FrobeniusDecay,
) -> DecayPlan:
    """Return the plan in which parameters shrink by themselves as `shrinks` says, and products by `frobenius`.

    `shrinks` returns kind and coefficient of the weight decay of a parameter, given its name too.
    """
    in_products = {id(part.parameter()) for term in frobenius.terms for part in term.parts()}
    groups: dict[float, list[nn.Parameter]] = {}
    report: list[Row] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            report.append(Row(name, "none", 0.0))
            continue
        kind, coefficient = shrinks(name, parameter)
        groups.setdefault(coefficient, []).append(parameter)
        report += _rows(name, kind, coefficient, frobenius.coefficient if id(parameter) in in_products else 0.0)
    return DecayPlan(
        [{"params": members, "weight_decay": coefficient} for coefficient, members in groups.items()],
        frobenius,
        report,
    )


def _rows(name: str, kind: FactorDecay, weight: float, frobenius: float) -> list[Row]:
    found = [Row(name, kind, weight)] if weight else []
    if frobenius:
        found.append(Row(name, "frobenius", frobenius))
    return found or [Row(name, "none", 0.0)]


def _check(weight_decay: float, factors: str, ratio: float | None) -> None:
    if factors not in ("weight", "frobenius", "scaled", "none"):
        raise ValueError(f"factors = {factors!r}: they decay by 'weight', 'frobenius', 'scaled' or 'none'")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay = {weight_decay}: it is 0 or larger")
    if (factors == "scaled") != (ratio is not None) or (ratio is not None and not 0 < ratio < float("inf")):
        raise ValueError(f"factors = {factors!r}, ratio = {ratio}: scaled decay, and no other, has a ratio above 0")
