"""Any table of layers, through a column mapping in the settings, units stated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from proda.errors import FileError, ProdaError
from proda.observations.delimited import read_delimited
from proda.observations.readers.base import (
    LAYER_FIELDS,
    PROFILE_FIELDS,
    OnBytes,
    Part,
    Source,
    existing,
    known_texts,
    layers,
    scaled,
)
from proda.observations.schema import SOC_BASES, TableColumn, factor
from proda.observations.text import FALSE, TRUE, Dialect

_WHOLE_TABLE = ("bulk_density_basis", "coarse_basis")
"""What can be stated for the whole table."""
_FLAG: dict[str, str | bool] = {t: t in TRUE for t in (*TRUE, *FALSE)}
_VOCABULARIES: dict[str, dict[str, str | bool]] = {
    "bulk_density_basis": {t: t for t in ("fine earth", "whole soil")},
    "coarse_basis": {t: t for t in ("volume", "mass")},
    "soc_basis": {t: t for t in SOC_BASES},
    "depth_bounds": {t: t for t in ("as given", "reconstructed")},
    "litter": _FLAG,
    "treated": _FLAG,
}
"""Columns that hold one of a few values, on which rules depend; any other text is an error."""
_PROFILE = {c.name: c for c in PROFILE_FIELDS if c.name != "source"}
# The year is a column of both; here it is the profile's.
_LAYER = {c.name: c for c in LAYER_FIELDS if c.name != "year"}


class MappedColumn(BaseModel):
    """Name and unit, in the user's table, of one column of the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str = Field(description="Name in the header.")
    unit: str = Field("", description="Unit in the table; needed for every measured quantity.")
    profiles_column: str | None = Field(
        None,
        description="profile_id only: its name in the header of profiles_file, where it differs.",
    )
    values: dict[str, str | bool] = Field(
        default_factory=dict,
        description="Text in the table -> value of the schema, for columns with fixed values.",
    )


