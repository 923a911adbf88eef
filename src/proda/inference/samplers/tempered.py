"""Parallel tempering with preconditioned Crank-Nicolson proposals: the default sampler.

Coordinates: z = Phi^-1(u), in which the uniform prior is the standard normal, so that the box has
no boundaries and a dimension that the data do not constrain is a Gaussian.

A chain is a ladder of replicas at inverse temperatures 0 = beta_1 < ... < beta_T = 1; replica k has
the density prior x likelihood^beta_k. The hottest replica draws from the prior at every step.
Neighbours try to swap, even and odd pairs in turn (non-reversible: Okabe et al. 2001; Syed et al.
2022), so that draws from the prior reach beta = 1 and several modes, as in COMPAS, are sampled
correctly.

Each replica moves by a preconditioned Crank-Nicolson kernel (Cotter et al. 2013) in a form that is
reversible with respect to a multivariate t fitted to its own history during warm-up:
z' = m + sqrt(1 - s^2)(z - m) + s sqrt(g) L xi, g ~ InvGamma((d + nu)/2, (nu + |w|^2)/2),
w = L^-1(z - m); accepted with the ratio of (target / t).
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.samplers.moments import factor, tune, update
from proda.inference.samplers.sampler import Info, Sampler, find_start
from proda.inference.target import Target

ACCEPTANCE = 0.234
MAX_STEP = 0.999
"""Largest s: at 1 a proposal does not depend on the current position."""


class TemperedState(eqx.Module):
    """State of one chain; the leading axis is the replica, hottest first."""

    z: Float[Array, "replica parameter"]
    log_likelihood: Float[Array, " replica"]
    n_steps: Int[Array, ""]
    n_segments: Int[Array, ""]
    beta: Float[Array, " replica"]
    """Inverse temperatures."""
    rejection: Float[Array, " rung"]
    """Running share of rejected swaps between neighbours."""
    mean: Float[Array, "replica parameter"]
    covariance: Float[Array, "replica parameter parameter"]
    factor: Float[Array, "replica parameter parameter"]
    whitening: Float[Array, "replica parameter parameter"]
    """Inverse of the factor."""
    log_scale: Float[Array, " replica"]
    log_ratio: Float[Array, " rung"]
    """Log of the sum over steps of likelihood^(beta_(k+1) - beta_k), for the evidence."""
    n_ratios: Int[Array, ""]


class TemperedInfo(Info):
    """Info with the swaps."""

    swap: Float[Array, " rung"]
    """Probability of each swap that was tried, NaN where none was."""


class Tempered(Sampler):
    """Parallel tempering with t-preconditioned Crank-Nicolson moves."""

    name: ClassVar[str] = "tempered"
    exact: ClassVar[bool] = True

    warm_up: int = eqx.field(static=True, default=4000)
    kept: int = eqx.field(static=True, default=8000)
    replicas: int = eqx.field(static=True, default=6)

    @property
    def n_warm_up(self) -> int:
        """Steps that adapt and are discarded."""
        return self.warm_up

    @property
    def n_kept(self) -> int:
        """Steps with a fixed kernel."""
        return self.kept

    @property
    def n_replicas(self) -> int:
        """Model evaluations per step: one for each temperature."""
        return self.replicas

    def init(self, key: Key[Array, ""], target: Target) -> TemperedState:
        """Start every replica from the prior."""
        n, d = self.replicas, target.n_parameters
        u, value = jax.vmap(lambda k: find_start(k, target))(jax.random.split(key, n))
        return TemperedState(
            z=ndtri(u),
            log_likelihood=value,
            n_steps=jnp.zeros((), jnp.int32),
            n_segments=jnp.zeros((), jnp.int32),
            beta=jnp.asarray(np.linspace(0.0, 1.0, n) ** 3),
            rejection=jnp.full(n - 1, 0.5),
            mean=jnp.zeros((n, d)),
            covariance=jnp.broadcast_to(jnp.eye(d), (n, d, d)),
            factor=jnp.broadcast_to(jnp.eye(d), (n, d, d)),
            whitening=jnp.broadcast_to(jnp.eye(d), (n, d, d)),
            log_scale=jnp.full(n, np.log(0.3)),
            log_ratio=jnp.full(n - 1, -jnp.inf),
            n_ratios=jnp.zeros((), jnp.int32),
        )

    def step(
        self, key: Key[Array, ""], state: TemperedState, target: Target
    ) -> tuple[TemperedState, TemperedInfo]:
        """Move every replica once, then try to swap every other pair of neighbours."""
        n, d = state.z.shape
        xi, gamma, move, swap = _random_numbers(key, n, d)
        z_new, log_t_ratio = jax.vmap(_propose)(
            (state.z, state.mean, state.factor, state.whitening, state.log_scale),
            xi.astype(jnp.float64),
            gamma,
        )
        hottest = state.beta == 0.0
        z_new = jnp.where(hottest[:, None], xi, z_new)
        u = to_box(z_new)
        inside = ((u > 0.0) & (u < 1.0)).all(axis=1)
        value_new = target.log_likelihoods(jnp.where(inside[:, None], u, 0.5))
        possible = inside & (value_new > -jnp.inf)
        had_none = state.log_likelihood == -jnp.inf
        change = jnp.where(possible & ~had_none, value_new - state.log_likelihood, jnp.inf)
        log_prior_ratio = 0.5 * ((state.z**2).sum(axis=1) - (z_new**2).sum(axis=1))
        log_ratio = state.beta * change + log_prior_ratio + log_t_ratio
        log_ratio = jnp.where(possible, jnp.where(hottest, 0.0, log_ratio), -jnp.inf)
        accept = move < log_ratio
        z = jnp.where(accept[:, None], z_new, state.z)
        value = jnp.where(accept, value_new, state.log_likelihood)

        # Swaps. Impossible replicas (-inf: only where a site has no start) stay where they are.
        pair = jnp.arange(n - 1)
        gap = jnp.diff(state.beta)
        difference = value[:-1] - value[1:]
        log_swap = jnp.where(jnp.isfinite(difference), gap * difference, -jnp.inf)
        tried = pair % 2 == state.n_steps % 2
        swapped = tried & (swap[:-1] < log_swap)

        info = TemperedInfo(
            acceptance=jnp.minimum(1.0, jnp.exp(log_ratio)),
            visited=z,
            swap=jnp.where(tried, jnp.minimum(1.0, jnp.exp(log_swap)), jnp.nan),
        )
        state = eqx.tree_at(
            lambda s: (s.z, s.log_likelihood, s.n_steps, s.log_ratio, s.n_ratios),
            state,
            (
                _exchange(z, swapped),
                _exchange(value, swapped),
                state.n_steps + 1,
                jnp.logaddexp(state.log_ratio, gap * value[:-1]),
                state.n_ratios + 1,
            ),
        )
        return state, info

    def adapt(self, state: TemperedState, info: Info) -> TemperedState:
        """Fit each replica's t to its history, tune its step, and adjust the temperatures."""
        assert isinstance(info, TemperedInfo)
        t = state.n_segments
        mean, covariance = jax.vmap(update, in_axes=(0, 0, 1, None))(
            state.mean, state.covariance, info.visited, t
        )
        log_scale = tune(state.log_scale, info.acceptance.mean(axis=0), ACCEPTANCE, t)
        fitted = jax.vmap(lambda c: factor(c, 1.0))(covariance)
        rejected = 1.0 - jnp.nanmean(info.swap, axis=0)
        rejection = state.rejection + (rejected - state.rejection) / (0.5 * t + 5.0)
        n = self.replicas
        return TemperedState(
            z=state.z,
            log_likelihood=state.log_likelihood,
            n_steps=state.n_steps,
            n_segments=t + 1,
            beta=_even_ladder(state.beta, rejection),
            rejection=rejection,
            mean=mean,
            covariance=covariance,
            factor=fitted,
            whitening=jax.vmap(jnp.linalg.inv)(fitted),
            log_scale=jnp.minimum(log_scale, np.log(MAX_STEP)),
            log_ratio=jnp.full(n - 1, -jnp.inf),
            n_ratios=jnp.zeros((), jnp.int32),
        )

    def draw(self, state: TemperedState) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
        """Return the coldest replica."""
        return to_box(state.z[-1]), state.log_likelihood[-1]

    def log_evidence(self, state: TemperedState) -> Float[Array, ""]:
        """Return the logarithm of the product of the mean ratios between neighbours.

        Stepping stones (Xie et al. 2011). The prior is the uniform one on parameters that have a
        steady state.
        """
        return (state.log_ratio - jnp.log(state.n_ratios)).sum()


