"""The land cells of a regular grid as one list, their forcing, and the way back to the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from proda import files
from proda.drivers.grids import STATUS, cell_area, cell_measures, standard_grid
from proda.errors import ForcingError
from proda.forcing import FORCING_VARIABLES, SITE_PROPERTIES, Forcing

OUTSIDE_LAND = {code for code, name in STATUS.items() if name == "outside_land"}


@dataclass(frozen=True, eq=False)
class LandCells:
    """Cells that have forcing, as a list in row-major order of the grid.

    `row` and `column` are positions on `lat` and `lon`; position in the list is what `cells` means
    everywhere else in this package.
    """

    dataset: xr.Dataset
    """Forcing on the grid, lazy or in memory."""
    lat: Float[np.ndarray, " lat"]
    lon: Float[np.ndarray, " lon"]
    row: Int[np.ndarray, " cell"]
    column: Int[np.ndarray, " cell"]
    status: Int[np.ndarray, "lat lon"]
    area: Float[np.ndarray, "lat lon"]
    """Area of the cell, km2."""
    land_fraction: Float[np.ndarray, "lat lon"]
    """Share of the cell that is land."""
    land_fraction_given: bool
    """Whether the forcing holds land fractions; otherwise every cell counts as all land."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def latitude(self) -> Float[np.ndarray, " cell"]:
        """Degrees north of each cell's centre."""
        return self.lat[self.row]

    @property
    def longitude(self) -> Float[np.ndarray, " cell"]:
        """Degrees east of each cell's centre."""
        return self.lon[self.column]

    @property
    def land_area(self) -> Float[np.ndarray, " cell"]:
        """Area of land of each cell, km2."""
        return (self.area * self.land_fraction)[self.row, self.column]

    def on_grid(self, values: Float[np.ndarray, "cell *rest"]) -> np.ndarray:
        """Return values of all cells on the grid, (lat, lon, ...); NaN where there is no cell."""
        full = np.full((len(self.lat), len(self.lon), *values.shape[1:]), np.nan, values.dtype)
        full[self.row, self.column] = values
        return full

    def chunks(self, size: int) -> list[Int[np.ndarray, " n"]]:
        """Split the list into parts of at most `size` cells that lie together in the store.

        Ordered by the blocks in which the forcing is stored, so that a block is read once or twice
        and not once for each row of a fine grid.
        """
        rows, columns = self._stored
        order = np.lexsort((self.column, self.row, self.column // columns, self.row // rows))
        return [order[start : start + size] for start in range(0, len(order), size)]

    @property
    def _stored(self) -> tuple[int, int]:
        """Rows and columns of a stored block, or of the whole grid if it is in memory."""
        chunks = self.dataset["soil_temperature"].chunksizes
        return tuple(
            int(chunks[name][0]) if name in chunks else len(axis)
            for name, axis in (("lat", self.lat), ("lon", self.lon))
        )  # type: ignore[return-value]

    def _slabs(self, cells: Int[np.ndarray, " n"]) -> Iterator[np.ndarray]:
        """Split positions within `cells` by the stored block they lie in."""
        rows, columns = self._stored
        block = self.row[cells] // rows * (len(self.lon) // columns + 1)
        block = block + self.column[cells] // columns
        order = np.argsort(block, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(block[order])) + 1)

    def forcing(self, cells: Int[np.ndarray, " n"]) -> Forcing:
        """Read the forcing of some cells, in the order given; only their blocks are loaded.

        Raises
        ------
        FileError
            If the store is damaged.
        ForcingError
            If a value is missing or out of range, naming the cell.
        """
        where = str(self.dataset.encoding.get("source", "the forcing on the grid"))
        names = [v.name for v in FORCING_VARIABLES]
        names += [v.name for v in SITE_PROPERTIES if v.name in self.dataset]
        parts: dict[str, np.ndarray] = {}
        for within in self._slabs(cells):
            row, column = self.row[cells[within]], self.column[cells[within]]
            top, left = int(row.min()), int(column.min())
            slab = self.dataset[names].isel(
                lat=slice(top, int(row.max()) + 1), lon=slice(left, int(column.max()) + 1)
            )
            slab = files.load(slab, where)
            for name in names:
                data = slab[name].transpose("lat", "lon", *_inner(slab[name])).to_numpy()
                if name not in parts:
                    parts[name] = np.empty((len(cells), *data.shape[2:]))
                parts[name][within] = data[row - top, column - left]
        one = self.dataset[names].isel(lat=0, lon=0)
        variables = {
            name: (("site", *_inner(self.dataset[name])), values, self.dataset[name].attrs)
            for name, values in parts.items()
        }
        coords = {n: one[n] for n in ("layer", "month", "litter", "depth") if n in one.coords}
        place = [
            f"{abs(lat):g}{'N' if lat >= 0 else 'S'} {abs(lon):g}{'E' if lon >= 0 else 'W'}"
            for lat, lon in zip(self.latitude[cells], self.longitude[cells], strict=True)
        ]
        dataset = xr.Dataset(variables, coords=coords, attrs=self.dataset.attrs)
        return Forcing.from_dataset(dataset.assign_coords(site=np.array(place)))


def _inner(data: xr.DataArray) -> list[str]:
    """Dimensions apart from the grid's, in the registry's order."""
    return [d for d in ("layer", "month", "litter") if d in data.dims]


def land_cells(forcing: xr.Dataset) -> LandCells:
    """List the cells of a grid that have forcing (`status` 0), in row-major order.

    Parameters
    ----------
    forcing
        As `proda forcing` writes it: the forcing variables on (lat, lon, ...), `status`, and
        `cell_area` (km2) and `land_fraction` where known.

    Raises
    ------
    ForcingError
        If there is no regular grid, no `status`, no usable cell, or a land fraction out of 0-1.
    """
    dataset = standard_grid(forcing, "forcing")
    dataset.encoding.update(forcing.encoding)
    if missing := [v.name for v in FORCING_VARIABLES if v.name not in dataset]:
        raise ForcingError(f"The forcing on the grid lacks {', '.join(missing)}.")
    if "status" not in dataset:
        raise ForcingError("The forcing on the grid has no variable `status` (0 = usable).")
    status = dataset["status"].transpose("lat", "lon").to_numpy()
    row, column = np.nonzero(status == 0)
    if len(row) == 0:
        raise ForcingError("No cell of the forcing on the grid is usable (status 0).")
    where = str(forcing.encoding.get("source", "the forcing on the grid"))
    measures = cell_measures(
        dataset[[n for n in ("cell_area", "land_fraction") if n in dataset]], where
    )
    dataset = dataset.assign({str(n): v for n, v in measures.data_vars.items()})
    lat, lon = (dataset[n].to_numpy().astype(np.float64) for n in ("lat", "lon"))
    if "cell_area" in dataset:
        area = dataset["cell_area"].transpose("lat", "lon").to_numpy().astype(np.float64)
    else:
        area = cell_area(lat, lon)
    given = "land_fraction" in dataset
    fraction = (
        dataset["land_fraction"].transpose("lat", "lon").to_numpy().astype(np.float64)
        if given
        else np.ones_like(area)
    )
    for name, values, upper in (("cell_area", area, np.inf), ("land_fraction", fraction, 1.0)):
        here = values[row, column]
        wrong = ~((here >= 0) & (here <= upper))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ForcingError(
                f"{name} is {here[i]:g} at {lat[row[i]]:g} N {lon[column[i]]:g} E "
                f"({int(wrong.sum()):,} such cells); expected 0 to {upper:g}."
            )
    return LandCells(dataset, lat, lon, row, column, status, area, fraction, given)
