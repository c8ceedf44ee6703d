"""What is followed while a factorization is fitted (Razin, Maman, Cohen 2022, sections 3 to 5).

Each function takes a model and its end tensor and returns quantities by name. Modes, layers, rows and columns in names
are counted from 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from tacit.analysis import ranks, spectra
from tacit.nn.factorizations import (
    CPFactorization,
    Factorization,
    HierarchicalTensorFactorization,
    MatrixFactorization,
)
from tacit.nn.products import multiply
from tacit.settings.factorizations import CPExperiment, Experiment, MatrixExperiment
from tacit.settings.following import Entries, Track


def measure_of(experiment: Experiment) -> Callable[[Factorization, Tensor], dict[str, Tensor]]:
    """Return what is measured of the model of `experiment`: one of the functions below."""
    if isinstance(experiment, MatrixExperiment):
        track, entries = experiment.track, experiment.entries
        return partial(measure_matrix, tracked=experiment.num_tracked, track=track, entries=entries)
    if isinstance(experiment, CPExperiment):
        return partial(measure_cp, tracked=experiment.num_tracked)
    extra = [tuple(sorted(mode - 1 for mode in modes)) for modes in experiment.matricizations]
    return partial(measure_hierarchical, tracked=experiment.num_tracked, extra=extra)


def measure_matrix(
    model: MatrixFactorization, end: Tensor, *, tracked: int, track: Sequence[Track] = (), entries: Entries = ()
) -> dict[str, Tensor]:
    """Return `singular_values` (tracked,), `frobenius_norm`, `nuclear_norm`, `rank`, `effective_rank`.

    Of those `entries` that are asked for also `entry_<row>_<column>`, or, if these are all, the `end_matrix` itself. As
    `track` says `balancedness` and `normalized_balancedness` (L - 1,), see below; `layer_singular_values_<layer>`
    (tracked,); and entries of layers, `layer_entry_<layer>_<row>_<column>`, or all of them, `layer_matrix_<layer>`.
    """
    row = _of_end_matrix(end, tracked)
    if entries:
        row |= _entries(end, entries, whole="end_matrix", single="entry")
    return row | _of_layers(list(model.factors), tracked, track, entries) if track else row


def _of_layers(factors: Sequence[Tensor], tracked: int, track: Sequence[Track], entries: Entries) -> dict[str, Tensor]:
    row = {}
    if "balancedness" in track:
        row["balancedness"], row["normalized_balancedness"] = balancedness(factors)
    for layer, factor in enumerate((factor.detach() for factor in factors), start=1):
        if "layer_singular_values" in track:
            row[f"layer_singular_values_{layer}"] = spectra.largest(torch.linalg.svdvals(factor), tracked)
        if "layer_entries" in track:
            row |= _entries(factor, entries, whole=f"layer_matrix_{layer}", single=f"layer_entry_{layer}")
    return row


def balancedness(factors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return |W_j^T W_j - W_{j+1} W_{j+1}^T| (L - 1,) of a product W_1 W_2 ... W_L, and over the mean of both norms.

    It stays as it is under gradient flow, and is 0 if neighbours share singular values and vectors. What is over a mean
    of 0 counts as 0.
    """
    distances, means = [], []
    for left, right in itertools.pairwise(factor.detach() for factor in factors):
        below = multiply(left.T, left, out=left.new_empty(2 * left.shape[1:]))
        above = multiply(right, right.T, out=torch.empty_like(below))
        distances.append(torch.linalg.vector_norm(below - above))
        means.append((torch.linalg.vector_norm(below) + torch.linalg.vector_norm(above)) / 2)
    distance, mean = torch.stack(distances), torch.stack(means)
    return distance, torch.where(mean > 0, distance / mean, 0)


def _entries(matrix: Tensor, entries: Entries, *, whole: str, single: str) -> dict[str, Tensor]:
    if entries == "all":
        return {whole: matrix}
    return {f"{single}_{row}_{column}": matrix[row - 1, column - 1] for row, column in entries}


def _of_end_matrix(end: Tensor, tracked: int) -> dict[str, Tensor]:
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
