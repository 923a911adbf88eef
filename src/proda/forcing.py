"""The drivers of soil columns (docs/theory.md#drivers-of-a-column), checked where they enter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from proda import units
from proda.errors import ForcingError
from proda.grid import CLM5_GRID, Grid

LITTER = ("CWD", "ML", "CL", "LL")
"""The pools that receive plant carbon: coarse woody debris, metabolic, cellulose, lignin litter."""

N_MONTHS = 12
SECONDS_PER_YEAR = 365 * 86400
"""CLM's calendar has 365 days."""


@dataclass(frozen=True)
class ForcingVariable:
    """One row of the forcing registry: name, dimensions, unit, accepted units, range, meaning.

    `accepted` maps a unit found in a file to (factor, offset) that bring it to `unit`.
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    lower: float
    upper: float
    long_name: str
    clm_name: str
    accepted: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_FRACTION = {"": (1.0, 0.0), "unitless": (1.0, 0.0), "%": (0.01, 0.0), "percent": (0.01, 0.0)}
_PER_CENT = {"percent": (1.0, 0.0), "1": (100.0, 0.0)}
_CELSIUS = {"degC": (1.0, 273.15), "celsius": (1.0, 273.15), "degrees_celsius": (1.0, 273.15)}
_METRE = {"meter": (1.0, 0.0), "metre": (1.0, 0.0), "cm": (0.01, 0.0)}
_COUNT = {"": (1.0, 0.0)}
_INPUT = {
    "gC m-2 yr-1": (1.0, 0.0),
    "g C m-2 yr-1": (1.0, 0.0),
    "gC/m^2/yr": (1.0, 0.0),
    "kg m-2 yr-1": (1000.0, 0.0),
    "g m-2 s-1": (float(SECONDS_PER_YEAR), 0.0),
    "gC m-2 s-1": (float(SECONDS_PER_YEAR), 0.0),
    "gC/m^2/s": (float(SECONDS_PER_YEAR), 0.0),
    "kg m-2 s-1": (1000.0 * SECONDS_PER_YEAR, 0.0),
}
_PROFILE = ("site", "layer", "month")

FORCING_VARIABLES: tuple[ForcingVariable, ...] = (
    ForcingVariable(
        "soil_temperature", _PROFILE, "K", 180.0, 350.0, "soil temperature", "TSOI", _CELSIUS
    ),
    ForcingVariable(
        "w_scalar", _PROFILE, "1", 0.0, 1.0, "water scalar of decomposition", "W_SCALAR", _FRACTION
    ),
    ForcingVariable(
        "o_scalar", _PROFILE, "1", 0.0, 1.0, "oxygen scalar of decomposition", "O_SCALAR", _FRACTION
    ),
    ForcingVariable(
        "n_scalar",
        _PROFILE,
        "1",
        0.0,
        1.0,
        "nitrogen scalar of litter decomposition",
        "FPI_vr",
        _FRACTION,
    ),
    ForcingVariable(
        "sand", ("site", "layer"), "%", 0.0, 100.0, "sand content", "CELLSAND", _PER_CENT
    ),
    ForcingVariable(
        "nbedrock", ("site",), "1", 1, 20, "number of soil layers above bedrock", "nbedrock", _COUNT
    ),
    ForcingVariable(
        "altmax",
        ("site", "month"),
        "m",
        0.0,
        1e3,
        "maximum active layer depth of this year",
        "ALTMAX",
        _METRE,
    ),
    ForcingVariable(
        "altmax_lastyear",
        ("site", "month"),
        "m",
        0.0,
        1e3,
        "maximum active layer depth of last year",
        "ALTMAX_LASTYEAR",
        _METRE,
    ),
    ForcingVariable(
        "litter_input",
        ("site", "litter"),
        "g m-2 yr-1",
        0.0,
        1e5,
        "annual carbon input to each litter pool",
        "NPP",
        _INPUT,
    ),
)
"""One row per forcing variable; reading, checking, writing and documentation all use it."""

_SOIL = ("site", "layer")

SITE_PROPERTIES: tuple[ForcingVariable, ...] = (
    ForcingVariable(
        "clay", _SOIL, "%", 0.0, 100.0, "clay, mass share of the fine earth", "", _PER_CENT
    ),
    ForcingVariable(
        "silt", _SOIL, "%", 0.0, 100.0, "silt, mass share of the fine earth", "", _PER_CENT
    ),
    ForcingVariable("ph", _SOIL, "1", 1.5, 12.0, "pH in water", "", _COUNT),
    ForcingVariable(
        "bulk_density",
        _SOIL,
        "kg m-3",
        10.0,
        2650.0,
        "bulk density of the fine earth",
        "",
        {"g cm-3": (1000.0, 0.0), "kg dm-3": (1000.0, 0.0), "t m-3": (1000.0, 0.0)},
    ),
    ForcingVariable("coarse", _SOIL, "%", 0.0, 100.0, "coarse fragments by volume", "", _PER_CENT),
)
"""Properties of the soil that only some models need: forcing may lack any; a model says in
`SoilModel.needs` which it cannot do without (docs/theory.md#drivers-of-a-column)."""


@dataclass(frozen=True, eq=False)
class Forcing:
    """Twenty-year mean drivers of many columns, one row per site.

    Build it with :meth:`from_dataset`, which checks everything; the arrays are then in the units
    of the registry :data:`FORCING_VARIABLES`.
    """

    soil_temperature: Float[np.ndarray, "site layer month"]
    w_scalar: Float[np.ndarray, "site layer month"]
    o_scalar: Float[np.ndarray, "site layer month"]
    n_scalar: Float[np.ndarray, "site layer month"]
    sand: Float[np.ndarray, "site layer"]
    nbedrock: Int[np.ndarray, " site"]
    altmax: Float[np.ndarray, "site month"]
    altmax_lastyear: Float[np.ndarray, "site month"]
    litter_input: Float[np.ndarray, "site litter"]
    site: np.ndarray
    """Names of the sites: numbers or strings, as in the file."""
    grid: Grid = CLM5_GRID
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further coordinates of the sites (latitude, longitude, ...), carried to every result."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Where the forcing comes from (`title`, `source`, `history`), carried to every result."""
    properties: Mapping[str, Float[np.ndarray, "site layer"]] = field(default_factory=dict)
    """Those of :data:`SITE_PROPERTIES` that are known."""

    def __len__(self) -> int:
        return len(self.site)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset, grid: Grid = CLM5_GRID) -> Forcing:
        """Check a Dataset and take the forcing out of it; other variables are left alone.

        Parameters
        ----------
        dataset
            Holds `soil_temperature, w_scalar, o_scalar, n_scalar` (site, layer, month), `sand`
            (site, layer), `nbedrock` (site), `altmax, altmax_lastyear` (site, month) and
            `litter_input` (site, litter), and may hold any of the :data:`SITE_PROPERTIES` (site,
            layer). Dimensions may come in any order; without `site` it is one column. A variable
            without a `units` attribute is taken to be in the unit of the registry; other known
            units are converted.
        grid
            The vertical grid that `layer` counts.

        Raises
        ------
        ForcingError
            Naming the variable and, for values, the first wrong site, place and value.

        Examples
        --------
        >>> import proda
        >>> forcing = proda.Forcing.from_dataset(proda.example_columns())
        >>> len(forcing)
        6
        """
        _refuse_missing(dataset)
        if "site" not in dataset.dims:
            dataset = dataset.expand_dims("site")
        if dataset.sizes["site"] == 0:
            raise ForcingError("The forcing holds no site.")
        sizes = {"layer": len(grid), "month": N_MONTHS, "litter": len(LITTER)}
        dataset = _in_order(dataset, grid)
        sites = dataset["site"].to_numpy()
        arrays: dict[str, np.ndarray] = {}
        known = [v for v in SITE_PROPERTIES if v.name in dataset]
        for variable in (*FORCING_VARIABLES, *known):
            array = _checked_shape(variable, dataset[variable.name], sizes)
            given = units.stated(dataset[variable.name].attrs, variable.unit)
            factor, offset = conversion(variable.name, variable.unit, variable.accepted, given)
            if (factor, offset) != (1.0, 0.0):
                array = array * factor + offset
            upper = len(grid) if variable.name == "nbedrock" else variable.upper
            _check_range(variable, array, sites, upper)
            arrays[variable.name] = array
        arrays["nbedrock"] = _whole_numbers(arrays["nbedrock"], sites)
        properties = {v.name: arrays.pop(v.name) for v in known}
        return cls(
            **arrays,
            site=sites,
            grid=grid,
            coords=_further_coordinates(dataset),
            attrs=dict(dataset.attrs),
            properties=properties,
        )

    def to_dataset(self) -> xr.Dataset:
        """Return a Dataset with CF attributes; `from_dataset` reads it back unchanged."""
        data = {
            v.name: (
                v.dims,
                getattr(self, v.name),
                {"units": v.unit, "long_name": v.long_name, "clm_name": v.clm_name},
            )
            for v in FORCING_VARIABLES
        }
        for v in SITE_PROPERTIES:
            if v.name in self.properties:
                attrs = {"units": v.unit, "long_name": v.long_name}
                data[v.name] = (v.dims, self.properties[v.name], attrs)
        depth = {
            "units": "m",
            "positive": "down",
            "standard_name": "depth",
            "long_name": "depth of the layer's node",
        }
        return xr.Dataset(
            data,
            coords={
                "site": self.site,
                "layer": np.arange(1, len(self.grid) + 1),
                "month": np.arange(1, N_MONTHS + 1),
                "litter": list(LITTER),
                "depth": ("layer", self.grid.node, depth),
                **{name: ("site", values) for name, values in self.coords.items()},
            },
            attrs={"Conventions": "CF-1.11", **self.attrs},
        )

    def select(self, index: slice | np.ndarray | list[int]) -> Forcing:
        """Return some of the sites, by position."""
        arrays = {v.name: getattr(self, v.name)[index] for v in FORCING_VARIABLES}
        coords = {name: values[index] for name, values in self.coords.items()}
        properties = {name: values[index] for name, values in self.properties.items()}
        return Forcing(
            **arrays,
            site=self.site[index],
            grid=self.grid,
            coords=coords,
            attrs=self.attrs,
            properties=properties,
        )

    def blocks(self, size: int) -> Iterator[Forcing]:
        """Split into parts of at most `size` sites, in order."""
        for start in range(0, len(self), size):
            yield self.select(slice(start, start + size))


