"""One registry row per parameter; bounds, units, labels and documentation all come from it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
import xarray as xr

from proda import units
from proda.errors import ParameterError

Component = Literal["A", "CUE", "K", "xi", "V", "B", "error"]
Bounds = Literal["prior", "physical"]

_LIMITS = re.compile(
    r"((?P<left>[\[(])(?P<lower>\S+), (?P<upper>\S+)[\])])?\s*(?P<layered>layered)?"
)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Parameters
    ----------
    name, symbol, unit
        Name in files and code; the paper's symbol (LaTeX, without dollars); CF unit.
    lower, upper
        Prior range. A turnover time of 0 is an infinite rate, so a lower bound of 0 in `yr` or
        `m` is itself excluded.
    default
        Value of the ad hoc parameterisation; NaN where it depends on the site (see `meaning`).
    component
        Part of the matrix equation (P-Eq 2) that it belongs to.
    physical_lower, physical_upper
        Limits outside of which the model has no meaning (a fraction below 0 or above 1), whatever
        the prior says.
    layered
        Whether it may differ between layers.
    inside
        Whether the physical limits themselves are excluded.
    """

    name: str
    symbol: str
    unit: str
    lower: float
    upper: float
    default: float
    component: Component
    meaning: str
    source: str = ""
    physical_lower: float = 0.0
    physical_upper: float = math.inf
    layered: bool = False
    inside: bool = False

    @property
    def positive(self) -> bool:
        """Whether 0 is excluded: times, lengths and affinities that are divided by."""
        return self.unit in ("yr", "m", "g m-3")

    @property
    def middle(self) -> float:
        """Middle of the prior range."""
        return 0.5 * (self.lower + self.upper)

    def at(self, share: Any) -> Any:
        """Return the value at a share of the prior range: 0 its lower end, 1 its upper end."""
        return self.lower + (self.upper - self.lower) * share

    def share(self, value: Any) -> Any:
        """Return where in the prior range a value lies: the inverse of `at`."""
        return (value - self.lower) / (self.upper - self.lower)

    def limits(self, bounds: Bounds) -> tuple[float, float]:
        """Lower and upper limit: of the prior, or of what has a physical meaning."""
        if bounds == "prior":
            return self.lower, self.upper
        return self.physical_lower, self.physical_upper


def parameter_rows(source: str, text: str) -> tuple[Parameter, ...]:
    """Read the parameters of a model from a table with one line for each.

    Parameters
    ----------
    source
        Source of the parameters whose line does not name one.
    text
        Cells between bars: name, symbol, unit, prior (two numbers), default, component, physical
        limits, meaning and, where it is another, source. Limits are an interval with square
        brackets, or round ones where the limits themselves are excluded; an empty cell is
        `[0, inf)`. The word `layered` after it allows a value for each layer.

    Raises
    ------
    ParameterError
        If a line does not have this form.
    """
    return tuple(_read_row(line, source) for line in text.strip().splitlines())


def _read_row(line: str, source: str) -> Parameter:
    """Return the parameter that a line of a table declares."""
    cells = [cell.strip() for cell in line.split("|")]
    try:
        name, symbol, unit, prior, default, component, limits, meaning, *other = cells
        lower, upper = map(float, prior.split())
        match = _LIMITS.fullmatch(limits)
        if match is None or component not in get_args(Component) or len(other) > 1:
            raise ValueError("unknown limits or component, or too many cells")
        return Parameter(
            name,
            symbol,
            unit,
            lower,
            upper,
            float(default),
            cast(Component, component),
            meaning,
            other[0] if other else source,
            physical_lower=float(match["lower"] or 0.0),
            physical_upper=float(match["upper"] or math.inf),
            layered=match["layered"] is not None,
            inside=match["left"] == "(",
        )
    except ValueError as error:
        raise ParameterError(
            f"The row {line.strip()!r} of a parameter table cannot be read: {error}. Write: name | "
            "symbol | unit | lower upper | default | component | limits | meaning."
        ) from error


def table(rows: Iterable[Parameter]) -> pd.DataFrame:
    """Rows as a table with the parameter's name as index and as first column."""
    names = [f.name for f in fields(Parameter)]
    frame = pd.DataFrame([[getattr(row, n) for n in names] for row in rows], columns=names)
    return frame.set_index("name", drop=False).rename_axis(index="parameter")


