"""The loss of tuning, in which networks are trained further through the soil model.

The soil model uses float64 and one long axis of columns, with all sites of all runs' batches. Its
gradient with respect to the parameters is checked column by column before it reaches a network: a
column without a steady state, or whose loss or gradient is not finite, contributes none and is
counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from proda.column.chunks import in_cached_chunks
from proda.inference.likelihood import Likelihood
from proda.inference.target import Posterior, Site
from proda.learning.posterior_loss import ParameterLoss
from proda.learning.program import (
    BatchLoss,
    Learner,
    Loss,
    Recipe,
    Runs,
    led,
    mean,
    with_slopes,
)
from proda.models.model import Reason, SoilModel
from proda.one_kernel import loops_in_kernels

LOST = 50.0
"""Loss of a site without a steady state: that of an error of 2.5 in natural logarithms (sd
0.25)."""

MARGIN = 1e-6
"""Minimum distance of parameters from the ends of the prior range, as a share of it: float32 would
round to the ends."""

STEEPEST = 30.0
"""Maximum norm of the gradient of one column's loss in shares of the prior range; larger ones are
scaled down to it."""


class TunedLoss(NamedTuple):
    """Loss of columns, its gradient in shares of the prior range, and which columns have one."""

    loss: Float[Array, " column"]
    gradient: Float[Array, "column parameter"]
    good: Bool[Array, " column"]


def column_loss(
    u: Float[Array, " parameter"], site: Site, model: SoilModel, likelihood: Likelihood
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Minus the log-likelihood of a site, per measured layer, less that of a perfect fit.

    Per layer, because the error that matters here is that of the place, which the layers of a
    profile share: twenty layers are not twenty independent observations.
    """
    posterior = Posterior(model, likelihood, site)
    prediction = posterior.predict(u)
    perfect = likelihood.pointwise(site.measured.carbon, site.measured, posterior.values(u))
    off = (perfect - prediction.pointwise).sum() / jnp.sum(site.measured.mask)
    return off, prediction.reason == Reason.FEASIBLE


def judge(
    u: Float[Array, "column parameter"],
    sites: Site,
    model: SoilModel,
    likelihood: Likelihood,
    slopes: bool = True,
) -> TunedLoss:
    """Loss and gradient of many columns; those without one get the loss `LOST` and no gradient.

    Without `slopes` no gradients are computed, and they are 0.
    """

    def one(u: Any, site: Site) -> Any:
        inner = MARGIN + (1.0 - 2.0 * MARGIN) * u
        return column_loss(inner, site, model, likelihood)

    many = loops_in_kernels(jax.vmap(with_slopes(one, slopes, by=(0,))))
    (loss, feasible), (gradient,) = in_cached_chunks(many)(u, sites)
    good = feasible & jnp.isfinite(loss) & jnp.isfinite(gradient).all(axis=1)
    gradient = jnp.where(good[:, None], gradient, 0.0)
    length = jnp.linalg.norm(gradient, axis=1, keepdims=True)
    gradient = gradient * jnp.minimum(1.0, STEEPEST / jnp.maximum(length, 1e-30))
    return TunedLoss(jnp.where(good, loss, LOST), gradient, good)


class TuningLoss(Loss):
    """Misfit of carbon at each site, plus a weight times the weighted loss of parameters."""

    recipe: Recipe = eqx.field(static=True)
    parameters: ParameterLoss
    model: SoilModel
    likelihood: Likelihood
    sites: Site
    """Leading axis: site, as in the training table."""
    parameter_weight: float = eqx.field(static=True)

    def __call__(
        self,
        learners: Learner,
        rows: Int[Array, "run batch"],
        keys: PRNGKeyArray | None,
        runs: Runs,
    ) -> BatchLoss:
        """Evaluate a batch of each run; there is no dropout, so the keys mean only training."""
        inputs = self.parameters.inputs
        predicted = jax.vmap(lambda net, own: net(inputs[own]))(learners.network, rows)
        n, size, d = predicted.shape
        # Padding is computed as site 0, and its result is not used.
        flat = jnp.maximum(rows.reshape(-1), 0)
        judged = judge(
            jax.lax.stop_gradient(predicted.reshape(-1, d).astype(jnp.float64)),
            jax.tree.map(lambda leaf: leaf[flat], self.sites),
            self.model,
            self.likelihood,
            slopes=keys is not None,
        )
        slope = jax.lax.stop_gradient(judged.gradient.reshape(n, size, d).astype(jnp.float32))
        loss = judged.loss.reshape(n, size).astype(jnp.float32)
        carbon = mean(led(loss, (slope * predicted).sum(axis=2)), rows)
        pull = self.parameters.weighted(predicted, rows, runs)
        each = carbon + self.parameter_weight * pull
        lost = mean(1.0 - judged.good.reshape(n, size), rows)
        return BatchLoss(each, jax.lax.stop_gradient(each), lost)

    def order_key(self, key: PRNGKeyArray, epoch: Int[Array, ""]) -> PRNGKeyArray:
        """Return a key that training on parameters has not used."""
        return jax.random.fold_in(jax.random.fold_in(key, 1_000_003), epoch)
