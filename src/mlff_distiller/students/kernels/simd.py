"""Sixteen numbers at once: a vector type for numba, so that loops over channels are vector code on every processor.

LLVM vectorizes plain loops only if it can prove or test at run time that no two rows overlap, and a message reads and
writes too many rows for that. Here a row is loaded, used and stored in whole vectors; the processor's own width does
not matter, LLVM splits a vector into the registers that there are.
"""

import math
import operator
from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES: Final = 16
"""Numbers in a vector; rows are multiples of it."""

_FLAGS: Final = ("reassoc", "contract", "arcp", "nsz")  # not "fast", which forgets NaN


_INT32: Final = ir.IntType(32)


class Vector(types.Type):
    """Sixteen numbers of one floating-point type."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype}, {LANES})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), LANES))


def _operator(function: Any, instruction: str) -> None:
    @type_callable(function)
    def _typing(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return a if isinstance(a, Vector) and a == b else None

        return typer

    @lower_builtin(function, Vector, Vector)
    def _lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=_FLAGS)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    element = builder.gep(data, [place], inbounds=True)
    return builder.bitcast(element, context.get_value_type(Vector(kind.dtype)).as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, place: Any) -> Any:
    """Return the vector that begins at a place of a contiguous array, counted through all its numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=array.dtype.bitwidth // 8)

    return signature(Vector(array.dtype), array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, place: Any, vector: Any) -> Any:
    """Write a vector to a place of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, vector), generate


@intrinsic
def splat(typing_context: Any, number: Any) -> Any:
    """Return a vector of one number sixteen times."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        single = builder.insert_element(ir.Constant(kind, ir.Undefined), arguments[0], ir.Constant(_INT32, 0))
        order = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
        return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), order)

    return signature(Vector(number), number), generate


@intrinsic
def total(typing_context: Any, vector: Any) -> Any:
    """Return the sum of a vector's numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, kind = context.get_value_type(vector.dtype), arguments[0].type
        name = f"llvm.vector.reduce.fadd.{_suffix(vector)}"
        add = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number, kind]), name)
        return builder.call(add, [ir.Constant(number, -0.0), arguments[0]], fastmath=_FLAGS)

    return signature(vector.dtype, vector), generate


def _suffix(vector: Vector) -> str:
    return f"v{LANES}f{vector.dtype.bitwidth}"


def _unary(name: str) -> Any:
    def function(typing_context: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            called = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.{_suffix(vector)}"
            )
            return builder.call(called, arguments)

        return signature(vector, vector), generate

    return intrinsic(function)


root = _unary("sqrt")
_rounded = _unary("rint")


@intrinsic
def _bounded(typing_context: Any, vector: Any) -> Any:
    """Return a vector whose numbers are at most 87 in magnitude, where exp is finite; NaN stays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kept = arguments[0]
        for comparison, bound in (("<", -87.0), (">", 87.0)):
            limit = ir.Constant(kept.type, [bound] * LANES)
            kept = builder.select(builder.fcmp_ordered(comparison, kept, limit), limit, kept)
        return kept

    return signature(vector, vector), generate


@intrinsic
def _power_of_two(typing_context: Any, vector: Any) -> Any:
    """Return two to the power of whole numbers, by writing them into the exponent."""
    bits = vector.dtype.bitwidth
    bias, shift = {32: (127, 23), 64: (1023, 52)}[bits]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(ir.IntType(bits), LANES)
        whole = builder.fptosi(arguments[0], kind)
        exponent = builder.add(whole, ir.Constant(kind, [bias] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(kind, [shift] * LANES)), arguments[0].type)

    return signature(vector, vector), generate


@njit(inline="always")
def exponential(x, number):
    """Return exp of a vector whose numbers are of the type ``number``, to some units of rounding; arguments end at 87.

    exp(x) = 2^n exp(r) with n the nearest whole number to x / ln 2; |r| is at most 0.35, where a series of 14 terms is
    exact in float64, too.
    """
    x = _bounded(x)
    n = _rounded(x * splat(number(1 / math.log(2))))
    r = x - n * splat(number(_LN2_HIGH)) - n * splat(number(_LN2_LOW))
    y = splat(number(_SERIES[0]))
    for k in range(1, 14):
        y = y * r + splat(number(_SERIES[k]))
    return y * _power_of_two(n)


_LN2_HIGH: Final = 0.693145751953125  # few digits, so that n times it is exact
_LN2_LOW: Final = 1.42860682030941723212e-6
_SERIES: Final = tuple(1 / math.factorial(k) for k in range(13, -1, -1))
