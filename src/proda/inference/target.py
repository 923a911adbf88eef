"""The posterior of one site: what a sampler sees.

A sampler works on the unit box of the uniform priors; u = 0 and u = 1 are the ends of each range.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from proda.column.column import Column
from proda.inference.likelihood import Likelihood, Measured
from proda.inference.operator import observe
from proda.models.model import Reason, SoilModel
from proda.parameters import Parameter


class Target(eqx.Module):
    """A density on the unit box."""

    @property
    @abc.abstractmethod
    def n_parameters(self) -> int:
        """Number of dimensions of the box."""

    @abc.abstractmethod
    def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log of the density (to a constant), -inf where it is 0.

        u lies strictly inside the box; never NaN.
        """


class Site(eqx.Module):
    """All that is known of one site."""

    column: Column
    measured: Measured
    value_weight: Float[Array, "observation layer"]
    slope_weight: Float[Array, "observation layer"]


class Prediction(eqx.Module):
    """What one set of parameters says of one site."""

    modelled: Float[Array, " observation"]
    """Carbon of the measured layers, g m-3."""
    pointwise: Float[Array, " observation"]
    """Log-likelihood of each measured layer."""
    reason: Int[Array, ""]


class Posterior(Target):
    """Parameters of a model (and of the likelihood) given the profile of one site.

    Uniform priors on the ranges of the registry (science: section 8). Parameters for which there
    is no steady state have probability 0.
    """

    model: SoilModel
    likelihood: Likelihood
    site: Site

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the registry rows of all parameters sampled, in order."""
        return sampled_rows(self.model, self.likelihood)

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters sampled."""
        return len(self.rows)

    def values(self, u: Float[Array, " parameter"]) -> dict[str, Float[Array, ""]]:
        """Return physical values by name."""
        return {
            row.name: row.lower + u[i] * (row.upper - row.lower) for i, row in enumerate(self.rows)
        }

    def predict(self, u: Float[Array, " parameter"]) -> Prediction:
        """Return what the parameters say of the measured layers."""
        values = self.values(u)
        state = self.model.steady_state(values, self.site.column)
        column = self.site.column
        modelled = observe(
            state.soil_carbon, self.site.value_weight, self.site.slope_weight,
            column.nbedrock, column.grid,
        )  # fmt: skip
        pointwise = self.likelihood.pointwise(modelled, self.site.measured, values)
        return Prediction(modelled, pointwise, state.reason)

    def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log-likelihood, -inf where there is no steady state."""
        prediction = self.predict(u)
        total = prediction.pointwise.sum()
        possible = (prediction.reason == Reason.FEASIBLE) & jnp.isfinite(total)
        return jnp.where(possible, total, -jnp.inf)


def sampled_rows(model: SoilModel, likelihood: Likelihood) -> tuple[Parameter, ...]:
    """Return the registry rows of the parameters that are sampled: the model's, then the error's."""
    return (*model.rows, *likelihood.rows)
