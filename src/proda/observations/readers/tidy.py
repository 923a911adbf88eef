"""The pooled tables `profiles.parquet` and `layers.parquet` (depths in cm, one row per layer).

Optional: `dropped_organic_layers.parquet`, the organic layers that were taken out of the pool,
read as litter so that they are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from proda.errors import FileError
from proda.files import reading
from proda.observations.readers.base import OnBytes, Part, Source, existing, layers, scaled
from proda.observations.schema import SOC_BASES

_PROFILES = (
    "source",
    "profile_id",
    "lat",
    "lon",
    "location_error_deg",
    "year",
    "country",
    "licence",
    "treated",
    "depth_bounds",
)
_ORGANIC = (
    "profile_id",
    "upper_depth_cm",
    "lower_depth_cm",
    "soc_g_kg",
    "bulk_density_kg_m3",
    "coarse_fragments_pct",
    "clay_pct",
    "silt_pct",
    "sand_pct",
    "ph_h2o",
)
_LAYERS = (*_ORGANIC, "soc_basis")
_TEXTS = ("source", "profile_id", "country", "licence", "depth_bounds", "soc_basis")

_BASES = (
    ("AfSIS sentinel site", "spectroscopy"),
    ("total C (inorganic C not reported", "total carbon"),
    ("total C minus", "total minus inorganic carbon"),
    ("organic C", "organic carbon"),
    *((basis, basis) for basis in SOC_BASES),
)
"""Beginning of the pool's `soc_basis` -> the schema's."""
_BOUNDS = (("reconstructed", "reconstructed"), ("as given", "as given"))


class TidySource(Source):
    """Pooled profiles in two Parquet files."""

    reader: Literal["tidy"] = "tidy"
    folder: Path = Field(description="Folder with profiles.parquet and layers.parquet.")
    mass_coarse: tuple[str, ...] = Field(
        ("febr", "israd"),
        description="Collections whose coarse fragments are mass %; all others are volume %.",
    )

    def files(self) -> list[Path]:
        """Return profiles, layers and, if there, the organic layers."""
        wanted = [existing(self.folder, f"{name}.parquet") for name in ("profiles", "layers")]
        organic = self.folder / "dropped_organic_layers.parquet"
        return [*wanted, organic] if organic.is_file() else wanted

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles, then layers, then organic layers."""
        profiles, mineral, *organic = self.files()
        for batch in _batches(profiles, _PROFILES, on_bytes):
            yield self._profiles(batch)
        for batch in _batches(mineral, _LAYERS, on_bytes):
            yield self._layers(batch, mineral, litter=False)
        for path in organic:
            for batch in _batches(path, _ORGANIC, on_bytes):
                yield self._layers(batch, path, litter=True)

    def _profiles(self, batch: pa.Table) -> Part:
        bounds = _known(
            batch["depth_bounds"], _BOUNDS, self.folder / "profiles.parquet", "depth_bounds"
        )
        return self.profiles(
            {
                "profile_id": self.identifiers(
                    batch["profile_id"], f"{self.folder / 'profiles.parquet'}, column profile_id"
                ),
                "collection": batch["source"],
                "lat": batch["lat"],
                "lon": batch["lon"],
                "location_error": scaled(batch["location_error_deg"], 1.0),
                "year": batch["year"],
                "country": batch["country"],
                "licence": batch["licence"],
                "treated": batch["treated"],
                "depth_bounds": pc.fill_null(bounds, "as given"),
            }
        )

    def _layers(self, batch: pa.Table, path: Path, litter: bool) -> Part:
        n = len(batch)
        # The pool's identifiers begin with their collection; names may hold underscores.
        ids = batch["profile_id"]
        by_mass = pa.array([False] * n)
        for collection in self.mass_coarse:
            by_mass = pc.or_(by_mass, pc.starts_with(ids, collection + "_"))
        columns = {
            "profile_id": self.identifiers(ids, f"{path}, column profile_id"),
            "upper_depth": scaled(batch["upper_depth_cm"], 0.01),
            "lower_depth": scaled(batch["lower_depth_cm"], 0.01),
            "soc": scaled(batch["soc_g_kg"], 1.0),
            "bulk_density": scaled(batch["bulk_density_kg_m3"], 1.0),
            "coarse": scaled(batch["coarse_fragments_pct"], 1.0),
            "coarse_basis": pc.if_else(by_mass, "mass", "volume"),
            "litter": pa.repeat(litter, n),
            "ph": scaled(batch["ph_h2o"], 1.0),
            "clay": scaled(batch["clay_pct"], 1.0),
            "silt": scaled(batch["silt_pct"], 1.0),
            "sand": scaled(batch["sand_pct"], 1.0),
        }
        if "soc_basis" in batch.column_names:
            columns["soc_basis"] = _known(batch["soc_basis"], _BASES, path, "soc_basis")
        return layers(columns, str(path))


