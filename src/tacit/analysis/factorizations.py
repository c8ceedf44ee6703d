"""What is followed while a factorization is fitted (Razin, Maman, Cohen 2022, sections 3 to 5).

Each function takes a model and its end tensor and returns quantities by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from tacit.analysis import ranks, spectra
from tacit.nn.factorizations import CPFactorization, Factorization, HierarchicalTensorFactorization
from tacit.settings.factorizations import CPExperiment, Experiment, MatrixExperiment


def measure_of(experiment: Experiment) -> Callable[[Factorization, Tensor], dict[str, Tensor]]:
    """Return what is measured of the model of `experiment`: one of the functions below."""
    if isinstance(experiment, MatrixExperiment):
        return partial(measure_matrix, tracked=experiment.num_tracked)
    if isinstance(experiment, CPExperiment):
        return partial(measure_cp, tracked=experiment.num_tracked)
    extra = [tuple(sorted(mode - 1 for mode in modes)) for modes in experiment.matricizations]
    return partial(measure_hierarchical, tracked=experiment.num_tracked, extra=extra)


def measure_matrix(model: Factorization, end: Tensor, *, tracked: int) -> dict[str, Tensor]:
    """Return `singular_values` (tracked,), `frobenius_norm`, `nuclear_norm`, `rank`, `effective_rank`."""
    values = torch.linalg.svdvals(end)
    return {
        "singular_values": spectra.largest(values, tracked),
        "frobenius_norm": torch.linalg.vector_norm(end),
        "nuclear_norm": values.sum(),
        "rank": ranks.numerical_rank(values, longer_side=max(end.shape), precision=torch.finfo(values.dtype).eps),
        "effective_rank": ranks.effective_rank(values),
    }


def measure_cp(model: CPFactorization, end: Tensor, *, tracked: int) -> dict[str, Tensor]:
    """Return `component_norms` (tracked,), and `column_norms_<mode>` (tracked,), `factor_norm_<mode>`, modes from 1."""
    row = {"component_norms": spectra.largest(model.component_norms(), tracked)}
    for mode, factor in enumerate(model.factors, start=1):
        columns = torch.linalg.vector_norm(factor, dim=0)
        row[f"column_norms_{mode}"] = spectra.largest(columns, tracked)
        row[f"factor_norm_{mode}"] = torch.linalg.vector_norm(columns)
    return row


def measure_hierarchical(
    model: HierarchicalTensorFactorization, end: Tensor, *, tracked: int, extra: Iterable[tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return what there is to see of each node and each matricization, by modes from 1.

    `local_component_norms_<modes>` (tracked,) of inner nodes; `column_norms_<modes>` (tracked,) of the matrix of each
    node but the root; `singular_values_<modes>` (tracked,) and `effective_rank_<modes>` of the matricizations of the
    leaves, the inner nodes but the root, and the `extra` sets of modes (from 0).
    """
    tree, row = model.tree, {}
    for (level, node), norms in model.local_component_norms().items():
        row[f"local_component_norms_{tree.label(level, node)}"] = spectra.largest(norms, tracked)
    for level in range(tree.levels):
        for node, matrix in enumerate(model.matrices_of(level)):
            norms = torch.linalg.vector_norm(matrix, dim=0)
            row[f"column_norms_{tree.label(level, node)}"] = spectra.largest(norms, tracked)
    levels = itertools.chain.from_iterable(tree.modes[:-1])
    mode_sets = list(dict.fromkeys([*(tuple(sorted(modes)) for modes in levels), *extra]))
    for modes, values in zip(mode_sets, spectra.spectra(end, mode_sets), strict=True):
        name = "_".join(str(mode + 1) for mode in modes)
        row[f"singular_values_{name}"] = spectra.largest(values, tracked)
        row[f"effective_rank_{name}"] = ranks.effective_rank(values)
    return row
