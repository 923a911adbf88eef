"""The input of a model for one column: drivers and all quantities that depend only on the site."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from proda.column.transport import exchange_coefficients
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, N_MONTHS, SITE_PROPERTIES, Forcing
from proda.grid import Grid

REFERENCE_TEMPERATURE = 298.15
"""Temperature at which the temperature modifier is 1, K (docs/theory.md#environment)."""


class Column(eqx.Module):
    """One soil column, ready for a model; made once per site, outside any sampling loop.

    Months come first: means over them then run along whole rows of layers, a quarter faster.
    """

    temperature: Float[Array, "month layer"]
    """(T - 298.15 K) / 10 K, the exponent of Q10."""
    w_scalar: Float[Array, "month layer"]
    o_scalar: Float[Array, "month layer"]
    n_scalar: Float[Array, "month layer"]
    sand: Float[Array, " layer"]
    """Sand content, %."""
    litter_input: Float[Array, " litter"]
    """Annual carbon input to CWD, metabolic, cellulose and lignin litter, g m-2 yr-1."""
    nbedrock: Int[Array, ""]
    """Number of layers above bedrock."""
    frozen: Bool[Array, ""]
    """Whether the soil did not thaw last year; then all input stays in layer 1."""
    exchange_cryo: Float[Array, " layer"]
    """Exchange through each layer's lower interface per unit cryoturbation, m-1."""
    exchange_diffus: Float[Array, " layer"]
    """Exchange through each layer's lower interface per unit bioturbation, m-1."""
    grid: Grid = eqx.field(static=True)
    properties: dict[str, Float[Array, " layer"]] = eqx.field(default_factory=dict)
    """Those of :data:`proda.forcing.SITE_PROPERTIES` that the forcing has."""

    @property
    def above_bedrock(self) -> Bool[Array, " layer"]:
        """Whether each layer lies above bedrock."""
        return jnp.arange(len(self.grid)) < self.nbedrock

    def site_property(self, name: str) -> Float[Array, " layer"]:
        """Return a property of the soil.

        Raises
        ------
        ForcingError
            While tracing, if the forcing does not have it.
        """
        if name not in self.properties:
            raise ForcingError(lacking([name]))
        return self.properties[name]


def lacking(names: Sequence[str], who: str = "the model") -> str:
    """State which properties of the soil the forcing lacks and how to add them."""
    return (
        f"The forcing lacks {', '.join(names)}, which {who} needs. Add them with "
        "`proda forcing add-properties FORCING COVARIATES OUT`, or as variables on (site, layer)."
    )


def prepare(forcing: Forcing) -> Column:
    """Turn the drivers of many sites into columns; every leaf gets the leading dimension site."""
    return _prepare(_arrays(forcing), forcing.grid)


def prepare_months(forcing: Forcing) -> Column:
    """Turn the drivers into one column per month; leading dimensions month and site.

    Litter input stays the annual rate, and `frozen` refers to the whole year.
    """
    return _prepare_months(_arrays(forcing), forcing.grid)


def _arrays(forcing: Forcing) -> dict[str, Array]:
    drivers = {v.name: jnp.asarray(getattr(forcing, v.name)) for v in FORCING_VARIABLES}
    return drivers | {name: jnp.asarray(values) for name, values in forcing.properties.items()}


@eqx.filter_jit
def _prepare(drivers: dict[str, Array], grid: Grid) -> Column:
    cryo, diffus = _exchange(drivers, grid)
    return _column(drivers, slice(None), cryo.mean(axis=-2), diffus.mean(axis=-2), grid)


@eqx.filter_jit
def _prepare_months(drivers: dict[str, Array], grid: Grid) -> Column:
    cryo, diffus = _exchange(drivers, grid)
    months = [
        _column(drivers, slice(m, m + 1), cryo[:, m], diffus[:, m], grid) for m in range(N_MONTHS)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *months)


def _exchange(
    drivers: dict[str, Array], grid: Grid
) -> tuple[Float[Array, "site month layer"], Float[Array, "site month layer"]]:
    active_layer = jnp.maximum(drivers["altmax"], drivers["altmax_lastyear"])
    coefficients = jax.vmap(exchange_coefficients, in_axes=(0, 0, None))
    return coefficients(active_layer, drivers["nbedrock"], grid)


def _column(
    drivers: dict[str, Array],
    months: slice,
    exchange_cryo: Float[Array, "site layer"],
    exchange_diffus: Float[Array, "site layer"],
    grid: Grid,
) -> Column:
    def by_month(name: str) -> Float[Array, "site month layer"]:
        return jnp.swapaxes(drivers[name][..., months], -1, -2)

    return Column(
        temperature=(by_month("soil_temperature") - REFERENCE_TEMPERATURE) / 10.0,
        w_scalar=by_month("w_scalar"),
        o_scalar=by_month("o_scalar"),
        n_scalar=by_month("n_scalar"),
        sand=drivers["sand"],
        litter_input=drivers["litter_input"],
        nbedrock=drivers["nbedrock"],
        frozen=jnp.any(drivers["altmax_lastyear"] == 0.0, axis=-1),
        exchange_cryo=exchange_cryo,
        exchange_diffus=exchange_diffus,
        grid=grid,
        properties={v.name: drivers[v.name] for v in SITE_PROPERTIES if v.name in drivers},
    )
