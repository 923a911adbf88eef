"""Parameters with which the soil model has a given carbon: a damped Gauss-Newton inversion.

The profile is ln carbon at the depths of the response (`forcing_inputs.DEPTHS`). Five numbers
cannot constrain some twenty parameters; those that the profile does not constrain stay at the start
(docs/theory.md#inversion).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from proda.column.column import Column, prepare
from proda.forcing import Forcing
from proda.learning.forcing_inputs import DEPTHS, LEAST
from proda.learning.logits import MARGIN
from proda.models.model import Reason, SoilModel

STEPS = 3
"""Gauss-Newton steps; further ones change ln carbon by less than the error of any profile."""

LENGTHS = (1.0, 0.5, 0.2)
"""Shares of a step that are tried; the best is used, or none."""

VARIANCE = 1.0
"""Variance of the error of ln carbon over the variance of a logit around the start."""

BLOCK = 1024
"""Columns inverted at a time."""


def invert(
    forcing: Forcing,
    model: SoilModel,
    start: Float[np.ndarray, " parameter"],
    log_carbon: Float[np.ndarray, "site depth"],
    varies: Float[np.ndarray, " parameter"],
) -> Float[np.ndarray, "site parameter"]:
    """Return logits of the parameters (as shares of the prior range) near `start` for each column.

    A column without a steady state at the start stays there, because it has no derivative.

    Parameters
    ----------
    start
        Logits from which the inversion starts and to which it is pulled.
    log_carbon
        ln carbon (g m-3) wanted at each of `DEPTHS`; below bedrock, in the deepest soil layer.
    varies
        1 for parameters that may change, 0 for those that have one value everywhere.
    """
    model.check_forcing(forcing)
    column = prepare(forcing)
    n, out = len(forcing), np.empty((len(forcing), len(start)))
    for begin in range(0, n, BLOCK):
        rows = np.minimum(np.arange(begin, begin + BLOCK), n - 1)  # the last column fills a block
        own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], column)
        inverted = _inverted(
            model, own, jnp.asarray(start), jnp.asarray(varies), jnp.asarray(log_carbon[rows])
        )
        out[begin : begin + BLOCK] = np.asarray(inverted)[: n - begin]
    return out


@partial(jax.jit, static_argnums=0)
def _inverted(
    model: SoilModel,
    columns: Column,
    start: Float[Array, " parameter"],
    varies: Float[Array, " parameter"],
    goal: Float[Array, "site depth"],
) -> Float[Array, "site parameter"]:
    return jax.vmap(partial(inverted, model, start, varies))(columns, goal)


def inverted(
    model: SoilModel,
    start: Float[Array, " parameter"],
    varies: Float[Array, " parameter"],
    column: Column,
    goal: Float[Array, " depth"],
) -> Float[Array, " parameter"]:
    """Return the logits of one column: the minimum of misfit / VARIANCE + distance to the start."""

    def profile(logit: Array) -> Array:
        return log_profile(model, logit, column)[0]

    def cost(logit: Array) -> Array:
        logs, feasible = log_profile(model, logit, column)
        total = jnp.sum((logs - goal) ** 2) / VARIANCE + jnp.sum((logit - start) ** 2)
        return jnp.where(feasible & jnp.isfinite(total), total, jnp.inf)

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        logit, least = carry
        slope = jax.jacfwd(profile)(logit) * varies
        away = logit - start
        gap = goal - profile(logit) + slope @ away
        inner = slope @ slope.T + VARIANCE * jnp.eye(len(DEPTHS))
        move = slope.T @ jnp.linalg.solve(inner, gap) - away
        tried = logit + jnp.asarray(LENGTHS)[:, None] * move
        costs = jax.lax.map(cost, tried)
        best = jnp.argmin(costs)
        better = costs[best] < least
        return (jnp.where(better, tried[best], logit), jnp.minimum(costs[best], least)), None

    (logit, _), _ = jax.lax.scan(step, (start, cost(start)), None, length=STEPS)
    return logit


def log_profile(
    model: SoilModel, logit: Float[Array, " parameter"], column: Column
) -> tuple[Float[Array, " depth"], Array]:
    """Return ln carbon (g m-3) of one column at `DEPTHS`, and whether it has a steady state."""
    rows = model.rows
    share = MARGIN + (1.0 - 2.0 * MARGIN) * jax.nn.sigmoid(logit)
    values = {row.name: row.at(share[i]) for i, row in enumerate(rows)}
    state = model.steady_state(values, column)
    node = jnp.log(column.grid.node)
    deepest = node[jnp.minimum(column.nbedrock, node.shape[0]) - 1]
    at = jnp.minimum(jnp.log(jnp.asarray(DEPTHS)), deepest)
    logs = jnp.interp(at, node, jnp.log(jnp.maximum(state.soil_carbon, LEAST)))
    return logs, state.reason == Reason.FEASIBLE
