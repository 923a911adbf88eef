"""The public Python interface: what it offers, what it refuses, and that its page runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import proda
from proda import cf, files
from proda.drivers.site_tables import read_sites
from tests.assimilation_worlds import _COLUMNS, _HEADER
from tests.conftest import HERE
from tests.map_grids import small_grid
from tests.run_folders import made_run, made_summary
from tests.test_docs import code

ROOT = HERE.parent
HEAVY = ("jax", "numpy", "pandas", "xarray", "matplotlib", "pydantic", "dask")


def test_import_is_fast_because_it_imports_nothing_else():
    asked = f"import sys, proda; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    assert proda.__all__ == sorted(proda.__all__)
    for name in proda.__all__:
        value = getattr(proda, name)
        assert value.__doc__, name
        assert name in dir(proda)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        proda.nothing  # noqa: B018


def test_type_checkers_and_the_import_at_run_time_agree():
    """What editors see under TYPE_CHECKING are the same objects."""
    tree = ast.parse((ROOT / "src" / "proda" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom) and node.module != "typing":
            for alias in node.names:
                place = (
                    node.module
                    if alias.asname in (None, alias.name)
                    else (f"{node.module}:{alias.name}")
                )
                seen[alias.asname or alias.name] = place
    assert seen == proda._HOME
    assert set(seen) == set(proda.__all__)


def test_the_reference_shows_every_public_name_and_no_other():
    text = (ROOT / "docs" / "api" / "python.md").read_text()
    assert set(re.findall(r"^::: proda\.(\w+)$", text, re.MULTILINE)) == set(proda.__all__)


def test_the_page_runs_as_it_is_written(tmp_path):
    """In a process of its own."""
    script = tmp_path / "page.py"
    blocks = code(ROOT / "docs" / "python.md", "python")
    assert not any(
        "from proda" in block or "proda." in re.findall(r"import (\S+)", block) for block in blocks
    )
    used = set(re.findall(r"\bproda\.(\w+)", "\n".join(blocks)))
    assert used <= set(proda.__all__)
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cSoilAbove1m" in done.stdout
    assert (tmp_path / "comparison" / "findings.csv").is_file()
    assert (tmp_path / "clm5.inputs" / "forcing.nc").is_file()


def _table() -> pd.DataFrame:
    rows = [
        (i, 10.0 * i + 5.0, 5.0 * i + 5.0, f"{i}-{k}", 30 * k, 30 * k + 30, 20 - 5 * k, 1.2)
        for i in range(3)
        for k in range(3)
    ]
    columns = ["profile", "lat", "lon", "layer", "top", "bottom", "soc", "bd"]
    return pd.DataFrame(rows, columns=columns)


def test_profiles_from_memory_are_those_from_a_file(tmp_path):
    source = {"reader": "csv", "name": "survey", "columns": _COLUMNS}
    table = _table().rename(columns=dict(zip(_table(), _HEADER.split(","), strict=True)))
    table.to_csv(tmp_path / "table.csv", index=False)
    filed = {**source, "layers_file": str(tmp_path / "table.csv")}
    one = proda.build_profiles({"source": [filed], "pedotransfer": "paper"}, tmp_path / "one")
    two = proda.build_profiles(
        {"source": [source], "pedotransfer": "paper"}, tmp_path / "two", tables={"survey": table}
    )
    assert len(one.profiles) == 3
    for name in ("profiles", "layers", "rejected"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    with pytest.raises(proda.ObservationError, match="no source of the settings has the name 'x'"):
        proda.build_profiles({"source": [filed]}, tmp_path / "three", tables={"x": table})
    with pytest.raises(proda.ObservationError, match="give the settings as a mapping"):
        proda.build_profiles(tmp_path / "p.toml", tmp_path / "three", tables={"survey": table})


def test_forcing_of_sites_in_memory_is_that_of_files(tmp_path):
    grid = small_grid().assign_coords(litter=["CWD", "ML", "CL", "LL"])
    files.write_zarr(grid.unify_chunks(), tmp_path / "forcing.zarr")
    usable = np.argwhere(grid["status"].to_numpy() == 0)[:3]
    sites = pd.DataFrame(
        {
            "site": ["a", "b", "far"],
            "latitude": [*grid["lat"].to_numpy()[usable[:2, 0]], -89.0],
            "longitude": [*grid["lon"].to_numpy()[usable[:2, 1]], 0.0],
        }
    )
    sites.to_csv(tmp_path / "sites.csv", index=False)
    here = proda.sample_forcing(cf.open_grid(tmp_path / "forcing.zarr"), sites)
    there = proda.sample_forcing(
        tmp_path / "forcing.zarr", tmp_path / "sites.csv", tmp_path / "sites.nc"
    )
    xr.testing.assert_equal(here.forcing, there.forcing)
    assert list(here.left_out["site"]) == ["far"]
    assert list(read_sites(tmp_path / "sites.csv")["site"]) == ["a", "b", "far"]
    written = pd.read_csv(tmp_path / "sites.nc.left_out.csv")
    assert list(written["site"]) == ["far"]


def test_diagnosis_is_the_same_from_a_folder_a_run_and_a_summary(tmp_path):
    folder = made_run(tmp_path / "run")
    run = proda.open_assimilation(folder)
    assert set(run.draws.dims) == {"site", "chain", "draw", "parameter"}
    limits = proda.Filter(max_gelman_rubin=1.03)
    found = [proda.diagnose(given, limits).sites for given in (folder, run, made_summary())]
    pd.testing.assert_frame_equal(found[0], found[1])
    pd.testing.assert_frame_equal(found[0], found[2])
    judged = proda.diagnose(run, limits, tmp_path / "kept.nc")
    kept = files.open_dataset(tmp_path / "kept.nc").load()
    xr.testing.assert_equal(kept, proda.kept_posterior(judged))
    assert kept.sizes["site"] == judged.kept.sum() > 0


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path):
    folder = made_run(tmp_path / "run")
    other = proda.AssimilationSettings(model="clm5", seed=7)
    with pytest.raises(proda.AssimilationError, match=r"seed = 7 \(the run has 0\)"):
        proda.assimilate("p", "f", folder, other)
    # Without settings those of the run are taken; what is asked for next is its data.
    with pytest.raises(proda.AssimilationError, match="no checksum of its forcing"):
        proda.assimilate("p", "f", folder)


def test_another_forcing_in_memory_is_refused_by_a_run_that_has_begun(tmp_path):
    folder = made_run(tmp_path / "run")
    first = proda.example_columns()
    (tmp_path / "run.inputs").mkdir()
    files.write_netcdf(first, tmp_path / "run.inputs" / "forcing.nc")
    warmer = first.assign(soil_temperature=first["soil_temperature"] + 1.0)
    with pytest.raises(proda.AssimilationError, match="started with another forcing"):
        proda.assimilate("p", warmer, folder)
    with pytest.raises(proda.AssimilationError, match="no checksum of its forcing"):
        proda.assimilate("p", first, folder)  # the same forcing is taken, and then looked at


def test_a_map_needs_one_source_of_parameters(tmp_path):
    with pytest.raises(proda.MapError, match="exactly one of"):
        proda.map_carbon("forcing.zarr", tmp_path / "map.nc")
    with pytest.raises(proda.MapError, match="exactly one of"):
        proda.map_carbon("forcing.zarr", tmp_path / "map.nc", default=True, network="network")
    with pytest.raises(proda.MapError, match="name the model"):
        proda.map_carbon("forcing.zarr", tmp_path / "map.nc", default=True)
    with pytest.raises(proda.MapError, match="covariates of the grid"):
        proda.map_carbon("forcing.zarr", tmp_path / "map.nc", network="network")
    with pytest.raises(proda.ComparisonError, match="name the folder"):
        proda.compare({"clm5": proda.ModelFiles(maps="a.nc")})
