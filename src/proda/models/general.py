"""The steady state of any model, from its transfers alone (docs/theory.md#a-general-steady-state).

A first guess holds the decay rates constant and solves the balance of carbon, which is then linear
and has a positive solution; repeating this improves the guess (for linear models the first solution
is exact). Newton's method on the whole column then converges.

Pools that only plants feed are solved first, one by one, because they do not depend on the others.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.block_tridiagonal import LayerRates, solve_coupled_chains, solve_coupled_pools
from proda.column.column import Column
from proda.column.newton import RESIDUAL_TOLERANCE, Balance, Improvement, Mixing, Root, find_root
from proda.column.ratio import ratio
from proda.column.tridiagonal import ChainRates, solve_chains
from proda.models.model import Reason, SoilModel, SteadyState, Transfers, Values

ROUNDS, MIXED_ROUNDS = 8, 100
"""Maximum number of steps with constant rates before Newton's method. Where layers are coupled,
Newton's method fails far from the root, and a state spreads from layer to layer."""
YEARS = 1.0
"""The first rates are those at which each pool holds this many years of input, in all layers."""


def find_pools(model: SoilModel, parameters: Values, column: Column) -> Root:
    """Return the pools at which gains equal losses, and whether the solution converged."""
    first = tuple(i for i, name in enumerate(model.pools) if name in model.fed_by_plants)
    rest = tuple(i for i in range(len(model.pools)) if i not in first)
    place, rows = jnp.argsort(jnp.array([*first, *rest])), jnp.array(rest)
    p = dict(parameters)
    # The same in all layers: the gain of layers without roots by mixing is not known yet.
    spread = column.litter_input.sum() / column.grid.thickness.sum()
    start = jnp.full((len(model.pools), len(column.grid)), YEARS * spread)
    plants = start[:0]
    if first:
        plants = _fed_by_plants(model, model.transfers(start, p, column), column, first)

    def pools_of(x: Array, plants: Array) -> Array:
        return jnp.concatenate([plants, x])[place]

    def local(x: Array, theta: Any) -> Balance:
        p, column, plants = theta
        pools = pools_of(x, plants)
        t = model.transfers(pools, p, column)
        out, net = model.outflow(pools, t), model.exchanged(pools, t)
        return Balance(net[rows], (net + 2.0 * out)[rows])

    def held(x: Array, theta: Any) -> Array:
        p, column, plants = theta
        pools = pools_of(x, plants)
        return _at_held_rates(model, pools, model.transfers(pools, p, column), column, rest)

    moving = tuple(model.pools[i] in model.transported for i in rest)

    def mixing(theta: Any) -> Mixing:
        p, column, _ = theta
        return Mixing(model.mixing(p, column), moving, column.grid)

    root = find_root(
        local,
        (p, column, plants),
        start[rows],
        mixing if any(moving) else None,
        Improvement(held, MIXED_ROUNDS if any(moving) else ROUNDS),
    )
    return Root(pools_of(root.amounts, plants), root.converged, root.iterations)


def general_steady_state(model: SoilModel, parameters: Values, column: Column) -> SteadyState:
    """Return the steady state with its reason code; derivatives are those of the exact one.

    Converged means: no pool of any layer gains or loses more than 1e-10 of the carbon that flows
    through it, and the losses of the column equal its input. Otherwise the reason is
    `NOT_CONVERGED`.
    """
    root = find_pools(model, parameters, column)
    t = model.transfers(root.amounts, parameters, column)
    change = model.exchanged(root.amounts, t) + model.mixed(root.amounts, t.transport, column)
    losses = model.outflow(root.amounts, t) + (t.transport.up + t.transport.down) * root.amounts
    balanced = (jnp.abs(change) <= 2.0 * RESIDUAL_TOLERANCE * losses).all()
    solved = root.converged & balanced
    thickness = column.grid.thickness
    co2 = model.respiration(root.amounts, t) * thickness
    lost = {name: flux * thickness for name, flux in model.lost(root.amounts, t).items()}
    extra = jnp.where(solved, Reason.FEASIBLE, Reason.NOT_CONVERGED)
    return model.finish(root.amounts, co2, True, column, extra, lost)


