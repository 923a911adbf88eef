"""The misfit of modelled and measured profiles for end-to-end training.

Student's t with 10 degrees of freedom in ln carbon: heavy tails, because some profiles cannot be
predicted from half-degree covariates. Its scale is estimated for each class of depth. The weight of
a profile is the square root of its number of layers. Sites may have other data as well
(`stream_loss.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from proda.column.chunks import in_cached_chunks
from proda.inference.operator import observe
from proda.inference.target import Site
from proda.learning.logits import physical_values
from proda.learning.program import with_slopes
from proda.learning.stream_loss import StreamProblem, add_streams, stream_rows, stream_start
from proda.models.model import Reason, SoilModel
from proda.one_kernel import loops_in_kernels

DEPTH_CLASSES = (0.0, 0.3, 1.0)
"""Upper limits of the classes of depth whose errors are estimated, by the layer's middle, m."""

DEGREES = 10.0
"""Degrees of freedom of Student's t."""

SCALE = 0.6
"""Scale of the error of ln carbon before training has estimated it."""


class CarbonProblem(eqx.Module):
    """Data for comparing the soil model with the profiles of many sites."""

    model: SoilModel
    sites: Site
    """Leading axis: site, as in the training table."""
    weight: Float[Array, " site"]
    """Weight of each site's mean over layers; its mean is 1."""
    floor: float = eqx.field(static=True)
    """Modelled carbon below which the likelihood no longer follows the logarithm, g m-3."""
    steepest: float = eqx.field(static=True)
    """Maximum norm of the gradient of one site's loss with respect to the logits of its
    parameters."""
    lost: float = eqx.field(static=True)
    """Loss of a site without a steady state."""
    back: float = eqx.field(static=True)
    """Weight of the squared distance to the start, for a site without a steady state."""
    beside: StreamProblem | None = None
    """What is measured beside carbon."""

    @property
    def own_start(self) -> Float[np.ndarray, " own"]:
        """Return the start of what is learnt beside the networks: the parameters of all errors.

        Logarithms of the scale of carbon's error by class of depth, then logits of the parameters
        of the streams.
        """
        scale = np.full(len(DEPTH_CLASSES), np.log(SCALE))
        if self.beside is None:
            return scale
        rows = stream_rows(self.beside.streams, self.model)
        return np.concatenate([scale, stream_start(rows)])


class CarbonLoss(NamedTuple):
    """Loss of columns, its gradients, and which columns have a steady state."""

    loss: Float[Array, " column"]
    by_logit: Float[Array, "column parameter"]
    by_own: Float[Array, "column own"]
    """By what is learnt beside the networks."""
    good: Bool[Array, " column"]


def site_weights(layers: Float[np.ndarray, " site"]) -> Float[np.ndarray, " site"]:
    """Weight of a site's mean loss: the square root of its number of layers, 1 on average."""
    root = np.sqrt(layers)
    return np.asarray(root / root.mean())


def depth_class(mid_depth: Float[Array, "..."]) -> Int[Array, "..."]:
    """Return the class of depth of each measured layer."""
    limits = jnp.asarray(DEPTH_CLASSES[1:])
    return jnp.sum(mid_depth[..., None] >= limits, axis=-1)


def floored_log(carbon: Float[Array, "..."], floor: float) -> Float[Array, "..."]:
    """Return ln carbon; below the floor its tangent there, so that the gradient stays finite.

    The value never falls below ln(floor) - 1: the error of an almost empty layer is large but
    finite, and its gradient still increases the carbon.
    """
    low = carbon < floor
    return jnp.where(
        low, jnp.log(floor) + carbon / floor - 1.0, jnp.log(jnp.where(low, floor, carbon))
    )


def column_loss(
    logit: Float[Array, " parameter"],
    log_scale: Float[Array, " depth_class"],
    site: Site,
    problem: CarbonProblem,
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Mean over a site's layers of minus the log-density of ln carbon (without its constant)."""
    values = physical_values(logit, problem.model.rows)
    state = problem.model.steady_state(values, site.column)
    modelled = observe(
        state.soil_carbon,
        site.value_weight,
        site.slope_weight,
        site.column.nbedrock,
        site.column.grid,
    )
    measured = site.measured
    own = log_scale[depth_class(measured.mid_depth)]
    off = floored_log(modelled, problem.floor) - jnp.log(measured.carbon)
    z2 = off * off * jnp.exp(-2.0 * own)
    each = own + 0.5 * (DEGREES + 1.0) * jnp.log1p(z2 / DEGREES)
    mask = measured.mask
    loss = jnp.where(mask, each, 0.0).sum() / jnp.maximum(mask.sum(), 1)
    return loss, state.reason == Reason.FEASIBLE


def judge(
    logits: Float[Array, "column parameter"],
    own: Float[Array, "column own"],
    start: Float[Array, "column parameter"],
    rows: Int[Array, " column"],
    problem: CarbonProblem,
    slopes: bool = True,
) -> CarbonLoss:
    """Loss and gradients of many columns, weighted by site.

    A column without a steady state, or whose gradient is not finite, has the loss `lost` and is
    pulled to the start, if there is one.

    Parameters
    ----------
    logits, start
        Of the parameters, as shares of the prior range: of each column, and at its start.
    own
        As :attr:`CarbonProblem.own_start`.
    rows
        Site of each column.
    slopes
        Whether the gradients of the misfit are computed; they are 0 otherwise.
    """
    classes = len(DEPTH_CLASSES)
    one = jax.vmap(with_slopes(column_loss, slopes), in_axes=(0, 0, 0, None))

    def some(logits: Array, log_scale: Array, rows: Array) -> Any:
        sites = jax.tree.map(lambda leaf: leaf[rows], problem.sites)
        return one(logits, log_scale, sites, problem)

    (loss, feasible), (by_logit, by_scale) = in_cached_chunks(loops_in_kernels(some))(
        logits, own[:, :classes], rows
    )
    good = feasible & jnp.isfinite(loss)
    good &= jnp.isfinite(by_logit).all(axis=1) & jnp.isfinite(by_scale).all(axis=1)
    weight = problem.weight[rows]
    loss, by_logit, by_own = loss * weight, by_logit * weight[:, None], by_scale * weight[:, None]
    if (beside := problem.beside) is not None:
        of_streams = own[:, classes:]
        carbon = (loss, by_logit, jnp.zeros_like(of_streams), good)
        place = beside.place[rows]
        loss, by_logit, more, good = add_streams(
            carbon, (logits, of_streams), place, beside, problem.model, slopes
        )
        by_own = jnp.concatenate([by_own, more], axis=1)
    away = 2.0 * problem.back * (logits - start) * weight[:, None]
    by_logit = jnp.where(good[:, None], by_logit, away)
    by_own = jnp.where(good[:, None], by_own, 0.0)
    length = jnp.linalg.norm(by_logit, axis=1, keepdims=True)
    by_logit = by_logit * jnp.minimum(1.0, problem.steepest / jnp.maximum(length, 1e-30))
    return CarbonLoss(jnp.where(good, loss, problem.lost * weight), by_logit, by_own, good)
