"""Maps of every member of an ensemble on a sample of the land, not only of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from proda.errors import MapError
from proda.maps.cells import LandCells
from proda.maps.map_settings import CHUNK
from proda.maps.map_variables import STOCKS, state_variables
from proda.maps.parameter_sources import Member, ParameterSource
from proda.maps.run_members import run_members
from proda.models.model import Reason, SoilModel
from proda.models.outside import provenance

SHARE_PREFIX = "share_"
"""Beginning of the names of parameters as shares of their prior range."""


def every_nth(cells: LandCells, n: int) -> LandCells:
    """Return the land cells in every n-th row and column of the grid, from the middle of the first.

    A systematic sample: cells keep their own land as weight, and means over it are those over all
    land but for the sampling error.

    Raises
    ------
    MapError
        If none is left.
    """
    if n < 1:
        raise MapError(f"Every {n}-th cell; give 1 (all cells) or more.")
    here = (cells.row % n == n // 2) & (cells.column % n == n // 2)
    if not here.any():
        raise MapError(f"Of {len(cells):,} land cells, none is left by taking every {n}-th.")
    return replace(cells, row=cells.row[here], column=cells.column[here])


def member_fields(
    model: SoilModel, sources: Sequence[ParameterSource], cells: LandCells, names: Sequence[str]
) -> xr.Dataset:
    """Run every member at some cells and keep each one's answer.

    Parameters
    ----------
    model, sources
        What to run, and where parameters come from; the members of all sources, in their order.
    cells
        Cells, such as :func:`every_nth` picks.
    names
        Stocks and components to keep (:func:`proda.maps.map_variables.state_variables`).

    Returns
    -------
    xarray.Dataset
        `names` and `share_PARAMETER` (share of the prior range; the mean over layers where it
        differs between them) on (refit, cell), NaN where a member has no answer; `lat`, `lon`,
        `land` (km2) on cell.
    """
    parts = []
    for start in range(0, len(cells), CHUNK):
        index = np.arange(start, min(start + CHUNK, len(cells)))
        forcing = cells.forcing(index)
        given = [source.at(model, index, forcing, "physical") for source in sources]
        members = [member for some, _ in given for member in some]
        known = np.concatenate([there for _, there in given])
        fields = run_members(model, members, forcing)
        fine = known & (fields["reason"] == Reason.FEASIBLE)
        here = {name: np.where(fine, fields[name], np.nan) for name in names}
        parts.append(here | _shares(model, members, known))
    stocks = {stock.name for stock in STOCKS}
    units = {v.name: v.unit for v in state_variables([n for n in names if n not in stocks])}
    meanings = {row.name: row.meaning for row in model.rows}
    data = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts], axis=1)
        parameter = name.removeprefix(SHARE_PREFIX)
        attributes = {"units": units.get(name, "1")}
        if name.startswith(SHARE_PREFIX):
            attributes["long_name"] = f"{meanings[parameter]}, share of the prior range"
        data[name] = (("refit", "cell"), values, attributes)
    return xr.Dataset(
        data,
        {
            "lat": ("cell", cells.latitude),
            "lon": ("cell", cells.longitude),
            "land": ("cell", cells.land_area, {"units": "km2"}),
        },
        {"model": model.name, "variant": model.variant, **provenance(model)},
    )


def _shares(
    model: SoilModel, members: Sequence[Member], known: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the parameters of each member as shares of their prior range, (member, cell)."""
    shares = {}
    for row in model.rows:
        values = np.stack(
            [m[row.name].mean(axis=1) if m[row.name].ndim == 2 else m[row.name] for m in members]
        )
        shares[SHARE_PREFIX + row.name] = np.where(known, row.share(values), np.nan)
    return shares