def _at_held_rates(
    model: SoilModel,
    pools: Float[Array, "pool layer"],
    transfers: Transfers,
    column: Column,
    chosen: tuple[int, ...],
) -> Float[Array, "chosen layer"]:
    """Return the chosen pools at steady state for constant rates and constant other pools."""
    t, place = transfers, {pool: i for i, pool in enumerate(chosen)}
    out = model.outflow(pools, t)
    leaving = [(t.modifier * t.decay)[j] for j in chosen]
    kept, source = list(leaving), [t.input[i] for i in chosen]
    rate: dict[tuple[int, int], Array] = {}
    for (receiver, donor), share in t.fraction.items():
        i, j = model.pools.index(receiver), model.pools.index(donor)
        if i in place and j in place:
            rate[place[i], place[j]] = share * leaving[place[j]]
        elif i in place:
            source[place[i]] = source[place[i]] + share * out[j]
        if j in place:
            kept[place[j]] = kept[place[j]] - share * leaving[place[j]]
    lost = [jnp.maximum(loss, 0.0) for loss in kept]
    moving = [model.pools[i] in model.transported for i in chosen]
    if not any(moving):
        return jnp.stack(solve_coupled_pools(rate, lost, source))
    thickness, n = column.grid.thickness, range(len(chosen))
    up, down_above, leak = (
        [mixing * float(moves) for moves in moving]
        for mixing in (t.transport.up, t.transport.down_above, t.transport.leak)
    )
    layers = {
        "rate": [[rate.get((i, j)) for j in n] for i in n],
        "chains": ChainRates(
            loss=[a + b for a, b in zip(lost, leak, strict=True)],
            up=up,
            down_above=down_above,
            source=[entering * thickness for entering in source],
        ),
    }

    def rates(at: dict) -> LayerRates:
        return LayerRates(
            [[0.0 if r is None else r for r in row] for row in at["rate"]], at["chains"]
        )

    return jnp.stack(solve_coupled_chains(layers, rates)) / thickness


def _fed_by_plants(
    model: SoilModel, transfers: Transfers, column: Column, chosen: tuple[int, ...]
) -> Float[Array, "chosen layer"]:
    """Return the pools whose carbon comes only from plants and from each other.

    Where carbon does not circulate among them, each is an independent chain once its donors are
    known, which is a few times cheaper than solving them together.
    """
    t = transfers
    rate = t.modifier * t.decay
    donors: dict[int, list[tuple[int, Array]]] = {i: [] for i in chosen}
    for (receiver, donor), share in t.fraction.items():
        i, j = model.pools.index(receiver), model.pools.index(donor)
        if i in donors and j in donors:
            donors[i].append((j, share))
    stocks: dict[int, Array] = {}
    while len(stocks) < len(chosen):
        ready = [i for i in chosen if i not in stocks and all(j in stocks for j, _ in donors[i])]
        if not ready:
            return _at_held_rates(model, jnp.zeros_like(rate), t, column, chosen)
        entering = [
            sum((share * rate[j] * stocks[j] for j, share in donors[i]), t.input[i]) for i in ready
        ]
        stocks |= dict(zip(ready, _chains(model, t, column, ready, entering), strict=True))
    return jnp.stack([stocks[i] for i in chosen])


def _chains(
    model: SoilModel, transfers: Transfers, column: Column, ready: list[int], entering: list[Array]
) -> list[Float[Array, " layer"]]:
    """Return independent pools from the carbon that enters them, g m-3 yr-1."""
    t, thickness = transfers, column.grid.thickness
    rate = t.modifier * t.decay
    stocks = {i: ratio(source, rate[i]) for i, source in zip(ready, entering, strict=True)}
    moving = [i for i in ready if model.pools[i] in model.transported]
    if moving:
        layers = ChainRates(
            loss=[rate[i] + t.transport.leak for i in moving],
            up=[t.transport.up for _ in moving],
            down_above=[t.transport.down_above for _ in moving],
            source=[entering[ready.index(i)] * thickness for i in moving],
        )
        amounts, _ = solve_chains(layers, lambda at: at)
        stocks |= {i: amount / thickness for i, amount in zip(moving, amounts, strict=True)}
    return [stocks[i] for i in ready]
