"""Cost and error of the time steps of projections: `python -m benchmarks.projections`.

Columns are the six of `proda.example_columns`, with default parameters; times are of the processor,
so that other work on the machine counts as little as it can.
"""

from __future__ import annotations

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import proda
from proda.column.column import prepare
from proda.models.second_order import second_order_step
from proda.projection.projection_settings import FIRST_STEP, GROWTH, LONGEST_STEP

BLOCK = 512
B = 0.95


def cost(model: proda.SoilModel, forcing: proda.Forcing) -> float:
    """Return microseconds of processor time for one time step of one column."""
    many = forcing.select(np.arange(BLOCK) % len(forcing))
    values = proda.default_parameters(model, many, b=B)
    p = {str(name): jnp.asarray(values[name].to_numpy()) for name in values}
    columns = prepare(many)
    pools = jax.jit(jax.vmap(model.steady_state))(p, columns).pools

    @eqx.filter_jit
    def step(x: jax.Array, years: jax.Array) -> jax.Array:
        return jax.vmap(lambda x, v, c: second_order_step(model, x, v, c, years).pools)(
            x, p, columns
        )

    years, rounds = jnp.asarray(LONGEST_STEP), 20
    step(pools, years).block_until_ready()
    begun = time.process_time()
    for _ in range(rounds):
        pools = step(pools, years)
    pools.block_until_ready()
    return 1e6 * (time.process_time() - begun) / rounds / BLOCK


def errors(model: proda.SoilModel, forcing: proda.Forcing, experiment: str) -> dict[float, float]:
    """Return the largest error of the change in 100 years, % of it, by the longest step."""
    values = proda.default_parameters(model, forcing, b=B)

    def change(first: float, growth: float, longest: float) -> np.ndarray:
        found = proda.project(
            model,
            values,
            forcing,
            [experiment],
            bounds="physical",
            times=(100,),
            first_step=first,
            growth=growth,
            longest_step=longest,
        )
        carbon = (found["cSoil"] + found["cLitter"]).isel(experiment=0)
        return np.asarray(carbon.isel(time=-1) - carbon.isel(time=0))

    exact = change(1 / 64, 1.1, 1 / 8)
    steps = (2 * LONGEST_STEP, LONGEST_STEP, LONGEST_STEP / 2)
    return {
        h: float(100 * np.max(np.abs(change(FIRST_STEP, GROWTH, h) - exact) / np.abs(exact)))
        for h in steps
    }


def drift(model: proda.SoilModel, forcing: proda.Forcing) -> float:
    """Return the largest relative change of a column's carbon in 300 years of control."""
    values = proda.default_parameters(model, forcing, b=B)
    found = proda.project(model, values, forcing, ["control"], bounds="physical", times=(300,))
    carbon = (found["cSoil"] + found["cLitter"]).isel(experiment=0)
    return float(abs(carbon.isel(time=-1) / carbon.isel(time=0) - 1.0).max())


def main() -> None:
    """Print a table for each model that is named, by default CLM5 and COMPAS."""
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    for name in sys.argv[1:] or ["clm5", "compas"]:
        model = proda.load_model(name)
        print(f"{name}: {cost(model, forcing):.1f} us for each column and step", flush=True)
        print(f"{name}: drift in 300 years {drift(model, forcing):.1e}", flush=True)
        for experiment in ("plus_4K", "plus_4K_ramp"):
            found = errors(model, forcing, experiment)
            words = ", ".join(f"{h:g} years {e:.2f} %" for h, e in found.items())
            print(f"{name}: {experiment}, largest error of the change: {words}", flush=True)


if __name__ == "__main__":
    main()
