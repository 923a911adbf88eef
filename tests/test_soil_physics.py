import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proda.drivers import soil_physics as sp
from proda.drivers.surface import layers_above_bedrock, surface_interfaces, texture_on_grid
from proda.grid import CLM5_GRID

finite = st.floats(-40, 40)


def test_annual_amplitude_by_hand():
    found = sp.annual_amplitude(np.array([30.0, 25.0, 28.0]), np.array([10.0, -15.0, 20.0]))
    np.testing.assert_allclose(found, [5.0, 0.6 * 15.0, 0.0])


def test_soil_temperature_by_hand():
    t = sp.soil_temperature(np.array([10.0]), np.array([8.0]), np.array([45.0]))
    assert t.shape == (1, 20, 12)
    z, m = CLM5_GRID.node[7], 9  # 0.8 m, September
    expected = 283.15 + 8 * np.exp(-z / 2.24) * np.cos(2 * np.pi * 2 / 12 - z / 2.24)
    assert t[0, 7, m - 1] == pytest.approx(expected, abs=1e-12)


def test_the_wave_solves_the_heat_equation():
    """The damping depth is sqrt(2 D/omega) for D = 5e-7 m2 s-1, to the 2.24 m given."""
    omega = 2 * np.pi / (365 * 86400)
    assert np.sqrt(2 * 5e-7 / omega) == pytest.approx(sp.DAMPING_DEPTH_M, abs=0.005)


def test_hemispheres_are_half_a_year_apart():
    north, south = sp.soil_temperature(np.zeros(2), np.full(2, 10.0), np.array([40.0, -40.0]))
    np.testing.assert_allclose(south, np.roll(north, 6, axis=1), atol=1e-12)
    assert north[0].argmax() == 6  # July
    assert south[0].argmax() == 0  # January


@given(finite, st.floats(0, 30))
def test_the_annual_mean_is_the_mean(mean, amplitude):
    t = sp.soil_temperature(np.array([mean]), np.array([amplitude]), np.array([10.0]))
    np.testing.assert_allclose(t.mean(axis=-1), mean + 273.15, atol=1e-9)


def _profile(*pairs):
    """Temperature, degC, at the first nodes; below, the last value. All months alike."""
    t = np.full(20, float(pairs[-1]))
    t[: len(pairs)] = pairs
    return np.repeat((t + 273.15)[None, :, None], 12, axis=2)


def test_active_layer_limits():
    assert sp.active_layer_depth(_profile(-1.0))[0] == 0.0
    assert sp.active_layer_depth(_profile(1.0))[0] == pytest.approx(8.6)


def test_active_layer_between_nodes():
    # +1 at 0.16 m and -3 at 0.26 m: 0 C lies a quarter of the way down.
    found = sp.active_layer_depth(_profile(4.0, 3.0, 2.0, 1.0, -3.0))
    assert found[0] == pytest.approx(0.16 + 0.25 * 0.10)


def test_active_layer_takes_the_deepest_month():
    t = _profile(4.0, 3.0, 2.0, 1.0, -3.0)
    t[0, 4, 5] = 273.15 - 1.0  # in June the crossing lies deeper
    assert sp.active_layer_depth(t)[0] == pytest.approx(0.16 + 0.5 * 0.10)


def test_a_layer_exactly_at_zero_is_not_above_zero():
    assert sp.active_layer_depth(_profile(1.0, 0.0, -1.0))[0] == pytest.approx(0.04)


def test_thawed_below_frozen_counts_as_the_deepest():
    assert sp.active_layer_depth(_profile(-1.0, -1.0, 2.0, -2.0))[0] == pytest.approx(0.125)


@given(finite, st.floats(0, 30))
def test_active_layer_agrees_with_a_fine_search(mean, amplitude):
    t = sp.soil_temperature(np.array([mean]), np.array([amplitude]), np.array([50.0]))
    z = np.linspace(CLM5_GRID.node[0], CLM5_GRID.node[-1], 4000)
    fine = np.array([np.interp(z, CLM5_GRID.node, t[0, :, m]) for m in range(12)]) > 273.15
    found = sp.active_layer_depth(t)[0]
    if not (t > 273.15).any():
        assert found == 0.0
    elif (t[0, -1] > 273.15).any():
        assert found == pytest.approx(8.6)
    else:
        deepest = z[fine.any(axis=0)].max() if fine.any() else z[0]
        assert found == pytest.approx(deepest, abs=z[1] - z[0])


def test_water_potential_by_hand():
    # Sand 40 %, clay 20 %, half saturated: psi_sat = -10 x 10^1.356 mm, B = 6.09.
    expected = -10 * 10**1.356 * 0.5**-6.09 * 9.81e-6
    found = sp.water_potential(np.array(0.5), np.array(40.0), np.array(20.0))
    assert found == pytest.approx(expected)
    assert found == pytest.approx(-0.1516, rel=1e-3)


def test_dry_soil_has_no_potential_and_the_floor():
    psi = sp.water_potential(np.array([0.0, 1e-200]), np.array([40.0] * 2), np.array([50.0] * 2))
    assert np.isneginf(psi).all()
    np.testing.assert_array_equal(sp.water_scalar(psi, 0.05), 0.05)


