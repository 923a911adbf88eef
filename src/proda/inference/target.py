"""The posterior of one site, from which a sampler draws.

A sampler works on the unit box of the uniform priors; u = 0 and u = 1 are the ends of each range.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from proda.column.column import Column
from proda.inference.likelihood import Likelihood, LogNormal, Measured
from proda.inference.operator import observe
from proda.models.model import Reason, SoilModel
from proda.one_kernel import loops_in_kernels
from proda.parameters import Parameter
from proda.radiocarbon.distribution_of_ages import ages
from proda.streams.stream import CARBON, Stream, StreamData


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

    def log_likelihoods(self, u: Float[Array, "replica parameter"]) -> Float[Array, " replica"]:
        """Return the log-likelihood at several positions at once."""
        return jax.vmap(self.log_likelihood)(u)

    def residuals(
        self, u: Float[Array, "replica parameter"]
    ) -> tuple[Float[Array, " replica"], Float[Array, "replica residual"]]:
        """Return the log-likelihoods, and residuals in units of their errors.

        Minus half of the sum of the squares of these is the log-likelihood, or the larger part of
        what in it depends on u. Targets that are no sum of squares have none.
        """
        raise NotImplementedError


class Site(eqx.Module):
    """The data of one site."""

    column: Column
    measured: Measured
    value_weight: Float[Array, "observation layer"]
    slope_weight: Float[Array, "observation layer"]
    streams: dict[str, StreamData] = eqx.field(default_factory=dict)
    """What is measured beside carbon, by the name of the stream."""


class Prediction(eqx.Module):
    """The prediction of one set of parameters for one site."""

    modelled: Float[Array, " observation"]
    """Carbon of the measured layers, g m-3."""
    pointwise: Float[Array, " observation"]
    """Log-likelihood of each measured layer."""
    reason: Int[Array, ""]
    streams: dict[str, tuple[Float[Array, " value"], Float[Array, " value"]]] = eqx.field(
        default_factory=dict
    )
    """Modelled counterpart and log-likelihood of each value of the streams, by name."""


class Posterior(Target):
    """Parameters of a model (and of the likelihood) given the profile of one site.

    Uniform priors on the ranges of the registry (docs/theory.md#likelihoods-and-prior). Parameters
    for which there is no steady state have probability 0.
    """

    model: SoilModel
    likelihood: Likelihood
    site: Site
    streams: tuple[Stream, ...] = ()
    held_out: tuple[str, ...] = eqx.field(static=True, default=())
    """Names of streams, or `carbon`, that are predicted but not fitted."""

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the registry rows of all parameters sampled, in order."""
        return sampled_rows(self.model, self.likelihood, self.streams)

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters sampled."""
        return len(self.rows)

    def values(self, u: Float[Array, " parameter"]) -> dict[str, Float[Array, ""]]:
        """Return physical values by name."""
        lower = np.array([row.lower for row in self.rows])
        upper = np.array([row.upper for row in self.rows])
        # As a product of matrices, which XLA does not fuse with later operations: otherwise it
        # would recompute u wherever the model uses a parameter.
        value = lower + u @ jnp.diag(upper - lower)
        return {row.name: value[i] for i, row in enumerate(self.rows)}

    def column(self, values: dict[str, Float[Array, ""]]) -> Column:
        """Return the column with what the streams say is uncertain of it."""
        column = self.site.column
        for stream in self.streams:
            column = stream.acts_on(column, values)
        return column

    def predict(self, u: Float[Array, " parameter"]) -> Prediction:
        """Return the prediction for the measured layers."""
        return self.prediction_of(self.values(u))

    def prediction_of(self, values: dict[str, Float[Array, ""]]) -> Prediction:
        """Return the prediction from physical values."""
        column = self.column(values)
        state = self.model.steady_state(values, column)
        modelled = observe(
            state.soil_carbon,
            self.site.value_weight,
            self.site.slope_weight,
            column.nbedrock,
            column.grid,
        )
        pointwise = self.likelihood.pointwise(modelled, self.site.measured, values)
        values_by_stream = {}
        for stream in self.streams:
            data = self.site.streams[stream.name]
            predicted = stream.predict(self.model, state, values, column, data)
            values_by_stream[stream.name] = (predicted, stream.pointwise(predicted, data, values))
        return Prediction(modelled, pointwise, state.reason, values_by_stream)

    def mean_age(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the mean age of the carbon of the soil pools in 0-100 cm, years."""
        values = self.values(u)
        column = self.column(values)
        state = self.model.steady_state(values, column)
        return ages(self.model, state.pools, values, column)["mean_age_0_100"]

    def log_likelihood(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Return the log-likelihood, -inf where there is no steady state."""
        values = self.values(u)
        return self.log_likelihood_of(self.prediction_of(values), values)

    def log_likelihood_of(
        self, prediction: Prediction, values: dict[str, Float[Array, ""]]
    ) -> Float[Array, ""]:
        """Return the log-likelihood of a prediction from these values."""
        total = jnp.zeros(()) if CARBON in self.held_out else prediction.pointwise.sum()
        for stream in self.streams:
            if stream.name not in self.held_out:
                total = total + prediction.streams[stream.name][1].sum()
            total = total + stream.log_prior(values)
        possible = (prediction.reason == Reason.FEASIBLE) & jnp.isfinite(total)
        return jnp.where(possible, total, -jnp.inf)

    def log_likelihoods(self, u: Float[Array, "replica parameter"]) -> Float[Array, " replica"]:
        """Return the log-likelihood at several positions at once.

        Sites, chains and replicas are laid out along one axis whatever the nesting of vmap: the
        loops over layers then run over one long axis of columns, up to twice as fast.
        """
        return self._along_one_axis(Posterior.log_likelihood, u)

    def residuals(
        self, u: Float[Array, "replica parameter"]
    ) -> tuple[Float[Array, " replica"], Float[Array, "replica observation"]]:
        """Return the log-likelihoods and the residuals of carbon, in units of its error."""

        def one(target: Posterior, u: Any) -> tuple[Any, Any]:
            values, likelihood = target.values(u), target.likelihood
            assert isinstance(likelihood, LogNormal)
            prediction = target.prediction_of(values)
            residuals = likelihood.residuals(prediction.modelled, target.site.measured, values)
            return target.log_likelihood_of(prediction, values), residuals

        return self._along_one_axis(one, u)

    def _along_one_axis(self, function: Callable[[Posterior, Any], Any], u: Any) -> Any:
        """Return a function of this posterior at several positions at once, a pytree."""

        def plain(u: Any, site: Site) -> Any:
            return function(
                Posterior(self.model, self.likelihood, site, self.streams, self.held_out), u
            )

        @jax.custom_batching.custom_vmap
        def many(u: Any, site: Site) -> Any:
            return loops_in_kernels(jax.vmap(plain, in_axes=(0, None)))(u, site)

        @many.def_vmap
        def rule(size: int, batched: Any, u: Any, site: Site) -> Any:
            if not batched[0]:
                u = jnp.broadcast_to(u, (size, *u.shape))
            n = u.shape[1]
            flat = u.reshape(size * n, -1)
            if any(jax.tree.leaves(batched[1])):
                repeated = jax.tree.map(
                    lambda leaf, own: (
                        jnp.repeat(leaf, n, axis=0)
                        if own
                        else jnp.broadcast_to(leaf, (size * n, *leaf.shape))
                    ),
                    site,
                    batched[1],
                )
                value = loops_in_kernels(jax.vmap(plain))(flat, repeated)
            else:
                value = many(flat, site)
            value = jax.tree.map(lambda leaf: leaf.reshape(size, n, *leaf.shape[1:]), value)
            return value, jax.tree.map(lambda _: True, value)

        return many(u, self.site)


def sampled_rows(
    model: SoilModel, likelihood: Likelihood, streams: Sequence[Stream] = ()
) -> tuple[Parameter, ...]:
    """Return the registry rows of all sampled parameters: those of model, error and streams."""
    of_streams = [row for stream in streams for row in stream.rows_of(model)]
    return (*model.rows, *likelihood.rows, *of_streams)
