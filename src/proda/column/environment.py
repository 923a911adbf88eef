"""How temperature, water, oxygen, nitrogen and depth slow decomposition.

Equations: docs/theory.md#environment.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from proda.column.column import Column


class Environment(eqx.Module):
    """Annual mean modifiers of the decomposition rates of one column, unitless."""

    soil: Float[Array, " layer"]
    """Of coarse woody debris and soil pools: temperature x water x oxygen x depth."""
    litter: Float[Array, " layer"]
    """Of metabolic, cellulose and lignin litter: the same x nitrogen."""


def temperature_modifier(
    q10: Float[Array, ""], temperature: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return q10 ^ temperature, with temperature = (T - 298.15 K) / 10 K."""
    return jnp.exp(jnp.log(q10) * temperature)


def water_modifier(
    w_scaling: Float[Array, ""], w_scalar: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return min(1, w_scaling x W)."""
    return jnp.minimum(1.0, w_scaling * w_scalar)


def depth_modifier(
    efolding: Float[Array, ""], node: Float[np.ndarray, " layer"]
) -> Float[Array, " layer"]:
    """Return exp(-z / efolding), with efolding in m."""
    return jnp.exp(-node / efolding)


@jax.custom_jvp
def _means(
    monthly: Float[Array, "month layer"], weight: Float[Array, "month layer"]
) -> tuple[Float[Array, " layer"], Float[Array, " layer"]]:
    """Return the means over the year of `monthly` and of `monthly * weight`, in one pass.

    Two separate means would compute the exponentials of `monthly` twice.
    """
    sums = jax.lax.reduce(
        (monthly, monthly * weight), (0.0, 0.0), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0,)
    )
    return sums[0] / monthly.shape[0], sums[1] / monthly.shape[0]


@_means.defjvp
def _means_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    monthly, weight = primals
    d_monthly, d_weight = tangents
    d_weighted = d_monthly * weight + monthly * d_weight
    return _means(monthly, weight), (d_monthly.mean(axis=0), d_weighted.mean(axis=0))


def environment(
    q10: Float[Array, ""], w_scaling: Float[Array, ""], efolding: Float[Array, ""], column: Column
) -> Environment:
    """Average the product of the monthly modifiers over the year."""
    monthly = (
        temperature_modifier(q10, column.temperature)
        * water_modifier(w_scaling, column.w_scalar)
        * column.o_scalar
    )
    depth = depth_modifier(efolding, column.grid.node)
    soil, litter = _means(monthly, column.n_scalar)
    return Environment(soil=soil * depth, litter=litter * depth)


def environment_of_means(
    q10: Float[Array, ""], w_scaling: Float[Array, ""], efolding: Float[Array, ""], column: Column
) -> Environment:
    """Multiply the annual means of the modifiers, as the published COMPAS code does."""
    climate = climate_modifier_of_means(q10, w_scaling, efolding, column)
    soil = climate * column.o_scalar.mean(axis=0)
    return Environment(soil=soil, litter=soil * column.n_scalar.mean(axis=0))


def climate_modifier(
    q10: Float[Array, ""], w_scaling: Float[Array, ""], efolding: Float[Array, ""], column: Column
) -> Float[Array, " layer"]:
    """Return temperature x water x depth without oxygen: the component XI (P-Eq 13)."""
    monthly = temperature_modifier(q10, column.temperature) * water_modifier(
        w_scaling, column.w_scalar
    )
    return monthly.mean(axis=0) * depth_modifier(efolding, column.grid.node)


def climate_modifier_of_means(
    q10: Float[Array, ""], w_scaling: Float[Array, ""], efolding: Float[Array, ""], column: Column
) -> Float[Array, " layer"]:
    """Return the same as a product of annual means, as in the published COMPAS code."""
    return (
        temperature_modifier(q10, column.temperature).mean(axis=0)
        * water_modifier(w_scaling, column.w_scalar).mean(axis=0)
        * depth_modifier(efolding, column.grid.node)
    )
