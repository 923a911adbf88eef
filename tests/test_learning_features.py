"""Covariates as network inputs: nothing silent."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.errors import LearningError
from proda.learning.applicability import applicability, fit_range
from proda.learning.features import Features, fit_features
from proda.learning.join import join
from proda.learning.learning_settings import LearningSettings
from tests.learning_worlds import covariates, posterior


@pytest.fixture
def table():
    return covariates(80, 1)


def test_place_is_no_predictor_and_constant_columns_are_recorded(table):
    table["flat"], table["one_class"] = 3.0, pd.Categorical(["a"] * len(table))
    features = fit_features(table)
    assert features.names == ("temperature", "rain", "clay", "biome")
    assert features.constant == ("flat", "one_class")


def test_description_survives_its_header_and_order_of_columns(table):
    features = fit_features(table)
    again = Features.from_dict(json.loads(json.dumps(features.as_dict())))
    assert again == features
    shuffled = table[list(table.columns[::-1])]
    np.testing.assert_array_equal(again.encode(shuffled).inputs, features.encode(table).inputs)


def test_study_scaling_is_minimum_to_maximum_and_class_numbers(table):
    features = fit_features(table, "minmax", "numbers")
    inputs = features.encode(table).inputs
    rain = table["rain"].to_numpy(float)
    expected = (rain - rain.min()) / (rain.max() - rain.min())
    np.testing.assert_allclose(inputs[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(inputs[:, 3], table["biome"].cat.codes / 2)


@given(seed=st.integers(0, 2**31), zeros=st.floats(0, 0.9))
@settings(max_examples=15, deadline=None)
def test_quantile_scaling_is_monotone_and_within_its_bounds(seed, zeros):
    rng = np.random.default_rng(seed)
    table = covariates(60, 2)
    table["rain"] = np.where(rng.random(60) < zeros, 0.0, rng.lognormal(0, 3, 60))
    features = fit_features(table)
    x = features.encode(table).inputs[:, features.input_groups()["rain"]].ravel()
    order = np.argsort(table["rain"].to_numpy(), kind="stable")
    assert (np.diff(x[order]) >= 0).all()
    assert np.abs(x).max() <= 1


def test_missing_rows_are_left_out_and_named_or_filled_and_counted(table):
    features = fit_features(table)
    table.loc[3, "rain"] = np.nan
    table.loc[[3, 7], "clay"] = np.nan
    left = features.encode(table)
    assert np.flatnonzero(~left.usable).tolist() == [3, 7]
    assert left.missing == {"rain": 1, "clay": 2}
    assert len(left.inputs) == 78
    assert "2 of 80 rows left out" in left.report()[0]
    filled = features.encode(table, "median")
    assert filled.usable.all()
    assert filled.filled == {"rain": 1, "clay": 2}
    middle = table.assign(clay=features.quantities[2].median)
    np.testing.assert_array_equal(filled.inputs[7], features.encode(middle).inputs[6])


def test_unseen_class_is_unknown_and_counted(table):
    features = fit_features(table)
    names = table["biome"].astype(object)
    names[[0, 5]] = "swamp"
    encoded = features.encode(table.assign(biome=pd.Categorical(names)))
    assert encoded.unseen == {"biome": {"swamp": 2}}
    assert "swamp (2)" in encoded.report()[0]
    part = encoded.inputs[0, features.input_groups()["biome"]]
    np.testing.assert_allclose(part.sum(), 1.0, rtol=1e-6)  # the average class, as none was rare
    np.testing.assert_allclose(part, features.categories[0].shares, rtol=1e-6)


def test_rare_classes_train_the_unknown_class(table):
    names = table["biome"].astype(object)
    names[[0, 5]] = "swamp"
    features = fit_features(table.assign(biome=pd.Categorical(names)))
    assert "swamp" not in features.categories[0].known
    encoded = features.encode(table.assign(biome=pd.Categorical(["lake"] * 80)))
    group = features.input_groups()["biome"]
    np.testing.assert_array_equal(encoded.inputs[0, group], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="rain"), "lack rain"),
        (lambda t: t.assign(rain=np.inf), "rain is infinite"),
        (lambda t: t.assign(biome=1.0), "biome is a category"),
        (lambda t: t.assign(rain="wet"), "rain is a quantity"),
    ],
)
def test_tables_of_another_form_are_refused(table, change, message):
    features = fit_features(table)
    with pytest.raises(LearningError, match=message):
        features.encode(change(table))


def test_yes_and_no_are_classes_and_names_of_places_are_refused(table):
    table_of_classes = table.assign(irrigated=np.arange(80) % 3 == 0)
    features = fit_features(table_of_classes)
    encoded = features.encode(table_of_classes)
    group = features.input_groups()["irrigated"]
    np.testing.assert_array_equal(encoded.inputs[:2, group], [[0, 1, 0], [1, 0, 0]])
    assert not encoded.unseen
    with pytest.raises(LearningError, match="village has 80 different values"):
        fit_features(table.assign(village=[f"v{i}" for i in range(80)]))


def test_no_complete_row_or_nothing_that_varies(table):
    with pytest.raises(LearningError, match=r"None of 80 sites.*rain \(100%\)"):
        fit_features(table.assign(rain=np.nan))
    with pytest.raises(LearningError, match="No covariate varies"):
        fit_features(table.assign(rain=1, clay=1, temperature=1, biome="a"))


def test_sites_left_out_are_listed_with_reasons(table):
    sites = posterior(table, 1)
    table.loc[2, ["rain", "clay"]] = np.nan
    joined = join(table.drop(index=5), sites, LearningSettings())
    assert joined.targets.sites.size == 78
    assert dict(joined.left_out.to_numpy()) == {
        "s0005": "no covariates",
        "s0002": "lacks rain, clay",
    }
    np.testing.assert_array_equal(joined.table["site"], joined.targets.sites)
    with pytest.raises(LearningError, match="None of the 80 sites"):
        join(table.assign(site=np.arange(80)), sites, LearningSettings())
    with pytest.raises(LearningError, match="site s0000 more than once"):
        join(pd.concat([table, table]), sites, LearningSettings())


def test_conditions_outside_training_are_flagged(table):
    features = fit_features(table)
    reach = fit_range(table, features)
    inside = applicability(table, features, reach)
    assert (inside["outside"] == 0).all()
    assert inside["flag"].mean() <= 0.02
    odd = table.iloc[:3].copy()
    odd.loc[0, "rain"] = 1e5
    odd.loc[1, ["rain", "clay"]] = -1.0
    odd["biome"] = pd.Categorical(["forest", "forest", "moon"])
    far = applicability(odd, features, reach)
    assert far["outside"].tolist() == [1, 2, 0]
    assert far["unseen"].tolist() == [0, 0, 1]
    assert far["flag"].all()
    assert far["distance"][0] > 1
