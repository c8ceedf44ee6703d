"""Matrices seen as tensors of three modes: decompositions of them, products, Frobenius norms.

After Khodak, Tenenholtz, Mackey, Fusi 2021, whose comparison takes these layers from Gray, Crowley, Storkey 2019. A
matrix (O, I), row by row, is a tensor T (n1, n2, n3) with n1 n2 n3 = O I (`fold`), of which there are two forms,

    tensor_train   T[a, b, c] = sum_jk  A[a, j] B[j, b, k] C[k, c]                      ranks (R1, R2),
    tucker         T[a, b, c] = sum_ijk  G[i, j, k] F1[a, i] F2[b, j] F3[c, k]          ranks (s1, s2, s3).

The core G of Tucker's is stored as a tensor train itself, (s1, T1), (T1, s2, T2), (T2, s3) with T1 = min(n1, s2 s3) and
T2 = s3, as the library of the original does, whence the published numbers of parameters; or "dense", as textbooks have
it. The cores of tensor trains have three modes each, the first and the last with one that is 1.

Trains come of singular value decompositions from the last mode to the first: all cores but the first have orthonormal
rows, and the first has the norm of the whole. Tucker's form comes of the same sweep (the sequentially truncated
higher-order singular value decomposition of Vannieuwenhoven, Vandebril, Meerbergen 2012, last mode first); its factors
have orthonormal columns. Neither shares the norm out among its parts. Any number of leading dimensions makes a stack of
networks, as in `tacit.nn.factors`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["tensor_train", "tucker"]
"""Form of a tensor."""

Core = Literal["tensor_train", "dense"]
"""How the core of Tucker's form is stored."""

Dims = tuple[int, int, int]
"""(n1, n2, n3)"""


class TensorTrain(NamedTuple):
    """A product of three cores in a row."""

    core1: Tensor
    """(..., 1, n1, R1)"""
    core2: Tensor
    """(..., R1, n2, R2)"""
    core3: Tensor
    """(..., R2, n3, 1)"""

    def tensor(self) -> Tensor:
        """Return the product, (..., n1, n2, n3)."""
        first, middle, last = self.core1.squeeze(-3), self.core2, self.core3.squeeze(-1)
        (n1, left), (n2, right), n3 = first.shape[-2:], middle.shape[-2:], last.shape[-1]
        if right * n1 * n2 * (left + n3) <= left * n2 * n3 * (right + n1):
            starts = (first @ middle.flatten(-2)).unflatten(-1, (n2, right)).flatten(-3, -2)
            return (starts @ last).unflatten(-2, (n1, n2))
        ends = middle.flatten(-3, -2) @ last
        return (first @ ends.unflatten(-2, (left, n2)).flatten(-2)).unflatten(-1, (n2, n3))

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm (...) of the product, by Gram matrices of what is left and right of a bond.

        From left to right L = sum_b core[:, b, :]^T L core[:, b, :], and at the end a trace; nothing as large as the
        product is formed.
        """
        first, middle, last = self.core1.squeeze(-3), self.core2, self.core3.squeeze(-1)
        gram = first.mT @ first
        through = (gram @ middle.flatten(-2)).unflatten(-1, middle.shape[-2:])
        gram = middle.flatten(-3, -2).mT @ through.flatten(-3, -2)
        # A trace of two positive semidefinite matrices, below zero by rounding alone.
        return (gram * (last @ last.mT)).sum((-2, -1)).clamp(min=0)


class Tucker(NamedTuple):
    """A core with a factor for each mode."""

    core: Tensor
    """(..., s1, s2, s3)"""
    factor1: Tensor
    """(..., n1, s1)"""
    factor2: Tensor
    """(..., n2, s2)"""
    factor3: Tensor
    """(..., n3, s3)"""

    def tensor(self) -> Tensor:
        """Return the product, (..., n1, n2, n3)."""
        return _all_modes(self.core, self.factor1, self.factor2, self.factor3)

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm (...) of the product: <G, G x1 F1^T F1 x2 F2^T F2 x3 F3^T F3>."""
        grams = [factor.mT @ factor for factor in (self.factor1, self.factor2, self.factor3)]
        return (self.core * _all_modes(self.core, *grams)).sum((-3, -2, -1)).clamp(min=0)


