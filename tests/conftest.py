"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path
from platform import node
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import proda
from proda.column.column import Column, prepare
from proda.machine import remove_unused
from tests import scheduling

HERE = Path(__file__).parent
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
"""That of `proda.inference.runner`, which cannot be imported before the flags are set."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs for all processes of the tests and those that they start.

    They lie in pytest's cache, by machine, because the code is for its processor. All processes
    have the same flags, else they could not share programs.
    """
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)
    if getattr(config, "cache", None) is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    place = config.cache.mkdir(f"compiled-{node()}")
    remove_unused(place, days=7.0)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # This process has read its environment; those of pytest-xdist are still to start.
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.LongestFirst:
    return scheduling.make_scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks that -m names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scheduling.mark_slow(items)


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


def rough_forcing(seed: int, n: int) -> proda.Forcing:
    """Return made-up columns, as rough as the format allows: ice, drought, permafrost, bedrock."""
    rng = np.random.default_rng(seed)
    profile = (n, 20, 12)
    mean = rng.uniform(240.0, 305.0, (n, 1, 1))
    temperature = mean + rng.uniform(0, 15, (n, 1, 1)) * rng.standard_normal(profile)
    water = np.clip(rng.uniform(-0.3, 1.2, profile), 0.0, 1.0)
    dry = rng.random((n, 1, 1)) < 0.1
    altmax = np.where(rng.random((n, 1)) < 0.4, 42.0, rng.uniform(0.0, 4.0, (n, 12)))
    last = np.where(rng.random((n, 1)) < 0.5, altmax, rng.uniform(0.0, 4.0, (n, 12)))
    frozen = rng.random((n, 1)) < 0.15
    litter = rng.uniform(0.0, 500.0, (n, 4)) * (rng.random((n, 4)) < 0.9)
    return proda.Forcing.from_dataset(
        xr.Dataset(
            {
                "soil_temperature": (("site", "layer", "month"), np.clip(temperature, 190, 340)),
                "w_scalar": (("site", "layer", "month"), np.where(dry, 0.0, water)),
                "o_scalar": (("site", "layer", "month"), rng.uniform(0.05, 1.0, profile)),
                "n_scalar": (("site", "layer", "month"), rng.uniform(0.2, 1.0, profile)),
                "sand": (("site", "layer"), rng.uniform(0.0, 100.0, (n, 20))),
                "nbedrock": (("site",), rng.integers(1, 21, n)),
                "altmax": (("site", "month"), np.where(frozen, 0.0, altmax)),
                "altmax_lastyear": (("site", "month"), np.where(frozen, 0.0, last)),
                "litter_input": (("site", "litter"), litter),
            }
        )
    )


def rough_parameters(model: proda.SoilModel, seed: int, n: int) -> dict[str, np.ndarray]:
    """Draw from the whole prior box; every fifth value lies on its edge."""
    rng = np.random.default_rng(seed)
    values = {}
    for row in model.rows:
        unit = rng.random(n)
        edge = rng.random(n)
        unit = np.where(edge < 0.1, 0.0, np.where(edge < 0.2, 1.0, unit))
        value = row.lower + unit * (row.upper - row.lower)
        if row.positive and row.lower == 0.0:
            tiny = row.upper * 10.0 ** rng.uniform(-8.0, -1.0, n)
            value = np.where(unit == 0.0, tiny, value)
        values[row.name] = np.minimum(value, row.upper)
    return values


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
