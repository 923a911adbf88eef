"""Radiocarbon of models at steady state, and the record of the atmosphere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.linalg

import proda
from proda.column.column import Column, prepare
from proda.errors import ObservationError
from proda.learning.contract_columns import example_forcing
from proda.models.model import SoilModel
from proda.models.registry import MODELS
from proda.radiocarbon.atmosphere import ZONES, Atmosphere, read_atmosphere, zone_of
from proda.radiocarbon.basis import RATES, Basis
from proda.radiocarbon.distribution_of_ages import AGES, ages
from proda.radiocarbon.tracer_response import respired, response, soil
from tests.conftest import defaults

BASIS = Basis()
NO_DECAY = Basis(half_life=float("inf"), n_fast=0)
YEAR = 2010.5
CHEAP = ("clm5", "compas")


def bomb(year: np.ndarray) -> np.ndarray:
    """A made-up atmosphere with the shape of the bomb peak, permil."""
    rise = np.clip((year - 1955.0) / 9.5, 0.0, 1.0)
    return np.where(
        year < 1964.5, -3.0 + 750.0 * rise**2, -60.0 + 807.0 * np.exp(-(year - 1964.5) / 17.0)
    )


@pytest.fixture(scope="module")
def atmosphere() -> Atmosphere:
    year = np.concatenate([np.arange(-5000.0, 1850.0, 50.0), np.arange(1850.0, 2026.0, 0.5)])
    # in the middle ages of soil the air held more
    old = 60.0 * np.clip((1850.0 - year) / 6850.0, 0.0, None)
    return Atmosphere(year, {zone: bomb(year) + old for zone in ZONES})


@eqx.filter_jit
def solved(model: SoilModel, values: dict, columns: Column) -> Any:
    def one(values: dict, column: Column) -> Any:
        state = model.steady_state(values, column)

        def kept(stock: Any, found: Any) -> Any:
            return jnp.stack([*stock, soil(model)(stock, found), respired(stock, found)])

        given = (model, state.pools, values, column)
        transfers = model.transfers(state.pools, values, column)
        found = response(*given, BASIS, kept), response(*given, NO_DECAY)
        return state, *found, transfers, ages(*given)

    return jax.vmap(one)(values, columns)


@pytest.fixture(scope="module")
def answers() -> Callable[[str], Any]:
    """Return model, forcing, state, response, response without decay and transfers, by name."""
    known: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in known:
            model, forcing = proda.load_model(name), example_forcing()
            given: Any = defaults(model, forcing)
            values = {row.name: jnp.asarray(given[row.name].to_numpy()) for row in model.rows}
            found = solved(model, values, prepare(forcing))
            known[name] = (model, forcing, *jax.tree.map(np.asarray, found))
        return known[name]

    return find


def dense(model: SoilModel, transfers: Any, thickness: np.ndarray) -> tuple[Any, Any]:
    """M on stocks, and B I, of one column: plain loops over pools and layers."""
    pools, layers = len(model.pools), len(thickness)
    matrix = np.zeros((pools, layers, pools, layers))
    for j, donor in enumerate(model.pools):
        for layer in range(layers):
            rate = transfers.modifier[j, layer] * transfers.decay[j, layer]
            matrix[j, layer, j, layer] -= rate
            for (receiver, from_), share in transfers.fraction.items():
                if from_ == donor:
                    part = np.broadcast_to(share, (layers,))[layer]
                    matrix[model.pools.index(receiver), layer, j, layer] += part * rate
            if donor in model.transported:
                down, up = transfers.transport.down[layer], transfers.transport.up[layer]
                matrix[j, layer, j, layer] -= down + up
                if layer + 1 < layers:
                    matrix[j, layer + 1, j, layer] += down
                if layer > 0:
                    matrix[j, layer - 1, j, layer] += up
    size = pools * layers
    return matrix.reshape(size, size), (transfers.input * thickness).reshape(size)


def ratio_of(record: Atmosphere, year: np.ndarray) -> np.ndarray:
    return 1.0 + np.interp(year, record.year, record.delta["NH"]) / 1000.0


def before_the_bomb(matrix: np.ndarray, entering: np.ndarray, record: Atmosphere) -> np.ndarray:
    lasting = ratio_of(record, np.array(1850.0)) * entering
    return np.linalg.solve(np.eye(len(entering)) / 8267.0 - matrix, lasting)


def exact(matrix: np.ndarray, entering: np.ndarray, record: Atmosphere, year: float) -> np.ndarray:
    """14C of a column in `year`: exponentials, the atmosphere a straight line in every step."""
    decay, n, step = 1.0 / 8267.0, len(entering), 0.5
    now = 1.0 + record.delta["NH"] / 1000.0
    state = np.linalg.solve(
        decay * np.eye(n) - matrix, np.interp(1850.0, record.year, now) * entering
    )
    whole = np.zeros((n + 2, n + 2))
    whole[:n, :n] = matrix - decay * np.eye(n)
    whole[:n, n], whole[n, n + 1] = entering, 1.0
    forward = scipy.linalg.expm(step * whole)
    for t in np.arange(1850.0, year, step):
        here, there = ratio_of(record, np.array([t, t + step]))
        state = (forward @ np.concatenate([state, [here, (there - here) / step]]))[:n]
    return state


def stepped(
    matrix: np.ndarray, entering: np.ndarray, record: Atmosphere, year: float, step: float
) -> np.ndarray:
    """The same by implicit steps from 1850, of one year or a part of it."""
    factored = scipy.linalg.lu_factor((1.0 + step / 8267.0) * np.eye(len(entering)) - step * matrix)
    state = before_the_bomb(matrix, entering, record)
    for k in range(round((year - 1850.0) / step)):
        ratio = ratio_of(record, np.array(1850.0 + (k + 0.5) * step))
        state = scipy.linalg.lu_solve(factored, state + step * ratio * entering)
    return state


@pytest.mark.parametrize("name", CHEAP)
def test_a_dense_matrix_and_yearly_steps_agree(
    answers: Callable[[str], Any], atmosphere: Atmosphere, name: str
) -> None:
    model, forcing, steady, found, _, transfers, _ = answers(name)
    assert (steady.reason == 0).all()
    weight = atmosphere.coefficients("NH", YEAR, BASIS)
    inside = [pool in model.soil_pools for pool in model.pools]
    old = answers(name)[-1]
    assert {row.name for row in AGES} == set(old)
    for i in range(0, len(forcing), 2):
        matrix, entering = dense(
            model, jax.tree.map(lambda leaf, i=i: leaf[i], transfers), forcing.grid.thickness
        )
        shape = (len(model.pools), len(forcing.grid))
        carbon = steady.pools[i] * forcing.grid.thickness
        there = carbon[inside].sum(axis=0) > 1e-9 * carbon.sum()
        ours = np.einsum("k,kpl->pl", weight, found[i])[:-1]
        aged = np.linalg.lstsq(-matrix, carbon.reshape(-1), rcond=None)[0].reshape(shape)
        by_layer = aged[inside].sum(axis=0)[there] / carbon[inside].sum(axis=0)[there]
        np.testing.assert_allclose(old["mean_age_by_layer"][i][there], by_layer, rtol=1e-5)
        by_pool = aged.sum(axis=1) / carbon.sum(axis=1)
        np.testing.assert_allclose(old["mean_age_by_pool"][i], by_pool, rtol=1e-5)
        for age, lower in (("mean_age_0_30", 0.3), ("mean_age_0_100", 1.0), ("mean_age_soil", 99)):
            share = forcing.grid.thickness_within(0.0, lower) / forcing.grid.thickness
            above = (aged[inside] @ share).sum() / (carbon[inside] @ share).sum()
            np.testing.assert_allclose(old[age][i], above, rtol=1e-5)
        np.testing.assert_allclose(old["mean_age"][i], aged.sum() / carbon.sum(), rtol=1e-5)
        given = (matrix, entering, atmosphere, YEAR)
        # Implicit steps of a year carry input half a year late; two lengths together do not.
        coarse, fine = (stepped(*given, step) for step in (0.5, 0.25))
        for state, tolerance in ((exact(*given), 0.3), (2.0 * fine - coarse, 0.4)):
            wanted = state.reshape(shape)[inside].sum(axis=0)
            off = 1000.0 * (ours[-1] - wanted)[there] / carbon[inside].sum(axis=0)[there]
            assert np.abs(off).max() < tolerance
            all_off = 1000.0 * (ours[:-1].sum() - state.sum()) / carbon.sum()
            assert abs(all_off) < tolerance


def conserves(name: str, answers: Callable[[str], Any], least: float = 1e-9) -> None:
    """Check the balances; a pool may be off by 1e-9 of it, or of `least` of the largest pool."""
    _, forcing, state, found, lasting, _, old = answers(name)
    good = state.reason == 0
    assert good.any()
    stock = state.pools * forcing.grid.thickness
    scale = np.maximum(stock, least * stock.max(axis=(1, 2), keepdims=True))
    # Without decay, and in an atmosphere that never changed, 14C is R0 X.
    assert (np.abs(lasting[:, 0] - stock) / scale)[good].max() < 1e-9
    # With decay there is less of it, everywhere, and what is respired or decays is what enters.
    slow = found[:, 0]
    assert (slow[:, :-2] <= stock * (1.0 + 1e-9))[good].all()
    lost = slow[:, -1].sum(axis=-1) + BASIS.decay * slow[:, :-2].sum(axis=(1, 2))
    entering = forcing.litter_input.sum(axis=1)
    np.testing.assert_allclose(lost[good], entering[good], rtol=1e-9)
    # What leaves has been there for as long as the stock lasts.
    residence = stock.sum(axis=(1, 2)) / entering
    np.testing.assert_allclose(old["transit_time"][good], residence[good], rtol=1e-9)
    weight = stock.sum(axis=2)
    by_pool = (old["mean_age_by_pool"] * weight).sum(axis=1) / weight.sum(axis=1)
    np.testing.assert_allclose(by_pool[good], old["mean_age"][good], rtol=1e-9)


@pytest.mark.parametrize("name", CHEAP)
def test_radiocarbon_is_conserved(answers: Callable[[str], Any], name: str) -> None:
    conserves(name, answers)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in MODELS if name not in CHEAP])
def test_radiocarbon_of_every_model_is_conserved(answers: Callable[[str], Any], name: str) -> None:
    # A general steady state balances each pool to 1e-10 of what flows through it, which far below
    # the roots is a larger share of the little that is there.
    conserves(name, answers, least=1e-2)


def pool_of(rate: float, record: Atmosphere, year: float, lag: float = 0.0) -> float:
    """Delta14C of one pool by quadrature over its ages, permil."""
    s = np.concatenate([np.linspace(0.0, 200.0, 400_001), np.geomspace(200.0, 3e5, 200_001)[1:]])
    r = (
        1.0
        + np.interp(np.maximum(year - lag - s, 1850.0), record.year, record.delta["NH"]) / 1000.0
    )
    return 1000.0 * (np.trapezoid(r * rate * np.exp(-(rate + 1.0 / 8267.0) * s), s) - 1.0)


@pytest.mark.parametrize("lag", [0.0, 5.0])
@pytest.mark.parametrize("year", [1958.0, 1975.5, YEAR])
def test_one_pool_has_its_closed_form(atmosphere: Atmosphere, year: float, lag: float) -> None:
    weight = atmosphere.coefficients("NH", year, BASIS, lag=lag)
    for rate in (2e-4, 5e-3, 0.1, 2.0):
        k = np.searchsorted(RATES, rate)
        ours = 1000.0 * (BASIS.of_pools[k] @ weight - 1.0)
        assert ours == pytest.approx(pool_of(RATES[k], atmosphere, year, lag), abs=1.0)
    before = atmosphere.coefficients("NH", 1850.0, BASIS)
    age = (
        RATES
        / (RATES + BASIS.decay)
        * (1.0 + atmosphere.delta["NH"][atmosphere.year == 1850.0] / 1e3)
    )
    np.testing.assert_allclose(BASIS.of_pools @ before, age, rtol=1e-12)


def test_holocene_moves_only_what_is_old(atmosphere: Atmosphere) -> None:
    long = Basis(n_slow=5)
    weight = atmosphere.coefficients("NH", YEAR, long, holocene=True)
    constant = atmosphere.coefficients("NH", YEAR, BASIS)
    more = 1000.0 * (long.of_pools @ weight - BASIS.of_pools @ constant)
    assert more[(RATES > 1e-4) & (RATES < 3e-4)].min() > 5.0
    assert np.abs(more[RATES > 0.05]).max() < 2.0


def test_half_life_is_a_setting() -> None:
    assert Basis(half_life=5700.0).decay / BASIS.decay == pytest.approx(5730.0 / 5700.0, rel=1e-4)


def test_zones_of_the_record() -> None:
    assert [zone_of(lat) for lat in (64.0, 30.0, -30.0, -43.0)] == [
        "NH",
        "tropics",
        "tropics",
        "SH",
    ]


def test_records_are_read_and_checked(tmp_path: Path, atmosphere: Atmosphere) -> None:
    table = pd.DataFrame(
        {"year": atmosphere.year} | {f"D14C_{z}": atmosphere.delta[z] for z in ZONES}
    )
    path = tmp_path / "air.csv"
    table.to_csv(path, index=False)
    again = read_atmosphere(path)
    np.testing.assert_array_equal(again.delta["SH"], atmosphere.delta["SH"])
    with pytest.raises(ObservationError, match="ends in"):
        again.coefficients("NH", 2040.0, BASIS)
    modern = table.assign(**{f"D14C_{z}": 1.0 + table[f"D14C_{z}"] / 1000.0 for z in ZONES})
    modern.to_csv(path, index=False)
    with pytest.raises(ObservationError, match="fraction modern"):
        read_atmosphere(path)
    table.drop(columns="D14C_SH").to_csv(path, index=False)
    with pytest.raises(ObservationError, match="D14C_SH"):
        read_atmosphere(path)


def test_a_folder_of_published_records_is_joined(tmp_path: Path) -> None:
    head = "CAL BP,14C age,Sigma,Delta 14C,Sigma\n"
    for name, value in (("intcal20", 10.0), ("shcal20", 6.0)):
        years = (50000, 5000, 150, 100, 0)
        rows = "".join(f"{bp},{bp + 5},10,{value + bp / 100},2\n" for bp in years)
        (tmp_path / f"{name}.14c").write_text(f"##{name}\n# {head}{head}{rows}")
    head = "a\nb\nc\nDate,NH Delta14co2,Tropics Delta14co2,SH Delta14co2\n,permil,permil,permil\n"
    rows = "1850.5,-3,-4,-5\n1964.5,700,690,650\n2015.5,17,18,19\n"
    (tmp_path / "TableS1.csv").write_text(head + rows)
    found = read_atmosphere(tmp_path)
    np.testing.assert_allclose(found.year, [-48050.0, -3050.0, 1800.0, 1850.5, 1964.5, 2015.5])
    np.testing.assert_allclose(found.delta["tropics"], [508.0, 58.0, 9.5, -4.0, 690.0, 18.0])


@pytest.mark.data
def test_terms_meet_the_real_record(real_data: Path) -> None:
    table = real_data / "constraints" / "atmosphere_14c.csv"
    monthly = real_data / "constraints" / "atmosphere_14c_hua2021_monthly.csv"
    record, hua = read_atmosphere(table), read_atmosphere(monthly)
    assert 800.0 < hua.delta["NH"].max() < 1000.0
    worst = 0.0
    for zone in ZONES:
        for year in (
            1955.0,
            1958.0,
            1962.0,
            1965.0,
            1970.0,
            1980.0,
            1990.0,
            2000.0,
            2010.0,
            2020.0,
        ):
            weight = record.coefficients(zone, year, BASIS)
            knots = record.year[(record.year > 1850.0) & (record.year < year)]
            s = year - np.concatenate([[1850.0], knots, [year]])[::-1]
            r = 1.0 + np.interp(year - s, record.year, record.delta[zone]) / 1000.0
            wanted = BASIS.held(s, r - weight[0])
            worst = max(worst, 1000.0 * np.abs(BASIS.of_pools[:, 1:] @ weight[1:] - wanted).max())
    assert worst < 1.0
