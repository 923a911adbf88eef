"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import proda
from proda.column.column import Column, prepare
from proda.evaluation.contract_columns import rough_forcing, rough_parameters

__all__ = ["rough_forcing", "rough_parameters"]

HERE = Path(__file__).parent


def data_folder() -> Path:
    """Return where the real data lie: $PRODA_DATA, or ../shared/data beside the project."""
    return Path(os.environ.get("PRODA_DATA", HERE.parent.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set PRODA_DATA")
    return folder


def parameters_of(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the `param_NAME` variables of a reference file, without the prefix."""
    return {
        str(name).removeprefix("param_"): dataset[name].to_numpy()
        for name in dataset
        if str(name).startswith("param_")
    }


def one_column(forcing: proda.Forcing, i: int = 0) -> Column:
    """Return the column of one site."""
    return jax.tree.map(lambda leaf: leaf[0], prepare(forcing.select([i])))


def one_set(values: dict | xr.Dataset, i: int = 0) -> dict[str, jax.Array]:
    """Return the parameters of one site."""
    return {str(name): jnp.asarray(np.asarray(values[name])[i]) for name in values}


@pytest.fixture(scope="session")
def examples() -> proda.Forcing:
    return proda.Forcing.from_dataset(proda.example_columns())


@pytest.fixture(params=["clm5", "compas"])
def model(request) -> proda.SoilModel:
    return proda.load_model(request.param)


def defaults(model: proda.SoilModel, forcing: proda.Forcing) -> xr.Dataset:
    return proda.default_parameters(model, forcing, b=0.95)
