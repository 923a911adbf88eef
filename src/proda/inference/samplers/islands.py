"""What samplers have in common that see all chains of a site at once, each an island of walkers."""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

RIDGE = 1e-5
"""Share of the prior's variance that is added, so that the covariance can be factored."""


class Islands(eqx.Module):
    """A sampler of islands of walkers, in rounds until their draws are good."""

    name: ClassVar[str]
    exact: ClassVar[bool] = True

    walkers: eqx.AbstractVar[int]
    """Of each chain."""

    def draws_per_walker(self, draws: int) -> int:
        """Return how many draws of a round each walker gives, so that `draws` can be kept.

        The fewest, at least two, of which every n-th is one of `draws`; at most four times as many
        as are needed.

        Raises
        ------
        ValueError
            If there is no such number.
        """
        least = max(2, -(-draws // self.walkers))
        for number in range(least, 4 * least + 1):
            if number * self.walkers % draws == 0:
                return number
        raise ValueError(f"no multiple of {self.walkers} near {draws} is one of {draws}")

    @abc.abstractmethod
    def evaluations(self, n_chains: int, per_walker: int = 2) -> int:
        """Return the model evaluations of a typical site, whose walkers give so many draws."""


def keys_with(keys: Key[Array, " chain"], data: int | Array) -> Key[Array, " chain"]:
    """Return other keys of the chains, by a number."""
    return jax.vmap(lambda key: jax.random.fold_in(key, data))(keys)


def resample(
    keys: Key[Array, " chain"], z: Array, value: Array, weight: Array, n_walkers: int
) -> tuple[Float[Array, "chain walker parameter"], Float[Array, "chain walker"]]:
    """Return walkers and their log-likelihoods, resampled systematically in each chain."""
    start = jax.vmap(jax.random.uniform)(keys)

    def systematic(weight: Array, start: Array) -> Array:
        place = (jnp.arange(n_walkers) + start) / n_walkers
        sums = jnp.cumsum(weight)
        return jnp.minimum(jnp.searchsorted(sums / sums[-1], place), len(weight) - 1)

    index = jax.vmap(systematic)(weight, start)
    return (
        jnp.take_along_axis(z, index[..., None], axis=1),
        jnp.take_along_axis(value, index, axis=1),
    )


def moments(
    z: Float[Array, "chain particle parameter"], weight: Float[Array, "chain particle"]
) -> tuple[Float[Array, " parameter"], Float[Array, "parameter parameter"]]:
    """Return the weighted mean and covariance of all chains' particles together."""
    d = z.shape[-1]
    z, weight = z.reshape(-1, d), weight.reshape(-1)
    mean = weight @ z
    away = z - mean
    return mean, (away * weight[:, None]).T @ away + RIDGE * jnp.eye(d)
