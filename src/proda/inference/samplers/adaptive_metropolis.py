"""Adaptive Metropolis in the two phases of the study (Haario et al. 2001; P-section 2.6).

Coordinates: u, the unit box. A test run makes uniform proposals, each parameter within a tenth of
its range to either side; a formal run makes Gaussian ones with the covariance of the history,
scaled so that 23 % are accepted. Unlike the published code, acceptance is Metropolis', a proposal
outside the prior range has probability 0 and the covariance is fixed before the first kept draw.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from proda.inference.samplers.moments import factor, tune, update
from proda.inference.samplers.sampler import Info, Sampler, find_start
from proda.inference.target import Target

ACCEPTANCE = 0.234
TEST_WIDTH = 0.2
"""Width of the test run's uniform proposals, as a share of the prior range."""
UNIFORM_VARIANCE = 1.0 / 12.0


class MetropolisState(eqx.Module):
    """State of one chain."""

    u: Float[Array, " parameter"]
    log_likelihood: Float[Array, ""]
    n_steps: Int[Array, ""]
    n_segments: Int[Array, ""]
    mean: Float[Array, " parameter"]
    covariance: Float[Array, "parameter parameter"]
    factor: Float[Array, "parameter parameter"]
    log_scale: Float[Array, ""]


class AdaptiveMetropolis(Sampler):
    """Random walk with adapted covariance."""

    name: ClassVar[str] = "adaptive-metropolis"
    exact: ClassVar[bool] = True

    test: int = eqx.field(static=True, default=20_000)
    formal: int = eqx.field(static=True, default=50_000)
    """The first half of the formal run is discarded."""
    periodic: bool = eqx.field(static=True, default=False)
    """Treat the box as a torus: a proposal that leaves at one end enters at the other. It stays
    symmetric, and the chain does not get stuck in the corners (nine times as many effective
    draws)."""

    @property
    def n_warm_up(self) -> int:
        """Test run and first half of the formal run."""
        return self.test + self.formal // 2

    @property
    def n_kept(self) -> int:
        """Second half of the formal run."""
        return self.formal - self.formal // 2

    def init(self, key: Key[Array, ""], target: Target) -> MetropolisState:
        """Start from the prior."""
        d = target.n_parameters
        u, value = find_start(key, target)
        return MetropolisState(
            u=u,
            log_likelihood=value,
            n_steps=jnp.zeros((), jnp.int32),
            n_segments=jnp.zeros((), jnp.int32),
            mean=u,
            covariance=UNIFORM_VARIANCE * jnp.eye(d),
            factor=jnp.sqrt(UNIFORM_VARIANCE) * jnp.eye(d),
            log_scale=jnp.asarray(np.log(2.4 / np.sqrt(d))),
        )

    def step(
        self, key: Key[Array, ""], state: MetropolisState, target: Target
    ) -> tuple[MetropolisState, Info]:
        """Propose, and accept with the ratio of the likelihoods."""
        d = len(state.u)
        k_walk, k_test, k_accept = jax.random.split(key, 3)
        # Single precision is enough for a proposal: it is symmetric, and the target is not.
        walk = state.factor @ jax.random.normal(k_walk, (d,), jnp.float32).astype(jnp.float64)
        box = jax.random.uniform(k_test, (d,), jnp.float32, -0.5, 0.5).astype(jnp.float64)
        u = state.u + jnp.where(
            state.n_steps < self.test, TEST_WIDTH * box, jnp.exp(state.log_scale) * walk
        )
        if self.periodic:
            u = u - jnp.floor(u)
        inside = ((u > 0.0) & (u < 1.0)).all()
        value = target.log_likelihoods(jnp.where(inside, u, 0.5)[None])[0]
        value = jnp.where(inside, value, -jnp.inf)
        log_ratio = jnp.where(value > -jnp.inf, value - state.log_likelihood, -jnp.inf)
        accept = jnp.log(jax.random.uniform(k_accept)) < log_ratio
        u = jnp.where(accept, u, state.u)
        state = eqx.tree_at(
            lambda s: (s.u, s.log_likelihood, s.n_steps),
            state,
            (u, jnp.where(accept, value, state.log_likelihood), state.n_steps + 1),
        )
        return state, Info(jnp.minimum(1.0, jnp.exp(log_ratio)), u)

    def adapt(self, state: MetropolisState, info: Info) -> MetropolisState:
        """Learn the covariance from the history; tune the scale in the formal run."""
        t = state.n_segments
        mean, covariance = update(state.mean, state.covariance, info.visited, t)
        log_scale = tune(state.log_scale, info.acceptance.mean(), ACCEPTANCE, t)
        return MetropolisState(
            u=state.u,
            log_likelihood=state.log_likelihood,
            n_steps=state.n_steps,
            n_segments=t + 1,
            mean=mean,
            covariance=covariance,
            factor=factor(covariance, UNIFORM_VARIANCE),
            log_scale=jnp.where(state.n_steps <= self.test, state.log_scale, log_scale),
        )

    def draw(self, state: MetropolisState) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
        """Return the current position."""
        return state.u, state.log_likelihood
