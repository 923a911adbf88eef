"""The summary of each site's draws: moments, diagnostics, fit, model choice."""

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
from proda.inference.target import Prediction, Site, sampled_rows
from proda.streams.stream import CARBON
from proda.streams.table import StreamTable

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TOGETHER = 24
"""Draws of a site that are predicted at a time, where there are many sites."""
_TOGETHER_ALONE = 312
"""The same of one site alone."""


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
        """The reason in words."""
        if self == SiteReason.STOOD_STILL:
            return "constant chain"
        return self.name.lower().replace("_", " ")


@eqx.filter_jit
def predict(problem: SamplingProblem, sites: Site, u: Any) -> tuple[Prediction, Any]:
    """Return the modelled value and the likelihood of the measured layers for every draw.

    With streams also the mean age of the carbon in 0-100 cm, years; otherwise None.

    Parameters
    ----------
    problem, sites
        As sampled.
    u
        (site, sample, parameter), with a multiple of 24 samples, or of 312 of a single site.
    """

    def one(u: Any, site: Site) -> tuple[Prediction, Any]:
        target = problem.target(site)
        return target.predict(u), target.mean_age(u) if problem.streams else None

    n, samples, d = u.shape
    if n == 1:  # its forcing is then not one of a batch, and is not copied for every draw
        site = jax.tree.map(lambda leaf: leaf[0], sites)
        parts = u.reshape(-1, _TOGETHER_ALONE, d)
        out = jax.lax.map(lambda part: jax.vmap(one, in_axes=(0, None))(part, site), parts)
        return jax.tree.map(lambda leaf: leaf.reshape(1, samples, *leaf.shape[2:]), out)
    some = jax.vmap(jax.vmap(one, in_axes=(0, None)))
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
    tables: Sequence[StreamTable] = (),
) -> xr.Dataset:
    """Return the summary of a batch of sites.

    Parameters
    ----------
    problem, profiles, sites
        As sampled; `sites` may be padded with further sites at its end.
    u
        Draws in the unit box, (site, chain, draw, parameter); NaN where a chain has none.
    log_likelihood
        (site, chain, draw).
    acceptance
        Mean acceptance while draws were kept, (site, chain).
    log_evidence
        (site, chain).
    tables
        Of the streams of `problem`, in their order.

    Returns
    -------
    Dataset with the dimensions site, chain, draw, parameter, row for measured layers, and
    row_STREAM for the values of each stream.
    """
    n, n_chains, n_draws, d = u.shape
    padded = sites.measured.mask.shape[0]
    mask = np.asarray(sites.measured.mask)[:n]
    observed = np.asarray(sites.measured.carbon)[:n]
    reason = _reasons(u, log_likelihood, mask)
    sampled = (reason == SiteReason.SAMPLED)[:, None]
    filled = np.where(sampled[..., None, None], _carry_on(u), 0.5)

    samples = filled.reshape(n, n_chains * n_draws, d)
    mean_u = samples.mean(axis=1, keepdims=True)
    asked = np.concatenate([samples, mean_u], axis=1)
    together = _TOGETHER_ALONE if padded == 1 else _TOGETHER
    asked = np.pad(asked, ((0, padded - n), (0, -asked.shape[1] % together), (0, 0)), mode="edge")
    told, age = predict(problem, sites, jnp.asarray(asked))
    n_samples = samples.shape[1]
    modelled = np.asarray(told.modelled)[:n, :n_samples]
    at_mean = np.asarray(told.modelled)[:n, n_samples]
    pointwise = np.asarray(told.pointwise)[:n, :n_samples]
    # The mean of parameters with a steady state may have none itself.
    at_mean = np.where((np.asarray(told.reason)[:n, n_samples] == 0)[:, None], at_mean, np.nan)
    safe = np.where(sampled[..., None], modelled, 1.0)
    middle = safe.mean(axis=1)

    rows = sampled_rows(problem.model, problem.likelihood, problem.streams)
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    physical = (lower + samples * width).reshape(n, n_chains, n_draws, d)

    def per_parameter(values: np.ndarray) -> tuple[tuple[str, str], np.ndarray]:
        return ("site", "parameter"), np.where(sampled, values, np.nan)

    def per_site(values: np.ndarray) -> tuple[tuple[str], np.ndarray]:
        return ("site",), np.where(sampled[:, 0], values, np.nan)

    quantile = lower + width * np.moveaxis(np.quantile(samples, QUANTILES, axis=1), 0, 1)
    of_layers = np.quantile(safe, QUANTILES, axis=1)
    bulk, tail = convergence.ess_bulk(filled), convergence.ess_tail(filled)
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
        "gelman_rubin": per_parameter(convergence.gelman_rubin(filled)),
        "rank_rhat": per_parameter(convergence.rank_rhat(filled)),
        "ess_bulk": per_parameter(bulk),
        "ess_tail": per_parameter(tail),
        "spread_reduction": per_parameter(information.spread_reduction(filled)),
        "information_gain": per_parameter(information.information_gain(filled)),
        "nash_sutcliffe": per_site(fit.nash_sutcliffe(middle, observed, mask)),
        "nash_sutcliffe_mean_parameters": per_site(
            _where_finite(fit.nash_sutcliffe, at_mean, observed, mask)
        ),
        "rmse": per_site(fit.rmse(middle, observed, mask)),
        "mean_log_likelihood": per_site(np.where(sampled, pointwise.sum(axis=2), 0.0).mean(axis=1)),
    }
    fitted = problem.likelihood.density and CARBON not in problem.held_out
    if fitted and n_samples >= model_choice.MIN_SAMPLES:
        points = np.where(sampled[..., None], pointwise, 0.0)
        with np.errstate(invalid="ignore"):
            efficiency = np.clip(bulk.mean(axis=1) / n_samples, 1.0 / n_samples, 1.0)
        efficiency = np.where(np.isfinite(efficiency), efficiency, 1.0)
        loo = model_choice.psis_loo(points, mask, efficiency)
        waic = model_choice.waic(points, mask)
        data |= {
            "elpd_loo": per_site(loo.elpd),
            "p_loo": per_site(loo.p_loo),
            "pareto_k": per_site(loo.pareto_k),
            "elpd_waic": per_site(waic.elpd),
            "p_waic": per_site(waic.p_waic),
        }
    data |= _by_row(
        profiles, mask, np.where(sampled, middle, np.nan), np.where(sampled, of_layers, np.nan)
    )
    for table in tables:
        data_of = sites.streams[table.stream.name]
        own = np.asarray(told.streams[table.stream.name][0])[:n, :n_samples]
        data |= _of_stream(
            table,
            profiles.site,
            np.asarray(data_of.mask)[:n] & sampled,
            np.where(sampled[..., None], own, np.nan),
        )
    if age is not None:
        old = np.quantile(np.asarray(age)[:n, :n_samples], QUANTILES, axis=1).T
        data["mean_age_0_100_quantile"] = (("site", "quantile"), np.where(sampled, old, np.nan))
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


