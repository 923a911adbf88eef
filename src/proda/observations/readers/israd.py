"""ISRaD, the International Soil Radiocarbon Database (Lawrence et al. 2020): its template's tables.

`site`, `profile` and `layer` as CSV. Carbon is in mass %, bulk density in g cm-3, depths in cm,
coarse fragments in mass %. The carbon number is measured organic carbon, else total minus
inorganic carbon, else total carbon; which one is kept in `soc_basis`. Bounds may be infinite
(unknown); layers above the mineral soil have negative depths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from proda.observations.delimited import read_delimited
from proda.observations.readers.base import (
    OnBytes,
    Part,
    Source,
    existing,
    from_frame,
    known_texts,
    layers,
)
from proda.observations.text import Dialect

_DIALECT = Dialect(multiline=True)
_S, _F = pa.string(), pa.float64()
_KEY = ("entry_name", "site_name", "pro_name")
_NUMBERS = ("site_lat", "site_long", "pro_lat", "pro_long", "lyr_top", "lyr_bot")
_TREATMENTS: dict[str, str | bool] = {"treatment": True, "control": False}


class IsradSource(Source):
    """The three tables of the template, in one folder."""

    reader: Literal["israd"] = "israd"
    folder: Path = Field(description="Folder with site, profile and layer as .csv or .csv.gz.")

    def files(self) -> list[Path]:
        """Return site, profile and layer table."""
        return [
            existing(self.folder, f"{t}.csv.gz", f"{t}.csv") for t in ("site", "profile", "layer")
        ]

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles (with their sites' coordinates where they have none), then layers."""
        site, profile, layer = self.files()
        yield self._profiles(site, profile, on_bytes)
        columns = dict.fromkeys((*_KEY, "lyr_name"), _S) | dict.fromkeys(
            (
                "lyr_obs_date_y",
                "lyr_top",
                "lyr_bot",
                "lyr_c_org",
                "lyr_c_tot",
                "lyr_c_inorg",
                "lyr_bd_samp",
                "lyr_bd_tot",
                "lyr_coarse_tot",
                "lyr_ph_h2o",
                "lyr_clay_tot_psa",
                "lyr_silt_tot_psa",
                "lyr_sand_tot_psa",
            ),
            _F,
        )
        for batch in read_delimited(layer, columns, _DIALECT, (), on_bytes, _KEY, _describes):
            yield layers(from_frame(self._layers(batch.to_pandas())), str(layer))

    def _profiles(self, site: Path, profile: Path, on_bytes: OnBytes | None) -> Part:
        site_columns = {"entry_name": _S, "site_name": _S, "site_lat": _F, "site_long": _F}
        columns = dict.fromkeys((*_KEY, "pro_treatment", "pro_country"), _S) | {
            "pro_lat": _F,
            "pro_long": _F,
        }
        sites = _frame(site, site_columns, on_bytes).drop_duplicates(["entry_name", "site_name"])
        merged = _frame(profile, columns, on_bytes).merge(
            sites, on=["entry_name", "site_name"], how="left", validate="many_to_one"
        )
        own = merged.pro_lat.notna() & merged.pro_long.notna()
        frame = pd.DataFrame(
            {
                "profile_id": self._ids(merged),
                "lat": merged.pro_lat.where(own, merged.site_lat),
                "lon": merged.pro_long.where(own, merged.site_long),
                "country": merged.pro_country.where(merged.pro_country != ""),
            }
        )
        columns = from_frame(frame)
        given = pa.chunked_array([pa.array(merged.pro_treatment.astype(object), pa.string())])
        columns["treated"] = known_texts(given, _TREATMENTS, f"{profile}, column pro_treatment")
        return self.profiles(columns)

    def _layers(self, frame: pd.DataFrame) -> pd.DataFrame:
        known = [frame.lyr_c_org, frame.lyr_c_tot - frame.lyr_c_inorg, frame.lyr_c_tot]
        basis = ["organic carbon", "total minus inorganic carbon", "total carbon"]
        has = [column.notna() for column in known]
        whole = frame.lyr_bd_samp.isna() & frame.lyr_bd_tot.notna()
        return pd.DataFrame(
            {
                "profile_id": self._ids(frame),
                "layer_id": frame.lyr_name,
                "upper_depth": (frame.lyr_top * 0.01).round(9),
                "lower_depth": (frame.lyr_bot * 0.01).round(9),
                "soc": np.select(has, known, np.nan) * 10.0,
                "soc_basis": pd.Series(np.select(has, basis, "")).replace("", None),
                "bulk_density": frame.lyr_bd_samp.fillna(frame.lyr_bd_tot) * 1000.0,
                "bulk_density_basis": np.where(whole, "whole soil", "fine earth"),
                "coarse": frame.lyr_coarse_tot,
                "coarse_basis": "mass",
                "ph": frame.lyr_ph_h2o,
                "year": frame.lyr_obs_date_y,
                "clay": frame.lyr_clay_tot_psa,
                "silt": frame.lyr_silt_tot_psa,
                "sand": frame.lyr_sand_tot_psa,
            }
        )

    def _ids(self, frame: pd.DataFrame) -> pd.Series:
        return self.name + ":" + frame.entry_name + "/" + frame.site_name + "/" + frame.pro_name


def _describes(row: Mapping[str, str]) -> bool:
    """Recognise the template's rows of descriptions and units below the header."""
    if row.get("entry_name", "").strip().casefold() in ("entry/dataset name", "author_year"):
        return True
    texts = [row[name].strip() for name in _NUMBERS if name in row]
    return (
        any(texts)
        and not any(c.isdigit() for text in texts for c in text)
        and not any(text.lstrip("+-").casefold() in ("inf", "na", "nan") for text in texts)
    )


def _frame(path: Path, columns: dict[str, pa.DataType], on_bytes: OnBytes | None) -> pd.DataFrame:
    key = [name for name in _KEY if name in columns]
    batches = list(read_delimited(path, columns, _DIALECT, (), on_bytes, key, _describes))
    return pa.Table.from_batches(batches).to_pandas()
