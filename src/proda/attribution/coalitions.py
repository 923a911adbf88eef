"""Run a model for every coalition: some players as they are, the others replaced.

The coalitions of a column are nested vmaps, one per player, each over two sets of that player's
parameters. Values that do not depend on a player are then computed once for both: modifiers twice
instead of 64 times, and likewise allocation and mixing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from proda.attribution.players import INPUT
from proda.column.column import Column, prepare
from proda.forcing import Forcing
from proda.models.model import SoilModel
from proda.simulate import block_of
from proda.threads import run_in_threads

BLOCK = 128
"""Columns per compiled call; with 64 coalitions each, they fill the cache of a core."""

Values = Mapping[str, np.ndarray]
"""Parameters of one model: name -> (site,) or (site, layer)."""
Litter = Float[np.ndarray, "site litter"]


class _Coalitions(eqx.Module):
    """The compiled function: carbon and reason of all coalitions of a block of columns."""

    players: tuple[str, ...] = eqx.field(static=True)
    of: tuple[tuple[str, str], ...] = eqx.field(static=True)
    """Player to which each parameter belongs, if any."""

    @eqx.filter_jit
    def __call__(
        self, model: SoilModel, values: dict[str, jax.Array], litter: jax.Array, columns: Column
    ) -> tuple[jax.Array, jax.Array]:
        def one(values: dict[str, jax.Array], litter: jax.Array, column: Column) -> Any:
            column = eqx.tree_at(lambda c: c.litter_input, column, litter)
            state = model.steady_state(values, column)
            return state.soil_carbon / 1000.0, state.reason

        function: Callable[..., Any] = one
        of = dict(self.of)
        for player in self.players:  # the first is innermost: its bit is the lowest
            own = {name: 0 if of.get(name) == player else None for name in values}
            function = jax.vmap(function, in_axes=(own, 0 if player == INPUT else None, None))
        carbon, reason = jax.vmap(function)(values, litter, columns)
        size = 1 << len(self.players)
        n, layers = reason.shape[0], carbon.shape[-1]
        return carbon.reshape(n, size, layers), reason.reshape(n, size)


def run_coalitions(
    model: SoilModel,
    players: Sequence[str],
    of: Mapping[str, str],
    replaced: Values,
    own: Values,
    forcing: Forcing,
    replaced_input: Litter | None = None,
    reduce: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, "coalition site *rest"], Bool[np.ndarray, "coalition site"]]:
    """Return the carbon of every coalition at every site, and whether there is a steady state.

    Parameters
    ----------
    model
        The soil model.
    players
        Player i has bit i of a coalition's number.
    of
        Player of each parameter; parameters without one are as in `own` in every coalition.
    replaced, own
        Parameters of players outside and inside of the coalition, physical values.
    forcing
        The sites.
    replaced_input
        Litter input outside of the coalition, g m-2 yr-1, where the input is a player.
    reduce
        Applied to carbon (site, coalition, layer) in kg m-3 of each block before it is kept, such
        as a stock; None keeps all layers.
    """
    n = len(forcing)
    # A player without parameters (a model may lack transport) changes nothing and is not run.
    active = tuple(p for p in players if p == INPUT or p in of.values())
    run = _Coalitions(active, tuple(sorted((k, v) for k, v in of.items() if v in active)))

    def block(start: int) -> tuple[np.ndarray, np.ndarray]:
        index = block_of(start, BLOCK, n)
        keep = min(BLOCK, n - start)
        part = forcing.select(index)
        values = {
            name: jnp.asarray(np.stack([replaced[name][index], array[index]], axis=1))
            if of.get(name) in players
            else jnp.asarray(array[index])
            for name, array in own.items()
        }
        litter = np.asarray(part.litter_input)
        if INPUT in players:
            assert replaced_input is not None
            litter = np.stack([replaced_input[index], litter], axis=1)
        carbon, reason = (
            np.asarray(a)[:keep] for a in run(model, values, jnp.asarray(litter), prepare(part))
        )
        return carbon if reduce is None else reduce(carbon), reason == 0

    parts = run_in_threads(block, range(0, n, BLOCK))
    quantities, fine = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    place = _without_idle(players, active)
    return np.moveaxis(quantities, 1, 0)[place], fine.T[place]


def _without_idle(players: Sequence[str], active: Sequence[str]) -> Int[np.ndarray, " coalition"]:
    """Return the coalition of the active players in each coalition of all players."""
    coalition = np.arange(1 << len(players))
    bits = [(coalition >> players.index(p)) & 1 for p in active]
    return np.asarray(sum((b << i for i, b in enumerate(bits)), np.zeros_like(coalition)))


def mean_input(litter: Litter, area: Float[np.ndarray, " site"]) -> Float[np.ndarray, " litter"]:
    """Return the mean litter input over land, g m-2 yr-1."""
    return np.asarray(np.average(litter, axis=0, weights=area))


def levelled(litter: Litter, mean: Float[np.ndarray, " litter"]) -> Litter:
    """Return each site's litter input with the mean's total and its own shares of the pools.

    A site without any input gets the mean's shares.
    """
    total = litter.sum(axis=1, keepdims=True)
    scaled = litter * (mean.sum() / np.where(total > 0, total, 1.0))
    return np.where(total > 0, scaled, mean)
