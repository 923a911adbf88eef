"""Radiocarbon of ISRaD's layers, with the data that its rules need (Lawrence et al. 2020).

Depths in cm; Delta14C in permil, fraction modern beside it. Treatments, peatland, permafrost and
land cover are in the table of profiles; a flag is `yes` or empty, never `no`. The year is that of
sampling (`lyr_obs_date_y`), not that of the laboratory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from proda.observations.delimited import read_delimited
from proda.observations.readers.base import existing
from proda.observations.readers.israd import _DIALECT, _KEY, _describes, _frame

_S, _F = pa.string(), pa.float64()
_WET = ("wetland",)
_CULTIVATED = ("cultivated",)


def read_israd(folder: Path) -> pd.DataFrame:
    """Return one row for each layer that has Delta14C or fraction modern, with its flags."""
    site, profile, layer = (
        existing(folder, f"{t}.csv.gz", f"{t}.csv") for t in ("site", "profile", "layer")
    )
    places = _frame(site, dict.fromkeys(_KEY[:2], _S) | {"site_lat": _F, "site_long": _F}, None)
    texts = ("pro_treatment", "pro_peatland", "pro_permafrost", "pro_land_cover", "pro_water_body")
    columns = dict.fromkeys((*_KEY, *texts), _S) | {"pro_lat": _F, "pro_long": _F}
    about = _frame(profile, columns, None).drop_duplicates(list(_KEY))
    about = about.merge(
        places.drop_duplicates(["entry_name", "site_name"]),
        on=["entry_name", "site_name"],
        how="left",
        validate="many_to_one",
    )
    numbers = (
        "lyr_obs_date_y",
        "lyr_top",
        "lyr_bot",
        "lyr_14c",
        "lyr_fraction_modern",
        "lyr_c_org",
        "lyr_c_tot",
        "lyr_c_inorg",
    )
    wanted = dict.fromkeys((*_KEY, "lyr_all_org_neg"), _S) | dict.fromkeys(numbers, _F)
    batches = list(read_delimited(layer, wanted, _DIALECT, (), None, _KEY, _describes))
    frame = pa.Table.from_batches(batches).to_pandas()
    frame = frame[frame.lyr_14c.notna() | frame.lyr_fraction_modern.notna()]
    rows = frame.merge(about, on=list(_KEY), how="left", validate="many_to_one")
    year, modern = rows.lyr_obs_date_y, rows.lyr_fraction_modern
    from_modern = 1000.0 * (modern * np.exp((1950.0 - year) / 8267.0) - 1.0)
    own = rows.pro_lat.notna() & rows.pro_long.notna()

    def flagged(name: str) -> pd.Series:
        return rows[name].fillna("").str.strip().str.casefold().eq("yes")

    cover = rows.pro_land_cover.fillna("").str.strip().str.casefold()
    carbon = rows.lyr_c_org.fillna(rows.lyr_c_tot - rows.lyr_c_inorg).fillna(rows.lyr_c_tot)
    water = rows.pro_water_body.fillna("").str.strip() != ""
    return pd.DataFrame(
        {
            "source_id": rows.entry_name + "/" + rows.site_name + "/" + rows.pro_name,
            "lat": rows.pro_lat.where(own, rows.site_lat),
            "lon": rows.pro_long.where(own, rows.site_long),
            "upper": (rows.lyr_top * 0.01).round(9),
            "lower": (rows.lyr_bot * 0.01).round(9),
            "year": year + 0.5,  # the middle of the year
            "value": rows.lyr_14c.fillna(from_modern),
            "delta": rows.lyr_14c,
            "modern": modern,
            "treated": rows.pro_treatment.fillna("").str.strip().str.casefold().eq("treatment"),
            "peatland": flagged("pro_peatland") | cover.isin(_WET) | water,
            "permafrost": flagged("pro_permafrost"),
            "cultivated": cover.isin(_CULTIVATED),
            "organic": flagged("lyr_all_org_neg"),
            "carbon_percent": carbon,
        }
    )
