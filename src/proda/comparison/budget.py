"""Totals of soil carbon: models in every state, the paper, reference maps."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from proda.comparison.model_files import STOCK, OpenedModel, grid_of
from proda.comparison.paper import TOTALS
from proda.latitude import GLOBE
from proda.maps.map_comparison import compare
from proda.maps.map_variables import STOCKS
from proda.maps.totals import land_area, totals

_PREFIXES = {"soc_0_30": "soc_0_30", "soc_0_100": STOCK, "soc_0_200": "soc_0_200"}
"""Beginning of the names of reference maps: the depth, which the source follows."""


def references_of(dataset: xr.Dataset) -> dict[str, dict[str, xr.DataArray]]:
    """Return the reference stocks of a file: source -> stock -> map in kg m-2.

    Variables are named `soc_0_30_SOURCE`, `soc_0_100_SOURCE`, `soc_0_200_SOURCE`; others are not
    references (such as output of other models).
    """
    references: dict[str, dict[str, xr.DataArray]] = {}
    for name in map(str, dataset.data_vars):
        for prefix, stock in _PREFIXES.items():
            if name.startswith(f"{prefix}_"):
                references.setdefault(name.removeprefix(f"{prefix}_"), {})[stock] = dataset[name]
    return references


def totals_table(
    models: Mapping[str, OpenedModel], reference: xr.Dataset | None = None
) -> pd.DataFrame:
    """Return totals of all stocks and zones, Pg C.

    Returns
    -------
    pandas.DataFrame
        `source` (model, "paper: MODEL" or "reference: SOURCE"), `state`, `stock`, `zone`, `mean`,
        and for models `sd`, `q05`, `q95` over members, `land` (10^6 km2) and `answered` (share of
        it). References are summed over the land of the models' grid where they have a value.
    """
    parts = []
    for name, model in models.items():
        for state, dataset in model.maps.items():
            table = totals(dataset).reset_index()
            parts.append(table.assign(source=name, state=state))
    paper = [
        {"source": f"paper: {name}", "state": state, "stock": STOCK, "zone": GLOBE, "mean": total}
        for (name, state), total in TOTALS.items()
    ]
    parts.append(pd.DataFrame(paper))
    grid = grid_of(models)
    for source, stocks in references_of(
        reference if reference is not None else xr.Dataset()
    ).items():
        for stock, data in stocks.items():
            table = compare(data, data, _land_on(data, grid)).reset_index()
            parts.append(
                pd.DataFrame(
                    {
                        "source": f"reference: {source}",
                        "state": "measured",
                        "stock": stock,
                        "zone": table["zone"],
                        "mean": table["total"],
                        "land": table["land"],
                    }
                )
            )
    order = ["source", "state", "stock", "zone", "mean", "sd", "q05", "q95", "land", "answered"]
    return pd.concat(parts, ignore_index=True)[order]


def _land_on(data: xr.DataArray, grid: xr.Dataset) -> xr.DataArray:
    """Return the land of the models' grid on the axes of a reference on the same grid."""
    return land_area(grid).reindex(
        lat=data["lat"], lon=data["lon"], method="nearest", tolerance=0.01, fill_value=0.0
    )


def reference_table(models: Mapping[str, OpenedModel], reference: xr.Dataset) -> pd.DataFrame:
    """Compare every model and state with every reference, by zone.

    Returns
    -------
    pandas.DataFrame
        `source`, `stock`, `model`, `state`, then as :func:`proda.maps.map_comparison.compare`.
    """
    parts = []
    names = [s.name for s in STOCKS]
    for source, stocks in references_of(reference).items():
        for stock in (n for n in names if n in stocks):
            for name, model in models.items():
                for state, dataset in model.maps.items():
                    table = compare(dataset[stock], stocks[stock], land_area(dataset))
                    head = {"source": source, "stock": stock, "model": name, "state": state}
                    parts.append(table.reset_index().assign(**head))
    if not parts:
        return pd.DataFrame({"source": [], "stock": [], "model": [], "state": [], "zone": []})
    table = pd.concat(parts, ignore_index=True)
    first = ["source", "stock", "model", "state"]
    return table[[*first, *(c for c in table if c not in first)]]
