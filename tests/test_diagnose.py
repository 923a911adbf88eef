"""`proda diagnose` on a synthetic run, whose every count is known."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.image import imread
from matplotlib.text import Text
from scipy.stats import norm
from typer.testing import CliRunner

from proda import files
from proda.cli import app
from proda.errors import AssimilationError, DiagnosticsError, FileError, LearningError
from proda.inference.assessment import assess, by_band, counts, kept_posterior, parameter_ranking
from proda.inference.assimilation_run import open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.inference.diagnostics.predictive import predictive_probability
from proda.inference.layer_fit import error_sd, layer_fit
from proda.inference.site_summary import QUANTILES
from proda.learning.learning_settings import LearningSettings
from proda.learning.targets import targets
from proda.plots import assimilation, assimilation_marginals, assimilation_sites
from tests import run_folders
from tests.run_folders import made_run, made_summary


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def run(*words):
    result = CliRunner().invoke(app, ["diagnose", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def sites_kept(**limits):
    found = assess(made_summary(), Filter(**limits))
    return list(found.sites["site"][found.kept])


def test_verdicts_and_counts():
    found = assess(made_summary(), Filter())
    assert list(found.sites["verdict"]) == run_folders.VERDICT
    assert counts(found) == {
        "kept": 4,
        "not converged": 2,
        "poor fit": 2,
        "no posterior: no start": 1,
        "no posterior: constant chain": 1,
    }
    assert found.caveat == ""


def test_limits():
    assert sites_kept() == ["s0", "s3", "s4", "s8"]
    assert sites_kept(max_gelman_rubin=1.015) == ["s0", "s4"]
    assert sites_kept(max_gelman_rubin=2.0, min_nash_sutcliffe=-2.0) == [
        "s0",
        "s1",
        "s2",
        "s3",
        "s4",
        "s8",
    ]
    assert sites_kept(max_rank_rhat=1.03) == ["s0", "s4"]  # below, not at the limit
    assert sites_kept(min_ess=300.0) == ["s0", "s3", "s4"]  # at least


def test_shares_by_latitude():
    shares, medians = by_band(assess(made_summary(), Filter(max_rank_rhat=1.2)))
    assert list(shares.columns) == [
        "sites",
        "sampled",
        "GR < 1.05",
        "NSE > 0",
        "R-hat < 1.2",
        "kept",
    ]
    expected = {
        "60-90N": [2, 1, 1, 0.5, 1, 0.5],
        "45-60N": [1, 1, 0, 0, 0, 0],
        "23.5-45N": [1, 1, 1, 1, 1, 1],
        "0-23.5N": [2, 1, 1, 1, 0.5, 0.5],
        "23.5S-0": [2, 0.5, 0, 0.5, 0, 0],
        "60-23.5S": [1, 0, 0, 0, 0, 0],
        "90-60S": [1, 1, 1, 0, 1, 0],
        "all": [10, 0.8, 0.6, 0.5, 0.5, 0.3],
    }
    assert list(shares.index) == list(expected)
    np.testing.assert_allclose(shares.to_numpy(float), list(expected.values()))
    # Of eight sites with a posterior, three have a Pareto k above 0.7.
    np.testing.assert_allclose(
        medians.loc["all"].to_numpy(), [400.0, 1.02, 0.5, 0.25, 3 / 8], rtol=1e-12
    )
    assert medians.loc["60-23.5S"].isna().all()


def test_layers_by_hand():
    """Shifts of 0, 1 and 3 posterior sd: of each kept site 1 layer lies in 50, 2 in 90 %."""
    found = assess(made_summary(), Filter())
    fit = layer_fit(found, found.kept)
    observed = -0.5 * np.arange(3)
    log_r2 = 1 - np.square(run_folders.SHIFTS).sum() / np.square(observed + 0.5).sum()
    off = 20000.0 * np.exp(observed) * np.expm1(run_folders.SHIFTS)
    # With the error of 0.25 the shifts are 0, 0.37 and 1.11 sd.
    expected = {
        "layers": 12,
        "no_logarithm": 0,
        "rmse": np.sqrt(np.mean(off**2)),
        "log_r2": log_r2,
        "posterior_50": 1 / 3,
        "predictive_50": 2 / 3,
        "posterior_90": 2 / 3,
        "predictive_90": 1.0,
    }
    assert fit == pytest.approx(expected, rel=1e-9)
    everything = layer_fit(found, np.ones(10, bool))
    assert everything["layers"] == 7 * 3 + 1
    assert everything["posterior_50"] == pytest.approx(8 / 22)
    assert np.isnan(layer_fit(found, np.zeros(10, bool))["posterior_90"])


def test_layer_without_logarithm_is_counted_not_hidden():
    summary = made_summary(published=True)
    summary["row_quantile"][:, 0] = 0.0
    summary["row_modelled"][0] = 0.0
    fit = layer_fit(found := assess(summary, Filter()), found.kept)
    assert (fit["layers"], fit["no_logarithm"]) == (12, 1)
    assert np.isnan(fit["predictive_90"])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.01, 2.0),
    st.floats(0.05, 1.0),
    st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=5),
)
def test_predictive_probability_of_a_log_normal(spread, sd, shift):
    shift = np.array(shift)
    quantiles = 7.0 * np.exp(spread * norm.ppf(QUANTILES))[:, None] * np.ones(len(shift))
    found = predictive_probability(quantiles, QUANTILES, 7.0 * np.exp(shift), sd)
    np.testing.assert_allclose(found, norm.cdf(shift / np.hypot(spread, sd)), atol=0.005)


def test_predictive_probability_refuses_what_has_no_logarithm():
    with pytest.raises(DiagnosticsError, match="observed: some values are not above 0"):
        predictive_probability(np.ones((2, 1)), [0.1, 0.9], [0.0], 0.25)
    with pytest.raises(DiagnosticsError, match="must have the shapes"):
        predictive_probability(np.ones((3, 1)), [0.1, 0.9], [1.0], 0.25)


def test_parameters_by_information():
    table = parameter_ranking(assess(made_summary(), Filter()))
    assert list(table.index) == ["efolding", "b", "fs3s1", "tau4s3"]
    np.testing.assert_allclose(table["information_gain"], [1.2, 0.6, 0.3, 0.05])
    assert table.loc["tau4s3", "unit"] == "yr"


def test_kept_posteriors_are_targets_of_the_network():
    summary = made_summary()
    kept = kept_posterior(assess(summary, Filter(min_ess=100.0)))
    assert list(kept["site"].to_numpy()) == ["s0", "s3", "s4"]
    assert set(kept.data_vars) == {"posterior_mean", "posterior_sd"}
    assert kept.attrs["max_gelman_rubin"] == 1.05
    assert kept.attrs["min_ess"] == 100.0
    assert "max_rank_rhat" not in kept.attrs
    goal = targets(kept, LearningSettings(target="posterior_mean"))
    np.testing.assert_allclose(goal.posterior[:, 0], np.linspace(0.3, 0.7, 10)[[0, 3, 4]])
    assert (goal.model, goal.variant, goal.parameters) == (
        "clm5",
        "default",
        tuple(run_folders.NAMES),
    )


def test_sampled_error_is_used_but_not_learnt():
    found = assess(made_summary(estimate=True), Filter())
    assert "error_sd" not in kept_posterior(found)["parameter"]
    np.testing.assert_allclose(error_sd(found)[found.sampled], 0.5)
    assert error_sd(assess(made_summary(published=True), Filter())) is None


def test_no_site_kept_is_said_with_reasons():
    found = assess(made_summary(), Filter(min_nash_sutcliffe=0.99))
    with pytest.raises(AssimilationError, match=r"None of the 10 sites is kept.*6 poor fit"):
        kept_posterior(found)


def test_sites_named_twice_are_refused():
    summary = made_summary()
    names = summary["site"].to_numpy()
    with pytest.raises(AssimilationError, match=r"s0: .*twice"):
        assess(summary.assign_coords(site=np.where(names == "s1", "s0", names)), Filter())
    with pytest.raises(AssimilationError, match="lacks rank_rhat, ess_tail"):
        assess(summary.drop_vars(["rank_rhat", "ess_tail"]), Filter())


def test_command_prints_and_writes(tmp_path):
    folder = made_run(tmp_path / "run")
    output = run(folder, "--output", tmp_path / "kept.nc", "--table", tmp_path / "sites.csv")
    assert "4 of 10 sites are kept" in output
    assert re.search(r"all +10 +80.0% +60.0% +50.0% +40.0%", output)
    assert re.search(r"no posterior: constant chain +1 +10.0%", output)
    assert re.search(r"kept +12 +0.800 +\d+\.\d\d +33.3% +66.7% +66.7% +100.0%", output)
    assert re.search(r"efolding +m +1.200 +50.0%", output)
    assert "NO POSTERIOR" not in output
    table = pd.read_csv(tmp_path / "sites.csv")
    assert list(table["verdict"]) == run_folders.VERDICT
    assert list(table["site"][table["kept"]]) == ["s0", "s3", "s4", "s8"]
    np.testing.assert_allclose(table["nash_sutcliffe"], run_folders.NSE)
    np.testing.assert_allclose(table["ess_bulk"], run_folders.ESS)
    np.testing.assert_allclose(table["gelman_rubin"], run_folders.GELMAN_RUBIN)
    goal = targets(files.open_dataset(tmp_path / "kept.nc"), LearningSettings())
    assert list(goal.sites) == ["s0", "s3", "s4", "s8"]
    np.testing.assert_array_equal(goal.latitude, [70.0, 30.0, 0.0, 10.0])


def test_options_reach_the_filter(tmp_path):
    folder = made_run(tmp_path / "run")
    output = run(
        folder,
        "--max-gelman-rubin",
        1.3,
        "--min-nse",
        -2,
        "--max-rhat",
        1.4,
        "--min-ess",
        60,
        "--table",
        tmp_path / "t.csv",
    )
    table = pd.read_csv(tmp_path / "t.csv")
    assert "4 of 10 sites are kept" in output
    assert list(table["site"][table["kept"]]) == ["s0", "s1", "s3", "s4"]
    assert table["verdict"][2] == "not converged in rank"
    assert table["verdict"][8] == "too few draws"


def test_kept_that_cannot_be_learnt_from_is_not_written(tmp_path):
    folder = made_run(tmp_path / "run")
    summary = files.open_netcdf(folder / "summary.nc").load()
    summary["posterior_mean"][0, 0] = 10.0 * float(summary["upper"][0])
    summary.close()
    files.write_netcdf(summary, folder / "summary.nc")
    with pytest.raises(LearningError, match=r"Site s0, fs3s1: .*outside the prior"):
        run(folder, "--output", tmp_path / "kept.nc")
    assert not (tmp_path / "kept.nc").exists()


def test_unfinished_run(tmp_path):
    folder = made_run(tmp_path / "run")
    (folder / "summary.nc").unlink()
    with pytest.raises(FileError, match=r"0 of 1 blocks are done; resume with .proda assimilate"):
        run(folder)
    with pytest.raises(FileError, match=r"run\.json: there is no such file"):
        run(tmp_path)


def test_figure_options_without_figures(tmp_path):
    with pytest.raises(AssimilationError, match="need --plots"):
        run(tmp_path, "--site", "s0")


def test_figures_are_drawn(tmp_path):
    folder = made_run(tmp_path / "run")
    lat, lon = np.arange(-85.0, 90, 10), np.arange(-175.0, 180, 10)
    land = xr.DataArray(np.ones((18, 36)), {"lat": lat, "lon": lon}, ("lat", "lon"))
    files.write_netcdf(land.to_dataset(name="land_fraction"), tmp_path / "land.nc")
    output = run(
        folder, "--plots", tmp_path / "figures", "--site", "s3", "--land-mask", tmp_path / "land.nc"
    )
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == sorted(
        f"{n}.png"
        for n in (
            "verdicts_map",
            "convergence_and_fit",
            "layers",
            "information",
            "profiles",
            "marginals",
            "traces",
        )
    )
    for name in drawn:
        assert f"figures/{name}" in output
        assert imread(tmp_path / "figures" / name)[..., :3].std() > 0.02, name


def figures(folder):
    draws, summary = open_posterior(folder)
    found = assess(summary, Filter())
    land = (np.arange(-85.0, 90, 10), np.arange(-175.0, 180, 10), np.ones((18, 36), bool))
    return found, {
        "map": assimilation_sites.site_verdicts(found, land),
        "convergence": assimilation_sites.convergence_and_fit(found),
        "information": assimilation_sites.information(found),
        "layers": assimilation_sites.layers(found),
        "profiles": assimilation.profiles(found, assimilation.spread_of_fit(found, 12)),
        "marginals": assimilation_marginals.marginals(found, draws, {"efolding": 10.0, "b": 0.9}),
        "traces": assimilation.traces(found, draws, assimilation.worst_site(found)),
    }


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_titles_say_what_was_found(tmp_path):
    found, drawn = figures(made_run(tmp_path / "run"))
    titles = {name: texts(figure) for name, figure in drawn.items()}
    assert not any("NO POSTERIOR" in text for text in titles.values())
    assert "4 of 10 sites are kept (40%)" in titles["map"]
    assert "poor fit (2)" in titles["map"]
    assert any(isinstance(c, QuadMesh) for c in drawn["map"].axes[0].collections)
    assert (
        "60% of 10 sites converged (GR < 1.05), 50% fit (NSE > 0), 40% pass"
        in titles["convergence"]
    )
    assert "largest for efolding (1.20 bit) and smallest for tau4s3 (0.05)" in titles["information"]
    assert "22 pairs" in titles["layers"]
    assert "contains 68% of all measured layers" in titles["profiles"]  # 15 of 22
    assert titles["profiles"].count("NSE") == 7  # of the sites with a defined efficiency
    assert "posterior means of 4 kept sites" in titles["marginals"]
    assert "s7" in titles["traces"]  # an undefined R-hat is the worst
    np.testing.assert_array_equal(assimilation.spread_of_fit(found, 3), [1, 4, 8])


def test_what_is_no_posterior_says_so_in_every_title(tmp_path):
    folder = made_run(tmp_path / "run", published=True)
    _, drawn = figures(folder)
    for name, figure in drawn.items():
        assert "NO POSTERIOR: annealed draws" in texts(figure), name
    output = run(folder, "--output", tmp_path / "kept.nc", "--table", tmp_path / "sites.csv")
    assert output.count("NO POSTERIOR: annealed draws") == 5  # one per table
    assert set(pd.read_csv(tmp_path / "sites.csv")["is_posterior"]) == {
        "NO POSTERIOR: annealed draws"
    }
    assert files.open_dataset(tmp_path / "kept.nc").attrs["is_posterior"].startswith("NO")


def test_traces_of_a_site_without_posterior(tmp_path):
    draws, summary = open_posterior(made_run(tmp_path / "run"))
    found = assess(summary, Filter())
    with pytest.raises(AssimilationError, match=r"s5: has no posterior \(no start\)"):
        assimilation.traces(found, draws, "s5")
    with pytest.raises(AssimilationError, match="nowhere: the run has no such site"):
        assimilation.traces(found, draws, "nowhere")


def test_run_without_any_posterior():
    summary = made_summary()
    summary["reason"][:] = 1
    found = assess(summary, Filter())
    assert counts(found) == {"no posterior: no start": 10}
    assert "0 of 10 sites are kept" in texts(assimilation_sites.site_verdicts(found))
    for draw in (assimilation_sites.layers, assimilation_sites.information):
        with pytest.raises(AssimilationError, match="None of the 10 sites has a posterior"):
            draw(found)
