"""A comparison of three models: agreement of all pairs, carbon, microbes, figures, report."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import proda
from proda import files
from proda.column.column import prepare
from proda.comparison import ModelFiles, compare_models
from proda.comparison.many import (
    MEASURED,
    agreement_table,
    matrix,
    microbes_table,
    models_table,
)
from proda.comparison.paper import MICROBES_MEASURED
from proda.models.components import MICROBES_TOP, components
from proda.models.registry import MODELS
from proda.plots.comparison import figures
from proda.plots.style import COLOURS, colours_of
from proda.study.report.comparison_figures import place_of
from proda.study.report.write_report import write_report
from tests.comparison_worlds import STEPS, TROPICAL, made_map, made_summary
from tests.study_folders import record, write_settings

BEFORE = {"clm5": STEPS["cSoilAbove1m"], "mimics": TROPICAL, "rothc": (10.0, 30.0, 10.0)}
AFTER = {"clm5": (40.0, 12.0, 14.0), "mimics": (39.0, 13.0, 16.0), "rothc": (41.0, 12.0, 15.0)}
SHARES = {"default": 0.3, "maps": 0.02}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three models that disagree with default parameters and agree afterwards."""
    folder = tmp_path_factory.mktemp("three")
    given = {}
    for k, name in enumerate(BEFORE):
        (folder / name / "assimilation").mkdir(parents=True)
        for kind, carbon in (("default", BEFORE[name]), ("maps", AFTER[name])):
            members = 4 if kind == "maps" else 1
            dataset = made_map(name, carbon, 10 * k + members, members=members)
            if name == "mimics":
                shape = dataset["cSoil"].dims
                for variable in ("microbial_share", "microbial_share_0_15"):
                    values = np.full(dataset["cSoil"].shape, SHARES[kind])
                    dataset[variable] = (shape, values, {"units": "1"})
            files.write_netcdf(dataset, folder / name / f"{kind}.nc")
        summary = made_summary("clm5", np.linspace(-1.0, k, 45)).assign_attrs(model=name)
        files.write_netcdf(summary, folder / name / "assimilation" / "summary.nc")
        given[name] = ModelFiles(
            folder / name / "maps.nc",
            folder / name / "default.nc",
            folder / name / "assimilation" / "summary.nc",
        )
    return given, compare_models(given, folder / "comparison")


def test_all_pairs_stand_in_one_square(world):
    table = world[1].tables["correlations"]
    found = matrix(table, "cSoilAbove1m", "after")
    assert list(found.index) == list(found.columns) == ["clm5", "mimics", "rothc"]
    np.testing.assert_array_equal(found, found.T)
    assert np.isnan(np.diag(found)).all()
    row = table.query("first == 'mimics' and second == 'rothc' and state == 'after'")
    row = row.set_index("variable").loc["cSoilAbove1m"]
    assert found.loc["rothc", "mimics"] == row["r"]
    cells = matrix(table, "cSoilAbove1m", "after", "n_effective")
    assert cells.loc["mimics", "rothc"] == row["n_effective"]


def test_models_agree_more_after_than_before(world):
    table = world[1].tables["agreement"].set_index(["variable", "state"])
    carbon = table.loc["cSoilAbove1m"]
    assert carbon["pairs"].tolist() == [3, 3]
    assert carbon.loc["after", "mean_r"] > 0.5 > carbon.loc["before", "mean_r"]
    gain = carbon.loc["after", "mean_r"] - carbon.loc["before", "mean_r"]
    assert carbon.loc["after", "change"] == pytest.approx(gain)
    assert carbon.loc["after", "share_rising"] == 1.0
    assert np.isnan(carbon.loc["before", "change"])


