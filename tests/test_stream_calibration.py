"""Simulation-based calibration with carbon and radiocarbon, in a short form.

At full size, at real sites: `python -m benchmarks.calibration_streams`.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from benchmarks.calibration import judged, simulate, walked
from scipy.stats import kstest

import proda
from proda.forcing import Forcing
from proda.inference.padded_sites import assemble, with_streams
from proda.inference.problem import build_problem, checked_settings
from proda.inference.profiles import read_profiles
from proda.streams.bulk_radiocarbon import RadiocarbonStream
from proda.streams.table import build, read
from tests.assimilation_worlds import write_atmosphere, write_profiles

N = 60
"""Simulations: ten at each of the six columns."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return profiles, and a table with a value of 14C in each of their layers."""
    folder = tmp_path_factory.mktemp("world")
    built = write_profiles(folder / "profiles")
    profiles = read_profiles(built)
    site = np.repeat(np.arange(len(profiles)), profiles.n_layers)
    rows = {
        "profile_id": profiles.site[site],
        "lat": profiles.latitude[site],
        "lon": profiles.longitude[site],
        "upper_depth": profiles.upper,
        "lower_depth": profiles.lower,
        "year": 2005.5 + site,
        "delta_14c": -40.0,
    }
    pd.DataFrame(rows).to_csv(folder / "radiocarbon.csv", index=False)
    air = write_atmosphere(folder / "air.csv")
    stream = RadiocarbonStream(atmosphere=air)
    made = build(stream, folder / "radiocarbon.csv", built, folder / "radiocarbon")
    assert made.matched == {"profile": len(site)}
    return built, folder / "radiocarbon"


@pytest.mark.long
def test_intervals_of_posteriors_of_both_hold_the_truth(table: tuple[Path, Path]) -> None:
    streams = {"radiocarbon": table[1]}
    settings = checked_settings(
        model="clm5", sampler="smc", options={"descents": 0}, streams=streams, draws=40
    )
    profiles, forcing = read_profiles(table[0]), Forcing.from_dataset(proda.example_columns())
    plain = assemble(profiles, forcing, settings.operator)
    six = with_streams(plain, profiles.site, forcing, [read(table[1])])
    sites = jax.tree.map(lambda leaf: leaf[np.arange(N) % len(profiles)], six)
    names = np.array([f"simulation {i}" for i in range(N)])
    problem = build_problem(settings)
    truth, simulated = simulate(problem, sites, names)
    assert (
        (simulated.streams["radiocarbon"].observed != sites.streams["radiocarbon"].observed)
        .any(axis=1)
        .all()
    )
    u = walked(problem, settings, simulated, names)
    place, inside = judged(truth, u, np.random.default_rng(0))
    half, most = inside.mean(axis=(1, 2))
    # Parameters of one simulation are not independent: about four times the error of independent
    # ones.
    assert abs(half - 0.5) < 0.06
    assert abs(most - 0.9) < 0.04
    p = [kstest(ranks, "uniform").pvalue for ranks in place.T]
    assert min(p) > 0.001
