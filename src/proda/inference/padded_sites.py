"""Sites in the form used by the compiled program: padded, with their columns prepared."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from proda.column.column import prepare
from proda.forcing import Forcing
from proda.inference.assimilation_settings import Operator
from proda.inference.likelihood import Measured
from proda.inference.operator import weights
from proda.inference.profiles import Profiles
from proda.inference.target import Site
from proda.streams.table import StreamTable

PADDED = (8, 32, 256)
"""Numbers of measured layers to which sites are padded; each needs one compiled program."""


def padded_layers(n: int) -> int:
    """Return the number to which `n` measured layers are padded.

    It depends on the site alone, because a sum over a longer row may round differently.
    """
    fitting = [size for size in PADDED if n <= size]
    return fitting[0] if fitting else -(-n // PADDED[-1]) * PADDED[-1]


def usable(profiles: Profiles, forcing: Forcing) -> Bool[np.ndarray, " row"]:
    """Whether the middle of each measured layer lies in the model's soil, not in bedrock."""
    bottom = forcing.grid.interface[forcing.nbedrock - 1]
    middle = 0.5 * (profiles.upper + profiles.lower)
    return np.asarray(middle <= np.repeat(bottom, profiles.n_layers))


def assemble(profiles: Profiles, forcing: Forcing, operator: Operator) -> Site:
    """Return the sites as one pytree with a leading site axis.

    Parameters
    ----------
    profiles, forcing
        The same sites in the same order, all padded to the same number of layers.
    operator
        Modelled value compared with a measured layer.
    """
    n = len(profiles)
    size = max(padded_layers(int(count)) for count in profiles.n_layers)
    shape = (n, size, len(forcing.grid))
    value, slope = np.zeros(shape), np.zeros(shape)
    carbon, middle = np.ones((n, size)), np.zeros((n, size))
    mask = np.zeros((n, size), bool)
    good = usable(profiles, forcing)
    row_value, row_slope = weights(profiles.upper, profiles.lower, operator, forcing.grid)
    for i in range(n):
        rows = np.arange(profiles.first[i], profiles.first[i + 1])
        place = np.arange(len(rows))
        value[i, place], slope[i, place] = row_value[rows], row_slope[rows]
        carbon[i, place] = profiles.carbon[rows]
        middle[i, place] = 0.5 * (profiles.upper[rows] + profiles.lower[rows])
        mask[i, place] = good[rows]
    # Masked values must not cause errors in the arithmetic of the likelihood.
    value[~mask], slope[~mask] = 0.0, 0.0
    value[~mask, 0] = 1.0
    carbon[~mask] = 1.0
    return Site(
        column=prepare(forcing),
        measured=Measured(jnp.asarray(carbon), jnp.asarray(middle), jnp.asarray(mask)),
        value_weight=jnp.asarray(value),
        slope_weight=jnp.asarray(slope),
    )


def with_streams(
    sites: Site, names: np.ndarray, forcing: Forcing, tables: Sequence[StreamTable]
) -> Site:
    """Return the sites with what is measured there beside carbon.

    Parameters
    ----------
    sites
        As :func:`assemble` returns them.
    names
        Of the sites, in order.
    forcing
        Of the same sites.
    tables
        Of the streams that the model can answer.
    """
    padded = {
        table.stream.name: table.stream.prepare(
            names, table.rows, forcing.nbedrock, forcing.grid, table.size
        )
        for table in tables
    }
    return eqx.tree_at(lambda site: site.streams, sites, padded)
