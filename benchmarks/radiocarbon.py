"""What radiocarbon costs beside the steady state, per column and in one run.

python -m benchmarks.radiocarbon [MODEL ...]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from proda.column.column import Column, prepare
from proda.learning.contract_columns import rough_forcing, rough_parameters, with_properties
from proda.models.registry import load_model
from proda.radiocarbon.basis import Basis
from proda.radiocarbon.tracer_response import response, soil

COLUMNS, ROUNDS = 512, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["clm5", "compas"])
    forcing = with_properties(rough_forcing(3, 64)).select(np.arange(COLUMNS) % 64)
    columns = prepare(forcing)
    for name in parser.parse_args().models:
        model = load_model(name)
        drawn = rough_parameters(model, 5, COLUMNS)
        values = {key: jnp.asarray(value) for key, value in drawn.items()}

        def run(basis: Basis | None, model: Any = model) -> Any:
            def one(p: dict, column: Column) -> Any:
                state = model.steady_state(p, column)
                if basis is None:
                    return state.soil_carbon
                given = (model, state.pools, p, column)
                return state.soil_carbon, response(*given, basis, soil(model))

            return jax.jit(jax.vmap(one))

        cases = {
            "steady state": run(None),
            "before the bomb": run(Basis(n_fast=0)),
            "with the bomb": run(Basis()),
        }
        spent: dict[str, list[float]] = {case: [] for case in cases}
        for case in cases:
            jax.block_until_ready(cases[case](values, columns))
        for _ in range(ROUNDS):  # in turn, so that other work on the machine meets all alike
            for case, compiled in cases.items():
                begun = time.process_time()
                jax.block_until_ready(compiled(values, columns))
                spent[case].append(time.process_time() - begun)
        base = np.median(spent["steady state"])
        for case, seconds in spent.items():
            each = np.median(seconds)
            low, high = np.quantile(seconds, [0.25, 0.75]) / COLUMNS * 1e6
            print(
                f"{name:8s} {case:16s} {each / COLUMNS * 1e6:6.2f} us (quartiles {low:.2f}-"
                f"{high:.2f}), {each / base:.2f} times the steady state"
            )


if __name__ == "__main__":
    main()
