"""Data of the maps for the report: carbon of the first metre, totals, land."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from proda import files
from proda.comparison.model_files import AFTER, END_TO_END
from proda.layout import DEFAULT_MAP, END_TO_END_MAP, MAP
from proda.maps.totals import open_map
from proda.study.report.results import StudyResults

STOCK = "cSoilAbove1m"
DEFAULT = DEFAULT_MAP
CONSTRAINED = {END_TO_END: END_TO_END_MAP, AFTER: MAP}
"""Maps whose parameters profiles constrain, by route."""

_NEEDED = (
    STOCK,
    f"{STOCK}_sd",
    "reason",
    "cell_area",
    "land_fraction",
    "outside_training",
    "member_carbon",
    "member_area",
)


def map_of(study: StudyResults, model: str, file: str) -> xr.Dataset | None:
    """Return a model's map in memory, without layers and parameters; None until it exists.

    Raises
    ------
    FileError
        If it is damaged.
    MapError
        If it is not a map.
    """
    path = study.path / model / file
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> xr.Dataset:
    # Closed at once, because files closed by the garbage collector crash the netCDF library.
    with open_map(path) as opened:
        return files.load(opened[[n for n in _NEEDED if n in opened]], path)


def land_of(study: StudyResults) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return latitudes, longitudes and mask (lat, lon) of the first map's land, None without."""
    for model in study.models:
        for file in (DEFAULT, *CONSTRAINED.values()):
            dataset = map_of(study, model, file)
            if dataset is not None:
                land = dataset["reason"].transpose("lat", "lon").notnull()
                return dataset["lat"].to_numpy(), dataset["lon"].to_numpy(), land.to_numpy()
    return None
