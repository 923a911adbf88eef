"""Gridded files by the rules of CF: the one place where attributes change what numbers mean.

Everything that reads a grid opens it with :func:`open_grid`, which applies `valid_range`,
`valid_min`, `valid_max`, every `missing_value` and the packing, and never takes a unit such as
"days" for a span of time; :func:`data_variables` tells data from bounds, grid mappings and other
variables that only describe data; :func:`classes` reads `flag_values` and `flag_meanings`.
cf-xarray would not replace this code: it names axes and coordinates, but applies no valid ranges.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from proda import files
from proda.checksums import ATTRIBUTE, check_seal, check_store
from proda.errors import FileError, ProdaError

_LIMITS = ("valid_range", "valid_min", "valid_max")
_NUMERIC = (*_LIMITS, "scale_factor", "add_offset", "missing_value", "_FillValue")
_REFERRING = (
    "bounds",
    "climatology",
    "grid_mapping",
    "ancillary_variables",
    "formula_terms",
    "coordinates",
    "cell_measures",
)
"""Attributes whose value names other variables."""
_SUFFIX = re.compile(r"(?<=\d)(ub|us|ul|ull|[bBsSlLfFdD])$")
"""Types of numbers in the text form of netCDF: 1b, 2s, 0.5f."""


def open_grid(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a netCDF file or a Zarr store (version 2 or 3), lazily, by the rules of CF.

    Values that the file's attributes exclude are missing (NaN), packed values are unpacked. Limits
    count in packed units (CF 2.5.1). Times stay numbers, as does what is measured in days.

    Raises
    ------
    FileError
        If the file cannot be read, naming the variable and attribute that make no sense.
    """
    target = Path(path)
    raw = _open(target)
    # xarray reads it in any case: what holds nothing unusual takes the common way.
    repaired = {n: v for n in raw.variables if (v := _repaired(raw, str(n), target)) is not None}
    dataset = _replaced(raw, repaired)
    with files.reading(target, "gridded file", FileError, "Correct its attributes."):
        decoded = xr.decode_cf(dataset, decode_times=False, decode_timedelta=False)
        decoded = _plain_text(decoded)
    decoded.encoding["source"] = str(target)
    return decoded


