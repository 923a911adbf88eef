"""Correlations between and across refits: closed forms on synthetic refits, and what is refused."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from proda.comparison.identification import (
    ALL,
    BETWEEN,
    UNIFORM_SD,
    VARIABLES,
    identification_table,
    mean_table,
    pair_table,
    parameter_table,
    truth_correlations,
)
from proda.comparison.paper import CORRELATIONS
from proda.comparison.refit_runs import CONSTANT, DEFAULTS
from proda.errors import ComparisonError
from proda.plots.identification import identification_figure

CELLS = 2000
KINDS = ("other seeds", "other seeds", "random starts", "random starts", DEFAULTS, CONSTANT)


def pattern(seed):
    return np.random.default_rng(seed).standard_normal(CELLS)


def refits(model, maps, shares=None):
    """Return refits whose every variable has the patterns `maps` (refit, cell)."""
    rng = np.random.default_rng(5)
    dims = ("refit", "cell")
    data = {name: (dims, np.exp(0.3 * np.asarray(maps))) for name in (*VARIABLES, "residence_time")}
    if shares is not None:
        data["share_q10"] = (dims, shares)
    return xr.Dataset(
        data,
        {
            "kind": ("refit", list(KINDS)),
            "trained": ("refit", [True] * 4 + [False] * 2),
            "lat": ("cell", rng.uniform(-50, 70, CELLS)),
            "lon": ("cell", rng.uniform(0, 360, CELLS)),
            "land": ("cell", rng.uniform(100.0, 3000.0, CELLS)),
        },
        {"model": model},
    )


def row(table, of, kind=ALL, variable="K"):
    found = table[(table["of"] == of) & (table["kind"] == kind) & (table["variable"] == variable)]
    assert len(found) == 1
    return found.iloc[0]


def test_identical_refits_correlate_perfectly_and_independent_models_do_not():
    one = refits("clm5", np.tile(pattern(1), (6, 1)))
    two = refits("compas", np.tile(pattern(2), (6, 1)))
    table = identification_table(pair_table(one, two))
    assert row(table, "clm5")["lowest"] == pytest.approx(1.0)
    assert row(table, "clm5")["pairs"] == 6  # of four trained refits
    assert row(table, "clm5", "random starts")["pairs"] == 1
    assert row(table, BETWEEN)["pairs"] == 16
    assert abs(row(table, BETWEEN)["median"]) < 0.08
    assert row(table, BETWEEN, DEFAULTS)["pairs"] == 1


def test_independent_refits_of_one_model_do_not_correlate():
    maps = np.stack([pattern(10 + i) for i in range(6)])
    table = identification_table(pair_table(refits("clm5", maps), refits("compas", maps)))
    assert abs(row(table, "clm5")["median"]) < 0.08
    # models share every map, refit by refit: those of unlike kinds are independent
    between = row(table, BETWEEN, "other seeds")
    assert between["highest"] == pytest.approx(1.0)
    assert abs(between["lowest"]) < 0.08


def test_a_common_signal_correlates_by_its_share_of_the_variance():
    """Maps s + e with independent e of the same variance: r = 0.5 on the log scale."""
    signal = pattern(3)
    maps = [
        np.stack([(signal + pattern(100 * k + i)) / np.sqrt(2) for i in range(6)]) for k in (1, 2)
    ]
    table = identification_table(pair_table(refits("clm5", maps[0]), refits("compas", maps[1])))
    for of in ("clm5", "compas", BETWEEN):
        assert row(table, of, variable="cSoilAbove1m")["median"] == pytest.approx(0.5, abs=0.05)
    means = mean_table(refits("clm5", maps[0]), refits("compas", maps[1])).set_index("variable")
    # the mean of four refits has the signal with weight 1 and a quarter of the error's variance
    assert means["r"]["cSoilAbove1m"] == pytest.approx(1 / 1.25, abs=0.04)
    assert means["low"]["cSoilAbove1m"] < means["r"]["cSoilAbove1m"] < means["high"]["cSoilAbove1m"]


def test_correlations_do_not_depend_on_level_and_scale_nor_on_untrained_maps():
    maps = np.stack([pattern(20 + i // 2) + 0.5 * pattern(i) for i in range(6)])
    one, two = refits("clm5", maps), refits("compas", maps[::-1])
    plain = identification_table(pair_table(one, two))
    moved = one.copy(deep=True)
    for name in VARIABLES:
        moved[name] = 3.0 * moved[name] + (0.0 if name == "cSoilAbove1m" else 7.0)
    moved["K"][4:] = 1.0
    other = identification_table(pair_table(moved, two))
    for of in ("clm5", BETWEEN):
        assert row(other, of)["median"] == pytest.approx(row(plain, of)["median"], rel=1e-12)
    assert np.isnan(row(other, BETWEEN, DEFAULTS)["median"])  # a constant map has no correlation


def test_cells_without_carbon_or_answer_do_not_count():
    maps = np.tile(pattern(1), (6, 1))
    one, two = refits("clm5", maps), refits("compas", maps)
    odd = one.copy(deep=True)
    odd["residence_time"][:, :500] = 0.0
    odd["K"][:, :500] = 0.0
    odd["K"][1, 500:600] = np.nan
    table = identification_table(pair_table(odd, two))
    assert row(table, BETWEEN)["lowest"] == pytest.approx(1.0)
    land = one["land"].to_numpy()
    assert row(table, BETWEEN)["land"] == pytest.approx(land[600:].sum() / land.sum())


def test_the_papers_numbers_stand_beside_its_own_models_only():
    maps = np.stack([pattern(i) for i in range(6)])
    one, two = refits("clm5", maps), refits("compas", maps)
    table = identification_table(pair_table(one, two))
    assert row(table, BETWEEN, variable="XI")["paper"] == CORRELATIONS["XI", "after"]
    assert np.isnan(row(table, BETWEEN, variable="V")["paper"])
    other = identification_table(pair_table(one, two.assign_attrs(model="century")))
    assert other["paper"].isna().all()


def test_parameters_spread_between_refits_over_land_and_in_level():
    """Shares a + b s(x), b known, shifted by c of each refit and noise e of each cell."""
    signal, rng = pattern(4), np.random.default_rng(7)
    shift, noise = np.array([-0.03, 0.01, 0.0, 0.02]), 0.01
    shares = 0.5 + 0.1 * signal + shift[:, None] + noise * rng.standard_normal((4, CELLS))
    whole = np.concatenate([shares, np.full((2, CELLS), 0.2)])
    data = refits("clm5", np.tile(signal, (6, 1)), whole)
    found = parameter_table(data).set_index("kind").loc[ALL]
    between = np.sqrt(shift.var(ddof=1) + noise**2)
    assert found["between_refits"] == pytest.approx(between, rel=0.02)
    assert found["of_prior"] == pytest.approx(between / UNIFORM_SD, rel=0.02)
    assert found["level"] == pytest.approx(shift.std(ddof=1), rel=0.03)
    assert found["over_land"] == pytest.approx(0.1, rel=0.06)
    assert found["ratio"] == pytest.approx(found["between_refits"] / found["over_land"])
    assert found["r"] == pytest.approx(1 / (1 + noise**2 / 0.1**2), abs=0.005)
    assert set(parameter_table(data)["kind"]) == {ALL, "other seeds", "random starts"}


def test_a_parameter_that_only_the_prior_holds_has_the_spread_of_the_prior():
    n = 20
    everywhere = (np.arange(n) + 0.5) / n  # with n - 1, their variance is (n + 1) / (12 n)
    data = refits("clm5", np.tile(pattern(1), (6, 1))).isel(refit=np.zeros(n, int))
    data["share_q10"] = (("refit", "cell"), np.repeat(everywhere[:, None], CELLS, axis=1))
    found = parameter_table(data).iloc[0]
    assert found["of_prior"] == pytest.approx(np.sqrt((n + 1) / n), rel=1e-9)
    assert found["level"] == pytest.approx(found["between_refits"], rel=1e-9)
    assert np.isnan(found["ratio"])  # no pattern at all
    assert np.isnan(found["r"])


def made_truth(data, values):
    """Return a map on a grid whose diagonal are the cells of the refits."""
    n = data.sizes["cell"]
    grid = np.full((n, n), np.nan)
    np.fill_diagonal(grid, values)
    coords = {"lat": data["lat"].to_numpy(), "lon": data["lon"].to_numpy()}
    return xr.Dataset(dict.fromkeys(VARIABLES, (("lat", "lon"), grid)), coords)


def test_refits_that_agree_can_have_the_pattern_of_the_truth_and_its_level_wrong():
    signal = pattern(1)[:100]
    data = refits("clm5", np.tile(pattern(1), (6, 1))).isel(cell=slice(100))
    found = truth_correlations(data, made_truth(data, np.exp(0.3 * signal) / 2.0))
    row = found[(found["variable"] == "K") & (found["kind"] == ALL)].iloc[0]
    assert row["refits"] == 4
    assert row["lowest"] == pytest.approx(1.0)
    assert row["level"] == pytest.approx(np.log(2.0))
    other = truth_correlations(data, made_truth(data, np.exp(-0.3 * signal)))
    carbon = other[(other["variable"] == "cSoilAbove1m") & (other["kind"] == DEFAULTS)].iloc[0]
    assert carbon["median"] == pytest.approx(-1.0)
    assert row["median"] == pytest.approx(identification_table(pair_table(data))["median"].min())


def test_truth_on_other_cells_is_refused():
    data = refits("clm5", np.tile(pattern(1), (6, 1))).isel(cell=slice(10))
    truth = made_truth(data, np.ones(10))
    with pytest.raises(ComparisonError, match=r"cells that the truth lacks \(lat\)"):
        truth_correlations(data, truth.assign_coords(lat=truth["lat"] + 0.5))


def test_other_cells_the_same_model_and_missing_variables_are_refused():
    one = refits("clm5", np.tile(pattern(1), (6, 1)))
    two = refits("compas", np.tile(pattern(2), (6, 1)))
    with pytest.raises(ComparisonError, match="clm5 and compas differ in lat"):
        pair_table(one, two.assign_coords(lat=two["lat"] + 0.5))
    with pytest.raises(ComparisonError, match="Both sets of refits are of clm5"):
        pair_table(one, one)
    with pytest.raises(ComparisonError, match="compas lack residence_time"):
        mean_table(one, two.drop_vars("residence_time"))


def test_figure_has_every_component_and_the_papers_mark():
    maps = np.stack([pattern(i // 2) for i in range(6)])
    one, two = refits("clm5", maps), refits("compas", maps)
    figure = identification_figure(pair_table(one, two), mean_table(one, two))
    axis = figure.axes[0]
    assert [text.get_text().split("\n")[0] for text in axis.get_xticklabels()] == [
        "carbon to 1 m",
        "CTE",
        "K",
        "XI",
        "B",
        "V",
    ]
    heights = {float(line.get_ydata()[0]) for line in axis.lines if line.get_marker() == "D"}
    assert CORRELATIONS["K", "after"] in heights
    assert "correlation" in axis.get_ylabel()
    plt.close(figure)