def as_arrays(
    rows: tuple[Parameter, ...],
    values: Mapping[str, Any] | xr.Dataset,
    sites: np.ndarray,
    n_layers: int,
    bounds: Bounds = "prior",
    shares: tuple[tuple[str, ...], ...] = (),
) -> dict[str, np.ndarray]:
    """Check physical parameter values and give each the shape (site,) or (site, layer).

    Parameters
    ----------
    rows
        The model's parameters.
    values
        One value, one per site, or (where a value varies down the column, as CLM5's sand
        dependent transfers do) one per site and layer; a mapping of arrays, or a Dataset with the
        dimensions `site` and `layer`.
    sites
        Names of the sites, for messages.
    n_layers
        Number of layers.
    bounds
        Which limits to hold to: the prior range, or only what has a physical meaning. The
        registry's default is always accepted, also where it lies outside its prior (CLM5's
        e-folding depth).
    shares
        Parameters that divide up one flow and must not add up to more than 1.

    Raises
    ------
    ParameterError
        Naming the parameter, the site and the value.
    """
    if bounds not in ("prior", "physical"):
        raise ParameterError(f"bounds = {bounds!r} is not known; use 'prior' or 'physical'.")
    names = [row.name for row in rows]
    given = [str(name) for name in (values.data_vars if isinstance(values, xr.Dataset) else values)]
    if unknown := [name for name in given if name not in names]:
        hint = ""
        if all(name.startswith("param_") for name in unknown):
            hint = " Leave out the prefix param_."
        raise ParameterError(
            f"Unknown parameters: {', '.join(unknown)}.{hint} The model has: {', '.join(names)}."
        )
    if missing := [name for name in names if name not in given]:
        raise ParameterError(f"Missing parameters: {', '.join(missing)}.")
    arrays = {row.name: _one(row, values[row.name], sites, n_layers, bounds) for row in rows}
    for parts in shares:
        _check_sum(parts, arrays, sites)
    return arrays


def _check_sum(names: tuple[str, ...], arrays: Mapping[str, np.ndarray], sites: np.ndarray) -> None:
    """Refuse shares of one flow that add up to more than all of it."""
    parts = [np.atleast_2d(arrays[name].T).T for name in names]  # (site, 1) or (site, layer)
    total = np.sum(np.broadcast_arrays(*parts), axis=0)
    if (total > 1.0).any():
        site, layer = (int(i) for i in np.argwhere(total > 1.0)[0])
        raise ParameterError(
            f"{' + '.join(names)} = {total[site, layer]:.6g} at site {sites[site]}: these are "
            "shares of one flow and must not exceed 1 together."
        )


def _one(
    row: Parameter, value: Any, sites: np.ndarray, n_layers: int, bounds: Bounds
) -> np.ndarray:
    if isinstance(value, xr.DataArray):
        unit = units.stated(value.attrs, row.unit)
        if unit != row.unit:
            raise ParameterError(f"{row.name} is in {unit!r}; give it in {row.unit!r}.")
        if "site" in value.dims and "site" in value.coords:
            check_same_sites(row.name, value["site"].to_numpy(), sites)
        order = [d for d in ("site", "layer") if d in value.dims]
        if extra := [str(d) for d in value.dims if d not in order]:
            raise ParameterError(
                f"{row.name} has the dimension {', '.join(extra)}; only site and layer are allowed."
            )
        if "layer" in value.dims and "layer" in value.coords:
            expected = np.arange(1, n_layers + 1)
            if not np.array_equal(value["layer"].to_numpy(), expected):
                raise ParameterError(f"The layers of {row.name} are not 1 to {n_layers}, in order.")
        only_layers = order == ["layer"]
        value = value.transpose(*order).to_numpy()
        value = value[None, :] if only_layers else value
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{row.name} = {value!r} is not a number.") from error
    n = len(sites)
    if array.ndim == 0:
        array = np.broadcast_to(array, (n,))
    elif array.ndim == 1 and array.shape == (n,):
        pass
    elif array.ndim == 2 and array.shape[0] in (1, n) and array.shape[1] == n_layers:
        array = np.broadcast_to(array, (n, n_layers))
    else:
        raise ParameterError(
            f"{row.name} has the shape {array.shape}; expected one number, ({n},) for the sites, "
            f"or ({n}, {n_layers}) for sites and layers."
        )
    if array.ndim == 2 and not row.layered:
        raise ParameterError(f"{row.name} holds for the whole column; it cannot vary with layer.")
    _check_values(row, array, sites, bounds)
    return array


def check_same_sites(name: str, given: np.ndarray, sites: np.ndarray) -> None:
    """Refuse values (called `name` in the message) that are for other sites than `sites`."""
    if given.shape != sites.shape or not np.array_equal(given.astype(str), sites.astype(str)):
        raise ParameterError(
            f"{name} is for other sites than the forcing ({given.size} against {sites.size}, or in "
            "another order); select the same sites of both first."
        )


def _check_values(row: Parameter, array: np.ndarray, sites: np.ndarray, bounds: Bounds) -> None:
    lower, upper = row.limits(bounds)
    inside = (array >= lower) & (array <= upper) & np.isfinite(array)
    if row.positive:
        inside &= array > 0
    if row.inside:
        inside &= (array > row.physical_lower) & (array < row.physical_upper)
    if math.isfinite(row.default):
        inside |= array == row.default
    if inside.all():
        return
    where = np.argwhere(~inside)
    first = tuple(int(i) for i in where[0])
    place = f"site {sites[first[0]]}" + (f", layer {first[1] + 1}" if len(first) > 1 else "")
    excluded = row.inside and bounds == "physical"
    left = "(" if (row.positive and lower == 0) or excluded else "["
    right = ")" if excluded else "]"
    more = f" ({len(where)} values in all)" if len(where) > 1 else ""
    kind = "its prior range" if bounds == "prior" else "the range in which it has a meaning,"
    advice = (
        " If this value is meant, pass bounds='physical'."
        if bounds == "prior" and math.isfinite(array[first])
        else ""
    )
    raise ParameterError(
        f"{row.name} = {array[first]:.6g} {row.unit} at {place} is outside {kind} "
        f"{left}{lower:g}, {upper:g}{right}{more}.{advice}"
    )
