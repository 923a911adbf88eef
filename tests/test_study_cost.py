"""What a study will take is predicted for every stage that it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from proda.study.cost import predict
from proda.study.folder import StudyFolder
from proda.study.pipeline import plan_study
from proda.study.settings import parse

DATA = ("profiles", "forcing", "covariates")


@pytest.mark.parametrize("route", ["end-to-end", "posterior", "both"])
def test_every_stage_has_a_cost(tmp_path: Path, route: str) -> None:
    for name in ("layers", "profiles"):
        (tmp_path / f"{name}.parquet").touch()
    axes = {"lat": np.arange(-60.0, 61.0, 30.0), "lon": np.arange(-150.0, 151.0, 60.0)}
    grid = xr.Dataset({"clay": (("lat", "lon"), np.ones((5, 6)))}, coords=axes)
    grid.to_netcdf(tmp_path / "covariates.nc")
    (tmp_path / "climate.nc").touch()
    settings = parse(
        {
            "study": {"name": "trial"},
            "learning": {"route": route},
            "profiles": {"source": [{"reader": "tidy", "name": "x", "folder": "."}]},
            "forcing": {"climate": "climate.nc"},
            "covariates": {"grid": "covariates.nc"},
            "projection": {"run": True, "every": 3, "members": 2},
        },
        "test",
        tmp_path,
    )
    steps, record = plan_study(settings, tmp_path / "out")
    costs = predict(StudyFolder(tmp_path / "out", settings), steps, record)
    assert {step.stage.name for step in steps} == set(costs)
    assert {"clm5/projection", "projections", "attribution", "report"} <= set(costs)
    assert costs["clm5/projection"].seconds > 5.0
    twice = parse(
        {**settings.model_dump(mode="json", exclude_none=True), "projection": {"run": True}},
        "test",
        tmp_path,
    )
    whole = predict(StudyFolder(tmp_path / "out", twice), steps, record)
    assert whole["clm5/projection"].seconds > costs["clm5/projection"].seconds
    published = parse(
        {
            "study": {"name": "trial", "method": "published"},
            "assimilation": {"sites": 200, "workers": 2},
            **{name: settings.model_dump(mode="json", exclude_none=True)[name] for name in DATA},
        },
        "test",
        tmp_path,
    )
    steps, record = plan_study(published, tmp_path / "published")
    costs = predict(StudyFolder(tmp_path / "published", published), steps, record)
    assert 400.0 < costs["clm5/assimilation"].seconds < 900.0  # 42 million steps of 30 us
    assert 300.0 < costs["clm5/training"].seconds < 3600.0
