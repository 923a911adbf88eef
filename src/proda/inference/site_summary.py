"""From draws to what is kept of each site: moments, diagnostics, fit, model choice."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from proda.inference.diagnostics import convergence, fit, information, model_choice
from proda.inference.profiles import Profiles
from proda.inference.sampling import SamplingProblem
from proda.inference.target import Posterior, Prediction, Site, sampled_rows

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TOGETHER = 24
"""Draws of a site that are predicted at once."""


class SiteReason(IntEnum):
    """Why a site has no posterior."""

    SAMPLED = 0
    NO_START = 1
    """None of 500 draws of the prior has a steady state with carbon where it was measured."""
    NO_DATA = 2
    """No measured layer lies in the model's soil (all are in bedrock)."""
    STOOD_STILL = 3
    """A chain accepted no proposal at all."""

    @property
    def words(self) -> str:
        """The reason as a reader sees it."""
        return self.name.lower().replace("_", " ")


@eqx.filter_jit
def predict(problem: SamplingProblem, sites: Site, u: Any) -> Prediction:
    """Return what every draw says of the measured layers.

    Parameters
    ----------
    problem, sites
        As sampled.
    u
        (site, sample, parameter), with a multiple of 24 samples.
    """

    def one(u: Any, site: Site) -> Prediction:
        return Posterior(problem.model, problem.likelihood, site).predict(u)

    some = jax.vmap(jax.vmap(one, in_axes=(0, None)))
    n, samples, d = u.shape
    parts = jnp.swapaxes(u.reshape(n, samples // _TOGETHER, _TOGETHER, d), 0, 1)
    out = jax.lax.map(lambda part: some(part, sites), parts)
    return jax.tree.map(
        lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(n, samples, *leaf.shape[3:]), out
    )


def summarise(
    problem: SamplingProblem,
    profiles: Profiles,
    sites: Site,
    u: np.ndarray,
    log_likelihood: np.ndarray,
    acceptance: np.ndarray,
    log_evidence: np.ndarray,
) -> xr.Dataset:
    """Return what is kept of a batch of sites.

    Parameters
    ----------
    problem, profiles, sites
        As sampled; `sites` may be padded with further sites at its end.
    u
        Draws in the unit box, (site, chain, draw, parameter); NaN where a chain gave none.
    log_likelihood
        (site, chain, draw).
    acceptance
        Mean acceptance while draws were kept, (site, chain).
    log_evidence
        (site, chain).

    Returns
    -------
    Dataset with the dimensions site, chain, draw, parameter, and row for measured layers.
    """
    n, n_chains, n_draws, d = u.shape
    mask = np.asarray(sites.measured.mask)[:n]
    observed = np.asarray(sites.measured.carbon)[:n]
    reason = _reasons(u, log_likelihood, mask)
    sampled = (reason == SiteReason.SAMPLED)[:, None]
    filled = np.where(sampled[..., None, None], _carry_on(u), 0.5)

    samples = filled.reshape(n, n_chains * n_draws, d)
    modelled, at_mean, pointwise = _predicted(problem, sites, samples)
    safe = np.where(sampled[..., None], modelled, 1.0)
    middle = safe.mean(axis=1)

    rows = sampled_rows(problem.model, problem.likelihood)
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    physical = (lower + samples * width).reshape(n, n_chains, n_draws, d)

    def per_parameter(values: np.ndarray) -> tuple[tuple[str, str], np.ndarray]:
        return ("site", "parameter"), np.where(sampled, values, np.nan)

    def per_site(values: np.ndarray) -> tuple[tuple[str], np.ndarray]:
        return ("site",), np.where(sampled[:, 0], values, np.nan)

    quantile = lower + width * np.moveaxis(np.quantile(samples, QUANTILES, axis=1), 0, 1)
    of_layers = np.quantile(safe, QUANTILES, axis=1)
    bulk = convergence.ess_bulk(filled)
    data: dict[str, Any] = {
        "posterior": (
            ("site", "chain", "draw", "parameter"),
            np.where(sampled[..., None, None], physical, np.nan).astype(np.float32),
        ),
        "log_likelihood": (
            ("site", "chain", "draw"),
            np.where(
                sampled[..., None], _carry_on(log_likelihood[..., None])[..., 0], np.nan
            ).astype(np.float32),
        ),
        "acceptance": (("site", "chain"), acceptance),
        "log_evidence": (("site", "chain"), np.where(sampled, log_evidence, np.nan)),
        "reason": ("site", reason),
        "n_layers": ("site", mask.sum(axis=1)),
        "posterior_mean": per_parameter(physical.mean(axis=(1, 2))),
        "posterior_sd": per_parameter(physical.std(axis=(1, 2), ddof=1)),
        "posterior_quantile": (
            ("site", "quantile", "parameter"),
            np.where(sampled[..., None], quantile, np.nan),
        ),
        **{name: per_parameter(v) for name, v in _diagnosed(filled, bulk).items()},
        "nash_sutcliffe": per_site(fit.nash_sutcliffe(middle, observed, mask)),
        "nash_sutcliffe_mean_parameters": per_site(
            _where_finite(fit.nash_sutcliffe, at_mean, observed, mask)
        ),
        "rmse": per_site(fit.rmse(middle, observed, mask)),
        "mean_log_likelihood": per_site(np.where(sampled, pointwise.sum(axis=2), 0.0).mean(axis=1)),
    }
    if problem.likelihood.density and samples.shape[1] >= model_choice.MIN_SAMPLES:
        choice = _model_choice(np.where(sampled[..., None], pointwise, 0.0), mask, bulk)
        data |= {name: per_site(values) for name, values in choice.items()}
    data |= _by_row(
        profiles, mask, np.where(sampled, middle, np.nan), np.where(sampled, of_layers, np.nan)
    )
    return xr.Dataset(
        data,
        coords={
            "site": profiles.site,
            "chain": np.arange(n_chains),
            "draw": np.arange(n_draws),
            "parameter": [row.name for row in rows],
            "quantile": list(QUANTILES),
            "latitude": ("site", profiles.latitude),
            "longitude": ("site", profiles.longitude),
        },
    )


def _diagnosed(filled: np.ndarray, bulk: np.ndarray) -> dict[str, np.ndarray]:
    """Return convergence and information of each site and parameter."""
    return {
        "gelman_rubin": convergence.gelman_rubin(filled),
        "rank_rhat": convergence.rank_rhat(filled),
        "ess_bulk": bulk,
        "ess_tail": convergence.ess_tail(filled),
        "spread_reduction": information.spread_reduction(filled),
        "information_gain": information.information_gain(filled),
    }


def _predicted(
    problem: SamplingProblem, sites: Site, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return modelled carbon of all samples and at their mean, and the layers' log-likelihood."""
    n, n_samples = samples.shape[:2]
    padded = sites.measured.mask.shape[0]
    mean_u = samples.mean(axis=1, keepdims=True)
    asked = np.concatenate([samples, mean_u], axis=1)
    asked = np.pad(asked, ((0, padded - n), (0, -asked.shape[1] % _TOGETHER), (0, 0)), mode="edge")
    predicted = predict(problem, sites, jnp.asarray(asked))
    modelled = np.asarray(predicted.modelled)[:n, :n_samples]
    at_mean = np.asarray(predicted.modelled)[:n, n_samples]
    pointwise = np.asarray(predicted.pointwise)[:n, :n_samples]
    # The mean of possible parameters may itself be impossible.
    possible = np.asarray(predicted.reason)[:n, n_samples] == 0
    return modelled, np.where(possible[:, None], at_mean, np.nan), pointwise


def _model_choice(
    pointwise: np.ndarray, mask: np.ndarray, ess_bulk: np.ndarray
) -> dict[str, np.ndarray]:
    """Return PSIS-LOO and WAIC of each site."""
    n_samples = pointwise.shape[1]
    with np.errstate(invalid="ignore"):
        efficiency = np.clip(ess_bulk.mean(axis=1) / n_samples, 1.0 / n_samples, 1.0)
    efficiency = np.where(np.isfinite(efficiency), efficiency, 1.0)
    loo = model_choice.psis_loo(pointwise, mask, efficiency)
    waic = model_choice.waic(pointwise, mask)
    return {
        "elpd_loo": loo.elpd,
        "p_loo": loo.p_loo,
        "pareto_k": loo.pareto_k,
        "elpd_waic": waic.elpd,
        "p_waic": waic.p_waic,
    }


def join(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the sites of several batches, as `summarise` returns them, in one Dataset."""
    if len(parts) == 1:
        return parts[0]
    by_row = [name for name, value in parts[0].data_vars.items() if "row" in value.dims]
    along: dict[str, Any] = {
        "join": "exact",
        "coords": "minimal",
        "compat": "override",
        "data_vars": "minimal",
    }
    return xr.merge(
        [
            xr.concat([part.drop_vars(by_row) for part in parts], dim="site", **along),
            xr.concat([part[by_row] for part in parts], dim="row", **along),
        ],
        join="exact",
        compat="override",
    )


def _by_row(
    profiles: Profiles, mask: np.ndarray, mean: np.ndarray, quantiles: np.ndarray
) -> dict[str, Any]:
    """Measured and modelled layers, one row each, in the order of the sites."""
    counts = profiles.n_layers
    site = np.repeat(np.arange(len(profiles)), counts)
    place = np.arange(len(site)) - np.repeat(profiles.first[:-1], counts)
    return {
        "row_site": ("row", profiles.site[site]),
        "row_upper": ("row", profiles.upper),
        "row_lower": ("row", profiles.lower),
        "row_used": ("row", mask[site, place]),
        "row_observed": ("row", profiles.carbon),
        "row_modelled": ("row", np.where(mask[site, place], mean[site, place], np.nan)),
        "row_quantile": (
            ("quantile", "row"),
            np.where(mask[site, place], quantiles[:, site, place], np.nan),
        ),
    }


def _reasons(u: np.ndarray, log_likelihood: np.ndarray, mask: np.ndarray) -> np.ndarray:
    no_start = (log_likelihood == -np.inf).all(axis=2).any(axis=1)
    empty = np.isnan(u).any(axis=3).all(axis=2).any(axis=1)
    reason = np.where(empty, SiteReason.STOOD_STILL, SiteReason.SAMPLED)
    reason = np.where(no_start, SiteReason.NO_START, reason)
    return np.where(mask.any(axis=1), reason, SiteReason.NO_DATA).astype(np.int8)


def _carry_on(values: np.ndarray) -> np.ndarray:
    """Repeat the last draw where a chain gave none (only the published sampler's does that)."""
    missing = np.isnan(values).any(axis=-1)
    if not missing.any():
        return values
    draw = np.arange(values.shape[2])
    last = np.maximum.accumulate(np.where(missing, -1, draw), axis=2)
    first = np.argmin(missing, axis=2)[..., None]
    index = np.where(last < 0, first, last)
    return np.take_along_axis(values, index[..., None], axis=2)


def _where_finite(
    function: Any, modelled: np.ndarray, observed: np.ndarray, mask: np.ndarray
) -> Any:
    fine = np.isfinite(modelled).all(axis=1)
    result = function(np.where(fine[:, None], modelled, 1.0), observed, mask)
    return np.where(fine, result, np.nan)
