"""Maps beside the truth of a synthetic world: by model and route, on all cells and unseen ones."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from proda.comparison.truth import (
    ALL,
    UNSEEN,
    Recovered,
    cells_without,
    recovered_table,
    truth_table,
)
from proda.errors import ComparisonError
from proda.plots.truth import truth_figure
from tests.comparison_worlds import LAT, LON, SHAPE, STEPS, made_map

CARBON = STEPS["cSoilAbove1m"]


def world():
    truth = made_map("clm5", CARBON, 1)
    parameter = (
        ("lat", "lon"),
        np.linspace(1.0, 3.0, np.prod(SHAPE)).reshape(SHAPE),
        {"units": "1"},
    )
    return truth.assign(param_q10=parameter)


def found(truth, factor=1.0, half=0.2):
    """Return the truth times a factor, with a range of +-`half` in logarithms about it."""
    out = truth.copy(deep=True)
    for name in [n for n in truth.data_vars if truth[n].dims == ("lat", "lon")]:
        if name in ("cell_area", "land_fraction", "reason"):
            continue
        out[name] = truth[name] * factor
        for ending, sign in (("q05", -1), ("q95", 1)):
            out[f"{name}_{ending}"] = out[name] * np.exp(sign * half)
    return out


def test_the_truth_itself_is_recovered_by_any_route_and_a_factor_is_an_error_of_level():
    truth = world()
    maps = [
        Recovered("clm5", "end-to-end", found(truth)),
        Recovered("clm5", "posterior", found(truth, 1.5)),
    ]
    table = recovered_table(maps, truth, "clm5").set_index(["route", "variable"])
    exact, off = table.loc["end-to-end"], table.loc["posterior"]
    np.testing.assert_allclose(exact[["r", "r2", "coverage_90"]], 1.0)
    assert set(exact.index) >= {"cSoilAbove1m", "K", "CTE", "q10"}
    # the pattern is right, the level wrong by ln 1.5, which a range of 0.2 does not reach
    assert off.loc["K", "r"] == pytest.approx(1.0)
    assert off.loc["K", "rmse"] == pytest.approx(np.log(1.5))
    assert off.loc["K", "coverage_90"] == 0.0


def test_of_another_model_only_carbon_has_a_truth():
    truth = world()
    maps = [Recovered(model, "end-to-end", found(truth)) for model in ("clm5", "compas")]
    table = recovered_table(maps, truth, "clm5")
    assert set(table[table["model"] == "compas"]["variable"]) == {
        "soc_0_30",
        "cSoilAbove1m",
        "soc_0_200",
    }
    assert "CTE" in set(table[table["model"] == "clm5"]["variable"])


def test_unseen_cells_are_those_without_a_profile():
    truth = world()
    good = found(truth)
    # one site near a cell's centre, one across the date line from the first column's
    lat, lon = np.array([LAT[3] + 1.0, LAT[5]]), np.array([LON[7] - 2.0, LON[0] + 359.0])
    away = cells_without(truth, lat, lon)
    assert (~away).sum() == 2
    assert not away[3, 7]
    assert not away[5, 0]
    wrong = good.copy(deep=True)
    wrong["K"] = good["K"] * np.where(away, 2.0, 1.0)
    table = recovered_table([Recovered("clm5", "end-to-end", wrong)], truth, "clm5", (lat, lon))
    k = table[table["variable"] == "K"].set_index("cells")
    assert k.loc[UNSEEN, "rmse"] == pytest.approx(np.log(2.0))
    assert k.loc[ALL, "rmse"] < k.loc[UNSEEN, "rmse"]
    assert k.loc[ALL, "n_cells"] - k.loc[UNSEEN, "n_cells"] == 2


def test_another_maps_range_is_held_against_the_truth_if_given():
    truth = world()
    narrow, wide = found(truth, 1.5), found(truth, 1.5, half=0.5)
    table = recovered_table([Recovered("clm5", "posterior", narrow, wide)], truth, "clm5")
    assert (table["coverage_90"] == 1.0).all()
    assert truth_table(narrow, truth, ["K"]).iloc[0]["coverage_90"] == 0.0


def test_a_world_with_a_profile_in_every_cell_has_no_unseen_ones():
    truth = world()
    lat, lon = (v.ravel() for v in np.meshgrid(LAT, LON, indexing="ij"))
    with pytest.raises(ComparisonError, match="clm5, end-to-end: no unseen cells"):
        recovered_table([Recovered("clm5", "end-to-end", found(truth))], truth, "clm5", (lat, lon))
    with pytest.raises(ComparisonError, match="differ in lat"):
        recovered_table(
            [Recovered("clm5", "end-to-end", found(truth).isel(lat=slice(1, None)))], truth, "clm5"
        )


def test_figure_says_by_which_route():
    truth = world()
    good = found(truth)
    figure = truth_figure({"clm5": (good, truth, good)}, "clm5", "end-to-end")
    assert "end-to-end against the truth: CLM5 r 1.00" in figure.get_suptitle()
    plt.close(figure)
