"""Starts of deep matrix factorizations W = W_1 W_2 ... W_L, as NumPy arrays.

After Razin, Cohen 2020. All inner sizes are the smaller side of W.
"""

from __future__ import annotations

import itertools

import numpy as np

from tacit.errors import UserError

MAX_DRAWS = 10_000
"""After so many starts of the wrong sign it is taken that there is none of the right one."""


class NoStartError(UserError, ValueError):
    """Starts of the wrong sign alone."""


def sizes(rows: int, columns: int, depth: int) -> list[tuple[int, int]]:
    """Return rows and columns of each factor."""
    inner = min(rows, columns)
    ends = [rows, *[inner] * (depth - 1), columns]
    return list(itertools.pairwise(ends))


def draw_normal(rows: int, columns: int, depth: int, std: float, generator: np.random.Generator) -> list[np.ndarray]:
    """Return factors of independent normal entries with standard deviation `std`."""
    return [std * generator.standard_normal(size) for size in sizes(rows, columns, depth)]


def make_identity(rows: int, columns: int, depth: int, scale: float) -> list[np.ndarray]:
    """Return factors that are `scale` times the identity, cut or padded with zeros where not square."""
    return [scale * np.eye(*size) for size in sizes(rows, columns, depth)]


def split_balanced(product: np.ndarray, depth: int) -> list[np.ndarray]:
    """Return factors with W_j^T W_j = W_{j+1} W_{j+1}^T: each has the L-th roots of singular values of `product`."""
    if depth == 1:
        return [product.copy()]
    left, values, right = np.linalg.svd(product, full_matrices=False)
    roots = np.diag(values ** (1 / depth))
    return [left @ roots, *[roots.copy() for _ in range(depth - 2)], roots @ right]


def draw_start(
    shape: tuple[int, int],
    depth: int,
    *,
    initialization: str,
    scale: float,
    scale_of: str,
    balanced: bool,
    sign: int,
    generator: np.random.Generator,
) -> list[np.ndarray]:
    """Return the factors a descent starts from.

    `scale` is the standard deviation of entries (of the diagonal, for the identity) of the product or of each layer, as
    `scale_of` says. With `sign` 1 or -1 starts are drawn until the determinant of the product has it; zero counts as
    positive. Raises NoStartError if none has.
    """
    rows, columns = shape
    width = min(shape)
    identity = initialization == "identity"
    # Entries of a product of independent normal layers add up over the inner sizes, diagonals multiply.
    factor = 1 if identity else width ** ((depth - 1) / 2)
    layer = (scale / factor) ** (1 / depth) if scale_of == "product" else scale
    product = scale if scale_of == "product" else factor * scale**depth
    for _ in range(MAX_DRAWS):
        if balanced:
            whole = product * (np.eye(rows, columns) if identity else generator.standard_normal(shape))
            factors = split_balanced(whole, depth)
        elif identity:
            factors = make_identity(rows, columns, depth, layer)
        else:
            factors = draw_normal(rows, columns, depth, layer, generator)
        if sign == 0 or has_sign(factors, sign):
            return factors
    raise NoStartError(
        f"no start with a determinant of sign {sign:+d} in {MAX_DRAWS} draws: with depth {depth} and init_scale "
        f"{scale:g} of a {scale_of} the product may be too small for a number; enlarge it, or set determinant: any"
    )


def has_sign(factors: list[np.ndarray], sign: int) -> bool:
    """Tell whether the determinant of the product is not negative (sign 1) or negative (sign -1)."""
    whole = factors[0]
    for factor in factors[1:]:
        whole = whole @ factor
    # The determinant itself may be too small for a number; the sign of it is not.
    found, _ = np.linalg.slogdet(whole)
    return bool(found >= 0) if sign > 0 else bool(found < 0)


def cut(stack: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """Return the factors of a product of (rows, columns) that `pad` made one array (L, n, n) of."""
    return [
        factor[:above, :below] for factor, (above, below) in zip(stack, sizes(rows, columns, len(stack)), strict=True)
    ]


def pad(factors: list[np.ndarray], dtype: str | np.dtype | type) -> np.ndarray:
    """Return the factors as one array (L, n, n), n the longer side, padded with zeros, which descent leaves alone."""
    longest = max(max(factor.shape) for factor in factors)
    stack = np.zeros((len(factors), longest, longest), dtype)
    for number, factor in enumerate(factors):
        stack[number, : factor.shape[0], : factor.shape[1]] = factor
    return stack
