"""The interface of a sampler: pure functions on a State, for one chain at one site."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from proda.inference.target import Target

MAX_TRIES = 500
"""Maximum number of draws from the prior until one has a steady state; otherwise a site has no
start."""

State = Any
"""A pytree with everything that is needed to continue a chain."""


class Info(eqx.Module):
    """Diagnostics of one step, for `adapt` and the runner."""

    acceptance: Float[Array, "..."]
    """Probability with which the proposal was accepted, of each replica where there are several."""
    visited: Float[Array, "..."]
    """Position of the chain in the sampler's own coordinates, for `adapt`."""


class Sampler(eqx.Module):
    """A Markov chain on the unit box.

    `step` is one transition. During warm-up, `adapt` is called after each segment of steps.
    Afterwards it is not called, so that all kept draws come from one fixed kernel, whose stationary
    distribution is the posterior. (Samplers that are not `exact` may continue to adapt.)
    """

    name: ClassVar[str]
    exact: ClassVar[bool]
    """Whether its stationary distribution is the posterior."""
    always_adapts: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def n_warm_up(self) -> int:
        """Steps before the first that is kept."""

    @property
    @abc.abstractmethod
    def n_kept(self) -> int:
        """Steps after the warm-up."""

    @property
    def n_replicas(self) -> int:
        """Model evaluations per step."""
        return 1

    def evaluations(self, n_chains: int) -> int:
        """Return the model evaluations of a site."""
        return n_chains * self.n_replicas * (self.n_warm_up + self.n_kept)

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], target: Target) -> State:
        """Return the state of a new chain, started from the prior."""

    @abc.abstractmethod
    def step(self, key: Key[Array, ""], state: State, target: Target) -> tuple[State, Info]:
        """Return the state after one transition."""

    @abc.abstractmethod
    def adapt(self, state: State, info: Info) -> State:
        """Return the state adapted to a segment of steps; Info has a leading step axis."""

    @abc.abstractmethod
    def draw(self, state: State) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
        """Return the position in the unit box, and its log-likelihood."""

    def log_evidence(self, state: State) -> Float[Array, ""]:
        """Return the log of the mean likelihood over the prior, NaN where it is not estimated."""
        return jnp.asarray(jnp.nan)


def find_start(
    key: Key[Array, ""], target: Target
) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
    """Draw from the prior until the likelihood is not 0.

    Returns
    -------
    u, log_likelihood
        log_likelihood is -inf where none of MAX_TRIES draws has a steady state.
    """

    def draw(i: Any) -> tuple[Any, Any]:
        u = jax.random.uniform(jax.random.fold_in(key, i), (target.n_parameters,))
        u = jnp.maximum(u, np.finfo(np.float64).tiny)  # uniform draws may be 0, the box is open
        return u, target.log_likelihood(u)

    def again(carry: Any) -> Bool[Array, ""]:
        i, _, value = carry
        return (i < MAX_TRIES) & (value == -jnp.inf)

    def body(carry: Any) -> Any:
        i, _, _ = carry
        return (i + 1, *draw(i))

    # The first draw is inside the loop: outside, the likelihood would be compiled twice.
    none = (0, jnp.zeros(target.n_parameters), jnp.asarray(-jnp.inf))
    _, u, value = jax.lax.while_loop(again, body, none)
    return u, value
