"""`proda column --ages` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda import cli
from proda.cli.console import console
from proda.column.column import prepare
from proda.learning.contract_columns import example_forcing
from proda.radiocarbon.distribution_of_ages import ages
from tests.conftest import defaults


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


def test_carbon_that_is_too_old_for_a_number_is_infinitely_old() -> None:
    """Rates fall off with depth within centimetres: the age of deep carbon overflows."""
    model = proda.load_model("clm5")
    forcing = example_forcing()
    columns = prepare(forcing)
    given = defaults(model, forcing)
    values = {row.name: jnp.asarray(given[row.name].to_numpy()) for row in model.rows}
    steep = dict(values, efolding=jnp.full_like(values["efolding"], 0.012))

    @jax.jit
    def found(values, columns):
        def one(values, column):
            state = model.steady_state(values, column)
            return state.reason, state.pools, ages(model, state.pools, values, column)

        return jax.vmap(one)(values, columns)

    reason, pools, old = found(steep, columns)
    fine = np.asarray(reason) == 0
    assert fine.any()
    assert np.isfinite(np.asarray(pools)[fine]).all()
    for name, age in old.items():
        age = np.asarray(age)[fine]
        assert not np.isnan(age).any(), name
        assert (age >= 0.0).all(), name
    assert np.isinf(np.asarray(old["mean_age"])[fine]).any()
    usual = found(values, columns)[2]
    assert all(np.isfinite(np.asarray(age)).all() for age in usual.values())
