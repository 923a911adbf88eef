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
from proda.observations.readers.base import OnBytes, Part, Source, existing, layers, scaled

_PROFILES = ("source", "profile_id", "lat", "lon", "location_error_deg", "year", "country",
             "licence", "treated", "depth_bounds")  # fmt: skip
_ORGANIC = ("profile_id", "upper_depth_cm", "lower_depth_cm", "soc_g_kg", "bulk_density_kg_m3",
            "coarse_fragments_pct", "clay_pct", "silt_pct", "sand_pct", "ph_h2o")  # fmt: skip
_LAYERS = (*_ORGANIC, "soc_basis")

_BASES = (
    ("AfSIS sentinel site", "spectroscopy"),
    ("total C (inorganic C not reported", "total carbon"),
    ("total C minus", "total minus inorganic carbon"),
    ("organic C", "organic carbon"),
)
"""Beginning of the pool's `soc_basis` -> the schema's."""


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
            yield self._layers(batch, litter=False)
        for path in organic:
            for batch in _batches(path, _ORGANIC, on_bytes):
                yield self._layers(batch, litter=True)

    def _profiles(self, batch: pa.Table) -> Part:
        reconstructed = pc.starts_with(batch["depth_bounds"], "reconstructed")
        return self.profiles(
            {
                "profile_id": self.identifiers(batch["profile_id"]),
                "collection": batch["source"],
                "lat": batch["lat"],
                "lon": batch["lon"],
                "location_error": scaled(batch["location_error_deg"], 1.0),
                "year": batch["year"],
                "country": batch["country"],
                "licence": batch["licence"],
                "treated": batch["treated"],
                "depth_bounds": pc.if_else(reconstructed, "reconstructed", "as given"),
            }
        )

    def _layers(self, batch: pa.Table, litter: bool) -> Part:
        n = len(batch)
        # The pool's identifiers begin with their collection; names may hold underscores.
        ids = batch["profile_id"]
        by_mass = pa.array([False] * n)
        for collection in self.mass_coarse:
            by_mass = pc.or_(by_mass, pc.starts_with(ids, collection + "_"))
        columns = {
            "profile_id": self.identifiers(ids),
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
            columns["soc_basis"] = _basis(batch["soc_basis"])
        return layers(columns)


def _basis(given: pa.ChunkedArray) -> pa.ChunkedArray:
    text = given.cast(pa.string())
    basis = text
    for beginning, meaning in _BASES:
        basis = pc.if_else(pc.starts_with(text, beginning), meaning, basis)
    return basis


def _batches(path: Path, columns: tuple[str, ...], on_bytes: OnBytes | None) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in columns if name not in file.schema_arrow.names]:
                raise FileError(f"{path}: lacks the column {', '.join(missing)}.")
            for batch in file.iter_batches(batch_size=65_536, columns=list(columns)):
                yield pa.table(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise FileError(
            f"{path}: not a readable Parquet file ({error}). Check that it was copied whole."
        ) from error
    if on_bytes is not None:
        on_bytes(path.stat().st_size)
