"""Any model forward in time: implicit Euler steps that conserve carbon (P-Eq 2)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from proda.column.column import Column
from proda.column.transport import Transport
from proda.models.model import SoilModel, Values

MAX_ITERATIONS = 60
TOLERANCE = 1e-13
"""Newton's method stops when no pool changes by more than this share of itself; a layer that holds
less than a millionth of its pool's largest layer is measured against that millionth."""
MAX_HALVINGS = 20
LARGEST_CUT = 0.1
"""One Newton iteration takes no pool below this share of itself: pools stay positive during the
iteration."""


class TimeStep(eqx.Module):
    """The result of one time step."""

    pools: Float[Array, "pool layer"]
    """Carbon at the end of the step, g m-3."""
    respired: Float[Array, ""]
    """CO2 of the whole column over the step, g m-2."""
    entered: Float[Array, ""]
    """Carbon input over the step, g m-2."""
    lost: dict[str, Float[Array, ""]]
    """Losses of the column other than CO2 over the step, g m-2, by `SoilModel.losses`."""
    converged: Bool[Array, ""]
    """Whether the step is valid: finite, without negative pools, and carbon is conserved."""


def implicit_step(
    model: SoilModel,
    pools: Float[Array, "pool layer"],
    parameters: Values,
    column: Column,
    years: Float[Array, ""] | float,
) -> TimeStep:
    """Advance one column by one implicit (backward) Euler step.

    The nonlinear equations are solved by Newton's method. Pools couple inside a layer and layers
    inside a pool, so each iteration is one block tridiagonal solve. Respiration is taken from the
    new state, so carbon is conserved (in the published variants: except for the leak) to the
    tolerance of Newton's method.

    Parameters
    ----------
    model, parameters, column
        As for `model.steady_state`.
    pools
        State at the start, g m-3.
    years
        Length of the step.
    """
    thickness = column.grid.thickness

    def local(x: Array) -> Array:
        t = model.transfers(x, parameters, column)
        return model.exchanged(x, t)

    # Pathways stay inside a layer, so one derivative along each pool gives all layers' blocks.
    along = jnp.eye(len(model.pools))[:, :, None] * jnp.ones(pools.shape)

    def blocks(x: Array) -> Float[Array, "layer pool pool"]:
        columns = jax.vmap(lambda v: jax.jvp(local, (x,), (v,))[1])(along)
        return jnp.transpose(columns, (2, 1, 0))

    transport = model.mixing(parameters, column)
    moving = jnp.array([float(pool in model.transported) for pool in model.pools])

    def iterate(state: tuple) -> tuple:
        x, _, n = state
        residual = x - pools - years * (local(x) + model.mixed(x, transport, column))
        change = -_solve(blocks(x), transport, moving, years, residual, thickness)
        new = jnp.maximum(x + change, LARGEST_CUT * x)
        size = jnp.maximum(jnp.abs(new), 1e-6 * jnp.abs(new).max(axis=1, keepdims=True))
        moved = jnp.where(size > 0.0, jnp.abs(new - x) / jnp.where(size > 0.0, size, 1.0), 0.0)
        return new, moved.max(), n + 1

    def going(state: tuple) -> Array:
        _, moved, n = state
        return (moved > TOLERANCE) & (n < MAX_ITERATIONS)

    start = (pools, jnp.asarray(jnp.inf), 0)
    new, moved, _ = jax.lax.while_loop(going, iterate, start)
    final = model.transfers(new, parameters, column)
    respired = (model.respiration(new, final) * thickness).sum()
    lost = {k: years * (v * thickness).sum() for k, v in model.lost(new, final).items()}
    leaked = (final.transport.leak * (moving[:, None] * new * thickness)).sum()
    entered = years * (final.input * thickness).sum()
    # Converged means that the carbon of the column is conserved.
    out = sum(lost.values(), years * (respired + leaked))
    balance = ((new - pools) * thickness).sum() - entered + out
    scale = (jnp.abs(pools) * thickness).sum() + entered
    fine = jnp.isfinite(new).all() & (jnp.abs(balance) <= 1e-10 * scale) & (moved < 1e-6)
    return TimeStep(new, years * respired, entered, lost, fine)


