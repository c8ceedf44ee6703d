"""Networks that run files keep, read back ready to use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit import store
from tacit.errors import UserError
from tacit.settings import untied as untied_settings
from tacit.settings.images import Images
from tacit.settings.networks import Network
from tacit.studies import pathfinder, same_class, translation, untied

if TYPE_CHECKING:
    from torch import nn

Epoch = int | str
"""A number, 0 being before training; of translations `best` or `last`."""

_PLACE = re.compile(r"weights_(\d+|best|last)_(.+)")


def epochs(path: str | Path) -> list[Epoch]:
    """Return the epochs of which a run file keeps the network, the last one at the end.

    Raises StoreError if there is no such file, or if it is damaged.
    """
    return _epochs_in(store.contents(path))


def _epochs_in(contents: store.Contents) -> list[Epoch]:
    found = {match[1] for name in contents.arrays if (match := _PLACE.fullmatch(name))}
    return [*sorted(int(epoch) for epoch in found if epoch.isdigit()), *sorted(found & {"best", "last"})]


def model(path: str | Path, epoch: Epoch | None = None) -> nn.Module:
    """Return the network that a run file keeps of an epoch, by default the last one kept, evaluating, on the CPU.

    Raises UserError if it keeps none, or not that one, StoreError if there is no such file, or if it is damaged.
    """
    contents = store.contents(path)
    there = _epochs_in(contents)
    if contents.kind not in _BUILDERS:
        raise UserError(f"{path}: no network can be built of a {contents.kind}")
    if not there:
        raise UserError(f"{path}: keeps no weights; set keep in the settings of its training, and train it anew")
    chosen = there[-1] if epoch is None else epoch
    if chosen not in there:
        raise UserError(f"{path}: keeps no epoch {chosen}; there are {', '.join(map(str, there))}")
    return _BUILDERS[contents.kind](path, contents.settings, chosen).eval()


def _residual(kind: store.Kind, channels: Callable[[Mapping[str, Any]], int]) -> Callable[..., nn.Module]:
    """Return what makes a residual network with one logit of a run file of this kind."""

    def load(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
        import torch

        from tacit.nn import resnets

        built = resnets.build(Network.from_plain(settings["network"]), in_channels=channels(settings))
        places = {name: f"weights_{epoch}_{name}" for name in built.state_dict()}
        arrays = store.read(path, kind=kind, names=places.values()).arrays
        built.load_state_dict({name: torch.from_numpy(arrays[place]) for name, place in places.items()})
        return built

    return load


def _untied(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
    own = {name: settings[name] for name in untied_settings.RunSettings.model_fields if name in settings}
    assert isinstance(epoch, int)
    return untied.load(path, settings["network"], epoch, untied_settings.RunSettings.from_plain(own))


def _translator(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
    import torch

    return translation.translator(path, weights=str(epoch), device=torch.device("cpu")).network


_BUILDERS: Mapping[str, Callable[[str | Path, Mapping[str, Any], Epoch], nn.Module]] = {
    pathfinder.RUN.name: _residual(pathfinder.RUN, lambda settings: 1),
    same_class.RUN.name: _residual(same_class.RUN, lambda settings: Images.from_plain(settings["images"]).channels),
    untied.RUN.name: _untied,
    translation.RUN.name: _translator,
}
