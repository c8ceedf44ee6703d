"""Matrices and tensors of low rank, and what is observed of them.

After Razin, Cohen 2020 and Razin, Maman, Cohen 2022 (sections 3 to 5): a target of low rank, scaled to a Frobenius
norm, of which either entries are observed at random (completion) or products with random measurements (sensing),
without noise. Every number comes from a stream named by the target, the seed and its use, so that fewer observations
are the first of many.
"""

from __future__ import annotations

import math

import numpy as np

from tacit import store, streams
from tacit.errors import UserError
from tacit.settings.factorizations import AnyProblem, CPProblem, HierarchicalProblem, MatrixProblem, Problem, TaskName

DATASET = store.Kind(
    "observations of a low-rank target",
    {
        "target": store.Array("float64", "..."),
        "values": store.Array("float64", "observations"),
        "indices": store.Array("int64", "observations", optional=True),
        "matrices": store.Array("float32", "observations * *", optional=True),
        "vectors_*": store.Array("float32", "observations *"),
    },
)
"""Kind of file; which of the optional arrays there are, see `make`."""

PROBLEMS: dict[str, type[Problem]] = {
    "matrix": MatrixProblem,
    "tensor": CPProblem,
    "hierarchical": HierarchicalProblem,
}
"""Classes of problems by the name of the factorization that the target has."""


LEAST_NORM, GREATEST_NORM = 1e-12, 1e12
"""Norms of a target between which float32 still holds its square."""


class NoTargetError(UserError):
    """A target that was drawn is too small or too large to compute with."""


def make(problem: AnyProblem, task: TaskName) -> dict[str, np.ndarray]:
    """Return a target and its observations, as arrays to be stored.

    `target` has the problem's shape, float64; `values` (n,) float64 are what is observed of it: of completion the
    entries at the flat row-major `indices` (n,) int64, of sensing the inner products with `matrices` (n, rows,
    columns) float32, or with the tensor products of `vectors_1`, `vectors_2`, ..., each (n, d) float32.
    Raises ValueError if more entries are asked for than there are.
    """
    return of_matrix(problem, task) if isinstance(problem, MatrixProblem) else of_tensor(problem, task)


def of_matrix(problem: MatrixProblem, task: TaskName) -> dict[str, np.ndarray]:
    """Do what `make` does with a matrix, without torch, whose import takes seconds."""
    target = _scaled(problem, _draw_matrix(problem))
    if task == "completion":
        return _entries(problem, target)
    matrices = draw_matrices(target.shape, problem.num_samples, _generator(problem, "measurements"))
    return {
        "target": target,
        "values": np.einsum("nij,ij->n", matrices, target, optimize=True),
        "matrices": matrices,
    }


def of_tensor(problem: CPProblem | HierarchicalProblem, task: TaskName) -> dict[str, np.ndarray]:
    """Do what `make` does with a tensor."""
    target = _scaled(problem, _draw_tensor(problem))
    if task == "completion":
        return _entries(problem, target)
    vectors = draw_vectors(target.shape, problem.num_samples, _generator(problem, "measurements"))
    arrays = {f"vectors_{mode + 1}": vector for mode, vector in enumerate(vectors)}
    return {"target": target, "values": contract(target, vectors)} | arrays


def draw_target(problem: AnyProblem) -> np.ndarray:
    """Return the target of a problem, float64. Raises NoTargetError if it is too small or too large."""
    return _scaled(problem, _draw_matrix(problem) if isinstance(problem, MatrixProblem) else _draw_tensor(problem))


def draw_entries(shape: tuple[int, ...], count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` distinct flat row-major indices (count,) int64, in random order."""
    entries = math.prod(shape)
    if count > entries:
        raise ValueError(f"num_samples = {count}: a target of {' x '.join(map(str, shape))} has {entries} entries")
    return generator.permutation(entries)[:count]


def draw_matrices(shape: tuple[int, ...], count: int, generator: np.random.Generator) -> np.ndarray:
    """Return matrices (count, rows, columns) float32 of independent normal entries of variance 1 / (rows columns)."""
    return (generator.standard_normal((count, *shape)) / math.sqrt(math.prod(shape))).astype(np.float32)


def draw_vectors(shape: tuple[int, ...], count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Return for each mode vectors (count, d) float32 of independent normal entries.

    Their variance is (d_1 d_2 ...)^(-1/N), so that entries of their tensor products have variance 1 / (d_1 d_2 ...).
    """
    scale = math.prod(shape) ** (-1 / (2 * len(shape)))
    # One row an observation, so that fewer are the first of many.
    rows = (scale * generator.standard_normal((count, sum(shape)))).astype(np.float32)
    return [np.ascontiguousarray(part) for part in np.split(rows, np.cumsum(shape)[:-1], axis=1)]


def contract(tensor: np.ndarray, vectors: list[np.ndarray]) -> np.ndarray:
    """Return the inner products (n,) of `tensor` with the tensor products of `vectors`, one (n, d) a mode."""
    partial = np.einsum("ni,i...->n...", vectors[0], tensor)
    for vector in vectors[1:]:
        partial = np.einsum("ni,ni...->n...", vector, partial)
    return partial


def _generator(problem: Problem, use: str) -> np.random.Generator:
    return streams.numpy_generator("sensing", type(problem).__name__, problem.seed, use)


def _entries(problem: Problem, target: np.ndarray) -> dict[str, np.ndarray]:
    indices = draw_entries(target.shape, problem.num_samples, _generator(problem, "entries"))
    return {"target": target, "values": target.ravel()[indices], "indices": indices}


def _scaled(problem: Problem, target: np.ndarray) -> np.ndarray:
    """Return what was drawn, with the norm that the problem asks for."""
    drawn = np.linalg.norm(target)
    if problem.norm == "as_drawn":
        if not LEAST_NORM <= drawn <= GREATEST_NORM:
            raise NoTargetError(
                f"the target of shape {' x '.join(map(str, problem.shape))} has a norm of {drawn:.3g} as it was drawn, "
                "which cannot be computed with; give norm a number, or change factor_mean and factor_std"
            )
        return target
    if not 0 < drawn < math.inf:
        raise NoTargetError(f"the target was drawn with a norm of {drawn:g}; change factor_mean and factor_std")
    wanted = math.sqrt(problem.num_entries) if problem.norm == "sqrt_entries" else problem.norm
    return target * (wanted / drawn)


def _draw_matrix(problem: MatrixProblem) -> np.ndarray:
    generator = _generator(problem, "target")
    left = generator.standard_normal((problem.shape[0], problem.rank))
    right = left if problem.symmetric else generator.standard_normal((problem.shape[1], problem.rank))
    return left @ right.T


def _draw_tensor(problem: CPProblem | HierarchicalProblem) -> np.ndarray:
    # Here, because matrices, and whatever only reads a target, do without torch.
    import torch

    from tacit.nn.factorizations import CPFactorization, HierarchicalTensorFactorization, set_normal

    if problem.rank == "full":
        return _generator(problem, "target").standard_normal(problem.shape)
    if isinstance(problem, HierarchicalProblem):
        model = HierarchicalTensorFactorization(problem.shape, problem.tree, problem.widths).double()
    else:
        model = CPFactorization(problem.shape, problem.rank).double()
    set_normal(model, _generator(problem, "target"), mean=problem.factor_mean, std=problem.factor_std)
    with torch.no_grad():
        return np.ascontiguousarray(model.end_tensor().numpy())