def test_freezing_potential_is_1_2_mpa_per_kelvin():
    found = sp.freezing_potential(np.array([272.15, 273.15, 280.0]))
    assert found[0] == pytest.approx(-1.2262, rel=1e-3)
    np.testing.assert_array_equal(found[1:], 0.0)


def test_water_scalar_by_hand():
    psi = np.array([-5.0, -2.0, -np.sqrt(2 * 0.002), -0.002, -0.001])
    np.testing.assert_allclose(sp.water_scalar(psi, 0.0), [0, 0, 0.5, 1, 1], atol=1e-12)
    np.testing.assert_allclose(sp.water_scalar(psi, 0.05), [0.05, 0.05, 0.5, 1, 1], atol=1e-12)
    assert np.isnan(sp.water_scalar(np.array([np.nan])))[0]


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 100), st.floats(0, 60))
def test_wetter_is_never_slower(a, b, sand, clay):
    w = sp.water_scalar(
        sp.water_potential(np.array(sorted([a, b])), np.array(sand), np.array(clay))
    )
    assert w[0] <= w[1]
    assert (w >= 0.05).all()
    assert (w <= 1).all()


def test_surface_data_layers_are_clm4s():
    expected = [0.0175, 0.0451, 0.0906, 0.1655, 0.2891, 0.4929, 0.8289, 1.3828, 2.2961, 3.4331]
    np.testing.assert_allclose(surface_interfaces(), expected, atol=1e-4)


def test_texture_goes_to_the_layer_that_holds_the_node():
    found = texture_on_grid(np.arange(1, 11))
    assert found[0] == 1  # node 0.01 m < 0.0175 m
    assert found[3] == 4  # 0.16 m < 0.1655 m
    assert found[4] == 5
    assert (found[15:] == 10).all()  # below 3.4 m the deepest goes on


@pytest.mark.parametrize(
    ("depth", "layers"), [(0.0, 6), (0.4, 6), (0.48, 6), (0.481, 7), (8.59, 20), (50, 20)]
)
def test_layers_above_bedrock(depth, layers):
    assert layers_above_bedrock(np.array(depth)) == layers


def test_the_damped_winter_half_is_what_the_harmonics_give():
    """At the surface: cos in summer, 0.6 cos in winter, less the mean (1 - 0.6)/pi."""
    t = (
        sp.soil_temperature_under_snow(
            np.zeros(1), np.full(1, 10.0), np.full(1, 0.6), np.full(1, 50.0)
        )[0, 0]
        - 273.15
    )
    wave = np.cos(2 * np.pi * (np.arange(1, 13) - 7) / 12)
    expected = 10 * (np.where(wave > 0, 1.0, 0.6) * wave - 0.4 / np.pi)
    np.testing.assert_allclose(t, expected, atol=0.25)  # the node lies at 0.01 m
    assert t.max() > 8.5  # damped as a whole it is 6


@given(finite, st.floats(0, 30), st.floats(0, 1))
def test_snow_leaves_the_annual_mean_and_1_is_no_snow(mean, amplitude, winter):
    arguments = np.array([mean]), np.array([amplitude])
    t = sp.soil_temperature_under_snow(*arguments, np.array([winter]), np.array([10.0]))
    np.testing.assert_allclose(t.mean(axis=-1), mean + 273.15, atol=1e-9)
    bare = sp.soil_temperature_under_snow(*arguments, np.ones(1), np.array([10.0]))
    np.testing.assert_allclose(bare, sp.soil_temperature(*arguments, np.array([10.0])), atol=1e-9)


@given(st.floats(-30, 30), st.floats(0, 30))
def test_thawing_index_is_the_integral(mean, amplitude):
    angle = (np.arange(20000) + 0.5) / 20000 * 2 * np.pi
    expected = 365 * np.maximum(mean + amplitude * np.cos(angle), 0).mean()
    found = sp.thawing_index(np.array([mean]), np.array([amplitude]))
    np.testing.assert_allclose(found, expected, atol=1e-3 + 1e-6 * abs(expected))


def test_stefan_depth_by_hand():
    # 1000 degree days, porosity 0.489 - 0.0504 = 0.4386, half full.
    found = sp.stefan_depth(np.array([1000.0, 0.0]), np.full(2, 0.5), np.full(2, 40.0))
    expected = np.sqrt(2 * 1000 * 86400 / (1e3 * 3.337e5 * 0.2193))
    np.testing.assert_allclose(found, [expected, 0.0])
    assert 1.4 < expected < 1.7
    assert sp.stefan_depth(np.array([9e4]), np.zeros(1), np.zeros(1))[0] == pytest.approx(8.6)


def test_miami_by_hand():
    found = sp.miami_npp(np.array([25.0, -10.0]), np.array([100.0, 2000.0]))
    np.testing.assert_allclose(
        found, [1500 * (1 - np.exp(-0.0664)), 1500 / (1 + np.exp(1.315 + 1.19))]
    )


def test_a_lower_end_of_decomposition_lets_dry_soil_decompose():
    psi = np.array([-20.0, -15.0, -2.0, -0.002])
    expected = [0, 0, np.log(7.5) / np.log(7500), 1]
    np.testing.assert_allclose(sp.water_scalar(psi, 0.0, -15.0), expected, atol=1e-12)
