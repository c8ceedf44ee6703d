"""Matrices that are fitted in a compiled loop, and tensors that are completed."""

from __future__ import annotations

from tacit.memory import NUMBA, NUMPY, total, training
from tacit.settings.factorizations import CPProblem
from tacit.settings.norms import MatrixRun


def matrix(run: MatrixRun) -> int:
    """Measurements, padded to squares, three times, and the evaluations, of which a run keeps few."""
    longest = max(run.problem.shape)
    return total(NUMBA, 24 * run.problem.num_samples * longest**2 + 8 * 20_000 * 4 * longest**2)


def tensor(problem: CPProblem, *, torch: bool, gpu: bool) -> int:
    """Unfoldings of the tensor against as many components as its rank can have, in the fits that estimate it."""
    entries = problem.num_entries
    components = entries // max(problem.shape)
    content = 8 * (20 * entries + 6 * components * (sum(problem.shape) + entries // min(problem.shape)))
    return training(content, gpu=gpu) if torch else total(NUMPY, content)