def advance(
    model: SoilModel,
    pools: Float[Array, "pool layer"],
    parameters: Values,
    column: Column,
    years: Float[Array, ""] | float,
) -> TimeStep:
    """Advance one column by `years`, in one implicit step, or in as many as Newton's method needs.

    A step that does not converge (COMPAS far from its steady state, say without microbes) is
    repeated at half its length; after one that does, the next is twice as long. Below
    `years / 2 ** MAX_HALVINGS` the attempt ends, and `converged` is false.
    """
    years = jnp.asarray(years, dtype=pools.dtype)
    shortest = years / 2.0**MAX_HALVINGS

    def attempt(state: tuple) -> tuple:
        done, left, length = state
        length = jnp.minimum(length, left)
        step = implicit_step(model, done.pools, parameters, column, length)
        fine = step.converged
        taken = TimeStep(
            pools=step.pools,
            respired=done.respired + step.respired,
            entered=done.entered + step.entered,
            lost={name: done.lost[name] + flux for name, flux in step.lost.items()},
            converged=done.converged,
        )
        kept = jax.tree.map(lambda new, old: jnp.where(fine, new, old), taken, done)
        # The remainder of a whole number of halvings is exact, so `left` reaches 0.
        return kept, jnp.where(fine, left - length, left), length * jnp.where(fine, 2.0, 0.5)

    def going(state: tuple) -> Array:
        _, left, length = state
        return (left > 0.0) & (length >= shortest)

    zero = jnp.zeros((), pools.dtype)
    start = TimeStep(pools, zero, zero, dict.fromkeys(model.losses, zero), jnp.asarray(True))
    done, left, _ = jax.lax.while_loop(going, attempt, (start, years, years))
    return eqx.tree_at(lambda step: step.converged, done, left <= 0.0)


def _solve(
    blocks: Float[Array, "layer pool pool"],
    transport: Transport,
    moving: Float[Array, " pool"],
    years: Float[Array, ""] | float,
    residual: Float[Array, "pool layer"],
    thickness: np.ndarray,
) -> Float[Array, "pool layer"]:
    """Solve (1 - years J) x = residual, with J = blocks + mixing, by block elimination."""
    eye = jnp.eye(len(moving))
    leaving = transport.up + transport.down + transport.leak
    diagonal = eye - years * (blocks - leaving[:, None, None] * jnp.diag(moving))
    # In concentrations: carbon from a neighbour is divided by the thickness of the layer.
    ratio = thickness[:-1] / thickness[1:]
    from_above = jnp.concatenate([jnp.zeros(1), -years * transport.down[:-1] * ratio])
    from_below = jnp.append(-years * transport.up[1:] / ratio, 0.0)

    def eliminate(carry: tuple, layer: tuple) -> tuple:
        above_inverse_below, above_solution = carry
        block, sub, sup, right = layer
        pivot = block - (sub * moving)[:, None] * above_inverse_below
        both = jnp.linalg.solve(
            pivot,
            jnp.concatenate(
                [jnp.diag(sup * moving), (right - sub * moving * above_solution)[:, None]], axis=1
            ),
        )
        carry = (both[:, :-1], both[:, -1])
        return carry, carry

    def substitute(below: Array, layer: tuple) -> tuple:
        inverse_below, solution = layer
        x = solution - inverse_below @ below
        return x, x

    zero = jnp.zeros_like(moving)
    _, factors = jax.lax.scan(
        eliminate, (jnp.zeros_like(eye), zero), (diagonal, from_above, from_below, residual.T)
    )
    _, x = jax.lax.scan(substitute, zero, factors, reverse=True)
    return x.T
