"""Steady state of pools with any kinetics: Newton's method on one column, in blocks by layer.

Pools are coupled inside a layer only, and layers inside a pool only, so one iteration is one block
tridiagonal solve; without mixing it is one small system per layer. Rows are scaled by the carbon
that flows through a pool and columns by its amount: the entries are then relative changes of a
pool's balance per relative change of another pool, which are comparable even if pools span many
orders of magnitude.

The solution is differentiable: it ends with one more Newton step, whose matrix is held constant,
and by the implicit function theorem the derivative of that step at a root is the derivative of the
root. Second derivatives are not available.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.chunks import in_chunks
from proda.column.hoist import hoist
from proda.column.ratio import ratio
from proda.column.small_linear import solve_layers, solve_small
from proda.column.transport import Transport
from proda.grid import Grid

MAX_ITERATIONS = 30
STEP_TOLERANCE = 1e-7
"""The iteration stops when no amount changes by more than this share of itself; one more step
follows."""
RESIDUAL_TOLERANCE = 1e-10
"""Largest difference of gains and losses at an accepted root, as a share of the losses."""
SETTLED = 1e-6
"""Largest last step at an accepted root, as a share of the amount."""
CLOSE = 0.05
"""Improving a guess stops when no amount changes by more than this share of itself."""
LARGEST_AMOUNT = 1e18
"""The iteration ends where an amount exceeds this (g m-3): without a root amounts grow without
limit."""
LARGEST_CUT, LARGEST_GROWTH = 0.99, 99.0
"""Limits of the relative decrease and increase of an amount in one iteration, so that all amounts
stay positive. The step of a layer that exceeds them is shortened in the same direction."""


class Balance(NamedTuple):
    """Balance of each pool inside each layer, g m-3 yr-1."""

    net: Float[Array, "pool layer"]
    """Gains minus losses."""
    gross: Float[Array, "pool layer"]
    """Gains plus losses, not negative: the scale of the rounding error of `net`."""


class Mixing(NamedTuple):
    """How layers exchange carbon; all fields but `transport` are constants while tracing."""

    transport: Transport
    moving: tuple[bool, ...]
    """Which of the pools mix."""
    grid: Grid


class Improvement(NamedTuple):
    """A cheap map that improves a guess, even far from the root."""

    better: Callable[[Array, Any], Array]
    """The next amounts from amounts and `theta`."""
    rounds: int
    """Maximum number of times that it is applied."""


class Root(eqx.Module):
    """Result of Newton's method."""

    amounts: Float[Array, "pool layer"]
    """Amounts at which gains equal losses; without convergence, the start."""
    converged: Bool[Array, ""]
    iterations: Int[Array, ""]


def find_root(
    local: Callable[[Array, Any], Balance],
    theta: Any,
    start: Float[Array, "pool layer"],
    mixing: Callable[[Any], Mixing] | None = None,
    improvement: Improvement | None = None,
) -> Root:
    """Return the positive amounts at which every pool of every layer is in balance.

    Parameters
    ----------
    local
        Gives the balance inside the layers from the amounts and `theta`; its values in a layer
        may depend on the amounts in that layer only.
    theta
        All other data of the balance: a pytree, by which the solution is differentiable. `local`,
        `mixing` and `improvement` must not close over anything that is differentiated or batched.
    start
        A guess. An amount of 0 stays 0.
    mixing
        Gives the exchange between layers from `theta`; None where nothing mixes.
    improvement
        Improves the guess before Newton's method; None if it is good.
    """
    fixed = jax.tree.map(jax.lax.stop_gradient, theta)
    start = jax.lax.stop_gradient(start)
    known, inside = hoist(local, start, fixed)
    between = None if mixing is None else mixing(fixed)
    begun, better = hoist(improvement.better, start, fixed) if improvement else ([], None)

    def search(start: Array, known: list, begun: list, transport: Transport | None) -> tuple:
        if improvement is not None and better is not None:
            start = _improved(lambda x: better(x, begun), start, improvement.rounds)
        mixed = between
        if between is not None and transport is not None:
            mixed = between._replace(transport=transport)
        return _newton(lambda x: inside(x, known), mixed, start)

    transport = None if between is None else between.transport
    x, moved, iterations = in_chunks(search)(start, known, begun, transport)
    settled = jnp.isfinite(x).all() & (moved <= SETTLED)
    x = jnp.where(settled, x, start)
    # By theta only the residual is differentiated; at a root that gives the root's derivative.
    net, gross = _total(local(x, theta), None if mixing is None else mixing(theta), x)
    gross = jax.lax.stop_gradient(gross)
    share = _newton_step(lambda y: inside(y, known), between, x, net, gross)
    balanced = (jnp.abs(net) <= RESIDUAL_TOLERANCE * gross).all()
    converged = settled & balanced & (jnp.abs(share) <= SETTLED).all()
    return Root(x + x * jnp.where(converged, share, 0.0), converged, iterations)


