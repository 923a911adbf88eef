"""The No-U-Turn sampler (Hoffman and Gelman 2014) of BlackJAX (Cabezas et al. 2024).

Coordinates: z = Phi^-1(u), in which the uniform prior is the standard normal. Where the gradient is
not finite (CLM5 at e-folding depths below 1 cm) the density is set to 0, which ends the trajectory
there; the chain remains exact on the rest of the box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, Int, Key

from proda.inference.samplers.moments import update
from proda.inference.samplers.sampler import Info, Sampler, find_start
from proda.inference.target import Target

ACCEPTANCE = 0.8


class NUTSState(eqx.Module):
    """State of one chain."""

    chain: Any
    """BlackJAX's position, log-density and gradient."""
    averaging: Any
    """BlackJAX's dual averaging of the step size."""
    n_steps: Int[Array, ""]
    n_segments: Int[Array, ""]
    mean: Float[Array, " parameter"]
    covariance: Float[Array, "parameter parameter"]
    inverse_mass: Float[Array, "parameter parameter"]
    step_size: Float[Array, ""]


class NUTS(Sampler):
    """No-U-Turn sampler with dense mass matrix."""

    name: ClassVar[str] = "nuts"
    exact: ClassVar[bool] = True

    warm_up: int = eqx.field(static=True, default=500)
    kept: int = eqx.field(static=True, default=500)
    max_doublings: int = eqx.field(static=True, default=6)

    @property
    def n_warm_up(self) -> int:
        """Steps that adapt and are discarded."""
        return self.warm_up

    @property
    def n_kept(self) -> int:
        """Steps with a fixed kernel."""
        return self.kept

    def init(self, key: Key[Array, ""], target: Target) -> NUTSState:
        """Start from the prior."""
        d = target.n_parameters
        u, _ = find_start(key, target)
        averaging, _, _ = dual_averaging_adaptation(ACCEPTANCE)
        return NUTSState(
            chain=blackjax.nuts.init(ndtri(u), log_density(target)),
            averaging=averaging(0.1),
            n_steps=jnp.zeros((), jnp.int32),
            n_segments=jnp.zeros((), jnp.int32),
            mean=jnp.zeros(d),
            covariance=jnp.eye(d),
            inverse_mass=jnp.eye(d),
            step_size=jnp.asarray(0.1),
        )

    def step(self, key: Key[Array, ""], state: NUTSState, target: Target) -> tuple[NUTSState, Info]:
        """Follow one trajectory; tune the step size while warming up."""
        kernel = blackjax.nuts.build_kernel()
        chain, transition = kernel(
            key,
            state.chain,
            log_density(target),
            state.step_size,
            state.inverse_mass,
            max_num_doublings=self.max_doublings,
        )
        _, learn, final = dual_averaging_adaptation(ACCEPTANCE)
        warming = state.n_steps < self.warm_up
        learnt = learn(state.averaging, transition.acceptance_rate)
        averaging = jax.tree.map(lambda a, b: jnp.where(warming, a, b), learnt, state.averaging)
        last = state.n_steps + 1 >= self.warm_up
        step_size = jnp.where(last, final(averaging), jnp.exp(averaging.log_step_size))
        state = eqx.tree_at(
            lambda s: (s.chain, s.averaging, s.n_steps, s.step_size),
            state,
            (chain, averaging, state.n_steps + 1, step_size),
        )
        return state, Info(transition.acceptance_rate, chain.position)

    def adapt(self, state: NUTSState, info: Info) -> NUTSState:
        """Learn the mass matrix."""
        mean, covariance = update(state.mean, state.covariance, info.visited, state.n_segments)
        return eqx.tree_at(
            lambda s: (s.n_segments, s.mean, s.covariance, s.inverse_mass),
            state,
            (state.n_segments + 1, mean, covariance, covariance + 1e-3 * jnp.eye(len(mean))),
        )

    def draw(self, state: NUTSState) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
        """Return the current position."""
        z = state.chain.position
        return ndtr(z), state.chain.logdensity + 0.5 * z @ z


def log_density(target: Target) -> Callable[[Float[Array, " parameter"]], Float[Array, ""]]:
    """Return the log-density in z, whose gradient is 0 where it would not be finite."""

    @jax.custom_vjp
    def density(z: Any) -> Any:
        return plain(z)

    def plain(z: Any) -> Any:
        u = ndtr(z)
        inside = ((u > 0.0) & (u < 1.0)).all()
        value = target.log_likelihood(jnp.where(inside, u, 0.5))
        return jnp.where(inside, value, -jnp.inf) - 0.5 * z @ z

    def forward(z: Any) -> Any:
        value, gradient = jax.value_and_grad(plain)(z)
        fine = jnp.isfinite(gradient).all() & jnp.isfinite(value)
        return jnp.where(fine, value, -jnp.inf), jnp.where(fine, gradient, 0.0)

    def backward(gradient: Any, cotangent: Any) -> Any:
        return (cotangent * gradient,)

    density.defvjp(forward, backward)
    return density
