"""What a model sees of one column: drivers and all that depends on the site only."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.transport import exchange_coefficients
from proda.forcing import N_MONTHS, Forcing
from proda.grid import Grid

REFERENCE_TEMPERATURE = 298.15
"""Temperature at which the temperature modifier is 1, K (science: section 4)."""


class Column(eqx.Module):
    """One soil column, ready for a model; made once per site, outside any sampling loop."""

    temperature: Float[Array, "layer month"]
    """(T - 298.15 K) / 10 K, the exponent of Q10."""
    w_scalar: Float[Array, "layer month"]
    o_scalar: Float[Array, "layer month"]
    n_scalar: Float[Array, "layer month"]
    sand: Float[Array, " layer"]
    """Sand content, %."""
    litter_input: Float[Array, " litter"]
    """Annual carbon input to CWD, metabolic, cellulose and lignin litter, g m-2 yr-1."""
    nbedrock: Int[Array, ""]
    """Number of layers above bedrock."""
    frozen: Bool[Array, ""]
    """Whether the soil did not thaw at all last year: then all input stays in layer 1."""
    exchange_cryo: Float[Array, " layer"]
    """Exchange through each layer's lower interface per unit cryoturbation, m-1."""
    exchange_diffus: Float[Array, " layer"]
    """Exchange through each layer's lower interface per unit bioturbation, m-1."""
    grid: Grid = eqx.field(static=True)

    @property
    def above_bedrock(self) -> Bool[Array, " layer"]:
        """Whether each layer lies above bedrock."""
        return jnp.arange(len(self.grid)) < self.nbedrock


def prepare(forcing: Forcing) -> Column:
    """Turn the drivers of many sites into columns; every leaf gets the leading dimension site."""
    cryo, diffus = _exchange(forcing)
    return _column(forcing, slice(None), cryo.mean(axis=-2), diffus.mean(axis=-2))


def prepare_months(forcing: Forcing) -> Column:
    """Turn the drivers into one column per month; leading dimensions month and site.

    Litter input stays the annual rate, and frozen is what it is for the whole year.
    """
    cryo, diffus = _exchange(forcing)
    months = [_column(forcing, slice(m, m + 1), cryo[:, m], diffus[:, m]) for m in range(N_MONTHS)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *months)


def _exchange(
    forcing: Forcing,
) -> tuple[Float[Array, "site month layer"], Float[Array, "site month layer"]]:
    active_layer = jnp.maximum(forcing.altmax, forcing.altmax_lastyear)
    coefficients = jax.vmap(exchange_coefficients, in_axes=(0, 0, None))
    return coefficients(active_layer, jnp.asarray(forcing.nbedrock), forcing.grid)


def _column(
    forcing: Forcing,
    months: slice,
    exchange_cryo: Float[Array, "site layer"],
    exchange_diffus: Float[Array, "site layer"],
) -> Column:
    return Column(
        temperature=(jnp.asarray(forcing.soil_temperature[..., months]) - REFERENCE_TEMPERATURE)
        / 10.0,
        w_scalar=jnp.asarray(forcing.w_scalar[..., months]),
        o_scalar=jnp.asarray(forcing.o_scalar[..., months]),
        n_scalar=jnp.asarray(forcing.n_scalar[..., months]),
        sand=jnp.asarray(forcing.sand),
        litter_input=jnp.asarray(forcing.litter_input),
        nbedrock=jnp.asarray(forcing.nbedrock),
        frozen=jnp.any(jnp.asarray(forcing.altmax_lastyear) == 0.0, axis=-1),
        exchange_cryo=exchange_cryo,
        exchange_diffus=exchange_diffus,
        grid=forcing.grid,
    )