def _refuse_missing(dataset: xr.Dataset) -> None:
    """Refuse a Dataset without all variables of the forcing."""
    if missing := [v.name for v in FORCING_VARIABLES if v.name not in dataset]:
        raise ForcingError(
            f"The forcing lacks {', '.join(missing)}. It has: "
            f"{', '.join(str(n) for n in dataset.data_vars) or 'no variables'}."
        )


def _in_order(dataset: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Bring litter pools, months and layers into our order where the file names them."""
    if "layer" in dataset.coords:
        layers = dataset["layer"].to_numpy()
        if layers.size == len(grid) and sorted(layers) != list(range(1, len(grid) + 1)):
            raise ForcingError(f"The layers are {layers.tolist()}; expected 1 to {len(grid)}.")
        dataset = dataset.sortby("layer")
    if "depth" in dataset.coords and dataset["depth"].dims == ("layer",):
        depth = dataset["depth"].to_numpy()
        if depth.size == len(grid) and not np.allclose(depth, grid.node, atol=5e-3):
            wrong = int(np.argmin(np.isclose(depth, grid.node, atol=5e-3)))
            raise ForcingError(
                f"The depth of layer {wrong + 1} is {depth[wrong]:g} m; expected "
                f"{grid.node[wrong]:g} m, with layers from the top down."
            )
    if "litter" in dataset.coords:
        named = [str(x) for x in dataset["litter"].to_numpy()]
        if sorted(named) != sorted(LITTER):
            raise ForcingError(
                f"The litter pools are {', '.join(named)}; expected {', '.join(LITTER)}."
            )
        dataset = dataset.isel(litter=[named.index(name) for name in LITTER])
    if "month" in dataset.coords:
        months = dataset["month"].to_numpy()
        if months.size == N_MONTHS and not np.array_equal(np.sort(months), np.arange(1, 13)):
            raise ForcingError(f"The months are {months.tolist()}; expected 1 to 12.")
        dataset = dataset.sortby("month")
    return dataset


def _further_coordinates(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the coordinates of the sites other than their names."""
    return {
        str(name): coordinate.to_numpy()
        for name, coordinate in dataset.coords.items()
        if coordinate.dims == ("site",) and name != "site"
    }


def _checked_shape(
    variable: ForcingVariable, data: xr.DataArray, sizes: Mapping[str, int]
) -> np.ndarray:
    if set(data.dims) != set(variable.dims):
        raise ForcingError(
            f"{variable.name} has the dimensions ({', '.join(map(str, data.dims))}); "
            f"expected ({', '.join(variable.dims)})."
        )
    for dim in variable.dims:
        if dim in sizes and data.sizes[dim] != sizes[dim]:
            hint = ""
            if dim == "layer" and data.sizes[dim] == 25:
                hint = " CLM's ground variables have 25 layers: keep the first 20, the soil."
            raise ForcingError(
                f"{variable.name} has {data.sizes[dim]} {dim}s; expected {sizes[dim]}.{hint}"
            )
    try:
        return data.transpose(*variable.dims).to_numpy().astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ForcingError(f"{variable.name} does not hold numbers ({data.dtype}).") from error


def _whole_numbers(nbedrock: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Return the layer of bedrock of each site as an integer."""
    if (fractional := nbedrock != np.round(nbedrock)).any():
        where = int(np.argmax(fractional))
        raise ForcingError(
            f"nbedrock = {nbedrock[where]:g} at site {sites[where]} is not a whole number."
        )
    return nbedrock.astype(np.int32)


def conversion(
    name: str, unit: str, accepted: Mapping[str, tuple[float, float]], given: Any
) -> tuple[float, float]:
    """Return the factor and the offset that bring values in the unit `given` to `unit`.

    Raises
    ------
    ForcingError
        If it is not one of the `accepted` units.
    """
    if given is None or given == unit:
        return 1.0, 0.0
    if given not in accepted:
        known = ", ".join(repr(u) for u in (unit, *accepted))
        raise ForcingError(
            f"{name} is in {given!r}, which is not recognised; known units: {known}."
        )
    return accepted[given]


def _check_range(
    variable: ForcingVariable, array: np.ndarray, sites: np.ndarray, upper: float
) -> None:
    inside = (array >= variable.lower) & (array <= upper)  # NaN is outside
    if inside.all():
        return
    where = np.argwhere(~inside)
    first = tuple(int(i) for i in where[0])
    place = [f"site {sites[first[0]]}"]
    for dim, i in zip(variable.dims[1:], first[1:], strict=True):
        place.append(f"{dim} {LITTER[i] if dim == 'litter' else i + 1}")
    value = array[first]
    what = "is missing (NaN)" if np.isnan(value) else f"= {value:.6g} {variable.unit}"
    hint = ""
    if variable.name == "soil_temperature" and -90 < value < 70:
        hint = " It looks like degrees Celsius: set its units attribute to degC, or add 273.15."
    raise ForcingError(
        f"{variable.name} {what} at {', '.join(place)}; expected {variable.lower:g} to {upper:g} "
        f"{variable.unit} ({len(where)} such values at {len(np.unique(where[:, 0]))} sites).{hint}"
    )
