"""Two models beside each other and beside the paper, on synthetic maps and sites."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import files
from proda.cli import app
from proda.comparison import ModelFiles, compare_models, files_of_run
from proda.comparison.compare_models import TABLES, covariates_of_run
from proda.comparison.correlations import correlation_table
from proda.comparison.evidence import Evidence
from proda.comparison.findings import FINDINGS, findings_table
from proda.comparison.michaelis import ratios_at_sites
from proda.comparison.model_files import open_models
from proda.comparison.preference import median_interval, not_comparable, site_differences
from proda.comparison.regions import REGIONS, Region, region_table
from proda.comparison.routes import side_by_side, where_it_holds
from proda.errors import ComparisonError, MapError
from proda.plots.comparison import figures
from tests.comparison_worlds import EVIDENCE, made_map, made_summary, write_run
from tests.conftest import HERE, rough_forcing, undrawn_figures

SAYS_THE_PAPER = {
    "default_clm5_boreal",
    "default_clm5_east_siberia",
    "default_clm5_alaska",
    "default_clm5_amazon",
    "default_clm5_congo",
    "default_clm5_indonesia",
    "default_compas_amazon",
    "default_compas_congo",
    "default_compas_indonesia",
    "default_compas_tropics",
    "default_compas_boreal",
    "after_boreal_clm5",
    "after_boreal_compas",
    "after_tropics_rise",
    "after_compas_tropics",
    "CTE_converges",
    "K_converges",
    "XI_converges",
    "CTE_boreal_clm5",
    "CTE_boreal_compas",
    "K_boreal_clm5",
    "XI_boreal_compas",
    "CTE_clm5_higher",
    "K_clm5_lower",
    "CTE_K_off_1_to_1",
    "XI_magnitude",
    "same_input",
    "litter_to_soil",
    "michaelis_DOC_land",
    "V_no_agreement",
    "B_no_agreement",
    "similar_performance",
    "weak_identifiability_clm5",
    "equally_effective",
    "r_rises",
}
TURNS_ROUND = {
    "default_clm5_east_siberia",
    "default_clm5_amazon",
    "default_compas_amazon",
    "default_compas_tropics",
    "default_compas_boreal",
    "after_boreal_clm5",
    "after_compas_tropics",
    "r_rises",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    given = write_run(folder)
    steps = []
    result = compare_models(
        given,
        folder / "comparison",
        reference=folder / "reference.nc",
        covariates=covariates_of_run(folder),
        progress=lambda *at: steps.append(at),
    )
    assert steps == [(i + 1, len(steps)) for i in range(len(steps))]
    return folder, given, result


def verdicts(result):
    return result.findings.set_index("id")["verdict"]


def test_findings_agree_where_the_world_is_the_papers(world):
    found = verdicts(world[2])
    assert {n: found[n] for n in SAYS_THE_PAPER} == dict.fromkeys(SAYS_THE_PAPER, "agrees")


def test_findings_turn_round_with_the_world(world, tmp_path):
    given = write_run(tmp_path, opposite=True)
    found = verdicts(compare_models(given, tmp_path / "out"))
    assert {n: found[n] for n in TURNS_ROUND} == dict.fromkeys(TURNS_ROUND, "disagrees")


def test_every_finding_is_a_row_with_numbers_or_a_reason(world):
    table = world[2].findings
    assert len(table) == len(FINDINGS) == table["id"].nunique() >= 60
    assert set(table["verdict"]) <= {"agrees", "disagrees", "cannot be judged"}
    undecided = table["verdict"] == "cannot be judged"
    assert (table.loc[undecided, "reason"] != "").all()
    assert table.loc[~undecided, "run"].str.contains(r"\d").all()
    assert (table[["paper", "rule", "section"]] != "").all().all()


def test_without_the_papers_models_findings_say_why(world, tmp_path):
    _, given, _ = world
    other = {"linear": given["clm5"], "microbial": given["compas"]}
    result = compare_models(other, tmp_path / "out")
    assert set(verdicts(result)) == {"cannot be judged"}
    reasons = result.findings.set_index("id")["reason"]
    assert (
        reasons["after_r"]
        == "needs maps of clm5 and compas with parameters constrained by profiles"
    )
    assert set(result.tables["correlations"]["second"]) == {"microbial"}


def test_no_data_at_all_judges_nothing():
    table = findings_table(Evidence({}))
    assert set(table["verdict"]) == {"cannot be judged"}
    assert (table["reason"] != "").all()


@pytest.mark.parametrize(
    ("mean", "low", "high", "answered", "verdict"),
    [
        (1600, np.nan, np.nan, 1.0, "agrees"),
        (1000, np.nan, np.nan, 1.0, "disagrees"),
        (1250, 1100, 1500, 1.0, "agrees"),
        (1250, 300, 1500, 1.0, "cannot be judged"),
        (1469, np.nan, np.nan, 0.5, "cannot be judged"),
    ],
)
def test_totals_are_judged_with_their_spread(mean, low, high, answered, verdict):
    row = {
        "source": "clm5",
        "state": "after",
        "stock": "cSoilAbove1m",
        "zone": "globe",
        "mean": mean,
        "q05": low,
        "q95": high,
        "answered": answered,
    }
    found = findings_table(Evidence({"totals": pd.DataFrame([row])})).set_index("id")
    assert found.loc["after_total_clm5", "verdict"] == verdict


def test_correlations_are_those_of_the_cells(world):
    _, given, result = world
    maps = {m: files.open_netcdf(f.maps) for m, f in given.items()}
    area = maps["clm5"]["cell_area"].to_numpy().ravel()
    table = result.tables["correlations"].set_index(["state", "variable"])
    assert len(table) == 18
    for variable, change in (("cSoilAbove1m", np.log), ("CTE", np.asarray)):
        x, y = (change(maps[m][variable].to_numpy().ravel()) for m in ("clm5", "compas"))
        row = table.loc["after", variable]
        np.testing.assert_allclose(row["r_each_cell_once"], np.corrcoef(x, y)[0, 1], rtol=1e-6)
        cov = np.cov(x, y, aweights=area)
        np.testing.assert_allclose(row["r"], cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]), rtol=1e-6)
        np.testing.assert_allclose(row["bias"], np.average(y - x, weights=area), rtol=1e-5)
        assert row["n"] == x.size
        assert row["n_effective"] < 0.5 * x.size
        assert row["low"] < row["r"] < row["high"]


def test_both_states_are_compared_on_the_same_cells(world, tmp_path):
    _, given, _ = world
    holes = files.open_netcdf(given["compas"].default).load()
    holes["reason"][:3] = 1
    files.write_netcdf(holes, tmp_path / "holes.nc")
    given = {**given, "compas": replace(given["compas"], default=tmp_path / "holes.nc")}
    table = correlation_table(open_models(given))
    assert set(table["n"]) == {holes["reason"].size - 3 * holes.sizes["lon"]}


def test_cells_without_carbon_have_no_components(world, tmp_path):
    _, given, _ = world
    changed = {}
    for name, each in given.items():
        data = files.open_netcdf(each.maps).load()
        for variable in ("cSoilAbove1m", "CTE", "K", "V", "residence_time"):
            data[variable][:2] = 0.0
        files.write_netcdf(data, tmp_path / f"{name}.nc")
        changed[name] = replace(each, maps=tmp_path / f"{name}.nc")
    opened = open_models(changed)
    table = correlation_table(opened)
    n = data["reason"].size - 2 * data.sizes["lon"]
    assert set(table["n"]) == {n}
    v = table.set_index(["state", "variable"]).loc["after", "V"]
    assert abs(v["r"]) < 0.2  # the common zeros would correlate
    keys = ["region", "model", "state", "variable"]
    regions = region_table(opened).set_index(keys).sort_index()
    boreal = regions.loc["boreal", "clm5", "after"]
    assert boreal.loc["CTE", "cells"] == boreal.loc["cSoilAbove1m", "cells"] - 72
    assert boreal.loc["CTE", "q05"] > 0.3


def test_regions_by_hand(world):
    _, given, result = world
    table = result.tables["regions"].set_index(["region", "model", "state", "variable"])
    data = files.open_netcdf(given["clm5"].maps)
    box = REGIONS["Amazon"]
    inside = data["CTE"].where(
        (data.lat >= box.south)
        & (data.lat < box.north)
        & (data.lon >= box.west)
        & (data.lon < box.east)
    )
    mean = inside.weighted(data["cell_area"]).mean()
    row = table.loc["Amazon", "clm5", "after", "CTE"]
    np.testing.assert_allclose(row["mean"], mean, rtol=1e-6)
    assert row["cells"] == int(inside.count())
    difference = table.loc["globe", "compas - clm5", "after", "K"]
    np.testing.assert_allclose(np.exp(difference["log_ratio"]), 1.5, rtol=0.02)
    tropics = table.loc["tropics", "clm5", "after", "cSoilAbove1m"]
    # Five members from 90 to 110 % of the mean: 5 and 95 % between them.
    np.testing.assert_allclose(
        [tropics["mean_q05"], tropics["mean_q95"]], tropics["mean"] * np.array([0.91, 1.09])
    )
    assert np.isnan(table.loc["Amazon", "clm5", "after", "cSoilAbove1m"]["mean_q05"])


def test_region_across_the_date_line():
    box = Region(60.0, 90.0, 170.0, -170.0)
    lat, lon = np.array([65.0, 65, 65, 50, 90]), np.array([175.0, -175, 0, 175, 175])
    assert box.contains(lat, lon).tolist() == [True, True, False, False, True]


def test_totals_of_models_paper_and_reference(world):
    table = world[2].tables["totals"].set_index(["source", "state", "stock", "zone"])["mean"]
    assert table["paper: clm5", "after", "cSoilAbove1m", "globe"] == 1469
    reference = files.open_netcdf(world[0] / "reference.nc")["soc_0_100_survey"]
    area = files.open_netcdf(world[1]["clm5"].maps)["cell_area"]
    expected = 1e-6 * float((reference * area * 0.5).sum())
    found = table["reference: survey", "measured", "cSoilAbove1m", "globe"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    references = world[2].tables["references"]
    assert set(references["model"]) == {"clm5", "compas"}


def test_preference_counts_sites(world):
    table = world[2].tables["preference"].set_index(["criterion", "grouping", "zone"])
    kept = np.delete(EVIDENCE, 40)
    row = table.loc["log_evidence", "all", "all"]
    assert row["sites"] == 80
    np.testing.assert_allclose(row["median"], np.median(kept))
    np.testing.assert_allclose(row["prefer_second"], (kept > 0).mean())
    for limit in (1, 3, 5):
        assert row[f"second_by_{limit}"] == (kept > limit).sum()
        assert row[f"first_by_{limit}"] == (kept < -limit).sum()
    loo = table.loc["elpd_loo", "all", "all"]
    np.testing.assert_allclose(loo["median"], 0.5 * row["median"])
    assert loo["untrustworthy"] == 0.5
    cold = table.loc["log_evidence", "koppen", "D"]
    assert cold["sites"] == 40
    assert cold["prefer_second"] == 1.0
    data = world[2].sites["clm5", "compas"]
    np.testing.assert_allclose(data["log_evidence_error"], 0.1 * np.sqrt(2))


def test_no_common_site_is_said(world, tmp_path):
    _, given, _ = world
    table = pd.read_csv(given["compas"].sites).assign(kept=False)
    table.to_csv(tmp_path / "none.csv", index=False)
    changed = {**given, "compas": replace(given["compas"], sites=tmp_path / "none.csv")}
    result = compare_models(changed, tmp_path / "out")
    found = result.findings.set_index("id")
    for name in ("equally_effective", "structures_by_region", "similar_performance"):
        assert found.loc[name, "reason"] == "no site is kept for both models"
    assert "preference_clm5_compas" not in figures(result)
    assert found.loc["after_boreal_compas", "verdict"] == "agrees"


def test_median_interval_covers():
    rng = np.random.default_rng(0)
    ends = [median_interval(rng.standard_normal(25)) for _ in range(400)]
    assert 0.93 < np.mean([low <= 0 <= high for low, high in ends]) < 0.99
    assert np.isnan(median_interval(np.arange(5.0))).all()


def test_other_likelihoods_and_layers_are_not_compared(world, tmp_path):
    _, given, _ = world
    published = made_summary("compas", EVIDENCE, likelihood="published-compas")
    files.write_netcdf(published, tmp_path / "s.nc")
    changed = {**given, "compas": replace(given["compas"], summary=tmp_path / "s.nc")}
    opened = open_models(changed)
    assert "not both densities" in not_comparable(opened["clm5"], opened["compas"])
    result = compare_models(changed, tmp_path / "out")
    assert not len(result.tables["preference"])
    why = result.findings.set_index("id").loc["equally_effective", "reason"]
    assert "not both densities" in why
    # The same settings, but one model has no counterpart of the microbes that the other was
    # fitted to.
    both = made_summary("compas", EVIDENCE).assign_attrs(streams="microbial_biomass")
    opened["compas"] = replace(opened["compas"], summary=both)
    why = not_comparable(opened["clm5"], opened["compas"])
    assert why == "clm5 was fitted to carbon, compas to carbon and microbial_biomass"
    fewer = made_summary("compas", EVIDENCE)
    fewer["n_layers"][:10] = 3
    files.write_netcdf(fewer, tmp_path / "f.nc")
    changed = {**given, "compas": replace(given["compas"], summary=tmp_path / "f.nc")}
    opened = open_models(changed)
    data = site_differences(opened["clm5"], opened["compas"])
    assert data.sizes["site"] == 70
    assert data.attrs["other_layers"] == 10


def test_michaelis_over_land_and_at_sites(world):
    table = world[2].tables["michaelis"].set_index(["state", "where", "substrate"])
    data = files.open_netcdf(world[1]["compas"].maps)
    over = data["michaelis_over_mSOC"] > 100
    share = over.weighted(data["cell_area"]).mean()
    np.testing.assert_allclose(table.loc["after", "land", "mSOC"]["share_over_100"], share)
    assert "sites" not in table.index.get_level_values("where")  # no forcing was given
    model = open_models(world[1])["compas"]
    forcing = rough_forcing(1, 81).to_dataset().assign_coords(site=[f"s{i}" for i in range(81)])
    found = ratios_at_sites(replace(model, forcing=forcing))
    assert 20 < found.sizes["site"] <= 80
    assert (found["michaelis_over_mSOC"] >= 0).all()
    with pytest.raises(ComparisonError, match="None of the 80 kept sites"):
        elsewhere = forcing.assign_coords(site=[f"x{i}" for i in range(81)])
        ratios_at_sites(replace(model, forcing=elsewhere))


def test_files_are_written(world):
    folder = world[0] / "comparison"
    assert {p.stem for p in folder.glob("*.csv")} == set(TABLES)
    data = files.open_netcdf(folder / "comparison.nc")
    assert data["cSoilAbove1m_difference"].dims == ("pair", "state", "lat", "lon")
    one, two = (files.open_netcdf(world[1][m].maps)["K"] for m in ("clm5", "compas"))
    found = data["K_difference"].sel(state="after").isel(pair=0)
    np.testing.assert_allclose(found, two - one, rtol=1e-4, atol=1e-6)
    assert data["site_log_evidence"].sizes == {"pair": 1, "site": 80}
    assert len(pd.read_csv(folder / "findings.csv")) == len(FINDINGS)


def test_figures_say_what_they_show(world):
    result = world[2]
    makers = figures(result)
    assert set(makers) == {
        "carbon_before_clm5_compas",
        "carbon_after_clm5_compas",
        "components_before_clm5_compas",
        "components_after_clm5_compas",
        "litter_to_soil_before_clm5_compas",
        "litter_to_soil_after_clm5_compas",
        "preference_clm5_compas",
        "michaelis_compas",
        "zonal",
        "evidence",
    }
    figure = makers["carbon_after_clm5_compas"]()
    row = result.tables["correlations"].set_index(["state", "variable"]).loc["after"]
    assert f"r = {row.loc['cSoilAbove1m', 'r']:.2f}" in figure.get_suptitle()
    assert f"to {row.loc['cSoilAbove1m', 'n_effective']:.0f} independent" in figure.get_suptitle()
    assert "CTE" in makers["components_after_clm5_compas"]().get_suptitle().split(" correlate")[0]
    share = (np.delete(EVIDENCE, 40) > 0).mean()
    title = makers["preference_clm5_compas"]().axes[0].get_title(loc="left")
    assert f"COMPAS preferred at {share:.0%} of 80 sites" in title
    assert "of DOC at 100%" in makers["michaelis_compas"]().get_suptitle()
    plt.close("all")


@pytest.fixture(scope="module")
def routed(world, tmp_path_factory):
    """End to end the models are what they were before any data; from posteriors as in the paper."""
    given = {m: replace(f, end_to_end=f.default) for m, f in world[1].items()}
    return given, compare_models(
        given,
        tmp_path_factory.mktemp("routed"),
        reference=world[0] / "reference.nc",
        covariates=covariates_of_run(world[0]),
    )


def test_findings_are_judged_under_each_route(world, routed):
    found = routed[1].findings
    verdict = found.pivot_table(index="id", columns="route", values="verdict", aggfunc="first")
    pd.testing.assert_series_equal(
        verdict["from posteriors"], verdicts(world[2]).sort_index(), check_names=False
    )
    table = side_by_side(found).set_index("id")
    assert table.loc["after_boreal_compas", "end to end"] == "disagrees"
    assert table.loc["after_boreal_compas", "holds"] == "only from posteriors"
    assert table.loc["after_boreal_clm5", "holds"] == "yes"
    # What is said of posteriors at sites is not judged end to end.
    assert table.loc["equally_effective", "holds"] == "from posteriors, not judged end to end"
    assert "needs the posteriors" in table.loc["equally_effective", "this run, end to end"]
    assert table.loc["future", "holds"] == "not judged"
    # Maps that are those of before cannot make the models converge.
    assert "+0.00" in table.loc["r_rises", "this run, end to end"]


def test_every_table_has_the_state_of_both_routes(routed):
    tables = routed[1].tables
    for name in ("correlations", "regions", "zonal", "totals", "michaelis", "compensation"):
        assert {"before", "after", "end to end"} <= set(tables[name]["state"]), name
    table = tables["correlations"].set_index(["state", "variable"])["r"]
    pd.testing.assert_series_equal(table["end to end"], table["before"])
    assert list(routed[1].maps["state"].to_numpy()) == ["before", "after", "end to end"]
    makers = figures(routed[1])
    assert {
        "carbon_end_to_end_clm5_compas",
        "components_end_to_end_clm5_compas",
        "michaelis_end_to_end_compas",
    } <= set(makers)
    assert "trained end to end" in makers["carbon_end_to_end_clm5_compas"]().get_suptitle()
    plt.close("all")


def test_the_routes_of_one_model_are_compared(world, routed):
    assert world[2].tables["between_routes"].empty
    table = routed[1].tables["between_routes"].set_index(["model", "variable"])
    assert list(table.index.unique("model")) == ["clm5", "compas"]
    # The input is the same; what is "before" here is no pattern of "after".
    assert table.loc[("clm5", "I"), "r"] == pytest.approx(1.0)
    assert table.loc[("clm5", "I"), "bias"] == pytest.approx(0.0, abs=1e-9)
    assert table.loc[("clm5", "CTE"), "r"] < 0.9
    models = routed[1].models["clm5"].maps
    higher = float((models["after"]["CTE"] - models["end to end"]["CTE"]).mean())
    assert np.sign(table.loc[("clm5", "CTE"), "bias"]) == np.sign(higher)


def test_maps_learnt_end_to_end_need_no_assimilation(world, tmp_path):
    given = {m: ModelFiles(default=f.default, end_to_end=f.maps) for m, f in world[1].items()}
    found = compare_models(given, tmp_path).findings.set_index("id")
    assert set(found["route"]) == {"end to end"}
    expected = verdicts(world[2])
    about = [n for n in SAYS_THE_PAPER if found.loc[n, "verdict"] != "cannot be judged"]
    assert (found.loc[about, "verdict"] == expected[about]).all()
    # All but what needs posteriors.
    assert set(SAYS_THE_PAPER) - set(about) == {
        "similar_performance",
        "weak_identifiability_clm5",
        "equally_effective",
    }


def test_models_without_a_common_route_are_refused(world):
    given = world[1]
    with pytest.raises(ComparisonError, match="compas has no map with constrained parameters"):
        open_models({**given, "compas": ModelFiles(default=given["compas"].default)})
    apart = {
        "clm5": ModelFiles(given["clm5"].maps),
        "compas": ModelFiles(end_to_end=given["compas"].maps),
    }
    with pytest.raises(ComparisonError, match="no map of the same state"):
        open_models(apart)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("agrees", "agrees", "yes"),
        ("disagrees", "disagrees", "no"),
        ("agrees", "disagrees", "only a"),
        ("disagrees", "cannot be judged", "not a, not judged b"),
        ("cannot be judged", "cannot be judged", "not judged"),
    ],
)
def test_where_a_finding_holds(first, second, words):
    assert where_it_holds({"a": first, "b": second}) == words


def test_three_models_have_three_pairs(world, tmp_path):
    _, given, _ = world
    given = {**given, "third": ModelFiles(given["clm5"].maps)}
    result = compare_models(given, tmp_path)
    pairs = result.tables["correlations"][["first", "second", "state"]].drop_duplicates()
    assert len(pairs) == 4  # the third has no map before
    third = result.tables["correlations"].query("second == 'third' and first == 'clm5'")
    np.testing.assert_allclose(third["r"], 1.0)
    np.testing.assert_allclose(third["concordance"], 1.0)


def test_wrong_input_is_said(world, tmp_path):
    folder, given, _ = world
    with pytest.raises(ComparisonError, match="needs two or more"):
        compare_models({"clm5": given["clm5"]}, tmp_path)
    with pytest.raises(ComparisonError, match="of different models"):
        compare_models(
            {**given, "clm5": replace(given["clm5"], maps=given["compas"].maps)}, tmp_path
        )
    with pytest.raises(ComparisonError, match="contains maps of 0 models"):
        files_of_run(tmp_path)
    with pytest.raises(MapError, match="not a proda map"):
        compare_models({**given, "clm5": ModelFiles(folder / "reference.nc")}, tmp_path)
    small = made_map("compas", (1.0, 1, 1), 1).isel(lat=slice(0, 5))
    files.write_netcdf(small, tmp_path / "small.nc")
    with pytest.raises(ComparisonError, match="5 x 36 cells"):
        compare_models({**given, "compas": ModelFiles(tmp_path / "small.nc")}, tmp_path)
    lacking = xr.open_dataset(given["clm5"].maps).drop_vars(["V", "B"])
    lacking.to_netcdf(tmp_path / "lacking.nc")
    with pytest.raises(ComparisonError, match="lacks B, V"):
        compare_models({**given, "clm5": ModelFiles(tmp_path / "lacking.nc")}, tmp_path)
    assert not (tmp_path / "findings.csv").exists()


def test_documented_commands_run(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(world[0])
    page = (HERE.parent / "docs" / "comparison.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    commands = [c for c in text.splitlines() if c.startswith("proda compare")]
    assert len(commands) >= 2
    with undrawn_figures():
        for command in commands:
            result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
            assert result.exit_code == 0, command
            assert "Findings of the paper" in result.stdout
        assert (tmp_path / "run" / "comparison" / "findings.csv").is_file()
        python = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
        assert python
        exec(compile("\n".join(python), "comparison.md", "exec"), {})
    plt.close("all")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either the folder"),
        (["run", "--model", "a=b"], "either the folder"),
        (["--model", "clm5"], "NAME=FILE"),
        (["run", "--default", "a=b"], "need --model"),
        (["--model", "a=b", "--model", "a=c", "-o", "x"], "given twice"),
        (["--model", "a=b", "--default", "c=d", "-o", "x"], "c has no map"),
        (["--model", "a=b"], "the folder to write"),
    ],
)
def test_wrong_options(words, message):
    result = CliRunner().invoke(app, ["compare", *words])
    assert isinstance(result.exception, ComparisonError)
    assert message in str(result.exception)