def join(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the sites of several batches, as `summarise` returns them, in one Dataset."""
    if len(parts) == 1:
        return parts[0]
    dims = sorted({str(d) for part in parts for d in part.dims if str(d).startswith("row")})
    by_row = {
        dim: [name for name, value in parts[0].data_vars.items() if dim in value.dims]
        for dim in dims
    }
    every = [name for names in by_row.values() for name in names]
    along: dict[str, Any] = {
        "join": "exact",
        "coords": "minimal",
        "compat": "override",
        "data_vars": "minimal",
    }
    return xr.merge(
        [
            xr.concat([part.drop_vars(every) for part in parts], dim="site", **along),
            *(
                xr.concat([part[names] for part in parts], dim=dim, **along)
                for dim, names in by_row.items()
            ),
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


def _of_stream(
    table: StreamTable, names: np.ndarray, used: np.ndarray, modelled: np.ndarray
) -> dict[str, Any]:
    """Measured and modelled values of a stream, one row each, and how each site is met.

    Parameters
    ----------
    table
        Of the stream.
    names
        Of the sites.
    used
        Which values are fitted, (site, value).
    modelled
        (site, draw, value).
    """
    name, dim = table.stream.name, f"row_{table.stream.name}"
    of_site = {str(site): i for i, site in enumerate(names)}
    rows = table.rows[table.rows["site"].isin(of_site)]
    i = rows["site"].map(of_site).to_numpy(int)
    order = np.argsort(i, kind="stable")
    rows, i = rows.iloc[order], i[order]
    k = rows.groupby("site", sort=False).cumcount().to_numpy(int)
    fitted = used[i, k]
    drawn = np.where(fitted[:, None], modelled[i, :, k], np.nan)
    observed = rows["value"].to_numpy(float)
    mean = drawn.mean(axis=1)
    counts = np.bincount(i[fitted], minlength=len(names))
    squares = np.bincount(i[fitted], (mean - observed)[fitted] ** 2, minlength=len(names))
    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(squares / counts)
    quantile = np.full((len(QUANTILES), len(i)), np.nan)
    if fitted.any():
        quantile[:, fitted] = np.quantile(drawn[fitted], QUANTILES, axis=1)
    return {
        f"{dim}_site": (dim, rows["site"].to_numpy(str)),
        f"{dim}_upper": (dim, rows["upper"].to_numpy(float)),
        f"{dim}_lower": (dim, rows["lower"].to_numpy(float)),
        f"{dim}_year": (dim, rows["year"].to_numpy(float)),
        f"{dim}_used": (dim, fitted),
        f"{dim}_observed": (dim, observed, {"units": table.stream.unit}),
        f"{dim}_modelled": (dim, mean, {"units": table.stream.unit}),
        f"{dim}_quantile": (("quantile", dim), quantile, {"units": table.stream.unit}),
        f"n_{name}": ("site", counts),
        f"rmse_{name}": ("site", rmse, {"units": table.stream.unit}),
    }


def _reasons(u: np.ndarray, log_likelihood: np.ndarray, mask: np.ndarray) -> np.ndarray:
    no_start = (log_likelihood == -np.inf).all(axis=2).any(axis=1)
    empty = np.isnan(u).any(axis=3).all(axis=2).any(axis=1)
    reason = np.where(empty, SiteReason.STOOD_STILL, SiteReason.SAMPLED)
    reason = np.where(no_start, SiteReason.NO_START, reason)
    return np.where(mask.any(axis=1), reason, SiteReason.NO_DATA).astype(np.int8)


def _carry_on(values: np.ndarray) -> np.ndarray:
    """Repeat the last draw where a chain has none (with the published sampler only)."""
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
