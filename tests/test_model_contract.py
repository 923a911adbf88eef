"""What every registered model must do; a model joins by being registered.

The checks are those of `proda models NAME --check`.
"""

from __future__ import annotations

import pytest

import proda
from proda.learning import contract
from proda.learning.contract_columns import with_properties
from proda.models.compas import COMPAS
from proda.models.registry import MODELS

__all__ = ["with_properties"]


@pytest.fixture(scope="module", params=list(MODELS))
def registered(request) -> proda.SoilModel:
    return proda.load_model(request.param)


SHARED = ("compas_mixed", "rothc_q10")
"""Models that share steps, derivatives and components with another one and compile slowly."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(m, marks=pytest.mark.long) if m in SHARED else m for m in MODELS],
)
def on_its_own(request) -> proda.SoilModel:
    return proda.load_model(request.param)


def failing(checks: list[contract.Check]) -> list[str]:
    assert checks
    return [f"{c.name}: {c.result}; needed {c.needed}" for c in checks if not c.holds]


def test_its_rows_are_sound(registered):
    assert not failing(contract.check_rows(registered))


def test_it_declares_what_it_needs_of_the_soil(registered):
    assert not failing(contract.check_properties(registered))


@pytest.mark.parametrize("check", [contract.check_defaults, contract.check_prior])
def test_carbon_is_conserved_and_no_pool_is_negative(registered, check):
    """Respiration equals input to 1e-10, also by the transfers, where nothing changes either."""
    assert not failing(check(registered))


def test_gradients_equal_finite_differences(on_its_own):
    assert not failing(contract.check_gradient(on_its_own))


def test_a_transient_run_ends_in_the_steady_state(on_its_own):
    assert not failing(contract.check_transient(on_its_own))


def test_declaring_first_order_is_checked():
    declared = {n for n in MODELS if proda.load_model(n).first_order}
    assert declared == {"clm5", "rothc", "rothc_q10"}
    for name in declared - {"rothc_q10"}:
        assert not failing(contract.check_first_order(proda.load_model(name)))

    class Wrong(COMPAS):
        first_order = True

    assert failing(contract.check_first_order(Wrong()))
    assert not contract.check_first_order(COMPAS())


def test_components_multiply_to_carbon_and_respiration(on_its_own):
    assert not failing(contract.check_components(on_its_own))


@pytest.mark.long
def test_posteriors_hold_the_parameters_that_made_the_profiles(registered):
    assert not failing(contract.check_calibration(registered))
