"""Joint draws about predictions: exact where the site was, the prior where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtr
from scipy.stats import kstest

from proda.errors import FileError, LearningError
from proda.learning.learning_settings import LearningSettings
from proda.learning.residuals import (
    RESIDUALS,
    add_residuals,
    joint_residuals,
    read_residuals,
    scores,
    write_residuals,
)
from proda.learning.targets import targets
from tests.learning_worlds import LOWER, NAMES, UPPER, covariates, posterior

SITES = 30


@pytest.fixture
def goal():
    return targets(posterior(covariates(SITES, 1), 1), LearningSettings(target="posterior_mean"))


def draws_of(goal, share):
    """Posterior draws (site, chain, draw, parameter) from shares of the prior; sites reversed."""
    values = LOWER + share * (UPPER - LOWER)
    dims = ("site", "chain", "draw", "parameter")
    return xr.DataArray(
        values[::-1],
        dims=dims,
        coords={"site": goal.sites[::-1].astype(object), "parameter": list(NAMES)},
    )


def correlated(seed):
    """Shares whose first two parameters only differ together: their scores add up to 0."""
    z = np.random.default_rng(seed).standard_normal((SITES, 2, 50, len(NAMES)))
    z[..., 1] = -z[..., 0]
    return ndtr(z)


def test_at_its_own_site_a_draw_is_a_draw_of_the_posterior(goal):
    share = correlated(2)
    predicted = np.random.default_rng(3).uniform(0.2, 0.8, (SITES, len(NAMES)))
    found = joint_residuals(goal, predicted, draws_of(goal, share), members=12, seed=4)
    assert len(set(found["from_site"].to_numpy())) == 12
    again = add_residuals(predicted, found["residual"].to_numpy())
    for member, site in enumerate(found["from_site"].to_numpy()):
        i = list(goal.sites).index(site)
        apart = np.abs(share[i] - again[member, i]).max(axis=-1)
        assert apart.min() < 1e-9


def test_what_parameters_do_together_is_kept_and_the_prior_where_nothing_is_known(goal):
    middle = np.full((SITES, len(NAMES)), 0.5)
    draws = draws_of(goal, correlated(5))
    found = joint_residuals(goal, middle, draws, members=400)["residual"].to_numpy()
    drawn = add_residuals(middle[:1], found)[:, 0]
    np.testing.assert_allclose(scores(drawn[:, 0]) + scores(drawn[:, 1]), 0.0, atol=1e-9)
    assert kstest(drawn[:, 3], "uniform").pvalue > 0.001
    assert (drawn >= 0).all()
    assert (drawn <= 1).all()


def test_written_read_and_refused(goal, tmp_path):
    middle = np.full((SITES, len(NAMES)), 0.5)
    draws = draws_of(goal, correlated(6))
    found = joint_residuals(goal, middle, draws, members=5)
    assert read_residuals(tmp_path, "clm5", "default", NAMES) is None
    write_residuals(found, tmp_path)
    values, checksum = read_residuals(tmp_path, "clm5", "default", NAMES)
    np.testing.assert_array_equal(values, found["residual"])
    other = joint_residuals(goal, middle, draws, members=5, seed=1)
    write_residuals(other, tmp_path)
    assert read_residuals(tmp_path, "clm5", "default", NAMES)[1] != checksum
    with pytest.raises(LearningError, match=r"of clm5 .*the network is for compas"):
        read_residuals(tmp_path, "compas", "default", NAMES)
    with pytest.raises(LearningError, match="other parameters"):
        read_residuals(tmp_path, "clm5", "default", NAMES[::-1])
    (tmp_path / RESIDUALS).write_bytes(b"cut short")
    with pytest.raises(FileError):
        read_residuals(tmp_path, "clm5", "default", NAMES)
    with pytest.raises(LearningError, match="lack 1 of 30 training sites, the first s0000"):
        joint_residuals(goal, middle, draws.isel(site=slice(0, -1)), members=5)
    with pytest.raises(LearningError, match="lack the parameters silent"):
        joint_residuals(goal, middle, draws.isel(parameter=slice(0, 3)), members=5)
    with pytest.raises(LearningError, match="at least 2"):
        joint_residuals(goal, middle, draws, members=1)
    nowhere = np.full_like(middle, np.nan)
    with pytest.raises(LearningError, match="has no draw or no prediction"):
        joint_residuals(goal, nowhere, draws, members=5)
