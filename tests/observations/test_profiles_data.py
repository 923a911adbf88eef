"""The real profiles: counts, and stocks recomputed by hand from the source tables."""

import math

import pandas as pd
import pytest

from proda.observations.build import build
from proda.observations.build_summary import verify
from proda.observations.profile_settings import from_mapping
from proda.observations.readers import IsradSource
from proda.observations.schema import LAYER_COLUMNS, PROFILE_COLUMNS, read_table

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    return {}


@pytest.fixture
def run(data, pooled, tmp_path_factory):
    """Build the pooled profiles once."""
    if not pooled:
        out = tmp_path_factory.mktemp("pool")
        settings = from_mapping(
            {
                "source": [{"reader": "tidy", "name": "pool", "folder": str(data / "profiles")}],
                "land_mask": str(data / "grids" / "climate_halfdeg.nc"),
            },
            "test",
        )
        pooled["summary"] = build(settings, out)
        pooled["profiles"] = read_table(out / "profiles.parquet", PROFILE_COLUMNS)
        pooled["layers"] = read_table(out / "layers.parquet", LAYER_COLUMNS)
        verify(pooled["summary"], out)
    return pooled


def test_counts(run):
    summary = run["summary"]
    assert summary.total("profile") == 43_820
    # 150,113 layers and 3,358 organic ones that the pool holds apart.
    assert summary.total("layer") == 150_113 + 3_358
    assert summary.total("profile", "kept") >= 15_000
    assert summary.total("profile", "treated") == 3_434
    # The pool is free of duplicates and of sites in the sea already.
    assert summary.total("profile", "duplicate") == 0
    assert summary.total("profile", "coordinates_in_sea") == 0


def test_without_reconstructed_depths_there_are_still_enough(data):
    settings = from_mapping(
        {
            "source": [{"reader": "tidy", "name": "pool", "folder": str(data / "profiles")}],
            "rules": {"exclude_reconstructed": True},
        },
        "test",
    )
    assert build(settings, None).total("profile", "kept") >= 15_000


def test_organic_matter_is_in_g_per_kg(run):
    """The paper's constants fit in g per kg, not in per cent."""
    fits = {fit.name: fit for fit in run["summary"].fits}
    assert fits["paper"].r2 > 0.6
    assert fits["paper, OM in %"].r2 < 0.4
    assert abs(fits["paper"].bias) < 0.02
    assert fits["paper, OM in %"].bias > 0.1
    # The refitted gamma is within a factor of two of the paper's in g per kg, not in per cent.
    assert 0.5 < fits["refit"].gamma / 0.0089 < 2


def by_hand(layer, mass, constants):
    """Stock of one row of the pooled table, g m-2, in plain arithmetic."""
    soc = round(float(layer.soc_g_kg), 4)
    if math.isnan(layer.bulk_density_kg_m3):
        alpha, beta, gamma = constants
        density = 1000 * (alpha + beta * math.exp(-gamma * 1.724 * soc))
    else:
        density = float(layer.bulk_density_kg_m3)
    stones = 0.0 if math.isnan(layer.coarse_fragments_pct) else layer.coarse_fragments_pct / 100
    if mass and stones > 0:
        stones = (stones / 2650) / (stones / 2650 + (1 - stones) / density)
    thickness = (layer.lower_depth_cm - layer.upper_depth_cm) / 100
    return soc * density * (1 - stones) * thickness


CASES = {
    # (collection, has density, has stones, stones by mass)
    "measured density, stones by volume": ("wise31", True, True, False),
    "estimated density, stones by volume": ("afsp", False, True, False),
    "measured density, stones by mass": ("febr", True, True, True),
    "estimated density, no stones": ("wise31", False, False, False),
}


@pytest.mark.parametrize("case", CASES)
def test_stocks_by_hand(run, data, case):
    collection, has_density, has_stones, mass = CASES[case]
    raw = pd.read_parquet(data / "profiles" / "layers.parquet")
    raw = raw.assign(profile_id="pool:" + raw.profile_id)
    profiles = run["profiles"]
    kept = profiles[profiles.collection == collection].set_index("profile_id")
    raw = raw[raw.profile_id.isin(kept.index)]
    sizes = raw.groupby("profile_id").size()
    raw = raw[raw.profile_id.map(sizes == kept.n_layers.reindex(sizes.index))]
    density = raw.bulk_density_kg_m3.notna() == has_density
    stones = (raw.coarse_fragments_pct > 0) == has_stones
    fits = (density & stones).groupby(raw.profile_id).all()
    chosen = sorted(fits.index[fits])[:3]
    assert len(chosen) == 3
    for profile in chosen:
        own = raw[raw.profile_id == profile]
        total = sum(by_hand(row, mass, run["summary"].constants) for row in own.itertuples())
        assert kept.soc_stock[profile] == pytest.approx(total, rel=1e-6)
        # A metre of soil holds between 0.1 and 500 kg m-2: units are right.
        assert 1e2 < total / own.lower_depth_cm.max() * 100 < 5e5


def test_the_same_profiles_by_another_road_are_found(data):
    """The raw WISE table repeats the pool's; none of its profiles may be used twice."""
    columns = {
        "profile_id": ("SOURCEID", ""),
        "lat": ("LATWGS84", ""),
        "lon": ("LONWGS84", ""),
        "upper_depth": ("UHDICM", "cm"),
        "lower_depth": ("LHDICM", "cm"),
        "soc": ("ORCDRC", "g kg-1"),
        "bulk_density": ("BLD", "kg m-3"),
        "coarse": ("CRFVOL", "%"),
    }
    settings = from_mapping(
        {
            "source": [
                {"reader": "tidy", "name": "pool", "folder": str(data / "profiles")},
                {
                    "reader": "csv",
                    "name": "wise",
                    "layers_file": str(data / "profiles" / "wise31_raw.csv.gz"),
                    "columns": {k: {"column": c, "unit": u} for k, (c, u) in columns.items()},
                },
            ]
        },
        "test",
    )
    summary = build(settings, None)
    assert summary.total("profile", "duplicate") > 4_900
    counts = {c.reason: c.n for c in summary.counts if (c.level, c.source) == ("profile", "wise")}
    # What is left of the raw table are profiles that the pool does not hold.
    assert counts["kept"] < 700
    assert sum(counts.values()) == 9_355


def test_israd_tables(data):
    summary = build(
        from_mapping(
            {"source": [IsradSource(name="israd", folder=data / "israd").model_dump()]}, "test"
        ),
        None,
    )
    assert summary.total("layer") == 35_686
    assert summary.total("profile") == 4_415
    assert summary.total("profile", "treated") == 354
    assert summary.total("profile", "kept") > 700
