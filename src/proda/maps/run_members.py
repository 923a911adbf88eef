"""Steady state and components of every member at some cells, in one pass."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from proda.column.column import Column, prepare
from proda.forcing import Forcing
from proda.maps.map_variables import BY_POOL, CARBON, OF_COLUMNS, STOCKS, of_pool
from proda.maps.parameter_sources import Member
from proda.models.components import components
from proda.models.model import SoilModel
from proda.radiocarbon.distribution_of_ages import ages
from proda.simulate import CPU_BLOCK, block_of
from proda.threads import run_in_threads

DEVICE_BLOCK = 4096
"""Cells per compiled call on an accelerator: a whole chunk of a map."""


@eqx.filter_jit
def _block(
    model: SoilModel, values: dict, columns: Column, with_ages: bool
) -> dict[str, jax.Array]:
    """All map variables of one block of cells; pools stay inside, they are most of the bytes."""

    def one(values: dict, column: Column) -> dict[str, jax.Array]:
        state = model.steady_state(values, column)
        carbon = state.soil_carbon / 1000.0
        grid = column.grid
        stocks = {}
        for stock in STOCKS:
            bottom = float(grid.interface[-1]) if stock.lower is None else stock.lower
            stocks[stock.name] = (carbon * grid.thickness_within(0.0, bottom)).sum()
        values_of_cell = components(model, state.pools, values, column)
        if with_ages:
            old = ages(model, state.pools, values, column)
            values_of_cell |= {row.name: old[row.name] for row in OF_COLUMNS}
            values_of_cell |= {of_pool(p): old[BY_POOL][i] for i, p in enumerate(model.pools)}
        return {"reason": state.reason, CARBON.name: carbon, **stocks, **values_of_cell}

    return jax.vmap(one)(values, columns)


def run_members(
    model: SoilModel, members: list[Member], forcing: Forcing, with_ages: bool = False
) -> dict[str, np.ndarray]:
    """Run a model for every member at every cell.

    Blocks of cells have one size (the last repeats its last cell), so one compiled program serves
    all and a cell's numbers do not depend on how the cells are divided up. What depends on the
    cell alone is computed once for all members.

    Returns
    -------
    dict
        `reason` (member, cell), `soc` (member, cell, layer) in kg m-3, stocks in kg m-2 and
        components (member, cell), and with `with_ages` the ages of carbon, yr. Where `reason` is
        not 0 the numbers mean nothing.
    """
    n = len(forcing)
    on_cpu = jax.default_backend() == "cpu"
    size = CPU_BLOCK if on_cpu else DEVICE_BLOCK

    def run(start: int) -> dict[str, np.ndarray]:
        index = block_of(start, size, n)
        keep = min(size, n - start)
        columns = prepare(forcing.select(index))
        parts = []
        for member in members:
            values = {name: jnp.asarray(v[index]) for name, v in member.items()}
            out = _block(model, values, columns, with_ages)
            parts.append({name: np.asarray(v)[:keep] for name, v in out.items()})
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    blocks = run_in_threads(run, range(0, n, size))
    return {name: np.concatenate([b[name] for b in blocks], axis=1) for name in blocks[0]}
