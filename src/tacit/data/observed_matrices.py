"""Matrices that a deep factorization is to find, random ones or a user's own, and what is observed of them.

After Razin, Cohen 2020: a block [[?, z], [z', eps]]; entries; or products with matrices. Fewer observations are always
the first of many. NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tacit.data import own_arrays, sensing
from tacit.errors import UserError
from tacit.settings.factorizations import MatrixProblem
from tacit.settings.observed_matrices import ObservedMatrix


class NoTargetError(UserError):
    """A target of a user's own that errors cannot be measured by."""


class Observation(NamedTuple):
    """A matrix, and what is observed of it: entries by a mask, or products with other matrices."""

    target: np.ndarray
    """(rows, columns) float64; the unobserved entry of a block is 0"""
    mask: np.ndarray
    """(rows, columns), 1 where an entry is observed, else 0"""
    matrices: np.ndarray
    """(n, rows, columns), n = 0 if entries are observed"""
    values: np.ndarray
    """(n,), the products"""


def observe(problem: ObservedMatrix, *, digests: Mapping[str, str] | None = None) -> Observation:
    """Return what is to be found, and what is observed of it.

    `digests` are those of a user's own files by their names, as they were planned with. Raises OwnArrayError if one is
    not as it should be, NoTargetError if it is zero, or too small or large to compute with.
    """
    if problem.task == "block":
        target = np.eye(*problem.shape)
        target[:2, :2] = [[0, problem.observed[0]], problem.observed[1:]]
        return _of_entries(target, np.arange(1, target.size)[: problem.num_observations])
    made = _random(problem)
    target = _own_target(problem, digests or {}) if problem.has_own_target else made["target"]
    if problem.task == "completion":
        in_order = np.arange(1, problem.num_samples + 1)
        return _of_entries(target, made["indices"] if problem.entries == "random" else in_order)
    if problem.sensing_file is not None:
        matrices = _own_matrices(problem, digests or {})
    elif problem.sensing_std is not None:
        matrices = made["matrices"] * (problem.sensing_std * math.sqrt(target.size))
    else:
        matrices = made["matrices"]
    values = np.einsum("nij,ij->n", matrices, target, optimize=True)
    return Observation(target, np.zeros(target.shape), matrices, values)


def shortage(problem: ObservedMatrix) -> str | None:
    """Say what is wrong with a user's own files, as far as it shows at a glance; None if they seem to be right."""
    complaints = []
    if problem.target_file is not None:
        complaints.append(own_arrays.complaint(problem.target_file, problem.shape))
    if problem.sensing_file is not None:
        shape = (problem.num_samples, *problem.shape)
        complaints.append(own_arrays.complaint(problem.sensing_file, shape, at_least=True))
    return "\n".join(filter(None, complaints)) or None


def _of_entries(target: np.ndarray, indices: np.ndarray) -> Observation:
    mask = np.zeros(target.shape)
    mask.ravel()[indices] = 1
    return Observation(target, mask, np.zeros((0, *target.shape)), np.zeros(0))


def _random(problem: ObservedMatrix) -> dict[str, np.ndarray]:
    """Return a random target with random observations, of which some may be taken, others replaced."""
    random = MatrixProblem(
        seed=problem.seed,
        shape=problem.shape,
        norm=problem.norm,
        num_samples=problem.num_samples,
        rank=problem.rank,
        symmetric=problem.symmetric,
    )
    assert problem.task != "block"
    return sensing.of_matrix(random, problem.task)


def _own_target(problem: ObservedMatrix, digests: Mapping[str, str]) -> np.ndarray:
    name = problem.target_file
    if name is None:
        return np.array(problem.target)
    target = own_arrays.read(name, problem.shape, digest=digests.get(name))
    norm = np.linalg.norm(target)
    if not sensing.LEAST_NORM <= norm <= sensing.GREATEST_NORM:
        raise NoTargetError(
            f"{name}: has a norm of {norm:.3g}, which errors cannot be measured by; it must be from "
            f"{sensing.LEAST_NORM:g} to {sensing.GREATEST_NORM:g}"
        )
    return target


def _own_matrices(problem: ObservedMatrix, digests: Mapping[str, str]) -> np.ndarray:
    name = problem.sensing_file
    assert name is not None
    matrices = own_arrays.read(name, (problem.num_samples, *problem.shape), at_least=True, digest=digests.get(name))
    if empty := np.flatnonzero(~matrices.any(axis=(1, 2))).tolist():
        raise own_arrays.OwnArrayError(f"{name}: matrix {empty[0]}, counted from 0, is zero, and observes nothing")
    return matrices