class TuckerTrain(NamedTuple):
    """A core that is a tensor train, with a factor for each mode."""

    core1: Tensor
    """(..., 1, s1, T1)"""
    core2: Tensor
    """(..., T1, s2, T2)"""
    core3: Tensor
    """(..., T2, s3, 1)"""
    factor1: Tensor
    """(..., n1, s1)"""
    factor2: Tensor
    """(..., n2, s2)"""
    factor3: Tensor
    """(..., n3, s3)"""

    def tucker(self) -> Tucker:
        """Return the same tensor with its core multiplied out, which takes little beside what is done with it."""
        core = TensorTrain(self.core1, self.core2, self.core3).tensor()
        return Tucker(core, self.factor1, self.factor2, self.factor3)

    def tensor(self) -> Tensor:
        """Return the product, (..., n1, n2, n3)."""
        return self.tucker().tensor()

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm (...) of the product."""
        return self.tucker().squared_norm()


TensorNetwork = TensorTrain | Tucker | TuckerTrain
"""A tensor that is a product of parts."""


def fold(outputs: int, inputs: int) -> Dims:
    """Return (n1, n2, n3) with n1 n2 n3 = O I, as equal as divisors allow.

    Cubes have equal dimensions. Otherwise the first and the second are the least divisors of what remains that are not
    below the rounded cube root of all (if nothing so large remains, what remains), and the third is the rest.
    """
    remaining = outputs * inputs
    side = round(remaining ** (1 / 3))
    dims = []
    for _ in range(2):
        least = remaining if side > remaining else next(n for n in range(side, remaining + 1) if not remaining % n)
        dims.append(least)
        remaining //= least
    return dims[0], dims[1], remaining


def ranks(kind: Kind, dims: Dims, rank_scale: float) -> tuple[int, ...]:
    """Return (R1, R2) or (s1, s2, s3), at least 1 each; ties go to the even number.

    Those of tensor trains are relative to the lesser of both modes at a bond, Tucker's to the mode. Raises ValueError
    for a scale that is not above 0 and up to 1, and for another kind.
    """
    if not 0 < rank_scale <= 1:
        raise ValueError(f"rank_scale = {rank_scale}: for tensors it is above 0 and at most 1")
    n1, n2, n3 = dims
    modes = (min(n1, n2), min(n2, n3)) if _known(kind) == "tensor_train" else (n1, n2, n3)
    return tuple(max(round(rank_scale * mode), 1) for mode in modes)


def shapes(
    kind: Kind, dims: Dims, ranks: tuple[int, ...], *, core: Core = "tensor_train"
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parts by their names, in the order of the network's fields; nothing is computed."""
    n1, n2, n3 = dims
    if _known(kind) == "tensor_train":
        left, right = ranks
        return {"core1": (1, n1, left), "core2": (left, n2, right), "core3": (right, n3, 1)}
    s1, s2, s3 = ranks
    factors: dict[str, tuple[int, ...]] = {"factor1": (n1, s1), "factor2": (n2, s2), "factor3": (n3, s3)}
    if core == "dense":
        return {"core": (s1, s2, s3)} | factors
    if core != "tensor_train":
        raise ValueError(f"core = {core!r}: it is 'tensor_train' or 'dense'")
    # The second is s3 for all but tensors with a mode longer than the others together.
    right = min(s3, n1 * s2)
    left = min(n1, s2 * right)
    return {"core1": (1, s1, left), "core2": (left, s2, right), "core3": (right, s3, 1)} | factors


