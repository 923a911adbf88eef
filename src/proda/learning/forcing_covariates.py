"""The forcing of a column in a few numbers, as inputs of a network in addition to covariates.

An alternative to the response of the soil model (`forcing_inputs.py`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.column.column import REFERENCE_TEMPERATURE, prepare
from proda.forcing import LITTER, Forcing

PREFIX = "forcing_"
"""Beginning of the names of all these inputs."""

DEPTHS = (0.1, 0.5, 1.5)
"""Depths at which temperature and water are taken, m (linear between the nodes)."""

Q10 = 2.0
"""Factor per 10 K by which months are weighted in the mean temperature: that of decomposition."""

LEAST_INPUT = 1.0
"""Added to the carbon input before its logarithm is taken, g m-2 yr-1."""

LEAST_EXCHANGE = 1e-3
"""Added to the mean exchange coefficients before their logarithm is taken, m-1."""

EXCHANGE_DEPTH = 1.0
"""Depth down to which the exchange coefficients are averaged, m."""


def forcing_summary(forcing: Forcing) -> pd.DataFrame:
    """Summarise the forcing of many columns.

    Returns
    -------
    table
        One row per site, in the order of the forcing. `forcing_log_input`: ln(input + 1), input in
        g m-2 yr-1; `forcing_share_CWD`, `_ML`, `_LL`: shares of the input (CL is the rest; 0
        without input); `forcing_temperature_10cm` and so on: (T - 298.15 K) / 10 K, averaged over
        the months so that a Q10 of 2 gives the mean rate; `forcing_water_10cm` and so on: mean of
        water times oxygen scalar; `forcing_oxygen`, `forcing_nitrogen`: means over the top metre;
        `forcing_active_layer`: ln(1 + depth of thaw in m); `forcing_log_cryoturbation`,
        `forcing_log_bioturbation`: ln of the mean exchange of the top metre per unit diffusivity;
        `forcing_bedrock`: depth of soil, m.
    """
    grid = forcing.grid
    columns: dict[str, np.ndarray] = {}
    total = forcing.litter_input.sum(axis=1)
    columns["log_input"] = np.log(total + LEAST_INPUT)
    share = np.divide(
        forcing.litter_input,
        total[:, None],
        out=np.zeros_like(forcing.litter_input),
        where=total[:, None] > 0,
    )
    for name in ("CWD", "ML", "LL"):
        columns[f"share_{name}"] = share[:, LITTER.index(name)]
    rate = Q10 ** ((forcing.soil_temperature - REFERENCE_TEMPERATURE) / 10.0)
    warmth = np.log(rate.mean(axis=2)) / np.log(Q10)
    water = (forcing.w_scalar * forcing.o_scalar).mean(axis=2)
    for depth in DEPTHS:
        label = f"{round(100 * depth)}cm"
        columns[f"temperature_{label}"] = at_depth(depth, warmth, grid.node)
        columns[f"water_{label}"] = at_depth(depth, water, grid.node)
    top = grid.interface <= EXCHANGE_DEPTH
    weight = grid.thickness[top] / grid.thickness[top].sum()
    columns["oxygen"] = forcing.o_scalar.mean(axis=2)[:, top] @ weight
    columns["nitrogen"] = forcing.n_scalar.mean(axis=2)[:, top] @ weight
    thaw = np.maximum(forcing.altmax, forcing.altmax_lastyear).mean(axis=1)
    columns["active_layer"] = np.log1p(thaw)
    column = prepare(forcing)
    for name, exchange in (
        ("cryoturbation", column.exchange_cryo),
        ("bioturbation", column.exchange_diffus),
    ):
        columns[f"log_{name}"] = np.log(np.asarray(exchange)[:, top] @ weight + LEAST_EXCHANGE)
    columns["bedrock"] = grid.interface[forcing.nbedrock - 1]
    return pd.DataFrame({PREFIX + name: values for name, values in columns.items()})


def at_depth(depth: float, values: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return values (site, layer) at a depth, linear between the nodes; any measure of depth."""
    upper = int(np.searchsorted(node, depth, side="right")) - 1
    share = (depth - node[upper]) / (node[upper + 1] - node[upper])
    return np.asarray((1.0 - share) * values[:, upper] + share * values[:, upper + 1])
