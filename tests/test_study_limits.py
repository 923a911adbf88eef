"""Tables and figures judge by the limits that the study set, not by the published ones."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from proda.comparison.model_files import OpenedModel, read_site_table
from proda.comparison.site_fit import fit_table
from proda.inference.assessment import assess
from proda.inference.assimilation_run import open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.inference.filter_settings import FilterSettings
from proda.plots import assimilation
from proda.study.diagnosis import write_table
from tests.run_folders import GELMAN_RUBIN, made_run


@pytest.mark.parametrize("limit", [1.005, 1.05, 1.3])
def test_share_of_converged_sites(tmp_path, limit):
    _, summary = open_posterior(made_run(tmp_path / "run"))
    write_table(assess(summary, Filter(limit, 0.0)), tmp_path / "sites.csv")
    sites = read_site_table(tmp_path / "sites.csv")
    model = OpenedModel("clm5", {}, summary, sites)
    row = fit_table({"clm5": model}).iloc[0]
    assert row["limit"] == limit
    assert row["converged"] == pytest.approx(np.mean(limit > GELMAN_RUBIN))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Filter(), "2 are not below 1.05"),
        (Filter(1.6), "0 are not below 1.6"),
        (Filter(1.6, max_rank_rhat=1.4), "1 are not below 1.4"),
    ],
)
def test_title_of_the_chains(tmp_path, limits, words):
    draws, summary = open_posterior(made_run(tmp_path / "run"))
    rhat = summary["rank_rhat"].sel(site="s2").to_numpy().copy()
    rhat[0] = 1.2
    summary["rank_rhat"].loc[{"site": "s2"}] = rhat  # 1.2, 1.5 and ones
    figure = assimilation.traces(assess(summary, limits), draws, "s2")
    assert words in figure.get_suptitle()
    plt.close(figure)


def test_the_study_has_the_published_limits_by_default():
    assert Filter.of(FilterSettings.model_validate({})) == Filter()
