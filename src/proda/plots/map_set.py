"""The figures of one map or of several: maps, curves along latitude, against references."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from proda.errors import MapError
from proda.maps.map_comparison import on_same_grid
from proda.maps.map_variables import LOWER, RESIDUAL, STOCKS
from proda.maps.totals import by_latitude, land_area
from proda.plots.latitude import latitude_figure
from proda.plots.maps import map_figure
from proda.plots.scatter import density_scatter
from proda.plots.style import figure_folder, save

DRAWN = ("cSoilAbove1m", "cSoil", "residence_time", "litter_to_soil", "CTE", "K", "XI", "V", "B")
"""Variables of a map that have a figure each."""
_WORDS = {stock.name: stock.words for stock in STOCKS}

References = Mapping[tuple[str, str], xr.DataArray]


def draw_map(
    dataset: xr.Dataset,
    folder: str | os.PathLike[str],
    label: str,
    references: References | None = None,
) -> Iterator[Path]:
    """Draw a map's stocks and components, its latitudes, and references against it.

    Parameters
    ----------
    dataset
        A map.
    folder
        Folder, created if absent.
    label
        Name of the map in figures.
    references
        From :func:`proda.maps.reference_maps.reference_maps`.

    Yields
    ------
    pathlib.Path
        Each figure, once it is written.
    """
    target = figure_folder(folder)
    several = dataset.sizes["realization"] > 1
    # The residual is a separate product: a figure in addition to that of the model, never instead
    # of it.
    drawn = (*DRAWN, *(name + RESIDUAL for name in DRAWN))
    for name in drawn:
        if name in dataset:
            path = target / f"map_{name}.png"
            shown = name + LOWER in dataset or (several and f"{name}_sd" in dataset)
            save(map_figure(dataset, name, spread=shown), path)
            yield path
    yield from draw_latitudes({label: dataset}, target, references)
    for (stock, name), data in (references or {}).items():
        aligned = on_same_grid(data.rename(name), dataset)[name].transpose("lat", "lon")
        try:
            figure = density_scatter(
                aligned.to_numpy().astype(np.float64).ravel(),
                dataset[stock].transpose("lat", "lon").to_numpy().astype(np.float64).ravel(),
                land_area(dataset).to_numpy().ravel(),
                observed_label=f"{name}, {_WORDS[stock]} (kg m$^{{-2}}$)",
                predicted_label=f"{label}, {_WORDS[stock]} (kg m$^{{-2}}$)",
                what=f"{label}, {_WORDS[stock]}",
                weight_label="land (km²)",
            )
        except MapError as error:
            raise MapError(f"{name} against {label}: {error}") from error
        path = target / f"against_{name}.png"
        save(figure, path)
        yield path


def draw_latitudes(
    maps: Mapping[str, xr.Dataset],
    folder: str | os.PathLike[str],
    references: References | None = None,
) -> Iterator[Path]:
    """Draw the stocks of several maps along latitude, with references as dashed lines."""
    target = figure_folder(folder)
    first = next(iter(maps.values()))
    area = land_area(first)
    for stock in STOCKS:
        curves = {label: by_latitude(d[stock.name], land_area(d)) for label, d in maps.items()}
        beside = {}
        for (of, name), data in (references or {}).items():
            if of == stock.name:
                aligned = on_same_grid(data.rename(name), first)[name].where(area > 0)
                beside[name] = by_latitude(aligned, area)
        label = f"soil carbon, {stock.words} (kg m$^{{-2}}$)"
        path = target / f"latitude_{stock.name}.png"
        save(latitude_figure(curves, beside, label), path)
        yield path
