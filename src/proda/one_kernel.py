"""Loops over layers as one kernel of a processor, instead of one for each operation and layer.

XLA runs a program on a processor as a sequence of kernels. A loop over 20 layers whose body has 60
operations on 150 columns starts 1,200 of them, and starting them takes as long as their work. XLA
makes one kernel of a loop that reads and writes less than 1,024 bytes, and of a call with the mark
that it gives to such loops; this module gives it to larger ones (on accelerators, nothing changes).
A version of XLA that does not know the mark computes the same, more slowly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import scan_p

Function = TypeVar("Function", bound=Callable[..., Any])

_SIMPLE = frozenset(
    [
        "abs",
        "add",
        "add_any",
        "and",
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "custom_jvp_call",
        "div",
        "eq",
        "ge",
        "gt",
        "integer_pow",
        "jit",
        "le",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pjit",
        "reshape",
        "select_n",
        "sign",
        "squeeze",
        "sub",
    ]
)
"""Primitives that such a kernel computes as fast as others do.

It cannot call libraries, as XLA does for sums and products of matrices, and its exponentials and
logarithms are several times slower.
"""


def one_kernel(function: Function) -> Function:
    """Return a function that is one kernel where it is compiled for a processor.

    Parameters
    ----------
    function
        Of arrays or pytrees of arrays, of simple arithmetic and loops alone. With sums over an axis
        or products of matrices it cannot be compiled.
    """

    def inside(*arguments: Any) -> Any:
        with _marked(False):  # operations inside would inherit the mark of the call
            # XLA ends the process at an argument that no operation in such a call reads.
            read = [leaf[(0,) * leaf.ndim] for leaf in jax.tree.leaves(arguments)]
            return function(*arguments), read

    compiled = jax.jit(inside)

    def outside(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        with _marked(True):
            return compiled(*arguments)[0]

    return cast("Function", outside)


def _marked(mark: bool) -> Any:
    """Return a context in which calls are marked as one kernel, or not."""
    words = {True: "true", False: "false"}
    return set_xla_metadata(  # type: ignore[no-untyped-call]
        xla_cpu_small_call=words[mark], inlineable=words[not mark]
    )


def loops_in_kernels(function: Function) -> Function:
    """Return the same function with each of its loops (`lax.scan`) as one kernel.

    Only loops of simple arithmetic: loops that do more, and loops inside of other loops and of
    functions with their own derivatives, stay as they are. To be applied last, after `vmap` and
    derivatives, because what the body of a loop does depends on these.

    Parameters
    ----------
    function
        Of arrays or pytrees of arrays.
    """

    def changed(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        result = _evaluate(traced.jaxpr, traced.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shape), result)

    return cast("Function", changed)


def _evaluate(program: Jaxpr, constants: list[Any], arguments: list[Any]) -> list[Any]:
    """Return the results of a program, its loops in kernels."""
    known: dict[Var, Any] = dict(
        zip([*program.constvars, *program.invars], [*constants, *arguments], strict=True)
    )

    def values(of: Sequence[Any]) -> list[Any]:
        return [v.val if isinstance(v, Literal) else known[v] for v in of]

    for equation in program.eqns:
        if equation.primitive.name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            result = _evaluate(inner.jaxpr, inner.consts, values(equation.invars))
        else:
            inputs = list(dict.fromkeys(v for v in equation.invars if isinstance(v, Var)))
            result = _function(equation, program, inputs)(*values(inputs))
        known.update(zip(equation.outvars, result, strict=True))
    return values(program.outvars)


def _function(equation: JaxprEqn, program: Jaxpr, inputs: list[Var]) -> Callable[..., list[Any]]:
    """Return one equation of a program as a function of its variables."""
    alone: Any = program.replace(  # type: ignore[no-untyped-call]
        constvars=[], invars=inputs, outvars=equation.outvars, eqns=[equation]
    )
    function = functools.partial(jax.core.eval_jaxpr, alone, [])
    if equation.primitive is scan_p and _simple(equation.params["jaxpr"].jaxpr):
        return one_kernel(function)
    return function


def _simple(program: Jaxpr) -> bool:
    """Return whether a program has only operations of `_SIMPLE`."""
    for equation in program.eqns:
        if equation.primitive.name not in _SIMPLE:
            return False
        inner = equation.params.get("call_jaxpr", equation.params.get("jaxpr"))
        if inner is not None and not _simple(inner.jaxpr):
            return False
    return True
