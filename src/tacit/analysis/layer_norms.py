"""Norms of the layers of a network of any kind, and distances: from tied weights, from local ones, from the beginning.

After Sanford, Ardeshir, Hsu 2022 (norms) and d'Ascoli et al. 2019 (what of a fully connected network is not local).
L layers with weights, of which the first are convolutions; other symbols as in `tacit.nn.local`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tacit.nn.convnets import Sum
from tacit.nn.untying import Layer, Weighted, weighted


def layer_measures(network: nn.Sequential, start: nn.Sequential, layers: list[Layer]) -> dict[str, np.ndarray]:
    """Measure the weights (no biases) of a network of any kind; `start` is the network its training began with.

    - squared_norms, squared_norms_live (L,): of the untied weights, so P |K|^2 for a convolution with filter K; of all,
      and of those alone that can ever get a gradient.
    - distances (L,): from `start`, relative to the norm there.
    - deviations, deviations_live (M,): of M convolutions, the share of the squared norm of local weights that is not in
      their mean over positions; zero while weights are tied.
    - off_local (M,): norm of those weights of a dense layer that are zero while it is local, relative to that of all.
    """
    rows = []
    for number, (module, first) in enumerate(zip(weighted(network), weighted(start), strict=True)):
        layer = layers[number] if number < len(layers) else None
        rows.append(_of_layer(module, first, layer))
    return {name: np.array([row[name] for row in rows if name in row]) for name in rows[0]}


def measures(network: nn.Sequential | Sum, start: nn.Module, layers: list[Layer]) -> dict[str, np.ndarray]:
    """Measure a network as `layer_measures` does; of a sum the layers of the first, and behind them of the second."""
    pairs: list[tuple[nn.Module, nn.Module]] = [(network, start)]
    if isinstance(network, Sum):
        pairs = list(zip(network.children(), start.children(), strict=True))
    parts = [layer_measures(cast(nn.Sequential, part), cast(nn.Sequential, begun), layers) for part, begun in pairs]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_layer(module: Weighted, first: Weighted, layer: Layer | None) -> dict[str, float]:
    if layer is None:
        squared, moved = _norm(module.weight.detach()) ** 2, _distance(module.weight, first.weight)
        return {"squared_norms": squared, "squared_norms_live": squared, "distances": moved}
    weight, live = layer.local_weight(module), _live_weights(layer, module.weight.device)
    everything = torch.ones_like(live)
    found = {
        "squared_norms": _norm(weight) ** 2,
        "squared_norms_live": _norm(weight * live) ** 2,
        "deviations": _deviation(weight, everything),
        "deviations_live": _deviation(weight, live),
        "off_local": 0.0,
    }
    if isinstance(module, nn.Linear):
        off = layer.off_local_weight(module)
        used = off[:, layer.live_outputs.to(off.device)].unflatten(2, (layer.in_channels, -1))
        used = used[..., layer.live_inputs.to(off.device)]
        found["squared_norms"] += _norm(off) ** 2
        found["squared_norms_live"] += _norm(used) ** 2
        found["off_local"] = _norm(off) / found["squared_norms"] ** 0.5
        return found | {"distances": _distance(module.weight, first.weight)}
    return found | {"distances": _distance(weight, layer.local_weight(first))}


def _live_weights(layer: Layer, device: torch.device) -> Tensor:
    """Return which filters (P, D, 1) can get a gradient."""
    return layer.live.repeat_interleave(layer.in_channels, 1)[..., None].to(device)


def _deviation(weight: Tensor, counted: Tensor) -> float:
    """Return the share of the squared norm of `counted` weights (P, D, O) that is not in their mean over positions."""
    # Relative to one position, so that weights which are all the same give exactly zero.
    reference = weight.gather(0, counted.int().argmax(0)[None].expand(1, -1, weight.shape[2]))
    shifted = (weight - reference) * counted
    mean = shifted.sum(0) / counted.sum(0).clamp(min=1)
    return _norm((shifted - mean) * counted) ** 2 / max(_norm(weight * counted) ** 2, torch.finfo(torch.float64).tiny)


def _distance(weight: Tensor, first: Tensor) -> float:
    return _norm(weight.detach() - first.detach()) / _norm(first.detach())


def _norm(tensor: Tensor) -> float:
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item()
