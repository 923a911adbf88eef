"""Michaelis constants over their substrates, which show if decay is of first order (P-Fig 5)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from proda import weighted
from proda.comparison.model_files import AFTER, OpenedModel
from proda.comparison.paper import MICHAELIS_RATIO
from proda.errors import ComparisonError
from proda.forcing import Forcing
from proda.maps.totals import land_area
from proda.models.model import Reason
from proda.models.registry import load_recorded
from proda.simulate import components

PREFIX = "michaelis_over_"
LAND, SITES = "land", "sites"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def ratios_at_sites(model: OpenedModel) -> xr.Dataset | None:
    """Return Michaelis constant over substrate at the kept sites, at the posterior means.

    The model is run at each site with the mean of its posterior, the paper's estimate of a site.

    Returns
    -------
    xarray.Dataset or None
        `michaelis_over_POOL` (site); None where summary or forcing was not
        given, no site is kept, or the model has no Michaelis constants.

    Raises
    ------
    ComparisonError
        If the forcing has none of the sites.
    """
    if model.summary is None or model.forcing is None or not pools_of(model):
        return None
    from proda.comparison.preference import kept_sites

    kept = kept_sites(model)
    place = pd.Index(model.forcing["site"].to_numpy().astype(str)).get_indexer(kept)
    if len(kept) == 0:
        return None
    if not (place >= 0).any():
        raise ComparisonError(
            f"None of the {len(kept)} kept sites of {model.name} is in its forcing; are the names "
            f"of the sites the same? ({kept[0]!r} is not there)"
        )
    kept, place = kept[place >= 0], place[place >= 0]
    soil = load_recorded(model.summary.attrs, f"the posterior of {model.name}")
    mean = model.summary["posterior_mean"].sel(site=kept)
    values = {row.name: mean.sel(parameter=row.name).to_numpy() for row in soil.rows}
    forcing = Forcing.from_dataset(model.forcing.isel(site=place))
    result = components(soil, values, forcing)
    fine = (result["reason"] == int(Reason.FEASIBLE)).to_numpy()
    names = [str(n) for n in result.data_vars if str(n).startswith(PREFIX)]
    return result[names].isel(site=fine)


def pools_of(model: OpenedModel) -> list[str]:
    """Return the substrates for which a model's map has a Michaelis constant."""
    one = next(iter(model.maps.values()))
    return [
        str(n).removeprefix(PREFIX)
        for n in one.data_vars
        if str(n).startswith(PREFIX) and not str(n).endswith(("_sd", "_q05", "_q95"))
    ]


def michaelis_table(
    models: Mapping[str, OpenedModel], at_sites: Mapping[str, xr.Dataset | None]
) -> pd.DataFrame:
    """Summarise the ratios over land (weighted by area) and over sites.

    Returns
    -------
    pandas.DataFrame
        `model`, `state`, `where` ("land" or "sites"), `substrate`, `n`, `share_over_100`, quantiles
        `q05` ... `q95`, and `median_error`: by how much the first-order rate would exceed the
        Michaelis-Menten rate, substrate over constant, as the median. Empty for models without
        Michaelis constants.
    """
    rows = []
    for name, model in models.items():
        for pool in pools_of(model):
            for state, dataset in model.maps.items():
                land = land_area(dataset).to_numpy()
                values = dataset[PREFIX + pool].transpose("lat", "lon").to_numpy()
                rows.append(
                    {
                        "model": name,
                        "state": state,
                        "where": LAND,
                        "substrate": pool,
                        **_described(values.ravel(), land.ravel()),
                    }
                )
            sites = at_sites.get(name)
            if sites is not None:
                values = sites[PREFIX + pool].to_numpy()
                rows.append(
                    {
                        "model": name,
                        "state": AFTER,
                        "where": SITES,
                        "substrate": pool,
                        **_described(values, np.ones(len(values))),
                    }
                )
    columns = [
        "model",
        "state",
        "where",
        "substrate",
        "n",
        "share_over_100",
        *(f"q{100 * q:02.0f}" for q in QUANTILES),
        "median_error",
    ]
    return pd.DataFrame(rows, columns=columns)


def _described(values: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    # Without substrate the ratio is infinite or 0/0 (reported as 0); both are left out because
    # neither is a measured ratio.
    fine = np.isfinite(values) & (values > 0) & (weights > 0)
    v, w = values[fine].astype(np.float64), weights[fine]
    if not len(v):
        return {"n": 0}
    quantiles = {f"q{100 * q:02.0f}": weighted.quantile(v, w, q) for q in QUANTILES}
    return {
        "n": len(v),
        "share_over_100": float(w[v > MICHAELIS_RATIO].sum() / w.sum()),
        **quantiles,
        "median_error": 1.0 / quantiles["q50"],
    }
