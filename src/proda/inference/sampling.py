"""Many chains at many sites in one compiled program.

The loop over steps is inside the program; sites and chains are batched around a single step.
Between calls, the caller has the complete state.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from proda.inference.assimilation_settings import MAX_EVIDENCE_ERROR, MAX_RHAT, MIN_ESS
from proda.inference.likelihood import Likelihood
from proda.inference.samplers.islands import Islands
from proda.inference.samplers.rto import RTO, Places, Proposals, Search
from proda.inference.samplers.sampler import Sampler, State
from proda.inference.samplers.smc import SMC, Round, TemperatureLadder, Walkers
from proda.inference.target import Posterior, Site
from proda.models.model import SoilModel
from proda.streams.stream import Stream
from proda.threads import one_thread_jit


class Limits(NamedTuple):
    """When sequential Monte Carlo takes a site for done; of the worst parameter."""

    rhat: float = MAX_RHAT
    """Rank-normalised R-hat must be below."""
    ess: float = MIN_ESS
    """Effective size of bulk and tail must be at least this."""
    evidence_error: float = MAX_EVIDENCE_ERROR
    """Error of the mean log-evidence of the chains must be at most this."""

    @property
    def unsteady(self) -> float:
        """Error of the evidence above which a site begins again: twice its limit."""
        return 2.0 * self.evidence_error


class SamplingProblem(eqx.Module):
    """The problem solved at every site: model, likelihood and sampler."""

    model: SoilModel
    likelihood: Likelihood
    sampler: Sampler | Islands
    segment: int = eqx.field(static=True)
    """Steps between two kept draws, and between two adaptations; of islands, draws per walker."""
    streams: tuple[Stream, ...] = ()
    """Kinds of data beside carbon that the model can answer."""
    limits: Limits = eqx.field(static=True, default=Limits())
    """Of islands: when a site is done."""
    held_out: tuple[str, ...] = eqx.field(static=True, default=())
    """Names of streams, or `carbon`, that are predicted but not fitted."""

    @property
    def chain(self) -> Sampler:
        """The sampler, where it is one chain."""
        assert isinstance(self.sampler, Sampler)
        return self.sampler

    def target(self, site: Site) -> Posterior:
        """Return the posterior of one site."""
        return Posterior(self.model, self.likelihood, site, self.streams, self.held_out)


class Draws(eqx.Module):
    """One draw per segment of every chain."""

    u: Float[Array, "segment site chain parameter"]
    """Position in the unit box of the priors."""
    log_likelihood: Float[Array, "segment site chain"]
    acceptance: Float[Array, "segment site chain"]
    """Mean acceptance over the segment (of the replica at the posterior's own temperature)."""


def chain_keys(seed: int, sites: np.ndarray, n_chains: int) -> Key[Array, "site chain"]:
    """Return the random key of every chain.

    It depends only on the seed, the site's name and the chain's number, not on other sites, their
    order, blocks, or machines.
    """
    digests = [hashlib.sha256(str(site).encode()).digest() for site in sites]
    words = np.array([np.frombuffer(d[:8], "<u4") for d in digests], np.uint32).reshape(-1, 2)
    return _chain_keys(jnp.asarray(seed), jnp.asarray(words), jnp.arange(n_chains))


@jax.jit
def _chain_keys(
    seed: Int[Array, ""], words: Int[Array, "site 2"], chains: Int[Array, " chain"]
) -> Key[Array, "site chain"]:
    def key(pair: Any, chain: Any) -> Any:
        root = jax.random.key(seed)
        return jax.random.fold_in(
            jax.random.fold_in(jax.random.fold_in(root, pair[0]), pair[1]), chain
        )

    return jax.vmap(jax.vmap(key, in_axes=(None, 0)), in_axes=(0, None))(words, chains)


@jax.jit
def fold(keys: Key[Array, "site chain"], data: int) -> Key[Array, "site chain"]:
    """Return other keys, of each its own."""
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, 2**31 + data)))(keys)


@one_thread_jit
def start(problem: SamplingProblem, sites: Site, keys: Key[Array, "site chain"]) -> State:
    """Return the state of new chains, leading axes site and chain."""

    def one(site: Site, key: Any) -> State:
        return problem.chain.init(jax.random.fold_in(key, 0), problem.target(site))

    return _strongly_typed(jax.vmap(jax.vmap(one, in_axes=(None, 0)))(sites, keys))


@one_thread_jit
def advance(
    problem: SamplingProblem,
    sites: Site,
    keys: Key[Array, "site chain"],
    state: State,
    n_segments: int,
    adapting: Bool[Array, ""],
) -> tuple[State, Draws]:
    """Run some segments of every chain.

    Parameters
    ----------
    problem, sites, keys
        As for `start`.
    state
        Leading axes site and chain.
    n_segments
        How many segments (compiled for each number).
    adapting
        Whether the sampler adapts after each segment; an array, so that one program serves both.
    """
    sampler = problem.chain

    def step(state: State, site: Site, key: Any) -> tuple[State, Any]:
        return sampler.step(jax.random.fold_in(key, state.n_steps + 1), state, problem.target(site))

    steps = jax.vmap(jax.vmap(step, in_axes=(0, None, 0)))

    def one_step(state: State, _: Any) -> tuple[State, Any]:
        return steps(state, sites, keys)

    def one_segment(state: State, _: Any) -> tuple[State, Draws]:
        state, info = jax.lax.scan(one_step, state, length=problem.segment)
        u, value = jax.vmap(jax.vmap(sampler.draw))(state)
        acceptance = info.acceptance if info.acceptance.ndim == 3 else info.acceptance[..., -1]
        adapt = jax.vmap(jax.vmap(sampler.adapt, in_axes=(0, 1)), in_axes=(0, 1))
        state = jax.lax.cond(adapting, adapt, lambda state, _: state, state, info)
        return state, Draws(u, value, acceptance.mean(axis=0))

    return _strongly_typed(jax.lax.scan(one_segment, state, length=n_segments))