def decompose(
    matrix: Tensor, kind: Kind, ranks: tuple[int, ...], *, core: Core = "tensor_train", dims: Dims | None = None
) -> TensorNetwork:
    """Return the network of `ranks` that a matrix (O, I) is truncated to.

    `dims` are those of `fold` unless given. Decomposed in float64 on a processor; parts have the precision and device
    of the matrix. On the meta device only shapes are right. Raises ValueError for what is not finite, ranks that are
    not of this tensor, or an unknown form.
    """
    outputs, inputs = matrix.shape
    dims = dims or fold(outputs, inputs)
    made = shapes(kind, dims, _checked(kind, dims, ranks), core=core)
    form: type[Any] = TensorTrain if kind == "tensor_train" else Tucker if core == "dense" else TuckerTrain
    if matrix.is_meta:
        return form(*(matrix.new_empty(shape) for shape in made.values()))
    if not matrix.is_floating_point():
        raise ValueError(f"a matrix of {matrix.dtype}: parts would have its precision, and are real numbers")
    if not matrix.isfinite().all():
        raise ValueError(f"a matrix {outputs} x {inputs} that is not finite has no decomposition")
    tensor = matrix.detach().double().cpu().reshape(dims)
    with _one_thread():
        network: TensorNetwork = _train(tensor, *ranks) if kind == "tensor_train" else _tucker(tensor, ranks)
    if core == "dense" and isinstance(network, TuckerTrain):
        network = network.tucker()
    return form(*(part.to(matrix).contiguous() for part in network))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch have one thread: a decomposition of this size takes milliseconds then.

    Several threads gain little, and wait for each other for seconds whenever another process has a core.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(tensor: Tensor, left: int, right: int) -> TensorTrain:
    """Return the train of a tensor (n1, n2, n3) with ranks (left, right).

    TensorLy goes from the first mode to the last and leaves the norm to the last core; so it is given all the other way
    round.
    """
    import tensorly
    from tensorly.decomposition import tensor_train

    # Not by NumPy: its decompositions have threads of their own, which are not those that torch was given.
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        turned = tensor_train(tensor.permute(2, 1, 0), rank=[1, right, left, 1])
    return TensorTrain(*(core.permute(2, 1, 0) for core in reversed(turned.factors)))


def _tucker(tensor: Tensor, ranks: tuple[int, ...]) -> TuckerTrain:
    """Return Tucker's form of a tensor (n1, n2, n3).

    The last two modes are truncated first. The train of what is left has all its columns in the second core,
    those too that the truncation of the first mode leaves without weight: they can be learned.
    """
    s1, s2, s3 = ranks
    n1, n2, n3 = tensor.shape
    left, _, right = shapes("tucker", (n1, n2, n3), ranks)["core2"]
    tensor, factor3 = _one_mode(tensor, 2, s3)
    tensor, factor2 = _one_mode(tensor, 1, s2)
    core1, core2, core3 = _train(tensor, left, right)
    core1, factor1 = _one_mode(core1, 1, s1)
    return TuckerTrain(core1, core2, core3, factor1, factor2, factor3)


def _one_mode(tensor: Tensor, mode: int, rank: int) -> tuple[Tensor, Tensor]:
    """Return a tensor whose mode is expressed in the leading `rank` left singular vectors of its unfolding, and these.

    Not by TensorLy: its `tucker` takes the vectors of all modes from the tensor as it is, another decomposition, and
    its `partial_tucker`, mode after mode, warns and fills in random vectors where an unfolding has too few columns.
    """
    unfolded = tensor.movedim(mode, 0).flatten(1)
    vectors = torch.linalg.svd(unfolded, full_matrices=rank > unfolded.shape[1]).U[:, :rank]
    return torch.tensordot(tensor, vectors, dims=([mode], [0])).movedim(-1, mode), vectors


def _all_modes(core: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Multiply the three modes of (..., s1, s2, s3) by (..., n1, s1), (..., n2, s2), (..., n3, s3)."""
    s2, s3 = core.shape[-2:]
    core = (first @ core.flatten(-2)).unflatten(-1, (s2, s3))
    core = second.unsqueeze(-3) @ core
    n1, n2 = core.shape[-3:-1]
    return (core.flatten(-3, -2) @ third.mT).unflatten(-2, (n1, n2))


def _known(kind: str) -> str:
    if kind not in ("tensor_train", "tucker"):
        raise ValueError(f"kind = {kind!r}: a tensor has the form 'tensor_train' or 'tucker'")
    return kind


def _checked(kind: Kind, dims: Dims, ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Return ranks if a tensor has so many."""
    n1, n2, n3 = dims
    if _known(kind) == "tensor_train":
        fits = len(ranks) == 2 and 1 <= ranks[1] <= min(n3, n1 * n2) and 1 <= ranks[0] <= min(n1, n2 * ranks[1])
    else:
        fits = len(ranks) == 3 and all(1 <= rank <= mode for rank, mode in zip(ranks, dims, strict=True))
    if not fits:
        raise ValueError(f"ranks = {ranks}: a {kind} of {dims} has none such")
    return ranks


def size(parts: dict[str, tuple[int, ...]]) -> int:
    """Return how many numbers parts of these shapes have."""
    return sum(map(math.prod, parts.values()))