def _open(target: Path) -> xr.Dataset:
    """Open without decoding anything."""
    advice = "Check that it was copied whole; `ncdump -h` shows what a netCDF file holds."
    if target.is_dir():
        if not any((target / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            raise FileError(
                f"{target}: a folder, but not a Zarr store (it holds neither zarr.json nor "
                ".zgroup)."
            )
        listed = (target / ".zmetadata").is_file() and not (target / ".zgroup").is_file()
        with files.reading(target, "Zarr store", FileError, advice):
            if (target / "zarr.json").is_file():
                check_store(target)
            opened = xr.open_zarr(target, consolidated=listed, decode_cf=False)
        opened.attrs.pop(ATTRIBUTE, None)
        return opened
    if not target.is_file():
        raise FileError(f"{target}: there is no such file.")
    with files.reading(target, "netCDF file", FileError, advice):
        check_seal(target)
    files.check_whole(target)
    with files.reading(target, "netCDF file", FileError, advice):
        return xr.open_dataset(target, engine="netcdf4", decode_cf=False)


def _replaced(raw: xr.Dataset, repaired: dict[Any, xr.Variable]) -> xr.Dataset:
    if not repaired:
        return raw
    out = raw.assign({n: v for n, v in repaired.items() if n in raw.data_vars})
    return out.assign_coords({n: v for n, v in repaired.items() if n in raw.coords})


def _plain_text(dataset: xr.Dataset) -> xr.Dataset:
    """Turn the text coordinates of Zarr 3 into Python's."""
    text = {n: v for n, v in dataset.coords.items() if v.dtype.kind == "T"}
    return dataset.assign_coords(
        {
            n: (
                v.dims,
                np.array([str(x) for x in v.values.ravel()], object).reshape(v.shape),
                v.attrs,
            )
            for n, v in text.items()
        }
    )


def numbers(value: Any, what: str, kind: type[ProdaError] = FileError) -> np.ndarray:
    """Return an attribute as numbers; text such as "1 2 3", "1, 2" or "1b, 2b" is read as such.

    Raises
    ------
    kind
        Naming `what`, if it is anything else.
    """
    array = np.atleast_1d(np.asarray(value)).ravel()
    if array.dtype.kind in "iuf":
        return array
    words = [
        w
        for text in array.tolist()
        for w in re.split(r"[\s,;]+", str(text).strip().strip("[](){}"))
        if w
    ]
    try:
        if not words:
            raise ValueError
        values = [float(_SUFFIX.sub("", w)) for w in words]
    except ValueError as error:
        raise kind(f"{what} is {str(value)[:80]!r}; it must be numbers.") from error
    whole = all(f == np.round(f) and abs(f) < 2**53 for f in values)
    return np.array(values).astype(np.int64) if whole else np.array(values)


def _repaired(raw: xr.Dataset, name: str, path: Path) -> xr.Variable | None:
    """Return a variable in which all that its attributes exclude is NaN or its fill value.

    None where the file needs no such thing, or xarray alone does it right.
    """
    variable = raw.variables[name]
    attrs = dict(variable.attrs)
    given = {
        key: numbers(attrs[key], f"{path}: {name}: {key}")
        for key in _NUMERIC
        if key in attrs and variable.dtype.kind in "iuf"
    }
    for key in ("scale_factor", "add_offset", "_FillValue", "valid_min", "valid_max"):
        if key in given and given[key].size != 1:
            raise FileError(f"{path}: {name}: {key} has {given[key].size} values; expected one.")
    for key in ("scale_factor", "add_offset"):
        if key in given and not np.isfinite(given[key]).all():
            raise FileError(f"{path}: {name}: {key} is {given[key][0]}; it must be a number.")
    if "scale_factor" in given and given["scale_factor"][0] == 0:
        raise FileError(f"{path}: {name}: scale_factor is 0, so that its values are lost.")
    text = [k for k in given if np.asarray(attrs[k]).dtype.kind not in "iuf"]
    fills = _fills(variable, given, raw)
    only_fill = fills.size <= 1 and "missing_value" not in given and "_FillValue" in given
    if not text and not any(k in given for k in _LIMITS) and (only_fill or not fills.size):
        return None
    return _masked(variable, given, fills, name, path)


def _fills(variable: xr.Variable, given: dict[str, np.ndarray], raw: xr.Dataset) -> np.ndarray:
    """Values that stand for "missing", in the type of the data, where that type can hold them."""
    values = [v for k in ("_FillValue", "missing_value") for v in given.get(k, np.array([]))]
    from_netcdf = "source" in raw.encoding and not Path(raw.encoding["source"]).is_dir()
    if not values and from_netcdf and variable.dtype.kind == "f" and variable.ndim > 1:
        # NetCDF's own fill for what was never written; whole numbers may be meant.
        values = [netCDF4.default_fillvals[variable.dtype.str[1:]]]
    with np.errstate(over="ignore", invalid="ignore"):
        if variable.dtype.kind == "f":
            return np.unique(np.array(values, dtype=variable.dtype))
        whole = [int(v) for v in values if np.isfinite(v) and v == np.round(v)]
    info = np.iinfo(variable.dtype) if variable.dtype.kind in "iu" else None
    if info is None:
        return np.array([])
    span = int(info.max) - int(info.min) + 1
    # An unsigned value of a byte stored as signed, and the other way round.
    inside = [
        v if info.min <= v <= info.max else v - span if v > info.max else v + span for v in whole
    ]
    return np.unique(np.array([v for v in inside if info.min <= v <= info.max], variable.dtype))


def _masked(
    variable: xr.Variable, given: dict[str, np.ndarray], fills: np.ndarray, name: str, path: Path
) -> xr.Variable:
    """Decode one variable: mask what is excluded, then unpack; lazy (Dask)."""
    lower, upper = _limits(given, f"{path}: {name}")
    packed = "scale_factor" in given or "add_offset" in given
    scale = float(given.get("scale_factor", np.array([1.0]))[0])
    offset = float(given.get("add_offset", np.array([0.0]))[0])
    unsigned = str(variable.attrs.get("_Unsigned", "")).lower()
    stored = variable.dtype
    if stored.kind == "i" and unsigned == "true":
        stored = np.dtype(f"u{stored.itemsize}")
    elif stored.kind == "u" and unsigned == "false":
        stored = np.dtype(f"i{stored.itemsize}")
    if stored.kind in "iu":
        span = 2 ** (8 * stored.itemsize)
        if stored != variable.dtype and stored.kind == "u":  # limits written as signed bytes
            lower, upper = (v + span if v is not None and v < 0 else v for v in (lower, upper))
        if packed and any(given[k].dtype.kind == "f" for k in _LIMITS if k in given):
            lower, upper = _in_packed_units(lower, upper, stored, scale, offset, f"{path}: {name}")
    if stored.kind == "f":  # a limit of 0.1 in double precision is not that of the data
        lower, upper = (
            None if v is None else float(np.asarray(v).astype(stored)) for v in (lower, upper)
        )
    target: np.dtype[Any] = np.dtype(np.float32)
    if stored.itemsize > 2 and not (stored.kind == "f" and stored.itemsize == 4 and not packed):
        target = np.dtype(np.float64)
    if any(given[k].dtype.itemsize > 4 for k in ("scale_factor", "add_offset") if k in given):
        target = np.dtype(np.float64)

    def decode(raw: np.ndarray) -> np.ndarray:
        values = raw.view(stored) if stored != raw.dtype else raw
        absent = np.isin(raw, fills)
        if lower is not None:
            absent |= values < lower
        if upper is not None:
            absent |= values > upper
        out = values.astype(target)
        if packed:
            out = out * target.type(scale) + target.type(offset)
        out[absent] = np.nan
        return out

    import dask.array as da

    drop = {*_NUMERIC, "_Unsigned"}
    attrs = {k: v for k, v in variable.attrs.items() if k not in drop}
    if variable.ndim == 0:
        return xr.Variable((), decode(np.atleast_1d(variable.to_numpy()))[0], attrs)
    if isinstance(variable, xr.IndexVariable):  # an axis, which xarray never makes lazy
        return xr.Variable(variable.dims, decode(variable.to_numpy()), attrs)
    lazy = variable.chunk().data if variable.chunks is None else variable.data
    data = da.map_blocks(decode, lazy, dtype=target, meta=np.empty((0,) * variable.ndim, target))  # type: ignore[no-untyped-call]
    return xr.Variable(variable.dims, data, attrs)


def _limits(given: dict[str, np.ndarray], what: str) -> tuple[Any, Any]:
    lower = given["valid_min"][0].item() if "valid_min" in given else None
    upper = given["valid_max"][0].item() if "valid_max" in given else None
    if "valid_range" in given:
        if given["valid_range"].size != 2:
            raise FileError(f"{what}: valid_range has {given['valid_range'].size} values, not two.")
        low, high = (v.item() for v in given["valid_range"])
        lower = low if lower is None else max(lower, low)
        upper = high if upper is None else min(upper, high)
    if any(v is not None and np.isnan(v) for v in (lower, upper)):
        raise FileError(f"{what}: a limit of its valid range is NaN; it must be a number.")
    return lower, upper


def _in_packed_units(
    lower: Any, upper: Any, stored: np.dtype[Any], scale: float, offset: float, what: str
) -> tuple[Any, Any]:
    """Judge limits of packed integers that are floating-point numbers: CF wants integers.

    They are in packed units if they cannot be in unpacked ones, and the other way round; where
    both could be meant, nothing in the file says which.
    """
    info = np.iinfo(stored)
    ends = sorted((info.min * scale + offset, info.max * scale + offset))
    known = [v for v in (lower, upper) if v is not None]
    same = all(abs((v - offset) / scale - v) < 1e-9 for v in known)
    if same or any(v == round(v) and not ends[0] <= v <= ends[1] for v in known):
        return lower, upper
    as_packed = all(v == round(v) and info.min <= v <= info.max for v in known)
    if not as_packed:
        edges = [None if v is None else (v - offset) / scale for v in (lower, upper)]
        low, high = edges if scale > 0 else edges[::-1]
        slack = 1e-6  # of a step: the limit itself is inside
        return (None if low is None else low - slack, None if high is None else high + slack)
    raise FileError(
        f"{what}: its valid range ({', '.join(f'{v:g}' for v in known)}) is given as "
        f"floating-point numbers, but the values are packed ({stored}, scale_factor {scale:g}): "
        "it could count before or after unpacking. Give it in packed units, in the type of the "
        "values."
    )


def data_variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of the variables that are data: no bounds, grid mapping or the like.

    Left out are those that an attribute of another variable names (`bounds`, `grid_mapping`,
    `ancillary_variables`, `formula_terms`, `coordinates`, `cell_measures`), grid mappings, text,
    bounds of an axis by the usual names, and what has no dimension at all.
    """
    described: set[str] = set()
    for variable in dataset.variables.values():
        for key in _REFERRING:
            value = variable.attrs.get(key, variable.encoding.get(key, ""))
            described |= {w for w in str(value).split() if not w.endswith(":")}
    return [
        str(n)
        for n, v in dataset.data_vars.items()
        if str(n) not in described
        and v.ndim > 0
        and "grid_mapping_name" not in v.attrs
        and v.dtype.kind in "iufb"
        and not _is_bounds(str(n), v)
    ]


def _is_bounds(name: str, data: xr.DataArray) -> bool:
    stem = re.sub(r"_(bnds|bounds|vertices)$", "", name)
    return stem != name and stem in map(str, data.dims)


def load(dataset: xr.Dataset, where: str | os.PathLike[str]) -> xr.Dataset:
    """Read all variables into memory, or name the one whose bytes are damaged.

    Raises
    ------
    FileError
        Naming `where` and the variable.
    """
    for name in dataset.variables:
        try:
            dataset[name].load()
        except Exception as error:
            raise FileError(
                f"{where}: {name} cannot be read ({' '.join(str(error).split())[:300]}); the file "
                "is damaged, copy it again."
            ) from error
    return dataset


def classes(attrs: Any, what: str, kind: type[ProdaError] = FileError) -> dict[int, str] | None:
    """Return the classes of a variable: code -> meaning, in the file's order; None if it has none.

    Parameters
    ----------
    attrs
        Attributes; `flag_values` may be text, and the meanings may be separated by blanks, commas,
        semicolons or bars.
    what
        File and variable, for the message.

    Raises
    ------
    kind
        If codes and meanings do not match, or the variable holds bits rather than classes.
    """
    if "flag_masks" in attrs:
        raise kind(
            f"{what} has flag_masks: its bits mean different things. Give each its own variable."
        )
    if "flag_values" not in attrs:
        if str(attrs.get("flag_meanings", "")).strip():
            raise kind(f"{what} has flag_meanings but no flag_values: add the code of each class.")
        return None
    codes = numbers(attrs["flag_values"], f"{what}: flag_values", kind)
    if not (np.isfinite(codes) & (codes == np.round(codes))).all():
        raise kind(
            f"{what}: flag_values holds {codes[codes != np.round(codes)][0]:g}; codes must "
            "be whole numbers."
        )
    meanings = _meanings(attrs.get("flag_meanings", ""), len(codes))
    if len(codes) != len(meanings) or len(set(meanings)) != len(meanings):
        raise kind(
            f"{what} has {len(codes)} flag_values but {len(set(meanings))} different flag_meanings."
        )
    if len(np.unique(codes)) != len(codes):
        raise kind(f"{what}: a code appears twice in flag_values.")
    return dict(zip((int(c) for c in codes), meanings, strict=True))


def _meanings(given: Any, n: int) -> list[str]:
    """Split meanings by blanks, as CF has it; by other separators where that gives one a code."""
    if not isinstance(given, str):
        return [str(m).strip() for m in np.atleast_1d(given)]
    plain = [w for w in (w.strip(",;|") for w in given.split()) if w]
    if len(plain) == n:
        return plain
    for separator in (",", ";", "|", "\n"):
        parts = ["_".join(w.split()) for w in given.strip(f" {separator}").split(separator)]
        if len(parts) == n:
            return parts
    return plain
