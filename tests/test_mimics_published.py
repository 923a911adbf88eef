"""MIMICS with the constants of its 2015 version against steady states that its authors report.

Total carbon (litter and soil, 30 cm) at sites of the LTER network, from their own integrations of
the reverse Michaelis-Menten equations (repository piersond/MIMICS_STODE, commit edd62ff:
Misc/LTER_MIMSOC_R_vs_Py.csv with Data/LTER_SITE_1.csv and MIMICS_stode.py), after Wieder et al.
2015. Their Python integration has six digits at the sites below; at others it was stopped before
the end, and differs from their R integration by up to 10 %.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from proda.column.column import Column
from proda.grid import Grid
from proda.models.mimics import MIMICS, Constants

METABOLIC = 0.3846423
"""Share of metabolic litter, the same at all sites."""
GRID = Grid((0.3, 0.3), (0.15, 0.45), 0.9)
SITES = {  # litter (twice the carbon), g m-2 yr-1; temperature, C; clay, %; total carbon, kg m-2
    "HBR": (704.0, 5.0, 3.0, 5.104643),
    "CDR": (277.0, 5.5, 4.0, 4.414006),
    "HFR": (744.0, 7.1, 15.0, 5.724937),
    "AND": (800.0, 8.6, 11.0, 5.354470),
    "CWT": (1460.0, 12.5, 17.0, 6.583435),
}
VALUES = {
    "v_slope": 0.063,
    "v_int": 5.47,
    "k_slope": 0.025,
    "k_int": 3.19,
    "beta": 1.0,
    "cue_rm": 0.55,
    "cue_rs": 0.25,
    "cue_km": 0.75,
    "cue_ks": 0.35,
    "death_r": 2 * 5.2e-4,
    "death_k": 2 * 2.4e-4,
    "desorption": 1.5e-5,
    "phys_r": 0.3,
    "phys_k": 0.2,
    "chem_r": 0.1,
    "chem_k": 0.3,
    "fi_m": 0.05,
    "fi_s": 0.05,
    "w_scaling": 1.0,
    "tau_cwd": 3.33,
    "b": 0.9,
}


class MIMICS2015(MIMICS):
    """The version of Wieder et al. 2015: K of structural litter grows faster with temperature."""

    name: ClassVar[str] = "mimics_2015"
    constants: ClassVar[Constants] = Constants(8e-6, 10.0, (0.0, 0.01, 0.0), (0.8, 1.2), 1.5, 2.0)


def column(litter: float, celsius: float, clay: float) -> Column:
    """Return wet soil at one temperature, whose input all enters the first layer."""
    ones, zero = jnp.ones((12, 2)), jnp.zeros(2)
    carbon = litter / 2
    return Column(
        temperature=(celsius - 25.0) / 10.0 * ones,
        w_scalar=ones,
        o_scalar=ones,
        n_scalar=ones,
        sand=zero,
        litter_input=jnp.array([0.0, METABOLIC * carbon, (1 - METABOLIC) * carbon, 0.0]),
        nbedrock=jnp.asarray(1),
        frozen=jnp.asarray(True),
        exchange_cryo=zero,
        exchange_diffus=zero,
        grid=GRID,
        properties={"clay": jnp.full(2, clay)},
    )


@pytest.fixture(scope="module")
def solve():
    values = {name: jnp.asarray(value) for name, value in VALUES.items()}
    return jax.jit(lambda column: MIMICS2015().steady_state(values, column))


@pytest.mark.parametrize("name", list(SITES))
def test_total_carbon_is_that_of_the_authors(name, solve):
    *site, total = SITES[name]
    state = solve(column(*site))
    assert state.reason == 0
    carbon = np.asarray(state.pools[1:, 0])
    assert carbon.sum() * 0.3 / 1000 == pytest.approx(total, rel=3e-6)
    soil = dict(zip(MIMICS.pools[1:], carbon, strict=True))
    microbes = soil["MICr"] + soil["MICK"]
    # This version has fewer microbes than the later one, whose share is 1-8 %.
    assert 0.005 < microbes / sum(soil[name] for name in MIMICS.soil_pools) < 0.03
