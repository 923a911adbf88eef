"""The land that is drawn behind sites: that of the first map, nothing before there is one."""

from __future__ import annotations

import numpy as np

from proda.maps.totals import open_map
from proda.study.report.folder import StudyFolder


def land_of(study: StudyFolder) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return latitudes, longitudes and the mask (lat, lon) of land."""
    for model in study.models:
        for file in ("default.nc", "maps.nc"):
            path = study.path / model / file
            if path.is_file():
                with open_map(path) as dataset:
                    land = dataset["reason"].transpose("lat", "lon").notnull()  # noqa: PD004
                    return tuple(dataset[n].to_numpy() for n in ("lat", "lon")) + (land.to_numpy(),)
    return None
