import os
from pathlib import Path

import pytest

from proda.observations.profile_settings import from_mapping

HEADER = "profile,lat,lon,layer,top,bottom,soc,bd,coarse"
COLUMNS = {
    "profile_id": {"column": "profile"},
    "lat": {"column": "lat"},
    "lon": {"column": "lon"},
    "layer_id": {"column": "layer"},
    "upper_depth": {"column": "top", "unit": "cm"},
    "lower_depth": {"column": "bottom", "unit": "cm"},
    "soc": {"column": "soc", "unit": "g kg-1"},
    "bulk_density": {"column": "bd", "unit": "g cm-3"},
    "coarse": {"column": "coarse", "unit": "%"},
}


@pytest.fixture
def csv_settings(tmp_path):
    """Write a small table of layers; return settings that read it."""

    def make(lines, name="survey", **settings):
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        source = {"reader": "csv", "name": name, "layers_file": str(path), "columns": COLUMNS}
        return from_mapping({"source": [source], "pedotransfer": "paper", **settings}, "test")

    return make


@pytest.fixture
def data():
    """Folder of the real data files."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PRODA_DATA", default))
    if not (folder / "profiles" / "layers.parquet").is_file():
        pytest.skip(f"no real data in {folder}; set PRODA_DATA to the folder that holds profiles/")
    return folder
