"""Any table of layers, through a column mapping in the settings, units stated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from proda.errors import ProdaError
from proda.observations.delimited import read_delimited
from proda.observations.readers.base import (
    LAYER_FIELDS,
    PROFILE_FIELDS,
    OnBytes,
    Part,
    Source,
    existing,
    layers,
    scaled,
)
from proda.observations.schema import Column, factor
from proda.observations.text import Dialect

_TEXTS = {"bulk_density_basis": ("fine earth", "whole soil"), "coarse_basis": ("volume", "mass")}
_PROFILE = {c.name: c for c in PROFILE_FIELDS if c.name != "source"}
# The year is a column of both; here it is the profile's.
_LAYER = {c.name: c for c in LAYER_FIELDS if c.name != "year"}


class MappedColumn(BaseModel):
    """Where one column of the schema stands in the user's table, and in what unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str = Field(description="Name in the header.")
    unit: str = Field("", description="Unit in the table; needed for every measured quantity.")


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
        "volume", description="What the per cent of coarse fragments are of, for the whole table."
    )
    delimiter: str = Field(",", description="Field separator.")
    decimal: str = Field(".", description="Decimal point.")
    encoding: str = Field("utf-8", description="Character encoding.")
    missing: tuple[str, ...] = Field((), description="Texts that mean no value, such as -999.")

    @model_validator(mode="after")
    def _known(self) -> CsvSource:
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
        needed = ["profile_id", "lat", "lon", "upper_depth", "lower_depth"]
        if absent := [name for name in needed if name not in self.columns]:
            raise ValueError(f"columns: {', '.join(absent)} must be mapped")
        if not {"soc", "stock_given"} & set(self.columns):
            raise ValueError("columns: soc or stock_given must be mapped")
        return self

    def _factor(self, column: Column) -> float:
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
        for batch in self._batches(profiles[0] if profiles else layer_file, _PROFILE, None
                                   if not profiles else on_bytes):  # fmt: skip
            yield self.profiles(self._tidy(batch, _PROFILE))
        for batch in self._batches(layer_file, _LAYER, on_bytes):
            found = self._tidy(batch, _LAYER)
            for name in _TEXTS:
                if name not in found:
                    found[name] = pa.repeat(getattr(self, name), len(batch))
            yield layers(found)

    def _batches(
        self, path: Path, fields: dict[str, Column], on_bytes: OnBytes | None
    ) -> Iterator[pa.Table]:
        wanted: dict[str, pa.DataType] = {}
        for name, mapped in self.columns.items():
            if name in fields:
                type_ = fields[name].type
                wanted[mapped.column] = pa.float64() if pa.types.is_integer(type_) else type_
        dialect = Dialect(self.delimiter, self.decimal, self.encoding, self.missing, multiline=True)
        for batch in read_delimited(path, wanted, dialect, (), on_bytes):
            yield pa.table(batch)

    def _tidy(self, batch: pa.Table, fields: dict[str, Column]) -> dict[str, pa.ChunkedArray]:
        found: dict[str, pa.ChunkedArray] = {}
        for name, mapped in self.columns.items():
            if name not in fields:
                continue
            column, values = fields[name], batch[mapped.column]
            if pa.types.is_floating(column.type):
                values = scaled(values, self._factor(column))
            elif pa.types.is_integer(column.type):
                values = pc.floor(values)
            found[name] = self.identifiers(values) if name == "profile_id" else values
        return found
