"""The flows of a steady state as an operator on tracers, for any model.

At a steady state all flows of carbon are constant, and a tracer that moves with the carbon is
linear, whatever the kinetics: dy/dt = M y + source - loss y, with M from the model's own
`transfers` at that state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.factored import (
    FactoredBlocks,
    FactoredChains,
    FactoredPools,
    factor_blocks,
    factor_chains,
    factor_pools,
)
from proda.models.model import SoilModel, Values


class Flows(NamedTuple):
    """Rates of all flows at one state, yr-1, each of the pool that it leaves; pools in order."""

    decay: Float[Array, "pool layer"]
    respired: Float[Array, "pool layer"]
    """Rate at which a pool's carbon leaves as CO2 (or, in the published scheme, leaks)."""
    passed: dict[tuple[int, int], Float[Array, " layer"]]
    """By (receiver, donor)."""
    up: Float[Array, "pool layer"]
    down: Float[Array, "pool layer"]
    leak: Float[Array, "pool layer"]
    entering: Float[Array, "pool layer"]
    """B I, g m-2 yr-1."""


def flows(
    model: SoilModel, pools: Float[Array, "pool layer"], parameters: Values, column: Column
) -> Flows:
    """Return the flows of one column at a state (g m-3)."""
    t = model.transfers(pools, parameters, column)
    decay = t.modifier * t.decay
    kept = jnp.ones_like(decay)
    passed = {}
    for (receiver, donor), share in t.fraction.items():
        i, j = model.pools.index(receiver), model.pools.index(donor)
        kept = kept.at[j].add(-share)
        if i != j:  # what a pool passes to itself stays
            passed[i, j] = share * decay[j]
    moving = jnp.array([float(pool in model.transported) for pool in model.pools])[:, None]
    return Flows(
        decay=decay,
        # Shares of 1 in all may leave a rounding error of either sign.
        respired=decay * jnp.maximum(kept, 0.0),
        passed=passed,
        up=moving * t.transport.up,
        down=moving * t.transport.down,
        leak=moving * t.transport.leak,
        entering=t.input * column.grid.thickness,
    )


class Factored(NamedTuple):
    """(loss - M) of one column, eliminated; pools that carbon reaches first come first."""

    levels: list[tuple[tuple[int, ...], FactoredChains | FactoredPools | FactoredBlocks]]
    passed: dict[tuple[int, int], Float[Array, " layer"]]

    def solve(self, source: Sequence[Float[Array, " layer"]]) -> list[Float[Array, " layer"]]:
        """Return (loss - M)^-1 source: stocks, g m-2, where `source` enters, g m-2 yr-1."""
        amounts: dict[int, Array] = {}
        for level, part in self.levels:
            arriving = [
                sum(
                    (
                        r * amounts[j]
                        for (to, j), r in self.passed.items()
                        if to == i and j in amounts
                    ),
                    source[i],
                )
                for i in level
            ]
            amounts |= dict(zip(level, part.solve(arriving), strict=True))
        return [amounts[i] for i in range(len(source))]


def factored(model: SoilModel, rates: Flows, loss: Float[Array, ""] | float) -> Factored:
    """Eliminate (loss - M) of one column.

    Parameters
    ----------
    model, rates
        The model and its flows.
    loss
        Rate at which the tracer is lost everywhere besides, yr-1; 0 gives the stocks of carbon.
    """
    lost = rates.respired + rates.leak + loss
    levels: list[tuple[tuple[int, ...], FactoredChains | FactoredPools | FactoredBlocks]] = []
    for level in _levels(model, rates.passed):
        place = {pool: k for k, pool in enumerate(level)}
        inside = {
            (place[i], place[j]): rate
            for (i, j), rate in rates.passed.items()
            if i in place and j in place
        }
        # What a pool passes on to later levels is gone from this one.
        gone = [
            lost[j]
            + sum(
                (r for (i, donor), r in rates.passed.items() if donor == j and i not in place),
                jnp.zeros_like(lost[j]),
            )
            for j in level
        ]
        up, down = [rates.up[i] for i in level], [rates.down[i] for i in level]
        part: FactoredChains | FactoredPools | FactoredBlocks
        if not any(model.pools[i] in model.transported for i in level):
            part = factor_pools(inside, gone)
        elif inside:
            part = factor_blocks(inside, gone, up, down)
        else:
            part = factor_chains(gone, up, down)
        levels.append((level, part))
    return Factored(levels, rates.passed)


def _levels(model: SoilModel, passed: dict[tuple[int, int], Array]) -> list[tuple[int, ...]]:
    """Group pools so that carbon passes from earlier groups to later ones or inside a group.

    Of the pools that only plants feed, those that do not mix come as soon as they can: the others
    then share fewer sweeps over the layers.
    """
    plants = [i for i, name in enumerate(model.pools) if name in model.fed_by_plants]
    rest = tuple(i for i in range(len(model.pools)) if i not in plants)
    levels: list[tuple[int, ...]] = []
    while plants:
        free = [i for i in plants if not any((i, j) in passed for j in plants if j != i)]
        if not free:  # they feed each other in a circle
            levels.append(tuple(plants))
            break
        still = [i for i in free if model.pools[i] not in model.transported]
        chosen = tuple(still or free)
        levels.append(chosen)
        plants = [i for i in plants if i not in chosen]
    return [*levels, rest] if rest else levels
