"""The Python of the page on maps runs from top to bottom, on a small grid."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np

from proda import files
from tests.conftest import HERE
from tests.map_grids import small_grid


def test_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = small_grid()
    grid = grid.assign_coords(litter=["CWD", "ML", "CL", "LL"])
    files.write_zarr(grid.unify_chunks(), "forcing.zarr")
    stock = 5.0 + 10.0 * np.random.default_rng(0).random(grid["status"].shape)
    reference = (
        grid[["status"]]
        .load()
        .assign(soc_0_100_hwsd2=(("lat", "lon"), stock, {"units": "kgC m-2"}))
    )
    files.write_netcdf(reference, "reference.nc")
    page = (HERE.parent / "docs" / "maps.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), "maps.md", "exec"), {})
    plt.close("all")
    for name in ("map.png", "latitude.png", "scatter.png", "clm5_default.nc", "compas.nc"):
        assert (tmp_path / name).stat().st_size > 1000