class CsvSource(Source):
    """One table of layers, and one of profiles unless the layers carry the coordinates."""

    reader: Literal["csv"] = "csv"
    layers_file: Path = Field(description="Table with one row per layer, .csv/.tsv or .gz.")
    profiles_file: Path | None = Field(
        None,
        description="Table with one row per profile; without it, `layers_file` holds everything.",
    )
    columns: dict[str, MappedColumn] = Field(
        description="Column of the schema -> column and unit of the table."
    )
    bulk_density_basis: Literal["fine earth", "whole soil"] = Field(
        "fine earth", description="What the bulk density refers to, for the whole table."
    )
    coarse_basis: Literal["volume", "mass"] = Field(
        "volume",
        description="Whether coarse fragments are per cent of volume or of mass, for "
        "the whole table.",
    )
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="Field separator, one character."
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal point.")
    encoding: str = Field("utf-8", description="Character encoding.")
    missing: tuple[str, ...] = Field(
        (), description="Texts that mean a missing value, such as -999."
    )

    @model_validator(mode="after")
    def _known(self) -> CsvSource:
        if self.delimiter == self.decimal:
            raise ValueError(f"delimiter and decimal are both {self.decimal!r}")
        known = _PROFILE | _LAYER
        for name in self.columns:
            if name not in known:
                raise ValueError(f"columns.{name}: not in the schema; it has {', '.join(known)}")
            column = known[name]
            measured = not column.accepted.keys() <= {"1", "degree", "degrees", "yr"}
            if measured and not self.columns[name].unit:
                raise ValueError(
                    f"columns.{name}: state the unit, one of {', '.join(column.accepted)}"
                )
            self._factor(column)
            self._check_values(name)
        needed = ["profile_id", "lat", "lon", "upper_depth", "lower_depth"]
        if absent := [name for name in needed if name not in self.columns]:
            raise ValueError(f"columns: {', '.join(absent)} must be mapped")
        if not {"soc", "stock_given"} & set(self.columns):
            raise ValueError("columns: soc or stock_given must be mapped")
        return self

    def _check_values(self, name: str) -> None:
        mapped = self.columns[name]
        if mapped.profiles_column is not None and (name != "profile_id" or not self.profiles_file):
            raise ValueError(
                f"columns.{name}: profiles_column is for profile_id, with a profiles_file"
            )
        if not mapped.values:
            return
        if name not in _VOCABULARIES:
            raise ValueError(
                f"columns.{name}: values apply to {', '.join(_VOCABULARIES)}; this column is taken "
                "as it is"
            )
        allowed = list(dict.fromkeys(_VOCABULARIES[name].values()))
        if wrong := [v for v in mapped.values.values() if v not in allowed]:
            raise ValueError(f"columns.{name}: values: {wrong[0]!r} is not one of {allowed}")

    def _factor(self, column: TableColumn) -> float:
        unit = self.columns[column.name].unit
        if not unit:
            return 1.0
        try:
            return factor(column, unit)
        except ProdaError as error:
            raise ValueError(str(error)) from error

    def files(self) -> list[Path]:
        """Return the table of layers and, if there is one, that of profiles."""
        paths = [p for p in (self.profiles_file, self.layers_file) if p is not None]
        return [existing(path.parent, path.name) for path in paths]

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles, then layers."""
        *profiles, layer_file = self.files()
        table = profiles[0] if profiles else layer_file
        for batch in self._batches(table, _PROFILE, None if not profiles else on_bytes):
            yield self.profiles(self._tidy(batch, _PROFILE, table))
        for batch in self._batches(layer_file, _LAYER, on_bytes):
            tidy = self._tidy(batch, _LAYER, layer_file)
            for name in _WHOLE_TABLE:
                if name not in tidy:
                    tidy[name] = pa.repeat(getattr(self, name), len(batch))
                else:
                    tidy[name] = pc.fill_null(tidy[name], getattr(self, name))
            yield layers(tidy, str(layer_file))

    def _name(self, name: str, path: Path) -> str:
        """Return the name of a column of the schema in one of the tables."""
        mapped = self.columns[name]
        if mapped.profiles_column is not None and path == self.profiles_file:
            return mapped.profiles_column
        return mapped.column

    def _batches(
        self, path: Path, fields: dict[str, TableColumn], on_bytes: OnBytes | None
    ) -> Iterator[pa.Table]:
        wanted: dict[str, pa.DataType] = {}
        for name in self.columns:
            if name in fields:
                type_ = fields[name].type
                if pa.types.is_integer(type_):
                    type_ = pa.float64()
                elif self.columns[name].values:
                    type_ = pa.string()
                wanted[self._name(name, path)] = type_
        dialect = Dialect(self.delimiter, self.decimal, self.encoding, self.missing, multiline=True)
        key = self._name("profile_id", path)
        try:
            for batch in read_delimited(path, wanted, dialect, (), on_bytes, [key]):
                yield pa.table(batch)
        except FileError as error:
            if self.profiles_file is None or f"the column {key} is missing" not in str(error):
                raise
            raise FileError(
                f"{error} The identifier is needed in both tables; where {self.profiles_file.name} "
                "has another name for it, give that name: profile_id = { column = "
                f'"{self.columns["profile_id"].column}", profiles_column = "..." }}.'
            ) from error

    def _tidy(
        self, batch: pa.Table, fields: dict[str, TableColumn], path: Path
    ) -> dict[str, pa.ChunkedArray]:
        columns: dict[str, pa.ChunkedArray] = {}
        for name, mapped in self.columns.items():
            if name not in fields:
                continue
            column, values = fields[name], batch[self._name(name, path)]
            if pa.types.is_floating(column.type):
                values = scaled(values, self._factor(column))
            elif name in _VOCABULARIES and pa.types.is_string(values.type):
                allowed = mapped.values or _VOCABULARIES[name]
                empty = pc.is_in(values, pa.array(self.missing, pa.string()))
                values = pc.if_else(empty, None, values)
                values = known_texts(values, allowed, f"{path}, column {mapped.column}")
            columns[name] = self.identifiers(values) if name == "profile_id" else values
        return columns