def _known(
    text: pa.ChunkedArray, meanings: tuple[tuple[str, str], ...], path: Path, column: str
) -> pa.ChunkedArray:
    """Return what the beginnings of texts mean; a text with no known beginning is an error."""
    recognised = pa.nulls(len(text), pa.string())
    for beginning, meaning in reversed(meanings):
        recognised = pc.if_else(pc.starts_with(text, beginning), meaning, recognised)
    filled = pc.not_equal(pc.fill_null(pc.utf8_trim_whitespace(text), ""), "")
    unknown = pc.unique(pc.filter(text, pc.and_(filled, pc.is_null(recognised)))).to_pylist()
    if unknown:
        raise FileError(
            f"{path}, column {column}: {', '.join(map(repr, sorted(unknown)[:5]))} is not known; "
            f"texts begin with one of {', '.join(repr(beginning) for beginning, _ in meanings)}."
        )
    return recognised


def _batches(path: Path, columns: tuple[str, ...], on_bytes: OnBytes | None) -> Iterator[pa.Table]:
    with reading(path, "Parquet file"):
        file = pq.ParquetFile(path)
    with file:
        names = file.schema_arrow.names
        if missing := [name for name in columns if name not in names]:
            raise FileError(f"{path}: lacks the column {', '.join(missing)}.")
        if twice := [name for name in columns if names.count(name) > 1]:
            raise FileError(f"{path}: the column {', '.join(twice)} appears twice.")
        if not file.metadata.num_rows and path.name != "dropped_organic_layers.parquet":
            raise FileError(f"{path}: contains no rows.")
        for name in columns:
            _check_type(path, name, file.schema_arrow.field(name).type)
        batches = file.iter_batches(batch_size=65_536, columns=list(columns))
        while True:
            with reading(path, "Parquet file"):
                batch = next(batches, None)
                if batch is None:
                    break
                table = pa.table(batch)
                for i, name in enumerate(table.column_names):
                    if name in _TEXTS:
                        table = table.set_column(i, name, table.column(i).cast(pa.string()))
                    elif name != "treated" and not pa.types.is_float32(table.column(i).type):
                        table = table.set_column(i, name, table.column(i).cast(pa.float64()))
            yield table
    if on_bytes is not None:
        on_bytes(path.stat().st_size)


def _check_type(path: Path, name: str, actual: pa.DataType) -> None:
    """Refuse a column whose type does not fit its meaning."""
    kind = actual.value_type if pa.types.is_dictionary(actual) else actual
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if name in _TEXTS:
        wanted = "text"
        fits = is_text or (name == "profile_id" and pa.types.is_integer(kind))
    elif name == "treated":
        wanted, fits = "true or false", pa.types.is_boolean(kind)
    else:
        wanted, fits = "numbers", is_number
    if not fits and not pa.types.is_null(kind):
        raise FileError(f"{path}, column {name}: contains {actual}; expected {wanted}.")
