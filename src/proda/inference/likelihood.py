"""Likelihoods of a measured profile given a modelled one (docs/theory.md#likelihoods-and-prior)."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from proda.inference.assimilation_settings import SD_LOG
from proda.parameters import Parameter


class Measured(eqx.Module):
    """The measured layers of one site, padded to a fixed number."""

    carbon: Float[Array, " observation"]
    """g m-3; 1 in the padding."""
    mid_depth: Float[Array, " observation"]
    """m."""
    mask: Bool[Array, " observation"]
    """False in the padding."""


class Likelihood(eqx.Module):
    """Log-likelihood of one site, layer by layer; padding gives 0."""

    name: ClassVar[str]
    density: ClassVar[bool]
    """Whether it is a probability density of the data, by which models can be compared."""

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Parameters of the likelihood itself, sampled after those of the model."""
        return ()

    @abc.abstractmethod
    def pointwise(
        self,
        modelled: Float[Array, " observation"],
        measured: Measured,
        values: Mapping[str, Float[Array, ""]],
    ) -> Float[Array, " observation"]:
        """Return the log-likelihood of each measured layer."""


class LogNormal(Likelihood):
    """Independent log-normal errors: the default, the same for every model.

    The density is that of the stock itself (g m-3), so that it can be compared between models.
    """

    name: ClassVar[str] = "log-normal"
    density: ClassVar[bool] = True
    sd: float | None = eqx.field(static=True, default=SD_LOG)
    """Standard deviation in natural logarithms; None samples it at every site."""

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return `error_sd` where it is estimated."""
        if self.sd is not None:
            return ()
        return (
            Parameter(
                "error_sd",
                r"\sigma",
                "1",
                0.05,
                1.0,
                SD_LOG,
                "error",
                "standard deviation of a layer's error, in natural logarithms",
            ),
        )

    def pointwise(
        self,
        modelled: Float[Array, " observation"],
        measured: Measured,
        values: Mapping[str, Float[Array, ""]],
    ) -> Float[Array, " observation"]:
        """Return the log-density of each measured stock."""
        sd, z = self._standardised(modelled, measured, values)
        density = -0.5 * z * z - jnp.log(sd) - 0.5 * np.log(2.0 * np.pi) - jnp.log(measured.carbon)
        return jnp.where(measured.mask, density, 0.0)

    def residuals(
        self,
        modelled: Float[Array, " observation"],
        measured: Measured,
        values: Mapping[str, Float[Array, ""]],
    ) -> Float[Array, " observation"]:
        """Return how far ln of each modelled stock is from the measured one, in units of its error.

        0 in the padding.
        """
        return jnp.where(measured.mask, self._standardised(modelled, measured, values)[1], 0.0)

    def _standardised(
        self, modelled: Array, measured: Measured, values: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        sd = values["error_sd"] if self.sd is None else jnp.asarray(self.sd)
        return sd, (jnp.log(modelled) - jnp.log(measured.carbon)) / sd


class PublishedCLM5(Likelihood):
    """Minus the published cost of CLM5: squares over (0.6 o)^2, weighted by rank.

    sum of w_l (m - o)^2 / (2 (0.6 o)^2), w_l = max(1, 10 exp(-(r_l - 1))), r_l the mean of the
    layer's ranks by |o - mean o| and by |z - mean z|, both with the farthest first.
    """

    name: ClassVar[str] = "published-clm5"
    density: ClassVar[bool] = False

    def pointwise(
        self,
        modelled: Float[Array, " observation"],
        measured: Measured,
        values: Mapping[str, Float[Array, ""]],
    ) -> Float[Array, " observation"]:
        """Return minus the cost of each layer."""
        rank = 0.5 * (_rank(measured.carbon, measured) + _rank(measured.mid_depth, measured))
        weight = jnp.maximum(1.0, 10.0 * jnp.exp(-(rank - 1.0)))
        relative = (modelled - measured.carbon) / (0.6 * measured.carbon)
        return jnp.where(measured.mask, -0.5 * weight * relative * relative, 0.0)


class PublishedCOMPAS(Likelihood):
    """Minus the published cost of COMPAS: 5 x (sum of squares over that about the mean)."""

    name: ClassVar[str] = "published-compas"
    density: ClassVar[bool] = False

    def pointwise(
        self,
        modelled: Float[Array, " observation"],
        measured: Measured,
        values: Mapping[str, Float[Array, ""]],
    ) -> Float[Array, " observation"]:
        """Return minus the share of each layer in the cost."""
        about = jnp.where(measured.mask, measured.carbon - _mean(measured.carbon, measured), 0.0)
        squares = (modelled - measured.carbon) ** 2
        return jnp.where(measured.mask, -5.0 * squares / (about * about).sum(), 0.0)


def _mean(values: Float[Array, " observation"], measured: Measured) -> Float[Array, ""]:
    return jnp.where(measured.mask, values, 0.0).sum() / measured.mask.sum()


def _rank(values: Float[Array, " observation"], measured: Measured) -> Float[Array, " observation"]:
    """Rank of the distance from the mean, 1 = farthest; ties in the order of the layers."""
    distance = jnp.where(measured.mask, jnp.abs(values - _mean(values, measured)), -1.0)
    index = jnp.arange(len(values))
    farther = (distance[None, :] > distance[:, None]) | (
        (distance[None, :] == distance[:, None]) & (index[None, :] < index[:, None])
    )
    return 1.0 + farther.sum(axis=1)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    likelihood.name: likelihood for likelihood in (LogNormal, PublishedCLM5, PublishedCOMPAS)
}
