"""WoSIS snapshot of September 2019 (Batjes et al. 2020, doi:10.17027/isric-wdcsoils.20190901).

Three tab separated files. Every layer is in `layers_chemical` and in `layers_physical`, with
the columns `<property>_value`, `_value_avg`, `_method`, ... for each property. Content is in
g kg-1, bulk density in kg dm-3, coarse fragments in volume %, depths in cm; layers with a negative
upper depth, or marked `litter`, lie on the mineral soil. `geom_accuracy` is in degrees.
The year is the first in `orgc_date`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from proda.errors import FileError
from proda.observations.delimited import read_delimited, read_header
from proda.observations.readers.base import (
    OnBytes,
    Part,
    Source,
    existing,
    first_valid,
    layers,
    scaled,
    values,
    year_in,
)
from proda.observations.text import Dialect

DENSITIES = (
    "bdfiod",
    "bdfi33",
    "bdfiad",
    "bdfifm",
    "bdfins",
    "bdwsod",
    "bdws33",
    "bdwsad",
    "bdwsfm",
    "bdwsns",
)
"""Bulk densities in order of preference: of the fine earth (`bdfi`), oven dry first, then at
33 kPa, air dry, field moist, not specified; then of the whole soil (`bdws`)."""

_DIALECT = Dialect(delimiter="\t", ends_with_newline=True)
_KEY = ("profile_id", "profile_layer_id")
_S, _F = pa.string(), pa.float64()


class Wosis2019Source(Source):
    """The three files of the snapshot, in one folder."""

    reader: Literal["wosis2019"] = "wosis2019"
    folder: Path = Field(description="Folder with wosis_201909_*.tsv (or .tsv.gz).")

    def files(self) -> list[Path]:
        """Return profiles, chemical and physical layers."""
        names = [
            f"wosis_201909_{t}.tsv" for t in ("profiles", "layers_chemical", "layers_physical")
        ]
        return [existing(self.folder, name, f"{name}.gz") for name in names]

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles, then layers with carbon, then densities and coarse fragments."""
        profiles, chemical, physical = self.files()
        yield from self._profiles(profiles, on_bytes)
        yield from self._chemical(chemical, on_bytes)
        yield from self._physical(physical, on_bytes)

    def _profiles(self, path: Path, on_bytes: OnBytes | None) -> Iterator[Part]:
        columns = {
            "profile_id": _S,
            "country_id": _S,
            "geom_accuracy": _F,
            "latitude": _F,
            "longitude": _F,
        }
        optional = ("country_id", "geom_accuracy")
        for batch in read_delimited(path, columns, _DIALECT, optional, on_bytes, _KEY):
            table = pa.table(batch)
            arrays = {
                "profile_id": self.identifiers(table["profile_id"]),
                "lat": table["latitude"],
                "lon": table["longitude"],
            }
            for name, mine in (("country_id", "country"), ("geom_accuracy", "location_error")):
                if name in table.column_names:
                    arrays[mine] = table[name]
            yield self.profiles(arrays)

    def _chemical(self, path: Path, on_bytes: OnBytes | None) -> Iterator[Part]:
        columns = {
            "profile_id": _S,
            "profile_layer_id": _S,
            "upper_depth": _F,
            "lower_depth": _F,
            "litter": pa.bool_(),
            "orgc_value_avg": _F,
            "orgc_date": _S,
            "phaq_value_avg": _F,
        }
        optional = ("litter", "orgc_date", "phaq_value_avg")
        for batch in read_delimited(path, columns, _DIALECT, optional, on_bytes, _KEY):
            table = pa.table(batch)
            arrays = {
                "profile_id": self.identifiers(table["profile_id"]),
                "layer_id": table["profile_layer_id"],
                "upper_depth": scaled(table["upper_depth"], 0.01),
                "lower_depth": scaled(table["lower_depth"], 0.01),
                "soc": table["orgc_value_avg"],
                "soc_basis": pa.repeat("organic carbon", len(table)),
            }
            for name, mine in (("litter", "litter"), ("phaq_value_avg", "ph")):
                if name in table.column_names:
                    arrays[mine] = table[name]
            if "orgc_date" in table.column_names:
                arrays["year"] = year_in(table["orgc_date"])
            yield layers(arrays, str(path))

    def _physical(self, path: Path, on_bytes: OnBytes | None) -> Iterator[Part]:
        header = read_header(path, _DIALECT)
        densities = [d for d in DENSITIES if f"{d}_value_avg" in header]
        if not densities:
            raise FileError(
                f"{path}, line 1: contains no bulk density; one of "
                f"{', '.join(d + '_value_avg' for d in DENSITIES)} was expected."
            )
        texture = ("clay", "silt", "sand")
        columns = {"profile_id": _S, "profile_layer_id": _S} | {
            f"{name}_value_avg": _F for name in (*densities, "cfvo", *texture)
        }
        optional = [f"{name}_value_avg" for name in ("cfvo", *texture)]
        for batch in read_delimited(path, columns, _DIALECT, optional, on_bytes, _KEY):
            table = pa.table(batch)
            density, origin = first_valid([table[f"{d}_value_avg"] for d in densities])
            arrays = {
                "profile_id": self.identifiers(table["profile_id"]),
                "layer_id": table["profile_layer_id"],
                "bulk_density": scaled(density, 1000.0),
                "bulk_density_basis": density_basis(densities, origin),
            }
            for name, mine in (("cfvo", "coarse"), *((t, t) for t in texture)):
                if f"{name}_value_avg" in table.column_names:
                    arrays[mine] = table[f"{name}_value_avg"]
            yield values(arrays, source=str(path))


def density_basis(densities: list[str], origin: np.ndarray) -> pa.Array:
    """Return 'fine earth' or 'whole soil' for each density, null where there is none."""
    names = np.array(["whole soil" if d.startswith("bdws") else "fine earth" for d in densities])
    return pa.array(names[origin], mask=origin < 0)
