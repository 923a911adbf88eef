"""The tidy tables of measured soil: one registry row per column, units in the files.

Readers deliver the columns that are not `computed`; the rules, the stock and the build add the
rest. Every table that is written carries the registry's unit and meaning in its field metadata.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from proda.errors import FileError, ObservationError
from proda.files import reading

SCHEMA_VERSION = "1"
SOC_BASES = ("organic carbon", "total carbon", "total minus inorganic carbon", "spectroscopy")
"""Kinds of carbon values."""

_METRE = {"m": 1.0, "cm": 0.01, "mm": 0.001, "dm": 0.1}
_CONTENT = {"g kg-1": 1.0, "g/kg": 1.0, "%": 10.0, "percent": 10.0, "mg kg-1": 0.001, "1": 1000.0}
_DENSITY = {"kg m-3": 1.0, "g cm-3": 1000.0, "kg dm-3": 1000.0, "t m-3": 1000.0, "Mg m-3": 1000.0}
_PER_CENT = {"%": 1.0, "percent": 1.0, "g kg-1": 0.1, "1": 100.0}
_STOCK = {"g m-3": 1.0, "kg m-3": 1000.0}
_DEGREE = {"degree": 1.0, "degrees": 1.0}
_NUMBER = {"1": 1.0}


@dataclass(frozen=True)
class TableColumn:
    """One column: name, Arrow type, unit, plausible range, meaning.

    `accepted` maps a unit found in a source to the factor that brings it to `unit`; `computed`
    columns are never read from a source. Values outside `lower`-`upper` are left out by the rules
    of `proda.observations.quality`, not by the reader.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    lower: float | None = None
    upper: float | None = None
    accepted: Mapping[str, float] = field(default_factory=dict)
    computed: bool = False
    required: bool = False

    def arrow(self) -> pa.Field:
        """Return the Arrow field, with unit, meaning and range as metadata."""
        about = {"unit": self.unit, "meaning": self.meaning}
        if self.lower is not None and self.upper is not None:
            about["range"] = f"{self.lower:g} to {self.upper:g}"
        return pa.field(self.name, self.type, metadata=about)


_S, _F, _B, _I = pa.string(), pa.float64(), pa.bool_(), pa.int32()

PROFILE_COLUMNS: tuple[TableColumn, ...] = (
    TableColumn("profile_id", _S, "", "identifier, unique over all sources", required=True),
    TableColumn("source", _S, "", "name of the source as given in the settings", required=True),
    TableColumn("collection", _S, "", "data set inside the source (a pooled table's own source)"),
    TableColumn(
        "lat", _F, "degree", "latitude, WGS84, positive north", -90, 90, _DEGREE, required=True
    ),
    TableColumn(
        "lon", _F, "degree", "longitude, WGS84, positive east", -180, 180, _DEGREE, required=True
    ),
    TableColumn(
        "location_error",
        _F,
        "degree",
        "stated uncertainty of the location; null: not stated",
        0,
        180,
        _DEGREE,
    ),
    TableColumn(
        "year",
        _I,
        "yr",
        "year of sampling (the earliest of its layers where only they are dated)",
        1800,
        2100,
        {"yr": 1.0},
    ),
    TableColumn("country", _S, "", "country as the source names it ('NA' is Namibia)"),
    TableColumn("licence", _S, "", "licence as found in the source"),
    TableColumn("treated", _B, "", "manipulated plot; null: the source does not say"),
    TableColumn("depth_bounds", _S, "", "'as given' or 'reconstructed' (from mid-depths)"),
    TableColumn("n_layers", _I, "1", "layers kept", computed=True),
    TableColumn("top_depth", _F, "m", "upper bound of the first kept layer", computed=True),
    TableColumn("max_depth", _F, "m", "lower bound of the deepest kept layer", computed=True),
    TableColumn(
        "gap",
        _F,
        "m",
        "thickness between the first and the last kept layer without a value",
        computed=True,
    ),
    TableColumn(
        "n_estimated_density", _I, "1", "kept layers whose bulk density is estimated", computed=True
    ),
    TableColumn(
        "soc_stock",
        _F,
        "g m-2",
        "organic carbon in all kept layers together (gaps contain none)",
        computed=True,
    ),
)

