"""Which parameter of a Transformer decays how, by the flags of the published command and as these read.

After Khodak, Tenenholtz, Mackey, Fusi 2021. Weight decay and Frobenius decay have coefficients of their own, and three
flags move parts of a Transformer from the first to the second: `linear` the factors of linear layers and embeddings,
`query_key` and `output_value` the matrices of attention, whose products Q_h^T K_h and O_h V_h then decay. As published,
`linear` does nothing: factors always keep their weight decay, and have Frobenius decay besides wherever its coefficient
is not 0.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from tacit.nn.attention import Attention
from tacit.nn.factorized import Factorized, factorized_layers
from tacit.optim.decay_groups import DecayPlan, FactorDecay, planned
from tacit.optim.frobenius_decay import FrobeniusDecay, TensorTerm, Term, output_value, query_key

Flags = Literal["repaired", "published"]
"""Whether the flag `linear` does what it says."""


def transformer_decay(
    model: nn.Module,
    *,
    weight_decay: float = 0.0,
    frobenius_decay: float = 0.0,
    linear: bool = False,
    query_key: bool = False,
    output_value: bool = False,
    flags: Flags = "repaired",
) -> DecayPlan:
    """Plan the decay of a Transformer, for an optimiser that decays weights apart from the gradient (`Nesterov`).

    Raises ValueError for a coefficient that is none, and, if repaired, for Frobenius decay of nothing or of linear
    layers of which none is factorized: a run that would pass for one with decay.
    """
    if flags not in ("repaired", "published"):
        raise ValueError(f"flags = {flags!r}: they are 'repaired' or 'published'")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay = {weight_decay}: it is 0 or larger")
    layers = list(factorized_layers(model).values())
    if flags == "repaired" and linear and not layers:
        raise ValueError("linear = True: no layer of this model is factorized, and so there is no product to decay")
    if flags == "repaired" and frobenius_decay and not (linear or query_key or output_value):
        raise ValueError(f"frobenius_decay = {frobenius_decay}, but of nothing: linear, query_key or output_value")
    of_heads = _of_heads(model, comparing=query_key, writing=output_value)
    of_layers: list[Factorized] = layers if linear or flags == "published" else []
    moved = {id(part.parameter()) for term in of_heads for part in term.parts()}
    if flags == "repaired":
        moved |= {id(factor) for layer in of_layers for factor in layer.factors() if factor is not None}

    def shrinks(_: str, parameter: nn.Parameter) -> tuple[FactorDecay, float]:
        return "weight", 0.0 if id(parameter) in moved else weight_decay

    products: list[Factorized | Term | TensorTerm] = [*of_layers, *of_heads]
    return planned(model, shrinks, FrobeniusDecay(products, frobenius_decay))


def _of_heads(model: nn.Module, *, comparing: bool, writing: bool) -> list[Term]:
    """Return the products by which heads compare, and those by which they write."""
    modules = [module for module in model.modules() if isinstance(module, Attention)]
    found = [query_key(module.query, module.key, heads=module.heads) for module in modules] if comparing else []
    if writing:
        found += [output_value(module.output, module.value, heads=module.heads) for module in modules]
    return found