def to_box(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return Phi(z), from the normal to the unit box."""
    return 0.5 * jax.lax.erfc(-np.sqrt(0.5) * z)


def degrees_of_freedom(d: int) -> int:
    """Return nu of the t; (d + nu)/2 is whole, so that its gamma is a sum of exponentials."""
    return 5 if d % 2 else 4


def _random_numbers(key: Key[Array, ""], n: int, d: int) -> tuple[Array, Array, Array, Array]:
    """Draw a normal vector, a gamma and two logarithms of uniform numbers for each replica."""
    nu = degrees_of_freedom(d)
    k_normal, k_uniform = jax.random.split(key)
    # Single precision is enough for a proposal: it is symmetric, and the target is not.
    xi = jax.random.normal(k_normal, (n, d), jnp.float32)
    uniform = jax.random.uniform(
        k_uniform, (n, (d + nu) // 2 + 2), jnp.float32, minval=np.finfo(np.float32).tiny
    )
    exponential = -jnp.log(uniform)
    gamma = exponential[:, 2:].sum(axis=1).astype(jnp.float64)
    move, swap = (-exponential[:, i].astype(jnp.float64) for i in (0, 1))
    return xi, gamma, move, swap


def _propose(
    replica: tuple[Any, ...], xi: Float[Array, " parameter"], gamma: Float[Array, ""]
) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
    """Propose for one replica; return the position and the log of t(old) / t(new)."""
    d = len(xi)
    nu = degrees_of_freedom(d)
    z, mean, factor, whitening, log_scale = replica
    s = jnp.exp(log_scale)
    w = whitening @ (z - mean)
    here = w @ w
    w_new = jnp.sqrt(1.0 - s * s) * w + s * jnp.sqrt(0.5 * (nu + here) / gamma) * xi
    log_t_ratio = 0.5 * (d + nu) * (jnp.log1p(w_new @ w_new / nu) - jnp.log1p(here / nu))
    return mean + factor @ w_new, log_t_ratio


def _exchange(x: Float[Array, "rung ..."], swapped: Bool[Array, " pair"]) -> Any:
    """Exchange the values of neighbouring replicas where they are swapped."""
    shape = (len(x),) + (1,) * (x.ndim - 1)
    up = jnp.append(swapped, False)
    down = jnp.append(False, swapped)
    from_above = jnp.concatenate([x[1:], x[-1:]])
    from_below = jnp.concatenate([x[:1], x[:-1]])
    x = jnp.where(up.reshape(shape), from_above, x)
    return jnp.where(down.reshape(shape), from_below, x)


def _even_ladder(
    beta: Float[Array, " replica"], rejection: Float[Array, " rung"]
) -> Float[Array, " replica"]:
    """Return temperatures between which swaps are rejected equally often (Syed et al. 2022).

    The barrier increases by the share of rejected swaps from rung to rung; in between it is assumed
    to be linear in beta^(1/3). The ends remain at 0 and 1.
    """
    rise = jnp.maximum(rejection, 0.01)
    barrier = jnp.concatenate([jnp.zeros(1), jnp.cumsum(rise)])
    wanted = jnp.linspace(0.0, 1.0, len(beta)) * barrier[-1]
    even = jnp.interp(wanted, barrier, jnp.cbrt(beta)) ** 3
    return even.at[0].set(0.0).at[-1].set(1.0)