LAYER_COLUMNS: tuple[TableColumn, ...] = (
    TableColumn("profile_id", _S, "", "identifier of the profile", required=True),
    TableColumn("layer_id", _S, "", "the source's own name of the layer"),
    TableColumn(
        "upper_depth",
        _F,
        "m",
        "upper bound, positive down; negative: litter on the soil",
        0,
        10,
        _METRE,
        required=True,
    ),
    TableColumn("lower_depth", _F, "m", "lower bound, positive down", 0, 10, _METRE, required=True),
    TableColumn("soc", _F, "g kg-1", "organic carbon content of the fine earth", 0, 600, _CONTENT),
    TableColumn(
        "soc_basis",
        _S,
        "",
        "what the carbon number is: organic carbon, total carbon, total minus inorganic carbon, "
        "spectroscopy",
    ),
    TableColumn(
        "stock_given",
        _F,
        "g m-3",
        "organic carbon per volume as the source gives it",
        0,
        4e5,
        _STOCK,
    ),
    TableColumn("bulk_density", _F, "kg m-3", "measured bulk density", 10, 2650, _DENSITY),
    TableColumn(
        "bulk_density_basis",
        _S,
        "",
        "'fine earth' (null means this) or 'whole soil' (coarse fragments included)",
    ),
    TableColumn("coarse", _F, "%", "coarse fragments (over 2 mm)", 0, 100, _PER_CENT),
    TableColumn("coarse_basis", _S, "", "'volume' (null means this) or 'mass'"),
    TableColumn("litter", _B, "", "true: the source calls it litter or an organic surface layer"),
    TableColumn("ph", _F, "1", "pH in water", 1.5, 12, _NUMBER),
    TableColumn(
        "year", _I, "yr", "year of sampling, where the source dates layers", 1800, 2100, {"yr": 1.0}
    ),
    TableColumn("clay", _F, "%", "clay, mass share of the fine earth", 0, 100, _PER_CENT),
    TableColumn("silt", _F, "%", "silt, mass share of the fine earth", 0, 100, _PER_CENT),
    TableColumn("sand", _F, "%", "sand, mass share of the fine earth", 0, 100, _PER_CENT),
    TableColumn(
        "fine_earth_density", _F, "kg m-3", "bulk density of the fine earth, as used", computed=True
    ),
    TableColumn(
        "density_origin",
        _S,
        "",
        "'measured', 'pedotransfer', or 'stock given' (no density needed)",
        computed=True,
    ),
    TableColumn(
        "coarse_volume",
        _F,
        "%",
        "coarse fragments by volume, as used (0 where not given)",
        computed=True,
    ),
    TableColumn(
        "soc_stock",
        _F,
        "g m-3",
        "organic carbon per volume of soil, the observation",
        computed=True,
    ),
)

REJECTED_COLUMNS: tuple[TableColumn, ...] = (
    TableColumn("level", _S, "", "'profile' or 'layer'", computed=True),
    TableColumn("source", _S, "", "name of the source as given in the settings", computed=True),
    TableColumn("collection", _S, "", "data set inside the source", computed=True),
    TableColumn("profile_id", _S, "", "identifier of the profile", computed=True),
    TableColumn("layer_id", _S, "", "the source's own name of the layer", computed=True),
    TableColumn("reason", _S, "", "the first rule that left it out", computed=True),
    TableColumn(
        "by",
        _S,
        "",
        "'profile' where a layer was rejected with its profile, else the row's own level",
        computed=True,
    ),
    TableColumn("detail", _S, "", "the values that the rule refers to", computed=True),
    TableColumn("lat", _F, "degree", "latitude as given", computed=True),
    TableColumn("lon", _F, "degree", "longitude as given", computed=True),
    *(
        next(c for c in LAYER_COLUMNS if c.name == name)
        for name in ("upper_depth", "lower_depth", "soc", "stock_given", "bulk_density", "coarse")
    ),
)