def _improved(better: Callable[[Array], Array], start: Array, rounds: int) -> Array:
    """Apply a map until it changes little; where it oscillates, the mean of two steps is closer."""

    def again(state: tuple) -> tuple:
        _, x, n = state
        return x, better(x), n + 1

    def going(state: tuple) -> Array:
        before, x, n = state
        return (n == 0) | ((n < rounds) & (jnp.abs(x - before) > CLOSE * before).any())

    before, x, _ = jax.lax.while_loop(going, again, (start, start, 0))
    return jnp.sqrt(before) * jnp.sqrt(x)


def _newton(inside: Callable[[Array], Balance], mixing: Mixing | None, start: Array) -> tuple:
    """Return the amounts, the largest relative change in the last step, and the number of steps."""

    def iterate(state: tuple) -> tuple:
        x, _, n = state
        share = _newton_step(inside, mixing, x, *_total(inside(x), mixing, x))
        length = jnp.maximum(-share / LARGEST_CUT, share / LARGEST_GROWTH).max(axis=0)
        share = share / jnp.maximum(length, 1.0)
        return x + x * share, jnp.abs(share).max(), n + 1

    def going(state: tuple) -> Array:
        x, moved, n = state
        bounded = (x < LARGEST_AMOUNT).all()
        return (moved > STEP_TOLERANCE) & (n < MAX_ITERATIONS) & bounded

    return jax.lax.while_loop(going, iterate, (start, jnp.asarray(jnp.inf), jnp.asarray(0)))


def _total(inside: Balance, mixing: Mixing | None, x: Array) -> Balance:
    """Return the balance with gains and losses by mixing."""
    if mixing is None:
        return inside
    transport, moving, grid = mixing
    x = jnp.where(jnp.array(moving)[:, None], x, 0.0)
    zero = jnp.zeros_like(x[:, :1])
    down, up = transport.down * x * grid.thickness, transport.up * x * grid.thickness
    gain = jnp.concatenate([zero, down[:, :-1]], axis=1)
    gain = (gain + jnp.concatenate([up[:, 1:], zero], axis=1)) / grid.thickness
    loss = (transport.up + transport.down + transport.leak) * x
    return Balance(inside.net + gain - loss, inside.gross + gain + loss)


def _newton_step(
    inside: Callable[[Array], Balance], mixing: Mixing | None, x: Array, net: Array, gross: Array
) -> Float[Array, "pool layer"]:
    """Return Newton's change as a share of x, for the balance `net` and `gross` at x."""
    pools = range(len(x))
    along = jnp.eye(len(x))[:, :, None] * x
    columns = jax.vmap(lambda v: jax.jvp(lambda y: inside(y).net, (x,), (v,))[1])(along)
    columns, right = -ratio(columns, gross), ratio(net, gross)
    blocks = [[columns[j, i] for j in pools] for i in pools]
    if mixing is None:
        return jnp.stack([side for (side,) in solve_small(blocks, [[r] for r in right])])
    transport, moving, grid = mixing
    mobile = jnp.array(moving, dtype=x.dtype)[:, None]
    leaving = ratio(mobile * (transport.up + transport.down + transport.leak) * x, gross)
    for i in pools:
        blocks[i][i] = blocks[i][i] + leaving[i]
    # Gain of a layer from a neighbour, per relative change of the neighbour's amount.
    held = mobile * x * grid.thickness
    from_above = jnp.pad((transport.down * held)[:, :-1], ((0, 0), (1, 0))) / grid.thickness
    from_below = jnp.pad((transport.up * held)[:, 1:], ((0, 0), (0, 1))) / grid.thickness
    from_above, from_below = ratio(from_above, gross), ratio(from_below, gross)
    return jnp.stack(solve_layers(blocks, list(from_above), list(from_below), list(right)))
