"""Tacit: experiments on the implicit bias of deep networks, as a library. Knows nothing of the workflow around it.

What `__all__` names is for networks and data of one's own: plain arguments, and errors that say what to do. It is
looked up when it is first used, as the rules of the workflow import this package and must not wait for torch.
"""

from typing import TYPE_CHECKING

from tacit import imports

if TYPE_CHECKING:
    from tacit.analysis.power_law import fit as fit_power_law
    from tacit.front.conversions import to_dense, to_local
    from tacit.front.descents import descend
    from tacit.front.factors import FrobeniusDecay, collapse, factorize
    from tacit.front.landscapes import landscape
    from tacit.front.long_range import LongRangeRegularizer
    from tacit.front.variation import p_variation
    from tacit.nn.local import LocalConv2d
    from tacit.optim.group_rmsprop import GroupRMSprop
    from tacit.studies.kept import epochs as kept_epochs
    from tacit.studies.kept import model as load_model
    from tacit.studies.recorded import read as read_run

__all__ = [
    "FrobeniusDecay",
    "GroupRMSprop",
    "LocalConv2d",
    "LongRangeRegularizer",
    "collapse",
    "descend",
    "factorize",
    "fit_power_law",
    "kept_epochs",
    "landscape",
    "load_model",
    "p_variation",
    "read_run",
    "to_dense",
    "to_local",
]

# The fingerprints of all code take in what this package does on import: nothing but the next line may be done.
imports.watch(__name__)

_PLACES = {
    "FrobeniusDecay": "tacit.front.factors",
    "GroupRMSprop": "tacit.optim.group_rmsprop",
    "LocalConv2d": "tacit.nn.local",
    "LongRangeRegularizer": "tacit.front.long_range",
    "collapse": "tacit.front.factors",
    "descend": "tacit.front.descents",
    "factorize": "tacit.front.factors",
    "fit_power_law": "tacit.analysis.power_law:fit",
    "kept_epochs": "tacit.studies.kept:epochs",
    "landscape": "tacit.front.landscapes",
    "load_model": "tacit.studies.kept:model",
    "p_variation": "tacit.front.variation",
    "read_run": "tacit.studies.recorded:read",
    "to_dense": "tacit.front.conversions",
    "to_local": "tacit.front.conversions",
}
"""Module of each name and, behind a colon, its name there if it is another."""


def __getattr__(name: str) -> object:
    """Return one of the names of `__all__`, imported now; raises AttributeError for any other."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, there = _PLACES[name].partition(":")
    found = getattr(import_module(module), there or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return what is there, looked up yet or not."""
    return sorted({*globals(), *__all__})
