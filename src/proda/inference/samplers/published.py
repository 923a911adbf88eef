"""The sampler of the published code, including its errors, for comparison only (P-section 2.6).

Equation: docs/theory.md#samplers.

It is simulated annealing in the form of adaptive Metropolis: a proposal is accepted with
probability exp(-(increase of cost) log(step + 2)), so that the chain contracts towards the optimum
and its spread does not measure the uncertainty. Proposals are redrawn until they lie inside the
prior range, without correction; the covariance is scaled by 2.4/d and adapted to the end; and only
accepted proposals count, each once, however long the chain stayed there.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.samplers.adaptive_metropolis import UNIFORM_VARIANCE
from proda.inference.samplers.inside import propose_inside
from proda.inference.samplers.moments import factor
from proda.inference.samplers.sampler import Info, Sampler, find_start
from proda.inference.target import Target


class PublishedState(eqx.Module):
    """State of one chain."""

    u: Float[Array, " parameter"]
    log_likelihood: Float[Array, ""]
    n_steps: Int[Array, ""]
    n_accepted: Int[Array, ""]
    mean: Float[Array, " parameter"]
    scatter: Float[Array, "parameter parameter"]
    """Sum of squares and products about the mean, of the accepted proposals."""
    factor: Float[Array, "parameter parameter"]
    chosen: Float[Array, " parameter"]
    """One of this segment's accepted proposals, each equally likely; NaN if there is none."""
    chosen_log_likelihood: Float[Array, ""]
    n_in_segment: Int[Array, ""]


class PublishedInfo(Info):
    """Info that distinguishes accepted proposals from repeats."""

    accepted: Bool[Array, "..."]


class Published(Sampler):
    """Annealed adaptive Metropolis as published; its draws are not a posterior."""

    name: ClassVar[str] = "published"
    exact: ClassVar[bool] = False
    always_adapts: ClassVar[bool] = True

    test: int = eqx.field(static=True, default=20_000)
    formal: int = eqx.field(static=True, default=50_000)

    @property
    def n_warm_up(self) -> int:
        """Test run and first half of the formal run."""
        return self.test + self.formal // 2

    @property
    def n_kept(self) -> int:
        """Second half of the formal run."""
        return self.formal - self.formal // 2

    def init(self, key: Key[Array, ""], target: Target) -> PublishedState:
        """Start from the prior."""
        d = target.n_parameters
        u, value = find_start(key, target)
        zero = jnp.zeros((), jnp.int32)
        return PublishedState(
            u=u,
            log_likelihood=value,
            n_steps=zero,
            n_accepted=zero,
            mean=jnp.zeros(d),
            scatter=jnp.zeros((d, d)),
            factor=jnp.sqrt(UNIFORM_VARIANCE) * jnp.eye(d),
            chosen=jnp.full(d, jnp.nan),
            chosen_log_likelihood=jnp.asarray(jnp.nan),
            n_in_segment=zero,
        )

    def step(
        self, key: Key[Array, ""], state: PublishedState, target: Target
    ) -> tuple[PublishedState, PublishedInfo]:
        """Propose until inside the box, and accept by the annealed rule."""
        k_propose, k_accept, k_choose = jax.random.split(key, 3)
        testing = state.n_steps < self.test
        u = propose_inside(k_propose, state.u, state.factor, testing)
        value = target.log_likelihoods(u[None])[0]
        phase_step = jnp.where(testing, state.n_steps, state.n_steps - self.test)
        rise = jnp.where(value > -jnp.inf, state.log_likelihood - value, jnp.inf)
        log_ratio = -rise * jnp.log(phase_step + 2.0)
        accept = jnp.log(jax.random.uniform(k_accept)) < log_ratio
        n_in_segment = state.n_in_segment + accept
        choose = accept & (jax.random.uniform(k_choose) * n_in_segment < 1.0)
        new_u = jnp.where(accept, u, state.u)
        new_value = jnp.where(accept, value, state.log_likelihood)
        state = eqx.tree_at(
            lambda s: (
                s.u,
                s.log_likelihood,
                s.n_steps,
                s.chosen,
                s.chosen_log_likelihood,
                s.n_in_segment,
            ),
            state,
            (
                new_u,
                new_value,
                state.n_steps + 1,
                jnp.where(choose, u, state.chosen),
                jnp.where(choose, value, state.chosen_log_likelihood),
                n_in_segment,
            ),
        )
        return state, PublishedInfo(jnp.minimum(1.0, jnp.exp(log_ratio)), new_u, accept)

    def adapt(self, state: PublishedState, info: Info) -> PublishedState:
        """Add the accepted proposals to the history; begin a new segment."""
        assert isinstance(info, PublishedInfo)
        weight = info.accepted.astype(jnp.float64)
        n_old, n_new = state.n_accepted, weight.sum()
        n = n_old + n_new
        centre = (weight[:, None] * info.visited).sum(axis=0) / jnp.maximum(n_new, 1.0)
        deviation = jnp.sqrt(weight)[:, None] * (info.visited - centre)
        move = centre - state.mean
        share = n_new / jnp.maximum(n, 1.0)
        mean = state.mean + share * move
        scatter = state.scatter + deviation.T @ deviation + n_old * share * jnp.outer(move, move)
        enough = n > 10 * len(state.u)
        covariance = scatter / jnp.maximum(n - 1.0, 1.0)
        fitted = factor(jnp.where(enough, covariance, jnp.eye(len(mean))), UNIFORM_VARIANCE)
        return PublishedState(
            u=state.u,
            log_likelihood=state.log_likelihood,
            n_steps=state.n_steps,
            n_accepted=n.astype(jnp.int32),
            mean=mean,
            scatter=scatter,
            factor=jnp.where(enough, fitted, state.factor),
            chosen=jnp.full_like(state.chosen, jnp.nan),
            chosen_log_likelihood=jnp.full_like(state.chosen_log_likelihood, jnp.nan),
            n_in_segment=jnp.zeros_like(state.n_in_segment),
        )

    def draw(self, state: PublishedState) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
        """Return one of the segment's accepted proposals, NaN where none was accepted."""
        return state.chosen, state.chosen_log_likelihood
