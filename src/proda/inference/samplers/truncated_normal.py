"""Independent draws of a correlated normal distribution inside the unit box.

Equation: docs/theory.md#samplers. In a corner of the box, hundreds of draws are made until one is
inside. Botev (2017, J. R. Stat. Soc. B 79, 125-148) instead draws one coordinate after the other
within its bounds, each from a shifted distribution, and corrects by rejection. The shifts decide
how many draws are accepted, not their distribution. JAX has no library for this.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, Key


class Shifts(NamedTuple):
    """How coordinates are drawn."""

    shift: Float[Array, " parameter"]
    """Of the mean of each standard normal variable."""
    log_bound: Float[Array, ""]
    """Largest logarithm of the ratio of the wanted to the drawn density."""


class TruncatedInterval(NamedTuple):
    """A standard normal variable between two bounds."""

    low: Float[Array, "..."]
    high: Float[Array, "..."]
    """Both mirrored, where they are positive: probabilities are exact in the lower tail."""
    sign: Float[Array, "..."]
    probability: Float[Array, "..."]

    @property
    def mean(self) -> Float[Array, "..."]:
        """Mean between the bounds."""
        density = jax.scipy.stats.norm.pdf
        return self.sign * (density(self.low) - density(self.high)) / self.probability

    def quantile(self, share: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the value below which a share of the probability between the bounds lies."""
        return self.sign * ndtri(ndtr(self.low) + share * self.probability)


def interval(low: Float[Array, "..."], high: Float[Array, "..."]) -> TruncatedInterval:
    """Return the interval between two bounds."""
    mirrored = low > 0.0
    below, above = jnp.where(mirrored, -high, low), jnp.where(mirrored, -low, high)
    return TruncatedInterval(
        below, above, jnp.where(mirrored, -1.0, 1.0), ndtr(above) - ndtr(below)
    )


def _between(
    mean: Float[Array, ""], sd: Float[Array, ""], shift: Float[Array, ""] | float
) -> TruncatedInterval:
    """Return what the unit box leaves to the shifted standard normal variable of a coordinate."""
    return interval((0.0 - mean) / sd - shift, (1.0 - mean) / sd - shift)


def _log_ratio(
    between: TruncatedInterval, shift: Float[Array, ""], z: Float[Array, ""]
) -> Float[Array, ""]:
    """Return a coordinate's part of the logarithm of the ratio of densities."""
    return -shift * z + 0.5 * shift**2 + jnp.log(between.probability)


def shifts(
    place: Float[Array, " parameter"], factor: Float[Array, "parameter parameter"]
) -> Shifts:
    """Return shifts with which many draws are accepted.

    The logarithm of the ratio of densities is a concave function of the draw. For any point, the
    shifts of the last coordinate to the first follow from setting its gradient there to 0: then its
    value there is its maximum. A good point is the mean of the coordinates without shifts: at
    the states of chains at real sites, 85 % of the draws are then accepted in the median, without
    shifts 35 %, and iterating does not accept more.

    Parameters
    ----------
    place
        Mean of the distribution, inside the unit box.
    factor
        Lower Cholesky factor of its covariance.
    """
    scale = jnp.diagonal(factor)
    below = jnp.tril(factor, -1)

    def mean(sum_before: Array, given: tuple[Array, ...]) -> tuple[Array, Array]:
        k, column, u, d = given
        m = u + sum_before[k]
        z = _between(m, d, 0.0).mean
        return sum_before + column * z, z

    def flat(slope: Array, given: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        k, row, m, d, z = given
        mu = slope[k]
        between = _between(m, d, mu)
        return slope + row / d * between.mean, (mu, _log_ratio(between, mu, z))

    index, zero = jnp.arange(len(place)), jnp.zeros_like(place)
    _, z = jax.lax.scan(mean, zero, (index, below.T, place, scale))
    _, (shift, ratio) = jax.lax.scan(
        flat, zero, (index, below, place + below @ z, scale, z), reverse=True
    )
    bound = ratio.sum()
    usable = jnp.isfinite(bound) & jnp.isfinite(shift).all()
    # Without shifts, no ratio is above 1.
    return Shifts(jnp.where(usable, shift, 0.0), jnp.where(usable, bound, 0.0))


def draw(
    key: Key[Array, ""],
    place: Float[Array, " parameter"],
    factor: Float[Array, "parameter parameter"],
    shifted: Shifts,
) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
    """Draw once.

    Returns
    -------
    drawn
        The draw, inside the box.
    log_accept
        Logarithm of the probability with which it must be accepted; -inf beyond what can be
        computed.
    """

    def one(sum_before: Array, given: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        k, column, u, d, mu, share = given
        m = u + sum_before[k]
        between = _between(m, d, mu)
        z = mu + between.quantile(share)
        return sum_before + column * z, (z, _log_ratio(between, mu, z))

    share = jax.random.uniform(key, place.shape)
    rows = (
        jnp.arange(len(place)),
        jnp.tril(factor, -1).T,
        place,
        jnp.diagonal(factor),
        shifted.shift,
        share,
    )
    _, (z, ratio) = jax.lax.scan(one, jnp.zeros_like(place), rows)
    log_accept = ratio.sum() - shifted.log_bound
    return place + factor @ z, jnp.where(jnp.isfinite(log_accept), log_accept, -jnp.inf)
