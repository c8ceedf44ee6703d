"""Networks and factorizations that run files keep, read back ready to use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tacit import store
from tacit.errors import UserError
from tacit.settings.base import Settings
from tacit.settings.factorizations import CPProblem, Descent
from tacit.settings.images import Images
from tacit.settings.networks import Network
from tacit.settings.norms import MatrixDescent
from tacit.settings.observed_matrices import ObservedMatrix
from tacit.studies import (
    compressed,
    depth_cifar,
    factorized,
    matrix_norms,
    pathfinder,
    rank_dynamics,
    same_class,
    tensor_completion,
    translation,
    untied,
)

if TYPE_CHECKING:
    from torch import nn

Block = TypeVar("Block", bound=Settings)

Epoch = int | str
"""A number, 0 being before training; of translations `best` or `last`. Of factorizations the epochs are those after
which they were evaluated, every so many, and the last."""

_PLACE = re.compile(r"weights_(\d+|best|last)_(.+)")


def epochs(path: str | Path) -> list[Epoch]:
    """Return the epochs of which a run file keeps the network, the last one at the end.

        path = "results/demo/pathfinder/path_length~3/coefficient~0/seed~0.h5"
        tacit.kept_epochs(path)

    Raises StoreError if there is no such file, or if it is damaged.
    """
    return _epochs_in(store.contents(path))


def _epochs_in(contents: store.Contents) -> list[Epoch]:
    found = {match[1] for name in contents.arrays if (match := _PLACE.fullmatch(name))}
    return [*sorted(int(epoch) for epoch in found if epoch.isdigit()), *sorted(found & {"best", "last"})]


def model(path: str | Path, epoch: Epoch | None = None) -> nn.Module:
    """Return the network that a run file keeps of an epoch, by default the last one kept, evaluating, on the CPU.

    A factorization (`tacit.nn.factorizations`) has its `end_tensor()`.

        path = "results/demo/pathfinder/path_length~3/coefficient~0/seed~0.h5"
        model = tacit.load_model(path)  # or of an epoch among tacit.kept_epochs(path)

    Raises UserError if it keeps none, or not that one, StoreError if there is no such file, or if it is damaged.
    """
    contents = store.contents(path)
    there = _epochs_in(contents)
    if contents.kind not in _BUILDERS:
        raise UserError(f"{path}: no network can be built of a {contents.kind}")
    if not there:
        raise UserError(f"{path}: keeps no weights; set keep in the settings of its training, and train it anew")
    chosen = there[-1] if epoch is None else _numbered(epoch)
    if chosen not in there:
        raise UserError(f"{path}: keeps no epoch {chosen}; there are {', '.join(map(str, there))}")
    return _BUILDERS[contents.kind](path, contents.settings, chosen).eval()


def _numbered(epoch: Epoch | float) -> Epoch:
    """Return an epoch as it is named here; one that was recorded is a whole number of another type."""
    if isinstance(epoch, str):
        return int(epoch) if epoch.isdigit() else epoch
    return int(epoch) if float(epoch).is_integer() else str(epoch)


def _loaded(kind: store.Kind, build: Callable[[Mapping[str, Any]], nn.Module]) -> Callable[..., nn.Module]:
    """Return what puts the weights of a run file of this kind into the network that is built by its settings."""

    def load(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
        import torch

        # Drawing what the weights come in place of must not move the generator of whoever asks.
        with torch.random.fork_rng(devices=()):
            built = build(settings)
        places = {name: f"weights_{epoch}_{name}" for name in built.state_dict()}
        arrays = store.read(path, kind=kind, names=places.values()).arrays
        built.load_state_dict({name: torch.from_numpy(arrays[place]) for name, place in places.items()})
        return built

    return load


def _of(model: type[Block], settings: Mapping[str, Any]) -> Block:
    """Return the part of the settings in a file that is a block of its own, besides the axes."""
    return model.from_plain({name: settings[name] for name in model.model_fields if name in settings})


def _resnet(settings: Mapping[str, Any], *, channels: int) -> nn.Module:
    from tacit.nn import resnets

    return resnets.build(Network.from_plain(settings["network"]), in_channels=channels)


def _of_pathfinder(settings: Mapping[str, Any]) -> nn.Module:
    return _resnet(settings, channels=1)


def _of_same_class(settings: Mapping[str, Any]) -> nn.Module:
    return _resnet(settings, channels=Images.from_plain(settings["images"]).channels)


def _of_depth_cifar(settings: Mapping[str, Any]) -> nn.Module:
    return depth_cifar.build(_of(depth_cifar.RunSettings, settings), depth=settings["depth"])


def _of_factorized(settings: Mapping[str, Any]) -> nn.Module:
    variant = factorized.Variant(*(settings[name] for name in factorized.Variant._fields))
    own = _of(factorized.RunSettings, settings)
    return factorized.build(own, variant, depth=settings["depth"], seed=settings["seed"]).network


def _of_compressed(settings: Mapping[str, Any]) -> nn.Module:
    variant = compressed.Variant(*(settings[name] for name in compressed.Variant._fields))
    named = compressed.Named(*(settings[name] for name in compressed.Named._fields))
    return compressed.blank(_of(compressed.RunSettings, settings), variant, named)


def _of_rank_dynamics(settings: Mapping[str, Any]) -> nn.Module:
    import torch

    experiment = _of(rank_dynamics.EXPERIMENTS[settings["factorization"]], settings)
    return rank_dynamics.shaped(experiment).to(getattr(torch, experiment.descent.precision))


def _of_matrix_norms(settings: Mapping[str, Any]) -> nn.Module:
    import torch

    from tacit.nn.factorizations import MatrixFactorization

    shape = ObservedMatrix.from_plain(settings["problem"]).shape
    precision = MatrixDescent.from_plain(settings["descent"]).precision
    return MatrixFactorization(*shape, settings["variant"]["depth"]).to(getattr(torch, precision))


def _of_tensor_completion(settings: Mapping[str, Any]) -> nn.Module:
    import torch

    from tacit.nn.factorizations import CPFactorization

    shape = CPProblem.from_plain(settings["problem"]).shape
    precision = Descent.from_plain(settings["descent"]).precision
    return CPFactorization(shape, tensor_completion.full_width(shape)).to(getattr(torch, precision))


def _untied(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
    assert isinstance(epoch, int)
    return untied.load(path, settings["network"], epoch, _of(untied.RunSettings, settings))


def _translator(path: str | Path, settings: Mapping[str, Any], epoch: Epoch) -> nn.Module:
    import torch

    return translation.translator(path, weights=str(epoch), device=torch.device("cpu")).network


_BUILDERS: Mapping[str, Callable[[str | Path, Mapping[str, Any], Epoch], nn.Module]] = {
    pathfinder.RUN.name: _loaded(pathfinder.RUN, _of_pathfinder),
    same_class.RUN.name: _loaded(same_class.RUN, _of_same_class),
    depth_cifar.RUN.name: _loaded(depth_cifar.RUN, _of_depth_cifar),
    factorized.RUN.name: _loaded(factorized.RUN, _of_factorized),
    compressed.RUN.name: _loaded(compressed.RUN, _of_compressed),
    untied.RUN.name: _untied,
    translation.RUN.name: _translator,
    rank_dynamics.RUN.name: _loaded(rank_dynamics.RUN, _of_rank_dynamics),
    matrix_norms.RUN.name: _loaded(matrix_norms.RUN, _of_matrix_norms),
    tensor_completion.RUN.name: _loaded(tensor_completion.RUN, _of_tensor_completion),
}
