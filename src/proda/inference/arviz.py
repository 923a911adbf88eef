"""Posteriors in the layout of ArviZ: one group per kind of variable, (chain, draw) first.

`arviz.from_netcdf` of ArviZ 0.x opens the netCDF file as InferenceData, and `xarray.open_datatree`
opens it as the DataTree that ArviZ 1.x uses. ArviZ itself is not needed to write it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from proda.errors import AssimilationError
from proda.files import whole_netcdf
from proda.inference.assimilation_run import open_posterior
from proda.inference.site_summary import SiteReason
from proda.models.outside import ORIGIN
from proda.models.registry import load_recorded

OBSERVED = "soil_carbon"
_OF_SITES = ("latitude", "longitude", "nash_sutcliffe", "elpd_loo", "p_loo", "pareto_k")
_OF_LAYERS = {
    "row_upper": "upper_depth",
    "row_lower": "lower_depth",
    "row_site": "row_site",
    "row_modelled": "modelled_mean",
}


_ORDER = ("chain", "draw", "site")


def to_datatree(
    draws: xr.Dataset, summary: xr.Dataset, sites: Sequence[str] | None = None, thin: int = 1
) -> xr.DataTree:
    """Return posteriors in the layout of ArviZ.

    Parameters
    ----------
    draws, summary
        From :func:`proda.inference.assimilation_run.open_posterior`.
    sites
        Names of the sites, in this order; by default all that have a posterior.
    thin
        Use every n-th draw.

    Returns
    -------
    DataTree with the groups `posterior` (one variable per parameter, in its own unit),
    `sample_stats` (`lp`: the log-likelihood, to which the uniform priors add a constant), both
    (chain, draw, site); `observed_data` (`soil_carbon` of the fitted layers, g m-3) and
    `constant_data` (depths and sites of these layers; fit and PSIS-LOO of the sites). The run does
    not store the log-likelihood of each layer and draw, so there is no group `log_likelihood`.

    Raises
    ------
    AssimilationError
        If a site does not belong to the run, or has no posterior.
    """
    if thin < 1:
        raise AssimilationError(f"thin = {thin}; expected 1 or more.")
    index = _sampled_sites(summary, sites)
    summary = summary.isel(site=index)
    chosen = draws.isel(site=index, draw=slice(None, None, thin)).load()
    site = summary["site"].to_numpy().astype(str)
    axes = {
        "chain": np.arange(chosen.sizes["chain"]),
        "draw": np.arange(chosen.sizes["draw"]),
        "site": site,
    }
    rows = _rows_of(summary, site)
    layer = {"row": np.arange(rows.sizes["row"])}
    observed = {
        OBSERVED: (
            "row",
            rows["row_observed"].to_numpy(),
            {"units": "g m-3", "long_name": "measured carbon"},
        )
    }
    constant = _of_layers_and_sites(rows, summary)
    groups = {
        "posterior": xr.Dataset(_parameters(chosen["posterior"], summary), axes),
        "sample_stats": xr.Dataset(_statistics(chosen), axes),
        "observed_data": xr.Dataset(observed, layer),
        "constant_data": xr.Dataset(constant, layer | {"site": site}),
    }
    about = _about(summary)
    tree = xr.DataTree.from_dict({n: g.assign_attrs(about) for n, g in groups.items()})
    tree.attrs = about
    return tree


def _parameters(posterior: xr.DataArray, summary: xr.Dataset) -> dict[str, Any]:
    """Return one variable for each parameter, in its own unit."""
    model = load_recorded(summary.attrs, "this posterior")
    meanings = {row.name: row.meaning for row in model.rows}
    return {
        name: (
            _ORDER,
            posterior.isel(parameter=i).transpose(*_ORDER).to_numpy(),
            {
                "units": str(summary["unit"].to_numpy()[i]),
                "long_name": meanings.get(
                    name, "standard deviation of a layer's error, in logarithms"
                ),
                "prior_lower": float(summary["lower"][i]),
                "prior_upper": float(summary["upper"][i]),
            },
        )
        for i, name in enumerate(summary["parameter"].to_numpy().astype(str))
    }


def _statistics(draws: xr.Dataset) -> dict[str, Any]:
    """Return the log-likelihood of each draw, if the run has stored it."""
    if "log_likelihood" not in draws:
        return {}
    values = draws["log_likelihood"].transpose(*_ORDER).to_numpy()
    attrs = {"units": "1", "long_name": "log-likelihood of all layers of the site"}
    return {"lp": (_ORDER, values, attrs)}


def _of_layers_and_sites(rows: xr.Dataset, summary: xr.Dataset) -> dict[str, Any]:
    """Return depths and sites of the layers, and fit and PSIS-LOO of the sites."""
    return {
        new: ("row", _text(rows[old].to_numpy()), rows[old].attrs)
        for old, new in _OF_LAYERS.items()
    } | {
        name: ("site", summary[name].to_numpy(), summary[name].attrs)
        for name in _OF_SITES
        if name in summary
    }


def _about(summary: xr.Dataset) -> dict[str, str]:
    about = {
        "created_at": datetime.now(UTC).isoformat(),
        "inference_library": "proda",
        "inference_library_version": str(summary.attrs.get("proda_version", "")),
    }
    kept = ("model", "variant", *ORIGIN, "settings", "is_posterior", "title")
    return about | {name: str(summary.attrs[name]) for name in kept if name in summary.attrs}


def write_arviz(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    sites: Sequence[str] | None = None,
    thin: int = 1,
) -> xr.DataTree:
    """Write the posteriors of a finished run as one netCDF file for ArviZ, and return them.

    Parameters
    ----------
    folder
        Folder of a finished `proda assimilate`.
    path
        File to write, completely or not at all.
    sites, thin
        As for :func:`to_datatree`.

    Raises
    ------
    FileError
        If the run is not finished, or the file cannot be written.
    AssimilationError
        If a site does not belong to the run, or has no posterior.
    """
    tree = to_datatree(*open_posterior(folder), sites, thin)
    encoding = {
        f"/{name}": {
            v: {"zlib": True, "complevel": 4}
            for v in group.data_vars
            if group.data_vars[v].dtype.kind == "f"
        }
        for name, group in tree.children.items()
    }
    with whole_netcdf(path) as temporary:
        tree.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    return tree


def _sampled_sites(summary: xr.Dataset, sites: Sequence[str] | None) -> np.ndarray:
    """Return the positions of sites, by default of all that have a posterior."""
    names = summary["site"].to_numpy().astype(str)
    sampled = summary["reason"].to_numpy() == SiteReason.SAMPLED
    index = np.flatnonzero(sampled) if sites is None else _positions(names, sites)
    if lacking := [int(i) for i in index if not sampled[i]]:
        words = SiteReason(int(summary["reason"][lacking[0]])).words
        raise AssimilationError(
            f"Site {names[lacking[0]]} has no posterior: {words}. Leave it out "
            f"({len(lacking)} such sites were asked for)."
        )
    if not len(index):
        raise AssimilationError("No site of this run has a posterior; there is nothing to export.")
    return index


def _positions(names: np.ndarray, sites: Sequence[str]) -> np.ndarray:
    where = {name: i for i, name in enumerate(names)}
    if unknown := [s for s in sites if s not in where]:
        raise AssimilationError(
            f"{len(unknown)} of the sites are not part of this run, such as {unknown[0]}; its "
            "sites are "
            f"named like {names[0]}."
        )
    return np.array([where[s] for s in sites], int)


def _rows_of(summary: xr.Dataset, site: np.ndarray) -> xr.Dataset:
    """Return the fitted layers of the sites, in their order."""
    rows = summary[[n for n in summary.data_vars if str(n).startswith("row_")]]
    order = {name: i for i, name in enumerate(site)}
    place = np.array([order.get(s, -1) for s in rows["row_site"].to_numpy().astype(str)])
    used = (place >= 0) & rows["row_used"].to_numpy().astype(bool)
    return rows.isel(row=np.flatnonzero(used)[np.argsort(place[used], kind="stable")])


def _text(values: np.ndarray) -> np.ndarray:
    return values.astype(object) if values.dtype.kind in "UT" else values
