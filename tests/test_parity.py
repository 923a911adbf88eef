"""The `published` variants against the published code's own answers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import proda
from tests.conftest import HERE, parameters_of


def published_clm5(dataset: xr.Dataset) -> None:
    trusted = dataset.isel(site=np.flatnonzero(dataset["singular_warning"].to_numpy() == 0))
    assert trusted.sizes["site"] >= 30
    model = proda.load_model("clm5", variant="published")
    result = proda.steady_state(model, parameters_of(trusted), proda.Forcing.from_dataset(trusted))
    ours, theirs = result["pool_carbon"].to_numpy(), trusted["pool_carbon"].to_numpy()
    largest = theirs.max(axis=2, keepdims=True)
    np.testing.assert_array_less(np.abs(ours - theirs) / largest, 1e-6)
    ours, theirs = result["soil_carbon"].to_numpy(), trusted["soc"].to_numpy()
    np.testing.assert_array_less(np.abs(ours - theirs) / theirs.max(axis=1, keepdims=True), 1e-6)
    assert (result["reason"] == 0).all()


def published_compas(dataset: xr.Dataset) -> None:
    model = proda.load_model("compas", variant="published")
    result = proda.steady_state(model, parameters_of(dataset), proda.Forcing.from_dataset(dataset))
    above = np.arange(20) < dataset["nbedrock"].to_numpy()[:, None, None]
    theirs = dataset["pool_carbon"].to_numpy()
    empty = np.isnan(theirs)
    ours = np.abs(result["pool_carbon"].to_numpy())
    # A layer that receives nothing is 0/0 in the published code; ours holds nothing.
    assert (ours[empty & above] == 0).all()
    theirs = np.where(above & ~empty, np.abs(theirs), 0.0)
    difference = np.abs(np.where(above, ours, 0.0) - theirs)
    relative = difference.max(axis=(1, 2)) / theirs.max(axis=(1, 2))
    assert np.mean(relative < 1e-6) >= 0.95
    assert relative.max() < 1e-3
    accepted = np.nansum(dataset["soc"].to_numpy(), axis=1) > 0
    np.testing.assert_array_equal(result["reason"].to_numpy() == 0, accepted)
    assert 0 < accepted.sum() < accepted.size


def test_clm5_subset():
    published_clm5(xr.load_dataset(HERE / "data" / "clm5_published.nc"))


def test_compas_subset():
    published_compas(xr.load_dataset(HERE / "data" / "compas_published.nc"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "check"), [("clm5", published_clm5), ("compas", published_compas)]
)
def test_all_cases(real_data, name, check):
    path = real_data.parent / "reference" / f"{name}_published.nc"
    if not path.is_file():
        pytest.skip(f"no published answers in {path}")
    dataset = xr.load_dataset(path)
    assert dataset.sizes["site"] == 200
    check(dataset)


def test_the_default_differs_where_the_published_code_is_wrong():
    """Conservation is what the default mends: in bedrock, and by its leak."""
    dataset = xr.load_dataset(HERE / "data" / "clm5_published.nc")
    shallow = dataset.isel(site=np.flatnonzero(dataset["nbedrock"].to_numpy() < 18))
    forcing, values = proda.Forcing.from_dataset(shallow), parameters_of(shallow)
    mass_balance = {}
    for variant in ("default", "published"):
        result = proda.steady_state(proda.load_model("clm5", variant), values, forcing)
        mass_balance[variant] = (result["respiration"] / result["carbon_input"]).to_numpy()
    np.testing.assert_allclose(mass_balance["default"], 1.0, rtol=1e-10)
    assert np.mean(np.abs(mass_balance["published"] - 1.0) > 1e-3) > 0.5
