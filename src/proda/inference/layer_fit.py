"""The fit of the layers of a run's sites, and the coverage of their intervals."""

from __future__ import annotations

import numpy as np

from proda.inference.assessment import Assessment
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.diagnostics.fit import log_r2, rmse
from proda.inference.diagnostics.predictive import predictive_probability
from proda.inference.problem import build_likelihood

LEVELS = (0.5, 0.9)
"""Probabilities of the central intervals whose coverage is counted."""


def error_sd(assessment: Assessment) -> np.ndarray | None:
    """Return the sd of a layer's log-normal error (natural logarithms) at each site, or None.

    Where it was sampled, its posterior mean. None for likelihoods without an error model.
    """
    settings = AssimilationSettings.model_validate_json(assessment.summary.attrs["settings"])
    if not build_likelihood(settings).density:
        return None
    if settings.error_sd == "estimate":
        return assessment.summary["posterior_mean"].sel(parameter="error_sd").to_numpy()
    return np.full(assessment.summary.sizes["site"], settings.error_sd)


def layer_fit(assessment: Assessment, sites: np.ndarray) -> dict[str, float]:
    """Return the fit of the layers of some sites by the posterior mean and its intervals.

    Parameters
    ----------
    assessment
        The assessment of a run.
    sites
        Sites to use, (site,) of bool; those without a posterior are never used.

    Returns
    -------
    `layers` (their number), `no_logarithm` (of them, those modelled or measured as 0: left out of
    what follows it, but not of rmse), `rmse` (g m-3), `log_r2`; the share of measured layers in
    the central 50 and 90 % interval of the posterior of the modelled mean, `posterior_50` and
    `posterior_90`, and of the posterior predictive, which adds the log-normal error,
    `predictive_50` and `predictive_90` (NaN where the likelihood has no error model).
    """
    summary = assessment.summary
    of_row = assessment.row_site
    used = summary["row_used"].to_numpy().astype(bool) & (sites & assessment.sampled)[of_row]
    observed, modelled = summary["row_observed"].to_numpy(), summary["row_modelled"].to_numpy()
    quantile = summary["row_quantile"].transpose("quantile", "row").sortby("quantile")
    levels = quantile["quantile"].to_numpy()
    with np.errstate(invalid="ignore"):
        fine = used & (observed > 0) & (quantile.to_numpy()[0] > 0)
    result = {
        "layers": float(used.sum()),
        "no_logarithm": float((used & ~fine).sum()),
        "rmse": float(rmse(modelled, observed, used)),
        "log_r2": log_r2(modelled, observed, fine),
    }
    o, q, sd = observed[fine], quantile.to_numpy()[:, fine], error_sd(assessment)
    if sd is not None and len(o):
        probability = predictive_probability(q, levels, o, sd[of_row[fine]])
    else:
        probability = np.full(len(o), np.nan)
    for level in LEVELS:
        low, high = (1.0 - level) / 2.0, (1.0 + level) / 2.0
        i, j = (int(np.argmin(np.abs(levels - end))) for end in (low, high))
        inside = (q[i] <= o) & (o <= q[j])
        result[f"posterior_{100 * level:.0f}"] = inside.mean() if len(o) else np.nan
        within = np.where(np.isnan(probability), np.nan, np.abs(probability - 0.5) <= level / 2.0)
        result[f"predictive_{100 * level:.0f}"] = within.mean() if len(o) else np.nan
    return result