@one_thread_jit
def begin_walkers(
    problem: SamplingProblem,
    sites: Site,
    keys: Key[Array, "site chain"],
    doublings: Int[Array, ""],
) -> tuple[Walkers, TemperatureLadder]:
    """Bring walkers from the prior to the posterior, leading axis site."""

    def one(smc: SMC, site: Site, key: Any) -> tuple[Walkers, TemperatureLadder]:
        return smc.begin(key, problem.target(site), doublings)

    return _each_site(one, problem, sites, keys)


@one_thread_jit
def go_on(
    problem: SamplingProblem, sites: Site, keys: Key[Array, "site chain"], state: Walkers
) -> tuple[Walkers, Round]:
    """Let the walkers make one more round, leading axis site."""

    def one(smc: SMC, site: Site, key: Any, state: Walkers) -> tuple[Walkers, Round]:
        return smc.go_on(key, state, problem.target(site), problem.segment)

    return _each_site(one, problem, sites, keys, state)


@one_thread_jit
def go_back(
    problem: SamplingProblem,
    sites: Site,
    keys: Key[Array, "site chain"],
    ladder: TemperatureLadder,
    u: Float[Array, "site chain draw parameter"],
    value: Float[Array, "site chain draw"],
    doublings: Int[Array, ""],
) -> TemperatureLadder:
    """Let draws of the posterior go back to the prior, leading axis site."""

    def one(
        smc: SMC, site: Site, key: Any, ladder: TemperatureLadder, u: Any, value: Any
    ) -> TemperatureLadder:
        return smc.go_back(key, ladder, u, value, problem.target(site), doublings)

    return _each_site(one, problem, sites, keys, ladder, u, value)


@one_thread_jit
def find_anchors(problem: SamplingProblem, sites: Site, keys: Key[Array, "site chain"]) -> Search:
    """Find anchors, leading axis site."""

    def one(rto: RTO, site: Site, key: Any) -> Search:
        return rto.begin(key, problem.target(site))

    return _each_site(one, problem, sites, keys)


@one_thread_jit
def propose(
    problem: SamplingProblem, sites: Site, keys: Key[Array, "site chain"], state: Search
) -> tuple[Search, Proposals]:
    """Solve for the proposals of a turn, leading axis site."""

    def one(rto: RTO, site: Site, key: Any, state: Search) -> tuple[Search, Proposals]:
        each = rto.per_turn(problem.segment)
        return rto.propose(key, state, problem.target(site), each)

    return _each_site(one, problem, sites, keys, state)


@one_thread_jit
def start_search(
    problem: SamplingProblem, keys: Key[Array, "site chain"], state: Search, made: Proposals
) -> Search:
    """Bring walkers to proposals, leading axis site."""
    return _each_site(lambda rto, *given: rto.start(*given), problem, keys, state, made)


@one_thread_jit
def settle(
    problem: SamplingProblem, sites: Site, keys: Key[Array, "site chain"], state: Search
) -> Search:
    """Bring walkers from the prior to the posterior by few moves, leading axis site."""

    def one(rto: RTO, site: Site, key: Any, state: Search) -> Search:
        return rto.settle(key, state, problem.target(site))

    return _each_site(one, problem, sites, keys, state)


@one_thread_jit
def choose_anchors(problem: SamplingProblem, sites: Site, state: Search) -> Search:
    """Add anchors where walkers are, and find the shares of proposals, leading axis site."""

    def one(rto: RTO, site: Site, state: Search) -> Search:
        return rto.choose_anchors(state, problem.target(site))

    return _each_site(one, problem, sites, state)


@one_thread_jit
def move_walkers(
    problem: SamplingProblem,
    sites: Site,
    keys: Key[Array, "site chain"],
    state: Search,
    n_moves: Int[Array, " site"],
) -> Search:
    """Let walkers move, leading axis site."""

    def one(rto: RTO, site: Site, key: Any, state: Search, n_moves: Any) -> Search:
        return rto.make_moves(key, state, problem.target(site), n_moves)

    return _each_site(one, problem, sites, keys, state, n_moves)


@one_thread_jit
def go_through(
    problem: SamplingProblem, keys: Key[Array, "site chain"], state: Search, made: Proposals
) -> tuple[Search, Places]:
    """Let walkers go through their proposals, leading axis site."""
    return _each_site(lambda rto, *given: rto.through(*given), problem, keys, state, made)


def _each_site(function: Callable[..., Any], problem: SamplingProblem, *by_site: Any) -> Any:
    """Call a function for each site; one site alone is not batched, so that its forcing is not."""
    assert isinstance(problem.sampler, Islands)
    part = functools.partial(function, problem.sampler)
    if len(jax.tree.leaves(by_site)[0]) > 1:
        found = jax.vmap(part)(*by_site)
    else:
        alone = part(*jax.tree.map(lambda leaf: leaf[0], by_site))
        found = jax.tree.map(lambda leaf: leaf[None], alone)
    return _strongly_typed(found)


def _strongly_typed(leaves: Any) -> Any:
    """Remove the "weak type" of new constants: programs given both would be compiled twice."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), leaves)
