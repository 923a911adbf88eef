"""A short calibration of the sampler on profiles that the model itself made.

Parameters are drawn from the prior, give a profile with log-normal errors, and are estimated from
it: of many such posteriors, intervals of 90 % must hold the truth nine times in ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from proda.errors import ModelError
from proda.inference.assimilation_settings import SD_LOG
from proda.inference.batch import calls
from proda.inference.likelihood import LogNormal
from proda.inference.padded_sites import assemble
from proda.inference.profiles import Profiles
from proda.inference.samplers.sampler import find_start
from proda.inference.samplers.tempered import Tempered
from proda.inference.sampling import SamplingProblem, advance, chain_keys, start
from proda.inference.target import Posterior, Site
from proda.learning.contract_columns import example_forcing
from proda.models.model import SoilModel

UPPER = np.array([0.0, 0.1, 0.3, 0.6, 1.0])
LOWER = np.array([0.1, 0.3, 0.6, 1.0, 1.5])
PROFILES = 40
STEPS, DRAWS, REPLICAS = 800, 80, 4
LEVELS = (0.5, 0.9)
STANDARD_ERRORS = 3.0
"""Coverage may miss its level by so many standard errors of one parameter's share; the mean over
parameters varies less."""


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth."""

    profiles: int
    parameters: int
    coverage: tuple[tuple[float, float, float], ...]
    """Level, share over all parameters and profiles, and by how much it may miss the level."""


def calibrate(model: SoilModel, seed: int = 0) -> Coverage:
    """Make profiles with the model, estimate its parameters from them, and count.

    Raises
    ------
    ModelError
        If the model has no steady state over most of its prior.
    """
    problem = SamplingProblem(model, LogNormal(), Tempered(STEPS, STEPS, REPLICAS), STEPS // DRAWS)
    names, sites = _sites()
    truth, sites = _made(problem, sites, names)
    keys = chain_keys(seed, names, 1)
    state = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), start(problem, sites, keys))
    per_call, n_warm_up, n_kept = calls(problem)
    draws = []
    for call in range(n_warm_up + n_kept):
        state, new = advance(problem, sites, keys, state, per_call, call < n_warm_up)
        if call >= n_warm_up:
            draws.append(np.asarray(new.u)[:, :, 0])
    u = np.concatenate(draws)
    coverage = []
    for level in LEVELS:
        ends = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
        # Weibull's quantiles: of n draws the usual ones hold (n - 1)/(n + 1) of what they should.
        low, high = np.quantile(u, ends, axis=0, method="weibull")
        held = float(((low < truth) & (truth < high)).mean())
        margin = STANDARD_ERRORS * float(np.sqrt(level * (1.0 - level) / PROFILES))
        coverage.append((level, held, margin))
    return Coverage(PROFILES, truth.shape[1], tuple(coverage))


def _sites() -> tuple[np.ndarray, Site]:
    """Return the example columns, each several times, with layers to be measured."""
    forcing = example_forcing()
    # Columns that never thaw hold no carbon below their first layer: no profile.
    forcing = forcing.select(np.flatnonzero((forcing.altmax_lastyear > 0).all(axis=1)))
    names = np.array([f"profile {i}" for i in range(PROFILES)])
    layers = len(UPPER)
    profiles = Profiles(
        names,
        np.zeros(PROFILES),
        np.zeros(PROFILES),
        np.arange(PROFILES + 1) * layers,
        np.tile(UPPER, PROFILES),
        np.tile(LOWER, PROFILES),
        np.ones(PROFILES * layers),
    )
    chosen = np.arange(PROFILES) % len(forcing)
    return names, assemble(profiles, forcing.select(chosen), "layer_mean")


def _made(problem: SamplingProblem, sites: Site, names: np.ndarray) -> tuple[np.ndarray, Site]:
    """Return true places in the unit box, and the sites with profiles made from them."""

    def one(site: Site, key: Array) -> tuple[Array, Array, Array]:
        k_truth, k_error = jax.random.split(key)
        posterior = Posterior(problem.model, problem.likelihood, site)
        u, found = find_start(k_truth, posterior)
        modelled = posterior.predict(u).modelled
        error = SD_LOG * jax.random.normal(k_error, modelled.shape)
        return u, jnp.where(site.measured.mask, modelled * jnp.exp(error), 1.0), found

    keys = chain_keys(12345, names, 1)[:, 0]
    truth, carbon, found = jax.jit(jax.vmap(one))(sites, keys)
    if not (np.isfinite(found).all() and (np.asarray(carbon) > 0.0).all()):
        raise ModelError(
            f"{problem.model.name}: no profile could be made at some columns, because there is no "
            "steady state with carbon in its layers for any of many draws from the prior."
        )
    return np.asarray(truth), eqx.tree_at(lambda s: s.measured.carbon, sites, carbon)
