import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.errors import ObservationError
from proda.observations import pedotransfer
from proda.observations.stock import ROCK_DENSITY, add_stock, fine_earth

CURVE = pedotransfer.PAPER


def layer(**values):
    row = {
        "soc": 20.0,
        "stock_given": np.nan,
        "bulk_density": np.nan,
        "coarse": np.nan,
        "bulk_density_basis": None,
        "coarse_basis": None,
    } | values
    return add_stock(pd.DataFrame([row]), CURVE).iloc[0]


def test_content_times_density_times_fine_earth():
    found = layer(soc=20.0, bulk_density=1300.0, coarse=10.0)
    assert found.soc_stock == pytest.approx(20.0 * 1300.0 * 0.9)
    assert found.density_origin == "measured"
    assert layer(soc=20.0, bulk_density=1300.0).soc_stock == pytest.approx(26_000.0)


def test_missing_density_is_estimated():
    found = layer(soc=29.0)
    expected = 0.32 + 1.30 * np.exp(-0.0089 * 1.724 * 29.0)
    assert found.fine_earth_density == pytest.approx(1000 * expected)
    assert found.soc_stock == pytest.approx(29_000 * expected)
    assert found.density_origin == "pedotransfer"


def test_given_stock_needs_nothing_else():
    found = layer(soc=np.nan, stock_given=12_345.0)
    assert found.soc_stock == 12_345.0
    assert found.density_origin == "stock given"


def test_stones_by_mass():
    # 100 kg of soil: 20 kg of stones fill 20/2650 m3, 80 kg of fine earth 80/1200 m3.
    found = layer(bulk_density=1200.0, coarse=20.0, coarse_basis="mass")
    stones, fine = 20 / ROCK_DENSITY, 80 / 1200.0
    assert found.coarse_volume == pytest.approx(100 * stones / (stones + fine))
    assert found.soc_stock == pytest.approx(20.0 * 80 / (stones + fine))


@settings(deadline=None)
@given(
    fine=st.floats(50, 2300),
    coarse=st.floats(0.0, 99.0),
    soc=st.floats(0.1, 600),
)
def test_every_basis_tells_the_same_soil(fine, coarse, soc):
    """One soil, described in four ways, has one stock."""
    volume = coarse / 100
    whole = fine * (1 - volume) + ROCK_DENSITY * volume
    mass = 100 * ROCK_DENSITY * volume / whole
    stocks = [
        layer(
            soc=soc, bulk_density=density, bulk_density_basis=basis, coarse=share, coarse_basis=of
        ).soc_stock
        for density, basis in ((fine, "fine earth"), (whole, "whole soil"))
        for share, of in ((coarse, "volume"), (mass, "mass"))
    ]
    np.testing.assert_allclose(stocks, soc * fine * (1 - volume), rtol=1e-9)


def test_contradiction_gives_no_positive_density():
    fine, _ = fine_earth(np.array([1000.0]), np.array([True]), np.array([60.0]), np.array([False]))
    assert fine[0] < 0


def test_paper_constants_make_sense_in_g_per_kg_only():
    """An organic soil of 50 % organic matter has 0.34 g cm-3, not 1.15."""
    soc = np.array([500.0 / 1.724])
    assert CURVE.density(soc)[0] == pytest.approx(335, abs=1)
    assert CURVE.per_cent_reading().density(soc)[0] == pytest.approx(1153, abs=1)


def synthetic(n=4000, per_profile=4, seed=3):
    rng = np.random.default_rng(seed)
    profile = np.repeat(np.arange(n // per_profile), per_profile)
    soc = np.exp(rng.uniform(np.log(1), np.log(550), n))
    true = pedotransfer.Pedotransfer(0.15, 1.4, 0.007, "true")
    # Layers of one profile share half of the scatter.
    noise = 0.02 * rng.normal(size=n) + 0.02 * rng.normal(size=n // per_profile)[profile]
    return soc, true.density(soc) + 1000 * noise, profile, true


def test_fit_recovers_constants_with_honest_errors():
    estimates, errors = [], []
    for seed in range(40):
        soc, density, profile, true = synthetic(800, seed=seed)
        found = pedotransfer.fit(soc, density, profile)
        estimates.append((found.alpha, found.beta, found.gamma))
        errors.append(found.errors)
    truth = np.array([true.alpha, true.beta, true.gamma])
    spread = np.std(estimates, axis=0)
    np.testing.assert_allclose(np.mean(estimates, axis=0), truth, atol=3 * spread.max() / 40**0.5)
    # The stated errors are those of repeated experiments; ignoring profiles they would be 1.6 times
    # too small for alpha.
    np.testing.assert_allclose(np.mean(errors, axis=0), spread, rtol=0.35)


def test_compare_reports_both_readings():
    soc, density, profile, _ = synthetic()
    found = pedotransfer.fit(soc, density, profile)
    table = pedotransfer.compare([CURVE, CURVE.per_cent_reading(), found], soc, density)
    table = table.set_index("name")
    assert table.r2["refit"] == table.r2.max()
    assert table.r2["paper"] > table.r2["paper, OM in %"]
    assert table.bias["refit"] == pytest.approx(0, abs=1e-6)
    residual = (density - CURVE.density(soc)) / 1000
    assert table.rmse["paper"] == pytest.approx(np.sqrt(np.mean(residual**2)))
    total = np.sum((density - density.mean()) ** 2) / 1e6
    assert table.r2["paper"] == pytest.approx(1 - np.sum(residual**2) / total)


def test_too_few_layers_are_refused():
    with pytest.raises(ObservationError, match="Only 3 layers have both"):
        pedotransfer.fit(np.ones(3), np.ones(3), np.arange(3))


def test_layers_all_alike_are_refused():
    with pytest.raises(ObservationError, match="do not determine"):
        pedotransfer.fit(np.full(200, 20.0), np.full(200, 1300.0), np.arange(200))
