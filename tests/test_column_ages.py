"""`proda column --ages` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import cli
from proda.cli.console import console


def test_ages_are_printed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both, so that no terminal is asked, whatever other tests have left there.
    monkeypatch.setattr(console, "_width", 120)
    monkeypatch.setattr(console, "_height", 50)
    path = tmp_path / "out.nc"
    given = ["column", "--example", "--model", "compas", "--ages", "--output", str(path)]
    done = CliRunner().invoke(cli.app, given)
    assert done.exit_code == 0, done.output
    assert "transit time" in done.output
    with xr.open_dataset(path) as found:
        stock = (found["pool_carbon"] * found["thickness"]).sum(["pool", "layer"])
        residence = stock / found["carbon_input"]
        np.testing.assert_allclose(found["transit_time"], residence, rtol=1e-9)
        assert found["mean_age_by_pool"].dims == ("site", "pool")
        assert found["mean_age_by_layer"].dims == ("site", "layer")
        assert found["mean_age_0_100"].attrs["units"] == "yr"
        assert (found["mean_age_by_layer"] >= 0.0).all()
