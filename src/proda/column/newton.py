"""Steady state of pools with any kinetics: Newton's method on one column, in blocks by layer.

Pools act on each other inside a layer only, and layers inside a pool only, so one iteration is one
block tridiagonal solve; where nothing mixes it is one small system per layer. Rows are scaled by
the carbon that flows through a pool and columns by what it holds: the matrix then says by what
share a pool's balance changes with the share by which another pool changes, and its entries are
comparable however many orders of magnitude the pools span.

The answer is differentiable: it ends with one more Newton step, whose matrix is held constant, and
by the implicit function theorem the derivative of that step at a root is the derivative of the
root. Second derivatives are not available.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.ratio import ratio
from proda.column.small_linear import solve_layers, solve_small
from proda.column.transport import Transport
from proda.grid import Grid

MAX_ITERATIONS = 60
STEP_TOLERANCE = 1e-12
"""Newton stops when no amount moves by more than this share of itself."""
RESIDUAL_TOLERANCE = 1e-10
"""Largest difference of gains and losses in what passes for a root, as a share of the losses."""
SETTLED = 1e-6
"""Largest last step, as a share of the amount, in what passes for a root."""
LARGEST_CUT, LARGEST_GROWTH = 0.99, 99.0
"""No iteration takes more than this share from an amount or adds more than this many times it: all
stay positive. A layer whose step is longer goes part of the way, in the same direction."""


class Balance(NamedTuple):
    """What happens to each pool inside each layer, g m-3 yr-1."""

    net: Float[Array, "pool layer"]
    """Gains minus losses."""
    gross: Float[Array, "pool layer"]
    """Gains plus losses, not negative: what rounding of `net` is measured against."""


class Mixing(NamedTuple):
    """How layers exchange carbon; everything but `transport` is known while tracing."""

    transport: Transport
    moving: tuple[bool, ...]
    """Which of the pools mix."""
    grid: Grid


class Root(eqx.Module):
    """What Newton's method found."""

    amounts: Float[Array, "pool layer"]
    """Amounts at which gains equal losses; the start where there is no convergence."""
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]


def find_root(
    local: Callable[[Array, Any], Balance],
    theta: Any,
    start: Float[Array, "pool layer"],
    mixing: Callable[[Any], Mixing] | None = None,
) -> Root:
    """Return the positive amounts at which every pool of every layer is in balance.

    Parameters
    ----------
    local
        Gives the balance inside the layers from the amounts and `theta`; what it says of a layer
        may depend on the amounts in that layer only.
    theta
        All that the balance depends on besides the amounts: a pytree, by which the answer is
        differentiable. `local` and `mixing` must not close over anything that is differentiated.
    start
        A guess. An amount of 0 stays 0.
    mixing
        Gives the exchange between layers from `theta`; None where nothing mixes.
    """
    fixed = jax.tree.map(jax.lax.stop_gradient, theta)
    start = jax.lax.stop_gradient(start)

    def step(x: Array) -> Array:
        return _newton_step(local, mixing, x, fixed, fixed)

    def iterate(state: tuple) -> tuple:
        x, _, n = state
        share = step(x)
        length = jnp.maximum(-share / LARGEST_CUT, share / LARGEST_GROWTH).max(axis=0)
        share = share / jnp.maximum(length, 1.0)
        return x + x * share, jnp.abs(share).max(), n + 1

    def going(state: tuple) -> Array:
        _, moved, n = state
        return (moved > STEP_TOLERANCE) & (n < MAX_ITERATIONS)

    x, moved, n = jax.lax.while_loop(going, iterate, (start, jnp.asarray(jnp.inf), 0))
    net, gross = _total(local, mixing, x, fixed)
    balanced = (jnp.abs(net) <= RESIDUAL_TOLERANCE * gross).all()
    converged = balanced & (moved <= SETTLED) & jnp.isfinite(x).all()
    x = jnp.where(converged, x, start)
    share = _newton_step(local, mixing, x, theta, fixed)
    return Root(x + x * jnp.where(converged, share, 0.0), converged, jnp.asarray(n))


def _total(local: Callable, mixing: Callable | None, x: Array, theta: Any) -> Balance:
    """Return the balance with what mixing brings and takes."""
    net, gross = local(x, theta)
    if mixing is None:
        return Balance(net, gross)
    transport, moving, grid = mixing(theta)
    x = jnp.where(jnp.array(moving)[:, None], x, 0.0)
    zero = jnp.zeros_like(x[:, :1])
    down, up = transport.down * x * grid.thickness, transport.up * x * grid.thickness
    gain = jnp.concatenate([zero, down[:, :-1]], axis=1)
    gain = (gain + jnp.concatenate([up[:, 1:], zero], axis=1)) / grid.thickness
    loss = (transport.up + transport.down + transport.leak) * x
    return Balance(net + gain - loss, gross + gain + loss)


def _newton_step(
    local: Callable, mixing: Callable | None, x: Array, theta: Any, fixed: Any
) -> Float[Array, "pool layer"]:
    """Return Newton's change as a share of x; derivatives by `theta` see the residual only."""
    n = len(x)
    net = _total(local, mixing, x, theta).net
    gross = _total(local, mixing, x, fixed).gross
    right = ratio(net, gross).T  # (layer, pool)
    along = jnp.broadcast_to(jnp.eye(n)[:, :, None], (n, *x.shape)) * x
    columns = jax.vmap(lambda v: jax.jvp(lambda y: local(y, fixed).net, (x,), (v,))[1])(along)
    blocks = -ratio(jnp.transpose(columns, (2, 1, 0)), gross.T[:, :, None])
    if mixing is None:
        return solve_small(blocks, right[..., None])[..., 0].T
    transport, moving, grid = mixing(fixed)
    mobile = jnp.array(moving, dtype=x.dtype)[:, None]
    leaving = mobile * (transport.up + transport.down + transport.leak)
    blocks = blocks + ratio(leaving * x, gross).T[:, :, None] * jnp.eye(n)
    # What a layer receives from a neighbour, per share by which that neighbour's amount changes.
    held = mobile * x * grid.thickness
    from_above = jnp.pad((transport.down * held)[:, :-1], ((0, 0), (1, 0))) / grid.thickness
    from_below = jnp.pad((transport.up * held)[:, 1:], ((0, 0), (0, 1))) / grid.thickness
    return solve_layers(blocks, ratio(from_above, gross).T, ratio(from_below, gross).T, right).T