def read_columns(columns: Sequence[TableColumn]) -> dict[str, TableColumn]:
    """Return the columns that a reader may deliver, by name."""
    return {c.name: c for c in columns if not c.computed}


def arrow_schema(columns: Sequence[TableColumn]) -> pa.Schema:
    """Return the Arrow schema of a table, with units in its fields."""
    return pa.schema([c.arrow() for c in columns], metadata={"proda_schema": SCHEMA_VERSION})


def conform(table: pa.Table, columns: Sequence[TableColumn]) -> pa.Table:
    """Return the table with exactly these columns, typed; absent ones are null.

    Raises
    ------
    ObservationError
        If a column is unknown (a reader that returns a column outside the registry).
    """
    names = {c.name for c in columns}
    if unknown := [name for name in table.column_names if name not in names]:
        raise ObservationError(f"Columns that the schema does not know: {', '.join(unknown)}.")
    arrays = [
        table.column(c.name).cast(c.type)
        if c.name in table.column_names
        else pa.nulls(len(table), c.type)
        for c in columns
    ]
    return pa.table(arrays, schema=arrow_schema(columns))


def factor(column: TableColumn, unit: str) -> float:
    """Return the factor from a source's unit to the column's.

    Raises
    ------
    ObservationError
        If the unit is not one that the column accepts.
    """
    if unit not in column.accepted:
        known = ", ".join(repr(u) for u in column.accepted) or "none: it has no unit"
        raise ObservationError(f"{column.name}: unit {unit!r} is not known; use one of {known}.")
    return column.accepted[unit]


def parquet_writer(
    path: str | os.PathLike[str], columns: Sequence[TableColumn]
) -> pq.ParquetWriter:
    """Open a Parquet table for writing piece by piece, units in its metadata."""
    return pq.ParquetWriter(path, arrow_schema(columns), compression="zstd")


def write_frame(
    writer: pq.ParquetWriter, frame: pd.DataFrame, columns: Sequence[TableColumn]
) -> None:
    """Append a data frame; columns that it lacks are null, columns beyond the schema stay out."""
    if len(frame) == 0:
        return
    names = [c.name for c in columns if c.name in frame.columns]
    table = pa.Table.from_pandas(frame[names], preserve_index=False).replace_schema_metadata()
    writer.write_table(conform(table, columns))


def read_table(
    path: str | os.PathLike[str], columns: Sequence[TableColumn], names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a table that `proda profiles build` wrote, or some of its columns.

    Raises
    ------
    FileError
        If the file is absent, not Parquet, or not a table of this kind.
    """
    target = Path(path)
    with reading(target, "Parquet file"):
        there = target.is_file()
    if not there:
        raise FileError(f"{target}: there is no such file; `proda profiles build` writes it.")
    with reading(target, "Parquet file"):
        schema = pq.read_schema(target)
    if missing := [c.name for c in columns if c.name not in schema.names]:
        raise FileError(
            f"{target}: not a table of `proda profiles build`; it lacks {', '.join(missing)}."
        )
    wanted = [c for c in columns if names is None or c.name in names]
    for column in wanted:
        if schema.names.count(column.name) > 1 or schema.field(column.name).type != column.type:
            raise FileError(
                f"{target}: not a table of `proda profiles build`; the column {column.name} "
                f"should be there once, of type {column.type}."
            )
    with reading(target, "Parquet file"):
        names = list(names) if names is not None else [c.name for c in wanted]
        return pq.read_table(target, columns=names).to_pandas()
