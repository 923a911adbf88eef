"""Move out of a function what does not depend on the unknown, so that a loop computes it once.

The compiler moves only a part of it (not the monthly modifiers, which are large), and a loop over
chunks of columns needs all its data as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Var


def hoist(
    function: Callable[[Any, Any], Any], x: Any, theta: Any
) -> tuple[list[Any], Callable[[Any, list[Any]], Any]]:
    """Split function(x, theta) into what depends on theta alone and the rest.

    Parameters
    ----------
    function
        Pure; of pytrees.
    x, theta
        Example arguments; later calls may have other values of x, but the same shapes.

    Returns
    -------
    given
        All intermediate values that depend only on `theta` and are needed by the rest.
    rest
        rest(x, given) is function(x, theta), with the same derivatives by x.
    """
    traced, shape = jax.make_jaxpr(function, return_shape=True)(x, theta)
    whole, structure = traced.jaxpr, jax.tree.structure(shape)
    n = len(jax.tree.leaves(x))
    inputs, fixed = whole.invars[:n], whole.invars[n:]
    unknown, early, late = set(inputs), [], []
    for equation in whole.eqns:
        if unknown.isdisjoint(v for v in equation.invars if isinstance(v, Var)):
            early.append(equation)
        else:
            late.append(equation)
            unknown.update(equation.outvars)
    read = [v for equation in late for v in equation.invars] + whole.outvars
    needed = list(dict.fromkeys(v for v in read if isinstance(v, Var) and v not in unknown))
    first = whole.replace(invars=fixed, outvars=needed, eqns=early)
    second = whole.replace(constvars=[], invars=[*needed, *inputs], eqns=late)

    def rest(x: Any, given: list[Any]) -> Any:
        outputs = jax.core.eval_jaxpr(second, [], *given, *jax.tree.leaves(x))
        return jax.tree.unflatten(structure, outputs)

    return jax.core.eval_jaxpr(first, traced.consts, *jax.tree.leaves(theta)), rest