def test_spread_and_error_of_the_agreement_by_hand():
    pairs = {("a", "b"): (0.0, 0.4), ("a", "c"): (0.2, 0.8), ("b", "c"): (0.4, 0.3)}
    rows = [
        {"first": a, "second": b, "state": state, "variable": "K", "r": r, "n_effective": 9.0}
        for (a, b), both in pairs.items()
        for state, r in zip(("before", "end to end"), both, strict=True)
    ]
    found = agreement_table(pd.DataFrame(rows)).set_index("state").loc["end to end"]
    assert found["models"] == 3
    assert found["mean_r"] == pytest.approx(0.5)
    assert found["sd"] == pytest.approx(np.std([0.4, 0.8, 0.3], ddof=1))
    assert (found["low"], found["high"]) == (0.3, 0.8)
    # Without a model one pair is left: the jackknife's means are the three pairs themselves.
    assert found["standard_error"] == pytest.approx(np.sqrt(2 / 3 * 0.14))
    assert found["change"] == pytest.approx(0.3)
    assert found["share_rising"] == pytest.approx(2 / 3)
    two = agreement_table(pd.DataFrame(rows[:2])).set_index("state").loc["end to end"]
    assert np.isnan(two["standard_error"])


def test_models_stand_on_one_row_each_with_shares_of_their_depths(world):
    _, result = world
    table = result.tables["models"].set_index(["model", "state"])
    assert len(table) == 6
    totals = result.tables["totals"].query("zone == 'globe' and stock == 'cSoilAbove1m'")
    totals = totals.set_index(["source", "state"])["mean"]
    for key in table.index:
        assert table.loc[key, "carbon_0_100"] == pytest.approx(totals[key])
    # The synthetic members hold as much in every stock: all of the column lies in 0-30 cm.
    np.testing.assert_allclose(table[["share_0_30", "share_30_100"]], [[1.0, 0.0]] * 6)
    assert table["K"].between(0.1, 0.6).all()
    one = result.models["clm5"].maps["after"].copy()
    carbon = one["member_carbon"].copy()
    for k, stock in enumerate(("soc_0_30", "cSoilAbove1m", "soc_0_200", "cSoil")):
        carbon.loc[{"stock": stock}] = 1.0 + k
    one["member_carbon"] = carbon
    model = type(result.models["clm5"])("clm5", {"after": one})
    shares = models_table({"clm5": model}).iloc[0]
    np.testing.assert_allclose(
        shares[["share_0_30", "share_30_100", "share_100_200", "share_below_200"]].astype(float),
        0.25,
    )


def test_microbes_stand_beside_what_was_measured(world):
    table = world[1].tables["microbes"]
    assert list(table["model"].unique()) == ["mimics", MEASURED]
    top = table[table["depth"] == "0-15 cm"].set_index("state")["median"]
    np.testing.assert_allclose(
        top[["before", "after", "measured"]], [0.3, 0.02, MICROBES_MEASURED[0]]
    )
    whole = table[table["depth"] == "whole column"].set_index("state")
    np.testing.assert_allclose(whole["share_of_all_carbon"], [0.3, 0.02])
    without = {"clm5": world[1].models["clm5"]}
    assert microbes_table(without).empty


def test_models_say_which_pools_are_microbes():
    found = {name: model.microbial_pools for name, model in MODELS.items()}
    for name, model in MODELS.items():
        assert set(found[name]) <= set(model.soil_pools), name
    assert found.pop("clm5") == ()
    assert found.pop("mimics") == ("MICr", "MICK")
    assert found.pop("rothc") == found.pop("rothc_q10") == ("BIO",)
    assert set(found.values()) == {("MIC",)}


@pytest.mark.parametrize("name", ["compas", "mimics"])
def test_microbes_are_counted_in_the_topsoil_and_in_all_of_it(examples, name):
    model = proda.load_model(name)
    clay = {"clay": np.full((len(examples), 20), 25.0)}
    columns = prepare(replace(examples, properties=clay))
    column = jax.tree.map(lambda leaf: leaf[2], columns)
    values = {row.name: row.middle for row in model.rows}
    pools = np.random.default_rng(3).uniform(1.0, 9.0, (len(model.pools), 20))
    found = components(model, pools, values, column)
    microbes = pools[[model.pools.index(p) for p in model.microbial_pools]].sum(axis=0)
    soil = pools[[model.pools.index(p) for p in model.soil_pools]].sum(axis=0)
    for variable, bottom in (("microbial_share_0_15", MICROBES_TOP), ("microbial_share", 99.0)):
        dz = examples.grid.thickness_within(0.0, bottom)
        expected = (microbes * dz).sum() / (soil * dz).sum()
        assert float(found[variable]) == pytest.approx(expected, rel=1e-12), variable


