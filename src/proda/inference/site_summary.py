"""The summary of each site's draws: moments, diagnostics, fit, model choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

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
from proda.threads import one_thread_jit

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


@one_thread_jit
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
    more: Mapping[str, Any] | None = None,
    known: convergence.Convergence | None = None,
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
    more
        Further variables of the sampler's own, as `xarray.Dataset` takes them.
    known
        Convergence of the draws, if the sampler has judged them.

    Returns
    -------
    Dataset with the dimensions site, chain, draw, parameter, row for measured layers, and
    row_STREAM for the values of each stream.
    """
    n, n_chains, n_draws, d = u.shape
    mask = np.asarray(sites.measured.mask)[:n]
    reason = _reasons(u, log_likelihood, mask)
    sampled = (reason == SiteReason.SAMPLED)[:, None]
    filled = np.where(sampled[..., None, None], _carry_on(u), 0.5)
    n_samples = n_chains * n_draws
    predicted, age = _predict_with_mean(problem, sites, filled.reshape(n, n_samples, d))
    # The mean of parameters with a steady state may have none itself.
    defined = (predicted.reason[:, n_samples] == 0)[:, None]
    at_mean = np.where(defined, predicted.modelled[:, n_samples], np.nan)
    pointwise = np.asarray(predicted.pointwise[:, :n_samples])
    safe = np.where(sampled[..., None], predicted.modelled[:, :n_samples], 1.0)
    middle = safe.mean(axis=1)

    rows = sampled_rows(problem.model, problem.likelihood, problem.streams)
    lower = np.array([row.lower for row in rows])
    width = np.array([row.upper - row.lower for row in rows])
    data = _of_draws(lower + filled * width, log_likelihood, acceptance, log_evidence, sampled)
    data |= {"reason": ("site", reason), "n_layers": ("site", mask.sum(axis=1))}
    data |= _of_parameters(filled, lower, width, sampled, known or convergence.convergence(filled))
    observed = np.asarray(sites.measured.carbon)[:n]
    data |= _of_fit(middle, at_mean, observed, mask, pointwise, sampled)
    fitted = problem.likelihood.density and CARBON not in problem.held_out
    if fitted and n_samples >= model_choice.MIN_SAMPLES:
        data |= _of_model_choice(data["ess_bulk"][1], pointwise, mask, sampled)
    of_layers = np.where(sampled, np.quantile(safe, QUANTILES, axis=1), np.nan)
    data |= _by_row(profiles, mask, np.where(sampled, middle, np.nan), of_layers)
    for table in tables:
        used = np.asarray(sites.streams[table.stream.name].mask)[:n] & sampled
        own = np.asarray(predicted.streams[table.stream.name][0])[:, :n_samples]
        own = np.where(sampled[..., None], own, np.nan)
        data |= _of_stream(table, profiles.site, used, own)
    if age is not None:
        old = np.quantile(age[:, :n_samples], QUANTILES, axis=1).T
        data["mean_age_0_100_quantile"] = (("site", "quantile"), np.where(sampled, old, np.nan))
    coords = _coordinates(profiles, n_chains, n_draws, [row.name for row in rows])
    return xr.Dataset(data | dict(more or {}), coords=coords)


def _coordinates(
    profiles: Profiles, n_chains: int, n_draws: int, parameters: list[str]
) -> dict[str, Any]:
    return {
        "site": profiles.site,
        "chain": np.arange(n_chains),
        "draw": np.arange(n_draws),
        "parameter": parameters,
        "quantile": list(QUANTILES),
        "latitude": ("site", profiles.latitude),
        "longitude": ("site", profiles.longitude),
    }


def _predict_with_mean(
    problem: SamplingProblem, sites: Site, samples: np.ndarray
) -> tuple[Prediction, Any]:
    """Return the results of `predict` for all samples (site, sample, parameter), then their mean.

    Further samples, which fill the last batch, follow at the end.
    """
    padded = sites.measured.mask.shape[0]
    together = _TOGETHER_ALONE if padded == 1 else _TOGETHER
    asked = np.concatenate([samples, samples.mean(axis=1, keepdims=True)], axis=1)
    extra = (padded - len(samples), -asked.shape[1] % together)
    asked = np.pad(asked, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="edge")
    predicted = predict(problem, sites, jnp.asarray(asked))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(samples)], predicted)


