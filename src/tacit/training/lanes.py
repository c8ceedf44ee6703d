"""Arithmetic that compiled kernels take in lanes: fused multiply-adds, and small matrix products kept in registers.

A product of matrices with a dozen columns is too small for a library, and LLVM does not keep its sums in registers by
itself. So the innermost loop is written as LLVM code here: rows of the result stay in registers while the common index
runs, each step of which is one fused multiply-add a lane. Every sum is taken in the order of that index and with
one rounding a term, whatever a processor has, so that all give the same bits; the number of lanes changes the speed
alone.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PADDED = 16
"""Lengths of rows, and numbers of rows, of matrices that are multiplied, are multiples of this."""

INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
"""How functions are compiled that compiled ones call: not for Python, and divisions without a check."""

_HAS_512_BITS = bool(binding.get_host_cpu_features().get("avx512f"))
_ROWS, _VECTORS = (16, 1) if _HAS_512_BITS else (4, 2)
"""Rows and vectors of a row that are summed in registers at a time."""

_BYTES = 64 if _HAS_512_BITS else 32
"""Of a vector."""


def padded(length: int) -> int:
    """Return the length of a padded row that holds so many numbers."""
    return -(-length // PADDED) * PADDED


@intrinsic
def fused(typingctx, a, b, c):
    """Return a * b + c, rounded once, for three floats of one type."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    if isinstance(a, types.Float) and a == b == c:
        return a(a, a, a), codegen
    return None


@intrinsic
def bits(typingctx, x):
    """Return the bits of a float as a signed whole number of its size."""
    return (types.int32 if x == types.float32 else types.int64)(x), _reinterpret


@intrinsic
def from_bits(typingctx, n):
    """Return the float that has the bits of a signed whole number."""
    return (types.float32 if n == types.int32 else types.float64)(n), _reinterpret


def _reinterpret(context, builder, signature, args):
    return builder.bitcast(args[0], context.get_value_type(signature.return_type))


@intrinsic
def _multiply_block(typingctx, out, out_at, width, left, left_at, left_row, left_inner, right, right_at, inner, keeps):
    """Add rows of `left` times `right` to a block of `out`, or set it to them unless `keeps`.

    Arrays are flat. Of `left` the number of row r and inner index k is at left_at + r * left_row + k * left_inner, of
    `right` and `out` rows are `width` long, and the block begins at right_at and out_at.
    """

    def codegen(context, builder, signature, args):
        out, out_at, width, left, left_at, left_row, left_inner, right, right_at, inner, keeps = args
        kind = signature.args[0]
        scalar = context.get_value_type(kind.dtype)
        count = _BYTES // (kind.dtype.bitwidth // 8)
        vector = ir.VectorType(scalar, count)
        whole = ir.IntType(32)
        # LLVM's operation of this name takes vectors too, which llvmlite's own does not.
        name = f"llvm.fma.v{count}f{kind.dtype.bitwidth}"
        fuse = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)

        def data(array_type, array):
            return context.make_array(array_type)(context, builder, array).data

        places = [data(signature.args[n], array) for n, array in ((0, out), (3, left), (7, right))]
        out_data, left_data, right_data = places

        def vector_at(base, index):
            return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

        def offset(row, part):
            return builder.add(
                builder.add(out_at, builder.mul(width, context.get_constant(types.intp, row))),
                context.get_constant(types.intp, part * count),
            )

        sums = {}
        for row in range(_ROWS):
            for part in range(_VECTORS):
                place = cgutils.alloca_once(builder, vector)
                before = builder.load(vector_at(out_data, offset(row, part)), align=4)
                zero = ir.Constant(vector, [ir.Constant(scalar, 0.0)] * count)
                builder.store(builder.select(keeps, before, zero), place)
                sums[row, part] = place
        with cgutils.for_range(builder, inner) as loop:
            at = builder.add(right_at, builder.mul(loop.index, width))
            factors = [
                builder.load(
                    vector_at(right_data, builder.add(at, context.get_constant(types.intp, part * count))), align=4
                )
                for part in range(_VECTORS)
            ]
            of_inner = builder.add(left_at, builder.mul(loop.index, left_inner))
            for row in range(_ROWS):
                index = builder.add(of_inner, builder.mul(left_row, context.get_constant(types.intp, row)))
                number = builder.load(builder.gep(left_data, [index]))
                first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(whole, 0))
                every = ir.Constant(ir.VectorType(whole, count), [ir.Constant(whole, 0)] * count)
                spread = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), every)
                for part in range(_VECTORS):
                    place = sums[row, part]
                    builder.store(builder.call(fuse, [spread, factors[part], builder.load(place)]), place)
        for (row, part), place in sums.items():
            builder.store(builder.load(place), vector_at(out_data, offset(row, part)), align=4)
        return context.get_dummy_value()

    index = types.intp
    signature = types.void(out, index, index, left, index, index, index, right, index, index, types.boolean)
    return signature, codegen


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def multiply(out, left, left_row, left_inner, right, right_at, rows, inner, width, keeps):
    """Set `out` (rows, width) to the product of `left` (rows, inner) and `right` (inner, width), or add it if `keeps`.

    All are flat arrays of one type; `rows` and `width` are multiples of PADDED. The number of row r and inner index k
    of `left` is at r * left_row + k * left_inner, so that it may be read as its transpose; `right` begins at right_at.
    """
    wide = _VECTORS * (_BYTES // out.itemsize)
    for column in range(0, width, wide):
        for row in range(0, rows, _ROWS):
            _multiply_block(
                out, row * width + column, width, left, row * left_row, left_row, left_inner, right,
                right_at + column, inner, keeps,
            )  # fmt: skip
