"""What posteriors say: the prior's pull taken out, weights, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from proda.errors import LearningError
from proda.learning.learning_settings import LearningSettings, study
from proda.learning.targets import targets
from proda.learning.truncated import untruncated
from tests.learning_worlds import LOWER, UPPER, covariates, posterior, summary


@given(location=st.floats(-0.2, 1.2), scale=st.floats(0.05, 0.4))
@settings(max_examples=40, deadline=None)
def test_gaussian_before_the_cut_is_found_again(location, scale):
    a, b = -location / scale, (1 - location) / scale
    mean, sd = truncnorm.mean(a, b, location, scale), truncnorm.std(a, b, location, scale)
    found, precision, ok = untruncated(np.array([mean]), np.array([sd]))
    if ok[0]:
        np.testing.assert_allclose(
            found[0], location, atol=0.05 * scale + 0.05 * abs(mean - found[0])
        )
        np.testing.assert_allclose(precision[0], scale**-2, rtol=0.1)
    else:  # it can only be lost where the range ends far down its flank
        assert min(a * -1, b) < 0 or scale > 0.3


def test_narrow_posteriors_are_taken_as_they_are_and_wide_ones_for_nothing():
    table = covariates(3, 0)
    mean = np.full((3, 4), 0.4)
    sd = np.array([0.01, 0.05, 0.1, np.sqrt(1 / 12)]) * np.ones((3, 1))
    goal = targets(
        summary(table, mean, sd), LearningSettings(target="likelihood", unexplained_sd=0.1)
    )
    np.testing.assert_allclose(goal.value[:, :2], 0.4, atol=1e-6)
    np.testing.assert_allclose(goal.weight[0, 0], 1 / (0.01**2 + 0.1**2), rtol=1e-6)
    assert (goal.weight[:, 3] == 0).all()
    assert goal.unconstrained() == {"tau": 0, "cue": 0, "depth": 0, "silent": 3}
    np.testing.assert_allclose(goal.physical(goal.share(LOWER)), LOWER, atol=1e-12)


def test_posterior_mean_as_target_stays_as_it_is():
    table = covariates(20, 0)
    sites = posterior(table, 0)
    goal = targets(sites, study())
    np.testing.assert_allclose(goal.physical(goal.value), sites["posterior_mean"])


def _change(name, value):
    def change(dataset):
        dataset[name].values[1, 2] = value
        return dataset

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("posterior_mean", np.nan), "Site s0001, depth: the posterior mean is not finite"),
        (_change("posterior_mean", 99.0), "Site s0001, depth: the posterior mean lies outside"),
        (_change("posterior_sd", -1.0), "Site s0001, depth: the posterior sd is negative"),
        (lambda d: d.drop_vars("posterior_sd"), "lacks posterior_sd"),
        (lambda d: d.drop_attrs(), "lacks the attribute model, variant"),
        (lambda d: d.assign_coords(site=["a"] * 10), "site a more than once"),
        (lambda d: d.assign_coords(upper=("parameter", LOWER)), "prior range of tau"),
    ],
)
def test_impossible_summaries_are_refused(change, message):
    dataset = change(posterior(covariates(10, 0), 0))
    with pytest.raises(LearningError, match=message):
        targets(dataset, LearningSettings())


def test_study_loss_refuses_a_mean_on_the_lower_end():
    dataset = posterior(covariates(10, 0), 0)
    dataset["posterior_mean"].values[4, 1] = LOWER[1]
    targets(dataset, LearningSettings())
    with pytest.raises(LearningError, match=r"s0004, cue: .*ratio loss"):
        targets(dataset, study())
    assert (UPPER > LOWER).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"epochs": 0}, "epochs"),
        ({"loss": "l2"}, "weighted, study"),
        ({"loss": "study", "target": "likelihood"}, "posterior_mean"),
        ({"validation_share": 0.0}, "validation_share"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(LearningError, match=message):
        LearningSettings(**changes)


def test_settings_survive_plain_values_and_refuse_unknown_ones():
    assert LearningSettings.from_dict(study().as_dict()) == study()
    with pytest.raises(LearningError, match="colour"):
        LearningSettings.from_dict({"colour": 1})
