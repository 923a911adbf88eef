"""WoSIS snapshot of December 2023 (Batjes et al. 2024, doi:10.17027/isric-wdcsoils-20231130).

Also the dynamic data set WoSIS latest, which is written alike. One tab separated file per
property, `wosis_202312_<property>.tsv` or `wosis_latest_<property>.tsv`; each row is one layer
with its profile's coordinates. Units as in the 2019 snapshot: g kg-1, kg dm-3, volume %, cm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import Field

from proda.observations.delimited import read_delimited
from proda.observations.notes import note
from proda.observations.readers.base import (
    OnBytes,
    Part,
    Source,
    existing,
    is_file,
    layers,
    scaled,
    values,
    year_in,
)
from proda.observations.readers.wosis2019 import DENSITIES
from proda.observations.text import Dialect

_DIALECT = Dialect(delimiter="\t", ends_with_newline=True)
_S, _F = pa.string(), pa.float64()
_KEY = ("profile_id", "layer_id")
_PREFIXES = ("wosis_202312_", "wosis_latest_")
_ENDINGS = (".tsv", ".tsv.gz")
_OTHERS = {"cfvo": "coarse", "phaq": "ph", "clay": "clay", "silt": "silt", "sand": "sand"}


class Wosis2023Source(Source):
    """The files of the snapshot, in one folder; organic carbon is needed, the others are used."""

    reader: Literal["wosis2023"] = "wosis2023"
    folder: Path = Field(
        description="Folder with wosis_202312_orgc.tsv and others (or .tsv.gz; or wosis_latest_)."
    )

    def files(self) -> list[Path]:
        """Return organic carbon, then the other properties that are there."""
        return [self._carbon(), *(path for path, _ in self._properties())]

    def _carbon(self) -> Path:
        names = [f"{p}orgc{e}" for p in _PREFIXES for e in _ENDINGS]
        path = existing(self.folder, *names)
        if path.name.startswith(_PREFIXES[1]):
            note(
                f"{path}: this is WoSIS latest, which changes daily; keep the files, and "
                "state the date of the download with the results."
            )
        return path

    def _properties(self) -> list[tuple[Path, str]]:
        properties = []
        prefix = next(p for p in _PREFIXES if self._carbon().name.startswith(p))
        for name in (*DENSITIES, *_OTHERS):
            for ending in _ENDINGS:
                path = self.folder / f"{prefix}{name}{ending}"
                if is_file(path):
                    properties.append((path, name))
                    break
        return properties

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles and layers with carbon, then the other properties of the layers."""
        yield from self._layers(on_bytes)
        for path, name in self._properties():
            yield from self._values(path, name, on_bytes)

    def _layers(self, on_bytes: OnBytes | None) -> Iterator[Part]:
        columns = {
            "profile_id": _S,
            "layer_id": _S,
            "upper_depth": _F,
            "lower_depth": _F,
            "value_avg": _F,
            "longitude": _F,
            "latitude": _F,
            "licence": _S,
            "country_name": _S,
            "date": _S,
            "organic_surface": pa.bool_(),
        }
        optional = ("licence", "country_name", "date", "organic_surface")
        for batch in read_delimited(self._carbon(), columns, _DIALECT, optional, on_bytes, _KEY):
            table = pa.table(batch)
            ids = self.identifiers(table["profile_id"])
            profile = {"profile_id": ids, "lat": table["latitude"], "lon": table["longitude"]}
            for name, mine in (("licence", "licence"), ("country_name", "country")):
                if name in table.column_names:
                    profile[mine] = table[name]
            yield self.profiles(profile)
            arrays = {
                "profile_id": ids,
                "layer_id": table["layer_id"],
                "upper_depth": scaled(table["upper_depth"], 0.01),
                "lower_depth": scaled(table["lower_depth"], 0.01),
                "soc": table["value_avg"],
                "soc_basis": pa.repeat("organic carbon", len(table)),
            }
            if "organic_surface" in table.column_names:
                arrays["litter"] = table["organic_surface"]
            if "date" in table.column_names:
                arrays["year"] = year_in(table["date"])
            yield layers(arrays, str(self._carbon()))

    def _values(self, path: Path, name: str, on_bytes: OnBytes | None) -> Iterator[Part]:
        columns = {"profile_id": _S, "layer_id": _S, "value_avg": _F}
        for batch in read_delimited(path, columns, _DIALECT, (), on_bytes, _KEY):
            table = pa.table(batch)
            table = table.filter(table["value_avg"].is_valid())
            n = len(table)
            arrays = {
                "profile_id": self.identifiers(table["profile_id"]),
                "layer_id": table["layer_id"],
            }
            if name in DENSITIES:
                basis = "whole soil" if name.startswith("bdws") else "fine earth"
                arrays["bulk_density"] = scaled(table["value_avg"], 1000.0)
                arrays["bulk_density_basis"] = pa.repeat(basis, n)
                rank = DENSITIES.index(name)
            else:
                arrays[_OTHERS[name]] = table["value_avg"]
                rank = 0
            yield values(arrays, rank, str(path))