def test_figures_of_three_models(world):
    makers = figures(world[1])
    assert set(makers) == {
        "agreement",
        "agreement_before",
        "agreement_after",
        "carbon_before",
        "carbon_after",
        "components_before",
        "components_after",
        "microbes",
        "evidence",
        "zonal",
    }
    texts = {}
    for name, make in makers.items():
        figure = make()
        titles = [figure.get_suptitle(), *(a.get_title(loc="left") for a in figure.axes)]
        texts[name] = " ".join(titles)
        plt.close(figure)
    assert "3 models (3 pairs)" in texts["agreement"]
    assert "1 of 2 maps lie in the measured range" in texts["microbes"]
    assert "MIMICS" in texts["carbon_after"]
    assert "log evidence: ROTHC first" in texts["evidence"]
    every = set(figures(world[1], every_pair=True))
    assert {
        f"carbon_after_{pair}" for pair in ("clm5_mimics", "clm5_rothc", "mimics_rothc")
    } < every
    assert len(every - set(makers)) == 3 * (2 * 3 + 1)


def test_nine_models_have_nine_colours():
    found = colours_of([f"m{i}" for i in range(9)])
    assert len(set(found.values())) == 9
    assert len(colours_of(map(str, range(12)))) == 12
    assert set(found.values()) == set(COLOURS)


def test_grids_have_their_place_in_the_report():
    assert place_of("carbon_before")[0] == "figure-2"
    assert place_of("components_end_to_end")[0] == "figure-4"
    assert place_of("agreement_after")[0] == "findings"
    assert "by all models" in place_of("carbon_after")[1]
    assert "by two models" in place_of("carbon_after_clm5_compas")[1]


def projected(models):
    """Agreement of projections of all pairs: 0.1, 0.2, 0.3 today, and the opposite in the end."""
    rows = []
    for k, (first, second) in enumerate(combinations(models, 2), start=1):
        for years, r in (("10", 0.9), ("100", -0.1 * k), ("new steady state", 0.9)):
            labels = {"first": first, "second": second, "state": "before", "years": years}
            numbers = {"r_today": 0.1 * k, "r": r, "low": r, "high": r, "same_sign": 0.4 + 0.1 * k}
            rows.append(labels | {"experiment": "plus_4K"} | numbers)
    return pd.DataFrame(rows)


def test_the_report_of_three_models_speaks_of_three(world, tmp_path):
    given, result = world
    folder = record(tmp_path / "run")
    write_settings(folder, tuple(given))
    (folder / "comparison").mkdir()
    for name, table in result.tables.items():
        table.to_csv(folder / "comparison" / f"{name}.csv", index=False)
    (folder / "projections").mkdir()
    projected(given).to_csv(folder / "projections" / "agreement.csv", index=False)
    text = write_report(folder).read_text("utf-8")
    answer = text[text.index('id="answer"') : text.index('id="findings"')]
    assert (
        "Mean (range) of 3 pairs; default: today r = 0.20 (0.10 to 0.30), after 100 "
        "years of 4 K r = −0.20 (−0.30 to −0.10), same sign on 60% of the land" in answer
    )
    assert "of 3 models correlate with r =" in answer
    assert "on the mean of 3 pairs" in answer
    assert "This study has no COMPAS" in answer
    assert "By log evidence (45 sites that all models share), ROTHC is best" in answer
    assert "of CLM5 and MIMICS correlate" not in answer  # pairs stand in the tables
    for words in (
        "Agreement of all models",
        "Stacking weights of the models",
        "Xu, Thornton and Post 2013",
        "All models: carbon, its depths, components",
        "Living microbes, share of soil carbon",
    ):
        assert words in text
    assert "the two models" not in text
    # The paper's own findings are about two; nothing else of the page is.
    rest = text[: text.index('id="findings"')] + text[text.index('id="counterparts"') :]
    assert "both models" not in rest
    weights = pd.read_csv(folder / "tables" / "comparison_stacking.csv")
    whole = weights[(weights["measure"] == "log evidence") & (weights["zone"] == "all")]
    assert whole["weight"].sum() == pytest.approx(1.0)
