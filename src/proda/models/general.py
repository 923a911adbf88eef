"""The steady state of any model, from its transfers alone (docs/theory.md#a-general-steady-state).

A first guess holds the rates of decay where they are and solves the balance of carbon, which is
then linear and has a positive answer; doing so again from there takes the guess closer (and gives
linear models their answer at once). Newton's method on the whole column does the rest.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.newton import RESIDUAL_TOLERANCE, Balance, Mixing, Root, find_root
from proda.column.ratio import ratio
from proda.column.small_linear import solve_layers, solve_small
from proda.models.model import Reason, SoilModel, SteadyState, Values

ROUNDS = 4
"""How often the rates are held before Newton's method takes over."""
YEARS = 1.0
"""The first rates are those at which each pool holds this many years of input, in all layers."""


def find_pools(model: SoilModel, parameters: Values, column: Column) -> Root:
    """Return the pools at which gains equal losses, and whether they were found."""
    first = tuple(i for i, name in enumerate(model.pools) if name in model.fed_by_plants)
    rest = tuple(i for i in range(len(model.pools)) if i not in first)
    p = dict(parameters)
    # The same in all layers: what mixing brings to a layer without roots is not known yet.
    spread = column.litter_input.sum() / column.grid.thickness.sum()
    start = jnp.full((len(model.pools), len(column.grid)), YEARS * spread)
    plants = _at_held_rates(model, start, p, column, first) if first else start[:0]

    def pools_of(x: Array, plants: Array) -> Array:
        return jnp.concatenate([plants, x])[jnp.argsort(jnp.array([*first, *rest]))]

    def local(x: Array, theta: Any) -> Balance:
        p, column, plants = theta
        pools = pools_of(x, plants)
        t = model.transfers(pools, p, column)
        out, net = model.outflow(pools, t), model.exchanged(pools, t)
        rows = jnp.array(rest)
        return Balance(net[rows], (net + 2.0 * out)[rows])

    def held(_: Any, state: tuple) -> tuple:
        _, x = state
        return x, _at_held_rates(model, pools_of(x, plants), p, column, rest)

    some = start[jnp.array(rest)]
    before, guess = jax.lax.fori_loop(0, ROUNDS, held, (some, some))
    # Where rates grow with the pools, as with density-dependent death, rounds go to and fro.
    guess = jnp.sqrt(before) * jnp.sqrt(guess)
    moving = tuple(model.pools[i] in model.transported for i in rest)

    def mixing(theta: Any) -> Mixing:
        p, column, _ = theta
        return Mixing(model.mixing(p, column), moving, column.grid)

    root = find_root(local, (p, column, plants), guess, mixing if any(moving) else None)
    return Root(pools_of(root.amounts, plants), root.converged, root.iterations)


def general_steady_state(model: SoilModel, parameters: Values, column: Column) -> SteadyState:
    """Return the steady state with its reason code; derivatives are those of the exact one.

    Found means: no pool of any layer gains or loses more than 1e-10 of the carbon that flows
    through it, and the column respires its input. Else the reason is `NOT_CONVERGED`.
    """
    root = find_pools(model, parameters, column)
    t = model.transfers(root.amounts, parameters, column)
    change = model.exchanged(root.amounts, t) + model.mixed(root.amounts, t.transport, column)
    losses = model.outflow(root.amounts, t) + (t.transport.up + t.transport.down) * root.amounts
    balanced = (jnp.abs(change) <= 2.0 * RESIDUAL_TOLERANCE * losses).all()
    found = root.converged & balanced
    co2 = model.respiration(root.amounts, t) * column.grid.thickness
    extra = jnp.where(found, Reason.FEASIBLE, Reason.NOT_CONVERGED)
    return model.finish(root.amounts, co2, True, column, extra)


def _at_held_rates(
    model: SoilModel,
    pools: Float[Array, "pool layer"],
    parameters: Values,
    column: Column,
    chosen: tuple[int, ...],
) -> Float[Array, "chosen layer"]:
    """Return the chosen pools if all rates, and the other pools, stayed as they are here.

    The unknown is what leaves a pool in all, by decay and by mixing: its balance then has 1 on the
    diagonal and shares beside it.
    """
    t = model.transfers(pools, parameters, column)
    moving = jnp.array([float(model.pools[i] in model.transported) for i in chosen])[:, None]
    rate = (t.modifier * t.decay)[jnp.array(chosen)]
    mixed = moving * (t.transport.up + t.transport.down + t.transport.leak)
    leaving = rate + mixed
    decayed = ratio(rate, leaving)
    n, layers = len(chosen), len(column.grid)
    blocks = jnp.broadcast_to(jnp.eye(n)[:, :, None], (n, n, layers))
    source, out = t.input, model.outflow(pools, t)
    for (receiver, donor), share in t.fraction.items():
        i, j = model.pools.index(receiver), model.pools.index(donor)
        if i in chosen and j in chosen:
            to, of = chosen.index(i), chosen.index(j)
            blocks = blocks.at[to, of].add(-share * decayed[of])
        elif i in chosen:
            source = source.at[i].add(share * out[j])
    blocks = jnp.transpose(blocks, (2, 0, 1))
    source = source[jnp.array(chosen)].T
    if not any(model.pools[i] in model.transported for i in chosen):
        return ratio(solve_small(blocks, source[..., None])[..., 0].T, leaving)
    thickness = column.grid.thickness
    held = moving * thickness
    from_above = jnp.pad(ratio(t.transport.down * held, leaving)[:, :-1], ((0, 0), (1, 0)))
    from_below = jnp.pad(ratio(t.transport.up * held, leaving)[:, 1:], ((0, 0), (0, 1)))
    flow = solve_layers(blocks, (from_above / thickness).T, (from_below / thickness).T, source)
    return ratio(flow.T, leaving)
