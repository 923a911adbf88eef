"""Pools and flows of models as tables show them."""

from __future__ import annotations

import proda
from proda.models.describe import Flow, flows
from proda.models.registry import MODELS


def test_the_flows_of_clm5_are_those_of_the_paper():
    found = set(flows(proda.load_model("clm5")))
    assert {f.receiver for f in found if f.donor == "plants"} == {"CWD", "ML", "CL", "LL"}
    assert {f.donor for f in found if f.receiver == "CO2"} == {
        "ML",
        "CL",
        "LL",
        "aSOC",
        "sSOC",
        "pSOC",
    }
    assert Flow("sSOC", "aSOC") in found
    assert Flow("LL", "aSOC") not in found
    assert len(found) == 4 + 10 + 6


def test_in_every_model_carbon_can_leave_and_reach_each_pool():
    for name in MODELS:
        model = proda.load_model(name)
        found = flows(model)
        assert {f.receiver for f in found} >= {*model.pools, "CO2"}, name
        assert {f.donor for f in found} >= {*model.pools, "plants"}, name
