"""Our CLM5 equations on real CLM5.1 output (one month, 125 cells).

The file holds monthly means. Decomposition is a product of scalars that vary within the month, so
single layers differ where soil freezes and thaws or dries within it; the bulk must agree.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import proda
from proda.column.column import REFERENCE_TEMPERATURE, prepare
from proda.column.environment import temperature_modifier
from proda.forcing import SECONDS_PER_YEAR

pytestmark = pytest.mark.data

POOLS = ("CWDC_vr", "LITR1C_vr", "LITR2C_vr", "LITR3C_vr", "SOIL1C_vr", "SOIL2C_vr", "SOIL3C_vr")
SAND = 40.0  # the file has no texture; it sets one of the seven respired shares


def century_factor() -> float:
    """Return CLM's normalisation of Q10 = 1.5 to the CENTURY curve at 15 C, 0.8205."""

    def curve(celsius: float) -> float:
        return 11.75 + 29.7 / np.pi * np.arctan(0.031 * np.pi * (celsius - 15.4))

    return curve(15.0) / curve(30.0) * 1.5


@pytest.fixture(scope="module")
def cells(real_data) -> xr.Dataset:
    return xr.load_dataset(real_data / "grids" / "clm51_sparse.nc").transpose("cell", "layer", ...)


@pytest.fixture(scope="module")
def above(cells) -> np.ndarray:
    return np.arange(20) < cells["nbedrock_inferred"].to_numpy()[:, None]


def test_temperature_scalar(cells):
    ours = century_factor() * temperature_modifier(
        jnp.asarray(1.5), (cells["TSOI"].to_numpy() - REFERENCE_TEMPERATURE) / 10.0
    )
    ratio = np.asarray(ours) / cells["T_SCALAR"].to_numpy()
    assert np.median(ratio) == pytest.approx(1.0, abs=1e-3)
    # The mean of an exponential exceeds the exponential of the mean, so ours is never larger.
    assert ratio.max() < 1.0 + 1e-5
    assert np.quantile(ratio, 0.05) > 0.95


def respiration(cells: xr.Dataset) -> np.ndarray:
    """Return heterotrophic respiration from CLM's pools and scalars, g m-3 s-1."""
    n = cells.sizes["cell"]

    def months(values: np.ndarray) -> tuple:
        return ("site", "layer", "month"), np.repeat(values[:, :, None], 12, axis=2)

    forcing = proda.Forcing.from_dataset(
        xr.Dataset(
            {
                "soil_temperature": months(cells["TSOI"].to_numpy().astype(float)),
                "w_scalar": months(np.minimum(cells["W_SCALAR"].to_numpy(), 1.0)),
                "o_scalar": months(np.minimum(cells["O_SCALAR"].to_numpy(), 1.0)),
                "n_scalar": months(np.ones((n, 20))),
                "sand": (("site", "layer"), np.full((n, 20), SAND)),
                "nbedrock": ("site", cells["nbedrock_inferred"].to_numpy()),
                "altmax": (("site", "month"), np.full((n, 12), 42.0)),
                "altmax_lastyear": (("site", "month"), np.full((n, 12), 42.0)),
                "litter_input": (("site", "litter"), np.zeros((n, 4))),
            }
        )
    )
    model = proda.load_model("clm5")
    values = proda.default_parameters(model, forcing, b=0.966)
    p = {str(name): jnp.asarray(values[name].to_numpy()) for name in values}
    pools = jnp.asarray(np.stack([cells[name].to_numpy() for name in POOLS], axis=1), dtype=float)

    def one(pools, p, column):
        return model.respiration(pools, model.transfers(pools, p, column))

    rate = jax.jit(jax.vmap(one))(pools, p, prepare(forcing))
    return np.asarray(rate) * century_factor() / SECONDS_PER_YEAR


def test_heterotrophic_respiration(cells, above):
    ours, theirs = respiration(cells), cells["HR_vr"].to_numpy().astype(float)
    some = above & (theirs > 1e-12)
    ratio = ours[some] / theirs[some]
    assert np.median(ratio) == pytest.approx(0.98, abs=0.02)
    assert np.mean((ratio > 0.92) & (ratio < 1.05)) > 0.5
    # The tails are many layers and little carbon: what they respire is a few per cent.
    flux = (theirs * cells["layer_thickness"].to_numpy())[some]
    bulk = (ratio > 0.8) & (ratio < 1.25)
    assert flux[bulk].sum() / flux.sum() > 0.95