def _of_draws(
    physical: np.ndarray,
    log_likelihood: np.ndarray,
    acceptance: np.ndarray,
    log_evidence: np.ndarray,
    sampled: np.ndarray,
) -> dict[str, Any]:
    """Draws in physical units (site, chain, draw, parameter), and what describes their chains."""
    physical = np.where(sampled[..., None, None], physical, np.nan)
    likelihoods = _carry_on(log_likelihood[..., None])[..., 0]
    likelihoods = np.where(sampled[..., None], likelihoods, np.nan)
    return {
        "posterior": (("site", "chain", "draw", "parameter"), physical.astype(np.float32)),
        "log_likelihood": (("site", "chain", "draw"), likelihoods.astype(np.float32)),
        "acceptance": (("site", "chain"), acceptance),
        "log_evidence": (("site", "chain"), np.where(sampled, log_evidence, np.nan)),
    }


def _of_parameters(
    u: np.ndarray,
    lower: np.ndarray,
    width: np.ndarray,
    sampled: np.ndarray,
    chains: convergence.Convergence,
) -> dict[str, Any]:
    """Moments, quantiles and diagnostics of each parameter, from draws in the unit box."""
    n, n_chains, n_draws, d = u.shape
    samples = u.reshape(n, n_chains * n_draws, d)
    physical = (lower + samples * width).reshape(u.shape)
    quantile = lower + width * np.moveaxis(np.quantile(samples, QUANTILES, axis=1), 0, 1)
    values = {
        "posterior_mean": physical.mean(axis=(1, 2)),
        "posterior_sd": physical.std(axis=(1, 2), ddof=1),
        "posterior_quantile": quantile,
        "gelman_rubin": convergence.gelman_rubin(u),
        **chains._asdict(),
        "spread_reduction": information.spread_reduction(u),
        "information_gain": information.information_gain(u),
    }
    quantiles = ("site", "quantile", "parameter")
    return {
        name: (quantiles, np.where(sampled[..., None], value, np.nan))
        if name == "posterior_quantile"
        else (("site", "parameter"), np.where(sampled, value, np.nan))
        for name, value in values.items()
    }


def _of_fit(
    middle: np.ndarray,
    at_mean: np.ndarray,
    observed: np.ndarray,
    mask: np.ndarray,
    pointwise: np.ndarray,
    sampled: np.ndarray,
) -> dict[str, Any]:
    """Fit of the mean modelled layers (site, layer) to the measured ones."""
    total = np.where(sampled, pointwise.sum(axis=2), 0.0)
    values = {
        "nash_sutcliffe": fit.nash_sutcliffe(middle, observed, mask),
        "nash_sutcliffe_mean_parameters": _where_finite(
            fit.nash_sutcliffe, at_mean, observed, mask
        ),
        "rmse": fit.rmse(middle, observed, mask),
        "mean_log_likelihood": total.mean(axis=1),
    }
    return _per_site(values, sampled)


def _of_model_choice(
    bulk: np.ndarray, pointwise: np.ndarray, mask: np.ndarray, sampled: np.ndarray
) -> dict[str, Any]:
    """PSIS-LOO and WAIC, from the log-density of each layer (site, sample, layer).

    `bulk` holds the effective sample sizes (site, parameter), NaN at sites without a posterior.
    """
    n_samples = pointwise.shape[1]
    points = np.where(sampled[..., None], pointwise, 0.0)
    with np.errstate(invalid="ignore"):
        efficiency = np.clip(bulk.mean(axis=1) / n_samples, 1.0 / n_samples, 1.0)
    efficiency = np.where(np.isfinite(efficiency), efficiency, 1.0)
    loo = model_choice.psis_loo(points, mask, efficiency)
    waic = model_choice.waic(points, mask)
    values = {
        "elpd_loo": loo.elpd,
        "p_loo": loo.p_loo,
        "pareto_k": loo.pareto_k,
        "elpd_waic": waic.elpd,
        "p_waic": waic.p_waic,
    }
    return _per_site(values, sampled)


def _per_site(values: dict[str, np.ndarray], sampled: np.ndarray) -> dict[str, Any]:
    return {name: ("site", np.where(sampled[:, 0], v, np.nan)) for name, v in values.items()}


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
