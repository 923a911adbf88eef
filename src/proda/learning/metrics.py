"""Agreement of modelled carbon with measured layers, pooled and site by site."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from proda.inference.diagnostics.fit import bias, by_site, log_r2, nash_sutcliffe, rmse
from proda.learning.conformal import LEAST


def skill_of_rows(
    modelled: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    site: Int[np.ndarray, " row"],
    feasible: Bool[np.ndarray, " site"],
) -> dict[str, float]:
    """Compare modelled with measured layers.

    Parameters
    ----------
    modelled, observed
        kg m-3; modelled is not used where `feasible` is False.
    site
        Position of each layer's site.
    feasible
        Which sites have a modelled answer.

    Returns
    -------
    dict
        `sites`, of which `lost` have no steady state; `layers` compared, of which `no_logarithm`
        are modelled below `LEAST` = 0.01 kg m-3 (for example as 0), which logarithms use instead.
        Pooled over layers: `nse`, `rmse` and `bias` (kg m-3), `log_r2`, `rmse_log`, `bias_log`
        (natural logarithms; R2 about the mean, so that bias reduces it). By site, lost ones counted
        as the worst: `site_nse` and `site_rmse_log` (medians; inf: half of the sites are lost) and
        `site_nse_positive` (share of sites with NSE above 0); sites with one layer here, or equal
        ones, have no NSE.
    """
    position, own = np.unique(site, return_inverse=True)
    ok = feasible[position][own]
    m, o = np.where(ok, modelled, 0.0), observed
    logs = np.log(np.where(ok, np.maximum(m, LEAST), 1.0)), np.log(np.where(ok, o, 1.0))
    several = int(ok.sum()) > 1
    nse, close = by_site(m, o, logs, own, ok, feasible[position])
    nan = float("nan")
    return {
        "sites": len(position),
        "lost": int((~feasible[position]).sum()),
        "layers": int(ok.sum()),
        "no_logarithm": int((ok & (m < LEAST)).sum()),
        "nse": float(nash_sutcliffe(m, o, ok)) if ok.any() else nan,
        "rmse": float(rmse(m, o, ok)),
        "bias": float(bias(m, o, ok)),
        "log_r2": log_r2(np.maximum(m, LEAST), o, ok) if several else nan,
        "rmse_log": float(rmse(*logs, ok)),
        "bias_log": float(bias(*logs, ok)),
        "site_nse": float(np.median(nse)) if nse.size else nan,
        "site_nse_positive": float((nse > 0).mean()) if nse.size else nan,
        "site_rmse_log": float(np.median(close)) if close.size else nan,
    }
